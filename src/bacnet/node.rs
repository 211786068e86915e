//! The I/O half: one task owns the sockets and the [`Stack`], carries out its effects and brings it images, verdicts,
//! calls and the time.

use std::collections::HashMap;
use std::future::{Future, pending};
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::calls::Call;
use super::client::{Asked, Client};
use super::link::{self, Arrival, Frame, MAX_FRAME, Wire};
use super::requester::Outcome;
use super::settings::Settings;
use super::socket::Sockets;
use super::stack::{Effect, Stack};
use super::writes::Ticket;
use crate::durable::Keepsake;
use crate::plant::Plant;
use crate::point::Image;
use crate::ports::{Keepsakes, Ports};
use crate::request::{Origin, Request, Side, Verdict};
use crate::time::{Mono, Now, TimeSource};

/// Its name in metrics.
const LINK: &str = "bacnet-server";
/// Its name among keepsakes.
const KEEPSAKES: &str = "bacnet";
/// Datagrams that are taken before anything else gets a turn.
const BATCH: usize = 64;
/// How long to rest after the socket failed, so that a broken network is no busy loop.
const REST: Duration = Duration::from_millis(100);

/// The BACnet device of the gateway: bound, not yet running.
#[derive(Debug)]
pub struct Node {
    sockets: Sockets,
    wire: Wire,
    own: SocketAddrV4,
    stack: Stack,
    client: Client,
    calls: mpsc::Receiver<Asked>,
}

impl Node {
    /// Bind the sockets. Must be called inside a tokio runtime.
    ///
    /// Errors: the address is not IPv4, the instance is above 4194302, or what the system says of the bind.
    pub fn bind(mut settings: Settings, plant: Arc<Plant>) -> io::Result<Self> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what);
        let SocketAddr::V4(listen) = settings.listen else { return Err(invalid("BACnet/IP needs an IPv4 address")) };
        let broadcast = settings.broadcast_ip().ok_or_else(|| invalid("the broadcast address must be IPv4"))?;
        if settings.instance > 4_194_302 {
            return Err(invalid("a device instance is at most 4194302"));
        }
        if broadcast.is_broadcast() && !listen.ip().is_unspecified() {
            tracing::warn!(%listen, "BACnet hears 255.255.255.255 only: configure the broadcast address of the subnet");
        }
        let (sockets, own) = Sockets::bind(listen, broadcast)?;
        settings.listen = SocketAddr::V4(own);
        let wire = Wire::new(own, SocketAddrV4::new(broadcast, own.port()))
            .ok_or_else(|| invalid("not a BACnet/IP address"))?;
        let (client, calls) = Client::channel();
        Ok(Self { sockets, wire, own, stack: Stack::new(plant, settings), client, calls })
    }

    /// Where it is bound.
    pub const fn local_addr(&self) -> SocketAddr {
        SocketAddr::V4(self.own)
    }

    /// A door to requests of our own, which work while the node runs.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Announce the device and serve until `ports.stop`.
    pub async fn run(self, ports: Ports) {
        let Self { sockets, wire, mut stack, calls, .. } = self;
        let keepsakes = ports.keepsakes.under(KEEPSAKES);
        keepsakes.restored().for_each(|(key, value)| stack.restore(key, value));
        let image = ports.image.borrow().clone();
        stack.revive(&image);
        ports.metrics.up(LINK, true);
        let running = Running {
            sockets,
            wire,
            stack,
            image,
            effects: Vec::new(),
            frame: Vec::with_capacity(MAX_FRAME),
            writes: JoinSet::new(),
            replies: HashMap::new(),
            keepsakes,
            called: 0,
            images_end: false,
        };
        running.run(ports.clone(), calls).await;
        ports.metrics.up(LINK, false);
    }
}

/// A node at work.
struct Running {
    sockets: Sockets,
    wire: Wire,
    stack: Stack,
    image: Arc<Image>,
    effects: Vec<Effect>,
    frame: Vec<u8>,
    /// Requests to the engine that wait for their verdicts; the stack bounds their number.
    writes: JoinSet<(Ticket, Verdict)>,
    /// Callers that wait; the stack bounds their number too.
    replies: HashMap<u64, oneshot::Sender<Outcome>>,
    keepsakes: Keepsakes,
    called: u64,
    /// The engine publishes no more images.
    images_end: bool,
}

impl Running {
    async fn run(mut self, mut ports: Ports, mut calls: mpsc::Receiver<Asked>) {
        // It fails only when the runtime is going down.
        let _ = self.sockets.writable().await;
        self.effects.extend(self.stack.hello());
        let mut buffer = vec![0; MAX_FRAME];
        loop {
            self.refresh(&mut ports);
            self.carry_out(&ports).await;
            let alarm = alarm(self.stack.wake(), &*ports.time);
            tokio::select! {
                () = ports.stop.cancelled() => {
                    self.stack.farewell(now(&*ports.time), &mut self.effects);
                    return self.carry_out(&ports).await;
                }
                received = self.sockets.receive(&mut buffer) => match received {
                    Ok((length, from, arrival)) => self.on_datagrams(length, from, arrival, &mut buffer, &ports).await,
                    Err(error) => {
                        tracing::warn!(%error, "BACnet socket");
                        ports.metrics.failure(LINK, "receive");
                        tokio::time::sleep(REST).await;
                    }
                },
                changed = ports.image.changed(), if !self.images_end => self.images_end = changed.is_err(),
                Some(Ok((ticket, verdict))) = self.writes.join_next(), if !self.writes.is_empty() => {
                    self.stack.on_verdict(ticket, &verdict, now(&*ports.time), &mut self.effects);
                }
                Some(asked) = calls.recv() => self.on_asked(asked, now(&*ports.time)),
                () = alarm => self.stack.on_time(&self.image, now(&*ports.time), &mut self.effects),
            }
        }
    }

    /// Take the newest image, and tell subscribers. Before every batch, so that a read after an answered write sees it.
    fn refresh(&mut self, ports: &mut Ports) {
        let newest = ports.image.borrow_and_update();
        if !Arc::ptr_eq(&newest, &self.image) {
            self.image = newest.clone();
            drop(newest);
            self.stack.on_image(&self.image, now(&*ports.time), &mut self.effects);
        }
    }

    /// One datagram, and those that stand behind it.
    async fn on_datagrams(
        &mut self,
        length: usize,
        from: SocketAddr,
        arrival: Arrival,
        buffer: &mut [u8],
        ports: &Ports,
    ) {
        let mut next = Some((length, from, arrival));
        let mut left = BATCH;
        let at = now(&*ports.time);
        while let Some((length, from, arrival)) = next {
            if let (SocketAddr::V4(from), Some(datagram)) = (from, buffer.get(..length)) {
                self.on_datagram(datagram, from, arrival, at, ports).await;
            }
            left -= 1;
            next = if left > 0 { self.sockets.try_receive(buffer) } else { None };
        }
    }

    async fn on_datagram(&mut self, datagram: &[u8], from: SocketAddrV4, arrival: Arrival, at: Now, ports: &Ports) {
        match self.wire.receive(datagram, from, arrival) {
            Frame::Apdu { peer, group, apdu } => {
                self.stack.on_apdu(peer, group, apdu, &self.image, at, &mut self.effects);
                self.carry_out(ports).await;
            }
            Frame::Refuse(to, frame) => self.send(SocketAddr::V4(to), &frame, ports).await,
            Frame::Ignored => {}
            Frame::Rejected(cause) => ports.metrics.rejected(LINK, cause),
        }
    }

    fn on_asked(&mut self, asked: Asked, at: Now) {
        self.called += 1;
        self.replies.retain(|_, reply| !reply.is_closed());
        self.replies.insert(self.called, asked.reply);
        let call = Call { number: self.called, target: asked.target, service: asked.service, params: asked.params };
        self.stack.on_call(call, at, &mut self.effects);
    }

    async fn carry_out(&mut self, ports: &Ports) {
        if self.effects.is_empty() {
            return;
        }
        let mut effects = std::mem::take(&mut self.effects);
        let mut frame = std::mem::take(&mut self.frame);
        for effect in effects.drain(..) {
            match effect {
                Effect::Send { peer, expecting_reply, apdu } => {
                    link::unicast(&peer, expecting_reply, &apdu, &mut frame);
                    self.send(peer.link, &frame, ports).await;
                    if !expecting_reply {
                        ports.metrics.transaction(LINK);
                    }
                }
                Effect::Broadcast(apdu) => {
                    link::broadcast(&apdu, &mut frame);
                    self.send(SocketAddr::V4(self.wire.broadcast()), &frame, ports).await;
                }
                Effect::Submit(ticket, peer, writes) => {
                    let origin = Origin { side: Side::Bacnet, peer };
                    let requests = ports.requests.clone();
                    self.writes.spawn(async move { (ticket, requests.submit(Request { origin, writes }).await) });
                }
                Effect::Keep(Keepsake { key, value: Some(value) }) => {
                    // What has no room is counted there.
                    self.keepsakes.keep(&key, value);
                }
                Effect::Keep(Keepsake { key, value: None }) => self.keepsakes.forget(&key),
                Effect::Restart => ports.restart.cancel(),
                Effect::Ended(number, outcome) => {
                    if let Some(reply) = self.replies.remove(&number) {
                        // The caller may have gone away.
                        let _ = reply.send(outcome);
                    }
                }
                Effect::Rejected(cause) => ports.metrics.rejected(LINK, cause),
            }
        }
        self.effects = effects;
        self.frame = frame;
    }

    async fn send(&self, to: SocketAddr, frame: &[u8], ports: &Ports) {
        if let Err(error) = self.sockets.send(to, frame).await {
            tracing::debug!(%error, %to, "BACnet frame not sent");
            ports.metrics.failure(LINK, "send");
        }
    }
}

/// The time of the protocol: its monotonic part runs on the wall, also where site time runs faster.
fn now(time: &dyn TimeSource) -> Now {
    let site = time.now();
    Now { mono: Mono::from_start(time.wall(site.mono.since(Mono::START))), utc: site.utc }
}

/// Until a moment of the protocol's time, or for ever.
fn alarm(wake: Option<Mono>, time: &dyn TimeSource) -> impl Future<Output = ()> + use<> {
    let wait = wake.map(|wake| wake.since(now(time).mono));
    async move {
        match wait {
            Some(wait) => tokio::time::sleep(wait).await,
            None => pending().await,
        }
    }
}
