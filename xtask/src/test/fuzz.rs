//! The fuzz targets of the codecs, each for some seconds: `crates/protocol/fuzz/fuzz_targets`.
//!
//! They are plain programs around libFuzzer, built with the coverage that guides it by the compiler of the project:
//! the codecs have no `unsafe` code, so the sanitizers, for which `cargo fuzz` wants nightly, would find nothing.
//! Each begins with the corpus that is stored beside them (`crates/protocol/fuzz/corpus`); what else was worth keeping
//! stays below `target/fuzz`, so that the next run begins where this one ends.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, ensure};

use super::summary::Counts;
use super::{Bench, cargo, needs, stream};

const HOME: &str = "crates/protocol/fuzz";
const TARGETS: &str = "crates/protocol/fuzz/fuzz_targets";

/// The stored corpus, a folder for each target.
const STORED: &str = "crates/protocol/fuzz/corpus";

/// Seconds for each target: up to half a million inputs.
const SECONDS: u32 = 2;

/// Targets that run at the same time.
const LANES: usize = 2;

/// What libFuzzer reads: which branches ran, and what was compared with what. `cargo fuzz` uses the same.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Runs every target; one that finds something is a failed test.
pub(super) fn run(bench: &Bench<'_>) -> Result<Counts> {
    let files = bench.files(&[TARGETS], |path| path.ends_with(".rs"))?;
    if files.is_empty() {
        return Ok(bench.nothing());
    }
    if let Err(missing) = needs::cxx() {
        return Ok(Counts::missing(&files, missing));
    }
    ensure!(stream::succeeds(build(bench.root, "build").arg("--bins")), "the fuzz targets do not build: see above");
    let names: Vec<&str> = files.iter().filter_map(|path| Path::new(path).file_stem()?.to_str()).collect();
    let mut counts = Counts::default();
    let mut executions = 0;
    for lane in names.chunks(LANES) {
        let fed = thread::scope(|scope| {
            let threads: Vec<_> = lane.iter().map(|name| scope.spawn(move || feed(bench.root, name))).collect();
            threads.into_iter().filter_map(|thread| thread.join().ok()).collect::<Result<Vec<_>>>()
        })?;
        executions += fed.iter().flatten().sum::<u64>();
        let passed = u32::try_from(fed.iter().flatten().count())?;
        counts.passed += passed;
        counts.failed += u32::try_from(lane.len())? - passed;
    }
    println!("fuzz executions: {executions}");
    Ok(counts)
}

/// Feeds one target and says how many inputs it took; none, with its report on the terminal, when one of them broke it.
fn feed(root: &Path, name: &str) -> Result<Option<u64>> {
    let home = root.join("target/fuzz");
    let (corpus, found) = (home.join("corpus").join(name), home.join("found"));
    for folder in [&corpus, &found] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut command = build(root, "run");
    command.args(["--quiet", "--bin", name, "--"]).arg(&corpus);
    // Libfuzzer writes to the first folder only.
    command.args(Some(root.join(STORED).join(name)).filter(|stored| stored.is_dir()));
    command.arg(format!("-artifact_prefix={}/{name}-", found.display())).arg(format!("-max_total_time={SECONDS}"));
    command.args(["-timeout=5", "-verbosity=0", "-print_final_stats=1"]);
    let output = command.output().with_context(|| name.to_owned())?;
    let report = String::from_utf8_lossy(&output.stderr);
    let taken = inputs(&report).filter(|_| output.status.success());
    match taken {
        Some(taken) => println!("{name}: {taken} inputs"),
        None => println!("{name}: broken\n{report}"),
    }
    Ok(taken)
}

/// Cargo with what makes a program a fuzz target. A target triple keeps the flags from build scripts, which would not
/// link with them.
fn build(root: &Path, what: &str) -> Command {
    let mut command = cargo::command(&root.join(HOME));
    command.env("RUSTFLAGS", COVERAGE).env("CARGO_TARGET_DIR", root.join("target/fuzz"));
    command.args([what, "--release", "--locked", "--target", "host-tuple"]);
    command
}

/// `stat::number_of_executed_units: 1816552`, if it was any.
fn inputs(report: &str) -> Option<u64> {
    let count = report.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    count.trim().parse().ok().filter(|&count| count > 0)
}

#[cfg(test)]
mod tests {
    use super::inputs;

    #[test]
    fn a_target_that_ran_nothing_has_not_passed() {
        assert_eq!(inputs("Done\nstat::number_of_executed_units: 1816552\nstat::peak_rss_mb: 29"), Some(1_816_552));
        assert_eq!(inputs("stat::number_of_executed_units: 0"), None);
        assert_eq!(inputs("error: no such target"), None);
    }
}
