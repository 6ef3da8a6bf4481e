//! What is revoked, as the store keeps it: a roster of an app of its own, which no file can name. So a restart forgets
//! nothing, and with a store that nodes share, one that begins alone knows it, too.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tracing::warn;

use crate::Hub;
use crate::address::AppId;
use crate::app::App;
use crate::clock::unix_millis;
use crate::command::{Control, Select};
use crate::hub::Inner;
use crate::policy::token::Revocation;
use crate::store::{NAME_MAX, Store, StoreError};

/// The roster.
const ROSTER: &str = "revoked";

/// Between two attempts to read it.
const AGAIN: Duration = Duration::from_secs(1);

/// Names that are read at once.
const PAGE: usize = 1_000;

fn place(app: &str) -> String {
    format!("*revoked:{app}")
}

/// A revocation as a name: until when it counts, its kind, and what it is about.
fn write(what: &Revocation, until: u64) -> String {
    match what {
        Revocation::Token(id) => format!("{until} token {id}"),
        Revocation::User(user) => format!("{until} user {user}"),
        Revocation::IssuedBefore { user: Some(user), at } => format!("{until} before {at} {user}"),
        Revocation::IssuedBefore { user: None, at } => format!("{until} all-before {at}"),
    }
}

fn read(name: &str) -> Option<(Revocation, u64)> {
    let (until, rest) = name.split_once(' ')?;
    let (kind, rest) = rest.split_once(' ')?;
    let what = match kind {
        "token" => Revocation::Token(rest.into()),
        "user" => Revocation::User(rest.into()),
        "before" => {
            let (at, user) = rest.split_once(' ')?;
            Revocation::IssuedBefore { user: Some(user.into()), at: at.parse().ok()? }
        }
        "all-before" => Revocation::IssuedBefore { user: None, at: rest.parse().ok()? },
        _ => return None,
    };
    Some((what, until.parse().ok()?))
}

/// Puts in force what was revoked before, of all apps; again and again, until the store says it.
pub(crate) async fn recall(hub: Weak<Inner>, store: Arc<dyn Store>) {
    let apps: Vec<_> = Hub::upgrade(&hub).iter().flat_map(Hub::apps).collect();
    for app in apps {
        while let Some(hub) = Hub::upgrade(&hub)
            && let Err(error) = hub.recall(&app, &*store).await
        {
            let app = &*app.name;
            warn!(event = "revocations_unread", app, %error, "what was revoked before is not known yet; it is asked again");
            drop(hub);
            tokio::time::sleep(AGAIN).await;
        }
    }
}

impl Hub {
    /// Keeps what has just been revoked. It is in force whether it can be kept or not.
    pub(super) async fn keep_revoked(&self, app: AppId, what: &Revocation, until: u64) {
        let (Some(inboxes), app) = (self.inboxes(), self.app(app)) else { return };
        let name = write(what, until);
        let kept = if name.len() > NAME_MAX {
            Err(format!("its name is longer than {NAME_MAX} bytes"))
        } else {
            let put = inboxes.store().enroll(&place(&app.name), ROSTER, vec![name.into()]).await;
            put.map(drop).map_err(|error| error.to_string())
        };
        if let Err(error) = kept {
            let app = &*app.name;
            warn!(event = "revocation_unkept", app, error, "a revocation counts until the next restart only");
        }
    }

    async fn recall(&self, app: &App, store: &dyn Store) -> Result<(), StoreError> {
        let Some(credentials) = &app.credentials else { return Ok(()) };
        let (place, now, mut after) = (place(&app.name), unix_millis() / 1_000, None);
        let mut found = false;
        loop {
            let page = store.members(&place, ROSTER, after, PAGE).await?;
            let Some(last) = page.last().cloned() else { break };
            after = Some(last);
            let mut over = Vec::new();
            for name in page {
                match read(&name) {
                    Some((what, until)) if until > now => {
                        found = true;
                        if let Err(error) = credentials.revocations.revoke(what, until, now) {
                            warn!(event = "revocation_refused", app = &*app.name, %error);
                        }
                    }
                    _ => over.push(name),
                }
            }
            if !over.is_empty() {
                store.dismiss(&place, ROSTER, over).await?;
            }
        }
        if found {
            // Who was quick enough to come in before.
            self.control_all(app.id, &Select::Everyone, |_| Control::Recheck(app.id));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revocations_are_read_as_they_were_written() {
        for what in [
            Revocation::Token("sha256:ab".into()),
            Revocation::User("user with words".into()),
            Revocation::IssuedBefore { user: Some("a b".into()), at: 7 },
            Revocation::IssuedBefore { user: None, at: 8 },
        ] {
            assert_eq!(read(&write(&what, 42)), Some((what, 42)));
        }
        for wrong in ["", "1", "1 token", "x token a", "1 other a", "1 before a b", "1 all-before a"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
