//! What nodes share of the past.

use std::time::Duration;

use super::NOW;
use crate::recovery::{History, Mark};
use crate::store::{Chronicle, Recalled, Saying, Store};

const SECOND: u64 = 1_000;
/// What channels keep, unless it is said otherwise.
const KEPT: History = History { last: 100, time: Duration::from_secs(3_600) };

fn of(store: &dyn Store) -> &dyn Chronicle {
    store.chronicle().unwrap()
}

async fn say(store: &dyn Store, channels: &[&str], history: History, said: &str, now: u64) -> Mark {
    let saying = |channel: &&str| Saying { channel: (*channel).into(), history, said: Some(said.to_owned().into()) };
    of(store).remember("app", &channels.iter().map(saying).collect::<Vec<_>>(), now).await.unwrap()
}

async fn recall(store: &dyn Store, since: Option<Mark>, limit: usize, now: u64) -> Recalled {
    of(store).recall("app", ("news", KEPT), since, limit, now).await.unwrap()
}

/// What was said, joined.
fn words(recalled: &Recalled) -> String {
    let said = recalled.said.iter().map(|(_, said)| String::from_utf8(said.to_vec()).unwrap());
    said.collect::<Vec<_>>().join(" ")
}

pub(super) async fn has_one_order_in_all_channels(store: &dyn Store) {
    let nothing = recall(store, None, 10, NOW).await;
    assert_eq!((words(&nothing).as_str(), nothing.gap, nothing.more), ("", false, false));
    let a = say(store, &["news", "other"], KEPT, "a", NOW).await;
    let b = say(store, &["news"], KEPT, "b", NOW).await;
    let c = say(store, &["other"], KEPT, "c", NOW).await;
    assert!(nothing.until < a && a < b && b < c && a.epoch == c.epoch);
    let news = recall(store, None, 10, NOW).await;
    assert_eq!((words(&news).as_str(), news.gap, news.more, news.last), ("a b", false, false, b));
    assert_eq!(news.said.iter().map(|(position, _)| *position).collect::<Vec<_>>(), [a.position, b.position]);
    let other = of(store).recall("app", ("other", KEPT), Some(a), 10, NOW).await.unwrap();
    assert_eq!((words(&other).as_str(), other.gap), ("c", false));
    let elsewhere = of(store).recall("another", ("news", KEPT), None, 10, NOW).await.unwrap();
    assert_eq!(words(&elsewhere), "");
}

pub(super) async fn comes_in_pages(store: &dyn Store) {
    let first = recall(store, None, 10, NOW).await.until;
    for word in ["a", "b", "c", "d", "e"] {
        say(store, &["news"], KEPT, word, NOW).await;
    }
    assert_eq!(words(&recall(store, None, 2, NOW).await), "d e", "the newest");
    let mut since = first;
    let mut pages = Vec::new();
    loop {
        let page = recall(store, Some(since), 2, NOW).await;
        assert!(!page.gap);
        pages.push(words(&page));
        since = page.until;
        if !page.more {
            break;
        }
    }
    assert_eq!(pages, ["a b", "c d", "e"]);
    // The clock of another node is late; it comes last all the same.
    say(store, &["news"], KEPT, "f", NOW - 5 * SECOND).await;
    assert_eq!(words(&recall(store, Some(since), 2, NOW).await), "f");
}

pub(super) async fn keeps_so_many_and_says_what_is_lost(store: &dyn Store) {
    let two = History { last: 2, ..KEPT };
    let before = recall(store, None, 10, NOW).await.until;
    let first = say(store, &["news"], two, "a", NOW).await;
    for word in ["b", "c"] {
        say(store, &["news"], two, word, NOW).await;
    }
    let all = of(store).recall("app", ("news", two), None, 10, NOW).await.unwrap();
    assert_eq!(words(&all), "b c");
    for (since, gap) in [(before, true), (first, false)] {
        let found = of(store).recall("app", ("news", two), Some(since), 10, NOW).await.unwrap();
        assert_eq!((words(&found).as_str(), found.gap), ("b c", gap));
    }
}

pub(super) async fn gives_large_ones_in_small_pages(store: &dyn Store) {
    const COUNT: usize = 120;
    const LARGE: usize = 60_000;
    let first = recall(store, None, 10, NOW).await.until;
    for n in 0..COUNT {
        say(store, &["news"], KEPT, &format!("{n:0LARGE$}"), NOW).await;
    }
    let (mut since, mut found, mut pages) = (first, Vec::new(), 0);
    loop {
        let page = recall(store, Some(since), 1_000, NOW).await;
        found.extend(
            page.said.iter().map(|(_, said)| String::from_utf8(said.to_vec()).unwrap().parse::<usize>().unwrap()),
        );
        (since, pages) = (page.until, pages + 1);
        if !page.more {
            break;
        }
    }
    assert!(pages > 1);
    // A hundred are kept.
    assert_eq!(found, (COUNT - KEPT.last..COUNT).collect::<Vec<_>>());
    let newest = recall(store, None, 1_000, NOW).await;
    assert!(newest.said.len() < COUNT && newest.said.last().unwrap().0 == newest.last.position);
}

pub(super) async fn keeps_for_so_long(store: &dyn Store) {
    let short = History { time: Duration::from_secs(10), ..KEPT };
    let before = recall(store, None, 10, NOW).await.until;
    let a = say(store, &["news"], short, "a", NOW + SECOND).await;
    let b = say(store, &["news"], short, "b", NOW + 8 * SECOND).await;
    let at = |since, now| of(store).recall("app", ("news", short), since, 10, now);
    let soon = at(Some(before), NOW + 9 * SECOND).await.unwrap();
    assert_eq!((words(&soon).as_str(), soon.gap), ("a b", false));
    let later = at(Some(before), NOW + 12 * SECOND).await.unwrap();
    assert_eq!((words(&later).as_str(), later.gap), ("b", true));
    let later = at(Some(a), NOW + 12 * SECOND).await.unwrap();
    assert_eq!((words(&later).as_str(), later.gap), ("b", false));
    let quiet = at(Some(b), NOW + 60 * SECOND).await.unwrap();
    assert_eq!((words(&quiet).as_str(), quiet.gap), ("", false));
    // Nothing was ever said in these, as far as anybody knows: for who asks again and again, nothing is lost.
    let ask = |idle, since, now| of(store).recall("app", (idle, short), Some(since), 10, now);
    let long_ago = ask("idle", b, NOW + 600 * SECOND).await.unwrap();
    assert!(long_ago.gap);
    assert!(!ask("idle", long_ago.until, NOW + 605 * SECOND).await.unwrap().gap);
    for seconds in [60, 120, 600] {
        assert!(!ask("quiet", b, NOW + seconds * SECOND).await.unwrap().gap, "after {seconds} s");
    }
}

pub(super) async fn knows_where_it_knows_nothing(store: &dyn Store) {
    let a = say(store, &["news"], KEPT, "a", NOW).await;
    let nothing = Saying { channel: "news".into(), history: KEPT, said: None };
    let hole = of(store).remember("app", &[nothing], NOW).await.unwrap();
    let b = say(store, &["news"], KEPT, "b", NOW).await;
    for (since, said, gap) in [
        (Some(a), "b", true),
        (Some(hole), "b", false),
        (Some(b), "", false),
        (None, "a b", false),
        (Some(Mark { epoch: !a.epoch, ..a }), "a b", true),
        (Some(Mark { position: u64::MAX >> 1, ..a }), "a b", true),
    ] {
        let found = recall(store, since, 10, NOW).await;
        assert_eq!((words(&found).as_str(), found.gap), (said, gap), "{since:?}");
    }
    let all = of(store).remember("app", &[], NOW).await.unwrap();
    for (since, said, gap) in [(Some(b), "a b", true), (Some(all), "", false)] {
        let found = recall(store, since, 10, NOW).await;
        assert_eq!((words(&found).as_str(), found.gap), (said, gap), "{since:?}");
    }
}
