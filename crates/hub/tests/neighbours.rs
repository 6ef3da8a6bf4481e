//! What a hub tells servers of another make, and what it does for them; the test plays its shard and its carrier.

#![allow(clippy::panic, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use oyez_protocol::message::Args;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use oyez_hub::Hub;
use oyez_hub::address::{Address, AppId};
use oyez_hub::app::App;
use oyez_hub::cluster::{Line, Outward, Question, Told};
use oyez_hub::command::{Acked, Command, Control, Mail, Outcome, Publish, Select, SocketInfo};
use oyez_hub::delivery::{AckReport, Delivery, Target};
use oyez_hub::policy::grants::Audience;

const APP: AppId = AppId(0);

struct Node {
    hub: Hub,
    mail: mpsc::UnboundedReceiver<Mail>,
    line: Line,
}

impl Node {
    fn new() -> Self {
        let (sender, mail) = mpsc::unbounded_channel();
        let hub = Hub::new(vec![App::embedded(APP, "app", "/")], vec![sender], Handle::current());
        let line = hub.open_lines(&[APP], false).pop().expect("a line");
        line.standing.present.store(1, Relaxed);
        Self { hub, mail, line }
    }

    fn join(&self, channel: &str) {
        self.hub.channels().join(self.hub.channels().key(APP, &channel.into()), 0);
    }

    async fn publish(&self, publish: Publish) {
        self.hub.execute(APP, Command::Publish(publish)).await.expect("published");
    }

    /// The next publication that neighbours are told.
    fn told(&mut self) -> Arc<Delivery> {
        match self.line.queue.try_recv() {
            Ok(Told::Publication(delivery)) => delivery,
            other => panic!("{other:?}"),
        }
    }

    fn tells_nothing(&mut self) -> bool {
        self.line.queue.try_recv().is_err()
    }

    /// The next delivery of the shard.
    fn heard(&mut self) -> Arc<Delivery> {
        match self.mail.try_recv() {
            Ok(Mail::Deliver(delivery)) => delivery,
            other => panic!("{other:?}"),
        }
    }
}

fn to(channels: &[&str]) -> Publish {
    Publish::new(channels.iter().map(ToString::to_string).collect(), "event", Args::from(1))
}

fn outward(to: &[&str], except: &[&str]) -> Option<Outward> {
    let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
    Some(Outward { to: (!to.is_empty()).then(|| names(to)), except: names(except) })
}

#[tokio::test]
async fn neighbours_are_told_what_is_for_everybody_in_its_channels_and_only_while_there_are_some() {
    let mut node = Node::new();
    node.publish(to(&["a", "b"])).await;
    assert_eq!(node.told().outward(), outward(&["a", "b"], &[]));
    node.publish(to(&["*"])).await;
    assert_eq!(node.told().outward(), outward(&[], &[]));
    node.publish(Publish { except: vec!["c".to_owned()], ..to(&["a"]) }).await;
    assert_eq!(node.told().outward(), outward(&["a"], &["c"]));
    // One of theirs may have such an id.
    let own = Address { node: node.hub.node(), shard: 0, slot: 1, nonce: 2 }.encode();
    node.publish(to(&[&own])).await;
    assert_eq!(node.told().outward(), outward(&[&own], &[]));
    let only_some: Arc<[Audience]> = Arc::new([Audience::MayHear("x".to_owned())]);
    node.publish(Publish { audience: Some(only_some), ..to(&["a"]) }).await;
    node.publish(Publish { except: vec!["*".to_owned()], ..to(&["a"]) }).await;
    assert!(node.tells_nothing(), "not what only some may hear, nor what nobody is to hear");
    node.line.standing.present.store(0, Relaxed);
    node.publish(to(&["a"])).await;
    assert!(node.tells_nothing());
}

#[tokio::test]
async fn what_they_are_not_told_is_counted_until_it_is_known_who_is_there() {
    let mut node = Node::new();
    let standing = Arc::clone(&node.line.standing);
    let mut unsaid = async |channel| {
        node.publish(to(&[channel])).await;
        assert!(node.tells_nothing());
        standing.figures.unsaid.load(Relaxed)
    };
    standing.lose();
    standing.lose();
    assert_eq!([unsaid("a").await, unsaid("*").await], [1, 2]);
    assert_eq!(standing.count(0), 0);
    assert_eq!(unsaid("a").await, 2, "nobody is there");
    standing.lose();
    assert_eq!(unsaid("a").await, 2, "nobody was there");
}

#[tokio::test]
async fn what_they_say_is_for_sessions_of_this_node_and_goes_no_further() {
    let mut node = Node::new();
    node.join("*");
    node.join("a");
    let own = Address { node: node.hub.node(), shard: 0, slot: 1, nonce: 2 };
    let other = Address { node: node.hub.node().wrapping_add(1), ..own };
    let hear = async |publish| node.hub.hear_neighbour(APP, publish, None).await.expect("heard");
    assert_eq!(hear(to(&["nobody", "*", "*@ann", "", &other.encode()])).await, 0);
    assert_eq!(hear(to(&[])).await, 1);
    assert_eq!(hear(Publish { except: vec!["*".to_owned(), "b".to_owned()], ..to(&["a", "nobody"]) }).await, 1);
    assert_eq!(hear(to(&["a", &own.encode()])).await, 2);
    assert!(node.hub.hear_neighbour(APP, Publish { event: "connect".to_owned(), ..to(&["a"]) }, None).await.is_err());
    let everybody = node.heard();
    assert_eq!((everybody.outward(), everybody.args.text()), (outward(&[], &[]), "1"));
    assert_eq!(node.heard().outward(), outward(&["a"], &["b"]), "nothing of the hub's own is meant");
    assert_eq!(node.heard().outward(), outward(&["a"], &[&own.encode()]), "who is told apart hears it once");
    assert!(matches!(node.heard().to, Target::Socket(address) if address == own));
    assert!(node.mail.try_recv().is_err() && node.tells_nothing());
}

#[tokio::test]
async fn acknowledgements_are_awaited_from_them_too() {
    let mut node = Node::new();
    let asking = node.hub.clone();
    let asked =
        tokio::spawn(
            async move { asking.execute(APP, Command::PublishWithAck(to(&["a"]), Duration::from_secs(10))).await },
        );
    let Ok(Some(Told::Publication(delivery))) = timeout(Duration::from_secs(10), node.line.queue.recv()).await else {
        panic!("they are not told");
    };
    let answers = &delivery.ack.as_ref().expect("a wish").answers;
    answers.send(AckReport::Answer(Args::from("there"))).expect("awaited");
    answers.send(AckReport::Reached(1)).expect("awaited");
    let Ok(Outcome::Acked(Acked { reached, answers, .. })) = asked.await.expect("no panic") else { panic!() };
    assert_eq!((reached, answers), (1, vec![Args::from("there")]));
}

#[tokio::test]
async fn they_are_asked_who_is_there_and_their_sessions_are_among_the_answers() {
    let mut node = Node::new();
    let asking = node.hub.clone();
    let asked = tokio::spawn(async move { asking.execute(APP, Command::Describe(Select::Everyone)).await });
    let Ok(Some(Told::Question(Question::Describe(Select::Everyone), reply))) =
        timeout(Duration::from_secs(10), node.line.queue.recv()).await
    else {
        panic!("they are not asked");
    };
    let theirs = SocketInfo {
        id: "theirs".to_owned(),
        user: "ann".into(),
        name: None,
        roles: Vec::new(),
        transport: "websocket",
        address: None,
        connected_at: 7,
        channels: Vec::new(),
    };
    reply.send(vec![theirs]).expect("awaited");
    let Some(Mail::Control(Control::Describe(_, _, answer))) = node.mail.recv().await else { panic!("not asked") };
    drop(answer);
    let Ok(Outcome::Sockets(found)) = asked.await.expect("no panic") else { panic!() };
    assert_eq!(found.iter().map(|info| &*info.id).collect::<Vec<_>>(), ["theirs"]);
    let by_user = Command::Disconnect(Select::User("ann".into()), oyez_hub::command::Goodbye::Namespace);
    let asking = node.hub.clone();
    let asked = tokio::spawn(async move { asking.execute(APP, by_user).await });
    while !asked.is_finished() {
        // The shard does as it is told.
        let _ = timeout(Duration::from_millis(5), node.mail.recv()).await;
    }
    assert!(node.tells_nothing(), "they know no users");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_waits_until_they_have_been_told_all() {
    let mut node = Node::new();
    node.publish(to(&["a"])).await;
    let hub = node.hub.clone();
    let leaves = tokio::spawn(async move { hub.leave(Instant::now() + Duration::from_secs(9)).await });
    assert_eq!(node.told().outward(), outward(&["a"], &[]));
    let Some(Told::Last(last)) = node.line.queue.recv().await else { panic!("the last") };
    for _ in 0..4 {
        // They are told something every other second.
        sleep(Duration::from_millis(1_900)).await;
        node.line.standing.figures.said.fetch_add(1, Relaxed);
        assert!(!leaves.is_finished());
    }
    drop(last);
    leaves.await.expect("it has left");
    let begun = Instant::now();
    node.hub.leave(begun + Duration::from_secs(9)).await;
    assert_eq!(begun.elapsed(), Duration::from_secs(2), "nothing is taken any more");
}
