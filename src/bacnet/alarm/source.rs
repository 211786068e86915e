//! An object that reports events by itself: what it goes by, what it remembers, and what it tells (clause 13.2).

use std::time::Duration;

use bacnet_encoding::constructed::encode_bacnet_property_value;
use bacnet_services::alarm_event::NotificationParameters as Values;
use bacnet_types::constructed::{BACnetPropertyStates, BACnetPropertyValue};
use bacnet_types::enums::{EventType, PropertyIdentifier, Reliability};
use bacnet_types::primitives::{BACnetTimeStamp, Date, ObjectIdentifier, StatusFlags, Time};
use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use super::detect::{Detector, Limits, Rule, Rules, Seen, State, Three, Transition};
use crate::bacnet::objects::{Wire, kindred};
use crate::plant::{AlarmFace, Condition, ObjectKind};
use crate::time::Mono;

/// Octets of a message text that are told at most.
const TEXT: usize = 200;

/// A date with a time of day, as on the wire.
pub(in crate::bacnet) type Stamp = (Date, Time);

/// What the object goes by: as mapped, but for what was written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::bacnet) struct Settings {
    pub(in crate::bacnet) rule: Rule,
    /// Time_Delay, s.
    pub(in crate::bacnet) delay: u32,
    /// Time_Delay_Normal, s.
    pub(in crate::bacnet) delay_normal: u32,
    /// Event_Enable.
    pub(in crate::bacnet) enabled: Three<bool>,
    /// Notification_Class.
    pub(in crate::bacnet) class: u32,
    /// Notify_Type: event instead of alarm.
    pub(in crate::bacnet) event: bool,
}

/// One setting as a client writes it; only what was written survives a restart, so that the rest follows the mapping.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::bacnet) enum Setting {
    HighLimit(f64),
    LowLimit(f64),
    Deadband(f64),
    /// Low, high.
    LimitEnable(bool, bool),
    Delay(u32),
    DelayNormal(u32),
    Enabled([bool; 3]),
    Class(u32),
    Event(bool),
}

/// What it remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::bacnet) struct Memory {
    pub(in crate::bacnet) state: State,
    /// The state that the last transition to off-normal led to.
    offnormal: State,
    /// Reliability when it became a fault.
    fault: u32,
    /// Acked_Transitions.
    pub(in crate::bacnet) acked: Three<bool>,
    /// Event_Time_Stamps; `None`: there was none yet.
    pub(in crate::bacnet) stamps: Three<Option<Stamp>>,
    /// Event_Message_Texts.
    pub(in crate::bacnet) texts: [String; 3],
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            state: State::Normal,
            offnormal: State::Normal,
            fault: 0,
            acked: Three([true; 3]),
            stamps: Three::default(),
            texts: <[String; 3]>::default(),
        }
    }
}

/// [`Memory`] as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    state: u32,
    offnormal: u32,
    fault: u32,
    acked: [bool; 3],
    stamps: [Option<[u8; 8]>; 3],
    texts: [String; 3],
}

impl Memory {
    pub(in crate::bacnet) fn keep(&self) -> Vec<u8> {
        let octets = |(date, time): Stamp| {
            [date.year, date.month, date.day, date.day_of_week, time.hour, time.minute, time.second, time.hundredths]
        };
        let kept = Kept {
            state: self.state.raw().into(),
            offnormal: self.offnormal.raw().into(),
            fault: self.fault,
            acked: self.acked.0,
            stamps: self.stamps.0.map(|stamp| stamp.map(octets)),
            texts: self.texts.clone(),
        };
        // It holds nothing that JSON cannot say.
        serde_json::to_vec(&kept).unwrap_or_default()
    }

    fn restore(kept: &[u8]) -> Option<Self> {
        let kept: Kept = serde_json::from_slice(kept).ok()?;
        let stamp = |[year, month, day, day_of_week, hour, minute, second, hundredths]: [u8; 8]| {
            (Date { year, month, day, day_of_week }, Time { hour, minute, second, hundredths })
        };
        Some(Self {
            state: State::from_raw(kept.state)?,
            offnormal: State::from_raw(kept.offnormal)?,
            fault: kept.fault,
            acked: Three(kept.acked),
            stamps: Three(kept.stamps.map(|octets| octets.map(stamp))),
            texts: kept.texts.map(bounded),
        })
    }
}

/// A text of at most [`TEXT`] octets.
fn bounded(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT));
    text
}

/// A transition that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bacnet) struct Made {
    pub(in crate::bacnet) from: State,
    pub(in crate::bacnet) to: State,
}

/// An object that reports.
#[derive(Debug)]
pub(in crate::bacnet) struct Source {
    /// Its place in the catalog: the order of the object list.
    pub(in crate::bacnet) place: usize,
    pub(in crate::bacnet) id: ObjectIdentifier,
    kind: ObjectKind,
    pub(in crate::bacnet) settings: Settings,
    written: Vec<Setting>,
    pub(in crate::bacnet) memory: Memory,
    detector: Detector,
}

impl Source {
    /// As mapped.
    pub(in crate::bacnet) fn new(place: usize, id: ObjectIdentifier, kind: ObjectKind, alarm: &AlarmFace) -> Self {
        let seconds = |delay: Duration| u32::try_from(delay.as_secs()).unwrap_or(u32::MAX);
        // As it is shown, so that both are compared alike.
        let narrow = |number| kindred(kind, number).number().unwrap_or(number);
        let rule = match alarm.condition {
            Condition::State(abnormal) => Rule::State(f64::from(u8::from(abnormal))),
            // A limit that is not watched shows the other.
            Condition::Limits { high, low, deadband } => Rule::Limits(Limits {
                high: narrow(high.or(low).unwrap_or_default()),
                low: narrow(low.or(high).unwrap_or_default()),
                deadband: narrow(deadband),
                high_enabled: high.is_some(),
                low_enabled: low.is_some(),
            }),
        };
        let settings = Settings {
            rule,
            delay: seconds(alarm.delay),
            delay_normal: seconds(alarm.delay_normal),
            enabled: Three([true; 3]),
            class: alarm.class,
            event: alarm.event,
        };
        let (written, memory, detector) = (Vec::new(), Memory::default(), Detector::default());
        Self { place, id, kind, settings, written, memory, detector }
    }

    /// What an earlier life remembered.
    pub(in crate::bacnet) fn restore(&mut self, kept: &[u8]) {
        if let Some(memory) = Memory::restore(kept) {
            self.memory = memory;
        }
    }

    /// What clients wrote in an earlier life.
    pub(in crate::bacnet) fn restore_settings(&mut self, kept: &[u8]) {
        for setting in serde_json::from_slice::<Vec<Setting>>(kept).unwrap_or_default() {
            // One that no client could have written was spoilt.
            if !matches!(setting, Setting::Deadband(width) if width < 0.0) {
                self.set(setting);
            }
        }
    }

    /// What of the settings to keep.
    pub(in crate::bacnet) fn keep_settings(&self) -> Vec<u8> {
        // It holds nothing that JSON cannot say: what is not finite is never written.
        serde_json::to_vec(&self.written).unwrap_or_default()
    }

    /// Write a setting.
    pub(in crate::bacnet) fn set(&mut self, setting: Setting) {
        let same = std::mem::discriminant(&setting);
        self.written.retain(|other| std::mem::discriminant(other) != same);
        self.written.push(setting);
        let settings = &mut self.settings;
        match (setting, &mut settings.rule) {
            (Setting::HighLimit(high), Rule::Limits(limits)) => limits.high = high,
            (Setting::LowLimit(low), Rule::Limits(limits)) => limits.low = low,
            (Setting::Deadband(deadband), Rule::Limits(limits)) => limits.deadband = deadband,
            (Setting::LimitEnable(low, high), Rule::Limits(limits)) => {
                (limits.low_enabled, limits.high_enabled) = (low, high);
            }
            // Of another algorithm, from before the mapping changed.
            (
                Setting::HighLimit(_) | Setting::LowLimit(_) | Setting::Deadband(_) | Setting::LimitEnable(..),
                Rule::State(_),
            ) => {}
            (Setting::Delay(delay), _) => settings.delay = delay,
            (Setting::DelayNormal(delay), _) => settings.delay_normal = delay,
            (Setting::Enabled(enabled), _) => settings.enabled = Three(enabled),
            (Setting::Class(class), _) => settings.class = class,
            (Setting::Event(event), _) => settings.event = event,
        }
    }

    fn rules(&self) -> Rules {
        Rules {
            rule: self.settings.rule,
            delay: Duration::from_secs(self.settings.delay.into()),
            delay_normal: Duration::from_secs(self.settings.delay_normal.into()),
        }
    }

    /// The next transition that is due, made: state, time stamp, message, acknowledgement (clauses 13.2.2.1, 13.2.3). Ask
    /// again until there is none.
    pub(in crate::bacnet) fn step(
        &mut self,
        seen: Seen,
        ack_required: &Three<bool>,
        text: impl Fn(State) -> String,
        local: Stamp,
        now: Mono,
    ) -> Option<Made> {
        let (from, rules) = (self.memory.state, self.rules());
        let to = self.detector.step(&rules, (from, self.memory.fault), seen, now)?;
        let which = to.transition();
        let memory = &mut self.memory;
        memory.state = to;
        memory.fault = seen.reliability;
        if which == Transition::Offnormal {
            memory.offnormal = to;
        }
        *memory.stamps.of_mut(which) = Some(local);
        // Of what nobody is told nobody expects an acknowledgement.
        *memory.acked.of_mut(which) = !(*ack_required.of(which) && *self.settings.enabled.of(which));
        if let Some(place) = memory.texts.get_mut(which as usize) {
            *place = bounded(text(to));
        }
        Some(Made { from, to })
    }

    /// When its delay is over.
    pub(in crate::bacnet) fn wake(&self) -> Option<Mono> {
        self.detector.wake(&self.rules())
    }

    /// Which transition an acknowledgement means, by the state and the time stamp of the notification; `Err(true)`: the state
    /// is none that it led to, `Err(false)`: the time stamp is not that of the last transition.
    pub(in crate::bacnet) fn acknowledge(&mut self, state: u32, stamp: &BACnetTimeStamp) -> Result<State, bool> {
        let state = State::from_raw(state).ok_or(true)?;
        let which = state.transition();
        let meant = match which {
            Transition::Offnormal => self.memory.offnormal == state,
            Transition::Fault | Transition::Normal => true,
        };
        let last = self.memory.stamps.of(which).filter(|_| meant).ok_or(true)?;
        if *stamp != (BACnetTimeStamp::DateTime { date: last.0, time: last.1 }) {
            return Err(false);
        }
        *self.memory.acked.of_mut(which) = true;
        Ok(state)
    }

    /// Whether it stands in GetEventInformation (clause 13.12).
    pub(in crate::bacnet) fn active(&self) -> bool {
        self.memory.state != State::Normal || self.memory.acked.0.contains(&false)
    }

    /// The event type of a transition: of the fault algorithm when it leads to or from a fault.
    pub(in crate::bacnet) fn event_type(&self, from: State, to: State) -> EventType {
        if from == State::Fault || to == State::Fault {
            return EventType::CHANGE_OF_RELIABILITY;
        }
        match (self.settings.rule, self.kind) {
            (Rule::State(_), _) => EventType::CHANGE_OF_STATE,
            (Rule::Limits(_), ObjectKind::LargeAnalogValue) => EventType::DOUBLE_OUT_OF_RANGE,
            (Rule::Limits(_), ObjectKind::IntegerValue) => EventType::SIGNED_OUT_OF_RANGE,
            (Rule::Limits(_), ObjectKind::PositiveIntegerValue) => EventType::UNSIGNED_OUT_OF_RANGE,
            (Rule::Limits(_), _) => EventType::OUT_OF_RANGE,
        }
    }

    /// The event values of a transition (clauses 13.3, 13.4; table 13-5 for reliability).
    pub(in crate::bacnet) fn values(&self, made: Made, value: Wire, reliability: u32, flags: u8) -> Values {
        let status_flags = StatusFlags::from_bits_truncate(flags >> 4);
        let limits = match self.settings.rule {
            Rule::Limits(limits) => limits,
            Rule::State(_) => Limits::default(),
        };
        let low = made.to == State::LowLimit || made.from == State::LowLimit && made.to == State::Normal;
        let (limit, deadband) = (if low { limits.low } else { limits.high }, limits.deadband);
        match (self.event_type(made.from, made.to), value) {
            (EventType::OUT_OF_RANGE, Wire::Real(exceeding_value)) => Values::OutOfRange {
                exceeding_value,
                status_flags,
                deadband: real(deadband),
                exceeded_limit: real(limit),
            },
            (EventType::DOUBLE_OUT_OF_RANGE, Wire::Double(exceeding_value)) => {
                Values::DoubleOutOfRange { exceeding_value, status_flags, deadband, exceeded_limit: limit }
            }
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
            (EventType::SIGNED_OUT_OF_RANGE, Wire::Signed(exceeding_value)) => Values::SignedOutOfRange {
                exceeding_value,
                status_flags,
                deadband: deadband as u64,
                exceeded_limit: limit as i32,
            },
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
            (EventType::UNSIGNED_OUT_OF_RANGE, Wire::Unsigned(exceeding_value)) => Values::UnsignedOutOfRange {
                exceeding_value,
                status_flags,
                deadband: deadband as u64,
                exceeded_limit: limit as u64,
            },
            (EventType::CHANGE_OF_STATE, Wire::Enumerated(state)) => {
                Values::ChangeOfState { new_state: BACnetPropertyStates::BinaryValue(state), status_flags }
            }
            (_, value) => {
                let mut octets = BytesMut::new();
                value.encode(&mut octets);
                let present = BACnetPropertyValue {
                    property_identifier: PropertyIdentifier::PRESENT_VALUE,
                    property_array_index: None,
                    value: octets.to_vec(),
                    priority: None,
                };
                let mut property_values = BytesMut::new();
                encode_bacnet_property_value(&present, &mut property_values);
                Values::ChangeOfReliability {
                    reliability: Reliability::from_raw(reliability),
                    status_flags,
                    property_values: property_values.to_vec(),
                }
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the protocol's REAL")]
const fn real(number: f64) -> f32 {
    number as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use bacnet_types::enums::ObjectType;

    fn source() -> Source {
        let alarm = AlarmFace {
            class: 1,
            condition: Condition::Limits { high: Some(70.1), low: None, deadband: 2.0 },
            delay: Duration::from_secs(5),
            delay_normal: Duration::ZERO,
            event: false,
        };
        let id = ObjectIdentifier::new(ObjectType::ANALOG_INPUT, 1).unwrap();
        Source::new(3, id, ObjectKind::AnalogInput, &alarm)
    }

    fn stamp(second: u8) -> Stamp {
        (Date { year: 125, month: 6, day: 2, day_of_week: 1 }, Time { hour: 1, minute: 2, second, hundredths: 3 })
    }

    fn wire(stamp: Stamp) -> BACnetTimeStamp {
        BACnetTimeStamp::DateTime { date: stamp.0, time: stamp.1 }
    }

    fn fault(source: &mut Source, reliability: u32, at: Stamp) -> Option<Made> {
        let seen = Seen { value: Some(1.0), reliability };
        source.step(seen, &Three([true, true, false]), |state| format!("{state:?} ö").repeat(100), at, Mono::START)
    }

    #[test]
    fn memory_and_what_was_written_come_back() {
        let mut source = source();
        source.set(Setting::HighLimit(60.0));
        source.set(Setting::HighLimit(61.5));
        source.set(Setting::Delay(9));
        assert_eq!(fault(&mut source, 12, stamp(1)), Some(Made { from: State::Normal, to: State::Fault }));
        assert!(source.memory.texts[1].len() <= TEXT);
        let mut again = self::source();
        again.restore(&source.memory.keep());
        again.restore_settings(&source.keep_settings());
        assert_eq!(again.memory, source.memory);
        assert_eq!(again.settings, source.settings);
        assert_eq!(fault(&mut again, 12, stamp(2)), None, "the same fault is no news after a restart");
        for garbage in [&b""[..], b"{}", b"[1]", b"{\"state\":99}", &[0xff; 30]] {
            let mut other = self::source();
            other.restore(garbage);
            other.restore_settings(garbage);
            assert_eq!((other.memory, other.settings), (Memory::default(), self::source().settings));
        }
    }

    #[test]
    fn a_text_that_was_kept_too_long_is_cut() {
        let mut source = source();
        fault(&mut source, 12, stamp(1));
        let mut kept: Kept = serde_json::from_slice(&source.memory.keep()).unwrap();
        kept.texts[1] = "ö".repeat(10_000);
        source.restore(&serde_json::to_vec(&kept).unwrap());
        assert_eq!(source.memory.texts[1], "ö".repeat(TEXT / 2));
    }

    #[test]
    fn an_acknowledgement_names_state_and_time_of_the_last_transition() {
        let mut source = source();
        assert_eq!(source.acknowledge(1, &wire(stamp(1))), Err(true), "there was none");
        fault(&mut source, 12, stamp(1));
        assert_eq!(source.memory.acked, Three([true, false, true]));
        assert!(source.active());
        assert_eq!(source.acknowledge(1, &wire(stamp(2))), Err(false));
        assert_eq!(source.acknowledge(3, &wire(stamp(1))), Err(true));
        assert_eq!(source.acknowledge(77, &wire(stamp(1))), Err(true));
        assert_eq!(source.acknowledge(1, &wire(stamp(1))), Ok(State::Fault));
        assert_eq!(source.memory.acked, Three([true; 3]));
        fault(&mut source, 0, stamp(3));
        assert!(!source.active());
    }

    #[test]
    fn a_limit_is_compared_as_it_is_shown() {
        let source = source();
        let Rule::Limits(limits) = source.settings.rule else { panic!() };
        assert_eq!(limits.high, f64::from(70.1f32));
    }
}
