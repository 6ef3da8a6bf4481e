//! How messages come in: at once, or when they are due; once each.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::Settings;
use super::entry::{Appended, append, find_id};
use super::upkeep;
use crate::command::Level;
use crate::store::engine::{Transaction, View};
use crate::store::error::StoreError;
use crate::store::key::{self, Key, Parts, Table};
use crate::store::message::{Bound, Gone, Outcome, Put, Released, Seq, Stored, Target};
use crate::store::record::{IdRecord, Receipt, Waiting, decode_owned, read_message, write_message};

/// Stores or schedules a message, unless its id is known.
pub(super) fn put(
    transaction: &mut Transaction<'_>,
    settings: &Settings,
    put: Put,
    now: u64,
) -> Result<Stored, StoreError> {
    let Put { app, message, fresh, mut to, deliver_at, bound, .. } = put;
    let mut stored = Stored {
        outcome: Outcome::Duplicate,
        level: Level::Accepted,
        places: Vec::new(),
        refused: Vec::new(),
        dropped: Vec::new(),
    };
    let from = upkeep::first_hour(&mut transaction.counters.hours, settings, now);
    let known = if fresh { None } else { find_id(transaction, &app, &message.id)? };
    let id_key = known.as_ref().map_or_else(|| key::id(&app, &message.id), |(key, _)| key.clone());
    if let Some((_, known)) = known {
        if upkeep::hour(known.at) >= from || upkeep::is_there(transaction, &app, &known)? {
            stored.places = known.places;
            return Ok(stored);
        }
        upkeep::forget(transaction, &app, &known)?;
    }
    to.sort_unstable();
    to.dedup();
    let bytes = write_message(&message);
    let mut record = IdRecord { at: now, scheduled: None, places: Vec::new() };
    if let Some(due) = deliver_at.filter(|due| *due > now) {
        transaction.has_room()?;
        let seq = transaction.next();
        let waiting = Waiting { app: app.clone(), id: message.id, to, bound, message: bytes.into() };
        transaction.put(key::scheduled(due, seq), &waiting);
        transaction.counters.due_from = transaction.counters.due_from.min(due);
        record.scheduled = Some((due, seq));
        stored.outcome = Outcome::Scheduled;
    } else {
        let spread = spread(transaction, &app, &to, &bytes, message.expires_at, bound, now)?;
        if spread.places.is_empty() {
            return Err(StoreError::InboxFull(to[0].to_string()));
        }
        record.places.clone_from(&spread.places);
        stored = Stored {
            outcome: Outcome::Stored,
            places: spread.places,
            refused: spread.refused,
            dropped: spread.dropped,
            ..stored
        };
    }
    upkeep::put_id(transaction, id_key, &record);
    Ok(stored)
}

#[derive(Default)]
struct Spread {
    places: Vec<(Target, Seq)>,
    refused: Vec<Target>,
    dropped: Vec<(Target, Arc<str>)>,
}

/// Puts an entry into each inbox.
fn spread(
    transaction: &mut Transaction<'_>,
    app: &str,
    to: &[Target],
    message: &[u8],
    expires_at: Option<u64>,
    bound: Bound,
    now: u64,
) -> Result<Spread, StoreError> {
    let mut spread = Spread::default();
    for target in to {
        match append(transaction, app, target, message, expires_at, bound, now)? {
            Appended::At(seq, dropped) => {
                spread.places.push((target.clone(), seq));
                spread.dropped.extend(dropped.into_iter().map(|id| (target.clone(), id)));
            }
            Appended::Full => spread.refused.push(target.clone()),
        }
    }
    Ok(spread)
}

/// Puts what is due into inboxes.
pub(super) fn release(transaction: &mut Transaction<'_>, limit: usize, now: u64) -> Result<Vec<Released>, StoreError> {
    let mut due: Vec<(Vec<u8>, Waiting)> = Vec::new();
    let start = Key::of(Table::Scheduled).number(transaction.counters.due_from).into_bytes();
    let end = Key::of(Table::Scheduled).number(now.saturating_add(1)).into_bytes();
    transaction.walk(&(start..end), false, &mut |key, bytes| {
        if due.len() >= limit {
            return Ok(ControlFlow::Break(()));
        }
        due.push((key.to_vec(), decode_owned(key, bytes)?));
        Ok(ControlFlow::Continue(()))
    })?;
    let reached = match due.last() {
        Some((key, _)) if due.len() >= limit => Parts::of(key).number()?,
        _ => now,
    };
    let mut released = Vec::new();
    for (key, waiting) in due {
        released.extend(release_one(transaction, &key, waiting, now)?);
        transaction.remove_raw(key);
    }
    transaction.counters.due_from = reached;
    Ok(released)
}

fn release_one(
    transaction: &mut Transaction<'_>,
    key: &[u8],
    waiting: Waiting,
    now: u64,
) -> Result<Option<Released>, StoreError> {
    let Waiting { app, id, to, bound, message: bytes } = waiting;
    let message = read_message(key, &bytes)?;
    let lost = || (key::id(&app, &id), IdRecord { at: now, scheduled: None, places: vec![] });
    let (id_key, mut record) = find_id(transaction, &app, &id)?.unwrap_or_else(lost);
    record.scheduled = None;
    if message.expires_at.is_some_and(|at| at <= now) {
        let never = Receipt { gone: Some((Gone::Expired, now)), ..Receipt::default() };
        for target in to {
            let seq = transaction.next();
            let user = if let Target::User(user) = &target { &**user } else { "" };
            transaction.put(key::receipt(&app, &target, seq, user), &never);
            record.places.push((target, seq));
        }
        transaction.put(id_key, &record);
        return Ok(None);
    }
    let spread = spread(transaction, &app, &to, &bytes, message.expires_at, bound, now)?;
    record.places.clone_from(&spread.places);
    transaction.put(id_key, &record);
    let Spread { places, refused, dropped } = spread;
    Ok(Some(Released { app, message, places, refused, dropped }))
}

/// When the first of what waits is due.
pub(super) fn next_due(view: &dyn View) -> Result<Option<u64>, StoreError> {
    let mut due = None;
    view.walk(&Key::of(Table::Scheduled).below(), false, &mut |key, _| {
        due = Some(Parts::of(key).number()?);
        Ok(ControlFlow::Break(()))
    })?;
    Ok(due)
}
