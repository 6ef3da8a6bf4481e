//! What several tests of clusters begin with.

use std::sync::Arc;
use std::time::Duration;

use oyez_hub::address::AppId;
use oyez_hub::app::App;
use oyez_hub::policy::Policy;
use oyez_hub::policy::channel::Pattern;
use oyez_hub::policy::rule::ChannelRule;
use oyez_hub::recovery::{Bounds, History, Recovery};

/// The only app.
pub(crate) const APP: AppId = AppId(0);

/// An app in which everything that is said in `room` is remembered, and nothing that is said elsewhere.
pub(crate) fn remembering() -> App {
    let pattern = Pattern::compile("room").expect("a pattern");
    let history = Some(History { last: 10_000, time: Duration::MAX });
    let rule = ChannelRule { history, ..ChannelRule::open(pattern) };
    let mut app = App::embedded(APP, "app", "/");
    app.policy = Arc::new(Policy::new(vec![rule]));
    app.recovery = Some(Arc::new(Recovery::new(
        Duration::from_secs(60),
        Bounds { time: Duration::from_secs(60), bytes: 1 << 24 },
    )));
    app
}
