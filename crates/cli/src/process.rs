//! What this process takes of its machine, where the system (Linux) tells.

use std::fs;

use oyez_server::observe::process::Process;

/// The figures of this moment.
pub(crate) fn read() -> Process {
    Process {
        resident_bytes: fs::read_to_string("/proc/self/status").ok().and_then(|status| resident(&status)),
        open_files: open_files(),
        max_files: max_files(),
    }
}

/// The resident memory in the text of `/proc/self/status`, where it stands in KiB.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Since Linux 6.2 the folder's size is the number of its entries. Before, they are counted.
fn open_files() -> Option<u64> {
    let size = fs::metadata("/proc/self/fd").ok()?.len();
    if size > 0 { Some(size) } else { Some(fs::read_dir("/proc/self/fd").ok()?.count() as u64) }
}

fn max_files() -> Option<u64> {
    #[cfg(unix)]
    return rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(unix))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_in_bytes() {
        assert_eq!(resident("VmHWM:\t    9 kB\nVmRSS:\t    1234 kB\nRssAnon: 5 kB\n"), Some(1234 * 1024));
        assert_eq!(resident("Name:\toyez\n"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn every_open_file_counts() {
        let before = open_files().expect("this system tells");
        let held: Vec<_> = (0..100).map(|_| fs::File::open("/dev/null").expect("it is always there")).collect();
        let after = open_files().expect("it still tells");
        assert!(after >= before + 50 && after <= before + 1_000, "{before} and then {after}");
        drop(held);
        assert!(read().resident_bytes > Some(100_000) && read().max_files >= Some(after));
    }
}
