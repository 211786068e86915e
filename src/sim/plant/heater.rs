//! Servers under a power cap.

use std::time::Duration;

use super::lag::{self, EnergyCounter};
use crate::units::{Energy, Watts};

/// What a group of servers is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeaterParams {
    /// Power with all jobs and no cap.
    pub rated: Watts,
    /// Power without jobs; a cap below it has no effect.
    pub idle: Watts,
    /// Time constant when power goes up, 20 s.
    pub up: Duration,
    /// Time constant when power goes down, 5 s.
    pub down: Duration,
}

impl HeaterParams {
    /// With idle power a quarter of rated, 20 s up, 5 s down.
    pub fn rated(rated: Watts) -> Self {
        Self { rated, idle: rated * 0.25, up: Duration::from_secs(20), down: Duration::from_secs(5) }
    }
}

/// P' = (min(cap, idle + jobs (rated - idle)) - P)/tau.
#[derive(Debug, Clone)]
pub struct HeaterModel {
    params: HeaterParams,
    power: f64,
    energy: EnergyCounter,
}

impl HeaterModel {
    /// Running at a power, with nothing counted.
    pub const fn new(params: HeaterParams, power: Watts) -> Self {
        Self { params, power: power.get(), energy: EnergyCounter::at(Energy::ZERO) }
    }

    /// What it is.
    #[inline]
    pub const fn params(&self) -> &HeaterParams {
        &self.params
    }

    /// What the jobs at hand would draw without a cap; `jobs` is the share of full load, held to 0..=1.
    #[inline]
    pub fn jobs_power(&self, jobs: f64) -> Watts {
        let jobs = if jobs.is_finite() { jobs.clamp(0.0, 1.0) } else { 0.0 };
        self.params.idle + (self.params.rated - self.params.idle) * jobs
    }

    /// Run for `dt` under a cap and with jobs for a share 0..=1 of full load.
    #[inline]
    pub fn step(&mut self, cap: Watts, jobs: f64, dt: Duration) {
        let target = cap.max(self.params.idle).min(self.jobs_power(jobs)).get();
        let tau = if target > self.power { self.params.up } else { self.params.down }.as_secs_f64();
        let dt = lag::secs(dt);
        self.energy.add(lag::integral(self.power, target, tau, dt));
        self.power = lag::value(self.power, target, tau, dt);
    }

    /// Power drawn now.
    #[inline]
    pub const fn power(&self) -> Watts {
        Watts::of(self.power)
    }

    /// Energy drawn since it was made, rounded down.
    #[inline]
    pub const fn energy(&self) -> Energy {
        self.energy.total()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATED: Watts = Watts::from_kw(30.0);

    fn at(kw: f64) -> HeaterModel {
        HeaterModel::new(HeaterParams::rated(RATED), Watts::from_kw(kw))
    }

    #[test]
    fn up_takes_20_s_and_down_5_s() {
        let mut up = at(10.0);
        up.step(Watts::from_kw(20.0), 1.0, Duration::from_secs(20));
        assert!((up.power().kw() - (20.0 - 10.0 * (-1.0_f64).exp())).abs() < 1e-9);
        let mut down = at(20.0);
        down.step(Watts::from_kw(10.0), 1.0, Duration::from_secs(5));
        assert!((down.power().kw() - (10.0 + 10.0 * (-1.0_f64).exp())).abs() < 1e-9);
    }

    #[test]
    fn the_cut_into_steps_does_not_matter() {
        let (mut once, mut often) = (at(8.0), at(8.0));
        once.step(RATED, 1.0, Duration::from_secs(60));
        for _ in 0..600 {
            often.step(RATED, 1.0, Duration::from_millis(100));
        }
        assert!((once.power().get() - often.power().get()).abs() < 1e-6);
        assert!(once.energy().wh().abs_diff(often.energy().wh()) <= 1);
        // Closed form: 30 kW for 60 s less 22 kW * 20 s * (1 - exp(-3)).
        let joules = 30_000.0 * 60.0 - 22_000.0 * 20.0 * (1.0 - (-3.0_f64).exp());
        assert_eq!(once.energy().wh(), (joules / 3600.0) as u64);
    }

    #[test]
    fn too_few_jobs_hold_it_below_the_cap_and_idle_power_is_the_least() {
        let mut heater = at(30.0);
        heater.step(RATED, 0.5, Duration::from_secs(600));
        assert!((heater.power().kw() - (7.5 + 0.5 * 22.5)).abs() < 1e-6);
        heater.step(Watts::ZERO, 1.0, Duration::from_secs(600));
        assert!((heater.power().kw() - 7.5).abs() < 1e-6);
        heater.step(RATED, f64::NAN, Duration::from_secs(600));
        assert!((heater.power().kw() - 7.5).abs() < 1e-6);
    }
}
