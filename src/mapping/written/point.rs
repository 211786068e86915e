//! `[[point]]`, services and worked examples as written.

use std::time::Duration;

use super::{ExtraWritten, FieldWritten, FileDefaults, Owner, TargetWritten};
use crate::mapping::alarm::ClassWritten;
use crate::mapping::faces::FaceWritten;
use crate::mapping::service::ServiceParts;
use crate::point::{Kind, Text};
use crate::units::{Energy, Unit};
use crate::written::{At, Findings, Item, Place, Read, Table, did_you_mean};

/// One end of a range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    Number(f64),
    /// "Qn"
    NominalHeat,
    /// "Tsoft"
    SupplySoft,
}

/// A relinquish default.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DefaultWritten {
    Flag(bool),
    Number(f64),
    Absent,
}

/// Who gives a point its value.
#[derive(Debug)]
pub enum SourceWritten {
    /// Nothing is said: writers command it.
    Command,
    /// `"engine"`
    Engine,
    /// `{ device = "...", holding = ... }`
    Device { device: Option<At<String>>, at: Option<Box<FieldWritten>>, extra: Box<ExtraWritten> },
}

/// `[[point]]`
#[derive(Debug)]
pub struct PointWritten {
    pub place: Place,
    pub name: Option<At<String>>,
    pub description: String,
    pub kind: Option<At<Kind>>,
    pub unit: Field<Unit>,
    pub range: Option<At<(Bound, Bound)>>,
    pub absent: Option<At<f64>>,
    pub texts: Field<Vec<String>>,
    pub deadband: Option<At<f64>>,
    pub role: Option<At<String>>,
    pub source: At<SourceWritten>,
    pub default: Field<DefaultWritten>,
    pub expires: Option<At<Duration>>,
    pub persist: Option<At<bool>>,
    pub mqtt_set: Option<At<bool>>,
    pub momentary: Option<At<bool>>,
    pub rollover: Option<At<Energy>>,
    pub faces: Vec<FaceWritten>,
    pub targets: Vec<TargetWritten>,
}

/// A field that the kind of its point may need: not written, written badly (and reported), or written.
#[derive(Debug)]
pub enum Field<T> {
    Left,
    Bad,
    Written(At<T>),
}

/// What a BACnet service object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceKind {
    TrendLog,
    NotificationClass,
    LoadControl,
}

/// `[[trend_log]]`, `[[notification_class]]`, `[[load_control]]`
#[derive(Debug)]
pub struct ServiceWritten {
    pub kind: ServiceKind,
    pub instance: Option<At<u32>>,
    pub name: Option<At<String>>,
    pub point: Option<At<String>>,
    pub class: ClassWritten,
    pub parts: ServiceParts,
}

/// What a worked example should give.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Expected {
    Number(f64),
    Text(Text),
    Absent,
}

/// `[[example]]`
#[derive(Debug)]
pub struct ExampleWritten {
    pub point: Option<At<String>>,
    pub raw: Option<At<Vec<u16>>>,
    pub value: Option<At<Expected>>,
}

const KINDS: &[(Kind, &str)] = &[
    (Kind::Bool, "bool"),
    (Kind::Number, "number"),
    (Kind::Unsigned, "unsigned"),
    (Kind::State, "state"),
    (Kind::Energy, "energy"),
    (Kind::Text, "text"),
];

/// A kind's spelling in mapping files.
pub fn kind_word(kind: Kind) -> &'static str {
    KINDS.iter().find(|row| row.0 == kind).map_or("", |row| row.1)
}

/// A word with its article.
pub fn a(word: &str) -> String {
    let article = if word.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" };
    format!("{article} {word}")
}

impl<T> Field<T> {
    fn read(t: &mut Table<'_>, key: &'static str, f: &mut Findings) -> Self
    where
        T: Read,
    {
        match (t.opt(key, f), t.has(key)) {
            (Some(at), _) => Self::Written(at),
            (None, true) => Self::Bad,
            (None, false) => Self::Left,
        }
    }

    /// What was written.
    pub const fn written(&self) -> Option<&At<T>> {
        match self {
            Self::Written(at) => Some(at),
            Self::Left | Self::Bad => None,
        }
    }
}

impl PointWritten {
    pub fn read(mut t: Table<'_>, file: FileDefaults, owner: Owner, f: &mut Findings) -> Self {
        let place = t.place();
        let source = match t.item("source") {
            None if owner == Owner::Profile => {
                t.missing("source", "where it is read: source = { input = 0, type = \"f32\" }", f);
                At { value: SourceWritten::nowhere(), place: place.clone() }
            }
            None => At { value: SourceWritten::Command, place: place.clone() },
            Some(item) => At { place: item.place(), value: SourceWritten::read(&item, file, owner, f) },
        };
        let mut this = Self {
            name: t.need("name", "the point's key, such as \"hall/room_temperature\"", f),
            description: t.opt("description", f).map(|at| at.value).unwrap_or_default(),
            kind: t.word("kind", KINDS, f),
            unit: Field::read(&mut t, "unit", f),
            range: t.opt("range", f),
            absent: t.opt("absent", f),
            texts: Field::read(&mut t, "texts", f),
            deadband: t.opt("deadband", f),
            role: t.opt("role", f),
            default: Field::Left,
            expires: None,
            persist: None,
            mqtt_set: None,
            momentary: None,
            rollover: None,
            faces: Vec::new(),
            targets: Vec::new(),
            place,
            source,
        };
        if owner == Owner::Profile {
            this.rollover = t.opt("rollover", f);
        } else {
            this.default = Field::read(&mut t, "default", f);
            this.persist = t.opt("persist", f);
            this.mqtt_set = t.opt("mqtt_set", f);
            this.momentary = t.opt("momentary", f);
            this.targets = TargetWritten::read_all(&mut t, file, f);
            if let Some(mut t) = t.table("expires", f) {
                this.expires = t.need("after", "how long after a write, such as \"300s\"", f);
                t.finish(f);
            }
            if let Some(item) = t.item("bms") {
                let items = if item.is_list() { item.items() } else { vec![item] };
                this.faces = items.iter().filter_map(|item| FaceWritten::read_served(item, file, f)).collect();
            }
        }
        t.finish(f);
        this
    }
}

impl SourceWritten {
    fn read(item: &Item<'_>, file: FileDefaults, owner: Owner, f: &mut Findings) -> Self {
        let help = "write { device = \"...\", input = 0, ... } or { device = \"...\", bacnet = \"analog-input:3\" }, or leave it out for a point that writers command";
        match item.as_text() {
            Some("engine") if owner == Owner::Template => return Self::Engine,
            Some(text) => {
                f.error("unknown-word", &item.place(), format!("`source` cannot be `{text}`"), help);
                return Self::nowhere();
            }
            None => {}
        }
        let Some(mut t) = item.table(f) else { return Self::nowhere() };
        let device = if owner == Owner::Profile { None } else { t.need("device", "the name of a [[device]]", f) };
        let extra = Box::new(ExtraWritten::read(&mut t, f));
        let at = FieldWritten::read(&mut t, file, f).map(Box::new);
        t.finish(f);
        Self::Device { device, at, extra }
    }

    /// A device, and nothing more that could be read.
    fn nowhere() -> Self {
        Self::Device { device: None, at: None, extra: Box::default() }
    }
}

impl ExampleWritten {
    pub fn read(mut t: Table<'_>, f: &mut Findings) -> Self {
        let raw =
            t.need::<Vec<At<u16>>>("raw", "the registers in the order of their addresses, such as [0x4251, 0x3333]", f);
        let this = Self {
            point: t.need("point", "the name of a point of this profile", f),
            raw: raw.map(|at| At { value: at.value.into_iter().map(|word| word.value).collect(), place: at.place }),
            value: t.need("value", "what the registers mean, in the point's unit, or \"absent\"", f),
        };
        t.finish(f);
        this
    }
}

impl Read for Unit {
    fn read(item: &Item<'_>, f: &mut Findings) -> Option<Self> {
        let text = String::read(item, f)?;
        let unit = Self::parse(&text);
        if unit.is_none() {
            let help = did_you_mean(&text, Self::spellings().chain(["none"]));
            f.error("unknown-unit", &item.place(), format!("`{text}` is no unit"), help);
        }
        unit
    }
}

impl Read for Bound {
    fn read(item: &Item<'_>, f: &mut Findings) -> Option<Self> {
        match item.as_text() {
            None => f64::read(item, f).map(Self::Number),
            Some("Qn") => Some(Self::NominalHeat),
            Some("Tsoft") => Some(Self::SupplySoft),
            Some(text) => {
                let help = "a number, \"Qn\" (nominal heat) or \"Tsoft\" (soft limit of the supply temperature)";
                f.error("unknown-word", &item.place(), format!("a bound cannot be `{text}`"), help);
                None
            }
        }
    }
}

impl Read for Vec<String> {
    fn read(item: &Item<'_>, f: &mut Findings) -> Option<Self> {
        Vec::<At<String>>::read(item, f).map(|list| list.into_iter().map(|text| text.value).collect())
    }
}

/// A list of exactly two.
impl<T: Read + Copy> Read for (T, T) {
    fn read(item: &Item<'_>, f: &mut Findings) -> Option<Self> {
        match item.items().as_slice() {
            [low, high] => {
                let (low, high) = (T::read(low, f), T::read(high, f));
                low.zip(high)
            }
            _ => {
                item.wrong("a list of two", "write [low, high]", f);
                None
            }
        }
    }
}

impl Read for DefaultWritten {
    fn read(item: &Item<'_>, f: &mut Findings) -> Option<Self> {
        match (item.as_text(), item.as_number()) {
            (Some("absent"), _) => Some(Self::Absent),
            (None, Some(number)) => Some(Self::Number(number)),
            (None, None) => bool::read(item, f).map(Self::Flag),
            _ => {
                item.wrong("true, false, a number or \"absent\"", "it is what the point is when nobody commands it", f);
                None
            }
        }
    }
}

impl Read for Expected {
    fn read(item: &Item<'_>, f: &mut Findings) -> Option<Self> {
        match item.as_text() {
            Some("absent") => Some(Self::Absent),
            Some(text) => {
                let text = Text::new(text);
                if text.is_none() {
                    item.wrong("a number, a text or \"absent\"", "what the registers mean", f);
                }
                text.map(Self::Text)
            }
            None => f64::read(item, f).map(Self::Number),
        }
    }
}
