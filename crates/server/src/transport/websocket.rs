//! The task of one websocket: reads frames into the shard's scratch buffer and hands messages to the session's
//! driver. Writing is done by whoever has something to say; this task only continues what the kernel did not take.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use oyez_protocol::code::Code;
use oyez_protocol::websocket::frame;
use oyez_protocol::websocket::reader::{Event, Limits, Reader};
use tokio::task::yield_now;

use crate::session::{Fault, Session};
use crate::shard::outbox::Parcel;
use crate::shard::{PER_MESSAGE, Shard};
use crate::transport::stream::Stream;

/// How long a client may take to answer a close frame before the connection is dropped.
const LINGER: Duration = Duration::from_secs(1);

/// Messages that came together whose answers leave together.
const TOGETHER: usize = 32;

/// What a frame meant, taken out of the scratch buffer so that others can use it while the driver waits.
#[derive(Debug)]
pub(crate) enum Message {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Bytes),
    /// The answer to a WebSocket ping.
    Pong,
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
    /// What came after them and ends the connection: the client's goodbye, or a fault of the frame layer.
    pub end: Option<Fault>,
}

impl Socket {
    /// A connection that has said nothing yet.
    pub(crate) fn new(stream: Rc<Stream>, limits: Limits) -> Self {
        Self { stream, reader: Reader::new(limits), inbox: VecDeque::new(), end: None }
    }

    /// Takes bytes that have arrived: messages go to the inbox, pings are answered, what ends the connection is noted.
    pub(crate) fn take(&mut self, bytes: &mut [u8], pong: impl Fn(Vec<u8>)) {
        if let Err(end) = self.read(bytes, pong) {
            self.end = Some(end);
        }
    }

    fn read(&mut self, mut bytes: &mut [u8], pong: impl Fn(Vec<u8>)) -> Result<(), Fault> {
        while let Some(event) = self.reader.read(&mut bytes).map_err(|violation| Fault::Protocol(violation.code()))? {
            match event {
                Event::Text(text) => self.inbox.push_back(Message::Text(text.into_owned())),
                Event::Binary(bytes) => self.inbox.push_back(Message::Binary(bytes)),
                Event::Pong(_) => self.inbox.push_back(Message::Pong),
                Event::Ping(payload) => {
                    let mut answer = Vec::new();
                    frame::append(&mut answer, frame::Opcode::Pong, false, &payload);
                    pong(answer);
                }
                Event::Close(..) => return Err(Fault::Closed),
            }
        }
        Ok(())
    }
}

/// Serves a session's websocket until either side ends it, in a task of its own: the one that opened the session was
/// large and is not needed any more.
pub(crate) fn serve(shard: Rc<Shard>, session: Rc<Session>, socket: Socket) {
    let served = shard.connections.token();
    tokio::task::spawn_local(async move {
        run(shard, session, socket).await;
        drop(served);
    });
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
            // Boxed, so that the task of an idle connection does not keep room for it.
            let mut handling = Box::pin(shard.on_message(session, message));
            let result = poll_fn(|cx| {
                let polled = handling.as_mut().poll(cx);
                if polled.is_pending() {
                    // It may take long; earlier answers do not wait for it.
                    shard.flush(session);
                }
                polled
            })
            .await;
            answered += 1;
            if answered >= TOGETHER || socket.inbox.is_empty() || result.is_err() {
                answered = 0;
                shard.flush(session);
            }
            result?;
            if session.closed.get().is_some() {
                return Ok(());
            }
            shard.give_way(PER_MESSAGE).await;
        }
        // An idle connection keeps no room for what it might say.
        socket.inbox = VecDeque::new();
        // Only now: what a client says right before its goodbye counts.
        if let Some(end) = socket.end {
            return Err(end);
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
                socket.take(&mut scratch[..count], |pong| shard.queue(session, Parcel::frame(pong)));
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
            if !left || stream.writable().await.is_err() {
                break;
            }
        }
        // Half-closing tells the client that nothing follows the close frame.
        stream.shut();
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
            // A client that sends faster than this reads would keep the thread for itself, and the clock from ending it.
            yield_now().await;
        }
    };
    let _ = tokio::time::timeout(LINGER, goodbye).await;
}

fn is_blocked(result: &io::Result<()>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}
