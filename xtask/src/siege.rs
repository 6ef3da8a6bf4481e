//! `cargo xtask siege`: attacks and load on the release build, with what an operator would like to know of it as figures.
//! Each is a script `tests/siege/NAME.mjs`, which prints its figures as lines `what: figure` and fails when a promise is
//! broken.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::test::{cargo, needs};

/// Where the scripts are.
const FOLDER: &str = "tests/siege";

/// What a script needs on the machine.
type Need = fn() -> Result<(), String>;

/// Those that start servers of others.
const NEEDS: &[(&str, Need)] = &[("cluster", needs::redis), ("sources", needs::rabbitmq)];

/// How `cargo xtask siege` is called.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask siege --list\n  cargo xtask siege slowloris storm")]
pub(crate) struct Options {
    /// Which attacks; all of them when none is named
    names: Vec<String>,
    /// Show what there is, and run nothing
    #[arg(long)]
    list: bool,
}

/// Runs the named attacks, one after the other; false when a promise was broken.
pub(crate) fn run(root: &Path, options: &Options) -> Result<bool> {
    let known = scripts(root)?;
    if options.list {
        known.iter().for_each(|name| println!("{name}"));
        return Ok(true);
    }
    if let Some(name) = options.names.iter().find(|name| !known.contains(name)) {
        bail!("there is no attack `{name}`; there are {}", known.join(", "));
    }
    needs::node_packages(root).map_err(anyhow::Error::msg)?;
    let chosen: Vec<_> = known.iter().filter(|name| options.names.is_empty() || options.names.contains(name)).collect();
    for (_, need) in NEEDS.iter().filter(|(script, _)| chosen.iter().any(|name| name == script)) {
        need().map_err(anyhow::Error::msg)?;
    }
    let build = ["build", "--release", "--quiet", "--package", "oyez-cli"];
    if !cargo::command(root).args(build).status()?.success() {
        bail!("the release build failed: see above");
    }
    let mut held = true;
    for name in chosen {
        println!("── {name}");
        let script = root.join(FOLDER).join(format!("{name}.mjs"));
        let mut node = Command::new("node");
        node.current_dir(root).env("OYEZ_BIN", root.join("target/release/oyez")).arg(&script);
        held &= node.status().context("cannot run node")?.success();
    }
    Ok(held)
}

fn scripts(root: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in root.join(FOLDER).read_dir().with_context(|| format!("cannot list {FOLDER}"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".mjs").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}
