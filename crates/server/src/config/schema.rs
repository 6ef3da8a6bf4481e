//! The one table of configuration keys, a row a key: the reader checks files against it and the reference is written
//! from it.

pub(super) mod backend;
mod inbox;
mod source;

/// What a key's value is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A string.
    Text,
    /// A string or a list of strings.
    Texts,
    /// Some of these words.
    Choices(&'static [&'static str]),
    Bool,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A whole number within these bounds.
    Count(Bounds),
    /// `"500ms"`, `"30s"`, `"5m"`, `"1h"`, `"1d"`.
    Duration,
    /// `"64KiB"`, `"1MB"`, or bytes, within these bounds.
    Size(Bounds),
    /// Text, `{ env = "NAME" }` or `{ file = "path" }`; one or a list.
    Secrets,
    /// A CEL expression that gives JSON.
    Expression,
    /// One or several such expressions.
    Expressions,
    /// A CEL condition.
    Condition,
    /// `true`, `false`, a CEL condition, or `{ ask = "https://…" }`.
    Right,
    /// Text with `{expressions}`; one or several.
    Templates,
    /// A table, or a table per name, or several tables.
    Table(&'static Section),
    Named(&'static Section),
    Tables(&'static Section),
    /// A table whose keys are free and whose values are expressions.
    ExpressionTable,
}

/// Which numbers a limit may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) least: u64,
    pub(super) most: u64,
    /// `"none"` is no limit.
    pub(super) none: bool,
}

const fn within(least: u64, most: u64) -> Bounds {
    Bounds { least, most, none: false }
}

/// Any number that makes sense, or `"none"`.
const ANY: Kind = Count(Bounds { least: 1, most: 10_000_000, none: true });

#[derive(Debug, Clone, Copy)]
pub(super) enum Otherwise {
    /// It must be there.
    Required,
    /// It may be absent.
    Nothing,
    /// What holds then, as it would be written.
    Value(&'static str),
}

#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) otherwise: Otherwise,
    pub(super) doc: &'static str,
    pub(super) example: &'static str,
}

impl Key {
    /// How it may be written in the table at `path`.
    pub(super) fn written(&self, path: &str) -> String {
        let full = if path.is_empty() { self.name.to_owned() } else { format!("{path}.{}", self.name) };
        match self.kind {
            Kind::Table(_) => format!("[{full}]"),
            Kind::Named(_) => format!("[{full}.NAME]"),
            Kind::Tables(_) => format!("[[{full}]]"),
            _ => format!("{} = {}", self.name, self.example),
        }
    }
}

/// A table of the file. Its path has `NAME` where a name is free.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) path: &'static str,
    pub(super) doc: &'static str,
    pub(super) keys: &'static [Key],
}

const fn need(name: &'static str, kind: Kind, example: &'static str, doc: &'static str) -> Key {
    Key { name, kind, otherwise: Otherwise::Required, doc, example }
}

const fn may(name: &'static str, kind: Kind, example: &'static str, doc: &'static str) -> Key {
    Key { name, kind, otherwise: Otherwise::Nothing, doc, example }
}

const fn or(name: &'static str, kind: Kind, value: &'static str, doc: &'static str) -> Key {
    Key { name, kind, otherwise: Otherwise::Value(value), doc, example: value }
}

use Kind::{
    Bool, Choice, Choices, Condition, Count, Duration, Expression, ExpressionTable, Expressions, Named, Right, Secrets,
    Size, Table, Tables, Templates, Text, Texts,
};

#[rustfmt::skip]
pub(super) static ROOT: Section = Section {
    path: "",
    doc: "A file describes one server, the backends that may publish, and the apps.",
    keys: &[
        may("server", Table(&SERVER), "", "the server itself"),
        may("key", Named(&KEY), "", "who may use the HTTP API"),
        need("app", Named(&APP), "", "the apps; nothing crosses between them"),
    ],
};

#[rustfmt::skip]
static SERVER: Section = Section {
    path: "server",
    doc: "What belongs to the process, not to an app.",
    keys: &[
        or("listen", Texts, r#"["127.0.0.1:3001"]"#, "addresses to listen on; `--listen` overrides them"),
        may("shards", Count(within(1, 255)), "2", "threads that own sessions; otherwise one per core that the process may use"),
        or("io_uring", Bool, "true", "write to many connections at once through io_uring; where the kernel refuses it, by system calls"),
        or("report", Duration, r#""1m""#, "how often the log gets a line of figures: connections, rates, latency, memory; at least `1s`"),
        or("header_timeout", Duration, r#""5s""#, "how long a connection may take to show a whole request, TLS included; also each later request's headers"),
        or("body_timeout", Duration, r#""30s""#, "how long a request's body may take after its headers, however slowly it comes"),
        or("idle_timeout", Duration, r#""75s""#, "how long a connection may wait for its next request; longer than that of a proxy in front"),
        or("connections", ANY, r#""none""#, "sessions that may be open at once, of all apps; one more is answered 503 and tries again"),
        or("handshakes", Count(within(1, 1_000_000)), "2048", "handshakes that one thread has under way at once, from the request to CONNECT; whoever comes then gets 503 with Retry-After, and stock clients try again by themselves"),
        or("offences", ANY, "20", "connections from one address (of IPv6: one /64) that may end by their client's own fault at once, beside one a second: with a code that [counts against it](codes.md), or without having asked to join anything within 5 s. While there were more, and at most for a minute, each handshake from there waits a second; when 16 wait, one more is answered 429 after that"),
        may("shutdown", Table(&SHUTDOWN), "", "how the server goes down"),
        may("tls", Table(&TLS), "", "TLS on all addresses, without a proxy in front"),
        may("proxy", Table(&PROXY), "", "forwarders in front: whom to believe about where a client comes from"),
    ],
};

#[rustfmt::skip]
static SHUTDOWN: Section = Section {
    path: "server.shutdown",
    doc: "What SIGTERM and SIGINT lead to; one more skips what is left of the notice, one after the notice ends the process at once. See [operating.md](operating.md).",
    keys: &[
        or("notice", Duration, r#""0s""#, "for so long `/readyz` is red and everything else goes on: time for load balancers to look elsewhere"),
        or("window", Duration, r#""5s""#, "then no new sessions are taken, and the goodbyes to the others are spread over so much time, but are at least 100 a second"),
        or("deadline", Duration, r#""10s""#, "after so much time, counted from the end of the notice, nobody is waited for any more"),
    ],
};

#[rustfmt::skip]
static TLS: Section = Section {
    path: "server.tls",
    doc: "TLS 1.2 and 1.3: `https://` and `wss://` on all addresses, and nothing else. The files are read again when they change, and on SIGHUP; open connections stay.",
    keys: &[
        need("certificate", Text, r#""tls/fullchain.pem""#, "a PEM file: the server's certificate, then those of its issuers; `--tls-cert` overrides it"),
        need("key", Text, r#""tls/privkey.pem""#, "a PEM file with the certificate's private key (RSA, ECDSA or Ed25519), without a passphrase; `--tls-key` overrides it"),
        may("hsts", Duration, r#""180d""#, "browsers that have seen a page of this server ask this host for nothing but `https://` for so long (`Strict-Transport-Security`), on whatever port; `0s` has them forget that"),
    ],
};

#[rustfmt::skip]
static PROXY: Section = Section {
    path: "server.proxy",
    doc: "Load balancers and reverse proxies in front of the server. A client's address (limits, logs, `session.address`) is what they say; what anybody else says is not looked at. See [proxies-and-tls.md](proxies-and-tls.md).",
    keys: &[
        need("trusted", Texts, r#"["10.0.0.0/8", "fd00::/8"]"#, "the forwarders: addresses and networks"),
        or("header", Choices(&["X-Forwarded-For", "Forwarded", "none"]), r#""X-Forwarded-For""#, "the one header to which every forwarder adds whom it forwards for; of the addresses in it, the last that is not `trusted` is the client's"),
        or("protocol", Bool, "false", "the forwarders begin each connection with a PROXY header (version 1 or 2), before TLS; without it their connections are closed"),
    ],
};

#[rustfmt::skip]
static KEY: Section = Section {
    path: "key.NAME",
    doc: "A key that a backend shows as `Authorization: Bearer …`.",
    keys: &[
        need("secret", Secrets, r#"{ env = "OYEZ_API_KEY" }"#, "the key itself, of at least 32 bytes and 8 different characters, and no placeholder such as `changeme` (`openssl rand -hex 32`; `oyez dev` takes any); several while one is being replaced"),
        or("apps", Texts, r#"["*"]"#, "the apps it is for"),
        or("rights", Choices(&["*", "publish", "read", "disconnect", "revoke", "reload"]), r#"["*"]"#, "what it may do there"),
        or("channels", Texts, r#"["*"]"#, "the channels that it may publish to (and have `receipts` told in), move sessions into and out of, and read: names and patterns such as `site:{id}`. What is about users and connections is ruled by `rights` alone"),
    ],
};

#[rustfmt::skip]
static APP: Section = Section {
    path: "app.NAME",
    doc: "One app. It speaks the transports it names, Socket.IO on `/socket.io/` if it names none.",
    keys: &[
        need("origins", Texts, r#"["https://desk.example.com"]"#, "web pages that may connect, as browsers write them; the port may be `*`. `\"*\"` is any, and then no token may stand in a cookie. A request that comes from no page passes, cookies aside"),
        may("host", Texts, r#""desk.example.com""#, "by what name, port (`:8443`) or both clients reach this app; without it, by any"),
        may("socketio", Table(&SOCKETIO), "", "Socket.IO"),
        may("websocket", Table(&WEBSOCKET), "", "JSON text frames over a plain WebSocket"),
        need("auth", Table(&AUTH), "", "how tokens are verified"),
        need("identity", Table(&IDENTITY), "", "whose a token is"),
        may("channel", Tables(&CHANNEL), "", "what can be subscribed to; the first whose name fits decides"),
        may("connect", Table(&CONNECT), "", "what happens when a session opens"),
        may("on", Tables(&ON), "", "what a client may say"),
        may("presence", Table(&PRESENCE), "", "who hears that users come and go"),
        may("push", Tables(&PUSH), "", "how publications look to clients; the first that fits. Without one they go out as published"),
        may("refused", Table(&MESSAGE), "", "how a refusal is said (`channel`, `reason`, `code` are known); otherwise event `error` with `{code, message, channel}`"),
        may("heartbeat", Table(&HEARTBEAT), "", "the app's own sign of life"),
        may("event", Tables(&inbox::EVENT), "", "what publications promise: live, recoverable or durable; the first that fits"),
        may("source", Named(&source::SOURCE), "", "where messages come from by themselves"),
        may("inbox", Table(&inbox::INBOX), "", "durable messages are kept for each user"),
        may("recovery", Table(&RECOVERY), "", "clients that are cut off get what they missed when they come back"),
        may("limits", Table(&LIMITS), "", "how much its clients may ask for"),
        may("webhook", Table(&backend::WEBHOOK), "", "where is told that users and channels come and go"),
        may("forward", Table(&backend::FORWARD), "", "where events go that no rule names"),
    ],
};

#[rustfmt::skip]
static SOCKETIO: Section = Section {
    path: "app.NAME.socketio",
    doc: "Socket.IO, all its clients from 2.x on.",
    keys: &[
        or("path", Texts, r#"["/socket.io/"]"#, "where it is served; several at once, `/` for a proxy that strips the prefix"),
        or("namespace", Texts, r#"["/"]"#, "namespaces of this app"),
        or("transports", Choices(&["websocket", "polling"]), r#"["polling", "websocket"]"#, "what clients may use"),
        or("eio3", Bool, "true", "also serve clients of Socket.IO 2.x"),
        or("ping_interval", Duration, r#""25s""#, "how often the server asks for a sign of life"),
        or("ping_timeout", Duration, r#""20s""#, "how long it waits for one"),
        or("connect_timeout", Duration, r#""45s""#, "how long a connection may take to join a namespace"),
        or("upgrade_timeout", Duration, r#""10s""#, "how long a change of transport may take"),
        or("max_payload", Size(within(128, 32 << 20)), r#""1MB""#, "the largest message of a client; a larger one closes with 1009, and a larger POST is answered 413"),
        or("max_attachments", Count(within(1, 1000)), "10", "binaries in one packet of a client; one more closes with 4505"),
        or("compression", Bool, "false", "permessage-deflate, and compressed polling answers"),
    ],
};

#[rustfmt::skip]
static WEBSOCKET: Section = Section {
    path: "app.NAME.websocket",
    doc: "A plain WebSocket that carries JSON objects. The whole object is `data` in rules.",
    keys: &[
        or("path", Texts, r#"["/ws"]"#, "where it is served; told apart from Socket.IO by the query"),
        or("event", Text, r#""type""#, "the field that names the event"),
        or("frame", Expression, r#""{'type': event, 'data': data}""#, "how event and data become a frame"),
        or("ping_interval", Duration, r#""54s""#, "how often the server sends a ping frame"),
        or("pong_timeout", Duration, r#""60s""#, "how long a session lives without a pong"),
        or("max_message", Size(within(128, 32 << 20)), r#""512KiB""#, "the largest frame of a client; a larger one closes with 1009"),
        or("compression", Bool, "false", "permessage-deflate"),
    ],
};

#[rustfmt::skip]
static AUTH: Section = Section {
    path: "app.NAME.auth",
    doc: "How tokens are found and verified. At least one of the verifiers below.",
    keys: &[
        or("from", Texts, r#"["auth.token"]"#, "where a token is looked for, in this order: `auth.FIELD` (Socket.IO's auth object), `query.NAME`, `bearer`, `cookie.NAME` (only from a page of a listed or of the same origin; chunks `NAME.0`, `NAME.1` are joined), `subprotocol`"),
        may("jwt", Table(&JWT), "", "JSON Web Tokens"),
        may("authjs", Table(&AUTHJS), "", "session tokens of Auth.js v5 and NextAuth v4"),
        may("introspection", Table(&INTROSPECTION), "", "opaque tokens that another service knows"),
        may("messages", Table(&AUTH_MESSAGES), "", "what a refused client reads"),
    ],
};

#[rustfmt::skip]
static JWT: Section = Section {
    path: "app.NAME.auth.jwt",
    doc: "JSON Web Tokens. One of `secret`, `public_key` and `jwks` must be there.",
    keys: &[
        need("algorithms", Choices(&["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]), r#"["HS256"]"#, "the only ones that are accepted"),
        may("secret", Secrets, r#"{ env = "JWT_SECRET" }"#, "secrets for HS, of 32 bytes at least (48 where only HS384, 64 where only HS512 is allowed), of 8 different characters, but for `oyez dev`; several while one is being replaced"),
        may("public_key", Secrets, r#"{ file = "jwt.pem" }"#, "PEM keys for RS, PS, ES and EdDSA"),
        may("jwks", Text, r#""https://login.example.com/jwks.json""#, "a key set by URL, cached and refreshed"),
        may("jwks_keys", Secrets, r#"{ file = "jwks.json" }"#, "a key set given here"),
        or("jwks_refresh", Duration, r#""10m""#, "how old a fetched key set may get"),
        or("issuer", Texts, "[]", "`iss` must be one of these; none: not asked"),
        or("audience", Texts, "[]", "`aud` must contain one of these; none: not asked"),
        or("type", Texts, r#"["JWT", "at+jwt"]"#, "`typ` in the header must be one of these, if it is there at all: a token that the issuer made to sign out does not sign in; none: not asked"),
        or("leeway", Duration, r#""0s""#, "how far clocks may differ"),
        or("require_expiry", Bool, "false", "refuse tokens without `exp`"),
    ],
};

#[rustfmt::skip]
static AUTHJS: Section = Section {
    path: "app.NAME.auth.authjs",
    doc: "Encrypted session tokens of Auth.js.",
    keys: &[
        need("secret", Secrets, r#"{ env = "AUTH_SECRET" }"#, "`AUTH_SECRET` of the web app; several while one is being replaced"),
        or("cookie", Texts, r#"["authjs.session-token", "__Secure-authjs.session-token"]"#, "cookie names; they are part of the key, wherever the token comes from"),
        or("leeway", Duration, r#""15s""#, "how far clocks may differ; Auth.js itself allows 15 seconds"),
    ],
};

#[rustfmt::skip]
static INTROSPECTION: Section = Section {
    path: "app.NAME.auth.introspection",
    doc: "A POST of `token=…` (RFC 7662), answered with `{\"active\": true, …claims}`.",
    keys: &[
        need("url", Text, r#""https://login.example.com/introspect""#, "where to ask"),
        may("secret", Secrets, r#"{ env = "INTROSPECTION_KEY" }"#, "bearer token for that service"),
        or("cache", Duration, r#""30s""#, "how long an answer counts"),
        or("timeout", Duration, r#""2s""#, "how long to wait; without an answer the token is refused"),
    ],
};

#[rustfmt::skip]
static AUTH_MESSAGES: Section = Section {
    path: "app.NAME.auth.messages",
    doc: "What a refused client reads in CONNECT_ERROR or in the 401.",
    keys: &[
        or("missing", Text, r#""Authentication error: no token""#, "no token was found"),
        or("invalid", Text, r#""Authentication error: invalid token""#, "the token was not accepted"),
        or("unknown", Text, r#""Authentication error: the token names no user""#, "the token is good, but names no user"),
    ],
};

#[rustfmt::skip]
static IDENTITY: Section = Section {
    path: "app.NAME.identity",
    doc: "Who a verified token stands for, as CEL over `claims`. Numbers become text; what is missing gives nothing.",
    keys: &[
        need("user", Expression, r#""claims.sub""#, "the user id"),
        may("name", Expression, r#""claims.name""#, "a name to show"),
        or("roles", Expressions, "[]", "roles; each expression gives one, a list, or null"),
        or("attributes", ExpressionTable, "{}", "whatever else rights ask for, each a list: `user.sites`"),
        or("admin", Condition, r#""'admin' in user.roles""#, "who administers the app: `user.admin`"),
    ],
};

#[rustfmt::skip]
static CHANNEL: Section = Section {
    path: "app.NAME.channel",
    doc: "What can be subscribed to. Captures such as `{siteId}` are text in the conditions, beside `user`; for `publish` also `event` (what is published) and `member` (the session is in the channel).",
    keys: &[
        need("name", Text, r#""site:{siteId}""#, "one channel, or a pattern of many"),
        or("subscribe", Right, "false", "who may hear it, and is joined to it automatically"),
        or("publish", Right, "false", "which clients may speak in it through the app's events; backends are ruled by their keys"),
        or("presence", Bool, "false", "keep who is in it"),
        or("echo", Texts, "[]", "channels that also hear what is published here, once; an `[[app.NAME.event]]` without `to` is about them, too"),
        or("when_slow", Choice(&["drop_oldest", "conflate", "disconnect"]), r#""drop_oldest""#, "what is done for a client that reads too slowly, when `outbox` is full: drop the oldest of the lowest priority; of each key keep only the latest, and then drop the same way; keep all, and close with 4000 when they fill it. What is remembered (`history`) is not dropped, but closes with 4000, where the latest of each key do not fit either. A publication to several channels follows the first"),
        may("conflate_by", Expression, r#""data.vehicleId""#, "the key for `when_slow = \"conflate\"`, from `event` and `data`; without it, or where the data lacks it, the event's name"),
        may("history", Count(within(1, 1_000_000)), "1000", "publications that are remembered for clients that were cut off, with `[app.NAME.recovery]`; a client that reads too slowly is disconnected and gets them when it comes back, instead of losing the oldest"),
        may("history_time", Duration, r#""10m""#, "for how long; otherwise as long as somebody can come back who was cut off"),
        may("inbox", Text, r#""{userId}""#, "what is durable here lies in the inbox of the user whom this part of the name is; with `[app.NAME.inbox]`"),
        may("roster", Choice(&["api", "subscribe"]), r#""api""#, "what is durable here is for all on the channel's roster, present or not: whom the API has put there, or also who subscribes, until they unsubscribe. Without it, for each user who hears it now"),
        may("audience", Text, r#""site:{first(data.siteId, data.site_id)}""#, "heard here only by those who may subscribe to the channel this names; by all, if the data names none"),
    ],
};

#[rustfmt::skip]
static CONNECT: Section = Section {
    path: "app.NAME.connect",
    doc: "When a session opens. Channels that it may not hear are passed over in silence.",
    keys: &[
        or("join", Templates, "[]", "channels to join: `user:{user.id}`, `site:{each(user.sites)}`"),
        may("reply", Table(&MESSAGE), "", "the greeting"),
    ],
};

#[rustfmt::skip]
static ON: Section = Section {
    path: "app.NAME.on",
    doc: "What a client may say. `data` is the first argument, or the whole frame of a plain WebSocket.",
    keys: &[
        need("event", Texts, r#""subscribe:site""#, "the event, or several that mean the same"),
        or("join", Templates, "[]", "channels to join, where the channel's `subscribe` allows"),
        may("since", Expression, r#""data.since""#, "the `offset` of the last event that the client has heard: it then hears first what was said in the channels to join after that, or the event `gap`; null or missing: it begins now"),
        or("leave", Templates, "[]", "channels to leave"),
        may("publish", Table(&PUBLISH), "", "what others hear, where the channel's `publish` allows"),
        may("mark", Table(&inbox::MARK), "", "how far messages of the user's inbox have come"),
        may("status", Text, r#""away""#, "the user's status that the presence API shows"),
        may("forward", Table(&backend::FORWARD), "", "it goes to the app's backend, if nothing of the above was refused; what is answered there is the acknowledgement"),
        may("reply", Table(&MESSAGE), "", "the answer, when anything came of it; `joined` and `left` are known"),
        may("ack", Expression, r#""{'ok': true}""#, "the acknowledgement; without it none is ever sent"),
        may("refused", Table(&MESSAGE), "", "how a refusal is said here"),
    ],
};

#[rustfmt::skip]
static MESSAGE: Section = Section {
    path: "app.NAME.on.reply",
    doc: "A message in the app's own words.",
    keys: &[
        need("event", Text, r#""subscribed""#, "the event's name; may hold `{expressions}`"),
        may("data", Expression, r#""{'siteId': data.siteId, 'at': now}""#, "its argument; none without it"),
        may("frame", Expression, r#""{'type': event, 'from': user.id}""#, "instead of `data`: the whole frame of a plain WebSocket"),
    ],
};

#[rustfmt::skip]
static PUBLISH: Section = Section {
    path: "app.NAME.on.publish",
    doc: "A message and who hears it. It goes out as written here, without `push`.",
    keys: &[
        need("to", Templates, r#""user:{data.to}""#, "channels; `*` is everybody"),
        need("event", Text, r#""chat:message""#, "the event's name; may hold `{expressions}`"),
        may("data", Expression, r#""{'from': user.id, 'content': data.content}""#, "its argument; none without it"),
        may("frame", Expression, r#""{'type': event, 'id': id, 'from': user.id}""#, "instead of `data`: the whole frame of a plain WebSocket"),
        or("skip_self", Bool, "false", "the session that spoke does not hear it; what is durable it does, if that is for its user"),
    ],
};

#[rustfmt::skip]
static PRESENCE: Section = Section {
    path: "app.NAME.presence",
    doc: "What is published when users come and go.",
    keys: &[
        may("connected", Table(&PUBLISH), "", "a session has opened"),
        may("online", Table(&PUBLISH), "", "it was the user's first"),
        may("offline", Table(&PUBLISH), "", "it was the user's last that closed"),
        may("disconnected", Table(&PUBLISH), "", "a session has closed"),
    ],
};

#[rustfmt::skip]
static PUSH: Section = Section {
    path: "app.NAME.push",
    doc: "How a publication looks to clients. Known: `event`, `data`, `id`, and the times.",
    keys: &[
        may("event", Text, r#""alarm:*""#, "which events; a trailing `*` stands for any ending; all without it"),
        or("as", Text, r#""{event}""#, "the event's name on the wire"),
        may("data", Expression, r#""{'type': event, 'payload': data, 'timestamp': now}""#, "its argument"),
        may("frame", Expression, r#""{'type': event, 'content': data}""#, "instead of `data`: the whole frame of a plain WebSocket"),
    ],
};

#[rustfmt::skip]
static HEARTBEAT: Section = Section {
    path: "app.NAME.heartbeat",
    doc: "The app's own sign of life, beside those of the transport.",
    keys: &[
        need("timeout", Duration, r#""60s""#, "a session that is silent for so long is closed"),
        may("event", Text, r#""heartbeat""#, "only this event counts; any packet does without it"),
    ],
};

#[rustfmt::skip]
static RECOVERY: Section = Section {
    path: "app.NAME.recovery",
    doc: "Clients that were cut off come back as what they were (`socket.recovered`), in their channels, and get what they missed in those with a `history`, or hear the event `gap`. Stock `socket.io-client` does so from 4.6 on. Every event then ends with a position as one more argument.",
    keys: &[
        or("window", Duration, r#""2m""#, "how long a client that was cut off may take to come back"),
        may("everyone", Count(within(1, 1_000_000)), "100", "publications to everyone (`*`) that are remembered, those of `presence` rules, too; without it none is. `delivery = \"live\"` in an `[[app.NAME.event]]` leaves an event out"),
        or("memory", Size(within(1 << 16, 1 << 36)), r#""64MiB""#, "bytes that are remembered for all channels together, about; then the oldest are forgotten first"),
    ],
};

#[rustfmt::skip]
static LIMITS: Section = Section {
    path: "app.NAME.limits",
    doc: "How much the app's clients may ask for, per node. `\"none\"` is no limit. What each client hears that exceeds one is in [the table of codes](codes.md); `oyez_limit_hits_total` counts it. What says nothing (pings, crumbs, packets without content) is limited everywhere alike: 500 at once and 50 a second from one client; more closes with 4007 ([floods](protocol.md#floods)) and counts as `flood`.",
    keys: &[
        or("connections", ANY, r#""none""#, "open connections to the app; one more is refused"),
        or("connections_per_address", ANY, "200", "open connections from one address (of IPv6: one /64); one more is refused"),
        or("connects_per_second", ANY, "50", "attempts to connect from one address, per second and at once, whether a token is good or not; one more is refused"),
        or("connections_per_user", ANY, "20", "open connections of one user"),
        or("when_user_full", Choice(&["refuse_new", "close_oldest"]), r#""refuse_new""#, "when a user makes one more: refuse it, or close the user's oldest with 4503"),
        or("channels_per_session", ANY, "200", "channels that one session may be in; one more is denied"),
        or("channel_length", Count(within(1, 200)), "200", "characters of a channel's name; a longer one is denied"),
        or("channel_characters", Choice(&["any", "ascii"]), r#""any""#, "what a channel's name may consist of: all but `*` and control characters, or visible characters of ASCII; others are denied"),
        or("events_per_second", ANY, "100", "events of one session per second, in the long run; one more is denied"),
        or("events_burst", Count(within(1, 10_000_000)), "200", "events of one session at once"),
        or("app_events_per_second", ANY, r#""none""#, "events of all sessions together, per second and at once; one more is denied"),
        or("json_depth", Count(within(1, 126)), "64", "levels of lists and objects in what a client says or a backend publishes; more is denied, and more than 126 closes with 4505"),
        or("outbox", Size(within(1 << 10, 1 << 30)), r#""1MiB""#, "bytes that wait for one client that reads too slowly; then a channel's `when_slow` decides, and answers that do not fit close with 4000. Apps on one path agree on it"),
        or("publishes_per_second", ANY, r#""none""#, "publications of one key per second, and at once; one more is answered 429"),
    ],
};
