//! The payload of a benchmark's message: a filler that begins with a mark, so that a receiver knows which message it has
//! without parsing anything.
//!
//! `@oyez:RRRR:NNNNNNNN:PPPPPPPP:xxxx…`, in hexadecimal: the run, the number of the message in its stream (what one
//! receiver hears, without a gap), and the number of the publication in the run.

use memchr::memmem::Finder;

/// The shortest payload that holds a mark.
pub(crate) const SHORTEST: usize = 29;

/// Where the two numbers begin.
const NUMBER: usize = 11;
const PUBLICATION: usize = 20;

/// What a message says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Its number in its stream.
    pub(super) number: u32,
    /// The publication it came from.
    pub(super) publication: u32,
}

/// Writes and finds the marks of one run.
#[derive(Debug)]
pub(super) struct Marker {
    finder: Finder<'static>,
    size: usize,
    /// Where the last mark stood: the next one stands there, too, as all messages of a run look alike.
    place: usize,
}

impl Marker {
    /// Of a run, for payloads of this many bytes.
    pub(super) fn new(run: u16, size: usize) -> Self {
        let finder = Finder::new(&format!("@oyez:{run:04x}:")).into_owned();
        Self { finder, size: size.max(SHORTEST), place: 0 }
    }

    /// Appends a payload.
    pub(super) fn write(&self, out: &mut Vec<u8>, mark: Mark) {
        let start = out.len();
        out.extend_from_slice(self.finder.needle());
        for number in [mark.number, mark.publication] {
            out.extend_from_slice(format!("{number:08x}:").as_bytes());
        }
        out.resize(start + self.size, b'x');
    }

    /// The first mark in a text, and what follows its payload.
    pub(super) fn find<'a>(&mut self, text: &'a [u8]) -> Option<(Mark, &'a [u8])> {
        let needle = self.finder.needle();
        let there = text.get(self.place..).is_some_and(|rest| rest.starts_with(needle));
        let place = if there { self.place } else { self.finder.find(text)? };
        let payload = &text[place..];
        let mark = Mark { number: hexadecimal(payload, NUMBER)?, publication: hexadecimal(payload, PUBLICATION)? };
        self.place = place;
        Some((mark, payload.get(self.size..).unwrap_or_default()))
    }

    /// The same for what follows a payload: further messages that the server put into one frame.
    pub(super) fn find_more<'a>(&mut self, rest: &'a [u8]) -> Option<(Mark, &'a [u8])> {
        if rest.len() < self.size {
            return None;
        }
        let place = self.place;
        let found = self.find(rest);
        self.place = place;
        found
    }
}

/// The eight digits of `text` from `at` on.
fn hexadecimal(text: &[u8], at: usize) -> Option<u32> {
    let digits = text.get(at..at + 8)?;
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u32::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_wherever_it_stands() {
        let mut marker = Marker::new(0xBEEF, 200);
        let mut other = Marker::new(0xBEE0, 200);
        for (number, before) in
            [(0, "42[\"tick\",\""), (7, "42[\"tick\",\""), (u32::MAX, ""), (9, "{\"data\":\"@oyez:")]
        {
            let mark = Mark { number, publication: !number };
            let mut text = before.as_bytes().to_vec();
            marker.write(&mut text, mark);
            assert_eq!(text.len(), before.len() + 200);
            text.extend_from_slice(b"\"]");
            assert_eq!(marker.find(&text), Some((mark, &b"\"]"[..])));
            assert_eq!(marker.find_more(b"\"]"), None);
            assert_eq!(other.find(&text), None, "another run's");
        }
    }

    #[test]
    fn several_messages_in_one_frame_are_found() {
        let mut marker = Marker::new(1, SHORTEST);
        let marks = [1, 2, 3].map(|number| Mark { number, publication: 40 + number });
        let mut text = Vec::new();
        for mark in marks {
            text.extend_from_slice(b"{\"data\":\"");
            marker.write(&mut text, mark);
            text.extend_from_slice(b"\"}\n");
        }
        let (first, mut rest) = marker.find(&text).expect("a mark");
        let mut found = vec![first];
        while let Some((mark, more)) = marker.find_more(rest) {
            found.push(mark);
            rest = more;
        }
        assert_eq!(found, marks);
    }

    #[test]
    fn a_mark_that_is_cut_off_is_none() {
        let mut marker = Marker::new(1, 40);
        let mut text = Vec::new();
        marker.write(&mut text, Mark { number: 1, publication: 1 });
        assert_eq!(marker.find(&text[..SHORTEST - 2]), None);
        assert!(marker.find(&text[..SHORTEST]).is_some());
    }
}
