//! A shard looks at itself: how late its turns come, and from time to time who is there and what waits.

use std::rc::Rc;
use std::time::Duration;

use oyez_hub::command::Control;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::clock;
use crate::observe::event;
use crate::observe::vitals::{Stock, Vitals};
use crate::session::Link;
use crate::shard::Shard;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Looks until all sessions are counted again: a second.
const STOCK: u64 = 20;

/// Sessions counted before other work of the shard gets a turn. Most are two bytes in an array.
const CHUNK: usize = 1024;

impl Shard {
    /// This shard's figures.
    pub(super) fn vitals(&self) -> &Vitals {
        self.metrics.shard(self.id)
    }

    pub(super) async fn keep_watch(self: Rc<Self>) {
        self.vitals().beat(Duration::ZERO, clock::steady_nanos());
        for look in 0_u64.. {
            let due = Instant::now() + LOOK;
            tokio::time::sleep_until(due).await;
            let late = due.elapsed();
            if self.vitals().beat(late, clock::steady_nanos()) {
                event::stalled(self.id, late);
            }
            if look % STOCK == 0 {
                self.mark_logs();
                self.take_stock().await;
                self.shrink_if_emptier();
            }
        }
    }

    /// Writes a letter to itself: when that is read, all that was said before has been delivered. So what is said to
    /// nobody here also counts as heard.
    fn mark_logs(&self) {
        for app in self.hub.apps() {
            if let Some(recovery) = &app.recovery {
                self.hub.control(self.id, Control::Reached(app.id, recovery.log.last()));
            }
        }
    }

    async fn take_stock(&self) {
        let tasks = Handle::current().metrics().num_alive_tasks();
        let mut stock = Stock { tasks, ..Stock::default() };
        let mut from = 0;
        while self.count(&mut from, &mut stock) {
            tokio::task::yield_now().await;
        }
        self.vitals().note(stock);
    }

    /// Counts some sessions, from a slot on; returns whether there are more. Idle websockets are not touched.
    fn count(&self, from: &mut usize, stock: &mut Stock) -> bool {
        let (lines, sessions) = (self.lines.borrow(), self.sessions.borrow());
        let end = lines.len().min(*from + CHUNK);
        for slot in *from..end {
            if lines[slot].direct {
                stock.websockets += 1;
                continue;
            }
            let Some(session) = sessions.get(slot).filter(|session| session.closed.get().is_none()) else { continue };
            let waiting = session.outbox.borrow().bytes();
            match *session.link.borrow() {
                Link::WebSocket { .. } => {
                    stock.websockets += 1;
                    stock.slow += usize::from(waiting > 0);
                }
                Link::Polling(_) => stock.polling += 1,
            }
            stock.outbox += waiting;
        }
        *from = end;
        end < lines.len()
    }
}
