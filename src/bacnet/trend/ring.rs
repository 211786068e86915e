//! The records of a trend log and their sequence numbers. Numbers rise by one, but for the gaps that power cuts leave: a
//! number that may have been given out before a cut is never given to another record.

use std::collections::VecDeque;

use super::record::Record;

/// Sequence numbers count to this and then begin at 1 again (clause 12.25.16).
const LAST_SEQUENCE: u64 = u32::MAX as u64;

/// The newest records, oldest first.
#[derive(Debug)]
pub(super) struct Ring {
    /// Each with its number, which rises.
    records: VecDeque<(u64, Record)>,
    capacity: usize,
    /// The newest number that was given out, or may have been.
    newest: u64,
    /// Records ever made, without the gaps: where they stand on the disk.
    made: u64,
}

impl Ring {
    /// An empty one, of at least two records.
    pub(super) fn new(capacity: usize) -> Self {
        Self { records: VecDeque::new(), capacity: capacity.max(2), newest: 0, made: 0 }
    }

    /// As an earlier life left it: `made` records were made, the last of them stand in `records`, and no number above
    /// `newest` was given out.
    pub(super) fn restored(capacity: usize, records: VecDeque<(u64, Record)>, made: u64, newest: u64) -> Self {
        let mut ring = Self { records, made, newest, ..Self::new(capacity) };
        ring.shorten();
        ring
    }

    /// Append a record under the next number; the oldest makes room.
    pub(super) fn append(&mut self, record: Record) {
        self.newest += 1;
        self.made += 1;
        self.records.push_back((self.newest, record));
        self.shorten();
    }

    fn shorten(&mut self) {
        let excess = self.records.len().saturating_sub(self.capacity);
        self.records.drain(..excess);
    }

    /// Forget all records; numbers go on.
    pub(super) fn clear(&mut self) {
        self.records.clear();
    }

    /// Most records that it holds.
    pub(super) const fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many it holds.
    pub(super) fn count(&self) -> usize {
        self.records.len()
    }

    /// Records ever made.
    pub(super) const fn made(&self) -> u64 {
        self.made
    }

    /// The newest number that was given out, or may have been.
    pub(super) const fn newest(&self) -> u64 {
        self.newest
    }

    /// Which of the records ever made is the first one held; one more than all of them when none is.
    pub(super) fn first_made(&self) -> u64 {
        self.made - self.records.len() as u64 + 1
    }

    /// The nth record ever made, with its number, while it is held.
    pub(super) fn nth(&self, n: u64) -> Option<(u64, Record)> {
        let place = usize::try_from(n.checked_sub(self.first_made())?).ok()?;
        self.records.get(place).copied()
    }

    /// The record at a position from 1.
    pub(super) fn at(&self, position: usize) -> Option<Record> {
        self.records.get(position.checked_sub(1)?).map(|(_, record)| *record)
    }

    /// Total_Record_Count: the newest number as the protocol counts.
    pub(super) const fn sequence(&self) -> u32 {
        sequence(self.newest)
    }

    /// The sequence number at a position from 1; 0 where nothing stands.
    pub(super) fn sequence_at(&self, position: usize) -> u32 {
        let found = position.checked_sub(1).and_then(|place| self.records.get(place));
        found.map_or(0, |(number, _)| sequence(*number))
    }

    /// Where a sequence number stands, counted from the first record as 1: below 1 it was overwritten, above the count it
    /// is not yet made. One in a gap means the next record, or the one before when `backwards`. Numbers wrap: the one
    /// nearest to the newest is meant.
    pub(super) fn position_of(&self, sequence: u32, backwards: bool) -> i64 {
        let span = LAST_SEQUENCE.cast_signed();
        let mut behind = i64::from(self.sequence()) - i64::from(sequence);
        if behind > span / 2 {
            behind -= span;
        } else if behind < -(span / 2) {
            behind += span;
        }
        let count = i64::try_from(self.records.len()).unwrap_or(i64::MAX);
        if behind < 0 {
            return count - behind;
        }
        let newest = self.newest.cast_signed();
        let wanted = newest - behind;
        let first = self.records.front().map_or(newest + 1, |(number, _)| number.cast_signed());
        if wanted < first {
            return 1 - (first - wanted);
        }
        // At least 1 of them: the first is not newer.
        let not_newer = self.records.partition_point(|(number, _)| number.cast_signed() <= wanted);
        let found = not_newer.checked_sub(1).and_then(|place| self.records.get(place));
        let there = found.is_some_and(|(number, _)| number.cast_signed() == wanted);
        i64::try_from(not_newer).unwrap_or(i64::MAX) + i64::from(!there && !backwards)
    }

    /// The first position whose record is newer than an instant in hundredths.
    pub(super) fn first_after(&self, hundredths: i64) -> Option<usize> {
        self.records.iter().position(|(_, record)| record.hundredths() > hundredths).map(|place| place + 1)
    }

    /// The last position whose record is older than an instant in hundredths.
    pub(super) fn last_before(&self, hundredths: i64) -> Option<usize> {
        self.records.iter().rposition(|(_, record)| record.hundredths() < hundredths).map(|place| place + 1)
    }

    /// All of them with their numbers, oldest first.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, Record)> {
        self.records.iter().copied()
    }
}

/// A number as the protocol counts.
#[expect(clippy::cast_possible_truncation, reason = "at most the largest 32-bit number")]
const fn sequence(number: u64) -> u32 {
    if number == 0 { 0 } else { ((number - 1) % LAST_SEQUENCE + 1) as u32 }
}

#[cfg(test)]
mod tests {
    use super::super::record::Datum;
    use super::*;
    use crate::time::Utc;

    /// Numbers 3, 4, a gap, 8, 9, and 10 to 12 that may have been given out.
    fn gappy() -> Ring {
        let record = |n: i64| Record::new(Utc::from_millis(n), Datum::Status(0));
        let records = [3, 4, 8, 9].map(|n: u64| (n, record(n.cast_signed())));
        Ring::restored(10, records.into(), 6, 12)
    }

    #[test]
    fn a_number_in_a_gap_means_the_next_record_in_the_direction_of_reading() {
        let ring = gappy();
        let forward: Vec<_> = (0..=14).map(|n| ring.position_of(n, false)).collect();
        assert_eq!(forward, [-2, -1, 0, 1, 2, 3, 3, 3, 3, 4, 5, 5, 5, 5, 6]);
        let backward: Vec<_> = (0..=14).map(|n| ring.position_of(n, true)).collect();
        assert_eq!(backward, [-2, -1, 0, 1, 2, 2, 2, 2, 3, 4, 4, 4, 4, 5, 6]);
        assert_eq!((1..=5).map(|position| ring.sequence_at(position)).collect::<Vec<_>>(), [3, 4, 8, 9, 0]);
        assert_eq!((ring.sequence(), ring.first_made(), ring.nth(5).map(|(number, _)| number)), (12, 3, Some(8)));
    }

    #[test]
    fn numbers_wrap_over_a_gap() {
        let record = Record::new(Utc::from_millis(0), Datum::Status(0));
        let mut ring = Ring::restored(10, [(LAST_SEQUENCE - 1, record)].into(), 1, LAST_SEQUENCE + 1);
        ring.append(record);
        assert_eq!((ring.sequence(), ring.sequence_at(1), ring.sequence_at(2)), (2, u32::MAX - 1, 2));
        assert_eq!(
            [u32::MAX - 2, u32::MAX - 1, u32::MAX, 1, 2, 3].map(|n| ring.position_of(n, false)),
            [0, 1, 2, 2, 2, 3]
        );
        assert_eq!([u32::MAX, 1].map(|n| ring.position_of(n, true)), [1, 1]);
        // nothing at all
        let empty = Ring::restored(10, VecDeque::new(), 5, 7);
        assert_eq!([7, 8].map(|n| empty.position_of(n, false)), [0, 1]);
    }
}
