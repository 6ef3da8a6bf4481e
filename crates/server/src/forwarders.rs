//! Forwarders in front of the server: which are believed when they say from where a client comes, and how they say it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use http::HeaderMap;

pub use oyez_protocol::forwarded::Field;

/// Addresses with a common beginning: `10.0.0.0/8`, `2001:db8::/32`, or a single one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// How many bits are common.
    bits: u32,
}

/// What is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// There is no address in it.
    #[error("it is no address and no network")]
    NoAddress,
    /// More bits than an address has, or something else than a number.
    #[error("after the `/` stands the number of common bits: at most {0}")]
    Bits(u32),
    /// The address goes on behind the common bits.
    #[error("{0} goes on behind the {1} common bits")]
    Address(IpAddr, u32),
    /// It is all there is.
    #[error("everybody would be believed")]
    Everybody,
}

impl NetworkError {
    /// What to do.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::NoAddress | Self::Bits(_) => "write \"10.0.0.0/8\", \"fd00::/8\" or a single address".to_owned(),
            Self::Address(address, bits) => {
                let network = Network { address: *address, bits: *bits };
                format!("write \"{}/{bits}\" for all of them, or \"{address}\" for this one", network.first())
            }
            Self::Everybody => "list the forwarders' own addresses, so that clients cannot say who they are".to_owned(),
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| NetworkError::NoAddress)?;
        // What is an IPv4 address is compared as one.
        if address.to_canonical() != address {
            return Err(NetworkError::NoAddress);
        }
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| NetworkError::Bits(most)))?;
        let network = Self { address, bits };
        match bits {
            0 => Err(NetworkError::Everybody),
            _ if bits > most => Err(NetworkError::Bits(most)),
            _ if network.first() != address => Err(NetworkError::Address(address, bits)),
            _ => Ok(network),
        }
    }
}

impl Network {
    /// Whether the address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let other = Self { address, bits: self.bits };
        self.address.is_ipv4() == address.is_ipv4() && other.first() == self.address
    }

    /// The address with nothing behind the common bits.
    fn first(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(address) => {
                let common = u32::MAX.checked_shl(32 - self.bits).unwrap_or(0);
                Ipv4Addr::from_bits(address.to_bits() & common).into()
            }
            IpAddr::V6(address) => {
                let common = u128::MAX.checked_shl(128 - self.bits).unwrap_or(0);
                Ipv6Addr::from_bits(address.to_bits() & common).into()
            }
        }
    }
}

/// Whom the server believes about where a client comes from. By default nobody: a client is where its connection is
/// from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forwarders {
    /// Where they are. What anybody else says of addresses is not looked at.
    pub trusted: Vec<Network>,
    /// The header in which they add whom they forward for. They must do so themselves: where they do not, it is the
    /// client's.
    pub header: Option<Field>,
    /// They begin each connection with a PROXY header; one without it is closed.
    pub proxy_protocol: bool,
}

impl Forwarders {
    /// Whether one of them is there.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// Whether a connection from there has to begin with a PROXY header.
    pub(crate) fn announces(&self, address: IpAddr) -> bool {
        self.proxy_protocol && self.trusts(address.to_canonical())
    }

    /// The other end of a connection, as it is or as it was announced.
    pub(crate) fn remote(&self, address: SocketAddr) -> Remote {
        let ip = address.ip().to_canonical();
        Remote { address: SocketAddr::new(ip, address.port()), forwards: self.header.is_some() && self.trusts(ip) }
    }

    /// Where the client of a request comes from: the nearest one that is not a forwarder.
    pub(crate) fn client(&self, remote: Remote, headers: &HeaderMap) -> IpAddr {
        let nearest = remote.address.ip();
        let Some(field) = self.header.filter(|_| remote.forwards) else { return nearest };
        let lines = headers.get_all(field.name()).iter().rev();
        // Of a line that is no text nobody can be named, as of an entry that is no address.
        let hops = lines.flat_map(|line| field.hops(line.to_str().unwrap_or("?")));
        let mut client = nearest;
        for hop in hops {
            // Whoever this entry is about, the client is behind the last that was named.
            let Some(address) = hop else { break };
            client = address;
            if !self.trusts(address) {
                break;
            }
        }
        client
    }
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Remote {
    /// Its address, or what a PROXY header said.
    pub address: SocketAddr,
    /// What it says of whom it forwards for is believed.
    pub forwards: bool,
}

#[cfg(test)]
mod tests;
