//! The figures of a node among others, looked up when somebody asks; there are none where it is alone.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use oyez_hub::Hub;
use oyez_hub::cluster::{Cluster, Figures};
use prometheus_client::metrics::MetricType;

use super::catalogue::Catalogue;
use super::inboxes::Source;

type Count = fn(&Figures) -> &AtomicU64;

const COUNTS: [(&str, &str, Count); 6] = [
    ("oyez_cluster_said", "Publications that the broker was told for other nodes", |all| &all.said),
    (
        "oyez_cluster_unsaid",
        "Publications that other nodes could not be told, because the broker was not reached",
        |all| &all.unsaid,
    ),
    ("oyez_cluster_heard", "Publications of other nodes that were delivered here", |all| &all.heard),
    ("oyez_cluster_unread", "Letters of other nodes that were damaged, or of another version", |all| &all.unread),
    ("oyez_cluster_unanswered", "Questions that some node did not answer in time", |all| &all.unanswered),
    ("oyez_cluster_lost", "How often the broker was lost", |all| &all.lost),
];

/// Enters them all.
pub(super) fn cluster_metrics(all: &mut Catalogue, source: &Source) {
    let look = |source: &Source| {
        let source = Arc::clone(source);
        move |read: &dyn Fn(&Cluster) -> f64| source.get().and_then(Hub::cluster).map(|cluster| read(cluster))
    };
    for (name, help, count) in COUNTS {
        let look = look(source);
        #[expect(clippy::cast_precision_loss, reason = "the format has no other numbers")]
        let read = move || look(&|cluster| count(&cluster.figures).load(Relaxed) as f64);
        all.reading(MetricType::Counter, name, help, read);
    }
    let others = look(source);
    #[expect(clippy::cast_precision_loss, reason = "the format has no other numbers")]
    let read = move || others(&|cluster| cluster.others() as f64);
    all.reading(MetricType::Gauge, "oyez_cluster_others", "Other nodes that are heard", read);
    let reached = look(source);
    let read = move || reached(&|cluster| f64::from(u8::from(cluster.is_reached())));
    all.reading(MetricType::Gauge, "oyez_cluster_reached", "1, or 0 while the broker is not reached", read);
}
