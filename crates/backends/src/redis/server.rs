//! Where a Redis is, and whom one believes that it is that.

use redis::{Client, ProtocolVersion, TlsCertificates};

/// A Redis that is not connected yet.
#[derive(Debug, Clone)]
pub struct Server(pub(super) Client);

impl Server {
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
        client
            .map(Self)
            .map_err(|error| format!("{error}; write redis://USER:PASSWORD@HOST:6379/DATABASE, or rediss://"))
    }
}

/// Speaks the newer protocol, in which one connection hears and asks.
pub(super) fn resp3(client: Client) -> Client {
    let info = client.get_connection_info().clone();
    let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    Client::open(info.set_redis_settings(redis)).unwrap_or(client)
}
