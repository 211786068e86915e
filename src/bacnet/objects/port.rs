//! Properties of a Network Port object (clause 12.56): one port, not configurable over this object. Those of BACnet/SC
//! are of ANSI/ASHRAE 135-2020.

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
use crate::bacnet::bip::{self, Registration, RoleState};
use crate::bacnet::further::PortState;
use crate::bacnet::mstp;
use crate::bacnet::network::Number;
use crate::bacnet::sc::{self, Connected};
use crate::bacnet::settings::MAX_APDU;

const COMMON: [Row; 15] = [
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
];
const IP: [Row; 6] = [
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
/// Max_Master and Max_Info_Frames, of MS/TP.
const SERIAL: [Row; 2] = [may(P::MAX_MASTER), may(P::MAX_INFO_FRAMES)];
/// Properties of BACnet/SC, by their numbers in 135-2020. Those of certificate files are left out: there are no File
/// objects.
const SECURE: [Row; 9] = [
    may(P::from_raw(secure::MAX_BVLC_LENGTH_ACCEPTED)),
    may(P::from_raw(secure::MAX_NPDU_LENGTH_ACCEPTED)),
    may(P::from_raw(secure::SC_CONNECT_WAIT_TIMEOUT)),
    may(P::from_raw(secure::SC_FAILOVER_HUB_URI)),
    may(P::from_raw(secure::SC_HUB_CONNECTOR_STATE)),
    may(P::from_raw(secure::SC_HEARTBEAT_TIMEOUT)),
    may(P::from_raw(secure::SC_PRIMARY_HUB_URI)),
    may(P::from_raw(secure::SC_MAXIMUM_RECONNECT_TIME)),
    may(P::from_raw(secure::SC_MINIMUM_RECONNECT_TIME)),
];

/// What the vocabulary of 135-2016 has no word for.
mod secure {
    pub(super) const MAX_BVLC_LENGTH_ACCEPTED: u32 = 4_194_304;
    pub(super) const MAX_NPDU_LENGTH_ACCEPTED: u32 = 4_194_305;
    pub(super) const SC_CONNECT_WAIT_TIMEOUT: u32 = 4_194_308;
    pub(super) const SC_FAILOVER_HUB_URI: u32 = 4_194_317;
    pub(super) const SC_HUB_CONNECTOR_STATE: u32 = 4_194_318;
    pub(super) const SC_HEARTBEAT_TIMEOUT: u32 = 4_194_323;
    pub(super) const SC_PRIMARY_HUB_URI: u32 = 4_194_325;
    pub(super) const SC_MAXIMUM_RECONNECT_TIME: u32 = 4_194_326;
    pub(super) const SC_MINIMUM_RECONNECT_TIME: u32 = 4_194_327;
    /// BACnetNetworkType secure-connect.
    pub(super) const NETWORK_TYPE: u32 = 11;
}

const LAST: [Row; 1] = [must(P::PROPERTY_LIST)];

/// The rows of a port: its kind and role are settled before the start.
pub(super) fn rows(line: &PortState) -> Vec<Row> {
    let (kind, role): (&[Row], &[Row]) = match line {
        PortState::Ip(bip::PortState { role: RoleState::Device, .. }) => (&IP, &[]),
        PortState::Ip(bip::PortState { role: RoleState::Foreign { .. }, .. }) => (&IP, &FOREIGN),
        PortState::Ip(bip::PortState { role: RoleState::Manager { .. }, .. }) => (&IP, &MANAGER),
        PortState::Secure(_) => (&SECURE, &[]),
        PortState::Serial(_) => (&SERIAL, &[]),
    };
    [&COMMON, kind, role, &LAST].concat()
}

/// The rows of a port of every kind and in every role.
pub(super) fn all_rows() -> Vec<Row> {
    [&COMMON[..], &IP, &FOREIGN, &MANAGER, &SERIAL, &SECURE, &LAST].concat()
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
    let lost = match line {
        PortState::Ip(port) => {
            let silent = Registration::Silent;
            let lost = matches!(port.role, RoleState::Foreign { registration, .. } if registration == silent || registration == Registration::Refused);
            lost.then_some(Reliability::RENEW_FD_REGISTRATION_FAILURE)
        }
        PortState::Secure(port) => (port.connected == Connected::No).then_some(Reliability::COMMUNICATION_FAILURE),
        PortState::Serial(port) => (!port.open).then_some(Reliability::COMMUNICATION_FAILURE),
    };
    match property {
        P::DESCRIPTION => cell.text(match line {
            PortState::Ip(_) => "BACnet/IP",
            PortState::Secure(_) => "BACnet/SC",
            PortState::Serial(_) => "MS/TP",
        }),
        // fault
        P::STATUS_FLAGS => cell.flags(if lost.is_some() { 0b0100_0000 } else { 0 }),
        // no-fault-detected
        P::RELIABILITY => cell.enumerated(lost.map_or(0, Reliability::to_raw)),
        P::OUT_OF_SERVICE | P::CHANGES_PENDING => cell.boolean(false),
        P::NETWORK_TYPE => cell.enumerated(match line {
            PortState::Ip(_) => NetworkType::IPV4.to_raw(),
            PortState::Secure(_) => secure::NETWORK_TYPE,
            PortState::Serial(_) => NetworkType::MSTP.to_raw(),
        }),
        P::PROTOCOL_LEVEL => cell.enumerated(ProtocolLevel::BACNET_APPLICATION.to_raw()),
        P::NETWORK_NUMBER | P::NETWORK_NUMBER_QUALITY => {
            // 0: not known, and not needed by a device that is no router
            let known = if matches!(line, PortState::Ip(_)) { view.network } else { Number::Unknown };
            let (number, quality) = match known {
                Number::Unknown => (0, NetworkNumberQuality::UNKNOWN),
                Number::Learned(number, false) => (number, NetworkNumberQuality::LEARNED),
                Number::Learned(number, true) => (number, NetworkNumberQuality::LEARNED_CONFIGURED),
                Number::Configured(number) => (number, NetworkNumberQuality::CONFIGURED),
            };
            if property == P::NETWORK_NUMBER { cell.unsigned(number.into()) } else { cell.enumerated(quality.to_raw()) }
        }
        P::APDU_LENGTH => cell.unsigned(match line {
            PortState::Ip(_) | PortState::Secure(_) => MAX_APDU.into(),
            PortState::Serial(_) => mstp::MAX_APDU.into(),
        }),
        _ => match line {
            PortState::Ip(port) => ip(view, port, property, cell),
            PortState::Secure(port) => secured(port, property, cell),
            PortState::Serial(port) => serial(port, property, cell),
        },
    }
}

fn octets(cell: Cell<'_>, octets: &[u8]) -> Result<(), Failure> {
    cell.one(|out| primitives::encode_app_octet_string(out, octets))
}

fn speed(cell: Cell<'_>, bits_per_second: f32) -> Result<(), Failure> {
    cell.one(|out| primitives::encode_app_real(out, bits_per_second))
}

/// What is an MS/TP port's alone.
fn serial(state: &mstp::State, property: P, cell: Cell<'_>) -> Result<(), Failure> {
    #[expect(clippy::cast_precision_loss, reason = "no line has 16 million bits per second")]
    match property {
        P::MAC_ADDRESS => octets(cell, &[state.port.mac]),
        P::LINK_SPEED => speed(cell, state.port.baud as f32),
        P::MAX_MASTER => cell.unsigned(state.port.max_master.into()),
        P::MAX_INFO_FRAMES => cell.unsigned(state.port.max_info_frames.into()),
        _ => Err(Failure::UNKNOWN_PROPERTY),
    }
}

/// What is a BACnet/SC port's alone.
fn secured(state: &sc::State, property: P, cell: Cell<'_>) -> Result<(), Failure> {
    let port = &state.port;
    match property {
        // before the first start there is none
        P::MAC_ADDRESS => octets(cell, state.vmac.as_ref().map_or(&[], |vmac| vmac.as_slice())),
        // 0: not known
        P::LINK_SPEED => speed(cell, 0.0),
        _ => match property.to_raw() {
            secure::MAX_BVLC_LENGTH_ACCEPTED => cell.unsigned(sc::MAX_BVLC.into()),
            secure::MAX_NPDU_LENGTH_ACCEPTED => cell.unsigned(sc::MAX_NPDU.into()),
            secure::SC_CONNECT_WAIT_TIMEOUT => cell.unsigned(port.connect_wait.as_secs()),
            secure::SC_HEARTBEAT_TIMEOUT => cell.unsigned(port.heartbeat.as_secs()),
            secure::SC_MINIMUM_RECONNECT_TIME => cell.unsigned(port.reconnect.0.as_secs()),
            secure::SC_MAXIMUM_RECONNECT_TIME => cell.unsigned(port.reconnect.1.as_secs()),
            secure::SC_PRIMARY_HUB_URI => cell.text(&port.primary.to_string()),
            secure::SC_FAILOVER_HUB_URI => {
                cell.text(&port.failover.as_ref().map(ToString::to_string).unwrap_or_default())
            }
            secure::SC_HUB_CONNECTOR_STATE => cell.enumerated(match state.connected {
                Connected::No => 0,
                Connected::Primary => 1,
                Connected::Failover => 2,
            }),
            _ => Err(Failure::UNKNOWN_PROPERTY),
        },
    }
}

/// What is a B/IP port's alone.
fn ip(view: &View<'_>, line: &bip::PortState, property: P, cell: Cell<'_>) -> Result<(), Failure> {
    let own = line.interface.listen;
    match (property, &line.role) {
        (P::MAC_ADDRESS, _) => octets(cell, &mac(own)),
        // 0: not known
        (P::LINK_SPEED, _) => speed(cell, 0.0),
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
        let PortState::Ip(first) = &mut lines[0] else { panic!() };
        change(&mut first.role);
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

    #[test]
    fn ports_of_other_kinds_show_what_they_are() {
        use crate::bacnet::settings::{Hub, Secure, Serial};
        let secure = Secure {
            primary: Hub::new("wss://hub:4443").unwrap(),
            failover: None,
            tls: None,
            reconnect: (Duration::from_secs(10), Duration::from_secs(600)),
            connect_wait: Duration::from_secs(10),
            heartbeat: Duration::from_secs(300),
        };
        let serial =
            Serial { path: "/dev/null".into(), mac: 7, baud: 38_400, max_master: 127, max_info_frames: 1, echo: false };
        let settings = Settings { secure: Some(secure), serial: Some(serial), ..Settings::default() };
        let what = [
            (1, P::NETWORK_TYPE),
            (1, P::RELIABILITY),
            (1, P::APDU_LENGTH),
            (1, P::from_raw(secure::SC_PRIMARY_HUB_URI)),
            (1, P::from_raw(secure::SC_HUB_CONNECTOR_STATE)),
            (1, P::from_raw(secure::SC_HEARTBEAT_TIMEOUT)),
            (1, P::IP_ADDRESS),
            (2, P::NETWORK_TYPE),
            (2, P::MAC_ADDRESS),
            (2, P::APDU_LENGTH),
            (2, P::LINK_SPEED),
            (2, P::NETWORK_NUMBER),
        ];
        let expected: Vec<Vec<u8>> = vec![
            vec![0x91, 11],
            // communication-failure
            vec![0x91, 12],
            vec![0x22, 5, 0xC4],
            [&[0x75, 15, 0][..], b"wss://hub:4443"].concat(),
            vec![0x91, 0],
            vec![0x22, 1, 44],
            b"error".to_vec(),
            vec![0x91, 2],
            vec![0x61, 7],
            vec![0x22, 1, 0xE0],
            vec![0x44, 0x47, 0x16, 0, 0],
            // the number that was learned is that of the B/IP ports
            vec![0x21, 0],
        ];
        assert_eq!(shown(&settings, |_| {}, &what), expected);
    }
}
