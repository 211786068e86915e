//! Writes on their way to the engine: one at a time per peer and in its order, and none twice.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use bacnet_types::constructed::BACnetObjectPropertyReference as Reference;
use bacnet_types::enums::ConfirmedServiceChoice;
use bytes::Bytes;

use super::link::Peer;
use super::own::Change;
use super::settings::{APDU_TIMEOUT, RETRIES};
use crate::request::Write;
use crate::time::Mono;

/// Most writes of one peer that wait, the one under way included.
const PER_PEER: usize = 16;
/// Most writes that wait.
const TOTAL: usize = 256;
/// Most transactions that are remembered.
const REMEMBERED: usize = 1024;
/// Most of them of one peer: as many as may wait at once. Were it many more, a client that writes fast would come round
/// to an invoke id that is still remembered, and a new request would be taken for a repeated one.
const REMEMBERED_PER_PEER: usize = PER_PEER;
/// How long a client may go on repeating a request.
const MEMORY: Duration = Duration::from_millis(APDU_TIMEOUT.as_millis() as u64 * (RETRIES as u64 + 1));

/// Tells a repeated request from another one.
pub(super) fn fingerprint(service: ConfirmedServiceChoice, params: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    service.to_raw().hash(&mut hasher);
    params.hash(&mut hasher);
    hasher.finish()
}

/// Names a write towards the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ticket(u64);

/// One request of a peer to write.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) peer: Peer,
    pub(super) invoke: u8,
    pub(super) fingerprint: u64,
    pub(super) todo: Todo,
}

/// What it asks for, checked.
#[derive(Debug)]
pub(super) struct Todo {
    /// One or more commands to points, all or none.
    pub(super) writes: Vec<Write>,
    /// Changes of the device's own, done when the engine accepts.
    pub(super) own: Vec<Change>,
    /// The answer when the engine accepts.
    pub(super) accepted: Bytes,
    /// WritePropertyMultiple: what its first write names.
    pub(super) first: Option<Reference>,
}

#[derive(Debug)]
struct Pending {
    ticket: Ticket,
    job: Job,
    under_way: bool,
}

/// A transaction that changed something, with its answer.
#[derive(Debug)]
struct Past {
    peer: Peer,
    invoke: u8,
    fingerprint: u64,
    answer: Bytes,
    until: Mono,
}

/// What is known of a request that changes something.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// New.
    No,
    /// Repeated while it is under way: its answer will come.
    UnderWay,
    /// Repeated after it was answered: the same answer again.
    Answered(Bytes),
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Writes {
    next: u64,
    waiting: VecDeque<Pending>,
    past: VecDeque<Past>,
}

impl Writes {
    /// Whether this very request was seen before.
    pub(super) fn known(&self, peer: &Peer, invoke: u8, fingerprint: u64, now: Mono) -> Known {
        if self
            .waiting
            .iter()
            .any(|w| w.job.peer == *peer && w.job.invoke == invoke && w.job.fingerprint == fingerprint)
        {
            return Known::UnderWay;
        }
        let past = self.past.iter().find(|past| past.peer == *peer && past.invoke == invoke && past.until > now);
        match past {
            Some(past) if past.fingerprint == fingerprint => Known::Answered(past.answer.clone()),
            _ => Known::No,
        }
    }

    /// Remember how a transaction was answered.
    pub(super) fn remember(&mut self, peer: Peer, invoke: u8, fingerprint: u64, answer: Bytes, now: Mono) {
        let mut of_peer = 0;
        // From the newest on, with room for one more.
        let keep: Vec<bool> = (self.past.iter().rev())
            .map(|past| {
                if past.peer != peer {
                    return past.until > now;
                }
                let replaced = past.invoke == invoke;
                of_peer += usize::from(!replaced);
                past.until > now && !replaced && of_peer < REMEMBERED_PER_PEER
            })
            .collect();
        let mut keep = keep.into_iter().rev();
        self.past.retain(|_| keep.next().unwrap_or(false));
        if self.past.len() >= REMEMBERED {
            self.past.pop_front();
        }
        self.past.push_back(Past { peer, invoke, fingerprint, answer, until: now.after(MEMORY) });
    }

    /// A name for a write of the device's own.
    pub(super) const fn ticket(&mut self) -> Ticket {
        self.next += 1;
        Ticket(self.next)
    }

    /// Take a request in; false when there is no room. [`Self::start`] says which may go to the engine.
    pub(super) fn push(&mut self, job: Job) -> bool {
        let of_peer = self.waiting.iter().filter(|pending| pending.job.peer == job.peer).count();
        if of_peer >= PER_PEER || self.waiting.len() >= TOTAL {
            return false;
        }
        self.next += 1;
        self.waiting.push_back(Pending { ticket: Ticket(self.next), job, under_way: false });
        true
    }

    /// The writes of this peer's next request, when none of it is under way.
    pub(super) fn start(&mut self, peer: &Peer) -> Option<(Ticket, Vec<Write>)> {
        let first = self.waiting.iter_mut().find(|pending| pending.job.peer == *peer)?;
        if std::mem::replace(&mut first.under_way, true) {
            return None;
        }
        Some((first.ticket, std::mem::take(&mut first.job.todo.writes)))
    }

    /// The engine has answered a request.
    pub(super) fn finish(&mut self, ticket: Ticket) -> Option<Job> {
        let place = self.waiting.iter().position(|pending| pending.ticket == ticket)?;
        self.waiting.remove(place).map(|pending| pending.job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::point::{PointId, Priority};
    use crate::request::Action;

    fn job(port: u16, invoke: u8, point: u32) -> Job {
        let write = Write { point: PointId(point), action: Action::Relinquish, priority: Priority::LOWEST };
        let fingerprint = u64::from(invoke) + 10;
        let todo = Todo { writes: vec![write], own: Vec::new(), accepted: Bytes::new(), first: None };
        Job { peer: peer(port), invoke, fingerprint, todo }
    }

    fn peer(port: u16) -> Peer {
        Peer::local(([10, 0, 0, 9], port).into())
    }

    #[test]
    fn writes_of_one_peer_go_one_by_one_and_of_two_side_by_side() {
        let mut writes = Writes::default();
        assert!(writes.push(job(1, 1, 0)));
        assert!(writes.push(job(1, 2, 1)));
        assert!(writes.push(job(2, 1, 2)));
        let (first, wanted) = writes.start(&peer(1)).unwrap();
        assert_eq!(wanted[0].point, PointId(0));
        assert!(writes.start(&peer(1)).is_none());
        assert_eq!(writes.start(&peer(2)).unwrap().1[0].point, PointId(2));
        assert_eq!(writes.known(&peer(1), 2, 12, Mono::START), Known::UnderWay);
        assert_eq!(writes.finish(first).unwrap().invoke, 1);
        assert_eq!(writes.start(&peer(1)).unwrap().1[0].point, PointId(1));
        assert!(writes.finish(first).is_none());
    }

    #[test]
    fn one_peer_cannot_fill_the_queue() {
        let mut writes = Writes::default();
        assert_eq!((0..100).filter(|n| writes.push(job(1, *n, 0))).count(), PER_PEER);
        assert!(writes.push(job(2, 0, 0)));
    }

    #[test]
    fn the_last_transactions_of_a_peer_are_answered_from_memory() {
        let mut writes = Writes::default();
        let answer = Bytes::from_static(b"ack");
        writes.remember(peer(1), 1, 11, answer.clone(), Mono::START);
        assert_eq!(writes.known(&peer(1), 1, 11, Mono::START), Known::Answered(answer.clone()));
        assert_eq!(writes.known(&peer(1), 1, 12, Mono::START), Known::No);
        assert_eq!(writes.known(&peer(2), 1, 11, Mono::START), Known::No);
        assert_eq!(writes.known(&peer(1), 1, 11, Mono::START.after(MEMORY)), Known::No);
        // others since, and one under the same id
        for invoke in 2..=16 {
            writes.remember(peer(1), invoke, 12, answer.clone(), Mono::START);
        }
        assert_eq!(writes.known(&peer(1), 1, 11, Mono::START), Known::Answered(answer.clone()));
        writes.remember(peer(1), 17, 12, answer.clone(), Mono::START);
        assert_eq!(writes.known(&peer(1), 1, 11, Mono::START), Known::No);
        writes.remember(peer(1), 17, 13, answer.clone(), Mono::START);
        assert_eq!(writes.known(&peer(1), 17, 12, Mono::START), Known::No);
        assert_eq!(writes.known(&peer(1), 17, 13, Mono::START), Known::Answered(answer.clone()));
        assert_eq!(writes.known(&peer(1), 2, 12, Mono::START), Known::Answered(answer));
        for port in 0..5000 {
            writes.remember(peer(port), 1, 1, Bytes::new(), Mono::START);
        }
        assert!(writes.past.len() <= REMEMBERED);
    }
}
