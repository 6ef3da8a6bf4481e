//! Pages of the documentation that belong to no module of their own.

use std::fmt::Write as _;

use oyez_protocol::code::{Row, TABLE};

const CODES: &str = "# Error and close codes

Generated from the code: `cargo xtask docs`. One table for everything that can be told as an error: numbers 0 to 5 are
Engine.IO's, 100 to 199 denials (by their names in the HTTP API, in logs and metrics), from 1000 on the close codes of
WebSocket. `HTTP` is the status when the code answers a request, `close` the code of the close frame when the fault ends a
connection; the reason in that frame is the name.

*Try again* says whether it helps to reconnect, and how. As in Centrifuge, the close codes from 4000 to 4499 invite and
those from 4500 to 4999 do not. Stock Socket.IO clients ignore the code and always try again after a close; those who
write their own client should heed it. *With pauses* means: after a second or two at first, twice as long each time up to
half a minute, each time a random part less, so that clients that were cut off together do not come back together.

*Counts* marks what is held against the client's address when a session ends with it, as is a client that takes more than
5 s to ask for anything, or goes before it has; see `offences` of [`[server]`](configuration.md#server).

| number | name | message | HTTP | close | try again | counts |
|---|---|---|---|---|---|---|
";

/// Every code of the one table, as Markdown: `docs/codes.md`.
#[must_use]
pub fn codes() -> String {
    let mut out = CODES.to_owned();
    for row in TABLE {
        let Row { number, name, message, http, close, offence, .. } = row;
        let counts = if *offence { "yes" } else { "" };
        let _ = writeln!(out, "| {number} | `{name}` | {message} | {http} | {close} | {} | {counts} |", advice(row));
    }
    out
}

/// What a client should do that meets this code.
fn advice(row: &Row) -> &'static str {
    match (row.reconnect, row.close, row.http) {
        (true, 4003, _) => "yes, with a fresh token",
        (true, 1001, _) => "yes, after a random part of a second",
        (true, 1002, _) => "yes, with a new session",
        (true, ..) => "yes, with pauses",
        (false, 1000, 200) => "no: it is over as agreed",
        (false, _, 401) => "no: get another token first",
        (false, _, 403) => "no: it is not allowed",
        (false, _, 409) => "no: another took its place",
        (false, _, 413) => "no: send less at once",
        (false, _, 429) if row.name == "too_many_channels" => "no: leave other channels first",
        (false, _, 429) => "no: close other connections first",
        (false, ..) => "no: the client is at fault",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_agrees_with_the_table() {
        for row in TABLE {
            let begins = if row.reconnect { "yes" } else { "no" };
            assert!(advice(row).starts_with(begins), "{}", row.name);
        }
        assert!(codes().contains("| 4003 | `session_expired` |"), "{}", codes());
    }
}
