//! The beginning of an encrypted connection. Its steps are costly, so few of them are taken between two deliveries.

use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::stream::Stream;
use super::tls::TlsStream;
use crate::observe::arrival::TlsFailure;
use crate::observe::event;
use crate::shard::Shard;
use crate::shard::deadline::in_time;

/// With this a client begins that speaks TLS.
const HANDSHAKE: u8 = 22;

/// What a client hears that does not.
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\
    Content-Length: 47\r\n\r\nThis port speaks TLS: use https:// or wss://.\r\n";

/// Agrees on keys with the client at that address, by then.
pub(crate) async fn shake(
    shard: &Shard,
    tcp: TcpStream,
    config: Arc<ServerConfig>,
    peer: IpAddr,
    deadline: Instant,
) -> io::Result<Stream> {
    match in_time(deadline, steps(shard, tcp, config)).await {
        Ok(stream) => {
            let (version, resumed) = stream.agreement();
            shard.metrics.arrivals.agreed(version, resumed);
            Ok(Stream::Tls(Box::new(stream)))
        }
        Err(error) => {
            let failure = TlsFailure::of(&error);
            shard.metrics.arrivals.failed(failure);
            event::tls_failed(failure, peer, &error);
            Err(error)
        }
    }
}

async fn steps(shard: &Shard, tcp: TcpStream, config: Arc<ServerConfig>) -> io::Result<TlsStream> {
    let mut first = [0];
    if tcp.peek(&mut first).await? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    if first[0] != HANDSHAKE {
        refuse(shard, &tcp);
        return Err(ErrorKind::InvalidData.into());
    }
    let stream = TlsStream::new(tcp, config)?;
    loop {
        stream.tcp().readable().await?;
        let turn = shard.handshakes.acquire().await.map_err(io::Error::other)?;
        let done = match stream.step() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            done => done?,
        };
        // The permit returns only after everybody else who was ready has had a turn.
        yield_now().await;
        drop(turn);
        while stream.try_flush().is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
            stream.tcp().writable().await?;
        }
        if done {
            return Ok(stream);
        }
    }
}

/// Tells a person who wrote `http://`.
fn refuse(shard: &Shard, tcp: &TcpStream) {
    // What is left unread would have the kernel take the answer back.
    let _ = tcp.try_read(&mut shard.scratch());
    let _ = tcp.try_write(NOT_TLS);
}
