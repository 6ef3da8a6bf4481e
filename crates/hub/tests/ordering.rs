//! What the lock of a channel promises, with threads that do their worst: all shards hear publications in one order,
//! and a join is either before a publication or after it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use oyez_hub::address::AppId;
use oyez_hub::channel::Channels;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const APP: AppId = AppId(0);
const SHARDS: u8 = 3;
const EACH: usize = 2_000;

fn drain<T>(mailbox: &mut UnboundedReceiver<T>) -> Vec<T> {
    std::iter::from_fn(|| mailbox.try_recv().ok()).collect()
}

#[test]
fn all_shards_hear_one_order() {
    let channels = Channels::default();
    let names: [Arc<str>; 3] = ["a".into(), "b".into(), "c".into()];
    let (mailboxes, mut mails): (Vec<_>, Vec<_>) = (0..SHARDS).map(|_| unbounded_channel()).unzip();
    for shard in 0..SHARDS {
        names.iter().for_each(|name| channels.join(channels.key(APP, name), shard));
    }
    // Every publisher names two channels, each pair in another order: locks taken in that order would deadlock.
    let pairs = [[0, 1], [1, 2], [2, 0], [1, 0]];
    thread::scope(|scope| {
        for (publisher, pair) in pairs.into_iter().enumerate() {
            let (channels, mailboxes) = (&channels, &mailboxes);
            let to = pair.map(|index| Arc::clone(&names[index]));
            scope.spawn(move || {
                for number in 0..EACH {
                    channels.publish(
                        APP,
                        &to,
                        |shard| {
                            let _ = mailboxes[usize::from(shard)].send((publisher, pair, number));
                        },
                        || {},
                    );
                }
            });
        }
    });
    let heard: Vec<Vec<_>> = mails.iter_mut().map(drain).collect();
    for index in 0..names.len() {
        let in_channel = |log: &Vec<(usize, [usize; 2], usize)>| -> Vec<(usize, usize)> {
            log.iter().filter(|(_, pair, _)| pair.contains(&index)).map(|(who, _, number)| (*who, *number)).collect()
        };
        let first = in_channel(&heard[0]);
        assert!(heard.iter().all(|log| in_channel(log) == first), "channel {index}");
    }
    assert!(heard.iter().all(|log| log.len() == pairs.len() * EACH), "each publication once per shard");
}

#[test]
fn whoever_has_joined_hears_what_is_published_next() {
    let channels = Channels::default();
    let name: Arc<str> = "room".into();
    for _ in 0..EACH {
        let joined = AtomicBool::new(false);
        let start = Barrier::new(2);
        let (must, heard) = thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                channels.join(channels.key(APP, &name), 1);
                joined.store(true, Ordering::SeqCst);
            });
            start.wait();
            let must = joined.load(Ordering::SeqCst);
            let mut heard = false;
            channels.publish(APP, [&name], |shard| heard |= shard == 1, || {});
            (must, heard)
        });
        assert!(heard || !must, "a publication after the join was not heard");
        channels.leave(channels.key(APP, &name), 1);
    }
    assert_eq!(channels.members(APP, &name), 0);
}
