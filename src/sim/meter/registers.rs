//! The registers of profile `generic-heat-meter`, big-endian words (ABCD), 0-based.

use crate::units::{Celsius, Energy, Watts};

/// How many registers there are.
pub const COUNT: usize = 10;

/// What the meter shows: one sample, all registers of one instant.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Shown {
    /// 0: heat, f32 kW.
    pub power: Watts,
    /// 2: flow, f32 m3/h.
    pub flow_m3h: f64,
    /// 4: supply temperature, f32 degC.
    pub supply: Celsius,
    /// 6: return temperature, f32 degC.
    pub back: Celsius,
    /// 8: energy, u32 Wh; rolls over at 2^32.
    pub energy: Energy,
}

impl Shown {
    /// As on the wire.
    pub fn words(&self) -> [u16; COUNT] {
        let [p, q] = words(f32_bits(self.power.kw()));
        let [f, g] = words(f32_bits(self.flow_m3h));
        let [s, t] = words(f32_bits(self.supply.get()));
        let [r, u] = words(f32_bits(self.back.get()));
        // The counter has 32 bits and rolls over, as such meters do.
        let [e, h] = words((self.energy.wh() & u64::from(u32::MAX)) as u32);
        [p, q, f, g, s, t, r, u, e, h]
    }
}

fn f32_bits(value: f64) -> u32 {
    (value as f32).to_bits()
}

const fn words(bits: u32) -> [u16; 2] {
    [(bits >> 16) as u16, bits as u16]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worked_example() {
        let shown = Shown {
            power: Watts::from_kw(52.3),
            flow_m3h: 4.5,
            supply: Celsius::of(45.0),
            back: Celsius::of(35.0),
            energy: Energy::from_wh((1 << 32) + 0x0001_0002),
        };
        assert_eq!(shown.words(), [0x4251, 0x3333, 0x4090, 0x0000, 0x4234, 0x0000, 0x420c, 0x0000, 0x0001, 0x0002]);
    }
}
