//! An entry of a stream as the hub sees it.

use std::borrow::Cow;

use oyez_hub::source::Arrival;

/// Where an entry lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// Which of the streams that are read.
    pub(super) stream: usize,
    /// Its id there.
    pub(super) id: String,
}

/// Names and values, in their order.
pub(super) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// What was given to this server.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) fields: Fields,
    /// How often it was given out.
    pub(super) deliveries: u64,
}

impl Entry {
    /// The body: one field, or else all as an object of texts. None: it has not that field.
    pub(super) fn body(&self, field: Option<&str>) -> Option<Cow<'_, [u8]>> {
        let Some(field) = field else { return Some(Cow::Owned(object(&self.fields, |_| true).into_bytes())) };
        let found = self.fields.iter().find(|(name, _)| name == field.as_bytes());
        found.map(|(_, value)| Cow::Borrowed(&value[..]))
    }

    /// The fields beside the body, as an object of texts.
    pub(super) fn headers(&self, field: Option<&str>) -> String {
        field.map_or_else(|| "{}".to_owned(), |field| object(&self.fields, |name| name != field.as_bytes()))
    }

    pub(super) fn arrival<'a>(&self, stream: &'a str, id: &'a str, body: &'a [u8], headers: &'a str) -> Arrival<'a> {
        let sent = self.place.id.split_once('-').and_then(|(millis, _)| millis.parse().ok());
        Arrival { address: stream, body, headers, id: Some(id), sent, priority: None }
    }
}

fn object(fields: &Fields, wanted: impl Fn(&[u8]) -> bool) -> String {
    let text = |bytes: &[u8]| serde_json::Value::from(String::from_utf8_lossy(bytes));
    let members =
        fields.iter().filter(|(name, _)| wanted(name)).map(|(name, value)| format!("{}:{}", text(name), text(value)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fields: &[(&str, &str)]) -> Entry {
        let fields = fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect();
        Entry { place: Place { stream: 0, id: "1795219304327-2".into() }, fields, deliveries: 1 }
    }

    #[track_caller]
    fn check(field: Option<&str>, body: Option<&str>, headers: &str) {
        let entry = entry(&[("data", r#"{"n":1}"#), ("by", "a \"b\"\n")]);
        let found = entry.body(field);
        assert_eq!(found.as_deref().map(|bytes| std::str::from_utf8(bytes).expect("text")), body);
        assert_eq!(entry.headers(field), headers);
        assert_eq!(entry.arrival("s", "s/1", b"", "{}").sent, Some(1_795_219_304_327));
    }

    #[test]
    fn a_body_is_one_field_or_all() {
        check(Some("data"), Some(r#"{"n":1}"#), r#"{"by":"a \"b\"\n"}"#);
        check(Some("other"), None, r#"{"data":"{\"n\":1}","by":"a \"b\"\n"}"#);
        check(None, Some(r#"{"data":"{\"n\":1}","by":"a \"b\"\n"}"#), "{}");
    }
}
