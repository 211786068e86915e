//! What the building says that it will ask next, and when. Heat is minutes on its way, so power sets out before the request
//! changes. Only on fresh words, only shortly before, and never past a mode, a ceiling or a ramp; without them nothing
//! changes.
//!
//! Heat follows a step of power after the delay of the water and then with its lag. It misses the request least, in the mean
//! square, when half of the step has arrived at the time it is asked for: the middle of the power's ramp stands
//! `delay + lag ln 2` before that time.

use std::time::Duration;

use crate::decision::{DemandMode, Reason};
use crate::plant::{Zone, ZoneRole};
use crate::point::PointId;
use crate::time::Mono;
use crate::units::{Unit, Watts};

use super::demand::Asked;
use super::inputs::{Inputs, Unusable};
use super::ramp::Rates;

/// Power never sets out earlier than this, however slow the water is.
const EARLIEST: Duration = Duration::from_secs(1800);
/// A request that does not come is waited for so long: the building may write once a minute.
const GRACE: Duration = Duration::from_secs(60);
/// Below this share of nominal heat a forecast means none: the floor. It turns nothing off; only a request does.
const NONE_BELOW: f64 = 0.10;
/// Until heaters follow a cap, up and down, s: their own lag, and half a tick.
const FOLLOW_S: (f64, f64) = (25.0, 10.0);

/// What comes of a forecast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Forecast {
    /// There is none, or its time has not come.
    Quiet,
    /// It is not followed: why.
    Ignored(&'static str),
    /// Power goes for this heat, which is asked in so long.
    Lead { heat: Watts, within: Duration },
}

/// One half of a forecast, when it was said.
fn said(inputs: &Inputs<'_>, point: PointId, unit: Unit) -> Result<Option<(f64, Mono)>, Unusable> {
    let def = inputs.def(point);
    let commanded = def.is_some_and(|def| def.commandable().is_some());
    let slot = inputs.state(point).and_then(|state| state.slots.as_deref()?.ruling());
    // A default that nobody wrote is no forecast.
    if commanded && slot.is_none() {
        return Ok(None);
    }
    match inputs.sample(Some(point)) {
        Some((value, at)) => Ok(inputs.convert(point, value, unit).map(|number| (number, at))),
        // "Not available" is how a building says that it has none.
        None if inputs.image.reading(point) == crate::point::Reading::Bad(crate::point::Fault::Absent) => Ok(None),
        None => Err(inputs.why_not(point)),
    }
}

/// Read the forecast of a zone whose building asks for `asked`.
pub(super) fn read(zone: &Zone, inputs: &Inputs<'_>, asked: Asked, eta: f64) -> Forecast {
    let get = |role| zone.points.get(role);
    let (Some(level), Some(time)) = (get(ZoneRole::NextRequestPercent), get(ZoneRole::NextRequestIn)) else {
        return Forecast::Quiet;
    };
    let request = match asked.mode {
        DemandMode::Percent => get(ZoneRole::HeatRequestPercent),
        DemandMode::Power => get(ZoneRole::HeatRequestPower),
        DemandMode::Off | DemandMode::Temperature | DemandMode::Call => None,
    };
    let Some((request, heat)) = request.zip(asked.heat.ok()).filter(|_| asked.enabled) else { return Forecast::Quiet };
    let (percent, (seconds, at)) = match (said(inputs, level, Unit::Percent), said(inputs, time, Unit::Second)) {
        (Ok(Some((percent, _))), Ok(Some(time))) => (percent, time),
        (Ok(None), _) | (_, Ok(None)) => return Forecast::Quiet,
        (Err(Unusable::Stale), _) | (_, Err(Unusable::Stale)) => return Forecast::Ignored("it is stale"),
        _ => return Forecast::Ignored("it cannot be read"),
    };
    let Ok(wait) = Duration::try_from_secs_f64(seconds) else { return Forecast::Ignored("its time is none") };
    if !(0.0..=100.0).contains(&percent) {
        return Forecast::Ignored("it is no percentage");
    }
    let share = percent / 100.0;
    let next = if share + 1e-9 < NONE_BELOW { Watts::ZERO } else { zone.nominal_heat * share };
    let (now, due) = (inputs.mono(), at.after(wait));
    if now >= due {
        // Whatever the building asks from then on is what counts.
        let written = inputs.sample(Some(request)).is_some_and(|(_, at)| at >= due);
        if written {
            return Forecast::Quiet;
        }
        if now.since(due) >= GRACE {
            return Forecast::Ignored("its time has passed");
        }
    }
    let within = due.since(now);
    if within > lead(zone, (next - heat) / eta) { Forecast::Quiet } else { Forecast::Lead { heat: next, within } }
}

/// How long before a step of the request power sets out for it.
fn lead(zone: &Zone, step: Watts) -> Duration {
    let rates = Rates::of(zone);
    let (rate, follow) = if step > Watts::ZERO { (rates.up, FOLLOW_S.0) } else { (rates.down, FOLLOW_S.1) };
    let ramp = if rate > 0.0 { step.abs().get() / rate } else { 0.0 };
    let water = zone.law.delay.as_secs_f64() + zone.law.lag.as_secs_f64() * std::f64::consts::LN_2;
    Duration::try_from_secs_f64(water + ramp / 2.0 + follow).unwrap_or(EARLIEST).min(EARLIEST)
}

impl Forecast {
    /// The heat to go for instead of the one asked, with its reason.
    pub fn explain(self, reasons: &mut Vec<Reason>) -> Option<Watts> {
        match self {
            Self::Quiet => None,
            Self::Ignored(why) => {
                reasons.push(Reason::ForecastIgnored(why));
                None
            }
            Self::Lead { heat, within } => {
                reasons.push(Reason::Ahead { heat, within });
                Some(heat)
            }
        }
    }
}
