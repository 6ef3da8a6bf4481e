//! Making records agree with each other again, after some could not be read: what can be told from others is written
//! anew, what leads nowhere goes.

use std::ops::ControlFlow;

use super::entry::{find_id, receipt, walk};
use crate::store::engine::{Transaction, View, get};
use crate::store::error::StoreError;
use crate::store::key::{self, Key, Parts, Table};
use crate::store::message::{Message, Seq, Target};
use crate::store::record::{Head, IdRecord, Progress, Receipt, Waiting, decode_owned, read_message};

/// What was mended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mended {
    /// Records that were written anew.
    pub written: usize,
    /// Records that went, since they could not be read or led nowhere.
    pub removed: usize,
    /// Messages that are there, one for each inbox or channel that it is in.
    pub messages: u64,
    /// Messages that are not there, though their inbox or channel counts them.
    pub lost: u64,
}

/// Mends all records.
///
/// A member of whom only the roster is left gets all of their channel's messages again: too many rather than too few.
///
/// # Errors
/// What the engine says.
pub fn mend(transaction: &mut Transaction<'_>) -> Result<Mended, StoreError> {
    let view = transaction.before();
    let mut mend = Mend { transaction, last: 0, current: None, mended: Mended::default() };
    for table in Table::ALL {
        view.walk(&Key::of(table).below(), false, &mut |key, bytes| {
            if mend.record(table, key, bytes).is_err() {
                mend.transaction.remove_raw(key.to_vec());
            }
            Ok(ControlFlow::Continue(()))
        })?;
        mend.end_of_target()?;
    }
    let (last, mut mended) = (mend.last, mend.mended);
    transaction.reserve(last);
    mended.removed = transaction.removals();
    mended.written = transaction.changes() - mended.removed;
    Ok(mended)
}

struct Mend<'t, 'v> {
    transaction: &'t mut Transaction<'v>,
    /// The last place that anything names.
    last: Seq,
    /// The target whose entries are being read.
    current: Option<Run>,
    mended: Mended,
}

struct Run {
    app: String,
    target: Target,
    first: Seq,
    last: Seq,
    count: u32,
}

impl Mend<'_, '_> {
    /// Mends what has to do with one record; an error: the record is good for nothing.
    fn record(&mut self, table: Table, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let mut parts = Parts::of(key);
        match table {
            Table::Meta => {}
            Table::Entry => self.entry(key, bytes)?,
            Table::Head => {
                let mut head: Head = decode_owned(key, bytes)?;
                let (app, target) = (parts.name()?, parts.target()?);
                if head.count > 0 && self.is_empty(app, &target)? {
                    self.mended.lost += u64::from(head.count);
                    head.count = 0;
                    self.transaction.put(key::head(app, &target), &head);
                }
            }
            Table::Id => decode_owned::<IdRecord>(key, bytes).map(drop)?,
            Table::Receipt => {
                decode_owned::<Receipt>(key, bytes)?;
                let _ = (parts.name()?, parts.target()?);
                self.last = self.last.max(parts.number()?);
            }
            Table::Member => {
                let (app, channel, user) = (parts.name()?, parts.name()?, parts.name()?);
                let place = key::joined(app, user, channel);
                if get::<Progress>(self.transaction, &place).ok().flatten().is_none() {
                    self.transaction.put(place, &Progress::default());
                }
            }
            Table::Joined => {
                decode_owned::<Progress>(key, bytes)?;
                let (app, user, channel) = (parts.name()?, parts.name()?, parts.name()?);
                let member = key::member(app, channel, user);
                if self.transaction.get(member.bytes())?.is_none() {
                    self.transaction.put_raw(member, Vec::new());
                }
            }
            Table::Scheduled => self.scheduled(key, bytes)?,
            Table::Expiry => {
                let _ = parts.number()?;
                let (app, target, seq) = (parts.name()?, parts.target()?, parts.number()?);
                if self.transaction.get(key::entry(app, &target, seq).bytes())?.is_none() {
                    self.transaction.remove_raw(key.to_vec());
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let mut parts = Parts::of(key);
        let (app, target, seq) = (parts.name()?, parts.target()?, parts.number()?);
        let message = read_message(key, bytes)?;
        self.last = self.last.max(seq);
        match &mut self.current {
            Some(run) if run.app == app && run.target == target => (run.count, run.last) = (run.count + 1, seq),
            _ => {
                self.end_of_target()?;
                self.current =
                    Some(Run { app: app.to_owned(), target: target.clone(), first: seq, last: seq, count: 1 });
            }
        }
        if let Some(at) = message.expires_at {
            let expiry = key::expiry(at, app, &target, seq);
            if self.transaction.get(expiry.bytes())?.is_none() {
                self.transaction.put_raw(expiry, Vec::new());
            }
        }
        let (id_key, mut record) = self.id_of(app, &message);
        if !record.places.contains(&(target.clone(), seq)) {
            record.places.push((target, seq));
            self.transaction.put(id_key, &record);
        }
        Ok(())
    }

    /// Where a message lies, as far as that is known.
    fn id_of(&self, app: &str, message: &Message) -> (Key, IdRecord) {
        let lost = || IdRecord { at: message.created, scheduled: None, places: Vec::new() };
        let known = find_id(self.transaction, app, &message.id).ok().flatten();
        known.unwrap_or_else(|| (key::id(app, &message.id), lost()))
    }

    fn scheduled(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let mut parts = Parts::of(key);
        let place = (parts.number()?, parts.number()?);
        self.last = self.last.max(place.1);
        let waiting: Waiting = decode_owned(key, bytes)?;
        let (id_key, mut record) = self.id_of(&waiting.app, &read_message(key, &waiting.message)?);
        if record.scheduled != Some(place) {
            record.scheduled = Some(place);
            self.transaction.put(id_key, &record);
        }
        Ok(())
    }

    fn is_empty(&self, app: &str, target: &Target) -> Result<bool, StoreError> {
        let mut empty = true;
        walk(self.transaction, app, target, (0, Seq::MAX), false, &mut |_| {
            empty = false;
            Ok(ControlFlow::Break(()))
        })?;
        Ok(empty)
    }

    /// All entries of a target have been read: its head says so.
    fn end_of_target(&mut self) -> Result<(), StoreError> {
        let Some(Run { app, target, first, last, count }) = self.current.take() else { return Ok(()) };
        let key = key::head(&app, &target);
        let known: Option<Head> = get(self.transaction, &key).ok().flatten();
        self.mended.messages += u64::from(count);
        self.mended.lost += u64::from(known.map_or(0, |head| head.count.saturating_sub(count)));
        if known.is_some_and(|head| head.count == count && head.first <= first && head.last >= last) {
            return Ok(());
        }
        let mut head = known.unwrap_or_default();
        (head.count, head.first, head.last) = (count, head.first.min(first), head.last.max(last));
        head.progress.ahead = self.ahead(&app, &target, head.progress.acknowledged)?;
        self.transaction.put(key, &head);
        Ok(())
    }

    /// How many entries of a user behind their cursor are acknowledged.
    fn ahead(&self, app: &str, target: &Target, cursor: Seq) -> Result<u32, StoreError> {
        let Target::User(user) = target else { return Ok(0) };
        let mut ahead = 0;
        walk(self.transaction, app, target, (cursor, Seq::MAX), false, &mut |entry| {
            ahead += u32::from(receipt(self.transaction, app, target, entry.seq, user)?.is_acknowledged());
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(ahead)
    }
}
