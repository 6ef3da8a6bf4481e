//! What the report begins with: the essential ratios in a few sentences, and three pictures.

use super::dialect::Dialect;
use super::peer::{OYEZ, PEERS, Peer};
use super::results::Results;
use super::scenario::{SCENARIOS, Scenario, Unit};
use super::section::Section;
use super::target::{digits, verdicts};

/// What most users run today.
const USUAL: &str = "node";
/// What is shown at once.
const PICTURES: [&str; 3] = ["fanout-1000", "idle", "saturation"];

/// The sentences for which there are results, and the pictures.
pub(super) fn text(results: &Results) -> String {
    let sentences =
        [fanout(results), saturation(results), memory(results), connect(results), latency(results), rest(results)];
    let mut text = "\n## In short\n\n".to_owned();
    for sentence in sentences.into_iter().flatten() {
        text += &format!("- {sentence}\n");
    }
    for section in PICTURES.iter().filter_map(|name| Section::of(results, Scenario::named(name)?)) {
        text += &format!("\n{}\n", section.image());
    }
    text
}

fn fanout(results: &Results) -> Option<String> {
    let scenario = Scenario::named("fanout-1000")?;
    let bare = digits(results.ratio(scenario, OYEZ)?);
    let others = others(results, scenario, everybody)?;
    Some(format!(
        "**Fan-out** to 1,000 clients costs Oyez {bare} × the CPU of a bare `write()` loop that does nothing else. {others}"
    ))
}

fn saturation(results: &Results) -> Option<String> {
    let scenario = Scenario::named("saturation")?;
    let rate = 1e9 / results.cost(scenario, OYEZ)? / 1e6;
    let others = others(results, scenario, everybody)?;
    Some(format!(
        "**Under load**, 32 events under way, Oyez makes {rate:.1} million deliveries per CPU-second. {others}"
    ))
}

fn memory(results: &Results) -> Option<String> {
    let scenario = Scenario::named("idle")?;
    let each = digits(results.cost(scenario, OYEZ)? / 1_024.0);
    let others = others(results, scenario, everybody)?;
    Some(format!("**Memory** of the server per idle connection is {each} KiB. {others}"))
}

fn connect(results: &Results) -> Option<String> {
    let scenario = Scenario::named("connect")?;
    let each = digits(results.cost(scenario, OYEZ)? / 1_000.0);
    let others = others(results, scenario, |peer| peer.dialect != Dialect::Nchan)?;
    Some(format!("**Connecting**, with a token that is verified, takes {each} µs of CPU. {others}"))
}

fn latency(results: &Results) -> Option<String> {
    let milliseconds = |peer| {
        let of = |percent| Some(results.latency("latency", peer, percent)? as f64 / 1e6);
        Some(format!("{:.1} ms (p99 {:.1} ms)", of(50)?, of(99)?))
    };
    let own = milliseconds(OYEZ)?;
    let told = |peer| Some(format!("{} {}", Peer::named(peer)?.title, milliseconds(peer)?));
    let others: Vec<String> = ["socketioxide", USUAL].into_iter().filter_map(told).collect();
    let others = if others.is_empty() { String::new() } else { format!("; {}", others.join(", ")) };
    Some(format!("**Latency** of the last of 1,000 receivers, 45 events per second: p50 {own}{others}."))
}

/// Where it is not the best, so that nobody has to look for it.
fn rest(results: &Results) -> Option<String> {
    let mut behind = Vec::new();
    for scenario in SCENARIOS {
        for (peer, ratio) in compared(results, scenario, everybody) {
            if ratio < 1.0 {
                behind.push(format!("{} ({}, {} ×)", scenario.title, peer.title, digits(ratio)));
            }
        }
    }
    let all = verdicts(results);
    let count = |verdict: &str| all.iter().filter(|row| row.verdict == verdict).count();
    let (met, missed) = (count("met"), count("**missed**"));
    let behind = match &behind[..] {
        [] => "Nobody else needs less than Oyez in any scenario.".to_owned(),
        behind => format!("Others need less than Oyez in: {}.", behind.join(", ")),
    };
    let all = met + missed;
    (all > 0).then(|| format!("{behind} Of the {all} targets that were measured it meets {met}: see the table below."))
}

fn everybody(_: &Peer) -> bool {
    true
}

/// What the nearest of the others needs, and what most users run today; each as a multiple of Oyez.
fn others(results: &Results, scenario: &Scenario, who: fn(&Peer) -> bool) -> Option<String> {
    let compared = compared(results, scenario, who);
    let (nearest, ratio) = compared.first()?;
    let what = if scenario.unit == Unit::Memory { "memory" } else { "CPU" };
    let mut text = format!("Next is {}, which needs {} × the {what} of Oyez", nearest.title, digits(*ratio));
    if let Some((usual, ratio)) = compared.iter().skip(1).find(|(peer, _)| peer.name == USUAL) {
        text += &format!("; {} needs {} ×", usual.title, digits(*ratio));
    }
    Some(text + ".")
}

/// What other servers need, as a multiple of Oyez, in the order of the table. CPU is compared within turns, memory is
/// not noisy.
fn compared(results: &Results, scenario: &Scenario, who: fn(&Peer) -> bool) -> Vec<(&'static Peer, f64)> {
    let ratio = |peer: &'static Peer| {
        let ratio = match scenario.unit {
            Unit::Memory => results.cost(scenario, peer.name)? / results.cost(scenario, OYEZ)?,
            _ => results.beside(scenario, peer.name, OYEZ).or_else(|| {
                // In another group, the measure of both stands between them.
                Some(results.ratio(scenario, peer.name)? / results.ratio(scenario, OYEZ)?)
            })?,
        };
        Some((peer, ratio))
    };
    let is_other = |peer: &&Peer| peer.name != OYEZ && !peer.is_variant() && !peer.is_limit() && who(peer);
    let mut all: Vec<_> = PEERS.iter().filter(is_other).filter_map(ratio).collect();
    let place = |peer: &Peer| results.ratio(scenario, peer.name).or_else(|| results.cost(scenario, peer.name));
    all.sort_by(|(a, _), (b, _)| place(a).unwrap_or(f64::MAX).total_cmp(&place(b).unwrap_or(f64::MAX)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::peer::BARE;
    use crate::bench::results::{Round, Run, Setup};

    fn run(scenario: &str, peer: &str, cpu_ns: u64) -> Run {
        let round = Round { deliveries: 10, operations: 10, cpu_ns, pss: cpu_ns, ..Round::default() };
        let setup = Setup { connections: 10, ..Setup::default() };
        Run { scenario: scenario.to_owned(), peer: peer.to_owned(), setup, rounds: vec![round], ..Run::default() }
    }

    fn told(runs: Vec<Run>) -> String {
        text(&Results { runs, ..Results::default() })
    }

    #[test]
    fn ratios_come_from_the_results() {
        let text = told(vec![
            run("fanout-1000", BARE, 40),
            run("fanout-1000", OYEZ, 30),
            run("fanout-1000", "bare-uring", 20),
            run("fanout-1000", "node", 90),
            run("fanout-1000", "nchan", 60),
            run("idle", OYEZ, 20_480),
            run("idle", "node", 102_400),
        ]);
        for line in [
            "costs Oyez 0.75 × the CPU of a bare `write()` loop that does nothing else. Next is nchan on nginx, \
             which needs 2.00 × the CPU of Oyez; Socket.IO on Node needs 3.00 ×.\n",
            "is 2.00 KiB. Next is Socket.IO on Node, which needs 5.00 × the memory of Oyez.\n",
            "](benchmarks/fanout-1000.svg)\n\n![Idle connections: ",
            "Nobody else needs less than Oyez in any scenario.",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("Latency") && !text.contains("Connecting"), "{text}");
    }

    #[test]
    fn where_another_server_needs_less_is_said() {
        let text = told(vec![
            run("connect", BARE, 10),
            run("connect", OYEZ, 20),
            run("connect", "nchan", 10),
            run("connect", "bun", 30),
            run("idle", OYEZ, 20_480),
        ]);
        assert!(text.contains("Next is Socket.IO on Bun, which needs 1.50 × the CPU of Oyez."), "{text}");
        assert!(text.contains("Others need less than Oyez in: Connections (nchan on nginx, 0.50 ×)."), "{text}");
    }
}
