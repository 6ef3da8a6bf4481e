//! Compressed messages: nothing grows beyond the limit, and what we compress comes back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oyez_protocol::websocket::Violation;
use oyez_protocol::websocket::deflate::{compress, inflate};

fuzz_target!(|data: &[u8]| {
    if let Ok(out) = inflate(data, 1000) {
        assert!(out.len() <= 1000 && out.capacity() <= 1001, "{} of {}", out.len(), out.capacity());
    }
    let (head, body) = data.split_at(data.len() / 3);
    let message = compress(&[head, body]);
    assert_eq!(inflate(&message, data.len()).as_deref(), Ok(data));
    if let Some(less) = data.len().checked_sub(1) {
        assert_eq!(inflate(&message, less), Err(Violation::TooBig));
    }
});
