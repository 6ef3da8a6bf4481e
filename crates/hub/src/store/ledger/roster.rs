//! Who is on which channel's roster.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::store::engine::{Transaction, View, get};
use crate::store::error::StoreError;
use crate::store::key::{self, Parts};
use crate::store::message::Owner;
use crate::store::record::{Progress, decode_owned};

/// Puts users on; they have everything behind the last entry there is.
pub(super) fn enroll(
    transaction: &mut Transaction<'_>,
    app: &str,
    channel: &str,
    users: &[Arc<str>],
) -> Result<usize, StoreError> {
    key::check("the app's name", app)?;
    key::check("the channel's name", channel)?;
    let since = transaction.counters.last();
    let place = Progress { since, acknowledged: since, read: since, ahead: 0 };
    let mut new = 0;
    for user in users {
        key::check("the user's name", user)?;
        let key = key::joined(app, user, channel);
        if transaction.get(key.bytes())?.is_none() {
            transaction.put(key, &place);
            transaction.put_raw(key::member(app, channel, user), Vec::new());
            new += 1;
        }
    }
    Ok(new)
}

/// Takes users off.
pub(super) fn dismiss(
    transaction: &mut Transaction<'_>,
    app: &str,
    channel: &str,
    users: &[Arc<str>],
) -> Result<usize, StoreError> {
    let mut gone = 0;
    for user in users {
        let key = key::joined(app, user, channel);
        if get::<Progress>(transaction, &key)?.is_some() {
            transaction.remove(key);
            transaction.remove(key::member(app, channel, user));
            gone += 1;
        }
    }
    Ok(gone)
}

/// A page of a roster.
pub(super) fn members(
    view: &dyn View,
    app: &str,
    channel: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Arc<str>>, StoreError> {
    let mut range = key::members(app, channel).below();
    if let Some(after) = after {
        range.start = key::member(app, channel, after).below().end;
    }
    let mut members = Vec::new();
    if limit == 0 {
        return Ok(members);
    }
    view.walk(&range, false, &mut |key, _| {
        let mut parts = Parts::of(key);
        let (_, _, user) = (parts.name()?, parts.name()?, parts.name()?);
        members.push(user.into());
        Ok(if members.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(members)
}

/// The channels of a user, with how far they have come in each.
pub(super) fn places(view: &dyn View, of: &Owner) -> Result<Vec<(Arc<str>, Progress)>, StoreError> {
    let mut places = Vec::new();
    view.walk(&key::all_joined(&of.app, &of.user).below(), false, &mut |key, bytes| {
        let mut parts = Parts::of(key);
        let (_, _, channel) = (parts.name()?, parts.name()?, parts.name()?);
        places.push((channel.into(), decode_owned(key, bytes)?));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(places)
}
