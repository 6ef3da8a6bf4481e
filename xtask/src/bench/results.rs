//! What was measured: `bench/results/DATE-COMMIT.json` with every sample.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::joins::Joins;
use super::machine::Machine;
use super::output;
use super::peer::{BARE, OYEZ};
use super::scenario::{Scenario, Unit};
use super::statistics::{median, median_ratio, percentile};

/// Where they lie.
pub(super) const FOLDER: &str = "bench/results";

/// One run of `cargo xtask bench`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Results {
    /// When it began, in UTC.
    pub(super) date: String,
    /// What of Oyez was measured; ends with `+` when there were changes that are not committed.
    pub(super) commit: String,
    /// Fewer rounds and connections.
    pub(super) quick: bool,
    pub(super) machine: Machine,
    /// By peer.
    pub(super) versions: BTreeMap<String, String>,
    /// Peers that could not be installed, and why.
    pub(super) absent: BTreeMap<String, String>,
    pub(super) runs: Vec<Run>,
    /// Joins and leaves without a load generator beside them.
    #[serde(default)]
    pub(super) joins: Vec<Joins>,
    /// Scenarios that were measured again later.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) again: BTreeMap<String, Again>,
}

/// When, and which commit.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Again {
    pub(super) date: String,
    pub(super) commit: String,
}

/// One server in one scenario.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) scenario: String,
    pub(super) peer: String,
    /// Servers of the same group took turns; their turns can be compared.
    pub(super) group: usize,
    pub(super) setup: Setup,
    /// By turn; the first only warmed up and counts for nothing.
    pub(super) rounds: Vec<Round>,
    /// What went wrong, a lost delivery for instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<String>,
}

/// What connecting took.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) connections: u64,
    pub(super) cpu_ns: u64,
    pub(super) wall_ns: u64,
    pub(super) pss_before: u64,
    pub(super) pss_after: u64,
}

/// One turn of one server.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Round {
    pub(super) deliveries: u64,
    pub(super) publishes: u64,
    /// Connects, answers or heartbeats.
    #[serde(default)]
    pub(super) operations: u64,
    pub(super) cpu_ns: u64,
    /// The CPU of the thread that used most of it: what limits the throughput.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) busiest_ns: Option<u64>,
    pub(super) wall_ns: u64,
    pub(super) pss: u64,
    #[serde(default)]
    pub(super) latency_ns: Vec<u64>,
}

impl Results {
    /// Nothing yet, but where and what.
    pub(super) fn begin(root: &Path, quick: bool) -> Result<Self> {
        let git = |arguments: &[&str]| output(Command::new("git").current_dir(root).args(arguments));
        let clean = git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
        let commit = git(&["rev-parse", "--short=12", "HEAD"])? + if clean { "" } else { "+" };
        let date = output(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]))?;
        Ok(Self { date, commit, quick, machine: Machine::this()?, ..Self::default() })
    }

    /// Puts what was measured again into the place of what was measured before, scenario by scenario.
    pub(super) fn take_over(&mut self, fresh: Self) {
        let again = Again { date: fresh.date, commit: fresh.commit };
        for run in &fresh.runs {
            self.again.insert(run.scenario.clone(), again.clone());
        }
        self.runs.retain(|run| fresh.runs.iter().all(|new| new.scenario != run.scenario));
        self.runs.extend(fresh.runs);
        self.versions.extend(fresh.versions);
        if !fresh.joins.is_empty() {
            self.joins = fresh.joins;
        }
    }

    /// Joins and leaves per CPU-second of the shard; the median of the rounds.
    pub(super) fn joins_per_cpu_second(&self) -> Option<f64> {
        median(&self.joins.iter().map(Joins::per_cpu_second).collect::<Vec<_>>())
    }

    /// Writes the file; gives its path from the root.
    pub(super) fn write(&self, root: &Path, folder: &str) -> Result<String> {
        let day = self.date.split('T').next().unwrap_or_default();
        let path = format!("{folder}/{day}-{}.json", self.commit.trim_end_matches('+'));
        fs::create_dir_all(root.join(folder)).with_context(|| format!("cannot make {folder}"))?;
        let text = serde_json::to_string(self)?.replace("{\"scenario\"", "\n{\"scenario\"");
        fs::write(root.join(&path), text + "\n").with_context(|| format!("cannot write {path}"))?;
        Ok(path)
    }

    /// The run that began last, and its path.
    pub(super) fn newest(root: &Path) -> Result<Option<(Self, String)>> {
        let Ok(entries) = root.join(FOLDER).read_dir() else { return Ok(None) };
        let mut newest: Option<(Self, String)> = None;
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !name.ends_with(".json") {
                continue;
            }
            let path = format!("{FOLDER}/{name}");
            let text = fs::read_to_string(root.join(&path)).with_context(|| path.clone())?;
            let results: Self = serde_json::from_str(&text).with_context(|| path.clone())?;
            if newest.as_ref().is_none_or(|(before, _)| before.date < results.date) {
                newest = Some((results, path));
            }
        }
        Ok(newest)
    }

    /// Names what went wrong; true when nothing did.
    pub(super) fn told_failures(&self) -> bool {
        let failures: Vec<_> = self.runs.iter().filter_map(|run| Some((run, run.failure.as_ref()?))).collect();
        for (run, failure) in &failures {
            println!("{}, {}: {failure}", run.scenario, run.peer);
        }
        failures.is_empty()
    }

    /// The run of a peer in a scenario: the first one, of a peer that is in every group.
    pub(super) fn run(&self, scenario: &str, peer: &str) -> Option<&Run> {
        self.runs.iter().find(|run| run.scenario == scenario && run.peer == peer && run.failure.is_none())
    }

    /// With whom all others are compared in a scenario, because it is in every group: the bare loop, or Oyez where that
    /// cannot take part.
    pub(super) fn measure(&self, scenario: &str) -> &'static str {
        let bare = self.runs.iter().any(|run| run.scenario == scenario && run.peer == BARE);
        if bare { BARE } else { OYEZ }
    }

    /// What a peer costs, as a multiple of the measure in the same turns. The bare loop has no memory to speak of.
    pub(super) fn ratio(&self, scenario: &Scenario, peer: &str) -> Option<f64> {
        if scenario.unit == Unit::Memory {
            return None;
        }
        self.beside(scenario, peer, self.measure(scenario.name))
    }

    /// What a peer costs, as a multiple of another one in the same turns.
    pub(super) fn beside(&self, scenario: &Scenario, peer: &str, other: &str) -> Option<f64> {
        self.within_turns(scenario.name, (peer, other), |run, round| run.cost(scenario.unit, round))
    }

    /// Publishes per second of a turn; the median of the turns.
    pub(super) fn rate(&self, scenario: &str, peer: &str) -> Option<f64> {
        let rounds = self.run(scenario, peer)?.counting();
        median(&rounds.iter().filter_map(Round::rate).collect::<Vec<_>>())
    }

    /// Publishes per second, as a multiple of another peer's in the same turns.
    pub(super) fn rate_beside(&self, scenario: &str, peer: &str, other: &str) -> Option<f64> {
        self.within_turns(scenario, (peer, other), |_, round| round.rate())
    }

    /// CPU of the busiest thread per delivery, as a multiple of another peer's in the same turns.
    pub(super) fn busiest_beside(&self, scenario: &Scenario, peer: &str, other: &str) -> Option<f64> {
        self.within_turns(scenario.name, (peer, other), |_, round| {
            Some(round.busiest_ns? as f64 / round.deliveries as f64).filter(|_| round.deliveries > 0)
        })
    }

    /// The median of the ratios of two peers within the turns of the first group that has both.
    fn within_turns(
        &self,
        scenario: &str,
        (peer, other): (&str, &str),
        value: impl Fn(&Run, &Round) -> Option<f64>,
    ) -> Option<f64> {
        let of = |name: &str| {
            let name = name.to_owned();
            self.runs.iter().filter(move |run| run.scenario == scenario && run.peer == name && run.failure.is_none())
        };
        let (one, other) = of(peer).find_map(|one| Some((one, of(other).find(|other| other.group == one.group)?)))?;
        let values = |run: &Run| run.counting().iter().map(|round| value(run, round)).collect::<Vec<_>>();
        median_ratio(&values(one).into_iter().zip(values(other)).collect::<Vec<_>>())
    }

    /// What a peer costs: nanoseconds of CPU per unit, or bytes per connection. The median of the turns.
    pub(super) fn cost(&self, scenario: &Scenario, peer: &str) -> Option<f64> {
        let costs = self.run(scenario.name, peer)?.costs(scenario.unit);
        median(&costs.into_iter().flatten().collect::<Vec<_>>())
    }

    /// The latency that so many percent of a peer's samples are not above, in nanoseconds.
    pub(super) fn latency(&self, scenario: &str, peer: &str, percent: usize) -> Option<u64> {
        let rounds = self.run(scenario, peer)?.counting();
        percentile(&rounds.iter().flat_map(|round| round.latency_ns.iter().copied()).collect::<Vec<_>>(), percent)
    }
}

impl Round {
    fn rate(&self) -> Option<f64> {
        (self.wall_ns > 0).then(|| self.publishes as f64 * 1e9 / self.wall_ns as f64)
    }
}

impl Run {
    /// The turns that count.
    pub(super) fn counting(&self) -> &[Round] {
        // A scenario of one round, memory, has nothing to warm up.
        if self.rounds.len() > 1 { &self.rounds[1..] } else { &self.rounds }
    }

    fn costs(&self, unit: Unit) -> Vec<Option<f64>> {
        self.counting().iter().map(|round| self.cost(unit, round)).collect()
    }

    fn cost(&self, unit: Unit, round: &Round) -> Option<f64> {
        let (cost, units) = match unit {
            Unit::Delivery => (round.cpu_ns, round.deliveries),
            Unit::Publish => (round.cpu_ns, round.publishes),
            Unit::Connect | Unit::Answer | Unit::Heartbeat => (round.cpu_ns, round.operations),
            Unit::Memory => (round.pss.saturating_sub(self.setup.pss_before), self.setup.connections),
        };
        (units > 0).then(|| cost as f64 / units as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(peer: &str, group: usize, cpu: &[u64]) -> Run {
        let round =
            |cpu_ns: &u64| Round { deliveries: 10, cpu_ns: *cpu_ns, latency_ns: vec![*cpu_ns], ..Round::default() };
        let rounds = cpu.iter().map(round).collect();
        Run { scenario: "fanout-100".to_owned(), peer: peer.to_owned(), group, rounds, ..Run::default() }
    }

    #[test]
    fn ratios_are_to_the_bare_loop_of_the_same_group_without_the_first_turn() {
        let runs = vec![run(BARE, 0, &[1, 1, 1]), run(BARE, 1, &[9, 20, 40]), run("oyez", 1, &[990, 10, 40])];
        let results = Results { runs, ..Results::default() };
        let scenario = Scenario::named("fanout-100").expect("it is in the table");
        assert_eq!(results.ratio(scenario, "oyez"), Some(0.75)); // of 0.5 and 1
        assert_eq!(results.cost(scenario, "oyez"), Some(2.5)); // of 1 and 4
        assert_eq!(results.latency("fanout-100", "oyez", 99), Some(40));
        assert_eq!(results.ratio(scenario, "node"), None);
    }

    #[test]
    fn what_is_measured_again_takes_the_place_of_the_old() {
        let before =
            [Run { scenario: "idle".to_owned(), ..run(BARE, 0, &[5]) }, run("oyez", 0, &[1]), run("node", 1, &[2])];
        let mut results = Results { runs: before.to_vec(), ..Results::default() };
        results.take_over(Results { commit: "abc".to_owned(), runs: vec![run("oyez", 0, &[3])], ..Results::default() });
        let left: Vec<_> = results.runs.iter().map(|run| (&*run.scenario, &*run.peer, run.rounds[0].cpu_ns)).collect();
        assert_eq!(left, [("idle", BARE, 5), ("fanout-100", "oyez", 3)]);
        assert_eq!(results.again.keys().collect::<Vec<_>>(), ["fanout-100"]);
        assert_eq!(results.again["fanout-100"].commit, "abc");
    }

    #[test]
    fn what_failed_counts_for_nothing() {
        let failed = Run { failure: Some("lost".to_owned()), ..run("oyez", 0, &[1, 1]) };
        let results = Results { runs: vec![run(BARE, 0, &[1, 1]), failed], ..Results::default() };
        let scenario = Scenario::named("fanout-100").expect("it is in the table");
        assert_eq!((results.ratio(scenario, "oyez"), results.told_failures()), (None, false));
    }

    #[test]
    fn without_the_bare_loop_oyez_of_the_same_group_is_the_measure() {
        let runs = vec![run(OYEZ, 0, &[1, 10, 10]), run("node", 1, &[1, 60, 80]), run(OYEZ, 1, &[1, 20, 40])];
        let mut results = Results { runs, ..Results::default() };
        let scenario = Scenario::named("fanout-100").expect("it is in the table");
        assert_eq!(results.measure("fanout-100"), OYEZ);
        assert_eq!(results.ratio(scenario, "node"), Some(2.5)); // of 3 and 2
        assert_eq!(results.ratio(scenario, OYEZ), Some(1.0));
        assert_eq!(results.cost(scenario, OYEZ), Some(1.0)); // of the first group
        // A group whose measure failed is compared with nothing: not with another group's.
        results.runs[2].failure = Some("lost".to_owned());
        assert_eq!((results.ratio(scenario, "node"), results.ratio(scenario, OYEZ)), (None, Some(1.0)));
    }

    #[test]
    fn the_busiest_thread_is_compared_within_turns_and_older_results_have_none() {
        let busy = |peer: &str, busiest: [u64; 2]| {
            let mut run = run(peer, 0, &[1, 1, 1]);
            for (round, ns) in run.rounds[1..].iter_mut().zip(busiest) {
                round.busiest_ns = Some(ns);
            }
            run
        };
        let runs = vec![busy(OYEZ, [20, 40]), busy("oyez-two", [10, 30]), run("node", 0, &[1, 1, 1])];
        let results = Results { runs, ..Results::default() };
        let scenario = Scenario::named("fanout-100").expect("it is in the table");
        assert_eq!(results.busiest_beside(scenario, "oyez-two", OYEZ), Some(0.625)); // of 0.5 and 0.75
        assert_eq!(results.busiest_beside(scenario, "node", OYEZ), None);
        let old = r#"{"deliveries":1,"publishes":1,"cpu_ns":1,"wall_ns":1,"pss":1}"#;
        assert_eq!(serde_json::from_str::<Round>(old).expect("a round").busiest_ns, None);
    }
}
