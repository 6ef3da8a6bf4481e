//! The figures of what apps' backends are asked and told, looked up when somebody asks.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use oyez_hub::Hub;
use oyez_hub::backend::{Backend, Figures};
use oyez_hub::lifecycle::{Figures as Told, Lifecycle};
use prometheus_client::metrics::MetricType;

use super::catalogue::Catalogue;
use super::inboxes::Source;
use super::metrics::PerApp;

type Count = fn(&Figures) -> &AtomicU64;

type Figure = fn(&Told) -> &AtomicU64;

const COUNTS: [(&str, &str, Count); 4] = [
    ("oyez_backend_requests", "Requests to an app's backend", |all| &all.sent),
    ("oyez_backend_failures", "Of these, those without an answer in time, or with one of 429 or from 500 on", |all| {
        &all.failed
    }),
    (
        "oyez_backend_spared",
        "Requests that were not made, because the endpoint had failed too often or had too many under way",
        |all| &all.spared,
    ),
    ("oyez_backend_broken", "How often an endpoint had failed too often and was left alone", |all| &all.broken),
];

const TOLD: [(MetricType, &str, &str, Figure); 5] = [
    (MetricType::Counter, "oyez_webhook_events", "Comings and goings that backends have taken", |all| &all.told),
    (MetricType::Counter, "oyez_webhook_failures", "Attempts to tell them that came to nothing", |all| &all.failed),
    (MetricType::Gauge, "oyez_webhook_waiting", "Comings and goings that wait to be told", |all| &all.waiting),
    (
        MetricType::Gauge,
        "oyez_webhook_merged",
        "Users and channels of which only what is so at last will be told, because too much waits",
        |all| &all.merged,
    ),
    (MetricType::Counter, "oyez_webhook_unkept", "What the journal of comings and goings could not keep", |all| {
        &all.unkept
    }),
];

/// Enters them all.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(super) fn backend_metrics(all: &mut Catalogue, source: &Source) {
    for (name, help, count) in COUNTS {
        let read = each(source, move |backend| count(backend.figures()).load(Relaxed) as f64);
        all.readings(MetricType::Counter, name, help, read);
    }
    let read = each(source, |backend| backend.broken() as f64);
    all.readings(
        MetricType::Gauge,
        "oyez_backend_open",
        "Endpoints that are left alone now: their breaker is open",
        read,
    );
    let look = |source: &Source| {
        let source = Arc::clone(source);
        move |read: &dyn Fn(&Lifecycle) -> f64| source.get().and_then(Hub::lifecycle).map(|all| read(all))
    };
    for (kind, name, help, figure) in TOLD {
        let look = look(source);
        all.reading(kind, name, help, move || look(&|all| figure(&all.figures).load(Relaxed) as f64));
    }
    let look = look(source);
    let read = move || look(&|all| f64::from(u8::from(all.figures.telling.load(Relaxed))));
    let help = "1 while this node is the one that tells of comings and goings";
    all.reading(MetricType::Gauge, "oyez_webhook_telling", help, read);
}

/// A figure of each app that has a backend.
fn each<R: Fn(&Backend) -> f64>(source: &Source, read: R) -> impl Fn() -> Vec<(PerApp, f64)> + use<R> {
    let source = Arc::clone(source);
    move || {
        let apps = source.get().into_iter().flat_map(Hub::apps);
        let row = |app: Arc<oyez_hub::app::App>| {
            let value = read(app.backend.as_ref()?);
            Some((PerApp { app: app.name.clone() }, value))
        };
        apps.filter_map(row).collect()
    }
}
