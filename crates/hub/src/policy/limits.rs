//! How much one client may ask for: the limits by name, rates, and connections by where they come from.

pub mod offences;

use std::cell::Cell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use oyez_protocol::code::Code;
use parking_lot::Mutex;

/// Addresses that are remembered. When there are more, those that have no connections and owe nothing are forgotten;
/// if there are none, new ones are let in uncounted: a flood from everywhere must not lock everybody out.
const ADDRESSES_MAX: usize = 100_000;

/// How long a search for addresses to forget that found none is not repeated, in nanoseconds: it looks at all of them.
const SWEEP_AGAIN: u64 = 1_000_000_000;

macro_rules! limits {
    ($($variant:ident $name:literal $code:ident $doc:literal;)*) => {
        /// Everything that there may be only so much of.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Limit {
            $(#[doc = $doc] $variant,)*
        }

        impl Limit {
            /// All of them, in the order of their discriminants.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in metrics and logs: nearly always its key in the file.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What whoever exceeds it is told.
            #[must_use]
            pub const fn code(self) -> Code {
                match self {
                    $(Self::$variant => Code::$code,)*
                }
            }
        }
    };
}

// variant              name                      code                what is limited
limits! {
    Payload              "payload"                 MessageTooBig       "Bytes of one message of a client.";
    JsonDepth            "json_depth"              TooDeep             "Levels of JSON.";
    Attachments          "attachments"             TooManyAttachments  "Binaries of one packet.";
    Outbox               "outbox"                  SlowConsumer        "Bytes that wait for one client.";
    NodeConnections      "node_connections"        NodeFull            "Sessions of a node.";
    AppConnections       "app_connections"         AppFull             "Connections to an app.";
    AddressConnections   "connections_per_address" AddressFull         "Connections from one address.";
    Connects             "connects_per_second"     TooManyConnects     "Attempts to connect from one address.";
    UserConnections      "connections_per_user"    UserFull            "Connections of one user.";
    Channels             "channels_per_session"    TooManyChannels     "Channels that one session is in.";
    ChannelLength        "channel_length"          ChannelTooLong      "Characters of a channel's name.";
    ChannelCharacters    "channel_characters"      ChannelCharacters   "Which characters a channel's name may have.";
    Events               "events_per_second"       TooManyEvents       "Events of one session.";
    AppEvents            "app_events_per_second"   AppTooBusy          "Events of all sessions of an app.";
    Publishes            "publishes_per_second"    RateLimited         "Publications of one key.";
    Flood                "flood"                   Flood               "What one client says that says nothing.";
}

impl Limit {
    /// The limit for whose sake a connection ends with this code.
    #[must_use]
    pub fn behind(code: Code) -> Option<Self> {
        let ends = [Self::Payload, Self::JsonDepth, Self::Attachments, Self::Outbox, Self::Flood];
        ends.into_iter().find(|limit| limit.code() == code)
    }
}

/// A rate with a burst (GCRA): sixteen bytes, no timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds that one event costs.
    cost: u64,
    /// Nanoseconds that may be owed.
    credit: u64,
}

impl Rate {
    /// `per_second` in the long run and `burst` at once, both at least one.
    #[must_use]
    pub fn new(per_second: u64, burst: u64) -> Self {
        let cost = 1_000_000_000 / per_second.max(1);
        Self { cost, credit: cost.saturating_mul(burst.max(1)) }
    }

    /// The caller's memory after one more event at `now`; none when that would be one too many.
    fn after(&self, until: u64, now: u64) -> Option<u64> {
        let next = until.max(now) + self.cost;
        (next - now <= self.credit).then_some(next)
    }

    /// Whether one more event may happen at `now`, in nanoseconds of any steady clock; `until` is the caller's memory
    /// and starts at zero.
    #[must_use]
    pub fn allows(&self, until: &Cell<u64>, now: u64) -> bool {
        let next = self.after(until.get(), now);
        until.set(next.unwrap_or(until.get()));
        next.is_some()
    }

    /// The same for a memory that threads share.
    #[must_use]
    pub fn allows_shared(&self, until: &AtomicU64, now: u64) -> bool {
        until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |until| self.after(until, now)).is_ok()
    }

    /// How long an event must wait at `now` until it is allowed.
    #[must_use]
    pub fn early(&self, until: &AtomicU64, now: u64) -> Duration {
        let next = until.load(Ordering::Relaxed).max(now) + self.cost;
        Duration::from_nanos((next - now).saturating_sub(self.credit))
    }
}

#[derive(Debug, Default)]
struct Entry {
    open: usize,
    until: Cell<u64>,
}

impl Entry {
    /// Nothing would be lost with it.
    fn is_idle(&self, now: u64) -> bool {
        self.open == 0 && self.until.get() <= now
    }
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<IpAddr, Entry>,
    /// Before this there is nothing to forget.
    sweep_at: u64,
}

impl Table {
    /// The entry of an address; none when the table is full of others. `now` as for [`Rate::allows`].
    fn entry(&mut self, address: IpAddr, now: u64) -> Option<&mut Entry> {
        let address = network(address);
        if self.entries.len() >= ADDRESSES_MAX && !self.entries.contains_key(&address) {
            if now < self.sweep_at {
                return None;
            }
            self.entries.retain(|_, entry| !entry.is_idle(now));
            if self.entries.len() >= ADDRESSES_MAX {
                self.sweep_at = now + SWEEP_AGAIN;
                return None;
            }
        }
        Some(self.entries.entry(address).or_default())
    }

    /// The entry of an address, if it has one.
    fn known(&mut self, address: IpAddr) -> Option<&mut Entry> {
        self.entries.get_mut(&network(address))
    }
}

/// What counts as one address: a home or a server has a whole /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// How much of its limits the clients of an app use.
#[derive(Debug, Default)]
pub struct Usage {
    connections: AtomicUsize,
    addresses: Mutex<Table>,
    /// The memory of the app's event rate.
    pub events: AtomicU64,
}

impl Usage {
    /// Notes an attempt to connect; whether it comes too soon after others. `now` as for [`Rate::allows`].
    #[must_use]
    pub fn may_try(&self, address: IpAddr, rate: Rate, now: u64) -> bool {
        let mut table = self.addresses.lock();
        table.entry(address, now).is_none_or(|entry| rate.allows(&entry.until, now))
    }

    /// Counts one more connection.
    ///
    /// # Errors
    /// Of which there are too many: `most` to the app, `most_here` from the address. Nothing is counted then.
    pub fn enter(
        &self,
        address: Option<IpAddr>,
        most: Option<usize>,
        most_here: Option<usize>,
        now: u64,
    ) -> Result<(), Limit> {
        let more = |open: usize| most.is_none_or(|most| open < most).then_some(open + 1);
        let entered = self.connections.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        entered.map_err(|_| Limit::AppConnections)?;
        if let (Some(address), Some(most)) = (address, most_here)
            && let Some(entry) = self.addresses.lock().entry(address, now)
        {
            if entry.open >= most {
                self.connections.fetch_sub(1, Ordering::Relaxed);
                return Err(Limit::AddressConnections);
            }
            entry.open += 1;
        }
        Ok(())
    }

    /// Forgets addresses that use nothing at `now`, and the room that they took.
    pub fn shrink(&self, now: u64) {
        let entries = &mut self.addresses.lock().entries;
        entries.retain(|_, entry| !entry.is_idle(now));
        entries.shrink_to_fit();
    }

    /// Counts one connection less.
    pub fn leave(&self, address: Option<IpAddr>, now: u64) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = address else { return };
        let mut table = self.addresses.lock();
        if let Some(entry) = table.known(address) {
            entry.open = entry.open.saturating_sub(1);
            if entry.is_idle(now) {
                table.entries.remove(&network(address));
            }
        }
    }
}

#[cfg(test)]
mod tests;
