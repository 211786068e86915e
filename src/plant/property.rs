//! Properties of other BACnet devices, as the mapping names them, and how their numbers become values.

use crate::point::{Fault, Kind, Value};
use crate::units::Energy;

/// Present_Value (ASHRAE 135, clause 21, BACnetPropertyIdentifier).
pub const PRESENT_VALUE: u32 = 85;

/// An object of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// BACnetObjectType, 0 to 1023.
    pub kind: u16,
    /// Instance, 0 to 4194302.
    pub instance: u32,
}

/// What an object's Present_Value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectClass {
    /// REAL.
    Analog,
    /// Double.
    Large,
    /// Inactive or active.
    Binary,
    /// A state, from 1.
    MultiState,
    /// Unsigned or INTEGER.
    Count,
    /// Something else, or it has none.
    Other,
}

impl ObjectRef {
    /// The types that a mapping can name: BACnetObjectType (clause 21), spelling, what its Present_Value is, and whether
    /// that has a priority array or is writable by its nature. Others are written as a number.
    pub const TYPES: &'static [(u16, &'static str, ObjectClass, bool)] = &[
        (0, "analog-input", ObjectClass::Analog, false),
        (1, "analog-output", ObjectClass::Analog, true),
        (2, "analog-value", ObjectClass::Analog, true),
        (3, "binary-input", ObjectClass::Binary, false),
        (4, "binary-output", ObjectClass::Binary, true),
        (5, "binary-value", ObjectClass::Binary, true),
        (8, "device", ObjectClass::Other, true),
        (12, "loop", ObjectClass::Analog, false),
        (13, "multi-state-input", ObjectClass::MultiState, false),
        (14, "multi-state-output", ObjectClass::MultiState, true),
        (17, "schedule", ObjectClass::Other, true),
        (19, "multi-state-value", ObjectClass::MultiState, true),
        (23, "accumulator", ObjectClass::Count, false),
        (24, "pulse-converter", ObjectClass::Analog, false),
        (28, "load-control", ObjectClass::Other, true),
        (45, "integer-value", ObjectClass::Count, true),
        (46, "large-analog-value", ObjectClass::Large, true),
        (48, "positive-integer-value", ObjectClass::Count, true),
        (54, "lighting-output", ObjectClass::Analog, true),
    ];

    /// A type from its spelling, or from its number.
    pub fn parse_kind(text: &str) -> Option<u16> {
        let named = Self::TYPES.iter().find(|row| row.1 == text).map(|row| row.0);
        named.or_else(|| text.parse().ok().filter(|kind| *kind <= 1023))
    }

    /// The spelling of its type, where it has one.
    pub fn kind_word(self) -> Option<&'static str> {
        Self::TYPES.iter().find(|row| row.0 == self.kind).map(|row| row.1)
    }

    /// What its Present_Value is.
    pub fn class(self) -> ObjectClass {
        Self::TYPES.iter().find(|row| row.0 == self.kind).map_or(ObjectClass::Other, |row| row.2)
    }

    /// Whether its Present_Value may be written; of an unknown type nobody can say no.
    pub fn writable(self) -> bool {
        Self::TYPES.iter().find(|row| row.0 == self.kind).is_none_or(|row| row.3)
    }
}

impl std::fmt::Display for ObjectRef {
    /// As in mapping files.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind_word() {
            Some(word) => write!(f, "{word}:{}", self.instance),
            None => write!(f, "{}:{}", self.kind, self.instance),
        }
    }
}

/// Properties that a mapping can name: BACnetPropertyIdentifier (clause 21) and spelling. Others are written as a number.
const PROPERTIES: &[(u32, &str)] = &[
    (PRESENT_VALUE, "present-value"),
    (15, "change-of-state-count"),
    (33, "elapsed-active-time"),
    (45, "high-limit"),
    (59, "low-limit"),
    (65, "max-pres-value"),
    (69, "min-pres-value"),
    (81, "out-of-service"),
    (104, "relinquish-default"),
    (108, "setpoint"),
    (112, "system-status"),
    (164, "tracking-value"),
    (178, "pulse-rate"),
    (190, "value-before-change"),
    (192, "value-set"),
];

/// A property from its spelling, or from its number (0 to 4194303).
pub fn property_number(text: &str) -> Result<u32, impl Iterator<Item = &'static str>> {
    let named = PROPERTIES.iter().find(|row| row.1 == text).map(|row| row.0);
    let number = named.or_else(|| text.parse().ok().filter(|number| *number < 1 << 22));
    number.ok_or_else(|| PROPERTIES.iter().map(|row| row.1))
}

/// Whether changes of a value are subscribed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cov {
    /// Never: it is polled.
    No,
    /// Where the device can, with its own increment.
    Own,
    /// Where the device can, with this increment, in the device's unit.
    Increment(f64),
}

/// A property that holds a number, and how it becomes a value: value = raw * scale + offset, in the point's unit.
#[derive(Debug, Clone, PartialEq)]
pub struct PropertyPlace {
    /// Of which object.
    pub object: ObjectRef,
    /// BACnetPropertyIdentifier.
    pub property: u32,
    /// From raw to the point's unit (unit conversion included).
    pub scale: f64,
    /// Added after scaling.
    pub offset: f64,
    /// Whether its changes are subscribed.
    pub cov: Cov,
}

/// A number as BACnet has it: whole or not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RawNumber {
    /// BOOLEAN, Unsigned, INTEGER, ENUMERATED.
    Whole(i128),
    /// REAL, Double.
    Real(f64),
}

impl PropertyPlace {
    /// The value of a point of this kind that the number stands for.
    ///
    /// NaN and infinities are `NotFinite`; what the kind cannot hold (2.5 as a state, 2 as a bool, a negative total) is
    /// `OutOfRange`. Whole numbers under a whole scale keep every digit; an energy is rounded to whole Wh.
    pub fn decode(&self, raw: RawNumber, kind: Kind) -> Result<Value, Fault> {
        #[expect(clippy::cast_possible_truncation, reason = "whole, and far below 2^63")]
        let exact = |number: f64| (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i128);
        if let (RawNumber::Whole(raw), Some(scale), Some(offset)) = (raw, exact(self.scale), exact(self.offset))
            && kind != Kind::Number
        {
            return whole(kind, raw.saturating_mul(scale).saturating_add(offset)).ok_or(Fault::OutOfRange);
        }
        #[expect(clippy::cast_precision_loss, reason = "a Number is an f64")]
        let raw = match raw {
            RawNumber::Whole(raw) => raw as f64,
            RawNumber::Real(raw) => raw,
        };
        let number = scaled(raw, self.scale) + self.offset;
        match kind {
            _ if !number.is_finite() => Err(Fault::NotFinite),
            Kind::Energy => Value::from_f64(kind, number.round()).ok_or(Fault::OutOfRange),
            Kind::Text => Err(Fault::Malformed),
            kind => Value::from_f64(kind, number).ok_or(Fault::OutOfRange),
        }
    }

    /// The number that stands for a value in the device.
    pub fn encode(&self, value: Value) -> f64 {
        let number = value.as_f64() - self.offset;
        let inverse = (1.0 / self.scale).round();
        if inverse.abs() > 1.0 && 1.0 / inverse == self.scale { number * inverse } else { number / self.scale }
    }
}

/// Dividing by 10 instead of multiplying by 0.1 gives the `f64` nearest to the decimal that is meant.
fn scaled(raw: f64, scale: f64) -> f64 {
    let inverse = (1.0 / scale).round();
    if inverse.abs() > 1.0 && 1.0 / inverse == scale { raw / inverse } else { raw * scale }
}

fn whole(kind: Kind, number: i128) -> Option<Value> {
    let count = u64::try_from(number).ok()?;
    match kind {
        Kind::Energy => Some(Value::Energy(Energy::from_wh(count))),
        Kind::Unsigned => Some(Value::Unsigned(count)),
        Kind::State => u16::try_from(count).ok().map(Value::State),
        Kind::Bool => (count <= 1).then_some(Value::Bool(count == 1)),
        Kind::Number | Kind::Text => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(scale: f64, offset: f64) -> PropertyPlace {
        let object = ObjectRef { kind: 0, instance: 3 };
        PropertyPlace { object, property: PRESENT_VALUE, scale, offset, cov: Cov::Own }
    }

    #[test]
    fn numbers_become_values_where_the_kind_can_hold_them() {
        use RawNumber::{Real, Whole};
        let decode = |raw, kind| place(1.0, 0.0).decode(raw, kind);
        assert_eq!(decode(Real(21.5), Kind::Number), Ok(Value::number(21.5).unwrap()));
        assert_eq!(decode(Real(f64::NAN), Kind::Number), Err(Fault::NotFinite));
        assert_eq!(decode(Whole(2), Kind::State), Ok(Value::State(2)));
        assert_eq!(decode(Real(2.5), Kind::State), Err(Fault::OutOfRange));
        assert_eq!(decode(Whole(2), Kind::Bool), Err(Fault::OutOfRange));
        assert_eq!(decode(Whole(-1), Kind::Unsigned), Err(Fault::OutOfRange));
        assert_eq!(decode(Real(1.0), Kind::Bool), Ok(Value::Bool(true)));
    }

    #[test]
    fn energies_keep_every_digit_and_the_line_goes_both_ways() {
        let kwh = place(1000.0, 0.0);
        let most = i128::from(u64::MAX / 1000);
        let wh = u64::MAX / 1000 * 1000;
        assert_eq!(kwh.decode(RawNumber::Whole(most), Kind::Energy), Ok(Value::Energy(Energy::from_wh(wh))));
        assert_eq!(kwh.decode(RawNumber::Whole(i128::MAX), Kind::Energy), Err(Fault::OutOfRange));
        assert_eq!(kwh.decode(RawNumber::Real(1.2346), Kind::Energy), Ok(Value::Energy(Energy::from_wh(1235))));
        let tenth = place(0.1, 0.0);
        let value = tenth.decode(RawNumber::Whole(3), Kind::Number).unwrap();
        assert_eq!((value, tenth.encode(value)), (Value::number(0.3).unwrap(), 3.0));
    }

    #[test]
    fn types_and_properties_are_named_or_numbered() {
        for (kind, word, ..) in ObjectRef::TYPES {
            assert_eq!(ObjectRef::parse_kind(word), Some(*kind));
        }
        assert_eq!(ObjectRef::parse_kind("130"), Some(130));
        assert_eq!(ObjectRef::parse_kind("1024"), None);
        assert_eq!(ObjectRef { kind: 130, instance: 7 }.to_string(), "130:7");
        assert!(matches!(property_number("present-value"), Ok(PRESENT_VALUE)));
        assert!(matches!(property_number("512"), Ok(512)));
        assert!(property_number("presentvalue").is_err());
    }
}
