//! Torn and flipped bytes: what is damaged is told, never served as good, and the rest can be saved.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use oyez_hub::command::Level;
use oyez_hub::store::{Bound, Owner, Put, Settings, State, Store, StoreError, Target, Which, conformance};
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::embedded::journal::{Found, check, files};
use crate::embedded::{Embedded, EmbeddedStore, Heard, Options, repair, verify};

const NOW: u64 = 1_700_000_000_000;
const MESSAGES: usize = 60;

pub(super) fn open(dir: &Path) -> Result<EmbeddedStore, StoreError> {
    Embedded::store(dir, Options::default(), Settings::default(), Handle::current())
}

/// Messages for ann and bob in turn, each in a group of its own.
pub(super) async fn fill(dir: &Path) -> EmbeddedStore {
    let store = open(dir).unwrap();
    store.enroll("app", "ops", vec!["ann".into()]).await.unwrap();
    for number in 0..MESSAGES {
        let user = if number % 2 == 0 { "ann" } else { "bob" };
        store.put(message(&format!("m{number}"), user), NOW).await.unwrap();
    }
    store
}

/// A message for somebody, on its way in.
fn message(id: &str, user: &str) -> Put {
    Put {
        app: "app".into(),
        message: conformance::message(id),
        fresh: false,
        to: vec![Target::User(user.into())],
        deliver_at: None,
        bound: Bound::default(),
        level: Level::Synced,
    }
}

/// What can be read, each message as it was put.
pub(super) async fn read(store: &EmbeddedStore) -> Result<BTreeSet<String>, StoreError> {
    let mut found = BTreeSet::new();
    for user in ["ann", "bob"] {
        let page = store.pending(&Owner::new("app", user), None, MESSAGES, NOW).await?;
        for item in page.items {
            assert_eq!(item.message, conformance::message(&item.message.id), "damage is never served as good");
            found.insert(item.message.id.to_string());
        }
    }
    Ok(found)
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(super) fn log_of(dir: &Path) -> PathBuf {
    files(&dir.join("engine")).unwrap().pop().unwrap()
}

/// The log without the zeros behind it, so that copies are small.
fn trimmed(log: &Path) -> Vec<u8> {
    let mut bytes = fs::read(log).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes.truncate(written);
    bytes
}

/// A store whose log alone holds everything, closed.
async fn in_the_log() -> (TempDir, Vec<u8>) {
    let dir = TempDir::new().unwrap();
    drop(fill(dir.path()).await);
    let bytes = trimmed(&log_of(dir.path()));
    fs::write(log_of(dir.path()), &bytes).unwrap();
    (dir, bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_end_starts_by_itself() {
    let (dir, bytes) = in_the_log().await;
    let mut half = bytes.clone();
    half.extend_from_slice(&bytes[..bytes.len().min(40)]);
    let mut hole = bytes.clone();
    let end = hole.len();
    hole[end - 60..end - 30].fill(0);
    let cuts = [1, 4, 5, 13, 40, 100].map(|cut| bytes[..bytes.len() - cut].to_vec());
    for (case, torn) in cuts.into_iter().chain([half, hole]).enumerate() {
        let copied = TempDir::new().unwrap();
        copy(dir.path(), copied.path());
        fs::write(log_of(copied.path()), torn).unwrap();
        let store = open(copied.path()).unwrap_or_else(|error| panic!("case {case}: {error}"));
        let found = read(&store).await.unwrap();
        assert!(
            found.len() >= MESSAGES - 1,
            "case {case}: only what was torn may be gone, not {}",
            MESSAGES - found.len()
        );
        assert_eq!(store.verify().await.unwrap(), [], "case {case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_end_is_told_by_whoever_cuts_it_off() {
    let (dir, bytes) = in_the_log().await;
    let half = &bytes[..bytes.len() / 2];
    let torn = || {
        let torn = TempDir::new().unwrap();
        copy(dir.path(), torn.path());
        fs::write(log_of(torn.path()), half).unwrap();
        torn
    };
    let serves = torn();
    let store = open(serves.path()).unwrap();
    let told = store.engine().torn().cloned().unwrap();
    assert_eq!(told.at + told.bytes, half.len() as u64);
    drop(store);
    let mut heard = Vec::new();
    let mut hear = |now| {
        if let Heard::Torn(torn) = now {
            heard.push((torn.at, torn.bytes));
        }
    };
    let (checked, copied, to) = (torn(), torn(), TempDir::new().unwrap());
    assert_eq!(verify(checked.path(), Options::default(), &mut hear).unwrap(), []);
    crate::embedded::copy(copied.path(), to.path(), Options::default(), &mut hear).unwrap();
    assert_eq!(verify(to.path(), Options::default(), &mut hear).unwrap(), []);
    assert_eq!(heard, [(told.at, told.bytes); 2], "each once, and of the copy nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_gone_is_told_and_only_repair_goes_on_without() {
    let dir = TempDir::new().unwrap();
    drop(open(dir.path()).unwrap());
    drop(open(dir.path()).expect("a store that nothing was put into is not taken for one"));
    drop(fill(dir.path()).await);
    let log = log_of(dir.path());
    let aside = dir.path().join("aside");
    fs::rename(&log, &aside).unwrap();
    let told = |said: Result<(), StoreError>| {
        let error = said.unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }) && error.to_string().contains("log is gone"), "{error}");
    };
    told(open(dir.path()).map(drop));
    told(verify(dir.path(), Options::default(), &mut |_| {}).map(drop));
    fs::rename(&aside, &log).unwrap();
    assert_eq!(read(&open(dir.path()).unwrap()).await.unwrap().len(), MESSAGES, "nothing was touched");
    fs::remove_file(&log).unwrap();
    let done = repair(dir.path(), Options::default(), Handle::current(), &mut |_, _| {}).await.unwrap();
    assert!(done.log_gone, "{done:?}");
    assert!(read(&open(dir.path()).unwrap()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_gone_is_beyond_repair() {
    let dir = TempDir::new().unwrap();
    let store = fill(dir.path()).await;
    store.engine().compact().unwrap();
    drop(store);
    fs::remove_file(tables(dir.path()).pop().unwrap()).unwrap();
    let beyond = |said: Result<(), StoreError>| {
        let error = said.unwrap_err();
        assert!(matches!(error, StoreError::Broken { .. }), "{error:?}");
        let said = error.to_string();
        assert!(said.contains("oyez store restore") && !said.contains("oyez store repair"), "{said}");
    };
    beyond(open(dir.path()).map(drop));
    beyond(verify(dir.path(), Options::default(), &mut |_| {}).map(drop));
    beyond(repair(dir.path(), Options::default(), Handle::current(), &mut |_, _| {}).await.map(drop));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_was_ended_at_its_last_step_takes_it_when_the_store_is_opened() {
    let dir = TempDir::new().unwrap();
    let all = read(&fill(dir.path()).await).await.unwrap();
    let (engine, fresh) = (dir.path().join("engine"), dir.path().join("engine.new"));
    fs::create_dir(&fresh).unwrap();
    fs::rename(&engine, fresh.join("engine")).unwrap();
    for said in [verify(dir.path(), Options::default(), &mut |_| {}).map(drop), open(dir.path()).map(drop)] {
        assert!(matches!(said, Err(StoreError::Incomplete { .. })), "half of it may be there: {said:?}");
    }
    fs::write(fresh.join("whole"), "").unwrap();
    assert_eq!(verify(dir.path(), Options::default(), &mut |_| {}), Ok(Vec::new()));
    assert!(engine.exists() && !fresh.exists());
    assert_eq!(read(&open(dir.path()).unwrap()).await.unwrap(), all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_in_the_log_is_told_and_the_rest_is_saved() {
    let (dir, bytes) = in_the_log().await;
    let (mut told, mut torn) = (0, 0);
    for at in (0..bytes.len()).step_by(131) {
        let copied = TempDir::new().unwrap();
        copy(dir.path(), copied.path());
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        fs::write(log_of(copied.path()), flipped).unwrap();
        match open(copied.path()) {
            Ok(store) => {
                // The number of a batch and of its items' count are not in its sum: of these nothing is lost.
                torn += 1;
                let found = read(&store).await.unwrap();
                assert!(found.len() >= MESSAGES - 1, "byte {at}: {} are silently gone", MESSAGES - found.len());
                continue;
            }
            Err(error @ StoreError::Damaged { .. }) => {
                told += 1;
                assert!(error.to_string().contains("oyez store repair --data-dir"), "{error}");
            }
            Err(error) => panic!("byte {at}: {error}"),
        }
        if told % 8 == 1 {
            let before = check(&log_of(copied.path())).unwrap();
            assert!(matches!(before, Found::Damaged { .. }), "byte {at}: {before:?}");
            let done = repair(copied.path(), Options::default(), Handle::current(), &mut |_, _| {}).await.unwrap();
            assert!(done.log_bytes > 0 && done.kept.is_some_and(|kept| kept.is_dir()), "byte {at}");
            let store = open(copied.path()).unwrap();
            assert!(read(&store).await.unwrap().len() >= MESSAGES - 1, "byte {at}: one batch is lost, no more");
            assert_eq!(store.verify().await.unwrap(), [], "byte {at}");
        }
    }
    assert!(told > 20 && torn < told / 4, "{told} told, {torn} at the end");
}

pub(super) fn tables(dir: &Path) -> Vec<PathBuf> {
    let mut tables = Vec::new();
    for entry in fs::read_dir(dir.join("engine/keyspaces")).unwrap().map(Result::unwrap) {
        let folder = entry.path().join("tables");
        if let Ok(found) = fs::read_dir(folder) {
            tables.extend(found.map(|table| table.unwrap().path()));
        }
    }
    tables.sort_by_key(|table| fs::metadata(table).unwrap().len());
    tables
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_in_a_table_is_told_and_the_rest_is_saved() {
    let dir = TempDir::new().unwrap();
    let store = fill(dir.path()).await;
    store.mark(&Owner::new("app", "ann"), Which::UpTo("m10".into()), State::Delivered, NOW).await.unwrap();
    let whole = read(&store).await.unwrap();
    store.engine().compact().unwrap();
    drop(store);
    // What has gone to the table is not in the log any more.
    let length = fs::metadata(tables(dir.path()).pop().unwrap()).unwrap().len();
    let (mut told, mut saved) = (0, 0);
    for at in (0..length).step_by(usize::try_from(length / 20).unwrap()) {
        let copied = TempDir::new().unwrap();
        copy(dir.path(), copied.path());
        let table = tables(copied.path()).pop().unwrap();
        let mut bytes = fs::read(&table).unwrap();
        bytes[usize::try_from(at).unwrap()] ^= 0x10;
        fs::write(&table, bytes).unwrap();
        let damage = match open(copied.path()) {
            Ok(store) => {
                let found = read(&store).await;
                let damage = store.verify().await.unwrap();
                assert!(found.is_err() || !damage.is_empty() || found.unwrap() == whole, "byte {at}: silently other");
                !damage.is_empty()
            }
            Err(StoreError::Damaged { .. } | StoreError::Broken { .. }) => true,
            Err(error) => panic!("byte {at}: {error}"),
        };
        told += usize::from(damage);
        if damage && repair(copied.path(), Options::default(), Handle::current(), &mut |_, _| {}).await.is_ok() {
            let store = open(copied.path()).unwrap();
            let found = read(&store).await.unwrap();
            assert_eq!(store.verify().await.unwrap(), [], "byte {at}");
            saved += usize::from(!found.is_empty());
        }
    }
    println!("{told} of 21 flips told, {saved} stores repaired");
    assert!(told > 10 && saved > 5, "{told} told, {saved} repaired");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_belongs_to_one_process_and_one_format() {
    let dir = TempDir::new().unwrap();
    let store = fill(dir.path()).await;
    assert!(matches!(open(dir.path()), Err(StoreError::Locked { .. })));
    drop(store);
    let store = open(dir.path()).unwrap();
    assert_eq!(read(&store).await.unwrap().len(), MESSAGES);
    drop(store);
    let file = dir.path().join("oyez.lock");
    assert!(matches!(open(&file), Err(StoreError::NoDirectory { .. })), "a file is no directory");
    // The engine's marker, as a version that is not there yet would write it.
    fs::write(dir.path().join("engine/version"), b"FJL\x09").unwrap();
    let error = open(dir.path()).err().unwrap();
    assert!(matches!(error, StoreError::Newer { found: 9, known: 3, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_nothing_is_lost() {
    let dir = TempDir::new().unwrap();
    drop(fill(dir.path()).await);
    let never = Options { keep_free: u64::MAX, ..Options::default() };
    let store = Embedded::store(dir.path(), never, Settings::default(), Handle::current()).unwrap();
    let marked = store.mark(&Owner::new("app", "ann"), Which::All, State::Read, NOW).await;
    assert!(matches!(marked, Err(StoreError::DiskFull { .. })), "{marked:?}");
    assert_eq!(read(&store).await.unwrap().len(), MESSAGES);
    drop(store);
    let disk = rustix::fs::statvfs(dir.path()).unwrap();
    let nearly = Options { keep_free: disk.f_bavail * disk.f_frsize * 2, ..Options::default() };
    let store = Embedded::store(dir.path(), nearly, Settings::default(), Handle::current()).unwrap();
    let refused = store.put(message("more", "ann"), NOW).await;
    assert!(matches!(refused, Err(StoreError::DiskFull { .. })), "{refused:?}");
    let marked = store.mark(&Owner::new("app", "ann"), Which::All, State::Read, NOW).await.unwrap();
    assert_eq!(marked.changed.len(), MESSAGES / 2, "what becomes of messages may use what is kept free");
    drop(store);
    let store = open(dir.path()).unwrap();
    store.put(message("more", "ann"), NOW).await.unwrap();
}
