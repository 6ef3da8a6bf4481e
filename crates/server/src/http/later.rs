//! Whoever wants a session, and has to wait for it or to come again later.

use axum::body::Body;
use http::header::{CONNECTION, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use oyez_hub::policy::limits::Limit;
use oyez_protocol::code::Code;

use crate::http::coalesce::Pace;
use crate::http::native::{refuse, refuse_for};
use crate::observe::event;
use crate::session::Request as Facts;
use crate::shard::Shard;

/// When to try again, for clients that ask.
const RETRY_AFTER_SECONDS: std::ops::RangeInclusive<u64> = 1..=3;

/// Has whoever wants a session, or another transport for it, wait if too much is held against its address. Meanwhile
/// nobody listens: what it says would be work, and who leaves keeps its place in the line.
pub(crate) async fn delay(shard: &Shard, facts: &Facts, wants: bool, pace: &Pace) -> Result<(), Limit> {
    let waiting = if wants { shard.delay(facts)? } else { None };
    match waiting {
        None => Ok(()),
        Some(waiting) => {
            pace.look_away();
            waiting.over().await
        }
    }
}

/// Too many of its address wait already. Its connection ends with this.
pub(crate) fn too_often(limit: Limit) -> Response<Body> {
    let mut response = refuse_for(limit);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(rand::random_range(RETRY_AFTER_SECONDS)));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Whoever hears this tries again by itself, at another node or when the crowd is gone; not all at the same moment.
pub(crate) fn come_later(shard: &Shard) -> Response<Body> {
    if !shard.stop.is_cancelled() {
        shard.metrics.handshakes_deferred.inc();
    }
    let code = Code::Unavailable;
    let mut response = refuse(StatusCode::SERVICE_UNAVAILABLE, code.message(), code.name());
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(rand::random_range(RETRY_AFTER_SECONDS)));
    response
}

/// The node has no room for one more session; clients try again by themselves.
pub(crate) fn full(shard: &Shard, facts: &Facts) -> Response<Body> {
    shard.metrics.limited(Limit::NodeConnections);
    event::node_full(facts);
    let mut response = refuse_for(Limit::NodeConnections);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    response
}
