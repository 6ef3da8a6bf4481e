//! What is told of a benchmark: JSON lines for a program, or a summary for a person.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::Plan;
use super::process::Memory;
use super::scenario::{Round, Scenario};
use crate::failure::Failure;
use crate::say;

/// What setting up took.
#[derive(Debug, Serialize)]
pub(super) struct Setup {
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_ns: Option<u64>,
    wall_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rss_before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rss_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pss_before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pss_after: Option<u64>,
}

impl Setup {
    /// From what was measured.
    pub(super) fn new(cpu: Option<u64>, wall: Duration, before: Option<Memory>, after: Option<Memory>) -> Self {
        Self {
            cpu_ns: cpu,
            wall_ns: u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX),
            rss_before: before.map(|memory| memory.rss),
            rss_after: after.map(|memory| memory.rss),
            pss_before: before.map(|memory| memory.pss),
            pss_after: after.map(|memory| memory.pss),
        }
    }
}

/// What is told.
#[derive(Debug)]
pub(super) struct Report {
    json: bool,
    scenario: Scenario,
    each: bool,
    title: String,
    setup: Option<(u64, Setup)>,
    rounds: Vec<Round>,
}

impl Report {
    /// Nothing is measured yet.
    pub(super) fn new(plan: &Plan) -> Self {
        let who = if plan.scenario == Scenario::Durable { "users who are away" } else { "connections" };
        let mut title = format!("{}: {} {who}", plan.scenario.name(), grouped(plan.connections as u64));
        if plan.slow > 0 {
            title += &format!(", of which {} read nothing", grouped(plan.slow as u64));
        }
        if plan.scenario.publishes() {
            title += &format!(
                "; {} publishes of {} bytes per round",
                grouped(plan.publishes.into()),
                grouped(plan.size as u64)
            );
        }
        Self { json: plan.json, scenario: plan.scenario, each: plan.each, title, setup: None, rounds: Vec::new() }
    }

    /// All are connected.
    pub(super) fn ready(&mut self, connections: usize, setup: Setup) {
        if self.json {
            say::line(json!({ "ready": true, "connections": connections, "setup": setup }));
        }
        self.setup = Some((connections as u64, setup));
    }

    /// A round is over.
    pub(super) fn round(&mut self, round: Round) {
        if self.json {
            say::line(json!(round));
        } else {
            self.rounds.push(round);
        }
    }

    /// It could not be measured.
    pub(super) fn failed(&self, failure: &Failure) {
        if self.json {
            say::line(json!({ "error": failure.to_string() }));
        }
    }

    /// All in all, for a person.
    pub(super) fn summary(&self) {
        if self.json || self.rounds.is_empty() {
            return;
        }
        say::line(&self.title);
        for (name, text) in [
            (
                "set up",
                self.setup.as_ref().filter(|(connections, _)| *connections > 0).map(|(n, setup)| setup.text(*n)),
            ),
            ("deliveries", self.deliveries()),
            ("rate", self.rate()),
            ("server CPU", self.cost()),
            ("latency", self.latency()),
        ] {
            if let Some(text) = text {
                say::line(format_args!("  {name:<11} {text}"));
            }
        }
    }

    fn sum(&self, of: impl Fn(&Round) -> u64) -> u64 {
        self.rounds.iter().map(of).sum()
    }

    fn deliveries(&self) -> Option<String> {
        let (all, disorder) = (self.sum(|round| round.deliveries), self.sum(|round| round.out_of_order));
        let disorder = if disorder > 0 { format!("; {} out of order", grouped(disorder)) } else { String::new() };
        (all > 0).then(|| format!("{}: none lost, none twice{disorder}", grouped(all)))
    }

    /// What is counted: the name of one, of several, and how many a round had.
    fn unit(&self) -> (&'static str, &'static str, fn(&Round) -> u64) {
        let operations: fn(&Round) -> u64 = |round| round.operations.unwrap_or(0);
        match self.scenario {
            Scenario::Channels | Scenario::Durable => ("publish", "publishes", |round| round.publishes),
            Scenario::Connect => ("connection", "connections", operations),
            Scenario::Joins | Scenario::Echo => ("answer", "answers", operations),
            Scenario::Ping | Scenario::Idle => ("heartbeat", "heartbeats", operations),
            _ => ("delivery", "deliveries", |round| round.deliveries),
        }
    }

    fn rate(&self) -> Option<String> {
        let (_, units, count) = self.unit();
        let rate = |round: &Round| Some(count(round) as f64 * 1e9 / round.wall_ns.max(1) as f64);
        (self.sum(count) > 0).then(|| spread(&self.rounds, rate, &format!("{units} per second")))
    }

    fn cost(&self) -> Option<String> {
        let (unit, _, count) = self.unit();
        if self.rounds.iter().any(|round| round.cpu_ns.is_none()) {
            return Some("not known; name the process: --server-pid PID".to_owned());
        }
        if self.sum(count) == 0 {
            let share = |round: &Round| Some(round.cpu_ns? as f64 * 1e2 / round.wall_ns.max(1) as f64);
            return Some(spread(&self.rounds, share, "% of one core"));
        }
        let cost = |round: &Round| Some(round.cpu_ns? as f64 / 1e3 / count(round).max(1) as f64);
        Some(spread(&self.rounds, cost, &format!("µs per {unit}")))
    }

    fn latency(&self) -> Option<String> {
        let mut samples: Vec<u64> = self.rounds.iter().flat_map(|round| round.latency_ns.iter().copied()).collect();
        let of = match self.scenario {
            Scenario::Joins | Scenario::Echo | Scenario::Durable => "of the answer",
            Scenario::Unicast => "of the receiver",
            _ if self.each => "of each receiver",
            _ => "of the last receiver",
        };
        percentiles(&mut samples).map(|text| format!("{text} ({of})"))
    }
}

impl Setup {
    fn text(&self, connections: u64) -> String {
        let mut text = format!("{:.2} s", self.wall_ns as f64 / 1e9);
        if let Some(cpu) = self.cpu_ns {
            text += &format!(", {:.1} µs CPU per connection", cpu as f64 / 1_000.0 / connections as f64);
        }
        if let Some((before, after)) = self.pss_before.zip(self.pss_after) {
            let each = after.saturating_sub(before) as f64 / 1_024.0 / connections as f64;
            // So little is noise: a server that had clients before serves new ones from the memory of those.
            text += &match each {
                ..0.005 => ", no growth of memory".to_owned(),
                _ => format!(", {each:.2} KiB of memory per connection"),
            };
        }
        text
    }
}

/// The median of the rounds, and the least and the most.
fn spread(rounds: &[Round], value: impl Fn(&Round) -> Option<f64>, unit: &str) -> String {
    let mut values: Vec<f64> = rounds.iter().filter_map(value).collect();
    values.sort_by(f64::total_cmp);
    let [least, .., most] = values[..] else {
        return values.first().map_or_else(String::new, |value| format!("{} {unit}", rounded(*value)));
    };
    let middle = values[values.len() / 2];
    format!("{} {unit} (of {} rounds: {} to {})", rounded(middle), values.len(), rounded(least), rounded(most))
}

/// What most, nearly all and all but one in a hundred are below.
fn percentiles(nanoseconds: &mut [u64]) -> Option<String> {
    nanoseconds.sort_unstable();
    let last = nanoseconds.len().checked_sub(1)?;
    let at = |percent: usize| format!("p{percent} {}", duration(nanoseconds[last * percent / 100]));
    Some(format!("{}, {}, {}", at(50), at(90), at(99)))
}

fn duration(nanoseconds: u64) -> String {
    let milliseconds = nanoseconds as f64 / 1e6;
    if milliseconds < 1.0 { format!("{:.0} µs", milliseconds * 1e3) } else { format!("{milliseconds:.2} ms") }
}

/// A number to as many places as say something.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rounded positive number is that integer"
)]
fn rounded(number: f64) -> String {
    if number >= 100.0 { grouped(number.round() as u64) } else { format!("{number:.2}") }
}

/// A number with commas.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        for (number, expect) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), expect);
        }
        assert_eq!((rounded(4.914), rounded(812_345.2)), ("4.91".to_owned(), "812,345".to_owned()));
        assert_eq!((duration(12_345), duration(3_456_789)), ("12 µs".to_owned(), "3.46 ms".to_owned()));
    }

    #[test]
    fn percentiles_are_samples() {
        let mut samples: Vec<u64> = (1..=100).rev().map(|number| number * 1_000_000).collect();
        assert_eq!(percentiles(&mut samples).as_deref(), Some("p50 50.00 ms, p90 90.00 ms, p99 99.00 ms"));
        assert_eq!(percentiles(&mut []), None);
    }

    #[test]
    fn memory_that_did_not_grow_is_said_in_words() {
        let text = |before, after| {
            let [before, after] = [before, after].map(|pss| Some(Memory { rss: 0, pss }));
            Setup::new(None, Duration::from_secs(1), before, after).text(10)
        };
        assert_eq!(text(0, 10_240), "1.00 s, 1.00 KiB of memory per connection");
        assert_eq!(text(10_240, 10_240), "1.00 s, no growth of memory");
        assert_eq!(text(10_240, 4_096), "1.00 s, no growth of memory");
    }

    #[test]
    fn rounds_have_a_median() {
        let rounds: Vec<Round> = [3, 1, 2].map(|wall_ns| Round { wall_ns, ..Round::default() }).into();
        let text = spread(&rounds, |round| Some(round.wall_ns as f64), "ns");
        assert_eq!(text, "2.00 ns (of 3 rounds: 1.00 to 3.00)");
        assert_eq!(spread(&rounds[..1], |round| Some(round.wall_ns as f64), "ns"), "3.00 ns");
    }
}
