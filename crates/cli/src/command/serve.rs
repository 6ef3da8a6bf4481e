//! `oyez serve`: the server, as the configuration says.

use std::path::{Path, PathBuf};

use clap::Args;
use oyez_server::config::Config;

use crate::certificate::Certificate;
use crate::company::Company;
use crate::compose::Node;
use crate::configuration::{self, DEFAULT_FILE};
use crate::failure::Failure;
use crate::keeping::Keeping;
use crate::listener::Listeners;
use crate::{logging, say};

/// Run the server.
///
/// Reads the configuration, listens, and prints one line `Listening on http://ADDRESS` (`https://` with TLS) per listener
/// on stdout when it is ready. SIGTERM and SIGINT end it, as [server.shutdown] says, with 0; one more skips what is left of
/// the notice, one after the notice ends it at once. SIGHUP has it read the configuration again, as `oyez reload` does.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct Options {
    /// The configuration; without it, oyez.toml in this directory
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen here instead of on the file's addresses; may be repeated, port 0 is any free one
    #[arg(short, long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// Speak TLS with this certificate (PEM, the server's first, then its issuers'), not with the file's
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    #[command(flatten)]
    keeping: Keeping,
    #[command(flatten)]
    company: Company,
}

const AFTER: &str = "\
Examples:
  oyez serve --config examples/ticketing/oyez.toml
  oyez serve --config oyez.toml --listen 0.0.0.0:8080 --data-dir /var/lib/oyez
  oyez serve --config oyez.toml --listen 0.0.0.0:8080 --broker redis://127.0.0.1:6379
  oyez serve --config oyez.toml --listen 0.0.0.0:443 --tls-cert fullchain.pem --tls-key privkey.pem

Exit codes: 0 it was asked to end and did; 1 the configuration is wrong or an address cannot be had; 2 the command line \
is wrong. Environment: the variables that the file names, and OYEZ_LOG. A certificate is read again when its files \
change, and on SIGHUP.";

/// Runs until the process is asked to end.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    options.keeping.check()?;
    let file = file(options.config.as_deref())?;
    let config = configuration::load(&file)?;
    let certificate = match (&options.tls_cert, &options.tls_key) {
        (Some(certificate), Some(key)) => Some(Certificate::read(certificate, key)?),
        _ => Certificate::of(&config, &file),
    };
    let scheme = if certificate.is_some() { "https" } else { "http" };
    logging::start("info");
    let elsewhere = !options.listen.is_empty();
    let listeners = Listeners::open(if elsewhere { &options.listen } else { &config.server.listen })?;
    // The file knows only its own addresses; the pages that come from here move with the listener.
    let own: Vec<_> = if elsewhere { listeners.own_origins(scheme).collect() } else { Vec::new() };
    let addresses = listeners.addresses.clone();
    let with_own = move |mut config: Config| {
        config.apps.iter_mut().for_each(|app| app.origins.extend(own.iter().cloned()));
        config
    };
    let config = with_own(config);
    let node = Node::new(config, &options.keeping, Box::new(move || configuration::load(&file).map(&with_own)), None)?;
    let mut node = node.join(&options.company)?;
    if let Some(certificate) = certificate {
        node = node.with_certificate(certificate);
    }
    node.run(listeners.sockets, || {
        for address in &addresses {
            say::line(format_args!("Listening on {scheme}://{address}"));
        }
    })
}

/// The file to read, which must be named or be where it is looked for.
fn file(named: Option<&Path>) -> Result<PathBuf, Failure> {
    match named {
        Some(path) => Ok(path.to_owned()),
        None if Path::new(DEFAULT_FILE).exists() => Ok(DEFAULT_FILE.into()),
        None => Err(Failure::new(format!("there is no {DEFAULT_FILE} here, and --config names no other file")).help(
            "to try Oyez without a file: oyez dev\n    \
             to begin with an example:   oyez serve --config examples/ticketing/oyez.toml\n    \
             to write a file:            oyez config-reference",
        )),
    }
}
