//! The formats of Socket.IO's servers: what Node wrote, what it might have, and what nobody should.

mod hostile;
mod recorded;
mod round_trips;

use bytes::Bytes;

use super::classic::{Classic, Place, Sender};
use super::sharded::{Mode, Sharded};
use super::streams::{Entry, Session, Streams, Written, stream_of};
use super::*;
use crate::message::Args;

fn bytes(hex: &str) -> Bytes {
    let hex: String = hex.split_whitespace().collect();
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn args(text: &str, attachments: &[&[u8]]) -> Args {
    let attachments = attachments.iter().map(|bytes| Bytes::copy_from_slice(bytes)).collect();
    Args::from_validated(text.to_owned(), attachments)
}

fn event(name: &str, text: &str) -> Event {
    Event { name: name.to_owned(), args: args(text, &[]) }
}

fn rooms(names: &[&str]) -> Rooms {
    names.iter().copied().collect()
}

/// What a server was asked on the classic request channel.
fn request(payload: impl Into<Bytes>) -> Result<Message, Error> {
    let read = Classic::new(DEFAULT_PREFIX, "/").read(Place::Request, &payload.into(), &Limits::default())?;
    match read.unwrap().content {
        Content::Message(message) => Ok(message),
        Content::Response(response) => panic!("{response:?}"),
    }
}

/// What a server of `/` hears on the classic broadcast channel, with the event that it is.
fn broadcast(hex: &str) -> Result<Option<Received>, Error> {
    let place = Place::Broadcast { room: None };
    Classic::new(DEFAULT_PREFIX, "/").read(place, &bytes(hex), &Limits::default())
}

#[test]
fn rooms_are_each_there_once() {
    assert_eq!(&*rooms(&["b", "a", "b", "a", "c"]), ["b", "a", "c"]);
    assert_eq!(rooms(&["a", "a"]), rooms(&["a"]));
    assert!(rooms(&[]).is_empty());
}

#[test]
fn channels_of_the_classic_format() {
    let root = Classic::new(DEFAULT_PREFIX, "/");
    assert_eq!(root.pattern(), "socket.io#/#*");
    assert_eq!(root.broadcast_channel(None), "socket.io#/#");
    assert_eq!(root.broadcast_channel(Some("a#b")), "socket.io#/#a#b#");
    assert_eq!(root.request_channel(), "socket.io-request#/#");
    assert_eq!(root.response_channel(None), "socket.io-response#/#");
    assert_eq!(root.response_channel(Some("d0O1yF")), "socket.io-response#/#d0O1yF#");
    assert_eq!(Classic::new("é", r"/a*[?]\b").pattern(), r"é#/a\*\[\?\]\\b#*");
}

#[test]
fn channels_are_told_apart() {
    #[track_caller]
    fn check(nsp: &str, channel: &str, expect: Option<Place<'_>>) {
        assert_eq!(Classic::new(DEFAULT_PREFIX, nsp).place(channel.as_bytes()), expect);
    }
    let broadcast = |room| Some(Place::Broadcast { room });
    check("/", "socket.io#/#", broadcast(None));
    check("/", "socket.io#/#r1#", broadcast(Some("r1")));
    check("/", "socket.io#/##", broadcast(None));
    check("/", "socket.io#/###", broadcast(Some("#")));
    check("/", "socket.io#/#a#b#", broadcast(Some("a#b")));
    check("/", "socket.io#/#зал ☃#", broadcast(Some("зал ☃")));
    check("/", "socket.io#/#unfinished", None);
    check("/", "socket.io#/admin#", None);
    check("/admin", "socket.io#/admin#", broadcast(None));
    check("/admin", "socket.io#/admin2#", None);
    // A namespace may look like a room of another: the message tells.
    check("/", "socket.io#/#x#", broadcast(Some("x")));
    check("/#x", "socket.io#/#x#", broadcast(None));
    check("", "socket.io##", broadcast(None));
    check("/", "socket.io-request#/#", Some(Place::Request));
    check("/", "socket.io-request#/#x#", None);
    check("/", "socket.io-response#/#", Some(Place::Response { to: None }));
    check("/", "socket.io-response#/#d0O1yF#", Some(Place::Response { to: Some("d0O1yF") }));
    check("/", "other#/#", None);
    assert_eq!(Classic::new(DEFAULT_PREFIX, "/").place(b"socket.io#/#\xff#"), None);
}

#[test]
fn rooms_with_channels_of_their_own() {
    let channel = |mode, room: &str| Sharded::new(DEFAULT_PREFIX, "/", mode).room_channel(room);
    let own = |room: &str| Some(format!("socket.io#/#{room}#"));
    let id = "nrbnsqk3ZkJ9Bf_LAAAB";
    assert_eq!(channel(Mode::Dynamic, "a#b"), own("a#b"));
    assert_eq!(channel(Mode::Dynamic, id), None);
    // Ten pairs of UTF-16 units, and twenty units in 60 bytes.
    assert_eq!(channel(Mode::Dynamic, &"😀".repeat(10)), None);
    assert_eq!(channel(Mode::Dynamic, &"☃".repeat(20)), None);
    assert_eq!(channel(Mode::DynamicPrivate, id), own(id));
    assert_eq!(channel(Mode::Static, "a"), None);
}

#[test]
fn streams_by_namespace() {
    assert_eq!(stream_of("socket.io", 1, "/"), "socket.io");
    assert_eq!(stream_of("socket.io", 3, "/"), "socket.io-2");
    assert_eq!(stream_of("socket.io", 4, "/chat"), "socket.io-3");
    // Below zero, as in Node: "/administrators" hashes to -903800523.
    assert_eq!(stream_of("socket.io", 5, "/administrators"), "socket.io--3");
}

#[test]
fn formats_say_which_messages_they_do_not_have() {
    let asked = Message::Rooms { request: "q".to_owned() };
    let answer = Response::Done { request: "q".to_owned() };
    let (sharded, streams) = (Sharded::new("p", "/", Mode::Dynamic), Streams::new("p".to_owned(), "p", "/"));
    assert_eq!((sharded.write("u", &asked), sharded.write_response("to", "u", &answer)), (None, None));
    assert_eq!((streams.write("u", &asked), streams.write_response("to", "u", &answer)), (None, None));
}

#[test]
fn numbers_beyond_those_of_notepack_stay_what_they_are() {
    let to = Target::default();
    let message = Message::Broadcast { event: event("n", "1e20,1.0,-0.0,18446744073709551615"), to, request: None };
    let written = Classic::new(DEFAULT_PREFIX, "/").write(Sender::Server("u"), &message).payload;
    let numbers = bytes("a16e cb4415af1d78b58c40 01 00 cfffffffffffffffff");
    assert!(written.windows(numbers.len()).any(|part| part == numbers), "{written:?}");
}
