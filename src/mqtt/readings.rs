//! What a controller's messages mean for its heater's points.

use super::payloads::{Ack, Cause, Telemetry};
use crate::plant::{Heater, HeaterRole, Plant};
use crate::point::{Fault, PointId, Reading, Update, Value};
use crate::units::{Energy, Unit};

/// The roles that telemetry feeds.
const MEASURED: [HeaterRole; 9] = [
    HeaterRole::Power,
    HeaterRole::Min,
    HeaterRole::Max,
    HeaterRole::Jobs,
    HeaterRole::Inlet,
    HeaterRole::Outlet,
    HeaterRole::EnergyCounter,
    HeaterRole::State,
    HeaterRole::Applied,
];

/// The updates of one message, as they are gathered.
struct Batch<'a> {
    plant: &'a Plant,
    heater: &'a Heater,
    updates: Vec<Update>,
}

impl<'a> Batch<'a> {
    const fn of(plant: &'a Plant, heater: &'a Heater) -> Self {
        Self { plant, heater, updates: Vec::new() }
    }

    fn put(&mut self, role: HeaterRole, reading: impl FnOnce(PointId) -> Reading) {
        if let Some(point) = self.heater.points.get(role) {
            self.updates.push(Update { point, reading: reading(point) });
        }
    }

    fn bad(&mut self, role: HeaterRole, fault: Fault) {
        self.put(role, |_| Reading::Bad(fault));
    }

    /// A number in a unit of the contract, converted into the point's own.
    fn number(&mut self, role: HeaterRole, unit: Unit, number: Result<f64, Fault>) {
        let plant = self.plant;
        self.put(role, |point| match number {
            // The mapping binds only points of the role's quantity; another one could not be converted.
            Ok(number) => plant
                .point(point)
                .and_then(|def| unit.convert(number, def.unit))
                .map_or(Reading::Bad(Fault::Malformed), Reading::number),
            Err(fault) => Reading::Bad(fault),
        });
    }

    fn value(&mut self, role: HeaterRole, value: Value) {
        self.put(role, |_| Reading::Good(value));
    }
}

/// A telemetry message.
pub(super) fn telemetry(plant: &Plant, heater: &Heater, says: &Telemetry) -> Vec<Update> {
    let mut batch = Batch::of(plant, heater);
    batch.number(HeaterRole::Power, Unit::Watt, Ok(says.power));
    batch.number(HeaterRole::Min, Unit::Watt, Ok(says.min));
    batch.number(HeaterRole::Max, Unit::Watt, Ok(says.max));
    batch.number(HeaterRole::Jobs, Unit::Watt, says.jobs);
    batch.number(HeaterRole::Inlet, Unit::Celsius, says.inlet);
    batch.number(HeaterRole::Outlet, Unit::Celsius, says.outlet);
    batch.number(HeaterRole::Applied, Unit::Watt, Ok(says.applied));
    batch.put(HeaterRole::EnergyCounter, |_| match says.energy {
        Ok(wh) => Reading::Good(Value::Energy(Energy::from_wh(wh))),
        Err(fault) => Reading::Bad(fault),
    });
    batch.value(HeaterRole::State, Value::State(says.state));
    batch.updates
}

/// A telemetry message that was refused: the power is not known, and says why. The rest ages.
pub(super) fn refused(plant: &Plant, heater: &Heater, cause: Cause) -> Vec<Update> {
    let mut batch = Batch::of(plant, heater);
    batch.bad(HeaterRole::Power, cause.fault());
    batch.updates
}

/// An acknowledgement of one of our commands.
pub(super) fn acknowledged(plant: &Plant, heater: &Heater, ack: &Ack) -> Vec<Update> {
    let mut batch = Batch::of(plant, heater);
    batch.value(HeaterRole::AckSeq, Value::Unsigned(ack.seq));
    batch.value(HeaterRole::AckResult, Value::State(ack.result));
    batch.number(HeaterRole::Applied, Unit::Watt, Ok(ack.applied));
    batch.updates
}

/// A controller came, or went: then nothing that it measured is known any more.
pub(super) fn status(plant: &Plant, heater: &Heater, online: bool) -> Vec<Update> {
    let mut batch = Batch::of(plant, heater);
    batch.value(HeaterRole::Online, Value::Bool(online));
    if !online {
        for role in MEASURED {
            batch.bad(role, Fault::Offline);
        }
    }
    batch.updates
}

/// The broker has been away for too long.
pub(super) fn no_communication(plant: &Plant, heater: &Heater) -> Vec<Update> {
    let mut batch = Batch::of(plant, heater);
    batch.bad(HeaterRole::Online, Fault::NoCommunication);
    for role in MEASURED {
        batch.bad(role, Fault::NoCommunication);
    }
    batch.updates
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::testing::{plant, telemetry_json};
    use crate::plant::HeaterId;

    fn reading(updates: &[Update], plant: &Plant, role: HeaterRole) -> Option<Reading> {
        let point = plant.heater(HeaterId(0))?.points.get(role)?;
        updates.iter().find(|update| update.point == point).map(|update| update.reading)
    }

    #[test]
    fn powers_arrive_in_the_unit_of_the_point() {
        let plant = plant();
        let says = Telemetry::parse(&telemetry_json("power_w", "12500")).unwrap();
        let updates = telemetry(&plant, plant.heater(HeaterId(0)).unwrap(), &says);
        let at = |role| reading(&updates, &plant, role);
        assert_eq!(at(HeaterRole::Power), Some(Reading::number(12.5)));
        assert_eq!(at(HeaterRole::Max), Some(Reading::number(30.0)));
        assert_eq!(at(HeaterRole::State), Some(Reading::Good(Value::State(1))));
        let energy = Reading::Good(Value::Energy(Energy::from_wh(123_456)));
        assert_eq!(at(HeaterRole::EnergyCounter), Some(energy));
        assert_eq!(at(HeaterRole::Inlet), Some(Reading::number(24.5)));
        assert_eq!(at(HeaterRole::Jobs), Some(Reading::Bad(Fault::Missing)));
        assert_eq!(at(HeaterRole::Outlet), Some(Reading::Bad(Fault::Absent)));
    }

    #[test]
    fn a_bad_optional_field_spoils_only_its_own_point() {
        let plant = plant();
        for (written, fault) in [
            ("\"many\"", Fault::Malformed),
            ("-1", Fault::OutOfRange),
            ("1e300", Fault::OutOfRange),
            ("18446744073709551615", Fault::OutOfRange),
            ("null", Fault::Absent),
        ] {
            let says = Telemetry::parse(&telemetry_json("energy_wh", written)).unwrap();
            let updates = telemetry(&plant, plant.heater(HeaterId(0)).unwrap(), &says);
            assert_eq!(reading(&updates, &plant, HeaterRole::EnergyCounter), Some(Reading::Bad(fault)), "{written}");
            assert!(reading(&updates, &plant, HeaterRole::Power).unwrap().value().is_some());
        }
    }

    #[test]
    fn who_is_offline_measures_nothing() {
        let plant = plant();
        let updates = status(&plant, plant.heater(HeaterId(0)).unwrap(), false);
        let at = |role| reading(&updates, &plant, role);
        assert_eq!(at(HeaterRole::Online), Some(Reading::Good(Value::Bool(false))));
        assert_eq!(at(HeaterRole::Power), Some(Reading::Bad(Fault::Offline)));
        assert_eq!(at(HeaterRole::EnergyCounter), Some(Reading::Bad(Fault::Offline)));
        assert_eq!(at(HeaterRole::AckSeq), None);
    }
}
