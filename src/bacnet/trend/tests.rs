//! A log through its life, with the time as argument.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use proptest::prelude::*;

use super::keep::Keeper;
use super::log::{Change, DEFAULT_INTERVAL, Log, Logging, Seen};
use super::record::{DISABLED, Datum, INTERRUPTED, PURGED, Record};
use crate::bacnet::answer::Failure;
use crate::bacnet::civil::DateTime;
use crate::bacnet::objects::Wire;
use crate::durable::Keepsake;
use crate::time::{Mono, Now, Utc};

/// 2025-11-24T16:00:00Z
const START: i64 = 1_764_000_000_000;

/// A log and its two clocks.
struct Bench {
    log: Log,
    now: Now,
}

impl Bench {
    fn new(capacity: usize) -> Self {
        Self { log: Log::new(capacity), now: Now { mono: Mono::START, utc: Utc::from_millis(START) } }
    }

    fn write(&mut self, change: Change) {
        self.log.apply(change, self.now);
    }

    /// Let seconds pass, a look each second.
    fn run(&mut self, seconds: u64, datum: Datum) {
        for _ in 0..seconds {
            self.now.mono = self.now.mono.after(Duration::from_secs(1));
            self.now.utc = Utc::from_millis(self.now.utc.millis() + 1_000);
            self.look(datum);
        }
    }

    fn look(&mut self, datum: Datum) {
        self.log.step(Seen { datum, increment: 1.0 }, self.now);
    }

    /// What it holds, and when in seconds since the start.
    fn records(&self) -> Vec<(i64, Datum)> {
        self.log.ring.iter().map(|(_, record)| ((record.at().millis() - START) / 1_000, record.datum())).collect()
    }

    /// What it holds, under which numbers.
    fn numbered(&self) -> Vec<(u64, Record)> {
        self.log.ring.iter().collect()
    }
}

const fn real(value: f32) -> Datum {
    Datum::Value(Wire::Real(value), 0)
}

fn at(seconds: i64) -> DateTime {
    DateTime::of(Utc::from_millis(START + seconds * 1_000))
}

#[test]
fn polls_stand_on_the_boundaries_of_civil_time() {
    let mut bench = Bench::new(100);
    bench.run(200, real(1.0));
    assert_eq!(bench.records(), [(1, Datum::Status(0)), (60, real(1.0)), (120, real(1.0)), (180, real(1.0))]);
    bench.write(Change::Interval(3_000));
    bench.write(Change::Offset(1_000));
    bench.run(100, real(2.0));
    assert_eq!(bench.records()[4..], [(220, real(2.0)), (250, real(2.0)), (280, real(2.0))]);
    // seven seconds divide no minute: they begin when they are written, and do not care for the clock
    bench.write(Change::Interval(700));
    bench.run(22, real(3.0));
    assert_eq!(bench.records()[7..], [(301, real(3.0)), (308, real(3.0)), (315, real(3.0)), (322, real(3.0))]);
    bench.write(Change::Align(false));
    bench.write(Change::Interval(6_000));
    bench.run(61, real(4.0));
    assert_eq!(bench.records()[11..], [(323, real(4.0)), (383, real(4.0))]);
}

#[test]
fn a_change_of_value_is_logged_by_increment_by_flags_and_by_failure() {
    let mut bench = Bench::new(100);
    bench.write(Change::Interval(0));
    assert_eq!((bench.log.options.logging, bench.log.options.interval), (Logging::Cov, 0));
    bench.run(5, real(10.0));
    bench.run(5, real(10.9));
    bench.run(5, real(11.0));
    bench.run(5, Datum::Value(Wire::Real(11.0), 0x40));
    bench.run(5, Datum::Failure(Failure::GOING_DOWN));
    bench.run(5, real(11.0));
    let expected = [
        (0, Datum::Status(0)),
        (1, real(10.0)),
        (11, real(11.0)),
        (16, Datum::Value(Wire::Real(11.0), 0x40)),
        (21, Datum::Failure(Failure::GOING_DOWN)),
        (26, real(11.0)),
    ];
    assert_eq!(bench.records(), expected);
    bench.write(Change::Increment(Some(0.25)));
    bench.run(5, real(11.25));
    assert_eq!(bench.records()[6..], [(31, real(11.25))]);
    // and back to polling, with an interval
    bench.write(Change::Logging(Logging::Polled));
    assert_eq!(bench.log.options.interval, DEFAULT_INTERVAL);
}

#[test]
fn a_trigger_makes_one_record() {
    let mut bench = Bench::new(100);
    bench.write(Change::Logging(Logging::Triggered));
    bench.run(100, real(1.0));
    bench.write(Change::Trigger(true));
    assert!(bench.log.trigger);
    bench.run(100, real(2.0));
    assert!(!bench.log.trigger);
    assert_eq!(bench.records(), [(0, Datum::Status(0)), (101, real(2.0))]);
}

#[test]
fn it_collects_only_while_it_is_enabled_and_inside_its_times() {
    let mut bench = Bench::new(100);
    bench.write(Change::Interval(0));
    bench.write(Change::Enable(false));
    bench.run(10, real(1.0));
    bench.write(Change::Start(at(20)));
    bench.write(Change::Stop(at(30)));
    bench.write(Change::Enable(true));
    bench.run(30, real(2.0));
    let expected = [
        (0, Datum::Status(0)),
        (0, Datum::Status(DISABLED)),
        (20, Datum::Status(0)),
        (20, real(2.0)),
        (30, Datum::Status(DISABLED)),
    ];
    assert_eq!(bench.records(), expected);
    // a stop before the start is never
    bench.write(Change::Stop(at(10)));
    bench.run(100, real(3.0));
    assert_eq!(bench.records().len(), 5);
    // unspecified is no bound
    bench.write(Change::Start(DateTime::ANY));
    bench.write(Change::Stop(DateTime::ANY));
    assert_eq!(bench.records()[5..], [(140, Datum::Status(0))]);
}

#[test]
fn a_full_log_overwrites_or_stops_as_it_is_told() {
    let mut bench = Bench::new(10);
    bench.write(Change::Interval(100));
    bench.run(30, real(1.0));
    assert_eq!((bench.log.count(), bench.log.sequence()), (10, 30));
    // told to stop when it is full: the oldest makes room for the record that says so
    bench.write(Change::StopWhenFull(true));
    assert!(!bench.log.options.enable && bench.log.is_stopped_full());
    assert_eq!((bench.log.count(), bench.log.sequence()), (10, 31));
    assert_eq!(bench.records()[9].1, Datum::Status(DISABLED));
    bench.run(30, real(2.0));
    assert_eq!(bench.log.sequence(), 31);
    // purged, it can be enabled again and stops with its last place
    bench.write(Change::Purge);
    assert_eq!(bench.records(), [(60, Datum::Status(PURGED | DISABLED))]);
    bench.write(Change::Enable(true));
    bench.run(30, real(3.0));
    let records = bench.records();
    assert_eq!(
        (records.len(), records[1].1, records[2].1, records[9].1),
        (10, Datum::Status(0), real(3.0), Datum::Status(DISABLED))
    );
    assert!(!bench.log.options.enable && bench.log.is_stopped_full());
    assert_eq!(bench.log.sequence(), 41);
}

#[test]
fn a_clock_that_is_set_is_recorded_under_the_new_time() {
    let mut bench = Bench::new(100);
    bench.run(100, real(1.0));
    bench.now.utc = Utc::from_millis(bench.now.utc.millis() - 3_600_000);
    bench.run(60, real(2.0));
    let expected = [(1, Datum::Status(0)), (60, real(1.0)), (-3_499, Datum::TimeChange(-3_600.0)), (-3_480, real(2.0))];
    assert_eq!(bench.records(), expected);
    // by time, what is newer than a moment is found from the oldest, what is older from the newest
    let hundredths = |seconds: i64| START / 10 + seconds * 100;
    assert_eq!(bench.log.first_after(hundredths(-4_000)), Some(1));
    assert_eq!(bench.log.last_before(hundredths(0)), Some(4));
    assert_eq!(bench.log.first_after(hundredths(60)), None);
    assert_eq!(bench.log.last_before(hundredths(-3_499)), None);
}

/// The disk.
#[derive(Default)]
struct Disk(HashMap<String, Vec<u8>>);

impl Disk {
    fn take(&mut self, keepsakes: Vec<Keepsake>) -> usize {
        let octets = keepsakes.iter().map(|k| k.value.as_ref().map_or(0, Vec::len)).sum();
        self.0.extend(keepsakes.into_iter().filter_map(|keepsake| Some((keepsake.key, keepsake.value?))));
        octets
    }
}

#[test]
fn what_was_logged_is_there_after_a_restart_with_the_interruption_behind_it() {
    let mut disk = Disk::default();
    let mut bench = Bench::new(500);
    let mut keeper = Keeper::new(1);
    bench.write(Change::Interval(100));
    bench.write(Change::Increment(Some(2.5)));
    for n in 0..1_000u16 {
        bench.run(1, real(f32::from(n)));
        disk.take(keeper.flush(&bench.log, false, bench.now.mono));
    }
    disk.take(keeper.flush(&bench.log, true, bench.now.mono));
    let (records, options, sequence) = (bench.records(), bench.log.options, bench.log.sequence());
    let mut keeper = Keeper::new(1);
    bench.log = keeper.restore(500, &disk.0).unwrap();
    assert_eq!((bench.records(), bench.log.options, bench.log.sequence()), (records.clone(), options, sequence));
    bench.run(2, real(7.0));
    let after = bench.records();
    assert_eq!(after[..498], records[2..]);
    assert_eq!((after[498].1, after[499].1), (Datum::Status(INTERRUPTED), real(7.0)));
    assert_eq!(bench.log.sequence(), sequence + 2);
    // another log finds nothing of it
    assert!(Keeper::new(2).restore(500, &disk.0).is_none());
}

#[test]
fn a_power_cut_loses_a_minute_and_leaves_a_gap_in_the_numbers() {
    let mut disk = Disk::default();
    let mut bench = Bench::new(500);
    let mut keeper = Keeper::new(1);
    bench.write(Change::Interval(100));
    for _ in 0..290 {
        bench.run(1, real(1.0));
        disk.take(keeper.flush(&bench.log, false, bench.now.mono));
    }
    let (given, before) = (bench.log.ring.newest(), bench.numbered());
    keeper = Keeper::new(1);
    bench.log = keeper.restore(500, &disk.0).unwrap();
    // what was kept has the numbers that it had, and everything that may have been given out is behind us
    let kept = bench.numbered();
    assert!(kept.len() >= 290 - 32, "{}", kept.len());
    assert_eq!(kept, before[..kept.len()]);
    let ceiling = bench.log.ring.newest();
    assert!((given..=given + 40).contains(&ceiling), "{ceiling}");
    bench.run(1, real(2.0));
    let records = bench.numbered();
    assert_eq!(records[kept.len()].0, ceiling + 1);
    assert_eq!(records[kept.len()].1.datum(), Datum::Status(INTERRUPTED));
    // a reader that asks for what follows its last number gets the interruption, whatever that number is
    let interruption = kept.len() as i64 + 1;
    for number in kept.len() as u32..=ceiling as u32 {
        assert_eq!(bench.log.position_of(number + 1, false), interruption, "{number}");
    }
    assert_eq!(bench.log.position_of(ceiling as u32, true), interruption - 1);
    // and the gap survives the next restart, also an orderly one
    disk.take(keeper.flush(&bench.log, true, Mono::START));
    bench.log = Keeper::new(1).restore(500, &disk.0).unwrap();
    assert_eq!((bench.numbered(), bench.log.ring.newest()), (records, ceiling + 1));
}

#[test]
fn a_thousand_power_cuts_take_no_record_of_a_log_that_stands_still() {
    let mut disk = Disk::default();
    let mut bench = Bench::new(400);
    let mut keeper = Keeper::new(1);
    bench.write(Change::Interval(100));
    bench.run(399, real(1.0));
    bench.write(Change::Enable(false));
    disk.take(keeper.flush(&bench.log, false, bench.now.mono));
    let before = bench.numbered();
    assert_eq!(before.len(), 400);
    for _ in 0..1_000 {
        keeper = Keeper::new(1);
        bench.log = keeper.restore(400, &disk.0).unwrap();
        bench.run(1, real(2.0));
        disk.take(keeper.flush(&bench.log, false, bench.now.mono));
    }
    assert_eq!(bench.numbered(), before);
    // and when each leaves a record with a gap before it, they take the oldest places only
    bench.write(Change::Enable(true));
    for _ in 0..100 {
        disk.take(keeper.flush(&bench.log, false, bench.now.mono));
        keeper = Keeper::new(1);
        bench.log = keeper.restore(400, &disk.0).unwrap();
        bench.run(1, real(2.0));
    }
    assert_eq!(bench.log.count(), 400);
    assert!(disk.0.len() <= 6, "{}", disk.0.len());
}

#[test]
fn what_a_version_without_gaps_left_is_read() {
    let mut disk = Disk::default();
    let mut bench = Bench::new(500);
    bench.write(Change::Interval(100));
    bench.run(100, real(1.0));
    disk.take(Keeper::new(1).flush(&bench.log, true, bench.now.mono));
    let block = disk.0.get_mut("trend-log/1/0").unwrap();
    // Its layout had no number of its own.
    block.drain(9..17);
    block[0] = 1;
    let restored = Keeper::new(1).restore(500, &disk.0).unwrap();
    assert_eq!(restored.ring.iter().collect::<Vec<_>>(), bench.numbered());
}

#[test]
fn spoilt_keepsakes_are_no_records() {
    let mut disk = Disk::default();
    let mut bench = Bench::new(500);
    bench.write(Change::Interval(100));
    bench.run(100, real(1.0));
    disk.take(Keeper::new(1).flush(&bench.log, true, bench.now.mono));
    let whole = disk.0["trend-log/1/0"].clone();
    for octet in 0..40 {
        for bits in [0x01, 0x80, 0xFF] {
            let block = disk.0.get_mut("trend-log/1/0").unwrap();
            block.clone_from(&whole);
            block[octet] ^= bits;
            let log = Keeper::new(1).restore(500, &disk.0).unwrap();
            let numbers: Vec<u64> = log.ring.iter().map(|(number, _)| number).collect();
            assert!(numbers.is_sorted_by(|a, b| a < b) && numbers.last() <= Some(&log.ring.newest()));
        }
        disk.0.get_mut("trend-log/1/0").unwrap().truncate(octet);
        assert!(Keeper::new(1).restore(500, &disk.0).unwrap().count() <= 1);
    }
}

#[test]
fn a_purge_stays_purged_and_settings_are_kept_at_once() {
    let mut disk = Disk::default();
    let mut bench = Bench::new(500);
    let mut keeper = Keeper::new(1);
    bench.write(Change::Interval(100));
    bench.run(300, real(1.0));
    disk.take(keeper.flush(&bench.log, false, bench.now.mono));
    bench.write(Change::Purge);
    bench.write(Change::Enable(false));
    assert!(disk.take(keeper.flush(&bench.log, false, bench.now.mono)) > 0);
    let restored = Keeper::new(1).restore(500, &disk.0).unwrap();
    assert_eq!(restored.count(), 2);
    assert!(!restored.options.enable);
    // a disabled log misses nothing by a restart
    bench.log = restored;
    bench.run(10, real(1.0));
    assert_eq!(bench.log.count(), 2);
}

#[test]
fn the_disk_is_written_in_measure() {
    let mut bench = Bench::new(4_320);
    let mut keeper = Keeper::new(1);
    let (mut octets, mut writes) = (0, 0);
    let mut disk = Disk::default();
    // a day of minutes
    for _ in 0..86_400 {
        bench.run(1, real(1.0));
        let keepsakes = keeper.flush(&bench.log, false, bench.now.mono);
        writes += keepsakes.len();
        octets += disk.take(keepsakes);
    }
    assert!(writes <= 2 * 1_442, "{writes}");
    assert!(octets < 2_000_000, "{octets}");
    assert!(disk.0.len() <= 36);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is written when: what is restored is a run of what was made, numbers go on, and none is used twice.
    #[test]
    fn a_restart_at_any_moment_keeps_the_order(
        steps in proptest::collection::vec((1u64..200, 0u8..12), 1..40),
        capacity in 10usize..400,
    ) {
        let mut disk = Disk::default();
        let mut bench = Bench::new(capacity);
        let mut keeper = Keeper::new(1);
        // Every number that was ever given out, and what was made that no power cut has taken.
        let mut given = BTreeSet::new();
        let mut made: BTreeMap<u64, Record> = BTreeMap::new();
        let mut note = |made: &mut BTreeMap<u64, Record>, bench: &Bench, before: u64| {
            let new = bench.log.ring.iter().rev().take_while(|(number, _)| *number > before);
            new.into_iter().all(|(number, record)| {
                made.insert(number, record);
                given.insert(number)
            })
        };
        bench.write(Change::Interval(100));
        prop_assert!(note(&mut made, &bench, 0));
        let mut value = 0u16;
        for (seconds, act) in steps {
            for _ in 0..seconds {
                value = value.wrapping_add(1);
                let before = bench.log.ring.newest();
                bench.run(1, real(f32::from(value)));
                prop_assert!(note(&mut made, &bench, before));
                disk.take(keeper.flush(&bench.log, false, bench.now.mono));
                prop_assert!(bench.log.count() <= capacity);
            }
            let before = bench.log.ring.newest();
            match act {
                0 => bench.write(Change::Purge),
                1 => bench.write(Change::StopWhenFull(true)),
                2 => bench.write(Change::StopWhenFull(false)),
                3 => bench.write(Change::Enable(true)),
                4 | 5 => {
                    // Stopped, or killed.
                    if act == 4 {
                        disk.take(keeper.flush(&bench.log, true, bench.now.mono));
                    }
                    keeper = Keeper::new(1);
                    bench.log = keeper.restore(capacity, &disk.0).unwrap();
                    let kept = bench.numbered();
                    let made_so: Vec<_> = made.iter().map(|(number, record)| (*number, *record)).collect();
                    prop_assert!(kept.is_empty() || made_so.windows(kept.len()).any(|window| window == kept));
                    made = kept.into_iter().collect();
                    prop_assert!(bench.log.ring.newest() >= before);
                    continue;
                }
                _ => {}
            }
            prop_assert!(note(&mut made, &bench, before));
        }
    }
}
