use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::plant::*;
use crate::point::{Kind, PointId, Value};
use crate::units::{Celsius, Unit, Watts};

fn shown(findings: &[Diagnostic]) -> String {
    findings.iter().map(|finding| format!("{finding}\n")).collect()
}

fn plant(root: &str) -> Plant {
    let compiled = compile(root, &BuiltinFiles);
    compiled.plant.unwrap_or_else(|| panic!("{}", shown(&compiled.findings)))
}

/// One file beside those that are built in.
struct One(String);

impl Files for One {
    fn read(&self, name: &str) -> Result<String, String> {
        if name == "site.toml" { Ok(self.0.clone()) } else { Err("no such file".to_owned()) }
    }
}

#[test]
fn every_shipped_site_compiles_without_a_finding() {
    for root in ["demo.toml", "example-site.toml"] {
        let compiled = compile(root, &BuiltinFiles);
        assert!(compiled.plant.is_some() && compiled.findings.is_empty(), "{}", shown(&compiled.findings));
        assert_eq!(compiled.examples, 5);
    }
}

#[test]
fn every_shipped_file_is_built_in_and_used_by_a_shipped_site() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("mappings");
    let mut shipped: Vec<String> = Vec::new();
    for directory in ["", "profiles/"] {
        for entry in std::fs::read_dir(root.join(directory)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".toml") {
                shipped.push(format!("{directory}{name}"));
            }
        }
    }
    shipped.sort();
    let mut known: Vec<&str> = BUILTIN.iter().map(|file| file.0).collect();
    known.sort_unstable();
    assert_eq!(shipped, known);
    for (name, text) in BUILTIN.iter().filter(|file| !file.0.starts_with("profiles/")) {
        let used = BUILTIN.iter().any(|other| other.1.contains(&format!("\"{name}\"")));
        assert!(used || text.contains("[[zone]]"), "{name}");
    }
}

#[test]
fn a_file_read_in_parts_gives_the_same_plant_and_findings() {
    for root in ["demo.toml", "example-site.toml"] {
        let (whole, parts) = (compile(root, &BuiltinFiles), compile_in_parts(root, &BuiltinFiles, 0));
        assert_eq!((whole.plant, whole.findings), (parts.plant, parts.findings), "{root}");
    }
    // Many points, a fault in one of them, one that replaces a template's, and a zone that goes on after them.
    let mut text = String::from(
        "use = [\"digital-boiler.toml\"]\naddress_base = 0\nword_order = \"ABCD\"\n[[device]]\nname = \"d\"\n\
         link = \"modbus-tcp://127.0.0.1:502\"\nunit_id = 1\npoll = \"1s\"\n[[heater]]\nname = \"h\"\n\
         rated_power = \"30 kW\"\nidle = \"25 %\"\nefficiency = 0.95\n[[zone]]\nname = \"hall\"\nindex = 0\n\
         heaters = [\"h\"]\n",
    );
    for n in 0..600 {
        let unit = if n == 300 { "furlong" } else { "" };
        text.push_str(&format!(
            "\n[[point]]\nname = \"d/p{n}\"\nunit = \"{unit}\"\n\
             source = {{ device = \"d\", holding = {n}, type = \"u16\" }}\n"
        ));
    }
    text.push_str(
        "[[point]]\nname = \"hall/outdoor_temperature\"\nunit = \"degC\"\nrole = \"zone.outdoor_temperature\"\n",
    );
    text.push_str("source = { device = \"d\", holding = 700, type = \"s16\", scale = 0.1 }\nunknown = 1\n");
    let good = text.replace("furlong", "").replace("unknown = 1\n", "");
    for (text, errors) in [(text.clone() + "[zone.on_bms_loss]\nhold = \"3m\"\n", true), (text, true), (good, false)] {
        let files = One(text);
        let (whole, parts) =
            (compile_in_parts("site.toml", &files, usize::MAX), compile_in_parts("site.toml", &files, 0));
        assert_eq!(whole.plant.is_none(), errors, "{}", shown(&whole.findings));
        assert_eq!(shown(&whole.findings), shown(&parts.findings));
        assert_eq!((whole.plant, whole.findings), (parts.plant, parts.findings));
    }
}

#[test]
fn the_plant_keeps_its_promises() {
    for root in ["demo.toml", "example-site.toml"] {
        let plant = plant(root);
        for (index, def) in plant.points.iter().enumerate() {
            assert_eq!(def.id.index(), index);
            assert_eq!(plant.by_key(def.key.as_str()).map(|found| found.id), Some(def.id), "{}", def.key);
            if let Some(commandable) = def.commandable() {
                let default = commandable.relinquish_default;
                assert_eq!(default.kind(), def.kind, "{}", def.key);
                assert!(def.kind == Kind::Bool || def.admits(default.as_f64()), "{}", def.key);
            }
        }
        for (index, zone) in plant.zones.iter().enumerate() {
            assert_eq!(usize::from(zone.id.0), index);
            for &role in ZoneRole::ALL {
                let point = zone.points.get(role).map(|id| plant.point(id).unwrap());
                assert!(point.is_none_or(|def| def.kind == role.kind()));
                let optional = [
                    ZoneRole::EmergencyStop,
                    ZoneRole::OverTemperatureInput,
                    ZoneRole::OtherPower,
                    ZoneRole::NextRequestPercent,
                    ZoneRole::NextRequestIn,
                ];
                assert!(point.is_some() || optional.contains(&role), "{} has no {}", zone.name, role.as_str());
            }
            assert!(zone.heaters.iter().all(|id| plant.heater(*id).unwrap().zone == zone.id));
        }
        for heater in &plant.heaters {
            for &role in HeaterRole::ALL {
                let def = plant.point(heater.points.get(role).unwrap()).unwrap();
                assert_eq!(def.unit.quantity(), role.quantity());
                let own = matches!(role, HeaterRole::Cap | HeaterRole::Total);
                assert_eq!(def.source == Source::Engine, own, "{}", def.key);
            }
        }
        for meter in &plant.meters {
            assert!(MeterRole::ALL.iter().all(|role| meter.points.get(*role).is_some()));
        }
        for &role in SiteRole::ALL {
            assert!(plant.site.get(role).is_some());
        }
        let order: Vec<_> = plant.modbus.faces.iter().map(|face| (face.table, face.address)).collect();
        assert!(order.is_sorted());
        for pair in plant.modbus.faces.windows(2) {
            let end = pair[0].address + pair[0].width();
            assert!(pair[0].table != pair[1].table || end <= pair[1].address);
        }
    }
}

#[test]
fn the_demo_is_as_promised() {
    let plant = plant("demo.toml");
    let zone = &plant.zones[0];
    assert_eq!((zone.name.as_str(), zone.index, zone.rated), ("hall", 0, Watts::from_kw(60.0)));
    assert!((zone.nominal_heat.kw() - 57.0).abs() < 1e-9);
    assert_eq!((zone.ramp_up_per_min, zone.ramp_down_per_min), (0.2, 1.0));
    assert_eq!(zone.supply_limit, TemperatureLimit { soft: Celsius::of(55.0), max: Celsius::of(60.0) });
    assert_eq!(zone.room_limit, TemperatureLimit { soft: Celsius::of(28.0), max: Celsius::of(32.0) });
    assert_eq!(zone.inlet_limit, TemperatureLimit { soft: Celsius::of(32.0), max: Celsius::of(35.0) });
    let BmsLossPolicy::Hold { hold, fallback_percent, below_outdoor, fallback_for, percent_per_min } = zone.on_bms_loss
    else {
        panic!("{:?}", zone.on_bms_loss)
    };
    assert_eq!((hold.as_secs(), fallback_percent, percent_per_min), (900, 30.0, 10.0));
    assert_eq!((below_outdoor, fallback_for), (Some(Celsius::of(15.0)), None));
    for heater in &plant.heaters {
        assert_eq!((heater.rated, heater.idle), (Watts::from_kw(30.0), Watts::from_kw(7.5)));
        assert_eq!((heater.fallback, heater.may_switch_off), (heater.idle, false));
        assert_eq!((heater.lease.as_secs(), heater.max_age.as_secs()), (180, 30));
    }
    let device = &plant.devices[0];
    let line = ModbusLine::Tcp { host: "127.0.0.1".to_owned(), port: 1503 };
    assert_eq!(device.link, Link::Modbus { line, unit: 1 });
    assert_eq!(device.poll.as_secs(), 5);
    assert_eq!(plant.by_key("hall-meter/link").unwrap().source, Source::Device(device.id));
    assert_eq!(plant.meters[0].modulus_wh, 1 << 32);
    assert_eq!(plant.map_version, 1);
    let stop = plant.by_key("hall/emergency_stop_input").unwrap();
    assert_eq!(zone.points.get(ZoneRole::EmergencyStop), Some(stop.id));
    assert!(plant.modbus.faces.iter().any(|face| face.point == stop.id && face.table == Table::Coil && face.writable));
}

/// One row of the published register map.
struct Row(&'static str, Table, u16, RegisterType, f64, bool);

use RegisterType::{F32, S16, U16, U32, U64};
use Table::{Coil, Discrete, Holding, Input};

const WRITTEN: &[Row] = &[
    Row("heat_request_percent", Holding, 0, U16, 0.1, true),
    Row("heat_request_power", Holding, 1, U16, 0.1, true),
    Row("supply_temperature_setpoint", Holding, 2, S16, 0.1, true),
    Row("demand_mode", Holding, 3, U16, 1.0, true),
    Row("enable", Holding, 4, U16, 1.0, true),
    Row("enable", Coil, 0, U16, 1.0, true),
    Row("season", Holding, 5, U16, 1.0, true),
    Row("electrical_limit", Holding, 6, U16, 0.1, true),
    Row("bms_heartbeat", Holding, 7, U16, 1.0, true),
    Row("bms_timeout", Holding, 8, U16, 1.0, true),
    Row("fault_reset", Holding, 9, U16, 1.0, true),
    Row("fault_reset", Coil, 1, U16, 1.0, true),
    Row("room_temperature", Holding, 10, S16, 0.1, true),
    Row("outdoor_temperature", Holding, 11, S16, 0.1, true),
    Row("alarm_bms_lost", Discrete, 0, U16, 1.0, false),
    Row("alarm_controller_lost", Discrete, 1, U16, 1.0, false),
    Row("alarm_meter_lost", Discrete, 2, U16, 1.0, false),
    Row("alarm_over_temperature", Discrete, 3, U16, 1.0, false),
    Row("alarm_undelivered", Discrete, 4, U16, 1.0, false),
    Row("alarm_not_following", Discrete, 5, U16, 1.0, false),
    Row("alarm_emergency_stop", Discrete, 6, U16, 1.0, false),
    Row("backup_call", Discrete, 10, U16, 1.0, false),
];

/// Input registers: name, address, type, scale to the point's unit.
const READ: &[(&str, u16, RegisterType, f64)] = &[
    ("state", 0, U16, 1.0),
    ("fault_code", 1, U16, 1.0),
    ("gateway_heartbeat", 2, U16, 1.0),
    ("request_source", 3, U16, 1.0),
    ("quality", 4, U16, 1.0),
    ("map_version", 5, U16, 1.0),
    ("site_alarms", 6, U16, 1.0),
    ("heat_available", 10, F32, 1.0),
    ("heat_minimum", 12, F32, 1.0),
    ("heat_delivered", 14, F32, 1.0),
    ("electrical_power", 16, F32, 1.0),
    ("power_command", 18, F32, 1.0),
    ("supply_temperature", 20, F32, 1.0),
    ("return_temperature", 22, F32, 1.0),
    ("flow", 24, F32, 1.0),
    ("heat_undelivered", 26, F32, 1.0),
    ("dump_power", 28, F32, 1.0),
    ("heat_energy", 30, U64, 1.0),
    ("electrical_energy", 34, U64, 1.0),
    ("heat_energy", 38, U32, 1000.0),
    ("electrical_energy", 40, U32, 1000.0),
];

/// The whole register map, transcribed from the published one and not from the template.
fn published(zone: &str, k: u16) -> BTreeMap<(Table, u16), (String, RegisterType, f64, bool)> {
    let mut map = BTreeMap::new();
    for Row(name, table, address, kind, scale, writable) in WRITTEN {
        map.insert((*table, 100 * k + address), (format!("{zone}/{name}"), *kind, *scale, *writable));
    }
    for (name, address, kind, scale) in READ {
        let key = format!("{zone}/{name}");
        let mut add = |address: u16, kind: RegisterType, scale: f64| {
            map.insert((Input, 100 * k + address), (key.clone(), kind, scale, false));
            map.insert((Holding, 1000 + 100 * k + address), (key.clone(), kind, scale, false));
        };
        add(*address, *kind, *scale);
        if *kind == F32 {
            add(*address + 60, S16, 0.1);
        }
    }
    map
}

/// Two zones and nothing of their own, so that all that is served is the template's.
fn two_zones(first: u16, second: u16) -> String {
    let mut text = "use = [\"digital-boiler.toml\"]\n".to_owned();
    for (zone, index) in [("hall", first), ("office", second)] {
        text += &format!(
            "[[heater]]\nname = \"rack-{zone}\"\nrated_power = \"30 kW\"\nidle = \"25 %\"\nefficiency = 0.95\n\
             [[zone]]\nname = \"{zone}\"\nindex = {index}\nheaters = [\"rack-{zone}\"]\n"
        );
    }
    text
}

#[test]
fn the_digital_boiler_serves_the_published_registers() {
    for (first, second) in [(0, 1), (9, 3)] {
        let compiled = compile("site.toml", &One(two_zones(first, second)));
        let plant = compiled.plant.unwrap_or_else(|| panic!("{}", shown(&compiled.findings)));
        let mut expected = published("hall", first);
        expected.extend(published("office", second));
        let served: BTreeMap<_, _> = plant
            .modbus
            .faces
            .iter()
            .map(|face| {
                assert_eq!((face.codec.order, face.codec.offset), (WordOrder::Abcd, 0.0));
                assert!(face.codec.sentinels.is_empty());
                let key = plant.point(face.point).unwrap().key.to_string();
                ((face.table, face.address), (key, face.codec.kind, face.codec.scale, face.writable))
            })
            .collect();
        assert_eq!(served, expected);

        let mut blocks = Vec::new();
        for k in [first, second] {
            for table in [Coil, Discrete, Input, Holding] {
                blocks.push((table, 100 * k, 100 * k + 99));
            }
            blocks.push((Holding, 1000 + 100 * k, 1000 + 100 * k + 99));
        }
        blocks.sort_unstable();
        assert_eq!(plant.modbus.zero_filled, blocks);
    }
}

#[test]
fn the_digital_boiler_serves_the_published_objects() {
    use ObjectKind as O;
    let published: &[(&str, O, u32, Unit, bool)] = &[
        ("heat_request_percent", O::AnalogValue, 1, Unit::Percent, false),
        ("heat_request_power", O::AnalogValue, 2, Unit::Kilowatt, false),
        ("supply_temperature_setpoint", O::AnalogValue, 3, Unit::Celsius, false),
        ("demand_mode", O::MultiStateValue, 1, Unit::None, false),
        ("enable", O::BinaryValue, 1, Unit::None, false),
        ("season", O::MultiStateValue, 2, Unit::None, false),
        ("electrical_limit", O::AnalogValue, 4, Unit::Kilowatt, false),
        ("bms_heartbeat", O::PositiveIntegerValue, 1, Unit::None, false),
        ("bms_timeout", O::AnalogValue, 5, Unit::Second, false),
        ("fault_reset", O::BinaryValue, 2, Unit::None, false),
        ("room_temperature", O::AnalogValue, 6, Unit::Celsius, false),
        ("outdoor_temperature", O::AnalogValue, 7, Unit::Celsius, false),
        ("state", O::MultiStateValue, 10, Unit::None, false),
        ("fault_code", O::PositiveIntegerValue, 10, Unit::None, false),
        ("gateway_heartbeat", O::PositiveIntegerValue, 11, Unit::None, false),
        ("request_source", O::MultiStateValue, 11, Unit::None, false),
        ("heat_available", O::AnalogInput, 10, Unit::Kilowatt, false),
        ("heat_minimum", O::AnalogInput, 11, Unit::Kilowatt, false),
        ("heat_delivered", O::AnalogInput, 12, Unit::Kilowatt, false),
        ("electrical_power", O::AnalogInput, 13, Unit::Kilowatt, false),
        ("power_command", O::AnalogInput, 14, Unit::Kilowatt, false),
        ("supply_temperature", O::AnalogInput, 15, Unit::Celsius, false),
        ("return_temperature", O::AnalogInput, 16, Unit::Celsius, false),
        ("flow", O::AnalogInput, 17, Unit::CubicMetrePerHour, false),
        ("heat_undelivered", O::AnalogInput, 18, Unit::Kilowatt, false),
        ("dump_power", O::AnalogInput, 19, Unit::Kilowatt, false),
        ("heat_energy", O::Accumulator, 1, Unit::KilowattHour, false),
        ("electrical_energy", O::Accumulator, 2, Unit::KilowattHour, false),
        ("heat_energy", O::LargeAnalogValue, 1, Unit::KilowattHour, false),
        ("electrical_energy", O::LargeAnalogValue, 2, Unit::KilowattHour, false),
        ("alarm_bms_lost", O::BinaryInput, 1, Unit::None, true),
        ("alarm_controller_lost", O::BinaryInput, 2, Unit::None, true),
        ("alarm_meter_lost", O::BinaryInput, 3, Unit::None, true),
        ("alarm_over_temperature", O::BinaryInput, 4, Unit::None, true),
        ("alarm_undelivered", O::BinaryInput, 5, Unit::None, true),
        ("alarm_not_following", O::BinaryInput, 6, Unit::None, true),
        ("alarm_emergency_stop", O::BinaryInput, 7, Unit::None, true),
        ("backup_call", O::BinaryInput, 10, Unit::None, false),
    ];
    let plant = compile("site.toml", &One(two_zones(0, 3))).plant.unwrap();
    assert_eq!(plant.bacnet.len(), 2 * published.len());
    for (zone, shift) in [("hall", 0), ("office", 300)] {
        for (name, kind, instance, unit, alarm) in published {
            let face = plant.bacnet.iter().find(|face| (face.kind, face.instance) == (*kind, instance + shift));
            let face = face.unwrap_or_else(|| panic!("no {} {}", kind.as_str(), instance + shift));
            assert_eq!(plant.point(face.point).unwrap().key.as_str(), format!("{zone}/{name}"));
            assert_eq!((face.unit, face.alarm.is_some()), (*unit, *alarm), "{name}");
        }
        let services: Vec<String> = plant.bacnet_services.iter().map(|object| format!("{object:?}")).collect();
        for expected in [
            format!("TrendLog {{ instance: {}", 1 + shift),
            format!("TrendLog {{ instance: {}", 2 + shift),
            format!("TrendLog {{ instance: {}", 3 + shift),
            format!("NotificationClass {{ instance: {}", 1 + shift),
            format!("LoadControl {{ instance: {}", 1 + shift),
        ] {
            assert!(services.iter().any(|object| object.starts_with(&expected)), "{expected} in {services:?}");
        }
    }
    let names: std::collections::BTreeSet<&str> = plant.bacnet.iter().map(|face| face.name.as_str()).collect();
    assert_eq!(names.len(), plant.bacnet.len());
}

#[test]
fn the_digital_boiler_has_the_published_defaults_and_ranges() {
    let plant = plant("demo.toml");
    let point = |name: &str| plant.by_key(&format!("hall/{name}")).unwrap();
    let number = |n: f64| Value::number(n).unwrap();
    for (name, default, range, absent) in [
        ("heat_request_percent", number(0.0), Some((0.0, 100.0)), None),
        ("heat_request_power", number(0.0), Some((0.0, 57.0)), None),
        ("supply_temperature_setpoint", number(45.0), Some((20.0, 55.0)), None),
        ("demand_mode", Value::State(2), Some((1.0, 5.0)), None),
        ("enable", Value::Bool(false), None, None),
        ("season", Value::State(3), Some((1.0, 3.0)), None),
        ("electrical_limit", number(6553.5), Some((0.0, 6553.4)), Some(6553.5)),
        ("bms_heartbeat", Value::Unsigned(0), Some((0.0, 65_535.0)), None),
        ("bms_timeout", number(300.0), Some((10.0, 3600.0)), None),
        ("fault_reset", Value::Bool(false), None, None),
        ("room_temperature", number(-3276.8), Some((-3276.7, 3276.7)), Some(-3276.8)),
        ("outdoor_temperature", number(-3276.8), Some((-3276.7, 3276.7)), Some(-3276.8)),
    ] {
        let def = point(name);
        let commandable = def.commandable().unwrap();
        assert_eq!((commandable.relinquish_default, def.range, def.absent), (default, range, absent), "{name}");
        assert_eq!(commandable.momentary, name == "fault_reset");
        assert!(!commandable.mqtt_set, "{name}");
    }
    // What a master writes as "none" is what the point takes for "none", to the last bit.
    for (name, raw) in [("electrical_limit", 0xFFFF), ("room_temperature", 0x8000), ("outdoor_temperature", 0x8000)] {
        let def = point(name);
        let face = plant.modbus.faces.iter().find(|face| face.point == def.id && face.table == Holding).unwrap();
        let value = face.codec.decode(&[raw], def.kind).unwrap();
        assert_eq!(Some(value.as_f64()), def.absent, "{name}");
        assert!(def.admits(value.as_f64()));
    }
    assert_eq!(point("state").texts.len(), 10);
    assert_eq!(point("demand_mode").texts, ["off", "percent", "power", "temperature", "call"]);
    assert_eq!(point("request_source").texts, ["none", "bms", "hold", "fallback", "manual", "safety"]);
}

#[test]
fn the_example_site_shows_what_the_documents_say() {
    let plant = plant("example-site.toml");
    let def = plant.by_key("boiler-room/pressure").unwrap();
    let device = plant.devices.iter().find(|device| device.name == "boiler-room").unwrap();
    let polled = |id: PointId| device.points.iter().find(|point| point.point == id).unwrap().register().unwrap();
    let pressure = &polled(def.id).codec;
    for (raw, bar) in [(4000, 0.0), (12_000, 3.0), (20_000, 6.0)] {
        let value = pressure.decode(&[raw], Kind::Number).unwrap().as_f64();
        assert!((value - bar).abs() < 1e-9, "{raw} is {value}");
    }
    // Shown in W by the device, low word first; -1500 W.
    let other = polled(plant.by_key("hall/other_power").unwrap().id);
    let value = other.codec.decode(&[0xFA24, 0xFFFF], Kind::Number).unwrap();
    assert!((value.as_f64() + 1.5).abs() < 1e-9);
    let outdoor = plant.by_key("hall/outdoor_temperature").unwrap();
    assert_eq!(outdoor.source, Source::Device(device.id));
    assert_eq!(polled(outdoor.id).address, 12, "40013 of a manual that prints 4xxxx");
    assert_eq!(plant.zones[0].points.get(ZoneRole::OutdoorTemperature), Some(outdoor.id));
    let office = plant.by_key("office/heat_request_percent").unwrap();
    let face = plant.modbus.faces.iter().find(|face| face.point == office.id).unwrap();
    assert_eq!(face.address, 100);
}

#[test]
fn ages_and_qualities_stand_where_the_file_says_and_overlap_nothing() {
    let text = builtin("example-site.toml").unwrap();
    let plant = plant("example-site.toml");
    let pressure = plant.by_key("boiler-room/pressure").unwrap().id;
    let note = |address, kind| Note { point: pressure, table: Table::Input, address, kind };
    assert_eq!(plant.modbus.notes, [note(61, NoteKind::Age), note(62, NoteKind::Quality)]);
    let of = |from: &str, to: &str| {
        let changed = text.replace(from, to);
        assert_ne!(changed, text);
        compile("site.toml", &Beside(changed))
    };
    let taken = of("age = 61", "age = 60");
    assert!(
        taken.plant.is_none() && shown(&taken.findings).contains("input 60 is taken"),
        "{}",
        shown(&taken.findings)
    );
    let beyond = of("age = 61", "age = 65536");
    assert!(shown(&beyond.findings).contains("65536 with base 0 is no address"), "{}", shown(&beyond.findings));
    // A file's own policy, and one address that has another.
    let file = of("address_base = 0", "offline = \"exception\"\naddress_base = 0").plant.unwrap();
    let offline = |plant: &Plant, key: &str| {
        let point = plant.by_key(key).unwrap().id;
        plant.modbus.faces.iter().find(|face| face.point == point).unwrap().offline
    };
    assert_eq!(offline(&plant, "boiler-room/pump_running"), Offline::Hold);
    assert_eq!(offline(&file, "boiler-room/pump_running"), Offline::Exception);
    assert_eq!(offline(&file, "boiler-room/pressure"), Offline::Sentinel);
    let nan = of("offline = \"sentinel\"", "offline = \"nan\"").plant.unwrap();
    assert_eq!(offline(&nan, "boiler-room/pressure"), Offline::Sentinel);
}

#[test]
fn texts_are_read_and_shown_and_targets_write_the_numbers_of_states() {
    let base = format!(
        "{}\n[[device]]\nname = \"dev\"\nlink = \"modbus-tcp://h\"\nunit_id = 1\n",
        builtin("example-site.toml").unwrap()
    );
    let with = |more: &str| compile("site.toml", &Beside(format!("{base}{more}")));
    let text = |source: &str, more: &str| {
        with(&format!(
            "[[point]]\nname = \"dev/serial\"\nkind = \"text\"\nsource = {{ device = \"dev\", holding = 5, {source} }}\n{more}"
        ))
    };
    let faces = "bms = [{ input = 5000, type = \"text\", registers = 8 }, { bacnet = \"characterstring-value:1\" }]\n";
    let compiled = text("type = \"text\", registers = 20, order = \"BADC\"", faces);
    let plant = compiled.plant.as_ref().unwrap_or_else(|| panic!("{}", shown(&compiled.findings)));
    let id = plant.by_key("dev/serial").unwrap().id;
    let read = plant.devices.iter().flat_map(|device| &device.points).find(|read| read.point == id).unwrap();
    let place = read.register().unwrap();
    assert_eq!((place.codec.kind, place.codec.order, place.width()), (RegisterType::Text(20), WordOrder::Badc, 20));
    let face = plant.modbus.faces.iter().find(|face| face.point == id).unwrap();
    assert_eq!((face.width(), face.writable, face.codec.order), (8, false, WordOrder::Abcd));
    assert!(plant.bacnet.iter().any(|face| face.point == id && face.kind == ObjectKind::CharacterStringValue));
    for (source, more, word) in [
        ("type = \"text\"", "", "registers"),
        ("type = \"text\", registers = 0", "", "1 to 32 registers"),
        ("type = \"text\", registers = 33", "", "1 to 32 registers"),
        ("type = \"text\", registers = 4, order = \"CDAB\"", "", "begins in its first register"),
        ("type = \"text\", registers = 4, scale = 2", "", "no scaling"),
        ("type = \"text\", registers = 4, bits = 3", "", "a text has no `bits`"),
        ("type = \"u16\"", "", "is a text"),
        ("type = \"u16\", registers = 4", "", "only a text says"),
        ("type = \"text\", registers = 4", "unit = \"kW\"\n", "has no unit"),
        ("type = \"text\", registers = 4", "range = [0, 1]\n", "a text has no range"),
        (
            "type = \"text\", registers = 4",
            "target = { device = \"dev\", holding = 9, type = \"text\", registers = 4 }\n",
            "only read",
        ),
        ("type = \"text\", registers = 4", "bms = { bacnet = \"analog-value:900\" }\n", "cannot be an analog-value"),
        ("type = \"text\", registers = 4", "bms = { input = 5000, type = \"u16\" }\n", "is a text"),
        (
            "type = \"text\", registers = 4",
            "[[trend_log]]\ninstance = 900\nname = \"l\"\npoint = \"dev/serial\"\n",
            "keeps numbers",
        ),
    ] {
        let more = if more.contains("trend_log") { format!("{faces}{more}") } else { more.to_owned() };
        let refused = text(source, &more);
        assert!(refused.plant.is_none(), "{source} {more}");
        assert!(shown(&refused.findings).contains(word), "{source} {more}: {}", shown(&refused.findings));
    }
    let number = with(
        "[[point]]\nname = \"dev/n\"\nunit = \"kW\"\nsource = { device = \"dev\", input = 9, type = \"text\", registers = 2 }\n",
    );
    assert!(shown(&number.findings).contains("is a number and no text"), "{}", shown(&number.findings));

    let target = |states: &str| {
        with(&format!("[[target]]\npoint = \"hall/state\"\ndevice = \"dev\"\nholding = 30\ntype = \"u16\"\n{states}"))
    };
    let states = target("").plant.unwrap().by_key("hall/state").unwrap().texts.len();
    let numbers: Vec<String> = (1..=states).map(|state| format!("[{}, {state}]", state * 10)).collect();
    let compiled = target(&format!("states = [{}]\n", numbers.join(", ")));
    let plant = compiled.plant.as_ref().unwrap_or_else(|| panic!("{}", shown(&compiled.findings)));
    let write = plant.devices.iter().flat_map(|device| &device.writes).next_back().unwrap();
    let WritePlace::Register(place) = &write.place else { panic!() };
    assert_eq!(place.codec.encode(Value::State(2)).unwrap().as_slice(), [20]);
    for (list, word) in [
        (numbers[1..].join(", "), "state 1 of `hall/state` is here 0 times"),
        (format!("{}, [7, 1]", numbers.join(", ")), "is here 2 times"),
        (numbers.join(", ").replace("[10,", "[65536,"), "65536 does not fit into this u16"),
        (numbers.join(", ").replace("[10,", "[20,"), "a raw number is here twice"),
    ] {
        let refused = target(&format!("states = [{list}]\n"));
        assert!(
            refused.plant.is_none() && shown(&refused.findings).contains(word),
            "{list}: {}",
            shown(&refused.findings)
        );
    }
}

/// One file, and the built-in ones beside it.
struct Beside(String);

impl Files for Beside {
    fn read(&self, name: &str) -> Result<String, String> {
        if name == "site.toml" { Ok(self.0.clone()) } else { BuiltinFiles.read(name) }
    }
}

#[test]
fn a_file_beside_the_site_comes_before_the_built_in_one() {
    struct Own;
    impl Files for Own {
        fn read(&self, name: &str) -> Result<String, String> {
            match name {
                "site.toml" => Ok(builtin("demo.toml").unwrap().to_owned()),
                "digital-boiler.toml" => Ok(builtin(name)
                    .unwrap()
                    .replace("version = 1 ", "version = 7 ")
                    .replace("version = 1\n", "version = 7\n")),
                _ => Err("no such file".to_owned()),
            }
        }
    }
    assert_eq!(compile("site.toml", &Own).plant.unwrap().map_version, 7);
    assert!(compile("none.toml", &Own).plant.is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is done to a file: no panic, and a plant exactly when there is no error.
    #[test]
    fn mutilated_files_are_found_out(
        file in 0..3usize,
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..9usize, 0..40usize), 1..6),
    ) {
        struct Mutilated(&'static str, String);
        impl Files for Mutilated {
            fn read(&self, name: &str) -> Result<String, String> {
                if name == self.0 { Ok(self.1.clone()) } else { Err("no such file".to_owned()) }
            }
        }
        let name = ["example-site.toml", "digital-boiler.toml", "profiles/generic-heat-meter.toml"][file];
        let mut text: Vec<char> = builtin(name).unwrap().chars().collect();
        for (at, what, length) in edits {
            let at = at.index(text.len());
            let end = (at + length).min(text.len());
            let with = ["", "\"", "[[", "= -1", "99999999999999999999", "\n", "é", "0.0", "name"][what];
            text.splice(at..end, with.chars());
        }
        let files = Mutilated(name, text.into_iter().collect());
        let compiled = compile("example-site.toml", &files);
        let errors = compiled.findings.iter().any(|finding| finding.severity == Severity::Error);
        prop_assert_eq!(compiled.plant.is_none(), errors);
        for finding in &compiled.findings {
            prop_assert!(!finding.to_string().is_empty());
            prop_assert!(!finding.help.is_empty() && !finding.message.is_empty());
        }
    }
}

#[test]
fn a_bacnet_device_is_read_and_both_protocols_are_written() {
    let site = r#"
use = ["digital-boiler.toml"]
address_base = 1
[[device]]
name = "ahu"
link = "bacnet://device/1201"
poll = "5s"
[[device]]
name = "chiller"
link = "bacnet://10.0.0.5:50000/1202"
timeout = "2s"
[[device]]
name = "plc"
link = "modbus-tcp://10.0.0.9"
unit_id = 1
[[heater]]
name = "rack-a"
rated_power = "30 kW"
idle = "25 %"
efficiency = 0.95
[[zone]]
name = "hall"
index = 0
heaters = ["rack-a"]
[[point]]
name = "ahu/supply"
unit = "degC"
source = { device = "ahu", bacnet = "analog-input:3" }
[[point]]
name = "ahu/power"
unit = "kW"
source = { device = "ahu", bacnet = "130:7", property = 512, unit = "W", cov_increment = 50, scale = 10 }
[[point]]
name = "chiller/energy"
kind = "energy"
unit = "Wh"
source = { device = "chiller", bacnet = "accumulator:1", unit = "kWh", cov = false }
[[point]]
name = "ahu/setpoint"
unit = "degC"
range = [15, 60]
default = 40
deadband = 0.5
target = [
    { device = "ahu", bacnet = "analog-value:7" },
    { device = "plc", holding = 20, type = "f32", order = "CDAB", refresh = "20s", deadband = 0.1 },
]
"#;
    let compiled = compile("site.toml", &One(site.to_owned()));
    let plant = compiled.plant.unwrap_or_else(|| panic!("{}", shown(&compiled.findings)));
    assert!(compiled.findings.is_empty(), "{}", shown(&compiled.findings));
    let id = |key: &str| plant.by_key(key).unwrap().id;
    let [ahu, chiller, plc] = &plant.devices[..] else { panic!() };
    assert_eq!(ahu.link, Link::Bacnet { instance: 1201, address: None });
    assert_eq!(chiller.link, Link::Bacnet { instance: 1202, address: Some(([10, 0, 0, 5], 50_000)) });
    assert_eq!((ahu.timeout.get().as_secs(), chiller.timeout.get().as_secs()), (3, 2));
    let object = |kind, instance| ObjectRef { kind, instance };
    let place = |object, property, scale, cov| PropertyPlace { object, property, scale, offset: 0.0, cov };
    let read = |point, place| DevicePoint { point, place: DevicePlace::Property(place), poll: None };
    assert_eq!(
        ahu.points,
        [
            read(id("ahu/supply"), place(object(0, 3), PRESENT_VALUE, 1.0, Cov::Own)),
            read(id("ahu/power"), place(object(130, 7), 512, 0.01, Cov::Increment(50.0))),
        ]
    );
    let energy = place(object(23, 1), PRESENT_VALUE, 1000.0, Cov::No);
    assert_eq!(chiller.points, [read(id("chiller/energy"), energy)]);
    let target = place(object(2, 7), PRESENT_VALUE, 1.0, Cov::Own);
    assert_eq!(
        ahu.writes,
        [DeviceWrite {
            point: id("ahu/setpoint"),
            place: WritePlace::Property { place: target, priority: crate::point::Priority::new(14).unwrap() },
            deadband: 0.5,
            refresh: std::time::Duration::from_secs(60),
        }]
    );
    let codec = Codec { order: WordOrder::Cdab, ..Codec::plain(RegisterType::F32) };
    let holding = RegisterPlace::plain(Table::Holding, 19, codec);
    assert_eq!(plc.writes[0].place, WritePlace::Register(holding));
    assert_eq!((plc.writes[0].deadband, plc.writes[0].refresh.as_secs()), (0.1, 20));
}
