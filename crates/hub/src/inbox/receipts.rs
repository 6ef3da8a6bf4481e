//! Tells publishers what became of a message: over a channel, or by the app's webhook.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use oyez_protocol::message::Args;
use serde_json::json;
use tokio::sync::mpsc;
use tracing::warn;
use uuid::Uuid;

use crate::Hub;
use crate::address::AppId;
use crate::app::App;
use crate::backend::{Refused, jittered};
use crate::command::Publish;
use crate::hub::Inner;
use crate::store::{ReceiptTo, State};

/// Receipts that wait, in all and for one webhook; more are lost, and counted.
pub(super) const QUEUE: usize = 10_000;

/// How long to wait before a webhook is tried again.
const PAUSES: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(10)];

/// What a receipt is called in a channel.
const EVENT: &str = "receipt";

/// What became of a message with one user.
#[derive(Debug, Clone)]
pub(super) struct Receipt {
    pub(super) app: AppId,
    pub(super) to: ReceiptTo,
    pub(super) id: Arc<str>,
    pub(super) user: Arc<str>,
    pub(super) state: State,
    pub(super) at: u64,
}

/// Tells receipts until the hub is gone: each app's webhook has a queue of its own, so that one which does not answer
/// keeps nobody else waiting.
pub(super) async fn run(hub: Weak<Inner>, mut receipts: mpsc::Receiver<Receipt>) {
    let mut webhooks: HashMap<AppId, mpsc::Sender<Receipt>> = HashMap::new();
    let (channels, inlet) = mpsc::channel(QUEUE);
    tokio::spawn(tell_all(hub.clone(), inlet));
    while let Some(receipt) = receipts.recv().await {
        let queue = match receipt.to {
            ReceiptTo::Channel(_) => &channels,
            ReceiptTo::Webhook => webhooks.entry(receipt.app).or_insert_with(|| {
                let (queue, inlet) = mpsc::channel(QUEUE);
                tokio::spawn(tell_all(hub.clone(), inlet));
                queue
            }),
        };
        if queue.try_send(receipt).is_err() {
            let Some(hub) = Hub::upgrade(&hub) else { return };
            hub.inboxes().map(|inboxes| inboxes.figures().receipts_lost.fetch_add(1, Relaxed));
        }
    }
}

/// Tells receipts in their order.
async fn tell_all(hub: Weak<Inner>, mut receipts: mpsc::Receiver<Receipt>) {
    while let Some(receipt) = receipts.recv().await {
        let Some(hub) = Hub::upgrade(&hub) else { return };
        let Some(inboxes) = hub.inboxes() else { return };
        let told = tell(&hub, &receipt).await;
        let figures = inboxes.figures();
        if told { &figures.receipts } else { &figures.receipts_lost }.fetch_add(1, Relaxed);
    }
}

async fn tell(hub: &Hub, receipt: &Receipt) -> bool {
    let app = hub.app(receipt.app);
    let Receipt { id, user, state, at, .. } = receipt;
    let words = json!({ "app": app.name, "id": id, "user": user, "state": state, "at": at });
    match &receipt.to {
        ReceiptTo::Channel(channel) => {
            let publish = Publish { shape: false, ..Publish::new(vec![channel.to_string()], EVENT, Args::one(&words)) };
            hub.publish(app.id, publish, None).await.is_ok()
        }
        ReceiptTo::Webhook => post(&app, &words).await,
    }
}

async fn post(app: &App, words: &serde_json::Value) -> bool {
    let webhook = app.inbox.as_ref().and_then(|rules| rules.webhook.as_ref());
    let (Some(backend), Some(webhook)) = (&app.backend, webhook) else { return false };
    let (mut pauses, id) = (PAUSES.iter(), Uuid::now_v7().to_string());
    loop {
        match backend.tell(webhook, &id, words).await {
            Ok(_) => return true,
            // That is no attempt.
            Err(Refused::Broken { wait }) => tokio::time::sleep(wait).await,
            Err(reason) => match pauses.next() {
                Some(pause) => tokio::time::sleep(jittered(*pause)).await,
                None => {
                    warn!(
                        event = "receipt_lost",
                        app = app.name,
                        %reason,
                        "the webhook of [app.NAME.inbox] takes no receipt"
                    );
                    return false;
                }
            },
        }
    }
}

impl Hub {
    /// Has a receipt told, unless too many wait.
    pub(super) fn receipt(&self, receipt: Receipt) {
        let Some(inboxes) = self.inboxes() else { return };
        if inboxes.receipts.try_send(receipt).is_err() {
            inboxes.figures.receipts_lost.fetch_add(1, Relaxed);
        }
    }
}
