//! Doors through which backends publish without asking: what arrives there becomes publications by rules, as a client's
//! words do, and is acknowledged to the source only when the hub has taken them.
//!
//! The hub knows no vendor. Who reads from one holds an [`Intake`], gives it each message, and does what it says.

mod figures;
mod intake;
mod listed;
mod rule;
mod signed;
mod storm;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::delivery::Priority;
use crate::policy::expression::{Fault, Shape};

pub use figures::{Figures, Trouble};
pub use intake::Intake;
pub use listed::until;
pub use rule::{Plan, Planned, SourceRule, body_names, names};
pub use signed::{Held, Secrets, Seen, Signed, TOLERANCE_SECONDS, Unsigned};
pub use storm::{Storm, WhenStormy};

/// The longest reason that is kept with a dead letter, in characters.
const REASON_MAX: usize = 400;

/// One `[app.NAME.source.NAME]`, without how its vendor is reached.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name.
    pub name: Arc<str>,
    /// Line in the file.
    pub line: usize,
    /// Where in the body the data is; none: it is the body.
    pub data: Option<Shape>,
    /// Fields that nobody gets to see, of the body and of the data.
    pub drop: Vec<Arc<str>>,
    /// How often a message is tried that is refused for a reason that may pass.
    pub attempts: u32,
    /// How much one channel may get; none: everything.
    pub storm: Option<Storm>,
    /// What becomes of messages.
    pub rules: Vec<SourceRule>,
    /// It is pushed to us over HTTP; by backends, who show a key, and by who signs with one of these.
    pub pushed: Option<Secrets>,
    /// The signed messages that were taken of late.
    pub seen: Arc<Seen>,
    /// What is counted.
    pub figures: Arc<Figures>,
    memory: Arc<storm::Memory>,
    /// Whose turn it is where messages wait: one after the other.
    turn: Arc<tokio::sync::Mutex<()>>,
    said: Arc<intake::Said>,
}

impl Source {
    /// A source without rules, whose messages are their own data.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            line: 0,
            data: None,
            drop: Vec::new(),
            attempts: 5,
            storm: None,
            rules: Vec::new(),
            pushed: None,
            seen: Arc::default(),
            figures: Arc::default(),
            memory: Arc::default(),
            turn: Arc::default(),
            said: Arc::default(),
        }
    }

    /// Whether it gives what there is: it is connected; or it is a door, which is open for as long as we run.
    #[must_use]
    pub fn is_working(&self) -> bool {
        self.pushed.is_some() || self.figures.is_working()
    }

    /// The same with what was counted under other rules.
    pub(crate) fn succeed(&self, old: &Self) -> Self {
        let (figures, memory, said) = (Arc::clone(&old.figures), Arc::clone(&old.memory), Arc::clone(&old.said));
        Self { figures, memory, said, seen: Arc::clone(&old.seen), ..self.clone() }
    }
}

/// A message as a source has it.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// What it came by: a routing key, a channel.
    pub address: &'a str,
    /// What it says.
    pub body: &'a [u8],
    /// A JSON object: what its author has written beside.
    pub headers: &'a str,
    /// The id that its author gave it.
    pub id: Option<&'a str>,
    /// When it was sent, in Unix milliseconds.
    pub sent: Option<u64>,
    /// How urgent its author thinks it is.
    pub priority: Option<Priority>,
}

impl<'a> Arrival<'a> {
    /// A message of which no more is known.
    #[must_use]
    pub fn new(address: &'a str, body: &'a [u8]) -> Self {
        Self { address, body, headers: "{}", id: None, sent: None, priority: None }
    }
}

/// Why a message can not be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poison {
    /// A word.
    pub word: &'static str,
    /// In words; nothing of what the message says.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
}

impl Poison {
    fn new(word: &'static str, reason: impl Into<String>) -> Self {
        let reason = reason.into().chars().take(REASON_MAX).collect();
        Self { word, reason, attempts: 1 }
    }

    /// The same of a message of whose publications some were taken before this one was refused.
    fn after(self, taken: usize, of: usize) -> Self {
        if taken == 0 {
            return self;
        }
        Self { reason: format!("{} ({taken} of its {of} publications were taken before)", self.reason), ..self }
    }

    fn fault(line: usize, fault: &Fault) -> Self {
        Self::new("data", format!("line {line} of the configuration: {fault}"))
    }
}

/// What to tell the source of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Taken {
    /// Acknowledge it: what was to be published has been taken, stored where that is promised.
    Done,
    /// Put it with the dead letters, and then acknowledge it.
    Dead(Poison),
    /// Keep it: the node, or the source, is about to end.
    Not,
}
