//! The Modbus server: the building's own system reads the image here and writes its wishes. One `Server` is one listener
//! (TCP, TLS, RTU over TCP, a serial line); a gateway may have several.
//!
//! Masters differ in what they do badly, so nothing that one sends may stop another: a malformed PDU is answered with
//! exception 03, a frame that is not Modbus TCP closes its own connection, a master that neither sends nor reads is let
//! go after the idle time-out, and one connection too many gives way or is closed at once (`seats`). All of it is counted.
//!
//! Unit identifiers: the configured ones; over TCP also 0 and 255, by which a TCP server itself is addressed
//! (Implementation Guide V1.0b, 4.4.2.2), and any other is answered with exception 0x0B: nothing stands behind this
//! gateway by number. On RTU other units are other slaves, and left to answer for themselves; 0 is a broadcast.
//!
//! Unused addresses of a block that exists read 0; writing one is exception 02.

mod access;
mod diagnostics;
mod input;
mod rtu;
mod seats;
mod serial;
mod session;
mod settings;
mod stream;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

pub use self::access::{Clients, Network, Rights};
pub use self::settings::{Settings, View, Wire};
pub use crate::modbus::identity::Identity;

use self::seats::{Seat, Seats};
use self::session::{Session, Shared, Units};
use self::stream::End;
use crate::modbus::tls;
use crate::plant::Plant;
use crate::ports::Ports;
use crate::request::{Origin, Side};

/// The name of the first listener in metrics.
pub const LINK: &str = "modbus-server";

/// How long the listener rests after an error, such as no more file descriptors.
const REST: Duration = Duration::from_millis(200);

/// How long connections have to end when the gateway stops: a little longer than a request may wait for its verdict.
const GRACE: Duration = Duration::from_secs(3);

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// After this long without a byte the system asks whether the other end is still there, so often, so many times: a
/// master that lost its power is found after a minute, however long the idle time-out is.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);

/// A listener that has its port. A serial port is opened when it runs, as often as it must.
#[derive(Debug)]
pub struct Server {
    listener: Option<TcpListener>,
    settings: Settings,
    plant: Arc<Plant>,
}

impl Server {
    /// Take the port. Connections wait until `run`.
    pub fn bind(settings: Settings, plant: Arc<Plant>) -> io::Result<Self> {
        let listener = match &settings.wire {
            Wire::Tcp(listen) | Wire::RtuOverTcp(listen) | Wire::Tls { listen, .. } => {
                let listener = TcpListener::bind(listen)?;
                listener.set_nonblocking(true)?;
                Some(listener)
            }
            Wire::Serial { .. } => None,
        };
        Ok(Self { listener, settings, plant })
    }

    /// Where it listens; `None` on a serial line.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.listener.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Serve until `ports.stop`. The error is one of the listener's registration; afterwards nothing ends it.
    pub async fn run(self, ports: Ports) -> io::Result<()> {
        let units = Units::new(&self.plant, &self.settings.units);
        let counter = ports.metrics.link(&self.settings.name);
        let shared = Arc::new(Shared { settings: self.settings, units, ports, counter });
        match (self.listener, &shared.settings.wire) {
            (Some(listener), _) => {
                listen(tokio::net::TcpListener::from_std(listener)?, &shared).await;
            }
            (None, Wire::Serial { line, echo }) => {
                serial::run(&shared, line, *echo, shared.settings.clients.serial()).await;
            }
            (None, _) => {}
        }
        Ok(())
    }
}

/// Accept connections until the gateway stops.
async fn listen(listener: tokio::net::TcpListener, shared: &Arc<Shared>) {
    let name = &shared.settings.name;
    let metrics = &shared.ports.metrics;
    let mut seats = Seats::new(shared.settings.max_connections);
    let mut connections = JoinSet::new();
    let mut stop = pin!(shared.ports.stop.cancelled());
    metrics.up(name, true);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => break,
            Some(ended) = connections.join_next() => match ended {
                Ok(number) => seats.leave(number),
                // Nothing in a connection panics; if it does, its seat stays taken until it is the most silent one.
                Err(_) => metrics.failure(name, "panic"),
            },
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    if let Some(rights) = shared.settings.clients.rights(peer.ip()) {
                        if let Some(placed) = seats.take(peer.ip().to_canonical(), &shared.ports.stop) {
                            let shared = Arc::clone(shared);
                            connections.spawn(async move {
                                serve(&shared, stream, peer, rights, &placed.seat).await;
                                placed.number
                            });
                        } else {
                            metrics.rejected(name, "too many connections");
                        }
                    } else {
                        metrics.rejected(name, "client not allowed");
                        tracing::debug!(%peer, "modbus client is not in the list");
                    }
                }
                Err(error) => {
                    metrics.failure(name, "accept");
                    tracing::warn!(%error, "modbus server cannot accept a connection");
                    tokio::time::sleep(REST).await;
                }
            },
        }
        metrics.clients(name, seats.len());
    }
    metrics.up(name, false);
    // Each connection sees the stop too and ends after the request in hand; one whose master takes no replies is cut.
    let drain = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(GRACE, drain).await;
    metrics.clients(name, 0);
}

async fn serve(shared: &Shared, mut stream: TcpStream, peer: SocketAddr, rights: Rights, seat: &Seat) {
    // Without it a reply may wait 40 ms for the acknowledgement of the one before; not worth ending a connection for.
    let _ = stream.set_nodelay(true);
    let (after, every, times) = KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(after).with_interval(every).with_retries(times);
    let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    tracing::debug!(%peer, "modbus master connected");
    let origin = Origin { side: Side::Modbus, peer: peer.to_string().into() };
    let session = Session { shared, origin, rights };
    let end = match &shared.settings.wire {
        Wire::Tcp(_) => session.talk_tcp(&mut stream, seat).await,
        Wire::RtuOverTcp(_) => session.talk_rtu(&mut stream, seat).await,
        Wire::Tls { tls, roles, .. } => {
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&tls.0));
            let handshake = tokio::select! {
                handshake = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)) => handshake.ok(),
                () = seat.over.cancelled() => return,
            };
            match handshake {
                Some(Ok(mut stream)) => {
                    let role = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                    let role = role.and_then(|certificate| tls::role(certificate)).unwrap_or_default();
                    let by_role = roles.get(role).copied().unwrap_or(Rights::NONE);
                    tracing::debug!(%peer, role, ?by_role, "modbus master has a certificate");
                    let session = Session { rights: session.rights.and(by_role), ..session };
                    session.talk_tcp(&mut stream, seat).await
                }
                Some(Err(error)) => {
                    tracing::warn!(%peer, %error, "modbus TLS handshake failed");
                    End::Rejected("tls handshake")
                }
                None => End::Rejected("tls handshake"),
            }
        }
        Wire::Serial { .. } => End::Closed,
    };
    match end {
        End::Closed => tracing::debug!(%peer, "modbus master gone"),
        End::Rejected(cause) => {
            shared.ports.metrics.rejected(&shared.settings.name, cause);
            tracing::debug!(%peer, cause, "modbus master let go");
        }
    }
}

#[cfg(test)]
mod tests;
