//! Names of channels: what may be one, and patterns such as `site:{siteId}` that match them.

use std::fmt;
use std::sync::Arc;

use oyez_protocol::code::Code;
use smallvec::SmallVec;

use super::limits::Limit;

/// The longest name of a channel, in characters; an app may allow less.
pub const MAX_NAME: usize = 200;

/// What is said of a longer one.
pub(crate) const TOO_LONG: &str = Code::ChannelTooLong.message();

/// What an app allows in the names of its channels, beside what [`name_fault`] says of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameLimits {
    /// Characters, at most [`MAX_NAME`].
    pub length: usize,
    /// Only visible characters of ASCII.
    pub ascii: bool,
}

impl Default for NameLimits {
    fn default() -> Self {
        Self { length: MAX_NAME, ascii: false }
    }
}

impl NameLimits {
    /// Which limit this name exceeds.
    #[must_use]
    pub fn exceeded(self, name: &str) -> Option<Limit> {
        if name.len() > self.length && name.chars().count() > self.length {
            Some(Limit::ChannelLength)
        } else if self.ascii && !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            Some(Limit::ChannelCharacters)
        } else {
            None
        }
    }
}

/// Why this cannot be the name of one channel; none when it can.
#[must_use]
pub fn name_fault(name: &str) -> Option<&'static str> {
    // Most names are short and plain: seen at a glance.
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'*';
    if !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(plain) {
        return None;
    }
    if name.is_empty() {
        Some("a channel needs a name")
    } else if name.len() > MAX_NAME && name.chars().count() > MAX_NAME {
        Some(TOO_LONG)
    } else if name.contains('*') {
        Some("a channel's name may not contain *")
    } else if name.chars().any(char::is_control) {
        Some("a channel's name may not contain control characters")
    } else {
        None
    }
}

/// The captures of a match, in order, with their names.
pub type Captures<'a> = SmallVec<[(&'a str, &'a str); 4]>;

/// A compiled pattern: text with `{captures}`. A capture takes at least one character, up to the text that follows
/// it; the last one takes all that is left, so `chat:{room}` also matches `chat:a:b`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    source: Arc<str>,
    /// What stands before the first capture.
    head: Box<str>,
    /// Each capture and the text behind it.
    captures: Vec<(Box<str>, Box<str>)>,
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// A sentence about what is wrong.
    pub fn compile(source: &str) -> Result<Self, String> {
        let mut pieces = source.split('{');
        let head = pieces.next().unwrap_or_default();
        if head.contains('}') {
            return Err("`}` without its `{`".to_owned());
        }
        let mut captures: Vec<(Box<str>, Box<str>)> = Vec::new();
        for piece in pieces {
            let (name, text) = piece.split_once('}').ok_or("`{` without its `}`")?;
            let plain = !name.is_empty()
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                && !name.starts_with(|c: char| c.is_ascii_digit());
            if !plain || matches!(name, "user" | "member" | "event" | "true" | "false" | "null" | "in") {
                return Err(format!("`{name}` cannot name a part of a channel; use a word such as {{siteId}}"));
            }
            if captures.iter().any(|(known, _)| &**known == name) {
                return Err(format!("`{name}` appears twice"));
            }
            if captures.last().is_some_and(|(_, text)| text.is_empty()) {
                return Err("two captures need some text between them".to_owned());
            }
            captures.push((name.into(), text.into()));
        }
        let sample: String = std::iter::once(head).chain(captures.iter().flat_map(|(_, text)| ["x", text])).collect();
        match name_fault(&sample) {
            Some(fault) => Err(fault.to_owned()),
            None => Ok(Self { source: source.into(), head: head.into(), captures }),
        }
    }

    /// As it was written.
    #[must_use]
    pub fn source(&self) -> &Arc<str> {
        &self.source
    }

    /// The names of the captures.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.captures.iter().map(|(name, _)| &**name)
    }

    /// Whether every name that the other one matches fits, too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        // No text of a pattern contains this, so it fits captures only; and those take any text in its place.
        const ANYTHING: &str = "\0";
        let captures = other.captures.iter().flat_map(|(_, text)| [ANYTHING, text]);
        let any: String = std::iter::once(&*other.head).chain(captures).collect();
        self.matches(&any).is_some()
    }

    /// The captures, if the name fits.
    #[must_use]
    pub fn matches<'a>(&'a self, name: &'a str) -> Option<Captures<'a>> {
        let mut rest = name.strip_prefix(&*self.head)?;
        let mut captures = Captures::new();
        for (index, (capture, text)) in self.captures.iter().enumerate() {
            let last = index + 1 == self.captures.len();
            let end = if text.is_empty() {
                rest.len()
            } else if last {
                rest.strip_suffix(&**text)?.len()
            } else {
                // At least one character belongs to the capture.
                let first = rest.chars().next()?.len_utf8();
                first + rest[first..].find(&**text)?
            };
            if end == 0 {
                return None;
            }
            captures.push((capture, &rest[..end]));
            rest = &rest[end + text.len()..];
        }
        rest.is_empty().then_some(captures)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, name: &str, expect: Option<&[(&str, &str)]>) {
        let pattern = Pattern::compile(pattern).expect("a pattern");
        assert_eq!(pattern.matches(name).as_deref(), expect, "{pattern} on {name}");
    }

    #[test]
    fn patterns_match_names() {
        check("alarms", "alarms", Some(&[]));
        check("alarms", "alarms2", None);
        check("site:{id}", "site:1", Some(&[("id", "1")]));
        check("site:{id}", "site:", None);
        check("chat:{room}", "chat:a:b", Some(&[("room", "a:b")]));
        check("t:{a}:u:{b}", "t:1:u:2:3", Some(&[("a", "1"), ("b", "2:3")]));
        check("{any}", "x", Some(&[("any", "x")]));
        check("{a}:end", "x:end:end", Some(&[("a", "x:end")]));
        check("站:{a}点{b}", "站:一点点二", Some(&[("a", "一"), ("b", "点二")]));
    }

    #[test]
    fn patterns_cover_others() {
        #[track_caller]
        fn test(pattern: &str, other: &str, expect: bool) {
            let [one, two] = [pattern, other].map(|source| Pattern::compile(source).expect("a pattern"));
            assert_eq!(one.covers(&two), expect, "{pattern} covers {other}");
        }
        test("alarms", "alarms", true);
        test("alarms", "alarms2", false);
        test("room:{id}", "room:{name}", true);
        test("room:{id}", "room:7", true);
        test("room:7", "room:{id}", false);
        test("{any}", "room:{id}", true);
        test("{any}:end", "room:{id}", false);
        test("t:{id}", "t:{a}:u:{b}", true);
        test("t:{a}:u:{b}", "t:{id}", false);
        test("t:{a}:u:{b}", "t:1:u:{b}", true);
    }

    #[test]
    fn an_app_may_allow_less() {
        #[track_caller]
        fn test(length: usize, ascii: bool, name: &str, expect: Option<Limit>) {
            assert_eq!(NameLimits { length, ascii }.exceeded(name), expect, "{name}");
        }
        test(3, false, "abc", None);
        test(3, false, "站点点", None);
        test(3, false, "abcd", Some(Limit::ChannelLength));
        test(3, true, "a:c", None);
        test(3, true, "a c", Some(Limit::ChannelCharacters));
        test(3, true, "站", Some(Limit::ChannelCharacters));
    }

    #[test]
    fn bad_patterns_and_names_are_named() {
        for bad in ["", "a{", "a}", "{a}{b}", "{a}:{a}", "{user}", "{1}", "a*"] {
            assert!(Pattern::compile(bad).is_err(), "{bad}");
        }
        for bad in ["", "a*", "a\n", &"x".repeat(201)] {
            assert!(name_fault(bad).is_some(), "{bad}");
        }
        assert_eq!(name_fault(&"字".repeat(200)), None);
    }
}
