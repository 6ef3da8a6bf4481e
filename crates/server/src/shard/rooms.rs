//! The members of each channel on one shard: contiguous lists of slots, so that a fan-out walks memory in order.

use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use oyez_hub::address::AppId;
use oyez_hub::channel::{Key, spread};
use smallvec::{SmallVec, smallvec};

/// A member's slot in the shard's table.
pub(crate) type Slot = u32;

/// All channels with members on this shard.
#[derive(Debug, Default)]
pub(crate) struct Rooms(HashTable<Room>);

#[derive(Debug)]
struct Room {
    app: AppId,
    hash: u32,
    name: Arc<str>,
    /// Many channels are one user's: a list of few needs no memory of its own.
    members: SmallVec<[Slot; 4]>,
}

impl Room {
    fn is(&self, key: Key<'_>) -> bool {
        self.app == key.app && *self.name == **key.name
    }
}

impl Rooms {
    /// Adds a member; returns its place in the list.
    pub(crate) fn add(&mut self, key: Key<'_>, slot: Slot) -> u32 {
        match self.0.entry(spread(key.hash), |room| room.is(key), |room| spread(room.hash)) {
            Entry::Occupied(mut room) => {
                let members = &mut room.get_mut().members;
                members.push(slot);
                u32::try_from(members.len() - 1).unwrap_or(u32::MAX)
            }
            Entry::Vacant(vacant) => {
                let Key { app, name, hash } = key;
                vacant.insert(Room { app, hash, name: Arc::clone(name), members: smallvec![slot] });
                0
            }
        }
    }

    /// Removes the member at `place`; returns the member that moved into it, if any.
    pub(crate) fn remove(&mut self, key: Key<'_>, place: u32) -> Option<Slot> {
        let mut room = self.0.find_entry(spread(key.hash), |room| room.is(key)).ok()?;
        let members = &mut room.get_mut().members;
        let place = place as usize;
        if place < members.len() {
            members.swap_remove(place);
        }
        let moved = members.get(place).copied();
        if members.is_empty() {
            room.remove();
        }
        moved
    }

    /// Makes the table as small as its contents.
    pub(crate) fn shrink(&mut self) {
        self.0.iter_mut().for_each(|room| room.members.shrink_to_fit());
        self.0.shrink_to_fit(|room| spread(room.hash));
    }

    /// The members of a channel.
    pub(crate) fn members(&self, key: Key<'_>) -> &[Slot] {
        self.0.find(spread(key.hash), |room| room.is(key)).map_or(&[], |room| &room.members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(app: u16, name: &Arc<str>) -> Key<'_> {
        Key { app: AppId(app), name, hash: 7 }
    }

    #[test]
    fn the_last_member_moves_into_the_gap() {
        let mut rooms = Rooms::default();
        let name: Arc<str> = "a".into();
        let places: Vec<_> = (10..13).map(|slot| rooms.add(key(0, &name), slot)).collect();
        assert_eq!(places, [0, 1, 2]);
        assert_eq!(rooms.remove(key(0, &name), 0), Some(12));
        assert_eq!(rooms.members(key(0, &name)), [12, 11]);
        assert_eq!(rooms.remove(key(0, &name), 1), None);
        assert_eq!(rooms.remove(key(0, &name), 0), None);
        assert_eq!(rooms.members(key(0, &name)), [0u32; 0]);
    }

    #[test]
    fn what_is_left_is_found_after_shrinking() {
        let mut rooms = Rooms::default();
        let names: Vec<Arc<str>> = (0..1_000).map(|at| format!("{at}").into()).collect();
        for name in &names {
            for slot in 0..10 {
                assert_eq!(rooms.add(key(0, name), slot), slot);
            }
        }
        for name in &names[1..] {
            for at in (0..10).rev() {
                assert_eq!(rooms.remove(key(0, name), at), None);
            }
        }
        rooms.shrink();
        assert!(rooms.0.capacity() < 10, "{}", rooms.0.capacity());
        assert_eq!(rooms.members(key(0, &names[0])), (0..10).collect::<Vec<_>>());
        assert_eq!(rooms.members(key(0, &names[1])), [0u32; 0]);
    }

    #[test]
    fn apps_and_names_of_one_hash_do_not_hear_each_other() {
        let mut rooms = Rooms::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        rooms.add(key(1, &a), 7);
        assert_eq!(rooms.members(key(1, &a)), [7]);
        for other in [key(0, &a), key(2, &a), key(1, &b)] {
            assert_eq!(rooms.members(other), [0u32; 0]);
        }
    }
}
