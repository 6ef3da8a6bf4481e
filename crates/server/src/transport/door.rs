//! The door for other nodes of the cluster: who comes in by it speaks for clients, and shows first that it belongs here.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::announced;
use crate::forwarders::Remote;
use crate::shard::Shard;
use crate::shard::deadline::in_time;

/// A connection between nodes on which nothing is said is looked after so often.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// How long the other node's machine may leave unacknowledged what was sent to it.
#[cfg(target_os = "linux")]
const UNREAD: Duration = Duration::from_secs(5);

/// Has the system end a connection between nodes when the network between them fails without a word.
///
/// # Errors
/// The system does not do it.
pub(crate) fn watch(tcp: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(tcp);
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNREAD))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE))
}

/// Lets a node in that shows the secret of this one, by then, and gives for whom it speaks.
///
/// # Errors
/// It shows another one, or does not say for whom it speaks.
pub(crate) async fn enter(
    shard: &Shard,
    tcp: &mut TcpStream,
    node: SocketAddr,
    deadline: Instant,
) -> io::Result<Remote> {
    watch(tcp)?;
    let mut shown = [0; 32];
    in_time(deadline, tcp.read_exact(&mut shown)).await?;
    if !shard.hub.cluster().is_some_and(|cluster| cluster.is_opened_by(&shown)) {
        return Err(ErrorKind::PermissionDenied.into());
    }
    announced::hear(shard, tcp, node, deadline).await
}
