//! Who a peer is, and how what is sent to it is framed (Annex J.2, clause 6.2). Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use bacnet_npdu::{Address, Mac, NetworkMessageType, Npdu};

/// Longest frame that we send or take, octets: an NPDU of 1,497 behind the longest BVLL header.
pub(super) const MAX_FRAME: usize = 1536;

/// Frames to send, each with where it goes.
pub(super) type Outbox = Vec<(SocketAddrV4, Vec<u8>)>;

/// An address on one of our links, which says by which kind of port it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Station {
    /// BACnet/IP.
    Ip(SocketAddr),
    /// BACnet/SC: a VMAC (Annex AB.1.5.2).
    Secure([u8; 6]),
    /// MS/TP: a station's address (clause 9.1.1).
    Serial(u8),
}

impl Station {
    /// Its B/IP address, where it has one.
    pub(super) const fn ip(self) -> Option<SocketAddr> {
        match self {
            Self::Ip(address) => Some(address),
            Self::Secure(_) | Self::Serial(_) => None,
        }
    }

    /// Its octets in a BACnetAddress; none of an IPv6 address.
    pub(super) fn mac(self) -> Option<Vec<u8>> {
        match self {
            Self::Ip(SocketAddr::V4(ip)) => Some([&ip.ip().octets()[..], &ip.port().to_be_bytes()].concat()),
            Self::Ip(SocketAddr::V6(_)) => None,
            Self::Secure(vmac) => Some(vmac.to_vec()),
            Self::Serial(mac) => Some(vec![mac]),
        }
    }
}

impl From<SocketAddr> for Station {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

impl From<SocketAddrV4> for Station {
    fn from(address: SocketAddrV4) -> Self {
        Self::Ip(SocketAddr::V4(address))
    }
}

impl From<([u8; 4], u16)> for Station {
    fn from(address: ([u8; 4], u16)) -> Self {
        Self::Ip(address.into())
    }
}

impl fmt::Display for Station {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Secure([a, b, c, d, e, g]) => write!(f, "vmac {a:02x}{b:02x}{c:02x}{d:02x}{e:02x}{g:02x}"),
            Self::Serial(mac) => write!(f, "ms/tp {mac}"),
        }
    }
}

/// A device behind a router: its network and its address there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Route {
    pub(super) network: u16,
    /// Empty: every device of that network.
    pub(super) mac: Mac,
}

/// Who we talk to: everything remembered of a peer is kept under this, so that two devices behind one router do not mix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Peer {
    /// Its address on our link, or its router's.
    pub(super) link: Station,
    /// Behind a router.
    pub(super) route: Option<Route>,
}

impl Peer {
    /// The link of a peer behind a router that is not known: a broadcast on our link reaches it (clause 6.5.3).
    pub(super) const ANY_ROUTER: Station = Station::Ip(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));

    /// A device on our own link.
    pub(super) const fn local(link: Station) -> Self {
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

/// The frame that carries an APDU to a peer, through its router where it has one: on B/IP behind its BVLL header, else the
/// NPDU alone.
pub(super) fn unicast(peer: &Peer, expecting_reply: bool, apdu: &[u8], out: &mut Vec<u8>) {
    let mut npdu = Npdu::apdu(apdu);
    npdu.expecting_reply = expecting_reply;
    npdu.destination = peer.route.as_ref().map(|route| Address { network: route.network, mac: route.mac.as_slice() });
    match peer.link {
        Station::Ip(_) => original_unicast(&npdu, out),
        Station::Secure(_) | Station::Serial(_) => bare(&npdu, out),
    }
}

/// The NPDU that carries an APDU to everybody on another network, or everywhere, or to a peer behind a router that is not
/// known: it is broadcast on our link, and the router that leads there passes it on.
pub(super) fn beyond(network: u16, mac: Option<&Mac>, expecting_reply: bool, apdu: &[u8], out: &mut Vec<u8>) {
    let mut npdu = Npdu::apdu(apdu);
    npdu.expecting_reply = expecting_reply;
    npdu.destination = Some(Address { network, mac: mac.map_or(&[], |mac| mac.as_slice()) });
    bare(&npdu, out);
}

/// The NPDU that carries an APDU to everybody on our link.
pub(super) fn local(apdu: &[u8], out: &mut Vec<u8>) {
    bare(&Npdu::apdu(apdu), out);
}

/// The NPDU that carries a network layer message to everybody on our link.
pub(super) fn local_message(kind: NetworkMessageType, data: &[u8], out: &mut Vec<u8>) {
    bare(&Npdu::message(kind, data), out);
}

fn bare(npdu: &Npdu<'_>, out: &mut Vec<u8>) {
    out.clear();
    out.resize(npdu.encoded_len(), 0);
    if npdu.encode_into(out).is_err() {
        out.clear();
    }
}

/// BVLL header (Annex J.2) and NPDU in one buffer. What does not fit stays empty: no APDU of ours is that long.
fn original_unicast(npdu: &Npdu<'_>, out: &mut Vec<u8>) {
    let length = 4 + npdu.encoded_len();
    out.clear();
    let Ok(declared) = u16::try_from(length) else { return };
    out.resize(length, 0);
    let [high, low] = declared.to_be_bytes();
    if let Some((head, tail)) = out.split_first_chunk_mut::<4>() {
        *head = [0x81, 0x0A, high, low];
        if npdu.encode_into(tail).is_err() {
            out.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bacnet_npdu::GLOBAL_NETWORK;

    #[test]
    fn the_answer_to_a_routed_peer_goes_through_its_router() {
        let mac = Mac::from_slice(&[0x22]).unwrap();
        let peer = Peer { link: ([10, 0, 0, 9], 50000).into(), route: Some(Route { network: 5, mac }) };
        let mut out = Vec::new();
        unicast(&peer, false, &[0x10, 0x00], &mut out);
        assert_eq!(out, [0x81, 0x0A, 0, 13, 1, 0x20, 0, 5, 1, 0x22, 255, 0x10, 0x00]);
    }

    #[test]
    fn what_goes_to_everybody_crosses_routers_and_what_asks_for_routers_does_not() {
        let mut out = Vec::new();
        beyond(GLOBAL_NETWORK, None, false, &[0x10, 0x08], &mut out);
        assert_eq!(out, [1, 0x20, 0xFF, 0xFF, 0, 255, 0x10, 0x08]);
        local_message(NetworkMessageType::WHO_IS_ROUTER_TO_NETWORK, &[0, 5], &mut out);
        assert_eq!(out, [1, 0x80, 0, 0, 5]);
    }
}
