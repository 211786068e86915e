//! What stands in devices: places that are read or written, checked against the device's link and the point's kind.

use std::time::Duration;

use super::build::{Builder, Layout, taken};
use super::written::{FieldWritten, PropertyWritten, StatesWritten, TargetWritten, a, kind_word};
use crate::plant::{
    Codec, DeviceId, DevicePlace, DeviceWrite, Link, ModbusLine, ObjectClass, ObjectRef, PRESENT_VALUE, PointDef,
    PropertyPlace, RegisterPlace, RegisterType, Table, WritePlace,
};
use crate::point::{Kind, PointId, Priority};
use crate::written::{At, Place};

/// The priority of what the gateway writes, where nothing is said: below people (8) and above schedules (16).
const PRIORITY: u8 = 14;

/// Up to here priorities are people's and safety's (ASHRAE 135, table 19-1).
const KEPT: u8 = 8;

/// How often a target is written although nothing changed, where nothing is said.
const REFRESH: Duration = Duration::from_secs(60);

/// What two targets must not share.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TargetKey {
    Register(DeviceId, Table, u16),
    Property(DeviceId, ObjectRef, u32),
}

impl Builder {
    /// Where a device has a point's value; `None` where that cannot be.
    pub fn field_place(
        &mut self,
        written: &FieldWritten,
        device: DeviceId,
        def: &PointDef,
        label: &str,
    ) -> Option<DevicePlace> {
        let device = self.plant.device(device)?;
        let fits = match (&device.link, written) {
            // Its link was refused, and says nothing of its protocol.
            (Link::Modbus { line: ModbusLine::Tcp { host, .. }, .. }, _) if host.is_empty() => true,
            (Link::Modbus { .. }, FieldWritten::Register(_)) | (Link::Bacnet { .. }, FieldWritten::Property(_)) => true,
            _ => false,
        };
        let name = device.name.clone();
        match written {
            FieldWritten::Register(modbus) => {
                if !fits {
                    let message = format!("`{name}` is a BACnet device and has no registers");
                    let help = "write bacnet = \"analog-input:3\"";
                    self.f.error("place-does-not-fit", &modbus.address.place, message, help);
                    return None;
                }
                let codec = self.codec(modbus, def, label)?;
                let (table, address) = (modbus.table, modbus.address.value);
                Some(DevicePlace::Register(RegisterPlace::plain(table, address, codec)))
            }
            FieldWritten::Property(property) => {
                if !fits {
                    let message = format!("`{name}` is a Modbus device and has no objects");
                    let help = "write input or holding, with a type";
                    self.f.error("place-does-not-fit", &property.object.place, message, help);
                    return None;
                }
                self.property(property, def, label).map(DevicePlace::Property)
            }
        }
    }

    fn property(&mut self, written: &PropertyWritten, def: &PointDef, label: &str) -> Option<PropertyPlace> {
        let (object, place) = (written.object.value, &written.object.place);
        let line = written.scaling.line(&mut self.f);
        let (scale, offset) = (line.scale, line.offset);
        let shown = |shown| in_unit(line.scale, line.offset, shown, def);
        let (scale, offset) = self.unit_fits(written.unit.as_ref(), def, label, shown).unwrap_or((scale, offset));
        let class = object.class();
        let has = a(kind_word(def.kind));
        if written.property.value == PRESENT_VALUE && !holds(class, def.kind) {
            let message = format!("`{label}` is {has} and cannot be {} of {object}", what(class));
            self.f.error("kind-does-not-fit", place, message, "take another object, or another `kind`");
            return None;
        }
        if matches!(def.kind, Kind::Bool | Kind::State | Kind::Text) && (scale != 1.0 || offset != 0.0) {
            let message = format!("`{label}` is {has} and is not scaled");
            self.f.error("kind-does-not-fit", place, message, "leave out scale, offset and two_point");
        }
        if def.kind == Kind::Unsigned && (scale.fract() != 0.0 || offset.fract() != 0.0) {
            let message = format!("`{label}` counts in whole numbers");
            self.f.error("kind-does-not-fit", place, message, "a whole scale, or kind = \"number\"");
        }
        if def.kind == Kind::Energy && class == ObjectClass::Analog {
            let message = "a 32-bit float of Wh loses single Wh above 16.78 MWh";
            self.f.warning("float-energy", place, message, "use an accumulator, where there is one");
        }
        Some(PropertyPlace { object, property: written.property.value, scale, offset, cov: written.cov })
    }

    /// Mirror a point into devices.
    pub fn targets(&mut self, written: &[TargetWritten], id: PointId, layout: Layout, label: &str) {
        let Some(def) = self.plant.point(id).cloned().filter(|_| !layout.hidden) else { return };
        for target in written {
            self.target(target, &def, layout, label);
        }
    }

    fn target(&mut self, written: &TargetWritten, def: &PointDef, layout: Layout, label: &str) -> Option<()> {
        let name = written.device.as_ref()?;
        let name = At { value: self.fill(&name.value, layout), place: name.place.clone() };
        let priority = self.target_priority(written.priority.as_ref());
        let device = self.device_named(&name)?;
        let field = written.at.as_ref()?;
        let at = match field {
            FieldWritten::Register(modbus) => &modbus.address.place,
            FieldWritten::Property(property) => &property.object.place,
        };
        if def.kind == Kind::Text {
            let message = format!("`{label}` is a text, and those are only read");
            self.f.error("kind-does-not-fit", at, message, "leave the target out");
            return None;
        }
        let mut place = self.field_place(field, device, def, label)?;
        if let Some(states) = &written.states {
            self.target_states(states, &mut place, def, label);
        }
        let echo = |read: &&crate::plant::DevicePoint| read.point == def.id && same(&read.place, &place);
        if self.plant.device(device)?.points.iter().any(|read| echo(&read)) {
            let message = format!("`{label}` is read from where it would be written");
            self.f.error("echo", at, message, "read it from, or write it to, another place");
        }
        for key in keys(device, &place) {
            if let Some(first) = taken(&mut self.targets, key, at) {
                let help = format!("also at {}", first.line());
                self.f.error("target-overlap", at, "another point is written there already", help);
                break;
            }
        }
        let place = match (place, field) {
            (DevicePlace::Register(place), _) => {
                self.register_target(written, &place, def, at, label);
                WritePlace::Register(place)
            }
            (DevicePlace::Property(place), FieldWritten::Property(property)) => {
                self.property_target(property, &place, at);
                WritePlace::Property { place, priority }
            }
            (DevicePlace::Property(_), FieldWritten::Register(_)) => return None,
        };
        if let Some(at) = written.deadband.as_ref().filter(|at| at.value < 0.0) {
            self.f.error("out-of-range", &at.place, "a deadband is not negative", "0 writes every change");
        }
        let refresh = written.refresh.as_ref().map_or(REFRESH, |at| at.value);
        if let Some(at) = written.refresh.as_ref().filter(|at| at.value < Duration::from_secs(1)) {
            self.f.error("out-of-range", &at.place, "no device is refreshed that often", "1s or more");
        }
        let deadband = written.deadband.as_ref().map_or(def.deadband, |at| at.value.max(0.0));
        let write = DeviceWrite { point: def.id, place, deadband, refresh };
        self.plant.devices.get_mut(usize::from(device.0))?.writes.push(write);
        Some(())
    }

    /// What is written for each state of the point: exactly one number, which the register can hold.
    fn target_states(&mut self, written: &StatesWritten, place: &mut DevicePlace, def: &PointDef, label: &str) {
        let at = written.place();
        let register = match place {
            DevicePlace::Register(place) if matches!(place.table, Table::Input | Table::Holding) => place,
            _ => {
                self.f.error("place-does-not-fit", at, "only registers have `states`", "leave it out");
                return;
            }
        };
        if def.kind != Kind::State {
            let message = format!("`{label}` is {} and has no states", a(kind_word(def.kind)));
            self.f.error("kind-does-not-fit", at, message, "leave it out");
            return;
        }
        let pairs = written.pairs(&mut self.f);
        for (state, _) in (1u16..).zip(&def.texts) {
            let raws = pairs.iter().filter(|(_, meant)| *meant == state).count();
            if raws != 1 {
                let message = format!("state {state} of `{label}` is here {raws} times");
                self.f.error("states-do-not-fit", at, message, "one number that is written for each state");
            }
        }
        if let Some((raw, _)) = pairs.iter().find(|(raw, _)| !register.codec.kind.holds(*raw)) {
            let message = format!("{raw} does not fit into this {}", register.codec.kind.as_str());
            self.f.error("range-does-not-fit", at, message, "take another type");
        }
        register.codec.states = pairs;
    }

    fn target_priority(&mut self, written: Option<&At<u8>>) -> Priority {
        let number = written.map_or(PRIORITY, |at| at.value);
        if let Some(at) = written.filter(|at| (1..=KEPT).contains(&at.value)) {
            let message = format!("priority {number} belongs to people and safety");
            self.f.error("priority-too-high", &at.place, message, "9 to 16; 14 where nothing is said");
        }
        Priority::new(number).unwrap_or_else(|| {
            if let Some(at) = written {
                self.f.error("out-of-range", &at.place, format!("{number} is no priority"), "9 to 16");
            }
            Priority::LOWEST
        })
    }

    fn register_target(
        &mut self,
        written: &TargetWritten,
        place: &RegisterPlace,
        def: &PointDef,
        at: &Place,
        label: &str,
    ) {
        if !matches!(place.table, Table::Coil | Table::Holding) {
            self.f.error("place-does-not-fit", at, "nobody writes inputs", "a coil or a holding register");
        } else if place.table == Table::Holding {
            self.range_fits(&place.codec, def, at, label);
        }
        if let Some(at) = &written.priority {
            self.f.error("not-for-this-link", &at.place, "a register has no priority", "leave it out");
        }
    }

    fn property_target(&mut self, written: &PropertyWritten, place: &PropertyPlace, at: &Place) {
        if place.property == PRESENT_VALUE && !place.object.writable() {
            let message = format!("{} is not commanded", place.object);
            self.f.error("place-does-not-fit", at, message, "take an output or a value object");
        }
        if let Some(at) = &written.cov_at {
            self.f.error("two-wishes", at, "what is written is read back, not subscribed", "leave it out");
        }
    }
}

fn in_unit(scale: f64, offset: f64, shown: crate::units::Unit, def: &PointDef) -> Option<(f64, f64)> {
    let codec = Codec { scale, offset, ..Codec::plain(RegisterType::F64) };
    super::faces::in_unit(&codec, shown, def.unit).map(|codec| (codec.scale, codec.offset))
}

/// Whether a Present_Value of this class can be a value of this kind.
const fn holds(class: ObjectClass, kind: Kind) -> bool {
    use ObjectClass as C;
    match kind {
        Kind::Bool => matches!(class, C::Binary | C::Other),
        Kind::Number => matches!(class, C::Analog | C::Large | C::Count | C::Other),
        Kind::Unsigned => matches!(class, C::Count | C::MultiState | C::Other),
        Kind::State => matches!(class, C::MultiState | C::Count | C::Other),
        Kind::Energy => matches!(class, C::Count | C::Large | C::Analog | C::Other),
        Kind::Text => matches!(class, C::Other),
    }
}

const fn what(class: ObjectClass) -> &'static str {
    match class {
        ObjectClass::Analog | ObjectClass::Large => "the number",
        ObjectClass::Binary => "the yes or no",
        ObjectClass::MultiState => "the state",
        ObjectClass::Count => "the count",
        ObjectClass::Other => "the value",
    }
}

fn same(one: &DevicePlace, other: &DevicePlace) -> bool {
    match (one, other) {
        (DevicePlace::Register(one), DevicePlace::Register(other)) => {
            (one.table, one.address) == (other.table, other.address)
        }
        (DevicePlace::Property(one), DevicePlace::Property(other)) => {
            (one.object, one.property) == (other.object, other.property)
        }
        _ => false,
    }
}

/// Everything that a place takes.
fn keys(device: DeviceId, place: &DevicePlace) -> Vec<TargetKey> {
    match place {
        DevicePlace::Property(place) => vec![TargetKey::Property(device, place.object, place.property)],
        DevicePlace::Register(place) => {
            let bit = matches!(place.table, Table::Coil | Table::Discrete);
            let width = if bit { 1 } else { place.codec.kind.width() };
            let last = place.address.saturating_add(width - 1);
            (place.address..=last).map(|address| TargetKey::Register(device, place.table, address)).collect()
        }
    }
}
