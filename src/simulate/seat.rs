//! The engine in its seat: fed with events as the gateway feeds it, and asked for nothing but its decisions.

use std::sync::Arc;
use std::time::Duration;

use super::scenario::BadScenario;
use super::site::{Site, Unit};
use crate::decision::{Decision, RequestSource};
use crate::engine::{Engine, Event, Restored, Settings};
use crate::mapping::{self, Files};
use crate::plant::{HeaterRole, MeterRole, Plant, Roles, ZoneRole};
use crate::point::{Fault, PointId, Priority, Reading, Update, Value};
use crate::request::{Action, Origin, Request, Side, Write};
use crate::time::{Mono, Now, Utc};
use crate::units::{Unit as In, Watts};

/// The simulated site's mapping.
const MAPPING: &str = include_str!("../../scenarios/site.toml");
const NAME: &str = "site.toml";

/// The site's mapping, with the meter's poll and the efficiency of this run.
struct Written(String);

impl Files for Written {
    fn read(&self, name: &str) -> Result<String, String> {
        if name == NAME { Ok(self.0.clone()) } else { Err(format!("{name} is not built in")) }
    }
}

/// Compile the simulated site: what the heaters' efficiency is believed to be, and how often the meter is read, s.
///
/// # Errors
///
/// When the built-in mapping does not compile with these.
pub(super) fn plant(believed: f64, meter_every_s: f64) -> Result<Plant, BadScenario> {
    let text = MAPPING
        .replace("poll = \"16s\"", &format!("poll = \"{}s\"", meter_every_s.ceil()))
        .replace("efficiency = 0.95", &format!("efficiency = {believed}"));
    let compiled = mapping::compile(NAME, &Written(text));
    compiled.plant.ok_or_else(|| {
        let why: Vec<String> = compiled.findings.iter().map(ToString::to_string).collect();
        BadScenario(why.join("\n"))
    })
}

/// What the meter shows.
#[derive(Debug, Clone, Copy)]
pub(super) struct MeterShows {
    pub heat: Watts,
    pub energy_wh: u64,
}

/// Flow through the meter, m3/h, and the return temperature, degC: 10 K at nominal heat.
const FLOW: f64 = 4.9;
const RETURN: f64 = 35.0;
/// Heat of water, W per m3/h and kelvin.
const WATER: f64 = 1.163e3;

/// The engine and its surroundings.
pub(super) struct Seat {
    engine: Engine,
    plant: Arc<Plant>,
    zone: Roles<ZoneRole>,
    start: Utc,
    origin: Origin,
    /// The newest command that each heater was sent, and its cap.
    sent: Vec<(u64, Watts)>,
    decision: Arc<Decision>,
    /// When control stepped last, s.
    pub stepped: u64,
    pub changes: u64,
    pub commands: u64,
    /// The newest command that each heater acknowledged.
    told: Vec<Option<u64>>,
}

impl Seat {
    pub fn new(plant: Arc<Plant>, start: Utc) -> Self {
        let settings = Settings { control: crate::control::Settings::default(), liveness: 1.0 };
        let now = Now { mono: Mono::START, utc: start };
        let (engine, first) = Engine::new(Arc::clone(&plant), settings, Restored::default(), now);
        let zone = plant.zones.first().map(|zone| zone.points.clone()).unwrap_or_default();
        let sent = plant.heaters.iter().map(|heater| (0, heater.fallback)).collect();
        let heaters = plant.heaters.len();
        let decision = first.decision.unwrap_or_else(|| Arc::clone(engine.decision()));
        Self {
            engine,
            zone,
            start,
            origin: Origin { side: Side::Modbus, peer: "simulated BMS".into() },
            sent,
            decision,
            stepped: 0,
            changes: 0,
            commands: 0,
            told: vec![None; heaters],
            plant,
        }
    }

    fn on(&mut self, t: u64, event: Event, site: &mut Site) {
        let mono = Mono::from_start(Duration::from_secs(t));
        let utc = Utc::from_millis(self.start.millis().saturating_add((t as i64).saturating_mul(1000)));
        let Some(decision) = self.engine.decide(event, Now { mono, utc }) else { return };
        self.stepped = t;
        let mut changed = false;
        for (heater, (command, sent)) in decision.desired.commands.iter().zip(&mut self.sent).enumerate() {
            let Some(command) = command.as_ref().filter(|command| command.seq > sent.0) else { continue };
            changed |= (command.cap - sent.1).abs() > Watts::of(0.5);
            *sent = (command.seq, command.cap);
            self.commands += 1;
            site.send(heater, command);
        }
        self.changes += u64::from(changed);
        self.decision = decision;
    }

    /// Time has passed.
    pub fn tick(&mut self, t: u64, site: &mut Site) {
        self.on(t, Event::Tick, site);
    }

    /// The BMS writes.
    pub fn write(&mut self, t: u64, values: &[(ZoneRole, f64)], site: &mut Site) {
        let writes = values.iter().filter_map(|(role, number)| {
            let point = self.zone.get(*role)?;
            let value = Value::from_f64(self.plant.point(point)?.kind, *number)?;
            Some(Write { point, action: Action::Set(value), priority: Priority::PROGRAM })
        });
        let request = Request { origin: self.origin.clone(), writes: writes.collect() };
        self.on(t, Event::Request { request, token: t }, site);
    }

    /// Telemetry and acknowledgements of all heaters that are heard, with one measuring error.
    pub fn telemetry(&mut self, t: u64, jobs: f64, error: f64, site: &mut Site) {
        let mut updates = Vec::with_capacity(32);
        for ((heater, unit), told) in self.plant.heaters.iter().zip(&site.units).zip(&mut self.told) {
            if !unit.cut {
                say(&mut updates, &self.plant, &heater.points, unit, (jobs, error), (t == 0, told));
            }
        }
        self.on(t, Event::Readings(updates), site);
    }

    /// The meter is read; it may not answer.
    pub fn meter(&mut self, t: u64, shows: Option<MeterShows>, site: &mut Site) {
        let Some(meter) = self.plant.meters.first() else { return };
        let reading = |role, point: PointId| {
            let Some(shows) = shows else { return Reading::Bad(Fault::NoCommunication) };
            match role {
                MeterRole::Power => number(&self.plant, point, In::Watt, shows.heat.get()),
                MeterRole::Flow => number(&self.plant, point, In::CubicMetrePerHour, FLOW),
                MeterRole::Supply => number(&self.plant, point, In::Celsius, Self::supply(shows.heat)),
                MeterRole::Return => number(&self.plant, point, In::Celsius, RETURN),
                _ => Reading::Good(Value::Energy(crate::units::Energy::from_wh(shows.energy_wh))),
            }
        };
        let fed = meter.points.iter().filter(|(role, _)| *role != MeterRole::Total);
        let updates = fed.map(|(role, point)| Update { point, reading: reading(role, point) }).collect();
        self.on(t, Event::Readings(updates), site);
    }

    /// Supply temperature of the water that carries a heat, degC.
    pub fn supply(heat: Watts) -> f64 {
        RETURN + heat.get() / (FLOW * WATER)
    }

    /// Where the ceiling of the supply temperature begins, and where it allows nothing, degC.
    pub fn supply_limit(&self) -> (f64, f64) {
        let limit = self.plant.zones.first().map(|zone| zone.supply_limit);
        limit.map_or((f64::NAN, f64::NAN), |limit| (limit.soft.get(), limit.max.get()))
    }

    /// Sum of the caps as commanded.
    pub fn cap(&self) -> Watts {
        self.sent.iter().map(|sent| sent.1).sum()
    }

    /// What is asked, as control sees it.
    pub fn asked(&self) -> Watts {
        self.decision.zones.first().and_then(|zone| zone.request).unwrap_or_default()
    }

    /// Whether the BMS is the one who asks.
    pub fn follows_bms(&self) -> bool {
        self.decision.zones.first().is_some_and(|zone| zone.source == RequestSource::Bms)
    }

    /// Efficiency believed.
    pub fn eta(&self) -> f64 {
        self.decision.zones.first().map_or(0.0, |zone| zone.eta)
    }

    /// The zone's state, in a word.
    pub fn state(&self) -> &'static str {
        self.decision.zones.first().map_or("", |zone| zone.state.as_str())
    }
}

fn number(plant: &Plant, point: PointId, unit: In, number: f64) -> Reading {
    let to = plant.point(point).map_or(unit, |def| def.unit);
    unit.convert(number, to).map_or(Reading::Bad(Fault::Malformed), Reading::number)
}

/// What a heater's controller says.
fn say(
    updates: &mut Vec<Update>,
    plant: &Plant,
    points: &Roles<HeaterRole>,
    unit: &Unit,
    (jobs, error): (f64, f64),
    (first, told): (bool, &mut Option<u64>),
) {
    let mut put = |role, reading: &dyn Fn(PointId) -> Reading| {
        if let Some(point) = points.get(role) {
            updates.push(Update { point, reading: reading(point) });
        }
    };
    let power = |watts: Watts| move |point| number(plant, point, In::Watt, watts.get());
    put(HeaterRole::Power, &power(Watts::of((unit.power().get() * (1.0 + error)).max(0.0).round())));
    put(HeaterRole::Min, &power(unit.idle()));
    put(HeaterRole::Max, &power(unit.rated()));
    put(HeaterRole::Jobs, &power(unit.jobs_power(jobs)));
    put(HeaterRole::EnergyCounter, &|_| Reading::Good(Value::Energy(unit.energy())));
    put(HeaterRole::State, &|_| Reading::Good(Value::State(1)));
    if first {
        put(HeaterRole::Online, &|_| Reading::Good(Value::Bool(true)));
    }
    put(HeaterRole::Applied, &power(unit.cap));
    if *told != unit.seq
        && let Some(seq) = unit.seq
    {
        *told = unit.seq;
        put(HeaterRole::AckSeq, &|_| Reading::Good(Value::Unsigned(seq)));
        put(HeaterRole::AckResult, &|_| Reading::Good(Value::State(1)));
    }
}
