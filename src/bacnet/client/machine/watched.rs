//! What is known of one point of a device: how it is read, how it is subscribed, what was told.

use std::time::Duration;

use super::super::Datum;
use super::super::reading::{Flags, reading};
use super::super::wire::Found;
use crate::plant::{Cov, Device, DevicePoint, ObjectClass, PRESENT_VALUE, Plant, PropertyPlace};
use crate::point::{Kind, PointId, Update, Value};
use crate::ports::Batch;
use crate::time::Mono;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subscription {
    /// It is polled.
    No,
    Wanted,
    Asking,
    Live {
        renew: Mono,
    },
    Refused {
        again: Mono,
    },
}

#[derive(Debug)]
pub(super) struct Watched {
    pub(super) id: PointId,
    pub(super) kind: Kind,
    pub(super) place: PropertyPlace,
    /// Of so many polls.
    pub(super) every: usize,
    pub(super) due: bool,
    pub(super) reading: bool,
    /// A notification came while it was read: the answer may be older.
    pub(super) overtaken: bool,
    pub(super) has_flags: bool,
    pub(super) has_reliability: bool,
    /// COV_Increment in the point's unit, where changes below it are not told; `None`: any change is.
    pub(super) increment: Increment,
    pub(super) subscription: Subscription,
    pub(super) confirmed: bool,
    /// What the device told last.
    pub(super) told: Option<Value>,
    /// It was found to differ once.
    pub(super) suspect: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Increment {
    /// Every change is told.
    Every,
    Unread,
    Known(f64),
    /// The device does not say.
    Hidden,
}

impl Watched {
    /// A point of a device that is polled so often; `None` where it is no property.
    pub(super) fn new(
        plant: &Plant,
        device: &Device,
        read: &DevicePoint,
        poll: Duration,
        wall: &dyn Fn(Duration) -> Duration,
    ) -> Option<Self> {
        let (place, def) = (read.property()?.clone(), plant.point(read.point)?);
        let analog = matches!(place.object.class(), ObjectClass::Analog | ObjectClass::Large | ObjectClass::Count);
        let increment = match place.cov {
            Cov::Increment(increment) => Increment::Known(increment * place.scale.abs()),
            _ if place.property == PRESENT_VALUE && !analog => Increment::Every,
            _ => Increment::Unread,
        };
        let standard = place.property == PRESENT_VALUE;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts of floats saturate")]
        let every = wall(read.poll.unwrap_or(device.poll)).div_duration_f64(poll).round() as usize;
        Some(Self {
            every: every.max(1),
            id: read.point,
            kind: def.kind,
            due: true,
            reading: false,
            overtaken: false,
            has_flags: standard,
            has_reliability: standard,
            increment,
            subscription: Subscription::No,
            confirmed: true,
            told: None,
            suspect: false,
            place,
        })
    }

    /// What was read; true when the device tells nothing any more.
    pub(super) fn settle(&mut self, found: Vec<Found>, updates: &mut Batch) -> bool {
        self.reading = false;
        let mut found = found.into_iter();
        let Some(value) = found.next() else { return false };
        let flags = if self.has_flags { found.next() } else { None };
        let reliability = if self.has_reliability { found.next() } else { None };
        if self.increment == Increment::Unread
            && let Some(increment) = found.next()
        {
            self.increment = match increment {
                Ok(Datum::Real(by)) if by.is_finite() => Increment::Known(f64::from(by) * self.place.scale.abs()),
                Ok(Datum::Double(by)) if by.is_finite() => Increment::Known(by * self.place.scale.abs()),
                #[expect(clippy::cast_precision_loss, reason = "a threshold")]
                Ok(Datum::Unsigned(by)) => Increment::Known(by as f64 * self.place.scale.abs()),
                _ => Increment::Hidden,
            };
        }
        // What an object does not have is not asked again.
        self.has_flags &= !matches!(flags, Some(Err(_)));
        self.has_reliability &= !matches!(reliability, Some(Err(_)));
        if self.overtaken {
            self.due = true;
            return false;
        }
        let flags = flags.and_then(Result::ok).as_ref().and_then(Flags::of).unwrap_or_default();
        let reliability = match reliability {
            Some(Ok(Datum::Enumerated(reliability))) => Some(reliability),
            _ => None,
        };
        let reading = reading(&self.place, self.kind, &value, flags, reliability);
        updates.push(Update { point: self.id, reading });
        let now = reading.value();
        if !matches!(self.subscription, Subscription::Live { .. }) {
            return false;
        }
        let (Some(now), Some(told)) = (now, self.told) else {
            self.told = self.told.or(now);
            return false;
        };
        let untold = match self.increment {
            Increment::Every => now != told,
            // A change of exactly the increment is told; a float may not be.
            Increment::Known(by) => (now.as_f64() - told.as_f64()).abs() > by * 1.001 + 1e-6,
            Increment::Unread | Increment::Hidden => false,
        };
        let lost = untold && self.suspect;
        self.suspect = untold;
        lost
    }
}
