//! What the device says of itself, and the constants of its protocol side.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

pub use super::manage::Password;
pub use super::sc::{Hub, Tls};

/// Largest APDU we take and send, octets (Annex J.1.1: what one B/IP frame holds).
pub(super) const MAX_APDU: u16 = 1476;
/// Most segments of one request that we take.
pub(super) const MAX_SEGMENTS: u8 = 32;
/// How long we wait for the answer to a request of ours.
pub(super) const APDU_TIMEOUT: Duration = Duration::from_millis(3000);
/// How long we wait for a SegmentACK or the next segment.
pub(super) const SEGMENT_TIMEOUT: Duration = Duration::from_millis(2000);
/// How often we send again.
pub(super) const RETRIES: u8 = 3;
/// Segments that we propose to send, or take, per acknowledgement.
pub(super) const WINDOW: u8 = 16;
/// ANSI/ASHRAE 135-2016. Its demands on a server are met: Property_List (revision 14), Network Port (17),
/// Current_Command_Priority of what is commandable, Event_Detection_Enable of what reports events (13).
pub(super) const PROTOCOL_REVISION: u32 = 19;

/// One B/IP port: an address of ours and the subnet that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface {
    /// Address and UDP port; `0.0.0.0` is every interface.
    pub listen: SocketAddrV4,
    /// Where broadcasts go, at the port of `listen`.
    pub broadcast: Ipv4Addr,
    /// The subnet's mask; 255.255.255.255 where it is not known.
    pub mask: Ipv4Addr,
}

impl Interface {
    /// Whether an address is in this subnet, as far as that is known.
    pub(super) const fn has(&self, ip: Ipv4Addr) -> bool {
        !self.mask.is_broadcast() && (ip.to_bits() ^ self.listen.ip().to_bits()) & self.mask.to_bits() == 0
    }
}

/// What a B/IP port is in its network (Annex J.4, J.5).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Role {
    /// A device in its subnet.
    #[default]
    Device,
    /// A foreign device: it registers with a broadcast manager elsewhere.
    Foreign {
        /// The manager.
        bbmd: SocketAddrV4,
        /// Time-to-live of a registration, s, 2 to 65535; it is renewed at half of it.
        ttl_s: u16,
    },
    /// The broadcast manager (BBMD) of its subnet.
    Manager {
        /// The other managers, with their broadcast distribution masks: 255.255.255.255 sends to the manager itself
        /// (two hops), a subnet mask to its subnet's broadcast address (one hop).
        peers: Vec<(SocketAddrV4, Ipv4Addr)>,
        /// Foreign devices may register.
        accept_foreign: bool,
        /// Write-Broadcast-Distribution-Table is obeyed.
        writable: bool,
    },
}

/// A BACnet/SC port: a node of a hub (Annex AB).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secure {
    /// The hub.
    pub primary: Hub,
    /// The one that is taken while there is no connection to the first.
    pub failover: Option<Hub>,
    /// Our certificate and whose we trust; `None`: not read, and the port cannot run.
    pub tls: Option<Tls>,
    /// How long after a connection was lost the hub is tried again: at first, and at most; it doubles. 1 ms to a day.
    pub reconnect: (Duration, Duration),
    /// How long to wait for an answer to a Connect-Request, and for each step before it.
    pub connect_wait: Duration,
    /// After how long a silence of the hub it is asked whether it is there, 3 s to 300 s.
    pub heartbeat: Duration,
}

/// An MS/TP port: a master node on a serial line (clause 9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serial {
    /// Device file.
    pub path: PathBuf,
    /// Our address, 0 to `max_master`.
    pub mac: u8,
    /// Bits per second.
    pub baud: u32,
    /// Highest address of a master on the line, 1 to 127.
    pub max_master: u8,
    /// Frames that we may send with the token, 1 to 255.
    pub max_info_frames: u8,
    /// We hear what we send ourselves.
    pub echo: bool,
}

/// The BACnet device that the gateway is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Address and UDP port; IPv4 only. `0.0.0.0` listens on every interface, port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where broadcasts go, at the port of `listen`; IPv4 only. `None`: 127.255.255.255 on loopback, else 255.255.255.255.
    /// Where `listen` names one address this must be its subnet's broadcast address, or what is sent there is not heard.
    pub broadcast: Option<IpAddr>,
    /// IP_Subnet_Mask of the Network Port object. `None`: guessed from the octets of `broadcast` that are 255.
    pub subnet_mask: Option<Ipv4Addr>,
    /// More B/IP ports of the same network.
    pub more: Vec<Interface>,
    /// What the first port is.
    pub role: Role,
    /// A BACnet/SC port beside them.
    pub secure: Option<Secure>,
    /// An MS/TP port beside them.
    pub serial: Option<Serial>,
    /// The number of the network, 1 to 65534, where it is known.
    pub network: Option<u16>,
    /// Instance of the Device object, 0 to 4194302.
    pub instance: u32,
    /// Vendor_Identifier, assigned by ASHRAE.
    pub vendor_id: u16,
    /// Vendor_Name.
    pub vendor_name: String,
    /// Model_Name.
    pub model: String,
    /// Object_Name of the Device object, unique in the whole BACnet network.
    pub name: String,
    /// Location.
    pub location: String,
    /// Description.
    pub description: String,
    /// Firmware_Revision and Application_Software_Version.
    pub version: String,
    /// What DeviceCommunicationControl and ReinitializeDevice must bring; `None`: both are refused.
    pub password: Option<Password>,
    /// Nothing is written to other devices.
    pub observe: bool,
    /// It does not say that it is there: a tool, not a device.
    pub quiet: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 47808)),
            broadcast: None,
            subnet_mask: None,
            more: Vec::new(),
            role: Role::Device,
            secure: None,
            serial: None,
            network: None,
            instance: 47001,
            // 0 is ASHRAE's own; whoever sells the gateway configures the one assigned to them.
            vendor_id: 0,
            vendor_name: "heatgate".to_owned(),
            model: "heatgate".to_owned(),
            name: "heatgate".to_owned(),
            location: String::new(),
            description: "Gateway between heating computers and the building".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            password: None,
            observe: false,
            quiet: false,
        }
    }
}

impl Settings {
    /// Where broadcasts go; `None` when it is not IPv4.
    pub(super) fn broadcast_ip(&self) -> Option<Ipv4Addr> {
        match (self.broadcast, self.listen.ip()) {
            (Some(IpAddr::V4(ip)), _) => Some(ip),
            (None, IpAddr::V4(ip)) if ip.is_loopback() => Some(Ipv4Addr::new(127, 255, 255, 255)),
            (None, IpAddr::V4(_)) => Some(Ipv4Addr::BROADCAST),
            (Some(IpAddr::V6(_)), _) | (None, IpAddr::V6(_)) => None,
        }
    }

    /// Every B/IP port, the first one first; `None` when that one is not IPv4.
    pub(super) fn interfaces(&self) -> Option<Vec<Interface>> {
        let SocketAddr::V4(listen) = self.listen else { return None };
        let first = Interface { listen, broadcast: self.broadcast_ip()?, mask: self.mask() };
        Some([first].into_iter().chain(self.more.iter().copied()).collect())
    }

    /// IP_Subnet_Mask.
    pub(super) fn mask(&self) -> Ipv4Addr {
        self.subnet_mask.unwrap_or_else(|| {
            let broadcast = self.broadcast_ip().unwrap_or(Ipv4Addr::BROADCAST);
            let host = broadcast.octets().iter().rev().take_while(|octet| **octet == 255).count();
            match host {
                1 => Ipv4Addr::new(255, 255, 255, 0),
                2 => Ipv4Addr::new(255, 255, 0, 0),
                3 => Ipv4Addr::new(255, 0, 0, 0),
                _ => Ipv4Addr::BROADCAST,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_its_own_broadcast_and_the_mask_is_guessed() {
        let mut settings = Settings::default();
        assert_eq!(settings.broadcast_ip(), Some(Ipv4Addr::new(127, 255, 255, 255)));
        assert_eq!(settings.mask(), Ipv4Addr::new(255, 0, 0, 0));
        settings.broadcast = Some(IpAddr::V4(Ipv4Addr::new(192, 168, 1, 255)));
        assert_eq!(settings.mask(), Ipv4Addr::new(255, 255, 255, 0));
        settings.subnet_mask = Some(Ipv4Addr::new(255, 255, 255, 128));
        assert_eq!(settings.mask(), Ipv4Addr::new(255, 255, 255, 128));
    }
}
