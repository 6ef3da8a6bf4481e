//! Where messages come from by themselves: one task for each source that has an address, started anew when its settings
//! change. What becomes of the messages is the app's rules' affair, which change without that.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use oyez_backends::{consul, nats, rabbitmq, redis};
use oyez_hub::Hub;
use oyez_hub::source::{Intake, Trouble};
use oyez_server::config::{Config, Door, Problem};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

/// What to do about settings that cannot be read.
const HELP: &str = "correct `url`";

/// One source that is being read.
struct Running {
    app: String,
    name: String,
    door: Door,
    stop: CancellationToken,
}

/// All sources of a node.
pub(crate) struct Sources {
    hub: Hub,
    /// Cancelled when the node is asked to end.
    ending: CancellationToken,
    tasks: TaskTracker,
    running: Vec<Running>,
}

impl Sources {
    pub(crate) fn new(hub: Hub, ending: CancellationToken) -> Self {
        Self { hub, ending, tasks: TaskTracker::new(), running: Vec::new() }
    }

    /// Reads from what the configuration names, until the node is asked to end and no message is under way.
    pub(crate) async fn run(mut self, mut current: watch::Receiver<Config>) {
        loop {
            let config = current.borrow_and_update().clone();
            self.follow(&config);
            tokio::select! {
                () = self.ending.cancelled() => break,
                changed = current.changed() => if changed.is_err() { break },
            }
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Stops what is not named any more, or otherwise, and starts what is new.
    fn follow(&mut self, config: &Config) {
        let wanted = || config.apps.iter().flat_map(|app| app.sources.iter().map(move |source| (app, source)));
        self.running.retain(|running| {
            let same = wanted().any(|(app, source)| {
                app.name == running.app && source.name == running.name && source.door.as_ref() == Some(&running.door)
            });
            if !same {
                running.stop.cancel();
            }
            same
        });
        for (app, source) in wanted() {
            if source.door.is_none() && source.rules.pushed.is_none() {
                let (app, source) = (&app.name, &source.name);
                info!(event = "source_off", app, source, "its `url` comes from a variable that is not set");
            }
            let known = self.running.iter().any(|running| running.app == app.name && running.name == source.name);
            if let Some(door) = source.door.clone().filter(|_| !known) {
                self.start(&app.name, &source.name, door);
            }
        }
    }

    fn start(&mut self, app: &str, name: &str, door: Door) {
        // An app that was added needs a restart; its sources do, too.
        let Ok(known) = self.hub.find_app(app) else { return };
        let Some(intake) = Intake::new(self.hub.clone(), known.id, name) else { return };
        let stop = self.ending.child_token();
        match reader(&door) {
            Ok(reader) => drop(self.tasks.spawn(reader(intake, stop.clone()))),
            Err(said) => {
                intake.figures().fails(Trouble::Other);
                let reason = Trouble::Other.word();
                error!(event = "source_failed", app, source = name, reason, said, help = HELP);
            }
        }
        self.running.push(Running { app: app.to_owned(), name: name.to_owned(), door, stop });
    }
}

/// Reads until it is stopped.
type Reader = Box<dyn FnOnce(Intake, CancellationToken) -> BoxFuture<'static, ()>>;

/// The vendor's reader of a source, or what is wrong with its settings.
fn reader(door: &Door) -> Result<Reader, String> {
    let ca = door.ca.as_deref();
    Ok(match door.kind.as_str() {
        "consul" => {
            let options = consul::Options::new(&door.url, &door.from, door.token.as_deref(), ca)?.waiting(door.wait);
            Box::new(move |intake, stop| consul::run(options, intake, stop).boxed())
        }
        "nats" => {
            let servers = nats::Servers::new(&door.url, ca)?;
            let group = Some(door.group.as_str()).filter(|group| !group.is_empty());
            let options = nats::subjects::Options::new(servers, &door.from, group, door.prefetch);
            Box::new(move |intake, stop| nats::subjects::run(options, intake, stop).boxed())
        }
        "nats-jetstream" => {
            let servers = nats::Servers::new(&door.url, ca)?;
            let options = nats::jetstream::Options::new(servers, &door.stream, &door.from, &door.group);
            let options = options.beginning(door.oldest).with(door.prefetch, door.claim_after);
            Box::new(move |intake, stop| nats::jetstream::run(options, intake, stop).boxed())
        }
        "redis" => {
            let server = redis::Server::new(&door.url, ca)?;
            let options = redis::channels::Options::new(server, &door.from, door.prefetch);
            Box::new(move |intake, stop| redis::channels::run(options, intake, stop).boxed())
        }
        "redis-blacklist" => {
            let options = redis::blacklist::Options::new(redis::Server::new(&door.url, ca)?, &door.from);
            Box::new(move |intake, stop| redis::blacklist::run(options, intake, stop).boxed())
        }
        "redis-streams" => {
            let server = redis::Server::new(&door.url, ca)?;
            let options = redis::streams::Options::new(server, &door.from, &door.group).beginning(door.oldest);
            let options = options.with(door.field.clone(), door.prefetch, door.claim_after);
            Box::new(move |intake, stop| redis::streams::run(options, intake, stop).boxed())
        }
        _ => {
            let exchange = door.exchange.as_deref().unwrap_or_default();
            let options = rabbitmq::Options::new(&door.url, exchange, &door.from, &door.queue)?;
            let options = options.with(door.quorum, door.prefetch).believing(ca);
            Box::new(move |intake, stop| rabbitmq::run(options, intake, stop).boxed())
        }
    })
}

/// What could not be read as it is set: a server starts without it.
pub(crate) fn mistakes(file: &str, config: &Config) -> Vec<Problem> {
    let sources = config.apps.iter().flat_map(|app| app.sources.iter().map(move |source| (app, source)));
    let wrong = sources.filter_map(|(app, source)| {
        let said = reader(source.door.as_ref()?).err()?;
        let message = format!("app.{}.source.{} cannot be read: {said}", app.name, source.name);
        let help = Some(HELP.to_owned());
        Some(Problem { file: file.to_owned(), line: source.rules.line, column: 1, message, help })
    });
    wrong.collect()
}
