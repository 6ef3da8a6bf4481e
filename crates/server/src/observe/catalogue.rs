//! What `/metrics` shows and `docs/metrics.md` says: each metric is entered here once, with its words.

use std::fmt::{self, Debug, Write as _};
use std::hash::Hash;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use super::histogram::Histogram;

/// A label, and what keeps the number of its values small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label {
    pub name: &'static str,
    pub values: &'static str,
}

/// A set of labels, as the encoder writes it and as the page tells it.
pub(super) trait Labelled: Clone + Debug + Eq + Hash + EncodeLabelSet + Send + Sync + 'static {
    const LABELS: &'static [Label];
}

/// A metric as the page shows it.
#[derive(Debug)]
struct Row {
    name: String,
    kind: MetricType,
    labels: &'static [Label],
    help: &'static str,
}

/// All metrics of a node.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    registry: Registry,
    rows: Vec<Row>,
}

const HEAD: &str = "# Metrics

Generated from the code: `cargo xtask docs`. `GET /metrics` shows them in the text format of OpenMetrics, which Prometheus
reads. What comes from outside (users, channels, events, addresses) is never a label, so the number of series is bounded
by the file and the machine.

";

impl Catalogue {
    /// A count that only grows. Its name gets the ending `_total`.
    pub(super) fn counter(&mut self, name: &'static str, help: &'static str) -> Counter {
        let counter = Counter::default();
        self.registry.register(name, help, counter.clone());
        self.enter(MetricType::Counter, name, &[], help);
        counter
    }

    /// The same, by labels.
    pub(super) fn counters<L: Labelled>(&mut self, name: &'static str, help: &'static str) -> Family<L, Counter> {
        let family = Family::<L, Counter>::default();
        self.registry.register(name, help, family.clone());
        self.enter(MetricType::Counter, name, L::LABELS, help);
        family
    }

    /// Numbers that rise and fall, by labels.
    pub(super) fn gauges<L: Labelled>(&mut self, name: &'static str, help: &'static str) -> Family<L, Gauge> {
        let family = Family::<L, Gauge>::default();
        self.registry.register(name, help, family.clone());
        self.enter(MetricType::Gauge, name, L::LABELS, help);
        family
    }

    /// How long something took, by these upper bounds in seconds.
    pub(super) fn histogram(&mut self, name: &'static str, help: &'static str, bounds: &'static [f64]) -> Histogram {
        let histogram = Histogram::new(bounds);
        self.registry.register(name, help, histogram.clone());
        self.enter(MetricType::Histogram, name, &[], help);
        histogram
    }

    /// A figure that is looked up when somebody asks; nothing, where it is not to be had.
    pub(super) fn reading(
        &mut self,
        kind: MetricType,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Option<f64> + Send + Sync + 'static,
    ) {
        self.registry.register_collector(Box::new(Reading { kind, name, help, read }));
        self.enter(kind, name, &[], help);
    }

    /// The same, by labels.
    pub(super) fn readings<L: Labelled>(
        &mut self,
        kind: MetricType,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Vec<(L, f64)> + Send + Sync + 'static,
    ) {
        self.registry.register_collector(Box::new(Readings { kind, name, help, read }));
        self.enter(kind, name, L::LABELS, help);
    }

    fn enter(&mut self, kind: MetricType, name: &str, labels: &'static [Label], help: &'static str) {
        let ending = if matches!(kind, MetricType::Counter) { "_total" } else { "" };
        self.rows.push(Row { name: format!("{name}{ending}"), kind, labels, help });
    }

    /// All of them in the text format of OpenMetrics.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut out, &self.registry);
        out
    }

    /// All of them as Markdown.
    pub(super) fn page(&self) -> String {
        let mut out = HEAD.to_owned();
        let mut labels: Vec<Label> = self.rows.iter().flat_map(|row| row.labels).copied().collect();
        labels.sort_unstable_by_key(|label| label.name);
        labels.dedup();
        out.push_str("| label | values |\n|---|---|\n");
        for label in labels {
            let _ = writeln!(out, "| `{}` | {} |", label.name, label.values);
        }
        out.push_str("\n| metric | kind | labels | meaning |\n|---|---|---|---|\n");
        for Row { name, kind, labels, help } in &self.rows {
            let labels: Vec<_> = labels.iter().map(|label| format!("`{}`", label.name)).collect();
            let _ = writeln!(out, "| `{name}` | {} | {} | {help} |", kind.as_str(), labels.join(", "));
        }
        out
    }
}

/// A figure that is looked up.
struct Reading<F> {
    kind: MetricType,
    name: &'static str,
    help: &'static str,
    read: F,
}

impl<F> Debug for Reading<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl<F: Fn() -> Option<f64> + Send + Sync + 'static> Collector for Reading<F> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(value) = (self.read)() else { return Ok(()) };
        // The registry ends its own help texts with a full stop.
        let help = format!("{}.", self.help);
        let encoder = encoder.encode_descriptor(self.name, &help, None, self.kind)?;
        match self.kind {
            MetricType::Counter => ConstCounter::new(value).encode(encoder),
            _ => ConstGauge::new(value).encode(encoder),
        }
    }
}

/// Figures that are looked up, by labels.
struct Readings<F> {
    kind: MetricType,
    name: &'static str,
    help: &'static str,
    read: F,
}

impl<F> Debug for Readings<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl<L: Labelled, F: Fn() -> Vec<(L, f64)>> Collector for Readings<F>
where
    F: Send + Sync + 'static,
{
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let help = format!("{}.", self.help);
        let mut encoder = encoder.encode_descriptor(self.name, &help, None, self.kind)?;
        for (labels, value) in (self.read)() {
            let encoder = encoder.encode_family(&labels)?;
            match self.kind {
                MetricType::Counter => ConstCounter::new(value).encode(encoder)?,
                _ => ConstGauge::new(value).encode(encoder)?,
            }
        }
        Ok(())
    }
}
