//! What every store must do. `all` plays each scene on a fresh store; a scene that fails panics with its line.

#![allow(clippy::unwrap_used, reason = "a test may: the panic is the failure")]

mod bounds;
mod chronicle;
mod ids;
mod inbox;
mod marks;
mod rosters;
mod traces;
mod upkeep;

use std::sync::Arc;

use oyez_protocol::message::Args;

use super::{Audience, Bound, Message, Owner, Page, Priority, Put, State, Store, Stored, Target};
use crate::command::Level;

/// When the scenes begin: an hour's first moment.
pub(crate) const NOW: u64 = 1_700_000_000_000 / HOUR * HOUR;
pub(crate) const HOUR: u64 = 3_600_000;

/// All scenes, each on a store that `make` has just made; `level`: how certain its answers can be.
pub async fn all(level: Level, make: impl Fn() -> Arc<dyn Store>) {
    inbox::comes_out_as_it_went_in(&*make(), level).await;
    inbox::is_in_order_and_in_pages(&*make()).await;
    inbox::a_page_says_how_far_it_saw(&*make()).await;
    inbox::lists_by_state_and_from_both_ends(&*make()).await;
    inbox::keeps_apps_and_users_apart(&*make()).await;
    inbox::waits_until_it_is_due(&*make()).await;
    inbox::expires_quietly(&*make()).await;
    ids::are_stored_once(&*make()).await;
    ids::are_known_for_a_day(&*make()).await;
    ids::stay_known_while_their_message_lies_there(&*make()).await;
    ids::too_long_are_refused(&*make()).await;
    bounds::drop_the_acknowledged_first_and_then_the_oldest(&*make()).await;
    bounds::refuse_where_that_is_the_policy(&*make()).await;
    bounds::let_what_is_over_go_before_what_waits(&*make()).await;
    bounds::hold_for_channels_too(&*make()).await;
    marks::only_go_forward_and_say_what_changed(&*make()).await;
    marks::go_up_to_one_and_to_all(&*make()).await;
    marks::leave_holes_where_they_are(&*make()).await;
    marks::delete_and_resend(&*make()).await;
    rosters::are_kept(&*make()).await;
    rosters::decide_who_has_a_channels_messages(&*make()).await;
    rosters::give_each_member_a_cursor(&*make()).await;
    rosters::mark_a_message_in_all_its_places(&*make()).await;
    rosters::count_and_page_a_message_with_several_places_once(&*make()).await;
    rosters::take_a_message_from_all_its_places(&*make()).await;
    rosters::pass_over_nothing_between_a_message_and_where_it_was(&*make()).await;
    traces::tell_what_happened(&*make()).await;
    upkeep::expires_and_forgets(&*make()).await;
    upkeep::leaves_nothing_behind(&*make()).await;
    if make().chronicle().is_some() {
        chronicle::has_one_order_in_all_channels(&*make()).await;
        chronicle::comes_in_pages(&*make()).await;
        chronicle::gives_large_ones_in_small_pages(&*make()).await;
        chronicle::keeps_so_many_and_says_what_is_lost(&*make()).await;
        chronicle::keeps_for_so_long(&*make()).await;
        chronicle::knows_where_it_knows_nothing(&*make()).await;
    }
}

pub(crate) fn user(name: &str) -> Target {
    Target::User(name.into())
}

pub(crate) fn channel(name: &str) -> Target {
    Target::Channel(name.into())
}

pub(crate) fn ann() -> Owner {
    Owner::new("app", "ann")
}

pub(crate) fn bob() -> Owner {
    Owner::new("app", "bob")
}

/// A message whose payload is its id, with as many bytes beside it.
#[must_use]
pub fn message(id: &str) -> Message {
    Message {
        id: id.into(),
        event: "alarm".into(),
        args: Args::from(id).and_bytes(id.as_bytes().to_vec()),
        priority: Priority::Normal,
        created: NOW,
        expires_at: None,
        whole: false,
        audience: Audience::default(),
        receipt: None,
    }
}

/// A payload of one word.
#[must_use]
pub fn payload(word: &str) -> Args {
    Args::from(word)
}

pub(crate) fn put(id: &str, to: &[Target]) -> Put {
    Put {
        app: "app".into(),
        message: message(id),
        fresh: false,
        to: to.to_vec(),
        deliver_at: None,
        bound: Bound::default(),
        level: Level::Stored,
    }
}

/// Puts messages for ann.
pub(crate) async fn give(store: &dyn Store, ids: &[&str]) -> Vec<Stored> {
    let mut stored = Vec::new();
    for id in ids {
        stored.push(store.put(put(id, &[user("ann")]), NOW).await.unwrap());
    }
    stored
}

/// The ids of a page, joined.
pub(crate) fn ids(page: &Page) -> String {
    page.items.iter().map(|item| &*item.message.id).collect::<Vec<_>>().join(" ")
}

/// What waits for somebody, by id.
pub(crate) async fn waiting(store: &dyn Store, of: &Owner, now: u64) -> String {
    ids(&store.pending(of, None, 1_000, now).await.unwrap())
}

pub(crate) fn states(page: &Page) -> Vec<State> {
    page.items.iter().map(|item| item.state).collect()
}

/// A store must agree with itself after every scene.
pub(crate) async fn sound(store: &dyn Store) {
    assert_eq!(store.verify().await.unwrap(), [], "the store does not agree with itself");
}
