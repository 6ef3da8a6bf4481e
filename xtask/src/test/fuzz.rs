//! The fuzz targets of the codecs, each for some seconds: `crates/protocol/fuzz/fuzz_targets`.
//!
//! They are plain programs around libFuzzer, built with the coverage that guides it by the compiler of the project:
//! the codecs have no `unsafe` code, so the sanitizers, for which `cargo fuzz` wants nightly, would find nothing.
//! What was worth keeping stays below `target/fuzz`, so that the next run begins where this one ends.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::summary::Counts;
use super::{Bench, cargo, needs, stream};

const HOME: &str = "crates/protocol/fuzz";
const TARGETS: &str = "crates/protocol/fuzz/fuzz_targets";

/// Seconds for each target: between one and three million inputs.
const SECONDS: u32 = 10;

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
    let mut counts = Counts::default();
    for name in files.iter().filter_map(|path| Path::new(path).file_stem()?.to_str()) {
        if passes(bench.root, name)? {
            counts.passed += 1;
        } else {
            counts.failed += 1;
        }
    }
    Ok(counts)
}

/// Feeds one target; false, with its report on the terminal, when an input broke it.
fn passes(root: &Path, name: &str) -> Result<bool> {
    let home = root.join("target/fuzz");
    let (corpus, found) = (home.join("corpus").join(name), home.join("found"));
    for folder in [&corpus, &found] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut command = build(root, "run");
    command.args(["--quiet", "--bin", name, "--"]).arg(&corpus);
    command.arg(format!("-artifact_prefix={}/{name}-", found.display())).arg(format!("-max_total_time={SECONDS}"));
    command.args(["-timeout=5", "-verbosity=0", "-print_final_stats=1"]);
    let output = command.output().with_context(|| name.to_owned())?;
    let report = String::from_utf8_lossy(&output.stderr);
    match inputs(&report).filter(|_| output.status.success()) {
        Some(inputs) => println!("{name}: {inputs} inputs"),
        None => println!("{name}: broken\n{report}"),
    }
    Ok(output.status.success() && inputs(&report).is_some())
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
