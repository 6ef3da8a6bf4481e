//! Log events. Each is a function, so that its fields are the same everywhere; never a token, never a payload.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use oyez_hub::app::App;
use oyez_hub::dialect::Denial;
use tracing::{debug, info, warn};

use super::arrival::{ProxyFailure, TlsFailure};
use super::process::Process;
use super::report::Figures;
use crate::session::{Member, Request, Session};

/// A thread begins to serve connections; whether it writes through io_uring.
pub(crate) fn shard_started(shard: u8, io_uring: bool) {
    tracing::debug!(event = "shard_started", shard, io_uring);
}

/// A client has joined a namespace.
pub(crate) fn connected(app: &App, member: &Member, session: &Session) {
    let identity = member.identity.borrow();
    info!(event = "connect", app = %app.name, session = ?member.address, user = %identity.user, transport = session.transport(), peer = session.request.peer.map(tracing::field::display));
}

/// A client has left, and why.
pub(crate) fn disconnected(app: &App, member: &Member, session: &Session, reason: &str) {
    let identity = member.identity.borrow();
    info!(event = "disconnect", app = %app.name, session = ?member.address, user = %identity.user, transport = session.transport(), reason);
}

/// Connections cannot be accepted; they wait in the system's queue. `attempts` since the last word about it.
pub(crate) fn accept_failed(error: &io::Error, attempts: u64) {
    warn!(event = "accept_failed", %error, attempts, help = "raise the limit of open files (ulimit -n, LimitNOFILE=)");
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

/// The system's clock was set. Open sessions stay; for a minute, tokens must be good by the old time, too.
pub(crate) fn clock_jumped(seconds: i64) {
    warn!(event = "clock_jumped", seconds);
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

/// A client has joined a channel. Not `info`: there are many of these for each connection, and clients can make more.
pub(crate) fn subscribed(app: &App, member: &Member, channel: &str) {
    debug!(event = "subscribe", app = %app.name, session = ?member.address, user = %member.identity.borrow().user, channel);
}

/// A client has left a channel.
pub(crate) fn unsubscribed(app: &App, member: &Member, channel: &str) {
    debug!(event = "unsubscribe", app = %app.name, session = ?member.address, user = %member.identity.borrow().user, channel);
}

/// A client asked for something that it may not have.
pub(crate) fn denied(app: &App, member: &Member, asked: &str, denial: &Denial) {
    let channel = denial.channel.as_deref().unwrap_or_default();
    warn!(event = "denied", app = %app.name, session = ?member.address, user = %member.identity.borrow().user, asked, channel, code = denial.code);
}

/// A request to the API was refused for lack of a key or of a right. `message` never holds what was shown.
pub(crate) fn api_denied(path: &str, key: Option<&str>, message: &str) {
    warn!(event = "api_denied", path, key, message);
}

/// Characters of a refused origin that are logged; a client chooses it, and may send many.
const ORIGIN_SHOWN: usize = 200;

/// A page of a foreign origin may not connect; its browser does not tell it why. Without an origin, the browser itself
/// said only that it is another site's.
pub(crate) fn origin_refused(request: &Request) {
    let origin: String = request.shown().origin.iter().flat_map(|origin| origin.chars()).take(ORIGIN_SHOWN).collect();
    let peer = request.peer.map(tracing::field::display);
    warn!(event = "origin_refused", origin, peer, help = "add it to the app's `origins`");
}
