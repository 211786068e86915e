//! Reading the state beside a running gateway, for the command line.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, params};

use super::{FILE, StoreError, at, rows};
use crate::durable::{SavedCounter, SavedInterval};
use crate::time::Utc;

/// A look at the state that changes nothing and holds no lock of the gateway's.
#[derive(Debug)]
pub struct Reader(Connection);

impl Reader {
    /// Open the state of a directory; an error where there is none.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        std::fs::metadata(&path).map_err(at(&path))?;
        // Reading a file in WAL mode needs its shared memory, which a read-only connection makes where it may.
        let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(std::time::Duration::from_secs(2))?;
        Ok(Self(connection))
    }

    /// All counters of the last checkpoint.
    pub fn counters(&self) -> Result<Vec<SavedCounter>, StoreError> {
        Ok(rows::counters(&self.0)?)
    }

    /// Closed intervals that end after `from` and start before `to`, by counter and time; of one counter or of all.
    pub fn intervals(&self, name: Option<&str>, from: Utc, to: Utc) -> Result<Vec<SavedInterval>, StoreError> {
        let mut statement = self.0.prepare(
            "SELECT * FROM interval WHERE (?1 IS NULL OR name = ?1) AND \"end\" > ?2 AND start < ?3 ORDER BY name, seq",
        )?;
        let rows = statement.query_map(params![name, from.millis(), to.millis()], rows::interval)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}
