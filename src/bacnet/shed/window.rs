//! The sliding duty window: mean power over the last minutes, in a bounded number of buckets.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Mono;
use crate::units::Watts;

/// Buckets in a window: it slides in steps of a sixtieth.
const BUCKETS: u32 = 60;
/// Shortest bucket.
const SHORTEST: Duration = Duration::from_secs(1);
/// A gap between two looks longer than this is no measurement of what lies between.
const LONGEST_STEP: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy)]
struct Bucket {
    since: Mono,
    joules: f64,
    seconds: f64,
}

/// Mean power since the start, over at most the window.
#[derive(Debug, Default)]
pub(super) struct Window {
    buckets: VecDeque<Bucket>,
    last: Option<Mono>,
    began: Option<Mono>,
}

impl Window {
    pub(super) const fn new() -> Self {
        Self { buckets: VecDeque::new(), last: None, began: None }
    }

    /// Begin anew.
    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    /// The power that was drawn since the last call; what is older than `length` is forgotten.
    pub(super) fn add(&mut self, power: Option<Watts>, length: Duration, now: Mono) {
        self.began.get_or_insert(now);
        let passed = self.last.replace(now).map_or(Duration::ZERO, |last| now.since(last));
        let bucket = (length / BUCKETS).max(SHORTEST);
        while self.buckets.front().is_some_and(|first| now.since(first.since) >= length.max(bucket)) {
            self.buckets.pop_front();
        }
        let Some(power) = power else { return };
        if passed.is_zero() || passed > LONGEST_STEP {
            return;
        }
        if self.buckets.back().is_none_or(|last| now.since(last.since) >= bucket) {
            self.buckets.push_back(Bucket { since: now, joules: 0.0, seconds: 0.0 });
        }
        if let Some(last) = self.buckets.back_mut() {
            last.joules += power.get() * passed.as_secs_f64();
            last.seconds += passed.as_secs_f64();
        }
    }

    /// Mean; `None` before anything was measured.
    pub(super) fn mean(&self) -> Option<Watts> {
        let (joules, seconds) = self.buckets.iter().fold((0.0, 0.0), |(j, s), b| (j + b.joules, s + b.seconds));
        if seconds > 0.0 { Watts::new(joules / seconds).ok() } else { None }
    }

    /// Whether a whole window has passed since the start. A window of no length never fills: what counts is now.
    pub(super) fn is_full(&self, minutes: u32) -> bool {
        let length = Duration::from_secs(u64::from(minutes) * 60);
        minutes > 0 && self.began.zip(self.last).is_some_and(|(began, last)| last.since(began) >= length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_forgets_what_is_older_than_the_window_and_stays_small() {
        let mut window = Window::new();
        let length = Duration::from_secs(300);
        let at = |s: u64| Mono::from_start(Duration::from_secs(s));
        assert_eq!(window.mean(), None);
        for s in 0..300 {
            window.add(Some(Watts::of(100.0)), length, at(s));
        }
        assert_eq!(window.mean(), Some(Watts::of(100.0)));
        assert!(!window.is_full(5));
        for s in 300..900 {
            window.add(Some(Watts::of(200.0)), length, at(s));
        }
        assert_eq!(window.mean(), Some(Watts::of(200.0)));
        assert!(window.is_full(5) && !window.is_full(0));
        assert!(window.buckets.len() <= 61);
        // a hole is no measurement, and neither is a missing one
        window.add(Some(Watts::of(1e6)), length, at(1_000));
        window.add(None, length, at(1_001));
        assert_eq!(window.mean(), Some(Watts::of(200.0)));
    }
}
