//! What a client says and understands, for each protocol. Pure: text in, text out.

use super::template::{Template, Values};
use super::token::Tokens;
use crate::failure::Failure;

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Protocol {
    /// Socket.IO 5 on Engine.IO 4
    Socketio,
    /// Plain WebSocket: nothing is said but what --hello says
    Raw,
    /// Centrifuge's JSON protocol
    Centrifuge,
}

/// What a text from the server is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A message, or something that does not matter.
    Message,
    /// To be answered with this.
    Heartbeat(&'static str),
    /// The transport is open; now the client says who it is.
    Open,
    /// The client is let in.
    Admitted,
    /// The client is not let in, or the session is over.
    Refused,
}

/// The part that all clients play.
#[derive(Debug)]
pub(super) struct Script {
    /// What is spoken.
    pub(super) protocol: Protocol,
    /// `/name,` in packets of a Socket.IO namespace that is not `/`.
    pub(super) namespace: String,
    /// Who they are.
    pub(super) tokens: Tokens,
    /// What they say first.
    pub(super) hello: Vec<Template>,
    /// What they wait for then.
    pub(super) ready: Vec<String>,
    /// What they say from time to time.
    pub(super) heartbeat: Option<Template>,
    /// The names of their channels.
    pub(super) channel: Template,
    /// How many channels each is in.
    pub(super) channels: usize,
}

impl Script {
    /// What is said first, unasked.
    pub(super) fn opening(&self, i: usize) -> Result<Option<String>, Failure> {
        match self.protocol {
            Protocol::Centrifuge => {
                let token = self.tokens.token(i)?;
                Ok(Some(serde_json::json!({ "id": 1, "connect": { "token": token } }).to_string()))
            }
            Protocol::Socketio | Protocol::Raw => Ok(None),
        }
    }

    /// What is said when the transport is open.
    pub(super) fn login(&self, i: usize) -> Result<String, Failure> {
        let token = self.tokens.token(i)?;
        let auth = if token.is_empty() { String::new() } else { serde_json::json!({ "token": token }).to_string() };
        Ok(format!("40{}{auth}", self.namespace))
    }

    /// What is said by a client that is let in.
    pub(super) fn hello(&self, i: usize) -> Result<Vec<String>, Failure> {
        if self.hello.is_empty() {
            return Ok(Vec::new());
        }
        let token = self.tokens.token(i)?;
        let name = |n: usize| {
            let seq = (i * self.channels + n) as u64;
            self.channel.text(&Values { i, seq, ..Values::default() })
        };
        let names: Vec<String> = (0..self.channels).map(name).collect();
        let channels = names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(",");
        let mut said = Vec::new();
        for hello in &self.hello {
            let times = if hello.names_channel() { names.len() } else { 1 };
            said.extend(names.iter().take(times).map(|channel| {
                hello.text(&Values { i, channel, channels: &channels, token: &token, ..Values::default() })
            }));
        }
        Ok(said)
    }

    /// How often each text of `ready` is waited for: once, or once for each channel that is asked for by itself.
    pub(super) fn answers(&self) -> usize {
        if self.hello.iter().any(Template::names_channel) { self.channels } else { 1 }
    }

    /// Understands a text.
    pub(super) fn understand(&self, text: &[u8], admitted: bool) -> Meaning {
        match (self.protocol, text) {
            (Protocol::Socketio, [b'4', b'2' | b'3' | b'5' | b'6', ..]) => Meaning::Message,
            (Protocol::Socketio, [b'2']) => Meaning::Heartbeat("3"),
            (Protocol::Socketio, [b'0', ..]) => Meaning::Open,
            (Protocol::Socketio, [b'4', kind, rest @ ..]) if self.is_mine(rest) => match kind {
                b'0' => Meaning::Admitted,
                b'1' | b'4' => Meaning::Refused,
                _ => Meaning::Message,
            },
            (Protocol::Socketio, [b'1', ..]) => Meaning::Refused,
            (Protocol::Centrifuge, b"{}") => Meaning::Heartbeat("{}"),
            (Protocol::Centrifuge, text) if !admitted => {
                let refused = memchr::memmem::find(text, b"\"error\"").is_some();
                if refused { Meaning::Refused } else { Meaning::Admitted }
            }
            _ => Meaning::Message,
        }
    }

    fn is_mine(&self, rest: &[u8]) -> bool {
        if self.namespace.is_empty() {
            rest.first() != Some(&b'/')
        } else {
            rest.starts_with(self.namespace.as_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(protocol: Protocol, namespace: &str) -> Script {
        Script {
            protocol,
            namespace: namespace.to_owned(),
            tokens: Tokens::Fixed("t".to_owned()),
            hello: vec![Template::new("join {channel} of {channels}"), Template::new("hi {i} {token}")],
            ready: Vec::new(),
            heartbeat: None,
            channel: Template::new("c:{seq}"),
            channels: 2,
        }
    }

    #[test]
    fn packets_are_understood() {
        use Meaning::{Admitted, Heartbeat, Message, Open, Refused};
        for (protocol, namespace, text, admitted, expect) in [
            (Protocol::Socketio, "", "0{\"sid\":\"x\"}", false, Open),
            (Protocol::Socketio, "", "40{\"sid\":\"x\"}", false, Admitted),
            (Protocol::Socketio, "", "40/other,{}", false, Message),
            (Protocol::Socketio, "/ws,", "40/ws,{}", false, Admitted),
            (Protocol::Socketio, "/ws,", "40{}", false, Message),
            (Protocol::Socketio, "", "44{\"message\":\"no\"}", false, Refused),
            (Protocol::Socketio, "", "41", true, Refused),
            (Protocol::Socketio, "", "1", true, Refused),
            (Protocol::Socketio, "", "2", true, Heartbeat("3")),
            (Protocol::Socketio, "", "42[\"2\"]", true, Message),
            (Protocol::Raw, "", "2", true, Message),
            (Protocol::Centrifuge, "", "{}", true, Heartbeat("{}")),
            (Protocol::Centrifuge, "", "{\"id\":1,\"connect\":{}}", false, Admitted),
            (Protocol::Centrifuge, "", "{\"id\":1,\"error\":{}}", false, Refused),
            (Protocol::Centrifuge, "", "{\"push\":{\"error\":1}}", true, Message),
        ] {
            assert_eq!(script(protocol, namespace).understand(text.as_bytes(), admitted), expect, "{text}");
        }
    }

    #[test]
    fn clients_say_what_they_are_told_to() {
        let script = script(Protocol::Socketio, "/ws,");
        assert_eq!(script.login(1).expect("a token"), "40/ws,{\"token\":\"t\"}");
        let all = "\"c:6\",\"c:7\"";
        let expect = [format!("join c:6 of {all}"), format!("join c:7 of {all}"), "hi 3 t".to_owned()];
        assert_eq!(script.hello(3).expect("a token"), expect);
        assert_eq!(script.answers(), 2);
    }
}
