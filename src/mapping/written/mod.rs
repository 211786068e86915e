//! Mapping files as written: every field with its place, names not yet resolved. Reading finds unknown keys, wrong types
//! and missing fields; it never stops at one of them.

mod extra;
mod field;
mod parts;
mod point;
mod reads;

pub use extra::{ExtraWritten, StatesWritten};
pub use field::{FieldWritten, OutputWritten, PropertyWritten, TargetWritten};
pub use parts::{DeviceWritten, HeaterWritten, LimitWritten, LossWritten, PowerOrShare, ZoneWritten};
pub use point::{
    Bound, DefaultWritten, ExampleWritten, Expected, Field, PointWritten, ServiceKind, ServiceWritten, SourceWritten,
    a, kind_word,
};

pub use reads::ReadsWritten;

use std::collections::BTreeSet;
use std::time::Duration;

use super::alarm::ClassWritten;
use super::faces::{OFFLINE, base};
use super::service::ServiceParts;
use crate::plant::{Offline, WordOrder};
use crate::written::{At, Document, Findings, Table};

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
    /// What the BMS is shown while a point is bad.
    pub offline: Option<Offline>,
}

/// A site's mapping.
#[derive(Debug, Default)]
pub struct SiteFile {
    defaults: FileDefaults,
    pub templates: Vec<At<String>>,
    pub devices: Vec<DeviceWritten>,
    pub heaters: Vec<HeaterWritten>,
    pub zones: Vec<ZoneWritten>,
    /// Those that were read with the file; of a long one none are.
    pub points: Vec<PointWritten>,
    /// The names of all points, of a long file too.
    pub names: BTreeSet<String>,
    pub outputs: Vec<OutputWritten>,
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
    pub reads: ReadsWritten,
    pub points: Vec<PointWritten>,
    pub examples: Vec<ExampleWritten>,
}

/// So that the last of ten zones still has addresses.
const LONGEST_STRIDE: u32 = 7_000;

impl SiteFile {
    /// Read a site's mapping.
    pub fn read(document: &Document<'_>, f: &mut Findings) -> Self {
        let mut top = document.table();
        let file = FileDefaults::read(&mut top, f);
        let mut site = Self {
            defaults: file,
            names: BTreeSet::new(),
            templates: top.opt::<Vec<At<String>>>("use", f).map(|list| list.value).unwrap_or_default(),
            devices: top.tables("device", f).into_iter().map(|t| DeviceWritten::read(t, file, f)).collect(),
            heaters: top.tables("heater", f).into_iter().map(|t| HeaterWritten::read(t, f)).collect(),
            zones: top.tables("zone", f).into_iter().map(|t| ZoneWritten::read(t, f)).collect(),
            points: points(&mut top, file, Owner::Site, f),
            outputs: top.tables("target", f).into_iter().map(|t| OutputWritten::read(t, file, f)).collect(),
            services: services(&mut top, f),
        };
        site.names.extend(site.points.iter().filter_map(|point| Some(point.name.as_ref()?.value.clone())));
        if !top.has("zone") {
            top.missing("zone", "a site has at least one [[zone]]", f);
        }
        top.finish(f);
        site
    }

    /// Read some more points of the same file.
    pub fn more(&self, document: &Document<'_>, f: &mut Findings) -> Vec<PointWritten> {
        points(&mut document.table(), self.defaults, Owner::Site, f)
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
            reads: ReadsWritten::read(&mut top, file, f),
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
            base: top.item("address_base").and_then(|item| base(&item, f)),
            offline: top.word("offline", OFFLINE, f).map(|at| at.value),
            order: top.word("word_order", WordOrder::TABLE, f).map(|at| at.value),
        }
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
            let class = if kind == ServiceKind::NotificationClass {
                ClassWritten::read(&mut t, f)
            } else {
                ClassWritten::default()
            };
            let parts = match kind {
                ServiceKind::TrendLog => ServiceParts::of_log(&mut t, f),
                ServiceKind::LoadControl => ServiceParts::of_load(&mut t, f),
                ServiceKind::NotificationClass => ServiceParts::default(),
            };
            all.push(ServiceWritten { kind, instance, name, point, class, parts });
            t.finish(f);
        }
    }
    all
}
