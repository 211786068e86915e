//! What a BMS reads of a zone of profile "digital boiler", version 1; here from its input registers.

use crate::units::{Celsius, Energy, Watts};

/// Registers of a zone.
pub const COUNT: u16 = 100;

/// One reading of a zone, with the addresses of its input registers. What is not a number, or stands for "not known", is none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct BoilerView {
    /// 0: 1 init ... 10 manual.
    pub state: u16,
    /// 1: 0 none.
    pub fault_code: u16,
    /// 2: counts seconds.
    pub gateway_heartbeat: u16,
    /// 3: 1 none ... 6 safety.
    pub request_source: u16,
    /// 4: bit n = alarm n.
    pub quality: u16,
    /// 10: heat that could be asked.
    pub heat_available: Option<Watts>,
    /// 14: heat delivered.
    pub heat_delivered: Option<Watts>,
    /// 16: electrical power.
    pub electrical_power: Option<Watts>,
    /// 18: the cap.
    pub power_command: Option<Watts>,
    /// 20: supply temperature.
    pub supply: Option<Celsius>,
    /// 22: return temperature.
    pub back: Option<Celsius>,
    /// 30: heat metered.
    pub heat_energy: Option<Energy>,
    /// 34: electrical energy.
    pub electrical_energy: Option<Energy>,
}

impl BoilerView {
    /// From the block 0..100 of a zone; `None` when it is shorter than what is read of it.
    pub fn decode(words: &[u16]) -> Option<Self> {
        let word = |at: usize| words.get(at).copied();
        let wide = |at: usize| Some(u32::from(word(at)?) << 16 | u32::from(word(at + 1)?));
        let kw = |at: usize| {
            let kw = f64::from(f32::from_bits(wide(at)?));
            Some(Watts::new(kw * 1000.0).ok())
        };
        let celsius = |at: usize| Some(Celsius::new(f64::from(f32::from_bits(wide(at)?))).ok());
        let energy = |at: usize| {
            let wh = u64::from(wide(at)?) << 32 | u64::from(wide(at + 2)?);
            // All bits set: no energy that a meter will ever have counted.
            Some((wh != u64::MAX).then(|| Energy::from_wh(wh)))
        };
        Some(Self {
            state: word(0)?,
            fault_code: word(1)?,
            gateway_heartbeat: word(2)?,
            request_source: word(3)?,
            quality: word(4)?,
            heat_available: kw(10)?,
            heat_delivered: kw(14)?,
            electrical_power: kw(16)?,
            power_command: kw(18)?,
            supply: celsius(20)?,
            back: celsius(22)?,
            heat_energy: energy(30)?,
            electrical_energy: energy(34)?,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A block that shows 26.4 kW, 30 kW and some energy.
    pub fn block() -> Vec<u16> {
        let mut words = vec![0_u16; 100];
        words[..5].copy_from_slice(&[4, 0, 77, 2, 0b10]);
        words[14..20].copy_from_slice(&[0x41d3, 0x3333, 0x41f0, 0, 0x41f0, 0]);
        words[20..24].copy_from_slice(&[0x4220, 0, 0x7fc0, 0]);
        words[30..38].copy_from_slice(&[0, 1, 0, 2, 0xffff, 0xffff, 0xffff, 0xffff]);
        words
    }

    #[test]
    fn a_worked_example() {
        let view = BoilerView::decode(&block()).unwrap();
        assert_eq!((view.state, view.gateway_heartbeat, view.request_source, view.quality), (4, 77, 2, 2));
        assert!((view.heat_delivered.unwrap().kw() - 26.4).abs() < 1e-5);
        assert_eq!(view.electrical_power, Some(Watts::from_kw(30.0)));
        assert_eq!((view.supply, view.back), (Some(Celsius::of(40.0)), None), "NaN is no temperature");
        assert_eq!(view.heat_energy, Some(Energy::from_wh((1 << 32) + 2)));
        assert_eq!(view.electrical_energy, None);
        assert_eq!(BoilerView::decode(&block()[..37]), None);
    }
}
