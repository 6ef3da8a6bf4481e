//! Connections on their way to a first request: how TLS was agreed on, and by name why some do not get as far.

use std::io::{self, ErrorKind};

use oyez_protocol::proxy::ProxyError;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::catalogue::{Catalogue, Label, Labelled};
use super::metrics::PerReason;

/// Why TLS was not agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsFailure {
    /// The client began with something else.
    NotTls,
    /// The client did not finish in time.
    TimedOut,
    /// The client went away.
    Closed,
    /// The client refused, most often because it does not believe the certificate.
    Refused,
    /// Nothing that both speak: version, cipher, or protocol inside (ALPN).
    Incompatible,
    /// The client does not follow the specification.
    Malformed,
}

impl TlsFailure {
    const ALL: [Self; 6] =
        [Self::NotTls, Self::TimedOut, Self::Closed, Self::Refused, Self::Incompatible, Self::Malformed];

    /// What a failed handshake ended with.
    pub(crate) fn of(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match (inner, error.kind()) {
            (Some(rustls::Error::AlertReceived(_)), _) => Self::Refused,
            (Some(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol), _) => Self::Incompatible,
            (Some(_), _) => Self::Malformed,
            (None, ErrorKind::InvalidData) => Self::NotTls,
            (None, ErrorKind::TimedOut) => Self::TimedOut,
            (None, _) => Self::Closed,
        }
    }

    /// Its name in metrics and logs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::NotTls => "not_tls",
            Self::TimedOut => "timeout",
            Self::Closed => "closed",
            Self::Refused => "refused",
            Self::Incompatible => "incompatible",
            Self::Malformed => "malformed",
        }
    }

    /// What an operator may do about it; none where clients come and go, or where they only try.
    pub(crate) fn help(self) -> Option<&'static str> {
        match self {
            Self::NotTls => Some("the client is to use https:// or wss://"),
            Self::Refused => Some("does the certificate name this host, and does its file hold the issuers, too?"),
            Self::Incompatible => Some("TLS 1.2 and 1.3 are spoken, and inside of them HTTP/1.1"),
            Self::Malformed => Some("is a forwarder in front that sends a PROXY header? see [server.proxy]"),
            Self::TimedOut | Self::Closed => None,
        }
    }
}

/// Why a forwarder's connection was given up before anything else was read from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProxyFailure {
    /// There was no header, or a bad one.
    Bad(ProxyError),
    /// The header did not come in time.
    TimedOut,
    /// The forwarder went away.
    Closed,
}

impl ProxyFailure {
    const ALL: [Self; 6] = [
        Self::Bad(ProxyError::Missing),
        Self::Bad(ProxyError::TooLong),
        Self::Bad(ProxyError::Malformed),
        Self::Bad(ProxyError::Checksum),
        Self::TimedOut,
        Self::Closed,
    ];

    /// What waiting for a header ended with.
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<ProxyError>()) {
            Some(bad) => Self::Bad(*bad),
            None if error.kind() == ErrorKind::TimedOut => Self::TimedOut,
            None => Self::Closed,
        }
    }

    /// Its name in metrics and logs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Bad(ProxyError::Missing) => "missing",
            Self::Bad(ProxyError::TooLong) => "too_long",
            Self::Bad(ProxyError::Malformed) => "malformed",
            Self::Bad(ProxyError::Checksum) => "checksum",
            Self::TimedOut => "timeout",
            Self::Closed => "closed",
        }
    }

    /// What an operator may do about it.
    pub(crate) fn help(self) -> Option<&'static str> {
        match self {
            Self::Bad(ProxyError::Missing) => {
                Some("have the forwarder send it (haproxy: send-proxy-v2), or leave its address out of `trusted`")
            }
            Self::Bad(_) => Some("is something between the forwarder and this server?"),
            Self::TimedOut | Self::Closed => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Agreement {
    version: &'static str,
    resumed: &'static str,
}

impl Labelled for Agreement {
    const LABELS: &'static [Label] = &[
        Label { name: "version", values: "of TLS: `1.2`, `1.3`" },
        Label { name: "resumed", values: "whether as in an earlier connection: `true`, `false`" },
    ];
}

/// The counters.
#[derive(Debug)]
pub(crate) struct Arrivals {
    agreed: Family<Agreement, Counter>,
    failed: Family<PerReason, Counter>,
    unannounced: Family<PerReason, Counter>,
}

impl Arrivals {
    pub(super) fn new(all: &mut Catalogue) -> Self {
        let agreed = all.counters("oyez_tls_handshakes", "Connections on which TLS was agreed on");
        let failed = all.counters("oyez_tls_handshake_failures", "Connections on which TLS was not agreed on");
        let unannounced =
            all.counters("oyez_proxy_headers_refused", "Connections of forwarders without a good PROXY header");
        // What has not happened yet is 0, not absent.
        let with = |reason| PerReason { reason };
        TlsFailure::ALL.iter().for_each(|failure| drop(failed.get_or_create(&with(failure.word()))));
        ProxyFailure::ALL.iter().for_each(|failure| drop(unannounced.get_or_create(&with(failure.word()))));
        Self { agreed, failed, unannounced }
    }

    /// TLS was agreed on: its version, and whether as in an earlier connection.
    pub(crate) fn agreed(&self, version: &'static str, resumed: bool) {
        let resumed = if resumed { "true" } else { "false" };
        self.agreed.get_or_create(&Agreement { version, resumed }).inc();
    }

    /// TLS was not agreed on.
    pub(crate) fn failed(&self, failure: TlsFailure) {
        self.failed.get_or_create(&PerReason { reason: failure.word() }).inc();
    }

    /// A forwarder did not say for whom it forwards.
    pub(crate) fn unannounced(&self, failure: ProxyFailure) {
        self.unannounced.get_or_create(&PerReason { reason: failure.word() }).inc();
    }
}
