//! The limits that servers are compared with: a bare loop of one system call per subscriber, or, with `--uring`, one
//! io_uring entry per subscriber in batches of 256.
//!
//! `GET` with a WebSocket key makes a subscriber, `POST` sends its body to all of them as one text frame, on the same
//! port. One thread, level-triggered epoll, nothing else: no channels, no tokens, no coalescing. What does not fit into a
//! socket waits in a buffer, so that nothing is lost. Subscribers are pinged as by everybody else: to send to a client
//! that has spoken since costs the kernel up to a third more.

mod request;
mod ring;

use std::collections::HashMap;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use request::Request;
use ring::Ring;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketFlags};

/// The token of the listener; those of connections are their places.
const LISTENER: u64 = u64::MAX;
/// How many connections may wait to be accepted.
const BACKLOG: i32 = 4096;
/// How much is read from a socket at once.
const READ: usize = 64 * 1024;
/// How often subscribers are pinged, as by Socket.IO.
const HEARTBEAT: Duration = Duration::from_secs(25);

fn main() -> io::Result<()> {
    let mut address = "127.0.0.1:0".to_owned();
    let mut uring = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--uring" => uring = true,
            _ => address = argument,
        }
    }
    let listener = TcpListener::bind(&address)?;
    rustix::net::listen(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    println!("Listening on http://{}", listener.local_addr()?);
    let ring = if uring { Some(Ring::new()?) } else { None };
    Server { epoll, listener, connections: Vec::new(), free: Vec::new(), waiting: HashMap::new(), ring }.run()
}

/// What a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It has asked for nothing yet, or publishes.
    Http,
    /// It hears what is published.
    Subscriber,
    /// A subscriber whose socket is full: what it must still get is in `waiting`.
    Full,
}

/// All that a publication touches of a connection; small, so that many fit into the cache.
struct Connection {
    socket: OwnedFd,
    state: State,
}

struct Server {
    epoll: OwnedFd,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// Bytes that wait, by connection: half a request of a publisher, or what a full socket did not take.
    waiting: HashMap<usize, Vec<u8>>,
    ring: Option<Ring>,
}

impl Server {
    fn run(mut self) -> io::Result<()> {
        let mut events = Vec::with_capacity(1024);
        let mut input = vec![0; READ];
        let mut next_ping = Instant::now() + HEARTBEAT;
        loop {
            if Instant::now() >= next_ping {
                next_ping += HEARTBEAT;
                self.publish(request::PING);
            }
            let wait = Timespec::try_from(next_ping.saturating_duration_since(Instant::now())).ok();
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), wait.as_ref()) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                let Event { flags, data } = *event;
                if data.u64() == LISTENER {
                    self.accept()?;
                    continue;
                }
                let at = data.u64() as usize;
                let gone = (flags.contains(EventFlags::OUT) && self.flush(at).is_err())
                    || (flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR)
                        && self.read(at, &mut input).is_err());
                if gone {
                    self.close(at);
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let socket = match rustix::net::accept_with(&self.listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(socket) => socket,
                Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
            let at = self.free.pop().unwrap_or(self.connections.len());
            epoll::add(&self.epoll, &socket, EventData::new_u64(at as u64), EventFlags::IN)?;
            let connection = Some(Connection { socket, state: State::Http });
            match self.connections.get_mut(at) {
                Some(place) => *place = connection,
                None => self.connections.push(connection),
            }
        }
    }

    fn close(&mut self, at: usize) {
        // Closing the descriptor takes it out of epoll.
        if self.connections[at].take().is_some() {
            self.waiting.remove(&at);
            self.free.push(at);
        }
    }

    fn read(&mut self, at: usize, input: &mut [u8]) -> Result<(), Errno> {
        let Some(connection) = &self.connections[at] else { return Ok(()) };
        let length = match rustix::io::read(&connection.socket, &mut *input) {
            Ok(0) => return Err(Errno::CONNRESET),
            Ok(length) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(error) => return Err(error),
        };
        match connection.state {
            State::Http => self.requests(at, &input[..length]),
            // Of a subscriber only its goodbye counts.
            _ if input[0] & 0x0f == request::CLOSE => Err(Errno::CONNRESET),
            _ => Ok(()),
        }
    }

    /// Answers the requests that are complete; the rest waits.
    fn requests(&mut self, at: usize, input: &[u8]) -> Result<(), Errno> {
        let mut bytes = self.waiting.remove(&at).unwrap_or_default();
        bytes.extend_from_slice(input);
        let mut rest = bytes.as_slice();
        let mut answers = Vec::new();
        while let Some((request, length)) = request::parse(rest) {
            match request {
                Request::Subscribe { key } => {
                    answers.extend_from_slice(request::upgrade(key).as_bytes());
                    self.set(at, State::Subscriber);
                }
                Request::Publish { body } => {
                    self.publish(&request::frame(body));
                    answers.extend_from_slice(request::OK);
                }
                Request::Other => answers.extend_from_slice(request::OK),
            }
            rest = &rest[length..];
        }
        if !rest.is_empty() {
            self.waiting.insert(at, rest.to_vec());
        }
        let Some(connection) = &self.connections[at] else { return Ok(()) };
        match answers.len() {
            0 => Ok(()),
            all if send(&connection.socket, &answers)? == all => Ok(()),
            _ => Err(Errno::NOBUFS), // a publisher that does not read its answers
        }
    }

    fn set(&mut self, at: usize, state: State) {
        if let Some(connection) = &mut self.connections[at] {
            connection.state = state;
        }
    }

    /// Sends one frame to all subscribers.
    fn publish(&mut self, frame: &[u8]) {
        let mut short = Vec::new();
        let hearing = self.connections.iter().enumerate().filter_map(|(at, connection)| match connection {
            Some(Connection { socket, state: State::Subscriber }) => Some((at, socket.as_fd())),
            _ => None,
        });
        match &mut self.ring {
            Some(ring) => ring.send(frame, hearing, &mut short),
            None => short.extend(hearing.filter_map(|(at, socket)| match send(socket, frame) {
                Ok(length) if length == frame.len() => None,
                outcome => Some((at, outcome)),
            })),
        }
        // Those whose sockets were full before wait for it, too.
        for (at, bytes) in &mut self.waiting {
            if matches!(self.connections[*at], Some(Connection { state: State::Full, .. })) {
                bytes.extend_from_slice(frame);
            }
        }
        for (at, outcome) in short {
            match outcome {
                Ok(length) => self.wait(at, &frame[length..]),
                Err(_) => self.close(at),
            }
        }
    }

    /// Keeps what a full socket did not take.
    fn wait(&mut self, at: usize, bytes: &[u8]) {
        self.waiting.entry(at).or_default().extend_from_slice(bytes);
        self.set(at, State::Full);
        if self.watch(at, EventFlags::IN | EventFlags::OUT).is_err() {
            self.close(at);
        }
    }

    /// Sends what waits, now that the socket takes some again.
    fn flush(&mut self, at: usize) -> Result<(), Errno> {
        let (Some(connection), Some(bytes)) = (&self.connections[at], self.waiting.get_mut(&at)) else { return Ok(()) };
        let sent = send(&connection.socket, bytes)?;
        bytes.drain(..sent);
        if bytes.is_empty() {
            self.waiting.remove(&at);
            self.set(at, State::Subscriber);
            self.watch(at, EventFlags::IN)?;
        }
        Ok(())
    }

    fn watch(&self, at: usize, flags: EventFlags) -> Result<(), Errno> {
        let Some(connection) = &self.connections[at] else { return Ok(()) };
        epoll::modify(&self.epoll, &connection.socket, EventData::new_u64(at as u64), flags)
    }
}

/// `send` instead of `write`: the same for a socket, but without the detour through the file system's layer.
fn send(socket: impl AsFd, bytes: &[u8]) -> Result<usize, Errno> {
    match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        outcome => outcome,
    }
}
