//! Where requests go: to any address of a name, or to public ones only.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use oyez_hub::backend::is_public;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::lookup::Lookups;

/// The name has no public address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotPublic;

impl fmt::Display for NotPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it has no public address")
    }
}

impl Error for NotPublic {}

/// Finds the addresses of names. What is found is what is connected to, so that a name cannot mean something else a
/// moment later.
pub(super) struct Resolver {
    pub(super) lookups: Arc<Lookups>,
    /// Only addresses that are public count.
    pub(super) public: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookups, public) = (Arc::clone(&self.lookups), self.public);
        Box::pin(async move {
            let found = lookups.find(name.as_str()).await?;
            let fits = |address: &SocketAddr| !public || is_public(address.ip());
            let fitting: Vec<_> = found.iter().copied().filter(fits).collect();
            if public && fitting.is_empty() {
                return Err(NotPublic.into());
            }
            Ok(Box::new(fitting.into_iter()) as Addrs)
        })
    }
}

/// Whether the URL names an address, and not a public one. (A resolver is not asked about those.)
pub(super) fn names_private(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let Some(host) = url.host_str() else { return false };
    // The URL's parser has written numbers of whatever base as dotted ones.
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.parse::<IpAddr>().is_ok_and(|address| !is_public(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_may_name_an_address_in_many_ways() {
        for private in [
            "http://127.0.0.1:80/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://017700000001/",
            "http://[::1]/",
            "https://[::ffff:10.0.0.1]/x",
            "http://me:word@10.0.0.1/",
        ] {
            assert!(names_private(private), "{private}");
        }
        for other in ["http://1.1.1.1/", "http://localhost/", "http://[2606:4700::1111]/", "nonsense"] {
            assert!(!names_private(other), "{other}");
        }
    }
}
