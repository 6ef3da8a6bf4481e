//! Copies, and where there is nothing to copy.

use std::fs;
use std::path::Path;

use oyez_hub::store::{Settings, StoreError};
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::damage::{fill, read};
use crate::embedded::{Embedded, Heard, Options, copy, exists, repair, verify};

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_as_good() {
    let dirs = TempDir::new().unwrap();
    let (first, second) = (dirs.path().join("first"), dirs.path().join("second"));
    let store = fill(&first).await;
    let whole = read(&store).await.unwrap();
    assert!(matches!(copy(&first, &second, Options::default(), &mut |_| {}), Err(StoreError::Locked { .. })));
    drop(store);
    let mut heard = None;
    let bytes = copy(&first, &second, Options::default(), &mut |now| heard = Some(now)).unwrap();
    assert!(bytes > 0 && heard == Some(Heard::Bytes(bytes)));
    assert_eq!(verify(&second, Options::default(), &mut |_| {}).unwrap(), []);
    let store = Embedded::store(&second, Options::default(), Settings::default(), Handle::current()).unwrap();
    assert_eq!(read(&store).await.unwrap(), whole);
    drop(store);
    let again = copy(&first, &second, Options::default(), &mut |_| {});
    assert!(matches!(again, Err(StoreError::NotEmpty { .. })), "{again:?}");
    let nothing = dirs.path().join("nothing");
    assert!(matches!(verify(&nothing, Options::default(), &mut |_| {}), Err(StoreError::Missing { .. })));
    assert!(!fs::exists(&nothing).unwrap(), "looking makes nothing");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_not_finished_is_no_store() {
    let dirs = TempDir::new().unwrap();
    let (whole, half) = (dirs.path().join("whole"), dirs.path().join("half"));
    drop(fill(&whole).await);
    // Nothing can be read there, so that the copy ends in the middle.
    let trap = whole.join("engine").join("trap");
    std::os::unix::fs::symlink("nowhere", &trap).unwrap();
    let ended = copy(&whole, &half, Options::default(), &mut |_| {});
    assert!(
        ended.unwrap_err().to_string().contains(whole.to_str().unwrap()),
        "the one that could not be read is named"
    );
    fs::remove_file(&trap).unwrap();
    let unfinished =
        |said: Result<(), StoreError>| assert!(matches!(said, Err(StoreError::Unfinished { .. })), "{said:?}");
    unfinished(verify(&half, Options::default(), &mut |_| {}).map(drop));
    unfinished(copy(&half, &dirs.path().join("third"), Options::default(), &mut |_| {}).map(drop));
    unfinished(copy(&whole, &half, Options::default(), &mut |_| {}).map(drop));
    unfinished(repair(&half, Options::default(), Handle::current(), &mut |_, _| {}).await.map(drop));
    let served = Embedded::store(&half, Options::default(), Settings::default(), Handle::current());
    unfinished(served.map(drop));
    fs::remove_dir_all(&half).unwrap();
    copy(&whole, &half, Options::default(), &mut |_| {}).unwrap();
    assert_eq!(verify(&half, Options::default(), &mut |_| {}).unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_made_outside_and_where_it_can_be() {
    let dirs = TempDir::new().unwrap();
    let (store, file) = (dirs.path().join("store"), dirs.path().join("file"));
    drop(fill(&store).await);
    fs::write(&file, "").unwrap();
    let copy = |to: &Path| copy(&store, to, Options::default(), &mut |_| {});
    for inside in ["", "in", "engine/in/deeper", "../store/in", "new/../in"] {
        let said = copy(&store.join(inside));
        assert!(matches!(said, Err(StoreError::Inside { .. })), "{inside}: {said:?}");
    }
    assert!(!fs::exists(store.join("in")).unwrap() && !fs::exists(store.join("new")).unwrap(), "nothing is made there");
    let nowhere = Path::new("/proc/nowhere/below");
    for place in [nowhere, &file, &file.join("below")] {
        let said = copy(place);
        assert!(matches!(said, Err(StoreError::NoDirectory { .. })), "{}: {said:?}", place.display());
        let served = Embedded::store(place, Options::default(), Settings::default(), Handle::current());
        assert!(matches!(served, Err(StoreError::NoDirectory { .. })), "as the server says it");
    }
    assert_eq!(verify(&store, Options::default(), &mut |_| {}).unwrap(), []);
    copy(&dirs.path().join("store-2")).unwrap();
}

#[cfg(unix)]
#[test]
fn what_is_another_users_is_not_called_missing() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("engine")).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o000)).unwrap();
    // Root may look everywhere.
    if fs::metadata(dir.path().join("engine")).is_err() {
        let said = exists(dir.path());
        assert!(matches!(said, Err(StoreError::ReadOnly { .. })), "{said:?}");
    }
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
}
