//! `cargo bench -p oyez-backends --bench store [-- WHAT…]`: the figures of docs/store.md. WHAT: `publish`, `shared` (a
//! Redis), `inbox`, `growth`, `million` (takes minutes and 5 GB of disk; only when named). For other tools: `step bare|hub PUBLISHES`, rounds on
//! demand; `fill DIR USERS EACH`, a data directory of an app `bench` for `oyez serve`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark may: it prints, and a panic is its failure")]

mod bare;
mod growth;
mod hub;
mod inbox;
mod publish;
mod shared;
mod steps;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::UNIX_EPOCH;

use oyez_backends::embedded::{Embedded, EmbeddedStore, Options};
use oyez_hub::command::Level;
use oyez_hub::store::{Bound, Put, Settings, Store, Target, conformance};
use tokio::runtime::Handle;

/// The allocator of the program `oyez`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// When everything happens.
const NOW: u64 = 1_700_000_000_000;

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let words: Vec<&str> = asked.iter().map(String::as_str).collect();
    let wanted = |what: &str| asked.iter().any(|word| word == what) || (asked.is_empty() && what != "million");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        match words[..] {
            ["step", what, publishes] => return steps::run(what, publishes.parse().unwrap()).await,
            ["fill", dir, users, each] => {
                let (users, each) = (users.parse().unwrap(), each.parse().unwrap());
                let now = UNIX_EPOCH.elapsed().unwrap().as_millis().try_into().unwrap();
                return fill_from(&open(Path::new(dir)), 0, users, each, now).await;
            }
            _ => {}
        }
        if wanted("publish") {
            publish::run().await;
        }
        if wanted("shared") {
            shared::run().await;
        }
        if wanted("inbox") {
            inbox::large().await;
        }
        if wanted("growth") {
            growth::run().await;
        }
        if wanted("million") {
            inbox::million().await;
        }
    });
}

fn open(dir: &Path) -> Arc<EmbeddedStore> {
    Arc::new(Embedded::store(dir, Options::default(), Settings::default(), Handle::current()).unwrap())
}

/// A message of 200 bytes for one user, whose id was made for it.
fn put(id: &str, user: &str, level: Level) -> Put {
    let mut message = conformance::message(id);
    let length = 200_usize.saturating_sub(id.len());
    message.args = conformance::payload(&format!("{id:x<length$}"));
    let bound = Bound { most: 1_000_000, ..Bound::default() };
    Put {
        app: "bench".into(),
        message,
        fresh: true,
        to: vec![Target::User(user.into())],
        deliver_at: None,
        bound,
        level,
    }
}

/// Many messages, quickly: 256 at a time.
async fn fill(store: &Arc<EmbeddedStore>, users: usize, each: usize) {
    fill_from(store, 0, users, each, NOW).await;
}

/// The same, counting from `first`.
async fn fill_from(store: &Arc<EmbeddedStore>, first: usize, users: usize, each: usize, now: u64) {
    let next = Arc::new(AtomicUsize::new(first));
    let fillers: Vec<_> = (0..256)
        .map(|_| {
            let (store, next) = (Arc::clone(store), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= first + users * each {
                        return;
                    }
                    let user = format!("user-{}", number % users);
                    store.put(put(&format!("message-{number}"), &user, Level::Stored), now).await.unwrap();
                }
            })
        })
        .collect();
    for filler in fillers {
        filler.await.unwrap();
    }
}

/// Bytes of a directory on the disk.
fn on_disk(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => on_disk(&entry.path()),
            Ok(found) => found.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

/// Resident memory of this process in MB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1_024
}

/// Seconds of CPU that this process has used.
fn cpu() -> f64 {
    cpu_of("self")
}

/// The same of another process.
fn cpu_of(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    ticks / 100.0
}
