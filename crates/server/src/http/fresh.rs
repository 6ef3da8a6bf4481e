//! Whether a client has what it asks for already (RFC 9110, sections 8.8.3 and 13.1.2).

use http::HeaderMap;
use http::header::IF_NONE_MATCH;

/// The tags of what a client has.
#[derive(Debug, Clone, Default)]
pub(super) struct Known(Vec<String>);

impl Known {
    /// As its `If-None-Match` says; a proxy that compresses makes tags weak, and there may be several.
    pub(super) fn of(request: &HeaderMap) -> Self {
        let lines = request.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        Self(lines.flat_map(|line| line.split(',')).map(strong).filter(|tag| !tag.is_empty()).collect())
    }

    /// It says nothing.
    pub(super) fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether that is among it.
    pub(super) fn has(&self, tag: &str) -> bool {
        self.0.iter().any(|known| known == "*" || known == tag)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[track_caller]
    fn check(lines: &[&'static str], has: bool) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(IF_NONE_MATCH, HeaderValue::from_static(line));
        }
        assert_eq!(Known::of(&headers).has("\"a.1\""), has, "{lines:?}");
    }

    #[test]
    fn tags_are_compared_weakly_in_lists_and_over_lines() {
        check(&[], false);
        check(&["\"a.1\""], true);
        check(&["W/\"a.1\""], true);
        check(&["\"b.1\", W/\"a.1\""], true);
        check(&["\"b.1\"", "\"a.1\""], true);
        check(&["*"], true);
        check(&["\"a.10\"", "a.1", ""], false);
    }
}
