//! The server's certificate and key: checked when they are read, and replaced while connections are open.

use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{InconsistentKeys, ServerConfig};

/// What is spoken inside of TLS; there is no HTTP/2 here.
const ALPN: &[u8] = b"http/1.1";

/// Session tickets for a client: it opens one connection at a time.
const TICKETS: usize = 1;

/// A certificate and key that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// There is no certificate in the text.
    #[error("there is no certificate in it")]
    NoCertificate,
    /// A certificate that cannot be read.
    #[error("its certificate cannot be read: {0}")]
    BadCertificate(String),
    /// There is no key in the text.
    #[error("there is no private key in it")]
    NoKey,
    /// A key that is protected by a passphrase.
    #[error("its private key is encrypted")]
    EncryptedKey,
    /// A key that cannot be read or used.
    #[error("its private key cannot be used: {0}")]
    BadKey(String),
    /// The key of another certificate.
    #[error("the private key is not the certificate's")]
    Mismatch,
}

impl TlsError {
    /// Whether it is about the certificate's text; otherwise it is about the key's.
    #[must_use]
    pub fn is_about_certificate(&self) -> bool {
        matches!(self, Self::NoCertificate | Self::BadCertificate(_))
    }

    /// What to do.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::NoCertificate | Self::BadCertificate(_) => {
                "PEM is wanted: the server's -----BEGIN CERTIFICATE-----, then those of its issuers up to the root"
            }
            Self::NoKey | Self::BadKey(_) => "PEM is wanted: -----BEGIN PRIVATE KEY-----, RSA, ECDSA or Ed25519",
            Self::EncryptedKey => "take the passphrase away: openssl pkey -in key.pem -out plain.pem",
            Self::Mismatch => {
                "the first certificate of the file must be the server's own, and the key the one it was requested with"
            }
        }
    }
}

/// A certificate with its key, as all threads use it. Clones share it: replacing it in one replaces it in all.
#[derive(Clone)]
pub struct Tls(Arc<RwLock<Arc<ServerConfig>>>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads a certificate (with its chain) and its private key, both PEM.
    ///
    /// # Errors
    /// What is wrong with either, or that they do not belong together.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(RwLock::new(Arc::new(read(certificate, key)?)))))
    }

    /// Uses another certificate and key for connections that begin from now on; open ones keep theirs.
    ///
    /// # Errors
    /// As [`Tls::from_pem`]; what was in use stays so.
    pub fn replace(&self, certificate: &str, key: &str) -> Result<(), TlsError> {
        *self.0.write() = Arc::new(read(certificate, key)?);
        Ok(())
    }

    /// Uses from now on what `other` uses, as [`Tls::replace`] does.
    pub fn adopt(&self, other: &Self) {
        let config = other.current();
        *self.0.write() = config;
    }

    /// What a new connection begins with.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.read())
    }
}

fn read(certificate: &str, key: &str) -> Result<ServerConfig, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
    let chain = chain.map_err(|error| TlsError::BadCertificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    let private = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| match error {
        pem::Error::NoItemsFound if key.contains("BEGIN ENCRYPTED PRIVATE KEY") => TlsError::EncryptedKey,
        pem::Error::NoItemsFound => TlsError::NoKey,
        other => TlsError::BadKey(other.to_string()),
    })?;
    let wrong = |error: rustls::Error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::Mismatch,
        rustls::Error::InvalidCertificate(error) => TlsError::BadCertificate(error.to_string()),
        other => TlsError::BadKey(other.to_string()),
    };
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(wrong)?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, private).map_err(wrong)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = TICKETS;
    // Tickets instead of a cache: who comes back resumes on any shard, and nothing is kept for who does not.
    config.ticketer = Ticketer::new().map_err(wrong)?;
    Ok(config)
}

#[cfg(test)]
mod tests;
