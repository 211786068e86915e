//! Which objects the device has and which properties each of them has: fixed once the plant is compiled.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bacnet_types::enums::{ObjectType, PropertyIdentifier};
use bacnet_types::primitives::ObjectIdentifier;

use super::{class, device, load, point, port, trend};
use crate::bacnet::further::PortState;
use crate::bacnet::settings::Settings;
use crate::plant::{Plant, ServiceObject};

/// What stands behind an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bacnet) enum Body {
    Device,
    /// A port, by its place.
    Port(usize),
    /// A face of the plant, by its place there.
    Face(usize),
    /// A trend log, by its place among the plant's service objects.
    Trend(usize),
    /// A load control, by its place there.
    Load(usize),
    /// A notification class, by its place there.
    Class(usize),
}

/// What WriteProperty may do with a property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::bacnet) enum Access {
    /// Nothing.
    Read,
    /// Write it: it is the device's own.
    Write,
    /// Command it through the priority array: the engine decides.
    Command,
    /// Write it where the object may be taken out of service: it is the device's own, and simulated.
    Service,
}

/// One property of an object, in the order of Property_List. Reading, writing and the printed PICS all follow it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::bacnet) struct Row {
    pub(in crate::bacnet) property: PropertyIdentifier,
    /// REQUIRED of ReadPropertyMultiple names it; else OPTIONAL does.
    pub(in crate::bacnet) required: bool,
    pub(in crate::bacnet) access: Access,
}

impl Row {
    /// The same, writable.
    pub(super) const fn writable(self) -> Self {
        Self { access: Access::Write, ..self }
    }

    /// The same, commandable where `yes`.
    pub(super) const fn commandable(self, yes: bool) -> Self {
        Self { access: if yes { Access::Command } else { self.access }, ..self }
    }

    /// The same, written while out of service, where `yes`.
    pub(super) const fn simulated(self, yes: bool) -> Self {
        Self { access: if yes { Access::Service } else { self.access }, ..self }
    }
}

/// A row that the object type requires.
pub(super) const fn must(property: PropertyIdentifier) -> Row {
    Row { property, required: true, access: Access::Read }
}

/// A row that the object type leaves open.
pub(super) const fn may(property: PropertyIdentifier) -> Row {
    Row { property, required: false, access: Access::Read }
}

/// One object.
#[derive(Debug)]
pub(in crate::bacnet) struct Entry {
    pub(in crate::bacnet) id: ObjectIdentifier,
    pub(in crate::bacnet) name: String,
    pub(in crate::bacnet) body: Body,
    pub(in crate::bacnet) rows: Arc<[Row]>,
}

impl Entry {
    /// One of its properties, when it has it.
    pub(in crate::bacnet) fn row(&self, property: PropertyIdentifier) -> Option<Row> {
        self.rows.iter().find(|row| row.property == property).copied()
    }
}

/// All objects of the device: itself first, its ports, then the faces in the order of the mapping.
#[derive(Debug)]
pub(in crate::bacnet) struct Catalog {
    entries: Vec<Entry>,
    by_id: foldhash::HashMap<ObjectIdentifier, usize>,
    by_name: HashMap<String, usize>,
    /// A fingerprint of identifiers and names: Database_Revision moves when it is another one.
    pub(in crate::bacnet) fingerprint: u64,
}

impl Catalog {
    /// Of a plant. A face with an impossible identifier, a second one of the same, or one without its point is left
    /// out; the mapping's checks let none of them through.
    pub(in crate::bacnet) fn new(plant: &Plant, settings: &Settings) -> Self {
        let mut catalog =
            Self { entries: Vec::new(), by_id: foldhash::HashMap::default(), by_name: HashMap::new(), fingerprint: 0 };
        catalog.add(ObjectType::DEVICE, settings.instance, settings.name.clone(), Body::Device, device::rows().into());
        for (place, line) in PortState::initial(settings).iter().enumerate() {
            let mut name = format!("{} port", settings.name);
            if place > 0 {
                name = format!("{name} {}", place + 1);
            }
            while plant.bacnet.iter().any(|face| face.name == name) {
                name.push('\'');
            }
            let instance = u32::try_from(place + 1).unwrap_or(u32::MAX);
            catalog.add(ObjectType::NETWORK_PORT, instance, name, Body::Port(place), port::rows(line).into());
        }
        let mut shared: HashMap<Vec<Row>, Arc<[Row]>> = HashMap::new();
        for (place, face) in plant.bacnet.iter().enumerate() {
            let Some(def) = plant.point(face.point) else { continue };
            let rows = point::rows(face.kind, point::Shape::of(def, face));
            let rows = shared.entry(rows).or_insert_with_key(|rows| rows.as_slice().into()).clone();
            let kind = ObjectType::from_raw(u32::from(face.kind.code()));
            catalog.add(kind, face.instance, face.name.clone(), Body::Face(place), rows);
        }
        let [classes, logs, loads] = [class::rows(), trend::rows(), load::rows()].map(Arc::<[Row]>::from);
        for (place, service) in plant.bacnet_services.iter().enumerate() {
            let (kind, instance, name, body, rows) = match service {
                ServiceObject::TrendLog { instance, name, .. } => {
                    (ObjectType::TREND_LOG, instance, name, Body::Trend(place), &logs)
                }
                ServiceObject::LoadControl { instance, name, .. } => {
                    (ObjectType::LOAD_CONTROL, instance, name, Body::Load(place), &loads)
                }
                ServiceObject::NotificationClass { instance, name, .. } => {
                    (ObjectType::NOTIFICATION_CLASS, instance, name, Body::Class(place), &classes)
                }
            };
            catalog.add(kind, *instance, name.to_string(), body, Arc::clone(rows));
        }
        let mut fingerprint = DefaultHasher::new();
        for entry in &catalog.entries {
            entry.id.hash(&mut fingerprint);
            entry.name.hash(&mut fingerprint);
        }
        catalog.fingerprint = fingerprint.finish();
        catalog
    }

    fn add(&mut self, kind: ObjectType, instance: u32, name: String, body: Body, rows: Arc<[Row]>) {
        let Ok(id) = ObjectIdentifier::new_addressable(kind, instance) else { return };
        if self.by_id.contains_key(&id) {
            return;
        }
        let place = self.entries.len();
        self.by_id.insert(id, place);
        self.by_name.entry(name.clone()).or_insert(place);
        self.entries.push(Entry { id, name, body, rows });
    }

    /// The object of an identifier, by its place. The wildcard instance means our own Device or first Network Port
    /// (clause 15.5.2).
    pub(in crate::bacnet) fn place(&self, id: ObjectIdentifier) -> Option<usize> {
        let wildcard = id.instance_number() == ObjectIdentifier::WILDCARD_INSTANCE;
        match id.object_type() {
            ObjectType::DEVICE if wildcard => self.entries.iter().position(|entry| entry.body == Body::Device),
            ObjectType::NETWORK_PORT if wildcard => self.entries.iter().position(|entry| entry.body == Body::Port(0)),
            _ => self.by_id.get(&id).copied(),
        }
    }

    /// The object of an identifier.
    pub(in crate::bacnet) fn find(&self, id: ObjectIdentifier) -> Option<&Entry> {
        self.entries.get(self.place(id)?)
    }

    /// The object of a name.
    pub(in crate::bacnet) fn named(&self, name: &str) -> Option<&Entry> {
        self.entries.get(*self.by_name.get(name)?)
    }

    /// All of them.
    pub(in crate::bacnet) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Our Device object.
    pub(in crate::bacnet) fn device(&self) -> Option<ObjectIdentifier> {
        self.entries.first().map(|entry| entry.id)
    }
}
