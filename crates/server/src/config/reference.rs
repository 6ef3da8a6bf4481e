//! Writing `docs/configuration.md` from the schema, so that it cannot differ from what the reader accepts.

use std::collections::HashSet;
use std::fmt::Write;

use super::schema::backend::ASK;
use super::schema::{Kind, Otherwise, ROOT, Section};

const HEAD: &str = "# Configuration

Generated from the code: `cargo xtask docs`.

Two kinds of text are not plain: *expressions* are [CEL](https://cel.dev) (`{'siteId': data.siteId, 'at': now}`), and
*templates* are text with expressions in braces (`site:{data.siteId}`). In a template,
`{each(data.channels)}` stands for one channel per item of a list; without `each` a list is refused. `first(a, b, c)` is
the first that is there and not null. `now` is ISO 8601 with milliseconds; `now_ms`, `now_s` and `now_nanos` (RFC 3339)
are the same moment; `id` is the id of what is published.

";

/// The configuration reference in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut out = HEAD.to_owned();
    section(&ROOT, &mut out, &mut HashSet::new());
    section(&ASK, &mut out, &mut HashSet::new());
    out
}

fn section(section: &'static Section, out: &mut String, seen: &mut HashSet<&'static str>) {
    if !seen.insert(section.path) {
        return;
    }
    if !section.path.is_empty() {
        let _ = writeln!(out, "## `{}`\n", section.path);
    }
    let _ = writeln!(out, "{}\n\n| key | value | otherwise | meaning | example |\n|---|---|---|---|---|", section.doc);
    for key in section.keys {
        let otherwise = match key.otherwise {
            Otherwise::Required => "**required**".to_owned(),
            Otherwise::Nothing => String::new(),
            Otherwise::Value(value) => format!("`{}`", escaped(value)),
        };
        let example = escaped(&key.written(section.path));
        let (value, doc) = (value(key.kind), escaped(key.doc));
        let _ = writeln!(out, "| `{}` | {value} | {otherwise} | {doc} | `{example}` |", key.name);
    }
    out.push('\n');
    for key in section.keys {
        if let Kind::Table(inner) | Kind::Named(inner) | Kind::Tables(inner) = key.kind {
            self::section(inner, out, seen);
        }
    }
}

fn value(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".into(),
        Kind::Texts => "text, or a list".into(),
        Kind::Choices(words) => format!("some of {}", words.join(", ")),
        Kind::Bool => "true, false".into(),
        Kind::Choice(words) => format!("one of {}", words.join(", ")),
        Kind::Count(bounds) => {
            let none = if bounds.none { ", or `\"none\"`" } else { "" };
            format!("{} to {}{none}", grouped(bounds.least), grouped(bounds.most))
        }
        Kind::Duration => "duration in `ms`, `s`, `m`, `h` or `d`".into(),
        Kind::Size(bounds) => {
            let [least, most] = [bounds.least, bounds.most].map(grouped);
            format!("size in `B`, `KB`, `KiB`, `MB` or `MiB`, {least} to {most} bytes; a number is bytes")
        }
        Kind::Secrets => "text, `{ env = … }`, `{ file = … }`, or a list".into(),
        Kind::Expression => "expression".into(),
        Kind::Expressions => "expression, or a list".into(),
        Kind::Condition => "condition".into(),
        Kind::Right => "true, false, condition, or `{ ask = … }`".into(),
        Kind::Templates => "template, or a list".into(),
        Kind::Table(section) => format!("table: {}", link(section.path)),
        Kind::Named(section) => format!("a table per name: {}", link(section.path)),
        Kind::Tables(section) => format!("tables: {}", link(section.path)),
        Kind::ExpressionTable => "table of expressions".into(),
    }
}

/// A number with its thousands apart.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn link(path: &str) -> String {
    format!("[`{path}`](#{})", path.to_lowercase().replace('.', ""))
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|")
}
