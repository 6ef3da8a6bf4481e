//! What neighbours are told: taken from the hub's queue as it comes and written, then said in batches. A publication gives its
//! permit back when it is written: who does not hear it holds up nobody here.

use std::sync::atomic::Ordering::Relaxed;

use oyez_hub::cluster::{Letterbox, Question, Told, beside};
use oyez_hub::command::SocketInfo;
use oyez_hub::delivery::AckReport;
use oyez_protocol::adapter::Message;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::{Counts, Place, letters, wording};
use crate::supervise::Repeated;

/// Bytes that a letter takes beside what it says, about.
const FRAMING: usize = 256;

/// A word that is written.
struct Letter {
    /// None: the format has no such word.
    command: Option<Cmd>,
    /// Under which its answers are awaited, if there will be some.
    request: Option<String>,
    /// Dropped when it is said: who asked what has no answer waits for that.
    reply: Option<oneshot::Sender<Vec<SocketInfo>>>,
}

/// Who writes what is to be said on one connection.
struct Carrier<'a> {
    place: &'a Place,
    queue: &'a mut mpsc::UnboundedReceiver<Told>,
    letterbox: Letterbox<Letter>,
    /// Letters on their way.
    saying: usize,
    /// Nothing comes any more.
    ended: bool,
}

impl Carrier<'_> {
    /// Writes what comes next, while there is room; permits return as each is written. Cancel-safe.
    async fn take_in(&mut self) {
        let mut next = self.letterbox.next_of(self.queue).await;
        self.ended = next.is_none();
        let mut taken = 0;
        while let Some(told) = next {
            self.place.write(told, &mut self.letterbox);
            taken += 1;
            next = self.letterbox.more_of(self.queue, taken);
        }
    }

    /// The same until nothing comes any more.
    async fn take_all_in(&mut self) {
        while !self.ended {
            self.take_in().await;
        }
    }
}

impl Drop for Carrier<'_> {
    fn drop(&mut self) {
        while let Some(letters) = self.letterbox.take() {
            self.saying += letters.len();
        }
        self.place.standing.figures.unsaid.fetch_add(self.saying as u64, Relaxed);
    }
}

impl Place {
    /// Says what comes; returns what ended that, or nothing when there is no hub any more.
    pub(super) async fn carry(
        &self,
        mut lane: MultiplexedConnection,
        queue: &mut mpsc::UnboundedReceiver<Told>,
    ) -> Option<RedisError> {
        let (letterbox, mut refused) = (Letterbox::default(), Repeated::default());
        let mut carrier = Carrier { place: self, queue, letterbox, saying: 0, ended: false };
        loop {
            let Some(mut letters) = carrier.letterbox.take() else {
                if carrier.ended {
                    return None;
                }
                carrier.take_in().await;
                continue;
            };
            carrier.saying = letters.len();
            let outcome = beside(self.say_all(&mut lane, &mut letters), carrier.take_all_in()).await;
            carrier.letterbox.said(outcome.is_ok());
            let count = std::mem::take(&mut carrier.saying) as u64;
            let figures = &self.standing.figures;
            let figure = if outcome.is_ok() { &figures.said } else { &figures.unsaid };
            figure.fetch_add(count, Relaxed);
            match outcome {
                // Refused for want of memory, say: the next may go through.
                Err(error) if error.code().is_some() => {
                    let said = error.to_string();
                    if refused.is_news(&said) {
                        let (nsp, help) = (&self.nsp, "where Redis is full, raise `maxmemory`");
                        warn!(event = "neighbours_untold", nsp, said, help, "other Socket.IO servers are not told all");
                    }
                }
                Err(error) => return Some(error),
                Ok(()) => {}
            }
        }
    }

    /// Writes a word, and has its answers awaited.
    fn write(&self, told: Told, letterbox: &mut Letterbox<Letter>) {
        let request = letters::<12>();
        match told {
            Told::Publication(delivery) => {
                let asked = delivery.ack.as_ref().map(|_| request.clone());
                // It may concern nobody there.
                let Some(message) = wording::broadcast(&delivery, asked.clone()) else { return };
                if !self.put(&message, delivery.size(), asked, letterbox) {
                    return self.refuse(Told::Publication(delivery));
                }
                delivery.ack.iter().for_each(|ack| self.awaited.acks(&request, ack.clone()));
            }
            Told::Question(question, reply) => {
                let describes = matches!(question, Question::Describe(_));
                let Some(message) = wording::question(&question, &request) else { return };
                if !self.put(&message, 0, describes.then(|| request.clone()), letterbox) {
                    return self.refuse(Told::Question(question, reply));
                }
                if describes {
                    self.awaited.sockets(&request, reply);
                } else if let Some(letter) = letterbox.last_mut() {
                    letter.reply = Some(reply);
                }
            }
            Told::Last(reply) => {
                letterbox.keep(Letter { command: None, request: None, reply: Some(reply) }, FRAMING);
            }
        }
    }

    /// Puts a word behind the others; false: there is no room for it.
    fn put(&self, message: &Message, size: usize, request: Option<String>, letterbox: &mut Letterbox<Letter>) -> bool {
        let command = self.format.message(&self.uid, message);
        letterbox.put(Letter { command, request, reply: None }, size + FRAMING).is_ok()
    }

    /// Says all of it in one go; where answers are wanted, asks just before how many there will be.
    async fn say_all(&self, lane: &mut MultiplexedConnection, letters: &mut [Letter]) -> Result<(), RedisError> {
        let mut pipeline = Pipeline::new();
        let commands: Vec<Cmd> = letters.iter_mut().filter_map(|letter| letter.command.take()).collect();
        let requests: Vec<&str> = letters.iter().filter_map(|letter| letter.request.as_deref()).collect();
        if !requests.is_empty() {
            pipeline.add_command(self.format.count());
        }
        for command in commands {
            pipeline.add_command(command).ignore();
        }
        if pipeline.is_empty() {
            return Ok(());
        }
        if requests.is_empty() {
            return pipeline.exec_async(lane).await;
        }
        let (counts,): (Counts,) = pipeline.query_async(lane).await?;
        self.awaited.expect(&requests, self.note(&counts));
        Ok(())
    }

    /// Nobody can be told.
    pub(super) fn refuse(&self, told: Told) {
        self.standing.figures.unsaid.fetch_add(1, Relaxed);
        if let Told::Publication(delivery) = told
            && let Some(ack) = &delivery.ack
        {
            let _ = ack.answers.send(AckReport::Reached(0));
        }
    }
}
