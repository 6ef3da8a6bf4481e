//! Finding the addresses of names.
//!
//! The system's resolver blocks a thread, of those that reads of the store need too, and goes on long after who asked has
//! given up. So a name is asked for once at a time, whoever waits for it, and few names are at once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;

/// Names that are looked up at once; more wait their turn, each as long as its request may take.
const AT_ONCE: usize = 32;

/// What is known of a name.
pub(super) type Found = Result<Arc<[SocketAddr]>, Arc<io::Error>>;

/// Asks for a name, on a thread that may block.
type Ask = Box<dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// Looks names up.
pub(super) struct Lookups {
    ask: Ask,
    turns: Semaphore,
    /// Where those who want a name wait, while it is looked up.
    running: Mutex<HashMap<String, watch::Receiver<Option<Found>>>>,
}

impl Lookups {
    /// Asks the system.
    pub(super) fn new() -> Arc<Self> {
        Self::asking(|name| Ok((name, 0).to_socket_addrs()?.collect()))
    }

    fn asking(ask: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { ask: Box::new(ask), turns: Semaphore::new(AT_ONCE), running: Mutex::default() })
    }

    /// The addresses of a name. Waits as long as the resolver does: bound it.
    pub(super) async fn find(self: &Arc<Self>, name: &str) -> Found {
        let mut told = match self.running.lock().entry(name.to_owned()) {
            Entry::Occupied(running) => running.get().clone(),
            Entry::Vacant(new) => {
                let (teller, told) = watch::channel(None);
                tokio::spawn(Arc::clone(self).look(name.to_owned(), teller));
                new.insert(told).clone()
            }
        };
        let found = told.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
        found.unwrap_or_else(|| Err(Arc::new(io::Error::other("the lookup was broken off"))))
    }

    async fn look(self: Arc<Self>, name: String, teller: watch::Sender<Option<Found>>) {
        // It is never closed; the turn lasts as long as a thread is blocked.
        let turn = self.turns.acquire().await;
        let (lookups, asked) = (Arc::clone(&self), name.clone());
        let found = spawn_blocking(move || (lookups.ask)(&asked)).await;
        drop(turn);
        let found = found.unwrap_or_else(|broken| Err(io::Error::other(broken)));
        self.running.lock().remove(&name);
        let _ = teller.send(Some(found.map(Arc::from).map_err(Arc::new)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::task::yield_now;
    use tokio::time::timeout;

    use super::*;

    /// One whose resolver counts what it is asked, and answers nothing for `dead…` until the other end is dropped.
    fn lookups() -> (Arc<Lookups>, Arc<AtomicUsize>, mpsc::Sender<()>) {
        let (end, ended) = mpsc::channel::<()>();
        let (asked, ended) = (Arc::new(AtomicUsize::new(0)), Mutex::new(ended));
        let count = Arc::clone(&asked);
        let lookups = Lookups::asking(move |name| {
            count.fetch_add(1, Ordering::Relaxed);
            if name.starts_with("dead") {
                // All wait for one lock, and for the end.
                ended.lock().recv().unwrap_err();
            }
            Ok(vec![([127, 0, 0, 1], 0).into()])
        });
        (lookups, asked, end)
    }

    #[tokio::test]
    async fn a_name_without_an_answer_blocks_one_thread_and_no_other_name() {
        let (lookups, asked, end) = lookups();
        for _ in 0..AT_ONCE * 2 {
            // Whoever gives up leaves nothing behind that another would not wait for too.
            timeout(Duration::from_millis(1), lookups.find("dead")).await.unwrap_err();
        }
        assert_eq!(lookups.find("good").await.unwrap().len(), 1);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        drop(end);
        assert_eq!(lookups.find("dead").await.unwrap().len(), 1);
        assert!(lookups.running.lock().is_empty());
    }

    #[tokio::test]
    async fn few_names_are_looked_up_at_once() {
        let (lookups, asked, end) = lookups();
        let wait = |name: String| {
            let lookups = Arc::clone(&lookups);
            tokio::spawn(async move { lookups.find(&name).await })
        };
        let dead: Vec<_> = (0..AT_ONCE + 8).map(|number| wait(format!("dead{number}"))).collect();
        while asked.load(Ordering::Relaxed) < AT_ONCE {
            yield_now().await;
        }
        timeout(Duration::from_millis(20), lookups.find("good")).await.unwrap_err();
        assert_eq!(asked.load(Ordering::Relaxed), AT_ONCE);
        drop(end);
        for dead in dead {
            dead.await.unwrap().unwrap();
        }
        assert_eq!(lookups.find("good").await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_the_resolver_says_is_passed_on() {
        let lookups = Lookups::asking(|_| Err(io::Error::other("no such name")));
        assert_eq!(lookups.find("x").await.unwrap_err().to_string(), "no such name");
    }
}
