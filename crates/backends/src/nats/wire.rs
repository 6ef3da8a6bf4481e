//! The protocol of NATS as bytes: what a server says is read, what it is told is written. Pure.

use std::borrow::Cow;

use bytes::{Buf, Bytes, BytesMut};
use serde::Deserialize;

/// The longest line: a server names all others of its cluster in one.
const LINE_MAX: usize = 64 << 10;

/// The largest message that any server may be set to let through.
const MESSAGE_MAX: usize = 64 << 20;

/// What is between the words of a line; any other byte may be part of a subject.
const SPACE: [char; 2] = [' ', '\t'];

const END: &[u8] = b"\r\n";

/// What ends the headers of a message.
const BLANK: &str = "\r\n\r\n";

/// Something that a server says.
#[derive(Debug, PartialEq)]
pub(super) enum Word {
    Info(Info),
    Message(Message),
    Ping,
    Pong,
    Fine,
    Wrong(String),
}

/// What a server says of itself.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Info {
    version: String,
    /// The largest message that it takes, headers and all.
    pub(super) max_payload: usize,
    pub(super) tls_required: bool,
    pub(super) tls_available: bool,
}

impl Info {
    /// Whether it is of this version, or a newer one.
    pub(super) fn is_at_least(&self, major: u32, minor: u32) -> bool {
        let mut numbers = self.version.split('.').map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (major, minor)
    }
}

/// A message for one of our subscriptions.
#[derive(Debug, PartialEq)]
pub(super) struct Message {
    /// Which one.
    pub(super) id: u64,
    /// `MSG subject id [reply] …`, without its end.
    line: Bytes,
    headers: Bytes,
    pub(super) payload: Bytes,
}

/// What cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Garbled(pub(super) &'static str);

/// A line that announces a message.
#[derive(Clone, Copy)]
struct Head {
    id: u64,
    headers: usize,
    whole: usize,
}

/// The headers of a message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Headers<'a> {
    /// The server itself says something: a number, and words.
    pub(super) status: Option<(u16, &'a str)>,
    pub(super) fields: Vec<(&'a str, &'a str)>,
}

impl Message {
    /// `MSG subject id [reply] size`, or `HMSG` with two sizes.
    fn words(&self) -> Vec<&str> {
        words(std::str::from_utf8(&self.line).unwrap_or_default().trim_end()).collect()
    }

    pub(super) fn subject(&self) -> &str {
        self.words().get(1).copied().unwrap_or_default()
    }

    /// Where an answer is awaited.
    pub(super) fn reply(&self) -> Option<&str> {
        match self.words()[..] {
            ["MSG", _, _, reply, _] | ["HMSG", _, _, reply, _, _] => Some(reply),
            _ => None,
        }
    }

    pub(super) fn headers(&self) -> Headers<'_> {
        let mut lines = std::str::from_utf8(&self.headers).unwrap_or_default().split("\r\n");
        let status = lines.next().and_then(|first| first.split_once(' ')).and_then(|(_, status)| {
            let (number, words) = status.trim().split_once(' ').unwrap_or((status.trim(), ""));
            Some((number.parse().ok()?, words.trim()))
        });
        let fields = lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.trim(), value.trim()));
        Headers { status, fields: fields.collect() }
    }
}

impl Headers<'_> {
    /// The first of this name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

/// Takes the next word from what was received, once it is there whole.
pub(super) fn read(received: &mut BytesMut) -> Result<Option<Word>, Garbled> {
    let Some(end) = received.iter().take(LINE_MAX).position(|byte| *byte == b'\n') else {
        return if received.len() < LINE_MAX { Ok(None) } else { Err(Garbled("a line without an end")) };
    };
    match line(String::from_utf8_lossy(&received[..end]).trim_end_matches('\r'))? {
        Line::Head(head) => message(received, end, head).map(|message| message.map(Word::Message)),
        Line::Word(word) => {
            received.advance(end + 1);
            Ok(Some(word))
        }
    }
}

/// A line: all of a word, or the head of a message.
enum Line {
    Word(Word),
    Head(Head),
}

fn line(line: &str) -> Result<Line, Garbled> {
    let (verb, rest) = line.split_once(SPACE).unwrap_or((line, ""));
    Ok(Line::Word(match verb.to_ascii_uppercase().as_str() {
        "MSG" => return Head::of(rest, false).map(Line::Head),
        "HMSG" => return Head::of(rest, true).map(Line::Head),
        "PING" => Word::Ping,
        "PONG" => Word::Pong,
        "+OK" => Word::Fine,
        "-ERR" => Word::Wrong(rest.trim().trim_matches('\'').to_owned()),
        "INFO" => Word::Info(serde_json::from_str(rest).map_err(|_| Garbled("an INFO that is not JSON"))?),
        _ => return Err(Garbled("a word that NATS does not have")),
    }))
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(SPACE).filter(|word| !word.is_empty())
}

impl Head {
    /// Of `subject id [reply] [headers] whole`.
    fn of(rest: &str, with_headers: bool) -> Result<Self, Garbled> {
        let words: Vec<&str> = words(rest).collect();
        let sizes = if with_headers { 2 } else { 1 };
        if !(2 + sizes..=3 + sizes).contains(&words.len()) {
            return Err(Garbled("a message without its sizes"));
        }
        let size = |word: &str| word.parse::<usize>().ok().filter(|size| *size <= MESSAGE_MAX);
        let whole = size(words[words.len() - 1]);
        let headers = if with_headers { size(words[words.len() - 2]) } else { Some(0) };
        match (words[1].parse(), headers, whole) {
            (Ok(id), Some(headers), Some(whole)) if headers <= whole => Ok(Self { id, headers, whole }),
            _ => Err(Garbled("a message of no possible size")),
        }
    }
}

/// Takes a message whose line ends there.
fn message(received: &mut BytesMut, end: usize, head: Head) -> Result<Option<Message>, Garbled> {
    let all = end + 1 + head.whole + END.len();
    if received.len() < all {
        received.reserve(all - received.len());
        return Ok(None);
    }
    let mut line = received.split_to(end + 1).freeze();
    if let Cow::Owned(text) = String::from_utf8_lossy(&line) {
        // Subjects are any bytes.
        line = text.into();
    }
    let mut payload = received.split_to(head.whole).freeze();
    if !received.starts_with(END) {
        return Err(Garbled("a message of another size than was said"));
    }
    received.advance(END.len());
    let headers = payload.split_to(head.headers);
    Ok(Some(Message { id: head.id, line, headers, payload }))
}

/// Tells a server who we are, by this object.
pub(super) fn connect(out: &mut Vec<u8>, object: &str) {
    put(out, &["CONNECT ", object]);
}

/// Publishes.
pub(super) fn publish(out: &mut Vec<u8>, subject: &str, reply: Option<&str>, payload: &[u8]) {
    let reply = reply.map_or_else(String::new, |reply| format!("{reply} "));
    put(out, &["PUB ", subject, " ", &reply, &payload.len().to_string()]);
    out.extend_from_slice(payload);
    out.extend_from_slice(END);
}

/// The same, with headers of which names and values are clean.
pub(super) fn publish_with(out: &mut Vec<u8>, subject: &str, reply: &str, headers: &[(&str, &str)], payload: &[u8]) {
    let fields: Vec<String> = headers.iter().map(|(name, value)| format!("\r\n{name}: {value}")).collect();
    let headers = format!("NATS/1.0{}{BLANK}", fields.concat());
    let whole = headers.len() + payload.len();
    put(out, &["HPUB ", subject, " ", reply, " ", &headers.len().to_string(), " ", &whole.to_string()]);
    out.extend_from_slice(headers.as_bytes());
    out.extend_from_slice(payload);
    out.extend_from_slice(END);
}

/// Subscribes under this number, perhaps as one of a group, of which each message is for one.
pub(super) fn subscribe(out: &mut Vec<u8>, subject: &str, group: Option<&str>, id: u64) {
    let group = group.map_or_else(String::new, |group| format!("{group} "));
    put(out, &["SUB ", subject, " ", &group, &id.to_string()]);
}

/// Ends that.
pub(super) fn unsubscribe(out: &mut Vec<u8>, id: u64) {
    put(out, &["UNSUB ", &id.to_string()]);
}

fn put(out: &mut Vec<u8>, words: &[&str]) {
    words.iter().for_each(|word| out.extend_from_slice(word.as_bytes()));
    out.extend_from_slice(END);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads all words of what comes in pieces of this size.
    fn talk(bytes: &[u8], piece: usize) -> Result<Vec<Word>, Garbled> {
        let (mut received, mut words) = (BytesMut::new(), Vec::new());
        for piece in bytes.chunks(piece.max(1)) {
            received.extend_from_slice(piece);
            while let Some(word) = read(&mut received)? {
                words.push(word);
            }
        }
        Ok(words)
    }

    const TALK: &[u8] = b"INFO {\"max_payload\":1048576,\"tls_required\":true,\"new\":[1]}\r\n+OK\r\nPING\r\npong\r\n\
        MSG a.b 7 5\r\n\r\nPIN\r\nMSG a 8 _INBOX.x 0\r\n\r\n\
        HMSG a 9 $JS.ACK.x 40 42\r\nNATS/1.0\r\nA: b:c\r\nX-Long-Name:  two \r\n\r\n{}\r\n\
        HMSG i 1 32 32\r\nNATS/1.0 408 Request Timeout\r\n\r\n\r\n-ERR 'Slow Consumer'\r\n";

    #[test]
    fn words_are_read_in_whatever_pieces_they_come() {
        for piece in 1..=TALK.len() {
            let words = talk(TALK, piece).expect("words");
            let Word::Info(info) = &words[0] else { panic!("{words:?}") };
            assert_eq!((info.max_payload, info.tls_required, info.tls_available), (1_048_576, true, false));
            assert_eq!(words[1..4], [Word::Fine, Word::Ping, Word::Pong]);
            let messages: Vec<_> = words[4..8]
                .iter()
                .map(|word| match word {
                    Word::Message(message) => (message.id, message.subject(), message.reply(), &message.payload[..]),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(
                messages,
                [
                    (7, "a.b", None, &b"\r\nPIN"[..]),
                    (8, "a", Some("_INBOX.x"), b""),
                    (9, "a", Some("$JS.ACK.x"), b"{}"),
                    (1, "i", None, b""),
                ]
            );
            let [.., Word::Message(headed), Word::Message(status), Word::Wrong(wrong)] = &words[..] else { panic!() };
            assert_eq!(headed.headers(), Headers { status: None, fields: vec![("A", "b:c"), ("X-Long-Name", "two")] });
            assert_eq!(headed.headers().get("x-long-name"), Some("two"));
            assert_eq!(status.headers().status, Some((408, "Request Timeout")));
            assert_eq!(wrong, "Slow Consumer");
        }
    }

    #[test]
    fn a_subject_is_any_bytes() {
        let words = talk(b"MSG a\xff.\x0c\x0b\xc2\xa0 1 $JS.ACK 2\r\n{}\r\nPING\r\n", 5).expect("words");
        let [Word::Message(message), Word::Ping] = &words[..] else { panic!("{words:?}") };
        assert_eq!((message.subject(), message.reply()), ("a\u{fffd}.\u{c}\u{b}\u{a0}", Some("$JS.ACK")));
        assert_eq!(message.payload, "{}");
    }

    #[test]
    fn versions_are_numbers() {
        let check = |version: &str, expect| {
            assert_eq!(Info { version: version.to_owned(), ..Info::default() }.is_at_least(2, 10), expect, "{version}");
        };
        ["2.10.0", "2.11.1-beta", "3.0", "2.100"].iter().for_each(|version| check(version, true));
        ["2.9.10", "1.99", "2", "", "two"].iter().for_each(|version| check(version, false));
    }

    #[test]
    fn what_is_no_protocol_is_refused() {
        let long = vec![b'x'; LINE_MAX];
        let wrong: [&[u8]; 9] = [
            b"HELLO\r\n",
            b"MSG a 1\r\n",
            b"MSG a x 1\r\n",
            b"MSG a 1 99999999999\r\n",
            b"MSG a 1 -1\r\n",
            b"HMSG a 1 3 2\r\n",
            b"MSG a 1 2\r\nabc\r\n",
            b"INFO {\r\n",
            &long,
        ];
        for bytes in wrong {
            assert!(talk(bytes, bytes.len()).is_err(), "{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(40)]));
        }
    }

    #[test]
    fn what_is_written_is_what_a_server_reads() {
        let mut out = Vec::new();
        connect(&mut out, "{}");
        publish(&mut out, "a", None, b"x\r\n");
        publish(&mut out, "a", Some("r"), b"");
        publish_with(&mut out, "d", "r", &[("A", "b"), ("C", "d")], b"{}");
        subscribe(&mut out, "a.*", None, 1);
        subscribe(&mut out, "a.>", Some("g"), 2);
        unsubscribe(&mut out, 1);
        let expect = "CONNECT {}\r\nPUB a 3\r\nx\r\n\r\nPUB a r 0\r\n\r\n\
            HPUB d r 24 26\r\nNATS/1.0\r\nA: b\r\nC: d\r\n\r\n{}\r\nSUB a.* 1\r\nSUB a.> g 2\r\nUNSUB 1\r\n";
        assert_eq!(String::from_utf8(out).expect("text"), expect);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), piece in 1_usize..50) {
            let _ = talk(&bytes, piece);
            let _ = talk(&[b"HMSG a 1 ", &bytes[..]].concat(), piece);
        }

        #[test]
        fn any_headers_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let head = format!("HMSG a 1 {} {}\r\n", bytes.len(), bytes.len());
            for word in talk(&[head.as_bytes(), &bytes, b"\r\n"].concat(), 7).expect("a message") {
                let Word::Message(message) = word else { panic!() };
                let _ = (message.headers(), message.reply());
            }
        }
    }
}
