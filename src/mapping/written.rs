//! Mapping files as written: every field with its place, names not yet resolved. Reading finds unknown keys, wrong types
//! and missing fields; it never stops at one of them.

use std::time::Duration;

use super::faces::FaceWritten;
use crate::plant::WordOrder;
use crate::point::Kind;
use crate::units::{Celsius, Energy, Percent, Unit, Watts};
use crate::written::{At, Document, Findings, Item, PercentPerMinute, Place, Read, Table, did_you_mean};

/// Whose file it is: which keys its points may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A site's mapping.
    Site,
    /// A template: once per zone.
    Template,
    /// A device profile: once per device.
    Profile,
}

/// What holds for a whole file, unless an address says otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileDefaults {
    /// The number that the first address has.
    pub base: Option<u32>,
    /// Order of multi-register values.
    pub order: Option<WordOrder>,
}

/// A site's mapping.
#[derive(Debug, Default)]
pub struct SiteFile {
    pub templates: Vec<At<String>>,
    pub devices: Vec<DeviceWritten>,
    pub heaters: Vec<HeaterWritten>,
    pub zones: Vec<ZoneWritten>,
    pub points: Vec<PointWritten>,
    pub services: Vec<ServiceWritten>,
}

/// A template of zones.
#[derive(Debug)]
pub struct TemplateFile {
    pub version: u16,
    pub stride: u32,
    pub mirror_input_at: Option<u16>,
    pub zero_filled: Option<(u16, u16)>,
    pub points: Vec<PointWritten>,
    pub services: Vec<ServiceWritten>,
}

/// A device model.
#[derive(Debug)]
pub struct ProfileFile {
    pub poll: Option<Duration>,
    pub max_registers: Option<At<u16>>,
    pub max_gap: Option<At<u16>>,
    pub points: Vec<PointWritten>,
    pub examples: Vec<ExampleWritten>,
}

/// `[[device]]`
#[derive(Debug)]
pub struct DeviceWritten {
    pub name: Option<At<String>>,
    pub profile: Option<At<String>>,
    pub link: Option<At<String>>,
    pub unit_id: Option<At<u8>>,
    pub poll: Option<At<Duration>>,
    pub timeout: Option<At<Duration>>,
    pub max_registers: Option<At<u16>>,
    pub max_gap: Option<At<u16>>,
    pub max_age: Option<At<Duration>>,
    pub max_power: Option<At<Watts>>,
}

/// A power, or a share of another.
#[derive(Debug, Clone, Copy)]
pub enum PowerOrShare {
    Power(Watts),
    Share(f64),
}

/// `[[heater]]`
#[derive(Debug)]
pub struct HeaterWritten {
    pub name: Option<At<String>>,
    pub rated_power: Option<At<Watts>>,
    pub idle: Option<At<PowerOrShare>>,
    pub efficiency: Option<At<f64>>,
    pub fallback: Option<At<PowerOrShare>>,
    pub may_switch_off: bool,
    pub lease: Option<At<Duration>>,
    pub max_age: Option<At<Duration>>,
}

/// `{ soft = "55 degC", max = "60 degC" }`
#[derive(Debug)]
pub struct LimitWritten {
    pub place: Place,
    pub soft: Option<Celsius>,
    pub max: Option<Celsius>,
}

/// `on_bms_loss = ...`
#[derive(Debug)]
pub enum LossWritten {
    Cancel,
    Hold { hold: Duration, then: Option<ThenWritten> },
    Fallback { percent: At<Percent>, for_: Duration },
}

/// `then = { fallback = "30 %", ... }`
#[derive(Debug)]
pub struct ThenWritten {
    pub percent: Option<At<Percent>>,
    pub for_: Option<Duration>,
    pub below_outdoor: Option<Celsius>,
    pub ramp: Option<At<PercentPerMinute>>,
}

/// `[[zone]]`
#[derive(Debug)]
pub struct ZoneWritten {
    pub place: Place,
    pub name: Option<At<String>>,
    pub index: Option<At<u8>>,
    pub heaters: Vec<At<String>>,
    pub meter: Option<At<String>>,
    pub nominal_efficiency: Option<At<f64>>,
    pub ramp_up: Option<At<PercentPerMinute>>,
    pub ramp_down: Option<At<PercentPerMinute>>,
    pub supply: Option<LimitWritten>,
    pub room: Option<LimitWritten>,
    pub inlet: Option<LimitWritten>,
    pub contracted_power: Option<At<Watts>>,
    pub on_bms_loss: Option<LossWritten>,
}

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
    Device { device: Option<At<String>>, at: Option<Box<FaceWritten>> },
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
}

/// A field that the kind of its point may need: not written, written badly (and reported), or written.
#[derive(Debug)]
pub enum Field<T> {
    Left,
    Bad,
    Written(At<T>),
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
}

/// What a worked example should give.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Expected {
    Number(f64),
    Absent,
}

/// `[[example]]`
#[derive(Debug)]
pub struct ExampleWritten {
    pub point: Option<At<String>>,
    pub raw: Option<At<Vec<u16>>>,
    pub value: Option<At<Expected>>,
}

/// So that the last of ten zones still has addresses.
const LONGEST_STRIDE: u32 = 7_000;

const KINDS: &[(Kind, &str)] = &[
    (Kind::Bool, "bool"),
    (Kind::Number, "number"),
    (Kind::Unsigned, "unsigned"),
    (Kind::State, "state"),
    (Kind::Energy, "energy"),
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

impl SiteFile {
    /// Read a site's mapping.
    pub fn read(document: &Document<'_>, f: &mut Findings) -> Self {
        let mut top = document.table();
        let file = FileDefaults::read(&mut top, f);
        let site = Self {
            templates: top.opt::<Vec<At<String>>>("use", f).map(|list| list.value).unwrap_or_default(),
            devices: top.tables("device", f).into_iter().map(|t| DeviceWritten::read(t, f)).collect(),
            heaters: top.tables("heater", f).into_iter().map(|t| HeaterWritten::read(t, f)).collect(),
            zones: top.tables("zone", f).into_iter().map(|t| ZoneWritten::read(t, f)).collect(),
            points: points(&mut top, file, Owner::Site, f),
            services: services(&mut top, f),
        };
        if !top.has("zone") {
            top.missing("zone", "a site has at least one [[zone]]", f);
        }
        top.finish(f);
        site
    }
}

impl TemplateFile {
    /// Read a template.
    pub fn read(document: &Document<'_>, f: &mut Findings) -> Self {
        let mut top = document.table();
        let file = FileDefaults::read(&mut top, f);
        let mut this = Self {
            version: 0,
            stride: 0,
            mirror_input_at: None,
            zero_filled: None,
            points: points(&mut top, file, Owner::Template, f),
            services: services(&mut top, f),
        };
        if let Some(mut head) = top.table("template", f) {
            head.opt::<String>("name", f);
            let version = head.need::<u16>("version", "the version that the BMS reads", f);
            let stride = head.need::<u32>("stride", "what a zone's index is multiplied with, such as 100", f);
            this.version = version.map_or(0, |at| at.value);
            if let Some(at) = stride.as_ref().filter(|at| at.value > LONGEST_STRIDE) {
                let help = "ten zones have to fit below 65536";
                f.error("out-of-range", &at.place, format!("a stride is at most {LONGEST_STRIDE}"), help);
            }
            this.stride = stride.map_or(0, |at| at.value.min(LONGEST_STRIDE));
            this.mirror_input_at = head.opt("mirror_input_at", f).map(|at| at.value);
            this.zero_filled = head.opt::<(u16, u16)>("zero_filled", f).map(|at| at.value);
            head.finish(f);
        } else {
            top.missing("template", "a file that a site uses starts with [template]", f);
        }
        top.finish(f);
        this
    }
}

impl ProfileFile {
    /// Read a device profile.
    pub fn read(document: &Document<'_>, f: &mut Findings) -> Self {
        let mut top = document.table();
        let file = FileDefaults::read(&mut top, f);
        top.opt::<String>("description", f);
        let this = Self {
            poll: top.opt("poll", f).map(|at| at.value),
            max_registers: top.opt("max_registers", f),
            max_gap: top.opt("max_gap", f),
            points: points(&mut top, file, Owner::Profile, f),
            examples: top.tables("example", f).into_iter().map(|t| ExampleWritten::read(t, f)).collect(),
        };
        if this.points.is_empty() {
            top.missing("point", "a profile has at least one [[point]]", f);
        }
        top.finish(f);
        this
    }
}

impl FileDefaults {
    fn read(top: &mut Table<'_>, f: &mut Findings) -> Self {
        Self {
            base: top.item("address_base").and_then(|item| super::faces::base(&item, f)),
            order: top.word("word_order", WordOrder::TABLE, f).map(|at| at.value),
        }
    }
}

impl DeviceWritten {
    fn read(mut t: Table<'_>, f: &mut Findings) -> Self {
        let this = Self {
            name: t.need("name", "the first segment of its points' keys", f),
            profile: t.opt("profile", f),
            link: t.need("link", "such as \"modbus-tcp://10.20.0.31:502\"", f),
            unit_id: t.need(
                "unit_id",
                "the Modbus unit identifier, often 1 (or 255 for a device with its own address)",
                f,
            ),
            poll: t.opt("poll", f),
            timeout: t.opt("timeout", f),
            max_registers: t.opt("max_registers", f),
            max_gap: t.opt("max_gap", f),
            max_age: t.opt("max_age", f),
            max_power: t.opt("max_power", f),
        };
        t.finish(f);
        this
    }
}

impl HeaterWritten {
    fn read(mut t: Table<'_>, f: &mut Findings) -> Self {
        let this = Self {
            name: t.need("name", "its topic level and the first segment of its points' keys", f),
            rated_power: t.need("rated_power", "such as \"30 kW\"", f),
            idle: t.need("idle", "what it draws with no jobs, such as \"25 %\" or \"7.5 kW\"", f),
            efficiency: t.need("efficiency", "heat per electrical power: 0.95 liquid-cooled, 0.85 air", f),
            fallback: t.opt("fallback", f),
            may_switch_off: t.opt("may_switch_off", f).is_some_and(|at| at.value),
            lease: t.opt("lease", f),
            max_age: t.opt("max_age", f),
        };
        t.finish(f);
        this
    }
}

impl ZoneWritten {
    fn read(mut t: Table<'_>, f: &mut Findings) -> Self {
        let heaters = t.need::<Vec<At<String>>>("heaters", "the names of its heaters, such as [\"rack-a\"]", f);
        let this = Self {
            place: t.place(),
            name: t.need("name", "the first segment of its points' keys", f),
            index: t.need("index", "0 to 9: it decides the zone's BMS addresses, so it is given once and kept", f),
            heaters: heaters.map(|list| list.value).unwrap_or_default(),
            meter: t.opt("meter", f),
            nominal_efficiency: t.opt("nominal_efficiency", f),
            ramp_up: t.opt("ramp_up", f),
            ramp_down: t.opt("ramp_down", f),
            supply: LimitWritten::read(&mut t, "supply_temperature", f),
            room: LimitWritten::read(&mut t, "room_temperature", f),
            inlet: LimitWritten::read(&mut t, "inlet_temperature", f),
            contracted_power: t.opt("contracted_power", f),
            on_bms_loss: t.item("on_bms_loss").and_then(|item| LossWritten::read(&item, f)),
        };
        t.finish(f);
        this
    }
}

impl LimitWritten {
    fn read(t: &mut Table<'_>, key: &'static str, f: &mut Findings) -> Option<Self> {
        let mut t = t.table(key, f)?;
        let this = Self {
            place: t.place(),
            soft: t.opt("soft", f).map(|at| at.value),
            max: t.opt("max", f).map(|at| at.value),
        };
        t.finish(f);
        Some(this)
    }
}

impl LossWritten {
    const HELP: &'static str = "write \"cancel\", { hold = \"15m\", then = { fallback = \"30 %\", for = \"2h\" } } or \
                                { fallback = \"30 %\", for = \"30m\" }";

    fn read(item: &Item<'_>, f: &mut Findings) -> Option<Self> {
        if let Some(text) = item.as_text() {
            if text == "cancel" {
                return Some(Self::Cancel);
            }
            f.error("unknown-word", &item.place(), format!("`on_bms_loss` cannot be `{text}`"), Self::HELP);
            return None;
        }
        let mut t = item.table(f)?;
        let hold = t.opt::<Duration>("hold", f);
        let this = if t.has("hold") {
            let then = t.item("then").and_then(|item| ThenWritten::read(&item, f));
            hold.map(|hold| Self::Hold { hold: hold.value, then })
        } else {
            let percent = t.need("fallback", Self::HELP, f);
            let for_ = t.need::<Duration>("for", "how long, such as \"30m\"; then the request is cancelled", f);
            percent.zip(for_).map(|(percent, for_)| Self::Fallback { percent, for_: for_.value })
        };
        t.finish(f);
        this
    }
}

impl ThenWritten {
    fn read(item: &Item<'_>, f: &mut Findings) -> Option<Self> {
        if item.as_text() == Some("cancel") {
            return None;
        }
        let mut t = item.table(f)?;
        let this = Self {
            percent: t.need("fallback", "a share of nominal heat, such as \"30 %\"", f),
            for_: t.opt("for", f).map(|at| at.value),
            below_outdoor: t.opt("below_outdoor", f).map(|at| at.value),
            ramp: t.opt("ramp", f),
        };
        t.finish(f);
        Some(this)
    }
}

impl PointWritten {
    fn read(mut t: Table<'_>, file: FileDefaults, owner: Owner, f: &mut Findings) -> Self {
        let place = t.place();
        let source = match t.item("source") {
            None if owner == Owner::Profile => {
                t.missing("source", "where it is read: source = { input = 0, type = \"f32\" }", f);
                At { value: SourceWritten::Device { device: None, at: None }, place: place.clone() }
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
        let help = "write { device = \"...\", input = 0, ... }, or leave it out for a point that writers command";
        match item.as_text() {
            Some("engine") if owner == Owner::Template => return Self::Engine,
            Some(text) => {
                f.error("unknown-word", &item.place(), format!("`source` cannot be `{text}`"), help);
                return Self::Device { device: None, at: None };
            }
            None => {}
        }
        let Some(mut t) = item.table(f) else { return Self::Device { device: None, at: None } };
        let device = if owner == Owner::Profile { None } else { t.need("device", "the name of a [[device]]", f) };
        let at = FaceWritten::read_polled(&mut t, file, f).map(Box::new);
        t.finish(f);
        Self::Device { device, at }
    }
}

impl ExampleWritten {
    fn read(mut t: Table<'_>, f: &mut Findings) -> Self {
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

fn points(top: &mut Table<'_>, file: FileDefaults, owner: Owner, f: &mut Findings) -> Vec<PointWritten> {
    top.tables("point", f).into_iter().map(|t| PointWritten::read(t, file, owner, f)).collect()
}

fn services(top: &mut Table<'_>, f: &mut Findings) -> Vec<ServiceWritten> {
    let mut all = Vec::new();
    for (kind, key) in [
        (ServiceKind::TrendLog, "trend_log"),
        (ServiceKind::NotificationClass, "notification_class"),
        (ServiceKind::LoadControl, "load_control"),
    ] {
        for mut t in top.tables(key, f) {
            let instance = t.need("instance", "the object's instance", f);
            let name = t.need("name", "the object's name", f);
            let point = (kind != ServiceKind::NotificationClass).then(|| t.need("point", "a point's key", f)).flatten();
            all.push(ServiceWritten { kind, instance, name, point });
            t.finish(f);
        }
    }
    all
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

impl Read for PowerOrShare {
    fn read(item: &Item<'_>, f: &mut Findings) -> Option<Self> {
        if item.as_text().is_some_and(|text| text.trim_end().ends_with('%')) {
            return Percent::read(item, f).map(|share| Self::Share(share.get() / 100.0));
        }
        Watts::read(item, f).map(Self::Power)
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
            _ => f64::read(item, f).map(Self::Number),
        }
    }
}
