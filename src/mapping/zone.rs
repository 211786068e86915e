//! `[[heater]]` and `[[zone]]` to their parameters, and the points of a heater.

use std::time::Duration;

use super::build::{Builder, LaidZone};
use super::written::{HeaterWritten, LimitWritten, LossWritten, PowerOrShare, ZoneWritten};
use crate::plant::{
    Allocation, BmsLossPolicy, Heater, HeaterId, HeaterRole, Law, Roles, Source, TemperatureLimit, Zone, ZoneId,
};
use crate::point::Kind;
use crate::units::{Celsius, Quantity, Unit, Watts};
use crate::written::{At, PercentPerMinute, Place, did_you_mean};

/// The range of the efficiency estimate (CONTROL: eta in [0.70, 1.02]); a belief outside of it could not be kept.
const ETA: (f64, f64) = (0.70, 1.02);

/// A command is refreshed every 60 s, so a shorter lease would end between two of them.
const LEASE: (Duration, Duration) = (Duration::from_secs(90), Duration::from_secs(3600));

/// Between power and metered heat lie seconds to an hour.
const WATER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));

/// Before its zone is known.
const NO_ZONE: ZoneId = ZoneId(u16::MAX);

impl Builder {
    /// All heaters, still without their zones.
    pub fn heaters(&mut self, written: &[HeaterWritten]) {
        for heater in written {
            let Some(name) = self.owner(heater.name.as_ref()) else { continue };
            let rated = heater.rated_power.as_ref().map_or(Watts::ZERO, |at| at.value);
            if let Some(at) = heater.rated_power.as_ref().filter(|at| at.value <= Watts::ZERO) {
                self.f.error("out-of-range", &at.place, "rated power is above 0", "such as \"30 kW\"");
            }
            let idle = self.share_of(heater.idle.as_ref(), rated).unwrap_or(Watts::ZERO);
            let fallback = self.share_of(heater.fallback.as_ref(), rated).unwrap_or(idle);
            if let Some(at) =
                heater.fallback.as_ref().filter(|_| fallback < idle && idle <= rated && !heater.may_switch_off)
            {
                let help = "raise it, or write may_switch_off = true";
                self.f.error(
                    "out-of-range",
                    &at.place,
                    format!("`{name}` cannot fall back below its idle power"),
                    help,
                );
            }
            let lease = heater.lease.as_ref().map_or(Duration::from_secs(180), |at| at.value);
            if let Some(at) = heater.lease.as_ref().filter(|_| !(LEASE.0..=LEASE.1).contains(&lease)) {
                let help = "from 90s to 1h: a command is refreshed every 60 s";
                self.f.error("out-of-range", &at.place, "a lease cannot be that long or short", help);
            }
            let max_age = heater.max_age.as_ref().map_or(Duration::from_secs(30), |at| at.value);
            if let Some(at) = heater.max_age.as_ref().filter(|_| max_age < Duration::from_secs(10)) {
                let help = "at least 10s: that is how often a controller has to tell";
                self.f.error("out-of-range", &at.place, "older than that it always is", help);
            }
            let eta = self.efficiency(heater.efficiency.as_ref()).unwrap_or(1.0);
            let id = HeaterId(u16::try_from(self.plant.heaters.len()).unwrap_or(u16::MAX));
            self.plant.heaters.push(Heater {
                id,
                name,
                zone: NO_ZONE,
                rated,
                idle,
                eta,
                fallback,
                may_switch_off: heater.may_switch_off,
                lease,
                max_age,
                points: Roles::default(),
            });
        }
    }

    fn share_of(&mut self, written: Option<&At<PowerOrShare>>, rated: Watts) -> Option<Watts> {
        let at = written?;
        let power = match at.value {
            PowerOrShare::Power(power) => power,
            PowerOrShare::Share(share) => rated * share,
        };
        if power < Watts::ZERO || power > rated {
            self.f.error("out-of-range", &at.place, format!("it lies between 0 and the rated {rated}"), "lower it");
        }
        Some(power)
    }

    fn efficiency(&mut self, written: Option<&At<f64>>) -> Option<f64> {
        let at = written?;
        if !(ETA.0..=ETA.1).contains(&at.value) {
            let message = format!("an efficiency of {} is not plausible", at.value);
            let help = format!("{} to {}: 0.95 liquid-cooled, 0.85 air", ETA.0, ETA.1);
            self.f.error("out-of-range", &at.place, message, help);
        }
        Some(at.value)
    }

    /// All zones, with their heaters; each with what was written of it.
    pub fn zones<'a>(&mut self, written: &'a [ZoneWritten]) -> Vec<LaidZone<'a>> {
        let mut all = Vec::new();
        let mut indices: Vec<(u8, Place)> = Vec::new();
        for zone in written {
            let index = zone.index.as_ref().filter(|at| self.index(at, &mut indices)).map(|at| u32::from(at.value));
            if let Some(name) = self.owner(zone.name.as_ref()) {
                let id = ZoneId(u16::try_from(self.plant.zones.len()).unwrap_or(u16::MAX));
                let compiled = self.zone(zone, id, name);
                self.plant.zones.push(compiled);
                all.push(LaidZone { id, index, written: zone });
            }
        }
        self.lonely_heaters(written);
        all
    }

    fn index(&mut self, at: &At<u8>, taken: &mut Vec<(u8, Place)>) -> bool {
        if at.value > 9 {
            self.f.error("out-of-range", &at.place, "a zone's index is 0 to 9", "a site has up to ten zones");
            return false;
        }
        if let Some((_, other)) = taken.iter().find(|(index, _)| *index == at.value) {
            let help = format!("also at {}; it decides the BMS addresses", other.line());
            self.f.error("duplicate-name", &at.place, format!("index {} is taken", at.value), help);
            return false;
        }
        taken.push((at.value, at.place.clone()));
        true
    }

    fn zone(&mut self, written: &ZoneWritten, id: ZoneId, name: String) -> Zone {
        let heaters = self.zone_heaters(written, id);
        let of =
            |get: fn(&Heater) -> f64| -> f64 { heaters.iter().filter_map(|id| self.plant.heater(*id)).map(get).sum() };
        let rated = Watts::of(of(|heater| heater.rated.get()));
        let believed = Watts::of(of(|heater| heater.rated.get() * heater.eta));
        let nominal = self.efficiency(written.nominal_efficiency.as_ref()).map_or(believed, |eta| rated * eta);
        let contracted = written.contracted_power.as_ref().map_or(Watts::ZERO, |at| at.value);
        if let Some(at) = written.contracted_power.as_ref().filter(|_| contracted < Watts::ZERO || contracted > rated) {
            let help = "what is sold cannot be above what there is";
            self.f.error("out-of-range", &at.place, format!("it lies between 0 and the zone's {rated}"), help);
        }
        Zone {
            id,
            name,
            index: written.index.as_ref().map_or(0, |at| at.value),
            heaters,
            meter: None,
            rated,
            nominal_heat: nominal,
            ramp_up_per_min: self.ramp(written.ramp_up.as_ref(), 20.0) / 100.0,
            ramp_down_per_min: self.ramp(written.ramp_down.as_ref(), 100.0) / 100.0,
            supply_limit: self.limit(written.supply.as_ref(), 55.0, 60.0),
            room_limit: self.limit(written.room.as_ref(), 28.0, 32.0),
            inlet_limit: self.limit(written.inlet.as_ref(), 32.0, 35.0),
            contracted,
            on_bms_loss: self.loss(written.on_bms_loss.as_ref()),
            law: self.law(written, rated),
            points: Roles::default(),
        }
    }

    fn law(&mut self, written: &ZoneWritten, rated: Watts) -> Law {
        let default = Law::default();
        let summer_dump = written.summer_dump.as_ref().map_or(default.summer_dump, |at| at.value);
        if let Some(at) = written.summer_dump.as_ref().filter(|_| summer_dump < Watts::ZERO || summer_dump > rated) {
            let help = "the heat that the site can give away in summer, such as \"12 kW\"";
            self.f.error("out-of-range", &at.place, format!("it lies between 0 and the zone's {rated}"), help);
        }
        let allocation = match written.allocation.as_ref().map(|at| (at, at.value.as_str())) {
            None | Some((_, "proportional")) => Allocation::Proportional,
            Some((_, "staged")) => Allocation::Staged,
            Some((at, other)) => {
                let help = did_you_mean(other, ["proportional", "staged"]);
                self.f.error("unknown-word", &at.place, format!("`allocation` cannot be `{other}`"), help);
                default.allocation
            }
        };
        Law {
            delay: self.water(written.heat_delay.as_ref(), default.delay),
            lag: self.water(written.heat_lag.as_ref(), default.lag),
            allocation,
            summer_dump,
            shared_limit: written.shared_limit.as_ref().map(|at| at.value.clone()),
        }
    }

    /// How long heat is on its way.
    fn water(&mut self, written: Option<&At<Duration>>, default: Duration) -> Duration {
        let Some(at) = written else { return default };
        if !(WATER.0..=WATER.1).contains(&at.value) {
            let help = "from 1s to 1h; by default 60s until the first heat is metered, and 240s for most of it";
            self.f.error("out-of-range", &at.place, "heat is not on its way for that long or short", help);
        }
        at.value
    }

    fn zone_heaters(&mut self, written: &ZoneWritten, zone: ZoneId) -> Vec<HeaterId> {
        let mut heaters = Vec::new();
        for at in &written.heaters {
            let Some(id) = self.heater_named(&at.value) else {
                let help = did_you_mean(&at.value, self.plant.heaters.iter().map(|heater| heater.name.as_str()));
                self.f.error("unknown-reference", &at.place, format!("there is no heater `{}`", at.value), help);
                continue;
            };
            let Some(heater) = self.plant.heaters.get_mut(usize::from(id.0)) else { continue };
            if heater.zone != NO_ZONE {
                let help = "a heater heats one zone";
                self.f.error("duplicate-name", &at.place, format!("`{}` is in a zone already", at.value), help);
                continue;
            }
            heater.zone = zone;
            heaters.push(id);
        }
        if written.heaters.is_empty() && written.name.is_some() {
            self.f.error(
                "no-heater",
                &written.place,
                "a zone without heaters cannot be heated",
                "heaters = [\"rack-a\"]",
            );
        }
        heaters
    }

    /// Heaters that no zone names. Where a zone's list is broken, they may only seem so.
    fn lonely_heaters(&mut self, zones: &[ZoneWritten]) {
        if zones.is_empty() {
            return;
        }
        let lonely: Vec<String> =
            self.plant.heaters.iter().filter(|h| h.zone == NO_ZONE).map(|h| h.name.clone()).collect();
        for name in lonely {
            let Some(place) = self.owner_place(&name) else { continue };
            let named = zones.iter().any(|zone| zone.heaters.iter().any(|at| at.value == name));
            if !named {
                let help = "name it in a zone's `heaters`";
                self.f.error("no-zone", &place, format!("heater `{name}` is in no zone"), help);
            }
        }
    }

    fn ramp(&mut self, written: Option<&At<PercentPerMinute>>, default: f64) -> f64 {
        let Some(at) = written else { return default };
        let PercentPerMinute(speed) = at.value;
        if !(0.1..=6000.0).contains(&speed) {
            let help = "from 0.1 %/min to 6000 %/min (a step)";
            self.f.error("out-of-range", &at.place, "a ramp cannot be that fast or slow", help);
        }
        speed
    }

    fn limit(&mut self, written: Option<&LimitWritten>, soft: f64, max: f64) -> TemperatureLimit {
        let default = TemperatureLimit { soft: Celsius::of(soft), max: Celsius::of(max) };
        let Some(written) = written else { return default };
        let limit =
            TemperatureLimit { soft: written.soft.unwrap_or(default.soft), max: written.max.unwrap_or(default.max) };
        if limit.soft >= limit.max {
            let message = format!("the soft limit of {} is not below the hard one of {}", limit.soft, limit.max);
            let help = format!("power falls from full at `soft` to none at `max`; by default {soft} and {max} degC");
            self.f.error("empty-range", &written.place, message, help);
        }
        limit
    }

    fn percent(&mut self, at: &At<crate::units::Percent>) -> f64 {
        let percent = at.value.get();
        if !(0.0..=100.0).contains(&percent) {
            self.f.error("out-of-range", &at.place, "a share of nominal heat is 0 to 100 %", "such as \"30 %\"");
        }
        percent
    }

    fn loss(&mut self, written: Option<&LossWritten>) -> BmsLossPolicy {
        match written {
            // Hold 15 min, then 10 %/min down to at most 30 % while it is cold outside, else off.
            None => BmsLossPolicy::Hold {
                hold: Duration::from_secs(900),
                fallback_percent: 30.0,
                below_outdoor: Some(Celsius::of(15.0)),
                fallback_for: None,
                percent_per_min: 10.0,
            },
            Some(LossWritten::Cancel) => BmsLossPolicy::Cancel,
            Some(LossWritten::Fallback { percent, for_ }) => {
                BmsLossPolicy::Fallback { percent: self.percent(percent), for_: *for_ }
            }
            Some(LossWritten::Hold { hold, then }) => {
                let then = then.as_ref();
                let percent = then.and_then(|then| then.percent.as_ref());
                BmsLossPolicy::Hold {
                    hold: *hold,
                    fallback_percent: percent.map_or(0.0, |at| self.percent(at)),
                    below_outdoor: then.and_then(|then| then.below_outdoor),
                    fallback_for: then.and_then(|then| then.for_),
                    percent_per_min: self.ramp(then.and_then(|then| then.ramp.as_ref()), 10.0),
                }
            }
        }
    }

    /// The points of every heater: one for each role.
    pub fn heater_points(&mut self) {
        for index in 0..self.plant.heaters.len() {
            let Some((id, name)) = self.plant.heaters.get(index).map(|heater| (heater.id, heater.name.clone())) else {
                continue;
            };
            for &role in HeaterRole::ALL {
                let source = match role {
                    HeaterRole::Cap | HeaterRole::Total => Source::Engine,
                    _ => Source::Heater(id),
                };
                let unit = match (role.kind(), role.quantity()) {
                    (_, Quantity::Power) => Unit::Kilowatt,
                    (_, Quantity::Temperature) => Unit::Celsius,
                    (Kind::Energy, _) => Unit::WattHour,
                    _ => Unit::None,
                };
                let texts: &[&str] = match role {
                    HeaterRole::State => &["ready", "starting", "local", "fault", "off"],
                    HeaterRole::AckResult => &["accepted", "clamped", "rejected"],
                    _ => &[],
                };
                let key = format!("{name}/{}", role.as_str());
                let point = self.add_own(key, role.kind(), unit, source, about(role), texts);
                if let (Some(point), Some(heater)) = (point, self.plant.heaters.get_mut(index)) {
                    heater.points.bind(role, point);
                }
            }
        }
    }
}

const fn about(role: HeaterRole) -> &'static str {
    match role {
        HeaterRole::Power => "Electrical power drawn",
        HeaterRole::Min => "Least power it can be held to now",
        HeaterRole::Max => "Most power it can draw now",
        HeaterRole::Jobs => "Power that its jobs would draw without a cap",
        HeaterRole::Inlet => "Inlet temperature",
        HeaterRole::Outlet => "Outlet temperature",
        HeaterRole::EnergyCounter => "Its counter of electrical energy",
        HeaterRole::State => "State",
        HeaterRole::Applied => "Cap that it applies",
        HeaterRole::AckSeq => "Sequence of the last command it acknowledged",
        HeaterRole::AckResult => "How it answered that command",
        HeaterRole::Online => "Its controller is online",
        HeaterRole::Cap => "Cap as sent",
        HeaterRole::Total => "Total of electrical energy",
    }
}
