//! Points: one named value of the site each, what they may hold, how good it is, and who commands it.

mod image;
mod priority;
mod reading;
mod text;
mod value;

pub use image::{Image, PointState};
pub use priority::{Priority, PriorityArray, Slot};
pub use reading::{Doubt, Fault, Quality, Reading, Sample, Update};
pub use text::Text;
pub use value::{Finite, Kind, Value};

use std::fmt;

/// The name of a point outside: segments of `a-z 0-9 _ . -` joined by `/`, such as `hall/heat_request_percent`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PointKey(String);

/// Why a text is not a point key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a point key is segments of a-z, 0-9, '_', '.', '-' joined by '/', at most 120 characters")]
pub struct BadKey;

impl PointKey {
    /// The only door.
    pub fn new(text: impl Into<String>) -> Result<Self, BadKey> {
        let text = text.into();
        let segment = |s: &str| {
            !s.is_empty()
                && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-'))
        };
        if text.len() <= 120 && text.split('/').all(segment) { Ok(Self(text)) } else { Err(BadKey) }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A point inside: its place in the plant's list, dense from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PointId(pub u32);

impl PointId {
    /// As an index.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_topic_safe() {
        assert!(PointKey::new("hall/heat_request_percent").is_ok());
        assert!(PointKey::new("rack-a/power").is_ok());
        for bad in ["", "/", "a//b", "a/", "Hall/x", "a b", "a/+", "a/#", "é"] {
            assert_eq!(PointKey::new(bad), Err(BadKey), "{bad:?}");
        }
    }
}
