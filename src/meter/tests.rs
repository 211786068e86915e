//! The ledger over whole lives: kills, old checkpoints, rollovers, resets, replacements, missing counters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::{Ledger, LedgerEvent};
use crate::durable::SavedCounter;
use crate::plant::{
    BmsLossPolicy, Codec, Device, DeviceId, DevicePlace, DevicePoint, Heater, HeaterId, HeaterRole, Link, Meter,
    MeterId, MeterRole, ModbusLine, Plant, PointDef, RegisterPlace, RegisterType, Roles, Source, Table,
    TemperatureLimit, Zone, ZoneId, ZoneRole,
};
use crate::point::{Doubt, Fault, Image, Kind, PointId, PointKey, Reading, Sample, Value};
use crate::time::{Mono, Now, Utc};
use crate::units::{Celsius, Energy, Unit, Watts};

const METER: PointId = PointId(0);
const METER_TOTAL: PointId = PointId(1);
const A_ENERGY: PointId = PointId(2);
const A_POWER: PointId = PointId(3);
const A_TOTAL: PointId = PointId(4);
const B_POWER: PointId = PointId(5);
const B_TOTAL: PointId = PointId(6);
const ZONE_HEAT: PointId = PointId(7);
const ZONE_ELECTRICAL: PointId = PointId(8);
const TOTALS: [PointId; 5] = [METER_TOTAL, A_TOTAL, B_TOTAL, ZONE_HEAT, ZONE_ELECTRICAL];
const MODULUS: u64 = 100_000_000;

fn roles<R: crate::plant::Role>(bound: &[(R, PointId)]) -> Roles<R> {
    let mut roles = Roles::default();
    for (role, point) in bound {
        roles.bind(*role, *point);
    }
    roles
}

/// A zone of 60 kW with a meter, heater `a` with a counter and heater `b` without one.
fn plant() -> Plant {
    let def = |n: u32, key: &str, kind, unit| PointDef {
        id: PointId(n),
        key: PointKey::new(key).unwrap(),
        description: String::new(),
        kind,
        unit,
        range: None,
        absent: None,
        texts: Vec::new(),
        source: Source::Engine,
        deadband: 0.0,
    };
    let energy = |n, key| def(n, key, Kind::Energy, Unit::WattHour);
    let limit = TemperatureLimit { soft: Celsius::of(55.0), max: Celsius::of(60.0) };
    let heater = |n: u16, name: &str, points| Heater {
        id: HeaterId(n),
        name: name.into(),
        zone: ZoneId(0),
        rated: Watts::from_kw(30.0),
        idle: Watts::ZERO,
        eta: 0.95,
        fallback: Watts::ZERO,
        may_switch_off: false,
        lease: Duration::from_secs(180),
        max_age: Duration::from_secs(30),
        points,
    };
    Plant {
        points: vec![
            energy(0, "m/counter"),
            energy(1, "m/total"),
            energy(2, "a/counter"),
            def(3, "a/power", Kind::Number, Unit::Kilowatt),
            energy(4, "a/total"),
            def(5, "b/power", Kind::Number, Unit::Watt),
            energy(6, "b/total"),
            energy(7, "hall/heat_energy"),
            energy(8, "hall/electrical_energy"),
        ],
        zones: vec![Zone {
            id: ZoneId(0),
            name: "hall".into(),
            index: 0,
            heaters: vec![HeaterId(0), HeaterId(1)],
            meter: Some(MeterId(0)),
            rated: Watts::from_kw(60.0),
            nominal_heat: Watts::from_kw(57.0),
            ramp_up_per_min: 0.2,
            ramp_down_per_min: 1.0,
            supply_limit: limit,
            room_limit: limit,
            inlet_limit: limit,
            contracted: Watts::ZERO,
            law: crate::plant::Law::default(),
            on_bms_loss: BmsLossPolicy::Cancel,
            points: roles(&[(ZoneRole::HeatEnergy, ZONE_HEAT), (ZoneRole::ElectricalEnergy, ZONE_ELECTRICAL)]),
        }],
        heaters: vec![
            heater(
                0,
                "a",
                roles(&[
                    (HeaterRole::EnergyCounter, A_ENERGY),
                    (HeaterRole::Power, A_POWER),
                    (HeaterRole::Total, A_TOTAL),
                ]),
            ),
            heater(1, "b", roles(&[(HeaterRole::Power, B_POWER), (HeaterRole::Total, B_TOTAL)])),
        ],
        meters: vec![Meter {
            id: MeterId(0),
            name: "m".into(),
            device: DeviceId(0),
            modulus_wh: MODULUS,
            max_power: Watts::from_kw(60.0),
            max_age: Duration::from_secs(30),
            points: roles(&[(MeterRole::EnergyCounter, METER), (MeterRole::Total, METER_TOTAL)]),
        }],
        devices: vec![Device {
            points: vec![DevicePoint {
                point: METER,
                place: DevicePlace::Register(RegisterPlace::plain(Table::Input, 0, Codec::plain(RegisterType::U32))),
                poll: None,
            }],
            ..Device::new(
                DeviceId(0),
                "m".into(),
                Link::Modbus { line: ModbusLine::Tcp { host: "localhost".into(), port: 502 }, unit: 1 },
                PointId(0),
            )
        }],
        ..Plant::default()
    }
}

/// Time, the devices, the gateway's process and its disk.
struct World {
    plant: Arc<Plant>,
    ledger: Ledger,
    image: Image,
    booted_s: u64,
    clock_s: u64,
    meter: u64,
    a: Option<u64>,
    disk: Vec<SavedCounter>,
    shown: BTreeMap<PointId, u64>,
    events: Vec<LedgerEvent>,
}

impl World {
    fn new(meter: u64, a: u64) -> Self {
        let plant = Arc::new(plant());
        let now = Now { mono: Mono::START, utc: Utc::from_millis(1_000_000_000) };
        Self {
            ledger: Ledger::new(plant.clone(), Vec::new(), now),
            image: Image::empty(plant.points.len(), now),
            plant,
            booted_s: 0,
            clock_s: 0,
            meter,
            a: Some(a),
            disk: Vec::new(),
            shown: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    fn now(&self) -> Now {
        Now {
            mono: Mono::from_start(Duration::from_secs(self.clock_s - self.booted_s)),
            utc: Utc::from_millis(1_000_000_000 + self.clock_s as i64 * 1000),
        }
    }

    fn put(&mut self, point: PointId, reading: Reading) {
        let at = self.now();
        self.image.get_mut(point).unwrap().sample = Sample { reading, at };
    }

    /// Energy flows for ten seconds at a share of 60 kW (heaters 30 kW each), and everybody reports.
    fn run(&mut self, share: f64) {
        self.clock_s += 10;
        self.meter = (self.meter + (share * 166.0) as u64) % MODULUS;
        self.a = self.a.map(|a| a + (share * 83.0) as u64);
        self.report(share);
    }

    fn report(&mut self, share: f64) {
        self.put(METER, Reading::Good(Value::Energy(Energy::from_wh(self.meter))));
        let a = self.a.map_or(Reading::Bad(Fault::Missing), |a| Reading::Good(Value::Energy(Energy::from_wh(a))));
        self.put(A_ENERGY, a);
        self.put(A_POWER, Reading::number(share * 30.0));
        self.put(B_POWER, Reading::number(share * 30_000.0));
        self.step();
    }

    /// One step; what is shown is never less than what was shown before, in whichever life.
    fn step(&mut self) {
        let events = self.ledger.step(self.now(), &self.image);
        self.events.extend(events);
        for (point, reading) in self.ledger.readings() {
            let Some(value) = reading.value() else { continue };
            let wh = value.as_u64().unwrap();
            let before = self.shown.insert(point, wh).unwrap_or(0);
            assert!(wh >= before, "{point:?} went from {before} to {wh}; {:?}", self.events);
        }
    }

    fn checkpoint(&mut self, acknowledged: bool) {
        self.disk = self.ledger.saved();
        if acknowledged {
            self.ledger.confirm(&self.disk.clone());
        }
    }

    /// Kill -9, a time of nothing, and a start from what is on disk.
    fn kill(&mut self, down_s: u64, share: f64) {
        self.clock_s += down_s;
        self.meter = (self.meter + (share * 16.6 * down_s as f64) as u64) % MODULUS;
        self.a = self.a.map(|a| a + (share * 8.3 * down_s as f64) as u64);
        self.restart();
    }

    fn restart(&mut self) {
        self.booted_s = self.clock_s;
        self.image = Image::empty(self.plant.points.len(), self.now());
        self.ledger = Ledger::new(self.plant.clone(), self.disk.clone(), self.now());
    }

    fn reading(&self, point: PointId) -> Reading {
        self.ledger.readings().into_iter().find(|(id, _)| *id == point).unwrap().1
    }
}

fn good(wh: u64) -> Reading {
    Reading::Good(Value::Energy(Energy::from_wh(wh)))
}

#[test]
fn a_total_begins_at_what_the_meter_shows_and_is_bad_until_it_answers() {
    let mut world = World::new(5_000_000, 100);
    for point in TOTALS {
        assert_eq!(world.reading(point), Reading::Bad(Fault::NeverRead));
    }
    world.run(0.5);
    world.run(0.5);
    assert_eq!(world.reading(METER_TOTAL), good(5_000_166));
    assert_eq!(world.reading(ZONE_HEAT), good(5_000_166));
    // The same sample seen again counts once.
    world.step();
    assert_eq!(world.reading(METER_TOTAL), good(5_000_166));
    world.checkpoint(true);
    world.restart();
    world.step();
    assert_eq!(world.reading(METER_TOTAL), Reading::Bad(Fault::NeverRead));
}

#[test]
fn after_a_kill_the_register_tells_what_flowed() {
    let mut world = World::new(5_000_000, 100);
    world.run(1.0);
    world.checkpoint(true);
    for _ in 0..50 {
        world.run(1.0);
    }
    world.kill(7_200, 0.8);
    world.run(1.0);
    // More flowed than was reserved: shown when the next checkpoint is durable.
    assert_eq!(world.reading(METER_TOTAL), Reading::Bad(Fault::NeverRead));
    world.checkpoint(true);
    world.step();
    assert_eq!(world.reading(METER_TOTAL), good(world.meter));
    assert_eq!(world.reading(A_TOTAL), good(world.a.unwrap()));
}

#[test]
fn a_heater_without_a_counter_is_estimated_and_marked() {
    let mut world = World::new(0, 0);
    world.run(1.0);
    for _ in 0..360 {
        world.checkpoint(true);
        world.run(1.0);
    }
    // One hour at 30 kW.
    let Reading::Uncertain(value, Doubt::Estimated) = world.reading(B_TOTAL) else { panic!("estimated") };
    assert!((29_999..=30_000).contains(&value.as_u64().unwrap()), "{value}");
    assert!(matches!(world.reading(ZONE_ELECTRICAL), Reading::Uncertain(_, Doubt::Estimated)));
    let saved = world.ledger.saved();
    assert_eq!(Some(saved.iter().find(|c| c.name == "heater/b").unwrap().estimated_wh), value.as_u64());
    // After a kill it waits at its reservation, and what flows then catches up with it.
    world.kill(60, 1.0);
    world.run(1.0);
    let waiting = world.reading(B_TOTAL);
    assert!(waiting.value().unwrap().as_u64().unwrap() <= 30_000 + 3_000, "{waiting:?}");
    for _ in 0..120 {
        world.checkpoint(true);
        world.run(1.0);
    }
    let total = world.reading(B_TOTAL).value().unwrap().as_u64().unwrap();
    assert!((39_900..=40_000).contains(&total), "{total}");
}

#[test]
fn a_clean_stop_reserves_nothing() {
    let mut world = World::new(0, 0);
    for _ in 0..100 {
        world.run(1.0);
        world.checkpoint(true);
    }
    let before = world.reading(B_TOTAL);
    world.disk = world.ledger.seal();
    world.run(1.0);
    assert_eq!(world.reading(B_TOTAL), before, "sealed");
    world.restart();
    world.run(0.0);
    assert_eq!(world.reading(B_TOTAL), before);
}

#[test]
fn an_estimate_is_shown_only_as_far_as_it_is_durable() {
    let mut world = World::new(0, 0);
    for _ in 0..100 {
        world.run(1.0);
    }
    assert_eq!(world.reading(B_TOTAL), Reading::Uncertain(Value::Energy(Energy::ZERO), Doubt::Stale));
    world.checkpoint(true);
    world.step();
    assert_eq!(world.reading(B_TOTAL).value().unwrap().as_u64(), Some(8_249));
}

#[test]
fn a_counter_that_goes_missing_is_waited_for_and_then_estimated() {
    let mut world = World::new(0, 1_000);
    world.run(1.0);
    world.checkpoint(true);
    let counter = world.a.take().unwrap();
    for _ in 0..60 {
        world.run(1.0);
        world.checkpoint(true);
    }
    assert_eq!(world.reading(A_TOTAL), Reading::Uncertain(Value::Energy(Energy::from_wh(1_083)), Doubt::Stale));
    // It is back within the grace: exact.
    world.a = Some(counter + 60 * 83);
    world.run(1.0);
    world.checkpoint(true);
    world.step();
    assert_eq!(world.reading(A_TOTAL), good(1_083 + 61 * 83));
    world.a = None;
    for _ in 0..120 {
        world.checkpoint(true);
        world.run(1.0);
    }
    let Reading::Uncertain(value, Doubt::Estimated) = world.reading(A_TOTAL) else { panic!("estimated") };
    let total = value.as_u64().unwrap();
    assert!(total.abs_diff(1_083 + 181 * 83) < 150, "the gap is complete: {total}");
    // A new counter takes over from there.
    world.a = Some(7);
    world.checkpoint(true);
    world.run(1.0);
    world.checkpoint(true);
    world.run(1.0);
    assert_eq!(world.reading(A_TOTAL), good(total + 83));
}

#[test]
fn a_replaced_meter_keeps_the_total_and_raises_an_alarm() {
    let mut world = World::new(5_000_000, 0);
    world.run(1.0);
    world.checkpoint(true);
    world.meter = 12;
    for _ in 0..3 {
        world.run(1.0);
    }
    let stale = Reading::Uncertain(Value::Energy(Energy::from_wh(5_000_166)), Doubt::Stale);
    assert_eq!(world.reading(METER_TOTAL), stale, "until its new life is durable");
    world.checkpoint(true);
    world.run(1.0);
    let alarms: Vec<_> = world.events.iter().filter(|event| event.is_alarm()).collect();
    assert!(
        matches!(alarms[..], [LedgerEvent::Refused { .. }, LedgerEvent::Replaced { to_wh: 178, .. }]),
        "{alarms:?}"
    );
    // The first sample of the new life is its base.
    assert_eq!(world.reading(METER_TOTAL), good(5_000_166 + 3 * 166));
}

#[test]
fn a_dead_meter_makes_its_total_stale_and_not_lower() {
    let mut world = World::new(5_000_000, 0);
    world.run(1.0);
    world.put(METER, Reading::Bad(Fault::NoCommunication));
    world.clock_s += 60;
    world.step();
    let stale = Reading::Uncertain(Value::Energy(Energy::from_wh(5_000_166)), Doubt::Stale);
    assert_eq!(world.reading(METER_TOTAL), stale);
    assert_eq!(world.reading(ZONE_HEAT), stale);
}

#[test]
fn a_lost_memory_begins_a_new_epoch_and_says_so() {
    let mut world = World::new(5_000_000, 0);
    world.ledger = Ledger::new(world.plant.clone(), Vec::new(), world.now()).begun_anew(2);
    world.run(1.0);
    assert!(world.events.contains(&LedgerEvent::NewEpoch { epoch: 2 }));
    assert!(world.ledger.saved().iter().all(|counter| counter.epoch == 2));
    let before = world.events.len();
    world.run(1.0);
    assert_eq!(world.events.len(), before, "said once");
}

#[test]
fn a_heater_that_leaves_or_joins_a_zone_moves_no_sum() {
    let mut world = World::new(0, 2_000_000);
    for _ in 0..10 {
        world.run(1.0);
        world.checkpoint(true);
    }
    let before = world.shown[&ZONE_ELECTRICAL];
    // `a` leaves.
    let mut other = plant();
    other.zones[0].heaters = vec![HeaterId(1)];
    world.plant = Arc::new(other);
    world.disk = world.ledger.seal();
    world.restart();
    world.run(0.0);
    assert_eq!(world.shown[&ZONE_ELECTRICAL], before);
    // A heater with a long history joins.
    world.disk = world.ledger.seal();
    world.disk.retain(|counter| counter.name != "heater/a");
    world.plant = Arc::new(plant());
    world.restart();
    world.run(0.0);
    world.run(0.0);
    assert_eq!(world.shown[&ZONE_ELECTRICAL], before);
    world.run(1.0);
    assert_eq!(world.shown[&ZONE_ELECTRICAL], before + 83, "and of b what its reservation has not covered yet");
}

#[derive(Debug, Clone)]
enum Op {
    Run(f64),
    Checkpoint(bool),
    Kill(u64, f64),
    /// The meter's register goes back by this much.
    Back(u64),
    /// Or ahead by more than can flow.
    Ahead(u64),
    /// One reading is wrong.
    Glitch(u64),
    RollOver,
    CounterLost,
    CounterBack,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0.0..1.0f64).prop_map(Op::Run),
        4 => any::<bool>().prop_map(Op::Checkpoint),
        2 => (0u64..100_000, 0.0..1.0f64).prop_map(|(down, share)| Op::Kill(down, share)),
        1 => (50_000u64..500_000).prop_map(Op::Back),
        1 => (10_000_000u64..20_000_000).prop_map(Op::Ahead),
        1 => (0..MODULUS).prop_map(Op::Glitch),
        1 => Just(Op::RollOver),
        1 => Just(Op::CounterLost),
        1 => Just(Op::CounterBack),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// The assertion is in `World::step`: nothing shown ever decreases, whatever happens in which order.
    #[test]
    fn no_total_ever_decreases(ops in proptest::collection::vec(op(), 1..250)) {
        let mut world = World::new(40_000_000, 600_000_000);
        world.run(0.0);
        world.checkpoint(true);
        let (mut unconfirmed, mut counter, mut rolled) = (0, 500_000_000, false);
        for op in ops {
            match op {
                Op::Run(share) => { world.run(share); unconfirmed += 1; }
                Op::Checkpoint(acknowledged) => {
                    world.checkpoint(acknowledged);
                    if acknowledged { unconfirmed = 0; }
                }
                Op::Kill(down, share) => { world.kill(down, share); unconfirmed = 0; }
                // A register that comes to stand just above the saved one is the limit of the promise: it goes well below it.
                Op::Back(by) => {
                    let saved = world.disk.iter().find(|counter| counter.name == "meter/m").and_then(|counter| counter.raw_wh);
                    if let Some(below) = saved.and_then(|saved| saved.checked_sub(by)) {
                        world.meter = below.min(world.meter.saturating_sub(by));
                    }
                }
                Op::Ahead(by) if world.meter < MODULUS / 2 => world.meter += by,
                Op::Ahead(_) => {}
                Op::Glitch(to) => {
                    let right = std::mem::replace(&mut world.meter, to);
                    world.run(0.0);
                    world.meter = right;
                }
                Op::RollOver if !rolled => {
                    world.meter = MODULUS - 10;
                    rolled = true;
                }
                Op::RollOver => {}
                Op::CounterLost => world.a = None,
                Op::CounterBack => {
                    counter -= 500_000;
                    world.a = Some(counter);
                }
            }
            // The promise holds while the disk takes a checkpoint at least every five minutes.
            if unconfirmed > 20 {
                world.checkpoint(true);
                unconfirmed = 0;
            }
        }
    }

    /// Without resets the total is the register, after any number of kills; and the intervals add up to it.
    #[test]
    fn a_register_is_billed_exactly(
        runs in proptest::collection::vec((0.0..1.0f64, 0u8..12), 20..200),
    ) {
        let mut world = World::new(1_000, 0);
        let (mut billed, mut first) = (BTreeMap::new(), None);
        let mut open = Vec::new();
        for (share, dice) in runs {
            world.run(share);
            first.get_or_insert(world.meter);
            open.extend(world.ledger.take_intervals());
            match dice {
                0 => {
                    world.kill(3_000, share);
                    open.clear();
                }
                1..4 => {
                    world.checkpoint(true);
                    billed.extend(open.drain(..).filter(|i| i.name == "meter/m").map(|i| (i.seq, i)));
                }
                _ => {}
            }
        }
        world.run(1.0);
        world.checkpoint(true);
        world.step();
        prop_assert_eq!(world.reading(METER_TOTAL), good(world.meter));
        let billed: Vec<_> = billed.into_values().collect();
        for pair in billed.windows(2) {
            prop_assert_eq!(pair[0].seq + 1, pair[1].seq);
            prop_assert_eq!(pair[0].end, pair[1].start);
            prop_assert_eq!(pair[0].total_wh + pair[1].energy_wh, pair[1].total_wh);
        }
    }
}
