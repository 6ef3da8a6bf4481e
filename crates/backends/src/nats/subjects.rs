//! Messages from subjects of NATS, which keeps none of them: what is said while nobody is connected is lost.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use oyez_hub::source::{Intake, Trouble};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::delivery::{arrival, json};
use super::fault::{Remedies, Wrong, fault};
use super::line::Line;
use super::servers::Servers;
use super::wire::{self, Message};
use crate::supervise::{Fault, supervise};

/// How often the server is asked whether it is there.
const PING: Duration = Duration::from_secs(5);

/// How long messages under way may take when the source ends.
const GRACE: Duration = Duration::from_secs(5);

/// What is listened to, and where.
#[derive(Debug, Clone)]
pub struct Options {
    servers: Servers,
    subjects: Vec<String>,
    group: Option<String>,
    most: usize,
}

impl Options {
    /// These subjects, or patterns of them, at this NATS; so many messages are under way at once. Of the servers of a group
    /// one hears each message, without one all do.
    #[must_use]
    pub fn new(servers: Servers, from: &[String], group: Option<&str>, most: u16) -> Self {
        Self { servers, subjects: from.to_vec(), group: group.map(str::to_owned), most: most.into() }
    }
}

impl Remedies for Options {
    fn place(&self) -> String {
        self.servers.to_string()
    }

    fn rights(&self) -> String {
        let subjects = self.subjects.join("\", \"");
        match &self.group {
            None => format!("let the user subscribe to \"{subjects}\""),
            Some(group) => format!("let the user subscribe to \"{subjects}\", also in the queue group \"{group}\""),
        }
    }

    fn lost(&self) -> &'static str {
        "what was said meanwhile is lost"
    }
}

/// Listens until it is stopped.
pub async fn run(options: Options, intake: Intake, stop: CancellationToken) {
    let (options, intake, stop) = (&options, &intake, &stop);
    supervise(intake, stop, || session(options, intake, stop)).await;
}

/// One connection; `Ok` when the source is stopped.
async fn session(options: &Options, intake: &Intake, stop: &CancellationToken) -> Result<(), Fault> {
    let wrong = |trouble| move |wrong: Wrong| fault(&wrong, options, trouble);
    let mut early = Vec::new();
    let opening = async {
        let mut line = Line::open(&options.servers, intake.name(), PING).await.map_err(wrong(Trouble::Unreachable))?;
        let lane = line.lane.clone();
        let subscribed = line.until(lane.confirm(subscriptions(options)), |message| early.push(message)).await;
        subscribed.flatten().map_err(wrong(Trouble::Lost))?;
        Ok(line)
    };
    let line = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        opened = opening => opened?,
    };
    info!(event = "source_connected", app = intake.app_name(), source = intake.name(), place = options.place());
    intake.figures().works();
    listen(options, intake, line, early, stop).await.map_err(wrong(Trouble::Lost))
}

fn subscriptions(options: &Options) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (id, subject) in (0..).zip(&options.subjects) {
        wire::subscribe(&mut bytes, subject, options.group.as_deref(), id);
    }
    bytes
}

async fn listen(
    options: &Options,
    intake: &Intake,
    mut line: Line,
    early: Vec<Message>,
    stop: &CancellationToken,
) -> Result<(), Wrong> {
    let mut under_way: FuturesUnordered<_> = early.into_iter().map(|message| settle(intake, message)).collect();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            message = line.next(), if under_way.len() < options.most => under_way.push(settle(intake, message?)),
            Some(()) = under_way.next() => {}
        }
    }
    // What the server has given to us of a group's, nobody else gets.
    let mut bytes = Vec::new();
    (0..options.subjects.len() as u64).for_each(|id| wire::unsubscribe(&mut bytes, id));
    let rest = async {
        let (lane, mut late) = (line.lane.clone(), Vec::new());
        let _ = line.until(lane.confirm(bytes), |message| late.push(message)).await;
        under_way.extend(late.into_iter().map(|message| settle(intake, message)));
        while under_way.next().await.is_some() {}
    };
    let _ = timeout(GRACE, rest).await;
    Ok(())
}

/// Publishes one message. NATS wants no acknowledgement and has no dead letters: the log has the reason.
async fn settle(intake: &Intake, message: Message) {
    let headers = message.headers();
    let json = json(&headers);
    let _ = intake.take(&arrival(&message, &headers, &json, None, None)).await;
}
