//! Where the store is: at one Redis, or at whichever the sentinels say is the master now.

use std::sync::Arc;
use std::time::Duration;

use oyez_hub::store::StoreError;
use redis::{AsyncConnectionConfig, Client, Value, cmd};

use super::link::ask;
use super::{answer, fault};

/// How long a sentinel may take to let us in.
const PATIENCE: Duration = Duration::from_secs(1);

/// The port of sentinels that have none in the URL.
const SENTINEL: &str = "26379";

/// Where the store is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    One(Box<Client>),
    Sentinels(Arc<Sentinels>),
}

/// Who knows the master, and how it is called and let in.
pub(super) struct Sentinels {
    clients: Vec<Client>,
    hosts: String,
    master: String,
    /// What stands before and behind its address in a URL.
    around: (String, String),
}

impl std::fmt::Debug for Sentinels {
    /// A URL may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sentinels {} of {}", self.hosts, self.master)
    }
}

impl Place {
    /// Of a URL: `redis://`, `rediss://`, or `redis+sentinel://[USER:PASSWORD@]HOST[:PORT],…/MASTER[/DATABASE]`.
    pub(super) fn of(url: &str) -> Result<Self, String> {
        match url.split_once("+sentinel://") {
            Some((scheme @ ("redis" | "rediss"), rest)) => {
                Sentinels::of(scheme, rest).map(|sentinels| Self::Sentinels(Arc::new(sentinels)))
            }
            _ => Client::open(url).map(|client| Self::One(Box::new(client))).map_err(|error| error.to_string()),
        }
    }

    /// As it is called in the log.
    pub(super) fn name(&self) -> String {
        match self {
            Self::One(client) => client.get_connection_info().addr().to_string(),
            Self::Sentinels(sentinels) => format!("{} (by the sentinels {})", sentinels.master, sentinels.hosts),
        }
    }

    /// Who connects to it as it is now.
    pub(super) async fn client(&self) -> Result<Client, StoreError> {
        match self {
            Self::One(client) => Ok(Client::clone(client)),
            Self::Sentinels(sentinels) => sentinels.find().await,
        }
    }
}

impl Sentinels {
    fn of(scheme: &str, rest: &str) -> Result<Self, String> {
        let (before, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = before.rsplit_once('@').unwrap_or(("", before));
        let (master, database) = path.split_once('/').unwrap_or((path, "0"));
        if master.is_empty() {
            return Err("it does not name the master, as in redis+sentinel://HOST:26379/mymaster".to_owned());
        }
        let with_port = |host: &str| {
            let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            if has_port { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{SENTINEL}") }
        };
        let clients: Result<Vec<_>, _> = hosts.split(',').map(|host| Client::open(with_port(host))).collect();
        let clients = clients.map_err(|error| error.to_string())?;
        let at = if user.is_empty() { "" } else { "@" };
        let around = (format!("{scheme}://{user}{at}"), format!("/{database}"));
        Ok(Self { clients, hosts: hosts.to_owned(), master: master.to_owned(), around })
    }

    /// The master, as the first sentinel says that answers.
    async fn find(&self) -> Result<Client, StoreError> {
        let mut trouble = fault::unreachable(&self.hosts, "no sentinel answers");
        for client in &self.clients {
            match self.asked(client).await {
                Ok(address) => {
                    let url = [self.around.0.as_str(), &address, &self.around.1].concat();
                    let help = "correct it in --store";
                    return Client::open(url)
                        .map_err(|error| fault::refused(&address, "failed", error.to_string(), help));
                }
                Err(problem) => trouble = problem,
            }
        }
        Err(trouble)
    }

    async fn asked(&self, client: &Client) -> Result<String, StoreError> {
        let place = client.get_connection_info().addr().to_string();
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE));
        let connection = client.get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = connection.map_err(|error| fault::of(&error, &place))?;
        let question = cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&self.master).clone();
        let told = ask(&mut connection, &question, &place).await?;
        if told == Value::Nil {
            let said = format!("it knows no master {}", self.master);
            return Err(fault::refused(&place, "failed", said, "name in --store the one that SENTINEL MASTERS says"));
        }
        let [host, port] = answer::some(told)?;
        let (host, port) = (answer::text(host)?, answer::text(port)?);
        Ok(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
    }
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn urls_say_where() {
        let name = |url| Place::of(url).map(|place| place.name());
        assert_eq!(name("redis://:secret@here:6380/1").unwrap(), "here:6380");
        let both = name("redis+sentinel://ann:secret@one,two:26380/main/2").unwrap();
        assert_eq!(both, "main (by the sentinels one,two:26380)");
        assert!(name("redis+sentinel://one").unwrap_err().contains("does not name the master"));
        let shown = format!("{:?}", Place::of("redis+sentinel://ann:secret@one/main").unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }
}
