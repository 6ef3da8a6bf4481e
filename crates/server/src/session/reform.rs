//! Other rules while members are there: who may not hear a channel any more leaves it. The connection stays, with the
//! transport settings that it began with.

use std::rc::Rc;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream;
use oyez_hub::app::App;
use oyez_hub::channel::ruled_by;
use oyez_hub::policy::Verdict;
use oyez_hub::policy::grants::Action;

use crate::session::Member;
use crate::shard::{PER_MESSAGE, Shard};

/// Questions to an app's backend that are under way at once.
const ASKING: usize = 64;

/// A channel in which a member may or may not stay.
type Doubt = (Rc<Member>, Arc<str>);

impl Shard {
    /// An app whose rules were `old` has others now: whoever of these members could hear a channel under those and cannot
    /// under these leaves it. (A channel that it could not join by itself, a backend has put it into; there it stays.)
    pub(crate) fn reform(self: &Rc<Self>, old: &Arc<App>, members: Vec<Rc<Member>>) {
        let (shard, old) = (Rc::clone(self), Arc::clone(old));
        // A task of its own: meanwhile deliveries go on.
        tokio::task::spawn_local(async move {
            let app = shard.hub.app(old.id);
            let (mut doubts, mut doubtful) = (Vec::new(), Vec::new());
            let may_hear_more = app.policy.has_rosters() || app.policy.has_audiences();
            let hearers = members.iter().filter(|member| may_hear_more && member.app == app.id).cloned().collect();
            for member in members.into_iter().filter(|member| member.app == app.id) {
                let before = doubts.len();
                shard.weigh(&old, &app, &member, &mut doubts);
                if doubts.len() > before {
                    doubtful.push(member);
                } else {
                    decided(&member, &app);
                }
                shard.give_way(PER_MESSAGE).await;
            }
            let settle = stream::iter(doubts).for_each_concurrent(ASKING, |doubt| shard.settle_doubt(&app, doubt));
            settle.await;
            doubtful.iter().for_each(|member| decided(member, &app));
            shard.hear_more(app.id, hearers).await;
        });
    }

    /// Has a member leave what the rules deny by themselves, and notes what the app's backend is to be asked.
    fn weigh(&self, old: &App, app: &App, member: &Rc<Member>, doubts: &mut Vec<Doubt>) {
        let identity = Arc::clone(&member.identity.borrow());
        // Another reform may still be asking.
        let before = member.trail.as_ref().map_or_else(|| Arc::clone(&old.policy), |trail| trail.decided().1);
        let channels = member.channels.borrow().names();
        for channel in channels {
            let Some(ruling) = ruled_by(&channel) else { continue };
            match (before.subscribe(&identity, ruling), app.policy.subscribe(&identity, ruling)) {
                (Verdict::Deny { .. }, _) | (_, Verdict::Allow(_)) => {}
                (_, Verdict::Deny { .. }) => self.lose(app, member, &channel),
                (Verdict::Ask(was), Verdict::Ask(is))
                    if was.ask.endpoint.url == is.ask.endpoint.url && was.body == is.body => {}
                (_, Verdict::Ask(_)) => doubts.push((Rc::clone(member), channel)),
            }
        }
    }

    async fn settle_doubt(&self, app: &App, (member, channel): Doubt) {
        let identity = Arc::clone(&member.identity.borrow());
        let Some(ruling) = ruled_by(&channel) else { return };
        if self.permit(app, &identity, Action::Subscribe, ruling).await.is_err() {
            self.lose(app, &member, &channel);
        }
    }
}

/// Its channels are what these rules let it have.
fn decided(member: &Member, app: &App) {
    if let Some(trail) = &member.trail {
        trail.decided_by(&app.policy);
    }
}
