//! `oyez bench`: load for a server, and what it costs it.

use std::path::Path;
use std::time::Duration;

use clap::Args;

use crate::bench::{self, Address, Cast, Plan, Protocol, Publish, SHORTEST, Scenario, Subscribers, Template, Tokens};
use crate::failure::Failure;
use crate::secrets::{self, Secrets};

/// Put load on a server, and see what it costs.
///
/// Connects as many clients as wanted, publishes to them over HTTP, counts every delivery and tells rates, latencies and
/// the server's CPU time. A delivery that is lost, or comes twice, ends it with an error. Without --url it is for what
/// `oyez dev` serves on this machine, and needs no other option.
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
    /// How many clients
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// How many rounds [default: 5; 1 for idle and ping; with --step, as many as there are lines]
    #[arg(long, value_name = "R")]
    rounds: Option<u32>,
    /// Publishes (or questions) per round
    #[arg(long, value_name = "K", default_value_t = 100)]
    publishes: u32,
    /// Publishes under way at once (saturation, unicast, channels), or questions of one client (joins)
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
    /// Where they connect; {i} is the number of the connection, {token} its token [default: `oyez dev`]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// What they speak
    #[arg(long, value_enum, default_value_t = Protocol::Socketio)]
    protocol: Protocol,
    /// The Socket.IO namespace
    #[arg(long, value_name = "NAME", default_value = "/")]
    namespace: String,
    /// A header line of the connection, such as 'Origin: https://example.com'; may be repeated
    #[arg(long, value_name = "LINE")]
    header: Vec<String>,
    /// Everybody's token
    #[arg(long, value_name = "TOKEN", conflicts_with_all = ["jwt_secret", "claims"])]
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
    /// What an answer to either holds [default: 43{seq}[ for echo, subscribed for joins]
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
    /// The server's process, whose CPU time and memory is read (Linux)
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Print JSON lines: one when all are connected, one per round
    #[arg(long)]
    json: bool,
    /// Wait for a line on stdin before each round, and end at its end
    #[arg(long)]
    step: bool,
}

const AFTER: &str = "\
Examples (the first ones are for `oyez dev`, in the directory where it runs):
  oyez bench fanout
  oyez bench latency --connections 1000 --rate 200 --server-pid $(pgrep -f 'oyez dev')
  oyez bench fanout --url 'ws://127.0.0.1:3000/socket.io/?EIO=4&transport=websocket' --jwt-secret \"$JWT_SECRET\" \\
      --hello '42[\"join_room\",\"news\"]' --publish-url http://127.0.0.1:3000/publish \\
      --publish-header 'Content-Type: application/json' --publish-body '{\"room\":\"news\",\"event\":\"tick\",\"data\":\"{data}\"}'
  oyez bench saturation --protocol raw --url ws://127.0.0.1:8080/sub/news \\
      --publish-url http://127.0.0.1:8080/pub/news --publish-body '{data}'

The payload begins with a mark by which it is counted, so the server must pass it on as it is.
Exit codes: 0 it is measured; 1 it is not, or a delivery was lost or came twice, and which is on stderr; 2 the command \
line is wrong.";

/// What `oyez dev` serves.
const DEV_URL: &str = "ws://127.0.0.1:3001/socket.io/?EIO=4&transport=websocket";
const DEV_PUBLISH: &str = "http://127.0.0.1:3001/api/v1/publish";

/// Runs the benchmark.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let dev = if options.clients.url.is_none() { Some(dev()?) } else { None };
    let plan = plan(options)?;
    let (questions, reply) = questions(options, dev.is_some())?;
    let subscribers = subscribers(options, dev.as_ref())?;
    let publish = publish(options, dev.as_ref())?;
    bench::run(&plan, Cast { subscribers, publish, questions, reply })
}

/// How much of what.
fn plan(options: &Options) -> Result<Plan, Failure> {
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
        server: output.server_pid,
        patience: Duration::from_secs(load.timeout.into()),
        beat: Duration::from_secs(clients.heartbeat_seconds.into()),
    })
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The secrets of the `oyez dev` that runs in this directory.
fn dev() -> Result<Secrets, Failure> {
    Secrets::kept(Path::new(secrets::FILE))?.ok_or_else(|| {
        Failure::new("there is no --url, and `oyez dev` never ran here")
            .help("name the server, or start `oyez dev` here")
    })
}

/// How clients connect: as it is said, or to `oyez dev`.
fn subscribers(options: &Options, dev: Option<&Secrets>) -> Result<Subscribers, Failure> {
    let Options { scenario, load, clients, .. } = options;
    let (address, path) = Address::of(clients.url.as_deref().unwrap_or(DEV_URL))?;
    let path = if *scenario == Scenario::Polling { path.replace("=websocket", "=polling") } else { path };
    let own = dev.and_then(|dev| dev.env("JWT_SECRET"));
    let tokens = match (&clients.token, clients.jwt_secret.clone().or(own)) {
        (Some(token), _) => Tokens::Fixed(token.clone()),
        (None, Some(secret)) => Tokens::Minted { secret, claims: Template::new(&clients.claims) },
        (None, None) => Tokens::None,
    };
    let templates = |texts: &[String]| texts.iter().map(|text| Template::new(text)).collect();
    let (mut hello, mut ready) = (clients.hello.clone(), clients.ready.clone());
    let needs_channel = !matches!(scenario, Scenario::Unicast | Scenario::Joins | Scenario::Echo);
    if dev.is_some() && hello.is_empty() && needs_channel {
        hello.push(r#"42["subscribe",{"channels":[{channels}]}]"#.to_owned());
        ready.push("subscribed".to_owned());
    }
    let many = dev.is_some() && *scenario == Scenario::Channels;
    let channel = if many { "demo:bench-{seq}" } else { &clients.channel };
    Ok(Subscribers {
        address,
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
fn publish(options: &Options, dev: Option<&Secrets>) -> Result<Option<Publish>, Failure> {
    let PublishOptions { publish_url, publish_header, publish_body } = &options.publish;
    let mut headers = publish_header.clone();
    let (url, body) = match (publish_url, publish_body, dev) {
        (Some(url), body, _) => (url.as_str(), body.clone().unwrap_or_else(|| "{data}".to_owned())),
        (None, _, Some(dev)) => {
            headers.push(format!("Authorization: Bearer {}", dev.env("OYEZ_API_KEY").unwrap_or_default()));
            let to = match options.scenario {
                Scenario::Unicast => "user:bench-{i}",
                Scenario::Channels => "demo:nobody",
                _ => "{channel}",
            };
            (DEV_PUBLISH, format!(r#"{{"to":"{to}","event":"bench","data":"{{data}}"}}"#))
        }
        (None, _, None) => return Ok(None),
    };
    let (address, path) = Address::of(url)?;
    Ok(Some(Publish { address, path: Template::new(&path), headers, body: Template::new(&body) }))
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
