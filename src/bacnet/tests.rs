//! Dialogues with the device, in octets and in its own time.

use std::sync::Arc;
use std::time::Duration;

use bacnet_encoding::primitives::{decode_application_value, encode_ctx_object_id, encode_ctx_unsigned};
use bacnet_encoding::tags::{encode_closing_tag, encode_opening_tag};
use bacnet_services::cov::{COVNotificationRequest, SubscribeCOVRequest};
use bacnet_services::read_property::{ReadPropertyAckRef, ReadPropertyRequest};
use bacnet_services::rpm::ReadPropertyMultipleACK;
use bacnet_types::enums::{ObjectType, PropertyIdentifier as P};
use bacnet_types::primitives::{ObjectIdentifier, PropertyValue};
use bytes::BytesMut;

use super::link::Peer;
use super::settings::{APDU_TIMEOUT, RETRIES, SEGMENT_TIMEOUT, Settings};
use super::stack::{Effect, Stack};
use super::testing;
use crate::point::{Fault, Image, Reading};
use crate::time::{Mono, Now, Utc};

/// The device with its image and its time, and what it has sent.
pub(super) struct Dialogue {
    pub(super) stack: Stack,
    pub(super) image: Image,
    pub(super) now: Now,
}

pub(super) const A: u16 = 47_809;
pub(super) const B: u16 = 47_810;

pub(super) fn peer(port: u16) -> Peer {
    Peer::local(([10, 0, 0, 9], port).into())
}

impl Dialogue {
    pub(super) fn new(extra: u32) -> Self {
        let plant = testing::plant(extra);
        let image = testing::image(&plant);
        let now = Now { mono: Mono::START, utc: Utc::default() };
        Self { stack: Stack::new(Arc::new(plant), Settings::default()), image, now }
    }

    /// What it says to an APDU: peers and APDUs.
    pub(super) fn say(&mut self, port: u16, apdu: &[u8]) -> Vec<(Peer, Vec<u8>)> {
        let mut effects = Vec::new();
        self.stack.on_apdu(peer(port), false, apdu, &self.image, self.now, &mut effects);
        sent(effects)
    }

    /// The one answer to an APDU.
    pub(super) fn ask(&mut self, apdu: &[u8]) -> Vec<u8> {
        let mut answers = self.say(A, apdu);
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers.remove(0).1
    }

    pub(super) fn read(&mut self, point: crate::point::PointId, reading: Reading) -> Vec<(Peer, Vec<u8>)> {
        testing::read(&mut self.image, point, reading);
        let mut effects = Vec::new();
        self.stack.on_image(&self.image, self.now, &mut effects);
        sent(effects)
    }

    pub(super) fn wait(&mut self, by: Duration) -> Vec<(Peer, Vec<u8>)> {
        self.now.mono = self.now.mono.after(by);
        let mut effects = Vec::new();
        self.stack.on_time(&self.image, self.now, &mut effects);
        sent(effects)
    }

    /// SubscribeCOV of an object; `None` cancels.
    pub(super) fn subscribe(
        &mut self,
        port: u16,
        invoke: u8,
        object: (ObjectType, u32),
        mode: Option<(bool, u32)>,
    ) -> Vec<(Peer, Vec<u8>)> {
        let request = SubscribeCOVRequest {
            subscriber_process_identifier: 7,
            monitored_object_identifier: id(object),
            issue_confirmed_notifications: mode.map(|mode| mode.0),
            lifetime: mode.map(|mode| mode.1),
        };
        let mut params = BytesMut::new();
        request.encode(&mut params).unwrap();
        self.say(port, &request_apdu(invoke, 5, 0x75, &params))
    }
}

pub(super) fn sent(effects: Vec<Effect>) -> Vec<(Peer, Vec<u8>)> {
    let send = |effect| match effect {
        Effect::Send { peer, apdu, .. } => Some((peer, apdu.to_vec())),
        _ => None,
    };
    effects.into_iter().filter_map(send).collect()
}

pub(super) fn id((kind, instance): (ObjectType, u32)) -> ObjectIdentifier {
    ObjectIdentifier::new(kind, instance).unwrap()
}

/// An unsegmented request; `sizes` are the bits of max-segments and max-APDU.
pub(super) fn request_apdu(invoke: u8, service: u8, sizes: u8, params: &[u8]) -> Vec<u8> {
    [&[0x02, sizes, invoke, service][..], params].concat()
}

pub(super) fn read_property(invoke: u8, sizes: u8, object: (ObjectType, u32), property: P) -> Vec<u8> {
    let request = ReadPropertyRequest {
        object_identifier: id(object),
        property_identifier: property,
        property_array_index: None,
    };
    let mut params = BytesMut::new();
    request.encode(&mut params);
    request_apdu(invoke, 12, sizes, &params)
}

/// ReadPropertyMultiple parameters.
fn specs(asked: &[(ObjectType, u32, &[P])]) -> Vec<u8> {
    let mut params = BytesMut::new();
    for (kind, instance, properties) in asked {
        encode_ctx_object_id(&mut params, 0, &id((*kind, *instance)));
        encode_opening_tag(&mut params, 1);
        properties.iter().for_each(|property| encode_ctx_unsigned(&mut params, 0, property.to_raw().into()));
        encode_closing_tag(&mut params, 1);
    }
    params.to_vec()
}

/// Present_Value and Status_Flags of an unconfirmed or confirmed notification.
pub(super) fn notification(apdu: &[u8]) -> (COVNotificationRequest, PropertyValue, u8) {
    let params = match apdu[0] >> 4 {
        1 => &apdu[2..],
        _ => &apdu[4..],
    };
    let told = COVNotificationRequest::decode(params).unwrap();
    let value = decode_application_value(&told.list_of_values[0].value, 0).unwrap().0;
    let flags = told.list_of_values[1].value[2];
    (told, value, flags)
}

pub(super) const AI: (ObjectType, u32) = (ObjectType::ANALOG_INPUT, 12);
pub(super) const AV: (ObjectType, u32) = (ObjectType::ANALOG_VALUE, 1);
pub(super) const DEVICE: (ObjectType, u32) = (ObjectType::DEVICE, 47_001);

#[test]
fn a_subscriber_is_told_at_once_then_by_increment_or_by_status() {
    let mut dialogue = Dialogue::new(0);
    dialogue.read(testing::DELIVERED, Reading::number(5_000.0));
    let said = dialogue.subscribe(A, 1, AI, Some((false, 60)));
    assert_eq!(said.len(), 2);
    assert_eq!(said[0].1, [0x20, 1, 5]);
    let (told, value, flags) = notification(&said[1].1);
    assert_eq!((told.subscriber_process_identifier, told.time_remaining), (7, 60));
    assert_eq!((value, flags), (PropertyValue::Real(5.0), 0));
    // 0.5 kW is the increment: creeping there in small steps counts as a whole
    assert!(dialogue.read(testing::DELIVERED, Reading::number(5_300.0)).is_empty());
    let said = dialogue.read(testing::DELIVERED, Reading::number(5_500.0));
    assert_eq!(notification(&said[0].1).1, PropertyValue::Real(5.5));
    // the value stays, the fault is news; and once only
    let said = dialogue.read(testing::DELIVERED, Reading::Bad(Fault::NoCommunication));
    assert_eq!((notification(&said[0].1).1, notification(&said[0].1).2), (PropertyValue::Real(5.5), 0x40));
    assert!(dialogue.read(testing::DELIVERED, Reading::Bad(Fault::Offline)).is_empty());
    assert!(dialogue.read(testing::PERCENT, Reading::number(50.0)).is_empty());
}

#[test]
fn subscriptions_are_renewed_in_place_and_end() {
    let mut dialogue = Dialogue::new(0);
    dialogue.subscribe(A, 1, AI, Some((false, 10)));
    dialogue.wait(Duration::from_secs(8));
    assert_eq!(dialogue.subscribe(A, 2, AI, Some((false, 10))).len(), 2);
    let list = dialogue.ask(&read_property(9, 0x75, DEVICE, P::ACTIVE_COV_SUBSCRIPTIONS));
    let ack = ReadPropertyAckRef::decode(&list[3..]).unwrap();
    let (one, end) = bacnet_encoding::constructed::decode_cov_subscription(ack.property_value, 0).unwrap();
    assert_eq!(end, ack.property_value.len());
    assert_eq!((one.time_remaining, one.issue_confirmed_notifications), (10, false));
    dialogue.wait(Duration::from_secs(8));
    assert_eq!(dialogue.read(testing::DELIVERED, Reading::number(1e4)).len(), 1);
    assert_eq!(dialogue.stack.wake(), Some(dialogue.now.mono.after(Duration::from_secs(2))));
    dialogue.wait(Duration::from_secs(2));
    assert_eq!(dialogue.stack.wake(), None);
    assert!(dialogue.read(testing::DELIVERED, Reading::number(2e4)).is_empty());
    // for ever, until it is cancelled; twice is fine
    dialogue.subscribe(A, 3, AI, Some((false, 0)));
    dialogue.wait(Duration::from_secs(1_000_000));
    assert_eq!(dialogue.read(testing::DELIVERED, Reading::number(3e4)).len(), 1);
    assert_eq!(dialogue.subscribe(A, 4, AI, None), [(peer(A), vec![0x20, 4, 5])]);
    assert_eq!(dialogue.subscribe(A, 5, AI, None), [(peer(A), vec![0x20, 5, 5])]);
    assert!(dialogue.read(testing::DELIVERED, Reading::number(4e4)).is_empty());
}

#[test]
fn a_confirmed_notification_is_repeated_and_what_changes_meanwhile_is_told_once() {
    let mut dialogue = Dialogue::new(0);
    dialogue.read(testing::DELIVERED, Reading::number(0.0));
    let said = dialogue.subscribe(A, 1, AI, Some((true, 600)));
    let first = said[1].1.clone();
    assert_eq!((first[0] >> 4, first[3]), (0, 1));
    for kw in 1..10 {
        assert!(dialogue.read(testing::DELIVERED, Reading::number(f64::from(kw) * 1e3)).is_empty());
    }
    // it was lost
    assert_eq!(dialogue.wait(APDU_TIMEOUT), [(peer(A), first.clone())]);
    let said = dialogue.say(A, &[0x20, first[2], 1]);
    assert_eq!(said.len(), 1);
    assert_eq!(notification(&said[0].1).1, PropertyValue::Real(9.0));
    // a subscriber that is gone holds nothing up for ever
    for _ in 0..RETRIES {
        assert_eq!(dialogue.wait(APDU_TIMEOUT).len(), 1);
    }
    assert!(dialogue.wait(APDU_TIMEOUT).is_empty());
    // it is left alone for half a minute, and then told what is by then
    assert!(dialogue.read(testing::DELIVERED, Reading::number(2e4)).is_empty());
    let said = dialogue.wait(Duration::from_secs(30));
    assert_eq!(notification(&said[0].1).1, PropertyValue::Real(20.0));
}

/// WriteProperty of COV_Increment.
fn write_increment(invoke: u8, object: (ObjectType, u32), value: &[u8]) -> Vec<u8> {
    let mut params = BytesMut::new();
    encode_ctx_object_id(&mut params, 0, &id(object));
    encode_ctx_unsigned(&mut params, 1, P::COV_INCREMENT.to_raw().into());
    encode_opening_tag(&mut params, 3);
    params.extend_from_slice(value);
    encode_closing_tag(&mut params, 3);
    request_apdu(invoke, 15, 0x75, &params)
}

#[test]
fn a_written_increment_rules_from_then_on() {
    let mut dialogue = Dialogue::new(0);
    dialogue.read(testing::DELIVERED, Reading::number(5_000.0));
    dialogue.subscribe(A, 1, AI, Some((false, 60)));
    assert!(dialogue.read(testing::DELIVERED, Reading::number(5_300.0)).is_empty());
    // 0.25 kW: what moved meanwhile is told at once
    let real = |value: f32| [&[0x44][..], &value.to_be_bytes()].concat();
    let said = dialogue.say(A, &write_increment(2, AI, &real(0.25)));
    assert_eq!(said[0].1, [0x20, 2, 15]);
    assert_eq!(notification(&said[1].1).1, PropertyValue::Real(5.3));
    let value = dialogue.ask(&read_property(3, 0x75, AI, P::COV_INCREMENT));
    assert_eq!(ReadPropertyAckRef::decode(&value[3..]).unwrap().property_value, real(0.25));
    // 0 tells every change
    dialogue.say(A, &write_increment(4, AI, &real(0.0)));
    assert_eq!(dialogue.read(testing::DELIVERED, Reading::number(5_301.0)).len(), 1);
    // repeated: the same answer
    assert_eq!(dialogue.ask(&write_increment(4, AI, &real(0.0))), [0x20, 4, 15]);
    for (invoke, value, code) in [
        (5, real(-1.0), 37),
        (6, real(f32::NAN), 37),
        (7, real(f32::INFINITY), 37),
        (8, vec![0x21, 1], 9),
        (9, vec![0x00], 9),
        (10, vec![], 9),
    ] {
        assert_eq!(dialogue.ask(&write_increment(invoke, AI, &value)), [0x50, invoke, 15, 0x91, 2, 0x91, code]);
    }
    // Unsigned for the integer types, Double for the large one, none for a binary one
    assert_eq!(dialogue.ask(&write_increment(11, (ObjectType::POSITIVE_INTEGER_VALUE, 1), &[0x21, 5])), [0x20, 11, 15]);
    let double = [&[0x55, 8][..], &2.5f64.to_be_bytes()].concat();
    assert_eq!(dialogue.ask(&write_increment(12, (ObjectType::LARGE_ANALOG_VALUE, 1), &double)), [0x20, 12, 15]);
    let binary = dialogue.ask(&write_increment(13, (ObjectType::BINARY_INPUT, 1), &real(1.0)));
    assert_eq!(binary, [0x50, 13, 15, 0x91, 2, 0x91, 32]);
}

#[test]
fn what_cannot_be_subscribed_says_why() {
    let mut dialogue = Dialogue::new(0);
    let refusal = |said: Vec<(Peer, Vec<u8>)>| said[0].1.clone();
    let accumulator = dialogue.subscribe(A, 1, (ObjectType::ACCUMULATOR, 1), Some((false, 60)));
    assert_eq!(refusal(accumulator), [0x50, 1, 5, 0x91, 1, 0x91, 45]);
    let unknown = dialogue.subscribe(A, 2, (ObjectType::ANALOG_INPUT, 999), Some((false, 60)));
    assert_eq!(refusal(unknown), [0x50, 2, 5, 0x91, 1, 0x91, 31]);
    assert_eq!(refusal(dialogue.subscribe(A, 3, DEVICE, Some((false, 60)))), [0x50, 3, 5, 0x91, 1, 0x91, 45]);
}

#[test]
fn one_peer_cannot_take_every_subscription() {
    let mut dialogue = Dialogue::new(3000);
    let taken = |dialogue: &mut Dialogue, port, wanted: u32| {
        let many = (100..100 + wanted)
            .filter(|n| dialogue.subscribe(port, 1, (ObjectType::ANALOG_INPUT, *n), Some((false, 60)))[0].1[0] == 0x20)
            .count();
        u32::try_from(many).unwrap()
    };
    assert_eq!(taken(&mut dialogue, A, 2_000), 1_536);
    assert_eq!(taken(&mut dialogue, B, 1_500), 768);
    assert_eq!(taken(&mut dialogue, 1, 100), 100);
    let full = dialogue.subscribe(A, 9, (ObjectType::ANALOG_INPUT, 3_000), Some((false, 60)));
    assert_eq!(full[0].1, [0x50, 9, 5, 0x91, 3, 0x91, 19]);
}

#[test]
fn a_long_list_goes_out_in_segments_that_the_peer_can_take() {
    let mut dialogue = Dialogue::new(200);
    // 206 octets, unspecified number of segments
    let request = read_property(1, 0x02, DEVICE, P::OBJECT_LIST);
    let mut said = dialogue.say(A, &request);
    assert_eq!(said.len(), 1);
    // repeated while it is under way: nothing
    assert!(dialogue.say(A, &request).is_empty());
    let mut whole = Vec::new();
    let mut segments = 0;
    while !said.is_empty() {
        for (_, segment) in &said {
            assert!(segment.len() <= 206);
            assert_eq!((segment[0] & 0xF8, segment[1], segment[2], segment[4]), (0x38, 1, segments, 12));
            whole.extend_from_slice(&segment[5..]);
            segments += 1;
        }
        said = dialogue.say(A, &[0x40, 1, segments - 1, 2]);
        assert!(said.len() <= 2);
    }
    let ack = ReadPropertyAckRef::decode(&whole).unwrap();
    assert_eq!(ack.property_value.len(), 5 * (2 + 10 + 200 + 1));
    assert_eq!(dialogue.stack.wake(), None);
    // at most two segments; none at all
    assert_eq!(dialogue.ask(&read_property(2, 0x12, DEVICE, P::OBJECT_LIST)), [0x71, 2, 1]);
    let mut none = read_property(3, 0x02, DEVICE, P::OBJECT_LIST);
    none[0] = 0x00;
    assert_eq!(dialogue.ask(&none), [0x71, 3, 4]);
    // a peer that falls silent, one that aborts
    dialogue.say(A, &request);
    for _ in 0..=RETRIES {
        assert_eq!(dialogue.wait(SEGMENT_TIMEOUT).len(), 1);
    }
    assert!(dialogue.wait(SEGMENT_TIMEOUT).is_empty());
    assert_eq!(dialogue.stack.wake(), None);
    dialogue.say(A, &request);
    dialogue.say(A, &[0x70, 1, 0]);
    assert_eq!(dialogue.stack.wake(), None);
}

#[test]
fn segmented_answers_under_way_are_bounded() {
    let mut dialogue = Dialogue::new(200);
    let answers: Vec<u8> =
        (0..20).map(|invoke| dialogue.ask(&read_property(invoke, 0x02, DEVICE, P::OBJECT_LIST))[0]).collect();
    assert_eq!(answers.iter().filter(|kind| **kind == 0x3C).count(), 8);
    assert_eq!(answers.iter().filter(|kind| **kind == 0x71).count(), 12);
    assert_eq!(dialogue.say(B, &read_property(1, 0x02, DEVICE, P::OBJECT_LIST))[0].1[0], 0x3C);
}

#[test]
fn a_request_in_segments_is_answered_like_one_in_a_piece() {
    let mut dialogue = Dialogue::new(150);
    let asked: Vec<(ObjectType, u32, &[P])> =
        (100..250).map(|n| (ObjectType::ANALOG_INPUT, n, &[P::PRESENT_VALUE][..])).collect();
    let params = specs(&asked);
    let pieces: Vec<&[u8]> = params.chunks(500).collect();
    let mut answer = Vec::new();
    for (n, piece) in pieces.iter().enumerate() {
        let more = if n + 1 < pieces.len() { 0x04 } else { 0 };
        let segment = [&[0x0A | more, 0x75, 1, u8::try_from(n).unwrap(), 1, 14][..], piece].concat();
        answer = dialogue.say(A, &segment);
        assert_eq!(answer[0].1, [0x41, 1, u8::try_from(n).unwrap(), 1]);
    }
    assert_eq!(answer.len(), 2);
    // its first segment
    assert_eq!((answer[1].1[0], answer[1].1.len()), (0x3C, 1476));
    // one that stops in the middle is forgotten
    let mut dialogue = Dialogue::new(0);
    dialogue.say(A, &[0x0E, 0x75, 1, 0, 1, 14, 0]);
    assert!(dialogue.stack.wake().is_some());
    dialogue.wait(SEGMENT_TIMEOUT * 4);
    assert_eq!(dialogue.stack.wake(), None);
}

#[test]
fn many_properties_are_read_with_their_failures_beside_them() {
    let mut dialogue = Dialogue::new(0);
    let params = specs(&[
        (ObjectType::ANALOG_VALUE, 1, &[P::PRESENT_VALUE, P::LOG_BUFFER]),
        (ObjectType::ANALOG_VALUE, 77, &[P::ALL]),
        (ObjectType::BINARY_VALUE, 1, &[P::REQUIRED]),
        (ObjectType::BINARY_VALUE, 1, &[P::OPTIONAL]),
        (ObjectType::BINARY_VALUE, 1, &[P::ALL]),
    ]);
    let answer = dialogue.ask(&request_apdu(1, 14, 0x75, &params));
    let ack = ReadPropertyMultipleACK::decode(&answer[3..]).unwrap();
    let results = |n: usize| &ack.list_of_read_access_results[n].list_of_results;
    assert_eq!(results(0)[0].property_value.as_deref(), Some(&[0x44, 0, 0, 0, 0][..]));
    assert_eq!(results(0)[1].error.map(|(class, code)| (class.to_raw(), code.to_raw())), Some((2, 32)));
    assert_eq!(results(1)[0].error.map(|(class, code)| (class.to_raw(), code.to_raw())), Some((1, 31)));
    let names = |n: usize| results(n).iter().map(|result| result.property_identifier).collect::<Vec<_>>();
    assert!(names(2).contains(&P::PRESENT_VALUE) && !names(2).contains(&P::DESCRIPTION));
    assert!(names(3).contains(&P::PRIORITY_ARRAY) && !names(3).contains(&P::PRESENT_VALUE));
    assert_eq!(names(4).len(), names(2).len() + names(3).len());
    assert!(!names(4).contains(&P::PROPERTY_LIST));
    // out of resources beyond 2,048 results, out of room beyond 65,536 octets
    let all: Vec<(ObjectType, u32, &[P])> = (0..100).map(|_| (ObjectType::DEVICE, 47_001, &[P::ALL][..])).collect();
    assert_eq!(dialogue.ask(&request_apdu(2, 14, 0x75, &specs(&all))), [0x71, 2, 9]);
    let mut dialogue = Dialogue::new(1_000);
    let lists: Vec<(ObjectType, u32, &[P])> =
        (0..14).map(|_| (ObjectType::DEVICE, 47_001, &[P::OBJECT_LIST][..])).collect();
    assert_eq!(dialogue.ask(&request_apdu(3, 14, 0x75, &specs(&lists))), [0x71, 3, 1]);
}

/// WritePropertyMultiple of two REALs to analog-values 1 and 4.
fn write_two(invoke: u8, one: f32, four: f32) -> Vec<u8> {
    let spec = |instance: u8, value: f32| {
        let value = value.to_be_bytes();
        let head = [0x0C, 0, 0x80, 0, instance, 0x1E, 0x09, 85, 0x2E, 0x44];
        [&head[..], &value, &[0x2F, 0x39, 10, 0x1F]].concat()
    };
    request_apdu(invoke, 16, 0x75, &[spec(1, one), spec(4, four)].concat())
}

#[test]
fn several_writes_are_one_request_and_stop_at_the_first_that_fails() {
    let mut dialogue = Dialogue::new(0);
    let submitted = |dialogue: &mut Dialogue, apdu: &[u8]| {
        let mut effects = Vec::new();
        dialogue.stack.on_apdu(peer(A), false, apdu, &dialogue.image, dialogue.now, &mut effects);
        match effects.pop() {
            Some(Effect::Submit(ticket, _, writes)) => (ticket, writes.len()),
            other => panic!("{other:?}"),
        }
    };
    let answer = |dialogue: &mut Dialogue, ticket, verdict| {
        let mut effects = Vec::new();
        dialogue.stack.on_verdict(ticket, &verdict, dialogue.now, &mut effects);
        sent(effects).remove(0).1
    };
    let accepted = Ok(crate::request::Accepted { image_seq: 2 });
    let (ticket, many) = submitted(&mut dialogue, &write_two(1, 50.0, 10.0));
    assert_eq!(many, 2);
    assert_eq!(answer(&mut dialogue, ticket, accepted.clone()), [0x20, 1, 16]);
    // value-out-of-range at the second: the first is done, and the error names the second
    let (ticket, many) = submitted(&mut dialogue, &write_two(2, 50.0, 1e6));
    assert_eq!(many, 1);
    let second = [0x50, 2, 16, 0x0E, 0x91, 2, 0x91, 37, 0x0F, 0x1E, 0x0C, 0, 0x80, 0, 4, 0x19, 85, 0x1F];
    assert_eq!(answer(&mut dialogue, ticket, accepted), second);
    // at the first: nothing is asked of the engine
    let first = dialogue.ask(&write_two(3, 1e6, 10.0));
    assert_eq!(first[..8], [0x50, 3, 16, 0x0E, 0x91, 2, 0x91, 37]);
    assert_eq!(first[14], 1);
    // the engine refuses the whole
    let (ticket, _) = submitted(&mut dialogue, &write_two(4, 50.0, 10.0));
    let busy = answer(&mut dialogue, ticket, Err(crate::request::Refusal::Busy));
    assert_eq!(busy[..8], [0x50, 4, 16, 0x0E, 0x91, 0, 0x91, 3]);
    assert_eq!(dialogue.ask(&request_apdu(5, 16, 0x75, &[])), [0x60, 5, 5]);
}

#[test]
fn malformed_and_misplaced_requests_are_rejected_with_their_reason() {
    let mut dialogue = Dialogue::new(0);
    // a missing list, a cut one, another parameter in its place, one too many, an unknown service
    assert_eq!(dialogue.ask(&request_apdu(1, 14, 0x75, &[])), [0x60, 1, 5]);
    let short = dialogue.ask(&request_apdu(2, 12, 0x75, &[0x0C, 0, 0x80]));
    assert_eq!(short[..2], [0x60, 2]);
    let another = dialogue.ask(&request_apdu(3, 12, 0x75, &[0x1C, 0, 0x80, 0, 1, 0x19, 85]));
    assert_eq!(another, [0x60, 3, 5]);
    let trailing = dialogue.ask(&request_apdu(4, 12, 0x75, &[0x0C, 0, 0x80, 0, 1, 0x19, 85, 0x39, 1]));
    assert_eq!(trailing[..2], [0x60, 4]);
    assert_eq!(dialogue.ask(&request_apdu(5, 99, 0x75, &[])), [0x60, 5, 9]);
    // a priority of 17 is an error of its own: services, parameter-out-of-range
    let priority = [0x0C, 0, 0x80, 0, 1, 0x19, 85, 0x3E, 0x44, 0, 0, 0, 0, 0x3F, 0x49, 17];
    assert_eq!(dialogue.ask(&request_apdu(6, 15, 0x75, &priority)), [0x50, 6, 15, 0x91, 5, 0x91, 80]);
    // a confirmed request to everybody is for nobody
    let mut effects = Vec::new();
    let read = read_property(7, 0x75, AV, P::PRESENT_VALUE);
    dialogue.stack.on_apdu(peer(A), true, &read, &dialogue.image, dialogue.now, &mut effects);
    assert!(matches!(effects[..], [Effect::Rejected("broadcast")]));
}
