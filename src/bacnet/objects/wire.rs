//! Values of points as BACnet values of an object, both ways, and what their quality becomes.

use bacnet_encoding::primitives;
use bytes::BytesMut;

use super::put_text;
use crate::bacnet::answer::Failure;
use crate::plant::{ObjectFace, ObjectKind, PointDef};
use crate::point::{Fault, Kind, PointState, Reading, Text, Value};
use crate::units::Unit;

/// A primitive value of Present_Value and its kin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::bacnet) enum Wire {
    Null,
    Real(f32),
    Double(f64),
    Unsigned(u64),
    Signed(i32),
    Enumerated(u32),
    /// CharacterString; `None`: empty.
    Text(Option<Text>),
}

impl Wire {
    /// Append it, application-tagged.
    pub(in crate::bacnet) fn encode(self, out: &mut BytesMut) {
        match self {
            Self::Null => primitives::encode_app_null(out),
            Self::Real(value) => primitives::encode_app_real(out, value),
            Self::Double(value) => primitives::encode_app_double(out, value),
            Self::Unsigned(value) => primitives::encode_app_unsigned(out, value),
            Self::Signed(value) => primitives::encode_app_signed(out, value),
            Self::Enumerated(value) => primitives::encode_app_enumerated(out, value),
            Self::Text(text) => put_text(out, text.as_ref().map_or("", Text::as_str)),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "only compared")]
    pub(in crate::bacnet) fn number(self) -> Option<f64> {
        match self {
            Self::Real(value) => Some(f64::from(value)),
            Self::Double(value) => Some(value),
            Self::Unsigned(value) => Some(value as f64),
            Self::Signed(value) => Some(f64::from(value)),
            Self::Null | Self::Enumerated(_) | Self::Text(_) => None,
        }
    }

    /// Whether a subscriber that was told `self` must be told `new` (clause 13.1, table 13-1).
    pub(in crate::bacnet) fn moved(self, new: Self, increment: f64) -> bool {
        match (self.number(), new.number()) {
            (Some(old), Some(new)) if old.is_nan() || new.is_nan() => old.is_nan() != new.is_nan(),
            (Some(old), Some(new)) => old != new && (old - new).abs() >= increment,
            _ => self != new,
        }
    }
}

/// The unit in which the number of a point's values stands: energies are whole Wh whatever the point shows.
fn unit_of(def: &PointDef) -> Unit {
    if def.kind == Kind::Energy { Unit::WattHour } else { def.unit }
}

/// A number of the point in the unit of its face.
pub(super) fn to_face(def: &PointDef, face: &ObjectFace, number: f64) -> f64 {
    unit_of(def).convert(number, face.unit).unwrap_or(number)
}

/// Scale of an Accumulator: value in Units = Present_Value x 10^scale (clause 12.1.10, integer-scale).
pub(super) fn accumulator_scale(def: &PointDef, face: &ObjectFace) -> i32 {
    let from = unit_of(def);
    let exponent = (from.to_base() / face.unit.to_base()).log10().round();
    let exact = from.convert(1.0, face.unit).is_some_and(|one| (one / 10f64.powf(exponent) - 1.0).abs() < 1e-9);
    #[expect(clippy::cast_possible_truncation, reason = "a power of ten between two units of one quantity")]
    if exact && def.kind != Kind::Number { exponent as i32 } else { 0 }
}

/// A value of the point as its object shows it.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to integer casts saturate, which is what a face of a smaller range should show"
)]
pub(super) fn show(def: &PointDef, face: &ObjectFace, value: Value) -> Wire {
    let number = || to_face(def, face, value.as_f64());
    match face.kind {
        ObjectKind::AnalogInput | ObjectKind::AnalogOutput | ObjectKind::AnalogValue => Wire::Real(number() as f32),
        ObjectKind::LargeAnalogValue => Wire::Double(number()),
        ObjectKind::IntegerValue => Wire::Signed(number().round() as i32),
        ObjectKind::BinaryInput | ObjectKind::BinaryOutput | ObjectKind::BinaryValue => {
            Wire::Enumerated(u32::from(value.as_bool()))
        }
        // States count from 1 (clause 12.20.4); 0 would be no state at all.
        ObjectKind::MultiStateInput | ObjectKind::MultiStateValue => {
            Wire::Unsigned(value.as_u64().unwrap_or_else(|| value.as_f64().round() as u64).max(1))
        }
        ObjectKind::Accumulator => match value.as_u64() {
            // An integer scale keeps every single Wh.
            Some(count) if accumulator_scale(def, face) != 0 || unit_of(def) == face.unit => Wire::Unsigned(count),
            _ => Wire::Unsigned(number().max(0.0) as u64),
        },
        ObjectKind::PositiveIntegerValue => match value.as_u64() {
            Some(count) if unit_of(def) == face.unit => Wire::Unsigned(count),
            _ => Wire::Unsigned(number().round().max(0.0) as u64),
        },
        ObjectKind::CharacterStringValue => Wire::Text(match value {
            Value::Text(text) => Some(text),
            _ => None,
        }),
    }
}

/// A number in the type of Present_Value; it saturates.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
pub(in crate::bacnet) fn kindred(kind: ObjectKind, number: f64) -> Wire {
    match kind {
        ObjectKind::LargeAnalogValue => Wire::Double(number),
        ObjectKind::IntegerValue => Wire::Signed(number.round() as i32),
        ObjectKind::PositiveIntegerValue => Wire::Unsigned(number.round().max(0.0) as u64),
        _ => Wire::Real(number as f32),
    }
}

/// What an object shows whose point never had a value: not a number where the type has that, else the lowest; its
/// Status_Flags and Reliability say that it means nothing.
const fn nothing(kind: ObjectKind) -> Wire {
    match kind {
        ObjectKind::AnalogInput | ObjectKind::AnalogOutput | ObjectKind::AnalogValue => Wire::Real(f32::NAN),
        ObjectKind::LargeAnalogValue => Wire::Double(f64::NAN),
        ObjectKind::IntegerValue => Wire::Signed(0),
        ObjectKind::BinaryInput | ObjectKind::BinaryOutput | ObjectKind::BinaryValue => Wire::Enumerated(0),
        ObjectKind::MultiStateInput | ObjectKind::MultiStateValue => Wire::Unsigned(1),
        ObjectKind::Accumulator | ObjectKind::PositiveIntegerValue => Wire::Unsigned(0),
        ObjectKind::CharacterStringValue => Wire::Text(None),
    }
}

/// Present_Value.
pub(in crate::bacnet) fn present(def: &PointDef, face: &ObjectFace, state: Option<&PointState>) -> Wire {
    let none = || def.absent.and_then(|number| Value::from_f64(def.kind, number));
    let value = match (state, def.commandable()) {
        // "None" is a value of a command, not a missing one; the last limit there was must not look like the present one.
        (Some(state), Some(command)) if state.reading() == Reading::Bad(Fault::Absent) => {
            none().or(Some(command.relinquish_default))
        }
        (Some(state), Some(command)) => state.shown().or(Some(command.relinquish_default)),
        (Some(state), None) => state.shown(),
        (None, Some(command)) => Some(command.relinquish_default),
        (None, None) => None,
    };
    value.map_or(nothing(face.kind), |value| show(def, face, value))
}

/// BACnetReliability (clause 21) of a point.
pub(in crate::bacnet) fn reliability(def: &PointDef, state: Option<&PointState>) -> u32 {
    const NO_FAULT: u32 = 0;
    const UNRELIABLE_OTHER: u32 = 7;
    const COMMUNICATION_FAILURE: u32 = 12;
    match state.map_or(Reading::Bad(Fault::NeverRead), PointState::reading) {
        Reading::Good(_) => NO_FAULT,
        Reading::Uncertain(..) => UNRELIABLE_OTHER,
        Reading::Bad(Fault::Absent) if def.commandable().is_some() => NO_FAULT,
        Reading::Bad(Fault::NeverRead | Fault::NoCommunication | Fault::Offline) => COMMUNICATION_FAILURE,
        Reading::Bad(
            Fault::Refused(_)
            | Fault::Absent
            | Fault::Missing
            | Fault::NotFinite
            | Fault::OutOfRange
            | Fault::Malformed,
        ) => UNRELIABLE_OTHER,
    }
}

/// Status_Flags as the octet of its bit string: in-alarm, fault, overridden, out-of-service from the top; in-alarm
/// belongs to the event state, which is not known here (clause 12.2.7).
pub(in crate::bacnet) fn status_flags(def: &PointDef, state: Option<&PointState>) -> u8 {
    if reliability(def, state) == 0 { 0 } else { 0b0100_0000 }
}

/// How many states a multi-state object has.
pub(super) fn states(def: &PointDef) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let ranged = def.range.map_or(1, |(_, high)| high as u64);
    let named = def.texts.len() as u64;
    if named > 0 { named } else { ranged.max(1) }
}

/// A written value as a value of the point, or the Error of clause 15.9.1.3.
pub(super) fn accept(def: &PointDef, face: &ObjectFace, written: Wire) -> Result<Value, Failure> {
    let number = match (face.kind, written) {
        (ObjectKind::AnalogInput | ObjectKind::AnalogOutput | ObjectKind::AnalogValue, Wire::Real(real)) => {
            shortest(real)
        }
        (ObjectKind::LargeAnalogValue, Wire::Double(double)) => double,
        (ObjectKind::IntegerValue, Wire::Signed(number)) => f64::from(number),
        (ObjectKind::PositiveIntegerValue | ObjectKind::Accumulator, Wire::Unsigned(count)) => {
            #[expect(clippy::cast_precision_loss, reason = "what is beyond 2^53 is refused as a value below")]
            let number = count as f64;
            number
        }
        (
            ObjectKind::BinaryInput | ObjectKind::BinaryOutput | ObjectKind::BinaryValue,
            Wire::Enumerated(bit @ (0 | 1)),
        ) => f64::from(bit),
        (ObjectKind::BinaryInput | ObjectKind::BinaryOutput | ObjectKind::BinaryValue, Wire::Enumerated(_)) => {
            return Err(Failure::OUT_OF_RANGE);
        }
        (ObjectKind::MultiStateInput | ObjectKind::MultiStateValue, Wire::Unsigned(state)) => {
            let state = u16::try_from(state).map_err(|_| Failure::OUT_OF_RANGE)?;
            if state == 0 || u64::from(state) > states(def) {
                return Err(Failure::OUT_OF_RANGE);
            }
            f64::from(state)
        }
        _ => return Err(Failure::WRONG_TYPE),
    };
    if !number.is_finite() {
        return Err(Failure::OUT_OF_RANGE);
    }
    let number = snap(def, face.unit.convert(number, unit_of(def)).unwrap_or(number));
    if !def.admits(number) {
        return Err(Failure::OUT_OF_RANGE);
    }
    Value::from_f64(def.kind, number).ok_or(Failure::OUT_OF_RANGE)
}

/// The number that was meant: 52.3 as a REAL is 52.29999923706055, and a range must not be missed by that.
fn shortest(real: f32) -> f64 {
    real.to_string().parse().unwrap_or_else(|_| f64::from(real))
}

/// A bound or the "none" value that the number misses only by the rounding of unit conversion.
fn snap(def: &PointDef, number: f64) -> f64 {
    let bounds = def.range.map(|(low, high)| [low, high]).into_iter().flatten();
    bounds.chain(def.absent).find(|bound| (number - bound).abs() <= bound.abs() * 1e-9).unwrap_or(number)
}
