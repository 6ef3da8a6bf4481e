//! A node whose broker stands still: it takes what it is told and answers nothing, until it goes on.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use async_trait::async_trait;
use oyez_protocol::message::Args;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use oyez_hub::Hub;
use oyez_hub::broker::{Broker, Bus, Said, Seat, Unreached};
use oyez_hub::cluster::Figures;
use oyez_hub::command::{Command, Control, Mail, Publish};

use crate::node::{APP, alone, remembering, until};

/// More than this is not on its way at once.
const PERMITS: usize = oyez_hub::admission::PERMITS;

/// What a large letter has, a 64th of what may wait.
const LARGE: usize = 256 << 10;

/// Bytes of letters that may wait, with those that are being said.
const WAITING: usize = 17 << 20;

/// A seat that answers only while it does not stand still.
#[derive(Debug)]
struct Gate {
    seat: Arc<Seat>,
    still: watch::Sender<bool>,
}

#[async_trait]
impl Broker for Gate {
    async fn say(&self, words: &[Said]) -> Result<(), Unreached> {
        let mut still = self.still.subscribe();
        still.wait_for(|still| !still).await.expect("the sender is here");
        self.seat.say(words).await
    }

    async fn listen(&self, topics: &[Arc<str>]) {
        self.seat.listen(topics).await;
    }

    async fn ignore(&self, topics: &[Arc<str>]) {
        self.seat.ignore(topics).await;
    }
}

struct Node {
    hub: Hub,
    mail: mpsc::UnboundedReceiver<Mail>,
    gate: Arc<Gate>,
}

impl Node {
    /// Two that know each other, with members in `room` and `hall`.
    async fn two() -> (Self, Self) {
        let bus = Bus::default();
        let mut nodes = [(); 2].map(|()| {
            let (hub, mail) = alone(remembering());
            let (seat, inlet) = bus.join();
            let gate = Arc::new(Gate { seat, still: watch::Sender::new(false) });
            let broker: Arc<dyn Broker> = gate.clone();
            hub.join_cluster(&broker, inlet, None);
            Self { hub, mail, gate }
        });
        for node in &mut nodes {
            for channel in ["room", "hall"] {
                node.hub.channels().join(node.hub.channels().key(APP, &channel.into()), 0);
            }
            node.hub.reach().await;
            until(|| node.hub.cluster().expect("a cluster").others() == 1).await;
            // Who was there before the broker was reached may have missed something.
            assert_eq!(node.next().await, Heard::Missed);
        }
        nodes.into()
    }

    fn stands_still(&self, still: bool) {
        self.gate.still.send_replace(still);
    }

    fn figures(&self) -> &Figures {
        &self.hub.cluster().expect("a cluster").figures
    }

    async fn publish(&self, to: &str, number: usize, bytes: usize) {
        let args = Args::one(&"x".repeat(bytes));
        let publish = Publish::new(vec![to.to_owned()], number.to_string(), args);
        self.hub.execute(APP, Command::Publish(publish)).await.expect("published");
    }

    /// What its shard has next.
    async fn next(&mut self) -> Heard {
        match timeout(Duration::from_secs(10), self.mail.recv()).await.expect("in time").expect("a hub") {
            Mail::Deliver(delivery) => Heard::Number(delivery.event.parse().expect("a number")),
            Mail::Control(Control::Missed(..)) => Heard::Missed,
            Mail::Control(other) => panic!("{other:?}"),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Number(usize),
    Missed,
}

#[tokio::test]
async fn a_broker_that_stands_still_holds_up_nobody_here_and_others_hear_all_of_it_later() {
    let (mut a, mut b) = Node::two().await;
    a.stands_still(true);
    for number in 0..PERMITS * 20 {
        a.publish(["room", "hall"][number % 2], number, 1).await;
        assert_eq!(a.next().await, Heard::Number(number));
    }
    assert_eq!((a.figures().said.load(Relaxed), a.figures().unsaid.load(Relaxed)), (0, 0));
    assert!(b.mail.try_recv().is_err(), "it has not been said");
    a.stands_still(false);
    for number in 0..PERMITS * 20 {
        assert_eq!(b.next().await, Heard::Number(number));
    }
    until(|| a.figures().said.load(Relaxed) == (PERMITS * 20) as u64).await;
    assert_eq!(a.figures().unsaid.load(Relaxed), 0);
}

#[tokio::test]
async fn of_what_does_not_fit_the_newest_is_not_said_and_its_channels_have_a_gap() {
    let (mut a, mut b) = Node::two().await;
    a.stands_still(true);
    let fit = WAITING / LARGE;
    let all = fit + 2 * PERMITS;
    for number in 0..all {
        a.publish(["hall", "room"][number / (all - 10)], number, LARGE).await;
        assert_eq!(a.next().await, Heard::Number(number));
    }
    until(|| a.hub.traffic().inside == 0).await;
    let unsaid = usize::try_from(a.figures().unsaid.load(Relaxed)).expect("few");
    // What comes in one go is taken whole.
    assert!(unsaid >= PERMITS && unsaid < all - fit / 2, "{unsaid} of {all}");
    a.stands_still(false);
    until(|| usize::try_from(a.figures().said.load(Relaxed)).expect("few") == all - unsaid).await;
    a.publish("room", all, 1).await;
    for number in 0..all - unsaid {
        assert_eq!(b.next().await, Heard::Number(number));
    }
    assert_eq!(b.next().await, Heard::Missed, "before what comes after it");
    assert_eq!(b.next().await, Heard::Number(all));
    until(|| usize::try_from(a.figures().said.load(Relaxed)).expect("few") == all - unsaid + 1).await;
}

#[tokio::test]
async fn goodbye_is_said_after_all_that_waits() {
    let (mut a, mut b) = Node::two().await;
    a.stands_still(true);
    for number in 0..PERMITS * 2 {
        a.publish("hall", number, 1).await;
        assert_eq!(a.next().await, Heard::Number(number));
    }
    let hub = a.hub.clone();
    let leaves = tokio::spawn(async move { hub.leave(tokio::time::Instant::now()).await });
    tokio::task::yield_now().await;
    a.stands_still(false);
    leaves.await.expect("no panic");
    for number in 0..PERMITS * 2 {
        assert_eq!(b.next().await, Heard::Number(number));
    }
    until(|| b.hub.cluster().expect("a cluster").others() == 0).await;
}
