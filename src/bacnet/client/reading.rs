//! What a device's answer says of a point: its value, and how far the device itself stands by it (clauses 12.1.9, 12.1.13).

use super::Datum;
use super::wire::{self, Found};
use crate::plant::{PropertyPlace, RawNumber};
use crate::point::{Doubt, Fault, Kind, Reading, Text, Value};

/// Status_Flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Flags {
    /// Reliability is not no-fault-detected.
    pub(super) fault: bool,
    /// Its value does not come from its input, or does not go to its output.
    pub(super) out_of_service: bool,
}

impl Flags {
    /// From the property; `None` where it is no Status_Flags.
    pub(super) fn of(datum: &Datum) -> Option<Self> {
        let bits = wire::bits(datum)?;
        Some(Self { fault: *bits.get(1)?, out_of_service: *bits.get(3)? })
    }
}

/// The number in a property.
const fn number(datum: &Datum) -> Option<RawNumber> {
    Some(match datum {
        Datum::Bool(yes) => RawNumber::Whole(*yes as i128),
        Datum::Unsigned(count) => RawNumber::Whole(*count as i128),
        Datum::Signed(count) => RawNumber::Whole(*count as i128),
        Datum::Enumerated(count) => RawNumber::Whole(*count as i128),
        Datum::Real(number) => RawNumber::Real(*number as f64),
        Datum::Double(number) => RawNumber::Real(*number),
        Datum::Null | Datum::Text(_) | Datum::Object(_) | Datum::Other(_) => return None,
    })
}

/// The value in a property.
pub(super) fn value(place: &PropertyPlace, kind: Kind, datum: &Datum) -> Result<Value, Fault> {
    match datum {
        Datum::Null => Err(Fault::Absent),
        Datum::Text(text) if kind == Kind::Text => Text::new(text).map(Value::Text).ok_or(Fault::Absent),
        other => number(other).ok_or(Fault::Malformed).and_then(|raw| place.decode(raw, kind)),
    }
}

/// The reading of a point.
pub(super) fn reading(
    place: &PropertyPlace,
    kind: Kind,
    found: &Found,
    flags: Flags,
    reliability: Option<u32>,
) -> Reading {
    let datum = match found {
        Ok(datum) => datum,
        Err((_, code)) => return Reading::Bad(Fault::Refused(u16::try_from(*code).unwrap_or(u16::MAX))),
    };
    let value = match value(place, kind, datum) {
        Ok(value) => value,
        Err(fault) => return Reading::Bad(fault),
    };
    if flags.fault
        && let Some(fault) = reliability.and_then(fault)
    {
        return Reading::Bad(fault);
    }
    if flags.fault || flags.out_of_service { Reading::Uncertain(value, doubt(flags)) } else { Reading::Good(value) }
}

const fn doubt(flags: Flags) -> Doubt {
    if flags.out_of_service { Doubt::OutOfService } else { Doubt::Flagged }
}

/// BACnetReliability (clause 21) under which there is no measurement; under the rest there is one to doubt.
const fn fault(reliability: u32) -> Option<Fault> {
    match reliability {
        // no-sensor, open-loop, shorted-loop, no-output
        1 | 4 | 5 | 6 => Some(Fault::Absent),
        // over-range, under-range
        2 | 3 => Some(Fault::OutOfRange),
        // communication-failure
        12 => Some(Fault::NoCommunication),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plant::{Cov, ObjectRef, PRESENT_VALUE};

    #[test]
    fn a_device_that_does_not_stand_by_its_value_is_not_believed() {
        let object = ObjectRef { kind: 0, instance: 3 };
        let place = PropertyPlace { object, property: PRESENT_VALUE, scale: 0.5, offset: 0.0, cov: Cov::Own };
        let read = |found: Found, fault, out_of_service, reliability| {
            reading(&place, Kind::Number, &found, Flags { fault, out_of_service }, reliability)
        };
        let value = Value::number(10.5).unwrap();
        let real = || Ok(Datum::Real(21.0));
        assert_eq!(read(real(), false, false, Some(0)), Reading::Good(value));
        assert_eq!(read(real(), true, false, None), Reading::Uncertain(value, Doubt::Flagged));
        assert_eq!(read(real(), true, false, Some(7)), Reading::Uncertain(value, Doubt::Flagged));
        assert_eq!(read(real(), true, false, Some(4)), Reading::Bad(Fault::Absent));
        assert_eq!(read(real(), true, false, Some(12)), Reading::Bad(Fault::NoCommunication));
        assert_eq!(read(real(), false, true, Some(0)), Reading::Uncertain(value, Doubt::OutOfService));
        assert_eq!(read(Err((1, 31)), false, false, None), Reading::Bad(Fault::Refused(31)));
        assert_eq!(read(Ok(Datum::Real(f32::NAN)), false, false, None), Reading::Bad(Fault::NotFinite));
        assert_eq!(read(Ok(Datum::Null), false, false, None), Reading::Bad(Fault::Absent));
        assert_eq!(read(Ok(Datum::Text("21".into())), false, false, None), Reading::Bad(Fault::Malformed));
        let flags = Flags::of(&Datum::Other(vec![0x82, 4, 0x50])).unwrap();
        assert_eq!(flags, Flags { fault: true, out_of_service: true });
        assert_eq!(Flags::of(&Datum::Other(vec![0x82, 6, 0x40])), None);
    }
}
