//! What a request says: JSON of a bounded size and parameters of the query, with mistakes named by field and place.

use std::fmt;
use std::marker::PhantomData;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use http::Uri;
use http::request::Parts;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use oyez_protocol::code::Code;
use oyez_protocol::message::Args;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::error::ApiError;
use crate::settings::Patience;

/// Largest body of a request, in bytes.
pub(super) const BODY_MAX: usize = 1024 * 1024;

/// So much of a parameter's name is told, in characters.
const NAME_SHOWN: usize = 100;

/// The JSON of a request. Its content type is not looked at, so that a bare `curl -d` works.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        nothing_asked(request.uri())?;
        let patience = request.extensions().get().copied().unwrap_or_default();
        read(request.into_body(), patience).await.and_then(|bytes| parse(&bytes)).map(Self)
    }
}

/// Refuses what is said in the query of a request whose body says all, but for a user's token.
fn nothing_asked(uri: &Uri) -> Result<(), ApiError> {
    let query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let Some((name, _)) = query.into_iter().find(|(name, _)| name != "token") else { return Ok(()) };
    let name: String = name.chars().take(NAME_SHOWN).collect();
    Err(ApiError::bad(format!("`{name}`: nobody looks for it in the query here; say it in the body")))
}

/// The bytes of a request, whatever they are.
#[derive(Debug)]
pub(super) struct Raw(pub(super) Bytes);

impl<S: Sync> FromRequest<S> for Raw {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let patience = request.extensions().get().copied().unwrap_or_default();
        read(request.into_body(), patience).await.map(Self)
    }
}

async fn read(body: Body, patience: Patience) -> Result<Bytes, ApiError> {
    let Ok(read) = timeout(patience.body, Limited::new(body, BODY_MAX).collect()).await else {
        return Err(ApiError::bad(format!("the body took longer than {:?}; send it again", patience.body)));
    };
    match read {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::new(
            Code::PayloadTooLarge,
            format!("a request has at most {BODY_MAX} bytes; publish less at once, or a link to it"),
        )),
        Err(_) => Err(ApiError::bad("the request broke off before its end; send it again")),
    }
}

/// Reads JSON; a mistake is told with its field, line and column.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    if bytes.trim_ascii().is_empty() {
        return Err(ApiError::bad("the request has no body; send a JSON object"));
    }
    // Where a mistake is, is asked only when there is one: keeping track takes as long as reading.
    if let Ok(Object(value)) = serde_json::from_slice(bytes) {
        return Ok(value);
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let Object(value) = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let field = error.path().to_string();
        let place = if [".", "?"].contains(&&*field) { String::new() } else { format!("`{field}`: ") };
        ApiError::bad(format!("{place}{}", plainly(&error.inner().to_string())))
    })?;
    json.end().map_err(|error| ApiError::bad(plainly(&error.to_string())))?;
    Ok(value)
}

/// A JSON object. (What serde makes for structs takes a list of their fields, too.)
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Only<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Only<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(Only(PhantomData)).map(Self)
    }
}

/// A struct within another, as an object.
pub(super) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|Object(value)| value)
}

/// The same, or nothing.
pub(super) fn some_object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.map(|Object(value)| value))
}

/// The parameters of the query.
#[derive(Debug)]
pub(super) struct Params<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => Err(ApiError::bad(parameter(&rejection.body_text()))),
        }
    }
}

/// What is wrong or was expected, by the names that Rust has for it and by those that a reader of JSON knows.
const WORDS: [(&str, &str); 19] = [
    ("expected enum", "expected one with a key"),
    ("trailing comma at", "a comma where the object or list should end, at"),
    ("invalid type: map", "invalid type: an object"),
    ("invalid type: sequence", "invalid type: a list"),
    ("unknown variant", "unknown value"),
    ("expected value at", "there is no value that fits at"),
    ("EOF while parsing an object at", "the body ends within an object at"),
    ("EOF while parsing a list at", "the body ends within a list at"),
    ("EOF while parsing a string at", "the body ends within a string at"),
    ("EOF while parsing a value at", "the body ends where a value should be, at"),
    ("expected u64", WHOLE),
    ("expected u32", WHOLE),
    ("expected u16", WHOLE),
    ("expected u8", WHOLE),
    ("expected usize", WHOLE),
    ("invalid digit found in string", WHOLE),
    ("cannot parse integer from empty string", WHOLE),
    ("number too large to fit in target type", "the number is too large"),
    ("expected a sequence", "expected a list"),
];

const WHOLE: &str = "expected a whole number, at least 0";

/// A mistake without Rust's names for what should be there.
fn plainly(message: &str) -> String {
    let mut message = WORDS.iter().fold(message.to_owned(), |message, (rust, plain)| message.replace(rust, plain));
    if let Some((before, named)) = message.split_once("expected struct ") {
        let after = named.trim_start_matches(|char: char| char.is_alphanumeric());
        message = format!("{before}expected a JSON object{after}");
    }
    message
}

/// A mistake in the query, with the parameter's name as that of a field.
fn parameter(message: &str) -> String {
    let said = message.strip_prefix("Failed to deserialize query string: ").unwrap_or(message);
    match said.split_once(": ") {
        Some((name, said)) if !name.contains([' ', '`']) => format!("`{name}`: {}", plainly(said)),
        _ => plainly(said),
    }
}

/// One text or a list of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Texts(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E>(self, one: &str) -> Result<Texts, E> {
                Ok(Texts(vec![one.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

impl utoipa::PartialSchema for Texts {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        let many = utoipa::openapi::ArrayBuilder::new().items(String::schema());
        utoipa::openapi::OneOfBuilder::new().item(String::schema()).item(many).into()
    }
}

impl utoipa::ToSchema for Texts {}

/// Any JSON, byte for byte; `null` is a value, not an absence.
pub(super) fn raw<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// An event's arguments as JSON; one alone as it is. (They are valid, so that the last resort never comes.)
pub(super) fn payload(args: &Args) -> Box<RawValue> {
    let args = args.in_json();
    match &args.split()[..] {
        [one] => one.clone(),
        _ => RawValue::from_string(format!("[{}]", args.text())).unwrap_or_else(|_| RawValue::NULL.to_owned()),
    }
}
