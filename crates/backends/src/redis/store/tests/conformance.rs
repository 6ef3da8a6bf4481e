//! What every store must do.

use std::sync::Arc;

use oyez_hub::command::Level;
use oyez_hub::store::{Settings, conformance};
use tokio::runtime::Handle;

use super::server::Server;
use crate::redis::store::{Options, RedisStore};

/// Plays all scenes, each with keys of its own, on a Redis with these options.
async fn conforms(level: Level, options: &[&str]) {
    let server = Server::start(options).await;
    let count = std::cell::Cell::new(0);
    conformance::all(level, || {
        count.set(count.get() + 1);
        let options = Options::new(&server.url()).unwrap().prefix(format!("scene-{}:", count.get()));
        Arc::new(RedisStore::start(options, Settings::default(), &Handle::current()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_conforms() {
    conforms(Level::Stored, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_syncs_conforms() {
    conforms(Level::Synced, &["--appendonly", "yes", "--appendfsync", "always"]).await;
}
