//! Is the heat that is asked delivered? If more than 10 % of it is missing for 10 minutes, the backup boiler is called.
//!
//! What is asked is first slowed like the heaters and the water slow it (ramp, then a lag), so that a step is no shortage.

use std::time::Duration;

use crate::decision::Shortfall;
use crate::time::Mono;
use crate::units::Watts;

/// Missing share of the request that counts,
pub(super) const SHORT: f64 = 0.10;
/// for this long,
const FOR: Duration = Duration::from_secs(600);
/// until it is less than this again.
const ENOUGH: f64 = 0.05;
/// Delay and lag of the heat behind the electrical power (60 s and 240 s), as one lag.
const LAG_S: f64 = 300.0;

/// The memory of what should arrive.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Delivery {
    ramped: Watts,
    expected: Watts,
    at: Mono,
    short_since: Option<Mono>,
    /// The backup boiler is called.
    pub backup: bool,
    /// Heat that did not come since the start, by cause, Wh.
    unmet_wh: [f64; Shortfall::ALL.len()],
}

impl Delivery {
    pub fn new(now: Mono) -> Self {
        Self { at: now, ..Self::default() }
    }

    /// Heat asked, due by now, and not delivered. `up`: how fast heat may be raised, W/s.
    pub fn update(&mut self, now: Mono, asked: Option<Watts>, delivered: Watts, up: f64, why: Shortfall) -> Watts {
        let dt = now.since(self.at).as_secs_f64();
        self.at = now;
        let asked = asked.unwrap_or_default();
        if asked <= Watts::ZERO {
            *self = Self { at: now, unmet_wh: self.unmet_wh, ..Self::default() };
            return Watts::ZERO;
        }
        self.ramped = asked.min(self.ramped + Watts::of(up * dt));
        let followed = 1.0 - (-dt / LAG_S).exp();
        self.expected = self.expected + (self.ramped - self.expected) * followed;
        let missing = (self.expected.min(asked) - delivered).max(Watts::ZERO);
        if let Some(total) = Shortfall::ALL.iter().position(|one| *one == why).and_then(|i| self.unmet_wh.get_mut(i)) {
            *total += missing.get() * dt / 3600.0;
        }
        if missing > asked * SHORT {
            let since = *self.short_since.get_or_insert(now);
            self.backup |= now.since(since) >= FOR;
        } else {
            self.short_since = None;
            self.backup &= missing > asked * ENOUGH;
        }
        missing
    }

    /// Heat that was due and did not come since the start, Wh, in the order of [`Shortfall::ALL`].
    pub const fn unmet_wh(&self) -> [f64; Shortfall::ALL.len()] {
        self.unmet_wh
    }

    /// Begin to count anew.
    pub const fn reset(&mut self) {
        self.short_since = None;
        self.backup = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(delivery: &mut Delivery, from: u64, to: u64, asked: f64, delivered: f64) {
        for s in (from..=to).step_by(10) {
            let now = Mono::from_start(Duration::from_secs(s));
            delivery.update(now, Some(Watts::from_kw(asked)), Watts::from_kw(delivered), 190.0, Shortfall::NoJobs);
        }
    }

    #[test]
    fn a_shortage_of_ten_minutes_calls_the_boiler_and_enough_heat_sends_it_home() {
        let mut delivery = Delivery::default();
        run(&mut delivery, 0, 600, 20.0, 10.0);
        assert!(!delivery.backup, "it is still on its way");
        run(&mut delivery, 610, 1500, 20.0, 10.0);
        assert!(delivery.backup);
        run(&mut delivery, 1510, 1520, 20.0, 18.5);
        assert!(delivery.backup, "less than a tenth is missing, yet not enough");
        run(&mut delivery, 1530, 1540, 20.0, 19.9);
        assert!(!delivery.backup);
        let unmet = delivery.unmet_wh();
        assert!(unmet[0] > 2000.0 && unmet[0] < 4200.0, "{unmet:?}");
        assert_eq!(unmet[1..], [0.0; 4]);
    }

    #[test]
    fn a_step_that_the_plant_follows_is_no_shortage() {
        let mut delivery = Delivery::default();
        let mut heat = 0.0;
        for s in (0..3600).step_by(10) {
            let now = Mono::from_start(Duration::from_secs(s));
            delivery.update(now, Some(Watts::from_kw(50.0)), Watts::from_kw(heat), 190.0, Shortfall::Ceiling);
            if s > 240 {
                heat += (50.0 - heat) * (1.0 - f64::exp(-10.0 / 240.0));
            }
            assert!(!delivery.backup, "at {s} s");
        }
    }
}
