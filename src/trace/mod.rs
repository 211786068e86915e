//! Traces: everything that went into the engine and could move a decision, with its time, and the decisions that came out.
//!
//! A trace is text: a header (one line of JSON: the mapping's own files, the state at the start, how the engine was set up)
//! and one line for each event or decision, numbers written so that they read back exactly. What cannot move a decision is
//! left out: ticks at which control did not step, and what the disk said. Pure: lines in, lines out; the recorder is the
//! gateway's.
//!
//! ```text
//! {"heatgate_trace":1,...}
//! t 1000000000 0                          a tick at which control stepped: ns since the entry before, ms of civil drift
//! r 250000000 0 12=31.5 13=s1             readings: point=reading
//! q 0 0 modbus 10.0.0.7 1@15=52.5         a request: point@priority=value, or - to relinquish
//! d 9f86d081884c7d65 31500 heating        the decision that came out: hash, sum of the caps in W, state of the zones
//! ```

mod codec;
mod header;
mod replay;
mod series;

pub use codec::{Decided, Encoder, Entry, digest};
pub use header::{Header, fingerprint};
pub use replay::{Difference, Replayed, replay};
pub use series::{Series, series};

/// Why a trace cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTrace {
    /// The first line is no header.
    #[error("line 1 is no header of a trace: {0}")]
    Header(String),
    /// Another version wrote it.
    #[error("it is of version {0}, and this program reads version 1")]
    Version(u64),
    /// A line is not what it should be.
    #[error("line {line}: {why}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// Its mapping does not compile.
    #[error("its mapping does not compile with this version of heatgate: {0}")]
    Mapping(String),
    /// A segment is missing before it.
    #[error(
        "it begins in the middle of a run (segment {0}): a replay needs all segments from the start of the gateway"
    )]
    Middle(u32),
}
