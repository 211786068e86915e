//! Who may connect, and what they may do. Pure.

use std::net::{IpAddr, Ipv4Addr};

use crate::modbus::pdu::Exception;

/// What a master may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// Functions that only read.
    pub read: bool,
    /// Functions that write.
    pub write: bool,
}

impl Rights {
    /// Everything.
    pub const ALL: Self = Self { read: true, write: true };
    /// Only reading.
    pub const READ: Self = Self { read: true, write: false };
    /// Nothing.
    pub const NONE: Self = Self { read: false, write: false };

    /// What both allow.
    pub const fn and(self, other: Self) -> Self {
        Self { read: self.read && other.read, write: self.write && other.write }
    }

    /// Exception 01 for a function that they do not allow, as "MODBUS/TCP Security" says for roles.
    pub(super) const fn check(self, function: u8) -> Result<(), Exception> {
        let allowed = match function {
            5 | 6 | 15 | 16 | 22 => self.write,
            23 => self.write && self.read,
            _ => self.read,
        };
        if allowed { Ok(()) } else { Err(Exception::Function) }
    }
}

/// An address with how many of its leading bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The address.
    pub address: IpAddr,
    /// Leading bits, 0 to 32 or 128.
    pub prefix: u8,
}

impl Network {
    /// Whether it has this address. An IPv4 address that comes over an IPv6 socket is an IPv4 address.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let bits = |address: Ipv4Addr| u128::from(address.to_bits()) << 96;
                same(bits(network), bits(address), self.prefix)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => same(network.to_bits(), address.to_bits(), self.prefix),
            _ => false,
        }
    }
}

fn same(a: u128, b: u128, prefix: u8) -> bool {
    // A shift by all 128 bits is none: no bit counts.
    let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
    (a ^ b) & mask == 0
}

/// Who may connect, and who may write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clients {
    /// Who may connect; `None`: anybody.
    pub allowed: Option<Vec<Network>>,
    /// Who of them may write; `None`: everybody.
    pub writers: Option<Vec<Network>>,
}

impl Clients {
    /// What somebody at this address may do; `None` when they may not even connect.
    pub fn rights(&self, address: IpAddr) -> Option<Rights> {
        let within = |list: &Option<Vec<Network>>| {
            list.as_ref().is_none_or(|list| list.iter().any(|network| network.contains(address)))
        };
        within(&self.allowed).then(|| Rights { read: true, write: within(&self.writers) })
    }

    /// What a master without an address, on a serial line, may do: an empty list of writers makes it read-only.
    pub fn serial(&self) -> Rights {
        Rights { read: true, write: self.writers.as_ref().is_none_or(|list| !list.is_empty()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str, prefix: u8) -> Network {
        Network { address: address.parse().unwrap(), prefix }
    }

    #[test]
    fn leading_bits_count() {
        let inside = |network: Network, address: &str| network.contains(address.parse().unwrap());
        assert!(inside(network("10.20.0.0", 24), "10.20.0.255"));
        assert!(!inside(network("10.20.0.0", 24), "10.20.1.0"));
        assert!(inside(network("10.20.0.7", 32), "10.20.0.7"));
        assert!(!inside(network("10.20.0.7", 32), "10.20.0.6"));
        assert!(inside(network("0.0.0.0", 0), "203.0.113.9"));
        assert!(inside(network("10.20.0.0", 24), "::ffff:10.20.0.9"));
        assert!(inside(network("fd00::", 8), "fd12::1"));
        assert!(!inside(network("fd00::", 8), "fe80::1"));
        assert!(!inside(network("0.0.0.0", 0), "fd12::1"));
        assert!(inside(network("::", 0), "fd12::1"));
    }

    #[test]
    fn lists_allow_and_an_empty_one_allows_nobody() {
        let at = |last: u8| IpAddr::from([10, 20, 0, last]);
        let anybody = Clients::default();
        assert_eq!(anybody.rights(at(1)), Some(Rights::ALL));
        let some =
            Clients { allowed: Some(vec![network("10.20.0.0", 28)]), writers: Some(vec![network("10.20.0.5", 32)]) };
        assert_eq!(some.rights(at(5)), Some(Rights::ALL));
        assert_eq!(some.rights(at(6)), Some(Rights::READ));
        assert_eq!(some.rights(at(16)), None);
        let nobody = Clients { writers: Some(Vec::new()), ..anybody.clone() };
        assert_eq!((nobody.rights(at(1)), nobody.serial()), (Some(Rights::READ), Rights::READ));
        assert_eq!(anybody.serial(), Rights::ALL);
    }

    #[test]
    fn what_is_not_allowed_is_exception_01() {
        for function in [5, 6, 15, 16, 22, 23] {
            assert_eq!(Rights::READ.check(function), Err(Exception::Function), "{function}");
            assert_eq!(Rights::ALL.check(function), Ok(()));
        }
        for function in [1, 2, 3, 4, 43, 99] {
            assert_eq!(Rights::READ.check(function), Ok(()), "{function}");
            assert_eq!(Rights::NONE.check(function), Err(Exception::Function));
        }
    }
}
