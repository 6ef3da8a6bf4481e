//! A durable publication: for whom it is kept, and who else hears it.

use std::sync::Arc;
use std::time::Duration;

use super::intake::heard_in;
use crate::Hub;
use crate::app::App;
use crate::channel::EVERYONE;
use crate::clock::{Span, span};
use crate::cluster::Question;
use crate::command::{CommandError, Level, Publish, Published, Select, USERS_PER_MESSAGE};
use crate::delivery::Target as Heard;
use crate::hub::{Saying, priority};
use crate::policy::grants::Audience as Wanted;
use crate::promise::{EventRule, InboxRules, Keeper};
use crate::store::{Audience, Message, Outcome, Put, Target};

impl Hub {
    /// Has a publication stored for those to whom it is durable in these channels, and tells it to the others. Returns
    /// when it is as certain as was asked, before it is delivered.
    pub(crate) async fn publish_durable(
        &self,
        app: &App,
        mut saying: Saying<'_>,
        durable: Vec<usize>,
    ) -> Result<(Published, usize), CommandError> {
        let inboxes = self.inboxes_of(app)?;
        let rules = app.inbox.as_deref().ok_or_else(|| CommandError::NoInbox(app.name.clone()))?;
        let Heard::Channels(heard) = &saying.to else { return Err(CommandError::NoTarget) };
        let channels: Vec<_> = durable.iter().map(|at| Arc::clone(&heard[*at].channel)).collect();
        let (to, audience) = self.keepers(app, saying.publish, &channels).await?;
        let mut published = Published::new(Arc::clone(&saying.id), Level::Accepted);
        let mut places = Vec::new();
        if !to.is_empty() {
            let ruled = durable.iter().map(|at| saying.rules[*at]);
            let ttl = saying.publish.promise.ttl.or_else(|| longest(ruled, rules.ttl));
            let put = put(app, rules, &saying, ttl, to, audience);
            let stored = inboxes.take_in(put, saying.publish.compress, saying.asked).await?;
            (published.level, published.full) = (stored.level, stored.refused);
            if stored.outcome != Outcome::Stored {
                published.duplicate = stored.outcome == Outcome::Duplicate;
                return Ok((published, 0));
            }
            places = stored.places;
        }
        if !places.is_empty() && self.is_unheard(app, &saying) {
            return Ok((published, 0));
        }
        saying.except.extend(places.iter().map(|(target, _)| heard_in(target)));
        match self.say(app, saying, None).await {
            // It is stored: that those who are connected hear nothing now does not change it.
            Err(CommandError::ShuttingDown) if !places.is_empty() => Ok((published, 0)),
            said => Ok((published, said?)),
        }
    }

    /// In whose inboxes, and in which logs, what is durable in these channels lies, and who may have it there.
    async fn keepers(
        &self,
        app: &App,
        publish: &Publish,
        channels: &[Arc<str>],
    ) -> Result<(Vec<Target>, Audience), CommandError> {
        let (mut audience, mut unkept, mut elsewhere) = (Audience::default(), Vec::new(), Vec::new());
        for channel in channels {
            let admitted = admitted(app, publish, channel);
            match app.policy.keeper(channel) {
                Some(Keeper::User(user)) => audience.at.push((Target::User(user), admitted)),
                Some(Keeper::Roster) => audience.at.push((Target::Channel(Arc::clone(channel)), admitted)),
                None => {
                    unkept.push(Arc::clone(channel));
                    elsewhere.push(admitted);
                }
            }
        }
        let mut to: Vec<Target> = audience.at.iter().map(|(target, _)| target.clone()).collect();
        if elsewhere.iter().any(|admitted| *admitted != elsewhere[0]) {
            let fault = "these channels have different audiences: publish to each of them by itself";
            return Err(CommandError::BadPromise(fault));
        }
        audience.elsewhere = elsewhere.pop().flatten();
        if audience.elsewhere.is_none() {
            audience.at.retain(|(_, admitted)| admitted.is_some());
        }
        to.extend(self.present(app, unkept).await);
        to.sort_unstable();
        to.dedup();
        if to.len() > USERS_PER_MESSAGE { Err(CommandError::TooManyUsers(to.len())) } else { Ok((to, audience)) }
    }

    /// The users who hear one of these channels now.
    async fn present(&self, app: &App, channels: Vec<Arc<str>>) -> impl Iterator<Item = Target> + use<> {
        let select = if channels.iter().any(|channel| **channel == *EVERYONE) {
            Select::Everyone
        } else {
            Select::Channels { to: channels.clone(), except: Vec::new() }
        };
        let present = if channels.is_empty() {
            Vec::new()
        } else {
            self.everywhere(app.id, Question::Describe(select)).await.unwrap_or_default()
        };
        present.into_iter().filter(|one| !one.user.is_empty()).map(|one| Target::User(one.user))
    }
}

/// What is put into the store.
fn put(
    app: &App,
    rules: &InboxRules,
    saying: &Saying<'_>,
    ttl: Option<Duration>,
    to: Vec<Target>,
    audience: Audience,
) -> Put {
    let Saying { publish, id, written: (words, _), rules: ruled, .. } = saying;
    let promise = &publish.promise;
    // What is published while the clock is doubted lives too long rather than too short.
    let Span { earliest: now, latest } = span();
    let from = promise.deliver_at.map_or(latest, |at| at.max(latest));
    let expires_at = ttl.map(|ttl| from.saturating_add(millis(ttl)));
    Put {
        app: app.name.as_str().into(),
        message: Message {
            id: Arc::clone(id),
            event: words.event.as_str().into(),
            args: words.args.clone(),
            priority: priority(publish, ruled),
            created: now,
            expires_at,
            whole: words.whole,
            audience,
            receipt: promise.receipt.clone(),
        },
        fresh: saying.fresh,
        to,
        deliver_at: promise.deliver_at,
        bound: rules.bound,
        level: promise.level.unwrap_or(rules.level).max(Level::Stored),
    }
}

/// How long something is kept that these rules are about: as long as any of them says, or as the inboxes' own says where
/// one says nothing; `None`: for ever.
fn longest<'a>(rules: impl IntoIterator<Item = Option<&'a EventRule>>, own: Option<Duration>) -> Option<Duration> {
    let times: Option<Vec<Duration>> = rules.into_iter().map(|rule| rule.and_then(|rule| rule.ttl).or(own)).collect();
    times?.into_iter().max()
}

/// The channel to which one must be able to subscribe who hears a publication in `channel`, where its rule wants that.
fn admitted(app: &App, publish: &Publish, channel: &str) -> Option<Arc<str>> {
    let data = publish.args.first().map_or("null", |first| first.get());
    match app.policy.audience(&publish.event, channel, data)? {
        Wanted::MayHear(channel) => Some(channel.into()),
        // Rules know no others.
        Wanted::Having(_) | Wanted::When(_) => None,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_several_channels_is_kept_as_long_as_any_of_them_wants() {
        #[track_caller]
        fn check(rules: &[Option<Option<u64>>], own: Option<u64>, expect: Option<u64>) {
            let rule = |ttl: &Option<u64>| {
                let ttl = ttl.map(Duration::from_secs);
                EventRule { name: "news".into(), to: None, class: None, priority: None, ttl, id: None }
            };
            let rules: Vec<Option<EventRule>> = rules.iter().map(|ttl| ttl.as_ref().map(rule)).collect();
            let longest = longest(rules.iter().map(Option::as_ref), own.map(Duration::from_secs));
            assert_eq!(longest, expect.map(Duration::from_secs), "{rules:?} {own:?}");
        }
        check(&[Some(Some(5))], Some(60), Some(5));
        check(&[Some(Some(5)), Some(Some(9))], Some(60), Some(9));
        check(&[Some(Some(5)), Some(None)], Some(60), Some(60));
        check(&[Some(Some(5)), None], None, None);
        check(&[None], Some(60), Some(60));
    }
}
