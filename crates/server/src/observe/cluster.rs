//! The figures of a node among others, looked up when somebody asks; there are none where it is alone.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use oyez_hub::Hub;
use oyez_hub::cluster::{Cluster, Figures, Standing};
use prometheus_client::metrics::MetricType;

use super::catalogue::Catalogue;
use super::inboxes::Source;

type Count = fn(&Figures) -> &AtomicU64;

const COUNTS: [(&str, &str, Count); 6] = [
    ("oyez_cluster_said", "Publications that the broker was told for other nodes", |all| &all.said),
    (
        "oyez_cluster_unsaid",
        "Publications that other nodes could not be told: the broker was not reached or took none, or they are too large",
        |all| &all.unsaid,
    ),
    ("oyez_cluster_heard", "Publications of other nodes that were delivered here", |all| &all.heard),
    ("oyez_cluster_unread", "Letters of other nodes that were damaged, or of another version", |all| &all.unread),
    ("oyez_cluster_unanswered", "Questions that some node did not answer in time", |all| &all.unanswered),
    ("oyez_cluster_lost", "How often the broker was lost", |all| &all.lost),
];

const NEIGHBOURS: [(&str, &str, Count); 6] = [
    ("oyez_neighbours_said", "Words that other Socket.IO servers were told", |all| &all.said),
    ("oyez_neighbours_unsaid", "Words that other Socket.IO servers could not be told", |all| &all.unsaid),
    ("oyez_neighbours_heard", "Words of other Socket.IO servers", |all| &all.heard),
    ("oyez_neighbours_unread", "Words of other Socket.IO servers that were passed over: of no known shape", |all| {
        &all.unread
    }),
    ("oyez_neighbours_unanswered", "Questions that some other Socket.IO server did not answer in time", |all| {
        &all.unanswered
    }),
    ("oyez_neighbours_lost", "How often the way to other Socket.IO servers was lost", |all| &all.lost),
];

/// The sum of all namespaces; none where there are no ways to neighbours.
#[expect(clippy::cast_precision_loss, reason = "the format has no other numbers")]
fn sum(source: &Source, read: impl Fn(&Standing) -> u64) -> Option<f64> {
    source.get()?.neighbours().map(read).reduce(|a, b| a + b).map(|all| all as f64)
}

/// Enters those of servers of another make.
pub(super) fn neighbour_metrics(all: &mut Catalogue, source: &Source) {
    for (name, help, count) in NEIGHBOURS {
        let source = Arc::clone(source);
        let read = move || sum(&source, |standing| count(&standing.figures).load(Relaxed));
        all.reading(MetricType::Counter, name, help, read);
    }
    let present = Arc::clone(source);
    let read = move || sum(&present, |standing| standing.present.load(Relaxed) as u64);
    all.reading(MetricType::Gauge, "oyez_neighbours", "Other Socket.IO servers, of all namespaces", read);
}

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
