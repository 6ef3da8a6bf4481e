//! One TCP connection: hyper parses its requests; realtime ones are answered by the shard, others by the router.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;

use axum::body::Body;
use axum::extract::ConnectInfo;
use bytes::BytesMut;
use futures_util::FutureExt as _;
use http::{Request, Response};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tower::ServiceExt as _;

use crate::forwarders::Remote;
use crate::http::coalesce::{Coalesced, Pace};
use crate::http::waiting::Waiting;
use crate::http::{engine, framing, upgrade};
use crate::shard::Shard;
use crate::shard::deadline::too_late;
use crate::shard::mailbox::Entrance;
use crate::transport::stream::Stream;
use crate::transport::{announced, door, handshake};

/// Bytes of a request's head, about (what one read brings beyond it is still taken). A session keeps its query and its
/// credentials, so what a stranger may leave here is bounded: twice what Node takes, and room for a session token in
/// several cookies.
pub(crate) const HEAD_MAX: usize = 32 * 1024;

/// Serves one connection until it ends or becomes a websocket.
pub(crate) async fn serve(shard: Rc<Shard>, mut stream: TcpStream, peer: SocketAddr, entrance: Entrance) {
    let stop = shard.heard_out.clone();
    // One deadline for a PROXY header, TLS and the first request's head, however the time is spent.
    let head_by = Instant::now() + shard.settings().patience.header;
    let begun = async {
        let announces = shard.settings().forwarders.announces(peer.ip());
        // Both are boxed, as they are over soon.
        let remote = if entrance == Entrance::Nodes {
            Box::pin(door::enter(&shard, &mut stream, peer, head_by)).await?
        } else if announces {
            Box::pin(announced::hear(&shard, &stream, peer, head_by)).await?
        } else {
            shard.settings().forwarders.remote(peer)
        };
        let stream = match &shard.tls {
            Some(tls) if entrance == Entrance::Public => {
                let peer = remote.address.ip();
                Box::pin(handshake::shake(&shard, stream, tls.current(), peer, head_by)).await?
            }
            _ => Stream::Plain(stream),
        };
        let taken = upgrade::take(&shard, stream, remote).await?;
        io::Result::Ok(taken.map(|(stream, unread)| (stream, unread, remote)))
    };
    let begun = tokio::select! {
        biased;
        begun = begun => begun,
        () = too_late(head_by) => return,
        () = stop.cancelled() => return,
    };
    // Nothing came, the connection broke, or it is a websocket now.
    let Ok(Some((stream, unread, remote))) = begun else { return };
    // Boxed, so that the task of a connection that becomes a websocket at once has no room for it.
    Box::pin(serve_requests(shard, stream, unread, remote, head_by)).await;
}

/// Serves a connection on which requests come one after the other; `unread` came already, and the rest of the first head
/// must come by `head_by`.
async fn serve_requests(shard: Rc<Shard>, stream: Stream, unread: BytesMut, remote: Remote, head_by: Instant) {
    let stop = shard.heard_out.clone();
    let pace = Arc::new(Pace::new(Waiting::new(shard.settings().patience, head_by)));
    let service = service_fn(|request| {
        let own = Arc::clone(&pace);
        answer(Rc::clone(&shard), request, remote, Arc::clone(&pace)).map(move |mut response| {
            own.waiting_for.has_answer();
            // A forwarder is still there when a client of it is gone, and so is who has asked for something else since.
            let polls = response.extensions_mut().remove().filter(|_| !remote.forwards);
            own.waiting_for.serves(polls.map(|engine::Polls(gone)| gone));
            Ok::<_, Infallible>(response)
        })
    });
    let connection = http1()
        .serve_connection(TokioIo::new(Coalesced::new(stream, unread, Arc::clone(&pace))), service)
        .with_upgrades();
    tokio::pin!(connection);
    let mut timer = pin!(sleep_until(head_by));
    let mut turn = |connection: Pin<&mut _>, cx: &mut Context<'_>| {
        pace.next_turn();
        let ended = Future::poll(connection, cx).map(drop);
        if pace.is_waiting() {
            cx.waker().wake_by_ref();
        }
        if ended.is_ready() { ended } else { pace.waiting_for.poll_over(timer.as_mut(), cx) }
    };
    tokio::select! {
        // A connection that breaks is its client's affair.
        () = poll_fn(|cx| turn(connection.as_mut(), cx)) => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            poll_fn(|cx| turn(connection.as_mut(), cx)).await;
        }
    }
}

/// How requests are read.
pub(super) fn http1() -> Builder {
    let mut http1 = Builder::new();
    // A client that says no more, right after its last request, is still answered. hyper's timeout would also end
    // connections between two requests.
    http1.half_close(true).header_read_timeout(None).max_buf_size(HEAD_MAX);
    http1
}

async fn answer(shard: Rc<Shard>, request: Request<Incoming>, remote: Remote, pace: Arc<Pace>) -> Response<Body> {
    let last = framing::is_last(request.headers());
    let response = answer_by_route(shard, request, remote, pace).await;
    if last { framing::end(response) } else { response }
}

async fn answer_by_route(
    shard: Rc<Shard>,
    request: Request<Incoming>,
    remote: Remote,
    pace: Arc<Pace>,
) -> Response<Body> {
    let route = engine::route(&shard.settings(), &request);
    pace.begin(route.is_none(), route.is_some() && request.body().is_end_stream());
    if !framing::is_sound(&request) {
        return framing::refuse();
    }
    if let Some(route) = route {
        return engine::answer(shard, request, route, remote, &pace).await;
    }
    if let Some(file) = engine::client(&shard.settings(), &request) {
        return file;
    }
    let mut request = request.map(Body::new);
    let client = client(&shard, remote, &request);
    request.extensions_mut().insert(ConnectInfo(client));
    request.extensions_mut().insert(shard.settings().patience);
    match shard.router.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Where the client of a request comes from; a port is known only where it is the connection's.
fn client<B>(shard: &Shard, remote: Remote, request: &Request<B>) -> SocketAddr {
    let client = shard.settings().forwarders.client(remote, request.headers());
    if client == remote.address.ip() { remote.address } else { SocketAddr::new(client, 0) }
}
