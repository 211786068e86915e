//! What a trend log leaves to its next life: a head and blocks of records, each a few hundred octets under a key of its
//! own, so that a new record costs a block and not the whole log.
//!
//! A power cut may lose the records since the last flush, but never a sequence number: the head promises that none beyond
//! its ceiling was given out, and the next life counts on from there. What was kept has the numbers that it had; between
//! it and the interruption the numbers have a gap. On the disk records stand by how many were made, gaps not counted.
//! (Where the disk took nothing for the last seconds before the cut, numbers may have gone beyond the ceiling.)

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::log::{Log, Logging, Options};
use super::record::{OCTETS, Record};
use super::ring::Ring;
use crate::bacnet::civil::DateTime;
use crate::durable::Keepsake;
use crate::time::Mono;

/// Records in a block.
const BLOCK: u64 = 128;
/// Records that may wait before they are flushed.
const WAITING: u64 = 32;
/// How long a record may wait, in the protocol's time.
const EVERY: Duration = Duration::from_secs(60);
/// Sequence numbers that a head leaves room for: what can wait, and the few records until the disk has them. After a power
/// cut the gap in the numbers is at most so wide.
const AHEAD: u64 = 40;
/// The keys of all trend logs begin so.
pub(in crate::bacnet) const KEYS: &str = "trend-log";
/// No log comes to so many records; a keepsake that says so was spoilt.
const NEVER: u64 = 1 << 60;
/// The layout of a head.
const VERSION: u8 = 1;
/// The layout of a block in which numbers have no gaps: that of its first record is its place.
const PLAIN: u8 = 1;
/// The layout of a block with numbers of its own.
const NUMBERED: u8 = 2;
/// In front of a record whose number does not follow the one before: this, and the number. No record begins so.
const GAP: [u8; 8] = [u8::MAX; 8];

/// How much of a log is kept already.
#[derive(Debug)]
pub(super) struct Keeper {
    /// The log's keys begin so.
    prefix: String,
    /// How many records were made when everything was kept.
    kept: u64,
    options: Option<Options>,
    /// Which record was the first of the buffer then: a purge moves it.
    first: u64,
    flushed: Mono,
}

impl Keeper {
    pub(super) fn new(instance: u32) -> Self {
        Self { prefix: format!("{KEYS}/{instance}"), kept: 0, options: None, first: 0, flushed: Mono::START }
    }

    /// The log as it was left; `None` when nothing fits was left.
    pub(super) fn restore(&mut self, capacity: usize, kept: &HashMap<String, Vec<u8>>) -> Option<Log> {
        let head = Head::decode(kept.get(&self.head_key())?)?;
        let mut found = BTreeMap::new();
        for slot in 0..slots(capacity) {
            found.extend(kept.get(&self.block_key(slot)).into_iter().flat_map(|block| decode_block(block)));
        }
        // The unbroken run that ends with the newest.
        let mut records: VecDeque<(u64, Record)> = VecDeque::new();
        let mut made = None;
        for (n, numbered) in found.into_iter().rev() {
            let next = made.map_or(n, |made: u64| made - records.len() as u64);
            let falling = records.front().is_none_or(|(later, _)| numbered.0 < *later);
            if n != next || n < head.first || !falling {
                break;
            }
            made.get_or_insert(n);
            records.push_front(numbered);
        }
        let made = made.unwrap_or(head.first.saturating_sub(1));
        let newest = records.back().map_or(0, |(number, _)| *number).max(head.ceiling);
        self.kept = made;
        self.first = head.first;
        Some(Log::restored(head.options, Ring::restored(capacity, records, made, newest)))
    }

    /// What is to be kept now, if it is time for anything; `last` when the process ends.
    pub(super) fn flush(&mut self, log: &Log, last: bool, now: Mono) -> Vec<Keepsake> {
        let ring = &log.ring;
        let waiting = ring.made().saturating_sub(self.kept);
        let first = ring.first_made();
        let set = self.options != Some(log.options) || self.is_purged(log);
        let old = waiting > 0 && now.since(self.flushed) >= EVERY;
        if !(set || waiting >= WAITING || old || last) {
            return Vec::new();
        }
        let mut keepsakes = Vec::new();
        for block in touched(self.kept.max(first - 1) + 1..=ring.made()) {
            let key = self.block_key(block % slots(log.capacity()));
            keepsakes.push(Keepsake { key, value: Some(encode_block(ring, block)) });
        }
        let ceiling = if last { ring.newest() } else { ring.newest() + AHEAD };
        let head = Head { options: log.options, first, ceiling };
        keepsakes.push(Keepsake { key: self.head_key(), value: Some(head.encode()) });
        *self = Self {
            prefix: std::mem::take(&mut self.prefix),
            kept: ring.made(),
            options: Some(log.options),
            first,
            flushed: now,
        };
        keepsakes
    }

    /// A purge must not come back: the first record moved further than the ring turns.
    fn is_purged(&self, log: &Log) -> bool {
        log.ring.first_made() > self.first && log.count() < log.capacity() && self.options.is_some()
    }

    fn head_key(&self) -> String {
        format!("{}/head", self.prefix)
    }

    fn block_key(&self, slot: u64) -> String {
        format!("{}/{slot}", self.prefix)
    }
}

/// How many blocks a log takes: one more than it fills, so that the one being filled never takes the place of the oldest.
const fn slots(capacity: usize) -> u64 {
    (capacity as u64).div_ceil(BLOCK) + 1
}

/// The blocks that hold these records.
fn touched(records: RangeInclusive<u64>) -> impl Iterator<Item = u64> {
    let range =
        if records.is_empty() { None } else { Some((records.start() - 1) / BLOCK..=(records.end() - 1) / BLOCK) };
    range.into_iter().flatten()
}

/// One block: its layout, which of the records ever made is its first, that one's number, and the records.
fn encode_block(ring: &Ring, block: u64) -> Vec<u8> {
    let first = (block * BLOCK + 1).max(ring.first_made());
    let records: Vec<_> = (first..=(block + 1) * BLOCK).map_while(|n| ring.nth(n)).collect();
    let mut next = records.first().map_or(0, |(number, _)| *number);
    let mut out = vec![NUMBERED];
    out.extend(first.to_be_bytes());
    out.extend(next.to_be_bytes());
    for (number, record) in records {
        if number != next {
            out.extend(GAP);
            out.extend(number.to_be_bytes());
        }
        out.extend(record.octets());
        next = number + 1;
    }
    out
}

/// The records of a block: which of all it is, and each with its number.
fn decode_block(octets: &[u8]) -> Vec<(u64, (u64, Record))> {
    let possible = |number: [u8; 8]| Some(u64::from_be_bytes(number)).filter(|number| (1..NEVER).contains(number));
    let parts = || {
        let (layout, rest) = octets.split_first()?;
        let (first, rest) = rest.split_first_chunk::<8>()?;
        let (number, rest) = match *layout {
            PLAIN => (first, rest),
            NUMBERED => rest.split_first_chunk::<8>()?,
            _ => return None,
        };
        Some((possible(*first)?, possible(*number)?, rest.as_chunks::<OCTETS>().0))
    };
    let Some((mut n, mut number, entries)) = parts() else { return Vec::new() };
    let mut records = Vec::with_capacity(entries.len());
    for entry in entries {
        match entry.split_first_chunk::<8>() {
            Some((&GAP, after)) => match after.try_into().ok().and_then(possible) {
                Some(next) => number = next,
                None => break,
            },
            _ => {
                records.push((n, (number, Record::from_octets(*entry))));
                n += 1;
                number += 1;
            }
        }
    }
    records
}

/// What is kept of a log besides its records.
#[derive(Debug, PartialEq)]
struct Head {
    options: Options,
    /// Which record is the first in the buffer.
    first: u64,
    /// No number beyond this was given out.
    ceiling: u64,
}

impl Head {
    fn encode(&self) -> Vec<u8> {
        let Options { enable, start, stop, logging, interval, align, offset, stop_when_full, increment } = self.options;
        let flags = u8::from(enable)
            | u8::from(align) << 1
            | u8::from(stop_when_full) << 2
            | u8::from(increment.is_some()) << 3;
        let mut out = vec![VERSION, flags, logging.code()];
        out.extend(start.octets());
        out.extend(stop.octets());
        out.extend(interval.to_be_bytes());
        out.extend(offset.to_be_bytes());
        out.extend(increment.unwrap_or(0.0).to_bits().to_be_bytes());
        out.extend(self.first.to_be_bytes());
        out.extend(self.ceiling.to_be_bytes());
        out
    }

    fn decode(octets: &[u8]) -> Option<Self> {
        let (&[VERSION, flags, logging], rest) = octets.split_first_chunk()? else { return None };
        let (start, rest) = rest.split_first_chunk()?;
        let (stop, rest) = rest.split_first_chunk()?;
        let (interval, rest) = rest.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (increment, rest) = rest.split_first_chunk()?;
        let (first, rest) = rest.split_first_chunk()?;
        let ceiling = Some(u64::from_be_bytes(*rest.first_chunk()?)).filter(|ceiling| *ceiling < NEVER)?;
        let increment = Some(f32::from_bits(u32::from_be_bytes(*increment)));
        let options = Options {
            enable: flags & 1 != 0,
            align: flags & 2 != 0,
            stop_when_full: flags & 4 != 0,
            increment: increment.filter(|step| flags & 8 != 0 && step.is_finite() && *step >= 0.0),
            logging: Logging::from_code(logging.into())?,
            start: DateTime::from_octets(*start),
            stop: DateTime::from_octets(*stop),
            interval: u32::from_be_bytes(*interval),
            offset: u32::from_be_bytes(*offset),
        };
        let first = Some(u64::from_be_bytes(*first)).filter(|first| *first < NEVER)?;
        Some(Self { options, first, ceiling })
    }
}
