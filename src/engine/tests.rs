//! The engine over the shipped demonstration mapping: dialogues of events and what they show.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::control::Settings as ControlSettings;
use crate::mapping::{BuiltinFiles, compile};
use crate::point::{Doubt, Fault, Kind};
use crate::point::{Priority, Quality, Value};
use crate::request::{Action, Origin, Side, Write};
use crate::time::Utc;

struct Bench {
    engine: Engine,
    plant: Arc<Plant>,
    image: Arc<Image>,
    at: f64,
    token: u64,
}

fn plant() -> Arc<Plant> {
    let compiled = compile("demo.toml", &BuiltinFiles);
    Arc::new(compiled.plant.unwrap_or_else(|| panic!("{:?}", compiled.findings)))
}

fn settings() -> Settings {
    Settings { control: ControlSettings { observe: false, liveness: 1.0, bms_liveness: 1.0 }, liveness: 1.0 }
}

fn now(at: f64) -> Now {
    let since = Duration::from_secs_f64(at);
    Now { mono: Mono::from_start(since), utc: Utc::from_millis(1_700_000_000_000 + since.as_millis() as i64) }
}

impl Bench {
    fn new(restored: Restored) -> Self {
        let plant = plant();
        let (engine, effects) = Engine::new(Arc::clone(&plant), settings(), restored, now(0.0));
        let image = effects.image.expect("the first image");
        Self { engine, plant, image, at: 0.0, token: 0 }
    }

    fn id(&self, key: &str) -> PointId {
        self.plant.by_key(key).unwrap_or_else(|| panic!("no point {key}")).id
    }

    fn on(&mut self, event: Event) -> Effects {
        let effects = self.engine.on(event, now(self.at));
        if let Some(image) = &effects.image {
            assert!(image.seq > self.image.seq, "images count up");
            self.image = Arc::clone(image);
        }
        effects
    }

    fn tick(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.at += 1.0;
            let _ = self.on(Event::Tick);
        }
    }

    fn value(&self, key: &str) -> f64 {
        let id = self.id(key);
        let state = self.image.get(id).unwrap();
        state.reading().value().unwrap_or_else(|| panic!("{key} is {:?}", state.reading())).as_f64()
    }

    fn quality(&self, key: &str) -> Quality {
        self.image.reading(self.id(key)).quality()
    }

    fn set(&self, key: &str, number: f64, priority: u8) -> Write {
        let def = self.plant.by_key(key).unwrap();
        let value = Value::from_f64(def.kind, number).unwrap();
        Write { point: def.id, action: Action::Set(value), priority: Priority::new(priority).unwrap() }
    }

    fn ask(&mut self, side: Side, writes: Vec<Write>) -> Verdict {
        self.token += 1;
        let request = Request { origin: Origin { side, peer: "tester".into() }, writes };
        let token = self.token;
        let effects = self.on(Event::Request { request, token });
        let (answered, verdict) = effects.verdicts.into_iter().next().expect("every request is answered");
        assert_eq!(answered, token);
        if let Ok(accepted) = verdict {
            assert_eq!(accepted.image_seq, self.image.seq, "the verdict's image is published with it");
        }
        verdict
    }

    /// Both heaters report and acknowledge, as their controllers do.
    fn telemetry(&mut self, watts: f64) {
        for (index, heater) in ["rack-a", "rack-b"].into_iter().enumerate() {
            if let Some(command) = self.engine.decision().desired.commands[index].clone() {
                let point = self.id(&format!("{heater}/ack_seq"));
                let _ = self
                    .on(Event::Readings(vec![Update { point, reading: Reading::Good(Value::Unsigned(command.seq)) }]));
            }
            let number = |role: &str, kw: f64| Update {
                point: self.id(&format!("{heater}/{role}")),
                reading: Reading::number(kw),
            };
            let updates = vec![
                number("power", watts / 1000.0),
                number("min", 7.5),
                number("max", 30.0),
                number("applied", watts / 1000.0),
                Update { point: self.id(&format!("{heater}/state")), reading: Reading::Good(Value::State(1)) },
                Update { point: self.id(&format!("{heater}/online")), reading: Reading::Good(Value::Bool(true)) },
            ];
            let _ = self.on(Event::Readings(updates));
        }
    }
}

#[test]
fn after_a_start_nothing_is_raised_and_nothing_is_invented() {
    let bench = Bench::new(Restored::default());
    assert_eq!(bench.value("hall/state"), f64::from(crate::decision::ZoneState::Init.code()));
    assert_eq!(bench.value("hall/power_command"), 15.0, "both fallbacks, 7.5 kW each");
    assert_eq!(bench.image.reading(bench.id("hall/heat_delivered")), Reading::Bad(Fault::NeverRead));
    assert_eq!(bench.quality("hall/heat_energy"), Quality::Bad);
    assert_eq!(bench.value("hall/quality") as u16 & 0x8000, 0x8000);
    assert_eq!(bench.value("hall/bms_timeout"), 300.0, "relinquish default");
}

#[test]
fn a_write_is_seen_by_the_next_read_and_by_control_at_once() {
    let mut bench = Bench::new(Restored::default());
    bench.telemetry(7500.0);
    let writes = vec![
        bench.set("hall/enable", 1.0, 15),
        bench.set("hall/demand_mode", 2.0, 15),
        bench.set("hall/heat_request_percent", 50.0, 15),
    ];
    assert!(bench.ask(Side::Modbus, writes).is_ok());
    assert_eq!(bench.value("hall/heat_request_percent"), 50.0);
    assert_eq!(bench.value("hall/request_source"), 2.0, "the BMS is followed");
    assert_eq!(bench.value("hall/heat_asked"), 28.5);
    for _ in 0..60 {
        bench.telemetry(15_000.0);
        bench.tick(5);
    }
    let cap = bench.value("hall/power_command");
    assert!((cap - 30.0).abs() < 0.9, "0.5 * 57 kW / 0.95 = 30 kW, and it is {cap}");
}

#[test]
fn one_bad_write_leaves_everything_as_it_was() {
    let mut bench = Bench::new(Restored::default());
    let before = bench.image.seq;
    let mut check = |side, writes: Vec<Write>, expected: fn(&Refusal) -> bool| {
        let refusal = bench.ask(side, writes).unwrap_err();
        assert!(expected(&refusal), "{refusal}");
        assert_eq!(bench.image.seq, before, "no image, no change");
    };
    let probe = Bench::new(Restored::default());
    let good = || probe.set("hall/heat_request_power", 20.0, 15);
    check(
        Side::Modbus,
        vec![good(), probe.set("hall/heat_request_percent", 100.1, 15)],
        |r| matches!(r, Refusal::OutOfRange { high, .. } if *high == 100.0),
    );
    check(Side::Modbus, vec![good(), probe.set("hall/demand_mode", 6.0, 15)], |r| {
        matches!(r, Refusal::OutOfRange { .. })
    });
    check(Side::Modbus, vec![good(), probe.set("hall/enable", 1.0, 8)], |r| matches!(r, Refusal::BadPriority { .. }));
    check(Side::Bacnet, vec![probe.set("hall/enable", 1.0, 6)], |r| matches!(r, Refusal::BadPriority { .. }));
    check(Side::Mqtt, vec![good()], |r| matches!(r, Refusal::NotAllowed { .. }));
    check(Side::Modbus, vec![good(), probe.set("hall/heat_available", 1.0, 15)], |r| {
        matches!(r, Refusal::ReadOnly { .. })
    });
    let kind = Write { action: Action::Set(Value::Bool(true)), ..good() };
    check(Side::Modbus, vec![kind], |r| matches!(r, Refusal::WrongKind { .. }));
    let nowhere = Write { point: PointId(u32::MAX), ..good() };
    check(Side::Modbus, vec![good(), nowhere], |r| matches!(r, Refusal::UnknownPoint));
    assert_eq!(bench.value("hall/heat_request_power"), 0.0);
}

#[test]
fn the_lowest_slot_rules_and_gives_way() {
    let mut bench = Bench::new(Restored::default());
    let key = "hall/heat_request_percent";
    let modbus = bench.set(key, 40.0, 15);
    let bacnet = bench.set(key, 70.0, 10);
    assert!(bench.ask(Side::Modbus, vec![modbus]).is_ok());
    assert!(bench.ask(Side::Bacnet, vec![bacnet]).is_ok());
    assert_eq!(bench.value(key), 70.0);
    let null = Write { action: Action::Relinquish, ..bacnet };
    assert!(bench.ask(Side::Bacnet, vec![null]).is_ok());
    assert_eq!(bench.value(key), 40.0);
    let null = Write { action: Action::Relinquish, ..modbus };
    assert!(bench.ask(Side::Modbus, vec![null]).is_ok());
    assert_eq!(bench.value(key), 0.0, "relinquish default");
}

#[test]
fn a_replacement_finds_what_it_saw_or_changes_nothing() {
    let mut bench = Bench::new(Restored::default());
    let key = "hall/heat_request_percent";
    let replace = |bench: &Bench, seen: f64, to: f64| {
        let write = bench.set(key, to, 15);
        Write { action: Action::Replace { seen: Value::number(seen), value: Value::number(to).unwrap() }, ..write }
    };
    let first = replace(&bench, 0.0, 40.0);
    assert!(bench.ask(Side::Modbus, vec![first]).is_ok());
    let late = replace(&bench, 0.0, 70.0);
    assert!(matches!(bench.ask(Side::Modbus, vec![late]), Err(Refusal::Changed { .. })));
    assert_eq!(bench.value(key), 40.0);
    let (beside, late) = (bench.set("hall/heat_request_power", 5.0, 15), replace(&bench, 0.0, 1.0));
    assert!(bench.ask(Side::Modbus, vec![beside, late]).is_err());
    assert_eq!(bench.value("hall/heat_request_power"), 0.0, "all or none");
    let wide = replace(&bench, 40.0, 100.1);
    assert!(matches!(bench.ask(Side::Modbus, vec![wide]), Err(Refusal::OutOfRange { .. })));
    let second = replace(&bench, 40.0, 70.0);
    assert!(bench.ask(Side::Modbus, vec![second]).is_ok());
    assert_eq!(bench.value(key), 70.0);
}

#[test]
fn none_is_a_value_that_is_not_there() {
    let mut bench = Bench::new(Restored::default());
    let id = bench.id("hall/electrical_limit");
    assert_eq!(bench.image.reading(id), Reading::Bad(Fault::Absent), "relinquished means none");
    let limit = bench.set("hall/electrical_limit", 20.0, 15);
    assert!(bench.ask(Side::Modbus, vec![limit]).is_ok());
    assert_eq!(bench.value("hall/electrical_limit"), 20.0);
    let none = bench.set("hall/electrical_limit", 6553.5, 15);
    assert!(bench.ask(Side::Modbus, vec![none]).is_ok());
    assert_eq!(bench.image.reading(id), Reading::Bad(Fault::Absent));
    assert_eq!(bench.image.get(id).unwrap().shown().map(Value::as_f64), Some(6553.5));
}

#[test]
fn what_acts_once_clears_itself() {
    let mut bench = Bench::new(Restored::default());
    let reset = bench.set("hall/fault_reset", 1.0, 15);
    assert!(bench.ask(Side::Modbus, vec![reset]).is_ok());
    assert_eq!(bench.value("hall/fault_reset"), 0.0);
}

#[test]
fn field_values_age_and_wrong_kinds_are_malformed() {
    let mut bench = Bench::new(Restored::default());
    bench.telemetry(9000.0);
    assert_eq!(bench.quality("rack-a/power"), Quality::Good);
    assert_eq!(bench.value("hall/electrical_power"), 18.0);
    bench.tick(31);
    let id = bench.id("rack-a/power");
    assert!(matches!(bench.image.reading(id), Reading::Uncertain(_, Doubt::Stale)));
    assert_eq!(bench.quality("rack-a/online"), Quality::Good, "what comes on change does not age");
    let wrong = vec![Update { point: id, reading: Reading::Good(Value::Bool(true)) }];
    let _ = bench.on(Event::Readings(wrong));
    assert_eq!(bench.image.reading(id), Reading::Bad(Fault::Malformed));
    let not_a_field_point = bench.id("hall/enable");
    let _ =
        bench.on(Event::Readings(vec![Update { point: not_a_field_point, reading: Reading::Good(Value::Bool(true)) }]));
    assert_eq!(bench.value("hall/enable"), 0.0, "the field writes no command");
}

#[test]
fn slots_survive_a_restart_but_do_not_count_as_fresh() {
    let mut bench = Bench::new(Restored::default());
    let writes = vec![bench.set("hall/enable", 1.0, 15), bench.set("hall/heat_request_percent", 80.0, 15)];
    assert!(bench.ask(Side::Modbus, writes).is_ok());
    let checkpoint = bench.engine.checkpoint();
    assert!(checkpoint.slots.iter().any(|slot| slot.key.as_str() == "hall/heat_request_percent"));

    let restored = Restored { slots: checkpoint.slots, counters: checkpoint.counters, ..Restored::default() };
    let mut again = Bench::new(restored);
    let id = again.id("hall/heat_request_percent");
    assert!(matches!(again.image.reading(id), Reading::Uncertain(Value::Number(_), Doubt::Restored)));
    again.telemetry(7500.0);
    again.tick(60);
    assert_eq!(again.value("hall/power_command"), 15.0, "still the fail-safe cap");
    let rewrite = vec![again.set("hall/enable", 1.0, 15), again.set("hall/heat_request_percent", 80.0, 15)];
    assert!(again.ask(Side::Modbus, rewrite).is_ok());
    assert_eq!(again.image.reading(id).quality(), Quality::Good);
}

#[test]
fn a_saved_slot_that_fits_no_more_is_left_out_and_told() {
    let stranger = SavedSlot {
        key: crate::point::PointKey::new("attic/enable").unwrap(),
        priority: Priority::PROGRAM,
        value: Value::Bool(true),
        by: "modbus".into(),
        at: Utc::default(),
    };
    let restored = Restored { slots: vec![stranger], ..Restored::default() };
    let (_, effects) = Engine::new(plant(), settings(), restored, now(0.0));
    assert_eq!(effects.notices, vec![Notice::SlotLeftOut { key: "attic/enable".into() }]);
}

#[test]
fn every_role_of_the_outward_face_has_a_value_or_a_cause() {
    let bench = Bench::new(Restored::default());
    for (id, state) in bench.image.iter() {
        let def = bench.plant.point(id).unwrap();
        match state.reading() {
            Reading::Good(value) | Reading::Uncertain(value, _) => assert_eq!(value.kind(), def.kind, "{}", def.key),
            Reading::Bad(fault) => assert!(!fault.to_string().is_empty()),
        }
    }
    assert!(bench.plant.points.iter().any(|def| def.kind == Kind::Energy));
}

#[test]
fn going_down_releases_and_takes_no_more_requests() {
    let mut bench = Bench::new(Restored::default());
    let effects = bench.on(Event::Shutdown);
    let decision = effects.decision.expect("the release");
    for command in decision.desired.commands.iter().flatten() {
        assert_eq!(command.cap, command.fallback);
    }
    let write = bench.set("hall/enable", 1.0, 15);
    assert_eq!(bench.ask(Side::Modbus, vec![write]), Err(Refusal::ShuttingDown));
}

fn asking(bench: &mut Bench, percent: f64) {
    let writes = vec![bench.set("hall/enable", 1.0, 15), bench.set("hall/heat_request_percent", percent, 15)];
    assert!(bench.ask(Side::Modbus, writes).is_ok());
}

#[test]
fn what_was_released_stays_released_whatever_is_heard_afterwards() {
    let mut bench = Bench::new(Restored::default());
    bench.telemetry(7500.0);
    asking(&mut bench, 80.0);
    for _ in 0..60 {
        bench.telemetry(20_000.0);
        bench.tick(5);
    }
    let released = bench.on(Event::Shutdown).decision.expect("the release");
    assert!(released.desired.commands.iter().flatten().all(|command| command.cap == command.fallback));
    let news = ["rack-a/state", "rack-b/state"]
        .map(|key| Update { point: bench.id(key), reading: Reading::Good(Value::State(2)) })
        .to_vec();
    let zone = ZoneId(0);
    for event in [Event::Readings(news), Event::Rearm { zone, by: "tester".into(), token: 1 }] {
        assert_eq!(bench.on(event).decision, None);
    }
    bench.tick(30);
    assert_eq!(bench.engine.decision().desired, released.desired);
}

#[test]
fn a_person_that_lets_go_is_no_sign_of_a_lost_building() {
    let mut bench = Bench::new(Restored::default());
    bench.telemetry(7500.0);
    asking(&mut bench, 80.0);
    let wait = |bench: &mut Bench, minutes: u32| {
        for _ in 0..minutes * 4 {
            bench.telemetry(20_000.0);
            bench.tick(15);
        }
    };
    wait(&mut bench, 60);
    assert_eq!(bench.value("hall/alarm_bms_lost"), 1.0);
    let before = bench.value("hall/power_command");
    let by_hand = bench.set("hall/heat_request_percent", 10.0, 8);
    assert!(bench.ask(Side::Bacnet, vec![by_hand]).is_ok());
    assert!(bench.ask(Side::Bacnet, vec![Write { action: Action::Relinquish, ..by_hand }]).is_ok());
    wait(&mut bench, 4);
    assert_eq!(bench.value("hall/alarm_bms_lost"), 1.0);
    assert!(bench.value("hall/power_command") <= before, "the old request is not followed again");
}

fn metered(bench: &mut Bench, wh: u64) {
    let update = Update {
        point: bench.id("hall-meter/energy"),
        reading: Reading::Good(Value::Energy(crate::units::Energy::from_wh(wh))),
    };
    let _ = bench.on(Event::Readings(vec![update]));
}

#[test]
fn after_a_clean_stop_a_total_stands_where_it_stood_until_its_meter_answers() {
    let mut bench = Bench::new(Restored::default());
    metered(&mut bench, 5_000_000);
    bench.tick(1);
    metered(&mut bench, 5_000_000);
    assert_eq!(bench.value("hall/heat_energy"), 5_000_000.0);
    let _ = bench.on(Event::Shutdown);
    let counters = bench.engine.last_checkpoint().counters;

    let mut again = Bench::new(Restored { counters, ..Restored::default() });
    let id = again.id("hall/heat_energy");
    let energy = |bench: &Bench| bench.image.get(id).and_then(|state| state.shown()).and_then(Value::as_u64);
    assert_eq!(again.image.reading(id), Reading::Bad(Fault::NeverRead), "nothing is claimed");
    assert_eq!(energy(&again), Some(5_000_000));
    again.tick(5);
    assert_eq!(energy(&again), Some(5_000_000));
    metered(&mut again, 5_000_100);
    assert_eq!(energy(&again), Some(5_000_000), "shown once it is durable");
    let seq = again.engine.checkpoint().seq;
    let _ = again.on(Event::Durable { seq });
    again.tick(1);
    assert_eq!(again.image.reading(id).quality(), Quality::Good);
    assert_eq!(energy(&again), Some(5_000_100));
}

#[test]
fn after_a_kill_no_total_is_guessed() {
    let mut bench = Bench::new(Restored::default());
    metered(&mut bench, 5_000_000);
    let counters = bench.engine.checkpoint().counters;
    let again = Bench::new(Restored { counters, ..Restored::default() });
    let id = again.id("hall/heat_energy");
    assert_eq!(again.image.get(id).and_then(|state| state.shown()), None);
}

#[test]
fn a_disk_that_takes_nothing_is_a_site_alarm_and_stops_nothing() {
    let mut bench = Bench::new(Restored::default());
    bench.telemetry(7500.0);
    let seq = bench.engine.checkpoint().seq;
    let _ = bench.on(Event::StoreFailed);
    bench.tick(1);
    assert_eq!(bench.value("hall/site_alarms") as u16 & ALARM_STORE, ALARM_STORE);
    asking(&mut bench, 50.0);
    assert_eq!(bench.value("hall/request_source"), 2.0);
    let again = bench.engine.checkpoint().seq;
    assert!(again > seq);
    let _ = bench.on(Event::Durable { seq: again });
    bench.tick(1);
    assert_eq!(bench.value("hall/site_alarms") as u16 & ALARM_STORE, 0);
}

#[test]
fn a_stop_counts_whoever_says_it_and_only_a_person_overrides_it() {
    let mut bench = Bench::new(Restored::default());
    let key = "hall/emergency_stop_input";
    let quiet = bench.set(key, 0.0, 15);
    assert!(bench.ask(Side::Modbus, vec![quiet]).is_ok());
    assert_eq!(bench.value("hall/alarm_emergency_stop"), 0.0);
    let stop = bench.set(key, 1.0, 16);
    assert!(bench.ask(Side::Bacnet, vec![stop]).is_ok());
    assert_eq!(bench.value(key), 0.0, "15 rules");
    assert_eq!(bench.value("hall/alarm_emergency_stop"), 1.0, "and yet somebody says stop");
    assert_eq!(bench.value("hall/power_command"), 0.0);

    let hall = bench.plant.zones[0].id;
    let rearm = |bench: &mut Bench| bench.on(Event::Rearm { zone: hall, by: "tester".into(), token: 7 }).rearmed[0].1;
    assert!(rearm(&mut bench).is_err());
    let person = bench.set(key, 0.0, 8);
    assert!(bench.ask(Side::Local, vec![person]).is_ok());
    assert!(rearm(&mut bench).is_ok());
    let release = Write { action: Action::Relinquish, ..person };
    assert!(bench.ask(Side::Local, vec![release]).is_ok());
    assert_eq!(bench.value("hall/alarm_emergency_stop"), 1.0, "without the override the stop is there again");
    let back = Write { action: Action::Relinquish, ..stop };
    assert!(bench.ask(Side::Bacnet, vec![back]).is_ok());
    assert!(rearm(&mut bench).is_ok());
}

impl Bench {
    /// Seconds in which both heaters report and the BMS gives a sign of life.
    fn follow(&mut self, seconds: u32) {
        for second in 0..seconds {
            if second % 5 == 0 {
                self.telemetry(15_000.0);
                let percent = self.set("hall/heat_request_percent", 100.0, 15);
                assert!(self.ask(Side::Modbus, vec![percent]).is_ok());
            }
            self.tick(1);
        }
    }

    fn relinquish(&self, key: &str, priority: u8) -> Write {
        Write { point: self.id(key), action: Action::Relinquish, priority: Priority::new(priority).unwrap() }
    }
}

/// Who sets which limit, and at which priority.
const LIMITS: [(&str, Side, u8); 3] = [
    ("hall/electrical_limit", Side::Modbus, 15),
    ("hall/load_control_limit", Side::Bacnet, 16),
    ("hall/remote_limit", Side::Mqtt, 10),
];

#[test]
fn limits_of_the_bms_of_load_control_and_over_mqtt_bind_together() {
    let mut bench = Bench::new(Restored::default());
    let start = vec![bench.set("hall/enable", 1.0, 15), bench.set("hall/demand_mode", 2.0, 15)];
    assert!(bench.ask(Side::Modbus, start).is_ok());
    bench.follow(300);
    assert!(bench.value("hall/power_command") > 55.0, "{}", bench.value("hall/power_command"));
    // Whoever's is the lowest rules, in every order, at 97 %.
    for order in [[0, 1, 2], [1, 2, 0], [2, 0, 1]] {
        let mut lowest = f64::MAX;
        for (place, kw) in order.into_iter().zip([50.0, 40.0, 30.0]) {
            let (key, side, priority) = LIMITS[place];
            let write = bench.set(key, kw, priority);
            assert!(bench.ask(side, vec![write]).is_ok());
            bench.follow(5);
            lowest = kw.min(lowest);
            assert!(bench.value("hall/power_command") <= 0.97 * lowest + 1e-6, "{key} at {kw} kW");
        }
        // Taken away one by one, the lowest first: the next lowest rules.
        for (place, left) in order.into_iter().rev().zip([40.0, 50.0, f64::MAX]) {
            let (key, side, priority) = LIMITS[place];
            let release = bench.relinquish(key, priority);
            assert!(bench.ask(side, vec![release]).is_ok());
            bench.follow(300);
            let command = bench.value("hall/power_command");
            assert!(command <= 0.97 * left + 1e-6, "{key}: {command}");
            assert!(command >= (0.97 * left).min(55.0) - 1.0, "{key}: {command}");
        }
    }
    // 0 is a limit; the register's 0xFFFF is none.
    for (key, side, priority) in LIMITS {
        let (zero, none) = (bench.set(key, 0.0, priority), bench.set(key, 6553.5, priority));
        assert!(bench.ask(side, vec![zero]).is_ok());
        bench.follow(5);
        assert!(bench.value("hall/power_command") <= 15.0 + 1e-6, "{key}: {}", bench.value("hall/power_command"));
        assert!(bench.ask(side, vec![none]).is_ok());
        bench.follow(300);
        assert!(bench.value("hall/power_command") > 55.0, "{key}: {}", bench.value("hall/power_command"));
    }
}

#[test]
fn a_limit_from_before_a_restart_binds_until_it_is_confirmed_or_lifted() {
    for (key, side, priority) in LIMITS {
        let saved = SavedSlot {
            key: crate::point::PointKey::new(key).unwrap(),
            priority: Priority::new(priority).unwrap(),
            value: Value::number(20.0).unwrap(),
            by: "before".to_owned(),
            at: Utc::from_millis(1_600_000_000_000),
        };
        let mut bench = Bench::new(Restored { slots: vec![saved], ..Restored::default() });
        assert_eq!(
            bench.image.reading(bench.id(key)),
            Reading::Uncertain(Value::number(20.0).unwrap(), Doubt::Restored)
        );
        let start = vec![bench.set("hall/enable", 1.0, 15), bench.set("hall/demand_mode", 2.0, 15)];
        assert!(bench.ask(Side::Modbus, start).is_ok());
        bench.follow(300);
        assert!(
            bench.value("hall/power_command") <= 0.97 * 20.0 + 1e-6,
            "{key}: {}",
            bench.value("hall/power_command")
        );
        let release = bench.relinquish(key, priority);
        assert!(bench.ask(side, vec![release]).is_ok());
        bench.follow(300);
        assert!(bench.value("hall/power_command") > 55.0, "{key}: {}", bench.value("hall/power_command"));
    }
}
