//! How often one channel, a user's for instance, may be spoken to by one source.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::policy::limits::Rate;

/// Channels that are remembered. When there are more, those that owe nothing are forgotten; where all owe something, new
/// ones pass uncounted.
const CHANNELS_MAX: usize = 100_000;

/// What becomes of a publication that comes too soon after others to the same channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenStormy {
    /// It is dropped, unless it is durable.
    #[default]
    DropNewest,
    /// It waits, and the source with it.
    Defer,
}

/// How much is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storm {
    /// Publications to one channel.
    pub rate: Rate,
    /// And then.
    pub policy: WhenStormy,
}

/// What each channel has had of late.
#[derive(Debug)]
pub(super) struct Memory {
    since: Instant,
    channels: Mutex<HashMap<Box<str>, AtomicU64>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { since: Instant::now(), channels: Mutex::default() }
    }
}

impl Memory {
    /// Notes one more publication to a channel, or says how long it comes too early.
    pub(super) fn allows(&self, channel: &str, rate: Rate) -> Result<(), Duration> {
        let now = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut channels = self.channels.lock();
        if !channels.contains_key(channel) {
            if channels.len() >= CHANNELS_MAX {
                channels.retain(|_, until| *until.get_mut() > now);
            }
            if channels.len() >= CHANNELS_MAX {
                return Ok(());
            }
            channels.insert(channel.into(), AtomicU64::new(0));
        }
        let until = &channels[channel];
        if rate.allows_shared(until, now) { Ok(()) } else { Err(rate.early(until, now)) }
    }
}
