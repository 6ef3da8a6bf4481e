//! From a checked configuration to what runs: each app with its credentials, and the ways in that apps share.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use oyez_hub::address::AppId;
use oyez_hub::app::{App, Credentials};
use oyez_hub::backend::Backend;
use oyez_hub::policy::fetch::Fetch;
use oyez_hub::policy::token::{
    AuthJsSpec, ClaimRules, IntrospectSpec, JwksSpec, JwtSpec, KeySpec, SpecError, Verifier, VerifierSpec,
};
use oyez_hub::recovery::{Bounds, Recovery};
use parking_lot::RwLock;

use crate::config::{AppConfig, AuthConfig, AuthJsConfig, Config, IntrospectionConfig, JwtConfig};
use crate::config::{RecoveryConfig, ServerConfig, SocketIoConfig, WebSocketConfig};
use crate::server::app_id;
use crate::settings::{Engine, Front, Heartbeat, Native, Origins, Settings, Shutdown};

/// The most apps that one node serves: as many as there are ids.
pub const MAX_APPS: usize = u16::MAX as usize;

/// A configuration whose parts are good and do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssembleError {
    /// A verifier that cannot be built.
    #[error("[app.{app}.auth] cannot verify tokens: {error}")]
    Verifier {
        /// The app.
        app: String,
        /// Where the app begins in the file.
        line: usize,
        /// What is wrong.
        error: SpecError,
    },
    /// An algorithm that no verifier knows.
    #[error("[app.{app}.auth.jwt]: there is no algorithm `{name}`")]
    Algorithm {
        /// The app.
        app: String,
        /// Where the app begins in the file.
        line: usize,
        /// As the file has it.
        name: String,
    },
    /// Two apps on one path that want it served differently.
    #[error("the apps `{first}` (line {first_line}) and `{second}` share the path {path}, but not {difference}")]
    SharedPath {
        /// The app that comes first in the file.
        first: String,
        /// Where it begins in the file.
        first_line: usize,
        /// The other.
        second: String,
        /// Where it begins in the file.
        line: usize,
        /// The path of both.
        path: String,
        /// What differs.
        difference: &'static str,
    },
    /// More apps than there are ids.
    #[error("there are {0} apps, and one server has at most {MAX_APPS}")]
    TooManyApps(usize),
}

impl AssembleError {
    /// What to write instead.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Verifier { app, .. } => format!("see [app.{app}.auth] in docs/configuration.md"),
            Self::Algorithm { .. } => "as RFC 7518 names them, for instance \"HS256\"".to_owned(),
            Self::SharedPath { .. } => "give one of them another path, or both the same settings".to_owned(),
            Self::TooManyApps(_) => "share them out among several servers".to_owned(),
        }
    }

    /// The line of the file that is about it, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        match self {
            Self::Verifier { line, .. } | Self::Algorithm { line, .. } | Self::SharedPath { line, .. } => *line,
            Self::TooManyApps(_) => 1,
        }
    }
}

/// Whether some app asks somebody else over HTTP, so that [`apps`] needs a `fetch`.
#[must_use]
pub fn needs_fetch(config: &Config) -> bool {
    config.apps.iter().any(|app| {
        let remote_keys = app.auth.jwt.as_ref().is_some_and(|jwt| jwt.jwks_url.is_some());
        remote_keys
            || app.auth.introspection.is_some()
            || app.dialect.forwards()
            || app.webhook.is_some()
            || app.policy.asks()
            || app.inbox.as_ref().is_some_and(|inbox| inbox.webhook.is_some())
    })
}

/// The apps of a configuration, whose ids are their indices, and the ways in. `fetch` is how the apps' backends and
/// key sets are reached; see [`needs_fetch`].
///
/// # Errors
/// What cannot be built, or does not go together.
pub fn apps(config: &Config, fetch: Option<&Arc<dyn Fetch>>) -> Result<(Vec<App>, Settings), AssembleError> {
    if config.apps.len() > MAX_APPS {
        return Err(AssembleError::TooManyApps(config.apps.len()));
    }
    let apps = config.apps.iter().enumerate().map(|(index, app)| self::app(app_id(index), app, fetch));
    let apps = apps.collect::<Result<Vec<_>, _>>()?;
    let fronts = fronts(&config.apps)?;
    let tokens = config.apps.iter().map(|app| app.auth.from.clone()).collect();
    let ServerConfig { io_uring, patience, shutdown, handshakes, offences, connections, .. } = config.server;
    let forwarders = config.server.forwarders.clone();
    let shutdown = Shutdown { window: shutdown.window, deadline: shutdown.deadline };
    let connections = connections.map(|most| usize::try_from(most).unwrap_or(usize::MAX));
    let fronts = fronts.into_iter().map(Arc::new).collect();
    Ok((apps, Settings { fronts, connections, tokens, forwarders, patience, io_uring, shutdown, handshakes, offences }))
}

fn app(id: AppId, config: &AppConfig, fetch: Option<&Arc<dyn Fetch>>) -> Result<App, AssembleError> {
    let verifier = verifier(config, fetch)?;
    let messages = config.auth.messages.clone();
    let messages = [messages.missing, messages.invalid, messages.unknown];
    Ok(App {
        id,
        name: config.name.clone(),
        namespaces: config.socketio.as_ref().map(|socketio| socketio.namespaces.clone()).unwrap_or_default(),
        credentials: Some(Credentials::new(verifier, config.identity.clone(), messages)),
        policy: Arc::clone(&config.policy),
        backend: fetch.map(|fetch| Backend::new(&config.name, Arc::clone(fetch))),
        dialect: Some(Arc::clone(&config.dialect)),
        native: config.websocket.is_some(),
        idle_timeout: config.heartbeat_timeout,
        limits: config.limits.app,
        usage: Arc::default(),
        recovery: config.recovery.map(|recovery| Arc::new(self::recovery(config, recovery))),
        inbox: config.inbox.clone().map(Arc::new),
        events: config.events.clone(),
        lifecycle: config.webhook.clone().map(Arc::new),
        sources: config.sources.iter().map(|source| Arc::clone(&source.rules)).collect(),
        handlers: RwLock::default(),
    })
}

/// What an app remembers. Whoever is cut off was heard last a whole heartbeat before that is noticed.
fn recovery(app: &AppConfig, config: RecoveryConfig) -> Recovery {
    let RecoveryConfig { window, memory, .. } = config;
    let heartbeat = app.socketio.as_ref().map_or(Duration::ZERO, |io| io.ping_interval + io.ping_timeout);
    let time = app.policy.longest_history().unwrap_or_default().max(window + heartbeat);
    Recovery::new(window, Bounds { time, bytes: memory })
}

/// The verifier of an app: what `[app.NAME.auth]` says, in the words of `oyez_hub`.
fn verifier(app: &AppConfig, fetch: Option<&Arc<dyn Fetch>>) -> Result<Verifier, AssembleError> {
    let AuthConfig { jwt, authjs, introspection, .. } = &app.auth;
    let mut specs = Vec::new();
    if let Some(jwt) = jwt {
        specs.extend(jwt_specs(app, jwt)?.into_iter().map(VerifierSpec::Jwt));
    }
    specs.extend(authjs.as_ref().map(|authjs| VerifierSpec::AuthJs(authjs_spec(authjs))));
    specs.extend(introspection.as_ref().map(|asks| VerifierSpec::Introspect(introspect_spec(asks))));
    let fault = |error| AssembleError::Verifier { app: app.name.clone(), line: app.line, error };
    Verifier::new(specs, fetch).map_err(fault)
}

/// One way of accepting JWTs, and one more for each further key set that is given as text.
fn jwt_specs(app: &AppConfig, jwt: &JwtConfig) -> Result<Vec<JwtSpec>, AssembleError> {
    let unknown =
        |name: &String| AssembleError::Algorithm { app: app.name.clone(), line: app.line, name: name.clone() };
    let algorithms = jwt.algorithms.iter().map(|name| name.parse().map_err(|_| unknown(name)));
    let secrets = jwt.secrets.iter().map(|secret| KeySpec::secret(secret.as_bytes()));
    let rules = ClaimRules {
        issuers: jwt.issuers.clone(),
        audiences: jwt.audiences.clone(),
        leeway_seconds: jwt.leeway.as_secs(),
        require_expiry: jwt.require_expiry,
    };
    let jwks = jwt
        .jwks_url
        .as_ref()
        .map(|url| JwksSpec { refresh_seconds: jwt.jwks_refresh.as_secs(), ..JwksSpec::new(url.as_str()) });
    let first = JwtSpec {
        algorithms: algorithms.collect::<Result<_, _>>()?,
        keys: secrets.chain(jwt.public_keys.iter().map(|pem| KeySpec::pem(pem.as_str()))).collect(),
        key_set: jwt.jwks.first().cloned(),
        jwks,
        types: jwt.types.clone(),
        rules,
    };
    let further = jwt.jwks.iter().skip(1).map(|key_set| JwtSpec {
        keys: Vec::new(),
        key_set: Some(key_set.clone()),
        jwks: None,
        ..first.clone()
    });
    let further: Vec<_> = further.collect();
    Ok([vec![first], further].concat())
}

fn authjs_spec(authjs: &AuthJsConfig) -> AuthJsSpec {
    AuthJsSpec {
        secrets: authjs.secrets.clone(),
        cookie_names: authjs.cookies.clone(),
        leeway_seconds: authjs.leeway.as_secs(),
    }
}

fn introspect_spec(asks: &IntrospectionConfig) -> IntrospectSpec {
    let headers = asks.secret.iter().map(|secret| ("authorization".to_owned(), format!("Bearer {secret}")));
    IntrospectSpec {
        headers: headers.collect(),
        cache_seconds: asks.cache.as_secs(),
        timeout: asks.timeout,
        ..IntrospectSpec::new(asks.url.as_str())
    }
}

/// One front for each set of transport settings; apps with the same one share it, in the order of the file.
fn fronts(apps: &[AppConfig]) -> Result<Vec<Front>, AssembleError> {
    let mut fronts: Vec<Front> = Vec::new();
    for (index, app) in apps.iter().enumerate() {
        let mut wanted = front(app);
        match fronts.iter_mut().find(|front| Front { apps: Vec::new(), ..(*front).clone() } == wanted) {
            Some(front) => front.apps.push(app_id(index)),
            None => {
                wanted.apps = vec![app_id(index)];
                fronts.push(wanted);
            }
        }
    }
    paths_are_clear(apps, &fronts)?;
    // Who names a host is meant before who takes any.
    fronts.sort_by_key(|front| front.hosts.is_empty());
    Ok(fronts)
}

fn front(app: &AppConfig) -> Front {
    let any = app.origins.iter().any(|origin| origin == "*");
    Front {
        hosts: app.hosts.clone(),
        // An app without Socket.IO has no path for it.
        engine: app.socketio.as_ref().map_or_else(|| Engine { paths: Vec::new(), ..Engine::default() }, engine),
        bare: false,
        native: app.websocket.as_ref().map(native),
        origins: if any { Origins::Any } else { Origins::List(app.origins.clone()) },
        apps: Vec::new(),
        outbox_bytes: app.limits.outbox,
    }
}

fn engine(socketio: &SocketIoConfig) -> Engine {
    Engine {
        paths: socketio.paths.clone(),
        websocket: socketio.websocket,
        polling: socketio.polling,
        heartbeat: Heartbeat { interval: socketio.ping_interval, timeout: socketio.ping_timeout },
        upgrade_timeout: socketio.upgrade_timeout,
        connect_timeout: socketio.connect_timeout,
        max_payload: socketio.max_payload,
        max_attachments: socketio.max_attachments,
        allow_v3: socketio.eio3,
        deflate: socketio.compression,
        http_compression: socketio.compression,
    }
}

fn native(websocket: &WebSocketConfig) -> Native {
    Native {
        paths: websocket.paths.clone(),
        heartbeat: Heartbeat { interval: websocket.ping_interval, timeout: websocket.pong_timeout },
        max_payload: websocket.max_message,
        type_field: websocket.event.clone(),
        deflate: websocket.compression,
    }
}

/// A path of a host is answered by one front only, so two fronts must not both claim it.
fn paths_are_clear(apps: &[AppConfig], fronts: &[Front]) -> Result<(), AssembleError> {
    let mut owners: HashMap<(bool, &str, Option<&str>), &Front> = HashMap::new();
    for front in fronts {
        let engine = front.engine.paths.iter().map(|path| (false, path.as_str()));
        let native = front.native.iter().flat_map(|native| native.paths.iter().map(|path| (true, path.as_str())));
        let any = front.hosts.is_empty().then_some(None);
        let hosts: Vec<_> = front.hosts.iter().map(|host| Some(host.as_str())).chain(any).collect();
        let paths = engine.chain(native);
        for claim in paths.flat_map(|(raw, path)| hosts.iter().map(move |host| (raw, path, *host))) {
            let Some(owner) = owners.insert(claim, front).filter(|owner| *owner != front) else { continue };
            let [first, second] = [owner, front].map(|front| &apps[usize::from(front.apps[0].0)]);
            return Err(AssembleError::SharedPath {
                first: first.name.clone(),
                first_line: first.line,
                second: second.name.clone(),
                line: second.line,
                path: claim.1.to_owned(),
                difference: difference(owner, front),
            });
        }
    }
    Ok(())
}

/// What two fronts do not agree on, in the words of the file.
fn difference(one: &Front, other: &Front) -> &'static str {
    if one.origins != other.origins {
        "`origins`"
    } else if one.engine.paths != other.engine.paths {
        "all paths of [socketio]"
    } else if one.engine != other.engine {
        "the settings of [socketio]"
    } else if one.outbox_bytes != other.outbox_bytes {
        "`outbox` of [limits]"
    } else {
        "the settings of [websocket]"
    }
}

#[cfg(test)]
mod tests;
