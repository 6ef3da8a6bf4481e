//! One non-blocking TCP connection with what is still to be written to it.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::SockRef;

/// A connection; edge-triggered, so it is read and written until it would block.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    connected: bool,
    out: Vec<u8>,
    written: usize,
}

impl Wire {
    /// Begins to connect; a `small` one has a receive buffer that is soon full.
    pub(super) fn connect(registry: &Registry, token: Token, address: SocketAddr, small: bool) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        if small {
            SockRef::from(&stream).set_recv_buffer_size(4096)?;
        }
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { stream, connected: false, out: Vec::new(), written: 0 })
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
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(()),
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
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.written = 0;
        self.out.clear();
        Ok(())
    }

    /// Reads once; `None` when there is nothing, 0 at the end.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.stream.read(into) {
                Ok(read) => return Ok(Some(read)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Lets the connection be reset when it is dropped, so that its port is free at once.
    pub(super) fn abandon(&self) {
        // Without it the port is free a minute later.
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}
