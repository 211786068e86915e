//! What the image shows on MQTT: each point and each zone's demand, retained. What is due is a mark, not a message: the
//! payload is made from the newest image when it can go, so a slow broker costs intermediate values and no memory.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::payloads::{PointOut, ValueOut, json};
use super::topics::Topics;
use crate::decision::{DemandMode, RequestSource, ZoneState};
use crate::plant::{Plant, PointDef, Zone, ZoneRole};
use crate::point::{Image, Kind, PointId, Reading, Value};
use crate::time::{Mono, Now};
use crate::units::Unit;

/// Everything is shown again after this long, in site time.
const REPEAT: Duration = Duration::from_secs(60);

/// How often ages are looked at, at most, in site time.
const LOOK: Duration = Duration::from_millis(250);

/// One retained topic: what it shows, since when, and whether it is due.
#[derive(Debug, Clone)]
struct Shown<T> {
    last: Option<(T, Mono)>,
    due: bool,
}

impl<T> Shown<T> {
    const NEVER: Self = Self { last: None, due: false };

    /// Mark it due; false when it was already.
    const fn mark(&mut self) -> bool {
        !std::mem::replace(&mut self.due, true)
    }

    fn old(&self, now: Mono) -> bool {
        self.last.as_ref().is_none_or(|(_, at)| now.since(*at) >= REPEAT)
    }
}

/// What a zone asks of its controllers; a job scheduler upstream plans with it.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Demand {
    mode: Option<&'static str>,
    request_w: Option<f64>,
    cap_w: Option<f64>,
    available_w: Option<f64>,
    minimum_w: Option<f64>,
    state: Option<&'static str>,
    source: Option<&'static str>,
}

#[derive(Serialize)]
struct DemandOut<'a> {
    #[serde(flatten)]
    demand: &'a Demand,
    at: String,
}

/// All retained views.
#[derive(Debug)]
pub(super) struct Views {
    points: Vec<Shown<Reading>>,
    due_points: VecDeque<PointId>,
    zones: Vec<Shown<Demand>>,
    due_zones: VecDeque<usize>,
    /// The image that was looked at last: what it shares with the next one needs no second look.
    looked: Image,
    /// When it is looked again which points were not shown for long.
    repeat: Mono,
}

impl Views {
    pub fn new(plant: &Plant) -> Self {
        Self {
            points: vec![Shown::NEVER; plant.points.len()],
            due_points: VecDeque::new(),
            zones: vec![Shown::NEVER; plant.zones.len()],
            due_zones: VecDeque::new(),
            looked: Image::default(),
            repeat: Mono::START,
        }
    }

    /// A new connection, perhaps to a broker that has forgotten: everything is due again.
    pub fn reconnected(&mut self) {
        self.points.fill(Shown::NEVER);
        self.zones.fill(Shown::NEVER);
        self.due_points.clear();
        self.due_zones.clear();
        self.looked = Image::default();
        self.repeat = Mono::START;
    }

    /// Mark what has changed, or was not shown for long. How many changes overtook one that still waits.
    pub fn look(&mut self, plant: &Plant, image: &Image, now: Mono) -> usize {
        let mut overtaken = 0;
        let before = std::mem::replace(&mut self.looked, image.clone());
        let fresh = before.seq != image.seq;
        for (id, state) in image.touched_since(&before) {
            let (Some(def), Some(shown)) = (plant.point(id), self.points.get_mut(id.index())) else { continue };
            let changed = shown.last.is_none_or(|(last, _)| differs(def, last, state.reading()));
            if !changed {
                continue;
            }
            if shown.mark() {
                self.due_points.push_back(id);
            } else if fresh && state.changed == image.seq {
                overtaken += 1;
            }
        }
        self.repeat(image, now);
        for (index, (zone, shown)) in plant.zones.iter().zip(&mut self.zones).enumerate() {
            let changed = shown.last.as_ref().is_none_or(|(last, _)| *last != demand(plant, zone, image));
            if (changed || shown.old(now)) && shown.mark() {
                self.due_zones.push_back(index);
            }
        }
        overtaken
    }

    /// Mark the points that were not shown for long.
    fn repeat(&mut self, image: &Image, now: Mono) {
        if now < self.repeat {
            return;
        }
        let mut oldest = now;
        for ((id, _), shown) in image.iter().zip(&mut self.points) {
            if shown.old(now) {
                if shown.mark() {
                    self.due_points.push_back(id);
                }
            } else if let Some((_, at)) = shown.last {
                oldest = oldest.min(at);
            }
        }
        self.repeat = oldest.after(REPEAT).max(now.after(LOOK));
    }

    /// The next topic and payload that is due: demands first.
    pub fn next(&mut self, plant: &Plant, topics: &Topics, image: &Image, now: Now) -> Option<(String, Vec<u8>)> {
        while let Some(index) = self.due_zones.pop_front() {
            let (Some(zone), Some(shown)) = (plant.zones.get(index), self.zones.get_mut(index)) else { continue };
            let demand = demand(plant, zone, image);
            let payload = json(&DemandOut { demand: &demand, at: image.now.utc.to_string() });
            *shown = Shown { last: Some((demand, now.mono)), due: false };
            return Some((topics.demand(&zone.name), payload));
        }
        while let Some(id) = self.due_points.pop_front() {
            let (Some(def), Some(shown)) = (plant.point(id), self.points.get_mut(id.index())) else { continue };
            let Some(state) = image.get(id) else { continue };
            let reading = state.reading();
            *shown = Shown { last: Some((reading, now.mono)), due: false };
            return Some((topics.point(&def.key), json(&point(def, reading, state.sample.at))));
        }
        None
    }
}

/// Whether viewers must be told.
fn differs(def: &PointDef, shown: Reading, now: Reading) -> bool {
    match (shown, now) {
        (Reading::Good(a), Reading::Good(b)) => moved(def, a, b),
        (Reading::Uncertain(a, was), Reading::Uncertain(b, is)) => was != is || moved(def, a, b),
        (a, b) => a != b,
    }
}

fn moved(def: &PointDef, shown: Value, now: Value) -> bool {
    match (shown, now) {
        (Value::Number(shown), Value::Number(now)) => (shown.get() - now.get()).abs() > def.deadband,
        (shown, now) => shown != now,
    }
}

/// Binary noise behind the sixth decimal is not shown.
fn tidy(number: f64) -> f64 {
    let rounded = (number * 1e6).round() / 1e6;
    if rounded.is_finite() { rounded } else { number }
}

fn point(def: &PointDef, reading: Reading, at: Now) -> PointOut {
    let value = reading.value().map(|value| match value {
        Value::Bool(yes) => ValueOut::Bool(yes),
        Value::Number(number) => ValueOut::Number(tidy(number.get())),
        Value::Unsigned(count) => ValueOut::Whole(count),
        Value::State(state) => ValueOut::Whole(state.into()),
        Value::Energy(energy) => ValueOut::Whole(energy.wh()),
        Value::Text(text) => ValueOut::Text(text),
    });
    // An energy is whole watt hours whatever unit its other faces show.
    let unit = if def.kind == Kind::Energy { Unit::WattHour } else { def.unit };
    PointOut {
        value,
        unit: unit.symbol(),
        quality: reading.quality().as_str(),
        cause: reading.cause(),
        at: at.utc.to_string(),
    }
}

/// What a zone's points say of its demand; null where they say nothing.
fn demand(plant: &Plant, zone: &Zone, image: &Image) -> Demand {
    let value = |role| zone.points.get(role).and_then(|point| image.reading(point).value());
    let state_of = |role| match value(role) {
        Some(Value::State(code)) => Some(code),
        _ => None,
    };
    let watts = |role| {
        let point: PointId = zone.points.get(role)?;
        let number = image.reading(point).value()?.as_f64();
        plant.point(point)?.unit.convert(number, Unit::Watt).map(tidy)
    };
    let mode = state_of(ZoneRole::DemandMode).and_then(DemandMode::from_code);
    let source = state_of(ZoneRole::RequestSource).and_then(source);
    let asked = || match (source?, mode?) {
        // Without a point that says what is asked it is known only while the BMS's own words count.
        (RequestSource::Bms, DemandMode::Off) => Some(0.0),
        (RequestSource::Bms, DemandMode::Percent) => {
            let share = value(ZoneRole::HeatRequestPercent)?.as_f64() / 100.0;
            Some(tidy(zone.nominal_heat.get() * share))
        }
        (RequestSource::Bms, DemandMode::Power) => watts(ZoneRole::HeatRequestPower),
        (RequestSource::Bms, DemandMode::Call) => Some(zone.nominal_heat.get()),
        _ => None,
    };
    Demand {
        mode: mode.map(DemandMode::as_str),
        request_w: if zone.points.get(ZoneRole::HeatAsked).is_some() { watts(ZoneRole::HeatAsked) } else { asked() },
        cap_w: watts(ZoneRole::PowerCommand),
        available_w: watts(ZoneRole::HeatAvailable).map(coarse),
        minimum_w: watts(ZoneRole::HeatMinimum).map(coarse),
        state: state_of(ZoneRole::State).and_then(state).map(ZoneState::as_str),
        source: source.map(RequestSource::as_str),
    }
}

/// To 100 W: an efficiency that is being learned is no news each time.
fn coarse(watts: f64) -> f64 {
    (watts / 100.0).round() * 100.0
}

/// A zone's state from its number.
pub(super) fn state(code: u16) -> Option<ZoneState> {
    use ZoneState::{Dump, Failsafe, Fault, Heating, Init, Limited, Manual, Safety, Standby, Starting};
    let all = [Init, Standby, Starting, Heating, Limited, Dump, Failsafe, Fault, Safety, Manual];
    all.into_iter().find(|state| state.code() == code)
}

/// A request's source from its number.
fn source(code: u16) -> Option<RequestSource> {
    use RequestSource::{Bms, Fallback, Hold, Manual, None, Safety};
    [None, Bms, Hold, Fallback, Manual, Safety].into_iter().find(|source| source.code() == code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::testing::{image_with, now, plant};
    use crate::point::{Doubt, Fault};

    fn shown(views: &mut Views, plant: &Plant, image: &Image, at: Now) -> Vec<(String, String)> {
        let topics = Topics::new("s").unwrap();
        views.look(plant, image, at.mono);
        std::iter::from_fn(|| views.next(plant, &topics, image, at))
            .map(|(topic, payload)| {
                (topic.trim_start_matches("heatgate/v1/s/").to_owned(), String::from_utf8(payload).unwrap())
            })
            .collect()
    }

    #[test]
    fn a_point_is_shown_when_it_moves_beyond_its_deadband_and_every_minute() {
        let plant = plant();
        let mut views = Views::new(&plant);
        let key = "hall/power_command";
        let at = |kw: f64, s: u64| image_with(&plant, &[(key, Reading::number(kw))], now(s));
        assert_eq!(shown(&mut views, &plant, &at(10.0, 0), now(0)).len(), plant.points.len() + plant.zones.len());
        // Inside the deadband of 0.1 kW only the demand follows.
        let zone = shown(&mut views, &plant, &at(10.05, 1), now(1));
        assert_eq!(zone.iter().map(|(topic, _)| topic.as_str()).collect::<Vec<_>>(), ["zones/hall/demand"]);
        let moved = shown(&mut views, &plant, &at(10.2, 2), now(2));
        let expected = r#"{"value":10.2,"unit":"kW","quality":"good","at":"1970-01-01T00:00:02.000Z"}"#;
        assert!(moved.contains(&("points/hall/power_command".into(), expected.into())), "{moved:?}");
        assert!(shown(&mut views, &plant, &at(10.2, 2), now(61)).len() >= plant.points.len() - 1);
    }

    #[test]
    fn a_bad_point_shows_null_and_why() {
        let plant = plant();
        let mut views = Views::new(&plant);
        let stale = Reading::Uncertain(Value::Energy(crate::units::Energy::from_wh(u64::MAX)), Doubt::Stale);
        let readings = [
            ("rack-a/power", Reading::Bad(Fault::Offline)),
            ("rack-a/energy", stale),
            ("hall/state", Reading::Good(Value::State(4))),
        ];
        let shown = shown(&mut views, &plant, &image_with(&plant, &readings, now(0)), now(0));
        let find = |key: &str| &shown.iter().find(|(topic, _)| topic == &format!("points/{key}")).unwrap().1;
        assert!(
            find("rack-a/power").starts_with(r#"{"value":null,"unit":"kW","quality":"bad","cause":"offline","at""#)
        );
        let energy =
            r#"{"value":18446744073709551615,"unit":"Wh","quality":"uncertain","cause":"not refreshed in time""#;
        assert!(find("rack-a/energy").starts_with(energy), "{}", find("rack-a/energy"));
        assert!(find("hall/state").starts_with(r#"{"value":4,"unit":"""#));
    }

    #[test]
    fn demand_says_what_the_zone_asks() {
        let plant = plant();
        let demand_of = |readings: &[(&str, Reading)]| {
            let mut views = Views::new(&plant);
            shown(&mut views, &plant, &image_with(&plant, readings, now(0)), now(0)).remove(0)
        };
        let state = |code| Reading::Good(Value::State(code));
        let (topic, payload) = demand_of(&[
            ("hall/demand_mode", state(2)),
            ("hall/request_source", state(2)),
            ("hall/heat_request_percent", Reading::number(50.0)),
            ("hall/power_command", Reading::number(30.1)),
            ("hall/state", state(4)),
        ]);
        assert_eq!(topic, "zones/hall/demand");
        let expected = r#"{"mode":"percent","request_w":26400.0,"cap_w":30100.0,"available_w":null,"minimum_w":null,"state":"heating","source":"bms","at":"#;
        assert!(payload.starts_with(expected), "{payload}");
        let (_, payload) = demand_of(&[]);
        assert!(payload.starts_with(r#"{"mode":null,"request_w":null,"cap_w":null,"available_w":null,"minimum_w":null,"state":null,"source":null"#));
    }

    #[test]
    fn changes_that_overtake_a_waiting_one_are_counted() {
        let plant = plant();
        let mut views = Views::new(&plant);
        let mut image = image_with(&plant, &[], now(0));
        assert_eq!(views.look(&plant, &image, now(0).mono), 0);
        image.seq = 2;
        let id = plant.by_key("rack-a/power").unwrap().id;
        let state = image.get_mut(id).unwrap();
        state.changed = 2;
        state.sample.reading = Reading::number(1.0);
        assert_eq!(views.look(&plant, &image, now(0).mono), 1);
        assert_eq!(views.look(&plant, &image, now(1).mono), 0, "the same image twice");
    }
}
