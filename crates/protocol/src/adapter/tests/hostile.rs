//! What other servers should not send, what they may, and what it costs to read either.

use super::*;

#[track_caller]
fn refused(payload: &str, error: Error) {
    assert_eq!(request(payload.to_owned()), Err(error), "{payload}");
}

/// A broadcast of `["x"]` whose options are this msgpack.
fn with_options(hex: &str) -> Result<Target, Error> {
    let read = broadcast(&format!("93 a175 82 a474797065 02 a464617461 91a178 {hex}"))?;
    match read.unwrap().content {
        Content::Message(Message::Broadcast { to, .. }) => Ok(to),
        other => panic!("{other:?}"),
    }
}

#[test]
fn options_in_other_shapes() {
    assert_eq!(with_options("80"), Ok(Target::default()));
    // Empty lists for empty objects, as PHP has them; keys in another order, unknown ones; no list at all.
    assert_eq!(with_options("90"), Ok(Target::default()));
    assert_eq!(with_options("83 a5666c616773 90 a3616263 91c0 a5726f6f6d73 91a172"), Ok(Target::rooms(["r"])));
    assert_eq!(with_options("82 a5726f6f6d73 c0 a6657863657074 d40000"), Ok(Target::default()));
    // Numbers as names; the same room twice.
    assert_eq!(with_options("81 a5726f6f6d73 94 05 ff cb3ff8000000000000 05"), Ok(Target::rooms(["5", "-1", "1.5"])));
    // Flags that are nearly booleans; a timeout that is none.
    let flags = Flags { volatile: true, compress: Some(false), timeout: None, single: false };
    let written = "81 a5666c616773 83 a8766f6c6174696c65 01 a8636f6d7072657373 00 a774696d656f7574 a178";
    assert_eq!(with_options(written), Ok(Target::default().flags(flags)));
    assert_eq!(with_options("a178"), Err(Error::Field("opts")));
    assert_eq!(with_options("81 a5726f6f6d73 a172"), Err(Error::Field("opts.rooms")));
    assert_eq!(with_options("81 a5726f6f6d73 91c3"), Err(Error::Field("opts.rooms")));
    assert_eq!(with_options("81 a6657863657074 9180"), Err(Error::Field("opts.except")));
}

#[test]
fn broadcasts_in_other_shapes() {
    let expect = |name: &str, text: &str| {
        let event = Event { name: name.to_owned(), args: args(text, &[]) };
        let content = Content::Message(Message::Broadcast { event, to: Target::default(), request: None });
        Ok(Some(Received { uid: Some("u".to_owned()), content }))
    };
    // Without a namespace; wide integers; an emitter of old for binaries; more items.
    assert_eq!(broadcast("93 a175 82 a474797065 d30000000000000002 a464617461 91a178 80"), expect("x", ""));
    assert_eq!(broadcast("94 a175 82 a464617461 9205cd0001 a474797065 05 80 c0"), expect("5", "1"));
    // All of msgpack's timestamps; undefined.
    let dates = "95 a178 d6ff00000001 d7ff00000000 00000001 c70cff 000f4240 ffffffffffffffff d40000";
    let text = r#""1970-01-01T00:00:01.000Z","1970-01-01T00:00:01.000Z","1969-12-31T23:59:59.001Z",null"#;
    assert_eq!(broadcast(&format!("93 a175 82 a474797065 02 a464617461 {dates} 80")), expect("x", text));
    // For another namespace.
    assert_eq!(broadcast("93 a175 83 a474797065 02 a464617461 91a178 a36e7370 a22f61 80"), Ok(None));
    assert_eq!(broadcast("93 a175 83 a474797065 02 a464617461 91a178 a36e7370 c0 80"), Ok(None));
    // Who sends it may be anything.
    assert!(broadcast("93 07 82 a474797065 02 a464617461 91a178 80").unwrap().unwrap().uid.is_none());
}

#[test]
fn broadcasts_that_are_none() {
    #[track_caller]
    fn refused(hex: &str, error: Error) {
        assert_eq!(broadcast(hex), Err(error));
    }
    refused("", Error::Malformed);
    refused("c0", Error::Field("broadcast"));
    refused("80", Error::Field("broadcast"));
    refused("92 a175 82 a474797065 02 a464617461 91a178", Error::Field("broadcast"));
    refused("93 a175 82 a474797065 02 a464617461 91a178 80 00", Error::Malformed);
    refused("93 a175 c0 80", Error::Field("packet"));
    refused("93 a175 80 80", Error::Field("packet.type"));
    refused("93 a175 82 a474797065 03 a464617461 91a178 80", Error::UnknownType(3));
    refused("93 a175 81 a474797065 02 80", Error::Field("data"));
    refused("93 a175 82 a474797065 02 a464617461 90 80", Error::Field("data"));
    refused("93 a175 82 a474797065 02 a464617461 91c0 80", Error::Field("data"));
    refused("93 a175 82 a474797065 02 a464617461 a178 80", Error::Field("data"));
    refused("93 a175 82 a474797065 02 a464617461 92a178d50100ff 80", Error::Malformed);
    let reserved = Error::Data(socketio::Error::ReservedName);
    refused("93 a175 82 a474797065 02 a464617461 91aa646973636f6e6e656374 80", reserved);
    refused("9f ff", Error::Malformed);
    refused("dd ffffffff", Error::Malformed);
    refused("dc 0011 0101010101010101010101010101010101", Error::TooMany("broadcast"));
}

#[test]
fn requests_in_other_shapes() {
    let fetch = Ok(Message::Fetch { to: Target::default(), request: "q".to_owned() });
    assert_eq!(request(r#" {"type":5}"#), Err(Error::Malformed));
    assert_eq!(request(r#"{ "opts" : {} , "type":5.0, "requestId":"q", "more":[{}] } "#), fetch);
    // The last of two counts, as in JavaScript, and a key may be escaped.
    assert_eq!(request(r#"{"type":1,"requestId":"p","typ\u0065":5,"opts":[],"requestId":"q"}"#), fetch);
    assert_eq!(request(bytes("83 a474797065 05 a46f707473 80 a9726571756573744964 a171")), fetch);
    let emitted = |event, request| Ok(Message::ServerSideEmit { event, request });
    assert_eq!(
        request(r#"{"type":6,"data":[ "x" , 1 , [2] ],"requestId":null}"#),
        emitted(event("x", "1 , [2]"), None)
    );
    // To other servers a name that clients reserve is a name.
    assert_eq!(request(r#"{"type":6,"data":["disconnect"]}"#), emitted(event("disconnect", ""), None));
    // Half an emoji, and bytes that are no text.
    assert_eq!(request(r#"{"type":6,"data":["x","\ud83d"]}"#), emitted(event("x", r#""\ufffd""#), None));
    assert_eq!(request(&b"{\"type\":6,\"data\":[\"\xff\"]}"[..]), emitted(event("\u{fffd}", ""), None));
    let join = |rooms| Ok(Message::Join { to: Target::default(), rooms, request: None });
    assert_eq!(request(r#"{"type":2,"opts":{},"rooms":[1,"b",2.5]}"#), join(rooms(&["1", "b", "2.5"])));
    assert_eq!(request(r#"{"type":2,"opts":{}}"#), join(Rooms::default()));
}

#[test]
fn requests_that_are_none() {
    refused("{", Error::Malformed);
    refused("[]", Error::Malformed);
    refused("{}", Error::Field("type"));
    refused(r#"{"type":"5"}"#, Error::Field("type"));
    refused(r#"{"type":-1}"#, Error::Field("type"));
    refused(r#"{"type":1e999}"#, Error::Field("type"));
    refused(r#"{"type":8}"#, Error::UnknownType(8));
    refused(r#"{"type":255}"#, Error::UnknownType(255));
    refused(r#"{"type":1}"#, Error::Field("requestId"));
    refused(r#"{"type":1,"requestId":7}"#, Error::Field("requestId"));
    refused(&format!(r#"{{"type":1,"requestId":"{}"}}"#, "x".repeat(257)), Error::Field("requestId"));
    // This one ends a process of Node.
    refused(r#"{"type":5,"requestId":"q"}"#, Error::Field("opts"));
    refused(r#"{"type":5,"requestId":"q","opts":7}"#, Error::Field("opts"));
    refused(r#"{"type":2,"rooms":["r"]}"#, Error::Field("opts"));
    refused(r#"{"type":2,"sid":"s","room":[]}"#, Error::Field("room"));
    refused(r#"{"type":2,"opts":{},"rooms":["r",null]}"#, Error::Field("rooms"));
    refused(r#"{"type":2,"opts":{},"rooms":{}}"#, Error::Field("rooms"));
    refused(r#"{"type":6}"#, Error::Field("data"));
    refused(r#"{"type":6,"data":[]}"#, Error::Field("data"));
    refused(r#"{"type":6,"data":[{}]}"#, Error::Field("data"));
    refused(r#"{"type":6,"data":"x"}"#, Error::Field("data"));
    refused(r#"{"type":6,"data":["x",1e999]}"#, Error::Data(socketio::Error::Payload));
    refused(r#"{"type":7,"requestId":"q","opts":{}}"#, Error::Field("packet"));
    refused(r#"{"type":7,"requestId":"q","opts":{},"packet":{"type":2}}"#, Error::Field("data"));
    refused(r#"{"type":7,"opts":{},"packet":{"type":2,"data":["x"]}}"#, Error::Field("requestId"));
    // What socketioxide publishes under the same name.
    assert_eq!(request(bytes("96 01 c0 00 c0 90 80")), Err(Error::Field("type")));
}

#[test]
fn answers_in_other_shapes() {
    let classic = Classic::new(DEFAULT_PREFIX, "/");
    let answer = |payload: &str| {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        classic.read(Place::Response { to: None }, &payload, &Limits::default()).map(|read| {
            match read.unwrap().content {
                Content::Response(response) => response,
                Content::Message(message) => panic!("{message:?}"),
            }
        })
    };
    let request = || "q".to_owned();
    let bare = Socket { id: "s".to_owned(), ..Socket::default() };
    let sockets = |sockets| Ok(Response::Sockets { request: request(), sockets });
    assert_eq!(answer(r#"{"requestId":"q","sockets":[{"id":"s"}]}"#), sockets(vec![bare]));
    assert_eq!(answer(r#"{"requestId":"q","sockets":[{}]}"#), Err(Error::Field("sockets.id")));
    assert_eq!(answer(r#"{"requestId":"q","sockets":["s"]}"#), Err(Error::Field("sockets")));
    assert_eq!(answer(r#"{"requestId":"q","type":7}"#), Err(Error::UnknownType(7)));
    assert_eq!(answer(r#"{"requestId":"q","type":8,"clientCount":-1}"#), Err(Error::Field("clientCount")));
    assert_eq!(answer(r#"{"requestId":"q","type":8,"clientCount":1.5}"#), Err(Error::Field("clientCount")));
    assert_eq!(answer(r#"{"type":8,"clientCount":1}"#), Err(Error::Field("requestId")));
    let null = Response::Ack { request: request(), answer: args("null", &[]) };
    assert_eq!(answer(r#"{"requestId":"q","type":9,"packet":null}"#), Ok(null));
    assert_eq!(answer(r#"{"requestId":"q"}"#), Ok(Response::Done { request: request() }));
}

#[test]
fn cluster_messages_that_are_none() {
    let sharded = Sharded::new(DEFAULT_PREFIX, "/", Mode::Dynamic);
    let read = |text: &str| sharded.read(&Bytes::copy_from_slice(text.as_bytes()), &Limits::default());
    // Servers that come and go, and another namespace.
    for text in [
        r#"{"type":1,"uid":"u","nsp":"/"}"#,
        r#"{"type":2,"uid":"u","nsp":"/"}"#,
        r#"{"type":13,"uid":"u","nsp":"/"}"#,
        r#"{"type":3,"uid":"u","nsp":"/a"}"#,
        r#"{"type":3,"uid":"u"}"#,
    ] {
        assert_eq!(read(text), Ok(None), "{text}");
    }
    assert_eq!(read(r#"{"type":3,"nsp":"/"}"#), Err(Error::Field("data")));
    assert_eq!(read(r#"{"type":14,"data":{},"nsp":"/"}"#), Err(Error::UnknownType(14)));
    assert_eq!(read(r#"{"data":{},"nsp":"/"}"#), Err(Error::Field("type")));
    assert_eq!(read(r#"{"type":3,"data":{"opts":{}},"nsp":"/"}"#), Err(Error::Field("packet")));
    assert_eq!(read(r#"{"type":4,"data":{"rooms":[]},"nsp":"/"}"#), Err(Error::Field("opts")));
    assert_eq!(read(r#"{"type":7,"data":{"opts":{}},"nsp":"/"}"#), Err(Error::Field("requestId")));
    assert_eq!(read(r#"{"type":8,"data":{"requestId":"q"},"nsp":"/"}"#), Err(Error::Field("sockets")));
    assert_eq!(read(r#"{"type":9,"data":{},"nsp":"/"}"#), Err(Error::Field("packet")));
    assert_eq!(read(r#"{"type":10,"data":{},"nsp":"/"}"#), Err(Error::Field("requestId")));
}

#[test]
fn entries_that_are_none() {
    let streams = Streams::new(DEFAULT_PREFIX.to_owned(), DEFAULT_PREFIX, "/");
    let read = |kind: &str, data: &str| {
        let (kind, data) = (kind.to_owned(), data.to_owned());
        streams.read_entry(&Entry { uid: String::new(), nsp: "/".to_owned(), kind, data }, &Limits::default())
    };
    assert_eq!(read("2", ""), Ok(None));
    assert_eq!(read("3", ""), Err(Error::Field("data")));
    assert_eq!(read("x", "{}"), Err(Error::Field("type")));
    assert_eq!(read("3", "{}"), Err(Error::Field("packet")));
    assert_eq!(read("3", "é"), Err(Error::Malformed));
    assert_eq!(read("3", "gQ=="), Err(Error::Malformed));
    // Without padding, and msgpack.
    assert_eq!(read("4", "gaRvcHRzgA").unwrap().unwrap().uid, None);
    let other = Entry { nsp: "/a".to_owned(), ..Entry::default() };
    assert_eq!(streams.read_entry(&other, &Limits::default()), Ok(None));
}

#[test]
fn depth_is_limited() {
    let deep = Error::Data(socketio::Error::TooDeep);
    for levels in [200, 1_000_000] {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        refused(&format!(r#"{{"type":6,"data":["x",{open}{close}]}}"#), deep);
        // Where nobody looks, any depth is passed over.
        assert!(request(format!(r#"{{"type":6,"data":["x"],"more":{open}{close}}}"#)).is_ok());
        let nested = "91".repeat(levels);
        assert_eq!(broadcast(&format!("93 a175 82 a474797065 02 a464617461 92a178{nested}c0 80")), Err(deep));
        assert!(broadcast(&format!("94 a175 82 a474797065 02 a464617461 91a178 80 {nested}c0")).is_ok());
    }
}

#[test]
fn answers_are_no_deeper_than_they_can_be_passed_on() {
    let sharded = Sharded::new(DEFAULT_PREFIX, "/", Mode::Dynamic);
    let read = |levels| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        let text = format!(r#"{{"type":12,"data":{{"requestId":"q","packet":{open}{close}}},"nsp":"/"}}"#);
        sharded.read(&text.into(), &Limits::default()).map(|read| read.unwrap().content)
    };
    let Ok(Content::Response(answer)) = read(126) else { panic!() };
    let Publication { channel, payload } = Classic::new(DEFAULT_PREFIX, "/").write_response(None, &answer);
    let place = Classic::new(DEFAULT_PREFIX, "/").place(channel.as_bytes());
    let again = Classic::new(DEFAULT_PREFIX, "/").read(place.unwrap(), &payload, &Limits::default());
    assert_eq!(again.map(|read| read.unwrap().content), Ok(Content::Response(answer)));
    assert_eq!(read(127), Err(Error::Data(socketio::Error::TooDeep)));
}

#[test]
fn sizes_and_counts_are_limited() {
    let limits = Limits { bytes: 100, attachments: 1, items: 2 };
    let classic = Classic::new(DEFAULT_PREFIX, "/");
    let read = |payload: Bytes| {
        let place = if payload.first() == Some(&b'{') { Place::Request } else { Place::Broadcast { room: None } };
        classic.read(place, &payload, &limits).map(|_| ())
    };
    let json = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let padded = |length| format!("{:length$}", r#"{"type":1,"requestId":"q"}"#);
    assert_eq!(read(json(&padded(100))), Ok(()));
    assert_eq!(read(json(&padded(101))), Err(Error::TooLarge));
    assert_eq!(read(json(r#"{"type":2,"opts":{},"rooms":["a","b"]}"#)), Ok(()));
    assert_eq!(read(json(r#"{"type":2,"opts":{},"rooms":["a","b","c"]}"#)), Err(Error::TooMany("rooms")));
    assert_eq!(read(json(r#"{"type":2,"opts":{"rooms":[1,2,3]},"rooms":[]}"#)), Err(Error::TooMany("opts.rooms")));
    let rooms = "93 a175 82 a474797065 02 a464617461 91a178 81 a5726f6f6d73";
    assert_eq!(read(bytes(&format!("{rooms} 92 01 02"))), Ok(()));
    assert_eq!(read(bytes(&format!("{rooms} 93 01 02 03"))), Err(Error::TooMany("opts.rooms")));
    let two = "93 a175 82 a474797065 02 a464617461 93a178c400c400 80";
    assert_eq!(read(bytes(two)), Err(Error::Data(socketio::Error::TooManyAttachments)));
}
