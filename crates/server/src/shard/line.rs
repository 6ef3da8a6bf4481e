//! What a delivery touches of a connection: one small entry per membership and one per session, each in an array that
//! a fan-out walks in order. The session itself is looked at only when its connection is not idle.

use std::sync::Arc;

use super::turn::Sequence;
use crate::session::codec::Variant;

/// How a member's packets are written: a variant and a namespace, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FormId(u16);

/// All forms that have occurred on a shard; few, because variants and namespaces are.
#[derive(Debug, Default)]
pub(crate) struct Forms {
    forms: Vec<(Variant, Arc<str>)>,
}

impl Forms {
    /// A namespace's name, shared with those who have it already.
    pub(crate) fn name(&self, namespace: &str) -> Arc<str> {
        let known = self.forms.iter().find(|(_, name)| **name == *namespace);
        known.map_or_else(|| namespace.into(), |(_, name)| Arc::clone(name))
    }

    /// The number of a form.
    pub(crate) fn intern(&mut self, variant: Variant, namespace: &Arc<str>) -> FormId {
        let known = self.forms.iter().position(|(own, name)| *own == variant && *name == *namespace);
        let index = known.unwrap_or_else(|| {
            self.forms.push((variant, Arc::clone(namespace)));
            self.forms.len() - 1
        });
        FormId(u16::try_from(index).unwrap_or(u16::MAX))
    }

    /// The form of that number.
    pub(crate) fn get(&self, id: FormId) -> &(Variant, Arc<str>) {
        &self.forms[usize::from(id.0)]
    }
}

/// One membership, by its slot.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    /// The last publication that reached it, so that one in several channels arrives once.
    pub mark: u64,
    /// The slot of its session.
    pub session: u32,
    /// How its packets are written.
    pub form: FormId,
}

/// One session's connection, by the session's slot.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Line {
    /// What this turn has brought so far; only ever set while the connection is direct.
    pub pending: Sequence,
    /// A plain websocket with nothing in its outbox: what comes is written to it at once. Otherwise it goes to the outbox.
    pub direct: bool,
    /// Whether compression was negotiated.
    pub deflate: bool,
    /// The kernel did not take all of the last write.
    pub blocked: bool,
    /// On the list of those to be flushed at the end of the turn.
    pub listed: bool,
}

/// The entry of `slot` in an array that grows on demand.
pub(crate) fn entry_of<T: Clone + Default>(array: &mut Vec<T>, slot: u32) -> &mut T {
    let slot = slot as usize;
    if array.len() <= slot {
        array.resize(slot + 1, T::default());
    }
    &mut array[slot]
}
