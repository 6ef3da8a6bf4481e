//! The one table of every error and close code a client can see, with its reconnect advice.
//!
//! Four families share it: Engine.IO error numbers (0 to 5, in HTTP bodies), denials (100 to 199, in connect errors,
//! acknowledgements and API answers; from 130 on a limit each), WebSocket close codes (1000 to 1011, RFC 6455 section 7.4), and the application's
//! close codes: as in Centrifuge, 4000 to 4499 invite the client to reconnect and 4500 to 4999 ask it not to.

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The code this row describes.
    pub code: Code,
    /// Its number, unique in the table.
    pub number: u16,
    /// Its stable name, in `snake_case`: what programs compare.
    pub name: &'static str,
    /// The text for people, in English.
    pub message: &'static str,
    /// The HTTP status when it answers a request.
    pub http: u16,
    /// The WebSocket close code when it ends a connection.
    pub close: u16,
    /// Whether the client may simply try again with what it has (or, for an expired token, with a fresh one).
    pub reconnect: bool,
    /// Whether a session that ends with it is an offence of its client, to be held against its address. What honest
    /// clients meet by the thousand when a node or a network fails, or a token expires, is not.
    pub offence: bool,
}

macro_rules! codes {
    ($($variant:ident $number:literal $name:literal $message:literal $http:literal $close:literal $reconnect:literal $offence:literal;)*) => {
        /// Everything that can be told to a client as an error or a reason to close.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $message] $variant,)*
        }

        /// The rows, in the order of [`Code`].
        pub const TABLE: &[Row] = &[
            $(Row {
                code: Code::$variant,
                number: $number,
                name: $name,
                message: $message,
                http: $http,
                close: $close,
                reconnect: $reconnect,
                offence: $offence,
            },)*
        ];
    };
}

// variant           number name               message                                  http close reconnect offence
codes! {
    EngineTransport     0 "transport_unknown"     "Transport unknown"                       400 1002 false false;
    EngineSession       1 "session_unknown"       "Session ID unknown"                      400 1002 true  false;
    EngineMethod        2 "bad_handshake_method"  "Bad handshake method"                    400 1002 false false;
    EngineRequest       3 "engine_bad_request"    "Bad request"                             400 1002 false false;
    EngineForbidden     4 "engine_forbidden"      "Forbidden"                               403 1008 false false;
    EngineVersion       5 "unsupported_version"   "Unsupported protocol version"            400 1002 false false;

    BadRequest        100 "bad_request"           "The request is malformed"                400 1008 false false;
    Unauthorized      101 "unauthorized"          "Authentication is required"              401 4504 false false;
    Forbidden         102 "forbidden"             "Permission denied"                       403 4507 false false;
    NotFound          103 "not_found"             "There is no such thing"                  404 1008 false false;
    RateLimited       104 "rate_limited"          "Too many requests"                       429 4005 true  false;
    PayloadTooLarge   105 "payload_too_large"     "The payload is too large"                413 1009 false false;
    Unavailable       106 "unavailable"           "The service is unavailable"              503 4004 true  false;
    ExpiredToken      107 "token_expired"         "The token has expired"                   401 4003 true  false;
    RevokedToken      108 "token_revoked"         "The token was revoked"                   401 4500 false false;
    InvalidToken      109 "invalid_token"         "The token is not valid"                  401 4504 false false;
    InvalidNamespace  110 "invalid_namespace"     "Invalid namespace"                       404 1008 false false;
    DeadlineExceeded  111 "timeout"               "The operation has timed out"             504 1011 true  false;
    Conflict          112 "conflict"              "The request conflicts with the state"    409 1008 false false;
    MethodNotAllowed  113 "method_not_allowed"    "The method is not allowed here"          405 1008 false false;
    OriginNotAllowed  114 "origin_not_allowed"    "The origin is not allowed"               403 1008 false false;
    UnknownEvent      115 "unknown_event"         "No rule names this event"                404 1008 false false;
    NotAMember        116 "not_a_member"          "Join the channel first"                  403 1008 false false;
    LimitReached      117 "limit_reached"         "A limit has been reached"                429 4502 false false;
    InboxFull         119 "inbox_full"            "The inbox is full"                       409 1008 false false;
    StoreFull         120 "store_full"            "The store is full"                       507 1011 true  false;
    StoreFailed       121 "store_failed"          "The store does not answer"               503 1011 true  false;
    BackendFailed     122 "backend_failed"        "The app's backend gave no good answer"   502 1011 false false;
    BackendUnavailable 123 "backend_unavailable"  "The app's backend is not asked at the moment" 503 1011 true false;
    Internal          118 "internal"              "Internal error"                          500 1011 true  false;

    TooManyEvents     130 "too_many_events"       "Too many events"                         429 4005 true  false;
    AppTooBusy        131 "app_too_busy"          "The clients of this app send too many events" 429 4005 true  false;
    TooManyConnects   132 "too_many_connects"     "Connections from this address come too fast" 429 4005 true  false;
    AddressFull       133 "address_full"          "Too many connections from this address"  429 4502 false false;
    UserFull          134 "user_full"             "Too many connections of this user"       429 4502 false false;
    AppFull           135 "app_full"              "Too many connections to this app"        503 4004 true  false;
    NodeFull          136 "node_full"             "Too many connections to this server"     503 4004 true  false;
    TooManyChannels   137 "too_many_channels"     "The session is in too many channels"     429 4502 false false;
    ChannelTooLong    138 "channel_too_long"      "The channel's name is too long"          400 1008 false false;
    ChannelCharacters 139 "channel_characters"    "The channel's name has characters that the app does not allow" 400 1008 false false;
    TooDeep           140 "too_deep"              "The JSON is nested too deeply"           400 4505 false true;
    TooManyAttachments 141 "too_many_attachments" "The packet has too many attachments"     400 4505 false true;

    Normal           1000 "normal"                "Closed"                                  200 1000 false false;
    GoingAway        1001 "going_away"            "The server is shutting down"             503 1001 true  false;
    ProtocolError    1002 "protocol_error"        "WebSocket protocol error"                400 1002 false true;
    UnsupportedData  1003 "unsupported_data"      "This kind of data is not accepted"       400 1003 false true;
    InvalidPayload   1007 "invalid_payload"       "The message is not valid UTF-8 or deflate" 400 1007 false true;
    PolicyViolation  1008 "policy_violation"      "Policy violation"                        403 1008 false false;
    MessageTooBig    1009 "message_too_big"       "The message is too big"                  413 1009 false true;
    ServerError      1011 "server_error"          "The server met an error"                 500 1011 true  false;

    SlowConsumer     4000 "slow_consumer"         "The client reads too slowly"             503 4000 true  false;
    PingTimeout      4001 "ping_timeout"          "No heartbeat in time"                    408 4001 true  false;
    ConnectTimeout   4002 "connect_timeout"       "No namespace was joined in time"         408 4002 true  false;
    TokenExpired     4003 "session_expired"       "The session's token has expired"         401 4003 true  false;
    Overloaded       4004 "overloaded"            "The node is overloaded"                  503 4004 true  false;
    TooManyMessages  4005 "too_many_messages"     "The client sends too fast"               429 4005 true  false;
    Moved            4006 "moved"                 "The session continues elsewhere"         503 4006 true  false;
    Flood            4007 "flood"                 "Too many pings, crumbs or packets without content" 429 4007 true  true;

    TokenRevoked     4500 "session_revoked"       "The session's token was revoked"         401 4500 false false;
    Kicked           4501 "kicked"                "Disconnected by the server"              403 4501 false false;
    TooManySessions  4502 "too_many_sessions"     "Too many connections"                    429 4502 false false;
    Replaced         4503 "replaced"              "A newer connection took its place"       409 4503 false false;
    BadCredentials   4504 "bad_credentials"       "The credentials were not accepted"       401 4504 false false;
    ParseError       4505 "parse_error"           "The packet is malformed"                 400 4505 false true;
    BadState         4506 "bad_state"             "The packet does not fit the session's state" 400 4506 false true;
    RightsLost       4507 "rights_lost"           "The session has no rights here"          403 4507 false false;
}

impl Code {
    /// The row that describes this code.
    #[must_use]
    pub const fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// The number, unique among all codes.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.row().number
    }

    /// The stable name, in `snake_case`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The text for people.
    #[must_use]
    pub const fn message(self) -> &'static str {
        self.row().message
    }

    /// The HTTP status when it answers a request.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        self.row().http
    }

    /// The WebSocket close code when it ends a connection.
    #[must_use]
    pub const fn close_code(self) -> u16 {
        self.row().close
    }

    /// Whether the client may try again.
    #[must_use]
    pub const fn may_reconnect(self) -> bool {
        self.row().reconnect
    }

    /// Whether a session that ends with it is an offence of its client.
    #[must_use]
    pub const fn is_offence(self) -> bool {
        self.row().offence
    }
}

/// An error of the Engine.IO HTTP layer, as the reference server numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.code().message())]
pub enum EngineError {
    /// 0: the `transport` of the query is not one we serve.
    TransportUnknown,
    /// 1: there is no session with this `sid`.
    SessionUnknown,
    /// 2: a handshake must be a GET.
    BadHandshakeMethod,
    /// 3: the request does not fit the session or its transport.
    BadRequest,
    /// 4: the server does not want this client.
    Forbidden,
    /// 5: the `EIO` of the query is not one we serve.
    UnsupportedVersion,
}

impl EngineError {
    /// Its row in the table.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::TransportUnknown => Code::EngineTransport,
            Self::SessionUnknown => Code::EngineSession,
            Self::BadHandshakeMethod => Code::EngineMethod,
            Self::BadRequest => Code::EngineRequest,
            Self::Forbidden => Code::EngineForbidden,
            Self::UnsupportedVersion => Code::EngineVersion,
        }
    }

    /// The HTTP status: 403 for [`EngineError::Forbidden`], else 400.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        self.code().http_status()
    }

    /// The JSON body of the answer: `{"code":0,"message":"Transport unknown"}`.
    #[must_use]
    pub fn json_body(self) -> String {
        self.json_body_saying(self.code().message())
    }

    /// The JSON body with a text of the server's own, which a refusal (code 4) may carry.
    #[must_use]
    pub fn json_body_saying(self, message: &str) -> String {
        let mut body = format!("{{\"code\":{},\"message\":", self.code().number());
        crate::json::push_string(&mut body, message);
        body.push('}');
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_row_stands_at_its_code_and_is_unique() {
        let mut numbers = HashSet::new();
        let mut names = HashSet::new();
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.code as usize, index);
            assert!(numbers.insert(row.number), "{} twice", row.number);
            assert!(names.insert(row.name), "{} twice", row.name);
        }
    }

    #[test]
    fn reconnect_advice_follows_the_ranges() {
        for row in TABLE {
            match row.close {
                4000..=4499 => assert!(row.reconnect, "{}", row.name),
                4500..=4999 => assert!(!row.reconnect, "{}", row.name),
                other => assert!((1000..=1011).contains(&other), "{}", row.name),
            }
            if row.number >= 1000 {
                assert_eq!(row.number, row.close, "{}", row.name);
            }
        }
    }

    #[test]
    fn whoever_is_told_to_come_back_with_pauses_offends_only_by_what_it_did() {
        let invited = TABLE.iter().filter(|row| row.offence && row.reconnect).map(|row| row.code);
        assert!(invited.eq([Code::Flood]));
        for spared in [
            Code::Normal,
            Code::PingTimeout,
            Code::ConnectTimeout,
            Code::SlowConsumer,
            Code::Unauthorized,
            Code::EngineSession,
        ] {
            assert!(!spared.is_offence(), "{}", spared.name());
        }
    }

    #[test]
    fn engine_errors_have_numeric_codes() {
        #[track_caller]
        fn check(error: EngineError, status: u16, body: &str) {
            assert_eq!(error.http_status(), status);
            assert_eq!(error.json_body(), body);
        }
        check(EngineError::TransportUnknown, 400, r#"{"code":0,"message":"Transport unknown"}"#);
        check(EngineError::SessionUnknown, 400, r#"{"code":1,"message":"Session ID unknown"}"#);
        check(EngineError::BadHandshakeMethod, 400, r#"{"code":2,"message":"Bad handshake method"}"#);
        check(EngineError::BadRequest, 400, r#"{"code":3,"message":"Bad request"}"#);
        check(EngineError::Forbidden, 403, r#"{"code":4,"message":"Forbidden"}"#);
        check(EngineError::UnsupportedVersion, 400, r#"{"code":5,"message":"Unsupported protocol version"}"#);
        assert_eq!(EngineError::Forbidden.json_body_saying("no \"way\""), r#"{"code":4,"message":"no \"way\""}"#);
    }
}
