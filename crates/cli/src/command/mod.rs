//! One file per command: its options, its help, and what it does.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod config_reference;
pub(crate) mod dev;
pub(crate) mod explain;
pub(crate) mod listen;
pub(crate) mod publish;
pub(crate) mod reference;
pub(crate) mod reload;
pub(crate) mod serve;
pub(crate) mod store;
pub(crate) mod token;
pub(crate) mod trace;

/// Where a server is looked for: where `oyez dev` listens.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:3001";

/// Whether a URL is of this machine.
pub(crate) fn is_local(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = host.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    matches!(host, "127.0.0.1" | "localhost" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn only_this_machine_is_local() {
        for local in ["http://127.0.0.1:3001", "http://localhost/x", "http://[::1]:80", "localhost"] {
            assert!(is_local(local), "{local}");
        }
        for other in
            ["http://127.0.0.1.example.com", "http://localhost@example.com", "http://example.com/localhost", ""]
        {
            assert!(!is_local(other), "{other}");
        }
    }
}
