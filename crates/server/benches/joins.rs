//! Joins and leaves per CPU-second: one client of an ordinary server in this process says `subscribe` and `unsubscribe`,
//! as fast as it can, to an app with a rule of a common shape. What counts is the CPU of the shard's thread, and it does
//! everything for that: frames, packets, the app's rule, its policy, the channel's registry, the answer.
//!
//! `cargo bench -p oyez-server --bench joins` prints one line of JSON per round, and last the median:
//! `{"joins":…,"leaves":…,"cpu_ns":…}`. Without `--bench` (as `cargo test --benches` runs it) one short round is enough.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, fs, io};

use mimalloc::MiMalloc;
use oyez_hub::policy::token::mint;
use oyez_protocol::websocket::frame::{self, Opcode};
use oyez_server::config::{self, Inputs};
use oyez_server::{CancellationToken, Server, assemble};
use serde_json::json;
use tokio::runtime::Runtime;

/// The allocator of the program `oyez`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

type Failure = Box<dyn Error + Send + Sync>;

const SECRET: &str = "a-secret-for-benchmarks-0123456789";

const APP: &str = r#"
[server]
listen = ["127.0.0.1:0"]

[app.plant]
origins = ["http://localhost"]

[app.plant.auth]
from = "auth.token"

[app.plant.auth.jwt]
algorithms = ["HS256"]
secret     = { env = "JWT_SECRET" }

[app.plant.identity]
user       = "string(claims.sub)"
roles      = "claims.roles"
attributes = { sites = "claims.sites" }

[[app.plant.channel]]
name      = "site:{siteId}"
subscribe = "'admin' in user.roles || siteId in user.sites"

[[app.plant.on]]
event = "subscribe:site"
join  = "site:{data.siteId}"
reply = { event = "subscribed", data = "{'siteId': data.siteId}" }

[[app.plant.on]]
event = "unsubscribe:site"
leave = "site:{data.siteId}"
reply = { event = "unsubscribed", data = "{'siteId': data.siteId}" }

[app.plant.limits]
events_per_second    = "none"
channels_per_session = 1000
"#;

/// Joins that are said in one breath, and then as many leaves.
const BREATH: usize = 500;

fn main() -> Result<(), Failure> {
    let rounds = if env::args().any(|argument| argument == "--bench") { 7 } else { 1 };
    let breaths = if rounds > 1 { 400 } else { 2 };
    let runtime = Runtime::new()?;
    let guard = runtime.enter();
    let inputs = Inputs { env: &|_| Some(SECRET.to_owned()), file: &|name| Err(name.to_owned()), dev: false };
    let config = config::load("joins.toml", APP, inputs).map_err(|problems| problems.to_string())?;
    let (apps, settings) = assemble::apps(&config, None)?;
    let server = Server::new(apps, settings, 1, runtime.handle().clone());
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let stop = CancellationToken::new();
    let serving = runtime.spawn(server.serve(listener, stop.clone()));
    drop(guard);

    let mut client = Client::connect(address)?;
    let (joins, leaves) = (breath("subscribe:site"), breath("unsubscribe:site"));
    client.join_and_leave(&joins, &leaves)?;
    let mut samples = Vec::new();
    for _ in 0..rounds {
        let before = shard_cpu()?;
        for _ in 0..breaths {
            client.join_and_leave(&joins, &leaves)?;
        }
        let cpu = shard_cpu()? - before;
        say(&line(breaths, cpu))?;
        samples.push(cpu);
    }
    samples.sort_unstable();
    say(&line(breaths, samples[samples.len() / 2]))?;
    stop.cancel();
    runtime.block_on(serving)??;
    Ok(())
}

fn line(breaths: usize, cpu: Duration) -> serde_json::Value {
    let count = breaths * BREATH;
    let per_second = (2 * count) as f64 / cpu.as_secs_f64();
    let nanos = u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX);
    json!({ "joins": count, "leaves": count, "cpu_ns": nanos, "per_cpu_second": per_second.round() })
}

fn say(line: &serde_json::Value) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

/// The frames of one event for each of [`BREATH`] channels.
fn breath(event: &str) -> Vec<u8> {
    let said = (0..BREATH).map(|site| format!("42{}", json!([event, { "siteId": format!("{site}") }])));
    said.flat_map(|text| masked(&text)).collect()
}

/// A client's frame. A mask of zeros is one as good as any.
fn masked(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::append(&mut bytes, Opcode::Text, false, text.as_bytes());
    let head = bytes.len() - text.len();
    bytes[1] |= 0x80;
    bytes.splice(head..head, [0; 4]);
    bytes
}

/// One Socket.IO client, which understands no more than it needs.
struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream, unread: Vec::new() };
        client.stream.write_all(
            format!(
                "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\n\
                 Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            .as_bytes(),
        )?;
        while !client.unread.ends_with(b"}") {
            client.read()?;
        }
        client.unread.clear();
        let expires = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() + 3600;
        let claims = json!({ "sub": "1", "roles": ["admin"], "sites": ["1", "2"], "exp": expires });
        let token = mint(SECRET.as_bytes(), claims.as_object().ok_or("claims")?)?;
        client.stream.write_all(&masked(&format!("40{}", json!({ "token": token }))))?;
        client.hear(1, "40")?;
        Ok(client)
    }

    /// Says it, and waits each time until every event is answered.
    fn join_and_leave(&mut self, joins: &[u8], leaves: &[u8]) -> io::Result<()> {
        self.stream.write_all(joins)?;
        self.hear(BREATH, r#"42["subscribed""#)?;
        self.stream.write_all(leaves)?;
        self.hear(BREATH, r#"42["unsubscribed""#)
    }

    fn read(&mut self) -> io::Result<()> {
        let mut bytes = [0; 16 * 1024];
        let count = self.stream.read(&mut bytes)?;
        self.unread.extend_from_slice(&bytes[..count]);
        if count == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Waits for so many short messages of this kind.
    fn hear(&mut self, mut count: usize, kind: &str) -> io::Result<()> {
        while count > 0 {
            let mut rest = &self.unread[..];
            while let [_, length, message @ ..] = rest
                && message.len() >= usize::from(*length)
            {
                assert!(*length < 126, "an answer is short");
                let (message, after) = message.split_at(usize::from(*length));
                rest = after;
                if message == b"2" {
                    self.stream.write_all(&masked("3"))?;
                } else {
                    assert!(message.starts_with(kind.as_bytes()), "{}", String::from_utf8_lossy(message));
                    count -= 1;
                }
            }
            self.unread = rest.to_vec();
            if count > 0 {
                self.read()?;
            }
        }
        Ok(())
    }
}

/// What the thread of the only shard has used so far, by the kernel's account.
fn shard_cpu() -> Result<Duration, Failure> {
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if fs::read_to_string(task.join("comm"))?.trim() == "shard-0" {
            let account = fs::read_to_string(task.join("schedstat"))?;
            let nanos = account.split_whitespace().next().ok_or("an empty account")?;
            return Ok(Duration::from_nanos(nanos.parse()?));
        }
    }
    Err("there is no shard".into())
}
