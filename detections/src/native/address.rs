//! IP addresses and networks, as Python's `ipaddress` has them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks that the running interpreter counts as private: the list has changed between versions.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) private: Vec<Network>,
    pub(super) not_private: Vec<Network>,
}

/// A network: its address without host bits, and how many bits it fixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network {
    base: IpAddr,
    bits: u8,
}

impl Network {
    /// Without host bits: with some, Python raises `ValueError`, as it does for what is no network.
    pub(super) fn parse(text: &str) -> Result<Self, Unclear> {
        let network = Self::read(text)?;
        let whole = masked(network.base, network.bits) == network.base;
        whole.then_some(network).ok_or(Unclear)
    }

    /// With `strict=False`: host bits are cut off.
    pub(super) fn parse_loosely(text: &str) -> Result<Self, Unclear> {
        let Self { base, bits } = Self::read(text)?;
        let base = masked(base, bits);
        Ok(Self { base, bits })
    }

    fn read(text: &str) -> Result<Self, Unclear> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let base = parse(address)?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            // Netmasks are left to Python, and errors with them.
            Some(bits) => bits
                .parse::<u8>()
                .ok()
                .filter(|value| *value <= most && bits.bytes().all(|byte| byte.is_ascii_digit()))
                .ok_or(Unclear)?,
        };
        Ok(Self { base, bits })
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.base.is_ipv4() && masked(address, self.bits) == self.base
    }
}

/// What only Python can read, or refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unclear;

pub(super) fn parse(text: &str) -> Result<IpAddr, Unclear> {
    if !text.is_ascii() || text.contains('%') {
        return Err(Unclear);
    }
    text.parse().map_err(|_| Unclear)
}

fn masked(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

impl Tables {
    /// Whether the address is private; `None` where versions differ in more than their lists.
    pub(super) fn is_private(&self, address: IpAddr) -> Option<bool> {
        if let IpAddr::V6(six) = address
            && six.to_ipv4_mapped().is_some()
        {
            return None;
        }
        if self.private.is_empty() {
            return None;
        }
        let within =
            |networks: &[Network]| networks.iter().any(|network| network.contains(address));
        Some(within(&self.private) && !within(&self.not_private))
    }

    pub(super) fn is_global(&self, address: IpAddr) -> Option<bool> {
        let private = self.is_private(address)?;
        // Shared address space is neither.
        let shared = matches!(address, IpAddr::V4(four) if four.octets()[0] == 100 && four.octets()[1] & 0xC0 == 64);
        Some(!private && !shared)
    }
}
