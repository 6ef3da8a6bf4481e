//! Where a server is.

use std::net::{SocketAddr, ToSocketAddrs as _};

use crate::failure::Failure;

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// Where to connect.
    pub(super) socket: SocketAddr,
    /// What the `Host` header says.
    pub(super) host: String,
}

impl Address {
    /// The server's port.
    pub(crate) fn port(&self) -> u16 {
        self.socket.port()
    }

    /// Takes a URL apart: the server, and path with query.
    pub(crate) fn of(url: &str) -> Result<(Self, String), Failure> {
        let wrong = |why: &str| Failure::new(format!("`{url}`: {why}"));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("no URL").help("write ws://… or http://…"))?;
        if !matches!(scheme, "ws" | "http") {
            let help = "put the load on the server's own port, without TLS: ws://… or http://…";
            return Err(wrong(&format!("`{scheme}://` is not spoken here")).help(help));
        }
        let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|digit| digit.is_ascii_digit()));
        let authority = if has_port { host.to_owned() } else { format!("{host}:80") };
        let mut found = authority.to_socket_addrs().map_err(|error| wrong(&error.to_string()))?;
        let socket = found.next().ok_or_else(|| wrong("the name has no address"))?;
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok((Self { socket, host: host.to_owned() }, format!("{slash}{target}")))
    }
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn urls_are_taken_apart() {
        for (url, socket, host, target) in [
            ("ws://127.0.0.1:3001/ws?a=b", "127.0.0.1:3001", "127.0.0.1:3001", "/ws?a=b"),
            ("http://127.0.0.1", "127.0.0.1:80", "127.0.0.1", "/"),
            ("ws://[::1]:8000?x", "[::1]:8000", "[::1]:8000", "/?x"),
        ] {
            let (address, rest) = Address::of(url).expect("a URL");
            assert_eq!(
                (address.socket.to_string().as_str(), address.host.as_str(), rest.as_str()),
                (socket, host, target)
            );
        }
        for wrong in ["127.0.0.1:3001", "wss://127.0.0.1/", "ws://", "ws://127.0.0.1:99999/"] {
            assert!(Address::of(wrong).is_err(), "{wrong}");
        }
    }
}
