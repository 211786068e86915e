//! How good a run was: the heat against the attainable request, the commands that it took, and what may never be.

use std::collections::VecDeque;

use super::draw::RATED_KW;
use super::reference::TICK;
use crate::units::Watts;

/// Heat is in excess above the highest attainable of this long, s,
const EXCESS_WINDOW: f64 = 90.0;
/// and by more than this, percent of rated power.
const EXCESS_FROM: f64 = 2.0;
/// Arithmetic, W.
const NOTHING: Watts = Watts::of(1.0);
/// A cap this little below a floor takes nothing from anybody, W: servers draw their idle power all the same.
const FLOOR: Watts = Watts::of(0.0001 * RATED_KW * 1000.0);

/// Tracking of one side, the gateway's or the oracle's.
#[derive(Debug, Clone, Default)]
pub(super) struct Tracking {
    seconds: f64,
    squares: f64,
    heat: f64,
    attainable: f64,
    highest: VecDeque<(f64, f64)>,
    excess: f64,
}

impl Tracking {
    /// Heat and attainable heat at `t`, for `dt` seconds, kW.
    pub fn add(&mut self, t: f64, dt: f64, heat: f64, attainable: f64) {
        self.seconds += dt;
        self.squares += (heat - attainable).powi(2) * dt;
        self.heat += heat * dt;
        self.attainable += attainable * dt;
        while self.highest.back().is_some_and(|(_, value)| *value <= attainable) {
            self.highest.pop_back();
        }
        self.highest.push_back((t, attainable));
        while self.highest.front().is_some_and(|(at, _)| t - at > EXCESS_WINDOW) {
            self.highest.pop_front();
        }
        let highest = self.highest.front().map_or(attainable, |(_, value)| *value);
        self.excess = self.excess.max((heat - highest) / RATED_KW * 100.0 - EXCESS_FROM);
    }

    /// Percent of rated power.
    pub fn rmse_pct(&self) -> f64 {
        if self.seconds > 0.0 { (self.squares / self.seconds).sqrt() / RATED_KW * 100.0 } else { 0.0 }
    }

    /// Heat that came too much (+) or too little (-), percent of what was attainable.
    pub fn balance_pct(&self) -> f64 {
        if self.attainable > 0.0 { (self.heat / self.attainable - 1.0) * 100.0 } else { 0.0 }
    }

    pub const fn excess_pct(&self) -> f64 {
        self.excess.max(0.0)
    }

    /// kWh.
    pub fn heat_kwh(&self) -> f64 {
        self.heat / 3600.0
    }

    /// kWh.
    pub fn attainable_kwh(&self) -> f64 {
        self.attainable / 3600.0
    }
}

/// Something that may never be, and was.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Violation {
    /// Seconds from the start of the run.
    pub at_s: f64,
    /// What: "ceiling", "floor", "ramp line", "late policy" or "raised without a BMS".
    pub what: &'static str,
    /// How much, in words.
    pub text: String,
}

/// What may never be: a cap outside its bounds, or above the ramp line.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    /// How far the cap may rise now, W: what the ramp earned and did not spend.
    earned: f64,
    at: f64,
    cap: Watts,
    wrong: Wrong,
}

/// Violations: all are counted, and the first ones told.
#[derive(Debug, Clone, Default)]
pub(super) struct Wrong {
    pub count: u64,
    pub first: Vec<Violation>,
}

/// So many are told.
const TOLD: usize = 20;

impl Wrong {
    pub fn add(&mut self, at_s: f64, what: &'static str, text: String) {
        self.count += 1;
        if self.first.len() < TOLD {
            self.first.push(Violation { at_s, what, text });
        }
    }
}

/// Ramp, W/s: 20 % of rated power a minute.
const RAMP: f64 = 0.2 * RATED_KW * 1000.0 / 60.0;
/// The ramp line is a line, and the caps are a staircase below it. A stair is as high as the ramp climbed since the one
/// before: that is 20 s, or up to a tick more where ticks do not fall on the twentieth second (a write or an alarm between
/// them shifts them), and a deadband (1 % of rated power) at either end: a smaller change waits, and a step that would stop
/// just short of its goal waits for it.
const MOST_EARNED: f64 = (20.0 + TICK as f64) * RAMP + 2.0 * 0.01 * RATED_KW * 1000.0;

impl Watch {
    pub fn new(cap: Watts) -> Self {
        Self { earned: MOST_EARNED, at: 0.0, cap, wrong: Wrong::default() }
    }

    /// The sum of the caps as commanded at `t`, and its bounds.
    pub fn look(&mut self, t: f64, cap: Watts, low: Watts, high: Watts) {
        self.earned = (self.earned + (t - self.at) * RAMP).min(MOST_EARNED);
        self.at = t;
        if cap > high + NOTHING {
            self.wrong.add(t, "ceiling", format!("caps of {:.3} kW where {:.3} kW is allowed", cap.kw(), high.kw()));
        }
        let low = low.min(high);
        if cap < low - FLOOR {
            self.wrong.add(t, "floor", format!("caps of {:.3} kW below the floor of {:.3} kW", cap.kw(), low.kw()));
        }
        let rise = (cap - self.cap).get();
        if rise > self.earned + NOTHING.get() {
            let text = format!("caps rise by {rise:.0} W, and the ramp line allows {:.0} W", self.earned);
            self.wrong.add(t, "ramp line", text);
        }
        if rise != 0.0 {
            self.earned = (self.earned - rise).clamp(0.0, MOST_EARNED);
        }
        self.cap = cap;
    }

    /// Something that another part of the run found.
    pub fn found(&mut self, at_s: f64, what: &'static str, text: String) {
        self.wrong.add(at_s, what, text);
    }

    pub fn take(&mut self) -> Wrong {
        std::mem::take(&mut self.wrong)
    }
}

/// The measures of one run, or a percentile of many.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Measures {
    /// Heat against the attainable request, percent of rated power.
    pub rmse_pct: f64,
    /// The same of the oracle on the same plant.
    pub oracle_rmse_pct: f64,
    /// One by the other.
    pub ratio: f64,
    /// Heat too much or too little, percent of what was attainable.
    pub energy_error_pct: f64,
    /// The same of the oracle.
    pub oracle_energy_error_pct: f64,
    /// Highest heat above the highest attainable of the last 90 s, beyond 2 % of rated power.
    pub excess_pct: f64,
    /// The same of the oracle.
    pub oracle_excess_pct: f64,
    /// Times per hour at which the caps were changed.
    pub changes_per_hour: f64,
    /// Commands per hour, to all heaters together, refreshes included.
    pub commands_per_hour: f64,
    /// Kelvin hours below the band around the setpoint.
    pub under_kh: f64,
    /// And above it.
    pub over_kh: f64,
    /// The same of the oracle.
    pub oracle_under_kh: f64,
    /// The same of the oracle.
    pub oracle_over_kh: f64,
    /// Caps outside their bounds or above the ramp line, a loss policy that came too late or raised power.
    pub violations: f64,
    /// Efficiency believed at the end, less the true one.
    pub eta_error: f64,
    /// Heat asked, as far as it was attainable, kWh.
    pub attainable_kwh: f64,
    /// Heat that came, kWh.
    pub heat_kwh: f64,
    /// Time from the last sign of life of a lost BMS until its policy was entered, s; 0 where it was never lost.
    pub policy_after_s: f64,
}

impl Measures {
    /// Measures made of one number for each of them.
    pub(super) fn each(of: impl Fn(fn(&Self) -> f64) -> f64) -> Self {
        Self {
            rmse_pct: of(|m| m.rmse_pct),
            oracle_rmse_pct: of(|m| m.oracle_rmse_pct),
            ratio: of(|m| m.ratio),
            energy_error_pct: of(|m| m.energy_error_pct),
            oracle_energy_error_pct: of(|m| m.oracle_energy_error_pct),
            excess_pct: of(|m| m.excess_pct),
            oracle_excess_pct: of(|m| m.oracle_excess_pct),
            changes_per_hour: of(|m| m.changes_per_hour),
            commands_per_hour: of(|m| m.commands_per_hour),
            under_kh: of(|m| m.under_kh),
            over_kh: of(|m| m.over_kh),
            oracle_under_kh: of(|m| m.oracle_under_kh),
            oracle_over_kh: of(|m| m.oracle_over_kh),
            violations: of(|m| m.violations),
            eta_error: of(|m| m.eta_error),
            attainable_kwh: of(|m| m.attainable_kwh),
            heat_kwh: of(|m| m.heat_kwh),
            policy_after_s: of(|m| m.policy_after_s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracking_is_percent_of_rated_power() {
        let mut tracking = Tracking::default();
        for t in 0..1000 {
            tracking.add(f64::from(t), 1.0, 30.6, 30.0);
        }
        assert!((tracking.rmse_pct() - 1.0).abs() < 1e-9);
        assert!((tracking.balance_pct() - 2.0).abs() < 1e-9);
        assert_eq!(tracking.excess_pct(), 0.0);
    }

    #[test]
    fn excess_is_above_all_that_was_attainable_lately() {
        let mut tracking = Tracking::default();
        tracking.add(0.0, 1.0, 30.0, 30.0);
        tracking.add(80.0, 1.0, 30.0, 20.0);
        assert_eq!(tracking.excess_pct(), 0.0, "the request fell 80 s ago");
        tracking.add(120.0, 1.0, 30.0, 20.0);
        assert!((tracking.excess_pct() - (10.0 / 60.0 * 100.0 - 2.0)).abs() < 1e-9);
    }

    #[test]
    fn bounds_and_the_ramp_line_are_watched() {
        let (low, high) = (Watts::from_kw(15.0), Watts::from_kw(60.0));
        let mut watch = Watch::new(low);
        for (n, t) in (0..20).map(|n| (n, f64::from(n) * 20.0)) {
            watch.look(t, Watts::from_kw((15.0 + 4.0 * f64::from(n)).min(60.0)), low, high);
        }
        assert_eq!(watch.wrong.count, 0);
        watch.look(500.0, Watts::from_kw(60.1), low, high);
        watch.look(510.0, Watts::from_kw(14.0), low, high);
        watch.look(520.0, Watts::from_kw(30.0), low, high);
        let found = watch.take();
        let what: Vec<_> = found.first.iter().map(|one| (one.at_s, one.what)).collect();
        assert_eq!(what, [(500.0, "ceiling"), (510.0, "floor"), (520.0, "ramp line")]);
        assert_eq!(found.count, 3);
    }
}
