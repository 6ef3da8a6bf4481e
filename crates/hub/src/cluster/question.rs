//! What all nodes are asked to do, and what they answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::warn;

use super::words::{Answer, Question, Words};
use super::{ALL, Cluster, PATIENCE, of_node};
use crate::Hub;
use crate::address::AppId;
use crate::app::App;
use crate::clock::unix_millis;
use crate::command::{CommandError, Control, Select, SocketInfo};
use crate::delivery::{AckReport, AckRequest};
use crate::hub::names;
use crate::recovery::Change;

/// Has what nodes report to this number (whom they reached, and what those answered) passed on to whoever waits for the
/// acknowledgements, for as long as they do.
pub(super) fn await_reports(cluster: &Arc<Cluster>, number: u64, ack: &AckRequest) {
    let (sender, mut receiver) = mpsc::unbounded_channel::<(u16, Answer)>();
    cluster.questions.lock().insert(number, sender);
    let (reports, patience, own) = (ack.answers.clone(), ack.timeout, Arc::clone(cluster));
    cluster.background.spawn(async move {
        let pass_on = async {
            while let Some((_, answer)) = receiver.recv().await {
                let report = match answer {
                    Answer::Reached(count) => AckReport::Reached(count as usize),
                    Answer::Acknowledged(words) => AckReport::Answer(words.args().unwrap_or_default()),
                    Answer::Gone => AckReport::Gone,
                    Answer::Done | Answer::Refused(_) | Answer::Sockets(_) => continue,
                };
                if reports.send(report).is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            _ = timeout(patience, pass_on) => {}
            () = reports.closed() => {}
        }
        own.questions.lock().remove(&number);
    });
}

impl Cluster {
    /// Asks the others, or the one that owns a session, and waits until all have answered or been forgotten, or for
    /// [`PATIENCE`]. Who has not answered is logged, and counted.
    async fn ask(&self, app: &App, question: Question) -> Vec<Answer> {
        let mut awaited: BTreeSet<u16> = match question.owner() {
            Some(owner) => self.knows(owner).then_some(owner).into_iter().collect(),
            None => self.members.lock().nodes().into_iter().collect(),
        };
        if awaited.is_empty() {
            return Vec::new();
        }
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let number = self.number();
        self.questions.lock().insert(number, sender);
        let topic: Arc<str> = question.owner().map_or_else(|| ALL.into(), of_node);
        self.tell(topic, Words::Ask(number, app.name.clone(), question));
        let mut answers = Vec::new();
        let gather = async {
            while !awaited.is_empty()
                && let Some((node, answer)) = receiver.recv().await
            {
                if awaited.remove(&node) {
                    answers.push(answer);
                }
            }
        };
        let _ = timeout(PATIENCE, gather).await;
        self.questions.lock().remove(&number);
        if !awaited.is_empty() {
            self.figures.unanswered.fetch_add(1, Relaxed);
            warn!(event = "nodes_silent", nodes = ?awaited, "they have not answered within {PATIENCE:?}; the answer is without them");
        }
        answers
    }
}

impl Hub {
    /// Has every node do something, this one too.
    pub(crate) async fn everywhere(&self, app: AppId, question: Question) -> Result<Vec<SocketInfo>, CommandError> {
        let app = self.app(app);
        let elsewhere = async {
            match self.cluster() {
                Some(cluster) => cluster.ask(&app, question.clone()).await,
                None => Vec::new(),
            }
        };
        let (here, others) = tokio::join!(self.here(&app, &question), elsewhere);
        let mut found = here?;
        for answer in others {
            if let Answer::Sockets(sessions) = answer {
                found.extend(sessions.into_iter().map(SocketInfo::from));
            }
        }
        Ok(found)
    }

    /// What another node asked.
    pub(super) async fn answer(&self, app: &str, question: Question) -> Answer {
        let describes = matches!(question, Question::Describe(_));
        let done = match self.find_app(app) {
            Ok(app) => self.here(&app, &question).await,
            Err(unknown) => Err(unknown),
        };
        match done {
            Ok(found) if describes => Answer::Sockets(found.into_iter().map(Into::into).collect()),
            Ok(_) => Answer::Done,
            Err(refused) => Answer::Refused(refused.to_string()),
        }
    }

    /// Does it on this node; returns when the owners of the sessions have.
    async fn here(&self, app: &App, question: &Question) -> Result<Vec<SocketInfo>, CommandError> {
        match question {
            Question::Join(select, channels) => {
                let channels = names(app, channels)?;
                let _away = app.order(select, |log| Change::Join(log.all_from_now(&channels)));
                self.control_all(app.id, select, |select| Control::Join(app.id, select, channels.clone()));
                self.settled(app.id, select).await;
                self.reach().await;
            }
            Question::Leave(select, channels) => {
                let channels = names(app, channels)?;
                let _away = app.order(select, |_| Change::Leave(channels.clone()));
                self.control_all(app.id, select, |select| Control::Leave(app.id, select, channels.clone()));
                self.settled(app.id, select).await;
            }
            Question::Disconnect(select, how) => {
                let _away = app.order(select, |_| Change::Forget);
                self.control_all(app.id, select, |select| Control::Disconnect(app.id, select, *how));
                self.settled(app.id, select).await;
            }
            Question::Describe(select) => return Ok(self.describe(app.id, select).await),
            Question::Revoke(revoked) => {
                let credentials = app.credentials.as_ref();
                let known = credentials.ok_or_else(|| CommandError::NoCredentials(app.name.clone()))?;
                for (what, until) in revoked {
                    known.revocations.revoke(what.clone(), *until, unix_millis() / 1_000)?;
                }
                self.control_all(app.id, &Select::Everyone, |_| Control::Recheck(app.id));
            }
        }
        Ok(Vec::new())
    }
}
