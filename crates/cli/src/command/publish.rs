//! `oyez publish`: say something to those who listen, over the HTTP API.

use std::io::Read as _;

use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::api::Api;
use crate::failure::Failure;
use crate::say;

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
}

const AFTER: &str = "\
Examples:
  oyez publish user:demo notification '{\"title\": \"Hello\"}'
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
}

/// Publishes and prints the answer.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let text = if options.data == "-" { stdin()? } else { options.data.clone() };
    let data = serde_json::from_str::<&RawValue>(&text).map_err(|error| {
        Failure::new(format!("the payload is not JSON: {error}")).help("text needs quotes of its own: '\"hello\"'")
    })?;
    let Options { api, app, to, event, id, .. } = options;
    let publication = Publication { app: app.as_deref(), to, event, data, id: id.as_deref() };
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
