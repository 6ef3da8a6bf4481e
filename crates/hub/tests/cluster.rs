//! Two nodes on one bus, each with a shard that the test plays.

#![allow(clippy::panic, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use oyez_protocol::message::Args;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

use oyez_hub::Hub;
use oyez_hub::address::{Address, AppId};
use oyez_hub::app::App;
use oyez_hub::broker::{Broker, Bus, Said, Seat};
use oyez_hub::command::{Acked, Command, Control, Mail, Outcome, Publish, Select, SocketInfo};
use oyez_hub::delivery::AckReport;

const APP: AppId = AppId(0);

struct Node {
    hub: Hub,
    mail: mpsc::UnboundedReceiver<Mail>,
    seat: Arc<Seat>,
}

impl Node {
    async fn on(bus: &Bus) -> Self {
        let (sender, mail) = mpsc::unbounded_channel();
        let hub = Hub::new(vec![App::embedded(APP, "app", "/")], vec![sender], Handle::current());
        let (seat, inlet) = bus.join();
        let broker: Arc<dyn Broker> = seat.clone();
        hub.join_cluster(&broker, inlet, None);
        Self { hub, mail, seat }
    }

    async fn join(&self, channel: &str) {
        self.hub.channels().join(self.hub.channels().key(APP, &channel.into()), 0);
        self.hub.reach().await;
    }

    fn leave(&self, channel: &str) {
        self.hub.channels().leave(self.hub.channels().key(APP, &channel.into()), 0);
    }

    async fn publish(&self, to: &[&str], event: &str) {
        let publish = Publish::new(to.iter().map(ToString::to_string).collect(), event, Args::one(&event));
        self.hub.execute(APP, Command::Publish(publish)).await.expect("published");
    }

    async fn mail(&mut self) -> Mail {
        timeout(Duration::from_secs(10), self.mail.recv()).await.expect("in time").expect("a hub")
    }

    /// The event of the next delivery; what it says is the event's name.
    async fn heard(&mut self) -> String {
        let Mail::Deliver(delivery) = self.mail().await else { panic!("a control") };
        assert_eq!(delivery.args.text(), format!("{:?}", &*delivery.event));
        delivery.event.to_string()
    }

    /// Waits until it knows so many others.
    async fn knows(&self, count: usize) {
        let known = async {
            while self.hub.cluster().expect("a cluster").others() != count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(20), known).await.expect("in time");
    }
}

async fn two() -> (Node, Node) {
    let bus = Bus::default();
    let (a, b) = (Node::on(&bus).await, Node::on(&bus).await);
    a.knows(1).await;
    b.knows(1).await;
    (a, b)
}

#[tokio::test]
async fn what_one_node_says_the_members_of_the_others_hear_once_and_in_order() {
    let (mut a, mut b) = two().await;
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
    let (a, mut b) = two().await;
    b.join("*").await;
    a.publish(&["*"], "all").await;
    assert_eq!(b.heard().await, "all");
}

#[tokio::test]
async fn acknowledgements_come_from_all_nodes() {
    let (mut a, mut b) = two().await;
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
    let (mut a, mut b) = two().await;
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
    let (a, mut b) = two().await;
    let id = Address { node: b.hub.node(), shard: 0, slot: 1, nonce: 2 }.encode();
    a.publish(&[&id], "to one").await;
    assert_eq!(b.heard().await, "to one");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_is_forgotten_and_delivers_what_is_its_own() {
    let (mut a, mut b) = two().await;
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
    let (a, mut b) = two().await;
    b.join("room").await;
    let said = |payload: &[u8]| Said { topic: "app#room".into(), payload: payload.to_vec().into() };
    let letters = [said(b""), said(b"\x02later"), said(b"\x01\xff\xff\xff\xff"), said(&[1; 1_000])];
    a.seat.say(&letters).await.expect("said");
    a.publish(&["room"], "still").await;
    assert_eq!(b.heard().await, "still");
    assert_eq!(b.hub.cluster().expect("a cluster").figures.unread.load(Relaxed), 4);
}
