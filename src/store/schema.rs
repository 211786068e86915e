//! The state file: how it is opened, checked, brought up to date, and moved aside.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::{StoreError, at};

/// Each step brings the file from one `user_version` to the next; steps that were released never change.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE counter (
        name TEXT PRIMARY KEY, epoch INTEGER NOT NULL, total_wh INTEGER NOT NULL, ceiling_wh INTEGER NOT NULL,
        flowed_wh INTEGER NOT NULL, raw_wh INTEGER, estimated_wh INTEGER NOT NULL, at INTEGER NOT NULL,
        intervals INTEGER NOT NULL, interval_start INTEGER, interval_start_wh INTEGER NOT NULL,
        interval_start_estimated_wh INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE interval (
        name TEXT NOT NULL, seq INTEGER NOT NULL, start INTEGER NOT NULL, \"end\" INTEGER NOT NULL,
        energy_wh INTEGER NOT NULL, total_wh INTEGER NOT NULL, estimated_wh INTEGER NOT NULL, quality TEXT NOT NULL,
        sent INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (name, seq)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX interval_unsent ON interval (start, name, seq) WHERE sent = 0;
    CREATE TABLE latch (zone TEXT PRIMARY KEY, cause INTEGER NOT NULL, since INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE slot (
        key TEXT NOT NULL, priority INTEGER NOT NULL, kind TEXT NOT NULL, value TEXT NOT NULL, by TEXT NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (key, priority)
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE keepsake (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE efficiency (zone TEXT PRIMARY KEY, eta REAL NOT NULL, variance REAL NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE runtime (heater TEXT PRIMARY KEY, seconds INTEGER NOT NULL) STRICT, WITHOUT ROWID;
",
];

/// The schema version of this program.
pub(super) const VERSION: i64 = 3;

/// Files up to this size are checked as a whole. In larger ones, which years of intervals make, only what a start needs is,
/// so that it stays quick; a fault in their intervals shows when they are read.
const FULL_CHECK_BYTES: u64 = 4 * 1024 * 1024;

/// What a start needs, with the schema version since which it is there.
const SMALL: [(i64, &[&str]); 3] =
    [(1, &["meta", "counter", "latch", "slot"]), (2, &["keepsake"]), (3, &["efficiency", "runtime"])];

/// Open, check and migrate.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::from_secs(2))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", 4 * 1024 * 1024)?;
    check(&connection, std::fs::metadata(path).map_or(0, |file| file.len()))?;
    migrate(&mut connection)?;
    Ok(connection)
}

fn check(connection: &Connection, size: u64) -> Result<(), StoreError> {
    let what: Vec<&str> = if size <= FULL_CHECK_BYTES {
        vec!["1"]
    } else {
        let version = version(connection)?;
        SMALL.iter().filter(|(since, _)| *since <= version).flat_map(|(_, tables)| *tables).copied().collect()
    };
    for what in what {
        let verdict: String = connection.query_row(&format!("PRAGMA integrity_check({what})"), [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(StoreError::Corrupt(verdict));
        }
    }
    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let found = version(connection)?;
    let done = usize::try_from(found).map_err(|_| StoreError::Corrupt(format!("schema version {found}")))?;
    let Some(steps) = MIGRATIONS.get(done..) else { return Err(StoreError::Newer { found, known: VERSION }) };
    if steps.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    for step in steps {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(())
}

/// Rename a file that cannot be read, with its journal, to the first free `.corrupt-N`.
pub(super) fn move_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let aside = (1u32..)
        .map(|n| beside(&format!(".corrupt-{n}")))
        .find(|aside| !aside.exists())
        .unwrap_or_else(|| beside(".corrupt-0"));
    std::fs::rename(path, &aside).map_err(at(path))?;
    for suffix in ["-wal", "-shm"] {
        let from = beside(suffix);
        if from.exists() {
            // A journal that stayed would be applied to the new file.
            let mut to = aside.as_os_str().to_owned();
            to.push(suffix);
            std::fs::rename(&from, PathBuf::from(to)).map_err(at(&from))?;
        }
    }
    Ok(aside)
}

#[cfg(test)]
pub(super) const FIRST: &str = match MIGRATIONS {
    [first, ..] => first,
    [] => "",
};

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_is_the_number_of_steps() {
        assert_eq!(usize::try_from(super::VERSION), Ok(super::MIGRATIONS.len()));
    }
}
