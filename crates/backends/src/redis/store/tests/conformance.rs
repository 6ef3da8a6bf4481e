//! What every store must do.

use std::sync::Arc;

use oyez_hub::command::Level;
use oyez_hub::store::{Settings, conformance};
use redis::{Client, cmd};
use tokio::runtime::Handle;

use super::server::Server;
use crate::redis::store::{Options, RedisStore};

/// Plays all scenes, each with keys of its own.
async fn conforms(level: Level, server: Server) {
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
    conforms(Level::Stored, Server::start(&[]).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_syncs_conforms() {
    conforms(Level::Synced, Server::start(&["--appendonly", "yes", "--appendfsync", "always"]).await).await;
}

/// A node of a Redis Cluster refuses a script whose keys do not all have the slot of its first.
#[tokio::test(flavor = "multi_thread")]
async fn each_script_touches_one_slot() {
    let server = Server::start(&["--cluster-enabled", "yes", "--cluster-require-full-coverage", "no"]).await;
    let mut connection = Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let () = cmd("CLUSTER").arg(&["ADDSLOTSRANGE", "0", "16383"]).query_async(&mut connection).await.unwrap();
    // It takes writes a while after it has all slots.
    loop {
        let told: String = cmd("CLUSTER").arg("INFO").query_async(&mut connection).await.unwrap();
        if told.contains("cluster_state:ok") {
            break;
        }
    }
    conforms(Level::Stored, server).await;
}
