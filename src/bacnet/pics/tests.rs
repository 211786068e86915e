//! The statement held against the device: every service and every property is tried.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bacnet_encoding::primitives::{decode_application_value, encode_property_value};
use bacnet_services::read_property::{ReadPropertyAckRef, ReadPropertyRequest};
use bacnet_services::write_property::WritePropertyRequest;
use bacnet_types::enums::PropertyIdentifier as P;
use bacnet_types::primitives::{Date, ObjectIdentifier, PropertyValue as V, Time};
use bytes::BytesMut;

use super::*;
use crate::bacnet::link::Peer;
use crate::bacnet::stack::{Effect, Stack};
use crate::bacnet::testing;
use crate::plant::{AlarmFace, Condition, ObjectFace, ObjectKind, Plant};
use crate::point::{Image, PointId};
use crate::request::Refusal;
use crate::time::Now;

/// An object of every type, over a point that takes commands and over one that does not, and one without alarms.
fn plant() -> Plant {
    let mut plant = testing::plant(0);
    let like = plant.bacnet[0].clone();
    let mut face = |point: PointId, kind, instance, alarm| {
        plant.bacnet.push(ObjectFace {
            point,
            kind,
            instance,
            name: format!("{} {instance}", ObjectKind::as_str(kind)),
            unit: plant.points[point.index()].unit,
            alarm,
            ..like.clone()
        });
    };
    for (kind, ..) in ObjectKind::TABLE {
        use ObjectKind as K;
        let (commanded, shown) = match kind {
            K::BinaryInput | K::BinaryOutput | K::BinaryValue => (testing::ENABLE, testing::ALARM),
            K::MultiStateInput | K::MultiStateValue => (testing::MODE, testing::STATE),
            // It is empty there.
            K::CharacterStringValue => (testing::STATE, testing::STATE),
            K::Accumulator | K::PositiveIntegerValue => (testing::HEARTBEAT, testing::ENERGY),
            K::AnalogInput | K::AnalogOutput | K::AnalogValue | K::IntegerValue | K::LargeAnalogValue => {
                (testing::PERCENT, testing::DELIVERED)
            }
        };
        face(commanded, *kind, 1000, alarm(*kind));
        face(shown, *kind, 1001, alarm(*kind));
        // Energy totals stay in service.
        face(if *kind == K::PositiveIntegerValue { testing::DELIVERED } else { shown }, *kind, 1002, None);
    }
    plant.bacnet_services.extend(testing::services());
    plant
}

/// Every type that can report events does.
fn alarm(kind: ObjectKind) -> Option<AlarmFace> {
    use ObjectKind as K;
    let condition = match kind {
        K::BinaryInput | K::BinaryValue => Condition::State(true),
        K::BinaryOutput | K::MultiStateInput | K::MultiStateValue | K::Accumulator | K::CharacterStringValue => {
            return None;
        }
        _ => Condition::Limits { high: Some(1e6), low: None, deadband: 0.0 },
    };
    Some(AlarmFace { class: 1, condition, delay: Duration::ZERO, delay_normal: Duration::ZERO, event: false })
}

struct Device {
    stack: Stack,
    image: Image,
}

impl Device {
    fn new() -> Self {
        let plant = plant();
        let image = testing::image(&plant);
        Self { stack: Stack::new(Arc::new(plant), Settings::default()), image }
    }

    fn say(&mut self, apdu: &[u8]) -> Vec<Effect> {
        let peer = Peer::local(([10, 0, 0, 9], 47_809).into());
        let mut effects = Vec::new();
        self.stack.on_apdu(peer, false, apdu, &self.image, Now::default(), &mut effects);
        effects
    }

    /// The values of a property, or class and code of the error.
    fn read(&mut self, object: ObjectIdentifier, property: P) -> Result<Vec<u8>, (u8, u8)> {
        let mut params = BytesMut::new();
        ReadPropertyRequest { object_identifier: object, property_identifier: property, property_array_index: None }
            .encode(&mut params);
        let effects = self.say(&[&[0x00, 0x05, 1, 12][..], &params].concat());
        let Some(Effect::Send { apdu, .. }) = effects.last() else { panic!("{effects:?}") };
        match apdu[0] >> 4 {
            3 => Ok(ReadPropertyAckRef::decode(&apdu[3..]).unwrap().property_value.to_vec()),
            _ => Err((apdu[4], apdu[6])),
        }
    }

    /// Whether a write of this is denied, whatever else may be wrong with it.
    fn denies(&mut self, invoke: u8, object: ObjectIdentifier, property: P, value: &V) -> bool {
        let mut octets = BytesMut::new();
        encode_property_value(&mut octets, value).unwrap();
        let mut params = BytesMut::new();
        WritePropertyRequest {
            object_identifier: object,
            property_identifier: property,
            property_array_index: None,
            property_value: octets.to_vec(),
            priority: None,
        }
        .encode(&mut params)
        .unwrap();
        let effects = self.say(&[&[0x00, 0x05, invoke, 15][..], &params].concat());
        match effects.iter().find(|effect| matches!(effect, Effect::Submit(..) | Effect::Send { .. })) {
            Some(Effect::Submit(ticket, ..)) => {
                self.stack.on_verdict(*ticket, &Err(Refusal::Busy), Now::default(), &mut Vec::new());
                false
            }
            Some(Effect::Send { apdu, .. }) => apdu[..] == [0x50, invoke, 15, 0x91, 2, 0x91, 40],
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn every_service_is_tried_and_the_statement_has_exactly_those_that_are_executed() {
    let pics = Pics::new(&Settings::default());
    let stated = |name: &str| pics.services.iter().find(|service| service.name == name);
    let mut device = Device::new();
    for choice in 0..=u8::MAX {
        let effects = device.say(&[0x00, 0x05, 1, choice]);
        let Some(Effect::Send { apdu, .. }) = effects.last() else { panic!("{choice}: {effects:?}") };
        let unrecognized = apdu[..] == [0x60, 1, 9];
        let row = services::CONFIRMED.iter().find(|service| service.choice.to_raw() == choice);
        let executes = row.and_then(|row| stated(row.name)).is_some_and(|service| service.executes);
        assert_eq!(executes, !unrecognized, "confirmed service {choice}");
    }
    for choice in 0..=u8::MAX {
        // What is executed and cannot be understood is counted; what is not executed is discarded.
        let heard = !device.say(&[0x10, choice, 0xFF]).is_empty();
        let row = services::UNCONFIRMED.iter().find(|service| service.choice.to_raw() == choice);
        let executes = row.and_then(|row| stated(row.name)).is_some_and(|service| service.executes);
        assert_eq!(executes, heard, "unconfirmed service {choice}");
    }
    let bits: BTreeSet<u8> = pics.services.iter().map(|service| service.bit).collect();
    assert_eq!(bits.len(), pics.services.len(), "a service stands twice in the tables");
    // and what Protocol_Services_Supported says
    let id = ObjectIdentifier::new(bacnet_types::enums::ObjectType::DEVICE, 47_001).unwrap();
    let octets = device.read(id, P::PROTOCOL_SERVICES_SUPPORTED).unwrap();
    let (V::BitString { data, .. }, _) = decode_application_value(&octets, 0).unwrap() else { panic!() };
    for service in &pics.services {
        let set = data[usize::from(service.bit / 8)] & (0x80 >> (service.bit % 8)) != 0;
        assert_eq!(set, service.executes, "{}", service.name);
    }
    assert_eq!(data.iter().map(|octet| octet.count_ones()).sum::<u32>() as usize, services::executed().count());
}

/// A value of every primitive type.
fn values() -> [V; 12] {
    [
        V::Null,
        V::Boolean(true),
        V::Unsigned(1),
        V::Signed(1),
        V::Real(1.0),
        V::Double(1.0),
        V::OctetString(vec![1]),
        V::CharacterString("x".to_owned()),
        V::BitString { unused_bits: 4, data: vec![0] },
        V::Enumerated(1),
        V::Date(Date { year: 125, month: 1, day: 1, day_of_week: 3 }),
        V::Time(Time { hour: 0, minute: 0, second: 0, hundredths: 0 }),
    ]
}

#[test]
fn every_property_of_every_object_is_as_the_statement_has_it() {
    let mut device = Device::new();
    let types = types();
    let objects: Vec<_> = device.stack.catalog().entries().iter().map(|entry| entry.id).collect();
    let mut seen = BTreeSet::new();
    let mut used: BTreeSet<(u32, u32)> = BTreeSet::new();
    for object in objects {
        let kind = object.object_type();
        let stated = types.iter().find(|one| one.kind == kind).unwrap_or_else(|| panic!("{kind} is not stated"));
        seen.insert(kind.to_raw());
        let listed = device.read(object, P::PROPERTY_LIST).unwrap();
        let (mut has, mut at) =
            (BTreeSet::from([P::OBJECT_IDENTIFIER, P::OBJECT_NAME, P::OBJECT_TYPE].map(P::to_raw)), 0);
        has.insert(P::PROPERTY_LIST.to_raw());
        while at < listed.len() {
            let (V::Enumerated(raw), next) = decode_application_value(&listed, at).unwrap() else { panic!() };
            assert!(has.insert(raw), "{object:?} lists {raw} twice");
            at = next;
        }
        for raw in 0..1_100 {
            let property = P::from_raw(raw);
            let row = stated.rows.iter().find(|row| row.property == property);
            let read = device.read(object, property);
            // unknown-property exactly where Property_List does not have it
            assert_eq!(read != Err((2, 32)), has.contains(&raw), "{object:?} {property}: {read:?}");
            if row.is_some_and(|row| row.required) {
                assert!(has.contains(&raw), "{object:?} needs {property}");
            }
            if !has.contains(&raw) {
                continue;
            }
            let row = row.unwrap_or_else(|| panic!("{object:?} has {property}, which is not stated"));
            let denied =
                values().iter().zip(0..).filter(|(value, n)| device.denies(*n, object, property, value)).count();
            if denied == 0 {
                assert_ne!(row.access, Access::Read, "{object:?} {property} is written");
                used.insert((kind.to_raw(), raw));
            } else {
                assert_eq!(denied, values().len(), "{object:?} {property}");
                assert_ne!(row.access, Access::Write, "{object:?} {property} is not written");
            }
        }
    }
    for one in &types {
        assert!(seen.contains(&one.kind.to_raw()), "there is no {}", one.kind);
        for row in one.rows.iter().filter(|row| row.access != Access::Read) {
            let key = (one.kind.to_raw(), row.property.to_raw());
            assert!(used.contains(&key), "no {} lets {} be written", one.kind, row.property);
        }
    }
}

#[test]
fn the_statement_reads_like_annex_a() {
    let text = Pics::new(&Settings::default()).to_string();
    for line in [
        "| BACnet protocol version, revision | 1, 19 |",
        "- BACnet Gateway (B-GW)",
        "| DS-COV-B | Change of value, server |",
        "| ReadPropertyMultiple | x | x |",
        "- Largest APDU: 1476 octets.",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(serde_json::to_string(&Pics::new(&Settings::default())).unwrap().contains("\"name\":\"analog-value\""));
}
