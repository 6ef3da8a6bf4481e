//! Random operations: the store in Redis answers as the one in memory, also to another node.

use std::sync::atomic::{AtomicU32, Ordering};

use oyez_hub::store::Settings;
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::runtime::{Builder, Handle};

use super::server::Server;
use crate::alike::{agree, op};
use crate::redis::store::{Options, RedisStore};

const SETTINGS: Settings = Settings { id_bytes: 1 << 20, keep_acknowledged: None };

#[test]
fn redis_answers_alike() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = runtime.block_on(Server::start(&[]));
    let round = AtomicU32::new(0);
    proptest!(ProptestConfig { cases: 24, ..ProptestConfig::default() }, |(ops in vec(op(), 1..120))| {
        let prefix = format!("round-{}:", round.fetch_add(1, Ordering::Relaxed));
        let options = Options::new(&server.url()).unwrap().prefix(prefix);
        runtime.block_on(agree(&ops, SETTINGS, || RedisStore::start(options.clone(), SETTINGS, &Handle::current())));
    });
}
