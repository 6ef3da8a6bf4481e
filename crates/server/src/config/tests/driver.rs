//! A session driver of a few lines: does what a plan says and asks the policy, without any socket.

use std::collections::BTreeSet;

use oyez_hub::dialect::{Cx, Denial, Message, Moment, Outcome, Plan, Publication, Push, SessionInfo, Step};
use oyez_hub::policy::Identity;
use oyez_hub::policy::grants::Verdict;
use oyez_hub::store::Marked;
use oyez_protocol::message::Args;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::{FILES, load_with_env};
use crate::config::AppConfig;

/// 2026-11-21T02:00:00.000Z.
pub(super) const NOW: u64 = 1_795_226_400_000;

pub(super) fn app(name: &str) -> AppConfig {
    let source = FILES.iter().find(|(known, _)| *known == name).expect("an example").1;
    load_with_env(source).unwrap_or_else(|problems| panic!("{problems}")).apps.remove(0)
}

/// One session of one app.
pub(super) struct Session {
    pub(super) app: AppConfig,
    pub(super) identity: Identity,
    pub(super) channels: BTreeSet<String>,
    pub(super) status: Option<String>,
    pub(super) published: Vec<Publication>,
}

impl Session {
    /// A session with these claims, and what it heard first.
    pub(super) fn open(name: &str, claims: &Value) -> (Self, Vec<Value>) {
        let app = app(name);
        let claims = claims.as_object().expect("claims are an object");
        let identity = app.identity.identify(claims, "t".into(), None, None).expect("an identity");
        let mut session = Self { app, identity, channels: BTreeSet::new(), status: None, published: Vec::new() };
        let null = RawValue::NULL;
        let plan = session.app.dialect.on_connect(&session.cx("", null, &session.identity.clone()));
        let (heard, _) = session.carry_out(&plan, "", null);
        (session, heard)
    }

    fn cx<'a>(&self, event: &'a str, data: &'a RawValue, identity: &'a Identity) -> Cx<'a> {
        let info = SessionInfo { id: &"sid", address: &"127.0.0.1", transport: "websocket" };
        Cx { identity, session: info, event, data, now: NOW, id: &"m1" }
    }

    /// What comes back for an event: messages and the acknowledgement. `None`: no rule names it.
    pub(super) fn say(&mut self, event: &str, data: &str) -> Option<(Vec<Value>, Option<Value>)> {
        let data = RawValue::from_string(data.to_owned()).expect("JSON");
        let identity = self.identity.clone();
        let plan = self.app.dialect.on_event(&self.cx(event, &data, &identity))?;
        Some(self.carry_out(&plan, event, &data))
    }

    fn carry_out(&mut self, plan: &Plan, event: &str, data: &RawValue) -> (Vec<Value>, Option<Value>) {
        let mut outcome = Outcome::default();
        for step in &plan.steps {
            self.step(step, &mut outcome);
        }
        let identity = self.identity.clone();
        let replies = self.app.dialect.replies(plan, &self.cx(event, data, &identity), &outcome);
        let messages = replies.messages.iter().map(|message| self.heard(message)).collect();
        (messages, replies.ack.map(|args| args.values().pop().unwrap_or_default()))
    }

    fn step(&mut self, step: &Step, outcome: &mut Outcome) {
        match step {
            Step::Join(channel) | Step::JoinSince(channel, _) => {
                match self.app.policy.subscribe(&self.identity, channel) {
                    Verdict::Allow(_) => {
                        self.channels.insert(channel.clone());
                        outcome.joined.push(channel.clone());
                    }
                    Verdict::Deny { reason, .. } => outcome.denied.push(Denial {
                        channel: Some(channel.clone()),
                        reason,
                        code: 403,
                        limit: None,
                        error: None,
                    }),
                    Verdict::Ask(question) => panic!("nobody to ask {}", question.ask.endpoint.url),
                }
            }
            Step::Leave(channel) => {
                self.channels.remove(channel);
                outcome.left.push(channel.clone());
            }
            Step::Publish(publication) => {
                for channel in publication.to.iter().filter(|channel| *channel != "*") {
                    let member = self.channels.contains(channel);
                    if let Verdict::Deny { reason, .. } =
                        self.app.policy.publish(&self.identity, channel, &publication.message.event, member)
                    {
                        outcome.denied.push(Denial {
                            channel: Some(channel.clone()),
                            reason,
                            code: 403,
                            limit: None,
                            error: None,
                        });
                        return;
                    }
                }
                outcome.published += 1;
                self.published.push(publication.clone());
            }
            Step::Status(status) => self.status = Some(status.clone()),
            Step::Mark(..) => outcome.marked = Some(Marked::default()),
            Step::Heartbeat | Step::Refresh(_) | Step::Forward(_) => {}
        }
    }

    /// A message as this app's clients see it: `[event, …args]`, or the frame of a plain WebSocket.
    pub(super) fn heard(&self, message: &Message) -> Value {
        if self.app.socketio.is_none() {
            return serde_json::from_str(&self.app.dialect.native(message, "m1", NOW)).expect("a frame is JSON");
        }
        let mut all = vec![json!(message.event)];
        all.extend(message.args.values());
        Value::Array(all)
    }

    /// What an event asks for.
    pub(super) fn plan(&self, event: &str, data: &RawValue) -> Option<Plan> {
        self.app.dialect.on_event(&self.cx(event, data, &self.identity))
    }

    /// The arguments of a publication as text.
    pub(super) fn pushed_text(&self, event: &str, data: &str) -> String {
        let args = Args::from_validated(data.to_owned(), Vec::new());
        self.app.dialect.shape(&Push { event, args: &args, id: "m1", now: NOW }).args.text().to_owned()
    }

    /// What a publication of a backend looks like.
    pub(super) fn pushed(&self, event: &str, data: &str) -> Value {
        let args = Args::from_validated(data.to_owned(), Vec::new());
        self.heard(&self.app.dialect.shape(&Push { event, args: &args, id: "m1", now: NOW }))
    }

    pub(super) fn presence(&self, moment: Moment) -> Vec<(Vec<String>, Value)> {
        let null = RawValue::NULL;
        let told = self.app.dialect.on_presence(&self.cx("", null, &self.identity), moment);
        told.iter().map(|publication| (publication.to.clone(), self.heard(&publication.message))).collect()
    }
}

/// Claims, an event, its data; then what is heard, and the channels that the session is in beside those of the start.
pub(super) fn check(name: &str, claims: &Value, event: &str, data: &Value, heard: &Value, in_channels: &[&str]) {
    let (mut session, _) = Session::open(name, claims);
    let first = session.channels.clone();
    let data = to_raw_value(data).expect("JSON");
    let (messages, _) = session.say(event, data.get()).unwrap_or_default();
    assert_eq!(Value::Array(messages), *heard, "{name}: {event} {data}");
    let joined: Vec<_> = session.channels.difference(&first).map(String::as_str).collect();
    assert_eq!(joined, in_channels, "{name}: {event} {data}");
}
