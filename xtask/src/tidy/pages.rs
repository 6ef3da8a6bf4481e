//! Pages that nobody can find, links that lead nowhere, dependencies that nobody explains, and threats whose tests are
//! not there.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::Finding;
use super::arrows::{dependencies, line_of};

/// The page that says what each dependency is for.
const EXPLAINED: &str = "docs/dependencies.md";
/// The page that names threats and the tests that show what meets them.
const THREATS: &str = "docs/security-model.md";

/// Every file under `docs/` is linked from another page, and every relative link leads to a file or folder.
pub(super) fn unlinked(tree: &BTreeMap<String, String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut linked = BTreeSet::new();
    for (page, text) in tree.iter().filter(|(path, _)| path.ends_with(".md")) {
        for (line, target) in links(text) {
            let target = resolve(page, target);
            let folder = format!("{target}/");
            if !target.is_empty() && !tree.contains_key(&target) && !tree.keys().any(|path| path.starts_with(&folder)) {
                findings.push(Finding::new(page, line, "dead-link", format!("there is no `{target}`")));
            }
            if target != *page {
                linked.insert(target);
            }
        }
    }
    let lonely = tree.keys().filter(|path| path.starts_with("docs/") && !linked.contains(*path));
    findings
        .extend(lonely.map(|path| Finding::new(path, 1, "unlinked-page", "link it from README.md or another page")));
    findings
}

/// Every dependency that a manifest of the workspace names has a row in `docs/dependencies.md`.
pub(super) fn unexplained(tree: &BTreeMap<String, String>) -> Vec<Finding> {
    let page = tree.get(EXPLAINED).map_or("", String::as_str);
    let mut first = BTreeMap::new(); // the root's manifest sorts before its members'
    for (path, text) in tree.iter().filter(|(path, _)| path.ends_with("Cargo.toml")) {
        let Ok(table) = text.parse::<Table>() else { continue }; // cargo itself reports it, and louder
        let shared =
            table.get("workspace").and_then(|workspace| workspace.get("dependencies")).and_then(Value::as_table);
        let shared = shared.into_iter().flat_map(Table::keys).map(String::as_str);
        for name in shared.chain(dependencies(&table).into_iter().map(|(_, name)| name)) {
            first.entry(name.to_owned()).or_insert_with(|| (path, line_of(text, name)));
        }
    }
    first.retain(|name, _| !name.starts_with("oyez") && !page.contains(&format!("`{name}`")));
    let finding = |(name, (path, line)): (String, (&String, usize))| {
        let remedy = format!("say in {EXPLAINED} what `{name}` is for and why this one");
        Finding::new(path, line, "unexplained-dependency", remedy)
    };
    first.into_iter().map(finding).collect()
}

/// Every threat of the security model names a test, as `[file](path): words`, whose words are in that file.
pub(super) fn unproven(tree: &BTreeMap<String, String>) -> Vec<Finding> {
    let rows = tree.get(THREATS).map_or("", String::as_str).lines();
    let rows = (1..).zip(rows).skip_while(|(_, row)| *row != "## Threats").filter(|(_, row)| row.starts_with('|'));
    let is_shown = |row: &str| {
        let (_, shown) = row.trim_end_matches([' ', '|']).rsplit_once(" | ")?;
        let (path, words) = shown.split_once("](")?.1.split_once("): ")?;
        let words = words.replace("\\|", "|");
        tree.get(&resolve(THREATS, path)).map(|test| test.contains(&words))
    };
    rows.skip(2)
        .filter(|(_, row)| is_shown(row) != Some(true))
        .map(|(line, _)| {
            Finding::new(THREATS, line, "unproven-threat", "name its test: `[file](path): words of its title`")
        })
        .collect()
}

/// The targets of a page's inline links, with their lines; code blocks and the outside world left out.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut fenced = false;
    let mut found = Vec::new();
    for (line, words) in (1..).zip(text.lines()) {
        if words.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for part in words.split("](").skip(1) {
            let target = part.split([')', '#', ' ']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains(':') && !target.starts_with('/') {
                found.push((line, target));
            }
        }
    }
    found
}

/// A link's path from the root.
fn resolve(page: &str, target: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in target.trim_end_matches('/').split('/') {
        match part {
            "." | "" => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}
