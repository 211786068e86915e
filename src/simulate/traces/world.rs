//! The engine between a building, heaters and meters to which anything may happen.

use std::sync::Arc;
use std::time::Duration;

use super::event::{Event, Shown};
use crate::decision::{Command, Decision};
use crate::engine::{Engine, Event as Happened, Restored, Settings};
use crate::plant::{HeaterRole, MeterRole, Plant, ZoneId, ZoneRole};
use crate::point::{Fault, PointId, Priority, Reading, Update, Value};
use crate::request::{Action, Origin, Request, Side, Write};
use crate::time::{Mono, Now, Utc};
use crate::units::Energy;

/// "None" and "not available" on the BMS's side.
pub(super) const NO_LIMIT: f64 = 6553.5;
pub(super) const NO_TEMPERATURE: f64 = -3276.8;
/// The limits of a zone, by their number in an event.
pub(super) const LIMITS: [ZoneRole; 3] = [ZoneRole::ElectricalLimit, ZoneRole::LoadControlLimit, ZoneRole::RemoteLimit];
/// What the building repeats.
const ASKS: [ZoneRole; 6] = [
    ZoneRole::HeatRequestPercent,
    ZoneRole::HeatRequestPower,
    ZoneRole::SupplyTemperatureSetpoint,
    ZoneRole::DemandMode,
    ZoneRole::Enable,
    ZoneRole::RoomTemperature,
];
/// Heaters follow their caps with this, s.
const FOLLOW_S: f64 = 15.0;
/// Heat follows power with this, s.
const WATER_S: f64 = 240.0;

/// A heater and its controller; powers in kW.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub rated: f64,
    pub idle: f64,
    pub power: f64,
    cap: f64,
    fallback: f64,
    lease_ends: f64,
    seq: u64,
    jobs: f64,
    pub heard: bool,
    acks: bool,
    refuses: bool,
    online: bool,
    state: u16,
    shown_power: Shown,
    most: Shown,
    inlet: Shown,
}

/// A zone's other parts.
#[derive(Debug, Clone)]
pub(super) struct Part {
    alive: bool,
    written: Vec<(ZoneRole, f64)>,
    heat: f64,
    shown_heat: Shown,
    supply: Shown,
    back: Shown,
}

/// All of it.
pub(super) struct World {
    pub plant: Arc<Plant>,
    engine: Engine,
    pub s: u64,
    wall: i64,
    pub units: Vec<Unit>,
    pub parts: Vec<Part>,
    others: Shown,
    contact: Shown,
    pub decision: Arc<Decision>,
}

/// What the checker is told of, at the instant at which it happens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Told {
    /// A write that was taken, by the building's side, or by a person (`None`: let go).
    Written(usize, ZoneRole, f64),
    Forced(usize, ZoneRole, Option<f64>),
    /// A reading that arrived.
    Read(PointId, Option<f64>),
    /// A person re-armed a zone, and it was taken.
    Rearmed(usize),
    /// The gateway started anew.
    Restarted,
    /// Control has stepped: look at the decision. `true` after a tick.
    Stepped(bool),
}

fn settings() -> Settings {
    Settings { control: crate::control::Settings::default(), liveness: 1.0 }
}

impl World {
    pub fn new(plant: Arc<Plant>) -> Self {
        let now = Now { mono: Mono::START, utc: Utc::default() };
        let (engine, _) = Engine::new(Arc::clone(&plant), settings(), Restored::default(), now);
        let units = plant.heaters.iter().map(|heater| Unit {
            rated: heater.rated.kw(),
            idle: heater.idle.kw(),
            power: heater.idle.kw(),
            cap: heater.fallback.kw(),
            fallback: heater.fallback.kw(),
            lease_ends: f64::INFINITY,
            seq: 0,
            jobs: 1.0,
            heard: true,
            acks: true,
            refuses: false,
            online: true,
            state: 1,
            shown_power: Shown::True,
            most: Shown::True,
            inlet: Shown::Silent,
        });
        let part = Part {
            alive: true,
            written: Vec::new(),
            heat: 10.0,
            shown_heat: Shown::True,
            supply: Shown::Silent,
            back: Shown::Silent,
        };
        Self {
            units: units.collect(),
            parts: plant.zones.iter().map(|_| part.clone()).collect(),
            decision: Arc::clone(engine.decision()),
            engine,
            plant,
            s: 0,
            wall: 0,
            others: Shown::True,
            contact: Shown::True,
        }
    }

    pub fn staged(&self) -> Vec<Vec<(bool, bool)>> {
        self.engine.staged()
    }

    fn now(&self) -> Now {
        let millis = self.wall.saturating_add(self.s as i64).saturating_mul(1000);
        Now { mono: Mono::from_start(Duration::from_secs(self.s)), utc: Utc::from_millis(millis) }
    }

    fn happened(&mut self, event: Happened, told: &mut dyn FnMut(&Self, Told)) {
        let tick = matches!(event, Happened::Tick);
        let now = self.now();
        if let Some(decision) = self.engine.decide(event, now) {
            self.decision = decision;
            told(self, Told::Stepped(tick));
        }
    }

    fn point(&self, zone: usize, role: ZoneRole) -> Option<PointId> {
        self.plant.zones.get(zone)?.points.get(role)
    }

    /// A write, where the point takes it; what is not a value of its kind cannot even be asked.
    fn write(&mut self, at: (usize, ZoneRole), number: Option<f64>, person: bool, told: &mut dyn FnMut(&Self, Told)) {
        let Some(point) = self.point(at.0, at.1) else { return };
        let Some(def) = self.plant.point(point).filter(|def| def.commandable().is_some()) else { return };
        let action = match number {
            None => Action::Relinquish,
            Some(number) => match Value::from_f64(def.kind, number) {
                Some(value) => Action::Set(value),
                None => return,
            },
        };
        let admitted = number.is_none_or(|number| def.admits(number));
        let (side, priority) = match (person, at.1) {
            (true, _) => (Side::Web, Priority::OPERATOR),
            (false, ZoneRole::RemoteLimit) => (Side::Mqtt, Priority::PROGRAM),
            (false, _) => (Side::Modbus, Priority::PROGRAM),
        };
        if admitted {
            let news = match number {
                _ if person => Told::Forced(at.0, at.1, number),
                Some(number) => Told::Written(at.0, at.1, number),
                None => return,
            };
            told(self, news);
        }
        let origin = Origin { side, peer: "trace".into() };
        let request = Request { origin, writes: vec![Write { point, action, priority }] };
        self.happened(Happened::Request { request, token: 0 }, told);
    }

    /// Something happens, now.
    pub fn apply(&mut self, event: Event, told: &mut dyn FnMut(&Self, Told)) {
        let unit = |world: &mut Self, at: usize, set: &dyn Fn(&mut Unit)| {
            if let Some(unit) = world.units.get_mut(at) {
                set(unit);
            }
        };
        let part = |world: &mut Self, at: usize, set: &dyn Fn(&mut Part)| {
            if let Some(part) = world.parts.get_mut(at) {
                set(part);
            }
        };
        match event {
            Event::Write(zone, role, number) => {
                if ASKS.contains(&role) {
                    part(self, zone, &|part| {
                        part.written.retain(|(other, _)| *other != role);
                        part.written.push((role, number));
                    });
                }
                self.write((zone, role), Some(number), false, told);
            }
            Event::Force(zone, role, number) => self.write((zone, role), number, true, told),
            Event::Building(zone, alive) => part(self, zone, &|part| part.alive = alive),
            Event::Limit(zone, which, limit) => {
                if let Some(role) = LIMITS.get(which) {
                    self.write((zone, *role), Some(limit.unwrap_or(NO_LIMIT)), false, told);
                }
            }
            Event::Others(shown) => self.others = shown,
            Event::Contact(shown) => self.contact = shown,
            Event::Heard(at, yes) => unit(self, at, &|unit| unit.heard = yes),
            Event::Acks(at, yes) => unit(self, at, &|unit| unit.acks = yes),
            Event::Refuses(at, yes) => unit(self, at, &|unit| unit.refuses = yes),
            Event::Online(at, yes) => unit(self, at, &|unit| unit.online = yes),
            Event::State(at, state) => unit(self, at, &|unit| unit.state = state),
            Event::Power(at, shown) => unit(self, at, &|unit| unit.shown_power = shown),
            Event::Most(at, shown) => unit(self, at, &|unit| unit.most = shown),
            Event::Inlet(at, shown) => unit(self, at, &|unit| unit.inlet = shown),
            Event::Jobs(at, jobs) => unit(self, at, &|unit| unit.jobs = jobs),
            Event::Heat(zone, shown) => part(self, zone, &|part| part.shown_heat = shown),
            Event::Supply(zone, shown) => part(self, zone, &|part| part.supply = shown),
            Event::Return(zone, shown) => part(self, zone, &|part| part.back = shown),
            Event::Rearm(zone) => self.rearm(zone, told),
            Event::Stall(s) => self.s += s,
            Event::Wall(s) => self.wall = self.wall.saturating_add(s),
            Event::Restart => self.restart(told),
            Event::Nothing => {}
        }
    }

    fn rearm(&mut self, zone: usize, told: &mut dyn FnMut(&Self, Told)) {
        let id = ZoneId(u16::try_from(zone).unwrap_or(u16::MAX));
        let event = Happened::Rearm { zone: id, by: "trace".to_owned(), token: 0 };
        let effects = self.engine.on(event, self.now());
        if effects.rearmed.iter().any(|(_, answer)| answer.is_ok()) {
            told(self, Told::Rearmed(zone));
            if let Some(decision) = effects.decision {
                self.decision = decision;
                told(self, Told::Stepped(false));
            }
        }
    }

    fn restart(&mut self, told: &mut dyn FnMut(&Self, Told)) {
        let saved = self.engine.checkpoint();
        let restored = Restored {
            counters: saved.counters,
            latches: saved.latches,
            slots: saved.slots,
            efficiencies: saved.efficiencies,
            runtimes: saved.runtimes,
            new_epoch: None,
        };
        let (engine, _) = Engine::new(Arc::clone(&self.plant), settings(), restored, self.now());
        self.engine = engine;
        self.decision = Arc::clone(self.engine.decision());
        for unit in &mut self.units {
            unit.seq = 0;
        }
        told(self, Told::Restarted);
        told(self, Told::Stepped(false));
    }

    /// Time passes: heaters do what they are told, everybody tells what there is, and the engine ticks.
    pub fn tick(&mut self, dt: u64, told: &mut dyn FnMut(&Self, Told)) {
        let before = self.s;
        self.s += dt;
        self.obey(dt as f64);
        if before / 60 != self.s / 60 {
            for zone in 0..self.parts.len() {
                let Some(part) = self.parts.get(zone).filter(|part| part.alive) else { continue };
                for (role, number) in part.written.clone() {
                    self.write((zone, role), Some(number), false, told);
                }
            }
        }
        let mut updates = Vec::with_capacity(64);
        self.heaters(&mut updates);
        self.field(&mut updates);
        for update in &updates {
            let number = match update.reading {
                Reading::Good(value) => Some(value.as_f64()),
                _ => None,
            };
            told(self, Told::Read(update.point, number));
        }
        self.happened(Happened::Readings(updates), told);
        self.happened(Happened::Tick, told);
    }

    /// Heaters follow the commands that reach them, and their leases.
    fn obey(&mut self, dt: f64) {
        let now = self.s as f64;
        for (unit, command) in self.units.iter_mut().zip(&self.decision.desired.commands) {
            if let Some(Command { seq, cap, fallback, ttl, .. }) = command
                && unit.heard
                && *seq > unit.seq
            {
                unit.seq = *seq;
                if !unit.refuses {
                    (unit.cap, unit.fallback) = (cap.kw(), fallback.kw());
                    unit.lease_ends = now + ttl.as_secs_f64();
                }
            }
            if now >= unit.lease_ends {
                (unit.cap, unit.lease_ends) = (unit.fallback, f64::INFINITY);
            }
            let goal = unit.cap.min(unit.idle + unit.jobs * (unit.rated - unit.idle)).max(unit.idle);
            unit.power += (goal - unit.power) * -f64::exp_m1(-dt / FOLLOW_S);
        }
        for (zone, part) in self.plant.zones.iter().zip(&mut self.parts) {
            let of = |id: &crate::plant::HeaterId| self.units.get(usize::from(id.0)).map_or(0.0, |unit| unit.power);
            let power: f64 = zone.heaters.iter().map(of).sum();
            part.heat += (0.9 * power - part.heat) * -f64::exp_m1(-dt / WATER_S);
        }
    }

    fn heaters(&self, updates: &mut Vec<Update>) {
        for (heater, unit) in self.plant.heaters.iter().zip(&self.units) {
            let mut put = |role: HeaterRole, reading: Option<Reading>| {
                if let (Some(point), Some(reading)) = (heater.points.get(role), reading) {
                    updates.push(Update { point, reading });
                }
            };
            // The broker speaks for those that are gone.
            put(HeaterRole::Online, Some(Reading::Good(Value::Bool(unit.online))));
            if !unit.heard {
                continue;
            }
            put(HeaterRole::Power, reading(unit.shown_power, unit.power));
            put(HeaterRole::Min, Some(Reading::number(unit.idle)));
            put(HeaterRole::Max, reading(unit.most, unit.rated));
            put(HeaterRole::State, Some(Reading::Good(Value::State(unit.state))));
            put(HeaterRole::Applied, Some(Reading::number(unit.cap)));
            put(HeaterRole::Inlet, reading(unit.inlet, 24.0).filter(|_| unit.inlet != Shown::True));
            put(HeaterRole::AckResult, Some(Reading::Good(Value::State(if unit.refuses { 3 } else { 1 }))));
            if unit.acks {
                put(HeaterRole::AckSeq, Some(Reading::Good(Value::Unsigned(unit.seq))));
            }
        }
    }

    fn field(&self, updates: &mut Vec<Update>) {
        let mut put = |point: Option<PointId>, reading: Option<Reading>| {
            if let (Some(point), Some(reading)) = (point, reading) {
                updates.push(Update { point, reading });
            }
        };
        for (meter, part) in self.plant.meters.iter().zip(&self.parts) {
            let point = |role| meter.points.get(role);
            put(point(MeterRole::Power), reading(part.shown_heat, part.heat));
            put(point(MeterRole::Supply), reading(part.supply, 45.0));
            put(point(MeterRole::Return), reading(part.back, 35.0));
            put(point(MeterRole::Flow), Some(Reading::number(4.9)));
            put(point(MeterRole::EnergyCounter), Some(Reading::Good(Value::Energy(Energy::from_wh(self.s)))));
        }
        put(self.point(0, ZoneRole::OtherPower), reading(self.others, 5.0));
        let contact = match self.contact {
            Shown::True | Shown::Number(0.0) => Some(Reading::Good(Value::Bool(false))),
            Shown::Number(_) => Some(Reading::Good(Value::Bool(true))),
            Shown::Gone => Some(Reading::Bad(Fault::NoCommunication)),
            Shown::Silent => None,
        };
        put(self.point(1, ZoneRole::EmergencyStop), contact);
    }
}

/// What arrives of something that is truly so.
fn reading(shown: Shown, truth: f64) -> Option<Reading> {
    match shown {
        Shown::True => Some(Reading::number(truth)),
        Shown::Number(number) => Some(Reading::number(number)),
        Shown::Gone => Some(Reading::Bad(Fault::NoCommunication)),
        Shown::Silent => None,
    }
}
