//! What a connection says first: a PROXY header, a request's head, who it says to be. What must hold is written beside
//! the code that reads it.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| oyez_server::http_head(data));
