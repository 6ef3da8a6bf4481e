//! What one node says is heard, asked and told on another.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use oyez_protocol::message::Args;
use tokio::time::timeout;

use oyez_hub::Hub;
use oyez_hub::address::Address;
use oyez_hub::broker::{Broker, Said};
use oyez_hub::command::{Acked, Command, Control, Mail, Outcome, Publish, Select, SocketInfo};
use oyez_hub::delivery::AckReport;
use oyez_hub::policy::Identity;
use oyez_hub::recovery::{Ghost, Mark, Wanted};

use crate::node::{APP, Node, plain, remembering};

#[tokio::test]
async fn what_one_node_says_the_members_of_the_others_hear_once_and_in_order() {
    let (mut a, mut b) = Node::two(plain).await;
    a.join("room").await;
    b.join("room").await;
    b.join("hall").await;
    // As many as may be on their way, and again.
    for round in 0..3 {
        for at in 0..60 {
            a.publish(&["room", "hall"], &format!("{round} {at}")).await;
        }
        for at in 0..60 {
            assert_eq!((a.heard().await, b.heard().await), (format!("{round} {at}"), format!("{round} {at}")));
        }
    }
    a.publish(&["elsewhere"], "nobody hears it").await;
    a.publish(&["room"], "end").await;
    assert_eq!((a.heard().await, b.heard().await), ("end".to_owned(), "end".to_owned()));
    b.leave("room");
    b.hub.reach().await;
    a.publish(&["room"], "after it left").await;
    a.publish(&["hall"], "last").await;
    assert_eq!(b.heard().await, "last");
}

#[tokio::test]
async fn everybody_is_told_everywhere() {
    let (a, mut b) = Node::two(plain).await;
    b.join("*").await;
    a.publish(&["*"], "all").await;
    assert_eq!(b.heard().await, "all");
}

#[tokio::test]
async fn acknowledgements_come_from_all_nodes() {
    let (mut a, mut b) = Node::two(plain).await;
    a.join("room").await;
    b.join("room").await;
    let asking = a.hub.clone();
    let asked = tokio::spawn(async move {
        let publish = Publish::new(vec!["room".to_owned()], "ask", Args::none());
        asking.execute(APP, Command::PublishWithAck(publish, Duration::from_secs(10))).await
    });
    for (node, words) in [(&mut a, ["here"]), (&mut b, ["there"])] {
        let Mail::Deliver(delivery) = node.mail().await else { panic!("a control") };
        let answers = &delivery.ack.as_ref().expect("a wish").answers;
        answers.send(AckReport::Reached(2)).expect("awaited");
        answers.send(AckReport::Gone).expect("awaited");
        answers.send(AckReport::Answer(Args::one(&words[0]))).expect("awaited");
    }
    let Ok(Outcome::Acked(Acked { reached, mut answers, .. })) = asked.await.expect("no panic") else { panic!() };
    answers.sort_by_key(|args| args.text().to_owned());
    assert_eq!((reached, answers), (4, vec![Args::one(&"here"), Args::one(&"there")]));
}

/// Answers as a shard does that has this session.
async fn describes(node: &mut Node, id: &str) {
    let info = SocketInfo {
        id: id.to_owned(),
        user: "ann".into(),
        name: None,
        roles: vec!["admin".into()],
        transport: "polling",
        address: Some("192.0.2.1".to_owned()),
        connected_at: 7,
        channels: vec!["room".into()],
    };
    let Mail::Control(Control::Describe(_, _, answer)) = node.mail().await else { panic!("something else") };
    answer.send(vec![info]).expect("awaited");
}

#[tokio::test]
async fn all_nodes_are_asked_and_the_answer_says_who_is_where() {
    let (mut a, mut b) = Node::two(plain).await;
    let asking = a.hub.clone();
    let asked = tokio::spawn(async move { asking.execute(APP, Command::Describe(Select::Everyone)).await });
    describes(&mut a, "one").await;
    describes(&mut b, "two").await;
    let Ok(Outcome::Sockets(found)) = asked.await.expect("no panic") else { panic!() };
    assert_eq!(
        found.iter().map(|info| (&*info.id, info.transport)).collect::<Vec<_>>(),
        [("one", "polling"), ("two", "polling")]
    );
}

#[tokio::test]
async fn a_session_is_reached_by_its_id_wherever_it_lives() {
    let (a, mut b) = Node::two(plain).await;
    let id = Address { node: b.hub.node(), shard: 0, slot: 1, nonce: 2 }.encode();
    a.publish(&[&id], "to one").await;
    assert_eq!(b.heard().await, "to one");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_is_forgotten_and_delivers_what_is_its_own() {
    let (mut a, mut b) = Node::two(plain).await;
    a.join("room").await;
    b.join("room").await;
    b.seat.cut(true);
    while b.hub.cluster().expect("a cluster").is_reached() {
        tokio::task::yield_now().await;
    }
    b.publish(&["room"], "here only").await;
    assert_eq!(b.heard().await, "here only");
    a.knows(0).await;
    b.knows(1).await;
    b.seat.cut(false);
    a.knows(1).await;
    b.knows(1).await;
    a.publish(&["room"], "again").await;
    assert_eq!((a.heard().await, b.heard().await), ("again".to_owned(), "again".to_owned()));
}

#[tokio::test]
async fn letters_of_other_arrangements_and_damaged_ones_are_counted_and_passed_over() {
    let (a, mut b) = Node::two(plain).await;
    b.join("room").await;
    let said = |payload: &[u8]| Said { topic: "app#room".into(), payload: payload.to_vec().into() };
    let letters = [said(b""), said(b"\x01older"), said(b"\x02\xff\xff\xff\xff"), said(&[2; 1_000])];
    a.seat.say(&letters).await.expect("said");
    a.publish(&["room"], "still").await;
    assert_eq!(b.heard().await, "still");
    assert_eq!(b.hub.cluster().expect("a cluster").figures.unread.load(Relaxed), 4);
}

const TALK: usize = 200;

/// Says `{who} 0`, `{who} 1`, … in the room, while others do what they do.
async fn talk(hub: Hub, who: &'static str) {
    for at in 0..TALK {
        let event = format!("{who} {at}");
        let publish = Publish::new(vec!["room".to_owned()], &*event, Args::one(&event));
        hub.execute(APP, Command::Publish(publish)).await.expect("published");
        tokio::task::yield_now().await;
    }
}

/// Takes a session over from `a` to `b` after so many turns, and plays the shard to which its client has come back; gives what
/// the client hears until both have ended.
async fn comes_back(a: &mut Node, b: &mut Node, name: Address, turns: usize) -> Vec<String> {
    for _ in 0..turns {
        tokio::task::yield_now().await;
        while a.mail.try_recv().is_ok() {}
    }
    let app = b.hub.app(APP);
    let identity = Arc::new(Identity { user: "ann".into(), ..Identity::default() });
    assert!(b.hub.seek(&app, name, &"bob".into()).await.is_none(), "it is not his");
    let afar = b.hub.seek(&app, name, &identity.user).await.expect("it is remembered");
    b.hub.fetch(&app, afar, &identity, None, 1 << 20).await.expect("nothing is lost");
    let recovery = app.recovery.as_ref().expect("it has one");
    let ghost = recovery.ghosts.claim(name, Instant::now()).expect("it is here now");
    let (from, wanted) = (recovery.log.mark(ghost.left_at), ghost.wanted(name, 0));
    let join = |missed: Vec<_>, until| {
        b.hub.channels().join(b.hub.channels().key(APP, &"room".into()), 0);
        (missed, until)
    };
    let replayed = recovery.log.replay(from, &wanted, 1 << 20, Instant::now(), join);
    let (missed, until) = replayed.expect("nothing is lost");
    let mut heard: Vec<String> = missed.iter().map(|(_, publication)| publication.event.to_string()).collect();
    while heard.iter().filter(|event| event.ends_with(&format!(" {}", TALK - 1))).count() < 2 {
        if let Mail::Deliver(delivery) = b.mail().await
            && delivery.position.is_some_and(|position| position.get() > until)
            && !delivery.except.iter().any(|one| **one == *name.encode())
        {
            heard.push(delivery.event.to_string());
        }
        while a.mail.try_recv().is_ok() {}
    }
    heard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_session_that_comes_back_to_another_node_hears_all_once_and_in_order_whenever_that_is() {
    for turns in (0..TALK * 3).step_by(13) {
        let (mut a, mut b) = Node::two(remembering).await;
        a.join("room").await;
        let name = Address { node: a.hub.node(), shard: 0, slot: 1, nonce: 2 };
        let recovery = a.hub.app(APP).recovery.clone().expect("it has one");
        let since = recovery.log.last();
        let identity = Arc::new(Identity { user: "ann".into(), ..Identity::default() });
        let channels = vec![Wanted::after("room".into(), since)];
        let ghost = Ghost { identity, channels, confirmed: since, left_at: since, ..Ghost::default() };
        recovery.ghosts.keep(name, ghost, recovery.window, Instant::now());
        a.leave("room");
        let talks = [tokio::spawn(talk(a.hub.clone(), "a")), tokio::spawn(talk(b.hub.clone(), "b"))];
        let heard = timeout(Duration::from_secs(20), comes_back(&mut a, &mut b, name, turns)).await.expect("in time");
        for talk in talks {
            talk.await.expect("no panic");
        }
        for who in ["a", "b"] {
            let own: Vec<_> = heard.iter().filter(|event| event.starts_with(who)).collect();
            let all: Vec<_> = (0..TALK).map(|at| format!("{who} {at}")).collect();
            assert_eq!(own, all.iter().collect::<Vec<_>>(), "after {turns} turns");
        }
        assert!(recovery.ghosts.claim(name, Instant::now()).is_none(), "it is remembered once");
    }
}

#[tokio::test]
async fn what_was_not_heard_is_told_before_what_comes_after_it() {
    let (mut a, mut b) = Node::two(remembering).await;
    a.join("room").await;
    b.join("room").await;
    let log = |node: &Node| node.hub.app(APP).recovery.clone().expect("it has one");
    let missed = |mail: Mail| match mail {
        Mail::Control(Control::Missed(_, channels, position)) => (channels, position),
        other => panic!("{other:?}"),
    };
    let up = |node: &Node| node.hub.cluster().expect("a cluster").is_reached();
    // Whoever was there before the broker was reached could not have heard everything.
    assert_eq!((missed(a.mail().await).0, missed(b.mail().await).0), (None, None));
    let before = log(&a).log.last();
    b.seat.cut(true);
    while up(&b) {
        tokio::task::yield_now().await;
    }
    b.publish(&["room"], "nobody else hears it").await;
    assert_eq!(b.heard().await, "nobody else hears it");
    a.publish(&["room"], "b does not hear it").await;
    assert_eq!(a.heard().await, "b does not hear it");
    // The broker refuses it; only then it is there again.
    while b.hub.cluster().expect("a cluster").figures.unsaid.load(Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    b.seat.cut(false);
    assert_eq!(missed(b.mail().await).0, None, "all that was said elsewhere");
    let (channels, position) = missed(a.mail().await);
    assert_eq!(channels.as_deref(), Some(&["room".into()][..]), "what the other could not say");
    a.publish(&["room"], "after").await;
    assert_eq!((a.heard().await, b.heard().await), ("after".to_owned(), "after".to_owned()));
    let wanted = |since| [Wanted::after("room".into(), since)];
    let replay = |since| {
        let from = Mark { position: since, ..log(&a).log.mark(0) };
        log(&a).log.replay(from, &wanted(since), 1_000, Instant::now(), |missed, _| missed.len())
    };
    assert_eq!(replay(before).map_err(|gap| gap.channels), Err(vec!["room".into()]));
    assert_eq!(replay(position).ok(), Some(1));
}
