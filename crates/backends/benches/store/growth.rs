//! Whether what is gone gives its space back: rounds of publishing, acknowledging and trimming.

use std::sync::Arc;

use oyez_backends::embedded::{Embedded, Options};
use oyez_hub::store::{Owner, Settings, State, Store, Which};
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::{NOW, fill_from, on_disk};

const DAY: u64 = 24 * 3_600_000;

pub(crate) async fn run() {
    const USERS: usize = 1_000;
    const EACH: usize = 100;
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let settings = Settings { keep_acknowledged: Some(0), ..Settings::default() };
    let store = Arc::new(Embedded::store(dir.path(), Options::default(), settings, Handle::current()).unwrap());
    println!(
        "disk, rounds of {} messages of 200 bytes ({} MB), each acknowledged and trimmed:",
        USERS * EACH,
        (USERS * EACH * 200) >> 20
    );
    for round in 0..8 {
        let now = NOW + round as u64 * 2 * DAY;
        fill_from(&store, round * USERS * EACH, USERS, EACH, now).await;
        let full = on_disk(dir.path());
        for user in 0..USERS {
            let of = Owner::new("bench", format!("user-{user}"));
            assert_eq!(store.mark(&of, Which::All, State::Read, now).await.unwrap().changed.len(), EACH);
        }
        while store.maintain(now + 1).await.unwrap().more {}
        while store.maintain(now + DAY + 2 * 3_600_000).await.unwrap().more {}
        println!("  round {round}: {} MB full, {} MB after trimming", full >> 20, on_disk(dir.path()) >> 20);
    }
    store.engine().compact().unwrap();
    println!("  compacted: {} MB", on_disk(dir.path()) >> 20);
}
