//! Dialogues about alarms, in octets and in the device's own time; keepsakes go from one life to the next.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bacnet_encoding::constructed::{decode_destination_list, decode_event_notification, encode_destination_list};
use bacnet_encoding::primitives::{decode_application_value, encode_app_bit_string, encode_app_real};
use bacnet_services::alarm_event::{
    AcknowledgeAlarmRequest, EventNotificationRequest, GetEventInformationAck, GetEventInformationRequest,
    NotificationParameters as Values,
};
use bacnet_services::alarm_summary::GetAlarmSummaryAck;
use bacnet_services::enrollment_summary::{GetEnrollmentSummaryAck, GetEnrollmentSummaryRequest};
use bacnet_services::list_manipulation::{ChangeListError, ListElementRequest};
use bacnet_services::read_property::{ReadPropertyAckRef, ReadPropertyRequest};
use bacnet_services::who_is::IAmRequest;
use bacnet_services::write_property::WritePropertyRequest;
use bacnet_types::bitstring::{DaysOfWeek, EventTransitionBits};
use bacnet_types::constructed::{BACnetAddress, BACnetDestination, BACnetPropertyStates, BACnetRecipient};
use bacnet_types::enums::{
    AcknowledgmentFilter, ErrorCode, EventState, EventType, NotifyType, ObjectType, PropertyIdentifier as P,
    Reliability, Segmentation,
};
use bacnet_types::primitives::{BACnetTimeStamp, ObjectIdentifier, PropertyValue as V, StatusFlags, Time};
use bytes::BytesMut;

use crate::bacnet::link::{Peer, Route};
use crate::bacnet::settings::{APDU_TIMEOUT, Settings};
use crate::bacnet::stack::{Effect, Stack};
use crate::bacnet::testing;
use crate::durable::Keepsake;
use crate::plant::{AlarmFace, Condition, Plant};
use crate::point::{Fault, Image, PointId, Reading, Value};
use crate::time::{Mono, Now, Utc};

const A: u16 = 47_809;
const B: u16 = 47_810;
const BI: (ObjectType, u32) = (ObjectType::BINARY_INPUT, 1);
const AI: (ObjectType, u32) = (ObjectType::ANALOG_INPUT, 12);
const NC: (ObjectType, u32) = (ObjectType::NOTIFICATION_CLASS, 1);

fn id((kind, instance): (ObjectType, u32)) -> ObjectIdentifier {
    ObjectIdentifier::new(kind, instance).unwrap()
}

fn peer(port: u16) -> Peer {
    Peer::local(([10, 0, 0, 9], port).into())
}

/// The plant of the room's tests; delivered power has limits too, 10 to 90 kW with a deadband and delays.
fn plant(extra: u32) -> Plant {
    let mut plant = testing::plant(extra);
    for face in &mut plant.bacnet {
        if face.point == testing::DELIVERED {
            face.alarm = Some(AlarmFace {
                class: 1,
                condition: Condition::Limits { high: Some(90.0), low: Some(10.0), deadband: 5.0 },
                delay: Duration::from_secs(10),
                delay_normal: Duration::from_secs(4),
                event: true,
            });
        }
    }
    plant
}

/// A device with what its keepsakes have become.
struct Device {
    stack: Stack,
    image: Image,
    now: Now,
    invoke: u8,
    kept: BTreeMap<String, Vec<u8>>,
    dropped: usize,
    plant: Plant,
}

impl Device {
    fn new(plant: Plant) -> Self {
        let mut image = testing::image(&plant);
        testing::read(&mut image, testing::ALARM, Reading::Good(Value::Bool(false)));
        testing::read(&mut image, testing::DELIVERED, Reading::number(50_000.0));
        let now = Now { mono: Mono::START, utc: Utc::from_millis(1_764_000_000_123) };
        let stack = Stack::new(Arc::new(plant.clone()), Settings::default());
        Self { stack, image, now, invoke: 0, kept: BTreeMap::new(), dropped: 0, plant }
    }

    /// The process was killed and started again.
    fn restart(self) -> Self {
        let mut next = Self::new(self.plant);
        for (key, value) in &self.kept {
            next.stack.restore(key, value);
        }
        Self { kept: self.kept, image: self.image, now: Now { mono: Mono::START, ..self.now }, ..next }
    }

    fn take(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        let mut rest = Vec::new();
        for effect in effects {
            match effect {
                Effect::Keep(Keepsake { key, value: Some(value) }) => drop(self.kept.insert(key, value)),
                Effect::Keep(Keepsake { key, value: None }) => drop(self.kept.remove(&key)),
                Effect::Dropped(_) => self.dropped += 1,
                other => rest.push(other),
            }
        }
        rest
    }

    fn say(&mut self, from: Peer, apdu: &[u8]) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.stack.on_apdu(from, false, apdu, &self.image, self.now, &mut effects);
        self.take(effects)
    }

    fn read(&mut self, point: PointId, reading: Reading) -> Vec<Effect> {
        testing::read(&mut self.image, point, reading);
        let mut effects = Vec::new();
        self.stack.on_image(&self.image, self.now, &mut effects);
        self.take(effects)
    }

    fn alarm(&mut self, on: bool) -> Vec<Effect> {
        self.read(testing::ALARM, Reading::Good(Value::Bool(on)))
    }

    fn wait(&mut self, millis: u64) -> Vec<Effect> {
        self.now.mono = self.now.mono.after(Duration::from_millis(millis));
        self.now.utc = Utc::from_millis(self.now.utc.millis() + i64::try_from(millis).unwrap());
        let mut effects = Vec::new();
        self.stack.on_time(&self.image, self.now, &mut effects);
        self.take(effects)
    }

    /// A confirmed request; the APDU of its answer and what else happened.
    fn ask(&mut self, service: u8, sizes: u8, params: &[u8]) -> (Vec<u8>, Vec<Effect>) {
        self.invoke = self.invoke.wrapping_add(1);
        let apdu = [&[if sizes & 0x70 != 0 { 0x02 } else { 0x00 }, sizes, self.invoke, service][..], params].concat();
        let mut effects = self.say(peer(A), &apdu);
        let answer = effects.iter().position(|effect| matches!(effect, Effect::Send { .. })).unwrap();
        let Effect::Send { apdu, .. } = effects.remove(answer) else { panic!() };
        (apdu.to_vec(), effects)
    }

    /// The answer to a request that must succeed: its parameters.
    fn get(&mut self, service: u8, params: &[u8]) -> Vec<u8> {
        let (apdu, _) = self.ask(service, 0x05, params);
        assert_eq!((apdu[0], apdu[2]), (0x30, service), "{apdu:x?}");
        apdu[3..].to_vec()
    }

    fn property(&mut self, object: (ObjectType, u32), property: P) -> Vec<u8> {
        let request = ReadPropertyRequest {
            object_identifier: id(object),
            property_identifier: property,
            property_array_index: None,
        };
        let mut params = BytesMut::new();
        request.encode(&mut params);
        ReadPropertyAckRef::decode(&self.get(12, &params)).unwrap().property_value.to_vec()
    }

    fn value(&mut self, object: (ObjectType, u32), property: P) -> V {
        decode_application_value(&self.property(object, property), 0).unwrap().0
    }

    /// WriteProperty: the answer.
    fn write(&mut self, object: (ObjectType, u32), property: P, index: Option<u32>, value: &[u8]) -> Vec<u8> {
        let request = WritePropertyRequest {
            object_identifier: id(object),
            property_identifier: property,
            property_array_index: index,
            property_value: value.to_vec(),
            priority: None,
        };
        let mut params = BytesMut::new();
        request.encode(&mut params).unwrap();
        self.ask(15, 0x05, &params).0
    }

    fn recipients(&mut self, list: &[BACnetDestination]) {
        let mut octets = BytesMut::new();
        encode_destination_list(&mut octets, list).unwrap();
        assert_eq!(self.write(NC, P::RECIPIENT_LIST, None, &octets)[0], 0x20);
    }

    fn acknowledge(&mut self, of: &EventNotificationRequest) -> (Vec<u8>, Vec<Effect>) {
        let request = AcknowledgeAlarmRequest {
            acknowledging_process_identifier: 1,
            event_object_identifier: of.event_object_identifier,
            event_state_acknowledged: of.to_state,
            timestamp: of.timestamp.clone(),
            acknowledgment_source: "Zoë".to_owned(),
            time_of_acknowledgment: BACnetTimeStamp::SequenceNumber(1),
        };
        let mut params = BytesMut::new();
        request.encode(&mut params).unwrap();
        self.ask(0, 0x05, &params)
    }

    fn flags(&mut self, object: (ObjectType, u32)) -> u8 {
        let V::BitString { data, .. } = self.value(object, P::STATUS_FLAGS) else { panic!() };
        data[0]
    }

    /// SimpleACK of a notification.
    fn confirm(&mut self, from: Peer, invoke: u8) -> Vec<Effect> {
        self.say(from, &[0x20, invoke, 2])
    }
}

fn destination(recipient: BACnetRecipient, confirmed: bool) -> BACnetDestination {
    BACnetDestination {
        valid_days: DaysOfWeek::all(),
        from_time: Time { hour: 0, minute: 0, second: 0, hundredths: 0 },
        to_time: Time { hour: 23, minute: 59, second: 59, hundredths: 99 },
        recipient,
        process_identifier: 77,
        issue_confirmed_notifications: confirmed,
        transitions: EventTransitionBits::all(),
    }
}

fn address(port: u16) -> BACnetRecipient {
    let [high, low] = port.to_be_bytes();
    let mac_address = [10, 0, 0, 9, high, low].as_slice().into();
    BACnetRecipient::Address(BACnetAddress { network_number: 0, mac_address })
}

/// The notifications among effects: to whom, invoke id when confirmed, and what.
fn told(effects: &[Effect]) -> Vec<(Peer, Option<u8>, EventNotificationRequest)> {
    let one = |effect: &Effect| match effect {
        Effect::Send { peer, apdu, .. } if apdu[0] >> 4 == 0 && apdu[3] == 2 => {
            Some((*peer, Some(apdu[2]), decode_event_notification(&apdu[4..]).unwrap()))
        }
        Effect::Send { peer, apdu, .. } if apdu[..2] == [0x10, 3] => {
            Some((*peer, None, decode_event_notification(&apdu[2..]).unwrap()))
        }
        _ => None,
    };
    effects.iter().filter_map(one).collect()
}

fn in_order(acked: [bool; 3]) -> V {
    let octet = u8::from(acked[0]) << 7 | u8::from(acked[1]) << 6 | u8::from(acked[2]) << 5;
    V::BitString { unused_bits: 5, data: vec![octet] }
}

#[test]
fn an_alarm_is_told_with_all_its_fields_and_the_flags_follow() {
    let mut device = Device::new(plant(0));
    device.recipients(&[destination(address(A), true), destination(address(B), false)]);
    assert_eq!(device.flags(BI), 0);
    let effects = device.alarm(true);
    let told = told(&effects);
    assert_eq!(told.len(), 2);
    assert_eq!((told[0].0, told[0].1.is_some()), (peer(A), true));
    assert_eq!((told[1].0, told[1].1), (peer(B), None));
    let said = &told[0].2;
    let expected = EventNotificationRequest {
        process_identifier: 77,
        initiating_device_identifier: id((ObjectType::DEVICE, 47_001)),
        event_object_identifier: id(BI),
        // 2025-11-24 16:00:00.12 UTC, a Monday
        timestamp: BACnetTimeStamp::DateTime {
            date: bacnet_types::primitives::Date { year: 125, month: 11, day: 24, day_of_week: 1 },
            time: Time { hour: 16, minute: 0, second: 0, hundredths: 12 },
        },
        notification_class: 1,
        priority: 127,
        event_type: EventType::CHANGE_OF_STATE,
        message_text: Some("Point hall/alarm: alarm".to_owned()),
        notify_type: NotifyType::ALARM,
        ack_required: true,
        from_state: EventState::NORMAL,
        to_state: EventState::OFFNORMAL,
        event_values: Some(Values::ChangeOfState {
            new_state: BACnetPropertyStates::BinaryValue(1),
            status_flags: StatusFlags::IN_ALARM,
        }),
    };
    assert_eq!(*said, expected);
    assert_eq!(told[1].2, expected);
    assert_eq!(device.flags(BI), 0x80);
    assert_eq!(device.value(BI, P::EVENT_STATE), V::Enumerated(2));
    assert_eq!(device.value(BI, P::ACKED_TRANSITIONS), in_order([false, true, true]));
    // once only
    assert!(self::told(&device.alarm(true)).is_empty());
    device.confirm(peer(A), told[0].1.unwrap());
    let effects = device.alarm(false);
    let told = self::told(&effects);
    assert_eq!((told[0].2.from_state, told[0].2.to_state), (EventState::OFFNORMAL, EventState::NORMAL));
    assert_eq!((told[0].2.priority, told[0].2.ack_required), (255, false));
    assert_eq!(device.flags(BI), 0);
}

#[test]
fn an_acknowledgement_is_checked_told_and_kept() {
    let mut device = Device::new(plant(0));
    device.recipients(&[destination(address(B), false)]);
    let first = told(&device.alarm(true)).remove(0).2;
    device.wait(5_000);
    device.alarm(false);
    device.wait(5_000);
    let said = told(&device.alarm(true)).remove(0).2;
    let error = |(apdu, _): (Vec<u8>, Vec<Effect>)| (apdu[0], u32::from(apdu[4]), u32::from(apdu[6]));
    assert_eq!(error(device.acknowledge(&first)), (0x50, 5, 14), "services, invalid-time-stamp");
    let wrong = EventNotificationRequest { to_state: EventState::HIGH_LIMIT, ..said.clone() };
    assert_eq!(error(device.acknowledge(&wrong)), (0x50, 5, 73), "services, invalid-event-state");
    let wrong = EventNotificationRequest { event_object_identifier: id((ObjectType::BINARY_INPUT, 9)), ..said.clone() };
    assert_eq!(error(device.acknowledge(&wrong)), (0x50, 1, 31), "object, unknown-object");
    let wrong = EventNotificationRequest { event_object_identifier: id(NC), ..said.clone() };
    assert_eq!(error(device.acknowledge(&wrong)), (0x50, 1, 74), "object, no-alarm-configured");
    device.wait(5_000);
    let (apdu, effects) = device.acknowledge(&said);
    assert_eq!((apdu[0], apdu[2]), (0x20, 0));
    let told = told(&effects);
    let ack = &told[0].2;
    assert_eq!((ack.notify_type, ack.to_state), (NotifyType::ACK_NOTIFICATION, EventState::OFFNORMAL));
    assert_eq!((ack.event_values.clone(), ack.message_text.as_deref()), (None, Some("acknowledged by Zoë")));
    assert_ne!(ack.timestamp, said.timestamp);
    assert_eq!(device.value(BI, P::ACKED_TRANSITIONS), in_order([true; 3]));
    let mut next = device.restart();
    assert!(self::told(&next.alarm(true)).is_empty(), "the same alarm is no news after a restart");
    assert_eq!(next.value(BI, P::ACKED_TRANSITIONS), in_order([true; 3]));
    assert_eq!(next.value(BI, P::EVENT_STATE), V::Enumerated(2));
}

#[test]
fn what_clients_wrote_and_what_happened_survive_a_restart() {
    let mut device = Device::new(plant(0));
    device.recipients(&[destination(address(B), true)]);
    let mut real = BytesMut::new();
    encode_app_real(&mut real, 80.0);
    assert_eq!(device.write(AI, P::HIGH_LIMIT, None, &real)[0], 0x20);
    let mut bits = BytesMut::new();
    encode_app_bit_string(&mut bits, 5, &[0b1010_0000]);
    assert_eq!(device.write(AI, P::EVENT_ENABLE, None, &bits)[0], 0x20);
    assert_eq!(device.write(NC, P::PRIORITY, Some(2), &[0x21, 9])[0], 0x20);
    assert_eq!(device.write(NC, P::ACK_REQUIRED, None, &[0x82, 5, 0])[0], 0x20);
    device.alarm(true);
    let stamps = device.property(BI, P::EVENT_TIME_STAMPS);
    let mut next = device.restart();
    assert_eq!(next.value(AI, P::HIGH_LIMIT), V::Real(80.0));
    assert_eq!(next.value(AI, P::LOW_LIMIT), V::Real(10.0), "the mapping's");
    assert_eq!(next.value(AI, P::EVENT_ENABLE), in_order([true, false, true]));
    assert_eq!(next.property(NC, P::PRIORITY), [0x21, 127, 0x21, 9, 0x21, 255]);
    assert_eq!(next.value(NC, P::ACK_REQUIRED), in_order([false; 3]));
    assert_eq!(next.property(BI, P::EVENT_TIME_STAMPS), stamps);
    let list = decode_destination_list(&next.property(NC, P::RECIPIENT_LIST)).unwrap();
    assert_eq!(list, [destination(address(B), true)]);
    // and it goes on from there
    let told = told(&next.alarm(false));
    assert_eq!((told[0].2.from_state, told[0].2.to_state), (EventState::OFFNORMAL, EventState::NORMAL));
}

#[test]
fn limits_delays_and_the_deadband_run_in_the_devices_time() {
    let mut device = Device::new(plant(0));
    device.recipients(&[destination(address(B), false)]);
    assert!(told(&device.read(testing::DELIVERED, Reading::number(95_000.0))).is_empty());
    let wake = device.stack.wake().unwrap();
    assert_eq!(wake.since(device.now.mono), Duration::from_secs(10));
    assert!(told(&device.wait(9_999)).is_empty());
    let said = told(&device.wait(1)).remove(0).2;
    assert_eq!((said.event_type, said.notify_type), (EventType::OUT_OF_RANGE, NotifyType::EVENT));
    assert_eq!(said.to_state, EventState::HIGH_LIMIT);
    let values = Values::OutOfRange {
        exceeding_value: 95.0,
        status_flags: StatusFlags::IN_ALARM,
        deadband: 5.0,
        exceeded_limit: 90.0,
    };
    assert_eq!(said.event_values, Some(values));
    assert_eq!(device.flags(AI), 0x80);
    device.read(testing::DELIVERED, Reading::number(84_000.0));
    let said = told(&device.wait(4_000)).remove(0).2;
    assert_eq!((said.from_state, said.to_state), (EventState::HIGH_LIMIT, EventState::NORMAL));
    // a fault at once, and what it says
    let said = told(&device.read(testing::DELIVERED, Reading::Bad(Fault::NoCommunication))).remove(0).2;
    assert_eq!((said.event_type, said.to_state), (EventType::CHANGE_OF_RELIABILITY, EventState::FAULT));
    let Some(Values::ChangeOfReliability { reliability, status_flags, property_values }) = said.event_values else {
        panic!()
    };
    assert_eq!(reliability, Reliability::COMMUNICATION_FAILURE);
    assert_eq!(status_flags, StatusFlags::IN_ALARM | StatusFlags::FAULT);
    // [0] present-value, [2] { 84.0 }
    assert_eq!(property_values, [0x09, 85, 0x2e, 0x44, 0x42, 0xa8, 0, 0, 0x2f]);
    assert_eq!(device.flags(AI), 0xC0);
    let said = told(&device.read(testing::DELIVERED, Reading::number(50_000.0))).remove(0).2;
    assert_eq!((said.event_type, said.to_state), (EventType::CHANGE_OF_RELIABILITY, EventState::NORMAL));
}

#[test]
fn a_point_that_was_never_read_is_no_fault_at_once() {
    let mut device = Device::new(plant(0));
    device.image = testing::image(&device.plant);
    device.recipients(&[destination(address(B), false)]);
    assert!(told(&device.read(testing::PERCENT, Reading::number(1.0))).is_empty());
    device.wait(61_000);
    let said = told(&device.read(testing::PERCENT, Reading::number(2.0)));
    assert_eq!(said.len(), 2, "delivered power and the alarm");
    assert!(said.iter().all(|said| said.2.to_state == EventState::FAULT));
}

#[test]
fn what_is_not_enabled_is_not_told_and_wants_no_acknowledgement() {
    let mut device = Device::new(plant(0));
    device.recipients(&[destination(address(B), false)]);
    assert_eq!(device.write(BI, P::EVENT_ENABLE, None, &[0x82, 5, 0x20])[0], 0x20);
    assert!(told(&device.alarm(true)).is_empty());
    assert_eq!(device.flags(BI), 0x80, "detected all the same");
    assert_eq!(device.value(BI, P::ACKED_TRANSITIONS), in_order([true; 3]));
    assert_eq!(told(&device.alarm(false)).len(), 1);
}

#[test]
fn writes_that_make_no_sense_are_refused_in_the_standards_words() {
    let mut device = Device::new(plant(0));
    let code = |answer: Vec<u8>| (answer[0], u16::from(answer[4]), u16::from(answer[6]));
    let out_of_range = (0x50, 2, ErrorCode::VALUE_OUT_OF_RANGE.to_raw());
    let wrong_type = (0x50, 2, ErrorCode::INVALID_DATA_TYPE.to_raw());
    let mut nan = BytesMut::new();
    encode_app_real(&mut nan, f32::NAN);
    assert_eq!(code(device.write(AI, P::HIGH_LIMIT, None, &nan)), out_of_range);
    assert_eq!(code(device.write(AI, P::HIGH_LIMIT, None, &[0x21, 5])), wrong_type);
    let mut negative = BytesMut::new();
    encode_app_real(&mut negative, -1.0);
    assert_eq!(code(device.write(AI, P::DEADBAND, None, &negative)), out_of_range);
    assert_eq!(code(device.write(AI, P::TIME_DELAY, None, &[0x23, 1, 0x51, 0x81])), out_of_range);
    assert_eq!(code(device.write(AI, P::NOTIFICATION_CLASS, None, &[0x21, 9])), out_of_range);
    assert_eq!(code(device.write(AI, P::NOTIFY_TYPE, None, &[0x91, 2])), out_of_range);
    assert_eq!(code(device.write(AI, P::LIMIT_ENABLE, None, &[0x82, 5, 0])), out_of_range);
    let denied = (0x50, 2, ErrorCode::WRITE_ACCESS_DENIED.to_raw());
    assert_eq!(code(device.write(AI, P::ACKED_TRANSITIONS, None, &[0x82, 5, 0])), denied);
    assert_eq!(code(device.write(BI, P::EVENT_DETECTION_ENABLE, None, &[0x10])), denied);
    assert_eq!(code(device.write(NC, P::RECIPIENT_LIST, None, &[0x21, 5])), wrong_type);
    assert_eq!(code(device.write(NC, P::PRIORITY, Some(4), &[0x21, 5])), (0x50, 2, 42));
    assert_eq!(code(device.write(NC, P::PRIORITY, Some(1), &[0x22, 1, 0])), out_of_range);
    assert!(device.kept.is_empty(), "nothing was changed");
}

#[test]
fn lists_are_changed_element_by_element_all_or_none() {
    let mut device = Device::new(plant(0));
    let change = |device: &mut Device, service: u8, object, list: &[BACnetDestination]| {
        let mut octets = BytesMut::new();
        encode_destination_list(&mut octets, list).unwrap();
        let request = ListElementRequest {
            object_identifier: id(object),
            property_identifier: P::RECIPIENT_LIST,
            property_array_index: None,
            list_of_elements: octets.to_vec(),
        };
        let mut params = BytesMut::new();
        request.encode(&mut params).unwrap();
        device.ask(service, 0x05, &params).0
    };
    let [one, two, three] = [A, B, 5].map(|port| destination(address(port), true));
    assert_eq!(change(&mut device, 8, NC, &[one.clone(), two.clone()])[0], 0x20);
    assert_eq!(change(&mut device, 8, NC, std::slice::from_ref(&two))[0], 0x20, "it is there already");
    let list = |device: &mut Device| decode_destination_list(&device.property(NC, P::RECIPIENT_LIST)).unwrap();
    assert_eq!(list(&mut device), [one.clone(), two.clone()]);
    let answer = change(&mut device, 9, NC, &[one.clone(), three.clone()]);
    let error = ChangeListError::decode(&answer[3..]).unwrap();
    assert_eq!(
        (answer[0], error.error_code, error.first_failed_element_number),
        (0x50, ErrorCode::LIST_ELEMENT_NOT_FOUND, 2)
    );
    assert_eq!(list(&mut device).len(), 2, "nothing was removed");
    assert_eq!(change(&mut device, 9, NC, &[one])[0], 0x20);
    assert_eq!(list(&mut device), std::slice::from_ref(&two));
    let answer = change(&mut device, 8, BI, &[two]);
    assert_eq!(ChangeListError::decode(&answer[3..]).unwrap().error_code, ErrorCode::UNKNOWN_PROPERTY);
    assert_eq!(device.restart().property(NC, P::RECIPIENT_LIST).len(), 31);
}

#[test]
fn events_are_listed_in_pages_that_the_client_can_take() {
    let mut plant = plant(0);
    // Forty objects more that report, on the one alarm.
    let model = plant.bacnet.iter().find(|face| face.point == testing::ALARM).unwrap().clone();
    for n in 0..40 {
        plant.bacnet.push(crate::plant::ObjectFace { instance: 500 + n, name: format!("more {n}"), ..model.clone() });
    }
    let mut device = Device::new(plant);
    let page = |device: &mut Device, sizes: u8, last: Option<ObjectIdentifier>| {
        let mut params = BytesMut::new();
        GetEventInformationRequest { last_received_object_identifier: last }.encode(&mut params);
        device.ask(29, sizes, &params).0
    };
    let answer = page(&mut device, 0x05, None);
    assert_eq!(answer[0], 0x30, "{answer:x?}");
    let none = GetEventInformationAck::decode(&answer[3..]).unwrap();
    assert!(none.list_of_event_summaries.is_empty() && !none.more_events);
    assert!(device.get(3, &[]).is_empty());
    device.alarm(true);
    let (mut seen, mut last, mut pages) = (Vec::new(), None, 0);
    loop {
        let answer = page(&mut device, 0x03, last);
        assert!(answer.len() <= 480, "{}", answer.len());
        let ack = GetEventInformationAck::decode(&answer[3..]).unwrap();
        seen.extend(ack.list_of_event_summaries.iter().map(|summary| summary.object_identifier));
        last = seen.last().copied();
        pages += 1;
        let one = &ack.list_of_event_summaries[0];
        assert_eq!((one.event_state, one.notify_type), (EventState::OFFNORMAL, NotifyType::ALARM));
        assert_eq!(one.event_priorities, [127, 191, 255]);
        assert_eq!(one.acknowledged_transitions, EventTransitionBits::TO_FAULT | EventTransitionBits::TO_NORMAL);
        if !ack.more_events {
            break;
        }
    }
    assert_eq!((seen.len(), seen[0]), (41, id(BI)));
    assert!(pages > 5);
    // in segments all at once; and too long for the smallest client
    let answer = page(&mut device, 0x75, None);
    assert_eq!(answer[0] & 0xF8, 0x38);
    let answer = page(&mut device, 0x00, None);
    assert_eq!(answer[0], 0x71, "not even one fits into 50 octets");
    let answer = page(&mut device, 0x05, Some(id((ObjectType::ANALOG_VALUE, 99))));
    assert_eq!((answer[0], answer[4], answer[6]), (0x50, 1, 31));
    let summary = GetAlarmSummaryAck::decode(&device.get(3, &[])).unwrap();
    assert_eq!(summary.entries.len(), 41);
    assert_eq!(summary.entries[0].alarm_state, EventState::OFFNORMAL);
    let mut params = BytesMut::new();
    GetEnrollmentSummaryRequest {
        acknowledgment_filter: AcknowledgmentFilter::ALL,
        enrollment_filter: None,
        event_state_filter: None,
        event_type_filter: Some(EventType::OUT_OF_RANGE),
        priority_filter: None,
        notification_class_filter: Some(1),
    }
    .encode(&mut params);
    let enrolled = GetEnrollmentSummaryAck::decode(&device.get(4, &params)).unwrap();
    assert_eq!(enrolled.entries.len(), 1);
    assert_eq!(enrolled.entries[0].object_identifier, id(AI));
}

#[test]
fn a_recipient_that_is_a_device_is_looked_for_and_a_dead_one_delays_nobody() {
    let mut device = Device::new(plant(0));
    let seven = BACnetRecipient::Device(id((ObjectType::DEVICE, 7)));
    device.recipients(&[destination(address(A), true), destination(seven, true)]);
    let effects = device.alarm(true);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::BroadcastOn(_, apdu) if apdu[..2] == [0x10, 8])));
    assert_eq!(told(&effects).len(), 1);
    let mut i_am = BytesMut::from(&[0x10, 0][..]);
    let announced = IAmRequest {
        object_identifier: id((ObjectType::DEVICE, 7)),
        max_apdu_length: 480,
        segmentation_supported: Segmentation::NONE,
        vendor_id: 1,
    };
    announced.encode(&mut i_am);
    let route = Route { network: 5, mac: bacnet_npdu::Mac::from_slice(&[9]).unwrap() };
    let behind = Peer { link: ([10, 0, 0, 1], 47808).into(), route: Some(route) };
    let found = told(&device.say(behind, &i_am));
    assert_eq!((found.len(), found[0].0), (1, behind));
    // Neither answers; what happens meanwhile waits, in order, and others hear at once.
    device.recipients(&[destination(address(A), true), destination(address(B), false)]);
    assert_eq!(told(&device.alarm(false))[0].0, peer(B));
    for _ in 0..100 {
        assert_eq!(told(&device.alarm(true)).len(), 1);
        assert_eq!(told(&device.alarm(false)).len(), 1);
    }
    assert!(device.dropped > 100, "what the dead one's queue does not hold is counted: {}", device.dropped);
    let mut tries = 0;
    for _ in 0..3 {
        tries += told(&device.wait(u64::try_from(APDU_TIMEOUT.as_millis()).unwrap())).len();
    }
    assert_eq!(tries, 2 * 3, "what is under way is repeated, also to the one that was struck off");
}

#[test]
fn a_network_without_a_known_router_is_reached_through_any() {
    let mut device = Device::new(plant(0));
    let mac_address = [9u8].as_slice().into();
    let far = BACnetRecipient::Address(BACnetAddress { network_number: 5, mac_address });
    let everybody = BACnetRecipient::Address(BACnetAddress { network_number: 6, mac_address: [].as_slice().into() });
    device.recipients(&[destination(far, true), destination(everybody, true)]);
    let effects = device.alarm(true);
    let told = told(&effects);
    assert_eq!(told[0].0.link, Peer::ANY_ROUTER);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::BroadcastOn(6, apdu) if apdu[..2] == [0x10, 3])));
    // Its answer comes through the router that took it; from then on that one is meant.
    let route = told[0].0.route;
    let through = Peer { link: ([10, 0, 0, 1], 47808).into(), route };
    assert!(!device.confirm(through, told[0].1.unwrap()).iter().any(|effect| matches!(effect, Effect::Rejected(_))));
    let told = self::told(&device.alarm(false));
    assert_eq!(told[0].0, through);
}
