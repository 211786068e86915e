//! Frames of Modbus RTU ("MODBUS over Serial Line V1.02", 2.5.1): unit, PDU, CRC, and how to find them among other
//! bytes. Pure; both roles, on a serial line and over TCP.
//!
//! The standard separates frames by 3.5 characters of silence. USB adapters, serial servers and loaded machines neither
//! keep nor show such gaps, so a frame is first known by its length (function code and byte count say it) and its CRC,
//! and silence only decides what length cannot: that nothing more will come. Bytes that are no frame are skipped one by
//! one until one fits (noise, a lost first byte, half a frame), so no noise costs more than the frame it destroyed.

/// Longest frame: unit, 253 of PDU, CRC (2.5.1).
pub(super) const LONGEST: usize = 256;

/// Unit of a broadcast: everybody listens, nobody answers (2.2).
pub(super) const BROADCAST: u8 = 0;

/// What stands around the PDU: unit and CRC.
const AROUND: usize = 3;

const TABLE: [u16; 256] = table();

/// Remainders of every byte for the polynomial 0xA001, the reversed 0x8005 (2.5.1.2).
#[expect(clippy::cast_possible_truncation, clippy::indexing_slicing, reason = "computed by the compiler; below 256")]
const fn table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u16;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

/// The CRC of these bytes; it is sent low byte first. Over a frame with its CRC it is 0.
pub(super) fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        let [low, _] = (crc ^ u16::from(*byte)).to_le_bytes();
        crc >> 8 ^ TABLE.get(usize::from(low)).copied().unwrap_or_default()
    })
}

/// Begin a frame; what is appended until `close` is its PDU. Returns where it begins.
pub(super) fn open(out: &mut Vec<u8>, unit: u8) -> usize {
    out.push(unit);
    out.len() - 1
}

/// End the frame that begins at `start`.
pub(super) fn close(out: &mut Vec<u8>, start: usize) {
    let crc = crc(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&crc.to_le_bytes());
}

/// Who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reader {
    /// A slave: requests of the master to anybody, and the replies of other slaves.
    Slave,
    /// A master that waits for this unit's reply to this function, or its exception.
    Master { unit: u8, function: u8 },
}

/// What the bytes begin with, after so many that are of no use.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    /// Bytes in front that belong to no frame; drop them.
    pub skip: usize,
    /// The frame behind them; `None`: not a whole one yet.
    pub frame: Option<Frame<'a>>,
}

/// A frame whose CRC is right.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// To whom, or from whom.
    pub unit: u8,
    /// Function code and data: 1 to 253 bytes.
    pub pdu: &'a [u8],
    /// Length of the whole frame.
    pub size: usize,
    /// It can be a request: for a slave, anything else that bears its unit is its own echo or a slave that bears it too.
    pub request: bool,
}

/// How long a frame is by its own first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    /// So long.
    Is(usize),
    /// Its first bytes are not all there.
    Later,
    /// Its function does not say.
    Unsaid,
    /// There is no such frame.
    Never,
}

/// Look for the first frame. `silent`: the line has been quiet long enough that these bytes will not be continued.
pub(super) fn first(bytes: &[u8], reader: Reader, silent: bool) -> Found<'_> {
    let mut skip = 0;
    while let Some(rest) = bytes.get(skip..).filter(|rest| !rest.is_empty()) {
        match look(rest, reader, silent, skip == 0) {
            Look::Frame(frame) => return Found { skip, frame: Some(frame) },
            Look::Wait => return Found { skip, frame: None },
            Look::No => skip += 1,
        }
    }
    Found { skip, frame: None }
}

enum Look<'a> {
    Frame(Frame<'a>),
    Wait,
    No,
}

/// What stands exactly here.
fn look(bytes: &[u8], reader: Reader, silent: bool, at_front: bool) -> Look<'_> {
    let sizes = match reader {
        Reader::Slave => [request_size(bytes), reply_size(bytes)],
        Reader::Master { unit, function } => {
            if bytes.first().is_some_and(|first| *first != unit)
                || bytes.get(1).is_some_and(|second| second & 0x7F != function)
            {
                return Look::No;
            }
            [reply_size(bytes), Size::Never]
        }
    };
    let mut wait = false;
    for (size, request) in sizes.into_iter().zip([reader == Reader::Slave, false]) {
        match size {
            Size::Is(size) if size > LONGEST => {}
            Size::Is(size) => match whole(bytes, size, request) {
                Some(frame) => return Look::Frame(frame),
                None => wait |= bytes.len() < size,
            },
            Size::Later => wait = true,
            // Silence at both ends is all that tells such a frame; in the middle of noise it is not believed.
            Size::Unsaid if silent && at_front && bytes.len() <= LONGEST => {
                if let Some(frame) = whole(bytes, bytes.len(), request) {
                    return Look::Frame(frame);
                }
            }
            Size::Unsaid => wait |= at_front && bytes.len() < LONGEST,
            Size::Never => {}
        }
    }
    if wait && !silent { Look::Wait } else { Look::No }
}

/// The frame of this size, if it is there and its CRC is right.
fn whole(bytes: &[u8], size: usize, request: bool) -> Option<Frame<'_>> {
    let frame = bytes.get(..size).filter(|frame| crc(frame) == 0)?;
    let (unit, rest) = frame.split_first()?;
    let pdu = rest.get(..rest.len().checked_sub(2)?).filter(|pdu| !pdu.is_empty())?;
    Some(Frame { unit: *unit, pdu, size, request })
}

/// Length of a request that begins like this.
fn request_size(bytes: &[u8]) -> Size {
    let pdu = bytes.get(1..).unwrap_or_default();
    let Some(function) = pdu.first() else { return Size::Later };
    let counted = |place: usize| pdu.get(place).map_or(Size::Later, |count| sized(place + 1 + usize::from(*count)));
    match function {
        1..=6 => sized(5),
        7 | 11 | 12 | 17 => sized(1),
        // Sub-function and one word; 08/00 may echo more, which only silence ends.
        8 => match bytes.len() {
            0..8 => Size::Is(8),
            _ if crc(bytes.get(..8).unwrap_or_default()) == 0 => Size::Is(8),
            _ => Size::Unsaid,
        },
        15 | 16 => counted(5),
        20 | 21 => counted(1),
        22 => sized(7),
        23 => counted(9),
        24 => sized(3),
        43 => match pdu.get(1) {
            None => Size::Later,
            Some(14) => sized(4),
            Some(_) => Size::Unsaid,
        },
        // The highest bit marks an exception, and nobody asks for one.
        0 | 0x80.. => Size::Never,
        _ => Size::Unsaid,
    }
}

/// Length of a reply that begins like this.
fn reply_size(bytes: &[u8]) -> Size {
    let pdu = bytes.get(1..).unwrap_or_default();
    let Some(function) = pdu.first() else { return Size::Later };
    let counted = |place: usize| pdu.get(place).map_or(Size::Later, |count| sized(place + 1 + usize::from(*count)));
    match function {
        1..=4 | 12 | 17 | 20 | 21 | 23 => counted(1),
        5 | 6 | 11 | 15 | 16 => sized(5),
        7 => sized(2),
        8 => request_size(bytes),
        22 => sized(7),
        24 => match pdu.get(1..3) {
            Some([hi, lo]) => sized(3 + usize::from(u16::from_be_bytes([*hi, *lo]))),
            _ => Size::Later,
        },
        43 => match pdu.get(1) {
            None => Size::Later,
            Some(14) => identification_size(pdu),
            Some(_) => Size::Unsaid,
        },
        0x81.. => sized(2),
        0 | 0x80 => Size::Never,
        _ => Size::Unsaid,
    }
}

/// FC 43 / MEI 14: six bytes of head, the number of objects, and each object with its length.
fn identification_size(pdu: &[u8]) -> Size {
    let Some(objects) = pdu.get(6) else { return Size::Later };
    let mut size = 7;
    for _ in 0..*objects {
        let Some(length) = pdu.get(size + 1) else {
            return if size + 2 > LONGEST - AROUND { Size::Never } else { Size::Later };
        };
        size += 2 + usize::from(*length);
    }
    sized(size)
}

/// A frame around so long a PDU.
const fn sized(pdu: usize) -> Size {
    Size::Is(pdu + AROUND)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(unit: u8, pdu: &[u8]) -> Vec<u8> {
        let mut out = vec![0xEE];
        let start = open(&mut out, unit);
        out.extend_from_slice(pdu);
        close(&mut out, start);
        out.split_off(1)
    }

    fn slave(bytes: &[u8], silent: bool) -> Found<'_> {
        first(bytes, Reader::Slave, silent)
    }

    /// All frames that a slave finds in bytes that come in these pieces, with silence after the last.
    fn frames(pieces: &[&[u8]]) -> Vec<(u8, Vec<u8>)> {
        let mut buffer = Vec::new();
        let mut out = Vec::new();
        for (number, piece) in pieces.iter().enumerate() {
            buffer.extend_from_slice(piece);
            for silent in [false, number + 1 == pieces.len()] {
                loop {
                    let found = slave(&buffer, silent);
                    let size = found.skip + found.frame.as_ref().map_or(0, |frame| frame.size);
                    let done = found.frame.is_none();
                    out.extend(found.frame.map(|frame| (frame.unit, frame.pdu.to_vec())));
                    buffer.drain(..size);
                    if done {
                        break;
                    }
                }
            }
        }
        assert!(buffer.is_empty(), "silence leaves nothing behind");
        out
    }

    #[test]
    fn the_crc_of_the_standard() {
        // MODBUS over Serial Line V1.02, 6.2.2: 02 07 has the CRC 41 12, low byte first.
        assert_eq!(crc(&[2, 7]).to_le_bytes(), [0x41, 0x12]);
        // The published example 01 03 00 00 00 0A: C5 CD.
        assert_eq!(frame(1, &[3, 0, 0, 0, 10])[6..], [0xC5, 0xCD]);
        assert_eq!(crc(&frame(17, &[4, 1, 2, 3, 4])), 0);
    }

    #[test]
    fn a_request_is_whole_with_its_last_byte() {
        let requests: &[&[u8]] = &[
            &[1, 0, 0, 0, 8],
            &[2, 0, 0, 0, 8],
            &[3, 0, 0, 0, 8],
            &[4, 0, 0, 0, 8],
            &[5, 0, 0, 0xFF, 0],
            &[6, 0, 0, 1, 2],
            &[7],
            &[8, 0, 0, 0xA5, 0x37],
            &[11],
            &[15, 0, 0, 0, 9, 2, 0xFF, 1],
            &[16, 0, 0, 0, 2, 4, 1, 2, 3, 4],
            &[17],
            &[22, 0, 0, 1, 2, 3, 4],
            &[23, 0, 0, 0, 2, 0, 0, 0, 1, 2, 9, 9],
            &[43, 14, 1, 0],
        ];
        for pdu in requests {
            let bytes = frame(9, pdu);
            for end in 1..bytes.len() {
                let found = slave(&bytes[..end], false);
                assert_eq!(found, Found { skip: 0, frame: None }, "{pdu:?} {end}");
            }
            let whole = Found { skip: 0, frame: Some(Frame { unit: 9, pdu, size: bytes.len(), request: true }) };
            assert_eq!(slave(&bytes, false), whole);
            let mut more = bytes.clone();
            more.extend(frame(9, &[3, 0, 0, 0, 1]));
            assert_eq!(slave(&more, false), whole, "what follows changes nothing");
        }
    }

    #[test]
    fn functions_without_a_length_are_told_by_silence() {
        for pdu in [&[100, 1, 2][..], &[9], &[8, 0, 0, 1, 2, 3, 4], &[43, 13, 1]] {
            let bytes = frame(1, pdu);
            assert_eq!(slave(&bytes, false), Found { skip: 0, frame: None }, "{pdu:?}");
            assert_eq!(slave(&bytes, true).frame.map(|frame| frame.pdu), Some(pdu));
        }
    }

    #[test]
    fn replies_of_other_slaves_are_frames_and_hide_no_request() {
        let inner = frame(1, &[6, 0, 0, 0, 99]);
        let mut reply = vec![3, u8::try_from(inner.len()).unwrap()];
        reply.extend_from_slice(&inner);
        let identity = [43, 14, 1, 0x81, 0, 0, 2, 0, 3, b'a', b'b', b'c', 1, 1, b'd'];
        let bus = [
            frame(5, &[3, 0, 0, 0, 4]),
            frame(5, &reply),
            frame(6, &[4, 0, 0, 0, 1]),
            frame(6, &[0x84, 2]),
            frame(7, &identity),
            frame(1, &[3, 0, 0, 0, 1]),
        ]
        .concat();
        let want = vec![
            (5, vec![3, 0, 0, 0, 4]),
            (5, reply.clone()),
            (6, vec![4, 0, 0, 0, 1]),
            (6, vec![0x84, 2]),
            (7, identity.to_vec()),
            (1, vec![3, 0, 0, 0, 1]),
        ];
        assert_eq!(frames(&[&bus]), want, "the write to unit 1 inside unit 5's reply is data");
        let bytes: Vec<&[u8]> = bus.chunks(1).collect();
        assert_eq!(frames(&bytes), want, "byte by byte");
    }

    #[test]
    fn noise_costs_no_frame_behind_it() {
        let request = frame(1, &[3, 0, 0, 0, 1]);
        let want = vec![(1, vec![3, 0, 0, 0, 1])];
        for noise in [&[0x00][..], &[0xFF, 0xFF], &[1], &[1, 3], &[1, 16, 0, 0, 0, 100, 200], &[5, 3, 250, 1, 2, 3]] {
            assert_eq!(frames(&[noise, &request]), want, "{noise:?} before");
            assert_eq!(frames(&[&request, noise]), want, "{noise:?} after");
        }
        let mut bad = frame(1, &[16, 0, 0, 0, 2, 4, 1, 2, 3, 4]);
        bad[4] ^= 1;
        assert_eq!(frames(&[&bad, &request]), want, "a wrong CRC");
        assert_eq!(frames(&[&bad]), vec![]);
        assert_eq!(frames(&[&[1, 5, 0, 0, 0xFF], &request]), want, "a short FC 5");
    }

    #[test]
    fn a_reply_is_no_request_unless_both_look_alike() {
        for (pdu, request) in [
            (&[3, 2, 0, 7][..], false),
            (&[0x83, 2], false),
            (&[16, 0, 0, 0, 2], false),
            (&[6, 0, 0, 0, 2], true),
            (&[3, 0, 0, 0, 2], true),
        ] {
            let bytes = frame(1, pdu);
            assert_eq!(slave(&bytes, true).frame.map(|frame| frame.request), Some(request), "{pdu:?}");
        }
    }

    #[test]
    fn a_master_sees_its_own_reply_only() {
        let want = Reader::Master { unit: 4, function: 3 };
        let reply = frame(4, &[3, 2, 0, 7]);
        for before in [frame(5, &[3, 2, 0, 9]), frame(4, &[4, 2, 0, 9]), vec![4], vec![4, 3], vec![0, 0xFF]] {
            let mut bytes = before.clone();
            bytes.extend_from_slice(&reply);
            let found = first(&bytes, want, true);
            assert_eq!((found.skip, found.frame.map(|frame| frame.pdu)), (before.len(), Some(&[3, 2, 0, 7][..])));
        }
        let refused = frame(4, &[0x83, 2]);
        assert_eq!(first(&refused, want, false).frame.map(|frame| frame.pdu), Some(&[0x83, 2][..]));
        assert_eq!(first(&reply[..5], want, false), Found { skip: 0, frame: None });
        assert_eq!(first(&reply[..5], want, true), Found { skip: 5, frame: None });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn whatever_comes_is_skipped_or_awaited_within_bounds(
            bytes in prop::collection::vec(any::<u8>(), 0..600), unit in any::<u8>(), function in 0u8..128,
        ) {
            for reader in [Reader::Slave, Reader::Master { unit, function }] {
                let found = first(&bytes, reader, false);
                let rest = bytes.len() - found.skip;
                prop_assert!(found.frame.is_some() || rest < LONGEST, "{rest} bytes are kept");
                let found = first(&bytes, reader, true);
                prop_assert!(found.frame.is_some() || found.skip == bytes.len(), "silence ends all waiting");
            }
        }

        #[test]
        fn a_frame_between_noise_is_found_after_silence(
            before in prop::collection::vec(any::<u8>(), 0..40), address in any::<u16>(), count in any::<u16>(),
        ) {
            let [a, b] = address.to_be_bytes();
            let [c, d] = count.to_be_bytes();
            let request = frame(17, &[4, a, b, c, d]);
            prop_assert!(frames(&[&before, &request]).contains(&(17, vec![4, a, b, c, d])));
        }
    }
}
