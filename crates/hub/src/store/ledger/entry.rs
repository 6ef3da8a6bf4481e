//! One entry of an inbox or a channel: how it gets there, how it goes.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use bytes::Bytes;

use super::upkeep::EXPIRED;
use crate::store::engine::{Transaction, View, get};
use crate::store::error::StoreError;
use crate::store::key::{self, Key, Parts, Table};
use crate::store::message::{Bound, Gone, Owner, Seq, Target, WhenFull};
use crate::store::record::{Head, IdRecord, Progress, Receipt, read_header, read_message};

/// An entry as a walk comes by it.
pub(super) struct Entry<'a> {
    pub(super) seq: Seq,
    pub(super) key: &'a [u8],
    pub(super) bytes: &'a [u8],
}

/// Walks over the entries of a target after `after`, up to and with `until`.
pub(super) fn walk(
    view: &dyn View,
    app: &str,
    target: &Target,
    (after, until): (Seq, Seq),
    backwards: bool,
    each: &mut dyn FnMut(&Entry<'_>) -> Result<ControlFlow<()>, StoreError>,
) -> Result<(), StoreError> {
    let whole = key::entries(app, target);
    let start = whole.clone().number(after.saturating_add(1)).into_bytes();
    let end = match until.checked_add(1) {
        Some(end) => whole.number(end).into_bytes(),
        None => whole.below().end,
    };
    view.walk(&(start..end), backwards, &mut |key, bytes| {
        let number = key.last_chunk().copied().map(Seq::from_be_bytes);
        let seq = number.ok_or_else(|| StoreError::damaged("a key that cannot be read", key::show(key)))?;
        each(&Entry { seq, key, bytes })
    })
}

/// The receipt of a message with a user.
pub(super) fn receipt(
    view: &dyn View,
    app: &str,
    target: &Target,
    seq: Seq,
    user: &str,
) -> Result<Receipt, StoreError> {
    Ok(get(view, &key::receipt(app, target, seq, user))?.unwrap_or_default())
}

/// What became of an entry that was to be put into a target.
pub(super) enum Appended {
    /// It lies there; what had to go for it, by id.
    At(Seq, Vec<Arc<str>>),
    /// There is no room, and nothing may go.
    Full,
}

/// Puts an entry at the end of a target.
pub(super) fn append(
    transaction: &mut Transaction<'_>,
    app: &str,
    target: &Target,
    message: &[u8],
    expires_at: Option<u64>,
    bound: Bound,
    now: u64,
) -> Result<Appended, StoreError> {
    transaction.has_room()?;
    let key = key::head(app, target);
    let mut head: Head = get(transaction, &key)?.unwrap_or_default();
    let most = bound.most.max(1);
    let over = if head.count >= most { expired_in(transaction, app, target, now)? } else { Vec::new() };
    if bound.when_full == WhenFull::Refuse && is_full(transaction, app, target, &head, most, &over)? {
        return Ok(Appended::Full);
    }
    for seq in over {
        remove(transaction, app, target, seq, Gone::Expired, &mut head, now)?;
    }
    let mut dropped = Vec::new();
    while head.count >= most {
        let Some(id) = drop_one(transaction, app, target, &mut head, now)? else { break };
        dropped.push(id);
    }
    let seq = transaction.next();
    if head.count == 0 {
        head.first = seq;
    }
    head.count += 1;
    head.last = seq;
    transaction.put(key, &head);
    transaction.put_raw(key::entry(app, target, seq), message.to_vec());
    if let Some(at) = expires_at {
        transaction.put_raw(key::expiry(at, app, target, seq), Vec::new());
        transaction.counters.expiry_from = transaction.counters.expiry_from.min(at);
    }
    Ok(Appended::At(seq, dropped))
}

/// What has expired there and waits for upkeep; of a bounded part, if much has expired anywhere.
fn expired_in(transaction: &Transaction<'_>, app: &str, target: &Target, now: u64) -> Result<Vec<Seq>, StoreError> {
    let (mut over, mut looked) = (Vec::new(), 0);
    transaction.walk(&expired_by(transaction.counters.expiry_from, now), false, &mut |key, _| {
        let mut parts = Parts::of(key);
        parts.number()?;
        if parts.name()? == app && parts.target()? == *target {
            let seq = parts.number()?;
            if !is_removed(transaction, key::entry(app, target, seq).bytes())? {
                over.push(seq);
            }
        }
        looked += 1;
        Ok(if looked < EXPIRED { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(over)
}

/// Where it is noted what has expired up to `now`.
pub(super) fn expired_by(from: u64, now: u64) -> Range<Vec<u8>> {
    let at = |time| Key::of(Table::Expiry).number(time).into_bytes();
    at(from)..at(now.saturating_add(1))
}

/// Whether there are still too many entries when what is over, and all that are acknowledged, have made room.
fn is_full(
    transaction: &Transaction<'_>,
    app: &str,
    target: &Target,
    head: &Head,
    most: u32,
    over: &[Seq],
) -> Result<bool, StoreError> {
    let gone = u32::try_from(over.len()).unwrap_or(u32::MAX);
    let mut missing = head.count.saturating_add(1).saturating_sub(most).saturating_sub(gone);
    let Target::User(user) = target else { return Ok(missing > 0) };
    let before = head.first.saturating_sub(1);
    // None is acknowledged behind the cursor's place where none is ahead of it.
    let until = if head.progress.ahead > 0 { Seq::MAX } else { head.progress.acknowledged };
    if missing > 0 && until > before {
        walk(transaction, app, target, (before, until), false, &mut |entry| {
            if !over.contains(&entry.seq)
                && !is_removed(transaction, entry.key)?
                && (entry.seq <= head.progress.acknowledged
                    || receipt(transaction, app, target, entry.seq, user)?.is_acknowledged())
            {
                missing -= 1;
            }
            Ok(if missing > 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
    }
    Ok(missing > 0)
}

/// Makes room: the oldest acknowledged entry goes, else the oldest.
fn drop_one(
    transaction: &mut Transaction<'_>,
    app: &str,
    target: &Target,
    head: &mut Head,
    now: u64,
) -> Result<Option<Arc<str>>, StoreError> {
    let Some(first) = first_from(transaction, app, target, head.first)? else { return Ok(None) };
    let mut victim = first;
    if let Target::User(user) = target
        && first > head.progress.acknowledged
        && head.progress.ahead > 0
    {
        walk(transaction, app, target, (head.progress.acknowledged, Seq::MAX), false, &mut |entry| {
            if !receipt(transaction, app, target, entry.seq, user)?.is_acknowledged()
                || is_removed(transaction, entry.key)?
            {
                return Ok(ControlFlow::Continue(()));
            }
            victim = entry.seq;
            Ok(ControlFlow::Break(()))
        })?;
    }
    head.first = if victim == first { first + 1 } else { first };
    let key = key::entry(app, target, victim);
    let Some(bytes) = transaction.get(key.bytes())? else { return Ok(None) };
    let message = read_message(key.bytes(), &bytes)?;
    remove(transaction, app, target, victim, Gone::Dropped, head, now)?;
    Ok(Some(message.id))
}

/// Whether this transaction has removed an entry that a walk still comes by.
fn is_removed(transaction: &Transaction<'_>, key: &[u8]) -> Result<bool, StoreError> {
    Ok(transaction.get(key)?.is_none())
}

fn first_from(transaction: &Transaction<'_>, app: &str, target: &Target, from: Seq) -> Result<Option<Seq>, StoreError> {
    let mut first = None;
    walk(transaction, app, target, (from.saturating_sub(1), Seq::MAX), false, &mut |entry| {
        if is_removed(transaction, entry.key)? {
            return Ok(ControlFlow::Continue(()));
        }
        first = Some(entry.seq);
        Ok(ControlFlow::Break(()))
    })?;
    Ok(first)
}

/// Takes an entry away, and says in its receipt why. Whoever calls writes the head.
pub(super) fn remove(
    transaction: &mut Transaction<'_>,
    app: &str,
    target: &Target,
    seq: Seq,
    why: Gone,
    head: &mut Head,
    now: u64,
) -> Result<(), StoreError> {
    let key = key::entry(app, target, seq);
    let Some(bytes) = transaction.get(key.bytes())? else { return Ok(()) };
    if let Some(at) = read_header(key.bytes(), &bytes)?.expires_at {
        transaction.remove(key::expiry(at, app, target, seq));
    }
    transaction.remove(key);
    head.count = head.count.saturating_sub(1);
    let user = match target {
        Target::User(user) => user,
        Target::Channel(_) => "",
    };
    let mut receipt = receipt(transaction, app, target, seq, user)?;
    if seq > head.progress.acknowledged && receipt.is_acknowledged() {
        head.progress.ahead = head.progress.ahead.saturating_sub(1);
    }
    receipt.gone = Some((why, now));
    transaction.put(key::receipt(app, target, seq, user), &receipt);
    Ok(())
}

/// Where a message lies, and the record's key.
pub(super) fn find_id(view: &dyn View, app: &str, id: &str) -> Result<Option<(Key, IdRecord)>, StoreError> {
    let (now, before) = (key::id(app, id), key::id_of_format_1(app, id));
    if let Some(record) = get(view, &now)? {
        return Ok(Some((now, record)));
    }
    if now == before {
        return Ok(None);
    }
    Ok(get(view, &before)?.map(|record| (before, record)))
}

/// Where a message lies.
pub(super) fn id_record(view: &dyn View, app: &str, id: &str) -> Result<Option<IdRecord>, StoreError> {
    Ok(find_id(view, app, id)?.map(|(_, record)| record))
}

/// All places where a user has a message: one that was put into their inbox and into channels of theirs has several.
pub(super) fn places_of(view: &dyn View, of: &Owner, record: &IdRecord) -> Result<Vec<(Target, Seq)>, StoreError> {
    let mut places = Vec::new();
    for (target, seq) in &record.places {
        let has = match target {
            Target::User(user) => *user == of.user,
            Target::Channel(channel) => {
                let place: Option<Progress> = get(view, &key::joined(&of.app, &of.user, channel))?;
                place.is_some_and(|progress| progress.since < *seq)
            }
        };
        if has {
            places.push((target.clone(), *seq));
        }
    }
    Ok(places)
}

/// Where a user has a message: in their inbox, else in a channel that they were on the roster of when it was put.
pub(super) fn locate(view: &dyn View, of: &Owner, id: &str) -> Result<Option<(Target, Seq, Progress)>, StoreError> {
    let Some(record) = id_record(view, &of.app, id)? else { return Ok(None) };
    place_of(view, of, &record)
}

/// The same, of a message that has been found.
pub(super) fn place_of(
    view: &dyn View,
    of: &Owner,
    record: &IdRecord,
) -> Result<Option<(Target, Seq, Progress)>, StoreError> {
    let own = record.places.iter().rev().find(|(target, _)| matches!(target, Target::User(user) if *user == of.user));
    if let Some((target, seq)) = own {
        let head: Head = get(view, &key::head(&of.app, target))?.unwrap_or_default();
        return Ok(Some((target.clone(), *seq, head.progress)));
    }
    for (target, seq) in &record.places {
        let Target::Channel(channel) = target else { continue };
        let place: Option<Progress> = get(view, &key::joined(&of.app, &of.user, channel))?;
        if let Some(progress) = place.filter(|progress| progress.since < *seq) {
            return Ok(Some((target.clone(), *seq, progress)));
        }
    }
    Ok(None)
}

/// The last place where a user has, or had, a message.
pub(super) fn last_place(view: &dyn View, of: &Owner, id: &str) -> Result<Option<Seq>, StoreError> {
    let Some(record) = id_record(view, &of.app, id)? else { return Ok(None) };
    Ok(places_of(view, of, &record)?.into_iter().map(|(_, seq)| seq).max())
}

/// All places where a user has a message now, with its bytes.
pub(super) fn held(view: &dyn View, of: &Owner, id: &str, now: u64) -> Result<Vec<(Target, Seq, Bytes)>, StoreError> {
    let Some(record) = id_record(view, &of.app, id)? else { return Ok(Vec::new()) };
    let mut held = Vec::new();
    for (target, seq) in places_of(view, of, &record)? {
        held.extend(entry_of(view, of, &target, seq, now)?.map(|(bytes, _)| (target, seq, bytes)));
    }
    Ok(held)
}

/// The bytes of an entry that a user has now, and what became of it.
pub(super) fn entry_of(
    view: &dyn View,
    of: &Owner,
    target: &Target,
    seq: Seq,
    now: u64,
) -> Result<Option<(Bytes, Receipt)>, StoreError> {
    let key = key::entry(&of.app, target, seq);
    let Some(bytes) = view.get(key.bytes())? else { return Ok(None) };
    let over = read_header(key.bytes(), &bytes)?.is_over(now);
    let receipt = receipt(view, &of.app, target, seq, &of.user)?;
    Ok((!over && receipt.gone.is_none()).then_some((bytes, receipt)))
}
