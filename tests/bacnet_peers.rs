//! Other people's BACnet clients against our server, and our client against it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(missing_docs, reason = "tests")]

// The shared plant names its vocabulary as the library does.
use heatgate::{decision, plant, point, ports, request, telemetry, time, units};

#[path = "../src/bacnet/testing.rs"]
mod testing;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bacnet_client::client::{BACnetClient, COVNotificationDelivery, ReceivedCOVNotification};
use bacnet_encoding::primitives::decode_application_value;
use bacnet_services::common::BACnetPropertyValue;
use bacnet_services::wpm::WriteAccessSpecification;
use bacnet_transport::bip::BipTransport;
use bacnet_types::constructed::{PropertyReference, ReadAccessSpecification};
use bacnet_types::enums::{ErrorCode, ObjectType, PropertyIdentifier as P};
use bacnet_types::error::{Error, RemoteError};
use bacnet_types::primitives::{ObjectIdentifier, PropertyValue};
use heatgate::bacnet::{CallError, Client, Datum, Node, ObjectRef, Settings, Target};
use heatgate::point::{Image, Reading, Value};
use testing::World;
use tokio::sync::{broadcast, watch};

/// A node at work with an engine behind it.
struct Site {
    address: SocketAddr,
    client: Client,
    image: watch::Sender<Arc<Image>>,
}

fn site(extra: u32, instance: u32) -> Site {
    site_at("127.0.0.1:0".parse().unwrap(), extra, instance)
}

fn site_at(listen: SocketAddr, extra: u32, instance: u32) -> Site {
    let world = World::new(extra);
    let settings = Settings { listen, instance, ..Settings::default() };
    let node = Node::bind(settings, world.plant.clone()).unwrap();
    let site = Site { address: node.local_addr(), client: node.client(), image: world.image.clone() };
    tokio::spawn(node.run(world.ports.clone()));
    tokio::spawn(world.engine());
    site
}

/// A B/IP address as octets.
fn mac(address: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(address) = address else { panic!() };
    [&address.ip().octets()[..], &address.port().to_be_bytes()].concat()
}

fn id(kind: ObjectType, instance: u32) -> ObjectIdentifier {
    ObjectIdentifier::new(kind, instance).unwrap()
}

async fn peer(max_apdu: u16) -> BACnetClient<BipTransport> {
    let builder = BACnetClient::bip_builder().interface(Ipv4Addr::LOCALHOST).port(0);
    let builder = builder.broadcast_address(Ipv4Addr::new(127, 255, 255, 255)).max_apdu_length(max_apdu);
    builder.build().await.unwrap()
}

fn values(mut octets: &[u8]) -> Vec<PropertyValue> {
    let mut values = Vec::new();
    while !octets.is_empty() {
        let (value, end) = decode_application_value(octets, 0).unwrap();
        values.push(value);
        octets = &octets[end..];
    }
    values
}

fn real(value: f32) -> Vec<u8> {
    [&[0x44][..], &value.to_be_bytes()].concat()
}

#[tokio::test]
async fn a_client_of_206_octets_reads_the_whole_list_in_segments() {
    let site = site(300, 47_001);
    for max_apdu in [50, 128, 206, 480, 1024, 1476] {
        let peer = peer(max_apdu).await;
        let device = id(ObjectType::DEVICE, 47_001);
        let ack = peer.read_property(&mac(site.address), device, P::OBJECT_LIST, None).await.unwrap();
        let list = values(&ack.property_value);
        assert_eq!(list.len(), 313, "{max_apdu}");
        assert_eq!(list[311], PropertyValue::ObjectIdentifier(id(ObjectType::ANALOG_INPUT, 399)));
    }
}

#[tokio::test]
async fn every_object_is_read_whole_and_a_request_in_segments_is_answered() {
    let site = site(200, 47_001);
    // 480 octets: the request itself needs segments
    let peer = peer(480).await;
    let to = mac(site.address);
    peer.who_is_directed(&to, None).await.unwrap();
    let spec = |object_identifier, property| ReadAccessSpecification {
        object_identifier,
        list_of_property_references: vec![PropertyReference {
            property_identifier: property,
            property_array_index: None,
        }],
    };
    let many = (100..300).map(|n| spec(id(ObjectType::ANALOG_INPUT, n), P::PRESENT_VALUE)).collect();
    let ack = peer.read_property_multiple(&to, many).await.unwrap();
    assert_eq!(ack.list_of_read_access_results.len(), 200);
    let energy = Reading::Good(Value::Energy(units::Energy::from_wh(7)));
    site.image.send_modify(|image| testing::read(Arc::make_mut(image), testing::ENERGY, energy));
    for (kind, instance) in [
        (ObjectType::DEVICE, 47_001),
        (ObjectType::NETWORK_PORT, 1),
        (ObjectType::ANALOG_VALUE, 1),
        (ObjectType::ACCUMULATOR, 1),
        (ObjectType::BINARY_INPUT, 1),
        (ObjectType::MULTI_STATE_VALUE, 10),
    ] {
        let ack = peer.read_property_multiple(&to, vec![spec(id(kind, instance), P::ALL)]).await.unwrap();
        let results = &ack.list_of_read_access_results[0].list_of_results;
        assert!(results.len() > 8 && results.iter().all(|result| result.error.is_none()), "{kind}: {results:?}");
    }
}

#[tokio::test]
async fn a_client_writes_relinquishes_and_is_told_of_it() {
    let site = site(0, 47_001);
    let peer = peer(1476).await;
    let to = mac(site.address);
    let av = id(ObjectType::ANALOG_VALUE, 1);
    let mut told = peer.cov_notifications();
    peer.subscribe_cov(&to, 1, av, true, Some(60)).await.unwrap();
    peer.subscribe_cov(&to, 2, av, false, Some(60)).await.unwrap();
    for process in [1, 2] {
        assert_eq!(next(&mut told, process).await, PropertyValue::Real(0.0));
    }
    peer.write_property(&to, av, P::PRESENT_VALUE, None, real(52.3), Some(10)).await.unwrap();
    for process in [1, 2] {
        assert_eq!(next(&mut told, process).await, PropertyValue::Real(52.3));
    }
    let slots = peer.read_property(&to, av, P::PRIORITY_ARRAY, Some(10)).await.unwrap();
    assert_eq!(values(&slots.property_value), [PropertyValue::Real(52.3)]);
    peer.write_property(&to, av, P::PRESENT_VALUE, None, vec![0x00], Some(10)).await.unwrap();
    for process in [1, 2] {
        assert_eq!(next(&mut told, process).await, PropertyValue::Real(0.0));
    }
    let refused = peer.write_property(&to, av, P::PRESENT_VALUE, None, real(152.0), None).await.unwrap_err();
    let out_of_range = ErrorCode::VALUE_OUT_OF_RANGE;
    assert!(matches!(refused, Error::Remote(RemoteError::Error { code, .. }) if code == out_of_range), "{refused}");
    let value = BACnetPropertyValue {
        property_identifier: P::PRESENT_VALUE,
        property_array_index: None,
        value: real(75.0),
        priority: Some(11),
    };
    let several = WriteAccessSpecification { object_identifier: av, list_of_properties: vec![value] };
    peer.write_property_multiple(&to, vec![several]).await.unwrap();
    for process in [1, 2] {
        assert_eq!(next(&mut told, process).await, PropertyValue::Real(75.0));
    }
    peer.unsubscribe_cov(&to, 1, av).await.unwrap();
    site.image.send_modify(|image| testing::read(Arc::make_mut(image), testing::PERCENT, Reading::number(80.0)));
    assert_eq!(next(&mut told, 2).await, PropertyValue::Real(80.0));
}

/// Present_Value of the next notification, which is for this process: 1 is confirmed, 2 is not.
async fn next(told: &mut broadcast::Receiver<ReceivedCOVNotification>, process: u32) -> PropertyValue {
    let received = tokio::time::timeout(Duration::from_secs(5), told.recv()).await.expect("nothing told").unwrap();
    assert_eq!(received.notification.subscriber_process_identifier, process);
    assert_eq!(received.delivery == COVNotificationDelivery::Confirmed, process == 1);
    values(&received.notification.list_of_values[0].value).remove(0)
}

#[tokio::test]
async fn an_independent_client_reads_and_writes() {
    use bacnet_rs::client::BacnetClient;
    use bacnet_rs::object::{ObjectIdentifier, ObjectType, PropertyIdentifier};
    use bacnet_rs::property::PropertyValue;

    let site = site(0, 47_001);
    let address = site.address;
    let dialogue = tokio::task::spawn_blocking(move || {
        let client = BacnetClient::new_with_local_addr("127.0.0.1:0").unwrap();
        let device = client.discover_device(address).unwrap();
        assert_eq!(device.device_id, 47_001);
        assert_eq!(client.read_object_list(address, 47_001).unwrap().len(), 12);
        let av = ObjectIdentifier::new(ObjectType::AnalogValue, 1);
        let value = |property| client.read_property(address, av, property).unwrap();
        client
            .write_property(address, av, PropertyIdentifier::PresentValue, &PropertyValue::Real(33.5), Some(10))
            .unwrap();
        assert!(matches!(value(PropertyIdentifier::PresentValue)[..], [PropertyValue::Real(value)] if value == 33.5));
        assert_eq!(value(PropertyIdentifier::PriorityArray).len(), 16);
        client.write_property(address, av, PropertyIdentifier::PresentValue, &PropertyValue::Null, Some(10)).unwrap();
        assert!(matches!(value(PropertyIdentifier::PresentValue)[..], [PropertyValue::Real(0.0)]));
        let ai = ObjectIdentifier::new(ObjectType::AnalogInput, 12);
        let refused =
            client.write_property(address, ai, PropertyIdentifier::PresentValue, &PropertyValue::Real(1.0), None);
        assert!(refused.is_err());
    });
    tokio::time::timeout(Duration::from_secs(60), dialogue).await.unwrap().unwrap();
}

#[tokio::test]
async fn our_client_shares_the_port_with_our_server() {
    let (one, two) = (site(0, 47_001), site(0, 47_002));
    let av = ObjectRef { kind: 2, instance: 1 };
    let there = Target::Address(two.address);
    assert_eq!(one.client.read(there, av, 85, None).await, Ok(Datum::Real(0.0)));
    one.client.write(there, av, 85, &Datum::Real(41.5), Some(12)).await.unwrap();
    assert_eq!(one.client.read(there, av, 85, None).await, Ok(Datum::Real(41.5)));
    assert_eq!(one.client.read(there, av, 87, Some(0)).await, Ok(Datum::Unsigned(16)));
    assert!(matches!(one.client.read(there, av, 87, None).await, Ok(Datum::Other(octets)) if octets.len() == 20));
    assert_eq!(one.client.read(there, av, 77, None).await, Ok(Datum::Text("analog-value 1".to_owned())));
    let unknown = CallError::Error { class: 1, code: 31 };
    assert_eq!(one.client.read(there, ObjectRef { kind: 2, instance: 99 }, 85, None).await, Err(unknown));
    let denied = CallError::Error { class: 2, code: 40 };
    let ai = ObjectRef { kind: 0, instance: 12 };
    assert_eq!(one.client.write(there, ai, 85, &Datum::Real(1.0), None).await, Err(denied));
    assert_eq!(one.client.write(there, av, 85, &Datum::Real(1.0), Some(17)).await, Err(CallError::Invalid));
    // both at once, in both directions, many outstanding
    let calls: Vec<_> = (0..8)
        .flat_map(|_| [(one.client.clone(), two.address), (two.client.clone(), one.address)])
        .map(|(client, to)| tokio::spawn(async move { client.read(Target::Address(to), av, 85, None).await }))
        .collect();
    for call in calls {
        assert!(matches!(call.await.unwrap(), Ok(Datum::Real(_))));
    }
}

#[tokio::test]
async fn a_device_is_found_by_its_instance_on_a_shared_broadcast_address() {
    // Two hosts of one network: another address, the same port, one broadcast address.
    let one = site(0, 47_001);
    let two = site_at(([127, 0, 0, 2], one.address.port()).into(), 0, 47_002);
    let av = ObjectRef { kind: 2, instance: 1 };
    two.client.write(Target::Device(47_001), av, 85, &Datum::Real(12.5), Some(9)).await.unwrap();
    assert_eq!(two.client.read(Target::Device(47_001), av, 85, None).await, Ok(Datum::Real(12.5)));
    assert_eq!(one.client.read(Target::Device(47_002), av, 75, None).await, Ok(Datum::Object(av)));
}
