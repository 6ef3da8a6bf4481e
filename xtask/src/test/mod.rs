//! `cargo xtask test`: installs what tests need and is missing, then runs every test there is and counts.
//!
//! Nothing is passed over in silence: what cannot run is counted as skipped, with the reason, and in CI a skip is a
//! failure.

mod browser;
pub(crate) mod cargo;
mod clients;
mod fuzz;
pub(crate) mod needs;
mod node;
pub(crate) mod stream;
mod summary;

use std::env;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::ValueEnum;

use summary::{Counts, Row};

/// The programs that tests run: the variable in which a test finds its path, and where cargo puts it.
const PROGRAMS: &[(&str, &str)] = &[("OYEZ_BIN", "oyez"), ("OYEZ_CONFORMANCE_BIN", "examples/conformance")];

/// How `cargo xtask test` is called.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Run only what contains this: in the path of a Rust test, or of a JavaScript or Python test file.
    filter: Option<String>,
    /// Run only these stages (repeat it for several).
    #[arg(long, value_enum)]
    only: Vec<Stage>,
    /// A skipped test is a failure. Set by the variable CI, too.
    #[arg(long)]
    ci: bool,
}

/// One kind of tests, in the order in which they run: the quick ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// Rust tests: units, transcripts, examples.
    Unit,
    /// The examples in the documentation.
    Doc,
    /// Codecs and parsers against made-up bytes, some seconds each: `crates/*/fuzz`.
    Fuzz,
    /// Stock JavaScript clients against the real binary: `tests/e2e`, `examples/*/e2e`.
    E2e,
    /// Pages in headless Chromium: `tests/browser`.
    Browser,
    /// Stock clients in other languages: `tests/clients`.
    Clients,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Doc => "doc",
            Self::Fuzz => "fuzz",
            Self::E2e => "e2e",
            Self::Browser => "browser",
            Self::Clients => "clients",
        }
    }
}

/// Runs the chosen stages and prints the summary; false when a test failed, or in CI was skipped.
pub(crate) fn run(root: &Path, options: &Options) -> Result<bool> {
    let ci = options.ci || env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"));
    let chosen = |stage: &&Stage| options.only.is_empty() || options.only.contains(stage);
    let mut bench = Bench { root, filter: options.filter.as_deref(), built: None };
    let mut rows = Vec::new();
    for stage in Stage::value_variants().iter().filter(chosen) {
        println!("── {}", stage.name());
        let start = Instant::now();
        let counts = bench.run(*stage).unwrap_or_else(Counts::broken);
        let row = Row { stage: stage.name(), counts, time: start.elapsed() };
        println!("── {row}");
        rows.push(row);
    }
    println!("\n{}", summary::table(&rows));
    Ok(summary::verdict(&rows, ci))
}

/// What the stages share.
struct Bench<'a> {
    root: &'a Path,
    filter: Option<&'a str>,
    /// Where the programs under test lie, once they are built.
    built: Option<PathBuf>,
}

impl Bench<'_> {
    fn run(&mut self, stage: Stage) -> Result<Counts> {
        match stage {
            Stage::Unit => cargo::units(self.root, self.filter),
            Stage::Doc => cargo::docs(self.root, self.filter),
            Stage::Fuzz => fuzz::run(self),
            Stage::E2e => node::run(self),
            Stage::Browser => browser::run(self),
            Stage::Clients => clients::run(self),
        }
    }

    /// The test files that `wanted` accepts by their path from the root, sorted, filter applied.
    fn files(&self, folders: &[&str], wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
        let mut files = Vec::new();
        for folder in folders {
            gather(self.root, folder, &mut files)?;
        }
        files.retain(|path| wanted(path) && self.filter.is_none_or(|filter| path.contains(filter)));
        files.sort();
        Ok(files)
    }

    /// The counts of a stage that has no files to run.
    fn nothing(&self) -> Counts {
        let note = if self.filter.is_some() { "no file matches the filter" } else { "no test files" };
        Counts { note: Some(note.to_owned()), ..Counts::default() }
    }

    /// The variables that name the programs under test, which are built when first asked for.
    fn programs(&mut self) -> Result<Vec<(&'static str, PathBuf)>> {
        let folder = match &mut self.built {
            Some(folder) => folder,
            none => none.insert(cargo::build(self.root)?),
        };
        Ok(PROGRAMS.iter().map(|(variable, program)| (*variable, folder.join(program))).collect())
    }
}

/// Adds all files below a folder, by their paths from the root; a folder that is not there has none.
fn gather(root: &Path, folder: &str, files: &mut Vec<String>) -> Result<()> {
    let path = root.join(folder);
    if !path.is_dir() {
        return Ok(());
    }
    for entry in path.read_dir().with_context(|| format!("cannot list {folder}"))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let below = format!("{folder}/{name}");
        if !entry.file_type()?.is_dir() {
            files.push(below);
        } else if !matches!(name.as_str(), "node_modules" | "target" | "vendor") {
            gather(root, &below, files)?;
        }
    }
    Ok(())
}
