//! BACnet/SC as a node of a hub (Annex AB): TLS 1.3 with certificates, WebSocket, and the connection's upkeep. The frames
//! and the connection's states are the family's; here is how a hub is dialled, and when again.
//!
//! Loses the hub: the failover hub at once, where there is one; else again after the minimum reconnect time, which
//! doubles up to the maximum. On the failover hub the primary one is tried again at the minimum reconnect time.

mod hub;
mod socket;
#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use bacnet_transport::port::{ReceivedNpdu, TransportPort};
use bacnet_transport::sc::{
    ScActiveHub, ScConnectionState, ScDisconnectCause, ScEvent, ScReconnectConfig, ScTransport,
};
use tokio::sync::{broadcast, mpsc};

use super::further::{Event, Outgoing, PortState};
use super::link::Station;
use super::settings::Secure;
use crate::telemetry::Metrics;

pub use hub::Hub;
use socket::Socket;
pub use tls::{Pem, Tls, TlsError, expiry};

/// Its name in metrics.
pub(super) const LINK: &str = "bacnet-sc";
/// Longest NPDU and frame that we take, octets: what the family's transport says in its Connect-Request.
pub(super) const MAX_NPDU: u16 = 1478;
/// The same of a whole frame.
pub(super) const MAX_BVLC: u16 = 5705;
/// How long a hub may take to take a frame from us, or the end of the connection.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// The only data option that says nothing to act on: Secure Path (Annex AB.2.3.1).
const SECURE_PATH: u8 = 1;

/// Who a node is (Annex AB.1.5): the UUID is the device's for its life; the VMAC changes only where another node has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    uuid: [u8; 16],
    vmac: [u8; 6],
}

impl Identity {
    /// A new one: RFC 4122 version 4, and Random-48 (clause H.7.3). `None` when the system has no randomness.
    fn random() -> Option<Self> {
        let (mut uuid, mut vmac) = ([0; 16], [0; 6]);
        getrandom::fill(&mut uuid).ok()?;
        getrandom::fill(&mut vmac).ok()?;
        let [_, _, _, _, _, _, version, _, variant, ..] = &mut uuid;
        *version = *version & 0x0F | 0x40;
        *variant = *variant & 0x3F | 0x80;
        let [first, ..] = &mut vmac;
        *first = *first & 0xF0 | 0x02;
        Some(Self { uuid, vmac })
    }

    /// As it is kept.
    pub(super) fn octets(&self) -> Vec<u8> {
        [&self.uuid[..], &self.vmac].concat()
    }

    /// What was kept; `None` when it is none.
    pub(super) fn from_octets(octets: &[u8]) -> Option<Self> {
        let (uuid, vmac) = octets.split_first_chunk()?;
        let this = Self { uuid: *uuid, vmac: vmac.try_into().ok()? };
        (this.uuid != [0; 16] && this.vmac != [0; 6] && this.vmac != [0xFF; 6]).then_some(this)
    }
}

/// To which hub there is a connection (SC_Hub_Connector_State).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connected {
    No,
    Primary,
    Failover,
}

/// What the port shows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) port: Arc<Secure>,
    /// Unknown before the first start.
    pub(super) vmac: Option<[u8; 6]>,
    pub(super) connected: Connected,
}

impl State {
    pub(super) fn initial(port: &Secure) -> Self {
        Self { port: Arc::new(port.clone()), vmac: None, connected: Connected::No }
    }
}

type Transport = ScTransport<Socket>;

/// A connection to a hub.
struct Up {
    transport: Transport,
    npdus: mpsc::Receiver<ReceivedNpdu>,
    news: broadcast::Receiver<ScEvent>,
}

/// A port at work.
struct Running {
    port: Arc<Secure>,
    tls: Tls,
    identity: Identity,
    events: mpsc::Sender<Event>,
    metrics: Arc<Metrics>,
    /// Why there is no connection, as it was last told.
    told: Option<String>,
    /// There was one already.
    before: bool,
}

/// Be a node until `outgoing` is closed.
pub(super) async fn run(
    port: Secure,
    identity: Option<Identity>,
    mut outgoing: mpsc::Receiver<Outgoing>,
    events: mpsc::Sender<Event>,
    metrics: Arc<Metrics>,
) {
    metrics.up(LINK, false);
    let Some(tls) = port.tls.clone() else { return tracing::error!("BACnet/SC has no certificates") };
    let known = identity.is_some();
    let Some(identity) = identity.or_else(Identity::random) else {
        return tracing::error!("BACnet/SC has no identity: the system has no randomness");
    };
    if !known {
        // The node's end is seen below.
        let _ = events.send(Event::Identity(identity)).await;
    }
    let mut wait = port.reconnect.0;
    let counters = Arc::clone(&metrics);
    let mut this = Running { port: Arc::new(port), tls, identity, events, metrics, told: None, before: false };
    loop {
        let made = tokio::select! {
            made = this.connect() => made,
            () = refuse(&mut outgoing, &counters) => return,
        };
        match made {
            Ok(up) => {
                wait = this.port.reconnect.0;
                if this.serve(up, &mut outgoing).await {
                    return;
                }
            }
            Err(why) => {
                this.metrics.failure(LINK, why.cause());
                this.down(&why.to_string()).await;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(trembling(wait)) => {}
            () = refuse(&mut outgoing, &counters) => return,
        }
        wait = (wait * 2).min(this.port.reconnect.1);
    }
}

/// What is to be sent while there is no hub goes nowhere; until nothing comes any more.
async fn refuse(outgoing: &mut mpsc::Receiver<Outgoing>, metrics: &Metrics) {
    while let Some(one) = outgoing.recv().await {
        if one.to.is_some() {
            metrics.failure(LINK, "send");
        }
    }
}

/// A tenth more or less, so that the nodes of a hub that was started again do not come all at once.
fn trembling(wait: Duration) -> Duration {
    let mut octet = [0];
    // Without randomness it is just that time.
    let share = getrandom::fill(&mut octet).map_or(0.5, |()| f64::from(u8::from_be_bytes(octet)) / 255.0);
    wait.mul_f64(0.9 + 0.2 * share)
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Dial(#[from] socket::DialError),
    #[error("the hub {0} does not take us as a node: {1}")]
    Refused(Hub, String),
}

impl Failure {
    const fn cause(&self) -> &'static str {
        match self {
            Self::Dial(error) => error.cause(),
            Self::Refused(..) => "refused",
        }
    }
}

impl Running {
    async fn dial(&self, hub: &Hub) -> Result<Socket, Failure> {
        Ok(socket::dial(hub, &self.tls, self.port.connect_wait).await?)
    }

    /// A connection to the primary hub, or else to the failover hub.
    async fn connect(&mut self) -> Result<Up, Failure> {
        let (socket, which) = match (self.dial(&self.port.primary).await, &self.port.failover) {
            (Ok(socket), _) => (socket, ScActiveHub::Primary),
            (Err(why), None) => return Err(why),
            (Err(why), Some(failover)) => match self.dial(failover).await {
                Ok(socket) => (socket, ScActiveHub::Failover),
                Err(other) => {
                    tracing::debug!(%other, "the failover hub neither");
                    return Err(why);
                }
            },
        };
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let mut transport = ScTransport::new(socket, self.identity.vmac)
            .with_device_uuid(self.identity.uuid)
            .with_connect_timeout_ms(millis(self.port.connect_wait))
            .with_heartbeat_interval_ms(millis(self.port.heartbeat))
            .with_heartbeat_timeout_ms(millis(self.port.heartbeat + self.port.connect_wait))
            .with_initial_hub(which)
            .with_connector(self.connector(&self.port.primary))
            // Retries of a lost hub are ours: they go on for ever.
            .with_reconnect(ScReconnectConfig {
                initial_delay_ms: millis(self.port.reconnect.0).max(1),
                max_delay_ms: millis(self.port.reconnect.1).max(1),
                max_retries: 0,
            });
        if let Some(failover) = &self.port.failover {
            transport = transport.with_failover_connector(self.connector(failover));
        }
        let news = transport.connection_events();
        let started = transport.start().await;
        // Another node has our VMAC: the next attempt comes with a new one.
        if let Ok(vmac) = transport.local_mac().try_into()
            && vmac != self.identity.vmac
        {
            tracing::warn!(vmac = %Station::Secure(vmac), "another BACnet/SC node has our VMAC: we take a new one");
            self.identity.vmac = vmac;
            // The node's end is seen by who sends.
            let _ = self.events.send(Event::Identity(self.identity)).await;
        }
        match started {
            Ok(npdus) => Ok(Up { transport, npdus, news }),
            Err(error) => Err(Failure::Refused(self.port.primary.clone(), error.to_string())),
        }
    }

    fn connector(
        &self,
        hub: &Hub,
    ) -> impl Fn() -> std::pin::Pin<Box<dyn Future<Output = Result<Socket, bacnet_types::error::Error>> + Send>>
    + Send
    + Sync
    + 'static {
        let (hub, tls, wait) = (hub.clone(), self.tls.clone(), self.port.connect_wait);
        move || {
            let (hub, tls) = (hub.clone(), tls.clone());
            Box::pin(async move {
                let dialled = socket::dial(&hub, &tls, wait).await;
                dialled.map_err(|error| bacnet_types::error::Error::Transport(std::io::Error::other(error.to_string())))
            })
        }
    }

    /// Carry NPDUs until the hub is lost (false), or nothing more is to be sent (true).
    async fn serve(&mut self, up: Up, outgoing: &mut mpsc::Receiver<Outgoing>) -> bool {
        let Up { mut transport, mut npdus, mut news } = up;
        let mut dropped = 0;
        let over = loop {
            tokio::select! {
                npdu = npdus.recv() => match npdu {
                    Some(npdu) => {
                        // What found the queue of its node, or the whole of it, full on the way here.
                        let drops = transport.npdu_drop_counts();
                        let all = drops.control_rate_drops + drops.fairness_drops + drops.full_drops;
                        (dropped..all).for_each(|_| self.metrics.dropped(LINK, "npdu"));
                        dropped = all;
                        self.take(npdu).await;
                    }
                    None => break false,
                },
                one = outgoing.recv() => match one {
                    Some(one) => self.send(&transport, one).await,
                    None => break true,
                },
                event = news.recv() => match event {
                    Ok(ScEvent::Connected { hub, .. }) => self.up(hub).await,
                    Ok(ScEvent::Disconnected { cause, .. }) => self.lost(&cause).await,
                    Ok(_) => {}
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        let status = transport.connection_status();
                        if status.state == ScConnectionState::Connected && let Some(hub) = status.active_hub {
                            self.up(hub).await;
                        }
                    }
                    Err(broadcast::error::RecvError::Closed) => break false,
                },
            }
        };
        // What the connection's end was is in the news.
        while let Ok(event) = news.try_recv() {
            if let ScEvent::Disconnected { cause, .. } = event {
                self.lost(&cause).await;
            }
        }
        let _ = tokio::time::timeout(PATIENCE, transport.stop()).await;
        if over {
            self.metrics.up(LINK, false);
        } else {
            self.down("the connection is over").await;
        }
        over
    }

    async fn take(&self, received: ReceivedNpdu) {
        // What must be understood and is not: not ours to act on (Annex AB.3.1.2).
        if received.data_attributes.iter().any(|option| option.must_understand && option.option_type != SECURE_PATH) {
            return self.metrics.rejected(LINK, "data option");
        }
        let Ok(vmac) = received.source_mac.as_slice().try_into() else { return };
        let event = Event::Npdu { from: Station::Secure(vmac), group: received.link_layer_group, npdu: received.npdu };
        // The node's end is seen by who sends.
        let _ = self.events.send(event).await;
    }

    async fn send(&self, transport: &Transport, one: Outgoing) {
        let sent = match one.to {
            Some(Station::Secure(vmac)) => transport.send_unicast(&one.npdu, &vmac).await,
            None => transport.send_broadcast(&one.npdu).await,
            Some(Station::Ip(_) | Station::Serial(_)) => return,
        };
        match sent {
            Ok(()) => self.metrics.transaction(LINK),
            Err(error) => {
                tracing::debug!(%error, "BACnet/SC frame not sent");
                self.metrics.failure(LINK, "send");
            }
        }
    }

    async fn up(&mut self, hub: ScActiveHub) {
        let (connected, hub) = match hub {
            ScActiveHub::Primary => (Connected::Primary, Some(&self.port.primary)),
            ScActiveHub::Failover => (Connected::Failover, self.port.failover.as_ref()),
        };
        if let Some(hub) = hub {
            tracing::info!(%hub, vmac = %Station::Secure(self.identity.vmac), "connected to the BACnet/SC hub");
        }
        self.metrics.up(LINK, true);
        if std::mem::replace(&mut self.before, true) {
            self.metrics.reconnect(LINK);
        }
        self.told = None;
        self.show(connected, true).await;
    }

    async fn lost(&mut self, cause: &ScDisconnectCause) {
        self.metrics.failure(
            LINK,
            match cause {
                ScDisconnectCause::HeartbeatTimeout => "silent",
                ScDisconnectCause::Nak { .. } => "refused",
                _ => "lost",
            },
        );
        self.down(&format!("the connection was lost: {cause:?}")).await;
    }

    /// There is no connection: told once, and again when the reason is another one.
    async fn down(&mut self, why: &str) {
        self.metrics.up(LINK, false);
        let first = self.told.is_none();
        if self.told.as_deref() != Some(why) && (first || why != "the connection is over") {
            tracing::warn!(hub = %self.port.primary, "BACnet/SC: {why}");
            self.told = Some(why.to_owned());
        }
        if first {
            self.show(Connected::No, false).await;
        }
    }

    async fn show(&self, connected: Connected, fresh: bool) {
        let state = State { port: Arc::clone(&self.port), vmac: Some(self.identity.vmac), connected };
        // The node's end is seen by who sends.
        let _ = self.events.send(Event::State { state: PortState::Secure(state), fresh }).await;
    }
}
