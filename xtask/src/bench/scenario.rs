//! What is measured: a row a scenario.

use super::dialect::{Audience, Dialect};
use super::peer::{BARE, OYEZ, OYEZ_TLS, OYEZ_TWO, PEERS, PYTHON, Peer, URING};

/// A kind of load, and how much of it.
#[derive(Debug)]
pub(super) struct Scenario {
    /// What it is called on the command line and in results.
    pub(super) name: &'static str,
    /// What it is called in the report.
    pub(super) title: &'static str,
    /// What it tells, in a sentence or two.
    pub(super) about: &'static str,
    /// The scenario of `oyez bench`.
    pub(super) kind: &'static str,
    /// What one pays for.
    pub(super) unit: Unit,
    /// Whom publications are for, where something is published.
    pub(super) audience: Option<Audience>,
    /// How much of it.
    pub(super) full: Size,
    /// How much when it is only tried out.
    pub(super) quick: Size,
    /// Where growth is measured: how many times as many clients there are of the peers with many. They hear as many
    /// times fewer publishes, so that there are as many deliveries.
    pub(super) many: Option<u32>,
    /// More arguments of `oyez bench`.
    pub(super) more: &'static [&'static str],
    /// Who can take part.
    pub(super) who: fn(Dialect) -> bool,
}

/// How much.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) connections: u32,
    /// Publications, or questions, in a round.
    pub(super) publishes: u32,
    /// Rounds, beside the one that only warms up.
    pub(super) rounds: u32,
}

/// What the costs of a round are divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Delivery,
    Publish,
    Connect,
    Answer,
    Heartbeat,
    /// Not CPU, but memory, per connection.
    Memory,
}

impl Unit {
    /// One of it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Publish => "publish",
            Self::Connect => "connect",
            Self::Answer => "answer",
            Self::Heartbeat => "heartbeat",
            Self::Memory => "connection",
        }
    }

    /// Many of it.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Delivery => "deliveries",
            Self::Publish => "publishes",
            Self::Connect => "connects",
            Self::Answer => "answers",
            Self::Heartbeat => "heartbeats",
            Self::Memory => "connections",
        }
    }
}

const fn size(connections: u32, publishes: u32, rounds: u32) -> Size {
    Size { connections, publishes, rounds }
}

/// The scenario in which publications are kept.
const DURABLE: &str = "durable";

/// More connections than this, and only a few servers are alive at a time.
const MANY: u32 = 2_000;
/// So many, beside the bare loop.
const FEW: usize = 3;

const FANOUT: &str =
    "One event to N clients; the next one when all have it. The whole cost is the way out of the server.";
const LONE: &str = "One event to a channel that nobody is in, 32 under way, while so many other channels have members.";

fn everybody(_: Dialect) -> bool {
    true
}

fn has_channels(dialect: Dialect) -> bool {
    dialect != Dialect::Bare
}

fn joins_by_message(dialect: Dialect) -> bool {
    has_channels(dialect) && dialect != Dialect::Nchan
}

/// All of them, in the order of the report.
pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario { full: size(100, 400, 9), quick: size(100, 100, 3), ..fanout("fanout-100", "Fan-out to 100") },
    Scenario { full: size(1_000, 60, 9), quick: size(1_000, 20, 3), ..fanout("fanout-1000", "Fan-out to 1,000") },
    Scenario { full: size(5_000, 20, 9), quick: size(2_000, 10, 3), ..fanout("fanout-5000", "Fan-out to 5,000") },
    Scenario { full: size(15_000, 10, 9), quick: size(4_000, 5, 3), ..fanout("fanout-15000", "Fan-out to 15,000") },
    Scenario {
        name: "growth",
        title: "Growth",
        about: "The fan-out to so many clients, and to 15 times as many (15,000), in the same turns. All are compared \
                with the bare loop with few clients; what the bare loops themselves grow by is the kernel's.",
        full: size(1_000, 120, 12),
        quick: size(200, 150, 3),
        many: Some(15),
        ..fanout("", "")
    },
    Scenario {
        name: "saturation",
        title: "Saturation",
        about: "32 events under way on one keep-alive connection, each to all clients: a server that joins what waits \
                for the same client into one write needs far fewer of them.",
        kind: "saturation",
        full: size(1_000, 640, 7),
        quick: size(1_000, 160, 2),
        more: &["--in-flight", "32"],
        ..fanout("", "")
    },
    Scenario {
        name: "unicast",
        title: "One user each",
        about: "Every event goes to one user of many, 32 under way: what an HTTP publish costs.",
        kind: "unicast",
        audience: Some(Audience::One),
        full: size(10_000, 10_000, 7),
        quick: size(2_000, 2_000, 3),
        more: &["--in-flight", "32"],
        who: has_channels,
        ..fanout("", "")
    },
    Scenario {
        name: "connect",
        title: "Connections",
        about: "TCP, WebSocket, Engine.IO and Socket.IO handshakes, a token that is verified, three channels joined; 64 \
                under way. The bare loop and nchan check no token.",
        kind: "connect",
        unit: Unit::Connect,
        audience: None,
        full: size(2_000, 0, 7),
        quick: size(500, 0, 3),
        ..fanout("", "")
    },
    Scenario {
        name: "idle",
        title: "Idle connections",
        about: "Memory of the server's process (proportional set size) per connection that is signed in and in three \
                channels, beyond what it has before the first one. The kernel's part is not counted.",
        kind: "idle",
        unit: Unit::Memory,
        audience: None,
        full: size(15_000, 0, 1),
        quick: size(4_000, 0, 1),
        more: &["--seconds", "2"],
        ..fanout("", "")
    },
    Scenario {
        name: "ping",
        title: "Heartbeats",
        about: "The server pings every client every 25 s and hears the answer.",
        kind: "ping",
        unit: Unit::Heartbeat,
        audience: None,
        full: size(5_000, 0, 1),
        quick: size(1_000, 0, 1),
        more: &["--seconds", "30"],
        who: Dialect::is_socketio,
        ..fanout("", "")
    },
    Scenario {
        name: "latency",
        title: "Latency at half load",
        about: "45 events per second to all of 1,000 clients, about half of what socketioxide can do here, at random \
                moments (a Poisson process, the same for every server); from when a publish was due until the last \
                client has it.",
        kind: "latency",
        full: size(1_000, 225, 5),
        quick: size(1_000, 90, 2),
        more: &["--rate", "45"],
        ..fanout("", "")
    },
    Scenario {
        name: "steady",
        title: "Latency beside slow readers: without them",
        about: "20 events per second to all of 900 clients, at random moments; all of them read.",
        kind: "latency",
        full: size(900, 100, 5),
        quick: size(900, 40, 2),
        more: &["--rate", "20"],
        who: Dialect::is_socketio,
        ..fanout("", "")
    },
    Scenario {
        name: "slow",
        title: "Latency beside slow readers: with them",
        about: "The same, and 100 more that read nothing; the latency is that of the last of the other 900.",
        kind: "slow",
        full: size(1_000, 100, 5),
        quick: size(1_000, 40, 2),
        more: &["--rate", "20", "--slow", "100"],
        who: Dialect::is_socketio,
        ..fanout("", "")
    },
    Scenario {
        name: "joins",
        title: "Joins and leaves",
        about: "Clients join a channel and leave it again, by events that are answered, 32 under way each.",
        kind: "joins",
        unit: Unit::Answer,
        audience: None,
        full: size(100, 20_000, 7),
        quick: size(100, 5_000, 3),
        more: &[
            "--channel",
            "ticket:{i}-{seq}",
            "--join",
            r#"42["subscribe",{"type":"subscribe","channels":["{channel}"]}]"#,
            "--leave",
            r#"42["unsubscribe",{"type":"unsubscribe","channels":["{channel}"]}]"#,
        ],
        who: Dialect::is_socketio,
        ..fanout("", "")
    },
    Scenario {
        full: size(10, 5_000, 7),
        quick: size(10, 1_000, 3),
        more: FEW_CHANNELS,
        ..lone("channels-10", "Beside 10 channels")
    },
    Scenario {
        full: size(1_000, 5_000, 7),
        quick: size(1_000, 1_000, 3),
        more: MANY_CHANNELS,
        ..lone("channels-100000", "Beside 100,000 channels")
    },
    Scenario {
        name: "polling",
        title: "HTTP long polling",
        about: "Fan-out to clients without WebSocket, which ask again after each answer.",
        kind: "polling",
        full: size(200, 50, 7),
        quick: size(100, 20, 3),
        who: Dialect::is_socketio,
        ..fanout("", "")
    },
    Scenario {
        name: "echo",
        title: "Questions and answers",
        about: "Clients send an event and wait for the event that answers it, one after the other.",
        kind: "echo",
        unit: Unit::Answer,
        audience: None,
        full: size(100, 20_000, 7),
        quick: size(100, 5_000, 3),
        more: &["--ask", r#"42["heartbeat",{}]"#, "--reply", "heartbeat_ack"],
        who: Dialect::is_socketio,
        ..fanout("", "")
    },
    Scenario {
        name: "durable",
        title: "Durable publishes",
        about: "64 publishers on a connection each publish to users who are away, and wait for each answer, which comes when \
                the message is on the disk (`fdatasync`). Beside it the store's engine alone: 64 writers in its own process, \
                a record a message, the same groups, no rules, no HTTP; the same with the three records that the store writes \
                for a message (itself, the head of its inbox, its id); the hub with its store, in process; and the same \
                publishes live, so that nothing is stored: what HTTP alone takes. All have all cores, and share them with \
                what publishes. The ticketing example is as it is shipped here, with its history and its inboxes.",
        kind: DURABLE,
        unit: Unit::Publish,
        audience: Some(Audience::Away),
        full: size(10_000, 40_000, 9),
        quick: size(1_000, 5_000, 3),
        more: &["--in-flight", "64"],
        ..fanout("", "")
    },
];

const FEW_CHANNELS: &[&str] = &["--channels", "10", "--channel", "ticket:{seq}", "--in-flight", "32"];
const MANY_CHANNELS: &[&str] = &["--channels", "100000", "--channel", "ticket:{seq}", "--in-flight", "32"];

const fn fanout(name: &'static str, title: &'static str) -> Scenario {
    Scenario {
        name,
        title,
        about: FANOUT,
        kind: "fanout",
        unit: Unit::Delivery,
        audience: Some(Audience::All),
        full: size(0, 0, 0),
        quick: size(0, 0, 0),
        many: None,
        more: &[],
        who: everybody,
    }
}

const fn lone(name: &'static str, title: &'static str) -> Scenario {
    Scenario {
        about: LONE,
        kind: "channels",
        unit: Unit::Publish,
        audience: Some(Audience::Nobody),
        who: joins_by_message,
        ..fanout(name, title)
    }
}

impl Scenario {
    /// The one of this name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }

    /// Whether this word calls it: its name, or what its name begins with.
    pub(super) fn is_called(&self, word: &str) -> bool {
        self.name == word || self.name.strip_prefix(word).is_some_and(|rest| rest.starts_with('-'))
    }

    /// Whether this server can take part.
    pub(super) fn suits(&self, peer: &Peer) -> bool {
        if self.many.is_some() || peer.has_many() {
            return self.many.is_some() && (peer.has_many() || matches!(peer.name, BARE | URING | OYEZ));
        }
        if self.kind == DURABLE || peer.keeps() {
            return self.kind == DURABLE && peer.keeps();
        }
        let by_peer = match peer.name {
            OYEZ_TWO => self.kind == "saturation",
            OYEZ_TLS => matches!(self.name, "fanout-1000" | "saturation" | "connect" | "idle"),
            // There it would take longer than all others together.
            PYTHON => !matches!(self.name, "fanout-5000" | "fanout-15000" | "saturation"),
            _ => matches!(self.kind, "fanout" | "saturation"),
        };
        (self.who)(peer.dialect) && (by_peer || (!peer.is_variant() && peer.name != PYTHON))
    }

    /// How much of it.
    pub(super) fn size(&self, quick: bool) -> Size {
        if quick { self.quick } else { self.full }
    }

    /// How much of it this server has.
    pub(super) fn size_of(&self, peer: &Peer, quick: bool) -> Size {
        let Size { connections, publishes, rounds } = self.size(quick);
        let many = self.many.filter(|_| peer.has_many()).unwrap_or(1);
        size(connections * many, publishes / many, rounds)
    }

    /// How many servers beside the bare loop are alive at once.
    pub(super) fn at_once(&self, quick: bool) -> usize {
        // Users who are away have no connections.
        let connected = self.kind != DURABLE && self.size(quick).connections > MANY;
        if connected { FEW } else { PEERS.len() }
    }

    /// The arguments of `oyez bench`.
    pub(super) fn arguments(&self, peer: &Peer, address: &str, quick: bool) -> Vec<String> {
        let Size { connections, publishes, .. } = self.size_of(peer, quick);
        let mut arguments = vec![self.kind.to_owned()];
        let mut say = |flag: &str, value: &str| arguments.extend([flag.to_owned(), value.to_owned()]);
        say("--connections", &connections.to_string());
        say("--publishes", &publishes.max(1).to_string());
        say("--size", "200");
        say("--timeout", "60");
        if !self.more.contains(&"--channel") {
            say("--channel", "ticket:bench");
        }
        arguments.extend(self.more.iter().map(ToString::to_string));
        arguments.extend(peer.dialect.client(address));
        if let Some(audience) = self.audience {
            arguments.extend(peer.dialect.publish(address, audience, peer.delivery()));
            arguments.extend(peer.answer().iter().map(ToString::to_string));
        }
        if peer.is_encrypted() {
            let secure = |word: String| match word.split_once("://") {
                Some((scheme @ ("ws" | "http"), rest)) => format!("{scheme}s://{rest}"),
                _ => word,
            };
            arguments = arguments.into_iter().map(secure).collect();
        }
        arguments
    }
}

/// Who takes part in what, for the terminal.
pub(super) fn matrix() -> String {
    SCENARIOS.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A scenario with all who take part; long lines are broken.
fn line(scenario: &Scenario) -> String {
    let (mut text, mut width) = (format!("{:<NAMES$}", scenario.name), NAMES);
    for peer in PEERS.iter().filter(|peer| scenario.suits(peer)) {
        if width + 1 + peer.name.len() > COLUMNS {
            text += &format!("\n{:NAMES$}", "");
            width = NAMES;
        }
        text += &format!(" {}", peer.name);
        width += 1 + peer.name.len();
    }
    text
}

/// Columns for the name of a scenario.
const NAMES: usize = 15;
/// The longest line of the list.
const COLUMNS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::peer::{BARE_MANY, OYEZ_MANY, URING_MANY};

    #[test]
    fn names_are_unique_and_every_scenario_has_a_size() {
        for (at, scenario) in SCENARIOS.iter().enumerate() {
            assert!(SCENARIOS[..at].iter().all(|other| other.name != scenario.name), "{}", scenario.name);
            let sizes = [scenario.full, scenario.quick];
            assert!(sizes.iter().all(|size| size.connections > 0 && size.rounds > 0), "{}", scenario.name);
        }
    }

    #[test]
    fn arguments_name_server_load_and_channel() {
        let peer = Peer::named("socketioxide").expect("it is in the table");
        let line = Scenario::named("saturation").expect("it is in the table").arguments(peer, "h:1", false).join(" ");
        assert!(line.starts_with("saturation --connections 1000 --publishes 640 --size 200"), "{line}");
        assert!(line.contains("--channel ticket:bench --in-flight 32 --protocol socketio --url ws://h:1/"), "{line}");
        assert!(line.contains("--publish-url http://h:1/publish"), "{line}");
        let line = Scenario::named("idle").expect("it is in the table").arguments(peer, "h:1", false).join(" ");
        assert!(!line.contains("--publish-url"), "{line}");
    }

    #[test]
    fn growth_is_few_and_many_clients_with_as_many_deliveries() {
        let growth = Scenario::named("growth").expect("it is in the table");
        let names: Vec<&str> = PEERS.iter().filter(|peer| growth.suits(peer)).map(|peer| peer.name).collect();
        assert_eq!(names, [BARE, URING, BARE_MANY, URING_MANY, OYEZ, OYEZ_MANY]);
        for quick in [false, true] {
            let of = |name| growth.size_of(Peer::named(name).expect("it is in the table"), quick);
            let (few, many) = (of(OYEZ), of(OYEZ_MANY));
            assert_eq!(many.connections, 15 * few.connections);
            assert_eq!(many.connections * many.publishes, few.connections * few.publishes);
        }
        let others = SCENARIOS.iter().filter(|scenario| scenario.name != growth.name);
        assert!(
            others.flat_map(|scenario| PEERS.iter().filter(|peer| scenario.suits(peer))).all(|peer| !peer.has_many())
        );
    }

    #[test]
    fn the_list_fits_a_terminal_and_names_everybody() {
        let text = matrix();
        assert!(text.lines().all(|line| line.len() <= COLUMNS), "{text}");
        assert!(PEERS.iter().all(|peer| text.contains(&format!(" {}", peer.name))), "{text}");
        assert!(
            text.contains("\ngrowth          bare bare-uring bare-many bare-uring-many oyez oyez-many\n"),
            "{text}"
        );
    }
}
