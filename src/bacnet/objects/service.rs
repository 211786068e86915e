//! Out_Of_Service (clauses 12.2.10, 12.4.9 and their kin): what a client shows in place of a point, to try a screen or a
//! trend with it.
//!
//! It ends at the device: control, meters and the other protocols go on with the point as it is and never see what is
//! simulated. So only what the gateway *shows* may leave service. What a client commands may not: a command is in force, or
//! it is relinquished, and never accepted and kept back. Nor may energy totals, which are billed, and what reports alarms:
//! an alarm that a client could silence would be none. All of it is in service again after a restart.

use bacnet_types::enums::PropertyIdentifier as P;
use bacnet_types::primitives::ObjectIdentifier;

use super::Shown;
use super::point::commandable;
use super::trend::boolean;
use super::wire::{Wire, accept};
use super::write::wire;
use crate::bacnet::answer::Failure;
use crate::bacnet::own::Change;
use crate::plant::{ObjectFace, ObjectKind, PointDef};
use crate::point::Kind;

/// Out-of-service in Status_Flags.
const OUT_OF_SERVICE: u8 = 0b0001_0000;
/// Fault in Status_Flags.
const FAULT: u8 = 0b0100_0000;
/// BACnetReliability has no 11 (clause 21), and ends for us with revision 19's `referenced-object-fault`.
const LAST_RELIABILITY: u32 = 24;

/// What an object out of service shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::bacnet) struct Simulated {
    pub(in crate::bacnet) value: Wire,
    pub(in crate::bacnet) reliability: u32,
}

impl Simulated {
    /// Status_Flags without in-alarm: nothing that reports alarms is simulated.
    pub(in crate::bacnet) const fn flags(self) -> u8 {
        if self.reliability == 0 { OUT_OF_SERVICE } else { OUT_OF_SERVICE | FAULT }
    }
}

/// A checked write.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::bacnet) enum Service {
    /// Out of service, showing this to begin with.
    Out(Simulated),
    /// In service again.
    In,
    Value(Wire),
    Reliability(u32),
}

impl Service {
    /// What is shown after it.
    pub(in crate::bacnet) const fn after(self, before: Option<Simulated>) -> Option<Simulated> {
        match (self, before) {
            (Self::In, _) => None,
            // Written again: nothing changes.
            (Self::Out(_), Some(before)) => Some(before),
            (Self::Out(first), None) => Some(first),
            (Self::Value(value), Some(before)) => Some(Simulated { value, ..before }),
            (Self::Reliability(reliability), Some(before)) => Some(Simulated { reliability, ..before }),
            (Self::Value(_) | Self::Reliability(_), None) => None,
        }
    }
}

/// Whether an object may be taken out of service.
pub(super) fn may_leave(def: &PointDef, face: &ObjectFace) -> bool {
    kind_may_leave(face.kind) && def.kind != Kind::Energy && commandable(def, face).is_none() && face.alarm.is_none()
}

/// Whether one of its type may.
pub(super) const fn kind_may_leave(kind: ObjectKind) -> bool {
    !matches!(kind, ObjectKind::AnalogOutput | ObjectKind::BinaryOutput | ObjectKind::Accumulator)
}

/// A write to a property that is simulated. `before` are the changes of the same request that come first.
pub(super) fn write(
    shown: &Shown<'_>,
    object: ObjectIdentifier,
    property: P,
    value: &[u8],
    before: &[Change],
) -> Result<Change, Failure> {
    let face = shown.place;
    let simulated = before.iter().fold(shown.simulated(), |simulated, change| match change {
        Change::Service { face: other, service, .. } if *other == face => service.after(simulated),
        _ => simulated,
    });
    let service = match (property, simulated) {
        (P::OUT_OF_SERVICE, _) => match boolean(value)? {
            true => Service::Out(Simulated { value: shown.value(), reliability: shown.reliability() }),
            false => Service::In,
        },
        // It tracks the point.
        (_, None) => return Err(Failure::WRITE_DENIED),
        (P::PRESENT_VALUE, Some(_)) => {
            let written = wire(value)?;
            // What the point could have, and nothing else.
            accept(shown.def, shown.face, written)?;
            Service::Value(written)
        }
        (P::RELIABILITY, Some(_)) => match wire(value)? {
            Wire::Enumerated(code) if code <= LAST_RELIABILITY && code != 11 => Service::Reliability(code),
            Wire::Enumerated(_) => return Err(Failure::OUT_OF_RANGE),
            _ => return Err(Failure::WRONG_TYPE),
        },
        _ => return Err(Failure::WRITE_DENIED),
    };
    Ok(Change::Service { face, object, service })
}
