//! Objects and properties: a pure function of plant, image and settings.

mod catalog;
mod class;
mod device;
mod load;
mod event;
mod list;
mod point;
mod port;
mod range;
mod read;
mod service;
mod trend;
mod types;
mod wire;
mod write;

#[cfg(test)]
mod tests;

pub(super) use catalog::{Access, Body, Catalog, Entry, Row};
pub(super) use list::change_list;
pub(super) use point::{increment, subscribable};
pub(super) use range::read_range;
pub(super) use read::{read_property, read_property_multiple};
pub(super) use service::{Service, Simulated};
pub(super) use types::types;
pub(super) use wire::{Wire, kindred, present, reliability, status_flags};
pub(super) use write::{Checked, wire, write_property, write_property_multiple};

use bacnet_encoding::primitives;
use bacnet_types::enums::PropertyIdentifier;
use bytes::BytesMut;

use super::alarm::{Alarms, Source, in_alarm};
use super::answer::Failure;
use super::cov::Subscriptions;
use super::further::PortState;
use super::network::Number;
use super::own::Own;
use super::settings::Settings;
use crate::plant::{ObjectFace, Plant, PointDef};
use crate::point::{Image, PointState};
use crate::time::Now;

/// Everything that a property is a function of.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) plant: &'a Plant,
    pub(super) catalog: &'a Catalog,
    pub(super) settings: &'a Settings,
    pub(super) image: &'a Image,
    pub(super) subscriptions: &'a Subscriptions,
    pub(super) own: &'a Own,
    /// The ports, in the order of the Network Port objects.
    pub(super) lines: &'a [PortState],
    /// The number of our network.
    pub(super) network: Number,
    pub(super) alarms: &'a Alarms,
    pub(super) now: Now,
}

/// A face, its point, and what the image holds of it.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) face: &'a ObjectFace,
    pub(super) def: &'a PointDef,
    pub(super) state: Option<&'a PointState>,
    /// Place of the face in the plant.
    place: usize,
    own: &'a Own,
    /// It reports events.
    event: Option<&'a Source>,
}

impl Shown<'_> {
    /// What it shows while it is out of service.
    fn simulated(&self) -> Option<Simulated> {
        self.own.simulated(self.place)
    }

    /// Present_Value.
    pub(super) fn value(&self) -> Wire {
        self.simulated().map_or_else(|| present(self.def, self.face, self.state), |simulated| simulated.value)
    }

    /// Reliability.
    fn reliability(&self) -> u32 {
        self.simulated().map_or_else(|| reliability(self.def, self.state), |simulated| simulated.reliability)
    }

    /// Status_Flags, with what the event state says.
    pub(super) fn flags(&self) -> u8 {
        let flags = self.simulated().map_or_else(|| status_flags(self.def, self.state), Simulated::flags);
        flags | self.event.map_or(0, |source| in_alarm(source.memory.state))
    }

    /// COV_Increment in the unit of the face: as written, else as mapped.
    pub(super) fn increment(&self) -> f64 {
        self.own.increment(self.place).unwrap_or_else(|| point::increment(self.face))
    }
}

impl<'a> View<'a> {
    /// What an object shows, when it shows a point.
    pub(super) fn shown(&self, entry: &Entry) -> Option<Shown<'a>> {
        let Body::Face(place) = entry.body else { return None };
        let face = self.plant.bacnet.get(place)?;
        let def = self.plant.point(face.point)?;
        let (state, event) = (self.image.get(face.point), self.alarms.source(place));
        Some(Shown { face, def, state, place, own: self.own, event })
    }
}

/// Where one property is written to: whole, or one element of it.
pub(super) struct Cell<'o> {
    out: &'o mut BytesMut,
    index: Option<u32>,
}

impl Cell<'_> {
    /// A property that is no array: a single value, or a list.
    fn one(self, write: impl FnOnce(&mut BytesMut)) -> Result<(), Failure> {
        if self.index.is_some() {
            return Err(Failure::NOT_AN_ARRAY);
        }
        write(self.out);
        Ok(())
    }

    /// A BACnetARRAY: index 0 is its length, elements count from 1 (clause 12.1.5.1).
    fn array(self, length: usize, mut write: impl FnMut(&mut BytesMut, usize)) -> Result<(), Failure> {
        match self.index.map(|index| usize::try_from(index).unwrap_or(usize::MAX)) {
            None => (0..length).for_each(|place| write(self.out, place)),
            Some(0) => primitives::encode_app_unsigned(self.out, length as u64),
            Some(index) if index <= length => write(self.out, index - 1),
            Some(_) => return Err(Failure::INVALID_INDEX),
        }
        Ok(())
    }

    fn text(self, text: &str) -> Result<(), Failure> {
        self.one(|out| put_text(out, text))
    }

    fn unsigned(self, number: u64) -> Result<(), Failure> {
        self.one(|out| primitives::encode_app_unsigned(out, number))
    }

    fn enumerated(self, number: u32) -> Result<(), Failure> {
        self.one(|out| primitives::encode_app_enumerated(out, number))
    }

    fn boolean(self, yes: bool) -> Result<(), Failure> {
        self.one(|out| primitives::encode_app_boolean(out, yes))
    }

    fn wire(self, wire: Wire) -> Result<(), Failure> {
        self.one(|out| wire.encode(out))
    }

    /// Status_Flags: four bits from the top of one octet.
    fn flags(self, flags: u8) -> Result<(), Failure> {
        self.one(|out| primitives::encode_app_bit_string(out, 4, &[flags]))
    }
}

fn put_text(out: &mut BytesMut, text: &str) {
    // It refuses only what is longer than 4 GiB.
    let _ = primitives::encode_app_character_string(out, text);
}

/// Append the value of a property, application-tagged; nothing is appended on failure.
pub(super) fn property(
    view: &View<'_>,
    entry: &Entry,
    property: PropertyIdentifier,
    index: Option<u32>,
    out: &mut BytesMut,
) -> Result<(), Failure> {
    if entry.row(property).is_none() {
        return Err(Failure::UNKNOWN_PROPERTY);
    }
    let cell = Cell { out, index };
    match property {
        PropertyIdentifier::OBJECT_IDENTIFIER => cell.one(|out| primitives::encode_app_object_id(out, &entry.id)),
        PropertyIdentifier::OBJECT_NAME => cell.text(&entry.name),
        PropertyIdentifier::OBJECT_TYPE => cell.enumerated(entry.id.object_type().to_raw()),
        PropertyIdentifier::PROPERTY_LIST => {
            let listed: Vec<_> = entry.rows.iter().map(|row| row.property).filter(|p| is_listed(*p)).collect();
            cell.array(listed.len(), |out, place| {
                if let Some(property) = listed.get(place) {
                    primitives::encode_app_enumerated(out, property.to_raw());
                }
            })
        }
        _ => match entry.body {
            Body::Device => device::read(view, property, cell),
            Body::Trend(place) => trend::read(view, place, property, cell),
            Body::Load(place) => load::read(view, place, property, cell),
            Body::Port(place) => port::read(view, place, property, cell),
            Body::Class(place) => {
                class::read(view.alarms.class_at(place).ok_or(Failure::UNKNOWN_OBJECT)?, property, cell)
            }
            Body::Face(_) => {
                let shown = view.shown(entry).ok_or(Failure::UNKNOWN_OBJECT)?;
                point::read(&shown, property, cell)
            }
        },
    }
}

/// Property_List leaves out these four (clause 12.1.1.4.1).
fn is_listed(property: PropertyIdentifier) -> bool {
    !matches!(
        property,
        PropertyIdentifier::OBJECT_IDENTIFIER
            | PropertyIdentifier::OBJECT_NAME
            | PropertyIdentifier::OBJECT_TYPE
            | PropertyIdentifier::PROPERTY_LIST
    )
}
