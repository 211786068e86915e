//! How good a value is: a bad reading has no value to misuse.

use std::fmt;
use std::time::Duration;

use super::{PointId, Value};
use crate::time::Now;

/// Why a value is doubtful although there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Doubt {
    /// It was loaded after a restart and nobody has confirmed it since.
    Restored,
    /// It was good once and has not been refreshed in time.
    Stale,
    /// It was computed in place of a measurement that is missing.
    Estimated,
    /// The device itself marks it as doubtful.
    Flagged,
    /// The device says that the value is set by hand, not measured.
    OutOfService,
}

impl Doubt {
    /// Whether control may work with it: an estimate yes; what may be old or unconfirmed never.
    #[inline]
    pub const fn usable(self) -> bool {
        matches!(self, Self::Estimated)
    }

    /// In words, for people and payloads.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restored => "restored after a restart, not confirmed since",
            Self::Stale => "not refreshed in time",
            Self::Estimated => "estimated",
            Self::Flagged => "marked as doubtful by the device",
            Self::OutOfService => "out of service at the device: set by hand, not measured",
        }
    }
}

/// Why there is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nothing has arrived since the start.
    NeverRead,
    /// The device or the broker cannot be reached, or does not answer.
    NoCommunication,
    /// The device answered that it cannot (a Modbus exception, a BACnet error): its code.
    Refused(u16),
    /// The device says "not available" (a sentinel, an explicit null), or a writer says "none".
    Absent,
    /// A required field is missing in a message.
    Missing,
    /// NaN or infinite.
    NotFinite,
    /// Outside the point's range.
    OutOfRange,
    /// Bytes that are not what the mapping says.
    Malformed,
    /// The party that owns it is offline or reports a fault.
    Offline,
}

impl Fault {
    /// In words, for people and payloads.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NeverRead => "nothing received since the start",
            Self::NoCommunication => "no communication",
            Self::Refused(_) => "refused by the device",
            Self::Absent => "not available",
            Self::Missing => "missing in the message",
            Self::NotFinite => "not a finite number",
            Self::OutOfRange => "out of range",
            Self::Malformed => "malformed",
            Self::Offline => "offline",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(code) => write!(f, "refused by the device, code {code}"),
            other => f.write_str(other.as_str()),
        }
    }
}

/// One reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reading {
    /// A value that can be relied on.
    Good(Value),
    /// A value, with a reason to doubt it.
    Uncertain(Value, Doubt),
    /// No value, with the cause.
    Bad(Fault),
}

/// The three qualities, without their data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quality {
    /// Can be relied on.
    Good,
    /// Doubtful.
    Uncertain,
    /// No value.
    Bad,
}

impl Quality {
    /// As in the MQTT payload.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Uncertain => "uncertain",
            Self::Bad => "bad",
        }
    }
}

impl Reading {
    /// A good number, or bad when it is not finite.
    #[inline]
    pub fn number(number: f64) -> Self {
        Value::number(number).map_or(Self::Bad(Fault::NotFinite), Self::Good)
    }

    /// The value, good or doubtful.
    #[inline]
    pub const fn value(self) -> Option<Value> {
        match self {
            Self::Good(value) | Self::Uncertain(value, _) => Some(value),
            Self::Bad(_) => None,
        }
    }

    /// Its quality.
    #[inline]
    pub const fn quality(self) -> Quality {
        match self {
            Self::Good(_) => Quality::Good,
            Self::Uncertain(..) => Quality::Uncertain,
            Self::Bad(_) => Quality::Bad,
        }
    }

    /// Why it is not good.
    pub fn cause(self) -> Option<String> {
        match self {
            Self::Good(_) => None,
            Self::Uncertain(_, doubt) => Some(doubt.as_str().to_owned()),
            Self::Bad(fault) => Some(fault.to_string()),
        }
    }
}

/// One new reading of one point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Update {
    /// Which point.
    pub point: PointId,
    /// What was read.
    pub reading: Reading,
}

/// A reading and the instant it was taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// What was read.
    pub reading: Reading,
    /// When.
    pub at: Now,
}

impl Sample {
    /// Control's only door: the value, when it is good (or an estimate) and not older than `max_age`.
    #[inline]
    pub fn usable(&self, now: Now, max_age: Duration) -> Option<Value> {
        if now.mono.since(self.at.mono) > max_age {
            return None;
        }
        match self.reading {
            Reading::Good(value) => Some(value),
            Reading::Uncertain(value, doubt) if doubt.usable() => Some(value),
            Reading::Uncertain(..) | Reading::Bad(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Mono, Utc};

    #[test]
    fn only_fresh_and_confirmed_values_pass_the_door() {
        let at = |s| Now { mono: Mono::from_start(Duration::from_secs(s)), utc: Utc::default() };
        let age = Duration::from_secs(30);
        let good = Sample { reading: Reading::number(4.0), at: at(10) };
        assert!(good.usable(at(40), age).is_some());
        assert!(good.usable(at(41), age).is_none());
        for reading in [
            Reading::Bad(Fault::NoCommunication),
            Reading::number(f64::NAN),
            Reading::Uncertain(Value::Bool(true), Doubt::Restored),
            Reading::Uncertain(Value::Bool(true), Doubt::Stale),
        ] {
            assert!(Sample { reading, at: at(10) }.usable(at(10), age).is_none(), "{reading:?}");
        }
    }
}
