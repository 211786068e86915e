//! A request: a wish to write one or more points, all or none, answered or refused with a cause.

use std::fmt;
use std::sync::Arc;

use crate::point::{PointId, Priority, Value};

/// From which side a request comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// A Modbus master.
    Modbus,
    /// A BACnet client.
    Bacnet,
    /// An MQTT client.
    Mqtt,
    /// The command line, over the local socket.
    Local,
    /// The web page.
    Web,
}

impl Side {
    /// In lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Modbus => "modbus",
            Self::Bacnet => "bacnet",
            Self::Mqtt => "mqtt",
            Self::Local => "local",
            Self::Web => "web",
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The side.
    pub side: Side,
    /// The peer on that side: an address, a device, a user.
    pub peer: Arc<str>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.side.as_str(), self.peer)
    }
}

/// What is done to a point's slot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Action {
    /// Occupy it.
    Set(Value),
    /// Occupy it, if the point still shows what the asker saw: a read-modify-write that loses nobody's write.
    Replace {
        /// What it last showed, whoever commanded it.
        seen: Option<Value>,
        /// What it shall be.
        value: Value,
    },
    /// Empty it.
    Relinquish,
}

impl Action {
    /// The value that it sets.
    pub const fn value(self) -> Option<Value> {
        match self {
            Self::Set(value) | Self::Replace { value, .. } => Some(value),
            Self::Relinquish => None,
        }
    }
}

/// One write.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Write {
    /// Which point.
    pub point: PointId,
    /// What is done.
    pub action: Action,
    /// In which slot.
    pub priority: Priority,
}

/// One or more writes, all or none.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Who asks.
    pub origin: Origin,
    /// What is asked; applied in order, one image afterwards.
    pub writes: Vec<Write>,
}

/// Why nothing of a request was done.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// No such point in this plant.
    #[error("no such point")]
    UnknownPoint,
    /// The point takes no writes.
    #[error("{key} is read-only")]
    ReadOnly {
        /// Its key.
        key: String,
    },
    /// The value is of another kind than the point's.
    #[error("{key} takes {expected}")]
    WrongKind {
        /// Its key.
        key: String,
        /// What it takes, in words.
        expected: &'static str,
    },
    /// The value is outside the point's range.
    #[error("{key}: {value} is outside {low} to {high}")]
    OutOfRange {
        /// Its key.
        key: String,
        /// What was asked.
        value: f64,
        /// Lowest allowed.
        low: f64,
        /// Highest allowed.
        high: f64,
    },
    /// This side may not write at this priority.
    #[error("priority {priority} is not open to {side}", side = .side.as_str())]
    BadPriority {
        /// What was asked.
        priority: Priority,
        /// Who asked.
        side: Side,
    },
    /// This side may not write this point.
    #[error("{key} is not open to {side}", side = .side.as_str())]
    NotAllowed {
        /// Its key.
        key: String,
        /// Who asked.
        side: Side,
    },
    /// The point shows something else than what the asker saw.
    #[error("{key} was changed by somebody else")]
    Changed {
        /// Its key.
        key: String,
    },
    /// The queue is full or the answer did not come in time; nothing is known to have changed.
    #[error("busy")]
    Busy,
    /// The gateway is going down.
    #[error("shutting down")]
    ShuttingDown,
}

/// A request that was carried out: the image that shows it is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Sequence number of the first image that shows it.
    pub image_seq: u64,
}

/// The answer to a request.
pub type Verdict = Result<Accepted, Refusal>;
