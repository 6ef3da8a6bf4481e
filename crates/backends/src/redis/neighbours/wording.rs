//! The hub's words in those of Socket.IO's servers, and back.

use std::sync::Arc;
use std::time::Duration;

use oyez_hub::channel::{EVERYONE, is_own};
use oyez_hub::cluster::{Outward, Question};
use oyez_hub::command::{Goodbye, Publish, Select, SocketInfo};
use oyez_hub::delivery::Delivery;
use oyez_protocol::adapter::{Event, Flags, Handshake, Message, Rooms, Socket, Target};
use oyez_protocol::message::Args;
use serde_json::{Value, json};

/// How long acknowledgements are waited for where their asker does not say.
const ACKS: Duration = Duration::from_secs(5);

/// A publication; `request` names the acknowledgements that it asks for. None when neighbours must not hear it.
pub(super) fn broadcast(delivery: &Delivery, request: Option<String>) -> Option<Message> {
    let timeout = delivery.ack.as_ref().map(|ack| u64::try_from(ack.timeout.as_millis()).unwrap_or(u64::MAX));
    let flags =
        Flags { volatile: delivery.volatile, compress: (!delivery.compress).then_some(false), timeout, single: false };
    let event = Event { name: delivery.event.to_string(), args: delivery.args.clone() };
    Some(Message::Broadcast { event, to: target(delivery.outward()?).flags(flags), request })
}

/// A question; `request` names the answers. None when it concerns nobody there.
pub(super) fn question(question: &Question, request: &str) -> Option<Message> {
    let to = target(question.select().outward()?);
    let visible = |names: &[String]| names.iter().filter(|name| !is_own(name)).cloned().collect::<Rooms>();
    Some(match question {
        Question::Join(_, channels) => Message::Join { to, rooms: visible(channels), request: None },
        Question::Leave(_, channels) => Message::Leave { to, rooms: visible(channels), request: None },
        Question::Disconnect(_, how) => {
            Message::Disconnect { to, close: matches!(how, Goodbye::Transport), request: None }
        }
        Question::Describe(_) => Message::Fetch { to, request: request.to_owned() },
        // They know nothing of the rest.
        _ => return None,
    })
}

fn target(Outward { to, except }: Outward) -> Target {
    Target::rooms(to.iter().flatten().map(|name| &**name)).except(except.iter().map(|name| &**name))
}

/// An event of a neighbour, for the clients of this node.
pub(super) fn publish(event: Event, to: Target) -> Publish {
    let Target { rooms, except, flags } = to;
    Publish {
        except: except.into_iter().collect(),
        shape: false,
        volatile: flags.volatile,
        compress: flags.compress.unwrap_or(true),
        ..Publish::new(rooms.into_iter().collect(), event.name, event.args)
    }
}

/// How long acknowledgements are waited for.
pub(super) fn patience(flags: Flags) -> Duration {
    flags.timeout.map_or(ACKS, Duration::from_millis).min(Duration::from_secs(24 * 60 * 60))
}

/// Whom a neighbour means.
pub(super) fn select(to: &Target) -> Select {
    let visible = |names: &Rooms| -> Vec<Arc<str>> {
        names.iter().filter(|name| !is_own(name)).map(|name| name.as_str().into()).collect()
    };
    let except = visible(&to.except);
    match to.rooms.is_empty() {
        true if except.is_empty() => Select::Everyone,
        true => Select::Channels { to: vec![EVERYONE.into()], except },
        false => Select::Channels { to: visible(&to.rooms), except },
    }
}

/// A session of this node. What it showed when it connected is not told: it may be a secret.
pub(super) fn socket(info: SocketInfo) -> Socket {
    let query = [("EIO".to_owned(), "4".to_owned()), ("transport".to_owned(), info.transport.to_owned())];
    let url = format!("/socket.io/?EIO=4&transport={}", info.transport);
    let handshake = Handshake {
        headers: &[],
        address: info.address.as_deref().unwrap_or_default(),
        xdomain: false,
        secure: false,
        issued: info.connected_at,
        url: &url,
        query: &query,
        auth: None,
    };
    let mut data = json!({ "user": info.user, "roles": info.roles });
    if let Some(name) = &info.name {
        data["name"] = (**name).into();
    }
    let handshake = handshake.value();
    let rooms = std::iter::once(info.id.clone()).chain(info.channels.iter().map(ToString::to_string)).collect();
    Socket { id: info.id, handshake, rooms, data: Args::from(data) }
}

/// A session of a neighbour, as far as it says who that is.
pub(super) fn info(socket: Socket) -> SocketInfo {
    let handshake: Value = socket.handshake.get(0).unwrap_or_default();
    let data: Value = socket.data.get(0).unwrap_or_default();
    let polling = handshake["query"]["transport"] == "polling";
    let text = |value: &Value| value.as_str().map(Arc::from);
    let channels = socket.rooms.into_iter().filter(|room| *room != socket.id && !is_own(room));
    SocketInfo {
        user: text(&data["user"]).unwrap_or_default(),
        name: text(&data["name"]),
        roles: data["roles"].as_array().into_iter().flatten().filter_map(text).collect(),
        transport: if polling { "polling" } else { "websocket" },
        address: handshake["address"].as_str().map(str::to_owned),
        connected_at: handshake["issued"].as_u64().unwrap_or_default(),
        channels: channels.map(Into::into).collect(),
        id: socket.id,
    }
}
