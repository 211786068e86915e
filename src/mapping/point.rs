//! `[[point]]` to a point: what it is, who gives its value, what it means, and where it is shown.

use super::build::{Builder, Layout};
use super::faces::FaceWritten;
use super::written::{Bound, DefaultWritten, Field, PointWritten, SourceWritten, a, kind_word};
use crate::plant::{Commandable, DeviceId, MeterRole, PointDef, Source, ZoneId, ZoneRole};
use crate::point::{Kind, PointId, PointKey, Value};
use crate::units::{Quantity, Unit};
use crate::written::{At, Place, did_you_mean};

/// What a role asks of its point.
#[derive(Debug, Clone, Copy)]
pub struct Meaning {
    kind: Kind,
    quantity: Quantity,
}

impl From<ZoneRole> for Meaning {
    fn from(role: ZoneRole) -> Self {
        Self { kind: role.kind(), quantity: role.quantity() }
    }
}

impl From<MeterRole> for Meaning {
    fn from(role: MeterRole) -> Self {
        Self { kind: role.kind(), quantity: role.quantity() }
    }
}

impl Builder {
    /// A point of a site or a template.
    pub fn point(&mut self, written: &PointWritten, layout: Layout) -> Option<PointId> {
        let name = written.name.as_ref()?;
        let key = self.point_key(&self.fill(&name.value, layout), &name.place)?;
        let zone = layout.zone.or_else(|| {
            let owner = key.as_str().split('/').next();
            self.plant.zones.iter().find(|zone| Some(zone.name.as_str()) == owner).map(|zone| zone.id)
        });
        let role = written.role.as_ref().and_then(|role| self.zone_role(role));
        let device = match &written.source.value {
            SourceWritten::Device { device: Some(name), .. } => {
                let filled = At { value: self.fill(&name.value, layout), place: name.place.clone() };
                self.device_named(&filled)
            }
            _ => None,
        };
        let def = self.define(written, key, role.map(Meaning::from), zone, device)?;
        if let Some((role, at)) = role.zip(written.role.as_ref()) {
            self.role_fits_source(role, &def, at);
        }
        let id = self.add(def, &name.place)?;
        if let Some((role, at)) = role.zip(written.role.as_ref()) {
            self.bind_zone(role, id, zone, at);
        }
        self.polled(written, id, device);
        for face in &written.faces {
            self.face(face, id, layout, &name.value);
        }
        self.targets(&written.targets, id, layout, &name.value);
        Some(id)
    }

    /// A key, or why it cannot be one.
    pub fn point_key(&mut self, text: &str, place: &Place) -> Option<PointKey> {
        PointKey::new(text)
            .map_err(|why| self.f.error("bad-name", place, format!("`{text}` cannot be a key"), why.to_string()))
            .ok()
    }

    /// The definition of a point, checked in itself.
    pub fn define(
        &mut self,
        written: &PointWritten,
        key: PointKey,
        role: Option<Meaning>,
        zone: Option<ZoneId>,
        device: Option<DeviceId>,
    ) -> Option<PointDef> {
        // As written, so that what is wrong in a template is wrong once.
        let label = written.name.as_ref().map_or("", |at| at.value.as_str());
        let kind = written.kind.as_ref().map(|at| at.value).or(role.map(|role| role.kind)).unwrap_or(Kind::Number);
        if let (Some(role), Some(at)) = (role, &written.kind)
            && role.kind != kind
        {
            let help = format!("this role takes kind = \"{}\"", kind_word(role.kind));
            self.f.error("kind-does-not-fit", &at.place, format!("`{label}` is of another kind than its role"), help);
        }
        let unit = self.unit(written, label, kind, role);
        self.texts(written, label, kind);
        let texts = written.texts.written().map(|at| at.value.clone()).unwrap_or_default();
        let range = self.range(written, kind, unit, zone, texts.len());
        let mut def = PointDef {
            id: PointId(0),
            key,
            description: written.description.clone(),
            kind,
            unit,
            range,
            absent: written.absent.as_ref().map(|at| at.value),
            texts,
            source: Source::Engine,
            deadband: self.deadband(written),
        };
        if let (Some(at), true) = (&written.absent, kind != Kind::Number) {
            self.f.error("kind-does-not-fit", &at.place, "only a number can be absent", "leave it out");
        }
        def.source = match &written.source.value {
            SourceWritten::Engine => Source::Engine,
            // An unknown device was reported; the plant is not used.
            SourceWritten::Device { .. } => Source::Device(device.unwrap_or(DeviceId(0))),
            SourceWritten::Command => Source::Command(self.commandable(written, label, &def)),
        };
        if def.commandable().is_none() {
            self.refuse_command_keys(written);
        }
        Some(def)
    }

    fn unit(&mut self, written: &PointWritten, label: &str, kind: Kind, role: Option<Meaning>) -> Unit {
        let at = match &written.unit {
            Field::Written(at) => at,
            Field::Bad | Field::Left => {
                let help = match kind {
                    Kind::Number => "such as \"kW\", \"degC\", \"%\"; \"none\" for a plain number",
                    Kind::Energy => "an energy is counted in \"Wh\"",
                    Kind::Bool | Kind::State | Kind::Unsigned | Kind::Text => return Unit::None,
                };
                if matches!(written.unit, Field::Left) {
                    self.f.error("missing-key", &written.place, format!("`{label}` needs `unit`"), help);
                }
                // The plant is not used; what is measured is guessed, so that nothing follows from it.
                let guess = written.faces.iter().find_map(FaceWritten::unit);
                return guess.unwrap_or(if kind == Kind::Energy { Unit::WattHour } else { Unit::None });
            }
        };
        let unit = at.value;
        let message = match (kind, role) {
            (Kind::Energy, _) if unit != Unit::WattHour => Some((
                format!("`{label}` is an energy, and those are counted in Wh"),
                "write unit = \"Wh\"; addresses may have another one of their own",
            )),
            (Kind::Number, Some(role)) if unit.quantity() != role.quantity => {
                Some((format!("`{unit}` does not measure what the role of `{label}` means"), units_of(role.quantity)))
            }
            (Kind::Bool | Kind::State | Kind::Unsigned | Kind::Text, _) if unit != Unit::None => {
                Some((format!("`{label}` is no number and has no unit"), "leave it out"))
            }
            _ => None,
        };
        if let Some((message, help)) = message {
            self.f.error("unit-does-not-fit", &at.place, message, help);
        }
        unit
    }

    fn texts(&mut self, written: &PointWritten, label: &str, kind: Kind) {
        match (kind, &written.texts) {
            (Kind::State, Field::Left) => {
                let help = "the names of its states, from 1: texts = [\"off\", \"on\"]";
                self.f.error("missing-key", &written.place, format!("`{label}` needs `texts`"), help);
            }
            (Kind::State, Field::Written(at)) if at.value.is_empty() => {
                self.f.error("out-of-range", &at.place, "no states", "name each state, from 1");
            }
            (Kind::Bool, Field::Written(at)) if at.value.len() != 2 => {
                self.f.error(
                    "out-of-range",
                    &at.place,
                    "yes or no has two texts",
                    "texts = [\"inactive\", \"active\"]",
                );
            }
            (Kind::Number | Kind::Unsigned | Kind::Energy | Kind::Text, Field::Written(at)) => {
                let message = format!("`{label}` has no states");
                self.f.error("kind-does-not-fit", &at.place, message, "leave it out, or write kind = \"state\"");
            }
            _ => {}
        }
    }

    fn range(
        &mut self,
        written: &PointWritten,
        kind: Kind,
        unit: Unit,
        zone: Option<ZoneId>,
        states: usize,
    ) -> Option<(f64, f64)> {
        #[expect(clippy::cast_precision_loss, reason = "a handful of states")]
        let whole = (kind == Kind::State && states > 0).then_some((1.0, states as f64));
        let Some(at) = &written.range else { return whole };
        let what = match kind {
            Kind::Bool => Some("yes or no"),
            Kind::Energy => Some("a total"),
            Kind::Text => Some("a text"),
            Kind::Number | Kind::Unsigned | Kind::State => None,
        };
        if let Some(what) = what {
            let message = format!("{what} has no range");
            self.f.error("kind-does-not-fit", &at.place, message, "leave it out");
            return None;
        }
        let (low, high) =
            (self.bound(at.value.0, unit, zone, &at.place)?, self.bound(at.value.1, unit, zone, &at.place)?);
        if low > high {
            let message = format!("nothing lies between {low} and {high}");
            self.f.error("empty-range", &at.place, message, "the lower bound comes first");
            return None;
        }
        if whole.is_some_and(|(first, last)| low < first || high > last) {
            self.f.error("out-of-range", &at.place, "states count from 1 to the number of `texts`", "leave it out");
        }
        Some((low, high))
    }

    fn bound(&mut self, bound: Bound, unit: Unit, zone: Option<ZoneId>, place: &Place) -> Option<f64> {
        let limits = zone.and_then(|id| self.plant.zone(id)).map(|zone| (zone.nominal_heat, zone.supply_limit.soft));
        let resolved = match (bound, limits) {
            (Bound::Number(number), _) => return Some(number),
            (Bound::NominalHeat, Some((heat, _))) => Unit::Watt.convert(heat.get(), unit),
            (Bound::SupplySoft, Some((_, soft))) => Unit::Celsius.convert(soft.get(), unit),
            (_, None) => {
                self.f.error("unknown-reference", place, "this bound is a zone's", "write a number");
                return None;
            }
        };
        if resolved.is_none() {
            let help = "\"Qn\" is a power, \"Tsoft\" a temperature";
            self.f.error("unit-does-not-fit", place, "this bound is of another unit than its point", help);
        }
        resolved
    }

    fn deadband(&mut self, written: &PointWritten) -> f64 {
        let Some(at) = &written.deadband else { return 0.0 };
        if at.value < 0.0 {
            self.f.error("out-of-range", &at.place, "a deadband is not negative", "0 tells every change");
        }
        at.value.max(0.0)
    }

    fn commandable(&mut self, written: &PointWritten, label: &str, def: &PointDef) -> Commandable {
        let kind = def.kind;
        // What is wrong is reported and the plant not used; any value of the kind keeps the rest going.
        let any = match kind {
            Kind::Bool => Value::Bool(false),
            Kind::State => Value::State(1),
            _ => Value::Unsigned(0),
        };
        let relinquish_default = match &written.default {
            _ if matches!(kind, Kind::Energy | Kind::Text) => {
                let help = "give it a `source`: nobody writes a total or a text";
                let message = format!("`{label}` is {}", a(kind_word(kind)));
                self.f.error("kind-does-not-fit", &written.place, message, help);
                any
            }
            Field::Left if kind != Kind::Bool => {
                let help = "what it is when nobody commands it; or give it a `source`";
                self.f.error("missing-key", &written.place, format!("`{label}` needs `default`"), help);
                any
            }
            Field::Left | Field::Bad => any,
            Field::Written(at) => self.relinquish_default(at, label, def).unwrap_or(any),
        };
        let momentary = written.momentary.as_ref().is_some_and(|at| at.value);
        if let (Some(at), true) = (&written.momentary, momentary && kind != Kind::Bool) {
            let help = "leave it out";
            self.f.error("kind-does-not-fit", &at.place, "only yes or no can be momentary", help);
        }
        if let (Some(at), true) = (&written.persist, momentary && written.persist.as_ref().is_some_and(|p| p.value)) {
            let help = "leave out `persist`: it acts once";
            self.f.error("kind-does-not-fit", &at.place, "what is momentary does not survive a restart", help);
        }
        Commandable {
            relinquish_default,
            expires: written.expires.as_ref().map(|at| at.value),
            persist: written.persist.as_ref().is_some_and(|at| at.value),
            mqtt_set: written.mqtt_set.as_ref().is_some_and(|at| at.value),
            momentary,
        }
    }

    fn relinquish_default(&mut self, at: &At<DefaultWritten>, label: &str, def: &PointDef) -> Option<Value> {
        let kind = def.kind;
        let value = match at.value {
            DefaultWritten::Flag(flag) if kind == Kind::Bool => Some(Value::Bool(flag)),
            DefaultWritten::Number(number) if kind != Kind::Bool => Value::from_f64(kind, number),
            DefaultWritten::Absent => def.absent.and_then(Value::number),
            _ => None,
        };
        let Some(value) = value else {
            let help = match (at.value, kind) {
                (DefaultWritten::Absent, _) => "the point has no `absent` value".to_owned(),
                (_, Kind::Bool) => "true or false".to_owned(),
                (_, Kind::State) => "the number of a state, from 1".to_owned(),
                (_, Kind::Unsigned) => "a whole number from 0".to_owned(),
                _ => "a number".to_owned(),
            };
            self.f.error("kind-does-not-fit", &at.place, format!("`{label}` cannot be that by default"), help);
            return None;
        };
        if !def.admits(value.as_f64()) && kind != Kind::Bool {
            let (low, high) = def.range.unwrap_or_default();
            let message = format!("the default of `{label}` is outside its range");
            self.f.error("out-of-range", &at.place, message, format!("from {low} to {high}"));
        }
        Some(value)
    }

    fn refuse_command_keys(&mut self, written: &PointWritten) {
        let places = [
            written.default.written().map(|at| &at.place),
            written.expires.as_ref().map(|at| &at.place),
            written.persist.as_ref().map(|at| &at.place),
            written.mqtt_set.as_ref().map(|at| &at.place),
            written.momentary.as_ref().map(|at| &at.place),
        ];
        for place in places.into_iter().flatten() {
            let message = "only a point that writers command has this";
            self.f.error("not-commandable", place, message, "leave it out: its value has a `source`");
        }
    }

    fn zone_role(&mut self, at: &At<String>) -> Option<ZoneRole> {
        let role = at.value.strip_prefix("zone.").and_then(ZoneRole::parse);
        if role.is_none() {
            let known: Vec<String> = ZoneRole::ALL.iter().map(|role| format!("zone.{}", role.as_str())).collect();
            let help = did_you_mean(&at.value, known.iter().map(String::as_str));
            self.f.error("unknown-role", &at.place, format!("there is no role `{}`", at.value), help);
        }
        role
    }

    /// Roles up to `OtherPower` are given to control, the rest by it.
    fn role_fits_source(&mut self, role: ZoneRole, def: &PointDef, at: &At<String>) {
        let computed = role > ZoneRole::OtherPower;
        if computed != matches!(def.source, Source::Engine) {
            let (message, help) = if computed {
                (format!("`{}` is computed", at.value), "nobody else can give its value: choose another role")
            } else {
                (format!("`{}` comes from outside", at.value), "it is commanded, or has a device as its `source`")
            };
            self.f.error("role-does-not-fit", &at.place, message, help);
        }
    }

    /// A forecast is a level and a time, and both are forgotten when nobody says them again.
    pub fn forecasts_are_whole(&mut self) {
        for (zone, role, point, place) in std::mem::take(&mut self.forecasts) {
            let other = match role {
                ZoneRole::NextRequestIn => ZoneRole::NextRequestPercent,
                _ => ZoneRole::NextRequestIn,
            };
            if self.plant.zone(zone).is_some_and(|zone| zone.points.get(other).is_none()) {
                let message = format!("`zone.{}` alone says nothing", role.as_str());
                let help = format!("give the zone a point with role = \"zone.{}\" too", other.as_str());
                self.f.error("half-a-forecast", &place, message, help);
            }
            let commandable = self.plant.point(point).and_then(PointDef::commandable);
            if commandable.is_some_and(|commandable| commandable.expires.is_none()) {
                let help = "expires = { after = \"15m\" }; the BMS says it again within that time";
                self.f.error("forecast-stays", &place, "a forecast that nobody repeats would stay for ever", help);
            }
            if commandable.is_some_and(|commandable| commandable.persist) {
                let help = "leave out `persist`: what was said before a restart is not followed";
                self.f.error("forecast-stays", &place, "a forecast does not survive a restart", help);
            }
        }
    }

    fn bind_zone(&mut self, role: ZoneRole, id: PointId, zone: Option<ZoneId>, at: &At<String>) {
        let zone = zone.and_then(|zone| self.plant.zones.get_mut(usize::from(zone.0)));
        let Some(zone) = zone else {
            let help = "the key of a zone's point starts with the zone's name: \"hall/...\"";
            self.f.error("unknown-reference", &at.place, format!("`{}` of which zone?", at.value), help);
            return;
        };
        if matches!(role, ZoneRole::NextRequestPercent | ZoneRole::NextRequestIn) {
            self.forecasts.push((zone.id, role, id, at.place.clone()));
        }
        if let Some(first) = zone.points.bind(role, id) {
            let first = self.plant.point(first).map(|def| def.key.to_string()).unwrap_or_default();
            let help = format!("`{first}` has it; a site's point replaces a template's by taking its name");
            self.f.error("duplicate-role", &at.place, format!("`{}` is bound twice", at.value), help);
        }
    }
}

const fn units_of(quantity: Quantity) -> &'static str {
    match quantity {
        Quantity::Plain => "it has none: write \"none\"",
        Quantity::Share => "write \"%\"",
        Quantity::Power => "write \"W\", \"kW\" or \"MW\"",
        Quantity::Energy => "write \"Wh\"",
        Quantity::Temperature => "write \"degC\"",
        Quantity::TemperatureDifference => "write \"K\"",
        Quantity::Flow => "write \"m3/h\", \"l/h\" or \"l/s\"",
        Quantity::Pressure => "write \"bar\"",
        Quantity::Duration => "write \"s\", \"min\" or \"h\"",
        Quantity::Volume => "write \"m3\"",
    }
}
