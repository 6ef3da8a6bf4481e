//! Finding a credential in a `Cookie` header (RFC 6265 section 4.2).

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::MAX_TOKEN_BYTES;

/// The most pieces into which a session cookie may be cut; at about 4 KiB each they exceed [`MAX_TOKEN_BYTES`].
const MAX_CHUNKS: usize = 8;

/// The value of the first cookie called `name`, without quotes, percent-decoded as the usual cookie libraries do.
/// A value that is not UTF-8 once decoded is given as it is.
#[must_use]
pub fn get<'a>(header: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let raw = header.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key.trim() == name).then(|| value.trim())
    })?;
    let value = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
    Some(percent_decode_str(value).decode_utf8().unwrap_or(Cow::Borrowed(value)))
}

/// The session token that Auth.js keeps under `name`: in one cookie, or cut into `name.0`, `name.1`, and so on.
/// `None` when there is none, or more than a token may be.
#[must_use]
pub fn session_token(header: &str, name: &str) -> Option<String> {
    if let Some(whole) = get(header, name).filter(|value| !value.is_empty()) {
        return (whole.len() <= MAX_TOKEN_BYTES).then(|| whole.into_owned());
    }
    let mut token = String::new();
    for index in 0..=MAX_CHUNKS {
        let Some(chunk) = get(header, &format!("{name}.{index}")) else {
            break;
        };
        if index == MAX_CHUNKS || token.len() + chunk.len() > MAX_TOKEN_BYTES {
            return None;
        }
        token.push_str(&chunk);
    }
    (!token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_by_their_exact_name() {
        let header = r#"a=1; xa=2;b="q";a=3; c=s%3Ax.y; d; e=%ff; =f; g=x=y"#;
        for (name, want) in [
            ("a", Some("1")),
            ("b", Some("q")),
            ("c", Some("s:x.y")),
            ("d", None),
            ("e", Some("%ff")),
            ("g", Some("x=y")),
        ] {
            assert_eq!(get(header, name).as_deref(), want, "{name}");
        }
        assert_eq!(get("", "a"), None);
    }

    #[test]
    fn chunks_are_joined_in_their_order() {
        let check =
            |header: &str, want: Option<&str>| assert_eq!(session_token(header, "s").as_deref(), want, "{header}");
        check("s=whole; s.0=no", Some("whole"));
        check("s.1=b; s.0=a; s.2=c", Some("abc"));
        check("s.0=a; s.2=c", Some("a"));
        check("s.1=b", None);
        check("s=; s.0=a", Some("a"));
        check("t=1", None);
        let many: String = (0..9).map(|i| format!("s.{i}=x;")).collect();
        check(&many, None);
        check(&format!("s.0={0};s.1={0}", "x".repeat(9000)), None);
        check(&format!("s={}", "x".repeat(MAX_TOKEN_BYTES + 1)), None);
    }
}
