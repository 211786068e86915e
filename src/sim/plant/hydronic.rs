//! From electrical power to heat at the meter: efficiency, a first-order lag of the water, and the way it has to go.

use std::collections::VecDeque;
use std::time::Duration;

use super::lag::{self, EnergyCounter};
use crate::units::{Energy, Watts};

/// What a loop is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HydronicParams {
    /// Heat per electrical power, true.
    pub efficiency: f64,
    /// Time constant of the loop.
    pub lag: Duration,
    /// Transport delay to the meter.
    pub delay: Duration,
}

impl Default for HydronicParams {
    fn default() -> Self {
        Self { efficiency: 0.88, lag: Duration::from_secs(240), delay: Duration::from_secs(60) }
    }
}

/// A stretch of constant input: the heat entering the pipe at `from` is `heat`, and it goes towards `input`.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from: f64,
    heat: f64,
    input: f64,
}

/// Qhw' = (eta P - Qhw)/lag; Q(t) = Qhw(t - delay).
#[derive(Debug, Clone)]
pub struct HydronicModel {
    params: HydronicParams,
    /// Seconds since it was made.
    at: f64,
    /// Heat entering the pipe now.
    head: f64,
    /// What is in the pipe, oldest first; the first one reaches back to the outlet or beyond. Never empty.
    pipe: VecDeque<Stretch>,
    delivered: EnergyCounter,
}

impl HydronicModel {
    /// In balance at a heat, with nothing counted.
    pub fn new(params: HydronicParams, heat: Watts) -> Self {
        let heat = heat.get();
        Self {
            params,
            at: 0.0,
            head: heat,
            pipe: VecDeque::from([Stretch { from: f64::NEG_INFINITY, heat, input: heat }]),
            delivered: EnergyCounter::default(),
        }
    }

    /// Another efficiency from now on.
    pub const fn set_efficiency(&mut self, efficiency: f64) {
        self.params.efficiency = efficiency;
    }

    /// Run for `dt` at an electrical power.
    pub fn step(&mut self, power: Watts, dt: Duration) {
        let (input, tau, dt) = (self.params.efficiency * power.get(), self.params.lag.as_secs_f64(), lag::secs(dt));
        if !input.is_finite() || dt == 0.0 {
            return;
        }
        // The same input goes on: the stretch already describes it, and a long quiet time stays one entry.
        if self.pipe.back().is_none_or(|last| last.input != input) {
            self.pipe.push_back(Stretch { from: self.at, heat: self.head, input });
        }
        self.head = lag::value(self.head, input, tau, dt);
        let outlet = self.outlet();
        self.at += dt;
        self.flow(outlet, self.outlet());
    }

    /// Heat at the meter now.
    pub fn heat(&self) -> Watts {
        let outlet = self.outlet();
        self.pipe.front().map_or(Watts::ZERO, |stretch| Watts::of(self.heat_in(stretch, outlet)))
    }

    /// Heat delivered at the meter since it was made, rounded down.
    pub const fn energy(&self) -> Energy {
        self.delivered.total()
    }

    /// The same, with its fraction, Wh.
    pub fn energy_wh(&self) -> f64 {
        self.delivered.exact_wh()
    }

    /// When what is now at the meter entered the pipe.
    fn outlet(&self) -> f64 {
        self.at - self.params.delay.as_secs_f64()
    }

    fn heat_in(&self, stretch: &Stretch, at: f64) -> f64 {
        lag::value(stretch.heat, stretch.input, self.params.lag.as_secs_f64(), at - stretch.from)
    }

    /// Count what leaves the pipe between two times, and forget what has left.
    fn flow(&mut self, mut from: f64, to: f64) {
        let tau = self.params.lag.as_secs_f64();
        while let Some(&stretch) = self.pipe.front() {
            let end = self.pipe.get(1).map_or(f64::INFINITY, |next| next.from);
            let until = to.min(end);
            if until > from {
                self.delivered.add(lag::integral(self.heat_in(&stretch, from), stretch.input, tau, until - from));
                from = until;
            }
            if end > to {
                return;
            }
            self.pipe.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cold() -> HydronicModel {
        HydronicModel::new(HydronicParams::default(), Watts::ZERO)
    }

    /// Answer to a step from 0 to `power` at time 0.
    fn closed_form(power: f64, t: f64) -> f64 {
        if t <= 60.0 { 0.0 } else { 0.88 * power * (1.0 - (-(t - 60.0) / 240.0).exp()) }
    }

    #[test]
    fn a_step_of_power_arrives_after_the_delay_and_rises_with_the_lag() {
        let mut loop_ = cold();
        for second in 1..=1200 {
            loop_.step(Watts::from_kw(60.0), Duration::from_secs(1));
            let expected = closed_form(60_000.0, f64::from(second));
            assert!((loop_.heat().get() - expected).abs() < 1e-6, "at {second} s");
        }
        // 0.88 * 60 kW * (1140 s - 240 s * (1 - exp(-4.75)))
        let joules = 52_800.0 * (1140.0 - 240.0 * (1.0 - (-4.75_f64).exp()));
        assert!((loop_.energy_wh() - joules / 3600.0).abs() < 1e-6);
    }

    #[test]
    fn in_balance_nothing_moves() {
        let mut loop_ = HydronicModel::new(HydronicParams::default(), Watts::of(0.88 * 30_000.0));
        loop_.step(Watts::from_kw(30.0), Duration::from_secs(3600));
        assert!((loop_.heat().get() - 26_400.0).abs() < 1e-6);
        assert!((loop_.energy_wh() - 26_400.0).abs() < 1e-6);
    }

    #[test]
    fn a_long_quiet_time_takes_no_memory() {
        let mut loop_ = cold();
        for _ in 0..10_000 {
            loop_.step(Watts::from_kw(30.0), Duration::from_secs(16));
        }
        assert_eq!(loop_.pipe.len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Heat out = heat in - heat still in the loop, whatever the power did and however it was cut into steps.
        #[test]
        fn no_energy_is_made_or_lost(powers in proptest::collection::vec((0.0..60_000.0_f64, 1_u64..200_000), 1..60)) {
            let (mut loop_, mut joules) = (cold(), 0.0);
            for (power, millis) in powers {
                loop_.step(Watts::of(power), Duration::from_millis(millis));
                joules += 0.88 * power * (millis as f64 / 1000.0);
                prop_assert!(loop_.heat().get() >= 0.0);
            }
            // Without power, all that is left comes out.
            loop_.step(Watts::ZERO, Duration::from_secs(24 * 3600));
            prop_assert!((loop_.energy_wh() - joules / 3600.0).abs() < 1e-3, "{} {}", loop_.energy_wh(), joules / 3600.0);
        }

        #[test]
        fn the_cut_into_steps_does_not_matter(millis in proptest::collection::vec(1_u64..30_000, 1..80)) {
            let (mut once, mut often) = (cold(), cold());
            let all: u64 = millis.iter().sum();
            once.step(Watts::from_kw(40.0), Duration::from_millis(all));
            for part in millis {
                often.step(Watts::from_kw(40.0), Duration::from_millis(part));
            }
            prop_assert!((once.heat().get() - often.heat().get()).abs() < 1e-6);
            prop_assert!((once.energy_wh() - often.energy_wh()).abs() < 1e-6);
        }
    }
}
