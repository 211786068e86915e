//! Durable state in one SQLite file: ledger, intervals with their outbox, latches, slots, keepsakes of the adapters.
//!
//! ```text
//! state directory
//!   heatgate.db            WAL, synchronous FULL: a checkpoint that was acknowledged survives a power cut
//!   heatgate.epoch         how often that file was lost, in a file of its own that can tell it
//!   heatgate.lock          held while a gateway runs; two would command the same heaters
//!   heatgate.db.corrupt-N  what was moved aside because it could not be read
//! ```
//!
//! A state that cannot be read never keeps the gateway from starting: it is moved aside, and `Restored::lost` says so. Rows
//! of intervals are kept for five years of quarters (the French BACS decree wants hourly data for five years); the oldest
//! go first, counted per counter and not by a clock that may be wrong.

mod epoch;
mod outbox;
mod reader;
mod rows;
mod schema;
mod writer;

#[cfg(test)]
mod tests;

pub use outbox::Unsent;
pub use reader::Reader;
pub use writer::StoreWriter;

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::durable::Checkpoint;

/// Why the store could not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or directory.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process holds the state directory.
    #[error("{path}: in use by another gateway", path = .path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// No space left; it is tried again with the next checkpoint.
    #[error("no space left for the state: {0}")]
    Full(String),
    /// A checkpoint could not be written; it is tried again with the next one.
    #[error("the state could not be written: {0}")]
    Write(String),
    /// SQLite.
    #[error("state: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The state was written by a newer version.
    #[error("state of schema version {found}, newer than {known}")]
    Newer {
        /// In the file.
        found: i64,
        /// Known to this program.
        known: i64,
    },
    /// The file's pages contradict each other.
    #[error("state is corrupt: {0}")]
    Corrupt(String),
    /// The writer has ended.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    fn from_write(error: &rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full(error.to_string()),
            _ => Self::Write(error.to_string()),
        }
    }

    /// Whether the file's content is at fault, so that another file would do.
    fn is_content(&self) -> bool {
        match self {
            Self::Corrupt(_) | Self::Newer { .. } => true,
            Self::Sqlite(error) => match error.sqlite_error_code() {
                Some(code) => matches!(
                    code,
                    // `Unknown` covers SQLITE_ERROR: a missing table or column.
                    rusqlite::ErrorCode::DatabaseCorrupt
                        | rusqlite::ErrorCode::NotADatabase
                        | rusqlite::ErrorCode::Unknown
                ),
                // Conversions: a column that does not hold what the schema says.
                None => true,
            },
            _ => false,
        }
    }
}

/// What an earlier life of the process left.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Restored {
    /// Counters, latches and slots; `seq` 0 and no intervals.
    pub checkpoint: Checkpoint,
    /// What adapters asked to keep, by key.
    pub keepsakes: BTreeMap<String, Vec<u8>>,
    /// How often a gateway started on this state, this time included.
    pub boots: u64,
    /// The ledger's epoch: 1 for the first memory, one more for each that was lost.
    pub epoch: u32,
    /// The memory was lost: why. What is restored is empty then.
    pub lost: Option<String>,
    /// The state can be read but not written now: why.
    pub unwritable: Option<String>,
}

/// The open store. Dropping it lets the writer finish what is queued.
#[derive(Debug)]
pub struct Store {
    writer: StoreWriter,
    thread: Option<std::thread::JoinHandle<()>>,
    dir: PathBuf,
    /// Held while the store is open.
    _lock: File,
}

/// Name of the state file in its directory.
pub(crate) const FILE: &str = "heatgate.db";

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError + use<'_> {
    move |source| StoreError::File { path: path.to_owned(), source }
}

impl Store {
    /// Open or create the state in a directory, which is created too. Blocks for some milliseconds. An error means that
    /// the directory cannot be used at all, or that another gateway uses it.
    pub fn open(dir: &Path) -> Result<(Self, Restored), StoreError> {
        create(dir)?;
        let lock = lock(&dir.join("heatgate.lock"))?;
        let path = dir.join(FILE);
        let known = epoch::read(dir);
        let mut lost = known.filter(|_| !path.exists()).map(|_| format!("{} is missing", path.display()));
        let mut opened = None;
        if lost.is_none() {
            match schema::open(&path).and_then(rows::restore) {
                Ok(state) => opened = Some(state),
                Err(error) if error.is_content() => {
                    let aside = schema::move_aside(&path)?;
                    lost = Some(format!("{error}; the file was moved to {}", aside.display()));
                }
                Err(error) => return Err(error),
            }
        }
        // The epoch first: a kill in between must not leave an empty state that looks like a young one.
        let epoch = match (known, &lost) {
            (Some(known), Some(_)) => known.saturating_add(1),
            (None, Some(_)) => 2,
            (Some(known), None) => known,
            (None, None) => 1,
        };
        let mut unwritable = None;
        if known != Some(epoch)
            && let Err(error) = epoch::write(dir, epoch)
        {
            unwritable = Some(error.to_string());
        }
        let (connection, mut restored) = match opened {
            Some(state) => state,
            None => schema::open(&path).and_then(rows::restore)?,
        };
        let highest = restored.checkpoint.counters.iter().map(|counter| counter.epoch).max();
        restored.epoch = highest.unwrap_or(1).max(epoch);
        if lost.is_none() && epoch > 1 && highest.is_none() {
            lost = Some("the memory was lost at an earlier start, and nothing has been saved since".into());
        }
        restored.lost = lost;
        restored.unwritable = unwritable;
        restored.boots = restored.boots.saturating_add(1);
        if let Err(error) = rows::boot(&connection, restored.boots) {
            restored.unwritable = Some(StoreError::from_write(&error).to_string());
        }
        let (writer, thread) = writer::start(connection).map_err(at(&path))?;
        Ok((Self { writer, thread: Some(thread), dir: dir.to_owned(), _lock: lock }, restored))
    }

    /// The way to write; cheap to clone.
    pub fn writer(&self) -> StoreWriter {
        self.writer.clone()
    }

    /// The state directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Finish what is queued and close the file. Blocks.
    pub fn close(mut self) {
        self.writer.stop();
        if let Some(thread) = self.thread.take() {
            // A writer that panicked has nothing left to finish.
            let _ = thread.join();
        }
    }
}

fn create(dir: &Path) -> Result<(), StoreError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o750);
    builder.create(dir).map_err(at(dir))
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let file = File::options().create(true).truncate(false).read(true).write(true).open(path).map_err(at(path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(StoreError::File { path: path.to_owned(), source }),
    }
}
