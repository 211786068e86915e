//! The Modbus TCP server: the building's own system reads the image here and writes its wishes.
//!
//! Masters differ in what they do badly, so nothing that one sends may stop another: a malformed PDU is answered with
//! exception 03, a frame that is not Modbus TCP closes its own connection, a master that neither sends nor reads is let
//! go after the idle time-out, and one connection too many is closed at once. All of it is counted.
//!
//! Unit identifiers: the configured one, and 0 and 255, by which a TCP server itself is addressed (Implementation Guide
//! V1.0b, 4.4.2.2). Any other is answered with exception 0x0B: nothing stands behind this gateway by number.
//!
//! Unused addresses of a block that exists read 0; writing one is exception 02.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::modbus::address::AddressSpace;
use crate::modbus::mbap::{self, Frame};
use crate::modbus::pdu::Exception;
use crate::modbus::reply::{self, Step};
use crate::plant::Plant;
use crate::point::{Image, Priority};
use crate::ports::Ports;
use crate::request::{Origin, Refusal, Request, Side};
use crate::telemetry::LinkCounter;
use crate::time::Timeout;

/// The server's name in metrics.
pub const LINK: &str = "modbus-server";

/// Unit identifiers by which a TCP server itself is addressed.
const SELF_UNITS: [u8; 2] = [0, 255];

/// Received and not yet answered bytes of one connection: some fifteen of the longest frames, hundreds of reads.
const INPUT: usize = 4096;

/// Replies of one connection that are gathered before they are sent.
const OUTPUT: usize = 16 * 1024;

/// How long the listener rests after an error, such as no more file descriptors.
const REST: Duration = Duration::from_millis(200);

/// How long connections have to end when the gateway stops: a little longer than a request may wait for its verdict.
const GRACE: Duration = Duration::from_secs(3);

/// How long a reply waits for an image that shows what was written. The engine publishes before it agrees, so this is
/// a bound, not a delay.
const SHOWN: Duration = Duration::from_secs(1);

/// How the server is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its unit identifier; 0 and 255 are answered too.
    pub unit_id: u8,
    /// The slot in which its masters write.
    pub write_priority: Priority,
    /// Most connections at a time; the newest is refused.
    pub max_connections: usize,
    /// A connection without a whole request for this long (up to a quarter longer) is closed. It is also the time that
    /// one request may take to arrive, and one reply to be taken.
    pub idle_timeout: Timeout,
}

impl Settings {
    /// Unit 1, priority 15, 64 connections, 5 minutes.
    pub const fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            unit_id: 1,
            write_priority: Priority::PROGRAM,
            max_connections: 64,
            idle_timeout: Timeout::millis(300_000),
        }
    }
}

/// A server that has its port.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    settings: Settings,
    space: AddressSpace,
}

impl Server {
    /// Take the port. Connections wait until `run`.
    pub fn bind(settings: Settings, plant: Arc<Plant>) -> io::Result<Self> {
        let listener = TcpListener::bind(settings.listen)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, settings, space: AddressSpace::new(&plant) })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serve until `ports.stop`. The error is one of the listener's registration; afterwards nothing ends it.
    pub async fn run(self, ports: Ports) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let limit = self.settings.max_connections;
        let shared = Arc::new(Shared {
            counter: ports.metrics.link(LINK),
            settings: self.settings,
            space: self.space,
            ports: ports.clone(),
        });
        let mut connections = JoinSet::new();
        let mut stop = pin!(ports.stop.cancelled());
        ports.metrics.up(LINK, true);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(ended) = connections.join_next() => {
                    if ended.is_err_and(|error| error.is_panic()) {
                        ports.metrics.failure(LINK, "panic");
                    }
                }
                accepted = listener.accept() => match accepted {
                    Ok(_) if connections.len() >= limit => ports.metrics.rejected(LINK, "too many connections"),
                    Ok((stream, peer)) => {
                        connections.spawn(serve(Arc::clone(&shared), stream, peer));
                    }
                    Err(error) => {
                        ports.metrics.failure(LINK, "accept");
                        tracing::warn!(%error, "modbus server cannot accept a connection");
                        tokio::time::sleep(REST).await;
                    }
                },
            }
            ports.metrics.clients(LINK, connections.len());
        }
        ports.metrics.up(LINK, false);
        // Each connection sees the stop too and ends after the request in hand; one whose master takes no replies is cut.
        let drain = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(GRACE, drain).await;
        ports.metrics.clients(LINK, 0);
        Ok(())
    }
}

/// What all connections use.
struct Shared {
    settings: Settings,
    space: AddressSpace,
    ports: Ports,
    counter: LinkCounter,
}

/// Why a connection ended.
enum End {
    /// The master closed it, or the network did, or the gateway stops.
    Closed,
    /// Cause, for the metric.
    Rejected(&'static str),
}

async fn serve(shared: Arc<Shared>, mut stream: TcpStream, peer: SocketAddr) {
    // Without it a reply may wait 40 ms for the acknowledgement of the one before; not worth ending a connection for.
    let _ = stream.set_nodelay(true);
    tracing::debug!(%peer, "modbus master connected");
    let origin = Origin { side: Side::Modbus, peer: peer.to_string().into() };
    match (Connection { shared: &shared, origin }).talk(&mut stream).await {
        End::Closed => tracing::debug!(%peer, "modbus master gone"),
        End::Rejected(cause) => {
            shared.ports.metrics.rejected(LINK, cause);
            tracing::debug!(%peer, cause, "modbus master let go");
        }
    }
}

struct Connection<'a> {
    shared: &'a Shared,
    origin: Origin,
}

impl Connection<'_> {
    /// Requests in, replies out, in order, until something ends it.
    async fn talk(&self, stream: &mut TcpStream) -> End {
        let idle = self.shared.settings.idle_timeout.get();
        let mut input = Input::new();
        let mut output = Vec::with_capacity(2 * mbap::LONGEST);
        let mut stop = pin!(self.shared.ports.stop.cancelled());
        // Five ticks without a whole request are the idle time-out and up to a quarter: cheaper than a timer for each
        // request.
        let mut quarter = tokio::time::interval(idle / 4);
        quarter.set_missed_tick_behavior(MissedTickBehavior::Delay);
        quarter.tick().await;
        let mut quiet = 0;
        loop {
            loop {
                match mbap::first(input.unread()) {
                    Frame::Partial => break,
                    Frame::Lie(cause) => {
                        // What was asked before the lie is still answered.
                        let _ = send(stream, &mut output, idle).await;
                        return End::Rejected(cause);
                    }
                    Frame::Whole { transaction, unit, pdu, size } => {
                        let start = mbap::open(&mut output, transaction, unit);
                        self.answer(unit, pdu, &mut output).await;
                        mbap::close(&mut output, start);
                        input.consume(size);
                        quiet = 0;
                        self.shared.counter.transaction();
                    }
                }
                if output.len() >= OUTPUT
                    && let Err(end) = send(stream, &mut output, idle).await
                {
                    return end;
                }
            }
            if let Err(end) = send(stream, &mut output, idle).await {
                return end;
            }
            tokio::select! {
                biased;
                () = &mut stop => return End::Closed,
                read = stream.read(input.room()) => match read {
                    Ok(0) | Err(_) => return End::Closed,
                    Ok(count) => input.received(count),
                },
                _ = quarter.tick() => {
                    quiet += 1;
                    if quiet >= 5 {
                        return End::Rejected("idle");
                    }
                }
            }
        }
    }

    /// Append the reply to one PDU.
    async fn answer(&self, unit: u8, pdu: &[u8], out: &mut Vec<u8>) {
        let Shared { settings, space, ports, .. } = self.shared;
        if unit != settings.unit_id && !SELF_UNITS.contains(&unit) {
            return reply::refuse(pdu, Exception::Target, out);
        }
        let image = Arc::clone(&ports.image.borrow());
        let Step::Ask { writes, then } = reply::begin(space, &image, pdu, settings.write_priority, out) else { return };
        match ports.requests.submit(Request { origin: self.origin.clone(), writes }).await {
            Ok(accepted) => {
                let image = self.image_from(accepted.image_seq).await;
                reply::finish(space, &image, pdu, then, out);
            }
            Err(refusal) => {
                if refusal == Refusal::Busy {
                    ports.metrics.dropped(LINK, "engine busy");
                }
                reply::refuse(pdu, reply::exception(&refusal), out);
            }
        }
    }

    /// The newest image, at least this one.
    async fn image_from(&self, seq: u64) -> Arc<Image> {
        let mut images = self.shared.ports.image.clone();
        // An engine that is gone or late shows what there is: its agreement stands either way.
        let _ = tokio::time::timeout(SHOWN, images.wait_for(|image| image.seq >= seq)).await;
        Arc::clone(&images.borrow())
    }
}

/// Send what is gathered; a master that does not take it within the time is let go.
async fn send(stream: &mut TcpStream, output: &mut Vec<u8>, within: Duration) -> Result<(), End> {
    if output.is_empty() {
        return Ok(());
    }
    match tokio::time::timeout(within, stream.write_all(output)).await {
        Ok(Ok(())) => {
            output.clear();
            Ok(())
        }
        Ok(Err(_)) => Err(End::Closed),
        Err(_) => Err(End::Rejected("replies not taken")),
    }
}

/// Received bytes, bounded: whole frames are consumed from the front, what is left of one moves there.
struct Input {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Input {
    fn new() -> Self {
        Self { bytes: vec![0; INPUT].into_boxed_slice(), start: 0, end: 0 }
    }

    fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
    }

    /// Where the next bytes go; never empty once whole frames are consumed, because a part of one is shorter than this.
    fn room(&mut self) -> &mut [u8] {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }

    fn received(&mut self, count: usize) {
        self.end = self.bytes.len().min(self.end + count);
    }
}

#[cfg(test)]
mod tests;
