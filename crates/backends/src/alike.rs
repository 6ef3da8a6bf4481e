//! Random operations: every store answers as the one in memory, also when it is closed and opened in between.

#![allow(clippy::unwrap_used, reason = "a test may: the panic is the failure")]

use std::collections::BTreeSet;
use std::sync::Arc;

use oyez_hub::command::Level;
use oyez_hub::store::{
    Bound, Item, Memory, MemoryStore, Message, Owner, Put, Query, Released, Settings, State, Step, Store, Target,
    Trace, WhenFull, Which, conformance,
};
use proptest::collection::vec;
use proptest::prelude::*;

pub(crate) const HOUR: u64 = 3_600_000;
const START: u64 = 500_000 * HOUR;

/// What is done to both.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Put { id: u8, to: Vec<u8>, expires: Option<u64>, later: Option<u64>, most: u32, refuse: bool },
    Mark { user: u8, id: u8, which: u8, to: usize },
    Delete { user: u8, id: u8 },
    Resend { user: u8, id: u8 },
    Note { user: u8, id: u8 },
    Enroll { user: u8, channel: u8 },
    Dismiss { user: u8, channel: u8 },
    Pass(u64),
    Release,
    Maintain,
    Reopen,
}

/// Any of them.
pub(crate) fn op() -> impl Strategy<Value = Op> {
    let (user, id, channel) = (0..2_u8, 0..10_u8, 2..4_u8);
    let soon = || proptest::option::of(1..3_u64);
    let put = (id.clone(), vec(0..4_u8, 1..3), soon(), soon(), 1..5_u32, any::<bool>());
    prop_oneof![
        8 => put.prop_map(|(id, to, expires, later, most, refuse)| Op::Put { id, to, expires, later, most, refuse }),
        6 => (user.clone(), id.clone(), 0..3_u8, 0..5_usize)
            .prop_map(|(user, id, which, to)| Op::Mark { user, id, which, to }),
        2 => (user.clone(), id.clone()).prop_map(|(user, id)| Op::Delete { user, id }),
        2 => (user.clone(), id.clone()).prop_map(|(user, id)| Op::Resend { user, id }),
        1 => (user.clone(), id).prop_map(|(user, id)| Op::Note { user, id }),
        3 => (user.clone(), channel.clone()).prop_map(|(user, channel)| Op::Enroll { user, channel }),
        1 => (user, channel).prop_map(|(user, channel)| Op::Dismiss { user, channel }),
        2 => prop_oneof![Just(1), Just(HOUR), Just(25 * HOUR)].prop_map(Op::Pass),
        2 => Just(Op::Release),
        2 => Just(Op::Maintain),
        1 => Just(Op::Reopen),
    ]
}

fn owner(user: u8) -> Owner {
    Owner::new("app", user.to_string())
}

fn name(id: u8) -> Arc<str> {
    format!("m{id}").into()
}

fn target(number: u8) -> Target {
    let name = number.to_string().into();
    if number < 2 { Target::User(name) } else { Target::Channel(name) }
}

fn ids<'a>(dropped: impl IntoIterator<Item = &'a (Target, Arc<str>)>) -> String {
    dropped.into_iter().map(|(target, id)| format!("{target} {id},")).collect()
}

/// Does it and says what came of it, without places: those of the two stores are different numbers in the same order.
async fn play(store: &dyn Store, op: &Op, now: u64) -> String {
    match op.clone() {
        Op::Put { id, to, expires, later, most, refuse } => {
            let expires_at = expires.map(|hours| now + hours * HOUR);
            let message = Message { created: now, expires_at, ..conformance::message(&name(id)) };
            let when_full = if refuse { WhenFull::Refuse } else { WhenFull::DropOldest };
            let (bound, to) = (Bound { most, when_full }, to.into_iter().map(target).collect());
            let deliver_at = later.map(|hours| now + hours * HOUR);
            let put = Put { app: "app".into(), message, fresh: false, to, deliver_at, bound, level: Level::Stored };
            match store.put(put, now).await {
                Ok(stored) => {
                    let places: BTreeSet<_> = stored.places.iter().map(|(target, _)| target.to_string()).collect();
                    format!("{:?} {places:?} {:?} {}", stored.outcome, stored.refused, ids(&stored.dropped))
                }
                Err(error) => error.to_string(),
            }
        }
        Op::Mark { user, id, which, to } => {
            let which = [Which::Ids(vec![name(id)]), Which::UpTo(name(id)), Which::All][usize::from(which)].clone();
            let marked = store.mark(&owner(user), which, State::ALL[to], now).await.unwrap();
            let changed =
                marked.changed.iter().map(|change| format!("{} {:?} {:?},", change.id, change.from, change.to));
            format!("{} {:?} {}", changed.collect::<String>(), marked.unknown, marked.more)
        }
        Op::Delete { user, id } => format!("{:?}", store.delete(&owner(user), vec![name(id)], now).await),
        Op::Resend { user, id } => {
            let again = store.resend(&owner(user), &name(id), now).await.unwrap();
            format!("{:?}", again.map(|item| (item.via, item.message, item.state)))
        }
        Op::Note { user, id } => format!("{:?}", store.note(&owner(user), &name(id), Step::Sent, now).await),
        Op::Enroll { user, channel } => {
            format!("{:?}", store.enroll("app", &channel.to_string(), vec![user.to_string().into()]).await)
        }
        Op::Dismiss { user, channel } => {
            format!("{:?}", store.dismiss("app", &channel.to_string(), vec![user.to_string().into()]).await)
        }
        Op::Release => {
            // One by one: a ledger's transaction does not look for room in what it has just written itself.
            let mut released = Vec::new();
            while let Some(one) = store.release(1, now).await.unwrap().pop() {
                released.push(one);
            }
            let one = |one: &Released| {
                format!("{} {} {:?} {};", one.message.id, one.places.len(), one.refused, ids(&one.dropped))
            };
            released.iter().map(one).collect()
        }
        Op::Maintain => {
            let upkeep = store.maintain(now).await.unwrap();
            format!("{} {}", upkeep.expired, upkeep.trimmed)
        }
        Op::Pass(_) | Op::Reopen => String::new(),
    }
}

/// Everything that anybody can see. The cursors, which let a question begin late, must not change the answer.
async fn look(store: &dyn Store, now: u64) -> Vec<String> {
    let mut seen = Vec::new();
    for user in 0..2 {
        let of = owner(user);
        let all = pages(store, &of, vec![], false, now).await;
        let mut backwards = pages(store, &of, vec![], true, now).await;
        backwards.reverse();
        assert_eq!(all, backwards);
        let before = |least| all.iter().filter(move |item| item.state < least).cloned().collect::<Vec<_>>();
        let pending = pages(store, &of, vec![State::Pending], false, now).await;
        assert_eq!(pending, before(State::Delivered));
        let states = vec![State::Pending, State::Delivered, State::Seen];
        assert_eq!(pages(store, &of, states, false, now).await, before(State::Read));
        assert_eq!(store.pending(&of, None, 1_000, now).await.unwrap().items, pending);
        // One that lies in several places is one message.
        let unread: BTreeSet<_> = before(State::Read).into_iter().map(|item| item.message.id).collect();
        assert_eq!(store.unread(&of, now).await.unwrap(), unread.len() as u64);
        let found = store.find(&of, (0..10).map(name).collect(), now).await.unwrap();
        for (id, found) in (0..10).map(name).zip(found) {
            let mut items = found.items;
            items.sort_unstable_by_key(|item| item.seq);
            assert_eq!(items, all.iter().filter(|item| item.message.id == id).cloned().collect::<Vec<_>>());
            assert!(items.last().map(|item| item.seq) <= found.last);
            seen.push(format!("{id} was there: {}", found.last.is_some()));
        }
        for item in all {
            let args = &item.message.args;
            seen.push(format!("{} {:?} {args:?} {:?}", item.via, item.message, item.state));
        }
        seen.push(format!("{:?}", store.channels(&of).await.unwrap()));
        for id in 0..10 {
            let trace = store.trace(&of, &name(id)).await.unwrap();
            let trace = trace.map(|trace| Trace { place: trace.place.map(|(at, _)| (at, 0)), ..trace });
            seen.push(format!("{trace:?}"));
        }
    }
    seen.push(format!("{:?}", store.next_due().await));
    seen
}

/// All pages of a list.
async fn pages(store: &dyn Store, of: &Owner, states: Vec<State>, newest_first: bool, now: u64) -> Vec<Item> {
    let mut query = Query { states, newest_first, after: None, limit: 3 };
    let mut items = Vec::new();
    loop {
        let page = store.list(of, query.clone(), now).await.unwrap();
        let messages: BTreeSet<_> = page.items.iter().map(|item| &item.message.id).collect();
        assert!(messages.len() <= 3, "{} messages", messages.len());
        items.extend(page.items);
        query.after = page.next;
        if page.next.is_none() {
            return items;
        }
    }
}

/// Does all of it to a store in memory, and to what `open` opens; says so when they do not answer alike.
pub(crate) async fn agree<S: Store>(ops: &[Op], settings: Settings, mut open: impl FnMut() -> S) {
    let memory = MemoryStore::new(Memory::default(), settings);
    let mut other = Some(open());
    let mut now = START;
    for op in ops {
        match op {
            Op::Pass(time) => now += time,
            Op::Reopen => {
                drop(other.take());
                other = Some(open());
            }
            _ => {
                let answers = (play(other.as_ref().unwrap(), op, now).await, play(&memory, op, now).await);
                assert_eq!(answers.0, answers.1, "{op:?}");
            }
        }
    }
    assert_eq!(look(other.as_ref().unwrap(), now).await, look(&memory, now).await);
    drop(other.take());
    let other = open();
    assert_eq!(look(&other, now).await, look(&memory, now).await, "after it was opened again");
    assert_eq!(memory.verify().await.unwrap(), []);
    assert_eq!(other.verify().await.unwrap(), []);
}
