//! What an app's file says of its own backend: where it is asked and told something.

use std::net::IpAddr;

use oyez_hub::backend::{Endpoint, is_public};
use oyez_hub::lifecycle::Rules;
use oyez_hub::policy::rule::Ask;
use oyez_hub::source::Secrets;
use toml::de::DeValue;

use super::app::positive;
use super::key::channels;
use super::reader::Node;
use super::rules::url;

/// A URL and how it is spoken to.
pub(super) fn endpoint(node: &Node<'_>, key: &str) -> Option<Endpoint> {
    positive(node, &["timeout"]);
    let (url, private) = (url(node, key)?, node.boolean("private"));
    if !private && is_private(&url) {
        let help = "write private = true beside it, if that is meant".to_owned();
        node.problem(format!("{} is no public address", node.full(key)), Some(help));
    }
    let secrets = node.secrets("secret");
    let wrong = |why: &str| {
        let help = "openssl rand -base64 32, and give it to the backend, too".to_owned();
        node.problem(format!("{}: {why}", node.full("secret")), Some(help));
    };
    Some(Endpoint {
        url,
        secrets: if secrets.is_empty() { None } else { Secrets::new(&secrets).map_err(wrong).ok() },
        token: node.secrets("token").into_iter().next(),
        timeout: node.duration("timeout"),
        private,
    })
}

/// Whether a URL says by itself that it leads to this machine, or into its networks. What a name leads to is seen when it
/// is looked up.
fn is_private(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    };
    let host = host.to_ascii_lowercase();
    let local = host == "localhost" || host.ends_with(".localhost");
    local || host.parse::<IpAddr>().is_ok_and(|address| !is_public(address))
}

/// The table behind `subscribe = { ask = … }`.
pub(super) fn ask(node: &Node<'_>) -> Option<Ask> {
    let (cache, default) = (node.duration("cache"), node.boolean("default"));
    Some(Ask { endpoint: endpoint(node, "ask")?, cache, default })
}

/// `[app.NAME.webhook]`.
pub(super) fn webhook(node: &Node<'_>) -> Option<Rules> {
    let (events, channels) = (node.plain_texts("events"), channels(node));
    if matches!(node.value("events"), Some((DeValue::Array(written), _)) if written.is_empty()) {
        let help = "leave it out for all of them, or leave the table out".to_owned();
        node.problem(format!("{} is empty, so nothing is told", node.full("events")), Some(help));
    }
    if node.has("channels") && !events.is_empty() && !events.iter().any(|event| event.starts_with("channel.")) {
        let help = "add \"channel.occupied\" or \"channel.vacated\" to `events`".to_owned();
        node.problem(format!("{} says nothing: no event is about channels", node.full("channels")), Some(help));
    }
    Some(Rules { endpoint: endpoint(node, "url")?, events, channels })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_urls_say_by_themselves_that_they_are_private() {
        for private in [
            "http://localhost/x",
            "http://localhost:80",
            "http://app.localhost",
            "https://127.0.0.1:3000/x",
            "http://[::1]:80/x",
            "http://me:word@10.0.0.1",
            "http://192.168.0.1?x",
            "http://[::ffff:127.0.0.1]",
        ] {
            assert!(is_private(private), "{private}");
        }
        for other in ["http://backend.example.com", "https://1.1.1.1/127.0.0.1", "http://[2606:4700::1111]/"] {
            assert!(!is_private(other), "{other}");
        }
    }
}
