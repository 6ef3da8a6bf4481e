//! With Debian's nats-server, on a port of its own.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use oyez_hub::broker::conformance::{self, said};
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;

/// A server that ends with the test.
struct Nats {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What every server of these tests is set to.
const SETTINGS: &str = "max_payload: 8MB\n";

impl Nats {
    /// A server with more of these settings, on any port.
    fn start(settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        std::fs::write(folder.path().join("nats.conf"), format!("{SETTINGS}{settings}")).expect("it is written");
        let (child, port) = Self::launch(&folder, "-1");
        Self { child, port, folder }
    }

    /// Returns when it is ready, with its port.
    fn launch(folder: &TempDir, port: &str) -> (Child, u16) {
        let mut command = Command::new("nats-server");
        command.args(["-c", "nats.conf", "-a", "127.0.0.1", "-p", port]).current_dir(folder.path());
        let mut child = command.stderr(Stdio::piped()).spawn().expect("nats-server: apt-get install nats-server");
        let mut log = BufReader::new(child.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
        let listens = log.find(|line| line.contains("Listening for client connections")).expect("it listens");
        log.find(|line| line.contains("Server is ready")).expect("it is ready");
        std::thread::spawn(move || log.for_each(drop));
        (child, listens.rsplit_once(':').expect("a port").1.parse().expect("a number"))
    }

    fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    fn start_again(&mut self) {
        self.child = Self::launch(&self.folder, &self.port.to_string()).0;
    }

    fn broker(&self) -> (Arc<NatsBroker>, Inlet) {
        self.broker_of("")
    }

    /// For this user.
    fn broker_of(&self, login: &str) -> (Arc<NatsBroker>, Inlet) {
        let servers = Servers::new(&format!("nats://{login}127.0.0.1:{}", self.port), None).expect("servers");
        NatsBroker::connect(servers, "test", &Handle::current())
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
    let nats = Nats::start("");
    let ((a, mut from_a), (b, mut from_b)) = (nats.broker(), nats.broker());
    conformance::run((&*a, &mut from_a), (&*b, &mut from_b), "").await;
}

#[tokio::test]
async fn what_was_listened_to_is_listened_to_again_after_a_restart() {
    let mut nats = Nats::start("");
    let (broker, mut inlet) = nats.broker();
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
    nats.kill();
    assert_eq!(change(&mut inlet).await, Tidings::Down);
    assert!(broker.say(&[said("before", "nobody hears it")]).await.is_err());
    broker.listen(&["meanwhile".into()]).await;
    nats.start_again();
    assert_eq!(change(&mut inlet).await, Tidings::Up);
    heard(&mut inlet).await;
    broker.say(&[said("meanwhile", "3")]).await.expect("said");
    assert_eq!(conformance::heard(&mut inlet).await.payload, "3");
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_the_rest_is_said() {
    let nats = Nats::start("");
    let (broker, mut inlet) = nats.broker();
    assert_eq!(change(&mut inlet).await, Tidings::Up);
    broker.listen(&["topic".into()]).await;
    let large = said("topic", vec![0; (8 << 20) + 1]);
    assert!(broker.say(&[said("topic", "1"), large, said("topic", "2")]).await.is_err());
    assert!(broker.say(&[said(&"long".repeat(2_000), "")]).await.is_err());
    broker.say(&[said("topic", "3")]).await.expect("the connection is there");
    for expect in ["1", "2", "3"] {
        assert_eq!(inlet.recv().await, Some(Tidings::Said(said("topic", expect))));
    }
    assert_eq!(broker.refused.load(Relaxed), 2);
}

#[tokio::test]
async fn a_server_that_stands_still_is_given_up() {
    let nats = Nats::start("");
    let (_broker, mut inlet) = nats.broker();
    assert_eq!(change(&mut inlet).await, Tidings::Up);
    let pid = rustix::process::Pid::from_child(&nats.child);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("it runs");
    assert_eq!(change(&mut inlet).await, Tidings::Down);
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).expect("it is there");
    assert_eq!(change(&mut inlet).await, Tidings::Up);
}

#[tokio::test]
async fn who_does_not_listen_is_given_up_before_all_memory_is_full() {
    let nats = Nats::start("");
    let ((speaker, mut from_speaker), (slow, mut from_slow)) = (nats.broker(), nats.broker());
    assert_eq!((change(&mut from_speaker).await, change(&mut from_slow).await), (Tidings::Up, Tidings::Up));
    slow.listen(&["much".into()]).await;
    let words: Vec<Said> = (0..1_000).map(|_| said("much", "x")).collect();
    // Twice as many, since it may not have read all of it when the last is said.
    for _ in 0..2 * BEHIND.0 / words.len() {
        speaker.say(&words).await.expect("said");
    }
    let mut count = 0;
    while let Some(tidings) = from_slow.recv().await {
        match tidings {
            Tidings::Said(_) => count += 1,
            Tidings::Down => break,
            Tidings::Up => {}
        }
    }
    assert!(count <= BEHIND.0 + 64, "{count}");
    assert_eq!(change(&mut from_slow).await, Tidings::Up);
}

/// What is wrong with a connection of this user to a server with these settings.
async fn wrong(settings: &str, login: &str) -> (Trouble, String) {
    let nats = Nats::start(settings);
    let (broker, _) = nats.broker_of(login);
    broker.listen(&["topic".into()]).await;
    let (inlet, _kept) = mpsc::channel(8);
    let Fault { trouble, help, said } = broker.session(&inlet).await;
    assert!(!format!("{said}{help}").contains("hidden"), "{said} {help}");
    (trouble, help)
}

#[tokio::test]
async fn who_is_not_let_in_is_told_what_to_do() {
    const USERS: &str = "authorization { users = [
        { user: all, password: hidden },
        { user: weak, password: hidden, permissions: { subscribe: [\"other.>\"] } },
        { user: mute, password: hidden, permissions: { subscribe: [\"test.>\"], publish: [\"other.>\"] } } ] }";
    let (trouble, help) = wrong(USERS, "all:hidden-not@").await;
    assert_eq!((trouble, help.contains("password")), (Trouble::Credentials, true), "{help}");
    let (trouble, help) = wrong(USERS, "").await;
    assert_eq!((trouble, help.contains("password")), (Trouble::Credentials, true), "{help}");
    let (trouble, help) = wrong("authorization { token: hidden }", "hidden-not@").await;
    assert_eq!((trouble, help.contains("token")), (Trouble::Credentials, true), "{help}");
    let (trouble, help) = wrong(USERS, "weak:hidden@").await;
    assert_eq!((trouble, help.contains("\"test.>\"")), (Trouble::Forbidden, true), "{help}");

    let nats = Nats::start(USERS);
    let (mute, mut inlet) = nats.broker_of("mute:hidden@");
    assert_eq!(change(&mut inlet).await, Tidings::Up);
    let _ = mute.say(&[said("topic", "1")]).await;
    assert_eq!(change(&mut inlet).await, Tidings::Down);
    let (all, mut inlet) = nats.broker_of("all:hidden@");
    assert_eq!(change(&mut inlet).await, Tidings::Up);
    all.say(&[said("topic", "1")]).await.expect("said");
}

#[test]
fn a_topic_is_one_word_of_a_subject() {
    let servers = Servers::new("nats://localhost", None).expect("servers");
    let (wanted, topics, subscriptions, lane, refused) = Default::default();
    let broker = NatsBroker { servers, prefix: "oyez".to_owned(), wanted, topics, subscriptions, lane, refused };
    let check = |topic: &str, expect: &str| assert_eq!(broker.subject(topic), expect);
    check("erp#room:1", "oyez.erp#room:1");
    check("a.b c*>%2e\t工单\u{1}", "oyez.a%2eb%20c%2a%3e%252e%09工单%01");
}
