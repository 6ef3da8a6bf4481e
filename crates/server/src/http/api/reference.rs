//! `docs/http-reference.md`: the OpenAPI document as a page, so that it can be read without a node.

use std::fmt::Write as _;

use serde_json::Value;

const HEAD: &str = "# HTTP reference

Generated from the code: `cargo xtask docs`. Every operation and body of the HTTP API, as `/api/openapi.json` and
`/api/docs` of a node have them; [http-api.md](http-api.md) says what to use them for. A refusal has the body
[`ErrorBody`](#errorbody), whose `code` is a name of [the table](codes.md).
";

/// Every operation, by tag, and every body, as Markdown.
#[must_use]
pub fn reference() -> String {
    let (_, document) = super::routes().split_for_parts();
    // It holds nothing that cannot be written as JSON.
    let document = serde_json::to_value(&document).unwrap_or_default();
    let mut out = HEAD.to_owned();
    for tag in items(&document["tags"]) {
        let _ = write!(out, "\n## {}\n\n{}.\n", text(&tag["name"]), text(&tag["description"]));
        for (path, operations) in entries(&document["paths"]) {
            for (method, operation) in entries(operations).filter(|(_, operation)| operation["tags"][0] == tag["name"])
            {
                describe(&mut out, &format!("{} {path}", method.to_uppercase()), operation);
            }
        }
    }
    out.push_str("\n## Bodies\n");
    for (name, schema) in entries(&document["components"]["schemas"]) {
        body(&mut out, name, schema);
    }
    out
}

fn describe(out: &mut String, title: &str, operation: &Value) {
    let _ = write!(out, "\n### `{title}`\n\n{}\n", text(&operation["summary"]));
    if let Some(more) = operation["description"].as_str() {
        let _ = write!(out, "\n{more}\n");
    }
    let needs: Vec<_> = items(&operation["security"]).flat_map(entries).map(|(name, _)| format!("`{name}`")).collect();
    if !needs.is_empty() {
        let _ = write!(out, "\nAsks for: {}.\n", needs.join(" or "));
    }
    let body = &operation["requestBody"]["content"];
    for (_, content) in entries(body) {
        let _ = write!(out, "\nBody: {}.\n", kind(&content["schema"]));
    }
    let mut parameters = items(&operation["parameters"]).peekable();
    if parameters.peek().is_some() {
        out.push_str("\n| parameter | in | type | meaning |\n|---|---|---|---|\n");
    }
    for parameter in parameters {
        let [name, place, meaning] = ["name", "in", "description"].map(|key| cell(&parameter[key]));
        let _ = writeln!(out, "| `{name}` | {place} | {} | {meaning} |", kind(&parameter["schema"]));
    }
    out.push_str("\n| status | body | meaning |\n|---|---|---|\n");
    for (status, response) in entries(&operation["responses"]) {
        let bodies: Vec<_> = entries(&response["content"]).map(|(_, content)| kind(&content["schema"])).collect();
        let _ = writeln!(out, "| {status} | {} | {} |", bodies.join(", "), cell(&response["description"]));
    }
}

fn body(out: &mut String, name: &str, schema: &Value) {
    let _ = write!(out, "\n### `{name}`\n\n{}\n", text(&schema["description"]));
    if schema["properties"].is_null() {
        let _ = write!(out, "\n{}.\n", kind(schema));
        return;
    }
    out.push_str("\n| field | type | needed | meaning |\n|---|---|---|---|\n");
    for (field, about) in entries(&schema["properties"]) {
        let needed = if items(&schema["required"]).any(|name| name == field) { "yes" } else { "" };
        let _ = writeln!(out, "| `{field}` | {} | {needed} | {} |", kind(about), cell(&about["description"]));
    }
}

/// What a value is, in words; what has a body of its own is a link.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return format!("[`{name}`](#{})", name.to_lowercase());
    }
    for several in ["oneOf", "anyOf", "allOf"] {
        let kinds: Vec<_> = items(&schema[several])
            .filter(|one| one["type"] != "null")
            .map(kind)
            .filter(|kind| !kind.is_empty())
            .collect();
        if !kinds.is_empty() {
            return kinds.join(" or ");
        }
    }
    let words: Vec<_> = items(&schema["enum"]).map(|word| format!("`{}`", text(word))).collect();
    if !words.is_empty() {
        return words.join(", ");
    }
    let named = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter(|kind| *kind != "null").map(text).collect::<Vec<_>>().join(" or "),
        one => text(one).to_owned(),
    };
    match named.as_str() {
        "array" => format!("list of {}", kind(&schema["items"])),
        "" => "any JSON".to_owned(),
        _ => named,
    }
}

/// A text that fits into a table.
fn cell(value: &Value) -> String {
    text(value).replace('\n', " ").replace('|', "\\|")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}
