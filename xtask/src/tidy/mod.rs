//! `cargo xtask tidy`: the rules of the house that the compiler does not know.
//!
//! Every rule is a pure function from a path and its text to findings, so that its test is a string; only this file
//! reads the tree. What git ignores and what lies in a folder named `vendor` is not looked at.
//!
//! Tests keep the same limits as all other code: a long table of cases belongs into a `const` beside the test.

mod arrows;
mod functions;
mod names;
mod pages;
#[cfg(test)]
mod tests;
mod tokens;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use proc_macro2::TokenStream;

/// The most lines a source file may have.
const FILE_LINES: usize = 500;
/// What counts as a script.
const SCRIPTS: &[&str] = &[".js", ".mjs", ".cjs", ".jsx", ".ts", ".mts", ".tsx", ".vue"];

/// A rule that is broken, and where. Prints as `path:line: rule: what to do`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    rule: &'static str,
    remedy: String,
}

impl Finding {
    fn new(path: &str, line: usize, rule: &'static str, remedy: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, rule, remedy: remedy.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.rule, self.remedy)
    }
}

/// Checks the tree and prints what it finds; false when it finds something.
pub(crate) fn run(root: &Path) -> Result<bool> {
    let tree = read(root)?;
    let findings = check(&tree);
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => println!("tidy: {} files, nothing to do", tree.len()),
        n => println!("tidy: {n} to do"),
    }
    Ok(findings.is_empty())
}

/// Every text file that git knows or would add, by its path from the root with forward slashes.
fn read(root: &Path) -> Result<BTreeMap<String, String>> {
    let args = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").current_dir(root).args(args).output().context("git, which lists the files")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim());
    let names = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    let mut tree = BTreeMap::new();
    for name in names.split_terminator('\0').filter(|name| !name.split('/').any(|part| part == "vendor")) {
        // Listed but deleted in the work tree: nothing to check. Not UTF-8 (a picture): only its name counts.
        if let Ok(bytes) = fs::read(root.join(name)) {
            tree.insert(name.to_owned(), String::from_utf8(bytes).unwrap_or_default());
        }
    }
    Ok(tree)
}

/// All rules over all files, sorted by place.
fn check(tree: &BTreeMap<String, String>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = tree.iter().flat_map(|(path, text)| check_file(path, text)).collect();
    findings.extend(pages::unlinked(tree));
    findings.extend(pages::unexplained(tree));
    findings.extend(pages::unproven(tree));
    findings.sort();
    findings
}

/// The rules that need one file only.
fn check_file(path: &str, text: &str) -> Vec<Finding> {
    if path.ends_with(".rs") {
        return [names::file(path), size(path, text), check_rust(path, text)].concat();
    }
    if SCRIPTS.iter().any(|end| path.ends_with(end)) {
        return [names::file(path), size(path, text), names::script(path, text)].concat();
    }
    if path.ends_with("Cargo.toml") {
        return arrows::manifest(path, text);
    }
    Vec::new()
}

fn check_rust(path: &str, text: &str) -> Vec<Finding> {
    let tokens = match TokenStream::from_str(text) {
        Ok(tokens) => tokens,
        Err(error) => return vec![Finding::new(path, error.span().start().line, "syntax", error.to_string())],
    };
    let mut findings = functions::check(path, text);
    findings.extend(names::rust(path, &tokens));
    findings.extend(arrows::source(path, &tokens));
    if !text.starts_with("//!") {
        findings.push(Finding::new(path, 1, "module-doc", "open the file with `//!` and say what it is for"));
    }
    findings
}

fn size(path: &str, text: &str) -> Vec<Finding> {
    let lines = text.lines().count();
    if lines <= FILE_LINES {
        return Vec::new();
    }
    let remedy = format!("{lines} lines, at most {FILE_LINES}: split the file where it changes subject");
    vec![Finding::new(path, lines, "file-size", remedy)]
}
