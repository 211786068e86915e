//! One zone at one tick: request, feed-forward, ceilings and floors, ramp, allocation, commands; each step leaves its
//! reasons behind, in order.

use crate::decision::{Reason, ZoneDecision, ZoneState};
use crate::plant::{Allocation, Heater, HeaterId, HeaterRole, MeterRole, Plant, Zone, ZoneRole};
use crate::time::Mono;
use crate::units::Watts;

use super::account::Account;
use super::catchup::CatchUp;
use super::compliance::Compliance;
use super::delivery::Delivery;
use super::demand::{Asked, Demand, Tracking, asked_since_start};
use super::efficiency::{self, Estimate};
use super::goal::Goal;
use super::heater::{HeaterControl, resting};
use super::inputs::{Inputs, Unusable};
use super::jitter::Jitter;
use super::limits::{Ceilings, Limits, Part};
use super::loss::Watch;
use super::mode::{Mode, Seen};
use super::orders::Outcome;
use super::ramp::{Ramp, Rates};
use super::safety::{self, Signals};
use super::season::{self, Season};
use super::send::{DEADBAND, Gate, Standing};
use super::shared::Need;
use super::staging::{Candidate, Staging};
use super::{Settings, report};

/// A heater that draws more than idle by this share of its rated power runs.
const RUNS_FROM: f64 = 0.05;
/// A longer step than this is a stall.
const LONGEST_STEP: std::time::Duration = std::time::Duration::from_secs(20);

fn heaters_of<'a>(plant: &'a Plant, zone: &'a Zone) -> impl Iterator<Item = &'a Heater> {
    zone.heaters.iter().filter_map(|id| plant.heater(*id))
}

/// The controller of one zone, and of its heaters.
#[derive(Debug, Clone)]
pub(super) struct ZoneControl {
    pub mode: Mode,
    /// In the order of the zone's heaters.
    pub heaters: Vec<(HeaterId, HeaterControl)>,
    pub ramp: Ramp,
    pub delivery: Delivery,
    pub started: Mono,
    pub demand: Demand,
    watch: Watch,
    pub limits: Limits,
    pub gate: Gate,
    pub estimate: Estimate,
    compliance: Compliance,
    account: Account,
    catch_up: CatchUp,
    jitter: Jitter,
    season: Season,
    staging: Staging,
    /// Power that the heaters that take part shall carry; `None` while no heat is asked.
    carried: Option<Watts>,
    /// Of the whole zone, at the last step: the floor, and what is wanted.
    used: (Watts, Watts),
    /// Which heaters took part at the last step.
    members: Vec<bool>,
    /// The last heat that the building asked for.
    held: Watts,
    /// A ceiling or a shortage held the heat at the last step.
    short: bool,
    pub moving: bool,
}

/// What was found on the way, for the report.
pub(super) struct Found<'a> {
    pub goal: Goal,
    pub asked: Asked,
    pub ceilings: Ceilings,
    pub eta: f64,
    pub ceiling: Watts,
    pub floor: Watts,
    /// Sold compute that may run.
    pub sold: Watts,
    pub target: Watts,
    pub reserve: Watts,
    pub bms_alarm: bool,
    pub signals: Signals,
    pub reasons: Vec<Reason>,
    pub inputs: &'a Inputs<'a>,
}

impl ZoneControl {
    pub fn new(plant: &Plant, zone: &Zone, mode: Mode, now: Mono) -> Self {
        let stopped = matches!(mode, Mode::Safety(_));
        let heaters = zone.heaters.iter().filter_map(|id| {
            let mut heater = HeaterControl::new(plant.heater(*id)?, now);
            if stopped {
                heater.cap = Watts::ZERO;
            }
            Some((*id, heater))
        });
        Self {
            mode,
            heaters: heaters.collect(),
            ramp: Ramp::new(Watts::ZERO, now),
            delivery: Delivery::new(now),
            started: now,
            demand: Demand::default(),
            watch: Watch::new(now),
            limits: Limits::default(),
            gate: Gate::default(),
            estimate: Estimate::new(zone, efficiency::believed(zone, heaters_of(plant, zone))),
            compliance: Compliance::new(now),
            account: Account::new(now),
            catch_up: CatchUp::new(now),
            jitter: Jitter::default(),
            season: Season::default(),
            staging: Staging::default(),
            carried: None,
            used: (heaters_of(plant, zone).map(|heater| heater.fallback).sum(), Watts::ZERO),
            members: Vec::new(),
            held: Watts::ZERO,
            short: false,
            moving: false,
        }
    }

    /// The heaters with their definitions, those that take part (`true`) or not.
    pub fn part<'a>(&'a self, plant: &'a Plant, takes: bool) -> impl Iterator<Item = (&'a Heater, &'a HeaterControl)> {
        self.heaters
            .iter()
            .filter(move |(_, heater)| heater.takes_part() == takes)
            .filter_map(|(id, heater)| Some((plant.heater(*id)?, heater)))
    }

    fn sent_in(&self) -> Watts {
        self.heaters.iter().filter(|(_, heater)| heater.takes_part()).map(|(_, heater)| heater.cap).sum()
    }

    /// One step.
    pub fn step(&mut self, zone: &Zone, inputs: &Inputs<'_>, settings: &Settings, part: Option<Part>) -> ZoneDecision {
        let plant = inputs.plant;
        let now = inputs.mono();
        for (id, control) in &mut self.heaters {
            if let Some(heater) = plant.heater(*id) {
                control.observe(heater, inputs);
            }
        }
        if inputs.flag(zone.points.get(ZoneRole::FaultReset)) == Some(true) {
            self.reset();
        }
        let members: Vec<bool> = self.heaters.iter().map(|(_, heater)| heater.takes_part()).collect();
        if members != self.members {
            // The ramp is about those that take part: it goes on from what they were told.
            self.members = members;
            self.ramp.restart(self.sent_in());
        }

        self.stage(zone, plant, now);
        let eta = self.learn(zone, inputs);
        let reserve: Watts = self.part(plant, false).map(|(heater, control)| control.reserve(heater, inputs)).sum();
        let tracking = Tracking { heat: (self.ramp.at() + reserve) * eta, held: self.short };
        let asked = self.demand.read(zone, inputs, tracking);
        let bms_alarm = self.watch.update(zone, inputs, settings.bms_liveness, asked.heat == Err(Unusable::Stale));
        let signals = safety::signals(zone, inputs);
        self.change_mode(zone, inputs, asked, signals);

        let most_in: Watts = self.part(plant, true).map(|(heater, control)| control.reach(heater)).sum();
        let ceilings = self.limits.read(zone, inputs, most_in + reserve, part);
        let mut reasons = Vec::new();
        let mut goal = self.goal(zone, inputs, asked, eta, &mut reasons);
        if signals.unreadable.is_some() {
            goal.no_raise = goal.no_raise.or(Some("a safety input cannot be read"));
        }
        goal.no_raise = goal.no_raise.or(ceilings.unread);

        let ceiling = ceilings.lowest();
        let idle_in: Watts = self.part(plant, true).map(|(heater, control)| control.room(heater).low).sum();
        let summer = self.season.summer(zone, inputs);
        let held = season::allowed(zone, summer, self.delivery.backup, goal.heat, eta);
        let sold = held.unwrap_or(zone.contracted);
        if held.is_some() && goal.heat.is_some() {
            reasons.push(Reason::SoldComputeHeld { to: sold, from: zone.contracted });
        }
        let floor = (idle_in + reserve).max(sold);
        let rest_floor = sold.max(self.staying(plant, now) + reserve);
        let wanted = self.floored(&goal, (floor, rest_floor), reserve, &mut reasons);
        ceilings.explain(wanted, &mut reasons);
        if floor > ceiling && goal.power.is_some() {
            reasons.push(Reason::CeilingBelowFloor { ceiling, floor });
        }
        let high_in = (ceiling - reserve).max(Watts::ZERO);
        // Where no heat is asked the caps are the heaters' own, and no heat is made up for.
        let kappa = if goal.power.is_some() { self.compliance.kappa() } else { 1.0 };
        let aim = ((wanted - reserve).max(Watts::ZERO) / kappa).min(high_in);
        let mut target = self.smoothed(zone, now, &goal, aim, (idle_in.min(high_in), high_in), &mut reasons);
        if let Some(why) = goal.no_raise {
            let had = self.sent_in();
            // What the deadband left unsent is no raise that somebody misses.
            if target > had + zone.rated * DEADBAND {
                reasons.push(Reason::NotRaised(why));
            }
            target = target.min(had);
            self.ramp.restart(self.ramp.at().min(had));
        }
        if goal.stop {
            target = Watts::ZERO;
            self.ramp.restart(Watts::ZERO);
        }
        // What heaters say they can draw is no reason for haste; a limit or a temperature is.
        let hard_in = ceilings.hard().map_or(zone.rated, |hard| (hard - reserve).max(Watts::ZERO));
        let mut at = self.ramp.step(now, target, hard_in, Rates::of(zone));
        if zone.law.allocation == Allocation::Staged {
            // The ramp does not run ahead of those that carry it.
            let most: Watts = self.part(plant, true).map(|(heater, control)| control.room(heater).high).sum();
            at = at.min(most);
            self.ramp.restart(at);
        }
        let on = idle_in.min(target);
        if goal.power.is_some() && goal.no_raise.is_none() && at < on {
            // Below idle power a heater is off or idle: there is nothing to ramp through.
            self.ramp.restart(on);
            at = on;
        }
        self.moving = (at - target).abs() > Watts::of(0.5);
        if self.moving {
            reasons.push(Reason::Ramp { at: at + reserve, to: target + reserve });
        }
        for (heater, control) in self.part(plant, false) {
            if let Some(why) = control.why_out() {
                reasons.push(Reason::HeaterOut { heater: heater.id, why });
            }
        }
        if settings.observe {
            reasons.push(Reason::Observing);
        }
        let low_in = if goal.power.is_some() { idle_in } else { goal.power_in };
        let standing = Standing {
            rated: zone.rated,
            sent: self.sent_in(),
            ramp: at,
            target,
            ceiling: high_in,
            hard: hard_in,
            floor: low_in.min(high_in),
            uneven: Watts::ZERO,
        };
        self.carried = goal.power.map(|_| target);
        self.used = if goal.stop { Default::default() } else { (low_in + reserve, wanted) };
        let (stop, sent) = (goal.stop, !settings.observe);
        self.command(zone, inputs, Outcome { standing, ceiling, stop, sent, reasons: &reasons });
        let found = Found {
            goal,
            asked,
            ceilings,
            eta,
            ceiling,
            floor,
            sold,
            target,
            reserve,
            bms_alarm,
            signals,
            reasons,
            inputs,
        };
        let decision = report::zone(self, zone, found);
        self.short = decision.state == ZoneState::Limited;
        decision
    }

    /// What it needs of a limit that it shares. In steps of 1 %, so that a trembling request moves nobody else.
    pub fn need(&self, zone: &Zone) -> Need {
        let (floor, wanted) = self.used;
        let step = zone.rated.get() * DEADBAND;
        let wanted = if step > 0.0 { Watts::of((wanted.get() / step).ceil() * step) } else { wanted };
        Need { floor, wanted, rated: zone.rated }
    }

    /// Which heaters have a share.
    fn stage(&mut self, zone: &Zone, plant: &Plant, now: Mono) {
        if zone.law.allocation == Allocation::Proportional {
            return;
        }
        let candidates: Vec<Candidate> = self
            .heaters
            .iter()
            .filter_map(|(id, control)| {
                let heater = plant.heater(*id)?;
                let (takes_part, high) = (control.takes_part(), control.reach(heater));
                Some(Candidate { takes_part, high, rest: resting(heater), run: control.run })
            })
            .collect();
        self.staging.update(now, &candidates, self.carried);
        for (at, (_, control)) in self.heaters.iter_mut().enumerate() {
            control.staged = self.staging.is_on(at);
        }
    }

    /// Power of the heaters that take part while some of them must still stay on; nothing where none must.
    fn staying(&self, plant: &Plant, now: Mono) -> Watts {
        if !(0..self.heaters.len()).any(|at| self.staging.must_stay(at, now)) {
            return Watts::ZERO;
        }
        self.part(plant, true).map(|(heater, control)| control.room(heater).low).sum()
    }

    /// Look at what can be learned: efficiency, and how caps are kept. The efficiency of those that take part.
    fn learn(&mut self, zone: &Zone, inputs: &Inputs<'_>) -> f64 {
        let plant = inputs.plant;
        let now = inputs.mono();
        let power = |takes: fn(&HeaterControl) -> bool| -> Option<Watts> {
            let of = |id: &HeaterId| inputs.watts(plant.heater(*id)?.points.get(HeaterRole::Power));
            self.heaters.iter().filter(|(_, heater)| takes(heater)).map(|(id, _)| of(id)).sum()
        };
        let (all, members) = (power(|_| true), power(HeaterControl::takes_part));
        // Below idle power nobody draws, whatever the caps are.
        let rest = |(id, control): &(HeaterId, HeaterControl)| {
            let heater = plant.heater(*id)?;
            (control.cap <= heater.fallback).then_some(heater.fallback.max(heater.idle))
        };
        let rest: Option<Watts> = self.heaters.iter().map(rest).sum();
        self.estimate.observe(zone, inputs, all.filter(|_| !self.heaters.is_empty()), rest);
        self.compliance.observe(now, self.sent_in(), members, LONGEST_STEP);
        self.account.book(now, self.sent_in(), zone.rated);
        self.eta(zone, plant)
    }

    /// Efficiency of those that take part.
    fn eta(&self, zone: &Zone, plant: &Plant) -> f64 {
        let some = efficiency::believed(zone, self.part(plant, true).map(|(heater, _)| heater));
        self.estimate.of_some(some, efficiency::believed(zone, heaters_of(plant, zone)))
    }

    /// The power to go for: the aim, without its tremble, and with what ramps and deadbands owe.
    fn smoothed(
        &mut self,
        zone: &Zone,
        now: Mono,
        goal: &Goal,
        aim: Watts,
        (low, high): (Watts, Watts),
        reasons: &mut Vec<Reason>,
    ) -> Watts {
        let follows = goal.heat.is_some() && goal.power.is_some() && goal.no_raise.is_none();
        self.account.aim(follows.then_some(aim));
        if !follows {
            self.jitter.rest();
            self.catch_up.rest(now);
            return aim;
        }
        let share = goal.follow.ratio(zone.nominal_heat).unwrap_or(0.0);
        let followed = self.jitter.follow(now, share, aim, zone.rated);
        if self.jitter.slows() && (followed - aim).abs() > zone.rated * DEADBAND {
            reasons.push(Reason::Smoothed { from: aim, to: followed });
        }
        let owed = self.account.repay(zone.rated);
        let ramp = self.ramp.at() + Watts::of(0.5);
        let arrives = |extra: Watts| ramp >= (followed + owed + extra).min(high);
        // Power that set out ahead of a request arrives in time: there is nothing to catch up with.
        let ahead = goal.heat.is_some_and(|heat| (goal.follow - heat).abs() > Watts::of(0.5));
        let extra = if ahead {
            self.catch_up.rest(now);
            Watts::ZERO
        } else {
            self.catch_up.step(now, followed, self.account.drawn(), zone.rated, arrives)
        };
        let repay = owed + extra;
        if repay.abs() > zone.rated * (DEADBAND / 2.0) {
            reasons.push(Reason::Repaid { by: repay });
        }
        (followed + repay).max(low).min(high)
    }

    /// What `fault_reset` may reset: alarms of control's own. Never the safety latch, never a heater's own fault.
    fn reset(&mut self) {
        self.delivery.reset();
        for (_, heater) in &mut self.heaters {
            heater.reset();
        }
    }

    fn change_mode(&mut self, zone: &Zone, inputs: &Inputs<'_>, asked: Asked, signals: Signals) {
        let seen = Seen {
            readable: asked.heat.is_ok(),
            manual: asked.manual,
            spoken: asked_since_start(zone, inputs),
            lost: self.watch.lost(),
            held: self.held,
        };
        let latch = safety::latched(self.mode.latch(), signals, inputs.now);
        let left_boot = self.mode == Mode::Init { boot: true };
        let before = std::mem::replace(&mut self.mode, Mode::Init { boot: false });
        self.mode = before.next(seen, latch, inputs.mono());
        if self.mode == Mode::Auto {
            self.held = asked.heat.unwrap_or(self.held);
        }
        if left_boot && matches!(self.mode, Mode::Auto | Mode::Manual { .. }) {
            self.take_over(zone, inputs, asked.heat.unwrap_or_default());
        }
    }

    /// Bumpless: heaters that still run as the process before left them are taken over where they are, as far as the
    /// request goes.
    fn take_over(&mut self, zone: &Zone, inputs: &Inputs<'_>, heat: Watts) {
        let plant = inputs.plant;
        let measured: Option<Vec<Watts>> = self
            .part(plant, true)
            .map(|(heater, _)| {
                let power = inputs.watts(heater.points.get(HeaterRole::Power))?;
                Some(power.max(Watts::ZERO).min(heater.rated))
            })
            .collect();
        let eta = self.eta(zone, plant);
        if let Some(measured) = measured {
            let running: Watts = measured.into_iter().sum();
            self.ramp.restart(self.ramp.at().max(running.min(heat / eta)));
        }
        for at in 0..self.heaters.len() {
            let Some((id, control)) = self.heaters.get_mut(at) else { continue };
            let Some(heater) = plant.heater(*id) else { continue };
            let power = inputs.watts(heater.points.get(HeaterRole::Power));
            let runs = power.is_some_and(|power| power > heater.idle + heater.rated * RUNS_FROM);
            if zone.law.allocation == Allocation::Staged && control.takes_part() && runs {
                control.staged = true;
                self.staging.adopt(at, inputs.mono());
            }
        }
    }

    /// Measured electrical power of the heaters that are heard.
    pub fn measured(&self, inputs: &Inputs<'_>) -> Option<Watts> {
        self.heaters
            .iter()
            .filter_map(|(id, _)| inputs.watts(inputs.plant.heater(*id)?.points.get(HeaterRole::Power)))
            .reduce(|a, b| a + b)
    }

    /// Heat that arrives: metered, else what the measured power gives.
    pub fn delivered(&self, zone: &Zone, inputs: &Inputs<'_>, eta: f64) -> Watts {
        let meter = zone.meter.and_then(|id| inputs.plant.meter(id));
        let metered = inputs.watts(meter.and_then(|meter| meter.points.get(MeterRole::Power)));
        let caps = || self.heaters.iter().map(|(_, heater)| heater.cap).sum();
        metered.unwrap_or_else(|| self.measured(inputs).unwrap_or_else(caps) * eta)
    }
}
