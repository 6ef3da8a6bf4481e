//! `oyez publish`: say something to those who listen, over the HTTP API.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use oyez_backends::http::{HttpFetch, HttpOptions};
use oyez_hub::policy::fetch::{Fetch as _, FetchRequest, FetchResponse, Method};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::runtime::{Builder, Handle};

use crate::failure::Failure;
use crate::say;
use crate::secrets::{self, Secrets};
use crate::trust::{self, Trust};

/// How long the server may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The largest DATA that is read, in bytes; the server takes no more.
const MAX_DATA: u64 = 1024 * 1024;

/// Bytes of a sentence that is shown.
const SENTENCE: usize = 200;

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
    /// The server
    #[arg(long, value_name = "URL", default_value = super::DEFAULT_URL)]
    url: String,
    #[command(flatten)]
    trust: Trust,
    /// The key; without it, and for a server on this machine, that of `oyez dev`
    #[arg(long, value_name = "KEY", env = "OYEZ_API_KEY", hide_env_values = true)]
    key: Option<String>,
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
    let Options { app, to, event, id, .. } = options;
    let publication = Publication { app: app.as_deref(), to, event, data, id: id.as_deref() };
    let request = FetchRequest {
        method: Method::Post,
        url: format!("{}/api/v1/publish", options.url.trim_end_matches('/')),
        headers: vec![
            ("authorization".to_owned(), format!("Bearer {}", key(options)?)),
            ("content-type".to_owned(), "application/json".to_owned()),
        ],
        body: serde_json::to_vec(&publication).map_err(|error| Failure::new(error.to_string()))?.into(),
        timeout: TIMEOUT,
    };
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    let unreachable =
        |error: &dyn std::fmt::Display| Failure::new(format!("cannot publish at {}: {error}", options.url));
    let http = HttpOptions { extra_roots: options.trust.pem()?, ..HttpOptions::default() };
    let answer = runtime.block_on(async {
        let client = HttpFetch::new(Handle::current(), &http)?;
        client.fetch(request).await
    });
    let answer = answer.map_err(|error| {
        let help = trust::remedy(&error.to_string()).unwrap_or("is the server running? see --url");
        unreachable(&error).help(help)
    })?;
    verdict(&answer)
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

fn key(options: &Options) -> Result<String, Failure> {
    if let Some(key) = options.key.clone().filter(|key| !key.is_empty()) {
        return Ok(key);
    }
    // The key of `oyez dev` is for this machine; no other should see it.
    let kept = if super::is_local(&options.url) { Secrets::kept(Path::new(secrets::FILE))? } else { None };
    kept.and_then(|kept| kept.env("OYEZ_API_KEY"))
        .ok_or_else(|| Failure::new("there is no key to publish with").help("set OYEZ_API_KEY, or write --key KEY"))
}

fn verdict(answer: &FetchResponse) -> Result<(), Failure> {
    let body = String::from_utf8_lossy(&answer.body);
    if answer.status == 200 {
        say::line(body.trim());
        return Ok(());
    }
    let parsed: Value = serde_json::from_str(&body).unwrap_or_default();
    let reason = parsed.pointer("/error/message").and_then(Value::as_str).or_else(|| sentence(&body));
    Err(Failure::new(format!("the server answered {}: {}", answer.status, reason.unwrap_or("no reason given"))))
}

/// What an answer that is none of the API's says, if it is a word to a person, as that of a port that speaks TLS.
fn sentence(body: &str) -> Option<&str> {
    let line = body.trim();
    let plain = !line.is_empty() && line.len() <= SENTENCE && !line.starts_with(['<', '{']);
    (plain && !line.contains(char::is_control)).then_some(line)
}
