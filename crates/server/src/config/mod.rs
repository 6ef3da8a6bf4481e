//! Configuration: the text of `oyez.toml` in, a checked [`Config`] or every mistake in it out.
//!
//! Nothing here reads a file or the environment; the program passes both in. `schema` is the one table of keys:
//! files are checked against it and `docs/configuration.md` is written from it.

mod app;
mod auth;
mod backend;
mod explain;
mod inbox;
mod key;
mod origins;
mod problem;
mod reader;
mod reference;
mod rules;
mod schema;
mod source;
#[cfg(test)]
mod tests;
mod values;

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use oyez_hub::app::AppLimits;
use oyez_hub::dialect::Dialect;
use oyez_hub::lifecycle::Rules;
use oyez_hub::policy::Policy;
use oyez_hub::policy::channel::{NameLimits, Pattern};
use oyez_hub::policy::expression::Kind;
use oyez_hub::policy::identity::IdentityRule;
use oyez_hub::policy::limits::Rate;
use oyez_hub::promise::{EventRule, InboxRules};
use toml::de::DeTable;

use crate::forwarders::Forwarders;
use crate::settings::Patience;
use crate::tls::Tls;

pub use auth::{AuthConfig, AuthJsConfig, AuthMessages, IntrospectionConfig, JwtConfig, TokenSource};
pub use explain::{Explanation, explain};
pub use problem::{Problem, Problems};
pub use reference::reference;
pub use source::{Door, SourceConfig};

/// The configuration of `oyez dev`: an open app with everything a first try needs. It wants `JWT_SECRET` and
/// `OYEZ_API_KEY`, which the command makes up and keeps.
pub const DEV: &str = include_str!("dev.toml");

/// What a file may refer to. The caller decides what there is.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// An environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The text of a file, or why there is none.
    pub file: &'a dyn Fn(&str) -> Result<String, String>,
    /// It is for trying things on this machine: short secrets and keys pass.
    pub dev: bool,
}

impl fmt::Debug for Inputs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inputs")
    }
}

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// What belongs to the process.
    pub server: ServerConfig,
    /// The apps, by name.
    pub apps: Vec<AppConfig>,
    /// Who may use the HTTP API.
    pub keys: Vec<ApiKey>,
    /// What is allowed, but may not be what was meant; for `oyez check`.
    pub notes: Vec<Problem>,
}

/// `[server]`.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Addresses to listen on, `host:port`.
    pub listen: Vec<String>,
    /// Threads that own sessions; none: one per core that the process may use.
    pub shards: Option<usize>,
    /// Sessions that may be open at once; none: any number.
    pub connections: Option<u64>,
    /// Write to many connections at once through io_uring, where the kernel allows it.
    pub io_uring: bool,
    /// How long connections may take to ask for something.
    pub patience: Patience,
    /// How the server goes down.
    pub shutdown: ShutdownConfig,
    /// Handshakes of sessions that one thread has under way at once.
    pub handshakes: usize,
    /// Sessions of one address that may end by their client's own fault; none: any number.
    pub offences: Option<u64>,
    /// Between two lines of figures in the log.
    pub report: Duration,
    /// Encryption, if the server does it itself.
    pub tls: Option<TlsConfig>,
    /// Whom to believe about where clients come from.
    pub forwarders: Forwarders,
}

/// `[server.shutdown]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownConfig {
    /// `/readyz` is red for so long before anything else happens.
    pub notice: Duration,
    /// The goodbyes are spread over so much time.
    pub window: Duration,
    /// Then whoever is still there is left; counted from the end of the notice.
    pub deadline: Duration,
}

/// `[server.tls]`.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    /// The file with the certificate, as the configuration names it.
    pub certificate: String,
    /// The file with the key.
    pub key: String,
    /// What is in them.
    pub tls: Tls,
    /// How long browsers shall come by TLS only; none: nothing is said of that.
    pub hsts: Option<Duration>,
}

/// `[key.NAME]`.
#[derive(Clone)]
pub struct ApiKey {
    /// As the file calls it; may be logged, unlike the key.
    pub name: String,
    /// Each opens.
    pub secrets: Vec<String>,
    /// The apps it is for; `*` is all.
    pub apps: Vec<String>,
    /// `publish`, `read`, `disconnect`, `revoke`, `reload`; `*` is all.
    pub rights: Vec<String>,
    /// The channels it may name; none: any.
    pub channels: Option<Vec<Pattern>>,
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("name", &self.name)
            .field("apps", &self.apps)
            .field("rights", &self.rights)
            .field("channels", &self.channels)
            .finish_non_exhaustive()
    }
}

/// `[app.NAME]`.
#[derive(Debug, Clone)]
pub struct AppConfig {
    /// Its name.
    pub name: String,
    /// Line in the file.
    pub line: usize,
    /// Web pages that may connect; `*` is any.
    pub origins: Vec<String>,
    /// By what name, `:port` or both clients reach it, in lower case; none: any.
    pub hosts: Vec<String>,
    /// Socket.IO, if it is spoken.
    pub socketio: Option<SocketIoConfig>,
    /// Plain WebSocket, if it is spoken.
    pub websocket: Option<WebSocketConfig>,
    /// How tokens are found and verified.
    pub auth: AuthConfig,
    /// Whose a token is.
    pub identity: IdentityRule,
    /// What `user` is in this app's expressions; for audiences that publishers send.
    pub user: Kind,
    /// Who may hear and say what.
    pub policy: Arc<Policy>,
    /// The app's language.
    pub dialect: Arc<Dialect>,
    /// A session that shows no sign of life (see [`Dialect::heartbeat`]) for so long is closed.
    pub heartbeat_timeout: Option<Duration>,
    /// What clients get that come back.
    pub recovery: Option<RecoveryConfig>,
    /// The inbox of each of its users.
    pub inbox: Option<InboxRules>,
    /// What publications of its events promise.
    pub events: Vec<EventRule>,
    /// Where messages come from by themselves.
    pub sources: Vec<SourceConfig>,
    /// Where is told that users and channels come and go.
    pub webhook: Option<Rules>,
    /// How much its clients may ask for.
    pub limits: Limits,
}

/// `[app.NAME.recovery]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveryConfig {
    /// How long a client that was cut off may take to come back.
    pub window: Duration,
    /// Bytes that are remembered, about.
    pub memory: usize,
    /// Publications to everyone that are remembered.
    pub everyone: Option<usize>,
}

/// `[app.NAME.socketio]`.
#[derive(Debug, Clone)]
pub struct SocketIoConfig {
    /// Where it is served; each begins and ends with `/`.
    pub paths: Vec<String>,
    /// Namespaces of this app.
    pub namespaces: Vec<String>,
    /// WebSocket may be used.
    pub websocket: bool,
    /// Polling may be used.
    pub polling: bool,
    /// Clients of Socket.IO 2.x are served.
    pub eio3: bool,
    /// Between two pings.
    pub ping_interval: Duration,
    /// For a pong.
    pub ping_timeout: Duration,
    /// To join a namespace.
    pub connect_timeout: Duration,
    /// To change transport.
    pub upgrade_timeout: Duration,
    /// Largest message of a client, in bytes.
    pub max_payload: usize,
    /// Binaries in one packet.
    pub max_attachments: usize,
    /// Compression is offered.
    pub compression: bool,
}

/// `[app.NAME.websocket]`. The frame's shape is [`Dialect::frame`].
#[derive(Debug, Clone)]
pub struct WebSocketConfig {
    /// Where it is served.
    pub paths: Vec<String>,
    /// The field that names the event.
    pub event: String,
    /// Between two ping frames.
    pub ping_interval: Duration,
    /// A session lives so long without a pong.
    pub pong_timeout: Duration,
    /// Largest frame of a client, in bytes.
    pub max_message: usize,
    /// Compression is offered.
    pub compression: bool,
}

/// `[app.NAME.limits]`; none is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What is asked where clients come in and say something.
    pub app: AppLimits,
    /// Names of channels; they are part of [`AppConfig::policy`].
    pub names: NameLimits,
    /// Bytes that may wait for one client.
    pub outbox: usize,
    /// Publications of one key.
    pub publishes: Option<Rate>,
}

/// Reads and checks a configuration.
///
/// # Errors
/// Every mistake in it, in the order of the file.
pub fn load(file: &str, source: &str, inputs: Inputs<'_>) -> Result<Config, Problems> {
    read(file, source, Some(inputs))
}

/// Reads a configuration for its rules only: [`explain()`] needs no secrets and no certificate, so they are not looked for,
/// and nothing can be verified or served with the outcome.
///
/// # Errors
/// Every other mistake in it.
pub fn load_rules(file: &str, source: &str) -> Result<Config, Problems> {
    read(file, source, None)
}

fn read(file: &str, source: &str, inputs: Option<Inputs<'_>>) -> Result<Config, Problems> {
    let doc = reader::Doc { file, source, inputs, problems: RefCell::default(), notes: RefCell::default() };
    let (tree, syntax) = DeTable::parse_recoverable(source);
    for error in &syntax {
        let several = "a table with several of a kind has two brackets: [[app.NAME.channel]]; other names stand once";
        let help = (error.message() == "duplicate key").then(|| several.to_owned());
        doc.problem(error.span().map_or(0, |span| span.start), format!("not TOML: {}", error.message()), help);
    }
    // After a syntax error the tree has holes, and complaints about them would mislead.
    let config = syntax.is_empty().then(|| {
        let root = reader::Node::new(&doc, &schema::ROOT, String::new(), tree.get_ref(), 0..0);
        app::config(&root)
    });
    let mut problems = doc.problems.take();
    // A table that is read twice complains twice.
    problems.sort_by(|a, b| (a.line, a.column, &a.message).cmp(&(b.line, b.column, &b.message)));
    problems.dedup();
    match config.flatten() {
        Some(config) if problems.is_empty() => Ok(Config { notes: doc.notes.take(), ..config }),
        _ => Err(Problems(problems)),
    }
}

/// What `oyez check` says of a file: one line per app when all is well.
///
/// # Errors
/// Every mistake in it.
pub fn check(file: &str, source: &str, inputs: Inputs<'_>) -> Result<String, Problems> {
    let config = load(file, source, inputs)?;
    let apps = config.apps.iter().map(|app| {
        let speaks = [app.socketio.as_ref().map(|_| "Socket.IO"), app.websocket.as_ref().map(|_| "WebSocket")];
        format!(
            "  {}: {}, {} events",
            app.name,
            speaks.into_iter().flatten().collect::<Vec<_>>().join(" and "),
            app.dialect.events.len()
        )
    });
    Ok(format!("{file} is good.\n{}", apps.collect::<Vec<_>>().join("\n")))
}
