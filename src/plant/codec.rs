//! How a value stands in registers, both ways: the one place that turns raw words into values and back. Pure; used by
//! whoever polls, by whoever serves, and by the worked examples of mapping files.

use super::{Codec, RegisterType, WordOrder};
use crate::point::{Fault, Kind, Text, Value};
use crate::units::Energy;

/// One number in registers: one, two or four words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Words {
    words: [u16; 4],
    len: u8,
}

impl Words {
    /// The words in the order of their addresses.
    #[inline]
    pub fn as_slice(&self) -> &[u16] {
        self.words.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// A raw number as its type says, before scaling.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Raw {
    Whole(i128),
    Real(f64),
}

/// 2^53: up to here every whole number is an `f64`.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl RegisterType {
    /// The least and the greatest raw number; `None` for floating point and texts.
    const fn bounds(self) -> Option<(i128, i128)> {
        Some(match self {
            Self::U16 => (0, u16::MAX as i128),
            Self::S16 => (i16::MIN as i128, i16::MAX as i128),
            Self::U32 => (0, u32::MAX as i128),
            Self::S32 => (i32::MIN as i128, i32::MAX as i128),
            Self::U64 => (0, u64::MAX as i128),
            Self::S64 => (i64::MIN as i128, i64::MAX as i128),
            Self::F32 | Self::F64 | Self::Text(_) => return None,
        })
    }

    /// The bit pattern that means "not available" by custom: NaN, the least signed number, all ones.
    pub const fn not_available(self) -> u64 {
        match self {
            Self::U16 => 0xFFFF,
            Self::S16 => 0x8000,
            Self::U32 => 0xFFFF_FFFF,
            Self::S32 => 0x8000_0000,
            Self::U64 => u64::MAX,
            Self::S64 => 0x8000_0000_0000_0000,
            Self::F32 => 0x7FC0_0000,
            Self::F64 => 0x7FF8_0000_0000_0000,
            Self::Text(_) => 0,
        }
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "the type is that wide")]
    fn raw(self, bits: u64) -> Raw {
        match self {
            Self::U16 | Self::U32 | Self::U64 | Self::Text(_) => Raw::Whole(i128::from(bits)),
            Self::S16 => Raw::Whole(i128::from(bits as u16 as i16)),
            Self::S32 => Raw::Whole(i128::from(bits as u32 as i32)),
            Self::S64 => Raw::Whole(i128::from(bits as i64)),
            Self::F32 => Raw::Real(f64::from(f32::from_bits(bits as u32))),
            Self::F64 => Raw::Real(f64::from_bits(bits)),
        }
    }

    /// Whether it holds this raw number, as whole as it is.
    pub fn holds(self, raw: u64) -> bool {
        self.bits(i128::from(raw)).is_some()
    }

    /// The bits of a whole raw number; `None` when the type cannot hold it.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the bounds checked before")]
    fn bits(self, raw: i128) -> Option<u64> {
        let (low, high) = self.bounds()?;
        let mask = u64::MAX >> 64u32.saturating_sub(16 * u32::from(self.width()));
        (low..=high).contains(&raw).then_some(raw as u64 & mask)
    }
}

impl WordOrder {
    const fn low_word_first(self) -> bool {
        matches!(self, Self::Cdab | Self::Dcba)
    }

    const fn bytes_swapped(self) -> bool {
        matches!(self, Self::Badc | Self::Dcba)
    }

    fn join(self, registers: &[u16]) -> u64 {
        let word = |w: &u16| u64::from(if self.bytes_swapped() { w.swap_bytes() } else { *w });
        if self.low_word_first() {
            registers.iter().rev().fold(0, |bits, w| bits << 16 | word(w))
        } else {
            registers.iter().fold(0, |bits, w| bits << 16 | word(w))
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "one word at a time")]
    #[inline]
    fn split(self, bits: u64, width: u16) -> Words {
        let [a, b, c, d] = [(bits >> 48) as u16, (bits >> 32) as u16, (bits >> 16) as u16, bits as u16];
        let mut words = match width {
            1 => Words { words: [d, 0, 0, 0], len: 1 },
            2 => Words { words: [c, d, 0, 0], len: 2 },
            3 => Words { words: [b, c, d, 0], len: 3 },
            _ => Words { words: [a, b, c, d], len: 4 },
        };
        if self.low_word_first() {
            words.words = match words.len {
                1 => [d, 0, 0, 0],
                2 => [d, c, 0, 0],
                3 => [d, c, b, 0],
                _ => [d, c, b, a],
            };
        }
        if self.bytes_swapped() {
            words.words = words.words.map(u16::swap_bytes);
        }
        words
    }
}

impl Codec {
    /// Big-endian, unscaled, without sentinels.
    pub const fn plain(kind: RegisterType) -> Self {
        Self {
            kind,
            order: WordOrder::Abcd,
            scale: 1.0,
            offset: 0.0,
            sentinels: Vec::new(),
            mask: None,
            states: Vec::new(),
        }
    }

    /// The value of a point of this kind in exactly these registers.
    ///
    /// A sentinel is `Absent`, NaN is `NotFinite`, what the kind cannot hold (2.5 as a state, 2 as a bool, a negative
    /// total) is `OutOfRange`, a wrong number of registers is `Malformed`. Counts and energies keep every digit as long
    /// as scale is a whole number or one over a whole number; a fraction of a Wh is dropped.
    pub fn decode(&self, registers: &[u16], kind: Kind) -> Result<Value, Fault> {
        if let RegisterType::Text(_) = self.kind {
            return if kind == Kind::Text { self.text(registers).map(Value::Text) } else { Err(Fault::Malformed) };
        }
        self.value(self.raw(registers)?, kind)
    }

    /// The text in exactly these registers: up to the first NUL, without padding of spaces or of 0xFF, as UTF-8 or, where
    /// it is none, as ISO 8859-1. Nothing at all is `Absent`; control characters are `Malformed`. What is longer than
    /// [`Text::LONGEST`] is cut.
    fn text(&self, registers: &[u16]) -> Result<Text, Fault> {
        if registers.len() != usize::from(self.kind.width()) {
            return Err(Fault::Malformed);
        }
        let pair = |word: &u16| if self.order.bytes_swapped() { word.to_le_bytes() } else { word.to_be_bytes() };
        let bytes: Vec<u8> = registers.iter().flat_map(pair).collect();
        let said = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        let padding = said.iter().rev().take_while(|byte| matches!(byte, 0xFF | b' ')).count();
        let said = said.get(..said.len() - padding).unwrap_or_default();
        let latin = || said.iter().map(|byte| char::from(*byte)).collect();
        let said = std::str::from_utf8(said).map_or_else(|_| latin(), str::to_owned);
        if said.trim().is_empty() {
            return Err(Fault::Absent);
        }
        Text::new(&said).ok_or(Fault::Malformed)
    }

    /// The register of a text at this place of it, padded with NUL.
    pub fn text_word(&self, text: &Text, place: usize) -> u16 {
        // Half a character is none: what does not fit whole is left out.
        let room = text.as_str().floor_char_boundary(2 * usize::from(self.kind.width()));
        let said = text.as_str().as_bytes().get(..room).unwrap_or_default();
        let byte = |at: usize| said.get(at).copied().unwrap_or(0);
        let pair = [byte(2 * place), byte(2 * place + 1)];
        if self.order.bytes_swapped() { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) }
    }

    /// The raw number in exactly these registers: a bit field is cut out and stands at its lowest bit.
    fn raw(&self, registers: &[u16]) -> Result<Raw, Fault> {
        if registers.len() != usize::from(self.kind.width()) {
            return Err(Fault::Malformed);
        }
        let bits = self.order.join(registers);
        if self.sentinels.contains(&bits) {
            return Err(Fault::Absent);
        }
        Ok(match self.mask {
            Some(mask) => Raw::Whole(i128::from((bits & mask) >> mask.trailing_zeros().min(63))),
            None => self.kind.raw(bits),
        })
    }

    /// The value of two raw numbers of which the high one stands for `modulus` each.
    pub(super) fn joined(&self, high: &[u16], low: &[u16], modulus: u32, kind: Kind) -> Result<Value, Fault> {
        let (Raw::Whole(high), Raw::Whole(low)) = (self.raw(high)?, self.raw(low)?) else {
            return Err(Fault::Malformed);
        };
        // Both are below 2^64 and the modulus below 2^32.
        self.value(Raw::Whole(high * i128::from(modulus) + low), kind)
    }

    fn value(&self, raw: Raw, kind: Kind) -> Result<Value, Fault> {
        if !self.states.is_empty() {
            let Raw::Whole(raw) = raw else { return Err(Fault::OutOfRange) };
            let state = self.states.iter().find(|(from, _)| i128::from(*from) == raw);
            return state.and_then(|(_, to)| whole(kind, i128::from(*to))).ok_or(Fault::OutOfRange);
        }
        match (raw, self.exact(), kind) {
            (Raw::Whole(raw), Some(line), Kind::Energy | Kind::Unsigned | Kind::State | Kind::Bool) => {
                let scaled = raw.checked_mul(line.up).ok_or(Fault::OutOfRange)?;
                if kind != Kind::Energy && scaled % line.down != 0 {
                    return Err(Fault::OutOfRange);
                }
                whole(kind, scaled.div_euclid(line.down) + line.offset).ok_or(Fault::OutOfRange)
            }
            (raw, _, kind) => {
                #[expect(clippy::cast_precision_loss, reason = "a Number is an f64")]
                let number = self.scaled(match raw {
                    Raw::Whole(raw) => raw as f64,
                    Raw::Real(raw) => raw,
                });
                match kind {
                    _ if !number.is_finite() => Err(Fault::NotFinite),
                    Kind::Energy => to_whole(number.round()).and_then(|n| whole(kind, n)).ok_or(Fault::OutOfRange),
                    kind => Value::from_f64(kind, number).ok_or(Fault::OutOfRange),
                }
            }
        }
    }

    /// The registers of a value. Scaled whole numbers are rounded half away from zero, but an energy total down: a
    /// counter shows completed units.
    ///
    /// `OutOfRange` where the type cannot hold it, or where it would read back as "not available".
    pub fn encode(&self, value: Value) -> Result<Words, Fault> {
        if self.mask.is_some() || matches!(value, Value::Text(_)) {
            // The other bits of the register are not ours to write.
            return Err(Fault::OutOfRange);
        }
        if !self.states.is_empty() {
            let state = value.as_u64().and_then(|state| u16::try_from(state).ok());
            let raw = self.states.iter().find(|(_, to)| Some(*to) == state).map(|(from, _)| i128::from(*from));
            let bits = raw.and_then(|raw| self.kind.bits(raw)).ok_or(Fault::OutOfRange)?;
            return Ok(self.order.split(bits, self.kind.width()));
        }
        // Each reply to a master comes through here for each value.
        let bits = match self.kind {
            RegisterType::F32 => {
                #[expect(clippy::cast_possible_truncation, reason = "what overflows is infinite, and refused")]
                let raw = self.unscaled(value.as_f64()) as f32;
                u64::from(raw.is_finite().then(|| raw.to_bits()).ok_or(Fault::OutOfRange)?)
            }
            RegisterType::F64 => {
                let raw = self.unscaled(value.as_f64());
                raw.is_finite().then(|| raw.to_bits()).ok_or(Fault::OutOfRange)?
            }
            kind => {
                let line = value.as_u64().and_then(|number| Some((number, self.exact()?)));
                let raw = match (value, line) {
                    (Value::Energy(_), Some((number, line))) => Some(line.scaled(number).div_euclid(line.up)),
                    (_, Some((number, line))) => {
                        let scaled = line.scaled(number);
                        (scaled % line.up == 0).then(|| scaled / line.up)
                    }
                    (value, None) => to_whole(rounded(self.unscaled(value.as_f64()))),
                };
                raw.and_then(|raw| kind.bits(raw)).ok_or(Fault::OutOfRange)?
            }
        };
        if self.sentinels.contains(&bits) {
            return Err(Fault::OutOfRange);
        }
        Ok(self.order.split(bits, self.kind.width()))
    }

    /// What stands there while there is no value: the first sentinel, else the type's own "not available".
    pub fn not_available(&self) -> Words {
        let bits = self.sentinels.first().copied().unwrap_or_else(|| self.kind.not_available());
        self.order.split(bits, self.kind.width())
    }

    /// Raw to the point's unit. Dividing by 10 instead of multiplying by 0.1 gives the `f64` nearest to the decimal that
    /// is meant, so that bounds and "none" compare equal.
    fn scaled(&self, raw: f64) -> f64 {
        let inverse = rounded(1.0 / self.scale);
        let scaled = if inverse.abs() > 1.0 && 1.0 / inverse == self.scale { raw / inverse } else { raw * self.scale };
        scaled + self.offset
    }

    fn unscaled(&self, number: f64) -> f64 {
        let number = number - self.offset;
        if self.scale == 1.0 {
            return number;
        }
        let inverse = rounded(1.0 / self.scale);
        if inverse.abs() > 1.0 && 1.0 / inverse == self.scale { number * inverse } else { number / self.scale }
    }

    /// The line in whole numbers, where it has them.
    fn exact(&self) -> Option<ExactLine> {
        let offset = to_whole(self.offset)?;
        let fits = |n: f64| n != 0.0 && n.abs() <= EXACT;
        let inverse = rounded(1.0 / self.scale);
        let (up, down) = if self.scale.fract() == 0.0 && fits(self.scale) {
            (to_whole(self.scale)?, 1)
        } else if fits(inverse) && 1.0 / inverse == self.scale {
            (to_whole(inverse.signum())?, to_whole(inverse.abs())?)
        } else {
            return None;
        };
        Some(ExactLine { up, down, offset })
    }
}

/// value = raw * up / down + offset, all whole, down positive.
struct ExactLine {
    up: i128,
    down: i128,
    offset: i128,
}

impl ExactLine {
    /// raw * up.
    fn scaled(&self, value: u64) -> i128 {
        (i128::from(value) - self.offset) * self.down
    }
}

/// To the next whole number, halves away from zero: what `f64::round` gives, without a call into the mathematics library.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "below 2^52 both ways are exact")]
fn rounded(number: f64) -> f64 {
    if number.is_nan() || number.abs() >= WHOLE {
        return number;
    }
    let whole = number as i64 as f64;
    if (number - whole).abs() >= 0.5 { whole + number.signum() } else { whole }
}

/// From here on every `f64` is whole: 2^52.
const WHOLE: f64 = 4_503_599_627_370_496.0;

/// A whole `f64` as an integer; `None` for fractions and for what no 64-bit type could hold anyway.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "whole and bounded by the check")]
fn to_whole(number: f64) -> Option<i128> {
    if number.abs() < WHOLE {
        let whole = number as i64;
        return (whole as f64 == number).then_some(i128::from(whole));
    }
    (number.fract() == 0.0 && number.abs() <= 2e19).then_some(number as i128)
}

fn whole(kind: Kind, number: i128) -> Option<Value> {
    let count = u64::try_from(number).ok()?;
    match kind {
        Kind::Energy => Some(Value::Energy(Energy::from_wh(count))),
        Kind::Unsigned => Some(Value::Unsigned(count)),
        Kind::State => u16::try_from(count).ok().map(Value::State),
        Kind::Bool => (count <= 1).then_some(Value::Bool(count == 1)),
        Kind::Number | Kind::Text => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn codec(kind: RegisterType, order: WordOrder, scale: f64) -> Codec {
        Codec { order, scale, ..Codec::plain(kind) }
    }

    fn number(n: f64) -> Value {
        Value::number(n).unwrap()
    }

    proptest! {
        #[test]
        fn rounding_is_that_of_the_library(number in proptest::num::f64::ANY, near in -1_000_000i32..1_000_000) {
            let half = f64::from(near) / 2.0;
            for number in [number, half, half.next_up(), half.next_down(), 0.5f64.next_down()] {
                let (ours, theirs) = (rounded(number), number.round());
                prop_assert!(ours == theirs || ours.is_nan() && theirs.is_nan(), "{number}: {ours} {theirs}");
            }
        }
    }

    #[test]
    fn the_four_orders_of_one_float() {
        // 52.3 as IEEE 754 single is 0x42513333.
        for (order, words) in [
            (WordOrder::Abcd, [0x4251, 0x3333]),
            (WordOrder::Cdab, [0x3333, 0x4251]),
            (WordOrder::Badc, [0x5142, 0x3333]),
            (WordOrder::Dcba, [0x3333, 0x5142]),
        ] {
            let codec = codec(RegisterType::F32, order, 1.0);
            let value = codec.decode(&words, Kind::Number).unwrap();
            assert!((value.as_f64() - 52.3).abs() < 1e-5, "{order:?}");
            assert_eq!(codec.encode(value).unwrap().as_slice(), words, "{order:?}");
        }
    }

    #[test]
    fn the_four_orders_of_64_bits() {
        for (order, words) in [
            (WordOrder::Abcd, [0x0102, 0x0304, 0x0506, 0x0708]),
            (WordOrder::Cdab, [0x0708, 0x0506, 0x0304, 0x0102]),
            (WordOrder::Badc, [0x0201, 0x0403, 0x0605, 0x0807]),
            (WordOrder::Dcba, [0x0807, 0x0605, 0x0403, 0x0201]),
        ] {
            let codec = codec(RegisterType::U64, order, 1.0);
            assert_eq!(codec.decode(&words, Kind::Unsigned), Ok(Value::Unsigned(0x0102_0304_0506_0708)));
        }
    }

    #[test]
    fn a_tenth_is_the_decimal_that_is_meant() {
        let tenth = codec(RegisterType::U16, WordOrder::Abcd, 0.1);
        assert_eq!(tenth.decode(&[0xFFFF], Kind::Number), Ok(number(6553.5)));
        assert_eq!(tenth.decode(&[3], Kind::Number), Ok(number(0.3)));
        assert_eq!(tenth.encode(number(6553.5)).unwrap().as_slice(), [0xFFFF]);
        assert_eq!(tenth.encode(number(0.25)).unwrap().as_slice(), [3], "half away from zero");
        let signed = codec(RegisterType::S16, WordOrder::Abcd, 0.1);
        assert_eq!(signed.decode(&[0x8000], Kind::Number), Ok(number(-3276.8)));
        assert_eq!(signed.encode(number(-0.25)).unwrap().as_slice(), [0xFFFD], "half away from zero");
    }

    #[test]
    fn what_does_not_fit_is_refused_both_ways() {
        let tenth = codec(RegisterType::U16, WordOrder::Abcd, 0.1);
        for bad in [-0.1, 6553.6, 1e300, -1e300] {
            assert_eq!(tenth.encode(number(bad)), Err(Fault::OutOfRange), "{bad}");
        }
        assert_eq!(Codec::plain(RegisterType::F32).encode(number(1e39)), Err(Fault::OutOfRange));
        let plain = Codec::plain(RegisterType::U16);
        assert_eq!(plain.decode(&[2], Kind::Bool), Err(Fault::OutOfRange));
        assert_eq!(plain.decode(&[], Kind::Number), Err(Fault::Malformed));
        assert_eq!(plain.decode(&[1, 2], Kind::Number), Err(Fault::Malformed));
        assert_eq!(tenth.decode(&[25], Kind::State), Err(Fault::OutOfRange));
        let signed = Codec::plain(RegisterType::S32);
        assert_eq!(signed.decode(&[0xFFFF, 0xFFFF], Kind::Energy), Err(Fault::OutOfRange));
        let nan = Codec::plain(RegisterType::F32).decode(&[0x7FC0, 0], Kind::Number);
        assert_eq!(nan, Err(Fault::NotFinite));
    }

    #[test]
    fn sentinels_are_absent_and_never_written_by_accident() {
        let codec = Codec { sentinels: vec![0x8000_0000], ..codec(RegisterType::S32, WordOrder::Cdab, 0.01) };
        assert_eq!(codec.decode(&[0x0000, 0x8000], Kind::Number), Err(Fault::Absent));
        assert_eq!(codec.not_available().as_slice(), [0x0000, 0x8000]);
        assert_eq!(codec.encode(number(f64::from(i32::MIN) / 100.0)), Err(Fault::OutOfRange));
        assert_eq!(Codec::plain(RegisterType::F32).not_available().as_slice(), [0x7FC0, 0]);
    }

    #[test]
    fn energies_keep_every_digit_and_show_completed_units() {
        let wh = Energy::from_wh(9_007_199_254_740_993); // 2^53 + 1: no f64
        let codec = Codec::plain(RegisterType::U64);
        let words = codec.encode(Value::Energy(wh)).unwrap();
        assert_eq!(codec.decode(words.as_slice(), Kind::Energy), Ok(Value::Energy(wh)));
        let kwh = Codec { scale: 1000.0, ..Codec::plain(RegisterType::U32) };
        assert_eq!(kwh.encode(Value::Energy(Energy::from_wh(1_999))).unwrap().as_slice(), [0, 1]);
        assert_eq!(kwh.decode(&[0, 7], Kind::Energy), Ok(Value::Energy(Energy::from_wh(7_000))));
        let megajoule = Codec { scale: 1e6 / 3600.0, ..Codec::plain(RegisterType::U32) };
        assert_eq!(megajoule.decode(&[0, 36], Kind::Energy), Ok(Value::Energy(Energy::from_wh(10_000))));
    }

    #[test]
    fn bit_fields_and_enumerations() {
        let field = Codec { mask: Some(0x0070), ..Codec::plain(RegisterType::U16) };
        assert_eq!(field.decode(&[0x1256], Kind::Unsigned), Ok(Value::Unsigned(5)));
        assert_eq!(field.encode(Value::Unsigned(5)), Err(Fault::OutOfRange), "the other bits are not ours");
        let bit = Codec { mask: Some(0x8000), ..Codec::plain(RegisterType::U16) };
        assert_eq!(bit.decode(&[0x8001], Kind::Bool), Ok(Value::Bool(true)));
        assert_eq!(bit.decode(&[0x7FFF], Kind::Bool), Ok(Value::Bool(false)));
        let states = Codec { states: vec![(0, 1), (4, 2), (17, 3)], ..Codec::plain(RegisterType::U16) };
        assert_eq!(states.decode(&[4], Kind::State), Ok(Value::State(2)));
        assert_eq!(states.decode(&[5], Kind::State), Err(Fault::OutOfRange), "a state that nobody described");
        assert_eq!(states.encode(Value::State(3)).unwrap().as_slice(), [17]);
        assert_eq!(states.encode(Value::State(4)), Err(Fault::OutOfRange));
        let both = Codec { mask: Some(0x0F00), states: vec![(3, 2)], ..Codec::plain(RegisterType::U16) };
        assert_eq!(both.decode(&[0xF3FF], Kind::State), Ok(Value::State(2)));
    }

    #[test]
    fn a_text_in_both_orders_of_bytes_without_its_padding() {
        let text = |registers, order| Codec { order, ..Codec::plain(RegisterType::Text(registers)) };
        let said = |value: &str| Ok(Value::Text(Text::new(value).unwrap()));
        let plain = text(4, WordOrder::Abcd);
        assert_eq!(plain.decode(&[0x4B41, 0x4D37, 0x3731, 0x3100], Kind::Text), said("KAM7711"));
        assert_eq!(text(2, WordOrder::Badc).decode(&[0x414B, 0x004D], Kind::Text), said("KAM"));
        for padded in [[0x4B41, 0x2020, 0x2020, 0x2020], [0x2020, 0x4B41, 0, 0x5858], [0x4B41, 0xFFFF, 0xFFFF, 0xFFFF]]
        {
            assert_eq!(plain.decode(&padded, Kind::Text), said("KA"), "{padded:x?}");
        }
        // UTF-8 where it is; ISO 8859-1 else.
        assert_eq!(plain.decode(&[0x47C3, 0xBC6E, 0, 0], Kind::Text), said("G\u{fc}n"));
        assert_eq!(plain.decode(&[0x47FC, 0x6E00, 0, 0], Kind::Text), said("G\u{fc}n"));
        for absent in [[0; 4], [0x2020; 4], [0xFFFF; 4], [0x0041, 0x4242, 0, 0]] {
            assert_eq!(plain.decode(&absent, Kind::Text), Err(Fault::Absent), "{absent:x?}");
        }
        assert_eq!(plain.decode(&[0x4107, 0, 0, 0], Kind::Text), Err(Fault::Malformed), "a bell is no text");
        assert_eq!(plain.decode(&[0x4141; 3], Kind::Text), Err(Fault::Malformed));
        assert_eq!(plain.decode(&[0x4141; 4], Kind::Number), Err(Fault::Malformed));
        assert_eq!(Codec::plain(RegisterType::U16).decode(&[0x4141], Kind::Text), Err(Fault::OutOfRange));
        assert_eq!(text(20, WordOrder::Abcd).decode(&[0x4141; 20], Kind::Text), said(&"A".repeat(23)), "cut");
    }

    proptest! {
        #[test]
        fn a_text_comes_back_as_far_as_its_registers_go(
            said in ".{1,30}", registers in 1u8..=32, order in prop::sample::select(vec![WordOrder::Abcd, WordOrder::Badc]),
            noise in prop::collection::vec(any::<u16>(), 0..34),
        ) {
            let codec = Codec { order, ..Codec::plain(RegisterType::Text(registers)) };
            let _ = codec.decode(&noise, Kind::Text);
            if let Some(text) = Text::new(&said) {
                let words: Vec<u16> = (0..usize::from(registers)).map(|place| codec.text_word(&text, place)).collect();
                let cut = said.trim();
                let cut = Text::new(&cut[..cut.floor_char_boundary((2 * usize::from(registers)).min(Text::LONGEST))]);
                match cut {
                    Some(cut) => prop_assert_eq!(codec.decode(&words, Kind::Text), Ok(Value::Text(cut))),
                    None => prop_assert_eq!(codec.decode(&words, Kind::Text), Err(Fault::Absent)),
                }
            }
        }
    }

    fn any_type() -> impl Strategy<Value = RegisterType> {
        prop::sample::select(RegisterType::TABLE.iter().map(|row| row.0).collect::<Vec<_>>())
    }

    fn any_order() -> impl Strategy<Value = WordOrder> {
        prop::sample::select(WordOrder::TABLE.iter().map(|row| row.0).collect::<Vec<_>>())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn whatever_decodes_encodes_to_the_same_registers(
            kind in any_type(), order in any_order(), words in prop::array::uniform4(any::<u16>()),
            scale in prop::sample::select(vec![1.0, 0.1, 0.01, 10.0, -1.0]),
        ) {
            let width = usize::from(kind.width());
            let codec = codec(kind, order, scale);
            // A Number is an f64: 64-bit whole numbers have more digits than that.
            if !matches!(kind, RegisterType::U64 | RegisterType::S64 | RegisterType::F64)
                && let Ok(value) = codec.decode(&words[..width], Kind::Number)
            {
                let back = codec.encode(value);
                let same = back.map(|back| back.as_slice() == &words[..width]);
                // -0.0 and 0.0 are one number, and scaling may round the last bit of a float.
                prop_assert!(same == Ok(true) || kind == RegisterType::F32, "{codec:?} {words:?} {back:?}");
            }
        }

        #[test]
        fn counts_survive_any_type_wide_enough(order in any_order(), count in any::<u64>(), by in 1u32..5000) {
            let codec = Codec { scale: f64::from(by), ..codec(RegisterType::U64, order, 1.0) };
            let wh = Energy::from_wh(count);
            let words = codec.encode(Value::Energy(wh)).unwrap();
            let whole = Energy::from_wh(count / u64::from(by) * u64::from(by));
            prop_assert_eq!(codec.decode(words.as_slice(), Kind::Energy), Ok(Value::Energy(whole)));
        }

        #[test]
        fn nothing_panics(
            kind in any_type(), order in any_order(), words in prop::collection::vec(any::<u16>(), 0..6),
            scale in any::<f64>(), offset in any::<f64>(), number in any::<f64>(), count in any::<u64>(),
        ) {
            let codec = Codec { scale, offset, ..codec(kind, order, 1.0) };
            for as_kind in [Kind::Bool, Kind::Number, Kind::Unsigned, Kind::State, Kind::Energy, Kind::Text] {
                let _ = codec.decode(&words, as_kind);
            }
            let _ = codec.encode(Value::Energy(Energy::from_wh(count)));
            if let Some(value) = Value::number(number) {
                let _ = codec.encode(value);
            }
        }
    }
}
