//! Field devices: what is polled, over which link, and how raw registers become values.

use std::fmt;
use std::time::Duration;

use super::{DeviceId, PropertyPlace, RegisterPlace, SerialLine, Table};
use crate::point::{PointId, Priority};
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
    /// A text in so many registers, two characters each.
    Text(u8),
}

impl RegisterType {
    /// Most registers of a text.
    pub const LONGEST_TEXT: u8 = 32;

    /// Spellings of the numbers in mapping files.
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
        Self::TABLE.iter().find(|row| row.0 == self).map_or("text", |row| row.1)
    }

    /// How many registers it takes.
    pub const fn width(self) -> u16 {
        match self {
            Self::U16 | Self::S16 => 1,
            Self::U32 | Self::S32 | Self::F32 => 2,
            Self::U64 | Self::S64 | Self::F64 => 4,
            Self::Text(registers) => registers as u16,
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
    /// The bits that are meant, next to each other; such a value is read only.
    pub mask: Option<u64>,
    /// What each raw number means as a state, where they are not the same: raw and state. Others mean nothing.
    pub states: Vec<(u64, u16)>,
}

/// Where a device has a value.
#[derive(Debug, Clone, PartialEq)]
pub enum DevicePlace {
    /// Modbus.
    Register(RegisterPlace),
    /// BACnet.
    Property(PropertyPlace),
}

/// One value of a polled device.
#[derive(Debug, Clone, PartialEq)]
pub struct DevicePoint {
    /// Which point it feeds.
    pub point: PointId,
    /// Where it is read.
    pub place: DevicePlace,
    /// How often, in site time; `None`: as often as its device.
    pub poll: Option<Duration>,
}

impl DevicePoint {
    /// Its registers, when it has some.
    pub const fn register(&self) -> Option<&RegisterPlace> {
        match &self.place {
            DevicePlace::Register(place) => Some(place),
            DevicePlace::Property(_) => None,
        }
    }

    /// Its property, when it is one.
    pub const fn property(&self) -> Option<&PropertyPlace> {
        match &self.place {
            DevicePlace::Property(place) => Some(place),
            DevicePlace::Register(_) => None,
        }
    }
}

/// Where a point is written in a device.
#[derive(Debug, Clone, PartialEq)]
pub enum WritePlace {
    /// A holding register or a coil.
    Register(RegisterPlace),
    /// A BACnet property.
    Property {
        /// Which; its `cov` is not used.
        place: PropertyPlace,
        /// 9 to 16: never above what people and safety use.
        priority: Priority,
    },
}

/// A point that is mirrored into a device: its good value is written on a change beyond the deadband, once more every
/// `refresh` and after each reconnection, and read back. While it is bad, and at shutdown, a BACnet property is
/// relinquished with Null and a register no longer written.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceWrite {
    /// Which point.
    pub point: PointId,
    /// Where it goes.
    pub place: WritePlace,
    /// Change below which nothing is written, in the point's unit.
    pub deadband: f64,
    /// How often it is written although nothing changed, in site time.
    pub refresh: Duration,
}

/// What carries Modbus to one or more devices.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ModbusLine {
    /// Modbus TCP: a device, or a gateway to a serial line.
    Tcp {
        /// Host name or address.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// RTU frames through a serial server.
    RtuOverTcp {
        /// Host name or address.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// Modbus/TCP Security.
    Tls {
        /// Host name or address, as the certificate of the device says it.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// A serial line.
    Rtu {
        /// The port and its settings.
        serial: SerialLine,
        /// The adapter receives what it sends, and that is dropped.
        echo: bool,
    },
}

impl fmt::Display for ModbusLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "Modbus TCP {host}:{port}"),
            Self::RtuOverTcp { host, port } => write!(f, "Modbus RTU over TCP {host}:{port}"),
            Self::Tls { host, port } => write!(f, "Modbus TLS {host}:{port}"),
            Self::Rtu { serial, .. } => write!(f, "Modbus RTU {serial}"),
        }
    }
}

/// How a device is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// Modbus.
    Modbus {
        /// The line, which several devices may share.
        line: ModbusLine,
        /// Unit identifier; 0 on a serial line is everybody, who is written to and does not answer.
        unit: u8,
    },
    /// BACnet/IP.
    Bacnet {
        /// Instance of its Device object, 0 to 4194302.
        instance: u32,
        /// IPv4 address and UDP port; `None`: it is found by Who-Is.
        address: Option<([u8; 4], u16)>,
    },
}

impl Device {
    /// A device of which nothing is read, with what holds where the mapping says nothing: 10 s, 1 s, 125 registers.
    pub const fn new(id: DeviceId, name: String, link: Link, link_point: PointId) -> Self {
        Self {
            id,
            name,
            link,
            poll: Duration::from_secs(10),
            timeout: Timeout::millis(1000),
            max_registers: 125,
            max_gap: 8,
            holes: Vec::new(),
            align: 1,
            pause: Duration::ZERO,
            retries: 0,
            points: Vec::new(),
            writes: Vec::new(),
            link_point,
        }
    }
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
    /// Most registers in one read, at most 125; Modbus.
    pub max_registers: u16,
    /// Widest hole of unused registers that one read may bridge; Modbus.
    pub max_gap: u16,
    /// Addresses that no read may touch, first and last; Modbus.
    pub holes: Vec<(Table, u16, u16)>,
    /// Reads of registers begin and end at multiples of this, 1, 2 or 4; Modbus.
    pub align: u16,
    /// How long the device is left alone after an exchange, on the wall; Modbus.
    pub pause: Duration,
    /// How often a request without an answer is repeated before the device is lost; Modbus.
    pub retries: u8,
    /// What is read: registers of a Modbus device, properties of a BACnet device.
    pub points: Vec<DevicePoint>,
    /// What is written.
    pub writes: Vec<DeviceWrite>,
    /// The point that shows whether the link is up (a `Bool`).
    pub link_point: PointId,
}
