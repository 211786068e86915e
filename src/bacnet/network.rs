//! The network layer of a device that is no router (clause 6): who an NPDU is from, and the ways to other networks. Pure.

use std::collections::HashMap;
use std::time::Duration;

use bacnet_npdu::{GLOBAL_NETWORK, Mac, NetworkMessageType, Npdu, RejectMessageReason, RejectMessageToNetwork};

use super::link::{Peer, Route, Station};
use crate::time::Mono;

/// Most networks whose router is remembered.
const ROUTERS: usize = 1024;
/// Most networks that are asked for at a time.
const ASKED: usize = 64;
/// How long until a network is asked for again.
const AGAIN: Duration = Duration::from_secs(5);

/// What an NPDU held.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming<'d> {
    /// An APDU for the application.
    Apdu {
        /// From whom.
        peer: Peer,
        /// More than we received it.
        group: bool,
        /// The APDU.
        apdu: &'d [u8],
    },
    /// A message of the network layer, from our own link.
    Message { kind: NetworkMessageType, data: &'d [u8] },
    /// Nothing for us, and nothing wrong with it.
    Ignored,
    /// Not as it should be.
    Rejected(&'static str),
}

/// What an NPDU holds that came from this address on one of our links.
pub(super) fn incoming(npdu: &[u8], link: Station, group: bool) -> Incoming<'_> {
    let Ok(npdu) = Npdu::decode(npdu) else { return Incoming::Rejected("npdu") };
    // We are no router: what is addressed to another network passes by.
    if npdu.destination.is_some_and(|destination| destination.network != GLOBAL_NETWORK) {
        return Incoming::Ignored;
    }
    if let Some(kind) = npdu.message_type {
        // Of a router's own link; what a router passed on concerns the link that it comes from, except that a refusal
        // comes from the router which could not go on (clauses 6.4.19, 6.4.20, 6.6.3.5).
        let own = npdu.source.is_none() && npdu.destination.is_none();
        return match kind {
            NetworkMessageType::WHAT_IS_NETWORK_NUMBER | NetworkMessageType::NETWORK_NUMBER_IS if !own => {
                Incoming::Ignored
            }
            _ => Incoming::Message { kind, data: npdu.payload },
        };
    }
    let route = match npdu.source {
        None => None,
        Some(address) => match Mac::from_slice(address.mac) {
            Ok(mac) => Some(Route { network: address.network, mac }),
            Err(_) => return Incoming::Rejected("npdu"),
        },
    };
    let peer = Peer { link, route };
    Incoming::Apdu { peer, group: group || npdu.is_global(), apdu: npdu.payload }
}

/// A message of the network layer to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: NetworkMessageType,
    pub(super) data: Vec<u8>,
}

/// The number of our own network, as Network_Number and Network_Number_Quality show it (clause 12.56).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Unknown,
    /// A router said it; whether it had been configured there.
    Learned(u16, bool),
    Configured(u16),
}

/// The routers of our link, and our own number.
#[derive(Debug)]
pub(super) struct Networks {
    routers: HashMap<u16, Station>,
    asked: HashMap<u16, Mono>,
    number: Number,
}

impl Networks {
    /// None known yet.
    pub(super) fn new(number: Option<u16>) -> Self {
        Self {
            routers: HashMap::new(),
            asked: HashMap::new(),
            number: number.map_or(Number::Unknown, Number::Configured),
        }
    }

    /// Our own network.
    pub(super) const fn number(&self) -> Number {
        self.number
    }

    /// The peer at an address as recipients and devices are named (BACnetAddress): of our own network (0 or its
    /// number) the six octets of B/IP; of another one through its router, where that is known. An empty address is
    /// everybody there. `None`: nobody that we can reach now; [`ask`](Self::ask) for the network.
    pub(super) fn peer(&self, network: u16, mac: &[u8]) -> Option<Peer> {
        let own = network == 0 || matches!(self.number, Number::Configured(n) | Number::Learned(n, _) if n == network);
        if own {
            let octets: [u8; 6] = mac.try_into().ok()?;
            let [a, b, c, d, high, low] = octets;
            return Some(Peer::local(([a, b, c, d], u16::from_be_bytes([high, low])).into()));
        }
        let mac = Mac::from_slice(mac).ok()?;
        self.routers.get(&network).map(|link| Peer { link: *link, route: Some(Route { network, mac }) })
    }

    /// The question for the router to a network; `None` when it was just asked, or too many are.
    pub(super) fn ask(&mut self, network: u16, now: Mono) -> Option<Message> {
        if network == 0 || network == GLOBAL_NETWORK {
            return None;
        }
        self.asked.retain(|_, at| now.since(*at) < AGAIN);
        if self.asked.contains_key(&network) || self.asked.len() >= ASKED {
            return None;
        }
        self.asked.insert(network, now);
        let kind = NetworkMessageType::WHO_IS_ROUTER_TO_NETWORK;
        Some(Message { kind, data: network.to_be_bytes().to_vec() })
    }

    /// A message of the network layer from our link; what to broadcast there in answer.
    pub(super) fn on_message(&mut self, link: Station, kind: NetworkMessageType, data: &[u8]) -> Said {
        match kind {
            // Our number is that of the B/IP ports' network.
            NetworkMessageType::WHAT_IS_NETWORK_NUMBER | NetworkMessageType::NETWORK_NUMBER_IS
                if link.ip().is_none() =>
            {
                Said::Nothing
            }
            NetworkMessageType::I_AM_ROUTER_TO_NETWORK => {
                let (networks, rest) = data.as_chunks::<2>();
                if networks.is_empty() || !rest.is_empty() {
                    return Said::Malformed;
                }
                for network in networks.iter().map(|octets| u16::from_be_bytes(*octets)) {
                    let wanted = self.asked.remove(&network).is_some() || self.routers.contains_key(&network);
                    // A stranger's list must not push out what we asked for.
                    if wanted || self.routers.len() < ROUTERS - ASKED {
                        self.routers.insert(network, link);
                    }
                }
                Said::Nothing
            }
            NetworkMessageType::REJECT_MESSAGE_TO_NETWORK => match RejectMessageToNetwork::decode(data) {
                Ok(reject) => {
                    // Only the router itself says that it has lost a network.
                    let lost = reject.reason == RejectMessageReason::NOT_DIRECTLY_CONNECTED
                        && self.routers.get(&reject.network) == Some(&link);
                    if lost {
                        self.routers.remove(&reject.network);
                    }
                    Said::Refused { network: reject.network, reason: reject.reason.to_raw() }
                }
                Err(_) => Said::Malformed,
            },
            NetworkMessageType::WHAT_IS_NETWORK_NUMBER => match self.number {
                Number::Configured(number) => {
                    let [high, low] = number.to_be_bytes();
                    let kind = NetworkMessageType::NETWORK_NUMBER_IS;
                    Said::Answer(Message { kind, data: vec![high, low, 1] })
                }
                // Who has learned it leaves the answer to who taught it.
                Number::Learned(..) | Number::Unknown => Said::Nothing,
            },
            NetworkMessageType::NETWORK_NUMBER_IS => match *data {
                [high, low, configured] if configured <= 1 => {
                    let said = u16::from_be_bytes([high, low]);
                    match self.number {
                        _ if said == 0 || said == GLOBAL_NETWORK => Said::Malformed,
                        Number::Configured(ours) if ours != said && configured == 1 => Said::Conflict(said),
                        Number::Configured(_) => Said::Nothing,
                        // One that was configured is not moved by hearsay.
                        Number::Learned(_, true) if configured == 0 => Said::Nothing,
                        Number::Learned(..) | Number::Unknown => {
                            self.number = Number::Learned(said, configured == 1);
                            Said::Nothing
                        }
                    }
                }
                _ => Said::Malformed,
            },
            // Between routers, or of a type that we do not know.
            _ => Said::Nothing,
        }
    }
}

/// What a message of the network layer came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing to do.
    Nothing,
    /// To broadcast on our link.
    Answer(Message),
    /// A router could not pass something of ours on.
    Refused { network: u16, reason: u8 },
    /// Somebody says that our network has another number.
    Conflict(u16),
    /// Not as it should be.
    Malformed,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

    const FROM: Station = Station::Ip(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 9), 50000)));
    const ROUTER: Station = FROM;

    fn whose(npdu: &[u8], group: bool) -> Option<(String, bool, Vec<u8>)> {
        match incoming(npdu, FROM, group) {
            Incoming::Apdu { peer, group, apdu } => Some((peer.to_string(), group, apdu.to_vec())),
            _ => None,
        }
    }

    #[test]
    fn a_routed_device_is_another_peer_than_its_router() {
        let who_is = vec![0x10, 0x08];
        assert_eq!(whose(&[1, 0, 0x10, 0x08], false), Some(("10.0.0.9:50000".to_owned(), false, who_is.clone())));
        let routed = whose(&[1, 0x08, 0, 5, 1, 0x22, 0x10, 0x08], false);
        assert_eq!(routed, Some(("10.0.0.9:50000 network 5 22".to_owned(), false, who_is.clone())));
        // to everybody, by a router; with its last hop
        let global = whose(&[1, 0x28, 0xFF, 0xFF, 0, 0, 5, 1, 0x23, 0, 0x10, 0x08], false);
        assert_eq!(global, Some(("10.0.0.9:50000 network 5 23".to_owned(), true, who_is)));
    }

    #[test]
    fn other_networks_and_garbage_are_not_taken() {
        // DNET 5, Who-Is
        assert_eq!(incoming(&[1, 0x20, 0, 5, 0, 255, 0x10, 0x08], FROM, false), Incoming::Ignored);
        // version 2, a cut DNET, SNET 0, SNET 65535, SLEN 0, SLEN 19
        let mut long = vec![1, 0x08, 0, 5, 19];
        long.extend([0; 21]);
        for bad in [
            &[2, 0, 0x10, 0x08][..],
            &[1, 0x20, 0],
            &[1, 0x08, 0, 0, 1, 9, 0x10, 0x08],
            &[1, 0x08, 255, 255, 1, 9, 0x10, 0x08],
            &[1, 0x08, 0, 5, 0, 0x10, 0x08],
            &long,
            &[],
        ] {
            assert_eq!(incoming(bad, FROM, false), Incoming::Rejected("npdu"), "{bad:02x?}");
        }
    }

    #[test]
    fn the_way_to_a_network_is_asked_for_learned_and_lost() {
        let mut networks = Networks::new(None);
        assert_eq!(networks.peer(7, &[9]), None);
        let asked = networks.ask(7, Mono::START).unwrap();
        assert_eq!((asked.kind.to_raw(), asked.data), (0, vec![0, 7]));
        assert_eq!(networks.ask(7, Mono::START), None);
        assert!(networks.ask(7, Mono::START.after(AGAIN)).is_some());
        assert_eq!(
            networks.on_message(ROUTER, NetworkMessageType::I_AM_ROUTER_TO_NETWORK, &[0, 7, 0, 8]),
            Said::Nothing
        );
        assert_eq!(networks.peer(7, &[9]).unwrap().to_string(), "10.0.0.9:50000 network 7 09");
        assert_eq!(networks.peer(8, &[]).unwrap().to_string(), "10.0.0.9:50000 network 8 ");
        // busy is no loss; another router's refusal neither
        let reject = NetworkMessageType::REJECT_MESSAGE_TO_NETWORK;
        assert_eq!(networks.on_message(ROUTER, reject, &[2, 0, 7]), Said::Refused { network: 7, reason: 2 });
        let other = Station::from(([10, 0, 0, 8], 47808));
        networks.on_message(other, reject, &[1, 0, 7]);
        assert!(networks.peer(7, &[9]).is_some());
        networks.on_message(ROUTER, reject, &[1, 0, 7]);
        assert_eq!(networks.peer(7, &[9]), None);
        for odd in [&[][..], &[0], &[0, 7, 0]] {
            assert_eq!(networks.on_message(ROUTER, NetworkMessageType::I_AM_ROUTER_TO_NETWORK, odd), Said::Malformed);
        }
        assert_eq!(networks.on_message(ROUTER, reject, &[1, 0]), Said::Malformed);
    }

    #[test]
    fn a_flood_of_routers_leaves_room_for_those_that_are_asked_for() {
        let mut networks = Networks::new(None);
        for network in 1..60_000_u16 {
            networks.on_message(ROUTER, NetworkMessageType::I_AM_ROUTER_TO_NETWORK, &network.to_be_bytes());
        }
        assert_eq!(networks.routers.len(), ROUTERS - ASKED);
        assert!(networks.ask(60_001, Mono::START).is_some());
        let network = 60_001_u16.to_be_bytes();
        networks.on_message(ROUTER, NetworkMessageType::I_AM_ROUTER_TO_NETWORK, &network);
        assert!(networks.peer(60_001, &[1]).is_some());
        assert_eq!((0..1000).filter(|n| networks.ask(60_002 + n, Mono::START).is_some()).count(), ASKED);
    }

    #[test]
    fn our_own_number_is_configured_or_learned() {
        let what = NetworkMessageType::WHAT_IS_NETWORK_NUMBER;
        let is = NetworkMessageType::NETWORK_NUMBER_IS;
        let mut networks = Networks::new(Some(258));
        let answer = Message { kind: is, data: vec![1, 2, 1] };
        assert_eq!(networks.on_message(ROUTER, what, &[]), Said::Answer(answer));
        assert_eq!(networks.on_message(ROUTER, is, &[0, 5, 1]), Said::Conflict(5));
        assert_eq!(networks.number(), Number::Configured(258));
        let mut networks = Networks::new(None);
        assert_eq!(networks.on_message(ROUTER, what, &[]), Said::Nothing);
        for odd in [&[0, 5][..], &[0, 5, 2], &[0, 0, 1], &[255, 255, 1], &[0, 5, 1, 1]] {
            assert_eq!(networks.on_message(ROUTER, is, odd), Said::Malformed);
        }
        assert_eq!(networks.number(), Number::Unknown);
        assert_eq!(networks.on_message(ROUTER, is, &[0, 5, 1]), Said::Nothing);
        assert_eq!(networks.number(), Number::Learned(5, true));
        networks.on_message(ROUTER, is, &[0, 6, 0]);
        assert_eq!(networks.number(), Number::Learned(5, true));
        assert_eq!(networks.peer(5, &[10, 0, 0, 3, 0xBA, 0xC0]).unwrap().to_string(), "10.0.0.3:47808");
        // a router passed these on: they concern another link
        assert_eq!(incoming(&[1, 0x88, 0, 9, 1, 7, 0x12], FROM, true), Incoming::Ignored);
        assert_eq!(incoming(&[1, 0xA0, 0xFF, 0xFF, 0, 255, 0x12], FROM, true), Incoming::Ignored);
    }
}
