//! Answers to pipelined requests leave together: what hyper writes during one turn of the connection's task is written
//! to the socket at the beginning of the next turn, which is asked for at once. (hyper's own `pipeline_flush` withholds
//! answers for as long as half of a request is there, and loses the refusal of a bad one.)

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::stream::Stream;

/// Bytes that may wait for the next turn.
const MOST: usize = 64 * 1024;

/// What a connection's task tells its [`Coalesced`] socket. (Atomic only because hyper wants what it may give away to be
/// `Send`.)
#[derive(Debug, Default)]
pub(crate) struct Pace {
    turn: AtomicU64,
    /// Answers may wait for the next turn.
    patient: AtomicBool,
}

impl Pace {
    /// A turn of the connection's task begins.
    pub(crate) fn next_turn(&self) {
        self.turn.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether what is written from now on may wait for the next turn; an upgrade's answer must not.
    pub(crate) fn set_patient(&self, patient: bool) {
        self.patient.store(patient, Ordering::Relaxed);
    }
}

/// A socket whose answers may wait for the end of a turn.
#[derive(Debug)]
pub(crate) struct Coalesced {
    stream: Stream,
    waiting: BytesMut,
    pace: Arc<Pace>,
    /// The turn in which hyper wanted what waits to be written.
    wanted: Option<u64>,
}

impl Coalesced {
    pub(crate) fn new(stream: Stream, pace: Arc<Pace>) -> Self {
        Self { stream, waiting: BytesMut::new(), pace, wanted: None }
    }

    /// The socket, if nothing waits that would be lost.
    pub(crate) fn into_inner(self) -> Option<Stream> {
        self.waiting.is_empty().then_some(self.stream)
    }

    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.waiting))?;
            self.waiting.advance(written);
        }
        // An idle connection owns no buffer.
        self.waiting = BytesMut::new();
        self.wanted = None;
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

impl AsyncRead for Coalesced {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() == before {
            // The client has ended its side. hyper may give the connection up for that, and what waits with it.
            let _ = self.drain(cx);
        }
        Poll::Ready(Ok(()))
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
            return Pin::new(&mut self.stream).poll_flush(cx);
        }
        let turn = self.pace.turn.load(Ordering::Relaxed);
        if !self.pace.patient.load(Ordering::Relaxed) || self.wanted.is_some_and(|wanted| wanted != turn) {
            return self.drain(cx);
        }
        if self.wanted.replace(turn).is_none() {
            cx.waker().wake_by_ref();
        }
        // hyper takes the next request only when it thinks that this one's answer is on its way.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
