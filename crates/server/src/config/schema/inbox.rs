//! The rows about durable messages.

use super::Kind::{Bool, Choice, Count, Duration, Expression, Table, Text};
use super::backend::{PRIVATE, SECRET, TOKEN};
use super::{Section, may, need, or, within};

#[rustfmt::skip]
pub(super) static EVENT: Section = Section {
    path: "app.NAME.event",
    doc: "What publications of an event promise, by its name and channel; the first that fits counts. A publisher may ask for something else. See [inbox.md](inbox.md).",
    keys: &[
        need("name", Text, r#""alarm:*""#, "which events, as they are published; a trailing `*` stands for any ending"),
        may("to", Text, r#""user:{userId}""#, "only in these channels"),
        may("delivery", Choice(&["live", "recoverable", "durable"]), r#""durable""#, "`live`: to those who are connected; `recoverable`: also to those who come back in time, in channels with a `history`; `durable`: stored first, and kept in the inbox of each user until it is acknowledged or expires. Without it, what the channel does"),
        may("priority", Choice(&["urgent", "high", "normal", "low"]), r#""urgent""#, "its lane to clients that read too slowly"),
        may("id", Expression, r#""data.id""#, "where the data says the publication's id, for publishers who give none: what has the same id is taken for the same, for 24 hours"),
        may("ttl", Duration, r#""7d""#, "how long a durable one is kept that nobody acknowledges; without it, `ttl` of [app.NAME.inbox]"),
    ],
};

#[rustfmt::skip]
pub(super) static INBOX: Section = Section {
    path: "app.NAME.inbox",
    doc: "Each user has an inbox for durable messages. They are sent to all the user's devices, and again on every connect until they are acknowledged; each asks for a Socket.IO acknowledgement. See [inbox.md](inbox.md).",
    keys: &[
        or("acknowledge", Choice(&["explicit", "heartbeat"]), r#""explicit""#, "`explicit`: what a client says counts; `heartbeat`: also that it answers the heartbeat after the delivery, for clients that know nothing of acknowledgements"),
        or("level", Choice(&["stored", "synced"]), r#""stored""#, "what a publisher waits for that does not say so itself: written to the log, which survives the process, or also synced to the disk, which survives the machine"),
        or("most", Count(within(1, 1_000_000)), "10000", "messages in one inbox, or in the log of one channel"),
        or("when_full", Choice(&["drop_oldest", "refuse"]), r#""drop_oldest""#, "when there is one more: drop the oldest acknowledged one, else the oldest; or refuse the publication (409)"),
        may("ttl", Duration, r#""30d""#, "how long a message is kept that nobody acknowledges; without it, for ever"),
        or("first_cancels", Bool, "false", "when one device acknowledges a message, the others hear `state_event` with `delivered`, so that they can take it back"),
        or("ack_event", Text, r#""notification:ack""#, "the event by which clients acknowledge, unless a rule names it: `{id | ids | upTo | all, state}`"),
        or("state_event", Text, r#""notification:state""#, "what a user's other devices hear when messages were seen, read, archived, deleted: `{ids, state}`; `\"none\"`: nothing"),
        or("unread_event", Text, r#""unread-count""#, "what a user's devices hear when the number of unread messages changes, and on connect: `{count}`; `\"none\"`: nothing"),
        may("webhook", Table(&WEBHOOK), "", "where receipts are posted"),
    ],
};

#[rustfmt::skip]
static WEBHOOK: Section = Section {
    path: "app.NAME.inbox.webhook",
    doc: "Publications with `\"receipts\": \"webhook\"` are told of here: a POST of `{app, id, user, state, at}` when a user's message was delivered, seen, read, archived. It is tried four times. See [webhooks.md](webhooks.md).",
    keys: &[
        need("url", Text, r#""https://backend.example.com/receipts""#, "where"),
        or("timeout", Duration, r#""5s""#, "how long one attempt may take"),
        SECRET,
        TOKEN,
        PRIVATE,
    ],
};

#[rustfmt::skip]
pub(super) static MARK: Section = Section {
    path: "app.NAME.on.mark",
    doc: "How far messages of the user's inbox have come, as the app's clients say it. Without `ids` and `up_to` it is about all.",
    keys: &[
        may("ids", Expression, r#""data.notificationId""#, "an id, or a list of them"),
        may("up_to", Expression, r#""data.last""#, "the id of the last one: all before it are meant, too"),
        or("state", Choice(&["delivered", "seen", "read", "archived"]), r#""read""#, "how far"),
    ],
};
