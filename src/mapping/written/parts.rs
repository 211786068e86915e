//! `[[device]]`, `[[heater]]` and `[[zone]]` as written.

use std::time::Duration;

use super::{FileDefaults, Owner, PointWritten, ReadsWritten};
use crate::units::{Celsius, Percent, Watts};
use crate::written::{At, Findings, Item, PercentPerMinute, Place, Read, Table};

/// `[[device]]`
#[derive(Debug)]
pub struct DeviceWritten {
    pub name: Option<At<String>>,
    pub profile: Option<At<String>>,
    pub link: Option<At<String>>,
    pub unit_id: Option<At<u8>>,
    pub poll: Option<At<Duration>>,
    pub timeout: Option<At<Duration>>,
    pub reads: ReadsWritten,
    pub max_age: Option<At<Duration>>,
    pub max_power: Option<At<Watts>>,
    /// Points beside those of its profile, or in their place.
    pub points: Vec<PointWritten>,
}

/// A power, or a share of another.
#[derive(Debug, Clone, Copy)]
pub enum PowerOrShare {
    Power(Watts),
    Share(f64),
}

/// `[[heater]]`
#[derive(Debug)]
pub struct HeaterWritten {
    pub name: Option<At<String>>,
    pub rated_power: Option<At<Watts>>,
    pub idle: Option<At<PowerOrShare>>,
    pub efficiency: Option<At<f64>>,
    pub fallback: Option<At<PowerOrShare>>,
    pub may_switch_off: bool,
    pub lease: Option<At<Duration>>,
    pub max_age: Option<At<Duration>>,
}

/// `{ soft = "55 degC", max = "60 degC" }`
#[derive(Debug)]
pub struct LimitWritten {
    pub place: Place,
    pub soft: Option<Celsius>,
    pub max: Option<Celsius>,
}

/// `on_bms_loss = ...`
#[derive(Debug)]
pub enum LossWritten {
    Cancel,
    Hold { hold: Duration, then: Option<ThenWritten> },
    Fallback { percent: At<Percent>, for_: Duration },
}

/// `then = { fallback = "30 %", ... }`
#[derive(Debug)]
pub struct ThenWritten {
    pub percent: Option<At<Percent>>,
    pub for_: Option<Duration>,
    pub below_outdoor: Option<Celsius>,
    pub ramp: Option<At<PercentPerMinute>>,
}

/// `[[zone]]`
#[derive(Debug)]
pub struct ZoneWritten {
    pub place: Place,
    pub name: Option<At<String>>,
    pub index: Option<At<u8>>,
    pub heaters: Vec<At<String>>,
    pub meter: Option<At<String>>,
    pub nominal_efficiency: Option<At<f64>>,
    pub ramp_up: Option<At<PercentPerMinute>>,
    pub ramp_down: Option<At<PercentPerMinute>>,
    pub supply: Option<LimitWritten>,
    pub room: Option<LimitWritten>,
    pub inlet: Option<LimitWritten>,
    pub contracted_power: Option<At<Watts>>,
    pub on_bms_loss: Option<LossWritten>,
    pub heat_delay: Option<At<Duration>>,
    pub heat_lag: Option<At<Duration>>,
    pub allocation: Option<At<String>>,
    pub summer_dump: Option<At<Watts>>,
    pub shared_limit: Option<At<String>>,
}

impl DeviceWritten {
    pub fn read(mut t: Table<'_>, file: FileDefaults, f: &mut Findings) -> Self {
        let this = Self {
            name: t.need("name", "the first segment of its points' keys", f),
            profile: t.opt("profile", f),
            link: t.need("link", "such as \"modbus-tcp://10.20.0.31:502\", \"modbus-rtu:///dev/ttyS1?baud=9600\" or \"bacnet://device/1201\"", f),
            unit_id: t.opt("unit_id", f),
            poll: t.opt("poll", f),
            timeout: t.opt("timeout", f),
            reads: ReadsWritten::read(&mut t, file, f),
            max_age: t.opt("max_age", f),
            max_power: t.opt("max_power", f),
            points: t.tables("point", f).into_iter().map(|t| PointWritten::read(t, file, Owner::Profile, f)).collect(),
        };
        // Every other link names one device; what is wrong with the link itself is said elsewhere.
        if this.link.as_ref().is_none_or(|at| !at.value.starts_with("bacnet:")) && !t.has("unit_id") {
            let help = "the Modbus unit identifier, often 1 (or 255 for a device with its own address)";
            t.missing("unit_id", help, f);
        }
        t.finish(f);
        this
    }
}

impl HeaterWritten {
    pub fn read(mut t: Table<'_>, f: &mut Findings) -> Self {
        let this = Self {
            name: t.need("name", "its topic level and the first segment of its points' keys", f),
            rated_power: t.need("rated_power", "such as \"30 kW\"", f),
            idle: t.need("idle", "what it draws with no jobs, such as \"25 %\" or \"7.5 kW\"", f),
            efficiency: t.need("efficiency", "heat per electrical power: 0.95 liquid-cooled, 0.85 air", f),
            fallback: t.opt("fallback", f),
            may_switch_off: t.opt("may_switch_off", f).is_some_and(|at| at.value),
            lease: t.opt("lease", f),
            max_age: t.opt("max_age", f),
        };
        t.finish(f);
        this
    }
}

impl ZoneWritten {
    pub fn read(mut t: Table<'_>, f: &mut Findings) -> Self {
        let heaters = t.need::<Vec<At<String>>>("heaters", "the names of its heaters, such as [\"rack-a\"]", f);
        let this = Self {
            place: t.place(),
            name: t.need("name", "the first segment of its points' keys", f),
            index: t.need("index", "0 to 9: it decides the zone's BMS addresses, so it is given once and kept", f),
            heaters: heaters.map(|list| list.value).unwrap_or_default(),
            meter: t.opt("meter", f),
            nominal_efficiency: t.opt("nominal_efficiency", f),
            ramp_up: t.opt("ramp_up", f),
            ramp_down: t.opt("ramp_down", f),
            supply: LimitWritten::read(&mut t, "supply_temperature", f),
            room: LimitWritten::read(&mut t, "room_temperature", f),
            inlet: LimitWritten::read(&mut t, "inlet_temperature", f),
            contracted_power: t.opt("contracted_power", f),
            on_bms_loss: t.item("on_bms_loss").and_then(|item| LossWritten::read(&item, f)),
            heat_delay: t.opt("heat_delay", f),
            heat_lag: t.opt("heat_lag", f),
            allocation: t.opt("allocation", f),
            summer_dump: t.opt("summer_dump", f),
            shared_limit: t.opt("shared_limit", f),
        };
        t.finish(f);
        this
    }
}

impl LimitWritten {
    fn read(t: &mut Table<'_>, key: &'static str, f: &mut Findings) -> Option<Self> {
        let mut t = t.table(key, f)?;
        let this = Self {
            place: t.place(),
            soft: t.opt("soft", f).map(|at| at.value),
            max: t.opt("max", f).map(|at| at.value),
        };
        t.finish(f);
        Some(this)
    }
}

impl LossWritten {
    const HELP: &'static str = "write \"cancel\", { hold = \"15m\", then = { fallback = \"30 %\", for = \"2h\" } } or \
                                { fallback = \"30 %\", for = \"30m\" }";

    fn read(item: &Item<'_>, f: &mut Findings) -> Option<Self> {
        if let Some(text) = item.as_text() {
            if text == "cancel" {
                return Some(Self::Cancel);
            }
            f.error("unknown-word", &item.place(), format!("`on_bms_loss` cannot be `{text}`"), Self::HELP);
            return None;
        }
        let mut t = item.table(f)?;
        let hold = t.opt::<Duration>("hold", f);
        let this = if t.has("hold") {
            let then = t.item("then").and_then(|item| ThenWritten::read(&item, f));
            hold.map(|hold| Self::Hold { hold: hold.value, then })
        } else {
            let percent = t.need("fallback", Self::HELP, f);
            let for_ = t.need::<Duration>("for", "how long, such as \"30m\"; then the request is cancelled", f);
            percent.zip(for_).map(|(percent, for_)| Self::Fallback { percent, for_: for_.value })
        };
        t.finish(f);
        this
    }
}

impl ThenWritten {
    fn read(item: &Item<'_>, f: &mut Findings) -> Option<Self> {
        if item.as_text() == Some("cancel") {
            return None;
        }
        let mut t = item.table(f)?;
        let this = Self {
            percent: t.need("fallback", "a share of nominal heat, such as \"30 %\"", f),
            for_: t.opt("for", f).map(|at| at.value),
            below_outdoor: t.opt("below_outdoor", f).map(|at| at.value),
            ramp: t.opt("ramp", f),
        };
        t.finish(f);
        Some(this)
    }
}

impl Read for PowerOrShare {
    fn read(item: &Item<'_>, f: &mut Findings) -> Option<Self> {
        if item.as_text().is_some_and(|text| text.trim_end().ends_with('%')) {
            return Percent::read(item, f).map(|share| Self::Share(share.get() / 100.0));
        }
        Watts::read(item, f).map(Self::Power)
    }
}
