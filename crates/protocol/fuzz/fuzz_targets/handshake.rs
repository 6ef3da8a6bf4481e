//! The headers of an upgrade, a line each: an answer is only given to a request for version 13 of WebSocket with a key.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oyez_protocol::websocket::handshake::{Request, answer, has_token};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let mut lines = text.split('\n');
    let request = Request {
        connection: lines.next(),
        upgrade: lines.next(),
        version: lines.next(),
        key: lines.next(),
        extensions: lines.next(),
    };
    if let Ok(response) = answer(&request, true) {
        assert!(has_token(request.upgrade.unwrap_or_default(), "websocket"));
        assert_eq!(request.version.map(str::trim), Some("13"));
        assert_eq!(response.accept.len(), 28);
        let offered = request.extensions.unwrap_or_default().contains("permessage-deflate");
        assert!(offered || response.extensions.is_none());
        assert_eq!(answer(&request, false).map(|response| response.extensions), Ok(None));
    }
});
