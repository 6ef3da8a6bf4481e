//! Against a TCP server that answers whatever the test says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;

/// Reads one request, headers and a body of `Content-Length`.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.unwrap();
        seen.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&seen).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            assert!(count > 0, "the client hung up: {text}");
            continue;
        };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return text;
        }
    }
}

/// Answers one connection with `answer` and gives what was asked; keeps it open when `hang`.
async fn serve(answer: impl Into<Vec<u8>>, hang: bool) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/path?secret=1", listener.local_addr().unwrap());
    let answer = answer.into();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await;
        // The client may have seen enough and hung up.
        let _ = stream.write_all(&answer).await;
        if hang {
            let _ = stream.read(&mut [0; 1]).await;
        }
        request
    });
    (url, server)
}

fn get(url: &str) -> FetchRequest {
    FetchRequest {
        method: Method::Get,
        url: url.to_owned(),
        headers: vec![("x-key".to_owned(), "k".to_owned())],
        body: Bytes::new(),
        timeout: Duration::from_secs(10),
        private: true,
    }
}

fn client() -> HttpFetch {
    HttpFetch::new(Handle::current(), &HttpOptions::default()).unwrap()
}

fn response(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_get_and_its_answer() {
    let (url, server) = serve(response("200 OK", "", "{}"), false).await;
    let answer = client().fetch(get(&url)).await.unwrap();
    assert_eq!(answer, FetchResponse { status: 200, body: Bytes::from("{}") });
    let asked = server.await.unwrap();
    assert!(asked.starts_with("GET /path?secret=1 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("x-key: k\r\n") && asked.contains("user-agent: oyez/"), "{asked}");
}

#[tokio::test]
async fn a_post_sends_its_body() {
    let (url, server) = serve(response("401 Unauthorized", "", "no"), false).await;
    let request = FetchRequest { method: Method::Post, body: Bytes::from("token=a"), ..get(&url) };
    assert_eq!(client().fetch(request).await.unwrap().status, 401);
    let asked = server.await.unwrap();
    assert!(asked.starts_with("POST ") && asked.ends_with("\r\n\r\ntoken=a"), "{asked}");
}

#[tokio::test]
async fn redirects_are_answers_not_orders() {
    let (url, _server) = serve(response("302 Found", "location: http://127.0.0.1:1/\r\n", ""), false).await;
    assert_eq!(client().fetch(get(&url)).await.unwrap().status, 302);
}

#[tokio::test]
async fn bodies_are_bounded_whatever_the_headers_say() {
    let most = FetchError::TooLarge { most: MAX_RESPONSE_BYTES };
    let (url, _server) = serve("HTTP/1.1 200 OK\r\ncontent-length: 1048577\r\n\r\n", true).await;
    assert_eq!(client().fetch(get(&url)).await, Err(most.clone()));
    let endless = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", "x".repeat(MAX_RESPONSE_BYTES + 1));
    let (url, _server) = serve(endless, true).await;
    assert_eq!(client().fetch(get(&url)).await, Err(most));
    let (url, _server) = serve(response("200 OK", "", &"x".repeat(MAX_RESPONSE_BYTES)), false).await;
    assert_eq!(client().fetch(get(&url)).await.unwrap().body.len(), MAX_RESPONSE_BYTES);
}

#[tokio::test]
async fn a_server_that_stalls_is_given_up() {
    for answer in ["", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"] {
        let (url, _server) = serve(answer, true).await;
        let request = FetchRequest { timeout: Duration::from_millis(100), ..get(&url) };
        assert_eq!(client().fetch(request).await, Err(FetchError::Timeout), "{answer:?}");
    }
}

#[tokio::test]
async fn failures_are_told_without_the_query() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = format!("http://{}/?secret=1", listener.local_addr().unwrap());
    drop(listener);
    let (garbage, _server) = serve("garbage\r\n\r\n", false).await;
    let (cut, _server) = serve("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", false).await;
    let newline = FetchRequest { headers: vec![("a".into(), "b\r\nc: d".into())], ..get(&closed) };
    let name = FetchRequest { headers: vec![("a b".into(), "c".into())], ..get(&closed) };
    for request in [get(&closed), get(&garbage), get(&cut), get("nonsense?secret=1"), newline, name] {
        let name = format!("{request:?}");
        let Err(FetchError::Failed(why)) = client().fetch(request).await else { panic!("{name} did not fail") };
        assert!(!why.is_empty() && !why.contains("secret") && !why.contains("c: d"), "{name}: {why}");
    }
}

#[tokio::test]
async fn a_proxy_is_used_when_given_and_settings_are_checked() {
    let (proxy, server) = serve(response("200 OK", "", "by proxy"), false).await;
    let options = HttpOptions { proxy: Some(proxy), ..HttpOptions::default() };
    let client = HttpFetch::new(Handle::current(), &options).unwrap();
    assert_eq!(client.fetch(get("http://app.invalid/x")).await.unwrap().body, "by proxy");
    assert!(server.await.unwrap().starts_with("GET http://app.invalid/x HTTP/1.1"));
    for bad in [
        HttpOptions { proxy: Some("::".into()), ..HttpOptions::default() },
        HttpOptions {
            extra_roots: Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----".to_vec()),
            ..HttpOptions::default()
        },
    ] {
        assert!(HttpFetch::new(Handle::current(), &bad).is_err(), "{bad:?}");
    }
}

/// A shard's own small runtime may ask and be gone before the next one reuses the connection.
#[test]
fn connections_belong_to_the_given_runtime() {
    let control = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (url, server) = control.block_on(serve(response("200 OK", "", "ok"), false));
    let client = HttpFetch::new(control.handle().clone(), &HttpOptions::default()).unwrap();
    let shard = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(shard.block_on(client.fetch(get(&url))).unwrap().body, "ok");
    drop(shard);
    control.block_on(server).unwrap();
}

#[tokio::test]
async fn what_may_only_go_to_public_addresses_goes_nowhere_else() {
    let (url, server) = serve(response("200 OK", "", "{}"), false).await;
    let port = url.split(':').nth(2).unwrap().split('/').next().unwrap();
    let client = client();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433"] {
        let url = format!("http://{host}:{port}/");
        let request = FetchRequest { private: false, ..get(&url) };
        assert_eq!(client.fetch(request).await, Err(FetchError::Private), "{url}");
    }
    // A connection that others were allowed to make is none of its own.
    client.fetch(get(&url)).await.unwrap();
    assert_eq!(client.fetch(FetchRequest { private: false, ..get(&url) }).await, Err(FetchError::Private));
    server.await.unwrap();
}
