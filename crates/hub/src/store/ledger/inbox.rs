//! What a user has: their own inbox and the channels on whose rosters they are, as one list in the one order.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::entry::{entry_of, id_record, places_of, receipt, walk};
use super::roster;
use crate::store::engine::{View, get};
use crate::store::error::StoreError;
use crate::store::key::{self, Parts};
use crate::store::message::{Found, Item, Owner, Page, Query, Seq, State, Target};
use crate::store::record::{Head, Progress, Receipt, decode_owned, read_header, read_message};

/// The most entries of one target that are looked at for one page, or counted.
const EXAMINED: usize = 10_000;

/// Where a user's messages lie, with how far they have come there.
pub(super) fn targets(view: &dyn View, of: &Owner) -> Result<Vec<(Target, Progress)>, StoreError> {
    let own = Target::User(of.user.clone());
    let head: Head = get(view, &key::head(&of.app, &own))?.unwrap_or_default();
    let progress = Progress { since: head.first.saturating_sub(1), ..head.progress };
    let channels = roster::places(view, of)?.into_iter();
    Ok(std::iter::once((own, progress)).chain(channels.map(|(name, at)| (Target::Channel(name), at))).collect())
}

/// What is not acknowledged.
pub(super) fn pending(
    view: &dyn View,
    of: &Owner,
    after: Option<Seq>,
    limit: usize,
    now: u64,
) -> Result<Page, StoreError> {
    let query = Query { states: vec![State::Pending], newest_first: false, after, limit };
    page(view, of, &query, now, |progress| progress.acknowledged)
}

/// What there is.
pub(super) fn list(view: &dyn View, of: &Owner, query: &Query, now: u64) -> Result<Page, StoreError> {
    let forward = |states: &[State], least| !states.is_empty() && states.iter().all(|state| *state < least);
    let (unread, pending) = (forward(&query.states, State::Read), forward(&query.states, State::Delivered));
    page(view, of, query, now, |progress| match (pending, unread) {
        (true, _) => progress.acknowledged,
        (_, true) => progress.read,
        _ => 0,
    })
}

/// A page of what `query` asks for; `skip`: entries up to there are certainly not.
fn page(
    view: &dyn View,
    of: &Owner,
    query: &Query,
    now: u64,
    skip: impl Fn(&Progress) -> Seq,
) -> Result<Page, StoreError> {
    let limit = query.limit.max(1);
    let (mut items, mut horizons, mut last) = (Vec::new(), Vec::new(), 0);
    for (target, progress) in targets(view, of)? {
        last = last.max(get::<Head>(view, &key::head(&of.app, &target))?.unwrap_or_default().last);
        let from = progress.since.max(skip(&progress));
        let range = match (query.newest_first, query.after) {
            (false, after) => (from.max(after.unwrap_or(0)), Seq::MAX),
            (true, after) => (from, after.map_or(Seq::MAX, |after| after.saturating_sub(1))),
        };
        horizons.extend(collect(view, of, &target, range, query, now, &mut items)?);
    }
    // Behind where the first walk was broken off, other targets' entries would overtake.
    let horizon = if query.newest_first { horizons.into_iter().max() } else { horizons.into_iter().min() };
    if query.newest_first {
        items.sort_unstable_by_key(|item: &Item| std::cmp::Reverse(item.seq));
        items.retain(|item| horizon.is_none_or(|horizon| item.seq >= horizon));
    } else {
        items.sort_unstable_by_key(|item: &Item| item.seq);
        items.retain(|item| horizon.is_none_or(|horizon| item.seq <= horizon));
    }
    let more = items.len() > limit;
    items.truncate(limit);
    let mut next = if more { items.last().map(|item| item.seq) } else { horizon };
    if next.is_some() {
        next = complete(view, of, &mut items, query, next)?;
    }
    Ok(Page { items, next, horizon: last })
}

/// Puts the other places of the last message on its page, too, so that no message is on two; returns where that ends.
fn complete(
    view: &dyn View,
    of: &Owner,
    items: &mut Vec<Item>,
    query: &Query,
    end: Option<Seq>,
) -> Result<Option<Seq>, StoreError> {
    let Some(last) = items.last().cloned() else { return Ok(end) };
    let Some(record) = id_record(view, &of.app, &last.message.id)? else { return Ok(end) };
    let mut places = places_of(view, of, &record)?;
    // What was put at once has places next to each other; what was sent again is elsewhere, with others in between.
    places.retain(|(_, seq)| seq.abs_diff(last.seq) < record.places.len() as Seq);
    places.retain(|(_, seq)| if query.newest_first { *seq < last.seq } else { *seq > last.seq });
    places.sort_unstable_by_key(|(_, seq)| if query.newest_first { Seq::MAX - seq } else { *seq });
    let mut end = end;
    for (via, seq) in places {
        let Receipt { state, gone, .. } = receipt(view, &of.app, &via, seq, &of.user)?;
        let is_there = gone.is_none() && view.get(key::entry(&of.app, &via, seq).bytes())?.is_some();
        // Between where it was and where it was sent again others may lie.
        if !is_there {
            continue;
        }
        if query.states.is_empty() || query.states.contains(&state) {
            items.push(Item { seq, via, message: last.message.clone(), state });
        }
        end = end.map(|end| if query.newest_first { end.min(seq) } else { end.max(seq) });
    }
    Ok(end)
}

/// Collects from one target; where it was broken off, if it was.
fn collect(
    view: &dyn View,
    of: &Owner,
    target: &Target,
    range: (Seq, Seq),
    query: &Query,
    now: u64,
    items: &mut Vec<Item>,
) -> Result<Option<Seq>, StoreError> {
    let (mut examined, mut found, mut horizon) = (0, 0, None);
    walk(view, &of.app, target, range, query.newest_first, &mut |entry| {
        examined += 1;
        let receipt = receipt(view, &of.app, target, entry.seq, &of.user)?;
        let wanted = query.states.is_empty() || query.states.contains(&receipt.state);
        if wanted && receipt.gone.is_none() && !read_header(entry.key, entry.bytes)?.is_over(now) {
            let message = read_message(entry.key, entry.bytes)?;
            items.push(Item { seq: entry.seq, via: target.clone(), message, state: receipt.state });
            found += 1;
        }
        if found >= query.limit.max(1) || examined >= EXAMINED {
            horizon = Some(entry.seq);
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(horizon)
}

/// Where a user has these messages.
pub(super) fn find(view: &dyn View, of: &Owner, ids: &[Arc<str>], now: u64) -> Result<Vec<Found>, StoreError> {
    let one = |id: &Arc<str>| {
        let Some(record) = id_record(view, &of.app, id)? else { return Ok(Found::default()) };
        let places = places_of(view, of, &record)?;
        let last = places.iter().map(|(_, seq)| *seq).max();
        let mut items = Vec::new();
        for (via, seq) in places {
            if let Some((bytes, receipt)) = entry_of(view, of, &via, seq, now)? {
                let message = read_message(key::entry(&of.app, &via, seq).bytes(), &bytes)?;
                items.push(Item { seq, via, message, state: receipt.state });
            }
        }
        Ok(Found { last, items })
    };
    ids.iter().map(one).collect()
}

/// How much is not read. What lies in several places is one message.
pub(super) fn unread(view: &dyn View, of: &Owner, now: u64) -> Result<u64, StoreError> {
    let targets = targets(view, of)?;
    let (mut unread, mut ids) = (0, HashSet::new());
    for (target, progress) in &targets {
        let (after, mut examined) = (progress.since.max(progress.read), 0);
        let done = match target {
            Target::User(_) => Some(done_with(view, of, target, after)?),
            Target::Channel(_) => None,
        };
        walk(view, &of.app, target, (after, Seq::MAX), false, &mut |entry| {
            let counts = match &done {
                Some(done) => done.binary_search(&entry.seq).is_err(),
                None => !is_done(&receipt(view, &of.app, target, entry.seq, &of.user)?),
            };
            examined += usize::from(counts);
            if counts && !read_header(entry.key, entry.bytes)?.is_over(now) {
                let is_new = targets.len() == 1 || ids.insert(read_message(entry.key, entry.bytes)?.id);
                unread += u64::from(is_new);
            }
            Ok(if examined < EXAMINED { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
    }
    Ok(unread)
}

/// Whether a message with this receipt is not unread.
fn is_done(receipt: &Receipt) -> bool {
    receipt.state >= State::Read || receipt.gone.is_some()
}

/// The places in a user's own inbox after `after`, in order, of what is not unread: its receipts lie together, while those of
/// a channel lie among everybody else's.
fn done_with(view: &dyn View, of: &Owner, own: &Target, after: Seq) -> Result<Vec<Seq>, StoreError> {
    let start = key::receipts(&of.app, own, after.saturating_add(1)).into_bytes();
    let end = key::all_receipts(&of.app, own).below().end;
    let mut done = Vec::new();
    view.walk(&(start..end), false, &mut |key, bytes| {
        if is_done(&decode_owned(key, bytes)?) {
            let mut parts = Parts::of(key);
            let (_app, _own) = (parts.name()?, parts.target()?);
            done.push(parts.number()?);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(done)
}
