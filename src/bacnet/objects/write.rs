//! WriteProperty (clause 15.9): request parameters in, one write of one point out, or the Error that the standard names.

use bacnet_encoding::primitives::{ApplicationValueRef, decode_application_value_ref};
use bacnet_services::write_property::WritePropertyRequest;
use bacnet_types::enums::PropertyIdentifier;

use super::wire::{Wire, accept};
use super::{View, point};
use crate::bacnet::answer::{Failure, Refused};
use crate::point::Priority;
use crate::request::{Action, Write};

/// Kept for the minimum on/off algorithm, in every object (clause 19.2.3).
const RESERVED_PRIORITY: u8 = 6;

/// What a WriteProperty asks of the engine.
pub(in crate::bacnet) fn write_property(view: &View<'_>, params: &[u8]) -> Result<Write, Refused> {
    let request = WritePropertyRequest::decode(params)?;
    let entry = view.catalog.find(request.object_identifier).ok_or(Failure::UNKNOWN_OBJECT)?;
    if !entry.rows.iter().any(|row| row.property == request.property_identifier) {
        return Err(Failure::UNKNOWN_PROPERTY.into());
    }
    let shown = view.shown(entry);
    let target = shown.filter(|shown| {
        request.property_identifier == PropertyIdentifier::PRESENT_VALUE
            && point::commandable(shown.def, shown.face).is_some()
    });
    let Some(shown) = target else { return Err(Failure::WRITE_DENIED.into()) };
    if request.property_array_index.is_some() {
        return Err(Failure::NOT_AN_ARRAY.into());
    }
    let priority = match request.priority {
        None => Priority::LOWEST,
        Some(RESERVED_PRIORITY) => return Err(Failure::WRITE_DENIED.into()),
        Some(number) => Priority::new(number).ok_or(Failure::OUT_OF_RANGE)?,
    };
    let action = match wire(&request.property_value)? {
        Wire::Null => Action::Relinquish,
        value => Action::Set(accept(shown.def, shown.face, value)?),
    };
    Ok(Write { point: shown.def.id, action, priority })
}

/// The one primitive value that a commandable Present_Value takes.
fn wire(octets: &[u8]) -> Result<Wire, Refused> {
    let (value, end) = decode_application_value_ref(octets, 0).map_err(|_| Failure::WRONG_TYPE)?;
    if end != octets.len() {
        return Err(Failure::WRONG_TYPE.into());
    }
    match value {
        ApplicationValueRef::Null => Ok(Wire::Null),
        ApplicationValueRef::Real(value) => Ok(Wire::Real(value)),
        ApplicationValueRef::Double(value) => Ok(Wire::Double(value)),
        ApplicationValueRef::Unsigned(value) => Ok(Wire::Unsigned(value)),
        ApplicationValueRef::Signed(value) => Ok(Wire::Signed(value)),
        ApplicationValueRef::Enumerated(value) => Ok(Wire::Enumerated(value)),
        _ => Err(Failure::WRONG_TYPE.into()),
    }
}
