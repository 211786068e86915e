//! `link = "..."`: how a device is reached.

use super::build::Builder;
use super::faces::LAST_INSTANCE;
use super::written::DeviceWritten;
use crate::plant::Link;
use crate::written::{At, Place};

/// UDP port of BACnet/IP (ASHRAE 135, J.1.2): 0xBAC0.
const BACNET_PORT: u16 = 47808;

const MODBUS_HELP: &str = "write it like \"modbus-tcp://10.20.0.31:502\"";
const BACNET_HELP: &str =
    "write it like \"bacnet://device/1201\" (found by Who-Is) or \"bacnet://10.0.0.5:47808/1201\"";

impl Builder {
    /// The link of a device; `None` where it cannot be used.
    pub fn link(&mut self, device: &DeviceWritten) -> Option<Link> {
        let At { value: text, place } = device.link.as_ref()?;
        let (scheme, rest) = text.split_once("://").unwrap_or((text, ""));
        match scheme {
            "modbus-tcp" => self.modbus_tcp(device, text, rest, place),
            "bacnet" => {
                self.only_for_modbus(device);
                self.bacnet(text, rest, place)
            }
            "modbus-rtu" | "mqtt" => {
                let message = format!("{scheme}:// links are not supported by this version");
                self.f.error("not-supported", place, message, "reach it over modbus-tcp:// or bacnet://");
                None
            }
            _ => {
                self.f.error("bad-link", place, format!("`{text}` is no link"), MODBUS_HELP);
                None
            }
        }
    }

    fn modbus_tcp(&mut self, device: &DeviceWritten, text: &str, rest: &str, place: &Place) -> Option<Link> {
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') => (host, port.parse::<u16>().ok().filter(|port| *port > 0)),
            _ => (rest, Some(502)),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let odd = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '@' | '#');
        let Some(port) = port.filter(|_| !host.is_empty() && !host.contains(odd)) else {
            self.f.error("bad-link", place, format!("`{text}` has no host and port"), MODBUS_HELP);
            return None;
        };
        // Without a unit identifier the missing key was reported.
        Some(Link::ModbusTcp { host: host.to_owned(), port, unit: device.unit_id.as_ref().map_or(0, |at| at.value) })
    }

    fn bacnet(&mut self, text: &str, rest: &str, place: &Place) -> Option<Link> {
        let (host, number) = rest.split_once('/').unwrap_or((rest, ""));
        let instance = number.parse::<u32>().ok().filter(|number| *number <= LAST_INSTANCE);
        let Some(instance) = instance else {
            let message = format!("`{text}` has no device instance of 0 to 4194302");
            self.f.error("bad-link", place, message, BACNET_HELP);
            return None;
        };
        if host == "device" {
            return Some(Link::Bacnet { instance, address: None });
        }
        let Some(address) = ipv4(host) else {
            let message = format!("`{host}` is neither `device` nor an IPv4 address");
            self.f.error("bad-link", place, message, BACNET_HELP);
            return None;
        };
        Some(Link::Bacnet { instance, address: Some(address) })
    }

    fn only_for_modbus(&mut self, device: &DeviceWritten) {
        let places = [
            device.unit_id.as_ref().map(|at| ("unit_id", &at.place)),
            device.max_registers.as_ref().map(|at| ("max_registers", &at.place)),
            device.max_gap.as_ref().map(|at| ("max_gap", &at.place)),
        ];
        for (key, place) in places.into_iter().flatten() {
            self.f.error("not-for-this-link", place, format!("a BACnet device has no `{key}`"), "leave it out");
        }
    }
}

/// Address and port; the port may be left out.
fn ipv4(text: &str) -> Option<([u8; 4], u16)> {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, port.parse::<u16>().ok().filter(|port| *port > 0)?),
        None => (text, BACNET_PORT),
    };
    let mut octets = host.split('.').map(|octet| octet.parse::<u8>().ok());
    let ip = [octets.next()??, octets.next()??, octets.next()??, octets.next()??];
    octets.next().is_none().then_some((ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_whole_or_nothing() {
        assert_eq!(ipv4("10.0.0.5"), Some(([10, 0, 0, 5], 47808)));
        assert_eq!(ipv4("10.0.0.5:50000"), Some(([10, 0, 0, 5], 50000)));
        for bad in ["", "10.0.0", "10.0.0.5.1", "10.0.0.256", "10.0.0.5:", "10.0.0.5:0", "10.0.0.5:70000", "ahu:1"] {
            assert_eq!(ipv4(bad), None, "{bad}");
        }
    }
}
