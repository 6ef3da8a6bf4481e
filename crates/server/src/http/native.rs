//! Raw WebSockets: who the client is is decided before the upgrade, so that a refusal is an HTTP answer.

use std::rc::Rc;
use std::sync::Arc;

use axum::body::Body;
use bytes::BytesMut;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use oyez_hub::address::AppId;
use oyez_hub::app::{App, Refusal};
use oyez_hub::policy::Identity;
use oyez_hub::policy::limits::Limit;
use oyez_protocol::code::Code;
use oyez_protocol::websocket::reader::Limits;
use serde_json::{Value, json};

use crate::clock;
use crate::http::engine::{Refused, select_subprotocol, taken_over, upgrade_response};
use crate::http::later::{come_later, full};
use crate::seats::Seat;
use crate::session::comeback::Return;
use crate::session::handshake::Guest;
use crate::session::{Dialog, Link, Request as Facts, token};
use crate::settings::{Front, Native};
use crate::shard::Shard;
use crate::shard::gate::Ticket;
use crate::shard::outbox::Parcel;
use crate::transport::stream::Stream;
use crate::transport::websocket::{self, Socket};

/// A client that may come in.
struct Admitted {
    app: AppId,
    identity: Arc<Identity>,
    /// Connections that its user now has.
    count: usize,
    seat: Seat,
}

/// Why somebody is not let in.
enum NotIn {
    /// For the credentials.
    Refused(Refusal),
    /// For a limit.
    Over(Limit),
}

/// Answers a request on a raw path.
pub(crate) async fn answer(
    shard: Rc<Shard>,
    mut request: Request<Incoming>,
    front: Arc<Front>,
    facts: Facts,
    native: &Native,
    ticket: Ticket,
) -> Response<Body> {
    if request.method() != Method::GET {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "connect with a WebSocket", "method_not_allowed");
    }
    let identified = identify(&shard, &front, &facts).await;
    let (app, identity) = match identified {
        Ok(found) => found,
        Err(NotIn::Refused(refusal)) => {
            return refuse(StatusCode::UNAUTHORIZED, &refusal.message, refusal.code.name());
        }
        Err(NotIn::Over(limit)) => return refuse_for(limit),
    };
    if shard.stop.is_cancelled() {
        // The node went down while somebody was asked about the token.
        return come_later(&shard);
    }
    let (mut response, deflate) = match upgrade_response(&request, native.deflate) {
        Ok(agreed) => agreed,
        Err(response) => return *response,
    };
    select_subprotocol(&mut response, &facts);
    let Some(seat) = shard.seats.take() else { return full(&shard, &facts) };
    let count = match shard.enter(&shard.hub.app(app), &identity, &facts) {
        Ok(count) => count,
        Err(limit) => return refuse_for(limit),
    };
    let upgraded = hyper::upgrade::on(&mut request);
    let max_message = native.max_payload;
    let owner = Rc::clone(&shard);
    owner.spawn(async move {
        match taken_over(upgraded).await {
            // Between the answer and here, its token may have been revoked.
            Some((stream, unread)) if !is_revoked(&shard.hub.app(app), &identity) => {
                let admitted = Admitted { app, identity, count, seat };
                start(shard, front, facts, admitted, stream, unread, Limits { max_message, deflate }).await;
                drop(ticket);
            }
            _ => drop(shard.withdraw(&shard.hub.app(app), &identity, facts.peer)),
        }
    });
    response
}

fn is_revoked(app: &App, identity: &Identity) -> bool {
    app.credentials.as_ref().is_some_and(|credentials| credentials.is_revoked(identity, clock::unix_seconds()))
}

async fn identify(shard: &Rc<Shard>, front: &Front, facts: &Facts) -> Result<(AppId, Arc<Identity>), NotIn> {
    let mut refusals = Vec::new();
    let nothing = Refusal { word: "not_found", code: Code::NotFound, message: "no app is served here".to_owned() };
    let mut refusal = NotIn::Refused(nothing);
    for app in front.apps.iter().map(|id| shard.hub.app(*id)).filter(|app| app.native) {
        let Some(credentials) = &app.credentials else { continue };
        if let Err(limit) = shard.knock(&app, facts) {
            refusal = NotIn::Over(limit);
            continue;
        }
        let token = token::find(shard.settings().tokens(app.id), &Value::Null, facts.shown(), &front.origins);
        match credentials.identify(token.as_deref(), clock::now()).await {
            Ok(identity) => return Ok((app.id, identity)),
            Err(error) => {
                refusals.push((app, error.word));
                refusal = NotIn::Refused(error);
            }
        }
    }
    shard.tell_refused(facts, &refusals);
    Err(refusal)
}

async fn start(
    shard: Rc<Shard>,
    front: Arc<Front>,
    facts: Facts,
    admitted: Admitted,
    stream: Stream,
    mut unread: BytesMut,
    limits: Limits,
) {
    let stream = Rc::new(stream);
    let link = Link::WebSocket { stream: Rc::clone(&stream), deflate: limits.deflate };
    let session = shard.open_session(front, Dialog::Native, facts, link, admitted.seat);
    let mut socket = Socket::new(stream, limits);
    shard.close_if_late(&session);
    let app = shard.hub.app(admitted.app);
    let Admitted { identity, count, .. } = admitted;
    let guest = Guest { app, namespace: String::new(), identity, count };
    shard.introduce(&session, guest, Value::Null, Return::No).await;
    socket.take(&mut unread, |pong| shard.queue(&session, Parcel::beat(pong)));
    shard.flush(&session);
    websocket::serve(shard, session, socket);
}

/// The row of the table for a refusal with this status.
fn code(status: StatusCode) -> Code {
    match status {
        StatusCode::UNAUTHORIZED => Code::Unauthorized,
        StatusCode::FORBIDDEN => Code::OriginNotAllowed,
        StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
        StatusCode::TOO_MANY_REQUESTS => Code::LimitReached,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        _ => Code::BadRequest,
    }
}

/// A refusal for a limit.
pub(crate) fn refuse_for(limit: Limit) -> Response<Body> {
    let code = limit.code();
    let status = StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::TOO_MANY_REQUESTS);
    let mut response = refuse(status, code.message(), code.name());
    response.extensions_mut().insert(Refused(code));
    response
}

/// A refusal in the words that clients of either kind look for: `code` and `message`, or `error`.
pub(crate) fn refuse(status: StatusCode, message: &str, word: &str) -> Response<Body> {
    let body = json!({ "code": status.as_u16(), "message": message, "error": word });
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    response.extensions_mut().insert(Refused(code(status)));
    response
}
