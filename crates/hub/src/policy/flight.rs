//! Many who ask the same question at once cause one call, whose answer they share.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OnceCell;

type Flights<K, V> = Mutex<HashMap<K, Arc<OnceCell<V>>>>;

/// Calls under way, by question. At most `most` at once: the next different question is refused, not queued.
#[derive(Debug)]
pub(crate) struct SingleFlight<K, V> {
    flights: Flights<K, V>,
    most: usize,
}

impl<K: Eq + Hash, V: Clone> SingleFlight<K, V> {
    /// Allows `most` different questions at once.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            flights: Mutex::default(),
            most,
        }
    }

    /// Whether this question is being asked.
    pub(crate) fn is_running(&self, key: &K) -> bool {
        self.flights.lock().contains_key(key)
    }

    /// Gives the answer of the call that is under way for `key`, or calls; `None` when too many are under way. When
    /// the caller that started a call goes away, the next one that waits calls again.
    pub(crate) async fn run<F: Future<Output = V>>(
        &self,
        key: &K,
        call: impl FnOnce() -> F,
    ) -> Option<V>
    where
        K: Clone,
    {
        let cell = {
            let mut flights = self.flights.lock();
            if flights.len() >= self.most && !flights.contains_key(key) {
                return None;
            }
            Arc::clone(flights.entry(key.clone()).or_default())
        };
        let landing = Landing {
            flights: &self.flights,
            key,
            cell,
        };
        Some(landing.cell.get_or_init(call).await.clone())
    }
}

/// Ends a flight when it has its answer or its last passenger leaves, also when that one is dropped midway.
struct Landing<'a, K: Eq + Hash, V> {
    flights: &'a Flights<K, V>,
    key: &'a K,
    cell: Arc<OnceCell<V>>,
}

impl<K: Eq + Hash, V> Drop for Landing<'_, K, V> {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        // Clones are made under the lock only, so two means the map's and ours.
        let over = self.cell.initialized() || Arc::strong_count(&self.cell) <= 2;
        if over
            && flights
                .get(self.key)
                .is_some_and(|current| Arc::ptr_eq(current, &self.cell))
        {
            flights.remove(self.key);
        }
    }
}
