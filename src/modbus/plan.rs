//! The read plan of a polled device: which requests read all of its values, as few as its limits allow. Pure.

use crate::plant::{Device, RegisterPlace, Table};

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

/// All reads of a device, by table and address; no value is split over two.
///
/// Of bits as many are read at once as fit into `max_registers` registers; `max_gap` counts addresses of either kind. A
/// value wider than `max_registers` gets a read of its own width.
pub fn plan(device: &Device) -> Vec<Read> {
    let registers = device.points.iter().enumerate();
    let mut values: Vec<(usize, &RegisterPlace)> =
        registers.filter_map(|(index, point)| Some((index, point.register()?))).collect();
    values.sort_by_key(|(index, value)| (value.table, value.address, end(value), *index));
    let mut reads: Vec<Read> = Vec::new();
    for (index, value) in values {
        let (from, to) = (u32::from(value.address), end(value).min(0x1_0000));
        if let Some(open) = reads.last_mut().filter(|open| open.table == value.table) {
            let start = u32::from(open.address);
            let reached = start + u32::from(open.count);
            let whole = to.max(reached) - start;
            if from <= reached + u32::from(device.max_gap) && whole <= most(device, value.table) {
                open.count = u16::try_from(whole).unwrap_or(u16::MAX);
                open.points.push(index);
                continue;
            }
        }
        let count = u16::try_from(to - from).unwrap_or(u16::MAX);
        reads.push(Read { table: value.table, address: value.address, count, points: vec![index] });
    }
    reads
}

/// How many registers, or one bit, a value takes.
pub(super) const fn width(value: &RegisterPlace) -> u16 {
    match value.table {
        Table::Coil | Table::Discrete => 1,
        Table::Input | Table::Holding => value.codec.kind.width(),
    }
}

/// The first address after a value.
const fn end(value: &RegisterPlace) -> u32 {
    value.address as u32 + width(value) as u32
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

    fn shape(reads: &[Read]) -> Vec<(Table, u16, u16)> {
        reads.iter().map(|read| (read.table, read.address, read.count)).collect()
    }

    #[test]
    fn small_holes_are_bridged_and_wide_ones_are_not() {
        use Table::Holding;
        let values = [(Holding, 12, U16), (Holding, 0, F32), (Holding, 4, F32), (Holding, 30, U64)];
        assert_eq!(shape(&plan(&device(125, 6, &values))), [(Holding, 0, 13), (Holding, 30, 4)]);
        assert_eq!(shape(&plan(&device(125, 5, &values))), [(Holding, 0, 6), (Holding, 12, 1), (Holding, 30, 4)]);
        assert_eq!(shape(&plan(&device(125, 125, &values))), [(Holding, 0, 34)]);
        assert_eq!(plan(&device(125, 125, &values))[0].points, [1, 2, 0, 3]);
    }

    #[test]
    fn a_value_is_never_split_and_tables_are_apart() {
        let values = [(Table::Input, 0, U16), (Table::Input, 1, U32), (Table::Holding, 3, U16), (Table::Input, 3, U16)];
        assert_eq!(
            shape(&plan(&device(2, 8, &values))),
            [(Table::Input, 0, 1), (Table::Input, 1, 2), (Table::Input, 3, 1), (Table::Holding, 3, 1)]
        );
        assert_eq!(shape(&plan(&device(1, 0, &values[1..2]))), [(Table::Input, 1, 2)], "wider than the limit");
        assert_eq!(shape(&plan(&device(0, 0, &[]))), []);
    }

    #[test]
    fn bits_and_the_end_of_the_address_space() {
        let values =
            [(Table::Coil, 0, U16), (Table::Coil, 31, U16), (Table::Coil, 32, U16), (Table::Input, 65_535, U16)];
        assert_eq!(
            shape(&plan(&device(2, 100, &values))),
            [(Table::Coil, 0, 32), (Table::Coil, 32, 1), (Table::Input, 65_535, 1)]
        );
    }

    /// The fewest reads there can be, found by trying every cut of the sorted values.
    fn fewest(values: &[(u32, u32)], most: u32, gap: u32) -> usize {
        let mut best = vec![0; values.len() + 1];
        for start in (0..values.len()).rev() {
            let mut reached = values[start].1;
            best[start] = 1 + best[start + 1];
            for next in start + 1..values.len() {
                if values[next].0 > reached + gap {
                    break;
                }
                reached = reached.max(values[next].1);
                if reached - values[start].0 > most {
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
            max_registers in 4u16..20, max_gap in 0u16..10,
        ) {
            let values: Vec<_> = at.iter().map(|(address, kind)| (Table::Input, *address, *kind)).collect();
            let device = device(max_registers, max_gap, &values);
            let reads = plan(&device);
            let mut seen: Vec<usize> = reads.iter().flat_map(|read| read.points.clone()).collect();
            seen.sort_unstable();
            prop_assert!(seen.into_iter().eq(0..values.len()));
            for read in &reads {
                prop_assert!(read.count <= max_registers);
                for index in &read.points {
                    let value = device.points[*index].register().unwrap();
                    prop_assert!(value.address >= read.address);
                    prop_assert!(value.address + width(value) <= read.address + read.count);
                }
            }
            let mut spans: Vec<_> = device.points.iter().map(|v| v.register().unwrap()).map(|v| (u32::from(v.address), end(v))).collect();
            spans.sort_unstable();
            prop_assert_eq!(reads.len(), fewest(&spans, max_registers.into(), max_gap.into()));
        }
    }
}
