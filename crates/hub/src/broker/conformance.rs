//! What every broker has to keep: run by each with two connections to the same engine.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::{Broker, Inlet, Said, Tidings};

/// Nothing here takes as long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Something to say.
#[must_use]
pub fn said(topic: &str, payload: impl Into<Bytes>) -> Said {
    Said { topic: topic.into(), payload: payload.into() }
}

/// The next thing that is said to it.
///
/// # Panics
/// Nothing is said in time.
pub async fn heard(inlet: &mut Inlet) -> Said {
    loop {
        match timeout(PATIENCE, inlet.recv()).await.expect("in time").expect("a broker") {
            Tidings::Said(said) => return said,
            Tidings::Up | Tidings::Down => {}
        }
    }
}

/// Waits until it is up.
///
/// # Panics
/// It does not come up in time.
pub async fn up(inlet: &mut Inlet) {
    while timeout(PATIENCE, inlet.recv()).await.expect("in time").expect("a broker") != Tidings::Up {}
}

/// All that a broker promises. `topics` begins the names of the topics, so that runs do not hear each other.
///
/// # Panics
/// One of the promises is not kept.
pub async fn run(a: (&dyn Broker, &mut Inlet), b: (&dyn Broker, &mut Inlet), topics: &str) {
    let topic = |name: &str| -> Arc<str> { format!("{topics}{name}").into() };
    let ((a, from_a), (b, from_b)) = (a, b);
    up(from_a).await;
    up(from_b).await;

    // What is listened to is heard, also by who says it; nothing else is.
    a.listen(&[topic("both"), topic("a")]).await;
    b.listen(&[topic("both"), topic("b")]).await;
    let words =
        [said(&topic("a"), "1"), said(&topic("nobody"), "2"), said(&topic("both"), "3"), said(&topic("b"), "4")];
    a.say(&words).await.expect("said");
    assert_eq!((heard(from_a).await, heard(from_a).await), (words[0].clone(), words[2].clone()));
    assert_eq!((heard(from_b).await, heard(from_b).await), (words[2].clone(), words[3].clone()));

    // Order is that of the speaker, over batches and topics; bytes are bytes.
    let bytes: Vec<u8> = (0..=255).collect();
    for batch in 0..20_u8 {
        let words: Vec<_> = (0..100_u8)
            .map(|at| said(&topic(if at % 2 == 0 { "both" } else { "b" }), [&[batch, at], &bytes[..]].concat()))
            .collect();
        a.say(&words).await.expect("said");
    }
    for batch in 0..20_u8 {
        for at in 0..100_u8 {
            let heard = heard(from_b).await;
            assert_eq!(heard.payload[..2], [batch, at]);
            assert_eq!(heard.payload[2..], bytes);
        }
    }
    for _ in 0..20 * 50 {
        heard(from_a).await;
    }

    // Large things arrive whole, empty ones too; a topic may have any name.
    let strange = topic("\u{1}*?[a-z]\\ 工单#äöü");
    b.listen(&[Arc::clone(&strange)]).await;
    let words = [said(&strange, vec![7; 3 << 20]), said(&topic("zzz"), "no"), said(&strange, "")];
    a.say(&words).await.expect("said");
    assert_eq!(heard(from_b).await, words[0]);
    assert_eq!(heard(from_b).await, words[2]);

    // What is ignored is not heard any more; twice listened to is heard once.
    b.ignore(&[topic("b")]).await;
    b.listen(&[topic("both")]).await;
    a.say(&[said(&topic("b"), "5"), said(&topic("both"), "6")]).await.expect("said");
    assert_eq!(heard(from_b).await.payload, "6");
    assert_eq!(heard(from_a).await.payload, "6");

    // Many topics at once.
    let many: Vec<Arc<str>> = (0..5_000).map(|at| topic(&format!("many-{at}"))).collect();
    b.listen(&many).await;
    a.say(&many.iter().map(|name| said(name, "x")).collect::<Vec<_>>()).await.expect("said");
    for name in &many {
        assert_eq!(heard(from_b).await.topic, *name);
    }
    b.ignore(&many).await;
}

#[cfg(test)]
mod tests {
    use super::super::Bus;
    use super::*;

    #[tokio::test]
    async fn the_bus_keeps_it() {
        let bus = Bus::default();
        let ((a, mut from_a), (b, mut from_b)) = (bus.join(), bus.join());
        run((&*a, &mut from_a), (&*b, &mut from_b), "").await;
    }
}
