//! What is said to each kind of server, as arguments of `oyez bench`. All say the same: three channels per client (the
//! user's own, a role's, a ticket's), and pushes of `{type, payload, timestamp}`.

use super::peer::API_KEY;

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Oyez with the ticketing example.
    Oyez,
    /// Socket.IO servers that behave like it, with a simple way to publish.
    Desk,
    /// JSON frames of our own on gorilla/websocket.
    Gorilla,
    /// Centrifuge's protocol, version 1: its library from Debian does not know 2.
    Centrifuge,
    /// nchan: channels in the URL, bodies are messages.
    Nchan,
    /// The bare loops: no channels, bodies are messages.
    Bare,
}

/// Whom a publication is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// All, by the ticket that they all watch.
    All,
    /// One user.
    One,
    /// A channel that nobody is in.
    Nobody,
    /// One user, who is away, and for whom it is kept.
    Away,
}

const CLAIMS: &str = r#"{"userId":"user-{i}","username":"Zhang","roles":["agent"],"departments":[]}"#;
const SUBSCRIBE: &str = r#"42["subscribe",{"type":"subscribe","channels":["role:agent",{channels}]}]"#;
const CENTRIFUGE: &str = r#"{"id":1,"params":{"token":"{token}","data":{"channels":["role:agent",{channels}]}}}"#;
const GORILLA: &str = r#"{"type":"subscribe","channels":["role:agent",{channels}]}"#;
/// Byte for byte what Oyez sends for the same publication, but for the time.
const FRAME: &str = r#"42["tick",{"type":"tick","payload":"{data}","timestamp":"2026-01-01T00:00:00.000Z"}]"#;

impl Dialect {
    /// Whether it speaks Socket.IO.
    pub(super) fn is_socketio(self) -> bool {
        matches!(self, Self::Oyez | Self::Desk)
    }

    /// How clients connect.
    pub(super) fn client(self, address: &str) -> Vec<String> {
        let url = |path: &str| format!("ws://{address}{path}");
        let (protocol, url, said) = match self {
            Self::Oyez | Self::Desk => {
                ("socketio", url("/socket.io/?EIO=4&transport=websocket"), Some((SUBSCRIBE, "\"subscribed\"")))
            }
            Self::Gorilla => ("raw", url("/ws?token={token}"), Some((GORILLA, "\"subscribed\""))),
            Self::Centrifuge => ("raw", url("/connection/websocket"), Some((CENTRIFUGE, "\"client\""))),
            Self::Nchan => ("raw", url("/subscribe?user=user:user-{i}&role=role:agent&ticket=ticket:bench"), None),
            Self::Bare => ("raw", url("/"), None),
        };
        let mut arguments = vec!["--protocol".to_owned(), protocol.to_owned(), "--url".to_owned(), url];
        if let Some((hello, ready)) = said {
            for (flag, value) in [("--claims", CLAIMS), ("--hello", hello), ("--ready", ready)] {
                arguments.extend([flag.to_owned(), value.to_owned()]);
            }
        }
        arguments
    }

    /// How one publishes; `delivery` is what a body says of that, if anything.
    pub(super) fn publish(self, address: &str, audience: Audience, delivery: &str) -> Vec<String> {
        let channel = match audience {
            Audience::All => "ticket:bench",
            Audience::One | Audience::Away => "user:user-{i}",
            Audience::Nobody => "ticket:nobody",
        };
        let url = |path: &str| format!("http://{address}{path}");
        let json = |to: &str| format!(r#"{{"{to}":"{channel}","event":"tick","data":"{{data}}"{delivery}}}"#);
        let (url, body) = match self {
            Self::Oyez => (url("/api/v1/publish"), json("to")),
            Self::Desk | Self::Gorilla | Self::Centrifuge => (url("/publish"), json("channel")),
            Self::Nchan => (url(&format!("/publish?channel={channel}")), FRAME.to_owned()),
            Self::Bare => (url("/publish"), FRAME.to_owned()),
        };
        let mut arguments = vec!["--publish-url".to_owned(), url, "--publish-body".to_owned(), body];
        let mut header = |line: String| arguments.extend(["--publish-header".to_owned(), line]);
        header("Content-Type: application/json".to_owned());
        if self == Self::Oyez {
            header(format!("Authorization: Bearer {API_KEY}"));
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_says_the_same_in_its_own_way() {
        for (dialect, audience, expect) in [
            (Dialect::Oyez, Audience::One, r#"{"to":"user:user-{i}","event":"tick","data":"{data}"}"#),
            (Dialect::Desk, Audience::All, r#"{"channel":"ticket:bench","event":"tick","data":"{data}"}"#),
            (Dialect::Nchan, Audience::Nobody, "http://h:1/publish?channel=ticket:nobody"),
            (Dialect::Bare, Audience::All, FRAME),
        ] {
            let arguments = dialect.publish("h:1", audience, "");
            assert!(arguments.iter().any(|argument| argument == expect), "{dialect:?}: {arguments:?}");
        }
        assert!(!Dialect::Bare.client("h:1").contains(&"--claims".to_owned()));
    }
}
