//! Rounds on demand, for who compares: each line on stdin is a round of publishes into the bare engine, and what came of it
//! is a line of JSON, as `oyez bench --json --step` has it.

use std::io::Write as _;

use tempfile::TempDir;

use crate::bare::Bare;
use crate::publish::{Limit, rate};

/// Until there are no more lines, or nobody reads what came of them.
pub(crate) async fn run(publishes: usize) {
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let bare = Bare::open(dir.path());
    let tell = |line: String| writeln!(std::io::stdout(), "{line}").is_ok();
    let mut told = tell(r#"{"ready":true,"connections":0,"setup":{}}"#.to_owned());
    for (round, line) in std::io::stdin().lines().enumerate() {
        if !told || line.is_err() {
            return;
        }
        let one = bare.clone();
        let turn = rate(Limit::Publishes(publishes), move |publisher, number| {
            let bare = one.clone();
            async move { bare.put(format!("{round}-{publisher}-{number}").into_bytes(), vec![b'x'; 260]).await }
        })
        .await;
        let latencies: Vec<u128> = turn.times.iter().map(std::time::Duration::as_nanos).collect();
        told = tell(format!(
            r#"{{"deliveries":0,"publishes":{publishes},"cpu_ns":{:.0},"wall_ns":{},"pss":0,"latency_ns":{latencies:?}}}"#,
            turn.cpu * 1e3 * publishes as f64,
            turn.took.as_nanos(),
        ));
    }
}
