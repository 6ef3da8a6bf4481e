//! Whatever bytes come on the broker's topics, what is read of them is a letter that reads the same when it is written
//! again, and what it publishes is a publication or none. The fuzz target `cluster_letter` makes up the bytes; tests go
//! through one letter of each kind, and what can become of it on its way.

use std::sync::LazyLock;

use super::words::{Letter, Words};
use crate::address::AppId;
use crate::app::App;

/// Reads what may be a letter.
///
/// # Panics
/// Where something does not hold.
pub(crate) fn read(bytes: &[u8]) {
    static APP: LazyLock<App> = LazyLock::new(|| App::embedded(AppId(0), "app", "/"));
    let Ok(letter) = Letter::read(bytes) else { return };
    assert_eq!(Letter::read(&letter.write()).as_ref(), Ok(&letter), "it reads as it was written");
    if let Words::Relay(_, relay) = letter.words
        && let Some(publication) = relay.publication(&APP)
    {
        assert_eq!(publication.app, AppId(0));
        assert!(publication.args.split().len() <= publication.args.text().len(), "its arguments are JSON");
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Arc;

    use bytes::Bytes;
    use oyez_protocol::message::Args;
    use proptest::prelude::*;

    use super::super::index::Row;
    use super::super::members::{Door, Peer};
    use super::super::words::{Answer, Fetch, Fetched, LARGEST, Question, Relay, Slow, To, Unread, Want, Wording};
    use super::*;
    use crate::address::Address;
    use crate::command::{Goodbye, Select, SocketInfo};
    use crate::delivery::Priority;
    use crate::policy::Rights;
    use crate::policy::token::Revocation;
    use crate::recovery::{Mark, PidKey};
    use crate::store::Target as Owner;

    const FROM: Peer = Peer { node: 300, life: 1 << 60 };
    const MARK: Mark = Mark { epoch: 9, position: 70_000 };
    const SESSION: Address = Address { node: 300, shard: 1, slot: 70_000, nonce: 5 };

    fn relay(to: To, when_slow: Slow) -> Relay {
        Relay {
            app: "app".to_owned(),
            id: "id".into(),
            to,
            except: vec!["others".into()],
            event: "event".into(),
            args: Wording::from(&Args::one(&"one").and_bytes(&b"two"[..])),
            native: Some("{}".to_owned()),
            priority: Priority::High,
            volatile: false,
            when_slow,
            compress: true,
            stored: None,
            recorded: None,
            remembered: vec!["room".into()],
            asks: Some((9, 1_000)),
        }
    }

    fn fetch() -> Fetch {
        Fetch { node: 300, name: SESSION, shown: Some(MARK), budget: 1_000, without: vec!["room:2".into()] }
    }

    fn fetched() -> Fetched {
        Fetched {
            app: "app".to_owned(),
            name: SESSION,
            channels: vec!["room".into()],
            missed: vec![relay(To::Session(SESSION.encode()), Slow::Disconnect)],
            numbers: vec![(FROM, 7)],
        }
    }

    fn session() -> SocketInfo {
        SocketInfo {
            id: SESSION.encode(),
            user: "ann".into(),
            name: Some("Ann".into()),
            roles: vec!["admin".into()],
            transport: "polling",
            address: Some("192.0.2.1".to_owned()),
            connected_at: 7,
            channels: vec!["room".into()],
        }
    }

    /// One of each kind, by the name of its file in the corpus.
    fn letters() -> Vec<(&'static str, Letter)> {
        let door = Door { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 4_000)), secret: [7; 32] };
        let user = Row::User {
            app: "app".to_owned(),
            user: "ann".into(),
            name: None,
            status: Some("away".into()),
            connections: 2,
            since: vec![1_800_000_000_000],
            rights: Some(Arc::new(Rights { roles: vec!["admin".into()], ..Rights::default() })),
        };
        let channel = Row::Channel { app: "app".to_owned(), channel: "room".into(), members: 3 };
        let wants = vec![
            Want::MayHear("room".to_owned()),
            Want::Having(vec![("roles".to_owned(), vec!["admin".to_owned()])]),
            Want::When("'agent' in user.roles".to_owned()),
        ];
        let revoked = vec![(Revocation::User("ann".into()), 1_900_000_000)];
        let channels = vec!["room".to_owned()];
        let ask = |question| Words::Ask(3, "app".to_owned(), question);
        let answer = |answer| Words::Answer(3, answer);
        let said = |relay| Words::Relay(7, Box::new(relay));
        let all = vec![
            ("beat", Words::Beat(Some(door), PidKey([8; 32]))),
            ("leave", Words::Leave),
            ("hello", Words::Hello),
            ("rows", Words::Rows(vec![user, channel])),
            ("unsaid", Words::Unsaid("app".to_owned(), vec!["room".into()], 1_000)),
            ("buried", Words::Buried("app".to_owned(), vec!["ann".into()])),
            ("revoked", Words::Revoked("app".to_owned(), revoked.clone())),
            ("relay", said(relay(To::Channels(vec![("room".into(), wants)]), Slow::Conflate("key".into())))),
            ("relay_to_session", said(relay(To::Session(SESSION.encode()), Slow::DropOldest))),
            ("release", Words::Release(SESSION)),
            ("ask_join", ask(Question::Join(Select::User("ann".into()), channels.clone()))),
            ("ask_leave", ask(Question::Leave(Select::Everyone, channels))),
            ("ask_disconnect", ask(Question::Disconnect(Select::Socket(SESSION), Goodbye::Transport))),
            ("ask_describe", ask(Question::Describe(Select::Socket(SESSION)))),
            ("ask_revoke", ask(Question::Revoke(revoked))),
            ("ask_seat", ask(Question::Seat("room".into(), vec!["ann".into()], true))),
            ("ask_seek", ask(Question::Seek(SESSION, "ann".into()))),
            ("ask_fetch", ask(Question::Fetch(fetch()))),
            ("ask_since", ask(Question::Since("room".into(), MARK, 1_000, SESSION))),
            ("ask_devices", ask(Question::Devices("ann".into(), "id".into()))),
            ("answer_done", answer(Answer::Done)),
            ("answer_refused", answer(Answer::Refused("no".to_owned()))),
            ("answer_sockets", answer(Answer::Sockets(vec![session().into()]))),
            ("answer_remembered", answer(Answer::Remembered(vec![("room".into(), true)]))),
            ("answer_fetched", answer(Answer::Fetched(Box::new(fetched())))),
            ("answer_said", answer(Answer::Said(Box::new(fetched())))),
            ("answer_lost", answer(Answer::Lost(vec!["room".into()]))),
            ("answer_reached", answer(Answer::Reached(5))),
            ("answer_acknowledged", answer(Answer::Acknowledged(Wording::from(&Args::one(&1))))),
            ("answer_gone", answer(Answer::Gone)),
            ("answer_devices", answer(Answer::Devices(2, 1))),
            ("claim", Words::Claim(true)),
            ("taken", Words::Taken),
            ("unrecorded", Words::Unrecorded("app".to_owned(), vec!["room".into()])),
            ("recount", Words::Recount("app".to_owned(), Owner::User("ann".into()))),
            ("named", Words::Named(vec![(301, PidKey([9; 32]))])),
        ];
        all.into_iter().map(|(name, words)| (name, Letter { from: FROM, words })).collect()
    }

    #[test]
    fn the_corpus_has_one_of_each_kind() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/cluster_letter");
        let mut changed = Vec::new();
        for (name, letter) in letters() {
            let file = format!("{corpus}/{name}");
            if std::fs::read(&file).unwrap_or_default() != letter.write() {
                std::fs::write(file, letter.write()).expect("a file");
                changed.push(name);
            }
        }
        assert!(changed.is_empty(), "the arrangement has changed; written anew: {changed:?}");
        for file in std::fs::read_dir(corpus).expect("the corpus").flatten() {
            read(&std::fs::read(file.path()).expect("a file"));
        }
    }

    #[test]
    fn what_is_cut_short_or_has_more_behind_it_is_no_letter() {
        for (name, letter) in letters() {
            let whole = letter.write();
            assert_eq!(Letter::read(&whole), Ok(letter), "{name}");
            for length in 1..whole.len() {
                assert_eq!(Letter::read(&whole[..length]), Err(Unread::Damaged), "{name}, {length} bytes of it");
            }
            assert_eq!(Letter::read(&[&whole[..], b"\0"].concat()), Err(Unread::Damaged), "{name}");
        }
    }

    #[test]
    fn whatever_byte_is_another_one_nothing_breaks() {
        for (_, letter) in letters() {
            let whole = letter.write();
            for at in 0..whole.len() {
                for byte in [0, 1, 0x7f, 0x80, 0xff, whole[at] ^ 1, whole[at].wrapping_add(1)] {
                    let mut other = whole.to_vec();
                    other[at] = byte;
                    read(&other);
                }
            }
        }
    }

    #[test]
    fn a_count_that_promises_more_than_comes_is_believed_of_nothing() {
        let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        for (name, letter) in letters() {
            let whole = letter.write();
            for at in 1..whole.len() {
                let huge = [&whole[..at], &most, &whole[at + 1..]].concat();
                // Somewhere it is only a number.
                if let Ok(letter) = Letter::read(&huge) {
                    assert!(letter.write().len() < huge.len() + 16, "{name}");
                }
            }
        }
    }

    #[test]
    fn what_is_too_large_is_not_looked_at() {
        let words = Words::Buried("app".to_owned(), vec!["x".repeat(LARGEST).into()]);
        let large = Letter { from: FROM, words }.write();
        assert_eq!(Letter::read(&large), Err(Unread::TooLarge));
        assert_eq!(Letter::read(&Bytes::new()), Err(Unread::Damaged));
    }

    proptest! {
        #[test]
        fn whatever_comes_nothing_breaks(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let own = letters()[0].1.write();
            read(&bytes);
            read(&[&own[..1], &bytes].concat());
            read(&[&own[..12], &bytes].concat());
        }
    }
}
