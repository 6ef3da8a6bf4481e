//! Writing: what waits in an outbox goes to the kernel directly, as many packets at once as there are.

use std::io::{ErrorKind, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll};

use oyez_protocol::code::Code;
use smallvec::SmallVec;
use tokio::net::TcpStream;

use crate::session::{Fault, Link, Reason, Session};
use crate::shard::Shard;
use crate::shard::outbox::{Parcel, Queued};

/// Sessions written to before other work of the shard gets a turn.
const CHUNK: usize = 256;

/// Packets in one vectored write.
const SLICES: usize = 64;

/// What the kernel said.
enum Wrote {
    Everything,
    Blocked,
    Broken,
}

impl Shard {
    /// Queues a packet; it is written when the caller, or the shard's next turn, flushes.
    pub(crate) fn queue(&self, session: &Rc<Session>, packet: Rc<Parcel>) {
        if session.closed.get().is_some() {
            return;
        }
        let budget = self.settings.front(session.front).outbox_bytes;
        let queued = session.outbox.borrow_mut().push(packet, budget);
        match queued {
            Queued::Kept => {}
            Queued::DroppedOldest => {
                self.metrics.dropped.inc();
            }
            Queued::Hopeless => self.close(session, Reason { code: Code::SlowConsumer, word: "transport close" }),
        }
    }

    /// Queues a packet and puts the session on the list for [`Shard::flush_dirty`]; only for what the mailbox brings,
    /// because only then is the list looked at.
    pub(crate) fn queue_dirty(&self, session: &Rc<Session>, packet: Rc<Parcel>) {
        self.queue(session, packet);
        if !session.dirty.replace(true) {
            self.dirty.borrow_mut().push(Rc::clone(session));
        }
    }

    /// Writes to all sessions on the list; long lists give others a turn now and then.
    pub(crate) async fn flush_dirty(&self) {
        loop {
            let chunk: SmallVec<[Rc<Session>; CHUNK]> = {
                let mut dirty = self.dirty.borrow_mut();
                let from = dirty.len().saturating_sub(CHUNK);
                dirty.drain(from..).collect()
            };
            if chunk.is_empty() {
                return;
            }
            for session in &chunk {
                session.dirty.set(false);
                self.flush(session);
            }
            if chunk.len() == CHUNK {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Writes what waits for one session, as far as its transport takes it now.
    pub(crate) fn flush(&self, session: &Rc<Session>) {
        if session.outbox.borrow().is_empty() {
            return;
        }
        let wrote = match &*session.link.borrow() {
            Link::Polling(polling) => {
                polling.wake();
                return;
            }
            Link::WebSocket { stream, deflate } => write_out(session, stream, *deflate),
        };
        if matches!(wrote, Wrote::Broken) {
            session.outbox.borrow_mut().take();
            self.close(session, Fault::Broken.into());
        }
    }
}

fn write_out(session: &Session, stream: &TcpStream, deflate: bool) -> Wrote {
    let frames = |packet: &Parcel| if deflate { packet.deflated_frames().len() } else { packet.frames().len() };
    loop {
        let mut outbox = session.outbox.borrow_mut();
        if outbox.is_empty() {
            outbox.release();
            return Wrote::Everything;
        }
        let result = {
            let mut slices: SmallVec<[IoSlice<'_>; SLICES]> = SmallVec::new();
            let mut skip = outbox.written();
            for packet in outbox.iter().take(SLICES) {
                let bytes = if deflate { packet.deflated_frames() } else { packet.frames() };
                slices.push(IoSlice::new(&bytes[skip..]));
                skip = 0;
            }
            stream.try_write_vectored(&slices)
        };
        match result {
            Ok(count) => outbox.advance(count, frames),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                drop(outbox);
                match wait_writable(session, stream) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Wrote::Broken,
                    Poll::Pending => return Wrote::Blocked,
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Wrote::Broken,
        }
    }
}

/// Has the connection's task woken when the kernel takes bytes again. `try_write` has told tokio that the socket is
/// not writable; unless the task's waker is registered here, the wake-up would be lost.
fn wait_writable(session: &Session, stream: &TcpStream) -> Poll<std::io::Result<()>> {
    match &*session.waker.borrow() {
        Some(waker) => stream.poll_write_ready(&mut Context::from_waker(waker)),
        // The task has not run yet; it flushes when it does.
        None => Poll::Pending,
    }
}
