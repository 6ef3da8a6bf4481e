//! TLS over one socket. Nothing here waits: each call does what can be done now, on the shard's thread.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream as StdStream;
use std::sync::Arc;

use rustls::{HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection};
use tokio::net::TcpStream;

/// Encrypted bytes that may wait for the kernel, about; a record holds as much. What else is to be written stays in the
/// outbox.
const PENDING: usize = 16 * 1024;

/// Encrypted bytes that say nothing, in one go: more is not sent by anybody who means well.
const EMPTY: usize = 64 * 1024;

/// An encrypted connection.
#[derive(Debug)]
pub(crate) struct TlsStream {
    tcp: TcpStream,
    tls: RefCell<ServerConnection>,
    /// Reading may bring something, or an end, that the kernel will not announce.
    unread: Cell<bool>,
}

/// An encrypted connection on its way to another thread.
#[derive(Debug)]
pub(crate) struct DetachedTls {
    tcp: StdStream,
    tls: ServerConnection,
}

impl DetachedTls {
    /// See [`super::stream::Detached::attach`].
    pub(crate) fn attach(self) -> io::Result<TlsStream> {
        Ok(TlsStream { tcp: TcpStream::from_std(self.tcp)?, tls: RefCell::new(self.tls), unread: Cell::new(true) })
    }
}

impl TlsStream {
    /// A connection whose handshake begins.
    pub(crate) fn new(tcp: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let mut tls = ServerConnection::new(config).map_err(io::Error::other)?;
        tls.set_buffer_limit(Some(PENDING));
        Ok(Self { tcp, tls: RefCell::new(tls), unread: Cell::new(true) })
    }

    /// See [`super::stream::Stream::detach`].
    pub(crate) fn detach(self) -> io::Result<DetachedTls> {
        Ok(DetachedTls { tcp: self.tcp.into_std()?, tls: self.tls.into_inner() })
    }

    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Takes one step of the handshake with what has come, and answers. Gives whether it is done.
    pub(crate) fn step(&self) -> io::Result<bool> {
        let mut tls = self.tls.borrow_mut();
        if tls.read_tls(&mut Socket(&self.tcp))? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let taken = tls.process_new_packets().map_err(invalid);
        // Also after an error: the alert says what it is.
        let written = flush(&mut tls, &self.tcp);
        taken?;
        match written {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(!tls.is_handshaking()),
        }
    }

    /// The version that was agreed on, and whether as in an earlier connection.
    pub(crate) fn agreement(&self) -> (&'static str, bool) {
        let tls = self.tls.borrow();
        let version = if tls.protocol_version() == Some(ProtocolVersion::TLSv1_2) { "1.2" } else { "1.3" };
        (version, tls.handshake_kind() == Some(HandshakeKind::Resumed))
    }

    pub(crate) fn has_unread(&self) -> bool {
        self.unread.get()
    }

    /// Fills the buffer as far as possible. Zero is the end, with or without the peer's word for it: above, frames and
    /// lengths say what is complete.
    pub(crate) fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut tls = self.tls.borrow_mut();
        let mut count = 0;
        let ended = loop {
            if count == into.len() {
                break Ok(());
            }
            match fill(&mut tls, &self.tcp) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
            match tls.reader().read(&mut into[count..]) {
                Ok(more) => count += more,
                Err(error) => break Err(error),
            }
        };
        // What reading made us owe, such as an alert; what the kernel does not take now leaves with the next write.
        let _ = flush(&mut tls, &self.tcp);
        let nothing_left = matches!(&ended, Err(error) if error.kind() == ErrorKind::WouldBlock);
        self.unread.set(!nothing_left);
        if count > 0 { Ok(count) } else { ended.map(|()| 0) }
    }

    /// Encrypts and writes; several slices share a record. Takes nothing as long as the kernel has not taken what was
    /// written before.
    pub(crate) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut tls = self.tls.borrow_mut();
        flush(&mut tls, &self.tcp)?;
        let taken = tls.writer().write_vectored(slices)?;
        match flush(&mut tls, &self.tcp) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    pub(crate) fn is_flushed(&self) -> bool {
        !self.tls.borrow().wants_write()
    }

    pub(crate) fn try_flush(&self) -> io::Result<()> {
        flush(&mut self.tls.borrow_mut(), &self.tcp)
    }

    /// Says, as far as the kernel takes it, that nothing follows.
    pub(crate) fn say_end(&self) {
        let mut tls = self.tls.borrow_mut();
        tls.send_close_notify();
        let _ = flush(&mut tls, &self.tcp);
    }
}

/// Has something decrypted ready, if it has come; false at the end.
fn fill(tls: &mut ServerConnection, tcp: &TcpStream) -> io::Result<bool> {
    let mut taken = 0;
    loop {
        let state = tls.process_new_packets().map_err(invalid)?;
        if state.plaintext_bytes_to_read() > 0 {
            return Ok(true);
        }
        if state.peer_has_closed() {
            return Ok(false);
        }
        if taken > EMPTY {
            return Err(ErrorKind::InvalidData.into());
        }
        match tls.read_tls(&mut Socket(tcp))? {
            0 => return Ok(false),
            count => taken += count,
        }
    }
}

fn flush(tls: &mut ServerConnection, tcp: &TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        if tls.write_tls(&mut Socket(tcp))? == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

/// The socket as rustls wants it; it never waits.
struct Socket<'a>(&'a TcpStream);

impl Read for Socket<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(into)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
