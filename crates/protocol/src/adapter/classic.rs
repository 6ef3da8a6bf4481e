//! The classic format: `createAdapter` of `@socket.io/redis-adapter` 8 over Redis' PUBLISH, and `@socket.io/redis-emitter` 5.
//!
//! A broadcast is a msgpack array `[uid, packet, opts]` on the namespace's broadcast channel, or on that of its one room.
//! Requests and answers are JSON, those of a broadcast with acknowledgements (which may carry binaries) msgpack. Who
//! answers does so where all servers listen, or where only the one that asked does.

mod read;
mod write;

pub use write::Sender;

/// Types of requests and answers.
mod kind {
    pub(super) const IDS: u64 = 0;
    pub(super) const ROOMS: u64 = 1;
    pub(super) const JOIN: u64 = 2;
    pub(super) const LEAVE: u64 = 3;
    pub(super) const DISCONNECT: u64 = 4;
    pub(super) const FETCH: u64 = 5;
    pub(super) const SERVER_SIDE_EMIT: u64 = 6;
    pub(super) const BROADCAST: u64 = 7;
    pub(super) const CLIENT_COUNT: u64 = 8;
    pub(super) const ACK: u64 = 9;
}

/// One namespace's part of the cluster: its channels, and what is said on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classic {
    nsp: String,
    broadcast: String,
    request: String,
    response: String,
}

/// What a channel is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'c> {
    /// Broadcasts. Nobody in `room` here: nobody to send it to, and no need to read it.
    Broadcast {
        /// The one room that is meant.
        room: Option<&'c str>,
    },
    /// Requests.
    Request,
    /// Answers.
    Response {
        /// The id of the server that is answered, where others do not listen.
        to: Option<&'c str>,
    },
}

impl Classic {
    /// The channels of a namespace, which has a leading slash.
    #[must_use]
    pub fn new(prefix: &str, nsp: &str) -> Self {
        Self {
            nsp: nsp.to_owned(),
            broadcast: format!("{prefix}#{nsp}#"),
            request: format!("{prefix}-request#{nsp}#"),
            response: format!("{prefix}-response#{nsp}#"),
        }
    }

    /// What to PSUBSCRIBE to for all broadcasts. What is special in a pattern is escaped (Node does not, so there a
    /// namespace with a `*` hears others, and one with a `[` nothing).
    #[must_use]
    pub fn pattern(&self) -> String {
        let mut pattern = String::with_capacity(self.broadcast.len() + 1);
        for c in self.broadcast.chars() {
            if matches!(c, '*' | '?' | '[' | ']' | '\\') {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        pattern.push('*');
        pattern
    }

    /// Where broadcasts are published: to all, or to one room.
    #[must_use]
    pub fn broadcast_channel(&self, room: Option<&str>) -> String {
        match room {
            Some(room) => [&self.broadcast, room, "#"].concat(),
            None => self.broadcast.clone(),
        }
    }

    /// Where requests are published. As many servers answer as are subscribed to it.
    #[must_use]
    pub fn request_channel(&self) -> &str {
        &self.request
    }

    /// Where answers are published: for all to hear, or for the server with this id.
    #[must_use]
    pub fn response_channel(&self, to: Option<&str>) -> String {
        match to {
            Some(uid) => [&self.response, uid, "#"].concat(),
            None => self.response.clone(),
        }
    }

    /// What a channel is for; none if it is not this namespace's.
    ///
    /// Names of rooms and namespaces may have a `#` in them, so a channel alone does not tell for whom it is: what is
    /// read does.
    #[must_use]
    pub fn place<'c>(&self, channel: &'c [u8]) -> Option<Place<'c>> {
        let channel = str::from_utf8(channel).ok()?;
        let last = |rest: &'c str| if rest.is_empty() { Some(None) } else { rest.strip_suffix('#').map(Some) };
        if channel == self.request {
            Some(Place::Request)
        } else if let Some(rest) = channel.strip_prefix(&self.response) {
            Some(Place::Response { to: last(rest)? })
        } else {
            let room = last(channel.strip_prefix(&self.broadcast)?)?;
            // To Node a room without a name is all rooms; the message says which.
            Some(Place::Broadcast { room: room.filter(|room| !room.is_empty()) })
        }
    }
}
