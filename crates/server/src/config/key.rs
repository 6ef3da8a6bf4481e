//! API keys, as the file says them.

use std::collections::BTreeSet;

use oyez_hub::policy::channel::Pattern;

use super::ApiKey;
use super::reader::{Located, Node};

/// The fewest bytes of a key: 128 random bits, written as hexadecimal digits.
const LEAST_BYTES: usize = 32;

/// The fewest different characters of a secret. Of 32 random hexadecimal digits fewer are a matter of one in millions.
const LEAST_DISTINCT: usize = 8;

/// What stands in documentation to be replaced; no random key contains any of them.
const WELL_KNOWN: [&str; 9] =
    ["changeme", "change-me", "change_me", "your-", "your_", "example", "password", "placeholder", "replace"];

pub(super) fn key(name: String, node: &Node<'_>, apps: &[String]) -> ApiKey {
    let wanted = node.texts("apps");
    for app in wanted.iter().filter(|app| app.text != "*" && !apps.contains(&app.text)) {
        node.doc.problem(
            app.span.start,
            format!("there is no app `{}`", app.text),
            Some(format!("the file has {}", apps.join(", "))),
        );
    }
    let secrets = node.secrets("secret");
    if node.doc.inputs.is_some_and(|inputs| !inputs.dev) {
        refuse_weak(node, &secrets);
    }
    ApiKey {
        name,
        secrets,
        apps: wanted.into_iter().map(|app| app.text).collect(),
        rights: node.plain_texts("rights"),
        channels: channels(node),
    }
}

/// A key opens the door by itself, so nobody may find it by trying, nor know it from a text on the web.
fn refuse_weak(node: &Node<'_>, secrets: &[String]) {
    let place = node.value("secret").map_or_else(|| node.span.clone(), |(_, span)| span);
    for why in secrets.iter().filter_map(|secret| weakness(secret)) {
        let help = "make another, for here and for who publishes: openssl rand -hex 32 (`oyez dev` takes any)";
        node.doc.problem(place.start, format!("{} {why}", node.full("secret")), Some(help.to_owned()));
    }
}

fn weakness(secret: &str) -> Option<String> {
    let bytes = secret.len();
    if bytes < LEAST_BYTES {
        return Some(format!("has {bytes} bytes, and a key needs {LEAST_BYTES}: anybody could find it by trying"));
    }
    let lower = secret.to_ascii_lowercase();
    if let Some(word) = WELL_KNOWN.into_iter().find(|word| lower.contains(word)) {
        return Some(format!("contains `{word}`, as what is to be replaced does: anybody could guess it"));
    }
    monotonous(secret)
}

/// Why a secret that is long enough is none, be it a key or what tokens are signed with.
pub(super) fn monotonous(secret: &str) -> Option<String> {
    let distinct = secret.bytes().collect::<BTreeSet<_>>().len();
    (distinct < LEAST_DISTINCT)
        .then(|| format!("consists of {distinct} different characters only: anybody could find it by trying"))
}

/// The channels that `channels` names; none: any.
pub(super) fn channels(node: &Node<'_>) -> Option<Vec<Pattern>> {
    let wanted = node.texts("channels");
    let pattern = |channel: &Located| {
        let compiled = Pattern::compile(&channel.text);
        compiled.map_err(|why| node.doc.problem(channel.span.start, why, Some("as in \"site:{id}\"".into()))).ok()
    };
    let any = wanted.iter().any(|channel| channel.text == "*");
    (!any).then(|| wanted.iter().filter_map(pattern).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_must_be_long_and_nobody_elses() {
        let check = |secret: &str, expect: Option<&str>| {
            let why = weakness(secret);
            let fits =
                why.as_deref().zip(expect).map_or(why.is_none() && expect.is_none(), |(why, part)| why.contains(part));
            assert!(fits, "{secret}: {why:?}, not {expect:?}");
        };
        check("0123456789abcdef0123456789abcde", Some("31 bytes"));
        check("0123456789abcdef0123456789abcdef", None);
        check("2wbA0cYy1ZkTzS8cD3u0nq7hJmPfX9eL", None);
        check(&"x".repeat(64), Some("1 different"));
        check(&"1234567".repeat(5), Some("7 different"));
        check("ChangeMe-to-something-long-and-random", Some("`changeme`"));
        check("this-is-your-api-key-0123456789abcdef", Some("`your-`"));
    }
}
