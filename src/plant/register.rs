//! A value in the registers or bits of a device, with what else has to be read to know it: a scale register, a unit
//! register, the high half of a split counter. Pure.

use super::{Codec, Table};
use crate::point::{Fault, Kind, Value};

/// A register that says by how much the raw number is to be multiplied.
#[derive(Debug, Clone, PartialEq)]
pub struct ScaleRegister {
    /// Protocol address, from 0, in the table of the value.
    pub address: u16,
    /// Factor by register value (a unit register); empty: the register is a power of ten, signed.
    pub factors: Vec<(u16, f64)>,
}

/// The high half of a counter in two numbers of the same type: value = high * modulus + low.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Split {
    /// Protocol address of the high half, from 0.
    pub high: u16,
    /// What one of it stands for, in raw numbers: 65536, 10000.
    pub modulus: u32,
}

/// Where a device has a value.
#[derive(Debug, Clone, PartialEq)]
pub struct RegisterPlace {
    /// In which table.
    pub table: Table,
    /// Protocol address, from 0.
    pub address: u16,
    /// How it stands there; not used for bits.
    pub codec: Codec,
    /// What it is multiplied with, when another register says so.
    pub scale: Option<ScaleRegister>,
    /// Its other half, when it is split.
    pub split: Option<Split>,
}

impl RegisterPlace {
    /// One number, and nothing else.
    pub const fn plain(table: Table, address: u16, codec: Codec) -> Self {
        Self { table, address, codec, scale: None, split: None }
    }

    /// How many registers, or one bit, the number itself takes.
    pub const fn width(&self) -> u16 {
        match self.table {
            Table::Coil | Table::Discrete => 1,
            Table::Input | Table::Holding => self.codec.kind.width(),
        }
    }

    /// The first address that has to be read, and the first behind the last.
    pub fn span(&self) -> (u32, u32) {
        let width = u32::from(self.width());
        let number = |address: u16| (u32::from(address), u32::from(address) + width);
        let one = |address: u16| (u32::from(address), u32::from(address) + 1);
        let all = [Some(number(self.address)), self.split.map(|split| number(split.high))];
        let scale = self.scale.as_ref().map(|scale| one(scale.address));
        all.into_iter().chain([scale]).flatten().fold(number(self.address), |a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// The value, from words of its table that begin at `first`.
    ///
    /// `Malformed` where a word is not among them; `Absent` where the number, its other half or its unit is not
    /// available; else as [`Codec::decode`] says.
    pub fn decode(&self, first: u16, words: &[u16], kind: Kind) -> Result<Value, Fault> {
        let at = |address: u16, width: u16| {
            let from = usize::from(address.checked_sub(first)?);
            words.get(from..from + usize::from(width))
        };
        let low = at(self.address, self.width()).ok_or(Fault::Malformed)?;
        let mut codec = None;
        if let Some(scale) = &self.scale {
            let register = at(scale.address, 1).and_then(<[u16]>::first).ok_or(Fault::Malformed)?;
            let factor = scale.factor(*register).ok_or(Fault::Absent)?;
            codec = Some(Codec { scale: self.codec.scale * factor, ..self.codec.clone() });
        }
        let codec = codec.as_ref().unwrap_or(&self.codec);
        let Some(split) = self.split else { return codec.decode(low, kind) };
        let high = at(split.high, self.width()).ok_or(Fault::Malformed)?;
        codec.joined(high, low, split.modulus, kind)
    }
}

impl ScaleRegister {
    /// The factor that a register value stands for; `None`: it says nothing sensible.
    pub fn factor(&self, register: u16) -> Option<f64> {
        if self.factors.is_empty() {
            let power = i32::from(register.cast_signed());
            // Beyond this no physical quantity is meant: 0x8000 is "not available" by custom.
            return (-12..=12).contains(&power).then(|| 10f64.powi(power));
        }
        self.factors.iter().find(|(value, _)| *value == register).map(|(_, factor)| *factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plant::RegisterType::{S16, U16, U32};
    use crate::units::Energy;

    fn number(value: f64) -> Result<Value, Fault> {
        Ok(Value::number(value).unwrap())
    }

    #[test]
    fn a_scale_register_is_a_power_of_ten() {
        let scale = Some(ScaleRegister { address: 4, factors: Vec::new() });
        let place = RegisterPlace { scale, ..RegisterPlace::plain(Table::Holding, 2, Codec::plain(S16)) };
        assert_eq!(place.span(), (2, 5));
        assert_eq!(place.decode(2, &[0xFFF6, 0, 0xFFFF], Kind::Number), number(-1.0));
        assert_eq!(place.decode(1, &[9, 12, 0, 2], Kind::Number), number(1200.0));
        assert_eq!(place.decode(2, &[12, 0, 0x8000], Kind::Number), Err(Fault::Absent));
        assert_eq!(place.decode(2, &[12, 0], Kind::Number), Err(Fault::Malformed));
        assert_eq!(place.decode(3, &[12, 0, 0], Kind::Number), Err(Fault::Malformed));
    }

    #[test]
    fn a_unit_register_chooses_the_factor() {
        let factors = vec![(3, 1000.0), (4, 1.0)];
        let scale = Some(ScaleRegister { address: 0, factors });
        let place = RegisterPlace { scale, ..RegisterPlace::plain(Table::Input, 1, Codec::plain(U32)) };
        assert_eq!(place.decode(0, &[3, 0, 7], Kind::Energy), Ok(Value::Energy(Energy::from_wh(7000))));
        assert_eq!(place.decode(0, &[4, 0, 7], Kind::Energy), Ok(Value::Energy(Energy::from_wh(7))));
        assert_eq!(place.decode(0, &[5, 0, 7], Kind::Energy), Err(Fault::Absent), "an unknown unit is no value");
    }

    #[test]
    fn a_split_counter_keeps_every_digit() {
        let place = RegisterPlace {
            split: Some(Split { high: 10, modulus: 10_000 }),
            ..RegisterPlace::plain(Table::Input, 11, Codec { scale: 1000.0, ..Codec::plain(U16) })
        };
        assert_eq!(place.span(), (10, 12));
        let wh = |words: &[u16]| place.decode(10, words, Kind::Energy);
        assert_eq!(wh(&[12, 3456]), Ok(Value::Energy(Energy::from_wh(123_456_000))));
        let place = RegisterPlace { codec: Codec { sentinels: vec![0xFFFF], ..Codec::plain(U16) }, ..place };
        assert_eq!(place.decode(10, &[0xFFFF, 1], Kind::Energy), Err(Fault::Absent), "half of it is not available");
        assert_eq!(place.decode(10, &[1, 0xFFFF], Kind::Energy), Err(Fault::Absent));
    }
}
