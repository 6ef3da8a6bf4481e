//! Copies, and where there is nothing to copy.

use std::fs;

use oyez_hub::store::{Settings, StoreError};
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::damage::{fill, read};
use crate::embedded::{Embedded, Options, copy, exists, repair, verify};

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_as_good() {
    let dirs = TempDir::new().unwrap();
    let (first, second) = (dirs.path().join("first"), dirs.path().join("second"));
    let store = fill(&first).await;
    let whole = read(&store).await.unwrap();
    assert!(matches!(copy(&first, &second, Options::default(), &mut |_| {}), Err(StoreError::Locked { .. })));
    drop(store);
    let mut heard = 0;
    let bytes = copy(&first, &second, Options::default(), &mut |bytes| heard = bytes).unwrap();
    assert!(bytes > 0 && heard == bytes);
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
    copy(&whole, &half, Options::default(), &mut |_| {}).unwrap_err();
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
