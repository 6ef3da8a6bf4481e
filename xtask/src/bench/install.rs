//! Getting the servers onto this machine, from the ordinary registries. What cannot be had is absent, and said so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use toml::{Table, Value};

use super::output;
use super::peer::{Install, Peer};
use super::results::Results;
use crate::test::cargo;
use crate::test::needs::{apt, on_path};
use crate::test::stream::succeeds;

/// The Python that has python-socketio.
pub(super) const PYTHON: &str = "target/bench/python/bin/python";
/// Where Debian keeps the source code of Go's packages.
const GOPATH: &str = "/usr/share/gocode";
/// nchan, as Debian packs it.
const NCHAN: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

/// Installs all of these; gives those that are there, and notes versions and absences.
pub(super) fn all(root: &Path, peers: &[&'static Peer], results: &mut Results) -> Result<Vec<&'static Peer>> {
    let mut there = Vec::new();
    for peer in peers {
        println!("installing {}", peer.title);
        match version(root, peer.install) {
            Ok(version) => {
                println!("   {version}");
                results.versions.insert(peer.name.to_owned(), version);
                there.push(*peer);
            }
            Err(error) => {
                println!("   absent: {error}");
                results.absent.insert(peer.name.to_owned(), error);
            }
        }
    }
    // The load generator is Oyez, too: without it there is nothing.
    if let Some(error) = results.absent.get(super::peer::OYEZ) {
        anyhow::bail!("{error}");
    }
    Ok(there)
}

/// Installs one; gives its version, or what a person must do.
fn version(root: &Path, install: Install) -> Result<String, String> {
    match install {
        Install::Oyez => oyez(root),
        Install::Rust(package) => rust(root, package),
        Install::Npm(runner) => npm(root, runner),
        Install::Pip => pip(root),
        Install::Go(packages) => go(root, packages),
        Install::Nginx => nginx(),
        Install::Engine => engine(root),
    }
}

fn told(result: Result<String>) -> Result<String, String> {
    result.map_err(|error| format!("{error:#}"))
}

fn oyez(root: &Path) -> Result<String, String> {
    if !succeeds(cargo::command(root).args(["build", "--quiet", "--release", "--package", "oyez-cli"])) {
        return Err("`cargo build --release --package oyez-cli` failed: see above".to_owned());
    }
    told(output(Command::new(root.join("target/release/oyez")).arg("--version")))
}

fn rust(root: &Path, package: Option<&str>) -> Result<String, String> {
    let folder = root.join("bench");
    let mut build = cargo::command(&folder);
    build.args(["build", "--quiet", "--release", "--locked"]).env("CARGO_TARGET_DIR", root.join("target/bench"));
    if !succeeds(&mut build) {
        return Err("`cargo build --release` in bench/ failed: see above".to_owned());
    }
    let Some(package) = package else { return Ok("of this repository".to_owned()) };
    let lock = fs::read_to_string(folder.join("Cargo.lock")).map_err(|error| format!("bench/Cargo.lock: {error}"))?;
    Ok(format!("{package} {}, mimalloc", locked(&lock, package)?))
}

fn npm(root: &Path, runner: &str) -> Result<String, String> {
    if on_path("npm").is_none() {
        return Err("install Node 20 or newer with npm (https://nodejs.org)".to_owned());
    }
    let folder = root.join("bench/socketio");
    let npm = |arguments: &[&str]| {
        let mut npm = Command::new("npm");
        npm.current_dir(&folder).args(arguments);
        npm
    };
    if output(&mut npm(&["ls", "--all"])).is_err() && !succeeds(&mut npm(&["ci", "--no-audit", "--no-fund"])) {
        return Err("`npm ci` in bench/socketio failed: see above".to_owned());
    }
    let runner = if runner.contains('/') { root.join(runner) } else { runner.into() };
    let name = runner.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let runner = told(output(Command::new(runner).arg("--version")))?;
    let engine = if name == "bun" { "@socket.io/bun-engine" } else { "ws" };
    let of = |package: &str| {
        let text = fs::read_to_string(folder.join("node_modules").join(package).join("package.json")).ok()?;
        let package: serde_json::Value = serde_json::from_str(&text).ok()?;
        Some(package["version"].as_str()?.to_owned())
    };
    let of = |package| of(package).unwrap_or_else(|| "?".to_owned());
    Ok(format!("socket.io {}, {engine} {}, {name} {}", of("socket.io"), of(engine), runner.trim_start_matches('v')))
}

fn pip(root: &Path) -> Result<String, String> {
    let home = root.join("target/bench/python");
    let make = || succeeds(Command::new("python3").args(["-m", "venv"]).arg(&home));
    if !home.join("bin/python").exists() && !make() {
        apt("python3-venv")?;
        if !make() {
            return Err("`python3 -m venv` failed: see above".to_owned());
        }
    }
    let python = || Command::new(root.join(PYTHON));
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    if !succeeds(python().args(pip).arg(root.join("bench/python/requirements.txt"))) {
        return Err("`pip install -r bench/python/requirements.txt` failed: see above".to_owned());
    }
    let ask = "import importlib.metadata as m, platform; print('python-socketio ' + m.version('python-socketio') + ', \
               uvicorn ' + m.version('uvicorn') + ', uvloop ' + m.version('uvloop') + ', Python ' + platform.python_version())";
    told(output(python().args(["-c", ask])))
}

/// Builds a server as Debian intends: in GOPATH mode, from its packages.
fn go(root: &Path, packages: &'static [&'static str]) -> Result<String, String> {
    for package in packages {
        if debian(package).is_err() {
            apt(package)?;
        }
    }
    let name = if packages[0].contains("centrifuge") { "centrifuge" } else { "gorilla" };
    let target = root.join("target/bench");
    fs::create_dir_all(&target).map_err(|error| format!("{}: {error}", target.display()))?;
    let mut build = Command::new("go");
    build.current_dir(root.join("bench").join(name)).args(["build", "-o"]).arg(target.join(name)).arg(".");
    if !succeeds(build.env("GO111MODULE", "off").env("GOPATH", GOPATH)) {
        return Err(format!("`go build` in bench/{name} failed: see above"));
    }
    let go = told(output(Command::new("go").arg("version")))?;
    let go = go.split(' ').nth(2).unwrap_or_default().trim_start_matches("go").to_owned();
    Ok(format!("{name} {}, Go {go}", debian(packages[0])?))
}

fn engine(root: &Path) -> Result<String, String> {
    let lock = told(fs::read_to_string(root.join("Cargo.lock")).context("Cargo.lock"))?;
    Ok(format!("fjall {}", locked(&lock, "fjall")?))
}

/// The version of a package in a lock file.
fn locked(lock: &str, package: &str) -> Result<String, String> {
    let lock: Table = lock.parse().map_err(|error| format!("the lock file: {error}"))?;
    let packages = lock.get("package").and_then(Value::as_array).into_iter().flatten();
    let version = packages
        .filter(|entry| entry.get("name").and_then(Value::as_str) == Some(package))
        .find_map(|entry| entry.get("version").and_then(Value::as_str));
    Ok(version.unwrap_or("?").to_owned())
}

fn nginx() -> Result<String, String> {
    if on_path("nginx").is_none() || !Path::new(NCHAN).exists() {
        apt("nginx")?;
        apt("libnginx-mod-nchan")?;
        println!("   Debian may have started a web server of its own, too: systemctl disable --now nginx");
    }
    Ok(format!("nchan {}, nginx {}", debian("libnginx-mod-nchan")?, debian("nginx-common").unwrap_or_default()))
}

/// The version of a Debian package that is installed.
fn debian(package: &str) -> Result<String, String> {
    let status =
        told(output(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status} ${Version}", package])))?;
    status.strip_prefix("installed ").map(ToOwned::to_owned).ok_or_else(|| format!("{package} is {status}"))
}

/// The ticketing example, with one shard and room for a load generator: all clients come from one address, say more
/// than a person would, and no heartbeat of the app. Nothing is remembered, because the others do not remember either,
/// unless it `keeps` what is durable: then it is as it is shipped.
pub(super) fn ticketing(root: &Path, folder: &Path, server: &[(&str, &str)], keeps: bool) -> Result<PathBuf> {
    let example = "examples/ticketing/oyez.toml";
    let text = fs::read_to_string(root.join(example)).with_context(|| format!("cannot read {example}"))?;
    let path = folder.join("oyez.toml");
    fs::write(&path, derived(&text, server, keeps)?.to_string())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// What the copy says otherwise: table, key, value.
pub(super) const RAISED: &[(&str, &str, &str)] = &[
    ("limits", "connections_per_address", "100000"),
    ("limits", "events_per_second", "1000000"),
    ("limits", "events_burst", "1000000"),
    ("heartbeat", "timeout", "1d"),
];

/// An empty directory for the store.
pub(super) fn data(folder: &Path) -> Result<PathBuf> {
    let data = folder.join("data");
    if data.exists() {
        fs::remove_dir_all(&data).with_context(|| format!("cannot remove {}", data.display()))?;
    }
    Ok(data)
}

/// What the copy leaves out: tables of the app, and keys of its channels. With recovery a slow client would be
/// disconnected where the others drop, and every event would carry its position.
pub(super) const LEFT_OUT: (&[&str], &[&str]) = (&["recovery", "inbox", "event"], &["history", "inbox"]);

fn derived(text: &str, server: &[(&str, &str)], keeps: bool) -> Result<Table> {
    let mut file: Table = text.parse().context("the ticketing example is no TOML")?;
    let place =
        file.get_mut("server").and_then(Value::as_table_mut).context("the ticketing example has no [server]")?;
    for (key, value) in server {
        place.insert((*key).to_owned(), value.parse().with_context(|| format!("`{value}` is no TOML"))?);
    }
    let app = file.get_mut("app").and_then(|apps| apps.get_mut("ticketing")).and_then(Value::as_table_mut);
    let app = app.context("the ticketing example has no app `ticketing`")?;
    if !keeps {
        leave_out(app)?;
    }
    for (table, key, value) in RAISED {
        let table = app.get_mut(*table).and_then(Value::as_table_mut);
        let place =
            table.and_then(|table| table.get_mut(*key)).with_context(|| format!("the example sets no `{key}`"))?;
        *place = value.parse().map_or_else(|_| Value::String((*value).to_owned()), Value::Integer);
    }
    Ok(file)
}

fn leave_out(app: &mut Table) -> Result<()> {
    let (tables, keys) = LEFT_OUT;
    for table in tables {
        app.remove(*table).with_context(|| format!("the example has no `{table}`"))?;
    }
    let channels = app.get_mut("channel").and_then(Value::as_array_mut).context("the example has no channels")?;
    for channel in channels.iter_mut().filter_map(Value::as_table_mut) {
        channel.retain(|key, _| !keys.contains(&key));
    }
    Ok(())
}

/// The name of a server's certificate, which speaks for itself.
pub(super) const CERTIFICATE: &str = "certificate.pem";

/// A new certificate for this machine, and its key.
pub(super) fn certificate(folder: &Path) -> Result<[PathBuf; 2]> {
    let [certificate, key] = [CERTIFICATE, "key.pem"].map(|name| folder.join(name));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]);
    command.args(["-subj", "/CN=benchmark", "-addext", "subjectAltName=IP:127.0.0.1"]);
    command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    command.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    output(&mut command).context("a certificate for TLS")?;
    Ok([certificate, key])
}

/// nchan's configuration for this address.
pub(super) fn nginx_configuration(root: &Path, address: &str, folder: &Path) -> Result<PathBuf> {
    let template = "bench/nchan/nginx.conf";
    let text = fs::read_to_string(root.join(template)).with_context(|| format!("cannot read {template}"))?;
    let path = folder.join("nginx.conf");
    let text = text.replace("@address@", address).replace("@folder@", &folder.display().to_string());
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_of_the_example_differs_in_limits_and_in_what_is_remembered() {
        let text = include_str!("../../../examples/ticketing/oyez.toml");
        let mut copy = derived(text, &[], false).expect("it can be changed");
        let mut example: Table = text.parse().expect("it is TOML");
        for gone in
            ["[app.ticketing.recovery]", "[app.ticketing.inbox]", "[[app.ticketing.event]]", "history", "inbox "]
        {
            assert!(text.contains(gone) && !copy.to_string().contains(gone), "{gone}");
        }
        let whole = derived(text, &[], true).expect("it can be changed");
        assert_eq!(whole["app"]["ticketing"]["inbox"], example["app"]["ticketing"]["inbox"]);
        leave_out(example["app"]["ticketing"].as_table_mut().expect("a table")).expect("it can be left out");
        assert_ne!(copy, example);
        let app = |file: &Table, table: &str| file["app"]["ticketing"][table].clone();
        for (table, key, _) in RAISED {
            let was = app(&example, table)[key].clone();
            copy["app"]["ticketing"][table][key] = was;
        }
        assert_eq!(copy, example);
    }
}
