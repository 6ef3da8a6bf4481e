//! Durable publishes as embedding code makes them: through a hub, to users who are away, without HTTP.

use std::path::Path;
use std::sync::Arc;

use oyez_hub::Hub;
use oyez_hub::address::AppId;
use oyez_hub::app::App;
use oyez_hub::command::{Command, Level, Outcome, Promise, Publish};
use oyez_hub::policy::Policy;
use oyez_hub::policy::channel::Pattern;
use oyez_hub::policy::rule::ChannelRule;
use oyez_hub::promise::{Class, InboxRules};
use oyez_hub::store::conformance;
use tokio::runtime::Handle;

const APP: AppId = AppId(0);

/// A hub whose app has an inbox for each `user:{id}`.
pub(crate) fn open(dir: &Path) -> Hub {
    let pattern = Pattern::compile("user:{id}").expect("a pattern");
    let rule = ChannelRule { inbox: Some("id".into()), ..ChannelRule::open(pattern) };
    let mut app = App::embedded(APP, "bench", "/");
    app.policy = Arc::new(Policy::new(vec![rule]));
    app.inbox = Some(Arc::new(InboxRules::default()));
    let hub = Hub::new(vec![app], Vec::new(), Handle::current());
    hub.keep_in(crate::open(dir));
    hub
}

/// Publishes 200 bytes to a user, and waits until they are on the disk.
pub(crate) async fn publish(hub: &Hub, user: usize) {
    let promise = Promise { class: Some(Class::Durable), level: Some(Level::Synced), ..Promise::default() };
    let text = conformance::payload(&"x".repeat(200));
    let publish = Publish { promise, ..Publish::new(vec![format!("user:{user}")], "tick", text) };
    match hub.execute(APP, Command::Publish(publish)).await {
        Ok(Outcome::Published(published)) => assert_eq!(published.level, Level::Synced),
        other => panic!("{other:?}"),
    }
}
