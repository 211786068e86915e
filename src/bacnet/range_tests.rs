//! Dialogues with the device about its trend log and its load control, in octets, with an engine that does what it is
//! told.

use std::sync::Arc;
use std::time::Duration;

use bacnet_encoding::{primitives, tags};
use bacnet_services::read_range::{RangeSpec, ReadRangeAck, ReadRangeRequest};
use bacnet_services::write_property::WritePropertyRequest;
use bacnet_types::enums::{ObjectType, PropertyIdentifier as P};
use bacnet_types::primitives::ObjectIdentifier;
use bytes::BytesMut;

use super::civil::DateTime;
use super::link::Peer;
use super::settings::Settings;
use super::stack::{Effect, Stack};
use super::testing::{self, DELIVERED, LIMIT};
use crate::durable::Keepsake;
use crate::point::{Image, Priority, Reading};
use crate::request::{Origin, Request, Side};
use crate::time::{Mono, Now, Utc};

const LOG: (ObjectType, u32) = (ObjectType::TREND_LOG, 1);
const LOAD: (ObjectType, u32) = (ObjectType::LOAD_CONTROL, 1);
const START: i64 = 1_764_000_000_000;

struct Device {
    stack: Stack,
    plant: Arc<crate::plant::Plant>,
    image: Image,
    now: Now,
    invoke: u8,
    kept: Vec<Keepsake>,
}

fn id((kind, instance): (ObjectType, u32)) -> ObjectIdentifier {
    ObjectIdentifier::new(kind, instance).unwrap()
}

impl Device {
    fn new() -> Self {
        let mut plant = testing::plant(0);
        plant.bacnet_services = testing::services();
        let plant = Arc::new(plant);
        let mut image = testing::image(&plant);
        let now = Now { mono: Mono::START, utc: Utc::from_millis(START) };
        image.now = now;
        let mut stack = Stack::new(Arc::clone(&plant), Settings::default());
        stack.revive(&image);
        Self { stack, plant, image, now, invoke: 0, kept: Vec::new() }
    }

    /// The next life, with what this one kept.
    fn restart(&mut self) {
        let mut effects = Vec::new();
        self.stack.farewell(self.now, &mut effects);
        self.carry_out(effects);
        self.stack = Stack::new(Arc::clone(&self.plant), Settings::default());
        for keepsake in &self.kept {
            self.stack.restore(&keepsake.key, keepsake.value.as_deref().unwrap_or_default());
        }
        self.stack.revive(&self.image);
    }

    /// Do what it wants; what it sends.
    fn carry_out(&mut self, effects: Vec<Effect>) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        for effect in effects {
            match effect {
                Effect::Send { apdu, .. } => sent.push(apdu.to_vec()),
                Effect::Keep(keepsake) => {
                    self.kept.retain(|kept| kept.key != keepsake.key);
                    self.kept.push(keepsake);
                }
                Effect::Submit(ticket, peer, writes) => {
                    let origin = Origin { side: Side::Bacnet, peer };
                    let verdict = testing::apply(&self.plant, &mut self.image, &Request { origin, writes });
                    let mut more = Vec::new();
                    self.stack.on_verdict(ticket, &verdict, self.now, &mut more);
                    sent.extend(self.carry_out(more));
                }
                _ => {}
            }
        }
        sent
    }

    /// Let seconds pass while a point reads this.
    fn run(&mut self, seconds: u64, watts: f64) {
        for _ in 0..seconds {
            self.now.mono = self.now.mono.after(Duration::from_secs(1));
            self.now.utc = Utc::from_millis(self.now.utc.millis() + 1_000);
            testing::read(&mut self.image, DELIVERED, Reading::number(watts));
            self.image.now = self.now;
            let mut effects = Vec::new();
            self.stack.on_image(&self.image, self.now, &mut effects);
            self.carry_out(effects);
        }
    }

    /// The answer to a request; `sizes` are the bits of max-segments and max-APDU.
    fn ask(&mut self, first: u8, sizes: u8, service: u8, params: &[u8]) -> Vec<Vec<u8>> {
        self.invoke = self.invoke.wrapping_add(1);
        let apdu = [&[first, sizes, self.invoke, service], params].concat();
        let peer = Peer::local(([10, 0, 0, 9], 47_809).into());
        let mut effects = Vec::new();
        self.stack.on_apdu(peer, false, &apdu, &self.image, self.now, &mut effects);
        self.carry_out(effects)
    }

    /// ReadRange, unsegmented: the acknowledgement, or class and code.
    fn range(
        &mut self,
        object: (ObjectType, u32),
        property: P,
        range: Option<RangeSpec>,
    ) -> Result<ReadRangeAck, (u8, u8)> {
        let request = ReadRangeRequest {
            object_identifier: id(object),
            property_identifier: property,
            property_array_index: None,
            range,
        };
        let mut params = BytesMut::new();
        request.encode(&mut params).unwrap();
        let answer = self.ask(0, 0x05, 26, &params).remove(0);
        match answer[0] >> 4 {
            3 => Ok(ReadRangeAck::decode(&answer[3..]).unwrap()),
            _ => Err((answer[4], answer[6])),
        }
    }

    fn log(&mut self, range: RangeSpec) -> (u32, (bool, bool, bool), Option<u64>) {
        let ack = self.range(LOG, P::LOG_BUFFER, Some(range)).unwrap();
        (ack.item_count, ack.result_flags, ack.first_sequence_number)
    }

    /// WriteProperty: nothing, or class and code.
    fn write(
        &mut self,
        object: (ObjectType, u32),
        property: P,
        put: impl FnOnce(&mut BytesMut),
    ) -> Result<(), (u8, u8)> {
        let mut value = BytesMut::new();
        put(&mut value);
        let request = WritePropertyRequest {
            object_identifier: id(object),
            property_identifier: property,
            property_array_index: None,
            property_value: value.to_vec(),
            priority: None,
        };
        let mut params = BytesMut::new();
        request.encode(&mut params).unwrap();
        let answer = self.ask(0, 0x05, 15, &params).remove(0);
        if answer[0] == 0x20 { Ok(()) } else { Err((answer[4], answer[6])) }
    }

    /// The one octet of an enumerated or unsigned property.
    fn small(&mut self, object: (ObjectType, u32), property: P) -> u8 {
        let mut params = BytesMut::new();
        primitives::encode_ctx_object_id(&mut params, 0, &id(object));
        primitives::encode_ctx_unsigned(&mut params, 1, property.to_raw().into());
        let answer = self.ask(0, 0x05, 12, &params).remove(0);
        assert_eq!(answer[0], 0x30, "{answer:?}");
        answer[answer.len() - 2]
    }

    /// The limit in force, W.
    fn limit(&self) -> Option<f64> {
        let slots = self.image.get(LIMIT).unwrap().slots.as_deref().unwrap();
        slots.get(Priority::LOWEST).map(|slot| slot.value.as_f64())
    }
}

fn position(reference_index: u64, count: i32) -> RangeSpec {
    RangeSpec::ByPosition { reference_index, count }
}

fn number(reference_seq: u64, count: i32) -> RangeSpec {
    RangeSpec::BySequenceNumber { reference_seq, count }
}

fn time(seconds: i64, count: i32) -> RangeSpec {
    let at = DateTime::of(Utc::from_millis(START + seconds * 1_000));
    RangeSpec::ByTime { reference_time: (at.date, at.time), count }
}

#[test]
fn a_log_is_read_by_position_by_number_and_by_time() {
    let mut device = Device::new();
    device.run(1, 5_000.0);
    device.write(LOG, P::LOG_INTERVAL, |out| primitives::encode_app_unsigned(out, 100)).unwrap();
    // 150 records were made, 100 stand: numbers 51 to 150, at second 50 to 149 and more
    device.run(150, 5_000.0);
    assert_eq!(device.small(LOG, P::TOTAL_RECORD_COUNT), 150);
    assert_eq!(device.small(LOG, P::RECORD_COUNT), 100);
    let (first, last) = ((true, false, false), (false, true, false));
    assert_eq!(device.log(position(1, 10)), (10, first, None));
    assert_eq!(device.log(position(100, -10)), (10, last, None));
    assert_eq!(device.log(position(95, 10)), (6, last, None));
    assert_eq!(device.log(position(5, -10)), (5, first, None));
    assert_eq!(device.log(position(50, 1)), (1, (false, false, false), None));
    for nowhere in [
        position(0, 10),
        position(101, 1),
        position(u64::MAX, -10),
        number(151, 5),
        number(50, -5),
        number(1 << 40, 1),
        time(1_000, 1),
        time(-10, -1),
    ] {
        assert_eq!(device.log(nowhere), (0, (false, false, false), None));
    }
    assert_eq!(device.log(number(60, 10)), (10, (false, false, false), Some(60)));
    assert_eq!(device.log(number(150, -10)), (10, last, Some(141)));
    // a range that is overwritten in part gives the rest of it
    assert_eq!(device.log(number(41, 20)), (10, first, Some(51)));
    assert_eq!(device.log(time(100, 10)), (10, (false, false, false), Some(100)));
    assert_eq!(device.log(time(100, -10)), (10, (false, false, false), Some(89)));
    assert_eq!(device.log(time(-1_000, 5)), (5, first, Some(51)));
    // no range is the whole list; what has no room is said to be missing
    let whole = device.range(LOG, P::LOG_BUFFER, None).unwrap();
    assert!((40..100).contains(&whole.item_count), "{}", whole.item_count);
    assert_eq!((whole.result_flags, whole.first_sequence_number), ((true, false, true), None));
    // the newest first where the end is the reference
    let newest = device.range(LOG, P::LOG_BUFFER, Some(number(150, -100))).unwrap();
    assert_eq!(newest.result_flags, (false, true, true));
    assert_eq!(newest.first_sequence_number, Some(151 - u64::from(newest.item_count)));
}

#[test]
fn what_cannot_be_ranged_over_says_why() {
    let mut device = Device::new();
    let device_object = (ObjectType::DEVICE, 47_001);
    let one = || Some(position(1, 1));
    let refusal = |answer: Result<ReadRangeAck, (u8, u8)>| answer.map(|ack| ack.item_count).unwrap_err();
    assert_eq!(refusal(device.range((ObjectType::TREND_LOG, 9), P::LOG_BUFFER, one())), (1, 31));
    assert_eq!(refusal(device.range(LOG, P::LIMIT_ENABLE, one())), (2, 32));
    assert_eq!(refusal(device.range(LOG, P::RECORD_COUNT, one())), (5, 22));
    assert_eq!(refusal(device.range(device_object, P::OBJECT_LIST, one())), (5, 22));
    assert_eq!(refusal(device.range(device_object, P::ACTIVE_COV_SUBSCRIPTIONS, Some(number(1, 1)))), (2, 140));
    assert_eq!(refusal(device.range(device_object, P::ACTIVE_COV_SUBSCRIPTIONS, Some(time(1, 1)))), (2, 141));
    let empty = device.range(device_object, P::ACTIVE_COV_SUBSCRIPTIONS, one()).unwrap();
    assert_eq!((empty.item_count, empty.result_flags), (0, (false, false, false)));
    // an index into what is no array, a count of 0, a date that is none
    let mut indexed = BytesMut::new();
    primitives::encode_ctx_object_id(&mut indexed, 0, &id(LOG));
    primitives::encode_ctx_enumerated(&mut indexed, 1, P::LOG_BUFFER.to_raw());
    primitives::encode_ctx_unsigned(&mut indexed, 2, 1);
    assert_eq!(device.ask(0, 0x05, 26, &indexed)[0][3..], [0x91, 2, 0x91, 50]);
    let mut none = BytesMut::new();
    primitives::encode_ctx_object_id(&mut none, 0, &id(LOG));
    primitives::encode_ctx_enumerated(&mut none, 1, P::LOG_BUFFER.to_raw());
    tags::encode_opening_tag(&mut none, 3);
    primitives::encode_app_unsigned(&mut none, 1);
    primitives::encode_app_signed(&mut none, 0);
    tags::encode_closing_tag(&mut none, 3);
    assert_eq!(device.ask(0, 0x05, 26, &none)[0][0], 0x60);
}

#[test]
fn a_long_range_goes_out_in_segments_and_a_small_peer_gets_what_fits() {
    let mut device = Device::new();
    device.run(1, 5_000.0);
    device.write(LOG, P::LOG_INTERVAL, |out| primitives::encode_app_unsigned(out, 100)).unwrap();
    device.run(150, 5_000.0);
    let mut params = BytesMut::new();
    primitives::encode_ctx_object_id(&mut params, 0, &id(LOG));
    primitives::encode_ctx_enumerated(&mut params, 1, P::LOG_BUFFER.to_raw());
    // segments taken, 480 octets, their number unspecified
    let first = device.ask(0x02, 0x03, 26, &params).remove(0);
    assert_eq!((first[0] & 0xF8, first.len(), first[4]), (0x38, 480, 26));
    // at most two of 206
    let two = device.ask(0x02, 0x12, 26, &params).remove(0);
    assert_eq!((two[0] & 0xF8, two.len()), (0x38, 206));
    // 50 octets in one piece: one record, or none
    let tiny = device.ask(0, 0x00, 26, &params).remove(0);
    assert!(tiny.len() <= 50);
    assert!(ReadRangeAck::decode(&tiny[3..]).unwrap().result_flags.2);
}

#[test]
fn bad_writes_to_a_log_change_nothing() {
    let mut device = Device::new();
    device.run(1, 5_000.0);
    let unsigned = |n| move |out: &mut BytesMut| primitives::encode_app_unsigned(out, n);
    let boolean = |yes| move |out: &mut BytesMut| primitives::encode_app_boolean(out, yes);
    let enumerated = |n| move |out: &mut BytesMut| primitives::encode_app_enumerated(out, n);
    assert_eq!(device.write(LOG, P::RECORD_COUNT, unsigned(1)), Err((2, 37)));
    assert_eq!(device.write(LOG, P::BUFFER_SIZE, unsigned(10)), Err((2, 40)));
    assert_eq!(device.write(LOG, P::TOTAL_RECORD_COUNT, unsigned(0)), Err((2, 40)));
    assert_eq!(device.write(LOG, P::LOG_ENABLE, unsigned(1)), Err((2, 9)));
    assert_eq!(device.write(LOG, P::LOG_INTERVAL, unsigned(99)), Err((2, 37)));
    assert_eq!(device.write(LOG, P::LOG_INTERVAL, unsigned(1 << 33)), Err((2, 37)));
    assert_eq!(device.write(LOG, P::LOGGING_TYPE, enumerated(3)), Err((2, 37)));
    assert_eq!(device.write(LOG, P::TRIGGER, boolean(true)), Err((2, 78)));
    assert_eq!(device.write(LOG, P::START_TIME, boolean(true)), Err((2, 9)));
    assert_eq!(
        device.write(LOG, P::CLIENT_COV_INCREMENT, |out| primitives::encode_app_real(out, f32::NAN)),
        Err((2, 37))
    );
    device.write(LOG, P::STOP_WHEN_FULL, boolean(true)).unwrap();
    device.write(LOG, P::LOG_INTERVAL, unsigned(100)).unwrap();
    device.run(150, 5_000.0);
    assert_eq!((device.small(LOG, P::RECORD_COUNT), device.small(LOG, P::LOG_ENABLE)), (100, 0x10));
    // log-buffer-full
    assert_eq!(device.write(LOG, P::LOG_ENABLE, boolean(true)), Err((1, 75)));
    device.write(LOG, P::RECORD_COUNT, unsigned(0)).unwrap();
    device.write(LOG, P::LOG_ENABLE, boolean(true)).unwrap();
    assert_eq!(device.small(LOG, P::RECORD_COUNT), 2);
}

#[test]
fn a_shed_becomes_a_limit_through_the_engine_and_goes_again() {
    let mut device = Device::new();
    let ask = |device: &mut Device, percent: u64| {
        device.write(LOAD, P::REQUESTED_SHED_LEVEL, |out| primitives::encode_ctx_unsigned(out, 0, percent)).unwrap();
        device.write(LOAD, P::SHED_DURATION, |out| primitives::encode_app_unsigned(out, 10)).unwrap();
        let now = DateTime::of(device.now.utc);
        device.write(LOAD, P::START_TIME, |out| now.encode(out)).unwrap();
    };
    device.run(5, 0.0);
    assert_eq!((device.small(LOAD, P::PRESENT_VALUE), device.limit()), (0, None));
    // The limit is of no zone here: its baseline is the widest that it can be, 100 kW.
    ask(&mut device, 40);
    device.run(1, 0.0);
    assert_eq!(device.limit(), Some(40_000.0));
    // nothing can be measured, so it is not complied with
    assert_eq!(device.small(LOAD, P::PRESENT_VALUE), 3);
    device.restart();
    device.run(2, 0.0);
    assert_eq!((device.small(LOAD, P::PRESENT_VALUE), device.limit()), (3, Some(40_000.0)));
    device.run(600, 0.0);
    assert_eq!((device.small(LOAD, P::PRESENT_VALUE), device.limit()), (0, None));
    // a slot that somebody else takes away is taken back
    ask(&mut device, 40);
    device.run(1, 0.0);
    let relinquish =
        crate::request::Write { point: LIMIT, action: crate::request::Action::Relinquish, priority: Priority::LOWEST };
    let origin = Origin { side: Side::Local, peer: "somebody".into() };
    testing::apply(&device.plant, &mut device.image, &Request { origin, writes: vec![relinquish] }).unwrap();
    assert_eq!(device.limit(), None);
    device.run(1, 0.0);
    assert_eq!(device.limit(), Some(40_000.0));
    // cancelled
    device.write(LOAD, P::REQUESTED_SHED_LEVEL, |out| primitives::encode_ctx_unsigned(out, 0, 100)).unwrap();
    device.run(1, 0.0);
    assert_eq!((device.small(LOAD, P::PRESENT_VALUE), device.limit()), (0, None));
}

#[test]
fn bad_writes_to_a_load_control_change_nothing() {
    let mut device = Device::new();
    device.run(1, 0.0);
    let unsigned = |n| move |out: &mut BytesMut| primitives::encode_app_unsigned(out, n);
    assert_eq!(device.write(LOAD, P::PRESENT_VALUE, |out| primitives::encode_app_enumerated(out, 2)), Err((2, 40)));
    assert_eq!(device.write(LOAD, P::FULL_DUTY_BASELINE, |out| primitives::encode_app_real(out, 1.0)), Err((2, 40)));
    assert_eq!(device.write(LOAD, P::REQUESTED_SHED_LEVEL, unsigned(50)), Err((2, 9)));
    assert_eq!(
        device.write(LOAD, P::REQUESTED_SHED_LEVEL, |out| primitives::encode_ctx_unsigned(out, 0, 101)),
        Err((2, 37))
    );
    assert_eq!(
        device.write(LOAD, P::REQUESTED_SHED_LEVEL, |out| primitives::encode_ctx_real(out, 2, -1.0)),
        Err((2, 37))
    );
    assert_eq!(device.write(LOAD, P::SHED_DURATION, unsigned(10_081)), Err((2, 37)));
    assert_eq!(device.write(LOAD, P::DUTY_WINDOW, unsigned(1_441)), Err((2, 37)));
    let monday = DateTime::from_octets([255, 255, 255, 1, 8, 0, 0, 0]);
    assert_eq!(device.write(LOAD, P::START_TIME, |out| monday.encode(out)), Err((2, 37)));
    let levels = |numbers: &'static [u64]| {
        move |out: &mut BytesMut| numbers.iter().for_each(|n| primitives::encode_app_unsigned(out, *n))
    };
    for wrong in [&[1, 1, 2][..], &[0, 1, 2], &[3, 2, 1], &[1, 2], &[1, 2, 3, 4]] {
        assert_eq!(device.write(LOAD, P::SHED_LEVELS, levels(wrong)), Err((2, 37)), "{wrong:?}");
    }
    device.write(LOAD, P::SHED_LEVELS, levels(&[10, 20, 30])).unwrap();
    device.run(1, 0.0);
    assert_eq!((device.small(LOAD, P::PRESENT_VALUE), device.limit()), (0, None));
}

#[test]
fn a_written_increment_rules_the_log_too() {
    let mut device = Device::new();
    device.run(1, 5_000.0);
    device.write(LOG, P::LOG_INTERVAL, |out| primitives::encode_app_unsigned(out, 0)).unwrap();
    // 0.5 kW by the mapping
    device.run(2, 5_000.0);
    device.run(2, 5_300.0);
    let before = device.small(LOG, P::RECORD_COUNT);
    let input = (ObjectType::ANALOG_INPUT, 12);
    device.write(input, P::COV_INCREMENT, |out| primitives::encode_app_real(out, 0.125)).unwrap();
    device.run(2, 5_300.0);
    assert_eq!(device.small(LOG, P::RECORD_COUNT), before + 1);
}

#[test]
fn a_log_has_what_is_simulated_with_its_flags() {
    let mut device = Device::new();
    device.run(1, 5_000.0);
    device.write(LOG, P::LOG_INTERVAL, |out| primitives::encode_app_unsigned(out, 0)).unwrap();
    device.run(2, 5_000.0);
    let input = (ObjectType::ANALOG_INPUT, 12);
    device.write(input, P::OUT_OF_SERVICE, |out| primitives::encode_app_boolean(out, true)).unwrap();
    device.write(input, P::PRESENT_VALUE, |out| primitives::encode_app_real(out, 33.0)).unwrap();
    device.run(3, 9_000.0);
    let newest = device.small(LOG, P::TOTAL_RECORD_COUNT);
    let ack = device.range(LOG, P::LOG_BUFFER, Some(number(newest.into(), -1))).unwrap();
    // logDatum real-value [2] 33.0, statusFlags [2] out-of-service
    let wanted = [&[0x2C][..], &33.0f32.to_be_bytes(), &[0x1F, 0x2A, 4, 0x10]].concat();
    assert!(ack.item_data.ends_with(&wanted), "{:?}", ack.item_data);
}
