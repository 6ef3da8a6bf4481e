//! `cargo xtask docs`: writes the pages that are generated from the code, or checks that they are fresh.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::bench;
use crate::test::cargo;

/// What `oyez reference` is asked, and the page that its answer is.
const PAGES: &[(&str, &str)] = &[
    ("configuration", "docs/configuration.md"),
    ("codes", "docs/codes.md"),
    ("metrics", "docs/metrics.md"),
    ("cli", "docs/cli.md"),
    ("http", "docs/http-reference.md"),
];

/// How `cargo xtask docs` is called.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Change nothing; fail when a page is not what the code says.
    #[arg(long)]
    check: bool,
}

/// Builds the binary, asks it for each page, and writes or compares them. False when a page is stale.
pub(crate) fn run(root: &Path, options: &Options) -> Result<bool> {
    let binary = cargo::build(root)?.join("oyez");
    let mut fresh = true;
    for (name, page) in PAGES {
        let output = Command::new(&binary)
            .args(["reference", *name])
            .output()
            .with_context(|| format!("{}", binary.display()))?;
        let words =
            String::from_utf8(output.stdout).with_context(|| format!("`oyez reference {name}` is not UTF-8"))?;
        ensure!(output.status.success(), "`oyez reference {name}`: {}", String::from_utf8_lossy(&output.stderr).trim());
        ensure!(!words.is_empty(), "`oyez reference {name}` printed nothing");
        let path = root.join(page);
        if !options.check {
            fs::write(&path, words).with_context(|| format!("cannot write {page}"))?;
            println!("wrote {page}");
        } else if let Some(line) = first_difference(&fs::read_to_string(&path).unwrap_or_default(), &words) {
            println!("{page}:{line}: stale: run `cargo xtask docs` and commit the page");
            fresh = false;
        }
    }
    if options.check && !bench::is_fresh(root)? {
        println!("docs/benchmarks.md: stale: run `cargo xtask bench --report` and commit the page and its pictures");
        fresh = false;
    }
    Ok(fresh)
}

/// The first line, counted from 1, in which two texts differ.
fn first_difference(old: &str, new: &str) -> Option<usize> {
    let same = old.lines().zip(new.lines()).take_while(|(a, b)| a == b).count();
    (old != new).then_some(same + 1)
}

#[cfg(test)]
mod tests {
    use super::first_difference;

    #[test]
    fn the_first_different_line_is_named() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some(2));
        assert_eq!(first_difference("a\n", "a\nb\n"), Some(2));
        assert_eq!(first_difference("", "a\n"), Some(1));
    }
}
