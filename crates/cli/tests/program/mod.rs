//! Runs the built program: to its end, or as a server until the test is over.

#![allow(dead_code, reason = "each test file is a program of its own and uses its part")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
pub(crate) const SECRET: &str = "a-secret-for-tests-0123456789abcdef";
pub(crate) const KEY: &str = "a-key-for-tests-0123456789abcdef";

/// What a finished run left behind.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Fails unless it exited with `code`, said `out` on stdout and `err` on stderr.
    pub(crate) fn expect(&self, code: i32, out: &[&str], err: &[&str]) {
        let Self { code: own, out: stdout, err: stderr } = self;
        let all = format!("exit {own:?}\nstdout:\n{stdout}\nstderr:\n{stderr}");
        assert_eq!(*own, Some(code), "{all}");
        out.iter().for_each(|part| assert!(stdout.contains(part), "stdout lacks {part:?}: {all}"));
        err.iter().for_each(|part| assert!(stderr.contains(part), "stderr lacks {part:?}: {all}"));
    }
}

/// The program with the variables of the examples and no others.
pub(crate) fn oyez(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oyez"));
    command.args(args).env_clear().current_dir(ROOT).stdin(Stdio::null());
    command.envs([("JWT_SECRET", SECRET), ("AUTH_SECRET", SECRET), ("OYEZ_API_KEY", KEY)]);
    command
}

/// Runs it to its end.
pub(crate) fn run(command: &mut Command) -> Ran {
    let output = command.output().expect("the program runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// Runs it in an empty directory, where it finds no file.
pub(crate) fn run_in(directory: &Path, args: &[&str]) -> Ran {
    run(oyez(args).current_dir(directory).env_remove("JWT_SECRET").env_remove("OYEZ_API_KEY"))
}

/// A run that goes on; killed with the test.
pub(crate) struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    /// Starts it.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program starts");
        let out = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Self { child, out }
    }

    /// The next line of its stdout.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("UTF-8");
        assert!(line.ends_with('\n'), "it ended: {:?}", self.child.try_wait());
        line.trim_end().to_owned()
    }

    /// The next line that contains `part`.
    pub(crate) fn line_with(&mut self, part: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(part) {
                return line;
            }
        }
    }

    /// The URL that it says it listens on.
    pub(crate) fn url(&mut self) -> String {
        let line = self.line();
        line.strip_prefix("Listening on ").unwrap_or_else(|| panic!("not ready: {line}")).to_owned()
    }

    /// Asks it to end, and waits until it has; gives what it still said.
    pub(crate) fn end(mut self, signal: Signal) -> (ExitStatus, String) {
        kill_process(Pid::from_child(&self.child), signal).expect("it still runs");
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.out, &mut rest).expect("UTF-8");
        (self.child.wait().expect("it ran"), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
