//! What was given to the connection and is not acknowledged yet. Pure: ages are counted in ticks of the caller.

use std::collections::{BTreeMap, VecDeque};

use super::outbox::Tag;

/// The unacknowledged messages of one connection.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Given to the connection, in order, and not written yet: the packet id is not known.
    given: VecDeque<(Tag, u64)>,
    /// Written, by packet id.
    written: BTreeMap<u16, (Tag, u64)>,
    /// How many of all these are commands.
    commands: usize,
    tick: u64,
}

impl Window {
    /// A message was given to the connection.
    pub fn given(&mut self, tag: Tag) {
        self.commands += usize::from(matches!(tag, Tag::Command(_)));
        self.given.push_back((tag, self.tick));
    }

    /// The next one in order was written under this id.
    pub fn written(&mut self, id: u16) {
        if let Some(entry) = self.given.pop_front() {
            self.written.insert(id, entry);
        }
    }

    /// The broker has it.
    pub fn acknowledged(&mut self, id: u16) -> Option<Tag> {
        let (tag, _) = self.written.remove(&id)?;
        self.commands -= usize::from(matches!(tag, Tag::Command(_)));
        Some(tag)
    }

    /// Time passes. The age of the oldest one, in ticks.
    pub fn tick(&mut self) -> u64 {
        self.tick += 1;
        let entries = self.given.iter().chain(self.written.values());
        entries.map(|(_, given)| self.tick - given).max().unwrap_or(0)
    }

    /// Unacknowledged messages that are not commands.
    pub fn others(&self) -> usize {
        self.given.len() + self.written.len() - self.commands
    }

    /// Nothing is unacknowledged.
    pub fn is_empty(&self) -> bool {
        self.given.is_empty() && self.written.is_empty()
    }

    /// The connection is gone: what it never acknowledged, oldest first.
    pub fn lost(&mut self) -> Vec<Tag> {
        let mut entries: Vec<_> = std::mem::take(&mut self.written).into_values().collect();
        entries.sort_by_key(|(_, given)| *given);
        entries.extend(std::mem::take(&mut self.given));
        self.commands = 0;
        entries.into_iter().map(|(tag, _)| tag).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plant::HeaterId;

    #[test]
    fn an_acknowledgement_finds_its_message_and_a_lost_one_is_known() {
        let mut window = Window::default();
        window.given(Tag::Command(HeaterId(0)));
        window.given(Tag::Status);
        window.written(7);
        assert_eq!(window.tick(), 1);
        window.given(Tag::View);
        assert_eq!((window.others(), window.tick()), (2, 2));
        assert_eq!(window.acknowledged(9), None);
        assert_eq!(window.acknowledged(7), Some(Tag::Command(HeaterId(0))));
        window.written(8);
        assert_eq!(window.others(), 2);
        assert_eq!(window.lost(), [Tag::Status, Tag::View]);
        assert!(window.is_empty());
    }
}
