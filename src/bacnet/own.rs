//! What the device holds of its own and a BACnet client may write: not points, so the engine knows nothing of it.

use std::collections::HashMap;

use super::shed::{self, Sheds};
use super::trend::{self, Trends};
use crate::durable::Keepsake;
use crate::plant::Plant;
use crate::point::Image;
use crate::time::Mono;

/// A checked write to something of the device's own: it cannot fail any more.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    /// COV_Increment of a face, by its place in the plant, in its unit.
    Increment {
        /// Place of the face.
        face: usize,
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
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Own {
    increments: HashMap<usize, f64>,
    pub(super) trends: Trends,
    pub(super) sheds: Sheds,
}

impl Own {
    /// Of a plant.
    pub(super) fn new(plant: &Plant) -> Self {
        Self { trends: Trends::new(plant), sheds: Sheds::new(plant), ..Self::default() }
    }

    /// A keepsake of an earlier life; false when it is nobody's.
    pub(super) fn restore(&mut self, key: &str, value: &[u8]) -> bool {
        match key.split('/').next() {
            Some(trend::KEYS) => self.trends.restore(key, value),
            Some(shed::KEYS) => self.sheds.restore(key, value),
            _ => return false,
        }
        true
    }

    /// All keepsakes have come.
    pub(super) fn revive(&mut self, image: &Image) {
        self.trends.revive(image.now);
        self.sheds.revive(image.now);
    }

    /// A look at a new image.
    pub(super) fn on_image(&mut self, plant: &Plant, image: &Image) {
        self.trends.on_image(plant, image);
        self.sheds.on_image(plant, image);
    }

    /// What is to be kept now; everything when the process ends.
    pub(super) fn keep(&mut self, last: bool, now: Mono) -> Vec<Keepsake> {
        let mut keepsakes = self.trends.keep(last, now);
        keepsakes.extend(self.sheds.keep());
        keepsakes
    }

    /// COV_Increment of a face where it was written.
    pub(super) fn increment(&self, face: usize) -> Option<f64> {
        // Most devices never have one written.
        if self.increments.is_empty() { None } else { self.increments.get(&face).copied() }
    }

    /// Do it.
    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Increment { face, step } => drop(self.increments.insert(face, step)),
            Change::Trend { place, change } => self.trends.apply(place, change),
            Change::Shed { place, change } => self.sheds.apply(place, &change),
        }
    }
}
