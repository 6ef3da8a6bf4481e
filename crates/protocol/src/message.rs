//! The nouns: what an event carries, independent of how a codec writes it.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

/// Names that belong to Socket.IO's clients and servers themselves: no event of an application can have them.
pub const RESERVED_EVENTS: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// The arguments of an event or an acknowledgement.
///
/// `text` is the JSON of the arguments joined by commas, without the enclosing brackets, so that a codec can put an
/// event name before it or an offset behind it by copying bytes: `{"id":1},"x"`. Binary arguments appear in it as
/// `{"_placeholder":true,"num":n}` and stand in `attachments` at index `n`.
///
/// ```
/// use oyez_protocol::message::Args;
///
/// let one = Args::from("hello"); // whatever serialises is one argument
/// assert_eq!(one.text(), r#""hello""#);
/// let several = Args::from(1).and("two").and_bytes(&b"three"[..]);
/// assert_eq!(several.text(), r#"1,"two",{"_placeholder":true,"num":0}"#);
/// assert_eq!(several.get::<String>(1).unwrap(), "two");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Args {
    text: String,
    attachments: Vec<Bytes>,
}

impl Args {
    /// No arguments.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// One argument, whatever serialises to JSON; a value that cannot be serialised becomes `null`.
    #[must_use]
    pub fn one(value: &impl Serialize) -> Self {
        let text = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
        Self { text, attachments: Vec::new() }
    }

    /// One argument whose JSON is already known to be valid.
    #[must_use]
    pub fn raw(value: &RawValue) -> Self {
        Self { text: value.get().to_owned(), attachments: Vec::new() }
    }

    /// From the text between the brackets of a JSON array that a decoder has validated, and its attachments.
    #[must_use]
    pub fn from_validated(text: String, attachments: Vec<Bytes>) -> Self {
        Self { text, attachments }
    }

    /// Several arguments.
    #[must_use]
    pub fn many(values: &[serde_json::Value]) -> Self {
        let text = values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        Self { text, attachments: Vec::new() }
    }

    /// With one argument more.
    #[must_use]
    pub fn and(mut self, value: impl Serialize) -> Self {
        let next = Self::one(&value);
        if !self.text.is_empty() {
            self.text.push(',');
        }
        self.text.push_str(&next.text);
        self
    }

    /// With one binary argument more.
    #[must_use]
    pub fn and_bytes(mut self, bytes: impl Into<Bytes>) -> Self {
        let placeholder = serde_json::json!({ "_placeholder": true, "num": self.attachments.len() });
        self.attachments.push(bytes.into());
        self.and(placeholder)
    }

    /// The argument at `index`; one that is not there reads as `null`.
    ///
    /// # Errors
    /// When it is not a `T`.
    pub fn get<T: DeserializeOwned>(&self, index: usize) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.split().get(index).map_or("null", |value| value.get()))
    }

    /// The JSON of the arguments, comma-separated, without brackets; empty when there are none.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The binary attachments that the placeholders in [`Args::text`] refer to.
    #[must_use]
    pub fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }

    /// The same for those who take JSON alone: binaries are base64 text in their places.
    #[must_use]
    pub fn in_json(&self) -> Cow<'_, Self> {
        if self.attachments.is_empty() {
            return Cow::Borrowed(self);
        }
        let mut values = self.values();
        values.iter_mut().for_each(|value| self.fill_in(value));
        Cow::Owned(Self::many(&values))
    }

    fn fill_in(&self, value: &mut Value) {
        match value {
            Value::Object(fields) if fields.get("_placeholder") == Some(&Value::Bool(true)) => {
                let num = fields.get("num").and_then(Value::as_u64).and_then(|num| usize::try_from(num).ok());
                if let Some(bytes) = num.and_then(|num| self.attachments.get(num)) {
                    *value = STANDARD.encode(bytes).into();
                }
            }
            Value::Object(fields) => fields.values_mut().for_each(|value| self.fill_in(value)),
            Value::Array(items) => items.iter_mut().for_each(|value| self.fill_in(value)),
            _ => {}
        }
    }

    /// The first argument as JSON text.
    #[must_use]
    pub fn first(&self) -> Option<&RawValue> {
        serde_json::Deserializer::from_str(&self.text).into_iter().next()?.ok()
    }

    /// The argument as JSON text, if there is exactly one.
    #[must_use]
    pub fn sole(&self) -> Option<&RawValue> {
        serde_json::from_str(&self.text).ok()
    }

    /// Each argument as JSON text, in order.
    #[must_use]
    pub fn split(&self) -> Vec<Box<RawValue>> {
        serde_json::from_str(&format!("[{}]", self.text)).unwrap_or_default()
    }

    /// Each argument as a value, in order; placeholders stay as they are.
    #[must_use]
    pub fn values(&self) -> Vec<serde_json::Value> {
        serde_json::from_str(&format!("[{}]", self.text)).unwrap_or_default()
    }
}

/// One argument.
impl<T: Serialize> From<T> for Args {
    fn from(value: T) -> Self {
        Self::one(&value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binaries_are_text_in_json() {
        let args = Args::one(&serde_json::json!({"n": 1})).and_bytes(&b"hi"[..]).and_bytes(&b""[..]);
        assert_eq!(args.in_json().text(), r#"{"n":1},"aGk=","""#);
        let text = r#"{"b":[{"_placeholder":true,"num":0}],"a":{"_placeholder":true,"num":7}}"#;
        let nested = Args::from_validated(text.to_owned(), vec![Bytes::from_static(&[255])]);
        assert_eq!(nested.in_json().text(), r#"{"b":["/w=="],"a":{"_placeholder":true,"num":7}}"#);
        assert!(nested.in_json().attachments().is_empty());
        let plain = Args::from_validated(text.to_owned(), Vec::new());
        assert_eq!(plain.in_json().text(), text, "nobody sent binaries");
    }

    #[test]
    fn arguments_split_and_join() {
        let args = Args::many(&[serde_json::json!({"a": 1}), serde_json::json!("x")]);
        assert_eq!(args.text(), r#"{"a":1},"x""#);
        assert_eq!(args.split()[1].get(), r#""x""#);
        assert_eq!(args.first().map(RawValue::get), Some(r#"{"a":1}"#));
        assert!(args.sole().is_none() && Args::none().first().is_none() && Args::none().sole().is_none());
        let numbers = Args::from(1).and(2);
        assert_eq!(numbers.first().map(RawValue::get), Some("1"));
        assert_eq!(Args::one(&"x").sole().map(RawValue::get), Some(r#""x""#));
        assert_eq!(Args::none().values(), Vec::<serde_json::Value>::new());
    }
}
