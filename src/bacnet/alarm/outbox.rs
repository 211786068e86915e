//! Notifications on their way: a queue for each recipient, so that a dead one costs its own queue and delays nobody.
//! Confirmed ones go one at a time and in order, and are tried again at a back-off when nobody answers.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use bacnet_npdu::{GLOBAL_NETWORK, Mac};
use bacnet_types::enums::{ConfirmedServiceChoice, UnconfirmedServiceChoice};
use bacnet_types::primitives::ObjectIdentifier;
use bytes::Bytes;

use crate::bacnet::link::{Peer, Route, Station};
use crate::bacnet::requester::Outcome;
use crate::bacnet::settings::{APDU_TIMEOUT, RETRIES};
use crate::time::Mono;

/// Notifications that wait for one recipient; beyond it the oldest of the same object goes first.
const QUEUE: usize = 32;
/// Recipients that something waits for; as many as the lists of some classes hold.
const LANES: usize = 256;
/// Confirmed notifications under way: they leave room for other requests of ours.
const UNDER_WAY: usize = 64;
/// Routers that are remembered, one for each network.
const ROUTERS: usize = 64;
/// First pause after a recipient did not answer; it doubles.
const PAUSE: Duration = Duration::from_secs(10);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How often an answer of Abort is taken for "not now".
const ABORTS: u8 = 5;

/// Whom a destination names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::bacnet) enum To {
    /// A device, wherever it is.
    Device(u32),
    /// An address on our link.
    Link(Station),
    /// An address behind a router.
    Behind(Route),
    /// Everybody on our link, on another network, or everywhere.
    Everybody(Option<u16>),
}

impl To {
    /// Of a BACnetAddress (clause 21): network 0 is our own link, and no MAC is everybody there.
    pub(super) fn address(network: u16, mac: &[u8]) -> Option<Self> {
        match (network, mac) {
            (0, []) => Some(Self::Everybody(None)),
            (GLOBAL_NETWORK, _) => Some(Self::Everybody(Some(GLOBAL_NETWORK))),
            (0, &[a, b, c, d, high, low]) => {
                let ip = Ipv4Addr::new(a, b, c, d);
                let port = u16::from_be_bytes([high, low]);
                let usable = !ip.is_unspecified() && port != 0;
                usable.then_some(Self::Link(([a, b, c, d], port).into()))
            }
            (0, _) => None,
            (network, []) => Some(Self::Everybody(Some(network))),
            (network, mac) => Mac::from_slice(mac).ok().map(|mac| Self::Behind(Route { network, mac })),
        }
    }
}

/// One notification.
#[derive(Debug)]
struct Item {
    object: ObjectIdentifier,
    /// Of what is not confirmed.
    service: UnconfirmedServiceChoice,
    confirmed: bool,
    params: Bytes,
    aborts: u8,
}

/// What waits for one recipient.
#[derive(Debug)]
struct Lane {
    to: To,
    queue: VecDeque<Item>,
    /// The first of the queue is under way.
    under_way: Option<u64>,
    /// Nothing is tried before.
    not_before: Mono,
    pause: Duration,
    /// Who-Is that were sent without an answer.
    asked: u8,
}

/// What the world is to do.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::bacnet) enum Post {
    /// Ask where a device is.
    Find(u32),
    /// An unconfirmed notification to one.
    Tell(Peer, UnconfirmedServiceChoice, Bytes),
    /// An unconfirmed notification to many.
    Shout(Option<u16>, UnconfirmedServiceChoice, Bytes),
    /// A confirmed notification; [`Outbox::refused`] when there is no room, else [`Outbox::ended`].
    Ask(Peer, u64, Bytes),
}

/// All of it.
#[derive(Debug, Default)]
pub(in crate::bacnet) struct Outbox {
    lanes: Vec<Lane>,
    bound: HashMap<u32, Peer>,
    routers: HashMap<u16, Station>,
    serial: u64,
}

/// The service of a confirmed one.
pub(in crate::bacnet) const SERVICE: ConfirmedServiceChoice = ConfirmedServiceChoice::CONFIRMED_EVENT_NOTIFICATION;

impl Outbox {
    /// Put an event notification in. False: another one had to go for it, or it found no room.
    pub(super) fn push(&mut self, to: To, object: ObjectIdentifier, confirmed: bool, params: Bytes, now: Mono) -> bool {
        self.put(to, object, UnconfirmedServiceChoice::UNCONFIRMED_EVENT_NOTIFICATION, confirmed, params, now)
    }

    /// The same of another service where it is not confirmed.
    pub(super) fn put(
        &mut self,
        to: To,
        object: ObjectIdentifier,
        service: UnconfirmedServiceChoice,
        confirmed: bool,
        params: Bytes,
        now: Mono,
    ) -> bool {
        // Nobody confirms a broadcast.
        let confirmed = confirmed && !matches!(to, To::Everybody(_));
        let item = Item { object, service, confirmed, params, aborts: 0 };
        let place = match self.lanes.iter().position(|lane| lane.to == to) {
            Some(place) => place,
            None if self.lanes.len() >= LANES => return false,
            None => {
                let queue = VecDeque::new();
                self.lanes.push(Lane { to, queue, under_way: None, not_before: now, pause: PAUSE, asked: 0 });
                self.lanes.len() - 1
            }
        };
        let Some(lane) = self.lanes.get_mut(place) else { return false };
        let full = lane.queue.len() >= QUEUE;
        if full {
            let fixed = usize::from(lane.under_way.is_some());
            let same = lane.queue.iter().skip(fixed).position(|item| item.object == object);
            lane.queue.remove(same.unwrap_or(0) + fixed);
        }
        lane.queue.push_back(item);
        !full
    }

    /// Everything that can go now.
    pub(super) fn pump(&mut self, now: Mono) -> Vec<Post> {
        let mut posts = Vec::new();
        let mut under_way = self.lanes.iter().filter(|lane| lane.under_way.is_some()).count();
        for lane in &mut self.lanes {
            while lane.under_way.is_none()
                && lane.not_before <= now
                && let Some(item) = lane.queue.front()
            {
                let peer = match lane.to {
                    To::Link(address) => Peer::local(address),
                    To::Behind(route) => behind(&self.routers, route),
                    To::Device(device) => match self.bound.get(&device) {
                        Some(peer) => *peer,
                        None => {
                            posts.push(Post::Find(device));
                            lane.asked = lane.asked.saturating_add(1);
                            lane.not_before = now.after(APDU_TIMEOUT);
                            if lane.asked > RETRIES {
                                lane.rest(now);
                            }
                            break;
                        }
                    },
                    To::Everybody(network) => {
                        posts.push(Post::Shout(network, item.service, item.params.clone()));
                        lane.queue.pop_front();
                        continue;
                    }
                };
                if !item.confirmed {
                    posts.push(Post::Tell(peer, item.service, item.params.clone()));
                    lane.queue.pop_front();
                } else if under_way < UNDER_WAY {
                    under_way += 1;
                    self.serial += 1;
                    lane.under_way = Some(self.serial);
                    posts.push(Post::Ask(peer, self.serial, item.params.clone()));
                } else {
                    // Its turn comes when another one has been answered, and after this at the latest.
                    lane.not_before = now.after(APDU_TIMEOUT);
                }
            }
        }
        self.lanes.retain(|lane| !lane.queue.is_empty());
        posts
    }

    /// A confirmed one found no room among our requests.
    pub(in crate::bacnet) fn refused(&mut self, serial: u64, now: Mono) {
        if let Some(lane) = self.lane(serial) {
            lane.under_way = None;
            lane.not_before = now.after(APDU_TIMEOUT);
        }
    }

    /// A confirmed one has ended. False: the recipient did not take it, and it is given up.
    pub(in crate::bacnet) fn ended(&mut self, serial: u64, outcome: &Outcome, now: Mono) -> bool {
        let mut gone = None;
        let Some(lane) = self.lane(serial) else { return true };
        lane.under_way = None;
        let again = match outcome {
            Outcome::Silent => {
                gone = Some(lane.to);
                true
            }
            // Out of resources, or busy in its own way.
            Outcome::Aborted(_) => lane.queue.front_mut().is_some_and(|item| {
                item.aborts += 1;
                item.aborts < ABORTS
            }),
            Outcome::Done(_) | Outcome::Error(..) | Outcome::Rejected(_) => false,
        };
        if again {
            lane.rest(now);
        } else {
            lane.queue.pop_front();
            lane.pause = PAUSE;
            lane.not_before = now;
        }
        match gone {
            // It may have moved.
            Some(To::Device(device)) => drop(self.bound.remove(&device)),
            Some(To::Behind(route)) => drop(self.routers.remove(&route.network)),
            _ => {}
        }
        again || matches!(outcome, Outcome::Done(_))
    }

    fn lane(&mut self, serial: u64) -> Option<&mut Lane> {
        self.lanes.iter_mut().find(|lane| lane.under_way == Some(serial))
    }

    /// A device says where it is: only those that something waits for, or that are known, are remembered.
    pub(in crate::bacnet) fn found(&mut self, device: u32, peer: Peer, now: Mono) -> bool {
        let lane = self.lanes.iter_mut().find(|lane| lane.to == To::Device(device));
        let waited = lane.is_some();
        if let Some(lane) = lane.filter(|lane| lane.under_way.is_none()) {
            lane.asked = 0;
            lane.pause = PAUSE;
            lane.not_before = now;
        }
        if self.bound.contains_key(&device) || waited && self.bound.len() < LANES {
            self.bound.insert(device, peer);
        }
        waited
    }

    /// Something came through a router: it leads to that network.
    pub(in crate::bacnet) fn heard(&mut self, peer: &Peer) {
        let Some(route) = &peer.route else { return };
        let wanted = |lane: &Lane| matches!(lane.to, To::Behind(other) if other.network == route.network);
        if self.routers.contains_key(&route.network) || self.routers.len() < ROUTERS && self.lanes.iter().any(wanted) {
            self.routers.insert(route.network, peer.link);
        }
    }

    /// Nothing is sent any more to whom no list names.
    pub(super) fn only(&mut self, named: impl Fn(&To) -> bool) {
        self.lanes.retain(|lane| named(&lane.to));
        self.bound.retain(|device, _| named(&To::Device(*device)));
    }

    /// When something is tried again.
    pub(super) fn wake(&self) -> Option<Mono> {
        let waits = |lane: &&Lane| lane.under_way.is_none() && !lane.queue.is_empty();
        self.lanes.iter().filter(waits).map(|lane| lane.not_before).min()
    }
}

impl Lane {
    fn rest(&mut self, now: Mono) {
        self.asked = 0;
        self.not_before = now.after(self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

/// Through the router that is known, or through whichever hears a broadcast on our link (clause 6.5.3).
fn behind(routers: &HashMap<u16, Station>, route: Route) -> Peer {
    let link = routers.get(&route.network).copied().unwrap_or(Peer::ANY_ROUTER);
    Peer { link, route: Some(route) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bacnet_types::enums::ObjectType;

    fn object(instance: u32) -> ObjectIdentifier {
        ObjectIdentifier::new(ObjectType::BINARY_INPUT, instance).unwrap()
    }

    const EVENT: UnconfirmedServiceChoice = UnconfirmedServiceChoice::UNCONFIRMED_EVENT_NOTIFICATION;

    fn params(n: u8) -> Bytes {
        Bytes::copy_from_slice(&[n])
    }

    fn link(port: u16) -> To {
        To::Link(([10, 0, 0, 9], port).into())
    }

    fn peer(port: u16) -> Peer {
        Peer::local(([10, 0, 0, 9], port).into())
    }

    fn later(now: Mono, seconds: u64) -> Mono {
        now.after(Duration::from_secs(seconds))
    }

    #[test]
    fn confirmed_ones_go_one_by_one_and_in_order() {
        let (mut outbox, now) = (Outbox::default(), Mono::START);
        for n in 1..=3 {
            assert!(outbox.push(link(1), object(1), true, params(n), now));
        }
        assert_eq!(outbox.pump(now), [Post::Ask(peer(1), 1, params(1))]);
        assert!(outbox.pump(now).is_empty());
        assert!(outbox.ended(1, &Outcome::Done(Bytes::new()), now));
        assert_eq!(outbox.pump(now), [Post::Ask(peer(1), 2, params(2))]);
        assert!(!outbox.ended(2, &Outcome::Error(1, 2), now), "it will not take it the next time either");
        assert_eq!(outbox.pump(now), [Post::Ask(peer(1), 3, params(3))]);
        outbox.ended(3, &Outcome::Done(Bytes::new()), now);
        assert!(outbox.pump(now).is_empty());
        assert_eq!(outbox.wake(), None);
    }

    #[test]
    fn a_dead_recipient_has_its_own_bounded_queue_and_delays_nobody() {
        let (mut outbox, mut now) = (Outbox::default(), Mono::START);
        outbox.push(link(1), object(0), true, params(0), now);
        assert_eq!(outbox.pump(now).len(), 1);
        let lost = (0..200).filter(|n| !outbox.push(link(1), object(*n), true, params(1), now)).count();
        assert_eq!(lost, 200 - (QUEUE - 1));
        outbox.push(link(2), object(1), true, params(9), now);
        assert_eq!(outbox.pump(now), [Post::Ask(peer(2), 2, params(9))]);
        assert!(outbox.ended(2, &Outcome::Done(Bytes::new()), now));
        // It is tried again, ever more rarely, with what it has not had.
        let mut serial = 1;
        for pause in [10, 20, 40, 80, 160, 300, 300] {
            assert!(outbox.ended(serial, &Outcome::Silent, now));
            assert_eq!(outbox.wake(), Some(later(now, pause)));
            assert!(outbox.pump(now).is_empty());
            now = later(now, pause);
            let posts = outbox.pump(now);
            assert!(matches!(posts.as_slice(), [Post::Ask(to, _, what)] if *to == peer(1) && *what == params(0)));
            serial = outbox.serial;
        }
    }

    #[test]
    fn the_newest_of_an_object_stays_when_a_queue_is_full() {
        let (mut outbox, now) = (Outbox::default(), Mono::START);
        for n in 0..QUEUE {
            outbox.push(link(1), object(u32::try_from(n).unwrap()), true, params(0), now);
        }
        outbox.pump(now);
        assert!(!outbox.push(link(1), object(5), true, params(77), now));
        let lane = &outbox.lanes[0];
        assert_eq!(lane.queue.len(), QUEUE);
        assert_eq!(lane.queue.iter().filter(|item| item.object == object(5)).count(), 1);
        assert_eq!(lane.queue.back().unwrap().params, params(77));
        assert_eq!(lane.queue[0].object, object(0), "what is under way stays");
    }

    #[test]
    fn a_device_is_looked_for_and_found_again_when_it_has_moved() {
        let (mut outbox, mut now) = (Outbox::default(), Mono::START);
        outbox.push(To::Device(7), object(1), true, params(1), now);
        for _ in 0..4 {
            assert_eq!(outbox.pump(now), [Post::Find(7)]);
            assert!(outbox.pump(now).is_empty());
            now = now.after(APDU_TIMEOUT);
        }
        assert!(outbox.pump(now).is_empty(), "a pause");
        assert!(!outbox.found(8, peer(8), now), "nobody waits for that one");
        assert!(outbox.found(7, peer(1), now));
        let [Post::Ask(to, serial, _)] = outbox.pump(now)[..] else { panic!() };
        assert_eq!(to, peer(1));
        outbox.ended(serial, &Outcome::Silent, now);
        now = later(now, 10);
        assert_eq!(outbox.pump(now), [Post::Find(7)]);
        outbox.found(7, peer(2), now);
        assert!(matches!(outbox.pump(now)[..], [Post::Ask(to, ..)] if to == peer(2)));
        assert_eq!(outbox.bound.len(), 1);
    }

    #[test]
    fn broadcasts_are_never_confirmed_and_other_networks_go_through_a_router() {
        let (mut outbox, now) = (Outbox::default(), Mono::START);
        outbox.push(To::Everybody(Some(5)), object(1), true, params(1), now);
        assert_eq!(outbox.pump(now), [Post::Shout(Some(5), EVENT, params(1))]);
        let Some(to @ To::Behind(route)) = To::address(5, &[7]) else { panic!() };
        outbox.push(to, object(1), true, params(2), now);
        let [Post::Ask(first, serial, _)] = outbox.pump(now)[..] else { panic!() };
        assert_eq!(first, Peer { link: Peer::ANY_ROUTER, route: Some(route) });
        outbox.heard(&Peer { link: ([10, 0, 0, 1], 47808).into(), route: Some(route) });
        outbox.ended(serial, &Outcome::Done(Bytes::new()), now);
        outbox.push(to, object(1), false, params(3), now);
        let [Post::Tell(second, EVENT, _)] = outbox.pump(now)[..] else { panic!() };
        assert_eq!(second.link, ([10, 0, 0, 1], 47808).into());
    }

    #[test]
    fn an_address_that_no_frame_reaches_is_none() {
        assert_eq!(To::address(0, &[1, 2, 3]), None);
        assert_eq!(To::address(0, &[0, 0, 0, 0, 0xba, 0xc0]), None);
        assert_eq!(To::address(0, &[10, 0, 0, 1, 0, 0]), None);
        assert_eq!(To::address(0, &[]), Some(To::Everybody(None)));
        assert_eq!(To::address(65535, &[]), Some(To::Everybody(Some(65535))));
    }

    #[test]
    fn aborts_mean_not_now_but_not_for_ever() {
        let (mut outbox, mut now) = (Outbox::default(), Mono::START);
        outbox.push(link(1), object(1), true, params(1), now);
        outbox.push(link(1), object(1), true, params(2), now);
        for n in 1..=ABORTS {
            assert!(matches!(outbox.pump(now)[..], [Post::Ask(..)]));
            assert_eq!(outbox.ended(outbox.serial, &Outcome::Aborted(9), now), n < ABORTS);
            now = later(now, 300);
        }
        assert!(matches!(&outbox.pump(now)[..], [Post::Ask(_, _, what)] if *what == params(2)));
    }

    #[test]
    fn who_is_struck_off_the_lists_gets_nothing_more() {
        let (mut outbox, now) = (Outbox::default(), Mono::START);
        outbox.push(link(1), object(1), true, params(1), now);
        outbox.pump(now);
        outbox.only(|to| *to != link(1));
        assert!(outbox.ended(1, &Outcome::Silent, now));
        assert_eq!(outbox.wake(), None);
    }
}
