//! Requests for sessions that live on another node: sent on to its door, with the client's address before them, so that no
//! load balancer has to know who belongs where.

use std::rc::Rc;
use std::time::Duration;

use axum::body::Body;
use http::header::{CONNECTION, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use oyez_hub::address::Address;
use oyez_hub::cluster::Door;
use tokio::io::{AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::forwarders::Remote;
use crate::shard::Shard;
use crate::transport::door;

/// How long another node may take to accept a connection. One that is gone is soon forgotten; until then its clients wait so
/// long, and begin anew.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a request was not answered by the node that owns its session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotPassedOn {
    #[error("it cannot be reached: {0}")]
    Unreached(#[from] std::io::Error),
    #[error("it does not answer in time")]
    Silent,
    #[error("it does not answer: {0}")]
    Broken(#[from] hyper::Error),
    #[error("it is not heard any more")]
    Lost,
}

/// The session of a request, and the door of the node that owns it, if that is another one that is there.
pub(crate) async fn owner(shard: &Shard, sid: Option<&str>) -> Option<(Address, Door)> {
    let session = sid?.parse::<Address>().ok()?;
    let hub = &shard.hub;
    // A number that this node had is another one's now.
    if session.node == hub.node() || (hub.is_home(session.node) && shard.has_session(session).await) {
        return None;
    }
    Some((session, hub.cluster()?.door_of(session.node).await?))
}

/// Has the owner answer. Dropping the future tells the owner that the client has gone.
///
/// # Errors
/// [`NotPassedOn`]: then nobody knows the session, as far as the client is concerned.
pub(crate) async fn pass_on(
    shard: &Rc<Shard>,
    mut request: Request<Incoming>,
    remote: Remote,
    (session, door): (Address, Door),
) -> Result<Response<Body>, NotPassedOn> {
    let tcp = timeout(PATIENCE, connect(&door, remote)).await.map_err(|_| NotPassedOn::Silent)??;
    let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await?;
    tokio::task::spawn_local(async move {
        // How it ends is told by the answer.
        let _ = connection.with_upgrades().await;
    });
    let client = hyper::upgrade::on(&mut request);
    let is_upgrade = request.headers().contains_key(http::header::UPGRADE);
    if !is_upgrade {
        request.headers_mut().remove(CONNECTION);
    }
    let mut response = answer(shard, session, sender.send_request(request)).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let owner = hyper::upgrade::on(&mut response);
        let splice = async move {
            let (Ok(client), Ok(owner)) = tokio::join!(client, owner) else { return };
            let _ = copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(owner)).await;
        };
        tokio::task::spawn_local(shard.stop.clone().run_until_cancelled_owned(splice));
    } else {
        // They are about that connection, not about this one.
        response.headers_mut().remove(CONNECTION);
        response.headers_mut().remove(TRANSFER_ENCODING);
    }
    Ok(response.map(Body::new))
}

/// What the owner of a session answers, as long as it is heard: one that stands still does not keep clients waiting.
async fn answer<T>(
    shard: &Shard,
    session: Address,
    answer: impl Future<Output = hyper::Result<T>>,
) -> Result<T, NotPassedOn> {
    let cluster = shard.hub.cluster().ok_or(NotPassedOn::Lost)?;
    tokio::pin!(answer);
    let answered = async {
        tokio::select! {
            answer = &mut answer => return answer,
            // Its client asks again, and comes to another node.
            () = shard.stop.cancelled() => cluster.release(session),
        }
        answer.await
    };
    tokio::select! {
        biased;
        answer = answered => Ok(answer?),
        () = cluster.loses(session.node) => Err(NotPassedOn::Lost),
    }
}

/// A connection to another node that speaks for a client.
async fn connect(door: &Door, remote: Remote) -> std::io::Result<TcpStream> {
    let mut tcp = TcpStream::connect(door.address).await?;
    tcp.set_nodelay(true)?;
    door::watch(&tcp)?;
    let family = if remote.address.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (remote.address, if remote.address.is_ipv4() { "0.0.0.0" } else { "::" });
    let header = format!("PROXY {family} {} {to} {} 0\r\n", from.ip(), from.port());
    let mut hello = door.secret.to_vec();
    hello.extend_from_slice(header.as_bytes());
    tcp.write_all(&hello).await?;
    Ok(tcp)
}
