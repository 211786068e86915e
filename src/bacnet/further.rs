//! Ports beside the B/IP ones, BACnet/SC and MS/TP: each is a task of its own behind bounded queues, and this is what the
//! node sees of them. At most one of each kind, so that a [`Station`] names its port.

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::bip;
use super::link::Station;
use super::mstp;
use super::sc::{self, Identity};
use super::settings::{MAX_APDU, Settings};
use crate::ports::Ports;

/// NPDUs that wait for a port, and for the node. What finds a full queue is dropped and counted.
const QUEUE: usize = 256;

/// An NPDU to send: to one station, or to everybody on the port's network.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) to: Option<Station>,
    pub(super) npdu: Bytes,
}

/// What a port tells the node.
#[derive(Debug)]
pub(super) enum Event {
    /// An NPDU has come.
    Npdu {
        from: Station,
        /// More than we received it.
        group: bool,
        npdu: Bytes,
    },
    /// The port shows something else of itself; `fresh`: it has just been joined to its network.
    State { state: PortState, fresh: bool },
    /// Who we are on BACnet/SC, to be remembered over a restart.
    Identity(Identity),
}

/// What a port shows of itself, whatever its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PortState {
    Ip(bip::PortState),
    Secure(sc::State),
    Serial(mstp::State),
}

impl PortState {
    /// Of every port in its order, B/IP ports first, before anything has happened.
    pub(super) fn initial(settings: &Settings) -> Vec<Self> {
        let ip = bip::PortState::initial(settings).into_iter().map(Self::Ip);
        ip.chain(Self::further(settings)).collect()
    }

    fn further(settings: &Settings) -> impl Iterator<Item = Self> {
        let secure = settings.secure.as_ref().map(|port| Self::Secure(sc::State::initial(port)));
        let serial = settings.serial.as_ref().map(|port| Self::Serial(mstp::State::initial(port)));
        secure.into_iter().chain(serial)
    }
}

/// Largest APDU that the link of a station carries, octets.
pub(super) const fn largest(station: Station) -> u16 {
    match station {
        Station::Ip(_) | Station::Secure(_) => MAX_APDU,
        Station::Serial(_) => mstp::MAX_APDU,
    }
}

/// The way into a port.
#[derive(Debug)]
struct Door {
    link: &'static str,
    outgoing: mpsc::Sender<Outgoing>,
}

impl Door {
    fn send(&self, outgoing: Outgoing, ports: &Ports) {
        if self.outgoing.try_send(outgoing).is_err() {
            ports.metrics.dropped(self.link, "queue");
        }
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Further {
    secure: Option<Door>,
    serial: Option<Door>,
    inbox: mpsc::Receiver<Event>,
    tasks: JoinSet<()>,
    states: Vec<PortState>,
}

impl Further {
    /// Start the ports that there are.
    pub(super) fn start(settings: &Settings, identity: Option<Identity>, ports: &Ports) -> Self {
        let (events, inbox) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        let door = |link| {
            let (outgoing, receiver) = mpsc::channel(QUEUE);
            (Door { link, outgoing }, receiver)
        };
        let secure = settings.secure.clone().map(|port| {
            let (door, outgoing) = door(sc::LINK);
            tasks.spawn(sc::run(port, identity, outgoing, events.clone(), ports.metrics.clone()));
            door
        });
        let serial = settings.serial.clone().map(|port| {
            let (door, outgoing) = door(mstp::LINK);
            tasks.spawn(mstp::run(port, outgoing, events.clone(), ports.metrics.clone()));
            door
        });
        Self { secure, serial, inbox, tasks, states: PortState::further(settings).collect() }
    }

    /// What the next port to speak says; for ever, where there is none.
    pub(super) async fn next(&mut self) -> Option<Event> {
        self.inbox.recv().await
    }

    /// The same, if something waits.
    pub(super) fn try_next(&mut self) -> Option<Event> {
        self.inbox.try_recv().ok()
    }

    /// Send an NPDU to a station on one of them.
    pub(super) fn send(&self, to: Station, npdu: &[u8], ports: &Ports) {
        let door = match to {
            Station::Secure(_) => &self.secure,
            Station::Serial(_) => &self.serial,
            Station::Ip(_) => &None,
        };
        if let Some(door) = door {
            door.send(Outgoing { to: Some(to), npdu: Bytes::copy_from_slice(npdu) }, ports);
        }
    }

    /// Send an NPDU to everybody on all of them.
    pub(super) fn broadcast(&self, npdu: &[u8], ports: &Ports) {
        for door in [&self.secure, &self.serial].into_iter().flatten() {
            door.send(Outgoing { to: None, npdu: Bytes::copy_from_slice(npdu) }, ports);
        }
    }

    /// A port shows something else of itself.
    pub(super) fn note(&mut self, state: PortState) {
        let same = |known: &&mut PortState| std::mem::discriminant(*known) == std::mem::discriminant(&state);
        if let Some(known) = self.states.iter_mut().find(same) {
            *known = state;
        }
    }

    /// What they show of themselves.
    pub(super) fn states(&self) -> impl Iterator<Item = PortState> + '_ {
        self.states.iter().cloned()
    }

    /// The node ends: what was sent goes out, and the hub is told.
    pub(super) async fn end(mut self) {
        (self.secure, self.serial) = (None, None);
        drop(self.inbox);
        while self.tasks.join_next().await.is_some() {}
    }
}
