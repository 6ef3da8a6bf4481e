//! What forwarders say: a PROXY header is read the same whatever follows it, and no beginning of it says anything; what
//! stands before the last entry of `Forwarded` does not change who that names.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oyez_protocol::forwarded::Field;
use oyez_protocol::proxy::{MAX, read};

fuzz_target!(|data: &[u8]| {
    match read(data) {
        Ok(Some((announced, length))) => {
            assert!(length <= MAX);
            assert_eq!(read(&data[..length]), Ok(Some((announced, length))));
            assert!((0..length).all(|end| read(&data[..end]) == Ok(None)));
        }
        // There is room for more; later bytes may still end it.
        Ok(None) => assert!(data.len() < MAX),
        Err(error) => assert_eq!(read(&[data, b"\r\n"].concat()), Err(error)),
    }
    let Ok(line) = str::from_utf8(data) else { return };
    for field in [Field::XForwardedFor, Field::Forwarded] {
        let _ = field.hops(line).count();
    }
    let named = Field::Forwarded.hops(&format!("{line}, for=192.0.2.43")).next().flatten();
    assert_eq!(named, "192.0.2.43".parse().ok());
});
