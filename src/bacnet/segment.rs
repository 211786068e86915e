//! Answers too long for one APDU: sent in segments, a window at a time (clause 5.4.5.4). Time is an argument.
//!
//! ```text
//!  new ──segment 0, once more after NUDGE──► waiting ──SegmentACK moves──► waiting for the next window ── ... ──► done
//!                                              ├──negative, or time-out: the same window again, RETRIES times──► done
//!                                              └──Abort──► done
//! ```
//! A SegmentACK that moves nothing only restarts the timer: answering it would let a bad client draw a storm.

use std::time::Duration;

use bacnet_types::enums::{AbortReason, ConfirmedServiceChoice};
use bytes::{BufMut, Bytes, BytesMut};

use super::answer;
use super::link::Peer;
use super::settings::{RETRIES, SEGMENT_TIMEOUT, WINDOW};
use crate::time::Mono;

/// Head of a segment of a BACnet-ComplexACK-PDU, octets.
pub(super) const HEAD: usize = 5;

/// When the first segment is sent once more. A client must acknowledge it at once (clause 5.4.4.2), but those of the
/// rusty-bacnet family wait for a whole window, and a whole time-out would be lost on each answer to them.
const NUDGE: Duration = Duration::from_millis(300);

/// One answer on its way.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) peer: Peer,
    pub(super) invoke: u8,
    /// Tells a repeated request from a new one that uses the same invoke id.
    pub(super) fingerprint: u64,
    service: ConfirmedServiceChoice,
    payload: Bytes,
    /// Octets of payload in a segment.
    size: usize,
    /// How many segments there are.
    total: usize,
    /// The first that is not acknowledged.
    base: usize,
    /// The first that was not sent.
    sent: usize,
    window: usize,
    tries: u8,
    /// The first segment was sent once more.
    nudged: bool,
    pub(super) deadline: Mono,
}

/// Whether a transaction goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It waits for its peer.
    Waiting,
    /// It is over.
    Done,
    /// It is over, and the peer is told.
    Abort(AbortReason),
}

/// What is sent.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) peer: Peer,
    pub(super) invoke: u8,
    pub(super) fingerprint: u64,
    pub(super) service: ConfirmedServiceChoice,
    /// Acknowledgement parameters.
    pub(super) payload: Bytes,
}

impl Sending {
    /// Segments of at most `max_apdu` octets; the first is handed to `send`.
    pub(super) fn start(answer: Answer, max_apdu: usize, now: Mono, send: &mut dyn FnMut(Bytes)) -> Self {
        let size = max_apdu.saturating_sub(HEAD).max(1);
        let sending = Self {
            peer: answer.peer,
            invoke: answer.invoke,
            fingerprint: answer.fingerprint,
            service: answer.service,
            total: answer.payload.len().div_ceil(size).max(1),
            payload: answer.payload,
            size,
            base: 0,
            sent: 1,
            window: 1,
            tries: 0,
            nudged: false,
            deadline: now.after(NUDGE),
        };
        sending.send(send);
        sending
    }

    /// How many segments an answer takes.
    pub(super) fn count(octets: usize, max_apdu: usize) -> usize {
        octets.div_ceil(max_apdu.saturating_sub(HEAD).max(1))
    }

    /// The window between `base` and `sent`.
    fn send(&self, send: &mut dyn FnMut(Bytes)) {
        for place in self.base..self.sent {
            let from = place * self.size;
            let to = (from + self.size).min(self.payload.len());
            let more = place + 1 < self.total;
            let mut out = BytesMut::with_capacity(HEAD + self.size);
            #[expect(clippy::cast_possible_truncation, reason = "sequence numbers count modulo 256 (clause 5.3)")]
            out.put_slice(&[0x38 | (u8::from(more) << 2), self.invoke, place as u8, WINDOW, self.service.to_raw()]);
            out.put_slice(self.payload.get(from..to).unwrap_or_default());
            send(out.freeze());
        }
    }

    /// A SegmentACK of the peer.
    pub(super) fn on_ack(
        &mut self,
        negative: bool,
        sequence: u8,
        window: u8,
        now: Mono,
        send: &mut dyn FnMut(Bytes),
    ) -> Progress {
        if !(1..=127).contains(&window) {
            return Progress::Abort(AbortReason::WINDOW_SIZE_OUT_OF_RANGE);
        }
        #[expect(clippy::cast_possible_truncation, reason = "modulo 256")]
        let ahead = usize::from(sequence.wrapping_sub(self.base as u8));
        self.deadline = now.after(SEGMENT_TIMEOUT);
        if ahead < self.sent - self.base {
            self.base += ahead + 1;
            self.tries = 0;
            if self.base >= self.total {
                return Progress::Done;
            }
            self.window = usize::from(window);
        } else if negative && ahead == 255 {
            // "I still wait for the first of this window": sent again, but only as often as after a time-out.
            self.tries = self.tries.saturating_add(1);
            if self.tries > RETRIES {
                return Progress::Abort(AbortReason::TSM_TIMEOUT);
            }
        } else {
            return Progress::Waiting;
        }
        self.sent = (self.base + self.window).min(self.total);
        self.send(send);
        Progress::Waiting
    }

    /// Its deadline has passed.
    pub(super) fn on_time(&mut self, now: Mono, send: &mut dyn FnMut(Bytes)) -> Progress {
        if self.base == 0 && !self.nudged {
            self.nudged = true;
        } else {
            self.tries = self.tries.saturating_add(1);
        }
        if self.tries > RETRIES {
            return Progress::Done;
        }
        self.deadline = now.after(SEGMENT_TIMEOUT);
        self.send(send);
        Progress::Waiting
    }

    /// The PDU of an Abort.
    pub(super) fn abort(&self, reason: AbortReason) -> Bytes {
        answer::abort(self.invoke, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(octets: usize, max_apdu: usize) -> (Sending, Vec<Bytes>) {
        let mut sent = Vec::new();
        let payload: Vec<u8> = (0..octets).map(|n| (n % 251) as u8).collect();
        let answer = Answer {
            peer: Peer::local(([10, 0, 0, 9], 47808).into()),
            invoke: 7,
            fingerprint: 0,
            service: ConfirmedServiceChoice::READ_PROPERTY,
            payload: payload.into(),
        };
        let sending = Sending::start(answer, max_apdu, Mono::START, &mut |segment| sent.push(segment));
        (sending, sent)
    }

    #[test]
    fn a_long_answer_arrives_whole_past_256_segments() {
        let (mut sending, mut sent) = start(20_000, 50);
        assert_eq!(Sending::count(20_000, 50), 445);
        let mut whole = Vec::new();
        let mut next = 0u8;
        loop {
            assert!(sent.len() <= 5);
            for segment in sent.drain(..) {
                assert!(segment.len() <= 50);
                assert_eq!(segment[2], next);
                next = next.wrapping_add(1);
                whole.extend_from_slice(&segment[HEAD..]);
            }
            let ack = next.wrapping_sub(1);
            match sending.on_ack(false, ack, 5, Mono::START, &mut |segment| sent.push(segment)) {
                Progress::Waiting => {}
                other => break assert_eq!(other, Progress::Done),
            }
        }
        assert_eq!(whole.len(), 20_000);
        assert!(whole.iter().enumerate().all(|(n, octet)| *octet == (n % 251) as u8));
    }

    #[test]
    fn an_acknowledgement_that_moves_nothing_draws_nothing() {
        let (mut sending, mut sent) = start(2_000, 206);
        sending.on_ack(false, 0, 4, Mono::START, &mut |segment| sent.push(segment));
        assert_eq!(sent.len(), 5);
        let later = Mono::START.after(Duration::from_secs(1));
        for _ in 0..1000 {
            for sequence in [0, 9, 200] {
                sending.on_ack(false, sequence, 4, later, &mut |segment| sent.push(segment));
            }
        }
        assert_eq!(sent.len(), 5);
        assert_eq!(sending.deadline, later.after(SEGMENT_TIMEOUT));
        // negative storms are held to the retries
        for _ in 0..1000 {
            sending.on_ack(true, 0, 4, later, &mut |segment| sent.push(segment));
        }
        assert!(sent.len() <= 5 + 4 * usize::from(RETRIES), "{}", sent.len());
    }

    #[test]
    fn a_lost_window_is_sent_again_and_a_silent_peer_forgotten() {
        let (mut sending, mut sent) = start(2_000, 206);
        let mut now = Mono::START;
        for _ in 0..=RETRIES {
            now = now.after(SEGMENT_TIMEOUT);
            assert_eq!(sending.on_time(now, &mut |segment| sent.push(segment)), Progress::Waiting);
        }
        assert_eq!(sent.len(), 2 + usize::from(RETRIES));
        assert!(sent.iter().all(|segment| segment == &sent[0]));
        assert_eq!(sending.on_time(now, &mut |segment| sent.push(segment)), Progress::Done);
        assert_eq!(
            sending.on_ack(false, 0, 0, now, &mut |_| ()),
            Progress::Abort(AbortReason::WINDOW_SIZE_OUT_OF_RANGE)
        );
    }

    #[test]
    fn a_negative_acknowledgement_continues_behind_the_last_good_segment() {
        let (mut sending, mut sent) = start(2_000, 206);
        sending.on_ack(false, 0, 4, Mono::START, &mut |segment| sent.push(segment));
        sent.clear();
        sending.on_ack(true, 2, 4, Mono::START, &mut |segment| sent.push(segment));
        assert_eq!(sent.iter().map(|segment| segment[2]).collect::<Vec<_>>(), [3, 4, 5, 6]);
    }
}
