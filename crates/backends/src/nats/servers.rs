//! Where NATS is, who we are there, and whom one believes that it is that.

use std::fmt;
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use reqwest::Url;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use tokio_rustls::TlsConnector;

/// Where it listens, unless the URL says otherwise.
const PORT: u16 = 4222;

/// The servers of one NATS: any of them will do.
#[derive(Clone)]
pub struct Servers {
    pub(super) places: Vec<Place>,
    /// Whose certificates are believed, in PEM; none: whom the system believes.
    ca: Option<String>,
}

/// One server.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
    pub(super) login: Login,
}

/// Who we are, as the server is told.
#[derive(Clone, Default, Serialize)]
pub(super) struct Login {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pass: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_token: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places: Vec<_> = self.places.iter().map(Place::to_string).collect();
        f.write_str(&places.join(", "))
    }
}

impl fmt::Debug for Servers {
    /// Without the credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Servers({self})")
    }
}

impl Servers {
    /// Whether this is the URL of a NATS.
    #[must_use]
    pub fn are_named_by(url: &str) -> bool {
        ["nats://", "tls://"].iter().any(|scheme| url.starts_with(scheme))
    }

    /// The servers of these URLs, with commas between them. What says no user is for the user of the first.
    ///
    /// # Errors
    /// What is wrong with them, without showing the URL.
    pub fn new(urls: &str, ca: Option<&str>) -> Result<Self, String> {
        let mut places: Vec<Place> = Vec::new();
        for url in urls.split(',') {
            let mut place = place(url.trim())?;
            if let Some(first) = places.first() {
                place.tls |= first.tls;
                if place.login.is_nobody() {
                    place.login = first.login.clone();
                }
            }
            places.push(place);
        }
        Ok(Self { places, ca: ca.map(str::to_owned) })
    }

    /// The host and port of the first.
    #[must_use]
    pub fn address(&self) -> Option<(String, u16)> {
        self.places.first().map(|place| (place.host.clone(), place.port))
    }

    /// All of them, beginning with any.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = &Place> {
        let first = rand::random_range(0..self.places.len().max(1));
        self.places.iter().cycle().skip(first).take(self.places.len())
    }

    /// What makes a connection one of TLS.
    pub(super) fn tls(&self) -> Result<TlsConnector, String> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                    let added =
                        certificate.map_err(|error| error.to_string()).map(|certificate| roots.add(certificate));
                    added?.map_err(|error| error.to_string())?;
                }
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()).into())
    }
}

impl Login {
    fn is_nobody(&self) -> bool {
        self.user.is_none() && self.auth_token.is_none()
    }
}

/// One URL; without a scheme it is of the first's.
fn place(url: &str) -> Result<Place, String> {
    let url = if url.contains("://") { url.to_owned() } else { format!("nats://{url}") };
    let url = Url::parse(&url).map_err(|error| error.to_string())?;
    let tls = match url.scheme() {
        "nats" => false,
        "tls" => true,
        scheme => return Err(format!("nats:// or tls:// is wanted, not {scheme}://")),
    };
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or("it names no host")?;
    let text = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let login = match (url.username(), url.password()) {
        ("", _) => Login::default(),
        (token, None) => Login { auth_token: Some(text(token)), ..Login::default() },
        (user, Some(pass)) => Login { user: Some(text(user)), pass: Some(text(pass)), auth_token: None },
    };
    Ok(Place { host: host.trim_matches(['[', ']']).to_owned(), port: url.port().unwrap_or(PORT), tls, login })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(urls: &str, expect: &[(&str, bool, &str)]) {
        let servers = Servers::new(urls, None).expect("servers");
        let login = |login: &Login| serde_json::to_string(login).expect("JSON");
        let found: Vec<_> =
            servers.places.iter().map(|place| (place.to_string(), place.tls, login(&place.login))).collect();
        let expect: Vec<_> =
            expect.iter().map(|(place, tls, login)| ((*place).to_owned(), *tls, (*login).to_owned())).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn urls_are_read() {
        check("nats://localhost", &[("localhost:4222", false, "{}")]);
        check(
            "tls://a%40b:p%2Cq@n1:1,n2",
            &[("n1:1", true, r#"{"user":"a@b","pass":"p,q"}"#), ("n2:4222", true, r#"{"user":"a@b","pass":"p,q"}"#)],
        );
        check(
            "nats://s3cret@[::1]:5, nats://u:p@n2",
            &[("::1:5", false, r#"{"auth_token":"s3cret"}"#), ("n2:4222", false, r#"{"user":"u","pass":"p"}"#)],
        );
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        for wrong in ["redis://u:hidden@host", "nats://u:hidden@", "nats://u:hidden@host:port", "", "nats://a,,b"] {
            let said = Servers::new(wrong, None).expect_err(wrong);
            assert!(!said.contains("hidden"), "{said}");
        }
        let servers = Servers::new("nats://u:hidden@host", None).expect("servers");
        assert_eq!(format!("{servers:?}"), "Servers(host:4222)");
    }
}
