//! Which web pages may connect, as the file says it. An origin counts letter by letter, so one that no browser would
//! write is a mistake: it would never match.

use super::auth::{AuthConfig, TokenSource};
use super::reader::{Located, Node};

/// The origins of an app.
pub(super) fn origins(node: &Node<'_>) -> Vec<String> {
    let origins = node.texts("origins");
    if origins.is_empty() && node.has("origins") {
        node.problem(
            format!("{}.origins is empty, so no web page could connect", node.path),
            Some("list the pages' origins".into()),
        );
    }
    for origin in &origins {
        if origin.text != "*" {
            check(node, origin);
        } else if origins.len() > 1 {
            let message = "`*` is any page, so the other origins mean nothing";
            node.doc.problem(origin.span.start, message, Some("keep `*`, or the list".into()));
        }
    }
    origins.into_iter().map(|origin| origin.text).collect()
}

/// Refuses cookies from any page: browsers send them whichever page asks, so each could act for whoever is signed in.
pub(super) fn check_cookies(node: &Node<'_>, origins: &[String], auth: &AuthConfig) {
    let cookie = auth.from.iter().find_map(|source| match source {
        TokenSource::Cookie(name) => Some(name),
        _ => None,
    });
    if let (Some(cookie), true) = (cookie, origins.iter().any(|origin| origin == "*")) {
        let place = node.value("origins").map_or_else(|| node.span.clone(), |(_, span)| span);
        let path = &node.path;
        let message = format!(
            "{path}.origins is `*`, and a token may stand in the cookie `{cookie}`: any page could act for its user"
        );
        let help = format!("list the pages' origins, or take \"cookie.{cookie}\" out of `from` of [{path}.auth]");
        node.doc.problem(place.start, message, Some(help));
    }
}

fn check(node: &Node<'_>, origin: &Located) {
    let (message, help) = match canonical(&origin.text) {
        Some(canonical) if canonical == origin.text => return,
        Some(canonical) => (
            format!("no browser writes the origin `{}`, so it would never match", origin.text),
            format!("write \"{canonical}\""),
        ),
        None if !origin.text.is_ascii() => (
            format!("no browser writes the origin `{}`, so it would never match", origin.text),
            "write the host in its form with xn--, as the browser's console shows it: location.origin".into(),
        ),
        None => (
            format!("`{}` is no origin", origin.text),
            "an origin is scheme, host and port: \"https://desk.example.com\"".into(),
        ),
    };
    node.doc.problem(origin.span.start, message, Some(help));
}

/// An origin as browsers write it: in lower case, without the scheme's own port or anything behind. `None`: it is none.
fn canonical(origin: &str) -> Option<String> {
    let (scheme, rest) = origin.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let usual = match scheme.as_str() {
        "http" => "80",
        "https" => "443",
        _ => return None,
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let name = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let good = match name {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    };
    let port = match port {
        Some("*") => ":*".to_owned(),
        Some(port) if port == usual => String::new(),
        Some(port) => format!(":{}", port.parse::<u16>().ok()?),
        None => String::new(),
    };
    good.then(|| format!("{scheme}://{}{port}", host.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip] // a row a line
    fn origins_are_as_browsers_write_them() {
        for good in ["https://a.example", "http://localhost:5173", "http://localhost:*", "https://xn--mnchen-3ya.example", "http://[::1]:3000", "http://[::1]"] {
            assert_eq!(canonical(good).as_deref(), Some(good));
        }
        for (written, expect) in [
            ("HTTPS://A.Example/", "https://a.example"),
            ("https://a.example:443", "https://a.example"),
            ("http://a.example:80", "http://a.example"),
            ("http://a.example:443", "http://a.example:443"),
            ("http://a.example:08080", "http://a.example:8080"),
        ] {
            assert_eq!(canonical(written).as_deref(), Some(expect), "{written}");
        }
        for none in ["", "a.example", "null", "ws://a.example", "https://", "https://*.example.com", "https://a.example/b", "https://u@a.example", "https://a.example:x", "https://a.example:99999", "https://münchen.example", "https://[a]", "file://"] {
            assert_eq!(canonical(none), None, "{none}");
        }
    }
}
