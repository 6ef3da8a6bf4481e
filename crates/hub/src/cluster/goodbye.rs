//! The last thing that a node does: it says what others are still to be told, and then goodbye.

use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::outbound::Outbound;
use super::{Figures, PATIENCE};
use crate::Hub;

impl Hub {
    /// Tells other nodes and neighbours what was published here before, and others goodbye: they forget this node at once.
    /// Returns when that is said; at `until` if that is later than twice [`PATIENCE`], or as soon as nothing of it has been
    /// said for so long.
    pub async fn leave(&self, until: Instant) {
        // What is answered as published is said before goodbye: from here on it is refused, also where nobody was waited for.
        self.close();
        let _ = timeout(PATIENCE, self.emptied()).await;
        if let Some(cluster) = self.cluster() {
            let mut answering = cluster.answering.subscribe();
            let _ = timeout(PATIENCE, answering.wait_for(|under_way| *under_way == 0)).await;
        }
        let mut said = std::pin::pin!(async {
            let neighbours = self.tell_neighbours_all();
            if let Some(cluster) = self.cluster() {
                let (last, is_said) = oneshot::channel();
                let _ = cluster.outbound.send(Outbound::Last(last));
                let _ = is_said.await;
            }
            neighbours.await;
        });
        loop {
            let before = self.said();
            if timeout(PATIENCE, &mut said).await.is_ok() {
                return;
            }
            // Who does not hear the goodbye forgets this node a moment later.
            if self.said() == before || Instant::now() >= until {
                warn!(
                    event = "left_unsaid",
                    help = "the broker takes too long; see `deadline` in [server.shutdown]",
                    "others are not told all that was published here"
                );
                return;
            }
        }
    }

    /// How much others have been told.
    fn said(&self) -> u64 {
        let figures = |figures: &Figures| figures.said.load(Relaxed) + figures.unsaid.load(Relaxed);
        let neighbours: u64 = self.neighbours().map(|standing| figures(&standing.figures)).sum();
        neighbours + self.cluster().map_or(0, |cluster| figures(&cluster.figures))
    }
}
