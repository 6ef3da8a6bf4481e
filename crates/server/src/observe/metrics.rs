//! Counters for Prometheus.

use std::sync::atomic::AtomicU64;

use oyez_hub::address::AppId;
use oyez_hub::policy::limits::Limit;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::arrival::Arrivals;

/// One app's share.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AppLabel {
    app: String,
}

/// The limit that was reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LimitLabel {
    limit: &'static str,
}

/// The counters of one app, looked up once.
#[derive(Debug)]
struct AppCounters {
    connections: Counter,
    sent: Counter,
    received: Counter,
    subscriptions: Counter,
    denied: Counter,
    refused: Counter,
    unknown: Counter,
}

/// All counters of a node.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    apps: Vec<AppCounters>,
    /// Connections before their first request.
    pub(crate) arrivals: Arrivals,
    /// By [`Limit`].
    limits: Vec<Counter>,
    /// Packets given up for clients that read too slowly.
    pub(crate) dropped: Counter<u64, AtomicU64>,
    /// Times that no connection could be accepted.
    pub(crate) accept_failures: Counter<u64, AtomicU64>,
    /// Handshakes that were put off because too many were under way.
    pub(crate) handshakes_deferred: Counter<u64, AtomicU64>,
}

impl Metrics {
    /// Counters for the apps of these names, in the order of their ids.
    #[must_use]
    pub fn new<'a>(apps: impl IntoIterator<Item = &'a str>) -> Self {
        let mut registry = Registry::default();
        let family = |registry: &mut Registry, name: &str, help: &str| {
            let family = Family::<AppLabel, Counter>::default();
            registry.register(name, help, family.clone());
            family
        };
        // The client library appends `_total` to the names of counters.
        let connections = family(&mut registry, "websocket_connections", "Connections accepted");
        let sent = family(&mut registry, "websocket_messages_sent", "Messages sent to clients");
        let received = family(&mut registry, "websocket_messages_received", "Messages received from clients");
        let subscriptions = family(&mut registry, "websocket_subscriptions", "Channels joined");
        let denied = family(&mut registry, "oyez_denials", "Requests of clients that were denied");
        let refused = family(&mut registry, "oyez_connects_refused", "Connections refused for their credentials");
        let unknown =
            family(&mut registry, "oyez_messages_unknown", "Messages that no rule names or that cannot be read");
        let dropped = Counter::default();
        registry.register("oyez_messages_dropped", "Messages given up for slow clients", dropped.clone());
        let arrivals = Arrivals::new(&mut registry);
        let accept_failures = Counter::default();
        let help = "Attempts to accept connections that failed, for lack of file descriptors mostly";
        registry.register("oyez_accept_failures", help, accept_failures.clone());
        let limits = Family::<LimitLabel, Counter>::default();
        registry.register("oyez_limit_hits", "How often each limit was reached", limits.clone());
        let limits = Limit::ALL.iter().map(|limit| limits.get_or_create_owned(&LimitLabel { limit: limit.name() }));
        let limits = limits.collect();
        let handshakes_deferred = Counter::default();
        let about = "Handshakes answered 503, because too many were under way";
        registry.register("oyez_handshakes_deferred", about, handshakes_deferred.clone());
        let counters = apps.into_iter().map(|app| {
            let label = AppLabel { app: app.to_owned() };
            AppCounters {
                connections: connections.get_or_create_owned(&label),
                sent: sent.get_or_create_owned(&label),
                received: received.get_or_create_owned(&label),
                subscriptions: subscriptions.get_or_create_owned(&label),
                denied: denied.get_or_create_owned(&label),
                refused: refused.get_or_create_owned(&label),
                unknown: unknown.get_or_create_owned(&label),
            }
        });
        let apps = counters.collect();
        Self { registry, apps, arrivals, limits, dropped, accept_failures, handshakes_deferred }
    }

    fn app(&self, app: AppId) -> Option<&AppCounters> {
        self.apps.get(usize::from(app.0))
    }

    pub(crate) fn limited(&self, limit: Limit) {
        if let Some(counter) = self.limits.get(limit as usize) {
            counter.inc();
        }
    }

    pub(crate) fn connected(&self, app: AppId) {
        if let Some(app) = self.app(app) {
            app.connections.inc();
        }
    }

    pub(crate) fn sent(&self, app: AppId, count: usize) {
        if let Some(app) = self.app(app) {
            app.sent.inc_by(count as u64);
        }
    }

    pub(crate) fn received(&self, app: AppId) {
        if let Some(app) = self.app(app) {
            app.received.inc();
        }
    }

    pub(crate) fn subscribed(&self, app: AppId) {
        if let Some(app) = self.app(app) {
            app.subscriptions.inc();
        }
    }

    pub(crate) fn denied(&self, app: AppId) {
        if let Some(app) = self.app(app) {
            app.denied.inc();
        }
    }

    pub(crate) fn refused(&self, app: AppId) {
        if let Some(app) = self.app(app) {
            app.refused.inc();
        }
    }

    pub(crate) fn unknown(&self, app: AppId) {
        if let Some(app) = self.app(app) {
            app.unknown.inc();
        }
    }

    /// All of them in the text format of Prometheus (OpenMetrics).
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut out, &self.registry);
        out
    }
}
