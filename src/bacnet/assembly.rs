//! Answers to our requests that arrive in segments (clause 5.4.4.4): put together in order, acknowledged a window at a
//! time.

use bacnet_encoding::segmentation::duplicate_in_window;
use bacnet_types::enums::AbortReason;
use bytes::Bytes;

use super::settings::WINDOW;

/// Most segments of one answer that we take; every request of ours says so (clause 20.1.2.4).
pub(super) const MOST_SEGMENTS: u8 = 64;

/// One answer on its way in.
#[derive(Debug)]
pub(super) struct Assembly {
    /// The parameters so far.
    data: Vec<u8>,
    segments: u8,
    window: u8,
    last: u8,
    initial: u8,
}

/// What a segment leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Nothing to say yet.
    Wait,
    /// A SegmentACK to send.
    Acknowledge(Bytes),
    /// The last acknowledgement, and the whole parameters.
    Whole(Bytes, Bytes),
    /// It is over, and the peer is told with this Abort.
    Broken(AbortReason, Bytes),
}

/// BACnet-SegmentACK-PDU from a client.
fn segment_ack(invoke: u8, negative: bool, sequence: u8, window: u8) -> Bytes {
    Bytes::copy_from_slice(&[0x40 | (u8::from(negative) << 1), invoke, sequence, window])
}

fn broken(invoke: u8, reason: AbortReason) -> Piece {
    // BACnet-Abort-PDU from a client
    Piece::Broken(reason, Bytes::copy_from_slice(&[0x70, invoke, reason.to_raw()]))
}

/// A segment of a BACnet-ComplexACK-PDU, for what has come so far. `None` when it is cut short.
pub(super) fn on_segment(open: &mut Option<Assembly>, apdu: &[u8]) -> Option<Piece> {
    let (&[kind, invoke, sequence, window, _service], data) = apdu.split_first_chunk::<5>()?;
    let more = kind & 0x04 != 0;
    if !(1..=127).contains(&window) {
        return Some(broken(invoke, AbortReason::WINDOW_SIZE_OUT_OF_RANGE));
    }
    let Some(assembly) = open else {
        if sequence != 0 {
            return Some(broken(invoke, AbortReason::INVALID_APDU_IN_THIS_STATE));
        }
        let window = window.min(WINDOW);
        let ack = segment_ack(invoke, false, 0, window);
        if !more {
            return Some(Piece::Whole(ack, Bytes::copy_from_slice(data)));
        }
        *open = Some(Assembly { data: data.to_vec(), segments: 1, window, last: 0, initial: 0 });
        return Some(Piece::Acknowledge(ack));
    };
    if sequence != assembly.last.wrapping_add(1) {
        if duplicate_in_window(sequence, assembly.initial, assembly.last) {
            // The peer has not heard the acknowledgement of its first segment, or of a window.
            return Some(Piece::Acknowledge(segment_ack(invoke, false, assembly.last, assembly.window)));
        }
        assembly.initial = assembly.last;
        return Some(Piece::Acknowledge(segment_ack(invoke, true, assembly.last, assembly.window)));
    }
    if assembly.segments >= MOST_SEGMENTS {
        return Some(broken(invoke, AbortReason::BUFFER_OVERFLOW));
    }
    assembly.segments += 1;
    assembly.last = sequence;
    assembly.data.extend_from_slice(data);
    let ack = segment_ack(invoke, false, assembly.last, assembly.window);
    if !more {
        return Some(Piece::Whole(ack, std::mem::take(&mut assembly.data).into()));
    }
    if assembly.last.wrapping_sub(assembly.initial) >= assembly.window {
        assembly.initial = assembly.last;
        return Some(Piece::Acknowledge(ack));
    }
    Some(Piece::Wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(sequence: u8, more: bool, data: &[u8]) -> Vec<u8> {
        let mut out = vec![0x38 | (u8::from(more) << 2), 9, sequence, 2, 12];
        out.extend_from_slice(data);
        out
    }

    #[test]
    fn segments_in_order_become_one_answer() {
        let mut open = None;
        let mut on = |sequence, more, data: &[u8]| on_segment(&mut open, &segment(sequence, more, data)).unwrap();
        assert_eq!(on(0, true, b"ab"), Piece::Acknowledge(segment_ack(9, false, 0, 2)));
        assert_eq!(on(1, true, b"cd"), Piece::Wait);
        assert_eq!(on(3, true, b"gh"), Piece::Acknowledge(segment_ack(9, true, 1, 2)));
        assert_eq!(on(2, true, b"ef"), Piece::Wait);
        assert_eq!(on(3, true, b"gh"), Piece::Acknowledge(segment_ack(9, false, 3, 2)));
        let whole = Bytes::from_static(b"abcdefghi");
        assert_eq!(on(4, false, b"i"), Piece::Whole(segment_ack(9, false, 4, 2), whole));
    }

    #[test]
    fn an_answer_without_end_or_beginning_is_aborted() {
        let mut open = None;
        let late = on_segment(&mut open, &segment(3, true, b"")).unwrap();
        assert!(matches!(late, Piece::Broken(AbortReason::INVALID_APDU_IN_THIS_STATE, _)));
        let endless = (0..=MOST_SEGMENTS).map(|n| on_segment(&mut open, &segment(n, true, b"x")).unwrap()).last();
        assert!(matches!(endless, Some(Piece::Broken(AbortReason::BUFFER_OVERFLOW, _))));
        assert_eq!(on_segment(&mut None, &[0x3C, 9, 0]), None);
        let zero = on_segment(&mut None, &[0x3C, 9, 0, 0, 12]).unwrap();
        assert!(matches!(zero, Piece::Broken(AbortReason::WINDOW_SIZE_OUT_OF_RANGE, _)));
    }
}
