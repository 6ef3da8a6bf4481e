//! The load: all subscribers, the publishers and one event loop that serves them.

use std::io::{self, BufRead as _};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Token, Waker};

use super::client::{Client, Shared, Stage, Transport};
use super::marker::Mark;
use super::polling::Polling;
use super::process::{Memory, Process};
use super::publisher::Publisher;
use super::target::{self, Address};
use super::template::{Template, Values};
use super::wire::Wire;
use crate::failure::Failure;
use crate::progress::Progress;

/// A line on stdin.
const WAKER: Token = Token(usize::MAX);
/// How many events are taken at once: what is due to be published waits for no more of them.
const EVENTS: usize = 64;
/// The longest time between two looks at the clock.
const TICK: Duration = Duration::from_millis(100);
/// How long a server may work on after the last message was heard.
const AFTERMATH: Duration = Duration::from_millis(50);
/// Between two looks at whether it does.
const LOOK: Duration = Duration::from_millis(2);
/// How long a server may take to close a connection that says goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// When nothing comes for so long, nothing more is on its way.
const QUIET: Duration = Duration::from_millis(20);

/// The events of a publisher.
pub(super) const fn token_of(publisher: usize) -> Token {
    Token(WAKER.0 - 1 - publisher)
}

/// Where and how subscribers connect.
#[derive(Debug)]
pub(super) struct Doorway {
    /// The server's nodes, which take turns.
    pub(super) nodes: Vec<Address>,
    /// Path and query.
    pub(super) path: Template,
    /// Header lines.
    pub(super) headers: Vec<Template>,
    /// Whether they poll.
    pub(super) polling: bool,
    /// How many may be on their way in at once.
    pub(super) handshakes: usize,
}

/// Everything that is under way.
#[derive(Debug)]
pub(super) struct Load {
    poll: Poll,
    events: Events,
    start: Instant,
    doorway: Doorway,
    /// The subscribers.
    pub(super) clients: Vec<Client>,
    /// How many of them are set up.
    pub(super) ready: usize,
    /// How many have left.
    closed: usize,
    /// What they share.
    pub(super) shared: Shared,
    /// Who publishes; their tokens count down from the waker's.
    pub(super) publishers: Vec<Publisher>,
    /// How many publications the publishers were given that take turns.
    turns: usize,
    /// The server's processes.
    process: Option<Process>,
    /// How long nothing may happen while something is expected.
    patience: Duration,
    /// When something happened last.
    moved: Instant,
    beat: Option<(Duration, Instant)>,
    lines: Option<Receiver<()>>,
    /// Where a person sees what is going on.
    pub(super) progress: Progress,
}

impl Load {
    /// Nothing is connected yet.
    pub(super) fn new(
        doorway: Doorway,
        shared: Shared,
        publishers: Vec<Publisher>,
        (process, patience, beat): (Option<Process>, Duration, Duration),
        progress: Progress,
    ) -> io::Result<Self> {
        let now = Instant::now();
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            start: now,
            doorway,
            clients: Vec::new(),
            ready: 0,
            closed: 0,
            beat: shared.script.heartbeat.is_some().then_some((beat, now)),
            shared,
            publishers,
            turns: 0,
            process,
            patience,
            moved: now,
            lines: None,
            progress,
        })
    }

    /// Nanoseconds since the beginning.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Something happened for which more patience is due.
    pub(super) fn moved(&mut self) {
        self.moved = Instant::now();
    }

    /// The server's CPU time, once it is done with what it was asked.
    pub(super) fn cpu(&mut self) -> Result<Option<u64>, Failure> {
        let Some(process) = &mut self.process else { return Ok(None) };
        let mut cpu = process.cpu();
        let end = Instant::now() + AFTERMATH;
        while Instant::now() < end {
            let look = Instant::now() + LOOK;
            while let Some(left) = look.checked_duration_since(Instant::now()) {
                self.turn(left.max(Duration::from_millis(1)))?;
            }
            let Some(process) = &mut self.process else { break };
            let later = process.cpu();
            if later == cpu {
                break;
            }
            cpu = later;
        }
        Ok(Some(cpu))
    }

    /// A round begins.
    pub(super) fn mark(&mut self) {
        if let Some(process) = &mut self.process {
            process.mark();
        }
    }

    /// The CPU time since then of the server's thread that had most of it, as of the last look at it.
    pub(super) fn busiest(&self) -> Option<u64> {
        self.process.as_ref().map(Process::busiest)
    }

    /// The server's memory.
    pub(super) fn memory(&self) -> Option<Memory> {
        self.process.as_ref().map(Process::memory)
    }

    /// Connects clients until there are so many, the last `deaf` of which read nothing once they are set up, and waits
    /// until all are set up.
    pub(super) fn connect(&mut self, wanted: usize, deaf: usize) -> Result<(), Failure> {
        self.moved();
        loop {
            while self.clients.len() < wanted && self.clients.len() - self.ready < self.doorway.handshakes {
                let number = self.clients.len();
                let client = self.open(number, number >= wanted - deaf)?;
                self.clients.push(client);
            }
            if self.ready == wanted {
                return Ok(());
            }
            self.turn(TICK)?;
            let (ready, last) = (self.ready, &self.shared.last);
            self.progress.show(|| format!("{ready} of {wanted} connections"));
            if self.moved.elapsed() > self.patience {
                let waiting = self.clients.iter().filter(|client| client.stage < Stage::Ready).count();
                return Err(Failure::new(format!("{waiting} connections are not set up, and nothing happens"))
                    .help(format_args!("the last thing heard was `{}`; see --ready", String::from_utf8_lossy(last))));
            }
        }
    }

    fn open(&self, number: usize, deaf: bool) -> Result<Client, Failure> {
        let Doorway { nodes, path, headers, polling, .. } = &self.doorway;
        let address = &nodes[number % nodes.len()];
        let failure = |error: io::Error| {
            Failure::new(format!("connection {number} to {}: {error}", address.socket)).help(target::help(&error))
        };
        let token = self.shared.script.tokens.token(number)?;
        let values = Values { i: number, token: &token, ..Values::default() };
        let target = path.text(&values);
        let wire = Wire::connect(self.poll.registry(), Token(number), address, deaf).map_err(failure)?;
        let mut request = Vec::new();
        if *polling {
            let mut polling = Polling::new(&target, &address.host);
            polling.request(&mut request);
            return Ok(Client::new(number, wire, Transport::Polling(polling), &request, deaf));
        }
        // The key need not be random: nothing between this client and the server may answer for it.
        let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        request.extend(format!("GET {target} HTTP/1.1\r\nHost: {}\r\n{upgrade}", address.host).into_bytes());
        for header in headers {
            header.write(&mut request, &values);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        Ok(Client::new(number, wire, Transport::WebSocket, &request, deaf))
    }

    /// Closes all connections and waits until the server has closed them, too.
    pub(super) fn disconnect(&mut self) -> Result<(), Failure> {
        for client in &mut self.clients {
            client.leave()?;
        }
        self.closed = self.clients.iter().filter(|client| client.stage == Stage::Closed).count();
        // Servers that wait for us to close first are not waited for.
        let end = Instant::now() + GOODBYE;
        while self.closed < self.clients.len() && Instant::now() < end {
            self.turn(TICK)?;
        }
        self.clients.clear();
        (self.ready, self.closed) = (0, 0);
        Ok(())
    }

    /// Publishes number `number` of a stream to so many receivers; `at` is when it was due.
    pub(super) fn publish(&mut self, to: usize, number: u32, receivers: usize, at: u64) -> Result<(), Failure> {
        let by = self.turns % self.publishers.len().max(1);
        self.turns += 1;
        self.publish_by(by, to, number, receivers, at)
    }

    /// The same, by one of several publishers.
    fn publish_by(&mut self, by: usize, to: usize, number: u32, receivers: usize, at: u64) -> Result<(), Failure> {
        let Some(publisher) = self.publishers.get_mut(by) else {
            return Err(Failure::new("how to publish is not said").help("see --publish-url"));
        };
        let publication = self.shared.tally.publish(at, receivers);
        let values = Values { i: to, seq: u64::from(publication), ..Values::default() };
        let channel = self.shared.script.channel.text(&values);
        let data = Some((&self.shared.tally.marker, Mark { number, publication }));
        publisher.publish(self.poll.registry(), &Values { channel: &channel, data, ..values })
    }

    /// Requests that are not answered yet.
    pub(super) fn unanswered(&self) -> usize {
        self.publishers.iter().map(|publisher| publisher.unanswered).sum()
    }

    /// Publishes to `to` by a publisher who waits for the answer, whose latency is taken; false: all of them wait.
    pub(super) fn ask(&mut self, to: usize) -> Result<bool, Failure> {
        let Some(by) = self.publishers.iter().position(|publisher| publisher.unanswered == 0) else {
            return Ok(false);
        };
        let now = self.now();
        self.publish_by(by, to, 0, 0, now)?;
        self.publishers[by].asked = Some(now);
        Ok(true)
    }

    /// Serves whatever happens, for at most this long or until anything has happened.
    pub(super) fn turn(&mut self, timeout: Duration) -> Result<(), Failure> {
        self.publishers.iter_mut().try_for_each(Publisher::flush)?;
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(Failure::new(format!("cannot wait for events: {error}")));
            }
            _ => {}
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let outcome = events.iter().try_for_each(|event| self.serve(event));
        self.events = events;
        outcome?;
        self.shared.tally.verdict()
    }

    fn serve(&mut self, event: &Event) -> Result<(), Failure> {
        match event.token() {
            WAKER => Ok(()),
            Token(number) if number >= token_of(self.publishers.len()).0 => {
                self.serve_publisher(token_of(0).0 - number, event)
            }
            Token(number) => self.serve_client(number, event),
        }
    }

    fn serve_publisher(&mut self, number: usize, event: &Event) -> Result<(), Failure> {
        let publisher = &mut self.publishers[number];
        if event.is_writable() {
            publisher.writable()?;
        }
        if event.is_readable() && publisher.readable()? > 0 {
            let asked = publisher.asked.take();
            self.moved();
            if let Some(asked) = asked {
                self.shared.tally.sample(self.now().saturating_sub(asked));
            }
        }
        Ok(())
    }

    fn serve_client(&mut self, number: usize, event: &Event) -> Result<(), Failure> {
        let now = self.now();
        // An event may be of a connection that was closed a moment ago.
        let Some(client) = self.clients.get_mut(number) else { return Ok(()) };
        let before = client.stage;
        let progress = (self.shared.tally.heard, self.shared.asks.answered);
        if event.is_writable() {
            client.writable()?;
        }
        if event.is_readable() {
            client.readable(&mut self.shared, event.is_read_closed(), now)?;
        }
        let after = client.stage;
        self.ready += usize::from(before < Stage::Ready && after == Stage::Ready);
        self.closed += usize::from(before < Stage::Closed && after == Stage::Closed);
        if before != after || progress != (self.shared.tally.heard, self.shared.asks.answered) {
            self.moved();
        }
        Ok(())
    }

    /// Serves until `done`, as long as anything happens; `what` says what is missing.
    pub(super) fn wait(&mut self, done: impl Fn(&Self) -> bool, what: impl Fn(&Self) -> String) -> Result<(), Failure> {
        while !done(self) {
            self.turn(TICK)?;
            self.check(&what)?;
        }
        Ok(())
    }

    /// Fails if nothing has happened for too long.
    pub(super) fn check(&mut self, what: impl Fn(&Self) -> String) -> Result<(), Failure> {
        if self.moved.elapsed() <= self.patience {
            return Ok(());
        }
        let failure = Failure::new(format!("{}: nothing more came in {:?}", what(self), self.patience));
        if self.shared.last.is_empty() {
            return Err(failure);
        }
        let last = String::from_utf8_lossy(&self.shared.last);
        Err(failure.help(format_args!("the last other message was `{last}`")))
    }

    /// Lets all clients say their heartbeat, if it is time.
    pub(super) fn heartbeats(&mut self) -> Result<(), Failure> {
        let Some((every, _)) = self.beat.filter(|(every, last)| last.elapsed() >= *every) else { return Ok(()) };
        self.beat = Some((every, Instant::now()));
        let Some(text) = &self.shared.script.heartbeat else { return Ok(()) };
        let mut clients = self.clients.iter_mut().filter(|client| client.stage == Stage::Ready);
        clients.try_for_each(|client| client.beat(text))?;
        // What the server answers does not belong to a round.
        let end = Instant::now() + self.patience;
        while Instant::now() < end {
            self.turn(QUIET)?;
            if self.events.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Does nothing but answer and beat for so long.
    pub(super) fn linger(&mut self, time: Duration) -> Result<(), Failure> {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.heartbeats()?;
            self.turn(left.min(TICK).max(Duration::from_millis(1)))?;
            self.progress.show(|| format!("waiting, {} s left", left.as_secs() + 1));
        }
        Ok(())
    }

    /// Does nothing else until there is a line on stdin; `false` at its end.
    pub(super) fn await_line(&mut self) -> Result<bool, Failure> {
        if self.lines.is_none() {
            self.lines = Some(self.read_lines().map_err(|error| Failure::new(format!("cannot read stdin: {error}")))?);
        }
        loop {
            match self.lines.as_ref().map(Receiver::try_recv) {
                Some(Ok(())) => return Ok(true),
                Some(Err(TryRecvError::Empty)) => {}
                Some(Err(TryRecvError::Disconnected)) | None => return Ok(false),
            }
            self.heartbeats()?;
            self.turn(TICK)?;
        }
    }

    /// Reads stdin on a thread of its own, which mostly waits: there is no event for every kind of stdin.
    fn read_lines(&self) -> io::Result<Receiver<()>> {
        let waker = Arc::new(Waker::new(self.poll.registry(), WAKER)?);
        let (lines, receiver) = channel();
        std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
            for line in io::stdin().lock().lines() {
                if line.is_err() || lines.send(()).is_err() || waker.wake().is_err() {
                    break;
                }
            }
            drop(lines);
            // When this fails the end is seen with the next tick.
            let _ = waker.wake();
        })?;
        Ok(receiver)
    }
}
