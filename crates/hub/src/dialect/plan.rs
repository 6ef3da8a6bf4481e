//! From a client's words to steps, and from what came of them to the app's answers.

use std::sync::Arc;

use oyez_protocol::message::Args;

use super::mark;
use super::outgoing::default_refusal;
use super::{
    Body, Cx, Denial, Dialect, Message, MessageRule, Moment, Outcome, Plan, Publication, PublishRule, REFRESH_EVENT,
    Replies, Rule, Step,
};
use crate::policy::channel::TOO_LONG;
use crate::policy::expression::{Expanded, Fault, Scope, Shape, Template, Term, dig};
use crate::policy::limits::Limit;

impl Dialect {
    /// What happens when a session opens.
    #[must_use]
    pub fn on_connect(&self, cx: &Cx<'_>) -> Plan {
        self.connect.as_ref().map(|rule| plan(rule, cx)).unwrap_or_default()
    }

    /// What an event asks for; none when no rule names it and nothing forwards it.
    #[must_use]
    pub fn on_event(&self, cx: &Cx<'_>) -> Option<Plan> {
        let alive = self.heartbeat.as_deref() == Some(cx.event);
        let mut plan = match self.events.get(cx.event) {
            Some(rule) => plan(rule, cx),
            None if cx.event == REFRESH_EVENT => refresh(cx),
            None if self.acknowledge.as_deref() == Some(cx.event) => mark::by_event(cx),
            None if alive => Plan::default(),
            None => Plan { steps: vec![Step::Forward(Arc::clone(self.forward.as_ref()?))], ..Plan::default() },
        };
        if alive {
            plan.steps.insert(0, Step::Heartbeat);
        }
        Some(plan)
    }

    /// What is published when a user's sessions come and go. These need no right: the app's rule is one.
    #[must_use]
    pub fn on_presence(&self, cx: &Cx<'_>, moment: Moment) -> Vec<Publication> {
        let scope = scope(cx);
        let due = self.presence.iter().filter(|(when, _)| *when == moment);
        due.filter_map(|(_, rule)| {
            let mut plan = Plan::default();
            publish(rule, cx, &scope, &mut plan);
            match plan.steps.pop() {
                Some(Step::Publish(publication)) => Some(publication),
                _ => None,
            }
        })
        .collect()
    }

    /// The app's words for what came of a plan.
    #[must_use]
    pub fn replies(&self, plan: &Plan, cx: &Cx<'_>, outcome: &Outcome) -> Replies {
        let scope = scope(cx).with("joined", Term::Texts(&outcome.joined)).with("left", Term::Texts(&outcome.left));
        let rule = plan.rule.as_deref();
        let mut denied: Vec<Denial> = plan.denied.iter().chain(&outcome.denied).cloned().collect();
        let mut replies = Replies::default();
        if denied.is_empty() || !outcome.joined.is_empty() || outcome.published > 0 || outcome.marked.is_some() {
            let reply = rule.and_then(|rule| rule.reply.as_ref()).map(|reply| message(reply, &scope));
            match reply {
                Some(Ok(reply)) => replies.messages.push(reply),
                Some(Err(fault)) => denied.push(misunderstood(cx, &fault)),
                None => {}
            }
        }
        let refusal = rule.and_then(|rule| rule.refused.as_ref()).or(self.refused.as_ref());
        let quiet = rule.is_some_and(|rule| rule.quiet);
        let refusals: Vec<Message> =
            denied.iter().filter(|_| !quiet).map(|denial| refused(refusal, denial, cx)).collect();
        let refusal = refusals.first().map(|refusal| refusal.args.clone());
        replies.ack = match rule {
            // The backend's answer acknowledges it, or the refusal.
            Some(rule) if rule.forward.is_some() => refusal,
            Some(rule) => rule.ack.as_ref().map(|ack| refusal.unwrap_or_else(|| acknowledgement(ack, &scope))),
            // A refresh, or an event for the backend: done, the answer acknowledges it; refused, the refusal.
            None => refusal,
        };
        replies.messages.extend(refusals);
        replies
    }

    /// A refusal in the app's words, outside of any rule: an event that came too fast, a token that was not accepted.
    #[must_use]
    pub fn refusal(&self, denial: &Denial, cx: &Cx<'_>) -> Message {
        refused(self.refused.as_ref(), denial, cx)
    }
}

/// The names that every rule sees.
pub(super) fn scope<'a>(cx: &'a Cx<'a>) -> Scope<'a> {
    let names = [
        ("id", Term::Shown(cx.id)),
        ("user", Term::User(cx.identity)),
        ("session", Term::Session(&cx.session)),
        ("event", Term::Text(cx.event)),
        ("data", Term::Json(cx.data.get())),
    ];
    Scope::of(names).at(cx.now)
}

fn plan(rule: &Arc<Rule>, cx: &Cx<'_>) -> Plan {
    let scope = scope(cx);
    let mut plan = Plan { rule: Some(rule.clone()), ..Plan::default() };
    expand(&rule.leave, cx, &scope, &mut plan, Step::Leave);
    match since(rule, &scope) {
        None => expand(&rule.join, cx, &scope, &mut plan, Step::Join),
        Some(since) => {
            expand(&rule.join, cx, &scope, &mut plan, |channel| Step::JoinSince(channel, since.clone()));
        }
    }
    if let Some(rule) = &rule.publish {
        publish(rule, cx, &scope, &mut plan);
    }
    if let Some(rule) = &rule.mark {
        mark::by_rule(rule, cx, &scope, &mut plan);
    }
    match rule.status.as_ref().map(|status| status.text(&scope)) {
        Some(Ok(status)) => plan.steps.push(Step::Status(status)),
        Some(Err(fault)) => plan.denied.push(misunderstood(cx, &fault)),
        None => {}
    }
    plan.steps.extend(rule.forward.as_ref().map(|endpoint| Step::Forward(Arc::clone(endpoint))));
    plan
}

/// The place that a client shows, as it wrote it; what is no text is no place.
fn since(rule: &Rule, scope: &Scope<'_>) -> Option<String> {
    let json = rule.since.as_ref()?.json(scope).ok().filter(|json| json != "null")?;
    Some(serde_json::from_str(&json).unwrap_or(json))
}

fn expand(templates: &[Template], cx: &Cx<'_>, scope: &Scope<'_>, plan: &mut Plan, step: impl Fn(String) -> Step) {
    for template in templates {
        match template.expand(scope) {
            Ok(Expanded { names, refused }) => {
                plan.steps.extend(names.into_iter().map(&step));
                plan.denied.extend(refused.into_iter().map(unfit));
            }
            Err(fault) => plan.denied.push(misunderstood(cx, &fault)),
        }
    }
}

fn publish(rule: &PublishRule, cx: &Cx<'_>, scope: &Scope<'_>, plan: &mut Plan) {
    let mut to = Vec::new();
    let before = plan.denied.len();
    for template in &rule.to {
        if template.source() == "*" {
            to.push("*".to_owned());
            continue;
        }
        match template.expand(scope) {
            Ok(Expanded { names, refused }) => {
                to.extend(names);
                plan.denied.extend(refused.into_iter().map(unfit));
            }
            Err(fault) => plan.denied.push(misunderstood(cx, &fault)),
        }
    }
    match message(&rule.message, scope) {
        Ok(message) if plan.denied.len() == before && !to.is_empty() => {
            plan.steps.push(Step::Publish(Publication {
                to,
                id: cx.id.to_string(),
                message,
                skip_self: rule.skip_self,
            }));
        }
        Ok(_) => {}
        Err(fault) => plan.denied.push(misunderstood(cx, &fault)),
    }
}

pub(super) fn message(rule: &MessageRule, scope: &Scope<'_>) -> Result<Message, Fault> {
    let event = rule.event.text(scope)?;
    let (text, whole) = match &rule.body {
        Body::Nothing => (String::new(), false),
        Body::Data(shape) => (shape.json(scope)?, false),
        Body::Frame(shape) => (shape.json(scope)?, true),
    };
    Ok(Message { event, args: Args::from_validated(text, Vec::new()), whole })
}

fn refused(rule: Option<&MessageRule>, denial: &Denial, cx: &Cx<'_>) -> Message {
    let channel = denial.channel.as_deref().map_or(Term::Null, Term::Text);
    let scope = scope(cx)
        .with("channel", channel)
        .with("reason", Term::Text(&denial.reason))
        .with("code", Term::Number(denial.code.into()));
    rule.and_then(|rule| message(rule, &scope).ok()).unwrap_or_else(|| default_refusal(denial))
}

fn acknowledgement(ack: &Shape, scope: &Scope<'_>) -> Args {
    ack.json(scope).map_or_else(|_| Args::none(), |json| Args::from_validated(json, Vec::new()))
}

pub(super) fn misunderstood(cx: &Cx<'_>, fault: &Fault) -> Denial {
    let reason = if cx.event.is_empty() {
        fault.to_string()
    } else {
        format!("{}: {fault}", cx.event.chars().take(100).collect::<String>())
    };
    Denial { channel: None, reason, code: 400, limit: None, error: None }
}

/// A name that cannot be a channel's.
fn unfit((channel, reason): (String, String)) -> Denial {
    let limit = (reason == TOO_LONG).then_some(Limit::ChannelLength);
    Denial { channel: Some(channel), reason, code: 400, limit, error: limit.map(Limit::code) }
}

/// The token is the data, or in its `token`, or, in a frame, in `content.token`.
fn refresh(cx: &Cx<'_>) -> Plan {
    let data = cx.data.get();
    let nested = || dig(data, "content").and_then(|content| dig(content, "token"));
    let text = dig(data, "token").or_else(nested).unwrap_or(data);
    match serde_json::from_str(text) {
        Ok(token) => Plan { steps: vec![Step::Refresh(token)], ..Plan::default() },
        Err(_) => {
            let denial = misunderstood(cx, &Fault::Missing("data.token".into()));
            Plan { denied: vec![denial], ..Plan::default() }
        }
    }
}
