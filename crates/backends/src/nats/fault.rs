//! What is wrong with a NATS, and what to do about it.

use std::{fmt, io};

use oyez_hub::source::Trouble;

use super::wire::Garbled;
use crate::supervise::{BELIEVE, Fault, unbelieved};

/// Why there is no connection any more.
#[derive(Debug)]
pub(super) enum Wrong {
    /// What the system says, or TLS.
    System(io::Error),
    /// What the server says.
    Said(String),
    /// No NATS talks like this.
    Garbled(Garbled),
    /// The server said nothing for too long.
    Silent,
    /// It ended.
    Ended,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(error) => error.fmt(f),
            Self::Said(said) => f.write_str(said),
            Self::Garbled(Garbled(what)) => write!(f, "this is no NATS: {what}"),
            Self::Silent => f.write_str("no answer in time"),
            Self::Ended => f.write_str("the connection ended"),
        }
    }
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<Garbled> for Wrong {
    fn from(garbled: Garbled) -> Self {
        Self::Garbled(garbled)
    }
}

/// What somebody who talks to NATS says of itself when something is wrong.
pub(super) trait Remedies {
    /// Where it is, without the credentials.
    fn place(&self) -> String;

    /// What to allow the user.
    fn rights(&self) -> String;

    /// What was lost with the connection.
    fn lost(&self) -> &'static str;
}

/// What to say of it. `otherwise`, when nothing more is known, it is this.
pub(super) fn fault(wrong: &Wrong, who: &impl Remedies, otherwise: Trouble) -> Fault {
    let said = wrong.to_string();
    let trouble = match wrong {
        Wrong::System(_) if unbelieved(&said) => {
            return Fault { trouble: Trouble::Credentials, said, help: BELIEVE.to_owned() };
        }
        Wrong::Said(said) => by_words(said),
        Wrong::Garbled(_) => Trouble::Other,
        Wrong::System(_) | Wrong::Silent | Wrong::Ended => otherwise,
    };
    let help = match trouble {
        Trouble::Credentials => "correct the user, the password or the token in the URL".to_owned(),
        Trouble::Forbidden => who.rights(),
        Trouble::Unreachable => format!("is NATS running at {}?", who.place()),
        Trouble::Lost => format!("it is connected again by itself; {}", who.lost()),
        _ => format!("see what {} said, and its log", who.place()),
    };
    Fault { trouble, said, help }
}

/// The words of `-ERR`.
fn by_words(said: &str) -> Trouble {
    let said = said.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    match () {
        () if says(&["permissions violation"]) => Trouble::Forbidden,
        () if says(&["authorization", "authentication"]) => Trouble::Credentials,
        () if says(&["stale connection", "slow consumer", "shutdown"]) => Trouble::Lost,
        () => Trouble::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Somebody;

    impl Remedies for Somebody {
        fn place(&self) -> String {
            "host:1".to_owned()
        }

        fn rights(&self) -> String {
            "let it".to_owned()
        }

        fn lost(&self) -> &'static str {
            "all is lost"
        }
    }

    #[track_caller]
    fn check(wrong: &Wrong, trouble: Trouble, help: &str) {
        let fault = fault(wrong, &Somebody, Trouble::Lost);
        assert_eq!((fault.trouble, fault.help.contains(help)), (trouble, true), "{fault:?}");
    }

    #[test]
    fn what_is_wrong_has_a_remedy() {
        let said = |said: &str| Wrong::Said(said.to_owned());
        check(&said("Authorization Violation"), Trouble::Credentials, "the password");
        check(&said("User Authentication Expired"), Trouble::Credentials, "the password");
        check(&said("Permissions Violation for Subscription to \"authorization\""), Trouble::Forbidden, "let it");
        check(&said("Slow Consumer"), Trouble::Lost, "all is lost");
        check(&said("maximum connections exceeded"), Trouble::Other, "host:1");
        check(&Wrong::Ended, Trouble::Lost, "by itself");
        check(&Wrong::Garbled(Garbled("x")), Trouble::Other, "host:1");
        let certificate = io::Error::other("invalid peer certificate: UnknownIssuer");
        check(&Wrong::System(certificate), Trouble::Credentials, "`ca`");
    }
}
