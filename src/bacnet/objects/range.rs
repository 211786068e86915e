//! ReadRange (clause 15.8): part of a list, by position, by sequence number or by time.
//!
//! - Items come in the order of the list whichever way they are counted. Where not all have room, those nearest to the
//!   reference are sent and MORE_ITEMS is set.
//! - A position or an instant that names nothing gives nothing. A range of sequence numbers that has begun to be
//!   overwritten gives what is left of it: a reader that was away too long gets on, and sees the hole in the numbers. A
//!   number in a gap, where a power cut may have taken records, means the next record that there is (backwards the one
//!   before): a reader that goes on from its last number passes the gap however few it asks for.

use std::ops::RangeInclusive;

use bacnet_encoding::{primitives, tags};
use bacnet_services::read_range::{RangeSpec, ReadRangeRequest};
use bacnet_types::enums::PropertyIdentifier as P;
use bytes::BytesMut;

use super::catalog::{Body, Entry};
use super::{View, device, trend};
use crate::bacnet::answer::{Failure, Refused};
use crate::bacnet::civil::DateTime;
use crate::bacnet::trend::{Log, put_record};

/// Octets of an answer that are no items: identifiers, flags, counts and tags.
const FRAME: usize = 40;

/// A list that can be read in parts.
enum List<'a> {
    Log(&'a Log),
    /// Items without number or time.
    Plain(Vec<BytesMut>),
}

impl List<'_> {
    fn count(&self) -> usize {
        match self {
            Self::Log(log) => log.count(),
            Self::Plain(items) => items.len(),
        }
    }

    /// Append the item at a position from 1.
    fn put(&self, position: usize, out: &mut BytesMut) {
        match self {
            Self::Log(log) => put_record(log, position, out),
            Self::Plain(items) => {
                if let Some(item) = position.checked_sub(1).and_then(|place| items.get(place)) {
                    out.extend_from_slice(item);
                }
            }
        }
    }

    /// The positions that a request means, and whether its reference is their end.
    fn wanted(&self, range: Option<&RangeSpec>) -> Result<(RangeInclusive<i64>, bool), Failure> {
        let count = i64::try_from(self.count()).unwrap_or(i64::MAX);
        let (reference, items) = match (range, self) {
            (None, _) => return Ok((1..=count, false)),
            (Some(RangeSpec::ByPosition { reference_index, count: items }), _) => {
                let reference = i64::try_from(*reference_index).unwrap_or(i64::MAX);
                ((1..=count).contains(&reference).then_some(reference), *items)
            }
            (Some(RangeSpec::BySequenceNumber { .. }), Self::Plain(_)) => return Err(Failure::NOT_NUMBERED),
            (Some(RangeSpec::BySequenceNumber { reference_seq, count: items }), Self::Log(log)) => {
                let position = u32::try_from(*reference_seq).map(|number| log.position_of(number, *items < 0));
                (position.ok(), *items)
            }
            (Some(RangeSpec::ByTime { .. }), Self::Plain(_)) => return Err(Failure::NOT_TIMESTAMPED),
            (Some(RangeSpec::ByTime { reference_time: (date, time), count: items }), Self::Log(log)) => {
                let at = DateTime { date: *date, time: *time }.instant().ok_or(Failure::OUT_OF_RANGE)?;
                let hundredths = at.millis() / 10;
                let reference = if *items >= 0 { log.first_after(hundredths) } else { log.last_before(hundredths) };
                (reference.and_then(|position| i64::try_from(position).ok()), *items)
            }
        };
        let items = i64::from(items);
        let (first, last) = match reference {
            None => (1, 0),
            // From the reference on, or up to it.
            Some(reference) if items >= 0 => (reference, reference + items - 1),
            Some(reference) => (reference + items + 1, reference),
        };
        Ok((first.max(1)..=last.min(count), items < 0))
    }
}

/// Answer a ReadRange: append the acknowledgement's parameters, of at most `room` octets.
pub(in crate::bacnet) fn read_range(
    view: &View<'_>,
    params: &[u8],
    room: usize,
    out: &mut BytesMut,
) -> Result<(), Refused> {
    let request = ReadRangeRequest::decode(params)?;
    let entry = view.catalog.find(request.object_identifier).ok_or(Failure::UNKNOWN_OBJECT)?;
    if entry.row(request.property_identifier).is_none() {
        return Err(Failure::UNKNOWN_PROPERTY.into());
    }
    let list = list(view, entry, request.property_identifier).ok_or(Failure::NOT_A_LIST)?;
    if request.property_array_index.is_some() {
        return Err(Failure::NOT_AN_ARRAY.into());
    }
    let (wanted, backwards) = list.wanted(request.range.as_ref())?;
    let asked = (wanted.end() - wanted.start() + 1).max(0);
    let items = fit(&list, &wanted, backwards, room.saturating_sub(FRAME));
    let found = i64::try_from(items.sizes.len()).unwrap_or(i64::MAX);
    let first = if backwards { wanted.end() - found + 1 } else { *wanted.start() };
    let last = first + found - 1;

    primitives::encode_ctx_object_id(out, 0, &entry.id);
    primitives::encode_ctx_enumerated(out, 1, request.property_identifier.to_raw());
    let mut flags = 0;
    if found > 0 {
        flags |= if first == 1 { 0b1000_0000 } else { 0 };
        flags |= if usize::try_from(last) == Ok(list.count()) { 0b0100_0000 } else { 0 };
    }
    flags |= if found < asked { 0b0010_0000 } else { 0 };
    primitives::encode_ctx_bit_string(out, 3, 5, &[flags]);
    primitives::encode_ctx_unsigned(out, 4, items.sizes.len() as u64);
    tags::encode_opening_tag(out, 5);
    items.write(backwards, out);
    tags::encode_closing_tag(out, 5);
    // Of what is numbered, where it was not asked for by position (clause 15.8.1.2.7).
    let numbered = matches!(request.range, Some(RangeSpec::BySequenceNumber { .. } | RangeSpec::ByTime { .. }));
    if let (List::Log(log), true, Ok(first), true) = (&list, numbered, usize::try_from(first), found > 0) {
        primitives::encode_ctx_unsigned(out, 6, log.sequence_at(first).into());
    }
    Ok(())
}

/// Encoded items, in the order in which they were taken.
struct Items {
    octets: BytesMut,
    sizes: Vec<usize>,
}

impl Items {
    /// Append them in the order of the list.
    fn write(&self, backwards: bool, out: &mut BytesMut) {
        if !backwards {
            return out.extend_from_slice(&self.octets);
        }
        let mut end = self.octets.len();
        for size in self.sizes.iter().rev() {
            out.extend_from_slice(self.octets.get(end - size..end).unwrap_or_default());
            end -= size;
        }
    }
}

/// As many of the wanted items as have room, from the reference on.
fn fit(list: &List<'_>, wanted: &RangeInclusive<i64>, backwards: bool, room: usize) -> Items {
    let mut items = Items { octets: BytesMut::new(), sizes: Vec::new() };
    let mut position = if backwards { *wanted.end() } else { *wanted.start() };
    while wanted.contains(&position) {
        let before = items.octets.len();
        list.put(usize::try_from(position).unwrap_or(0), &mut items.octets);
        if items.octets.len() > room {
            items.octets.truncate(before);
            break;
        }
        items.sizes.push(items.octets.len() - before);
        position += if backwards { -1 } else { 1 };
    }
    items
}

/// The list that a property is; `None` when it is none.
fn list<'a>(view: &View<'a>, entry: &Entry, property: P) -> Option<List<'a>> {
    match (entry.body, property) {
        (Body::Trend(place), P::LOG_BUFFER) => trend::log(view, place).map(List::Log),
        (Body::Device, P::ACTIVE_COV_SUBSCRIPTIONS) => Some(List::Plain(device::subscriptions(view))),
        (Body::Device, P::DEVICE_ADDRESS_BINDING) => Some(List::Plain(Vec::new())),
        _ => None,
    }
}
