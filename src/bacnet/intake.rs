//! Datagrams that wait for their turn: taken from the kernel as they come, given out one peer after another. Left in the
//! kernel's buffer a storm would push out everybody else's requests unseen.

use std::collections::VecDeque;
use std::net::SocketAddrV4;

use super::socket::Datagram;

/// Most datagrams that wait, of at most 1,497 octets each.
const CAPACITY: usize = 4096;
/// From so many on there is a crowd.
const CROWDED: usize = 1024;
/// Most of one peer: a burst of its own, and in a crowd.
const PER_PEER: usize = 1024;
const PER_PEER_CROWDED: usize = 16;
/// Most buffers that are kept for the next ones.
const SPARE: usize = 64;

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Intake {
    queues: foldhash::HashMap<SocketAddrV4, VecDeque<(Datagram, Vec<u8>)>>,
    /// Peers with something in their queue, whose turn is next in front.
    turns: VecDeque<SocketAddrV4>,
    held: usize,
    /// Buffers to be used again.
    spare: Vec<Vec<u8>>,
}

impl Intake {
    /// Whether nothing waits.
    pub(super) const fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Take a datagram in. False: this one, or in its place one of a peer that has more, had to go.
    pub(super) fn push(&mut self, datagram: Datagram, payload: &[u8]) -> bool {
        let own = self.queues.get(&datagram.from).map_or(0, VecDeque::len);
        if own >= if self.held < CROWDED { PER_PEER } else { PER_PEER_CROWDED } {
            return false;
        }
        let full = self.held >= CAPACITY;
        if full && !self.shorten(own + 1) {
            return false;
        }
        self.held += 1;
        let queue = self.queues.entry(datagram.from).or_default();
        if queue.is_empty() {
            self.turns.push_back(datagram.from);
        }
        let mut copy = self.spare.pop().unwrap_or_default();
        copy.clear();
        copy.extend_from_slice(payload);
        queue.push_back((datagram, copy));
        !full
    }

    /// A payload that is done with: its buffer serves again.
    pub(super) fn spare(&mut self, payload: Vec<u8>) {
        if self.spare.len() < SPARE {
            self.spare.push(payload);
        }
    }

    /// Drop the newest of the longest queue, when that is longer than this.
    fn shorten(&mut self, than: usize) -> bool {
        let longest = self.queues.values_mut().max_by_key(|queue| queue.len());
        let shortened = longest.filter(|queue| queue.len() > than).and_then(VecDeque::pop_back).is_some();
        self.held -= usize::from(shortened);
        shortened
    }

    /// The oldest datagram of the peer whose turn it is.
    pub(super) fn next(&mut self) -> Option<(Datagram, Vec<u8>)> {
        let from = self.turns.pop_front()?;
        let queue = self.queues.get_mut(&from)?;
        let first = queue.pop_front()?;
        self.held -= 1;
        if queue.is_empty() {
            self.queues.remove(&from);
        } else {
            self.turns.push_back(from);
        }
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bacnet::link::Arrival;

    fn datagram(port: u16) -> Datagram {
        let from = SocketAddrV4::new([10, 0, 0, 9].into(), port);
        Datagram { length: 1, from, port: 0, arrival: Arrival::Address }
    }

    #[test]
    fn peers_take_turns_and_each_keeps_its_order() {
        let mut intake = Intake::default();
        for (port, payload) in [(1, b"a"), (1, b"b"), (1, b"c"), (2, b"d"), (3, b"e"), (2, b"f")] {
            assert!(intake.push(datagram(port), payload));
        }
        let out: Vec<u8> = std::iter::from_fn(|| intake.next()).map(|(_, payload)| payload[0]).collect();
        assert_eq!(out, b"adebfc");
        assert!(intake.is_empty() && intake.queues.is_empty() && intake.turns.is_empty());
    }

    #[test]
    fn a_storm_costs_its_own_queue_and_its_number_is_bounded() {
        let mut intake = Intake::default();
        assert_eq!((0..10_000).filter(|_| intake.push(datagram(1), b"x")).count(), PER_PEER);
        for port in 2..=64 {
            assert_eq!((0..100).filter(|_| intake.push(datagram(port), b"x")).count(), PER_PEER_CROWDED);
        }
        for port in 100..10_000 {
            intake.push(datagram(port), b"x");
        }
        assert_eq!(intake.held, CAPACITY);
        // Its turn comes within one of every peer's.
        intake.queues.clear();
        intake.turns.clear();
        intake.held = 0;
        for _ in 0..5_000 {
            intake.push(datagram(1), b"x");
        }
        assert!(intake.push(datagram(2), b"good"));
        assert!((0..2).any(|_| intake.next().unwrap().1 == b"good"));
    }
}
