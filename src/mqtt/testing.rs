//! A small site for the tests of this room: zone `hall`, heaters `rack-a` and `rack-b`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::decision::{Command, Reason};
use crate::durable::SavedInterval;
use crate::plant::{
    BmsLossPolicy, Commandable, Heater, HeaterId, HeaterRole, Plant, PointDef, SiteRole, Source, TemperatureLimit,
    Zone, ZoneId, ZoneRole,
};
use crate::point::{Image, Kind, PointId, PointKey, Reading, Value};
use crate::time::{Mono, Now, TimeSource, Utc};
use crate::units::{Celsius, Quantity, Unit, Watts};

fn unit_of(quantity: Quantity) -> Unit {
    match quantity {
        Quantity::Share => Unit::Percent,
        Quantity::Power => Unit::Kilowatt,
        Quantity::Energy => Unit::WattHour,
        Quantity::Temperature => Unit::Celsius,
        Quantity::Flow => Unit::CubicMetrePerHour,
        Quantity::Duration => Unit::Second,
        _ => Unit::None,
    }
}

fn add(plant: &mut Plant, key: &str, kind: Kind, quantity: Quantity, source: Source) -> PointId {
    let id = PointId(u32::try_from(plant.points.len()).unwrap());
    let unit = unit_of(quantity);
    plant.points.push(PointDef {
        id,
        key: PointKey::new(key).unwrap(),
        description: String::new(),
        kind,
        unit,
        range: None,
        absent: None,
        texts: Vec::new(),
        source,
        deadband: if kind == Kind::Number { 0.1 } else { 0.0 },
    });
    id
}

/// The site. `hall/remote_limit` and `hall/enable` are open to `set`, `hall/heat_request_power` is not.
pub(super) fn plant() -> Plant {
    let mut plant = Plant::default();
    let limit = TemperatureLimit { soft: Celsius::of(55.0), max: Celsius::of(60.0) };
    let mut zone = Zone {
        id: ZoneId(0),
        name: "hall".into(),
        index: 0,
        heaters: vec![HeaterId(0), HeaterId(1)],
        meter: None,
        rated: Watts::from_kw(60.0),
        nominal_heat: Watts::from_kw(52.8),
        ramp_up_per_min: 0.2,
        ramp_down_per_min: 1.0,
        supply_limit: limit,
        room_limit: limit,
        inlet_limit: limit,
        contracted: Watts::ZERO,
        law: crate::plant::Law::default(),
        on_bms_loss: BmsLossPolicy::Cancel,
        points: Default::default(),
    };
    for role in [
        ZoneRole::DemandMode,
        ZoneRole::HeatRequestPercent,
        ZoneRole::HeatRequestPower,
        ZoneRole::Enable,
        ZoneRole::RemoteLimit,
        ZoneRole::State,
        ZoneRole::RequestSource,
        ZoneRole::PowerCommand,
        ZoneRole::AlarmBmsLost,
    ] {
        let commandable = Commandable {
            relinquish_default: Value::from_f64(role.kind(), 0.0).unwrap(),
            expires: None,
            persist: false,
            mqtt_set: matches!(role, ZoneRole::RemoteLimit | ZoneRole::Enable),
            momentary: false,
        };
        let source = if role <= ZoneRole::OtherPower { Source::Command(commandable) } else { Source::Engine };
        let key = format!("hall/{}", role.as_str());
        zone.points.bind(role, add(&mut plant, &key, role.kind(), role.quantity(), source));
    }
    plant.zones.push(zone);
    for (index, name) in ["rack-a", "rack-b"].into_iter().enumerate() {
        let id = HeaterId(u16::try_from(index).unwrap());
        let mut heater = Heater {
            id,
            name: name.into(),
            zone: ZoneId(0),
            rated: Watts::from_kw(30.0),
            idle: Watts::from_kw(7.5),
            eta: 0.95,
            fallback: Watts::from_kw(7.5),
            may_switch_off: false,
            lease: Duration::from_secs(180),
            max_age: Duration::from_secs(30),
            points: Default::default(),
        };
        for role in HeaterRole::ALL.iter().copied().filter(|role| !matches!(role, HeaterRole::Cap | HeaterRole::Total))
        {
            let last = if role == HeaterRole::EnergyCounter { "energy" } else { role.as_str() };
            let key = format!("{name}/{last}");
            heater.points.bind(role, add(&mut plant, &key, role.kind(), role.quantity(), Source::Heater(id)));
        }
        plant.heaters.push(heater);
    }
    let link = add(&mut plant, "site/broker_link", Kind::Bool, Quantity::Plain, Source::Engine);
    plant.site.bind(SiteRole::BrokerLink, link);
    plant
}

/// So many seconds after the start, and after 1970.
pub(super) fn now(seconds: u64) -> Now {
    Now {
        mono: Mono::from_start(Duration::from_secs(seconds)),
        utc: Utc::from_millis(i64::try_from(seconds * 1000).unwrap()),
    }
}

/// An image with some readings.
pub(super) fn image_with(plant: &Plant, readings: &[(&str, Reading)], now: Now) -> Image {
    let mut image = Image::empty(plant.points.len(), now);
    image.seq = 1;
    for (key, reading) in readings {
        let id = plant.by_key(key).unwrap_or_else(|| panic!("no point {key}")).id;
        let state = image.get_mut(id).unwrap();
        state.sample.reading = *reading;
        state.changed = 1;
    }
    image
}

/// A command with a lease of 180 s.
pub(super) fn command(heater: u16, seq: u64, issued: u64, cap: f64) -> Command {
    Command {
        heater: HeaterId(heater),
        seq,
        issued: now(issued),
        cap: Watts::of(cap),
        ttl: Duration::from_secs(180),
        ramp_w_per_s: 100.0,
        fallback: Watts::from_kw(7.5),
        reasons: vec![Reason::Off],
    }
}

/// A complete telemetry message with one field written otherwise.
pub(super) fn telemetry_json(field: &str, written: &str) -> Vec<u8> {
    let fields = [
        ("v", "1"),
        ("at", "\"2026-01-02T03:04:05Z\""),
        ("power_w", "12000"),
        ("min_w", "7500"),
        ("max_w", "30000.0"),
        ("inlet_c", "24.5"),
        ("outlet_c", "null"),
        ("energy_wh", "123456"),
        ("state", "\"ready\""),
        ("applied_w", "12500"),
        ("later", "{\"a\":[1,2,{}]}"),
    ];
    let written =
        fields.iter().map(|(name, usual)| format!("\"{name}\":{}", if *name == field { written } else { usual }));
    format!("{{{}}}", written.collect::<Vec<_>>().join(",")).into_bytes()
}

/// What rack-a says to a command of a boot.
pub(super) fn ack_json(boot: &str, seq: u64, result: &str) -> Vec<u8> {
    let cmd_id = format!("{boot}-rack-a-{seq}");
    serde_json::json!({"v":1,"cmd_id":cmd_id,"seq":seq,"result":result,"applied_w":9000,"reason":"","valid_for_s":180})
        .to_string()
        .into_bytes()
}

/// A quarter of an hour of the hall's meter: 1.5 kWh in each.
pub(super) fn interval(seq: u64) -> SavedInterval {
    let at = |seq: u64| Utc::from_millis(i64::try_from(seq * 900_000).unwrap());
    SavedInterval {
        name: "meter/hall-meter".into(),
        seq,
        start: at(seq),
        end: at(seq + 1),
        energy_wh: 1500,
        total_wh: 1500 * seq,
        estimated_wh: 0,
        quality: "good".into(),
    }
}

/// A clock that stands still until it is set.
pub(super) struct TestClock {
    since: Mutex<Duration>,
    speed: f64,
}

impl TestClock {
    pub fn new(speed: f64) -> Arc<Self> {
        Arc::new(Self { since: Mutex::default(), speed })
    }

    pub fn set(&self, since: Duration) {
        *self.since.lock().unwrap() = since;
    }
}

impl TimeSource for TestClock {
    fn now(&self) -> Now {
        let since = *self.since.lock().unwrap();
        Now { mono: Mono::from_start(since), utc: Utc::from_millis(i64::try_from(since.as_millis()).unwrap()) }
    }

    fn wall(&self, site: Duration) -> Duration {
        site.div_f64(self.speed)
    }
}
