//! The simulated other side of the engine: heaters that obey commands with a lease, their water, and what they tell.

use std::collections::VecDeque;
use std::time::Duration;

use super::draw::{Case, HEATERS_KW, IDLE};
use crate::decision::Command;
use crate::sim::noise::Noise;
use crate::sim::plant::{HeaterModel, HeaterParams, HydronicModel, HydronicParams};
use crate::units::{Energy, Watts};

/// Closer to where it goes than this, a heater has arrived, W: it is a thousandth of what its telemetry shows.
const ARRIVED: f64 = 0.05;

/// A command on its way to a heater.
#[derive(Debug, Clone, Copy)]
struct Coming {
    at: f64,
    seq: u64,
    cap: Watts,
    fallback: Watts,
    ttl: f64,
}

/// One heater with its controller.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    model: HeaterModel,
    pub cap: Watts,
    fallback: Watts,
    lease_ends: f64,
    coming: VecDeque<Coming>,
    /// The last command that it received.
    pub seq: Option<u64>,
    /// Its link is cut.
    pub cut: bool,
}

impl Unit {
    fn new(case: &Case, rated: Watts) -> Self {
        let params = HeaterParams { up: secs(case.up_s), down: secs(case.down_s), ..HeaterParams::rated(rated) };
        let idle = rated * IDLE;
        Self {
            model: HeaterModel::new(HeaterParams { idle, ..params }, idle),
            cap: idle,
            fallback: idle,
            lease_ends: f64::INFINITY,
            coming: VecDeque::new(),
            seq: None,
            cut: false,
        }
    }

    fn settled(&self, jobs: f64) -> bool {
        self.coming.is_empty() && (self.target(jobs) - self.model.power()).abs().get() < ARRIVED
    }

    fn target(&self, jobs: f64) -> Watts {
        self.cap.max(self.model.params().idle).min(self.model.jobs_power(jobs))
    }

    /// Run from `at` for `dt`, with what arrives on the way; the energy that it took, J.
    fn step(&mut self, mut at: f64, dt: f64, jobs: f64) -> f64 {
        let end = at + dt;
        let mut joules = 0.0;
        loop {
            let next = self.coming.front().map_or(f64::INFINITY, |coming| coming.at).min(self.lease_ends);
            let until = next.clamp(at, end);
            joules += run(&mut self.model, self.cap, jobs, until - at);
            at = until;
            if next > end {
                return joules;
            }
            if self.lease_ends <= at {
                self.cap = self.fallback;
                self.lease_ends = f64::INFINITY;
            }
            while let Some(coming) = self.coming.front().copied().filter(|coming| coming.at <= at) {
                self.coming.pop_front();
                if !self.cut {
                    (self.cap, self.fallback, self.lease_ends) = (coming.cap, coming.fallback, at + coming.ttl);
                    self.seq = Some(coming.seq);
                }
            }
        }
    }

    pub const fn power(&self) -> Watts {
        self.model.power()
    }

    pub const fn energy(&self) -> Energy {
        self.model.energy()
    }

    pub fn jobs_power(&self, jobs: f64) -> Watts {
        self.model.jobs_power(jobs)
    }

    pub const fn rated(&self) -> Watts {
        self.model.params().rated
    }

    pub const fn idle(&self) -> Watts {
        self.model.params().idle
    }
}

/// All heaters and their water.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub units: Vec<Unit>,
    pub water: HydronicModel,
    at: f64,
    delay: (f64, f64),
    noise: Noise,
}

impl Site {
    pub fn new(case: &Case) -> Self {
        let units: Vec<Unit> = HEATERS_KW.iter().map(|kw| Unit::new(case, Watts::from_kw(*kw))).collect();
        let power: Watts = units.iter().map(Unit::power).sum();
        Self {
            units,
            water: HydronicModel::new(water(case, case.eta), power * case.eta),
            at: 0.0,
            delay: case.command_delay,
            noise: Noise::named(case.seed, "delay"),
        }
    }

    /// A command sets out.
    pub fn send(&mut self, heater: usize, command: &Command) {
        let delay = self.noise.between(self.delay.0, self.delay.1);
        let Some(unit) = self.units.get_mut(heater) else { return };
        // Nothing overtakes.
        let at = unit.coming.back().map_or(0.0, |before| before.at).max(self.at + delay);
        let (cap, fallback, ttl) = (command.cap, command.fallback, command.ttl.as_secs_f64());
        unit.coming.push_back(Coming { at, seq: command.seq, cap, fallback, ttl });
    }

    pub fn power(&self) -> Watts {
        self.units.iter().map(Unit::power).sum()
    }

    /// Nothing moves until somebody does something.
    pub fn settled(&self, jobs: f64) -> bool {
        self.units.iter().all(|unit| unit.settled(jobs))
    }

    /// Run for `dt` seconds; short, where something moves.
    pub fn step(&mut self, dt: f64, jobs: f64) {
        let joules: f64 = self.units.iter_mut().map(|unit| unit.step(self.at, dt, jobs)).sum();
        self.at += dt;
        self.water.step(Watts::of(joules / dt), secs(dt));
    }
}

/// Run a heater for `dt` seconds under a cap; the energy that it took, J.
pub(super) fn run(model: &mut HeaterModel, cap: Watts, jobs: f64, dt: f64) -> f64 {
    let before = model.power().get();
    let params = *model.params();
    let target = cap.max(params.idle).min(model.jobs_power(jobs)).get();
    model.step(cap, jobs, secs(dt));
    // On its way to the target power is left behind at 1/tau: what is missing is tau times the way that was made.
    let tau = if target > before { params.up } else { params.down }.as_secs_f64();
    target * dt + (before - model.power().get()) * tau
}

/// The water of a case.
pub(super) fn water(case: &Case, efficiency: f64) -> HydronicParams {
    HydronicParams { efficiency, lag: secs(case.lag_s), delay: secs(case.delay_s) }
}

/// Seconds; none for what is no time.
pub(super) fn secs(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
