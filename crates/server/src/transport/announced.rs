//! The PROXY header of a connection that a trusted forwarder made. It is taken from the socket exactly, so that whatever
//! follows, TLS or a request, is read as on any other connection.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use oyez_protocol::proxy::{self, Announced};
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::forwarders::Remote;
use crate::observe::arrival::ProxyFailure;
use crate::observe::event;
use crate::shard::Shard;
use crate::shard::deadline::in_time;

/// Who is at the other end of this connection, which `forwarder` made; it has to say so by then.
pub(crate) async fn hear(
    shard: &Shard,
    tcp: &TcpStream,
    forwarder: SocketAddr,
    deadline: Instant,
) -> io::Result<Remote> {
    let mut before = Vec::new();
    let heard = in_time(deadline, poll_fn(|cx| poll_header(shard, tcp, &mut before, cx))).await;
    let announced = heard.inspect_err(|error| {
        let failure = ProxyFailure::of(error);
        shard.metrics.arrivals.unannounced(failure);
        event::proxy_header_refused(failure, forwarder.ip());
    })?;
    let settings = shard.settings();
    let forwarders = &settings.forwarders;
    Ok(match announced {
        Announced::Client(address) => forwarders.remote(address),
        // Either it speaks for itself, or for somebody who may say anything and of whom it knows nothing.
        Announced::Itself | Announced::Unknown => Remote { forwards: false, ..forwarders.remote(forwarder) },
    })
}

/// Takes the header's bytes and none behind it; `before` is what has come of it.
fn poll_header(
    shard: &Shard,
    tcp: &TcpStream,
    before: &mut Vec<u8>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Announced>> {
    loop {
        let mut scratch = shard.scratch();
        let room = &mut scratch[..proxy::MAX];
        let count = ready!(tcp.poll_peek(cx, &mut ReadBuf::new(room)))?;
        if count == 0 {
            return Poll::Ready(Err(ErrorKind::UnexpectedEof.into()));
        }
        let known = before.len();
        before.extend_from_slice(&room[..count]);
        let read = proxy::read(before).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        let length = read.map_or(before.len(), |(_, length)| length);
        if tcp.try_read(&mut room[..length - known])? < length - known {
            return Poll::Ready(Err(ErrorKind::UnexpectedEof.into()));
        }
        if let Some((announced, _)) = read {
            return Poll::Ready(Ok(announced));
        }
    }
}
