//! With Debian's redis-server, on a socket in a directory of its own.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use oyez_hub::broker::conformance::{self, said};
use tempfile::TempDir;

use super::*;
use crate::redis::ear::BEHIND;

/// A server that ends with the test.
struct Redis {
    child: Child,
    folder: TempDir,
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(folder: &Path) -> Child {
    let words = ["--port", "0", "--save", "", "--unixsocket", "socket", "--daemonize", "no"];
    let mut command = Command::new("redis-server");
    command.args(words).current_dir(folder).stdout(Stdio::null());
    command.spawn().expect("redis-server: apt-get install redis-server")
}

impl Redis {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        Self { child: launch(folder.path()), folder }
    }

    fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    fn start_again(&mut self) {
        self.child = launch(self.folder.path());
    }

    fn url(&self) -> String {
        format!("redis+unix://{}", self.folder.path().join("socket").display())
    }

    fn broker(&self) -> (Arc<RedisBroker>, Inlet) {
        RedisBroker::connect(Place::of(&self.url()).expect("a place"), "test", &Handle::current())
    }

    async fn ask(&self, words: &[&str]) {
        let client = redis::Client::open(self.url()).expect("a URL");
        let mut lane = client.get_multiplexed_async_connection().await.expect("it is there");
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.exec_async(&mut lane).await.expect("it is done");
    }
}

/// The next word about the connection.
async fn change(inlet: &mut Inlet) -> Tidings {
    loop {
        match timeout(Duration::from_secs(20), inlet.recv()).await.expect("in time").expect("a broker") {
            Tidings::Said(_) => {}
            change => return change,
        }
    }
}

#[tokio::test]
async fn it_is_a_broker() {
    let redis = Redis::start();
    let ((a, mut from_a), (b, mut from_b)) = (redis.broker(), redis.broker());
    conformance::run((&*a, &mut from_a), (&*b, &mut from_b), "").await;
}

#[tokio::test]
async fn what_was_listened_to_is_listened_to_again_whatever_ends_the_connection() {
    let mut redis = Redis::start();
    let (broker, mut inlet) = redis.broker();
    broker.listen(&["before".into()]).await;
    assert_eq!(change(&mut inlet).await, Tidings::Up);
    broker.listen(&["after".into(), "never".into()]).await;
    broker.ignore(&["never".into()]).await;
    let heard = async |inlet: &mut Inlet| {
        let words = [said("never", "0"), said("before", "1"), said("after", "2")];
        broker.say(&words).await.expect("said");
        assert_eq!([conformance::heard(inlet).await, conformance::heard(inlet).await], words[1..]);
    };
    heard(&mut inlet).await;
    redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    assert_eq!((change(&mut inlet).await, change(&mut inlet).await), (Tidings::Down, Tidings::Up));
    heard(&mut inlet).await;
    redis.kill();
    assert_eq!(change(&mut inlet).await, Tidings::Down);
    assert!(broker.say(&[said("before", "nobody hears it")]).await.is_err());
    broker.listen(&["meanwhile".into()]).await;
    redis.start_again();
    assert_eq!(change(&mut inlet).await, Tidings::Up);
    heard(&mut inlet).await;
    broker.say(&[said("meanwhile", "3")]).await.expect("said");
    assert_eq!(conformance::heard(&mut inlet).await.payload, "3");
}

#[tokio::test]
async fn a_server_that_stands_still_is_given_up() {
    let redis = Redis::start();
    let (_broker, mut inlet) = redis.broker();
    assert_eq!(change(&mut inlet).await, Tidings::Up);
    let pid = rustix::process::Pid::from_child(&redis.child);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("it runs");
    assert_eq!(change(&mut inlet).await, Tidings::Down);
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).expect("it is there");
    assert_eq!(change(&mut inlet).await, Tidings::Up);
}

#[tokio::test]
async fn who_does_not_listen_is_given_up_before_all_memory_is_full() {
    let redis = Redis::start();
    let ((speaker, mut from_speaker), (slow, mut fromslow)) = (redis.broker(), redis.broker());
    assert_eq!((change(&mut from_speaker).await, change(&mut fromslow).await), (Tidings::Up, Tidings::Up));
    slow.listen(&["much".into()]).await;
    let words: Vec<Said> = (0..1_000).map(|_| said("much", "x")).collect();
    // Twice as many, since it may not have read all of it when the last is said.
    for _ in 0..2 * BEHIND.0 / words.len() {
        speaker.say(&words).await.expect("said");
    }
    let mut count = 0;
    while let Some(tidings) = fromslow.recv().await {
        match tidings {
            Tidings::Said(_) => count += 1,
            Tidings::Down => break,
            Tidings::Up => {}
        }
    }
    assert!(count <= BEHIND.0 + 64, "{count}");
    assert_eq!(change(&mut fromslow).await, Tidings::Up);
}
