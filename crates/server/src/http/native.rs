//! Raw WebSockets: who the client is is decided before the upgrade, so that a refusal is an HTTP answer.

use std::rc::Rc;

use axum::body::Body;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::session::Request as Facts;
use crate::settings::FrontId;
use crate::shard::Shard;

/// Answers a request on a raw path.
pub(crate) async fn answer(
    _shard: Rc<Shard>,
    _request: Request<Incoming>,
    _front: FrontId,
    _facts: Facts,
) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}
