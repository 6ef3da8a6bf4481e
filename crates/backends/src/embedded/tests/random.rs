//! Random operations: the embedded store answers as the one in memory, also when it is closed and opened in between.

use oyez_hub::store::Settings;
use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;
use tokio::runtime::{Builder, Handle};

use crate::alike::{HOUR, agree, op};
use crate::embedded::{Embedded, Options};

const SETTINGS: Settings = Settings { id_bytes: 1 << 20, keep_acknowledged: Some(2 * HOUR) };

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn both_stores_answer_alike(ops in vec(op(), 1..120)) {
        let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(async {
            let dir = TempDir::new().unwrap();
            let open = || Embedded::store(dir.path(), Options::default(), SETTINGS, Handle::current()).unwrap();
            agree(&ops, SETTINGS, open).await;
        });
    }
}
