//! Addresses as written, served or polled: where a value stands and how. Base, order and unit are explicit, in the file's
//! head or at the address.

use super::alarm::AlarmWritten;
use super::written::FileDefaults;
use crate::plant::{Codec, NoteKind, ObjectKind, Offline, RegisterType, Table as DataTable, WordOrder};
use crate::point::Kind;
use crate::units::Unit;
use crate::written::{At, Findings, Item, Place, Read, Table, did_you_mean};

/// Where a value stands: a Modbus address, a BACnet object, or both.
#[derive(Debug)]
pub struct FaceWritten {
    pub modbus: Option<ModbusWritten>,
    pub bacnet: Option<BacnetWritten>,
}

/// A Modbus address and the type there.
#[derive(Debug)]
pub struct ModbusWritten {
    pub table: DataTable,
    /// Protocol address, from 0.
    pub address: At<u16>,
    /// The number that the first address has here.
    pub base: u32,
    /// `None` for bits.
    pub codec: Option<Codec>,
    pub unit: Option<At<Unit>>,

    pub offline: Offline,
    /// Registers beside it that say how old and how good it is.
    pub notes: Vec<(NoteKind, At<u16>)>,
}

/// A BACnet object.
#[derive(Debug)]
pub struct BacnetWritten {
    pub kind: ObjectKind,
    pub instance: u32,
    pub place: Place,
    pub unit: Option<At<Unit>>,
    pub cov_increment: Option<At<f64>>,
    pub object_name: Option<At<String>>,
    pub alarm: Option<At<AlarmWritten>>,
}

const TABLES: [(DataTable, &str); 4] = [
    (DataTable::Coil, "coil"),
    (DataTable::Discrete, "discrete"),
    (DataTable::Input, "input"),
    (DataTable::Holding, "holding"),
];

/// `nan` says for floating point what `sentinel` says for any type.
pub const OFFLINE: &[(Offline, &str)] = &[
    (Offline::Hold, "hold"),
    (Offline::Sentinel, "sentinel"),
    (Offline::Sentinel, "nan"),
    (Offline::Exception, "exception"),
];

/// Where the age and quality of what stands in this table stand: registers that are read, or written, like it.
pub const fn note_table(table: DataTable) -> DataTable {
    match table {
        DataTable::Coil | DataTable::Holding => DataTable::Holding,
        DataTable::Discrete | DataTable::Input => DataTable::Input,
    }
}

/// The spelling of a data table.
pub const fn table_word(table: DataTable) -> &'static str {
    match table {
        DataTable::Coil => "coil",
        DataTable::Discrete => "discrete",
        DataTable::Input => "input",
        DataTable::Holding => "holding",
    }
}

/// An address base: 0, 1, or what a manual prints for the first address of a table.
pub fn base(item: &Item<'_>, f: &mut Findings) -> Option<u32> {
    const BASES: [i128; 7] = [0, 1, 10_001, 30_001, 40_001, 300_001, 400_001];
    match item.as_whole() {
        Some(base) if BASES.contains(&base) => u32::try_from(base).ok(),
        other => {
            let help = "0 where addresses count from 0, 1 where the manual counts from 1, 40001 where it prints 4xxxx";
            match other {
                Some(base) => {
                    let message = format!("`{}` cannot be {base}", item.key);
                    f.error("out-of-range", &item.place(), message, help);
                }
                None => item.wrong("a whole number", help, f),
            }
            None
        }
    }
}

impl FaceWritten {
    /// The unit that is shown here, where it says one.
    pub fn unit(&self) -> Option<Unit> {
        let modbus = self.modbus.as_ref().and_then(|modbus| modbus.unit.as_ref());
        let bacnet = self.bacnet.as_ref().and_then(|bacnet| bacnet.unit.as_ref());
        modbus.or(bacnet).map(|at| at.value)
    }

    /// A member of `bms = ...`.
    pub fn read_served(item: &Item<'_>, file: FileDefaults, f: &mut Findings) -> Option<Self> {
        let mut t = item.table(f)?;
        let unit: Option<At<Unit>> = t.opt("unit", f);
        let offline = t.word("offline", OFFLINE, f);
        let notes = [(NoteKind::Age, t.opt::<u32>("age", f)), (NoteKind::Quality, t.opt::<u32>("quality", f))];
        let modbus = ModbusWritten::read(&mut t, file, f).map(|mut modbus| {
            modbus.unit.clone_from(&unit);
            modbus.offline = offline.map(|at| at.value).or(file.offline).unwrap_or_default();
            let beside = note_table(modbus.table);
            for (kind, written) in notes {
                let Some(written) = written else { continue };
                if let Some(value) = protocol_address(beside, &written, modbus.base, f) {
                    modbus.notes.push((kind, At { value, place: written.place }));
                }
            }
            modbus
        });
        let bacnet = BacnetWritten::read(&mut t, unit, f);
        let nothing = modbus.is_none() && bacnet.is_none() && !ModbusWritten::is_in(&mut t) && !t.has("bacnet");
        if nothing {
            t.missing("holding", "or input, coil, discrete, bacnet: where the BMS finds the point", f);
        }
        t.finish(f);
        Some(Self { modbus, bacnet })
    }
}

impl ModbusWritten {
    /// Whether one of its tables is a key here.
    pub fn is_in(t: &mut Table<'_>) -> bool {
        // Each key is asked for, so that none of them counts as unknown.
        TABLES.iter().fold(false, |found, row| t.has(row.1) | found)
    }

    pub fn read(t: &mut Table<'_>, file: FileDefaults, f: &mut Findings) -> Option<Self> {
        let mut found = None;
        for (table, key) in TABLES {
            if let Some(number) = t.opt::<u32>(key, f) {
                if found.is_some() {
                    let help = "one address each: bms = [{ holding = 4, ... }, { coil = 0 }]";
                    f.error("two-addresses", &number.place, format!("`{key}` is a second address"), help);
                } else {
                    found = Some((table, number));
                }
            }
        }
        let base_at_address = t.item("base").map(|item| base(&item, f));
        let number = NumberWritten::read(t, f);
        let (table, written) = found?;
        let base = base_at_address.unwrap_or_else(|| {
            if file.base.is_none() {
                let help = "0 or 1 (or address_base at the head of the file): does the first address count as 0 or 1?";
                t.missing("base", help, f);
            }
            file.base
        });
        let address = base.and_then(|base| protocol_address(table, &written, base, f));
        let codec = if matches!(table, DataTable::Coil | DataTable::Discrete) {
            number.refuse_for_bits(f);
            Some(None)
        } else {
            number.codec(t, file, address, &written.place, f).map(Some)
        };
        Some(Self {
            table,
            address: At { value: address?, place: written.place },
            base: base.unwrap_or_default(),
            codec: codec?,
            unit: None,
            offline: Offline::default(),
            notes: Vec::new(),
        })
    }
}

fn protocol_address(table: DataTable, written: &At<u32>, base: u32, f: &mut Findings) -> Option<u16> {
    let number = written.value;
    let address = number.checked_sub(base).and_then(|address| u16::try_from(address).ok());
    let Some(address) = address else {
        let message = format!("{} {number} with base {base} is no address", table_word(table));
        f.error("out-of-range", &written.place, message, format!("from {base} to {}", base + 65_535));
        return None;
    };
    let prefix = match table {
        DataTable::Coil => 0,
        DataTable::Discrete => 10_001,
        DataTable::Input => 30_001,
        DataTable::Holding => 40_001,
    };
    if base == 1 && prefix != 0 && (prefix..prefix + 9_999).contains(&number) {
        let message = format!("{} {number} with base 1 is protocol address {address}", table_word(table));
        let help = format!("if the manual prints {prefix} for the first one, write base = {prefix}");
        f.warning("base-looks-wrong", &written.place, message, help);
    }
    Some(address)
}

/// Type, order, scaling and sentinels, as written.
struct NumberWritten {
    kind: Option<At<RegisterType>>,
    has_kind: bool,
    order: Option<At<WordOrder>>,
    has_order: bool,
    scaling: ScalingWritten,
    sentinels: Option<At<Vec<At<u64>>>>,
    registers: Option<At<u8>>,
}

/// A line from raw to value, as scale and offset.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    pub scale: f64,
    pub offset: f64,
}

/// A line, as written: scale and offset, or two points.
#[derive(Debug)]
pub struct ScalingWritten {
    scale: Option<At<f64>>,
    offset: Option<At<f64>>,
    two_point: Option<At<Line>>,
}

impl ScalingWritten {
    pub fn read(t: &mut Table<'_>, f: &mut Findings) -> Self {
        Self { scale: t.opt("scale", f), offset: t.opt("offset", f), two_point: t.opt("two_point", f) }
    }

    fn places(&self) -> [Option<&Place>; 3] {
        [
            self.scale.as_ref().map(|at| &at.place),
            self.offset.as_ref().map(|at| &at.place),
            self.two_point.as_ref().map(|at| &at.place),
        ]
    }

    /// The line; never one that makes every value the same.
    pub fn line(&self, f: &mut Findings) -> Line {
        let mut line = match (&self.two_point, &self.scale, &self.offset) {
            (Some(line), None, None) => line.value,
            (Some(line), ..) => {
                let help = "two points say both: leave out `scale` and `offset`";
                f.error("two-scalings", &line.place, "scaled twice", help);
                line.value
            }
            (None, scale, offset) => Line {
                scale: scale.as_ref().map_or(1.0, |at| at.value),
                offset: offset.as_ref().map_or(0.0, |at| at.value),
            },
        };
        if let Some(scale) = self.scale.as_ref().filter(|at| at.value == 0.0) {
            f.error("out-of-range", &scale.place, "a scale of 0 makes every value 0", "leave it out for 1");
            line.scale = 1.0;
        }
        line
    }
}

impl NumberWritten {
    fn read(t: &mut Table<'_>, f: &mut Findings) -> Self {
        Self {
            has_kind: t.has("type"),
            kind: t.word("type", &types(), f),
            has_order: t.has("order"),
            order: t.word("order", WordOrder::TABLE, f),
            scaling: ScalingWritten::read(t, f),
            sentinels: t.opt("sentinels", f),
            registers: t.opt("registers", f),
        }
    }

    fn refuse_for_bits(&self, f: &mut Findings) {
        let places = [
            self.kind.as_ref().map(|at| &at.place),
            self.order.as_ref().map(|at| &at.place),
            self.sentinels.as_ref().map(|at| &at.place),
            self.registers.as_ref().map(|at| &at.place),
        ];
        for place in places.into_iter().chain(self.scaling.places()).flatten() {
            f.error("bit-has-no-number", place, "a bit has no type, order, scaling or sentinel", "leave it out");
        }
    }

    /// A text, as long as it says, in one of the two orders of bytes that texts have.
    fn text(&self, t: &Table<'_>, f: &mut Findings) -> Option<RegisterType> {
        for place in self.scaling.places().into_iter().chain([self.sentinels.as_ref().map(|at| &at.place)]).flatten() {
            f.error("kind-does-not-fit", place, "a text has no scaling and no sentinel", "leave it out");
        }
        let orders = [WordOrder::Abcd, WordOrder::Badc];
        if let Some(at) = self.order.as_ref().filter(|at| !orders.contains(&at.value)) {
            let help = "ABCD, or BADC where the second character of each register stands first";
            f.error("kind-does-not-fit", &at.place, "a text begins in its first register", help);
        }
        let longest = RegisterType::LONGEST_TEXT;
        let Some(at) = &self.registers else {
            t.missing("registers", "how many registers the text takes, two characters each", f);
            return None;
        };
        if !(1..=longest).contains(&at.value) {
            f.error("out-of-range", &at.place, format!("a text takes 1 to {longest} registers"), "two characters each");
        }
        Some(RegisterType::Text(at.value.clamp(1, longest)))
    }

    fn codec(
        self,
        t: &Table<'_>,
        file: FileDefaults,
        address: Option<u16>,
        at: &Place,
        f: &mut Findings,
    ) -> Option<Codec> {
        if !self.has_kind {
            t.missing("type", "u16, s16, u32, s32, u64, s64, f32, f64 or text", f);
        }
        let mut kind = self.kind.as_ref()?.value;
        if let RegisterType::Text(_) = kind {
            kind = self.text(t, f)?;
        } else if let Some(at) = &self.registers {
            f.error("kind-does-not-fit", &at.place, "only a text says how many registers it takes", "leave it out");
        }
        let order = match self.order.as_ref().map(|at| at.value).or(file.order) {
            // The order of words is that of numbers: a text begins with its first character.
            _ if matches!(kind, RegisterType::Text(_)) => self.order.as_ref().map_or(WordOrder::Abcd, |at| at.value),
            Some(order) => order,
            None if kind.width() == 1 => WordOrder::Abcd,
            None => {
                if !self.has_order {
                    let help = "ABCD, CDAB, BADC or DCBA (or word_order at the head of the file)";
                    t.missing("order", help, f);
                }
                return None;
            }
        };
        if address.is_some_and(|address| u32::from(address) + u32::from(kind.width()) > 65_536) {
            let message = format!("this {} ends beyond the last register", kind.as_str());
            f.error("out-of-range", at, message, "the last protocol address is 65535");
        }
        let line = self.scaling.line(f);
        let widest = u64::MAX >> 64u32.saturating_sub(16 * u32::from(kind.width()));
        let sentinels = self.sentinels.map(|at| at.value).unwrap_or_default();
        for sentinel in sentinels.iter().filter(|s| s.value > widest) {
            let message = format!("{} has no bit pattern {:#X}", kind.as_str(), sentinel.value);
            let help = format!("raw registers as one unsigned number, at most {widest:#X}");
            f.error("out-of-range", &sentinel.place, message, help);
        }
        let sentinels = sentinels.into_iter().map(|s| s.value).collect();
        Some(Codec { order, scale: line.scale, offset: line.offset, sentinels, ..Codec::plain(kind) })
    }
}

/// Spellings of what stands in registers.
fn types() -> Vec<(RegisterType, &'static str)> {
    RegisterType::TABLE.iter().copied().chain([(RegisterType::Text(0), "text")]).collect()
}

impl Read for Line {
    fn read(item: &Item<'_>, f: &mut Findings) -> Option<Self> {
        let help = "write [[raw, value], [raw, value]], such as [[4000, 0], [20000, 150]]";
        let [first, second] = <[Item<'_>; 2]>::try_from(item.items()).ok().or_else(|| {
            item.wrong("two points", help, f);
            None
        })?;
        let first = <(f64, f64)>::read(&first, f);
        let ((x1, y1), (x2, y2)) = first.zip(<(f64, f64)>::read(&second, f))?;
        let scale = (y2 - y1) / (x2 - x1);
        if !scale.is_finite() || scale == 0.0 {
            f.error("bad-scaling", &item.place(), "the two points give no line", help);
            return None;
        }
        Some(Self { scale, offset: y1 - x1 * scale })
    }
}

impl BacnetWritten {
    fn read(t: &mut Table<'_>, unit: Option<At<Unit>>, f: &mut Findings) -> Option<Self> {
        let cov_increment = t.opt("cov_increment", f);
        let object_name = t.opt("object_name", f);
        let alarm = AlarmWritten::read(t, f);
        let object: At<Object> = t.opt("bacnet", f)?;
        let Object(kind, instance) = object.value;
        Some(Self { kind, instance, place: object.place, unit, cov_increment, object_name, alarm })
    }
}

/// "analog-value:1"
#[derive(Debug, Clone, Copy)]
struct Object(ObjectKind, u32);

/// 2^22 - 1 is the wildcard (ASHRAE 135, 20.2.14).
pub const LAST_INSTANCE: u32 = 4_194_302;

impl Read for Object {
    fn read(item: &Item<'_>, f: &mut Findings) -> Option<Self> {
        let text = String::read(item, f)?;
        let (word, number) = text.split_once(':').unwrap_or((&text, ""));
        let kind = ObjectKind::parse(word);
        if kind.is_none() {
            let help = did_you_mean(word, ObjectKind::TABLE.iter().map(|row| row.2));
            f.error("unknown-word", &item.place(), format!("`{word}` is no object type"), help);
        }
        let instance = number.parse::<u32>().ok().filter(|n| *n <= LAST_INSTANCE);
        if instance.is_none() {
            let message = format!("`{text}` has no instance");
            f.error("out-of-range", &item.place(), message, "write it like \"analog-value:1\", 0 to 4194302");
        }
        kind.zip(instance).map(|(kind, instance)| Self(kind, instance))
    }
}

/// Whether a value of this kind can stand in this table.
pub const fn table_fits(kind: Kind, table: DataTable) -> bool {
    match table {
        DataTable::Coil | DataTable::Discrete => matches!(kind, Kind::Bool),
        DataTable::Input | DataTable::Holding => true,
    }
}

/// The object types that can show a value of this kind. REAL is a 32-bit float, so energies go out as accumulator or
/// large analog value.
pub const fn objects_for(kind: Kind) -> &'static [ObjectKind] {
    use ObjectKind as O;
    match kind {
        Kind::Bool => &[O::BinaryInput, O::BinaryOutput, O::BinaryValue],
        Kind::Number => &[O::AnalogInput, O::AnalogOutput, O::AnalogValue, O::LargeAnalogValue],
        Kind::Unsigned => &[O::PositiveIntegerValue, O::IntegerValue, O::Accumulator],
        Kind::State => &[O::MultiStateInput, O::MultiStateValue],
        Kind::Energy => &[O::Accumulator, O::LargeAnalogValue],
        Kind::Text => &[O::CharacterStringValue],
    }
}

/// A codec in the point's unit: what stands there is in `shown`.
pub fn in_unit(codec: &Codec, shown: Unit, unit: Unit) -> Option<Codec> {
    let factor = shown.convert(1.0, unit)?;
    let mut codec = codec.clone();
    codec.scale *= factor;
    codec.offset *= factor;
    Some(codec)
}
