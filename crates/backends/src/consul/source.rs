//! What changes in the health of a Consul's services, by its blocking queries: each is answered when something has
//! changed, or when its time is over.

use std::time::Duration;

use oyez_hub::source::{Arrival, Intake, Taken, Trouble};
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Certificate, Client, Response, StatusCode, redirect};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::services::{Check, Services, changes, services};
use crate::supervise::{BELIEVE, Fault, supervise, unbelieved};

/// How long one question may wait for something to change.
const WAIT: Duration = Duration::from_secs(300);

/// How long Consul may take beyond that: it adds up to a sixteenth, so that not all ask at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);

/// The least time between two questions, while something changes all the time.
const PACE: Duration = Duration::from_millis(100);

/// The least time after an answer that should have waited and did not: it is no Consul as it should be that answers.
const CALM: Duration = Duration::from_secs(5);

/// The longest answer that is read, in bytes.
const ANSWER_MAX: usize = 64 * 1024 * 1024;

/// By which addresses the rules know what has changed.
const CHANGED: &str = "consul.service.changed";
const UPDATED: &str = "consul.services.updated";

/// Whose health is followed, and where.
#[derive(Debug, Clone)]
pub struct Options {
    client: Client,
    url: String,
    services: Vec<String>,
    wait: Duration,
}

impl Options {
    /// These services, or all that `*` stands for, at the Consul of this URL.
    ///
    /// # Errors
    /// What is wrong with these, without showing the token.
    pub fn new(url: &str, services: &[String], token: Option<&str>, ca: Option<&str>) -> Result<Self, String> {
        // CONSUL_HTTP_ADDR often has no scheme.
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let mut token =
                HeaderValue::from_str(token).map_err(|_| "the token has characters that no header can have")?;
            token.set_sensitive(true);
            headers.insert("x-consul-token", token);
        }
        let mut builder = Client::builder()
            .user_agent(concat!("oyez/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT);
        if let Some(pem) = ca {
            builder = builder
                .tls_certs_merge(Certificate::from_pem_bundle(pem.as_bytes()).map_err(|error| error.to_string())?);
        }
        let client = builder.build().map_err(|error| error.to_string())?;
        Ok(Self { client, url: url.trim_end_matches('/').to_owned(), services: services.to_vec(), wait: WAIT })
    }

    /// How long one question waits.
    #[must_use]
    pub fn waiting(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    fn wants(&self, service: &str) -> bool {
        self.services.iter().any(|wanted| wanted == "*" || wanted == service)
    }

    fn place(&self) -> &str {
        let address = self.url.split_once("://").map_or(self.url.as_str(), |(_, address)| address);
        address.rsplit_once('@').map_or(address, |(_, place)| place)
    }
}

/// Follows the services until it is stopped.
pub async fn run(options: Options, intake: Intake, stop: CancellationToken) {
    // What was told last, also over connections that fail: what changed meanwhile is told then.
    let told = Mutex::new(None);
    supervise(&intake, &stop, || session(&options, &intake, &stop, &told)).await;
}

/// Asks until it is stopped, which is `Ok`, or something is wrong.
async fn session(
    options: &Options,
    intake: &Intake,
    stop: &CancellationToken,
    told: &Mutex<Option<Services>>,
) -> Result<(), Fault> {
    let mut told = told.lock().await;
    let mut index = 0;
    loop {
        let asked = Instant::now();
        let (checks, now) = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            answer = ask(options, index) => answer?,
        };
        if !intake.figures().is_working() {
            info!(event = "source_connected", app = intake.app_name(), source = intake.name(), place = options.place());
            intake.figures().works();
        }
        let new = services(&checks, |service| options.wants(service));
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            taken = tell(intake, told.as_ref(), &new) => if !taken { return Ok(()) },
        }
        *told = Some(new);
        let pace = if now == index { CALM.min(options.wait) } else { PACE };
        // An index that goes backwards is of a Consul that was restored or begun anew: all is asked for again.
        index = if now < index { 0 } else { now };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = sleep_until(asked + pace) => {}
        }
    }
}

/// What the checks are, once something has changed after `index` or the time is over, and the index then.
async fn ask(options: &Options, index: u64) -> Result<(Vec<Check>, u64), Fault> {
    let wait = options.wait.as_secs().max(1);
    let url = format!("{}/v1/health/state/any?index={index}&wait={wait}s", options.url);
    let most = options.wait + options.wait / 16 + PATIENCE;
    let response = options.client.get(url).timeout(most).send().await.map_err(|error| fault(error, options))?;
    let (status, next) = (response.status(), index_of(&response));
    if status != StatusCode::OK {
        let said = timeout(PATIENCE, read(response, 300)).await.ok().and_then(Result::ok).unwrap_or_default();
        return Err(refused(status, &String::from_utf8_lossy(&said), options));
    }
    // Without an index one would ask without end; zero does not wait.
    let next = next.ok_or_else(|| strange("the answer has no X-Consul-Index", options))?.max(1);
    let body = read(response, ANSWER_MAX + 1).await.map_err(|error| fault(error, options))?;
    if body.len() > ANSWER_MAX {
        let said = format!("the answer is too large: more than {} MiB", ANSWER_MAX >> 20);
        let help = "have fewer checks, or checks that print less".to_owned();
        return Err(Fault { trouble: Trouble::Other, said, help });
    }
    let checks = serde_json::from_slice(&body).map_err(|error| strange(&error.to_string(), options))?;
    Ok((checks, next))
}

fn index_of(response: &Response) -> Option<u64> {
    response.headers().get("x-consul-index")?.to_str().ok()?.parse().ok()
}

/// The body, or how it begins when it is longer than that.
async fn read(mut response: Response, most: usize) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while body.len() < most
        && let Some(chunk) = response.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(most);
    Ok(body)
}

/// Publishes what has changed; the first time, how all are. False when the node is about to end.
async fn tell(intake: &Intake, old: Option<&Services>, new: &Services) -> bool {
    if old == Some(new) {
        return true;
    }
    let changed = old.map(|old| changes(old, new)).unwrap_or_default();
    let changed = changed.iter().map(|change| (CHANGED, serde_json::to_vec(change)));
    let all: Vec<_> = new.values().collect();
    for (address, body) in changed.chain([(UPDATED, serde_json::to_vec(&all))]) {
        // What Consul holds is plain data, which can be written; and it has no dead letters: the log has the reason.
        let body = body.unwrap_or_default();
        if intake.take(&Arrival::new(address, &body)).await == Taken::Not {
            return false;
        }
    }
    true
}

fn fault(error: reqwest::Error, options: &Options) -> Fault {
    let error = error.without_url();
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        said = format!("{said}: {inner}");
        cause = inner.source();
    }
    if unbelieved(&said) {
        return Fault { trouble: Trouble::Credentials, said, help: BELIEVE.to_owned() };
    }
    Fault { trouble: Trouble::Unreachable, said, help: format!("is Consul running at {}?", options.place()) }
}

fn refused(status: StatusCode, said: &str, options: &Options) -> Fault {
    let said = format!("{status}: {}", said.trim());
    let (trouble, help) = match status.as_u16() {
        401 | 403 => (
            Trouble::Forbidden,
            "give the `token` the policy: node_prefix \"\" { policy = \"read\" } service_prefix \"\" { policy = \"read\" }".to_owned(),
        ),
        500..=599 => (Trouble::Unreachable, "has Consul a leader? see: consul operator raft list-peers".to_owned()),
        _ => (Trouble::Other, format!("is it a Consul that answers at {}?", options.place())),
    };
    Fault { trouble, said, help }
}

fn strange(said: &str, options: &Options) -> Fault {
    let help = format!("is it a Consul that answers at {}?", options.place());
    Fault { trouble: Trouble::Other, said: said.to_owned(), help }
}
