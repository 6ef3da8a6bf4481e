//! Msgpack: whatever is read must write as something that can be read.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use oyez_protocol::socketio::msgpack::{decode, encode};

fuzz_target!(|data: &[u8]| {
    if let Ok(packet) = decode(&Bytes::copy_from_slice(data), 10) {
        let encoded = encode(&packet);
        decode(&encoded.attachments[0], 10).expect("what was read can be written and read");
    }
});
