//! What Redis's errors mean for whoever runs the server, each with what to do about it.

use oyez_hub::store::StoreError;
use redis::{ErrorKind, RedisError};

use crate::redis::place::Nowhere;

const NO_SCRIPT: &str = "no_script";

/// Whether Redis does not know a script (any more).
pub(super) fn is_unknown(error: &StoreError) -> bool {
    matches!(error, StoreError::Server { word: NO_SCRIPT, .. })
}

/// Redis's error.
pub(super) fn of(error: &RedisError, place: &str) -> StoreError {
    let said = error.to_string();
    let code = match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) => "WRONGPASS",
        // What a script may not do has another code than what a command may not.
        _ if ["The user executing the script can't", "ACL failure in script"].iter().any(|why| said.contains(why)) => {
            "NOPERM"
        }
        (_, Some(code)) => code,
        (ErrorKind::Io, None) => return unreachable(place, said),
        (_, None) => "",
    };
    if code == "OOM" {
        let help = "raise `maxmemory`, or acknowledge and delete messages; what is there can be read and acknowledged meanwhile";
        return StoreError::ServerFull { server: server(place), help: help.to_owned() };
    }
    let (word, help) = match code {
        "NOAUTH" | "WRONGPASS" => ("credentials", "correct the user or the password in --store"),
        "NOPERM" => ("forbidden", "let the user store: ACL SETUSER NAME ~oyez:* +@all -@dangerous +info +config|get"),
        "READONLY" => ("read_only", "it is a replica: name its master in --store"),
        "NOREPLICAS" => {
            ("no_replicas", "it wants replicas before it writes: bring them back, or lower min-replicas-to-write")
        }
        "MISCONF" => ("misconf", "it cannot save to its disk and refuses to write: look at its log, make room"),
        "LOADING" => ("loading", "it reads its data after a start: that ends by itself"),
        "BUSY" => ("busy", "a script of somebody runs too long on it: SCRIPT KILL"),
        "MASTERDOWN" => ("master_down", "it is a replica without its master: name the master in --store"),
        "MOVED" | "ASK" | "CLUSTERDOWN" | "CROSSSLOT" => (
            "cluster",
            "it is a node of a Redis Cluster: name the cluster, --store redis+cluster://HOST:PORT,…; then who has it is found by itself",
        ),
        "NOSCRIPT" => (NO_SCRIPT, "it is told the scripts again by itself"),
        _ if said.contains("unexpected symbol near '#'") => ("too_old", "Redis 7.0 or later is needed"),
        _ => ("failed", "look at the log of Redis"),
    };
    refused(place, word, said, help)
}

/// Redis is not there.
pub(super) fn unreachable(place: &str, said: impl Into<String>) -> StoreError {
    refused(place, "unreachable", said, "is it running there? It is connected by itself as soon as it is")
}

impl From<Nowhere> for StoreError {
    fn from(nowhere: Nowhere) -> Self {
        match nowhere {
            Nowhere::Failed(place, error) => of(&error, &place),
            Nowhere::Silent(place) => silent(&place),
            Nowhere::Unknown(place, said, help) => refused(&place, "unknown", said, help),
        }
    }
}

/// It has not answered in time.
pub(super) fn silent(place: &str) -> StoreError {
    refused(place, "silent", "no answer in time", "is it overloaded, or stopped? It is asked again by itself")
}

/// The connection was cut between a question that changes something and its answer.
pub(super) fn lost(place: &str) -> StoreError {
    let said = "the connection ended before the answer: nobody knows whether it was done";
    refused(place, "lost", said, "ask again")
}

pub(super) fn refused(place: &str, word: &'static str, said: impl Into<String>, help: &str) -> StoreError {
    StoreError::Server { server: server(place), word, said: said.into(), help: help.to_owned() }
}

fn server(place: &str) -> String {
    format!("Redis at {place}")
}

/// Whether the connection is of no use any more.
pub(super) fn ends_connection(error: &StoreError) -> bool {
    const ENDS: [&str; 7] = ["unreachable", "silent", "read_only", "loading", "master_down", "credentials", "cluster"];
    matches!(error, StoreError::Server { word, .. } if ENDS.contains(word))
}
