//! Our own confirmed requests: one owner of the invoke ids, for notifications and for the client alike (clause
//! 5.4.4). Requests are never segmented: they are made to fit. Answers may be.

use std::collections::HashMap;
use std::time::Duration;

use bacnet_encoding::primitives::{ApplicationValueRef, decode_application_value_ref};
use bacnet_types::enums::ConfirmedServiceChoice;
use bytes::{BufMut, Bytes, BytesMut};

use super::assembly::{self, Assembly, Piece};
use super::cov::Serial;
use super::further::largest;
use super::link::Peer;
use super::settings::{APDU_TIMEOUT, MAX_APDU, RETRIES, SEGMENT_TIMEOUT};
use crate::time::Mono;

/// Most requests that wait for an answer.
const CAPACITY: usize = 384;
/// Most of them that tell of something; the others stay for the client's calls, however many subscribers are dead.
const TELLING: usize = 256;
/// From so many on each peer is told one or two things at a time, so that 64 dead ones leave room for those that live.
const CROWDED: usize = 96;
const PER_PEER_CROWDED: usize = 2;
/// Most of them to one peer: many devices serve no more at a time.
const PER_PEER: usize = 16;

/// For whom a request is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A confirmed notification of a subscription.
    Notification(Serial),
    /// A call of the client, by its number.
    Call(u64),
    /// A confirmed event notification.
    Event(u64),
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// SimpleACK: nothing; ComplexACK: its parameters.
    Done(Bytes),
    /// Error: class and code.
    Error(u32, u32),
    /// Reject: its reason.
    Rejected(u8),
    /// Abort: its reason.
    Aborted(u8),
    /// No answer to any of the tries.
    Silent,
}

/// How long a request waits for its answer, and how often it is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    pub(super) timeout: Duration,
    pub(super) retries: u8,
}

impl Default for Patience {
    fn default() -> Self {
        Self { timeout: APDU_TIMEOUT, retries: RETRIES }
    }
}

/// What an answer was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answered {
    /// The end of a request.
    Ended(Purpose, Outcome),
    /// A part of an answer.
    Part,
    /// Nobody waits for it.
    Nobody,
}

#[derive(Debug)]
struct Pending {
    purpose: Purpose,
    service: u8,
    apdu: Bytes,
    patience: Patience,
    tries: u8,
    deadline: Mono,
    assembly: Option<Assembly>,
}

/// Requests that wait for their answers.
#[derive(Debug, Default)]
pub(super) struct Requester {
    pending: HashMap<(Peer, u8), Pending>,
    next: u8,
    /// Nothing may be asked (clause 16.1).
    held: bool,
}

impl Requester {
    /// Ask nothing from now on, or again.
    pub(super) const fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Send a request; `None` when too many wait already, or nothing may be asked.
    pub(super) fn ask(
        &mut self,
        peer: Peer,
        service: ConfirmedServiceChoice,
        params: &[u8],
        purpose: Purpose,
        now: Mono,
    ) -> Option<Bytes> {
        self.ask_with(peer, service, params, purpose, Patience::default(), now)
    }

    /// The same, with another patience than the usual one.
    pub(super) fn ask_with(
        &mut self,
        peer: Peer,
        service: ConfirmedServiceChoice,
        params: &[u8],
        purpose: Purpose,
        patience: Patience,
        now: Mono,
    ) -> Option<Bytes> {
        let to_peer = self.pending.keys().filter(|(other, _)| *other == peer).count();
        if self.held || self.pending.len() >= CAPACITY || to_peer >= PER_PEER {
            return None;
        }
        if !matches!(purpose, Purpose::Call(_)) {
            let telling = self.pending.values().filter(|other| !matches!(other.purpose, Purpose::Call(_))).count();
            if telling >= TELLING || telling >= CROWDED && to_peer >= PER_PEER_CROWDED {
                return None;
            }
        }
        let invoke = (0..=u8::MAX)
            .map(|step| self.next.wrapping_add(step))
            .find(|invoke| !self.pending.contains_key(&(peer, *invoke)))?;
        self.next = invoke.wrapping_add(1);
        let mut apdu = BytesMut::with_capacity(4 + params.len());
        // A segmented answer is taken, of up to 64 segments of 1,476 octets, or of the 480 that MS/TP carries.
        let sizes = if largest(peer.link) < MAX_APDU { 0x63 } else { 0x65 };
        apdu.put_slice(&[0x02, sizes, invoke, service.to_raw()]);
        apdu.put_slice(params);
        let apdu = apdu.freeze();
        let waiting = Pending {
            purpose,
            service: service.to_raw(),
            apdu: apdu.clone(),
            patience,
            tries: 0,
            deadline: now.after(patience.timeout),
            assembly: None,
        };
        self.pending.insert((peer, invoke), waiting);
        Some(apdu)
    }

    /// An answer: SimpleACK, ComplexACK, Error, Reject or Abort. Acknowledgements of its segments go to `send`.
    pub(super) fn on_answer(&mut self, peer: &Peer, apdu: &[u8], now: Mono, send: &mut dyn FnMut(Bytes)) -> Answered {
        let Some((&[kind, invoke, third], rest)) = apdu.split_first_chunk::<3>() else { return Answered::Nobody };
        let Some(key) = self.key(peer, invoke) else { return Answered::Nobody };
        let Some(pending) = self.pending.get_mut(&key) else { return Answered::Nobody };
        let same_service = pending.service == third;
        let outcome = match kind >> 4 {
            2 if same_service => Outcome::Done(Bytes::new()),
            3 if kind & 0x08 != 0 => {
                if apdu.get(4) != Some(&pending.service) {
                    return Answered::Nobody;
                }
                let Some(piece) = assembly::on_segment(&mut pending.assembly, apdu) else { return Answered::Nobody };
                pending.deadline = now.after(SEGMENT_TIMEOUT * 4);
                match piece {
                    Piece::Wait => return Answered::Part,
                    Piece::Acknowledge(ack) => {
                        send(ack);
                        return Answered::Part;
                    }
                    Piece::Whole(ack, params) => {
                        send(ack);
                        Outcome::Done(params)
                    }
                    Piece::Broken(reason, abort) => {
                        send(abort);
                        Outcome::Aborted(reason.to_raw())
                    }
                }
            }
            3 if same_service => Outcome::Done(Bytes::copy_from_slice(rest)),
            5 if same_service => error(rest),
            6 => Outcome::Rejected(third),
            7 => Outcome::Aborted(third),
            _ => return Answered::Nobody,
        };
        self.pending.remove(&key).map_or(Answered::Nobody, |pending| Answered::Ended(pending.purpose, outcome))
    }

    /// The request that an answer is for: one that went to a network through whichever router would take it is answered
    /// through the one that did.
    fn key(&self, peer: &Peer, invoke: u8) -> Option<(Peer, u8)> {
        let through = |link| (Peer { link, ..*peer }, invoke);
        let any = peer.route.is_some().then(|| through(Peer::ANY_ROUTER));
        std::iter::once(through(peer.link)).chain(any).find(|key| self.pending.contains_key(key))
    }

    /// When the next request is sent again or given up.
    pub(super) fn wake(&self) -> Option<Mono> {
        self.pending.values().map(|pending| pending.deadline).min()
    }

    /// Send again what waits too long, through `send`; what was sent often enough has ended in silence.
    pub(super) fn on_time(&mut self, now: Mono, send: &mut dyn FnMut(Peer, Bytes)) -> Vec<(Peer, Purpose)> {
        let mut ended = Vec::new();
        self.pending.retain(|(peer, _), pending| {
            if pending.deadline > now {
                return true;
            }
            pending.tries = pending.tries.saturating_add(1);
            pending.deadline = now.after(pending.patience.timeout);
            // An answer that broke off begins again.
            pending.assembly = None;
            if pending.tries > pending.patience.retries {
                ended.push((*peer, pending.purpose));
                return false;
            }
            send(*peer, pending.apdu.clone());
            true
        });
        ended
    }
}

/// Class and code of an Error; 0, 0 (other) where they cannot be read.
fn error(params: &[u8]) -> Outcome {
    let enumerated = |offset| match decode_application_value_ref(params, offset) {
        Ok((ApplicationValueRef::Enumerated(number), end)) => Some((number, end)),
        _ => None,
    };
    let Some((class, end)) = enumerated(0) else { return Outcome::Error(0, 0) };
    Outcome::Error(class, enumerated(end).map_or(0, |(code, _)| code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> Peer {
        Peer::local(([10, 0, 0, 9], port).into())
    }

    fn ask(requester: &mut Requester, port: u16, call: u64) -> Option<Bytes> {
        let service = ConfirmedServiceChoice::READ_PROPERTY;
        requester.ask(peer(port), service, b"", Purpose::Call(call), Mono::START)
    }

    #[test]
    fn an_answer_finds_its_request_by_peer_and_invoke_id() {
        let mut requester = Requester::default();
        let one = ask(&mut requester, 1, 1).unwrap();
        let two = ask(&mut requester, 1, 2).unwrap();
        assert_ne!(one[2], two[2]);
        let mut on = |port, apdu: &[u8]| {
            requester.on_answer(&peer(port), apdu, Mono::START, &mut |_| panic!("nothing to acknowledge"))
        };
        assert_eq!(on(2, &[0x30, one[2], 12]), Answered::Nobody);
        // another service's answer under the same id is not ours
        assert_eq!(on(1, &[0x20, one[2], 15]), Answered::Nobody);
        let answer = on(1, &[0x30, two[2], 12, 1, 2]);
        assert_eq!(answer, Answered::Ended(Purpose::Call(2), Outcome::Done(Bytes::from_static(&[1, 2]))));
        let answer = on(1, &[0x50, one[2], 12, 0x91, 2, 0x91, 32]);
        assert_eq!(answer, Answered::Ended(Purpose::Call(1), Outcome::Error(2, 32)));
        assert_eq!(requester.wake(), None);
    }

    #[test]
    fn a_segmented_answer_is_acknowledged_and_whole() {
        let mut requester = Requester::default();
        let asked = ask(&mut requester, 1, 1).unwrap();
        assert_eq!(asked[..2], [0x02, 0x65], "a segmented answer is taken");
        let mut sent = Vec::new();
        let mut on = |apdu: &[u8]| requester.on_answer(&peer(1), apdu, Mono::START, &mut |ack| sent.push(ack));
        assert_eq!(on(&[0x3C, asked[2], 0, 4, 15, 1]), Answered::Nobody, "another service");
        assert_eq!(on(&[0x3C, asked[2], 0, 4, 12, 1]), Answered::Part);
        assert_eq!(on(&[0x3C, asked[2], 1, 4, 12, 2]), Answered::Part);
        let whole = Outcome::Done(Bytes::from_static(&[1, 2, 3]));
        assert_eq!(on(&[0x38, asked[2], 2, 4, 12, 3]), Answered::Ended(Purpose::Call(1), whole));
        assert_eq!(sent, [&[0x40, asked[2], 0, 4][..], &[0x40, asked[2], 2, 4]]);
    }

    #[test]
    fn dead_subscribers_leave_room_for_others_and_for_calls() {
        let mut requester = Requester::default();
        let mut tell = |port| {
            let service = ConfirmedServiceChoice::CONFIRMED_COV_NOTIFICATION;
            requester.ask(peer(port), service, b"", Purpose::Notification(Serial::default()), Mono::START).is_some()
        };
        for port in 1..=64 {
            let told = (0..100).filter(|_| tell(port)).count();
            assert!(told >= PER_PEER_CROWDED, "{told} to peer {port}");
        }
        while (100..1000).any(&mut tell) {}
        assert!((0..100).all(|call| ask(&mut requester, 1000 + call, call.into()).is_some()));
    }

    #[test]
    fn requests_are_repeated_then_given_up_and_their_number_is_bounded() {
        let mut requester = Requester::default();
        let asked = (0..100).filter(|call| ask(&mut requester, 1, *call).is_some()).count();
        assert_eq!(asked, PER_PEER);
        let (mut now, mut sent) = (Mono::START, 0);
        for _ in 0..RETRIES {
            now = now.after(APDU_TIMEOUT);
            assert!(requester.on_time(now, &mut |_, _| sent += 1).is_empty());
        }
        assert_eq!(sent, PER_PEER * usize::from(RETRIES));
        let ended = requester.on_time(now.after(APDU_TIMEOUT), &mut |_, _| panic!());
        assert_eq!(ended.len(), PER_PEER);
    }
}
