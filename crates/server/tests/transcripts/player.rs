//! Plays the lines of a transcript, one after the other.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::fixture::Fixture;
use crate::pattern::{Bindings, fill, matches};
use crate::wire::{Answer, Exchange, WebSocket, from_hex, to_hex};

/// What separates packets in a payload, as transcripts show it.
const SEPARATOR: [&str; 2] = ["\u{1e}", "␞"];

/// One conversation.
#[derive(Debug)]
pub(crate) struct Scenario<'a> {
    pub(crate) title: &'a str,
    /// Options of the server.
    options: Vec<&'a str>,
    /// Number and text.
    lines: Vec<(usize, &'a str)>,
}

/// The conversations of a file: each begins with `## title`. Lines with one `#` are remarks.
pub(crate) fn scenarios(text: &str) -> Vec<Scenario<'_>> {
    let mut scenarios: Vec<Scenario<'_>> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(title) = line.strip_prefix("## ") {
            scenarios.push(Scenario { title, options: Vec::new(), lines: Vec::new() });
        } else if let Some(scenario) = scenarios.last_mut()
            && !line.trim().is_empty()
            && !line.starts_with("# ")
        {
            match line.strip_prefix("server ") {
                Some(options) => scenario.options.extend(options.split_whitespace()),
                None => scenario.lines.push((index + 1, line)),
            }
        }
    }
    scenarios
}

/// Plays one conversation against a server of its own.
pub(crate) fn play(scenario: &Scenario<'_>, shards: usize) -> Result<(), String> {
    let fixture = Fixture::start(&scenario.options, shards)?;
    let mut stage = Stage::default();
    for (number, line) in &scenario.lines {
        stage.step(&fixture, line).map_err(|error| format!("line {number}, {shards} shards: {line}\n  {error}"))?;
    }
    drop(stage);
    fixture.stop()
}

/// A client: a WebSocket, or the requests of a polling session.
#[derive(Debug)]
enum Client {
    WebSocket(WebSocket),
    Polling { query: String, headers: Vec<String>, waiting: Option<Exchange> },
}

#[derive(Debug, Default)]
struct Stage {
    clients: BTreeMap<String, Client>,
    bindings: Bindings,
    /// The answer that `status` and `header` look at.
    answer: Answer,
    /// A POST that is not answered yet.
    posting: Option<Exchange>,
}

/// The words of `open` and `connect`: who, how, and the rest of the query and headers.
struct Opening<'a> {
    name: &'a str,
    transport: &'a str,
    query: String,
    headers: Vec<String>,
}

impl<'a> Opening<'a> {
    /// `[NAME] websocket|polling [/path/] KEY=VALUE... [| header: value | ...]`
    fn parse(line: &'a str) -> Self {
        let mut parts = line.split('|').map(str::trim);
        let mut words = parts.next().unwrap_or_default().split_whitespace().peekable();
        let name = words.next_if(|word| *word != "websocket" && *word != "polling").unwrap_or_default();
        let transport = words.next().unwrap_or_default();
        let path = words.next_if(|word| word.starts_with('/')).unwrap_or("/socket.io/");
        let mut query = words.collect::<Vec<_>>().join("&");
        if !query.contains("transport=") {
            query.push_str("&transport=");
            query.push_str(transport);
        }
        Self { name, transport, query: format!("{path}?{query}"), headers: parts.map(str::to_owned).collect() }
    }
}

impl Stage {
    fn step(&mut self, fixture: &Fixture, line: &str) -> Result<(), String> {
        let line = fill(line, &self.bindings);
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        if let Some(name) = word.strip_suffix('>') {
            return self.say(fixture.address, name, rest);
        }
        if let Some(name) = word.strip_suffix("<<") {
            let shown = SEPARATOR[1];
            let wanted = rest.split(shown).count();
            let mut heard = self.hear(fixture.address, name)?;
            while heard.split(shown).count() < wanted {
                heard = [heard, self.hear(fixture.address, name)?].join(shown);
            }
            return self.expect(rest, &heard);
        }
        if let Some(name) = word.strip_suffix('<') {
            let heard = self.hear(fixture.address, name)?;
            return self.expect(rest, &heard);
        }
        match word {
            "open" => {
                let name = self.connect(fixture.address, rest)?;
                self.open(fixture.address, &name)
            }
            "connect" => self.connect(fixture.address, rest).map(drop),
            "get" => self.get(fixture.address, rest),
            "post" => {
                self.begin(fixture.address, rest)?;
                self.end()
            }
            "begin" => self.begin(fixture.address, rest),
            "end" => self.end(),
            "arrived" => fixture.arrived(),
            "fetch" => self.fetch(fixture.address, rest),
            "abort" => self.abort(rest),
            "leave" => self.clients.remove(rest).map(drop).ok_or_else(|| "no such client".to_owned()),
            "status" => self.status(rest),
            "header" => self.header(rest),
            "release" => {
                fixture.release();
                Ok(())
            }
            // `close 1005` without a name: the only client.
            "close" => {
                let heard = self.hear(fixture.address, "")?;
                self.expect(&line, &heard)
            }
            _ => Err("the player does not know this word".to_owned()),
        }
    }

    fn client(&mut self, name: &str) -> Result<&mut Client, String> {
        self.clients.get_mut(name).ok_or_else(|| format!("no client {name:?}"))
    }

    fn expect(&mut self, pattern: &str, heard: &str) -> Result<(), String> {
        let pattern = match pattern.strip_prefix("bytes ") {
            Some(hex) => format!("bytes {}", hex.replace(' ', "")),
            None => unfold(pattern),
        };
        if matches(&pattern, heard, &mut self.bindings) { Ok(()) } else { Err(format!("heard: {heard}")) }
    }

    fn connect(&mut self, server: SocketAddr, line: &str) -> Result<String, String> {
        let Opening { name, transport, query, headers } = Opening::parse(line);
        let client = if transport == "websocket" {
            match WebSocket::open(server, &query, &headers)? {
                Ok(socket) => Client::WebSocket(socket),
                Err(answer) => {
                    self.answer = answer;
                    return Ok(name.to_owned());
                }
            }
        } else {
            let waiting = Some(Exchange::begin(server, "GET", &query, &headers, None)?);
            Client::Polling { query, headers, waiting }
        };
        self.clients.insert(name.to_owned(), client);
        Ok(name.to_owned())
    }

    /// Takes the open packet, and remembers the session id under the client's name (`sid` for one without).
    fn open(&mut self, server: SocketAddr, name: &str) -> Result<(), String> {
        let heard = self.hear(server, name)?;
        if heard.starts_with("0{") { Ok(()) } else { Err(format!("no open packet: {heard}")) }
    }

    fn hear(&mut self, server: SocketAddr, name: &str) -> Result<String, String> {
        let heard = match self.client(name)? {
            Client::WebSocket(socket) => socket.hear()?,
            Client::Polling { query, headers, waiting } => {
                let exchange = match waiting.take() {
                    Some(exchange) => exchange,
                    None => Exchange::begin(server, "GET", query, headers, None)?,
                };
                let answer = exchange.finish()?;
                let text = body(&answer);
                let status = answer.status;
                self.answer = answer;
                if status != 200 {
                    return Ok(format!("status {status} {text}"));
                }
                text
            }
        };
        self.remember(name, &heard);
        Ok(heard)
    }

    /// Learns a session's id from its open packet; a polling client's requests carry it from then on.
    fn remember(&mut self, name: &str, heard: &str) {
        let sid = heard.split_once("0{\"sid\":\"").and_then(|(_, rest)| rest.split('"').next()).map(str::to_owned);
        let key = if name.is_empty() { "sid" } else { name };
        let (Some(sid), false) = (sid, self.bindings.contains_key(key)) else { return };
        if let Some(Client::Polling { query, .. }) = self.clients.get_mut(name) {
            query.push_str("&sid=");
            query.push_str(&sid);
        }
        self.bindings.insert(key.to_owned(), sid);
    }

    fn say(&mut self, server: SocketAddr, name: &str, message: &str) -> Result<(), String> {
        let message = unfold(message);
        match self.client(name)? {
            Client::WebSocket(socket) => socket.say(&message),
            Client::Polling { .. } => {
                self.begin(server, &format!("{name} {message}"))?;
                self.end()?;
                self.status("200 ok")
            }
        }
    }

    /// `get [NAME]`: a GET that waits; the next `<` takes its answer.
    fn get(&mut self, server: SocketAddr, name: &str) -> Result<(), String> {
        let Client::Polling { query, headers, waiting } = self.client(name)? else {
            return Err("not a polling client".to_owned());
        };
        *waiting = Some(Exchange::begin(server, "GET", query, headers, None)?);
        Ok(())
    }

    /// `abort [NAME]`: the POST that was begun, else the GET that waits.
    fn abort(&mut self, name: &str) -> Result<(), String> {
        if let Some(exchange) = self.posting.take() {
            exchange.abort();
            return Ok(());
        }
        match self.client(name)? {
            Client::Polling { waiting: Some(_), .. } => {}
            _ => return Err("no GET waits".to_owned()),
        }
        if let Client::Polling { waiting, .. } = self.client(name)?
            && let Some(exchange) = waiting.take()
        {
            exchange.abort();
        }
        Ok(())
    }

    /// `begin [NAME] BODY`: a POST that `end` waits for.
    fn begin(&mut self, server: SocketAddr, rest: &str) -> Result<(), String> {
        let (name, body) =
            rest.split_once(' ').filter(|(name, _)| self.clients.contains_key(*name)).unwrap_or(("", rest));
        let body = unfold(body);
        let Client::Polling { query, headers, .. } = self.client(name)? else {
            return Err("not a polling client".to_owned());
        };
        let mut headers = headers.clone();
        let bytes = match body.strip_prefix("bytes ") {
            Some(hex) => {
                headers.push("content-type: application/octet-stream".to_owned());
                from_hex(hex)?
            }
            None => {
                headers.push("content-type: text/plain;charset=UTF-8".to_owned());
                body.replace(SEPARATOR[1], SEPARATOR[0]).into_bytes()
            }
        };
        self.posting = Some(Exchange::begin(server, "POST", query, &headers, Some(&bytes))?);
        Ok(())
    }

    fn end(&mut self) -> Result<(), String> {
        self.answer = self.posting.take().ok_or("no POST was begun")?.finish()?;
        Ok(())
    }

    /// `fetch METHOD TARGET [| header: value]...`
    fn fetch(&mut self, server: SocketAddr, rest: &str) -> Result<(), String> {
        let mut parts = rest.split('|').map(str::trim);
        let (method, target) = parts.next().and_then(|line| line.split_once(' ')).ok_or("fetch METHOD TARGET")?;
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/socket.io/?{target}") };
        let headers: Vec<String> = parts.map(str::to_owned).collect();
        let body: Option<&[u8]> = (method != "GET").then_some(&[]);
        self.answer = Exchange::begin(server, method, &target, &headers, body)?.finish()?;
        Ok(())
    }

    fn status(&mut self, expected: &str) -> Result<(), String> {
        let heard = format!("{} {}", self.answer.status, body(&self.answer));
        let wanted = if expected.contains(' ') { expected.to_owned() } else { format!("{expected} ") };
        self.expect(&wanted, &heard)
    }

    /// `header NAME VALUE`, `header NAME none`.
    fn header(&mut self, rest: &str) -> Result<(), String> {
        let (name, expected) = rest.split_once(' ').ok_or("header NAME VALUE")?;
        let values = self.answer.headers.iter().filter(|(own, _)| own == name).map(|(_, value)| value.as_str());
        let heard = values.collect::<Vec<_>>().join(", ");
        self.expect(expected, if heard.is_empty() { "none" } else { &heard })
    }
}

/// A body in the words of a transcript: decompressed, and as `bytes ...` when it is binary.
fn body(answer: &Answer) -> String {
    use std::io::Read as _;
    let header = |name: &str| answer.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
    let mut plain = Vec::new();
    let bytes = match header("content-encoding") {
        Some("gzip") => flate2::read::GzDecoder::new(&answer.body[..]).read_to_end(&mut plain).map(|_| plain),
        Some("deflate") => flate2::read::ZlibDecoder::new(&answer.body[..]).read_to_end(&mut plain).map(|_| plain),
        _ => Ok(answer.body.clone()),
    };
    let bytes = bytes.unwrap_or_else(|error| error.to_string().into_bytes());
    if header("content-type") == Some("application/octet-stream") {
        return format!("bytes {}", to_hex(&bytes));
    }
    String::from_utf8_lossy(&bytes).replace(SEPARATOR[0], SEPARATOR[1])
}

/// `x*2000` between backquotes is a long text: `` `x*2000` ``.
fn unfold(message: &str) -> String {
    let mut parts = message.split('`');
    let mut out = parts.next().unwrap_or_default().to_owned();
    while let Some(long) = parts.next() {
        let (text, count) = long.split_once('*').unwrap_or((long, "1"));
        out.push_str(&text.repeat(count.parse().unwrap_or(1)));
        out.push_str(parts.next().unwrap_or_default());
    }
    out
}
