//! Projection: decisions, totals and measurements shown as the points that the outside reads.

use crate::decision::{Alarm, Decision, Shortfall, ZoneDecision};
use crate::plant::{HeaterRole, MeterRole, Plant, SiteRole, Zone, ZoneRole};
use crate::point::{Doubt, Fault, Image, PointId, Quality, Reading, Sample, Value};
use crate::time::Now;
use crate::units::{Unit, Watts};

/// Writes points that the engine owns into the image.
pub(super) struct Projector<'a> {
    pub plant: &'a Plant,
    pub image: &'a mut Image,
    pub now: Now,
}

impl Projector<'_> {
    /// Give a point a reading; a last known value stays behind a bad one.
    pub fn put(&mut self, point: Option<PointId>, reading: Reading) {
        self.put_at(point, reading, self.now);
    }

    fn put_at(&mut self, point: Option<PointId>, reading: Reading, at: Now) {
        let Some(state) = point.and_then(|id| self.image.get_mut(id)) else { return };
        state.sample = Sample { reading, at };
        if let Some(value) = reading.value() {
            state.last = Some(value);
        }
    }

    fn put_power(&mut self, point: Option<PointId>, power: Watts) {
        let unit = point.and_then(|id| self.plant.point(id)).map_or(Unit::Watt, |def| def.unit);
        let reading = Unit::Watt.convert(power.get(), unit).map_or(Reading::Bad(Fault::Malformed), Reading::number);
        self.put(point, reading);
    }

    fn put_energy(&mut self, point: Option<PointId>, wh: f64) {
        let unit = point.and_then(|id| self.plant.point(id)).map_or(Unit::WattHour, |def| def.unit);
        let reading = Unit::WattHour.convert(wh, unit).map_or(Reading::Bad(Fault::Malformed), Reading::number);
        self.put(point, reading);
    }

    fn put_bool(&mut self, point: Option<PointId>, active: bool) {
        self.put(point, Reading::Good(Value::Bool(active)));
    }

    fn put_count(&mut self, point: Option<PointId>, count: u64) {
        self.put(point, Reading::Good(Value::Unsigned(count)));
    }

    fn put_state(&mut self, point: Option<PointId>, state: u16) {
        self.put(point, Reading::Good(Value::State(state)));
    }

    /// Show one point's sample at another, converted into its unit; time and quality stay those of the measurement.
    fn mirror(&mut self, from: Option<PointId>, to: Option<PointId>) {
        let (Some(to), source) = (to, from.and_then(|id| Some((self.plant.point(id)?, self.image.get(id)?)))) else {
            return;
        };
        let Some((source_def, source_state)) = source else {
            self.put(Some(to), Reading::Bad(Fault::Absent));
            return;
        };
        let unit = self.plant.point(to).map_or(Unit::None, |def| def.unit);
        let convert = |value: Value| match value {
            Value::Number(number) => source_def.unit.convert(number.get(), unit).and_then(Value::number),
            other => Some(other),
        };
        let reading = match source_state.sample.reading {
            Reading::Good(value) => convert(value).map_or(Reading::Bad(Fault::Malformed), Reading::Good),
            Reading::Uncertain(value, doubt) => {
                convert(value).map_or(Reading::Bad(Fault::Malformed), |value| Reading::Uncertain(value, doubt))
            }
            Reading::Bad(fault) => Reading::Bad(fault),
        };
        let at = source_state.sample.at;
        self.put_at(Some(to), reading, at);
    }

    /// The electrical power of a zone: the sum over its heaters; with some missing an estimate, with all missing bad.
    fn electrical_power(&mut self, zone: &Zone) {
        let mut sum = Watts::ZERO;
        let (mut known, mut doubtful) = (0usize, false);
        for heater in zone.heaters.iter().filter_map(|id| self.plant.heater(*id)) {
            let Some(point) = heater.points.get(HeaterRole::Power) else { continue };
            let unit = self.plant.point(point).map_or(Unit::Watt, |def| def.unit);
            let reading = self.image.reading(point);
            doubtful |= reading.quality() != Quality::Good;
            if let Some(watts) = reading.value().and_then(|value| unit.convert(value.as_f64(), Unit::Watt)) {
                sum += Watts::of(watts);
                known += 1;
            }
        }
        let point = zone.points.get(ZoneRole::ElectricalPower);
        if known == 0 {
            self.put(point, Reading::Bad(Fault::NoCommunication));
            return;
        }
        self.put_power(point, sum);
        if doubtful && let Some(value) = point.and_then(|id| self.image.reading(id).value()) {
            self.put(point, Reading::Uncertain(value, Doubt::Estimated));
        }
    }

    /// What is measured, under the names that the BMS knows.
    pub fn measurements(&mut self) {
        let plant = self.plant;
        for zone in &plant.zones {
            let meter = zone.meter.and_then(|id| plant.meter(id));
            let measured = |role| meter.and_then(|meter| meter.points.get(role));
            for (from, to) in [
                (MeterRole::Power, ZoneRole::HeatDelivered),
                (MeterRole::Supply, ZoneRole::SupplyTemperature),
                (MeterRole::Return, ZoneRole::ReturnTemperature),
                (MeterRole::Flow, ZoneRole::Flow),
            ] {
                self.mirror(measured(from), zone.points.get(to));
            }
            self.electrical_power(zone);
        }
    }

    /// What control decided.
    pub fn decision(&mut self, decision: &Decision) {
        let plant = self.plant;
        for (zone, decided) in plant.zones.iter().zip(&decision.zones) {
            self.zone(zone, decided);
        }
        for (heater, command) in plant.heaters.iter().zip(&decision.desired.commands) {
            if let Some(command) = command {
                self.put_power(heater.points.get(HeaterRole::Cap), command.cap);
            }
        }
    }

    fn zone(&mut self, zone: &Zone, decided: &ZoneDecision) {
        let point = |role| zone.points.get(role);
        self.put_state(point(ZoneRole::State), decided.state.code());
        self.put_state(point(ZoneRole::RequestSource), decided.source.code());
        self.put_count(point(ZoneRole::FaultCode), u64::from(decided.fault_code));
        self.put_power(point(ZoneRole::HeatAvailable), decided.heat_available);
        self.put_power(point(ZoneRole::HeatMinimum), decided.heat_minimum);
        self.put_power(point(ZoneRole::PowerCommand), decided.cap);
        match decided.request {
            Some(heat) => self.put_power(point(ZoneRole::HeatAsked), heat),
            None => self.put(point(ZoneRole::HeatAsked), Reading::Bad(Fault::Absent)),
        }
        self.put_power(point(ZoneRole::HeatUndelivered), decided.heat_undelivered);
        self.put_power(point(ZoneRole::DumpPower), decided.dump);
        self.put(point(ZoneRole::Efficiency), Reading::number(decided.eta));
        for (why, wh) in Shortfall::ALL.into_iter().zip(decided.unmet_wh) {
            self.put_energy(point(unmet_role(why)), wh);
        }
        self.put_bool(point(ZoneRole::BackupCall), decided.backup_call);
        for alarm in Alarm::ALL {
            self.put_bool(point(alarm_role(alarm)), decided.alarms.has(alarm));
        }
    }

    /// The quality word: bit n = alarm n, bit 15 = a value that the BMS reads may be stale.
    pub fn quality(&mut self, decision: &Decision, site_alarms: u16) {
        const MEASURED: [ZoneRole; 7] = [
            ZoneRole::HeatDelivered,
            ZoneRole::ElectricalPower,
            ZoneRole::SupplyTemperature,
            ZoneRole::ReturnTemperature,
            ZoneRole::Flow,
            ZoneRole::HeatEnergy,
            ZoneRole::ElectricalEnergy,
        ];
        let plant = self.plant;
        for (zone, decided) in plant.zones.iter().zip(&decision.zones) {
            let stale = MEASURED
                .iter()
                .filter_map(|role| zone.points.get(*role))
                .any(|point| self.image.reading(point).quality() != Quality::Good);
            let word = decided.alarms.bits() | if stale { 1 << 15 } else { 0 };
            self.put_count(zone.points.get(ZoneRole::Quality), u64::from(word));
            self.put_count(zone.points.get(ZoneRole::MapVersion), u64::from(plant.map_version));
            self.put_count(zone.points.get(ZoneRole::SiteAlarms), u64::from(site_alarms));
        }
        self.put_count(plant.site.get(SiteRole::SiteAlarms), u64::from(site_alarms));
    }

    /// A count of whole seconds, as one 16-bit register shows it.
    pub fn heartbeat(&mut self) {
        let beat = self.now.mono.since(crate::time::Mono::START).as_secs() & 0xFFFF;
        let plant = self.plant;
        for zone in &plant.zones {
            self.put_count(zone.points.get(ZoneRole::GatewayHeartbeat), beat);
        }
    }
}

const fn unmet_role(why: Shortfall) -> ZoneRole {
    match why {
        Shortfall::NoJobs => ZoneRole::UnmetNoJobs,
        Shortfall::Ceiling => ZoneRole::UnmetCeiling,
        Shortfall::LostLink => ZoneRole::UnmetLostLink,
        Shortfall::Failsafe => ZoneRole::UnmetFailsafe,
        Shortfall::Efficiency => ZoneRole::UnmetEfficiency,
    }
}

const fn alarm_role(alarm: Alarm) -> ZoneRole {
    match alarm {
        Alarm::BmsLost => ZoneRole::AlarmBmsLost,
        Alarm::ControllerLost => ZoneRole::AlarmControllerLost,
        Alarm::MeterLost => ZoneRole::AlarmMeterLost,
        Alarm::OverTemperature => ZoneRole::AlarmOverTemperature,
        Alarm::Undelivered => ZoneRole::AlarmUndelivered,
        Alarm::NotFollowing => ZoneRole::AlarmNotFollowing,
        Alarm::EmergencyStop => ZoneRole::AlarmEmergencyStop,
    }
}
