//! `oyez bench`: a load generator for WebSocket and Socket.IO servers.
//!
//! One thread, one event loop, one buffer: it must be so cheap that it is the server that is measured. A message is
//! found and counted where it lies in the buffer; nothing is parsed. Every delivery is numbered, and a run fails when
//! one is lost or comes twice.

mod arrivals;
mod asks;
mod client;
mod frames;
mod http;
mod load;
mod marker;
mod polling;
mod process;
mod publisher;
mod report;
mod scenario;
mod script;
mod tally;
mod target;
mod template;
mod token;
mod wire;

use std::time::{Duration, Instant};

pub(crate) use self::marker::SHORTEST;
pub(crate) use self::scenario::Scenario;
pub(crate) use self::script::Protocol;
pub(crate) use self::target::Address;
pub(crate) use self::template::Template;
pub(crate) use self::token::Tokens;

use self::asks::Asks;
use self::client::Shared;
use self::load::{Doorway, Load, token_of};
use self::marker::Marker;
use self::process::Process;
use self::publisher::{Publisher, Request};
use self::report::{Report, Setup};
use self::script::Script;
use self::tally::Tally;
use crate::compose;
use crate::failure::Failure;
use crate::progress::Progress;

/// How long a server may tidy up before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(2);

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The kind of load.
    pub(crate) scenario: Scenario,
    /// How many subscribers.
    pub(crate) connections: usize,
    /// How many rounds; with `step`, at most so many.
    pub(crate) rounds: Option<u32>,
    /// Publishes, or questions, per round.
    pub(crate) publishes: u32,
    /// How many of them may be under way.
    pub(crate) in_flight: usize,
    /// Publishes per second, where the load is open.
    pub(crate) rate: u32,
    /// How long a round lasts that only waits.
    pub(crate) time: Duration,
    /// How many subscribers read nothing.
    pub(crate) slow: usize,
    /// How long a payload is.
    pub(crate) size: usize,
    /// Whether a line on stdin begins each round.
    pub(crate) step: bool,
    /// Whether the results are JSON lines.
    pub(crate) json: bool,
    /// Whether the latency of each delivery counts, not of a publication's last one.
    pub(crate) each: bool,
    /// The processes of the server.
    pub(crate) server: Vec<u32>,
    /// How long nothing may happen while something is expected.
    pub(crate) patience: Duration,
    /// Between two heartbeats of the clients.
    pub(crate) beat: Duration,
}

/// Who takes part, and what they say.
#[derive(Debug)]
pub(crate) struct Cast {
    /// How subscribers connect.
    pub(crate) subscribers: Subscribers,
    /// How one publishes.
    pub(crate) publish: Option<Publish>,
    /// What clients ask.
    pub(crate) questions: Vec<Template>,
    /// What the answers hold.
    pub(crate) reply: Template,
}

/// How subscribers connect.
#[derive(Debug)]
pub(crate) struct Subscribers {
    /// The server's nodes, which take turns.
    pub(crate) nodes: Vec<Address>,
    /// Path and query.
    pub(crate) path: Template,
    /// Header lines.
    pub(crate) headers: Vec<Template>,
    /// How many may be on their way in at once.
    pub(crate) handshakes: usize,
    /// What is spoken.
    pub(crate) protocol: Protocol,
    /// The Socket.IO namespace.
    pub(crate) namespace: String,
    /// Who they are.
    pub(crate) tokens: Tokens,
    /// What they say first.
    pub(crate) hello: Vec<Template>,
    /// What they wait for then.
    pub(crate) ready: Vec<String>,
    /// What they say from time to time.
    pub(crate) heartbeat: Option<Template>,
    /// The names of their channels.
    pub(crate) channel: Template,
    /// How many channels there are in all.
    pub(crate) channels: usize,
}

/// How one publishes.
#[derive(Debug)]
pub(crate) struct Publish {
    /// The server's nodes, which take turns.
    pub(crate) nodes: Vec<Address>,
    /// Path and query.
    pub(crate) path: Template,
    /// Header lines.
    pub(crate) headers: Vec<String>,
    /// The body.
    pub(crate) body: Template,
    /// What every answer must hold.
    pub(crate) reply: Option<String>,
}

/// Runs a benchmark and reports it.
pub(crate) fn run(plan: &Plan, cast: Cast) -> Result<(), Failure> {
    compose::raise_file_limit();
    let mut report = Report::new(plan);
    let outcome = assemble(plan, cast).and_then(|mut load| {
        let outcome = measure(&mut load, plan, &mut report);
        load.progress.clear();
        outcome
    });
    match &outcome {
        Ok(()) => report.summary(),
        Err(failure) => report.failed(failure),
    }
    outcome
}

/// Connects, and then goes round after round.
fn measure(load: &mut Load, plan: &Plan, report: &mut Report) -> Result<(), Failure> {
    let began = Instant::now();
    let (cpu, before) = (load.cpu()?, load.memory());
    if plan.scenario.begins_connected() {
        load.connect(plan.connections, plan.slow)?;
    }
    let wall = began.elapsed();
    if plan.scenario == Scenario::Idle {
        load.linger(SETTLE)?;
    }
    let cpu = load.cpu()?.zip(cpu).map(|(after, before)| after - before);
    load.progress.clear();
    report.ready(load.clients.len(), Setup::new(cpu, wall, before, load.memory()));
    let rounds = plan.rounds.unwrap_or(if plan.step { u32::MAX } else { plan.scenario.rounds() });
    let mut numbers = scenario::Numbers::new(plan.connections);
    for number in 1..=rounds {
        if plan.step && !load.await_line()? {
            break;
        }
        load.heartbeats()?;
        load.progress.prefix = format!("{}, round {number}: ", plan.scenario.name());
        let round = scenario::round(load, plan, &mut numbers, number)?;
        load.progress.clear();
        report.round(round);
    }
    load.disconnect()
}

/// Everything that takes part, before anything is connected.
fn assemble(plan: &Plan, cast: Cast) -> Result<Load, Failure> {
    let Cast { subscribers, publish, questions, reply } = cast;
    let Subscribers { nodes, path, headers, handshakes, .. } = subscribers;
    let Subscribers { protocol, namespace, tokens, hello, ready, heartbeat, channel, channels, .. } = subscribers;
    let asks = Asks { questions, reply: Some(reply), channel: Some(channel.clone()), ..Asks::default() };
    let namespace = if namespace == "/" { String::new() } else { format!("{namespace},") };
    let channels = channels.div_ceil(plan.connections);
    let shared = Shared {
        script: Script { protocol, namespace, tokens, hello, ready, heartbeat, channel, channels },
        tally: Tally::new(Marker::new(rand::random(), plan.size)),
        asks,
        pings: 0,
        scratch: Vec::new(),
        last: Vec::new(),
    };
    let doorway = Doorway { nodes, path, headers, polling: plan.scenario == Scenario::Polling, handshakes };
    let publishers = publish.map_or_else(Vec::new, |publish| {
        let Publish { nodes, path, headers, body, reply } = publish;
        let many = if plan.scenario == Scenario::Durable { plan.in_flight } else { nodes.len() };
        let publisher = |(number, address): (usize, &Address)| {
            let (path, headers, body, reply) = (path.clone(), headers.clone(), body.clone(), reply.clone());
            Publisher::new(Request { address: address.clone(), path, headers, body, reply }, token_of(number))
        };
        nodes.iter().cycle().take(many).enumerate().map(publisher).collect()
    });
    let process = Process::new(&plan.server)?;
    let progress = Progress::new(!plan.json);
    let load = Load::new(doorway, shared, publishers, (process, plan.patience, plan.beat), progress);
    load.map_err(|error| Failure::new(format!("cannot start: {error}")))
}
