//! One B/IP port in the role that it has: what Annex J makes of a datagram, and of a broadcast of ours. Pure; what it
//! wants to be sent goes into an outbox.

use std::net::SocketAddrV4;
use std::time::Duration;

use bacnet_bip_core::codec::{BdtEntry, Bvll, FdtEntry};
use bacnet_bip_core::node::{
    Addressed, Datagram, Delivery, Discard, Foreign, Link, Mode, Node, Path, Permissive, Received, SendRefusal,
};
use bacnet_bip_core::port::{Datagrams, Ingress, NodePort};
// A number that we make, no clock.
use bacnet_bip_core::Instant as Stamp;
use bacnet_bip_core::LocalSubnet;

use super::bbmd::Manager;
use super::link::{Arrival, Outbox};
use super::settings::{Interface, Role, Settings};
use crate::time::Mono;

/// What a datagram was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken<'d> {
    /// An NPDU for the network layer.
    Npdu {
        npdu: &'d [u8],
        /// The B/IP address that it comes from: of a forwarded one, where it was first sent.
        source: SocketAddrV4,
        /// More than we received it.
        group: bool,
    },
    /// Dealt with in here, or nothing for us and nothing wrong with it.
    Done,
    /// Not BACnet/IP, or not as it should be.
    Rejected(&'static str),
}

/// What a port shows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PortState {
    pub(super) interface: Interface,
    pub(super) role: RoleState,
}

/// The same, of its role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RoleState {
    Device,
    Foreign {
        bbmd: SocketAddrV4,
        ttl_s: u16,
        registration: Registration,
    },
    Manager {
        accept_foreign: bool,
        bdt: Vec<BdtEntry>,
        /// With the seconds that each had left at the given time.
        fdt: (Mono, Vec<FdtEntry>),
    },
}

impl PortState {
    /// Of every port, before anything has happened.
    pub(super) fn initial(settings: &Settings) -> Vec<Self> {
        let interfaces = settings.interfaces().unwrap_or_default().into_iter();
        let role = |place| match &settings.role {
            Role::Foreign { bbmd, ttl_s } if place == 0 => {
                RoleState::Foreign { bbmd: *bbmd, ttl_s: *ttl_s, registration: Registration::Asked }
            }
            Role::Manager { accept_foreign, .. } if place == 0 => {
                RoleState::Manager { accept_foreign: *accept_foreign, bdt: Vec::new(), fdt: (Mono::START, Vec::new()) }
            }
            _ => RoleState::Device,
        };
        interfaces.enumerate().map(|(place, interface)| Self { interface, role: role(place) }).collect()
    }
}

/// How it stands with our registration at a broadcast manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Registration {
    /// Asked for the first time.
    Asked,
    /// The manager distributes our broadcasts.
    Registered,
    /// The manager does not answer.
    Silent,
    /// The manager refuses us.
    Refused,
}

/// A port.
#[derive(Debug)]
pub(super) struct Port {
    interface: Interface,
    role: Works,
}

#[derive(Debug)]
enum Works {
    Device(Link),
    Foreign(Box<Registrant>),
    Manager(Box<Manager>),
}

#[derive(Debug)]
struct Registrant {
    node: NodePort<'static>,
    told: Registration,
}

/// Frames for the outbox.
pub(super) struct Out<'o>(pub(super) &'o mut Outbox);

impl Datagrams for Out<'_> {
    fn send(&mut self, to: SocketAddrV4, message: &Bvll<'_>) -> Result<(), SendRefusal> {
        let length = message.encoded_len().map_err(|_| SendRefusal::SocketError)?;
        let mut frame = vec![0; length];
        message.encode_into(&mut frame).map_err(|_| SendRefusal::SocketError)?;
        self.0.push((to, frame));
        Ok(())
    }
}

/// The family's stamps count from the start of the process, as our time does.
pub(super) fn stamp(now: Mono) -> Stamp {
    Stamp::from_nanos(u64::try_from(now.since(Mono::START).as_nanos()).unwrap_or(u64::MAX))
}

impl Port {
    /// At this address; `None` when address and role are none that Annex J knows.
    pub(super) fn new(interface: Interface, role: &Role, now: Mono) -> Option<Self> {
        let mut subnet = LocalSubnet::new(SocketAddrV4::new(interface.broadcast, interface.listen.port()));
        subnet.mask = (!interface.mask.is_broadcast()).then_some(interface.mask);
        let link = |mode| Link::new(interface.listen, subnet, mode).ok();
        let role = match role {
            Role::Device => Works::Device(link(Mode::Normal)?),
            Role::Foreign { bbmd, ttl_s } => {
                // Nothing is held for the registration: who we are is said when it is there.
                let node = Node::new(link(Mode::Foreign(Foreign::new(*bbmd, *ttl_s)))?, stamp(now)).ok()?;
                let node = NodePort::new(node, &mut []).ok()?;
                Works::Foreign(Box::new(Registrant { node, told: Registration::Asked }))
            }
            Role::Manager { peers, accept_foreign, writable } => {
                let (normal, bbmd) = (link(Mode::Normal)?, link(Mode::Bbmd)?);
                Works::Manager(Box::new(Manager::new(normal, bbmd, peers, *accept_foreign, *writable)?))
            }
        };
        Some(Self { interface, role })
    }

    /// Where it is.
    pub(super) const fn interface(&self) -> &Interface {
        &self.interface
    }

    /// Its broadcast manager, where it is one.
    pub(super) fn manager(&mut self) -> Option<&mut Manager> {
        match &mut self.role {
            Works::Manager(manager) => Some(manager),
            Works::Device(_) | Works::Foreign(_) => None,
        }
    }

    /// Whether what is broadcast now reaches anybody.
    pub(super) fn reaches(&self) -> bool {
        match &self.role {
            Works::Foreign(registrant) => registrant.told == Registration::Registered,
            Works::Device(_) | Works::Manager(_) => true,
        }
    }

    /// What a datagram holds.
    pub(super) fn receive<'d>(
        &mut self,
        payload: &'d [u8],
        source: SocketAddrV4,
        arrival: Arrival,
        now: Mono,
        out: &mut Outbox,
    ) -> Taken<'d> {
        let own = arrival == Arrival::Address;
        // A broadcast that was sent to our own address does no harm, and tools do it where there is no broadcast. A
        // manager cannot be that kind: it would carry it on.
        let strict = matches!(self.role, Works::Manager(_));
        let mut datagram = Datagram::new(payload, source, Some(Addressed { node: own, broadcast: !own || !strict }));
        if !own {
            datagram.path = Path::Listener { other_interface: false };
        }
        match &mut self.role {
            Works::Device(link) => match link.receive(&datagram, stamp(now), &mut Permissive) {
                Received::Deliver(delivery) => taken(&delivery),
                Received::Nak { to, code, .. } => {
                    // An outbox takes everything.
                    let _ = Out(out).send(to, &Bvll::BvlcResult(code));
                    Taken::Done
                }
                // Answers to what we never ask.
                Received::Response(_) | Received::Bbmd(_) => Taken::Done,
                Received::Discarded(why) => discarded(why),
            },
            Works::Foreign(registrant) => {
                ingress(registrant.node.receive(&datagram, stamp(now), &mut Permissive, &mut Out(out)))
            }
            Works::Manager(manager) => manager.receive(&datagram, own, now, out),
        }
    }

    /// Send an NPDU to everybody in our network.
    pub(super) fn broadcast(&mut self, npdu: &[u8], now: Mono, out: &mut Outbox) {
        let sent = match &mut self.role {
            Works::Device(link) => {
                link.broadcast(npdu).and_then(|(outgoing, _)| Out(out).send(outgoing.to, &outgoing.message))
            }
            Works::Foreign(registrant) => registrant.node.broadcast(npdu, stamp(now), &mut Out(out)).map(drop),
            Works::Manager(manager) => manager.broadcast(npdu, now, out),
        };
        if let Err(error) = sent {
            tracing::debug!(?error, "BACnet broadcast not sent");
        }
    }

    /// When it wants to be woken.
    pub(super) fn wake(&self) -> Option<Mono> {
        let Works::Foreign(registrant) = &self.role else { return None };
        let due = registrant.node.next_deadline()?;
        Some(Mono::from_start(Duration::from_nanos(due.as_nanos())))
    }

    /// The start, and whenever it is woken: registrations go out.
    pub(super) fn on_time(&mut self, now: Mono, out: &mut Outbox) {
        if let Works::Foreign(registrant) = &mut self.role {
            registrant.node.on_deadline(stamp(now), &mut Out(out));
        }
    }

    /// A registration that is another than when this was last asked.
    pub(super) fn news(&mut self, now: Mono) -> Option<Registration> {
        let Works::Foreign(registrant) = &mut self.role else { return None };
        let is = registrant.registration(now);
        (is != registrant.told).then(|| {
            registrant.told = is;
            is
        })
    }

    /// What it shows of itself.
    pub(super) fn state(&self, now: Mono) -> PortState {
        let role = match &self.role {
            Works::Device(_) => RoleState::Device,
            Works::Foreign(registrant) => match registrant.node.node().link().mode {
                Mode::Foreign(foreign) => RoleState::Foreign {
                    bbmd: foreign.bbmd,
                    ttl_s: foreign.ttl,
                    registration: registrant.registration(now),
                },
                Mode::Normal | Mode::Bbmd => RoleState::Device,
            },
            Works::Manager(manager) => manager.state(now),
        };
        PortState { interface: self.interface, role }
    }
}

impl Registrant {
    fn registration(&self, now: Mono) -> Registration {
        use bacnet_bip_core::node::AttemptOutcome as Outcome;
        let Some(snapshot) = self.node.node().registration(stamp(now)) else { return Registration::Asked };
        match snapshot.last_outcome {
            // A proven lease lasts, whatever became of the newest attempt.
            _ if snapshot.registered => Registration::Registered,
            Some(Outcome::Refused) => Registration::Refused,
            None | Some(Outcome::Pending) if !snapshot.first_resolved => Registration::Asked,
            // An attempt under way says nothing new.
            Some(Outcome::Pending) if self.told == Registration::Refused => Registration::Refused,
            _ => Registration::Silent,
        }
    }
}

pub(super) fn ingress(ingress: Ingress<'_>) -> Taken<'_> {
    match ingress {
        Ingress::Npdu(delivery) => taken(&delivery),
        Ingress::Handled | Ingress::Served(_) => Taken::Done,
        Ingress::Discarded(why) => discarded(why),
        Ingress::NotForwarded(_) => Taken::Rejected("not from a peer"),
    }
}

pub(super) const fn taken<'d>(delivery: &Delivery<'d>) -> Taken<'d> {
    Taken::Npdu { npdu: delivery.npdu, source: delivery.source, group: delivery.group }
}

pub(super) const fn discarded<'d>(why: Discard) -> Taken<'d> {
    match why {
        Discard::OwnEcho => Taken::Done,
        Discard::RateLimited => Taken::Rejected("rate"),
        Discard::ForwardedUntrusted => Taken::Rejected("not from a peer"),
        _ => Taken::Rejected("bvll"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const PEER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 9), 50000);
    const BBMD: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 9, 0, 1), 47808);
    const WHO_IS: [u8; 4] = [1, 0, 0x10, 0x08];

    fn at(octets: [u8; 4]) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::from(octets), 47808)
    }

    fn port(role: &Role) -> Port {
        let interface = Interface {
            listen: at([10, 0, 0, 1]),
            broadcast: Ipv4Addr::new(10, 0, 0, 255),
            mask: Ipv4Addr::new(255, 255, 255, 0),
        };
        Port::new(interface, role, Mono::START).unwrap()
    }

    fn secs(n: u64) -> Mono {
        Mono::START.after(Duration::from_secs(n))
    }

    fn bvll(function: u8, rest: &[u8]) -> Vec<u8> {
        let [high, low] = u16::try_from(4 + rest.len()).unwrap().to_be_bytes();
        [&[0x81, function, high, low], rest].concat()
    }

    fn forwarded(origin: [u8; 4]) -> Vec<u8> {
        bvll(4, &[&origin[..], &[0xBA, 0xC0], &WHO_IS].concat())
    }

    /// What a datagram brings up, and what it sends.
    fn give(port: &mut Port, frame: &[u8], from: SocketAddrV4, arrival: Arrival, now: Mono) -> (String, Outbox) {
        let mut out = Outbox::new();
        let what = match port.receive(frame, from, arrival, now, &mut out) {
            Taken::Npdu { source, group, .. } => format!("{source} {}", if group { "group" } else { "alone" }),
            Taken::Done => "done".to_owned(),
            Taken::Rejected(why) => why.to_owned(),
        };
        (what, out)
    }

    #[test]
    fn a_device_takes_what_is_for_it_and_refuses_what_only_a_manager_does() {
        let mut port = port(&Role::Device);
        let mut what = |frame: &[u8], from, arrival| give(&mut port, frame, from, arrival, Mono::START);
        let (unicast, broadcast) = (bvll(0x0A, &WHO_IS), bvll(0x0B, &WHO_IS));
        assert_eq!(what(&unicast, PEER, Arrival::Address).0, "10.0.0.9:50000 alone");
        assert_eq!(what(&broadcast, PEER, Arrival::Broadcast).0, "10.0.0.9:50000 group");
        // where there is no broadcast, tools send it to the address
        assert_eq!(what(&broadcast, PEER, Arrival::Address).0, "10.0.0.9:50000 group");
        assert_eq!(what(&forwarded([10, 1, 1, 1]), PEER, Arrival::Broadcast).0, "10.1.1.1:47808 group");
        assert_eq!(what(&unicast, PEER, Arrival::Broadcast).0, "bvll");
        assert_eq!(what(&broadcast, at([10, 0, 0, 1]), Arrival::Broadcast).0, "done");
        assert_eq!(what(&forwarded([10, 0, 0, 1]), PEER, Arrival::Broadcast).0, "done");
        // a group as origin: an answer would go to everybody
        assert_eq!(what(&forwarded([10, 0, 0, 255]), PEER, Arrival::Broadcast).0, "bvll");
        assert_eq!(what(&unicast, at([10, 0, 0, 255]), Arrival::Address).0, "bvll");
        // each with its own NAK, and none for what was broadcast
        for (function, rest, nak) in [
            (1, &[][..], 0x10),
            (2, &[], 0x20),
            (5, &[0, 60], 0x30),
            (6, &[], 0x40),
            (8, &[10, 0, 0, 7, 0xBA, 0xC0], 0x50),
            (9, &WHO_IS, 0x60),
        ] {
            let request = bvll(function, rest);
            let refused = ("done".to_owned(), vec![(PEER, bvll(0, &[0, nak]))]);
            assert_eq!(what(&request, PEER, Arrival::Address), refused);
            assert_eq!(what(&request, PEER, Arrival::Broadcast), ("bvll".to_owned(), Outbox::new()));
        }
        for garbage in [&b""[..], b"\x81", b"\x82\x0a\0\x04", b"\x81\x0a\0\x09\x01\0", b"\x81\x0c\0\x04"] {
            assert_eq!(what(garbage, PEER, Arrival::Address), ("bvll".to_owned(), Outbox::new()), "{garbage:02x?}");
        }
    }

    #[test]
    fn a_foreign_device_registers_renews_and_comes_back_after_its_manager() {
        let mut port = port(&Role::Foreign { bbmd: BBMD, ttl_s: 60 });
        let mut out = Outbox::new();
        port.on_time(Mono::START, &mut out);
        let ask = vec![(BBMD, bvll(5, &[0, 60]))];
        assert_eq!(std::mem::take(&mut out), ask);
        assert!(!port.reaches());
        // Somebody else's word is nothing.
        give(&mut port, &bvll(0, &[0, 0]), PEER, Arrival::Address, Mono::START);
        assert_eq!(port.news(Mono::START), None);
        give(&mut port, &bvll(0, &[0, 0]), BBMD, Arrival::Address, Mono::START);
        assert_eq!(port.news(Mono::START), Some(Registration::Registered));
        assert!(port.reaches());
        port.broadcast(&WHO_IS, Mono::START, &mut out);
        assert_eq!(std::mem::take(&mut out), [(BBMD, bvll(9, &WHO_IS))]);
        // broadcasts come from its manager alone
        assert_eq!(
            give(&mut port, &forwarded([10, 1, 1, 1]), BBMD, Arrival::Address, secs(1)).0,
            "10.1.1.1:47808 group"
        );
        assert_eq!(give(&mut port, &forwarded([10, 1, 1, 1]), PEER, Arrival::Address, secs(1)).0, "not from a peer");
        // at half of its time
        assert_eq!(port.wake(), Some(secs(30)));
        port.on_time(secs(30), &mut out);
        assert_eq!(std::mem::take(&mut out), ask);
        give(&mut port, &bvll(0, &[0, 0]), BBMD, Arrival::Address, secs(30));
        assert_eq!(port.news(secs(30)), None);
        // the manager was started again, and has forgotten us
        port.broadcast(&WHO_IS, secs(40), &mut out);
        out.clear();
        let (_, out) = give(&mut port, &bvll(0, &[0, 0x60]), BBMD, Arrival::Address, secs(40));
        assert_eq!(out, ask);
    }

    #[test]
    fn a_silent_manager_is_asked_again_ever_slower_and_a_refusal_is_told() {
        let mut port = port(&Role::Foreign { bbmd: BBMD, ttl_s: 600 });
        let (mut out, mut tries, mut now) = (Outbox::new(), Vec::new(), Mono::START);
        port.on_time(now, &mut out);
        while now < secs(3600) {
            now = port.wake().unwrap();
            let before = out.len();
            port.on_time(now, &mut out);
            if out.len() > before {
                tries.push(now);
            }
        }
        assert_eq!(port.news(now), Some(Registration::Silent));
        let gaps: Vec<u64> = tries.windows(2).map(|two| two[1].since(two[0]).as_secs()).collect();
        assert!(gaps.is_sorted() && gaps[0] < 20 && gaps[gaps.len() - 1] == 300, "{gaps:?}");
        give(&mut port, &bvll(0, &[0, 0x30]), BBMD, Arrival::Address, now);
        assert_eq!(port.news(now), Some(Registration::Refused));
        assert!(!port.reaches());
        // a new attempt is no news until it is answered
        let now = port.wake().unwrap();
        port.on_time(now, &mut out);
        assert_eq!(port.news(now), None);
        give(&mut port, &bvll(0, &[0, 0]), BBMD, Arrival::Address, now);
        assert_eq!(port.news(now), Some(Registration::Registered));
    }

    fn manager(writable: bool) -> Port {
        let two_hops = (at([10, 0, 2, 1]), Ipv4Addr::BROADCAST);
        let one_hop = (at([10, 0, 3, 1]), Ipv4Addr::new(255, 255, 255, 0));
        port(&Role::Manager { peers: vec![two_hops, one_hop], accept_foreign: true, writable })
    }

    fn targets(out: &Outbox) -> Vec<String> {
        out.iter().map(|(to, frame)| format!("{} {to}", frame[1])).collect()
    }

    #[test]
    fn a_manager_passes_on_each_broadcast_once_and_never_back() {
        let mut port = manager(false);
        let device = at([10, 9, 9, 9]);
        let registered = give(&mut port, &bvll(5, &[0, 60]), device, Arrival::Address, Mono::START);
        assert_eq!(registered.1, [(device, bvll(0, &[0, 0]))]);

        // of our subnet: to the peers and the foreign device
        let (what, out) = give(&mut port, &bvll(0x0B, &WHO_IS), PEER, Arrival::Broadcast, Mono::START);
        assert_eq!(what, "10.0.0.9:50000 group");
        assert_eq!(targets(&out), ["4 10.0.2.1:47808", "4 10.0.3.255:47808", "4 10.9.9.9:47808"]);
        assert_eq!(out[0].1, bvll(4, &[&[10, 0, 0, 9, 0xC3, 0x50], &WHO_IS[..]].concat()));

        // of a peer, to us alone: to our subnet and the foreign device
        let (what, out) = give(&mut port, &forwarded([10, 0, 2, 7]), at([10, 0, 2, 1]), Arrival::Address, Mono::START);
        assert_eq!(what, "10.0.2.7:47808 group");
        assert_eq!(targets(&out), ["4 10.0.0.255:47808", "4 10.9.9.9:47808"]);
        // of a peer, to our subnet: that has heard it
        let arrival = Arrival::Broadcast;
        let (what, out) = give(&mut port, &forwarded([10, 0, 3, 7]), at([10, 0, 3, 1]), arrival, Mono::START);
        assert_eq!((what.as_str(), targets(&out)), ("10.0.3.7:47808 group", vec!["4 10.9.9.9:47808".to_owned()]));
        // our own comes back by way of the subnet; a stranger forwards something
        let (what, out) = give(&mut port, &forwarded([10, 0, 2, 7]), at([10, 0, 0, 1]), arrival, Mono::START);
        assert_eq!((what.as_str(), out.len()), ("done", 0));
        let (what, out) = give(&mut port, &forwarded([10, 0, 2, 7]), PEER, Arrival::Address, Mono::START);
        assert_eq!((what.as_str(), out.len()), ("not from a peer", 0));
        // a broadcast that was sent to us alone is not spread
        let (what, out) = give(&mut port, &bvll(0x0B, &WHO_IS), PEER, Arrival::Address, Mono::START);
        assert_eq!((what.as_str(), out.len()), ("bvll", 0));

        // of the foreign device: everywhere but back
        let (what, out) = give(&mut port, &bvll(9, &WHO_IS), device, Arrival::Address, Mono::START);
        assert_eq!(what, "10.9.9.9:47808 group");
        assert_eq!(targets(&out), ["4 10.0.0.255:47808", "4 10.0.2.1:47808", "4 10.0.3.255:47808"]);
        // of one that is not registered: not at all
        let (what, out) = give(&mut port, &bvll(9, &WHO_IS), at([10, 9, 9, 8]), Arrival::Address, Mono::START);
        assert_eq!((what.as_str(), out), ("done", vec![(at([10, 9, 9, 8]), bvll(0, &[0, 0x60]))]));

        // our own
        let mut out = Outbox::new();
        port.broadcast(&WHO_IS, Mono::START, &mut out);
        let everybody = ["11 10.0.0.255:47808", "4 10.0.2.1:47808", "4 10.0.3.255:47808", "4 10.9.9.9:47808"];
        assert_eq!(targets(&out), everybody);
        // The registration ends 30 s after its time (Annex J.5.2.3).
        out.clear();
        port.broadcast(&WHO_IS, secs(91), &mut out);
        assert_eq!(targets(&out), everybody[..3]);
    }

    #[test]
    fn tables_are_read_and_changed_and_bounded() {
        let mut port = manager(false);
        let [one, two] = [at([10, 9, 9, 1]), at([10, 9, 9, 2])];
        give(&mut port, &bvll(5, &[0, 60]), one, Arrival::Address, Mono::START);
        give(&mut port, &bvll(5, &[0xFF, 0xFF]), two, Arrival::Address, secs(1));
        let (_, out) = give(&mut port, &bvll(6, &[]), PEER, Arrival::Address, secs(10));
        let rows = [&[10, 9, 9, 1, 0xBA, 0xC0, 0, 60, 0, 80][..], &[10, 9, 9, 2, 0xBA, 0xC0, 0xFF, 0xFF, 0xFF, 0xFF]];
        assert_eq!(out, [(PEER, bvll(7, &rows.concat()))]);
        let (_, out) = give(&mut port, &bvll(2, &[]), PEER, Arrival::Address, secs(10));
        let rows = [
            [10, 0, 2, 1, 0xBA, 0xC0, 255, 255, 255, 255],
            [10, 0, 3, 1, 0xBA, 0xC0, 255, 255, 255, 0],
            [10, 0, 0, 1, 0xBA, 0xC0, 255, 255, 255, 255],
        ];
        assert_eq!(out, [(PEER, bvll(3, &rows.concat()))]);
        let delete = bvll(8, &[10, 9, 9, 1, 0xBA, 0xC0]);
        let (_, out) = give(&mut port, &delete, PEER, Arrival::Address, secs(10));
        assert_eq!(out, [(PEER, bvll(0, &[0, 0]))]);
        let (_, out) = give(&mut port, &delete, PEER, Arrival::Address, secs(10));
        assert_eq!(out, [(PEER, bvll(0, &[0, 0x50]))]);
        // a time of 0 is none
        let (_, out) = give(&mut port, &bvll(5, &[0, 0]), one, Arrival::Address, secs(10));
        assert_eq!(out, [(one, bvll(0, &[0, 0x30]))]);
        // not writable: refused, as the present standard wants it of everybody
        let write = bvll(1, &[10, 0, 4, 1, 0xBA, 0xC0, 255, 255, 255, 255]);
        let (_, out) = give(&mut port, &write, PEER, Arrival::Address, secs(10));
        assert_eq!(out, [(PEER, bvll(0, &[0, 0x10]))]);
        assert_eq!(port.manager().unwrap().take_written(), None);

        // one address takes a few places, all together the table, and a flood of requests gets fewer answers
        let mut accepted = 0;
        for n in 0..10_000_u32 {
            let [_, _, high, low] = n.to_be_bytes();
            let from = SocketAddrV4::new(Ipv4Addr::new(10, 9, high, 50), 1024 + u16::from(low));
            let (_, out) = give(&mut port, &bvll(5, &[0, 60]), from, Arrival::Address, secs(20 + u64::from(n / 40)));
            accepted += out.iter().filter(|(_, frame)| frame[5] == 0).count();
        }
        let RoleState::Manager { fdt: (_, fdt), .. } = port.state(secs(270)).role else { panic!() };
        assert_eq!(fdt.len(), 128);
        assert!(accepted >= 128);
        let asked = (0..1000).map(|_| give(&mut port, &bvll(6, &[]), PEER, Arrival::Address, secs(300)).1.len());
        assert_eq!(asked.sum::<usize>(), 50);
        // who is registered is renewed all the same
        let (_, out) = give(&mut port, &bvll(5, &[0, 60]), two, Arrival::Address, secs(300));
        assert_eq!(out, [(two, bvll(0, &[0, 0]))]);
    }

    #[test]
    fn a_storm_is_heard_but_not_passed_on() {
        let mut port = manager(false);
        let (mut heard, mut sent) = (0, 0);
        for _ in 0..5000 {
            let (what, out) = give(&mut port, &bvll(0x0B, &WHO_IS), PEER, Arrival::Broadcast, Mono::START);
            heard += usize::from(what.ends_with("group"));
            sent += out.len();
        }
        assert_eq!((heard, sent), (5000, 400));
        let (what, out) = give(&mut port, &forwarded([10, 0, 2, 7]), at([10, 0, 2, 1]), Arrival::Address, Mono::START);
        assert_eq!((what.as_str(), out.len()), ("rate", 0));
    }

    #[test]
    fn a_written_table_is_kept_until_the_configuration_changes() {
        let mut port = manager(true);
        for bad in [
            // two masks for one address, no single device, cut short
            &[[10, 0, 4, 1, 0xBA, 0xC0, 255, 255, 255, 255], [10, 0, 4, 1, 0xBA, 0xC0, 255, 255, 255, 0]].concat()[..],
            &[255, 255, 255, 255, 0xBA, 0xC0, 255, 255, 255, 255],
            &[10, 0, 4, 1, 0xBA],
            &(1..=65).flat_map(|n| [10, 0, 5, n, 0xBA, 0xC0, 255, 255, 255, 255]).collect::<Vec<u8>>(),
        ] {
            let (_, out) = give(&mut port, &bvll(1, bad), PEER, Arrival::Address, Mono::START);
            assert_eq!(out, [(PEER, bvll(0, &[0, 0x10]))], "{bad:?}");
            assert_eq!(port.manager().unwrap().take_written(), None);
        }
        let write = bvll(1, &[10, 0, 4, 1, 0xBA, 0xC0, 255, 255, 255, 255]);
        let (_, out) = give(&mut port, &write, PEER, Arrival::Address, Mono::START);
        assert_eq!(out, [(PEER, bvll(0, &[0, 0]))]);
        let kept = port.manager().unwrap().take_written().unwrap();
        assert_eq!(port.manager().unwrap().take_written(), None);
        let peers = |port: &mut Port| {
            let mut out = Outbox::new();
            port.broadcast(&WHO_IS, Mono::START, &mut out);
            targets(&out[1..].to_vec())
        };
        assert_eq!(peers(&mut port), ["4 10.0.4.1:47808"]);

        let mut again = manager(true);
        assert!(again.manager().unwrap().restore(&kept));
        assert_eq!(peers(&mut again), ["4 10.0.4.1:47808"]);
        let mut refusing = manager(false);
        assert!(!refusing.manager().unwrap().restore(&kept));
        let interface = *again.interface();
        let role = Role::Manager { peers: Vec::new(), accept_foreign: true, writable: true };
        let mut changed = Port::new(interface, &role, Mono::START).unwrap();
        assert!(!changed.manager().unwrap().restore(&kept));
        for odd in [&[][..], &[200], &kept[..kept.len() - 1]] {
            assert!(!again.manager().unwrap().restore(odd));
        }
        assert_eq!(peers(&mut again), ["4 10.0.4.1:47808"]);
    }

    #[test]
    fn roles_that_cannot_be_are_refused() {
        let interface = *port(&Role::Device).interface();
        let none = |role: &Role| Port::new(interface, role, Mono::START).is_none();
        assert!(none(&Role::Foreign { bbmd: interface.listen, ttl_s: 60 }));
        assert!(none(&Role::Foreign { bbmd: at([10, 0, 0, 255]), ttl_s: 60 }));
        assert!(none(&Role::Foreign { bbmd: BBMD, ttl_s: 0 }));
        let peer = (at([10, 0, 2, 0]), Ipv4Addr::new(255, 255, 255, 0));
        assert!(none(&Role::Manager { peers: vec![peer], accept_foreign: true, writable: false }));
    }
}
