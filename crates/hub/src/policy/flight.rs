//! Many who ask the same question at once cause one call, whose answer they share.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

type Flights<K, V> = Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>;

/// Calls under way, by question. At most `most` at once: the next different question is refused, not queued.
#[derive(Debug)]
pub(crate) struct SingleFlight<K, V> {
    flights: Flights<K, V>,
    most: usize,
}

impl<K, V> SingleFlight<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Allows `most` different questions at once.
    pub(crate) fn new(most: usize) -> Self {
        Self { flights: Flights::default(), most }
    }

    /// Whether this question is being asked.
    pub(crate) fn is_running(&self, key: &K) -> bool {
        self.flights.lock().contains_key(key)
    }

    /// Gives the answer of the call that is under way for `key`, or calls; `None` when too many are under way, or the
    /// runtime of the caller that began it has stopped. A call runs to its end whoever goes away meanwhile: a client
    /// that connects and leaves must not undo what others wait for.
    pub(crate) async fn run<F>(&self, key: K, call: impl FnOnce() -> F) -> Option<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut answer = self.join(key, call)?;
        answer.wait_for(Option::is_some).await.ok()?.clone()
    }

    fn join<F>(&self, key: K, call: impl FnOnce() -> F) -> Option<watch::Receiver<Option<V>>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let (sender, receiver) = watch::channel(None);
        {
            let mut flights = self.flights.lock();
            if let Some(under_way) = flights.get(&key) {
                return Some(under_way.clone());
            }
            if flights.len() >= self.most {
                return None;
            }
            flights.insert(key.clone(), receiver.clone());
        }
        let landing = Landing { flights: Arc::clone(&self.flights), key };
        let call = call();
        tokio::spawn(async move {
            let answer = call.await;
            drop(landing);
            // Nobody may be waiting any more.
            let _ = sender.send(Some(answer));
        });
        Some(receiver)
    }
}

/// Ends a flight, also when its call panics or its runtime stops.
struct Landing<K: Eq + Hash, V> {
    flights: Flights<K, V>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
    }
}
