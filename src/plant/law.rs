//! What the mapping says about how control treats a zone, beyond its ratings and limits.

use std::time::Duration;

use crate::units::Watts;

/// Parameters of the control law for one zone.
#[derive(Debug, Clone, PartialEq)]
pub struct Law {
    /// How long after a change of power the first of its heat reaches the meter.
    pub delay: Duration,
    /// Time constant with which it then arrives.
    pub lag: Duration,
    /// How the zone's power is shared among its heaters.
    pub allocation: Allocation,
    /// Most heat that may be made without being asked for in summer; zero: none, sold compute rests then.
    pub summer_dump: Watts,
    /// The name of the electrical limit that this zone shares with others; `None`: its limits are its own.
    pub shared_limit: Option<String>,
}

impl Default for Law {
    fn default() -> Self {
        Self {
            delay: Duration::from_secs(60),
            lag: Duration::from_secs(240),
            allocation: Allocation::Proportional,
            summer_dump: Watts::ZERO,
            shared_limit: None,
        }
    }
}

/// How power is shared among heaters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Allocation {
    /// All of them, each in proportion to its rated power.
    #[default]
    Proportional,
    /// As few as carry it, the least used first; the others rest.
    Staged,
}
