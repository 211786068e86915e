//! Faces: how outward adapters show a point.

use super::{AlarmFace, ClassDefaults, Codec};
use crate::point::{PointId, PointKey};
use crate::units::Unit;

/// A Modbus data table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// FC 1, 5, 15.
    Coil,
    /// FC 2.
    Discrete,
    /// FC 4.
    Input,
    /// FC 3, 6, 16.
    Holding,
}

/// What a face shows while its point is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Offline {
    /// The last value there was; the type's "not available" (NaN, 0x8000, 0xFFFF) where there never was one.
    #[default]
    Hold,
    /// The type's "not available" at once.
    Sentinel,
    /// An exception for the whole read: 0x0B while the device does not answer, 0x0A while it never did, 04 when it
    /// answers what is no value.
    Exception,
}

/// A point at a served Modbus address.
#[derive(Debug, Clone, PartialEq)]
pub struct RegisterFace {
    /// Which point.
    pub point: PointId,
    /// In which table.
    pub table: Table,
    /// Protocol address, from 0.
    pub address: u16,
    /// How it is written there; for bits its numbers are not used. `scale` and `offset` go from raw to the point's unit.
    pub codec: Codec,
    /// Masters may write it.
    pub writable: bool,
    /// While the point is bad.
    pub offline: Offline,
}

impl RegisterFace {
    /// How many registers (or one bit) it takes.
    pub const fn width(&self) -> u16 {
        match self.table {
            Table::Coil | Table::Discrete => 1,
            Table::Input | Table::Holding => self.codec.kind.width(),
        }
    }
}

/// What a note beside a value says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoteKind {
    /// Seconds since the value that is shown was taken, at most 65534; 65535: there never was one.
    Age,
    /// 0 good; 1 to 15 doubtful: 1 restored, 2 stale, 3 estimated, 4 flagged by the device; from 16 no value: 16 never
    /// read, 17 no communication, 18 refused, 19 absent, 20 missing, 21 not finite, 22 out of range, 23 malformed,
    /// 24 offline.
    Quality,
}

/// A register beside a value that says how old or how good it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// Of which point.
    pub point: PointId,
    /// Holding or input.
    pub table: Table,
    /// Protocol address.
    pub address: u16,
    /// What it says.
    pub kind: NoteKind,
}

/// Everything that the Modbus server shows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModbusServed {
    /// Sorted by table and address; no two overlap.
    pub faces: Vec<RegisterFace>,
    /// Ages and qualities beside them; they overlap nothing either.
    pub notes: Vec<Note>,
    /// Blocks (table, first, last) in which unused addresses read 0.
    pub zero_filled: Vec<(Table, u16, u16)>,
    /// Addresses between one zone's block and the next one's.
    pub stride: u16,
}

/// A BACnet object type that shows a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// analog-input, 0
    AnalogInput,
    /// analog-output, 1
    AnalogOutput,
    /// analog-value, 2
    AnalogValue,
    /// binary-input, 3
    BinaryInput,
    /// binary-output, 4
    BinaryOutput,
    /// binary-value, 5
    BinaryValue,
    /// multi-state-input, 13
    MultiStateInput,
    /// multi-state-value, 19
    MultiStateValue,
    /// accumulator, 23
    Accumulator,
    /// characterstring-value, 40
    CharacterStringValue,
    /// integer-value, 45
    IntegerValue,
    /// large-analog-value, 46
    LargeAnalogValue,
    /// positive-integer-value, 48
    PositiveIntegerValue,
}

impl ObjectKind {
    /// Every kind with its BACnetObjectType number (ASHRAE 135, clause 21) and its spelling in mapping files.
    pub const TABLE: &'static [(Self, u16, &'static str)] = &[
        (Self::AnalogInput, 0, "analog-input"),
        (Self::AnalogOutput, 1, "analog-output"),
        (Self::AnalogValue, 2, "analog-value"),
        (Self::BinaryInput, 3, "binary-input"),
        (Self::BinaryOutput, 4, "binary-output"),
        (Self::BinaryValue, 5, "binary-value"),
        (Self::MultiStateInput, 13, "multi-state-input"),
        (Self::MultiStateValue, 19, "multi-state-value"),
        (Self::Accumulator, 23, "accumulator"),
        (Self::CharacterStringValue, 40, "characterstring-value"),
        (Self::IntegerValue, 45, "integer-value"),
        (Self::LargeAnalogValue, 46, "large-analog-value"),
        (Self::PositiveIntegerValue, 48, "positive-integer-value"),
    ];

    /// BACnetObjectType.
    pub fn code(self) -> u16 {
        Self::TABLE.iter().find(|row| row.0 == self).map_or(0, |row| row.1)
    }

    /// The spelling in mapping files.
    pub fn as_str(self) -> &'static str {
        Self::TABLE.iter().find(|row| row.0 == self).map_or("", |row| row.2)
    }

    /// From the spelling in mapping files.
    pub fn parse(text: &str) -> Option<Self> {
        Self::TABLE.iter().find(|row| row.2 == text).map(|row| row.0)
    }
}

/// A point as a BACnet object.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectFace {
    /// Which point.
    pub point: PointId,
    /// Object type.
    pub kind: ObjectKind,
    /// Instance, 0 to 4194302.
    pub instance: u32,
    /// Object_Name, unique in the device.
    pub name: String,
    /// Description.
    pub description: String,
    /// Units shown; Present_Value is converted into it.
    pub unit: Unit,
    /// COV_Increment, in that unit.
    pub cov_increment: f64,
    /// It reports events by itself.
    pub alarm: Option<AlarmFace>,
}

/// One level of a load control.
#[derive(Debug, Clone, PartialEq)]
pub struct ShedLevel {
    /// Its number, from 1.
    pub number: u32,
    /// What may still be drawn, percent of the rated power.
    pub percent: f64,
    /// In words.
    pub text: String,
}

/// A BACnet object that is a service over points.
#[derive(Debug, Clone, PartialEq)]
pub enum ServiceObject {
    /// trend-log, 20: logs a point.
    TrendLog {
        /// Instance.
        instance: u32,
        /// What it logs.
        point: PointId,
        /// Object_Name.
        name: PointKey,
        /// Records that it holds.
        records: u32,
    },
    /// notification-class, 15.
    NotificationClass {
        /// Instance.
        instance: u32,
        /// Object_Name.
        name: PointKey,
        /// What it is before a client writes to it.
        defaults: ClassDefaults,
    },
    /// load-control, 28: electrical shed of a zone.
    LoadControl {
        /// Instance.
        instance: u32,
        /// Object_Name.
        name: PointKey,
        /// The limit that it sets.
        point: PointId,
        /// What it sheds by number, ever more.
        levels: Vec<ShedLevel>,
    },
}
