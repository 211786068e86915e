//! What the device holds of its own and a BACnet client may write: not points, so the engine knows nothing of it.
//! COV_Increment, the clock and Database_Revision survive a restart.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bacnet_types::constructed::BACnetRecipient;
use bacnet_types::primitives::ObjectIdentifier;
use bytes::BytesMut;

use super::alarm;
use super::civil::DateTime;
use super::clock::Clock;
use super::objects::{Body, Catalog, Service, Simulated};
use super::restart::{self, Reason, Restart};
use super::shed::{self, Sheds};
use super::trend::{self, Trends, Written};
use crate::durable::Keepsake;
use crate::plant::Plant;
use crate::point::Image;
use crate::time::{Mono, Now, Utc};

/// Keepsakes of what is kept here, behind `own/`.
const KEYS: &str = "own";
const INCREMENTS: &str = "own/increments";
const CLOCK: &str = "own/clock";
const DATABASE: &str = "own/database";
/// Whether the last life ended in order.
const ENDED: &str = "own/ended";
const TOLD: &str = "own/restart-recipients";
/// A step of the clock that is worth a write to the disk, ms.
const WORTH_KEEPING: u64 = 1_000;
/// Between two writes to the disk: a client that writes all the time must not wear it out.
const KEEP_REST: Duration = Duration::from_secs(2);
/// Octets of one increment that is kept: identifier and Double.
const KEPT: usize = 12;

/// A checked write to something of the device's own: it cannot fail any more.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    /// What alarms hold.
    Alarm(alarm::Change),
    /// COV_Increment of a face, by its place in the plant, in its unit.
    Increment {
        /// Place of the face.
        face: usize,
        /// Its object.
        object: ObjectIdentifier,
        /// 0 or more.
        step: f64,
    },
    /// Something of a trend log, by its place among the plant's service objects.
    Trend {
        /// Place of the service object.
        place: usize,
        /// What.
        change: trend::Change,
    },
    /// Something of a load control.
    Shed {
        /// Place of the service object.
        place: usize,
        /// What.
        change: shed::Change,
    },
    /// UTC_Offset, minutes.
    Offset(i32),
    /// Restart_Notification_Recipients.
    Recipients(Vec<BACnetRecipient>),
    /// Out_Of_Service of a face, by its place in the plant, and what it shows then.
    Service {
        /// Place of the face.
        face: usize,
        /// Its object.
        object: ObjectIdentifier,
        /// What.
        service: Service,
    },
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Own {
    increments: HashMap<usize, (ObjectIdentifier, f64)>,
    pub(super) clock: Clock,
    /// Faces out of service; a restart puts them back.
    simulated: HashMap<usize, Simulated>,
    /// Fingerprint of the objects at the last start, and Database_Revision then.
    database: Option<(u64, u32)>,
    /// What of this was changed and is not kept yet.
    unkept: BTreeMap<&'static str, Vec<u8>>,
    /// Nothing of it is kept before.
    rest_until: Mono,
    pub(super) trends: Trends,
    pub(super) sheds: Sheds,
    pub(super) restart: Restart,
    /// The life before this one ended in order.
    ended: bool,
}

impl Own {
    /// Of a plant.
    pub(super) fn new(plant: &Plant) -> Self {
        Self { trends: Trends::new(plant), sheds: Sheds::new(plant), ..Self::default() }
    }

    /// A keepsake of an earlier life; false when it is nobody's.
    pub(super) fn restore(&mut self, key: &str, value: &[u8], catalog: &Catalog) -> bool {
        match key.split('/').next() {
            Some(KEYS) => self.restore_own(key, value, catalog),
            Some(trend::KEYS) => self.trends.restore(key, value),
            Some(shed::KEYS) => self.sheds.restore(key, value),
            _ => return false,
        }
        true
    }

    /// All keepsakes have come.
    pub(super) fn revive(&mut self, image: &Image) {
        let now = self.here(image.now);
        self.trends.revive(now);
        self.sheds.revive(now);
    }

    /// The process begins.
    pub(super) fn begin(&mut self, now: Now) {
        let reason = if std::mem::take(&mut self.ended) { Reason::Coldstart } else { Reason::Unknown };
        self.restart.begin(reason, self.clock.local(now.utc));
        self.unkept.insert(ENDED, vec![0]);
    }

    /// An instant in the civil time that the device shows: what logs and sheds over BACnet are counted in.
    const fn here(&self, now: Now) -> Now {
        Now { mono: now.mono, utc: self.clock.device(now.utc) }
    }

    /// A time master has spoken; by how many ms the clock moved, `None` when it said no date and time.
    pub(super) fn synchronize(&mut self, utc: bool, at: &DateTime, site: Utc) -> Option<i64> {
        let moved = if utc { self.clock.set_utc(at, site) } else { self.clock.set_local(at, site) }?;
        // The host's clock and the master's tremble against each other.
        if moved.unsigned_abs() >= WORTH_KEEPING {
            self.keep_clock();
        }
        Some(moved)
    }

    fn keep_clock(&mut self) {
        self.unkept.insert(CLOCK, self.clock.octets().to_vec());
    }

    /// A look at a new image.
    pub(super) fn on_image(&mut self, plant: &Plant, image: &Image) {
        let now = self.here(image.now);
        let (increments, simulated) = (&self.increments, &self.simulated);
        let written = Written {
            increment: &|face| increments.get(&face).map(|(_, step)| *step),
            simulated: &|face| simulated.get(&face).copied(),
        };
        self.trends.on_image(plant, image, now, &written);
        self.sheds.on_image(plant, image, now);
    }

    /// What is to be kept now; everything when the process ends.
    pub(super) fn keep(&mut self, last: bool, now: Mono) -> Vec<Keepsake> {
        let mut keepsakes = self.trends.keep(last, now);
        if last {
            self.unkept.insert(ENDED, vec![1]);
        }
        if !self.unkept.is_empty() && (last || self.rest_until <= now) {
            self.rest_until = now.after(KEEP_REST);
            let unkept = std::mem::take(&mut self.unkept).into_iter();
            keepsakes.extend(unkept.map(|(key, value)| Keepsake { key: key.to_owned(), value: Some(value) }));
        }
        keepsakes.extend(self.sheds.keep());
        keepsakes
    }

    /// COV_Increment of a face where it was written.
    pub(super) fn increment(&self, face: usize) -> Option<f64> {
        // Most devices never have one written.
        if self.increments.is_empty() { None } else { self.increments.get(&face).map(|(_, step)| *step) }
    }

    /// What a face shows while it is out of service.
    pub(super) fn simulated(&self, face: usize) -> Option<Simulated> {
        // Seldom is one.
        if self.simulated.is_empty() { None } else { self.simulated.get(&face).copied() }
    }

    /// Everything is in service again.
    pub(super) fn serve(&mut self) {
        self.simulated.clear();
    }

    /// Do it.
    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Increment { face, object, step } => {
                self.increments.insert(face, (object, step));
                let mut kept = Vec::with_capacity(self.increments.len() * KEPT);
                for (object, step) in self.increments.values() {
                    kept.extend_from_slice(&object.encode());
                    kept.extend_from_slice(&step.to_be_bytes());
                }
                self.unkept.insert(INCREMENTS, kept);
            }
            Change::Offset(minutes) => {
                self.clock.offset = minutes;
                self.keep_clock();
            }
            Change::Recipients(recipients) => {
                self.restart.set_recipients(recipients);
                let mut kept = BytesMut::new();
                self.restart.put_recipients(&mut kept);
                self.unkept.insert(TOLD, kept.to_vec());
            }
            Change::Service { face, object, service } => {
                let before = self.simulated(face);
                let after = service.after(before);
                match after {
                    Some(simulated) => self.simulated.insert(face, simulated),
                    None => self.simulated.remove(&face),
                };
                if before.is_some() != after.is_some() {
                    tracing::info!(%object, out_of_service = after.is_some(), "Out_Of_Service was written over BACnet");
                }
            }
            // Not kept here.
            Change::Alarm(_) => {}
            Change::Trend { place, change } => self.trends.apply(place, change),
            Change::Shed { place, change } => self.sheds.apply(place, &change),
        }
    }

    /// What does not fit these objects or this version is left out.
    fn restore_own(&mut self, key: &str, value: &[u8], catalog: &Catalog) {
        match key {
            INCREMENTS => {
                for chunk in value.chunks_exact(KEPT) {
                    let Some((object, step)) = chunk.split_first_chunk::<4>() else { continue };
                    let (Ok(object), Ok(step)) = (ObjectIdentifier::decode(object), step.try_into()) else { continue };
                    let step = f64::from_be_bytes(step);
                    let Some(Body::Face(face)) = catalog.find(object).map(|entry| entry.body) else { continue };
                    if step.is_finite() && step >= 0.0 {
                        self.increments.insert(face, (object, step));
                    }
                }
            }
            CLOCK => {
                if let Some(clock) = value.try_into().ok().and_then(Clock::from_octets) {
                    self.clock = clock;
                }
            }
            ENDED => self.ended = value == [1],
            TOLD => {
                if let Ok(recipients) = restart::recipients(value).and_then(restart::checked) {
                    self.restart.set_recipients(recipients);
                }
            }
            DATABASE => {
                if let Some((fingerprint, revision)) = value.split_first_chunk::<8>()
                    && let Ok(revision) = revision.try_into()
                {
                    self.database = Some((u64::from_be_bytes(*fingerprint), u32::from_be_bytes(revision)));
                }
            }
            _ => tracing::debug!(key, "a keepsake of nobody"),
        }
    }

    /// Database_Revision of these objects: one more than at the last start when they are others.
    pub(super) fn revise(&mut self, fingerprint: u64) {
        let revision = match self.database {
            Some((same, _)) if same == fingerprint => return,
            Some((_, revision)) => revision.wrapping_add(1),
            None => 1,
        };
        self.database = Some((fingerprint, revision));
        self.unkept.insert(DATABASE, [&fingerprint.to_be_bytes()[..], &revision.to_be_bytes()].concat());
    }

    /// Database_Revision.
    pub(super) fn revision(&self) -> u32 {
        self.database.map_or(1, |(_, revision)| revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bacnet::settings::Settings;
    use crate::bacnet::testing;
    use bacnet_types::enums::ObjectType;

    #[test]
    fn what_was_written_is_there_after_a_restart_and_nonsense_is_not() {
        let catalog = Catalog::new(&testing::plant(0), &Settings::default());
        let object = ObjectIdentifier::new(ObjectType::ANALOG_INPUT, 12).unwrap();
        let Some(Body::Face(face)) = catalog.find(object).map(|entry| entry.body) else { panic!() };
        let mut own = Own::default();
        own.apply(Change::Increment { face, object, step: 0.25 });
        own.apply(Change::Offset(-60));
        own.revise(7);
        let mut after = Own::default();
        for Keepsake { key, value } in own.keep(false, Mono::START) {
            assert!(after.restore(&key, value.as_deref().unwrap(), &catalog));
        }
        assert!(own.keep(false, Mono::START).is_empty());
        assert_eq!((after.increment(face), after.clock.offset, after.revision()), (Some(0.25), -60, 1));
        // the same objects, others, and the first ones again: a revision never comes back
        after.revise(7);
        assert!(after.keep(false, Mono::START).is_empty());
        after.revise(8);
        assert_eq!(after.revision(), 2);
        after.revise(7);
        assert_eq!(after.revision(), 3);
        let mut odd = Own::default();
        let gone = ObjectIdentifier::new(ObjectType::ANALOG_INPUT, 999).unwrap();
        for value in [
            &[gone.encode().as_slice(), &1.0f64.to_be_bytes()].concat()[..],
            &[object.encode().as_slice(), &f64::NAN.to_be_bytes()].concat(),
            &[object.encode().as_slice(), &(-1.0f64).to_be_bytes()].concat(),
            b"short",
        ] {
            odd.restore(INCREMENTS, value, &catalog);
        }
        odd.restore(CLOCK, &[255; 12], &catalog);
        odd.restore(CLOCK, &[127; 12], &catalog);
        odd.restore(CLOCK, b"", &catalog);
        odd.restore(DATABASE, b"123", &catalog);
        odd.restore("own/else", b"123", &catalog);
        assert!(!odd.restore("else", b"", &catalog));
        assert_eq!((odd.increment(face), odd.revision()), (None, 1));
        assert_eq!(odd.clock.offset.abs(), 1, "-1 ms and -1 min fit, what is far out does not");
    }
}
