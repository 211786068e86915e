//! The plant while it is built: names and addresses that are taken, and by whom.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::Profiles;
use super::faces::table_word;
use super::target::TargetKey;
use super::written::{ServiceKind, ServiceWritten, SiteFile, TemplateFile, ZoneWritten};
use crate::diagnostic::SourceFile;
use crate::plant::{HeaterId, ObjectKind, Plant, PointDef, ServiceObject, SiteRole, Source, Table, ZoneId, ZoneRole};
use crate::point::{Kind, PointId, PointKey};
use crate::units::Unit;
use crate::written::{At, Findings, Parts, Place, did_you_mean};

/// The first segment of the gateway's own points.
const OWN: &str = "gateway";

/// The plant while it is built.
pub struct Builder {
    /// What was found.
    pub f: Findings,
    /// What there is so far.
    pub plant: Plant,
    /// Where a zone, a heater or a device was named; the three share the first segment of point keys.
    owners: BTreeMap<String, Place>,
    keys: BTreeMap<String, (PointId, Place)>,
    pub(super) registers: BTreeMap<Table, BTreeMap<u32, (u32, Place)>>,
    pub(super) objects: BTreeMap<(ObjectKind, u32), Place>,
    services: BTreeMap<(u8, u32), Place>,
    /// Notification classes that alarms name, and where.
    pub(super) alarm_classes: Vec<(u32, Place)>,
    pub(super) object_names: BTreeMap<String, Place>,
    pub(super) targets: BTreeMap<TargetKey, Place>,
    /// Points that say what a zone will be asked, and where their roles were written.
    pub(super) forecasts: Vec<(ZoneId, ZoneRole, PointId, Place)>,
}

/// What a point is laid out for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Layout {
    /// The zone of a template.
    pub zone: Option<ZoneId>,
    /// Added to every address and instance.
    pub shift: u32,
    /// Where input registers stand once more, as holding registers.
    pub mirror_input_at: Option<u16>,
    /// Its points exist, and are shown nowhere.
    pub hidden: bool,
}

/// A zone and what was written of it.
#[derive(Debug)]
pub struct LaidZone<'a> {
    /// Its place in the plant.
    pub id: ZoneId,
    /// Its index, unless that is wrong or taken.
    pub index: Option<u32>,
    /// As written.
    pub written: &'a ZoneWritten,
}

/// Take a place in a list; who has it already.
pub(super) fn taken<K: Ord>(list: &mut BTreeMap<K, Place>, key: K, place: &Place) -> Option<Place> {
    match list.entry(key) {
        Entry::Occupied(first) => Some(first.get().clone()),
        Entry::Vacant(free) => {
            free.insert(place.clone());
            None
        }
    }
}

impl Builder {
    /// Nothing yet.
    pub fn new(f: Findings) -> Self {
        Self {
            f,
            plant: Plant::default(),
            owners: BTreeMap::new(),
            keys: BTreeMap::new(),
            registers: BTreeMap::new(),
            objects: BTreeMap::new(),
            services: BTreeMap::new(),
            alarm_classes: Vec::new(),
            object_names: BTreeMap::new(),
            targets: BTreeMap::new(),
            forecasts: Vec::new(),
        }
    }

    /// Everything, in the order in which later parts refer to earlier ones. `long`: the site's points, when there are so
    /// many that they are read only now.
    pub fn site(
        &mut self,
        site: &SiteFile,
        long: Option<(&Arc<SourceFile>, &Parts)>,
        templates: &[TemplateFile],
        profiles: &Profiles,
    ) {
        self.heaters(&site.heaters);
        self.devices(&site.devices, profiles);
        let zones = self.zones(&site.zones);
        let mut laid_out = Vec::new();
        for template in templates {
            self.plant.map_version = self.plant.map_version.max(template.version);
            let stride = u16::try_from(template.stride).unwrap_or(u16::MAX);
            self.plant.modbus.stride = self.plant.modbus.stride.max(stride);
            for zone in &zones {
                laid_out.push((template, self.template(template, zone, site)));
            }
        }
        self.heater_points();
        self.device_points(&site.devices, profiles);
        self.meters(&zones, &site.devices, profiles);
        for point in &site.points {
            self.point(point, Layout::default());
        }
        for document in long.into_iter().flat_map(|(file, parts)| parts.documents(file)) {
            for point in site.more(&document, &mut self.f) {
                self.point(&point, Layout::default());
            }
        }
        for output in &site.outputs {
            let Some(name) = &output.point else { continue };
            if let Some(point) = self.key(name, Layout::default()) {
                self.targets(std::slice::from_ref(&output.target), point, Layout::default(), &name.value);
            }
        }
        // Last, because they name points.
        for (template, layout) in laid_out {
            for service in &template.services {
                self.service(service, layout);
            }
        }
        for service in &site.services {
            self.service(service, Layout::default());
        }
        self.classes_exist();
        self.forecasts_are_whole();
        self.own_points();
    }

    /// The plant, with everything in its promised order, and what was found.
    pub fn finish(mut self) -> (Plant, Findings) {
        self.plant.modbus.faces.sort_by_key(|face| (face.table, face.address));
        self.plant.modbus.zero_filled.sort_unstable();
        self.plant.bacnet.sort_by_key(|face| (face.kind, face.instance));
        self.plant.points.shrink_to_fit();
        self.plant.devices.iter_mut().for_each(|device| device.points.shrink_to_fit());
        (self.plant, self.f)
    }

    /// Lay a template out for a zone, but for its services.
    fn template(&mut self, template: &TemplateFile, zone: &LaidZone<'_>, site: &SiteFile) -> Layout {
        // Without an index of its own the zone would only collide with another one, address by address.
        let shift = template.stride * zone.index.unwrap_or_default();
        let hidden = zone.index.is_none();
        let zone = zone.id;
        let layout = Layout { zone: Some(zone), shift, mirror_input_at: template.mirror_input_at, hidden };
        let name = self.plant.zone(zone).map(|zone| zone.name.clone()).unwrap_or_default();
        for point in &template.points {
            // A site that defines a point of the same name replaces the template's.
            let key = point.name.as_ref().map(|at| at.value.replace("{zone}", &name));
            if !key.is_some_and(|key| site.names.contains(&key)) {
                self.point(point, layout);
            }
        }
        if let (Some((first, last)), false) = (template.zero_filled, hidden) {
            let mirror = template.mirror_input_at.map(|at| (Table::Holding, u32::from(at)));
            let tables = [Table::Coil, Table::Discrete, Table::Input, Table::Holding].map(|table| (table, 0));
            for (table, at) in tables.into_iter().chain(mirror) {
                let block = |address: u16| u16::try_from(u32::from(address) + shift + at).ok();
                if let Some((first, last)) = block(first).zip(block(last)) {
                    self.plant.modbus.zero_filled.push((table, first, last));
                }
            }
        }
        layout
    }

    /// Take a first segment of point keys; `None` when it cannot be had.
    pub fn owner(&mut self, name: Option<&At<String>>) -> Option<String> {
        let At { value: name, place } = name?;
        if PointKey::new(name.as_str()).is_err() || name.contains('/') {
            let help = "a-z, 0-9, '_', '.', '-'";
            self.f.error("bad-name", place, format!("`{name}` cannot be a name"), help);
            return None;
        }
        if name == OWN {
            let help = "choose another one";
            self.f.error("duplicate-name", place, format!("`{OWN}` is kept for the gateway's own points"), help);
            return None;
        }
        if let Some(first) = self.owners.get(name) {
            let help = format!("also at {}; zones, heaters and devices share their names", first.line());
            self.f.error("duplicate-name", place, format!("`{name}` is named twice"), help);
            return None;
        }
        self.owners.insert(name.clone(), place.clone());
        Some(name.clone())
    }

    /// Where a zone, a heater or a device was named.
    pub fn owner_place(&self, name: &str) -> Option<Place> {
        self.owners.get(name).cloned()
    }

    /// Add a point under a new key.
    pub fn add(&mut self, def: PointDef, place: &Place) -> Option<PointId> {
        if let Some((_, first)) = self.keys.get(def.key.as_str()) {
            let help = format!("also at {}", first.line());
            self.f.error("duplicate-name", place, format!("there is a point `{}` already", def.key), help);
            return None;
        }
        let id = PointId(u32::try_from(self.plant.points.len()).unwrap_or(u32::MAX));
        self.keys.insert(def.key.as_str().to_owned(), (id, place.clone()));
        self.plant.points.push(PointDef { id, ..def });
        Some(id)
    }

    /// Add a point that no file writes down.
    pub fn add_own(
        &mut self,
        key: String,
        kind: Kind,
        unit: Unit,
        source: Source,
        about: &str,
        texts: &[&str],
    ) -> Option<PointId> {
        // Parts of the key were checked when they were named; an over-long one is found here.
        let owner = key.split('/').next().and_then(|owner| self.owners.get(owner)).cloned();
        let Ok(key) = PointKey::new(key.clone()) else {
            if let Some(place) = &owner {
                self.f.error("bad-name", place, format!("`{key}` is too long for a key"), "at most 120 characters");
            }
            return None;
        };
        let deadband = match unit {
            Unit::Kilowatt | Unit::Celsius => 0.1,
            Unit::CubicMetrePerHour => 0.01,
            Unit::Second => 1.0,
            _ => 0.0,
        };
        let last = texts.len();
        #[expect(clippy::cast_precision_loss, reason = "a handful of states")]
        let range = (kind == Kind::State).then_some((1.0, last as f64));
        let def = PointDef {
            id: PointId(0),
            key,
            description: about.to_owned(),
            kind,
            unit,
            range,
            absent: None,
            texts: texts.iter().map(|text| (*text).to_owned()).collect(),
            source,
            deadband,
        };
        if let Some(place) = owner {
            return self.add(def, &place);
        }
        let id = PointId(u32::try_from(self.plant.points.len()).unwrap_or(u32::MAX));
        self.plant.points.push(PointDef { id, ..def });
        Some(id)
    }

    fn own_points(&mut self) {
        for (role, unit, about) in [
            (SiteRole::BrokerLink, Unit::None, "The broker is connected"),
            (SiteRole::DurabilityAge, Unit::Second, "Age of the last durable state"),
            (SiteRole::SiteAlarms, Unit::None, "Alarms of the site as bits"),
        ] {
            let key = format!("{OWN}/{}", role.as_str());
            if let Some(id) = self.add_own(key, role.kind(), unit, Source::Engine, about, &[]) {
                self.plant.site.bind(role, id);
            }
        }
    }

    /// A point by its key, as another part of a file names it.
    pub fn key(&mut self, name: &At<String>, layout: Layout) -> Option<PointId> {
        let key = self.fill(&name.value, layout);
        let found = self.keys.get(&key).map(|(id, _)| *id);
        if found.is_none() {
            let help = did_you_mean(&key, self.keys.keys().map(String::as_str));
            self.f.error("unknown-reference", &name.place, format!("there is no point `{key}`"), help);
        }
        found
    }

    /// Put the zone's name in place of `{zone}`.
    pub fn fill(&self, text: &str, layout: Layout) -> String {
        match layout.zone.and_then(|zone| self.plant.zone(zone)) {
            Some(zone) => text.replace("{zone}", &zone.name),
            None => text.to_owned(),
        }
    }

    fn service(&mut self, written: &ServiceWritten, layout: Layout) {
        let point = written.point.as_ref().map(|name| self.key(name, layout));
        let (Some(instance), Some(name), false) = (&written.instance, &written.name, layout.hidden) else { return };
        let number = instance.value.saturating_add(layout.shift);
        if number > super::faces::LAST_INSTANCE {
            let message = format!("{number} is no instance");
            self.f.error("out-of-range", &instance.place, message, "at most 4194302");
        }
        if let Some(first) = taken(&mut self.services, (written.kind as u8, number), &instance.place) {
            let help = format!("also at {}", first.line());
            self.f.error("instance-overlap", &instance.place, format!("instance {number} is taken"), help);
        }
        let text = self.fill(&name.value, layout);
        self.object_name(&text, &name.place);
        let Ok(name) = PointKey::new(text.clone()).map_err(|why| {
            self.f.error("bad-name", &name.place, format!("`{text}` cannot be a name"), why.to_string());
        }) else {
            return;
        };
        let instance = number;
        let object = match (written.kind, point.flatten()) {
            (ServiceKind::NotificationClass, _) => {
                ServiceObject::NotificationClass { instance, name, defaults: written.class.defaults() }
            }
            (ServiceKind::TrendLog, Some(point)) => {
                self.loggable(point, written);
                ServiceObject::TrendLog { instance, point, name, records: written.parts.records(&mut self.f) }
            }
            (ServiceKind::LoadControl, Some(point)) => {
                self.sheddable(point, written);
                ServiceObject::LoadControl { instance, name, point, levels: written.parts.levels(&mut self.f) }
            }
            (_, None) => return,
        };
        self.plant.bacnet_services.push(object);
    }

    fn loggable(&mut self, point: PointId, written: &ServiceWritten) {
        if let (Some(at), false) = (&written.point, self.plant.bacnet.iter().any(|face| face.point == point)) {
            let help = "a trend log records the Present_Value of an object: give the point a `bacnet` face";
            self.f.error("no-object", &at.place, format!("`{}` is no BACnet object", at.value), help);
        }
        let text = self.plant.point(point).is_some_and(|def| def.kind == Kind::Text);
        if let (Some(at), true) = (&written.point, text) {
            let message = format!("`{}` is a text, and a trend log keeps numbers", at.value);
            self.f.error("kind-does-not-fit", &at.place, message, "take the log out");
        }
    }

    fn sheddable(&mut self, point: PointId, written: &ServiceWritten) {
        let fits = |def: &PointDef| def.commandable().is_some() && def.unit.quantity() == crate::units::Quantity::Power;
        if let (Some(at), Some(false)) = (&written.point, self.plant.point(point).map(fits)) {
            let help = "load control sets a limit: a point that is a power and that writers command";
            self.f.error("kind-does-not-fit", &at.place, format!("`{}` cannot be shed", at.value), help);
        }
    }

    /// Take an Object_Name.
    pub fn object_name(&mut self, name: &str, place: &Place) {
        if let Some(first) = taken(&mut self.object_names, name.to_owned(), place) {
            let help = format!("also at {}; give this one an `object_name`", first.line());
            self.f.error("duplicate-name", place, format!("there is an object `{name}` already"), help);
        }
    }

    /// Take registers or bits.
    pub fn occupy(&mut self, table: Table, address: u16, width: u16, place: &Place) {
        let (first, end) = (u32::from(address), u32::from(address) + u32::from(width));
        let taken = self.registers.entry(table).or_default();
        let before = taken.range(..end).next_back().filter(|(_, (other_end, _))| *other_end > first);
        if let Some((other, (other_end, at))) = before {
            let span = |first: u32, end: u32| {
                if end - first > 1 { format!("{first} to {}", end - 1) } else { format!("{first}") }
            };
            let message = format!("{} {} is taken", table_word(table), span(first, end));
            let help = format!("{} has {}", at.line(), span(*other, *other_end));
            self.f.error("address-overlap", place, message, help);
            return;
        }
        taken.insert(first, (end, place.clone()));
    }

    /// A heater by its name in the plant so far.
    pub fn heater_named(&self, name: &str) -> Option<HeaterId> {
        self.plant.heaters.iter().find(|heater| heater.name == name).map(|heater| heater.id)
    }
}
