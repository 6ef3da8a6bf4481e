//! Answers to pipelined requests leave together: what hyper writes waits until the connection has no further request,
//! and at most a few turns of its task. (hyper's own `pipeline_flush` withholds answers for as long as half of a request
//! is there, and loses the refusal of a bad one.)

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::connection::HEAD_MAX;
use crate::http::waiting::Waiting;
use crate::transport::stream::Stream;

/// Bytes that may wait.
const MOST: usize = 64 * 1024;

/// Turns for which they may; hyper answers up to 16 requests in each.
const TURNS: u64 = 4;

/// Bytes read at once while an answer is owed.
const AHEAD: usize = 1024;

/// Bytes that a client may still say after its last answer.
const THROWN_AWAY_MAX: usize = 1024 * 1024;

/// What a connection's task tells its [`Coalesced`] socket. (Atomic only because hyper wants what it may give away to be
/// `Send`.)
#[derive(Debug)]
pub(crate) struct Pace {
    /// How long it waits for requests.
    pub waiting_for: Waiting,
    turn: AtomicU64,
    /// Answers may wait.
    patient: AtomicBool,
    /// Some do.
    waiting: AtomicBool,
    /// A request is there and nothing of its answer.
    busy: AtomicBool,
    /// Its answer may take long, and is for nobody if the client goes away meanwhile.
    watched: AtomicBool,
}

impl Pace {
    /// Of a connection that waits for its first request.
    pub(crate) fn new(waiting_for: Waiting) -> Self {
        let no = || AtomicBool::new(false);
        Self { waiting_for, turn: AtomicU64::new(0), patient: no(), waiting: no(), busy: no(), watched: no() }
    }

    /// A turn of the connection's task begins.
    pub(crate) fn next_turn(&self) {
        self.turn.fetch_add(1, Ordering::Relaxed);
    }

    /// A request has come. Its answer may wait for others if it is `patient`; an upgrade's must not. If it is
    /// `watched`, the end of what the client says is the end of the request.
    pub(crate) fn begin(&self, patient: bool, watched: bool) {
        self.patient.store(patient, Ordering::Relaxed);
        self.busy.store(true, Ordering::Relaxed);
        self.watched.store(watched, Ordering::Relaxed);
        self.waiting_for.answers();
    }

    /// Its end is no concern any more.
    pub(crate) fn look_away(&self) {
        self.watched.store(false, Ordering::Relaxed);
    }

    fn is_watched(&self) -> bool {
        self.busy.load(Ordering::Relaxed) && self.watched.load(Ordering::Relaxed)
    }

    /// Whether another turn must follow, because something waits for it.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// A socket whose answers may wait for more answers.
#[derive(Debug)]
pub(crate) struct Coalesced {
    stream: Stream,
    /// What was read before.
    unread: BytesMut,
    waiting: BytesMut,
    pace: Arc<Pace>,
    /// The turn in which what waits is written, at the latest.
    due: Option<u64>,
    /// Bytes that came after the last answer.
    thrown_away: usize,
}

impl Coalesced {
    /// `unread` is read before what still comes.
    pub(crate) fn new(stream: Stream, unread: BytesMut, pace: Arc<Pace>) -> Self {
        Self { stream, unread, waiting: BytesMut::new(), pace, due: None, thrown_away: 0 }
    }

    /// The socket and what is still unread, if nothing waits that would be lost.
    pub(crate) fn into_inner(self) -> Option<(Stream, BytesMut)> {
        self.waiting.is_empty().then_some((self.stream, self.unread))
    }

    /// hyper does not listen while it owes an answer, so that a client which says no more still gets it. One that goes
    /// away while its answer is watched is noticed here, if what it says before is no longer than a request's head.
    fn watch(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.pace.is_watched() && self.unread.len() < HEAD_MAX {
            let mut bytes = [0; AHEAD];
            let mut read = ReadBuf::new(&mut bytes);
            if Pin::new(&mut self.stream).poll_read(cx, &mut read)?.is_pending() {
                break;
            }
            if read.filled().is_empty() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            self.unread.extend_from_slice(read.filled());
        }
        Ok(())
    }

    /// A connection that is closed while its client still speaks is reset, and the last answer is lost with it. So what
    /// comes is thrown away until the client has read why nobody listens, within bounds; the connection's task sees to
    /// the time. Whoever says nothing is not waited for.
    fn hear_out(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; AHEAD];
        while self.thrown_away < THROWN_AWAY_MAX {
            let mut read = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                    if self.thrown_away == 0 {
                        self.pace.waiting_for.closes();
                    }
                    self.thrown_away += read.filled().len();
                }
                Poll::Pending if self.thrown_away > 0 => return Poll::Pending,
                _ => break,
            }
        }
        Poll::Ready(())
    }

    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pace.waiting.store(false, Ordering::Relaxed);
        // If the kernel does not take everything, it wakes us for the rest, whatever the turn.
        self.due = Some(0);
        while !self.waiting.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.waiting))?;
            self.waiting.advance(written);
        }
        // An idle connection owns no buffer.
        self.waiting = BytesMut::new();
        self.due = None;
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

impl AsyncRead for Coalesced {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.pace.waiting_for.listens();
        if !self.unread.is_empty() {
            self.pace.waiting_for.hears();
            let count = self.unread.len().min(buf.remaining());
            buf.put_slice(&self.unread.split_to(count));
            if self.unread.is_empty() {
                self.unread = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        // At the end of what the client says, hyper may give the connection up with what waits.
        let ended = read.is_ready() && buf.filled().len() == before;
        if read.is_ready() && !ended {
            self.pace.waiting_for.hears();
        }
        let idle = read.is_pending() && !self.pace.busy.load(Ordering::Relaxed);
        if !self.waiting.is_empty() && (idle || ended) {
            let _ = self.drain(cx);
        }
        read
    }
}

impl AsyncWrite for Coalesced {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.pace.busy.store(false, Ordering::Relaxed);
        if self.waiting.len() >= MOST {
            ready!(self.drain(cx))?;
        }
        if self.waiting.is_empty() && !self.pace.patient.load(Ordering::Relaxed) {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        }
        let before = self.waiting.len();
        slices.iter().for_each(|slice| self.waiting.extend_from_slice(slice));
        Poll::Ready(Ok(self.waiting.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waiting.is_empty() {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            return Poll::Ready(self.watch(cx));
        }
        let turn = self.pace.turn.load(Ordering::Relaxed);
        if !self.pace.patient.load(Ordering::Relaxed) || self.due.is_some_and(|due| due <= turn) {
            ready!(self.drain(cx))?;
            return Poll::Ready(self.watch(cx));
        }
        self.due.get_or_insert(turn + TURNS);
        self.pace.waiting.store(true, Ordering::Relaxed);
        // hyper takes the next request only when it thinks that this one's answer is on its way.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        self.hear_out(cx).map(Ok)
    }
}
