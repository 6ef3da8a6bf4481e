//! Tokens that somebody else has written down as no longer accepted: what signs users out in another system does here, too.

use std::sync::Arc;

use tracing::error;

use super::Intake;
use crate::clock::unix_millis;
use crate::command::Command;
use crate::policy::token::{DEFAULT_REVOCATION_SECONDS, Register, Revocation};

impl Intake {
    /// Revokes tokens, each for so many milliseconds, or for as long as tokens live by default; who came with one is
    /// disconnected.
    pub async fn revoke(&self, tokens: Vec<(String, Option<u64>)>) {
        let app = self.hub().app(self.app());
        let Some(credentials) = app.credentials.as_ref() else { return };
        let mut new = false;
        for (token, left) in tokens {
            self.figures().count(|figures| &figures.received);
            let (now, until) = (unix_millis() / 1_000, until(left));
            let id = credentials.name_of(&token, now).await;
            if credentials.revocations.has(&id, now) {
                self.figures().count(|figures| &figures.duplicates);
                continue;
            }
            match credentials.revocations.revoke(Revocation::Token(id), until, now) {
                Ok(()) => {
                    self.figures().count(|figures| &figures.published);
                    new = true;
                }
                Err(error) => {
                    self.figures().count(|figures| &figures.dead);
                    error!(event = "source_dead_letter", app = %app.name, source = self.name(), reason = "refused", "{error}");
                }
            }
        }
        if new {
            let _ = self.hub().execute(app.id, Command::Recheck).await;
        }
    }

    /// Has a register asked about each token with which somebody comes, until another is named.
    pub fn ask(&self, register: Option<Arc<dyn Register>>) {
        if let Some(credentials) = &self.hub().app(self.app()).credentials {
            credentials.revocations.ask(register);
        }
    }
}

/// Until when something counts that is written down for so many more milliseconds, in seconds since the Unix epoch.
#[must_use]
pub fn until(left: Option<u64>) -> u64 {
    let left = left.unwrap_or(DEFAULT_REVOCATION_SECONDS * 1_000);
    unix_millis().saturating_add(left).div_ceil(1_000)
}
