//! The part of an IP address by which clients are distinguished.

use std::fmt;
use std::net::{AddrParseError, IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The length of an IPv6 network prefix in bits. A client usually has a whole /64 and can use all addresses in it.
const IPV6_NETWORK_BITS: u32 = 64;

/// The key for limits by address: an IPv4 address, or an IPv6 /64 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Network(u128);

impl Network {
    /// The network of mail whose sender's address is not known, because an older version stored it.
    pub const UNKNOWN: Self = Self(0);

    /// The network of an address. An IPv4 address that is mapped into IPv6 counts as the IPv4 address.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.to_ipv6_mapped().to_bits()),
            IpAddr::V6(address) => Self(address.to_bits() >> IPV6_NETWORK_BITS << IPV6_NETWORK_BITS),
        }
    }

    /// The number that is stored on disk.
    pub(crate) fn to_bits(self) -> u128 {
        self.0
    }

    /// From the number that is stored on disk.
    pub(crate) fn from_bits(bits: u128) -> Self {
        Self(bits)
    }
}

impl FromStr for Network {
    type Err = AddrParseError;

    /// Reads what `Display` writes, or an address of the network.
    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        let address = text.split_once('/').map_or(text, |(address, _)| address);
        address.parse().map(Self::of)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match IpAddr::V6(Ipv6Addr::from_bits(self.0)).to_canonical() {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(address) => write!(f, "{address}/{IPV6_NETWORK_BITS}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> String {
        Network::of(text.parse().expect("it is an address")).to_string()
    }

    #[test]
    fn an_ipv4_address_and_an_ipv6_network_count_once() {
        assert_eq!(network("10.0.0.1"), "10.0.0.1");
        assert_eq!(network("::ffff:10.0.0.1"), "10.0.0.1");
        assert_eq!(network("2001:db8:0:7::2:3"), "2001:db8:0:7::/64");
        assert_eq!(network("::1"), network("::2"), "one network");
        let network_itself: Network = "2001:db8:0:7::/64".parse().expect("it is a network");
        assert_eq!(network_itself.to_string(), "2001:db8:0:7::/64");
        assert_ne!(network("2001:db8:0:7::1"), network("2001:db8:0:8::1"));
    }
}
