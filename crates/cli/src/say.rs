//! Speaking to the person or program that called: results on stdout, problems on stderr, Chinese where the locale is.

use std::fmt::Display;
use std::io::{self, Write as _};

/// Writes a result that has its own line ends to stdout.
pub(crate) fn text(text: impl Display) {
    // A reader that has gone has read enough.
    let _ = write!(io::stdout().lock(), "{text}");
}

/// Writes a result and a line's end to stdout. A reader that has gone (`oyez listen … | head -1`) is no error: `false`.
pub(crate) fn line(text: impl Display) -> bool {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).is_ok()
}

/// Writes a problem to stderr.
pub(crate) fn problem(text: impl Display) {
    // When even stderr is closed there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// The languages of the banner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    /// English.
    English,
    /// Chinese.
    Chinese,
}

impl Language {
    /// As POSIX has it: `LC_ALL` before `LC_MESSAGES` before `LANG`; empty is unset.
    pub(crate) fn of(env: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name| env(name).filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().find_map(set).unwrap_or_default();
        if locale.to_ascii_lowercase().starts_with("zh") { Self::Chinese } else { Self::English }
    }
}

#[cfg(test)]
mod tests {
    use super::Language;

    #[test]
    fn the_first_locale_that_is_set_decides() {
        let language = |set: &[(&str, &str)]| {
            let env = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            Language::of(env)
        };
        assert_eq!(language(&[]), Language::English);
        assert_eq!(language(&[("LANG", "zh_CN.UTF-8")]), Language::Chinese);
        assert_eq!(language(&[("LANG", "zh_CN.UTF-8"), ("LC_ALL", "C")]), Language::English);
        assert_eq!(language(&[("LANG", "en_US.UTF-8"), ("LC_ALL", "")]), Language::English);
    }
}
