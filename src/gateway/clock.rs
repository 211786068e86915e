//! The clock: the only place that reads one. Site time may run faster than the wall, for demonstrations.

#![expect(clippy::disallowed_methods, reason = "this is the one file that reads clocks")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::time::{Mono, Now, TimeSource, Utc};

/// Site time from the system's monotonic clock.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
    started_utc: Utc,
    speed: f64,
}

/// Why a speed is refused.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("the speed is {0}, and must be from 1 to 1000")]
pub struct BadSpeed(pub f64);

impl SystemClock {
    /// A clock that starts now and runs `speed` times as fast as the wall, 1 to 1000.
    pub fn new(speed: f64) -> Result<Self, BadSpeed> {
        if !(1.0..=1000.0).contains(&speed) {
            return Err(BadSpeed(speed));
        }
        Ok(Self { start: Instant::now(), started_utc: wall_utc(), speed })
    }

    /// How many times as fast as the wall site time runs.
    pub const fn speed(&self) -> f64 {
        self.speed
    }
}

/// Civil time of the system.
fn wall_utc() -> Utc {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Utc::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

impl TimeSource for SystemClock {
    fn now(&self) -> Now {
        let since = self.start.elapsed().mul_f64(self.speed);
        // At speed 1 civil time follows the system, which may be set or slewed; a faster site keeps its own.
        let utc = if self.speed == 1.0 {
            wall_utc()
        } else {
            Utc::from_millis(self.started_utc.millis() + i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
        };
        Now { mono: Mono::from_start(since), utc }
    }

    fn wall(&self, site: Duration) -> Duration {
        site.div_f64(self.speed)
    }
}

/// A number that no earlier boot had, for people and payloads.
pub fn boot_id() -> String {
    let mut bytes = [0u8; 8];
    if getrandom::fill(&mut bytes).is_err() {
        bytes = wall_utc().millis().to_be_bytes();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn site_time_runs_at_its_speed() {
        let clock = SystemClock::new(60.0).unwrap();
        assert_eq!(clock.wall(Duration::from_secs(60)), Duration::from_secs(1));
        let (first, second) = (clock.now(), clock.now());
        assert!(second.mono >= first.mono);
        assert!(SystemClock::new(0.5).is_err());
        assert!(SystemClock::new(f64::NAN).is_err());
    }

    #[test]
    fn boots_differ() {
        assert_ne!(boot_id(), boot_id());
    }
}
