//! `oyez store`, as an operator meets it: a good directory, a copy, damage, and back.

#![allow(clippy::unwrap_used, reason = "a test may: the panic is the failure")]

use std::fs;
use std::path::Path;
use std::process::Command;

use oyez_backends::embedded::{Embedded, Options};
use oyez_hub::store::{Settings, Store as _};
use tempfile::TempDir;
use tokio::runtime::Handle;

/// What it said, on stdout and stderr, and whether it ended well.
fn store(command: &str, dir: &Path, other: Option<&Path>) -> (bool, String) {
    let mut oyez = Command::new(env!("CARGO_BIN_EXE_oyez"));
    oyez.args(["store", command, "--data-dir"]).arg(dir).args(other);
    let output = oyez.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

async fn members(dir: &Path) -> usize {
    let store = Embedded::store(dir, Options::default(), Settings::default(), Handle::current()).unwrap();
    store.members("app", "ops", None, 1_000).await.unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_looked_after() {
    let dirs = TempDir::new().unwrap();
    let (data, copy, back) = (dirs.path().join("data"), dirs.path().join("copy"), dirs.path().join("back"));
    let (good, said) = store("verify", &data, None);
    assert!(!good && said.contains("there is no store in"), "{said}");

    let open = Embedded::store(&data, Options::default(), Settings::default(), Handle::current()).unwrap();
    for user in 0..50 {
        open.enroll("app", "ops", vec![user.to_string().into()]).await.unwrap();
    }
    let (good, said) = store("stats", &data, None);
    assert!(!good && said.contains("in use by another process"), "{said}");
    drop(open);

    let (good, said) = store("stats", &data, None);
    assert!(good && said.contains("ids are unique  for 24.0 hours"), "{said}");
    assert!(store("verify", &data, None).0);
    assert!(store("backup", &data, Some(&copy)).0);
    let (good, said) = store("backup", &data, Some(&copy));
    assert!(!good && said.contains("is not empty"), "{said}");

    let (good, said) = store("backup", &data, Some(&data.join("in")));
    assert!(!good && said.contains("name a directory outside it"), "{said}");

    let log = data.join("engine/0.jnl");
    let mut bytes = fs::read(&log).unwrap();
    let torn = dirs.path().join("torn");
    assert!(store("restore", &torn, Some(&copy)).0);
    fs::write(torn.join("engine/0.jnl"), &bytes[..2_000]).unwrap();
    let (good, said) = store("verify", &torn, None);
    assert!(good && said.contains(" bytes of a torn end were cut off") && said.contains("torn is good"), "{said}");
    let (good, said) = store("stats", &torn, None);
    assert!(good && !said.contains("torn end"), "it is whole now: {said}");
    bytes[1_000] ^= 1;
    fs::write(&log, bytes).unwrap();
    let (good, said) = store("verify", &data, None);
    assert!(!good && said.contains("oyez store repair --data-dir"), "{said}");
    let (good, said) = store("repair", &data, None);
    assert!(good && said.contains("is good now") && data.join("damaged-1").is_dir(), "{said}");
    assert!(said.contains("of the log could not be read") && said.contains("messages that are lost: 0"), "{said}");
    assert!(store("verify", &data, None).0);
    assert_eq!(members(&data).await, 49, "one batch was damaged");

    assert!(store("restore", &back, Some(&copy)).0);
    assert_eq!(members(&back).await, 50);
}
