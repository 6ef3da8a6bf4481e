//! What neighbours are told: taken from the hub's queue as it comes, said in batches.

use std::sync::atomic::Ordering::Relaxed;

use oyez_hub::admission::PERMITS;
use oyez_hub::cluster::{Question, Told};
use oyez_hub::delivery::AckReport;
use oyez_protocol::adapter::Message;
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisError};
use tokio::sync::mpsc;
use tracing::warn;

use super::{Counts, Place, letters, wording};
use crate::supervise::Repeated;

impl Place {
    /// Says what comes; returns what ended that, or nothing when there is no hub any more.
    pub(super) async fn carry(
        &self,
        mut lane: MultiplexedConnection,
        queue: &mut mpsc::UnboundedReceiver<Told>,
    ) -> Option<RedisError> {
        let (mut batch, mut refused) = (Vec::new(), Repeated::default());
        while queue.recv_many(&mut batch, PERMITS).await > 0 {
            let (mut requests, mut kept, mut words) = (Vec::new(), Vec::new(), Vec::new());
            for told in batch.drain(..) {
                words.extend(self.words(told, &mut requests, &mut kept));
            }
            let outcome = self.say_all(&mut lane, &words, &requests).await;
            let figures = &self.standing.figures;
            let figure = if outcome.is_ok() { &figures.said } else { &figures.unsaid };
            figure.fetch_add(words.len() as u64, Relaxed);
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
            // Permits return, and who asked what has no answer knows that it is said.
            drop(kept);
        }
        None
    }

    /// What is to be said; what must live until then goes to `kept`, what is answered to `requests`.
    fn words(&self, told: Told, requests: &mut Vec<String>, kept: &mut Vec<Told>) -> Option<Message> {
        let request = letters::<12>();
        match told {
            Told::Publication(delivery) => {
                let asked = delivery.ack.is_some().then(|| request.clone());
                if let Some(ack) = &delivery.ack {
                    self.awaited.acks(&request, ack.clone());
                    requests.push(request);
                }
                let message = wording::broadcast(&delivery, asked);
                kept.push(Told::Publication(delivery));
                message
            }
            Told::Question(question, reply) => {
                let message = wording::question(&question, &request)?;
                if let Question::Describe(_) = question {
                    self.awaited.sockets(&request, reply);
                    requests.push(request);
                } else {
                    kept.push(Told::Question(question, reply));
                }
                Some(message)
            }
        }
    }

    /// Says all of it in one go; where answers are wanted, asks just before how many there will be.
    async fn say_all(
        &self,
        lane: &mut MultiplexedConnection,
        words: &[Message],
        requests: &[String],
    ) -> Result<(), RedisError> {
        let mut pipeline = Pipeline::new();
        if !requests.is_empty() {
            pipeline.add_command(self.format.count());
        }
        for message in words {
            if let Some(command) = self.format.message(&self.uid, message) {
                pipeline.add_command(command).ignore();
            }
        }
        if requests.is_empty() {
            return pipeline.exec_async(lane).await;
        }
        let (counts,): (Counts,) = pipeline.query_async(lane).await?;
        self.awaited.expect(requests, self.note(&counts));
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
