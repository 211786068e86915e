//! What a trend log leaves to its next life: a head and blocks of records, each a few hundred octets under a key of its
//! own, so that a new record costs a block and not the whole log.
//!
//! A power cut may lose the records since the last flush, but never a sequence number: the head promises that none beyond
//! its ceiling was given out, and the next life counts on from there. A reader that asks for what follows its last
//! sequence number then gets the interruption, and in front of it perhaps some records once more: those that were kept are
//! numbered up to the ceiling.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::log::{Log, Logging, Options};
use super::record::{OCTETS, Record};
use crate::bacnet::civil::DateTime;
use crate::durable::Keepsake;
use crate::time::Mono;

/// Records in a block.
const BLOCK: u64 = 128;
/// Records that may wait before they are flushed.
const WAITING: u64 = 32;
/// How long a record may wait, in the protocol's time.
const EVERY: Duration = Duration::from_secs(60);
/// Sequence numbers that a head leaves room for: what can wait, and the few records of one look more. After a power cut
/// the kept records move up by at most so many.
const AHEAD: u64 = 40;
/// The keys of all trend logs begin so.
pub(in crate::bacnet) const KEYS: &str = "trend-log";
/// No log comes to so many records; a keepsake that says so was spoilt.
const NEVER: u64 = 1 << 60;
/// The layout of all this.
const VERSION: u8 = 1;

/// How much of a log is kept already.
#[derive(Debug)]
pub(super) struct Keeper {
    /// The log's keys begin so.
    prefix: String,
    /// The record up to which everything is kept.
    kept: u64,
    options: Option<Options>,
    /// The first record of the buffer as it was kept: a purge moves it.
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
            let Some(block) = kept.get(&self.block_key(slot)) else { continue };
            let Some((first, records)) = decode_block(block) else { continue };
            found.extend((first..).zip(records));
        }
        // The unbroken run that ends with the newest.
        let mut records = VecDeque::new();
        let mut newest = None;
        for (n, record) in found.into_iter().rev() {
            let next = newest.map_or(n, |newest: u64| newest - records.len() as u64);
            if n != next || n < head.first {
                break;
            }
            newest.get_or_insert(n);
            records.push_front(record);
        }
        let total = newest.unwrap_or(0).max(head.ceiling);
        // Renumbered: everything is written once more.
        self.kept = if newest == Some(total) { total } else { total - records.len() as u64 };
        self.first = head.first;
        Some(Log::restored(capacity, head.options, records, total))
    }

    /// What is to be kept now, if it is time for anything; `last` when the process ends.
    pub(super) fn flush(&mut self, log: &Log, last: bool, now: Mono) -> Vec<Keepsake> {
        let waiting = log.total.saturating_sub(self.kept);
        let first = log.total - log.records.len() as u64 + 1;
        let set = self.options != Some(log.options) || self.is_purged(log);
        let old = waiting > 0 && now.since(self.flushed) >= EVERY;
        if !(set || waiting >= WAITING || old || last) {
            return Vec::new();
        }
        let mut keepsakes = Vec::new();
        for block in touched(self.kept.max(first - 1) + 1..=log.total) {
            let key = self.block_key(block % slots(log.capacity()));
            keepsakes.push(Keepsake { key, value: Some(encode_block(log, block, first)) });
        }
        let ceiling = if last { log.total } else { log.total + AHEAD };
        let head = Head { options: log.options, first, ceiling };
        keepsakes.push(Keepsake { key: self.head_key(), value: Some(head.encode()) });
        *self = Self {
            prefix: std::mem::take(&mut self.prefix),
            kept: log.total,
            options: Some(log.options),
            first,
            flushed: now,
        };
        keepsakes
    }

    /// A purge must not come back: the first record moved further than the ring turns.
    fn is_purged(&self, log: &Log) -> bool {
        let first = log.total - log.records.len() as u64 + 1;
        first > self.first && log.records.len() < log.capacity() && self.options.is_some()
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

/// One block: version, the number of its first record, its records.
fn encode_block(log: &Log, block: u64, first: u64) -> Vec<u8> {
    let from = (block * BLOCK + 1).max(first);
    let to = ((block + 1) * BLOCK).min(log.total);
    let mut out = vec![VERSION];
    out.extend(from.to_be_bytes());
    for n in from..=to {
        let place = usize::try_from(n - first).ok();
        if let Some(record) = place.and_then(|place| log.records.get(place)) {
            out.extend(record.octets());
        }
    }
    out
}

fn decode_block(octets: &[u8]) -> Option<(u64, impl Iterator<Item = Record> + use<'_>)> {
    let (&VERSION, rest) = octets.split_first()? else { return None };
    let (first, rest) = rest.split_first_chunk::<8>()?;
    let first = Some(u64::from_be_bytes(*first)).filter(|first| (1..NEVER).contains(first))?;
    Some((first, rest.as_chunks::<OCTETS>().0.iter().map(|octets| Record::from_octets(*octets))))
}

/// What is kept of a log besides its records.
#[derive(Debug, PartialEq)]
struct Head {
    options: Options,
    /// The number of the first record in the buffer.
    first: u64,
    /// No record beyond this number was given out.
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
        Some(Self { options, first: u64::from_be_bytes(*first), ceiling })
    }
}
