//! What an app's file says of durable messages: its inbox, its events, and how clients speak of them.

use std::sync::Arc;

use oyez_hub::command::Level;
use oyez_hub::delivery::Priority;
use oyez_hub::dialect::{MarkRule, MarkWhich};
use oyez_hub::policy::channel::Pattern;
use oyez_hub::policy::expression::{Kind, Names};
use oyez_hub::policy::rule::ChannelRule;
use oyez_hub::promise::{Acknowledge, Class, EventRule, InboxRules, Roster, Words};
use oyez_hub::store::{Bound, State, WhenFull};
use serde::de::DeserializeOwned;

use super::app::positive;
use super::backend::endpoint;
use super::reader::Node;
use super::rules::shape;

/// `[app.NAME.inbox]`.
pub(super) fn inbox(node: &Node<'_>) -> InboxRules {
    let word = |name: &str| node.choice(name).unwrap_or_default();
    let event = |name: &str| {
        // What is no text has been told of already.
        let event = node.text(name).map(|event| event.text);
        if event.as_ref().is_some_and(|event| !oyez_hub::command::is_event_name(event)) {
            let help = format!("as in {}", node.key(name).example);
            node.problem(format!("{} is no name for an event", node.full(name)), Some(help));
        }
        Arc::from(event.unwrap_or_default())
    };
    let told = |name: &str| Some(event(name)).filter(|event| **event != *"none");
    positive(node, &["ttl"]);
    InboxRules {
        acknowledge: if word("acknowledge") == "heartbeat" { Acknowledge::Heartbeat } else { Acknowledge::Explicit },
        level: if word("level") == "synced" { Level::Synced } else { Level::Stored },
        bound: Bound {
            most: node.count("most").and_then(|most| u32::try_from(most).ok()).unwrap_or(u32::MAX),
            when_full: if word("when_full") == "refuse" { WhenFull::Refuse } else { WhenFull::DropOldest },
        },
        ttl: node.has("ttl").then(|| node.duration("ttl")),
        first_cancels: node.boolean("first_cancels"),
        words: Words { ack: event("ack_event"), state: told("state_event"), unread: told("unread_event") },
        webhook: node.child("webhook").and_then(|node| endpoint(&node, "url")),
    }
}

/// `[[app.NAME.event]]`.
pub(super) fn events(app: &Node<'_>, channels: &[ChannelRule]) -> Vec<EventRule> {
    let nodes = app.children("event");
    let rules: Vec<_> = nodes.iter().filter_map(|node| Some((node, event(app, node)?))).collect();
    for (index, (node, rule)) in rules.iter().enumerate() {
        check_reachable(node, rule, &rules[..index]);
        if rule.class == Some(Class::Durable) && is_for_nobody_away(rule, channels) {
            let message =
                format!("`{}` is durable, and nobody who is away gets it: nothing keeps it for them", rule.name);
            let help =
                "give its channel an `inbox` or a `roster`; without one it is kept for those who hear the channel";
            node.doc.note(node.span.start, message, Some(help.to_owned()));
        }
    }
    rules.into_iter().map(|(_, rule)| rule).collect()
}

/// Of the rules that fit an event in a channel the first counts: one of them must leave something to this.
fn check_reachable(node: &Node<'_>, rule: &EventRule, earlier: &[(&Node<'_>, EventRule)]) {
    let Some((other, first)) = earlier.iter().find(|(_, earlier)| earlier.covers(rule)) else { return };
    let place = |rule: &EventRule| rule.to.as_ref().map(|to| Arc::clone(to.source()));
    let (problem, help) = if (&first.name, place(first)) == (&rule.name, place(rule)) {
        let problem = format!("the event `{}` is described twice; only the first counts", rule.name);
        (problem, "write one [[app.NAME.event]] with the keys of both, or say `to` in the first".to_owned())
    } else {
        let problem = format!(
            "this rule for `{}` never counts: that for `{}` fits all of it and is first",
            rule.name, first.name
        );
        (problem, format!("put it before line {}, or leave it out", other.line()))
    };
    node.problem(problem, Some(help));
}

/// Whether no channel in which an event may be said keeps what is durable; false where that cannot be told.
fn is_for_nobody_away(rule: &EventRule, channels: &[ChannelRule]) -> bool {
    let keeps = |channel: &&ChannelRule| channel.inbox.is_some() || channel.roster.is_some();
    let Some(to) = &rule.to else { return !channels.iter().any(|channel| keeps(&channel)) };
    let first = channels.iter().position(|channel| channel.pattern.covers(to)).map_or(channels, |at| &channels[..=at]);
    !first.iter().filter(keeps).any(|channel| channel.pattern.covers(to) || to.covers(&channel.pattern))
}

fn event(app: &Node<'_>, node: &Node<'_>) -> Option<EventRule> {
    let to = node.text("to").and_then(|text| {
        let wrong = |fault: String| {
            let help = "a channel's name, or a pattern such as \"user:{userId}\"".to_owned();
            node.doc.problem(text.span.start, fault, Some(help));
        };
        Pattern::compile(&text.text).map_err(wrong).ok()
    });
    positive(node, &["ttl"]);
    let name = node.text("name")?;
    if name.text.strip_suffix('*').unwrap_or(&name.text).contains('*') {
        let help = "as in \"alarm:*\"; for other names, write another [[app.NAME.event]]".to_owned();
        node.doc.problem(name.span.start, "a `*` stands for any ending, and only at the end", Some(help));
    }
    Some(EventRule {
        name: name.text.into(),
        to,
        class: class(app, node),
        priority: node.has("priority").then(|| named::<Priority>(node, "priority")).flatten(),
        ttl: node.has("ttl").then(|| node.duration("ttl")),
        id: shape(node, "id", &Names::default().with([("event", Kind::Text), ("data", Kind::Any)])),
    })
}

/// What `delivery` promises, if it says so; the app must be able to keep it.
pub(super) fn class(app: &Node<'_>, node: &Node<'_>) -> Option<Class> {
    let class: Option<Class> = node.has("delivery").then(|| named(node, "delivery")).flatten();
    let needs = match class {
        Some(Class::Durable) => Some("inbox"),
        Some(Class::Recoverable) => Some("recovery"),
        _ => None,
    };
    if let Some(section) = needs.filter(|section| !app.has(section)) {
        let help = format!("write [{}.{section}]", app.path);
        node.problem(format!("{}.delivery needs an app with [{}.{section}]", node.path, app.path), Some(help));
    }
    class
}

/// The value that this word means.
pub(super) fn named<T: DeserializeOwned>(node: &Node<'_>, key: &str) -> Option<T> {
    serde_json::from_value(node.choice(key)?.into()).ok()
}

/// The part of a channel's name that is the user whose inbox it is.
pub(super) fn owner(app: &Node<'_>, node: &Node<'_>, pattern: &Pattern) -> Option<Arc<str>> {
    let text = node.text("inbox")?;
    let part = text.text.strip_prefix('{').and_then(|part| part.strip_suffix('}')).unwrap_or(&text.text).to_owned();
    if !pattern.names().any(|name| name == part) {
        let help = "name one of its {parts}, as in name = \"user:{userId}\", inbox = \"{userId}\"".to_owned();
        node.doc.problem(text.span.start, format!("`{pattern}` has no part {{{part}}}"), Some(help));
        return None;
    }
    needs_inbox(app, node, &node.full("inbox"));
    Some(part.into())
}

/// How a channel's roster comes about.
pub(super) fn roster(app: &Node<'_>, node: &Node<'_>) -> Option<Roster> {
    let roster = match node.choice("roster").filter(|_| node.has("roster"))?.as_str() {
        "subscribe" => Roster::Subscribe,
        _ => Roster::Api,
    };
    if node.has("inbox") {
        let help = "a channel's durable messages are one user's, or those of all on its roster".to_owned();
        node.problem(format!("{} has both `inbox` and `roster`", node.path), Some(help));
    }
    needs_inbox(app, node, &node.full("roster"));
    Some(roster)
}

fn needs_inbox(app: &Node<'_>, node: &Node<'_>, what: &str) {
    if !app.has("inbox") {
        let help = format!("write [{}.inbox]", app.path);
        node.problem(format!("{what} is for durable messages"), Some(help));
    }
}

/// `[app.NAME.on.mark]`.
pub(super) fn mark(app: &Node<'_>, node: &Node<'_>, names: &Names) -> Option<MarkRule> {
    needs_inbox(app, node, &node.path);
    let which = match (node.has("ids"), node.has("up_to")) {
        (true, true) => {
            let help = "a message is named by its id, or as the last of several".to_owned();
            node.problem(format!("{} has both `ids` and `up_to`", node.path), Some(help));
            return None;
        }
        (true, false) => MarkWhich::Ids(shape(node, "ids", names)?),
        (false, true) => MarkWhich::UpTo(shape(node, "up_to", names)?),
        (false, false) => MarkWhich::All,
    };
    Some(MarkRule { which, state: named::<State>(node, "state")? })
}
