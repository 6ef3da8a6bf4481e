//! The fuzz targets, each for some seconds: of the codecs (`crates/protocol/fuzz`), of what nodes say to each other
//! (`crates/hub/fuzz`), and of what the server reads of HTTP itself (`crates/server/fuzz`).
//!
//! They are plain programs around libFuzzer, built with the coverage that guides it by the compiler of the project:
//! what they feed has no `unsafe` code, so the sanitizers, for which `cargo fuzz` wants nightly, would find nothing.
//! Each begins with the corpus that is stored beside them (`corpus`); what else was worth keeping
//! stays below `target/fuzz`, so that the next run begins where this one ends.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, ensure};

use super::summary::Counts;
use super::{Bench, cargo, needs, stream};

/// Each a workspace of its own: a program for each file of `fuzz_targets`, and a folder of `corpus` for each program.
const HOMES: [&str; 3] = ["crates/hub/fuzz", "crates/protocol/fuzz", "crates/server/fuzz"];

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
    let folders = HOMES.map(|home| format!("{home}/fuzz_targets"));
    let files = bench.files(&folders.each_ref().map(String::as_str), |path| path.ends_with(".rs"))?;
    if files.is_empty() {
        return Ok(bench.nothing());
    }
    if let Err(missing) = needs::cxx() {
        return Ok(Counts::missing(&files, missing));
    }
    let targets: Vec<Target<'_>> = files.iter().filter_map(|path| target(path)).collect();
    for home in HOMES.iter().filter(|home| targets.iter().any(|target| target.home == **home)) {
        ensure!(stream::succeeds(build(bench.root, home, "build").arg("--bins")), "{home} does not build: see above");
    }
    let mut counts = Counts::default();
    let mut executions = 0;
    for lane in targets.chunks(LANES) {
        let fed = thread::scope(|scope| {
            let threads: Vec<_> = lane.iter().map(|target| scope.spawn(move || feed(bench.root, target))).collect();
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

/// A program, and the workspace that it belongs to.
#[derive(Debug, PartialEq, Eq)]
struct Target<'a> {
    home: &'a str,
    name: &'a str,
}

/// The target that `crates/NAME/fuzz/fuzz_targets/TARGET.rs` is.
fn target(path: &str) -> Option<Target<'_>> {
    let (home, file) = path.split_once("/fuzz_targets/")?;
    Some(Target { home, name: file.strip_suffix(".rs")? })
}

/// Feeds one target and says how many inputs it took; none, with its report on the terminal, when one of them broke it.
fn feed(root: &Path, target: &Target<'_>) -> Result<Option<u64>> {
    let name = target.name;
    let home = root.join("target/fuzz");
    let (corpus, found) = (home.join("corpus").join(name), home.join("found"));
    for folder in [&corpus, &found] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut command = build(root, target.home, "run");
    command.args(["--quiet", "--bin", name, "--"]).arg(&corpus);
    // Libfuzzer writes to the first folder only.
    command.args(Some(root.join(target.home).join("corpus").join(name)).filter(|stored| stored.is_dir()));
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
fn build(root: &Path, home: &str, what: &str) -> Command {
    let mut command = cargo::command(&root.join(home));
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
    use super::{Target, inputs, target};

    #[test]
    fn a_file_is_a_target_of_its_workspace() {
        let expect = Target { home: "crates/server/fuzz", name: "http_head" };
        assert_eq!(target("crates/server/fuzz/fuzz_targets/http_head.rs"), Some(expect));
    }

    #[test]
    fn a_target_that_ran_nothing_has_not_passed() {
        assert_eq!(inputs("Done\nstat::number_of_executed_units: 1816552\nstat::peak_rss_mb: 29"), Some(1_816_552));
        assert_eq!(inputs("stat::number_of_executed_units: 0"), None);
        assert_eq!(inputs("error: no such target"), None);
    }
}
