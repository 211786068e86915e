//! Requests that arrive in segments (clause 5.4.5.2): put together in order, acknowledged a window at a time.

use bacnet_encoding::segmentation::duplicate_in_window;
use bacnet_types::enums::AbortReason;
use bytes::Bytes;

use super::answer;
use super::link::Peer;
use super::settings::{MAX_SEGMENTS, SEGMENT_TIMEOUT, WINDOW};
use crate::time::Mono;

/// Head of a segment of a BACnet-Confirmed-Request-PDU, octets.
const HEAD: usize = 6;

/// One segment, taken apart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segment<'d> {
    pub(super) invoke: u8,
    pub(super) sequence: u8,
    more: bool,
    window: u8,
    /// The four octets of an unsegmented request's head.
    head: [u8; 4],
    data: &'d [u8],
}

impl<'d> Segment<'d> {
    /// `None` when it is cut short.
    pub(super) fn decode(apdu: &'d [u8]) -> Option<Self> {
        let (&[kind, sizes, invoke, sequence, window, service], data) = apdu.split_first_chunk::<HEAD>()?;
        Some(Self {
            invoke,
            sequence,
            more: kind & 0x04 != 0,
            window,
            // segmented-message and more-follows cleared
            head: [kind & !0x0C, sizes, invoke, service],
            data,
        })
    }
}

/// One request on its way in.
#[derive(Debug)]
pub(super) struct Receiving {
    pub(super) peer: Peer,
    pub(super) invoke: u8,
    pub(super) deadline: Mono,
    /// The request so far, as if it had come in one.
    apdu: Vec<u8>,
    segments: u8,
    window: u8,
    /// Last in order.
    last: u8,
    /// Last of the window before.
    initial: u8,
}

/// What a segment led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing to say yet.
    Wait,
    /// A SegmentACK to send.
    Acknowledge(Bytes),
    /// The last acknowledgement, and the whole request as an unsegmented PDU.
    Complete(Bytes, Vec<u8>),
    /// It is over.
    Abort(AbortReason),
}

impl Receiving {
    /// How long a peer may take for the next segment (clause 5.4.5.2, Tsegment x 4).
    fn patience(now: Mono) -> Mono {
        now.after(SEGMENT_TIMEOUT * 4)
    }

    /// From the first segment on.
    pub(super) fn start(peer: Peer, segment: &Segment<'_>, now: Mono) -> Result<(Self, Step), AbortReason> {
        if segment.sequence != 0 {
            return Err(AbortReason::INVALID_APDU_IN_THIS_STATE);
        }
        if !(1..=127).contains(&segment.window) {
            return Err(AbortReason::WINDOW_SIZE_OUT_OF_RANGE);
        }
        let receiving = Self {
            peer,
            invoke: segment.invoke,
            deadline: Self::patience(now),
            apdu: [&segment.head[..], segment.data].concat(),
            segments: 1,
            window: segment.window.min(WINDOW),
            last: 0,
            initial: 0,
        };
        let ack = answer::segment_ack(segment.invoke, false, 0, receiving.window);
        let step = if segment.more { Step::Acknowledge(ack) } else { Step::Complete(ack, receiving.apdu.clone()) };
        Ok((receiving, step))
    }

    /// The next segment.
    pub(super) fn on_segment(&mut self, segment: &Segment<'_>, now: Mono) -> Step {
        self.deadline = Self::patience(now);
        if segment.sequence != self.last.wrapping_add(1) {
            if duplicate_in_window(segment.sequence, self.initial, self.last) {
                return Step::Wait;
            }
            self.initial = self.last;
            return Step::Acknowledge(answer::segment_ack(self.invoke, true, self.last, self.window));
        }
        if self.segments >= MAX_SEGMENTS {
            return Step::Abort(AbortReason::BUFFER_OVERFLOW);
        }
        self.segments += 1;
        self.last = segment.sequence;
        self.apdu.extend_from_slice(segment.data);
        let ack = answer::segment_ack(self.invoke, false, self.last, self.window);
        if !segment.more {
            return Step::Complete(ack, std::mem::take(&mut self.apdu));
        }
        if self.last.wrapping_sub(self.initial) >= self.window {
            self.initial = self.last;
            return Step::Acknowledge(ack);
        }
        Step::Wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(sequence: u8, more: bool, data: &[u8]) -> Vec<u8> {
        let mut out = vec![0x0A | (u8::from(more) << 2), 0x45, 9, sequence, 2, 14];
        out.extend_from_slice(data);
        out
    }

    fn peer() -> Peer {
        Peer::local(([10, 0, 0, 9], 47808).into())
    }

    #[test]
    fn segments_in_order_become_one_request() {
        let first = segment(0, true, b"ab");
        let (mut receiving, step) = Receiving::start(peer(), &Segment::decode(&first).unwrap(), Mono::START).unwrap();
        assert_eq!(step, Step::Acknowledge(answer::segment_ack(9, false, 0, 2)));
        let mut on = |sequence, more, data: &[u8]| {
            receiving.on_segment(&Segment::decode(&segment(sequence, more, data)).unwrap(), Mono::START)
        };
        assert_eq!(on(1, true, b"cd"), Step::Wait);
        // repeated: nothing; skipped: told which was the last good one
        assert_eq!(on(1, true, b"cd"), Step::Wait);
        assert_eq!(on(3, true, b"gh"), Step::Acknowledge(answer::segment_ack(9, true, 1, 2)));
        assert_eq!(on(2, true, b"ef"), Step::Wait);
        let whole = [&[0x02, 0x45, 9, 14][..], b"abcdefgh"].concat();
        assert_eq!(on(3, false, b"gh"), Step::Complete(answer::segment_ack(9, false, 3, 2), whole));
    }

    #[test]
    fn a_request_without_end_is_aborted() {
        let first = segment(0, true, b"ab");
        let (mut receiving, _) = Receiving::start(peer(), &Segment::decode(&first).unwrap(), Mono::START).unwrap();
        let last = (1..=MAX_SEGMENTS)
            .map(|n| receiving.on_segment(&Segment::decode(&segment(n, true, b"x")).unwrap(), Mono::START))
            .last();
        assert_eq!(last, Some(Step::Abort(AbortReason::BUFFER_OVERFLOW)));
        let late = segment(3, true, b"");
        assert_eq!(
            Receiving::start(peer(), &Segment::decode(&late).unwrap(), Mono::START).unwrap_err(),
            AbortReason::INVALID_APDU_IN_THIS_STATE
        );
        assert!(Segment::decode(b"\x0a\x45\x09").is_none());
    }
}
