//! What all nodes are asked to do, and what they answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::warn;

use super::fetch::said_since;
use super::words::{Answer, Question, Words};
use super::{ALL, Cluster, PATIENCE, of_node};
use crate::Hub;
use crate::address::AppId;
use crate::app::App;
use crate::clock::unix_millis;
use crate::command::{CommandError, Control, Select, SocketInfo};
use crate::delivery::{AckReport, AckRequest};
use crate::hub::names;
use crate::inbox::seated;
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
                    _ => continue,
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
    /// Asks the others, or the one that alone can answer, now; the future waits until all have answered, or for [`PATIENCE`].
    /// Who has not answered is logged, and counted.
    pub(crate) fn ask(self: &Arc<Self>, app: &App, question: Question) -> impl Future<Output = Vec<Answer>> + use<> {
        let asked = self.pose(app, question);
        async move { asked.answers(|_| false).await.0.into_iter().map(|(_, answer)| answer).collect() }
    }

    /// The same, until one of them gives the answer that is looked for; with who that is.
    pub(super) async fn find(
        self: &Arc<Self>,
        app: &App,
        question: Question,
        is_it: impl Fn(&Answer) -> bool,
    ) -> Option<(u16, Answer)> {
        let (answers, _) = self.pose(app, question).answers(&is_it).await;
        answers.into_iter().find(|(_, answer)| is_it(answer))
    }

    fn pose(self: &Arc<Self>, app: &App, question: Question) -> Asked {
        let owner = question.owner(app.recovery.is_some());
        let awaited: BTreeSet<u16> = match owner {
            Some(owner) => self.knows(owner).then_some(owner).into_iter().collect(),
            None => self.members.lock().nodes().into_iter().collect(),
        };
        let patience = if matches!(question, Question::Seek(..) | Question::Since(..)) { SEEKING } else { PATIENCE };
        let (sender, receiver) = mpsc::unbounded_channel();
        let number = self.number();
        if !awaited.is_empty() {
            self.questions.lock().insert(number, sender);
            let topic: Arc<str> = owner.map_or_else(|| ALL.into(), of_node);
            self.tell(topic, Words::Ask(number, app.name.clone(), question));
        }
        Asked { cluster: Arc::clone(self), number, awaited, patience, receiver }
    }
}

/// How long they may take to say that they remember a session, or what was said since a place: its client waits, and the node that
/// had it may have died a moment ago.
const SEEKING: Duration = Duration::from_millis(400);

/// A question whose answers are awaited.
struct Asked {
    cluster: Arc<Cluster>,
    number: u64,
    /// Who has not answered.
    awaited: BTreeSet<u16>,
    patience: Duration,
    receiver: mpsc::UnboundedReceiver<(u16, Answer)>,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.cluster.questions.lock().remove(&self.number);
    }
}

impl Asked {
    /// The answers up to the first one that is `enough`, and who has given none until then.
    async fn answers(mut self, enough: impl Fn(&Answer) -> bool) -> (Vec<(u16, Answer)>, BTreeSet<u16>) {
        let mut answers = Vec::new();
        let gather = async {
            while !self.awaited.is_empty()
                && let Some((node, answer)) = self.receiver.recv().await
            {
                if self.awaited.remove(&node) {
                    let is_enough = enough(&answer);
                    answers.push((node, answer));
                    if is_enough {
                        break;
                    }
                }
            }
        };
        if timeout(self.patience, gather).await.is_err() {
            self.cluster.figures.unanswered.fetch_add(1, Relaxed);
            warn!(event = "nodes_silent", nodes = ?self.awaited, "they have not answered within {:?}; the answer is without them", self.patience);
        }
        (answers, std::mem::take(&mut self.awaited))
    }
}

/// The devices of a user, and what they were sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Devices {
    /// How many are connected.
    pub connected: usize,
    /// How many of those were sent the message, and have not acknowledged it.
    pub handed: usize,
    /// The nodes that did not answer in time, whose devices are not counted.
    pub silent: Vec<u16>,
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
        let neighbours = self.ask_neighbours(app.id, &question);
        let (here, others, theirs) = tokio::join!(self.here(&app, &question), elsewhere, neighbours);
        let mut found = here?;
        found.extend(theirs);
        for answer in others {
            if let Answer::Sockets(sessions) = answer {
                found.extend(sessions.into_iter().map(SocketInfo::from));
            }
        }
        Ok(found)
    }

    /// How many devices of a user are connected, to any node, and how many of those were sent that message.
    pub async fn devices(&self, app: &App, user: &Arc<str>, id: &Arc<str>) -> Devices {
        let elsewhere = async {
            match self.cluster() {
                Some(cluster) => {
                    let question = Question::Devices(Arc::clone(user), Arc::clone(id));
                    cluster.pose(app, question).answers(|_| false).await
                }
                None => Default::default(),
            }
        };
        let ((mut connected, mut handed), (answers, silent)) = tokio::join!(self.own_devices(app, user, id), elsewhere);
        for (_, answer) in answers {
            if let Answer::Devices(some, of_those) = answer {
                connected += some as usize;
                handed += of_those as usize;
            }
        }
        Devices { connected, handed, silent: silent.into_iter().collect() }
    }

    /// The same of those that are connected to this node.
    async fn own_devices(&self, app: &App, user: &Arc<str>, id: &Arc<str>) -> (usize, usize) {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let ask = |_| Control::Devices(app.id, Arc::clone(user), Arc::clone(id), sender.clone());
        self.control_all(app.id, &Select::Everyone, ask);
        drop(sender);
        let (mut connected, mut handed) = (0, 0);
        while let Some((some, of_those)) = receiver.recv().await {
            connected += some;
            handed += of_those;
        }
        (connected, handed)
    }

    /// What another node asked.
    pub(super) async fn answer(&self, app: &str, question: Question) -> Answer {
        let describes = matches!(question, Question::Describe(_));
        let app = match self.find_app(app) {
            Ok(app) => app,
            Err(unknown) => return Answer::Refused(unknown.to_string()),
        };
        match question {
            Question::Seek(name, user) => return self.remembered(&app, name, &user).await,
            Question::Fetch(fetch) => return self.hand_session_over(&app, &fetch),
            Question::Since(channel, since, budget, name) => return said_since(&app, channel, since, budget, name),
            Question::Devices(user, id) => {
                let (connected, handed) = self.own_devices(&app, &user, &id).await;
                let short = |count| u32::try_from(count).unwrap_or(u32::MAX);
                return Answer::Devices(short(connected), short(handed));
            }
            _ => {}
        }
        match self.here(&app, &question).await {
            Ok(found) if describes => Answer::Sockets(found.into_iter().map(Into::into).collect()),
            Ok(_) => Answer::Done,
            Err(refused) => Answer::Refused(refused.to_string()),
        }
    }

    /// Does it on this node; returns when the owners of the sessions have.
    pub(super) async fn here(&self, app: &App, question: &Question) -> Result<Vec<SocketInfo>, CommandError> {
        match question {
            Question::Join(select, channels) => {
                let channels = names(app, channels)?;
                let is_somebody_away = app.recovery.as_ref().is_some_and(|recovery| recovery.ghosts.count() > 0);
                let _listening = match is_somebody_away {
                    true => self.listen(app.id, channels.iter().cloned()).await,
                    false => None,
                };
                let _away = app.order(select, |log| Change::Join(log.all_from_now(&channels)));
                self.control_all(app.id, select, |select| Control::Join(app.id, select, channels.clone()));
                self.settled(app.id, select).await;
                self.reach().await;
            }
            Question::Leave(select, channels) => {
                let channels = names(app, channels)?;
                let _away = app.order(select, |log| Change::Leave(channels.clone(), log.last()));
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
            Question::Seat(_, users, _) => {
                // They have been told.
                self.settled(app.id, &seated(users)).await;
                self.reach().await;
            }
            Question::Seek(..) | Question::Fetch(_) | Question::Since(..) | Question::Devices(..) => {}
        }
        Ok(Vec::new())
    }
}
