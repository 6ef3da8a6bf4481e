//! Where letters wait that are written, until those before them have been said.
//!
//! It stands behind the door: a publication has given its permit back when its letter lies here, so that a broker which does
//! not answer holds up nobody's local delivery. While letters are taken, few wait here: whoever brings more waits, and
//! publishers with them, so that a broker that is slower than they are slows them down. When none is taken for [`STILL`],
//! nobody waits for it: letters pile up to [`WAITING`]. When they have and none is taken for [`PATIENCE`], the newest are not said.
//!
//! That letters are taken shows when all that were said together have been. So they are as many as take a moment: with a broker
//! that is slow they become few, with one that is far away they do not.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until, timeout};

use crate::admission::PERMITS;

/// Bytes that wait at most, and the letter that goes beyond them.
const WAITING: usize = 16 << 20;

/// Letters that wait while some are taken: enough for many in one write.
const AHEAD: usize = 1024;

/// Bytes of the same, and of those that are said together, unless one letter alone has more: at first, and at least.
const FEW: usize = 4 << 10;

/// The same, at most, where few take [`NEAR`] or less: should the broker become slow, it shows soon that it takes them.
const MANY: usize = 256 << 10;

/// The same, however far away it is.
const MOST: usize = 1 << 20;

/// What few take where the broker is near.
const NEAR: Duration = Duration::from_millis(20);

/// For so long what few letters take is taken to be the same: the way may become another one.
const LATELY: Duration = Duration::from_secs(10);

/// So long whoever says letters is left alone, so that what comes meanwhile makes one batch; then others are written beside it.
const MOMENT: Duration = Duration::from_millis(10);

/// Who takes nothing for so long, though there is little to take, seems to stand still.
const STILL: Duration = Duration::from_millis(100);

/// Who takes nothing for so long does: large letters may take a while.
const PATIENCE: Duration = Duration::from_secs(2);

/// Letters in the order in which they are to be said.
#[derive(Debug)]
pub struct Letterbox<T> {
    waiting: VecDeque<(T, usize)>,
    /// Of those that wait.
    bytes: usize,
    /// Since when none has been taken, though some are to be said.
    since: Option<Instant>,
    /// Bytes of those that are being said.
    saying: usize,
    /// How many bytes are said together.
    together: usize,
    /// What few take in any case, and when that was seen, lately.
    least: Option<(Duration, Instant)>,
    /// What a byte takes where there are many, about: seconds.
    pace: f64,
}

impl<T> Default for Letterbox<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, since: None, saying: 0, together: FEW, least: None, pace: 0.0 }
    }
}

impl<T> Letterbox<T> {
    /// When none will have been taken for so long.
    fn still_for(&self, time: Duration) -> Instant {
        self.since.map_or_else(Instant::now, |since| since + time)
    }

    /// Who takes nothing for so long seems to stand still: [`STILL`], and twice what those take that are being said.
    fn still(&self) -> Duration {
        let due = Duration::try_from_secs_f64(2.0 * self.pace * self.saying as f64).unwrap_or(PATIENCE);
        (STILL + due).min(PATIENCE)
    }

    /// Until when it is closed to whoever brings more, if none is taken before: many wait.
    fn closed_until(&self) -> Option<Instant> {
        if self.bytes >= WAITING {
            return Some(self.still_for(PATIENCE));
        }
        let are_many = self.waiting.len() >= AHEAD || self.bytes >= self.together;
        are_many.then(|| self.still_for(self.still()))
    }

    /// Waits until more may be brought: until few wait, or nobody takes anything.
    async fn opens(&self) {
        if let Some(until) = self.closed_until() {
            sleep_until(until).await;
        }
    }

    /// What comes next of a queue, once more may be brought; `None`: nothing comes any more. Cancel-safe.
    pub async fn next_of<Q>(&self, queue: &mut UnboundedReceiver<Q>) -> Option<Q> {
        self.opens().await;
        queue.recv().await
    }

    /// What has come after it, if more may be brought now and so few have been taken that others need not wait yet.
    pub fn more_of<Q>(&self, queue: &mut UnboundedReceiver<Q>, taken: usize) -> Option<Q> {
        let is_open = || self.closed_until().is_none_or(|until| until <= Instant::now());
        if taken < PERMITS && is_open() { queue.try_recv().ok() } else { None }
    }

    /// Puts a letter of so many bytes behind the others.
    ///
    /// # Errors
    /// The letter: there is no room for it, and will be none soon.
    pub fn put(&mut self, letter: T, bytes: usize) -> Result<(), T> {
        if self.bytes >= WAITING && Instant::now() >= self.still_for(PATIENCE) {
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
        if self.waiting.is_empty() {
            return None;
        }
        if self.least.is_some_and(|(_, at)| at.elapsed() > LATELY) {
            self.least = None;
        }
        let most = if self.least.is_some() { self.together } else { FEW };
        let mut together = 0;
        let fits = |(_, bytes): &&(T, usize)| {
            together += bytes;
            together <= most
        };
        let count = self.waiting.iter().take_while(fits).count().max(1);
        self.saying = 0;
        let taken = self.waiting.drain(..count).map(|(letter, bytes)| {
            self.saying += bytes;
            letter
        });
        let taken = taken.collect();
        self.bytes -= self.saying;
        self.since.get_or_insert_with(Instant::now);
        Some(taken)
    }

    /// Those that were taken have been said, if they are `heard`, or could not be.
    pub fn said(&mut self, heard: bool) {
        let Some(since) = self.since.filter(|_| heard) else { return };
        self.since = None;
        let took = since.elapsed();
        let least = self.least.filter(|(least, _)| *least < took);
        let (least, _) = *self.least.insert(least.unwrap_or_else(|| (took, Instant::now())));
        let by_weight = took - least;
        let are_many = self.saying > self.together / 2;
        if are_many {
            let pace = took.as_secs_f64() / self.saying as f64;
            // Some that were held up by chance say little.
            self.pace = pace.min(self.pace + (pace - self.pace) / 4.0);
        }
        let most = MANY as u128 * least.max(NEAR).as_nanos() / NEAR.as_nanos();
        let most = usize::try_from(most).unwrap_or(MOST).min(MOST);
        if by_weight > 2 * STILL {
            let fit = self.saying as u128 * STILL.as_nanos() / by_weight.as_nanos();
            self.together = usize::try_from(fit).unwrap_or(MANY).clamp(FEW, MANY);
        } else if by_weight < STILL / 2 && took < 4 * STILL && are_many {
            self.together = (4 * self.saying).max(self.together).min(most);
        }
    }
}

/// Says something; once that takes longer than a moment, what comes is taken in beside it. `taking_in` is dropped wherever it
/// waits when all is said, or ends when nothing comes any more.
pub async fn beside<T>(saying: impl Future<Output = T>, taking_in: impl Future<Output = ()>) -> T {
    let mut saying = pin!(saying);
    if let Ok(said) = timeout(MOMENT, &mut saying).await {
        return said;
    }
    tokio::select! {
        said = &mut saying => said,
        () = taking_in => saying.await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const LETTER: usize = MANY / 4;

    /// One whose letters were taken at once.
    fn grown() -> Letterbox<usize> {
        let mut letterbox = Letterbox::default();
        while letterbox.together < MANY {
            letterbox.put(0, letterbox.together).expect("room");
            letterbox.take();
            letterbox.said(true);
        }
        letterbox
    }

    /// Whether whoever brings more waits for the one that takes.
    async fn waits(letterbox: &Letterbox<usize>) -> bool {
        timeout(STILL / 2, letterbox.opens()).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn while_letters_are_taken_few_wait_and_whoever_brings_more_does() {
        for (bytes, most) in [(LETTER, 4), (1, AHEAD)] {
            let (mut letterbox, mut next) = (grown(), 0);
            for _ in 0..100 {
                while !waits(&letterbox).await {
                    letterbox.put(next, bytes).expect("room");
                    next += 1;
                    if next == 1 {
                        assert_eq!(letterbox.take(), Some(vec![0]));
                    }
                }
                assert_eq!(letterbox.waiting.len(), most);
                letterbox.said(true);
                assert_eq!(letterbox.take().map(|taken| (taken[0], taken.len())), Some((next - most, most)));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn when_none_is_taken_nobody_waits_the_newest_is_refused_and_order_is_kept() {
        let (mut letterbox, most) = (grown(), WAITING / LETTER);
        letterbox.put(0, LETTER).expect("room");
        assert_eq!(letterbox.take(), Some(vec![0]));
        for at in 1..=most {
            letterbox.opens().await;
            letterbox.put(at, LETTER).expect("room");
        }
        assert_eq!(letterbox.since.map(|since| since.elapsed()), Some(STILL), "so long somebody has waited");
        // One may go beyond.
        letterbox.put(most + 1, LETTER).expect("some may be taken yet");
        assert!(waits(&letterbox).await);
        letterbox.opens().await;
        assert_eq!(letterbox.put(most + 2, LETTER), Err(most + 2));
        letterbox.keep(most + 2, 1);
        assert_eq!((letterbox.last_mut().copied(), letterbox.bytes), (Some(most + 2), WAITING + LETTER + 1));
        letterbox.said(false);
        let mut taken = letterbox.take().expect("some");
        (most + 3..most + 6).for_each(|at| letterbox.put(at, LETTER).expect("room"));
        assert!(!waits(&letterbox).await, "it still stands still");
        assert_eq!(letterbox.put(most + 6, LETTER), Err(most + 6));
        letterbox.said(true);
        while let Some(some) = letterbox.take() {
            assert!(some.len() <= 5, "not all at once");
            taken.extend(some);
            letterbox.said(true);
        }
        assert_eq!((taken, letterbox.bytes), ((1..most + 6).collect(), 0));
        assert!(!waits(&letterbox).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_broker_is_given_few_at_once_and_one_that_is_far_away_many() {
        // Bytes a second; what a batch takes beside; bytes of a letter; whether they are fast enough for large batches.
        for (pace, beside, bytes, becomes_many) in [
            (100e3, 1, 5_000, false),
            (250e3, 1, 5_000, false),
            (1e6, 1, 100_000, false),
            (1e6, 20, 400_000, false),
            (1e5, 1, 120_000, false),
            (1e9, 60, 5_000, true),
            (1e8, 1, 5_000, true),
        ] {
            let mut letterbox = Letterbox::default();
            letterbox.keep(0, bytes);
            for batch in 0..200 {
                letterbox.take().expect("some");
                let takes = Duration::from_secs_f64(letterbox.saying as f64 / pace) + Duration::from_millis(beside);
                let one = Duration::from_secs_f64(bytes as f64 / pace);
                assert!(takes < (PATIENCE / 2).max(one + STILL), "{pace}: {takes:?}");
                let said = Instant::now() + takes;
                // Publishers bring as many as they are let.
                while Instant::now() < said {
                    if timeout(said - Instant::now(), letterbox.opens()).await.is_ok() {
                        advance(Duration::from_micros(100)).await;
                        letterbox.put(0, bytes).expect("room");
                        // The first large letter might have stood still.
                        let most = if batch < 150 { WAITING } else { MOST };
                        assert!(letterbox.bytes <= most + bytes, "{pace}: {} bytes wait", letterbox.bytes);
                    }
                }
                letterbox.said(true);
            }
            assert!(!becomes_many || letterbox.together >= MANY / 8, "{pace}: {}", letterbox.together);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_becomes_slow_loses_nothing() {
        let mut letterbox = grown();
        letterbox.keep(0, MANY);
        for _ in 0..100 {
            letterbox.take().expect("some");
            let said = Instant::now() + Duration::from_secs_f64(letterbox.saying as f64 / 200e3);
            while Instant::now() < said {
                if timeout(said - Instant::now(), letterbox.opens()).await.is_ok() {
                    advance(Duration::from_micros(100)).await;
                    letterbox.put(0, 10_000).expect("room");
                }
            }
            letterbox.said(true);
        }
    }

    #[tokio::test]
    async fn one_that_is_larger_than_all_goes_alone() {
        let mut letterbox = Letterbox::default();
        letterbox.put("large", 2 * WAITING).expect("room");
        assert_eq!(letterbox.take(), Some(vec!["large"]));
        letterbox.put("small", 1).expect("room");
        letterbox.said(true);
        assert_eq!(letterbox.take(), Some(vec!["small"]));
        letterbox.said(true);
        assert_eq!(letterbox.take(), None);
    }
}
