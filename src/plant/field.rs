//! Field devices: what is polled, over which link, and how raw registers become values.

use std::time::Duration;

use super::{DeviceId, Table};
use crate::point::PointId;
use crate::time::Timeout;

/// The type of a number in registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RegisterType {
    /// 16 bits, unsigned.
    U16,
    /// 16 bits, two's complement.
    S16,
    /// 32 bits, unsigned.
    U32,
    /// 32 bits, two's complement.
    S32,
    /// 64 bits, unsigned.
    U64,
    /// 64 bits, two's complement.
    S64,
    /// IEEE 754 single.
    F32,
    /// IEEE 754 double.
    F64,
}

impl RegisterType {
    /// Spellings in mapping files.
    pub const TABLE: &'static [(Self, &'static str)] = &[
        (Self::U16, "u16"),
        (Self::S16, "s16"),
        (Self::U32, "u32"),
        (Self::S32, "s32"),
        (Self::U64, "u64"),
        (Self::S64, "s64"),
        (Self::F32, "f32"),
        (Self::F64, "f64"),
    ];

    /// From the spelling in mapping files.
    pub fn parse(text: &str) -> Option<Self> {
        Self::TABLE.iter().find(|row| row.1 == text).map(|row| row.0)
    }

    /// The spelling in mapping files.
    pub fn as_str(self) -> &'static str {
        Self::TABLE.iter().find(|row| row.0 == self).map_or("", |row| row.1)
    }

    /// How many registers it takes.
    pub const fn width(self) -> u16 {
        match self {
            Self::U16 | Self::S16 => 1,
            Self::U32 | Self::S32 | Self::F32 => 2,
            Self::U64 | Self::S64 | Self::F64 => 4,
        }
    }
}

/// The order of bytes over registers; for 64 bits the pattern continues (ABCD = big-endian words, CDAB = low word
/// first, BADC = bytes swapped in each word, DCBA = both).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WordOrder {
    /// Big-endian.
    Abcd,
    /// Low word first.
    Cdab,
    /// Bytes swapped in each word.
    Badc,
    /// Little-endian.
    Dcba,
}

impl WordOrder {
    /// Spellings in mapping files.
    pub const TABLE: &'static [(Self, &'static str)] =
        &[(Self::Abcd, "ABCD"), (Self::Cdab, "CDAB"), (Self::Badc, "BADC"), (Self::Dcba, "DCBA")];

    /// From the spelling in mapping files.
    pub fn parse(text: &str) -> Option<Self> {
        Self::TABLE.iter().find(|row| row.1 == text).map(|row| row.0)
    }
}

/// How a value stands in registers: value = raw * scale + offset, in the point's unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Codec {
    /// Type of the raw number.
    pub kind: RegisterType,
    /// Order of its bytes.
    pub order: WordOrder,
    /// From raw to the point's unit (unit conversion included).
    pub scale: f64,
    /// Added after scaling.
    pub offset: f64,
    /// Raw bit patterns (of the type's width, as unsigned) that mean "not available".
    pub sentinels: Vec<u64>,
}

/// One value of a polled device.
#[derive(Debug, Clone, PartialEq)]
pub struct DevicePoint {
    /// Which point it feeds.
    pub point: PointId,
    /// Where it is read.
    pub table: Table,
    /// Protocol address, from 0.
    pub address: u16,
    /// How it stands there; not used for bits.
    pub codec: Codec,
}

/// How a device is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// Modbus TCP.
    ModbusTcp {
        /// Host name or address.
        host: String,
        /// TCP port.
        port: u16,
        /// Unit identifier.
        unit: u8,
    },
}

/// A polled device.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// Its place in the plant.
    pub id: DeviceId,
    /// Its name.
    pub name: String,
    /// How it is reached.
    pub link: Link,
    /// How often, in site time.
    pub poll: Duration,
    /// How long to wait for an answer, on the wall.
    pub timeout: Timeout,
    /// Most registers in one read, at most 125.
    pub max_registers: u16,
    /// Widest hole of unused registers that one read may bridge.
    pub max_gap: u16,
    /// What is read.
    pub points: Vec<DevicePoint>,
    /// The point that shows whether the link is up (a `Bool`).
    pub link_point: PointId,
}
