//! Ceilings on a zone's power: electrical limits and temperatures. They only ever get laxer by a good reading.
//!
//! - An electrical limit is lifted by an explicit "none" alone. One that expired, or that can no longer be read, stays in
//!   force at its last value; one that was never read holds power where it is.
//! - A temperature that goes missing keeps its last effect; one that was never there limits nothing.

use crate::decision::{Alarm, Ceiling, Reason};
use crate::plant::{HeaterRole, MeterRole, TemperatureLimit, Zone, ZoneRole};
use crate::point::{Fault, PointId, Reading};
use crate::units::{Celsius, Watts};

use super::inputs::Inputs;

/// Share of an electrical limit that is used: the rest covers measurement and the heaters' own overshoot.
const ELECTRICAL_MARGIN: f64 = 0.97;

/// Where electrical limits come from. The lowest counts.
const ELECTRICAL: [ZoneRole; 3] = [ZoneRole::ElectricalLimit, ZoneRole::LoadControlLimit, ZoneRole::RemoteLimit];

/// What a zone may have of a limit that it shares.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Part {
    /// The limit, whether it is still confirmed, and this zone's part of the power under it; `None`: there is no limit.
    pub limit: Option<(Watts, bool, Watts)>,
    /// Why nothing may be raised.
    pub unread: Option<&'static str>,
}

/// What is known of the electrical limits of a zone.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Electrical {
    /// The lowest, and whether it is still confirmed.
    pub limit: Option<(Watts, bool)>,
    /// What others draw under it, and by which point.
    pub others: Option<(PointId, Watts)>,
    /// Why nothing may be raised.
    pub unread: Option<&'static str>,
}

/// Power that a limit leaves.
pub(super) fn under(limit: Watts, others: Watts) -> Watts {
    (limit * ELECTRICAL_MARGIN - others.max(Watts::ZERO)).max(Watts::ZERO)
}

/// What is known of one electrical limit.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
enum Known {
    /// Never read.
    #[default]
    Nothing,
    /// Explicitly no limit.
    Unlimited,
    /// In force, and whether it is still confirmed.
    AtMost { limit: Watts, confirmed: bool },
}

/// The memory of a zone's ceilings.
#[derive(Debug, Clone, Default)]
pub(super) struct Limits {
    electrical: [Known; ELECTRICAL.len()],
    others: Option<Watts>,
    supply: Option<Celsius>,
    room: Option<Celsius>,
    inlets: Vec<Option<Celsius>>,
}

/// The ceilings of one step.
#[derive(Debug, Clone, Default)]
pub(super) struct Ceilings {
    /// Each with the power that it allows.
    pub list: Vec<(Ceiling, Watts)>,
    /// Something that may limit cannot be read and never was, or not where it matters: power is not raised.
    pub unread: Option<&'static str>,
    /// The lowest limit that is in force without being confirmed.
    pub kept: Option<Watts>,
    /// A temperature is at its maximum.
    pub too_hot: bool,
}

impl Ceilings {
    /// The lowest.
    pub fn lowest(&self) -> Watts {
        self.list.iter().map(|(_, power)| *power).reduce(Watts::min).unwrap_or_default()
    }

    /// The lowest that heaters do not set themselves; `None` where there is none.
    pub fn hard(&self) -> Option<Watts> {
        let outer = self.list.iter().filter(|(by, _)| *by != Ceiling::Rated);
        outer.map(|(_, power)| *power).reduce(Watts::min)
    }

    /// Which ceilings take power from `wanted`, the mildest first: the last one rules, the others would without it.
    pub fn explain(&self, wanted: Watts, reasons: &mut Vec<Reason>) {
        let mut sorted: Vec<_> = self.list.iter().filter(|(_, power)| *power < wanted).collect();
        sorted.sort_by(|a, b| b.1.get().total_cmp(&a.1.get()));
        let mut from = wanted;
        for (by, to) in sorted {
            reasons.push(Reason::Ceiling { by: *by, to: *to, from });
            from = *to;
        }
        if let Some(limit) = self.kept {
            reasons.push(Reason::LimitKept { limit });
        }
    }

    /// The alarm that belongs to them.
    pub const fn alarm(&self) -> Option<Alarm> {
        if self.too_hot { Some(Alarm::OverTemperature) } else { None }
    }
}

impl Limits {
    /// The ceilings now. `rated` is what the heaters that can be used take at most, others of the zone included.
    /// `part` is its part of a limit that it shares; its own points were read for that already.
    pub fn read(&mut self, zone: &Zone, inputs: &Inputs<'_>, rated: Watts, part: Option<Part>) -> Ceilings {
        let mut found = Ceilings { list: vec![(Ceiling::Rated, rated)], ..Ceilings::default() };
        match part {
            None => self.own(zone, inputs, &mut found),
            Some(part) => shared(part, &mut found),
        }
        self.temperatures(zone, inputs, &mut found);
        found
    }

    /// Look at the electrical limits.
    pub fn look(&mut self, zone: &Zone, inputs: &Inputs<'_>) -> Electrical {
        let other_point = zone.points.get(ZoneRole::OtherPower);
        let others = inputs.watts(other_point);
        self.others = others.or(self.others);
        let mut found = Electrical {
            others: other_point.map(|point| (point, self.others.unwrap_or_default().max(Watts::ZERO))),
            ..Electrical::default()
        };
        for (role, known) in ELECTRICAL.into_iter().zip(&mut self.electrical) {
            let Some(point) = zone.points.get(role) else { continue };
            *known = limit(inputs, point, *known);
            match *known {
                Known::Nothing => found.unread = Some("an electrical limit has never been read"),
                Known::Unlimited => {}
                Known::AtMost { limit, confirmed } => {
                    let lower = found.limit.is_none_or(|(lowest, _)| limit < lowest);
                    found.limit = if lower { Some((limit, confirmed)) } else { found.limit };
                    if other_point.is_some() && others.is_none() {
                        found.unread = Some("what others draw under the electrical limit cannot be read");
                    }
                }
            }
        }
        found
    }

    fn own(&mut self, zone: &Zone, inputs: &Inputs<'_>, found: &mut Ceilings) {
        let electrical = self.look(zone, inputs);
        found.unread = electrical.unread;
        let others = electrical.others.map_or(Watts::ZERO, |(_, power)| power);
        // Each of them is shown, with what it allows; the lowest rules.
        for known in self.electrical {
            let Known::AtMost { limit, confirmed } = known else { continue };
            let by = if confirmed { Ceiling::Electrical { limit } } else { Ceiling::ExpiredLimit { limit } };
            found.list.push((by, under(limit, others)));
            if !confirmed {
                found.kept = Some(found.kept.map_or(limit, |kept| kept.min(limit)));
            }
        }
    }

    fn temperatures(&mut self, zone: &Zone, inputs: &Inputs<'_>, found: &mut Ceilings) {
        let meter = zone.meter.and_then(|id| inputs.plant.meter(id));
        let supply = meter.and_then(|meter| meter.points.get(MeterRole::Supply));
        self.supply = inputs.celsius(supply).or(self.supply);
        self.room = inputs.celsius(zone.points.get(ZoneRole::RoomTemperature)).or(self.room);
        self.inlets.resize(zone.heaters.len(), None);
        for (inlet, heater) in self.inlets.iter_mut().zip(&zone.heaters) {
            let point = inputs.plant.heater(*heater).and_then(|heater| heater.points.get(HeaterRole::Inlet));
            *inlet = inputs.celsius(point).or(*inlet);
        }
        // The hottest rack counts for all: its neighbours breathe the same air.
        let inlet = self.inlets.iter().flatten().copied().reduce(Celsius::max);
        for (at, bounds, by) in [
            (self.supply, zone.supply_limit, (|at| Ceiling::SupplyTemperature { at }) as fn(Celsius) -> Ceiling),
            (self.room, zone.room_limit, |at| Ceiling::RoomTemperature { at }),
            (inlet, zone.inlet_limit, |at| Ceiling::InletTemperature { at }),
        ] {
            let Some(at) = at else { continue };
            let part = factor(at, bounds);
            found.too_hot |= part <= 0.0;
            if part < 1.0 {
                found.list.push((by(at), zone.rated * part));
            }
        }
    }
}

/// The part of a shared limit.
fn shared(part: Part, found: &mut Ceilings) {
    found.unread = part.unread;
    if let Some((limit, confirmed, power)) = part.limit {
        found.list.push((Ceiling::SharedLimit { limit }, power));
        found.kept = (!confirmed).then_some(limit);
    }
}

/// f = clamp((Tmax - T)/(Tmax - Tsoft), 0, 1); with no room between soft and max it is a switch at max.
fn factor(at: Celsius, bounds: TemperatureLimit) -> f64 {
    let span = bounds.max.get() - bounds.soft.get();
    let left = bounds.max.get() - at.get();
    if span > 0.0 { (left / span).clamp(0.0, 1.0) } else { f64::from(u8::from(left > 0.0)) }
}

/// What is known of a limit after looking at its point.
fn limit(inputs: &Inputs<'_>, point: PointId, before: Known) -> Known {
    let (Some(def), Some(state)) = (inputs.def(point), inputs.state(point)) else { return before };
    let at_most = |value, confirmed| {
        if def.absent == Some(crate::point::Value::as_f64(value)) {
            return Some(Known::Unlimited);
        }
        let watts = inputs.convert(point, value, crate::units::Unit::Watt)?;
        Some(Known::AtMost { limit: Watts::new(watts).ok()?.max(Watts::ZERO), confirmed })
    };
    let kept = || match before {
        Known::Nothing => state.last.and_then(|value| at_most(value, false)).unwrap_or_default(),
        Known::Unlimited => Known::Unlimited,
        Known::AtMost { limit, .. } => Known::AtMost { limit, confirmed: false },
    };
    match state.reading() {
        Reading::Bad(Fault::Absent) => Known::Unlimited,
        Reading::Good(_) => inputs.value(Some(point)).and_then(|value| at_most(value, true)).unwrap_or_else(kept),
        Reading::Uncertain(value, doubt) => at_most(value, doubt.usable()).unwrap_or_else(kept),
        Reading::Bad(_) => kept(),
    }
}
