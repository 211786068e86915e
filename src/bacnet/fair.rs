//! Shares of what is bounded, where many peers want it at once.

use std::collections::VecDeque;
use std::time::Duration;

use super::link::Peer;
use crate::time::Mono;

/// Answers to Who-Is and Who-Has in one [`SPAN`], to all and to one peer.
const ANSWERS: usize = 256;
const ANSWERS_PER_PEER: usize = 20;
const SPAN: Duration = Duration::from_secs(1);

/// Which of a full list gives way to a peer that has `own` in it: of the peer that has most, at least two more, the one
/// that is silent for the longest. So a few that finish nothing lock nobody out.
pub(super) fn gives_way<T>(list: &[T], own: usize, of: impl Fn(&T) -> (Peer, Mono)) -> Option<usize> {
    let count = |peer: Peer| list.iter().filter(|one| of(one).0 == peer).count();
    let (most, peer) = list.iter().map(|one| of(one).0).map(|peer| (count(peer), peer)).max_by_key(|most| most.0)?;
    if most < own + 2 {
        return None;
    }
    let mine = list.iter().enumerate().filter(|(_, one)| of(one).0 == peer);
    mine.min_by_key(|(_, one)| of(one).1).map(|(place, _)| place)
}

/// Keeps a storm of Who-Is from becoming a storm of I-Am: so many answers in a second and no more, and no peer takes
/// the room of the others. Who asks again in the next second is answered.
#[derive(Debug, Default)]
pub(super) struct Calm {
    given: VecDeque<(Mono, Peer)>,
}

impl Calm {
    /// Whether an answer may be given now; it is counted as given.
    pub(super) fn admit(&mut self, peer: Peer, now: Mono) -> bool {
        while self.given.front().is_some_and(|(at, _)| now.since(*at) >= SPAN) {
            self.given.pop_front();
        }
        let free = ANSWERS - self.given.len().min(ANSWERS);
        let of_peer = self.given.iter().filter(|(_, other)| *other == peer).count();
        let admitted = of_peer < ANSWERS_PER_PEER.min(free.div_ceil(4));
        if admitted {
            self.given.push_back((now, peer));
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> Peer {
        Peer::local(([10, 0, 0, 9], port).into())
    }

    #[test]
    fn the_greediest_gives_way_and_only_to_who_has_less() {
        let later = |n: u64| Mono::START.after(Duration::from_secs(n));
        let list = [(peer(1), later(3)), (peer(2), later(1)), (peer(1), later(2)), (peer(1), later(4))];
        assert_eq!(gives_way(&list, 0, |one| *one), Some(2));
        assert_eq!(gives_way(&list, 1, |one| *one), Some(2));
        assert_eq!(gives_way(&list, 2, |one| *one), None);
        assert_eq!(gives_way(&[], 0, |one: &(Peer, Mono)| *one), None);
    }

    #[test]
    fn a_storm_draws_a_bounded_number_of_answers_and_leaves_room_for_others() {
        let mut calm = Calm::default();
        let one = (0..10_000).filter(|_| calm.admit(peer(1), Mono::START)).count();
        assert_eq!(one, ANSWERS_PER_PEER);
        let storm = (0..100_000u32).filter(|n| calm.admit(peer((n % 40) as u16 + 1), Mono::START)).count();
        assert!(one + storm <= ANSWERS);
        assert!(calm.admit(peer(99), Mono::START), "a peer that has not asked yet");
        let later = Mono::START.after(SPAN);
        assert!(calm.admit(peer(1), later));
        assert_eq!(calm.given.len(), 1);
    }
}
