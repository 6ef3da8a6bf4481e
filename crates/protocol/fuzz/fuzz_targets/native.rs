//! Raw JSON frames: what is read is an object with its type, and stays one when it is written again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oyez_protocol::native::{DEFAULT_TYPE_FIELD, parse};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    if let Ok(frame) = parse(text, DEFAULT_TYPE_FIELD) {
        assert_eq!(frame.value[DEFAULT_TYPE_FIELD], frame.kind.as_str());
        let again = parse(&frame.value.to_string(), DEFAULT_TYPE_FIELD).expect("what was read can be read again");
        assert_eq!(again.kind, frame.kind);
    }
});
