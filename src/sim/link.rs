//! One connection of a simulated part to the broker: kept up by itself, made anew after each loss.

use std::time::Duration;

use rumqttc::{AsyncClient, Event, LastWill, MqttOptions, NetworkOptions, Outgoing, Packet, QoS, SubscribeReasonCode};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::wait::BackOff;

/// Where the broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerAddress {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl BrokerAddress {
    /// A broker.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }
}

/// What a link reports, in order.
pub(super) enum LinkEvent {
    /// Connected, and every subscription acknowledged. Publish with this client until `Down`.
    Up(AsyncClient),
    /// Lost; another attempt follows by itself.
    Down,
    /// A message on a subscribed topic.
    Message {
        /// Its topic.
        topic: String,
        /// Its payload.
        payload: Vec<u8>,
    },
}

/// How a part connects.
pub(super) struct LinkOptions {
    pub(super) broker: BrokerAddress,
    pub(super) client_id: String,
    /// Subscribed on each connection, QoS 1.
    pub(super) filters: Vec<String>,
    /// Made for each connection, so that it can carry the time of connecting.
    pub(super) will: Box<dyn Fn() -> Option<LastWill> + Send + Sync>,
}

/// A running link. Dropping it cuts the connection, so that the broker sends the will.
pub(super) struct Link {
    events: mpsc::Receiver<LinkEvent>,
    task: JoinHandle<()>,
}

/// Requests and events that may wait inside the process. A part that does not take its events stalls its own connection.
const QUEUE: usize = 64;
/// Largest packet taken from the broker.
const PACKET_LIMIT: usize = 64 * 1024;
/// How long a goodbye may take on the wall.
const GOODBYE: Duration = Duration::from_secs(1);

impl Link {
    /// Start connecting.
    pub(super) fn open(options: LinkOptions, stop: CancellationToken) -> Self {
        let (sender, events) = mpsc::channel(QUEUE);
        Self { events, task: tokio::spawn(keep(options, sender, stop)) }
    }

    /// The next event; never, once the link has ended.
    pub(super) async fn next(&mut self) -> LinkEvent {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    /// Send what is queued, say goodbye (so that the broker sends no will) and end; bounded in time.
    pub(super) async fn close(mut self, client: Option<AsyncClient>) {
        self.events.close();
        if let Some(client) = client
            && client.try_disconnect().is_ok()
        {
            // A broker that does not take the goodbye is cut off when `self` is dropped.
            let _ = tokio::time::timeout(GOODBYE, &mut self.task).await;
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Publish without waiting, QoS 1. A full queue or a bad topic loses the message: a simulated part says its state again.
pub(super) fn publish(client: &AsyncClient, topic: &str, retain: bool, payload: Vec<u8>) {
    if client.try_publish(topic, QoS::AtLeastOnce, retain, payload).is_err() {
        tracing::warn!(topic, "message not sent: queue full or topic invalid");
    }
}

async fn keep(options: LinkOptions, sender: mpsc::Sender<LinkEvent>, stop: CancellationToken) {
    let mut back_off = BackOff::new();
    loop {
        match session(&options, &sender, &stop).await {
            End::Goodbye => return,
            End::Lost { was_up } => {
                if was_up {
                    back_off = BackOff::new();
                    // Nobody left to tell: the link is closing.
                    let _ = sender.send(LinkEvent::Down).await;
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(back_off.next()) => {}
        }
    }
}

enum End {
    /// We said goodbye, or were stopped before there was anything to say goodbye to.
    Goodbye,
    Lost {
        was_up: bool,
    },
}

async fn session(options: &LinkOptions, sender: &mpsc::Sender<LinkEvent>, stop: &CancellationToken) -> End {
    let mut settings = MqttOptions::new(&options.client_id, &options.broker.host, options.broker.port);
    settings.set_keep_alive(Duration::from_secs(5)).set_max_packet_size(PACKET_LIMIT, PACKET_LIMIT);
    if let Some(will) = (options.will)() {
        settings.set_last_will(will);
    }
    // A fresh event loop for each connection: nothing queued for the old one comes out late.
    let (client, mut events) = AsyncClient::new(settings, QUEUE);
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    events.set_network_options(network);
    let mut missing = options.filters.len();
    let mut up = false;
    loop {
        let event = tokio::select! {
            event = events.poll() => event,
            () = stop.cancelled(), if !up => return End::Goodbye,
        };
        let report = match event {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                for filter in &options.filters {
                    if client.try_subscribe(filter, QoS::AtLeastOnce).is_err() {
                        tracing::warn!(filter, "not subscribed: filter invalid");
                        missing = missing.saturating_sub(1);
                    }
                }
                if missing > 0 {
                    continue;
                }
                LinkEvent::Up(client.clone())
            }
            Ok(Event::Incoming(Packet::SubAck(ack))) => {
                if ack.return_codes.iter().any(|code| matches!(code, SubscribeReasonCode::Failure)) {
                    tracing::warn!(client = options.client_id, "the broker refused a subscription");
                }
                missing = missing.saturating_sub(1);
                if up || missing > 0 {
                    continue;
                }
                LinkEvent::Up(client.clone())
            }
            Ok(Event::Incoming(Packet::Publish(message))) => {
                LinkEvent::Message { topic: message.topic, payload: message.payload.to_vec() }
            }
            Ok(Event::Outgoing(Outgoing::Disconnect)) => return End::Goodbye,
            Ok(_) => continue,
            Err(error) => {
                tracing::debug!(client = options.client_id, %error, "broker connection lost");
                return End::Lost { was_up: up };
            }
        };
        up |= matches!(report, LinkEvent::Up(_));
        // A closed channel means the part is saying goodbye: go on until it is sent.
        let _ = sender.send(report).await;
    }
}
