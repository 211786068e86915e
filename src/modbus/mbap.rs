//! Frames of Modbus TCP: the MBAP header (Implementation Guide V1.0b, 3.1.3) around each PDU. Pure.

/// Longest frame: 7 bytes of header and 253 of PDU (Implementation Guide, 3.1.2).
pub(super) const LONGEST: usize = 260;

/// What the bytes received so far begin with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// Not a whole frame yet.
    Partial,
    /// A whole frame.
    Whole {
        /// Transaction identifier, echoed in the reply.
        transaction: u16,
        /// Unit identifier.
        unit: u8,
        /// Function code and data: 1 to 253 bytes.
        pdu: &'a [u8],
        /// Length of the whole frame.
        size: usize,
    },
    /// Not Modbus TCP; nothing after it can be trusted. The cause, for the metric.
    Lie(&'static str),
}

/// Look at the first frame. A lie is told as soon as the bytes that prove it are there.
pub(super) fn first(bytes: &[u8]) -> Frame<'_> {
    if let [_, _, hi, lo, ..] = *bytes
        && [hi, lo] != [0, 0]
    {
        return Frame::Lie("protocol identifier");
    }
    let [t_hi, t_lo, _, _, l_hi, l_lo, rest @ ..] = bytes else { return Frame::Partial };
    let length = usize::from(u16::from_be_bytes([*l_hi, *l_lo]));
    // The length counts the unit identifier and the PDU, which is at least a function code.
    if !(2..=LONGEST - 6).contains(&length) {
        return Frame::Lie("frame length");
    }
    match rest.get(..length) {
        Some([unit, pdu @ ..]) => {
            Frame::Whole { transaction: u16::from_be_bytes([*t_hi, *t_lo]), unit: *unit, pdu, size: 6 + length }
        }
        _ => Frame::Partial,
    }
}

/// Begin a frame; what is appended until `close` is its PDU. Returns where it begins.
pub(super) fn open(out: &mut Vec<u8>, transaction: u16, unit: u8) -> usize {
    let start = out.len();
    out.extend_from_slice(&transaction.to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, 0, unit]);
    start
}

/// End the frame that begins at `start`.
pub(super) fn close(out: &mut [u8], start: usize) {
    if let Some(frame) = out.get_mut(start..) {
        let length = u16::try_from(frame.len().saturating_sub(6)).unwrap_or(u16::MAX).to_be_bytes();
        if let Some(place) = frame.get_mut(4..6) {
            place.copy_from_slice(&length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_whole_when_its_last_byte_is_there() {
        let bytes = [0x12, 0x34, 0, 0, 0, 6, 1, 3, 0, 0, 0, 2, 0xAA];
        for end in 0..12 {
            assert_eq!(first(&bytes[..end]), Frame::Partial, "{end}");
        }
        let whole = Frame::Whole { transaction: 0x1234, unit: 1, pdu: &bytes[7..12], size: 12 };
        assert_eq!(first(&bytes[..12]), whole);
        assert_eq!(first(&bytes), whole);
    }

    #[test]
    fn lies_are_told_at_once() {
        assert_eq!(first(b"GET "), Frame::Lie("protocol identifier"));
        for length in [0u16, 1, 255, 65_535] {
            let [hi, lo] = length.to_be_bytes();
            assert_eq!(first(&[0, 0, 0, 0, hi, lo]), Frame::Lie("frame length"), "{length}");
        }
        assert_eq!(first(&[0, 0, 0, 0, 0, 254]), Frame::Partial);
        assert_eq!(first(&[0, 0, 0, 0, 0, 2, 1, 3]), Frame::Whole { transaction: 0, unit: 1, pdu: &[3], size: 8 });
    }

    #[test]
    fn what_is_opened_and_closed_is_a_frame() {
        let mut out = vec![9];
        let start = open(&mut out, 7, 255);
        out.extend_from_slice(&[3, 2, 0, 5]);
        close(&mut out, start);
        assert_eq!(first(&out[1..]), Frame::Whole { transaction: 7, unit: 255, pdu: &[3, 2, 0, 5], size: 11 });
    }
}
