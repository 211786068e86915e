//! One record of a trend log, in sixteen octets: a log of ten thousand takes 160 kB.

use bacnet_encoding::{primitives, tags};
use bacnet_types::enums::{ErrorClass, ErrorCode};
use bytes::BytesMut;

use crate::bacnet::answer::Failure;
use crate::bacnet::civil::DateTime;
use crate::bacnet::objects::Wire;
use crate::time::Utc;

/// BACnetLogStatus as the octet of its bit string (clause 21): the log is disabled.
pub(in crate::bacnet) const DISABLED: u8 = 0b1000_0000;
/// The buffer was purged.
pub(in crate::bacnet) const PURGED: u8 = 0b0100_0000;
/// Records before this one may be missing.
pub(in crate::bacnet) const INTERRUPTED: u8 = 0b0010_0000;

/// What a record holds: BACnetLogRecord's log-datum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::bacnet) enum Datum {
    /// The log itself changed: bits of BACnetLogStatus.
    Status(u8),
    /// Present_Value, with Status_Flags.
    Value(Wire, u8),
    /// There was no value.
    Failure(Failure),
    /// The clock was set, by so many seconds.
    TimeChange(f32),
}

/// Sixteen octets: 48 bits of milliseconds since 1970, the kind, flags, and 64 bits of datum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bacnet) struct Record {
    head: u64,
    body: u64,
}

/// How many octets a record takes where it is kept.
pub(super) const OCTETS: usize = 16;

// Kinds; they stand in what is kept, so none ever changes its meaning.
const STATUS: u8 = 0;
const REAL: u8 = 1;
const DOUBLE: u8 = 2;
const UNSIGNED: u8 = 3;
const SIGNED: u8 = 4;
const ENUMERATED: u8 = 5;
const NULL: u8 = 6;
const FAILURE: u8 = 7;
const TIME_CHANGE: u8 = 8;

impl Record {
    /// Of an instant. Milliseconds before 1970 count as 1970.
    pub(super) fn new(at: Utc, datum: Datum) -> Self {
        let (kind, flags, body) = match datum {
            Datum::Status(bits) => (STATUS, 0, u64::from(bits)),
            Datum::Value(Wire::Real(value), flags) => (REAL, flags, u64::from(value.to_bits())),
            Datum::Value(Wire::Double(value), flags) => (DOUBLE, flags, value.to_bits()),
            Datum::Value(Wire::Unsigned(value), flags) => (UNSIGNED, flags, value),
            Datum::Value(Wire::Signed(value), flags) => (SIGNED, flags, i64::from(value).cast_unsigned()),
            Datum::Value(Wire::Enumerated(value), flags) => (ENUMERATED, flags, u64::from(value)),
            // A log of a text is refused when the mapping is compiled.
            Datum::Value(Wire::Null | Wire::Text(_), flags) => (NULL, flags, 0),
            Datum::Failure(failure) => {
                (FAILURE, 0, u64::from(failure.class.to_raw()) << 16 | u64::from(failure.code.to_raw()))
            }
            Datum::TimeChange(seconds) => (TIME_CHANGE, 0, u64::from(seconds.to_bits())),
        };
        let millis = at.millis().max(0).cast_unsigned();
        Self { head: millis << 16 | u64::from(kind) << 8 | u64::from(flags), body }
    }

    /// When it was made.
    pub(in crate::bacnet) const fn at(self) -> Utc {
        Utc::from_millis((self.head >> 16).cast_signed())
    }

    /// The same in hundredths of a second, which is all that the wire shows of it.
    pub(super) const fn hundredths(self) -> i64 {
        self.at().millis() / 10
    }

    /// What it holds. What is no kind of ours reads as a null value.
    #[expect(clippy::cast_possible_truncation, reason = "each takes back what `new` put there")]
    pub(in crate::bacnet) const fn datum(self) -> Datum {
        let flags = self.head as u8;
        match (self.head >> 8) as u8 {
            STATUS => Datum::Status(self.body as u8),
            REAL => Datum::Value(Wire::Real(f32::from_bits(self.body as u32)), flags),
            DOUBLE => Datum::Value(Wire::Double(f64::from_bits(self.body)), flags),
            UNSIGNED => Datum::Value(Wire::Unsigned(self.body), flags),
            SIGNED => Datum::Value(Wire::Signed(self.body as i32), flags),
            ENUMERATED => Datum::Value(Wire::Enumerated(self.body as u32), flags),
            FAILURE => Datum::Failure(Failure {
                class: ErrorClass::from_raw((self.body >> 16) as u16),
                code: ErrorCode::from_raw(self.body as u16),
            }),
            TIME_CHANGE => Datum::TimeChange(f32::from_bits(self.body as u32)),
            _ => Datum::Value(Wire::Null, flags),
        }
    }

    /// For what is kept.
    pub(super) fn octets(self) -> [u8; OCTETS] {
        (u128::from(self.head) << 64 | u128::from(self.body)).to_be_bytes()
    }

    /// From what was kept.
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    pub(super) const fn from_octets(octets: [u8; OCTETS]) -> Self {
        let both = u128::from_be_bytes(octets);
        Self { head: (both >> 64) as u64, body: both as u64 }
    }

    /// Append it as a BACnetLogRecord (clause 21).
    pub(super) fn encode(self, out: &mut BytesMut) {
        tags::encode_opening_tag(out, 0);
        DateTime::of(self.at()).encode(out);
        tags::encode_closing_tag(out, 0);
        tags::encode_opening_tag(out, 1);
        let mut status = None;
        match self.datum() {
            Datum::Status(bits) => primitives::encode_ctx_bit_string(out, 0, 5, &[bits]),
            Datum::Value(value, flags) => {
                status = Some(flags);
                match value {
                    Wire::Real(value) => primitives::encode_ctx_real(out, 2, value),
                    Wire::Enumerated(value) => primitives::encode_ctx_enumerated(out, 3, value),
                    Wire::Unsigned(value) => primitives::encode_ctx_unsigned(out, 4, value),
                    Wire::Signed(value) => primitives::encode_ctx_signed(out, 5, value),
                    Wire::Null => tags::encode_tag(out, 7, tags::TagClass::Context, 0),
                    // any-value
                    Wire::Double(_) | Wire::Text(_) => {
                        tags::encode_opening_tag(out, 10);
                        value.encode(out);
                        tags::encode_closing_tag(out, 10);
                    }
                }
            }
            Datum::Failure(failure) => {
                tags::encode_opening_tag(out, 8);
                primitives::encode_app_enumerated(out, failure.class.to_raw().into());
                primitives::encode_app_enumerated(out, failure.code.to_raw().into());
                tags::encode_closing_tag(out, 8);
            }
            Datum::TimeChange(seconds) => primitives::encode_ctx_real(out, 9, seconds),
        }
        tags::encode_closing_tag(out, 1);
        if let Some(flags) = status {
            primitives::encode_ctx_bit_string(out, 2, 4, &[flags]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back_as_it_went() {
        assert_eq!(size_of::<Record>(), OCTETS);
        let at = Utc::from_millis(1_764_000_000_123);
        for datum in [
            Datum::Status(DISABLED | PURGED),
            Datum::Value(Wire::Real(-1.5), 0x40),
            Datum::Value(Wire::Double(1e200), 0),
            Datum::Value(Wire::Unsigned(u64::MAX), 0),
            Datum::Value(Wire::Signed(-7), 0),
            Datum::Value(Wire::Enumerated(1), 0x80),
            Datum::Value(Wire::Null, 0),
            Datum::Failure(Failure::NO_VALUE),
            Datum::TimeChange(-3_600.0),
        ] {
            let record = Record::new(at, datum);
            assert_eq!((record.at(), record.datum()), (at, datum));
            assert_eq!(Record::from_octets(record.octets()), record);
        }
    }

    #[test]
    fn the_wire_shows_the_standards_choices() {
        let at = Utc::from_millis(1_764_000_000_120);
        let encoded = |datum| {
            let mut out = BytesMut::new();
            Record::new(at, datum).encode(&mut out);
            out[13..].to_vec()
        };
        let mut head = BytesMut::new();
        Record::new(at, Datum::Status(0)).encode(&mut head);
        assert_eq!(head[..13], [0x0E, 0xA4, 125, 11, 24, 1, 0xB4, 16, 0, 0, 12, 0x0F, 0x1E]);
        assert_eq!(encoded(Datum::Status(INTERRUPTED)), [0x0A, 5, 0x20, 0x1F]);
        assert_eq!(encoded(Datum::Value(Wire::Real(1.0), 0x40)), [0x2C, 0x3F, 0x80, 0, 0, 0x1F, 0x2A, 4, 0x40]);
        assert_eq!(encoded(Datum::Value(Wire::Enumerated(1), 0)), [0x39, 1, 0x1F, 0x2A, 4, 0]);
        assert_eq!(encoded(Datum::Value(Wire::Unsigned(300), 0)), [0x4A, 1, 44, 0x1F, 0x2A, 4, 0]);
        assert_eq!(encoded(Datum::Value(Wire::Signed(-1), 0)), [0x59, 255, 0x1F, 0x2A, 4, 0]);
        assert_eq!(encoded(Datum::Value(Wire::Null, 0)), [0x78, 0x1F, 0x2A, 4, 0]);
        assert_eq!(encoded(Datum::Failure(Failure::NO_VALUE))[..2], [0x8E, 0x91]);
        assert_eq!(encoded(Datum::TimeChange(1.0)), [0x9C, 0x3F, 0x80, 0, 0, 0x1F]);
        assert_eq!(encoded(Datum::Value(Wire::Double(0.0), 0))[..2], [0xAE, 0x55]);
    }
}
