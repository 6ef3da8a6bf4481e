//! The rows about the app's own backend: what it is asked, and what it is told.

use super::Kind::{Bool, Choices, Duration, Secrets, Text, Texts};
use super::{Key, Section, may, need, or};

/// What every endpoint has.
#[rustfmt::skip]
pub(super) const SECRET: Key = may("secret", Secrets, r#"{ env = "BACKEND_SECRET" }"#, "what requests are signed with, as standardwebhooks.com has it ([webhooks.md](webhooks.md#signatures)); with several, each signs");
#[rustfmt::skip]
pub(super) const TOKEN: Key = may("token", Secrets, r#"{ env = "BACKEND_TOKEN" }"#, "bearer token for the backend");
#[rustfmt::skip]
pub(super) const PRIVATE: Key = or("private", Bool, "false", "it may have an address that is not public: `127.0.0.1`, `10.…`, `169.254.…` and the like. Without this, no name that leads there is followed");

#[rustfmt::skip]
pub(super) static FORWARD: Section = Section {
    path: "app.NAME.forward",
    doc: "Events that no rule names, or those of a rule with `forward`, are sent to the app's backend as a POST of `{id, app, event, data, args, user, session}`; its JSON is the acknowledgement, on a plain WebSocket the event `ack` with `{event, id, data}`. See [webhooks.md](webhooks.md#client-events).",
    keys: &[
        need("url", Text, r#""https://backend.example.com/oyez""#, "where"),
        or("timeout", Duration, r#""5s""#, "how long to wait for the answer"),
        SECRET,
        TOKEN,
        PRIVATE,
    ],
};

/// The table behind `subscribe = { ask = … }`.
#[rustfmt::skip]
pub(in crate::config) static ASK: Section = Section {
    path: "app.NAME.channel.subscribe",
    doc: "A right that the app's backend decides: a POST of `{user, roles, attributes, action, channel, captures}`, answered with `{\"allow\": true}`, an empty 2xx, or 403.",
    keys: &[
        need("ask", Text, r#""https://backend.example.com/may""#, "where"),
        or("cache", Duration, r#""30s""#, "how long an answer counts"),
        or("timeout", Duration, r#""2s""#, "how long to wait for one"),
        or("default", Bool, "false", "what holds without one"),
        SECRET,
        TOKEN,
        PRIVATE,
    ],
};

#[rustfmt::skip]
pub(super) static WEBHOOK: Section = Section {
    path: "app.NAME.webhook",
    doc: "The app's backend is told that users and channels come and go: a POST of `{id, type, at, app, user}` or `{id, type, at, app, channel}`, at least once, and for each user or channel in order. See [webhooks.md](webhooks.md#comings-and-goings).",
    keys: &[
        need("url", Text, r#""https://backend.example.com/oyez""#, "where"),
        or("events", Choices(&oyez_hub::lifecycle::EVENTS), r#"["user.online", "user.offline", "channel.occupied", "channel.vacated"]"#, "what it is told"),
        or("channels", Texts, r#"["*"]"#, "of which channels: names and patterns such as `site:{id}`"),
        or("timeout", Duration, r#""5s""#, "how long one attempt may take"),
        SECRET,
        TOKEN,
        PRIVATE,
    ],
};
