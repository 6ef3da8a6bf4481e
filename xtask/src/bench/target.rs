//! What Oyez set out to reach, and whether the results show it: a row a target.

use super::peer::{
    BARE, BARE_MANY, ENGINE, HUB, OYEZ, OYEZ_DURABLE, OYEZ_EPOLL, OYEZ_LIVE, OYEZ_MANY, OYEZ_TWO, RECORDS, URING,
    URING_MANY,
};
use super::results::Results;
use super::scenario::Scenario;

/// A target.
struct Target {
    what: &'static str,
    target: &'static str,
    /// What was measured, or `None` when it was not.
    measure: fn(&Results) -> Option<Measured>,
    /// Where else one sees it, when it was not measured.
    elsewhere: &'static str,
}

/// What was measured.
struct Measured {
    text: String,
    met: bool,
}

/// A row of the report.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) what: &'static str,
    pub(super) target: &'static str,
    pub(super) measured: String,
    pub(super) verdict: &'static str,
}

const NOT_RUN: &str = "not in these results";
const FANOUTS: [&str; 3] = ["fanout-1000", "fanout-5000", "fanout-15000"];

const TARGETS: &[Target] = &[
    Target {
        what: "CPU per delivery, 1 → 1,000 to 1 → 15,000, without io_uring",
        target: "≤ 1.05 × the bare `write()` loop",
        measure: |results| fanouts(results, OYEZ_EPOLL, 1.05, None),
        elsewhere: NOT_RUN,
    },
    Target {
        what: "the same, with io_uring where the kernel has it",
        target: "≤ 0.90 × the bare `write()` loop",
        measure: |results| fanouts(results, OYEZ, 0.90, Some(URING)),
        elsewhere: NOT_RUN,
    },
    Target {
        what: "CPU per delivery, 32 publishes under way",
        target: "≤ 0.07 × the bare `write()` loop",
        measure: |results| most(ratio(results, "saturation", OYEZ)?, 0.07, "×"),
        elsewhere: NOT_RUN,
    },
    Target {
        what: "latency then, p50 of the last receiver",
        target: "≤ 40 ms",
        measure: |results| most(milliseconds(results, "saturation", OYEZ, 50)?, 40.0, "ms"),
        elsewhere: NOT_RUN,
    },
    Target {
        what: "deliveries per CPU-second then",
        target: "≥ 3 × socketioxide's",
        measure: |results| least(results.beside(Scenario::named("saturation")?, "socketioxide", OYEZ)?, 3.0, "×"),
        elsewhere: NOT_RUN,
    },
    Target {
        what: "growth: CPU per delivery with 15,000 clients against 1,000, within turns",
        target: "≤ 1.10 ×",
        measure: |results| growth(results, 1.10),
        elsewhere: NOT_RUN,
    },
    Target {
        what: "growth: a publish nobody hears, beside 100,000 channels against 10",
        target: "≤ 1.10 ×",
        measure: |results| {
            most(cost(results, "channels-100000", OYEZ)? / cost(results, "channels-10", OYEZ)?, 1.10, "×")
        },
        elsewhere: NOT_RUN,
    },
    Target {
        what: "memory per idle connection, signed in, three channels",
        target: "≤ 3 KiB",
        measure: |results| most(cost(results, "idle", OYEZ)? / 1_024.0, 3.0, "KiB"),
        elsewhere: NOT_RUN,
    },
    Target {
        what: "CPU per connect: handshakes, token, three joins",
        target: "≤ 75 µs",
        measure: |results| most(cost(results, "connect", OYEZ)? / 1_000.0, 75.0, "µs"),
        elsewhere: NOT_RUN,
    },
    Target {
        what: "HTTP publishes to one user, 32 under way",
        target: "≥ 60,000 per CPU-second",
        measure: |results| least(1e9 / cost(results, "unicast", OYEZ)?, 60_000.0, "per CPU-second"),
        elsewhere: NOT_RUN,
    },
    Target {
        what: "latency at half load, p50 of the last receiver",
        target: "≤ 0.5 × socketioxide's",
        measure: |results| most(latencies(results, 50)?, 0.5, "×"),
        elsewhere: NOT_RUN,
    },
    Target {
        what: "latency at half load, p99 of the last receiver",
        target: "≤ 0.5 × socketioxide's",
        measure: |results| most(latencies(results, 99)?, 0.5, "×"),
        elsewhere: NOT_RUN,
    },
    Target {
        what: "what slow readers cost the others, p99",
        target: "≤ 1.10 ×",
        measure: |results| {
            most(milliseconds(results, "slow", OYEZ, 99)? / milliseconds(results, "steady", OYEZ, 99)?, 1.10, "×")
        },
        elsewhere: NOT_RUN,
    },
    Target {
        what: "joins and leaves, in process",
        target: "≥ 500,000 per CPU-second",
        measure: |results| least(results.joins_per_cpu_second()?, 500_000.0, "per CPU-second"),
        elsewhere: NOT_RUN,
    },
    Target {
        what: "two shards on two cores: deliveries per second of the busiest thread's CPU, within turns",
        target: "≥ 1.8 × those of one",
        measure: |results| {
            least(1.0 / results.busiest_beside(Scenario::named("saturation")?, OYEZ_TWO, OYEZ)?, 1.8, "×")
        },
        elsewhere: NOT_RUN,
    },
    Target {
        what: "durable publishes, on the disk before the answer, 64 publishers over HTTP",
        target: "≥ 20,000 per second, where the disk allows it",
        measure: |results| least(results.rate("durable", OYEZ_DURABLE)?, 20_000.0, "per second"),
        elsewhere: NOT_RUN,
    },
    Target {
        what: "their latency then, p99 of the answer",
        target: "≤ 10 ms, where the disk allows it",
        measure: |results| most(milliseconds(results, "durable", OYEZ_DURABLE, 99)?, 10.0, "ms"),
        elsewhere: NOT_RUN,
    },
    Target {
        what: "the same, beside the engine's bare group commit within turns, a record a message",
        target: "≥ 0.5 × its rate",
        measure: |results| durable(results, OYEZ_DURABLE, ENGINE, 0.5),
        elsewhere: NOT_RUN,
    },
    Target {
        what: "durable publishes in process, without HTTP, beside the same",
        target: "≥ 0.5 × its rate",
        measure: |results| durable(results, HUB, ENGINE, 0.5),
        elsewhere: NOT_RUN,
    },
    Target {
        what: "the same in process, beside the engine's bare group commit of the three records that a message is in the store",
        target: "≥ 0.5 × its rate",
        measure: |results| durable(results, HUB, RECORDS, 0.5),
        elsewhere: NOT_RUN,
    },
    Target {
        what: "and over HTTP beside that",
        target: "≥ 0.5 × its rate",
        measure: |results| durable(results, OYEZ_DURABLE, RECORDS, 0.5),
        elsewhere: NOT_RUN,
    },
    Target {
        what: "allocations per delivery; locks on its path",
        target: "none",
        measure: |_| None,
        elsewhere: "not measured: tests prove it",
    },
];

/// All targets, with what the results say.
pub(super) fn verdicts(results: &Results) -> Vec<Verdict> {
    let row = |target: &Target| {
        let (measured, verdict) = match (target.measure)(results) {
            Some(Measured { text, met: true }) => (text, "met"),
            Some(Measured { text, met: false }) => (text, "**missed**"),
            None => (target.elsewhere.to_owned(), "–"),
        };
        Verdict { what: target.what, target: target.target, measured, verdict }
    };
    TARGETS.iter().map(row).collect()
}

fn most(value: f64, limit: f64, unit: &str) -> Option<Measured> {
    Some(Measured { text: number(value, unit), met: value <= limit })
}

fn least(value: f64, limit: f64, unit: &str) -> Option<Measured> {
    Some(Measured { text: number(value, unit), met: value >= limit })
}

fn number(value: f64, unit: &str) -> String {
    if value >= 1_000.0 { format!("{} {unit}", grouped(value)) } else { format!("{} {unit}", digits(value)) }
}

/// As many digits as say something.
pub(super) fn digits(value: f64) -> String {
    match value {
        ..0.1 => format!("{value:.3}"),
        ..100.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}

/// A large number with commas.
pub(super) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The ratios of all fan-outs that were measured; the highest decides. Beside them those of a loop that does nothing else.
fn fanouts(results: &Results, peer: &str, limit: f64, bare: Option<&str>) -> Option<Measured> {
    let ratios = |peer| FANOUTS.iter().filter_map(|scenario| ratio(results, scenario, peer)).collect::<Vec<_>>();
    let text = |ratios: &[f64]| ratios.iter().map(|ratio| digits(*ratio)).collect::<Vec<_>>().join(", ");
    let own = ratios(peer);
    let highest = own.iter().copied().reduce(f64::max)?;
    let limits = bare.map(ratios).filter(|limits| !limits.is_empty());
    let limits = limits.map_or_else(String::new, |limits| format!(" (the bare io_uring loop: {} ×)", text(&limits)));
    Some(Measured { text: format!("{} ×{limits}", text(&own)), met: highest <= limit })
}

/// What a delivery costs with many clients beside few, and of that the kernel's part: what the bare loops grow by.
fn growth(results: &Results, limit: f64) -> Option<Measured> {
    let scenario = Scenario::named("growth")?;
    let own = results.beside(scenario, OYEZ_MANY, OYEZ)?;
    let bare = [("the bare loop", BARE_MANY, BARE), ("with io_uring", URING_MANY, URING)];
    let bare = bare.iter().filter_map(|(name, many, few)| {
        let grown = results.beside(scenario, many, few)?;
        Some(format!("{name}: {} ×", digits(grown)))
    });
    let bare: Vec<_> = bare.collect();
    let bare = if bare.is_empty() { String::new() } else { format!(" ({})", bare.join(", ")) };
    Some(Measured { text: format!("{} ×{bare}", digits(own)), met: own <= limit })
}

/// Durable publishes beside the engine alone, and what that does.
fn durable(results: &Results, peer: &str, engine: &str, limit: f64) -> Option<Measured> {
    let ratio = results.rate_beside("durable", peer, engine)?;
    let bare = grouped(results.rate("durable", engine)?);
    let http = results.rate_beside("durable", OYEZ_LIVE, engine).filter(|_| peer == OYEZ_DURABLE);
    let http = http.map_or_else(String::new, |ratio| format!("; live, with nothing stored, {} ×", digits(ratio)));
    Some(Measured { text: format!("{} × (of {bare} per second{http})", digits(ratio)), met: ratio >= limit })
}

fn latencies(results: &Results, percent: usize) -> Option<f64> {
    let of = |peer| milliseconds(results, "latency", peer, percent);
    Some(of(OYEZ)? / of("socketioxide")?)
}

fn ratio(results: &Results, scenario: &str, peer: &str) -> Option<f64> {
    results.ratio(Scenario::named(scenario)?, peer)
}

fn cost(results: &Results, scenario: &str, peer: &str) -> Option<f64> {
    results.cost(Scenario::named(scenario)?, peer)
}

fn milliseconds(results: &Results, scenario: &str, peer: &str, percent: usize) -> Option<f64> {
    Some(results.latency(scenario, peer, percent)? as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::results::{Round, Run};

    fn run(scenario: &str, peer: &str, cpu_ns: u64) -> Run {
        let round = Round { deliveries: 1, cpu_ns, ..Round::default() };
        Run { scenario: scenario.to_owned(), peer: peer.to_owned(), rounds: vec![round], ..Run::default() }
    }

    #[test]
    fn the_worst_fan_out_decides_and_what_was_not_run_is_said() {
        let runs = vec![
            run("fanout-1000", BARE, 100),
            run("fanout-1000", OYEZ_EPOLL, 104),
            run("fanout-1000", OYEZ, 85),
            run("fanout-15000", BARE, 100),
            run("fanout-15000", OYEZ, 95),
            run("fanout-15000", URING, 93),
            run("growth", BARE, 100),
            run("growth", BARE_MANY, 120),
            run("growth", URING, 90),
            run("growth", URING_MANY, 117),
            run("growth", OYEZ, 80),
            run("growth", OYEZ_MANY, 92),
        ];
        let verdicts = verdicts(&Results { runs, ..Results::default() });
        let told: Vec<_> = verdicts.iter().map(|verdict| (verdict.measured.as_str(), verdict.verdict)).collect();
        assert_eq!(
            told[..3],
            [("1.04 ×", "met"), ("0.85, 0.95 × (the bare io_uring loop: 0.93 ×)", "**missed**"), (NOT_RUN, "–")]
        );
        assert_eq!(told[5], ("1.15 × (the bare loop: 1.20 ×, with io_uring: 1.30 ×)", "**missed**"));
    }

    #[test]
    fn two_shards_count_by_their_busiest_thread() {
        let busy = |peer: &str, busiest_ns| {
            let mut run = run("saturation", peer, 100);
            run.rounds[0].busiest_ns = busiest_ns;
            run
        };
        let told = |one, two| {
            let runs = vec![busy(OYEZ, one), busy(OYEZ_TWO, two)];
            let verdicts = verdicts(&Results { runs, ..Results::default() });
            let row = verdicts.into_iter().find(|verdict| verdict.what.starts_with("two shards")).expect("a row");
            (row.measured, row.verdict)
        };
        assert_eq!(told(Some(95), Some(50)), ("1.90 ×".to_owned(), "met"));
        assert_eq!(told(Some(95), None), (NOT_RUN.to_owned(), "–"));
    }

    #[test]
    fn numbers_have_as_many_digits_as_say_something() {
        let texts = [0.0423, 1.0, 74.96, 140.2].map(digits);
        assert_eq!(texts, ["0.042", "1.00", "74.96", "140"]);
        assert_eq!([999.0, 61_234.4, 1_000_000.0].map(grouped), ["999", "61,234", "1,000,000"]);
    }
}
