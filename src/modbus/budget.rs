//! How long a device's requests take on its line, and whether a line can keep up with its poll rates. Pure: what the wire
//! takes is computed, what the other end takes is assumed, and both are said.

use std::time::Duration;

use super::plan::rounds;
use crate::plant::{Device, Link, ModbusLine, SerialLine, Table, WritePlace};
use crate::point::PointId;

/// How long a device takes before it answers on a serial line: assumed. Meters take 5 to 50 ms.
pub const THINK: Duration = Duration::from_millis(20);

/// How long a request and its answer take over TCP: assumed, in a building's network.
pub const ROUND_TRIP: Duration = Duration::from_millis(10);

/// One request that is made again and again: a read, or a write with its read-back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// From start to start, in site time; a write also comes at each change.
    pub every: Duration,
    /// Function code.
    pub function: u8,
    /// In which table.
    pub table: Table,
    /// First protocol address, from 0.
    pub address: u16,
    /// Registers or bits.
    pub count: u16,
    /// The points in it.
    pub points: Vec<PointId>,
    /// How long it has the line to itself.
    pub takes: Duration,
}

/// What a poll rate asks of a line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// The rate: within so long...
    pub every: Duration,
    /// ...this much has to be exchanged: what is due at this rate, and at all faster ones as often as they come.
    pub needs: Duration,
}

impl Load {
    /// Share of the time that is taken; above 1 the line cannot keep up.
    pub fn share(&self) -> f64 {
        self.needs.as_secs_f64() / self.every.as_secs_f64().max(1e-9)
    }

    /// The line cannot keep up with this rate.
    pub fn is_over(&self) -> bool {
        self.needs > self.every
    }
}

/// Everything that is asked of a device and written to it; nothing for one that is not Modbus.
pub fn exchanges(device: &Device) -> Vec<Exchange> {
    let Link::Modbus { line, unit } = &device.link else { return Vec::new() };
    let mut all = Vec::new();
    for round in rounds(device) {
        for read in round.reads {
            let points = read.points.iter().filter_map(|index| Some(device.points.get(*index)?.point)).collect();
            all.push(Exchange {
                every: round.every,
                function: function_of(read.table),
                table: read.table,
                address: read.address,
                count: read.count,
                points,
                takes: takes(line, REQUEST, answer(read.table, read.count)),
            });
        }
    }
    for write in &device.writes {
        let WritePlace::Register(place) = &write.place else { continue };
        let count = place.width();
        let (function, request) = match (place.table, count) {
            (Table::Coil | Table::Discrete, _) => (5, REQUEST),
            (_, 1) => (6, REQUEST),
            (_, many) => (16, 9 + 2 * usize::from(many)),
        };
        let mut time = takes(line, request, REQUEST);
        if *unit == 0 && !matches!(line, ModbusLine::Tcp { .. }) {
            // Nobody answers a broadcast, and nothing is read back.
            time = takes(line, request, 0);
        } else {
            time += takes(line, REQUEST, answer(place.table, count));
        }
        let (table, address) = (place.table, place.address);
        let points = vec![write.point];
        all.push(Exchange { every: write.refresh, function, table, address, count, points, takes: time });
    }
    all
}

/// The loads of a line, or of a device, at each of its rates, the fastest first. Each pair is a rate and how long what
/// comes at it takes.
pub fn loads(work: &[(Duration, Duration)]) -> Vec<Load> {
    let mut rates: Vec<Duration> = work.iter().map(|(every, _)| *every).collect();
    rates.sort_unstable();
    rates.dedup();
    let needs = |rate: Duration| {
        let due = work.iter().filter(|(every, _)| *every <= rate);
        let times = |every: &Duration| rate.as_secs_f64() / every.as_secs_f64().max(1e-3);
        let needs: f64 = due.map(|(every, takes)| takes.as_secs_f64() * times(every)).sum();
        Duration::try_from_secs_f64(needs).unwrap_or(Duration::MAX)
    };
    rates.into_iter().map(|every| Load { every, needs: needs(every) }).collect()
}

/// Bytes of an RTU frame that asks for addresses, or writes one ("MODBUS over Serial Line V1.02", 2.3).
const REQUEST: usize = 8;

/// Bytes of the RTU frame that answers a read.
fn answer(table: Table, count: u16) -> usize {
    let data = match table {
        Table::Coil | Table::Discrete => usize::from(count).div_ceil(8),
        Table::Input | Table::Holding => 2 * usize::from(count),
    };
    5 + data
}

/// How long a line is taken by a request and an answer of so many RTU bytes.
fn takes(line: &ModbusLine, request: usize, answer: usize) -> Duration {
    let serial = |line: &SerialLine| {
        let frames = if answer == 0 { 1 } else { 2 };
        line.takes(request + answer) + line.silence() * frames + if answer == 0 { Duration::ZERO } else { THINK }
    };
    match line {
        ModbusLine::Tcp { .. } | ModbusLine::Tls { .. } => ROUND_TRIP,
        ModbusLine::Rtu { serial: line, .. } => serial(line),
        // What is behind the serial server is not known here: the default of a serial line is assumed.
        ModbusLine::RtuOverTcp { .. } => serial(&SerialLine::new("")) + ROUND_TRIP,
    }
}

/// The function code that reads a table.
pub const fn function_of(table: Table) -> u8 {
    match table {
        Table::Coil => 1,
        Table::Discrete => 2,
        Table::Holding => 3,
        Table::Input => 4,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::modbus::testing::polled;
    use crate::plant::{Codec, DeviceWrite, Parity, RegisterPlace, RegisterType};

    fn on(line: ModbusLine, reads: &[(Table, u16, RegisterType)]) -> Device {
        let mut device = polled(1, reads).devices.remove(0);
        device.link = Link::Modbus { line, unit: 1 };
        device
    }

    fn serial(baud: u32) -> ModbusLine {
        ModbusLine::Rtu { serial: SerialLine { baud, parity: Parity::None, ..SerialLine::new("/dev/x") }, echo: false }
    }

    #[test]
    fn a_serial_exchange_is_its_bytes_two_silences_and_the_device() {
        let device = on(serial(9600), &[(Table::Input, 0, RegisterType::F32), (Table::Input, 8, RegisterType::F32)]);
        let all = exchanges(&device);
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].function, all[0].address, all[0].count, all[0].points.len()), (4, 0, 10, 2));
        // 8 + 25 bytes of 10 bits at 9600 baud: 34.375 ms; T3.5 is 3.645 ms, twice.
        assert_eq!(all[0].takes, Duration::from_micros(34_375 + 2 * 3645) + THINK);
        let tcp = on(ModbusLine::Tcp { host: "h".to_owned(), port: 502 }, &[(Table::Coil, 3, RegisterType::U16)]);
        assert_eq!(exchanges(&tcp)[0].takes, ROUND_TRIP);
        assert_eq!(exchanges(&tcp)[0].function, 1);
    }

    #[test]
    fn a_write_is_followed_by_its_read_back_but_not_a_broadcast() {
        let mut device = on(serial(19_200), &[]);
        let place = RegisterPlace::plain(Table::Holding, 20, Codec::plain(RegisterType::F32));
        let place = WritePlace::Register(place);
        device.writes = vec![DeviceWrite { point: PointId(3), place, deadband: 0.0, refresh: Duration::from_secs(30) }];
        let all = exchanges(&device);
        assert_eq!((all[0].function, all[0].count, all[0].every), (16, 2, Duration::from_secs(30)));
        // 13 + 8 and 8 + 9 bytes of 10 bits, four silences of 1.822 ms, two answers to wait for.
        let micros = |bytes: u64| Duration::from_micros(bytes * 10_000_000 / 19_200);
        assert_eq!(all[0].takes, micros(21) + micros(17) + Duration::from_micros(1822) * 4 + THINK * 2);
        device.link = Link::Modbus { line: serial(19_200), unit: 0 };
        assert_eq!(exchanges(&device)[0].takes, micros(13) + Duration::from_micros(1822));
    }

    #[test]
    fn a_rate_carries_the_faster_ones_with_it() {
        let ms = Duration::from_millis;
        let loads = loads(&[(ms(1000), ms(300)), (ms(1000), ms(300)), (ms(10_000), ms(5000))]);
        assert_eq!(loads, [Load { every: ms(1000), needs: ms(600) }, Load { every: ms(10_000), needs: ms(11_000) }]);
        assert!(!loads[0].is_over() && loads[1].is_over());
        assert_eq!(loads[0].share(), 0.6);
        assert!(super::loads(&[]).is_empty());
        let endless = super::loads(&[(ms(50), ms(60)), (Duration::MAX, ms(1))]);
        assert!(endless[0].is_over() && endless[1].share() >= 1.0, "{endless:?}");
    }

    proptest! {
        /// The slowest rate's share is the use of the line: the sum over everything of what it takes by how often.
        #[test]
        fn the_slowest_share_is_the_use_of_the_line(
            work in prop::collection::vec((1..3600u64, 1..2000u64), 1..20),
        ) {
            let work: Vec<_> =
                work.into_iter().map(|(s, ms)| (Duration::from_secs(s), Duration::from_millis(ms))).collect();
            let used: f64 = work.iter().map(|(every, takes)| takes.as_secs_f64() / every.as_secs_f64()).sum();
            let loads = loads(&work);
            prop_assert!((loads.last().unwrap().share() - used).abs() < 1e-6);
            prop_assert!(loads.is_sorted_by(|a, b| a.every < b.every && a.share() <= b.share() + 1e-9));
        }
    }
}
