//! For the tests of this room: a site clock that a task moves, so that no clock is read and minutes pass in seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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

/// Wait for what must come; a test that waits longer fails.
pub(super) async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("did not happen within 20 s")
}
