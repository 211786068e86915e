//! What survives a restart and a power cut: plain data, written as one checkpoint, all or none.

use crate::decision::SafetyLatch;
use crate::point::{PointKey, Priority, Value};
use crate::time::Utc;

/// The memory of one energy counter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SavedCounter {
    /// `meter/{name}`, `heater/{name}`, or `zone/{name}/heat` and `zone/{name}/electrical` for a zone's sums.
    pub name: String,
    /// Counts how often the memory was lost and begun anew, from 1.
    pub epoch: u32,
    /// Total shown, Wh: never decreases within an epoch.
    pub total_wh: u64,
    /// Nothing above this is shown before a later checkpoint is durable, Wh.
    pub ceiling_wh: u64,
    /// Energy that is known to have flowed, Wh, at `raw_wh`; the total waits for it where it stands above.
    pub flowed_wh: u64,
    /// The device's register at that time, Wh; `None` before its first answer or when the total is an estimate.
    pub raw_wh: Option<u64>,
    /// Part of the total that was estimated, Wh.
    pub estimated_wh: u64,
    /// When the register was read.
    pub at: Utc,
    /// Intervals closed so far.
    pub intervals: u64,
    /// Start of the interval that is open; `None` before the first.
    pub interval_start: Option<Utc>,
    /// Total at that start, Wh.
    pub interval_start_wh: u64,
    /// Estimated part of the total at that start, Wh.
    pub interval_start_estimated_wh: u64,
}

/// A closed interval of a counter, to be billed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedInterval {
    /// The counter's name.
    pub name: String,
    /// Counts the counter's intervals, from 1, without holes.
    pub seq: u64,
    /// First instant.
    pub start: Utc,
    /// First instant that is not part of it.
    pub end: Utc,
    /// Energy in it, Wh.
    pub energy_wh: u64,
    /// Total at its end, Wh.
    pub total_wh: u64,
    /// Part of it that was estimated, Wh.
    pub estimated_wh: u64,
    /// Quality of the worst reading in it: `good`, `uncertain`, `bad`.
    pub quality: String,
}

/// An occupied priority slot of a point whose mapping lets it survive.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedSlot {
    /// The point.
    pub key: PointKey,
    /// The slot.
    pub priority: Priority,
    /// What was written.
    pub value: Value,
    /// By whom.
    pub by: String,
    /// When.
    pub at: Utc,
}

/// What an adapter remembers under a name: the newest of each key is what counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keepsake {
    /// Its name; the part before the first `/` is the adapter's.
    pub key: String,
    /// What is remembered; `None`: nothing any more.
    pub value: Option<Vec<u8>>,
}

/// What control has learned of a zone.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedEfficiency {
    /// The zone's name.
    pub zone: String,
    /// Heat per electrical power, estimated from its meter.
    pub eta: f64,
    /// Variance of its logarithm: how sure that is.
    pub variance: f64,
}

/// How long a heater has run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedRuntime {
    /// The heater's name.
    pub heater: String,
    /// Seconds above rest.
    pub seconds: u64,
}

/// One consistent state. Intervals are those closed since the checkpoint before; the rest replaces what was there.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Checkpoint {
    /// Counts checkpoints of this boot.
    pub seq: u64,
    /// All counters.
    pub counters: Vec<SavedCounter>,
    /// Newly closed intervals.
    pub intervals: Vec<SavedInterval>,
    /// Latched safety, by zone name.
    pub latches: Vec<(String, SafetyLatch)>,
    /// Slots that survive.
    pub slots: Vec<SavedSlot>,
    /// Estimated efficiencies.
    pub efficiencies: Vec<SavedEfficiency>,
    /// How long heaters have run.
    pub runtimes: Vec<SavedRuntime>,
}
