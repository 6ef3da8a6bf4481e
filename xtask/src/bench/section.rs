//! A scenario in the report: a table and a picture.

use super::peer::{BARE, OYEZ, PEERS, Peer};
use super::picture::{Bar, Role, bars};
use super::results::Results;
use super::scenario::{Scenario, Unit};
use super::target::{digits, grouped};

/// What a scenario came to.
pub(super) struct Section {
    scenario: &'static Scenario,
    /// The shortest bar first.
    rows: Vec<Row>,
    /// With whom all are compared.
    measure: &'static str,
    /// Whether the bars are ratios: then all were measured beside the measure, and times are not comparable.
    by_ratio: bool,
    /// Who failed, and how.
    failures: Vec<String>,
}

/// A peer's row.
struct Row {
    peer: &'static Peer,
    /// Nanoseconds, or bytes.
    cost: f64,
    ratio: Option<f64>,
    /// p50 and p99 in milliseconds.
    latency: Option<(f64, f64)>,
}

/// The length of a bar, the stronger part of it, and the words at its end.
type Length = (f64, Option<f64>, String);

impl Section {
    /// None when nobody was measured.
    pub(super) fn of(results: &Results, scenario: &'static Scenario) -> Option<Self> {
        let row = |peer: &'static Peer| {
            let latency = |percent| Some(results.latency(scenario.name, peer.name, percent)? as f64 / 1e6);
            let (cost, ratio) = (results.cost(scenario, peer.name)?, results.ratio(scenario, peer.name));
            Some(Row { peer, cost, ratio, latency: latency(50).zip(latency(99)) })
        };
        let rows: Vec<Row> = PEERS.iter().filter_map(row).collect();
        let runs = results.runs.iter().filter(|run| run.scenario == scenario.name);
        let failed = |(peer, why): (&str, &str)| {
            Some(format!("\n{} failed: {}\n", Peer::named(peer)?.title, why.replace('\n', " ")))
        };
        let failures = runs.clone().filter_map(|run| failed((&run.peer, run.failure.as_deref()?))).collect();
        let in_groups = runs.clone().any(|run| run.group > 0);
        let by_ratio = rows.iter().all(|row| row.ratio.is_some()) && (scenario.unit == Unit::Delivery || in_groups);
        let mut section = Self { scenario, rows, measure: results.measure(scenario.name), by_ratio, failures };
        let mut rows = std::mem::take(&mut section.rows);
        rows.sort_by(|a, b| section.length(a).0.total_cmp(&section.length(b).0));
        section.rows = rows;
        (!section.rows.is_empty()).then_some(section)
    }

    /// Heading, picture and table.
    pub(super) fn text(&self) -> String {
        let Scenario { title, about, .. } = self.scenario;
        let connections = grouped(f64::from(self.scenario.size(false).connections));
        let mut text = format!("\n## {title}\n\n{about} {connections} connections.\n\n{}\n\n", self.image());
        text += &self.table();
        if self.ratios().any(|ratio| ratio.is_none()) && self.ratios().any(|ratio| ratio.is_some()) {
            text += &format!("\n–: not measured in the same turns as {}.\n", self.measure_name());
        }
        text + &self.failures.concat()
    }

    fn table(&self) -> String {
        let unit = self.scenario.unit;
        let latency = self.rows.iter().any(|row| row.latency.is_some());
        let memory = unit == Unit::Memory;
        let compared = self.ratios().any(|ratio| ratio.is_some());
        let mut columns = vec!["server".to_owned()];
        columns.push(if memory { format!("KiB per {}", unit.name()) } else { format!("µs CPU per {}", unit.name()) });
        columns.extend(compared.then(|| format!("× {}", self.measure_name())));
        columns.extend((!memory).then(|| format!("{} per CPU-second", unit.plural())));
        columns.extend(latency.then(|| "p50".to_owned()));
        columns.extend(latency.then(|| "p99".to_owned()));
        let mut text = format!("| {} |\n|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
        for row in &self.rows {
            let title = row.peer.title;
            let mut cells = vec![if row.peer.name == OYEZ { format!("**{title}**") } else { title.to_owned() }];
            cells.push(digits(if memory { row.cost / 1_024.0 } else { row.cost / 1_000.0 }));
            cells.extend(compared.then(|| row.ratio.map_or_else(|| "–".to_owned(), digits)));
            cells.extend((!memory).then(|| grouped(1e9 / row.cost)));
            let milliseconds = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.2} ms"));
            cells.extend(latency.then(|| milliseconds(row.latency.map(|(p50, _)| p50))));
            cells.extend(latency.then(|| milliseconds(row.latency.map(|(_, p99)| p99))));
            text += &format!("| {} |\n", cells.join(" | "));
        }
        text
    }

    fn ratios(&self) -> impl Iterator<Item = Option<f64>> {
        self.rows.iter().map(|row| row.ratio)
    }

    fn measure_name(&self) -> &'static str {
        if self.measure == BARE { "bare" } else { "Oyez" }
    }

    /// The picture, as the page shows it.
    pub(super) fn image(&self) -> String {
        format!("![{}](benchmarks/{}.svg)", self.description(), self.scenario.name)
    }

    /// What the picture shows, in words.
    fn description(&self) -> String {
        let all: Vec<String> =
            self.rows.iter().map(|row| format!("{} {}", row.peer.title, self.length(row).2)).collect();
        format!("{}: {}", self.scenario.title, all.join(", "))
    }

    fn length(&self, row: &Row) -> Length {
        match (self.scenario.unit, self.scenario.kind, row.latency, row.ratio) {
            (_, "latency" | "slow", Some((p50, p99)), _) => (p99, Some(p50), format!("p50 {p50:.1}, p99 {p99:.1} ms")),
            (Unit::Memory, ..) => (row.cost / 1_024.0, None, format!("{} KiB", digits(row.cost / 1_024.0))),
            (_, _, _, Some(ratio)) if self.by_ratio => (ratio, None, format!("{} ×", digits(ratio))),
            _ => (row.cost / 1_000.0, None, format!("{} µs", digits(row.cost / 1_000.0))),
        }
    }

    /// The picture itself.
    pub(super) fn picture(&self) -> String {
        let bar = |row: &Row| {
            let (value, inner, text) = self.length(row);
            let role = match row.peer {
                peer if peer.name == OYEZ => Role::Oyez,
                peer if peer.is_variant() => Role::Variant,
                peer if peer.is_limit() => Role::Limit,
                _ => Role::Peer,
            };
            Bar { label: row.peer.title.to_owned(), value, inner, text, role }
        };
        let all: Vec<Bar> = self.rows.iter().map(bar).collect();
        let measure = match (self.scenario.unit, self.scenario.kind) {
            (_, "latency" | "slow") => "latency, p50 and p99".to_owned(),
            (Unit::Memory, _) => "memory per connection".to_owned(),
            (unit, _) if self.by_ratio => {
                let measure = if self.measure == BARE { "the bare loop" } else { "Oyez" };
                format!("CPU per {}, as a multiple of {measure}", unit.name())
            }
            (unit, _) => format!("CPU per {}", unit.name()),
        };
        bars(&format!("{}: {measure} (less is better)", self.scenario.title), &self.description(), &all)
    }
}
