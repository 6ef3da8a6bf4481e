//! The members of each channel on one shard: contiguous lists of slots, so that a fan-out walks memory in order.

use std::collections::HashMap;
use std::sync::Arc;

use oyez_hub::address::AppId;
use smallvec::SmallVec;

/// A member's slot in the shard's table.
pub(crate) type Slot = u32;

/// Many channels are one user's: a list of one or two needs no memory of its own.
type Members = SmallVec<[Slot; 4]>;

/// All channels with members on this shard, by app and name.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    apps: Vec<HashMap<Arc<str>, Members>>,
}

impl Rooms {
    /// Adds a member; returns its place in the list.
    pub(crate) fn add(&mut self, app: AppId, name: &Arc<str>, slot: Slot) -> u32 {
        let app = usize::from(app.0);
        if self.apps.len() <= app {
            self.apps.resize_with(app + 1, HashMap::default);
        }
        let rooms = &mut self.apps[app];
        let Some(list) = rooms.get_mut(name) else {
            rooms.insert(Arc::clone(name), Members::from_elem(slot, 1));
            return 0;
        };
        list.push(slot);
        u32::try_from(list.len() - 1).unwrap_or(u32::MAX)
    }

    /// Removes the member at `place`; returns the member that moved into it, if any.
    pub(crate) fn remove(&mut self, app: AppId, name: &str, place: u32) -> Option<Slot> {
        let rooms = self.apps.get_mut(usize::from(app.0))?;
        let list = rooms.get_mut(name)?;
        let place = place as usize;
        if place < list.len() {
            list.swap_remove(place);
        }
        let moved = list.get(place).copied();
        if list.is_empty() {
            rooms.remove(name);
        }
        moved
    }

    /// The members of a channel.
    pub(crate) fn members(&self, app: AppId, name: &str) -> &[Slot] {
        let rooms = self.apps.get(usize::from(app.0));
        rooms.and_then(|rooms| rooms.get(name)).map_or(&[], |members| members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_member_moves_into_the_gap() {
        let mut rooms = Rooms::default();
        let name: Arc<str> = "a".into();
        let places: Vec<_> = (10..13).map(|slot| rooms.add(AppId(0), &name, slot)).collect();
        assert_eq!(places, [0, 1, 2]);
        assert_eq!(rooms.remove(AppId(0), &name, 0), Some(12));
        assert_eq!(rooms.members(AppId(0), &name), [12, 11]);
        assert_eq!(rooms.remove(AppId(0), &name, 1), None);
        assert_eq!(rooms.remove(AppId(0), &name, 0), None);
        assert_eq!(rooms.members(AppId(0), &name), [0u32; 0]);
    }

    #[test]
    fn apps_do_not_hear_each_other() {
        let mut rooms = Rooms::default();
        let name: Arc<str> = "a".into();
        rooms.add(AppId(1), &name, 7);
        assert_eq!(rooms.members(AppId(1), "a"), [7]);
        assert_eq!(rooms.members(AppId(0), "a"), [0u32; 0]);
        assert_eq!(rooms.members(AppId(2), "a"), [0u32; 0]);
    }
}
