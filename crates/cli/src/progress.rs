//! What a person sees while something takes long: one line on the terminal that changes.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Between two changes.
const PAUSE: Duration = Duration::from_millis(200);

/// The line; there is none where stderr is no terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    last: Option<Instant>,
    /// What stands before everything.
    pub(crate) prefix: String,
    shown: bool,
}

impl Progress {
    /// A line, if it is wanted and there is a terminal.
    pub(crate) fn new(wanted: bool) -> Self {
        let last = (wanted && io::stderr().is_terminal()).then(Instant::now);
        Self { last, prefix: String::new(), shown: false }
    }

    /// Changes the line, but not too often.
    pub(crate) fn show(&mut self, text: impl FnOnce() -> String) {
        let Some(last) = self.last.as_mut().filter(|last| last.elapsed() >= PAUSE) else { return };
        *last = Instant::now();
        self.shown = true;
        // A terminal that is gone shows nothing.
        let _ = write!(io::stderr().lock(), "\r\x1b[2K{}{}", self.prefix, text());
    }

    /// Takes the line away.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(io::stderr().lock(), "\r\x1b[2K");
        }
    }
}
