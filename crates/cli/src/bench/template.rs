//! Texts with places to fill in: `{i}`, `{seq}`, `{channel}`, `{channels}`, `{token}`, `{data}`. Other braces are what
//! they are, as JSON is full of them.

use super::marker::{Mark, Marker};

/// What stands in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Connection,
    Sequence,
    Channel,
    Channels,
    Token,
    Data,
}

const PLACES: [(&str, Part); 6] = [
    ("{i}", Part::Connection),
    ("{seq}", Part::Sequence),
    ("{channel}", Part::Channel),
    ("{channels}", Part::Channels),
    ("{token}", Part::Token),
    ("{data}", Part::Data),
];

/// A text with places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

/// What is filled in; what a text does not ask for may be left out.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Values<'a> {
    /// The number of the connection.
    pub(super) i: usize,
    /// A running number.
    pub(super) seq: u64,
    /// The channel.
    pub(super) channel: &'a str,
    /// Several of them, each in quotes, with commas between.
    pub(super) channels: &'a str,
    /// The connection's token.
    pub(super) token: &'a str,
    /// The payload.
    pub(super) data: Option<(&'a Marker, Mark)>,
}

impl Template {
    /// Reads a text.
    pub(crate) fn new(text: &str) -> Self {
        let (mut parts, mut rest) = (Vec::new(), text);
        let next = |rest: &str| {
            let found = PLACES.iter().filter_map(|(name, part)| Some((rest.find(name)?, name.len(), part.clone())));
            found.min_by_key(|(at, ..)| *at)
        };
        while let Some((at, length, part)) = next(rest) {
            parts.extend((at > 0).then(|| Part::Text(rest[..at].into())));
            parts.push(part);
            rest = &rest[at + length..];
        }
        parts.extend((!rest.is_empty()).then(|| Part::Text(rest.into())));
        Self(parts)
    }

    /// Whether it has a place for the channel.
    pub(super) fn names_channel(&self) -> bool {
        self.0.contains(&Part::Channel)
    }

    /// Appends the text.
    pub(super) fn write(&self, out: &mut Vec<u8>, values: &Values<'_>) {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Connection => out.extend_from_slice(values.i.to_string().as_bytes()),
                Part::Sequence => out.extend_from_slice(values.seq.to_string().as_bytes()),
                Part::Channel => out.extend_from_slice(values.channel.as_bytes()),
                Part::Channels => out.extend_from_slice(values.channels.as_bytes()),
                Part::Token => out.extend_from_slice(values.token.as_bytes()),
                Part::Data => {
                    if let Some((marker, mark)) = values.data {
                        marker.write(out, mark);
                    }
                }
            }
        }
    }

    /// The text.
    pub(super) fn text(&self, values: &Values<'_>) -> String {
        let mut out = Vec::new();
        self.write(&mut out, values);
        String::from_utf8_lossy(&out).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_and_other_braces_stay() {
        let values = Values { i: 7, seq: 42, channel: "news", channels: "\"a\",\"b\"", token: "t", data: None };
        for (text, expect) in [
            ("", ""),
            ("{i}", "7"),
            (r#"42{seq}["join",{"to":"{channel}"}]"#, r#"4242["join",{"to":"news"}]"#),
            (r#"{"channels":[{channels}],"{x}":{}}"#, r#"{"channels":["a","b"],"{x}":{}}"#),
            ("{token}{i}{token}{data}", "t7t"),
            ("{i", "{i"),
        ] {
            assert_eq!(Template::new(text).text(&values), expect, "{text}");
        }
    }
}
