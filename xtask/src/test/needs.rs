//! What tests need beside cargo, found or installed through the ordinary package managers.
//!
//! Each function gives `Err` with the words that tell a person what to install when it may not do so itself.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::stream::succeeds;

/// Node's runner knows `--test-timeout` and `--test-concurrency` from here on.
const NODE: (u32, u32) = (20, 11);
/// The names under which Chromium is installed.
const CHROMIUM: &[&str] = &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Node and the packages of `package-lock.json`; installs the packages.
pub(crate) fn node_packages(root: &Path) -> Result<(), String> {
    let version = output(Command::new("node").arg("--version")).and_then(|text| parse_version(&text));
    if version.is_none_or(|version| version < NODE) {
        let (major, minor) = NODE;
        return Err(format!("install Node {major}.{minor} or newer with npm (https://nodejs.org)"));
    }
    let npm = || {
        let mut npm = Command::new("npm");
        npm.current_dir(root);
        npm
    };
    if output(npm().args(["ls", "--all"])).is_some() {
        return Ok(());
    }
    println!("installing the test clients: npm ci");
    if succeeds(npm().args(["ci", "--no-audit", "--no-fund"])) {
        return Ok(());
    }
    Err("`npm ci` failed: see above".to_owned())
}

/// A Chromium or Chrome: OYEZ_CHROMIUM when set, else one on the path, else installed by apt.
pub(super) fn chromium() -> Result<PathBuf, String> {
    if let Some(set) = env::var_os("OYEZ_CHROMIUM") {
        let path = PathBuf::from(set);
        return if path.is_file() { Ok(path) } else { Err(format!("OYEZ_CHROMIUM: no {}", path.display())) };
    }
    let find = || CHROMIUM.iter().find_map(|name| on_path(name));
    if let Some(found) = find() {
        return Ok(found);
    }
    apt("chromium")?;
    find().ok_or_else(|| "apt installed chromium, but it is not on the path".to_owned())
}

/// A Python with the packages of `tests/clients/requirements.txt`, in its own environment under `target/`.
pub(super) fn python(root: &Path) -> Result<PathBuf, String> {
    let wanted = root.join("tests/clients/requirements.txt");
    let home = root.join("target/python");
    let python = home.join("bin/python");
    let have = home.join("requirements.txt");
    let read = |path: &Path| fs::read_to_string(path).ok();
    if python.exists() && read(&wanted).is_some() && read(&wanted) == read(&have) {
        return Ok(python);
    }
    if on_path("python3").is_none() {
        apt("python3-venv")?;
    }
    println!("installing the Python clients: pip install -r tests/clients/requirements.txt");
    let make = || succeeds(Command::new("python3").args([OsStr::new("-m"), "venv".as_ref(), home.as_ref()]));
    if !make() {
        apt("python3-venv")?; // Debian packs venv apart from Python
        if !make() {
            return Err("`python3 -m venv` failed: see above".to_owned());
        }
    }
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    if !succeeds(Command::new(&python).args(pip).arg(&wanted)) {
        return Err("`pip install -r tests/clients/requirements.txt` failed: see above".to_owned());
    }
    // Written last: an installation that was cut short is made again.
    fs::copy(&wanted, &have).map_err(|error| format!("cannot write {}: {error}", have.display()))?;
    Ok(python)
}

/// OpenSSL's headers, which the stock Rust client of the tests is built with (not Oyez itself).
pub(super) fn openssl() -> Result<(), String> {
    let found = || output(Command::new("pkg-config").args(["--exists", "openssl"])).is_some();
    if found() {
        return Ok(());
    }
    apt("pkg-config")?;
    apt("libssl-dev")?;
    if found() { Ok(()) } else { Err("apt installed libssl-dev, but pkg-config does not find openssl".to_owned()) }
}

/// The broker that tests of sources start for themselves.
pub(crate) fn rabbitmq() -> Result<(), String> {
    // Debian puts what is on the path into a wrapper for its own user.
    let there = || Path::new("/usr/lib/rabbitmq/bin/rabbitmq-server").is_file() || on_path("rabbitmq-server").is_some();
    if there() {
        return Ok(());
    }
    apt("rabbitmq-server")?;
    if there() { Ok(()) } else { Err("apt installed rabbitmq-server, but it is not there".to_owned()) }
}

/// Redis, which tests of stores, of sources and of several nodes start for themselves.
pub(crate) fn redis() -> Result<(), String> {
    if on_path("redis-server").is_some() { Ok(()) } else { apt("redis-server") }
}

/// NATS, which tests of sources and of several nodes start for themselves.
pub(super) fn nats() -> Result<(), String> {
    if on_path("nats-server").is_some() { Ok(()) } else { apt("nats-server") }
}

/// strace, with which a test of the store sees what is synced before it is answered.
pub(super) fn strace() -> Result<(), String> {
    if cfg!(not(target_os = "linux")) || on_path("strace").is_some() { Ok(()) } else { apt("strace") }
}

/// A C++ compiler, which libFuzzer is built with (not Oyez itself).
pub(super) fn cxx() -> Result<(), String> {
    if env::var_os("CXX").is_some() || on_path("c++").is_some() { Ok(()) } else { apt("g++") }
}

/// Installs a package by apt where that is allowed.
pub(crate) fn apt(package: &str) -> Result<(), String> {
    let advice = format!("install it: apt-get install {package} (or what your system calls it)");
    let root = output(Command::new("id").arg("-u")).is_some_and(|id| id.trim() == "0");
    if !root || on_path("apt-get").is_none() {
        return Err(advice);
    }
    println!("installing: apt-get install {package}");
    let apt = |args: &[&str]| succeeds(Command::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(args));
    // Old lists may do, so only the installation decides.
    apt(&["update", "-qq"]);
    if apt(&["install", "-y", "-qq", "--no-install-recommends", package]) { Ok(()) } else { Err(advice) }
}

/// What a command prints, when it succeeds.
fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// `v20.11.1` as (20, 11).
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().strip_prefix('v')?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn node_versions_compare_as_numbers() {
        assert_eq!(parse_version("v20.9.0\n"), Some((20, 9)));
        assert!(parse_version("v20.9.0") < parse_version("v20.11.0"));
        assert_eq!(parse_version("20"), None);
    }
}
