//! What `oyez dev` makes up on its first start and keeps, so that tokens survive a restart.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Where they are kept, from the directory the program was started in.
pub(crate) const FILE: &str = ".oyez/dev.json";

/// Random bytes in each.
const BYTES: usize = 32;

/// The development secrets of one directory.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Secrets {
    jwt_secret: String,
    api_key: String,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

impl Secrets {
    /// The secret behind a variable, as far as examples and the built-in configuration name any.
    pub(crate) fn env(&self, name: &str) -> Option<String> {
        match name {
            "JWT_SECRET" | "AUTH_SECRET" => Some(self.jwt_secret.clone()),
            "OYEZ_API_KEY" => Some(self.api_key.clone()),
            _ => None,
        }
    }

    /// The kept ones; `None` when `oyez dev` never ran here.
    pub(crate) fn kept(file: &Path) -> Result<Option<Self>, Failure> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::new(format!("cannot read {}: {error}", file.display()))),
        };
        let secrets: Option<Self> = serde_json::from_str(&text).ok();
        match secrets.filter(|secrets| !secrets.jwt_secret.is_empty() && !secrets.api_key.is_empty()) {
            Some(secrets) => Ok(Some(secrets)),
            None => Err(Failure::new(format!("{} is damaged", file.display()))
                .help("delete it; new secrets are made, and tokens made with the old ones are refused")),
        }
    }

    /// The kept ones, or new ones, which are kept from now on.
    pub(crate) fn keep(file: &Path) -> Result<Self, Failure> {
        if let Some(kept) = Self::kept(file)? {
            return Ok(kept);
        }
        let new = Self { jwt_secret: random(), api_key: format!("dev-{}", random()) };
        let cannot = |error: io::Error| Failure::new(format!("cannot keep secrets in {}: {error}", file.display()));
        create(file, &serde_json::json!(new).to_string()).map_err(cannot)?;
        // Another process may have been quicker; then its secrets count.
        Self::kept(file)?.ok_or_else(|| cannot(io::ErrorKind::NotFound.into()))
    }
}

/// Writes a file that only its owner can read. It appears complete or not at all, and an existing one stays.
fn create(file: &Path, text: &str) -> io::Result<()> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    let draft = draft(file);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut out = options.open(&draft)?;
    let written = out.write_all(text.as_bytes()).and_then(|()| out.sync_all());
    let linked = written.and_then(|()| fs::hard_link(&draft, file));
    let _ = fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

fn draft(file: &Path) -> PathBuf {
    file.with_extension(format!("{}.tmp", random()))
}

/// Random hexadecimal digits that nobody can guess.
fn random() -> String {
    rand::random::<[u8; BYTES]>().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_made_once_and_only_for_their_owner() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join(".oyez/dev.json");
        assert_eq!(Secrets::kept(&file), Ok(None));
        let made = Secrets::keep(&file).expect("new secrets");
        assert_eq!(Secrets::keep(&file).as_ref(), Ok(&made));
        assert_eq!(made.env("JWT_SECRET").map(|secret| secret.len()), Some(2 * BYTES));
        assert_eq!(made.env("HOME"), None);
        assert_eq!(fs::read_dir(directory.path().join(".oyez")).expect("it is there").count(), 1, "no draft is left");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&file).expect("it is there").permissions().mode() & 0o777, 0o600);
        }
        create(&file, "{}").expect("an existing file stays");
        assert_eq!(Secrets::keep(&file), Ok(made));
    }

    #[test]
    fn a_damaged_file_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("dev.json");
        for damaged in ["", "{}", r#"{"jwt_secret":"","api_key":"k"}"#] {
            fs::write(&file, damaged).expect("written");
            let failure = Secrets::keep(&file).expect_err("it is damaged").to_string();
            assert!(failure.contains("is damaged") && failure.contains("delete it"), "{failure}");
        }
    }
}
