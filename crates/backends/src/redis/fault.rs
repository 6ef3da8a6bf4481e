//! What is wrong with a Redis, and what to do about it.

use oyez_hub::source::Trouble;
use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::place::Nowhere;
use crate::supervise::{BELIEVE, Fault, unbelieved};

/// What a source of Redis says of itself when something is wrong.
pub(super) trait Remedies {
    /// Where it is, without the credentials.
    fn place(&self) -> String;

    /// What to allow the user.
    fn rights(&self) -> String;

    /// What was lost with the connection.
    fn lost(&self) -> &'static str;
}

/// What the server, or the client library, says.
pub(super) fn fault(error: &RedisError, source: &impl Remedies, otherwise: Trouble) -> Fault {
    let trouble = match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS")) => Trouble::Credentials,
        (ErrorKind::Server(ServerErrorKind::NoPerm), _) => Trouble::Forbidden,
        (ErrorKind::Server(ServerErrorKind::BusyLoading), _) => Trouble::Unreachable,
        // The second is told who waits for entries while the stream goes.
        (_, Some("NOGROUP" | "UNBLOCKED")) => Trouble::Missing,
        // A stream, asked how long it is, that was flushed away.
        (ErrorKind::Server(_), _) if error.detail().is_some_and(|said| said.contains("no such key")) => {
            Trouble::Missing
        }
        (_, Some("WRONGTYPE" | "READONLY")) => Trouble::Conflict,
        (ErrorKind::Server(_) | ErrorKind::Extension, _) => Trouble::Other,
        _ if unbelieved(&error.to_string()) => {
            return Fault { trouble: Trouble::Credentials, said: error.to_string(), help: BELIEVE.to_owned() };
        }
        _ => otherwise,
    };
    Fault { trouble, said: error.to_string(), help: help(trouble, source) }
}

/// The server took too long.
pub(super) fn silence(source: &impl Remedies, trouble: Trouble) -> Fault {
    Fault { trouble, said: "no answer in time".to_owned(), help: help(trouble, source) }
}

/// It is not known where it is.
pub(super) fn nowhere(nowhere: Nowhere, source: &impl Remedies) -> Fault {
    match nowhere {
        Nowhere::Failed(place, error) => {
            let of = fault(&error, source, Trouble::Unreachable);
            let help = match error.kind() {
                ErrorKind::Server(_) | ErrorKind::Extension => {
                    "is it a sentinel (they listen on 26379), or a node of a cluster? Of a single Redis write redis://HOST:PORT".to_owned()
                }
                _ => of.help,
            };
            Fault { said: format!("{place}: {}", of.said), help, ..of }
        }
        Nowhere::Silent(_) => silence(source, Trouble::Unreachable),
        Nowhere::Unknown(place, said, help) => {
            Fault { trouble: Trouble::Missing, said: format!("{place}: {said}"), help: help.to_owned() }
        }
    }
}

/// The connection ended.
pub(super) fn lost(source: &impl Remedies) -> Fault {
    let help = help(Trouble::Lost, source);
    Fault { trouble: Trouble::Lost, said: "the connection ended".to_owned(), help }
}

fn help(trouble: Trouble, source: &impl Remedies) -> String {
    match trouble {
        Trouble::Credentials => "correct the user or the password in its URL".to_owned(),
        Trouble::Forbidden => source.rights(),
        Trouble::Lost => format!("it is connected again by itself; {}", source.lost()),
        Trouble::Missing => {
            "the stream's group is gone; it is made again, and reads the stream from its beginning".to_owned()
        }
        Trouble::Conflict => {
            "name streams in `from`, not keys of other kinds, on a Redis that may be written".to_owned()
        }
        Trouble::Unreachable => format!("is Redis running at {}?", source.place()),
        Trouble::Other => "see what Redis said; streams need Redis 6.2".to_owned(),
    }
}
