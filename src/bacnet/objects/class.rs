//! Properties of a Notification Class object (clause 12.21).

use bacnet_encoding::{constructed, primitives};
use bacnet_types::enums::PropertyIdentifier as P;

use super::catalog::{Row, must};
use super::write::{bits, wire};
use super::{Cell, Wire, event};
use crate::bacnet::alarm::{self, Change, Class, Three};
use crate::bacnet::answer::Failure;

pub(super) fn rows() -> Vec<Row> {
    vec![
        must(P::OBJECT_IDENTIFIER),
        must(P::OBJECT_NAME),
        must(P::OBJECT_TYPE),
        must(P::NOTIFICATION_CLASS),
        must(P::PRIORITY).writable(),
        must(P::ACK_REQUIRED).writable(),
        must(P::RECIPIENT_LIST).writable(),
        must(P::PROPERTY_LIST),
    ]
}

pub(super) fn read(class: &Class, property: P, cell: Cell<'_>) -> Result<(), Failure> {
    match property {
        P::NOTIFICATION_CLASS => cell.unsigned(class.instance.into()),
        P::PRIORITY => {
            let priority = class.priority.0;
            cell.array(3, |out, place| {
                let priority = priority.get(place).copied().unwrap_or(u8::MAX);
                primitives::encode_app_unsigned(out, priority.into());
            })
        }
        P::ACK_REQUIRED => event::three(&class.ack_required, cell),
        P::RECIPIENT_LIST => cell.one(|out| {
            // Refused only for a MAC that is too long, and those were decoded.
            let _ = constructed::encode_destination_list(out, class.recipients());
        }),
        _ => Err(Failure::UNKNOWN_PROPERTY),
    }
}

/// A write, by the class's place.
pub(super) fn write(place: usize, property: P, index: Option<u32>, value: &[u8]) -> Result<Change, Failure> {
    match (property, index) {
        (P::PRIORITY, None) => {
            let parts = super::write::wires(value)?;
            let parts = <[Wire; 3]>::try_from(parts).map_err(|_| Failure::INVALID_INDEX)?;
            let [offnormal, fault, normal] = parts.map(priority);
            Ok(Change::Priority(place, Three([Some(offnormal?), Some(fault?), Some(normal?)])))
        }
        (P::PRIORITY, Some(index)) => {
            // The length of a fixed array is not written.
            let index = index.checked_sub(1).ok_or(Failure::WRITE_DENIED)?;
            let mut priorities = Three([None; 3]);
            let place_in = usize::try_from(index).map_err(|_| Failure::INVALID_INDEX)?;
            *priorities.0.get_mut(place_in).ok_or(Failure::INVALID_INDEX)? = Some(priority(wire(value)?)?);
            Ok(Change::Priority(place, priorities))
        }
        (_, Some(_)) => Err(Failure::NOT_AN_ARRAY),
        (P::ACK_REQUIRED, None) => Ok(Change::AckRequired(place, bits(value)?)),
        (P::RECIPIENT_LIST, None) => {
            let list = alarm::checked(alarm::destinations(value)?)?;
            Ok(Change::Recipients(place, list))
        }
        _ => Err(Failure::WRITE_DENIED),
    }
}

fn priority(value: Wire) -> Result<u8, Failure> {
    match value {
        Wire::Unsigned(priority) => u8::try_from(priority).map_err(|_| Failure::OUT_OF_RANGE),
        _ => Err(Failure::WRONG_TYPE),
    }
}
