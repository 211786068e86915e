//! What the ledger reports besides numbers.

use std::fmt;

/// Something happened to a counter that a person should know of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LedgerEvent {
    /// The register counted to its end and began at 0 again; the energy is complete.
    RolledOver {
        /// Which counter.
        counter: String,
        /// Register before, Wh.
        from_wh: u64,
        /// Register after, Wh.
        to_wh: u64,
    },
    /// The register made a step that cannot be energy (backwards, or more than 1.2 Pmax dt). Not billed; it is either a
    /// bad reading or the first sign of a replacement.
    Refused {
        /// Which counter.
        counter: String,
        /// Register before, Wh.
        from_wh: u64,
        /// Register after, Wh.
        to_wh: u64,
    },
    /// The register was reset or its device replaced: the total is kept, the new register is the base from now on.
    Replaced {
        /// Which counter.
        counter: String,
        /// Register before, Wh.
        from_wh: u64,
        /// First register of the new life, Wh.
        to_wh: u64,
    },
    /// There is no counter (any more): its power is integrated, and the total is an estimate.
    EstimateBegan {
        /// Which counter.
        counter: String,
    },
    /// The memory was lost; totals begin anew in this epoch.
    NewEpoch {
        /// Counts losses, from 1 for the first memory.
        epoch: u32,
    },
}

impl LedgerEvent {
    /// Whether a person must look at it; a rollover and an estimate are only told.
    pub const fn is_alarm(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::Replaced { .. } | Self::NewEpoch { .. })
    }
}

impl fmt::Display for LedgerEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RolledOver { counter, from_wh, to_wh } => {
                write!(f, "{counter}: the register rolled over, {from_wh} Wh to {to_wh} Wh")
            }
            Self::Refused { counter, from_wh, to_wh } => {
                write!(f, "{counter}: an implausible step of the register is not billed, {from_wh} Wh to {to_wh} Wh")
            }
            Self::Replaced { counter, from_wh, to_wh } => {
                write!(f, "{counter}: the register was reset or its device replaced, {from_wh} Wh to {to_wh} Wh")
            }
            Self::EstimateBegan { counter } => {
                write!(f, "{counter}: no counter, the energy is estimated from the power")
            }
            Self::NewEpoch { epoch } => write!(f, "the memory of the meters was lost: epoch {epoch} begins"),
        }
    }
}
