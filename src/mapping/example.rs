//! Worked examples of a profile: raw registers and what they mean, evaluated.

use super::faces::in_unit;
use super::written::{ExampleWritten, Expected, FieldWritten, PointWritten, ProfileFile, SourceWritten};
use crate::plant::{Codec, DevicePlace, MeterRole, RegisterPlace, RegisterType, Table, WordOrder};
use crate::point::{Fault, Kind, Value};
use crate::units::Unit;
use crate::written::{Findings, did_you_mean};

/// Evaluate all examples of a profile.
pub fn check(profile: &ProfileFile, f: &mut Findings) {
    for example in &profile.examples {
        evaluate(example, profile, f);
    }
}

fn evaluate(example: &ExampleWritten, profile: &ProfileFile, f: &mut Findings) -> Option<()> {
    let name = example.point.as_ref()?;
    let named = |point: &&PointWritten| point.name.as_ref().is_some_and(|at| at.value == name.value);
    let Some(point) = profile.points.iter().find(named) else {
        let known = profile.points.iter().filter_map(|point| point.name.as_ref()).map(|at| at.value.as_str());
        let help = did_you_mean(&name.value, known);
        f.error("unknown-reference", &name.place, format!("there is no point `{}`", name.value), help);
        return None;
    };
    let (raw, expected) = (example.raw.as_ref()?, example.value.as_ref()?);
    if let SourceWritten::Device { at: Some(field), .. } = &point.source.value
        && matches!(**field, FieldWritten::Property(_))
    {
        f.error("example-fails", &name.place, format!("`{}` has no registers", name.value), "leave the example out");
        return None;
    }
    let kind = kind_of(point);
    let register = place_of(point, &mut Findings::default())?;
    let codec = register.codec.clone();
    let (first, end) = register.span();
    let length = usize::try_from(end - first).unwrap_or(usize::MAX);
    // A bit is one register of an example: 0 or 1.
    let found = match register.table {
        Table::Coil | Table::Discrete => Codec::plain(RegisterType::U16).decode(&raw.value, kind),
        Table::Input | Table::Holding if raw.value.len() != length => Err(Fault::Malformed),
        Table::Input | Table::Holding => {
            u16::try_from(first).map_or(Err(Fault::Malformed), |first| register.decode(first, &raw.value, kind))
        }
    };
    if found == Err(Fault::Malformed) {
        let message = format!("it takes {length} registers, not {}", raw.value.len());
        f.error("example-fails", &raw.place, message, "write them in the order of their addresses");
    } else if !meets(found, expected.value) {
        let message = format!("these registers mean {}, not {}", shown(found), shown_expected(expected.value));
        f.error("example-fails", &expected.place, message, other_orders(&codec, &raw.value, kind, expected.value));
    }
    Some(())
}

fn kind_of(point: &PointWritten) -> Kind {
    let role = point.role.as_ref().and_then(|at| MeterRole::parse(&at.value));
    point.kind.as_ref().map(|at| at.value).or(role.map(MeterRole::kind)).unwrap_or(Kind::Number)
}

fn place_of(point: &PointWritten, f: &mut Findings) -> Option<RegisterPlace> {
    let SourceWritten::Device { at: Some(field), extra, .. } = &point.source.value else { return None };
    let FieldWritten::Register(modbus) = &**field else { return None };
    let unit = point.unit.written().map_or(Unit::None, |at| at.value);
    let written = modbus.unit.as_ref().map_or(unit, |at| at.value);
    let codec = match &modbus.codec {
        Some(codec) => in_unit(codec, written, unit)?,
        None => Codec::plain(RegisterType::U16),
    };
    let mut place = DevicePlace::Register(RegisterPlace::plain(modbus.table, modbus.address.value, codec));
    extra.apply(&mut place, modbus.base, f);
    match place {
        DevicePlace::Register(place) => Some(place),
        DevicePlace::Property(_) => None,
    }
}

/// Equal up to what a 32-bit float can tell apart.
fn meets(found: Result<Value, Fault>, expected: Expected) -> bool {
    match (found, expected) {
        (Ok(value), Expected::Number(number)) if value.kind() != Kind::Text => {
            let value = value.as_f64();
            (value - number).abs() <= 1e-6 * number.abs().max(1e-3)
        }
        (Ok(Value::Text(said)), Expected::Text(expected)) => said == expected,
        // NaN is how a floating point register says it.
        (Err(fault), Expected::Absent) => matches!(fault, Fault::Absent | Fault::NotFinite),
        _ => false,
    }
}

/// The first cause of wrong readings is the order of words: say which one would fit.
fn other_orders(codec: &Codec, raw: &[u16], kind: Kind, expected: Expected) -> String {
    let fits = |order: WordOrder| meets(Codec { order, ..codec.clone() }.decode(raw, kind), expected);
    match WordOrder::TABLE.iter().find(|(order, _)| fits(*order)) {
        Some((_, word)) => format!("with order = \"{word}\" they would"),
        None => "no word order gives that: look at type, scale, offset and unit".to_owned(),
    }
}

fn shown(found: Result<Value, Fault>) -> String {
    match found {
        Ok(value) => value.to_string(),
        Err(fault) => format!("\"{fault}\""),
    }
}

fn shown_expected(expected: Expected) -> String {
    match expected {
        Expected::Number(number) => number.to_string(),
        Expected::Text(text) => format!("\"{text}\""),
        Expected::Absent => "\"absent\"".to_owned(),
    }
}
