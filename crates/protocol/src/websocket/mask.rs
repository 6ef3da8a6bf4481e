//! Removing a client's mask, a word at a time.

/// XORs `data` with the key, whose first byte meets the first byte of `data` (RFC 6455 section 5.3).
pub(super) fn unmask(data: &mut [u8], key: [u8; 4]) {
    let word = u64::from(u32::from_ne_bytes(key));
    let word = (word << 32) | word;
    let (words, rest) = data.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// The key as it meets byte `offset` of the payload.
pub(super) fn key_at(mut key: [u8; 4], offset: usize) -> [u8; 4] {
    key.rotate_left(offset % 4);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_bytes_agree() {
        let key = [1, 2, 4, 8];
        for length in 0..40 {
            for cut in 0..=length {
                let mut data = vec![0; length];
                let (head, tail) = data.split_at_mut(cut);
                unmask(head, key);
                unmask(tail, key_at(key, cut));
                let expect: Vec<u8> = key.iter().copied().cycle().take(length).collect();
                assert_eq!(data, expect);
            }
        }
    }
}
