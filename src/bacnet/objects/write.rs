//! WriteProperty and WritePropertyMultiple (clauses 15.9, 15.10): request parameters in, commands to points and changes of
//! the device's own out, or the Error that the standard names.

use bacnet_encoding::primitives::{ApplicationValueRef, decode_application_value, decode_application_value_ref};
use bacnet_services::wpm::WritePropertyMultipleRequest;
use bacnet_services::write_property::WritePropertyRequest;
use bacnet_types::constructed::BACnetObjectPropertyReference as Reference;
use bacnet_types::enums::{AbortReason, PropertyIdentifier};
use bacnet_types::primitives::{ObjectIdentifier, PropertyValue};

use super::wire::{Wire, accept};
use super::{Access, Body, Entry, View, class, device, event, load, point, service, trend};
use crate::bacnet::alarm;
use crate::bacnet::answer::{Failure, Refused};
use crate::bacnet::own::Change;
use crate::point::Priority;
use crate::request::{Action, Write};

/// Kept for the minimum on/off algorithm, in every object (clause 19.2.3).
const RESERVED_PRIORITY: u8 = 6;

/// Most writes of one request: the engine does them at once.
const MAX_WRITES: usize = 64;

/// A write that may be done.
#[derive(Debug)]
pub(in crate::bacnet) enum Checked {
    /// The engine's.
    Command(Write),
    /// The device's own.
    Own(Change),
}

/// What a WriteProperty asks for.
pub(in crate::bacnet) fn write_property(view: &View<'_>, params: &[u8]) -> Result<Checked, Refused> {
    let request = WritePropertyRequest::decode(params)?;
    let target = Target {
        object: request.object_identifier,
        property: request.property_identifier,
        index: request.property_array_index,
    };
    Ok(check(view, target, &request.property_value, request.priority, &[])?)
}

/// What a WritePropertyMultiple asks for.
pub(in crate::bacnet) struct Several {
    /// The commands before the first write that fails.
    pub(in crate::bacnet) writes: Vec<Write>,
    /// The changes of the device's own before it; they are done when the engine has accepted the commands.
    pub(in crate::bacnet) own: Vec<Change>,
    /// What the first of all names.
    pub(in crate::bacnet) first: Reference,
    /// The first one that fails, and why.
    pub(in crate::bacnet) failed: Option<(Failure, Reference)>,
}

/// Up to the first write that fails, as if they were done one by one (clause 15.10.2).
pub(in crate::bacnet) fn write_property_multiple(view: &View<'_>, params: &[u8]) -> Result<Several, Refused> {
    let request = WritePropertyMultipleRequest::decode(params)?;
    let mut wanted = request.list_of_write_access_specs.iter().flat_map(|spec| {
        spec.list_of_properties.iter().map(|value| {
            let target = Target {
                object: spec.object_identifier,
                property: value.property_identifier,
                index: value.property_array_index,
            };
            (target, value)
        })
    });
    let Some((first, _)) = wanted.clone().next() else {
        return Err(Refused::Reject(bacnet_types::enums::RejectReason::MISSING_REQUIRED_PARAMETER));
    };
    if wanted.clone().count() > MAX_WRITES {
        return Err(Refused::Abort(AbortReason::OUT_OF_RESOURCES));
    }
    let (mut writes, mut own) = (Vec::new(), Vec::new());
    let failed = wanted.find_map(|(target, value)| match check(view, target, &value.value, value.priority, &own) {
        Ok(checked) => {
            match checked {
                Checked::Command(write) => writes.push(write),
                Checked::Own(change) => own.push(change),
            }
            None
        }
        Err(failure) => Some((failure, target.reference())),
    });
    Ok(Several { writes, own, first: first.reference(), failed })
}

/// What is to be written.
#[derive(Clone, Copy)]
struct Target {
    object: ObjectIdentifier,
    property: PropertyIdentifier,
    index: Option<u32>,
}

impl Target {
    fn reference(self) -> Reference {
        Reference {
            object_identifier: self.object,
            property_identifier: self.property.to_raw(),
            property_array_index: self.index,
        }
    }
}

/// One write, checked; `before` are the changes of the same request that come first.
fn check(
    view: &View<'_>,
    target: Target,
    value: &[u8],
    priority: Option<u8>,
    before: &[Change],
) -> Result<Checked, Failure> {
    let entry = view.catalog.find(target.object).ok_or(Failure::UNKNOWN_OBJECT)?;
    let row = entry.row(target.property).ok_or(Failure::UNKNOWN_PROPERTY)?;
    match row.access {
        Access::Read => Err(Failure::WRITE_DENIED),
        Access::Write => own(view, entry, target, value).map(Checked::Own),
        Access::Service if target.index.is_some() => Err(Failure::NOT_AN_ARRAY),
        Access::Service => {
            let shown = view.shown(entry).ok_or(Failure::WRITE_DENIED)?;
            service::write(&shown, entry.id, target.property, value, before).map(Checked::Own)
        }
        Access::Command => command(view, entry, target, value, priority).map(Checked::Command),
    }
}

/// A write to what is the device's own. A priority is ignored: it is no command (clause 15.9.1.1.5).
fn own(view: &View<'_>, entry: &Entry, target: Target, value: &[u8]) -> Result<Change, Failure> {
    match entry.body {
        Body::Trend(place) => trend::write(view, place, target.property, target.index, value)
            .map(|change| Change::Trend { place, change }),
        Body::Load(place) => {
            load::write(view, place, target.property, target.index, value).map(|change| Change::Shed { place, change })
        }
        Body::Class(place) => class::write(place, target.property, target.index, value).map(Change::Alarm),
        // None of the others is an array.
        _ if target.index.is_some() => Err(Failure::NOT_AN_ARRAY),
        Body::Device => device::write(target.property, value),
        Body::Port(_) => Err(Failure::WRITE_DENIED),
        Body::Face(_) => {
            let shown = view.shown(entry).ok_or(Failure::UNKNOWN_OBJECT)?;
            match shown.event {
                Some(_) if target.property != PropertyIdentifier::COV_INCREMENT => {
                    let setting = event::write(view, shown.face.kind, target.property, value)?;
                    Ok(Change::Alarm(alarm::Change::Source(shown.place, setting)))
                }
                _ => point::write(&shown, entry.id, target.property, value),
            }
        }
    }
}

/// A command to a point.
fn command(
    view: &View<'_>,
    entry: &Entry,
    target: Target,
    value: &[u8],
    priority: Option<u8>,
) -> Result<Write, Failure> {
    let shown = view.shown(entry).ok_or(Failure::WRITE_DENIED)?;
    if target.index.is_some() {
        return Err(Failure::NOT_AN_ARRAY);
    }
    let priority = match priority {
        None => Priority::LOWEST,
        Some(RESERVED_PRIORITY) => return Err(Failure::WRITE_DENIED),
        Some(number) => Priority::new(number).ok_or(Failure::BAD_PARAMETER)?,
    };
    let action = match wire(value)? {
        Wire::Null => Action::Relinquish,
        value => Action::Set(accept(shown.def, shown.face, value)?),
    };
    Ok(Write { point: shown.def.id, action, priority })
}

/// Several primitive values, one behind the other; no array that is written has more.
pub(super) fn wires(octets: &[u8]) -> Result<Vec<Wire>, Failure> {
    const MOST: usize = 16;
    let (mut values, mut rest) = (Vec::new(), octets);
    while !rest.is_empty() {
        let (_, end) = decode_application_value_ref(rest, 0).map_err(|_| Failure::WRONG_TYPE)?;
        let (value, behind) = rest.split_at_checked(end).ok_or(Failure::WRONG_TYPE)?;
        if values.len() >= MOST {
            return Err(Failure::OUT_OF_RANGE);
        }
        values.push(wire(value)?);
        rest = behind;
    }
    Ok(values)
}

/// A bit string of exactly so many bits.
pub(super) fn bits<const N: usize>(octets: &[u8]) -> Result<[bool; N], Failure> {
    let (value, end) = decode_application_value(octets, 0).map_err(|_| Failure::WRONG_TYPE)?;
    match value {
        PropertyValue::BitString { unused_bits, data } if end == octets.len() => match data.as_slice() {
            [octet] if usize::from(unused_bits) + N == 8 => Ok(std::array::from_fn(|bit| octet & (0x80 >> bit) != 0)),
            _ => Err(Failure::OUT_OF_RANGE),
        },
        _ => Err(Failure::WRONG_TYPE),
    }
}

/// The one primitive value that a property takes.
pub(in crate::bacnet) fn wire(octets: &[u8]) -> Result<Wire, Failure> {
    let (value, end) = decode_application_value_ref(octets, 0).map_err(|_| Failure::WRONG_TYPE)?;
    if end != octets.len() {
        return Err(Failure::WRONG_TYPE);
    }
    match value {
        ApplicationValueRef::Null => Ok(Wire::Null),
        ApplicationValueRef::Real(value) => Ok(Wire::Real(value)),
        ApplicationValueRef::Double(value) => Ok(Wire::Double(value)),
        ApplicationValueRef::Unsigned(value) => Ok(Wire::Unsigned(value)),
        ApplicationValueRef::Signed(value) => Ok(Wire::Signed(value)),
        ApplicationValueRef::Enumerated(value) => Ok(Wire::Enumerated(value)),
        _ => Err(Failure::WRONG_TYPE),
    }
}
