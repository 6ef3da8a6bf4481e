//! What is counted of a source, and what can be wrong with it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// Declares [`Trouble`]: its variants, their words, what they mean.
macro_rules! troubles {
    ($($variant:ident $word:literal $doc:literal;)*) => {
        /// Why a source gives nothing now.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Trouble {
            $(#[doc = $doc] $variant,)*
        }

        impl Trouble {
            /// All of them, in the order of their discriminants.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// A word for logs and metrics.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }
    };
}

troubles! {
    Unreachable "unreachable" "Nobody answers at its address.";
    Lost        "lost"        "The connection ended.";
    Credentials "credentials" "It does not believe who we are, or we do not believe it.";
    Forbidden   "forbidden"   "It knows us, but does not let us.";
    Missing     "missing"     "What is to be read is not there.";
    Conflict    "conflict"    "What is to be read is there, with other settings.";
    Other       "other"       "Something else.";
}

/// The figures of one source, since the start.
#[derive(Debug)]
pub struct Figures {
    /// Messages that came.
    pub received: AtomicU64,
    /// Publications that the hub took.
    pub published: AtomicU64,
    /// Of these, those that were published before.
    pub duplicates: AtomicU64,
    /// Messages that no rule fits.
    pub unmatched: AtomicU64,
    /// Messages whose data names nobody.
    pub unaddressed: AtomicU64,
    /// Publications that came too fast for their channel.
    pub limited: AtomicU64,
    /// Attempts to publish that are made again.
    pub retried: AtomicU64,
    /// Messages that went to the dead letters.
    pub dead: AtomicU64,
    /// By [`Trouble`].
    troubles: Vec<AtomicU64>,
    /// Messages that wait at the source; less than zero: that is not known.
    lag: AtomicI64,
    working: AtomicI64,
}

impl Default for Figures {
    fn default() -> Self {
        let count = AtomicU64::default;
        Self {
            received: count(),
            published: count(),
            duplicates: count(),
            unmatched: count(),
            unaddressed: count(),
            limited: count(),
            retried: count(),
            dead: count(),
            troubles: Trouble::ALL.iter().map(|_| count()).collect(),
            lag: AtomicI64::new(-1),
            working: AtomicI64::new(0),
        }
    }
}

impl Figures {
    /// One more.
    pub(super) fn count(&self, of: impl Fn(&Self) -> &AtomicU64) {
        of(self).fetch_add(1, Relaxed);
    }

    /// It is connected, and gives what there is.
    pub fn works(&self) {
        self.working.store(1, Relaxed);
    }

    /// It has stopped, because that was wanted.
    pub fn stopped(&self) {
        self.working.store(0, Relaxed);
    }

    /// Something is wrong with it.
    pub fn fails(&self, trouble: Trouble) {
        self.stopped();
        self.troubles[trouble as usize].fetch_add(1, Relaxed);
    }

    /// How often this was wrong.
    #[must_use]
    pub fn troubles(&self, trouble: Trouble) -> u64 {
        self.troubles[trouble as usize].load(Relaxed)
    }

    /// Whether it is connected.
    #[must_use]
    pub fn is_working(&self) -> bool {
        self.working.load(Relaxed) == 1
    }

    /// So many messages wait there.
    pub fn lags(&self, messages: u64) {
        self.lag.store(i64::try_from(messages).unwrap_or(i64::MAX), Relaxed);
    }

    /// How many messages wait there, where that is known.
    #[must_use]
    pub fn lag(&self) -> Option<u64> {
        u64::try_from(self.lag.load(Relaxed)).ok()
    }
}
