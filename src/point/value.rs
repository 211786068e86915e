//! What a point can hold.

use std::fmt;

use super::Text;
use crate::units::Energy;

/// What kind of value a point holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Yes or no.
    Bool,
    /// A number with a unit.
    Number,
    /// A count or a code, never negative.
    Unsigned,
    /// One of a numbered list of states, from 1.
    State,
    /// A total of energy, whole Wh.
    Energy,
    /// A short text, for information: nothing is decided by it.
    Text,
}

/// A number that is neither NaN nor infinite.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Finite(f64);

impl Finite {
    /// The only door.
    #[inline]
    pub fn new(number: f64) -> Option<Self> {
        number.is_finite().then_some(Self(number))
    }

    /// The number.
    #[inline]
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// One value, in its point's unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// Yes or no.
    Bool(bool),
    /// A number.
    Number(Finite),
    /// A count or a code.
    Unsigned(u64),
    /// A state, from 1.
    State(u16),
    /// A total of energy.
    Energy(Energy),
    /// A short text.
    Text(Text),
}

impl Value {
    /// A number; `None` when it is not finite.
    #[inline]
    pub fn number(number: f64) -> Option<Self> {
        Finite::new(number).map(Self::Number)
    }

    /// Its kind.
    #[inline]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Bool(_) => Kind::Bool,
            Self::Number(_) => Kind::Number,
            Self::Unsigned(_) => Kind::Unsigned,
            Self::State(_) => Kind::State,
            Self::Energy(_) => Kind::Energy,
            Self::Text(_) => Kind::Text,
        }
    }

    /// As a floating-point number (energies in Wh, which loses single Wh above 2^53; a text is 0).
    #[expect(clippy::cast_precision_loss, reason = "documented")]
    #[inline]
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Bool(yes) => f64::from(u8::from(yes)),
            Self::Number(number) => number.get(),
            Self::Unsigned(count) => count as f64,
            Self::State(state) => f64::from(state),
            Self::Energy(energy) => energy.wh() as f64,
            Self::Text(_) => 0.0,
        }
    }

    /// As a whole number, where it is one by kind.
    #[inline]
    pub const fn as_u64(self) -> Option<u64> {
        match self {
            Self::Bool(yes) => Some(yes as u64),
            Self::Number(_) | Self::Text(_) => None,
            Self::Unsigned(count) => Some(count),
            Self::State(state) => Some(state as u64),
            Self::Energy(energy) => Some(energy.wh()),
        }
    }

    /// As yes or no: zero is no.
    #[inline]
    pub fn as_bool(self) -> bool {
        self.as_f64() != 0.0
    }

    /// The value of this kind that equals a number; `None` when there is none (2.5 as a state, -1 as a count).
    pub fn from_f64(kind: Kind, number: f64) -> Option<Self> {
        let whole =
            |max: f64| (number.is_finite() && number.fract() == 0.0 && (0.0..=max).contains(&number)).then_some(number);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole and in range by the check above"
        )]
        match kind {
            Kind::Bool => match number {
                0.0 => Some(Self::Bool(false)),
                1.0 => Some(Self::Bool(true)),
                _ => None,
            },
            Kind::Number => Self::number(number),
            Kind::Unsigned => whole(9.007_199_254_740_992e15).map(|n| Self::Unsigned(n as u64)),
            Kind::State => whole(65_535.0).map(|n| Self::State(n as u16)),
            Kind::Energy => whole(9.007_199_254_740_992e15).map(|n| Self::Energy(Energy::from_wh(n as u64))),
            Kind::Text => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(yes) => write!(f, "{yes}"),
            // Six decimals are finer than any field device; trailing noise of binary fractions is not shown.
            Self::Number(number) => write!(f, "{}", (number.get() * 1e6).round() / 1e6),
            Self::Unsigned(count) => write!(f, "{count}"),
            Self::State(state) => write!(f, "{state}"),
            Self::Energy(energy) => write!(f, "{}", energy.wh()),
            Self::Text(text) => text.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_values_only_where_they_fit() {
        assert_eq!(Value::from_f64(Kind::State, 2.0), Some(Value::State(2)));
        assert_eq!(Value::from_f64(Kind::State, 2.5), None);
        assert_eq!(Value::from_f64(Kind::Unsigned, -1.0), None);
        assert_eq!(Value::from_f64(Kind::Bool, 2.0), None);
        assert_eq!(Value::from_f64(Kind::Number, f64::NAN), None);
    }
}
