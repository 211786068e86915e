//! The I/O half: one task owns the sockets and the [`Stack`], carries out its effects and brings it images, verdicts,
//! calls and the time.

use std::collections::HashMap;
use std::future::{Future, pending, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinSet;

use super::bbmd::Manager;
use super::bip::{Port, Registration, Taken};
use super::calls::Call;
use super::client::{Announced, Asked, Client, Devices, Wish};
use super::further::{Event, Further, PortState};
use super::intake::Intake;
use super::link::{self, MAX_FRAME, Outbox, Peer, Station};
use super::network::{self, Incoming};
use super::requester::Outcome;
use super::sc::Identity;
use super::settings::{Role, Settings};
use super::socket::{Bound, Datagram, Sockets};
use super::stack::{Effect, Stack};
use super::writes::Ticket;
use crate::durable::Keepsake;
use crate::plant::Plant;
use crate::point::Image;
use crate::ports::{Keepsakes, Ports};
use crate::request::{Origin, Request, Side, Verdict};
use crate::telemetry::LinkCounter;
use crate::time::{Mono, Now, TimeSource};

/// Its name in metrics.
const LINK: &str = "bacnet-server";
/// The same of the registration as a foreign device.
const FOREIGN: &str = "bacnet-foreign";
/// Its name among keepsakes.
const KEEPSAKES: &str = "bacnet";
/// The broadcast distribution table among them, where it was written from the network.
const TABLE: &str = "link/bdt";
/// Who we are on BACnet/SC among them.
const IDENTITY: &str = "link/sc";
/// Datagrams of a brisk exchange that are answered before anything else gets a turn.
const DIRECT: usize = 32;
/// A request that comes so soon after the answer before it is one of a brisk exchange: the next is worth a look. Over a
/// network that is rare; a busy host's own tools do it.
const BRISK: Duration = Duration::from_micros(60);
/// Datagrams that are taken from the kernel at a time.
const TAKEN: usize = 1024;
/// Datagrams that are worked on before more are taken, and before anything else gets a turn.
const BATCH: usize = 16;
/// How long to rest after the socket failed, so that a broken network is no busy loop.
const REST: Duration = Duration::from_millis(100);

/// The BACnet device of the gateway: bound, not yet running.
#[derive(Debug)]
pub struct Node {
    sockets: Bound,
    lines: Vec<Port>,
    stack: Stack,
    client: Client,
    calls: mpsc::Receiver<Wish>,
    plant: Arc<Plant>,
    settings: Settings,
}

impl Node {
    /// Bind the sockets. They are registered with the runtime that runs the node.
    ///
    /// Errors: an address is not IPv4, the instance is above 4194302, a role that the address cannot have, or what the
    /// system says of the bind.
    pub fn bind(mut settings: Settings, plant: Arc<Plant>) -> io::Result<Self> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what);
        let interfaces = settings.interfaces().ok_or_else(|| invalid("BACnet/IP needs IPv4 addresses"))?;
        if settings.instance > 4_194_302 {
            return Err(invalid("a device instance is at most 4194302"));
        }
        let sockets = Bound::bind(interfaces)?;
        let mut lines = Vec::new();
        for interface in sockets.interfaces() {
            let own = interface.listen.ip();
            if interface.broadcast.is_broadcast() && !own.is_unspecified() && !own.is_loopback() {
                tracing::warn!(listen = %interface.listen, "BACnet does not hear the broadcasts of its subnet: it is not known");
            }
            let role = if lines.is_empty() { &settings.role } else { &Role::Device };
            let line = Port::new(*interface, role, Mono::START);
            lines.push(line.ok_or_else(|| invalid("no BACnet/IP address, or not one for its role"))?);
        }
        if let Some(first) = lines.first() {
            settings.listen = SocketAddr::V4(first.interface().listen);
        }
        let (client, calls) = Client::channel();
        let stack = Stack::new(Arc::clone(&plant), settings.clone());
        Ok(Self { sockets, lines, stack, client, calls, plant, settings })
    }

    /// Where it is bound: its first port.
    pub fn local_addr(&self) -> SocketAddr {
        let first = self.lines.first().map(|line| line.interface().listen);
        first.map_or_else(|| SocketAddr::from(([0; 4], 0)), SocketAddr::V4)
    }

    /// A door to requests of our own, which work while the node runs.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Announce the device and serve until `ports.stop`.
    pub async fn run(self, ports: Ports) {
        let Self { sockets, mut lines, mut stack, calls, client, plant, settings } = self;
        // It fails only when there is no room for one more descriptor to watch.
        let sockets = match sockets.register() {
            Ok(sockets) => sockets,
            Err(error) => return tracing::error!(%error, "the BACnet sockets cannot be watched"),
        };
        let devices = Devices::start(&plant, &client, settings.observe, &ports);
        let keepsakes = ports.keepsakes.under(KEEPSAKES);
        let mut identity = None;
        for (key, value) in keepsakes.restored() {
            if key == IDENTITY {
                identity = Identity::from_octets(value);
                continue;
            }
            match lines.first_mut().and_then(Port::manager) {
                Some(manager) if key == TABLE => {
                    if !manager.restore(value) {
                        tracing::warn!(
                            "the BACnet broadcast table that was written is given up for the configured one"
                        );
                    }
                }
                _ if key == TABLE => {}
                _ => stack.restore(key, value),
            }
        }
        let image = ports.image.borrow().clone();
        stack.revive(&image);
        ports.metrics.up(LINK, true);
        let running = Running {
            sockets,
            lines,
            further: Further::start(&settings, identity, &ports),
            stack,
            image,
            effects: Vec::new(),
            outbox: Outbox::new(),
            frame: Vec::with_capacity(MAX_FRAME),
            intake: Intake::default(),
            answers: ports.metrics.link(LINK),
            served: Mono::START,
            writes: JoinSet::new(),
            replies: HashMap::new(),
            keepsakes,
            called: 0,
            images_end: false,
            devices,
            announced: client.announcements(),
        };
        running.run(ports.clone(), calls).await;
        ports.metrics.up(LINK, false);
    }
}

/// A node at work.
struct Running {
    sockets: Sockets,
    lines: Vec<Port>,
    further: Further,
    stack: Stack,
    image: Arc<Image>,
    effects: Vec<Effect>,
    /// What a line wants to be sent; empty between two of them.
    outbox: Outbox,
    frame: Vec<u8>,
    /// Datagrams that wait.
    intake: Intake,
    answers: LinkCounter,
    /// When a datagram was answered last.
    served: Mono,
    /// Requests to the engine that wait for their verdicts; the stack bounds their number.
    writes: JoinSet<(Ticket, Verdict)>,
    /// Callers that wait; the stack bounds their number too.
    replies: HashMap<u64, oneshot::Sender<Outcome>>,
    keepsakes: Keepsakes,
    called: u64,
    /// The engine publishes no more images.
    images_end: bool,
    devices: Devices,
    announced: broadcast::Sender<Announced>,
}

impl Running {
    async fn run(mut self, mut ports: Ports, mut calls: mpsc::Receiver<Wish>) {
        // It fails only when the runtime is going down.
        let _ = self.sockets.writable().await;
        self.start(&ports).await;
        let at = now(&*ports.time);
        self.stack.begin(at);
        // A foreign device is not heard before it is registered; it says it then.
        if self.lines.iter().any(Port::reaches) {
            self.stack.hello(at, &mut self.effects);
        }
        let mut buffer = vec![0; MAX_FRAME];
        loop {
            self.refresh(&mut ports);
            self.carry_out(&ports).await;
            let lines = self.lines.iter().filter_map(Port::wake);
            let alarm = alarm(lines.chain(self.stack.wake()).min(), &*ports.time);
            tokio::select! {
                // What was written in other devices is released before the node goes.
                () = self.devices.over(&ports.stop) => {
                    self.stack.farewell(now(&*ports.time), &mut self.effects);
                    self.carry_out(&ports).await;
                    return self.further.end().await;
                }
                received = self.sockets.receive(&mut buffer) => match received {
                    Ok(datagram) => self.serve(datagram, &mut buffer, &ports).await,
                    Err(error) => {
                        tracing::warn!(%error, "BACnet socket");
                        ports.metrics.failure(LINK, "receive");
                        tokio::time::sleep(REST).await;
                    }
                },
                () = ready(()), if !self.intake.is_empty() => {
                    if let Some(datagram) = self.sockets.try_receive(&mut buffer) {
                        self.take(datagram, &mut buffer, &ports);
                    }
                    self.work(&ports).await;
                }
                changed = ports.image.changed(), if !self.images_end => self.images_end = changed.is_err(),
                Some(Ok((ticket, verdict))) = self.writes.join_next(), if !self.writes.is_empty() => {
                    self.stack.on_verdict(ticket, &verdict, now(&*ports.time), &mut self.effects);
                }
                Some(event) = self.further.next() => self.on_further(event, &ports).await,
                Some(wish) = calls.recv() => self.on_wish(wish, now(&*ports.time)),
                () = alarm => self.on_alarm(&ports).await,
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

    /// Answer a datagram out of the buffer into which it was read, and what stands behind it when peers have got turns. A
    /// peer that asks again within microseconds is waited for awake.
    async fn serve(&mut self, first: Datagram, buffer: &mut [u8], ports: &Ports) {
        let mut next = Some(first);
        let mut at = now(&*ports.time);
        let brisk = at.mono.since(self.served) < BRISK;
        for _ in 0..DIRECT {
            let Some(datagram) = next.filter(|_| self.intake.is_empty()) else { break };
            if let Some(payload) = buffer.get(..datagram.length) {
                self.on_datagram(&datagram, payload, at, ports).await;
                self.carry_out(ports).await;
            }
            next = self.sockets.try_receive(buffer);
            if next.is_some() || !brisk {
                break;
            }
            next = self.sockets.look(buffer);
            at = now(&*ports.time);
        }
        self.served = at.mono;
        if let Some(datagram) = next {
            self.take(datagram, buffer, ports);
            self.work(ports).await;
        }
    }

    /// Take a datagram from the kernel, and those that stand behind it.
    fn take(&mut self, first: Datagram, buffer: &mut [u8], ports: &Ports) {
        let mut next = Some(first);
        let mut left = TAKEN;
        while let Some(datagram) = next {
            if !buffer.get(..datagram.length).is_some_and(|payload| self.intake.push(datagram, payload)) {
                ports.metrics.dropped(LINK, "datagram");
            }
            left -= 1;
            next = if left > 0 { self.sockets.try_receive(buffer) } else { None };
        }
    }

    /// Work on some of what waits. What it comes to is sent at the end: a peer that sleeps is woken once for several answers.
    async fn work(&mut self, ports: &Ports) {
        let at = now(&*ports.time);
        for _ in 0..BATCH {
            let Some((datagram, payload)) = self.intake.next() else { break };
            self.on_datagram(&datagram, &payload, at, ports).await;
            self.intake.spare(payload);
        }
        self.carry_out(ports).await;
    }

    async fn on_datagram(&mut self, datagram: &Datagram, payload: &[u8], at: Now, ports: &Ports) {
        let Some(line) = self.lines.get_mut(datagram.port) else { return };
        let taken = line.receive(payload, datagram.from, datagram.arrival, at.mono, &mut self.outbox);
        let done = matches!(taken, Taken::Done);
        match taken {
            Taken::Npdu { npdu, source, group } => self.on_npdu(npdu, source.into(), group, at, ports),
            Taken::Done => {}
            Taken::Rejected(cause) => ports.metrics.rejected(LINK, cause),
        }
        self.flush(datagram.port, ports).await;
        if done {
            self.on_line(datagram.port, at, ports);
        }
    }

    fn on_npdu(&mut self, npdu: &[u8], from: Station, group: bool, at: Now, ports: &Ports) {
        match network::incoming(npdu, from, group) {
            Incoming::Apdu { peer, group, apdu } => {
                self.stack.on_apdu(peer, group, apdu, &self.image, at, &mut self.effects);
            }
            Incoming::Message { kind, data } => self.stack.on_message(from, kind, data, &mut self.effects),
            Incoming::Ignored => {}
            Incoming::Rejected(cause) => ports.metrics.rejected(LINK, cause),
        }
    }

    /// A port beside the B/IP ones says something; some of what stands behind it, too.
    async fn on_further(&mut self, first: Event, ports: &Ports) {
        let at = now(&*ports.time);
        let mut next = Some(first);
        let mut left = BATCH;
        while let Some(event) = next {
            match event {
                Event::Npdu { from, group, npdu } => self.on_npdu(&npdu, from, group, at, ports),
                Event::State { state, fresh } => {
                    self.further.note(state);
                    self.show(at);
                    // Its network has not heard of us yet.
                    if fresh {
                        self.stack.hello(at, &mut self.effects);
                    }
                }
                // What has no room is counted there.
                Event::Identity(identity) => drop(self.keepsakes.keep(IDENTITY, identity.octets())),
            }
            left -= 1;
            next = if left > 0 { self.further.try_next() } else { None };
        }
        self.carry_out(ports).await;
    }

    /// What the ports show of themselves has changed.
    fn show(&mut self, at: Now) {
        let lines = self.lines.iter().map(|line| PortState::Ip(line.state(at.mono)));
        self.stack.on_lines(lines.chain(self.further.states()).collect());
    }

    /// Something moved in a port: what it shows, whether it is registered.
    fn on_line(&mut self, port: usize, at: Now, ports: &Ports) {
        let Some(line) = self.lines.get_mut(port) else { return };
        let listen = line.interface().listen;
        if let Some(written) = line.manager().and_then(Manager::take_written) {
            // What has no room is counted there.
            self.keepsakes.keep(TABLE, written);
        }
        match line.news(at.mono) {
            Some(Registration::Registered) => {
                tracing::info!(%listen, "registered as a foreign device");
                ports.metrics.up(FOREIGN, true);
                ports.metrics.reconnect(FOREIGN);
                // The network has not heard of us yet, or the manager has forgotten us meanwhile.
                self.stack.hello(at, &mut self.effects);
            }
            Some(Registration::Refused) => {
                tracing::warn!(%listen, "the broadcast manager refuses us as a foreign device");
                ports.metrics.up(FOREIGN, false);
                ports.metrics.failure(FOREIGN, "refused");
            }
            Some(Registration::Silent) => {
                tracing::warn!(%listen, "the broadcast manager does not answer");
                ports.metrics.up(FOREIGN, false);
                ports.metrics.failure(FOREIGN, "silent");
            }
            Some(Registration::Asked) | None => {}
        }
        self.show(at);
    }

    /// Registrations go out.
    async fn start(&mut self, ports: &Ports) {
        let at = now(&*ports.time);
        for port in 0..self.lines.len() {
            let Some(line) = self.lines.get_mut(port) else { continue };
            line.on_time(at.mono, &mut self.outbox);
            self.flush(port, ports).await;
        }
        self.show(at);
    }

    async fn on_alarm(&mut self, ports: &Ports) {
        let at = now(&*ports.time);
        for port in 0..self.lines.len() {
            let Some(line) = self.lines.get_mut(port) else { continue };
            if line.wake().is_some_and(|wake| wake <= at.mono) {
                line.on_time(at.mono, &mut self.outbox);
                self.flush(port, ports).await;
                self.on_line(port, at, ports);
            }
        }
        self.stack.on_time(&self.image, at, &mut self.effects);
    }

    /// Send what a port has put out.
    async fn flush(&mut self, port: usize, ports: &Ports) {
        for (to, frame) in self.outbox.drain(..) {
            if let Err(error) = self.sockets.send_from(port, to, &frame).await {
                tracing::debug!(%error, %to, "BACnet frame not sent");
                ports.metrics.failure(LINK, "send");
            }
        }
    }

    /// Send an NPDU to everybody.
    async fn broadcast(&mut self, npdu: &[u8], ports: &Ports) {
        let at = now(&*ports.time).mono;
        for port in 0..self.lines.len() {
            let Some(line) = self.lines.get_mut(port) else { continue };
            line.broadcast(npdu, at, &mut self.outbox);
            self.flush(port, ports).await;
        }
        self.further.broadcast(npdu, ports);
    }

    fn on_wish(&mut self, wish: Wish, at: Now) {
        let asked = match wish {
            Wish::Call(asked) => asked,
            Wish::WhoIs(range, to) => return self.effects.extend(self.stack.ask_who_is(range, to, at)),
        };
        self.called += 1;
        self.replies.retain(|_, reply| !reply.is_closed());
        let Asked { target, service, params, patience, reply } = asked;
        self.replies.insert(self.called, reply);
        let call = Call { number: self.called, target, service, params, patience };
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
                    match &peer.route {
                        Some(route) if peer.link == Peer::ANY_ROUTER => {
                            link::beyond(route.network, Some(&route.mac), expecting_reply, &apdu, &mut frame);
                            self.broadcast(&frame, ports).await;
                        }
                        _ => {
                            link::unicast(&peer, expecting_reply, &apdu, &mut frame);
                            match peer.link {
                                Station::Ip(to) => self.send(to, &frame, ports).await,
                                to => self.further.send(to, &frame, ports),
                            }
                        }
                    }
                    if !expecting_reply {
                        self.answers.transaction();
                    }
                }
                Effect::Broadcast(apdu) => {
                    link::local(&apdu, &mut frame);
                    self.broadcast(&frame, ports).await;
                }
                Effect::BroadcastOn(network, apdu) => {
                    link::beyond(network, None, false, &apdu, &mut frame);
                    self.broadcast(&frame, ports).await;
                }
                Effect::Network(message) => {
                    link::local_message(message.kind, &message.data, &mut frame);
                    self.broadcast(&frame, ports).await;
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
                Effect::Dropped(what) => ports.metrics.dropped(LINK, what),
                Effect::Told { device, object, values } => self.devices.told(device, object, values, ports),
                Effect::Announced { device, asked_for, from } => {
                    self.devices.announced(device, asked_for, ports);
                    // Mostly nobody listens.
                    let _ = self.announced.send(Announced { device, from });
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
pub(super) fn now(time: &dyn TimeSource) -> Now {
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
