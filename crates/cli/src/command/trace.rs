//! `oyez trace`: why a user did not get a message, over the HTTP API.

use std::fmt::Write as _;

use clap::Args;
use form_urlencoded::byte_serialize;
use oyez_hub::policy::expression::iso_millis;
use serde_json::Value;

use crate::api::Api;
use crate::failure::Failure;
use crate::say;

/// Say what became of a durable message with a user: why did they not get it?
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct Options {
    /// The message, as the publisher's answer names it
    #[arg(value_name = "MESSAGE-ID")]
    id: String,
    /// The user
    #[arg(long, value_name = "USER")]
    user: String,
    #[command(flatten)]
    api: Api,
    /// The app, where the key is for several
    #[arg(short, long, value_name = "NAME")]
    app: Option<String>,
    /// Print the server's answer as it is
    #[arg(long)]
    json: bool,
}

const AFTER: &str = "\
Examples:
  oyez trace order-7 --user 42
  oyez trace order-7 --user 42 --url https://push.example.com --json

The key needs the right `read`. Live publications are not kept, and leave no trace.
Exit codes: 0 there is an answer, whatever it is; 1 no such message is known, or the server cannot be asked; 2 the command \
line is wrong.";

/// Asks and prints the answer.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut path = format!("/api/v1/messages/{}/trace?user={}", segment(&options.id), segment(&options.user));
    if let Some(app) = &options.app {
        let _ = write!(path, "&app={}", segment(app));
    }
    let answer = options.api.get("trace", &path)?;
    if options.json {
        say::line(answer.trim());
        return Ok(());
    }
    let wrong = |error| Failure::new(format!("the server answered something else: {error}"));
    say::text(told(&serde_json::from_str(&answer).map_err(wrong)?));
    Ok(())
}

/// A text as part of a path or a query.
fn segment(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// The answer for people: what explains it best, and then what happened, in order.
fn told(answer: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut out = format!("{}\n\n", text(&answer["summary"]));
    let mut row = |name: &str, what: &str| {
        let _ = writeln!(out, "  {name:<10} {what}");
    };
    let at = |value: &Value| value.as_u64().map(iso_millis);
    row("verdict", &text(&answer["verdict"]));
    row("stored", &at(&answer["stored_at"]).unwrap_or_default());
    if let Some(due) = at(&answer["scheduled_for"]) {
        row("due", &due);
    }
    for (kind, name) in answer["via"].as_object().into_iter().flatten() {
        row("via", &format!("{kind} {}", text(name)));
    }
    let handed = answer["handed"].as_u64().filter(|handed| *handed > 0);
    let handed = handed.map_or_else(String::new, |handed| format!(", handed to {handed}"));
    row("connected", &format!("{}{handed}", answer["connections"]));
    if let Some(silent) = answer["silent"].as_array() {
        let nodes: Vec<_> = silent.iter().map(Value::to_string).collect();
        row("silent", &format!("node(s) {}", nodes.join(", ")));
    }
    if let Some(first) = at(&answer["sent"]["first_at"]) {
        row("sent", &format!("{first}, {} in all", answer["sent"]["times"]));
    }
    if let Some(when) = at(&answer["withheld"]["at"]) {
        row("withheld", &format!("{when}, {}", text(&answer["withheld"]["reason"])));
    }
    for state in ["delivered", "seen", "read", "archived"] {
        if let Some(when) = at(&answer["reached"][state]) {
            row(state, &when);
        }
    }
    if let Some(when) = at(&answer["gone"]["at"]) {
        row(&text(&answer["gone"]["why"]), &when);
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_is_told_in_the_order_of_what_happened() {
        let answer = json!({
            "summary": "It is so.", "verdict": "deleted", "stored_at": 0, "via": {"user": "42"}, "connections": 2,
            "handed": 1, "silent": [300, 7], "sent": {"first_at": 1_000, "times": 2}, "reached": {"read": 3_000, "delivered": 2_000},
            "gone": {"why": "deleted", "at": 4_000},
        });
        let expect = "It is so.

  verdict    deleted
  stored     1970-01-01T00:00:00.000Z
  via        user 42
  connected  2, handed to 1
  silent     node(s) 300, 7
  sent       1970-01-01T00:00:01.000Z, 2 in all
  delivered  1970-01-01T00:00:02.000Z
  read       1970-01-01T00:00:03.000Z
  deleted    1970-01-01T00:00:04.000Z
";
        assert_eq!(told(&answer), expect);
    }

    #[test]
    fn names_keep_their_characters_on_the_way() {
        assert_eq!(segment("a b/ü?&+"), "a%20b%2F%C3%BC%3F%26%2B");
    }
}
