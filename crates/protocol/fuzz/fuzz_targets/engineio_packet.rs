//! Packets of Engine.IO, as text and as bytes: whatever is read must write and read again as the same packet.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use oyez_protocol::engineio::{Packet, Version};

fuzz_target!(|data: &[u8]| {
    for version in [Version::V3, Version::V4] {
        let _ = Packet::decode_binary(Bytes::copy_from_slice(data), version);
        let Ok(text) = str::from_utf8(data) else { continue };
        let Ok(packet) = Packet::decode_text(text, version) else { continue };
        let mut again = String::new();
        packet.encode_text(&mut again, version);
        assert_eq!(Packet::decode_text(&again, version), Ok(packet));
    }
});
