//! What a server's processes cost, from the kernel's accounting: CPU time of all threads of them and their
//! descendants, and their memory.

use std::collections::HashMap;
use std::fs;

use serde::Serialize;

use crate::failure::Failure;

/// The processes of a server, with their descendants.
#[derive(Debug)]
pub(super) struct Process {
    ids: Vec<u32>,
    /// The CPU time of each thread when it was last looked at. A thread that is gone keeps what it had.
    threads: HashMap<u32, u64>,
    /// The same, when the round began.
    marked: HashMap<u32, u64>,
}

/// Memory in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Memory {
    /// Resident.
    pub(super) rss: u64,
    /// Resident, with each shared page divided by those who share it.
    pub(super) pss: u64,
}

impl Process {
    /// Looks at them for the first time; none, if there are none.
    pub(super) fn new(ids: &[u32]) -> Result<Option<Self>, Failure> {
        for id in ids {
            let mut one = Self { ids: vec![*id], threads: HashMap::new(), marked: HashMap::new() };
            if one.cpu() == 0 {
                return Err(Failure::new(format!("the CPU time of process {id} cannot be read"))
                    .help("is it running, is it yours, and is this Linux?"));
            }
        }
        let all = || Self { ids: ids.to_vec(), threads: HashMap::new(), marked: HashMap::new() };
        Ok((!ids.is_empty()).then(all))
    }

    fn tree(&self) -> impl Iterator<Item = u32> {
        self.ids.iter().flat_map(|id| tree(*id))
    }

    /// Nanoseconds of CPU time so far.
    pub(super) fn cpu(&mut self) -> u64 {
        for process in self.tree().collect::<Vec<_>>() {
            for thread in numbers(&format!("/proc/{process}/task")) {
                let stat = fs::read_to_string(format!("/proc/{process}/task/{thread}/schedstat")).unwrap_or_default();
                if let Some(time) = stat.split(' ').next().and_then(|time| time.parse().ok()) {
                    self.threads.insert(thread, time);
                }
            }
        }
        self.threads.values().sum()
    }

    /// A round begins.
    pub(super) fn mark(&mut self) {
        self.marked.clone_from(&self.threads);
    }

    /// Nanoseconds of CPU time of the thread that had most of it since the round began, as of the last look.
    pub(super) fn busiest(&self) -> u64 {
        let used = |(thread, time): (&u32, &u64)| {
            // One that came since has no mark; one whose number was another's before may have less than that one.
            time.saturating_sub(self.marked.get(thread).copied().unwrap_or(0))
        };
        self.threads.iter().map(used).max().unwrap_or(0)
    }

    /// Its memory now.
    pub(super) fn memory(&self) -> Memory {
        let each = self.tree().map(|process| {
            let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
            Memory { rss: kibibytes(&text, "Rss:") * 1024, pss: kibibytes(&text, "Pss:") * 1024 }
        });
        each.fold(Memory::default(), |all, one| Memory { rss: all.rss + one.rss, pss: all.pss + one.pss })
    }
}

/// A process and its descendants.
fn tree(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut at = 0;
    while let Some(&process) = found.get(at) {
        for thread in numbers(&format!("/proc/{process}/task")) {
            let children = fs::read_to_string(format!("/proc/{process}/task/{thread}/children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
        }
        at += 1;
    }
    found
}

/// The entries of a directory that are numbers.
fn numbers(directory: &str) -> Vec<u32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn kibibytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_time_and_memory() {
        let mut process = Process::new(&[std::process::id()]).expect("it is running").expect("one");
        let before = process.cpu();
        let sum: u64 = (0..1_000_000u64).map(std::hint::black_box).sum();
        assert!(sum > 0 && process.cpu() >= before);
        let memory = process.memory();
        assert!(memory.rss > 0 && memory.rss >= memory.pss);
    }

    #[test]
    fn the_busiest_thread_is_the_one_that_did_most_since_the_mark() {
        let threads = HashMap::from([(1, 900), (2, 50), (3, 70)]);
        let mut process = Process { ids: vec![0], threads, marked: HashMap::new() };
        assert_eq!(process.busiest(), 900);
        process.mark();
        process.threads.extend([(1, 910), (2, 90), (4, 35)]);
        assert_eq!(process.busiest(), 40);
        process.threads.insert(5, 41);
        assert_eq!(process.busiest(), 41);
    }

    #[test]
    fn a_process_that_is_not_there_is_told() {
        let failure = Process::new(&[std::process::id(), u32::MAX]).expect_err("there is none").to_string();
        assert!(failure.contains("cannot be read"), "{failure}");
    }
}
