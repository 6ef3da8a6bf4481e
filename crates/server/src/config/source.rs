//! What an app's file says of sources: where messages come from, and what becomes of them.

use std::sync::Arc;
use std::time::Duration;

use oyez_hub::policy::channel::Pattern;
use oyez_hub::policy::expression::{Filter, Kind, Names, Template};
use oyez_hub::policy::limits::Rate;
use oyez_hub::source::{Secrets, Source, SourceRule, Storm, WhenStormy, body_names, names};

use super::app::positive;
use super::inbox::{class, named};
use super::reader::{Located, Node};
use super::rules::{described, shape};

/// `[app.NAME.source.NAME]`.
#[derive(Debug, Clone)]
pub struct SourceConfig {
    /// Its name.
    pub name: String,
    /// Where it is; none: it is off.
    pub door: Option<Door>,
    /// What becomes of its messages.
    pub rules: Arc<Source>,
}

/// How a source is reached, and what is read there.
#[derive(Clone, PartialEq, Eq)]
pub struct Door {
    /// The vendor's name.
    pub kind: String,
    /// Where, with credentials.
    pub url: String,
    /// What is read.
    pub from: Vec<String>,
    /// The exchange.
    pub exchange: Option<String>,
    /// The queue of this app's own.
    pub queue: String,
    /// The queue is replicated.
    pub quorum: bool,
    /// The stream of a JetStream.
    pub stream: String,
    /// The consumer group, or the durable consumer; empty: none.
    pub group: String,
    /// The field of an entry that is the body.
    pub field: Option<String>,
    /// A group that is made begins with the oldest entry.
    pub oldest: bool,
    /// After which silence what a server had is taken over.
    pub claim_after: Duration,
    /// Messages that are under way at once.
    pub prefetch: u16,
    /// What a Consul knows us by.
    pub token: Option<String>,
    /// How long a question waits for something to change.
    pub wait: Duration,
    /// Whose certificates are believed, in PEM; none: whom the system believes.
    pub ca: Option<String>,
}

impl std::fmt::Debug for Door {
    /// Without the credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("kind", &self.kind).field("queue", &self.queue).finish_non_exhaustive()
    }
}

/// All `[app.NAME.source.NAME]`.
pub(super) fn sources(app: &Node<'_>) -> Vec<SourceConfig> {
    app.named("source").into_iter().filter_map(|(name, node)| source(app, name.text, &node)).collect()
}

fn source(app: &Node<'_>, name: String, node: &Node<'_>) -> Option<SourceConfig> {
    let mut rules = Source::new(name.as_str());
    rules.line = node.line();
    rules.data = node.has("data").then(|| shape(node, "data", &body_names())).flatten();
    rules.drop = node.plain_texts("drop").into_iter().map(Arc::from).collect();
    rules.attempts = node.count("attempts").and_then(|most| u32::try_from(most).ok()).unwrap_or(1);
    rules.storm = storm(node);
    rules.rules = node.children("rule").iter().filter_map(|node| rule(app, node)).collect();
    match (node.text("kind").as_ref().map(|kind| kind.text.as_str()), node.children("rule").is_empty()) {
        (Some("redis-blacklist"), false) => {
            let help = "leave its rules out: what is on it signs users out".to_owned();
            node.problem(format!("[{}] publishes nothing", node.path), Some(help));
        }
        (Some("redis-blacklist") | None, _) | (_, false) => {}
        (_, true) => {
            node.problem(format!("[{}] has no rule", node.path), Some(format!("write [[{}.rule]]", node.path)))
        }
    }
    if node.text("kind").is_some_and(|kind| kind.text == "webhook") {
        rules.pushed = Some(secrets(node)?);
        return Some(SourceConfig { name, door: None, rules: Arc::new(rules) });
    }
    let app_name = app.path.strip_prefix("app.").unwrap_or(&app.path);
    let door = door(node, &format!("oyez.{app_name}.{name}"));
    Some(SourceConfig { name, door: door?, rules: Arc::new(rules) })
}

/// How it is reached; `Some(None)`: it is off, `None`: something is wrong, which has been noted.
fn door(node: &Node<'_>, name: &str) -> Option<Option<Door>> {
    positive(node, &["claim_after", "wait"]);
    let kind = node.choice("kind")?;
    let from = node.plain_texts("from");
    for key in ["url", "from"].into_iter().filter(|key| !node.has(key)) {
        node.problem(format!("{} is missing", node.full(key)), Some(format!("a source of the kind {kind} needs it")));
    }
    if from.is_empty() && node.has("from") {
        node.problem(
            format!("{} is empty, so nothing is read", node.full("from")),
            Some("write from = [\"#\"]".into()),
        );
    }
    if kind == "rabbitmq" && !node.has("exchange") {
        let help = "write exchange = \"amq.topic\", or the exchange that publishers use".to_owned();
        node.problem(format!("{} is missing", node.full("exchange")), Some(help));
        return None;
    }
    let text = |key: &str| node.text(key).map(|text| text.text);
    let named = |key: &str| text(key).unwrap_or_else(|| name.to_owned());
    // The name of a consumer is one word of a subject.
    let group = match kind.as_str() {
        "nats-jetstream" => text("group").unwrap_or_else(|| name.replace('.', "-")),
        _ => named("group"),
    };
    if kind.starts_with("nats") && !names_nats(node, &kind, &from, &group) {
        return None;
    }
    let prefetch = node.count("prefetch").and_then(|most| u16::try_from(most).ok()).unwrap_or(1);
    let Some(url) = node.address("url") else { return Some(None) };
    Some(Some(Door {
        url,
        from,
        exchange: text("exchange"),
        queue: named("queue"),
        quorum: node.choice("queue_type").is_some_and(|word| word == "quorum"),
        stream: text("stream").unwrap_or_default(),
        group,
        field: text("field"),
        oldest: node.choice("begin").is_some_and(|word| word == "oldest"),
        claim_after: node.duration("claim_after"),
        token: node.address("token"),
        wait: node.duration("wait"),
        ca: node.secrets("ca").into_iter().next(),
        prefetch,
        kind,
    }))
}

/// Whether all that NATS needs is named, by such names as it knows.
fn names_nats(node: &Node<'_>, kind: &str, from: &[String], group: &str) -> bool {
    let broken = |char: char| char.is_whitespace() || char.is_control();
    let word = |name: &str| !name.is_empty() && !name.contains(|char| broken(char) || ".*>/\\".contains(char));
    let stream = node.text("stream").map(|stream| stream.text);
    let mut wrong = Vec::new();
    if from.iter().any(|subject| subject.contains(broken) || subject.split('.').any(str::is_empty)) {
        wrong.push(("from", "has what is no subject", "write words with dots between them, as in \"orders.*.placed\""));
    }
    match (kind, stream) {
        ("nats", _) if group.contains(broken) => {
            wrong.push(("group", "is no name of a queue group", "write group = \"desk\", without spaces"));
        }
        ("nats", _) => {}
        (_, None) => wrong.push(("stream", "is missing", "write stream = \"ORDERS\", or what `nats stream ls` shows")),
        (_, Some(stream)) => {
            let help = "write a name without dots, spaces, slashes, `*` and `>`";
            let unfit = [("stream", &stream[..]), ("group", group)].into_iter().filter(|(_, name)| !word(name));
            wrong.extend(unfit.map(|(key, _)| (key, "is no name that JetStream can have", help)));
        }
    }
    for (key, what, help) in &wrong {
        node.problem(format!("{} {what}", node.full(key)), Some((*help).to_owned()));
    }
    wrong.is_empty()
}

/// What a webhook's messages are signed with.
fn secrets(node: &Node<'_>) -> Option<Secrets> {
    let wrong = |why: &str| {
        let help = "openssl rand -base64 32, and give it to who signs, too".to_owned();
        node.problem(format!("{}: {why}", node.full("secret")), Some(help));
    };
    // One that is off is no mistake: the environment variable of a single one may be missing.
    let found =
        if node.has("secret") && node.address("secret").is_some() { node.secrets("secret") } else { Vec::new() };
    Secrets::new(&found).map_err(wrong).ok()
}

fn storm(node: &Node<'_>) -> Option<Storm> {
    let most = node.count("events_per_second")?;
    let defer = node.choice("when_over").is_some_and(|word| word == "defer");
    let policy = if defer { WhenStormy::Defer } else { WhenStormy::DropNewest };
    Some(Storm { rate: Rate::new(most, most), policy })
}

fn rule(app: &Node<'_>, node: &Node<'_>) -> Option<SourceRule> {
    positive(node, &["ttl"]);
    let addresses: Vec<Pattern> = node.texts("match").iter().filter_map(|text| address(node, text)).collect();
    // A capture is known where every address has it.
    let captures = addresses.first().map(|first| first.names().collect::<Vec<_>>()).unwrap_or_default();
    let everywhere = |name: &&str| addresses.iter().all(|pattern| pattern.names().any(|known| known == *name));
    let names = names().with(captures.into_iter().filter(everywhere).map(|name| (name, Kind::Text)));
    Some(SourceRule {
        line: node.line(),
        when: match node.text("when").filter(|_| node.has("when")) {
            Some(text) => Some(node.doc.compiled(&text, |source| Filter::compile(source, &names))?),
            None => None,
        },
        to: targets(app, node, &names),
        event: node.doc.compiled(&node.text("event")?, |source| Template::compile(source, &names))?,
        data: node.has("data").then(|| shape(node, "data", &names)).flatten(),
        id: node.has("id").then(|| shape(node, "id", &names)).flatten(),
        class: class(app, node),
        priority: node.has("priority").then(|| named(node, "priority")).flatten(),
        ttl: node.has("ttl").then(|| node.duration("ttl")),
        addresses,
    })
}

/// A pattern of addresses. What it captures must not hide what else the rule knows.
fn address(node: &Node<'_>, text: &Located) -> Option<Pattern> {
    let wrong = |fault: String| {
        let help = "an address is text with {captures}, as in \"quota.{what}\", or \"{any}\" for all".to_owned();
        node.doc.problem(text.span.start, fault, Some(help));
    };
    let pattern = Pattern::compile(&text.text).map_err(wrong).ok()?;
    if let Some(taken) = pattern.names().find(|name| names().knows(name)) {
        wrong(format!("`{taken}` is taken: it is known to every rule"));
        return None;
    }
    Some(pattern)
}

/// Whom a rule names; a channel that none describes would be heard by nobody.
fn targets(app: &Node<'_>, node: &Node<'_>, names: &Names) -> Vec<Template> {
    let texts = node.texts("to");
    for text in texts.iter().filter(|text| text.text != "*") {
        described(app, node, text);
    }
    let compile = |text: &Located| node.doc.compiled(text, |source| Template::compile(source, names));
    texts.iter().filter_map(compile).collect()
}
