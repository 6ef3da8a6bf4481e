//! The kinds of load: what happens in one round.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::Serialize;

use super::Plan;
use super::load::Load;
use super::process::Memory;
use crate::failure::Failure;

/// How long one waits at most before looking again.
const TICK: Duration = Duration::from_millis(100);
/// Below this the clock is watched instead of the sockets: the system's timers are too coarse.
const WATCH: Duration = Duration::from_micros(1_500);

/// A kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// Publish to everybody; the next publish when everybody has heard it
    Fanout,
    /// Publish to everybody, many publishes under way
    Saturation,
    /// Publish to one connection each, at random
    Unicast,
    /// Connect, and close again
    Connect,
    /// Hold connections, and look at the memory
    Idle,
    /// Hold connections, and look at what heartbeats cost
    Ping,
    /// As `latency`, while some connections read nothing
    Slow,
    /// Clients join and leave a channel
    Joins,
    /// Publish to a channel that nobody hears, while there are many others
    Channels,
    /// Publish to everybody at random moments, so many a second
    Latency,
    /// As `fanout`, over HTTP long polling
    Polling,
    /// Clients say something and wait for the acknowledgement
    Echo,
    /// Publish to users who are not connected, in an app with an inbox and a store on disk (`oyez dev --config FILE
    /// --data-dir DIR`); each publisher has a connection, and waits for each answer
    Durable,
}

impl Scenario {
    /// Its name on the command line.
    pub(super) fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// How many rounds there are where nothing else is said.
    pub(super) fn rounds(self) -> u32 {
        if matches!(self, Self::Idle | Self::Ping) { 1 } else { 5 }
    }

    /// Whether clients are connected before the first round.
    pub(super) fn begins_connected(self) -> bool {
        !matches!(self, Self::Connect | Self::Durable)
    }

    /// Whether there is anything to publish.
    pub(super) fn publishes(self) -> bool {
        !matches!(self, Self::Connect | Self::Idle | Self::Ping | Self::Joins | Self::Echo)
    }
}

/// What a round was.
#[derive(Debug, Default, Serialize)]
pub(super) struct Round {
    pub(super) round: u32,
    pub(super) deliveries: u64,
    pub(super) publishes: u64,
    /// Connections that were set up, or questions that were answered, or heartbeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) operations: Option<u64>,
    /// Deliveries that overtook others.
    pub(super) out_of_order: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpu_ns: Option<u64>,
    /// Of that, the thread's that had most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) busiest_ns: Option<u64>,
    pub(super) wall_ns: u64,
    /// Of `connect`: CPU time for closing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) close_cpu_ns: Option<u64>,
    pub(super) latency_ns: Vec<u64>,
    #[serde(flatten)]
    pub(super) memory: Option<Memory>,
}

/// The next message of each stream.
#[derive(Debug)]
pub(super) struct Numbers {
    /// What everybody hears.
    all: u32,
    /// What one hears.
    one: Vec<u32>,
}

impl Numbers {
    /// For so many connections.
    pub(super) fn new(connections: usize) -> Self {
        Self { all: 0, one: vec![0; connections] }
    }
}

/// One round.
pub(super) fn round(load: &mut Load, plan: &Plan, numbers: &mut Numbers, number: u32) -> Result<Round, Failure> {
    let samples = if plan.each { plan.connections as u64 } else { 1 } * u64::from(plan.publishes);
    load.shared.tally.begin(samples, plan.each);
    load.moved();
    let (pings, cpu) = (load.shared.pings, load.cpu()?);
    load.mark();
    let began = Instant::now();
    let (mut publishes, mut operations) = (plan.publishes, None);
    match plan.scenario {
        Scenario::Fanout | Scenario::Polling => fan_out(load, plan, numbers, 1)?,
        Scenario::Saturation => fan_out(load, plan, numbers, plan.in_flight)?,
        Scenario::Unicast => unicast(load, plan, numbers)?,
        Scenario::Channels => unheard(load, plan)?,
        Scenario::Durable => durable(load, plan)?,
        Scenario::Latency | Scenario::Slow => paced(load, plan, numbers)?,
        Scenario::Connect | Scenario::Idle | Scenario::Ping | Scenario::Joins | Scenario::Echo => {
            publishes = 0;
            operations = Some(converse(load, plan)?);
        }
    }
    let wall = began.elapsed();
    let (after, busiest_ns) = (load.cpu()?, load.busiest());
    if plan.scenario == Scenario::Ping {
        operations = Some(load.shared.pings - pings);
    }
    let memory = load.memory();
    let close_cpu_ns = if plan.scenario == Scenario::Connect { close(load, after)? } else { None };
    Ok(Round {
        round: number,
        deliveries: load.shared.tally.heard,
        publishes: publishes.into(),
        operations,
        out_of_order: load.shared.tally.disorder,
        cpu_ns: after.zip(cpu).map(|(after, before)| after - before),
        busiest_ns,
        wall_ns: u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX),
        close_cpu_ns,
        latency_ns: load.shared.tally.latencies(),
        memory,
    })
}

/// What is no publishing; how many operations it was.
fn converse(load: &mut Load, plan: &Plan) -> Result<u64, Failure> {
    match plan.scenario {
        Scenario::Connect => load.connect(plan.connections, 0)?,
        Scenario::Echo => ask(load, plan, 1)?,
        Scenario::Joins => ask(load, plan, plan.in_flight)?,
        _ => load.linger(plan.time)?,
    }
    Ok(if plan.scenario == Scenario::Connect { load.ready as u64 } else { load.shared.asks.answered })
}

fn close(load: &mut Load, before: Option<u64>) -> Result<Option<u64>, Failure> {
    load.disconnect()?;
    Ok(load.cpu()?.zip(before).map(|(after, before)| after - before))
}

/// Publishes to everybody. With one under way: the next when everybody has heard it; else as soon as the server has
/// answered an earlier one.
fn fan_out(load: &mut Load, plan: &Plan, numbers: &mut Numbers, in_flight: usize) -> Result<(), Failure> {
    let receivers = plan.connections - plan.slow;
    let mut left = plan.publishes;
    let total = u64::from(plan.publishes) * receivers as u64;
    loop {
        while left > 0 && load.unanswered() < in_flight && (in_flight > 1 || load.shared.tally.due == 0) {
            load.publish(0, numbers.all, receivers, load.now())?;
            numbers.all += 1;
            left -= 1;
        }
        if left == 0 && load.unanswered() == 0 && load.shared.tally.due == 0 {
            return Ok(());
        }
        load.turn(TICK)?;
        show(load, total);
        let sent = numbers.all;
        load.check(|load| missing(load, |_| sent))?;
    }
}

/// Publishes to one connection each.
fn unicast(load: &mut Load, plan: &Plan, numbers: &mut Numbers) -> Result<(), Failure> {
    let mut left = plan.publishes;
    loop {
        while left > 0 && load.unanswered() < plan.in_flight {
            let to = rand::random_range(0..numbers.one.len());
            load.publish(to, numbers.one[to], 1, load.now())?;
            numbers.one[to] += 1;
            left -= 1;
        }
        if left == 0 && load.unanswered() == 0 && load.shared.tally.due == 0 {
            return Ok(());
        }
        load.turn(TICK)?;
        show(load, plan.publishes.into());
        load.check(|load| missing(load, |client| numbers.one[client]))?;
    }
}

/// Publishes what nobody hears.
fn unheard(load: &mut Load, plan: &Plan) -> Result<(), Failure> {
    let mut left = plan.publishes;
    while left > 0 || load.unanswered() > 0 {
        while left > 0 && load.unanswered() < plan.in_flight {
            load.publish(0, left, 0, load.now())?;
            left -= 1;
        }
        load.turn(TICK)?;
        load.check(|load| format!("{} publishes are not answered", load.unanswered()))?;
    }
    Ok(())
}

/// Publishes to users at random, who are away; every publisher waits for the answer to one before the next.
fn durable(load: &mut Load, plan: &Plan) -> Result<(), Failure> {
    let mut left = plan.publishes;
    while left > 0 || load.unanswered() > 0 {
        while left > 0 && load.ask(rand::random_range(0..plan.connections))? {
            left -= 1;
        }
        load.turn(TICK)?;
        load.progress.show(|| format!("{left} publishes left"));
        load.check(|load| format!("{} publishes are not answered", load.unanswered()))?;
    }
    Ok(())
}

/// Publishes to everybody whatever the server does, at moments as of many publishers who know nothing of each other (a
/// Poisson process; the same moments for every server). Latency counts from when a publish was due.
fn paced(load: &mut Load, plan: &Plan, numbers: &mut Numbers) -> Result<(), Failure> {
    let receivers = plan.connections - plan.slow;
    let total = u64::from(plan.publishes) * receivers as u64;
    let mut moments = StdRng::seed_from_u64(u64::from(numbers.all));
    let mut due = load.now();
    let mut sent = 0;
    while sent < plan.publishes || load.unanswered() > 0 || load.shared.tally.due > 0 {
        let now = load.now();
        while sent < plan.publishes && due <= now {
            load.publish(0, numbers.all, receivers, due)?;
            numbers.all += 1;
            sent += 1;
            due += gap(&mut moments, plan.rate);
        }
        let left = Duration::from_nanos(due.saturating_sub(load.now()));
        let timeout = if sent == plan.publishes { TICK } else { left.checked_sub(WATCH).unwrap_or_default().min(TICK) };
        load.turn(timeout)?;
        if sent > 0 && load.shared.tally.due == 0 && load.unanswered() == 0 {
            load.moved();
        }
        show(load, total);
        let expected = numbers.all;
        load.check(|load| missing(load, |_| expected))?;
    }
    Ok(())
}

/// Nanoseconds between two of so many events a second that happen independently.
fn gap(moments: &mut StdRng, rate: u32) -> u64 {
    let mean = Duration::from_secs(1) / rate.max(1);
    let share = -(1.0 - moments.random::<f64>()).ln();
    u64::try_from(mean.mul_f64(share).as_nanos()).unwrap_or(u64::MAX)
}

/// Lets clients ask, each so much at a time, and waits for the answers.
fn ask(load: &mut Load, plan: &Plan, in_flight: usize) -> Result<(), Failure> {
    let total = u64::from(plan.publishes);
    (load.shared.asks.left, load.shared.asks.answered) = (total, 0);
    for _ in 0..in_flight {
        for client in 0..load.clients.len() {
            let now = load.now();
            load.clients[client].ask(&mut load.shared.asks, now)?;
        }
    }
    let done = |load: &Load| load.shared.asks.answered == total;
    load.wait(done, |load| format!("{} of {total} questions were answered", load.shared.asks.answered))
}

fn show(load: &mut Load, total: u64) {
    let heard = load.shared.tally.heard;
    load.progress.show(|| format!("{heard} of {total} deliveries"));
}

/// What has not come; `sent` is how many messages were for a connection.
fn missing(load: &Load, sent: impl Fn(usize) -> u32) -> String {
    let late =
        load.clients.iter().enumerate().find(|(number, client)| !client.is_deaf() && client.heard.next < sent(*number));
    match late {
        Some((number, client)) => format!(
            "lost deliveries: {}; the first one is message {} to connection {number}",
            load.shared.tally.due, client.heard.next
        ),
        None => format!("{} publishes are not answered", load.unanswered()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_as_long_as_the_rate_says_and_the_same_each_time() {
        let gaps = || {
            let mut moments = StdRng::seed_from_u64(7);
            (0..10_000).map(|_| gap(&mut moments, 50)).collect::<Vec<_>>()
        };
        let (first, again) = (gaps(), gaps());
        assert_eq!(first, again);
        let mean = first.iter().sum::<u64>() / 10_000;
        assert!((19_000_000..21_000_000).contains(&mean), "{mean} ns");
        // Of an exponential distribution, so many are shorter than the mean.
        let short = first.iter().filter(|gap| **gap < 20_000_000).count();
        assert!((6_100..6_550).contains(&short), "{short} of 10,000");
    }
}
