//! For the tests of this room: a site clock that a task moves, so that no clock is read and minutes pass in seconds; and
//! a site with a broker and a listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{BrokerAddress, broker};
use crate::time::{Mono, Now, TimeSource, Utc};

/// Site time that runs some 100 times as fast as the wall, in steps of half a second.
pub(super) struct FastTime {
    millis: AtomicU64,
}

impl FastTime {
    const STEP: u64 = 500;
    const SPEED: u32 = 100;

    /// Start it; it stops when nobody holds it any more.
    pub(super) fn start() -> Arc<Self> {
        let time = Arc::new(Self { millis: AtomicU64::new(0) });
        let weak = Arc::downgrade(&time);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(Self::STEP) / Self::SPEED);
            // A machine that stalls stalls the site too: it does not jump.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let Some(time) = weak.upgrade() else { return };
                time.millis.fetch_add(Self::STEP, Ordering::Relaxed);
            }
        });
        time
    }
}

impl TimeSource for FastTime {
    fn now(&self) -> Now {
        let millis = self.millis.load(Ordering::Relaxed);
        Now {
            mono: Mono::from_start(Duration::from_millis(millis)),
            utc: Utc::from_millis(1_764_000_000_000 + i64::try_from(millis).unwrap()),
        }
    }

    fn wall(&self, site: Duration) -> Duration {
        site / Self::SPEED
    }
}

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Wait for what must come; a test that waits longer fails.
pub(super) async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(PATIENCE, what).await.expect("did not happen in time")
}

/// A broker on an ephemeral port, and a client that hears what the parts say.
pub(super) struct Site {
    pub(super) address: BrokerAddress,
    pub(super) broker: broker::Handle,
    pub(super) stop: CancellationToken,
    client: AsyncClient,
    heard: Heard,
}

/// Topics and payloads; what is no JSON is null.
type Heard = mpsc::Receiver<(String, serde_json::Value)>;

/// A client that hears everything, once its subscription is acknowledged.
async fn listener(address: &BrokerAddress) -> (AsyncClient, Heard) {
    let (client, mut events) = AsyncClient::new(MqttOptions::new("listener", &address.host, address.port), 100);
    client.subscribe("#", QoS::AtLeastOnce).await.unwrap();
    let (sender, heard) = mpsc::channel(10_000);
    let (ready, subscribed) = oneshot::channel();
    let mut ready = Some(ready);
    tokio::spawn(async move {
        while let Ok(event) = events.poll().await {
            match event {
                Event::Incoming(Packet::SubAck(_)) => drop(ready.take().unwrap().send(())),
                Event::Incoming(Packet::Publish(message)) => {
                    let value = serde_json::from_slice(&message.payload).unwrap_or_default();
                    sender.send((message.topic, value)).await.unwrap();
                }
                _ => {}
            }
        }
    });
    soon(subscribed).await.unwrap();
    (client, heard)
}

impl Site {
    /// Start both; the client hears everything.
    pub(super) async fn start() -> Self {
        let broker = broker::Broker::bind("127.0.0.1:0".parse().unwrap(), broker::Settings::default()).unwrap();
        let address = BrokerAddress::new("127.0.0.1", broker.local_addr().port());
        let (handle, stop) = (broker.handle(), CancellationToken::new());
        tokio::spawn(broker.run(stop.clone()));
        let (client, heard) = listener(&address).await;
        Self { address, broker: handle, stop, client, heard }
    }

    /// Listen anew, after the connection was cut.
    pub(super) async fn listen(&mut self) {
        (self.client, self.heard) = listener(&self.address).await;
    }

    /// Say something on a topic.
    pub(super) async fn say(&self, topic: &str, payload: impl Into<Vec<u8>>) {
        self.client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
    }

    /// The next message on a topic (given by its end) that is as wanted.
    pub(super) async fn hear(&mut self, topic: &str, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let mut last = serde_json::Value::Null;
        let wait = async {
            while let Some((on, value)) = self.heard.recv().await {
                if on.ends_with(topic) {
                    last = value;
                    if wanted(&last) {
                        return;
                    }
                }
            }
        };
        let came = tokio::time::timeout(PATIENCE, wait).await;
        assert!(came.is_ok(), "nothing as wanted on {topic}; the last was {last}");
        last
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
