//! Change of value (clause 13.1): who asked to be told of which object, and what each was told last. What to tell is
//! the difference between that and the newest image.

use std::time::Duration;

use bacnet_services::common::BACnetPropertyValue;
use bacnet_services::cov::COVNotificationRequest;
use bacnet_types::enums::PropertyIdentifier;
use bytes::BytesMut;

use super::answer::Failure;
use super::link::Peer;
use super::objects::{View, Wire, present, status_flags, subscribable};
use crate::time::Mono;

/// Most subscriptions. One peer may have as many as are still free, so that there is always room for another.
const CAPACITY: usize = 2048;

/// What a subscriber was told last.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Told {
    value: Wire,
    flags: u8,
}

/// Names a subscription while a confirmed notification is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Serial(u64);

/// One subscription.
#[derive(Debug)]
pub(super) struct Subscription {
    serial: Serial,
    pub(super) peer: Peer,
    pub(super) process: u32,
    /// The object, by its place in the catalog.
    pub(super) place: usize,
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

/// What is asked by a SubscribeCOV that is no cancellation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) peer: Peer,
    pub(super) process: u32,
    pub(super) place: usize,
    pub(super) confirmed: bool,
    /// `None`: for ever.
    pub(super) lifetime: Option<Duration>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    list: Vec<Subscription>,
    next: u64,
    earliest: Option<Mono>,
}

impl Subscriptions {
    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Subscription> {
        self.list.iter()
    }

    /// When the next one ends.
    pub(super) const fn wake(&self) -> Option<Mono> {
        self.earliest
    }

    /// Begin or renew in place; its first notification follows with the next [`Self::due`].
    pub(super) fn subscribe(&mut self, wish: &Wish, now: Mono) -> Result<(), Failure> {
        let until = wish.lifetime.map(|lifetime| now.after(lifetime));
        match self.find(&wish.peer, wish.process, wish.place) {
            Some(old) => {
                old.confirmed = wish.confirmed;
                old.until = until;
                old.told = None;
            }
            None => {
                let of_peer = self.list.iter().filter(|subscription| subscription.peer == wish.peer).count();
                if of_peer >= CAPACITY.saturating_sub(self.list.len()) {
                    return Err(Failure::NO_SPACE);
                }
                self.next += 1;
                self.list.push(Subscription {
                    serial: Serial(self.next),
                    peer: wish.peer,
                    process: wish.process,
                    place: wish.place,
                    confirmed: wish.confirmed,
                    until,
                    told: None,
                    waiting: false,
                });
            }
        }
        self.reckon();
        Ok(())
    }

    /// End; one that is not there was ended before (clause 13.14.1.1.4).
    pub(super) fn cancel(&mut self, peer: &Peer, process: u32, place: usize) {
        self.list.retain(|s| !(s.peer == *peer && s.process == process && s.place == place));
        self.reckon();
    }

    /// Forget those whose time has come.
    pub(super) fn expire(&mut self, now: Mono) {
        if self.earliest.is_some_and(|earliest| earliest <= now) {
            self.list.retain(|subscription| subscription.until.is_none_or(|until| until > now));
            self.reckon();
        }
    }

    fn find(&mut self, peer: &Peer, process: u32, place: usize) -> Option<&mut Subscription> {
        self.list.iter_mut().find(|s| s.place == place && s.process == process && s.peer == *peer)
    }

    fn reckon(&mut self) {
        self.earliest = self.list.iter().filter_map(|subscription| subscription.until).min();
    }

    /// The answer to a confirmed notification came, or none.
    pub(super) fn answered(&mut self, serial: Serial) {
        if let Some(subscription) = self.list.iter_mut().find(|subscription| subscription.serial == serial) {
            subscription.waiting = false;
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
    pub(super) fn tell(&mut self, due: Vec<Due>) -> Vec<Notification> {
        let mut out = Vec::with_capacity(due.len());
        for Due { place, told, request } in due {
            let Some(subscription) = self.list.get_mut(place) else { continue };
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

/// The difference between what subscribers were told and the image in view.
pub(super) fn due(view: &View<'_>) -> Vec<Due> {
    let mut due = Vec::new();
    for (place, subscription) in view.subscriptions.list.iter().enumerate() {
        if subscription.waiting {
            continue;
        }
        let Some(entry) = view.catalog.entries().get(subscription.place) else { continue };
        let Some(shown) = view.shown(entry) else { continue };
        let new =
            Told { value: present(shown.def, shown.face, shown.state), flags: status_flags(shown.def, shown.state) };
        let quiet = subscription
            .told
            .is_some_and(|old| old.flags == new.flags && !old.value.moved(new.value, shown.increment()));
        let Some(device) = view.catalog.device() else { continue };
        if quiet {
            continue;
        }
        let value = |property, write: &dyn Fn(&mut BytesMut)| {
            let mut value = BytesMut::with_capacity(12);
            write(&mut value);
            BACnetPropertyValue {
                property_identifier: property,
                property_array_index: None,
                value: value.to_vec(),
                priority: None,
            }
        };
        let request = COVNotificationRequest {
            subscriber_process_identifier: subscription.process,
            initiating_device_identifier: device,
            monitored_object_identifier: entry.id,
            time_remaining: subscription.remaining(view.now.mono),
            list_of_values: vec![
                value(PropertyIdentifier::PRESENT_VALUE, &|out| new.value.encode(out)),
                value(PropertyIdentifier::STATUS_FLAGS, &|out| {
                    bacnet_encoding::primitives::encode_app_bit_string(out, 4, &[new.flags]);
                }),
            ],
        };
        due.push(Due { place, told: new, request });
    }
    due
}

/// The object that a SubscribeCOV names: its place in the catalog, when it reports changes.
pub(super) fn place(view: &View<'_>, id: bacnet_types::primitives::ObjectIdentifier) -> Result<usize, Failure> {
    let place = view.catalog.place(id).ok_or(Failure::UNKNOWN_OBJECT)?;
    let shown = view.catalog.entries().get(place).and_then(|entry| view.shown(entry));
    if shown.is_some_and(|shown| subscribable(shown.face)) { Ok(place) } else { Err(Failure::NO_COV) }
}
