//! `oyez config-reference`: every key of the configuration.

use clap::Args;
use oyez_server::config;

use crate::failure::Failure;
use crate::say;

/// Print every key of the configuration, as Markdown.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  oyez config-reference | less")]
pub(crate) struct Options {}

/// Prints it.
pub(crate) fn run(_: &Options) -> Result<(), Failure> {
    say::text(config::reference());
    Ok(())
}
