//! What could have been had: the attainable request, and an oracle that knows the true plant.
//!
//! The attainable request is the request held to what efficiency, jobs and ceilings allow, and lagged like the plant. The
//! oracle sends exactly the power that the request needs, with the gateway's ramps and ticks and without a deadband. It has
//! no forecast; no gateway without one does much better.

use std::time::Duration;

use super::draw::{Case, RATED_KW};
use super::site::{run, secs, water};
use crate::sim::noise::Noise;
use crate::sim::plant::{HeaterModel, HeaterParams, HydronicModel, HydronicParams};
use crate::units::Watts;

/// Time between two steps of the oracle, s: the gateway's.
pub(super) const TICK: u64 = 10;
/// Off below this share of nominal heat, on again at the other (the gateway's rule for every request).
const OFF_BELOW: f64 = 0.05;
const ON_AT: f64 = 0.10;
/// Nominal heat of the simulated site's mapping, kW.
pub(super) const NOMINAL_KW: f64 = 57.0;
/// Shares of rated power per minute.
const RAMP_UP: f64 = 0.2;
const RAMP_DOWN: f64 = 1.0;

/// What electrical power is possible now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    /// Least that servers draw, whatever their caps say.
    pub idle: Watts,
    /// Least that may be commanded.
    pub low: Watts,
    /// Most that ceilings allow.
    pub high: Watts,
    /// Most that there are jobs for.
    pub jobs: Watts,
}

/// The request as the plant could follow it at best.
#[derive(Debug, Clone)]
pub(super) struct Attainable {
    water: HydronicModel,
    on: bool,
}

impl Attainable {
    pub fn new(case: &Case, heat: Watts) -> Self {
        let lagged = water(case, 1.0);
        let at_once = HydronicParams { lag: Duration::ZERO, delay: Duration::ZERO, ..lagged };
        let water = if case.heat_when_asked { at_once } else { lagged };
        Self { water: HydronicModel::new(water, heat), on: false }
    }

    /// Power that the request needs, within bounds.
    pub fn power(&mut self, asked: Watts, eta: f64, bounds: Bounds) -> Watts {
        let share = asked.kw() / NOMINAL_KW;
        self.on = share + 1e-9 >= if self.on { OFF_BELOW } else { ON_AT };
        let wanted = if self.on { asked / eta.max(1e-3) } else { Watts::ZERO };
        wanted.clamp(bounds.low.min(bounds.high), bounds.high)
    }

    /// Run for `dt` seconds towards the heat of a power.
    pub fn step(&mut self, power: Watts, bounds: Bounds, eta: f64, dt: f64) {
        self.water.step(power.max(bounds.idle).min(bounds.jobs) * eta, secs(dt));
    }

    pub fn heat(&self) -> Watts {
        self.water.heat()
    }
}

/// The oracle with a plant of its own: one heater of the zone's rated power.
#[derive(Debug, Clone)]
pub(super) struct Oracle {
    heater: HeaterModel,
    pub water: HydronicModel,
    ramp: Watts,
    cap: Watts,
    coming: Option<(f64, Watts)>,
    at: f64,
    delay: (f64, f64),
    noise: Noise,
}

impl Oracle {
    pub fn new(case: &Case) -> Self {
        let params = HeaterParams {
            up: secs(case.up_s),
            down: secs(case.down_s),
            ..HeaterParams::rated(Watts::from_kw(RATED_KW))
        };
        let idle = params.idle;
        Self {
            heater: HeaterModel::new(params, idle),
            water: HydronicModel::new(water(case, case.eta), idle * case.eta),
            ramp: idle,
            cap: idle,
            coming: None,
            at: 0.0,
            delay: case.command_delay,
            noise: Noise::named(case.seed, "oracle"),
        }
    }

    /// One step of its control: towards a power, by the ramps; ceilings at once.
    pub fn tick(&mut self, power: Watts, bounds: Bounds) {
        let per_tick = Watts::from_kw(RATED_KW) * (TICK as f64 / 60.0);
        let moved = power.clamp(self.ramp - per_tick * RAMP_DOWN, self.ramp + per_tick * RAMP_UP);
        self.ramp = moved.max(bounds.low).min(bounds.high);
        if self.ramp != self.cap {
            self.coming = Some((self.at + self.noise.between(self.delay.0, self.delay.1), self.ramp));
        }
    }

    pub fn settled(&self, jobs: f64) -> bool {
        let target = self.cap.max(self.heater.params().idle).min(self.heater.jobs_power(jobs));
        self.coming.is_none() && (target - self.heater.power()).abs().get() < 0.05
    }

    /// Run for `dt` seconds.
    pub fn step(&mut self, dt: f64, jobs: f64) {
        let end = self.at + dt;
        let joules = if let Some((at, cap)) = self.coming.filter(|(at, _)| *at <= end) {
            let first = run(&mut self.heater, self.cap, jobs, at - self.at);
            (self.cap, self.coming) = (cap, None);
            first + run(&mut self.heater, self.cap, jobs, end - at)
        } else {
            run(&mut self.heater, self.cap, jobs, dt)
        };
        self.at = end;
        self.water.step(Watts::of(joules / dt), secs(dt));
    }
}
