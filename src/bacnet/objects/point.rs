//! Properties of an object that shows a point (clauses 12.1 to 12.4, 12.6 to 12.8, 12.18, 12.20, 12.37, 12.41 to 12.43).

use bacnet_encoding::{constructed, primitives};
use bacnet_types::constructed::{BACnetPrescale, BACnetScale};
use bacnet_types::enums::PropertyIdentifier as P;
use bacnet_types::primitives::ObjectIdentifier;

use super::catalog::{Row, may, must};
use super::event::{self, Reports};
use super::service;
use super::wire::{Wire, accumulator_scale, kindred, present, show, states, to_face};
use super::write::wire;
use super::{Cell, Shown, put_text};
use crate::bacnet::answer::Failure;
use crate::bacnet::own::Change as Own;
use crate::plant::{Commandable, ObjectFace, ObjectKind, PointDef};
use crate::point::{Kind, PointState, Priority};

/// Largest Present_Value of an accumulator: our totals do not wrap, and this is what a double still counts singly.
const ACCUMULATOR_MAX: u64 = (1 << 53) - 1;

/// What the types have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    /// REAL, Double, INTEGER or Unsigned with Units and COV_Increment.
    Numeric,
    Binary,
    MultiState,
    Accumulator,
    Text,
}

const fn family(kind: ObjectKind) -> Family {
    match kind {
        ObjectKind::AnalogInput
        | ObjectKind::AnalogOutput
        | ObjectKind::AnalogValue
        | ObjectKind::IntegerValue
        | ObjectKind::LargeAnalogValue
        | ObjectKind::PositiveIntegerValue => Family::Numeric,
        ObjectKind::BinaryInput | ObjectKind::BinaryOutput | ObjectKind::BinaryValue => Family::Binary,
        ObjectKind::MultiStateInput | ObjectKind::MultiStateValue => Family::MultiState,
        ObjectKind::Accumulator => Family::Accumulator,
        ObjectKind::CharacterStringValue => Family::Text,
    }
}

/// Whether Present_Value of the type can take commands.
const fn takes_commands(kind: ObjectKind) -> bool {
    !matches!(
        kind,
        ObjectKind::AnalogInput
            | ObjectKind::BinaryInput
            | ObjectKind::MultiStateInput
            | ObjectKind::Accumulator
            | ObjectKind::CharacterStringValue
    )
}

/// Whether Present_Value of this face takes commands: the type must, and the point must.
pub(super) fn commandable<'p>(def: &'p PointDef, face: &ObjectFace) -> Option<&'p Commandable> {
    def.commandable().filter(|_| takes_commands(face.kind))
}

/// Whether the type reports changes of value (table 13-1).
pub(in crate::bacnet) fn subscribable(face: &ObjectFace) -> bool {
    family(face.kind) != Family::Accumulator
}

/// COV_Increment of the mapping in the unit of the face; 0 for types that report every change.
pub(in crate::bacnet) fn increment(face: &ObjectFace) -> f64 {
    match family(face.kind) {
        Family::Numeric if face.cov_increment.is_finite() => face.cov_increment.max(0.0),
        _ => 0.0,
    }
}

/// What of a point decides about the properties of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// It takes commands.
    pub(super) commandable: bool,
    /// It has bounds.
    pub(super) ranged: bool,
    /// How many texts it has.
    pub(super) texts: usize,
    /// How it reports events.
    pub(super) reports: Option<Reports>,
    /// It may be taken out of service.
    pub(super) leaves: bool,
}

impl Shape {
    /// Everything that an object of its type can have.
    pub(super) const fn full(kind: ObjectKind) -> Self {
        Self {
            commandable: takes_commands(kind),
            ranged: true,
            texts: 2,
            reports: Reports::full(kind),
            leaves: service::kind_may_leave(kind),
        }
    }

    pub(super) fn of(def: &PointDef, face: &ObjectFace) -> Self {
        Self {
            commandable: commandable(def, face).is_some(),
            ranged: def.range.is_some(),
            texts: def.texts.len(),
            reports: Reports::of(face),
            leaves: service::may_leave(def, face),
        }
    }
}

/// The properties of an object of this type.
pub(super) fn rows(kind: ObjectKind, shape: Shape) -> Vec<Row> {
    use ObjectKind as K;
    // The value types of 2010 require fewer than their elders.
    let young =
        matches!(kind, K::IntegerValue | K::LargeAnalogValue | K::PositiveIntegerValue | K::CharacterStringValue);
    let output = matches!(kind, K::AnalogOutput | K::BinaryOutput);
    let elder = if young { may } else { must };
    let mut rows = vec![
        must(P::OBJECT_IDENTIFIER),
        must(P::OBJECT_NAME),
        must(P::OBJECT_TYPE),
        must(P::PRESENT_VALUE).simulated(shape.leaves).commandable(shape.commandable),
        may(P::DESCRIPTION),
        must(P::STATUS_FLAGS),
        elder(P::EVENT_STATE),
        may(P::RELIABILITY).simulated(shape.leaves),
        elder(P::OUT_OF_SERVICE).simulated(shape.leaves),
    ];
    match family(kind) {
        Family::Numeric => {
            rows.push(must(P::UNITS));
            if shape.ranged {
                rows.extend([may(P::MIN_PRES_VALUE), may(P::MAX_PRES_VALUE)]);
            }
            rows.push(may(P::COV_INCREMENT).writable());
        }
        Family::Binary => {
            if matches!(kind, K::BinaryInput | K::BinaryOutput) {
                rows.push(must(P::POLARITY));
            }
            if shape.texts >= 2 {
                rows.extend([may(P::INACTIVE_TEXT), may(P::ACTIVE_TEXT)]);
            }
        }
        Family::MultiState => {
            rows.push(must(P::NUMBER_OF_STATES));
            if shape.texts > 0 {
                rows.push(may(P::STATE_TEXT));
            }
        }
        Family::Text => {}
        Family::Accumulator => {
            rows.extend([must(P::SCALE), must(P::UNITS), may(P::PRESCALE), must(P::MAX_PRES_VALUE)]);
        }
    }
    if output || shape.commandable {
        // Required of whatever takes commands, by footnote; of outputs by the table.
        let row = if output { must } else { may };
        rows.extend([row(P::PRIORITY_ARRAY), row(P::RELINQUISH_DEFAULT), row(P::CURRENT_COMMAND_PRIORITY)]);
    }
    rows.extend(shape.reports.map(Reports::rows).into_iter().flatten());
    rows.push(must(P::PROPERTY_LIST));
    rows
}

/// One property of it.
pub(super) fn read(shown: &Shown<'_>, property: P, cell: Cell<'_>) -> Result<(), Failure> {
    let Shown { face, def, state, .. } = *shown;
    let text = |place: usize| def.texts.get(place).map_or("", String::as_str);
    match property {
        // A counter has no "not a number", and a 0 would be taken for a reset or a rollover.
        P::PRESENT_VALUE if family(face.kind) == Family::Accumulator && state.and_then(PointState::shown).is_none() => {
            Err(Failure::NO_VALUE)
        }
        P::PRESENT_VALUE => cell.wire(shown.value()),
        P::DESCRIPTION => cell.text(if face.description.is_empty() { &def.description } else { &face.description }),
        P::STATUS_FLAGS => cell.flags(shown.flags()),
        // normal where there is no event reporting (clause 12.2.8)
        P::EVENT_STATE => cell.enumerated(shown.event.map_or(0, |source| source.memory.state.raw().into())),
        P::RELIABILITY => cell.enumerated(shown.reliability()),
        P::OUT_OF_SERVICE => cell.boolean(shown.simulated().is_some()),
        P::UNITS => cell.enumerated(face.unit.bacnet()),
        P::MIN_PRES_VALUE => cell.wire(number(def, face, def.range.map_or(0.0, |(low, _)| low))),
        P::MAX_PRES_VALUE if face.kind == ObjectKind::Accumulator => cell.unsigned(ACCUMULATOR_MAX),
        P::MAX_PRES_VALUE => cell.wire(number(def, face, def.range.map_or(0.0, |(_, high)| high))),
        P::COV_INCREMENT => cell.wire(step(face.kind, shown.increment())),
        // normal
        P::POLARITY => cell.enumerated(0),
        P::INACTIVE_TEXT => cell.text(text(0)),
        P::ACTIVE_TEXT => cell.text(text(1)),
        P::NUMBER_OF_STATES => cell.unsigned(states(def)),
        P::STATE_TEXT => cell.array(def.texts.len(), |out, place| put_text(out, text(place))),
        P::SCALE => cell.one(|out| {
            constructed::encode_scale(out, &BACnetScale::IntegerScale(accumulator_scale(def, face)));
        }),
        // One pulse is one count (clause 12.1.10): the meter's own prescaling stands in the mapping.
        P::PRESCALE => cell.one(|out| {
            constructed::encode_prescale(out, &BACnetPrescale { multiplier: 1, modulo_divide: 1 });
        }),
        P::PRIORITY_ARRAY => {
            let slots = state.and_then(|state| state.slots.as_deref());
            cell.array(16, |out, place| {
                let priority = u8::try_from(place + 1).ok().and_then(Priority::new);
                let slot = slots.zip(priority).and_then(|(slots, priority)| slots.get(priority));
                slot.map_or(Wire::Null, |slot| show(def, face, slot.value)).encode(out);
            })
        }
        P::RELINQUISH_DEFAULT => cell.wire(match commandable(def, face) {
            Some(command) => show(def, face, command.relinquish_default),
            // An output whose point takes no commands: what it shows when it shows nothing else.
            None => present(def, face, state),
        }),
        P::CURRENT_COMMAND_PRIORITY => {
            let ruling = state.and_then(|state| state.slots.as_deref()).and_then(|slots| slots.ruling());
            cell.one(|out| match ruling {
                Some((priority, _)) => primitives::encode_app_unsigned(out, u64::from(priority.get())),
                None => primitives::encode_app_null(out),
            })
        }
        _ => event::read(shown.event.ok_or(Failure::UNKNOWN_PROPERTY)?, face.kind, property, cell),
    }
}

/// A write to a property of the device's own.
pub(super) fn write(shown: &Shown<'_>, object: ObjectIdentifier, property: P, value: &[u8]) -> Result<Own, Failure> {
    match property {
        P::COV_INCREMENT => {
            let step = written_step(shown.face.kind, wire(value)?)?;
            Ok(Own::Increment { face: shown.place, object, step })
        }
        _ => Err(Failure::WRITE_DENIED),
    }
}

/// COV_Increment as it was written: its type is that of Present_Value, but Unsigned for the integer types; it is not
/// negative (clauses 12.2.22, 12.42.21, 12.43.21).
fn written_step(kind: ObjectKind, written: Wire) -> Result<f64, Failure> {
    let step = match (step(kind, 0.0), written) {
        (Wire::Real(_), Wire::Real(step)) => f64::from(step),
        (Wire::Double(_), Wire::Double(step)) => step,
        #[expect(clippy::cast_precision_loss, reason = "a step beyond 2^53 is no step")]
        (Wire::Unsigned(_), Wire::Unsigned(step)) => step as f64,
        _ => return Err(Failure::WRONG_TYPE),
    };
    if step.is_finite() && step >= 0.0 { Ok(step) } else { Err(Failure::OUT_OF_RANGE) }
}

/// A bound of the point in the type of Present_Value.
fn number(def: &PointDef, face: &ObjectFace, bound: f64) -> Wire {
    let value = crate::point::Value::from_f64(Kind::Number, bound);
    value.map_or(Wire::Null, |_| kindred(face.kind, to_face(def, face, bound)))
}

/// COV_Increment in its type: Unsigned for the integer types.
fn step(kind: ObjectKind, step: f64) -> Wire {
    match kind {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        ObjectKind::IntegerValue | ObjectKind::PositiveIntegerValue => Wire::Unsigned(step.ceil() as u64),
        kind => kindred(kind, step),
    }
}
