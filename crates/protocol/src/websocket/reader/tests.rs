//! The reader: rules of RFC 6455 one by one, then agreement with tungstenite under any cut of the bytes.

use proptest::prelude::*;
use tungstenite::protocol::{Role, WebSocket};

use super::super::frame;
use super::*;

const LIMITS: Limits = Limits { max_message: 1000, deflate: true };
const KEY: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

/// One masked frame with any first byte.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::append_header(&mut out, Opcode::Text, false, payload.len());
    out[0] = first;
    out[1] |= 0x80;
    out.extend_from_slice(&KEY);
    let mut payload = payload.to_vec();
    unmask(&mut payload, KEY);
    out.extend_from_slice(&payload);
    out
}

/// Everything read from `bytes` when they arrive in pieces of `size`.
fn events(limits: Limits, bytes: &[u8], size: usize) -> (Vec<Event<'static>>, Option<Violation>) {
    let mut reader = Reader::new(limits);
    let mut events = Vec::new();
    let mut bytes = bytes.to_vec();
    for mut piece in bytes.chunks_mut(size) {
        loop {
            match reader.read(&mut piece) {
                Ok(Some(event)) => events.push(own(event)),
                Ok(None) => break,
                Err(violation) => {
                    assert_eq!(reader.read(&mut piece), Ok(None));
                    return (events, Some(violation));
                }
            }
        }
        assert!(piece.is_empty());
    }
    (events, None)
}

fn own(event: Event<'_>) -> Event<'static> {
    match event {
        Event::Text(text) => Event::Text(Cow::Owned(text.into_owned())),
        Event::Close(code, reason) => Event::Close(code, Cow::Owned(reason.into_owned())),
        Event::Binary(bytes) => Event::Binary(bytes),
        Event::Ping(bytes) => Event::Ping(bytes),
        Event::Pong(bytes) => Event::Pong(bytes),
    }
}

/// The same whatever the pieces.
#[track_caller]
fn check(frames: &[Vec<u8>], expect: &[Event<'static>], violation: Option<Violation>) {
    let bytes = frames.concat();
    for size in [1, 2, 3, 7, bytes.len().max(1)] {
        assert_eq!(events(LIMITS, &bytes, size), (expect.to_vec(), violation), "in pieces of {size}");
    }
}

fn text(text: &str) -> Event<'static> {
    Event::Text(Cow::Owned(text.to_owned()))
}

fn bytes(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

#[test]
fn messages() {
    check(&[masked(0x81, b"Hello")], &[text("Hello")], None);
    check(&[masked(0x81, b"")], &[text("")], None);
    check(&[masked(0x82, &[0xff; 300])], &[Event::Binary(bytes(&[0xff; 300]))], None);
    check(&[masked(0x81, b"a"), masked(0x81, "é".as_bytes())], &[text("a"), text("é")], None);
    check(&[masked(0x01, b"Hel"), masked(0x80, b"lo")], &[text("Hello")], None);
    // A character may be cut by a fragment's border.
    check(&[masked(0x01, b"\xc3"), masked(0x00, b""), masked(0x80, b"\xa9")], &[text("é")], None);
    check(&[masked(0x82, &[1; 1000])], &[Event::Binary(bytes(&[1; 1000]))], None);
}

#[test]
fn control_frames() {
    let between = [masked(0x01, b"a"), masked(0x89, b"p"), masked(0x8a, b""), masked(0x80, b"b")];
    check(&between, &[Event::Ping(bytes(b"p")), Event::Pong(Bytes::new()), text("ab")], None);
    check(&[masked(0x89, &[7; 125])], &[Event::Ping(bytes(&[7; 125]))], None);
    check(&[masked(0x89, &[7; 126])], &[], Some(Violation::Protocol("fragmented or long control frame")));
    check(&[masked(0x09, b"")], &[], Some(Violation::Protocol("fragmented or long control frame")));
    // A limit on messages is none on control frames.
    let full = [masked(0x02, &[1; 1000]), masked(0x89, &[7; 125]), masked(0x80, b"")];
    check(&full, &[Event::Ping(bytes(&[7; 125])), Event::Binary(bytes(&[1; 1000]))], None);
}

#[test]
fn closes() {
    let close = |code, reason: &str| Event::Close(code, Cow::Owned(reason.to_owned()));
    check(&[masked(0x88, b"")], &[close(None, "")], None);
    check(&[masked(0x88, b"\x03\xe8bye")], &[close(Some(1000), "bye")], None);
    check(&[masked(0x88, b"\x13\x87")], &[close(Some(4999), "")], None);
    check(&[masked(0x88, b""), masked(0x81, b"late"), vec![0xff; 20]], &[close(None, "")], None);
    check(&[masked(0x88, b"\x03")], &[], Some(Violation::Protocol("close code of one byte")));
    check(&[masked(0x88, b"\x03\xe8\xff")], &[], Some(Violation::Payload("invalid UTF-8")));
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
        check(&[masked(0x88, &code.to_be_bytes())], &[], Some(Violation::Protocol("invalid close code")));
    }
}

#[test]
fn broken_rules() {
    #[track_caller]
    fn refuse(frames: &[Vec<u8>], rule: &'static str) {
        check(frames, &[], Some(Violation::Protocol(rule)));
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        refuse(&[masked(0x80 | opcode, b"")], "reserved opcode");
    }
    refuse(&[masked(0x91, b"")], "reserved bit");
    refuse(&[masked(0xa1, b"")], "reserved bit");
    refuse(&[masked(0xc9, b"")], "reserved bit");
    refuse(&[masked(0x41, b"\0"), masked(0xc0, b"")], "reserved bit");
    refuse(&[vec![0x81, 0x00]], "frame without mask");
    refuse(&[masked(0x80, b"")], "continuation without a message");
    refuse(&[masked(0x01, b""), masked(0x81, b"")], "message within a message");
    refuse(&[vec![0x82, 0xfe, 0, 125]], "malformed length");
    refuse(&[vec![0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]], "malformed length");
    refuse(&[vec![0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]], "malformed length");
    let crumbs: Vec<_> = std::iter::once(masked(0x02, b"")).chain((0..1100).map(|_| masked(0, b""))).collect();
    refuse(&crumbs, "too many fragments");
    let mut reader = Reader::new(LIMITS);
    let mut bytes =
        [masked(0x01, b"a"), masked(0, &[b'b'; CRUMB]), masked(0x80, b"c"), masked(0x81, b"whole")].concat();
    let mut input = &mut bytes[..];
    while reader.read(&mut input).unwrap().is_some() {}
    assert_eq!((reader.take_crumbs(), reader.take_crumbs()), (2, 0));
    let no_deflate = Limits { deflate: false, ..LIMITS };
    assert_eq!(events(no_deflate, &masked(0xc1, b""), 99).1, Some(Violation::Protocol("reserved bit")));
}

#[test]
fn payloads_refused() {
    check(&[masked(0x81, b"\xff")], &[], Some(Violation::Payload("invalid UTF-8")));
    check(&[masked(0x01, b"\xc3"), masked(0x80, b"")], &[], Some(Violation::Payload("invalid UTF-8")));
    // Refused by its header alone.
    check(&[vec![0x82, 0xfe, 0x03, 0xe9]], &[], Some(Violation::TooBig));
    check(&[vec![0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]], &[], Some(Violation::TooBig));
    check(&[masked(0x02, &[1; 1000]), masked(0x80, b"x")], &[], Some(Violation::TooBig));
}

#[test]
fn compressed_messages() {
    let long = "abc".repeat(300);
    let payload = deflate::compress(&[long.as_bytes()]);
    check(&[masked(0xc1, &payload)], &[text(&long)], None);
    let (head, tail) = payload.split_at(3);
    check(
        &[masked(0x41, head), masked(0x89, b""), masked(0x80, tail)],
        &[Event::Ping(Bytes::new()), text(&long)],
        None,
    );
    check(&[masked(0xc1, &deflate::compress(&[&[b'a'; 1001]]))], &[], Some(Violation::TooBig));
    check(&[masked(0xc1, &deflate::compress(&[b"\xff"]))], &[], Some(Violation::Payload("invalid UTF-8")));
    check(&[masked(0xc2, &[0xff; 9])], &[], Some(Violation::Payload("invalid deflate data")));
}

#[test]
fn nothing_is_kept_when_idle() {
    let mut reader = Reader::new(LIMITS);
    let mut frame = masked(0x82, &[1; 900]);
    let (mut head, mut tail) = frame.split_at_mut(500);
    assert_eq!(reader.read(&mut head), Ok(None));
    assert!(!reader.is_idle());
    let kept = reader.partial.as_ref().unwrap().payload.capacity();
    assert!(kept <= 2 * 500, "{kept}");
    assert!(reader.read(&mut tail).unwrap().is_some());
    assert!(reader.is_idle());
}

/// What tungstenite writes as a client, and what it meant.
fn from_tungstenite(messages: &[tungstenite::Message]) -> Vec<u8> {
    let mut socket = WebSocket::from_raw_socket(std::io::Cursor::new(Vec::new()), Role::Client, None);
    for message in messages {
        socket.write(message.clone()).unwrap();
    }
    socket.flush().unwrap();
    socket.get_ref().get_ref().clone()
}

fn any_message() -> impl Strategy<Value = tungstenite::Message> {
    use tungstenite::Message;
    let bytes = proptest::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        any::<String>().prop_map(Message::text),
        bytes.prop_map(Message::binary),
        proptest::collection::vec(any::<u8>(), 0..125).prop_map(|b| Message::Ping(b.into())),
        proptest::collection::vec(any::<u8>(), 0..125).prop_map(|b| Message::Pong(b.into())),
    ]
}

fn as_event(message: &tungstenite::Message) -> Event<'static> {
    use tungstenite::Message;
    match message {
        Message::Text(text) => Event::Text(Cow::Owned(text.to_string())),
        Message::Binary(bytes) => Event::Binary(bytes.clone()),
        Message::Ping(bytes) => Event::Ping(bytes.clone()),
        Message::Pong(bytes) => Event::Pong(bytes.clone()),
        other => unreachable!("{other} is not generated"),
    }
}

proptest! {
    #[test]
    fn we_read_what_tungstenite_writes(
        messages in proptest::collection::vec(any_message(), 0..6),
        size in 1usize..400,
    ) {
        let limits = Limits { max_message: 100_000, deflate: false };
        let expect: Vec<_> = messages.iter().map(as_event).collect();
        prop_assert_eq!(events(limits, &from_tungstenite(&messages), size), (expect, None));
    }

    #[test]
    fn tungstenite_reads_what_we_write(messages in proptest::collection::vec(any_message(), 0..6)) {
        let mut out = Vec::new();
        for message in &messages {
            match as_event(message) {
                Event::Text(text) => frame::append(&mut out, Opcode::Text, false, text.as_bytes()),
                Event::Binary(bytes) => frame::append(&mut out, Opcode::Binary, false, &bytes),
                Event::Ping(bytes) => frame::append(&mut out, Opcode::Ping, false, &bytes),
                Event::Pong(bytes) => frame::append(&mut out, Opcode::Pong, false, &bytes),
                Event::Close(..) => {}
            }
        }
        let mut socket = WebSocket::from_raw_socket(std::io::Cursor::new(out), Role::Client, None);
        for message in &messages {
            prop_assert_eq!(&socket.read().unwrap(), message);
        }
    }

    /// Any frames are judged alike by both, as far as tungstenite goes, and the pieces make no difference. They carry
    /// ASCII: tungstenite looks at the characters of a fragment before its message is whole, as it may.
    #[test]
    fn any_frames_are_judged_alike(
        frames in proptest::collection::vec((any::<u8>(), proptest::collection::vec(0u8..128, 0..200)), 1..6),
        size in 1usize..50,
    ) {
        let limits = Limits { max_message: 400, deflate: false };
        let bytes: Vec<u8> = frames.iter().flat_map(|(first, payload)| masked(*first, payload)).collect();
        let whole = events(limits, &bytes, bytes.len());
        prop_assert_eq!(&events(limits, &bytes, size), &whole);
        let read = whole.0.iter().filter(|event| !matches!(event, Event::Close(..))).count();
        prop_assert!(read <= theirs(&bytes, read), "tungstenite refused what we took");
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>(), size in 1usize..20) {
        let _ = events(LIMITS, &bytes, size);
    }
}

/// What a client may write, right and wrong, and what it would have to be for both to agree on what is wrong with it:
/// text is ASCII, for tungstenite looks at a fragment's characters before the message is whole.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![8 => Just(0u8), 4 => Just(1), 4 => Just(2), 2 => Just(9), 2 => Just(10), 1 => 3u8..8, 1 => 11u8..16];
    let bits = prop_oneof![6 => Just(0x80u8), 6 => Just(0), 1 => Just(0xa0), 1 => Just(0x90), 1 => Just(0xc0)];
    let length = prop_oneof![4 => 0usize..4, 3 => 100usize..130, 1 => 390usize..410];
    let mask = prop_oneof![19 => Just(true), 1 => Just(false)];
    (opcode, bits, length, mask).prop_map(|(opcode, bits, length, is_masked)| {
        let mut frame = masked(bits | opcode, &vec![b'a'; length]);
        if !is_masked {
            frame[1] &= 0x7f;
        }
        frame
    })
}

proptest! {
    /// Both take the same messages and stop at the same place, for right and for wrong frames.
    #[test]
    fn we_refuse_what_tungstenite_refuses(frames in proptest::collection::vec(any_frame(), 1..12), size in 1usize..300) {
        let bytes = frames.concat();
        let (ours, violation) = events(Limits { max_message: 400, deflate: false }, &bytes, size);
        let (theirs, refused) = read_by_tungstenite(&bytes);
        prop_assert_eq!(ours, theirs);
        prop_assert_eq!(violation.is_some(), refused, "{:?}", violation);
    }
}

/// What tungstenite reads as a server with our limits, and whether it refused what came then.
fn read_by_tungstenite(bytes: &[u8]) -> (Vec<Event<'static>>, bool) {
    use tungstenite::error::{Error, ProtocolError};
    let config =
        tungstenite::protocol::WebSocketConfig::default().max_message_size(Some(400)).max_frame_size(Some(400));
    let mut socket = WebSocket::from_raw_socket(Half(std::io::Cursor::new(bytes.to_vec())), Role::Server, Some(config));
    let mut read = Vec::new();
    loop {
        match socket.read() {
            Ok(message) => read.push(as_event(&message)),
            // The bytes are at their end.
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => return (read, false),
            Err(_) => return (read, true),
        }
    }
}

/// How many messages tungstenite reads as a server, up to `most`.
fn theirs(bytes: &[u8], most: usize) -> usize {
    let stream = std::io::Cursor::new(bytes.to_vec());
    let mut socket = WebSocket::from_raw_socket(Half(stream), Role::Server, None);
    (0..most).take_while(|_| socket.read().is_ok()).count()
}

/// Reads from the bytes and writes to nowhere.
struct Half(std::io::Cursor<Vec<u8>>);

impl std::io::Read for Half {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl std::io::Write for Half {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
