//! The server's answer to an upgrade request (RFC 6455 section 4.2, RFC 7692 section 7.1). HTTP itself is the caller's.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// What every accept key is salted with.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What we agree to: both sides start each message afresh.
const DEFLATE_ANSWER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// The headers of an upgrade request that matter; several of one name are joined by commas.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'a> {
    /// `Connection`
    pub connection: Option<&'a str>,
    /// `Upgrade`
    pub upgrade: Option<&'a str>,
    /// `Sec-WebSocket-Version`
    pub version: Option<&'a str>,
    /// `Sec-WebSocket-Key`
    pub key: Option<&'a str>,
    /// `Sec-WebSocket-Extensions`
    pub extensions: Option<&'a str>,
}

/// The headers of the answer, besides `Connection: Upgrade` and `Upgrade: websocket`; its status is 101.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// `Sec-WebSocket-Accept`
    pub accept: String,
    /// `Sec-WebSocket-Extensions`: present when permessage-deflate was agreed.
    pub extensions: Option<&'static str>,
}

/// Why an upgrade was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The request does not ask for WebSocket.
    #[error("not a WebSocket upgrade")]
    NotAnUpgrade,
    /// Not version 13; the answer must carry `Sec-WebSocket-Version: 13`.
    #[error("unsupported WebSocket version")]
    Version,
    /// The key is not 16 bytes of base64.
    #[error("invalid Sec-WebSocket-Key")]
    Key,
}

impl HandshakeError {
    /// The HTTP status: 426 when another version would do, else 400.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Version => 426,
            Self::NotAnUpgrade | Self::Key => 400,
        }
    }
}

/// Whether a comma-separated header names `token`, in any case.
#[must_use]
pub fn has_token(header: &str, token: &str) -> bool {
    header.split(',').any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// Checks an upgrade request and says what to answer; `deflate` says whether we want permessage-deflate.
///
/// # Errors
/// [`HandshakeError`] says what is wrong with the request. A deflate offer we cannot take is declined, not an error.
pub fn answer(request: &Request<'_>, deflate: bool) -> Result<Response, HandshakeError> {
    let asks = |header: Option<&str>, token| header.is_some_and(|header| has_token(header, token));
    if !asks(request.connection, "upgrade") || !asks(request.upgrade, "websocket") {
        return Err(HandshakeError::NotAnUpgrade);
    }
    if request.version.map(str::trim) != Some("13") {
        return Err(HandshakeError::Version);
    }
    let accept = accept_key(request.key.unwrap_or_default().trim())?;
    let agreed = deflate && request.extensions.is_some_and(offers_deflate);
    Ok(Response { accept, extensions: agreed.then_some(DEFLATE_ANSWER) })
}

/// The `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key`.
///
/// # Errors
/// [`HandshakeError::Key`] when the key is not 16 bytes of base64.
pub fn accept_key(key: &str) -> Result<String, HandshakeError> {
    match STANDARD.decode(key) {
        Ok(nonce) if nonce.len() == 16 => {
            let hash = Sha1::new().chain_update(key).chain_update(GUID).finalize();
            Ok(STANDARD.encode(hash))
        }
        _ => Err(HandshakeError::Key),
    }
}

/// Whether one of the offers is a permessage-deflate that we can take as it is.
fn offers_deflate(header: &str) -> bool {
    header.split(',').any(|offer| {
        let mut items = offer.split(';').map(str::trim);
        items.next() == Some("permessage-deflate") && acceptable(items)
    })
}

/// Whether all parameters are known, valid, given once, and leave the server its full window: shared frames use it.
fn acceptable<'a>(parameters: impl Iterator<Item = &'a str>) -> bool {
    let mut seen = Vec::new();
    for parameter in parameters {
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (parameter, None),
        };
        let valid = match (name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits", None) => true,
            ("client_max_window_bits", Some(bits)) => {
                matches!(bits, "8" | "9" | "10" | "11" | "12" | "13" | "14" | "15")
            }
            _ => false,
        };
        if !valid || seen.contains(&name) {
            return false;
        }
        seen.push(name);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn request() -> Request<'static> {
        Request {
            connection: Some("keep-alive, Upgrade"),
            upgrade: Some("WebSocket"),
            version: Some("13"),
            key: Some(KEY),
            extensions: None,
        }
    }

    #[test]
    fn the_example_of_the_rfc() {
        let expect = Response { accept: "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned(), extensions: None };
        assert_eq!(answer(&request(), true), Ok(expect));
    }

    #[test]
    fn refusals() {
        #[track_caller]
        fn check(request: Request<'_>, expect: HandshakeError, status: u16) {
            assert_eq!(answer(&request, true), Err(expect));
            assert_eq!(expect.http_status(), status);
        }
        check(Request { connection: None, ..request() }, HandshakeError::NotAnUpgrade, 400);
        check(Request { connection: Some("close"), ..request() }, HandshakeError::NotAnUpgrade, 400);
        check(Request { upgrade: Some("h2c"), ..request() }, HandshakeError::NotAnUpgrade, 400);
        check(Request { version: None, ..request() }, HandshakeError::Version, 426);
        check(Request { version: Some("8"), ..request() }, HandshakeError::Version, 426);
        check(Request { key: None, ..request() }, HandshakeError::Key, 400);
        check(Request { key: Some("c2hvcnQ="), ..request() }, HandshakeError::Key, 400);
        check(Request { key: Some("!"), ..request() }, HandshakeError::Key, 400);
    }

    #[test]
    fn deflate_offers() {
        #[track_caller]
        fn check(offer: &str, agreed: bool) {
            let request = Request { extensions: Some(offer), ..request() };
            assert_eq!(answer(&request, true).unwrap().extensions.is_some(), agreed);
            assert_eq!(answer(&request, false).unwrap().extensions, None);
        }
        check("permessage-deflate", true);
        check("permessage-deflate; client_max_window_bits", true);
        check("permessage-deflate;client_max_window_bits=\"12\" ; server_no_context_takeover", true);
        check("x-webkit-deflate-frame, permessage-deflate; client_no_context_takeover", true);
        check("permessage-deflate; server_max_window_bits=10, permessage-deflate", true);
        check("permessage-deflate; server_max_window_bits=10", false);
        check("permessage-deflate; client_max_window_bits=7", false);
        check("permessage-deflate; client_max_window_bits; client_max_window_bits", false);
        check("permessage-deflate; unknown", false);
        check("permessage-deflate; server_no_context_takeover=1", false);
        check("permessage-bzip2", false);
        check("", false);
    }
}
