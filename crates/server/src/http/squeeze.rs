//! Polling responses, compressed for clients that want them so.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use http::HeaderMap;
use http::header::ACCEPT_ENCODING;
use oyez_protocol::websocket::handshake;

/// Polling responses shorter than this are not worth compressing (Node's threshold).
const COMPRESS_FROM: usize = 1_024;

/// The body as the client prefers it compressed, where that is worth it.
pub(super) fn squeeze(body: &Bytes, request: &HeaderMap) -> Option<(&'static str, Vec<u8>)> {
    let accepted = request.get(ACCEPT_ENCODING)?.to_str().ok()?;
    let accepts = |coding| handshake::has_token(accepted, coding);
    if body.len() < COMPRESS_FROM {
        return None;
    }
    let level = Compression::fast();
    // Writing to memory does not fail.
    if accepts("gzip") {
        let mut encoder = GzEncoder::new(Vec::new(), level);
        encoder.write_all(body).ok()?;
        return Some(("gzip", encoder.finish().ok()?));
    }
    if accepts("deflate") {
        // HTTP's "deflate" has the zlib wrapper (RFC 9110, section 8.4.1.2), as Node's has.
        let mut encoder = ZlibEncoder::new(Vec::new(), level);
        encoder.write_all(body).ok()?;
        return Some(("deflate", encoder.finish().ok()?));
    }
    None
}
