//! A store of which a part is not there: it is told, never begun anew in its place, and what is left stays.

use std::fs;
use std::path::{Path, PathBuf};

use oyez_hub::store::{Settings, StoreError};
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::damage::{copy as copy_files, fill, open, read};
use crate::embedded::{Embedded, Options, copy, repair, verify};

/// Every file and directory below, with its length.
fn contents(dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(contents(&path));
        }
        let length = if path.is_dir() { 0 } else { fs::metadata(&path).unwrap().len() };
        found.push((path, length));
    }
    found.sort();
    found
}

/// What everybody who opens it says.
async fn all_say(dir: &Path) -> Vec<Option<StoreError>> {
    let to = TempDir::new().unwrap();
    let options = Options::default();
    vec![
        open(dir).err(),
        verify(dir, options, &mut |_| {}).err(),
        copy(dir, &to.path().join("to"), options, &mut |_| {}).err(),
        repair(dir, options, Handle::current(), &mut |_, _| {}).await.err(),
    ]
}

/// A store with tables and a log, closed.
async fn with_tables() -> TempDir {
    let dir = TempDir::new().unwrap();
    let store = fill(dir.path()).await;
    store.engine().compact().unwrap();
    drop(store);
    drop(open(dir.path()).unwrap());
    dir
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_missing_is_named_and_nothing_is_begun_or_deleted() {
    let dir = with_tables().await;
    let parts =
        ["version", "keyspaces/0/current", "keyspaces/1/current", "keyspaces/0", "keyspaces/1", "keyspaces", ""];
    for part in parts {
        for directory in [false, true] {
            let copied = TempDir::new().unwrap();
            copy_files(dir.path(), copied.path());
            let engine = copied.path().join("engine");
            let path = if part.is_empty() { engine } else { engine.join(part) };
            fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path)).unwrap();
            if directory {
                fs::create_dir(&path).unwrap();
            }
            let before = contents(copied.path());
            for said in all_say(copied.path()).await {
                let said = said.unwrap_or_else(|| panic!("{part}: opened"));
                assert!(matches!(said, StoreError::Incomplete { .. }), "{part}: {said:?}");
                assert!(said.to_string().contains(path.to_str().unwrap()), "{part}: {said}");
            }
            assert_eq!(contents(copied.path()), before, "{part}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_when_its_directory_is_gone_is_not_begun_anew() {
    let dir = with_tables().await;
    let engine = dir.path().join("engine");
    let away = TempDir::new().unwrap();
    fs::rename(&engine, away.path().join("engine")).unwrap();
    let told = async |dir: &Path| {
        for said in all_say(dir).await {
            assert!(matches!(said, Some(StoreError::Incomplete { .. })), "{said:?}");
        }
        assert!(!fs::exists(dir.join("engine")).unwrap());
    };
    told(dir.path()).await;
    // Of a version that noted nothing, and of a copy without the note.
    for beside in ["damaged-1", "engine.new"] {
        let other = TempDir::new().unwrap();
        fs::create_dir_all(other.path().join(beside).join("engine")).unwrap();
        fs::write(other.path().join("oyez.lock"), "").unwrap();
        told(other.path()).await;
    }
    fs::rename(away.path().join("engine"), &engine).unwrap();
    assert!(!read(&open(dir.path()).unwrap()).await.unwrap().is_empty(), "put back, all is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_was_ended_while_it_made_a_store_is_begun_anew() {
    let dir = TempDir::new().unwrap();
    let begun = dir.path().join("engine.begun");
    fs::create_dir_all(begun.join("engine/keyspaces")).unwrap();
    fs::write(dir.path().join("oyez.lock"), "").unwrap();
    fs::write(begun.join("engine/0.jnl"), "").unwrap();
    let missing = verify(dir.path(), Options::default(), &mut |_| {});
    assert!(matches!(missing, Err(StoreError::Missing { .. })), "{missing:?}");
    let all = read(&fill(dir.path()).await).await.unwrap();
    assert!(!begun.exists());
    // It had taken its place.
    fs::create_dir_all(begun.join("keyspaces")).unwrap();
    assert_eq!(read(&open(dir.path()).unwrap()).await.unwrap(), all);
    assert!(!begun.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_log_is_known_from_one_that_nothing_is_in() {
    let dir = TempDir::new().unwrap();
    for _ in 0..3 {
        drop(open(dir.path()).expect("a store that nothing was put into"));
    }
    let log = super::damage::log_of(dir.path());
    fs::write(&log, "torn").unwrap();
    drop(open(dir.path()).expect("a torn end, before which there is nothing"));
    drop(open(dir.path()).unwrap());
    drop(fill(dir.path()).await);
    let next = log.with_file_name("7.jnl");
    fs::write(&next, "").unwrap();
    drop(open(dir.path()).expect("the engine was ended when it began the next log"));
    for log in [&log, &next] {
        fs::write(log, "").unwrap();
    }
    let said = Embedded::store(dir.path(), Options::default(), Settings::default(), Handle::current()).err().unwrap();
    assert!(matches!(said, StoreError::Damaged { .. }) && said.to_string().contains("log is gone"), "{said}");
    let done = repair(dir.path(), Options::default(), Handle::current(), &mut |_, _| {}).await.unwrap();
    assert!(done.log_gone, "{done:?}");
    drop(open(dir.path()).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_place_of_a_table_is_named() {
    let dir = with_tables().await;
    let table = super::damage::tables(dir.path()).pop().unwrap();
    fs::remove_file(&table).unwrap();
    fs::create_dir(&table).unwrap();
    for said in all_say(dir.path()).await {
        assert!(matches!(said, Some(StoreError::Incomplete { .. })), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engines_lock_is_made_again() {
    let dir = with_tables().await;
    let lock = dir.path().join("engine/lock");
    fs::remove_file(&lock).unwrap();
    assert_eq!(verify(dir.path(), Options::default(), &mut |_| {}), Ok(Vec::new()));
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    let said = open(dir.path()).err();
    assert!(matches!(said, Some(StoreError::Incomplete { .. })), "{said:?}");
    let log = super::damage::log_of(dir.path());
    fs::remove_dir(&lock).unwrap();
    fs::remove_file(&log).unwrap();
    fs::create_dir(&log).unwrap();
    let said = open(dir.path()).err();
    assert!(matches!(said, Some(StoreError::Incomplete { .. })), "{said:?}");
}
