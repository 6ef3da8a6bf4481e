//! Which crate may know what: the arrows between crates, and what of the outside each may touch.

use proc_macro2::TokenStream;
use toml::{Table, Value};

use super::Finding;
use super::tokens::paths;

/// What one crate under `crates/` may and may not know.
struct Arrow {
    /// The folder under `crates/`.
    name: &'static str,
    /// The project's crates it may depend on.
    sees: &'static [&'static str],
    /// Dependencies it must not have, outside of its tests.
    without: &'static [&'static str],
    /// Paths that its code, outside of its tests, must not name.
    never: &'static [&'static str],
}

/// Folders whose work it is to touch what the rest of their crate must not.
const EXCEPTIONS: &[(&str, &str)] = &[("crates/backends/src/embedded/", "std::fs")];

const ARROWS: &[Arrow] = &[
    Arrow {
        name: "protocol",
        sees: &[],
        without: &["tokio", "tracing", "http", "hyper", "axum"],
        never: &["std::env", "std::fs", "std::net", "std::thread", "std::time::Instant", "std::time::SystemTime"],
    },
    Arrow {
        name: "hub",
        sees: &["protocol"],
        without: &["http", "hyper", "hyper-util", "axum", "reqwest", "tower", "tungstenite", "redis", "lapin"],
        never: &[
            "std::env",
            "std::fs",
            "tokio::fs",
            "tokio::net",
            "oyez_protocol::engineio",
            "oyez_protocol::socketio",
            "oyez_protocol::native",
            "oyez_protocol::websocket",
        ],
    },
    Arrow {
        name: "backends",
        sees: &["hub", "protocol"],
        without: &["axum"],
        never: &["std::env", "std::fs", "tokio::fs"],
    },
    Arrow {
        name: "server",
        sees: &["hub", "protocol"],
        without: &["reqwest", "redis", "lapin"],
        never: &["std::env", "std::fs", "tokio::fs"],
    },
    Arrow { name: "cli", sees: &["server", "backends", "hub"], without: &[], never: &[] },
];

/// The crate of a file under `crates/`: its folder's name, and its arrow when it has one.
///
/// A crate's fuzz targets and its build script are not part of what it is.
fn arrow(path: &str) -> Option<(&str, Option<&'static Arrow>)> {
    let (name, within) = path.strip_prefix("crates/")?.split_once('/')?;
    if within.starts_with("fuzz/") || within == "build.rs" {
        return None;
    }
    Some((name, ARROWS.iter().find(|arrow| arrow.name == name)))
}

/// Checks the dependencies that a crate's `Cargo.toml` names.
pub(super) fn manifest(path: &str, text: &str) -> Vec<Finding> {
    let Some((name, arrow)) = arrow(path) else { return Vec::new() };
    let Some(arrow) = arrow else {
        let remedy = format!("`{name}` is new: say in xtask/src/tidy/arrows.rs what it may see");
        return vec![Finding::new(path, 1, "arrow", remedy)];
    };
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return vec![Finding::new(path, 1, "syntax", error.to_string())],
    };
    let mut findings = Vec::new();
    for (section, dependency) in dependencies(&table) {
        let remedy = match dependency.strip_prefix("oyez-") {
            Some(other) if !arrow.sees.contains(&other) => format!("`{name}` must not see `{other}`"),
            None if section != "dev-dependencies" && arrow.without.contains(&dependency) => {
                format!("`{name}` does without `{dependency}`")
            }
            _ => continue,
        };
        findings.push(Finding::new(path, line_of(text, dependency), "arrow", remedy));
    }
    findings
}

/// Every dependency a manifest names, with the section it stands in; those of single platforms too.
pub(super) fn dependencies(table: &Table) -> Vec<(&str, &str)> {
    let platforms = table.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let tables = platforms.filter_map(Value::as_table).chain([table]);
    let sections = tables.flat_map(|table| {
        ["dependencies", "dev-dependencies", "build-dependencies"]
            .into_iter()
            .filter_map(|section| Some((section, table.get(section)?.as_table()?)))
    });
    sections.flat_map(|(section, table)| table.keys().map(move |name| (section, name.as_str()))).collect()
}

/// The first line on which a manifest names a dependency.
pub(super) fn line_of(text: &str, dependency: &str) -> usize {
    let named = |line: &str| line.strip_prefix(dependency).is_some_and(|rest| rest.starts_with([' ', '=', '.']));
    text.lines().position(named).map_or(1, |at| at + 1)
}

/// Checks the paths that a crate's code names. Tests may touch what they like.
pub(super) fn source(path: &str, tokens: &TokenStream) -> Vec<Finding> {
    let Some((name, Some(arrow))) = arrow(path) else { return Vec::new() };
    if path.contains("/tests/") || path.contains("/benches/") || path.ends_with("/tests.rs") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for named in paths(tokens) {
        let path_named = named.path.join("::") + "::";
        let excepted = |never: &str| EXCEPTIONS.iter().any(|(folder, free)| path.starts_with(folder) && *free == never);
        let names = |never: &&&str| path_named.starts_with(&format!("{never}::")) && !excepted(never);
        if let Some(never) = arrow.never.iter().find(names) {
            let remedy = format!("`{name}` must not use `{never}`{}", reason(never));
            findings.push(Finding::new(path, named.line, "arrow", remedy));
        }
    }
    findings
}

fn reason(path: &str) -> &'static str {
    match path {
        "std::env" | "std::fs" | "tokio::fs" => ": let `cli` read it and pass it in",
        "std::time::Instant" | "std::time::SystemTime" => ": take the time as an argument",
        _ => "",
    }
}
