//! `oyez dev`: a server to try things with, on this machine only, with everything made up that a first try needs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use oyez_server::api::Demo;
use oyez_server::config::{AppConfig, Config, DEV};

use crate::banner::Banner;
use crate::certificate::Certificate;
use crate::compose::Node;
use crate::failure::Failure;
use crate::keeping::Keeping;
use crate::listener::{self, Listeners};
use crate::mint::{Subject, mint};
use crate::say::{self, Language};
use crate::secrets::{self, Secrets};
use crate::{configuration, logging};

/// The user of the banner's tokens.
const USER: &str = "demo";
/// The administrator.
const ADMIN: &str = "admin";
/// The role that the built-in configuration and the examples take for an administrator's.
const ADMIN_ROLE: &str = "admin";
/// How long the banner's tokens are good.
const LIFETIME: Duration = Duration::from_secs(30 * 86_400);

/// Run a server to try things with: a demo page, tokens and a key, no file needed.
///
/// It listens on this machine only. The secret behind its tokens and the key are made up on the first start and kept in
/// .oyez/dev.json in this directory, so tokens survive a restart.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct Options {
    /// Serve this configuration instead of the built-in one
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen here, on a loopback address [default: 127.0.0.1:3001, or what the file says]
    #[arg(short, long, value_name = "ADDRESS")]
    listen: Option<String>,
    #[command(flatten)]
    keeping: Keeping,
}

const AFTER: &str = "\
Examples:
  oyez dev
  oyez dev --listen 127.0.0.1:4000
  oyez dev --config examples/ticketing/oyez.toml

JWT_SECRET, AUTH_SECRET and OYEZ_API_KEY need not be set for a file that names them.
The banner is Chinese where LC_ALL, LC_MESSAGES or LANG is; warnings are logged to stderr, OYEZ_LOG=info shows more.
Exit codes: 0 it was asked to end (Ctrl-C) and did; 1 it cannot run, and why is on stderr; 2 the command line is wrong.";

/// Runs until the process is asked to end.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let file = Path::new(secrets::FILE);
    options.keeping.check()?;
    let secrets = Secrets::keep(file)?;
    let named = options.config.clone();
    let reading = move || load(named.as_deref(), &secrets);
    let config = reading()?;
    logging::start("warn");
    let wanted = options.listen.as_ref().map_or_else(|| config.server.listen.clone(), |listen| vec![listen.clone()]);
    for address in &wanted {
        check_local(address)?;
    }
    let listeners = Listeners::open(&wanted)?;
    let certificate = options.config.as_deref().and_then(|file| Certificate::of(&config, file));
    let scheme = if certificate.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}", listeners.addresses[0]);
    let token = |id: &str, roles: &[String]| first_token(&config, id, roles);
    let user = token(USER, &[]);
    let admin = token(ADMIN, &[ADMIN_ROLE.to_owned()]);
    let key = config.keys.first().and_then(|key| key.secrets.first());
    let banner = Banner {
        url: &url,
        demo: options.config.is_none(),
        user: user.as_deref().map(|token| (USER, token)),
        admin: admin.as_deref().map(|token| (ADMIN, token)),
        key: key.map(String::as_str),
        file: secrets::FILE,
    };
    let text = banner.text(Language::of(configuration::env));
    // The page knows the channels of the built-in configuration only.
    let demo = match (&options.config, user, admin, key) {
        (None, Some(user), Some(admin), Some(key)) => Some(Demo { tokens: [user, admin], api_key: key.clone() }),
        _ => None,
    };
    let mut node = Node::new(config, &options.keeping.or_memory(), Box::new(reading), demo)?;
    if let Some(certificate) = certificate {
        node = node.with_certificate(certificate);
    }
    node.run(listeners.sockets, || {
        for address in &listeners.addresses {
            say::line(format_args!("Listening on {scheme}://{address}"));
        }
        say::text(text);
    })
}

/// The built-in configuration, whose secrets are always the kept ones; or a file, with the kept ones for what the
/// environment lacks. The pages under development come from ports of their own tools.
fn load(file: Option<&Path>, secrets: &Secrets) -> Result<Config, Failure> {
    let checked = match file {
        None => configuration::check_for_dev(Path::new("dev.toml"), DEV, &|name| secrets.env(name)),
        Some(file) => {
            let env = |name: &str| configuration::set(name).or_else(|| secrets.env(name));
            configuration::check_for_dev(file, &configuration::read(file)?, &env)
        }
    };
    let mut config = checked.map_err(|problems| Failure::new(problems.to_string()))?;
    let local =
        ["http://localhost:*", "http://127.0.0.1:*", "https://localhost:*", "https://127.0.0.1:*"].map(str::to_owned);
    config.apps.iter_mut().for_each(|app| app.origins.extend(local.iter().cloned()));
    Ok(config)
}

/// Development secrets are shown to whoever asks, so nobody but this machine may ask.
fn check_local(address: &str) -> Result<(), Failure> {
    if listener::resolve(address)?.ip().is_loopback() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "`oyez dev` does not listen on {address}: others could reach it, and it shows its tokens"
    ))
    .help("use 127.0.0.1, or `oyez serve` with a secret of your own"))
}

/// A token of the first app that one can be made for.
fn first_token(config: &Config, user: &str, roles: &[String]) -> Option<String> {
    let token = |app: &AppConfig| mint(app, &Subject { user, roles, claims: &[] }, LIFETIME).ok();
    config.apps.iter().find_map(token)
}
