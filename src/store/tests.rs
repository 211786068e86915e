//! The store over kills, corrupt files, full disks.

use std::path::Path;

use tempfile::tempdir;

use super::{FILE, Reader, Restored, Store, StoreError};
use crate::decision::{Alarm, SafetyLatch};
use crate::durable::{Checkpoint, Keepsake, SavedCounter, SavedEfficiency, SavedInterval, SavedRuntime, SavedSlot};
use crate::point::{PointKey, Priority, Value};
use crate::time::Utc;
use crate::units::Energy;

fn interval(name: &str, seq: u64) -> SavedInterval {
    SavedInterval {
        name: name.into(),
        seq,
        start: Utc::from_millis(seq as i64 * 900_000),
        end: Utc::from_millis((seq as i64 + 1) * 900_000),
        energy_wh: 15_000,
        total_wh: 15_000 * seq,
        estimated_wh: 10,
        quality: "good".into(),
    }
}

fn checkpoint(seq: u64) -> Checkpoint {
    let slot = |key: &str, priority, value| SavedSlot {
        key: PointKey::new(key).unwrap(),
        priority: Priority::new(priority).unwrap(),
        value,
        by: "bacnet 10.0.0.9".into(),
        at: Utc::from_millis(77),
    };
    Checkpoint {
        seq,
        counters: vec![
            SavedCounter {
                name: "heater/a".into(),
                epoch: 1,
                total_wh: 12_345 + seq,
                estimated_wh: 7,
                ..SavedCounter::default()
            },
            SavedCounter {
                name: "meter/m".into(),
                epoch: 1,
                total_wh: u64::from(u32::MAX) * 1_000 + seq,
                ceiling_wh: u64::from(u32::MAX) * 1_000 + 6_000 + seq,
                flowed_wh: u64::from(u32::MAX) * 1_000 + seq,
                raw_wh: Some(99),
                estimated_wh: 0,
                at: Utc::from_millis(1_764_000_000_123),
                intervals: seq,
                interval_start: Some(Utc::from_millis(1_764_000_000_000)),
                interval_start_wh: 5,
                interval_start_estimated_wh: 3,
            },
        ],
        intervals: vec![interval("meter/m", seq)],
        latches: vec![("hall".into(), SafetyLatch { cause: Alarm::OverTemperature, since: Utc::from_millis(5) })],
        slots: vec![
            slot("hall/a", 1, Value::number(-0.1).unwrap()),
            slot("hall/a", 16, Value::number(1e300).unwrap()),
            slot("hall/b", 15, Value::Bool(true)),
            slot("hall/c", 15, Value::State(3)),
            slot("hall/d", 15, Value::Unsigned(u64::MAX)),
            slot("hall/e", 15, Value::Energy(Energy::from_wh(9))),
        ],
        efficiencies: vec![SavedEfficiency { zone: "hall".into(), eta: 0.881, variance: 3.3e-5 }],
        runtimes: vec![SavedRuntime { heater: "rack-a".into(), seconds: 86_400 + seq }],
    }
}

/// What of a checkpoint comes back at a start.
fn back(checkpoint: Checkpoint) -> Checkpoint {
    Checkpoint { seq: 0, intervals: Vec::new(), ..checkpoint }
}

fn all(dir: &Path) -> Vec<u64> {
    let reader = Reader::open(dir).unwrap();
    let intervals = reader.intervals(Some("meter/m"), Utc::default(), Utc::from_millis(i64::MAX)).unwrap();
    intervals.iter().map(|interval| interval.seq).collect()
}

#[tokio::test]
async fn a_checkpoint_comes_back_as_it_was() {
    let dir = tempdir().unwrap();
    let (store, restored) = Store::open(&dir.path().join("new/state")).unwrap();
    assert_eq!(restored, Restored { boots: 1, epoch: 1, ..Restored::default() });
    assert_eq!(store.writer().save(checkpoint(1)).await.unwrap(), 1);
    let mut second = checkpoint(2);
    second.latches.clear();
    second.slots.pop();
    assert_eq!(store.writer().save(second.clone()).await.unwrap(), 2);
    store.close();
    let (store, restored) = Store::open(&dir.path().join("new/state")).unwrap();
    assert_eq!(restored, Restored { checkpoint: back(second), boots: 2, epoch: 1, ..Restored::default() });
    assert_eq!(all(store.dir()), [1, 2]);
    let reader = Reader::open(store.dir()).unwrap();
    assert_eq!(reader.counters().unwrap(), checkpoint(2).counters);
    assert_eq!(reader.intervals(None, Utc::from_millis(1_800_000), Utc::from_millis(i64::MAX)).unwrap().len(), 1);
}

#[tokio::test]
async fn what_was_acknowledged_survives_without_a_close() {
    let dir = tempdir().unwrap();
    let copy = tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    for seq in 1..=40 {
        store.writer().save(checkpoint(seq)).await.unwrap();
    }
    // The files as they are on disk now, as after a kill: nothing was closed, the journal is not folded in.
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let from = entry.unwrap().path();
        if !from.to_string_lossy().ends_with("-shm") {
            std::fs::copy(&from, copy.path().join(from.file_name().unwrap())).unwrap();
        }
    }
    let (_, restored) = Store::open(copy.path()).unwrap();
    assert_eq!(restored.checkpoint, back(checkpoint(40)));
    assert_eq!(restored.lost, None);
    assert_eq!(all(copy.path()), (1..=40).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_corrupt_file_is_moved_aside_and_a_new_epoch_begins() {
    let dir = tempdir().unwrap();
    let path = dir.path().join(FILE);
    let damage: [fn(&mut Vec<u8>); 4] = [
        |bytes| bytes.iter_mut().take(100).for_each(|byte| *byte = 0x5a),
        |bytes| bytes.iter_mut().skip(4096).for_each(|byte| *byte ^= 0xff),
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| *bytes = b"this is a text file, and not a short one at all\n".repeat(40),
    ];
    for (n, damage) in damage.iter().enumerate() {
        let (store, _) = Store::open(dir.path()).unwrap();
        store.writer().save(checkpoint(1)).await.unwrap();
        store.close();
        let mut bytes = std::fs::read(&path).unwrap();
        damage(&mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        let (store, restored) = Store::open(dir.path()).unwrap();
        assert!(restored.lost.unwrap().contains("corrupt-"), "{n}");
        assert_eq!((restored.epoch, restored.boots, restored.checkpoint), (n as u32 + 2, 1, Checkpoint::default()));
        assert_eq!(std::fs::read(dir.path().join(format!("{FILE}.corrupt-{}", n + 1))).unwrap(), bytes);
        store.writer().save(checkpoint(2)).await.unwrap();
        store.close();
        let (_, restored) = Store::open(dir.path()).unwrap();
        assert_eq!((restored.lost, restored.epoch), (None, n as u32 + 2), "the new file is sound");
    }
}

#[tokio::test]
async fn a_deleted_file_is_noticed_until_something_is_saved() {
    let dir = tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    store.writer().save(checkpoint(1)).await.unwrap();
    store.close();
    std::fs::remove_file(dir.path().join(FILE)).unwrap();
    let (store, restored) = Store::open(dir.path()).unwrap();
    assert!(restored.lost.unwrap().contains("missing"));
    assert_eq!(restored.epoch, 2);
    // Killed before the first checkpoint: still said.
    store.close();
    let (store, restored) = Store::open(dir.path()).unwrap();
    assert!(restored.lost.is_some());
    assert_eq!(restored.epoch, 2);
    store.writer().save(checkpoint(1)).await.unwrap();
    store.close();
    assert_eq!(Store::open(dir.path()).unwrap().1.lost, None);
}

#[test]
fn a_state_of_a_newer_version_is_kept_and_not_misread() {
    let dir = tempdir().unwrap();
    let path = dir.path().join(FILE);
    Store::open(dir.path()).unwrap().0.close();
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let (_, restored) = Store::open(dir.path()).unwrap();
    assert!(restored.lost.unwrap().contains("newer"));
    assert!(dir.path().join(format!("{FILE}.corrupt-1")).exists());
}

#[test]
fn two_gateways_do_not_share_a_state() {
    let dir = tempdir().unwrap();
    let (first, _) = Store::open(dir.path()).unwrap();
    assert!(matches!(Store::open(dir.path()), Err(StoreError::InUse { .. })));
    first.close();
    assert!(Store::open(dir.path()).is_ok());
}

#[test]
fn a_directory_that_cannot_be_is_an_error_with_its_path() {
    let dir = tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Store::open(&file.join("state")).unwrap_err();
    assert!(error.to_string().contains("file/state"), "{error}");
    let error = Reader::open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::File { .. }), "{error}");
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_loses_no_interval() {
    let dir = tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let writer = store.writer();
    writer.save(checkpoint(1)).await.unwrap();
    writer.limit(1).await;
    let mut full = 0;
    for seq in 2..=200 {
        match writer.save(checkpoint(seq)).await {
            Ok(_) => {}
            Err(StoreError::Full(_)) => full += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(full > 0);
    writer.limit(1_000_000).await;
    writer.save(checkpoint(201)).await.unwrap();
    assert_eq!(writer.dropped_intervals(), 0);
    store.close();
    assert_eq!(all(dir.path()), (1..=201).collect::<Vec<_>>());
    assert_eq!(Store::open(dir.path()).unwrap().1.checkpoint, back(checkpoint(201)));
}

#[tokio::test]
async fn checkpoints_that_wait_are_all_acknowledged() {
    let dir = tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for seq in 1..=100 {
        let writer = store.writer();
        tasks.spawn(async move { writer.save(checkpoint(seq)).await.unwrap() });
    }
    let mut acknowledged: Vec<u64> = tasks.join_all().await;
    acknowledged.sort_unstable();
    assert_eq!(acknowledged, (1..=100).collect::<Vec<_>>());
    let writer = store.writer();
    store.close();
    assert!(matches!(writer.save(checkpoint(1)).await, Err(StoreError::Closed)));
    assert_eq!(all(dir.path()).len(), 100);
}

#[tokio::test]
async fn an_interval_waits_in_the_outbox_until_it_has_arrived() {
    let dir = tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let mut saved = checkpoint(1);
    saved.intervals = (1..=600).map(|seq| interval("meter/m", seq)).collect();
    store.writer().save(saved).await.unwrap();
    let unsent = store.writer().unsent().await.unwrap();
    assert_eq!((unsent.intervals.len(), unsent.waiting), (500, 600));
    let arrived = unsent.intervals.iter().map(|interval| (interval.name.clone(), interval.seq)).collect();
    store.writer().sent(arrived).await.unwrap();
    // A repeat of one that was durable changes nothing.
    store.writer().save(checkpoint(1)).await.unwrap();
    store.close();
    let (store, _) = Store::open(dir.path()).unwrap();
    let unsent = store.writer().unsent().await.unwrap();
    assert_eq!((unsent.intervals.first().map(|interval| interval.seq), unsent.waiting), (Some(501), 100));
}

#[test]
fn a_row_that_cannot_be_read_costs_no_latch() {
    let dir = tempdir().unwrap();
    Store::open(dir.path()).unwrap().0.close();
    let connection = rusqlite::Connection::open(dir.path().join(FILE)).unwrap();
    connection.execute("INSERT INTO latch VALUES ('hall', 4711, 1)", []).unwrap();
    connection.execute("INSERT INTO slot VALUES ('NO KEY', 77, 'odd', 'x', 'y', 1)", []).unwrap();
    connection.execute("INSERT INTO slot VALUES ('hall/x', 3, 'number', 'NaN', 'y', 1)", []).unwrap();
    drop(connection);
    let (_, restored) = Store::open(dir.path()).unwrap();
    assert_eq!(restored.lost, None);
    assert_eq!(restored.checkpoint.latches[0].1.cause, Alarm::EmergencyStop);
    assert!(restored.checkpoint.slots.is_empty());
}

#[tokio::test]
async fn intervals_are_kept_for_five_years_and_a_large_state_still_opens() {
    let dir = tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let mut saved = checkpoint(200_000);
    saved.intervals = (1..=200_000).map(|seq| interval("meter/m", seq)).collect();
    store.writer().save(saved.clone()).await.unwrap();
    store.close();
    assert!(std::fs::metadata(dir.path().join(FILE)).unwrap().len() > 4 * 1024 * 1024, "above the full check");
    let (store, restored) = Store::open(dir.path()).unwrap();
    assert_eq!(restored.checkpoint, back(saved));
    let kept = all(store.dir());
    assert_eq!((kept.first(), kept.last()), (Some(&(200_000 - 5 * 366 * 96 + 1)), Some(&200_000)));
}

fn keepsake(key: &str, value: Option<&[u8]>) -> Keepsake {
    Keepsake { key: key.into(), value: value.map(<[u8]>::to_vec) }
}

#[tokio::test]
async fn keepsakes_survive_a_kill_and_the_newest_counts() {
    let dir = tempdir().unwrap();
    let copy = tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let writer = store.writer();
    writer.keep(vec![keepsake("bacnet/a", Some(&[0, 255])), keepsake("bacnet/b", Some(b"x"))]).await.unwrap();
    // Beside checkpoints, which know nothing of them.
    let (kept, saved) = tokio::join!(
        writer.keep(vec![
            keepsake("bacnet/a", Some(b"")),
            keepsake("bacnet/b", None),
            keepsake("none", None),
            keepsake("bacnet/c", Some(b"1")),
            keepsake("bacnet/c", Some(b"2")),
        ]),
        writer.save(checkpoint(1)),
    );
    kept.unwrap();
    assert_eq!(saved.unwrap(), 1);
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let from = entry.unwrap().path();
        if !from.to_string_lossy().ends_with("-shm") {
            std::fs::copy(&from, copy.path().join(from.file_name().unwrap())).unwrap();
        }
    }
    let (store, restored) = Store::open(copy.path()).unwrap();
    assert_eq!(restored.keepsakes, [("bacnet/a".into(), vec![]), ("bacnet/c".into(), b"2".to_vec())].into());
    assert_eq!(restored.checkpoint, back(checkpoint(1)));
    store.close();
    // A file that cannot be read takes them along.
    std::fs::write(copy.path().join(FILE), b"this is a text file, and not a short one at all").unwrap();
    let (_, restored) = Store::open(copy.path()).unwrap();
    assert!(restored.lost.is_some() && restored.keepsakes.is_empty());
}

#[tokio::test]
async fn keepsakes_without_space_do_not_keep_the_ledger_from_the_disk() {
    let dir = tempdir().unwrap();
    let (store, _) = Store::open(dir.path()).unwrap();
    let writer = store.writer();
    writer.save(checkpoint(1)).await.unwrap();
    writer.limit(1).await;
    let (kept, saved) = tokio::join!(
        writer.keep(vec![keepsake("bacnet/a", Some(&[7; 60_000]))]),
        writer.save(Checkpoint { intervals: Vec::new(), ..checkpoint(2) }),
    );
    assert!(matches!(kept, Err(StoreError::Full(_))), "{kept:?}");
    assert_eq!(saved.unwrap(), 2);
    writer.limit(1_000_000).await;
    writer.keep(vec![keepsake("bacnet/a", Some(&[7; 60_000]))]).await.unwrap();
    store.close();
    assert_eq!(Store::open(dir.path()).unwrap().1.keepsakes.len(), 1);
}

#[test]
fn a_state_of_the_first_version_is_brought_up_to_date_whatever_its_size() {
    for intervals in [1, 60_000] {
        let dir = tempdir().unwrap();
        let path = dir.path().join(FILE);
        let mut connection = rusqlite::Connection::open(&path).unwrap();
        connection.execute_batch(super::schema::FIRST).unwrap();
        let transaction = connection.transaction().unwrap();
        super::rows::write_counters(&transaction, &checkpoint(1).counters).unwrap();
        let intervals: Vec<_> = (1..=intervals).map(|seq| interval("meter/m", seq)).collect();
        super::rows::write_intervals(&transaction, intervals.iter()).unwrap();
        transaction.commit().unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        drop(connection);
        let large = intervals.len() > 1;
        assert_eq!(std::fs::metadata(&path).unwrap().len() > 4 * 1024 * 1024, large, "above the full check");
        let (_, restored) = Store::open(dir.path()).unwrap();
        assert_eq!(restored.lost, None);
        assert_eq!(restored.checkpoint.counters, checkpoint(1).counters);
    }
}
