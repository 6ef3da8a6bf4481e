//! WebSocket frames as a client sees them: walked where they lie, so that a message costs no copy.

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text or binary, or a further fragment of one.
    Data {
        /// Whether the message goes on in the next frame.
        more: bool,
    },
    /// To be answered with a pong.
    Ping,
    /// Nothing to do.
    Pong,
    /// The server ends the connection.
    Close,
}

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// What it is.
    pub(super) kind: Kind,
    /// What it carries.
    pub(super) payload: &'a [u8],
}

/// The opcode of a text frame.
pub(super) const TEXT: u8 = 0x1;
/// The opcode of a close frame.
pub(super) const CLOSE: u8 = 0x8;
/// The opcode of a pong.
pub(super) const PONG: u8 = 0xA;

/// The frame at the beginning of `bytes` and its length in all; `None` while it is not complete.
pub(super) fn first(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, &'static str> {
    let &[head, length, ..] = bytes else { return Ok(None) };
    if length & 0x80 != 0 {
        return Err("the server masks its frames");
    }
    if head & 0x70 != 0 {
        return Err("a frame uses an extension that was not agreed on");
    }
    let (length, start) = match length {
        126 => match bytes.get(2..4) {
            Some(&[a, b]) => (u64::from(u16::from_be_bytes([a, b])), 4),
            _ => return Ok(None),
        },
        127 => match bytes.get(2..10).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok()) {
            Some(bytes) => (u64::from_be_bytes(bytes), 10),
            None => return Ok(None),
        },
        short => (u64::from(short), 2),
    };
    let end = usize::try_from(length).ok().and_then(|length| length.checked_add(start)).ok_or("a frame has no end")?;
    let Some(payload) = bytes.get(start..end) else { return Ok(None) };
    let kind = match head & 0x0F {
        0 | TEXT | 0x2 => Kind::Data { more: head & 0x80 == 0 },
        CLOSE => Kind::Close,
        0x9 => Kind::Ping,
        PONG => Kind::Pong,
        _ => return Err("a frame is of no known kind"),
    };
    Ok(Some((Frame { kind, payload }, end)))
}

/// Appends a client's frame; clients mask.
pub(super) fn write(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..126), _) => out.push(0x80 | short),
        (_, Ok(middle)) => {
            out.push(0x80 | 126);
            out.extend_from_slice(&middle.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    let mask = rand::random::<[u8; 4]>();
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A server's frame.
    fn server(head: u8, payload: &[u8], out: &mut Vec<u8>) {
        out.push(head);
        match payload.len() {
            short @ 0..126 => out.push(u8::try_from(short).expect("it is short")),
            middle @ 126..65_536 => {
                out.push(126);
                out.extend_from_slice(&u16::try_from(middle).expect("it fits").to_be_bytes());
            }
            long => {
                out.push(127);
                out.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(payload);
    }

    /// Walks what arrives in pieces, as a connection does.
    fn walk(pieces: &[&[u8]]) -> Vec<(Kind, Vec<u8>)> {
        let (mut rest, mut heard) = (Vec::new(), Vec::new());
        for piece in pieces {
            rest.extend_from_slice(piece);
            let mut used = 0;
            while let Some((frame, length)) = first(&rest[used..]).expect("good frames") {
                heard.push((frame.kind, frame.payload.to_vec()));
                used += length;
            }
            rest.drain(..used);
        }
        assert!(rest.is_empty(), "{} bytes are left", rest.len());
        heard
    }

    fn frame() -> impl Strategy<Value = (u8, Vec<u8>)> {
        let sizes = prop_oneof![0..300usize, Just(125), Just(126), Just(65_535), Just(65_536)];
        let heads = prop_oneof![Just(0x81), Just(0x82), Just(0x01), Just(0x80), Just(0x89), Just(0x8A), Just(0x88)];
        (heads, sizes).prop_map(|(head, size)| (head, (0..=255).cycle().take(size).collect()))
    }

    proptest! {
        #[test]
        fn frames_are_the_same_however_they_are_split(
            frames in prop::collection::vec(frame(), 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let mut bytes = Vec::new();
            for (head, payload) in &frames {
                server(*head, payload, &mut bytes);
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            let heard = walk(&pieces);
            prop_assert_eq!(heard.iter().map(|(_, payload)| payload).collect::<Vec<_>>(),
                frames.iter().map(|(_, payload)| payload).collect::<Vec<_>>());
            prop_assert_eq!(heard, walk(&[&bytes]));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(Some((_, length))) = first(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }

    #[test]
    fn what_is_no_frame_of_a_server_is_told() {
        for wrong in [&[0x81, 0x80][..], &[0xC1, 0], &[0x83, 0], &[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255]] {
            assert!(first(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_a_client_writes_is_masked() {
        for length in [0, 125, 126, 65_536] {
            let (mut out, payload) = (Vec::new(), vec![b'a'; length]);
            write(&mut out, TEXT, &payload);
            let at = out.len() - length;
            let mask = out[at - 4..at].to_vec();
            assert_eq!(out[0], 0x81);
            assert_eq!(out[1] & 0x80, 0x80);
            assert!(out[at..].iter().zip(mask.iter().cycle()).all(|(byte, mask)| byte ^ mask == b'a'));
        }
    }
}
