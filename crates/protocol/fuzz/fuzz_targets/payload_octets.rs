//! Binary polling bodies of version 3: whatever is read must write and read again as the same packets.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use oyez_protocol::engineio::Version;
use oyez_protocol::engineio::payload::{Body, decode, decode_octets, encode};

fuzz_target!(|data: &[u8]| {
    let body = Bytes::copy_from_slice(data);
    let Ok(packets) = decode_octets(&body) else {
        return;
    };
    match encode(&packets, Version::V3, true) {
        Body::Binary(body) => assert_eq!(decode_octets(&body.into()).as_ref(), Ok(&packets)),
        Body::Text(body) => assert_eq!(decode(&body, Version::V3).as_ref(), Ok(&packets)),
    }
});
