//! `oyez explain`: which rule allows or denies something, and why.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use oyez_hub::policy::grants::Action;
use oyez_server::config;
use serde_json::{Map, Value};

use crate::failure::Failure;
use crate::{configuration, say};

/// Say which rule allows or denies something, and why.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct Options {
    /// The configuration
    #[arg(short, long, value_name = "FILE", default_value = configuration::DEFAULT_FILE)]
    config: PathBuf,
    /// The app; needed where the file has several
    #[arg(short, long, value_name = "NAME")]
    app: Option<String>,
    /// What a verified token of the user says, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = claims)]
    claims: Map<String, Value>,
    /// For `publish`: the event that is said
    #[arg(long, value_name = "NAME", default_value = "message")]
    event: String,
    /// For `publish`: the session that says it is in the channel
    #[arg(long)]
    member: bool,
    /// What is to be done
    action: Asked,
    /// Where
    channel: String,
}

const AFTER: &str = "\
Example:
  oyez explain --config examples/ticketing/oyez.toml \\
      --claims '{\"userId\": 7, \"roles\": [\"support\"]}' subscribe role:admin

The variables and files with secrets need not be there.
Exit codes: 0 there is an answer, whatever it is; 1 the configuration is wrong, or the claims name no user; 2 the \
command line is wrong.";

/// What may be asked.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Asked {
    /// Hear what is said in a channel
    Subscribe,
    /// Say something in it, through one of the app's events
    Publish,
}

fn claims(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))
}

/// Prints the answer.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let file = options.config.display().to_string();
    let config = configuration::rules(&options.config)?;
    let app = configuration::app(&config, options.app.as_deref())?;
    let action = match options.action {
        Asked::Subscribe => Action::Subscribe,
        Asked::Publish => Action::Publish { event: &options.event, member: options.member },
    };
    let answer = config::explain(&file, app, &options.claims, action, &options.channel);
    say::text(answer.map_err(|error| Failure::new(error.to_string()))?);
    Ok(())
}
