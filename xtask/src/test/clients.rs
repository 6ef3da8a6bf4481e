//! Stock clients in other languages: `tests/clients/*.py` with Python's own `unittest`.

use std::process::Command;

use anyhow::Result;

use super::summary::Counts;
use super::{Bench, needs, stream};

/// `python -m unittest -v`, with the report on the output, where it can be read.
const RUNNER: &str =
    "import sys, unittest as u; u.main(module=None, testRunner=u.TextTestRunner(stream=sys.stdout, verbosity=2))";

/// Runs `tests/clients/*.py` in an environment that has what `tests/clients/requirements.txt` names.
pub(super) fn run(bench: &mut Bench<'_>) -> Result<Counts> {
    let wanted = |path: &str| path.ends_with(".py");
    let files = bench.files(&["tests/clients"], wanted)?;
    if files.is_empty() {
        return Ok(bench.nothing());
    }
    let python = match needs::python(bench.root) {
        Ok(python) => python,
        Err(missing) => return Ok(Counts::missing(&files, missing)),
    };
    let programs = bench.programs()?;
    let mut command = Command::new(python);
    command.current_dir(bench.root.join("tests/clients")).envs(programs).env("PYTHONDONTWRITEBYTECODE", "1");
    command.args(["-c", RUNNER]);
    command.args(files.iter().filter_map(|path| path.strip_prefix("tests/clients/")?.strip_suffix(".py")));
    let mut report = Report::default();
    let success = stream::lines(&mut command, |line| {
        report.read(line);
        true
    })?;
    Ok(report.counts().and_exit(success))
}

/// The end of a report of `unittest`: `Ran 3 tests in 0.1s`, then `OK (skipped=1)` or `FAILED (failures=1, errors=1)`.
#[derive(Debug, Default)]
struct Report {
    ran: u32,
    failed: u32,
    skipped: u32,
}

impl Report {
    fn read(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("Ran ") {
            self.ran = rest.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(self.ran);
        }
        let Some(("OK" | "FAILED", rest)) = line.split_once(" (") else { return };
        for part in rest.trim_end_matches(')').split(", ") {
            let Some((what, number)) = part.split_once('=') else { continue };
            let Ok(number) = number.parse::<u32>() else { continue };
            match what {
                "failures" | "errors" | "unexpected successes" => self.failed += number,
                "skipped" | "expected failures" => self.skipped += number,
                _ => {}
            }
        }
    }

    fn counts(&self) -> Counts {
        let passed = self.ran.saturating_sub(self.failed + self.skipped);
        Counts { passed, failed: self.failed, skipped: self.skipped, note: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(report: &str, expect: (u32, u32, u32)) {
        let mut read = Report::default();
        report.lines().for_each(|line| read.read(line));
        let counts = read.counts();
        assert_eq!((counts.passed, counts.failed, counts.skipped), expect, "{report}");
    }

    #[test]
    fn reports_are_counted() {
        check("Ran 3 tests in 0.1s\n\nOK\n", (3, 0, 0));
        check("Ran 3 tests in 0.1s\n\nOK (skipped=1)\n", (2, 0, 1));
        check("Ran 5 tests in 0.1s\n\nFAILED (failures=1, errors=1, skipped=2)\n", (1, 2, 2));
    }
}
