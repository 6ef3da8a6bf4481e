//! Frames: any bytes in any pieces give the same events, within the limits.

#![no_main]

use libfuzzer_sys::fuzz_target;
use oyez_protocol::websocket::{Limits, Reader};

fuzz_target!(|data: &[u8]| {
    let Some((&size, bytes)) = data.split_first() else {
        return;
    };
    let read = |size: usize| {
        let mut reader = Reader::new(Limits { max_message: 1000, deflate: true });
        let (mut bytes, mut events) = (bytes.to_vec(), Vec::new());
        for mut piece in bytes.chunks_mut(size) {
            loop {
                match reader.read(&mut piece) {
                    Ok(Some(event)) => events.push(format!("{event:?}")),
                    Ok(None) => break,
                    Err(violation) => events.push(violation.to_string()),
                }
            }
        }
        events
    };
    assert_eq!(read(usize::from(size).max(1)), read(bytes.len().max(1)));
});
