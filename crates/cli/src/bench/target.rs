//! Where a server is.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::failure::Failure;
use crate::trust;

/// A server's address.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    /// Where to connect.
    pub(super) socket: SocketAddr,
    /// What the `Host` header says.
    pub(super) host: String,
    /// How TLS begins, where it is spoken, and with whom.
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Address {
    /// Where it listens.
    pub(crate) fn socket(&self) -> SocketAddr {
        self.socket
    }

    /// The client's side of TLS, where it is spoken.
    pub(super) fn begin_tls(&self) -> Option<Result<ClientConnection, rustls::Error>> {
        self.tls.as_ref().map(|(config, name)| ClientConnection::new(Arc::clone(config), name.clone()))
    }

    /// Takes a URL apart: the server, and path with query. `trust` is how TLS begins.
    pub(crate) fn of(url: &str, trust: Option<&Arc<ClientConfig>>) -> Result<(Self, String), Failure> {
        let wrong = |why: &str| Failure::new(format!("`{url}`: {why}"));
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("no URL").help("write ws://… or http://…"))?;
        let port = match scheme {
            "ws" | "http" => 80,
            "wss" | "https" => 443,
            _ => return Err(wrong(&format!("`{scheme}://` is not spoken here")).help("write ws://… or wss://…")),
        };
        let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|digit| digit.is_ascii_digit()));
        let authority = if has_port { host.to_owned() } else { format!("{host}:{port}") };
        let mut found = authority.to_socket_addrs().map_err(|error| wrong(&error.to_string()))?;
        let socket = found.next().ok_or_else(|| wrong("the name has no address"))?;
        let tls =
            if matches!(scheme, "wss" | "https") { Some((trusted(url, trust)?, name(host, &wrong)?)) } else { None };
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok((Self { socket, host: host.to_owned(), tls }, format!("{slash}{target}")))
    }
}

/// What to look at when a connection failed with this.
pub(super) fn help(error: &io::Error) -> &'static str {
    if let Some(help) = trust::remedy(&error.to_string()) {
        return help;
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => "nobody listens there: does the server run, and is this its port?",
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => CLOSED,
        ErrorKind::InvalidData => "is this its port for TLS, and --ca the authority behind its certificate?",
        ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            "nothing answers there: is the address right, and does a firewall let this through?"
        }
        _ => "is the address right, and may this process open so many files? See `ulimit -n`",
    }
}

/// The same, when the server closed it.
pub(super) const CLOSED: &str = "the server's log may say why; has it a limit of connections, and is the path right?";

/// How TLS begins; whom to believe must have been said.
fn trusted(url: &str, trust: Option<&Arc<ClientConfig>>) -> Result<Arc<ClientConfig>, Failure> {
    let missing = || Failure::new(format!("`{url}`: whose certificates to believe is not said"));
    trust.cloned().ok_or_else(|| missing().help("write --ca FILE, the PEM file of the authority behind the server's"))
}

/// The name that the server's certificate must have.
fn name(host: &str, wrong: &dyn Fn(&str) -> Failure) -> Result<ServerName<'static>, Failure> {
    let end = host.rfind(':').filter(|at| !host[*at..].contains(']')).unwrap_or(host.len());
    let name = host[..end].trim_matches(['[', ']']).to_owned();
    ServerName::try_from(name).map_err(|error| wrong(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::{Address, ErrorKind, help, name};

    #[test]
    fn urls_are_taken_apart() {
        for (url, socket, host, target) in [
            ("ws://127.0.0.1:3001/ws?a=b", "127.0.0.1:3001", "127.0.0.1:3001", "/ws?a=b"),
            ("http://127.0.0.1", "127.0.0.1:80", "127.0.0.1", "/"),
            ("ws://[::1]:8000?x", "[::1]:8000", "[::1]:8000", "/?x"),
        ] {
            let (address, rest) = Address::of(url, None).expect("a URL");
            assert_eq!(
                (address.socket.to_string().as_str(), address.host.as_str(), rest.as_str()),
                (socket, host, target)
            );
        }
        for wrong in ["127.0.0.1:3001", "wss://127.0.0.1/", "ftp://127.0.0.1/", "ws://", "ws://127.0.0.1:99999/"] {
            assert!(Address::of(wrong, None).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_failure_to_connect_has_something_to_look_at() {
        for (kind, expect) in [
            (ErrorKind::ConnectionRefused, "does the server run"),
            (ErrorKind::ConnectionReset, "log"),
            (ErrorKind::InvalidData, "--ca"),
            (ErrorKind::TimedOut, "firewall"),
            (ErrorKind::Other, "ulimit -n"),
        ] {
            assert!(help(&kind.into()).contains(expect), "{kind}");
        }
    }

    #[test]
    fn a_certificate_is_for_the_name_without_its_port() {
        let wrong = |why: &str| crate::failure::Failure::new(why);
        for (host, expect) in [
            ("push.example.com:8443", "push.example.com"),
            ("push.example.com", "push.example.com"),
            ("127.0.0.1:3001", "127.0.0.1"),
            ("[::1]:3001", "::1"),
            ("[::1]", "::1"),
        ] {
            assert_eq!(name(host, &wrong).map(|name| name.to_str().into_owned()), Ok(expect.to_owned()), "{host}");
        }
    }
}
