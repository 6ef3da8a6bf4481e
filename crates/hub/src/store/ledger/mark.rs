//! What users do with what they have: acknowledge, read, put away, delete; and having it again.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::entry::{
    Appended, append, entry_of, find_id, held, id_record, last_place, places_of, receipt, remove, walk,
};
use super::inbox::targets;
use crate::store::engine::{Transaction, View, get};
use crate::store::error::StoreError;
use crate::store::key;
use crate::store::message::{
    Bound, Change, Deleted, Gone, Item, Marked, Owner, ReceiptTo, Seq, State, Target, WhenFull, Which,
};
use crate::store::record::{Head, Progress, Receipt, read_header, read_message};

/// The most messages that one mark changes: others wait for the writer meanwhile.
const MARKED: usize = 1_000;

/// The most entries that a cursor passes in one operation; the next one goes on.
const PASSED: usize = 20_000;

/// Messages to be changed, each once: target, place, id, what became of it so far, and who wants to hear of it.
type Chosen = Vec<(Target, Seq, Arc<str>, Receipt, Option<ReceiptTo>)>;

/// Brings messages forward.
pub(super) fn mark(
    transaction: &mut Transaction<'_>,
    of: &Owner,
    which: &Which,
    to: State,
    now: u64,
) -> Result<Marked, StoreError> {
    let mut marked = Marked::default();
    let chosen = match which {
        Which::Ids(ids) => by_id(transaction, of, ids, now, &mut marked)?,
        Which::UpTo(id) => match last_place(transaction, of, id)? {
            Some(until) => up_to(transaction, of, until, to, now, &mut marked)?,
            None => {
                marked.unknown.push(id.clone());
                return Ok(marked);
            }
        },
        Which::All => up_to(transaction, of, Seq::MAX, to, now, &mut marked)?,
    };
    let mut ahead: BTreeMap<Target, Vec<Seq>> = BTreeMap::new();
    for (target, seq, id, mut receipt, wanted) in chosen {
        let from = receipt.state;
        if !receipt.advance(to, now) {
            continue;
        }
        transaction.put(key::receipt(&of.app, &target, seq, &of.user), &receipt);
        marked.changed.push(Change { id, seq, from, to, receipt: wanted });
        let new = ahead.entry(target).or_default();
        if from == State::Pending {
            new.push(seq);
        }
    }
    marked.changed.sort_unstable_by_key(|change| change.seq);
    // Its places are neighbours: one message, one change.
    marked.changed.dedup_by(|change, before| change.id == before.id);
    for (target, new) in ahead {
        settle(transaction, of, &target, &new, to, now)?;
    }
    Ok(marked)
}

/// The messages of these ids; who is not there is noted.
fn by_id(
    transaction: &Transaction<'_>,
    of: &Owner,
    ids: &[Arc<str>],
    now: u64,
    marked: &mut Marked,
) -> Result<Chosen, StoreError> {
    let (mut chosen, mut named) = (Vec::new(), HashSet::new());
    for id in ids.iter().filter(|id| named.insert(*id)) {
        let before = chosen.len();
        let record = id_record(transaction, &of.app, id)?;
        let places = record.map(|record| places_of(transaction, of, &record)).transpose()?.unwrap_or_default();
        for (target, seq) in places {
            if let Some((bytes, receipt)) = entry_of(transaction, of, &target, seq, now)? {
                let message = read_message(key::entry(&of.app, &target, seq).bytes(), &bytes)?;
                chosen.push((target, seq, id.clone(), receipt, message.receipt));
            }
        }
        if chosen.len() == before {
            marked.unknown.push(id.clone());
        }
    }
    Ok(chosen)
}

/// The messages up to a place that are not that far yet.
fn up_to(
    transaction: &Transaction<'_>,
    of: &Owner,
    until: Seq,
    to: State,
    now: u64,
    marked: &mut Marked,
) -> Result<Chosen, StoreError> {
    let mut chosen = Vec::new();
    for (target, progress) in targets(transaction, of)? {
        let done = match to {
            State::Pending | State::Delivered => progress.acknowledged,
            State::Seen | State::Read => progress.read,
            State::Archived => 0,
        };
        walk(transaction, &of.app, &target, (progress.since.max(done), until), false, &mut |entry| {
            let receipt = receipt(transaction, &of.app, &target, entry.seq, &of.user)?;
            if receipt.state >= to || receipt.gone.is_some() || read_header(entry.key, entry.bytes)?.is_over(now) {
                return Ok(ControlFlow::Continue(()));
            }
            if chosen.len() >= MARKED {
                marked.more = true;
                return Ok(ControlFlow::Break(()));
            }
            let message = read_message(entry.key, entry.bytes)?;
            chosen.push((target.clone(), entry.seq, message.id, receipt, message.receipt));
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(chosen)
}

/// Moves a user's cursors in a target as far as they go. `new`: what has just been acknowledged; `reached`: as what.
fn settle(
    transaction: &mut Transaction<'_>,
    of: &Owner,
    target: &Target,
    new: &[Seq],
    reached: State,
    now: u64,
) -> Result<(), StoreError> {
    let (head_key, place_key) = (key::head(&of.app, target), key::joined(&of.app, &of.user, target.name()));
    let mut head: Head = get(transaction, &head_key)?.unwrap_or_default();
    let mut progress = match target {
        Target::User(_) => head.progress,
        Target::Channel(_) => get(transaction, &place_key)?.unwrap_or_default(),
    };
    let behind = new.iter().filter(|seq| **seq > progress.acknowledged).count();
    progress.ahead += u32::try_from(behind).unwrap_or(u32::MAX);
    let from = progress.since.max(head.first.saturating_sub(1));
    pass(transaction, of, target, from, State::Delivered, &mut progress, now)?;
    if reached >= State::Read {
        pass(transaction, of, target, from, State::Read, &mut progress, now)?;
    }
    match target {
        Target::User(_) => {
            head.progress = progress;
            transaction.put(head_key, &head);
        }
        Target::Channel(_) => transaction.put(place_key, &progress),
    }
    Ok(())
}

/// Moves the cursor of one state over everything that is that far.
fn pass(
    transaction: &Transaction<'_>,
    of: &Owner,
    target: &Target,
    from: Seq,
    state: State,
    progress: &mut Progress,
    now: u64,
) -> Result<(), StoreError> {
    let reads = state == State::Read;
    let mut at = if reads { progress.read } else { progress.acknowledged };
    let mut passed = 0;
    let mut ahead = progress.ahead;
    walk(transaction, &of.app, target, (at.max(from), Seq::MAX), false, &mut |entry| {
        let receipt = receipt(transaction, &of.app, target, entry.seq, &of.user)?;
        let gone = receipt.gone.is_some() || transaction.get(entry.key)?.is_none();
        if receipt.state < state && !gone && !read_header(entry.key, entry.bytes)?.is_over(now) {
            return Ok(ControlFlow::Break(()));
        }
        ahead = ahead.saturating_sub(u32::from(!reads && !gone && receipt.is_acknowledged()));
        at = entry.seq;
        passed += 1;
        Ok(if passed < PASSED { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    if reads {
        progress.read = at;
    } else {
        (progress.acknowledged, progress.ahead) = (at, ahead);
    }
    Ok(())
}

/// Takes messages from a user.
pub(super) fn delete(
    transaction: &mut Transaction<'_>,
    of: &Owner,
    ids: Vec<Arc<str>>,
    now: u64,
) -> Result<Deleted, StoreError> {
    let mut deleted = Deleted::default();
    for id in ids {
        let held = held(transaction, of, &id, now)?;
        if held.is_empty() {
            deleted.unknown.push(id);
            continue;
        }
        for (target, seq, _) in held {
            take(transaction, of, &target, seq, Gone::Deleted, now)?;
        }
        deleted.removed.push(id);
    }
    Ok(deleted)
}

/// Takes one message from a user: out of their inbox, or out of their sight.
fn take(
    transaction: &mut Transaction<'_>,
    of: &Owner,
    target: &Target,
    seq: Seq,
    why: Gone,
    now: u64,
) -> Result<(), StoreError> {
    if let Target::User(_) = target {
        let key = key::head(&of.app, target);
        let mut head: Head = get(transaction, &key)?.unwrap_or_default();
        remove(transaction, &of.app, target, seq, why, &mut head, now)?;
        transaction.put(key, &head);
    } else {
        let mut receipt = receipt(transaction, &of.app, target, seq, &of.user)?;
        receipt.gone = Some((why, now));
        transaction.put(key::receipt(&of.app, target, seq, &of.user), &receipt);
    }
    settle(transaction, of, target, &[], State::Read, now)
}

/// Gives a user a message again: it gets the next place in their inbox.
pub(super) fn resend(
    transaction: &mut Transaction<'_>,
    of: &Owner,
    id: &str,
    now: u64,
) -> Result<Option<Item>, StoreError> {
    let held = held(transaction, of, id, now)?;
    let Some((target, seq, bytes)) = held.first().cloned() else { return Ok(None) };
    let message = read_message(key::entry(&of.app, &target, seq).bytes(), &bytes)?;
    let own = Target::User(of.user.clone());
    let Some((id_key, mut record)) = find_id(transaction, &of.app, id)? else { return Ok(None) };
    for (target, seq, _) in held {
        take(transaction, of, &target, seq, Gone::Resent, now)?;
        if target == own {
            // Its place is not known any more, so nobody would remove its receipt.
            transaction.remove(key::receipt(&of.app, &target, seq, &of.user));
            record.places.retain(|place| *place != (target.clone(), seq));
        }
    }
    let unbounded = Bound { most: u32::MAX, when_full: WhenFull::DropOldest };
    let appended = append(transaction, &of.app, &own, &bytes, message.expires_at, unbounded, now)?;
    let Appended::At(seq, _) = appended else { return Ok(None) };
    record.places.push((own.clone(), seq));
    transaction.put(id_key, &record);
    Ok(Some(Item { seq, via: own, message, state: State::Pending }))
}
