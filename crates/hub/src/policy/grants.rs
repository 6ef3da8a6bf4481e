//! What an identity may subscribe to and publish to, who else hears a channel, and who hears a publication in it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::channel::{Captures, NameLimits, name_fault};
use super::expression::{Condition, ExpressionError, Facts, Fault, Kind, Names, Part, Scope, Term};
use super::identity::{Identity, Rights};
use super::limits::Limit;
use super::rule::{Ask, ChannelRule, Grant, Right, RuleRef, WhenSlow};
use crate::channel::{EVERYONE, is_own};
use crate::delivery;
use crate::promise::{Keeper, Roster};
use crate::recovery::History;

/// The rights of an app: its channel rules in the order of the file; the first whose pattern fits decides.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    channels: Vec<ChannelRule>,
    names: NameLimits,
    everyone: Option<History>,
}

/// A question to the app's backend. Two equal questions have one answer for as long as it is cached.
#[derive(Debug, Clone)]
pub struct Question {
    /// How it is asked.
    pub ask: Arc<Ask>,
    /// Which rule asks.
    pub rule: Arc<RuleRef>,
    /// What is asked: `{user, roles, attributes, action, channel, captures}`.
    pub body: Value,
}

/// What was decided.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// Allowed by this rule.
    Allow(Arc<RuleRef>),
    /// Denied.
    Deny {
        /// The rule that denies; none when no rule names the channel.
        rule: Option<Arc<RuleRef>>,
        /// Why, for the client.
        reason: String,
        /// The rule could not be evaluated, which denies; to be counted and looked into.
        fault: Option<Fault>,
        /// The name of the channel is more than the app allows.
        limit: Option<Limit>,
    },
    /// The app's backend decides.
    Ask(Question),
}

impl Verdict {
    /// It is allowed, here and now.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }
}

/// What may be done to a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// Hear it.
    Subscribe,
    /// Say something in it.
    Publish {
        /// What is said.
        event: &'a str,
        /// The session that says it is in the channel.
        member: bool,
    },
}

/// Who hears a publication in one channel, beyond being subscribed to it.
#[derive(Debug, Clone)]
pub enum Audience {
    /// Those who may subscribe to this channel.
    MayHear(String),
    /// Those who have, for each key, at least one of its values; `roles` or an attribute.
    Having(Vec<(String, Vec<String>)>),
    /// Those for whom this holds.
    When(Condition),
}

impl Policy {
    /// From the rules of an app.
    #[must_use]
    pub fn new(channels: Vec<ChannelRule>) -> Self {
        Self { channels, names: NameLimits::default(), everyone: None }
    }

    /// With limits for the names of channels.
    #[must_use]
    pub fn with_names(mut self, names: NameLimits) -> Self {
        self.names = names;
        self
    }

    /// With so much remembered of what is said to everyone.
    #[must_use]
    pub fn with_everyone(mut self, history: Option<History>) -> Self {
        self.everyone = history;
        self
    }

    /// Which limit this name of a channel exceeds.
    #[must_use]
    pub fn exceeded_by(&self, name: &str) -> Option<Limit> {
        self.names.exceeded(name)
    }

    /// Whether some right is asked of the app's backend.
    #[must_use]
    pub fn asks(&self) -> bool {
        let grants = self.channels.iter().flat_map(|rule| [&rule.subscribe, &rule.publish]);
        grants.into_iter().any(|grant| matches!(grant.right, Right::Ask(_)))
    }

    /// The rule that decides about a channel, with the captures of its name.
    #[must_use]
    pub fn rule<'a>(&'a self, channel: &'a str) -> Option<(&'a ChannelRule, Captures<'a>)> {
        self.channels.iter().find_map(|rule| Some((rule, rule.pattern.matches(channel)?)))
    }

    /// The pattern of the rule that decides about a channel.
    #[must_use]
    pub fn pattern(&self, channel: &str) -> Option<&Arc<str>> {
        self.channels.iter().find(|rule| rule.pattern.matches(channel).is_some()).map(|rule| rule.pattern.source())
    }

    /// May this identity hear this channel?
    #[must_use]
    pub fn subscribe(&self, identity: &Identity, channel: &str) -> Verdict {
        self.decide(Action::Subscribe, identity, channel)
    }

    /// May this identity publish this event to this channel? `member`: the session that asks is in it.
    #[must_use]
    pub fn publish(&self, identity: &Identity, channel: &str, event: &str, member: bool) -> Verdict {
        self.decide(Action::Publish { event, member }, identity, channel)
    }

    /// May this identity do this to this channel?
    #[must_use]
    pub fn decide(&self, action: Action<'_>, identity: &Identity, channel: &str) -> Verdict {
        let deny = |rule, reason, fault| Verdict::Deny { rule, reason, fault, limit: None };
        if let Some(limit) = self.exceeded_by(channel) {
            let reason = limit.code().message().to_owned();
            return Verdict::Deny { rule: None, reason, fault: None, limit: Some(limit) };
        }
        if let Some(fault) = name_fault(channel) {
            return deny(None, fault.to_owned(), None);
        }
        let Some((rule, captures)) = self.rule(channel) else {
            return deny(None, format!("there is no channel {channel}"), None);
        };
        let grant = rule.grant(action);
        let condition = match &grant.right {
            Right::When(condition) => condition,
            Right::Ask(ask) => {
                let body = question(action, identity, channel, &captures);
                return Verdict::Ask(Question { ask: ask.clone(), rule: grant.rule.clone(), body });
            }
        };
        match condition.holds(&action.facts(identity, &captures)) {
            Ok(true) => Verdict::Allow(grant.rule.clone()),
            Ok(false) => deny(Some(grant.rule.clone()), action.denial(channel), None),
            Err(fault) => deny(Some(grant.rule.clone()), action.denial(channel), Some(fault)),
        }
    }

    /// The leaves of the rule that decides, with what each gave; for `explain`.
    #[must_use]
    pub fn parts(&self, action: Action<'_>, identity: &Identity, channel: &str) -> Vec<Part> {
        let Some((rule, captures)) = self.rule(channel) else {
            return Vec::new();
        };
        match &rule.grant(action).right {
            Right::When(condition) => condition.parts(&action.facts(identity, &captures)),
            Right::Ask(_) => Vec::new(),
        }
    }

    /// The channels that also hear what is published to this one.
    #[must_use]
    pub fn echo(&self, channel: &str) -> &[Arc<str>] {
        let rule = self.channels.iter().find(|rule| rule.pattern.matches(channel).is_some());
        rule.map_or(&[], |rule| &rule.echo)
    }

    /// Joins and leaves of this channel are told.
    #[must_use]
    pub fn presence(&self, channel: &str) -> bool {
        self.rule(channel).is_some_and(|(rule, _)| rule.presence)
    }

    /// Who hears this publication in this channel; none: all its subscribers. `data` is valid JSON text.
    #[must_use]
    pub fn audience(&self, event: &str, channel: &str, data: &str) -> Option<Audience> {
        let (rule, _) = self.rule(channel)?;
        let template = rule.audience.as_ref()?;
        let scope = Scope::new().with("event", Term::Text(event)).with("data", Term::Json(data));
        match template.expand(&scope) {
            Ok(mut expanded) if expanded.refused.is_empty() && expanded.names.len() == 1 => {
                expanded.names.pop().map(Audience::MayHear)
            }
            // The data names none.
            Err(Fault::Missing(_)) => None,
            // It names something that cannot be a channel: nobody but an administrator may hear that.
            _ => Some(Audience::MayHear(String::new())),
        }
    }

    /// Whether some channel's publications are for some of its subscribers only.
    #[must_use]
    pub fn has_audiences(&self) -> bool {
        self.channels.iter().any(|rule| rule.audience.is_some())
    }

    /// What becomes of this publication where it waits for a client that reads too slowly. `data` gives valid JSON text.
    #[must_use]
    pub fn when_slow<'d>(&self, event: &str, channel: &str, data: impl FnOnce() -> &'d str) -> delivery::WhenSlow {
        // Nearly all apps say nothing, and nothing is looked up for them.
        if self.channels.iter().all(|rule| matches!(rule.when_slow, WhenSlow::DropOldest)) {
            return delivery::WhenSlow::DropOldest;
        }
        match self.rule(channel).map(|(rule, _)| &rule.when_slow) {
            None | Some(WhenSlow::DropOldest) => delivery::WhenSlow::DropOldest,
            Some(WhenSlow::Disconnect) => delivery::WhenSlow::Disconnect,
            Some(WhenSlow::Conflate(by)) => {
                let scope = Scope::new().with("event", Term::Text(event)).with("data", Term::Json(data()));
                let key = by.as_ref().and_then(|shape| shape.json(&scope).ok());
                // No name has a line break in it, so no two keys are written the same way.
                let key = key.map_or_else(|| format!("{channel}\n{event}"), |key| format!("{channel}\n\n{key}"));
                delivery::WhenSlow::Conflate(key.into())
            }
        }
    }

    /// How much of a channel is remembered.
    #[must_use]
    pub fn history(&self, channel: &str) -> Option<History> {
        if is_own(channel) {
            return self.everyone.filter(|_| channel == EVERYONE);
        }
        // Nearly all apps say nothing, and nothing is looked up for them.
        if self.channels.iter().all(|rule| rule.history.is_none()) {
            return None;
        }
        self.rule(channel)?.0.history
    }

    /// Who keeps what is durable in this channel; none: each who hears it.
    #[must_use]
    pub fn keeper(&self, channel: &str) -> Option<Keeper> {
        let (rule, captures) = self.rule(channel)?;
        match &rule.inbox {
            Some(part) => {
                let user = captures.iter().find(|(name, _)| **name == **part)?.1;
                Some(Keeper::User(user.into()))
            }
            None => rule.roster.map(|_| Keeper::Roster),
        }
    }

    /// Whether some channel has a roster.
    #[must_use]
    pub fn has_rosters(&self) -> bool {
        self.channels.iter().any(|rule| rule.roster.is_some())
    }

    /// How this channel's roster comes about, if it has one.
    #[must_use]
    pub fn roster(&self, channel: &str) -> Option<Roster> {
        // Nearly all apps have none, and nothing is looked up for them.
        if !self.has_rosters() {
            return None;
        }
        self.rule(channel)?.0.roster
    }

    /// The longest time for which a channel says that it is remembered.
    #[must_use]
    pub fn longest_history(&self) -> Option<Duration> {
        let histories = self.channels.iter().map(|rule| rule.history).chain([self.everyone]);
        let times = histories.filter_map(|history| Some(history?.time));
        times.filter(|time| *time < Duration::MAX).max()
    }

    /// Whether the same channels are remembered as under other rules, however much of each.
    #[must_use]
    pub(crate) fn remembers_as(&self, other: &Self) -> bool {
        let remembered = |rule: &ChannelRule| (rule.pattern.clone(), rule.history.is_some());
        self.everyone.is_some() == other.everyone.is_some()
            && self.channels.iter().map(remembered).eq(other.channels.iter().map(remembered))
    }

    /// Does somebody with these rights belong to the audience?
    #[must_use]
    pub fn admits(&self, audience: &Audience, rights: &Arc<Rights>) -> bool {
        let has = |key: &str, wanted: &[String]| {
            let held = if key == "roles" { Some(&rights.roles) } else { rights.attributes.get(key) };
            held.is_some_and(|held| held.iter().any(|one| wanted.iter().any(|other| **other == **one)))
        };
        let identity = || Identity { rights: rights.clone(), ..Identity::default() };
        match audience {
            Audience::MayHear(name) if name.is_empty() => rights.admin,
            Audience::MayHear(channel) => self.subscribe(&identity(), channel).is_allowed(),
            Audience::Having(keys) => keys.iter().all(|(key, wanted)| has(key, wanted)),
            Audience::When(condition) => condition.holds(&Facts::of(&identity())).unwrap_or(false),
        }
    }

    /// Which of these channels the identity may not hear (any more), with why. A channel that its backend decides
    /// comes back as the question.
    #[must_use]
    pub fn lost<'a>(
        &self,
        identity: &Identity,
        channels: impl IntoIterator<Item = &'a str>,
    ) -> Vec<(&'a str, Verdict)> {
        channels
            .into_iter()
            .map(|channel| (channel, self.subscribe(identity, channel)))
            .filter(|(_, verdict)| !verdict.is_allowed())
            .collect()
    }
}

impl ChannelRule {
    fn grant(&self, action: Action<'_>) -> &Grant {
        match action {
            Action::Subscribe => &self.subscribe,
            Action::Publish { .. } => &self.publish,
        }
    }
}

impl Action<'_> {
    /// As it is called in the file and on the command line.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Publish { .. } => "publish",
        }
    }

    fn facts<'f>(self, identity: &'f Identity, captures: &'f [(&'f str, &'f str)]) -> Facts<'f>
    where
        Self: 'f,
    {
        let facts = Facts { captures, ..Facts::of(identity) };
        match self {
            Self::Subscribe => facts,
            Self::Publish { event, member } => Facts { event, member, ..facts },
        }
    }

    fn denial(self, channel: &str) -> String {
        format!("not allowed to {} to {channel}", self.word())
    }
}

impl Audience {
    /// What a publisher may say: `{"roles": […], "sites": […], "expression": "…"}`; all keys must hold.
    ///
    /// # Errors
    /// Something else, or an expression that is wrong or asks for more than rights.
    pub fn parse(value: &Value, user: &Kind) -> Result<Vec<Self>, ExpressionError> {
        let Value::Object(fields) = value else {
            return Err(ExpressionError::new("an audience is an object"));
        };
        let mut audiences = Vec::new();
        let mut keys = Vec::new();
        for (key, value) in fields {
            match (key.as_str(), value) {
                ("expression", Value::String(source)) => {
                    let condition = Condition::compile(source, &Names::default().with([("user", user.clone())]))?;
                    if !condition.depends_on_rights_only() {
                        return Err(ExpressionError::new(
                            "an audience may ask for roles and attributes, not for one user",
                        ));
                    }
                    audiences.push(Self::When(condition));
                }
                ("expression", _) => return Err(ExpressionError::new("expression must be a text")),
                (key, value) => {
                    let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                    let texts: Option<Vec<_>> = values.iter().map(super::expression::plain).collect();
                    let wrong = || ExpressionError::new(format!("{key} must be a text or a list of texts"));
                    keys.push((key.to_owned(), texts.ok_or_else(wrong)?));
                }
            }
        }
        if !keys.is_empty() {
            audiences.push(Self::Having(keys));
        }
        Ok(audiences)
    }
}

fn question(action: Action, identity: &Identity, channel: &str, captures: &Captures<'_>) -> Value {
    let texts = |texts: &[Arc<str>]| texts.iter().map(|text| Value::from(&**text)).collect::<Vec<_>>();
    let attributes: serde_json::Map<_, _> =
        identity.rights.attributes.iter().map(|(name, values)| (name.to_string(), texts(values).into())).collect();
    let captures: serde_json::Map<_, _> =
        captures.iter().map(|(name, text)| ((*name).to_owned(), Value::from(*text))).collect();
    json!({
        "user": &*identity.user,
        "roles": texts(&identity.rights.roles),
        "attributes": attributes,
        "action": action.word(),
        "channel": channel,
        "captures": captures,
    })
}

#[cfg(test)]
mod tests;
