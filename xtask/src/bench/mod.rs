//! `cargo xtask bench`: Oyez beside what a user would pick instead, on one machine, in alternating rounds.
//!
//! Every server has the first core to itself and the load generators (`oyez bench`) the last one. All servers of a group
//! stay alive; they take turns, round by round, so that whatever else the machine does hits all of them alike. What is
//! compared are ratios within one turn. Everything that is counted comes from the kernel's accounting of the server's
//! process, and every delivery is checked.

mod dialect;
mod install;
mod joins;
mod load;
mod machine;
mod peer;
mod picture;
mod report;
mod results;
mod scenario;
mod section;
mod server;
mod statistics;
mod summary;
mod target;
mod turns;

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use peer::{PEERS, Peer};
use results::Results;
use scenario::{SCENARIOS, Scenario};

/// How `cargo xtask bench` is called.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Install and measure only these beside Oyez and the bare loop, for instance socketioxide,node; --list has all
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    peers: Vec<String>,
    /// Run only these, or all whose names begin so: fanout,idle; --list has all
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    scenario: Vec<String>,
    /// Fewer rounds and connections: whether it works, not how well
    #[arg(long)]
    quick: bool,
    /// Put what is measured into the newest results, in the place of the same scenarios, and write the report
    #[arg(long, requires = "scenario", conflicts_with_all = ["quick", "peers"])]
    again: bool,
    /// Run nothing; write docs/benchmarks.md from the newest results
    #[arg(long)]
    report: bool,
    /// Show who takes part in what
    #[arg(long)]
    list: bool,
}

impl Options {
    /// Where results go. Only of everybody in everything a report is made.
    fn folder(&self) -> &'static str {
        let whole = !self.quick && self.peers.is_empty() && self.scenario.is_empty();
        if whole { results::FOLDER } else { "target/bench/results" }
    }
}

/// Measures, and writes `bench/results/` and the report if it was all. False when something could not be measured or
/// was lost.
pub(crate) fn run(root: &Path, options: &Options) -> Result<bool> {
    if options.list {
        println!("{}", scenario::matrix());
        return Ok(true);
    }
    if options.report {
        report::write(root)?;
        return Ok(true);
    }
    let scenarios = chosen_scenarios(&options.scenario)?;
    let needed = |peer: &&Peer| peer.name == peer::OYEZ || scenarios.iter().any(|scenario| scenario.suits(peer));
    let peers: Vec<_> = chosen_peers(&options.peers)?.into_iter().filter(needed).collect();
    machine::raise_file_limit()?;
    let cores = machine::Cores::find()?;
    let mut results = Results::begin(root, options.quick)?;
    let installed = install::all(root, &peers, &mut results)?;
    let stage = turns::Stage { root, cores, quick: options.quick };
    let mut path = String::new();
    for scenario in scenarios {
        stage.play(scenario, &installed, &mut results)?;
        if scenario.kind == "joins" && !options.quick {
            results.joins = joins::measure(root)?;
        }
        path = keep(root, options, &results)?; // whatever comes next
    }
    println!("wrote {path}");
    if path.starts_with(results::FOLDER) {
        report::write(root)?;
    } else {
        println!("docs/benchmarks.md is left as it was: it shows whole runs");
    }
    Ok(results.told_failures())
}

/// Writes what was measured so far; gives the file's path from the root.
fn keep(root: &Path, options: &Options, results: &Results) -> Result<String> {
    if !options.again {
        return results.write(root, options.folder());
    }
    let (mut whole, _) = Results::newest(root)?.context("there are no results in bench/results to be completed")?;
    whole.take_over(results.clone());
    whole.write(root, results::FOLDER)
}

/// Whether `docs/benchmarks.md` and its pictures are what the newest results say.
pub(crate) fn is_fresh(root: &Path) -> Result<bool> {
    report::is_fresh(root)
}

fn chosen_scenarios(names: &[String]) -> Result<Vec<&'static Scenario>> {
    if let Some(name) = names.iter().find(|name| !SCENARIOS.iter().any(|scenario| scenario.is_called(name))) {
        let all: Vec<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        bail!("there is no scenario `{name}`; there are {}", all.join(", "));
    }
    let chosen = |scenario: &&Scenario| names.is_empty() || names.iter().any(|name| scenario.is_called(name));
    Ok(SCENARIOS.iter().filter(chosen).collect())
}

/// The named peers, or all. Oyez and the bare loop are always there: one is measured, the other is the measure.
fn chosen_peers(names: &[String]) -> Result<Vec<&'static Peer>> {
    for name in names {
        let all = || PEERS.iter().map(|peer| peer.name).collect::<Vec<_>>().join(", ");
        ensure!(Peer::named(name).is_some(), "there is no peer `{name}`; there are {}", all());
    }
    let chosen =
        |peer: &&Peer| names.is_empty() || names.iter().any(|name| name == peer.name) || peer.is_always_there();
    Ok(PEERS.iter().filter(chosen).collect())
}

/// What a command prints, trimmed; an error when it fails.
fn output(command: &mut std::process::Command) -> Result<String> {
    let name = format!("{command:?}");
    let output = command.stdin(std::process::Stdio::null()).output().with_context(|| name.clone())?;
    ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn parse(line: &str) -> Options {
        Line::try_parse_from(line.split(' ')).expect("a good line").options
    }

    #[test]
    fn lists_are_comma_separated() {
        let options = parse("bench --peers node,nchan --scenario fanout,idle --quick");
        assert_eq!(options.peers, ["node", "nchan"]);
        assert_eq!(options.scenario, ["fanout", "idle"]);
        assert!(options.quick && !options.report);
    }

    #[test]
    fn a_scenario_is_called_by_its_beginning_too() {
        let names = |list: &[&str]| {
            let list: Vec<String> = list.iter().map(ToString::to_string).collect();
            chosen_scenarios(&list).map(|chosen| chosen.iter().map(|it| it.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).expect("all").len(), SCENARIOS.len());
        assert_eq!(names(&["fanout-100"]).expect("one"), ["fanout-100"]);
        assert_eq!(names(&["fanout"]).expect("several"), ["fanout-100", "fanout-1000", "fanout-5000", "fanout-15000"]);
        assert!(names(&["fan"]).is_err());
    }

    #[test]
    fn oyez_and_the_bare_loop_always_take_part() {
        let names = |list: &[&str]| {
            let list: Vec<String> = list.iter().map(ToString::to_string).collect();
            chosen_peers(&list).map(|chosen| chosen.iter().map(|it| it.name).collect::<Vec<_>>())
        };
        let always = [
            peer::BARE,
            peer::BARE_MANY,
            peer::URING_MANY,
            peer::OYEZ,
            peer::OYEZ_MANY,
            peer::OYEZ_DURABLE,
            peer::OYEZ_LIVE,
            peer::HUB,
            peer::ENGINE,
            peer::RECORDS,
        ];
        assert_eq!(names(&["nchan"]).expect("all of these"), [&always[..], &["nchan"]].concat());
        assert_eq!(names(&[]).expect("all").len(), PEERS.len());
        assert!(names(&["apache"]).is_err());
    }
}
