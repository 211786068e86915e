//! Well-formed APDUs to begin with, at least one of every service of clause 21, and how they are spoilt.

use super::Dice;
use crate::bacnet::settings::MAX_APDU;

/// What DeviceCommunicationControl and ReinitializeDevice of the seeds bring.
pub const PASSWORD: &str = "fuzz";

/// Parameters of confirmed requests, behind their service choice. They speak to device 47001 and the objects of
/// `demo.toml`, and to trend log 1, load control 1 and notification class 1.
pub const CONFIRMED: &[(u8, &[u8])] = &[
    // AcknowledgeAlarm, by sequence number and by date and time
    (0, b"\x09\x01\x1c\x00\xc0\0\x01\x29\x03\x3e\x19\x05\x3f\x4d\x03\0op\x5e\x2e\xa4\x7e\x06\x18\x01\xb4\x0c\0\0\0\x2f\x5f"),
    (0, b"\x09\x01\x1c\x00\xc0\0\x01\x29\0\x3e\x2e\xa4\x7d\x0b\x18\x01\xb4\x10\0\0\x0c\x2f\x3f\x4d\x03\0op\x5e\x19\x01\x5f"),
    // ConfirmedCOVNotification
    (1, b"\x09\x07\x1c\x02\0\xb7\x9a\x2c\0\0\0\x01\x39\x3c\x4e\x09\x55\x2e\x44\x42\x28\0\0\x2f\x4f"),
    // ConfirmedEventNotification: change-of-state to offnormal
    (
        2,
        b"\x09\x01\x1c\x02\0\xb7\x9a\x2c\x00\xc0\0\x01\x3e\x19\x05\x3f\x49\x01\x59\x64\x69\x01\x89\0\x99\x01\xa9\0\xb9\x02\xce\
          \x1e\x0e\x19\x01\x0f\x1a\x04\x80\x1f\xcf",
    ),
    // GetAlarmSummary, GetEnrollmentSummary
    (3, b""),
    (4, b"\x09\0"),
    // SubscribeCOV: unconfirmed, confirmed for ever, cancelled
    (5, b"\x09\x07\x1c\0\x80\0\x01\x29\0\x39\x3c"),
    (5, b"\x09\x08\x1c\0\x80\0\x01\x29\x01\x39\0"),
    (5, b"\x09\x08\x1c\x07\0\0\x01\x29\x01\x3a\x01\x2c"),
    (5, b"\x09\x07\x1c\0\x80\0\x01"),
    // AtomicReadFile, AtomicWriteFile
    (6, b"\xc4\x02\x80\0\x01\x0e\x31\0\x21\x0a\x0f"),
    (7, b"\xc4\x02\x80\0\x01\x0e\x31\0\x63abc\x0f"),
    // AddListElement, RemoveListElement: a destination
    (8, b"\x0c\x03\xc0\0\x01\x19\x66\x3e\x82\x01\xfe\xb4\0\0\0\0\xb4\x17\x3b\x3b\x63\x0c\x02\0\xb7\x9a\x21\x01\x11\x82\x05\xe0\x3f"),
    (9, b"\x0c\x03\xc0\0\x01\x19\x66\x3e\x82\x01\xfe\xb4\0\0\0\0\xb4\x17\x3b\x3b\x63\x0c\x02\0\xb7\x9a\x21\x01\x11\x82\x05\xe0\x3f"),
    // CreateObject, DeleteObject
    (10, b"\x0e\x09\x02\x0f"),
    (11, b"\xc4\0\x80\0\x01"),
    // ReadProperty
    (12, b"\x0c\x02\0\xb7\x99\x19\x4d"),
    (12, b"\x0c\x02\0\xb7\x99\x19\x4c"),
    (12, b"\x0c\x02\0\xb7\x99\x19\x4c\x29\0"),
    (12, b"\x0c\x02\0\xb7\x99\x19\x98"),
    (12, b"\x0c\0\x80\0\x01\x19\x57\x29\x0a"),
    (12, b"\x0c\x05\0\0\x01\x19\x83"),
    (12, b"\x0c\x02\x3f\xff\xff\x1a\x01\x83"),
    // ReadPropertyMultiple
    (14, b"\x0c\0\x80\0\x01\x1e\x09\x55\x09\x6f\x1f\x0c\x02\0\xb7\x99\x1e\x09\x4d\x1f"),
    (14, b"\x0c\x02\0\xb7\x99\x1e\x09\x08\x1f\x0c\x05\0\0\x01\x1e\x09\x08\x1f\x0c\x07\0\0\x01\x1e\x09\x69\x09\x50\x1f"),
    (14, b"\x0c\x03\xc0\0\x01\x1e\x09\x08\x1f\x0c\x0e\0\0\x01\x1e\x09\x08\x1f\x0c\0\xc0\0\x01\x1e\x09\x08\x1f"),
    // WriteProperty: commands of each type, relinquished, to what is read-only
    (15, b"\x0c\0\x80\0\x01\x19\x55\x3e\x44\x42\x26\0\0\x3f\x49\x0a"),
    (15, b"\x0c\0\x80\0\x01\x19\x55\x3e\0\x3f\x49\x0a"),
    (15, b"\x0c\0\x80\0\x04\x19\x55\x3e\x44\x7f\xc0\0\0\x3f"),
    (15, b"\x0c\x04\xc0\0\x01\x19\x55\x3e\x21\x02\x3f"),
    (15, b"\x0c\x01\x40\0\x01\x19\x55\x3e\x91\x01\x3f\x49\x10"),
    (15, b"\x0c\x0c\0\0\x01\x19\x55\x3e\x22\x01\0\x3f\x49\x08"),
    (15, b"\x0c\0\0\0\x0c\x19\x55\x3e\x44\0\0\0\0\x3f"),
    // ... COV_Increment, UTC_Offset, what a trend log, a load control and a notification class take
    (15, b"\x0c\0\x80\0\x01\x19\x16\x3e\x44\x3f\0\0\0\x3f"),
    (15, b"\x0c\x02\0\xb7\x99\x19\x77\x3e\x31\xc4\x3f"),
    (15, b"\x0c\x05\0\0\x01\x19\x85\x3e\x11\x3f"),
    (15, b"\x0c\x05\0\0\x01\x19\x8d\x3e\x21\0\x3f"),
    (15, b"\x0c\x05\0\0\x01\x19\x86\x3e\x22\x03\xe8\x3f"),
    (15, b"\x0c\x05\0\0\x01\x19\x8e\x3e\xa4\x7d\x0b\x18\x01\xb4\x10\0\0\0\x3f"),
    (15, b"\x0c\x05\0\0\x01\x19\x8f\x3e\xa4\xff\xff\xff\xff\xb4\xff\xff\xff\xff\x3f"),
    (15, b"\x0c\x05\0\0\x01\x19\x90\x3e\x10\x3f"),
    (15, b"\x0c\x07\0\0\x01\x19\xda\x3e\x19\x02\x3f"),
    (15, b"\x0c\x07\0\0\x01\x19\xda\x3e\x09\x32\x3f"),
    (15, b"\x0c\x07\0\0\x01\x19\x8e\x3e\xa4\x7d\x0b\x18\x01\xb4\x10\0\0\0\x3f"),
    (15, b"\x0c\x07\0\0\x01\x19\xdb\x3e\x21\x0a\x3f"),
    (15, b"\x0c\x07\0\0\x01\x19\xd5\x3e\x21\x0f\x3f"),
    (15, b"\x0c\x07\0\0\x01\x19\x85\x3e\x11\x3f"),
    (
        15,
        b"\x0c\x03\xc0\0\x01\x19\x66\x3e\x82\x01\xfe\xb4\0\0\0\0\xb4\x17\x3b\x3b\x63\x0c\x02\0\xb7\x9a\x21\x01\x11\x82\x05\xe0\
          \x82\x01\xfe\xb4\0\0\0\0\xb4\x17\x3b\x3b\x63\x1e\x21\0\x65\x06\x0a\0\0\x09\xba\xc0\x1f\x21\x02\x10\x82\x05\xe0\x3f",
    ),
    (15, b"\x0c\x03\xc0\0\x01\x19\x56\x3e\x21\x03\x21\x03\x21\x03\x3f"),
    (15, b"\x0c\0\xc0\0\x01\x19\x48\x3e\x21\x05\x3f"),
    // WritePropertyMultiple
    (16, b"\x0c\0\x80\0\x01\x1e\x09\x55\x2e\x44\x42\x20\0\0\x2f\x39\x0a\x09\x16\x2e\x44\x3f\0\0\0\x2f\x1f"),
    (16, b"\x0c\0\x80\0\x01\x1e\x09\x55\x2e\x44\x42\x20\0\0\x2f\x1f\x0c\x07\0\0\x01\x1e\x09\xda\x2e\x19\x01\x2f\x1f"),
    // DeviceCommunicationControl
    (17, b"\x09\x01\x19\x02\x2d\x05\0fuzz"),
    (17, b"\x09\x01\x19\x01\x2d\x05\0fuzz"),
    (17, b"\x19\0\x2d\x05\0fuzz"),
    // ConfirmedPrivateTransfer, ConfirmedTextMessage
    (18, b"\x09\0\x19\x01\x2e\x21\x05\x2f"),
    (19, b"\x0c\x02\0\xb7\x9a\x29\0\x3d\x03\0hi"),
    // ReinitializeDevice
    (20, b"\x09\x01\x1d\x05\0fuzz"),
    (20, b"\x09\0\x1d\x05\0fuzz"),
    (20, b"\x09\x02\x1d\x05\0fuzz"),
    // VT-Open, VT-Close, VT-Data
    (21, b"\x91\0\x21\x01"),
    (22, b"\x21\x01"),
    (23, b"\x21\x01\x63abc\x21\0"),
    // ReadRange by position, sequence number and time, and of a list
    (26, b"\x0c\x05\0\0\x01\x19\x83\x3e\x21\x01\x31\x0a\x3f"),
    (26, b"\x0c\x05\0\0\x01\x19\x83\x6e\x21\x01\x31\xf6\x6f"),
    (26, b"\x0c\x05\0\0\x01\x19\x83\x7e\xa4\x7d\x0b\x18\x01\xb4\x10\0\0\0\x31\x0a\x7f"),
    (26, b"\x0c\x02\0\xb7\x99\x19\x98"),
    (26, b"\x0c\x03\xc0\0\x01\x19\x66\x3e\x21\x01\x31\x01\x3f"),
    // LifeSafetyOperation
    (27, b"\x09\x01\x1d\x03\0op\x29\0"),
    // SubscribeCOVProperty: with an increment, an element, cancelled
    (28, b"\x09\x09\x1c\0\x80\0\x01\x29\0\x39\x3c\x4e\x09\x55\x4f\x5c\x3f\x80\0\0"),
    (28, b"\x09\x09\x1c\0\x80\0\x01\x29\x01\x39\x3c\x4e\x09\x57\x19\x08\x4f"),
    (28, b"\x09\x09\x1c\0\x80\0\x01\x4e\x09\x55\x4f"),
    // GetEventInformation
    (29, b""),
    (29, b"\x0c\0\xc0\0\x01"),
    // SubscribeCOVPropertyMultiple, ConfirmedCOVNotificationMultiple
    (30, b"\x09\x01\x19\x01\x29\x3c\x39\x05\x4e\x0c\0\x80\0\x01\x1e\x0e\x09\x55\x0f\x29\0\x1f\x4f"),
    (31, b"\x09\x01\x1c\x02\0\xb7\x9a\x29\x3c\x4e\x0c\0\x80\0\x01\x1e\x09\x55\x2e\x44\x42\x28\0\0\x2f\x1f\x4f"),
];

/// Parameters of unconfirmed requests, behind their service choice.
pub const UNCONFIRMED: &[(u8, &[u8])] = &[
    // I-Am, I-Have
    (0, b"\xc4\x02\0\xb7\x9a\x22\x05\xc4\x91\0\x21\x0f"),
    (1, b"\xc4\x02\0\xb7\x9a\xc4\0\x80\0\x01\x73\0ab"),
    // UnconfirmedCOVNotification, UnconfirmedEventNotification
    (2, b"\x09\x07\x1c\x02\0\xb7\x9a\x2c\0\0\0\x01\x39\x3c\x4e\x09\x55\x2e\x44\x42\x28\0\0\x2f\x4f"),
    (3, b"\x09\x01\x1c\x02\0\xb7\x9a\x2c\x00\xc0\0\x01\x3e\x19\x05\x3f\x49\x01\x59\x64\x69\x01\x89\x02\xa9\0"),
    // UnconfirmedPrivateTransfer, UnconfirmedTextMessage
    (4, b"\x09\0\x19\x01\x2e\x21\x05\x2f"),
    (5, b"\x0c\x02\0\xb7\x9a\x29\0\x3d\x03\0hi"),
    // TimeSynchronization
    (6, b"\xa4\x7d\x0b\x18\x01\xb4\x10\0\0\0"),
    // Who-Has by identifier, by name, in a range
    (7, b"\x2c\0\x80\0\x01"),
    (7, b"\x3d\x09\0heatgate"),
    (7, b"\x09\0\x1b\x3f\xff\xff\x2c\0\x80\0\x01"),
    // Who-Is
    (8, b""),
    (8, b"\x09\0\x1b\x3f\xff\xff"),
    (8, b"\x0a\xb7\x99\x1a\xb7\x99"),
    // UTCTimeSynchronization
    (9, b"\xa4\x7d\x0b\x18\x01\xb4\x10\0\0\0"),
    // WriteGroup, UnconfirmedCOVNotificationMultiple
    (10, b"\x09\x01\x19\x08\x2e\x09\x01\x44\x42\x28\0\0\x2f"),
    (11, b"\x09\x01\x1c\x02\0\xb7\x9a\x29\x3c\x4e\x0c\0\x80\0\x01\x1e\x09\x55\x2e\x44\x42\x28\0\0\x2f\x1f\x4f"),
];

/// Whole APDUs of the other types: answers to nothing, acknowledgements of segments, segments.
pub const OTHERS: &[&[u8]] = &[
    b"\x20\x01\x01",
    b"\x20\x02\x02",
    b"\x30\x01\x0c\x0c\x02\0\xb7\x9a\x19\x4d\x3e\x73\0ab\x3f",
    b"\x3c\x01\0\x10\x0c\x0c\x02\0\xb7\x9a",
    b"\x40\x01\0\x10",
    b"\x40\x01\x0f\x10",
    b"\x42\x01\0\x10",
    b"\x41\x01\0\x10",
    b"\x40\x01\0\0",
    b"\x40\x01\0\xff",
    b"\x50\x01\x01\x91\x02\x91\x20",
    b"\x60\x01\x09",
    b"\x70\x01\x04",
    b"\x71\x01\x04",
    b"\x0e\x75\x05\0\x10\x0e\x0c\0\x80\0\x01\x1e\x09\x55",
    b"\x0a\x75\x05\x01\x10\x0e\x09\x6f\x1f",
    b"\x0e\x75\x06\0\0\x0e\x0c\0\x80\0\x01",
    b"\x0e\x75\x06\0\xff\x0e\x0c\0\x80\0\x01",
];

/// Heads of confirmed requests: what the asker takes (segments, octets).
const SIZES: [(u8, u8); 6] = [(0x02, 0x75), (0x02, 0x05), (0x00, 0x05), (0x00, 0x00), (0x02, 0x00), (0x02, 0x13)];

/// A well-formed APDU of the corpus.
pub fn pick(dice: &mut Dice) -> Vec<u8> {
    let (confirmed, unconfirmed) = (CONFIRMED.len() * 2, UNCONFIRMED.len());
    match dice.below(confirmed + unconfirmed + OTHERS.len()) {
        place if place < confirmed => {
            let (choice, params) = CONFIRMED.get(place / 2).copied().unwrap_or_default();
            let (first, sizes) = SIZES.get(dice.below(SIZES.len())).copied().unwrap_or((2, 0x75));
            request(first, sizes, octet(dice), choice, params)
        }
        place if place < confirmed + unconfirmed => {
            let (choice, params) = UNCONFIRMED.get(place - confirmed).copied().unwrap_or_default();
            [&[0x10, choice], params].concat()
        }
        place => OTHERS.get(place - confirmed - unconfirmed).copied().unwrap_or_default().to_vec(),
    }
}

/// An unsegmented confirmed request.
pub fn request(first: u8, sizes: u8, invoke: u8, choice: u8, params: &[u8]) -> Vec<u8> {
    [&[first, sizes, invoke, choice], params].concat()
}

fn octet(dice: &mut Dice) -> u8 {
    u8::try_from(dice.below(256)).unwrap_or(0)
}

/// Spoil it in one to eight ways: bits, octets of the encoding's own, lengths that lie, cuts, repetitions, a piece of
/// another one, a tail.
pub fn spoil(apdu: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..[1, 1, 1, 2, 3, 8].get(dice.below(6)).copied().unwrap_or(1) {
        let at = dice.below(apdu.len());
        match dice.below(9) {
            0 => {
                let bit = dice.below(8);
                set(apdu, at, |octet| octet ^ (1 << bit));
            }
            1 => {
                let tags = [0x00, 0x01, 0x0E, 0x0F, 0x1E, 0x3E, 0x3F, 0x44, 0x7F, 0x80, 0xC4, 0xFE, 0xFF, octet(dice)];
                let new = tags.get(dice.below(tags.len())).copied().unwrap_or_default();
                set(apdu, at, |_| new);
            }
            2 => {
                // Another length in a tag; what follows is as long as it was.
                let length = [0, 1, 2, 3, 4, 5, 5].get(dice.below(7)).copied().unwrap_or(5);
                set(apdu, at, |octet| (octet & 0xF8) | length);
            }
            3 => {
                let lie: &[u8] = match dice.below(4) {
                    0 => b"\xfe\xff\xff",
                    1 => b"\xff\xff\xff\xff\xff",
                    2 => b"\xff\x7f\xff\xff\xff",
                    _ => b"\x05\xfe\x05\xdc",
                };
                apdu.splice(at..at, lie.iter().copied());
            }
            4 => apdu.truncate(at.max(1)),
            5 if apdu.len() > 1 => drop(apdu.remove(at)),
            6 => {
                let piece: Vec<u8> = apdu.iter().skip(at).take(1 + dice.below(30)).copied().collect();
                for _ in 0..=dice.below(8) {
                    apdu.splice(at..at, piece.iter().copied());
                }
            }
            7 => {
                let other = pick(dice);
                let from = dice.below(other.len());
                apdu.truncate(at.max(1));
                apdu.extend(other.iter().skip(from));
            }
            _ => {
                for _ in 0..dice.below(40) {
                    apdu.push(octet(dice));
                }
            }
        }
    }
    apdu.truncate(usize::from(MAX_APDU) + 16);
}

fn set(apdu: &mut [u8], at: usize, change: impl FnOnce(u8) -> u8) {
    if let Some(place) = apdu.get_mut(at) {
        *place = change(*place);
    }
}
