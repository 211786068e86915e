//! Properties of the Device object (clause 12.11).

use bacnet_encoding::{constructed, primitives};
use bacnet_types::constructed::{
    BACnetAddress, BACnetCOVSubscription, BACnetObjectPropertyReference, BACnetRecipient, BACnetRecipientProcess,
};
use bacnet_types::enums::{PropertyIdentifier as P, Segmentation};
use bytes::BytesMut;

use super::catalog::{Row, may, must};
use super::{Cell, View, Wire, types, wire};
use crate::bacnet::answer::Failure;
use crate::bacnet::clock::OFFSET_LIMIT;
use crate::bacnet::cov::Subscription;
use crate::bacnet::own::Change;
use crate::bacnet::restart;
use crate::bacnet::services;
use crate::bacnet::settings::{APDU_TIMEOUT, MAX_APDU, MAX_SEGMENTS, PROTOCOL_REVISION, RETRIES, SEGMENT_TIMEOUT};

/// How many services protocol revision 19 knows.
const SERVICE_BITS: u32 = 44;
/// How many object types protocol revision 19 knows: up to lift, 59.
const TYPE_BITS: u32 = 60;

pub(super) fn rows() -> Vec<Row> {
    vec![
        must(P::OBJECT_IDENTIFIER),
        must(P::OBJECT_NAME),
        must(P::OBJECT_TYPE),
        must(P::SYSTEM_STATUS),
        must(P::VENDOR_NAME),
        must(P::VENDOR_IDENTIFIER),
        must(P::MODEL_NAME),
        must(P::FIRMWARE_REVISION),
        must(P::APPLICATION_SOFTWARE_VERSION),
        may(P::LOCATION),
        may(P::DESCRIPTION),
        must(P::PROTOCOL_VERSION),
        must(P::PROTOCOL_REVISION),
        must(P::PROTOCOL_SERVICES_SUPPORTED),
        must(P::PROTOCOL_OBJECT_TYPES_SUPPORTED),
        must(P::OBJECT_LIST),
        must(P::MAX_APDU_LENGTH_ACCEPTED),
        must(P::SEGMENTATION_SUPPORTED),
        may(P::MAX_SEGMENTS_ACCEPTED),
        may(P::LOCAL_TIME),
        may(P::LOCAL_DATE),
        may(P::UTC_OFFSET).writable(),
        may(P::DAYLIGHT_SAVINGS_STATUS),
        may(P::APDU_SEGMENT_TIMEOUT),
        must(P::APDU_TIMEOUT),
        must(P::NUMBER_OF_APDU_RETRIES),
        must(P::DEVICE_ADDRESS_BINDING),
        must(P::DATABASE_REVISION),
        may(P::ACTIVE_COV_SUBSCRIPTIONS),
        may(P::LAST_RESTART_REASON),
        may(P::RESTART_NOTIFICATION_RECIPIENTS).writable(),
        may(P::TIME_OF_DEVICE_RESTART),
        must(P::PROPERTY_LIST),
    ]
}

pub(super) fn read(view: &View<'_>, property: P, cell: Cell<'_>) -> Result<(), Failure> {
    let settings = view.settings;
    match property {
        // operational
        P::SYSTEM_STATUS => cell.enumerated(0),
        P::VENDOR_NAME => cell.text(&settings.vendor_name),
        P::VENDOR_IDENTIFIER => cell.unsigned(settings.vendor_id.into()),
        P::MODEL_NAME => cell.text(&settings.model),
        P::FIRMWARE_REVISION | P::APPLICATION_SOFTWARE_VERSION => cell.text(&settings.version),
        P::LOCATION => cell.text(&settings.location),
        P::DESCRIPTION => cell.text(&settings.description),
        P::PROTOCOL_VERSION => cell.unsigned(1),
        P::PROTOCOL_REVISION => cell.unsigned(PROTOCOL_REVISION.into()),
        P::PROTOCOL_SERVICES_SUPPORTED => cell.one(|out| put_bits(out, SERVICE_BITS, services::executed())),
        P::PROTOCOL_OBJECT_TYPES_SUPPORTED => {
            cell.one(|out| put_bits(out, TYPE_BITS, types().iter().map(|one| one.kind.to_raw())))
        }
        P::OBJECT_LIST => cell.array(view.catalog.entries().len(), |out, place| {
            if let Some(entry) = view.catalog.entries().get(place) {
                primitives::encode_app_object_id(out, &entry.id);
            }
        }),
        P::MAX_APDU_LENGTH_ACCEPTED => cell.unsigned(MAX_APDU.into()),
        P::SEGMENTATION_SUPPORTED => cell.enumerated(Segmentation::BOTH.to_raw().into()),
        P::MAX_SEGMENTS_ACCEPTED => cell.unsigned(MAX_SEGMENTS.into()),
        P::LOCAL_TIME => cell.one(|out| primitives::encode_app_time(out, &view.own.clock.local(view.now.utc).time)),
        P::LOCAL_DATE => cell.one(|out| primitives::encode_app_date(out, &view.own.clock.local(view.now.utc).date)),
        // UTC, until somebody writes otherwise.
        P::UTC_OFFSET => cell.one(|out| primitives::encode_app_signed(out, view.own.clock.offset)),
        P::DAYLIGHT_SAVINGS_STATUS => cell.boolean(false),
        P::APDU_SEGMENT_TIMEOUT => cell.unsigned(SEGMENT_TIMEOUT.as_millis() as u64),
        P::APDU_TIMEOUT => cell.unsigned(APDU_TIMEOUT.as_millis() as u64),
        P::NUMBER_OF_APDU_RETRIES => cell.unsigned(RETRIES.into()),
        // Bindings of our own client are not shown: an empty list is allowed (clause 12.11.30).
        P::DEVICE_ADDRESS_BINDING => cell.one(|_| ()),
        P::DATABASE_REVISION => cell.unsigned(view.own.revision().into()),
        P::LAST_RESTART_REASON => cell.enumerated(view.own.restart.reason()),
        P::RESTART_NOTIFICATION_RECIPIENTS => cell.one(|out| view.own.restart.put_recipients(out)),
        P::TIME_OF_DEVICE_RESTART => cell.one(|out| view.own.restart.put_time(out)),
        P::ACTIVE_COV_SUBSCRIPTIONS => cell.one(|out| {
            for subscription in view.subscriptions.iter() {
                put_subscription(out, view, subscription);
            }
        }),
        _ => Err(Failure::UNKNOWN_PROPERTY),
    }
}

/// A write to a property of the device's own.
pub(super) fn write(property: P, value: &[u8]) -> Result<Change, Failure> {
    if property == P::RESTART_NOTIFICATION_RECIPIENTS {
        return restart::recipients(value).and_then(restart::checked).map(Change::Recipients);
    }
    match (property, wire(value)?) {
        (P::UTC_OFFSET, Wire::Signed(minutes)) if minutes.abs() <= OFFSET_LIMIT => Ok(Change::Offset(minutes)),
        (P::UTC_OFFSET, Wire::Signed(_)) => Err(Failure::OUT_OF_RANGE),
        (P::UTC_OFFSET, _) => Err(Failure::WRONG_TYPE),
        _ => Err(Failure::WRITE_DENIED),
    }
}

/// A bit string of `length` bits with these set.
fn put_bits(out: &mut BytesMut, length: u32, set: impl Iterator<Item = u32>) {
    let mut octets = vec![0u8; length.div_ceil(8) as usize];
    for bit in set.filter(|bit| *bit < length) {
        if let Some(octet) = octets.get_mut((bit / 8) as usize) {
            *octet |= 0x80 >> (bit % 8);
        }
    }
    let unused = u8::try_from(length.div_ceil(8) * 8 - length).unwrap_or(0);
    primitives::encode_app_bit_string(out, unused, &octets);
}

/// Active_COV_Subscriptions, one by one.
pub(super) fn subscriptions(view: &View<'_>) -> Vec<BytesMut> {
    let one = |subscription| {
        let mut out = BytesMut::new();
        put_subscription(&mut out, view, subscription);
        out
    };
    view.subscriptions.iter().map(one).filter(|item| !item.is_empty()).collect()
}

fn put_subscription(out: &mut BytesMut, view: &View<'_>, subscription: &Subscription) {
    let Some(entry) = view.catalog.entries().get(subscription.place) else { return };
    let peer = &subscription.peer;
    let (network_number, mac) = match (&peer.route, peer.link.mac()) {
        (Some(route), _) => (route.network, route.mac.as_slice().to_vec()),
        (None, Some(mac)) => (0, mac),
        (None, None) => return,
    };
    let increment = Some(subscription.increment(view, entry)).filter(|step| *step > 0.0);
    let (property, index) = subscription.watch.property();
    #[expect(clippy::cast_possible_truncation, reason = "the protocol's REAL")]
    let encoded = BACnetCOVSubscription {
        recipient: BACnetRecipientProcess {
            recipient: BACnetRecipient::Address(BACnetAddress { network_number, mac_address: mac.as_slice().into() }),
            process_identifier: subscription.process,
        },
        monitored_property_reference: BACnetObjectPropertyReference {
            object_identifier: entry.id,
            property_identifier: property.to_raw(),
            property_array_index: index,
        },
        issue_confirmed_notifications: subscription.confirmed,
        time_remaining: subscription.remaining(view.now.mono),
        cov_increment: increment.map(|step| step as f32),
    };
    // Refused only for a MAC that is too long, and no peer has one.
    let _ = constructed::encode_cov_subscription(out, &encoded);
}
