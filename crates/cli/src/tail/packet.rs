//! What a listening client says and understands: of Socket.IO's text protocol as much as listening takes, or plain JSON.
//! Pure: text in, text out.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Protocol, Target};

/// How long a server may be silent before anything is known about its heartbeat. Plain WebSocket servers ping every
/// minute or so, which is not seen here, so their silence means nothing until TCP breaks.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same for a plain WebSocket.
const PLAIN_PATIENCE: Duration = Duration::from_secs(86_400);

/// The rows of the table of codes that another token would help against.
const TOKEN: [&str; 4] = ["unauthorized", "token_expired", "token_revoked", "invalid_token"];

/// What comes of a text from the server.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Heard {
    /// This is to be sent.
    Say(String),
    /// An event, as it is printed.
    Event(Value),
    /// The server does not want us.
    Refused(String),
    /// The server does not want our token.
    Unbelieved(String),
    /// The session is over.
    Closed,
}

/// The client's side of one connection.
#[derive(Debug)]
pub(super) struct Talk {
    protocol: Protocol,
    token: String,
    subscribe: Option<(String, Value)>,
    patience: Duration,
    admitted: bool,
}

impl Talk {
    /// Nothing is said yet.
    pub(super) fn new(target: &Target) -> Self {
        let plain = matches!(target.protocol, Protocol::Plain { .. });
        Self {
            protocol: target.protocol.clone(),
            token: target.token.clone(),
            subscribe: target.subscribe.clone(),
            patience: if plain { PLAIN_PATIENCE } else { PATIENCE },
            admitted: plain,
        }
    }

    /// How long the server may be silent.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Whether the server has let us in.
    pub(super) fn is_admitted(&self) -> bool {
        self.admitted
    }

    /// What is said first, unasked.
    pub(super) fn opening(&self) -> Option<String> {
        let Protocol::Plain { event, .. } = &self.protocol else { return None };
        let (name, data) = self.subscribe.as_ref()?;
        let mut frame = match data {
            Value::Object(fields) => fields.clone(),
            other => Map::from_iter([("data".to_owned(), other.clone())]),
        };
        frame.insert(event.clone(), Value::from(name.as_str()));
        Some(Value::Object(frame).to_string())
    }

    /// Understands one text frame. What cannot be understood is passed over: it is not for this client.
    pub(super) fn hear(&mut self, text: &str) -> Vec<Heard> {
        match self.protocol.clone() {
            Protocol::Plain { event, .. } => plain(text, &event),
            Protocol::SocketIo { namespace, field } => self.packet(text, &namespace, &field).into_iter().collect(),
        }
    }

    /// One Engine.IO packet.
    fn packet(&mut self, text: &str, namespace: &str, field: &str) -> Option<Heard> {
        let mut kinds = text.chars();
        match kinds.next()? {
            '0' => {
                self.patience = patience(kinds.as_str());
                let auth = json!({ field: self.token });
                Some(Heard::Say(format!("40{}{auth}", prefix(namespace))))
            }
            '1' => Some(Heard::Closed),
            '2' => Some(Heard::Say("3".to_owned())),
            '4' => self.message(kinds.as_str(), namespace),
            _ => None,
        }
    }

    /// One Socket.IO packet.
    fn message(&mut self, text: &str, wanted: &str) -> Option<Heard> {
        let kind = text.chars().next()?;
        let rest = &text[kind.len_utf8()..];
        // `5` and `6` begin with the number of attachments.
        let rest = if kind == '5' { rest.split_once('-')?.1 } else { rest };
        let (namespace, rest) =
            if rest.starts_with('/') { rest.split_once(',').unwrap_or((rest, "")) } else { ("/", rest) };
        if namespace != wanted {
            return None;
        }
        match kind {
            '0' => {
                self.admitted = true;
                let (event, data) = self.subscribe.as_ref()?;
                Some(Heard::Say(format!("42{}{}", prefix(wanted), json!([event, data]))))
            }
            '1' => Some(Heard::Closed),
            '2' | '5' => {
                // An id asks for an acknowledgement, which is left to the user's own clients.
                let args = rest.trim_start_matches(|c: char| c.is_ascii_digit());
                let Value::Array(mut args) = serde_json::from_str(args).ok()? else { return None };
                let event = (!args.is_empty()).then(|| args.remove(0))?;
                Some(Heard::Event(json!({ "event": event, "args": args })))
            }
            '4' => {
                let reason: Value = serde_json::from_str(rest).unwrap_or_default();
                let message = reason.get("message").and_then(Value::as_str).unwrap_or("no reason given");
                // What the app says to everybody may be less than what the row of the table says.
                let row = reason.pointer("/data/error").and_then(Value::as_str);
                let why = row.map_or_else(|| message.to_owned(), |row| format!("{message} ({row})"));
                let by_token = row.is_some_and(|row| TOKEN.contains(&row));
                Some(if by_token { Heard::Unbelieved(why) } else { Heard::Refused(why) })
            }
            _ => None,
        }
    }
}

/// How a packet begins that is not for the namespace `/`.
fn prefix(namespace: &str) -> String {
    if namespace == "/" { String::new() } else { format!("{namespace},") }
}

/// The server pings every `pingInterval` and gives up after `pingTimeout`; so does its client.
fn patience(open: &str) -> Duration {
    let open: Value = serde_json::from_str(open).unwrap_or_default();
    let millis = |name: &str| open.get(name).and_then(Value::as_u64);
    match (millis("pingInterval"), millis("pingTimeout")) {
        (Some(interval), Some(timeout)) => Duration::from_millis(interval.saturating_add(timeout)),
        _ => PATIENCE,
    }
}

/// A frame may hold several objects, a line each.
fn plain(text: &str, event: &str) -> Vec<Heard> {
    let frames = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    frames.map(|frame| Heard::Event(json!({ "event": frame.get(event), "args": [frame] }))).collect()
}
