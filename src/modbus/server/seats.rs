//! Seats: the connections that a listener holds at once, and who gives one up when all are taken.
//!
//! One client must not be able to keep others out, whether it floods or forgets to close. When all seats are taken, a
//! new connection gets the seat that has been silent longest, if that is a quarter of the idle time-out or more (as the
//! Implementation Guide V1.0b, 4.3.2, advises); else one of the client that holds most, if it holds at least two more
//! than the new one's; else it is refused. Pure, but for the tokens by which a seat is taken away.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio_util::sync::CancellationToken;

/// One connection's place.
#[derive(Debug)]
pub(super) struct Seat {
    peer: IpAddr,
    /// Quarters of the idle time-out without a whole request.
    quiet: AtomicU8,
    /// Cancelled when the seat is given to another, or the gateway stops.
    pub over: CancellationToken,
}

impl Seat {
    /// Whole requests came.
    pub fn active(&self) {
        // A busy connection only reads: the line is shared with nobody.
        if self.quiet.load(Ordering::Relaxed) != 0 {
            self.quiet.store(0, Ordering::Relaxed);
        }
    }

    /// A quarter of the idle time-out passed without one; how many did in a row.
    pub fn silent(&self) -> u8 {
        let quiet = self.quiet.load(Ordering::Relaxed).saturating_add(1);
        self.quiet.store(quiet, Ordering::Relaxed);
        quiet
    }
}

/// All seats of a listener, by their number in order of arrival.
#[derive(Debug)]
pub(super) struct Seats {
    most: usize,
    next: u64,
    taken: BTreeMap<u64, Arc<Seat>>,
}

/// A place that was found.
#[derive(Debug)]
pub(super) struct Placed {
    /// Its number, for `leave`.
    pub number: u64,
    /// The seat.
    pub seat: Arc<Seat>,
}

impl Seats {
    pub fn new(most: usize) -> Self {
        Self { most, next: 0, taken: BTreeMap::new() }
    }

    pub fn len(&self) -> usize {
        self.taken.len()
    }

    /// The connection ended.
    pub fn leave(&mut self, number: u64) {
        self.taken.remove(&number);
    }

    /// A seat for a connection from there, if one can be had.
    pub fn take(&mut self, peer: IpAddr, stop: &CancellationToken) -> Option<Placed> {
        if self.taken.len() >= self.most {
            let number = self.given_up(peer)?;
            if let Some(seat) = self.taken.remove(&number) {
                seat.over.cancel();
            }
        }
        let seat = Arc::new(Seat { peer, quiet: AtomicU8::new(0), over: stop.child_token() });
        let number = self.next;
        self.next += 1;
        self.taken.insert(number, Arc::clone(&seat));
        Some(Placed { number, seat })
    }

    /// Whose seat goes to a connection from there.
    fn given_up(&self, newcomer: IpAddr) -> Option<u64> {
        let quiet = |seat: &Seat| seat.quiet.load(Ordering::Relaxed);
        // The earlier of two that are equally silent.
        let silent = self.taken.iter().rev().max_by_key(|(_, seat)| quiet(seat)).filter(|(_, seat)| quiet(seat) >= 1);
        if let Some((number, _)) = silent {
            return Some(*number);
        }
        let mut held: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for seat in self.taken.values() {
            *held.entry(seat.peer).or_default() += 1;
        }
        let own = held.get(&newcomer).copied().unwrap_or(0);
        let (greedy, _) = held.into_iter().filter(|(_, count)| *count >= own + 2).max_by_key(|(_, count)| *count)?;
        self.taken.iter().find(|(_, seat)| seat.peer == greedy).map(|(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn seats(most: usize, peers: &[u8]) -> (Seats, Vec<Placed>) {
        let mut seats = Seats::new(most);
        let stop = CancellationToken::new();
        let placed = peers.iter().map(|last| seats.take(peer(*last), &stop).unwrap()).collect();
        (seats, placed)
    }

    #[test]
    fn the_newest_is_refused_while_all_others_are_as_busy() {
        let (mut seats, placed) = seats(3, &[1, 2, 3]);
        let stop = CancellationToken::new();
        assert!(seats.take(peer(4), &stop).is_none());
        assert!(seats.take(peer(1), &stop).is_none());
        seats.leave(placed[1].number);
        assert!(seats.take(peer(4), &stop).is_some());
        assert!(!placed[0].seat.over.is_cancelled() && !placed[2].seat.over.is_cancelled());
        assert_eq!(seats.len(), 3);
    }

    #[test]
    fn who_is_silent_gives_way_and_who_speaks_again_does_not() {
        let (mut seats, placed) = seats(3, &[1, 2, 3]);
        let stop = CancellationToken::new();
        placed[0].seat.silent();
        placed[1].seat.silent();
        placed[1].seat.silent();
        placed[0].seat.active();
        assert!(seats.take(peer(1), &stop).is_some());
        assert!(placed[1].seat.over.is_cancelled());
        assert!(!placed[0].seat.over.is_cancelled() && !placed[2].seat.over.is_cancelled());
        assert!(seats.take(peer(1), &stop).is_none(), "nobody is silent any more");
    }

    #[test]
    fn who_holds_most_gives_way_until_shares_are_even() {
        let (mut seats, placed) = seats(4, &[1, 1, 1, 1]);
        let stop = CancellationToken::new();
        assert!(seats.take(peer(1), &stop).is_none(), "never for itself");
        assert!(seats.take(peer(2), &stop).is_some());
        assert!(placed[0].seat.over.is_cancelled(), "the oldest of the one that has most");
        assert!(seats.take(peer(2), &stop).is_some());
        assert!(seats.take(peer(2), &stop).is_none(), "two and two");
        assert!(seats.take(peer(3), &stop).is_some());
        assert!(seats.take(peer(4), &stop).is_some(), "one has two, the other none");
        assert!(seats.take(peer(5), &stop).is_none(), "one each");
        assert_eq!(seats.len(), 4);
    }

    #[test]
    fn a_stop_ends_every_seat() {
        let mut seats = Seats::new(1);
        let stop = CancellationToken::new();
        let placed = seats.take(peer(1), &stop).unwrap();
        stop.cancel();
        assert!(placed.seat.over.is_cancelled());
    }
}
