//! Where a Redis is: at one address, at whichever the sentinels say is the master now, or at the node of a cluster that has
//! what is looked for.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionAddr, FromRedisValue, RedisError, cmd};
use tokio::time::timeout;

/// How long a sentinel, or a node of a cluster, may take to let us in, and to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The port of sentinels that have none in the URL.
const SENTINEL: &str = "26379";

/// The port of a cluster's nodes that have none in the URL.
const REDIS: &str = "6379";

/// Where it is.
#[derive(Debug, Clone)]
pub struct Place(Kind);

#[derive(Debug, Clone)]
enum Kind {
    One(Box<Client>),
    /// Those who know the master that is called so.
    Sentinels(Arc<Several>, String),
    /// Some nodes of a cluster, who know all.
    Cluster(Arc<Several>),
}

/// Servers who know where to connect, and how one is let in there.
struct Several {
    clients: Vec<Client>,
    hosts: String,
    /// What stands before and behind an address in a URL.
    around: (String, String),
}

impl fmt::Debug for Several {
    /// A URL may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hosts)
    }
}

/// Why it is not known where it is.
#[derive(Debug)]
pub(super) enum Nowhere {
    /// Who stands first here could not be asked, or refused to answer.
    Failed(String, RedisError),
    /// They have not answered in time.
    Silent(String),
    /// They answered that they know no such thing; what helps.
    Unknown(String, String, &'static str),
}

impl Place {
    /// Of a URL: `redis://` or `rediss://`, `redis+sentinel://[USER:PASSWORD@]HOST[:PORT],…/MASTER[/DATABASE]`, or
    /// `redis+cluster://[USER:PASSWORD@]HOST[:PORT],…`.
    ///
    /// # Errors
    /// What is wrong with it, without showing it.
    pub fn of(url: &str) -> Result<Self, String> {
        if let Some((_, parameters)) = url.split_once('?') {
            let name = parameters.split('=').next().unwrap_or_default();
            return Err(format!("there is no parameter `{name}`; there is `?prefix=NAME`"));
        }
        Ok(Self(match url.split_once("://") {
            Some((scheme @ ("redis+sentinel" | "rediss+sentinel"), rest)) => {
                let (before, path) = rest.split_once('/').unwrap_or((rest, ""));
                let (master, database) = path.split_once('/').unwrap_or((path, "0"));
                if database.parse::<i64>().is_err() {
                    return Err("what follows the master's name is no number of a database".to_owned());
                }
                if master.is_empty() {
                    return Err("it does not name the master, as in redis+sentinel://HOST:26379/mymaster".to_owned());
                }
                // The user is the master's: sentinels have others, or none.
                let several = Several::of(scheme, before, SENTINEL, false, &format!("/{database}"))?;
                Kind::Sentinels(Arc::new(several), master.to_owned())
            }
            Some((scheme @ ("redis+cluster" | "rediss+cluster"), rest)) => {
                Kind::Cluster(Arc::new(Several::of(scheme, rest.trim_end_matches('/'), REDIS, true, "/")?))
            }
            Some(("redis" | "rediss" | "redis+unix" | "unix", _)) => {
                let wrong = |error| {
                    format!("{error}; write redis://USER:PASSWORD@HOST:PORT, a password with `%` for each odd letter")
                };
                Kind::One(Box::new(Client::open(url).map_err(wrong)?))
            }
            _ => return Err("it is no URL of a Redis: write redis://HOST:PORT".to_owned()),
        }))
    }

    /// As it is called in the log.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.0 {
            Kind::One(client) => address(client),
            Kind::Sentinels(sentinels, master) => format!("{master} (by the sentinels {})", sentinels.hosts),
            Kind::Cluster(nodes) => format!("the cluster of {}", nodes.hosts),
        }
    }

    /// A host and port at which it, or somebody who knows it, is reached, if it is by the network.
    #[must_use]
    pub fn address(&self) -> Option<(String, u16)> {
        let client = match &self.0 {
            Kind::One(client) => client,
            Kind::Sentinels(several, _) | Kind::Cluster(several) => several.clients.first()?,
        };
        match client.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => Some((host.clone(), *port)),
            _ => None,
        }
    }

    /// The database, which is only about keys.
    #[must_use]
    pub fn database(&self) -> i64 {
        match &self.0 {
            Kind::One(client) => client.get_connection_info().redis_settings().db(),
            Kind::Sentinels(several, _) => several.around.1.trim_start_matches('/').parse().unwrap_or(0),
            Kind::Cluster(_) => 0,
        }
    }

    /// Whether it is a cluster, whose nodes have each a part of the keys.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        matches!(self.0, Kind::Cluster(_))
    }

    /// Who connects to it as it is now; of a cluster, to the master that has this key.
    pub(super) async fn client(&self, key: &str) -> Result<Client, Nowhere> {
        let (several, question) = match &self.0 {
            Kind::One(client) => return Ok(Client::clone(client)),
            Kind::Sentinels(sentinels, master) => (sentinels, Question::Master(master)),
            Kind::Cluster(nodes) => (nodes, Question::Owner(key)),
        };
        let found = several.ask(&question).await?;
        found.first().map_or_else(|| Err(Nowhere::Silent(several.hosts.clone())), |address| several.open(address))
    }

    /// Who connects to the nodes of a cluster, replicas too; without a cluster, nobody.
    pub(super) async fn nodes(&self) -> Result<Vec<Client>, Nowhere> {
        let Kind::Cluster(nodes) = &self.0 else { return Ok(Vec::new()) };
        nodes.ask(&Question::All).await?.iter().map(|address| nodes.open(address)).collect()
    }
}

/// What those are asked who know.
enum Question<'a> {
    /// Where the master is that sentinels call so.
    Master(&'a str),
    /// Where the master is that has this key.
    Owner(&'a str),
    /// Where all nodes are.
    All,
}

impl Several {
    fn of(scheme: &str, before: &str, port: &str, with_user: bool, behind: &str) -> Result<Self, String> {
        let scheme = scheme.split_once('+').map_or(scheme, |(scheme, _)| scheme);
        let (user, hosts) = before.rsplit_once('@').unwrap_or(("", before));
        let at = if user.is_empty() { "" } else { "@" };
        let shown = if with_user { format!("{user}{at}") } else { String::new() };
        let client = |host: &str| {
            let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            let url = format!("{scheme}://{shown}{host}");
            Client::open(if has_port { url } else { format!("{url}:{port}") }).map_err(|error| error.to_string())
        };
        let clients: Result<Vec<_>, _> = hosts.split(',').map(client).collect();
        let around = (format!("{scheme}://{user}{at}"), behind.to_owned());
        Ok(Self { clients: clients?, hosts: hosts.to_owned(), around })
    }

    /// Where a sentinel says that the master is, if one is there: it may know an old one.
    async fn master_by(&self, sentinel: &Client, name: &str) -> Result<String, Nowhere> {
        let found = master_of(sentinel, name).await?;
        let info: Result<String, _> = ask(&self.open(&found)?, cmd("INFO").arg("replication")).await;
        match info {
            Ok(info) if info.contains("role:slave") => {
                let said = format!("it says that {found} is the master of {name}, which is a replica");
                Err(Nowhere::Unknown(address(sentinel), said, "another sentinel is asked, and this one again"))
            }
            // Who may not ask that is believed.
            Ok(_) => Ok(found),
            Err(Nowhere::Failed(_, error)) if error.code().is_some() => Ok(found),
            Err(nowhere) => Err(nowhere),
        }
    }

    fn open(&self, address: &str) -> Result<Client, Nowhere> {
        let url = [self.around.0.as_str(), address, &self.around.1].concat();
        Client::open(url).map_err(|error| Nowhere::Failed(address.to_owned(), error))
    }

    /// What the first says that has an answer: addresses.
    async fn ask(&self, question: &Question<'_>) -> Result<Vec<String>, Nowhere> {
        let mut trouble = Nowhere::Silent(self.hosts.clone());
        for client in &self.clients {
            let answer = match question {
                Question::Master(name) => self.master_by(client, name).await.map(|address| vec![address]),
                Question::Owner(key) => owner_of(client, key).await.map(|address| vec![address]),
                Question::All => all_of(client).await,
            };
            match answer {
                Ok(found) => return Ok(found),
                Err(nowhere) => trouble = nowhere,
            }
        }
        Err(trouble)
    }
}

fn address(client: &Client) -> String {
    client.get_connection_info().addr().to_string()
}

/// An address as URLs have it.
fn host_and_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Asks one thing of a server that is connected to for this alone.
async fn ask<R: FromRedisValue>(client: &Client, question: &Cmd) -> Result<R, Nowhere> {
    let asked = async {
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE));
        question.query_async(&mut client.get_multiplexed_async_connection_with_config(&config).await?).await
    };
    match timeout(2 * PATIENCE, asked).await {
        Ok(answered) => answered.map_err(|error| Nowhere::Failed(address(client), error)),
        Err(_) => Err(Nowhere::Silent(address(client))),
    }
}

/// Where a sentinel says that the master is.
async fn master_of(sentinel: &Client, master: &str) -> Result<String, Nowhere> {
    let told: Option<(String, u16)> = ask(sentinel, cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master)).await?;
    let said = || format!("it knows no master {master}");
    let help = "name in the URL the one that SENTINEL MASTERS says";
    let (host, port) = told.ok_or_else(|| Nowhere::Unknown(address(sentinel), said(), help))?;
    Ok(host_and_port(&host, port))
}

/// A part of a cluster's keys, and who has it: the master first.
struct Slots {
    first: u16,
    last: u16,
    nodes: Vec<String>,
}

/// Who has which keys, as a node knows it.
async fn slots(node: &Client) -> Result<Vec<Slots>, Nowhere> {
    let told: Vec<Vec<redis::Value>> = ask(node, cmd("CLUSTER").arg("SLOTS")).await?;
    let wrong = |error: redis::ParsingError| Nowhere::Failed(address(node), error.into());
    let mut all = Vec::new();
    for range in told {
        let mut fields = range.into_iter();
        let mut number = || u16::from_redis_value(fields.next().unwrap_or(redis::Value::Nil)).map_err(wrong);
        let (first, last) = (number()?, number()?);
        let mut nodes = Vec::new();
        for told in fields {
            let mut fields = Vec::<redis::Value>::from_redis_value(told).map_err(wrong)?.into_iter();
            let mut next = || fields.next().unwrap_or(redis::Value::Nil);
            let host = Option::<String>::from_redis_value(next()).map_err(wrong)?.filter(|host| !host.is_empty());
            let port = u16::from_redis_value(next()).map_err(wrong)?;
            // One that does not know its own name has that by which it was reached.
            let own = || Place(Kind::One(Box::new(node.clone()))).address().map(|(host, _)| host);
            nodes.extend(host.or_else(own).map(|host| host_and_port(&host, port)));
        }
        all.push(Slots { first, last, nodes });
    }
    Ok(all)
}

/// Where a node says that the master of a key is.
async fn owner_of(node: &Client, key: &str) -> Result<String, Nowhere> {
    let slot: u16 = ask(node, cmd("CLUSTER").arg("KEYSLOT").arg(key)).await?;
    let found = slots(node).await?.into_iter().find(|slots| (slots.first..=slots.last).contains(&slot));
    let help = "see CLUSTER INFO: each of its slots needs a master";
    let said = || format!("no node of the cluster has slot {slot}");
    let master = found.and_then(|slots| slots.nodes.into_iter().next());
    master.ok_or_else(|| Nowhere::Unknown(address(node), said(), help))
}

/// Where a node says that all are.
async fn all_of(node: &Client) -> Result<Vec<String>, Nowhere> {
    let mut addresses: Vec<String> = slots(node).await?.into_iter().flat_map(|slots| slots.nodes).collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
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
        assert_eq!(name("redis+cluster://ann:secret@one,two:7001").unwrap(), "the cluster of one,two:7001");
        for url in ["redis+sentinel://ann:secret@one/main", "redis+cluster://ann:secret@one"] {
            let shown = format!("{:?}", Place::of(url).unwrap());
            assert!(!shown.contains("secret"), "{shown}");
        }
        let at = |url: &str| Place::of(url).unwrap().address().unwrap();
        assert_eq!(at("redis+cluster://one,two:7001"), ("one".to_owned(), 6379));
        assert_eq!(at("redis+sentinel://one/main"), ("one".to_owned(), 26379));
    }
}
