//! A scenario in the report: a table and a picture.

use super::dialect::Audience;
use super::peer::{BARE, OYEZ, PEERS, Peer};
use super::picture::{Bar, Role, bars};
use super::results::{Again, Results};
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
    /// That it was measured again, when and with which commit.
    again: Option<String>,
}

/// A peer's row.
struct Row {
    peer: &'static Peer,
    /// Nanoseconds, or bytes.
    cost: f64,
    ratio: Option<f64>,
    /// p50 and p99 in milliseconds.
    latency: Option<(f64, f64)>,
    /// Publishes per second, where that is what counts.
    rate: Option<f64>,
}

/// The length of a bar, the stronger part of it, and the words at its end.
type Length = (f64, Option<f64>, String);

impl Section {
    /// None when nobody was measured.
    pub(super) fn of(results: &Results, scenario: &'static Scenario) -> Option<Self> {
        let row = |peer: &'static Peer| {
            let latency = |percent| Some(results.latency(scenario.name, peer.name, percent)? as f64 / 1e6);
            let (cost, ratio) = (results.cost(scenario, peer.name)?, results.ratio(scenario, peer.name));
            let rate = results.rate(scenario.name, peer.name).filter(|_| scenario.audience == Some(Audience::Away));
            Some(Row { peer, cost, ratio, latency: latency(50).zip(latency(99)), rate })
        };
        let rows: Vec<Row> = PEERS.iter().filter_map(row).collect();
        let runs = results.runs.iter().filter(|run| run.scenario == scenario.name);
        let failed = |(peer, why): (&str, &str)| {
            Some(format!("\n{} failed: {}\n", Peer::named(peer)?.title, why.replace('\n', " ")))
        };
        let failures = runs.clone().filter_map(|run| failed((&run.peer, run.failure.as_deref()?))).collect();
        let in_groups = runs.clone().any(|run| run.group > 0);
        let by_ratio = rows.iter().all(|row| row.ratio.is_some()) && (scenario.unit == Unit::Delivery || in_groups);
        let again = results.again.get(scenario.name);
        let again = again.map(|Again { date, commit }| format!("\nMeasured again at {date}, commit `{commit}`.\n"));
        let measure = results.measure(scenario.name);
        let mut section = Self { scenario, rows, measure, by_ratio, failures, again };
        let mut rows = std::mem::take(&mut section.rows);
        rows.sort_by(|a, b| section.length(a).0.total_cmp(&section.length(b).0));
        section.rows = rows;
        (!section.rows.is_empty()).then_some(section)
    }

    /// Heading, picture and table.
    pub(super) fn text(&self) -> String {
        let Scenario { title, about, .. } = self.scenario;
        let connections = grouped(f64::from(self.scenario.size(false).connections));
        let who = if self.scenario.audience == Some(Audience::Away) { "users" } else { "connections" };
        let mut text = format!("\n## {title}\n\n{about} {connections} {who}.\n\n{}\n\n", self.image());
        text += &self.table();
        if self.ratios().any(|ratio| ratio.is_none()) && self.ratios().any(|ratio| ratio.is_some()) {
            text += &format!("\n–: not measured in the same turns as {}.\n", self.measure_name());
        }
        text + self.again.as_deref().unwrap_or_default() + &self.failures.concat()
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
        let rate = self.rows.iter().any(|row| row.rate.is_some());
        columns.extend(rate.then(|| format!("{} per second", unit.plural())));
        columns.extend(latency.then(|| "p50".to_owned()));
        columns.extend(latency.then(|| "p99".to_owned()));
        let mut text = format!("| {} |\n|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
        for row in &self.rows {
            let title = row.peer.title;
            let mut cells = vec![if row.peer.name == OYEZ { format!("**{title}**") } else { title.to_owned() }];
            cells.push(digits(if memory { row.cost / 1_024.0 } else { row.cost / 1_000.0 }));
            cells.extend(compared.then(|| row.ratio.map_or_else(|| "–".to_owned(), digits)));
            cells.extend((!memory).then(|| grouped(1e9 / row.cost)));
            cells.extend(rate.then(|| row.rate.map_or_else(String::new, grouped)));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::results::{Round, Run};

    fn run(peer: &str, group: usize, cpu_ns: u64) -> Run {
        let round = Round { deliveries: 1, cpu_ns, ..Round::default() };
        Run { scenario: "unicast".to_owned(), peer: peer.to_owned(), group, rounds: vec![round], ..Run::default() }
    }

    fn section(runs: Vec<Run>) -> Section {
        let unicast = Scenario::named("unicast").expect("it is in the table");
        Section::of(&Results { runs, ..Results::default() }, unicast).expect("somebody was measured")
    }

    #[test]
    fn groups_are_compared_by_oyez_when_it_is_in_all_of_them() {
        // The second group met a machine that was twice as slow.
        let all = vec![run(OYEZ, 0, 1_000), run("node", 0, 3_000), run(OYEZ, 1, 2_000), run("nchan", 1, 4_000)];
        let section = section(all);
        let text = section.text();
        for line in [
            "| server | µs CPU per delivery | × Oyez | deliveries per CPU-second |",
            "| **Oyez** | 1.00 | 1.00 | 1,000,000 |\n| nchan on nginx | 4.00 | 2.00 |",
            "Oyez 1.00 ×, nchan on nginx 2.00 ×, Socket.IO on Node 3.00 ×",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert_eq!(text.matches("**Oyez**").count(), 1, "{text}");
        assert!(section.picture().contains("CPU per delivery, as a multiple of Oyez (less is better)"));
    }

    #[test]
    fn what_was_not_measured_beside_oyez_is_not_compared() {
        let section = section(vec![run(OYEZ, 0, 1_000), run("nchan", 1, 4_000)]);
        let text = section.text();
        assert!(text.contains("| nchan on nginx | 4.00 | – |"), "{text}");
        assert!(text.contains("–: not measured in the same turns as Oyez.") && text.contains("Oyez 1.00 µs"), "{text}");
    }

    #[test]
    fn who_failed_is_named() {
        let failed = Run { failure: Some("2 deliveries\nare lost".to_owned()), ..run("node", 0, 1) };
        let text = section(vec![run(OYEZ, 0, 1_000), failed]).text();
        assert!(text.ends_with("\nSocket.IO on Node failed: 2 deliveries are lost\n"), "{text}");
    }
}
