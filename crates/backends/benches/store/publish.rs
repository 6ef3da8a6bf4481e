//! Durable publishes with `fdatasync` before each answer, from 64 publishers, against the bare engine in turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use oyez_hub::command::Level;
use oyez_hub::store::Store;
use tempfile::TempDir;

use crate::bare::Bare;
use crate::{NOW, open, put};

pub(crate) const PUBLISHERS: usize = 64;
const TURN: Duration = Duration::from_secs(3);
const TURNS: usize = 5;

pub(crate) async fn run() {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let bare = Bare::open(&dir.path().join("bare"));
    let store = open(&dir.path().join("store"));
    let (mut engine, mut ours) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        let one = bare.clone();
        engine.push(
            rate(PUBLISHERS, Limit::Time(TURN), move |publisher, number| {
                let bare = one.clone();
                async move { bare.put(format!("{turn}-{publisher}-{number}")).await }
            })
            .await,
        );
        let one = Arc::clone(&store);
        ours.push(
            rate(PUBLISHERS, Limit::Time(TURN), move |publisher, number| {
                let store = Arc::clone(&one);
                async move {
                    let user = format!("user-{}", (publisher * 31 + number) % 10_000);
                    let put = put(&format!("{turn}-{publisher}-{number}"), &user, Level::Synced);
                    assert_eq!(store.put(put, NOW).await.unwrap().level, Level::Synced);
                }
            })
            .await,
        );
    }
    engine.sort_unstable_by(|a: &Turn, b: &Turn| a.rate().total_cmp(&b.rate()));
    ours.sort_unstable_by(|a: &Turn, b: &Turn| a.rate().total_cmp(&b.rate()));
    let (engine, ours) = (&engine[TURNS / 2], &ours[TURNS / 2]);
    println!("synced publishes, {PUBLISHERS} publishers, 200 bytes, median of {TURNS} turns of {TURN:?} each:");
    for (name, turn) in [("bare engine", engine), ("store", ours)] {
        let at = |percent: usize| turn.times[turn.times.len() * percent / 100];
        let (rate, p50, p99, cpu) = (turn.rate(), at(50), at(99), turn.cpu);
        println!("  {name:12} {rate:>7.0}/s  p50 {p50:.0?}  p99 {p99:.0?}  {cpu:.1} µs of CPU each");
    }
    println!("  ratio        {:.2}", ours.rate() / engine.rate());
}

/// How much a turn is.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    Time(Duration),
    Publishes(usize),
}

/// What a turn came to.
pub(crate) struct Turn {
    /// From question to answer, the shortest first.
    pub(crate) times: Vec<Duration>,
    pub(crate) took: Duration,
    /// Microseconds of the whole process for each message.
    pub(crate) cpu: f64,
}

impl Turn {
    /// Messages a second.
    pub(crate) fn rate(&self) -> f64 {
        self.times.len() as f64 / self.took.as_secs_f64()
    }
}

/// A turn: each publisher waits for its answer before it publishes again.
pub(crate) async fn rate<F: Future<Output = ()> + Send>(
    publishers: usize,
    limit: Limit,
    publish: impl Fn(usize, usize) -> F + Clone + Send + 'static,
) -> Turn {
    let (began, before) = (Instant::now(), crate::cpu());
    let begun = Arc::new(AtomicUsize::new(0));
    let publishers: Vec<_> = (0..publishers)
        .map(|publisher| {
            let (publish, begun) = (publish.clone(), Arc::clone(&begun));
            tokio::spawn(async move {
                let mut times = Vec::new();
                while match limit {
                    Limit::Time(time) => began.elapsed() < time,
                    Limit::Publishes(most) => begun.fetch_add(1, Ordering::Relaxed) < most,
                } {
                    let asked = Instant::now();
                    publish(publisher, times.len()).await;
                    times.push(asked.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for publisher in publishers {
        times.extend(publisher.await.unwrap());
    }
    let took = began.elapsed();
    times.sort_unstable();
    let cpu = (crate::cpu() - before) * 1e6 / times.len() as f64;
    Turn { times, took, cpu }
}
