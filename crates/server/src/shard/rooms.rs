//! The members of each channel on one shard: contiguous lists of slots, so that a fan-out walks memory in order.

use std::collections::HashMap;
use std::sync::Arc;

use oyez_hub::address::AppId;

/// A member's slot in the shard's table.
pub(crate) type Slot = u32;

type Key = (AppId, Arc<str>);

/// All channels with members on this shard.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    rooms: HashMap<Key, Vec<Slot>>,
}

impl Rooms {
    /// Adds a member; returns its place in the list.
    pub(crate) fn add(&mut self, app: AppId, name: &Arc<str>, slot: Slot) -> usize {
        let list = self.rooms.entry((app, Arc::clone(name))).or_default();
        list.push(slot);
        list.len() - 1
    }

    /// Removes the member at `place`; returns the member that moved into it, if any.
    pub(crate) fn remove(&mut self, app: AppId, name: &Arc<str>, place: usize) -> Option<Slot> {
        let key = (app, Arc::clone(name));
        let list = self.rooms.get_mut(&key)?;
        if place < list.len() {
            list.swap_remove(place);
        }
        let moved = list.get(place).copied();
        if list.is_empty() {
            self.rooms.remove(&key);
        }
        moved
    }

    /// The members of a channel.
    pub(crate) fn members(&self, app: AppId, name: &Arc<str>) -> &[Slot] {
        self.rooms.get(&(app, Arc::clone(name))).map_or(&[], Vec::as_slice)
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
}
