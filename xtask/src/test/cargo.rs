//! What cargo does for the tests: Rust tests, doc tests, and the binary that the other stages run.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::summary::Counts;
use super::{needs, stream};

/// All Rust tests but those in documentation: units, transcripts, crates' `tests/`, examples.
pub(super) fn units(root: &Path, filter: Option<&str>) -> Result<Counts> {
    for find in [needs::openssl, needs::strace, needs::redis, needs::nats] {
        find().map_err(anyhow::Error::msg)?;
    }
    test(root, &["--lib", "--bins", "--tests", "--examples"], filter)
}

/// The examples in the documentation.
pub(super) fn docs(root: &Path, filter: Option<&str>) -> Result<Counts> {
    test(root, &["--doc"], filter)
}

/// Builds `oyez` and every example program; gives the folder in which cargo puts them.
///
/// This tool is left out, since it runs while cargo would replace it. It lies in the same folder.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    let args = ["build", "--workspace", "--exclude", "xtask", "--bins", "--examples"];
    ensure!(stream::succeeds(command(root).args(args)), "the binary does not build: see above");
    let tool = env::current_exe().context("cannot find this tool")?;
    tool.parent().map(Path::to_path_buf).context("this tool lies in no folder")
}

fn test(root: &Path, targets: &[&str], filter: Option<&str>) -> Result<Counts> {
    let mut counts = Counts::default();
    let mut command = command(root);
    command.args(["test", "--workspace", "--no-fail-fast"]).args(targets).args(filter).args(["--", "--quiet"]);
    let success = stream::lines(&mut command, |line| {
        add(&mut counts, line);
        !(line.is_empty() || line == "running 0 tests" || line.contains(" 0 passed; 0 failed; 0 ignored;"))
    })?;
    Ok(counts.and_exit(success))
}

/// The cargo that runs this tool, else the one on the path.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(folder);
    command
}

/// Adds one line such as `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; …`.
fn add(counts: &mut Counts, line: &str) {
    let Some((_, result)) = line.split_once("test result: ").and_then(|(_, rest)| rest.split_once(". ")) else {
        return;
    };
    for part in result.split("; ") {
        let Some((number, what)) = part.split_once(' ') else { continue };
        let Ok(number) = number.parse::<u32>() else { continue };
        match what {
            "passed" => counts.passed += number,
            "failed" => counts.failed += number,
            "ignored" => counts.skipped += number,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_crates_add_up() {
        let mut counts = Counts::default();
        for line in [
            "running 4 tests",
            "test passed; 9 failed ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
        ] {
            add(&mut counts, line);
        }
        assert_eq!((counts.passed, counts.failed, counts.skipped), (4, 2, 1));
    }
}
