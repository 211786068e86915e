//! What the zone is asked for: `demand_mode` alone selects, `enable` must be active, the other requests are ignored.
//!
//! A supply temperature is a request too: by a PI controller on what the meter shows, and where it shows flow and return,
//! first of all by the heat that the water needs; the controller then only mends the rest.

use std::time::Duration;

use crate::decision::DemandMode;
use crate::plant::{MeterRole, Zone, ZoneRole};
use crate::point::{PointId, Value};
use crate::time::Mono;
use crate::units::Watts;

use super::inputs::{Inputs, REQUEST_ROLES, Unusable};

/// Off below this share of nominal heat,
const OFF_BELOW: f64 = 0.05;
/// on again at this one (CONTROL law, 1).
const ON_AT: f64 = 0.10;
/// Temperature mode: share of nominal heat per kelvin.
const KP_PER_K: f64 = 0.02;
/// Temperature mode: reset time.
const TI_S: f64 = 600.0;
/// Heat of water, W per m3/h and kelvin (EN 1434: k is 1.160 kWh/(m3 K) at 20 degC, 1.147 at 50).
const WATER_W: f64 = 1155.0;
/// A longer pause than this between two steps is not integrated over.
const LONGEST_STEP: Duration = Duration::from_secs(20);
/// A power request may exceed nominal heat by rounding, not by more.
const POWER_SLACK: f64 = 1.01;

/// What is asked now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Asked {
    pub mode: DemandMode,
    /// A person asks (priority 1 to 8) by the point that decides.
    pub manual: bool,
    /// Heating is allowed.
    pub enabled: bool,
    pub heat: Result<Watts, Unusable>,
}

/// The memory of a zone's request: on or off, and the controller of temperature mode.
#[derive(Debug, Clone, Default)]
pub(super) struct Demand {
    on: bool,
    loop_: Option<Loop>,
}

/// PI on the supply temperature.
#[derive(Debug, Clone, Copy)]
struct Loop {
    integral: f64,
    /// What the water needs, where flow and return are metered.
    feed: Option<f64>,
    share: f64,
    at: Mono,
}

/// What temperature mode must know of the rest of the zone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tracking {
    /// Heat that the present caps give: where the loop starts from.
    pub heat: Watts,
    /// A ceiling or a shortage holds it: the integral does not grow.
    pub held: bool,
}

impl Demand {
    /// Read the request. Zero heat means off; between 5 and 10 % of nominal heat it depends on where it comes from.
    pub fn read(&mut self, zone: &Zone, inputs: &Inputs<'_>, tracking: Tracking) -> Asked {
        let mut asked = self.select(zone, inputs, tracking);
        if asked.mode != DemandMode::Temperature || asked.heat.is_err() {
            self.loop_ = None;
        }
        if let Ok(heat) = asked.heat {
            asked.heat = Ok(self.switched(heat, zone.nominal_heat));
        }
        asked
    }

    /// Off below 5 %, on again at 10 %.
    pub fn switched(&mut self, heat: Watts, nominal: Watts) -> Watts {
        let share = heat.ratio(nominal).unwrap_or(0.0);
        // Rounding must not keep 10.0 % off.
        self.on = share + 1e-9 >= if self.on { OFF_BELOW } else { ON_AT };
        if self.on { heat } else { Watts::ZERO }
    }

    fn select(&mut self, zone: &Zone, inputs: &Inputs<'_>, tracking: Tracking) -> Asked {
        let point = |role| zone.points.get(role);
        let (enable, selector) = (point(ZoneRole::Enable), point(ZoneRole::DemandMode));

        // A mapping without a selector means percent; one without an enable means enabled.
        let mode = match selector {
            None => Ok(DemandMode::Percent),
            Some(id) => inputs
                .standing(selector)
                .and_then(|code| DemandMode::from_code(u16::try_from(code.as_u64()?).ok()?))
                .ok_or_else(|| inputs.why_not(id)),
        };
        let shown = mode.unwrap_or(DemandMode::Percent);
        let enabled =
            enable.map_or(Ok(true), |id| inputs.standing(enable).map(Value::as_bool).ok_or_else(|| inputs.why_not(id)));
        match enabled {
            Ok(true) => {}
            Ok(false) => {
                let manual = inputs.manual(enable);
                return Asked { mode: shown, manual, enabled: false, heat: Ok(Watts::ZERO) };
            }
            Err(why) => return Asked { mode: shown, manual: false, enabled: false, heat: Err(why) },
        }
        let mode = match mode {
            Ok(mode) => mode,
            Err(why) => return Asked { mode: shown, manual: false, enabled: false, heat: Err(why) },
        };
        let nominal = zone.nominal_heat;
        let (source, heat) = match mode {
            DemandMode::Off => (selector, Ok(Watts::ZERO)),
            // Here the mode itself is the request, so it must be fresh.
            DemandMode::Call => {
                (selector, inputs.count(selector).map(|_| nominal).ok_or_else(|| why(inputs, selector)))
            }
            DemandMode::Percent => {
                let id = point(ZoneRole::HeatRequestPercent);
                let percent = inputs.percent(id).map(|percent| percent.get());
                let heat = percent.filter(|p| (0.0..=100.0).contains(p)).map(|p| nominal * (p / 100.0));
                (id, heat.ok_or_else(|| why(inputs, id)))
            }
            DemandMode::Power => {
                let id = point(ZoneRole::HeatRequestPower);
                let heat = inputs.watts(id).filter(|q| *q >= Watts::ZERO && *q <= nominal * POWER_SLACK);
                (id, heat.map(|q| q.min(nominal)).ok_or_else(|| why(inputs, id)))
            }
            DemandMode::Temperature => {
                let id = point(ZoneRole::SupplyTemperatureSetpoint);
                (id, self.temperature(zone, inputs, id, tracking))
            }
        };
        Asked { mode, manual: inputs.manual(source), enabled: true, heat }
    }

    /// Q = Qn * clamp(Kp * (Tsp - Tsupply) + I). Without a measured supply temperature the last output is kept; it is
    /// the ramp's business that nothing is raised then, because the output cannot move.
    fn temperature(
        &mut self,
        zone: &Zone,
        inputs: &Inputs<'_>,
        setpoint: Option<PointId>,
        tracking: Tracking,
    ) -> Result<Watts, Unusable> {
        let wanted = inputs.celsius(setpoint).ok_or_else(|| why(inputs, setpoint))?;
        let shown = |role| zone.meter.and_then(|id| inputs.plant.meter(id)).and_then(|meter| meter.points.get(role));
        let supply = shown(MeterRole::Supply);
        let now = inputs.mono();
        let Some(measured) = inputs.celsius(supply) else {
            let kept = self.loop_.ok_or(Unusable::Unreadable)?;
            self.loop_ = Some(Loop { at: now, ..kept });
            return Ok(zone.nominal_heat * kept.share);
        };
        let error = wanted.get() - measured.get();
        let water = inputs.flow(shown(MeterRole::Flow)).zip(inputs.celsius(shown(MeterRole::Return)));
        let feed = water.and_then(|(flow, back)| {
            let heat = Watts::of(WATER_W * flow.max(0.0) * (wanted.get() - back.get()));
            heat.ratio(zone.nominal_heat).map(|share| share.clamp(0.0, 1.0))
        });
        let base = feed.unwrap_or(0.0);
        // The controller mends what the water's need leaves; without that it carries all of it.
        let low = if feed.is_some() { -1.0 } else { 0.0 };
        let proportional = KP_PER_K * error;
        let mut state = self.loop_.unwrap_or_else(|| {
            // Bumpless: the first output is what is given now.
            let share = tracking.heat.ratio(zone.nominal_heat).unwrap_or(0.0).clamp(0.0, 1.0);
            Loop { integral: (share - proportional - base).clamp(low, 1.0), feed, share, at: now }
        });
        if state.feed.is_some() != feed.is_some() {
            // Flow or return came or went: the output stays where it is.
            state.integral = (state.integral + state.feed.unwrap_or(0.0) - base).clamp(low, 1.0);
        }
        state.feed = feed;
        let dt = now.since(state.at).min(LONGEST_STEP).as_secs_f64();
        let free = base + proportional + state.integral;
        let winds_up = (error > 0.0 && (free >= 1.0 || tracking.held)) || (error < 0.0 && free <= 0.0);
        if !winds_up {
            state.integral = (state.integral + proportional * dt / TI_S).clamp(low, 1.0);
        }
        state.share = (base + proportional + state.integral).clamp(0.0, 1.0);
        state.at = now;
        self.loop_ = Some(state);
        Ok(zone.nominal_heat * state.share)
    }
}

fn why(inputs: &Inputs<'_>, point: Option<PointId>) -> Unusable {
    point.map_or(Unusable::Unreadable, |point| inputs.why_not(point))
}

/// Whether the building's side has asked this zone for anything since the start.
pub(super) fn asked_since_start(zone: &Zone, inputs: &Inputs<'_>) -> bool {
    REQUEST_ROLES.into_iter().filter_map(|role| zone.points.get(role)).any(|point| inputs.spoken(point).is_some())
}
