//! The building: air and mass, heat through the walls; and the weather outside.

use std::time::Duration;

use super::lag;
use crate::units::{Celsius, Watts};

/// What a building is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BuildingParams {
    /// Heat lost to outdoors, W/K.
    pub loss: f64,
    /// Heat capacity of the air and what follows it, J/K.
    pub air: f64,
    /// Heat capacity of the mass, J/K.
    pub mass: f64,
    /// Heat between air and mass, W/K.
    pub coupling: f64,
}

impl Default for BuildingParams {
    fn default() -> Self {
        Self { loss: 2e3, air: 25e6, mass: 500e6, coupling: 12e3 }
    }
}

/// Ca Ta' = Q + Ham (Tm - Ta) - UA (Ta - To); Cm Tm' = -Ham (Tm - Ta).
#[derive(Debug, Clone)]
pub struct Building {
    params: BuildingParams,
    air: f64,
    mass: f64,
}

impl Building {
    /// With air and mass at these temperatures. Parameters are held above zero, so that it has a balance to go to.
    pub fn new(params: BuildingParams, air: Celsius, mass: Celsius) -> Self {
        let least = |value: f64| if value.is_finite() { value.max(1.0) } else { 1.0 };
        let params = BuildingParams {
            loss: least(params.loss),
            air: least(params.air),
            mass: least(params.mass),
            coupling: least(params.coupling),
        };
        Self { params, air: air.get(), mass: mass.get() }
    }

    /// Run for `dt` with this heat and this weather.
    pub fn step(&mut self, heat: Watts, outdoor: Celsius, dt: Duration) {
        let BuildingParams { loss, air, mass, coupling } = self.params;
        let dt = lag::secs(dt);
        // x' = A (x - balance), A = [[a, b], [c, -c]]; exp(A dt) by its two real eigenvalues (b and c have one sign).
        let balance = outdoor.get() + heat.get() / loss;
        let (a, b, c) = (-(coupling + loss) / air, coupling / air, coupling / mass);
        let mean = (a - c) / 2.0;
        let root = (mean * mean + a * c + b * c).max(f64::MIN_POSITIVE).sqrt();
        let (slow, fast) = (((mean + root) * dt).exp(), ((mean - root) * dt).exp());
        let (even, odd) = ((slow + fast) / 2.0, (slow - fast) / (2.0 * root));
        let (x, y) = (self.air - balance, self.mass - balance);
        self.air = balance + even * x + odd * ((a - mean) * x + b * y);
        self.mass = balance + even * y + odd * (c * x + (-c - mean) * y);
    }

    /// Room temperature.
    pub const fn air(&self) -> Celsius {
        Celsius::of(self.air)
    }

    /// Temperature of the mass.
    pub const fn mass(&self) -> Celsius {
        Celsius::of(self.mass)
    }
}

impl Default for Building {
    /// 17 degC, its mass 16.5 degC.
    fn default() -> Self {
        Self::new(BuildingParams::default(), Celsius::of(17.0), Celsius::of(16.5))
    }
}

/// A daily sine, warmest at 15 h.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outdoor {
    /// Mean, degC.
    pub mean: Celsius,
    /// Amplitude, K.
    pub swing: f64,
}

impl Default for Outdoor {
    fn default() -> Self {
        Self { mean: Celsius::of(2.0), swing: 4.0 }
    }
}

impl Outdoor {
    /// At a time of day, seconds since midnight (any multiple of a day more is the same).
    pub fn at(&self, time_of_day: f64) -> Celsius {
        let angle = std::f64::consts::TAU * (time_of_day - 9.0 * 3600.0) / 86_400.0;
        Celsius::of(self.mean.get() + self.swing * angle.sin())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_to_outdoors_plus_heat_over_loss() {
        let mut building = Building::default();
        building.step(Watts::from_kw(30.0), Celsius::of(2.0), Duration::from_secs(100 * 86_400));
        assert!((building.air().get() - 17.0).abs() < 1e-6);
        assert!((building.mass().get() - 17.0).abs() < 1e-6);
    }

    #[test]
    fn one_long_step_is_many_short_euler_steps() {
        let mut exact = Building::default();
        exact.step(Watts::from_kw(52.8), Celsius::of(-3.0), Duration::from_secs(6 * 3600));
        let (mut ta, mut tm) = (17.0, 16.5);
        for _ in 0..6 * 3600 * 10 {
            let q = 12e3 * (tm - ta);
            ta += 0.1 * (52.8e3 + q - 2e3 * (ta + 3.0)) / 25e6;
            tm -= 0.1 * q / 500e6;
        }
        assert!((exact.air().get() - ta).abs() < 1e-3, "{ta} {}", exact.air());
        assert!((exact.mass().get() - tm).abs() < 1e-3, "{tm} {}", exact.mass());
    }

    #[test]
    fn the_cut_into_steps_does_not_matter() {
        let (mut once, mut often) = (Building::default(), Building::default());
        once.step(Watts::from_kw(20.0), Celsius::of(5.0), Duration::from_secs(7200));
        for _ in 0..7200 {
            often.step(Watts::from_kw(20.0), Celsius::of(5.0), Duration::from_secs(1));
        }
        assert!((once.air().get() - often.air().get()).abs() < 1e-9);
    }

    #[test]
    fn the_day_is_warmest_at_15_h_and_coldest_at_3_h() {
        let outdoor = Outdoor::default();
        assert!((outdoor.at(15.0 * 3600.0).get() - 6.0).abs() < 1e-9);
        assert!((outdoor.at(27.0 * 3600.0).get() + 2.0).abs() < 1e-9);
    }
}
