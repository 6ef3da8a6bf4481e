//! An event that goes to the app's own backend, and what is answered there.
//!
//! Of one session one event is on its way at a time: its order is kept, and it is read no further meanwhile.

use std::rc::Rc;

use oyez_hub::backend::{Endpoint, Refused};
use oyez_hub::dialect::{Denial, Message};
use oyez_hub::policy::fetch::FetchError;
use oyez_protocol::code::Code;
use oyez_protocol::message::Args;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::session::rules::{Facts, Said};
use crate::session::{Dialog, Member, Session};
use crate::shard::Shard;

/// What answers an event of a plain WebSocket.
const ACK: &str = "ack";

impl Shard {
    /// Sends an event to the backend and gives its answer, which a client of a plain WebSocket is told here.
    pub(super) async fn forward(
        &self,
        session: &Rc<Session>,
        member: &Member,
        facts: &Facts,
        endpoint: &Endpoint,
        said: &Said<'_>,
    ) -> Result<Args, Denial> {
        let app = self.hub.app(member.app);
        let Some(backend) = &app.backend else { return Err(refused(&Refused::Busy)) };
        let id = facts.id.to_string();
        let body = body(&app.name, &id, facts, said);
        let answer = backend.ask(endpoint, &id, &body).await.map_err(|why| refused(&why))?;
        if let (Dialog::Native, Some(dialect)) = (session.dialog, &app.dialect) {
            let asked = asked(said.data);
            if answer.is_some() || !asked.is_null() {
                let words = json!({ "event": said.event, "id": asked, "data": answer });
                let message = Message { event: ACK.to_owned(), args: Args::one(&words), whole: false };
                self.say(session, member, dialect, &message);
            }
        }
        Ok(Args::one(&answer))
    }
}

/// What the backend is told. Binaries are base64 text.
fn body(app: &str, id: &str, facts: &Facts, said: &Said<'_>) -> Value {
    let rights = &facts.identity.rights;
    let args = said.args.in_json();
    let args = if args.text().is_empty() { vec![json!(said.data)] } else { args.values() };
    json!({
        "id": id,
        "app": app,
        "event": said.event,
        "data": args.first(),
        "args": args,
        "user": {
            "id": facts.identity.user,
            "name": facts.identity.name,
            "roles": rights.roles,
            "attributes": rights.attributes,
        },
        "session": facts.session.encode(),
    })
}

/// The id by which a frame of a plain WebSocket wants to know its answer.
fn asked(frame: &RawValue) -> Value {
    #[derive(Deserialize)]
    struct Frame {
        #[serde(default)]
        id: Value,
    }
    let id = serde_json::from_str(frame.get()).map_or(Value::Null, |Frame { id }| id);
    if id.is_string() || id.is_number() { id } else { Value::Null }
}

/// What a client hears whose event was not taken: no more than which of a few things went wrong.
fn refused(why: &Refused) -> Denial {
    match why {
        Refused::Broken { .. } | Refused::Busy => {
            Denial::of(Code::BackendUnavailable, Code::BackendUnavailable.message())
        }
        Refused::Unanswered(FetchError::Timeout) => {
            Denial::of(Code::DeadlineExceeded, "the backend did not answer in time")
        }
        Refused::Unanswered(_) => Denial::of(Code::BackendFailed, "the backend did not answer"),
        Refused::Status(_) => Denial::of(Code::BackendFailed, "the backend refused"),
        Refused::NotJson => Denial::of(Code::BackendFailed, "the backend's answer is not JSON"),
    }
}
