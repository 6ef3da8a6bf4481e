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

use std::net::SocketAddr;

use oyez_server::config::ServerConfig;

/// Where a server is looked for: where `oyez dev` listens.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:3001";

/// Where who is on the same machine reaches a server of this configuration; none where the system chooses the port.
pub(crate) fn own_url(server: &ServerConfig) -> Option<String> {
    let scheme = if server.tls.is_some() { "https" } else { "http" };
    let address = server.listen.iter().find(|address| !address.ends_with(":0"))?;
    let place = match address.parse::<SocketAddr>() {
        Ok(all) if all.ip().is_unspecified() && all.is_ipv4() => format!("127.0.0.1:{}", all.port()),
        Ok(all) if all.ip().is_unspecified() => format!("[::1]:{}", all.port()),
        _ => address.clone(),
    };
    Some(format!("{scheme}://{place}"))
}

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
    use oyez_server::config::{DEV, Inputs, load};

    use super::{is_local, own_url};

    #[test]
    fn a_server_is_reached_where_it_listens() {
        let env = |_: &str| Some("0123456789abcdef0123456789abcdef".to_owned());
        let inputs = Inputs { env: &env, file: &|_| Err(String::new()), dev: true };
        let mut server = load("dev.toml", DEV, inputs).expect("a configuration").server;
        for (listen, url) in [
            (&["127.0.0.1:8087"][..], Some("http://127.0.0.1:8087")),
            (&["0.0.0.0:8087"], Some("http://127.0.0.1:8087")),
            (&["[::]:8087"], Some("http://[::1]:8087")),
            (&["push.internal:80"], Some("http://push.internal:80")),
            (&["127.0.0.1:0", "10.0.0.7:3000"], Some("http://10.0.0.7:3000")),
            (&["127.0.0.1:0"], None),
            (&[], None),
        ] {
            server.listen = listen.iter().copied().map(str::to_owned).collect();
            assert_eq!(own_url(&server).as_deref(), url, "{listen:?}");
        }
    }

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
