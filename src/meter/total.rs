//! One total: from a device's register where there is one, from integrated power where not, and how far it may be shown.

use std::time::Duration;

use super::LedgerEvent;
use super::interval::Intervals;
use super::register::{Limits, MARGIN, Register, Step};
use crate::durable::{SavedCounter, SavedInterval};
use crate::point::{Doubt, Fault, Image, PointId, Reading, Value};
use crate::time::{Mono, Now, Utc};
use crate::units::{Energy, Watts};

/// The power must have come this long without a counter that never answered, before it is integrated.
const NEVER_COUNTED: Duration = Duration::from_secs(60);

/// And this long without one that did: until then its register is expected to catch up by itself.
const COUNTER_GONE: Duration = Duration::from_secs(15 * 60);

/// A checkpoint reserves what can flow in this time at most; checkpoints are far closer.
const RESERVE: Duration = Duration::from_secs(300);

/// Where a total comes from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// `meter/{name}` or `heater/{name}`.
    pub name: String,
    /// Where the total is shown.
    pub total: Option<PointId>,
    /// The device's register.
    pub counter: Option<PointId>,
    /// Its power, and how many W one of that point's unit is.
    pub power: Option<(PointId, f64)>,
    /// Readings older than this are stale.
    pub max_age: Duration,
    /// What its register can do.
    pub limits: Limits,
}

/// What the total follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Basis {
    /// Nothing has answered.
    None,
    /// The register.
    Register,
    /// Integrated power.
    Estimate,
}

/// One total.
#[derive(Debug, Clone)]
pub(super) struct Total {
    source: Source,
    epoch: u32,
    basis: Basis,
    register: Register,
    /// Energy that is known to have flowed, Wh, and the part of a Wh that integration left.
    flowed: u64,
    fraction: f64,
    /// Estimated part of it, Wh.
    estimated: u64,
    /// What is shown; `None` at first.
    shown: Option<u64>,
    /// Of the last durable checkpoint: nothing above it is shown.
    ceiling: u64,
    /// The device has answered in this life of the process.
    answered: bool,
    /// What an earlier life may have shown at most, what it had shown at its checkpoint, whether it followed a register.
    restored: Option<u64>,
    restored_shown: u64,
    restored_raw: bool,
    /// When a checkpoint was last durable; `None`: there never was one, so there is nothing to wait for.
    durable: Option<Mono>,
    confirmed: bool,
    /// The register's new life is not durable yet.
    held: bool,
    counted: Option<Now>,
    saved_at: Utc,
    power: Option<(Now, Watts)>,
    /// Integrated since the counter was last seen, Wh, and since when.
    gap: f64,
    gap_since: Option<Mono>,
    reading: Reading,
    intervals: Intervals,
}

impl Total {
    pub fn new(source: Source, now: Now, saved: Option<&SavedCounter>) -> Self {
        let mut register = Register::new(source.limits.clone());
        let memory = saved.cloned().unwrap_or_default();
        let basis = match (saved, memory.raw_wh) {
            (None, _) => Basis::None,
            (Some(_), None) => Basis::Estimate,
            (Some(_), Some(raw)) => {
                let downtime = now.utc.millis().checked_sub(memory.at.millis()).and_then(|ms| u64::try_from(ms).ok());
                register.restore(raw, now.mono, downtime.map(Duration::from_millis));
                Basis::Register
            }
        };
        Self {
            epoch: memory.epoch.max(1),
            basis,
            register,
            flowed: memory.flowed_wh,
            fraction: 0.0,
            estimated: memory.estimated_wh,
            shown: None,
            ceiling: memory.ceiling_wh,
            answered: false,
            restored: saved.map(|saved| saved.ceiling_wh),
            restored_shown: memory.total_wh,
            restored_raw: memory.raw_wh.is_some(),
            durable: saved.map(|_| now.mono),
            confirmed: false,
            held: false,
            counted: None,
            saved_at: memory.at,
            power: None,
            gap: 0.0,
            gap_since: None,
            reading: Reading::Bad(Fault::NeverRead),
            intervals: Intervals::new(saved),
            source,
        }
    }

    pub fn name(&self) -> &str {
        &self.source.name
    }

    pub const fn point(&self) -> Option<PointId> {
        self.source.total
    }

    pub const fn reading(&self) -> Reading {
        self.reading
    }

    pub const fn shown(&self) -> Option<u64> {
        self.shown
    }

    /// What an earlier life showed last, where that is certain, Wh: after a clean stop, and of an estimate, which goes on
    /// at its ceiling. What a killed process showed after its last checkpoint is not known, and a guess could be more than
    /// the register tells later.
    pub fn remembered(&self) -> Option<u64> {
        self.restored.filter(|ceiling| !self.restored_raw || *ceiling == self.restored_shown)
    }

    /// Begin in this epoch, unless there is a memory.
    pub const fn begin(&mut self, epoch: u32) {
        if self.restored.is_none() {
            self.epoch = epoch;
        }
    }

    /// Fold one image.
    pub fn step(&mut self, now: Now, image: &Image, events: &mut Vec<LedgerEvent>) {
        self.count(image, events);
        self.integrate(image);
        self.estimate(now, image, events);
        self.show(now);
        self.intervals.step(&self.source.name, now, self.shown, self.estimated, self.reading.quality());
    }

    pub fn take_intervals(&mut self, into: &mut Vec<SavedInterval>) {
        self.intervals.take(into);
    }

    /// A sample of the register counts once, by its time.
    fn count(&mut self, image: &Image, events: &mut Vec<LedgerEvent>) {
        let Some(state) = self.source.counter.and_then(|point| image.get(point)) else { return };
        let sample = state.sample;
        let Reading::Good(Value::Energy(raw)) = sample.reading else { return };
        if self.counted.is_some_and(|at| at.mono == sample.at.mono) {
            return;
        }
        let (raw, counter) = (raw.wh(), || self.source.name.clone());
        match self.register.fold(raw, sample.at.mono) {
            // The first memory of a counter begins at what the device itself shows.
            Step::First if self.basis == Basis::None => {
                self.flowed = raw;
                self.answer(true);
            }
            Step::First => {
                // It takes over from an estimate: durable first, or a kill would bring the estimate back.
                self.answer(false);
                self.held = true;
            }
            Step::Advanced(step) => {
                self.flow(step);
                self.answer(true);
            }
            Step::RolledOver { from, step } => {
                events.push(LedgerEvent::RolledOver { counter: counter(), from_wh: from, to_wh: raw });
                self.flow(step);
                self.answer(true);
            }
            Step::Refused { from } => {
                events.push(LedgerEvent::Refused { counter: counter(), from_wh: from, to_wh: raw });
            }
            Step::Doubted => {}
            Step::Replaced { from, first, step } => {
                events.push(LedgerEvent::Replaced { counter: counter(), from_wh: from, to_wh: first });
                self.flow(step);
                self.answer(false);
                self.held = true;
            }
        }
        self.basis = Basis::Register;
        self.counted = Some(sample.at);
        self.gap = 0.0;
        self.gap_since = None;
    }

    /// The device has answered, and it is believed. Where its register does not tell what flowed since the last life of the
    /// process, the total stands at what that life may have shown; and where a next life could read the register
    /// otherwise, it is shown only once that is durable.
    fn answer(&mut self, exact: bool) {
        if self.shown.is_some() || self.answered {
            return;
        }
        self.answered = true;
        if exact {
            self.restored = self.restored.map(|_| self.restored_shown);
        } else if self.restored_raw {
            self.held = true;
        }
    }

    const fn flow(&mut self, wh: u64) {
        self.flowed = self.flowed.saturating_add(wh);
    }

    /// Trapezoids between power samples; a hole longer than `max_age` adds nothing.
    fn integrate(&mut self, image: &Image) {
        let Some((point, to_watts)) = self.source.power else { return };
        let Some(sample) = image.get(point).map(|state| state.sample) else { return };
        let Reading::Good(value) = sample.reading else { return };
        let most = self.source.limits.max_power * MARGIN;
        let watts = Watts::of(value.as_f64() * to_watts).max(Watts::ZERO);
        let watts = if most > Watts::ZERO { watts.min(most) } else { watts };
        if let Some((last, before)) = self.power {
            let dt = sample.at.mono.since(last.mono);
            if dt.is_zero() {
                return;
            }
            if dt <= self.source.max_age {
                self.gap += (before.get() + watts.get()) / 2.0 * dt.as_secs_f64() / 3600.0;
            }
        }
        self.gap_since.get_or_insert(sample.at.mono);
        self.power = Some((sample.at, watts));
    }

    /// Adopt what was integrated, where there is no counter (any more).
    fn estimate(&mut self, now: Now, image: &Image, events: &mut Vec<LedgerEvent>) {
        let Some(since) = self.gap_since else { return };
        if self.basis != Basis::Estimate || self.shown.is_none() {
            let counter = self.source.counter.map(|point| image.reading(point));
            let grace = match (counter, self.basis) {
                (Some(_), Basis::Register) => COUNTER_GONE,
                (None | Some(Reading::Bad(Fault::Missing | Fault::Absent)), _) => Duration::ZERO,
                (Some(_), _) => NEVER_COUNTED,
            };
            if now.mono.since(since) < grace {
                return;
            }
            if self.basis != Basis::Estimate {
                events.push(LedgerEvent::EstimateBegan { counter: self.source.name.clone() });
            }
            self.answer(false);
            self.register.forget();
            self.basis = Basis::Estimate;
        }
        self.fraction += std::mem::take(&mut self.gap);
        let whole = self.fraction.floor();
        self.fraction -= whole;
        // Powers are clamped, so this is far below 2^53, and never negative.
        let whole = whole as u64;
        self.flow(whole);
        self.estimated = self.estimated.saturating_add(whole);
    }

    /// What may be shown now, and how good it is.
    fn show(&mut self, now: Now) {
        if std::mem::take(&mut self.confirmed) {
            self.durable = Some(now.mono);
        }
        // A disk that takes nothing must not stop a register's total for ever.
        let waits = self.durable.is_some_and(|at| now.mono.since(at) <= RESERVE);
        let target = match self.basis {
            _ if self.held => 0,
            Basis::Register if !waits => self.flowed,
            _ => self.flowed.min(self.ceiling),
        };
        let before = match self.shown {
            Some(shown) => shown,
            None if !self.answered => return,
            // An earlier life may have shown all that the register tells, or the ceiling: durable first.
            None if self.restored_raw && (self.held || target < self.flowed) => return,
            None => self.restored.unwrap_or(0),
        };
        let shown = before.max(target);
        self.shown = Some(shown);
        let value = Value::Energy(Energy::from_wh(shown));
        let late = self.heard().is_none_or(|at| now.mono.since(at.mono) > self.source.max_age);
        self.reading = if late || self.register.doubted() || shown < self.flowed {
            Reading::Uncertain(value, Doubt::Stale)
        } else if self.basis == Basis::Estimate || shown > self.flowed {
            Reading::Uncertain(value, Doubt::Estimated)
        } else {
            Reading::Good(value)
        };
    }

    /// When that which the total follows was last heard of in this life of the process.
    fn heard(&self) -> Option<Now> {
        match self.basis {
            Basis::Estimate => self.power.map(|(at, _)| at),
            Basis::None | Basis::Register => self.counted,
        }
    }

    /// What a checkpoint holds of it; `None` while there is nothing to remember. `last`: nothing is shown afterwards, so
    /// nothing is reserved.
    pub fn saved(&self, last: bool) -> Option<SavedCounter> {
        let (total_wh, ceiling_wh) = match (self.shown, self.restored) {
            (None, None) => return None,
            // It may be shown as soon as this is durable.
            (None, Some(restored)) if self.answered => (restored, restored.max(self.flowed)),
            (None, Some(restored)) => (self.restored_shown, restored),
            (Some(shown), _) if last => (shown, shown.max(self.flowed)),
            (Some(shown), _) => {
                let reserve = self.source.limits.max_power.get() * MARGIN * RESERVE.as_secs_f64() / 3600.0;
                // At least 1 kWh, for sources whose power is not known.
                let reserve = reserve.max(1000.0) as u64;
                (shown, shown.max(self.ceiling).max(self.flowed.saturating_add(reserve)))
            }
        };
        let saved = SavedCounter {
            name: self.source.name.clone(),
            epoch: self.epoch,
            total_wh,
            ceiling_wh,
            flowed_wh: self.flowed,
            raw_wh: self.register.base(),
            estimated_wh: self.estimated,
            at: self.heard().map_or(self.saved_at, |at| at.utc),
            ..SavedCounter::default()
        };
        Some(self.intervals.save(saved))
    }

    /// A checkpoint with this is durable.
    pub fn confirm(&mut self, saved: &SavedCounter) {
        self.confirmed = true;
        self.ceiling = self.ceiling.max(saved.ceiling_wh);
        // The same life of the register, if the total is as far from it as now.
        let distance = |flowed: u64, raw: Option<u64>| raw.map(|raw| i128::from(flowed) - i128::from(raw));
        let durable = distance(saved.flowed_wh, saved.raw_wh);
        if durable == distance(self.flowed, self.register.base()) {
            self.held = false;
        }
    }
}
