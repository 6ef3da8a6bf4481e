//! One server's process, alone on its core.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::peer::Peer;

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(30);
/// How long it may take to end when it is asked to.
const END: Duration = Duration::from_secs(5);
/// How often one looks: servers that others wrote do not tell when they listen.
const LOOK: Duration = Duration::from_millis(20);

/// A server that listens. It ends with this value, and with this process, however that ends.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    /// Where it listens.
    pub(super) address: SocketAddr,
}

impl Server {
    /// Starts it on these cores (`0`, `0,1`) and waits until it accepts a connection.
    pub(super) fn start(root: &Path, peer: &Peer, cores: &str) -> Result<Self> {
        let folder = root.join("target/bench/run").join(peer.name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let words = peer.command(root, &address.to_string(), &folder)?;
        let log = folder.join("log");
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = pinned(cores, &words);
        Peer::environment(&mut command);
        command.current_dir(root).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().context("taskset, of util-linux")?;
        let mut server = Self { child, address };
        server.wait(&log).with_context(|| format!("{} does not start", peer.title))?;
        Ok(server)
    }

    /// The process.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    fn wait(&mut self, log: &Path) -> Result<()> {
        let began = Instant::now();
        while let Err(error) = TcpStream::connect(self.address) {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}: {}", last_line(log));
            }
            if began.elapsed() > START {
                bail!("nobody listens on {} after {START:?}: {error}", self.address);
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        // Asked first: nginx takes its worker along only then.
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let began = Instant::now();
        while self.child.try_wait()?.is_none() {
            if began.elapsed() > END {
                self.child.kill()?;
                self.child.wait()?;
                break;
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("process {} cannot be ended: {error}", self.id());
        }
    }
}

/// A command that runs on some cores, and ends when this process ends.
pub(super) fn pinned(cores: &str, words: &[PathBuf]) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", cores, "setpriv", "--pdeathsig", "TERM", "--"]).args(words);
    command
}

fn last_line(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned()
}
