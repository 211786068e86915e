//! Frames of B/IP (Annex J) and their network layer (clause 6): datagram to APDU with its peer, and back. Pure.

use std::fmt;
use std::net::{SocketAddr, SocketAddrV4};

use bacnet_bip_core::LocalSubnet;
use bacnet_bip_core::codec::{self, Bvll};
use bacnet_bip_core::node::{Link, Mode};
use bacnet_npdu::{Address, GLOBAL_NETWORK, Mac, Npdu};

/// Longest frame that we send or take, octets: an NPDU of 1,497 behind the longest BVLL header.
pub(super) const MAX_FRAME: usize = 1536;

/// A device behind a router: its network and its address there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Route {
    pub(super) network: u16,
    pub(super) mac: Mac,
}

/// Who we talk to: everything remembered of a peer is kept under this, so that two devices behind one router do not mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Peer {
    /// Its address on our link, or its router's.
    pub(super) link: SocketAddr,
    /// Behind a router.
    pub(super) route: Option<Route>,
}

impl Peer {
    /// A device on our own link.
    pub(super) const fn local(link: SocketAddr) -> Self {
        Self { link, route: None }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.link)?;
        if let Some(route) = &self.route {
            write!(f, " network {} ", route.network)?;
            route.mac.as_slice().iter().try_for_each(|octet| write!(f, "{octet:02x}"))?;
        }
        Ok(())
    }
}

/// Which socket read a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The one that is bound to our address.
    Address,
    /// One that is bound to the broadcast address.
    Broadcast,
}

/// What a datagram held.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'d> {
    /// An APDU for the application.
    Apdu {
        /// From whom.
        peer: Peer,
        /// More than we received it.
        group: bool,
        /// The APDU.
        apdu: &'d [u8],
    },
    /// A frame to send back: the refusal of what only a broadcast manager does.
    Refuse(SocketAddrV4, Vec<u8>),
    /// Nothing for us, and nothing wrong with it.
    Ignored,
    /// Not BACnet/IP, or not as it should be.
    Rejected(&'static str),
}

/// Our place on the link.
#[derive(Debug, Clone)]
pub(super) struct Wire {
    link: Link,
}

impl Wire {
    /// At this address, with this broadcast address; `None` when they are no B/IP addresses.
    pub(super) fn new(own: SocketAddrV4, broadcast: SocketAddrV4) -> Option<Self> {
        Link::new(own, LocalSubnet::new(broadcast), Mode::Normal).ok().map(|link| Self { link })
    }

    /// Where broadcasts go.
    pub(super) const fn broadcast(&self) -> SocketAddrV4 {
        self.link.subnet.broadcast
    }

    /// What a datagram holds.
    pub(super) fn receive<'d>(&self, payload: &'d [u8], source: SocketAddrV4, arrival: Arrival) -> Frame<'d> {
        let Ok(message) = codec::decode(payload) else { return Frame::Rejected("bvll") };
        // Nobody sends from a group address; an answer to one would go to everybody.
        if self.link.groups().contains_ip(*source.ip()) {
            return Frame::Rejected("bvll");
        }
        match message {
            Bvll::OriginalUnicastNpdu(_) | Bvll::OriginalBroadcastNpdu(_) if self.link.is_own(source) => Frame::Ignored,
            Bvll::OriginalUnicastNpdu(_) if arrival == Arrival::Broadcast => Frame::Rejected("bvll"),
            Bvll::OriginalUnicastNpdu(frame) => npdu(frame, source, false),
            // One that was sent to our own address does no harm, and tools do it where there is no broadcast.
            Bvll::OriginalBroadcastNpdu(frame) => npdu(frame, source, true),
            Bvll::ForwardedNpdu { origin, .. } if self.link.is_own(origin) => Frame::Ignored,
            Bvll::ForwardedNpdu { origin, .. } if self.link.groups().contains(origin) => Frame::Rejected("bvll"),
            Bvll::ForwardedNpdu { origin, npdu: frame } => npdu(frame, origin, true),
            other => match other.function().nak() {
                Some(code) if arrival == Arrival::Address && self.link.is_answerable(source) => {
                    let mut frame = vec![0; 6];
                    match Bvll::BvlcResult(code).encode_into(&mut frame) {
                        Ok(_) => Frame::Refuse(source, frame),
                        Err(_) => Frame::Ignored,
                    }
                }
                // Answers to what we never ask.
                _ => Frame::Ignored,
            },
        }
    }
}

fn npdu(frame: &[u8], source: SocketAddrV4, group: bool) -> Frame<'_> {
    let Ok(npdu) = Npdu::decode(frame) else { return Frame::Rejected("npdu") };
    if npdu.is_network_message() {
        return Frame::Ignored;
    }
    // We are no router: what is addressed to another network passes by.
    if npdu.destination.is_some_and(|destination| destination.network != GLOBAL_NETWORK) {
        return Frame::Ignored;
    }
    let route = match npdu.source {
        None => None,
        Some(address) => match Mac::from_slice(address.mac) {
            Ok(mac) => Some(Route { network: address.network, mac }),
            Err(_) => return Frame::Rejected("npdu"),
        },
    };
    Frame::Apdu {
        peer: Peer { link: SocketAddr::V4(source), route },
        group: group || npdu.is_global(),
        apdu: npdu.payload,
    }
}

/// The frame that carries an APDU to a peer, through its router where it has one.
pub(super) fn unicast(peer: &Peer, expecting_reply: bool, apdu: &[u8], out: &mut Vec<u8>) {
    let mut npdu = Npdu::apdu(apdu);
    npdu.expecting_reply = expecting_reply;
    npdu.destination = peer.route.as_ref().map(|route| Address { network: route.network, mac: route.mac.as_slice() });
    put(0x0A, &npdu, out);
}

/// The frame that carries an APDU to everybody on our link.
pub(super) fn broadcast(apdu: &[u8], out: &mut Vec<u8>) {
    put(0x0B, &Npdu::apdu(apdu), out);
}

/// BVLL header (Annex J.2) and NPDU in one buffer. What does not fit stays empty: no APDU of ours is that long.
fn put(function: u8, npdu: &Npdu<'_>, out: &mut Vec<u8>) {
    let length = 4 + npdu.encoded_len();
    out.clear();
    let Ok(declared) = u16::try_from(length) else { return };
    out.resize(length, 0);
    let [high, low] = declared.to_be_bytes();
    if let Some((head, tail)) = out.split_first_chunk_mut::<4>() {
        *head = [0x81, function, high, low];
        if npdu.encode_into(tail).is_err() {
            out.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn wire() -> Wire {
        let own = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 47808);
        Wire::new(own, SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 255), 47808)).unwrap()
    }

    const PEER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 9), 50000);

    #[test]
    fn the_answer_to_a_routed_peer_goes_through_its_router() {
        // Original-Unicast-NPDU, SNET 5, SADR 0x22, Who-Is
        let frame = [0x81, 0x0A, 0, 12, 1, 0x08, 0, 5, 1, 0x22, 0x10, 0x08];
        let Frame::Apdu { peer, group, apdu } = wire().receive(&frame, PEER, Arrival::Address) else { panic!() };
        assert!(!group);
        assert_eq!(apdu, [0x10, 0x08]);
        assert_eq!(peer.to_string(), "10.0.0.9:50000 network 5 22");
        let mut out = Vec::new();
        unicast(&peer, false, &[0x10, 0x00], &mut out);
        assert_eq!(out, [0x81, 0x0A, 0, 13, 1, 0x20, 0, 5, 1, 0x22, 255, 0x10, 0x00]);
    }

    #[test]
    fn the_origin_of_a_forwarded_frame_is_its_peer() {
        let frame = [0x81, 0x04, 0, 14, 10, 1, 1, 1, 0xBA, 0xC0, 1, 0, 0x10, 0x08];
        let Frame::Apdu { peer, group, .. } = wire().receive(&frame, PEER, Arrival::Broadcast) else { panic!() };
        assert!(group);
        assert_eq!(peer.link.to_string(), "10.1.1.1:47808");
    }

    #[test]
    fn what_only_a_broadcast_manager_does_is_refused() {
        // Register-Foreign-Device, 60 s: BVLC-Result 0x0030
        let frame = [0x81, 0x05, 0, 6, 0, 60];
        let refused = Frame::Refuse(PEER, vec![0x81, 0, 0, 6, 0, 0x30]);
        assert_eq!(wire().receive(&frame, PEER, Arrival::Address), refused);
    }

    #[test]
    fn unicast_on_the_broadcast_address_other_networks_and_garbage_are_not_taken() {
        let unicast = [0x81, 0x0A, 0, 8, 1, 0, 0x10, 0x08];
        assert_eq!(wire().receive(&unicast, PEER, Arrival::Broadcast), Frame::Rejected("bvll"));
        let elsewhere = [0x81, 0x0A, 0, 12, 1, 0x20, 0, 5, 0, 255, 0x10, 0x08];
        assert_eq!(wire().receive(&elsewhere, PEER, Arrival::Address), Frame::Ignored);
        let own = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 47808);
        let broadcast = [0x81, 0x0B, 0, 8, 1, 0, 0x10, 0x08];
        assert_eq!(wire().receive(&broadcast, own, Arrival::Broadcast), Frame::Ignored);
        for garbage in [&b""[..], b"\x81", b"\x82\x0a\0\x04", b"\x81\x0a\0\x09\x01\0", b"\x81\x0a\0\x06\x02\0"] {
            assert!(matches!(wire().receive(garbage, PEER, Arrival::Address), Frame::Rejected(_)), "{garbage:?}");
        }
    }
}
