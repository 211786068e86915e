//! The process image: the frozen values of all points at one instant.

use std::sync::Arc;

use super::{Fault, PointId, PriorityArray, Reading, Sample, Value};
use crate::time::Now;

/// Everything the image holds of one point.
#[derive(Debug, Clone)]
pub struct PointState {
    /// The present reading, with its time.
    pub sample: Sample,
    /// The last value there ever was, for views that must show one (never for control).
    pub last: Option<Value>,
    /// When that value was taken, for views that show its age.
    pub held: Option<Now>,
    /// Sequence number of the image in which value or quality last changed.
    pub changed: u64,
    /// Who commands it; only commandable points have one.
    pub slots: Option<Arc<PriorityArray>>,
    /// When the building's side (Modbus, BACnet) last wrote it since boot: identical rewrites and relinquishes count.
    pub bms_write: Option<Now>,
}

impl Default for PointState {
    fn default() -> Self {
        Self {
            sample: Sample { reading: Reading::Bad(Fault::NeverRead), at: Now::default() },
            last: None,
            held: None,
            changed: 0,
            slots: None,
            bms_write: None,
        }
    }
}

impl PointState {
    /// The present reading.
    #[inline]
    pub const fn reading(&self) -> Reading {
        self.sample.reading
    }

    /// The present value, or the last one there was; for views.
    pub fn shown(&self) -> Option<Value> {
        self.sample.reading.value().or(self.last)
    }
}

/// All points at one instant. Cheap to share as `Arc<Image>`; nobody changes one that was published.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// Counts published images, from 1.
    pub seq: u64,
    /// When it was taken.
    pub now: Now,
    states: Vec<PointState>,
}

impl Image {
    /// Before anything was read: every point bad, never read.
    pub fn empty(points: usize, now: Now) -> Self {
        let state =
            PointState { sample: Sample { reading: Reading::Bad(Fault::NeverRead), at: now }, ..PointState::default() };
        Self { seq: 0, now, states: vec![state; points] }
    }

    /// The state of a point; `None` for an id of another plant.
    #[inline]
    pub fn get(&self, point: PointId) -> Option<&PointState> {
        self.states.get(point.index())
    }

    /// For the engine, which builds the next image, and for tests.
    #[inline]
    pub fn get_mut(&mut self, point: PointId) -> Option<&mut PointState> {
        self.states.get_mut(point.index())
    }

    /// The present reading of a point.
    #[inline]
    pub fn reading(&self, point: PointId) -> Reading {
        self.get(point).map_or(Reading::Bad(Fault::NeverRead), PointState::reading)
    }

    /// How many points it holds.
    pub const fn len(&self) -> usize {
        self.states.len()
    }

    /// Whether the plant has no points.
    pub const fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// All points in order.
    pub fn iter(&self) -> impl Iterator<Item = (PointId, &PointState)> {
        (0u32..).map(PointId).zip(&self.states)
    }
}
