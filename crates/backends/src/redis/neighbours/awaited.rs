//! Answers of neighbours that somebody waits for.

use std::collections::HashMap;

use oyez_hub::cluster::PATIENCE;
use oyez_hub::command::SocketInfo;
use oyez_hub::delivery::{AckReport, AckRequest};
use oyez_protocol::adapter::Response;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::wording;

/// All that is waited for, by the ids of requests.
#[derive(Debug, Default)]
pub(super) struct Awaited(Mutex<HashMap<String, Awaiting>>);

/// A request that some servers have not answered in time.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Silence {
    /// How many have.
    pub(super) answered: usize,
    /// Of how many, once that was known.
    pub(super) expected: Option<usize>,
    /// Who has, as far as they say who they are.
    pub(super) known: Vec<String>,
}

/// The answers to one request.
#[derive(Debug)]
struct Awaiting {
    /// How many servers will answer, once that is known.
    expected: Option<usize>,
    answered: usize,
    /// Those of them who said who they are.
    known: Vec<String>,
    /// Who has not answered by then is not waited for.
    until: Instant,
    what: What,
}

#[derive(Debug)]
enum What {
    /// Each server says how many clients it reached, which is reported once for all; then come their acknowledgements.
    Acks {
        reached: usize,
        reported: bool,
        ack: AckRequest,
        over: Instant,
    },
    Sockets {
        found: Vec<SocketInfo>,
        reply: Option<oneshot::Sender<Vec<SocketInfo>>>,
    },
}

impl Awaiting {
    fn new(what: What) -> Self {
        Self { expected: None, answered: 0, known: Vec::new(), until: Instant::now() + PATIENCE, what }
    }

    /// Gives what there is to whoever waits for it.
    fn settle(&mut self) {
        match &mut self.what {
            What::Acks { reported: true, .. } => {}
            What::Acks { reached, reported, ack, .. } => {
                *reported = true;
                let _ = ack.answers.send(AckReport::Reached(*reached));
            }
            What::Sockets { found, reply } => {
                let _ = reply.take().map(|reply| reply.send(std::mem::take(found)));
            }
        }
    }

    fn settle_when_complete(&mut self) {
        if self.expected.is_some_and(|expected| self.answered >= expected) {
            self.settle();
        }
    }

    fn is_settled(&self) -> bool {
        match &self.what {
            What::Acks { reported, .. } => *reported,
            What::Sockets { reply, .. } => reply.is_none(),
        }
    }

    /// Nothing more is wanted.
    fn is_over(&self, now: Instant) -> bool {
        match &self.what {
            What::Acks { reported, ack, over, .. } => ack.answers.is_closed() || *reported && now >= *over,
            What::Sockets { reply, .. } => reply.is_none(),
        }
    }
}

impl Awaited {
    /// Waits for acknowledgements of a broadcast.
    pub(super) fn acks(&self, request: &str, ack: AckRequest) {
        let over = Instant::now() + ack.timeout;
        let what = What::Acks { reached: 0, reported: false, ack, over };
        self.0.lock().insert(request.to_owned(), Awaiting::new(what));
    }

    /// Waits for sockets.
    pub(super) fn sockets(&self, request: &str, reply: oneshot::Sender<Vec<SocketInfo>>) {
        let what = What::Sockets { found: Vec::new(), reply: Some(reply) };
        self.0.lock().insert(request.to_owned(), Awaiting::new(what));
    }

    /// So many servers will answer these.
    pub(super) fn expect(&self, requests: &[&str], servers: usize) {
        let mut all = self.0.lock();
        for request in requests {
            if let Some(one) = all.get_mut(*request) {
                one.expected = Some(servers);
                one.settle_when_complete();
            }
        }
    }

    /// An answer, and whose it is, if it says so; those to questions of others are passed over.
    pub(super) fn hear(&self, uid: Option<String>, response: Response) {
        let mut all = self.0.lock();
        let Some(one) = all.get_mut(response.request()) else { return };
        if !one.is_settled() {
            one.known.extend(uid);
        }
        match (&mut one.what, response) {
            (What::Acks { reached, .. }, Response::ClientCount { count, .. }) => {
                *reached = reached.saturating_add(usize::try_from(count).unwrap_or(usize::MAX));
                one.answered += 1;
            }
            (What::Acks { ack, .. }, Response::Ack { answer, .. }) => {
                let _ = ack.answers.send(AckReport::Answer(answer));
            }
            (What::Sockets { found, .. }, Response::Sockets { sockets, .. }) => {
                found.extend(sockets.into_iter().map(wording::info));
                one.answered += 1;
            }
            _ => {}
        }
        one.settle_when_complete();
    }

    /// Settles what has waited long enough, or all, with what there is; returns what was incomplete.
    pub(super) fn sweep(&self, all_of_them: bool) -> Vec<Silence> {
        let (now, mut silent) = (Instant::now(), Vec::new());
        self.0.lock().retain(|_, one| {
            if !one.is_settled() && (all_of_them || now >= one.until) {
                let known = std::mem::take(&mut one.known);
                silent.push(Silence { answered: one.answered, expected: one.expected, known });
                one.settle();
            }
            !all_of_them && !one.is_over(now)
        });
        silent
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use oyez_protocol::message::Args;
    use tokio::sync::mpsc;

    use super::*;

    fn count(count: u64) -> Response {
        Response::ClientCount { request: "r".to_owned(), count }
    }

    #[tokio::test(start_paused = true)]
    async fn counts_are_reported_once_and_answers_as_they_come() {
        let (awaited, (answers, mut reports)) = (Awaited::default(), mpsc::unbounded_channel());
        awaited.acks("r", AckRequest { answers, timeout: Duration::from_secs(10) });
        awaited.hear(None, count(2));
        awaited.hear(None, Response::Ack { request: "r".to_owned(), answer: Args::from("early") });
        assert!(matches!(reports.try_recv(), Ok(AckReport::Answer(_))));
        awaited.expect(&["r"], 2);
        assert!(reports.try_recv().is_err(), "one server has not said how many");
        awaited.hear(None, count(3));
        assert!(matches!(reports.try_recv(), Ok(AckReport::Reached(5))));
        awaited.hear(None, count(3));
        assert!(reports.try_recv().is_err(), "once");
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(awaited.sweep(false), []);
        awaited.hear(None, Response::Ack { request: "r".to_owned(), answer: Args::from("late") });
        assert!(reports.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_is_not_waited_for() {
        let (awaited, (reply, answer)) = (Awaited::default(), oneshot::channel());
        awaited.sockets("r", reply);
        awaited.expect(&["r"], 2);
        awaited.hear(
            Some("a".to_owned()),
            Response::Sockets { request: "r".to_owned(), sockets: vec![Default::default()] },
        );
        assert_eq!(awaited.sweep(false), []);
        tokio::time::advance(PATIENCE).await;
        assert_eq!(awaited.sweep(false), [Silence { answered: 1, expected: Some(2), known: vec!["a".to_owned()] }]);
        assert_eq!(answer.await.expect("an answer").len(), 1);
    }

    #[tokio::test]
    async fn nobody_expected_is_an_answer_at_once_and_so_is_a_lost_connection() {
        let (awaited, (answers, mut reports)) = (Awaited::default(), mpsc::unbounded_channel());
        awaited.acks("a", AckRequest { answers: answers.clone(), timeout: Duration::from_secs(10) });
        awaited.expect(&["a"], 0);
        assert!(matches!(reports.try_recv(), Ok(AckReport::Reached(0))));
        awaited.acks("b", AckRequest { answers, timeout: Duration::from_secs(10) });
        assert_eq!(awaited.sweep(true), [Silence { answered: 0, expected: None, known: vec![] }]);
        assert!(matches!(reports.try_recv(), Ok(AckReport::Reached(0))));
    }
}
