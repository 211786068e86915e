//! Arbitration: who may write what, and which of sixteen slots rules.

use std::sync::Arc;

use crate::plant::{Commandable, Plant, PointDef};
use crate::point::{Doubt, Fault, Image, Kind, PointState, Priority, PriorityArray, Reading, Sample, Slot, Value};
use crate::request::{Action, Refusal, Request, Side, Write};
use crate::time::Now;

/// What a written value must be, in words.
const fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "active or inactive",
        Kind::Number => "a number",
        Kind::Unsigned => "a whole number, 0 or more",
        Kind::State => "one of its states",
        Kind::Energy => "an energy",
        Kind::Text => "a text",
    }
}

/// Whether a side may use a priority. Buses and brokers leave 1 to 8 to people; what BACnet says is taken as it says,
/// but for 6, which the standard keeps for minimum on/off times (ASHRAE 135, 19.2.3).
fn open_to(side: Side, priority: Priority) -> bool {
    match side {
        Side::Modbus | Side::Mqtt => priority.get() >= 9,
        Side::Bacnet => priority.get() != 6,
        Side::Local | Side::Web => priority >= Priority::OPERATOR,
    }
}

fn check_one<'a>(plant: &'a Plant, side: Side, write: &Write) -> Result<(&'a PointDef, &'a Commandable), Refusal> {
    let def = plant.point(write.point).ok_or(Refusal::UnknownPoint)?;
    let key = || def.key.to_string();
    let commandable = def.commandable().ok_or_else(|| Refusal::ReadOnly { key: key() })?;
    if side == Side::Mqtt && !commandable.mqtt_set {
        return Err(Refusal::NotAllowed { key: key(), side });
    }
    if !open_to(side, write.priority) {
        return Err(Refusal::BadPriority { priority: write.priority, side });
    }
    if let Some(value) = write.action.value() {
        if value.kind() != def.kind {
            return Err(Refusal::WrongKind { key: key(), expected: expected(def.kind) });
        }
        let number = value.as_f64();
        if !def.admits(number) {
            let (low, high) = def.range.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
            return Err(Refusal::OutOfRange { key: key(), value: number, low, high });
        }
        let states = def.texts.len();
        if def.kind == Kind::State && states > 0 && !(1..=states).contains(&usize::from(state_of(value))) {
            #[expect(clippy::cast_precision_loss, reason = "a handful of states")]
            return Err(Refusal::OutOfRange { key: key(), value: number, low: 1.0, high: states as f64 });
        }
    }
    Ok((def, commandable))
}

const fn state_of(value: Value) -> u16 {
    match value {
        Value::State(state) => state,
        _ => 0,
    }
}

/// Every write of a request, or the first reason why none is done.
pub(super) fn validate(plant: &Plant, image: &Image, request: &Request) -> Result<(), Refusal> {
    request.writes.iter().try_for_each(|write| {
        let (def, _) = check_one(plant, request.origin.side, write)?;
        match write.action {
            Action::Replace { seen, .. } if image.get(write.point).and_then(PointState::shown) != seen => {
                Err(Refusal::Changed { key: def.key.to_string() })
            }
            _ => Ok(()),
        }
    })
}

/// Apply a request that was validated. Momentary points keep their active value until [`settle`] is called.
pub(super) fn apply(plant: &Plant, image: &mut Image, request: &Request, now: Now) {
    let by: Arc<str> = request.origin.to_string().into();
    for write in &request.writes {
        let Some(def) = plant.point(write.point) else { continue };
        let Some(state) = image.get_mut(write.point) else { continue };
        let mut array = state.slots.as_deref().cloned().unwrap_or_default();
        match write.action {
            Action::Set(value) | Action::Replace { value, .. } => {
                array.set(write.priority, Slot { value, at: now, by: Arc::clone(&by), restored: false });
            }
            Action::Relinquish => {
                array.relinquish(write.priority);
            }
        }
        // Priorities 1 to 8 are people's: what they override or let go of says nothing about the building's life.
        if matches!(request.origin.side, Side::Modbus | Side::Bacnet) && write.priority > Priority::OPERATOR {
            state.bms_write = Some(now);
        }
        state.slots = Some(Arc::new(array));
        refresh(def, image, now);
    }
}

/// Clear what acts only once. True when something was cleared.
pub(super) fn settle(plant: &Plant, image: &mut Image, now: Now) -> bool {
    let mut cleared = false;
    for def in &plant.points {
        if !def.commandable().is_some_and(|commandable| commandable.momentary) {
            continue;
        }
        let occupied =
            image.get(def.id).is_some_and(|state| state.slots.as_deref().is_some_and(|array| array.ruling().is_some()));
        if occupied {
            if let Some(state) = image.get_mut(def.id) {
                state.slots = Some(Arc::default());
            }
            refresh(def, image, now);
            cleared = true;
        }
    }
    cleared
}

/// Recompute what a commandable point reads: the ruling slot, or the relinquish default; and what of it is doubtful.
pub(super) fn refresh(def: &PointDef, image: &mut Image, now: Now) {
    let Some(commandable) = def.commandable() else { return };
    let Some(state) = image.get_mut(def.id) else { return };
    let ruling = state.slots.as_deref().and_then(PriorityArray::ruling);
    let (value, at, doubt) = match ruling {
        Some((_, slot)) => {
            let expired = commandable.expires.is_some_and(|after| now.mono.since(slot.at.mono) > after);
            let doubt = if slot.restored {
                Some(Doubt::Restored)
            } else if expired {
                Some(Doubt::Stale)
            } else {
                None
            };
            (slot.value, slot.at, doubt)
        }
        None => (commandable.relinquish_default, now, None),
    };
    let reading = match doubt {
        Some(doubt) => Reading::Uncertain(value, doubt),
        None if def.absent == Some(value.as_f64()) => Reading::Bad(Fault::Absent),
        None => Reading::Good(value),
    };
    // A default that goes on ruling keeps its time: nothing was written.
    let at = if ruling.is_none() && state.sample.reading == reading { state.sample.at } else { at };
    state.sample = Sample { reading, at };
    state.last = Some(value);
    state.held = Some(at);
}
