//! A connection as transports see it: bytes, whether or not they are encrypted on the way.
//!
//! Deliveries to plain connections do not come by here: they are written by `shard/wire`.

use std::io::{self, ErrorKind, IoSlice};
use std::net::{Shutdown, TcpStream as StdStream};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::tls::{DetachedTls, TlsStream};

/// An open connection.
#[derive(Debug)]
pub(crate) enum Stream {
    /// As it comes from the kernel.
    Plain(TcpStream),
    /// Inside of TLS.
    Tls(Box<TlsStream>),
}

/// A connection on its way to another thread, registered nowhere.
#[derive(Debug)]
pub(crate) enum Detached {
    /// See [`Stream::Plain`].
    Plain(StdStream),
    /// See [`Stream::Tls`].
    Tls(Box<DetachedTls>),
}

impl Detached {
    /// Registers it with this thread.
    pub(crate) fn attach(self) -> io::Result<Stream> {
        Ok(match self {
            Self::Plain(stream) => Stream::Plain(TcpStream::from_std(stream)?),
            Self::Tls(stream) => Stream::Tls(Box::new(stream.attach()?)),
        })
    }
}

impl Stream {
    /// Takes it away from this thread.
    pub(crate) fn detach(self) -> io::Result<Detached> {
        Ok(match self {
            Self::Plain(tcp) => Detached::Plain(tcp.into_std()?),
            Self::Tls(tls) => Detached::Tls(Box::new(tls.detach()?)),
        })
    }

    /// The socket, if bytes may be written to it as they are.
    pub(crate) fn plain(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(tcp) => Some(tcp),
            Self::Tls(_) => None,
        }
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.tcp(),
        }
    }

    /// Whether there may be something to read without waiting for the kernel.
    fn has_unread(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.has_unread(),
        }
    }

    /// Ready when there may be something to read.
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_unread() { Poll::Ready(Ok(())) } else { self.tcp().poll_read_ready(cx) }
    }

    /// Ready when the kernel may take bytes.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp().poll_write_ready(cx)
    }

    /// Waits until there may be something to read.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        if self.has_unread() { Ok(()) } else { self.tcp().readable().await }
    }

    /// Waits until the kernel may take bytes.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.tcp().writable().await
    }

    /// Reads what is there, without waiting.
    pub(crate) fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.try_read(into),
            Self::Tls(tls) => tls.try_read(into),
        }
    }

    /// As [`Stream::try_read`], and a buffer that is not filled means that there is no more for now.
    pub(crate) fn try_read_all(&self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.try_read(into)?;
        if let Self::Plain(tcp) = self
            && count < into.len()
        {
            // Told so, tokio waits for more; else it would try once more, in vain.
            let nothing_left = || Err::<(), _>(ErrorKind::WouldBlock.into());
            let _ = tcp.try_io(Interest::READABLE, nothing_left);
        }
        Ok(count)
    }

    /// Writes what is taken at once. Of an encrypted connection, bytes that were taken may still wait here: see
    /// [`Stream::try_flush`].
    pub(crate) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.try_write_vectored(slices),
            Self::Tls(tls) => tls.try_write_vectored(slices),
        }
    }

    /// As [`Stream::try_write_vectored`].
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write_vectored(&[IoSlice::new(bytes)])
    }

    /// Whether the kernel has everything that was written.
    pub(crate) fn is_flushed(&self) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Tls(tls) => tls.is_flushed(),
        }
    }

    /// Gives the kernel what waits here; [`ErrorKind::WouldBlock`] when it does not take all of it now.
    pub(crate) fn try_flush(&self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => tls.try_flush(),
        }
    }

    /// Says inside of TLS that nothing follows, so that nobody can have cut the connection.
    pub(crate) fn say_end(&self) {
        if let Self::Tls(tls) = self {
            tls.say_end();
        }
    }

    /// Tells the peer that nothing follows.
    pub(crate) fn shut(&self) {
        self.say_end();
        let _ = socket2::SockRef::from(self.tcp()).shutdown(Shutdown::Write);
    }

    /// What `attempt` gives, again whenever the kernel takes bytes, until it need not wait.
    fn poll_written<T>(&self, cx: &mut Context<'_>, mut attempt: impl FnMut() -> io::Result<T>) -> Poll<io::Result<T>> {
        loop {
            match attempt() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready!(self.poll_write_ready(cx))?,
                done => return Poll::Ready(done),
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let tls = match self.get_mut() {
            Self::Plain(tcp) => return Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => tls,
        };
        loop {
            match tls.try_read(buf.initialize_unfilled()) {
                Ok(count) => {
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready!(tls.tcp().poll_read_ready(cx))?,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            tls => tls.poll_written(cx, || tls.try_write_vectored(slices)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_written(cx, || self.try_flush())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_written(cx, || self.try_flush()))?;
        self.shut();
        Poll::Ready(Ok(()))
    }
}
