//! Physical quantities: one type per quantity, finite by construction.
//!
//! A `Watts` cannot hold NaN or an infinity, so arithmetic on a broken reading cannot start. Energy is an integer
//! number of watt hours, because a 32-bit float of Wh loses single Wh above 16.78 MWh and a bill must not.

use std::fmt;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// Why a number is not a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a finite number")]
pub struct NotFinite;

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $symbol:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
        pub struct $name(f64);

        impl $name {
            /// Zero of this quantity.
            pub const ZERO: Self = Self(0.0);

            /// The only door: refuses NaN and infinities.
            #[inline]
            pub fn new(value: f64) -> Result<Self, NotFinite> {
                if value.is_finite() { Ok(Self(value)) } else { Err(NotFinite) }
            }

            /// For results of our own arithmetic and for constants: what is not finite becomes zero.
            #[inline]
            pub const fn of(value: f64) -> Self {
                if value.is_finite() { Self(value) } else { Self(0.0) }
            }

            /// The number, in this quantity's unit.
            #[inline]
            pub const fn get(self) -> f64 {
                self.0
            }

            /// The smaller of two.
            #[inline]
            pub const fn min(self, other: Self) -> Self {
                Self(self.0.min(other.0))
            }

            /// The larger of two.
            #[inline]
            pub const fn max(self, other: Self) -> Self {
                Self(self.0.max(other.0))
            }

            /// Held between two bounds; where they cross, the upper one wins (a ceiling beats a floor).
            #[inline]
            pub const fn clamp(self, low: Self, high: Self) -> Self {
                self.max(low).min(high)
            }

            /// Magnitude.
            #[inline]
            pub const fn abs(self) -> Self {
                Self(self.0.abs())
            }

            /// This over another of the same quantity; `None` when the other is zero.
            #[inline]
            pub fn ratio(self, other: Self) -> Option<f64> {
                if other.0 == 0.0 { None } else { Some(self.0 / other.0) }
            }
        }

        impl Add for $name {
            type Output = Self;
            #[inline]
            fn add(self, other: Self) -> Self {
                Self::of(self.0 + other.0)
            }
        }
        impl AddAssign for $name {
            #[inline]
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }
        impl Sub for $name {
            type Output = Self;
            #[inline]
            fn sub(self, other: Self) -> Self {
                Self::of(self.0 - other.0)
            }
        }
        impl Neg for $name {
            type Output = Self;
            #[inline]
            fn neg(self) -> Self {
                Self(-self.0)
            }
        }
        impl Mul<f64> for $name {
            type Output = Self;
            #[inline]
            fn mul(self, by: f64) -> Self {
                Self::of(self.0 * by)
            }
        }
        impl Div<f64> for $name {
            type Output = Self;
            #[inline]
            fn div(self, by: f64) -> Self {
                Self::of(self.0 / by)
            }
        }
        impl std::iter::Sum for $name {
            #[inline]
            fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
                iter.fold(Self::ZERO, Add::add)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                if let Some(digits) = f.precision() {
                    write!(f, "{:.*} {}", digits, self.0, $symbol)
                } else {
                    write!(f, "{} {}", self.0, $symbol)
                }
            }
        }
    };
}

quantity!(
    /// Electrical or thermal power, W.
    Watts, "W"
);
quantity!(
    /// A temperature, degrees Celsius.
    Celsius, "degC"
);
quantity!(
    /// A temperature difference, K.
    Kelvin, "K"
);
quantity!(
    /// A share of one hundred.
    Percent, "%"
);

impl Watts {
    /// From kilowatts; what is not finite becomes zero.
    #[inline]
    pub const fn from_kw(kw: f64) -> Self {
        Self::of(kw * 1000.0)
    }

    /// In kilowatts.
    #[inline]
    pub const fn kw(self) -> f64 {
        self.0 / 1000.0
    }
}

/// An amount of energy, whole watt hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Energy(u64);

impl Energy {
    /// No energy.
    pub const ZERO: Self = Self(0);

    /// From watt hours.
    #[inline]
    pub const fn from_wh(wh: u64) -> Self {
        Self(wh)
    }

    /// In watt hours.
    #[inline]
    pub const fn wh(self) -> u64 {
        self.0
    }

    /// In whole kilowatt hours, rounded down.
    pub const fn whole_kwh(self) -> u64 {
        self.0 / 1000
    }

    /// Sum that stops at the largest energy instead of wrapping.
    #[inline]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Difference; `None` when the other is larger.
    #[inline]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(wh) => Some(Self(wh)),
            None => None,
        }
    }
}

impl fmt::Display for Energy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} Wh", self.0)
    }
}

/// The unit in which a point's number is expressed. Faces may show another one of the same quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    /// No unit: states, bits, counts.
    None,
    /// %
    Percent,
    /// W
    Watt,
    /// kW
    Kilowatt,
    /// MW
    Megawatt,
    /// Wh
    WattHour,
    /// kWh
    KilowattHour,
    /// MWh
    MegawattHour,
    /// degrees Celsius
    Celsius,
    /// K, a difference
    Kelvin,
    /// m3/h
    CubicMetrePerHour,
    /// l/h
    LitrePerHour,
    /// l/s
    LitrePerSecond,
    /// bar
    Bar,
    /// s
    Second,
    /// min
    Minute,
    /// h
    Hour,
    /// m3
    CubicMetre,
}

/// What a unit measures: numbers convert only within one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// No dimension.
    Plain,
    /// Share.
    Share,
    /// Power.
    Power,
    /// Energy.
    Energy,
    /// Temperature.
    Temperature,
    /// Temperature difference.
    TemperatureDifference,
    /// Volume flow.
    Flow,
    /// Pressure.
    Pressure,
    /// Duration.
    Duration,
    /// Volume.
    Volume,
}

impl Unit {
    /// Every unit with the spelling used in files, the BACnet code (ASHRAE 135 BACnetEngineeringUnits), its quantity and
    /// the factor to that quantity's base unit (W, Wh, degC, K, m3/h, bar, s, m3).
    const TABLE: &'static [(Self, &'static str, u32, Quantity, f64)] = &[
        (Self::None, "", 95, Quantity::Plain, 1.0),
        (Self::Percent, "%", 98, Quantity::Share, 1.0),
        (Self::Watt, "W", 47, Quantity::Power, 1.0),
        (Self::Kilowatt, "kW", 48, Quantity::Power, 1e3),
        (Self::Megawatt, "MW", 49, Quantity::Power, 1e6),
        (Self::WattHour, "Wh", 18, Quantity::Energy, 1.0),
        (Self::KilowattHour, "kWh", 19, Quantity::Energy, 1e3),
        (Self::MegawattHour, "MWh", 146, Quantity::Energy, 1e6),
        (Self::Celsius, "degC", 62, Quantity::Temperature, 1.0),
        (Self::Kelvin, "K", 121, Quantity::TemperatureDifference, 1.0),
        (Self::CubicMetrePerHour, "m3/h", 135, Quantity::Flow, 1.0),
        (Self::LitrePerHour, "l/h", 136, Quantity::Flow, 1e-3),
        (Self::LitrePerSecond, "l/s", 87, Quantity::Flow, 3.6),
        (Self::Bar, "bar", 55, Quantity::Pressure, 1.0),
        (Self::Second, "s", 73, Quantity::Duration, 1.0),
        (Self::Minute, "min", 72, Quantity::Duration, 60.0),
        (Self::Hour, "h", 71, Quantity::Duration, 3600.0),
        (Self::CubicMetre, "m3", 80, Quantity::Volume, 1.0),
    ];

    /// The table is in the order of the enum: control converts a few dozen numbers at each step.
    #[inline]
    fn row(self) -> &'static (Self, &'static str, u32, Quantity, f64) {
        const NONE: &(Unit, &str, u32, Quantity, f64) = &(Unit::None, "", 95, Quantity::Plain, 1.0);
        Self::TABLE.get(self as usize).unwrap_or(NONE)
    }

    /// From the spelling used in mapping files.
    pub fn parse(text: &str) -> Option<Self> {
        let text = match text {
            "°C" | "C" => "degC",
            "none" => "",
            "m³/h" => "m3/h",
            "m³" => "m3",
            other => other,
        };
        Self::TABLE.iter().find(|row| row.1 == text).map(|row| row.0)
    }

    /// Every spelling that a file may use.
    pub fn spellings() -> impl Iterator<Item = &'static str> {
        Self::TABLE.iter().map(|row| row.1)
    }

    /// The spelling used in files and on MQTT.
    pub fn symbol(self) -> &'static str {
        self.row().1
    }

    /// ASHRAE 135 BACnetEngineeringUnits.
    pub fn bacnet(self) -> u32 {
        self.row().2
    }

    /// What it measures.
    #[inline]
    pub fn quantity(self) -> Quantity {
        self.row().3
    }

    /// How many base units (W, Wh, m3/h, s ...) one of this unit is.
    #[inline]
    pub fn to_base(self) -> f64 {
        self.row().4
    }

    /// Convert a number of this unit into another; `None` when they measure different things.
    #[inline]
    pub fn convert(self, number: f64, into: Self) -> Option<f64> {
        if self == into {
            return Some(number);
        }
        (self.quantity() == into.quantity()).then(|| number * self.to_base() / into.to_base())
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.symbol())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_finite_numbers_are_refused() {
        assert_eq!(Watts::new(f64::NAN), Err(NotFinite));
        assert_eq!(Watts::new(f64::INFINITY), Err(NotFinite));
        assert_eq!(Watts::of(1e308) * 1e308, Watts::ZERO);
    }

    #[test]
    fn a_ceiling_beats_a_floor() {
        assert_eq!(Watts::of(5.0).clamp(Watts::of(10.0), Watts::of(3.0)), Watts::of(3.0));
    }

    #[test]
    fn every_unit_is_found_by_its_spelling_and_code() {
        for row in Unit::TABLE {
            assert_eq!(Unit::parse(row.1), Some(row.0));
            assert_eq!(row.0.bacnet(), row.2);
            assert_eq!(row.0.symbol(), row.1);
        }
        assert_eq!(Unit::Kilowatt.convert(1.5, Unit::Watt), Some(1500.0));
        assert_eq!(Unit::Kilowatt.convert(1.5, Unit::Celsius), None);
    }
}
