//! One subscriber: from its TCP connection until it is set up, and what it hears then.

use std::collections::VecDeque;
use std::io;

use super::asks::Asks;
use super::frames::{self, Kind};
use super::http;
use super::polling::Polling;
use super::script::{Meaning, Protocol, Script};
use super::tally::{Heard, Tally};
use super::target;
use super::template::{Template, Values};
use super::wire::Wire;
use crate::failure::Failure;

/// How much is read at once.
const READ: usize = 64 * 1024;

/// How far a client has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// TCP or HTTP is under way.
    Connecting,
    /// The transport is open, but the client is not let in yet.
    Knocking,
    /// It waits for what `--ready` names.
    Settling,
    /// It is set up.
    Ready,
    /// It has said goodbye.
    Leaving,
    /// The connection is over.
    Closed,
}

/// What all clients share: they take turns on one thread.
#[derive(Debug)]
pub(super) struct Shared {
    /// Their part.
    pub(super) script: Script,
    /// Deliveries.
    pub(super) tally: Tally,
    /// Questions and answers.
    pub(super) asks: Asks,
    /// The server's heartbeats that were answered.
    pub(super) pings: u64,
    /// Where everybody reads.
    pub(super) scratch: Vec<u8>,
    /// The last message that was neither a delivery nor an answer: it may say why nothing comes.
    pub(super) last: Vec<u8>,
}

/// How bytes travel.
#[derive(Debug)]
pub(super) enum Transport {
    /// Frames.
    WebSocket,
    /// HTTP long polling.
    Polling(Polling),
}

/// One subscriber.
#[derive(Debug)]
pub(super) struct Client {
    number: usize,
    wire: Wire,
    transport: Transport,
    /// How far it has come.
    pub(super) stage: Stage,
    /// It reads nothing once it is set up.
    deaf: bool,
    /// What it has read of something that is not complete.
    rest: Vec<u8>,
    /// The fragments of a message that is not complete.
    fragments: Vec<u8>,
    /// How often each text of `--ready` is still to come.
    missing: Vec<usize>,
    /// Its stream of deliveries.
    pub(super) heard: Heard,
    /// When it asked what it waits for.
    asked: VecDeque<u64>,
    /// How often it has asked.
    questions: u64,
}

impl Client {
    /// A client whose TCP connection has been begun; `request` opens its transport.
    pub(super) fn new(number: usize, mut wire: Wire, transport: Transport, request: &[u8], deaf: bool) -> Self {
        wire.out().extend_from_slice(request);
        Self {
            number,
            wire,
            transport,
            stage: Stage::Connecting,
            deaf,
            rest: Vec::new(),
            fragments: Vec::new(),
            missing: Vec::new(),
            heard: Heard::default(),
            asked: VecDeque::new(),
            questions: 0,
        }
    }

    /// Whether it reads nothing once it is set up.
    pub(super) fn is_deaf(&self) -> bool {
        self.deaf
    }

    /// The connection can be written to.
    pub(super) fn writable(&mut self) -> Result<(), Failure> {
        let written = self.wire.writable();
        self.passed(written)
    }

    /// The connection can be read; `ending` if the other side has said its last.
    pub(super) fn readable(&mut self, shared: &mut Shared, ending: bool, now: u64) -> Result<(), Failure> {
        if self.stage == Stage::Closed || self.deaf && self.stage == Stage::Ready {
            return Ok(());
        }
        let mut scratch = std::mem::take(&mut shared.scratch);
        let outcome = self.drain(&mut scratch, shared, ending, now);
        shared.scratch = scratch;
        outcome
    }

    /// Reads until there is nothing more. What is not complete yet stands at the beginning of the scratch buffer.
    fn drain(&mut self, scratch: &mut Vec<u8>, shared: &mut Shared, ending: bool, now: u64) -> Result<(), Failure> {
        let mut kept = self.rest.len();
        if scratch.len() < kept + READ {
            scratch.resize(kept + READ, 0);
        }
        scratch[..kept].copy_from_slice(&self.rest);
        loop {
            let read = match self.wire.read(&mut scratch[kept..kept + READ]) {
                Ok(None) => break,
                Ok(Some(0)) => {
                    let outcome = self.end("the server closed the connection", shared);
                    return outcome.map_err(|failure| failure.help(target::CLOSED));
                }
                Ok(Some(read)) => read,
                Err(error) => {
                    let outcome = self.end(&error.to_string(), shared);
                    return outcome.map_err(|failure| failure.help(target::help(&error)));
                }
            };
            let end = kept + read;
            let used = self.feed(&scratch[..end], shared, now.saturating_sub(self.wire.lain()))?;
            scratch.copy_within(used..end, 0);
            kept = end - used;
            if scratch.len() < kept + READ {
                scratch.resize(kept + READ, 0);
            }
            let emptied = read < READ && self.wire.is_emptied_by_short_reads();
            if emptied && !ending || self.stage == Stage::Closed {
                break;
            }
        }
        self.rest.clear();
        self.rest.extend_from_slice(&scratch[..kept]);
        let flushed = self.wire.flush();
        self.passed(flushed)
    }

    /// Takes as much as is complete, and says how much that was.
    fn feed(&mut self, bytes: &[u8], shared: &mut Shared, now: u64) -> Result<usize, Failure> {
        let mut used = 0;
        while used < bytes.len() && self.stage != Stage::Closed {
            let taken = if matches!(self.transport, Transport::Polling(_)) {
                self.response(&bytes[used..], shared, now)?
            } else if self.stage == Stage::Connecting {
                self.upgrade(&bytes[used..], shared)?
            } else {
                self.frame(&bytes[used..], shared, now)?
            };
            let Some(taken) = taken else { break };
            used += taken;
        }
        Ok(used)
    }

    /// The server's answer to the upgrade.
    fn upgrade(&mut self, bytes: &[u8], shared: &Shared) -> Result<Option<usize>, Failure> {
        let Some(response) = http::first(bytes).map_err(|wrong| self.failure(wrong))? else { return Ok(None) };
        if response.status != 101 {
            return Err(self.failure(&format!("no WebSocket: {}", response.summary())));
        }
        self.stage = Stage::Knocking;
        match shared.script.opening(self.number)? {
            Some(text) => self.say(&text),
            None if shared.script.protocol == Protocol::Raw => self.admitted(shared)?,
            None => {}
        }
        Ok(Some(response.length))
    }

    /// One frame.
    fn frame(&mut self, bytes: &[u8], shared: &mut Shared, now: u64) -> Result<Option<usize>, Failure> {
        let Some((frame, length)) = frames::first(bytes).map_err(|wrong| self.failure(wrong))? else { return Ok(None) };
        match frame.kind {
            Kind::Data { more: false } if self.fragments.is_empty() => self.messages(frame.payload, shared, now)?,
            Kind::Data { more } => {
                self.fragments.extend_from_slice(frame.payload);
                if !more {
                    let whole = std::mem::take(&mut self.fragments);
                    self.messages(&whole, shared, now)?;
                }
            }
            Kind::Ping => {
                shared.pings += 1;
                frames::write(self.wire.out(), frames::PONG, frame.payload);
            }
            Kind::Pong => {}
            Kind::Close => {
                let (code, reason) = frame.payload.split_at(frame.payload.len().min(2));
                let code = <[u8; 2]>::try_from(code).map_or(1005, u16::from_be_bytes);
                let why = format!("the server closed it: {code} {}", String::from_utf8_lossy(reason));
                self.end(why.trim(), shared)?;
            }
        }
        Ok(Some(length))
    }

    /// One HTTP response of a polling client; the next request follows at once.
    fn response(&mut self, bytes: &[u8], shared: &mut Shared, now: u64) -> Result<Option<usize>, Failure> {
        let Some(response) = http::first(bytes).map_err(|wrong| self.failure(wrong))? else { return Ok(None) };
        if response.status != 200 {
            return Err(self.failure(&format!("polling: {}", response.summary())));
        }
        let posted = matches!(&self.transport, Transport::Polling(polling) if polling.posted);
        if !posted {
            for packet in response.body.split(|byte| *byte == 0x1E) {
                if let (Transport::Polling(polling), [b'0', open @ ..]) = (&mut self.transport, packet) {
                    polling.opened(open);
                }
                self.stage = self.stage.max(Stage::Knocking);
                self.message(packet, shared, now)?;
            }
        }
        if let (Transport::Polling(polling), true) = (&mut self.transport, self.stage <= Stage::Ready) {
            polling.request(self.wire.out());
        }
        Ok(Some(response.length))
    }

    /// What one frame, or its fragments, carries: Centrifuge puts several messages into one, a line each.
    fn messages(&mut self, payload: &[u8], shared: &mut Shared, now: u64) -> Result<(), Failure> {
        if shared.script.protocol != Protocol::Centrifuge {
            return self.message(payload, shared, now);
        }
        let mut lines = payload.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.try_for_each(|line| self.message(line, shared, now))
    }

    /// One message.
    fn message(&mut self, text: &[u8], shared: &mut Shared, now: u64) -> Result<(), Failure> {
        match shared.script.understand(text, self.stage > Stage::Knocking) {
            Meaning::Message => {}
            Meaning::Heartbeat(answer) => {
                shared.pings += 1;
                self.say(answer);
                return Ok(());
            }
            Meaning::Open => {
                let login = shared.script.login(self.number)?;
                self.say(&login);
                return Ok(());
            }
            Meaning::Admitted if self.stage == Stage::Knocking => return self.admitted(shared),
            Meaning::Admitted => return Ok(()),
            Meaning::Refused => return self.end(&format!("the server says {}", String::from_utf8_lossy(text)), shared),
        }
        match self.stage {
            Stage::Settling => self.settle(text, shared),
            Stage::Ready if shared.tally.hear(self.number, &mut self.heard, text, now) => {}
            Stage::Ready if shared.asks.is_answer(text, self.questions - self.asked.len() as u64) => {
                self.answered(shared, now);
            }
            _ => {
                shared.last.clear();
                shared.last.extend_from_slice(&text[..text.len().min(300)]);
            }
        }
        Ok(())
    }

    /// The server has let the client in.
    fn admitted(&mut self, shared: &Shared) -> Result<(), Failure> {
        self.stage = Stage::Settling;
        self.missing = vec![shared.script.answers(); shared.script.ready.len()];
        for text in shared.script.hello(self.number)? {
            self.say(&text);
        }
        self.settled();
        Ok(())
    }

    fn settle(&mut self, text: &[u8], shared: &mut Shared) {
        for (wanted, missing) in shared.script.ready.iter().zip(&mut self.missing) {
            if memchr::memmem::find(text, wanted.as_bytes()).is_some() {
                *missing = missing.saturating_sub(1);
            }
        }
        shared.last.clear();
        shared.last.extend_from_slice(&text[..text.len().min(300)]);
        self.settled();
    }

    fn settled(&mut self) {
        if self.missing.iter().all(|missing| *missing == 0) {
            self.stage = Stage::Ready;
            self.missing = Vec::new();
        }
    }

    /// Asks the next thing, if anything is left to ask.
    pub(super) fn ask(&mut self, asks: &mut Asks, now: u64) -> Result<(), Failure> {
        if let Some(text) = asks.next(self.number, self.questions) {
            self.questions += 1;
            self.asked.push_back(now);
            self.tell(&text)?;
        }
        Ok(())
    }

    fn answered(&mut self, shared: &mut Shared, now: u64) {
        let Some(asked) = self.asked.pop_front() else { return };
        shared.asks.answered += 1;
        shared.tally.sample(now.saturating_sub(asked));
        if let Some(text) = shared.asks.next(self.number, self.questions) {
            self.questions += 1;
            self.asked.push_back(now);
            self.say(&text);
        }
    }

    /// Says something that nobody answers.
    pub(super) fn beat(&mut self, heartbeat: &Template) -> Result<(), Failure> {
        self.tell(&heartbeat.text(&Values { i: self.number, ..Values::default() }))
    }

    /// Says something at once, out of turn.
    fn tell(&mut self, text: &str) -> Result<(), Failure> {
        self.say(text);
        let flushed = self.wire.flush();
        self.passed(flushed)
    }

    /// What is said goes out when the turn is over; that of a polling client with its next request.
    fn say(&mut self, text: &str) {
        match &mut self.transport {
            Transport::WebSocket => frames::write(self.wire.out(), frames::TEXT, text.as_bytes()),
            Transport::Polling(polling) => polling.queue.push(text.to_owned()),
        }
    }

    /// Says goodbye; the server ends the connection then.
    pub(super) fn leave(&mut self) -> Result<(), Failure> {
        // In HTTP there is no room for a goodbye while a GET is open.
        if self.stage == Stage::Closed || matches!(self.transport, Transport::Polling(_)) {
            self.stage = Stage::Closed;
            return Ok(());
        }
        self.stage = Stage::Leaving;
        frames::write(self.wire.out(), frames::CLOSE, &1000u16.to_be_bytes());
        let flushed = self.wire.flush();
        self.passed(flushed)
    }

    /// The connection is over, which is right for those that leave and those that are deaf.
    fn end(&mut self, why: &str, shared: &Shared) -> Result<(), Failure> {
        let expected = self.stage >= Stage::Leaving || self.deaf && self.stage == Stage::Ready;
        let before = self.stage;
        self.stage = Stage::Closed;
        self.wire.abandon();
        if expected {
            return Ok(());
        }
        let failure = self.failure(why);
        if before < Stage::Ready && !shared.last.is_empty() {
            return Err(failure.help(format_args!("before that it said {}", String::from_utf8_lossy(&shared.last))));
        }
        Err(failure)
    }

    fn passed(&mut self, outcome: io::Result<()>) -> Result<(), Failure> {
        match outcome {
            Ok(()) => Ok(()),
            Err(_) if self.stage >= Stage::Leaving || self.deaf => {
                self.stage = Stage::Closed;
                Ok(())
            }
            Err(error) => Err(self.failure(&error.to_string()).help(target::help(&error))),
        }
    }

    fn failure(&self, what: &str) -> Failure {
        Failure::new(format!("connection {} to {}: {what}", self.number, self.wire.peer))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.wire.abandon();
    }
}
