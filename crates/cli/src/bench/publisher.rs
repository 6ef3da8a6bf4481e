//! A publisher: one keep-alive HTTP connection on which requests may be pipelined.

use std::io;

use mio::{Registry, Token};

use super::http;
use super::target::{self, Address};
use super::template::{Template, Values};
use super::wire::Wire;
use crate::failure::Failure;

/// How much is read at once.
const READ: usize = 16 * 1024;

/// How one publishes.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// The server.
    pub(super) address: Address,
    /// Path and query.
    pub(super) path: Template,
    /// Header lines.
    pub(super) headers: Vec<String>,
    /// The body.
    pub(super) body: Template,
    /// What every answer must hold.
    pub(super) reply: Option<String>,
}

/// A publisher.
#[derive(Debug)]
pub(super) struct Publisher {
    request: Request,
    token: Token,
    wire: Option<Wire>,
    rest: Vec<u8>,
    body: Vec<u8>,
    /// Requests that are not answered yet.
    pub(super) unanswered: usize,
    /// When the only one was sent, where its answer is waited for.
    pub(super) asked: Option<u64>,
}

impl Publisher {
    /// A publisher that connects when it is needed.
    pub(super) fn new(request: Request, token: Token) -> Self {
        Self { request, token, wire: None, rest: Vec::new(), body: Vec::new(), unanswered: 0, asked: None }
    }

    /// Connects, if it is not connected.
    pub(super) fn connect(&mut self, registry: &Registry) -> Result<&mut Wire, Failure> {
        let wire = match self.wire.take() {
            Some(wire) => wire,
            None => Wire::connect(registry, self.token, &self.request.address, false)
                .map_err(|error| self.failed(&error))?,
        };
        Ok(self.wire.insert(wire))
    }

    /// Publishes; [`Publisher::flush`] sends it.
    pub(super) fn publish(&mut self, registry: &Registry, values: &Values<'_>) -> Result<(), Failure> {
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        self.request.body.write(&mut body, values);
        self.connect(registry)?;
        let (request, Some(wire)) = (&self.request, &mut self.wire) else { return Ok(()) };
        let out = wire.out();
        out.extend_from_slice(b"POST ");
        request.path.write(out, values);
        out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        out.extend_from_slice(request.address.host.as_bytes());
        out.extend_from_slice(b"\r\n");
        for header in &request.headers {
            out.extend_from_slice(header.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        out.extend_from_slice(&body);
        self.body = body;
        self.unanswered += 1;
        Ok(())
    }

    /// Sends what was published.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        let flushed = self.wire.as_mut().map_or(Ok(()), Wire::flush);
        self.passed(flushed)
    }

    /// The connection can be written to.
    pub(super) fn writable(&mut self) -> Result<(), Failure> {
        let written = self.wire.as_mut().map_or(Ok(()), Wire::writable);
        self.passed(written)
    }

    /// The connection can be read: how many requests were answered.
    pub(super) fn readable(&mut self) -> Result<usize, Failure> {
        let mut answered = 0;
        while let Some(wire) = &mut self.wire {
            let kept = self.rest.len();
            self.rest.resize(kept + READ, 0);
            let read = wire.read(&mut self.rest[kept..]);
            self.rest.truncate(kept + read.as_ref().ok().copied().flatten().unwrap_or(0));
            match read {
                Ok(None) => break,
                Ok(Some(0)) => self.closed()?,
                Ok(Some(_)) => answered += self.take()?,
                Err(error) => self.passed(Err(error))?,
            }
        }
        Ok(answered)
    }

    /// Takes the answers that are complete.
    fn take(&mut self) -> Result<usize, Failure> {
        let (mut used, mut answered) = (0, 0);
        while used < self.rest.len() {
            let response =
                http::first(&self.rest[used..]).map_err(|wrong| Failure::new(format!("publishing: {wrong}")))?;
            let Some(response) = response else { break };
            if !(200..300).contains(&response.status) {
                return Err(Failure::new(format!("publishing: the server answered {}", response.summary())));
            }
            if let Some(reply) = &self.request.reply
                && memchr::memmem::find(&response.body, reply.as_bytes()).is_none()
            {
                let summary = response.summary();
                return Err(Failure::new(format!("publishing: the server answered {summary}, and not `{reply}`")));
            }
            used += response.length;
            answered += 1;
        }
        self.rest.drain(..used);
        self.unanswered = self.unanswered.checked_sub(answered).ok_or_else(|| Failure::new("too many answers"))?;
        Ok(answered)
    }

    /// Servers close connections on which nothing happens; the next request opens a new one.
    fn closed(&mut self) -> Result<(), Failure> {
        self.wire = None;
        self.rest.clear();
        match self.unanswered {
            0 => Ok(()),
            left => {
                Err(Failure::new(format!("publishing: the server closed the connection, {left} requests unanswered"))
                    .help("does it limit the requests of one connection?"))
            }
        }
    }

    fn passed(&mut self, outcome: io::Result<()>) -> Result<(), Failure> {
        match outcome {
            Err(_) if self.unanswered == 0 => self.closed(),
            outcome => outcome.map_err(|error| self.failed(&error)),
        }
    }

    fn failed(&self, error: &io::Error) -> Failure {
        let to = self.request.address.socket;
        Failure::new(format!("publishing to {to}: {error}")).help(target::help(error))
    }
}
