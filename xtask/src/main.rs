//! The project's own tools: `cargo xtask tidy | test | bench | siege | docs`.
#![allow(clippy::print_stdout, reason = "a tool talks to its terminal")]

mod bench;
mod docs;
mod siege;
mod test;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// The project's own tools. Each exits with 1 when something is wrong.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Command {
    /// Check the rules of the house that the compiler does not know.
    Tidy,
    /// Install what tests need and is missing, then run all tests.
    Test(test::Options),
    /// Measure Oyez beside its peers. Installs them first, by cargo, npm, pip and apt. All of it takes about 40 minutes
    /// and writes docs/benchmarks.md; a part of it does not.
    Bench(bench::Options),
    /// Attack the release build and load it; prints figures. All of it takes long, so name what you want.
    Siege(siege::Options),
    /// Regenerate the pages that come from the code.
    Docs(docs::Options),
}

fn main() -> ExitCode {
    let root = root();
    let outcome = match Command::parse() {
        Command::Tidy => tidy::run(&root),
        Command::Test(options) => test::run(&root, &options),
        Command::Bench(options) => bench::run(&root, &options),
        Command::Siege(options) => siege::run(&root, &options),
        Command::Docs(options) => docs::run(&root, &options),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's root: where this crate was built from, one folder up.
fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}
