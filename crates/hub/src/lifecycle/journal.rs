//! What is to be told, and what was told last, as the store keeps it: as rosters of an app of its own, which no file can
//! name. So every store can do it, and what is shared by nodes is shared here, too.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use uuid::Uuid;

use super::{Event, Key, Kind};
use crate::address::AppId;
use crate::store::{NAME_MAX, Store, StoreError};

/// The roster of events that are to be told.
const WAITING: &str = "waiting";

/// Names that are read at once.
const PAGE: usize = 1_000;

/// An id in letters.
const ID: usize = 36;

/// What was found of an app.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What is to be told, in order.
    pub(super) waiting: Vec<Event>,
    /// Who was said to be there last, or will have been when all of that is told.
    pub(super) said: HashSet<Key>,
}

/// The app whose rosters these are.
fn place(app: &str) -> String {
    format!("*webhook:{app}")
}

/// The roster of those who were said to be there.
fn said(kind: Kind) -> &'static str {
    match kind {
        Kind::User => "users",
        Kind::Channel => "channels",
    }
}

fn write(event: &Event) -> Option<Arc<str>> {
    let kind = match event.key.kind {
        Kind::User => 'u',
        Kind::Channel => 'c',
    };
    let name = format!("{}{}{kind}{}", event.id.hyphenated(), if event.on { '+' } else { '-' }, event.key.name);
    (name.len() <= NAME_MAX).then(|| name.into())
}

fn read(app: AppId, name: &str) -> Option<Event> {
    let (id, rest) = name.split_at_checked(ID)?;
    let (what, name) = rest.split_at_checked(2)?;
    let (on, kind) = match what {
        "+u" => (true, Kind::User),
        "-u" => (false, Kind::User),
        "+c" => (true, Kind::Channel),
        "-c" => (false, Kind::Channel),
        _ => return None,
    };
    Some(Event { id: Uuid::parse_str(id).ok()?, key: Key { app, kind, name: name.into() }, on })
}

/// All of an app's.
pub(super) async fn load(store: &dyn Store, app: AppId, name: &str) -> Result<Found, StoreError> {
    let place = place(name);
    let mut waiting = Vec::new();
    each(store, &place, WAITING, |name| waiting.extend(read(app, name))).await?;
    waiting.sort_unstable_by_key(|event: &Event| event.id);
    let mut found = Found { waiting, said: HashSet::new() };
    for kind in Kind::ALL {
        each(store, &place, said(kind), |name| {
            found.said.insert(Key { app, kind, name: name.into() });
        })
        .await?;
    }
    for event in &found.waiting {
        apply(&mut found.said, event);
    }
    Ok(found)
}

/// Notes what is said by an event.
pub(super) fn apply(said: &mut HashSet<Key>, event: &Event) {
    if event.on {
        said.insert(event.key.clone());
    } else {
        said.remove(&event.key);
    }
}

async fn each(store: &dyn Store, place: &str, roster: &str, mut take: impl FnMut(&str)) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let page = store.members(place, roster, after, PAGE).await?;
        page.iter().for_each(|name| take(name));
        match page.into_iter().next_back() {
            Some(last) => after = Some(last),
            None => return Ok(()),
        }
    }
}

/// Keeps events of an app: what they say, and before they are told, those that are `wanted`.
pub(super) async fn keep(
    store: &dyn Store,
    app: &str,
    events: &[&Event],
    wanted: impl Fn(&Event) -> bool,
) -> Result<(), StoreError> {
    let place = place(app);
    for some in events.chunks(PAGE) {
        let waiting: Vec<_> = some.iter().filter(|event| wanted(event)).filter_map(|event| write(event)).collect();
        if !waiting.is_empty() {
            store.enroll(&place, WAITING, waiting).await?;
        }
        let last: HashMap<&Key, bool> = some.iter().map(|event| (&event.key, event.on)).collect();
        let mut changes: BTreeMap<(Kind, bool), Vec<Arc<str>>> = BTreeMap::new();
        for (key, on) in last.into_iter().filter(|(key, _)| key.name.len() <= NAME_MAX) {
            changes.entry((key.kind, on)).or_default().push(Arc::clone(&key.name));
        }
        for ((kind, on), names) in changes {
            if on {
                store.enroll(&place, said(kind), names).await?;
            } else {
                store.dismiss(&place, said(kind), names).await?;
            }
        }
    }
    Ok(())
}

/// Forgets events of an app that were told.
pub(super) async fn forget(store: &dyn Store, app: &str, events: &[Event]) -> Result<(), StoreError> {
    for some in events.chunks(PAGE) {
        store.dismiss(&place(app), WAITING, some.iter().filter_map(write).collect()).await?;
    }
    Ok(())
}
