//! Another configuration while the node runs. Nobody is dropped: rules, rights, tokens, keys, origins and limits count
//! from now on; a session keeps the transport settings that it began with, and what only a restart changes is named.

use std::sync::Arc;

use oyez_hub::Hub;
use oyez_hub::command::Command;
use oyez_hub::policy::fetch::Fetch;

use crate::assemble::{self, AssembleError};
use crate::config::{AppConfig, Config, RecoveryConfig, ServerConfig, TlsConfig};
use crate::http::api::Access;
use crate::shard::mailbox::{Letter, Peer};

/// Changes the configuration of a running node; from [`Server::live`](crate::Server::live).
#[derive(Debug)]
pub struct Live {
    hub: Hub,
    shards: Vec<Peer>,
    access: Access,
    /// What the node runs with; its apps in the order of their ids.
    config: Config,
}

impl Live {
    pub(crate) fn new(hub: Hub, shards: Vec<Peer>, access: Access, config: Config) -> Self {
        Self { hub, shards, access, config }
    }

    /// What the node runs with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Runs with another configuration from now on; returns what of it only a restart brings about. `fetch` as for
    /// [`assemble::apps`].
    ///
    /// # Errors
    /// What cannot be built; then nothing has changed.
    pub async fn apply(
        &mut self,
        config: Config,
        fetch: Option<&Arc<dyn Fetch>>,
    ) -> Result<Vec<String>, AssembleError> {
        let renewed = config.server.tls.clone();
        let (config, later) = without_restart(&self.config, config);
        let (apps, settings) = assemble::apps(&config, fetch)?;
        let settings = Arc::new(settings);
        for shard in &self.shards {
            let _ = shard.send(Letter::Settings(Arc::clone(&settings)));
        }
        for (mut app, (old, new)) in apps.into_iter().zip(self.config.apps.iter().zip(&config.apps)) {
            let current = self.hub.app(app.id);
            if let (Some(own), Some(current)) = (&mut app.credentials, &current.credentials)
                && old.auth == new.auth
            {
                // With the keys that it has fetched, and the answers that it remembers.
                own.verifier = Arc::clone(&current.verifier);
            }
            // It is nothing that a hub refuses.
            let _ = self.hub.execute(app.id, Command::Reform(Box::new(app))).await;
        }
        if let (Some(old), Some(new)) = (&config.server.tls, &renewed)
            && files(old) == files(new)
        {
            // What is in them may be new.
            old.tls.adopt(&new.tls);
        }
        self.access.replace(&config);
        self.config = config;
        Ok(later)
    }
}

/// The names of the certificate's files.
fn files(tls: &TlsConfig) -> (&str, &str) {
    (&tls.certificate, &tls.key)
}

/// As much of a new configuration as a node can change to while it runs, and what that leaves out, in the words of the
/// file.
fn without_restart(old: &Config, new: Config) -> (Config, Vec<String>) {
    let fixed = [
        ("listen", old.server.listen != new.server.listen),
        ("shards", old.server.shards != new.server.shards),
        ("io_uring", old.server.io_uring != new.server.io_uring),
        ("report", old.server.report != new.server.report),
        ("connections", old.server.connections != new.server.connections),
        ("tls", old.server.tls.as_ref().map(files) != new.server.tls.as_ref().map(files)),
    ];
    let mut later: Vec<_> =
        fixed.iter().filter(|(_, changed)| *changed).map(|(key, _)| format!("server.{key}")).collect();
    let named = |apps: &[AppConfig], name: &str| apps.iter().any(|app| app.name == name);
    let added = new.apps.iter().filter(|app| !named(&old.apps, &app.name));
    let removed = old.apps.iter().filter(|app| !named(&new.apps, &app.name));
    later.extend(added.chain(removed).map(|app| format!("app.{}", app.name)));
    let mut changed = new.apps;
    let mut apps = Vec::with_capacity(old.apps.len());
    for app in &old.apps {
        let Some(at) = changed.iter().position(|new| new.name == app.name) else {
            apps.push(app.clone());
            continue;
        };
        let new = changed.swap_remove(at);
        // Positions of one life of a log mean nothing in another. What is said to everyone is remembered like a channel.
        let everyone = new.recovery.and_then(|recovery| recovery.everyone);
        let recovery = app.recovery.map(|old| RecoveryConfig { everyone, ..old });
        if new.recovery != recovery {
            later.push(format!("app.{}.recovery", app.name));
        }
        apps.push(AppConfig { recovery, ..new });
    }
    let ServerConfig { listen, shards, io_uring, report, connections, tls, .. } = old.server.clone();
    let hsts = new.server.tls.as_ref().and_then(|tls| tls.hsts);
    let tls = tls.map(|tls| TlsConfig { hsts, ..tls });
    let server = ServerConfig { listen, shards, io_uring, report, connections, tls, ..new.server };
    (Config { server, apps, keys: new.keys, notes: new.notes }, later)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Inputs, load};

    fn config(text: &str) -> Config {
        load("oyez.toml", text, Inputs { env: &|_| None, file: &|_| Err("no files".to_owned()), dev: false })
            .expect("a good file")
    }

    fn app(name: &str, origin: &str) -> String {
        format!(
            "[app.{name}]\norigins = [\"{origin}\"]\nsocketio.path = \"/{name}/\"\n\
             auth.jwt = {{ algorithms = [\"HS256\"], secret = \"0123456789abcdef0123456789abcdef\" }}\n\
             identity.user = \"claims.sub\"\n"
        )
    }

    #[test]
    fn what_needs_a_restart_stays_and_is_named() {
        let server = |listen: &str, shards: u8, window: &str| {
            format!(
                "[server]\nlisten = \"{listen}\"\nshards = {shards}\nconnections = {shards}\nreport = \"{window}\"\nshutdown.window = \"{window}\"\n"
            )
        };
        let old = config(&[server("127.0.0.1:1", 1, "1s"), app("b", "http://b"), app("c", "http://c")].concat());
        let new = config(&[server("127.0.0.1:2", 2, "2s"), app("a", "http://a"), app("c", "http://d")].concat());
        let (merged, later) = without_restart(&old, new);
        assert_eq!(later, ["server.listen", "server.shards", "server.report", "server.connections", "app.a", "app.b"]);
        assert_eq!((merged.server.listen, merged.server.shards), (old.server.listen, old.server.shards));
        assert_eq!(merged.server.shutdown.window.as_secs(), 2);
        let apps: Vec<_> = merged.apps.iter().map(|app| (app.name.as_str(), app.origins[0].as_str())).collect();
        assert_eq!(apps, [("b", "http://b"), ("c", "http://d")]);
    }

    #[test]
    fn what_is_said_to_everyone_is_remembered_from_a_reload_on() {
        let with = |everyone: &str| {
            config(
                &[
                    app("a", "http://a"),
                    format!("[app.a.recovery]\n{everyone}\n[[app.a.channel]]\nname = \"news\"\nhistory = 1\n"),
                ]
                .concat(),
            )
        };
        for (was, is) in [("", "everyone = 5"), ("everyone = 5", ""), ("everyone = 5", "everyone = 9")] {
            let new = with(is);
            let (merged, later) = without_restart(&with(was), new.clone());
            assert_eq!((merged.apps[0].recovery, later), (new.apps[0].recovery, Vec::new()), "{was} {is}");
        }
    }

    #[test]
    fn an_app_goes_on_with_the_log_that_it_began_with() {
        for (was, is) in [("1s", ""), ("", "1s"), ("1s", "2s")] {
            let with = |window: &str| {
                let recovery = format!(
                    "[app.a.recovery]\nwindow = \"{window}\"\n[[app.a.channel]]\nname = \"news\"\nhistory = 1\n"
                );
                config(&[app("a", "http://a"), if window.is_empty() { String::new() } else { recovery }].concat())
            };
            let (old, new) = (with(was), with(is));
            let (merged, later) = without_restart(&old, new);
            assert_eq!(merged.apps[0].recovery, old.apps[0].recovery);
            assert_eq!(later, ["app.a.recovery"]);
        }
    }
}
