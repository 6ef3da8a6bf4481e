//! Durable publishes into a Redis on this machine, in turns with the embedded store on the same disk.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use oyez_backends::redis::store::{Options, RedisStore};
use oyez_hub::command::Level;
use oyez_hub::store::{Owner, Put, Settings, State, Store, Target, Which};
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::publish::{Limit, Turn, rate};
use crate::{NOW, cpu_of, open, put};

const TURN: Duration = Duration::from_secs(3);
const TURNS: usize = 3;

/// A Redis that ends with this.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn redis(dir: &Path) -> (Server, String) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
    command.args(["--appendfsync", "always"]).arg("--dir").arg(dir).stdout(Stdio::null());
    (Server(command.spawn().expect("redis-server, as Debian has it")), format!("redis://127.0.0.1:{port}"))
}

async fn turn(store: &Arc<dyn Store>, name: String, publishers: usize, level: Level) -> Turn {
    let store = Arc::clone(store);
    rate(publishers, Limit::Time(TURN), move |publisher, number| {
        let (store, id) = (Arc::clone(&store), format!("{name}-{publisher}-{number}"));
        async move {
            let user = format!("user-{}", (publisher * 31 + number) % 10_000);
            let stored = store.put(put(&id, &user, level), NOW).await.unwrap();
            assert!(stored.level >= level, "{stored:?}");
        }
    })
    .await
}

pub(crate) async fn run() {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (server, url) = redis(dir.path());
    let shared = RedisStore::start(Options::new(&url).unwrap(), Settings::default(), &Handle::current());
    while shared.begun().await.is_err() {
        tokio::task::yield_now().await;
    }
    let stores: [(&str, Arc<dyn Store>); 2] =
        [("embedded", open(&dir.path().join("store"))), ("Redis", Arc::new(shared))];
    for (publishers, level) in [(64, Level::Synced), (512, Level::Synced), (64, Level::Stored), (512, Level::Stored)] {
        if level == Level::Stored {
            let port = url.rsplit(':').next().unwrap();
            let asked = ["-p", port, "config", "set", "appendfsync", "everysec"];
            assert!(Command::new("redis-cli").args(asked).stdout(Stdio::null()).status().unwrap().success());
        }
        println!("{level:?} publishes, {publishers} publishers, 200 bytes, median of {TURNS} turns of {TURN:?} each:");
        let mut turns = [Vec::new(), Vec::new()];
        for number in 0..TURNS {
            for (turns, (name, store)) in turns.iter_mut().zip(&stores) {
                let before = cpu_of(&server.0.id().to_string());
                let turn = turn(store, format!("{publishers}{level:?}{name}{number}"), publishers, level).await;
                let beside = (cpu_of(&server.0.id().to_string()) - before) * 1e6 / turn.times.len() as f64;
                turns.push((turn, beside));
            }
        }
        for (mut turns, (name, _)) in turns.into_iter().zip(&stores) {
            turns.sort_by(|one, other| one.0.rate().total_cmp(&other.0.rate()));
            let (turn, beside) = &turns[TURNS / 2];
            let at = |percent: usize| turn.times[turn.times.len() * percent / 100];
            let (rate, p50, p99, own) = (turn.rate(), at(50), at(99), turn.cpu);
            println!(
                "  {name:9} {rate:>7.0}/s  p50 {p50:.1?}  p99 {p99:.1?}  {own:.1} µs of CPU each, and {beside:.1} µs of Redis"
            );
        }
    }
    let held = stores[1].1.stats(NOW).await.unwrap();
    println!("Redis: {} MB for {} messages", held.bytes >> 20, held.records / 2);
    pages(&stores).await;
}

/// The first page of a large inbox, and how much of it is unread.
async fn pages(stores: &[(&str, Arc<dyn Store>)]) {
    for (name, store) in stores {
        for number in 0..10_000 {
            store.put(put(&format!("large-{number}"), "large", Level::Stored), NOW).await.unwrap();
        }
        let of = Owner::new("bench", "large");
        let (mut first, mut counted) = (Vec::new(), Vec::new());
        for _ in 0..50 {
            let began = std::time::Instant::now();
            assert_eq!(store.pending(&of, None, 100, NOW).await.unwrap().items.len(), 100);
            first.push(began.elapsed());
            let began = std::time::Instant::now();
            assert_eq!(store.unread(&of, NOW).await.unwrap(), 10_000);
            counted.push(began.elapsed());
        }
        first.sort_unstable();
        counted.sort_unstable();
        println!("{name}: inbox of 10,000: first page of 100 {:.2?}, counted {:.2?} (medians)", first[25], counted[25]);
        let began = std::time::Instant::now();
        assert!(store.mark(&of, Which::All, State::Read, NOW).await.unwrap().more);
        let marked = began.elapsed();
        let to = (0..10_000).map(|number| Target::User(format!("user-{number}").into())).collect();
        let began = std::time::Instant::now();
        store.put(Put { to, ..put("wide", "", Level::Stored) }, NOW).await.unwrap();
        println!("{name}: 1,000 of them marked {marked:.1?}; one message for 10,000 users {:.1?}", began.elapsed());
    }
}
