//! What one connection (RESP3) hears on the channels that it is subscribed to, kept until it is taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use oyez_hub::broker::Said;
use redis::aio::{AsyncPushSender, SendError};
use redis::{PushInfo, PushKind, Value};
use tokio::sync::{Notify, mpsc};

/// What was heard and is not yet taken: letters, and their bytes. A node that is further behind begins anew, and knows that
/// it has missed something.
pub(super) const BEHIND: (usize, usize) = (65_536, 256 << 20);

/// What was heard on one connection and waits to be taken.
#[derive(Debug)]
pub(super) struct Ear {
    /// How long what is before the topic is in the names of channels.
    prefix: usize,
    heard: mpsc::UnboundedSender<Said>,
    letters: AtomicUsize,
    bytes: AtomicUsize,
    /// The connection is over, or the node too far behind.
    pub(super) over: Notify,
}

impl Ear {
    /// An ear, and what it hears.
    pub(super) fn new(prefix: usize) -> (Arc<Self>, mpsc::UnboundedReceiver<Said>) {
        let (heard, said) = mpsc::unbounded_channel();
        let (letters, bytes, over) = Default::default();
        (Arc::new(Self { prefix, heard, letters, bytes, over }), said)
    }

    /// A letter was taken.
    pub(super) fn taken(&self, said: &Said) {
        self.letters.fetch_sub(1, Relaxed);
        self.bytes.fetch_sub(said.payload.len(), Relaxed);
    }
}

/// The ear as the driver of the connection has it.
pub(super) struct Tap(pub(super) Arc<Ear>);

impl AsyncPushSender for Tap {
    fn send(&self, PushInfo { kind, mut data }: PushInfo) -> Result<(), SendError> {
        let Self(ear) = self;
        match kind {
            PushKind::Disconnection => {
                ear.over.notify_one();
                return Ok(());
            }
            // What follows the pattern is as without one.
            PushKind::PMessage if data.len() == 3 => drop(data.remove(0)),
            PushKind::Message | PushKind::SMessage => {}
            _ => return Ok(()),
        }
        let Ok([Value::BulkString(channel), Value::BulkString(payload)]) = <[Value; 2]>::try_from(data) else {
            return Ok(());
        };
        let Some(topic) = channel.get(ear.prefix..).and_then(|topic| std::str::from_utf8(topic).ok()) else {
            return Ok(());
        };
        let letters = ear.letters.fetch_add(1, Relaxed) + 1;
        let bytes = ear.bytes.fetch_add(payload.len(), Relaxed) + payload.len();
        if letters > BEHIND.0 || bytes > BEHIND.1 {
            ear.over.notify_one();
            return Err(SendError);
        }
        ear.heard.send(Said { topic: topic.into(), payload: payload.into() }).map_err(|_| SendError)
    }
}
