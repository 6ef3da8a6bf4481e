//! Polling bodies: whatever is read must write and read again as the same packets.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use oyez_protocol::engineio::Version;
use oyez_protocol::engineio::payload::{Body, decode, decode_octets, encode};

fuzz_target!(|data: &[u8]| {
    for version in [Version::V3, Version::V4] {
        let Ok(packets) = str::from_utf8(data).map_err(drop).and_then(|text| decode(text, version).map_err(drop))
        else {
            continue;
        };
        let Body::Text(body) = encode(&packets, version, false) else { unreachable!("octets were not asked for") };
        assert_eq!(decode(&body, version).as_ref(), Ok(&packets));
    }
    let _ = decode_octets(&Bytes::copy_from_slice(data));
});
