//! `oyez publish`: say something to those who listen, over the HTTP API.

use std::io::Read as _;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::api::Api;
use crate::failure::Failure;
use crate::say;
use crate::who::lifetime;

/// The largest DATA that is read, in bytes; the server takes no more.
const MAX_DATA: u64 = 1024 * 1024;

/// Publish an event.
///
/// Prints the server's answer, {"id", "level"}, once the event has its place in the order.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct Options {
    /// The channel; * is everybody
    #[arg(value_name = "TO")]
    to: String,
    /// The event's name
    event: String,
    /// Its payload as JSON; - reads it from stdin
    #[arg(value_name = "DATA", default_value = "null", allow_hyphen_values = true)]
    data: String,
    #[command(flatten)]
    api: Api,
    /// The app, where the key is for several
    #[arg(short, long, value_name = "NAME")]
    app: Option<String>,
    /// An id by which clients recognise a repetition
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// What is promised, if not what the rule of the event says
    #[arg(long, value_name = "CLASS", value_parser = ["live", "recoverable", "durable"])]
    delivery: Option<String>,
    /// How certain a durable event must be before the answer
    #[arg(long, value_name = "LEVEL", value_parser = ["stored", "synced"])]
    level: Option<String>,
    /// How long a durable event is kept that nobody acknowledges: 90s, 30m, 1h, 7d
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    ttl: Option<Duration>,
    /// When a durable event is delivered, as in 2026-01-31T08:00:00Z
    #[arg(long, value_name = "MOMENT")]
    deliver_at: Option<String>,
    /// What it overtakes on its way to clients that read too slowly
    #[arg(long, value_name = "LANE", value_parser = ["urgent", "high", "normal", "low"])]
    priority: Option<String>,
    /// Who hears what becomes of a durable event: webhook, that of the file, or channel:NAME
    #[arg(long, value_name = "WHERE", value_parser = receipts)]
    receipts: Option<Value>,
}

const AFTER: &str = "\
Examples:
  oyez publish user:demo notification '{\"title\": \"Hello\"}'
  oyez publish user:42 alarm '{\"code\": 7}' --delivery durable --level synced --priority urgent
  date +'{\"now\": \"%T\"}' | oyez publish --url https://push.example.com site:1 clock -

Exit codes: 0 it is published; 1 it is not, and why is on stderr; 2 the command line is wrong.";

/// What the API takes. The payload goes out byte for byte.
#[derive(Debug, Serialize)]
struct Publication<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<&'a str>,
    to: &'a str,
    event: &'a str,
    data: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u128>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliver_at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipts: Option<&'a Value>,
}

/// Where receipts go, as the API takes it.
fn receipts(text: &str) -> Result<Value, String> {
    match text.split_once(':') {
        None if text == "webhook" => Ok(json!("webhook")),
        Some(("channel", name)) if !name.is_empty() => Ok(json!({ "channel": name })),
        _ => Err("write webhook, or channel:NAME".to_owned()),
    }
}

/// Publishes and prints the answer.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let text = if options.data == "-" { stdin()? } else { options.data.clone() };
    let data = serde_json::from_str::<&RawValue>(&text).map_err(|error| {
        Failure::new(format!("the payload is not JSON: {error}")).help("text needs quotes of its own: '\"hello\"'")
    })?;
    let Options { api, to, event, .. } = options;
    let publication = Publication {
        app: options.app.as_deref(),
        to,
        event,
        data,
        id: options.id.as_deref(),
        delivery: options.delivery.as_deref(),
        level: options.level.as_deref(),
        ttl_ms: options.ttl.map(|ttl| ttl.as_millis()),
        deliver_at: options.deliver_at.as_deref(),
        priority: options.priority.as_deref(),
        receipts: options.receipts.as_ref(),
    };
    let body = serde_json::to_vec(&publication).map_err(|error| Failure::new(error.to_string()))?;
    let answer = api.post("publish", "/api/v1/publish", body)?;
    say::line(answer.trim());
    Ok(())
}

fn stdin() -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(MAX_DATA + 1).read_to_string(&mut text);
    read.map_err(|error| Failure::new(format!("cannot read the payload: {error}")))?;
    if text.len() as u64 > MAX_DATA {
        return Err(Failure::new(format!("the payload is larger than {MAX_DATA} bytes")));
    }
    Ok(text)
}
