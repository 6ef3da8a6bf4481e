//! Runs a command, shows its output as it comes, and lets a parser read along.

use std::io::{BufRead, BufReader, Write, stdout};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// Runs the command with its errors on the terminal. Each line of its output goes to `read`, which says whether the
/// line is shown. True when the command succeeded.
pub(super) fn lines(command: &mut Command, mut read: impl FnMut(&str) -> bool) -> Result<bool> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().with_context(|| name.clone())?;
    let output = child.stdout.take().context("the output was just piped")?;
    let mut shown = stdout().lock();
    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        if read(&line) {
            writeln!(shown, "{line}")?;
        }
    }
    Ok(child.wait().context(name)?.success())
}

/// Runs the command with its output on the terminal; true when it succeeded, false also when it cannot be started.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).status().is_ok_and(|status| status.success())
}
