//! Logs: structured, on stderr; JSON for machines, lines for a person at a terminal. However often something happens,
//! its lines are few.

mod throttle;

use std::io::{self, IsTerminal as _};
use std::thread;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

use crate::configuration::set;
use throttle::Throttle;

/// Starts logging. `OYEZ_LOG`, else `RUST_LOG`, filters as `tracing_subscriber::EnvFilter` has it (`warn`,
/// `oyez_server=debug`); without them, `default`.
pub(crate) fn start(default: &str) {
    let wanted = ["OYEZ_LOG", "RUST_LOG"].into_iter().find_map(set);
    let filter = EnvFilter::builder().parse_lossy(wanted.as_deref().unwrap_or(default));
    let throttle = Throttle::default();
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = if io::stderr().is_terminal() {
        lines.with_target(false).compact().boxed()
    } else {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    };
    let telling = throttle.clone();
    // Without the thread, nobody hears how many lines were left out; the others are still there.
    let teller = thread::Builder::new().name("log".to_owned()).spawn(move || telling.tell());
    throttle.wakes(teller.ok().map(|teller| teller.thread().clone()));
    // Only a second call in one process could fail, and there is none.
    let _ = tracing_subscriber::registry().with(filter).with(throttle).with(lines).try_init();
}
