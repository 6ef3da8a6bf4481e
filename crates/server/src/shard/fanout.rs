//! One publication to all its members on this shard: encoded once per form, referenced by everybody who hears it.

use std::rc::Rc;
use std::sync::Arc;

use oyez_hub::delivery::{AckReport, Audience, Delivery, Target};
use oyez_hub::policy::Rights;
use oyez_hub::recovery::Mark;
use smallvec::SmallVec;

use crate::observe::drops::Dropped;
use crate::session::{Link, Member, Session};
use crate::shard::Shard;
use crate::shard::line::{FormId, Place};
use crate::shard::outbox::{Journey, Origin, Parcel};
use crate::shard::rooms::Slot;

/// What one fan-out keeps between members.
struct Fanout<'a> {
    shard: &'a Shard,
    delivery: &'a Delivery,
    stamp: u64,
    ack: Option<u64>,
    /// By form, and by whether a position is said.
    encoded: SmallVec<[(FormId, bool, Rc<Parcel>); 2]>,
    /// Begins with the first form.
    journey: Option<Rc<Journey>>,
    /// The current channel's audience on each distinct set of rights met so far.
    admitted: SmallVec<[(Arc<Rights>, bool); 4]>,
    /// Members whose connection cannot be written to at once, or who owe an answer.
    detained: Vec<Slot>,
    reached: usize,
    /// Members who were too busy for it.
    passed_over: usize,
}

impl Shard {
    /// Notes for all members what they are to get; nothing is written yet.
    pub(crate) fn fan_out(&self, delivery: &Arc<Delivery>) {
        if let Some(position) = delivery.position {
            self.reached(delivery.app, position.get());
        }
        let stamp = self.stamp.get() + 1;
        self.stamp.set(stamp);
        let mut fanout = Fanout {
            shard: self,
            delivery,
            stamp,
            ack: (delivery.ack.is_some() || delivery.stored.is_some()).then(|| self.take_ack_id()),
            encoded: SmallVec::new(),
            journey: None,
            admitted: SmallVec::new(),
            detained: self.detained.take(),
            reached: 0,
            passed_over: 0,
        };
        fanout.mark_excepted();
        match &delivery.to {
            Target::Socket(address) => {
                let known = self.member_known_as(delivery.app, *address);
                if let Some(member) = known.filter(|member| member.app == delivery.app) {
                    fanout.deliver(&[member.address.slot], None);
                }
            }
            Target::Channels(channels) => {
                let rooms = self.rooms.borrow();
                for heard in channels {
                    fanout.admitted.clear();
                    let members = rooms.members(self.key(delivery.app, &heard.channel));
                    fanout.deliver(members, heard.audience.as_ref());
                }
            }
        }
        fanout.finish();
    }

    /// Whether a client cannot take more at once. What only waits for the turn's end is in nobody's way.
    fn is_busy(&self, session: &Session) -> bool {
        match &*session.link.borrow() {
            Link::WebSocket { .. } => self.lines.borrow()[session.address.slot as usize].blocked,
            Link::Polling(polling) => !polling.is_waiting(),
        }
    }

    /// Whether what comes for a client now may overtake, or be overtaken, on its way there.
    fn is_congested(&self, session: &Session) -> bool {
        self.is_busy(session) && !session.outbox.borrow().is_empty()
    }

    /// The position that an event for one client says: none where it may be overtaken by what says a later one.
    pub(crate) fn mark_to_say(&self, session: &Session, member: &Member) -> Option<Mark> {
        self.mark(member.app).filter(|_| !self.is_congested(session))
    }

    pub(crate) fn take_ack_id(&self) -> u64 {
        let id = self.next_ack.get();
        self.next_ack.set(id + 1);
        id
    }
}

impl Fanout<'_> {
    /// Those who must not hear it count as reached already.
    fn mark_excepted(&self) {
        let rooms = self.shard.rooms.borrow();
        let mut places = self.shard.places.borrow_mut();
        for name in &self.delivery.except {
            for slot in rooms.members(self.shard.key(self.delivery.app, name)) {
                places[*slot as usize].mark = self.stamp;
            }
            let known = name.parse().ok().and_then(|address| self.shard.member_known_as(self.delivery.app, address));
            if let Some(member) = known {
                places[member.address.slot as usize].mark = self.stamp;
            }
        }
    }

    /// The way of nearly every delivery: two small entries are touched, and no session.
    fn deliver(&mut self, slots: &[Slot], audience: Option<&Audience>) {
        let shard = self.shard;
        let mut places = shard.places.borrow_mut();
        let mut lines = shard.lines.borrow_mut();
        let mut turn = shard.turn.borrow_mut();
        let mut dirty = shard.dirty.borrow_mut();
        for slot in slots {
            let place = &mut places[*slot as usize];
            if place.mark == self.stamp || !audience.is_none_or(|audience| self.admits(audience, *slot)) {
                continue;
            }
            place.mark = self.stamp;
            let line = &mut lines[place.session as usize];
            if !line.direct || self.ack.is_some() {
                self.detained.push(*slot);
                continue;
            }
            line.pending = turn.extend(line.pending, self.packet(place.form, true));
            self.reached += 1;
            if !line.listed {
                line.listed = true;
                dirty.push(place.session);
            }
        }
    }

    /// Those who could not be served in passing, by their sessions.
    fn finish(mut self) {
        let mut detained = std::mem::take(&mut self.detained);
        for slot in detained.drain(..) {
            if let Some(member) = self.shard.member_at(slot)
                && let Some(session) = member.session.upgrade()
            {
                self.detain(&session, &member);
            }
        }
        self.shard.detained.replace(detained);
        self.shard.metrics.sent(self.delivery.app, self.reached);
        if self.passed_over > 0 {
            self.shard.metrics.drops.count(&Origin::of(self.delivery), Dropped::Volatile, self.passed_over);
        }
        if let Some(request) = &self.delivery.ack {
            let _ = request.answers.send(AckReport::Reached(self.reached));
        }
    }

    fn detain(&mut self, session: &Rc<Session>, member: &Member) {
        if self.delivery.volatile && self.shard.is_busy(session) {
            self.passed_over += 1;
            return;
        }
        if let (Some(place), Some(inbox)) = (self.delivery.stored, &member.inbox) {
            if !inbox.takes(place) {
                return;
            }
            if let Some(ack) = self.ack {
                inbox.sent(ack, &self.delivery.id);
            }
        }
        let Place { form, .. } = self.shard.places.borrow()[member.address.slot as usize];
        let says = self.delivery.position.is_some() || !self.shard.is_congested(session);
        let packet = Rc::clone(self.packet(form, says));
        if let (Some(id), Some(request)) = (self.ack, &self.delivery.ack) {
            member.owe(id, request, self.delivery.position);
        }
        self.reached += 1;
        self.shard.queue_dirty(session, packet);
    }

    fn admits(&mut self, audience: &Audience, slot: Slot) -> bool {
        let Some(member) = self.shard.member_at(slot) else { return false };
        let rights = Arc::clone(&member.identity.borrow().rights);
        if let Some((_, word)) = self.admitted.iter().find(|(known, _)| Arc::ptr_eq(known, &rights)) {
            return *word;
        }
        let word = audience.admits(&rights);
        self.admitted.push((rights, word));
        word
    }

    /// The publication in that form; `says`: with its position, where clients of that form hear it.
    fn packet(&mut self, form: FormId, says: bool) -> &Rc<Parcel> {
        let says = says || self.ack.is_some() || !self.shard.forms.borrow().get(form).0.says_positions();
        let known = self.encoded.iter().position(|(known, saying, _)| (*known, *saying) == (form, says));
        let index = known.unwrap_or_else(|| {
            let forms = self.shard.forms.borrow();
            let (variant, namespace) = forms.get(form);
            let begin = || Journey::new(self.delivery.asked, self.shard.metrics.latency().clone());
            let journey = self.journey.get_or_insert_with(begin);
            let mark = self.shard.mark(self.delivery.app).filter(|_| says);
            let parcel = variant.publication(namespace, self.ack, self.delivery, mark).travelling(journey);
            self.encoded.push((form, says, parcel));
            self.encoded.len() - 1
        });
        &self.encoded[index].2
    }
}
