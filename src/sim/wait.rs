//! Waiting for site time, and waiting longer after each failure.

use std::time::Duration;

use crate::time::{Mono, TimeSource};

/// Shortest sleep: tokio's timer has this resolution, and a site clock that lags a little must not make a busy loop.
const TICK: Duration = Duration::from_millis(1);

/// Until a point of site time. May be dropped and begun again without harm.
pub(super) async fn until(time: &dyn TimeSource, at: Mono) {
    loop {
        let left = at.since(time.now().mono);
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(time.wall(left).max(TICK)).await;
    }
}

/// Delays on the wall between attempts to connect: 0.1 s, doubled up to 5 s.
#[derive(Debug, Clone, Copy)]
pub(super) struct BackOff(Duration);

impl BackOff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(5);

    /// As after a success.
    pub(super) const fn new() -> Self {
        Self(Self::FIRST)
    }

    /// How long to wait before the next attempt.
    pub(super) fn next(&mut self) -> Duration {
        let wait = self.0;
        self.0 = (wait * 2).min(Self::LONGEST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_doubles_to_its_longest() {
        let mut back_off = BackOff::new();
        let waits: Vec<u128> = (0..8).map(|_| back_off.next().as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }
}
