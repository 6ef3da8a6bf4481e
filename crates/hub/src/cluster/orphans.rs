//! Users of a node that has gone: others tell that they have gone, too, unless they come to another node.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::index::GRACE;
use super::members::{BEAT, LEASE, Peer};
use super::words::Words;
use super::{ALL, Cluster};
use crate::Hub;
use crate::address::AppId;
use crate::app::App;
use crate::clock::unix_millis;
use crate::command::Command;
use crate::dialect::{Cx, Moment, SessionInfo};
use crate::hub::Inner;
use crate::policy::Identity;
use crate::presence::Known;

/// For so long the eldest of those who are left may turn out to have gone as well.
const WATCH: Duration = LEASE.saturating_add(BEAT);

/// Users of whom it is remembered that they were told to be offline; the node that they were on may only have been away.
const BURIED: usize = 100_000;

/// A user of an app.
type Name = (AppId, Arc<str>);

/// Users whose node has gone.
#[derive(Debug, Default)]
pub(super) struct Buried {
    /// Who is to be told to be offline, by this node or by an elder one.
    due: Mutex<HashMap<Name, Known>>,
    /// Whom this one has told to be offline, with their node.
    told: Mutex<HashMap<Name, u16>>,
}

impl Cluster {
    /// A node has gone: who was only there is told to be offline a while later, by one of the nodes that are left.
    pub(super) fn bury(self: &Arc<Self>, hub: &Hub, node: u16) {
        let mut orphans = self.index.forget(node, super::now());
        orphans.retain(|((app, _), _)| hub.app(*app).tells(Moment::Offline));
        if !orphans.is_empty() {
            let names = orphans.iter().map(|(name, _)| name.clone()).collect();
            self.buried.due.lock().extend(orphans);
            self.background.spawn(tell_offline(hub.downgrade(), Arc::clone(self), node, names));
        }
    }

    /// An elder node has told that these have gone.
    pub(super) fn were_told(&self, app: AppId, users: Vec<Arc<str>>) {
        let mut due = self.buried.due.lock();
        for user in users {
            due.remove(&(app, user));
        }
    }

    /// A node says that a user is there whom this one has told to be offline: it was only away.
    pub(super) fn unbury(self: &Arc<Self>, hub: &Hub, app: &Arc<App>, user: &Arc<str>, from: Peer) {
        let Some(known) = self.index.on(app.id, user, from.node) else { return };
        // Who has come to another node meanwhile was told to be online by that.
        let was_on = self.buried.told.lock().remove(&(app.id, Arc::clone(user)));
        if was_on == Some(from.node) && !hub.presence().user(app.id, user).online {
            let (hub, app, user) = (hub.clone(), Arc::clone(app), Arc::clone(user));
            self.background.spawn(async move { tell(&hub, &app, &user, &known, Moment::Online).await });
        }
    }

    fn note_told(&self, app: &App, user: &Arc<str>, node: u16) {
        let mut told = self.buried.told.lock();
        if told.len() < BURIED {
            told.insert((app.id, Arc::clone(user)), node);
        }
        self.tell(ALL.into(), Words::Buried(app.name.clone(), vec![Arc::clone(user)]));
    }
}

async fn tell_offline(hub: Weak<Inner>, cluster: Arc<Cluster>, node: u16, names: Vec<Name>) {
    tokio::time::sleep(GRACE).await;
    let until = super::now() + WATCH;
    while !cluster.is_eldest() && super::now() < until {
        tokio::time::sleep(BEAT).await;
    }
    let Some(hub) = Hub::upgrade(&hub) else { return };
    let is_eldest = cluster.is_eldest();
    for (id, user) in names {
        let Some(known) = cluster.buried.due.lock().remove(&(id, Arc::clone(&user))) else { continue };
        if !is_eldest || hub.user(id, &user).online {
            continue;
        }
        let app = hub.app(id);
        cluster.note_told(&app, &user, node);
        tell(&hub, &app, &user, &known, Moment::Offline).await;
    }
}

/// Says what the app's rules say of a user at such a moment.
async fn tell(hub: &Hub, app: &App, user: &Arc<str>, known: &Known, moment: Moment) {
    for command in words(app, user, known, moment) {
        let _ = hub.execute(app.id, command).await;
    }
}

/// Of the session nothing is known here.
fn words(app: &App, user: &Arc<str>, known: &Known, moment: Moment) -> Vec<Command> {
    let Some(dialect) = &app.dialect else { return Vec::new() };
    let identity = Identity {
        user: Arc::clone(user),
        name: known.name.clone(),
        rights: known.rights.clone().unwrap_or_default(),
        ..Identity::default()
    };
    let session = SessionInfo { id: &"", address: &"", transport: "" };
    let id = Uuid::now_v7();
    let cx = Cx { identity: &identity, session, event: "", data: RawValue::NULL, now: unix_millis(), id: &id };
    dialect.on_presence(&cx, moment).iter().map(|publication| Command::Publish(publication.command())).collect()
}
