//! Whom the commands that are clients take for the server they mean.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::failure::Failure;

/// Whose certificates are believed.
#[derive(Debug, Args)]
pub(crate) struct Trust {
    /// Believe the authorities in this PEM file that https:// or wss:// is the server; a server's certificate that is
    /// signed by itself does, too, if it says CA:FALSE
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// What helps when TLS fails with this error, where anything does: trying again will not.
pub(crate) fn remedy(error: &str) -> Option<&'static str> {
    const REMEDIES: [(&str, &str); 5] = [
        ("not valid for name", "call the server by a name that stands in its certificate"),
        ("certificate expired", "the server needs a new certificate"),
        (
            "CaUsedAsEndEntity",
            "the server shows an authority's certificate: have OpenSSL make one with \
             -addext basicConstraints=critical,CA:FALSE",
        ),
        (
            "invalid peer certificate",
            "name whom to believe: --ca FILE, the PEM file of the authority behind the certificate",
        ),
        // What a server says in HTTP is no record of TLS.
        ("InvalidContentType", "TLS is not spoken there: write http:// or ws://"),
    ];
    REMEDIES.iter().find(|(part, _)| error.contains(part)).map(|(_, help)| *help)
}

impl Trust {
    /// The authorities as PEM, if any are named.
    pub(crate) fn pem(&self) -> Result<Option<Vec<u8>>, Failure> {
        let read = |path: &PathBuf| {
            fs::read(path).map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))
        };
        self.ca.as_ref().map(read).transpose()
    }

    /// How TLS begins with a server that the named authorities vouch for, if any are named.
    pub(crate) fn client(&self) -> Result<Option<Arc<ClientConfig>>, Failure> {
        let (Some(path), Some(pem)) = (&self.ca, self.pem()?) else { return Ok(None) };
        let wrong = |why: &dyn std::fmt::Display| {
            Failure::new(format!("{}: {why}", path.display())).help("a PEM file with certificates is wanted")
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
        }
        if roots.is_empty() {
            return Err(wrong(&"there is no certificate in it"));
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| wrong(&error))?;
        Ok(Some(Arc::new(builder.with_root_certificates(roots).with_no_client_auth())))
    }
}
