//! Logs: structured, on stderr; JSON for machines, lines for a person at a terminal.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

use crate::configuration::set;

/// Starts logging. `OYEZ_LOG`, else `RUST_LOG`, filters as `tracing_subscriber::EnvFilter` has it (`warn`,
/// `oyez_server=debug`); without them, `default`.
pub(crate) fn start(default: &str) {
    let wanted = ["OYEZ_LOG", "RUST_LOG"].into_iter().find_map(set);
    let filter = EnvFilter::builder().parse_lossy(wanted.as_deref().unwrap_or(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // Only a second call in one process could fail, and there is none.
    let _ = if io::stderr().is_terminal() {
        builder.with_target(false).compact().try_init()
    } else {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    };
}
