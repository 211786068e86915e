//! Properties over a plant and an image.

use bacnet_encoding::primitives::decode_application_value;
use bacnet_types::enums::{ErrorCode, ObjectType, PropertyIdentifier as P};
use bacnet_types::primitives::{ObjectIdentifier, PropertyValue as V};
use bytes::BytesMut;

use super::*;
use crate::bacnet::answer::Refused;
use crate::bacnet::testing;
use crate::point::{Doubt, Fault, Priority, Reading, Value};
use crate::request::{Action, Origin, Request, Side, Write};
use crate::time::{Mono, Utc};
use crate::units::Energy;

struct Bench {
    plant: Plant,
    image: Image,
    settings: Settings,
    catalog: Catalog,
    subscriptions: Subscriptions,
    own: Own,
    lines: Vec<PortState>,
    network: Number,
    alarms: Alarms,
}

impl Bench {
    fn new(extra: u32) -> Self {
        let plant = testing::plant(extra);
        let settings = Settings { location: "Lyon".to_owned(), ..Settings::default() };
        let catalog = Catalog::new(&plant, &settings);
        Self {
            image: testing::image(&plant),
            alarms: Alarms::new(&plant, &catalog),
            catalog,
            plant,
            lines: PortState::initial(&settings),
            settings,
            subscriptions: Subscriptions::default(),
            own: Own::default(),
            network: Number::Unknown,
        }
    }

    fn view(&self) -> View<'_> {
        View {
            plant: &self.plant,
            catalog: &self.catalog,
            settings: &self.settings,
            image: &self.image,
            subscriptions: &self.subscriptions,
            own: &self.own,
            lines: &self.lines,
            network: self.network,
            alarms: &self.alarms,
            now: Now { mono: Mono::START, utc: Utc::from_millis(1_764_000_000_123) },
        }
    }

    /// The values of a property, decoded.
    fn get(&self, kind: ObjectType, instance: u32, what: P, index: Option<u32>) -> Result<Vec<V>, Failure> {
        let id = ObjectIdentifier::new(kind, instance).unwrap();
        let entry = self.catalog.find(id).ok_or(Failure::UNKNOWN_OBJECT)?;
        let mut out = BytesMut::new();
        property(&self.view(), entry, what, index, &mut out)?;
        let (mut values, mut at) = (Vec::new(), 0);
        while at < out.len() {
            let (value, next) = decode_application_value(&out, at).unwrap();
            values.push(value);
            at = next;
        }
        Ok(values)
    }

    fn one(&self, kind: ObjectType, instance: u32, what: P) -> V {
        let mut values = self.get(kind, instance, what, None).unwrap();
        assert_eq!(values.len(), 1, "{what}");
        values.remove(0)
    }

    fn write(&self, kind: ObjectType, instance: u32, value: &V, priority: Option<u8>) -> Result<Write, Failure> {
        let mut octets = BytesMut::new();
        bacnet_encoding::primitives::encode_property_value(&mut octets, value).unwrap();
        let request = bacnet_services::write_property::WritePropertyRequest {
            object_identifier: ObjectIdentifier::new(kind, instance).unwrap(),
            property_identifier: P::PRESENT_VALUE,
            property_array_index: None,
            property_value: octets.to_vec(),
            priority,
        };
        let mut params = BytesMut::new();
        request.encode(&mut params).unwrap();
        match write_property(&self.view(), &params) {
            Ok(Checked::Command(write)) => Ok(write),
            Err(Refused::Error(failure)) => Err(failure),
            other => panic!("{other:?}"),
        }
    }
}

const FAULT: u8 = 0b0100_0000;

fn flags(octet: u8) -> V {
    V::BitString { unused_bits: 4, data: vec![octet] }
}

#[test]
fn every_listed_property_of_every_object_can_be_read() {
    let mut bench = Bench::new(3);
    testing::read(&mut bench.image, testing::ENERGY, Reading::Good(Value::Energy(Energy::ZERO)));
    for entry in bench.catalog.entries() {
        let (kind, instance) = (entry.id.object_type(), entry.id.instance_number());
        let listed = bench.get(kind, instance, P::PROPERTY_LIST, None).unwrap();
        assert_eq!(listed.len(), entry.rows.len() - 4);
        for listed in listed {
            let V::Enumerated(raw) = listed else { panic!() };
            let mut out = BytesMut::new();
            let read = property(&bench.view(), entry, P::from_raw(raw), None, &mut out);
            assert_eq!(read, Ok(()), "{:?} {:?}", entry.id, P::from_raw(raw));
        }
        assert_eq!(bench.get(kind, instance, P::LOG_BUFFER, None), Err(Failure::UNKNOWN_PROPERTY));
    }
}

#[test]
fn the_device_lists_itself_its_port_and_every_face_and_nothing_else() {
    let bench = Bench::new(0);
    let list = bench.get(ObjectType::DEVICE, 47001, P::OBJECT_LIST, None).unwrap();
    assert_eq!(list.len(), 2 + bench.plant.bacnet.len() + bench.plant.bacnet_services.len());
    assert_eq!(list[0], V::ObjectIdentifier(ObjectIdentifier::new(ObjectType::DEVICE, 47001).unwrap()));
    let at = |index| bench.get(ObjectType::DEVICE, ObjectIdentifier::WILDCARD_INSTANCE, P::OBJECT_LIST, Some(index));
    assert_eq!(at(0).unwrap(), [V::Unsigned(list.len() as u64)]);
    assert_eq!(at(2).unwrap(), list[1..2]);
    assert_eq!(at(1000), Err(Failure::INVALID_INDEX));
    assert_eq!(bench.get(ObjectType::DEVICE, 47001, P::LOCATION, Some(1)), Err(Failure::NOT_AN_ARRAY));
    assert_eq!(bench.one(ObjectType::DEVICE, 47001, P::LOCATION), V::CharacterString("Lyon".to_owned()));
    let V::Date(date) = bench.one(ObjectType::DEVICE, 47001, P::LOCAL_DATE) else { panic!() };
    assert_eq!((date.year, date.month, date.day, date.day_of_week), (125, 11, 24, 1));
}

#[test]
fn a_value_is_shown_in_the_unit_of_its_face() {
    let mut bench = Bench::new(0);
    testing::read(&mut bench.image, testing::DELIVERED, Reading::number(12_345.0));
    let energy = Value::Energy(Energy::from_wh(16_777_217_001));
    testing::read(&mut bench.image, testing::ENERGY, Reading::Good(energy));
    assert_eq!(bench.one(ObjectType::ANALOG_INPUT, 12, P::PRESENT_VALUE), V::Real(12.345));
    assert_eq!(bench.one(ObjectType::ANALOG_INPUT, 12, P::UNITS), V::Enumerated(48));
    // every single Wh: count x 10^-3 kWh
    assert_eq!(bench.one(ObjectType::ACCUMULATOR, 1, P::PRESENT_VALUE), V::Unsigned(16_777_217_001));
    let mut scale = BytesMut::new();
    let id = ObjectIdentifier::new(ObjectType::ACCUMULATOR, 1).unwrap();
    property(&bench.view(), bench.catalog.find(id).unwrap(), P::SCALE, None, &mut scale).unwrap();
    assert_eq!(&scale[..], [0x19, 0xFD]);
    assert_eq!(bench.one(ObjectType::LARGE_ANALOG_VALUE, 1, P::PRESENT_VALUE), V::Double(16_777_217.001));
    assert_eq!(bench.one(ObjectType::MULTI_STATE_VALUE, 1, P::NUMBER_OF_STATES), V::Unsigned(5));
    let texts = bench.get(ObjectType::MULTI_STATE_VALUE, 1, P::STATE_TEXT, Some(2)).unwrap();
    assert_eq!(texts, [V::CharacterString("percent".to_owned())]);
    assert_eq!(bench.one(ObjectType::ANALOG_VALUE, 4, P::MAX_PRES_VALUE), V::Real(100.0));
}

#[test]
fn a_counter_that_never_had_a_value_is_not_zero() {
    let mut bench = Bench::new(0);
    let value = |bench: &Bench| bench.get(ObjectType::ACCUMULATOR, 1, P::PRESENT_VALUE, None);
    assert_eq!(value(&bench), Err(Failure::NO_VALUE));
    assert_eq!(bench.one(ObjectType::ACCUMULATOR, 1, P::RELIABILITY), V::Enumerated(12));
    testing::read(&mut bench.image, testing::ENERGY, Reading::Good(Value::Energy(Energy::from_wh(7))));
    testing::read(&mut bench.image, testing::ENERGY, Reading::Bad(Fault::NeverRead));
    assert_eq!(value(&bench), Ok(vec![V::Unsigned(7)]));
}

#[test]
fn a_bad_point_keeps_its_last_value_under_a_fault_flag() {
    let mut bench = Bench::new(0);
    let ai = |bench: &Bench, what| bench.one(ObjectType::ANALOG_INPUT, 12, what);
    // never read: nothing to show
    assert!(matches!(ai(&bench, P::PRESENT_VALUE), V::Real(value) if value.is_nan()));
    assert_eq!(ai(&bench, P::RELIABILITY), V::Enumerated(12));
    testing::read(&mut bench.image, testing::DELIVERED, Reading::number(5_000.0));
    assert_eq!((ai(&bench, P::RELIABILITY), ai(&bench, P::STATUS_FLAGS)), (V::Enumerated(0), flags(0)));
    for (reading, reliability) in [
        (Reading::Bad(Fault::NoCommunication), 12),
        (Reading::Bad(Fault::Offline), 12),
        (Reading::Bad(Fault::Absent), 7),
        (Reading::Bad(Fault::Refused(2)), 7),
        (Reading::Uncertain(Value::number(5_000.0).unwrap(), Doubt::Stale), 7),
    ] {
        testing::read(&mut bench.image, testing::DELIVERED, reading);
        assert_eq!(ai(&bench, P::PRESENT_VALUE), V::Real(5.0), "{reading:?}");
        assert_eq!(ai(&bench, P::RELIABILITY), V::Enumerated(reliability), "{reading:?}");
        assert_eq!(ai(&bench, P::STATUS_FLAGS), flags(FAULT), "{reading:?}");
    }
}

#[test]
fn no_limit_is_a_value_and_no_fault() {
    let mut bench = Bench::new(0);
    testing::read(&mut bench.image, testing::LIMIT, Reading::Good(Value::number(5_000.0).unwrap()));
    testing::read(&mut bench.image, testing::LIMIT, Reading::Bad(Fault::Absent));
    assert_eq!(bench.one(ObjectType::ANALOG_VALUE, 4, P::PRESENT_VALUE), V::Real(6_553.5));
    assert_eq!(bench.one(ObjectType::ANALOG_VALUE, 4, P::RELIABILITY), V::Enumerated(0));
    assert_eq!(bench.one(ObjectType::ANALOG_VALUE, 4, P::STATUS_FLAGS), flags(0));
    // a command without such a number falls back to its default, and is not a fault either
    testing::read(&mut bench.image, testing::PERCENT, Reading::number(40.0));
    testing::read(&mut bench.image, testing::PERCENT, Reading::Bad(Fault::Absent));
    assert_eq!(bench.one(ObjectType::ANALOG_VALUE, 1, P::PRESENT_VALUE), V::Real(0.0));
    assert_eq!(bench.one(ObjectType::ANALOG_VALUE, 1, P::RELIABILITY), V::Enumerated(0));
    // and it can be written as such
    let write = bench.write(ObjectType::ANALOG_VALUE, 4, &V::Real(6_553.5), None).unwrap();
    assert_eq!(write.action, Action::Set(Value::number(testing::NO_LIMIT).unwrap()));
}

#[test]
fn commands_show_their_slots() {
    let mut bench = Bench::new(0);
    assert_eq!(bench.one(ObjectType::ANALOG_VALUE, 1, P::CURRENT_COMMAND_PRIORITY), V::Null);
    let write = bench.write(ObjectType::ANALOG_VALUE, 1, &V::Real(52.3), Some(10)).unwrap();
    assert_eq!(write.priority.get(), 10);
    assert_eq!(write.action, Action::Set(Value::number(52.3).unwrap()));
    let origin = Origin { side: Side::Bacnet, peer: "test".into() };
    let request = Request { origin, writes: vec![write] };
    testing::apply(&bench.plant, &mut bench.image, &request).unwrap();
    let slots = bench.get(ObjectType::ANALOG_VALUE, 1, P::PRIORITY_ARRAY, None).unwrap();
    assert_eq!(slots.len(), 16);
    assert_eq!(slots.iter().filter(|slot| **slot != V::Null).count(), 1);
    assert_eq!(slots[9], V::Real(52.3));
    assert_eq!(bench.get(ObjectType::ANALOG_VALUE, 1, P::PRIORITY_ARRAY, Some(0)), Ok(vec![V::Unsigned(16)]));
    assert_eq!(bench.one(ObjectType::ANALOG_VALUE, 1, P::CURRENT_COMMAND_PRIORITY), V::Unsigned(10));
    assert_eq!(bench.one(ObjectType::ANALOG_VALUE, 1, P::RELINQUISH_DEFAULT), V::Real(0.0));
    assert_eq!(bench.one(ObjectType::ANALOG_VALUE, 1, P::PRESENT_VALUE), V::Real(52.3));
    // a point that takes no commands has none of this
    let none = bench.get(ObjectType::MULTI_STATE_VALUE, 10, P::PRIORITY_ARRAY, None);
    assert_eq!(none, Err(Failure::UNKNOWN_PROPERTY));
}

#[test]
fn writes_are_checked_by_the_standard() {
    let bench = Bench::new(0);
    let (av, msv, bv) = (ObjectType::ANALOG_VALUE, ObjectType::MULTI_STATE_VALUE, ObjectType::BINARY_VALUE);
    let piv = ObjectType::POSITIVE_INTEGER_VALUE;
    let ok = |kind, instance, value, expected| {
        let write = bench.write(kind, instance, &value, None).unwrap();
        assert_eq!((write.action, write.priority), (expected, Priority::LOWEST), "{value:?}");
    };
    ok(av, 1, V::Real(100.0), Action::Set(Value::number(100.0).unwrap()));
    ok(av, 4, V::Real(0.1), Action::Set(Value::number(100.0).unwrap()));
    ok(av, 1, V::Null, Action::Relinquish);
    ok(msv, 1, V::Unsigned(5), Action::Set(Value::State(5)));
    ok(bv, 1, V::Enumerated(1), Action::Set(Value::Bool(true)));
    ok(piv, 1, V::Unsigned(65_535), Action::Set(Value::Unsigned(65_535)));
    let no = |kind, instance, value: V, priority, code| {
        let refused = bench.write(kind, instance, &value, priority).unwrap_err();
        assert_eq!(refused.code, code, "{value:?}");
    };
    no(av, 1, V::Real(100.1), None, ErrorCode::VALUE_OUT_OF_RANGE);
    no(av, 1, V::Real(f32::NAN), None, ErrorCode::VALUE_OUT_OF_RANGE);
    no(av, 1, V::Real(f32::INFINITY), None, ErrorCode::VALUE_OUT_OF_RANGE);
    no(av, 1, V::Double(5.0), None, ErrorCode::INVALID_DATA_TYPE);
    no(av, 1, V::Unsigned(5), None, ErrorCode::INVALID_DATA_TYPE);
    no(av, 1, V::CharacterString("5".to_owned()), None, ErrorCode::INVALID_DATA_TYPE);
    no(av, 1, V::Real(5.0), Some(6), ErrorCode::WRITE_ACCESS_DENIED);
    no(av, 99, V::Real(5.0), None, ErrorCode::UNKNOWN_OBJECT);
    no(msv, 1, V::Unsigned(0), None, ErrorCode::VALUE_OUT_OF_RANGE);
    no(msv, 1, V::Unsigned(6), None, ErrorCode::VALUE_OUT_OF_RANGE);
    no(msv, 1, V::Unsigned(65_537), None, ErrorCode::VALUE_OUT_OF_RANGE);
    no(msv, 10, V::Unsigned(1), None, ErrorCode::WRITE_ACCESS_DENIED);
    no(bv, 1, V::Enumerated(2), None, ErrorCode::VALUE_OUT_OF_RANGE);
    no(bv, 1, V::Boolean(true), None, ErrorCode::INVALID_DATA_TYPE);
    no(piv, 1, V::Unsigned(65_536), None, ErrorCode::VALUE_OUT_OF_RANGE);
    no(ObjectType::ANALOG_INPUT, 12, V::Real(5.0), None, ErrorCode::WRITE_ACCESS_DENIED);
    no(ObjectType::ACCUMULATOR, 1, V::Unsigned(5), None, ErrorCode::WRITE_ACCESS_DENIED);
}
