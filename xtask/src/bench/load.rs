//! One load generator: `oyez bench --json --step`, which waits for its turn.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use serde_json::Value;

use super::install::CERTIFICATE;
use super::peer::{JWT_SECRET, Peer};
use super::results::{Round, Setup};
use super::scenario::Scenario;
use super::server::{Server, pinned};
use super::statistics::thin;
use crate::test::cargo;

/// The most latencies of one round that are kept.
const SAMPLES: usize = 1_000;

/// A load generator whose clients are connected.
#[derive(Debug)]
pub(super) struct Load {
    child: Child,
    turns: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

/// The first line that it prints.
#[derive(Debug, Deserialize)]
struct Ready {
    connections: u64,
    setup: Value,
}

impl Load {
    /// Connects all clients.
    pub(super) fn start(
        root: &Path,
        core: usize,
        scenario: &Scenario,
        (peer, server): (&Peer, &Server),
        quick: bool,
    ) -> Result<(Self, Setup)> {
        let mut words = vec![root.join("target/release/oyez"), "bench".into()];
        words.extend(scenario.arguments(peer, &server.address.to_string(), quick).into_iter().map(Into::into));
        if peer.is_encrypted() {
            words.extend(["--ca".into(), peer.folder(root).join(CERTIFICATE)]);
        }
        words.extend(["--server-pid".into(), server.id().to_string().into(), "--json".into(), "--step".into()]);
        Self::begin(&core.to_string(), &words)
    }

    /// What needs no server: the benchmark of the store steps as a load generator does.
    pub(super) fn in_process(
        root: &Path,
        cores: &str,
        scenario: &Scenario,
        what: &str,
        quick: bool,
    ) -> Result<(Self, Setup)> {
        let cargo = cargo::command(root).get_program().to_owned();
        let manifest = root.join("Cargo.toml");
        let mut words: Vec<PathBuf> = [cargo, "bench".into(), "--quiet".into()].map(Into::into).into();
        words.extend(["--manifest-path".into(), manifest]);
        words.extend(["--package", "oyez-backends", "--bench", "store", "--", "step", what].map(Into::into));
        words.push(scenario.size(quick).publishes.to_string().into());
        Self::begin(cores, &words)
    }

    fn begin(cores: &str, words: &[PathBuf]) -> Result<(Self, Setup)> {
        let mut command = pinned(cores, words);
        command
            .env("OYEZ_BENCH_JWT_SECRET", JWT_SECRET)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().context("taskset, of util-linux")?;
        let turns = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().context("it was just piped")?).lines();
        let mut load = Self { child, turns, lines };
        let Ready { connections, setup } = serde_json::from_value(load.line()?)?;
        let number = |name: &str| setup[name].as_u64().unwrap_or(0);
        let setup = Setup {
            connections,
            cpu_ns: number("cpu_ns"),
            wall_ns: number("wall_ns"),
            pss_before: number("pss_before"),
            pss_after: number("pss_after"),
        };
        Ok((load, setup))
    }

    /// One round.
    pub(super) fn turn(&mut self) -> Result<Round> {
        let turns = self.turns.as_mut().context("it has ended")?;
        turns.write_all(b"\n").and_then(|()| turns.flush()).context("the load generator is gone")?;
        let mut round: Round = serde_json::from_value(self.line()?)?;
        thin(&mut round.latency_ns, SAMPLES);
        Ok(round)
    }

    /// The next line, unless it tells of an error.
    fn line(&mut self) -> Result<Value> {
        let Some(line) = self.lines.next().transpose()? else { bail!("the load generator ended without a word") };
        let value: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
        match value["error"].as_str() {
            Some(error) => Err(anyhow!("{error}")),
            None => Ok(value),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // The end of its input is the end of its turns; one that failed has ended before.
        drop(self.turns.take());
        if let Err(error) = self.child.wait() {
            eprintln!("a load generator cannot be waited for: {error}");
        }
    }
}
