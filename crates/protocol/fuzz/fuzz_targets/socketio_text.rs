//! Socket.IO text: whatever is read must write and read again as the same packet.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oyez_protocol::engineio::Version;
use oyez_protocol::socketio::text::{Decoder, encode};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let _ = Decoder::new(Version::V3, 10).push_text(text);
    if let Ok(Some(packet)) = Decoder::new(Version::V4, 10).push_text(text) {
        let again = Decoder::new(Version::V4, 10).push_text(&encode(&packet).text);
        assert_eq!(again, Ok(Some(packet)));
    }
});
