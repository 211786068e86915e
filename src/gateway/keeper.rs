//! The keeper: carries the adapters' keepsakes to the store.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::ports::KeepsakeDesk;
use crate::store::StoreWriter;

/// Wall time between attempts while the disk takes nothing.
const RETRY: Duration = Duration::from_secs(2);

/// Carry until `stop`, and then what waits once more.
pub(super) async fn run(mut desk: KeepsakeDesk, store: StoreWriter, stop: CancellationToken) {
    let mut failing = false;
    loop {
        let last = tokio::select! {
            () = stop.cancelled() => true,
            () = desk.changed(), if !failing => false,
            () = tokio::time::sleep(RETRY), if failing => false,
        };
        let keepsakes = desk.take();
        if !keepsakes.is_empty() {
            match store.keep(keepsakes.clone()).await {
                Ok(()) => failing = false,
                Err(error) => {
                    if !failing {
                        tracing::error!(%error, "keepsakes cannot be written; it is tried again");
                    }
                    failing = true;
                    desk.put_back(keepsakes);
                }
            }
        }
        if last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ports::Keepsakes;
    use crate::store::Store;
    use crate::telemetry::Metrics;

    #[tokio::test]
    async fn what_is_kept_is_there_after_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let (store, restored) = Store::open(dir.path()).unwrap();
        let (keepsakes, desk) = Keepsakes::new(restored.keepsakes, Arc::new(Metrics::new()));
        let stop = CancellationToken::new();
        let keeper = tokio::spawn(run(desk, store.writer(), stop.clone()));
        let bacnet = keepsakes.under("bacnet");
        assert!(bacnet.keep("a", vec![1]) && bacnet.keep("b", vec![2]) && bacnet.keep("a", vec![3]));
        bacnet.forget("b");
        stop.cancel();
        keeper.await.unwrap();
        store.close();
        let (_, restored) = Store::open(dir.path()).unwrap();
        let (keepsakes, _) = Keepsakes::new(restored.keepsakes, Arc::new(Metrics::new()));
        assert_eq!(keepsakes.under("bacnet").restored().collect::<Vec<_>>(), [("a", &[3][..])]);
    }
}
