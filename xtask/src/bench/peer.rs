//! Who is measured: a row a server.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::dialect::Dialect;
use super::install;

/// The name of what this is all about.
pub(super) const OYEZ: &str = "oyez";
/// Oyez without io_uring.
pub(super) const OYEZ_EPOLL: &str = "oyez-epoll";
/// Oyez with two shards, on two cores.
pub(super) const OYEZ_TWO: &str = "oyez-two";
/// Oyez behind TLS.
pub(super) const OYEZ_TLS: &str = "oyez-tls";
/// Oyez with many clients, where growth is measured.
pub(super) const OYEZ_MANY: &str = "oyez-many";
/// Oyez with a data directory, where publications are durable.
pub(super) const OYEZ_DURABLE: &str = "oyez-durable";
/// The same server, while nothing that is published is kept.
pub(super) const OYEZ_LIVE: &str = "oyez-live";
/// Its hub and its store in process, without HTTP.
pub(super) const HUB: &str = "hub";
/// The engine of its store, and nothing around it.
pub(super) const ENGINE: &str = "engine";
/// The same engine, with the records that the store writes for a message.
pub(super) const RECORDS: &str = "records";
/// The slowest of all.
pub(super) const PYTHON: &str = "python";
/// The name of the measure.
pub(super) const BARE: &str = "bare";
/// The measure with many clients, where growth is measured.
pub(super) const BARE_MANY: &str = "bare-many";
/// The measure with io_uring.
pub(super) const URING: &str = "bare-uring";
/// The measure with io_uring and many clients.
pub(super) const URING_MANY: &str = "bare-uring-many";
/// The secret of the tokens in every server.
pub(super) const JWT_SECRET: &str = "a benchmark on loopback keeps no secrets";
/// The key that Oyez wants from publishers.
pub(super) const API_KEY: &str = "a benchmark on loopback keeps no secrets";

/// A server that is measured.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// What it is called on the command line and in results.
    pub(super) name: &'static str,
    /// What it is called in the report.
    pub(super) title: &'static str,
    /// What clients and publishers say to it.
    pub(super) dialect: Dialect,
    /// How it gets here; gives its version.
    pub(super) install: Install,
    /// How it is started.
    pub(super) start: Start,
}

/// How a server gets onto this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Install {
    /// `cargo build --release` of Oyez.
    Oyez,
    /// `cargo build --release` in `bench/`; the version is that of this package in its lock file.
    Rust(Option<&'static str>),
    /// npm, and this runs it.
    Npm(&'static str),
    /// pip.
    Pip,
    /// Debian's Go packages; the version is that of the first one.
    Go(&'static [&'static str]),
    /// Debian's nginx with nchan.
    Nginx,
    /// The benchmark of the store, built when it is run.
    Engine,
}

/// How a server is started; it is told its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// `oyez serve` with the ticketing example; its `[server]` says this otherwise.
    Oyez(&'static [(&'static str, &'static str)]),
    /// A program under `target/bench/`, with these arguments and its address.
    Program(&'static str, &'static [&'static str]),
    /// A script under `bench/`, run by this program: on the path, or below the root.
    Script(&'static str, &'static str),
    /// nginx with a configuration.
    Nginx,
    /// No server: the benchmark of the store publishes by itself, into this.
    Bench(&'static str),
}

const GORILLA: &[&str] = &["golang-github-gorilla-websocket-dev", "golang-github-golang-jwt-jwt-dev", "golang-go"];
const CENTRIFUGE: &[&str] = &[
    "golang-github-centrifugal-centrifuge-dev",
    "golang-github-centrifugal-protocol-dev",
    "golang-github-fzambia-eagle-dev",
    "golang-github-igm-sockjs-go-dev",
    "golang-github-mna-redisc-dev",
    "golang-github-golang-jwt-jwt-dev",
    "golang-go",
];

/// All of them. The order is that of the report before it sorts.
pub(super) const PEERS: &[Peer] = &[
    Peer {
        name: BARE,
        title: "bare write() loop",
        dialect: Dialect::Bare,
        install: Install::Rust(None),
        start: Start::Program("release/limits", &[]),
    },
    Peer {
        name: URING,
        title: "bare io_uring batches",
        dialect: Dialect::Bare,
        install: Install::Rust(None),
        start: Start::Program("release/limits", &["--uring"]),
    },
    Peer {
        name: BARE_MANY,
        title: "bare write() loop, many clients",
        dialect: Dialect::Bare,
        install: Install::Rust(None),
        start: Start::Program("release/limits", &[]),
    },
    Peer {
        name: URING_MANY,
        title: "bare io_uring batches, many clients",
        dialect: Dialect::Bare,
        install: Install::Rust(None),
        start: Start::Program("release/limits", &["--uring"]),
    },
    Peer { name: OYEZ, title: "Oyez", dialect: Dialect::Oyez, install: Install::Oyez, start: Start::Oyez(&[]) },
    Peer {
        name: OYEZ_EPOLL,
        title: "Oyez without io_uring",
        dialect: Dialect::Oyez,
        install: Install::Oyez,
        start: Start::Oyez(&[("io_uring", "false")]),
    },
    Peer {
        name: OYEZ_TWO,
        title: "Oyez, two shards on two cores",
        dialect: Dialect::Oyez,
        install: Install::Oyez,
        start: Start::Oyez(&[("shards", "2")]),
    },
    Peer {
        name: OYEZ_TLS,
        title: "Oyez with TLS 1.3",
        dialect: Dialect::Oyez,
        install: Install::Oyez,
        start: Start::Oyez(&[]),
    },
    Peer {
        name: OYEZ_MANY,
        title: "Oyez, many clients",
        dialect: Dialect::Oyez,
        install: Install::Oyez,
        start: Start::Oyez(&[]),
    },
    Peer {
        name: OYEZ_DURABLE,
        title: "Oyez with a data directory",
        dialect: Dialect::Oyez,
        install: Install::Oyez,
        start: Start::Oyez(&[("shards", "2")]),
    },
    Peer {
        name: OYEZ_LIVE,
        title: "the same, live: nothing is stored",
        dialect: Dialect::Oyez,
        install: Install::Oyez,
        start: Start::Oyez(&[("shards", "2")]),
    },
    Peer {
        name: HUB,
        title: "Oyez in process, without HTTP",
        dialect: Dialect::Oyez,
        install: Install::Engine,
        start: Start::Bench("hub"),
    },
    Peer {
        name: ENGINE,
        title: "the store's engine alone",
        dialect: Dialect::Bare,
        install: Install::Engine,
        start: Start::Bench("bare"),
    },
    Peer {
        name: RECORDS,
        title: "the engine with the store's three records",
        dialect: Dialect::Bare,
        install: Install::Engine,
        start: Start::Bench("records"),
    },
    Peer {
        name: "socketioxide",
        title: "socketioxide",
        dialect: Dialect::Desk,
        install: Install::Rust(Some("socketioxide")),
        start: Start::Program("release/socketioxide-peer", &[]),
    },
    Peer {
        name: "node",
        title: "Socket.IO on Node",
        dialect: Dialect::Desk,
        install: Install::Npm("node"),
        start: Start::Script("node", "bench/socketio/node.mjs"),
    },
    Peer {
        name: "bun",
        title: "Socket.IO on Bun",
        dialect: Dialect::Desk,
        install: Install::Npm(BUN),
        start: Start::Script(BUN, "bench/socketio/bun.mjs"),
    },
    Peer {
        name: PYTHON,
        title: "python-socketio",
        dialect: Dialect::Desk,
        install: Install::Pip,
        start: Start::Script(install::PYTHON, "bench/python/server.py"),
    },
    Peer {
        name: "gorilla",
        title: "gorilla/websocket",
        dialect: Dialect::Gorilla,
        install: Install::Go(GORILLA),
        start: Start::Program("gorilla", &[]),
    },
    Peer {
        name: "centrifuge",
        title: "Centrifuge library",
        dialect: Dialect::Centrifuge,
        install: Install::Go(CENTRIFUGE),
        start: Start::Program("centrifuge", &[]),
    },
    Peer {
        name: "nchan",
        title: "nchan on nginx",
        dialect: Dialect::Nchan,
        install: Install::Nginx,
        start: Start::Nginx,
    },
];

const BUN: &str = "bench/socketio/node_modules/.bin/bun";

impl Peer {
    /// The one of this name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        PEERS.iter().find(|peer| peer.name == name)
    }

    /// The command that serves on this address. Files it needs beside are made in `folder`.
    pub(super) fn command(&self, root: &Path, address: &str, folder: &Path) -> Result<Vec<PathBuf>> {
        let built = root.join("target/bench");
        Ok(match self.start {
            Start::Oyez(server) => {
                let config = install::ticketing(root, folder, server, self.keeps())?;
                let oyez = root.join("target/release/oyez");
                let mut words: Vec<PathBuf> =
                    [oyez, "serve".into(), "--config".into(), config, "--listen".into(), address.into()].into();
                if self.is_encrypted() {
                    let [certificate, key] = install::certificate(folder)?;
                    words.extend(["--tls-cert".into(), certificate, "--tls-key".into(), key]);
                }
                if self.keeps() {
                    words.extend(["--data-dir".into(), install::data(folder)?]);
                }
                words
            }
            Start::Program(program, arguments) => {
                let arguments = arguments.iter().map(PathBuf::from);
                [built.join(program)].into_iter().chain(arguments).chain([address.into()]).collect()
            }
            Start::Script(runner, script) => {
                let runner = if runner.contains('/') { root.join(runner) } else { runner.into() };
                [runner, root.join(script), address.into()].into()
            }
            Start::Nginx => {
                let config = install::nginx_configuration(root, address, folder)?;
                ["nginx".into(), "-p".into(), folder.into(), "-e".into(), "stderr".into(), "-c".into(), config].into()
            }
            Start::Bench(_) => bail!("it is no server"),
        })
    }

    /// Whether it is Oyez set up in another way, to see what a single thing brings.
    pub(super) fn is_variant(&self) -> bool {
        matches!(self.start, Start::Oyez(_)) && self.name != OYEZ
    }

    /// Whether it shows what a machine can do, and not what a server does.
    pub(super) fn is_limit(&self) -> bool {
        self.dialect == Dialect::Bare
    }

    /// Whether it has many clients, beside the same server with few.
    pub(super) fn has_many(&self) -> bool {
        matches!(self.name, BARE_MANY | URING_MANY | OYEZ_MANY)
    }

    /// Whether it takes part whoever is chosen: Oyez is measured, and the bare loop, or the bare engine, is the measure.
    pub(super) fn is_always_there(&self) -> bool {
        matches!(self.name, OYEZ | BARE) || self.keeps() || self.has_many()
    }

    /// Whether it has a store.
    pub(super) fn keeps(&self) -> bool {
        matches!(self.name, OYEZ_DURABLE | OYEZ_LIVE | HUB | ENGINE | RECORDS)
    }

    /// What the bodies of publications say of their delivery.
    pub(super) fn delivery(&self) -> &'static str {
        match self.name {
            OYEZ_DURABLE => r#","delivery":"durable","level":"synced""#,
            OYEZ_LIVE => r#","delivery":"live""#,
            _ => "",
        }
    }

    /// What its answers hold, where that is not what its kind of scenario expects.
    pub(super) fn answer(&self) -> &'static [&'static str] {
        if self.name == OYEZ_LIVE { &["--reply", r#""level":"accepted""#] } else { &[] }
    }

    /// Whether it is reached by `wss://` and `https://`.
    pub(super) fn is_encrypted(&self) -> bool {
        self.name == OYEZ_TLS
    }

    /// Where its files are.
    pub(super) fn folder(&self, root: &Path) -> PathBuf {
        root.join("target/bench/run").join(self.name)
    }

    /// What every server finds in its environment.
    pub(super) fn environment(command: &mut Command) {
        command.env("JWT_SECRET", JWT_SECRET).env("OYEZ_API_KEY", API_KEY).env("NODE_ENV", "production");
    }
}
