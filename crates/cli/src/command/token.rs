//! `oyez token`: a token for trying things out.

use clap::Args;

use crate::failure::Failure;
use crate::say;
use crate::who::{Which, Who};

/// Make a token for a user, signed with the app's secret (HS256).
///
/// The claims are those from which the app's `[identity]` reads the user and the roles; `iss` and `aud` are what the app
/// asks for.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct Options {
    #[command(flatten)]
    which: Which,
    /// The user id
    #[arg(short, long, value_name = "ID")]
    user: String,
    #[command(flatten)]
    who: Who,
}

const AFTER: &str = "\
Examples:
  oyez token --user 7 --role support
  oyez token --config examples/concrete-plant/oyez.toml --user 7 --role operator \\
      --claim siteId=3 --expires 8h

The secret is read as `oyez serve` reads it, from the environment or a file; where `oyez dev` ran, its secret stands in \
for variables that are not set. Tokens of Auth.js and of other services cannot be made here.
Exit codes: 0 the token is on stdout; 1 none can be made, and why is on stderr; 2 the command line is wrong.";

/// Prints the token.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let config = options.which.load()?;
    say::line(options.who.token(options.which.app(&config)?, &options.user)?);
    Ok(())
}
