//! `oyez store`: looking after a data directory while no server has it.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use oyez_backends::embedded::{self, Embedded, Options as Engine};
use oyez_hub::store::{Settings, Store as _, StoreError};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::failure::Failure;
use crate::progress::Progress;
use crate::say;

/// Look after the data directory of a server that is stopped.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "\
Examples:
  oyez store stats --data-dir /var/lib/oyez
  oyez store verify --data-dir /var/lib/oyez
  oyez store backup --data-dir /var/lib/oyez /backup/oyez-monday
  oyez store restore --data-dir /var/lib/oyez /backup/oyez-monday

A server has its directory for itself: stop it first. Exit codes: 0 done, and the store is good; 1 it is not, or it could \
not be done; 2 the command line is wrong.";

/// Which directory.
#[derive(Debug, Args)]
struct Place {
    /// The data directory, as `oyez serve --data-dir` has it
    #[arg(short, long, value_name = "DIR")]
    data_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say how much is in it
    ///
    /// Example: oyez store stats --data-dir /var/lib/oyez
    Stats {
        #[command(flatten)]
        place: Place,
        /// Answer with one JSON object: {"records", "bytes", "window_ms", "id_bytes", "last"}
        #[arg(long)]
        json: bool,
    },
    /// Read everything, and say what is damaged
    ///
    /// Every record's checksum is checked, and whether records agree with each other. Nothing is changed, but that a torn
    /// end of the log is cut off, as at every start. Example: oyez store verify --data-dir /var/lib/oyez
    Verify {
        #[command(flatten)]
        place: Place,
    },
    /// Save what can be read of a damaged store
    ///
    /// What is replaced stays in the directory, as damaged-1 and so on. Messages in damaged bytes are lost; of what can be
    /// read nothing is. Example: oyez store repair --data-dir /var/lib/oyez
    Repair {
        #[command(flatten)]
        place: Place,
    },
    /// Copy the store to an empty directory, and open the copy to see that it is good
    ///
    /// Example: oyez store backup --data-dir /var/lib/oyez /backup/oyez-monday
    Backup {
        #[command(flatten)]
        place: Place,
        /// Where to; empty, or not there yet
        #[arg(value_name = "TO")]
        to: PathBuf,
    },
    /// Copy a backup to an empty data directory
    ///
    /// Example: oyez store restore --data-dir /var/lib/oyez /backup/oyez-monday
    Restore {
        #[command(flatten)]
        place: Place,
        /// The backup
        #[arg(value_name = "FROM")]
        from: PathBuf,
    },
}

/// Does it.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    match &options.command {
        Command::Stats { place, json } => stats(&place.data_dir, *json),
        Command::Verify { place } => verify(&place.data_dir),
        Command::Repair { place } => repair(&place.data_dir),
        Command::Backup { place, to } => {
            let bytes = copy(&place.data_dir, to)?;
            say::line(format_args!("{} is a copy: {}.", to.display(), size(bytes)));
            Ok(())
        }
        Command::Restore { place, from } => {
            let bytes = copy(from, &place.data_dir)?;
            say::line(format_args!("{} is restored: {}.", place.data_dir.display(), size(bytes)));
            Ok(())
        }
    }
}

fn refused(error: &StoreError) -> Failure {
    Failure::new(error.to_string())
}

fn runtime() -> Result<Runtime, Failure> {
    let runtime = Builder::new_multi_thread().worker_threads(1).build();
    runtime.map_err(|error| Failure::new(format!("cannot start threads: {error}")))
}

fn stats(dir: &Path, as_json: bool) -> Result<(), Failure> {
    embedded::exists(dir).map_err(|error| refused(&error))?;
    let runtime = runtime()?;
    let store = Embedded::store(dir, Engine::default(), Settings::default(), runtime.handle().clone());
    let store = store.map_err(|error| refused(&error))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let stats = runtime.block_on(store.stats(now)).map_err(|error| refused(&error))?;
    if as_json {
        say::line(json!({
            "records": stats.records, "bytes": stats.bytes, "window_ms": stats.window, "id_bytes": stats.id_bytes,
            "last": stats.last,
        }));
        return Ok(());
    }
    say::line(format_args!("records         about {}", stats.records));
    say::line(format_args!("on the disk     {}", size(stats.bytes)));
    say::line(format_args!(
        "ids are unique  for {:.1} hours, {}",
        stats.window as f64 / 3_600_000.0,
        size(stats.id_bytes)
    ));
    Ok(())
}

fn verify(dir: &Path) -> Result<(), Failure> {
    let mut progress = Progress::new(true);
    let mut read = 0;
    let damage = embedded::verify(dir, Engine::default(), &mut |records| {
        read = records;
        progress.show(|| format!("read {records} records"));
    });
    progress.clear();
    let damage = damage.map_err(|error| refused(&error))?;
    for one in &damage {
        say::line(one);
    }
    match damage.len() {
        0 => {
            say::line(format_args!("{} is good.", dir.display()));
            Ok(())
        }
        count => Err(Failure::new(format!("{count} places are damaged, of {read} records"))
            .help(format_args!("oyez store repair --data-dir {}", dir.display()))),
    }
}

fn repair(dir: &Path) -> Result<(), Failure> {
    embedded::exists(dir).map_err(|error| refused(&error))?;
    let runtime = runtime()?;
    let mut progress = Progress::new(true);
    let mut heard = |what: &'static str, count| progress.show(|| format!("{what}: {count} records"));
    let done = embedded::repair(dir, Engine::default(), runtime.handle().clone(), &mut heard);
    let done = runtime.block_on(done);
    progress.clear();
    let done = done.map_err(|error| {
        let help = "what the engine cannot even open is not to be saved: move the directory away, and bring back a backup: oyez \
                    store restore --data-dir";
        refused(&error).help(format_args!("{help} {} BACKUP", dir.display()))
    })?;
    if done == embedded::Repaired::default() {
        say::line(format_args!("{} was good.", dir.display()));
        return Ok(());
    }
    if done.log_bytes > 0 {
        say::line(format_args!("{} of the log could not be read", size(done.log_bytes)));
    }
    if done.tables {
        say::line("tables could not be read everywhere; what could is in new ones");
    }
    if done.mended > 0 {
        say::line(format_args!("records written anew, or taken away because they led nowhere: {}", done.mended));
    }
    if let Some(kept) = done.kept {
        say::line(format_args!("what was replaced is in {}", kept.display()));
    }
    say::line(format_args!("{} is good now.", dir.display()));
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<u64, Failure> {
    let mut progress = Progress::new(true);
    let copied = embedded::copy(from, to, Engine::default(), &mut |bytes| {
        progress.show(|| format!("copied {}", size(bytes)));
    });
    progress.clear();
    copied.map_err(|error| refused(&error))
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{} KB", bytes / 1_000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}
