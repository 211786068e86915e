//! How one listener of the server is set up.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::access::{Clients, Rights};
use crate::modbus::identity::Identity;
use crate::modbus::tls;
use crate::plant::SerialLine;
use crate::point::Priority;
use crate::time::Timeout;

/// What a listener listens on, and in which frames.
#[derive(Debug, Clone)]
pub enum Wire {
    /// Modbus TCP.
    Tcp(SocketAddr),
    /// RTU frames over TCP, as serial servers send them.
    RtuOverTcp(SocketAddr),
    /// Modbus/TCP Security: the role in the client's certificate says what it may do.
    Tls {
        /// Where it listens; the standard's port is 802.
        listen: SocketAddr,
        /// Our certificate, and the authorities of theirs.
        tls: tls::Server,
        /// What each role may do; a role that is not here, and none, may do nothing.
        roles: BTreeMap<String, Rights>,
    },
    /// RTU on a serial line, as one of its slaves.
    Serial {
        /// The line.
        line: SerialLine,
        /// The adapter receives what it sends.
        echo: bool,
    },
}

/// What stands behind a unit identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Every address as the mapping says.
    Whole,
    /// So many addresses of each table from this one on, seen from 0.
    Window {
        /// The address that is seen at 0.
        first: u16,
        /// How many addresses are seen.
        count: u16,
    },
}

/// How a listener is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name in metrics.
    pub name: String,
    /// What it listens on.
    pub wire: Wire,
    /// Which unit shows what. Over TCP the first one answers to 0 and 255, too, unless they are in the list.
    pub units: Vec<(u8, View)>,
    /// The slot in which its masters write.
    pub write_priority: Priority,
    /// Who may connect, and who may write.
    pub clients: Clients,
    /// What it says of itself (FC 43 / MEI 14).
    pub identity: Identity,
    /// Most connections at a time.
    pub max_connections: usize,
    /// A connection without a whole request for this long (up to a quarter longer) is closed. It is also the time that
    /// one request may take to arrive, and one reply to be taken.
    pub idle_timeout: Timeout,
}

impl Settings {
    /// Unit 1 with everything, priority 15, anybody, 64 connections, 5 minutes.
    pub fn new(listen: SocketAddr) -> Self {
        Self::on(Wire::Tcp(listen))
    }

    /// The same on another wire.
    pub fn on(wire: Wire) -> Self {
        Self {
            name: super::LINK.to_owned(),
            wire,
            units: vec![(1, View::Whole)],
            write_priority: Priority::PROGRAM,
            clients: Clients::default(),
            identity: Identity::default(),
            max_connections: 64,
            idle_timeout: Timeout::millis(300_000),
        }
    }
}
