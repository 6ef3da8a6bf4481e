//! Whatever bytes come, what is read of HTTP without hyper is what hyper reads, an answer has no more lines than it
//! should, and nobody gets an address, or the use of a cookie, by saying so. The fuzz target `http_head` makes up the
//! bytes, and tests go through those that it has found worth keeping.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::ready;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::Empty;
use httparse::{EMPTY_HEADER, Status};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use oyez_hub::address::AppId;
use oyez_hub::policy::token::MAX_TOKEN_BYTES;
use oyez_protocol::proxy::{self, Announced};

use crate::config::TokenSource;
use crate::forwarders::{Field, Forwarders, Remote};
use crate::http::{connection, cors, engine, framing, upgrade};
use crate::session::token;
use crate::settings::{Engine, Front, HANDSHAKES, Origins, Patience, Settings, Shutdown};

/// Headers in an answer to an upgrade, at most.
const ANSWERED: usize = 5;

/// A node behind a forwarder that announces connections and writes one of the headers.
fn settings(header: Field) -> Settings {
    let front = Front {
        hosts: Vec::new(),
        engine: Engine { deflate: true, ..Engine::default() },
        bare: false,
        native: None,
        origins: Origins::List(vec!["https://app.example".to_owned(), "http://localhost:*".to_owned()]),
        apps: vec![AppId(0)],
        outbox_bytes: 0,
    };
    let trusted = ["10.0.0.0/8", "fd00::/8"].iter().filter_map(|network| network.parse().ok()).collect();
    let forwarders = Forwarders { trusted, header: Some(header), proxy_protocol: true };
    Settings {
        fronts: vec![Arc::new(front)],
        connections: None,
        tokens: Vec::new(),
        forwarders,
        patience: Patience::default(),
        io_uring: false,
        shutdown: Shutdown::default(),
        handshakes: HANDSHAKES,
        offences: None,
    }
}

/// What a connection says first, as its shard takes it: `bytes` begin with one that says which header the forwarders
/// write, and whether the connection comes from one of them.
///
/// # Panics
/// Where something does not hold.
pub(crate) fn read(bytes: &[u8]) {
    static NODES: LazyLock<[Settings; 2]> = LazyLock::new(|| [Field::XForwardedFor, Field::Forwarded].map(settings));
    let Some((choice, bytes)) = bytes.split_first() else { return };
    let node = &NODES[usize::from(choice & 1)];
    let stranger = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 1));
    let peer = if choice & 2 == 0 { stranger } else { SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1), 1)) };
    let (remote, bytes) = match proxy::read(bytes) {
        Ok(Some((Announced::Client(client), length))) if node.forwarders.announces(peer.ip()) => {
            (node.forwarders.remote(client), &bytes[length..])
        }
        _ => (node.forwarders.remote(peer), bytes),
    };
    let Some((request, length)) = upgrade::parse(bytes) else { return };
    assert!(upgrade::parse(&bytes[..length - 1]).is_none(), "half a head is none");
    assert_eq!(upgrade::parse(&bytes[..length]).map(|(_, again)| again), Some(length), "what follows is no part of it");
    as_hyper_does(&request, &bytes[..length]);
    answered(&request);
    shown(node, &request, remote);
}

/// The quick way and hyper see one and the same request.
fn as_hyper_does(request: &Request<Empty<Bytes>>, bytes: &[u8]) {
    let seen = RefCell::new(None::<Parts>);
    let service = service_fn(|request: Request<Incoming>| {
        assert!(request.body().is_end_stream(), "there is no body");
        assert!(framing::is_sound(&request));
        assert!(seen.borrow_mut().replace(request.into_parts().0).is_none(), "there is one request");
        ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
    });
    let both = TokioIo::new(tokio::io::join(bytes, tokio::io::sink()));
    let _ = pin!(connection::http1().serve_connection(both, service)).now_or_never();
    let seen = seen.into_inner().expect("hyper takes what the quick way takes");
    assert_eq!((&seen.method, &seen.uri, seen.version), (request.method(), request.uri(), request.version()));
    assert_eq!(&seen.headers, request.headers());
}

/// An answer is one head, whatever was asked.
fn answered(request: &Request<Empty<Bytes>>) {
    let Ok((response, _)) = engine::upgrade_response(request, true) else { return };
    let head = upgrade::written(&response);
    let mut headers = [EMPTY_HEADER; ANSWERED];
    let mut parsed = httparse::Response::new(&mut headers);
    assert_eq!(parsed.parse(&head), Ok(Status::Complete(head.len())));
    assert_eq!((parsed.code, request.method()), (Some(101), &http::Method::GET));
}

/// Who a client says to be counts for nothing where it is not to be believed.
fn shown(node: &Settings, request: &Request<Empty<Bytes>>, remote: Remote) {
    let _ = engine::route(node, request);
    let facts = engine::facts(node, request, remote);
    let (client, shown) = (facts.peer, facts.shown());
    assert!(remote.forwards || client == Some(remote.address.ip()), "{client:?} is made up");
    if client.is_some_and(|client| !node.forwarders.trusts(client)) {
        let mut headers = HeaderMap::new();
        headers.append(Field::XForwardedFor.name(), HeaderValue::from_static("198.51.100.1"));
        headers.append(Field::Forwarded.name(), HeaderValue::from_static("for=198.51.100.1"));
        headers.extend(request.headers().iter().map(|(name, value)| (name.clone(), value.clone())));
        let again = node.forwarders.client(remote, &headers);
        assert_eq!(Some(again), client, "what the client says of others comes before");
    }
    let origins = &node.fronts[0].origins;
    let cookie = token::find(&[TokenSource::Cookie("sid".to_owned())], &().into(), shown, origins);
    assert!(cookie.is_none() || (cors::may_connect(origins, shown) && cors::may_use_cookies(origins, shown)));
    assert!(cookie.is_none_or(|token| token.len() <= MAX_TOKEN_BYTES), "pieces make no larger token than one cookie");
    let others = [TokenSource::Query("token".to_owned()), TokenSource::Bearer, TokenSource::Subprotocol];
    for source in others {
        let token = token::find(&[source], &().into(), shown, origins);
        assert!(token.is_none_or(|token| !token.is_empty()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_worth_keeping_holds() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/http_head");
        let mut upgrades = 0;
        for file in std::fs::read_dir(corpus).expect("the corpus").flatten() {
            let bytes = std::fs::read(file.path()).expect("it can be read");
            read(&bytes);
            upgrades += usize::from(upgrade::parse(bytes.get(1..).unwrap_or_default()).is_some());
        }
        assert!(upgrades > 10, "{upgrades}");
    }
}
