//! One zone at one tick: request, feed-forward, ceilings and floors, ramp, allocation, commands; each step leaves its
//! reasons behind, in order.

use crate::decision::{FailSafe, Reason, RequestSource};
use crate::plant::{Heater, HeaterId, HeaterRole, MeterRole, Plant, Zone, ZoneRole};
use crate::time::{Mono, Now};
use crate::units::Watts;

use super::allocation;
use super::delivery::Delivery;
use super::demand::{Asked, Demand, Tracking, asked_since_start};
use super::efficiency;
use super::heater::{HeaterControl, Order, resting};
use super::inputs::{Inputs, Unusable};
use super::limits::{Ceilings, Limits};
use super::loss::Watch;
use super::mode::{Mode, Seen};
use super::ramp::{Ramp, Rates};
use super::safety::{self, Signals};
use super::send::{Gate, Standing};
use super::{Settings, report};

/// The controller of one zone, and of its heaters.
#[derive(Debug, Clone)]
pub(super) struct ZoneControl {
    pub mode: Mode,
    /// In the order of the zone's heaters.
    pub heaters: Vec<(HeaterId, HeaterControl)>,
    pub ramp: Ramp,
    pub delivery: Delivery,
    pub started: Mono,
    demand: Demand,
    watch: Watch,
    limits: Limits,
    gate: Gate,
    /// Which heaters took part at the last step.
    members: Vec<bool>,
    /// The last heat that the building asked for.
    held: Watts,
    /// A ceiling or a shortage held the heat at the last step.
    short: bool,
    pub moving: bool,
}

/// What a step wants of the heaters that take part, and what it says about it.
#[derive(Debug, Clone)]
pub(super) struct Goal {
    /// Heat of the request that is followed.
    pub heat: Option<Watts>,
    pub source: RequestSource,
    /// Electrical power of the whole zone; `None`: the heaters' own (rest, fail-safe, stop) in `power_in`.
    power: Option<Watts>,
    power_in: Watts,
    /// At once, and to nothing.
    pub stop: bool,
    /// Why power is not raised.
    no_raise: Option<&'static str>,
}

/// What was found on the way, for the report.
pub(super) struct Found<'a> {
    pub goal: Goal,
    pub asked: Asked,
    pub ceilings: Ceilings,
    pub eta: f64,
    pub ceiling: Watts,
    pub floor: Watts,
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
    pub fn step(&mut self, zone: &Zone, inputs: &Inputs<'_>, settings: &Settings) -> crate::decision::ZoneDecision {
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

        let eta = efficiency::believed(zone, self.part(plant, true).map(|(heater, _)| heater));
        let reserve: Watts = self.part(plant, false).map(|(heater, control)| control.reserve(heater, inputs)).sum();
        let tracking = Tracking { heat: (self.ramp.at() + reserve) * eta, held: self.short };
        let asked = self.demand.read(zone, inputs, tracking);
        let bms_alarm = self.watch.update(zone, inputs, settings.bms_liveness, asked.heat == Err(Unusable::Stale));
        let signals = safety::signals(zone, inputs);
        self.change_mode(zone, inputs, asked, signals);

        let most_in: Watts = self.part(plant, true).map(|(heater, control)| control.room(heater).high).sum();
        let ceilings = self.limits.read(zone, inputs, most_in + reserve);
        let mut reasons = Vec::new();
        let mut goal = self.goal(zone, inputs, asked, eta, &mut reasons);
        if signals.unreadable.is_some() {
            goal.no_raise = goal.no_raise.or(Some("a safety input cannot be read"));
        }
        goal.no_raise = goal.no_raise.or(ceilings.unread);

        let ceiling = ceilings.lowest();
        let idle_in: Watts = self.part(plant, true).map(|(heater, control)| control.room(heater).low).sum();
        let floor = (idle_in + reserve).max(zone.contracted);
        let wanted = self.floored(&goal, zone, floor, reserve, &mut reasons);
        ceilings.explain(wanted, &mut reasons);
        if floor > ceiling && goal.power.is_some() {
            reasons.push(Reason::CeilingBelowFloor { ceiling, floor });
        }
        let high_in = (ceiling - reserve).max(Watts::ZERO);
        let mut target = (wanted - reserve).max(Watts::ZERO).min(high_in);
        if let Some(why) = goal.no_raise {
            let had = self.sent_in();
            if target > had {
                reasons.push(Reason::NotRaised(why));
            }
            target = target.min(had);
            self.ramp.restart(self.ramp.at().min(had));
        }
        if goal.stop {
            target = Watts::ZERO;
            self.ramp.restart(Watts::ZERO);
        }
        let mut at = self.ramp.step(now, target, high_in, Rates::of(zone));
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
            floor: low_in.min(high_in),
            uneven: Watts::ZERO,
        };
        self.command(zone, inputs, standing, ceiling, goal.stop, &reasons, !settings.observe);
        let found =
            Found { goal, asked, ceilings, eta, ceiling, floor, target, reserve, bms_alarm, signals, reasons, inputs };
        let decision = report::zone(self, zone, found);
        self.short = decision.state == crate::decision::ZoneState::Limited;
        decision
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
        let eta = efficiency::believed(zone, self.part(plant, true).map(|(heater, _)| heater));
        if let Some(measured) = measured {
            let running: Watts = measured.into_iter().sum();
            self.ramp.restart(self.ramp.at().max(running.min(heat / eta)));
        }
    }

    /// What the mode wants, with the first reasons.
    fn goal(&mut self, zone: &Zone, inputs: &Inputs<'_>, asked: Asked, eta: f64, reasons: &mut Vec<Reason>) -> Goal {
        let own = |zone: &Self, power: fn(&Heater) -> Watts| {
            zone.part(inputs.plant, true).map(|(heater, _)| power(heater)).sum::<Watts>()
        };
        let fallback = own(self, |heater| heater.fallback);
        let rest = own(self, resting);
        let mut goal = Goal {
            heat: None,
            source: RequestSource::None,
            power: None,
            power_in: fallback,
            stop: false,
            no_raise: None,
        };
        let heat = match &mut self.mode {
            Mode::Safety(latch) => {
                reasons.push(Reason::Safety(latch.cause));
                return Goal { stop: true, power_in: Watts::ZERO, source: RequestSource::Safety, ..goal };
            }
            Mode::Init { .. } => {
                reasons.push(Reason::FailSafe(FailSafe::Boot));
                return goal;
            }
            Mode::NoRequest => {
                reasons.push(Reason::FailSafe(FailSafe::NoRequest));
                goal.no_raise = Some("there is no usable request");
                return goal;
            }
            Mode::Auto => {
                goal.source = RequestSource::Bms;
                asked.heat.unwrap_or_default()
            }
            Mode::Manual { .. } => {
                goal.source = RequestSource::Manual;
                asked.heat.unwrap_or_default()
            }
            Mode::BmsLost(policy) => {
                let outdoor = inputs.celsius(zone.points.get(ZoneRole::OutdoorTemperature));
                let step = policy.step(inputs.mono(), zone, outdoor);
                reasons.push(Reason::LossPolicy(step.words));
                goal.source = step.source;
                goal.no_raise = Some("the BMS is lost");
                if step.ended {
                    reasons.push(Reason::FailSafe(FailSafe::BmsLost));
                    return Goal { power_in: rest, ..goal };
                }
                self.demand.switched(step.heat, zone.nominal_heat)
            }
        };
        reasons.push(Reason::Request { mode: asked.mode, heat, source: goal.source });
        goal.heat = Some(heat);
        goal.power_in = rest;
        if heat > Watts::ZERO {
            let power = heat / eta;
            reasons.push(Reason::FeedForward { eta, power });
            goal.power = Some(power);
        } else {
            reasons.push(Reason::Off);
        }
        goal
    }

    /// Power of the whole zone that is wanted, with the floors: idle power where heat is asked, and sold compute
    /// whatever is asked, but not in fail-safe.
    fn floored(&self, goal: &Goal, zone: &Zone, floor: Watts, reserve: Watts, reasons: &mut Vec<Reason>) -> Watts {
        let (wanted, floor) = match goal.power {
            Some(power) => (power, floor),
            None if goal.heat.is_some() => (goal.power_in + reserve, zone.contracted),
            None => (goal.power_in + reserve, Watts::ZERO),
        };
        if wanted < floor {
            reasons.push(Reason::Floor { to: floor });
        }
        wanted.max(floor)
    }

    /// Renew commands where it is due.
    #[expect(clippy::too_many_arguments, reason = "one call, from the step above")]
    fn command(
        &mut self,
        zone: &Zone,
        inputs: &Inputs<'_>,
        standing: Standing,
        ceiling: Watts,
        stop: bool,
        reasons: &[Reason],
        sent: bool,
    ) {
        let plant = inputs.plant;
        let rooms: Vec<_> = self.part(plant, true).map(|(heater, control)| control.room(heater)).collect();
        let shares = allocation::share(&rooms, standing.ramp);
        let uneven = self
            .part(plant, true)
            .zip(&shares)
            .map(|((_, control), share)| (control.cap - *share).abs())
            .reduce(Watts::max)
            .unwrap_or_default();
        let renew = self.gate.open(inputs.mono(), Standing { uneven, ..standing });

        // Those that take no part get what the ceiling leaves, and never more than they had.
        let sum_in = if renew { shares.iter().copied().sum() } else { standing.sent };
        let out: Watts = self.part(plant, false).map(|(heater, control)| control.cap.min(heater.fallback)).sum();
        let left = (ceiling - sum_in).max(Watts::ZERO).ratio(out).unwrap_or(1.0).min(1.0);

        let rated_in: Watts = self.part(plant, true).map(|(heater, _)| heater.rated).sum();
        let rates = Rates::of(zone);
        let mut shares = shares.into_iter();
        for (id, control) in &mut self.heaters {
            let Some(heater) = plant.heater(*id) else { continue };
            let cap = if stop {
                let _ = control.takes_part().then(|| shares.next());
                Watts::ZERO
            } else if control.takes_part() {
                let share = shares.next().unwrap_or(control.cap);
                if renew { share } else { control.cap }
            } else {
                control.cap.min(heater.fallback) * left
            };
            // A stop outlives the gateway: the lease ends where the cap stands.
            let fallback = if stop { Watts::ZERO } else { heater.fallback };
            let told = control.command.as_ref().is_some_and(|command| command.fallback == fallback);
            let nothing = if stop { Watts::ZERO } else { Watts::of(0.5) };
            let changed = !told || (cap - control.cap).abs() > nothing;
            if !changed && !control.refresh_due(heater, inputs) {
                continue;
            }
            // The zone's ramp, divided among those that carry it.
            let part = if control.takes_part() { heater.rated.ratio(rated_in) } else { heater.rated.ratio(zone.rated) };
            let speed = if cap > control.cap { rates.up } else { rates.down } * part.unwrap_or(1.0);
            let mut why = reasons.to_vec();
            why.push(Reason::Share { of: cap, total: sum_in });
            let order =
                Order { cap, ttl: heater.lease, ramp_w_per_s: if stop { 0.0 } else { speed }, fallback, reasons: why };
            control.tell(heater, inputs.now, order, sent);
        }
    }

    /// Give back what was commanded: each heater to its own fallback, but never above what it had.
    pub fn release(&mut self, plant: &Plant, now: Now, sent: bool) {
        let stopped = self.mode.latch().is_some();
        for (id, control) in &mut self.heaters {
            let Some(heater) = plant.heater(*id) else { continue };
            let fallback = if stopped { Watts::ZERO } else { heater.fallback };
            let order = Order {
                cap: if stopped { Watts::ZERO } else { fallback.min(control.cap) },
                ttl: if stopped { heater.lease } else { heater.lease.min(RELEASE) },
                ramp_w_per_s: heater.rated.get() * zone_down(plant, heater) / 60.0,
                fallback,
                reasons: vec![Reason::Released],
            };
            control.tell(heater, now, order, sent);
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

/// Lease of a released command: short, because the heater's own fallback is meant to take over.
const RELEASE: std::time::Duration = std::time::Duration::from_secs(10);

fn zone_down(plant: &Plant, heater: &Heater) -> f64 {
    plant.zone(heater.zone).map_or(1.0, |zone| zone.ramp_down_per_min.max(0.0))
}
