//! What time brings: messages expire, ids are forgotten, figures change, a disk has room again.

use std::sync::Weak;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::Hub;
use crate::clock::span;
use crate::hub::Inner;
use crate::store::StoreError;

/// From one round to the next.
const ROUND: Duration = Duration::from_secs(5);

/// What is scheduled is released by the node that took it in; by another one only if it is so late, in milliseconds.
const GRACE: u64 = 2_000;

/// Hears from the store whether it works, until one of them is gone.
pub(super) async fn follow(hub: Weak<Inner>, mut health: watch::Receiver<Option<StoreError>>) {
    loop {
        {
            let Some(hub) = Hub::upgrade(&hub) else { return };
            let Some(inboxes) = hub.inboxes() else { return };
            let trouble = health.borrow_and_update().clone();
            match trouble {
                Some(trouble) => inboxes.troubled(&trouble),
                None => {
                    inboxes.untroubled();
                    hub.mend_history();
                }
            }
        }
        if health.changed().await.is_err() {
            return;
        }
    }
}

/// Does rounds until the hub is gone.
pub(super) async fn run(hub: Weak<Inner>) {
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        let Some(hub) = Hub::upgrade(&hub) else { return };
        let Some(inboxes) = hub.inboxes() else { return };
        loop {
            let done = inboxes.store.maintain(span().earliest).await;
            inboxes.note(&done);
            let Ok(done) = done else { break };
            match &done.full {
                Some(full) => inboxes.troubled(full),
                None => inboxes.untroubled(),
            }
            inboxes.figures.expired.fetch_add(done.expired as u64, Relaxed);
            for (app, target) in &done.expired_at {
                if let Ok(app) = hub.find_app(app) {
                    hub.unread_changed_everywhere(&app, target);
                }
            }
            if !done.more {
                break;
            }
        }
        if let Ok(Some(due)) = inboxes.store.next_due().await {
            inboxes.due.send_replace(Some(due + GRACE));
        }
        if let Ok(stats) = inboxes.store.stats(span().earliest).await {
            *inboxes.stats.lock() = stats;
        }
    }
}
