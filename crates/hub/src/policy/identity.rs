//! Who a session is: taken from verified claims only, never from what a client says about itself.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What access depends on. Sessions with equal rights share one allocation, so a rule is evaluated once per
/// distinct set and compared by pointer.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rights {
    /// Role names, sorted, without duplicates.
    pub roles: Vec<Arc<str>>,
    /// Everything else that rules ask for (`sites`, `departments`, `tenant`, ...); values are always lists of strings.
    pub attributes: BTreeMap<Arc<str>, Vec<Arc<str>>>,
}

/// A verified client. Cheap to clone through `Arc<Identity>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user id as the app knows it, always a string.
    pub user: Arc<str>,
    /// A name to show, where the claims have one.
    pub name: Option<Arc<str>>,
    /// What access depends on.
    pub rights: Arc<Rights>,
    /// When the credentials stop being valid, in seconds since the Unix epoch.
    pub expires_at: Option<u64>,
    /// When they were issued, in seconds since the Unix epoch.
    pub issued_at: Option<u64>,
    /// How this credential is named in a revocation: its `jti`, else `sha256:` and the hex of the token's hash.
    pub token_id: Arc<str>,
}
