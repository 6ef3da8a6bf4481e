//! Tokens for trying things out: the claims that an app reads a given user from, signed with the app's own secret.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use oyez_hub::policy::expression::Shape;
use oyez_hub::policy::token;
use oyez_server::config::AppConfig;
use serde_json::{Map, Value};

use crate::failure::Failure;

/// The claims of one token.
type Claims = Map<String, Value>;

/// Whom a token is for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Subject<'a> {
    /// The user id.
    pub(crate) user: &'a str,
    /// Role names.
    pub(crate) roles: &'a [String],
    /// Claims as they are; they win over those that are worked out.
    pub(crate) claims: &'a [(String, Value)],
}

/// A token by which `app` knows the subject, good for `lifetime` from now.
pub(crate) fn mint(app: &AppConfig, subject: &Subject<'_>, lifetime: Duration) -> Result<String, Failure> {
    let secret = secret(app)?;
    let claims = claims(app, subject, now(), lifetime)?;
    token::mint(secret.as_bytes(), &claims).map_err(|error| Failure::new(error.to_string()))
}

/// The secret that the app verifies HS256 with.
fn secret(app: &AppConfig) -> Result<&str, Failure> {
    let Some(jwt) = &app.auth.jwt else {
        let name = &app.name;
        return Err(match &app.auth.authjs {
            Some(authjs) => Failure::new(format!("Auth.js mints the tokens of `{name}`")).help(format_args!(
                "sign in to the web app, and take the value of its cookie {}",
                authjs.cookies.first().map_or("authjs.session-token", String::as_str)
            )),
            None => Failure::new(format!("another service issues the tokens of `{name}`")).help("sign in there"),
        });
    };
    match jwt.secrets.first() {
        Some(secret) if jwt.algorithms.iter().any(|name| name == "HS256") => Ok(secret),
        _ => Err(Failure::new(format!("`{}` accepts no HS256 tokens, and only those can be made here", app.name))
            .help("ask whoever holds the private key of the app's tokens")),
    }
}

fn claims(app: &AppConfig, subject: &Subject<'_>, now: u64, lifetime: Duration) -> Result<Claims, Failure> {
    let mut claims = Claims::new();
    let unknown = |what: &str| {
        Failure::new(format!("the app `{}` computes its {what}, so no claim can be worked out for it", app.name))
            .help("write the claims that it is computed from: --claim NAME=VALUE")
    };
    let own = !subject.claims.is_empty();
    match app.identity.user.first_path() {
        Some(path) => put(&mut claims, path, Value::from(subject.user)),
        None if own => {}
        None => return Err(unknown("user")),
    }
    if !subject.roles.is_empty() {
        match app.identity.roles.first().and_then(Shape::first_path) {
            Some(path) => put(&mut claims, path, Value::from(subject.roles)),
            None if own => {}
            None => return Err(unknown("roles")),
        }
    }
    let jwt = app.auth.jwt.as_ref();
    let expected = [("iss", jwt.map(|jwt| &jwt.issuers)), ("aud", jwt.map(|jwt| &jwt.audiences))];
    for (claim, values) in expected {
        if let Some(first) = values.and_then(|values| values.first()) {
            claims.insert(claim.to_owned(), Value::from(first.as_str()));
        }
    }
    claims.insert("iat".to_owned(), Value::from(now));
    claims.insert("exp".to_owned(), Value::from(now.saturating_add(lifetime.as_secs())));
    claims.extend(subject.claims.iter().cloned());
    check(app, subject, &claims)?;
    Ok(claims)
}

/// Sets a claim, within others where the path has several fields.
fn put(claims: &mut Claims, path: &[Arc<str>], value: Value) {
    match path {
        [] => {}
        [last] => drop(claims.insert(last.to_string(), value)),
        [first, rest @ ..] => {
            let inner = claims.entry(first.to_string()).or_insert_with(|| Value::Object(Claims::new()));
            if let Value::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

/// The app must know the user by these claims; otherwise the token would be of no use, or somebody else's.
fn check(app: &AppConfig, subject: &Subject<'_>, claims: &Claims) -> Result<(), Failure> {
    let help = "see [app.NAME.identity] in the file, and write --claim NAME=VALUE";
    let identity = app.identity.identify(claims, Arc::from("mint"), None, None);
    let identity = identity.map_err(|error| Failure::new(error.to_string()).help(help))?;
    if *identity.user != *subject.user {
        let failure = Failure::new(format!("with these claims `{}` takes the user for `{}`", app.name, identity.user));
        return Err(failure.help(help));
    }
    let known = |role: &&String| identity.rights.roles.iter().any(|known| **known == ***role);
    match subject.roles.iter().find(|role| !known(role)) {
        Some(role) => {
            Err(Failure::new(format!("`{}` does not see the role `{role}` in these claims", app.name)).help(help))
        }
        None => Ok(()),
    }
}

/// Seconds since the Unix epoch.
fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
