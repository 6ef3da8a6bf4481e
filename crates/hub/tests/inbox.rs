//! Durable publications through the hub: stored in the order in which they came, delivered in the store's order, once.

use std::sync::Arc;

use oyez_hub::Hub;
use oyez_hub::address::AppId;
use oyez_hub::app::App;
use oyez_hub::channel::devices_of;
use oyez_hub::command::{Command, Mail, Marking, Outcome, Promise, Publish};
use oyez_hub::policy::Policy;
use oyez_hub::policy::channel::Pattern;
use oyez_hub::policy::rule::ChannelRule;
use oyez_hub::promise::{Class, InboxRules};
use oyez_hub::store::{MemoryStore, State, Which};
use oyez_protocol::message::Args;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const APP: AppId = AppId(0);

/// A node with one shard and a channel `user:{id}` that is each user's own.
fn node() -> (Hub, UnboundedReceiver<Mail>) {
    let pattern = Pattern::compile("user:{id}").expect("a pattern");
    let rule = ChannelRule { inbox: Some("id".into()), ..ChannelRule::open(pattern) };
    let mut app = App::embedded(APP, "app", "/");
    app.policy = Arc::new(Policy::new(vec![rule]));
    app.inbox = Some(Arc::new(InboxRules::default()));
    let (mailbox, mail) = unbounded_channel();
    let hub = Hub::new(vec![app], vec![mailbox], Handle::current());
    hub.keep_in(Arc::new(MemoryStore::default()));
    (hub, mail)
}

fn durable(number: usize) -> Publish {
    let promise = Promise { class: Some(Class::Durable), ..Promise::default() };
    let id = Some(number.to_string());
    Publish { id, promise, ..Publish::new(vec!["user:ann".to_owned()], "note", Args::one(&number)) }
}

/// The next delivery of a stored message: its place and its id.
async fn stored(mail: &mut UnboundedReceiver<Mail>) -> (u64, String) {
    loop {
        if let Some(Mail::Deliver(delivery)) = mail.recv().await
            && let Some(place) = delivery.stored
        {
            return (place, delivery.id.to_string());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_hear_messages_in_the_stores_order() {
    const EACH: usize = 200;
    let (hub, mut mail) = node();
    let devices = devices_of("ann");
    hub.channels().join(hub.channels().key(APP, &devices), 0);
    let publishers: Vec<_> = (0..8)
        .map(|publisher| {
            let hub = hub.clone();
            tokio::spawn(async move {
                for number in 0..EACH {
                    let outcome = hub.execute(APP, Command::Publish(durable(publisher * EACH + number))).await;
                    assert!(matches!(outcome, Ok(Outcome::Published(_))), "{outcome:?}");
                }
            })
        })
        .collect();
    let mut heard = Vec::new();
    while heard.len() < 8 * EACH {
        heard.push(stored(&mut mail).await);
    }
    for publisher in publishers {
        publisher.await.expect("a publisher that ends");
    }
    assert!(heard.is_sorted(), "places rise");
    let page = {
        let inboxes = hub.inboxes().expect("there is a store");
        let of = hub.app(APP).owner(&"ann".into());
        inboxes.store().pending(&of, None, 10_000, 1).await.expect("a page")
    };
    let ids: Vec<_> = page.items.iter().map(|item| (item.seq, item.message.id.to_string())).collect();
    assert_eq!(ids, heard, "each as it lies in the store");
}

#[tokio::test]
async fn what_was_published_before_is_not_delivered_again() {
    let (hub, mut mail) = node();
    let devices = devices_of("ann");
    hub.channels().join(hub.channels().key(APP, &devices), 0);
    for (number, expect) in [(1, false), (1, true), (2, false)] {
        match hub.execute(APP, Command::Publish(durable(number))).await {
            Ok(Outcome::Published(published)) => assert_eq!(published.duplicate, expect),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((stored(&mut mail).await.1, stored(&mut mail).await.1), ("1".to_owned(), "2".to_owned()));
    let marking = Marking { user: "ann".into(), which: Which::All, to: State::Read, by: None, hearing: None };
    match hub.execute(APP, Command::Mark(marking)).await {
        Ok(Outcome::Marked(marked)) => assert_eq!(marked.changed.len(), 2),
        other => panic!("{other:?}"),
    }
}
