//! What is read from devices and written to them, as written: `source = { device = ... }` and `target = { device = ... }`.

use std::time::Duration;

use super::{FileDefaults, StatesWritten};
use crate::mapping::faces::{LAST_INSTANCE, ModbusWritten, ScalingWritten};
use crate::plant::{Cov, ObjectRef, PRESENT_VALUE, property_number};
use crate::units::Unit;
use crate::written::{At, Findings, Item, Place, Read, Table, did_you_mean};

/// Where a device has a value.
#[derive(Debug)]
pub enum FieldWritten {
    Register(ModbusWritten),
    Property(PropertyWritten),
}

/// A property of a BACnet device.
#[derive(Debug)]
pub struct PropertyWritten {
    pub object: At<ObjectRef>,
    pub property: At<u32>,
    pub scaling: ScalingWritten,
    pub unit: Option<At<Unit>>,
    pub cov: Cov,
    /// Where something is said of subscribing.
    pub cov_at: Option<Place>,
}

/// `target = { device = "...", ... }`
#[derive(Debug)]
pub struct TargetWritten {
    pub device: Option<At<String>>,
    pub at: Option<FieldWritten>,
    pub priority: Option<At<u8>>,
    pub deadband: Option<At<f64>>,
    pub refresh: Option<At<Duration>>,
    pub states: Option<StatesWritten>,
}

/// `[[target]]`: a target of a point that another file defines, such as one that the gateway computes.
#[derive(Debug)]
pub struct OutputWritten {
    pub point: Option<At<String>>,
    pub target: TargetWritten,
}

impl OutputWritten {
    pub fn read(mut t: Table<'_>, file: FileDefaults, f: &mut Findings) -> Self {
        let point = t.need("point", "the key of the point that is written, such as \"hall/heat_delivered\"", f);
        let this = Self { point, target: TargetWritten::of(&mut t, file, f) };
        t.finish(f);
        this
    }
}

impl FieldWritten {
    /// The rest of a table that names a device.
    pub fn read(t: &mut Table<'_>, file: FileDefaults, f: &mut Findings) -> Option<Self> {
        let unit = t.opt("unit", f);
        let (bacnet, modbus) = (t.item("bacnet"), ModbusWritten::is_in(t));
        match (bacnet, modbus) {
            (Some(item), true) => {
                let help = "a value stands in one place: a register, or a property";
                f.error("two-addresses", &item.place(), "`bacnet` is a second address", help);
                None
            }
            (Some(_), false) => PropertyWritten::read(t, unit, f).map(Self::Property),
            (None, true) => Some(Self::Register(ModbusWritten { unit, ..ModbusWritten::read(t, file, f)? })),
            (None, false) => {
                t.missing("input", "or holding, coil, discrete, bacnet: where the device has the value", f);
                None
            }
        }
    }
}

impl PropertyWritten {
    fn read(t: &mut Table<'_>, unit: Option<At<Unit>>, f: &mut Findings) -> Option<Self> {
        let object: Option<At<ObjectRef>> = t.opt("bacnet", f);
        let has_property = t.has("property");
        let property: Option<At<PropertyNumber>> = t.opt("property", f);
        let scaling = ScalingWritten::read(t, f);
        let wanted: Option<At<bool>> = t.opt("cov", f);
        let increment: Option<At<f64>> = t.opt("cov_increment", f);
        let object = object?;
        let property = match property {
            Some(at) => At { value: at.value.0, place: at.place },
            None if has_property => return None,
            None => At { value: PRESENT_VALUE, place: object.place.clone() },
        };
        if let Some(at) = increment.as_ref().filter(|at| at.value < 0.0) {
            f.error("out-of-range", &at.place, "an increment is not negative", "0 tells every change");
        }
        let cov = match (wanted.as_ref().map(|at| at.value), &increment) {
            (Some(false), Some(at)) => {
                let help = "leave out one of `cov` and `cov_increment`";
                f.error("two-wishes", &at.place, "an increment of what is not subscribed", help);
                Cov::No
            }
            (Some(false), None) => Cov::No,
            (_, Some(at)) => Cov::Increment(at.value.max(0.0)),
            (Some(true), None) => Cov::Own,
            // Devices subscribe objects by their Present_Value; other properties only where it is asked for.
            (None, None) => {
                if property.value == PRESENT_VALUE {
                    Cov::Own
                } else {
                    Cov::No
                }
            }
        };
        let cov_at = wanted.map(|at| at.place).or(increment.map(|at| at.place));
        Some(Self { object, property, scaling, unit, cov, cov_at })
    }
}

impl TargetWritten {
    /// One target, or a list of them.
    pub fn read_all(t: &mut Table<'_>, file: FileDefaults, f: &mut Findings) -> Vec<Self> {
        let Some(item) = t.item("target") else { return Vec::new() };
        let items = if item.is_list() { item.items() } else { vec![item] };
        items.iter().filter_map(|item| Self::read(item, file, f)).collect()
    }

    fn read(item: &Item<'_>, file: FileDefaults, f: &mut Findings) -> Option<Self> {
        let mut t = item.table(f)?;
        let this = Self::of(&mut t, file, f);
        t.finish(f);
        Some(this)
    }

    fn of(t: &mut Table<'_>, file: FileDefaults, f: &mut Findings) -> Self {
        Self {
            device: t.need("device", "the name of a [[device]]", f),
            priority: t.opt("priority", f),
            deadband: t.opt("deadband", f),
            refresh: t.opt("refresh", f),
            states: StatesWritten::read(t, f),
            at: FieldWritten::read(t, file, f),
        }
    }
}

/// "analog-input:3", or "130:7" for a type that has no name here.
impl Read for ObjectRef {
    fn read(item: &Item<'_>, f: &mut Findings) -> Option<Self> {
        let text = String::read(item, f)?;
        let (word, number) = text.split_once(':').unwrap_or((&text, ""));
        let kind = Self::parse_kind(word);
        if kind.is_none() {
            let help = did_you_mean(word, Self::TYPES.iter().map(|row| row.1));
            f.error("unknown-word", &item.place(), format!("`{word}` is no object type"), help);
        }
        let instance = number.parse::<u32>().ok().filter(|n| *n <= LAST_INSTANCE);
        if instance.is_none() {
            let message = format!("`{text}` has no instance");
            f.error("out-of-range", &item.place(), message, "write it like \"analog-input:3\", 0 to 4194302");
        }
        kind.zip(instance).map(|(kind, instance)| Self { kind, instance })
    }
}

/// "present-value", or 512 for a property that has no name here.
#[derive(Debug, Clone, Copy)]
struct PropertyNumber(u32);

impl Read for PropertyNumber {
    fn read(item: &Item<'_>, f: &mut Findings) -> Option<Self> {
        let text = match item.as_whole() {
            Some(number) => number.to_string(),
            None => String::read(item, f)?,
        };
        match property_number(&text) {
            Ok(number) => Some(Self(number)),
            Err(known) => {
                let help = did_you_mean(&text, known);
                f.error("unknown-word", &item.place(), format!("`{text}` is no property"), help);
                None
            }
        }
    }
}
