//! Change of value (clause 13.1): who asked to be told of what, and what each was told last. What to tell is the
//! difference between that and the newest image.

use std::collections::HashMap;
use std::time::Duration;

use bacnet_services::common::BACnetPropertyValue;
use bacnet_services::cov::COVNotificationRequest;
use bacnet_types::enums::PropertyIdentifier as P;
use bacnet_types::primitives::ObjectIdentifier;
use bytes::BytesMut;

use super::answer::Failure;
use super::link::Peer;
use super::objects::{Entry, View, Wire, property, subscribable, wire};
use super::settings::{APDU_TIMEOUT, RETRIES};
use crate::time::Mono;

/// Most subscriptions.
const CAPACITY: usize = 4096;
/// What every peer may have while there is room at all, and how many are kept free for it: 64 peers have their share,
/// whatever others took. Beyond its share a peer may have as many as are still free of the rest.
const SHARE: usize = 16;
const KEPT_FREE: usize = 64 * SHARE;
/// How long a peer is left alone that answered none of the tries, at first and at most; it doubles.
const REST: Duration = Duration::from_secs(30);
const REST_MAX: Duration = Duration::from_secs(300);
/// How long one notification may be under way, with all its tries.
const UNDER_WAY: Duration = Duration::from_millis(APDU_TIMEOUT.as_millis() as u64 * (RETRIES as u64 + 1) + 1000);

/// What is watched of an object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Watch {
    /// What its type reports (table 13-1): SubscribeCOV.
    Object,
    /// One property: SubscribeCOVProperty.
    Property {
        property: P,
        index: Option<u32>,
        /// The subscriber's own increment.
        step: Option<f64>,
    },
}

impl Watch {
    /// The same context (clauses 13.14.1.1, 13.15.1.1): a subscription to it is renewed, not added.
    fn is(self, other: Self) -> bool {
        match (self, other) {
            (Self::Object, Self::Object) => true,
            (Self::Property { property, index, .. }, Self::Property { property: p, index: i, .. }) => {
                (property, index) == (p, i)
            }
            _ => false,
        }
    }

    /// What Active_COV_Subscriptions and notifications name.
    pub(super) const fn property(self) -> (P, Option<u32>) {
        match self {
            Self::Object => (P::PRESENT_VALUE, None),
            Self::Property { property, index, .. } => (property, index),
        }
    }
}

/// A value as it was told.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    One(Wire),
    /// Several, or of a type that has no increment: as encoded.
    Octets(BytesMut),
}

impl Value {
    fn moved(&self, new: &Self, increment: f64) -> bool {
        match (self, new) {
            (Self::One(old), Self::One(new)) => old.moved(*new, increment),
            _ => self != new,
        }
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            Self::One(wire) => {
                let mut out = BytesMut::with_capacity(12);
                wire.encode(&mut out);
                out.to_vec()
            }
            Self::Octets(octets) => octets.to_vec(),
        }
    }
}

/// What a subscriber was told last.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    value: Value,
    /// Status_Flags, where the object has them.
    flags: Option<u8>,
}

/// Names a subscription while a confirmed notification is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Serial(u64);

/// One subscription.
#[derive(Debug)]
pub(super) struct Subscription {
    serial: Serial,
    pub(super) peer: Peer,
    pub(super) process: u32,
    /// The object, by its place in the catalog.
    pub(super) place: usize,
    pub(super) watch: Watch,
    pub(super) confirmed: bool,
    /// `None`: for ever.
    until: Option<Mono>,
    told: Option<Told>,
    /// A confirmed notification is not answered yet: what changes meanwhile is told afterwards, once.
    waiting: bool,
}

impl Subscription {
    /// Seconds left; 0 is for ever, so the last second counts as 1.
    pub(super) fn remaining(&self, now: Mono) -> u32 {
        self.until.map_or(0, |until| {
            let left = until.since(now);
            u32::try_from(left.as_secs() + u64::from(left.subsec_nanos() > 0)).unwrap_or(u32::MAX).max(1)
        })
    }

    /// The increment by which a number must move.
    pub(super) fn increment(&self, view: &View<'_>, entry: &Entry) -> f64 {
        match self.watch {
            Watch::Property { step: Some(step), .. } => step,
            Watch::Property { property, .. } if property != P::PRESENT_VALUE => 0.0,
            _ => view.shown(entry).map_or(0.0, |shown| shown.increment()),
        }
    }

    /// What is to be told now; `None` where there is nothing to tell of.
    fn now(&self, view: &View<'_>, entry: &Entry) -> Option<Told> {
        let shown = view.shown(entry);
        let flags = match &shown {
            Some(shown) => Some(shown.flags()),
            None => {
                let mut out = BytesMut::new();
                // a bit string of one octet: tag, unused bits, flags
                property(view, entry, P::STATUS_FLAGS, None, &mut out).ok().and_then(|()| out.get(2).copied())
            }
        };
        let (watched, index) = self.watch.property();
        let value = match (&shown, self.watch) {
            (Some(shown), Watch::Object) => Value::One(shown.value()),
            _ => {
                let mut out = BytesMut::with_capacity(16);
                property(view, entry, watched, index, &mut out).ok()?;
                wire(&out).map_or(Value::Octets(out), Value::One)
            }
        };
        Some(Told { value, flags })
    }
}

/// A notification to send.
#[derive(Debug)]
pub(super) struct Notification {
    pub(super) serial: Serial,
    pub(super) peer: Peer,
    pub(super) confirmed: bool,
    /// Service parameters.
    pub(super) params: BytesMut,
}

/// What a request about a subscription asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) peer: Peer,
    pub(super) process: u32,
    pub(super) place: usize,
    pub(super) watch: Watch,
    /// `None`: it is to end.
    pub(super) confirmed: Option<bool>,
    /// `None`: for ever.
    pub(super) lifetime: Option<Duration>,
}

impl Wish {
    /// Whether it is about this subscription.
    fn means(&self, one: &Subscription) -> bool {
        one.place == self.place && one.process == self.process && one.peer == self.peer && one.watch.is(self.watch)
    }
}

/// A peer that answers no confirmed notification.
#[derive(Debug)]
struct Silence {
    /// Left alone until then; afterwards one notification at a time probes it.
    until: Mono,
    times: u32,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    list: Vec<Subscription>,
    next: u64,
    earliest: Option<Mono>,
    /// Peers with subscriptions that are silent.
    silent: HashMap<Peer, Silence>,
    /// The next end of a rest.
    probe: Option<Mono>,
}

impl Subscriptions {
    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Subscription> {
        self.list.iter()
    }

    /// When the next one ends, or a silent peer has been left alone for long enough.
    pub(super) fn wake(&self) -> Option<Mono> {
        [self.earliest, self.probe].into_iter().flatten().min()
    }

    /// Begin or renew in place; its first notification follows with the next [`due`].
    pub(super) fn subscribe(&mut self, wish: &Wish, confirmed: bool, now: Mono) -> Result<Serial, Failure> {
        let until = wish.lifetime.map(|lifetime| now.after(lifetime));
        let serial = match self.find(wish) {
            Some(old) => {
                old.watch = wish.watch;
                old.confirmed = confirmed;
                old.until = until;
                old.told = None;
                old.serial
            }
            None => {
                let of_peer = self.list.iter().filter(|subscription| subscription.peer == wish.peer).count();
                let free = CAPACITY.saturating_sub(self.list.len());
                if free == 0 || of_peer >= SHARE && of_peer >= free.saturating_sub(KEPT_FREE) {
                    return Err(Failure::NO_SPACE);
                }
                self.next += 1;
                self.list.push(Subscription {
                    serial: Serial(self.next),
                    peer: wish.peer,
                    process: wish.process,
                    place: wish.place,
                    watch: wish.watch,
                    confirmed,
                    until,
                    told: None,
                    waiting: false,
                });
                Serial(self.next)
            }
        };
        self.reckon();
        Ok(serial)
    }

    /// End; one that is not there was ended before (clause 13.14.1.1.4).
    pub(super) fn cancel(&mut self, wish: &Wish) {
        self.list.retain(|one| !wish.means(one));
        self.reckon();
    }

    /// Forget those whose time has come.
    pub(super) fn expire(&mut self, now: Mono) {
        if self.earliest.is_some_and(|earliest| earliest <= now) {
            self.list.retain(|subscription| subscription.until.is_none_or(|until| until > now));
            self.reckon();
        }
    }

    /// Whether a rest has just ended: then there may be something to tell.
    pub(super) fn rested(&mut self, now: Mono) -> bool {
        let over = self.probe.is_some_and(|probe| probe <= now);
        if over {
            self.probe = self.silent.values().map(|silence| silence.until).filter(|until| *until > now).min();
        }
        over
    }

    fn find(&mut self, wish: &Wish) -> Option<&mut Subscription> {
        self.list.iter_mut().find(|one| wish.means(one))
    }

    fn reckon(&mut self) {
        self.earliest = self.list.iter().filter_map(|subscription| subscription.until).min();
        let Self { list, silent, .. } = self;
        silent.retain(|peer, _| list.iter().any(|subscription| subscription.peer == *peer));
    }

    /// The answer to a confirmed notification came.
    pub(super) fn answered(&mut self, serial: Serial) {
        if let Some(subscription) = self.list.iter_mut().find(|subscription| subscription.serial == serial) {
            subscription.waiting = false;
            self.silent.remove(&subscription.peer);
        }
    }

    /// No answer came to any of the tries: its peer is left alone for a while. Its subscriptions stay, until their time
    /// comes; what changed is told when it is there again.
    pub(super) fn unanswered(&mut self, serial: Serial, now: Mono) {
        let Some(subscription) = self.list.iter_mut().find(|subscription| subscription.serial == serial) else {
            return;
        };
        subscription.waiting = false;
        subscription.told = None;
        let silence = self.silent.entry(subscription.peer).or_insert(Silence { until: now, times: 0 });
        // Those that were under way beside it found the same silence.
        if silence.times == 0 || silence.until <= now.after(UNDER_WAY) {
            let rest = REST.saturating_mul(1 << silence.times.min(8)).min(REST_MAX);
            silence.times = silence.times.saturating_add(1);
            silence.until = now.after(rest);
            self.probe = self.silent.values().map(|silence| silence.until).filter(|until| *until > now).min();
        }
    }

    /// A peer has been heard.
    pub(super) fn heard(&mut self, peer: &Peer) {
        if !self.silent.is_empty() {
            self.silent.remove(peer);
        }
    }

    /// A confirmed notification could not be sent: it is due again.
    pub(super) fn unsent(&mut self, serial: Serial) {
        if let Some(subscription) = self.list.iter_mut().find(|subscription| subscription.serial == serial) {
            subscription.waiting = false;
            subscription.told = None;
        }
    }

    /// Mark as told, and hand out what to send.
    pub(super) fn tell(&mut self, due: Vec<Due>, now: Mono) -> Vec<Notification> {
        let mut out = Vec::with_capacity(due.len());
        for Due { place, told, request } in due {
            let Some(subscription) = self.list.get_mut(place) else { continue };
            if subscription.confirmed
                && let Some(silence) = self.silent.get_mut(&subscription.peer)
            {
                if silence.until > now {
                    continue;
                }
                // The probe.
                silence.until = now.after(UNDER_WAY);
            }
            subscription.told = Some(told);
            subscription.waiting = subscription.confirmed;
            let mut params = BytesMut::with_capacity(64);
            request.encode(&mut params);
            out.push(Notification {
                serial: subscription.serial,
                peer: subscription.peer,
                confirmed: subscription.confirmed,
                params,
            });
        }
        out
    }
}

/// One subscriber that must be told.
pub(super) struct Due {
    /// Its place in the list.
    place: usize,
    told: Told,
    request: COVNotificationRequest,
}

/// The difference between what subscribers were told and the image in view; of one of them, or of all.
pub(super) fn due(view: &View<'_>, only: Option<Serial>) -> Vec<Due> {
    let mut due = Vec::new();
    let subscriptions = view.subscriptions;
    for (place, subscription) in subscriptions.list.iter().enumerate() {
        if subscription.waiting || only.is_some_and(|only| only != subscription.serial) {
            continue;
        }
        let resting = || subscriptions.silent.get(&subscription.peer).is_some_and(|s| s.until > view.now.mono);
        if subscription.confirmed && !subscriptions.silent.is_empty() && resting() {
            continue;
        }
        let Some(entry) = view.catalog.entries().get(subscription.place) else { continue };
        let Some(new) = subscription.now(view, entry) else { continue };
        let quiet = subscription.told.as_ref().is_some_and(|old| {
            old.flags == new.flags && !old.value.moved(&new.value, subscription.increment(view, entry))
        });
        let Some(device) = view.catalog.device() else { continue };
        if quiet {
            continue;
        }
        let value = |property, index, value| BACnetPropertyValue {
            property_identifier: property,
            property_array_index: index,
            value,
            priority: None,
        };
        let (watched, index) = subscription.watch.property();
        let mut list_of_values = vec![value(watched, index, new.value.encode())];
        if let Some(flags) = new.flags.filter(|_| watched != P::STATUS_FLAGS) {
            // a bit string of four bits
            list_of_values.push(value(P::STATUS_FLAGS, None, vec![0x82, 4, flags]));
        }
        let request = COVNotificationRequest {
            subscriber_process_identifier: subscription.process,
            initiating_device_identifier: device,
            monitored_object_identifier: entry.id,
            time_remaining: subscription.remaining(view.now.mono),
            list_of_values,
        };
        due.push(Due { place, told: new, request });
    }
    due
}

/// The object that a SubscribeCOV names: its place in the catalog, when it reports changes.
pub(super) fn place(view: &View<'_>, id: ObjectIdentifier) -> Result<usize, Failure> {
    let place = view.catalog.place(id).ok_or(Failure::UNKNOWN_OBJECT)?;
    let shown = view.catalog.entries().get(place).and_then(|entry| view.shown(entry));
    if shown.is_some_and(|shown| subscribable(shown.face)) { Ok(place) } else { Err(Failure::NO_COV) }
}

/// What a SubscribeCOVProperty names, when it can change (clause 13.15.1.3.1): the place of its object.
pub(super) fn property_place(
    view: &View<'_>,
    id: ObjectIdentifier,
    watched: P,
    index: Option<u32>,
) -> Result<usize, Failure> {
    let place = view.catalog.place(id).ok_or(Failure::UNKNOWN_OBJECT)?;
    let entry = view.catalog.entries().get(place).ok_or(Failure::UNKNOWN_OBJECT)?;
    let mut out = BytesMut::new();
    match property(view, entry, watched, index, &mut out) {
        // It has no value yet, and may come to one.
        Ok(()) | Err(Failure::NO_VALUE) => {}
        Err(failure) => return Err(failure),
    }
    let reported = matches!(
        watched,
        P::PRESENT_VALUE
            | P::STATUS_FLAGS
            | P::EVENT_STATE
            | P::RELIABILITY
            | P::OUT_OF_SERVICE
            | P::PRIORITY_ARRAY
            | P::CURRENT_COMMAND_PRIORITY
            | P::COV_INCREMENT
    );
    if reported { Ok(place) } else { Err(Failure::NOT_COV) }
}
