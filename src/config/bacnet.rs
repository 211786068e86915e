//! The BACnet/IP device: its ports, and what it is in its network.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use super::Checker;

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
        let mut ports = ports?.into_iter();
        Some(Bacnet {
            enabled,
            port: ports.next()?,
            more: ports.collect(),
            role: role?,
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

    fn doubtful(&mut self, code: &'static str, path: &str, message: &str, help: &str) {
        self.layers.doubtful(code, path, message, help, self.f);
    }
}

/// Whether it can be the address of one device.
const fn single(address: SocketAddrV4) -> bool {
    let ip = address.ip();
    address.port() != 0 && !ip.is_unspecified() && !ip.is_broadcast() && !ip.is_multicast()
}
