//! The 16-slot priority array of a commandable point (ASHRAE 135, clause 19.2): the lowest occupied slot rules.

use std::fmt;

use super::Value;
use crate::time::Now;

/// A command priority, 1 (highest) to 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// Manual operator: `heatgate force`.
    pub const OPERATOR: Self = Self(8);
    /// What a BACnet write without a priority means.
    pub const LOWEST: Self = Self(16);
    /// Modbus writes, unless configured.
    pub const PROGRAM: Self = Self(15);

    /// The only door; `None` outside 1..=16.
    pub fn new(number: u8) -> Option<Self> {
        (1..=16).contains(&number).then_some(Self(number))
    }

    /// 1 to 16.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// All of them, highest first.
    pub fn all() -> impl Iterator<Item = Self> {
        (1..=16).map(Self)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One occupied slot.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    /// What was written.
    pub value: Value,
    /// When it was last written; an identical rewrite counts.
    pub at: Now,
    /// By whom, for people: protocol and peer.
    pub by: std::sync::Arc<str>,
    /// Loaded after a restart and not rewritten since.
    pub restored: bool,
}

/// Sixteen slots.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PriorityArray {
    slots: [Option<Slot>; 16],
}

impl PriorityArray {
    /// The slot at a priority.
    pub fn get(&self, priority: Priority) -> Option<&Slot> {
        self.slots.get(usize::from(priority.0 - 1)).and_then(Option::as_ref)
    }

    /// Occupy a slot.
    pub fn set(&mut self, priority: Priority, slot: Slot) {
        if let Some(place) = self.slots.get_mut(usize::from(priority.0 - 1)) {
            *place = Some(slot);
        }
    }

    /// Empty a slot; true when it was occupied.
    pub fn relinquish(&mut self, priority: Priority) -> bool {
        self.slots.get_mut(usize::from(priority.0 - 1)).is_some_and(|place| place.take().is_some())
    }

    /// The slot that rules, with its priority.
    pub fn ruling(&self) -> Option<(Priority, &Slot)> {
        (1_u8..).zip(&self.slots).find_map(|(priority, slot)| Some((Priority(priority), slot.as_ref()?)))
    }

    /// The occupied slots, highest priority first.
    pub fn occupied(&self) -> impl Iterator<Item = (Priority, &Slot)> {
        Priority::all().filter_map(|priority| Some((priority, self.get(priority)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_occupied_slot_rules() {
        let slot =
            |value| Slot { value: Value::Unsigned(value), at: Now::default(), by: "test".into(), restored: false };
        let mut array = PriorityArray::default();
        assert!(array.ruling().is_none());
        array.set(Priority::PROGRAM, slot(15));
        array.set(Priority::OPERATOR, slot(8));
        assert_eq!(array.ruling().map(|(p, _)| p), Some(Priority::OPERATOR));
        assert!(array.relinquish(Priority::OPERATOR));
        assert!(!array.relinquish(Priority::OPERATOR));
        assert_eq!(array.ruling().map(|(_, s)| s.value), Some(Value::Unsigned(15)));
        assert_eq!(Priority::new(0), None);
        assert_eq!(Priority::new(17), None);
    }
}
