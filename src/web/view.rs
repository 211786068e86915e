//! From plant, image and decision to what is said about them. Pure.

use crate::decision::{Decision, Reason, ZoneDecision};
use crate::plant::{Device, Heater, HeaterRole, Link, Plant, PointDef, SiteRole, Source, Zone, ZoneRole};
use crate::point::{Fault, Image, Kind, PointId, PointState, Reading, Value};
use crate::time::Now;

use super::api;

/// Everything that the views are made from, at one instant.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The site's id.
    pub site: &'a str,
    /// The plant.
    pub plant: &'a Plant,
    /// The newest image.
    pub image: &'a Image,
    /// The newest decision.
    pub decision: &'a Decision,
    /// The present instant.
    pub now: Now,
}

fn scalar(value: Value) -> api::Scalar {
    match value {
        Value::Bool(yes) => api::Scalar::Bool(yes),
        Value::Number(number) => api::Scalar::Number(number.get()),
        Value::Unsigned(count) => api::Scalar::Whole(count),
        Value::State(state) => api::Scalar::Whole(state as u64),
        Value::Energy(energy) => api::Scalar::Whole(energy.wh()),
        Value::Text(text) => api::Scalar::Text(text.to_string()),
    }
}

const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "bool",
        Kind::Number => "number",
        Kind::Unsigned => "unsigned",
        Kind::State => "state",
        Kind::Energy => "energy",
        Kind::Text => "text",
    }
}

/// The name of a state, or of yes and no, where the mapping gives one.
fn text(def: &PointDef, value: Value) -> Option<String> {
    let index = match value {
        Value::Bool(yes) => usize::from(yes),
        Value::State(state) => usize::from(state).checked_sub(1)?,
        _ => return None,
    };
    def.texts.get(index).cloned()
}

impl Scene<'_> {
    fn age(&self, at: Now) -> f64 {
        self.now.mono.since(at.mono).as_secs_f64()
    }

    /// A present number in the base unit of its quantity (W, degC ...); `None` while it is bad.
    fn base(&self, point: Option<PointId>) -> Option<f64> {
        let point = point?;
        let value = self.image.reading(point).value()?;
        Some(value.as_f64() * self.plant.point(point)?.unit.to_base())
    }

    /// All points.
    pub fn points(&self) -> api::Points {
        let states = self.plant.points.iter().filter_map(|def| Some(self.point(def, self.image.get(def.id)?)));
        api::Points {
            site: self.site.to_owned(),
            at: self.image.now.utc.to_string(),
            image_seq: self.image.seq,
            points: states.collect(),
        }
    }

    /// One point by its key.
    pub fn point_by_key(&self, key: &str) -> Option<api::Point> {
        let def = self.plant.by_key(key)?;
        Some(self.point(def, self.image.get(def.id)?))
    }

    fn point(&self, def: &PointDef, state: &PointState) -> api::Point {
        let reading = state.reading();
        let ruling = state.slots.as_ref().and_then(|slots| slots.ruling());
        let slots = state.slots.as_ref().map(|slots| {
            let slot = |(priority, slot): (crate::point::Priority, &crate::point::Slot)| api::Slot {
                priority: priority.get(),
                value: scalar(slot.value),
                by: slot.by.to_string(),
                at: slot.at.utc.to_string(),
                restored: slot.restored,
            };
            slots.occupied().map(slot).collect()
        });
        let commandable = def.commandable();
        // Energies are whole Wh whatever unit the mapping shows them in elsewhere.
        let unit = if def.kind == Kind::Energy { "Wh" } else { def.unit.symbol() };
        api::Point {
            key: def.key.to_string(),
            description: def.description.clone(),
            kind: kind(def.kind).to_owned(),
            value: reading.value().map(scalar),
            last: if reading.value().is_none() { state.last.map(scalar) } else { None },
            text: reading.value().and_then(|value| text(def, value)),
            unit: unit.to_owned(),
            quality: reading.quality().as_str().to_owned(),
            cause: reading.cause(),
            at: state.sample.at.utc.to_string(),
            age_s: self.age(state.sample.at),
            source: self.source(def),
            writable: commandable.is_some(),
            range: def.range,
            priority: ruling.map(|(priority, _)| priority.get()),
            by: ruling.map(|(_, slot)| slot.by.to_string()),
            relinquish_default: commandable.map(|commandable| scalar(commandable.relinquish_default)),
            expires_s: commandable.and_then(|commandable| commandable.expires).map(|after| after.as_secs_f64()),
            slots: slots.unwrap_or_default(),
        }
    }

    fn source(&self, def: &PointDef) -> String {
        match def.source {
            Source::Command(_) => "written".into(),
            Source::Device(id) => {
                self.plant.device(id).map_or_else(|| "device".into(), |device| format!("device {}", device.name))
            }
            Source::Heater(id) => {
                self.plant.heater(id).map_or_else(|| "heater".into(), |heater| format!("heater {}", heater.name))
            }
            Source::Engine => "gateway".into(),
        }
    }

    /// What control wants, and why.
    pub fn decision(&self) -> api::Decision {
        let zones = self.decision.zones.iter().enumerate();
        api::Decision {
            site: self.site.to_owned(),
            at: self.now.utc.to_string(),
            zones: zones.filter_map(|(n, said)| Some(self.zone(n, self.plant.zone(said.zone)?, said))).collect(),
            heaters: self.plant.heaters.iter().map(|heater| self.heater(heater)).collect(),
        }
    }

    fn zone(&self, n: usize, zone: &Zone, said: &ZoneDecision) -> api::Zone {
        let latch = self.decision.latches.get(n).and_then(Option::as_ref);
        api::Zone {
            name: zone.name.clone(),
            state: said.state.as_str().to_owned(),
            source: said.source.as_str().to_owned(),
            mode: said.mode.as_str().to_owned(),
            request_w: said.request.map(|heat| heat.get()),
            delivered_w: self.base(zone.points.get(ZoneRole::HeatDelivered)),
            power_w: self.base(zone.points.get(ZoneRole::ElectricalPower)),
            cap_w: said.cap.get(),
            floor_w: said.floor.get(),
            ceiling_w: said.ceiling.get(),
            rated_w: zone.rated.get(),
            nominal_w: zone.nominal_heat.get(),
            eta: said.eta,
            heat_available_w: said.heat_available.get(),
            heat_minimum_w: said.heat_minimum.get(),
            heat_undelivered_w: said.heat_undelivered.get(),
            dump_w: said.dump.get(),
            alarms: said.alarms.iter().map(|alarm| alarm.as_str().to_owned()).collect(),
            backup_call: said.backup_call,
            fault_code: said.fault_code,
            latched: latch
                .map(|latch| api::Latch { cause: latch.cause.as_str().to_owned(), since: latch.since.to_string() }),
            reasons: self.reasons(&said.reasons),
        }
    }

    fn reasons(&self, reasons: &[Reason]) -> Vec<String> {
        let words = |reason: &Reason| match reason {
            // The reason knows a number; people know a name.
            Reason::HeaterOut { heater, why } => match self.plant.heater(*heater) {
                Some(heater) => format!("heater {} takes no part: {why}", heater.name),
                None => reason.to_string(),
            },
            other => other.to_string(),
        };
        reasons.iter().map(words).collect()
    }

    fn heater(&self, heater: &Heater) -> api::Heater {
        let state = heater.points.get(HeaterRole::State).and_then(|point| {
            let (def, value) = (self.plant.point(point)?, self.image.reading(point).value()?);
            text(def, value).or_else(|| Some(value.to_string()))
        });
        let online = heater.points.get(HeaterRole::Online).and_then(|point| self.image.reading(point).value());
        let place = usize::from(heater.id.0);
        let command = self.decision.desired.commands.get(place).and_then(Option::as_ref);
        api::Heater {
            name: heater.name.clone(),
            zone: self.plant.zone(heater.zone).map(|zone| zone.name.clone()).unwrap_or_default(),
            state,
            online: online.map(Value::as_bool),
            power_w: self.base(heater.points.get(HeaterRole::Power)),
            applied_w: self.base(heater.points.get(HeaterRole::Applied)),
            rated_w: heater.rated.get(),
            command: command.map(|command| api::Command {
                seq: command.seq,
                cap_w: command.cap.get(),
                issued_at: command.issued.utc.to_string(),
                age_s: self.age(command.issued),
                ttl_s: command.ttl.as_secs_f64(),
                fallback_w: command.fallback.get(),
                reasons: self.reasons(&command.reasons),
            }),
        }
    }

    /// What a person wants to know first.
    pub fn status(&self) -> api::Status {
        let links = self.links();
        let mut alarms = Vec::new();
        for (n, said) in self.decision.zones.iter().enumerate() {
            let Some(zone) = self.plant.zone(said.zone) else { continue };
            if let Some(latch) = self.decision.latches.get(n).and_then(Option::as_ref) {
                let since = latch.since;
                alarms.push(format!(
                    "{}: safety is latched by {} since {since}; it is re-armed on the spot",
                    zone.name,
                    latch.cause.as_str()
                ));
            }
            alarms.extend(said.alarms.iter().map(|alarm| format!("{}: {}", zone.name, alarm.as_str())));
            if said.backup_call {
                alarms.push(format!("{}: the backup boiler is called", zone.name));
            }
        }
        let bits = self.plant.site.get(SiteRole::SiteAlarms).and_then(|point| self.image.reading(point).value());
        let bits = bits.and_then(Value::as_u64).unwrap_or(0);
        if bits & 1 != 0 {
            alarms.push("the state cannot be written to disk".to_owned());
        }
        if bits & 2 != 0 {
            alarms.push("the memory of the meters was lost: their totals began anew".to_owned());
        }
        let down = links.iter().filter(|link| link.up == Some(false));
        alarms.extend(down.map(|link| format!("no link to {} ({})", link.name, link.to)));
        api::Status {
            site: self.site.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: self.now.utc.to_string(),
            uptime_s: self.now.mono.secs(),
            alarms,
            links,
        }
    }

    fn links(&self) -> Vec<api::Link> {
        let broker = self.plant.site.get(SiteRole::BrokerLink);
        let broker = broker.map(|point| self.link("broker".into(), "MQTT".into(), point));
        let device = |device: &Device| self.link(device.name.clone(), address(&device.link), device.link_point);
        broker.into_iter().chain(self.plant.devices.iter().map(device)).collect()
    }

    fn link(&self, name: String, to: String, point: PointId) -> api::Link {
        let reading = self.image.reading(point);
        let up = match reading {
            Reading::Bad(Fault::NeverRead) => None,
            Reading::Bad(_) => Some(false),
            Reading::Good(value) | Reading::Uncertain(value, _) => Some(value.as_bool()),
        };
        api::Link { name, to, up, cause: reading.cause() }
    }
}

fn address(link: &Link) -> String {
    match link {
        Link::Modbus { line, unit } => format!("{line}, unit {unit}"),
        Link::Bacnet { instance, address: Some(([a, b, c, d], port)) } => {
            format!("BACnet device {instance} at {a}.{b}.{c}.{d}:{port}")
        }
        Link::Bacnet { instance, address: None } => format!("BACnet device {instance}"),
    }
}
