//! The life of a connection that is there for as long as the node: whatever ends it, it is made again, after waits that
//! grow, and what was wrong is logged with its remedy.

use std::time::{Duration, Instant};

use oyez_hub::source::{Intake, Trouble};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The first wait; it doubles.
const FIRST: Duration = Duration::from_millis(250);

const MINUTE: Duration = Duration::from_secs(60);

/// The longest one.
const LONGEST: Duration = Duration::from_secs(30);

/// A connection that worked for less may be one that always ends so soon: the waits go on growing.
const STEADY: Duration = Duration::from_secs(3);

/// What to do about a server whose certificate nobody here believes.
pub(crate) const BELIEVE: &str =
    "name whom to believe in `ca`, and call the server by a name that stands in its certificate";

/// Whether this was said of a certificate.
pub(crate) fn unbelieved(said: &str) -> bool {
    said.contains("certificate")
}

/// Why a source stopped reading.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) trouble: Trouble,
    /// What the server, or the system, said.
    pub(crate) said: String,
    /// What to do about it.
    pub(crate) help: String,
}

/// What goes wrong again and again is said when it changes, and then once a minute.
#[derive(Debug, Default)]
pub(crate) struct Repeated(Option<(String, Instant)>);

impl Repeated {
    /// Whether to say it.
    pub(crate) fn is_news(&mut self, said: &str) -> bool {
        let is_old = |(last, at): &(String, Instant)| last == said && at.elapsed() < MINUTE;
        if self.0.as_ref().is_some_and(is_old) {
            return false;
        }
        self.0 = Some((said.to_owned(), Instant::now()));
        true
    }
}

/// Waits that grow, each shortened by chance, so that not all come back at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// From the shortest on, up to this one.
    pub(crate) fn up_to(longest: Duration) -> Self {
        Self { next: FIRST, longest }
    }

    /// The wait that is due now: half of it at least.
    pub(crate) fn wait(&mut self) -> Duration {
        let wait = self.next.mul_f64(rand::random_range(0.5..=1.0));
        self.next = (self.next * 2).min(self.longest);
        wait
    }

    /// The wait that is due after a connection that worked for so long.
    fn wait_after(&mut self, worked: Duration) -> Duration {
        if worked >= STEADY {
            *self = Self::up_to(self.longest);
        }
        self.wait()
    }
}

/// Has `session` read from a source again and again until it is stopped, which ends it with `Ok`.
pub(crate) async fn supervise<F>(intake: &Intake, stop: &CancellationToken, mut session: impl FnMut() -> F)
where
    F: Future<Output = Result<(), Fault>>,
{
    let (app, source) = (intake.app_name(), intake.name());
    let mut backoff = Backoff::up_to(LONGEST);
    let mut begun = Instant::now();
    while let Err(Fault { trouble, said, help }) = session().await {
        let worked = if intake.figures().is_working() { begun.elapsed() } else { Duration::ZERO };
        intake.figures().fails(trouble);
        let wait = backoff.wait_after(worked);
        warn!(event = "source_failed", app, source, reason = trouble.word(), said, help, again_in = ?wait);
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(wait) => {}
        }
        begun = Instant::now();
    }
    intake.figures().stopped();
    info!(event = "source_stopped", app, source);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_bound() {
        let mut backoff = Backoff::up_to(LONGEST);
        let waits: Vec<_> = (0..12).map(|_| backoff.wait()).collect();
        assert!((FIRST / 2..=FIRST).contains(&waits[0]), "{waits:?}");
        assert!((LONGEST / 2..=LONGEST).contains(&waits[11]), "{waits:?}");
    }

    #[test]
    fn waits_begin_anew_only_after_a_connection_that_lasted() {
        let mut backoff = Backoff::up_to(LONGEST);
        let first = backoff.wait_after(STEADY / 2);
        assert!(first <= FIRST, "{first:?}");
        let waits: Vec<_> = (0..8).map(|_| backoff.wait_after(STEADY / 2)).collect();
        assert!(waits[7] >= LONGEST / 2, "{waits:?}");
        let anew = backoff.wait_after(STEADY);
        assert!(anew <= FIRST, "{anew:?}");
    }
}
