//! The courier: joins the store's durable outbox with the MQTT client, so that neither room knows the other.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::durable::SavedInterval;
use crate::mqtt::{IntervalKey, Intervals};
use crate::store::StoreWriter;

/// Wall time between looks into the outbox: a quarter of an hour that closed is on its way within it.
const LOOK: Duration = Duration::from_secs(5);
/// Acknowledgements that may wait to be marked; beyond that the client keeps them.
const ACKNOWLEDGED: usize = 16;

/// The courier's ends.
pub(super) struct Courier {
    store: StoreWriter,
    unsent: watch::Sender<Arc<Vec<SavedInterval>>>,
    sent: mpsc::Receiver<Vec<IntervalKey>>,
}

impl Courier {
    /// A courier, and the client's ends.
    pub fn new(store: StoreWriter) -> (Self, Intervals) {
        let (unsent_in, unsent) = watch::channel(Arc::default());
        let (sent, sent_out) = mpsc::channel(ACKNOWLEDGED);
        (Self { store, unsent: unsent_in, sent: sent_out }, Intervals { unsent, sent })
    }

    /// Carry until `stop`; then only what the client still acknowledges on its way down.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                acknowledged = self.sent.recv() => {
                    let Some(keys) = acknowledged else { return };
                    if let Err(error) = self.store.sent(keys).await {
                        // They stay in the outbox and go again, under the same id.
                        tracing::warn!(%error, "sent intervals could not be marked");
                    }
                    if !stop.is_cancelled() {
                        self.renew().await;
                    }
                }
                _ = look.tick(), if !stop.is_cancelled() => self.renew().await,
            }
        }
    }

    async fn renew(&self) {
        match self.store.unsent().await {
            Ok(unsent) => {
                self.unsent.send_if_modified(|known| {
                    let changed = **known != unsent.intervals;
                    if changed {
                        *known = Arc::new(unsent.intervals);
                    }
                    changed
                });
            }
            Err(error) => tracing::warn!(%error, "the outbox cannot be read"),
        }
    }
}
