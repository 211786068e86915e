//! Our own confirmed requests: one owner of the invoke ids, for notifications and for the client alike (clause
//! 5.4.4). Requests are never segmented and segmented answers not accepted: each concerns one property.

use std::collections::HashMap;

use bacnet_encoding::primitives::{ApplicationValueRef, decode_application_value_ref};
use bacnet_types::enums::{AbortReason, ConfirmedServiceChoice};
use bytes::{BufMut, Bytes, BytesMut};

use super::cov::Serial;
use super::link::Peer;
use super::settings::{APDU_TIMEOUT, RETRIES};
use crate::time::Mono;

/// Most requests that wait for an answer.
const CAPACITY: usize = 256;
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

#[derive(Debug)]
struct Pending {
    purpose: Purpose,
    service: u8,
    apdu: Bytes,
    tries: u8,
    deadline: Mono,
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
        let to_peer = self.pending.keys().filter(|(other, _)| *other == peer).count();
        if self.held || self.pending.len() >= CAPACITY || to_peer >= PER_PEER {
            return None;
        }
        let invoke = (0..=u8::MAX)
            .map(|step| self.next.wrapping_add(step))
            .find(|invoke| !self.pending.contains_key(&(peer, *invoke)))?;
        self.next = invoke.wrapping_add(1);
        let mut apdu = BytesMut::with_capacity(4 + params.len());
        // no segmented answer; 1,476 octets
        apdu.put_slice(&[0x00, 0x05, invoke, service.to_raw()]);
        apdu.put_slice(params);
        let apdu = apdu.freeze();
        let waiting = Pending {
            purpose,
            service: service.to_raw(),
            apdu: apdu.clone(),
            tries: 0,
            deadline: now.after(APDU_TIMEOUT),
        };
        self.pending.insert((peer, invoke), waiting);
        Some(apdu)
    }

    /// An answer: SimpleACK, ComplexACK, Error, Reject or Abort. `None` when nobody waits for it.
    pub(super) fn on_answer(&mut self, peer: &Peer, apdu: &[u8]) -> Option<(Purpose, Outcome)> {
        let (&[kind, invoke, third], rest) = apdu.split_first_chunk::<3>()?;
        let key = self.key(peer, invoke)?;
        let pending = self.pending.get(&key)?;
        let same_service = pending.service == third;
        let outcome = match kind >> 4 {
            2 if same_service => Outcome::Done(Bytes::new()),
            3 if kind & 0x08 != 0 => Outcome::Aborted(AbortReason::SEGMENTATION_NOT_SUPPORTED.to_raw()),
            3 if same_service => Outcome::Done(Bytes::copy_from_slice(rest)),
            5 if same_service => error(rest),
            6 => Outcome::Rejected(third),
            7 => Outcome::Aborted(third),
            _ => return None,
        };
        self.pending.remove(&key).map(|pending| (pending.purpose, outcome))
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
            pending.tries += 1;
            pending.deadline = now.after(APDU_TIMEOUT);
            if pending.tries > RETRIES {
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
        assert_eq!(requester.on_answer(&peer(2), &[0x30, one[2], 12]), None);
        // another service's answer under the same id is not ours
        assert_eq!(requester.on_answer(&peer(1), &[0x20, one[2], 15]), None);
        let answer = requester.on_answer(&peer(1), &[0x30, two[2], 12, 1, 2]);
        assert_eq!(answer, Some((Purpose::Call(2), Outcome::Done(Bytes::from_static(&[1, 2])))));
        let answer = requester.on_answer(&peer(1), &[0x50, one[2], 12, 0x91, 2, 0x91, 32]);
        assert_eq!(answer, Some((Purpose::Call(1), Outcome::Error(2, 32))));
        assert_eq!(requester.wake(), None);
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
