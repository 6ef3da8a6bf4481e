//! Whether all records can be read and agree with each other.

use std::ops::{ControlFlow, Range};

use super::entry::{id_record, walk};
use crate::store::engine::{View, get};
use crate::store::error::StoreError;
use crate::store::key::{self, Key, Parts, Table, show};
use crate::store::message::{Damage, Seq, Target};
use crate::store::record::{Head, IdRecord, Progress, Receipt, Waiting, decode_owned, read_message};

/// So many are told; more tell nothing new.
const TOLD: usize = 1_000;

/// Reads every record; `progress` hears after each thousand, and at the end, how many were read.
///
/// # Errors
/// None but what cannot be told as damage.
pub fn verify(view: &dyn View, progress: &mut dyn FnMut(u64)) -> Result<Vec<Damage>, StoreError> {
    let mut check = Check { view, damage: Vec::new(), read: 0, current: None };
    for table in Table::ALL {
        let range = Key::of(table).below();
        check.table(table, &range, progress);
        check.end_of_target();
    }
    progress(check.read);
    Ok(check.damage)
}

/// What is wrong, without what to do: that is said once, behind all.
fn said(error: StoreError) -> String {
    match error {
        StoreError::Damaged { what, .. } => what,
        other => other.to_string(),
    }
}

struct Check<'a> {
    view: &'a dyn View,
    damage: Vec<Damage>,
    read: u64,
    /// The target whose entries are being read, and how many there were.
    current: Option<(String, Target, u32)>,
}

impl Check<'_> {
    fn tell(&mut self, place: impl Into<String>, what: impl Into<String>) {
        if self.damage.len() < TOLD {
            self.damage.push(Damage { place: place.into(), what: what.into() });
        }
    }

    fn table(&mut self, table: Table, range: &Range<Vec<u8>>, progress: &mut dyn FnMut(u64)) {
        let view = self.view;
        let walked = view.walk(range, false, &mut |key, bytes| {
            self.read += 1;
            if self.read.is_multiple_of(1_000) {
                progress(self.read);
            }
            if let Err(error) = self.record(table, key, bytes) {
                self.tell(show(key), said(error));
            }
            Ok(ControlFlow::Continue(()))
        });
        if let Err(error) = walked {
            // How many entries it has behind that nobody knows.
            self.current = None;
            self.tell(table.words(), format!("not all can be read: {}", said(error)));
        }
    }

    fn record(&mut self, table: Table, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let mut parts = Parts::of(key);
        match table {
            Table::Meta => {}
            Table::Entry => self.entry(key, bytes)?,
            Table::Head => {
                let (head, app, target): (Head, _, _) = (decode_owned(key, bytes)?, parts.name()?, parts.target()?);
                if head.count > 0 && self.first_of(app, &target)?.is_none() {
                    self.tell(show(key), format!("{} entries are missing", head.count));
                }
            }
            Table::Id => decode_owned::<IdRecord>(key, bytes).map(drop)?,
            Table::Receipt => decode_owned::<Receipt>(key, bytes).map(drop)?,
            Table::Member => {
                let (app, channel, user) = (parts.name()?, parts.name()?, parts.name()?);
                self.wants(key, &key::joined(app, user, channel))?;
            }
            Table::Joined => {
                decode_owned::<Progress>(key, bytes)?;
                let (app, user, channel) = (parts.name()?, parts.name()?, parts.name()?);
                self.wants(key, &key::member(app, channel, user))?;
            }
            Table::Scheduled => {
                let waiting: Waiting = decode_owned(key, bytes)?;
                read_message(key, &waiting.message)?;
                if id_record(self.view, &waiting.app, &waiting.id)?.is_none() {
                    self.tell(show(key), format!("there is no id {}", waiting.id));
                }
            }
            Table::Expiry => {
                let _ = parts.number()?;
                let (app, target, seq) = (parts.name()?, parts.target()?, parts.number()?);
                self.wants(key, &key::entry(app, &target, seq))?;
            }
        }
        Ok(())
    }

    fn wants(&mut self, key: &[u8], other: &Key) -> Result<(), StoreError> {
        if self.view.get(other.bytes())?.is_none() {
            self.tell(show(key), format!("there is no {}", show(other.bytes())));
        }
        Ok(())
    }

    fn entry(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let mut parts = Parts::of(key);
        let (app, target, seq) = (parts.name()?, parts.target()?, parts.number()?);
        match &mut self.current {
            Some((of, current, count)) if of == app && *current == target => *count += 1,
            _ => {
                self.end_of_target();
                self.current = Some((app.to_owned(), target.clone(), 1));
            }
        }
        let message = read_message(key, bytes)?;
        let record = id_record(self.view, app, &message.id)?;
        if !record.is_some_and(|record| record.places.contains(&(target, seq))) {
            self.tell(show(key), format!("the id {} does not lead here", message.id));
        }
        Ok(())
    }

    /// The entries of a target have been read: are they as many as there should be?
    fn end_of_target(&mut self) {
        let Some((app, target, count)) = self.current.take() else { return };
        let key = key::head(&app, &target);
        match get::<Head>(self.view, &key) {
            Ok(head) if head.is_some_and(|head| head.count == count) => {}
            Ok(head) => {
                let known = head.map_or(0, |head| head.count);
                self.tell(show(key.bytes()), format!("{count} entries are there, {known} should be"));
            }
            Err(error) => self.tell(show(key.bytes()), said(error)),
        }
    }

    fn first_of(&self, app: &str, target: &Target) -> Result<Option<Seq>, StoreError> {
        let mut first = None;
        walk(self.view, app, target, (0, Seq::MAX), false, &mut |entry| {
            first = Some(entry.seq);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(first)
    }
}
