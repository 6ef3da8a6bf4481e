//! What the transports of a node need to know, checked and ready.

use std::sync::Arc;
use std::time::Duration;

use oyez_hub::address::AppId;
pub use oyez_hub::app::{AppLimits, WhenUserFull};
pub use oyez_hub::policy::limits::Rate;
use oyez_protocol::socketio::DEFAULT_MAX_ATTACHMENTS;

use crate::config::TokenSource;
use crate::forwarders::Forwarders;

/// Bytes that may wait for one client unless it is said otherwise.
pub const OUTBOX_BYTES: usize = 1024 * 1024;

/// Heartbeat times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// From one sign of life to the next ping.
    pub interval: Duration,
    /// Engine.IO: from the ping to the answer. Raw WebSocket: from one pong to the next.
    pub timeout: Duration,
}

/// Which pages of a browser may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// Every page; credentials (cookies) are then never allowed.
    Any,
    /// Pages of these origins, compared as browsers write them (`https://app.example.com`); the port may be `*`.
    List(Vec<String>),
}

impl Origins {
    /// Whether a request with this `Origin` may pass; one without comes from no page.
    #[must_use]
    pub fn allow(&self, origin: Option<&str>) -> bool {
        match (self, origin) {
            (_, None) | (Self::Any, _) => true,
            (Self::List(list), Some(origin)) => list.iter().any(|allowed| is_meant(allowed, origin)),
        }
    }
}

/// Whether an entry of the list means this origin: `http://localhost:*` means any port.
fn is_meant(allowed: &str, origin: &str) -> bool {
    let Some(host) = allowed.strip_suffix(":*") else { return allowed == origin };
    let port = origin.strip_prefix(host).and_then(|rest| rest.strip_prefix(':'));
    port.is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Engine.IO on one or more paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
    /// Paths, each beginning and ending with `/`.
    pub paths: Vec<String>,
    /// Whether websockets are accepted.
    pub websocket: bool,
    /// Whether polling is.
    pub polling: bool,
    /// Heartbeat of Engine.IO.
    pub heartbeat: Heartbeat,
    /// An upgrade must be finished by then.
    pub upgrade_timeout: Duration,
    /// A namespace must be joined by then.
    pub connect_timeout: Duration,
    /// Largest message in bytes.
    pub max_payload: usize,
    /// Binaries in one packet.
    pub max_attachments: usize,
    /// Whether clients of Engine.IO 3 are served.
    pub allow_v3: bool,
    /// Whether permessage-deflate is offered.
    pub deflate: bool,
    /// Whether polling responses are compressed for clients that accept it.
    pub http_compression: bool,
}

impl Default for Engine {
    /// The defaults of Socket.IO 4.
    fn default() -> Self {
        Self {
            paths: vec!["/socket.io/".to_owned()],
            websocket: true,
            polling: true,
            heartbeat: Heartbeat { interval: Duration::from_millis(25_000), timeout: Duration::from_millis(20_000) },
            upgrade_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(45),
            max_payload: 1_000_000,
            max_attachments: DEFAULT_MAX_ATTACHMENTS,
            allow_v3: false,
            deflate: false,
            http_compression: true,
        }
    }
}

/// Raw JSON messages on a plain WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Native {
    /// Paths, without a trailing slash.
    pub paths: Vec<String>,
    /// WebSocket pings.
    pub heartbeat: Heartbeat,
    /// Largest message in bytes.
    pub max_payload: usize,
    /// The field that names the kind of a message.
    pub type_field: String,
    /// Whether permessage-deflate is offered.
    pub deflate: bool,
}

/// One way in: a set of paths and what is spoken there. Several apps may share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Front {
    /// Hosts that it is for, as clients write them: a name, `name:port` or `:port`, in lower case; none: any.
    pub hosts: Vec<String>,
    /// Engine.IO, and on it Socket.IO.
    pub engine: Engine,
    /// Nothing is spoken on Engine.IO: each of its messages is an event `message` of the first app.
    pub bare: bool,
    /// Plain WebSocket.
    pub native: Option<Native>,
    /// Who may connect from a browser.
    pub origins: Origins,
    /// Apps that are reached this way, in order of preference.
    pub apps: Vec<AppId>,
    /// Bytes that may wait for one client.
    pub outbox_bytes: usize,
}

/// How long connections may take to ask for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// From the connection's first moment to the end of its first request's headers, TLS included; of later requests,
    /// from the first byte.
    pub header: Duration,
    /// From a request's headers to the end of its body.
    pub body: Duration,
    /// From one answer to the next request.
    pub idle: Duration,
}

impl Default for Patience {
    /// Node closes idle connections after 5 s. A balancer that keeps its connections for a minute, as they do, would now
    /// and then lose a request to that. A body may be a megabyte over a bad mobile connection.
    fn default() -> Self {
        Self { header: Duration::from_secs(5), body: Duration::from_secs(30), idle: Duration::from_secs(75) }
    }
}

/// All transports of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The ways in. A session keeps the one that it came by, even when the configuration is another one by now.
    pub fronts: Vec<Arc<Front>>,
    /// Sessions that may be open at once; `None`: any number.
    pub connections: Option<usize>,
    /// Where the clients of each app show their tokens, by the app's id.
    pub tokens: Vec<Vec<TokenSource>>,
    /// Whom to believe about where clients come from.
    pub forwarders: Forwarders,
    /// How long connections may take to ask for something.
    pub patience: Patience,
    /// Use io_uring to write to many connections at once, where the kernel allows it.
    pub io_uring: bool,
    /// How sessions leave when the node goes down.
    pub shutdown: Shutdown,
    /// Handshakes of sessions that one thread has under way at once; whoever comes then is told to come later.
    pub handshakes: usize,
    /// Sessions of one address that may end by their client's own fault at once, beside one a second, before its
    /// handshakes wait; `None`: nothing is held against anybody.
    pub offences: Option<u64>,
}

/// Offences that are forgiven, unless it is said otherwise.
pub const OFFENCES: u64 = 20;

/// Handshakes that one thread has under way at once, unless it is said otherwise.
pub const HANDSHAKES: usize = 2048;

/// How the sessions of a node leave when it goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown {
    /// The goodbyes are spread over so much time, because those who hear one come to another node at once. Few sessions
    /// take less.
    pub window: Duration,
    /// After so much time nobody is waited for any more.
    pub deadline: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { window: Duration::from_secs(5), deadline: Duration::from_secs(10) }
    }
}

impl Front {
    /// Whether a request with this `Host` may be meant for it.
    pub(crate) fn is_for(&self, host: Option<&str>) -> bool {
        let meant = |host| self.hosts.iter().any(|own| is_host(own, host));
        self.hosts.is_empty() || host.is_some_and(meant)
    }
}

/// Whether an entry such as `desk.example.com`, `desk.example.com:8443` or `:8443` fits a `Host`.
fn is_host(own: &str, host: &str) -> bool {
    let parts = |text| str::rsplit_once(text, ':').map_or((text, None), |(name, port)| (name, Some(port)));
    let ((own_name, own_port), (name, port)) = (parts(own), parts(host));
    (own_name.is_empty() || own_name.eq_ignore_ascii_case(name)) && (own_port.is_none() || own_port == port)
}

impl Settings {
    /// Where the clients of an app show their tokens.
    pub(crate) fn tokens(&self, app: AppId) -> &[TokenSource] {
        self.tokens.get(usize::from(app.0)).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_a_port_or_both() {
        for (own, host, expect) in [
            ("a.example", "A.example", true),
            ("a.example", "a.example:8443", true),
            ("a.example", "b.example", false),
            ("a.example:8443", "a.example:8443", true),
            ("a.example:8443", "a.example", false),
            (":3001", "127.0.0.1:3001", true),
            (":3001", "127.0.0.1:3002", false),
            (":3001", "127.0.0.1", false),
        ] {
            assert_eq!(is_host(own, host), expect, "{own} {host}");
        }
    }

    #[test]
    fn a_port_may_be_any_but_nothing_else() {
        let origins = Origins::List(vec!["https://a.example".to_owned(), "http://localhost:*".to_owned()]);
        let allowed = |origin| origins.allow(Some(origin));
        assert!(allowed("https://a.example") && allowed("http://localhost:5173"));
        for foreign in [
            "http://localhost",
            "http://localhost:",
            "http://localhost:80.evil.example",
            "http://localhost.evil.example:80",
            "https://localhost:5173",
            "https://a.example:443",
            "null",
        ] {
            assert!(!allowed(foreign), "{foreign}");
        }
    }
}
