//! Who is on stage with whom, and whose turn it is.

use std::path::Path;

use anyhow::Result;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use super::load::Load;
use super::machine::Cores;
use super::peer::{BARE, OYEZ, OYEZ_DURABLE, OYEZ_LIVE, OYEZ_TWO, Peer, Start};
use super::results::{Results, Run};
use super::scenario::{Scenario, Unit};
use super::server::Server;

/// Where scenarios are played.
#[derive(Debug)]
pub(super) struct Stage<'a> {
    pub(super) root: &'a Path,
    pub(super) cores: Cores,
    pub(super) quick: bool,
}

/// A server with the clients it has.
struct Actor {
    run: Run,
    /// None when it failed. The clients leave before their server does; what runs in process has none.
    pair: Option<(Load, Option<Server>)>,
}

impl Stage<'_> {
    /// Measures everybody who can take part.
    pub(super) fn play(&self, scenario: &Scenario, peers: &[&'static Peer], results: &mut Results) -> Result<()> {
        let suited: Vec<&Peer> = peers.iter().copied().filter(|peer| scenario.suits(peer)).collect();
        println!("── {}", scenario.name);
        for (group, members) in groups(&suited, scenario.at_once(self.quick)).into_iter().enumerate() {
            let mut actors: Vec<Actor> = members.into_iter().map(|peer| self.enter(scenario, peer, group)).collect();
            let rounds = scenario.size(self.quick).rounds;
            // One more than counts, to warm up; memory has nothing to warm up.
            let turns = if rounds > 1 { rounds + 1 } else { 1 };
            for order in orders(actors.len(), turns) {
                order.into_iter().for_each(|next| actors[next].turn());
            }
            results.runs.extend(actors.into_iter().map(Actor::leave));
        }
        let measure = results.measure(scenario.name);
        for run in results.runs.iter().filter(|run| run.scenario == scenario.name) {
            if run.peer == measure && run.group > 0 && run.failure.is_none() {
                continue; // it was told with the first group
            }
            println!("   {}", line(scenario, run, results));
        }
        Ok(())
    }

    /// Starts a server and connects its clients.
    fn enter(&self, scenario: &Scenario, peer: &'static Peer, group: usize) -> Actor {
        let run = Run { scenario: scenario.name.to_owned(), peer: peer.name.to_owned(), group, ..Run::default() };
        let start = || {
            let cores = self.cores;
            let both = format!("{},{}", cores.server, cores.load);
            if let Start::Bench(what) = peer.start {
                let (load, setup) = Load::in_process(self.root, &both, scenario, what, self.quick)?;
                return Ok((load, None, setup));
            }
            let own =
                if matches!(peer.name, OYEZ_TWO | OYEZ_DURABLE | OYEZ_LIVE) { both } else { cores.server.to_string() };
            let server = Server::start(self.root, peer, &own)?;
            let (load, setup) = Load::start(self.root, self.cores.load, scenario, (peer, &server), self.quick)?;
            anyhow::Ok((load, Some(server), setup))
        };
        match start() {
            Ok((load, server, setup)) => Actor { run: Run { setup, ..run }, pair: Some((load, server)) },
            Err(error) => Actor { run: Run { failure: Some(format!("{error:#}")), ..run }, pair: None },
        }
    }
}

impl Actor {
    /// One round, unless it has failed.
    fn turn(&mut self) {
        let Some((load, _)) = &mut self.pair else { return };
        match load.turn() {
            Ok(round) => self.run.rounds.push(round),
            Err(error) => {
                self.run.failure = Some(format!("{error:#}"));
                self.pair = None;
            }
        }
    }

    fn leave(self) -> Run {
        self.run
    }
}

/// Who comes after whom in each of so many rounds: in any order, but nobody twice in a row, because the second time
/// everything would still be in the processor's caches.
fn orders(actors: usize, rounds: u32) -> Vec<Vec<usize>> {
    let mut dice = StdRng::seed_from_u64(u64::from(rounds));
    let mut last = None;
    let mut order: Vec<usize> = (0..actors).collect();
    let mut round = || {
        order.shuffle(&mut dice);
        if order.first().copied() == last {
            order.rotate_left(1);
        }
        last = order.last().copied();
        order.clone()
    };
    (0..rounds).map(|_| round()).collect()
}

/// So many at a time beside the measure, which is in every group: the bare loop, or Oyez where that cannot take part.
/// Oyez comes into the first group, and the rest follow as they stand.
fn groups(peers: &[&'static Peer], at_once: usize) -> Vec<Vec<&'static Peer>> {
    let find = |name: &str| peers.iter().copied().find(|peer| peer.name == name);
    let (bare, oyez) = (find(BARE), find(OYEZ));
    let measure = bare.or(oyez);
    let others = peers.iter().copied().filter(|peer| peer.name != BARE && peer.name != OYEZ);
    let all: Vec<&Peer> = bare.and(oyez).into_iter().chain(others).collect();
    if all.is_empty() {
        return measure.into_iter().map(|alone| vec![alone]).collect();
    }
    all.chunks(at_once.max(1)).map(|chunk| measure.into_iter().chain(chunk.iter().copied()).collect()).collect()
}

/// What a run came to, for the terminal.
fn line(scenario: &Scenario, run: &Run, results: &Results) -> String {
    if let Some(failure) = &run.failure {
        return format!("{:<13} failed: {failure}", run.peer);
    }
    let (unit, scale) = if scenario.unit == Unit::Memory { ("KiB", 1_024.0) } else { ("µs", 1_000.0) };
    let cost = results.cost(scenario, &run.peer).unwrap_or(f64::NAN) / scale;
    let ratio = results.ratio(scenario, &run.peer);
    let ratio = ratio.map_or_else(String::new, |ratio| format!("  {ratio:.2} × {}", results.measure(scenario.name)));
    let latency = |percent| results.latency(scenario.name, &run.peer, percent).map(|ns| ns as f64 / 1e6);
    let latency = match (latency(50), latency(99)) {
        (Some(p50), Some(p99)) => format!("  p50 {p50:.2} ms, p99 {p99:.2} ms"),
        _ => String::new(),
    };
    format!("{:<13} {cost:>8.2} {unit} per {}{ratio}{latency}", run.peer, scenario.unit.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::peer::{BARE_MANY, PEERS};

    #[test]
    fn the_bare_loop_is_in_every_group_and_everybody_in_one() {
        let all: Vec<&Peer> = PEERS.iter().collect();
        let groups = groups(&all, 3);
        assert_eq!(names(&groups[0]), [BARE, OYEZ, "bare-uring", BARE_MANY]);
        assert!(groups.iter().all(|group| group[0].name == BARE && group.len() <= 4));
        assert_eq!(groups.iter().map(|group| group.len() - 1).sum::<usize>(), PEERS.len() - 1);
    }

    #[test]
    fn everybody_has_a_turn_in_each_round_and_nobody_two_in_a_row() {
        for actors in 2..6 {
            let orders = orders(actors, 50);
            for order in &orders {
                let mut sorted = order.clone();
                sorted.sort_unstable();
                assert!(sorted.into_iter().eq(0..actors), "{order:?}");
            }
            let turns = orders.concat();
            assert!(turns.windows(2).all(|pair| pair[0] != pair[1]), "{turns:?}");
        }
        assert_eq!(orders(1, 3), [[0], [0], [0]]);
    }

    #[test]
    fn without_the_bare_loop_oyez_is_in_every_group() {
        let unicast = Scenario::named("unicast").expect("it is in the table");
        let some: Vec<&Peer> = PEERS.iter().filter(|peer| unicast.suits(peer)).collect();
        let groups = groups(&some, 3);
        assert_eq!(names(&groups[0]), [OYEZ, "socketioxide", "node", "bun"]);
        assert!(groups.iter().all(|group| group[0].name == OYEZ && group.len() <= 4));
        assert_eq!(groups.iter().map(|group| group.len() - 1).sum::<usize>(), some.len() - 1);
    }

    #[test]
    fn the_measure_may_be_alone() {
        let oyez = Peer::named(OYEZ).expect("it is in the table");
        assert_eq!(groups(&[oyez], 3), [[oyez]]);
        assert_eq!(groups(&[], 3), Vec::<Vec<&Peer>>::new());
    }

    fn names(group: &[&Peer]) -> Vec<&'static str> {
        group.iter().map(|peer| peer.name).collect()
    }
}
