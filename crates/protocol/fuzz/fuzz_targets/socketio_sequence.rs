//! Socket.IO messages one after the other, parted by 0x1e, a binary one behind `b`: attachments find their packet, and
//! no packet gets more than the limit.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use oyez_protocol::engineio::Version;
use oyez_protocol::socketio::Packet;
use oyez_protocol::socketio::text::{Decoder, encode};

const MOST: usize = 3;

fuzz_target!(|data: &[u8]| {
    let mut decoder = Decoder::new(Version::V4, MOST);
    for message in data.split(|&byte| byte == 0x1e) {
        let read = match (message.strip_prefix(b"b"), str::from_utf8(message)) {
            (Some(bytes), _) => decoder.push_binary(Bytes::copy_from_slice(bytes)),
            (None, Ok(text)) => decoder.push_text(text),
            (None, Err(_)) => return,
        };
        let Ok(read) = read else { return };
        assert_eq!(read.is_none(), decoder.waiting_in().is_some());
        if let Some(Packet::Event { args, .. } | Packet::Ack { args, .. }) = &read {
            assert!(args.attachments().len() <= MOST);
        }
        if let Some(packet) = read {
            again(&packet);
        }
    }
});

/// What was read writes and reads as the same packet.
fn again(packet: &Packet) {
    let encoded = encode(packet);
    let mut decoder = Decoder::new(Version::V4, MOST);
    let mut read = decoder.push_text(&encoded.text).expect("what was read can be read again");
    for bytes in encoded.attachments {
        read = decoder.push_binary(bytes).expect("its attachments too");
    }
    assert_eq!(read.as_ref(), Some(packet));
}
