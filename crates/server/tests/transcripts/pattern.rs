//! What was said against what was expected: literal text with `{name}` captures.

use std::collections::BTreeMap;

/// Values by name; a name that is bound stands for its value.
pub(crate) type Bindings = BTreeMap<String, String>;

/// A piece of a pattern.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Literal(&'a str),
    Capture(&'a str),
}

/// `{name}` with lower-case letters and digits is a capture; other braces (JSON) are text.
fn pieces(pattern: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut from, mut at) = (0, 0);
    while let Some(open) = pattern[at..].find('{').map(|found| at + found) {
        let name = pattern[open + 1..].split('}').next().unwrap_or_default();
        let end = open + 1 + name.len() + 1;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if !name.is_empty() && name.chars().all(plain) && end <= pattern.len() {
            pieces.push(Piece::Literal(&pattern[from..open]));
            pieces.push(Piece::Capture(name));
            (from, at) = (end, end);
        } else {
            at = open + 1;
        }
    }
    pieces.push(Piece::Literal(&pattern[from..]));
    pieces
}

/// Replaces bound names by their values.
pub(crate) fn fill(pattern: &str, bindings: &Bindings) -> String {
    let piece = |piece: Piece<'_>| match piece {
        Piece::Literal(text) => text.to_owned(),
        Piece::Capture(name) => bindings.get(name).cloned().unwrap_or_else(|| format!("{{{name}}}")),
    };
    pieces(pattern).into_iter().map(piece).collect()
}

/// Whether `text` is what `pattern` says; binds the names that are new. `{any}` is never bound.
pub(crate) fn matches(pattern: &str, text: &str, bindings: &mut Bindings) -> bool {
    let filled = fill(pattern, bindings);
    let mut rest = text;
    let mut waiting: Option<&str> = None;
    let mut found = Bindings::new();
    for piece in pieces(&filled) {
        match (piece, waiting) {
            (Piece::Capture(name), _) => waiting = Some(name),
            (Piece::Literal(literal), None) => match rest.strip_prefix(literal) {
                Some(after) => rest = after,
                None => return false,
            },
            (Piece::Literal(literal), Some(name)) => {
                let end = if literal.is_empty() { Some(rest.len()) } else { rest.find(literal) };
                let Some(end) = end else { return false };
                found.insert(name.to_owned(), rest[..end].to_owned());
                rest = &rest[end + literal.len()..];
                waiting = None;
            }
        }
    }
    found.remove("any");
    bindings.append(&mut found);
    rest.is_empty()
}

#[test]
fn captures_bind_once_and_stand_for_their_value() {
    let mut bindings = Bindings::new();
    assert!(matches(r#"40{"sid":"{a}"}"#, r#"40{"sid":"xyz"}"#, &mut bindings));
    assert_eq!(fill("{a}-{b}-{\"a\"}", &bindings), "xyz-{b}-{\"a\"}");
    assert!(!matches("{a}", "other", &mut bindings));
    assert!(matches("{any},{any}", "1,2", &mut bindings));
    assert!(!matches("42", "421", &mut bindings));
}
