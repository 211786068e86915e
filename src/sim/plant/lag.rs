//! A first-order lag with a constant input, in closed form; and a counter of what flowed.

use std::time::Duration;

use crate::units::Energy;

/// Shorter time constants (s) are taken as this: at once, without a division by zero.
const SHORTEST: f64 = 1e-6;

/// Where y' = (input - y)/tau stands after `dt` seconds.
#[inline]
pub(super) fn value(from: f64, input: f64, tau: f64, dt: f64) -> f64 {
    input + (from - input) * (-dt / tau.max(SHORTEST)).exp()
}

/// The integral of y over those `dt` seconds.
#[inline]
pub(super) fn integral(from: f64, input: f64, tau: f64, dt: f64) -> f64 {
    let tau = tau.max(SHORTEST);
    // -expm1 keeps the digits of a step much shorter than tau.
    input * dt + (from - input) * tau * -(-dt / tau).exp_m1()
}

/// Whole watt hours, with the fraction kept for the next step.
#[derive(Debug, Clone, Copy, Default)]
pub struct EnergyCounter {
    whole: Energy,
    rest_joules: f64,
}

impl EnergyCounter {
    /// A counter that stands at a total.
    pub const fn at(total: Energy) -> Self {
        Self { whole: total, rest_joules: 0.0 }
    }

    /// Count joules; what is negative or not finite is not counted.
    #[inline]
    pub fn add(&mut self, joules: f64) {
        if !(joules.is_finite() && joules > 0.0) {
            return;
        }
        self.rest_joules += joules;
        let whole = (self.rest_joules / 3600.0).floor();
        self.rest_joules -= whole * 3600.0;
        // A float to integer cast saturates: no wrap at absurd energies.
        self.whole = self.whole.saturating_add(Energy::from_wh(whole as u64));
    }

    /// The total, rounded down.
    #[inline]
    pub const fn total(&self) -> Energy {
        self.whole
    }

    /// The total with its fraction, Wh.
    pub fn exact_wh(&self) -> f64 {
        self.whole.wh() as f64 + self.rest_joules / 3600.0
    }
}

/// Seconds of a step.
#[inline]
pub(super) fn secs(dt: Duration) -> f64 {
    dt.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lag_reaches_63_percent_after_its_time_constant() {
        assert!((value(0.0, 100.0, 20.0, 20.0) - 63.212).abs() < 1e-3);
        assert_eq!(value(5.0, 100.0, 0.0, 1.0), 100.0);
    }

    #[test]
    fn the_integral_is_the_sum_of_fine_steps() {
        let (mut y, mut sum) = (10.0, 0.0);
        for _ in 0..100_000 {
            let next = value(y, 90.0, 20.0, 1e-3);
            sum += (y + next) / 2.0 * 1e-3;
            y = next;
        }
        assert!((integral(10.0, 90.0, 20.0, 100.0) - sum).abs() < 1e-4, "{sum}");
    }

    #[test]
    fn fractions_of_a_watt_hour_are_not_lost_and_nonsense_is_not_counted() {
        let mut counter = EnergyCounter::at(Energy::from_wh(7));
        for _ in 0..10_000 {
            counter.add(360.0);
        }
        assert!((counter.exact_wh() - 1007.0).abs() < 1e-6);
        let before = counter.total();
        counter.add(f64::NAN);
        counter.add(-1e9);
        counter.add(f64::INFINITY);
        assert_eq!(counter.total(), before);
    }
}
