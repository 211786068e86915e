//! Faces: where the BMS finds a point, as registers and as objects, and that no two are in one place.

use super::build::{Builder, Layout, taken};
use super::faces::{
    BacnetWritten, FaceWritten, LAST_INSTANCE, ModbusWritten, in_unit, note_table, objects_for, table_fits, table_word,
};
use super::written::{a, kind_word};
use crate::plant::{Codec, Note, NoteKind, ObjectFace, ObjectKind, PointDef, RegisterFace, RegisterType, Table};
use crate::point::{Kind, PointId, Value};
use crate::units::Unit;
use crate::written::{At, Place};

impl Builder {
    /// Show a point.
    pub fn face(&mut self, face: &FaceWritten, id: PointId, layout: Layout, label: &str) {
        let Some(def) = self.plant.point(id).cloned().filter(|_| !layout.hidden) else { return };
        if let Some(modbus) = &face.modbus {
            self.register_face(modbus, &def, layout, label);
        }
        if let Some(bacnet) = &face.bacnet {
            self.object_face(bacnet, &def, layout, label);
        }
    }

    fn register_face(&mut self, written: &ModbusWritten, def: &PointDef, layout: Layout, label: &str) {
        let place = &written.address.place;
        let Some(codec) = self.codec(written, def, label) else { return };
        let Ok(address) = u16::try_from(u32::from(written.address.value) + layout.shift) else {
            let message =
                format!("{} {} of this zone is beyond 65535", table_word(written.table), written.address.value);
            self.f.error("out-of-range", place, message, "a zone's index times the stride is added");
            return;
        };
        let writable = def.commandable().is_some() && matches!(written.table, Table::Coil | Table::Holding);
        let face =
            RegisterFace { point: def.id, table: written.table, address, codec, writable, offline: written.offline };
        if writable && written.table == Table::Holding {
            self.range_fits(&face.codec, def, place, label);
        }
        self.occupy(face.table, address, face.width(), place);
        if let (Table::Input, Some(at)) = (face.table, layout.mirror_input_at) {
            if let Some(address) = address.checked_add(at) {
                let mirror = RegisterFace { table: Table::Holding, address, ..face.clone() };
                self.occupy(Table::Holding, address, mirror.width(), place);
                self.plant.modbus.faces.push(mirror);
            } else {
                let message = "its mirror as holding register is beyond 65535".to_owned();
                self.f.error("out-of-range", place, message, "lower `mirror_input_at`");
            }
        }
        self.plant.modbus.faces.push(face);
        for (kind, at) in &written.notes {
            self.note(*kind, at, note_table(written.table), def.id, layout);
        }
    }

    /// A register that says how old or how good a value is, and its mirror.
    fn note(&mut self, kind: NoteKind, at: &At<u16>, table: Table, point: PointId, layout: Layout) {
        let mirror = layout.mirror_input_at.filter(|_| table == Table::Input).map(|by| (Table::Holding, u32::from(by)));
        for (table, by) in [(table, 0)].into_iter().chain(mirror) {
            let Ok(address) = u16::try_from(u32::from(at.value) + layout.shift + by) else {
                let message = format!("{} {} of this zone is beyond 65535", table_word(table), at.value);
                self.f.error("out-of-range", &at.place, message, "a zone's index times the stride is added");
                return;
            };
            self.occupy(table, address, 1, &at.place);
            self.plant.modbus.notes.push(Note { point, table, address, kind });
        }
    }

    /// How the point's value stands at an address, in the point's unit; checked against its kind.
    pub fn codec(&mut self, written: &ModbusWritten, def: &PointDef, label: &str) -> Option<Codec> {
        let place = &written.address.place;
        if !table_fits(def.kind, written.table) {
            let message = format!("`{label}` is {} and does not fit into one bit", a(kind_word(def.kind)));
            self.f.error("kind-does-not-fit", place, message, "write holding or input, with a type");
            return None;
        }
        let text = written.codec.as_ref().is_some_and(|codec| matches!(codec.kind, RegisterType::Text(_)));
        if text != (def.kind == Kind::Text) {
            let (message, help) = if text {
                (format!("`{label}` is {} and no text", a(kind_word(def.kind))), "write kind = \"text\" at the point")
            } else {
                (format!("`{label}` is a text"), "write type = \"text\" and how many `registers` it takes")
            };
            self.f.error("kind-does-not-fit", place, message, help);
            return None;
        }
        let Some(codec) = &written.codec else { return Some(Codec::plain(RegisterType::U16)) };
        let shown = self.unit_fits(written.unit.as_ref(), def, label, |shown| in_unit(codec, shown, def.unit));
        let codec = shown.unwrap_or_else(|| codec.clone());
        let float = matches!(codec.kind, RegisterType::F32 | RegisterType::F64);
        match def.kind {
            Kind::Bool | Kind::State if codec.scale != 1.0 || codec.offset != 0.0 => {
                let message = format!("`{label}` is {} and is not scaled", a(kind_word(def.kind)));
                self.f.error("kind-does-not-fit", place, message, "leave out scale, offset and two_point");
            }
            Kind::Unsigned if codec.scale.fract() != 0.0 || codec.offset.fract() != 0.0 => {
                let message = format!("`{label}` counts in whole numbers");
                self.f.error("kind-does-not-fit", place, message, "a whole scale, or kind = \"number\"");
            }
            Kind::Energy if codec.kind == RegisterType::F32 => {
                let message = "a 32-bit float of Wh loses single Wh above 16.78 MWh".to_owned();
                self.f.warning("float-energy", place, message, "use an integer register, where there is one");
            }
            Kind::Bool | Kind::State if float => {
                let message = format!("`{label}` is {} in a floating-point register", a(kind_word(def.kind)));
                self.f.warning("kind-does-not-fit", place, message, "usually u16");
            }
            _ => {}
        }
        Some(codec)
    }

    /// Every value that may be written must be one that the register can show.
    pub fn range_fits(&mut self, codec: &Codec, def: &PointDef, place: &Place, label: &str) {
        let ends = def.range.into_iter().flat_map(|(low, high)| [low, high]).chain(def.absent);
        for end in ends {
            let shown = Value::from_f64(def.kind, end).is_some_and(|value| codec.encode(value).is_ok());
            if !shown {
                let message = format!("{end} of `{label}` does not fit into this {}", codec.kind.as_str());
                self.f.error("range-does-not-fit", place, message, "narrow the range, or take another type or scale");
            }
        }
    }

    /// Make something of the unit that is shown; reported where that does not measure the same.
    pub fn unit_fits<T>(
        &mut self,
        unit: Option<&At<Unit>>,
        def: &PointDef,
        label: &str,
        make: impl Fn(Unit) -> Option<T>,
    ) -> Option<T> {
        let made = make(unit.map_or(def.unit, |at| at.value));
        if let (None, Some(at)) = (&made, unit) {
            let message = format!("`{label}` is in {} and cannot be shown in {}", name_of(def.unit), name_of(at.value));
            self.f.error("unit-does-not-fit", &at.place, message, "a unit of the same quantity");
        }
        made
    }

    fn object_face(&mut self, written: &BacnetWritten, def: &PointDef, layout: Layout, label: &str) {
        use ObjectKind as O;
        let place = &written.place;
        let fitting = objects_for(def.kind);
        if !fitting.contains(&written.kind) {
            let words: Vec<&str> = fitting.iter().map(|kind| kind.as_str()).collect();
            let message = format!("`{label}` is {} and cannot be {}", a(kind_word(def.kind)), a(written.kind.as_str()));
            self.f.error("kind-does-not-fit", place, message, format!("one of {}", words.join(", ")));
        }
        let commandable = def.commandable().is_some();
        let input = matches!(written.kind, O::AnalogInput | O::BinaryInput | O::MultiStateInput | O::Accumulator);
        if commandable && input {
            let message = format!("`{label}` is written, and {} is not", a(written.kind.as_str()));
            self.f.error("kind-does-not-fit", place, message, "take a value object");
        }
        if !commandable && matches!(written.kind, O::AnalogOutput | O::BinaryOutput) {
            let message = format!("`{label}` is not written, and {} is", a(written.kind.as_str()));
            self.f.error("kind-does-not-fit", place, message, "take an input or a value object");
        }
        let shown = |shown| def.unit.convert(def.deadband, shown);
        let increment = self.unit_fits(written.unit.as_ref(), def, label, shown).unwrap_or_default();
        if let Some(at) = written.cov_increment.as_ref().filter(|at| at.value < 0.0) {
            self.f.error("out-of-range", &at.place, "an increment is not negative", "0 tells every change");
        }
        let instance = written.instance.saturating_add(layout.shift);
        if instance > LAST_INSTANCE {
            let message = format!("{instance} is no instance");
            self.f.error("out-of-range", place, message, "a zone's index times the stride is added; at most 4194302");
        }
        if let Some(first) = taken(&mut self.objects, (written.kind, instance), place) {
            let message = format!("{}:{instance} is taken", written.kind.as_str());
            self.f.error("instance-overlap", place, message, format!("also at {}", first.line()));
        }
        let (name, at) = match &written.object_name {
            Some(at) => (self.fill(&at.value, layout), &at.place),
            None => (def.key.to_string(), place),
        };
        self.object_name(&name, at);
        let unit = written.unit.as_ref().map_or(def.unit, |at| at.value);
        let range = def.range.and_then(|(low, high)| def.unit.convert(low, unit).zip(def.unit.convert(high, unit)));
        let alarm = self.alarm(written, def, layout, range, label);
        self.plant.bacnet.push(ObjectFace {
            point: def.id,
            kind: written.kind,
            instance,
            name,
            description: def.description.clone(),
            unit,
            cov_increment: written.cov_increment.as_ref().map_or(increment, |at| at.value),
            alarm,
        });
    }
}

fn name_of(unit: Unit) -> String {
    if unit == Unit::None { "no unit".to_owned() } else { format!("`{unit}`") }
}
