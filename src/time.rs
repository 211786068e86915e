//! Time is an argument. `Mono` for every deadline, `Utc` for display and records, `Now` for both at one instant.
//!
//! Site time may run faster than the wall (a demonstration at speed 60): whoever waits asks its [`TimeSource`] how long
//! that is on the wall.

use std::fmt;
use std::time::Duration;

/// Monotonic site time since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Mono(Duration);

impl Mono {
    /// The start of the process.
    pub const START: Self = Self(Duration::ZERO);

    /// A point in time this long after the start.
    #[inline]
    pub const fn from_start(since: Duration) -> Self {
        Self(since)
    }

    /// Seconds since the start, for simulation and arithmetic.
    #[inline]
    pub fn secs(self) -> f64 {
        self.0.as_secs_f64()
    }

    /// How long ago `earlier` was; zero when it is in the future.
    #[inline]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// This much later.
    #[inline]
    pub const fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

/// Civil time, milliseconds since 1970-01-01T00:00:00Z. For display and records only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Utc(i64);

impl Utc {
    /// From milliseconds since the Unix epoch.
    #[inline]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[inline]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Parse RFC 3339.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse::<jiff::Timestamp>().ok().map(|stamp| Self(stamp.as_millisecond()))
    }
}

impl fmt::Display for Utc {
    /// RFC 3339 with milliseconds, `Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(stamp) => write!(f, "{stamp:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

/// One instant on both scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// For deadlines.
    pub mono: Mono,
    /// For records.
    pub utc: Utc,
}

/// A value that stops being true by itself at a time. It does not survive a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease<T> {
    value: T,
    until: Mono,
}

impl<T> Lease<T> {
    /// A value that holds for `ttl` from `now`.
    pub const fn new(value: T, now: Mono, ttl: Duration) -> Self {
        Self { value, until: now.after(ttl) }
    }

    /// The value, while it holds.
    pub fn get(&self, now: Mono) -> Option<&T> {
        (now < self.until).then_some(&self.value)
    }

    /// When it stops holding.
    pub const fn until(&self) -> Mono {
        self.until
    }

    /// What is left of it.
    pub const fn remaining(&self, now: Mono) -> Duration {
        self.until.since(now)
    }
}

/// A protocol time-out on the wall, 1 ms to 10 min by construction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timeout(Duration);

impl Timeout {
    /// Shortest.
    pub const MIN: Duration = Duration::from_millis(1);
    /// Longest.
    pub const MAX: Duration = Duration::from_secs(600);

    /// The only door; `None` outside 1 ms to 10 min.
    pub fn new(duration: Duration) -> Option<Self> {
        (Self::MIN..=Self::MAX).contains(&duration).then_some(Self(duration))
    }

    /// From whole milliseconds, held to the bounds; for constants.
    #[inline]
    pub const fn millis(millis: u64) -> Self {
        let held = if millis == 0 {
            1
        } else if millis > 600_000 {
            600_000
        } else {
            millis
        };
        Self(Duration::from_millis(held))
    }

    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

/// Where a task gets its time; handed in by the gateway (or by a test), never read from the system.
pub trait TimeSource: Send + Sync + 'static {
    /// The present instant.
    fn now(&self) -> Now;

    /// How long to wait on the wall until `site` of site time has passed (shorter when site time runs fast).
    fn wall(&self, site: Duration) -> Duration;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_by_itself() {
        let start = Mono::from_start(Duration::from_secs(5));
        let lease = Lease::new(7, start, Duration::from_secs(10));
        assert_eq!(lease.get(start.after(Duration::from_millis(9_999))), Some(&7));
        assert_eq!(lease.get(start.after(Duration::from_secs(10))), None);
        assert_eq!(lease.remaining(start), Duration::from_secs(10));
    }

    #[test]
    fn civil_time_round_trips() {
        let at = Utc::from_millis(1_764_000_000_123);
        assert_eq!(at.to_string(), "2025-11-24T16:00:00.123Z");
        assert_eq!(Utc::parse(&at.to_string()), Some(at));
        assert_eq!(Utc::parse("yesterday"), None);
    }

    #[test]
    fn timeouts_are_bounded() {
        assert_eq!(Timeout::new(Duration::ZERO), None);
        assert_eq!(Timeout::new(Duration::from_secs(601)), None);
        assert_eq!(Timeout::millis(0).get(), Timeout::MIN);
    }
}
