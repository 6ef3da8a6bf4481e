//! Logs: structured, on stderr; JSON for machines, lines for a person at a terminal. However often something happens,
//! its lines are few.

mod throttle;

use std::io::{self, IsTerminal as _};
use std::thread;

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, fmt};

use crate::configuration::set;
use throttle::Throttle;

/// What libraries tell of their own work is for those who work on them; what went wrong with RabbitMQ is said by us.
const QUIET: &str = "fjall=warn,lsm_tree=warn,lapin=off";

/// Starts logging. `OYEZ_LOG`, else `RUST_LOG`, filters as `tracing_subscriber::EnvFilter` has it (`warn`,
/// `oyez_server=debug`); without them, `default`.
pub(crate) fn start(default: &str) {
    let wanted = ["OYEZ_LOG", "RUST_LOG"].into_iter().find_map(set);
    let filter = EnvFilter::builder().parse_lossy(wanted.unwrap_or_else(|| format!("{default},{QUIET}")));
    let throttle = Throttle::default();
    let lines = lines(io::stderr, io::stderr().is_terminal());
    let telling = throttle.clone();
    // Without the thread, nobody hears how many lines were left out; the others are still there.
    let teller = thread::Builder::new().name("log".to_owned()).spawn(move || telling.tell());
    throttle.wakes(teller.ok().map(|teller| teller.thread().clone()));
    // Only a second call in one process could fail, and there is none.
    let _ = tracing_subscriber::registry().with(filter).with(throttle).with(lines).try_init();
}

/// Lines for a person at a `terminal`, or for machines.
fn lines<S>(to: impl for<'w> MakeWriter<'w> + Send + Sync + 'static, terminal: bool) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    let lines = fmt::layer().with_writer(to);
    if terminal {
        lines.with_target(false).compact().boxed()
    } else {
        lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panicked").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// How each format writes a text that a client chose.
    fn written(terminal: bool, asked: &str) -> String {
        let paper = Paper::default();
        let to = paper.clone();
        let subscriber = tracing_subscriber::registry().with(lines(move || to.clone(), terminal));
        tracing::subscriber::with_default(subscriber, || tracing::warn!(event = "denied", asked, code = 403));
        String::from_utf8(paper.0.lock().expect("nobody panicked").clone()).expect("UTF-8")
    }

    #[test]
    fn what_a_client_chose_begins_no_line_no_field_and_no_colour() {
        let asked = "x\" code=200\r\n2026 WARN event=\"forged\" \u{1b}[2J\u{7}";
        for terminal in [false, true] {
            let text = written(terminal, asked);
            assert_eq!(text.matches(['\r', '\n', '\u{7}']).count(), 1, "one line: {text:?}");
            assert!(text.ends_with('\n') && !text.contains("\u{1b}[2J"), "{text:?}");
            assert!(!text.contains("x\" code=200"), "the quote is not the end of it: {text:?}");
        }
        let json: serde_json::Value = serde_json::from_str(&written(false, asked)).expect("JSON");
        assert_eq!((&json["asked"], &json["code"]), (&asked.into(), &403.into()));
    }
}
