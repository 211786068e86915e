//! Typed readers over the image: control's only door. What is bad, stale, doubtful or out of range is `None`.

use std::time::Duration;

use crate::plant::{DeviceId, Plant, PointDef, ZoneRole};
use crate::point::{Doubt, Fault, Image, PointId, PointState, Priority, Reading, Value};
use crate::time::{Mono, Now};
use crate::units::{Celsius, Percent, Unit, Watts};

use super::stretch;

/// A polled input is stale after three polls, but not before this.
const LEAST_POLLED_AGE: Duration = Duration::from_secs(60);

/// Air, water and racks are never colder or hotter than this, degC: a sensor that says so is broken.
const PLAUSIBLE_C: (f64, f64) = (-60.0, 200.0);

/// One image, read at one instant.
#[derive(Clone, Copy)]
pub(super) struct Inputs<'a> {
    pub plant: &'a Plant,
    pub image: &'a Image,
    pub now: Now,
    /// Outside parties may be this many times slower (>= 1).
    pub liveness: f64,
}

/// Why a request point has no usable value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It was good and its time is over, or the device that is polled for it went silent: the zone's policy decides.
    Stale,
    /// There is no value that could be held.
    Unreadable,
}

impl<'a> Inputs<'a> {
    /// Monotonic time.
    pub const fn mono(&self) -> Mono {
        self.now.mono
    }

    pub fn def(&self, point: PointId) -> Option<&'a PointDef> {
        self.plant.point(point)
    }

    pub fn state(&self, point: PointId) -> Option<&'a PointState> {
        self.image.get(point)
    }

    fn poll(&self, device: DeviceId) -> Duration {
        self.plant.device(device).map_or(Duration::ZERO, |device| device.poll)
    }

    /// How old a reading may be.
    fn max_age(&self, def: &PointDef) -> Duration {
        use crate::plant::Source;
        let age = match def.source {
            // Expiry of a write is the engine's: it shows as doubt.
            Source::Command(_) | Source::Engine => return Duration::MAX,
            Source::Heater(heater) => self.plant.heater(heater).map_or(Duration::ZERO, |heater| heater.max_age),
            Source::Device(device) => {
                let meter = self.plant.meters.iter().find(|meter| meter.device == device).map(|meter| meter.max_age);
                let polled = || self.poll(device).saturating_mul(3).max(LEAST_POLLED_AGE);
                meter.map_or_else(polled, |age| age.max(self.poll(device).saturating_mul(2)))
            }
        };
        stretch(age, self.liveness)
    }

    /// The usable value of a point, and when it was taken.
    pub fn sample(&self, point: Option<PointId>) -> Option<(Value, Mono)> {
        let def = self.def(point?)?;
        let sample = self.state(def.id)?.sample;
        let value = sample.usable(self.now, self.max_age(def))?;
        let number = value.as_f64();
        (def.admits(number) && def.absent != Some(number)).then_some((value, sample.at.mono))
    }

    /// A standing setting (enable, mode): usable, or restored after a restart and not contradicted since. It accompanies a
    /// fresh request, and is never one.
    pub fn standing(&self, point: Option<PointId>) -> Option<Value> {
        let restored = || match self.image.reading(point?) {
            Reading::Uncertain(value, Doubt::Restored) => Some(value),
            _ => None,
        };
        self.value(point).or_else(restored)
    }

    /// The last good value whatever its age, for what is said once and holds: a status, an acknowledgement.
    pub fn said(&self, point: Option<PointId>) -> Option<Value> {
        match self.image.reading(point?) {
            Reading::Good(value) => Some(value),
            Reading::Uncertain(..) | Reading::Bad(_) => None,
        }
    }

    pub fn value(&self, point: Option<PointId>) -> Option<Value> {
        self.sample(point).map(|(value, _)| value)
    }

    /// A value as a number of `unit`, whatever the point's own unit; `None` when that is another quantity.
    pub fn convert(&self, point: PointId, value: Value, unit: Unit) -> Option<f64> {
        self.def(point)?.unit.convert(value.as_f64(), unit).filter(|number| number.is_finite())
    }

    fn number(&self, point: Option<PointId>, unit: Unit) -> Option<f64> {
        self.convert(point?, self.value(point)?, unit)
    }

    pub fn watts(&self, point: Option<PointId>) -> Option<Watts> {
        self.number(point, Unit::Watt).and_then(|number| Watts::new(number).ok())
    }

    /// A temperature; one that nothing here can have is none.
    pub fn celsius(&self, point: Option<PointId>) -> Option<Celsius> {
        let plausible = |number: &f64| (PLAUSIBLE_C.0..=PLAUSIBLE_C.1).contains(number);
        self.number(point, Unit::Celsius).filter(plausible).and_then(|number| Celsius::new(number).ok())
    }

    /// In m3/h.
    pub fn flow(&self, point: Option<PointId>) -> Option<f64> {
        self.number(point, Unit::CubicMetrePerHour)
    }

    pub fn percent(&self, point: Option<PointId>) -> Option<Percent> {
        self.number(point, Unit::Percent).and_then(|number| Percent::new(number).ok())
    }

    pub fn flag(&self, point: Option<PointId>) -> Option<bool> {
        self.value(point).map(Value::as_bool)
    }

    pub fn count(&self, point: Option<PointId>) -> Option<u64> {
        self.value(point).and_then(Value::as_u64)
    }

    /// Why a point that `value` gave nothing for has none.
    pub fn why_not(&self, point: PointId) -> Unusable {
        let reading = self.image.reading(point);
        let polled = self.def(point).is_some_and(|def| def.commandable().is_none());
        match reading {
            Reading::Uncertain(_, Doubt::Stale) => Unusable::Stale,
            // A polled building system that stops answering is lost like one that stops writing.
            Reading::Bad(Fault::NoCommunication | Fault::Refused(_) | Fault::Offline) if polled => Unusable::Stale,
            // Good, and yet not usable: its age, or its range.
            Reading::Good(value) if polled && self.def(point).is_some_and(|def| def.admits(value.as_f64())) => {
                Unusable::Stale
            }
            _ => Unusable::Unreadable,
        }
    }

    /// Whether a person (priority 1 to 8) commands the point.
    pub fn manual(&self, point: Option<PointId>) -> bool {
        point
            .and_then(|point| self.state(point))
            .and_then(|state| state.slots.as_ref()?.ruling())
            .is_some_and(|(priority, slot)| priority <= Priority::OPERATOR && !slot.restored)
    }

    /// When somebody last spoke through a point since the start: a write by the building's side, the ruling slot of
    /// another programme, or a good poll. A person's override (priority 1 to 8) is no sign of the building's life.
    pub fn spoken(&self, point: PointId) -> Option<Mono> {
        let def = self.def(point)?;
        let state = self.state(point)?;
        if def.commandable().is_none() {
            return self.sample(Some(point)).map(|(_, at)| at);
        }
        let slot = state
            .slots
            .as_ref()
            .and_then(|slots| slots.ruling())
            .and_then(|(priority, slot)| (!slot.restored && priority > Priority::OPERATOR).then_some(slot.at.mono));
        state.bms_write.map(|at| at.mono).max(slot)
    }
}

/// The points through which a zone is asked for heat.
pub(super) const REQUEST_ROLES: [ZoneRole; 5] = [
    ZoneRole::HeatRequestPercent,
    ZoneRole::HeatRequestPower,
    ZoneRole::SupplyTemperatureSetpoint,
    ZoneRole::DemandMode,
    ZoneRole::Enable,
];
