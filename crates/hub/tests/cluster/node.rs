//! A node: a hub whose only shard is the test, on a bus.

use std::sync::Arc;
use std::time::Duration;

use oyez_protocol::message::Args;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

use oyez_hub::Hub;
use oyez_hub::address::AppId;
use oyez_hub::app::App;
use oyez_hub::broker::{Broker, Bus, Seat};
use oyez_hub::command::{Command, Mail, Publish};
use oyez_hub::policy::Policy;
use oyez_hub::policy::channel::Pattern;
use oyez_hub::policy::rule::ChannelRule;
use oyez_hub::recovery::{Bounds, History, Recovery};

/// The only app.
pub(crate) const APP: AppId = AppId(0);

/// An app in which everything that is said in `room` is remembered, and nothing that is said elsewhere.
pub(crate) fn remembering() -> App {
    let pattern = Pattern::compile("room").expect("a pattern");
    let history = Some(History { last: 10_000, time: Duration::MAX });
    let rule = ChannelRule { history, ..ChannelRule::open(pattern) };
    let mut app = App::embedded(APP, "app", "/");
    app.policy = Arc::new(Policy::new(vec![rule]));
    app.recovery = Some(Arc::new(Recovery::new(
        Duration::from_secs(60),
        Bounds { time: Duration::from_secs(60), bytes: 1 << 24 },
    )));
    app
}

/// A node, its shard's mailbox and its seat at the bus.
pub(crate) struct Node {
    pub(crate) hub: Hub,
    pub(crate) mail: mpsc::UnboundedReceiver<Mail>,
    pub(crate) seat: Arc<Seat>,
}

/// A hub that has not joined the others, and what its shard gets.
pub(crate) type Alone = (Hub, mpsc::UnboundedReceiver<Mail>);

pub(crate) fn alone(app: App) -> Alone {
    let (sender, mail) = mpsc::unbounded_channel();
    (Hub::new(vec![app], vec![sender], Handle::current()), mail)
}

/// An app that remembers nothing.
pub(crate) fn plain() -> App {
    App::embedded(APP, "app", "/")
}

impl Node {
    /// A hub joins the others; `cut`: when it is connected again.
    pub(crate) fn joins(bus: &Bus, (hub, mail): Alone, cut: bool) -> Self {
        let (seat, inlet) = bus.join();
        seat.cut(cut);
        let broker: Arc<dyn Broker> = seat.clone();
        hub.join_cluster(&broker, inlet, None);
        Self { hub, mail, seat }
    }

    /// Two that know each other.
    pub(crate) async fn two(app: impl Fn() -> App) -> (Self, Self) {
        let bus = Bus::default();
        let [a, b] = [(); 2].map(|()| Self::joins(&bus, alone(app()), false));
        a.knows(1).await;
        b.knows(1).await;
        (a, b)
    }

    /// Returns when it is one of the others.
    pub(crate) async fn settle(&self) {
        self.hub.cluster().expect("a cluster").settle().await;
    }

    pub(crate) async fn join(&self, channel: &str) {
        self.hub.channels().join(self.hub.channels().key(APP, &channel.into()), 0);
        self.hub.reach().await;
    }

    pub(crate) fn leave(&self, channel: &str) {
        self.hub.channels().leave(self.hub.channels().key(APP, &channel.into()), 0);
    }

    pub(crate) async fn publish(&self, to: &[&str], event: &str) {
        let publish = Publish::new(to.iter().map(ToString::to_string).collect(), event, Args::one(&event));
        self.hub.execute(APP, Command::Publish(publish)).await.expect("published");
    }

    pub(crate) async fn mail(&mut self) -> Mail {
        timeout(Duration::from_secs(10), self.mail.recv()).await.expect("in time").expect("a hub")
    }

    /// The event of the next delivery; what it says is the event's name.
    pub(crate) async fn heard(&mut self) -> String {
        let Mail::Deliver(delivery) = self.mail().await else { panic!("a control") };
        assert_eq!(delivery.args.text(), format!("{:?}", &*delivery.event));
        delivery.event.to_string()
    }

    /// Waits until it knows so many others.
    pub(crate) async fn knows(&self, count: usize) {
        until(|| self.hub.cluster().expect("a cluster").others() == count).await;
    }
}

/// Waits until something is so.
pub(crate) async fn until(is_so: impl Fn() -> bool) {
    let becomes_so = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(20), becomes_so).await.expect("in time");
}
