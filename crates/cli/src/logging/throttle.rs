//! Few lines for what happens often. Somebody who is refused a thousand times a second must not fill the disk, nor make
//! the server wait for it: of each kind of event some lines are written, and then one that says how many were left out.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Lines of one kind that may come at once.
const BURST: u32 = 100;

/// After each of these times there may be one more.
const REFILL: Duration = Duration::from_millis(100);

/// How often is said what was left out, while there is something.
const TELL: Duration = Duration::from_secs(1);

/// Lets so many lines of each kind pass; clones share everything.
#[derive(Debug, Clone, Default)]
pub(super) struct Throttle(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// By the place in the code, of which there are only so many.
    kinds: HashMap<Identifier, Kind>,
    /// Says what was left out; it is woken for that.
    teller: Option<Thread>,
}

/// One kind of event.
#[derive(Debug)]
struct Kind {
    name: String,
    /// Lines that may still come, as of `since`.
    left: u32,
    since: Instant,
    left_out: u64,
}

impl Kind {
    fn new(name: String, now: Instant) -> Self {
        Self { name, left: BURST, since: now, left_out: 0 }
    }

    /// Whether there may be a line now.
    fn allows(&mut self, now: Instant) -> bool {
        let grown = now.duration_since(self.since).as_millis() / REFILL.as_millis();
        let grown = u32::try_from(grown).unwrap_or(u32::MAX);
        if self.left.saturating_add(grown) >= BURST {
            (self.left, self.since) = (BURST, now);
        } else {
            self.left += grown;
            self.since += REFILL * grown;
        }
        if self.left == 0 {
            self.left_out += 1;
            return false;
        }
        self.left -= 1;
        true
    }
}

impl Throttle {
    /// Has this thread woken when something is left out.
    pub(super) fn wakes(&self, teller: Option<Thread>) {
        self.with(|state| state.teller = teller);
    }

    /// Says, from time to time and for ever, what was left out.
    pub(super) fn tell(&self) {
        loop {
            thread::park();
            thread::sleep(TELL);
            // Outside of the lock, which a line takes, too.
            for (name, lines) in self.take() {
                warn!(event = "lines_left_out", of = name, lines);
            }
        }
    }

    fn take(&self) -> Vec<(String, u64)> {
        self.with(|state| {
            let kinds = state.kinds.values_mut().filter(|kind| kind.left_out > 0);
            kinds.map(|kind| (kind.name.clone(), std::mem::take(&mut kind.left_out))).collect()
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: Subscriber> Layer<S> for Throttle {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        if metadata.target() == module_path!() {
            // There is one such line per kind and second at most.
            return true;
        }
        let now = Instant::now();
        self.with(|State { kinds, teller }| {
            let kind = kinds.entry(metadata.callsite()).or_insert_with(|| Kind::new(name_of(event), now));
            let allowed = kind.allows(now);
            if kind.left_out == 1
                && let Some(teller) = teller
            {
                teller.unpark();
            }
            allowed
        })
    }
}

/// What an event calls itself in its field `event`; those of libraries have a message only.
fn name_of(event: &Event<'_>) -> String {
    struct Name(Option<String>);
    impl Visit for Name {
        fn record_str(&mut self, field: &Field, value: &str) {
            if field.name() == "event" {
                self.0 = Some(value.to_owned());
            }
        }

        fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
    }
    let mut name = Name(None);
    event.record(&mut name);
    name.0.unwrap_or_else(|| event.metadata().target().to_owned())
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn a_burst_passes_and_then_so_many_in_time() {
        let start = Instant::now();
        let mut kind = Kind::new("denied".to_owned(), start);
        let mut allowed = |after: Duration, asked: u64| (0..asked).filter(|_| kind.allows(start + after)).count();
        assert_eq!(allowed(Duration::ZERO, 1_000), 100);
        assert_eq!(allowed(Duration::from_millis(99), 5), 0);
        assert_eq!(allowed(Duration::from_millis(250), 5), 2);
        assert_eq!(allowed(Duration::from_millis(300), 5), 1, "what was begun of a refill is not lost");
        assert_eq!(allowed(Duration::from_secs(3600), 1_000), 100);
        assert_eq!(kind.left_out, 900 + 5 + 3 + 4 + 900);
    }

    #[test]
    fn one_kind_does_not_silence_another_and_what_is_left_out_is_known_by_name() {
        let throttle = Throttle::default();
        let seen = Arc::new(Mutex::new(HashMap::<String, u32>::new()));
        let subscriber = tracing_subscriber::registry().with(throttle.clone()).with(Counter(Arc::clone(&seen)));
        tracing::subscriber::with_default(subscriber, || {
            for _ in 0..150 {
                warn!(target: "oyez_server", event = "denied", user = "u");
            }
            warn!(target: "oyez_server", event = "stalled");
        });
        let seen = seen.lock().expect("nobody panicked");
        assert!((100..110).contains(&seen["denied"]), "{seen:?}");
        assert_eq!(seen["stalled"], 1);
        let left_out = throttle.take();
        assert_eq!(left_out, [("denied".to_owned(), u64::from(150 - seen["denied"]))]);
        assert!(throttle.take().is_empty());
    }

    /// Counts events by name.
    struct Counter(Arc<Mutex<HashMap<String, u32>>>);

    impl<S: Subscriber> Layer<S> for Counter {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            *self.0.lock().expect("nobody panicked").entry(name_of(event)).or_default() += 1;
        }
    }
}
