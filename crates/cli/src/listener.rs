//! Sockets to listen on, and who has them already when they cannot be had.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};

use socket2::{Domain, Protocol, Socket, Type};

use crate::failure::Failure;

/// Connections that may wait to be accepted: after a restart all clients come at once. The system has its own bound.
const BACKLOG: i32 = 4096;

/// Sockets that listen.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// The sockets.
    pub(crate) sockets: Vec<TcpListener>,
    /// The address of each, with the port it got.
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Listeners {
    /// Listens on every address (`host:port`) of a list, which must have one.
    pub(crate) fn open<'a>(wanted: impl IntoIterator<Item = &'a String>) -> Result<Self, Failure> {
        let sockets = wanted.into_iter().map(|address| bind(resolve(address)?)).collect::<Result<Vec<_>, _>>()?;
        if sockets.is_empty() {
            return Err(Failure::new("there is no address to listen on").help("write listen = [\"127.0.0.1:3001\"]"));
        }
        let addresses = sockets.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>();
        let addresses = addresses.map_err(|error| Failure::new(format!("cannot listen: {error}")))?;
        Ok(Self { sockets, addresses })
    }

    /// The origins of pages that come from these listeners themselves, as far as only this machine sees them.
    pub(crate) fn own_origins(&self, scheme: &str) -> impl Iterator<Item = String> {
        let local = self.addresses.iter().filter(|address| address.ip().is_loopback());
        local.flat_map(move |address| {
            [format!("{scheme}://{address}"), format!("{scheme}://localhost:{}", address.port())]
        })
    }
}

/// The socket address of `host:port`; of a name the first address counts.
pub(crate) fn resolve(address: &str) -> Result<SocketAddr, Failure> {
    let wrong = |why: String| {
        Failure::new(format!("`{address}` is no address to listen on: {why}")).help("write 127.0.0.1:3001")
    };
    let mut found = address.to_socket_addrs().map_err(|error| wrong(error.to_string()))?;
    found.next().ok_or_else(|| wrong("the name has no address".to_owned()))
}

/// Listens on an address.
fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    listen(address).map_err(|error| {
        let failure = Failure::new(format!("cannot listen on {address}: {error}"));
        match error.kind() {
            io::ErrorKind::AddrInUse => {
                let owner = owner(address.port()).map_or_else(String::new, |owner| format!("{owner} has that port; "));
                let next = address.port().checked_add(1).unwrap_or(0);
                failure.help(format_args!("{owner}stop it, or choose another: --listen {}:{next}", address.ip()))
            }
            io::ErrorKind::PermissionDenied => failure.help("ports below 1024 are for root; choose a higher one"),
            io::ErrorKind::AddrNotAvailable => failure.help("this machine has no such address; 0.0.0.0 stands for all"),
            _ => failure,
        }
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart need not wait until the connections of the last run are forgotten.
    socket.set_reuse_address(cfg!(unix))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The process that listens on a port, for a person.
fn owner(port: u16) -> Option<String> {
    let process = process(port)?;
    let name = fs::read_to_string(format!("/proc/{process}/comm")).ok()?;
    Some(format!("{} (process {process})", name.trim()))
}

/// The process that listens on a port, where the system (Linux) tells us.
pub(crate) fn process(port: u16) -> Option<u32> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listeners(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let mut processes =
        fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    processes.find(|process| holds(*process, &inodes))
}

/// The inodes of the sockets that listen on a port, from the text of `/proc/net/tcp`.
fn listeners(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let end = format!(":{port:04X}");
    let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.len() > 9 && row[1].ends_with(&end) && row[3] == LISTEN)
        .map(|row| row[9].to_owned())
        .collect()
}

fn holds(process: u32, sockets: &[String]) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    files
        .flatten()
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|file| sockets.iter().any(|socket| file.as_os_str() == socket.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_names_its_owner() {
        let taken = listen("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let address = taken.local_addr().expect("bound");
        let failure = bind(address).expect_err("the port is taken").to_string();
        assert!(failure.contains("--listen 127.0.0.1:"), "{failure}");
        if cfg!(target_os = "linux") {
            assert!(failure.contains(&format!("(process {})", std::process::id())), "{failure}");
        }
    }

    #[test]
    fn what_is_no_address_is_told() {
        for wrong in ["3001", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000"] {
            assert!(resolve(wrong).is_err(), "{wrong}");
        }
        assert_eq!(resolve("127.0.0.1:0").map(|address| address.port()), Ok(0));
    }
}
