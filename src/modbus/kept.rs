//! The registers of values, kept while the values do not change: a master asks more often than values move, and turning a
//! number into registers costs more than copying them. Pure.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::pdu::Exception;
use crate::plant::Words;
use crate::point::{Image, PointId, PointState};

/// What is kept for every face of an address space.
#[derive(Debug)]
pub(super) struct Kept {
    of: Mutex<State>,
}

/// The same, opened for one request.
#[derive(Debug)]
pub(super) struct State {
    blocks: Vec<Block>,
    faces: Vec<(u64, Words)>,
}

/// A block of points as it was seen last. An image shares the blocks that did not change with the image before it, so the
/// same block is the same values.
#[derive(Debug, Clone, Default)]
struct Block {
    seen: Option<Arc<[PointState]>>,
    /// Counts the blocks that were seen here, from 1.
    version: u64,
}

impl Kept {
    /// Room for so many faces, nothing in it.
    pub(super) fn new(faces: usize, nothing: Words) -> Self {
        Self { of: Mutex::new(State { blocks: Vec::new(), faces: vec![(0, nothing); faces] }) }
    }

    /// For one request.
    pub(super) fn open(&self) -> MutexGuard<'_, State> {
        // Whoever broke off in here left nothing half-done that a version does not tell.
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The registers of a face: as they were, where its point has not changed since, and else from `encode`. A refusal is
    /// not kept.
    pub(super) fn words(
        &mut self,
        image: &Image,
        point: PointId,
        face: usize,
        encode: impl FnOnce() -> Result<Words, Exception>,
    ) -> Result<Words, Exception> {
        let (place, now) = image.block(point).ok_or(Exception::Failure)?;
        if self.blocks.len() <= place {
            self.blocks.resize(place + 1, Block::default());
        }
        let (Some(block), Some(kept)) = (self.blocks.get_mut(place), self.faces.get_mut(face)) else {
            return encode();
        };
        if !block.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, now)) {
            block.seen = Some(Arc::clone(now));
            block.version += 1;
        }
        if kept.0 != block.version {
            *kept = (block.version, encode()?);
        }
        Ok(kept.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plant::{Codec, RegisterType};
    use crate::point::{Reading, Value};
    use crate::time::Now;

    fn words(number: u64) -> Words {
        Codec::plain(RegisterType::U16).encode(Value::Unsigned(number)).unwrap()
    }

    #[test]
    fn it_is_encoded_once_for_each_change_and_never_shows_another_image() {
        let kept = Kept::new(2, words(0));
        let first = Image::empty(40, Now::default());
        let read = |image: &Image, face: u32, number: u64| {
            let mut asked = false;
            // The second face is of a point in another block.
            let got = kept.open().words(image, PointId(face * 39), face as usize, || {
                asked = true;
                Ok(words(number))
            });
            (got.unwrap(), asked)
        };
        assert_eq!(read(&first, 0, 7), (words(7), true));
        assert_eq!(read(&first, 0, 8), (words(7), false));
        assert_eq!(read(&first, 1, 9), (words(9), true));
        let mut second = first.clone();
        second.get_mut(PointId(3)).unwrap().sample.reading = Reading::number(1.0);
        assert_eq!(read(&second, 0, 8), (words(8), true), "its block has changed");
        assert_eq!(read(&second, 1, 1), (words(9), false), "this one has not");
        assert_eq!(read(&first, 0, 7), (words(7), true), "an older image again");
        assert_eq!(read(&second, 0, 8), (words(8), true));
    }

    #[test]
    fn a_refusal_is_asked_for_again() {
        let kept = Kept::new(1, words(0));
        let image = Image::empty(1, Now::default());
        assert_eq!(kept.open().words(&image, PointId(0), 0, || Err(Exception::Target)), Err(Exception::Target));
        assert_eq!(kept.open().words(&image, PointId(0), 0, || Ok(words(4))), Ok(words(4)));
        assert_eq!(kept.open().words(&image, PointId(5), 0, || Ok(words(4))), Err(Exception::Failure), "no such point");
    }
}
