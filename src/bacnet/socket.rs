//! The UDP sockets: one on our address, from which everything leaves, and listeners for what is broadcast.

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::task::Poll;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

use super::link::Arrival;

/// What the kernel may keep for us, octets: a burst of Who-Is answers or reads must not be lost while we are busy.
const RECEIVE_BUFFER: usize = 1 << 20;

/// All of them.
#[derive(Debug)]
pub(super) struct Sockets {
    /// The first is the one on our address.
    all: Vec<UdpSocket>,
    /// Where the next look begins, so that no socket starves another.
    turn: usize,
}

impl Sockets {
    /// Bind to an address; returns where it is bound. A socket on one address does not hear the subnet's broadcasts, so
    /// it gets listeners on `broadcast` and on 255.255.255.255; one on 0.0.0.0 hears everything.
    pub(super) fn bind(listen: SocketAddrV4, broadcast: Ipv4Addr) -> io::Result<(Self, SocketAddrV4)> {
        // Broadcast ports are shared with other BACnet programs of the host: some set the one option, some the other.
        // Our own address is not: a second gateway there would silently take half of our requests.
        let everywhere = listen.ip().is_unspecified();
        let first = open(listen, everywhere)?;
        let SocketAddr::V4(own) = first.local_addr()? else { return Err(io::ErrorKind::InvalidInput.into()) };
        let mut all = vec![first];
        if !everywhere {
            let port = own.port();
            all.push(open(SocketAddrV4::new(broadcast, port), true)?);
            if !listen.ip().is_loopback() && broadcast != Ipv4Addr::BROADCAST {
                all.push(open(SocketAddrV4::new(Ipv4Addr::BROADCAST, port), true)?);
            }
        }
        Ok((Self { all, turn: 0 }, own))
    }

    /// The socket that everything leaves from.
    fn own(&self) -> Option<&UdpSocket> {
        self.all.first()
    }

    /// Until the kernel takes what we send: a fresh socket refuses the first `try_send_to`.
    pub(super) async fn writable(&self) -> io::Result<()> {
        match self.own() {
            Some(socket) => socket.writable().await,
            None => Ok(()),
        }
    }

    /// Send a frame.
    pub(super) async fn send(&self, to: SocketAddr, frame: &[u8]) -> io::Result<()> {
        let Some(socket) = self.own() else { return Ok(()) };
        match socket.try_send_to(frame, to) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.send_to(frame, to).await.map(drop),
            sent => sent.map(drop),
        }
    }

    /// The next datagram: its length, sender and which kind of socket read it.
    pub(super) async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr, Arrival)> {
        poll_fn(|context| {
            for step in 0..self.all.len() {
                let place = (self.turn + step) % self.all.len();
                let Some(socket) = self.all.get(place) else { continue };
                let mut read = ReadBuf::new(buffer);
                if let Poll::Ready(done) = socket.poll_recv_from(context, &mut read) {
                    self.turn = place + 1;
                    let length = read.filled().len();
                    return Poll::Ready(done.map(|from| (length, from, arrival(place))));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// The next datagram on our address, if there is one already.
    pub(super) fn try_receive(&self, buffer: &mut [u8]) -> Option<(usize, SocketAddr, Arrival)> {
        let (length, from) = self.own()?.try_recv_from(buffer).ok()?;
        Some((length, from, arrival(0)))
    }
}

const fn arrival(place: usize) -> Arrival {
    if place == 0 { Arrival::Address } else { Arrival::Broadcast }
}

fn open(address: SocketAddrV4, shared: bool) -> io::Result<UdpSocket> {
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
    UdpSocket::from_std(socket.into())
}
