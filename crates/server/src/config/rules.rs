//! Channels and the dialect: the rules of an app, compiled.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use oyez_hub::backend::Endpoint;
use oyez_hub::dialect::{Body, Dialect, MessageRule, Moment, Place, PublishRule, PushRule, Rule, names};
use oyez_hub::policy::channel::{Pattern, name_fault};
use oyez_hub::policy::expression::{Condition, Kind, Names, Shape, Template};
use oyez_hub::policy::rule::{ChannelRule, Grant, Right, RuleRef, WhenSlow};
use oyez_hub::recovery::History;

use super::backend;
use super::inbox::{mark, owner, roster};
use super::reader::{Located, Node};
use super::schema::backend::ASK;

/// `[[app.NAME.channel]]`.
pub(super) fn channels(app: &Node<'_>, user: &Kind) -> Vec<ChannelRule> {
    let nodes = app.children("channel");
    let rules: Vec<_> = nodes.iter().filter_map(|node| Some((node, channel(app, node, user)?))).collect();
    for (index, (node, rule)) in rules.iter().enumerate() {
        check_reachable(node, rule, &rules[..index]);
    }
    check_remembered(app, &nodes);
    for (node, rule) in &rules {
        if rule.history.is_some() && !app.has("recovery") {
            let help = format!("write [{}.recovery], which says for how long", app.path);
            node.problem(format!("{}.history is for clients that come back", node.path), Some(help));
        }
        check_references(node, rule, &rules);
    }
    rules.into_iter().map(|(_, rule)| rule).collect()
}

/// Of the rules that fit a name the first counts: one of them must leave something to this.
fn check_reachable(node: &Node<'_>, rule: &ChannelRule, earlier: &[(&Node<'_>, ChannelRule)]) {
    let Some((other, first)) = earlier.iter().find(|(_, earlier)| earlier.pattern.covers(&rule.pattern)) else {
        return;
    };
    let (problem, help) = if first.pattern.source() == rule.pattern.source() {
        let problem = format!("the channel `{}` is described twice; only the first counts", rule.pattern);
        (problem, "write one [[app.NAME.channel]] with the rights of both".to_owned())
    } else {
        let problem =
            format!("no name ever gets to `{}`: `{}` fits all of them and is first", rule.pattern, first.pattern);
        (problem, format!("put it before line {}, or leave it out", other.line()))
    };
    node.problem(problem, Some(help));
}

/// A client that comes back would be told that it has missed nothing, whatever was said.
fn check_remembered(app: &Node<'_>, channels: &[Node<'_>]) {
    let is_live = || channels.iter().all(|channel| !channel.has("history"));
    if let Some(recovery) = app.child("recovery").filter(|recovery| !recovery.has("everyone") && is_live()) {
        let help = "give those [[app.NAME.channel]] a `history` of which nothing may be missed".to_owned();
        recovery.problem(format!("[{}] brings nothing back: no channel is remembered", recovery.path), Some(help));
    }
}

/// What a channel says of other channels must be true of them.
fn check_references(node: &Node<'_>, rule: &ChannelRule, rules: &[(&Node<'_>, ChannelRule)]) {
    let described = |name: &str| rules.iter().map(|(_, rule)| rule).find(|rule| rule.pattern.matches(name).is_some());
    for echo in node.texts("echo") {
        if described(&echo.text).is_none() {
            node.doc.problem(echo.span.start, format!("no channel fits `{}`", echo.text), Some(describe(&echo.text)));
        }
    }
    let (Some(template), Some(text)) = (&rule.audience, node.text("audience")) else {
        return;
    };
    match described(&sample(template.source())).map(|rule| &rule.subscribe.right) {
        Some(Right::When(condition)) if condition.depends_on_rights_only() => {}
        Some(_) => {
            let help = "an audience is decided once for all with equal roles and attributes";
            let message = format!("who may hear `{}` depends on more than rights", text.text);
            node.doc.problem(text.span.start, message, Some(help.to_owned()));
        }
        None => {
            let help = describe(&sample(template.source()));
            node.doc.problem(text.span.start, format!("no channel fits `{}`", text.text), Some(help));
        }
    }
}

fn describe(channel: &str) -> String {
    format!("describe it: [[app.NAME.channel]] name = \"{channel}\"")
}

fn channel(app: &Node<'_>, node: &Node<'_>, user: &Kind) -> Option<ChannelRule> {
    let name = node.text("name")?;
    let help = match &*name.text {
        "*" => {
            "everyone hears what is published to \"*\", which needs no description; for every other name write \"{room}\""
        }
        _ => "a name is text with {captures}, as in \"site:{siteId}\" or \"alarms\"",
    };
    let wrong = |fault| node.doc.problem(name.span.start, fault, Some(help.to_owned()));
    let pattern = Pattern::compile(&name.text).map_err(wrong).ok()?;
    let captures = pattern.names().map(|name| (name, Kind::Text));
    let names = Names::default().with(captures.chain([("user", user.clone())]));
    let said = names.clone().with([("event", Kind::Text), ("member", Kind::Bool)]);
    let audience = node.text("audience").and_then(|text| {
        let names = Names::default().with([("event", Kind::Text), ("data", Kind::Any)]);
        node.doc.compiled(&text, |source| Template::compile(source, &names))
    });
    for echo in node.texts("echo") {
        if let Some(fault) =
            name_fault(&echo.text).or(echo.text.contains('{').then_some("an echo is one channel, not a pattern"))
        {
            node.doc.problem(echo.span.start, fault, Some("as in echo = \"platform\"".to_owned()));
        }
    }
    Some(ChannelRule {
        subscribe: grant(node, "subscribe", &pattern, &names)?,
        publish: grant(node, "publish", &pattern, &said)?,
        presence: node.boolean("presence"),
        echo: node.plain_texts("echo").into_iter().map(Arc::from).collect(),
        audience,
        when_slow: when_slow(node),
        history: history(node),
        inbox: owner(app, node, &pattern),
        roster: roster(app, node),
        pattern,
    })
}

/// How much of a channel is remembered; its time may be shorter than what the app's log keeps.
fn history(node: &Node<'_>) -> Option<History> {
    let time = if node.has("history_time") { node.duration("history_time") } else { Duration::MAX };
    let last = node.count("history").filter(|_| node.has("history"));
    if last.is_none() && node.has("history_time") {
        let help = Some("write history = 1000, or leave it out".to_owned());
        node.problem(format!("{}.history_time says nothing without `history`", node.path), help);
    }
    last.map(|last| History { last: usize::try_from(last).unwrap_or(usize::MAX), time })
}

fn when_slow(node: &Node<'_>) -> WhenSlow {
    let names = Names::default().with([("event", Kind::Text), ("data", Kind::Any)]);
    let by = shape(node, "conflate_by", &names);
    match node.choice("when_slow").as_deref() {
        Some("conflate") => return WhenSlow::Conflate(by),
        Some("disconnect") if !node.has("conflate_by") => return WhenSlow::Disconnect,
        _ => {}
    }
    if node.has("conflate_by") {
        let help = Some("write when_slow = \"conflate\"".to_owned());
        node.problem(format!("{}.conflate_by says nothing without `when_slow`", node.path), help);
    }
    WhenSlow::DropOldest
}

fn grant(node: &Node<'_>, key: &'static str, pattern: &Pattern, names: &Names) -> Option<Grant> {
    let (source, right) = if let Some(ask) = node.inner(key, &ASK) {
        let ask = backend::ask(&ask)?;
        (Arc::from(format!("ask {}", ask.endpoint.url)), Right::Ask(Arc::new(ask)))
    } else {
        let condition = match node.truth(key) {
            Some(truth) => Condition::constant(truth),
            None => node.doc.compiled(&node.text(key)?, |source| Condition::compile(source, names))?,
        };
        (condition.source().clone(), Right::When(condition))
    };
    Some(Grant {
        rule: Arc::new(RuleRef { line: node.line_of(key), channel: pattern.source().clone(), key, source }),
        right,
    })
}

/// A service that is asked.
pub(super) fn url(node: &Node<'_>, key: &str) -> Option<String> {
    let url = node.text(key)?;
    if url.text.starts_with("http://") || url.text.starts_with("https://") {
        return Some(url.text);
    }
    node.doc.problem(url.span.start, format!("`{}` is no URL", url.text), Some("write \"https://…\"".into()));
    None
}

/// Everything that an app says and understands.
pub(super) fn dialect(app: &Node<'_>, user: &Kind) -> Dialect {
    let place = |place| names(place, user.clone());
    let channels = &Channels::of(app);
    let mut events: HashMap<Arc<str>, Arc<Rule>> = HashMap::new();
    for node in app.children("on") {
        let rule = Arc::new(rule(app, &node, user, channels));
        for event in node.texts("event") {
            if let Some(earlier) = events.insert(event.text.as_str().into(), rule.clone()) {
                let help = Some(format!("the first is on line {}", earlier.line));
                node.doc.problem(event.span.start, format!("the event `{}` has two rules", event.text), help);
            }
        }
    }
    let websocket = app.child("websocket");
    Dialect {
        connect: app.child("connect").map(|node| Arc::new(connect(&node, user, channels))),
        events,
        presence: presence(app, &place(Place::Connect)),
        pushes: app.children("push").iter().filter_map(|node| push(node, &place(Place::Push))).collect(),
        frame: websocket.filter(|node| node.has("frame")).and_then(|node| shape(&node, "frame", &place(Place::Push))),
        refused: app.child("refused").and_then(|node| message(&node, &place(Place::Refusal))),
        heartbeat: app.child("heartbeat").and_then(|node| node.text("event")).map(|event| event.text.into()),
        acknowledge: None,
        forward: forward(app),
    }
}

/// Where a client of a plain WebSocket goes on.
fn since(app: &Node<'_>, node: &Node<'_>, names: &Names) -> Option<Shape> {
    if !app.has("recovery") {
        let help = format!("write [{}.recovery], and a `history` in the channels that are joined", app.path);
        node.problem(format!("{} is for clients that come back", node.full("since")), Some(help));
    } else if !node.has("join") {
        let help = "write the channels to join: join = \"ticket:{data.ticket}\"".to_owned();
        node.problem(format!("{} says nothing without `join`", node.full("since")), Some(help));
    }
    shape(node, "since", names)
}

fn connect(node: &Node<'_>, user: &Kind, channels: &Channels) -> Rule {
    let place = names(Place::Connect, user.clone());
    Rule {
        line: node.line(),
        join: channel_templates(node, "join", &place, channels),
        reply: node.child("reply").and_then(|node| message(&node, &place)),
        quiet: true,
        ..Rule::default()
    }
}

fn rule(app: &Node<'_>, node: &Node<'_>, user: &Kind, channels: &Channels) -> Rule {
    let said = names(Place::Event, user.clone());
    let reply = names(Place::Reply, user.clone());
    Rule {
        line: node.line(),
        join: channel_templates(node, "join", &said, channels),
        since: if node.has("since") { since(app, node, &said) } else { None },
        leave: templates(node, "leave", &said),
        publish: node.child("publish").and_then(|node| publish(&node, &said)),
        mark: node.child("mark").and_then(|node| mark(app, &node, &said)),
        status: node
            .text("status")
            .and_then(|text| node.doc.compiled(&text, |source| Template::compile(source, &said))),
        reply: node.child("reply").and_then(|node| message(&node, &reply)),
        forward: forward(node),
        ack: if node.has("ack") { shape(node, "ack", &reply) } else { None },
        refused: node.child("refused").and_then(|node| message(&node, &names(Place::Refusal, user.clone()))),
        quiet: false,
    }
}

/// Where events go; what the backend answers is the acknowledgement, and there is but one.
fn forward(node: &Node<'_>) -> Option<Arc<Endpoint>> {
    let forward = node.child("forward")?;
    if node.path.ends_with(".on") && node.has("ack") {
        let help = "leave `ack` out: what the backend answers is the acknowledgement".to_owned();
        node.problem(format!("{} has both `ack` and `forward`", node.path), Some(help));
    }
    backend::endpoint(&forward, "url").map(Arc::new)
}

fn presence(app: &Node<'_>, names: &Names) -> Vec<(Moment, PublishRule)> {
    let Some(node) = app.child("presence") else {
        return Vec::new();
    };
    let moments = [
        ("connected", Moment::Connected),
        ("online", Moment::Online),
        ("offline", Moment::Offline),
        ("disconnected", Moment::Disconnected),
    ];
    moments.into_iter().filter_map(|(key, moment)| Some((moment, publish(&node.child(key)?, names)?))).collect()
}

fn push(node: &Node<'_>, names: &Names) -> Option<PushRule> {
    let event = node.text("as").and_then(|text| node.doc.compiled(&text, |source| Template::compile(source, names)))?;
    let body = body(node, names);
    let body = if matches!(body, Body::Nothing) { Body::Data(Shape::compile("data", names).ok()?) } else { body };
    Some(PushRule { event: node.text("event").map(|event| event.text.into()), message: MessageRule { event, body } })
}

fn publish(node: &Node<'_>, names: &Names) -> Option<PublishRule> {
    Some(PublishRule {
        to: templates(node, "to", names),
        skip_self: node.boolean("skip_self"),
        message: message(node, names)?,
    })
}

fn message(node: &Node<'_>, names: &Names) -> Option<MessageRule> {
    let event = node.doc.compiled(&node.text("event")?, |source| Template::compile(source, names));
    let body = body(node, names);
    Some(MessageRule { event: event?, body })
}

fn body(node: &Node<'_>, names: &Names) -> Body {
    if node.has("data") && node.has("frame") {
        node.problem(format!("{} has both data and frame", node.path), Some("a message is one or the other".into()));
    }
    let frame = shape(node, "frame", names).map(Body::Frame);
    frame.or_else(|| shape(node, "data", names).map(Body::Data)).unwrap_or(Body::Nothing)
}

pub(super) fn shape(node: &Node<'_>, key: &str, names: &Names) -> Option<Shape> {
    let text = node.text(key)?;
    node.doc.compiled(&text, |source| Shape::compile(source, names))
}

fn templates(node: &Node<'_>, key: &str, names: &Names) -> Vec<Template> {
    node.texts(key)
        .iter()
        .filter_map(|text| node.doc.compiled(text, |source| Template::compile(source, names)))
        .collect()
}

/// A join into a channel that no rule describes would be denied for ever, so it is a mistake.
fn channel_templates(node: &Node<'_>, key: &str, names: &Names, channels: &Channels) -> Vec<Template> {
    for text in node.texts(key).iter().filter(|text| !text.text.starts_with('{')) {
        channels.must_fit(node, text);
    }
    templates(node, key, names)
}

/// Notes it when none of the app's channels fits what this text gives.
pub(super) fn described(app: &Node<'_>, node: &Node<'_>, text: &Located) {
    if !text.text.starts_with('{') {
        Channels::of(app).must_fit(node, text);
    }
}

/// The patterns of an app's channels, also of those whose rights are wrong; none for one that is no pattern, which
/// might have been meant for anything.
struct Channels(Vec<Option<Pattern>>);

impl Channels {
    fn of(app: &Node<'_>) -> Self {
        let pattern = |node: &Node<'_>| Pattern::compile(&node.text("name")?.text).ok();
        Self(app.children("channel").iter().map(pattern).collect())
    }

    fn must_fit(&self, node: &Node<'_>, text: &Located) {
        let sample = sample(&text.text);
        if !self.0.iter().any(|pattern| pattern.as_ref().is_none_or(|pattern| pattern.matches(&sample).is_some())) {
            let help = format!("describe it: [[app.NAME.channel]] name = \"{}\"", sample.replace('x', "{id}"));
            node.doc.problem(text.span.start, format!("no channel fits `{}`", text.text), Some(help));
        }
    }
}

/// The template with an `x` for each expression.
fn sample(text: &str) -> String {
    let mut sample = String::new();
    let mut depth = 0_usize;
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    sample.push('x');
                }
            }
            c if depth == 0 => sample.push(c),
            _ => {}
        }
    }
    sample
}
