//! Requests of Engine.IO and of raw WebSockets: told apart by path and query, refused with Node's errors, or turned
//! into sessions.

use std::rc::Rc;
use std::sync::Arc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, COOKIE, HOST, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as HttpBody, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use oyez_hub::address::Address;
use oyez_hub::cluster::Door;
use oyez_hub::policy::limits::Limit;
use oyez_protocol::code::{Code, EngineError};
use oyez_protocol::engineio::packet::Version;
use oyez_protocol::engineio::payload::Body as Payload;
use oyez_protocol::websocket::handshake;
use oyez_protocol::websocket::reader::Limits;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::forwarders::Remote;
use crate::http::coalesce::{Coalesced, Pace};
use crate::http::cors;
use crate::http::forward;
use crate::http::later::{come_later, delay, full, too_often};
use crate::http::pages::client_file;
use crate::http::squeeze::squeeze;
use crate::observe::event;
use crate::seats::Seat;
use crate::session::token::SUBPROTOCOL;
use crate::session::upgrade::Moved;
use crate::session::{Dialog, Link, Request as Facts, Shown};
use crate::settings::{Engine, Front, Settings};
use crate::shard::Shard;
use crate::shard::gate::Ticket;
use crate::shard::mailbox::Letter;
use crate::shard::outbox::Parcel;
use crate::transport::polling::{PollAnswer, PollRequest, Polled, Polling};
use crate::transport::stream::Stream;
use crate::transport::websocket::{self, Socket};

/// Which door a request knocks at.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    front: Arc<Front>,
    native: bool,
}

/// Finds the door of a request; `None`: it is for the router.
pub(crate) fn route<B>(settings: &Settings, request: &Request<B>) -> Option<Route> {
    let path = request.uri().path();
    let query = request.uri().query().unwrap_or_default();
    let asks = |name: &str| form_urlencoded::parse(query.as_bytes()).any(|(key, _)| key == name);
    let engine = asks("EIO") || asks("transport");
    let host = host(request);
    let native = |front: &&Arc<Front>| {
        front.is_for(host) && front.native.as_ref().is_some_and(|native| native.paths.iter().any(|own| own == path))
    };
    let hit = |front: &&Arc<Front>| {
        let ours = |own: &String| path == own || (path.len() + 1 == own.len() && own.starts_with(path));
        front.is_for(host) && front.engine.paths.iter().any(ours)
    };
    // First all raw paths: `/ws` is one app's, and also another's `/ws/` without its slash.
    let raw = if engine { None } else { settings.fronts.iter().find(native) };
    if let Some(front) = raw {
        return Some(Route { front: Arc::clone(front), native: true });
    }
    // The root is everybody's: there only a request that speaks Engine.IO is meant.
    let front = settings.fronts.iter().find(hit).filter(|_| engine || path != "/")?;
    Some(Route { front: Arc::clone(front), native: false })
}

/// The host that a request names.
fn host<B>(request: &Request<B>) -> Option<&str> {
    let header = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    header.or_else(|| request.uri().host())
}

/// The browser's client, which Node serves beside the protocol: `/socket.io/socket.io.js` and its variants.
pub(crate) fn client<B>(settings: &Settings, request: &Request<B>) -> Option<Response<Body>> {
    let (folder, name) = request.uri().path().rsplit_once('/')?;
    let ours = |path: &String| path.strip_suffix('/') == Some(folder);
    let served = settings.fronts.iter().any(|front| !front.bare && front.engine.paths.iter().any(ours));
    if served && request.method() == Method::GET { client_file(name, request.headers()) } else { None }
}

/// Answers a realtime request.
pub(crate) async fn answer(
    shard: Rc<Shard>,
    request: Request<Incoming>,
    route: Route,
    peer: Remote,
    pace: &Pace,
) -> Response<Body> {
    let Route { front, native } = route;
    let headers = request.headers().clone();
    if request.method() == Method::OPTIONS {
        let mut response = cors::preflight(&headers);
        cors::permit(&mut response, &front.origins, &headers);
        return response;
    }
    let facts = facts(&shard.settings(), &request, peer);
    if let Some(owner) = forward::owner(&shard, facts.shown().query("sid").filter(|_| !native)).await {
        return elsewhere(&shard, request, peer, owner).await;
    }
    let metrics = std::sync::Arc::clone(&shard.metrics);
    let begins = native || facts.shown().query("sid").is_none();
    let mut response = if !cors::may_connect(&front.origins, facts.shown()) {
        event::origin_refused(&facts);
        if native {
            crate::http::native::refuse(StatusCode::FORBIDDEN, "this origin may not connect", "origin_not_allowed")
        } else {
            refuse(EngineError::Forbidden, is_upgrade(&headers))
        }
    } else if let Err(limit) = delay(&shard, &facts, begins || is_upgrade(&headers), pace).await {
        too_often(limit)
    } else if begins {
        match admitted(&shard) {
            Some(ticket) => begin(shard, request, &front, facts, native, ticket).await,
            None => come_later(&shard),
        }
    } else {
        engine(&shard, request, &front, facts, None).await
    };
    if let Some(Refused(code)) = response.extensions().get() {
        metrics.connect_error(*code);
    }
    if !is_upgrade(&headers) {
        cors::permit(&mut response, &front.origins, &headers);
    } else if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        // A connection that was to become a websocket is of no other use.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        // What others have said is no page, whatever it looks like.
        response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    response
}

/// Answers a request for a session of another node.
async fn elsewhere(
    shard: &Rc<Shard>,
    request: Request<Incoming>,
    peer: Remote,
    owner: (Address, Door),
) -> Response<Body> {
    let upgrade = is_upgrade(request.headers());
    match forward::pass_on(shard, request, peer, owner).await {
        Ok(response) => response,
        Err(error) => {
            event::not_passed_on(&error, owner.1.address);
            refuse(EngineError::SessionUnknown, upgrade)
        }
    }
}

/// Lets one more session begin. None when the node goes down (sessions may fetch their last words, but none begins), or
/// when too many begin at once.
fn admitted(shard: &Shard) -> Option<Ticket> {
    if shard.stop.is_cancelled() { None } else { shard.ticket() }
}

async fn begin(
    shard: Rc<Shard>,
    request: Request<Incoming>,
    front: &Arc<Front>,
    facts: Facts,
    native: bool,
    ticket: Ticket,
) -> Response<Body> {
    match &front.native {
        Some(settings) if native => {
            crate::http::native::answer(shard, request, Arc::clone(front), facts, settings, ticket).await
        }
        _ => engine(&shard, request, front, facts, Some(ticket)).await,
    }
}

async fn engine(
    shard: &Rc<Shard>,
    request: Request<Incoming>,
    front: &Arc<Front>,
    facts: Facts,
    ticket: Option<Ticket>,
) -> Response<Body> {
    let engine = &front.engine;
    let upgrade = is_upgrade(request.headers());
    let refused = |error| refuse(error, upgrade);
    let Some(dialog) = dialog(&facts, engine) else { return refused(EngineError::UnsupportedVersion) };
    match (facts.shown().query("transport"), upgrade) {
        (Some("websocket"), _) if !engine.websocket => refused(EngineError::TransportUnknown),
        (Some("polling"), _) if !engine.polling => refused(EngineError::TransportUnknown),
        (Some("websocket"), true) => accept(shard, request, front, dialog, facts, ticket).await,
        (Some("polling"), false) => polling(shard, request, front, dialog, facts, ticket).await,
        (Some("websocket" | "polling"), _) => refused(EngineError::BadRequest),
        _ => refused(EngineError::TransportUnknown),
    }
}

/// What a client of Engine.IO wants to speak; none when it is not spoken here.
fn dialog(facts: &Facts, engine: &Engine) -> Option<Dialog> {
    let version = match facts.shown().query("EIO") {
        Some("4") => Version::V4,
        Some("3") if engine.allow_v3 => Version::V3,
        _ => return None,
    };
    let base64 = facts.shown().query("b64").is_some_and(|value| value != "0" && !value.is_empty());
    Some(Dialog::Engine { version, base64 })
}

/// What a session begins with.
pub(crate) struct Opening {
    front: Arc<Front>,
    dialog: Dialog,
    facts: Facts,
    limits: Limits,
    seat: Seat,
    ticket: Ticket,
}

/// Agrees to a new session on a websocket. None: the request asks for something else, or [`answer`] says what is wrong with it.
pub(crate) fn agree<B: HttpBody>(
    shard: &Shard,
    request: &Request<B>,
    peer: Remote,
) -> Option<(Opening, Response<Body>)> {
    let Route { front, native: false } = route(&shard.settings(), request)? else { return None };
    let Front { engine, origins, .. } = &*front;
    let (mut response, deflate) = upgrade_response(request, engine.deflate).ok()?;
    let facts = facts(&shard.settings(), request, peer);
    let shown = facts.shown();
    let wanted = shown.query("transport") == Some("websocket") && shown.query("sid").is_none();
    let allowed = engine.websocket && cors::may_connect(origins, shown);
    if !wanted || !allowed || !is_upgrade(request.headers()) || shard.is_throttled(facts.peer) {
        return None;
    }
    let dialog = dialog(&facts, engine)?;
    select_subprotocol(&mut response, &facts);
    let limits = Limits { max_message: engine.max_payload, deflate };
    let (ticket, seat) = (admitted(shard)?, shard.seats.take()?);
    Some((Opening { front, dialog, facts, limits, seat, ticket }, response))
}

async fn polling(
    shard: &Rc<Shard>,
    request: Request<Incoming>,
    front: &Arc<Front>,
    dialog: Dialog,
    facts: Facts,
    ticket: Option<Ticket>,
) -> Response<Body> {
    let engine = &front.engine;
    let headers = request.headers().clone();
    let sid = facts.shown().query("sid").map(str::to_owned);
    let polled = match (sid.ok_or(ticket), request.method()) {
        (Err(Some(ticket)), &Method::GET) => {
            let Some(seat) = shard.seats.take() else { return full(shard, &facts) };
            let link = Link::Polling(Polling::default());
            let session = shard.open_session(Arc::clone(front), dialog, facts, link, seat);
            shard.hold_ticket(&session, ticket);
            if let Err(fault) = shard.greet(&session).await {
                shard.close(&session, fault.into());
            }
            shard.poll_here(session.address, PollRequest::Get).await
        }
        (Err(_), _) => PollAnswer::Refused(EngineError::BadHandshakeMethod).into(),
        (Ok(sid), &Method::GET) => shard.poll(&sid, PollRequest::Get).await,
        (Ok(sid), &Method::POST) => {
            let octets =
                headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/octet-stream"));
            let patience = shard.settings().patience;
            match timeout(patience.body, Limited::new(request.into_body(), engine.max_payload).collect()).await {
                Ok(Ok(body)) => shard.poll(&sid, PollRequest::Post { body: body.to_bytes(), octets }).await,
                Ok(Err(error)) if error.is::<LengthLimitError>() => {
                    shard.metrics.limited(Limit::Payload);
                    PollAnswer::Failed(StatusCode::PAYLOAD_TOO_LARGE).into()
                }
                // It broke off.
                Ok(Err(_)) => PollAnswer::Failed(StatusCode::BAD_REQUEST).into(),
                Err(_) => PollAnswer::Failed(StatusCode::REQUEST_TIMEOUT).into(),
            }
        }
        (Ok(_), _) => PollAnswer::Failed(StatusCode::INTERNAL_SERVER_ERROR).into(),
    };
    let Polled { answer, gone } = polled;
    let mut response = respond(answer, &headers, engine);
    if let Some(gone) = gone {
        response.extensions_mut().insert(Polls(gone));
    }
    response
}

/// Stands in an answer to a session that polls, for the connection: cancelled when there is nobody at its other end.
#[derive(Debug, Clone)]
pub(crate) struct Polls(pub(crate) CancellationToken);

fn respond(answer: PollAnswer, request: &HeaderMap, engine: &Engine) -> Response<Body> {
    match answer {
        PollAnswer::Packets(payload, compress) => {
            let (body, kind) = match payload {
                Payload::Text(text) => (Bytes::from(text), "text/plain; charset=UTF-8"),
                Payload::Binary(bytes) => (Bytes::from(bytes), "application/octet-stream"),
            };
            let mut response = Response::new(Body::empty());
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            let squeezed = if compress && engine.http_compression { squeeze(&body, request) } else { None };
            if let Some((coding, _)) = &squeezed {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
                headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
            }
            *response.body_mut() = squeezed.map_or(body, |(_, bytes)| bytes.into()).into();
            response
        }
        PollAnswer::Taken => {
            let mut response = Response::new(Body::from("ok"));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        PollAnswer::Refused(error) => refuse(error, false),
        PollAnswer::Failed(status) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = status;
            response
        }
    }
}

/// Stands in a response that refuses, for whoever counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused(pub(crate) Code);

/// An error as Node writes it: JSON for polling, bare text for a websocket.
fn refuse(error: EngineError, upgrade: bool) -> Response<Body> {
    let (body, status, kind) = if upgrade {
        (Body::from(error.code().message()), StatusCode::BAD_REQUEST, "text/html")
    } else {
        let status = StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::BAD_REQUEST);
        (Body::from(error.json_body()), status, "application/json")
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.extensions_mut().insert(Refused(error.code()));
    response
}

async fn accept(
    shard: &Rc<Shard>,
    mut request: Request<Incoming>,
    front: &Arc<Front>,
    dialog: Dialog,
    facts: Facts,
    ticket: Option<Ticket>,
) -> Response<Body> {
    let engine = &front.engine;
    let owner = match facts.shown().query("sid").map(str::parse::<Address>) {
        None => None,
        Some(Ok(address)) if shard.has_session(address).await => Some(address),
        Some(_) => return refuse(EngineError::SessionUnknown, true),
    };
    let (mut response, deflate) = match upgrade_response(&request, engine.deflate) {
        Ok(agreed) => agreed,
        Err(response) => return *response,
    };
    select_subprotocol(&mut response, &facts);
    let limits = Limits { max_message: engine.max_payload, deflate };
    let seat = if owner.is_none() { shard.seats.take() } else { None };
    if owner.is_none() && seat.is_none() {
        return full(shard, &facts);
    }
    let upgraded = hyper::upgrade::on(&mut request);
    let (shard, front) = (Rc::clone(shard), Arc::clone(front));
    let owned = Rc::clone(&shard);
    owned.spawn(async move {
        let Some((stream, unread)) = taken_over(upgraded).await else { return };
        match (owner, ticket.zip(seat)) {
            (Some(address), _) => hand_over(&shard, address, stream, unread, deflate),
            (None, Some((ticket, seat))) => {
                let opening = Opening { front, dialog, facts, limits, seat, ticket };
                start(shard, opening, Vec::new(), stream, unread).await;
            }
            (None, None) => {}
        }
    });
    response
}

/// Agrees to a websocket, or says what is wrong with the request.
pub(crate) fn upgrade_response<B: HttpBody>(
    request: &Request<B>,
    deflate: bool,
) -> Result<(Response<Body>, bool), Box<Response<Body>>> {
    let get = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    // Only a GET of HTTP/1.1 can ask for an upgrade (RFC 6455, section 4.1). One with a body would have a proxy and us
    // disagree about where frames begin.
    let may_ask = request.method() == Method::GET
        && request.version() == http::Version::HTTP_11
        && request.body().is_end_stream();
    let asked = handshake::Request {
        connection: get(CONNECTION),
        upgrade: get(UPGRADE).filter(|_| may_ask),
        version: get(SEC_WEBSOCKET_VERSION),
        key: get(SEC_WEBSOCKET_KEY),
        extensions: get(SEC_WEBSOCKET_EXTENSIONS),
    };
    let agreed = handshake::answer(&asked, deflate).map_err(|error| {
        let mut response = Response::new(Body::from(error.to_string()));
        *response.status_mut() = StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::BAD_REQUEST);
        response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        Box::new(response)
    })?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = response.headers_mut();
    out.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    out.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&agreed.accept) {
        out.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(extensions) = agreed.extensions {
        out.insert(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(extensions));
    }
    Ok((response, agreed.extensions.is_some()))
}

/// A client that shows its token as a subprotocol expects the protocol before it to be chosen.
pub(crate) fn select_subprotocol(response: &mut Response<Body>, facts: &Facts) {
    let offered =
        facts.shown().subprotocol.as_deref().is_some_and(|offered| handshake::has_token(offered, SUBPROTOCOL));
    if offered {
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
}

/// The connection that hyper gives back once the answer is written, and what it had read beyond the request.
pub(crate) async fn taken_over(upgraded: OnUpgrade) -> Option<(Stream, BytesMut)> {
    let parts = upgraded.await.ok()?.downcast::<TokioIo<Coalesced>>().ok()?;
    let (stream, rest) = parts.io.into_inner().into_inner()?;
    let mut unread = BytesMut::from(&parts.read_buf[..]);
    unread.extend_from_slice(&rest);
    Some((stream, unread))
}

fn hand_over(shard: &Rc<Shard>, session: Address, stream: Stream, unread: BytesMut, deflate: bool) {
    let Ok(stream) = stream.detach() else { return };
    if let Some(peer) = shard.peers.get(usize::from(session.shard)) {
        let _ = peer.send(Letter::Probe(Box::new(Moved { session, stream, unread, deflate })));
    }
}

/// Begins a session on a websocket. `head`: what is written before its first packet.
pub(crate) async fn start(shard: Rc<Shard>, opening: Opening, head: Vec<u8>, stream: Stream, mut unread: BytesMut) {
    let Opening { front, dialog, facts, limits, seat, ticket } = opening;
    let stream = Rc::new(stream);
    let link = Link::WebSocket { stream: Rc::clone(&stream), deflate: limits.deflate };
    let session = shard.open_session(front, dialog, facts, link, seat);
    shard.hold_ticket(&session, ticket);
    let mut socket = Socket::new(stream, limits);
    if !head.is_empty() {
        shard.queue(&session, Parcel::frame(head));
    }
    shard.close_if_late(&session);
    if let Err(fault) = shard.greet(&session).await {
        shard.close(&session, fault.into());
    }
    socket.take(&mut unread, |pong| shard.queue(&session, Parcel::beat(pong)));
    shard.flush(&session);
    websocket::serve(shard, session, socket);
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

pub(super) fn facts<B>(settings: &Settings, request: &Request<B>, peer: Remote) -> Facts {
    let get = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let query = form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes());
    let shown = Shown {
        origin: cors::origin(request.headers()),
        site: cors::Site::of(request.headers()),
        authorization: get(AUTHORIZATION),
        cookie: get(COOKIE),
        subprotocol: get(SEC_WEBSOCKET_PROTOCOL),
        query: query.map(|(key, value)| (key.into_owned(), value.into_owned())).collect(),
    };
    Facts::new(Some(settings.forwarders.client(peer, request.headers())), shown)
}
