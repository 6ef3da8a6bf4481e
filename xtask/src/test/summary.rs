//! What ran, what it came to, and whether that is good enough.

use std::fmt;
use std::time::Duration;

/// How many tests a stage ran, and what there is to say about it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: u32,
    pub(super) failed: u32,
    pub(super) skipped: u32,
    /// Why tests were skipped, or why there are none.
    pub(super) note: Option<String>,
}

impl Counts {
    /// The stage itself went wrong: one failure.
    #[expect(clippy::needless_pass_by_value, reason = "it takes the error of a Result")]
    pub(super) fn broken(error: anyhow::Error) -> Self {
        Self { failed: 1, note: Some(format!("{error:#}")), ..Self::default() }
    }

    /// So many test files cannot run, for this reason.
    pub(super) fn missing(files: &[String], reason: String) -> Self {
        Self { skipped: u32::try_from(files.len()).unwrap_or(u32::MAX), note: Some(reason), ..Self::default() }
    }

    /// With those of other tests of the stage.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
            note: self.note.or(other.note),
        }
    }

    /// A runner that fails without naming a failed test (a crash, a build error) is one failure.
    pub(super) fn and_exit(mut self, success: bool) -> Self {
        if !success && self.failed == 0 {
            self.failed = 1;
            self.note = Some("the runner failed: see above".to_owned());
        }
        self
    }
}

/// A stage's line in the summary.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) stage: &'static str,
    pub(super) counts: Counts,
    pub(super) time: Duration,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { passed, failed, skipped, note } = &self.counts;
        write!(f, "{}: {passed} passed, {failed} failed, {skipped} skipped", self.stage)?;
        write!(f, " in {:.1} s", self.time.as_secs_f64())?;
        note.iter().try_for_each(|note| write!(f, " ({note})"))
    }
}

/// All stages and their total.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = format!("{:<10}{:>8}{:>8}{:>8}{:>10}\n", "stage", "passed", "failed", "skipped", "time");
    for Row { stage, counts, time } in rows {
        text += &line(stage, counts, *time);
    }
    let sum = |field: fn(&Counts) -> u32| rows.iter().map(|row| field(&row.counts)).fold(0, u32::saturating_add);
    let total = Counts {
        passed: sum(|counts| counts.passed),
        failed: sum(|counts| counts.failed),
        skipped: sum(|counts| counts.skipped),
        note: None,
    };
    text + &line("total", &total, rows.iter().map(|row| row.time).sum())
}

fn line(stage: &str, counts: &Counts, time: Duration) -> String {
    let Counts { passed, failed, skipped, note } = counts;
    let note = note.as_ref().map(|note| format!("  {note}")).unwrap_or_default();
    format!("{stage:<10}{passed:>8}{failed:>8}{skipped:>8}{:>8.1} s{note}\n", time.as_secs_f64())
}

/// Good when nothing failed and, in CI, nothing was skipped.
pub(super) fn verdict(rows: &[Row], ci: bool) -> bool {
    rows.iter().all(|row| row.counts.failed == 0 && !(ci && row.counts.skipped > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(passed: u32, failed: u32, skipped: u32) -> Row {
        Row { stage: "unit", counts: Counts { passed, failed, skipped, note: None }, time: Duration::from_millis(1500) }
    }

    #[test]
    fn a_skip_fails_in_ci_only() {
        assert!(verdict(&[row(1, 0, 0)], true));
        assert!(verdict(&[row(1, 0, 1)], false));
        assert!(!verdict(&[row(1, 0, 0), row(0, 0, 1)], true));
        assert!(!verdict(&[row(1, 1, 0)], false));
    }

    #[test]
    fn the_table_ends_with_the_total() {
        let table = table(&[row(3, 0, 1), row(2, 1, 0)]);
        assert_eq!(table.lines().last(), Some("total            5       1       1     3.0 s"));
    }

    #[test]
    fn a_runner_that_dies_is_a_failure() {
        assert_eq!(Counts::default().and_exit(false).failed, 1);
        assert_eq!(Counts { failed: 2, ..Counts::default() }.and_exit(false).failed, 2);
        assert_eq!(Counts::default().and_exit(true).failed, 0);
    }
}
