//! How much is unread: what the devices of users on this node hear of it when it changes. Each node counts for its own, so
//! that none hears an older number last.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::Inboxes;
use super::desk::Devices;
use super::intake::heard_in;
use crate::Hub;
use crate::address::AppId;
use crate::app::App;
use crate::channel::roster_of;
use crate::command::Select;
use crate::store::{StoreError, Target};

/// From one count of what is unread to the next.
const COUNTED_EVERY: Duration = Duration::from_millis(250);

/// A user of an app.
type User = (AppId, Arc<str>);

/// Inboxes, and logs of channels, of whose users the devices on this node are to hear how much is unread.
#[derive(Debug, Default)]
pub(super) struct Uncounted {
    /// Each with whether it changed by what was done here, so that other nodes are to hear of it.
    places: HashMap<(AppId, Target), bool>,
    /// Users who are to hear it though it did not change: of new devices.
    asking: Vec<User>,
    /// Somebody is telling them.
    told: bool,
}

/// Users on rosters, and users of new devices, who wait for their turn: there may be thousands of them at once.
#[derive(Debug, Default)]
struct Waiting {
    order: VecDeque<User>,
    users: HashSet<User>,
}

impl Waiting {
    fn push(&mut self, user: User) {
        if self.users.insert(user.clone()) {
            self.order.push_back(user);
        }
    }

    fn pop(&mut self) -> Option<User> {
        while let Some(user) = self.order.pop_front() {
            if self.users.remove(&user) {
                return Some(user);
            }
        }
        None
    }
}

impl Hub {
    /// Notes that the number of unread messages may have changed of a user, or of all on a roster; their devices on this
    /// node hear what it is then.
    pub fn unread_changed(&self, app: &App, whose: &Target) {
        self.count_unread(app, whose, false);
    }

    /// The same by what was done here and is not delivered, of which no other node hears otherwise.
    pub(crate) fn unread_changed_everywhere(&self, app: &App, whose: &Target) {
        self.count_unread(app, whose, self.cluster().is_some());
    }

    fn count_unread(&self, app: &App, whose: &Target, tell_others: bool) {
        let Some(inboxes) = self.inboxes() else { return };
        let told = app.inbox.as_ref().is_some_and(|rules| rules.words.unread.is_some());
        if !told || (!tell_others && self.channels().members(app.id, &heard_in(whose)) == 0) {
            return;
        }
        let mut uncounted = inboxes.uncounted.lock();
        *uncounted.places.entry((app.id, whose.clone())).or_default() |= tell_others;
        self.count_soon(&mut uncounted);
    }

    /// Has the devices of a user on this node hear how much is unread, behind those for whom it changed: all users may have
    /// come back at once.
    pub fn unread_asked(&self, app: &App, user: Arc<str>) {
        let told = app.inbox.as_ref().is_some_and(|rules| rules.words.unread.is_some());
        if let Some(inboxes) = self.inboxes().filter(|_| told) {
            let mut uncounted = inboxes.uncounted.lock();
            uncounted.asking.push((app.id, user));
            self.count_soon(&mut uncounted);
        }
    }

    fn count_soon(&self, uncounted: &mut Uncounted) {
        if !std::mem::replace(&mut uncounted.told, true) {
            let hub = self.clone();
            self.spawn(async move { hub.tell_unread().await });
        }
    }

    /// Counts for one user after the other, at once for the first change and then in rounds: what changes between two of
    /// them, a hundred messages of one user maybe, is counted once. A round begins with those whose own inboxes changed;
    /// those on rosters, and those who have just come, share what is left of its time, so that many of them do not keep all others
    /// waiting.
    async fn tell_unread(&self) {
        let Some(inboxes) = self.inboxes() else { return };
        let mut waiting = Waiting::default();
        loop {
            let places = {
                let mut uncounted = inboxes.uncounted.lock();
                uncounted.asking.drain(..).for_each(|user| waiting.push(user));
                uncounted.told = !uncounted.places.is_empty() || !waiting.users.is_empty();
                if !uncounted.told {
                    return;
                }
                std::mem::take(&mut uncounted.places)
            };
            let next = Instant::now() + COUNTED_EVERY;
            for ((app, whose), tell_others) in places {
                if let Some(others) = self.cluster().filter(|_| tell_others) {
                    others.tell_recount(&self.app(app), &whose);
                }
                if self.channels().members(app, &heard_in(&whose)) == 0 {
                    continue;
                }
                match whose {
                    Target::User(user) => {
                        waiting.users.remove(&(app, Arc::clone(&user)));
                        self.tell_unread_of(app, inboxes, &user).await;
                    }
                    Target::Channel(channel) => {
                        let select = Select::Channels { to: vec![roster_of(&channel)], except: Vec::new() };
                        self.describe(app, &select).await.into_iter().for_each(|one| waiting.push((app, one.user)));
                    }
                }
            }
            while let Some((app, user)) = waiting.pop() {
                self.tell_unread_of(app, inboxes, &user).await;
                if Instant::now() >= next {
                    break;
                }
            }
            sleep_until(next).await;
        }
    }

    async fn tell_unread_of(&self, app: AppId, inboxes: &Inboxes, user: &Arc<str>) {
        let app = self.app(app);
        let Some(event) = app.inbox.as_ref().and_then(|rules| rules.words.unread.as_ref()) else { return };
        let of = app.owner(user);
        let counted = match self.hearers(&app, inboxes, &of).await {
            Ok(None) => return,
            Ok(Some(hearers)) => inboxes.unread(&app, &of, &hearers).await,
            Err(error) => Err(error),
        };
        match counted {
            Ok(count) => self.tell_devices(&app, user, Some(event), json!({ "count": count }), Devices::Here).await,
            Err(StoreError::Closed | StoreError::Damaged { .. }) => {}
            // Until the store can say it.
            Err(_) => self.unread_changed(&app, &Target::User(Arc::clone(user))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_counted_once_and_in_turn() {
        let user = |name: &str| (AppId(0), Arc::from(name));
        let mut waiting = Waiting::default();
        for name in ["ann", "bob", "ann", "cid"] {
            waiting.push(user(name));
        }
        waiting.users.remove(&user("bob"));
        assert_eq!([waiting.pop(), waiting.pop(), waiting.pop()], [Some(user("ann")), Some(user("cid")), None]);
    }
}
