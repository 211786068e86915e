//! Load control (clause 12.28): a shed that the building asks for becomes a limit of the zone's electrical power, written
//! through the engine like any other limit, and its compliance is judged by what the zone draws.

mod level;
mod machine;
mod window;

#[cfg(test)]
mod tests;

pub(super) use level::{Level, Scale};
pub(super) use machine::{Change, LONGEST_DURATION, LONGEST_WINDOW, Shed};

use std::collections::HashMap;
use std::time::Duration;

use super::civil::DateTime;
use super::writes::Ticket;
use crate::durable::Keepsake;
use crate::plant::{Plant, ServiceObject, Zone, ZoneRole};
use crate::point::{Image, PointId, Priority, Reading, Value};
use crate::request::{Action, Refusal, Verdict, Write};
use crate::time::{Mono, Now};
use crate::units::{Unit, Watts};
use machine::{Request, Wanted};

/// Its limit stands in this slot: nobody else writes the point, and a person's override goes before it.
const PRIORITY: Priority = Priority::LOWEST;
/// After a refusal that asking again at once would not change.
const REST: Duration = Duration::from_secs(10);
/// The keys of all load controls begin so.
pub(super) const KEYS: &str = "load-control";
/// The layout of what is kept.
const VERSION: u8 = 1;

/// One load control object.
#[derive(Debug)]
struct Control {
    instance: u32,
    shed: Shed,
    /// The limit that it sets.
    limit: PointId,
    /// What the zone draws.
    power: Option<PointId>,
    in_flight: Option<Ticket>,
    /// Nothing is asked of the engine before.
    rest_until: Mono,
    kept: Option<Vec<u8>>,
}

/// A limit to be set or lifted.
#[derive(Debug, PartialEq)]
pub(super) struct Wish {
    place: usize,
    /// Which object wants it.
    pub(super) instance: u32,
    pub(super) write: Write,
}

/// All load control objects.
#[derive(Debug, Default)]
pub(super) struct Sheds {
    list: Vec<Control>,
    /// By their place among the plant's service objects.
    places: HashMap<usize, usize>,
    /// The image that was looked at last.
    seen: u64,
    /// Its time: what is written happens then.
    now: Now,
    /// What came from an earlier life and is not taken in yet.
    kept: HashMap<String, Vec<u8>>,
}

impl Sheds {
    /// Those of a plant.
    pub(super) fn new(plant: &Plant) -> Self {
        let mut sheds = Self::default();
        for (place, service) in plant.bacnet_services.iter().enumerate() {
            let ServiceObject::LoadControl { instance, point, levels, .. } = service else { continue };
            let roles = [ZoneRole::LoadControlLimit, ZoneRole::ElectricalLimit, ZoneRole::RemoteLimit];
            let limits = |zone: &&Zone| roles.iter().any(|role| zone.points.get(*role) == Some(*point));
            let zone = plant.zones.iter().find(limits);
            let heaters = zone.into_iter().flat_map(|zone| &zone.heaters).filter_map(|id| plant.heater(*id));
            let floor = heaters.filter(|heater| !heater.may_switch_off).map(|heater| heater.idle).sum();
            // A limit of no zone is measured by what it can be at most.
            let widest = plant.point(*point).and_then(|def| def.unit.convert(def.range?.1, Unit::Watt));
            let baseline = zone.map_or(Watts::of(widest.unwrap_or(0.0)), |zone| zone.rated);
            sheds.places.insert(place, sheds.list.len());
            sheds.list.push(Control {
                instance: *instance,
                shed: Shed::new(Scale { baseline, floor, levels: levels.clone() }),
                limit: *point,
                power: zone.and_then(|zone| zone.points.get(ZoneRole::ElectricalPower)),
                in_flight: None,
                rest_until: Mono::START,
                kept: None,
            });
        }
        sheds
    }

    /// The machine of a service object, by its place in the plant.
    pub(super) fn get(&self, place: usize) -> Option<&Shed> {
        Some(&self.list.get(*self.places.get(&place)?)?.shed)
    }

    /// Do what was written.
    pub(super) fn apply(&mut self, place: usize, change: &Change) {
        let found = self.places.get(&place).and_then(|place| self.list.get_mut(*place));
        if let Some(control) = found {
            control.shed.apply(change, self.now);
        }
    }

    /// A keepsake of an earlier life; all of them come before [`Self::revive`].
    pub(super) fn restore(&mut self, key: &str, value: &[u8]) {
        self.kept.insert(key.to_owned(), value.to_vec());
    }

    /// Every shed goes on where an earlier life left it.
    pub(super) fn revive(&mut self, now: Now) {
        self.now = now;
        let kept = std::mem::take(&mut self.kept);
        for control in &mut self.list {
            let found = kept.get(&control.key()).and_then(|octets| decode(octets));
            if let Some((request, active, numbers)) = found {
                control.shed.renumber(&numbers);
                control.shed.restore(request, active, now);
            }
        }
    }

    /// A look at a new image. Sheds live in site time, which is the image's.
    pub(super) fn on_image(&mut self, plant: &Plant, image: &Image, now: Now) {
        if self.seen == image.seq {
            return;
        }
        self.seen = image.seq;
        self.now = now;
        for control in &mut self.list {
            let power = control.power.and_then(|point| {
                let Reading::Good(value) = image.reading(point) else { return None };
                let watts = plant.point(point)?.unit.convert(value.as_f64(), Unit::Watt)?;
                Watts::new(watts).ok()
            });
            control.shed.step(power, now);
        }
    }

    /// What must be asked of the engine, so that the limits in the image become those that are wanted.
    pub(super) fn wishes(&self, plant: &Plant, image: &Image) -> Vec<Wish> {
        let wish = |(place, control): (usize, &Control)| {
            if control.in_flight.is_some() || image.now.mono < control.rest_until {
                return None;
            }
            let action = control.due(plant, image)?;
            let write = Write { point: control.limit, action, priority: PRIORITY };
            Some(Wish { place, instance: control.instance, write })
        };
        self.list.iter().enumerate().filter_map(wish).collect()
    }

    /// A wish is on its way.
    pub(super) fn asked(&mut self, wish: &Wish, ticket: Ticket) {
        if let Some(control) = self.list.get_mut(wish.place) {
            control.in_flight = Some(ticket);
        }
    }

    /// The engine has answered one of our wishes; false when it is none of ours.
    pub(super) fn on_verdict(&mut self, ticket: Ticket, verdict: &Verdict) -> bool {
        let now = self.now;
        let Some(control) = self.list.iter_mut().find(|control| control.in_flight == Some(ticket)) else {
            return false;
        };
        control.in_flight = None;
        if let Err(refusal) = verdict
            && *refusal != Refusal::Busy
        {
            control.rest_until = now.mono.after(REST);
        }
        true
    }

    /// What is to be kept now.
    pub(super) fn keep(&mut self) -> Vec<Keepsake> {
        let mut keepsakes = Vec::new();
        for control in &mut self.list {
            let state = encode(&control.shed);
            // Before anybody asked for anything there is nothing to remember, and what is in force stays untouched.
            if control.kept.as_ref() == Some(&state) || control.shed.wanted() == Wanted::Untouched {
                continue;
            }
            control.kept = Some(state.clone());
            keepsakes.push(Keepsake { key: control.key(), value: Some(state) });
        }
        keepsakes
    }
}

impl Control {
    fn key(&self) -> String {
        format!("{KEYS}/{}", self.instance)
    }

    /// What to do to the limit's slot; `None` when it is as it should be. A slot from before a restart is written anew,
    /// because nobody else confirms it.
    fn due(&self, plant: &Plant, image: &Image) -> Option<Action> {
        let slot = image.get(self.limit).and_then(|state| state.slots.as_deref()?.get(PRIORITY));
        match self.shed.wanted() {
            Wanted::Untouched => None,
            Wanted::Nothing => slot.map(|_| Action::Relinquish),
            Wanted::AtMost(watts) => {
                let def = plant.point(self.limit)?;
                let number = Unit::Watt.convert(watts.get(), def.unit)?;
                let number = def.range.map_or(number, |(low, high)| number.clamp(low, high));
                let value = Value::number(number)?;
                let stands = slot.is_some_and(|slot| slot.value == value && !slot.restored);
                (!stands).then_some(Action::Set(value))
            }
        }
    }
}

/// Version, flags, level, start, duration, window, numbers of the levels.
fn encode(shed: &Shed) -> Vec<u8> {
    let request = &shed.request;
    let mut out = vec![VERSION, u8::from(request.enable) | u8::from(shed.is_active()) << 1];
    out.extend(request.level.octets());
    out.extend(request.start.octets());
    out.extend(request.duration.to_be_bytes());
    out.extend(request.window.to_be_bytes());
    out.extend(shed.scale.levels.iter().flat_map(|level| level.number.to_be_bytes()));
    out
}

/// The request, whether a limit is in force for it, and the numbers of the levels.
fn decode(octets: &[u8]) -> Option<(Request, bool, Vec<u32>)> {
    let (&[VERSION, flags], rest) = octets.split_first_chunk()? else { return None };
    let (level, rest) = rest.split_first_chunk()?;
    let (start, rest) = rest.split_first_chunk()?;
    let (duration, rest) = rest.split_first_chunk()?;
    let (window, rest) = rest.split_first_chunk()?;
    let request = Request {
        enable: flags & 1 != 0,
        level: Level::from_octets(*level)?,
        start: DateTime::from_octets(*start),
        duration: u32::from_be_bytes(*duration),
        window: u32::from_be_bytes(*window),
    };
    Some((request, flags & 2 != 0, rest.as_chunks().0.iter().map(|octets| u32::from_be_bytes(*octets)).collect()))
}
