//! Listeners of the Modbus server: what each listens on, which unit shows what, who may connect and who may write.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::plant::{Parity, SerialLine};
use crate::written::{At, Findings, Item, Read, Table};

/// One more listener: `[[modbus.listener]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// What it listens on.
    pub wire: Wire,
    /// Which unit shows what, who may connect, who may write.
    pub access: Access,
}

/// What a listener listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wire {
    /// Modbus TCP.
    Tcp(SocketAddr),
    /// RTU frames over TCP.
    RtuOverTcp(SocketAddr),
    /// RTU on a serial line.
    Rtu {
        /// The line.
        line: SerialLine,
        /// The adapter receives what it sends.
        echo: bool,
    },
    /// Modbus/TCP Security.
    Tls {
        /// Address and port.
        listen: SocketAddr,
        /// Our certificate, PEM. As written: relative to the configuration file.
        certificate: PathBuf,
        /// Its key, PEM.
        key: PathBuf,
        /// The authorities of the masters' certificates, PEM.
        authorities: PathBuf,
        /// Roles in certificates that may read.
        readers: Vec<String>,
        /// Roles in certificates that may read and write.
        writers: Vec<String>,
    },
}

/// Which unit shows what, who may connect, who may write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Units; empty: `modbus.unit_id` shows everything.
    pub units: Vec<Unit>,
    /// Networks whose clients may connect; `None`: anybody.
    pub clients: Option<Vec<Network>>,
    /// Networks whose clients may write, too; `None`: everybody.
    pub writers: Option<Vec<Network>>,
}

/// A unit and what it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its number.
    pub unit: u8,
    /// What it shows.
    pub view: UnitView,
}

/// What a unit shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnitView {
    /// Every address.
    Whole,
    /// A zone's block, from 0.
    Zone(At<String>),
    /// So many addresses from one on, seen from 0.
    Window {
        /// The first.
        first: u16,
        /// How many.
        count: u16,
    },
}

/// `10.20.0.0/24`, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Its address.
    pub address: IpAddr,
    /// Leading bits that count.
    pub prefix: u8,
}

impl Read for Network {
    fn read(item: &Item<'_>, f: &mut Findings) -> Option<Self> {
        let text = String::read(item, f)?;
        let (address, prefix) = text.split_once('/').map_or((text.as_str(), None), |(a, p)| (a, Some(p)));
        let network = address.parse::<IpAddr>().ok().and_then(|address| {
            let most = if address.is_ipv4() { 32 } else { 128 };
            let prefix = prefix.map_or(Some(most), |prefix| prefix.parse().ok().filter(|bits| *bits <= most))?;
            Some(Self { address, prefix })
        });
        if network.is_none() {
            let message = format!("`{text}` is no network");
            f.error("bad-address", &item.place(), message, "write 10.20.0.0/24, or 10.20.0.5 for one address");
        }
        network
    }
}

fn networks(t: &mut Table<'_>, key: &'static str, f: &mut Findings) -> Option<Vec<Network>> {
    let list: At<Vec<At<Network>>> = t.opt(key, f)?;
    Some(list.value.into_iter().map(|at| at.value).collect())
}

fn names(t: &mut Table<'_>, key: &'static str, f: &mut Findings) -> Vec<String> {
    let list: Option<At<Vec<At<String>>>> = t.opt(key, f);
    list.map(|list| list.value.into_iter().map(|at| at.value).collect()).unwrap_or_default()
}

impl Access {
    /// `units`, `clients` and `writers` of a table.
    pub fn read(t: &mut Table<'_>, f: &mut Findings) -> Self {
        let mut units: Vec<Unit> = Vec::new();
        for mut t in t.tables("units", f) {
            let place = t.place();
            let read = Unit::read(&mut t, f);
            t.finish(f);
            let Some(unit) = read else { continue };
            if units.iter().any(|other| other.unit == unit.unit) {
                f.error("duplicate-name", &place, format!("unit {} is there already", unit.unit), "one view each");
            }
            units.push(unit);
        }
        Self { units, clients: networks(t, "clients", f), writers: networks(t, "writers", f) }
    }
}

impl Unit {
    fn read(t: &mut Table<'_>, f: &mut Findings) -> Option<Self> {
        let unit: Option<At<u8>> = t.need("unit", "a unit identifier, 1 to 247", f);
        let zone: Option<At<String>> = t.opt("zone", f);
        let first: Option<At<u16>> = t.opt("first", f);
        let count: Option<At<u16>> = t.opt("count", f);
        let unit = unit?;
        let view = match (zone, first, count) {
            (None, None, None) => UnitView::Whole,
            (Some(zone), None, None) => UnitView::Zone(zone),
            (None, Some(first), Some(count)) => {
                if u32::from(first.value) + u32::from(count.value) > 65_536 || count.value == 0 {
                    f.error("out-of-range", &count.place, "no such block of addresses", "1 to 65536 minus `first`");
                }
                UnitView::Window { first: first.value, count: count.value }
            }
            _ => {
                let help = "nothing for everything, `zone` for a zone's block, or `first` and `count`";
                f.error("two-addresses", &unit.place, "what this unit shows is not clear", help);
                return None;
            }
        };
        Some(Self { unit: unit.value, view })
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Tcp,
    RtuOverTcp,
    Rtu,
    Tls,
}

const KINDS: &[(Kind, &str)] =
    &[(Kind::Tcp, "tcp"), (Kind::Rtu, "rtu"), (Kind::RtuOverTcp, "rtu-over-tcp"), (Kind::Tls, "tls")];

impl Listener {
    /// One `[[modbus.listener]]`; `None` when it cannot be used.
    pub fn read(mut t: Table<'_>, f: &mut Findings) -> Option<Self> {
        if !t.has("kind") {
            t.missing("kind", "tcp, rtu, rtu-over-tcp or tls", f);
        }
        let wire = t.word("kind", KINDS, f).and_then(|kind| Self::wire(kind.value, &mut t, f));
        let access = Access::read(&mut t, f);
        let serial = matches!(wire, Some(Wire::Rtu { .. }));
        if serial && access.clients.is_some() {
            let help = "leave it out; writers = [] makes a serial line read-only";
            f.error("unknown-key", &t.place(), "a serial line has no clients with addresses", help);
        }
        for unit in access.units.iter().filter(|unit| serial && !(1..=247).contains(&unit.unit)) {
            let message = format!("{} is no unit of a serial line", unit.unit);
            f.error("out-of-range", &t.place(), message, "1 to 247");
        }
        t.finish(f);
        Some(Self { wire: wire?, access })
    }

    fn wire(kind: Kind, t: &mut Table<'_>, f: &mut Findings) -> Option<Wire> {
        match kind {
            Kind::Tcp => Some(Wire::Tcp(address(t, "0.0.0.0:502", f)?)),
            Kind::RtuOverTcp => Some(Wire::RtuOverTcp(address(t, "0.0.0.0:4001", f)?)),
            Kind::Rtu => serial(t, f),
            Kind::Tls => {
                let listen = address(t, "0.0.0.0:802", f);
                let mut file = |key: &'static str, help: &str| {
                    let file: Option<At<String>> = t.need(key, help, f);
                    file.map(|at| PathBuf::from(at.value))
                };
                let certificate = file("certificate", "a PEM file with this gateway's certificate");
                let key = file("key", "a PEM file with the certificate's private key");
                let authorities = file("authorities", "a PEM file with the authorities of the masters' certificates");
                let mut roles = t.table("roles", f)?;
                let (readers, writers) = (names(&mut roles, "read", f), names(&mut roles, "write", f));
                roles.finish(f);
                Some(Wire::Tls {
                    listen: listen?,
                    certificate: certificate?,
                    key: key?,
                    authorities: authorities?,
                    readers,
                    writers,
                })
            }
        }
    }
}

fn address(t: &mut Table<'_>, example: &str, f: &mut Findings) -> Option<SocketAddr> {
    let text: At<String> = t.need("listen", &format!("address and port, such as \"{example}\""), f)?;
    let address = text.value.parse().ok();
    if address.is_none() {
        let message = format!("`{}` is no address and port", text.value);
        f.error("bad-address", &text.place, message, format!("write it like \"{example}\""));
    }
    address
}

fn serial(t: &mut Table<'_>, f: &mut Findings) -> Option<Wire> {
    let port: Option<At<String>> = t.need("port", "a device file, such as \"/dev/ttyS1\"", f);
    let baud: Option<At<u32>> = t.opt("baud", f);
    let parity = t.word("parity", Parity::TABLE, f);
    let stop_bits: Option<At<u8>> = t.opt("stop_bits", f);
    let echo = t.opt("echo", f).is_some_and(|at: At<bool>| at.value);
    let port = port?;
    if !port.value.starts_with('/') {
        let message = format!("`{}` is no device file", port.value);
        f.error("bad-link", &port.place, message, "such as \"/dev/ttyS1\"");
    }
    let mut line = SerialLine::new(port.value);
    if let Some(at) = baud {
        if !(300..=1_000_000).contains(&at.value) {
            f.error("out-of-range", &at.place, format!("{} is no speed", at.value), "300 to 1000000 baud");
        }
        line.baud = at.value;
    }
    if let Some(at) = parity {
        line.parity = at.value;
    }
    if let Some(at) = stop_bits {
        if !(1..=2).contains(&at.value) {
            f.error("out-of-range", &at.place, format!("{} stop bits", at.value), "1 or 2");
        }
        line.stop_bits = at.value;
    }
    Some(Wire::Rtu { line, echo })
}
