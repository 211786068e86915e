//! How much is shed: BACnetShedLevel and what it means in watts.

use bacnet_encoding::primitives;
use bacnet_encoding::tags::{self, TagClass};
use bytes::BytesMut;

use crate::bacnet::answer::Failure;
use crate::plant::ShedLevel;
use crate::units::Watts;

/// BACnetShedLevel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::bacnet) enum Level {
    /// What may still be drawn, percent of the baseline. 100 sheds nothing.
    Percent(u32),
    /// A number of Shed_Levels. 0 sheds nothing.
    Step(u32),
    /// What must no longer be drawn, kW. 0 sheds nothing.
    Amount(f32),
}

impl Level {
    /// Of the same choice, and sheds nothing (table 12-33).
    pub(super) const fn default_of(self) -> Self {
        match self {
            Self::Percent(_) => Self::Percent(100),
            Self::Step(_) => Self::Step(0),
            Self::Amount(_) => Self::Amount(0.0),
        }
    }

    /// Whether it sheds nothing.
    pub(super) fn is_default(self) -> bool {
        self == self.default_of()
    }

    /// Append it.
    pub(in crate::bacnet) fn encode(self, out: &mut BytesMut) {
        match self {
            Self::Percent(percent) => primitives::encode_ctx_unsigned(out, 0, percent.into()),
            Self::Step(level) => primitives::encode_ctx_unsigned(out, 1, level.into()),
            Self::Amount(kw) => primitives::encode_ctx_real(out, 2, kw),
        }
    }

    /// From the octets of a written property; a share is at most 100, an amount finite and not negative.
    pub(in crate::bacnet) fn decode(octets: &[u8]) -> Result<Self, Failure> {
        let (tag, start) = tags::decode_tag(octets, 0).map_err(|_| Failure::WRONG_TYPE)?;
        let content = octets.get(start..).unwrap_or_default();
        if tag.class != TagClass::Context || tag.is_opening || tag.is_closing || content.len() != tag.length as usize {
            return Err(Failure::WRONG_TYPE);
        }
        let unsigned = || {
            let number = primitives::decode_unsigned(content).map_err(|_| Failure::WRONG_TYPE)?;
            u32::try_from(number).map_err(|_| Failure::OUT_OF_RANGE)
        };
        match tag.number {
            0 => unsigned().and_then(|n| if n <= 100 { Ok(Self::Percent(n)) } else { Err(Failure::OUT_OF_RANGE) }),
            1 => unsigned().map(Self::Step),
            2 => {
                let kw = primitives::decode_real(content).map_err(|_| Failure::WRONG_TYPE)?;
                if kw.is_finite() && kw >= 0.0 { Ok(Self::Amount(kw)) } else { Err(Failure::OUT_OF_RANGE) }
            }
            _ => Err(Failure::WRONG_TYPE),
        }
    }

    /// Five octets, for what is kept.
    pub(super) const fn octets(self) -> [u8; 5] {
        let (kind, number) = match self {
            Self::Percent(percent) => (0, percent),
            Self::Step(level) => (1, level),
            Self::Amount(kw) => (2, kw.to_bits()),
        };
        let [a, b, c, d] = number.to_be_bytes();
        [kind, a, b, c, d]
    }

    /// From what was kept.
    pub(super) const fn from_octets([kind, a, b, c, d]: [u8; 5]) -> Option<Self> {
        let number = u32::from_be_bytes([a, b, c, d]);
        match kind {
            0 => Some(Self::Percent(number)),
            1 => Some(Self::Step(number)),
            2 => Some(Self::Amount(f32::from_bits(number))),
            _ => None,
        }
    }
}

/// What a level is measured by.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::bacnet) struct Scale {
    /// Full_Duty_Baseline: what the zone draws at most.
    pub(in crate::bacnet) baseline: Watts,
    /// What it draws in any case.
    pub(in crate::bacnet) floor: Watts,
    /// Shed_Levels with what may be drawn at each: ever higher numbers, ever lower shares.
    pub(in crate::bacnet) levels: Vec<ShedLevel>,
}

impl Scale {
    /// What may be drawn. A level that is not in the list means the next lower one (clause 12.28.17).
    pub(super) fn power(&self, level: Level) -> Watts {
        let percent = match level {
            Level::Percent(percent) => f64::from(percent),
            Level::Step(number) => {
                let rows = self.levels.iter().filter(|row| row.number <= number);
                rows.max_by_key(|row| row.number).map_or(100.0, |row| row.percent)
            }
            Level::Amount(kw) => return (self.baseline - Watts::from_kw(f64::from(kw))).max(Watts::ZERO),
        };
        self.baseline * (percent / 100.0)
    }

    /// What drawing so much is, in the choice of a request: never better than it is.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the type's range")]
    pub(super) fn level(&self, drawn: Watts, like: Level) -> Level {
        let share = drawn.ratio(self.baseline).unwrap_or(1.0) * 100.0;
        // A hair above a step is that step: floats do not divide evenly.
        let reached = |percent: f64| share <= percent + 1e-6;
        match like {
            Level::Percent(_) => Level::Percent((share - 1e-6).ceil().clamp(0.0, 100.0) as u32),
            Level::Step(_) => {
                let rows = self.levels.iter().filter(|row| reached(row.percent));
                Level::Step(rows.map(|row| row.number).max().unwrap_or(0))
            }
            Level::Amount(_) => Level::Amount((self.baseline - drawn).max(Watts::ZERO).kw() as f32),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale() -> Scale {
        let row = |number, percent| ShedLevel { number, percent, text: String::new() };
        Scale { baseline: Watts::from_kw(60.0), floor: Watts::ZERO, levels: vec![row(10, 50.0), row(20, 0.0)] }
    }

    #[test]
    fn each_choice_means_a_power() {
        let kw = |level| scale().power(level).kw();
        assert!((kw(Level::Percent(25)) - 15.0).abs() < 1e-9);
        assert!((kw(Level::Amount(12.5)) - 47.5).abs() < 1e-9);
        assert!(kw(Level::Amount(1e9)).abs() < 1e-9);
        // not in the list: the next lower one, and nothing below the first
        for (number, expected) in [(0, 60.0), (9, 60.0), (10, 30.0), (19, 30.0), (20, 0.0), (u32::MAX, 0.0)] {
            assert!((kw(Level::Step(number)) - expected).abs() < 1e-9, "{number}");
        }
    }

    #[test]
    fn a_power_is_never_shown_better_than_it_is() {
        let scale = scale();
        let at = Watts::from_kw;
        assert_eq!(scale.level(at(15.1), Level::Percent(0)), Level::Percent(26));
        assert_eq!(scale.level(at(15.0), Level::Percent(0)), Level::Percent(25));
        assert_eq!(scale.level(at(90.0), Level::Percent(0)), Level::Percent(100));
        assert_eq!(scale.level(at(30.0), Level::Step(0)), Level::Step(10));
        assert_eq!(scale.level(at(30.1), Level::Step(0)), Level::Step(0));
        assert_eq!(scale.level(at(47.5), Level::Amount(0.0)), Level::Amount(12.5));
        assert_eq!(scale.level(at(90.0), Level::Amount(0.0)), Level::Amount(0.0));
    }

    #[test]
    fn what_is_no_level_is_refused() {
        for level in [Level::Percent(75), Level::Step(3), Level::Amount(1.5)] {
            let mut out = BytesMut::new();
            level.encode(&mut out);
            assert_eq!(Level::decode(&out), Ok(level));
            assert_eq!(Level::from_octets(level.octets()), Some(level));
            out.extend_from_slice(&[0]);
            assert_eq!(Level::decode(&out), Err(Failure::WRONG_TYPE));
        }
        let amount = |kw: f32| {
            let mut out = BytesMut::new();
            primitives::encode_ctx_real(&mut out, 2, kw);
            Level::decode(&out)
        };
        assert_eq!(Level::decode(&[0x09, 101]), Err(Failure::OUT_OF_RANGE));
        assert_eq!(Level::decode(&[0x1D, 5, 1, 0, 0, 0, 0]), Err(Failure::OUT_OF_RANGE));
        assert_eq!([amount(f32::NAN), amount(-1.0), amount(f32::INFINITY)], [Err(Failure::OUT_OF_RANGE); 3]);
        for octets in [&[][..], &[0x21, 75], &[0x39, 1], &[0x2B, 0, 0, 0], &[0x0E, 0x0F], &[0x09]] {
            assert_eq!(Level::decode(octets), Err(Failure::WRONG_TYPE), "{octets:?}");
        }
    }
}
