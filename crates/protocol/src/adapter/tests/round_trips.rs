//! What is written is read as the same, in every format; and whatever is read does no harm.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Into::into),
        // What JavaScript counts exactly: beyond, one package writes floating point.
        (-(1_i64 << 53) + 1..1_i64 << 53).prop_map(Into::into),
        any::<i16>().prop_map(|n| json!(f64::from(n) / 4.0 + 0.125)),
        any::<String>().prop_map(Into::into),
        (30usize..300).prop_map(|n| json!("x".repeat(n))),
    ];
    leaf.prop_recursive(3, 30, 18, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..18).prop_map(Into::into),
            proptest::collection::vec((any::<String>(), inner), 0..18)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// At most `most` values, with a binary in them or without.
fn values(most: usize) -> impl Strategy<Value = Args> {
    let binary = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300));
    (proptest::collection::vec(value(), 0..=most), binary).prop_map(move |(mut values, binary)| {
        if let Some(last) = values.last_mut().filter(|_| binary.is_some()) {
            *last = json!({ "deep": [{ "_placeholder": true, "num": 0 }], "beside": last });
        }
        let attachments = binary.filter(|_| !values.is_empty()).map(Bytes::from).into_iter().collect();
        Args::from_validated(Args::many(&values).text().to_owned(), attachments)
    })
}

fn some_rooms() -> impl Strategy<Value = Rooms> {
    proptest::collection::vec(prop_oneof![any::<String>(), "[a-c#]{0,2}"], 0..20).prop_map(Rooms::from_iter)
}

fn target() -> impl Strategy<Value = Target> {
    let flags = (any::<bool>(), any::<Option<bool>>(), proptest::option::of(0..1_u64 << 53), any::<bool>())
        .prop_map(|(volatile, compress, timeout, single)| Flags { volatile, compress, timeout, single });
    (some_rooms(), some_rooms(), flags).prop_map(|(rooms, except, flags)| Target { rooms, except, flags })
}

fn some_event() -> impl Strategy<Value = Event> {
    ("[^cdnr].*", values(3)).prop_map(|(name, args)| Event { name, args })
}

fn id() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_-]{6}|[0-9a-f]{16}"
}

/// What all formats have.
fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        (some_event(), target(), proptest::option::of(id())).prop_map(|(event, to, request)| Message::Broadcast {
            event,
            to,
            request
        }),
        (target(), some_rooms()).prop_map(|(to, rooms)| Message::Join { to, rooms, request: None }),
        (target(), some_rooms()).prop_map(|(to, rooms)| Message::Leave { to, rooms, request: None }),
        (target(), any::<bool>()).prop_map(|(to, close)| Message::Disconnect { to, close, request: None }),
        (target(), id()).prop_map(|(to, request)| Message::Fetch { to, request }),
        (some_event(), proptest::option::of(id()))
            .prop_map(|(event, request)| Message::ServerSideEmit { event, request }),
    ]
}

fn response() -> impl Strategy<Value = Response> {
    let described = (any::<String>(), value(), some_rooms(), values(1)).prop_map(|(id, handshake, rooms, data)| {
        Socket { id: id.chars().take(60).collect(), handshake: Args::one(&handshake), rooms, data }
    });
    prop_oneof![
        (id(), 0..1_u64 << 53).prop_map(|(request, count)| Response::ClientCount { request, count }),
        (id(), values(1)).prop_map(|(request, answer)| Response::Ack { request, answer }),
        (id(), proptest::collection::vec(described, 0..3))
            .prop_map(|(request, sockets)| Response::Sockets { request, sockets }),
        (id(), values(1)).prop_map(|(request, answer)| Response::ServerSideEmit { request, answer }),
    ]
}

/// As it comes back where JSON spells binaries out: arguments whose binaries are objects.
fn spelled_out(args: &Args) -> Args {
    fn spell(value: &mut Value, attachments: &[Bytes]) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| spell(item, attachments)),
            Value::Object(object) if object.contains_key("_placeholder") => {
                *value = json!({ "type": "Buffer", "data": attachments[0].as_ref() });
            }
            Value::Object(object) => object.values_mut().for_each(|value| spell(value, attachments)),
            _ => {}
        }
    }
    let mut values = args.values();
    values.iter_mut().for_each(|value| spell(value, args.attachments()));
    if args.attachments().is_empty() { args.clone() } else { Args::many(&values) }
}

/// What is missing comes back as nothing, or as null: `@msgpack/msgpack` has no way to write nothing.
fn nothing_as_null(args: &mut Args) {
    if args.text().is_empty() {
        *args = Args::one(&());
    }
}

/// What this format does not keep of a message: its flags, but for those of broadcasts, and binaries in JSON.
fn classic_form(message: &Message) -> Message {
    let mut message = message.clone();
    match &mut message {
        Message::Broadcast { .. } | Message::Rooms { .. } | Message::Ids { .. } => {}
        Message::Join { to, .. }
        | Message::Leave { to, .. }
        | Message::Disconnect { to, .. }
        | Message::Fetch { to, .. } => {
            to.flags = Flags::default();
        }
        Message::ServerSideEmit { event, .. } => event.args = spelled_out(&event.args),
    }
    message
}

fn classic_answer(response: &Response) -> Response {
    let mut response = response.clone();
    match &mut response {
        Response::Sockets { sockets, .. } => {
            sockets.iter_mut().for_each(|socket| socket.data = spelled_out(&socket.data));
        }
        Response::ServerSideEmit { answer, .. } => *answer = spelled_out(answer),
        _ => {}
    }
    response
}

fn streams_answer(response: &Response) -> Response {
    let mut response = response.clone();
    match &mut response {
        Response::Sockets { sockets, .. } => sockets.iter_mut().for_each(|socket| nothing_as_null(&mut socket.data)),
        Response::Ack { answer, .. } | Response::ServerSideEmit { answer, .. } => nothing_as_null(answer),
        _ => {}
    }
    response
}

const UID: &str = "d0O1yF";

fn received(content: Content) -> Option<Received> {
    Some(Received { uid: Some(UID.to_owned()), content })
}

proptest! {
    #[test]
    fn messages_come_back(message in message(), nsp in "/[a-z#é*]{0,3}") {
        let limits = Limits::default();
        let classic = Classic::new(DEFAULT_PREFIX, &nsp);
        let Publication { channel, payload } = classic.write(Sender::Server(UID), &message);
        let place = classic.place(channel.as_bytes()).unwrap();
        let expect = received(Content::Message(classic_form(&message)));
        prop_assert_eq!(classic.read(place, &payload, &limits).unwrap(), expect);

        let expect = received(Content::Message(message.clone()));
        let sharded = Sharded::new(DEFAULT_PREFIX, &nsp, Mode::Dynamic);
        let payload = sharded.write(UID, &message).unwrap().payload;
        prop_assert_eq!(&sharded.read(&payload, &limits).unwrap(), &expect);

        let streams = Streams::new(DEFAULT_PREFIX.to_owned(), DEFAULT_PREFIX, &nsp);
        let read = match streams.write(UID, &message).unwrap() {
            Written::Entry(entry) => streams.read_entry(&entry, &limits),
            Written::Publication(publication) => streams.read(&publication.payload, &limits),
        };
        prop_assert_eq!(read.unwrap(), expect);
    }

    #[test]
    fn answers_come_back(response in response(), nsp in "/[a-z#é*]{0,3}", is_specific: bool) {
        let limits = Limits::default();
        let classic = Classic::new(DEFAULT_PREFIX, &nsp);
        let Publication { channel, payload } = classic.write_response(is_specific.then_some(UID), &response);
        let place = classic.place(channel.as_bytes()).unwrap();
        let expect = Some(Received { uid: None, content: Content::Response(classic_answer(&response)) });
        prop_assert_eq!(classic.read(place, &payload, &limits).unwrap(), expect);

        let sharded = Sharded::new(DEFAULT_PREFIX, &nsp, Mode::Static);
        let payload = sharded.write_response("to", UID, &response).unwrap().payload;
        prop_assert_eq!(sharded.read(&payload, &limits).unwrap(), received(Content::Response(response.clone())));

        let streams = Streams::new(DEFAULT_PREFIX.to_owned(), DEFAULT_PREFIX, &nsp);
        let payload = streams.write_response("to", UID, &response).unwrap().payload;
        let expect = received(Content::Response(streams_answer(&response)));
        prop_assert_eq!(streams.read(&payload, &limits).unwrap(), expect);
    }

    #[test]
    fn sessions_come_back(rooms in some_rooms(), data in values(1)) {
        let mut session = Session { sid: "sid".to_owned(), pid: "pid".to_owned(), rooms, data };
        let written = session.write();
        nothing_as_null(&mut session.data);
        prop_assert_eq!(Session::read(&written, &Limits::default()), Ok(session));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>()) {
        let (classic, limits, payload) = (Classic::new(DEFAULT_PREFIX, "/"), Limits::default(), Bytes::from(bytes));
        for place in [Place::Broadcast { room: None }, Place::Request, Place::Response { to: None }] {
            let _ = classic.read(place, &payload, &limits);
        }
        let _ = Sharded::new(DEFAULT_PREFIX, "/", Mode::Dynamic).read(&payload, &limits);
        let _ = Session::read(&String::from_utf8_lossy(&payload), &limits);
    }
}
