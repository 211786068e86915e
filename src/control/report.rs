//! What a zone says of itself after a step: state, alarms and figures for the views.

use crate::decision::{Alarm, Alarms, Reason, RequestSource, Shortfall, ZoneDecision, ZoneState};
use crate::plant::{HeaterRole, Meter, MeterRole, Zone};
use crate::units::Watts;

use super::delivery::SHORT;
use super::inputs::Inputs;
use super::mode::Mode;
use super::stretch;
use super::zone::{Found, ZoneControl};

/// Surplus below this share of nominal heat is no dump: it is within the off band of a request.
const DUMP_FROM: f64 = 0.05;
/// The ramp is a start while it is further than this share of rated power below its target.
const STARTING: f64 = 0.02;

/// The heaters are short of jobs when they draw less than their caps by more than this share of rated power.
const SHORT_OF_JOBS: f64 = 0.05;

/// From the gravest.
const GRAVITY: [Alarm; 7] = [
    Alarm::EmergencyStop,
    Alarm::OverTemperature,
    Alarm::ControllerLost,
    Alarm::NotFollowing,
    Alarm::BmsLost,
    Alarm::MeterLost,
    Alarm::Undelivered,
];

/// 0 = none; otherwise 1 + the number of the gravest alarm.
fn fault_code(alarms: Alarms) -> u16 {
    GRAVITY.into_iter().find(|alarm| alarms.has(*alarm)).map_or(0, |alarm| u16::from(alarm as u8) + 1)
}

/// The zone's part of the decision.
pub(super) fn zone(control: &mut ZoneControl, zone: &Zone, found: Found<'_>) -> ZoneDecision {
    let inputs = found.inputs;
    let now = inputs.mono();
    let goal = &found.goal;

    // A stopped zone still leaves its building without the heat that it asks for.
    // What is held back because less will be asked in a moment is not missing.
    let due = if goal.stop { found.asked.heat.ok() } else { goal.heat.map(|heat| heat.min(goal.follow)) };
    let delivered = control.delivered(zone, inputs, found.eta);
    let up = zone.nominal_heat.get() * zone.ramp_up_per_min.max(0.0) / 60.0;
    let why = shortfall(control, zone, &found);
    let undelivered = control.delivery.update(now, due, delivered, up, why);
    let short = why == Shortfall::NoJobs && due.is_some_and(|due| undelivered > due * SHORT);
    let backup_call = control.delivery.backup;

    let alarms = alarms(control, zone, &found, backup_call);
    let reported: Watts = control
        .part(inputs.plant, true)
        .map(|(heater, control)| {
            let min = inputs.watts(heater.points.get(HeaterRole::Min)).unwrap_or(heater.idle);
            if control.staged { min.max(heater.idle).min(heater.rated) } else { control.room(heater).low }
        })
        .sum();
    let floor = (reported + found.reserve).max(found.floor);
    let heat_minimum = floor * found.eta;
    // Never dump while the backup boiler runs.
    let dump = match goal.heat {
        Some(heat) if !backup_call && (heat > Watts::ZERO || found.sold > Watts::ZERO) => {
            let floor = if heat > Watts::ZERO { found.floor } else { found.sold };
            (floor.min(found.ceiling) * found.eta - heat).max(Watts::ZERO)
        }
        _ => Watts::ZERO,
    };
    // A stopped zone has nothing to give.
    let ceiling = if goal.stop { Watts::ZERO } else { found.ceiling };
    ZoneDecision {
        zone: zone.id,
        state: state(control, zone, &found, alarms, dump, short || backup_call),
        source: goal.source,
        mode: found.asked.mode,
        request: goal.heat,
        cap: control.heaters.iter().map(|(_, heater)| heater.cap).sum(),
        floor,
        ceiling,
        eta: found.eta,
        heat_available: ceiling * found.eta,
        heat_minimum,
        heat_undelivered: undelivered,
        unmet_wh: control.delivery.unmet_wh(),
        dump,
        alarms,
        backup_call,
        fault_code: fault_code(alarms),
        reasons: found.reasons,
    }
}

/// Why heat would be missing now.
fn shortfall(control: &ZoneControl, zone: &Zone, found: &Found<'_>) -> Shortfall {
    let stopped = found.goal.stop || found.goal.heat.is_none();
    let drawn = control.measured(found.inputs);
    let caps: Watts = control.heaters.iter().map(|(_, heater)| heater.cap).sum();
    if stopped {
        Shortfall::Failsafe
    } else if control.heaters.iter().any(|(_, heater)| !heater.takes_part()) {
        Shortfall::LostLink
    } else if held_down(found) {
        Shortfall::Ceiling
    } else if drawn.is_some_and(|drawn| drawn < caps - zone.rated * SHORT_OF_JOBS) {
        Shortfall::NoJobs
    } else {
        Shortfall::Efficiency
    }
}

/// Whether a ceiling, or something missing, holds the power below what is wanted.
fn held_down(found: &Found<'_>) -> bool {
    found.reasons.iter().any(|reason| matches!(reason, Reason::Ceiling { .. } | Reason::NotRaised(_)))
}

fn alarms(control: &ZoneControl, zone: &Zone, found: &Found<'_>, undelivered: bool) -> Alarms {
    let inputs = found.inputs;
    let heaters = || control.heaters.iter().filter_map(|(id, heater)| Some((inputs.plant.heater(*id)?, heater)));
    let mut alarms = Alarms::default();
    alarms.set(Alarm::BmsLost, found.bms_alarm);
    alarms.set(Alarm::ControllerLost, heaters().any(|(heater, control)| control.lost(heater, inputs)));
    let meter = zone.meter.and_then(|id| inputs.plant.meter(id));
    alarms.set(Alarm::MeterLost, meter.is_some_and(|meter| meter_lost(control, meter, inputs)));
    alarms.set(Alarm::Undelivered, undelivered);
    alarms.set(Alarm::NotFollowing, heaters().any(|(_, control)| control.not_following));
    let latched = control.mode.latch().map(|latch| latch.cause);
    for alarm in [found.ceilings.alarm(), found.signals.active, latched].into_iter().flatten() {
        alarms.set(alarm, true);
    }
    alarms
}

/// A meter is lost when none of its heat, its counter or anything else has arrived within its age; after the start it
/// has that long to answer first.
fn meter_lost(control: &ZoneControl, meter: &Meter, inputs: &Inputs<'_>) -> bool {
    let main = [MeterRole::Power, MeterRole::EnergyCounter].into_iter().find_map(|role| meter.points.get(role));
    let heard = main.is_none_or(|point| inputs.value(Some(point)).is_some());
    !heard && inputs.mono().since(control.started) > stretch(meter.max_age, inputs.liveness)
}

fn state(control: &ZoneControl, zone: &Zone, found: &Found<'_>, alarms: Alarms, dump: Watts, short: bool) -> ZoneState {
    let goal = &found.goal;
    match control.mode {
        Mode::Safety(_) => return ZoneState::Safety,
        Mode::Init { .. } => return ZoneState::Init,
        Mode::NoRequest => return ZoneState::Failsafe,
        Mode::BmsLost(_) if goal.source == RequestSource::None => return ZoneState::Failsafe,
        Mode::Manual { .. } => return ZoneState::Manual,
        Mode::Auto | Mode::BmsLost(_) => {}
    }
    let asks = goal.power.is_some();
    let nobody_left = !control.heaters.iter().any(|(_, heater)| heater.takes_part());
    // After the start the controllers have their time to be heard of first.
    let awaited =
        nobody_left && !alarms.has(Alarm::ControllerLost) && control.heaters.iter().any(|(_, heater)| heater.unheard());
    let to_go = found.target - control.ramp.at();
    match (asks, dump > zone.nominal_heat * DUMP_FROM) {
        (_, true) => ZoneState::Dump,
        (false, false) => ZoneState::Standby,
        (true, false) if awaited => ZoneState::Starting,
        (true, false) if nobody_left => ZoneState::Fault,
        (true, false) if to_go > zone.rated * STARTING => ZoneState::Starting,
        (true, false) if held_down(found) || short => ZoneState::Limited,
        (true, false) => ZoneState::Heating,
    }
}
