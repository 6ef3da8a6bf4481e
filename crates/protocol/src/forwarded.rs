//! What forwarders say in a request of whom they forward for: `X-Forwarded-For`, or `Forwarded` (RFC 7239).
//!
//! Each adds to the end of the header; what stood there before came from the client and may be anything. So all is read
//! from the end, and nothing before an entry has a say in how that is read.

// Addresses and nothing that connects.
use core::net::{IpAddr, SocketAddr};

/// A header that says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `X-Forwarded-For`: addresses.
    XForwardedFor,
    /// `Forwarded`: `for=` and others.
    Forwarded,
}

impl Field {
    /// The header's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }

    /// Whom one line of the header names, the last first; none for who is not named by an address.
    pub fn hops(self, line: &str) -> impl Iterator<Item = Option<IpAddr>> {
        let entries = Entries(Some(line)).filter(|entry| !entry.is_empty());
        entries.map(move |entry| match self {
            Self::XForwardedFor => address(entry),
            Self::Forwarded => address(wanted(entry)?),
        })
    }
}

/// The entries of a list, the last first; a comma between quotes is none.
struct Entries<'a>(Option<&'a str>);

impl<'a> Iterator for Entries<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.0?;
        let mut quoted = false;
        for (at, byte) in text.bytes().enumerate().rev() {
            match byte {
                b'"' if !is_escaped(&text.as_bytes()[..at]) => quoted = !quoted,
                b',' if !quoted => {
                    self.0 = Some(&text[..at]);
                    return Some(text[at + 1..].trim());
                }
                _ => {}
            }
        }
        self.0 = None;
        Some(text.trim())
    }
}

/// Whether what follows is escaped.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// The `for` of an entry of `Forwarded`, if there is one only.
fn wanted(entry: &str) -> Option<&str> {
    let (mut quoted, mut escaped) = (false, false);
    let pairs = entry.split(move |letter: char| {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => return letter == ';' && !quoted,
        }
        false
    });
    let mut named = pairs.filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim())
    });
    let value = named.next().filter(|_| named.next().is_none())?;
    Some(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

/// An address, with or without a port or brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests;
