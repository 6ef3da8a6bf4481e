//! The metrics of a node for Prometheus: what is counted, by which labels, and where the rest of the server says so.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use oyez_hub::Hub;
use oyez_hub::address::AppId;
use oyez_hub::admission::Traffic;
use oyez_hub::policy::limits::Limit;
use oyez_protocol::code::Code;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::arrival::Arrivals;
use super::backends::backend_metrics;
use super::catalogue::{Catalogue, Label, Labelled};
use super::cluster::{cluster_metrics, neighbour_metrics};
use super::drops::Drops;
use super::histogram::Histogram;
use super::inboxes::{Source, inbox_metrics};
use super::process::Process;
use super::returns::Returns;
use super::sources::source_metrics;
use super::vitals::Vitals;
use crate::clock;

pub(super) const APP: Label = Label { name: "app", values: "the apps of the file" };
const SHARD: Label = Label { name: "shard", values: "the node's threads for connections, from 0" };
const TRANSPORT: Label = Label { name: "transport", values: "`websocket`, `polling`" };
const CODE: Label = Label {
    name: "code",
    values: "a name of [the table of codes](codes.md); of a denial 400, 401, 403, 429, 502, 503, 504",
};
pub(super) const REASON: Label = Label {
    name: "reason",
    values: "of a refused token `missing`, `expired`, `bad_signature` and the other words of the log; of a dropped message \
             `slow_consumer`, `conflated`, `volatile`",
};
const LIMIT: Label = Label {
    name: "limit",
    values: "`payload`, `json_depth`, `attachments`, `outbox`, `node_connections`, `app_connections`, \
             `connections_per_address`, `connects_per_second`, `connections_per_user`, `channels_per_session`, \
             `channel_length`, `channel_characters`, `events_per_second`, `app_events_per_second`, `publishes_per_second`, \
             `flood`",
};

/// How long a publication may take until all have it, in seconds.
const DELIVERY: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How late a turn may be, in seconds.
const LATENESS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// The codes of denials.
const DENIALS: [u16; 7] = [400, 401, 403, 429, 502, 503, 504];

/// Declares sets of labels: the struct, and the words for each field.
macro_rules! labels {
    ($($name:ident { $($field:ident: $kind:ty = $label:ident),* })*) => {$(
        #[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub(super) struct $name { $(pub(super) $field: $kind),* }

        impl Labelled for $name {
            const LABELS: &'static [Label] = &[$($label),*];
        }
    )*};
}

labels! {
    PerApp { app: String = APP }
    PerDenial { app: String = APP, code: u16 = CODE }
    PerRefusal { app: String = APP, reason: &'static str = REASON }
    PerCode { code: &'static str = CODE }
    PerReason { reason: &'static str = REASON }
    PerLimit { limit: &'static str = LIMIT }
    PerShard { shard: u8 = SHARD }
    PerTransport { shard: u8 = SHARD, transport: &'static str = TRANSPORT }
}

/// The metrics of one app, looked up once.
#[derive(Debug)]
struct AppMetrics {
    name: String,
    now: Gauge,
    connections: Counter,
    reconnects: Counter,
    sent: Counter,
    received: Counter,
    subscriptions: Counter,
    denied: [Counter; DENIALS.len()],
    unknown: Counter,
}

/// All metrics of a node.
pub struct Metrics {
    catalogue: Catalogue,
    apps: Vec<AppMetrics>,
    /// Connections before their first request.
    pub(crate) arrivals: Arrivals,
    pub(super) shards: Vec<Vitals>,
    pub(super) latency: Histogram,
    refused: Family<PerRefusal, Counter>,
    connect_errors: Family<PerCode, Counter>,
    disconnects: Family<PerCode, Counter>,
    /// Messages that were given up.
    pub(crate) drops: Drops,
    /// By [`Limit`].
    limits: Vec<Counter>,
    /// Handshakes that were put off because too many were under way.
    pub(crate) handshakes_deferred: Counter,
    /// Handshakes that waited for what is held against their addresses.
    pub(crate) handshakes_delayed: Counter,
    accept_failures: Counter,
    pub(super) accept_failed_at: AtomicU64,
    returns: Returns,
    process: Arc<OnceLock<fn() -> Process>>,
    inboxes: Source,
    traffic: Arc<dyn Fn() -> Traffic + Send + Sync>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("catalogue", &self.catalogue).finish_non_exhaustive()
    }
}

impl Metrics {
    /// Metrics for the apps of these names, in the order of their ids, and for so many shards; `traffic` tells of the
    /// hub's door.
    #[must_use]
    pub fn new<'a>(
        apps: impl IntoIterator<Item = &'a str>,
        shards: usize,
        traffic: impl Fn() -> Traffic + Send + Sync + 'static,
    ) -> Self {
        let mut catalogue = Catalogue::default();
        let all = &mut catalogue;
        let apps: Vec<_> = apps.into_iter().collect();
        let drops = Drops::new(all, apps.iter().copied());
        let apps = app_metrics(all, apps);
        let refused =
            all.counters("oyez_connects_refused", "Connections that an app refused for what they showed as a token");
        let connect_errors =
            all.counters("oyez_connect_errors", "Requests for a connection that were refused, by code");
        let disconnects = all.counters("oyez_disconnects", "Sessions that ended, by the code of their end");
        let limits = limit_counters(all);
        let arrivals = Arrivals::new(all);
        let handshakes_deferred =
            all.counter("oyez_handshakes_deferred", "Handshakes answered 503, because too many were under way");
        let handshakes_delayed = all.counter(
            "oyez_handshakes_delayed",
            "Handshakes that waited a second, because too many connections of their address ended by their own fault",
        );
        let latency = all.histogram(
            "oyez_delivery_latency_seconds",
            "From the moment in which a publication is asked for until nobody on a shard waits for it any more: the kernel \
             has taken its last byte, for the slowest client; one observation per publication and shard",
            DELIVERY,
        );
        let traffic: Arc<dyn Fn() -> Traffic + Send + Sync> = Arc::new(traffic);
        door_metrics(all, &traffic);
        let shards = shard_metrics(all, shards);
        let accept_failures =
            all.counter("oyez_accept_failures", "Times that the system gave no connection although one waited");
        let process = Arc::default();
        process_metrics(all, &process);
        let inboxes = Arc::default();
        inbox_metrics(all, &inboxes);
        cluster_metrics(all, &inboxes);
        neighbour_metrics(all, &inboxes);
        source_metrics(all, &inboxes);
        backend_metrics(all, &inboxes);
        let accept_failed_at = AtomicU64::new(0);
        let returns = Returns::default();
        Self {
            catalogue,
            apps,
            arrivals,
            shards,
            latency,
            refused,
            connect_errors,
            disconnects,
            drops,
            limits,
            handshakes_deferred,
            handshakes_delayed,
            accept_failures,
            accept_failed_at,
            returns,
            process,
            inboxes,
            traffic,
        }
    }

    /// Where the figures of the store come from; only the first counts.
    pub(crate) fn read_inboxes_of(&self, hub: Hub) {
        let _ = self.inboxes.set(hub);
    }

    /// Where the figures of the process come from; only the first counts.
    pub(crate) fn read_process_by(&self, read: fn() -> Process) {
        let _ = self.process.set(read);
    }

    fn app(&self, app: AppId) -> Option<&AppMetrics> {
        self.apps.get(usize::from(app.0))
    }

    /// The figures of a shard, for the shard itself.
    pub(crate) fn shard(&self, id: u8) -> &Vitals {
        &self.shards[usize::from(id)]
    }

    /// Where the latency of deliveries is counted.
    pub(crate) fn latency(&self) -> &Histogram {
        &self.latency
    }

    /// A limit was in somebody's way.
    pub(crate) fn limited(&self, limit: Limit) {
        if let Some(counter) = self.limits.get(limit as usize) {
            counter.inc();
        }
    }

    /// A client has become a member.
    pub(crate) fn connected(&self, id: AppId, user: &str) {
        let Some(app) = self.app(id) else { return };
        app.connections.inc();
        app.now.inc();
        if self.returns.came(id, user, clock::steady_seconds()) {
            app.reconnects.inc();
        }
    }

    /// A member has gone.
    pub(crate) fn disconnected(&self, id: AppId, user: &str) {
        let Some(app) = self.app(id) else { return };
        app.now.dec();
        self.returns.left(id, user, clock::steady_seconds());
    }

    /// A session has ended.
    pub(crate) fn closed(&self, code: Code) {
        self.disconnects.get_or_create(&PerCode { code: code.name() }).inc();
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

    /// A client was denied something, with this code of [`oyez_hub::dialect::Denial`].
    pub(crate) fn denied(&self, app: AppId, code: u16) {
        // There are no others; one that was forgotten above would be told as "cannot be understood".
        let place = DENIALS.iter().position(|known| *known == code).unwrap_or(0);
        if let Some(app) = self.app(app) {
            app.denied[place].inc();
        }
    }

    /// An app has refused a client, for a reason that is one of the fixed words of the log.
    pub(crate) fn refused(&self, app: AppId, reason: &'static str) {
        if let Some(app) = self.app(app) {
            self.refused.get_or_create(&PerRefusal { app: app.name.clone(), reason }).inc();
        }
    }

    /// A request for a connection was refused, or a request of one that there is not.
    pub(crate) fn connect_error(&self, code: Code) {
        self.connect_errors.get_or_create(&PerCode { code: code.name() }).inc();
    }

    pub(crate) fn unknown(&self, app: AppId) {
        if let Some(app) = self.app(app) {
            app.unknown.inc();
        }
    }

    /// The system gives no connection, at that moment of [`clock::steady_nanos`].
    pub(crate) fn accept_failed(&self, now: u64) {
        self.accept_failures.inc();
        self.accept_failed_at.store(now.max(1), Relaxed);
    }

    /// All of them in the text format of Prometheus (OpenMetrics).
    #[must_use]
    pub fn text(&self) -> String {
        self.catalogue.text()
    }

    /// What there is of this moment for the line of figures in the log.
    pub(super) fn totals(&self) -> Totals {
        let each = |count: fn(&AppMetrics) -> u64| self.apps.iter().map(count).sum::<u64>();
        Totals {
            connections: self.apps.iter().map(|app| app.now.get()).sum(),
            published: (self.traffic)().entered,
            sent: each(|app| app.sent.get()),
            dropped: self.drops.all(),
            denied: each(|app| app.denied.iter().map(Counter::get).sum()),
            stalls: self.shards.iter().map(|shard| shard.stalls.get()).sum(),
            waiting_bytes: self.shards.iter().map(|shard| shard.outbox.get()).sum(),
            process: self.process.get().map(|read| read()).unwrap_or_default(),
        }
    }
}

/// Every metric, as Markdown: `docs/metrics.md`.
#[must_use]
pub fn reference() -> String {
    Metrics::new([], 0, Traffic::default).catalogue.page()
}

/// Sums over all apps and shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    pub connections: i64,
    pub published: u64,
    pub sent: u64,
    pub dropped: u64,
    pub denied: u64,
    pub stalls: u64,
    pub waiting_bytes: i64,
    pub process: Process,
}

fn app_metrics<'a>(all: &mut Catalogue, apps: impl IntoIterator<Item = &'a str>) -> Vec<AppMetrics> {
    let now = all.gauges::<PerApp>("oyez_connections", "Connections that are members of an app now");
    let connections = all.counters::<PerApp>("websocket_connections", "Connections accepted");
    let reconnects =
        all.counters::<PerApp>("oyez_reconnects", "Of these, those of a user who had lost one in the minute before");
    let sent = all.counters::<PerApp>("websocket_messages_sent", "Messages sent to clients");
    let received = all.counters::<PerApp>("websocket_messages_received", "Messages received from clients");
    let subscriptions = all.counters::<PerApp>("websocket_subscriptions", "Channels joined");
    let denied = all.counters::<PerDenial>("oyez_denials", "Requests of clients that were denied");
    let unknown = all.counters::<PerApp>("oyez_messages_unknown", "Messages that no rule names or that cannot be read");
    let app = |name: &str| {
        let label = PerApp { app: name.to_owned() };
        let denial = |code| denied.get_or_create_owned(&PerDenial { app: name.to_owned(), code });
        AppMetrics {
            name: name.to_owned(),
            now: now.get_or_create_owned(&label),
            connections: connections.get_or_create_owned(&label),
            reconnects: reconnects.get_or_create_owned(&label),
            sent: sent.get_or_create_owned(&label),
            received: received.get_or_create_owned(&label),
            subscriptions: subscriptions.get_or_create_owned(&label),
            denied: DENIALS.map(denial),
            unknown: unknown.get_or_create_owned(&label),
        }
    };
    apps.into_iter().map(app).collect()
}

fn limit_counters(all: &mut Catalogue) -> Vec<Counter> {
    let hits = all.counters::<PerLimit>("oyez_limit_hits", "How often each limit was reached");
    Limit::ALL.iter().map(|limit| hits.get_or_create_owned(&PerLimit { limit: limit.name() })).collect()
}

fn shard_metrics(all: &mut Catalogue, shards: usize) -> Vec<Vitals> {
    let sessions = all.gauges::<PerTransport>("oyez_sessions", "Sessions now, members of an app or not yet");
    let slow =
        all.gauges::<PerShard>("oyez_slow_consumers", "WebSockets that have not taken all that was sent to them");
    let outbox = all.gauges::<PerShard>("oyez_outbox_bytes", "Bytes that wait for clients in the server's memory");
    let mailbox = all.gauges::<PerShard>("oyez_mailbox_length", "Publications and commands that wait for a shard");
    let tasks = all.gauges::<PerShard>("oyez_tasks", "Tasks of a shard's event loop; a connection is one");
    let stalls = all.counters::<PerShard>(
        "oyez_event_loop_stalls",
        "Times that a shard had its turn more than 100 ms late; it looks 20 times a second",
    );
    let lateness =
        all.histogram("oyez_event_loop_lateness_seconds", "How late shards had the turns in which they look", LATENESS);
    let vitals = |shard| {
        let label = PerShard { shard };
        let transport = |transport| sessions.get_or_create_owned(&PerTransport { shard, transport });
        Vitals {
            websockets: transport("websocket"),
            polling: transport("polling"),
            slow: slow.get_or_create_owned(&label),
            outbox: outbox.get_or_create_owned(&label),
            mailbox: mailbox.get_or_create_owned(&label),
            tasks: tasks.get_or_create_owned(&label),
            stalls: stalls.get_or_create_owned(&label),
            lateness: lateness.clone(),
            beat: Arc::default(),
        }
    };
    (0..=u8::MAX).take(shards).map(vitals).collect()
}

fn door_metrics(all: &mut Catalogue, traffic: &Arc<dyn Fn() -> Traffic + Send + Sync>) {
    let mut reading = |kind, name, help, look: fn(Traffic) -> u64| {
        let traffic = Arc::clone(traffic);
        all.reading(kind, name, help, move || Some(figure(look(traffic()))));
    };
    reading(MetricType::Counter, "oyez_publications", "Publications admitted", |traffic| traffic.entered);
    reading(MetricType::Gauge, "oyez_publications_in_flight", "Publications that are being delivered", |traffic| {
        traffic.inside as u64
    });
    reading(MetricType::Gauge, "oyez_publications_waiting", "Publications that wait to be admitted", |traffic| {
        traffic.waiting as u64
    });
}

fn process_metrics(all: &mut Catalogue, process: &Arc<OnceLock<fn() -> Process>>) {
    let mut reading = |name, help, look: fn(Process) -> Option<u64>| {
        let process = Arc::clone(process);
        all.reading(MetricType::Gauge, name, help, move || look(process.get()?()).map(figure));
    };
    reading("process_resident_memory_bytes", "Memory of the process (RSS)", |process| process.resident_bytes);
    reading("process_open_fds", "Open file descriptors; every connection is one", |process| process.open_files);
    reading("process_max_fds", "Most file descriptors that the process may have open", |process| process.max_files);
}

/// As Prometheus keeps every figure.
fn figure(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use oyez_hub::delivery::Priority;

    use super::*;
    use crate::observe::drops::Dropped;
    use crate::shard::outbox::Origin;

    #[test]
    fn whoever_comes_and_goes_is_counted() {
        let metrics = Metrics::new(["desk"], 1, Traffic::default);
        metrics.connected(AppId(0), "ann");
        metrics.connected(AppId(0), "bob");
        metrics.disconnected(AppId(0), "ann");
        metrics.connected(AppId(0), "ann");
        metrics.disconnected(AppId(0), "bob");
        metrics.denied(AppId(0), 403);
        let origin = |rule: Option<&str>| Origin { app: AppId(0), rule: rule.map(Arc::from), lane: Priority::Low };
        metrics.drops.count(&origin(Some("site:{id}")), Dropped::Volatile, 3);
        metrics.drops.count(&origin(None), Dropped::Conflated, 1);
        metrics.closed(Code::SlowConsumer);
        metrics.refused(AppId(0), "expired");
        metrics.limited(Limit::Channels);
        let text = metrics.text();
        for line in [
            "oyez_connections{app=\"desk\"} 1",
            "websocket_connections_total{app=\"desk\"} 3",
            "oyez_reconnects_total{app=\"desk\"} 1",
            "oyez_denials_total{app=\"desk\",code=\"403\"} 1",
            "oyez_messages_dropped_total{app=\"desk\",channel=\"site:{id}\",reason=\"volatile\",lane=\"low\"} 3",
            "oyez_messages_dropped_total{app=\"desk\",channel=\"other\",reason=\"conflated\",lane=\"low\"} 1",
            "oyez_disconnects_total{code=\"slow_consumer\"} 1",
            "oyez_connects_refused_total{app=\"desk\",reason=\"expired\"} 1",
            "oyez_limit_hits_total{limit=\"channels_per_session\"} 1",
            "oyez_limit_hits_total{limit=\"outbox\"} 0",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn figures_of_the_process_are_shown_once_somebody_reads_them() {
        let metrics = Metrics::new([], 0, Traffic::default);
        assert!(!metrics.text().contains("process_"));
        metrics.read_process_by(|| Process { resident_bytes: Some(5), ..Process::default() });
        assert!(metrics.text().contains("\nprocess_resident_memory_bytes 5"));
        assert!(!metrics.text().contains("process_open_fds"));
    }

    #[test]
    fn the_page_tells_of_every_metric() {
        let page = reference();
        for name in
            ["`oyez_delivery_latency_seconds` | histogram |", "`oyez_denials_total` | counter | `app`, `code` |"]
        {
            assert!(page.contains(name), "{name} is not in\n{page}");
        }
        for limit in Limit::ALL {
            assert!(page.contains(&format!("`{}`", limit.name())), "{limit:?} is not in\n{page}");
        }
    }
}
