//! Nodes that have drawn the same number, and what other nodes cannot be told.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use oyez_hub::address::Address;
use oyez_hub::broker::Bus;
use oyez_hub::command::{Command, Mail, Publish};
use oyez_protocol::message::Args;

use crate::node::{APP, Alone, Node, alone, plain};

/// Two hubs that have drawn the same number, as happens.
fn twins() -> (Alone, Alone) {
    let mut drawn: HashMap<u16, Alone> = HashMap::new();
    loop {
        let new = alone(plain());
        let number = new.0.node();
        if let Some(twin) = drawn.remove(&number) {
            return (twin, new);
        }
        drawn.insert(number, new);
    }
}

#[tokio::test]
async fn what_is_too_large_for_others_is_heard_here_and_counted() {
    let (mut a, mut b) = Node::two(plain).await;
    a.join("room").await;
    b.join("room").await;
    let large = Publish::new(vec!["room".to_owned()], "large", Args::one(&"x".repeat(17 << 20)));
    a.hub.execute(APP, Command::Publish(large)).await.expect("published");
    let Mail::Deliver(delivery) = a.mail().await else { panic!("a control") };
    assert_eq!(&*delivery.event, "large");
    drop(delivery);
    a.publish(&["room"], "small").await;
    assert_eq!((a.heard().await, b.heard().await), ("small".to_owned(), "small".to_owned()));
    assert_eq!(a.hub.cluster().expect("a cluster").figures.unsaid.load(Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_begins_takes_no_number_that_a_living_one_has() {
    let bus = Bus::default();
    let (first, second) = twins();
    let number = first.0.node();
    let mut a = Node::joins(&bus, first, false);
    a.settle().await;
    let mut b = Node::joins(&bus, second, false);
    b.settle().await;
    assert_eq!(a.hub.node(), number, "who has it keeps it");
    assert!(b.hub.node() != number && !b.hub.is_home(number), "nobody was connected to it yet");
    a.knows(1).await;
    b.knows(1).await;
    hear_each_other(&mut a, &mut b).await;
}

#[tokio::test(start_paused = true)]
async fn of_two_that_begin_together_one_takes_another_number() {
    let bus = Bus::default();
    let (first, second) = twins();
    let number = first.0.node();
    let (mut a, mut b) = (Node::joins(&bus, first, false), Node::joins(&bus, second, false));
    tokio::join!(a.settle(), b.settle());
    assert_ne!(a.hub.node(), b.hub.node());
    assert!([a.hub.node(), b.hub.node()].contains(&number));
    a.knows(1).await;
    b.knows(1).await;
    hear_each_other(&mut a, &mut b).await;
}

/// Whether the second of two that have the same number, and find each other only after both have begun, is `held`: it has
/// claimed the number where it could not be heard.
async fn find_each_other_late(held: bool) {
    let bus = Bus::default();
    let (first, second) = twins();
    let number = first.0.node();
    let mut a = Node::joins(&bus, first, false);
    a.settle().await;
    let mut c = Node::joins(&bus, alone(plain()), false);
    c.settle().await;
    c.knows(1).await;
    a.seat.cut(held);
    let mut b = Node::joins(&bus, second, !held);
    b.settle().await;
    assert_eq!((a.hub.node(), b.hub.node()), (number, number));
    let session = Address { node: number, shard: 0, slot: 1, nonce: 2 }.encode();
    a.seat.cut(false);
    b.seat.cut(false);
    while a.hub.node() == b.hub.node() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!([a.hub.node(), b.hub.node()].contains(&number));
    for node in [&a, &b, &c] {
        node.knows(2).await;
    }
    assert!(a.hub.is_home(number) && b.hub.is_home(number), "sessions of both keep their names");
    // Nobody knows any more whose it is, and both look.
    for at in 0..3 {
        [&a, &b, &c][at].publish(&[&session], "to a session").await;
        assert_eq!((a.heard().await, b.heard().await), ("to a session".to_owned(), "to a session".to_owned()));
    }
    hear_each_other(&mut a, &mut b).await;
    hear_each_other(&mut b, &mut c).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_began_without_the_broker_takes_another_number_and_keeps_its_sessions() {
    find_each_other_late(false).await;
}

#[tokio::test(start_paused = true)]
async fn of_two_nodes_that_have_a_number_the_younger_takes_another_one_and_keeps_its_sessions() {
    find_each_other_late(true).await;
}

async fn hear_each_other(a: &mut Node, b: &mut Node) {
    a.join("both").await;
    b.join("both").await;
    for _ in 0..3 {
        a.publish(&["both"], "one").await;
        assert_eq!((a.heard().await, b.heard().await), ("one".to_owned(), "one".to_owned()));
        b.publish(&["both"], "other").await;
        assert_eq!((a.heard().await, b.heard().await), ("other".to_owned(), "other".to_owned()));
    }
    a.leave("both");
    b.leave("both");
    a.hub.reach().await;
    b.hub.reach().await;
}
