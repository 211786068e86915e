//! The outbox of closed intervals: each goes to the broker at least once, however long that is away.

use rusqlite::{Connection, params};

use super::rows;
use crate::durable::SavedInterval;

/// Most intervals given out at once.
const BATCH: u32 = 500;

/// Intervals that nobody has acknowledged yet, oldest first, and how many there are in all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unsent {
    /// The oldest, at most 500.
    pub intervals: Vec<SavedInterval>,
    /// All that wait.
    pub waiting: u64,
}

pub(super) fn unsent(connection: &Connection) -> rusqlite::Result<Unsent> {
    let intervals = connection
        .prepare_cached("SELECT * FROM interval WHERE sent = 0 ORDER BY start, name, seq LIMIT ?1")?
        .query_map([BATCH], rows::interval)?
        .collect::<rusqlite::Result<_>>()?;
    let waiting: i64 = connection.query_row("SELECT count(*) FROM interval WHERE sent = 0", [], |row| row.get(0))?;
    Ok(Unsent { intervals, waiting: u64::try_from(waiting).unwrap_or(0) })
}

pub(super) fn sent(connection: &mut Connection, which: &[(String, u64)]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    {
        let mut update = transaction.prepare_cached("UPDATE interval SET sent = 1 WHERE name = ?1 AND seq = ?2")?;
        for (name, seq) in which {
            update.execute(params![name, i64::try_from(*seq).unwrap_or(i64::MAX)])?;
        }
    }
    transaction.commit()
}
