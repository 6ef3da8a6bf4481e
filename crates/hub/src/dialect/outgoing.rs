//! How what is published looks to this app's clients: once per publication, not once per client.

use std::borrow::Cow;

use oyez_protocol::message::Args;
use serde_json::{Value, json};

use super::plan::message;
use super::{Denial, Dialect, Message, Push, PushRule};
use crate::policy::expression::{Scope, Term};

impl Dialect {
    /// A publication in the app's shape. What a rule's shape cannot be made from goes out as it was published.
    #[must_use]
    pub fn shape(&self, push: &Push<'_>) -> Message {
        let shaped = self.pushes.iter().find(|rule| rule.fits(push.event)).and_then(|rule| {
            let data = first_or_list(push.args);
            message(&rule.message, &scope(push.event, &data, push.id, push.now)).ok()
        });
        // Attachments are where the placeholders in the data point, so they stay with it.
        match shaped {
            Some(message) if push.args.attachments().is_empty() => message,
            Some(message) => Message {
                args: Args::from_validated(message.args.text().to_owned(), push.args.attachments().to_vec()),
                ..message
            },
            None => Message { event: push.event.to_owned(), args: push.args.clone(), whole: false },
        }
    }

    /// The text frame of a message on a raw WebSocket. `now` is in Unix milliseconds.
    #[must_use]
    pub fn native(&self, message: &Message, id: &str, now: u64) -> String {
        let args = message.args.in_json();
        if message.whole {
            return args.text().to_owned();
        }
        let data = first_or_list(&args);
        let framed = self.frame.as_ref().and_then(|frame| frame.json(&scope(&message.event, &data, id, now)).ok());
        framed.unwrap_or_else(|| format!("{{\"type\":{},\"data\":{data}}}", Value::from(&*message.event)))
    }
}

impl PushRule {
    fn fits(&self, event: &str) -> bool {
        match self.event.as_deref() {
            None => true,
            Some(pattern) => match pattern.strip_suffix('*') {
                Some(start) => event.starts_with(start),
                None => event == pattern,
            },
        }
    }
}

fn scope<'a>(event: &'a str, data: &'a str, id: &'a str, now: u64) -> Scope<'a> {
    Scope::of([("id", Term::Text(id)), ("event", Term::Text(event)), ("data", Term::Json(data))]).at(now)
}

/// One argument as it is, none as `null`, several as a list.
fn first_or_list(args: &Args) -> Cow<'_, str> {
    match args.sole() {
        _ if args.text().is_empty() => Cow::Borrowed("null"),
        Some(one) => Cow::Borrowed(one.get()),
        None => Cow::Owned(format!("[{}]", args.text())),
    }
}

pub(super) fn default_refusal(denial: &Denial) -> Message {
    let mut data = json!({ "code": denial.code, "message": denial.reason, "channel": denial.channel });
    if let Some(error) = denial.error {
        data["error"] = error.name().into();
    }
    Message { event: "error".to_owned(), args: Args::one(&data), whole: false }
}
