//! `[[device]]` to polled devices and meters: the link, what is read, and what a meter's points mean.

use std::time::Duration;

use super::Profiles;
use super::build::{Builder, LaidZone};
use super::point::Meaning;
use super::written::{DeviceWritten, FieldWritten, PointWritten, ProfileFile, SourceWritten};
use crate::plant::{Device, DeviceId, DevicePoint, Link, Meter, MeterId, MeterRole, ModbusLine, Roles, Source, ZoneId};
use crate::point::{Kind, PointId};
use crate::time::Timeout;
use crate::units::{Unit, Watts};
use crate::written::{At, Place, did_you_mean};

/// Faster than that nobody polls.
const FASTEST: Duration = Duration::from_millis(50);

/// A Modbus device answers within a second, or a network is broken.
const MODBUS_TIMEOUT: Timeout = Timeout::millis(1000);

/// APDU_Timeout as devices are delivered (ASHRAE 135, 12.11.28: 3,000 ms where nothing else is said): behind a router to a
/// serial network an answer takes that long.
const BACNET_TIMEOUT: Timeout = Timeout::millis(3000);

impl Builder {
    /// All devices, still without what is read from them.
    pub fn devices(&mut self, written: &[DeviceWritten], profiles: &Profiles) {
        for device in written {
            let link = self.link(device).unwrap_or_else(refused);
            let bacnet = matches!(link, Link::Bacnet { .. });
            let Some(name) = self.owner(device.name.as_ref()) else { continue };
            let profile = profile_of(device, profiles);
            let poll = device.poll.as_ref().map(|at| at.value).or_else(|| profile?.poll);
            let poll = poll.unwrap_or(Duration::from_secs(10));
            if let Some(at) = device.poll.as_ref().filter(|_| poll < FASTEST) {
                self.f.error("out-of-range", &at.place, "no device is polled that fast", "50ms or more");
            }
            let usual = if bacnet { BACNET_TIMEOUT } else { MODBUS_TIMEOUT };
            let timeout = device.timeout.as_ref().map_or(Some(usual), |at| Timeout::new(at.value));
            if let (None, Some(at)) = (timeout, &device.timeout) {
                self.f.error("out-of-range", &at.place, "a time-out cannot be that long or short", "1ms to 10m");
            }
            let id = DeviceId(u16::try_from(self.plant.devices.len()).unwrap_or(u16::MAX));
            let mut made = Device::new(id, name, link, PointId(0));
            made.poll = poll;
            made.timeout = timeout.unwrap_or(usual);
            device.reads.apply(profile.map(|profile| &profile.reads), &mut made);
            self.plant.devices.push(made);
        }
    }

    /// A device as another part of a file names it.
    pub fn device_named(&mut self, name: &At<String>) -> Option<DeviceId> {
        let found = self.plant.devices.iter().find(|device| device.name == name.value).map(|device| device.id);
        if found.is_none() {
            let help = did_you_mean(&name.value, self.plant.devices.iter().map(|device| device.name.as_str()));
            self.f.error("unknown-reference", &name.place, format!("there is no device `{}`", name.value), help);
        }
        found
    }

    /// The points that profiles give to devices, and the state of each link.
    pub fn device_points(&mut self, written: &[DeviceWritten], profiles: &Profiles) {
        for device in written {
            let Some((id, name)) = self.find(device) else { continue };
            for point in points_of(device, profiles) {
                self.profile_point(point, id, &name);
            }
            let key = format!("{name}/link");
            let texts = ["down", "up"];
            let link = self.add_own(key, Kind::Bool, Unit::None, Source::Device(id), "The link is up", &texts);
            if let (Some(link), Some(device)) = (link, self.plant.devices.get_mut(usize::from(id.0))) {
                device.link_point = link;
            }
        }
    }

    /// The device that was made of this, unless its name was refused or given twice.
    fn find(&self, written: &DeviceWritten) -> Option<(DeviceId, String)> {
        let at = written.name.as_ref()?;
        let first = self.owner_place(&at.value)?;
        if first.span != at.place.span {
            return None;
        }
        let device = self.plant.devices.iter().find(|device| device.name == at.value)?;
        Some((device.id, device.name.clone()))
    }

    fn profile_point(&mut self, written: &PointWritten, device: DeviceId, owner: &str) -> Option<PointId> {
        let name = written.name.as_ref()?;
        let key = self.point_key(&format!("{owner}/{}", name.value), &name.place)?;
        let role = written.role.as_ref().and_then(|role| self.meter_role(role));
        let def = self.define(written, key, role.map(Meaning::from), None, Some(device))?;
        let id = self.add(def, &name.place)?;
        self.polled(written, id, Some(device));
        Some(id)
    }

    fn meter_role(&mut self, at: &At<String>) -> Option<MeterRole> {
        let role = MeterRole::parse(&at.value);
        let help = || did_you_mean(&at.value, MeterRole::ALL.iter().map(|role| role.as_str()));
        match role {
            None => self.f.error("unknown-role", &at.place, format!("a meter has no `{}`", at.value), help()),
            Some(MeterRole::Total) => {
                let help = "the register that counts is role = \"energy_counter\"";
                self.f.error("role-does-not-fit", &at.place, "`total` is computed", help);
            }
            Some(_) => {}
        }
        role.filter(|role| *role != MeterRole::Total)
    }

    /// Let a device feed a point.
    pub fn polled(&mut self, written: &PointWritten, id: PointId, device: Option<DeviceId>) {
        let SourceWritten::Device { at: Some(field), extra, .. } = &written.source.value else { return };
        let (Some(device), Some(def)) = (device, self.plant.point(id).cloned()) else { return };
        let label = written.name.as_ref().map_or("", |at| at.value.as_str());
        let Some(mut place) = self.field_place(field, device, &def, label) else { return };
        let base = if let FieldWritten::Register(modbus) = &**field { modbus.base } else { 0 };
        extra.apply(&mut place, base, &mut self.f);
        if let Some(at) = extra.poll.as_ref().filter(|at| at.value < FASTEST) {
            self.f.error("out-of-range", &at.place, "no device is polled that fast", "50ms or more");
        }
        let poll = extra.poll.as_ref().map(|at| at.value);
        if let Some(device) = self.plant.devices.get_mut(usize::from(device.0)) {
            device.points.push(DevicePoint { point: id, place, poll });
        }
    }

    /// A meter for each device that a zone names as its meter.
    pub fn meters(&mut self, zones: &[LaidZone<'_>], devices: &[DeviceWritten], profiles: &Profiles) {
        for zone in zones {
            let Some(at) = &zone.written.meter else { continue };
            let Some(device) = self.device_named(at) else { continue };
            if self.plant.meters.iter().any(|meter| meter.device == device) {
                let help = "its heat would be counted twice: each zone has its own";
                self.f.error("duplicate-name", &at.place, format!("`{}` meters another zone", at.value), help);
                continue;
            }
            let source = devices.iter().find(|d| d.name.as_ref().map(|name| &name.value) == Some(&at.value));
            let Some(source) = source else { continue };
            self.meter(zone.id, device, at, source, profiles);
        }
    }

    fn meter(&mut self, zone: ZoneId, device: DeviceId, at: &At<String>, source: &DeviceWritten, profiles: &Profiles) {
        let profile = profile_of(source, profiles);
        let known = profile.is_some() || !source.points.is_empty();
        if source.profile.is_none() && !known {
            let help = "its profile says which register is the power and which counts energy";
            self.f.error("no-role", &at.place, format!("`{}` has no profile", at.value), help);
        }
        let mut meter = Meter {
            id: MeterId(u16::try_from(self.plant.meters.len()).unwrap_or(u16::MAX)),
            name: at.value.clone(),
            device,
            modulus_wh: u64::MAX,
            max_power: Watts::ZERO,
            max_age: Duration::ZERO,
            points: Roles::default(),
        };
        for point in points_of(source, profiles) {
            let role = point.role.as_ref().and_then(|role| MeterRole::parse(&role.value));
            let (Some(role), Some(name), Some(role_at)) = (role, &point.name, &point.role) else { continue };
            let key = format!("{}/{}", at.value, name.value);
            let Some(id) = self.plant.by_key(&key).map(|def| def.id) else { continue };
            if meter.points.bind(role, id).is_some() {
                let message = format!("`{}` is bound twice", role_at.value);
                self.f.error("duplicate-role", &role_at.place, message, "one point for each role");
            }
            if role == MeterRole::EnergyCounter {
                meter.modulus_wh = self.modulus(point, &role_at.place);
            }
        }
        for (role, word) in [(MeterRole::Power, "power"), (MeterRole::EnergyCounter, "energy_counter")] {
            if known && meter.points.get(role).is_none() {
                let message = format!("no point of `{}` has the role `{word}`", at.value);
                let help = "a zone's meter shows power and counts energy: say which register in a [[device.point]]";
                self.f.error("no-role", &at.place, message, help);
            }
        }
        // A profile that says it has one was reported.
        let claimed = |point: &&PointWritten| point.role.as_ref().is_some_and(|role| role.value == "total");
        if points_of(source, profiles).any(|point| claimed(&point)) {
            return;
        }
        let total = format!("{}/total", at.value);
        let about = "Total of heat; never decreases";
        if let Some(id) = self.add_own(total, Kind::Energy, Unit::WattHour, Source::Engine, about, &[]) {
            meter.points.bind(MeterRole::Total, id);
        }
        let rated = self.plant.zone(zone).map_or(Watts::ZERO, |zone| zone.rated);
        meter.max_power = source.max_power.as_ref().map_or(rated, |at| at.value);
        if let Some(at) = source.max_power.as_ref().filter(|at| at.value <= Watts::ZERO) {
            self.f.error("out-of-range", &at.place, "the highest plausible heat is above 0", "such as \"80 kW\"");
        }
        // Heat meters refresh their values every 4 to 64 s, whatever the polling.
        let poll = self.plant.device(device).map_or(Duration::ZERO, |device| device.poll);
        // What is subscribed is read at every third poll only.
        let bacnet = self.plant.device(device).is_some_and(|device| matches!(device.link, Link::Bacnet { .. }));
        let age = poll.saturating_mul(if bacnet { 5 } else { 3 }).max(Duration::from_secs(60));
        meter.max_age = source.max_age.as_ref().map_or(age, |at| at.value);
        if let Some(at) = source.max_age.as_ref().filter(|at| at.value <= poll) {
            self.f.error("out-of-range", &at.place, "older than that it is at every poll", "at least three polls");
        }
        if let Some(zone) = self.plant.zones.get_mut(usize::from(zone.0)) {
            zone.meter = Some(meter.id);
        }
        self.plant.meters.push(meter);
    }

    fn modulus(&mut self, point: &PointWritten, role: &Place) -> u64 {
        let Some(at) = &point.rollover else {
            let help = "where the counter starts at 0 again, such as rollover = \"10000000 kWh\"";
            self.f.error("missing-key", role, "an energy counter needs `rollover`", help);
            return u64::MAX;
        };
        if at.value.wh() == 0 {
            self.f.error("out-of-range", &at.place, "no counter ends at 0", "such as \"10000000 kWh\"");
        }
        at.value.wh()
    }
}

/// Stands for a link that was refused, and of which nothing is known.
fn refused() -> Link {
    Link::Modbus { line: ModbusLine::Tcp { host: String::new(), port: 0 }, unit: 0 }
}

fn profile_of<'a>(device: &DeviceWritten, profiles: &'a Profiles) -> Option<&'a ProfileFile> {
    profiles.get(&device.profile.as_ref()?.value)?.as_ref()
}

/// The points of a device: its own, and those of its profile that it does not replace.
fn points_of<'a>(device: &'a DeviceWritten, profiles: &'a Profiles) -> impl Iterator<Item = &'a PointWritten> {
    let name = |point: &'a PointWritten| point.name.as_ref().map(|at| at.value.as_str());
    let theirs = profile_of(device, profiles).into_iter().flat_map(|profile| &profile.points);
    let kept = theirs.filter(move |point| !device.points.iter().any(|own| name(own) == name(point)));
    kept.chain(&device.points)
}
