//! From the tables of a file to a checked configuration: the server, and what an app is apart from its rules.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use oyez_hub::app::{AppLimits, WhenUserFull};
use oyez_hub::dialect::Dialect;
use oyez_hub::policy::Policy;
use oyez_hub::policy::channel::NameLimits;
use oyez_hub::policy::expression::{Condition, Kind, Names, Shape};
use oyez_hub::policy::identity::{IdentityRule, claim_names, user_kind};
use oyez_hub::policy::limits::Rate;
use oyez_hub::recovery::History;

use super::inbox;
use super::key::key;
use super::origins::{check_cookies, origins};
use super::reader::{Located, Node};
use crate::forwarders::{Field, Forwarders, Network};
use crate::settings::Patience;
use crate::tls::Tls;

use super::{AppConfig, Config, Limits, RecoveryConfig, ServerConfig, ShutdownConfig, SocketIoConfig, TlsConfig};
use super::{WebSocketConfig, auth, backend, rules, source};

/// The whole file; none when something essential is missing, which has been noted then.
pub(super) fn config(root: &Node<'_>) -> Option<Config> {
    let server = server(&root.child_or_default("server"));
    let named = root.named("app");
    if named.is_empty() && root.has("app") {
        root.problem("the file has no app", Some("begin with [app.NAME]".into()));
    }
    let names: Vec<String> = named.iter().map(|(name, _)| name.text.clone()).collect();
    for (name, node) in named.iter().filter(|(name, _)| name.text.starts_with('*')) {
        let help = "names that begin so are the server's own".to_owned();
        node.doc.problem(name.span.start, format!("`{}` is no name for an app", name.text), Some(help));
    }
    let apps: Vec<_> = named.iter().map(|(name, node)| app(name, node)).collect();
    let keys = root.named("key").into_iter().map(|(name, node)| key(name.text, &node, &names)).collect();
    Some(Config { server, apps: apps.into_iter().collect::<Option<_>>()?, keys, notes: Vec::new() })
}

fn server(node: &Node<'_>) -> ServerConfig {
    let listen = node.texts("listen");
    for address in &listen {
        if address.text.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err()) {
            node.doc.problem(
                address.span.start,
                format!("`{}` is no address to listen on", address.text),
                Some("write \"127.0.0.1:3001\"".into()),
            );
        }
    }
    positive(node, &["header_timeout", "body_timeout", "idle_timeout"]);
    ServerConfig {
        listen: listen.into_iter().map(|address| address.text).collect(),
        shards: node.count("shards").and_then(|shards| usize::try_from(shards).ok()),
        connections: node.count("connections"),
        io_uring: node.boolean("io_uring"),
        patience: Patience {
            header: node.duration("header_timeout"),
            body: node.duration("body_timeout"),
            idle: node.duration("idle_timeout"),
        },
        shutdown: shutdown(&node.child_or_default("shutdown")),
        handshakes: node.count("handshakes").and_then(|most| usize::try_from(most).ok()).unwrap_or_default(),
        offences: node.count("offences"),
        report: report(node),
        tls: node.child("tls").and_then(|node| tls(&node)),
        forwarders: node.child("proxy").map(|node| forwarders(&node)).unwrap_or_default(),
    }
}

/// How often the log gets a line of figures.
fn report(node: &Node<'_>) -> Duration {
    let every = node.good_duration("report");
    if every.is_some_and(|every| every < Duration::from_secs(1)) {
        let help = "write a time such as \"1m\"".to_owned();
        node.problem(format!("{} is shorter than a second", node.full("report")), Some(help));
    }
    every.unwrap_or_default()
}

/// Who forwards, and how it tells for whom.
fn forwarders(node: &Node<'_>) -> Forwarders {
    let network = |text: Located| {
        text.text
            .parse::<Network>()
            .map_err(|error| {
                let message = format!("{}: `{}`: {error}", node.full("trusted"), text.text);
                node.doc.problem(text.span.start, message, Some(error.help()));
            })
            .ok()
    };
    let trusted = node.texts("trusted");
    if trusted.is_empty() && node.has("trusted") {
        let help = "list the forwarders, as in trusted = [\"10.0.0.0/8\"], or leave [server.proxy] out".to_owned();
        node.problem(format!("{} is empty, so nobody is believed", node.full("trusted")), Some(help));
    }
    let words = node.plain_texts("header");
    let header = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["X-Forwarded-For"] => Some(Field::XForwardedFor),
        ["Forwarded"] => Some(Field::Forwarded),
        [_] | [] => None,
        _ => {
            let help =
                "name the one that the forwarders write themselves; the other is the client's to fill".to_owned();
            node.problem(format!("{} names several headers", node.full("header")), Some(help));
            None
        }
    };
    let proxy_protocol = node.boolean("protocol");
    if header.is_none() && !proxy_protocol && words == ["none"] {
        let help = "write header = \"X-Forwarded-For\", or protocol = true; or leave [server.proxy] out".to_owned();
        node.problem(format!("[{}] believes nothing that a forwarder says", node.path), Some(help));
    }
    Forwarders { trusted: trusted.into_iter().filter_map(network).collect(), header, proxy_protocol }
}

fn shutdown(node: &Node<'_>) -> ShutdownConfig {
    let [notice, window, deadline] = ["notice", "window", "deadline"].map(|name| node.duration(name));
    if window > deadline {
        node.problem(
            format!("{}: the goodbyes would not be over at the deadline", node.path),
            Some("make `window` shorter than `deadline`".into()),
        );
    }
    ShutdownConfig { notice, window, deadline }
}

/// The certificate and its key; a mistake is noted at the file that it is about.
fn tls(node: &Node<'_>) -> Option<TlsConfig> {
    let inputs = node.doc.inputs?;
    let read = |name: &str| {
        let path = node.text(name)?;
        match (inputs.file)(&path.text) {
            Ok(text) => Some((path, text)),
            Err(error) => {
                let help = "a relative path starts where this file is; it must be readable".to_owned();
                node.doc.problem(path.span.start, format!("{}: {error}", node.full(name)), Some(help));
                None
            }
        }
    };
    // Both are looked at, so that one pass tells of both.
    let (certificate, key) = (read("certificate"), read("key"));
    let ((certificate, chain), (key, private)) = (certificate?, key?);
    match Tls::from_pem(&chain, &private) {
        Ok(tls) => {
            let hsts = node.has("hsts").then(|| node.duration("hsts"));
            Some(TlsConfig { certificate: certificate.text, key: key.text, tls, hsts })
        }
        Err(error) => {
            let file = if error.is_about_certificate() { certificate } else { key };
            node.doc.problem(file.span.start, format!("{}: {error}", file.text), Some(error.help().to_owned()));
            None
        }
    }
}

/// The hosts of an app: names, ports, or both, as clients write them.
fn hosts(node: &Node<'_>) -> Vec<String> {
    let hosts = node.plain_texts("host");
    let good = |host: &String| {
        let (name, port) = host.rsplit_once(':').unwrap_or((host, "0"));
        port.parse::<u16>().is_ok() && !name.contains(['/', ':', ' ']) && host.len() > 1
    };
    for host in hosts.iter().filter(|host| !good(host)) {
        node.problem(
            format!("{}.host: {host:?} is not a host", node.path),
            Some("write a name, a port, or both: \"desk.example.com\", \":8443\", \"desk.example.com:8443\"".into()),
        );
    }
    hosts.into_iter().map(|host| host.to_ascii_lowercase()).collect()
}

fn app(name: &Located, node: &Node<'_>) -> Option<AppConfig> {
    let origins = origins(node);
    let websocket = node.child("websocket");
    // Without a word about transports, an app speaks the one that everybody uses.
    let socketio = if node.has("socketio") || websocket.is_none() {
        Some(socketio(&node.child_or_default("socketio")))
    } else {
        None
    };
    let identity = node.child("identity");
    let user = user_kind(
        identity
            .iter()
            .flat_map(|node| node.free("attributes"))
            .map(|(name, _)| name.text)
            .collect::<Vec<_>>()
            .iter()
            .map(String::as_str),
    );
    let identity = identity.and_then(|identity_node| self::identity(&identity_node, &user));
    let limits = limits(&node.child_or_default("limits"));
    let channels = rules::channels(node, &user);
    let events = inbox::events(node, &channels);
    let recovery = node.child("recovery").map(|node| recovery(&node));
    let everyone = recovery.and_then(|recovery| Some(History { last: recovery.everyone?, time: Duration::MAX }));
    let policy = Arc::new(Policy::new(channels).with_names(limits.names).with_everyone(everyone));
    let inbox = node.child("inbox").map(|node| inbox::inbox(&node));
    let acknowledge = inbox.as_ref().map(|inbox| Arc::clone(&inbox.words.ack));
    let dialect = Arc::new(Dialect { acknowledge, ..rules::dialect(node, &user) });
    let auth = node.child("auth").map(|node| auth::auth(&node));
    if let Some(auth) = &auth {
        check_cookies(node, &origins, auth);
        if let Some(websocket) = &websocket {
            auth::check_places(node, websocket, auth);
        }
    }
    Some(AppConfig {
        name: name.text.clone(),
        line: node.line(),
        origins,
        hosts: hosts(node),
        socketio,
        websocket: websocket.as_ref().map(self::websocket),
        auth: auth?,
        identity: identity?,
        user,
        policy,
        dialect,
        heartbeat_timeout: node
            .child("heartbeat")
            .map(|node| node.duration("timeout"))
            .filter(|timeout| !timeout.is_zero()),
        recovery,
        inbox,
        events,
        sources: source::sources(node),
        webhook: node.child("webhook").and_then(|node| backend::webhook(&node)),
        limits,
    })
}

fn recovery(node: &Node<'_>) -> RecoveryConfig {
    positive(node, &["window"]);
    let everyone = node.count("everyone").filter(|_| node.has("everyone"));
    let everyone = everyone.map(|last| usize::try_from(last).unwrap_or(usize::MAX));
    RecoveryConfig { window: node.duration("window"), memory: node.size("memory"), everyone }
}

fn socketio(node: &Node<'_>) -> SocketIoConfig {
    let transports = node.plain_texts("transports");
    for path in node.texts("path") {
        if !path.text.starts_with('/') || !path.text.ends_with('/') {
            node.doc.problem(
                path.span.start,
                format!("the path `{}` must begin and end with `/`", path.text),
                Some("as in \"/socket.io/\"".into()),
            );
        }
    }
    for namespace in node.texts("namespace").iter().filter(|namespace| !namespace.text.starts_with('/')) {
        node.doc.problem(
            namespace.span.start,
            format!("the namespace `{}` must begin with `/`", namespace.text),
            Some(format!("write \"/{}\"", namespace.text)),
        );
    }
    positive(node, &["ping_interval", "ping_timeout", "connect_timeout", "upgrade_timeout"]);
    SocketIoConfig {
        paths: node.plain_texts("path"),
        namespaces: node.plain_texts("namespace"),
        websocket: transports.iter().any(|word| word == "websocket"),
        polling: transports.iter().any(|word| word == "polling"),
        eio3: node.boolean("eio3"),
        ping_interval: node.duration("ping_interval"),
        ping_timeout: node.duration("ping_timeout"),
        connect_timeout: node.duration("connect_timeout"),
        upgrade_timeout: node.duration("upgrade_timeout"),
        max_payload: node.size("max_payload"),
        max_attachments: node.count("max_attachments").and_then(|most| usize::try_from(most).ok()).unwrap_or_default(),
        compression: node.boolean("compression"),
    }
}

/// A time of nothing would keep a node busy with its own deadlines.
pub(super) fn positive(node: &Node<'_>, names: &[&str]) {
    // What is no duration has been told of already.
    for name in names.iter().filter(|name| node.good_duration(name).is_some_and(|time| time.is_zero())) {
        node.problem(format!("{}.{name} is 0", node.path), Some("write a time such as \"25s\"".into()));
    }
}

fn websocket(node: &Node<'_>) -> WebSocketConfig {
    for path in node.texts("path").iter().filter(|path| !path.text.starts_with('/')) {
        node.doc.problem(
            path.span.start,
            format!("the path `{}` must begin with `/`", path.text),
            Some(format!("write \"/{}\"", path.text)),
        );
    }
    positive(node, &["ping_interval", "pong_timeout"]);
    if node.duration("pong_timeout") <= node.duration("ping_interval") {
        node.problem(
            format!("{}.pong_timeout is not longer than ping_interval, so everybody would be closed", node.path),
            Some("it is counted from one pong to the next, pings between them: write 60s with 54s".into()),
        );
    }
    WebSocketConfig {
        paths: node.plain_texts("path"),
        event: node.text("event").map(|event| event.text).unwrap_or_default(),
        ping_interval: node.duration("ping_interval"),
        pong_timeout: node.duration("pong_timeout"),
        max_message: node.size("max_message"),
        compression: node.boolean("compression"),
    }
}

fn identity(node: &Node<'_>, user: &Kind) -> Option<IdentityRule> {
    let names = claim_names();
    let shape = |text: &Located| node.doc.compiled(text, |source| Shape::compile(source, &names));
    let shapes = |texts: &[Located]| texts.iter().filter_map(shape).collect::<Vec<_>>();
    let attributes: BTreeMap<Arc<str>, Vec<Shape>> =
        node.free("attributes").into_iter().map(|(name, texts)| (name.text.into(), shapes(&texts))).collect();
    for (name, _) in node.free("attributes") {
        if ["id", "name", "roles", "admin"].contains(&name.text.as_str()) {
            node.doc.problem(
                name.span.start,
                format!("`user.{}` is taken", name.text),
                Some("give the attribute another name".into()),
            );
        }
    }
    let admin = node.text("admin").and_then(|text| {
        node.doc.compiled(&text, |source| Condition::compile(source, &Names::default().with([("user", user.clone())])))
    });
    Some(IdentityRule {
        user: shape(&node.text("user")?)?,
        name: node.text("name").as_ref().and_then(shape),
        roles: shapes(&node.texts("roles")),
        attributes,
        admin: admin?,
    })
}

fn limits(node: &Node<'_>) -> Limits {
    // Without a limit of its own, a rate allows a second's worth at once.
    let rate = |name: &str| node.count(name).map(|rate| Rate::new(rate, rate));
    let count = |name: &str| node.count(name).map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    let burst = node.count("events_burst");
    let ascii = node.choice("channel_characters").is_some_and(|word| word == "ascii");
    let close_oldest = node.choice("when_user_full").is_some_and(|word| word == "close_oldest");
    Limits {
        app: AppLimits {
            connections: count("connections"),
            connections_per_address: count("connections_per_address"),
            connects: rate("connects_per_second"),
            connections_per_user: count("connections_per_user"),
            when_user_full: if close_oldest { WhenUserFull::CloseOldest } else { WhenUserFull::RefuseNew },
            channels_per_session: count("channels_per_session"),
            events: node.count("events_per_second").map(|rate| Rate::new(rate, burst.unwrap_or(rate))),
            app_events: rate("app_events_per_second"),
            json_depth: count("json_depth"),
        },
        names: NameLimits { length: count("channel_length").unwrap_or_default(), ascii },
        outbox: node.size("outbox"),
        publishes: rate("publishes_per_second"),
    }
}
