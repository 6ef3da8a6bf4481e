//! One publication to all its members on this shard: encoded once per variant, referenced by every outbox.

use std::rc::Rc;
use std::sync::Arc;

use oyez_hub::delivery::{AckReport, Audience, Delivery, Target};
use oyez_hub::policy::Rights;
use smallvec::SmallVec;

use crate::session::codec::Variant;
use crate::session::{Member, Session};
use crate::shard::Shard;
use crate::shard::outbox::Parcel;

/// A packet as members of one variant and namespace get it.
type Written = (Variant, Arc<str>, Rc<Parcel>);

/// What one fan-out keeps between members.
struct Fanout<'a> {
    delivery: &'a Delivery,
    stamp: u64,
    ack: Option<u64>,
    encoded: SmallVec<[Written; 2]>,
    /// The current channel's audience on each distinct set of rights met so far.
    admitted: SmallVec<[(Arc<Rights>, bool); 4]>,
    reached: usize,
}

impl Shard {
    /// Fills the outboxes of all members; nothing is written yet.
    pub(crate) fn fan_out(&self, delivery: &Arc<Delivery>) {
        let stamp = self.stamp.get() + 1;
        self.stamp.set(stamp);
        let ack = delivery.ack.as_ref().map(|_| self.take_ack_id());
        let mut fanout =
            Fanout { delivery, stamp, ack, encoded: SmallVec::new(), admitted: SmallVec::new(), reached: 0 };
        self.mark_excepted(&fanout);
        match &delivery.to {
            Target::Socket(address) => {
                if let Some(member) = self.member(*address).filter(|member| member.app == delivery.app) {
                    self.deliver(&mut fanout, &member, None);
                }
            }
            Target::Channels(channels) => {
                let rooms = self.rooms.borrow();
                let members = self.members.borrow();
                for heard in channels {
                    fanout.admitted.clear();
                    for slot in rooms.members(delivery.app, &heard.channel) {
                        if let Some(member) = members.get(*slot as usize) {
                            self.deliver(&mut fanout, member, heard.audience.as_ref());
                        }
                    }
                }
            }
        }
        self.metrics.sent(delivery.app, fanout.reached);
        if let Some(request) = &delivery.ack {
            let _ = request.answers.send(AckReport::Reached(fanout.reached));
        }
    }

    fn take_ack_id(&self) -> u64 {
        let id = self.next_ack.get();
        self.next_ack.set(id + 1);
        id
    }

    /// Those who must not hear it count as reached already.
    fn mark_excepted(&self, fanout: &Fanout<'_>) {
        let delivery = fanout.delivery;
        let rooms = self.rooms.borrow();
        let members = self.members.borrow();
        for name in &delivery.except {
            for slot in rooms.members(delivery.app, name) {
                if let Some(member) = members.get(*slot as usize) {
                    member.mark.set(fanout.stamp);
                }
            }
            if let Some(member) = name.parse().ok().and_then(|address| self.member(address)) {
                member.mark.set(fanout.stamp);
            }
        }
    }

    fn deliver(&self, fanout: &mut Fanout<'_>, member: &Rc<Member>, audience: Option<&Audience>) {
        if member.mark.get() == fanout.stamp || !audience.is_none_or(|audience| fanout.admits(audience, member)) {
            return;
        }
        member.mark.set(fanout.stamp);
        let Some(session) = member.session.upgrade() else { return };
        if fanout.delivery.volatile && is_busy(&session) {
            return;
        }
        let packet = fanout.packet(&session, member);
        if let (Some(id), Some(request)) = (fanout.ack, &fanout.delivery.ack) {
            member.owe(id, request);
        }
        fanout.reached += 1;
        self.queue_dirty(&session, packet);
    }
}

impl Fanout<'_> {
    fn admits(&mut self, audience: &Audience, member: &Member) -> bool {
        let rights = Arc::clone(&member.identity.borrow().rights);
        if let Some((_, word)) = self.admitted.iter().find(|(known, _)| Arc::ptr_eq(known, &rights)) {
            return *word;
        }
        let word = audience(&rights);
        self.admitted.push((rights, word));
        word
    }

    fn packet(&mut self, session: &Session, member: &Member) -> Rc<Parcel> {
        let variant = Variant::of(session);
        let known = |(known, namespace, _): &&Written| *known == variant && *namespace == member.namespace;
        if let Some((_, _, packet)) = self.encoded.iter().find(known) {
            return Rc::clone(packet);
        }
        let packet = variant.delivery(&member.namespace, self.ack, self.delivery);
        self.encoded.push((variant, Arc::clone(&member.namespace), Rc::clone(&packet)));
        packet
    }
}

/// A volatile packet is only for clients that can take it at once.
fn is_busy(session: &Session) -> bool {
    use crate::session::Link;
    let waiting = !session.outbox.borrow().is_empty();
    match &*session.link.borrow() {
        Link::WebSocket { .. } => waiting,
        Link::Polling(polling) => waiting || !polling.is_waiting(),
    }
}
