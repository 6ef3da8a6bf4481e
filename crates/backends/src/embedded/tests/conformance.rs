//! What every store must do.

use std::sync::Arc;

use oyez_hub::command::Level;
use oyez_hub::store::{Settings, conformance};
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::embedded::{Embedded, Options};

#[tokio::test(flavor = "multi_thread")]
async fn embedded_conforms() {
    let dirs = TempDir::new().unwrap();
    let count = std::cell::Cell::new(0);
    conformance::all(Level::Synced, || {
        count.set(count.get() + 1);
        let dir = dirs.path().join(count.get().to_string());
        Arc::new(Embedded::store(&dir, Options::default(), Settings::default(), Handle::current()).unwrap())
    })
    .await;
}
