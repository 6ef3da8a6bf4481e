//! What the lock of a channel promises, in every order in which publishers and members can meet.

use std::collections::BTreeMap;
use std::sync::Mutex as Log;

use shuttle::thread;

use super::*;
use crate::sync::model::{every_order, many_orders};

const APP: AppId = AppId(0);

/// A registry, and what its shards were handed, by shard.
struct Node {
    channels: Channels,
    heard: Log<BTreeMap<u8, Vec<&'static str>>>,
}

impl Node {
    fn new(hasher: &RandomState) -> Arc<Self> {
        Arc::new(Self { channels: Channels::new(hasher.clone()), heard: Log::default() })
    }

    fn publish(&self, to: &[&Arc<str>], word: &'static str) {
        self.channels.publish(
            APP,
            to.iter().copied(),
            |shard| {
                // A push takes its time: anything may happen between two of them.
                thread::yield_now();
                self.heard.lock().unwrap().entry(shard).or_default().push(word);
            },
            || {},
        );
    }

    fn join(&self, name: &Arc<str>, shard: u8) {
        self.channels.join(self.channels.key(APP, name), shard);
    }

    fn leave(&self, name: &Arc<str>, shard: u8) {
        self.channels.leave(self.channels.key(APP, name), shard);
    }

    fn heard(&self, shard: u8) -> Vec<&'static str> {
        self.heard.lock().unwrap().get(&shard).cloned().unwrap_or_default()
    }
}

/// Runs both at once, and the third on this thread.
fn together(one: impl FnOnce() + Send + 'static, two: impl FnOnce() + Send + 'static, here: impl FnOnce()) {
    let threads = [thread::spawn(one), thread::spawn(two)];
    here();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Two names of different stripes, the later stripe first.
fn far_apart(hasher: &RandomState) -> [Arc<str>; 2] {
    let stripe = |name: &Arc<str>| stripe_of((hasher.hash_one((APP, &**name)) >> 32) as u32);
    let mut names = (0..).map(|number| Arc::<str>::from(format!("channel {number}")));
    let one = names.find(|name| stripe(name) > 0).unwrap();
    let two = names.find(|name| stripe(name) < stripe(&one)).unwrap();
    [one, two]
}

#[test]
fn all_shards_hear_one_order() {
    let hasher = RandomState::new();
    every_order(move || {
        let node = Node::new(&hasher);
        let room: Arc<str> = "room".into();
        node.join(&room, 0);
        node.join(&room, 2);
        let other = thread::spawn({
            let (node, room) = (Arc::clone(&node), Arc::clone(&room));
            move || node.publish(&[&room], "one")
        });
        node.publish(&[&room], "two");
        other.join().unwrap();
        assert_eq!(node.heard(0).len(), 2);
        assert_eq!(node.heard(0), node.heard(2));
    });
}

#[test]
fn a_join_is_before_or_after_a_publication_on_every_shard() {
    let hasher = RandomState::new();
    let scene = move |words: &'static [&'static str]| {
        let hasher = hasher.clone();
        move || {
            let node = Node::new(&hasher);
            let room: Arc<str> = "room".into();
            node.join(&room, 0);
            let publisher = thread::spawn({
                let (node, room) = (Arc::clone(&node), Arc::clone(&room));
                move || words.iter().for_each(|word| node.publish(&[&room], word))
            });
            node.join(&room, 1);
            node.publish(&[&room], "after the join");
            publisher.join().unwrap();
            let (all, late) = (node.heard(0), node.heard(1));
            assert_eq!(all.len(), words.len() + 1);
            assert!(late.contains(&"after the join"), "lost: {late:?}");
            assert!(all.ends_with(&late), "who joins late hears the rest, whole and in order: {late:?} of {all:?}");
        }
    };
    every_order(scene(&["one"]));
    many_orders(scene(&["one", "two", "three", "four"]));
}

#[test]
fn joins_and_leaves_neither_lose_nor_leak_a_member() {
    let hasher = RandomState::new();
    let scene = move |guests: &'static [u8]| {
        let hasher = hasher.clone();
        move || {
            let node = Node::new(&hasher);
            let room: Arc<str> = "room".into();
            let come_and_go = |&shard: &u8| {
                let (node, room) = (Arc::clone(&node), Arc::clone(&room));
                thread::spawn(move || {
                    node.join(&room, shard);
                    node.leave(&room, shard);
                })
            };
            let guests: Vec<_> = guests.iter().map(come_and_go).collect();
            node.join(&room, 1);
            node.publish(&[&room], "while others come and go");
            guests.into_iter().for_each(|guest| guest.join().unwrap());
            assert_eq!(node.heard(1).len(), 1, "a member stays although another one of its shard leaves");
            assert_eq!(node.channels.members(APP, &room), 1);
            node.leave(&room, 1);
            assert!(node.channels.stripes.iter().all(|stripe| stripe.lock().is_empty()), "an empty channel stays");
        }
    };
    every_order(scene(&[1]));
    many_orders(scene(&[0, 1, 1, 2]));
}

#[test]
fn publications_to_several_channels_neither_block_each_other_nor_come_twice() {
    let hasher = RandomState::new();
    let scene = move || {
        let node = Node::new(&hasher);
        let [a, b] = far_apart(&hasher);
        node.join(&a, 0);
        node.join(&b, 0);
        node.join(&a, 1);
        node.join(&b, 2);
        let publish = |to: [&Arc<str>; 2], word| {
            let (node, to) = (Arc::clone(&node), to.map(Arc::clone));
            move || node.publish(&to.each_ref(), word)
        };
        together(publish([&a, &b], "a and b"), publish([&b, &a], "b and a"), || node.publish(&[&b], "b"));
        let all = node.heard(0);
        assert_eq!(all.len(), 3, "each once: {all:?}");
        assert_eq!(node.heard(2), all, "all of them are heard in b");
        assert_eq!(node.heard(1), all.into_iter().filter(|word| *word != "b").collect::<Vec<_>>());
    };
    many_orders(scene);
}

#[test]
fn only_interested_shards_hear() {
    every_order(|| {
        let node = Node::new(&RandomState::new());
        let [a, b, nobody] = ["a", "b", "nobody"].map(Arc::<str>::from);
        node.join(&a, 1);
        node.join(&b, 2);
        node.channels.join(node.channels.key(AppId(1), &b), 3);
        node.channels.shrink();
        node.publish(&[&a, &b, &nobody], "here");
        assert_eq!(*node.heard.lock().unwrap(), BTreeMap::from([(1, vec!["here"]), (2, vec!["here"])]));
        assert_eq!(node.channels.list(AppId(1)), [(b, 1)], "an app sees its own channels only");
    });
}

#[test]
fn a_roster_is_ruled_by_its_channel() {
    let roster = roster_of("team:red");
    assert_eq!(ruled_by(&roster), Some("team:red"));
    assert_eq!(ruled_by("team:red"), Some("team:red"));
    assert_eq!((ruled_by(EVERYONE), ruled_by(&devices_of("#42"))), (None, None));
}
