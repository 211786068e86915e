//! Dialogues about subscriptions to properties, silent subscribers, device management, the clock and every APDU size.

use std::time::Duration;

use bacnet_encoding::primitives::decode_application_value;
use bacnet_services::cov::SubscribeCOVPropertyRequest;
use bacnet_services::device_mgmt::{
    DeviceCommunicationControlRequest, ReinitializeDeviceRequest, TimeSynchronizationRequest,
};
use bacnet_services::read_property::ReadPropertyAckRef;
use bacnet_types::enums::{EnableDisable, ObjectType, PropertyIdentifier as P, ReinitializedState};
use bacnet_types::primitives::{Date, PropertyValue as V, Time};
use bytes::BytesMut;

use super::link::Peer;
use super::settings::{APDU_TIMEOUT, Password, RETRIES};
use super::stack::Effect;
use super::testing;
use super::tests::{A, AI, AV, B, DEVICE, Dialogue, id, notification, peer, read_property, request_apdu, sent};
use crate::point::{Fault, Reading};

type Said = Vec<(Peer, Vec<u8>)>;

/// What a SubscribeCOVProperty asks.
#[derive(Clone, Copy)]
struct Wanted {
    object: (ObjectType, u32),
    property: P,
    index: Option<u32>,
    mode: Option<(bool, u32)>,
    step: Option<f32>,
}

const LEVEL: Wanted =
    Wanted { object: AI, property: P::PRESENT_VALUE, index: None, mode: Some((false, 60)), step: Some(2.0) };

fn subscribe(dialogue: &mut Dialogue, port: u16, invoke: u8, wanted: Wanted) -> Said {
    let mut params = BytesMut::new();
    let encoded = SubscribeCOVPropertyRequest {
        subscriber_process_identifier: 9,
        monitored_object_identifier: id(wanted.object),
        issue_confirmed_notifications: wanted.mode.map(|mode| mode.0),
        lifetime: wanted.mode.map(|mode| mode.1),
        monitored_property_identifier: wanted.property,
        monitored_property_array_index: wanted.index,
        cov_increment: wanted.step,
    };
    encoded.encode(&mut params).unwrap();
    dialogue.say(port, &request_apdu(invoke, 28, 0x75, &params))
}

/// The properties of a notification with their values.
fn told(apdu: &[u8]) -> Vec<(P, Vec<u8>)> {
    let params = if apdu[0] >> 4 == 1 { &apdu[2..] } else { &apdu[4..] };
    let told = bacnet_services::cov::COVNotificationRequest::decode(params).unwrap();
    assert_eq!(told.subscriber_process_identifier, 9);
    told.list_of_values.into_iter().map(|value| (value.property_identifier, value.value)).collect()
}

#[test]
fn a_property_is_watched_with_the_subscribers_own_increment() {
    let mut dialogue = Dialogue::new(0);
    dialogue.read(testing::DELIVERED, Reading::number(5_000.0));
    let said = subscribe(&mut dialogue, A, 1, LEVEL);
    assert_eq!(said[0].1, [0x20, 1, 28]);
    assert_eq!(told(&said[1].1)[0], (P::PRESENT_VALUE, vec![0x44, 0x40, 0xA0, 0, 0]));
    assert_eq!(told(&said[1].1)[1], (P::STATUS_FLAGS, vec![0x82, 4, 0]));
    // the object's own increment is 0.5 kW, this subscriber's 2 kW
    assert!(dialogue.read(testing::DELIVERED, Reading::number(6_900.0)).is_empty());
    assert_eq!(dialogue.read(testing::DELIVERED, Reading::number(7_000.0)).len(), 1);
    // renewed in place, with another increment; the object's own where none is given
    assert_eq!(subscribe(&mut dialogue, A, 2, Wanted { step: None, ..LEVEL }).len(), 2);
    assert_eq!(dialogue.read(testing::DELIVERED, Reading::number(7_500.0)).len(), 1);
    let list = dialogue.ask(&read_property(3, 0x75, DEVICE, P::ACTIVE_COV_SUBSCRIPTIONS));
    let ack = ReadPropertyAckRef::decode(&list[3..]).unwrap();
    let (one, end) = bacnet_encoding::constructed::decode_cov_subscription(ack.property_value, 0).unwrap();
    assert_eq!((end, one.cov_increment), (ack.property_value.len(), Some(0.5)));
    // a subscription to the object is another one
    assert_eq!(dialogue.subscribe(A, 4, AI, Some((false, 60))).len(), 2);
    assert_eq!(dialogue.read(testing::DELIVERED, Reading::number(9_000.0)).len(), 2);
    assert_eq!(
        subscribe(&mut dialogue, A, 5, Wanted { mode: None, step: None, ..LEVEL }),
        [(peer(A), vec![0x20, 5, 28])]
    );
    assert_eq!(dialogue.read(testing::DELIVERED, Reading::number(5_000.0)).len(), 1);
}

#[test]
fn other_properties_are_watched_too() {
    let mut dialogue = Dialogue::new(0);
    dialogue.read(testing::DELIVERED, Reading::number(5_000.0));
    let reliability = Wanted { property: P::RELIABILITY, step: None, ..LEVEL };
    let said = subscribe(&mut dialogue, A, 1, reliability);
    assert_eq!(told(&said[1].1)[0], (P::RELIABILITY, vec![0x91, 0]));
    assert!(dialogue.read(testing::DELIVERED, Reading::number(9_000.0)).is_empty());
    let said = dialogue.read(testing::DELIVERED, Reading::Bad(Fault::NoCommunication));
    assert_eq!(told(&said[0].1), [(P::RELIABILITY, vec![0x91, 12]), (P::STATUS_FLAGS, vec![0x82, 4, 0x40])]);
    // Status_Flags alone is told once, not twice
    let flags = Wanted { property: P::STATUS_FLAGS, step: None, ..LEVEL };
    assert_eq!(told(&subscribe(&mut dialogue, A, 2, flags)[1].1), [(P::STATUS_FLAGS, vec![0x82, 4, 0x40])]);
    // one slot of a priority array; an accumulator, which SubscribeCOV does not know
    let slot = Wanted { object: AV, property: P::PRIORITY_ARRAY, index: Some(10), step: None, ..LEVEL };
    assert_eq!(told(&subscribe(&mut dialogue, A, 3, slot)[1].1)[0], (P::PRIORITY_ARRAY, vec![0]));
    let meter = Wanted { object: (ObjectType::ACCUMULATOR, 1), step: Some(1000.0), ..LEVEL };
    // no value yet: the subscription stands, and nothing is told
    assert_eq!(subscribe(&mut dialogue, A, 4, meter).len(), 1);
    let wh = |wh| Reading::Good(crate::point::Value::Energy(crate::units::Energy::from_wh(wh)));
    assert_eq!(told(&dialogue.read(testing::ENERGY, wh(7))[0].1)[0], (P::PRESENT_VALUE, vec![0x21, 7]));
    assert!(dialogue.read(testing::ENERGY, wh(1_006)).is_empty());
    assert_eq!(dialogue.read(testing::ENERGY, wh(1_007)).len(), 1);
}

#[test]
fn what_cannot_be_watched_says_why() {
    let mut dialogue = Dialogue::new(0);
    let mut refused = |invoke, wanted| subscribe(&mut dialogue, A, invoke, wanted).remove(0).1;
    let error = |invoke, class, code| vec![0x50, invoke, 28, 0x91, class, 0x91, code];
    assert_eq!(refused(1, Wanted { object: (ObjectType::ANALOG_INPUT, 999), ..LEVEL }), error(1, 1, 31));
    assert_eq!(refused(2, Wanted { property: P::LOG_BUFFER, ..LEVEL }), error(2, 2, 32));
    assert_eq!(refused(3, Wanted { property: P::DESCRIPTION, ..LEVEL }), error(3, 2, 44));
    assert_eq!(refused(4, Wanted { index: Some(1), ..LEVEL }), error(4, 2, 50));
    assert_eq!(
        refused(5, Wanted { object: AV, property: P::PRIORITY_ARRAY, index: Some(17), ..LEVEL }),
        error(5, 2, 42)
    );
    for step in [f32::NAN, f32::INFINITY, -1.0] {
        assert_eq!(refused(6, Wanted { step: Some(step), ..LEVEL }), error(6, 5, 80));
    }
    assert_eq!(refused(7, Wanted { object: DEVICE, property: P::OBJECT_LIST, ..LEVEL }), error(7, 2, 44));
    // a lifetime without the kind of notification; nothing at all
    let half = [0x09, 9, 0x1C, 0, 0, 0, 12, 0x39, 60, 0x4E, 0x09, 85, 0x4F];
    assert_eq!(dialogue.ask(&request_apdu(8, 28, 0x75, &half)), [0x60, 8, 5]);
    assert_eq!(dialogue.ask(&request_apdu(9, 28, 0x75, &[])), [0x60, 9, 5]);
}

#[test]
fn ten_thousand_subscriptions_of_one_peer_are_refused_and_counted() {
    let mut dialogue = Dialogue::new(0);
    let (mut taken, mut counted) = (0, 0);
    for process in 0..10_000u16 {
        let head = [0x00, 0x05, 1, 5, 0x0A];
        let apdu = [&head[..], &process.to_be_bytes(), &[0x1C, 0, 0, 0, 12, 0x29, 0, 0x39, 60]].concat();
        let mut effects = Vec::new();
        dialogue.stack.on_apdu(peer(A), false, &apdu, &dialogue.image, dialogue.now, &mut effects);
        counted += effects.iter().filter(|effect| matches!(effect, Effect::Rejected("no space"))).count();
        match &sent(effects)[0].1[..] {
            [0x20, 1, 5] => taken += 1,
            answer => assert_eq!(answer, [0x50, 1, 5, 0x91, 3, 0x91, 19]),
        }
    }
    assert_eq!((taken, counted), (1_536, 10_000 - 1_536));
    assert_eq!(dialogue.subscribe(B, 1, AI, Some((false, 60)))[0].1, [0x20, 1, 5]);
}

#[test]
fn a_subscriber_that_is_gone_is_left_alone_and_found_again() {
    let mut dialogue = Dialogue::new(40);
    for n in 100..140 {
        dialogue.subscribe(A, 1, (ObjectType::ANALOG_INPUT, n), Some((true, 3_600)));
    }
    dialogue.subscribe(B, 1, AI, Some((true, 3_600)));
    // it answers none of the tries: then there is rest, whatever changes
    let mut tries = 0;
    for _ in 0..=RETRIES {
        tries += dialogue.wait(APDU_TIMEOUT).iter().filter(|(to, _)| *to == peer(A)).count();
    }
    assert_eq!(tries, 16 * usize::from(RETRIES));
    let mut after = 0;
    for second in 0..29 {
        after += dialogue.wait(Duration::from_secs(1)).iter().filter(|(to, _)| *to == peer(A)).count();
        let value = Reading::number(f64::from(second) * 1e4);
        after += dialogue.read(testing::DELIVERED, value).iter().filter(|(to, _)| *to == peer(A)).count();
    }
    assert_eq!(after, 0, "a dead subscriber is hammered");
    // one notification probes it, and then it rests for twice as long
    let probes: Said = dialogue.wait(Duration::from_secs(2)).into_iter().filter(|(to, _)| *to == peer(A)).collect();
    assert_eq!(probes.len(), 1);
    for _ in 0..=RETRIES {
        dialogue.wait(APDU_TIMEOUT);
    }
    let quiet = dialogue.wait(Duration::from_secs(50));
    assert!(quiet.iter().all(|(to, _)| *to != peer(A)), "{quiet:?}");
    // it is heard again: everything that it missed is told, sixteen at a time
    let said = dialogue.say(A, &read_property(7, 0x75, AI, P::PRESENT_VALUE));
    assert_eq!(said.len(), 1);
    testing::read(&mut dialogue.image, testing::PERCENT, Reading::number(1.0));
    let missed = dialogue.read(testing::ALARM, Reading::Good(crate::point::Value::Bool(true)));
    assert_eq!(missed.iter().filter(|(to, _)| *to == peer(A)).count(), 16);
    // its subscriptions end at their time, silent or not
    dialogue.wait(Duration::from_secs(3_600));
    assert!(dialogue.read(testing::DELIVERED, Reading::number(1.0)).is_empty());
}

fn with_password() -> Dialogue {
    let mut dialogue = Dialogue::new(0);
    dialogue.stack.set_password(Password::new("filister"));
    dialogue
}

fn control(invoke: u8, asked: EnableDisable, minutes: Option<u16>, password: Option<&str>) -> Vec<u8> {
    let mut params = BytesMut::new();
    let password = password.map(str::to_owned);
    let request = DeviceCommunicationControlRequest { time_duration: minutes, enable_disable: asked, password };
    request.encode(&mut params).unwrap();
    request_apdu(invoke, 17, 0x75, &params)
}

#[test]
fn communication_is_stopped_and_comes_back() {
    let mut dialogue = with_password();
    dialogue.read(testing::DELIVERED, Reading::number(0.0));
    dialogue.subscribe(B, 1, AI, Some((false, 0)));
    let failure = |invoke| vec![0x50, invoke, 17, 0x91, 4, 0x91, 26];
    assert_eq!(dialogue.ask(&control(1, EnableDisable::DISABLE, None, None)), failure(1));
    assert_eq!(dialogue.ask(&control(2, EnableDisable::DISABLE, None, Some("wrong"))), failure(2));
    // initiation off: no notifications, but answers, also to Who-Is
    let off = control(3, EnableDisable::DISABLE_INITIATION, Some(5), Some("filister"));
    assert_eq!(dialogue.ask(&off), [0x20, 3, 17]);
    assert!(dialogue.read(testing::DELIVERED, Reading::number(9_000.0)).is_empty());
    assert_eq!(dialogue.ask(&read_property(4, 0x75, AI, P::PRESENT_VALUE))[0], 0x30);
    assert_eq!(dialogue.say(A, &[0x10, 8])[0].1[..2], [0x10, 0]);
    // after its five minutes the subscriber hears what it missed
    assert!(dialogue.wait(Duration::from_secs(299)).is_empty());
    let said = dialogue.wait(Duration::from_secs(1));
    assert_eq!(notification(&said[0].1).1, V::Real(9.0));
    // everything off: silence, but for those who manage the device
    let off = control(5, EnableDisable::DISABLE, None, Some("filister"));
    assert_eq!(dialogue.ask(&off), [0x20, 5, 17]);
    assert!(dialogue.say(A, &read_property(6, 0x75, AI, P::PRESENT_VALUE)).is_empty());
    assert!(dialogue.say(A, &[0x10, 8]).is_empty());
    assert!(dialogue.wait(Duration::from_secs(1_000_000)).is_empty());
    assert_eq!(dialogue.ask(&control(7, EnableDisable::ENABLE, None, Some("wrong"))), failure(7));
    assert_eq!(dialogue.ask(&control(8, EnableDisable::ENABLE, None, Some("filister"))), [0x20, 8, 17]);
    assert_eq!(dialogue.ask(&read_property(9, 0x75, AI, P::PRESENT_VALUE))[0], 0x30);
    let odd = control(10, EnableDisable::from_raw(3), None, Some("filister"));
    assert_eq!(dialogue.ask(&odd), [0x60, 10, 8]);
    // without a configured password nobody may
    let mut dialogue = Dialogue::new(0);
    assert_eq!(dialogue.ask(&control(1, EnableDisable::DISABLE, None, Some("filister"))), failure(1));
}

fn reinitialize(invoke: u8, state: ReinitializedState, password: Option<&str>) -> Vec<u8> {
    let mut params = BytesMut::new();
    ReinitializeDeviceRequest { reinitialized_state: state, password: password.map(str::to_owned) }
        .encode(&mut params)
        .unwrap();
    request_apdu(invoke, 20, 0x75, &params)
}

#[test]
fn a_warm_start_begins_the_bacnet_side_anew_and_a_cold_one_is_for_the_shell() {
    let mut dialogue = with_password();
    dialogue.subscribe(B, 1, AI, Some((false, 0)));
    let wrong = dialogue.ask(&reinitialize(1, ReinitializedState::WARMSTART, Some("wrong")));
    assert_eq!(wrong, [0x50, 1, 20, 0x91, 4, 0x91, 26]);
    assert_eq!(dialogue.read(testing::DELIVERED, Reading::number(1e3)).len(), 1);
    let effects = |dialogue: &mut Dialogue, apdu: &[u8]| {
        let mut effects = Vec::new();
        dialogue.stack.on_apdu(peer(A), false, apdu, &dialogue.image, dialogue.now, &mut effects);
        effects
    };
    let warm = reinitialize(2, ReinitializedState::WARMSTART, Some("filister"));
    let said = effects(&mut dialogue, &warm);
    let is_i_am = |effect: &Effect| matches!(effect, Effect::BroadcastOn(65_535, apdu) if apdu[..2] == [0x10, 0]);
    assert!(said.iter().any(is_i_am), "{said:?}");
    assert!(!said.iter().any(|effect| matches!(effect, Effect::Restart)));
    assert!(dialogue.read(testing::DELIVERED, Reading::number(9e3)).is_empty());
    // repeated: answered again, done once
    assert_eq!(effects(&mut dialogue, &warm).len(), 1);
    let cold = effects(&mut dialogue, &reinitialize(3, ReinitializedState::COLDSTART, Some("filister")));
    assert!(matches!(&cold[..], [Effect::Send { apdu, .. }, Effect::Restart] if apdu[..] == [0x20, 3, 20]), "{cold:?}");
    // no backup, no restore, nothing pending; no such state
    for state in 2..=7 {
        let answer = dialogue.ask(&reinitialize(4, ReinitializedState::from_raw(state), Some("filister")));
        assert_eq!(answer, [0x50, 4, 20, 0x91, 5, 0x91, 45], "{state}");
    }
    let answer = dialogue.ask(&reinitialize(5, ReinitializedState::from_raw(8), Some("filister")));
    assert_eq!(answer, [0x60, 5, 8]);
}

#[test]
fn a_time_master_sets_what_the_device_shows() {
    let mut dialogue = Dialogue::new(0);
    let hour = |dialogue: &mut Dialogue| {
        let answer = dialogue.ask(&read_property(1, 0x75, DEVICE, P::LOCAL_TIME));
        let ack = ReadPropertyAckRef::decode(&answer[3..]).unwrap();
        match decode_application_value(ack.property_value, 0).unwrap().0 {
            V::Time(time) => (time.hour, time.minute),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(hour(&mut dialogue), (0, 0));
    let at = |service: u8, hour: u8| {
        let mut params = BytesMut::new();
        TimeSynchronizationRequest {
            date: Date { year: 125, month: 11, day: 24, day_of_week: 255 },
            time: Time { hour, minute: 30, second: 0, hundredths: 0 },
        }
        .encode(&mut params);
        [&[0x10, service][..], &params].concat()
    };
    assert!(dialogue.say(A, &at(6, 14)).is_empty());
    assert_eq!(hour(&mut dialogue), (14, 30));
    // UTC_Offset -60: an hour east
    let offset = |invoke, minutes: &[u8]| {
        let head = [0x0C, 2, 0, 0xB7, 0x99, 0x19, 119, 0x3E];
        request_apdu(invoke, 15, 0x75, &[&head[..], minutes, &[0x3F]].concat())
    };
    assert_eq!(dialogue.ask(&offset(2, &[0x31, 0xC4])), [0x20, 2, 15]);
    dialogue.say(A, &at(9, 14));
    assert_eq!(hour(&mut dialogue), (15, 30));
    assert_eq!(dialogue.ask(&offset(3, &[0x32, 0x05, 0xA1])), [0x50, 3, 15, 0x91, 2, 0x91, 37]);
    assert_eq!(dialogue.ask(&offset(4, &[0x21, 60])), [0x50, 4, 15, 0x91, 2, 0x91, 9]);
    // a time that is none, one that is cut short: counted, and nothing moves
    for odd in [&at(6, 25)[..], &at(6, 255), &at(9, 14)[..7], &[0x10, 6]] {
        let mut effects = Vec::new();
        dialogue.stack.on_apdu(peer(A), false, odd, &dialogue.image, dialogue.now, &mut effects);
        assert!(matches!(effects[..], [Effect::Rejected(_)]), "{odd:?} {effects:?}");
    }
    assert_eq!(hour(&mut dialogue), (15, 30));
}

#[test]
fn every_apdu_size_and_every_number_of_segments_is_honoured() {
    let mut dialogue = Dialogue::new(300);
    // Object_List: 312 objects, 1,560 octets and its frame of 10
    let octets: usize = 5 * 313 + 10;
    for (code, size) in [(0u8, 50usize), (1, 128), (2, 206), (3, 480), (4, 1024), (5, 1476)] {
        let needed = octets.div_ceil(size - 5);
        for (bits, most) in [(1u8, 2usize), (2, 4), (3, 8), (4, 16), (5, 32), (6, 64), (0, usize::MAX), (7, usize::MAX)]
        {
            let request = read_property(1, bits << 4 | code, DEVICE, P::OBJECT_LIST);
            let mut said = dialogue.say(A, &request);
            if needed > most {
                // buffer-overflow
                assert_eq!(said, [(peer(A), vec![0x71, 1, 1])], "{size} {most}");
                continue;
            }
            let (mut segments, mut whole) = (0usize, Vec::new());
            while !said.is_empty() {
                for (_, segment) in &said {
                    assert!(segment.len() <= size, "{size} {most}");
                    assert_eq!(segment[2], (segments % 256) as u8);
                    whole.extend_from_slice(&segment[5..]);
                    segments += 1;
                }
                said = dialogue.say(A, &[0x40, 1, ((segments - 1) % 256) as u8, 8]);
            }
            assert_eq!(segments, needed, "{size} {most}");
            assert_eq!(ReadPropertyAckRef::decode(&whole).unwrap().property_value.len(), 5 * 313);
        }
        // an answer that just fits is not segmented
        let short = dialogue.ask(&read_property(2, code, AI, P::PRESENT_VALUE));
        assert_eq!(short[0], 0x30);
    }
}
