//! The mode of a zone: whose wish it follows.
//!
//! ```text
//!          a good request, spoken since the start
//!   Init ------------------------------------------> Auto <----------------------------+
//!    ^  \                                            | ^ \                             |
//!    |   \ a person's override (priority 1 to 8)     | |  \ request unreadable         | a new write, and three
//!    |    +----> Manual <----- from every mode ------+ |   +--------> NoRequest -------+ good beats where a
//!    |             |                                 | +-- readable -----+             | heartbeat is supervised
//!    |             | released: where it would be     |                                 |
//!    |             v without                         +-- silence, or request expired --+--> BmsLost(policy)
//!    |
//!    | re-armed by a person on the spot
//!   Safety(latch) <-- emergency stop or over-temperature input, from every mode
//! ```
//!
//! A lost controller is a state of its heater (`heater`), a lost meter an alarm of the zone (`report`): the zone goes on
//! in its mode without them. Init, NoRequest and BmsLost raise no power; Init after a start is the fail-safe cap.

use crate::decision::SafetyLatch;
use crate::time::Mono;
use crate::units::Watts;

use super::loss::Policy;

/// Whose wish the zone follows.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Mode {
    /// Nobody has asked since the start, or since a person re-armed (`boot` false).
    Init {
        /// The heaters may still run as the process before left them.
        boot: bool,
    },
    /// The building's request.
    Auto,
    /// A person's; what the building's loss had come to waits.
    Manual {
        /// The policy to go on with when the override is released.
        suspended: Option<Policy>,
    },
    /// The building is alive, and its request cannot be read.
    NoRequest,
    /// The building is lost: its policy.
    BmsLost(Policy),
    /// Stopped until a person re-arms.
    Safety(SafetyLatch),
}

/// What decides about the mode.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// A request can be read.
    pub readable: bool,
    /// And it is a person's.
    pub manual: bool,
    /// The building has spoken since the start.
    pub spoken: bool,
    /// The building is lost.
    pub lost: bool,
    /// The last heat that the building asked for.
    pub held: Watts,
}

impl Mode {
    /// The latch, where it is one.
    pub const fn latch(&self) -> Option<&SafetyLatch> {
        if let Self::Safety(latch) = self { Some(latch) } else { None }
    }

    /// The next mode.
    pub fn next(self, seen: Seen, latch: Option<SafetyLatch>, now: Mono) -> Self {
        if let Some(latch) = latch {
            return Self::Safety(latch);
        }
        let by_hand = seen.readable && seen.manual;
        match self {
            Self::Safety(latch) => Self::Safety(latch),
            Self::Manual { suspended } if by_hand => Self::Manual { suspended },
            Self::BmsLost(policy) if by_hand => Self::Manual { suspended: Some(policy) },
            _ if by_hand => Self::Manual { suspended: None },
            Self::Init { boot } if !(seen.readable && seen.spoken) || seen.lost => Self::Init { boot },
            Self::Manual { .. } if !seen.spoken => Self::Init { boot: false },
            Self::NoRequest if seen.lost => Self::NoRequest,
            Self::BmsLost(policy) | Self::Manual { suspended: Some(policy) } if seen.lost => Self::BmsLost(policy),
            _ if seen.lost => Self::BmsLost(Policy::new(now, seen.held)),
            _ if seen.readable => Self::Auto,
            _ => Self::NoRequest,
        }
    }
}
