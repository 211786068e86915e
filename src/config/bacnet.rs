//! The BACnet/IP device: its ports, and what it is in its network.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use super::{Checker, ClientFiles};

/// UDP port of BACnet/IP (Annex J.1.2).
const PORT: u16 = 47808;

/// The BACnet/IP device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bacnet {
    /// Whether there is one.
    pub enabled: bool,
    /// Where it listens.
    pub port: BacnetPort,
    /// Where it listens, too.
    pub more: Vec<BacnetPort>,
    /// What the first port is in its network.
    pub role: BacnetRole,
    /// A BACnet/SC port beside them.
    pub secure: Option<BacnetSecure>,
    /// An MS/TP port beside them.
    pub serial: Option<BacnetSerial>,
    /// The network's number, where it is known.
    pub network: Option<u16>,
    /// Device object instance, 0 to 4194302.
    pub instance: u32,
    /// Vendor_Identifier.
    pub vendor_id: u16,
    /// Vendor_Name.
    pub vendor_name: String,
    /// Model_Name.
    pub model: String,
    /// Object_Name of the device.
    pub name: String,
    /// Location.
    pub location: String,
    /// Description.
    pub description: String,
    /// A file with the password of device management alone. As written: relative to the configuration file.
    pub password_file: Option<PathBuf>,
}

/// A port: an address in a subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BacnetPort {
    /// IPv4 address and UDP port.
    pub listen: SocketAddrV4,
    /// Where broadcasts go.
    pub broadcast: Ipv4Addr,
    /// The subnet's mask, where it is known.
    pub mask: Option<Ipv4Addr>,
}

/// A node of a BACnet/SC hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BacnetSecure {
    /// URI of the hub, `wss`.
    pub hub: String,
    /// Of the one that is taken while the first is away.
    pub failover: Option<String>,
    /// Our certificate, its key, and the site's authorities, PEM.
    pub files: ClientFiles,
    /// The hub's certificate must name its host.
    pub hub_named: bool,
    /// Minimum and maximum reconnect time, s.
    pub reconnect_s: (u16, u16),
    /// How long to wait for the hub's answers, s.
    pub connect_wait_s: u16,
    /// After how long a silence the hub is asked whether it is there, s.
    pub heartbeat_s: u16,
}

/// A master on an MS/TP line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BacnetSerial {
    /// Device file.
    pub path: PathBuf,
    /// Our address, 0 to `max_master`.
    pub mac: u8,
    /// Bits per second.
    pub baud: u32,
    /// Highest address of a master, 1 to 127.
    pub max_master: u8,
    /// Frames per token, 1 to 255.
    pub max_info_frames: u8,
    /// We hear what we send.
    pub echo: bool,
}

/// What the device is in its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BacnetRole {
    /// A device in its subnet.
    Device,
    /// A foreign device.
    Foreign {
        /// The broadcast manager with which it registers.
        bbmd: SocketAddrV4,
        /// For so many seconds each time.
        ttl_s: u16,
    },
    /// The broadcast manager of its subnet.
    Manager {
        /// The other ones, with their broadcast distribution masks.
        peers: Vec<(SocketAddrV4, Ipv4Addr)>,
        /// Foreign devices may register.
        foreign_devices: bool,
        /// The table of peers may be written from the network.
        writable: bool,
    },
}

/// `10.20.0.5/24:47808`: the port may be left out, and the prefix length, too.
fn address(text: &str) -> Option<(SocketAddrV4, Option<u8>)> {
    let (rest, port) = match text.rsplit_once(':') {
        Some((rest, port)) => (rest, port.parse().ok()?),
        None => (text, PORT),
    };
    let (ip, prefix) = match rest.split_once('/') {
        Some((ip, prefix)) => (ip, Some(prefix.parse().ok().filter(|prefix| (8..=32).contains(prefix))?)),
        None => (rest, None),
    };
    Some((SocketAddrV4::new(ip.parse().ok()?, port), prefix))
}

/// The mask of a prefix length from 8 to 32.
fn mask(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::MAX << (32 - u32::from(prefix.clamp(8, 32))))
}

impl Checker<'_> {
    pub(super) fn bacnet(&mut self, site: &str) -> Option<Bacnet> {
        let enabled = self.layers.flag("bacnet.enabled");
        let ports = self.bacnet_ports(enabled);
        let role = self.bacnet_role(ports.as_deref().and_then(<[_]>::first));
        let instance: Option<u32> = self.layers.whole("bacnet.instance");
        if enabled && instance.is_none() {
            let help = "unique in the whole BACnet network, 0 to 4194302, such as instance = 47017";
            self.wrong("missing-key", "bacnet.instance", "`bacnet.instance` is needed", help);
        }
        let secure = self.bacnet_secure();
        let serial = self.bacnet_serial();
        let mut ports = ports?.into_iter();
        Some(Bacnet {
            enabled,
            port: ports.next()?,
            more: ports.collect(),
            role: role?,
            secure,
            serial,
            network: self.layers.whole("bacnet.network").filter(|network| *network != 0),
            instance: instance.unwrap_or_default(),
            vendor_id: self.layers.whole("bacnet.vendor_id")?,
            vendor_name: self.layers.text("bacnet.vendor_name")?,
            model: self.layers.text("bacnet.model")?,
            name: self.layers.text("bacnet.name").unwrap_or_else(|| format!("heatgate-{site}")),
            location: self.layers.text("bacnet.location")?,
            description: self.layers.text("bacnet.description")?,
            password_file: self.layers.text("bacnet.password_file").map(PathBuf::from),
        })
    }

    fn bacnet_ports(&mut self, enabled: bool) -> Option<Vec<BacnetPort>> {
        const LISTEN: &str = "bacnet.listen";
        const BROADCAST: &str = "bacnet.broadcast";
        const LIKE: &str =
            "write it like \"0.0.0.0:47808\", or \"10.20.0.5/24:47808\" with the length of its subnet's prefix";
        let chosen: Option<Ipv4Addr> = match self.layers.text(BROADCAST) {
            None => None,
            Some(text) => match text.parse() {
                Ok(ip) => Some(ip),
                Err(_) => {
                    let help = "write it like \"10.20.0.255\", without a port";
                    self.wrong("bad-address", BROADCAST, &format!("`{text}` is no IPv4 address"), help);
                    return None;
                }
            },
        };
        let texts = self.layers.texts(LISTEN);
        if texts.is_empty() {
            self.wrong("missing-key", LISTEN, "no address to listen on", LIKE);
            return None;
        }
        let mut ports: Vec<BacnetPort> = Vec::new();
        for text in &texts {
            let Some((listen, prefix)) = address(text) else {
                let v6 = text.contains('[') || text.parse::<std::net::Ipv6Addr>().is_ok();
                let (code, what) = if v6 {
                    ("not-supported", "BACnet/IP is IPv4".to_owned())
                } else {
                    ("bad-address", format!("`{text}` is no address and port"))
                };
                self.wrong(code, LISTEN, &what, LIKE);
                return None;
            };
            let ip = *listen.ip();
            let mask = prefix.map(mask);
            let chosen = chosen.filter(|_| ports.is_empty());
            let derived = mask.filter(|mask| !mask.is_broadcast()).map(|mask| ip | !mask);
            let broadcast = chosen.or(derived).unwrap_or(if ip.is_loopback() {
                Ipv4Addr::new(127, 255, 255, 255)
            } else {
                Ipv4Addr::BROADCAST
            });
            if let (Some(chosen), Some(derived)) = (chosen, derived)
                && chosen != derived
                && !chosen.is_broadcast()
            {
                let help = format!("leave it out, or write broadcast = \"{derived}\"");
                let message = format!("{chosen} is not the broadcast address of {text}");
                self.doubtful("odd-broadcast", BROADCAST, &message, &help);
            }
            let deaf = broadcast.is_broadcast() && !ip.is_unspecified() && !ip.is_loopback();
            if deaf && enabled {
                let message = format!("who listens on {ip} alone does not hear what is broadcast in its subnet");
                let help = format!(
                    "say how long the subnet's prefix is, such as \"{ip}/24:{}\", or set bacnet.broadcast to its \
                     broadcast address",
                    listen.port()
                );
                self.doubtful("odd-broadcast", LISTEN, &message, &help);
            }
            let several = texts.len() > 1;
            if several && (ip.is_unspecified() || (mask.is_none() && !ip.is_loopback())) {
                let help = "such as listen = [\"10.20.0.5/24:47808\", \"10.30.0.5/24:47808\"]";
                let message = "each of several addresses is that of one interface, with its prefix length";
                self.wrong("bad-address", LISTEN, message, help);
                return None;
            }
            if listen.port() != 0 && ports.iter().any(|port| port.listen == listen) {
                self.wrong("duplicate-name", LISTEN, &format!("{listen} is there twice"), "each address once");
                return None;
            }
            ports.push(BacnetPort { listen, broadcast, mask });
        }
        Some(ports)
    }

    fn bacnet_role(&mut self, port: Option<&BacnetPort>) -> Option<BacnetRole> {
        const BBMD: &str = "bacnet.foreign.bbmd";
        const PEERS: &str = "bacnet.bbmd.peers";
        let manager = self.layers.flag("bacnet.bbmd.enabled");
        let foreign = self.layers.text(BBMD).filter(|text| !text.is_empty());
        match foreign {
            Some(_) if manager => {
                let message = "a broadcast manager is no foreign device";
                self.wrong("not-supported", BBMD, message, "leave out one of [bacnet.foreign] and [bacnet.bbmd]");
                None
            }
            Some(text) => {
                let bbmd = address(&text).filter(|(address, prefix)| prefix.is_none() && single(*address));
                let Some((bbmd, _)) = bbmd else {
                    let help = "the broadcast manager's address, such as \"10.0.0.5:47808\"";
                    self.wrong("bad-address", BBMD, &format!("`{text}` is no address of one device"), help);
                    return None;
                };
                if port.is_some_and(|port| port.listen == bbmd) {
                    self.wrong("bad-address", BBMD, "that is this gateway itself", "name another broadcast manager");
                    return None;
                }
                Some(BacnetRole::Foreign { bbmd, ttl_s: self.layers.whole("bacnet.foreign.ttl_s")? })
            }
            None if manager => {
                if port.is_some_and(|port| port.listen.ip().is_unspecified()) {
                    let help = "write the address that its peers know it by, such as listen = \"10.20.0.5/24:47808\"";
                    self.wrong("bad-address", "bacnet.listen", "a broadcast manager listens on one address", help);
                    return None;
                }
                let texts = self.layers.texts(PEERS);
                let mut peers: Vec<(SocketAddrV4, Ipv4Addr)> = Vec::new();
                for text in &texts {
                    let read = address(text).filter(|(address, _)| single(*address));
                    let Some((peer, prefix)) = read else {
                        let help = "write it like \"10.0.2.1:47808\", or \"10.0.2.1/24:47808\" for one hop";
                        self.wrong("bad-address", PEERS, &format!("`{text}` is no address of one device"), help);
                        return None;
                    };
                    if peers.iter().any(|(known, _)| *known == peer) {
                        self.wrong("duplicate-name", PEERS, &format!("{peer} is there twice"), "each peer once");
                        return None;
                    }
                    peers.push((peer, mask(prefix.unwrap_or(32))));
                }
                if peers.len() > 63 {
                    self.wrong("out-of-range", PEERS, "there are more than 63 peers", "leave some of them out");
                    return None;
                }
                Some(BacnetRole::Manager {
                    peers,
                    foreign_devices: self.layers.flag("bacnet.bbmd.foreign_devices"),
                    writable: self.layers.flag("bacnet.bbmd.writable"),
                })
            }
            None => Some(BacnetRole::Device),
        }
    }

    /// `None` where there is no such port, and after a finding.
    fn bacnet_secure(&mut self) -> Option<BacnetSecure> {
        const HUB: &str = "bacnet.sc.hub";
        const FAILOVER: &str = "bacnet.sc.failover";
        const FILES: [&str; 3] = ["bacnet.sc.certificate", "bacnet.sc.key", "bacnet.sc.authorities"];
        let filled = |text: &String| !text.is_empty();
        let hub = self.layers.text(HUB).filter(filled);
        let failover = self.layers.text(FAILOVER).filter(filled);
        let files = FILES.map(|path| self.layers.text(path).filter(filled).map(PathBuf::from));
        let Some(hub) = hub else {
            if failover.is_some() {
                self.wrong("missing-key", FAILOVER, "a failover hub without `bacnet.sc.hub`", "name the hub, too");
            }
            return None;
        };
        for (path, text) in [(HUB, Some(&hub)), (FAILOVER, failover.as_ref())] {
            if let Some(text) = text.filter(|text| !is_hub(text)) {
                let help = "write it like \"wss://hub.example:4443\", as who runs the hub names it";
                self.wrong("bad-address", path, &format!("`{text}` is no URI of a BACnet/SC hub"), help);
                return None;
            }
        }
        if failover.as_ref() == Some(&hub) {
            self.wrong(
                "duplicate-name",
                FAILOVER,
                "the failover hub is the hub itself",
                "leave it out, or name another",
            );
            return None;
        }
        for (path, _) in FILES.iter().zip(&files).filter(|(_, file)| file.is_none()) {
            let help = "a hub asks for our certificate, and we ask for its: certificate, key and authorities, PEM";
            self.wrong("missing-key", path, &format!("`{path}` is needed"), help);
        }
        let [certificate, key, authorities] = files;
        let reconnect_s =
            (self.layers.whole("bacnet.sc.min_reconnect_s")?, self.layers.whole("bacnet.sc.max_reconnect_s")?);
        if reconnect_s.0 > reconnect_s.1 {
            let help = "min_reconnect_s is the first pause, max_reconnect_s the longest";
            self.wrong("out-of-range", "bacnet.sc.min_reconnect_s", "it is more than max_reconnect_s", help);
            return None;
        }
        Some(BacnetSecure {
            hub,
            failover,
            files: ClientFiles { certificate: certificate?, key: key?, authorities: authorities? },
            hub_named: self.layers.flag("bacnet.sc.hub_named"),
            reconnect_s,
            connect_wait_s: self.layers.whole("bacnet.sc.connect_wait_s")?,
            heartbeat_s: self.layers.whole("bacnet.sc.heartbeat_s")?,
        })
    }

    /// The same of MS/TP.
    fn bacnet_serial(&mut self) -> Option<BacnetSerial> {
        const MAC: &str = "bacnet.mstp.mac";
        const BAUD: &str = "bacnet.mstp.baud";
        let path = self.layers.text("bacnet.mstp.path").filter(|path| !path.is_empty())?;
        let mac: Option<u8> = self.layers.whole(MAC);
        let max_master: u8 = self.layers.whole("bacnet.mstp.max_master")?;
        let baud: u32 = self.layers.whole(BAUD)?;
        let Some(mac) = mac else {
            let help = "the gateway's address on the line, unique there, such as mac = 12";
            self.wrong("missing-key", MAC, "`bacnet.mstp.mac` is needed", help);
            return None;
        };
        if mac > max_master {
            let help = "masters have addresses from 0 to max_master, and nobody polls above it";
            self.wrong("out-of-range", MAC, &format!("{mac} is above max_master, {max_master}"), help);
            return None;
        }
        // Clause 9.2.3
        if ![9600, 19_200, 38_400, 57_600, 76_800, 115_200].contains(&baud) {
            let help = "9600, 19200, 38400, 57600, 76800 or 115200";
            self.wrong("out-of-range", BAUD, &format!("{baud} is no speed of MS/TP"), help);
            return None;
        }
        Some(BacnetSerial {
            path: PathBuf::from(path),
            mac,
            baud,
            max_master,
            max_info_frames: self.layers.whole("bacnet.mstp.max_info_frames")?,
            echo: self.layers.flag("bacnet.mstp.echo"),
        })
    }

    fn doubtful(&mut self, code: &'static str, path: &str, message: &str, help: &str) {
        self.layers.doubtful(code, path, message, help, self.f);
    }
}

/// Whether it is a `wss` URI with a host and no user.
fn is_hub(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("wss://") else { return false };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let bracketed = inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok());
    let octets = host.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._".contains(&octet));
    let path = rest.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._~:/?&=%[]".contains(&octet));
    port && !host.is_empty() && (octets || bracketed) && path
}

/// Whether it can be the address of one device.
const fn single(address: SocketAddrV4) -> bool {
    let ip = address.ip();
    address.port() != 0 && !ip.is_unspecified() && !ip.is_broadcast() && !ip.is_multicast()
}
