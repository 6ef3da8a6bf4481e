//! Accepts connections and hands each to the shard with the fewest sessions, before a byte is read.

use std::io;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::observe::event;
use crate::shard::mailbox::{Letter, Peer};

/// After an error that will not go away by itself (no file descriptors left), accepting pauses this long.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a client may leave what was sent to it unread, or unacknowledged, before the kernel gives the connection
/// up; longer than any heartbeat, which ends sessions earlier. Without it, answers that nobody reads would hold their
/// connections for ever.
#[cfg(target_os = "linux")]
const UNREAD_TIMEOUT: Duration = Duration::from_secs(120);

/// A shard as the acceptor sees it.
#[derive(Debug)]
pub(crate) struct Lane {
    /// Where its connections go.
    pub peer: Peer,
    /// How many sessions it has.
    pub load: Arc<AtomicUsize>,
}

/// Accepts until `stop`.
///
/// # Errors
/// When the listener cannot be used at all.
pub(crate) async fn run(listener: StdListener, lanes: Arc<[Lane]>, stop: CancellationToken) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    // What connections inherit need not be said for each.
    #[cfg(target_os = "linux")]
    tune(&SockRef::from(&listener))?;
    let listener = TcpListener::from_std(listener)?;
    let mut turn = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return Ok(()),
        };
        #[cfg(not(target_os = "linux"))]
        let accepted = accepted.and_then(|(stream, peer)| tune(&SockRef::from(&stream)).map(|()| (stream, peer)));
        match accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer))) {
            Ok((stream, peer)) => {
                turn += 1;
                let lane = least_loaded(&lanes, turn);
                let _ = lanes[lane].peer.send(Letter::Connection(stream, peer));
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                event::accept_failed(&error);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// What every connection needs of its socket.
fn tune(socket: &SockRef<'_>) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNREAD_TIMEOUT))?;
    // A small message that waits for a bigger one would be late.
    socket.set_tcp_nodelay(true)
}

/// The least loaded shard; equals take turns, because connections that have no session yet do not count.
fn least_loaded(lanes: &[Lane], turn: usize) -> usize {
    let load = |lane: usize| lanes[lane].load.load(Ordering::Relaxed);
    (0..lanes.len()).map(|step| (turn + step) % lanes.len()).min_by_key(|lane| load(*lane)).unwrap_or(0)
}

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
