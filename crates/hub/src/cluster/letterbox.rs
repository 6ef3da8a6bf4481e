//! Where letters wait that are written, until those before them have been said.
//!
//! It stands behind the door: a publication has given its permit back when its letter lies here, so that a broker which does
//! not answer holds up nobody's local delivery. What waits here is bounded in bytes. When it is full and letters are taken, whoever
//! brings more waits, and publishers with them: a broker that is slower than they are slows them down. When none is taken for
//! [`STILL`], the newest are not said any more.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Bytes that wait at most; what comes in one go when there is still room is taken whole.
const WAITING: usize = 16 << 20;

/// Bytes that are said together, unless one letter alone has more: many letters in one write, and few enough of a full box that
/// it shows soon whether they are taken.
const TOGETHER: usize = 1 << 20;

/// Who takes nothing for so long stands still.
const STILL: Duration = Duration::from_millis(100);

/// Letters in the order in which they are to be said.
#[derive(Debug)]
pub struct Letterbox<T> {
    waiting: VecDeque<(T, usize)>,
    /// Of those that wait.
    bytes: usize,
    /// Since when some are being said.
    saying: Option<Instant>,
}

impl<T> Default for Letterbox<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, saying: None }
    }
}

impl<T> Letterbox<T> {
    fn is_full(&self) -> bool {
        self.bytes >= WAITING
    }

    /// When those that are being said will have taken too long.
    fn still_at(&self) -> Instant {
        self.saying.map_or_else(Instant::now, |since| since + STILL)
    }

    /// Waits until more may be brought: until there is room, or nobody takes anything, so that waiting is in vain.
    pub async fn opens(&self) {
        if self.is_full() {
            sleep_until(self.still_at()).await;
        }
    }

    /// Puts a letter of so many bytes behind the others.
    ///
    /// # Errors
    /// The letter: there is no room for it, and will be none soon.
    pub fn put(&mut self, letter: T, bytes: usize) -> Result<(), T> {
        if self.is_full() && Instant::now() >= self.still_at() {
            return Err(letter);
        }
        self.keep(letter, bytes);
        Ok(())
    }

    /// The same for what is bounded elsewhere and must not be left out.
    pub fn keep(&mut self, letter: T, bytes: usize) {
        self.bytes += bytes;
        self.waiting.push_back((letter, bytes));
    }

    /// The newest.
    pub fn last_mut(&mut self) -> Option<&mut T> {
        self.waiting.back_mut().map(|(letter, _)| letter)
    }

    /// The oldest, to be said together; whoever has said them says so by [`Letterbox::said`]. `None`: there are none.
    pub fn take(&mut self) -> Option<Vec<T>> {
        let mut together = 0;
        let count = self.waiting.iter().take_while(|(_, bytes)| {
            together += bytes;
            together <= TOGETHER
        });
        let count = count.count().max(1).min(self.waiting.len());
        let taken: Vec<T> = self
            .waiting
            .drain(..count)
            .map(|(letter, bytes)| {
                self.bytes -= bytes;
                letter
            })
            .collect();
        self.saying = Some(Instant::now());
        (!taken.is_empty()).then_some(taken)
    }

    /// Those that were taken have been said, or cannot be.
    pub fn said(&mut self) {
        self.saying = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LETTER: usize = TOGETHER / 4;
    const MOST: usize = WAITING / LETTER;

    /// A box that is full and of which some letters are being said.
    fn full() -> (Letterbox<usize>, usize) {
        let mut letterbox = Letterbox::default();
        (0..4).for_each(|at| letterbox.put(at, LETTER).expect("room"));
        assert_eq!(letterbox.take(), Some(vec![0, 1, 2, 3]));
        (4..MOST + 4).for_each(|at| letterbox.put(at, LETTER).expect("room"));
        (letterbox, MOST + 4)
    }

    #[tokio::test(start_paused = true)]
    async fn while_letters_are_taken_whoever_brings_more_waits() {
        let (mut letterbox, mut next) = full();
        for _ in 0..100 {
            assert!(tokio::time::timeout(STILL / 2, letterbox.opens()).await.is_err(), "it waits");
            letterbox.said();
            assert_eq!(letterbox.take().expect("some")[0], next - MOST);
            (next..next + 4).for_each(|at| letterbox.put(at, LETTER).expect("room"));
            next += 4;
        }
        // What comes in one go is taken whole.
        assert_eq!(letterbox.put(next, LETTER), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn when_none_is_taken_the_newest_is_refused_and_order_is_kept() {
        let (mut letterbox, next) = full();
        letterbox.opens().await;
        assert_eq!(letterbox.put(next, LETTER), Err(next));
        letterbox.opens().await;
        letterbox.keep(next, LETTER);
        assert_eq!((letterbox.last_mut().copied(), letterbox.bytes), (Some(next), WAITING + LETTER));
        let mut heard = Vec::new();
        letterbox.said();
        while let Some(some) = letterbox.take() {
            assert!(some.len() <= 4, "not all at once");
            heard.extend(some);
            letterbox.said();
        }
        assert_eq!((heard, letterbox.bytes), ((4..=next).collect(), 0));
        letterbox.opens().await;
    }

    #[tokio::test]
    async fn one_that_is_larger_than_all_goes_alone() {
        let mut letterbox = Letterbox::default();
        letterbox.put("large", 2 * WAITING).expect("room");
        letterbox.put("small", 1).expect("nothing stands still");
        assert_eq!(letterbox.take(), Some(vec!["large"]));
        assert_eq!(letterbox.take(), Some(vec!["small"]));
        assert_eq!(letterbox.take(), None);
    }
}
