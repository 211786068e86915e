//! Properties of intrinsic reporting (clauses 12.2, 12.4, 12.6, 12.8, 12.42 to 12.44, 13.2): what stands beside a point
//! whose object detects events.

use bacnet_encoding::primitives;
use bacnet_types::enums::PropertyIdentifier as P;

use super::catalog::{Row, may};
use super::wire::{Wire, kindred};
use super::write::{bits, wire};
use super::{Cell, View, put_text};
use crate::bacnet::alarm::{self, Rule, Setting, Source, Three};
use crate::bacnet::answer::Failure;
use crate::plant::{Condition, ObjectFace, ObjectKind};

/// Longest Time_Delay that may be written, s: a day.
const LONGEST_DELAY: u64 = 86_400;

/// How an object of a type reports, if it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reports {
    /// CHANGE_OF_STATE.
    State,
    /// OUT_OF_RANGE and its kin.
    Limits,
}

impl Reports {
    pub(super) fn of(face: &ObjectFace) -> Option<Self> {
        face.alarm.as_ref().map(|alarm| match alarm.condition {
            Condition::State(_) => Self::State,
            Condition::Limits { .. } => Self::Limits,
        })
    }

    /// What the type can.
    pub(super) const fn full(kind: ObjectKind) -> Option<Self> {
        match kind {
            ObjectKind::BinaryInput | ObjectKind::BinaryValue => Some(Self::State),
            ObjectKind::AnalogInput
            | ObjectKind::AnalogOutput
            | ObjectKind::AnalogValue
            | ObjectKind::LargeAnalogValue
            | ObjectKind::IntegerValue
            | ObjectKind::PositiveIntegerValue => Some(Self::Limits),
            ObjectKind::BinaryOutput
            | ObjectKind::MultiStateInput
            | ObjectKind::MultiStateValue
            | ObjectKind::CharacterStringValue
            | ObjectKind::Accumulator => None,
        }
    }

    /// The properties of it, beside Event_State.
    pub(super) fn rows(self) -> Vec<Row> {
        let mut rows = vec![may(P::TIME_DELAY).writable(), may(P::NOTIFICATION_CLASS).writable()];
        match self {
            Self::State => rows.push(may(P::ALARM_VALUE)),
            Self::Limits => rows.extend([
                may(P::HIGH_LIMIT).writable(),
                may(P::LOW_LIMIT).writable(),
                may(P::DEADBAND).writable(),
                may(P::LIMIT_ENABLE).writable(),
            ]),
        }
        rows.extend([
            may(P::EVENT_ENABLE).writable(),
            may(P::ACKED_TRANSITIONS),
            may(P::NOTIFY_TYPE).writable(),
            may(P::EVENT_TIME_STAMPS),
            may(P::EVENT_MESSAGE_TEXTS),
            may(P::EVENT_DETECTION_ENABLE),
            may(P::TIME_DELAY_NORMAL).writable(),
        ]);
        rows
    }
}

/// One of them.
pub(super) fn read(source: &Source, kind: ObjectKind, property: P, cell: Cell<'_>) -> Result<(), Failure> {
    let settings = &source.settings;
    match (property, settings.rule) {
        (P::TIME_DELAY, _) => cell.unsigned(settings.delay.into()),
        (P::TIME_DELAY_NORMAL, _) => cell.unsigned(settings.delay_normal.into()),
        (P::NOTIFICATION_CLASS, _) => cell.unsigned(settings.class.into()),
        (P::ALARM_VALUE, Rule::State(abnormal)) => cell.enumerated(u32::from(abnormal != 0.0)),
        (P::HIGH_LIMIT, Rule::Limits(limits)) => cell.wire(kindred(kind, limits.high)),
        (P::LOW_LIMIT, Rule::Limits(limits)) => cell.wire(kindred(kind, limits.low)),
        (P::DEADBAND, Rule::Limits(limits)) => cell.wire(width(kind, limits.deadband)),
        // Low limit, then high limit (clause 21).
        (P::LIMIT_ENABLE, Rule::Limits(limits)) => {
            let octet = u8::from(limits.low_enabled) << 7 | u8::from(limits.high_enabled) << 6;
            cell.one(|out| primitives::encode_app_bit_string(out, 6, &[octet]))
        }
        (P::EVENT_ENABLE, _) => three(&settings.enabled, cell),
        (P::ACKED_TRANSITIONS, _) => three(&source.memory.acked, cell),
        (P::NOTIFY_TYPE, _) => cell.enumerated(settings.event.into()),
        (P::EVENT_TIME_STAMPS, _) => {
            let stamps = alarm::stamps(source);
            cell.array(3, |out, place| {
                if let Some(stamp) = stamps.get(place) {
                    // Refused is only a sequence number beyond 16 bits, and there is none.
                    let _ = primitives::encode_timestamp_choice(out, stamp);
                }
            })
        }
        (P::EVENT_MESSAGE_TEXTS, _) => {
            let texts = &source.memory.texts;
            cell.array(3, |out, place| put_text(out, texts.get(place).map_or("", String::as_str)))
        }
        // Detection belongs to the mapping: an alarm that a client could silence for good would be none.
        (P::EVENT_DETECTION_ENABLE, _) => cell.boolean(true),
        _ => Err(Failure::UNKNOWN_PROPERTY),
    }
}

/// The bits of BACnetEventTransitionBits.
pub(super) fn three(bits: &Three<bool>, cell: Cell<'_>) -> Result<(), Failure> {
    let octet = alarm::bits(bits).to_bacnet();
    cell.one(|out| primitives::encode_app_bit_string(out, 5, &[octet]))
}

/// A deadband in its type: never negative, so Unsigned for both integer types (clauses 12.43.27, 12.44.27).
fn width(kind: ObjectKind, number: f64) -> Wire {
    match kind {
        ObjectKind::IntegerValue => kindred(ObjectKind::PositiveIntegerValue, number),
        kind => kindred(kind, number),
    }
}

/// A write to one of them.
pub(super) fn write(view: &View<'_>, kind: ObjectKind, property: P, value: &[u8]) -> Result<Setting, Failure> {
    let delay = || match wire(value)? {
        Wire::Unsigned(seconds @ 0..=LONGEST_DELAY) => u32::try_from(seconds).map_err(|_| Failure::OUT_OF_RANGE),
        Wire::Unsigned(_) => Err(Failure::OUT_OF_RANGE),
        _ => Err(Failure::WRONG_TYPE),
    };
    match property {
        P::TIME_DELAY => Ok(Setting::Delay(delay()?)),
        P::TIME_DELAY_NORMAL => Ok(Setting::DelayNormal(delay()?)),
        P::HIGH_LIMIT => Ok(Setting::HighLimit(number(kindred(kind, 0.0), value)?)),
        P::LOW_LIMIT => Ok(Setting::LowLimit(number(kindred(kind, 0.0), value)?)),
        P::DEADBAND => {
            let width = number(width(kind, 0.0), value)?;
            if width >= 0.0 { Ok(Setting::Deadband(width)) } else { Err(Failure::OUT_OF_RANGE) }
        }
        P::LIMIT_ENABLE => bits(value).map(|[low, high]| Setting::LimitEnable(low, high)),
        P::EVENT_ENABLE => bits(value).map(Setting::Enabled),
        P::NOTIFY_TYPE => match wire(value)? {
            Wire::Enumerated(notify @ (0 | 1)) => Ok(Setting::Event(notify == 1)),
            Wire::Enumerated(_) => Err(Failure::OUT_OF_RANGE),
            _ => Err(Failure::WRONG_TYPE),
        },
        P::NOTIFICATION_CLASS => match wire(value)? {
            Wire::Unsigned(class) => {
                let class = u32::try_from(class).map_err(|_| Failure::OUT_OF_RANGE)?;
                // One that is not there would tell nobody of anything.
                view.alarms.class(class).map(|_| Setting::Class(class)).ok_or(Failure::OUT_OF_RANGE)
            }
            _ => Err(Failure::WRONG_TYPE),
        },
        _ => Err(Failure::WRITE_DENIED),
    }
}

/// A finite number of the same type as `like`.
fn number(like: Wire, value: &[u8]) -> Result<f64, Failure> {
    let written = wire(value)?;
    if std::mem::discriminant(&like) != std::mem::discriminant(&written) {
        return Err(Failure::WRONG_TYPE);
    }
    written.number().filter(|number| number.is_finite()).ok_or(Failure::OUT_OF_RANGE)
}
