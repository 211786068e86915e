//! A notification class (clause 12.21): who is told of events, how urgent they are and which must be acknowledged.

use bacnet_encoding::constructed::{decode_destination_list, encode_destination_list};
use bacnet_types::bitstring::EventTransitionBits;
use bacnet_types::constructed::{BACnetAddress, BACnetDestination, BACnetRecipient};
use bacnet_types::enums::ObjectType;
use bacnet_types::primitives::{Date, ObjectIdentifier, Time};
use bytes::BytesMut;
use serde::{Deserialize, Serialize};

use super::detect::{Three, Transition};
use super::outbox::To;
use crate::bacnet::answer::Failure;
use crate::plant::ClassDefaults;

/// Most destinations of one class.
const RECIPIENTS: usize = 64;

/// A notification class.
#[derive(Debug)]
pub(in crate::bacnet) struct Class {
    pub(in crate::bacnet) instance: u32,
    pub(in crate::bacnet) priority: Three<u8>,
    pub(in crate::bacnet) ack_required: Three<bool>,
    recipients: Vec<BACnetDestination>,
    written: Written,
}

/// What clients wrote and therefore survives a restart; the rest is the mapping's.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Written {
    #[serde(default)]
    priority: Option<[u8; 3]>,
    #[serde(default)]
    ack_required: Option<[bool; 3]>,
    /// Recipient_List as on the wire.
    #[serde(default)]
    recipients: Vec<u8>,
}

impl Class {
    /// As mapped.
    pub(in crate::bacnet) fn new(instance: u32, defaults: ClassDefaults) -> Self {
        Self {
            instance,
            priority: Three(defaults.priority),
            ack_required: Three(defaults.ack_required),
            recipients: Vec::new(),
            written: Written::default(),
        }
    }

    /// What an earlier life kept; what cannot be read is left out.
    pub(in crate::bacnet) fn restore(&mut self, kept: &[u8]) {
        let Ok(written) = serde_json::from_slice::<Written>(kept) else { return };
        if let Some(priority) = written.priority {
            self.priority = Three(priority);
        }
        if let Some(ack_required) = written.ack_required {
            self.ack_required = Three(ack_required);
        }
        self.recipients = destinations(&written.recipients).and_then(checked).unwrap_or_default();
        self.written = written;
    }

    /// What to keep.
    pub(in crate::bacnet) fn keep(&self) -> Vec<u8> {
        // It holds nothing that JSON cannot say.
        serde_json::to_vec(&self.written).unwrap_or_default()
    }

    /// Recipient_List.
    pub(in crate::bacnet) fn recipients(&self) -> &[BACnetDestination] {
        &self.recipients
    }

    /// Write Recipient_List; it was [`checked`].
    pub(in crate::bacnet) fn set_recipients(&mut self, recipients: Vec<BACnetDestination>) {
        let mut octets = BytesMut::new();
        // Refused only for a MAC that is too long, and those were decoded.
        let _ = encode_destination_list(&mut octets, &recipients);
        self.written.recipients = octets.to_vec();
        self.recipients = recipients;
    }

    /// Write elements of Priority.
    pub(in crate::bacnet) fn set_priority(&mut self, written: Three<Option<u8>>) {
        for (priority, written) in self.priority.0.iter_mut().zip(written.0) {
            *priority = written.unwrap_or(*priority);
        }
        self.written.priority = Some(self.priority.0);
    }

    /// Write Ack_Required.
    pub(in crate::bacnet) const fn set_ack_required(&mut self, required: [bool; 3]) {
        self.ack_required = Three(required);
        self.written.ack_required = Some(required);
    }

    /// Who is told of a transition at this local time.
    pub(in crate::bacnet) fn meant(
        &self,
        which: Transition,
        (date, time): (Date, Time),
    ) -> impl Iterator<Item = &BACnetDestination> {
        let bit = bit(which);
        self.recipients.iter().filter(move |destination| {
            destination.transitions.contains(bit)
                && on_day(destination, date)
                && clock(destination.from_time, 0) <= clock(time, 0)
                && clock(time, 0) <= clock(destination.to_time, u32::MAX)
        })
    }
}

/// The day's bit: Monday is the first of both. An unknown day is every day.
fn on_day(destination: &BACnetDestination, date: Date) -> bool {
    let bit = date.day_of_week.checked_sub(1).and_then(|day| 1u8.checked_shl(day.into()));
    bit.is_none_or(|bit| destination.valid_days.bits() & bit != 0)
}

/// A time of day as a number; `any` where it is not specified.
fn clock(time: Time, any: u32) -> u32 {
    if time.hour == Time::UNSPECIFIED {
        return any;
    }
    let [hour, minute, second, hundredths] = [time.hour, time.minute, time.second, time.hundredths].map(u32::from);
    let part = |part: u32| if part == u32::from(Time::UNSPECIFIED) { any.min(99) } else { part };
    ((hour * 100 + part(minute)) * 100 + part(second)) * 100 + part(hundredths)
}

const fn bit(which: Transition) -> EventTransitionBits {
    match which {
        Transition::Offnormal => EventTransitionBits::TO_OFFNORMAL,
        Transition::Fault => EventTransitionBits::TO_FAULT,
        Transition::Normal => EventTransitionBits::TO_NORMAL,
    }
}

/// A list of destinations from the wire: well formed.
pub(in crate::bacnet) fn destinations(octets: &[u8]) -> Result<Vec<BACnetDestination>, Failure> {
    decode_destination_list(octets).map_err(|_| Failure::WRONG_TYPE)
}

/// A list that may be written: each can be reached, none is there twice, and there is room.
pub(in crate::bacnet) fn checked(wanted: Vec<BACnetDestination>) -> Result<Vec<BACnetDestination>, Failure> {
    let mut list: Vec<BACnetDestination> = Vec::new();
    for destination in wanted {
        if To::of(&destination.recipient).is_none() {
            return Err(Failure::OUT_OF_RANGE);
        }
        if list.contains(&destination) {
            continue;
        }
        if list.len() >= RECIPIENTS {
            return Err(Failure::NO_SPACE_TO_WRITE);
        }
        list.push(destination);
    }
    Ok(list)
}

impl To {
    /// Whom a recipient names; `None` for what cannot be reached by any frame of ours.
    pub(in crate::bacnet) fn of(recipient: &BACnetRecipient) -> Option<Self> {
        match recipient {
            BACnetRecipient::Device(id) => {
                let device = id.object_type() == ObjectType::DEVICE;
                let named = id.instance_number() != ObjectIdentifier::WILDCARD_INSTANCE;
                (device && named).then(|| Self::Device(id.instance_number()))
            }
            BACnetRecipient::Address(BACnetAddress { network_number, mac_address }) => {
                Self::address(*network_number, mac_address)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bacnet_types::bitstring::DaysOfWeek;

    fn time(hour: u8, minute: u8) -> Time {
        Time { hour, minute, second: 0, hundredths: 0 }
    }

    fn destination(device: u32) -> BACnetDestination {
        BACnetDestination {
            valid_days: DaysOfWeek::all(),
            from_time: time(0, 0),
            to_time: Time { hour: 23, minute: 59, second: 59, hundredths: 99 },
            recipient: BACnetRecipient::Device(ObjectIdentifier::new(ObjectType::DEVICE, device).unwrap()),
            process_identifier: 1,
            issue_confirmed_notifications: true,
            transitions: EventTransitionBits::all(),
        }
    }

    /// Monday is 1.
    fn at(day_of_week: u8, hour: u8, minute: u8) -> (Date, Time) {
        (Date { year: 125, month: 6, day: 2, day_of_week }, time(hour, minute))
    }

    #[test]
    fn days_hours_and_transitions_are_honoured() {
        let mut class = Class::new(1, ClassDefaults::default());
        let working = BACnetDestination {
            valid_days: DaysOfWeek::MONDAY | DaysOfWeek::FRIDAY,
            from_time: time(8, 0),
            to_time: time(17, 30),
            transitions: EventTransitionBits::TO_OFFNORMAL,
            ..destination(1)
        };
        class.set_recipients(vec![working]);
        let meant = |which, when| class.meant(which, when).count();
        assert_eq!(meant(Transition::Offnormal, at(1, 8, 0)), 1);
        assert_eq!(meant(Transition::Offnormal, at(5, 17, 30)), 1);
        assert_eq!(meant(Transition::Offnormal, at(1, 7, 59)), 0);
        assert_eq!(meant(Transition::Offnormal, at(1, 17, 31)), 0);
        assert_eq!(meant(Transition::Offnormal, at(2, 12, 0)), 0);
        assert_eq!(meant(Transition::Fault, at(1, 12, 0)), 0);
        assert_eq!(meant(Transition::Normal, at(1, 12, 0)), 0);
        let any = Time { hour: 255, minute: 255, second: 255, hundredths: 255 };
        class.set_recipients(vec![BACnetDestination { from_time: any, to_time: any, ..destination(1) }]);
        assert_eq!(class.meant(Transition::Fault, at(7, 0, 0)).count(), 1);
        assert_eq!(class.meant(Transition::Fault, at(7, 23, 59)).count(), 1);
    }

    #[test]
    fn what_is_written_comes_back_and_nothing_else() {
        let mut class = Class::new(1, ClassDefaults::default());
        class.set_recipients(vec![destination(7), BACnetDestination { process_identifier: 9, ..destination(8) }]);
        class.set_priority(Three([None, Some(3), None]));
        let mut again = Class::new(1, ClassDefaults { priority: [1, 1, 1], ack_required: [false, false, true] });
        again.restore(&class.keep());
        assert_eq!(again.recipients(), class.recipients());
        assert_eq!(again.priority, class.priority);
        assert_eq!(again.ack_required, Three([false, false, true]), "the mapping's, for nobody wrote it");
        for garbage in [&b""[..], b"{", b"[]", b"{\"recipients\":[1,2,3]}", b"{\"priority\":[1]}"] {
            let mut other = Class::new(1, ClassDefaults::default());
            other.restore(garbage);
            assert!(other.recipients().is_empty());
            assert_eq!(other.priority, Three(ClassDefaults::default().priority));
        }
    }

    #[test]
    fn a_list_is_bounded_without_repetitions_and_can_be_reached() {
        let list = (0..64).chain(0..64).map(destination).collect();
        assert_eq!(checked(list).map(|list| list.len()), Ok(64));
        assert_eq!(checked((0..65).map(destination).collect()), Err(Failure::NO_SPACE_TO_WRITE));
        let address = |network_number, mac: &[u8]| BACnetDestination {
            recipient: BACnetRecipient::Address(BACnetAddress { network_number, mac_address: mac.into() }),
            ..destination(1)
        };
        assert!(checked(vec![address(0, &[10, 0, 0, 1, 0xba, 0xc0]), address(0, &[]), address(5, &[7])]).is_ok());
        assert_eq!(checked(vec![address(0, &[1, 2, 3])]), Err(Failure::OUT_OF_RANGE));
        let no_device = BACnetDestination {
            recipient: BACnetRecipient::Device(ObjectIdentifier::new(ObjectType::ANALOG_INPUT, 1).unwrap()),
            ..destination(1)
        };
        assert_eq!(checked(vec![no_device]), Err(Failure::OUT_OF_RANGE));
    }
}
