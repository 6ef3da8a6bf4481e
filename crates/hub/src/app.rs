//! One tenant: its rules, its namespace and its times. Nothing crosses from one app to another.

use std::time::Duration;

use parking_lot::RwLock;

use crate::handler::Handlers;

/// Index of an app on its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppId(pub u16);

/// What an app is.
#[derive(Debug)]
pub struct App {
    /// Its index.
    pub id: AppId,
    /// Its name in the configuration and the API.
    pub name: String,
    /// Its Socket.IO namespace, beginning with `/`.
    pub namespace: String,
    /// How long a client may go without a sign of life that the app counts; `None`: transport heartbeats suffice.
    pub idle_timeout: Option<Duration>,
    /// What embedding code registered.
    pub handlers: RwLock<Handlers>,
}

impl App {
    /// An app whose rules are Rust: everything about it is decided by handlers.
    #[must_use]
    pub fn embedded(id: AppId, name: &str, namespace: &str) -> Self {
        Self {
            id,
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            idle_timeout: None,
            handlers: RwLock::default(),
        }
    }
}
