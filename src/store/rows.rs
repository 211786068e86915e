//! Rows to vocabulary and back.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::{Restored, StoreError};
use crate::decision::{Alarm, SafetyLatch};
use crate::durable::{Checkpoint, Keepsake, SavedCounter, SavedEfficiency, SavedInterval, SavedRuntime, SavedSlot};
use crate::point::{PointKey, Priority, Value};
use crate::time::Utc;
use crate::units::Energy;

/// Quarters of an hour in five years, and some: rows kept per counter.
const KEPT: i64 = 5 * 366 * 96;

/// SQLite's integers are signed; no energy of this world comes near that.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
}

fn utc(row: &Row<'_>, column: &str) -> rusqlite::Result<Utc> {
    Ok(Utc::from_millis(row.get(column)?))
}

fn counter(row: &Row<'_>) -> rusqlite::Result<SavedCounter> {
    Ok(SavedCounter {
        name: row.get("name")?,
        epoch: row.get("epoch")?,
        total_wh: unsigned(row, "total_wh")?,
        ceiling_wh: unsigned(row, "ceiling_wh")?,
        flowed_wh: unsigned(row, "flowed_wh")?,
        raw_wh: row.get::<_, Option<i64>>("raw_wh")?.and_then(|raw| u64::try_from(raw).ok()),
        estimated_wh: unsigned(row, "estimated_wh")?,
        at: utc(row, "at")?,
        intervals: unsigned(row, "intervals")?,
        interval_start: row.get::<_, Option<i64>>("interval_start")?.map(Utc::from_millis),
        interval_start_wh: unsigned(row, "interval_start_wh")?,
        interval_start_estimated_wh: unsigned(row, "interval_start_estimated_wh")?,
    })
}

pub(super) fn interval(row: &Row<'_>) -> rusqlite::Result<SavedInterval> {
    Ok(SavedInterval {
        name: row.get("name")?,
        seq: unsigned(row, "seq")?,
        start: utc(row, "start")?,
        end: utc(row, "end")?,
        energy_wh: unsigned(row, "energy_wh")?,
        total_wh: unsigned(row, "total_wh")?,
        estimated_wh: unsigned(row, "estimated_wh")?,
        quality: row.get("quality")?,
    })
}

fn latch(row: &Row<'_>) -> rusqlite::Result<(String, SafetyLatch)> {
    let code: i64 = row.get("cause")?;
    let known = Alarm::ALL.into_iter().find(|alarm| i64::from(*alarm as u8) == code);
    // A latch is never lost because its cause cannot be read.
    Ok((row.get("zone")?, SafetyLatch { cause: known.unwrap_or(Alarm::EmergencyStop), since: utc(row, "since")? }))
}

fn efficiency(row: &Row<'_>) -> rusqlite::Result<SavedEfficiency> {
    Ok(SavedEfficiency { zone: row.get("zone")?, eta: row.get("eta")?, variance: row.get("variance")? })
}

fn runtime(row: &Row<'_>) -> rusqlite::Result<SavedRuntime> {
    Ok(SavedRuntime { heater: row.get("heater")?, seconds: unsigned(row, "seconds")? })
}

/// `None` for a slot that this version cannot read: nobody commands then, which is what a relinquish default is for.
fn slot(row: &Row<'_>) -> rusqlite::Result<Option<SavedSlot>> {
    let (key, kind, text): (String, String, String) = (row.get("key")?, row.get("kind")?, row.get("value")?);
    let (by, at) = (row.get("by")?, utc(row, "at")?);
    let priority = Priority::new(row.get("priority")?);
    Ok(PointKey::new(key).ok().zip(priority).zip(value(&kind, &text)).map(|((key, priority), value)| SavedSlot {
        key,
        priority,
        value,
        by,
        at,
    }))
}

fn value(kind: &str, text: &str) -> Option<Value> {
    match kind {
        "bool" => text.parse().ok().map(Value::Bool),
        "number" => text.parse().ok().and_then(Value::number),
        "unsigned" => text.parse().ok().map(Value::Unsigned),
        "state" => text.parse().ok().map(Value::State),
        "energy" => text.parse().ok().map(|wh| Value::Energy(Energy::from_wh(wh))),
        _ => None,
    }
}

fn text(value: Value) -> (&'static str, String) {
    match value {
        Value::Bool(yes) => ("bool", yes.to_string()),
        // The shortest text that reads back as the same number.
        Value::Number(number) => ("number", number.get().to_string()),
        Value::Unsigned(count) => ("unsigned", count.to_string()),
        Value::State(state) => ("state", state.to_string()),
        Value::Energy(energy) => ("energy", energy.wh().to_string()),
        // Nobody commands a text: it is not kept, and not read back.
        Value::Text(_) => ("text", String::new()),
    }
}

fn all<T>(
    connection: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare_cached(sql)?.query_map([], read)?.collect()
}

pub(super) fn counters(connection: &Connection) -> rusqlite::Result<Vec<SavedCounter>> {
    all(connection, "SELECT * FROM counter ORDER BY name", counter)
}

/// Everything that the next life of the process needs.
pub(super) fn restore(connection: Connection) -> Result<(Connection, Restored), StoreError> {
    let checkpoint = Checkpoint {
        counters: counters(&connection)?,
        latches: all(&connection, "SELECT * FROM latch ORDER BY zone", latch)?,
        slots: all(&connection, "SELECT * FROM slot ORDER BY key, priority", slot)?.into_iter().flatten().collect(),
        efficiencies: all(&connection, "SELECT * FROM efficiency ORDER BY zone", efficiency)?,
        runtimes: all(&connection, "SELECT * FROM runtime ORDER BY heater", runtime)?,
        ..Checkpoint::default()
    };
    let boots: Option<i64> =
        connection.query_row("SELECT value FROM meta WHERE key = 'boots'", [], |row| row.get(0)).optional()?;
    let boots = boots.and_then(|boots| u64::try_from(boots).ok()).unwrap_or(0);
    let keepsakes = all(&connection, "SELECT * FROM keepsake", |row| Ok((row.get("key")?, row.get("value")?)))?;
    let keepsakes = keepsakes.into_iter().collect();
    Ok((connection, Restored { checkpoint, keepsakes, boots, ..Restored::default() }))
}

/// Count a start, and let go of intervals beyond their time.
pub(super) fn boot(connection: &Connection, boots: u64) -> rusqlite::Result<()> {
    let transaction = connection.unchecked_transaction()?;
    transaction.execute("INSERT OR REPLACE INTO meta VALUES ('boots', ?1)", [signed(boots)])?;
    for counter in counters(connection)? {
        transaction.execute(
            "DELETE FROM interval WHERE name = ?1 AND seq <= ?2",
            params![counter.name, signed(counter.intervals).saturating_sub(KEPT)],
        )?;
    }
    transaction.commit()
}

pub(super) fn write_counters(transaction: &Transaction<'_>, counters: &[SavedCounter]) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM counter", [])?;
    let mut insert =
        transaction.prepare_cached("INSERT INTO counter VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)")?;
    for counter in counters {
        insert.execute(params![
            counter.name,
            counter.epoch,
            signed(counter.total_wh),
            signed(counter.ceiling_wh),
            signed(counter.flowed_wh),
            counter.raw_wh.map(signed),
            signed(counter.estimated_wh),
            counter.at.millis(),
            signed(counter.intervals),
            counter.interval_start.map(Utc::millis),
            signed(counter.interval_start_wh),
            signed(counter.interval_start_estimated_wh),
        ])?;
    }
    Ok(())
}

pub(super) fn write_intervals<'a>(
    transaction: &Transaction<'_>,
    intervals: impl Iterator<Item = &'a SavedInterval>,
) -> rusqlite::Result<()> {
    // One that is there already was durable before; it keeps its content and whether it was sent.
    let mut insert = transaction.prepare_cached(
        "INSERT INTO interval VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0) ON CONFLICT (name, seq) DO NOTHING",
    )?;
    for interval in intervals {
        insert.execute(params![
            interval.name,
            signed(interval.seq),
            interval.start.millis(),
            interval.end.millis(),
            signed(interval.energy_wh),
            signed(interval.total_wh),
            signed(interval.estimated_wh),
            interval.quality,
        ])?;
    }
    Ok(())
}

pub(super) fn write_latches(transaction: &Transaction<'_>, latches: &[(String, SafetyLatch)]) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM latch", [])?;
    let mut insert = transaction.prepare_cached("INSERT INTO latch VALUES (?1, ?2, ?3)")?;
    for (zone, latch) in latches {
        insert.execute(params![zone, latch.cause as u8, latch.since.millis()])?;
    }
    Ok(())
}

pub(super) fn write_slots(transaction: &Transaction<'_>, slots: &[SavedSlot]) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM slot", [])?;
    let mut insert = transaction.prepare_cached("INSERT INTO slot VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    for slot in slots {
        let (kind, value) = text(slot.value);
        insert.execute(params![slot.key.as_str(), slot.priority.get(), kind, value, slot.by, slot.at.millis()])?;
    }
    Ok(())
}

/// In the order in which they were asked for: the newest of a key stands.
pub(super) fn write_keepsakes<'a>(
    transaction: &Transaction<'_>,
    keepsakes: impl Iterator<Item = &'a Keepsake>,
) -> rusqlite::Result<()> {
    let mut keep = transaction.prepare_cached("INSERT OR REPLACE INTO keepsake VALUES (?1, ?2)")?;
    let mut forget = transaction.prepare_cached("DELETE FROM keepsake WHERE key = ?1")?;
    for keepsake in keepsakes {
        match &keepsake.value {
            Some(value) => keep.execute(params![keepsake.key, value])?,
            None => forget.execute([&keepsake.key])?,
        };
    }
    Ok(())
}

pub(super) fn write_efficiencies(transaction: &Transaction<'_>, learned: &[SavedEfficiency]) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM efficiency", [])?;
    let mut insert = transaction.prepare_cached("INSERT INTO efficiency VALUES (?1, ?2, ?3)")?;
    for one in learned {
        insert.execute(params![one.zone, one.eta, one.variance])?;
    }
    Ok(())
}

pub(super) fn write_runtimes(transaction: &Transaction<'_>, runtimes: &[SavedRuntime]) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM runtime", [])?;
    let mut insert = transaction.prepare_cached("INSERT INTO runtime VALUES (?1, ?2)")?;
    for one in runtimes {
        insert.execute(params![one.heater, signed(one.seconds)])?;
    }
    Ok(())
}
