//! What has to be done from time to time, a bounded part at a time; and the accounts of ids.

use std::ops::{ControlFlow, Range};

use super::Settings;
use super::entry::{expired_by, receipt, remove, walk};
use super::roster;
use crate::store::engine::{Transaction, View, get};
use crate::store::error::StoreError;
use crate::store::key::{self, Key, Parts, Table};
use crate::store::message::{Gone, Seq, Target, Upkeep};
use crate::store::record::{Head, Hours, IdRecord, Progress, decode_owned, encode, read_header};

const HOUR: u64 = 60 * 60 * 1_000;
const DAY: u64 = 24;

/// Entries that expire in one round.
pub(super) const EXPIRED: usize = 1_000;
/// Ids that are looked at in one round.
const IDS: usize = 2_000;
/// Inboxes and channels that are trimmed in one round, and the most of one that goes.
const HEADS: usize = 100;
const TRIMMED: usize = 1_000;
/// The largest roster whose slowest member is looked for; the log of a larger channel is bounded only.
const ROSTER: usize = 1_000;
/// Ids that may be missing from the accounts after a restart.
const UNCOUNTED: u32 = 1_000;
/// Receipts of one entry that are removed in one round.
const RECEIPTS: usize = 10_000;

/// The hour of a time.
pub(super) fn hour(time: u64) -> u64 {
    time / HOUR
}

/// From which hour on ids count: a day back, or less where their bytes are capped. The current hour always counts.
pub(super) fn first_hour(hours: &mut Hours, settings: &Settings, now: u64) -> u64 {
    let current = hour(now);
    // A clock that was set back must not make what is put now older than what counts.
    let mut from = hours.from.min(current).max(current.saturating_sub(DAY));
    let mut total: u64 = hours.bytes.values().sum();
    while let Some(oldest) = hours.bytes.first_entry()
        && (*oldest.key() < from || (total > settings.id_bytes && *oldest.key() < current))
    {
        from = from.max(oldest.key() + 1);
        total -= oldest.remove();
    }
    hours.from = from;
    from
}

/// Notes where a message lies, and counts its id.
pub(super) fn put_id(transaction: &mut Transaction<'_>, key: Key, record: &IdRecord) {
    let bytes = encode(record);
    let size = key.bytes().len() + bytes.len();
    *transaction.counters.hours.bytes.entry(hour(record.at)).or_default() += size as u64;
    transaction.counters.unsaved += 1;
    transaction.put_raw(key, bytes);
    if transaction.counters.unsaved >= UNCOUNTED {
        save_hours(transaction);
    }
}

/// Writes the accounts of ids.
fn save_hours(transaction: &mut Transaction<'_>) {
    transaction.counters.unsaved = 0;
    let hours = transaction.counters.hours.clone();
    transaction.put(key::meta("hours"), &hours);
}

/// For how long ids are unique, how many bytes they have, and the last place.
pub(super) fn accounts(transaction: &mut Transaction<'_>, settings: &Settings, now: u64) -> (u64, u64, Seq) {
    let hours = &mut transaction.counters.hours;
    let from = first_hour(hours, settings, now);
    let window = now.saturating_sub(from * HOUR).min(DAY * HOUR);
    (window, hours.bytes.values().sum(), transaction.counters.last())
}

/// Whether a message still lies anywhere, or waits.
pub(super) fn is_there(view: &dyn View, app: &str, record: &IdRecord) -> Result<bool, StoreError> {
    for (target, seq) in &record.places {
        if view.get(key::entry(app, target, *seq).bytes())?.is_some() {
            return Ok(true);
        }
    }
    Ok(record.scheduled.is_some())
}

/// Removes the receipts of a message that is nowhere any more; false when there are so many that some are left.
pub(super) fn forget(transaction: &mut Transaction<'_>, app: &str, record: &IdRecord) -> Result<bool, StoreError> {
    let mut receipts = Vec::new();
    for (target, seq) in &record.places {
        transaction.walk(&key::receipts(app, target, *seq).below(), false, &mut |key, _| {
            receipts.push(key.to_vec());
            Ok(if receipts.len() < RECEIPTS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
    }
    let all = receipts.len() < RECEIPTS;
    receipts.into_iter().for_each(|key| transaction.remove_raw(key));
    Ok(all)
}

/// One round.
pub(super) fn maintain(transaction: &mut Transaction<'_>, settings: &Settings, now: u64) -> Result<Upkeep, StoreError> {
    let mut upkeep = Upkeep { full: transaction.has_room().err(), ..Upkeep::default() };
    expire(transaction, now, &mut upkeep)?;
    let from = first_hour(&mut transaction.counters.hours, settings, now);
    sweep_ids(transaction, from, &mut upkeep)?;
    if let Some(keep) = settings.keep_acknowledged {
        trim(transaction, now.saturating_sub(keep), now, &mut upkeep)?;
    }
    if transaction.counters.unsaved > 0 {
        save_hours(transaction);
    }
    Ok(upkeep)
}

/// Takes away what has expired.
fn expire(transaction: &mut Transaction<'_>, now: u64, upkeep: &mut Upkeep) -> Result<(), StoreError> {
    let over = some(transaction, &expired_by(transaction.counters.expiry_from, now), EXPIRED)?;
    upkeep.more |= over.len() >= EXPIRED;
    let mut reached = now;
    for (key, _) in over {
        let mut parts = Parts::of(&key);
        let at = parts.number()?;
        let (app, target, seq) = (parts.name()?.to_owned(), parts.target()?, parts.number()?);
        if upkeep.more {
            reached = at;
        }
        let head_key = key::head(&app, &target);
        let mut head: Head = get(transaction, &head_key)?.unwrap_or_default();
        remove(transaction, &app, &target, seq, Gone::Expired, &mut head, now)?;
        transaction.put(head_key, &head);
        transaction.remove_raw(key);
        upkeep.expired += 1;
        if upkeep.expired_at.last().is_none_or(|last| (&*last.0, &last.1) != (&app, &target)) {
            upkeep.expired_at.push((app.into(), target));
        }
    }
    transaction.counters.expiry_from = reached;
    Ok(())
}

/// Forgets ids that need not be unique any more and whose message is gone, with its receipts.
fn sweep_ids(transaction: &mut Transaction<'_>, from: u64, upkeep: &mut Upkeep) -> Result<(), StoreError> {
    let mut range = Key::of(Table::Id).below();
    let started = transaction.counters.ids_from.take();
    // Where one round found something, all the others are worth their while.
    let mut rest = started.is_some();
    if let Some(start) = started {
        range.start = start;
    }
    let ids = some(transaction, &range, IDS)?;
    let mut forgotten = 0;
    for (key, bytes) in &ids {
        let record: IdRecord = decode_owned(key, bytes)?;
        let app = Parts::of(key).name()?;
        if hour(record.at) < from && !is_there(transaction, app, &record)? && forget(transaction, app, &record)? {
            transaction.remove_raw(key.clone());
            forgotten += 1;
        }
    }
    upkeep.forgotten += forgotten;
    if let Some((last, _)) = ids.last().filter(|_| ids.len() >= IDS) {
        transaction.counters.ids_from = Some(after(last));
        rest = true;
    }
    upkeep.more |= rest && forgotten > 0;
    Ok(())
}

/// Takes away what was acknowledged before a time, by all for whom it is.
fn trim(transaction: &mut Transaction<'_>, before: u64, now: u64, upkeep: &mut Upkeep) -> Result<(), StoreError> {
    let mut range = Key::of(Table::Head).below();
    if let Some(start) = transaction.counters.heads_from.take() {
        range.start = start;
    }
    let heads = some(transaction, &range, HEADS)?;
    let trimmed = upkeep.trimmed;
    for (key, _) in &heads {
        let mut parts = Parts::of(key);
        let (app, target) = (parts.name()?, parts.target()?);
        upkeep.trimmed += trim_one(transaction, app, &target, before, now)?;
    }
    if let Some((last, _)) = heads.last().filter(|_| heads.len() >= HEADS) {
        transaction.counters.heads_from = Some(after(last));
        upkeep.more |= upkeep.trimmed > trimmed;
    }
    Ok(())
}

fn trim_one(
    transaction: &mut Transaction<'_>,
    app: &str,
    target: &Target,
    before: u64,
    now: u64,
) -> Result<usize, StoreError> {
    let head_key = key::head(app, target);
    let mut head: Head = get(transaction, &head_key)?.unwrap_or_default();
    let until = match target {
        Target::User(_) => head.progress.acknowledged,
        Target::Channel(channel) => slowest(transaction, app, channel)?,
    };
    let mut old = Vec::new();
    walk(transaction, app, target, (head.first.saturating_sub(1), until), false, &mut |entry| {
        if transaction.get(entry.key)?.is_none() {
            return Ok(ControlFlow::Continue(()));
        }
        let since = match target {
            Target::User(user) => receipt(transaction, app, target, entry.seq, user)?.reached[0],
            Target::Channel(_) => Some(read_header(entry.key, entry.bytes)?.created),
        };
        // The first that is to stay ends it: a later one was hardly acknowledged earlier, and its turn comes.
        if since.is_none_or(|since| since >= before) || old.len() >= TRIMMED {
            return Ok(ControlFlow::Break(()));
        }
        old.push(entry.seq);
        Ok(ControlFlow::Continue(()))
    })?;
    for seq in &old {
        remove(transaction, app, target, *seq, Gone::Trimmed, &mut head, now)?;
        head.first = seq + 1;
    }
    if !old.is_empty() {
        transaction.put(head_key, &head);
    }
    Ok(old.len())
}

/// Up to where all members of a channel have acknowledged everything; 0 where there are too many to look.
fn slowest(transaction: &Transaction<'_>, app: &str, channel: &str) -> Result<Seq, StoreError> {
    let members = roster::members(transaction, app, channel, None, ROSTER)?;
    if members.len() >= ROSTER {
        return Ok(0);
    }
    let mut slowest = None;
    for user in members {
        let place: Progress = get(transaction, &key::joined(app, &user, channel))?.unwrap_or_default();
        slowest = Some(slowest.map_or(place.acknowledged, |least: Seq| least.min(place.acknowledged)));
    }
    Ok(slowest.unwrap_or(0))
}

type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// The first records of a range.
fn some(view: &dyn View, range: &Range<Vec<u8>>, most: usize) -> Result<Records, StoreError> {
    let mut records = Vec::new();
    view.walk(range, false, &mut |key, bytes| {
        records.push((key.to_vec(), bytes.to_vec()));
        Ok(if records.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(records)
}

/// The key right behind another one.
fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}
