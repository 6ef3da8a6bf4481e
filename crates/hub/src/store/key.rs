//! How records are named: a table's byte, then parts that sort as they should. A name comes after its length, so that no
//! name is the beginning of another. Where names come first, three bytes of their hash come before them: engines compare
//! the first four bytes of keys without looking further, and names of one app begin alike.

use std::ops::Range;
use std::sync::Arc;

use uuid::Uuid;

use super::NAME_MAX;
use super::error::StoreError;
use super::message::{Seq, Target};

/// The kinds of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Table {
    /// Few: the order's reservation, the accounts of ids.
    Meta = 1,
    /// Messages, by app, target and place.
    Entry = 2,
    /// What is known of a target, by app and target.
    Head = 3,
    /// Where messages lie, by app and id.
    Id = 4,
    /// What became of a message, by app, target, place and user.
    Receipt = 5,
    /// Rosters, by app, channel and user.
    Member = 6,
    /// Rosters, by app, user and channel, with how far the user has come.
    Joined = 7,
    /// Messages that are not due yet, by time and place.
    Scheduled = 8,
    /// Entries that expire, by time, app, target and place.
    Expiry = 9,
}

/// Whether a record is read again for each message that comes to its inbox, or channel: worth to be remembered by an engine.
#[must_use]
pub fn is_head(key: &[u8]) -> bool {
    key.first() == Some(&(Table::Head as u8))
}

impl Table {
    /// What its records are, for people.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Meta => "accounts",
            Self::Entry => "messages",
            Self::Head => "heads of inboxes and channels",
            Self::Id => "ids",
            Self::Receipt => "receipts",
            Self::Member => "members of channels",
            Self::Joined => "channels of users",
            Self::Scheduled => "messages that are not due yet",
            Self::Expiry => "expiries",
        }
    }

    pub(crate) const ALL: [Self; 9] = [
        Self::Meta,
        Self::Entry,
        Self::Head,
        Self::Id,
        Self::Receipt,
        Self::Member,
        Self::Joined,
        Self::Scheduled,
        Self::Expiry,
    ];
}

/// A key, built part by part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    pub(crate) fn of(table: Table) -> Self {
        let mut bytes = Vec::with_capacity(64);
        bytes.push(table as u8);
        Self(bytes)
    }

    /// A key of a table whose records belong to something that has a name in an app.
    fn spread(table: Table, app: &str, name: &str) -> Self {
        let mut key = Self::of(table);
        key.0.extend_from_slice(&hash(app, name).to_be_bytes()[1..]);
        key.name(app)
    }

    pub(crate) fn name(mut self, name: &str) -> Self {
        // `check` has seen every name that is stored, so of a longer one nothing is found; nor is its key too long.
        let length = u16::try_from(name.len()).ok().filter(|_| name.len() <= NAME_MAX).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(&name.as_bytes()[..name.len().min(NAME_MAX)]);
        self
    }

    pub(crate) fn target(mut self, target: &Target) -> Self {
        self.0.push(match target {
            Target::User(_) => 0,
            Target::Channel(_) => 1,
        });
        self.name(target.name())
    }

    pub(crate) fn number(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// All keys that begin with this one.
    pub(crate) fn below(self) -> Range<Vec<u8>> {
        let mut end = self.0.clone();
        while end.last() == Some(&u8::MAX) {
            end.pop();
        }
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        self.0..end
    }
}

pub(crate) fn meta(name: &str) -> Key {
    Key::of(Table::Meta).name(name)
}

pub(crate) fn entry(app: &str, target: &Target, seq: Seq) -> Key {
    entries(app, target).number(seq)
}

pub(crate) fn entries(app: &str, target: &Target) -> Key {
    Key::spread(Table::Entry, app, target.name()).target(target)
}

pub(crate) fn head(app: &str, target: &Target) -> Key {
    Key::spread(Table::Head, app, target.name()).target(target)
}

/// Ids that are made one after the other, UUIDs of version 7, lie next to each other: engines like that.
pub(crate) fn id(app: &str, id: &str) -> Key {
    let Some(time) = time_of(id) else { return id_of_format_1(app, id) };
    let mut key = Key::of(Table::Id);
    key.0.extend_from_slice(&time.to_be_bytes()[1..]);
    key.name(app).name(id)
}

/// Where all ids were in the first format.
pub(crate) fn id_of_format_1(app: &str, id: &str) -> Key {
    Key::spread(Table::Id, app, id).name(id)
}

/// The time of a UUID of version 7 (RFC 9562, section 5.7), in steps of 65 seconds; 24 bits of it.
fn time_of(id: &str) -> Option<u32> {
    let uuid = Uuid::try_parse(id).ok().filter(|uuid| uuid.get_version_num() == 7)?;
    let (time, _, _, _) = uuid.as_fields();
    Some(time & 0x00ff_ffff)
}

/// The receipts of an entry, of all users.
pub(crate) fn receipts(app: &str, target: &Target, seq: Seq) -> Key {
    all_receipts(app, target).number(seq)
}

/// The receipts of all entries of a target, in the order of their places.
pub(crate) fn all_receipts(app: &str, target: &Target) -> Key {
    Key::spread(Table::Receipt, app, target.name()).target(target)
}

pub(crate) fn receipt(app: &str, target: &Target, seq: Seq, user: &str) -> Key {
    receipts(app, target, seq).name(user)
}

pub(crate) fn member(app: &str, channel: &str, user: &str) -> Key {
    members(app, channel).name(user)
}

pub(crate) fn members(app: &str, channel: &str) -> Key {
    Key::spread(Table::Member, app, channel).name(channel)
}

pub(crate) fn joined(app: &str, user: &str, channel: &str) -> Key {
    all_joined(app, user).name(channel)
}

pub(crate) fn all_joined(app: &str, user: &str) -> Key {
    Key::spread(Table::Joined, app, user).name(user)
}

pub(crate) fn scheduled(due: u64, seq: Seq) -> Key {
    Key::of(Table::Scheduled).number(due).number(seq)
}

pub(crate) fn expiry(at: u64, app: &str, target: &Target, seq: Seq) -> Key {
    Key::of(Table::Expiry).number(at).name(app).target(target).number(seq)
}

/// FNV-1a. It is part of the keys, so it never changes; it only spreads them.
fn hash(app: &str, name: &str) -> u32 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    app.bytes().chain([0]).chain(name.bytes()).fold(0x811c_9dc5, step)
}

/// Refuses a name that no key can hold.
///
/// # Errors
/// [`StoreError::TooLong`].
pub fn check(what: &'static str, name: &str) -> Result<(), StoreError> {
    if name.len() > NAME_MAX {
        return Err(StoreError::TooLong { what, length: name.len(), most: NAME_MAX });
    }
    Ok(())
}

/// Reads the parts of a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts<'a> {
    rest: &'a [u8],
    whole: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Of a key, behind its table and its hash.
    pub(crate) fn of(key: &'a [u8]) -> Self {
        let ordered_by_time = [Table::Scheduled, Table::Expiry, Table::Meta].map(|table| table as u8);
        let begin = if key.first().is_some_and(|table| ordered_by_time.contains(table)) { 1 } else { 4 };
        Self { rest: key.get(begin..).unwrap_or_default(), whole: key }
    }

    fn damaged(&self) -> StoreError {
        StoreError::damaged("a key that cannot be read", raw(self.whole))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], StoreError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(|| self.damaged())?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn number(&mut self) -> Result<u64, StoreError> {
        let bytes = self.take(8)?.try_into().map_err(|_| self.damaged())?;
        Ok(u64::from_be_bytes(bytes))
    }

    pub(crate) fn name(&mut self) -> Result<&'a str, StoreError> {
        let length = self.take(2)?.try_into().map(u16::from_be_bytes).map_err(|_| self.damaged())?;
        let bytes = self.take(usize::from(length))?;
        std::str::from_utf8(bytes).map_err(|_| self.damaged())
    }

    pub(crate) fn target(&mut self) -> Result<Target, StoreError> {
        let kind = self.take(1)?[0];
        let name: Arc<str> = self.name()?.into();
        match kind {
            0 => Ok(Target::User(name)),
            1 => Ok(Target::Channel(name)),
            _ => Err(self.damaged()),
        }
    }
}

/// A key for people.
pub(crate) fn show(key: &[u8]) -> String {
    words(key).unwrap_or_else(|_| raw(key))
}

/// A key that cannot be read.
fn raw(key: &[u8]) -> String {
    format!("record {}", key.escape_ascii())
}

/// What a key names.
fn words(key: &[u8]) -> Result<String, StoreError> {
    let mut parts = Parts::of(key);
    let table = key.first().and_then(|byte| Table::ALL.into_iter().find(|table| *table as u8 == *byte));
    Ok(match table.ok_or_else(|| parts.damaged())? {
        Table::Meta => format!("account {}", parts.name()?),
        Table::Entry => {
            let (app, target) = (parts.name()?, parts.target()?);
            format!("message {} of {target} (app {app})", parts.number()?)
        }
        Table::Head => {
            let (app, target) = (parts.name()?, parts.target()?);
            format!("head of {target} (app {app})")
        }
        Table::Id => {
            let app = parts.name()?;
            format!("id {} (app {app})", parts.name()?)
        }
        Table::Receipt => {
            let (app, target, seq) = (parts.name()?, parts.target()?, parts.number()?);
            format!("receipt of message {seq} of {target} by user {} (app {app})", parts.name()?)
        }
        Table::Member => {
            let (app, channel) = (parts.name()?, parts.name()?);
            format!("member {} of channel {channel} (app {app})", parts.name()?)
        }
        Table::Joined => {
            let (app, user) = (parts.name()?, parts.name()?);
            format!("channel {} of user {user} (app {app})", parts.name()?)
        }
        Table::Scheduled => format!("message {1} that is due at {0} ms", parts.number()?, parts.number()?),
        Table::Expiry => {
            let (at, app, target) = (parts.number()?, parts.name()?, parts.target()?);
            format!("expiry at {at} ms of message {} of {target} (app {app})", parts.number()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{Target, entry, expiry, id, joined, receipt, scheduled, show};

    #[test]
    fn keys_are_told_in_words() {
        let ann = Target::User("ann".into());
        assert_eq!(show(entry("desk", &ann, 7).bytes()), "message 7 of user ann (app desk)");
        assert_eq!(show(id("desk", "m-1").bytes()), "id m-1 (app desk)");
        let seventh = "0190163d-8694-739b-aea5-966c26f8ad91";
        assert_eq!(show(id("desk", seventh).bytes()), format!("id {seventh} (app desk)"));
        let ops = Target::Channel("ops".into());
        let read = receipt("desk", &ops, 7, "bob");
        assert_eq!(show(read.bytes()), "receipt of message 7 of channel ops by user bob (app desk)");
        assert_eq!(show(joined("desk", "bob", "ops").bytes()), "channel ops of user bob (app desk)");
        assert_eq!(show(scheduled(5, 7).bytes()), "message 7 that is due at 5 ms");
        assert_eq!(show(expiry(5, "desk", &ann, 7).bytes()), "expiry at 5 ms of message 7 of user ann (app desk)");
    }

    #[test]
    fn a_key_that_cannot_be_read_is_told_as_it_is() {
        let whole = entry("desk", &Target::User("ann".into()), 7);
        let cut = &whole.bytes()[..6];
        assert!(show(cut).starts_with("record \\x02"), "{}", show(cut));
        assert_eq!(show(b""), "record ");
        assert_eq!(show(b"\xff"), "record \\xff");
    }
}
