//! What is subscribed at a device, and what it tells.

use std::time::Duration;

use super::super::reading::{self, Flags, reading};
use super::super::wire::{Ask, Found};
use super::super::{CallError, Datum};
use super::watched::Subscription;
use super::{Job, Machine, News, property};
use crate::plant::{Cov, ObjectRef, PRESENT_VALUE};
use crate::point::Update;
use crate::time::Mono;

/// How long a subscription lasts; it is renewed at half of it.
const LIFETIME: Duration = Duration::from_secs(300);
/// When a refused subscription is tried again.
const REFUSED_FOR: Duration = Duration::from_secs(300);

impl Machine {
    pub(super) fn subscribing(&self) -> bool {
        self.in_flight.values().any(|job| matches!(job, Job::Subscribe(_)))
    }

    /// One subscription at a time: reads have the other places.
    pub(super) fn subscribe(&mut self, now: Mono) -> Option<(Ask, Job)> {
        if !self.cov || self.subscribing() {
            return None;
        }
        let lifetime = u32::try_from(LIFETIME.as_secs()).unwrap_or(u32::MAX);
        for (place, point) in self.points.iter_mut().enumerate() {
            let due = match point.subscription {
                Subscription::Wanted => true,
                Subscription::Live { renew } => now >= renew,
                Subscription::Refused { again } => now >= again,
                Subscription::No | Subscription::Asking => false,
            };
            if !due {
                continue;
            }
            let increment = match point.place.cov {
                #[expect(clippy::cast_possible_truncation, reason = "the service takes a REAL")]
                Cov::Increment(increment) => Some(increment as f32),
                _ => None,
            };
            let standard = point.place.property == PRESENT_VALUE;
            let special = increment.is_some() || !standard;
            let property = (self.cov_property && special).then_some((point.place.property, increment));
            if property.is_none() && !standard {
                point.subscription = Subscription::No;
                continue;
            }
            point.subscription = Subscription::Asking;
            let (process, object, confirmed) = (self.process, point.place.object, point.confirmed);
            let ask = Ask::Subscribe { process, object, confirmed, lifetime, property };
            return Some((ask, Job::Subscribe(place)));
        }
        None
    }

    pub(super) fn resubscribe(&mut self) {
        for point in &mut self.points {
            point.suspect = false;
            if matches!(point.subscription, Subscription::Live { .. }) {
                point.subscription = Subscription::Wanted;
                point.told = None;
            }
        }
    }

    pub(super) fn on_subscribed(&mut self, place: usize, answer: &Result<Vec<Found>, CallError>, now: Mono) {
        let Some(point) = self.points.get_mut(place) else { return };
        point.subscription = match answer {
            Ok(_) => Subscription::Live { renew: now.after(LIFETIME / 2) },
            Err(CallError::Rejected(9)) => {
                // unrecognized-service
                if self.cov_property && (point.place.cov != Cov::Own || point.place.property != PRESENT_VALUE) {
                    self.cov_property = false;
                } else {
                    self.cov = false;
                }
                Subscription::Wanted
            }
            Err(_) if point.confirmed => {
                point.confirmed = false;
                Subscription::Wanted
            }
            Err(_) => {
                point.confirmed = true;
                self.news.push(News::Failure("subscription refused"));
                Subscription::Refused { again: now.after(REFUSED_FOR) }
            }
        };
        if !self.cov {
            self.points.iter_mut().for_each(|point| point.subscription = Subscription::No);
        }
    }

    /// A notification of ours.
    pub(in crate::bacnet::client) fn on_told(&mut self, object: ObjectRef, values: &[(u32, Datum)]) {
        if !self.is_up() {
            return;
        }
        let said = |property: u32| values.iter().find(|value| value.0 == property).map(|value| &value.1);
        let flags = said(property::STATUS_FLAGS).and_then(Flags::of).unwrap_or_default();
        for point in self.points.iter_mut().filter(|point| point.place.object == object) {
            let Some(datum) = said(point.place.property) else { continue };
            let found = Ok(datum.clone());
            // Which fault it is, only a read can say.
            point.due |= flags.fault;
            point.overtaken |= point.reading;
            point.suspect = false;
            point.told = reading::value(&point.place, point.kind, datum).ok();
            let reading = reading(&point.place, point.kind, &found, flags, None);
            self.updates.push(Update { point: point.id, reading });
        }
    }
}
