//! `oyez listen`: hear what a client would hear.

use clap::Args;
use oyez_server::config::{AppConfig, TokenSource};
use serde_json::{Value, json};
use tokio::runtime::Builder;

use crate::failure::Failure;
use crate::tail::{self, Protocol, Target};
use crate::trust::Trust;
use crate::who::{Which, Who};

/// Print what a client hears, an event to a line.
///
/// Connects as a client does, subscribes, and prints {"event", "args"} as JSON for each event; connects again when the
/// connection breaks. What asks for an acknowledgement gets none; but it answers heartbeats as every device of the user does, and where the app
/// counts those (`acknowledge = "heartbeat"`), messages of the inbox are then delivered.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct Options {
    /// Channels to subscribe to, beside those that the app joins by itself
    #[arg(value_name = "CHANNEL")]
    channels: Vec<String>,
    /// The server [default: where the file says that it listens, on this machine, or http://127.0.0.1:3001]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    trust: Trust,
    /// The token of the user to listen as; --user goes before it
    #[arg(long, value_name = "TOKEN", env = "OYEZ_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Listen as this user, with a token made as `oyez token` does
    #[arg(short, long, value_name = "ID")]
    user: Option<String>,
    #[command(flatten)]
    who: Who,
    #[command(flatten)]
    which: Which,
    /// Speak plain WebSocket, not Socket.IO
    #[arg(long)]
    raw: bool,
    /// The path [default: /socket.io/, or /ws with --raw, or what the file says]
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// The Socket.IO namespace [default: /, or what the file says]
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// The event by which this app's clients subscribe
    #[arg(long, value_name = "EVENT", default_value = "subscribe")]
    subscribe_event: String,
    /// What that event carries, as JSON [default: {"channels": [CHANNEL…]}]
    #[arg(long, value_name = "JSON", value_parser = data)]
    subscribe_data: Option<Value>,
}

const AFTER: &str = "\
Examples:
  oyez listen --user demo demo:lobby
  oyez listen --config examples/ticketing/oyez.toml --user 7 --role support role:support
  oyez listen --config examples/concrete-plant/oyez.toml --user 7 --role admin \\
      --subscribe-event subscribe:site --subscribe-data '{\"siteId\": 1}'
  oyez listen --config oyez.toml --user 7 --url https://push.example.com

Exit codes: 0 it was asked to end (Ctrl-C) or nobody reads any more; 1 the server refuses, and why is on stderr; 2 the \
command line is wrong.";

/// What helps where the server does not accept the token that was given.
const OTHER_TOKEN: &str =
    "make one with `oyez token --config FILE --user ID`, or write --user ID and --config FILE in place of the token";

/// The same where the token was made here.
const OTHER_SECRET: &str = "the server knows another secret than was found here, or no such user: name its own file (--config FILE), set the \
     variables that it has, and for `oyez dev` start this where that was started";

fn data(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))
}

/// Listens until the process is asked to end.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let target = target(options)?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        tokio::select! {
            outcome = tail::follow(&target) => outcome,
            asked = tokio::signal::ctrl_c() => asked.map_err(|error| Failure::new(format!("cannot wait for Ctrl-C: {error}"))),
        }
    })
}

/// Where to connect and as whom: the file, where there is one, and the options before it.
fn target(options: &Options) -> Result<Target, Failure> {
    let which = &options.which;
    let known = which.config.is_some() || which.app.is_some() || options.user.is_some();
    let config = if known { Some(which.load()?) } else { None };
    let app = config.as_ref().map(|config| which.app(config)).transpose()?;
    let (token, remedy) = match (&options.user, app, &options.token) {
        (Some(user), Some(app), _) => (options.who.token(app, user)?, OTHER_SECRET),
        (_, _, Some(token)) => (token.clone(), OTHER_TOKEN),
        _ => {
            return Err(Failure::new("whom to listen as is not said")
                .help("write --user ID (for `oyez dev`: --user demo), or --token TOKEN"));
        }
    };
    let protocol = protocol(options, app);
    let data = options.subscribe_data.clone();
    let data = data.or_else(|| (!options.channels.is_empty()).then(|| json!({ "channels": options.channels })));
    let url = options.url.clone().or_else(|| super::own_url(&config.as_ref()?.server));
    let url = url.as_deref().unwrap_or(super::DEFAULT_URL);
    Ok(Target {
        url: tail::url(url, &path(options, app, &protocol), &protocol, &token)?,
        subscribe: data.map(|data| (options.subscribe_event.clone(), data)),
        protocol,
        token,
        remedy,
        tls: options.trust.client()?,
    })
}

fn protocol(options: &Options, app: Option<&AppConfig>) -> Protocol {
    let sources = app.map_or(&[][..], |app| &app.auth.from);
    let plain = app.filter(|app| app.socketio.is_none()).and_then(|app| app.websocket.as_ref());
    if options.raw || plain.is_some() {
        let query = sources.iter().find_map(|source| match source {
            TokenSource::Query(name) => Some(name.clone()),
            _ => None,
        });
        let event = app.and_then(|app| app.websocket.as_ref()).map_or("type", |websocket| &websocket.event);
        return Protocol::Plain { event: event.to_owned(), query: query.unwrap_or_else(|| "token".to_owned()) };
    }
    let field = sources.iter().find_map(|source| match source {
        TokenSource::Auth(field) => Some(field.clone()),
        _ => None,
    });
    let own = app.and_then(|app| app.socketio.as_ref()).and_then(|socketio| socketio.namespaces.first().cloned());
    let namespace = options.namespace.clone().or(own).unwrap_or_else(|| "/".to_owned());
    Protocol::SocketIo { namespace, field: field.unwrap_or_else(|| "token".to_owned()) }
}

fn path(options: &Options, app: Option<&AppConfig>, protocol: &Protocol) -> String {
    let (own, usual) = match protocol {
        Protocol::SocketIo { .. } => (app.and_then(|app| app.socketio.as_ref()?.paths.first()), "/socket.io/"),
        Protocol::Plain { .. } => (app.and_then(|app| app.websocket.as_ref()?.paths.first()), "/ws"),
    };
    options.path.clone().or_else(|| own.cloned()).unwrap_or_else(|| usual.to_owned())
}
