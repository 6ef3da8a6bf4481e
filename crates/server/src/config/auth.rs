//! How tokens are found and verified, as the file says it. The verifier itself is `oyez_hub::policy::token`.

use std::fmt;
use std::time::Duration;

use oyez_hub::policy::token::{Algorithm, least_secret_bytes};

use super::key::monotonous;
use super::reader::Node;
use super::rules;

/// `[app.NAME.auth]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthConfig {
    /// Where a token is looked for, in this order.
    pub from: Vec<TokenSource>,
    /// JSON Web Tokens.
    pub jwt: Option<JwtConfig>,
    /// Session tokens of Auth.js.
    pub authjs: Option<AuthJsConfig>,
    /// Opaque tokens.
    pub introspection: Option<IntrospectionConfig>,
    /// What a refused client reads.
    pub messages: AuthMessages,
}

/// Where a token may stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// A field of Socket.IO's `auth` object.
    Auth(String),
    /// A parameter of the query.
    Query(String),
    /// `Authorization: Bearer …`.
    Bearer,
    /// A cookie, also in chunks; only from an allowed origin.
    Cookie(String),
    /// A WebSocket subprotocol.
    Subprotocol,
}

/// `[app.NAME.auth.jwt]`.
#[derive(Clone, PartialEq, Eq)]
pub struct JwtConfig {
    /// The only algorithms that are accepted, as RFC 7518 names them.
    pub algorithms: Vec<String>,
    /// Secrets for HS.
    pub secrets: Vec<String>,
    /// PEM texts of public keys.
    pub public_keys: Vec<String>,
    /// A key set by URL.
    pub jwks_url: Option<String>,
    /// Key sets as JSON text.
    pub jwks: Vec<String>,
    /// How old a fetched key set may get.
    pub jwks_refresh: Duration,
    /// Allowed `iss`; empty: not asked.
    pub issuers: Vec<String>,
    /// Allowed `aud`; empty: not asked.
    pub audiences: Vec<String>,
    /// Allowed `typ`, where a token has one; empty: not asked.
    pub types: Vec<String>,
    /// How far clocks may differ.
    pub leeway: Duration,
    /// `exp` must be there.
    pub require_expiry: bool,
}

/// `[app.NAME.auth.authjs]`.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthJsConfig {
    /// Each may open a token.
    pub secrets: Vec<String>,
    /// Cookie names, which salt the keys.
    pub cookies: Vec<String>,
    /// How far clocks may differ.
    pub leeway: Duration,
}

/// `[app.NAME.auth.introspection]`.
#[derive(Clone, PartialEq, Eq)]
pub struct IntrospectionConfig {
    /// Where to ask.
    pub url: String,
    /// Bearer token for that service.
    pub secret: Option<String>,
    /// How long an answer counts.
    pub cache: Duration,
    /// How long to wait for one.
    pub timeout: Duration,
}

/// `[app.NAME.auth.messages]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthMessages {
    /// No token.
    pub missing: String,
    /// Not accepted.
    pub invalid: String,
    /// Accepted, but without a user.
    pub unknown: String,
}

impl fmt::Debug for JwtConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtConfig")
            .field("algorithms", &self.algorithms)
            .field("issuers", &self.issuers)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AuthJsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthJsConfig").field("cookies", &self.cookies).finish_non_exhaustive()
    }
}

impl fmt::Debug for IntrospectionConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntrospectionConfig").field("url", &self.url).finish_non_exhaustive()
    }
}

pub(super) fn auth(node: &Node<'_>) -> AuthConfig {
    let messages = node.child_or_default("messages");
    let message = |name: &str| messages.text(name).map(|message| message.text).unwrap_or_default();
    let config = AuthConfig {
        from: sources(node),
        jwt: node.child("jwt").map(|node| jwt(&node)),
        authjs: node.child("authjs").map(|node| authjs(&node)),
        introspection: node.child("introspection").and_then(|node| introspection(&node)),
        messages: AuthMessages {
            missing: message("missing"),
            invalid: message("invalid"),
            unknown: message("unknown"),
        },
    };
    if !(node.has("jwt") || node.has("authjs") || node.has("introspection")) {
        let help =
            format!("write [{}.jwt] with algorithms = [\"HS256\"] and secret = {{ env = \"JWT_SECRET\" }}", node.path);
        node.problem(format!("{} verifies nothing: every token would be refused", node.path), Some(help));
    }
    config
}

/// Refuses a plain WebSocket to which nobody could show a token: `auth` is an object of Socket.IO's CONNECT.
pub(super) fn check_places(app: &Node<'_>, websocket: &Node<'_>, auth: &AuthConfig) {
    let only_socketio = auth.from.iter().all(|source| matches!(source, TokenSource::Auth(_)));
    if only_socketio && !auth.from.is_empty() {
        websocket.problem(
            format!("a plain WebSocket has no `auth`, and {}.auth.from names nothing else: all are refused", app.path),
            Some(format!("add a place to [{}.auth]: from = [\"auth.token\", \"query.token\"]", app.path)),
        );
    }
}

fn sources(node: &Node<'_>) -> Vec<TokenSource> {
    let mut sources = Vec::new();
    for source in node.texts("from") {
        sources.push(match source.text.split_once('.') {
            Some(("auth", field)) if !field.is_empty() => TokenSource::Auth(field.to_owned()),
            Some(("query", name)) if !name.is_empty() => TokenSource::Query(name.to_owned()),
            Some(("cookie", name)) if !name.is_empty() => TokenSource::Cookie(name.to_owned()),
            None if source.text == "bearer" => TokenSource::Bearer,
            None if source.text == "subprotocol" => TokenSource::Subprotocol,
            _ => {
                let help = "one of auth.FIELD, query.NAME, cookie.NAME, bearer, subprotocol".to_owned();
                node.doc.problem(source.span.start, format!("a token cannot stand in `{}`", source.text), Some(help));
                continue;
            }
        });
    }
    sources
}

fn authjs(node: &Node<'_>) -> AuthJsConfig {
    let config = AuthJsConfig {
        secrets: node.secrets("secret"),
        cookies: node.plain_texts("cookie"),
        leeway: node.duration("leeway"),
    };
    if node.doc.inputs.is_some_and(|inputs| !inputs.dev) {
        refuse_monotonous(node, &config.secrets);
    }
    config
}

fn jwt(node: &Node<'_>) -> JwtConfig {
    let config = JwtConfig {
        algorithms: node.plain_texts("algorithms"),
        secrets: node.secrets("secret"),
        public_keys: node.secrets("public_key"),
        jwks_url: rules::url(node, "jwks"),
        jwks: node.secrets("jwks_keys"),
        jwks_refresh: node.duration("jwks_refresh"),
        issuers: node.plain_texts("issuer"),
        audiences: node.plain_texts("audience"),
        types: node.plain_texts("type"),
        leeway: node.duration("leeway"),
        require_expiry: node.boolean("require_expiry"),
    };
    let symmetric = config.algorithms.iter().any(|name| name.starts_with("HS"));
    if !["secret", "public_key", "jwks", "jwks_keys"].into_iter().any(|key| node.has(key)) {
        node.problem(
            format!("{} has no key", node.path),
            Some("write secret = { env = \"JWT_SECRET\" }, public_key = … or jwks = …".into()),
        );
    } else if node.has("secret") && !symmetric && !config.algorithms.is_empty() {
        node.problem(
            format!("{}.secret is for HS algorithms, and none is allowed", node.path),
            Some("add HS256 to algorithms, or write public_key".into()),
        );
    }
    if node.doc.inputs.is_some_and(|inputs| !inputs.dev) {
        check_lengths(node, &config);
        refuse_monotonous(node, &config.secrets);
    }
    config
}

/// From a single token, a short secret can be found by trying (RFC 7518, section 3.2). One secret may serve several
/// algorithms, and then the least of them counts: the others make it no weaker.
fn check_lengths(node: &Node<'_>, config: &JwtConfig) {
    let needs = |name: &String| name.parse::<Algorithm>().map_or(0, least_secret_bytes);
    let wanted = config.algorithms.iter().map(|name| (needs(name), name)).filter(|(least, _)| *least > 0);
    let Some((least, algorithm)) = wanted.min() else { return };
    // A PEM text is refused for what it is.
    let short = |secret: &&String| secret.len() < least && !secret.trim_start().starts_with("-----BEGIN");
    for secret in config.secrets.iter().filter(short) {
        let place = node.value("secret").map_or_else(|| node.span.clone(), |(_, span)| span);
        let (key, bytes) = (node.full("secret"), secret.len());
        let help = "make a longer one, for here and for whoever signs: openssl rand -hex 32 (`oyez dev` takes any)";
        node.doc.problem(
            place.start,
            format!("{key} has {bytes} bytes, and {algorithm} needs {least}: who has a token could find it by trying"),
            Some(help.to_owned()),
        );
    }
}

/// Who guesses the secret is whoever they like. (Which words are in it is not looked at, as in a key: it is that of a backend which runs.)
fn refuse_monotonous(node: &Node<'_>, secrets: &[String]) {
    let place = node.value("secret").map_or_else(|| node.span.clone(), |(_, span)| span);
    for why in secrets.iter().filter_map(|secret| monotonous(secret)) {
        let help = "make another, for here and for whoever signs: openssl rand -hex 32 (`oyez dev` takes any)";
        node.doc.problem(place.start, format!("{} {why}", node.full("secret")), Some(help.to_owned()));
    }
}

fn introspection(node: &Node<'_>) -> Option<IntrospectionConfig> {
    Some(IntrospectionConfig {
        secret: node.secrets("secret").into_iter().next(),
        cache: node.duration("cache"),
        timeout: node.duration("timeout"),
        url: rules::url(node, "url")?,
    })
}
