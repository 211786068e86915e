//! Closed intervals: a quarter of an hour each, aligned to UTC, every one billed once.
//!
//! An interval that could not be closed in time (the gateway was down, the meter had not answered, nobody took the
//! records) simply becomes longer: its energy is exact, its distribution is not known, and it says so by its quality.

use std::collections::VecDeque;
use std::time::Duration;

use crate::durable::{SavedCounter, SavedInterval};
use crate::point::Quality;
use crate::time::{Mono, Now, Utc};

/// Length of an interval, ms.
const PERIOD: i64 = 15 * 60 * 1000;

/// Records that may wait to be taken; the open interval grows while they do.
const WAITING: usize = 1024;

/// A civil clock that stands before the open interval is given this long to be set.
const CLOCK_GRACE: Duration = Duration::from_secs(3600);

/// The open interval of one counter, and the closed ones that wait.
#[derive(Debug, Clone)]
pub(super) struct Intervals {
    closed: u64,
    start: Option<Utc>,
    start_wh: u64,
    start_estimated: u64,
    worst: Quality,
    backwards_since: Option<Mono>,
    waiting: VecDeque<SavedInterval>,
}

const fn floor(at: Utc) -> Utc {
    Utc::from_millis(at.millis().div_euclid(PERIOD) * PERIOD)
}

const fn worse(a: Quality, b: Quality) -> Quality {
    match (a, b) {
        (Quality::Bad, _) | (_, Quality::Bad) => Quality::Bad,
        (Quality::Uncertain, _) | (_, Quality::Uncertain) => Quality::Uncertain,
        (Quality::Good, Quality::Good) => Quality::Good,
    }
}

impl Intervals {
    pub fn new(saved: Option<&SavedCounter>) -> Self {
        Self {
            closed: saved.map_or(0, |saved| saved.intervals),
            start: saved.and_then(|saved| saved.interval_start),
            start_wh: saved.map_or(0, |saved| saved.interval_start_wh),
            start_estimated: saved.map_or(0, |saved| saved.interval_start_estimated_wh),
            // Over a restart something was not seen.
            worst: Quality::Uncertain,
            backwards_since: None,
            waiting: VecDeque::new(),
        }
    }

    /// The state, into a checkpoint.
    pub fn save(&self, saved: SavedCounter) -> SavedCounter {
        SavedCounter {
            intervals: self.closed,
            interval_start: self.start,
            interval_start_wh: self.start_wh,
            interval_start_estimated_wh: self.start_estimated,
            ..saved
        }
    }

    /// One step, with the total as shown (`None`: the meter has not answered yet) and its estimated part.
    pub fn step(&mut self, name: &str, now: Now, total: Option<u64>, estimated: u64, quality: Quality) {
        let Some(total_wh) = total else { return };
        let boundary = floor(now.utc);
        let Some(start) = self.start else {
            self.open(boundary, total_wh, estimated);
            self.worst = worse(Quality::Uncertain, quality);
            return;
        };
        self.worst = worse(self.worst, quality);
        if boundary < start {
            let since = *self.backwards_since.get_or_insert(now.mono);
            if now.mono.since(since) >= CLOCK_GRACE {
                // The clock was wrong before: go on from what it says now, with all the energy.
                self.start = Some(boundary);
                self.worst = worse(Quality::Uncertain, self.worst);
                self.backwards_since = None;
            }
            return;
        }
        self.backwards_since = None;
        if boundary == start || self.waiting.len() >= WAITING {
            return;
        }
        let energy_wh = total_wh.saturating_sub(self.start_wh);
        let long = boundary.millis().saturating_sub(start.millis()) > PERIOD;
        let quality = if long { worse(Quality::Uncertain, self.worst) } else { self.worst };
        self.closed += 1;
        self.waiting.push_back(SavedInterval {
            name: name.to_owned(),
            seq: self.closed,
            start,
            end: boundary,
            energy_wh,
            total_wh,
            estimated_wh: estimated.saturating_sub(self.start_estimated).min(energy_wh),
            quality: quality.as_str().to_owned(),
        });
        self.open(boundary, total_wh, estimated);
    }

    const fn open(&mut self, start: Utc, total_wh: u64, estimated: u64) {
        self.start = Some(start);
        self.start_wh = total_wh;
        self.start_estimated = estimated;
        self.worst = Quality::Good;
    }

    /// Give away what is closed.
    pub fn take(&mut self, into: &mut Vec<SavedInterval>) {
        into.extend(self.waiting.drain(..));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn at(mono_s: u64, utc_ms: i64) -> Now {
        Now { mono: Mono::from_start(Duration::from_secs(mono_s)), utc: Utc::from_millis(utc_ms) }
    }

    fn taken(intervals: &mut Intervals) -> Vec<SavedInterval> {
        let mut into = Vec::new();
        intervals.take(&mut into);
        into
    }

    #[test]
    fn quarters_are_aligned_and_add_up() {
        let mut intervals = Intervals::new(None);
        for second in 0..3_600u64 {
            let utc = 10 * HOUR + 7 * 60_000 + second as i64 * 1_000;
            intervals.step("meter/m", at(second, utc), Some(1_000 + second), 0, Quality::Good);
        }
        let closed = taken(&mut intervals);
        assert_eq!(closed.iter().map(|i| i.seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(closed[0].start, Utc::from_millis(10 * HOUR));
        assert_eq!(closed[0].quality, "uncertain", "it was not seen from its start");
        assert_eq!((closed[1].energy_wh, closed[1].quality.as_str()), (900, "good"));
        assert!(closed.windows(2).all(|w| w[0].end == w[1].start && w[0].total_wh + w[1].energy_wh == w[1].total_wh));
        assert!(taken(&mut intervals).is_empty());
    }

    #[test]
    fn downtime_becomes_one_long_interval_with_all_its_energy() {
        let mut before = Intervals::new(None);
        before.step("m", at(0, 10 * HOUR), Some(5_000), 0, Quality::Good);
        let saved = before.save(SavedCounter::default());
        let mut after = Intervals::new(Some(&saved));
        after.step("m", at(0, 14 * HOUR), None, 0, Quality::Bad);
        after.step("m", at(5, 14 * HOUR + 5_000), Some(45_000), 0, Quality::Good);
        let closed = taken(&mut after);
        assert_eq!(closed.len(), 1);
        assert_eq!((closed[0].seq, closed[0].energy_wh), (1, 40_000));
        assert_eq!((closed[0].start, closed[0].end), (Utc::from_millis(10 * HOUR), Utc::from_millis(14 * HOUR)));
        assert_eq!(closed[0].quality, "uncertain");
    }

    #[test]
    fn a_clock_that_jumps_loses_no_energy() {
        let mut intervals = Intervals::new(None);
        intervals.step("m", at(0, 10 * HOUR), Some(0), 0, Quality::Good);
        // Back to 1970 for a while, then set right: one interval.
        intervals.step("m", at(10, 0), Some(10), 0, Quality::Good);
        intervals.step("m", at(20, 10 * HOUR + PERIOD), Some(20), 0, Quality::Good);
        // Back for good: after an hour it goes on from there.
        intervals.step("m", at(30, HOUR), Some(30), 0, Quality::Good);
        intervals.step("m", at(3_630, 2 * HOUR), Some(40), 0, Quality::Good);
        intervals.step("m", at(4_530, 2 * HOUR + PERIOD), Some(50), 0, Quality::Good);
        let closed = taken(&mut intervals);
        assert_eq!(closed.iter().map(|i| i.energy_wh).collect::<Vec<_>>(), [20, 30]);
        assert!(closed.iter().all(|i| i.start < i.end));
    }

    #[test]
    fn records_that_nobody_takes_do_not_grow_without_bound_and_lose_nothing() {
        let mut intervals = Intervals::new(None);
        for n in 0..(WAITING as u64 + 500) {
            intervals.step("m", at(n * 900, n as i64 * PERIOD), Some(n), 0, Quality::Good);
        }
        let mut all = taken(&mut intervals);
        assert_eq!(all.len(), WAITING);
        intervals.step("m", at(9_999_999, 5_000 * PERIOD), Some(5_000), 0, Quality::Good);
        all.extend(taken(&mut intervals));
        assert_eq!(all.iter().map(|i| i.energy_wh).sum::<u64>(), 5_000);
        assert!(all.windows(2).all(|w| w[0].seq + 1 == w[1].seq));
    }
}
