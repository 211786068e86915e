//! Properties of a Network Port object (clause 12.56): one B/IP port, not configurable over this object.

use std::net::SocketAddrV4;

use bacnet_encoding::primitives;
use bacnet_encoding::tags::{encode_closing_tag, encode_opening_tag};
use bacnet_types::enums::{
    IPMode, NetworkNumberQuality, NetworkType, PropertyIdentifier as P, ProtocolLevel, Reliability,
};
use bytes::BytesMut;

use super::catalog::{Row, may, must};
use super::{Cell, View};
use crate::bacnet::answer::Failure;
use crate::bacnet::bip::{Registration, RoleState};
use crate::bacnet::network::Number;
use crate::bacnet::settings::MAX_APDU;

const COMMON: [Row; 21] = [
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
];
const FOREIGN: [Row; 2] = [may(P::FD_BBMD_ADDRESS), may(P::FD_SUBSCRIPTION_LIFETIME)];
const MANAGER: [Row; 3] = [
    may(P::BBMD_BROADCAST_DISTRIBUTION_TABLE),
    may(P::BBMD_ACCEPT_FD_REGISTRATIONS),
    may(P::BBMD_FOREIGN_DEVICE_TABLE),
];
const LAST: [Row; 1] = [must(P::PROPERTY_LIST)];

/// The rows of a port in this role: which one it is is settled before the start.
pub(super) fn rows(role: &RoleState) -> Vec<Row> {
    let more: &[Row] = match role {
        RoleState::Device => &[],
        RoleState::Foreign { .. } => &FOREIGN,
        RoleState::Manager { .. } => &MANAGER,
    };
    [&COMMON, more, &LAST].concat()
}

/// The rows of a port in every role.
pub(super) fn all_rows() -> Vec<Row> {
    [&COMMON[..], &FOREIGN, &MANAGER, &LAST].concat()
}

/// A BACnetHostNPort, by its address.
fn host_and_port(out: &mut BytesMut, address: SocketAddrV4) {
    encode_opening_tag(out, 0);
    primitives::encode_ctx_octet_string(out, 1, &address.ip().octets());
    encode_closing_tag(out, 0);
    primitives::encode_ctx_unsigned(out, 1, address.port().into());
}

/// The six octets of a B/IP address (Annex J.1.2).
fn mac(address: SocketAddrV4) -> Vec<u8> {
    [&address.ip().octets()[..], &address.port().to_be_bytes()].concat()
}

pub(super) fn read(view: &View<'_>, place: usize, property: P, cell: Cell<'_>) -> Result<(), Failure> {
    let Some(line) = view.lines.get(place) else { return Err(Failure::UNKNOWN_PROPERTY) };
    let own = line.interface.listen;
    let lost =
        matches!(line.role, RoleState::Foreign { registration: Registration::Silent | Registration::Refused, .. });
    match (property, &line.role) {
        (P::DESCRIPTION, _) => cell.text("BACnet/IP"),
        // fault
        (P::STATUS_FLAGS, _) => cell.flags(if lost { 0b0100_0000 } else { 0 }),
        (P::RELIABILITY, _) if lost => cell.enumerated(Reliability::RENEW_FD_REGISTRATION_FAILURE.to_raw()),
        // no-fault-detected: who reads this came through a port
        (P::RELIABILITY, _) => cell.enumerated(0),
        (P::OUT_OF_SERVICE | P::CHANGES_PENDING, _) => cell.boolean(false),
        (P::NETWORK_TYPE, _) => cell.enumerated(NetworkType::IPV4.to_raw()),
        (P::PROTOCOL_LEVEL, _) => cell.enumerated(ProtocolLevel::BACNET_APPLICATION.to_raw()),
        (P::NETWORK_NUMBER, _) => match view.network {
            // 0: not known, and not needed by a device that is no router
            Number::Unknown => cell.unsigned(0),
            Number::Learned(number, _) | Number::Configured(number) => cell.unsigned(number.into()),
        },
        (P::NETWORK_NUMBER_QUALITY, _) => cell.enumerated(
            match view.network {
                Number::Unknown => NetworkNumberQuality::UNKNOWN,
                Number::Learned(_, false) => NetworkNumberQuality::LEARNED,
                Number::Learned(_, true) => NetworkNumberQuality::LEARNED_CONFIGURED,
                Number::Configured(_) => NetworkNumberQuality::CONFIGURED,
            }
            .to_raw(),
        ),
        (P::MAC_ADDRESS, _) => cell.one(|out| primitives::encode_app_octet_string(out, &mac(own))),
        (P::APDU_LENGTH, _) => cell.unsigned(MAX_APDU.into()),
        // 0: not known
        (P::LINK_SPEED, _) => cell.one(|out| primitives::encode_app_real(out, 0.0)),
        (P::BACNET_IP_MODE, role) => cell.enumerated(
            match role {
                RoleState::Device => IPMode::NORMAL,
                RoleState::Foreign { .. } => IPMode::FOREIGN,
                RoleState::Manager { .. } => IPMode::BBMD,
            }
            .to_raw(),
        ),
        (P::IP_ADDRESS, _) => cell.one(|out| primitives::encode_app_octet_string(out, &own.ip().octets())),
        (P::BACNET_IP_UDP_PORT, _) => cell.unsigned(own.port().into()),
        (P::IP_SUBNET_MASK, _) => {
            cell.one(|out| primitives::encode_app_octet_string(out, &line.interface.mask.octets()))
        }
        // The host's business; all zeros is "none" (clauses 12.56.27, 12.56.28).
        (P::IP_DEFAULT_GATEWAY, _) => cell.one(|out| primitives::encode_app_octet_string(out, &[0; 4])),
        (P::IP_DNS_SERVER, _) => cell.array(1, |out, _| primitives::encode_app_octet_string(out, &[0; 4])),
        (P::FD_BBMD_ADDRESS, RoleState::Foreign { bbmd, .. }) => cell.one(|out| host_and_port(out, *bbmd)),
        (P::FD_SUBSCRIPTION_LIFETIME, RoleState::Foreign { ttl_s, .. }) => cell.unsigned((*ttl_s).into()),
        (P::BBMD_ACCEPT_FD_REGISTRATIONS, RoleState::Manager { accept_foreign, .. }) => cell.boolean(*accept_foreign),
        // BACnetBDTEntry
        (P::BBMD_BROADCAST_DISTRIBUTION_TABLE, RoleState::Manager { bdt, .. }) => cell.one(|out| {
            for row in bdt {
                encode_opening_tag(out, 0);
                host_and_port(out, row.address);
                encode_closing_tag(out, 0);
                primitives::encode_ctx_octet_string(out, 1, &row.mask.octets());
            }
        }),
        // BACnetFDTEntry
        (P::BBMD_FOREIGN_DEVICE_TABLE, RoleState::Manager { fdt: (at, fdt), .. }) => cell.one(|out| {
            let passed = view.now.mono.since(*at).as_secs();
            for row in fdt {
                let left = u64::from(row.remaining).saturating_sub(passed);
                if left > 0 {
                    primitives::encode_ctx_octet_string(out, 0, &mac(row.address));
                    primitives::encode_ctx_unsigned(out, 1, row.ttl.into());
                    primitives::encode_ctx_unsigned(out, 2, left);
                }
            }
        }),
        _ => Err(Failure::UNKNOWN_PROPERTY),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use bacnet_bip_core::codec::{BdtEntry, FdtEntry};

    use super::*;
    use crate::bacnet::bip::PortState;
    use crate::bacnet::cov::Subscriptions;
    use crate::bacnet::objects::Catalog;
    use crate::bacnet::own::Own;
    use crate::bacnet::settings::{Interface, Role, Settings};
    use crate::bacnet::testing;
    use crate::time::{Mono, Now, Utc};

    const PEER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 2, 1), 47808);

    /// Properties of the second port, and of the first in a role.
    fn shown(settings: &Settings, change: impl FnOnce(&mut RoleState), what: &[(usize, P)]) -> Vec<Vec<u8>> {
        let plant = testing::plant(0);
        let mut lines = PortState::initial(settings);
        change(&mut lines[0].role);
        let catalog = Catalog::new(&plant, settings);
        let view = View {
            plant: &plant,
            catalog: &catalog,
            settings,
            image: &testing::image(&plant),
            subscriptions: &Subscriptions::default(),
            alarms: &crate::bacnet::alarm::Alarms::default(),
            own: &Own::default(),
            lines: &lines,
            network: Number::Learned(7, true),
            now: Now { mono: Mono::START.after(Duration::from_secs(10)), utc: Utc::from_millis(0) },
        };
        let get = |(place, property): &(usize, P)| {
            let mut out = BytesMut::new();
            match read(&view, *place, *property, Cell { out: &mut out, index: None }) {
                Ok(()) => out.to_vec(),
                Err(_) => b"error".to_vec(),
            }
        };
        what.iter().map(get).collect()
    }

    #[test]
    fn a_lost_registration_is_a_fault_of_the_port() {
        let settings = Settings { role: Role::Foreign { bbmd: PEER, ttl_s: 300 }, ..Settings::default() };
        let what =
            [P::RELIABILITY, P::STATUS_FLAGS, P::BACNET_IP_MODE, P::FD_BBMD_ADDRESS, P::FD_SUBSCRIPTION_LIFETIME];
        let what = what.map(|property| (0, property));
        let mut expected = vec![
            vec![0x91, 0],
            vec![0x82, 4, 0],
            vec![0x91, 1],
            vec![0x0E, 0x1C, 10, 0, 2, 1, 0x0F, 0x1A, 0xBA, 0xC0],
            vec![0x22, 1, 44],
        ];
        assert_eq!(shown(&settings, |_| {}, &what), expected);
        let lose = |role: &mut RoleState| {
            let RoleState::Foreign { registration, .. } = role else { panic!() };
            *registration = Registration::Silent;
        };
        (expected[0], expected[1]) = (vec![0x91, 19], vec![0x82, 4, 0b0100_0000]);
        assert_eq!(shown(&settings, lose, &what), expected);
    }

    #[test]
    fn a_manager_shows_its_tables_and_other_ports_none() {
        let second = Interface {
            listen: SocketAddrV4::new(Ipv4Addr::new(10, 3, 0, 5), 47808),
            broadcast: Ipv4Addr::new(10, 3, 0, 255),
            mask: Ipv4Addr::new(255, 255, 255, 0),
        };
        let role = Role::Manager { peers: Vec::new(), accept_foreign: true, writable: false };
        let settings = Settings { role, more: vec![second], ..Settings::default() };
        let fill = |role: &mut RoleState| {
            let RoleState::Manager { bdt, fdt, .. } = role else { panic!() };
            bdt.push(BdtEntry::new(PEER, Ipv4Addr::BROADCAST));
            fdt.1.push(FdtEntry::new(PEER, 60, 90));
            fdt.1.push(FdtEntry::new(PEER, 1, 9));
        };
        let what = [
            (0, P::BBMD_BROADCAST_DISTRIBUTION_TABLE),
            (0, P::BBMD_FOREIGN_DEVICE_TABLE),
            (0, P::BBMD_ACCEPT_FD_REGISTRATIONS),
            (0, P::FD_BBMD_ADDRESS),
            (1, P::BBMD_FOREIGN_DEVICE_TABLE),
            (1, P::IP_ADDRESS),
            (1, P::NETWORK_NUMBER),
            (1, P::NETWORK_NUMBER_QUALITY),
        ];
        let expected: Vec<Vec<u8>> = vec![
            vec![0x0E, 0x0E, 0x1C, 10, 0, 2, 1, 0x0F, 0x1A, 0xBA, 0xC0, 0x0F, 0x1C, 255, 255, 255, 255],
            // the second one has gone meanwhile
            vec![0x0D, 6, 10, 0, 2, 1, 0xBA, 0xC0, 0x19, 60, 0x29, 80],
            vec![0x11],
            b"error".to_vec(),
            b"error".to_vec(),
            vec![0x64, 10, 3, 0, 5],
            vec![0x21, 7],
            vec![0x91, 2],
        ];
        assert_eq!(shown(&settings, fill, &what), expected);
    }
}
