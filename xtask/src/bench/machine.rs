//! The machine: which core does what, how many files a process may open, and what the report says about it.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::process::{Resource, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::output;

/// Who computes where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cores {
    /// All servers, of which one is busy at a time.
    pub(super) server: usize,
    /// All load generators, likewise.
    pub(super) load: usize,
}

impl Cores {
    /// The first and the last core that this process may use.
    pub(super) fn find() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status").context("this needs Linux")?;
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or("0");
        let cores = Self::from_list(list).with_context(|| format!("cannot read the list of cores `{list}`"))?;
        if cores.server == cores.load {
            println!("there is one core: servers and load generators share it, so latencies mean little");
        }
        Ok(cores)
    }

    /// From a list as the kernel writes it: `0-3,8`.
    fn from_list(list: &str) -> Option<Self> {
        let list = list.trim();
        let server = list.split(['-', ',']).next()?.parse().ok()?;
        let load = list.rsplit(['-', ',']).next()?.parse().ok()?;
        Some(Self { server, load })
    }
}

/// Lets this process and those it starts open as many files as the system allows: a connection is a file.
pub(super) fn raise_file_limit() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")
}

/// What results were measured on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Machine {
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) memory_gib: u64,
    pub(super) system: String,
}

impl Machine {
    /// This one.
    pub(super) fn this() -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
        };
        let processors = read("/proc/cpuinfo")?;
        let memory = field(&read("/proc/meminfo")?, "MemTotal").unwrap_or_default();
        let kibibytes: u64 = memory.trim_end_matches(" kB").parse().unwrap_or(0);
        Ok(Self {
            processor: field(&processors, "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: processors.lines().filter(|line| line.starts_with("processor")).count(),
            memory_gib: kibibytes.div_ceil(1024 * 1024),
            system: output(Command::new("uname").args(["-s", "-r", "-m"]))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_core_serves_and_the_last_one_loads() {
        for (list, expect) in [("\t0-1", Some((0, 1))), ("3", Some((3, 3))), ("2-4,8,10-15", Some((2, 15))), ("", None)]
        {
            let cores = Cores::from_list(list).map(|cores| (cores.server, cores.load));
            assert_eq!(cores, expect, "{list}");
        }
    }
}
