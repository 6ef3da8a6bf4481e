//! How a thread goes down: the goodbyes, spread over a window; then what is still on its way, and what clients fetch by
//! themselves; at the deadline, whatever is left is left.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::observe::event;
use crate::settings::Shutdown;
use crate::shard::table::GOING_DOWN;
use crate::shard::{Inlet, Shard};

/// Goodbyes per second that a node says at least: few sessions need no window.
const SLOWEST: u32 = 100;

/// How often goodbyes are said.
const STEP: Duration = Duration::from_millis(10);

/// How long nobody may come for what is left for polling clients, before they count as gone.
const LAST_CALL: Duration = Duration::from_secs(1);

impl Shard {
    /// Waits until the node goes down; then says goodbye to everybody, and waits until all threads have. Returns when
    /// the node is to be down.
    pub(super) async fn say_goodbyes(self: Rc<Self>) -> Instant {
        self.stop.cancelled().await;
        let Shutdown { window, deadline } = self.settings().shutdown;
        let deadline = Instant::now() + deadline;
        let goodbyes = async {
            self.spread_goodbyes(window).await;
            // Until then backends may publish: there is somebody left to hear it.
            self.meet().await;
        };
        tokio::select! {
            () = goodbyes => {}
            // Nobody waits for the end any more.
            () = self.heard_out.cancelled() => {}
        }
        deadline
    }

    /// Ends all sessions, evenly over `window`.
    async fn spread_goodbyes(&self, window: Duration) {
        let sessions = self.addresses();
        let share = SLOWEST.div_ceil(u32::try_from(self.peers.len()).unwrap_or(u32::MAX));
        let window = window.min(Duration::from_secs(1) * u32::try_from(sessions.len()).unwrap_or(u32::MAX) / share);
        let (begun, mut said) = (Instant::now(), 0);
        while said < sessions.len() {
            let part = if window.is_zero() { 1.0 } else { begun.elapsed().div_duration_f64(window) };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let due = ((sessions.len() as f64 * part) as usize + 1).min(sessions.len());
            for session in sessions[said..due].iter().filter_map(|address| self.session(*address)) {
                self.close(&session, GOING_DOWN);
            }
            said = due;
            if said < sessions.len() {
                sleep(STEP).await;
            }
        }
    }

    /// Waits until all threads are as far as this one, unless one of them failed.
    async fn meet(&self) {
        tokio::select! {
            _ = self.threads.wait() => {}
            () = self.heard_out.cancelled() => {}
        }
    }

    /// Delivers what was accepted, and waits until clients have it, at most until `deadline`.
    pub(super) async fn finish(self: &Rc<Self>, inlet: &mut Inlet, deadline: Instant) {
        let finish = async {
            self.hub.close();
            let mut batch = Vec::new();
            while self.hub.last_mail(&mut inlet.mail, &mut batch).await {
                self.handle(&mut batch).await;
            }
            // Sessions that began while the others ended.
            self.close_all();
            self.serve_until(inlet, self.hear_out()).await;
        };
        if timeout_at(deadline, finish).await.is_err() {
            event::left_behind(self.id, self.addresses().len(), self.connections.len());
        }
    }

    /// Has polling clients come once more, by whichever thread, for what is left for them; then lets connections end.
    async fn hear_out(self: &Rc<Self>) {
        let fetched = || timeout(LAST_CALL, self.removed.notified());
        while !self.sessions.borrow().is_empty() && fetched().await.is_ok() {}
        self.meet().await;
        self.heard_out.cancel();
        self.connections.close();
        self.connections.wait().await;
    }
}
