//! A trend log (clause 12.25): when a record is made. Time is an argument; samples come from the image.
//!
//! ```text
//!              Enable, inside Start_Time..Stop_Time
//!   idle ────────────────────────────────────────────► collecting
//!        ◄────────────────────────────────────────────
//!          Enable false, outside the times, or Stop_When_Full and no room for more (Enable turns false)
//! ```
//! Each change between the two is a log-status record; so are a purge and an interruption (the first record after a
//! restart), and a clock that was set is a time-change record. Deadlines of unaligned intervals are monotonic; aligned ones
//! follow civil time, which is what they are for.

use std::time::Duration;

use super::record::{DISABLED, Datum, INTERRUPTED, PURGED, Record};
use super::ring::Ring;
use crate::bacnet::civil::DateTime;
use crate::time::{Mono, Now};

/// How far civil and monotonic time may drift apart between two looks before the clock counts as set, ms.
const CLOCK_SET: i64 = 1_000;
/// Log_Interval while nobody wrote another, hundredths of a second.
pub(super) const DEFAULT_INTERVAL: u32 = 6_000;
/// Milliseconds of a day: intervals that divide it, or one of its parts, can be aligned.
const DAY: i64 = 86_400_000;

/// BACnetLoggingType.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bacnet) enum Logging {
    Polled,
    Cov,
    Triggered,
}

impl Logging {
    /// Its number on the wire.
    pub(in crate::bacnet) const fn code(self) -> u8 {
        match self {
            Self::Polled => 0,
            Self::Cov => 1,
            Self::Triggered => 2,
        }
    }

    /// From its number.
    pub(in crate::bacnet) const fn from_code(code: u32) -> Option<Self> {
        match code {
            0 => Some(Self::Polled),
            1 => Some(Self::Cov),
            2 => Some(Self::Triggered),
            _ => None,
        }
    }
}

/// What a client may set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::bacnet) struct Options {
    pub(in crate::bacnet) enable: bool,
    pub(in crate::bacnet) start: DateTime,
    pub(in crate::bacnet) stop: DateTime,
    pub(in crate::bacnet) logging: Logging,
    /// Hundredths of a second; 0 unless polled.
    pub(in crate::bacnet) interval: u32,
    pub(in crate::bacnet) align: bool,
    /// Hundredths of a second.
    pub(in crate::bacnet) offset: u32,
    pub(in crate::bacnet) stop_when_full: bool,
    /// Client_COV_Increment; `None` uses the object's own.
    pub(in crate::bacnet) increment: Option<f32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            enable: true,
            start: DateTime::ANY,
            stop: DateTime::ANY,
            logging: Logging::Polled,
            interval: DEFAULT_INTERVAL,
            align: true,
            offset: 0,
            stop_when_full: false,
            increment: None,
        }
    }
}

/// A write that was checked: it cannot fail any more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::bacnet) enum Change {
    Enable(bool),
    Start(DateTime),
    Stop(DateTime),
    Interval(u32),
    Logging(Logging),
    Align(bool),
    Offset(u32),
    StopWhenFull(bool),
    Increment(Option<f32>),
    Purge,
    Trigger(bool),
}

/// What the image shows of the point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Seen {
    /// A value with its flags, or a failure.
    pub(super) datum: Datum,
    /// COV_Increment of the object.
    pub(super) increment: f64,
}

/// One log.
#[derive(Debug)]
pub(in crate::bacnet) struct Log {
    pub(in crate::bacnet) options: Options,
    /// A sample was asked for and is not taken yet.
    pub(in crate::bacnet) trigger: bool,
    pub(super) ring: Ring,
    collecting: bool,
    /// Records before the next one may be missing.
    interrupted: bool,
    /// What a log by change of value has last.
    told: Option<Datum>,
    /// The interval of civil time that was last logged.
    slot: Option<i64>,
    /// When an unaligned interval ends.
    due: Option<Mono>,
    last: Option<Now>,
}

impl Log {
    /// An empty log of at least two records.
    pub(super) fn new(capacity: usize) -> Self {
        Self::with(Ring::new(capacity))
    }

    fn with(ring: Ring) -> Self {
        Self {
            options: Options::default(),
            trigger: false,
            ring,
            collecting: false,
            interrupted: false,
            told: None,
            slot: None,
            due: None,
            last: None,
        }
    }

    /// As an earlier life left it.
    pub(super) fn restored(options: Options, ring: Ring) -> Self {
        Self { options, interrupted: true, ..Self::with(ring) }
    }

    /// Buffer_Size.
    pub(in crate::bacnet) const fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    /// Record_Count.
    pub(in crate::bacnet) fn count(&self) -> usize {
        self.ring.count()
    }

    /// Total_Record_Count: the sequence number of the newest record, or of the last one that a power cut may have taken.
    pub(in crate::bacnet) const fn sequence(&self) -> u32 {
        self.ring.sequence()
    }

    /// Whether Enable would be refused (clause 12.25.5).
    pub(in crate::bacnet) fn is_stopped_full(&self) -> bool {
        self.options.stop_when_full && self.is_full()
    }

    fn is_full(&self) -> bool {
        self.ring.count() >= self.ring.capacity()
    }

    /// Do what was written, at once.
    pub(in crate::bacnet) fn apply(&mut self, change: Change, now: Now) {
        let options = &mut self.options;
        match change {
            Change::Enable(yes) => options.enable = yes,
            Change::Start(at) => options.start = at,
            Change::Stop(at) => options.stop = at,
            // Zero and not zero move between polling and change of value (clause 12.25.9).
            Change::Interval(0) => {
                options.interval = 0;
                options.logging = Logging::Cov;
            }
            Change::Interval(interval) => {
                options.interval = interval;
                options.logging = Logging::Polled;
            }
            Change::Logging(logging) => {
                options.logging = logging;
                options.interval = match (logging, options.interval) {
                    (Logging::Polled, 0) => DEFAULT_INTERVAL,
                    (Logging::Polled, interval) => interval,
                    (Logging::Cov | Logging::Triggered, _) => 0,
                };
            }
            Change::Align(yes) => options.align = yes,
            Change::Offset(offset) => options.offset = offset,
            Change::Increment(increment) => options.increment = increment,
            Change::StopWhenFull(yes) => {
                options.stop_when_full = yes;
                // The oldest record makes room for the one that says so (clause 12.25.12).
                if yes && self.is_full() {
                    self.options.enable = false;
                }
            }
            Change::Purge => {
                self.ring.clear();
                let disabled = if self.collecting { 0 } else { DISABLED };
                self.ring.append(Record::new(now.utc, Datum::Status(PURGED | disabled)));
            }
            Change::Trigger(yes) => self.trigger = yes,
        }
        if matches!(change, Change::Interval(_) | Change::Logging(_) | Change::Align(_) | Change::Offset(_)) {
            self.begin();
        }
        self.settle(now);
    }

    /// A look at the image.
    pub(super) fn step(&mut self, seen: Seen, now: Now) {
        self.notice_clock(now);
        self.settle(now);
        if self.collecting && self.is_due(seen, now) {
            self.told = Some(seen.datum);
            self.make(seen.datum, now);
        }
        // What is asked of a log that does not collect is not made up for.
        self.trigger = false;
    }

    /// A clock that was set is recorded under the new time (clause 12.25.14).
    fn notice_clock(&mut self, now: Now) {
        let Some(last) = self.last.replace(now) else { return };
        let passed = i64::try_from(now.mono.since(last.mono).as_millis()).unwrap_or(i64::MAX);
        let jump = now.utc.millis().saturating_sub(last.utc.millis()).saturating_sub(passed);
        if jump.abs() > CLOCK_SET && self.collecting {
            #[expect(clippy::cast_precision_loss, reason = "the protocol's REAL")]
            self.make(Datum::TimeChange(jump as f32 / 1_000.0), now);
            self.slot = None;
        }
    }

    /// Whether it collects, and a record where that changed.
    fn settle(&mut self, now: Now) {
        let (start, stop) = (self.options.start.instant(), self.options.stop.instant());
        let inside = start.is_none_or(|start| start <= now.utc) && stop.is_none_or(|stop| now.utc < stop);
        let collects = self.options.enable && inside;
        let interrupted = std::mem::take(&mut self.interrupted);
        if interrupted && collects {
            self.collecting = true;
            self.begin();
            self.ring.append(Record::new(now.utc, Datum::Status(INTERRUPTED)));
        } else if collects != self.collecting {
            self.collecting = collects;
            self.begin();
            self.ring.append(Record::new(now.utc, Datum::Status(if collects { 0 } else { DISABLED })));
        }
    }

    /// Intervals and comparisons begin anew.
    fn begin(&mut self) {
        self.told = None;
        self.slot = None;
        self.due = None;
    }

    fn is_due(&mut self, seen: Seen, now: Now) -> bool {
        match self.options.logging {
            Logging::Polled => self.is_polled(now),
            Logging::Cov => self.told.is_none_or(|told| {
                let increment = self.options.increment.map_or(seen.increment, f64::from);
                match (told, seen.datum) {
                    (Datum::Value(old, flags), Datum::Value(new, new_flags)) => {
                        flags != new_flags || old.moved(new, increment)
                    }
                    (old, new) => old != new,
                }
            }),
            Logging::Triggered => self.trigger,
        }
    }

    fn is_polled(&mut self, now: Now) -> bool {
        let interval = i64::from(self.options.interval.max(1)) * 10;
        if self.options.align && aligns(interval) {
            let slot = (now.utc.millis() - i64::from(self.options.offset) * 10).div_euclid(interval);
            // The first one waits for its boundary.
            return self.slot.replace(slot).is_some_and(|last| slot > last);
        }
        let due = self.due.unwrap_or(now.mono);
        if now.mono < due {
            return false;
        }
        let next = due.after(Duration::from_millis(interval.unsigned_abs()));
        // What was missed is not made up for.
        self.due = Some(if next > now.mono { next } else { now.mono });
        true
    }

    /// Make a record that Stop_When_Full may refuse: the last place is for the record that says that it stopped.
    fn make(&mut self, datum: Datum, now: Now) {
        if self.options.stop_when_full && self.ring.count() + 1 >= self.ring.capacity() {
            self.options.enable = false;
            self.settle(now);
        } else {
            self.ring.append(Record::new(now.utc, datum));
        }
    }

    /// The record at a position from 1.
    pub(in crate::bacnet) fn record(&self, position: usize) -> Option<Record> {
        self.ring.at(position)
    }

    /// The sequence number at a position from 1.
    pub(in crate::bacnet) fn sequence_at(&self, position: usize) -> u32 {
        self.ring.sequence_at(position)
    }

    /// Where a sequence number stands, as [`Ring::position_of`] says.
    pub(in crate::bacnet) fn position_of(&self, number: u32, backwards: bool) -> i64 {
        self.ring.position_of(number, backwards)
    }

    /// The first position whose record is newer than an instant in hundredths.
    pub(in crate::bacnet) fn first_after(&self, hundredths: i64) -> Option<usize> {
        self.ring.first_after(hundredths)
    }

    /// The last position whose record is older than an instant in hundredths.
    pub(in crate::bacnet) fn last_before(&self, hundredths: i64) -> Option<usize> {
        self.ring.last_before(hundredths)
    }
}

/// Whether an interval in ms is aligned: it divides a second, a minute, an hour or a day (clause 12.25.28).
const fn aligns(interval: i64) -> bool {
    DAY % interval == 0
}
