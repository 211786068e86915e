//! `link = "..."`: how a device is reached.

use super::build::Builder;
use super::faces::LAST_INSTANCE;
use super::written::DeviceWritten;
use crate::plant::{Link, ModbusLine, SerialLine};
use crate::written::{At, Place};

/// UDP port of BACnet/IP (ASHRAE 135, J.1.2): 0xBAC0.
const BACNET_PORT: u16 = 47808;

const MODBUS_HELP: &str = "write it like \"modbus-tcp://10.20.0.31:502\" (or modbus-rtu-tcp, modbus-tls)";
const SERIAL_HELP: &str = "write it like \"modbus-rtu:///dev/ttyS1?baud=9600&parity=even&stop=1\"";
const BACNET_HELP: &str =
    "write it like \"bacnet://device/1201\" (found by Who-Is) or \"bacnet://10.0.0.5:47808/1201\"";

impl Builder {
    /// The link of a device; `None` where it cannot be used.
    pub fn link(&mut self, device: &DeviceWritten) -> Option<Link> {
        let At { value: text, place } = device.link.as_ref()?;
        let (scheme, rest) = text.split_once("://").unwrap_or((text, ""));
        match scheme {
            "modbus-tcp" => {
                let (host, port) = self.host_and_port(text, rest, 502, place)?;
                Some(modbus(device, ModbusLine::Tcp { host, port }))
            }
            "modbus-rtu-tcp" => {
                let (host, port) = self.host_and_port(text, rest, 502, place)?;
                Some(modbus(device, ModbusLine::RtuOverTcp { host, port }))
            }
            "modbus-tls" => {
                let (host, port) = self.host_and_port(text, rest, 802, place)?;
                Some(modbus(device, ModbusLine::Tls { host, port }))
            }
            "modbus-rtu" => self.serial(device, rest, place),
            "bacnet" => {
                self.only_for_modbus(device);
                self.bacnet(text, rest, place)
            }
            "mqtt" => {
                let message = "mqtt:// links are not supported by this version";
                self.f.error("not-supported", place, message, "reach it over modbus-tcp:// or bacnet://");
                None
            }
            _ => {
                self.f.error("bad-link", place, format!("`{text}` is no link"), MODBUS_HELP);
                None
            }
        }
    }

    fn host_and_port(&mut self, text: &str, rest: &str, usual: u16, place: &Place) -> Option<(String, u16)> {
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') => (host, port.parse::<u16>().ok().filter(|port| *port > 0)),
            _ => (rest, Some(usual)),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let odd = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '@' | '#');
        let Some(port) = port.filter(|_| !host.is_empty() && !host.contains(odd)) else {
            self.f.error("bad-link", place, format!("`{text}` has no host and port"), MODBUS_HELP);
            return None;
        };
        Some((host.to_owned(), port))
    }

    /// `/dev/ttyS1?baud=9600&parity=even&stop=1&echo=1`
    fn serial(&mut self, device: &DeviceWritten, rest: &str, place: &Place) -> Option<Link> {
        let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (echo, options): (Vec<&str>, Vec<&str>) = options.split('&').partition(|option| option.starts_with("echo"));
        let echo = match echo.as_slice() {
            [] | ["echo=0"] => Some(false),
            ["echo=1"] => Some(true),
            _ => None,
        };
        let serial = SerialLine::parse(&format!("{path}?{}", options.join("&")));
        match (serial, echo) {
            (Ok(serial), Some(echo)) => {
                self.one_serial_line(&serial, echo, place);
                Some(modbus(device, ModbusLine::Rtu { serial, echo }))
            }
            (serial, _) => {
                let what = serial.err().unwrap_or_else(|| "echo is not 0 or 1".to_owned());
                self.f.error("bad-link", place, what, SERIAL_HELP);
                None
            }
        }
    }

    /// All devices of a serial line are reached with the same settings.
    fn one_serial_line(&mut self, serial: &SerialLine, echo: bool, place: &Place) {
        let differs = self.plant.devices.iter().find(|device| match &device.link {
            Link::Modbus { line: ModbusLine::Rtu { serial: other, echo: other_echo }, .. } => {
                other.path == serial.path && (other != serial || *other_echo != echo)
            }
            _ => false,
        });
        if let Some(device) = differs {
            let message = format!("`{}` is reached over the same line with other settings", device.name);
            self.f.error("bad-link", place, message, "one speed, parity and number of stop bits for a line");
        }
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
        let unit = device.unit_id.as_ref().map(|at| ("unit_id", &at.place));
        for (key, place) in unit.into_iter().chain(device.reads.places()) {
            self.f.error("not-for-this-link", place, format!("a BACnet device has no `{key}`"), "leave it out");
        }
    }
}

/// Without a unit identifier the missing key was reported.
fn modbus(device: &DeviceWritten, line: ModbusLine) -> Link {
    Link::Modbus { line, unit: device.unit_id.as_ref().map_or(0, |at| at.value) }
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
