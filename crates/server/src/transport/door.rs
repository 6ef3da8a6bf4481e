//! The door for other nodes of the cluster: who comes in by it speaks for clients, and shows first that it belongs here.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::announced;
use crate::forwarders::Remote;
use crate::shard::Shard;
use crate::shard::deadline::in_time;

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
    let mut shown = [0; 32];
    in_time(deadline, tcp.read_exact(&mut shown)).await?;
    if !shard.hub.cluster().is_some_and(|cluster| cluster.is_opened_by(&shown)) {
        return Err(ErrorKind::PermissionDenied.into());
    }
    announced::hear(shard, tcp, node, deadline).await
}
