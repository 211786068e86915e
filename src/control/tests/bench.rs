//! A small plant and an image that tests can move.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::control::{Controller, Settings};
use crate::decision::{Command, Decision, SafetyLatch, ZoneDecision};
use crate::plant::{
    BmsLossPolicy, Commandable, Device, DeviceId, Heater, HeaterId, HeaterRole, Link, Meter, MeterId, MeterRole,
    ModbusLine, Plant, PointDef, Roles, Source, TemperatureLimit, Zone, ZoneId, ZoneRole,
};
use crate::point::{
    Doubt, Fault, Image, Kind, PointId, PointKey, Priority, PriorityArray, Reading, Sample, Slot, Value,
};
use crate::time::{Mono, Now, Utc};
use crate::units::{Celsius, Quantity, Unit, Watts};

pub const RATED_KW: [f64; 4] = [20.0, 20.0, 10.0, 10.0];

fn unit(quantity: Quantity) -> Unit {
    match quantity {
        Quantity::Share => Unit::Percent,
        Quantity::Power => Unit::Kilowatt,
        Quantity::Temperature => Unit::Celsius,
        Quantity::Duration => Unit::Second,
        Quantity::Energy => Unit::WattHour,
        Quantity::Flow => Unit::CubicMetrePerHour,
        _ => Unit::None,
    }
}

pub fn add(plant: &mut Plant, key: String, kind: Kind, quantity: Quantity, source: Source) -> PointId {
    let id = PointId(u32::try_from(plant.points.len()).unwrap());
    plant.points.push(PointDef {
        id,
        key: PointKey::new(key).unwrap(),
        description: String::new(),
        kind,
        unit: unit(quantity),
        range: None,
        absent: None,
        texts: Vec::new(),
        source,
        deadband: 0.0,
    });
    id
}

pub fn hold() -> BmsLossPolicy {
    BmsLossPolicy::Hold {
        hold: Duration::from_secs(900),
        fallback_percent: 30.0,
        below_outdoor: Some(Celsius::of(15.0)),
        fallback_for: None,
        percent_per_min: 10.0,
    }
}

pub const INPUTS: [(ZoneRole, f64); 17] = [
    (ZoneRole::HeatRequestPercent, 0.0),
    (ZoneRole::HeatRequestPower, 0.0),
    (ZoneRole::SupplyTemperatureSetpoint, 45.0),
    (ZoneRole::DemandMode, 2.0),
    (ZoneRole::Enable, 0.0),
    (ZoneRole::ElectricalLimit, 6553.5),
    (ZoneRole::LoadControlLimit, 6553.5),
    (ZoneRole::RemoteLimit, 6553.5),
    (ZoneRole::BmsHeartbeat, 0.0),
    (ZoneRole::BmsTimeout, 300.0),
    (ZoneRole::FaultReset, 0.0),
    (ZoneRole::RoomTemperature, -3276.8),
    (ZoneRole::OutdoorTemperature, -3276.8),
    (ZoneRole::EmergencyStop, 0.0),
    (ZoneRole::OverTemperatureInput, 0.0),
    (ZoneRole::NextRequestPercent, 0.0),
    (ZoneRole::NextRequestIn, 65_535.0),
];

/// The plant, open to changes before the bench is made.
pub fn plant() -> Plant {
    let mut plant = Plant::default();
    let mut points = Roles::default();
    for (role, default) in INPUTS {
        let command = Commandable {
            relinquish_default: Value::from_f64(role.kind(), default).unwrap(),
            expires: None,
            persist: false,
            mqtt_set: false,
            momentary: role == ZoneRole::FaultReset,
        };
        let id =
            add(&mut plant, format!("hall/{}", role.as_str()), role.kind(), role.quantity(), Source::Command(command));
        if default.abs() > 3000.0 {
            plant.points[id.index()].absent = Some(default);
        }
        points.bind(role, id);
    }
    let link_point = add(&mut plant, "hall-meter/link".into(), Kind::Bool, Quantity::Plain, Source::Engine);
    let line = ModbusLine::Tcp { host: "127.0.0.1".into(), port: 502 };
    let link = Link::Modbus { line, unit: 1 };
    plant.devices.push(Device::new(DeviceId(0), "hall-meter".into(), link, link_point));
    let mut meter = Roles::default();
    for role in [MeterRole::Power, MeterRole::Supply] {
        let key = format!("hall-meter/{}", role.as_str());
        meter.bind(role, add(&mut plant, key, role.kind(), role.quantity(), Source::Device(DeviceId(0))));
    }
    plant.meters.push(Meter {
        id: MeterId(0),
        name: "hall-meter".into(),
        device: DeviceId(0),
        modulus_wh: 1 << 32,
        max_power: Watts::from_kw(100.0),
        max_age: Duration::from_secs(60),
        points: meter,
    });
    let mut heaters = Vec::new();
    for (index, kw) in (0u16..).zip(RATED_KW) {
        let id = HeaterId(index);
        let mut roles = Roles::default();
        for role in HeaterRole::ALL {
            let key = format!("rack-{index}/{}", role.as_str());
            roles.bind(*role, add(&mut plant, key, role.kind(), role.quantity(), Source::Heater(id)));
        }
        plant.heaters.push(Heater {
            id,
            name: format!("rack-{index}"),
            zone: ZoneId(0),
            rated: Watts::from_kw(kw),
            idle: Watts::from_kw(kw / 4.0),
            eta: 0.95,
            fallback: Watts::from_kw(kw / 4.0),
            may_switch_off: false,
            lease: Duration::from_secs(180),
            max_age: Duration::from_secs(30),
            points: roles,
        });
        heaters.push(id);
    }
    let limit = |soft, max| TemperatureLimit { soft: Celsius::of(soft), max: Celsius::of(max) };
    plant.zones.push(Zone {
        id: ZoneId(0),
        name: "hall".into(),
        index: 0,
        heaters,
        meter: Some(MeterId(0)),
        rated: Watts::from_kw(60.0),
        nominal_heat: Watts::from_kw(57.0),
        ramp_up_per_min: 0.2,
        ramp_down_per_min: 1.0,
        supply_limit: limit(55.0, 60.0),
        room_limit: limit(28.0, 32.0),
        inlet_limit: limit(32.0, 35.0),
        contracted: Watts::ZERO,
        law: crate::plant::Law::default(),
        on_bms_loss: hold(),
        points,
    });
    plant
}

/// Plant, image, controller, and heaters that do what they are told.
pub struct Bench {
    pub plant: Arc<Plant>,
    pub image: Image,
    pub control: Controller,
    pub now: Now,
    pub last: Decision,
    /// Heaters whose telemetry and acknowledgements arrive.
    pub heard: [bool; 4],
    /// Heaters that acknowledge.
    pub acks: [bool; 4],
    /// The states that they report.
    pub states: [u16; 4],
    /// The power that they report.
    pub power: [f64; 4],
    /// What the meter shows, kW; `None`: it is silent.
    pub meter: Option<f64>,
    /// The most that their jobs draw, kW; `None`: enough.
    pub jobs: Option<[f64; 4]>,
    /// The building's side repeats its writes every 60 s.
    pub bms: bool,
    /// Seconds by which the clock jumps with the next tick.
    pub jump: u64,
    /// What the season point would say.
    pub season: Option<u16>,
    written: Vec<(ZoneRole, f64)>,
    /// Power of the last minute and more, kW each 10 s, and the heat that the water gives of it.
    on_its_way: VecDeque<(u64, f64)>,
    pub heat: f64,
    /// True efficiency.
    pub eta: f64,
    /// What heaters draw of their caps.
    pub complies: f64,
}

pub fn at(s: u64) -> Now {
    Now { mono: Mono::from_start(Duration::from_secs(s)), utc: Utc::from_millis(i64::try_from(s).unwrap() * 1000) }
}

impl Bench {
    pub fn new() -> Self {
        Self::of(plant(), Settings::default(), Vec::new())
    }

    pub fn of(plant: Plant, settings: Settings, latches: Vec<(String, SafetyLatch)>) -> Self {
        let plant = Arc::new(plant);
        let now = at(0);
        let mut image = Image::empty(plant.points.len(), now);
        for point in &plant.points {
            if let Some(command) = point.commandable() {
                let state = image.get_mut(point.id).unwrap();
                state.slots = Some(Arc::new(PriorityArray::default()));
                state.sample.reading = if point.absent == Some(command.relinquish_default.as_f64()) {
                    Reading::Bad(Fault::Absent)
                } else {
                    Reading::Good(command.relinquish_default)
                };
            }
        }
        let mut control = Controller::new(Arc::clone(&plant), settings, now, latches);
        let last = control.step(now, &image);
        let power = RATED_KW.map(|kw| kw / 4.0);
        Self {
            plant,
            image,
            control,
            now,
            last,
            heard: [true; 4],
            acks: [true; 4],
            states: [1; 4],
            power,
            meter: Some(15.0 * 0.95),
            jobs: None,
            bms: true,
            jump: 0,
            season: None,
            written: Vec::new(),
            on_its_way: VecDeque::new(),
            heat: 15.0 * 0.95,
            eta: 0.95,
            complies: 1.0,
        }
    }

    pub fn point(&self, role: ZoneRole) -> PointId {
        self.plant.zones[0].points.get(role).unwrap()
    }

    pub fn heater_point(&self, heater: usize, role: HeaterRole) -> PointId {
        self.plant.heaters[heater].points.get(role).unwrap()
    }

    pub fn put(&mut self, point: PointId, reading: Reading) {
        let now = self.now;
        let state = self.image.get_mut(point).unwrap();
        state.sample = Sample { reading, at: now };
        state.last = reading.value().or(state.last);
    }

    pub fn number(&mut self, point: PointId, number: f64) {
        let kind = self.plant.points[point.index()].kind;
        self.put(point, Value::from_f64(kind, number).map_or(Reading::Bad(Fault::NotFinite), Reading::Good));
    }

    fn slot(&mut self, role: ZoneRole, number: f64, priority: Priority) {
        let point = self.point(role);
        let def = self.plant.points[point.index()].clone();
        let value = Value::from_f64(def.kind, number).unwrap();
        let slot = Slot { value, at: self.now, by: "test".into(), restored: false };
        let mut slots = PriorityArray::clone(self.image.get(point).unwrap().slots.as_ref().unwrap());
        slots.set(priority, slot);
        let ruling = slots.ruling().unwrap().1.value;
        self.image.get_mut(point).unwrap().slots = Some(Arc::new(slots));
        if def.absent == Some(ruling.as_f64()) {
            self.put(point, Reading::Bad(Fault::Absent));
        } else {
            self.put(point, Reading::Good(ruling));
        }
    }

    /// The building's side writes; it repeats that while `bms`.
    pub fn write(&mut self, role: ZoneRole, number: f64) {
        self.slot(role, number, Priority::PROGRAM);
        self.image.get_mut(self.point(role)).unwrap().bms_write = Some(self.now);
        self.written.retain(|(other, _)| *other != role);
        self.written.push((role, number));
    }

    /// A person overrides.
    pub fn force(&mut self, role: ZoneRole, number: f64) {
        self.slot(role, number, Priority::OPERATOR);
    }

    pub fn release(&mut self, role: ZoneRole) {
        let point = self.point(role);
        let mut slots = PriorityArray::clone(self.image.get(point).unwrap().slots.as_ref().unwrap());
        slots.relinquish(Priority::OPERATOR);
        let ruling = slots.ruling().map(|(_, slot)| slot.value);
        let default = self.plant.points[point.index()].commandable().unwrap().relinquish_default;
        self.image.get_mut(point).unwrap().slots = Some(Arc::new(slots));
        self.put(point, Reading::Good(ruling.unwrap_or(default)));
    }

    /// A written value is over its time.
    pub fn expire(&mut self, role: ZoneRole) {
        let point = self.point(role);
        let value = self.image.reading(point).value().unwrap();
        self.put(point, Reading::Uncertain(value, Doubt::Stale));
    }

    pub fn ask_percent(&mut self, percent: f64) {
        self.write(ZoneRole::Enable, 1.0);
        self.write(ZoneRole::HeatRequestPercent, percent);
    }

    /// The heaters report what they are told, the meter its heat.
    pub fn telemetry(&mut self) {
        for (heater, kw) in RATED_KW.into_iter().enumerate() {
            if !self.heard[heater] {
                continue;
            }
            for (role, number) in [
                (HeaterRole::Power, self.power[heater]),
                (HeaterRole::Min, kw / 4.0),
                (HeaterRole::Max, kw),
                (HeaterRole::State, f64::from(self.states[heater])),
                (HeaterRole::Online, 1.0),
                (HeaterRole::AckResult, 1.0),
            ] {
                self.number(self.heater_point(heater, role), number);
            }
            if let Some(command) = self.last.desired.commands[heater].clone().filter(|_| self.acks[heater]) {
                self.number(
                    self.heater_point(heater, HeaterRole::AckSeq),
                    f64::from(u32::try_from(command.seq).unwrap()),
                );
                self.number(self.heater_point(heater, HeaterRole::Applied), command.cap.kw());
            }
        }
        if let Some(kw) = self.meter {
            let point = self.plant.meters[0].points.get(MeterRole::Power).unwrap();
            self.number(point, kw);
        }
    }

    pub fn step(&mut self) -> &ZoneDecision {
        self.last = self.control.step(self.now, &self.image);
        &self.last.zones[0]
    }

    /// Time passes: the building repeats its writes each minute, heaters and meter report, the controller decides, and
    /// the heaters do it.
    pub fn tick(&mut self, dt: u64) {
        let before = self.now.mono.since(Mono::START).as_secs();
        let s = before + dt;
        self.now = at(s);
        if self.bms && before / 60 != s / 60 {
            for (role, number) in self.written.clone() {
                self.write(role, number);
            }
        }
        self.telemetry();
        self.step();
        for (heater, kw) in RATED_KW.into_iter().enumerate() {
            let cap = self.last.desired.commands[heater].as_ref().map_or(0.0, |command| command.cap.kw());
            if self.heard[heater] {
                let jobs = self.jobs.map_or(kw, |jobs| jobs[heater]);
                self.power[heater] = (cap * self.complies).min(jobs).max(kw / 4.0);
            }
        }
        // The water: after 60 s, with 240 s.
        self.on_its_way.push_back((s, self.power.iter().sum()));
        while self.on_its_way.get(1).is_some_and(|(at, _)| at + 60 <= s) {
            self.on_its_way.pop_front();
        }
        let dt = u32::try_from(dt).unwrap();
        self.heat += (self.on_its_way[0].1 * self.eta - self.heat) * (1.0 - f64::exp(-f64::from(dt) / 240.0));
        if self.meter.is_some() {
            self.meter = Some(self.heat);
        }
    }

    /// Ordinary ticks of 10 s.
    pub fn run(&mut self, seconds: u64) -> &ZoneDecision {
        for _ in 0..seconds / 10 {
            self.tick(10);
        }
        self.zone()
    }

    pub fn zone(&self) -> &ZoneDecision {
        &self.last.zones[0]
    }

    pub fn command(&self, heater: usize) -> &Command {
        self.last.desired.commands[heater].as_ref().unwrap()
    }

    /// The caps as sent, kW; before the first command, the fallback.
    pub fn caps_kw(&self) -> Vec<f64> {
        self.last.desired.commands.iter().map(|command| command.as_ref().map_or(f64::NAN, |c| c.cap.kw())).collect()
    }

    pub fn caps(&self) -> Vec<f64> {
        let kw = |command: &Option<Command>| command.as_ref().map_or(f64::NAN, |command| command.cap.kw());
        self.last.desired.commands.iter().map(|command| (kw(command) * 1e3).round() / 1e3).collect()
    }

    pub fn cap(&self) -> f64 {
        (self.caps().iter().sum::<f64>() * 1e3).round() / 1e3
    }
}

/// Within what deadband and repayment allow: 1 % of rated power each, and some.
pub fn near(kw: f64, expected: f64) -> bool {
    (kw - expected).abs() <= 1.3
}

/// The same for each heater, in proportion.
pub fn all_near(caps: &[f64], expected: &[f64]) -> bool {
    near(caps.iter().sum(), expected.iter().sum())
        && caps.iter().zip(expected).all(|(cap, expected)| (cap - expected).abs() <= 0.5)
}
