//! Where a Redis is, and whom one believes that it is that.

use redis::{Client, ConnectionAddr, TlsCertificates};

/// A Redis that is not connected yet.
#[derive(Debug, Clone)]
pub struct Server(pub(super) Client);

impl Server {
    /// The host and port at which it is reached, if it is by the network.
    #[must_use]
    pub fn address(&self) -> Option<(String, u16)> {
        match self.0.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => Some((host.clone(), *port)),
            _ => None,
        }
    }

    /// The Redis of this URL; with `rediss://`, the authorities in `ca`, in PEM, are believed, or else those of the system.
    ///
    /// # Errors
    /// What is wrong with them, without showing the URL.
    pub fn new(url: &str, ca: Option<&str>) -> Result<Self, String> {
        let client = match ca.filter(|_| url.starts_with("rediss:")) {
            None => Client::open(url),
            Some(pem) => {
                let root_cert = Some(pem.as_bytes().to_vec());
                Client::build_with_tls(url, TlsCertificates { client_tls: None, root_cert })
            }
        };
        client.map(Self).map_err(|error| error.to_string())
    }
}
