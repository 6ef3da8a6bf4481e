//! From a request to a session, and from a CONNECT packet to a membership.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use oyez_hub::address::{Address, AppId};
use oyez_hub::app::App;
use oyez_hub::cluster::Hold;
use oyez_hub::dialect::Step;
use oyez_hub::handler::{ConnectError, Handshake, Happening};
use oyez_hub::policy::limits::Limit;
use oyez_hub::policy::{Identity, Verdict};
use oyez_hub::socket::{Socket, open_lane};
use oyez_protocol::code::Code;
use oyez_protocol::engineio::open::Open;
use oyez_protocol::engineio::packet::{PacketType, Version};
use oyez_protocol::socketio::Packet;
use oyez_protocol::socketio::text::Decoder;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::clock;
use crate::config::TokenSource;
use crate::http::cors::{self, Site};
use crate::observe::event;
use crate::seats::Seat;
use crate::session::codec::Variant;
use crate::session::comeback::Return;
use crate::session::rules::Facts;
use crate::session::trail::Trail;
use crate::session::{Chatter, Dialog, Fault, Link, Member, Parser, Pulse, Reason, Session, token};
use crate::settings::Front;
use crate::shard::Shard;
use crate::shard::outbox::Parcel;
use crate::shard::throttle::ASK_WITHIN;

/// The HTTP request that opened a session.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    /// The client's address.
    pub peer: Option<IpAddr>,
    shown: Option<Box<Shown>>,
}

/// A client that is known, and not a member yet.
#[derive(Debug)]
pub(crate) struct Guest {
    /// The app that took it.
    pub app: Arc<App>,
    /// The namespace that it asked for.
    pub namespace: String,
    /// Who it is.
    pub identity: Arc<Identity>,
    /// Connections that its user now has.
    pub count: usize,
}

/// What a client showed in its request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown {
    /// `Origin`, of a browser.
    pub origin: Option<String>,
    /// What the browser says of the page beside that.
    pub site: Site,
    /// `Authorization`.
    pub authorization: Option<String>,
    /// `Cookie`.
    pub cookie: Option<String>,
    /// `Sec-WebSocket-Protocol`.
    pub subprotocol: Option<String>,
    /// The query, decoded.
    pub query: Vec<(String, String)>,
}

impl Request {
    /// A request from there.
    pub(crate) fn new(peer: Option<IpAddr>, shown: Shown) -> Self {
        Self { peer, shown: Some(Box::new(shown)) }
    }

    /// What was shown in it; nothing, once that is forgotten.
    pub(crate) fn shown(&self) -> &Shown {
        static NOTHING: Shown = Shown {
            origin: None,
            site: Site::Untold,
            authorization: None,
            cookie: None,
            subprotocol: None,
            query: Vec::new(),
        };
        self.shown.as_deref().unwrap_or(&NOTHING)
    }
}

impl Shown {
    /// The first value of a query parameter.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl Shard {
    /// Opens a session; the caller starts its transport.
    pub(crate) fn open_session(
        &self,
        front: Arc<Front>,
        dialog: Dialog,
        mut request: Request,
        link: Link,
        seat: Seat,
    ) -> Rc<Session> {
        if !self.asks_again(&front, dialog) {
            request.shown = None;
        }
        let heartbeat = match (&front.native, dialog) {
            (Some(native), Dialog::Native) => &native.heartbeat,
            _ => &front.engine.heartbeat,
        };
        let now = Instant::now();
        let pulse = Pulse::after(now, dialog, heartbeat);
        let connect_by = (dialog != Dialog::Native).then(|| now + front.engine.connect_timeout);
        let ask_by = connect_by.map(|_| now + ASK_WITHIN);
        let decoder = Decoder::new(dialog.version(), front.engine.max_attachments);
        let parser = if front.bare { Parser::Bare } else { Parser::Text };
        let session = self.admit(|address| Session {
            address,
            front,
            dialog,
            parser: Cell::new(parser),
            request,
            link: RefCell::new(link),
            outbox: RefCell::default(),
            decoder: RefCell::new(decoder),
            chatter: Chatter::default(),
            pulse: Cell::new(pulse),
            beats: Cell::new(0),
            connect_by: Cell::new(connect_by),
            ask_by: Cell::new(ask_by),
            scheduled: Cell::new(None),
            members: RefCell::default(),
            waker: RefCell::default(),
            drained: RefCell::default(),
            closed: Cell::new(None),
            seat,
        });
        self.schedule(&session);
        session
    }

    /// Whether a CONNECT, the first or a later one, may ask for what the client showed in its request. Few sessions
    /// need to keep that.
    fn asks_again(&self, front: &Front, dialog: Dialog) -> bool {
        let settings = self.settings();
        let asks = |app: &AppId| {
            let elsewhere = |source: &TokenSource| !matches!(source, TokenSource::Auth(_));
            self.hub.app(*app).credentials.is_none() || settings.tokens(*app).iter().any(elsewhere)
        };
        match dialog {
            Dialog::Native => false,
            Dialog::Engine { version, .. } => version == Version::V3 || front.apps.iter().any(asks),
        }
    }

    /// The open packet, and for a client of Engine.IO 3 the CONNECT that it expects unasked.
    pub(crate) async fn greet(self: &Rc<Self>, session: &Rc<Session>) -> Result<(), Fault> {
        let engine = &session.front.engine;
        let sid = session.address.encode();
        let upgrades: &[&str] = if session.transport() == "polling" && engine.websocket { &["websocket"] } else { &[] };
        let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let open = Open {
            sid: &sid,
            upgrades,
            ping_interval: millis(engine.heartbeat.interval),
            ping_timeout: millis(engine.heartbeat.timeout),
            max_payload: engine.max_payload as u64,
        };
        let version = session.dialog.version();
        self.queue(session, Parcel::engine(PacketType::Open, &open.json(), version));
        if session.front.bare {
            self.connect(session, String::new(), None, None).await?;
        } else if version == Version::V3 {
            self.connect(session, "/".to_owned(), None, None).await?;
        }
        Ok(())
    }

    /// A CONNECT packet: finds the app, learns who the client is, and answers.
    pub(crate) async fn connect(
        self: &Rc<Self>,
        session: &Rc<Session>,
        nsp: String,
        query: Option<String>,
        auth: Option<Box<RawValue>>,
    ) -> Result<(), Fault> {
        session.ask_by.set(None);
        if session.member(&nsp).is_some() {
            return Err(Fault::State);
        }
        let auth = auth_value(session, query.as_deref(), auth.as_deref());
        let apps = session.front.apps.iter().map(|id| self.hub.app(*id)).filter(|app| app.namespaces.contains(&nsp));
        let (mut refusal, mut code) = (ConnectError::new("Invalid namespace"), Code::InvalidNamespace);
        let mut refusals = Vec::new();
        for app in apps {
            if let Err(limit) = self.knock(&app, &session.request) {
                (refusal, code) = (over(limit), limit.code());
                continue;
            }
            match self.authenticate(session, &app, &auth).await {
                // Meanwhile it has upgraded, and its second CONNECT was faster.
                Ok(_) if session.member(&nsp).is_some() => return Err(Fault::State),
                Ok(identity) => {
                    let back = self.summon(session, &app, &identity, &auth).await;
                    // The app that accepts the token is the one that is meant, even if it has no room.
                    match self.enter(&app, &identity, &session.request) {
                        Ok(count) => {
                            let guest = Guest { app, namespace: nsp, identity, count };
                            self.introduce(session, guest, auth, back).await;
                        }
                        Err(limit) => {
                            self.metrics.connect_error(limit.code());
                            self.refuse(session, nsp, &over(limit));
                        }
                    }
                    return Ok(());
                }
                Err((error, word)) => {
                    (refusal, code) = (error, Code::Unauthorized);
                    refusals.push((app, word));
                }
            }
        }
        self.metrics.connect_error(code);
        self.tell_refused(&session.request, &refusals);
        if session.parser.get() == Parser::Bare {
            // It has no packet that could say so.
            self.close(session, Reason { code: Code::BadCredentials, word: "forced close" });
            return Ok(());
        }
        self.refuse(session, nsp, &refusal);
        session.chatter.hear(1)
    }

    /// Nobody took the client: each app that was asked counts it. (A client that another app took is none of theirs.)
    pub(crate) fn tell_refused(&self, request: &Request, refusals: &[(Arc<App>, &'static str)]) {
        for (app, word) in refusals {
            self.metrics.refused(app.id, word);
            event::refused(app, request, word);
        }
    }

    /// Who the client is, or what it hears and a word for the log.
    async fn authenticate(
        &self,
        session: &Session,
        app: &App,
        auth: &Value,
    ) -> Result<Arc<Identity>, (ConnectError, &'static str)> {
        let Some(credentials) = &app.credentials else {
            return self.authenticate_by_handler(session, app, auth).await.map_err(|error| (error, "handler"));
        };
        let origins = &session.front.origins;
        let token = token::find(self.settings().tokens(app.id), auth, session.request.shown(), origins);
        let identified = credentials.identify(token.as_deref(), clock::now()).await;
        identified.map_err(|refusal| (refused(refusal.code, &refusal.message), refusal.word))
    }

    /// Asks embedding code who the client is.
    async fn authenticate_by_handler(
        &self,
        session: &Session,
        app: &App,
        auth: &Value,
    ) -> Result<Arc<Identity>, ConnectError> {
        let decide = app.handlers.read().authenticator();
        let Some(decide) = decide else { return Ok(Arc::default()) };
        let shown = session.request.shown();
        let may_use = !cors::is_page(shown) || cors::may_use_cookies(&session.front.origins, shown);
        let Shown { query, authorization, cookie, origin, .. } = shown.clone();
        let cookie = cookie.filter(|_| may_use);
        let handshake =
            Handshake { auth: auth.clone(), query, authorization, cookie, origin, peer: session.request.peer };
        let (sender, decided) = oneshot::channel();
        // Beside the shards, like every handler: whatever it does, no other connection waits for it.
        self.hub.spawn(async move {
            let _ = sender.send(decide(handshake).await);
        });
        // Nothing comes only from a handler that panicked.
        let refused = || Err(ConnectError::new(Code::Internal.message()));
        decided.await.unwrap_or_else(|_| refused()).map(Arc::new)
    }

    /// Makes an identified client a member: it is told, joins its own channels, and others may hear of it.
    pub(crate) async fn introduce(self: &Rc<Self>, session: &Rc<Session>, guest: Guest, auth: Value, back: Return) {
        if session.closed.get().is_some() {
            // The client went away while it was being identified.
            self.withdraw(&guest.app, &guest.identity, session.request.peer);
            return;
        }
        let guest = Rc::new(guest);
        let recovered = match back {
            Return::No => Ok(None),
            Return::Forgotten(lost) => Err(lost),
            Return::Known(claim) => match Box::pin(self.come_back(session, &guest, *claim)).await {
                Ok(None) => {
                    self.withdraw(&guest.app, &guest.identity, session.request.peer);
                    return;
                }
                recovered => recovered,
            },
        };
        let (member, is_new, lost, _listening) = match recovered {
            Ok(Some(member)) => (member, false, None, None),
            other => {
                let listening = match self.hub.cluster() {
                    Some(_) => Box::pin(self.listen_ahead(session, &guest)).await,
                    None => None,
                };
                if session.closed.get().is_some() || session.member(&guest.namespace).is_some() {
                    // It went away meanwhile, or its second CONNECT, after an upgrade, was faster.
                    self.withdraw(&guest.app, &guest.identity, session.request.peer);
                    return;
                }
                let member = self.make_member(session, &guest, None);
                self.confirm(session, &member);
                (member, true, other.err(), listening)
            }
        };
        if self.end_if_revoked(session, &member) {
            // Between its identification and now, while its websocket was being opened.
            return;
        }
        self.enter_inbox(&member);
        if let Some(lane) = &member.lane {
            let _ = lane.send(Happening::Connected(auth)).await;
        }
        if is_new {
            self.settle_in(session, &member, lost).await;
        }
        self.open_inbox(&member);
        if !self.is_member(&member) {
            // It left while it settled in; that it came is told no more, as that it went already was.
            return;
        }
        self.tell_online(session, &member, guest.count);
        self.schedule(session);
    }

    /// Has what other nodes say in a client's own channels heard here, for as long as the answer is there: a client that is
    /// answered to its CONNECT misses nothing that is said after that. What it may not hear it does not join.
    async fn listen_ahead(&self, session: &Session, guest: &Guest) -> Option<Hold> {
        if session.dialog == Dialog::Native {
            return None;
        }
        let facts = Facts::of_guest(session, &guest.identity);
        let plan = guest.app.dialect.as_ref()?.on_connect(&facts.cx("", RawValue::NULL));
        let joined = plan.steps.into_iter().filter_map(|step| match step {
            Step::Join(channel) => Some(channel),
            _ => None,
        });
        let may_hear = |channel: &String| {
            let verdict = guest.app.policy.subscribe(&guest.identity, channel);
            !matches!(verdict, Verdict::Deny { .. })
        };
        self.hub.listen(guest.app.id, joined.filter(may_hear).map(Arc::from)).await
    }

    /// Enters a client among the members. `before`: the name that it had, and how far it has heard.
    pub(crate) fn make_member(
        self: &Rc<Self>,
        session: &Rc<Session>,
        guest: &Guest,
        before: Option<(Address, Trail)>,
    ) -> Rc<Member> {
        let Guest { app, namespace: nsp, identity, .. } = guest;
        let can_recover = app.recovery.is_some() && Variant::can_recover(session);
        let member = self.enroll(session, nsp, |address, namespace| {
            let known_as = before.as_ref().map_or(address, |(name, _)| *name);
            let lane = app.handlers.read().any().then(|| {
                let wire = wire_address(session, nsp, known_as);
                open_lane(&self.hub, Socket::new(self.hub.clone(), app.id, wire, Arc::clone(identity)))
            });
            let member =
                Member::new(address, app.id, namespace, session, Arc::clone(identity), lane, clock::unix_millis());
            let has_inbox = app.inbox.is_some() && !identity.user.is_empty();
            let member = if has_inbox { member.with_inbox() } else { member };
            let begun = || {
                let position = self.mark(app.id).map_or(0, |mark| mark.position);
                Trail::new(position, Arc::clone(identity), Arc::clone(&self.hub.app(app.id).policy))
            };
            let trail = before.map(|(_, trail)| trail);
            match session.dialog {
                _ if can_recover => member.recoverable(known_as, trail.unwrap_or_else(begun)),
                Dialog::Native if app.recovery.is_some() => member.with_positions(),
                _ => member,
            }
        });
        if let Some(recovery) = app.recovery.as_ref().filter(|_| member.known_as != member.address) {
            recovery.moved(member.known_as, member.address);
        }
        self.make_room(app, &member);
        self.set_times(&member);
        session.members.borrow_mut().push(Rc::clone(&member));
        session.connect_by.set(None);
        event::connected(app, &member, session);
        self.metrics.connected(app.id, &member.identity.borrow().user);
        member
    }

    /// The answer to CONNECT; raw clients and bare Engine.IO have none.
    pub(crate) fn confirm(&self, session: &Rc<Session>, member: &Member) {
        if session.dialog == Dialog::Native || session.parser.get() == Parser::Bare {
            return;
        }
        let auth = match session.dialog.version() {
            Version::V3 => None,
            Version::V4 if member.trail.is_some() => {
                let pid = self.hub.pids().of(member.known_as);
                to_raw_value(&json!({ "sid": member.wire_id(session), "pid": pid })).ok()
            }
            Version::V4 => to_raw_value(&json!({ "sid": member.wire_id(session) })).ok(),
        };
        let packet = Packet::Connect { nsp: member.namespace.to_string(), query: None, auth };
        self.queue(session, Variant::of(session).packet(&packet));
    }

    fn refuse(&self, session: &Rc<Session>, nsp: String, refusal: &ConnectError) {
        let error = match session.dialog.version() {
            // Version 2 clients get the bare text, except of an unknown namespace, as from Node.
            Version::V3 if refusal.message != "Invalid namespace" => to_raw_value(&refusal.message),
            _ => to_raw_value(refusal),
        };
        let Ok(error) = error else { return };
        self.queue(session, Variant::of(session).packet(&Packet::ConnectError { nsp, error }));
    }
}

/// What a client hears that a limit is in the way of.
fn over(limit: Limit) -> ConnectError {
    let code = limit.code();
    refused(code, code.message())
}

/// What a client hears in the app's words, and its program by a row of the table.
fn refused(code: Code, message: &str) -> ConnectError {
    ConnectError::new(message).with_data(json!({ "code": code.http_status(), "error": code.name() }))
}

impl Member {
    /// Its id as the client knows it: clients of Engine.IO 3 use the session's.
    pub(crate) fn wire_id(&self, session: &Session) -> String {
        self.wire_address(session).encode()
    }

    /// The same, not written yet.
    pub(crate) fn wire_address(&self, session: &Session) -> Address {
        wire_address(session, &self.namespace, self.known_as)
    }
}

/// In the main namespace, clients of Engine.IO 3 are known by their session's name. In others they call themselves
/// `/namespace#sid`; nobody else hears that name, so there a member has its own.
fn wire_address(session: &Session, namespace: &str, member: Address) -> Address {
    match (session.dialog.version(), namespace) {
        (Version::V3, "/") => session.address,
        _ => member,
    }
}

/// What the client sent along: the `auth` object, or, of version 3, the query of the namespace and of the request.
fn auth_value(session: &Session, query: Option<&str>, auth: Option<&RawValue>) -> Value {
    if let Some(auth) = auth {
        return serde_json::from_str(auth.get()).unwrap_or_default();
    }
    let mut fields = serde_json::Map::new();
    if session.dialog.version() == Version::V3 {
        fields.extend(
            session.request.shown().query.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))),
        );
        let own = query.unwrap_or_default();
        let own = form_urlencoded::parse(own.as_bytes());
        fields.extend(own.map(|(key, value)| (key.into_owned(), Value::from(value.as_ref()))));
    }
    Value::Object(fields)
}
