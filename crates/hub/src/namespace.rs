//! A namespace as embedding code holds it: what it hears of its clients, and whom it tells something.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use oyez_protocol::message::Args;
use serde_json::Value;

use crate::address::AppId;
use crate::channel::EVERYONE;
use crate::command::{Acked, Command, CommandError, Goodbye, Publish, Published, Select, SocketInfo};
use crate::delivery::Priority;
use crate::handler::{ConnectError, Event, Handlers, Handshake};
use crate::hub::Hub;
use crate::policy::Identity;
use crate::socket::Socket;

/// One namespace of a server. Cloning is cheap.
///
/// Handlers run beside the threads that serve connections; those of one client start in the order of its events. A
/// second handler for the same thing replaces the first, also for clients that are connected already.
///
/// ```
/// # use oyez_hub::handler::{ConnectError, Handshake};
/// # use oyez_hub::{Hub, policy::Identity, socket::Socket};
/// # fn doctest(hub: Hub) -> Result<(), oyez_hub::command::CommandError> {
/// hub.namespace("/admin")?
///     .authenticate(async |handshake: Handshake| match handshake.auth["token"].as_str() {
///         Some("secret") => Ok(Identity { user: "root".into(), ..Identity::default() }),
///         _ => Err(ConnectError::new("not authorized").with_data(serde_json::json!({ "retry": false }))),
///     })
///     .on_connect(async |socket: Socket, _auth| drop(socket.join("admins").await));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Namespace {
    hub: Hub,
    app: AppId,
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Namespace").field(&self.hub.app(self.app).name).finish()
    }
}

impl Namespace {
    /// The namespace of one app of a hub.
    #[must_use]
    pub fn new(hub: Hub, app: AppId) -> Self {
        Self { hub, app }
    }

    fn register(&self, change: impl FnOnce(&mut Handlers)) -> &Self {
        change(&mut self.hub.app(self.app).handlers.write());
        self
    }

    /// Runs `handler` for every event of that name that a client sends.
    pub fn on<F, R>(&self, event: &str, handler: F) -> &Self
    where
        F: Fn(Socket, Event) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.register(|handlers| {
            handlers.events.insert(event.into(), Arc::new(move |socket, event| Box::pin(handler(socket, event))));
        })
    }

    /// Runs `handler` for every client that connects, with what it sent along (`auth`).
    pub fn on_connect<F, R>(&self, handler: F) -> &Self
    where
        F: Fn(Socket, Value) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.register(|handlers| {
            handlers.connect = Some(Arc::new(move |socket, auth| Box::pin(handler(socket, auth))));
        })
    }

    /// Runs `handler` for every client that is gone, with Socket.IO's reason (`transport close`, ...).
    pub fn on_disconnect<F, R>(&self, handler: F) -> &Self
    where
        F: Fn(Socket, &'static str) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.register(|handlers| {
            handlers.disconnect = Some(Arc::new(move |socket, reason| Box::pin(handler(socket, reason))));
        })
    }

    /// Lets `decide` say who a client is before it may connect; the error is what the client hears, and it may try
    /// again. Without it everybody may connect and is nobody.
    pub fn authenticate<F, R>(&self, decide: F) -> &Self
    where
        F: Fn(Handshake) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Identity, ConnectError>> + Send + 'static,
    {
        self.register(|handlers| {
            handlers.authenticate = Some(Arc::new(move |handshake| Box::pin(decide(handshake))));
        })
    }

    /// Everybody in `channel`.
    #[must_use]
    pub fn to(&self, channel: &str) -> Broadcast {
        self.everybody().to(channel)
    }

    /// Everybody but the members of `channel`.
    #[must_use]
    pub fn except(&self, channel: &str) -> Broadcast {
        self.everybody().except(channel)
    }

    /// Everybody.
    #[must_use]
    pub fn everybody(&self) -> Broadcast {
        Broadcast::new(self.hub.clone(), self.app)
    }

    /// Tells everybody.
    ///
    /// # Errors
    /// As [`Broadcast::emit`].
    pub async fn emit(&self, event: &str, args: impl Into<Args>) -> Result<Published, CommandError> {
        self.everybody().emit(event, args).await
    }
}

/// Whom to tell something, or to move, and how. Every method returns a narrower or wider choice.
///
/// A *channel* is what Socket.IO calls a room; alone in `to`, the id of a socket is that socket.
///
/// ```
/// # use std::time::Duration;
/// # use oyez_hub::Hub;
/// # async fn doctest(hub: Hub) -> Result<(), oyez_hub::command::CommandError> {
/// hub.to("kitchen").to("bar").except("night-shift").emit("order", "tea").await?;
/// hub.to("kitchen").volatile().emit("temperature", 21.5).await?;
/// let acked = hub.to("kitchen").emit_with_ack("ready?", "now", Duration::from_secs(5)).await?;
/// println!("{} of {} have answered", acked.answers.len(), acked.reached);
/// hub.to("bar").join("night-shift").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Broadcast {
    hub: Hub,
    app: AppId,
    to: Vec<String>,
    except: Vec<String>,
    priority: Option<Priority>,
    volatile: bool,
    compress: bool,
}

impl fmt::Debug for Broadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcast").field("to", &self.to).field("except", &self.except).finish_non_exhaustive()
    }
}

impl Broadcast {
    /// Everybody in one app's namespace.
    #[must_use]
    pub fn new(hub: Hub, app: AppId) -> Self {
        Self { hub, app, to: Vec::new(), except: Vec::new(), priority: None, volatile: false, compress: true }
    }

    /// Also the members of `channel`; the first call narrows everybody down to them.
    #[must_use]
    pub fn to(mut self, channel: &str) -> Self {
        self.to.push(channel.to_owned());
        self
    }

    /// Not the members of `channel`.
    #[must_use]
    pub fn except(mut self, channel: &str) -> Self {
        self.except.push(channel.to_owned());
        self
    }

    /// What it overtakes on its way to clients that read too slowly.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Only who can take it at once: nothing is queued for a busy connection.
    #[must_use]
    pub fn volatile(mut self) -> Self {
        self.volatile = true;
        self
    }

    /// Whether transports may compress it, as they do where compression is on.
    #[must_use]
    pub fn compress(mut self, compress: bool) -> Self {
        self.compress = compress;
        self
    }

    /// Tells them. Returns when the order is fixed, before delivery.
    ///
    /// # Errors
    /// When the event name is reserved, a channel cannot have such a name, or the server is going down.
    pub async fn emit(&self, event: &str, args: impl Into<Args>) -> Result<Published, CommandError> {
        self.hub.publish(self.app, self.publication(event, args.into()), None).await.map(|(published, _)| published)
    }

    /// Tells them, and collects their answers until all have answered or `wait` (at most a day) is over: whoever has
    /// not by then is the difference between `reached` and the number of answers.
    ///
    /// # Errors
    /// As [`Broadcast::emit`].
    pub async fn emit_with_ack(
        &self,
        event: &str,
        args: impl Into<Args>,
        wait: Duration,
    ) -> Result<Acked, CommandError> {
        self.hub.publish_with_ack(self.app, self.publication(event, args.into()), wait).await
    }

    /// Puts them into a channel too; when this returns, they are there.
    ///
    /// # Errors
    /// When `channel` cannot be a channel's name.
    pub async fn join(&self, channel: &str) -> Result<(), CommandError> {
        self.execute(Command::Join(self.select(), vec![channel.to_owned()])).await
    }

    /// Takes them out of a channel; when this returns, they are no longer there.
    ///
    /// # Errors
    /// When `channel` cannot be a channel's name.
    pub async fn leave(&self, channel: &str) -> Result<(), CommandError> {
        self.execute(Command::Leave(self.select(), vec![channel.to_owned()])).await
    }

    /// Ends their sessions.
    ///
    /// # Errors
    /// Never today; the signature leaves room for a node that has gone.
    pub async fn disconnect(&self, how: Goodbye) -> Result<(), CommandError> {
        self.execute(Command::Disconnect(self.select(), how)).await
    }

    /// Who they are (Socket.IO's `fetchSockets`).
    pub async fn sockets(&self) -> Vec<SocketInfo> {
        self.hub.describe(self.app, &self.select()).await
    }

    async fn execute(&self, command: Command) -> Result<(), CommandError> {
        self.hub.execute(self.app, command).await.map(|_| ())
    }

    fn channels(&self) -> Vec<String> {
        if self.to.is_empty() { vec![EVERYONE.to_owned()] } else { self.to.clone() }
    }

    fn publication(&self, event: &str, args: Args) -> Publish {
        Publish {
            except: self.except.clone(),
            shape: false,
            priority: self.priority,
            volatile: self.volatile,
            compress: self.compress,
            ..Publish::new(self.channels(), event, args)
        }
    }

    fn select(&self) -> Select {
        if let [one] = &self.to[..]
            && let Ok(address) = one.parse()
        {
            return Select::Socket(address);
        }
        let shared = |names: Vec<String>| names.into_iter().map(Arc::from).collect();
        Select::Channels { to: shared(self.channels()), except: shared(self.except.clone()) }
    }
}

/// Shorthands for the namespace `/`, the only one of most servers: each does what the method of [`Namespace`] does.
impl Hub {
    /// The namespace (or the bare Engine.IO app) of that name.
    ///
    /// # Errors
    /// [`CommandError::UnknownApp`]: the server was built without it.
    pub fn namespace(&self, name: &str) -> Result<Namespace, CommandError> {
        Ok(Namespace::new(self.clone(), self.find_app(name)?.id))
    }

    /// The first namespace: `/` of an embedded server.
    #[must_use]
    pub fn root(&self) -> Namespace {
        Namespace::new(self.clone(), AppId(0))
    }

    /// See [`Namespace::on`].
    pub fn on<F, R>(&self, event: &str, handler: F) -> &Self
    where
        F: Fn(Socket, Event) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.root().on(event, handler);
        self
    }

    /// See [`Namespace::on_connect`].
    pub fn on_connect<F, R>(&self, handler: F) -> &Self
    where
        F: Fn(Socket, Value) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.root().on_connect(handler);
        self
    }

    /// See [`Namespace::on_disconnect`].
    pub fn on_disconnect<F, R>(&self, handler: F) -> &Self
    where
        F: Fn(Socket, &'static str) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.root().on_disconnect(handler);
        self
    }

    /// See [`Namespace::authenticate`].
    pub fn authenticate<F, R>(&self, decide: F) -> &Self
    where
        F: Fn(Handshake) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Identity, ConnectError>> + Send + 'static,
    {
        self.root().authenticate(decide);
        self
    }

    /// See [`Namespace::to`].
    #[must_use]
    pub fn to(&self, channel: &str) -> Broadcast {
        self.root().to(channel)
    }

    /// See [`Namespace::except`].
    #[must_use]
    pub fn except(&self, channel: &str) -> Broadcast {
        self.root().except(channel)
    }

    /// See [`Namespace::emit`].
    ///
    /// # Errors
    /// As [`Broadcast::emit`].
    pub async fn emit(&self, event: &str, args: impl Into<Args>) -> Result<Published, CommandError> {
        self.root().emit(event, args).await
    }
}
