//! What the codecs share about JSON text: mending half emoji, checking depth and placeholders, quoting.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Replaces escapes of unpaired UTF-16 surrogates (`"\ud83d"`) by that of U+FFFD.
///
/// JavaScript's `JSON.stringify` writes half an emoji that way and the reference server delivers it, but no UTF-8 string can
/// hold it; WebSocket text itself makes the same replacement. The length of the text stays as it was.
pub(crate) fn mend_surrogates(text: &str) -> Cow<'_, str> {
    if !text.contains("\\ud") && !text.contains("\\uD") {
        return Cow::Borrowed(text);
    }
    let mut mended = Cow::Borrowed(text);
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| rest.find('\\')) {
        at += found;
        at += match (escaped_unit(text, at), escaped_unit(text, at + 6)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => {
                mended.to_mut().replace_range(at + 2..at + 6, "fffd");
                6
            }
            (Some(_), _) => 6,
            (None, _) => 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
        };
    }
    mended
}

/// The UTF-16 unit of a `\uXXXX` escape that starts at `at`.
fn escaped_unit(text: &str, at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
}

/// Checks that `text` is one JSON value that `serde_json` can read (128 levels at most), and that each of its placeholders
/// refers to one of `attachments` binaries of its own. With no attachments placeholders are ordinary objects.
///
/// A binary that is referred to twice is refused: no client sends it, and a codec that puts binaries in place would be
/// made to copy one large binary a thousand times.
pub(crate) fn check(text: &str, attachments: usize) -> Result<(), serde_json::Error> {
    let mut used = vec![false; attachments];
    let mut reader = serde_json::Deserializer::from_str(text);
    Walk { used: &mut used }.deserialize(&mut reader)?;
    reader.end()
}

/// Levels that `serde_json` reads; whatever is nested deeper is nobody's JSON.
pub const MAX_DEPTH: usize = 127;

/// Whether nothing in this JSON is nested deeper than `levels`. Of text that is no JSON it says what its brackets say.
#[must_use]
pub fn is_within(text: &str, levels: usize) -> bool {
    // A level takes two characters.
    if text.len() <= 2 * levels {
        return true;
    }
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        if quoted {
            (quoted, escaped) = (escaped || byte != b'"', !escaped && byte == b'\\');
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'[' | b'{' if depth == levels => return false,
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

/// Appends `value` as a JSON string.
pub(crate) fn push_string(out: &mut String, value: &str) {
    if value.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
        out.push('"');
        out.push_str(value);
        out.push('"');
    } else {
        // A str always serialises.
        out.push_str(&serde_json::to_string(value).unwrap_or_default());
    }
}

/// What a placeholder check needs to remember of a value.
enum Leaf {
    True,
    Number(u64),
    Other,
}

struct Walk<'w> {
    used: &'w mut [bool],
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Leaf;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Leaf, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Leaf;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Leaf, E> {
        Ok(if value { Leaf::True } else { Leaf::Other })
    }

    fn visit_u64<E>(self, value: u64) -> Result<Leaf, E> {
        Ok(Leaf::Number(value))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Leaf, E> {
        Ok(Leaf::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Leaf, E> {
        Ok(Leaf::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Leaf, E> {
        Ok(Leaf::Other)
    }

    fn visit_unit<E>(self) -> Result<Leaf, E> {
        Ok(Leaf::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Leaf, A::Error> {
        while items.next_element_seed(Walk { used: self.used })?.is_some() {}
        Ok(Leaf::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Leaf, A::Error> {
        let (mut is_placeholder, mut num) = (false, None);
        while let Some(key) = entries.next_key_seed(KeySeed)? {
            let value = entries.next_value_seed(Walk { used: self.used })?;
            match (key, value) {
                (Key::Placeholder, value) => is_placeholder = matches!(value, Leaf::True),
                (Key::Num, Leaf::Number(n)) => num = usize::try_from(n).ok(),
                (Key::Num, _) => num = None,
                (Key::Other, _) => {}
            }
        }
        if is_placeholder && !self.used.is_empty() {
            match num.and_then(|n| self.used.get_mut(n)) {
                Some(used) if !*used => *used = true,
                _ => return Err(A::Error::custom("illegal attachments")),
            }
        }
        Ok(Leaf::Other)
    }
}

/// The two keys that make a placeholder, told apart without copying the key.
enum Key {
    Placeholder,
    Num,
    Other,
}

struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Key, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Key, E> {
        Ok(match key {
            "_placeholder" => Key::Placeholder,
            "num" => Key::Num,
            _ => Key::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_an_emoji_is_mended() {
        #[track_caller]
        fn test(text: &str, expect: &str) {
            assert_eq!(mend_surrogates(text), expect);
        }
        test(r#""a""#, r#""a""#);
        test(r#""\ud83d\ude00""#, r#""\ud83d\ude00""#);
        test(r#""\ud83d""#, r#""\ufffd""#);
        test(r#""\uDE00x""#, r#""\ufffdx""#);
        test(r#""\ud83d\ud83d\ude00""#, r#""\ufffd\ud83d\ude00""#);
        test(r#""\\ud83d""#, r#""\\ud83d""#);
        test(r#""\é\ud8""#, r#""\é\ud8""#);
        test("\\ud83d\\", "\\ufffd\\");
    }

    #[test]
    fn placeholders_are_counted() {
        let one = r#"["x",{"_placeholder":true,"num":0}]"#;
        assert!(check(one, 1).is_ok());
        assert!(check(one, 0).is_ok());
        assert!(check(r#"[{"_placeholder":true,"num":1}]"#, 1).is_err());
        assert!(check(r#"[{"_placeholder":true,"num":-1}]"#, 1).is_err());
        assert!(check(r#"[{"_placeholder":true}]"#, 1).is_err());
        assert!(check(r#"[{"_placeholder":false,"num":7}]"#, 1).is_ok());
        let twice = r#"[{"_placeholder":true,"num":0},{"a":{"_placeholder":true,"num":0}}]"#;
        assert!(check(twice, 2).is_err());
    }

    #[test]
    fn depth_is_limited() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(check(&deep(127), 0).is_ok());
        assert!(check(&deep(128), 0).is_err());
        assert!(check(&"[".repeat(1_000_000), 0).is_err());
    }

    #[test]
    fn levels_are_counted_outside_of_strings() {
        #[track_caller]
        fn test(text: &str, levels: usize, expect: bool) {
            assert_eq!(is_within(text, levels), expect, "{text} {levels}");
        }
        test("1", 0, true);
        test("[]", 0, false);
        test("[[],[]]", 2, true);
        test("[[],[[]]]", 2, false);
        test(r#"{"a":{"b":[1]}},"x""#, 3, true);
        test(r#"{"a":{"b":[1]}},"x""#, 2, false);
        test(r#"["[[[[\"[[[[\\"]"#, 1, true);
        test(r#"["\\",[["x"]]]"#, 2, false);
        test(&"[".repeat(1_000_000), MAX_DEPTH, false);
    }

    #[test]
    fn strings_are_quoted() {
        let mut out = String::new();
        push_string(&mut out, "é");
        push_string(&mut out, "a\"\n");
        assert_eq!(out, r#""é""a\"\n""#);
    }
}
