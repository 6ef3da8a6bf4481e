//! `oyez bench`: load for a server, and what it costs it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rustls::ClientConfig;

use crate::bench::{self, Address, Cast, Plan, Protocol, Publish, SHORTEST, Scenario, Subscribers, Template, Tokens};
use crate::failure::Failure;
use crate::listener;
use crate::secrets::{self, Secrets};
use crate::trust::Trust;

/// Put load on a server, and see what it costs.
///
/// Connects as many clients as wanted, publishes to them over HTTP, counts every delivery and tells rates, latencies and
/// the server's CPU time. A delivery that is lost, or comes twice, ends it with an error. For `oyez dev` nothing but the
/// scenario need be said.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct Options {
    /// The kind of load
    scenario: Scenario,
    #[command(flatten)]
    load: LoadOptions,
    #[command(flatten)]
    clients: ClientOptions,
    #[command(flatten)]
    publish: PublishOptions,
    #[command(flatten)]
    output: OutputOptions,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "How much")]
struct LoadOptions {
    /// How many clients; of durable, how many users
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// How many rounds [default: 5; 1 for idle and ping; with --step, as many as there are lines]
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Publishes (or questions) per round
    #[arg(long, value_name = "K", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    publishes: u32,
    /// Publishes under way at once (saturation, unicast, channels), publishers (durable), or questions of one client (joins)
    #[arg(long, value_name = "P", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: u32,
    /// Length of the payload
    #[arg(long, value_name = "BYTES", default_value_t = 200)]
    size: u32,
    /// Publishes per second (latency, slow)
    #[arg(long, value_name = "R", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Length of a round (idle, ping)
    #[arg(long, value_name = "S", default_value_t = 30)]
    seconds: u32,
    /// How many of the clients read nothing (slow) [default: a tenth]
    #[arg(long, value_name = "S")]
    slow: Option<u32>,
    /// Channels in all (channels, or wherever --hello names them)
    #[arg(long, value_name = "C", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    channels: u32,
    /// Clients that may be connecting at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    handshakes: u32,
    /// How long nothing may happen while something is expected
    #[arg(long, value_name = "S", default_value_t = 10)]
    timeout: u32,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Clients")]
struct ClientOptions {
    /// Where they connect; {i} is the number of the connection, {token} its token. http:// without a path is `oyez dev`
    #[arg(long, value_name = "URL", default_value = super::DEFAULT_URL)]
    url: String,
    /// Another node of the same server, which takes turns with that of --url (and of --publish-url, where it is the same);
    /// may be repeated
    #[arg(long = "node", value_name = "HOST:PORT")]
    nodes: Vec<String>,
    #[command(flatten)]
    trust: Trust,
    /// What they speak
    #[arg(long, value_enum, default_value_t = Protocol::Socketio)]
    protocol: Protocol,
    /// The Socket.IO namespace
    #[arg(long, value_name = "NAME", default_value = "/")]
    namespace: String,
    /// A header line of the connection, such as 'X-Forwarded-For: 10.0.0.1'; may be repeated
    #[arg(long, value_name = "LINE")]
    header: Vec<String>,
    /// Everybody's token; it goes before --jwt-secret
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Make everybody a token of their own, signed with this secret (HS256)
    #[arg(long, value_name = "SECRET", env = "OYEZ_BENCH_JWT_SECRET", hide_env_values = true)]
    jwt_secret: Option<String>,
    /// What it claims
    #[arg(long, value_name = "JSON", default_value = r#"{"sub":"bench-{i}"}"#)]
    claims: String,
    /// What each says when it is connected; {i}, {token}, {channel}, {channels} are filled in; may be repeated
    #[arg(long, value_name = "TEXT")]
    hello: Vec<String>,
    /// A client is set up when it has heard a message with this (for each {channel} that it said); may be repeated
    #[arg(long, value_name = "TEXT")]
    ready: Vec<String>,
    /// The name of a channel; {i} is the number of the connection, {seq} that of the channel
    #[arg(long, value_name = "NAME", default_value = "demo:bench")]
    channel: String,
    /// What each says from time to time, between the rounds
    #[arg(long, value_name = "TEXT")]
    heartbeat: Option<String>,
    /// How often
    #[arg(long, value_name = "S", default_value_t = 25)]
    heartbeat_seconds: u32,
    /// What is asked (echo); {seq} is the number of the question
    #[arg(long, value_name = "TEXT")]
    ask: Option<String>,
    /// What joins {channel} (joins)
    #[arg(long, value_name = "TEXT")]
    join: Option<String>,
    /// What leaves it
    #[arg(long, value_name = "TEXT")]
    leave: Option<String>,
    /// What an answer holds [default: 43{seq}[ for echo, subscribed for joins, "level":"synced" for durable]
    #[arg(long, value_name = "TEXT")]
    reply: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Publishing")]
struct PublishOptions {
    /// Where to POST
    #[arg(long, value_name = "URL")]
    publish_url: Option<String>,
    /// A header line; may be repeated
    #[arg(long, value_name = "LINE")]
    publish_header: Vec<String>,
    /// The body; {data} is the payload, {i} the receiver, {channel} its channel, {seq} the number of the publish
    #[arg(long, value_name = "TEXT", requires = "publish_url")]
    publish_body: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Measuring")]
struct OutputOptions {
    /// The server's process, whose CPU time and memory is read [default: who listens at --url, and at each --node, on this
    /// machine; Linux only]; may be repeated
    #[arg(long, value_name = "PID")]
    server_pid: Vec<u32>,
    /// Print JSON lines: one when all are connected, one per round
    #[arg(long)]
    json: bool,
    /// Take the latency of every delivery (of some 10,000 a round, evenly scattered), not of each publication's last one
    #[arg(long)]
    each: bool,
    /// Wait for a line on stdin before each round, and end at its end
    #[arg(long)]
    step: bool,
}

const AFTER: &str = "\
Examples (the first ones are for `oyez dev`, in the directory where it runs):
  oyez bench fanout
  oyez bench latency --connections 1000 --rate 40
  oyez bench saturation --protocol raw --url ws://127.0.0.1:8080/sub/news \\
      --publish-url http://127.0.0.1:8080/pub/news --publish-body '{data}'
  oyez bench fanout --url 'ws://127.0.0.1:3000/socket.io/?EIO=4&transport=websocket' \\
      --jwt-secret \"$JWT_SECRET\" --claims '{\"sub\":\"user-{i}\"}' \\
      --hello '42[\"join_room\",\"news\"]' \\
      --publish-url http://127.0.0.1:3000/publish \\
      --publish-header 'Content-Type: application/json' \\
      --publish-body '{\"room\":\"news\",\"event\":\"tick\",\"data\":\"{data}\"}'

The payload begins with a mark by which it is counted, so the server must pass it on as it is. All clients come from one \
address: for an `oyez serve`, and an `oyez dev --config`, set connections_per_address and connects_per_second of the app's [limits] to \"none\", and \
for joins and echo events_per_second, too. Memory per connection says something for a server that has just started; one that \
had as many clients before keeps what it had for them. Where more is published than the server can deliver, latencies \
are those of a queue: compare the rate.
Exit codes: 0 it is measured; 1 it is not, or a delivery was lost or came twice, and which is on stderr; 2 the command \
line is wrong.";

/// An `oyez dev` on this machine, for which everything is known that is not said.
struct Dev {
    host: String,
    secrets: Secrets,
}

/// What a durable publication's answer holds when it is on the disk.
const SYNCED: &str = r#""level":"synced""#;

/// Runs the benchmark.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let dev = dev(&options.clients.url)?;
    let trust = options.clients.trust.client()?;
    let plan = plan(options, trust.as_ref())?;
    let (questions, reply) = questions(options, dev.is_some())?;
    let subscribers = subscribers(options, dev.as_ref(), trust.as_ref())?;
    let publish = publish(options, dev.as_ref(), trust.as_ref())?;
    bench::run(&plan, Cast { subscribers, publish, questions, reply })
}

/// `http://` without a path is an `oyez dev`, whose secrets are kept in this directory.
fn dev(url: &str) -> Result<Option<Dev>, Failure> {
    let host = url.strip_prefix("http://").map(|host| host.trim_end_matches('/'));
    let Some(host) = host.filter(|host| !host.contains(['/', '?'])) else { return Ok(None) };
    let kept = if super::is_local(url) { Secrets::kept(Path::new(secrets::FILE))? } else { None };
    let secrets = kept.ok_or_else(|| {
        Failure::new(format!("{url} names no path, and is not the `oyez dev` of this directory"))
            .help("write --url with the path where clients connect, or start `oyez dev` here")
    })?;
    Ok(Some(Dev { host: host.to_owned(), secrets }))
}

/// How much of what.
fn plan(options: &Options, trust: Option<&Arc<ClientConfig>>) -> Result<Plan, Failure> {
    let Options { scenario, load, clients, output, .. } = options;
    let connections = count(load.connections);
    let slow = match scenario {
        Scenario::Slow => count(load.slow.unwrap_or(load.connections / 10)),
        _ => 0,
    };
    if slow >= connections {
        return Err(Failure::new("somebody must read: --slow is less than --connections"));
    }
    if count(load.size) < SHORTEST {
        return Err(Failure::new(format!(
            "a payload needs {SHORTEST} bytes to be counted by: --size {SHORTEST} or more"
        )));
    }
    Ok(Plan {
        scenario: *scenario,
        connections,
        rounds: load.rounds,
        publishes: load.publishes,
        in_flight: count(load.in_flight),
        rate: load.rate,
        time: Duration::from_secs(load.seconds.into()),
        slow,
        size: count(load.size),
        step: output.step,
        json: output.json,
        each: output.each,
        server: match &output.server_pid[..] {
            [] => listeners(clients, trust),
            named => named.to_vec(),
        },
        patience: Duration::from_secs(load.timeout.into()),
        beat: Duration::from_secs(clients.heartbeat_seconds.into()),
    })
}

/// Who listens where clients connect, on this machine; nobody, unless all of them are known.
fn listeners(clients: &ClientOptions, trust: Option<&Arc<ClientConfig>>) -> Vec<u32> {
    let of = |url: String| listener::process(local_port(&url, trust)?);
    let urls = std::iter::once(clients.url.clone()).chain(clients.nodes.iter().map(|node| format!("ws://{node}")));
    urls.map(of).collect::<Option<_>>().unwrap_or_default()
}

/// The server at this URL, the other nodes, and path with query.
fn nodes(url: &str, others: &[String], trust: Option<&Arc<ClientConfig>>) -> Result<(Vec<Address>, String), Failure> {
    let (first, path) = Address::of(url, trust)?;
    let scheme = url.split_once("://").map_or("ws", |(scheme, _)| scheme);
    let other = |node: &String| Address::of(&format!("{scheme}://{node}"), trust).map(|(address, _)| address);
    let nodes = std::iter::once(Ok(first)).chain(others.iter().map(other)).collect::<Result<_, _>>()?;
    Ok((nodes, path))
}

/// The port of a URL of this machine.
fn local_port(url: &str, trust: Option<&Arc<ClientConfig>>) -> Option<u16> {
    let (address, _) = Address::of(url, trust).ok().filter(|_| super::is_local(url))?;
    Some(address.socket().port())
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// How clients connect: as it is said, or to `oyez dev`.
fn subscribers(
    options: &Options,
    dev: Option<&Dev>,
    trust: Option<&Arc<ClientConfig>>,
) -> Result<Subscribers, Failure> {
    let Options { scenario, load, clients, .. } = options;
    let own = |dev: &Dev| format!("ws://{}/socket.io/?EIO=4&transport=websocket", dev.host);
    let (nodes, path) = nodes(&dev.map_or_else(|| clients.url.clone(), own), &clients.nodes, trust)?;
    let path = if *scenario == Scenario::Polling { path.replace("=websocket", "=polling") } else { path };
    let secret = clients.jwt_secret.clone().or_else(|| dev?.secrets.env("JWT_SECRET"));
    let tokens = match (&clients.token, secret) {
        (Some(token), _) => Tokens::Fixed(token.clone()),
        (None, Some(secret)) => Tokens::Minted { secret, claims: Template::new(&clients.claims) },
        (None, None) => Tokens::None,
    };
    let templates = |texts: &[String]| texts.iter().map(|text| Template::new(text)).collect();
    let (mut hello, mut ready) = (clients.hello.clone(), clients.ready.clone());
    let needs_channel = !matches!(scenario, Scenario::Unicast | Scenario::Joins | Scenario::Echo | Scenario::Durable);
    if dev.is_some() && hello.is_empty() && needs_channel {
        hello.push(r#"42["subscribe",{"channels":[{channels}]}]"#.to_owned());
        ready.push("subscribed".to_owned());
    }
    let many = dev.is_some() && *scenario == Scenario::Channels;
    let channel = if many { "demo:bench-{seq}" } else { &clients.channel };
    Ok(Subscribers {
        nodes,
        path: Template::new(&path),
        headers: templates(&clients.header),
        handshakes: count(load.handshakes),
        protocol: clients.protocol,
        namespace: clients.namespace.clone(),
        tokens,
        hello: templates(&hello),
        ready,
        heartbeat: clients.heartbeat.as_deref().map(Template::new),
        channel: Template::new(channel),
        channels: count(load.channels),
    })
}

/// How one publishes: as it is said, or to `oyez dev`.
fn publish(
    options: &Options,
    dev: Option<&Dev>,
    trust: Option<&Arc<ClientConfig>>,
) -> Result<Option<Publish>, Failure> {
    let PublishOptions { publish_url, publish_header, publish_body } = &options.publish;
    let mut headers = publish_header.clone();
    let (url, body) = match (publish_url, publish_body, dev) {
        (Some(url), body, _) => (url.clone(), body.clone().unwrap_or_else(|| "{data}".to_owned())),
        (None, _, Some(dev)) => {
            headers.push(format!("Authorization: Bearer {}", dev.secrets.env("OYEZ_API_KEY").unwrap_or_default()));
            let to = match options.scenario {
                Scenario::Unicast | Scenario::Durable => "user:bench-{i}",
                Scenario::Channels => "demo:nobody",
                _ => "{channel}",
            };
            let url = format!("http://{}/api/v1/publish", dev.host);
            let durable = options.scenario == Scenario::Durable;
            let more = if durable { r#","delivery":"durable","level":"synced""# } else { "" };
            (url, format!(r#"{{"to":"{to}","event":"bench","data":"{{data}}"{more}}}"#))
        }
        (None, _, None) => return Ok(None),
    };
    let at = |url: &str| Address::of(url, trust).map(|(address, _)| address.socket());
    let others = if at(&url)? == at(&options.clients.url)? { &options.clients.nodes[..] } else { &[] };
    let (nodes, path) = nodes(&url, others, trust)?;
    let reply = || options.clients.reply.clone().unwrap_or_else(|| SYNCED.to_owned());
    let reply = (options.scenario == Scenario::Durable).then(reply);
    Ok(Some(Publish { nodes, path: Template::new(&path), headers, body: Template::new(&body), reply }))
}

/// What clients ask, and what the answers hold.
fn questions(options: &Options, dev: bool) -> Result<(Vec<Template>, Template), Failure> {
    let clients = &options.clients;
    let missing = |what: &str| Failure::new(format!("what clients say is not known: write {what}"));
    let own = |given: &Option<String>, text: &str, what: &str| match given {
        Some(given) => Ok(Template::new(given)),
        None if dev => Ok(Template::new(text)),
        None => Err(missing(what)),
    };
    let (questions, reply) = match options.scenario {
        Scenario::Echo => {
            let text = r#"42{seq}["publish",{"channel":"demo:nobody","data":{seq}}]"#;
            (vec![own(&clients.ask, text, "--ask")?], "43{seq}[")
        }
        Scenario::Joins => {
            let join = r#"42["subscribe",{"channels":["{channel}"]}]"#;
            let leave = r#"42["unsubscribe",{"channels":["{channel}"]}]"#;
            (vec![own(&clients.join, join, "--join")?, own(&clients.leave, leave, "--leave")?], "subscribed")
        }
        _ => (Vec::new(), ""),
    };
    Ok((questions, Template::new(clients.reply.as_deref().unwrap_or(reply))))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::Options;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn a_load_of_nothing_is_refused() {
        for flag in ["--publishes", "--rounds", "--connections"] {
            let error = Line::try_parse_from(["bench", "fanout", flag, "0"]).expect_err(flag).to_string();
            assert!(error.contains(&format!("invalid value '0' for '{flag}")), "{error}");
        }
        let line = Line::try_parse_from(["bench", "fanout", "--publishes", "1"]).expect("a good line");
        assert_eq!(line.options.load.publishes, 1);
    }
}
