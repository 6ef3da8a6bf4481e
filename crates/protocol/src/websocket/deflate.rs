//! permessage-deflate (RFC 7692 section 7.2) without context takeover: each message stands alone, so a compressed frame can be
//! shared by all subscribers and an idle connection owns no compressor. Each thread keeps one of either kind.

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::Violation;

/// What a sync flush ends with, and what a message leaves out.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// The least room to give a (de)compressor at a time.
const STEP: usize = 512;

thread_local! {
    static COMPRESS: RefCell<Compress> = RefCell::new(Compress::new(Compression::default(), false));
    static DECOMPRESS: RefCell<Decompress> = RefCell::new(Decompress::new(false));
}

/// Compresses the concatenation of `parts` into the payload of a frame with RSV1 set.
#[must_use]
pub fn compress(parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length / 2 + STEP);
    COMPRESS.with_borrow_mut(|state| {
        state.reset();
        for part in parts {
            drive_compress(state, part, FlushCompress::None, &mut out);
        }
        drive_compress(state, &[], FlushCompress::Sync, &mut out);
    });
    if out.ends_with(&TAIL) {
        out.truncate(out.len() - TAIL.len());
    }
    out
}

/// Feeds `input` until it is taken and, when flushing, until the compressor leaves room unused, which means it is done.
fn drive_compress(state: &mut Compress, mut input: &[u8], flush: FlushCompress, out: &mut Vec<u8>) {
    loop {
        if out.capacity() - out.len() < STEP {
            out.reserve(STEP.max(out.len()));
        }
        let before = state.total_in();
        // A raw stream that was reset takes any input; an error would mean broken state, and ends the loop.
        let result = state.compress_vec(input, out, flush);
        let taken = usize::try_from(state.total_in() - before).unwrap_or(input.len());
        input = &input[taken.min(input.len())..];
        if result.is_err() || (input.is_empty() && out.len() < out.capacity()) {
            return;
        }
    }
}

/// Decompresses a message's payload into at most `max` bytes.
///
/// # Errors
/// [`Violation::TooBig`] as soon as there is more, [`Violation::Payload`] when it is not deflate.
pub fn inflate(payload: &[u8], max: usize) -> Result<Vec<u8>, Violation> {
    let mut out = Vec::new();
    DECOMPRESS.with_borrow_mut(|state| {
        state.reset(false);
        for part in [payload, &TAIL] {
            drive_inflate(state, part, max, &mut out)?;
        }
        Ok(out)
    })
}

fn drive_inflate(state: &mut Decompress, mut input: &[u8], max: usize, out: &mut Vec<u8>) -> Result<(), Violation> {
    loop {
        if out.capacity() - out.len() < STEP {
            // One byte beyond the limit is room enough to see that it was passed.
            let room = out.len().max(2 * input.len()).max(STEP);
            out.reserve_exact(room.min(max.saturating_add(1) - out.len()).max(1));
        }
        let (before, length) = (state.total_in(), out.len());
        let status = state
            .decompress_vec(input, out, FlushDecompress::Sync)
            .map_err(|_| Violation::Payload("invalid deflate data"))?;
        let taken = usize::try_from(state.total_in() - before).unwrap_or(input.len());
        input = &input[taken.min(input.len())..];
        if out.len() > max {
            return Err(Violation::TooBig);
        }
        match status {
            // A final block may be followed by more (RFC 7692 section 7.2.3.5), which starts afresh.
            Status::StreamEnd => {
                state.reset(false);
                if input.is_empty() {
                    return Ok(());
                }
                if taken == 0 && out.len() == length {
                    return Err(Violation::Payload("invalid deflate data"));
                }
            }
            _ if input.is_empty() && out.len() < out.capacity() => return Ok(()),
            _ if taken == 0 && out.len() == length && out.len() < out.capacity() => {
                return Err(Violation::Payload("invalid deflate data"));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn examples_of_the_rfc() {
        #[track_caller]
        fn check(payload: &[u8], expect: &str) {
            assert_eq!(inflate(payload, 100), Ok(expect.as_bytes().to_vec()));
        }
        check(&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], "Hello"); // 7.2.3.1
        check(&[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00], "Hello"); // 7.2.3.3
        check(&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], "Hello"); // 7.2.3.4
        check(&[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00], "Hello"); // 7.2.3.5
        check(&[0x00], "");
        check(&[], "");
        assert_eq!(compress(&[b"Hel", b"lo"]), [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00]);
        assert_eq!(compress(&[]), [0x00]);
    }

    #[test]
    fn bombs_and_nonsense_are_refused() {
        let bomb = compress(&[&vec![0; 10_000_000]]);
        assert!(bomb.len() < 20_000);
        assert_eq!(inflate(&bomb, 1_000_000), Err(Violation::TooBig));
        assert_eq!(inflate(&bomb, 10_000_000).map(|out| out.len()), Ok(10_000_000));
        assert_eq!(inflate(&compress(&[b"abc"]), 0), Err(Violation::TooBig));
        assert_eq!(inflate(&compress(&[b""]), 0), Ok(Vec::new()));
        assert!(matches!(inflate(&[0xff; 10], 100), Err(Violation::Payload(_))));
        // The state is fresh after a failure.
        assert_eq!(inflate(&compress(&[b"abc"]), 3), Ok(b"abc".to_vec()));
    }

    proptest! {
        #[test]
        fn messages_come_back(head in any::<Vec<u8>>(), body in any::<Vec<u8>>(), times in 0usize..200) {
            let body = body.repeat(times);
            let message = [&head[..], &body].concat();
            prop_assert_eq!(inflate(&compress(&[&head, &body]), message.len()), Ok(message));
        }

        #[test]
        fn any_payload_is_read_or_refused(payload in any::<Vec<u8>>()) {
            if let Ok(out) = inflate(&payload, 1000) {
                prop_assert!(out.len() <= 1000);
            }
        }
    }
}
