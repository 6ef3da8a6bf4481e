//! One non-blocking connection, plain or inside of TLS, with what is still to be written to it.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::ClientConnection;
use socket2::SockRef;

use super::arrivals::Arrivals;
use super::target::Address;

/// A connection; edge-triggered, so it is read and written until it would block.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    /// The other side.
    pub(super) peer: SocketAddr,
    tls: Option<Box<ClientConnection>>,
    connected: bool,
    out: Vec<u8>,
    written: usize,
    arrivals: Arrivals,
}

impl Wire {
    /// Begins to connect; a `small` one has a receive buffer that is soon full.
    pub(super) fn connect(registry: &Registry, token: Token, address: &Address, small: bool) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address.socket)?;
        stream.set_nodelay(true)?;
        if small {
            SockRef::from(&stream).set_recv_buffer_size(4096)?;
        }
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        let arrivals = Arrivals::of(&stream)?;
        let tls = address.begin_tls().transpose().map_err(io::Error::other)?.map(Box::new);
        Ok(Self { stream, peer: address.socket, tls, connected: false, out: Vec::new(), written: 0, arrivals })
    }

    /// What is to be sent; [`Wire::flush`] sends it.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// The connection stands, or can be written to again.
    pub(super) fn writable(&mut self) -> io::Result<()> {
        if !self.connected {
            if let Some(error) = self.stream.take_error()? {
                return Err(error);
            }
            match self.stream.peer_addr() {
                Ok(_) => self.connected = true,
                Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.flush()
    }

    /// Writes as much as the connection takes; the rest goes when it is writable.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if !self.connected {
            return Ok(());
        }
        match self.write_all() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            done => done,
        }
    }

    fn write_all(&mut self) -> io::Result<()> {
        self.write_tls()?;
        while self.written < self.out.len() {
            let rest = &self.out[self.written..];
            let written = match &mut self.tls {
                None => self.stream.write(rest),
                // What is said before the keys are agreed on waits.
                Some(tls) if tls.is_handshaking() => return Ok(()),
                Some(tls) => tls.writer().write(rest),
            };
            match written {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            self.write_tls()?;
        }
        self.written = 0;
        self.out.clear();
        Ok(())
    }

    fn write_tls(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_write() {
            tls.write_tls(&mut self.stream)?;
        }
        Ok(())
    }

    /// Reads once; `None` when there is nothing, 0 at the end.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            let read = match &self.tls {
                None => self.arrivals.read(&mut self.stream, into),
                Some(_) => self.read_tls(into),
            };
            match read {
                Ok(read) => return Ok(Some(read)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// For how many nanoseconds what was read last had lain here, unless it was encrypted.
    pub(super) fn lain(&self) -> u64 {
        self.arrivals.lain
    }

    /// Whether a short read has emptied the socket, so that what comes later is a new event. Inside of TLS it may only
    /// have ended a record: the socket has more, which no event announces again.
    pub(super) fn is_emptied_by_short_reads(&self) -> bool {
        self.tls.is_none()
    }

    fn read_tls(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(tls) = &mut self.tls else { return Ok(0) };
            let state = tls.process_new_packets().map_err(io::Error::other)?;
            if state.plaintext_bytes_to_read() > 0 {
                return tls.reader().read(into);
            }
            if state.peer_has_closed() {
                return Ok(0);
            }
            // An answer of the handshake, and then what waited for its end.
            self.flush()?;
            let Some(tls) = &mut self.tls else { return Ok(0) };
            if tls.read_tls(&mut self.stream)? == 0 {
                return Ok(0);
            }
        }
    }

    /// Lets the connection be reset when it is dropped, so that its port is free at once.
    pub(super) fn abandon(&self) {
        // Without it the port is free a minute later.
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}
