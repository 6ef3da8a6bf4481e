//! What is acknowledged is there after `kill -9`, which hinders no start, and `synced` is never said before its `fdatasync`. Each test runs this
//! binary once more as the publisher that is killed, or watched.

#![cfg(feature = "embedded")]
#![allow(clippy::unwrap_used, reason = "a test may: the panic is the failure")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use oyez_backends::embedded::{Embedded, EmbeddedStore, Options};
use oyez_hub::command::Level;
use oyez_hub::store::{Bound, Owner, Put, Settings, Store, Target, conformance};
use tempfile::TempDir;
use tokio::runtime::Handle;

const NOW: u64 = 1_700_000_000_000;
const USERS: usize = 7;

/// Tells the publisher where, as whom, and how many.
const DIR: &str = "OYEZ_TEST_STORE";
const PREFIX: &str = "OYEZ_TEST_PREFIX";
const COUNT: &str = "OYEZ_TEST_COUNT";

fn open(dir: &Path) -> EmbeddedStore {
    Embedded::store(dir, Options::default(), Settings::default(), Handle::current()).unwrap()
}

fn publisher(command: &mut Command, dir: &Path, prefix: &str, count: usize) -> Child {
    let command = command.args(["--exact", "publishes", "--nocapture", "--test-threads=1"]);
    let command = command.env(DIR, dir).env(PREFIX, prefix).env(COUNT, count.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// The publisher: eight at once, and a line on stdout for each answer, half of which are to be synced. By itself it
/// looks whether all is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishes() {
    let own = TempDir::new().unwrap();
    let dir = std::env::var_os(DIR).map_or_else(|| own.path().join("store"), PathBuf::from);
    let prefix = std::env::var(PREFIX).unwrap_or_default();
    let count = std::env::var(COUNT).map_or(200, |count| count.parse().unwrap());
    let store = Arc::new(open(&dir));
    let next = Arc::new(AtomicUsize::new(0));
    let publishers: Vec<_> = (0..8)
        .map(|_| {
            let (store, next, prefix) = (Arc::clone(&store), Arc::clone(&next), prefix.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let id = format!("{prefix}-{number}");
                    let level = if number % 2 == 0 { Level::Synced } else { Level::Stored };
                    let to = vec![Target::User((number % USERS).to_string().into())];
                    let bound = Bound { most: 1_000_000, ..Bound::default() };
                    let message = conformance::message(&id);
                    let put = Put { app: "app".into(), message, fresh: false, to, deliver_at: None, bound, level };
                    let stored = store.put(put, NOW).await.unwrap();
                    let line = format!("{:?} {id}\n", stored.level);
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await.unwrap();
    }
    assert_eq!(all(&store).await.len(), count);
}

/// The ids of the lines that say so.
fn acknowledged(line: &str) -> Option<String> {
    let (level, id) = line.split_once(' ')?;
    matches!(level, "Stored" | "Synced").then(|| id.trim_end().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_message_outlives_a_kill() {
    const ROUNDS: usize = 20;
    let dir = TempDir::new().unwrap();
    let itself = std::env::current_exe().unwrap();
    let mut expected = BTreeSet::new();
    for round in 0..ROUNDS {
        let mut child = publisher(&mut Command::new(&itself), dir.path(), &format!("round{round}"), 1_000_000);
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let (mut line, mut heard) = (String::new(), 0);
        while heard < 100 + round * 150 {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "the publisher ended by itself");
            heard += usize::from(acknowledged(&line).is_some_and(|id| expected.insert(id)));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        // Without its end, the last line was not said.
        let whole = rest.rfind('\n').map_or("", |end| &rest[..end]);
        expected.extend(whole.lines().filter_map(acknowledged));
        let store = open(dir.path());
        let found = all(&store).await;
        let lost: Vec<_> = expected.difference(&found).collect();
        assert!(lost.is_empty(), "round {round}: {} of {} lost: {lost:?}", lost.len(), expected.len());
        assert_eq!(store.verify().await.unwrap(), [], "round {round}");
    }
    println!("{} acknowledged messages, {ROUNDS} kills, none lost", expected.len());
}

/// The ids of all that anybody has, each of which must have its own payload.
async fn all(store: &EmbeddedStore) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for user in 0..USERS {
        let of = Owner::new("app", user.to_string());
        let mut after = None;
        loop {
            let page = store.pending(&of, after, 1_000, NOW).await.unwrap();
            for item in page.items {
                assert_eq!(item.message, conformance::message(&item.message.id));
                assert!(found.insert(item.message.id.to_string()), "{} twice", item.message.id);
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_that_is_ended_at_any_call_hinders_none_after_it() {
    const CALLS: &str = "?rename,?renameat,renameat2,?unlink,unlinkat,?rmdir,?mkdir,mkdirat,ftruncate,fsync,fdatasync";
    let itself = std::env::current_exe().unwrap();
    for number in 1.. {
        let dirs = TempDir::new().unwrap();
        let dir = dirs.path().join("store");
        let mut strace = Command::new("strace");
        let inject = format!("inject={CALLS}:signal=KILL:when={number}");
        strace.args(["-f", "-o", "/dev/null", "-e", &format!("trace={CALLS}"), "-e", &inject]).arg(&itself);
        let ended = publisher(&mut strace, &dir, "ended", 0).wait().unwrap();
        for _ in 0..2 {
            let opened = Embedded::store(&dir, Options::default(), Settings::default(), Handle::current());
            drop(opened.unwrap_or_else(|error| panic!("ended at call {number}: {error}")));
        }
        if ended.success() {
            assert!(number > 30, "it makes more calls than {number}");
            break;
        }
    }
}

#[test]
fn no_answer_says_synced_before_its_fdatasync() {
    let dir = TempDir::new().unwrap();
    let trace = dir.path().join("trace");
    let itself = std::env::current_exe().unwrap();
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-s", "65536", "-e", "trace=write,writev,pwrite64,fdatasync,fsync", "-o"])
        .arg(&trace)
        .arg(itself);
    let found = Command::new("strace").arg("-V").output().is_ok();
    assert!(found, "this test watches system calls: install strace");
    let child = publisher(&mut strace, &dir.path().join("store"), "watched", 300);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let answers = judge(&std::fs::read_to_string(&trace).unwrap());
    assert!(answers >= 150, "half of 300 were to be synced, not {answers}");
}

/// Reads a trace: of each message that was said to be synced, the write to the log was followed by a whole `fdatasync`
/// before that was said. Returns how many there were.
fn judge(trace: &str) -> usize {
    let mut answers = 0;
    // By number of line: where each call on a file ended that was one of the log's, and where each sync began and ended.
    let mut writes: Vec<(usize, &str)> = Vec::new();
    let mut syncs: Vec<(usize, usize)> = Vec::new();
    let mut begun: Vec<(&str, usize, &str)> = Vec::new();
    for (at, line) in trace.lines().enumerate() {
        let (thread, call) = line.split_once(' ').unwrap_or_default();
        let call = call.trim_start();
        let (began, call) = if call.ends_with("<unfinished ...>") {
            begun.push((thread, at, call));
            if !call.starts_with("write(1,") {
                continue;
            }
            (at, call)
        } else if call.starts_with("<...") {
            let Some(index) = begun.iter().position(|(other, ..)| *other == thread) else { continue };
            let (_, began, call) = begun.remove(index);
            (began, call)
        } else {
            (at, call)
        };
        if call.starts_with("write(1,") {
            let Some(id) = call.split("\"Synced ").nth(1).and_then(|rest| rest.split("\\n").next()) else { continue };
            // Said twice in the trace if it took two lines.
            if call.ends_with("<unfinished ...>") && began != at {
                continue;
            }
            answers += 1;
            let written = writes.iter().find(|(_, data)| names(data, id));
            let (written, _) = written.unwrap_or_else(|| panic!("{id} was never written"));
            let synced = syncs.iter().any(|(began, ended)| began > written && *ended < at);
            assert!(synced, "{id}: written in line {written}, said in line {at}, and no sync in between");
        } else if call.starts_with("fdatasync(") || call.starts_with("fsync(") {
            syncs.push((began, at));
        } else {
            writes.push((at, call));
        }
    }
    answers
}

/// Whether data that was written names an id, not only one that begins like it.
fn names(data: &str, id: &str) -> bool {
    data.match_indices(id).any(|(at, _)| !data[at + id.len()..].starts_with(|next: char| next.is_ascii_digit()))
}
