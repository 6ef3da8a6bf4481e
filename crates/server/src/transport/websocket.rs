//! The task of one websocket: reads frames into the shard's scratch buffer and hands messages to the session's
//! driver. Writing is done by whoever has something to say; this task only continues what the kernel did not take.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::mem;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use oyez_protocol::code::Code;
use oyez_protocol::websocket::frame;
use oyez_protocol::websocket::reader::{CRUMB, Event, Limits, Reader};
use tokio::time::{sleep, timeout};

use crate::session::{Chatter, Fault, Session};
use crate::shard::outbox::Parcel;
use crate::shard::{PER_MESSAGE, SCRATCH, Shard};
use crate::transport::stream::Stream;

/// How long a client may take to read its last words and answer the close frame. When the node goes down, it may take
/// until the deadline for the words, as long as it goes on reading.
const LINGER: Duration = Duration::from_secs(1);

/// Between two reads of what a client says after our close frame, nobody listens: a client that sends faster than this
/// reads would keep the thread busy.
const PAUSE: Duration = Duration::from_millis(1);

/// Bytes of messages that wait for the driver; what came after them waits as it came. More than one read brings, so only
/// messages that grow when they are inflated are held up.
const INBOX: usize = 2 * SCRATCH;

/// Messages that came together whose answers leave together.
const TOGETHER: usize = 32;

/// What a frame meant, taken out of the scratch buffer so that others can use it while the driver waits.
#[derive(Debug)]
pub(crate) enum Message {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Bytes),
    /// The answer to a WebSocket ping, with that one's number; without it, nobody had asked.
    Pong(Option<u32>),
}

impl Message {
    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
            Self::Pong(_) => 0,
        }
    }
}

/// A connection and what it has said so far.
#[derive(Debug)]
pub(crate) struct Socket {
    /// The connection.
    pub stream: Rc<Stream>,
    /// Assembles frames.
    pub reader: Reader,
    /// Messages that are not yet handled.
    pub inbox: VecDeque<Message>,
    /// What came after them and is not yet read as frames.
    rest: Vec<u8>,
    /// Frames that said nothing.
    chatter: Chatter,
    /// What came after them and ends the connection: the client's goodbye, or a fault of the frame layer.
    pub end: Option<Fault>,
}

impl Socket {
    /// A connection that has said nothing yet.
    pub(crate) fn new(stream: Rc<Stream>, limits: Limits) -> Self {
        let (inbox, rest, chatter) = Default::default();
        Self { stream, reader: Reader::new(limits), inbox, rest, chatter, end: None }
    }

    /// Takes bytes that have arrived: messages go to the inbox, pings are answered, what ends the connection is noted.
    pub(crate) fn take(&mut self, bytes: &mut [u8], pong: impl Fn(Vec<u8>)) {
        if let Err(end) = self.read(bytes, pong) {
            self.end = Some(end);
        }
    }

    /// Goes on with what an earlier read left; false when it left nothing.
    fn resume(&mut self, pong: impl Fn(Vec<u8>)) -> bool {
        let mut rest = mem::take(&mut self.rest);
        if !rest.is_empty() {
            self.take(&mut rest, pong);
        }
        !rest.is_empty()
    }

    fn read(&mut self, mut bytes: &mut [u8], pong: impl Fn(Vec<u8>)) -> Result<(), Fault> {
        if bytes.len() < CRUMB && !self.reader.is_idle() {
            // A frame that comes in drops.
            self.chatter.hear(1)?;
        }
        let mut held = 0;
        while held < INBOX
            && let Some(event) = self.reader.read(&mut bytes).map_err(|violation| Fault::Protocol(violation.code()))?
        {
            let message = match event {
                Event::Text(text) => Message::Text(text.into_owned()),
                Event::Binary(bytes) => Message::Binary(bytes),
                Event::Pong(payload) => {
                    self.chatter.hear(1)?;
                    Message::Pong(payload[..].try_into().ok().map(u32::from_be_bytes))
                }
                Event::Ping(payload) => {
                    self.chatter.hear(1)?;
                    let mut answer = Vec::new();
                    frame::append(&mut answer, frame::Opcode::Pong, false, &payload);
                    pong(answer);
                    continue;
                }
                Event::Close(..) => return Err(Fault::Closed),
            };
            held += message.len();
            self.inbox.push_back(message);
        }
        self.rest.extend_from_slice(bytes);
        self.chatter.hear(self.reader.take_crumbs() as usize)
    }
}

/// Serves a session's websocket until either side ends it, in a task of its own: the one that opened the session was
/// large and is not needed any more.
pub(crate) fn serve(shard: Rc<Shard>, session: Rc<Session>, socket: Socket) {
    let owner = Rc::clone(&shard);
    owner.spawn(run(shard, session, socket));
}

async fn run(shard: Rc<Shard>, session: Rc<Session>, mut socket: Socket) {
    // Whatever the connection's former owner (hyper, a probe) left registered is replaced by this task's waker;
    // otherwise the finished task's memory would stay for the life of the socket.
    poll_fn(|cx| {
        let _ = socket.stream.poll_read_ready(cx);
        let _ = socket.stream.poll_write_ready(cx);
        session.waker.replace(Some(cx.waker().clone()));
        Poll::Ready(())
    })
    .await;
    if let Err(fault) = listen(&shard, &session, &mut socket).await {
        shard.close(&session, fault.into());
    }
    // Boxed, as it is the last thing that a connection needs.
    Box::pin(say_goodbye(&shard, &session, &socket.stream)).await;
    session.waker.replace(None);
}

async fn listen(shard: &Rc<Shard>, session: &Rc<Session>, socket: &mut Socket) -> Result<(), Fault> {
    let mut answered = 0;
    loop {
        while let Some(message) = socket.inbox.pop_front() {
            let cost = message.len().max(PER_MESSAGE);
            // Boxed, so that the task of an idle connection does not keep room for it.
            let (owner, speaker) = (Rc::clone(shard), Rc::clone(session));
            let mut handling = Box::pin(async move { owner.on_message(&speaker, message).await });
            let result = poll_fn(|cx| {
                let polled = handling.as_mut().poll(cx).map(Some);
                if polled.is_pending() {
                    if session.closed.get().is_some() {
                        return Poll::Ready(None);
                    }
                    // It may take long; earlier answers do not wait for it.
                    shard.flush(session);
                }
                polled
            })
            .await;
            let Some(result) = result else {
                // Its goodbye does not wait for what it is still asking.
                tokio::task::spawn_local(handling);
                return Ok(());
            };
            answered += 1;
            if answered >= TOGETHER || socket.inbox.is_empty() || result.is_err() {
                answered = 0;
                shard.flush(session);
            }
            result?;
            if session.closed.get().is_some() {
                return Ok(());
            }
            shard.give_way(cost).await;
        }
        // An idle connection keeps no room for what it might say.
        socket.inbox = VecDeque::new();
        // Only now: what a client says right before its goodbye counts, and is answered.
        if let Some(end) = socket.end {
            shard.flush(session);
            return Err(end);
        }
        if socket.resume(|pong| shard.queue(session, Parcel::beat(pong))) {
            continue;
        }
        let heard = poll_fn(|cx| poll_input(cx, shard, session, socket)).await?;
        shard.give_way(heard).await;
        if session.closed.get().is_some() {
            return Ok(());
        }
    }
}

/// Waits for bytes, and meanwhile writes what an earlier write left over. Gives how many came.
fn poll_input(
    cx: &mut Context<'_>,
    shard: &Shard,
    session: &Rc<Session>,
    socket: &mut Socket,
) -> Poll<Result<usize, Fault>> {
    session.waker.replace(Some(cx.waker().clone()));
    if session.closed.get().is_some() {
        return Poll::Ready(Ok(0));
    }
    shard.flush(session);
    let mut scratch = shard.scratch();
    loop {
        ready!(socket.stream.poll_read_ready(cx)).map_err(|_| Fault::Broken)?;
        match socket.stream.try_read_all(&mut scratch) {
            Ok(0) => return Poll::Ready(Err(Fault::Closed)),
            Ok(count) => {
                socket.take(&mut scratch[..count], |pong| shard.queue(session, Parcel::beat(pong)));
                return Poll::Ready(Ok(count));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return Poll::Ready(Err(Fault::Broken)),
        }
    }
}

/// Writes what is left, the close frame last, and waits a moment for the client to close too: data that arrives on
/// a closed socket would make the kernel throw the close frame away.
async fn say_goodbye(shard: &Rc<Shard>, session: &Rc<Session>, stream: &Stream) {
    if session.closed.get().is_some_and(|reason| reason.code == Code::PingTimeout) {
        // It has not answered for long and will not now.
        shard.flush(session);
        stream.shut();
        return;
    }
    if session.closed.get().is_none_or(|reason| reason.code == Code::Normal) {
        shard.flush(session);
        stream.say_end();
        return;
    }
    let goodbye = async {
        loop {
            shard.flush(session);
            let left = !session.outbox.borrow().is_empty() || is_blocked(&stream.try_flush());
            if !left {
                break;
            }
            let Ok(Ok(())) = timeout(LINGER, stream.writable()).await else { return };
        }
        // Half-closing tells the client that nothing follows the close frame.
        stream.shut();
        let answer = async {
            loop {
                if stream.readable().await.is_err() {
                    break;
                }
                match stream.try_read(&mut shard.scratch()) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => break,
                }
                sleep(PAUSE).await;
            }
        };
        let _ = timeout(LINGER, answer).await;
    };
    let limit = if shard.stop.is_cancelled() { shard.settings().shutdown.deadline } else { LINGER };
    let _ = timeout(limit, goodbye).await;
}

fn is_blocked(result: &io::Result<()>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}
