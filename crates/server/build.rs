//! Gets the browser's Socket.IO client, which the server serves as Node's does, and makes a table of its files.
//!
//! The versions and their hashes are in `client/package-lock.json`. Without npm, or without a registry, the build
//! succeeds with an empty table, and the server says what to do when somebody asks for a file.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The files that socket.io serves.
const FILES: [&str; 8] = [
    "socket.io.esm.min.js",
    "socket.io.esm.min.js.map",
    "socket.io.js",
    "socket.io.js.map",
    "socket.io.min.js",
    "socket.io.min.js.map",
    "socket.io.msgpack.min.js",
    "socket.io.msgpack.min.js.map",
];

/// What npm needs to install exactly what was checked.
const MANIFEST: [&str; 2] = ["package.json", "package-lock.json"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for name in MANIFEST {
        println!("cargo::rerun-if-changed=client/{name}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names OUT_DIR"));
    let table = install(&out.join("client")).and_then(|()| table(&out)).unwrap_or_else(|problem| {
        println!("cargo::warning=the server is built without the browser's socket.io client: {problem}");
        println!("cargo::warning=install Node 20 with npm, let it reach a registry, and build again");
        // A file that is never there makes cargo try again at the next build.
        println!("cargo::rerun-if-changed=client/retry");
        "const VERSION: &str = \"\";\nconst FILES: &[(&str, &[u8])] = &[];\n".to_owned()
    });
    fs::write(out.join("client_files.rs"), table).expect("OUT_DIR can be written");
}

/// Installs the package.
fn install(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    for name in MANIFEST {
        fs::copy(Path::new("client").join(name), folder.join(name)).map_err(|error| format!("{name}: {error}"))?;
    }
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let quick = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=1"];
    let ran = Command::new(npm).args(quick).current_dir(folder).output().map_err(|error| format!("npm: {error}"))?;
    if !ran.status.success() {
        let said = String::from_utf8_lossy(&ran.stderr);
        let first = said.lines().find(|line| line.contains("npm error")).unwrap_or("npm failed");
        return Err(first.to_owned());
    }
    Ok(())
}

/// Where the package then is, seen from OUT_DIR.
const PACKAGE: &str = "client/node_modules/socket.io-client";

/// The Rust source of the table: the package's version, and each file with its bytes. The compiler is to look up OUT_DIR,
/// so that it finds them when the whole folder has moved.
fn table(out: &Path) -> Result<String, String> {
    let package = out.join(PACKAGE);
    let manifest = fs::read_to_string(package.join("package.json")).map_err(|error| error.to_string())?;
    let version = manifest.lines().find_map(|line| line.trim().strip_prefix("\"version\": \"")?.split('"').next());
    let version = version.ok_or("socket.io-client names no version")?;
    let mut table = format!("const VERSION: &str = {version:?};\nconst FILES: &[(&str, &[u8])] = &[\n");
    for name in FILES {
        if !package.join("dist").join(name).is_file() {
            return Err(format!("socket.io-client {version} has no dist/{name}"));
        }
        // Writing to a String cannot fail.
        let _ =
            writeln!(table, "    ({name:?}, include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{PACKAGE}/dist/{name}\"))),");
    }
    table.push_str("];\n");
    Ok(table)
}
