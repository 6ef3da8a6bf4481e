//! From a publisher to the shards, through door, order and mailbox, in many orders of the threads: whoever is told
//! that a publication is accepted has every interested shard hear it, also while the node goes down.

use shuttle::future::block_on;
use shuttle::thread;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::*;
use crate::command::Publish;
use crate::sync::model::many_orders;

const APP: AppId = AppId(0);
const ROOM: &str = "room";

/// All bytes that may be on their way.
const BYTES: usize = 1_000;

type Shards = [thread::JoinHandle<Vec<String>>; 2];

/// A node whose door lets `permits` publications in, with a member of one channel on each of two shards. The shards
/// stop when the last part is dropped.
fn node(permits: usize, background: &Handle) -> (Hub, Shards, Vec<oneshot::Sender<()>>) {
    let (mailboxes, mails): (Vec<_>, Vec<_>) = (0..2).map(|_| mpsc::unbounded_channel()).unzip();
    let mut hub = Hub::new(vec![App::embedded(APP, "app", "/")], mailboxes, background.clone());
    Arc::get_mut(&mut hub.inner).unwrap().door = Door::new(permits, BYTES);
    (0..2).for_each(|shard| hub.channels().join(hub.channels().key(APP, &ROOM.into()), shard));
    let (stop, stopped): (Vec<_>, Vec<_>) = (0..2).map(|_| oneshot::channel()).unzip();
    let start = |(mail, stopped)| {
        let hub = hub.clone();
        thread::spawn(move || block_on(shard(hub, mail, stopped)))
    };
    let shards: Vec<_> = mails.into_iter().zip(stopped).map(start).collect();
    (hub, shards.try_into().unwrap(), stop)
}

/// What a shard does with its mail, as in `server/shard`; gives the publications in the order in which it had them.
async fn shard(hub: Hub, mut mail: mpsc::UnboundedReceiver<Mail>, mut stop: oneshot::Receiver<()>) -> Vec<String> {
    let (mut batch, mut heard) = (Vec::new(), Vec::new());
    loop {
        tokio::select! {
            count = mail.recv_many(&mut batch, 2) => {
                assert!(count > 0, "the hub keeps the mailbox open");
                handle(&mut batch, &mut heard).await;
            }
            _ = &mut stop => break,
        }
    }
    hub.close();
    while hub.last_mail(&mut mail, &mut batch).await {
        handle(&mut batch, &mut heard).await;
    }
    heard
}

async fn handle(batch: &mut Vec<Mail>, heard: &mut Vec<String>) {
    for mail in batch.iter() {
        let Mail::Deliver(delivery) = mail else { unreachable!("only publications are sent") };
        heard.push(delivery.event.to_string());
    }
    // Writing takes its time, and the permits return only then.
    shuttle::future::yield_now().await;
    batch.clear();
}

/// Publishes on a thread of its own; gives the event back if it was accepted.
fn publisher(hub: &Hub, event: String) -> thread::JoinHandle<Option<String>> {
    let hub = hub.clone();
    thread::spawn(move || {
        let publish = Publish::new(vec![ROOM.to_owned()], event.as_str(), Default::default());
        match block_on(hub.execute(APP, Command::Publish(publish))) {
            Ok(_) => Some(event),
            Err(error) => {
                assert_eq!(error, CommandError::ShuttingDown);
                None
            }
        }
    })
}

/// Everything is accepted and heard although only `permits` may be on their way and nothing but mail wakes a shard.
fn at_work(permits: usize, publishers: usize) -> impl Fn() + Send + Sync + Clone {
    let runtime = runtime();
    move || {
        let (hub, shards, stop) = node(permits, runtime.handle());
        let publishers: Vec<_> = (0..publishers).map(|number| publisher(&hub, format!("event {number}"))).collect();
        let accepted: Vec<_> = publishers.into_iter().filter_map(|publisher| publisher.join().unwrap()).collect();
        // There is room for this one when every permit has returned: both shards have had their mail.
        assert!(block_on(hub.inner.door.enter(BYTES)).is_some());
        drop(stop);
        assert_heard(accepted, shards);
    }
}

/// The node goes down while they publish: whatever was accepted is heard, the rest is not.
fn going_down(permits: usize, publishers: usize) -> impl Fn() + Send + Sync + Clone {
    let runtime = runtime();
    move || {
        let (hub, shards, stop) = node(permits, runtime.handle());
        let publishers: Vec<_> = (0..publishers).map(|number| publisher(&hub, format!("event {number}"))).collect();
        hub.close();
        drop(stop);
        assert_heard(publishers.into_iter().filter_map(|publisher| publisher.join().unwrap()).collect(), shards);
    }
}

fn assert_heard(mut accepted: Vec<String>, shards: Shards) {
    let [one, two] = shards.map(|shard| shard.join().unwrap());
    assert_eq!(one, two, "every shard hears the same in the same order");
    let mut heard = one;
    heard.sort_unstable();
    accepted.sort_unstable();
    assert_eq!(heard, accepted, "what was accepted, once, and nothing else");
}

/// For the handlers that nobody has registered.
fn runtime() -> Arc<Runtime> {
    Arc::new(Builder::new_current_thread().build().unwrap())
}

#[test]
fn every_publication_is_heard_and_returns_its_permit() {
    many_orders(at_work(1, 3));
    many_orders(at_work(2, 4));
}

#[test]
fn what_was_accepted_is_heard_although_the_node_goes_down() {
    many_orders(going_down(1, 1));
    many_orders(going_down(1, 3));
    many_orders(going_down(4, 4));
}
