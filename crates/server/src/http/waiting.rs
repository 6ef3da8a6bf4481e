//! How long a connection waits for requests: for the first one at most until a given instant, for a later one as long as
//! [`Patience::idle`](crate::settings::Patience) says, and no longer than its `header` from its first byte to the end of
//! its head. While a request is being answered, nothing is waited for.

use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::settings::Patience;
use crate::shard::deadline::{CATCHING_UP, STANDSTILL};

/// A request is there and no answer to it.
const ANSWERING: u8 = 0;
/// The answer is there, and perhaps not written yet.
const ANSWERED: u8 = 1;
const IDLE: u8 = 2;
const HEAD: u8 = 3;

/// How long a client may go on speaking after the last answer.
const CLOSING: Duration = Duration::from_secs(1);

/// What a connection waits for. Its socket notes what happens, its task looks at the clock. (Atomic only because hyper
/// wants what it may give away to be `Send`.)
#[derive(Debug)]
pub(crate) struct Waiting {
    patience: Patience,
    began: Instant,
    stage: AtomicU8,
    /// When waiting ends, in nanoseconds after `began`; of no meaning before.
    until: AtomicU64,
    /// The end of the client who asked last, if it is known by its session: nobody is waited for then.
    gone: Mutex<Option<Pin<Box<WaitForCancellationFutureOwned>>>>,
}

impl Waiting {
    /// The head of the first request must be there `by`.
    pub(crate) fn new(patience: Patience, by: Instant) -> Self {
        let began = Instant::now();
        let until = AtomicU64::new(nanos(by.saturating_duration_since(began)));
        Self { patience, began, stage: AtomicU8::new(HEAD), until, gone: Mutex::default() }
    }

    /// The server reads; once an answer is written, the next request.
    pub(crate) fn listens(&self) {
        if self.stage.load(Ordering::Relaxed) == ANSWERED {
            self.begin(IDLE, self.patience.idle);
        }
    }

    /// Something has been read.
    pub(crate) fn hears(&self) {
        if self.stage.load(Ordering::Relaxed) == IDLE {
            self.begin(HEAD, self.patience.header);
        }
    }

    /// A request's head is there.
    pub(crate) fn answers(&self) {
        self.stage.store(ANSWERING, Ordering::Relaxed);
    }

    /// The answer to it is there.
    pub(crate) fn has_answer(&self) {
        self.stage.store(ANSWERED, Ordering::Relaxed);
    }

    /// The last answer is written; its client may still be speaking.
    pub(crate) fn closes(&self) {
        self.begin(IDLE, CLOSING);
    }

    /// The last answer was to the client of this session, or of none.
    pub(crate) fn serves(&self, gone: Option<CancellationToken>) {
        *self.gone.lock() = gone.map(|gone| Box::pin(gone.cancelled_owned()));
    }

    /// Ready when its client is gone and nothing of a request is there. While it is being answered, its answer is.
    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *self.gone.lock() {
            Some(gone) if self.stage.load(Ordering::Relaxed) == IDLE => gone.as_mut().poll(cx),
            _ => Poll::Pending,
        }
    }

    fn begin(&self, stage: u8, time: Duration) {
        self.stage.store(stage, Ordering::Relaxed);
        self.until.store(nanos(self.began.elapsed() + time), Ordering::Relaxed);
    }

    /// When waiting ends, if it has begun.
    fn until(&self) -> Option<Instant> {
        let waits = matches!(self.stage.load(Ordering::Relaxed), IDLE | HEAD);
        waits.then(|| self.began + Duration::from_nanos(self.until.load(Ordering::Relaxed)))
    }

    /// Ready when it was waited for too long. `timer` is set anew only when it would ring too late, or has rung.
    pub(crate) fn poll_over(&self, mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<()> {
        if self.poll_gone(cx).is_ready() {
            return Poll::Ready(());
        }
        loop {
            let until = self.until();
            if let Some(until) = until.filter(|until| *until < timer.deadline()) {
                timer.as_mut().reset(until);
            }
            ready!(timer.as_mut().poll(cx));
            match until {
                // Stood still: what has come meanwhile is read first.
                Some(until) if until.elapsed() > STANDSTILL => {
                    self.until.store(nanos(self.began.elapsed() + CATCHING_UP), Ordering::Relaxed);
                }
                Some(until) if until <= timer.deadline() => return Poll::Ready(()),
                Some(until) => timer.as_mut().reset(until),
                None => timer.as_mut().reset(Instant::now() + self.patience.idle),
            }
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use super::*;

    const PATIENCE: Patience =
        Patience { header: Duration::from_secs(5), body: Duration::from_secs(30), idle: Duration::from_secs(75) };

    /// Seconds until `waiting` is over.
    async fn check(waiting: &Waiting, expect: u64) {
        let begun = Instant::now();
        let mut timer = pin!(tokio::time::sleep_until(begun + PATIENCE.idle * 10));
        poll_fn(|cx| waiting.poll_over(timer.as_mut(), cx)).await;
        assert_eq!(begun.elapsed().as_secs(), expect);
    }

    #[tokio::test(start_paused = true)]
    async fn each_stage_has_its_time() {
        let waiting = Waiting::new(PATIENCE, Instant::now() + Duration::from_secs(3));
        waiting.listens();
        waiting.hears();
        check(&waiting, 3).await;
        waiting.answers();
        waiting.has_answer();
        waiting.listens();
        check(&waiting, 75).await;
        waiting.hears();
        check(&waiting, 5).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_gone_is_not_waited_for_but_answered() {
        let waiting = Waiting::new(PATIENCE, Instant::now() + PATIENCE.header);
        let gone = CancellationToken::new();
        waiting.answers();
        waiting.serves(Some(gone.clone()));
        gone.cancel();
        let mut timer = pin!(tokio::time::sleep(PATIENCE.idle * 10));
        let over = poll_fn(|cx| waiting.poll_over(timer.as_mut(), cx));
        assert!(tokio::time::timeout(PATIENCE.idle, over).await.is_err());
        waiting.has_answer();
        waiting.listens();
        check(&waiting, 0).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_may_take_as_long_as_it_wants() {
        let waiting = Waiting::new(PATIENCE, Instant::now() + PATIENCE.header);
        waiting.answers();
        // Its body.
        waiting.listens();
        waiting.hears();
        let mut timer = pin!(tokio::time::sleep(PATIENCE.header));
        let over = poll_fn(|cx| waiting.poll_over(timer.as_mut(), cx));
        assert!(tokio::time::timeout(PATIENCE.idle * 10, over).await.is_err());
    }
}
