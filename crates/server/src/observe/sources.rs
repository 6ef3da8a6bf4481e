//! The figures of sources, looked up when somebody asks.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use oyez_hub::Hub;
use oyez_hub::source::{Figures, Source, Trouble};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::MetricType;

use super::catalogue::{Catalogue, Label, Labelled};
use super::inboxes::Source as Place;
use super::metrics::{APP, REASON};

const SOURCE: Label = Label { name: "source", values: "the sources of the file" };

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PerSource {
    app: String,
    source: String,
}

impl Labelled for PerSource {
    const LABELS: &'static [Label] = &[APP, SOURCE];
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PerTrouble {
    app: String,
    source: String,
    reason: &'static str,
}

impl Labelled for PerTrouble {
    const LABELS: &'static [Label] = &[APP, SOURCE, REASON];
}

type Count = fn(&Figures) -> &AtomicU64;

const COUNTS: [(&str, &str, Count); 8] = [
    ("oyez_source_received", "Messages that came from a source", |all| &all.received),
    ("oyez_source_published", "Publications that were made of them and taken", |all| &all.published),
    ("oyez_source_duplicates", "Of these, those that had been published before, by their ids", |all| &all.duplicates),
    ("oyez_source_unmatched", "Messages that no rule fits", |all| &all.unmatched),
    ("oyez_source_unaddressed", "Messages whose data names nobody", |all| &all.unaddressed),
    ("oyez_source_limited", "Publications that came faster to one channel than `events_per_second`", |all| {
        &all.limited
    }),
    ("oyez_source_retried", "Attempts to publish that had to be made again", |all| &all.retried),
    ("oyez_source_dead_letters", "Messages that can never be published", |all| &all.dead),
];

/// Enters them all.
pub(super) fn source_metrics(all: &mut Catalogue, place: &Place) {
    for (name, help, count) in COUNTS {
        let read = each(place, move |source| vec![((), figure(count(&source.figures).load(Relaxed)))]);
        all.readings(MetricType::Counter, name, help, move || per_source(&read));
    }
    let read = each(place, |source| source.figures.lag().map(|lag| ((), figure(lag))).into_iter().collect());
    let help = "Messages that wait at the source, as far as it tells";
    all.readings(MetricType::Gauge, "oyez_source_lag", help, move || per_source(&read));
    let read = each(place, |source| vec![((), f64::from(u8::from(source.is_working())))]);
    let help =
        "1, or 0 while a source gives nothing: it is off, or something is wrong; a webhook has 1, whoever posts or not";
    all.readings(MetricType::Gauge, "oyez_source_working", help, move || per_source(&read));
    let each_trouble = |source: &Source| {
        Trouble::ALL.iter().map(|trouble| (trouble.word(), figure(source.figures.troubles(*trouble)))).collect()
    };
    let read = each(place, each_trouble);
    let help = "Times that a source could not be read; the log says what to do about it";
    all.readings(MetricType::Counter, "oyez_source_failures", help, move || {
        let label = |(app, source, reason, value)| (PerTrouble { app, source, reason }, value);
        read().into_iter().map(label).collect()
    });
}

/// Figures of all sources: app, source, what it is about, and the figure.
type Rows<T> = Vec<(String, String, T, f64)>;

fn each<T, R>(place: &Place, read: R) -> impl Fn() -> Rows<T> + use<T, R>
where
    R: Fn(&Source) -> Vec<(T, f64)>,
{
    let place = Arc::clone(place);
    move || {
        let mut found = Vec::new();
        for app in place.get().into_iter().flat_map(Hub::apps) {
            for source in &app.sources {
                let values = read(source).into_iter();
                found.extend(values.map(|(what, value)| (app.name.clone(), source.name.to_string(), what, value)));
            }
        }
        found
    }
}

fn per_source(read: &impl Fn() -> Rows<()>) -> Vec<(PerSource, f64)> {
    read().into_iter().map(|(app, source, (), value)| (PerSource { app, source }, value)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "the format has no other numbers")]
fn figure(count: u64) -> f64 {
    count as f64
}
