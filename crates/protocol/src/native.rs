//! Raw JSON frames: `{"type": "join_room", ...}` on a plain WebSocket.

use serde_json::Value;

use crate::code::Code;
use crate::json;

/// The field that names a frame's type unless the app says otherwise.
pub const DEFAULT_TYPE_FIELD: &str = "type";

/// One frame of a client.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// The value of the type field.
    pub kind: String,
    /// The whole object, the type field included.
    pub value: Value,
}

/// Why a frame was refused. None of these closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not JSON, or nested deeper than 128 levels.
    #[error("the frame is not valid JSON")]
    Json,
    /// JSON, but not an object.
    #[error("the frame is not a JSON object")]
    NotAnObject,
    /// An object without a string in its type field.
    #[error("the frame has no type")]
    NoType,
}

impl Error {
    /// Its row in the table of codes.
    #[must_use]
    pub const fn code(self) -> Code {
        Code::BadRequest
    }
}

/// Reads one frame; `type_field` is the name of the field that says what it is.
///
/// # Errors
/// [`Error`] says what is missing.
pub fn parse(text: &str, type_field: &str) -> Result<Frame, Error> {
    let value: Value = serde_json::from_str(&json::mend_surrogates(text)).map_err(|_| Error::Json)?;
    let object = value.as_object().ok_or(Error::NotAnObject)?;
    let kind = object.get(type_field).and_then(Value::as_str).ok_or(Error::NoType)?.to_owned();
    Ok(Frame { kind, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn frames() {
        #[track_caller]
        fn check(text: &str, field: &str, expect: Result<(&str, Value), Error>) {
            let expect = expect.map(|(kind, value)| Frame { kind: kind.to_owned(), value });
            assert_eq!(parse(text, field), expect);
        }
        let join = json!({"type": "join_room", "room": "a"});
        check(r#"{"type":"join_room","room":"a"}"#, "type", Ok(("join_room", join)));
        check(r#"{"op":"x"}"#, "op", Ok(("x", json!({"op": "x"}))));
        check(
            r#"{"type":"chat","content":"\ud83d"}"#,
            "type",
            Ok(("chat", json!({"type":"chat","content":"\u{fffd}"}))),
        );
        check("", "type", Err(Error::Json));
        check("{", "type", Err(Error::Json));
        check(r#"{"type":"x"} y"#, "type", Err(Error::Json));
        check(&"[".repeat(100_000), "type", Err(Error::Json));
        check("[]", "type", Err(Error::NotAnObject));
        check("\"type\"", "type", Err(Error::NotAnObject));
        check("{}", "type", Err(Error::NoType));
        check(r#"{"type":1}"#, "type", Err(Error::NoType));
    }
}
