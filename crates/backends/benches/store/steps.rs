//! Rounds on demand, for who compares: each line on stdin is a round of publishes, into the bare engine or through a hub, and
//! what came of it is a line of JSON, as `oyez bench --json --step` has it.

use std::io::Write as _;

use tempfile::TempDir;

use crate::bare::Bare;
use crate::hub;
use crate::publish::{Limit, PUBLISHERS, Turn, rate};

/// Users who are published to.
const USERS: usize = 10_000;

/// Until there are no more lines, or nobody reads what came of them.
pub(crate) async fn run(what: &str, publishes: usize) {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let limit = Limit::Publishes(publishes);
    match what {
        "hub" => {
            let hub = hub::open(dir.path());
            let turn = |round| {
                let hub = hub.clone();
                rate(PUBLISHERS, limit, move |publisher, number| {
                    let hub = hub.clone();
                    async move { hub::publish(&hub, (publisher * 31 + number * 7 + round) % USERS).await }
                })
            };
            steps(publishes, turn).await;
        }
        _ => {
            let (bare, all) = (Bare::open(dir.path()), what == "records");
            let turn = |round| {
                let bare = bare.clone();
                rate(PUBLISHERS, limit, move |publisher, number| {
                    let bare = bare.clone();
                    let message = format!("{round}-{publisher}-{number}");
                    let user = (publisher * 31 + number * 7 + round) % USERS;
                    async move { if all { bare.put_all(message, user).await } else { bare.put(message).await } }
                })
            };
            steps(publishes, turn).await;
        }
    }
}

async fn steps<F: Future<Output = Turn>>(publishes: usize, turn: impl Fn(usize) -> F) {
    let tell = |line: String| writeln!(std::io::stdout(), "{line}").is_ok();
    let mut told = tell(r#"{"ready":true,"connections":0,"setup":{}}"#.to_owned());
    for (round, line) in std::io::stdin().lines().enumerate() {
        if !told || line.is_err() {
            return;
        }
        let turn = turn(round).await;
        let latencies: Vec<u128> = turn.times.iter().map(std::time::Duration::as_nanos).collect();
        told = tell(format!(
            r#"{{"deliveries":0,"publishes":{publishes},"cpu_ns":{:.0},"wall_ns":{},"pss":0,"latency_ns":{latencies:?}}}"#,
            turn.cpu * 1e3 * publishes as f64,
            turn.took.as_nanos(),
        ));
    }
}
