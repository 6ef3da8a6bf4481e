//! Who a session is: taken from verified claims only, never from what a client says about itself.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::expression::{Condition, Facts, Fault, Kind, Names, Scope, Shape, Term};

/// What access depends on. Sessions with equal rights share one allocation, so a rule is evaluated once per
/// distinct set and compared by pointer.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rights {
    /// Role names, sorted, without duplicates.
    pub roles: Vec<Arc<str>>,
    /// Everything else that rules ask for (`sites`, `departments`, `tenant`, ...); values are always lists of strings.
    pub attributes: BTreeMap<Arc<str>, Vec<Arc<str>>>,
    /// The app's own word for who administers it (`identity.admin`).
    pub admin: bool,
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

/// How an app reads verified claims.
#[derive(Debug, Clone)]
pub struct IdentityRule {
    /// The user id; a claim that is missing refuses the token.
    pub user: Shape,
    /// A name to show; may be missing.
    pub name: Option<Shape>,
    /// Each gives a role, a list of roles, or nothing.
    pub roles: Vec<Shape>,
    /// Attribute by attribute, as roles.
    pub attributes: BTreeMap<Arc<str>, Vec<Shape>>,
    /// Who administers the app, asked of the finished identity.
    pub admin: Condition,
}

/// A claim is missing or cannot be used: the token is good, the app does not know whose it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the token names no user: {0}")]
pub struct IdentityError(pub Fault);

/// The names within an identity rule.
#[must_use]
pub fn claim_names() -> Names {
    Names::default().with([("claims", Kind::Any)])
}

/// What `user` is in expressions of an app with these attributes.
#[must_use]
pub fn user_kind<'a>(attributes: impl IntoIterator<Item = &'a str>) -> Kind {
    let own = [("id", Kind::Text), ("name", Kind::Any), ("roles", Kind::List), ("admin", Kind::Bool)];
    let attributes = attributes.into_iter().map(|name| (name, Kind::List));
    Kind::Record(own.into_iter().chain(attributes).map(|(name, kind)| (name.into(), kind)).collect())
}

impl IdentityRule {
    /// The identity that verified claims stand for. `expires_at` and `issued_at` are in Unix seconds.
    ///
    /// # Errors
    /// No usable user id.
    pub fn identify(
        &self,
        claims: &Map<String, Value>,
        token_id: Arc<str>,
        issued_at: Option<u64>,
        expires_at: Option<u64>,
    ) -> Result<Identity, IdentityError> {
        let scope = Scope::new().with("claims", Term::Object(claims));
        let user = text(&self.user, &scope).map_err(IdentityError)?;
        if let Some(fault) = super::channel::name_fault(&user) {
            return Err(IdentityError(Fault::Unfit(fault.replace("channel", "user"))));
        }
        let name = self.name.as_ref().and_then(|name| text(name, &scope).ok()).map(Arc::from);
        let roles = texts(&self.roles, &scope);
        let attributes = self.attributes.iter().map(|(name, shapes)| (name.clone(), texts(shapes, &scope))).collect();
        let rights = Arc::new(Rights { roles, attributes, admin: false });
        let mut identity = Identity { user: user.into(), name, rights, expires_at, issued_at, token_id };
        let admin = self.admin.holds(&Facts::of(&identity));
        Arc::make_mut(&mut identity.rights).admin = admin.unwrap_or(false);
        Ok(identity)
    }
}

fn text(shape: &Shape, scope: &Scope<'_>) -> Result<String, Fault> {
    if let Some(text) = shape.text(scope) {
        return Ok(text.into_owned());
    }
    let value = serde_json::from_str(&shape.json(scope)?).unwrap_or_default();
    match value {
        Value::Null => Err(Fault::Missing("the user's claim".into())),
        value => {
            super::expression::plain(&value).ok_or_else(|| Fault::Unfit("a claim must be text or a number".into()))
        }
    }
}

/// A missing claim, null, or an odd value gives nothing: a token without departments has none.
fn texts(shapes: &[Shape], scope: &Scope<'_>) -> Vec<Arc<str>> {
    let values = shapes.iter().filter_map(|shape| serde_json::from_str(&shape.json(scope).ok()?).ok());
    let items = values.flat_map(|value: Value| match value {
        Value::Array(items) => items,
        one => vec![one],
    });
    let mut texts: Vec<Arc<str>> = items.filter_map(|item| super::expression::plain(&item)).map(Arc::from).collect();
    texts.sort();
    texts.dedup();
    texts
}

/// Makes equal rights one allocation. Entries that no session holds any more are swept when the pool has doubled.
#[derive(Debug, Default)]
pub struct RightsPool(Mutex<Pool>);

#[derive(Debug, Default)]
struct Pool {
    known: HashSet<Arc<Rights>>,
    sweep_at: usize,
}

impl Pool {
    fn sweep(&mut self) {
        self.known.retain(|rights| Arc::strong_count(rights) > 1);
        self.sweep_at = self.known.len() * 2;
    }
}

impl RightsPool {
    /// The shared allocation for these rights.
    pub fn intern(&self, rights: Arc<Rights>) -> Arc<Rights> {
        let mut pool = self.0.lock();
        if let Some(known) = pool.known.get(&rights) {
            return known.clone();
        }
        if pool.known.len() >= pool.sweep_at.max(64) {
            pool.sweep();
        }
        pool.known.insert(rights.clone());
        rights
    }

    /// Forgets rights that nobody holds any more, and the room that they took.
    pub fn shrink(&self) {
        let mut pool = self.0.lock();
        pool.sweep();
        pool.known.shrink_to_fit();
    }
}
