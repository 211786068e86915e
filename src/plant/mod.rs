//! The compiled plant: everything the mapping says, with all names resolved. Plain data, made by `mapping::compile`,
//! read by everybody else. There are no strings left to look up.

mod alarm;
mod codec;
mod face;
mod field;
mod law;
mod property;
mod register;
mod role;
mod serial;

pub use alarm::{AlarmFace, ClassDefaults, Condition};
pub use codec::Words;
pub use face::{
    ModbusServed, Note, NoteKind, ObjectFace, ObjectKind, Offline, RegisterFace, ServiceObject, ShedLevel, Table,
};
pub use field::{
    Codec, Device, DevicePlace, DevicePoint, DeviceWrite, Link, ModbusLine, RegisterType, WordOrder, WritePlace,
};
pub use law::{Allocation, Law};
pub use property::{Cov, ObjectClass, ObjectRef, PRESENT_VALUE, PropertyPlace, RawNumber, property_number};
pub use register::{RegisterPlace, ScaleRegister, Split};
pub use role::{HeaterRole, MeterRole, Role, Roles, SiteRole, ZoneRole};
pub use serial::{Parity, SerialLine};

use std::time::Duration;

use crate::point::{Kind, PointId, PointKey, Value};
use crate::units::{Celsius, Unit, Watts};

/// A zone's place in the plant, dense from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ZoneId(pub u16);

/// A heater's place in the plant, dense from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaterId(pub u16);

/// A meter's place in the plant, dense from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeterId(pub u16);

/// A polled device's place in the plant, dense from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub u16);

/// One point as the mapping defines it.
#[derive(Debug, Clone, PartialEq)]
pub struct PointDef {
    /// Its place in the plant.
    pub id: PointId,
    /// Its name outside.
    pub key: PointKey,
    /// For people.
    pub description: String,
    /// What it holds.
    pub kind: Kind,
    /// The unit of its number.
    pub unit: Unit,
    /// Lowest and highest value, in its unit, both included.
    pub range: Option<(f64, f64)>,
    /// A value that stands for "none" or "not available" on every face (0xFFFF x 0.1 = 6553.5); allowed outside `range`.
    pub absent: Option<f64>,
    /// The names of its states (`State`: from 1; `Bool`: inactive, active); empty where it has none.
    pub texts: Vec<String>,
    /// Who gives it its value.
    pub source: Source,
    /// Change below which views need not be told, in its unit.
    pub deadband: f64,
}

/// Who gives a point its value.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// Writers, through the priority array.
    Command(Commandable),
    /// A polled device.
    Device(DeviceId),
    /// A heater's controller.
    Heater(HeaterId),
    /// The engine: decisions, totals, link states.
    Engine,
}

/// What writers may do with a commandable point.
#[derive(Debug, Clone, PartialEq)]
pub struct Commandable {
    /// What it is when nobody commands it.
    pub relinquish_default: Value,
    /// After this long without a write it turns stale (no slot is cleared).
    pub expires: Option<Duration>,
    /// Its slots survive a restart (and are uncertain until rewritten).
    pub persist: bool,
    /// `points/{key}/set` over MQTT may write it.
    pub mqtt_set: bool,
    /// Acts once when written active and relinquishes itself.
    pub momentary: bool,
}

impl PointDef {
    /// What writers may do, when it is commandable.
    #[inline]
    pub const fn commandable(&self) -> Option<&Commandable> {
        match &self.source {
            Source::Command(commandable) => Some(commandable),
            _ => None,
        }
    }

    /// Whether a number, in the point's unit, is one that may be written or read.
    #[inline]
    pub fn admits(&self, number: f64) -> bool {
        self.absent == Some(number) || self.range.is_none_or(|(low, high)| (low..=high).contains(&number))
    }
}

/// Soft and hard limit of a temperature: power falls from full at `soft` to none at `max`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TemperatureLimit {
    /// Full power up to here.
    pub soft: Celsius,
    /// No power from here.
    pub max: Celsius,
}

/// What happens to a zone's request when the BMS is lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BmsLossPolicy {
    /// Off at once (by the ramp).
    Cancel,
    /// Keep the last request for a time, then ramp down to `min(held, percent)` when it is cold outside (or the policy
    /// says so regardless), else to off; after `fallback_for`, cancel.
    Hold {
        /// Keep it this long.
        hold: Duration,
        /// Fallback percent of nominal heat; never above what was held.
        fallback_percent: f64,
        /// Cold means below this; `None`: regardless of the weather.
        below_outdoor: Option<Celsius>,
        /// Then cancel after this long; `None`: until the BMS is back.
        fallback_for: Option<Duration>,
        /// Speed of the way down, percent of nominal heat per minute.
        percent_per_min: f64,
    },
    /// Fallback percent at once for a time, then cancel. Never above the last request.
    Fallback {
        /// Percent of nominal heat.
        percent: f64,
        /// For this long.
        for_: Duration,
    },
}

/// A part of the building that asks for heat.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    /// Its place in the plant.
    pub id: ZoneId,
    /// Its name, the first segment of its points' keys.
    pub name: String,
    /// k: 100*k is added to every BMS address and instance.
    pub index: u8,
    /// Its heaters.
    pub heaters: Vec<HeaterId>,
    /// Its heat meter.
    pub meter: Option<MeterId>,
    /// Rated electrical power Pn: the sum over its heaters.
    pub rated: Watts,
    /// Nominal heat Qn = nominal efficiency x Pn; a constant of the mapping, never the estimate.
    pub nominal_heat: Watts,
    /// Ramp up, share of Pn per minute.
    pub ramp_up_per_min: f64,
    /// Ramp down, share of Pn per minute.
    pub ramp_down_per_min: f64,
    /// Supply water.
    pub supply_limit: TemperatureLimit,
    /// Room air.
    pub room_limit: TemperatureLimit,
    /// Rack inlet.
    pub inlet_limit: TemperatureLimit,
    /// Compute that is sold and runs whatever is asked; the floor is at least this.
    pub contracted: Watts,
    /// When the BMS is lost.
    pub on_bms_loss: BmsLossPolicy,
    /// How control treats it.
    pub law: Law,
    /// Its points by role.
    pub points: Roles<ZoneRole>,
}

/// A group of servers under one data-center controller.
#[derive(Debug, Clone, PartialEq)]
pub struct Heater {
    /// Its place in the plant.
    pub id: HeaterId,
    /// Its name: topic level and first segment of its points' keys.
    pub name: String,
    /// The zone that it heats.
    pub zone: ZoneId,
    /// Rated electrical power.
    pub rated: Watts,
    /// Idle power: what it draws with no jobs, the least cap that it can follow.
    pub idle: Watts,
    /// Heat per electrical power, believed at the start.
    pub eta: f64,
    /// Where it goes by itself without a command (`fallback_w`).
    pub fallback: Watts,
    /// It may be switched off: a cap of 0 W is allowed.
    pub may_switch_off: bool,
    /// Lease of a command.
    pub lease: Duration,
    /// Telemetry older than this means that the controller is lost.
    pub max_age: Duration,
    /// Its points by role.
    pub points: Roles<HeaterRole>,
}

/// A heat meter, as control and ledger see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Meter {
    /// Its place in the plant.
    pub id: MeterId,
    /// The device's name.
    pub name: String,
    /// The polled device.
    pub device: DeviceId,
    /// Its energy register counts to this and then starts at 0 again, in Wh.
    pub modulus_wh: u64,
    /// Highest plausible heat, for refusing impossible steps of the counter.
    pub max_power: Watts,
    /// Readings older than this are stale.
    pub max_age: Duration,
    /// Its points by role.
    pub points: Roles<MeterRole>,
}

/// The whole site.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plant {
    /// All points; a `PointId` is an index into it.
    pub points: Vec<PointDef>,
    /// All zones.
    pub zones: Vec<Zone>,
    /// All heaters.
    pub heaters: Vec<Heater>,
    /// All heat meters.
    pub meters: Vec<Meter>,
    /// All polled devices.
    pub devices: Vec<Device>,
    /// What the Modbus server shows.
    pub modbus: ModbusServed,
    /// What the BACnet server shows of points.
    pub bacnet: Vec<ObjectFace>,
    /// BACnet objects that are services over points: trend logs, notification classes, load control.
    pub bacnet_services: Vec<ServiceObject>,
    /// The site's own points by role.
    pub site: Roles<SiteRole>,
    /// Version of the BMS face (input register 5).
    pub map_version: u16,
}

impl Plant {
    /// A point's definition.
    #[inline]
    pub fn point(&self, id: PointId) -> Option<&PointDef> {
        self.points.get(id.index())
    }

    /// A point by its name outside.
    pub fn by_key(&self, key: &str) -> Option<&PointDef> {
        self.points.iter().find(|point| point.key.as_str() == key)
    }

    /// A zone.
    #[inline]
    pub fn zone(&self, id: ZoneId) -> Option<&Zone> {
        self.zones.get(usize::from(id.0))
    }

    /// A heater.
    #[inline]
    pub fn heater(&self, id: HeaterId) -> Option<&Heater> {
        self.heaters.get(usize::from(id.0))
    }

    /// A meter.
    #[inline]
    pub fn meter(&self, id: MeterId) -> Option<&Meter> {
        self.meters.get(usize::from(id.0))
    }

    /// A polled device.
    #[inline]
    pub fn device(&self, id: DeviceId) -> Option<&Device> {
        self.devices.get(usize::from(id.0))
    }
}
