//! A server's HTTP API, for the commands that ask it for something.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use oyez_backends::http::{HttpFetch, HttpOptions};
use oyez_hub::policy::fetch::{Fetch as _, FetchRequest, FetchResponse, Method};
use serde_json::Value;
use tokio::runtime::{Builder, Handle};

use crate::command;
use crate::failure::Failure;
use crate::secrets::{self, Secrets};
use crate::trust::{self, Trust};

/// How long the server may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a sentence that is shown.
const SENTENCE: usize = 200;

/// Whom to ask, and the right to.
#[derive(Debug, Args)]
pub(crate) struct Api {
    /// The server
    #[arg(long, value_name = "URL", default_value = command::DEFAULT_URL)]
    url: String,
    #[command(flatten)]
    trust: Trust,
    /// The key; without it, and for a server on this machine, that of `oyez dev`
    #[arg(long, value_name = "KEY", env = "OYEZ_API_KEY", hide_env_values = true)]
    key: Option<String>,
}

impl Api {
    /// Asks for `what` (a verb) with this JSON and gives the answer's text.
    pub(crate) fn post(&self, what: &str, path: &str, body: Vec<u8>) -> Result<String, Failure> {
        self.ask(what, Method::Post, path, body)
    }

    /// Asks for `what` (a verb) and gives the answer's text.
    pub(crate) fn get(&self, what: &str, path: &str) -> Result<String, Failure> {
        self.ask(what, Method::Get, path, Vec::new())
    }

    fn ask(&self, what: &str, method: Method, path: &str, body: Vec<u8>) -> Result<String, Failure> {
        if !["http://", "https://"].iter().any(|scheme| self.url.starts_with(scheme)) {
            let help = format!("write --url http://{}", self.url);
            return Err(Failure::new(format!("{} is no URL of a server", self.url)).help(help));
        }
        let request = FetchRequest {
            method,
            url: format!("{}{path}", self.url.trim_end_matches('/')),
            headers: vec![
                ("authorization".to_owned(), format!("Bearer {}", self.key(what)?)),
                ("content-type".to_owned(), "application/json".to_owned()),
            ],
            body: body.into(),
            timeout: TIMEOUT,
            private: true,
        };
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::new(format!("cannot start: {error}")))?;
        let http = HttpOptions { extra_roots: self.trust.pem()?, ..HttpOptions::default() };
        let answer = runtime.block_on(async {
            let client = HttpFetch::new(Handle::current(), &http)?;
            client.fetch(request).await
        });
        let unreachable = |error: &dyn std::fmt::Display| {
            let failure = Failure::new(format!("cannot {what} at {}: {error}", self.url));
            failure.help(trust::remedy(&error.to_string()).unwrap_or("is the server running? see --url"))
        };
        verdict(&answer.map_err(|error| unreachable(&error))?)
    }

    fn key(&self, what: &str) -> Result<String, Failure> {
        if let Some(key) = self.key.clone().filter(|key| !key.is_empty()) {
            return Ok(key);
        }
        // The key of `oyez dev` is for this machine; no other should see it.
        let kept = if command::is_local(&self.url) { Secrets::kept(Path::new(secrets::FILE))? } else { None };
        let missing = || Failure::new(format!("there is no key to {what} with"));
        kept.and_then(|kept| kept.env("OYEZ_API_KEY"))
            .ok_or_else(|| missing().help("set OYEZ_API_KEY, or write --key KEY"))
    }
}

fn verdict(answer: &FetchResponse) -> Result<String, Failure> {
    let body = String::from_utf8_lossy(&answer.body);
    if answer.status == 200 {
        return Ok(body.into_owned());
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
