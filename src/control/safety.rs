//! The safety latch of a zone: it mirrors the emergency stop and over-temperature inputs, which stay hard-wired. It is
//! re-armed by a person on the spot, after the inputs are quiet; nothing else resets it, a restart neither.

use crate::decision::{Alarm, SafetyLatch};
use crate::plant::{Zone, ZoneRole};
use crate::point::{PointState, Priority, Reading, Value};
use crate::time::Now;

use super::inputs::Inputs;

/// The inputs, the graver first.
const INPUTS: [(ZoneRole, Alarm); 2] =
    [(ZoneRole::EmergencyStop, Alarm::EmergencyStop), (ZoneRole::OverTemperatureInput, Alarm::OverTemperature)];

/// Why a latch stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RearmRefusal {
    /// There is no such zone.
    #[error("no such zone")]
    UnknownZone,
    /// Nothing is latched.
    #[error("nothing is latched")]
    NotLatched,
    /// The input still asks for a stop.
    #[error("still active: {}", .0.as_str())]
    StillActive(Alarm),
    /// The input cannot be read, so nobody knows that it is quiet.
    #[error("cannot be read: the input for {}", .0.as_str())]
    Unreadable(Alarm),
}

/// What the inputs say now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Signals {
    /// The gravest active one.
    pub active: Option<Alarm>,
    /// One that is bound and cannot be read: nobody is stopped by it, but power is not raised.
    pub unreadable: Option<Alarm>,
}

/// Whether somebody's slot is active although another one rules: a stop counts whoever says it, and ends when all who said
/// it have taken it back. Only a person's override (priority 1 to 8) silences the others.
fn any_writer_stops(state: Option<&PointState>) -> bool {
    let Some(array) = state.and_then(|state| state.slots.as_deref()) else { return false };
    let overridden = array.ruling().is_some_and(|(priority, _)| priority <= Priority::OPERATOR);
    !overridden && array.occupied().any(|(_, slot)| slot.value.as_bool())
}

/// Read the inputs of a zone.
pub(super) fn signals(zone: &Zone, inputs: &Inputs<'_>) -> Signals {
    let mut found = Signals::default();
    for (role, alarm) in INPUTS {
        let Some(point) = zone.points.get(role) else { continue };
        // What was active when it was last heard of is active; what was quiet when the gateway went down is quiet, until
        // somebody says otherwise. Of anything else that is not good nobody knows.
        let doubtful = matches!(inputs.image.reading(point), Reading::Uncertain(value, _) if value.as_bool());
        match inputs.standing(Some(point)).map(Value::as_bool) {
            Some(true) => found.active = found.active.or(Some(alarm)),
            _ if any_writer_stops(inputs.image.get(point)) => found.active = found.active.or(Some(alarm)),
            _ if doubtful => found.active = found.active.or(Some(alarm)),
            Some(false) => {}
            None => found.unreadable = found.unreadable.or(Some(alarm)),
        }
    }
    found
}

/// The latch after looking at the inputs. The first cause stays, unless a graver one comes.
pub(super) fn latched(before: Option<&SafetyLatch>, signals: Signals, now: Now) -> Option<SafetyLatch> {
    match (before, signals.active) {
        (None, Some(cause)) => Some(SafetyLatch { cause, since: now.utc }),
        (Some(latch), Some(Alarm::EmergencyStop)) => {
            Some(SafetyLatch { cause: Alarm::EmergencyStop, since: latch.since })
        }
        (before, _) => before.cloned(),
    }
}

/// Whether a person on the spot may re-arm.
pub(super) fn may_rearm(latch: Option<&SafetyLatch>, signals: Signals) -> Result<(), RearmRefusal> {
    match (latch, signals.active, signals.unreadable) {
        (None, _, _) => Err(RearmRefusal::NotLatched),
        (Some(_), Some(alarm), _) => Err(RearmRefusal::StillActive(alarm)),
        (Some(_), None, Some(alarm)) => Err(RearmRefusal::Unreadable(alarm)),
        (Some(_), None, None) => Ok(()),
    }
}
