//! The UDP sockets: of each port one on its address, from which everything leaves, and listeners for what is broadcast.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::task::Poll;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

use super::link::Arrival;
use super::settings::Interface;

/// What the kernel may keep for us, octets: a burst of Who-Is answers or reads must not be lost while we are busy.
const RECEIVE_BUFFER: usize = 1 << 20;
/// How often a look goes on for a datagram that may be under way, without going to sleep: some 10 to 20 us.
const LOOKS: usize = 40;
/// Most senders of whom we remember at which of several ports they came in.
const SENDERS: usize = 4096;

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hears {
    /// What is sent to a port's address: everything, where that is 0.0.0.0.
    Address(usize),
    /// What is sent to the broadcast address of a port's subnet.
    Broadcast(usize),
    /// What is sent to 255.255.255.255, in the subnet of any of our ports.
    Limited,
}

/// A datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Datagram {
    pub(super) length: usize,
    pub(super) from: SocketAddrV4,
    /// The port that it came to.
    pub(super) port: usize,
    pub(super) arrival: Arrival,
}

/// All of them, bound and not yet registered with the runtime that will serve them.
#[derive(Debug)]
pub(super) struct Bound {
    all: Vec<(std::net::UdpSocket, Hears)>,
    interfaces: Vec<Interface>,
}

impl Bound {
    /// Bind to the address of each port, which is changed into the one that it is then bound to. A socket on one
    /// address does not hear the subnet's broadcasts, so it gets listeners on the broadcast address and on
    /// 255.255.255.255; one on 0.0.0.0 hears everything.
    pub(super) fn bind(mut interfaces: Vec<Interface>) -> io::Result<Self> {
        // Broadcast ports are shared with other BACnet programs of the host: some set the one option, some the other.
        // Our own address is not: a second gateway there would silently take half of our requests.
        let mut all = Vec::new();
        for (place, interface) in interfaces.iter_mut().enumerate() {
            let socket = open(interface.listen, interface.listen.ip().is_unspecified())?;
            let SocketAddr::V4(own) = socket.local_addr()? else { return Err(io::ErrorKind::InvalidInput.into()) };
            interface.listen = own;
            all.push((socket, Hears::Address(place)));
        }
        let mut limited = Vec::new();
        for (place, interface) in interfaces.iter().enumerate() {
            let (ip, port) = (interface.listen.ip(), interface.listen.port());
            if ip.is_unspecified() {
                continue;
            }
            if !interface.broadcast.is_broadcast() {
                let address = SocketAddrV4::new(interface.broadcast, port);
                all.push((open(address, true)?, Hears::Broadcast(place)));
            }
            if !ip.is_loopback() && !limited.contains(&port) {
                limited.push(port);
                all.push((open(SocketAddrV4::new(Ipv4Addr::BROADCAST, port), true)?, Hears::Limited));
            }
        }
        Ok(Self { all, interfaces })
    }

    /// The ports, where they are bound.
    pub(super) fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Register them with the runtime in which this is called.
    pub(super) fn register(self) -> io::Result<Sockets> {
        let Self { all, interfaces } = self;
        let bare = all.iter().map(|(socket, _)| socket.try_clone()).collect::<io::Result<_>>()?;
        let register = |(socket, hears)| Ok((UdpSocket::from_std(socket)?, hears));
        let all = all.into_iter().map(register).collect::<io::Result<_>>()?;
        Ok(Sockets { all, bare, interfaces, turn: 0, last: 0, senders: HashMap::new() })
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Sockets {
    /// The first ones are those on the ports' addresses, in the ports' order.
    all: Vec<(UdpSocket, Hears)>,
    /// The same once more, for [`Sockets::look`].
    bare: Vec<std::net::UdpSocket>,
    interfaces: Vec<Interface>,
    /// Where the next look begins, so that no socket starves another.
    turn: usize,
    /// The socket that was read last.
    last: usize,
    /// With several ports: where somebody came in, so that answers leave there.
    senders: HashMap<SocketAddrV4, usize>,
}

impl Sockets {
    /// Until the kernel takes what we send: a fresh socket refuses the first `try_send_to`.
    pub(super) async fn writable(&self) -> io::Result<()> {
        for (socket, hears) in &self.all {
            if matches!(hears, Hears::Address(_)) {
                socket.writable().await?;
            }
        }
        Ok(())
    }

    /// The port from which somebody is reached: where it came in, or else the one in whose subnet it is.
    fn port_to(&self, to: SocketAddrV4) -> usize {
        if self.interfaces.len() < 2 {
            return 0;
        }
        let known = self.senders.get(&to).copied();
        known.or_else(|| self.interfaces.iter().position(|port| port.has(*to.ip()))).unwrap_or_default()
    }

    /// Send a frame to a peer.
    pub(super) async fn send(&self, to: SocketAddr, frame: &[u8]) -> io::Result<()> {
        let SocketAddr::V4(address) = to else { return Err(io::ErrorKind::InvalidInput.into()) };
        self.send_from(self.port_to(address), address, frame).await
    }

    /// Send a frame from one of the ports.
    pub(super) async fn send_from(&self, port: usize, to: SocketAddrV4, frame: &[u8]) -> io::Result<()> {
        let Some((socket, Hears::Address(_))) = self.all.get(port) else { return Ok(()) };
        let to = SocketAddr::V4(to);
        match socket.try_send_to(frame, to) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.send_to(frame, to).await.map(drop),
            sent => sent.map(drop),
        }
    }

    /// The next datagram.
    pub(super) async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Datagram> {
        loop {
            let (place, length, from) = poll_fn(|context| {
                for step in 0..self.all.len() {
                    let place = (self.turn + step) % self.all.len();
                    let Some((socket, _)) = self.all.get(place) else { continue };
                    let mut read = ReadBuf::new(buffer);
                    if let Poll::Ready(done) = socket.poll_recv_from(context, &mut read) {
                        self.turn = place + 1;
                        let length = read.filled().len();
                        return Poll::Ready(done.map(|from| (place, length, from)));
                    }
                }
                Poll::Pending
            })
            .await?;
            if let Some(datagram) = self.datagram(place, length, from) {
                return Ok(datagram);
            }
        }
    }

    /// The next datagram on the socket that was read last, if there is one already.
    pub(super) fn try_receive(&mut self, buffer: &mut [u8]) -> Option<Datagram> {
        let (socket, _) = self.all.get(self.last)?;
        let (length, from) = socket.try_recv_from(buffer).ok()?;
        self.datagram(self.last, length, from)
    }

    /// The same, for a datagram that is probably under way: the runtime's sockets say "nothing" without asking the kernel
    /// until the thread has slept, and a sleep costs more than this look.
    pub(super) fn look(&mut self, buffer: &mut [u8]) -> Option<Datagram> {
        let socket = self.bare.get(self.last)?;
        let found = (0..LOOKS).find_map(|_| match socket.recv_from(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            ended => Some(ended),
        });
        // An error is met again where all of them are handled.
        let (length, from) = found?.ok()?;
        self.datagram(self.last, length, from)
    }

    /// To which port a datagram belongs. `None`: to none of them, or back to us.
    fn datagram(&mut self, place: usize, length: usize, from: SocketAddr) -> Option<Datagram> {
        self.last = place;
        let SocketAddr::V4(from) = from else { return None };
        let (_, hears) = self.all.get(place)?;
        let several = self.interfaces.len() > 1;
        let (port, arrival) = match *hears {
            Hears::Address(port) => (port, Arrival::Address),
            Hears::Broadcast(port) => (port, Arrival::Broadcast),
            // Every interface's arrive here: the sender tells whose it is.
            Hears::Limited if several => {
                (self.interfaces.iter().position(|port| port.has(*from.ip()))?, Arrival::Broadcast)
            }
            Hears::Limited => (0, Arrival::Broadcast),
        };
        if several {
            // One port's broadcast is heard by another one in the same subnet.
            if self.interfaces.iter().any(|port| port.listen == from) {
                return None;
            }
            if self.senders.len() >= SENDERS && !self.senders.contains_key(&from) {
                self.senders.clear();
            }
            self.senders.insert(from, port);
        }
        Some(Datagram { length, from, port, arrival })
    }
}

fn open(address: SocketAddrV4, shared: bool) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    if shared {
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
    }
    socket.set_broadcast(true)?;
    socket.set_nonblocking(true)?;
    // The kernel holds it to its own maximum; less is no reason not to start.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.bind(&SocketAddr::V4(address).into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(ip: [u8; 4]) -> Interface {
        let listen = SocketAddrV4::new(Ipv4Addr::from(ip), 0);
        Interface { listen, broadcast: Ipv4Addr::new(127, 255, 255, 255), mask: Ipv4Addr::new(255, 255, 255, 0) }
    }

    #[tokio::test]
    async fn answers_leave_by_the_port_at_which_the_request_came_in() {
        let bound = Bound::bind(vec![on([127, 0, 1, 1]), on([127, 0, 2, 1])]).unwrap();
        let [first, second] = [bound.interfaces()[0].listen, bound.interfaces()[1].listen];
        let mut sockets = bound.register().unwrap();
        sockets.writable().await.unwrap();
        assert_ne!(first.port(), 0);
        // It is in the first port's subnet, and asks at the second one.
        let peer = UdpSocket::bind("127.0.1.9:0").await.unwrap();
        let mut buffer = [0; 64];
        for (own, port) in [(second, 1), (first, 0)] {
            peer.send_to(b"ask", own).await.unwrap();
            let got = sockets.receive(&mut buffer).await.unwrap();
            assert_eq!((got.length, got.port, got.arrival), (3, port, Arrival::Address));
            sockets.send(peer.local_addr().unwrap(), b"answer").await.unwrap();
            assert_eq!(peer.recv_from(&mut buffer).await.unwrap(), (6, SocketAddr::V4(own)));
        }
        // Who never came in is reached from its subnet.
        let stranger = UdpSocket::bind("127.0.2.9:0").await.unwrap();
        sockets.send(stranger.local_addr().unwrap(), b"hello").await.unwrap();
        assert_eq!(stranger.recv_from(&mut buffer).await.unwrap(), (5, SocketAddr::V4(second)));
    }

    #[tokio::test]
    async fn a_look_finds_what_the_runtime_does_not_know_of_yet() {
        let bound = Bound::bind(vec![on([127, 0, 4, 1])]).unwrap();
        let own = bound.interfaces()[0].listen;
        let mut sockets = bound.register().unwrap();
        let peer = std::net::UdpSocket::bind("127.0.4.9:0").unwrap();
        let mut buffer = [0; 64];
        peer.send_to(b"one", own).unwrap();
        assert_eq!(sockets.receive(&mut buffer).await.unwrap().length, 3);
        assert_eq!(sockets.try_receive(&mut buffer), None);
        assert_eq!(sockets.look(&mut buffer), None, "it ends");
        peer.send_to(b"four", own).unwrap();
        let found = sockets.look(&mut buffer).unwrap();
        assert_eq!((found.length, SocketAddr::V4(found.from)), (4, peer.local_addr().unwrap()));
        // And the runtime goes on as before.
        peer.send_to(b"seven77", own).unwrap();
        assert_eq!(sockets.receive(&mut buffer).await.unwrap().length, 7);
    }

    #[test]
    fn an_address_is_ours_alone() {
        let sockets = Bound::bind(vec![on([127, 0, 3, 1])]).unwrap();
        let mut again = on([127, 0, 3, 1]);
        again.listen = sockets.interfaces()[0].listen;
        assert_eq!(Bound::bind(vec![again]).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
