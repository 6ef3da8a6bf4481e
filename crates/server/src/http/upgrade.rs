//! The quick way to a websocket: nearly every connection of a client begins with a request for one that is there in one
//! piece. It is answered here, in one write with the session's first packet. Anything the least unusual is handed on, for
//! the way that all other requests take.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Request, Response, Version};
use http_body_util::Empty;
use httparse::{EMPTY_HEADER, Status};
use tokio::io::{AsyncRead as _, ReadBuf};

use crate::forwarders::Remote;
use crate::http::connection::HEAD_MAX;
use crate::http::engine::{self, Opening};
use crate::http::framing;
use crate::shard::Shard;
use crate::transport::stream::Stream;

/// Headers of a request that is answered here; browsers send about fifteen.
const HEADERS: usize = 32;

/// Waits for the first bytes and makes the connection a session's websocket, if they ask for that. Otherwise the
/// connection comes back, with the bytes.
pub(crate) async fn take(
    shard: &Rc<Shard>,
    mut stream: Stream,
    remote: Remote,
) -> io::Result<Option<(Stream, BytesMut)>> {
    let looked = poll_fn(|cx| {
        let mut scratch = shard.scratch();
        let mut read = ReadBuf::new(&mut scratch[..HEAD_MAX]);
        ready!(Pin::new(&mut stream).poll_read(cx, &mut read))?;
        let bytes = read.filled();
        let (found, rest) = match look(shard, bytes, remote) {
            Some((opening, head, length)) => (Some((opening, head)), &bytes[length..]),
            None => (None, bytes),
        };
        Poll::Ready(io::Result::Ok((found, BytesMut::from(rest))))
    });
    let (found, unread) = looked.await?;
    let Some((opening, head)) = found else { return Ok((!unread.is_empty()).then_some((stream, unread))) };
    shard.spawn(engine::start(Rc::clone(shard), opening, head, stream, unread));
    Ok(None)
}

/// If these bytes are a whole request to which there is nothing to say but yes: what then begins, the answer, and the
/// request's length.
fn look(shard: &Shard, bytes: &[u8], remote: Remote) -> Option<(Opening, Vec<u8>, usize)> {
    let (request, length) = parse(bytes)?;
    let (opening, response) = engine::agree(shard, &request, remote)?;
    Some((opening, written(&response), length))
}

/// The request with which these bytes begin, if it is whole and nothing about it is unusual, and its length.
pub(super) fn parse(bytes: &[u8]) -> Option<(Request<Empty<Bytes>>, usize)> {
    let mut headers = [EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let Ok(Status::Complete(length)) = parsed.parse(bytes) else { return None };
    Some((request(&parsed)?, length))
}

/// The request as everybody else sees it; none when it has a body, or hyper would have something to say about it.
fn request(parsed: &httparse::Request<'_, '_>) -> Option<Request<Empty<Bytes>>> {
    if parsed.version != Some(1) {
        return None;
    }
    let start = Request::builder().method(parsed.method?).uri(parsed.path?).version(Version::HTTP_11);
    let request = parsed.headers.iter().fold(start, |request, header| request.header(header.name, header.value));
    let request = request.body(Empty::new()).ok()?;
    let body = [CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|name| request.headers().contains_key(name));
    (!body && framing::is_sound(&request)).then_some(request)
}

/// The answer's head.
pub(super) fn written(response: &Response<Body>) -> Vec<u8> {
    let mut out = b"HTTP/1.1 101 Switching Protocols\r\n".to_vec();
    for (name, value) in response.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}
