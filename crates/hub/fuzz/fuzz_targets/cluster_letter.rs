//! What comes on the broker's topics: from nodes, and from whoever else may write there. What must hold is written beside
//! the code that reads it.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| oyez_hub::cluster_letter(data));
