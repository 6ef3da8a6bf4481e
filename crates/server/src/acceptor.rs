//! Accepts connections and hands each to the shard with the fewest sessions, before a byte is read. The first shard
//! does this: a thread of its own would be woken for each connection, only to wake another.

use std::io;
use std::net::TcpListener as StdListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::http::connection::serve;
use crate::observe::event;
use crate::shard::Shard;
use crate::shard::mailbox::{Entrance, Letter, Peer};

/// After an error that will not go away by itself (no file descriptors left), accepting pauses this long.
const PAUSE: Duration = Duration::from_millis(100);

/// Between two words about that in the log.
const SILENCE: Duration = Duration::from_secs(10);

/// What accepting costs, beside what clients say: sixteen, and others get a turn.
const ACCEPTING: usize = 1024;

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

/// Where connections come from and go to.
pub(crate) struct Acceptor {
    listeners: Vec<(StdListener, Entrance)>,
    lanes: Vec<Lane>,
    stop: CancellationToken,
}

impl Acceptor {
    /// Will accept until `stop`.
    ///
    /// # Errors
    /// When a listener cannot be used.
    pub(crate) fn new(
        listeners: Vec<(StdListener, Entrance)>,
        lanes: Vec<Lane>,
        stop: CancellationToken,
    ) -> io::Result<Self> {
        for (listener, _) in &listeners {
            listener.set_nonblocking(true)?;
            // What connections inherit need not be said for each.
            #[cfg(target_os = "linux")]
            tune(&SockRef::from(listener))?;
        }
        Ok(Self { listeners, lanes, stop })
    }

    /// Begins, on the thread of `shard`.
    ///
    /// # Errors
    /// When the system does not tell of new connections.
    pub(crate) fn start(self, shard: &Rc<Shard>) -> io::Result<()> {
        let lanes: Rc<[Lane]> = self.lanes.into();
        for (listener, entrance) in self.listeners {
            let accepting = accept(Rc::clone(shard), TcpListener::from_std(listener)?, entrance, Rc::clone(&lanes));
            tokio::task::spawn_local(self.stop.clone().run_until_cancelled_owned(accepting));
        }
        Ok(())
    }
}

async fn accept(shard: Rc<Shard>, listener: TcpListener, entrance: Entrance, lanes: Rc<[Lane]>) {
    let mut turn = 0;
    let mut trouble = Trouble::default();
    loop {
        let accepted = listener.accept().await;
        #[cfg(not(target_os = "linux"))]
        let accepted = accepted.and_then(|(stream, peer)| tune(&SockRef::from(&stream)).map(|()| (stream, peer)));
        match accepted {
            Ok((stream, peer)) => {
                trouble.end();
                turn += 1;
                let lane = least_loaded(&lanes, turn);
                if lane == usize::from(shard.id) {
                    shard.spawn(serve(Rc::clone(&shard), stream, peer, entrance));
                } else if let Ok(stream) = stream.into_std() {
                    let _ = lanes[lane].peer.send(Letter::Connection(stream, peer, entrance));
                }
                shard.give_way(ACCEPTING).await;
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                shard.metrics.accept_failed(clock::steady_nanos());
                trouble.note(&error);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// What keeps the server from accepting connections, as far as the log is concerned.
#[derive(Debug, Default)]
struct Trouble {
    /// When the log was last told.
    told: Option<Instant>,
    /// It knows of what goes on now.
    known: bool,
    /// Attempts since it was told.
    failed: u64,
}

impl Trouble {
    fn note(&mut self, error: &io::Error) {
        self.failed += 1;
        if self.told.is_none_or(|told| told.elapsed() >= SILENCE) {
            event::accept_failed(error, self.failed);
            *self = Self { told: Some(Instant::now()), known: true, failed: 0 };
        }
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.known) {
            event::accept_resumed();
        }
    }
}

/// Bytes that the kernel takes of a connection before it has sent them. More would wait there than the lanes of an outbox
/// can put in order, where the way to a client is slow; less would have a fast one's connection wait for the next turn.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 64 << 10;

/// What every connection needs of its socket.
fn tune(socket: &SockRef<'_>) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        socket.set_tcp_user_timeout(Some(UNREAD_TIMEOUT))?;
        // What waits in the kernel cannot be overtaken any more.
        socket.set_tcp_notsent_lowat(UNSENT)?;
    }
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
