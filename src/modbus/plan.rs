//! The read plan of a polled device: which requests read all of its values, as few as its limits allow. Pure.

use std::time::Duration;

use crate::plant::{Device, DevicePoint, RegisterPlace, Table};

/// Most bits in one read (Application Protocol V1.1b3, 6.1).
const MOST_BITS: u32 = 2000;

/// Most registers in one read (Application Protocol V1.1b3, 6.3).
const MOST_REGISTERS: u32 = 125;

/// One read request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Where.
    pub table: Table,
    /// First address, from 0.
    pub address: u16,
    /// How many registers or bits.
    pub count: u16,
    /// The values in it: indices into the device's points, by address.
    pub points: Vec<usize>,
}

/// Reads that are due together, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Round {
    /// From start to start, in site time.
    pub every: Duration,
    /// By table and address.
    pub reads: Vec<Read>,
}

/// The rounds of a device: one for each poll rate of its points, the fastest first.
pub fn rounds(device: &Device) -> Vec<Round> {
    let rate = |point: &DevicePoint| point.poll.unwrap_or(device.poll);
    let mut rates: Vec<Duration> = device.points.iter().filter(|point| point.register().is_some()).map(rate).collect();
    rates.sort_unstable();
    rates.dedup();
    let round = |every: Duration| Round { every, reads: plan(device, |point| rate(point) == every) };
    rates.into_iter().map(round).collect()
}

/// The fewest reads of those points of a device, by table and address; no value is split over two.
///
/// Of bits as many are read at once as fit into `max_registers` registers; `max_gap` counts addresses of either kind. No
/// read touches a hole of the device, and reads of registers begin and end at multiples of `align`. A value wider than
/// `max_registers` gets a read of its own width.
pub fn plan(device: &Device, of: impl Fn(&DevicePoint) -> bool) -> Vec<Read> {
    let wanted = device.points.iter().enumerate().filter(|(_, point)| of(point));
    let mut values: Vec<(Table, Span, usize)> = wanted
        .filter_map(|(index, point)| {
            let place = point.register()?;
            Some((place.table, Span::of(place, device), index))
        })
        .collect();
    values.sort_by_key(|(table, span, index)| (*table, *span, *index));
    let mut reads: Vec<Read> = Vec::new();
    for (table, span, index) in values {
        if let Some(open) = reads.last_mut().filter(|open| open.table == table) {
            let start = u32::from(open.address);
            let reached = start + u32::from(open.count);
            let whole = span.end.max(reached) - start;
            let gap = u32::from(device.max_gap);
            if span.from <= reached + gap && whole <= most(device, table) && free(device, table, reached, span.from) {
                open.count = u16::try_from(whole).unwrap_or(u16::MAX);
                open.points.push(index);
                continue;
            }
        }
        let address = u16::try_from(span.from).unwrap_or(u16::MAX);
        let count = u16::try_from(span.end - span.from).unwrap_or(u16::MAX);
        reads.push(Read { table, address, count, points: vec![index] });
    }
    reads
}

/// Addresses that are read for a value: the first, and the one behind the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    from: u32,
    end: u32,
}

impl Span {
    /// Widened to the device's alignment, unless that would touch a hole or leave the address space.
    fn of(place: &RegisterPlace, device: &Device) -> Self {
        let (from, end) = place.span();
        let plain = Self { from, end: end.min(0x1_0000) };
        let align = match place.table {
            Table::Coil | Table::Discrete => 1,
            Table::Input | Table::Holding => u32::from(device.align.max(1)),
        };
        let wide = Self { from: from / align * align, end: end.next_multiple_of(align) };
        let fits = wide.end <= 0x1_0000
            && wide.end - wide.from <= most(device, place.table)
            && free(device, place.table, wide.from, plain.from)
            && free(device, place.table, plain.end, wide.end);
        if fits { wide } else { plain }
    }
}

/// Whether none of these addresses is in a hole.
fn free(device: &Device, table: Table, from: u32, end: u32) -> bool {
    device.holes.iter().all(|(of, first, last)| *of != table || u32::from(*last) < from || u32::from(*first) >= end)
}

/// The most addresses in one read.
fn most(device: &Device, table: Table) -> u32 {
    let registers = u32::from(device.max_registers).clamp(1, MOST_REGISTERS);
    match table {
        Table::Coil | Table::Discrete => (16 * registers).min(MOST_BITS),
        Table::Input | Table::Holding => registers,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::modbus::testing::polled;
    use crate::plant::RegisterType::{self, F32, U16, U32, U64};

    fn device(max_registers: u16, max_gap: u16, reads: &[(Table, u16, RegisterType)]) -> Device {
        Device { max_registers, max_gap, ..polled(1, reads).devices.remove(0) }
    }

    fn all(device: &Device) -> Vec<Read> {
        plan(device, |_| true)
    }

    fn shape(reads: &[Read]) -> Vec<(Table, u16, u16)> {
        reads.iter().map(|read| (read.table, read.address, read.count)).collect()
    }

    #[test]
    fn small_holes_are_bridged_and_wide_ones_are_not() {
        use Table::Holding;
        let values = [(Holding, 12, U16), (Holding, 0, F32), (Holding, 4, F32), (Holding, 30, U64)];
        assert_eq!(shape(&all(&device(125, 6, &values))), [(Holding, 0, 13), (Holding, 30, 4)]);
        assert_eq!(shape(&all(&device(125, 5, &values))), [(Holding, 0, 6), (Holding, 12, 1), (Holding, 30, 4)]);
        assert_eq!(shape(&all(&device(125, 125, &values))), [(Holding, 0, 34)]);
        assert_eq!(all(&device(125, 125, &values))[0].points, [1, 2, 0, 3]);
    }

    #[test]
    fn a_value_is_never_split_and_tables_are_apart() {
        let values = [(Table::Input, 0, U16), (Table::Input, 1, U32), (Table::Holding, 3, U16), (Table::Input, 3, U16)];
        assert_eq!(
            shape(&all(&device(2, 8, &values))),
            [(Table::Input, 0, 1), (Table::Input, 1, 2), (Table::Input, 3, 1), (Table::Holding, 3, 1)]
        );
        assert_eq!(shape(&all(&device(1, 0, &values[1..2]))), [(Table::Input, 1, 2)], "wider than the limit");
        assert_eq!(shape(&all(&device(0, 0, &[]))), []);
    }

    #[test]
    fn bits_and_the_end_of_the_address_space() {
        let values =
            [(Table::Coil, 0, U16), (Table::Coil, 31, U16), (Table::Coil, 32, U16), (Table::Input, 65_535, U16)];
        assert_eq!(
            shape(&all(&device(2, 100, &values))),
            [(Table::Coil, 0, 32), (Table::Coil, 32, 1), (Table::Input, 65_535, 1)]
        );
    }

    #[test]
    fn holes_are_not_touched_and_reads_are_aligned() {
        let values = [(Table::Input, 1, U16), (Table::Input, 4, U16), (Table::Input, 9, U32)];
        let plain = device(125, 8, &values);
        assert_eq!(shape(&all(&plain)), [(Table::Input, 1, 10)]);
        let holed = Device { holes: vec![(Table::Holding, 0, 99), (Table::Input, 5, 6)], ..plain.clone() };
        assert_eq!(shape(&all(&holed)), [(Table::Input, 1, 4), (Table::Input, 9, 2)]);
        let aligned = Device { align: 2, ..plain.clone() };
        assert_eq!(shape(&all(&aligned)), [(Table::Input, 0, 12)]);
        let both = Device { align: 4, holes: vec![(Table::Input, 0, 0)], ..plain };
        assert_eq!(shape(&all(&both)), [(Table::Input, 1, 11)], "an alignment that touches a hole is given up");
    }

    #[test]
    fn each_rate_is_a_round_and_none_reads_what_is_not_due() {
        let mut device = device(125, 8, &[(Table::Input, 0, U16), (Table::Input, 1, U16), (Table::Coil, 0, U16)]);
        device.points[1].poll = Some(Duration::from_secs(60));
        let rounds = rounds(&device);
        assert_eq!(rounds.len(), 2);
        assert_eq!(
            (rounds[0].every, shape(&rounds[0].reads)),
            (device.poll, vec![(Table::Coil, 0, 1), (Table::Input, 0, 1)])
        );
        assert_eq!((rounds[1].every.as_secs(), shape(&rounds[1].reads)), (60, vec![(Table::Input, 1, 1)]));
    }

    /// The fewest reads there can be, found by trying every cut of the sorted values.
    fn fewest(spans: &[Span], device: &Device) -> usize {
        let most = u32::from(device.max_registers);
        let mut best = vec![0; spans.len() + 1];
        for start in (0..spans.len()).rev() {
            let mut reached = spans[start].end;
            best[start] = 1 + best[start + 1];
            for next in start + 1..spans.len() {
                let from = spans[next].from;
                if from > reached + u32::from(device.max_gap) || !free(device, Table::Input, reached, from) {
                    break;
                }
                reached = reached.max(spans[next].end);
                if reached - spans[start].from > most {
                    break;
                }
                best[start] = best[start].min(1 + best[next + 1]);
            }
        }
        best[0]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn every_value_once_within_the_limits_and_no_read_too_many(
            at in prop::collection::vec((0u16..60, prop::sample::select(vec![U16, U32, U64])), 0..20),
            max_registers in 4u16..20, max_gap in 0u16..10, align in prop::sample::select(vec![1u16, 2, 4]),
            holes in prop::collection::vec((0u16..60, 1u16..6), 0..4),
        ) {
            // What is read is no hole.
            let clear = |(address, kind): &(u16, RegisterType)| {
                holes.iter().all(|(first, length)| address + kind.width() <= *first || first + length <= *address)
            };
            let values: Vec<_> = at.iter().filter(|value| clear(value)).map(|(a, kind)| (Table::Input, *a, *kind)).collect();
            let holes: Vec<_> = holes.iter().map(|(first, length)| (Table::Input, *first, first + length - 1)).collect();
            let device = Device { align, holes, ..device(max_registers, max_gap, &values) };
            let reads = all(&device);
            let mut seen: Vec<usize> = reads.iter().flat_map(|read| read.points.clone()).collect();
            seen.sort_unstable();
            prop_assert!(seen.into_iter().eq(0..values.len()));
            for read in &reads {
                prop_assert!(read.count <= max_registers);
                let (from, end) = (u32::from(read.address), u32::from(read.address + read.count));
                prop_assert!(free(&device, Table::Input, from, end), "a hole is touched");
                for index in &read.points {
                    let (first, last) = device.points[*index].register().unwrap().span();
                    prop_assert!(first >= from && last <= end);
                }
            }
            let mut spans: Vec<_> = device.points.iter().map(|v| Span::of(v.register().unwrap(), &device)).collect();
            spans.sort_unstable();
            prop_assert_eq!(reads.len(), fewest(&spans, &device));
        }
    }
}
