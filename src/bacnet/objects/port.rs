//! Properties of the Network Port object (clause 12.56): one IPv4 port, not configurable over BACnet.

use std::net::{Ipv4Addr, SocketAddr};

use bacnet_encoding::primitives;
use bacnet_types::enums::{IPMode, NetworkNumberQuality, NetworkType, PropertyIdentifier as P, ProtocolLevel};

use super::catalog::{Row, may, must};
use super::{Cell, View};
use crate::bacnet::answer::Failure;
use crate::bacnet::settings::MAX_APDU;

pub(super) fn rows() -> Vec<Row> {
    vec![
        must(P::OBJECT_IDENTIFIER),
        must(P::OBJECT_NAME),
        must(P::OBJECT_TYPE),
        may(P::DESCRIPTION),
        must(P::STATUS_FLAGS),
        must(P::RELIABILITY),
        must(P::OUT_OF_SERVICE),
        must(P::NETWORK_TYPE),
        must(P::PROTOCOL_LEVEL),
        must(P::NETWORK_NUMBER),
        must(P::NETWORK_NUMBER_QUALITY),
        must(P::CHANGES_PENDING),
        may(P::MAC_ADDRESS),
        must(P::APDU_LENGTH),
        must(P::LINK_SPEED),
        may(P::BACNET_IP_MODE),
        may(P::IP_ADDRESS),
        may(P::BACNET_IP_UDP_PORT),
        may(P::IP_SUBNET_MASK),
        may(P::IP_DEFAULT_GATEWAY),
        may(P::IP_DNS_SERVER),
        must(P::PROPERTY_LIST),
    ]
}

pub(super) fn read(view: &View<'_>, property: P, cell: Cell<'_>) -> Result<(), Failure> {
    let (ip, port) = match view.settings.listen {
        SocketAddr::V4(address) => (*address.ip(), address.port()),
        SocketAddr::V6(address) => (Ipv4Addr::UNSPECIFIED, address.port()),
    };
    match property {
        P::DESCRIPTION => cell.text("BACnet/IP"),
        P::STATUS_FLAGS => cell.flags(0),
        // no-fault-detected: who reads this came through the port
        P::RELIABILITY => cell.enumerated(0),
        P::OUT_OF_SERVICE | P::CHANGES_PENDING => cell.boolean(false),
        P::NETWORK_TYPE => cell.enumerated(NetworkType::IPV4.to_raw()),
        P::PROTOCOL_LEVEL => cell.enumerated(ProtocolLevel::BACNET_APPLICATION.to_raw()),
        // 0: not known, and not needed by a device that is no router
        P::NETWORK_NUMBER => cell.unsigned(0),
        P::NETWORK_NUMBER_QUALITY => cell.enumerated(NetworkNumberQuality::UNKNOWN.to_raw()),
        P::MAC_ADDRESS => {
            let mac = [&ip.octets()[..], &port.to_be_bytes()].concat();
            cell.one(|out| primitives::encode_app_octet_string(out, &mac))
        }
        P::APDU_LENGTH => cell.unsigned(MAX_APDU.into()),
        // 0: not known
        P::LINK_SPEED => cell.one(|out| primitives::encode_app_real(out, 0.0)),
        P::BACNET_IP_MODE => cell.enumerated(IPMode::NORMAL.to_raw()),
        P::IP_ADDRESS => cell.one(|out| primitives::encode_app_octet_string(out, &ip.octets())),
        P::BACNET_IP_UDP_PORT => cell.unsigned(port.into()),
        P::IP_SUBNET_MASK => cell.one(|out| primitives::encode_app_octet_string(out, &view.settings.mask().octets())),
        // The host's business; all zeros is "none" (clauses 12.56.27, 12.56.28).
        P::IP_DEFAULT_GATEWAY => cell.one(|out| primitives::encode_app_octet_string(out, &[0; 4])),
        P::IP_DNS_SERVER => cell.array(1, |out, _| primitives::encode_app_octet_string(out, &[0; 4])),
        _ => Err(Failure::UNKNOWN_PROPERTY),
    }
}
