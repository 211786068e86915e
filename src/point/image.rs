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

/// How many points lie together: an image shares the blocks that did not change with the image before it.
const BLOCK: usize = 32;

/// All points at one instant. Cheap to share as `Arc<Image>`; nobody changes one that was published. A copy shares what
/// is not changed in it, so that a large site's next image costs what is new in it.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// Counts published images, from 1.
    pub seq: u64,
    /// When it was taken.
    pub now: Now,
    blocks: Vec<Arc<[PointState]>>,
    len: usize,
}

impl Image {
    /// Before anything was read: every point bad, never read.
    pub fn empty(points: usize, now: Now) -> Self {
        let state =
            PointState { sample: Sample { reading: Reading::Bad(Fault::NeverRead), at: now }, ..PointState::default() };
        let blocks = (0..points).step_by(BLOCK).map(|first| vec![state.clone(); BLOCK.min(points - first)].into());
        Self { seq: 0, now, blocks: blocks.collect(), len: points }
    }

    /// The state of a point; `None` for an id of another plant.
    #[inline]
    pub fn get(&self, point: PointId) -> Option<&PointState> {
        let index = point.index();
        self.blocks.get(index / BLOCK)?.get(index % BLOCK)
    }

    /// The block of points in which one lies, and which it is: the same `Arc` in two images is the same values in both.
    #[inline]
    pub fn block(&self, point: PointId) -> Option<(usize, &Arc<[PointState]>)> {
        let place = point.index() / BLOCK;
        (point.index() < self.len).then_some(())?;
        self.blocks.get(place).map(|block| (place, block))
    }

    /// For the engine, which builds the next image, and for tests. What is not to be changed is asked with
    /// [`Image::get`]: this one copies what a published image shares.
    #[inline]
    pub fn get_mut(&mut self, point: PointId) -> Option<&mut PointState> {
        let index = point.index();
        Arc::make_mut(self.blocks.get_mut(index / BLOCK)?).get_mut(index % BLOCK)
    }

    /// The present reading of a point.
    #[inline]
    pub fn reading(&self, point: PointId) -> Reading {
        self.get(point).map_or(Reading::Bad(Fault::NeverRead), PointState::reading)
    }

    /// How many points it holds.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the plant has no points.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All points in order.
    pub fn iter(&self) -> impl Iterator<Item = (PointId, &PointState)> {
        (0u32..).map(PointId).zip(self.blocks.iter().flat_map(|block| block.iter()))
    }

    /// The points that may differ from another image: all that do, and some beside them that do not.
    pub fn touched_since(&self, other: &Self) -> impl Iterator<Item = (PointId, &PointState)> {
        let others = other.blocks.iter().map(Some).chain(std::iter::repeat(None));
        (0u32..)
            .step_by(BLOCK)
            .zip(self.blocks.iter().zip(others))
            .filter(|(_, (block, other))| other.is_none_or(|other| !Arc::ptr_eq(block, other)))
            .flat_map(|(first, (block, _))| (first..).map(PointId).zip(block.iter()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::point::Value;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_copy_keeps_its_values_and_what_changed_since_is_found(
            points in 0usize..200,
            writes in proptest::collection::vec((0u32..220, 0u64..5), 0..20),
        ) {
            let mut image = Image::empty(points, Now::default());
            let before = image.clone();
            for (point, value) in &writes {
                let known = image.get_mut(PointId(*point)).map(|state| state.last = Some(Value::Unsigned(*value)));
                prop_assert_eq!(known.is_some(), (*point as usize) < points);
            }
            prop_assert_eq!(image.len(), points);
            prop_assert_eq!(image.iter().map(|(id, _)| id.index()).collect::<Vec<_>>(), (0..points).collect::<Vec<_>>());
            prop_assert!(before.iter().all(|(_, state)| state.last.is_none()));
            let touched: Vec<PointId> = image.touched_since(&before).map(|(id, _)| id).collect();
            for (id, state) in image.iter() {
                prop_assert_eq!(image.get(id).map(|state| state.last), Some(state.last));
                prop_assert!(state.last.is_none() || touched.contains(&id));
            }
            for (id, state) in image.touched_since(&before) {
                prop_assert_eq!(image.get(id).map(|state| state.last), Some(state.last));
            }
            // Against an image of nothing all of it is new; against itself nothing.
            prop_assert_eq!(image.touched_since(&Image::default()).count(), points);
            prop_assert_eq!(image.touched_since(&image.clone()).count(), 0);
        }
    }
}
