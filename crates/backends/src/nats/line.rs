//! One connection to NATS: whoever has its lane writes, whoever has the line reads.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use super::fault::Wrong;
use super::servers::{Login, Place, Servers};
use super::wire::{self, Garbled, Info, Message, Word};

/// How long a server may take to let us in, or to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// Orders that wait to be written; who has more waits.
const ORDERS: usize = 1_024;

/// Orders that are written together.
const TOGETHER: usize = 64;

/// Room for what is received, of which messages are slices: a new one is made when so much is left of it, so that a message
/// that is kept keeps hardly more than what came with it.
const READ: (usize, usize) = (64 << 10, 4 << 10);

/// A server that is asked this often and says nothing is gone.
const ASKED: u32 = 3;

const PING: &[u8] = b"PING\r\n";

const PONG: &[u8] = b"PONG\r\n";

/// What can be read from and written to.
trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

type Stream = Box<dyn Socket>;

/// Who waits for the answers to the pings that were sent, in their order.
type Pongs = Arc<Mutex<VecDeque<Vec<oneshot::Sender<()>>>>>;

/// Something to write.
struct Order {
    bytes: Vec<u8>,
    /// Who wants to know when the server has it.
    known: Option<oneshot::Sender<()>>,
}

/// The way to the server; clones are the same.
#[derive(Clone)]
pub(super) struct Lane {
    orders: mpsc::Sender<Order>,
    /// What the server says of itself.
    pub(super) info: Arc<Info>,
}

impl Lane {
    /// Has these words written, after what was told before.
    pub(super) async fn tell(&self, bytes: Vec<u8>) -> Result<(), Wrong> {
        self.orders.send(Order { bytes, known: None }).await.map_err(|_| Wrong::Ended)
    }

    /// The same; returns when the server has them, and all before.
    pub(super) async fn confirm(&self, bytes: Vec<u8>) -> Result<(), Wrong> {
        let (known, answer) = oneshot::channel();
        let told = async {
            self.orders.send(Order { bytes, known: Some(known) }).await.map_err(|_| Wrong::Ended)?;
            answer.await.map_err(|_| Wrong::Ended)
        };
        timeout(PATIENCE, told).await.unwrap_or(Err(Wrong::Silent))
    }
}

/// The way from it. The connection ends with it.
pub(super) struct Line {
    stream: ReadHalf<Stream>,
    received: BytesMut,
    pongs: Pongs,
    pub(super) lane: Lane,
    writer: AbortHandle,
    ping: Interval,
    /// How often the server was asked whether it is there since anything was heard of it.
    asked: u32,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.writer.abort();
    }
}

/// How we introduce ourselves.
#[derive(Serialize)]
struct Hello<'a> {
    name: &'a str,
    lang: &'static str,
    version: &'static str,
    verbose: bool,
    pedantic: bool,
    protocol: u8,
    headers: bool,
    no_responders: bool,
    tls_required: bool,
    #[serde(flatten)]
    login: &'a Login,
}

impl Line {
    /// A connection to any of the servers, which is asked so often whether it is there.
    pub(super) async fn open(servers: &Servers, name: &str, every: Duration) -> Result<Self, Wrong> {
        let mut wrong = Wrong::Ended;
        for place in servers.in_turn() {
            match timeout(PATIENCE, Self::open_at(place, servers, name, every)).await {
                Ok(Ok(line)) => return Ok(line),
                // What one of them said explains more than that another is not there.
                _ if matches!(wrong, Wrong::Said(_)) => {}
                Ok(Err(error)) => wrong = error,
                Err(_) => wrong = Wrong::Silent,
            }
        }
        Err(wrong)
    }

    async fn open_at(place: &Place, servers: &Servers, name: &str, every: Duration) -> Result<Self, Wrong> {
        let socket = TcpStream::connect((place.host.as_str(), place.port)).await?;
        socket.set_nodelay(true)?;
        let (mut stream, mut received): (Stream, _) = (Box::new(socket), BytesMut::new());
        let Word::Info(info) = word(&mut stream, &mut received).await? else {
            return Err(Garbled("it does not begin with INFO").into());
        };
        let tls = place.tls || info.tls_required;
        if tls {
            stream = encrypted(stream, &received, place, servers, &info).await?;
        }
        let (lang, version) = ("rust", env!("CARGO_PKG_VERSION"));
        let (headers, no_responders, login) = (true, true, &place.login);
        let hello = Hello {
            name,
            lang,
            version,
            verbose: false,
            pedantic: false,
            protocol: 1,
            headers,
            no_responders,
            tls_required: tls,
            login,
        };
        let mut bytes = Vec::new();
        wire::connect(&mut bytes, &serde_json::to_string(&hello).map_err(std::io::Error::other)?);
        bytes.extend_from_slice(PING);
        stream.write_all(&bytes).await?;
        stream.flush().await?;
        loop {
            match word(&mut stream, &mut received).await? {
                Word::Pong => break,
                Word::Wrong(said) => return Err(Wrong::Said(said)),
                _ => {}
            }
        }
        Ok(Self::of(stream, received, info, every))
    }

    fn of(stream: Stream, received: BytesMut, info: Info, every: Duration) -> Self {
        let (stream, out) = tokio::io::split(stream);
        let (orders, queue) = mpsc::channel(ORDERS);
        let pongs = Pongs::default();
        let writer = tokio::spawn(write(out, queue, Arc::clone(&pongs))).abort_handle();
        let mut ping = interval(every);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let lane = Lane { orders, info: Arc::new(info) };
        Self { stream, received, pongs, lane, writer, ping, asked: 0 }
    }

    /// The next message. Who drops this future loses none.
    pub(super) async fn next(&mut self) -> Result<Message, Wrong> {
        loop {
            match wire::read(&mut self.received)? {
                Some(Word::Message(message)) => return Ok(message),
                Some(Word::Wrong(said)) => return Err(Wrong::Said(said)),
                Some(Word::Ping) => self.mutter(PONG, None),
                Some(Word::Pong) => {
                    let known = self.pongs.lock().pop_front();
                    known.into_iter().flatten().for_each(|known| _ = known.send(()));
                }
                Some(Word::Info(_) | Word::Fine) => {}
                None => self.receive().await?,
            }
        }
    }

    async fn receive(&mut self) -> Result<(), Wrong> {
        make_room(&mut self.received);
        loop {
            tokio::select! {
                biased;
                read = self.stream.read_buf(&mut self.received) => {
                    self.asked = 0;
                    return if read? == 0 { Err(Wrong::Ended) } else { Ok(()) };
                }
                _ = self.ping.tick() => {
                    if self.asked == ASKED {
                        return Err(Wrong::Silent);
                    }
                    self.asked += 1;
                    self.mutter(b"", Some(oneshot::channel().0));
                }
            }
        }
    }

    /// Says something that matters only while nothing else waits to be written.
    fn mutter(&self, bytes: &[u8], known: Option<oneshot::Sender<()>>) {
        let _ = self.lane.orders.try_send(Order { bytes: bytes.to_vec(), known });
    }

    /// Has messages taken as they come until something is done.
    pub(super) async fn until<T>(
        &mut self,
        done: impl Future<Output = T>,
        mut take: impl FnMut(Message),
    ) -> Result<T, Wrong> {
        tokio::pin!(done);
        loop {
            tokio::select! {
                done = &mut done => return Ok(done),
                message = self.next() => take(message?),
            }
        }
    }
}

fn make_room(received: &mut BytesMut) {
    if received.capacity() - received.len() < READ.1 {
        received.reserve(READ.0);
    }
}

/// The next word, at a time when each is waited for.
async fn word(stream: &mut Stream, received: &mut BytesMut) -> Result<Word, Wrong> {
    loop {
        if let Some(word) = wire::read(received)? {
            return Ok(word);
        }
        make_room(received);
        if stream.read_buf(received).await? == 0 {
            return Err(Wrong::Ended);
        }
    }
}

/// The same connection in TLS.
async fn encrypted(
    stream: Stream,
    received: &BytesMut,
    place: &Place,
    servers: &Servers,
    info: &Info,
) -> Result<Stream, Wrong> {
    if !info.tls_required && !info.tls_available {
        return Err(Wrong::Said(format!("{place} speaks no TLS")));
    }
    // Somebody on the way would have us take it for something that was said in TLS.
    if !received.is_empty() {
        return Err(Garbled("it talks before TLS has begun").into());
    }
    let connector = servers.tls().map_err(std::io::Error::other)?;
    let name = ServerName::try_from(place.host.clone()).map_err(std::io::Error::other)?;
    Ok(Box::new(connector.connect(name, stream).await?))
}

/// Writes what is ordered until nobody orders anything any more, or it cannot be written, which the reader notices.
async fn write(mut out: WriteHalf<Stream>, mut queue: mpsc::Receiver<Order>, pongs: Pongs) {
    let mut orders = Vec::new();
    while queue.recv_many(&mut orders, TOGETHER).await > 0 {
        let (mut bytes, mut known) = (Vec::new(), Vec::new());
        for order in orders.drain(..) {
            if bytes.is_empty() {
                bytes = order.bytes;
            } else {
                bytes.extend_from_slice(&order.bytes);
            }
            known.extend(order.known);
        }
        if !known.is_empty() {
            pongs.lock().push_back(known);
            bytes.extend_from_slice(PING);
        }
        if out.write_all(&bytes).await.is_err() || out.flush().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What becomes of a connection to a server that says this and then listens.
    async fn opened(says: &str) -> Result<Line, Wrong> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let says = says.to_owned();
        tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.expect("somebody comes");
            socket.write_all(says.as_bytes()).await.expect("it is said");
            let _ = tokio::io::copy(&mut socket, &mut tokio::io::sink()).await;
        });
        let servers = Servers::new(&format!("nats://127.0.0.1:{port}"), None).expect("servers");
        Line::open(&servers, "test", Duration::from_secs(1)).await
    }

    #[tokio::test]
    async fn only_a_server_that_lets_us_in_is_one() {
        let line = opened("INFO {\"max_payload\":7}\r\n+OK\r\nPONG\r\nMSG a 1 0\r\n\r\n").await;
        let Ok(mut line) = line else { panic!("no connection") };
        assert_eq!((line.lane.info.max_payload, line.next().await.expect("a message").id), (7, 1));
        let wrong = async |says| opened(says).await.err().expect("no connection");
        assert!(matches!(wrong("HTTP/1.1 400 Bad Request\r\n").await, Wrong::Garbled(_)));
        assert!(matches!(wrong("PING\r\n").await, Wrong::Garbled(_)));
        assert!(matches!(wrong("INFO {}\r\n-ERR 'no'\r\n").await, Wrong::Said(said) if said == "no"));
    }

    #[tokio::test]
    async fn what_is_said_before_tls_is_not_believed() {
        let wrong = opened("INFO {\"tls_required\":true}\r\nPONG\r\n").await.err();
        assert!(matches!(wrong, Some(Wrong::Garbled(_))), "{wrong:?}");
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_no_server() {
        assert!(matches!(opened("INFO {}\r\n").await.err(), Some(Wrong::Silent)));
    }

    #[tokio::test]
    async fn who_waits_for_an_answer_is_told_when_there_will_be_none() {
        let Ok(line) = opened("INFO {}\r\nPONG\r\n").await else { panic!("no connection") };
        let lane = line.lane.clone();
        let (confirmed, ()) = tokio::join!(lane.confirm(b"x".to_vec()), async { drop(line) });
        assert!(matches!(confirmed, Err(Wrong::Ended)));
        assert!(matches!(lane.tell(Vec::new()).await, Err(Wrong::Ended)));
    }
}
