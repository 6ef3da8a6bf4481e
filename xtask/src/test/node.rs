//! Stock JavaScript clients against the real binary, run by Node's own test runner.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::summary::Counts;
use super::{Bench, needs, stream};

/// The longest that one test, and one file, may take, in milliseconds: what hangs fails. (Node's own remedy for files
/// that do not end, `--test-force-exit`, loses results.)
const TEST_MS: &str = "300000";

/// What stands in the names of test files that start a broker, and how that is found or installed.
const BROKERS: [(&str, Find); 5] = [
    ("cluster", needs::nats),
    ("cluster", needs::redis),
    ("nats", needs::nats),
    ("rabbitmq", needs::rabbitmq),
    ("redis", needs::redis),
];

/// Finds a program, or installs it, or says how.
type Find = fn() -> Result<(), String>;

/// Names of variables and the paths they hold.
type Variables = Vec<(&'static str, PathBuf)>;

/// Runs `tests/e2e/**/*.test.mjs` and `examples/*/e2e/**/*.test.mjs`, two files at a time.
pub(super) fn run(bench: &mut Bench<'_>) -> Result<Counts> {
    let wanted = |path: &str| is_test(path) && (path.starts_with("tests/") || path.contains("/e2e/"));
    let files = bench.files(&["tests/e2e", "examples"], wanted)?;
    if files.is_empty() {
        return Ok(bench.nothing());
    }
    if let Err(missing) = needs::node_packages(bench.root) {
        return Ok(Counts::missing(&files, missing));
    }
    let wants = |path: &String| BROKERS.iter().any(|(name, _)| path.contains(name));
    let (brokers, others): (Vec<_>, Vec<_>) = files.into_iter().partition(wants);
    let wanted = BROKERS.iter().filter(|(name, _)| brokers.iter().any(|path| path.contains(name)));
    let missing = wanted.filter_map(|(_, find)| find().err()).next();
    let programs = bench.programs()?;
    match missing {
        None => test(bench.root, &[others, brokers].concat(), 2, programs),
        Some(missing) if others.is_empty() => Ok(Counts::missing(&brokers, missing)),
        Some(missing) => Ok(test(bench.root, &others, 2, programs)?.and(Counts::missing(&brokers, missing))),
    }
}

/// What Node's runner is given.
pub(super) fn is_test(path: &str) -> bool {
    path.ends_with(".test.mjs")
}

/// Runs test files, so many at a time, with these variables set.
pub(super) fn test(root: &Path, files: &[String], at_once: u32, variables: Variables) -> Result<Counts> {
    let mut counts = Counts::default();
    let mut command = Command::new("node");
    command.current_dir(root).envs(variables).arg("--test");
    command.args([format!("--test-concurrency={at_once}"), format!("--test-timeout={TEST_MS}")]);
    // People read "spec" on the terminal while the tests run; the counts come from TAP.
    command.args(["--test-reporter=spec", "--test-reporter-destination=stderr"]);
    command.args(["--test-reporter=tap", "--test-reporter-destination=stdout"]).args(files);
    let mut totals = Totals::default();
    let success = stream::lines(&mut command, |line| {
        totals.read(line);
        false
    })?;
    counts.passed = totals.pass;
    counts.failed = totals.fail + totals.cancelled;
    counts.skipped = totals.skipped + totals.todo;
    Ok(counts.and_exit(success && totals.complete))
}

/// The counts that end a TAP report of Node: `# pass 3`. What a test prints looks alike, but the last line counts.
#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    pass: u32,
    fail: u32,
    cancelled: u32,
    skipped: u32,
    todo: u32,
    /// The report's last line has come.
    complete: bool,
}

impl Totals {
    fn read(&mut self, line: &str) {
        let Some((what, number)) = line.strip_prefix("# ").and_then(|rest| rest.split_once(' ')) else { return };
        self.complete |= what == "duration_ms";
        let Ok(number) = number.parse() else { return };
        match what {
            "pass" => self.pass = number,
            "fail" => self.fail = number,
            "cancelled" => self.cancelled = number,
            "skipped" => self.skipped = number,
            "todo" => self.todo = number,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_totals_count() {
        let mut totals = Totals::default();
        let report = "TAP version 13\n# pass 99\nok 1 - a\n    # pass 7\n1..4\n# tests 4\n# suites 0\n# pass 1\n# fail 1\n\
                      # cancelled 1\n# skipped 1\n# todo 0\n# duration_ms 51.2";
        report.lines().for_each(|line| totals.read(line));
        assert_eq!(totals, Totals { pass: 1, fail: 1, cancelled: 1, skipped: 1, todo: 0, complete: true });
    }
}
