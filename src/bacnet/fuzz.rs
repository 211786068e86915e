//! Fuzz targets: any octets from the wire, and what must hold of the outcome whatever they are. Plain functions that
//! stable Rust runs; a fuzzer or a bench may call them with anything. They panic when something does not hold.

mod corpus;
mod device;
mod services;

pub use corpus::spoil;
pub use services::*;

use std::net::{Ipv4Addr, SocketAddrV4};

use bacnet_bip_core::codec;
use bacnet_npdu::{Address, Npdu};
use bacnet_transport::sc::{ScConnection, ScConnectionState};
use bacnet_transport::sc_frame::{decode_sc_message, encode_sc_message};
use bytes::BytesMut;

use super::bip::{Port, Taken};
use super::link::{self, Arrival, MAX_FRAME, Outbox, Station};
use super::network::{self, Incoming, Networks, Said};
use super::settings::{Interface, Role};
use crate::time::Mono;

const OWN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 47808);
const PEER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 9), 47808);
const MANAGER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 2, 1), 47808);
/// Most frames that one datagram may draw from a broadcast manager with one peer and a registrant: those two, the
/// subnet, and an answer.
const MOST_FRAMES: usize = 4;

/// Frames to begin with, one of each function and message, and some that are odd.
pub const SEEDS: &[&[u8]] = &[
    // Annex J: Result, Write-BDT, Read-BDT, its Ack, Forwarded-NPDU, Register, Read-FDT, its Ack, Delete, Distribute,
    // Original-Unicast, Original-Broadcast
    b"\x81\x00\0\x06\0\0",
    b"\x81\x01\0\x0e\x0a\0\x03\x01\xba\xc0\xff\xff\xff\xff",
    b"\x81\x02\0\x04",
    b"\x81\x03\0\x0e\x0a\0\x02\x01\xba\xc0\xff\xff\xff\xff",
    b"\x81\x04\0\x0e\x0a\0\x02\x07\xba\xc0\x01\0\x10\x08",
    b"\x81\x05\0\x06\0\x3c",
    b"\x81\x06\0\x04",
    b"\x81\x07\0\x0e\x0a\0\x02\x01\xba\xc0\0\x3c\0\x1e",
    b"\x81\x08\0\x0a\x0a\0\0\x09\xba\xc0",
    b"\x81\x09\0\x08\x01\0\x10\x08",
    b"\x81\x0a\0\x11\x01\x04\0\x05\x01\x0c\x0c\x02\0\0\x01\x19\x4d",
    b"\x81\x0b\0\x0c\x01\x20\xff\xff\0\xff\x10\x08",
    // the network layer: routed in, routed both ways, every message of clause 6.4
    b"\x81\x0a\0\x0c\x01\x08\0\x05\x01\x22\x10\x08",
    b"\x81\x0b\0\x12\x01\x28\xff\xff\0\0\x05\x03\x01\x02\x03\xff\x10\x08",
    b"\x81\x0b\0\x09\x01\x80\0\0\x05",
    b"\x81\x0b\0\x0b\x01\x80\x01\0\x05\0\x06",
    b"\x81\x0b\0\x0a\x01\x80\x02\0\x05\x01",
    b"\x81\x0a\0\x0a\x01\x80\x03\x01\0\x05",
    b"\x81\x0b\0\x09\x01\x80\x04\0\x05",
    b"\x81\x0b\0\x09\x01\x80\x05\0\x05",
    b"\x81\x0a\0\x0c\x01\x80\x06\x01\0\x05\x01\0",
    b"\x81\x0a\0\x08\x01\x80\x07\0",
    b"\x81\x0b\0\x07\x01\x80\x12",
    b"\x81\x0b\0\x0a\x01\x80\x13\0\x05\x01",
    b"\x81\x0b\0\x0b\x01\x80\xff\0\x05\x01\x02",
    // of another type, another version, an unknown function, a length that lies
    b"\x82\x0a\0\x08\x01\0\x10\x08",
    b"\x81\x0a\0\x08\x02\0\x10\x08",
    b"\x81\x0c\0\x04",
    b"\x81\x0a\xff\xff\x01\0\x10\x08",
];

/// Small and quick, the same for the same seed on every machine (xorshift64*).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Any seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `end`; 0 where there is none.
    pub const fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize;
        if end == 0 { 0 } else { drawn % end }
    }
}

/// Change some octets of a frame: set, insert, remove, repeat, cut; half of the time the length field is put right again,
/// so that what lies behind it is reached.
pub fn mutate(frame: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..=dice.below(4) {
        let at = dice.below(frame.len());
        let octet =
            [0, 1, 0x7F, 0x80, 0xFE, 0xFF, dice.below(256) as u8].get(dice.below(7)).copied().unwrap_or_default();
        match dice.below(5) {
            0 => frame.insert(at, octet),
            1 if !frame.is_empty() => drop(frame.remove(at)),
            2 => frame.truncate(at),
            3 => {
                let tail = frame.get(at..).unwrap_or_default().to_vec();
                frame.extend_from_slice(&tail);
            }
            _ => {
                if let Some(place) = frame.get_mut(at) {
                    *place = octet;
                }
            }
        }
    }
    frame.truncate(MAX_FRAME);
    if let (Ok(length), 0) = (u16::try_from(frame.len()), dice.below(2))
        && let Some(field) = frame.get_mut(2..4)
    {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

/// Frames of BACnet/SC to begin with: Result (NAK), Encapsulated-NPDU from a node with a Secure Path option and one to
/// everybody, Advertisement, Connect-Accept, Disconnect-Request, Heartbeat-ACK.
pub const SECURE_SEEDS: &[&[u8]] = &[
    b"\0\0\0\x01\x06\x01\0\0\x07\0\x97",
    b"\x01\x09\0\x02\x02\xb0\0\0\0\x01\x41\x01\x04\0\x05\x01\x0c\x0c\x02\0\0\x01\x19\x4d",
    b"\x01\x0c\0\x03\x02\xb0\0\0\0\x01\xff\xff\xff\xff\xff\xff\x01\0\x10\x08",
    b"\x04\x08\0\x04\x02\xb0\0\0\0\x01\x01\0\x16\x49\x05\xd9",
    b"\x07\0\0\x05\x02\xaa\0\0\0\x01\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x16\x49\x05\xd9",
    b"\x08\0\0\x06",
    b"\x0b\0\0\x07",
];

/// A frame of BACnet/SC from the hub, while we are connected: what it holds is encoded as it was, and only an NPDU of a
/// node goes up.
pub fn secure(frame: &[u8]) {
    let Ok(message) = decode_sc_message(frame) else { return };
    let mut again = BytesMut::new();
    encode_sc_message(&mut again, &message);
    assert_eq!(decode_sc_message(&again).ok().as_ref(), Some(&message), "{frame:02x?}");
    let mut connection = ScConnection::new([2, 0, 0, 0, 0, 1], [1; 16]);
    connection.state = ScConnectionState::Connected;
    let Some((npdu, vmac)) = connection.handle_received(&message) else { return };
    assert!(vmac != [0; 6] && vmac != [0xFF; 6], "{vmac:02x?} is no node");
    if let Incoming::Apdu { peer, .. } = network::incoming(&npdu, Station::Secure(vmac), false) {
        let mut out = Vec::new();
        link::unicast(&peer, false, &[0x10, 0x08], &mut out);
        assert!(Npdu::decode(&out).is_ok(), "{frame:02x?}");
    }
}

/// A datagram at a B/IP port, in every role and on either kind of socket.
pub fn bvll(datagram: &[u8]) {
    let interface =
        Interface { listen: OWN, broadcast: Ipv4Addr::new(10, 0, 0, 255), mask: Ipv4Addr::new(255, 255, 255, 0) };
    let roles = [
        Role::Device,
        Role::Foreign { bbmd: MANAGER, ttl_s: 60 },
        Role::Manager { peers: vec![(MANAGER, Ipv4Addr::BROADCAST)], accept_foreign: true, writable: true },
    ];
    for role in &roles {
        let Some(mut port) = Port::new(interface, role, Mono::START) else { continue };
        for (from, arrival) in [
            (PEER, Arrival::Address),
            (MANAGER, Arrival::Address),
            (PEER, Arrival::Broadcast),
            (OWN, Arrival::Broadcast),
        ] {
            let mut out = Outbox::new();
            let taken = port.receive(datagram, from, arrival, Mono::START, &mut out);
            if let Taken::Npdu { npdu, source, .. } = taken {
                assert!(datagram.ends_with(npdu), "an NPDU ends its frame");
                assert_ne!(source, OWN, "we do not hear ourselves");
                self::npdu(npdu);
            }
            assert!(from != OWN || out.is_empty(), "what we broadcast draws nothing");
            // A table that was written sends to those whom it names.
            let table = datagram.get(1) == Some(&1);
            assert!(table || out.len() <= MOST_FRAMES, "{} frames from one", out.len());
            for (to, frame) in &out {
                assert_ne!(*to, OWN, "nothing is sent to ourselves");
                assert!(codec::decode(frame).is_ok(), "what we send is well-formed: {frame:02x?}");
            }
        }
    }
}

/// An NPDU from the link.
pub fn npdu(npdu: &[u8]) {
    let mut networks = Networks::new(Some(7));
    match network::incoming(npdu, PEER.into(), false) {
        Incoming::Apdu { peer, apdu, .. } => {
            assert!(npdu.ends_with(apdu), "an APDU ends its NPDU");
            assert_eq!(peer.link, PEER.into());
            let mut frame = Vec::new();
            link::unicast(&peer, true, b"\x10\x08", &mut frame);
            let answer = frame.get(4..).map(Npdu::decode);
            let Some(Ok(answer)) = answer else { panic_with(&frame) };
            let route = peer.route.as_ref().map(|route| Address { network: route.network, mac: route.mac.as_slice() });
            assert_eq!(answer.destination, route, "an answer goes back the way that the question came");
        }
        Incoming::Message { kind, data } => {
            if let Said::Answer(message) = networks.on_message(PEER.into(), kind, data) {
                assert!(message.data.len() <= 3, "our answers are short");
            }
            assert!(networks.peer(0, &[10, 0, 0, 9, 0xBA, 0xC0]).is_some(), "our own network stays reachable");
        }
        Incoming::Ignored | Incoming::Rejected(_) => {}
    }
}

#[expect(clippy::panic, reason = "a fuzz target says that something does not hold")]
fn panic_with(frame: &[u8]) -> ! {
    panic!("an answer of ours cannot be read: {frame:02x?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutants of every seed in a test; a bench makes millions.
    const MUTANTS: usize = 400;

    #[test]
    fn seeds_and_their_mutants_hold() {
        let mut dice = Dice::new(135);
        for seed in SEEDS {
            bvll(seed);
            npdu(seed);
            for _ in 0..MUTANTS {
                let mut frame = seed.to_vec();
                mutate(&mut frame, &mut dice);
                bvll(&frame);
                npdu(&frame);
            }
        }
    }

    #[test]
    fn the_seeds_reach_what_they_are_for() {
        let mut port = Port::new(
            Interface { listen: OWN, broadcast: Ipv4Addr::new(10, 0, 0, 255), mask: Ipv4Addr::new(255, 255, 255, 0) },
            &Role::Device,
            Mono::START,
        )
        .unwrap();
        let (mut apdus, mut messages) = (0, 0);
        for seed in SEEDS {
            for arrival in [Arrival::Address, Arrival::Broadcast] {
                let mut out = Outbox::new();
                if let Taken::Npdu { npdu, source, group } = port.receive(seed, PEER, arrival, Mono::START, &mut out) {
                    match network::incoming(npdu, source.into(), group) {
                        Incoming::Apdu { .. } => apdus += 1,
                        Incoming::Message { .. } => messages += 1,
                        Incoming::Ignored | Incoming::Rejected(_) => {}
                    }
                }
            }
        }
        assert_eq!((apdus, messages), (8, 19));
    }

    #[test]
    fn frames_of_a_hub_are_taken_or_refused_whatever_they_are() {
        let mut dice = Dice::new(3);
        for seed in SECURE_SEEDS {
            assert!(decode_sc_message(seed).is_ok(), "{seed:02x?}");
            secure(seed);
            for _ in 0..2_000 {
                let mut frame = seed.to_vec();
                spoil(&mut frame, &mut dice);
                secure(&frame);
            }
        }
    }
}
