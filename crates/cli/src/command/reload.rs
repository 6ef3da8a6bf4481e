//! `oyez reload`: a running server reads its configuration again.

use clap::Args;
use serde::Deserialize;

use crate::api::Api;
use crate::failure::Failure;
use crate::say;

/// Have a running server read its configuration again.
///
/// Nobody is disconnected. A file with a mistake in it is refused, and the old configuration stays. The key needs the
/// right `reload`, for all apps. On the server's own machine, SIGHUP does the same.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct Options {
    #[command(flatten)]
    api: Api,
}

const AFTER: &str = "\
Examples:
  oyez check oyez.toml && oyez reload
  oyez reload --url https://push.example.com

Exit codes: 0 the new configuration holds, and what of it needs a restart is on stdout; 1 the old one still does, and \
why is on stderr; 2 the command line is wrong.";

/// What the API answers.
#[derive(Debug, Deserialize)]
struct Reloaded {
    restart: Vec<String>,
}

/// Asks, and prints what came of it.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let answer = options.api.post("reload", "/api/v1/reload", Vec::new())?;
    let wrong = |error| Failure::new(format!("the server answered something else: {error}"));
    let Reloaded { restart } = serde_json::from_str(&answer).map_err(wrong)?;
    say::line("The new configuration holds.");
    if !restart.is_empty() {
        say::line(format_args!("A restart is needed for {}.", restart.join(", ")));
    }
    Ok(())
}
