//! What one step of a device's register means: energy, a rollover, a bad reading, or another life of the register.
//!
//! ```text
//!            plausible step            step back, or above what can have flowed
//!          ┌──────────────┐           ┌───────────────────────────────────────┐
//!  none ─► base ◄─────────┘   base ───┘► doubted ── goes on from base ────────► base (the doubt was a bad reading)
//!                                          └────── three samples agree ───────► base (replaced: the jump is not billed)
//! ```

use std::time::Duration;

use crate::time::Mono;
use crate::units::Watts;

/// Margin on the highest power, for a step that can be energy (FIELD.md, heat meters).
pub(super) const MARGIN: f64 = 1.2;

/// Samples that must agree before a register that dropped or jumped is believed.
const AGREE: u32 = 3;

/// Over a restart the civil clock may lie (a box without a battery resumes at its last saved time): this much downtime, a
/// long weekend, is always granted to a register that went on counting.
const DOWNTIME_GRANTED: Duration = Duration::from_secs(72 * 3600);

/// A register that is read for the first time may be about to make a coarse step.
const FIRST_GRANTED: Duration = Duration::from_secs(15 * 60);

/// What a register can plausibly do.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Limits {
    /// It counts to this and starts at 0 again, Wh; `None`: it never rolls over.
    pub modulus_wh: Option<u64>,
    /// Highest power of what it measures; zero: unknown, no step upwards is refused.
    pub max_power: Watts,
    /// A reading may be this old when it arrives.
    pub latency: Duration,
    /// Smallest step of the register, Wh.
    pub resolution_wh: f64,
}

impl Limits {
    /// Energy that can flow in a time, Wh.
    fn flow(&self, over: Duration) -> f64 {
        MARGIN * self.max_power.get() * over.as_secs_f64() / 3600.0
    }

    /// What is granted on top of the time passed, Wh.
    fn slack(&self) -> f64 {
        self.flow(self.latency) + self.resolution_wh
    }
}

/// Where a register stood, and how much it may advance from there. The budget fills with time and is spent by steps, so
/// that many small steps cannot exceed what one large one may not.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Mark {
    raw: u64,
    at: Mono,
    budget_wh: f64,
}

impl Mark {
    /// The energy from here to a new register value, and whether it rolled over; `None` when it cannot be energy.
    fn advance(&self, raw: u64, at: Mono, limits: &Limits) -> Option<(u64, bool)> {
        let (step, rolled) = match raw.checked_sub(self.raw) {
            Some(step) => (step, false),
            None => (rollover(self.raw, raw, limits.modulus_wh?)?, true),
        };
        let allowed = self.budget_wh + limits.flow(at.since(self.at));
        (limits.max_power <= Watts::ZERO || step as f64 <= allowed).then_some((step, rolled))
    }

    /// The mark after an accepted step.
    fn moved(&self, raw: u64, step: u64, at: Mono, limits: &Limits) -> Self {
        let left = self.budget_wh + limits.flow(at.since(self.at)) - step as f64;
        // An unchanged register keeps its whole budget: a coarse one collects many minutes in one step.
        let budget_wh = if step == 0 { left } else { left.clamp(0.0, limits.slack()) };
        Self { raw, at, budget_wh }
    }
}

/// The step of a rollover: only from above 0.9 of the modulus to below 0.1 of it.
fn rollover(from: u64, to: u64, modulus: u64) -> Option<u64> {
    let tenth = modulus / 10;
    (from < modulus && from > modulus - tenth && to < tenth).then(|| modulus - from + to)
}

/// A register that is not believed yet.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Doubted {
    /// Its first value.
    first: u64,
    /// Its latest.
    mark: Mark,
    /// Samples that agree so far.
    samples: u32,
}

/// What a sample meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The first sample ever: the base.
    First,
    /// Energy, Wh.
    Advanced(u64),
    /// Energy over a rollover, Wh.
    RolledOver {
        /// Register before.
        from: u64,
        /// Energy.
        step: u64,
    },
    /// Cannot be energy: doubted from now on.
    Refused {
        /// Register before.
        from: u64,
    },
    /// Still doubted.
    Doubted,
    /// Believed as another life of the register.
    Replaced {
        /// Register before.
        from: u64,
        /// First value of the new life.
        first: u64,
        /// Energy since that first value, Wh.
        step: u64,
    },
}

/// A device's register as it was followed so far.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Register {
    limits: Limits,
    base: Option<Mark>,
    doubted: Option<Doubted>,
}

impl Register {
    pub fn new(limits: Limits) -> Self {
        Self { limits, base: None, doubted: None }
    }

    /// Go on from a saved value after this much downtime by the civil clock (`None` when that clock went back).
    pub fn restore(&mut self, raw: u64, now: Mono, downtime: Option<Duration>) {
        let granted = downtime.unwrap_or_default().max(DOWNTIME_GRANTED);
        let budget_wh = self.limits.flow(granted) + self.limits.slack();
        self.base = Some(Mark { raw, at: now, budget_wh });
    }

    /// The value that the total stands for.
    pub fn base(&self) -> Option<u64> {
        self.base.map(|base| base.raw)
    }

    /// Whether the latest sample is not believed.
    pub const fn doubted(&self) -> bool {
        self.doubted.is_some()
    }

    /// The counter is gone.
    pub const fn forget(&mut self) {
        self.base = None;
        self.doubted = None;
    }

    fn start(&self, raw: u64, at: Mono, budget_wh: f64) -> Mark {
        Mark { raw, at, budget_wh: budget_wh.max(self.limits.slack()) }
    }

    /// Fold one sample.
    pub fn fold(&mut self, raw: u64, at: Mono) -> Step {
        let Some(base) = self.base else {
            self.base = Some(self.start(raw, at, self.limits.flow(FIRST_GRANTED)));
            return Step::First;
        };
        let from = base.raw;
        let on = base.advance(raw, at, &self.limits);
        let Some(doubted) = self.doubted else {
            return match on {
                Some((step, rolled)) => self.accept(base, raw, step, rolled, at),
                None => {
                    self.doubt(raw, at);
                    Step::Refused { from }
                }
            };
        };
        // A new life never rolls over within its first three samples.
        let other = if raw >= doubted.mark.raw { doubted.mark.advance(raw, at, &self.limits) } else { None };
        match (on, other) {
            // Both explain it: the one that bills less.
            (Some((step, rolled)), other) if other.is_none() || step <= raw.saturating_sub(doubted.first) => {
                self.accept(base, raw, step, rolled, at)
            }
            (_, Some((step, _))) => {
                let samples = doubted.samples + 1;
                let mark = doubted.mark.moved(raw, step, at, &self.limits);
                if samples < AGREE {
                    self.doubted = Some(Doubted { mark, samples, ..doubted });
                    return Step::Doubted;
                }
                self.base = Some(mark);
                self.doubted = None;
                Step::Replaced { from, first: doubted.first, step: raw.saturating_sub(doubted.first) }
            }
            _ => {
                self.doubt(raw, at);
                Step::Doubted
            }
        }
    }

    fn accept(&mut self, base: Mark, raw: u64, step: u64, rolled: bool, at: Mono) -> Step {
        self.base = Some(base.moved(raw, step, at, &self.limits));
        self.doubted = None;
        if rolled { Step::RolledOver { from: base.raw, step } } else { Step::Advanced(step) }
    }

    fn doubt(&mut self, raw: u64, at: Mono) {
        self.doubted = Some(Doubted { first: raw, mark: self.start(raw, at, 0.0), samples: 1 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Mono {
        Mono::from_start(Duration::from_secs(s))
    }

    /// 60 kW: 20 Wh a second, plus 1 Wh of resolution and 10 s of latency (200 Wh).
    fn register() -> Register {
        Register::new(Limits {
            modulus_wh: Some(1_000_000),
            max_power: Watts::from_kw(60.0),
            latency: Duration::from_secs(10),
            resolution_wh: 1.0,
        })
    }

    #[test]
    fn it_counts_what_flows() {
        let mut register = register();
        assert_eq!(register.fold(5_000, at(0)), Step::First);
        assert_eq!(register.fold(5_100, at(10)), Step::Advanced(100));
        assert_eq!(register.fold(5_100, at(20)), Step::Advanced(0));
    }

    #[test]
    fn a_rollover_is_complete_and_only_from_the_end_to_the_start() {
        let mut r = register();
        r.fold(999_950, at(0));
        assert_eq!(r.fold(30, at(10)), Step::RolledOver { from: 999_950, step: 80 });
        // From the middle it is no rollover, and neither is one to the middle.
        let mut r = register();
        r.fold(900_000, at(0));
        assert_eq!(r.fold(30, at(10)), Step::Refused { from: 900_000 });
        let mut r = register();
        r.fold(999_950, at(0));
        assert_eq!(r.fold(100_000, at(10)), Step::Refused { from: 999_950 });
        // Nor one of more energy than can have flowed.
        let mut r = register();
        r.fold(950_000, at(0));
        assert_eq!(r.fold(50_000, at(10)), Step::Refused { from: 950_000 });
    }

    #[test]
    fn a_reset_is_believed_after_three_samples_and_its_own_energy_counts() {
        let mut r = register();
        r.fold(500_000, at(0));
        assert_eq!(r.fold(0, at(10)), Step::Refused { from: 500_000 });
        assert_eq!(r.fold(100, at(20)), Step::Doubted);
        assert_eq!(r.fold(200, at(30)), Step::Replaced { from: 500_000, first: 0, step: 200 });
        assert_eq!(r.fold(300, at(40)), Step::Advanced(100));
    }

    #[test]
    fn a_jump_is_never_billed_however_long_it_lasts() {
        let mut r = register();
        r.fold(100, at(0));
        assert_eq!(r.fold(90_000, at(10)), Step::Refused { from: 100 });
        // A day later the whole jump could have flowed; it still did not.
        assert_eq!(r.fold(90_050, at(86_400)), Step::Doubted);
        assert_eq!(r.fold(90_100, at(86_410)), Step::Replaced { from: 100, first: 90_000, step: 100 });
    }

    #[test]
    fn one_bad_reading_leaves_no_trace() {
        for bad in [0, 400, 700_000] {
            let mut r = register();
            r.fold(900, at(0));
            r.fold(950, at(10));
            assert_eq!(r.fold(bad, at(20)), Step::Refused { from: 950 }, "{bad}");
            assert_eq!(r.fold(1_050, at(30)), Step::Advanced(100), "{bad}");
        }
    }

    #[test]
    fn noise_that_never_agrees_is_never_believed() {
        let mut r = register();
        r.fold(500_000, at(0));
        for n in 1..100u64 {
            let step = r.fold((n * 7_919_000) % 400_000, at(n * 10));
            assert!(!matches!(step, Step::Replaced { .. } | Step::Advanced(1..)), "{n} {step:?}");
        }
    }

    #[test]
    fn many_steps_cannot_exceed_what_one_may_not() {
        let mut r = register();
        r.fold(0, at(0));
        let (mut raw, mut billed) = (0, 0);
        for n in 1..1_000u64 {
            raw += 300;
            match r.fold(raw, at(n * 10)) {
                Step::Advanced(step) | Step::Replaced { step, .. } => billed += step,
                _ => {}
            }
        }
        // 10,000 s at 72 kW, and the start.
        assert!(billed <= 200_000 + 18_000 + 2_000, "{billed}");
    }

    #[test]
    fn a_coarse_register_is_exact() {
        // 100 kWh a step at 60 kW: one step in 100 minutes.
        let mut r = Register::new(Limits { modulus_wh: None, resolution_wh: 0.0, ..register().limits });
        r.fold(0, at(0));
        let mut billed = 0;
        for n in 1..2_000u64 {
            let energy = n * 10 * 60_000 / 3_600;
            match r.fold(energy / 100_000 * 100_000, at(n * 10)) {
                Step::Advanced(step) => billed += step,
                step => panic!("{step:?}"),
            }
        }
        assert_eq!(billed, 300_000);
    }

    #[test]
    fn after_a_restart_the_register_tells_what_flowed_though_the_clock_lies() {
        for downtime in [None, Some(Duration::ZERO), Some(Duration::from_secs(3_600))] {
            let mut r = register();
            r.restore(100_000, at(0), downtime);
            assert_eq!(r.fold(700_000, at(5)), Step::Advanced(600_000));
        }
        let mut r = Register::new(Limits { modulus_wh: None, ..register().limits });
        r.restore(100_000, at(0), Some(Duration::from_secs(3_600)));
        assert_eq!(r.fold(100_000_000, at(5)), Step::Refused { from: 100_000 });
    }
}
