//! A publication on its way in: whom it is for, what it promises, who remembers it, its place in the order.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::enter::Whence;
use super::{Hub, names};
use crate::address::{Address, AppId};
use crate::app::App;
use crate::clock::unix_millis;
use crate::command::{Acked, CommandError, Level, Promise, Publish, Published, is_event_name};
use crate::delivery::{AckReport, AckRequest, Audience, Heard, Priority, Publication, Target, WhenSlow};
use crate::dialect::{Message, Push};
use crate::promise::{Class, EventRule};
use crate::recovery::{DIRECT, History, Recovery, direct};

/// The longest wait for acknowledgements.
pub(crate) const ACK_WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What the rules say of a publication's event, in each of the channels to which it goes.
pub(crate) type Rules<'a> = SmallVec<[Option<&'a EventRule>; 2]>;

/// A publication that is about to be told to those who are connected.
pub(crate) struct Saying<'a> {
    /// What its publisher asked for.
    pub publish: &'a Publish,
    /// Its id.
    pub id: Arc<str>,
    /// The id was made here, so that nobody can have used it.
    pub fresh: bool,
    /// In the app's words, and as a frame for raw WebSockets.
    pub written: (Message, Option<String>),
    /// Whom it is for.
    pub to: Target,
    /// What the rules say of its event there.
    pub rules: Rules<'a>,
    /// Who does not hear it.
    pub except: SmallVec<[Arc<str>; 1]>,
    /// When it was asked for.
    pub asked: Instant,
}

/// What is known of a publication before anything is done.
pub(crate) struct Examined<'a> {
    to: Target,
    rules: Rules<'a>,
    except: SmallVec<[Arc<str>; 1]>,
    /// What its publisher, or a rule, says its id is.
    pub id: Option<String>,
    /// Those of its channels in which it is durable.
    pub durable: Vec<usize>,
}

impl Hub {
    pub(crate) async fn publish_with_ack(
        &self,
        app: AppId,
        publish: Publish,
        wait: Duration,
    ) -> Result<Acked, CommandError> {
        // Whatever its author asks for, an answer is not waited for longer than a clock can count.
        let wait = wait.min(ACK_WAIT_MAX);
        let (sender, receiver) = mpsc::unbounded_channel();
        let request = AckRequest { answers: sender, timeout: wait };
        let (published, shards) = self.publish(app, publish, Some(request)).await?;
        Ok(collect(published.id, shards, receiver, wait).await)
    }

    /// Publishes to channels, and to sessions by their ids. Those that are named beside others are told apart from them,
    /// so that one that is in a channel, too, hears it once.
    pub(crate) async fn publish(
        &self,
        app: AppId,
        mut publish: Publish,
        ack: Option<AckRequest>,
    ) -> Result<(Published, usize), CommandError> {
        if publish.to.len() < 2 || !publish.to.iter().any(|name| self.session_named(name).is_some()) {
            return self.publish_alike(app, publish, ack).await;
        }
        let id = publish.id.get_or_insert_with(|| Uuid::now_v7().to_string()).clone();
        let (sessions, channels): (Vec<_>, Vec<_>) =
            std::mem::take(&mut publish.to).into_iter().partition(|name| self.session_named(name).is_some());
        let mut published = Published::new(id.into(), Level::Accepted);
        let mut shards = 0;
        if !channels.is_empty() {
            let except = publish.except.iter().chain(&sessions).cloned().collect();
            let publish = Publish { to: channels, except, ..publish.clone() };
            (published, shards) = Box::pin(self.publish_alike(app, publish, ack.clone())).await?;
        }
        for session in sessions.into_iter().collect::<BTreeSet<_>>() {
            let publish = Publish { to: vec![session], promise: Promise::default(), ..publish.clone() };
            shards += Box::pin(self.publish_alike(app, publish, ack.clone())).await?.1;
        }
        Ok((published, shards))
    }

    /// The session that has this id, of this node or of another one that is there, or was: its sessions may live elsewhere.
    fn session_named(&self, name: &str) -> Option<Address> {
        name.parse::<Address>().ok().filter(|address| self.pids().has_met(address.node))
    }

    /// Stores a publication where that is promised, fixes its order and hands it to the shards; returns how many.
    async fn publish_alike(
        &self,
        app: AppId,
        publish: Publish,
        ack: Option<AckRequest>,
    ) -> Result<(Published, usize), CommandError> {
        let asked = Instant::now();
        let app = self.app(app);
        let Examined { to, rules, except, id: given, durable } = self.examine(&app, &publish, ack.is_some())?;
        let fresh = given.is_none();
        let id: Arc<str> = given.map_or_else(|| Uuid::now_v7().to_string().into(), Arc::from);
        let written = written(&app, &publish, &id);
        let saying = Saying { publish: &publish, id, fresh, written, to, rules, except, asked };
        if !durable.is_empty() {
            return Box::pin(self.publish_durable(&app, saying, durable)).await;
        }
        let id = Arc::clone(&saying.id);
        let shards = self.say(&app, saying, ack).await?;
        Ok((Published::new(id, Level::Accepted), shards))
    }

    /// Refuses what could never be published as it is; changes nothing. `asks`: the members are to answer.
    pub(crate) fn examine<'a>(
        &self,
        app: &'a App,
        publish: &Publish,
        asks: bool,
    ) -> Result<Examined<'a>, CommandError> {
        if !is_event_name(&publish.event) {
            return Err(CommandError::BadEvent(publish.event.clone()));
        }
        let to = self.target(app, publish)?;
        let skipped = publish.skip.map(|session| Arc::from(session.encode()));
        let except = names(app, &publish.except)?.into_iter().chain(skipped).collect();
        let rules = rules(app, publish, &to);
        let durable = self.durable(app, publish, &to, &rules, asks)?;
        let id = id_of(publish, &rules);
        Ok(Examined { to, rules, except, id, durable })
    }

    /// Tells those who are connected; returns how many shards.
    pub(crate) async fn say(
        &self,
        app: &App,
        saying: Saying<'_>,
        ack: Option<AckRequest>,
    ) -> Result<usize, CommandError> {
        let asked = saying.asked;
        let (publication, remembered) = composed(app, saying);
        self.admit(app, publication, ack, asked, remembered).await
    }

    /// Tells those who are connected to this node, and nobody else; nothing remembers it.
    pub(crate) async fn say_to_ours(&self, app: &App, saying: Saying<'_>) -> Result<usize, CommandError> {
        let asked = saying.asked;
        let (publication, _) = composed(app, saying);
        self.enter(app, publication, None, asked, None, Whence::EachNode).await
    }

    /// Whether nobody would hear it, and no channel remember it.
    pub(crate) fn is_unheard(&self, app: &App, saying: &Saying<'_>) -> bool {
        let Target::Channels(heard) = &saying.to else { return false };
        self.has_no_others()
            && heard.iter().all(|heard| self.channels().members(app.id, &heard.channel) == 0)
            && remembered(app, saying.publish, &saying.to, &saying.rules).is_none()
    }

    /// Where a publication goes: a single session id is that session, everything else channels, each with its echoes
    /// and with its own word on who may hear it.
    fn target(&self, app: &App, publish: &Publish) -> Result<Target, CommandError> {
        if let [one] = &publish.to[..]
            && let Some(address) = self.session_named(one)
        {
            return Ok(Target::Socket(address));
        }
        if publish.to.is_empty() {
            return Err(CommandError::NoTarget);
        }
        Ok(self.heard(app, publish, names(app, &publish.to)?))
    }

    /// These channels with their echoes, each with its word on who may hear it.
    pub(crate) fn heard(&self, app: &App, publish: &Publish, mut channels: Vec<Arc<str>>) -> Target {
        for index in 0..channels.len() {
            for echo in app.policy.echo(&channels[index]) {
                if !channels.contains(echo) {
                    channels.push(Arc::clone(echo));
                }
            }
        }
        let data = publish.args.first().map_or("null", |first| first.get());
        let heard = |channel: Arc<str>| Heard { audience: audience(app, publish, &channel, data), channel };
        Target::Channels(channels.into_iter().map(heard).collect())
    }

    /// In which of its channels a publication is durable: those that its publisher names, or a rule, which may mean
    /// echoes, too.
    fn durable(
        &self,
        app: &App,
        publish: &Publish,
        to: &Target,
        rules: &[Option<&EventRule>],
        asks: bool,
    ) -> Result<Vec<usize>, CommandError> {
        let promise = &publish.promise;
        let heard = match to {
            Target::Channels(heard) => &heard[..],
            Target::Socket(_) => &[],
        };
        let named = &heard[..publish.to.len().min(heard.len())];
        let ruled = |at: &usize| class(rules[*at]) == Some(Class::Durable);
        let durable: Vec<usize> = match promise.class {
            Some(Class::Durable) => (0..heard.len()).filter(|at| *at < named.len() || ruled(at)).collect(),
            None => (0..heard.len()).filter(ruled).collect(),
            Some(Class::Live | Class::Recoverable) => Vec::new(),
        };
        if promise.class == Some(Class::Recoverable) {
            let forgets = |heard: &&Heard| app.recovery.is_none() || app.policy.history(&heard.channel).is_none();
            if let Some(heard) = named.iter().find(forgets) {
                return Err(CommandError::NotRecoverable(heard.channel.to_string()));
            }
        }
        promised(publish, durable.is_empty(), asks, named.is_empty())?;
        if !durable.is_empty() && app.inbox.is_none() {
            return Err(CommandError::NoInbox(app.name.clone()));
        }
        Ok(durable)
    }
}

/// The publication, and who remembers it.
pub(crate) fn composed<'a>(app: &'a App, saying: Saying<'_>) -> (Publication, Option<(&'a Recovery, Histories)>) {
    let Saying { publish, id, written: (message, native), to, rules, except, .. } = saying;
    let when_slow = when_slow(app, publish);
    let rule = publish.to.first().and_then(|channel| app.policy.pattern(channel)).cloned();
    let remembered = remembered(app, publish, &to, &rules);
    let publication = Publication {
        app: app.id,
        id,
        to,
        except,
        event: message.event.into(),
        args: message.args,
        native,
        priority: priority(publish, &rules),
        volatile: publish.volatile,
        when_slow: if remembered.is_some() { kept(when_slow) } else { when_slow },
        rule,
        compress: publish.compress,
        stored: None,
        recorded: None,
    };
    (publication, remembered)
}

/// Refuses what does not go together.
fn promised(publish: &Publish, nothing_durable: bool, asks: bool, to_session: bool) -> Result<(), CommandError> {
    let Promise { class, level, ttl, deliver_at, receipt } = &publish.promise;
    let wants_store = ttl.is_some()
        || deliver_at.is_some()
        || receipt.is_some()
        || level.is_some_and(|level| level > Level::Accepted);
    let fault = match class {
        Some(Class::Durable) if to_session => {
            "a durable publication is for users, not for one session: name the user's channel"
        }
        Some(Class::Durable | Class::Recoverable) if asks => {
            "`ack` waits for those who are connected: leave it out, and ask for `receipts` of a durable publication"
        }
        None if asks && !nothing_durable => {
            "`ack` waits for those who are connected, and the event's rule is durable: leave it out and ask for `receipts`, or add \"delivery\": \"live\""
        }
        Some(Class::Recoverable) if publish.volatile => "`volatile` and `recoverable` contradict each other",
        _ if nothing_durable && wants_store => {
            "`level`, `ttl`, `deliver_at` and `receipts` are for durable publications: add \"delivery\": \"durable\""
        }
        _ if !nothing_durable && publish.volatile => "`volatile` and `durable` contradict each other",
        _ if !nothing_durable && !publish.except.is_empty() => {
            "`except` is for those who are connected: leave it out of a durable publication, and sessions named beside channels; what is durable is for all devices of its users"
        }
        _ if !nothing_durable && publish.audience.is_some() => {
            "`audience` is for those who are connected: name the users of a durable publication, or give the channel's rule an `audience`"
        }
        _ => return Ok(()),
    };
    Err(CommandError::BadPromise(fault))
}

pub(crate) fn rules<'a>(app: &'a App, publish: &Publish, to: &Target) -> Rules<'a> {
    match to {
        Target::Channels(heard) => heard.iter().map(|heard| app.event(&publish.event, &heard.channel)).collect(),
        Target::Socket(_) => publish.to.iter().map(|name| app.event(&publish.event, name)).collect(),
    }
}

fn class(rule: Option<&EventRule>) -> Option<Class> {
    rule.and_then(|rule| rule.class)
}

/// What its publisher says its id is, or else the rule of its event in its first channel.
fn id_of(publish: &Publish, rules: &[Option<&EventRule>]) -> Option<String> {
    let data = || publish.args.first().map_or("null", |first| first.get());
    let ruled = || (*rules.first()?)?.id_of(&publish.event, data());
    publish.id.clone().or_else(ruled)
}

/// What it overtakes: what its publisher says, or else the rule of its event in its first channel.
pub(crate) fn priority(publish: &Publish, rules: &[Option<&EventRule>]) -> Priority {
    let ruled = || (*rules.first()?)?.priority;
    publish.priority.or_else(ruled).unwrap_or_default()
}

/// What its first channel wants for clients that read too slowly.
fn when_slow(app: &App, publish: &Publish) -> WhenSlow {
    let data = || publish.args.first().map_or("null", |first| first.get());
    publish.to.first().map_or_else(WhenSlow::default, |channel| app.policy.when_slow(&publish.event, channel, data))
}

/// Channels that remember a publication, with how much each keeps.
pub(crate) type Histories = SmallVec<[(Arc<str>, History); 2]>;

/// The channels that remember a publication, with how much they keep, and where. What may be missed is remembered
/// nowhere, nor what is promised to those only who are connected.
fn remembered<'a>(
    app: &'a App,
    publish: &Publish,
    to: &Target,
    rules: &[Option<&EventRule>],
) -> Option<(&'a Recovery, Histories)> {
    let recovery = app.recovery.as_deref().filter(|_| !publish.volatile)?;
    let is_live = |rule: Option<&EventRule>| publish.promise.class.or(class(rule)) == Some(Class::Live);
    let keeps = |(at, heard): (usize, &Heard)| {
        let is_kept = !is_live(rules.get(at).copied().flatten());
        let history = app.policy.history(&heard.channel).filter(|_| is_kept)?;
        Some((Arc::clone(&heard.channel), history))
    };
    let channels: Histories = match to {
        Target::Socket(name) => [(direct(*name), DIRECT)].into_iter().collect(),
        Target::Channels(heard) => heard.iter().enumerate().filter_map(keeps).collect(),
    };
    (!channels.is_empty()).then_some((recovery, channels))
}

/// What is remembered is not silently dropped for a slow client: it is disconnected, and gets all when it comes back.
fn kept(when_slow: WhenSlow) -> WhenSlow {
    match when_slow {
        WhenSlow::DropOldest | WhenSlow::Disconnect => WhenSlow::Disconnect,
        WhenSlow::Conflate(key) | WhenSlow::ConflateOrDisconnect(key) => WhenSlow::ConflateOrDisconnect(key),
    }
}

/// Who may hear a publication in one channel: both the app's rule and the publisher's wish must admit them.
fn audience(app: &App, publish: &Publish, channel: &str, data: &str) -> Option<Audience> {
    let ruled = app.policy.audience(&publish.event, channel, data);
    let wanted: Vec<_> = publish.audience.iter().flat_map(|wished| wished.iter().cloned()).chain(ruled).collect();
    (!wanted.is_empty()).then(|| Audience::new(&app.policy, wanted))
}

/// The publication in the app's words, and as a frame for raw WebSockets where the app has them.
pub(crate) fn written(app: &App, publish: &Publish, id: &str) -> (Message, Option<String>) {
    let plain = || Message { event: publish.event.clone(), args: publish.args.clone(), whole: publish.whole };
    let Some(dialect) = &app.dialect else { return (plain(), None) };
    let now = unix_millis();
    let message = if publish.shape {
        dialect.shape(&Push { event: &publish.event, args: &publish.args, id, now })
    } else {
        plain()
    };
    let native = app.native.then(|| dialect.native(&message, id, now));
    (message, native)
}

/// Waits until every shard has reported and every reached session has answered, or until the time is over.
async fn collect(
    id: Arc<str>,
    mut shards: usize,
    mut reports: mpsc::UnboundedReceiver<AckReport>,
    wait: Duration,
) -> Acked {
    let (mut reached, mut gone, mut answers) = (0, 0, Vec::new());
    let gather = async {
        while shards > 0 || answers.len() + gone < reached {
            match reports.recv().await {
                Some(AckReport::Reached(count)) => {
                    shards -= 1;
                    reached += count;
                }
                Some(AckReport::Answer(args)) => answers.push(args),
                Some(AckReport::Gone) => gone += 1,
                None => break,
            }
        }
    };
    // Partial answers are the answer when the time is over.
    let _ = tokio::time::timeout(wait, gather).await;
    Acked { id, reached, answers }
}
