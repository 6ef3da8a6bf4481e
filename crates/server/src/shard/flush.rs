//! Writing, without a task or a queue in between: what a turn has brought goes to many idle connections in one batch, what
//! waits in an outbox to its own connection, as many packets at once as there are.

use std::io::{ErrorKind, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll};

use oyez_hub::policy::limits::Limit;
use oyez_protocol::code::Code;
use smallvec::SmallVec;

use crate::session::{Fault, Link, Reason, Session};
use crate::shard::Shard;
use crate::shard::outbox::{Parcel, Queued};
use crate::shard::turn::Sequence;
use crate::shard::wire::{self, Write, Wrote};
use crate::transport::stream::Stream;

/// Packets in one vectored write of an outbox.
const SLICES: usize = 64;

/// What became of an outbox.
enum Flushed {
    Everything,
    Blocked,
    Broken,
}

/// What a direct write was to bring.
#[derive(Debug, Clone, Copy)]
struct Brought {
    slot: u32,
    sequence: Sequence,
    bytes: usize,
}

/// What the end of a turn works with; its memory stays for the next.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    /// Sessions whose outboxes are to be flushed.
    slots: Vec<u32>,
    brought: Vec<Brought>,
    writes: Vec<Write>,
    wrote: Vec<Wrote>,
}

impl Shard {
    /// Queues a packet; it is written when the caller, or the shard's next turn, flushes.
    pub(crate) fn queue(&self, session: &Rc<Session>, packet: Rc<Parcel>) {
        if session.closed.get().is_some() {
            return;
        }
        self.spill(session);
        let budget = session.front.outbox_bytes;
        if session.is_encrypted() && session.outbox.borrow().is_full_with(&packet, budget) {
            // All that a turn brings lies in this outbox; only what the client is too slow for may be given up.
            self.flush(session);
            if session.closed.get().is_some() {
                return;
            }
        }
        let queued = session.outbox.borrow_mut().push(packet, budget, &mut |parcel, reason| {
            if let Some(origin) = parcel.origin() {
                self.metrics.drops.count(origin, reason, 1);
            }
        });
        match queued {
            Queued::Kept => {}
            Queued::GaveUp => self.metrics.limited(Limit::Outbox),
            Queued::Hopeless => self.close(session, Reason { code: Code::SlowConsumer, word: "transport close" }),
        }
    }

    /// From now on what comes for this session goes through its outbox, and what this turn has brought comes first.
    pub(crate) fn spill(&self, session: &Session) {
        let pending = {
            let mut lines = self.lines.borrow_mut();
            let line = &mut lines[session.address.slot as usize];
            line.direct = false;
            std::mem::take(&mut line.pending)
        };
        for parcel in self.turn.borrow().parcels(pending) {
            session.outbox.borrow_mut().insist(parcel);
        }
    }

    /// Queues a packet and puts the session on the list for [`Shard::flush_dirty`]; only for what the mailbox brings,
    /// because only then is the list looked at.
    pub(crate) fn queue_dirty(&self, session: &Rc<Session>, packet: Rc<Parcel>) {
        self.queue(session, packet);
        if session.closed.get().is_some() {
            return;
        }
        let slot = session.address.slot;
        if !std::mem::replace(&mut self.lines.borrow_mut()[slot as usize].listed, true) {
            self.dirty.borrow_mut().push(slot);
        }
    }

    /// Ends a turn: writes to all sessions on the list; long lists give others a turn now and then.
    pub(crate) async fn flush_dirty(&self) {
        let mut next = 0;
        while self.flush_chunk(&mut next) {
            tokio::task::yield_now().await;
        }
        self.dirty.borrow_mut().clear();
        self.turn.borrow_mut().clear();
    }

    /// Writes to the sessions on the list from `next` on; returns whether there are more.
    fn flush_chunk(&self, next: &mut usize) -> bool {
        let mut chunk = self.chunk.take();
        let more = {
            let dirty = self.dirty.borrow();
            let end = dirty.len().min(*next + wire::BATCH);
            chunk.slots.clear();
            chunk.slots.extend_from_slice(&dirty[*next..end]);
            *next = end;
            end < dirty.len()
        };
        self.write_pending(&mut chunk);
        for (brought, wrote) in chunk.brought.iter().zip(&chunk.wrote) {
            // An error shows again when the outbox is flushed.
            let count = wrote.unwrap_or(0);
            if count < brought.bytes {
                self.keep_rest(*brought, count);
                chunk.slots.push(brought.slot);
            }
        }
        for slot in &chunk.slots {
            if let Some(session) = self.session_in(*slot) {
                self.flush(&session);
            }
        }
        self.chunk.replace(chunk);
        more
    }

    /// Writes what the turn has brought to those in the chunk whose connections are direct, and leaves the others in
    /// it.
    fn write_pending(&self, chunk: &mut Chunk) {
        let turn = self.turn.borrow();
        let mut lines = self.lines.borrow_mut();
        let mut slices: SmallVec<[IoSlice<'_>; SLICES]> = SmallVec::new();
        let mut last = (Sequence::NONE, false);
        let (mut write, mut bytes) = (Write::default(), 0);
        let Chunk { slots, brought, writes, wrote } = chunk;
        brought.clear();
        writes.clear();
        wrote.clear();
        slots.retain(|slot| {
            let line = &mut lines[*slot as usize];
            line.listed = false;
            let sequence = std::mem::take(&mut line.pending);
            if sequence == Sequence::NONE {
                return true;
            }
            // Neighbours nearly always wait for the same.
            if last != (sequence, line.deflate) {
                last = (sequence, line.deflate);
                let first = slices.len();
                turn.gather(sequence, line.deflate, &mut slices);
                bytes = slices[first..].iter().map(|slice| slice.len()).sum();
                write = Write::of(first..slices.len());
            }
            brought.push(Brought { slot: *slot, sequence, bytes });
            writes.push(Write { slot: *slot, ..write });
            false
        });
        self.wires.borrow_mut().write(writes, &slices, wrote);
    }

    /// The kernel took only `count` bytes: the rest waits in the outbox.
    fn keep_rest(&self, brought: Brought, count: usize) {
        let Some(session) = self.session_in(brought.slot) else { return };
        let line = &mut self.lines.borrow_mut()[brought.slot as usize];
        line.direct = false;
        line.blocked = true;
        let parcels = self.turn.borrow().parcels(brought.sequence);
        session.outbox.borrow_mut().take_over(parcels, count, |parcel| parcel.bytes(line.deflate).len());
    }

    /// Writes what waits in a session's outbox, as far as its transport takes it now.
    pub(crate) fn flush(&self, session: &Rc<Session>) {
        let empty = session.outbox.borrow().is_empty();
        let (flushed, plain) = match &*session.link.borrow() {
            Link::Polling(polling) => {
                if !empty {
                    polling.wake();
                }
                return;
            }
            Link::WebSocket { stream, .. } if empty && stream.is_flushed() => return,
            Link::WebSocket { stream, deflate } => (write_out(session, stream, *deflate), stream.plain().is_some()),
        };
        session.tell_drained();
        match flushed {
            // The slot of a session that is over may be somebody else's.
            Flushed::Everything | Flushed::Blocked if session.closed.get().is_some() => {}
            Flushed::Everything => {
                let line = &mut self.lines.borrow_mut()[session.address.slot as usize];
                line.direct = plain;
                line.blocked = false;
            }
            Flushed::Blocked => self.lines.borrow_mut()[session.address.slot as usize].blocked = true,
            Flushed::Broken => {
                session.outbox.borrow_mut().take();
                self.close(session, Fault::Broken.into());
            }
        }
    }
}

fn write_out(session: &Session, stream: &Stream, deflate: bool) -> Flushed {
    let frames = |packet: &Parcel| packet.bytes(deflate).len();
    loop {
        let mut outbox = session.outbox.borrow_mut();
        let result = if outbox.is_empty() {
            outbox.release();
            match stream.try_flush() {
                Ok(()) => return Flushed::Everything,
                Err(error) => Err(error),
            }
        } else {
            let mut slices: SmallVec<[IoSlice<'_>; SLICES]> = SmallVec::new();
            let mut skip = outbox.written();
            for packet in outbox.iter().take(SLICES) {
                slices.push(IoSlice::new(&packet.bytes(deflate)[skip..]));
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
                    Poll::Ready(Err(_)) => return Flushed::Broken,
                    Poll::Pending => return Flushed::Blocked,
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Flushed::Broken,
        }
    }
}

/// Has the connection's task woken when the kernel takes bytes again. `try_write` has told tokio that the socket is
/// not writable; unless the task's waker is registered here, the wake-up would be lost.
fn wait_writable(session: &Session, stream: &Stream) -> Poll<std::io::Result<()>> {
    match &*session.waker.borrow() {
        Some(waker) => stream.poll_write_ready(&mut Context::from_waker(waker)),
        // The task has not run yet; it flushes when it does.
        None => Poll::Pending,
    }
}
