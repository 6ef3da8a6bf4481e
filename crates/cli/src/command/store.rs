//! `oyez store`: looking after a data directory while no server has it; and what is in a Redis.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use oyez_backends::embedded::{self, Embedded, Heard, Options as Engine, Torn};
use oyez_hub::store::{Settings, Store, StoreError};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::failure::Failure;
use crate::keeping::{self, Kind};
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
  oyez store stats --store redis://localhost
  oyez store verify --data-dir /var/lib/oyez
  oyez store backup --data-dir /var/lib/oyez /backup/oyez-monday
  oyez store restore --data-dir /var/lib/oyez /backup/oyez-monday

A server has its directory for itself: stop it first. Exit codes: 0 done, and the store is good; 1 it is not, or it could \
not be done; 2 the command line is wrong.";

/// Which store.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Place {
    /// The data directory, as `oyez serve --data-dir` has it
    #[arg(short, long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The Redis, as `oyez serve --store` has it
    #[arg(long, value_name = "URL", env = "OYEZ_STORE", hide_env_values = true)]
    store: Option<Kind>,
}

impl Place {
    /// The data directory; Redis looks after what it has itself, as `how` says.
    fn dir(&self, how: &str) -> Result<&Path, Failure> {
        match (&self.data_dir, &self.store) {
            (Some(dir), _) => Ok(dir),
            (None, Some(Kind::Redis(_))) => Err(Failure::new(format!("Redis does this itself: {how}"))),
            (None, _) => Err(Failure::new("which store?").help("name one: --data-dir DIR")),
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say how much is in it
    ///
    /// Example: oyez store stats --data-dir /var/lib/oyez
    Stats {
        #[command(flatten)]
        place: Place,
        /// Answer with one JSON object: {"records", "bytes", "window_ms", "id_bytes", "last", "torn_bytes"}
        #[arg(long)]
        json: bool,
    },
    /// Read everything, and say what is damaged
    ///
    /// Every record's checksum is checked, and whether records agree with each other. Nothing is changed, but that a torn
    /// end of the log is cut off, as at every start, and that is said. Example: oyez store verify --data-dir /var/lib/oyez
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
        Command::Stats { place, json } => stats(place, *json),
        Command::Verify { place } => {
            verify(place.dir(
                "it checks its files when it reads them; redis-check-aof and redis-check-rdb say what they hold",
            )?)
        }
        Command::Repair { place } => {
            repair(place.dir("redis-check-aof --fix cuts off what cannot be read of an append-only file")?)
        }
        Command::Backup { place, to } => {
            let bytes = copy(place.dir("redis-cli --rdb FILE, or BGSAVE, which writes dump.rdb beside it")?, to)?;
            say::line(format_args!("{} is a copy: {}.", to.display(), size(bytes)));
            Ok(())
        }
        Command::Restore { place, from } => {
            let how = "stop it, put dump.rdb (or the append-only files) back into its directory, start it";
            let dir = place.dir(how)?;
            let bytes = copy(from, dir)?;
            say::line(format_args!("{} is restored: {}.", dir.display(), size(bytes)));
            Ok(())
        }
    }
}

fn refused(error: &StoreError) -> Failure {
    Failure::new(error.to_string())
}

fn runtime() -> Result<Runtime, Failure> {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.map_err(|error| Failure::new(format!("cannot start threads: {error}")))
}

/// Says that the end of a log was cut off. That is no error: a server starts by itself then, too.
fn tell_torn(torn: &Torn) {
    say::problem(format_args!("{torn}."));
}

/// Opens the store, and says how much of its log was cut off, if its end was torn.
fn open(place: &Place, runtime: &Runtime) -> Result<(Box<dyn Store>, u64), Failure> {
    if let (None, Some(Kind::Redis(url))) = (&place.data_dir, &place.store) {
        let store = keeping::redis(url, Settings::default(), runtime.handle())?;
        runtime.block_on(store.begun()).map_err(|error| refused(&error))?;
        return Ok((Box::new(store), 0));
    }
    let dir = place.dir("")?;
    embedded::exists(dir).map_err(|error| refused(&error))?;
    let store = Embedded::store(dir, Engine::default(), Settings::default(), runtime.handle().clone());
    let store = store.map_err(|error| refused(&error))?;
    let torn = store.engine().torn().inspect(|torn| tell_torn(torn)).map_or(0, |torn| torn.bytes);
    Ok((Box::new(store), torn))
}

fn stats(place: &Place, as_json: bool) -> Result<(), Failure> {
    let runtime = runtime()?;
    let (store, torn) = open(place, &runtime)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let stats = runtime.block_on(store.stats(now)).map_err(|error| refused(&error))?;
    if as_json {
        say::line(json!({
            "records": stats.records, "bytes": stats.bytes, "window_ms": stats.window, "id_bytes": stats.id_bytes,
            "last": stats.last, "torn_bytes": torn,
        }));
        return Ok(());
    }
    say::line(format_args!("records         about {}", stats.records));
    let whose = if place.data_dir.is_some() { "on the disk    " } else { "memory of Redis" };
    say::line(format_args!("{whose} {}", size(stats.bytes)));
    say::line(format_args!(
        "ids are unique  for {:.1} hours, {}",
        stats.window as f64 / 3_600_000.0,
        size(stats.id_bytes)
    ));
    Ok(())
}

fn verify(dir: &Path) -> Result<(), Failure> {
    read_all(dir, format_args!("oyez store repair --data-dir {}", dir.display()))?;
    say::line(format_args!("{} is good.", dir.display()));
    Ok(())
}

/// Reads every record, and says what is damaged, if anything is; `help`: what to do then.
fn read_all(dir: &Path, help: fmt::Arguments<'_>) -> Result<(), Failure> {
    let mut progress = Progress::new(true);
    let mut read = 0;
    let damage = embedded::verify(dir, Engine::default(), &mut |heard| match heard {
        Heard::Torn(torn) => tell_torn(&torn),
        Heard::Records(records) => {
            read = records;
            progress.show(|| format!("read {records} records"));
        }
        Heard::Bytes(_) => {}
    });
    progress.clear();
    let damage = damage.map_err(|error| refused(&error))?;
    for one in &damage {
        say::line(one);
    }
    match damage.len() {
        0 => Ok(()),
        count => {
            let damaged = format!("{count} places of {} are damaged, of {read} records", dir.display());
            Err(Failure::new(damaged).help(help))
        }
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
    let done = done.map_err(|error| match error {
        StoreError::Damaged { what, place, .. } => {
            Failure::new(format!("{} cannot be repaired: {what} ({place})", dir.display())).help(format_args!(
                "move the directory away, and bring back a backup: oyez store restore --data-dir {} BACKUP",
                dir.display()
            ))
        }
        error => refused(&error),
    })?;
    if done.was_good() {
        say::line(format_args!("{} was good.", dir.display()));
        return Ok(());
    }
    tell_repaired(&done);
    say::line(format_args!("{} is good now.", dir.display()));
    Ok(())
}

/// What was wrong, and what it has cost.
fn tell_repaired(done: &embedded::Repaired) {
    if done.log_gone {
        say::line("the log is gone, with what no table had yet");
    }
    if done.log_bytes > 0 {
        say::line(format_args!("{} of the log could not be read", size(done.log_bytes)));
    }
    if done.tables {
        say::line("tables could not be read everywhere; what could is in new ones");
    }
    let mended = &done.mended;
    if mended.written + mended.removed > 0 {
        say::line(format_args!("records written anew: {}", mended.written));
        say::line(format_args!("records taken away, unreadable or leading nowhere: {}", mended.removed));
    }
    say::line(format_args!("messages in inboxes and channels: {} are there", mended.messages));
    if !done.log_gone || mended.lost > 0 {
        say::line(format_args!(
            "messages that are lost: {}, as far as what is left tells; there may be more of which nothing is left",
            mended.lost
        ));
    }
    if let Some(kept) = &done.kept {
        say::line(format_args!("what was replaced is in {}", kept.display()));
    }
}

fn copy(from: &Path, to: &Path) -> Result<u64, Failure> {
    let mut progress = Progress::new(true);
    let copied = embedded::copy(from, to, Engine::default(), &mut |heard| match heard {
        Heard::Torn(torn) => tell_torn(&torn),
        Heard::Bytes(bytes) => progress.show(|| format!("copied {}", size(bytes))),
        Heard::Records(_) => {}
    });
    progress.clear();
    let to_shown = to.display();
    let bytes = copied.map_err(|error| match &error {
        StoreError::DiskFull { dir, .. } => Failure::new(format!("the disk of {dir} is full"))
            .help(format_args!("make room, remove what is in {to_shown}, and make it again")),
        _ => refused(&error),
    })?;
    let from = from.display();
    read_all(to, format_args!("it is a copy of {from}, which is as damaged; keep older backups until one is good"))?;
    Ok(bytes)
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{} KB", bytes / 1_000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}
