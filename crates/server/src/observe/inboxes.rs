//! The figures of the store and of the inboxes in it, looked up when somebody asks.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

use oyez_hub::Hub;
use oyez_hub::inbox::{Figures, Inboxes};
use oyez_hub::store::Stats;
use prometheus_client::metrics::MetricType;

use super::catalogue::Catalogue;

/// The hub whose store is looked at; none before there is one.
pub(super) type Source = Arc<OnceLock<Hub>>;

type Count = fn(&Figures) -> &AtomicU64;

const COUNTS: [(&str, &str, Count); 10] = [
    ("oyez_inbox_stored", "Durable messages put into inboxes and channel logs", |all| &all.stored),
    ("oyez_inbox_duplicates", "Durable publications that had been published before, by their ids", |all| {
        &all.duplicates
    }),
    ("oyez_inbox_refused", "Durable messages for which an inbox had no room", |all| &all.refused),
    ("oyez_inbox_dropped", "Messages of inboxes that had to go for newer ones", |all| &all.dropped),
    ("oyez_inbox_expired", "Messages of inboxes whose time was over", |all| &all.expired),
    ("oyez_inbox_marked", "Messages that users acknowledged, saw, read or put away", |all| &all.marked),
    ("oyez_inbox_redelivered", "Messages of inboxes that were sent when a session connected", |all| &all.redelivered),
    ("oyez_store_errors", "What the store refused or could not do", |all| &all.errors),
    ("oyez_receipts", "Receipts that publishers took", |all| &all.receipts),
    ("oyez_receipts_lost", "Receipts that nobody took, or that were too many", |all| &all.receipts_lost),
];

/// A gauge's name, its words, and where it is read.
type Gauge = (&'static str, &'static str, fn(&Stats) -> f64);

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
const GAUGES: [Gauge; 4] = [
    ("oyez_store_bytes", "Bytes of the store: on the disk, or in memory", |stats| stats.bytes as f64),
    ("oyez_store_records", "Records in the store, about", |stats| stats.records as f64),
    ("oyez_store_id_bytes", "Bytes of ids that are remembered so that they stay unique", |stats| stats.id_bytes as f64),
    ("oyez_store_id_window_seconds", "For how long ids are unique at least", |stats| stats.window as f64 / 1_000.0),
];

/// Enters them all.
pub(super) fn inbox_metrics(all: &mut Catalogue, source: &Source) {
    let look = |source: &Source| {
        let source = Arc::clone(source);
        move |read: &dyn Fn(&Inboxes) -> f64| source.get().and_then(Hub::inboxes).map(read)
    };
    for (name, help, count) in COUNTS {
        let look = look(source);
        #[expect(clippy::cast_precision_loss, reason = "the format has no other numbers")]
        let read = move || look(&|inboxes| count(inboxes.figures()).load(Relaxed) as f64);
        all.reading(MetricType::Counter, name, help, read);
    }
    for (name, help, gauge) in GAUGES {
        let look = look(source);
        all.reading(MetricType::Gauge, name, help, move || look(&|inboxes| gauge(&inboxes.stats())));
    }
    let look = look(source);
    let working = move || look(&|inboxes| f64::from(u8::from(inboxes.trouble().is_none())));
    all.reading(MetricType::Gauge, "oyez_store_working", "1, or 0 while nothing can be stored", working);
}
