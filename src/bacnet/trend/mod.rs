//! Trend logs (clause 12.25): records of points, made from the image, read by ReadRange.

mod keep;
mod log;
mod record;
mod ring;

#[cfg(test)]
mod tests;

pub(super) use keep::KEYS;
pub(super) use log::{Change, Log, Logging};

use std::collections::HashMap;

use bytes::BytesMut;

use super::answer::Failure;
use super::objects::{Simulated, increment, present, status_flags};
use crate::durable::Keepsake;
use crate::plant::{Plant, ServiceObject};
use crate::point::{Fault, Image, Reading};
use crate::time::{Mono, Now};
use keep::Keeper;
use log::Seen;
use record::Datum;

/// A log and what it logs.
#[derive(Debug)]
pub(super) struct Trend {
    /// The face whose Present_Value it logs, by its place in the plant.
    pub(super) face: usize,
    pub(super) log: Log,
    keeper: Keeper,
}

/// What a client wrote that rules what is logged, by the place of a face.
pub(super) struct Written<'a> {
    /// COV_Increment, where it is another one than the mapping's.
    pub(super) increment: &'a dyn Fn(usize) -> Option<f64>,
    /// What it shows while it is out of service.
    pub(super) simulated: &'a dyn Fn(usize) -> Option<Simulated>,
}

/// All trend logs.
#[derive(Debug, Default)]
pub(super) struct Trends {
    list: Vec<Trend>,
    /// By their place among the plant's service objects.
    places: HashMap<usize, usize>,
    /// The image that was looked at last.
    seen: u64,
    /// Its time: what is written happens then.
    now: Now,
    /// What came from an earlier life and is not taken in yet.
    kept: HashMap<String, Vec<u8>>,
}

impl Trends {
    /// Those of a plant. A log whose point is no object is left out; the mapping's checks let none through.
    pub(super) fn new(plant: &Plant) -> Self {
        let mut trends = Self::default();
        for (place, service) in plant.bacnet_services.iter().enumerate() {
            let ServiceObject::TrendLog { instance, point, records, .. } = service else { continue };
            let Some(face) = plant.bacnet.iter().position(|face| face.point == *point) else { continue };
            let capacity = usize::try_from(*records).unwrap_or(usize::MAX);
            trends.places.insert(place, trends.list.len());
            trends.list.push(Trend { face, log: Log::new(capacity), keeper: Keeper::new(*instance) });
        }
        trends
    }

    /// A keepsake of an earlier life; all of them come before [`Self::revive`].
    pub(super) fn restore(&mut self, key: &str, value: &[u8]) {
        self.kept.insert(key.to_owned(), value.to_vec());
    }

    /// Every log goes on where an earlier life left it.
    pub(super) fn revive(&mut self, now: Now) {
        self.now = now;
        let kept = std::mem::take(&mut self.kept);
        for trend in &mut self.list {
            if let Some(log) = trend.keeper.restore(trend.log.capacity(), &kept) {
                trend.log = log;
            }
        }
    }

    /// The log of a service object, by its place in the plant.
    pub(super) fn get(&self, place: usize) -> Option<&Trend> {
        self.list.get(*self.places.get(&place)?)
    }

    /// Do what was written.
    pub(super) fn apply(&mut self, place: usize, change: Change) {
        let found = self.places.get(&place).and_then(|place| self.list.get_mut(*place));
        if let Some(trend) = found {
            trend.log.apply(change, self.now);
        }
    }

    /// A look at a new image. `now` is the image's, with the device's own civil time.
    pub(super) fn on_image(&mut self, plant: &Plant, image: &Image, now: Now, written: &Written<'_>) {
        if self.seen == image.seq {
            return;
        }
        self.seen = image.seq;
        self.now = now;
        for trend in &mut self.list {
            let Some(face) = plant.bacnet.get(trend.face) else { continue };
            let Some(def) = plant.point(face.point) else { continue };
            let state = image.get(face.point);
            let simulated = (written.simulated)(trend.face).map(|shown| Datum::Value(shown.value, shown.flags()));
            let real = || match state.map_or(Reading::Bad(Fault::NeverRead), crate::point::PointState::reading) {
                // "None" is a value of a command.
                Reading::Bad(Fault::Absent) if def.commandable().is_some() => {
                    Datum::Value(present(def, face, state), status_flags(def, state))
                }
                Reading::Bad(Fault::NeverRead) => Datum::Failure(Failure::NO_VALUE),
                Reading::Bad(_) => Datum::Failure(Failure::GOING_DOWN),
                Reading::Good(_) | Reading::Uncertain(..) => {
                    Datum::Value(present(def, face, state), status_flags(def, state))
                }
            };
            let increment = (written.increment)(trend.face).unwrap_or_else(|| increment(face));
            trend.log.step(Seen { datum: simulated.unwrap_or_else(real), increment }, now);
        }
    }

    /// What is to be kept now; everything when the process ends.
    pub(super) fn keep(&mut self, last: bool, now: Mono) -> Vec<Keepsake> {
        self.list.iter_mut().flat_map(|trend| trend.keeper.flush(&trend.log, last, now)).collect()
    }
}

/// Append the record at a position from 1 as the protocol writes it.
pub(super) fn put_record(log: &Log, position: usize, out: &mut BytesMut) {
    if let Some(record) = log.record(position) {
        record.encode(out);
    }
}
