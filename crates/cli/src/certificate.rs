//! The files of the server's certificate: read at the start, and again when they change or SIGHUP asks for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use oyez_server::config::Config;
use oyez_server::tls::{Tls, TlsError};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info};

use crate::failure::Failure;
use crate::signals::Hangup;

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(10);

/// A certificate in use, and where it came from.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    /// What the server uses.
    pub(crate) tls: Tls,
}

/// By what a file is seen to have changed.
type Stamp = Option<(SystemTime, u64)>;

impl Certificate {
    /// What a configuration that was read from `file` names.
    pub(crate) fn of(config: &Config, file: &Path) -> Option<Self> {
        let tls = config.server.tls.as_ref()?;
        let folder = file.parent().unwrap_or(Path::new(""));
        Some(Self { certificate: folder.join(&tls.certificate), key: folder.join(&tls.key), tls: tls.tls.clone() })
    }

    /// Reads the files.
    pub(crate) fn read(certificate: &Path, key: &Path) -> Result<Self, Failure> {
        let tls = Tls::from_pem(&text(certificate)?, &text(key)?).map_err(|error| wrong(&error, certificate, key))?;
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), tls })
    }

    /// Reads the files again whenever they change or somebody asks, for ever. What is wrong leaves the old ones in use.
    pub(crate) async fn keep_fresh(self) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked = Hangup::new();
        let mut known = self.stamps();
        loop {
            let asked = tokio::select! {
                _ = ticks.tick() => false,
                () = asked.next() => true,
            };
            // Looked at before they are read: what changes meanwhile is seen the next time.
            let stamps = self.stamps();
            if !asked && stamps == known {
                continue;
            }
            known = stamps;
            let certificate = self.certificate.display();
            match self.reload() {
                Ok(()) => info!(event = "certificate_loaded", %certificate),
                Err(error) => error!(event = "certificate_refused", %certificate, %error, "the old one stays in use"),
            }
        }
    }

    /// Reads the files again; what is wrong leaves the old ones in use.
    pub(crate) fn reload(&self) -> Result<(), Failure> {
        let (certificate, key) = (text(&self.certificate)?, text(&self.key)?);
        self.tls.replace(&certificate, &key).map_err(|error| wrong(&error, &self.certificate, &self.key))
    }

    fn stamps(&self) -> [Stamp; 2] {
        [&self.certificate, &self.key].map(|path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }
}

fn text(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        Failure::new(format!("cannot read {}: {error}", path.display()))
            .help("a PEM file is wanted that this user may read")
    })
}

fn wrong(error: &TlsError, certificate: &Path, key: &Path) -> Failure {
    let file = if error.is_about_certificate() { certificate } else { key };
    Failure::new(format!("{}: {error}", file.display())).help(error.help())
}
