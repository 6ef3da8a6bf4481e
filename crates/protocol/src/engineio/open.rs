//! The handshake: what the server says first.

use serde::Serialize;

/// The data of the `open` packet: exactly these keys, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Open<'a> {
    /// The session id, a secret of the client.
    pub sid: &'a str,
    /// The transports the client may move to: `["websocket"]` on polling, none on websocket.
    pub upgrades: &'a [&'a str],
    /// Milliseconds between heartbeats.
    pub ping_interval: u64,
    /// Milliseconds in which a heartbeat must be answered.
    pub ping_timeout: u64,
    /// Bytes in the largest message the server takes.
    pub max_payload: u64,
}

impl Open<'_> {
    /// The JSON of the data, without the packet type.
    #[must_use]
    pub fn json(&self) -> String {
        // Strings and numbers always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_has_five_keys_in_order() {
        let open = Open {
            sid: "HV0vrJBu5Lam-ouJAAAD",
            upgrades: &["websocket"],
            ping_interval: 25_000,
            ping_timeout: 20_000,
            max_payload: 1_000_000,
        };
        let expect = r#"{"sid":"HV0vrJBu5Lam-ouJAAAD","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
        assert_eq!(open.json(), expect);
    }
}
