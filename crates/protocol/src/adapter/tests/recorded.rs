//! What the packages wrote (`tests/transcripts/adapter`): read as what was said, and written again to the byte.

use serde::Deserialize;

use super::*;

/// What was done, and what was written for it.
#[derive(Debug, Deserialize)]
struct Step {
    step: String,
    written: Vec<Record>,
}

#[derive(Debug, Clone, Deserialize)]
struct Record {
    #[serde(default)]
    channel: String,
    text: Option<String>,
    hex: Option<String>,
    stream: Option<String>,
    entry: Option<Fields>,
    value: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Fields {
    uid: String,
    nsp: String,
    r#type: String,
    data: String,
}

impl Record {
    fn publication(&self) -> Publication {
        let payload = match (&self.text, &self.hex) {
            (Some(text), None) => Bytes::from(text.clone()),
            (None, Some(hex)) => bytes(hex),
            other => panic!("{other:?}"),
        };
        Publication { channel: self.channel.clone(), payload }
    }

    fn entry(&self) -> Entry {
        let Fields { uid, nsp, r#type, data } = self.entry.clone().unwrap();
        let fields = [("uid", uid), ("nsp", nsp), ("other", String::new()), ("type", r#type), ("data", data)];
        Entry::from_fields(fields.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes())))
    }
}

macro_rules! recorded {
    ($format:literal) => {
        serde_json::from_str::<Vec<Step>>(include_str!(concat!("../../../../../tests/transcripts/adapter/", $format)))
            .unwrap()
    };
}

/// Which namespace a step is about.
fn nsp(step: &str, is_emitter: bool) -> &'static str {
    if step == "namespace" || (is_emitter && step == "flags") { "/admin" } else { "/" }
}

fn to(names: &[&str]) -> Target {
    Target::rooms(names.iter().copied())
}

fn told(name: &str, args: Args, to: Target) -> Vec<Content> {
    vec![Content::Message(Message::Broadcast { event: Event { name: name.to_owned(), args }, to, request: None })]
}

/// A broadcast with acknowledgements, and what the one client that got it answers.
fn asked(to: Target, argument: Args, answer: Args, request: &str) -> Vec<Content> {
    let request = || request.to_owned();
    let to = to.flags(Flags { timeout: Some(1000), ..Flags::default() });
    let event = Event { name: "q".to_owned(), args: argument };
    vec![
        Content::Message(Message::Broadcast { event, to, request: Some(request()) }),
        Content::Response(Response::ClientCount { request: request(), count: 1 }),
        Content::Response(Response::Ack { request: request(), answer }),
    ]
}

fn fetched(to: Target, sockets: Vec<Socket>, request: &str) -> Vec<Content> {
    let request = request.to_owned();
    vec![
        Content::Message(Message::Fetch { to, request: request.clone() }),
        Content::Response(Response::Sockets { request, sockets }),
    ]
}

fn socket(id: &str, room: &str, data: Args) -> Socket {
    let handshake = args(r#"{"headers":{"host":"x"},"time":"now","auth":{"token":"t"}}"#, &[]);
    Socket { id: id.to_owned(), handshake, rooms: rooms(&[id, room]), data }
}

fn emitted(name: &str, args: Args, answer: Option<Args>, request: &str) -> Vec<Content> {
    let event = Event { name: name.to_owned(), args };
    let asked = answer.is_some().then(|| request.to_owned());
    let answer = answer.map(|answer| Response::ServerSideEmit { request: request.to_owned(), answer });
    let message = Content::Message(Message::ServerSideEmit { event, request: asked });
    [message].into_iter().chain(answer.map(Content::Response)).collect()
}

const ID: &str = "nrbnsqk3ZkJ9Bf_LAAAB";

/// What events say, by step: `[name, args, to]`.
fn broadcasts(step: &str) -> Option<Vec<Content>> {
    let flags = Flags { volatile: true, compress: Some(false), ..Flags::default() };
    let single = Flags { single: true, ..Flags::default() };
    let placeholder = |n| format!(r#"{{"_placeholder":true,"num":{n}}}"#);
    Some(match step {
        "hello" => told("hello", args(r#""world",1,{"a":true}"#, &[]), to(&[])),
        "binary" => told("msg", args(&placeholder(0), &[&[1, 2, 3]]), to(&["r1"])),
        "binary within" => {
            let text = format!(r#"{{"a":[{}]}},{}"#, placeholder(0), placeholder(1));
            told("deep", args(&text, &[&[7; 256], &[]]), to(&[]))
        }
        "flags" => told("multi", args("null,1.5", &[]), to(&["r1", "r2"]).except(["r3"]).flags(flags)),
        "direct" => told("direct", Args::none(), to(&[ID])),
        "local" => Vec::new(),
        "namespace" => told("x", Args::none(), to(&[])),
        "odd rooms" => told("x", Args::none(), to(&["a#b"]).except(["#", "ä"])),
        "odd room" => told("x", Args::none(), to(&["зал ☃"])),
        "numbers" => told("numbers", args(NUMBERS, &[]), to(&[])),
        "texts" => {
            let x = |times| format!("\"{}\"", "x".repeat(times));
            let odd = "\"é😀\\u0000\\\"\\\\\\n\\u001f\u{7f}\u{2028}/\"".to_owned();
            let texts = [x(0), x(31), x(32), x(255), x(256), odd];
            told("texts", args(&texts.join(","), &[]), to(&[]))
        }
        "nested" => {
            let list = (0..16).collect::<Vec<_>>();
            let map: serde_json::Map<_, _> =
                list.iter().map(|n| (format!("k{n}"), serde_json::json!({ "n": n }))).collect();
            told("nested", Args::one(&serde_json::json!({ "list": list, "map": map })), to(&[]))
        }
        "large and binary" => {
            let text = format!("100000000000000000,-9007199254740992,{}", placeholder(0));
            told("large", args(&text, &[b"x"]), to(&[]))
        }
        _ => return (step == "remote socket").then(|| told("one", Args::none(), to(&[ID]).flags(single))),
    })
}

const NUMBERS: &str = "0,127,128,255,256,65535,65536,4294967295,4294967296,9007199254740991,100000000000000000,\
    -1,-32,-33,-128,-129,-32768,-32769,-2147483648,-2147483649,-9007199254740991,0.1,-1.5";

/// What is said in a step, whatever the format, with the request named so.
fn said(step: &str, id: &str) -> Vec<Content> {
    let request = || id.to_owned();
    let keeper = r#"{"b":{"_placeholder":true,"num":0}}"#;
    let one = || vec![socket(ID, "r1", args(r#"{"user":"u1"}"#, &[]))];
    match step {
        "with ack" => asked(to(&[]), args("1", &[]), args(r#""ack""#, &[]), id),
        "with ack, undefined" => asked(to(&["r2"]), args("1", &[]), Args::none(), id),
        "with ack, binary" => {
            let argument = args(r#"{"_placeholder":true,"num":0}"#, &[&[8]]);
            asked(to(&["r3"]), argument, args(keeper, &[&[9]]), id)
        }
        "fetch" => fetched(to(&["r1"]), one(), id),
        "fetch, binary" => {
            fetched(to(&["r4"]).except(["r9"]), vec![socket("keeper", "r4", args(keeper, &[&[1, 2]]))], id)
        }
        "fetch, none" => fetched(to(&["nobody"]), Vec::new(), id),
        "remote socket" => [fetched(to(&["r1"]), one(), id), broadcasts(step).unwrap()].concat(),
        "join" => {
            vec![Content::Message(Message::Join { to: to(&["r1"]), rooms: rooms(&["r5", "r6"]), request: None })]
        }
        "leave" => {
            let to = to(&["r1"]).except(["r9"]);
            vec![Content::Message(Message::Leave { to, rooms: rooms(&["r5"]), request: None })]
        }
        "disconnect" | "disconnect, open" => {
            let close = step == "disconnect";
            vec![Content::Message(Message::Disconnect { to: to(&["r77"]), close, request: None })]
        }
        "server side" => emitted("other", args(r#"1,"two""#, &[]), None, id),
        "server side, binary" => emitted("other", args(keeper, &[&[1, 255]]), None, id),
        "server side, ack" => emitted("hello", args("1", &[]), Some(args(r#""world-1""#, &[])), id),
        "server side, ack, undefined" => emitted("nothing", Args::none(), Some(Args::none()), id),
        "server side, ack, binary" => {
            emitted("bytes", Args::none(), Some(args(r#"{"_placeholder":true,"num":0}"#, &[&[5]])), id)
        }
        "rooms" => vec![
            Content::Message(Message::Rooms { request: request() }),
            Content::Response(Response::Rooms { request: request(), rooms: Rooms::default() }),
        ],
        _ => broadcasts(step).unwrap_or_else(|| panic!("what is {step}?")),
    }
}

/// The request that a message or an answer names.
fn request_of(content: &Content) -> Option<&str> {
    match content {
        Content::Response(response) => Some(response.request()),
        Content::Message(
            Message::Broadcast { request, .. }
            | Message::ServerSideEmit { request, .. }
            | Message::Join { request, .. }
            | Message::Leave { request, .. }
            | Message::Disconnect { request, .. },
        ) => request.as_deref(),
        Content::Message(
            Message::Fetch { request, .. } | Message::Rooms { request } | Message::Ids { request, .. },
        ) => Some(request),
    }
}

/// What a format does not bring across.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lost {
    Nothing,
    /// JSON has no binaries, and what `Buffer.toJSON` made of them stays so.
    Binaries,
    /// What is undefined is null.
    Undefined,
}

/// Holds what was read of each record of a step against what was said, and gives what to write again: what was said,
/// but for the rooms of a server, which only it knows.
fn compare(step: &Step, read: &[Received], lost: Lost) -> Vec<Content> {
    let id = read.iter().find_map(|received| request_of(&received.content)).unwrap_or_default();
    let expect = said(&step.step, id);
    assert_eq!(read.len(), expect.len(), "{}", step.step);
    let pairs = read.iter().zip(expect).zip(&step.written);
    pairs
        .map(|((received, expect), record)| {
            if let Content::Response(Response::Rooms { rooms, .. }) = &received.content {
                assert!(rooms.contains(&ID.to_owned()));
                return received.content.clone();
            }
            match (&received.content, lost) {
                (_, Lost::Binaries) if record.text.is_some() && step.step.ends_with("binary") => {}
                (
                    Content::Response(Response::Ack { answer, .. } | Response::ServerSideEmit { answer, .. }),
                    Lost::Undefined,
                ) if step.step.ends_with("undefined") => {
                    assert_eq!(answer.text(), "null");
                }
                (content, _) => assert_eq!(content, &expect, "{}", step.step),
            }
            expect
        })
        .collect()
}

fn check_classic(steps: &[Step], from: Option<Sender<'static>>, is_specific: bool) {
    for step in steps.iter().filter(|step| !step.step.ends_with("of old")) {
        let classic = Classic::new(DEFAULT_PREFIX, nsp(&step.step, from.is_some()));
        let read = |record: &Record| {
            let Publication { channel, payload } = record.publication();
            let place = classic.place(channel.as_bytes()).unwrap();
            classic.read(place, &payload, &Limits::default()).unwrap().unwrap()
        };
        let read: Vec<_> = step.written.iter().map(read).collect();
        let contents = match from {
            Some(_) => read.iter().map(|received| received.content.clone()).collect(),
            None => compare(step, &read, Lost::Binaries),
        };
        let uid = read.first().and_then(|received| received.uid.clone());
        for (content, record) in contents.iter().zip(&step.written) {
            let written = match content {
                Content::Message(message) => {
                    classic.write(from.unwrap_or(Sender::Server(uid.as_deref().unwrap_or_default())), message)
                }
                Content::Response(response) => classic.write_response(uid.as_deref().filter(|_| is_specific), response),
            };
            assert_eq!(written, record.publication(), "{}", step.step);
        }
    }
}

#[test]
fn the_classic_format() {
    let steps = recorded!("classic.json");
    assert!(steps.len() > 30);
    check_classic(&steps, None, false);
    let steps = recorded!("specific.json");
    assert_eq!(steps.len(), 4);
    check_classic(&steps, None, true);
}

#[test]
fn what_servers_of_old_ask() {
    let classic = Classic::new(DEFAULT_PREFIX, "/");
    let (socket, r8) = (|| to(&[ID]), || rooms(&["r8"]));
    let (mut steps, request) = (recorded!("classic.json"), |id: &str| Some(id.to_owned()));
    steps.retain(|step| step.step.ends_with("of old"));
    let expect = [
        Message::Ids { rooms: rooms(&["r1"]), request: "o0".to_owned() },
        Message::Join { to: socket(), rooms: r8(), request: request("o2") },
        Message::Leave { to: socket(), rooms: r8(), request: request("o3") },
        Message::Disconnect { to: socket(), close: true, request: request("o4") },
    ];
    assert_eq!(steps.len(), expect.len());
    for (Step { written, .. }, expect) in steps.iter().zip(expect) {
        assert_eq!(super::request(written[0].publication().payload), Ok(expect.clone()));
        let answers: Vec<_> = match expect {
            // Both servers answer; the socket is at one of them.
            Message::Ids { request, .. } => {
                [&[][..], &[ID]].map(|ids| Response::Ids { request: request.clone(), ids: rooms(ids) }).into()
            }
            _ => vec![Response::Done { request: request_of(&Content::Message(expect)).unwrap().to_owned() }],
        };
        let written: Vec<_> = written[1..].iter().map(Record::publication).collect();
        let ours: Vec<_> = answers.iter().map(|answer| classic.write_response(None, answer)).collect();
        assert_eq!(ours, written);
    }
}

#[test]
fn the_emitter() {
    let steps = recorded!("emitter.json");
    assert_eq!(steps.len(), 7);
    check_classic(&steps, Some(Sender::Emitter), false);
    let read = |at: usize| {
        let Publication { channel, payload } = steps[at].written[0].publication();
        let classic = Classic::new(DEFAULT_PREFIX, nsp(&steps[at].step, true));
        classic.read(classic.place(channel.as_bytes()).unwrap(), &payload, &Limits::default()).unwrap().unwrap()
    };
    let flags = Flags { volatile: true, compress: Some(true), ..Flags::default() };
    let content = told("x", Args::none(), to(&["a", "b"]).except(["c"]).flags(flags)).remove(0);
    assert_eq!(read(2), Received { uid: Some(EMITTER.to_owned()), content });
    let content = Content::Message(Message::Join { to: to(&["r1"]), rooms: rooms(&["r9"]), request: None });
    assert_eq!(read(3), Received { uid: None, content });
    let content = emitted("hello", args(r#"{"z":1}"#, &[]), None, "").remove(0);
    assert_eq!(read(6), Received { uid: Some(EMITTER.to_owned()), content });
}

#[test]
fn the_sharded_format() {
    let steps = recorded!("sharded.json");
    assert!(steps.len() > 25);
    for step in &steps {
        let sharded = Sharded::new(DEFAULT_PREFIX, nsp(&step.step, false), Mode::Dynamic);
        let read = |record: &Record| sharded.read(&record.publication().payload, &Limits::default()).unwrap().unwrap();
        let read: Vec<_> = step.written.iter().map(read).collect();
        let asker = read.first().and_then(|received| received.uid.clone()).unwrap_or_default();
        for ((content, record), read) in compare(step, &read, Lost::Nothing).iter().zip(&step.written).zip(&read) {
            let uid = read.uid.as_deref().unwrap();
            let written = match content {
                Content::Message(message) => sharded.write(uid, message),
                Content::Response(response) => sharded.write_response(&asker, uid, response),
            };
            assert_eq!(written, Some(record.publication()), "{}", step.step);
        }
    }
}

#[test]
fn the_streams_format() {
    let steps = recorded!("streams.json");
    assert!(steps.len() > 25);
    for step in steps.iter().filter(|step| step.step != "session") {
        let name = stream_of(DEFAULT_PREFIX, 1, "/");
        let streams = Streams::new(name, DEFAULT_PREFIX, nsp(&step.step, false));
        let limits = Limits::default();
        let read = |record: &Record| match &record.stream {
            Some(stream) => {
                assert_eq!(stream, streams.stream());
                streams.read_entry(&record.entry(), &limits).unwrap().unwrap()
            }
            None => streams.read(&record.publication().payload, &limits).unwrap().unwrap(),
        };
        let read: Vec<_> = step.written.iter().map(read).collect();
        let asker = read.first().and_then(|received| received.uid.clone()).unwrap_or_default();
        for ((content, record), read) in compare(step, &read, Lost::Undefined).iter().zip(&step.written).zip(&read) {
            let uid = read.uid.as_deref().unwrap();
            let written = match content {
                Content::Message(message) => streams.write(uid, message),
                Content::Response(response) => streams.write_response(&asker, uid, response).map(Written::Publication),
            };
            let expect = match record.stream {
                Some(_) => Written::Entry(record.entry()),
                None => Written::Publication(record.publication()),
            };
            assert_eq!(written, Some(expect), "{}", step.step);
        }
    }
}

#[test]
fn sessions_that_were_cut_off() {
    let steps = recorded!("streams.json");
    let value = steps.iter().find_map(|step| step.written.first()?.value.clone()).unwrap();
    let session = Session::read(&value, &Limits::default()).unwrap();
    let expect = Session {
        sid: "gaxSEgNRHNhvbF-JAAAA".to_owned(),
        pid: "C96mn7Cc9v_LNK0KAAAB".to_owned(),
        rooms: rooms(&["gaxSEgNRHNhvbF-JAAAA", "r1"]),
        data: args(r#"{"user":"u1"}"#, &[]),
    };
    assert_eq!((&session, session.write()), (&expect, value));
}
