//! Log events. Each is a function, so that its fields are the same everywhere; never a token, never a payload.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use oyez_hub::app::App;
use oyez_hub::command::CommandError;
use oyez_hub::dialect::Denial;
use oyez_hub::store::StoreError;
use tracing::{debug, info, warn};

use super::arrival::{ProxyFailure, TlsFailure};
use super::process::Process;
use super::report::Figures;
use crate::http::forward::NotPassedOn;
use crate::session::{Member, Request, Session};

/// Characters that are logged of what a client chose. It may send many.
const TOLD: usize = 200;

/// What a client chose, as it may stand in a log: not long, and without what would begin another line, colour a terminal
/// or turn the direction of a text. Quotes are the format's affair.
fn told(text: &str) -> Cow<'_, str> {
    if text.len() <= TOLD && text.chars().all(is_harmless) {
        return text.into();
    }
    let (shown, rest) = text.split_at(text.char_indices().nth(TOLD).map_or(text.len(), |(at, _)| at));
    let mut out = String::with_capacity(shown.len());
    for char in shown.chars() {
        if is_harmless(char) { out.push(char) } else { out.extend(char.escape_unicode()) }
    }
    if !rest.is_empty() {
        out.push('…');
    }
    out.into()
}

/// Neither a control character nor one of Unicode's that only say how others are shown.
fn is_harmless(char: char) -> bool {
    let steers = matches!(char, '\u{061C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}');
    !char.is_control() && !steers
}

/// By what a client knows itself (`socket.id`), so that it is found in the log. Of clients of Engine.IO 3 that is the name
/// of the connection, and whoever knows that may speak for them: those are told by where they live.
struct Id<'a>(&'a Member);

impl fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(member) = *self;
        match member.session.upgrade().map(|session| (member.wire_address(&session), session.address)) {
            Some((id, connection)) if id != connection => fmt::Display::fmt(&id, f),
            _ => fmt::Debug::fmt(&member.address, f),
        }
    }
}

/// A thread begins to serve connections; whether it writes through io_uring.
pub(crate) fn shard_started(shard: u8, io_uring: bool) {
    tracing::debug!(event = "shard_started", shard, io_uring);
}

/// A client has joined a namespace.
pub(crate) fn connected(app: &App, member: &Member, session: &Session) {
    let identity = member.identity.borrow();
    info!(event = "connect", app = %app.name, session = %Id(member), user = &*told(&identity.user), transport = session.transport(), peer = session.request.peer.map(tracing::field::display));
}

/// A client has left, and why.
pub(crate) fn disconnected(app: &App, member: &Member, session: &Session, reason: &str) {
    let identity = member.identity.borrow();
    info!(event = "disconnect", app = %app.name, session = %Id(member), user = &*told(&identity.user), transport = session.transport(), reason);
}

/// Connections cannot be accepted; they wait in the system's queue. `attempts` since the last word about it.
pub(crate) fn accept_failed(error: &io::Error, attempts: u64) {
    warn!(event = "accept_failed", %error, attempts, help = "raise the limit of open files (ulimit -n, LimitNOFILE=)");
}

/// A request for a session of another node was not answered by that.
pub(crate) fn not_passed_on(error: &NotPassedOn, node: SocketAddr) {
    warn!(event = "not_passed_on", %error, %node, help = "nodes must be let in there; `--node-listen` of that node says another address or port");
}

/// Connections are accepted again.
pub(crate) fn accept_resumed() {
    info!(event = "accept_resumed");
}

/// The process, or the whole machine, did not run for a while: what clients said meanwhile is read before anybody is
/// given up.
pub(crate) fn stood_still(time: std::time::Duration) {
    warn!(event = "stood_still", seconds = time.as_secs_f32());
}

/// A shard's thread had no turn for so long: something kept it, or the machine has too little to give.
pub(crate) fn stalled(shard: u8, late: Duration) {
    warn!(event = "stalled", shard, late_ms = millis(late));
}

/// Most of a shard's sessions have gone, so many at least, and their memory with them.
pub(crate) fn memory_released(shard: u8, gone: usize) {
    info!(event = "memory_released", shard, gone);
}

/// How the node is, and what it has done since the last of these lines.
pub(crate) fn performance(figures: &Figures) {
    let Figures { connections, publishes, deliveries, latency, dropped, denied, stalls, waiting_bytes, process } =
        *figures;
    let [p50_ms, p99_ms] = latency.map(|latency| latency.map(millis));
    let Process { resident_bytes, open_files, .. } = process;
    info!(
        event = "performance",
        connections,
        publishes_per_second = publishes,
        deliveries_per_second = deliveries,
        p50_ms,
        p99_ms,
        dropped,
        denied,
        stalls,
        waiting_bytes,
        resident_bytes,
        open_files
    );
}

/// Milliseconds, to two digits behind the point.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 100_000.0).round() / 100.0
}

/// TLS was not agreed on. Where nobody can help it, such as with clients that go away, it is no warning.
pub(crate) fn tls_failed(failure: TlsFailure, peer: IpAddr, error: &io::Error) {
    match failure.help() {
        Some(help) => warn!(event = "tls_failed", reason = failure.word(), %peer, %error, help),
        None => debug!(event = "tls_failed", reason = failure.word(), %peer, %error),
    }
}

/// A trusted forwarder did not say for whom it forwards.
pub(crate) fn proxy_header_refused(failure: ProxyFailure, forwarder: IpAddr) {
    match failure.help() {
        Some(help) => warn!(event = "proxy_header_refused", reason = failure.word(), %forwarder, help),
        None => debug!(event = "proxy_header_refused", reason = failure.word(), %forwarder),
    }
}

/// The deadline came before a thread was done: so many sessions had something left to hear, and so many connections were
/// still being served.
pub(crate) fn left_behind(shard: u8, sessions: usize, connections: usize) {
    warn!(event = "left_behind", shard, sessions, connections, help = "see [server.shutdown]");
}

/// A client may not connect.
pub(crate) fn refused(app: &App, request: &Request, word: &str) {
    warn!(event = "connect_refused", app = %app.name, reason = word, peer = request.peer.map(tracing::field::display));
}

/// A client was sent away because the node has as many sessions as it may.
pub(crate) fn node_full(request: &Request) {
    let peer = request.peer.map(tracing::field::display);
    warn!(event = "node_full", peer, help = "see `connections` of [server]");
}

/// A client has to wait, or is sent away, because too many connections from where it is ended by their own fault.
pub(crate) fn throttled(request: &Request, refused: bool) {
    let peer = request.peer.map(tracing::field::display);
    warn!(
        event = "throttled",
        peer,
        refused,
        help = "clients behind a proxy share its address without [server.proxy]; see `offences` of [server]"
    );
}

/// A client has joined a channel. Not `info`: there are many of these for each connection, and clients can make more.
pub(crate) fn subscribed(app: &App, member: &Member, channel: &str) {
    debug!(event = "subscribe", app = %app.name, session = %Id(member), user = &*told(&member.identity.borrow().user), channel = &*told(channel));
}

/// A client has left a channel.
pub(crate) fn unsubscribed(app: &App, member: &Member, channel: &str) {
    debug!(event = "unsubscribe", app = %app.name, session = %Id(member), user = &*told(&member.identity.borrow().user), channel = &*told(channel));
}

/// A client asked for something that it may not have.
pub(crate) fn denied(app: &App, member: &Member, asked: &str, denial: &Denial) {
    let channel = denial.channel.as_deref().unwrap_or_default();
    warn!(event = "denied", app = %app.name, session = %Id(member), user = &*told(&member.identity.borrow().user), asked = &*told(asked), channel = &*told(channel), code = denial.code);
}

/// The store could not do what was asked of it; what is live goes on.
pub(crate) fn store_failed(app: &App, asked: &'static str, error: &StoreError) {
    warn!(event = "store_failed", app = %app.name, asked, reason = error.word(), %error);
}

/// What a client acknowledged could not be noted: it will hear the message again.
pub(crate) fn acknowledgement_lost(app: &App, member: &Member, error: &CommandError) {
    warn!(event = "acknowledgement_lost", app = %app.name, session = %Id(member), user = &*told(&member.identity.borrow().user), %error);
}

/// A request to the API was refused for lack of a key or of a right. `message` never holds what was shown.
pub(crate) fn api_denied(path: &str, key: Option<&str>, message: &str) {
    warn!(event = "api_denied", path = &*told(path), key, message);
}

/// A page of a foreign origin may not connect; its browser does not tell it why. Without an origin, the browser itself
/// said only that it is another site's.
pub(crate) fn origin_refused(request: &Request) {
    let origin = told(request.shown().origin.as_deref().unwrap_or_default());
    let peer = request.peer.map(tracing::field::display);
    warn!(event = "origin_refused", origin = &*origin, peer, help = "add it to the app's `origins`");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_chose_is_one_short_piece_of_text() {
        for (text, expect) in [
            ("订阅 \"site:1\"", "订阅 \"site:1\""),
            ("a\r\nb\tc\0", "a\\u{d}\\u{a}b\\u{9}c\\u{0}"),
            ("\u{1b}[31mred\u{9b}0m", "\\u{1b}[31mred\\u{9b}0m"),
            ("\u{202e}txt.exe\u{2028}", "\\u{202e}txt.exe\\u{2028}"),
        ] {
            assert_eq!(told(text), expect);
        }
        assert_eq!(told(&"网".repeat(200)), "网".repeat(200));
        assert_eq!(told(&"网".repeat(201)), "网".repeat(200) + "…");
        assert_eq!(told(&"\n".repeat(1_000_000)).len(), "\\u{a}".len() * 200 + "…".len());
    }
}
