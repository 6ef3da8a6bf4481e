//! What Socket.IO's servers say to each other: whatever is read can be written, and what was written is read and written
//! to the same bytes again. The first byte says in which format the others are.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use oyez_protocol::adapter::classic::{Classic, Place, Sender};
use oyez_protocol::adapter::sharded::{Mode, Sharded};
use oyez_protocol::adapter::streams::{Entry, Session, Streams, Written};
use oyez_protocol::adapter::{Content, EMITTER, Limits, Publication, Received};

const LIMITS: Limits = Limits { bytes: 1 << 20, attachments: 3, items: 100 };

fuzz_target!(|data: &[u8]| {
    let Some((format, payload)) = data.split_first() else { return };
    let payload = Bytes::copy_from_slice(payload);
    match format {
        0 => classic(Place::Broadcast { room: None }, &payload),
        1 => classic(Place::Request, &payload),
        2 => classic(Place::Response { to: None }, &payload),
        3 => sharded(&payload),
        4 => published(&payload),
        5 => entry(&payload),
        _ => session(&payload),
    }
});

fn again<T: PartialEq + std::fmt::Debug>(
    received: Received,
    write: impl Fn(&Received) -> Option<T>,
    read: impl Fn(&T) -> Received,
) {
    if let Some(written) = write(&received) {
        assert_eq!(write(&read(&written)).as_ref(), Some(&written));
    }
}

fn sender(uid: Option<&str>) -> Sender<'_> {
    uid.filter(|uid| *uid != EMITTER).map_or(Sender::Emitter, Sender::Server)
}

fn classic(place: Place<'_>, payload: &Bytes) {
    let classic = Classic::new("p", "/");
    let Ok(Some(received)) = classic.read(place, payload, &LIMITS) else { return };
    let write = |Received { uid, content }: &Received| {
        Some(match content {
            Content::Message(message) => classic.write(sender(uid.as_deref()), message),
            Content::Response(response) => classic.write_response(uid.as_deref(), response),
        })
    };
    again(received, write, |Publication { channel, payload }| {
        let place = classic.place(channel.as_bytes()).expect("it is where it belongs");
        classic.read(place, payload, &LIMITS).expect("what was read can be read again").expect("for this namespace")
    });
}

fn sharded(payload: &Bytes) {
    let sharded = Sharded::new("p", "/", Mode::Dynamic);
    let Ok(Some(received)) = sharded.read(payload, &LIMITS) else { return };
    let write = |Received { uid, content }: &Received| match content {
        Content::Message(message) => sharded.write(uid.as_deref().unwrap_or("u"), message),
        Content::Response(response) => sharded.write_response("to", uid.as_deref().unwrap_or("u"), response),
    };
    again(received, write, |publication| {
        let read = sharded.read(&publication.payload, &LIMITS);
        read.expect("what was read can be read again").expect("for this namespace")
    });
}

fn streams(received: Received) {
    let streams = Streams::new("p".to_owned(), "p", "/");
    let write = |Received { uid, content }: &Received| match content {
        Content::Message(message) => streams.write(uid.as_deref().unwrap_or("u"), message),
        Content::Response(response) => {
            streams.write_response("to", uid.as_deref().unwrap_or("u"), response).map(Written::Publication)
        }
    };
    again(received, write, |written| {
        let read = match written {
            Written::Entry(entry) => streams.read_entry(entry, &LIMITS),
            Written::Publication(publication) => streams.read(&publication.payload, &LIMITS),
        };
        read.expect("what was read can be read again").expect("for this namespace")
    });
}

fn published(payload: &Bytes) {
    if let Ok(Some(received)) = Streams::new("p".to_owned(), "p", "/").read(payload, &LIMITS) {
        streams(received);
    }
}

/// The type, a space, the data.
fn entry(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    let Some((kind, data)) = text.split_once(' ') else { return };
    let entry = Entry { uid: "u".to_owned(), nsp: "/".to_owned(), kind: kind.to_owned(), data: data.to_owned() };
    if let Ok(Some(received)) = Streams::new("p".to_owned(), "p", "/").read_entry(&entry, &LIMITS) {
        streams(received);
    }
}

fn session(text: &[u8]) {
    if let Ok(session) = Session::read(&String::from_utf8_lossy(text), &LIMITS) {
        let written = session.write();
        let read = Session::read(&written, &LIMITS).expect("what was read can be read again");
        assert_eq!(read.write(), written);
    }
}
