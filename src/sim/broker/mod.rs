//! A loopback MQTT 3.1.1 broker for the demonstration and the tests, on rumqttc's codec. It is a part of the simulation:
//! it refuses to listen off loopback and knows no passwords. Sites run a real broker.
//!
//! QoS 0 and 1 (inbound QoS 2 is completed and passed on as 1), retained messages, wills (on a lost connection, on
//! silence, on takeover), clean sessions and bounded persistent ones. Memory only: a new broker knows nothing.

mod connection;
mod hub;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use connection::{Shared, serve};
use hub::Hub;

/// Bounds of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Open connections; further ones are closed at once.
    pub max_clients: usize,
    /// Sessions, with those that nobody serves; beyond it an idle one gives way, and without an idle one a client is
    /// refused.
    pub max_sessions: usize,
    /// Largest packet, bytes; a larger one closes its connection.
    pub max_packet: usize,
    /// Subscriptions of one client; further ones are refused.
    pub max_filters: usize,
    /// Messages waiting for one connected client; further ones are dropped and counted.
    pub max_queue: usize,
    /// QoS 1 messages waiting for one absent client; further ones are dropped and counted.
    pub max_offline_queue: usize,
    /// QoS 1 messages sent to one client and not acknowledged, below 65,535.
    pub max_unacked: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_clients: 128,
            max_sessions: 256,
            max_packet: 256 * 1024,
            max_filters: 1024,
            max_queue: 2000,
            max_offline_queue: 1000,
            max_unacked: 100,
        }
    }
}

/// Figures of a running broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Connected clients.
    pub clients: usize,
    /// Sessions, with those of absent clients.
    pub sessions: usize,
    /// Retained messages.
    pub retained: usize,
    /// Messages published by clients, wills included.
    pub published: u64,
    /// QoS 0 messages that a full queue dropped.
    pub dropped_qos0: u64,
    /// QoS 1 messages that a full queue dropped.
    pub dropped_qos1: u64,
    /// Idle sessions that gave way to new ones.
    pub sessions_evicted: u64,
    /// Connections closed because of bytes that are no MQTT.
    pub garbage: u64,
    /// Connections refused because there were too many.
    pub refused: u64,
}

/// A broker that listens; [`run`](Self::run) serves.
#[derive(Debug)]
pub struct Broker {
    listener: TcpListener,
    address: SocketAddr,
    settings: Settings,
    shared: Shared,
}

/// A way into a running broker, for tests and for the demonstration's status.
#[derive(Debug, Clone)]
pub struct Handle(Shared);

impl Broker {
    /// Listen on a loopback address (port 0 takes a free one).
    ///
    /// # Errors
    /// `PermissionDenied` off loopback; what the system says when the port is taken.
    pub fn bind(address: SocketAddr, settings: Settings) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            let text = "the simulated broker listens on loopback only";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Shared { hub: Arc::new(Mutex::new(Hub::new(settings))), stalled: watch::Sender::new(false) };
        Ok(Self { listener, address, settings, shared })
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// A way in while it runs.
    pub fn handle(&self) -> Handle {
        Handle(self.shared.clone())
    }

    /// Serve until `stop`; then every connection is closed, without wills. Only the listener's set-up can fail.
    pub async fn run(self, stop: CancellationToken) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) if connections.len() < self.settings.max_clients => {
                        connections.spawn(serve(stream, self.shared.clone(), self.settings, stop.clone()));
                    }
                    Ok(_) => self.shared.hub().stats.refused += 1,
                    Err(error) => {
                        // Out of file descriptors, for one: it passes, and spinning would not help.
                        tracing::warn!(%error, "the simulated broker cannot accept");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
        Ok(())
    }
}

impl Handle {
    /// Forget every session and cut every connection, as a broker does that was killed; retained messages stay.
    pub fn wipe_sessions(&self) {
        self.0.hub().wipe();
    }

    /// While stalled, connections are accepted and nothing is answered.
    pub fn stall(&self, stalled: bool) {
        self.0.stalled.send_replace(stalled);
    }

    /// Payload of a retained message.
    pub fn retained(&self, topic: &str) -> Option<Bytes> {
        self.0.hub().retained(topic)
    }

    /// The figures.
    pub fn stats(&self) -> Stats {
        self.0.hub().stats()
    }
}
