//! What clients ask and get an answer to: acknowledged events, joins and leaves.

use super::template::{Template, Values};

/// The questions of a run; each client asks them in turn.
#[derive(Debug, Default)]
pub(super) struct Asks {
    /// The texts, in turn.
    pub(super) questions: Vec<Template>,
    /// What an answer begins with or holds.
    pub(super) reply: Option<Template>,
    /// The channel that they name.
    pub(super) channel: Option<Template>,
    /// How many may still be asked in this round.
    pub(super) left: u64,
    /// How many were answered in this round.
    pub(super) answered: u64,
}

impl Asks {
    /// The next question of a client that has asked so many before.
    pub(super) fn next(&mut self, i: usize, asked: u64) -> Option<String> {
        let turns = self.questions.len() as u64;
        let question = self.questions.get(usize::try_from(asked.checked_rem(turns)?).ok()?)?;
        self.left = self.left.checked_sub(1)?;
        let values = Values { i, seq: asked, ..Values::default() };
        let channel = self.channel.as_ref().map(|channel| channel.text(&Values { seq: asked / turns, ..values }));
        Some(question.text(&Values { channel: channel.as_deref().unwrap_or_default(), ..values }))
    }

    /// Whether a text answers a client's question of this number.
    pub(super) fn is_answer(&self, text: &[u8], number: u64) -> bool {
        let Some(reply) = &self.reply else { return false };
        let wanted = reply.text(&Values { seq: number, ..Values::default() });
        memchr::memmem::find(text, wanted.as_bytes()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_come_in_turn_while_any_are_left() {
        let texts = ["join {channel}", "leave {channel}"].map(Template::new);
        let mut asks = Asks { questions: texts.into(), left: 3, ..Asks::default() };
        asks.channel = Some(Template::new("c:{i}-{seq}"));
        asks.reply = Some(Template::new("43{seq}["));
        let asked: Vec<_> = (0..4).map(|number| asks.next(7, number)).collect();
        assert_eq!(
            asked,
            [Some("join c:7-0"), Some("leave c:7-0"), Some("join c:7-1"), None].map(|it| it.map(String::from))
        );
        assert!(asks.is_answer(b"435[]", 5) && !asks.is_answer(b"435[]", 6));
        assert_eq!(Asks::default().next(0, 0), None);
    }
}
