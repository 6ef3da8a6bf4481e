//! What a client's messages mean: packets to commands, step by step, in the order in which they came.

use std::rc::Rc;

use bytes::Bytes;
use oyez_hub::handler::{Event, Happening};
use oyez_hub::socket::Ack;
use oyez_protocol::code::Code;
use oyez_protocol::engineio::packet::{Data, Packet as EnginePacket, PacketType, Version};
use oyez_protocol::message::Args;
use oyez_protocol::native;
use oyez_protocol::socketio::{Packet, msgpack};
use serde_json::value::RawValue;

use crate::session::rules::Said;
use crate::session::{Dialog, Fault, MESSAGE, Member, Parser, Session};
use crate::shard::Shard;
use crate::shard::outbox::Parcel;
use crate::transport::websocket::Message;

impl Shard {
    /// A message of a websocket.
    pub(crate) async fn on_message(self: &Rc<Self>, session: &Rc<Session>, message: Message) -> Result<(), Fault> {
        let version = session.dialog.version();
        let bad = |error: oyez_protocol::engineio::Error| Fault::Protocol(error.code());
        match (session.dialog, message) {
            (Dialog::Native, message) => {
                // Whatever a raw client says shows that it lives, not only a pong.
                self.beat(session);
                self.on_native(session, message).await
            }
            (_, Message::Pong(_)) => Ok(()),
            (_, Message::Text(text)) => {
                let packet = EnginePacket::decode_text(&text, version).map_err(bad)?;
                self.on_packet(session, packet).await
            }
            (_, Message::Binary(bytes)) => {
                let packet = EnginePacket::decode_binary(bytes, version).map_err(bad)?;
                self.on_packet(session, packet).await
            }
        }
    }

    /// A packet of Engine.IO.
    pub(crate) async fn on_packet(
        self: &Rc<Self>,
        session: &Rc<Session>,
        packet: EnginePacket<'_>,
    ) -> Result<(), Fault> {
        let version = session.dialog.version();
        if packet.kind != PacketType::Message {
            session.chatter.hear(1)?;
        }
        match (packet.kind, packet.data) {
            (PacketType::Message, Data::Text(text)) => self.on_text(session, text).await,
            (PacketType::Message, Data::Binary(bytes)) => self.on_binary(session, bytes).await,
            (PacketType::Ping, _) if version == Version::V3 => {
                self.beat(session);
                // Its client asks again only when it has heard the last answer, and what was written before that.
                self.confirm_delivered(session, session.beats.get());
                self.sign_of_life(session);
                self.queue(session, Parcel::engine(PacketType::Pong, "", version));
                self.ask(session);
                Ok(())
            }
            (PacketType::Pong, _) if version == Version::V4 => {
                self.beat(session);
                self.confirm_delivered(session, session.beats.get());
                self.schedule(session);
                self.sign_of_life(session);
                Ok(())
            }
            // Heartbeats go the other way.
            (PacketType::Ping, _) => Err(Fault::Protocol(Code::ParseError)),
            (PacketType::Close, _) => Err(Fault::Closed),
            // Unasked, but Node tolerates them.
            (PacketType::Pong | PacketType::Open | PacketType::Upgrade | PacketType::Noop, _) => Ok(()),
        }
    }

    async fn on_text(self: &Rc<Self>, session: &Rc<Session>, text: &str) -> Result<(), Fault> {
        if session.parser.get() == Parser::Bare {
            return self.on_bare(session, Args::one(&text)).await;
        }
        let packet = session.decoder.borrow_mut().push_text(text).map_err(|error| Fault::Protocol(error.code()))?;
        if let Some(packet) = packet {
            return self.on_socketio(session, packet).await;
        }
        // Only a member may leave attachments here.
        let is_member = session.decoder.borrow().waiting_in().is_some_and(|nsp| session.member(nsp).is_some());
        if is_member { Ok(()) } else { Err(Fault::State) }
    }

    async fn on_binary(self: &Rc<Self>, session: &Rc<Session>, bytes: Bytes) -> Result<(), Fault> {
        let waiting = session.decoder.borrow().waiting_in().is_some();
        let text = session.parser.get() == Parser::Text;
        if text && !waiting && session.members.borrow().is_empty() {
            // Nothing was said in text yet: this client uses the msgpack parser.
            session.parser.set(Parser::MsgPack);
        }
        let packet = match session.parser.get() {
            Parser::MsgPack => msgpack::decode(&bytes, session.front.engine.max_attachments).map(Some),
            Parser::Bare => {
                let placeholder = r#"{"_placeholder":true,"num":0}"#.to_owned();
                return self.on_bare(session, Args::from_validated(placeholder, vec![bytes])).await;
            }
            Parser::Text => session.decoder.borrow_mut().push_binary(bytes),
        };
        match packet.map_err(|error| Fault::Protocol(error.code()))? {
            Some(packet) => self.on_socketio(session, packet).await,
            None => Ok(()),
        }
    }

    /// A message of bare Engine.IO.
    async fn on_bare(self: &Rc<Self>, session: &Rc<Session>, args: Args) -> Result<(), Fault> {
        let member = session.member("").ok_or(Fault::State)?;
        self.metrics.received(member.app);
        self.on_event(session, &member, MESSAGE.to_owned(), args, None).await;
        Ok(())
    }

    async fn on_socketio(self: &Rc<Self>, session: &Rc<Session>, packet: Packet) -> Result<(), Fault> {
        self.sign_of_life(session);
        if let Packet::Connect { nsp, query, auth } = packet {
            // Boxed, like whatever is long and rare: an event's future is moved about several times.
            return Box::pin(self.connect(session, nsp, query, auth)).await;
        }
        let member = session.member(packet.nsp()).ok_or(Fault::State)?;
        match packet {
            Packet::Event { ack, name, args, .. } => {
                self.metrics.received(member.app);
                self.on_event(session, &member, name, args, ack).await;
                Ok(())
            }
            Packet::Ack { id, args, .. } => {
                if !self.acknowledge(&member, id, &args) {
                    member.answered(id, args);
                }
                Ok(())
            }
            Packet::Disconnect { .. } => {
                self.expel(session, &member, "client namespace disconnect");
                Ok(())
            }
            Packet::Connect { .. } | Packet::ConnectError { .. } => Err(Fault::State),
        }
    }

    async fn on_event(
        self: &Rc<Self>,
        session: &Rc<Session>,
        member: &Rc<Member>,
        name: String,
        args: Args,
        ack: Option<u64>,
    ) {
        let said = Said { event: &name, data: args.first().unwrap_or(RawValue::NULL), args: &args, ack };
        let Some(lane) = &member.lane else { return self.obey(session, member, said).await };
        if !self.is_within_limits(session, member, &said) {
            return;
        }
        let ack = ack.map(|id| Ack::new(self.hub.clone(), member.address, id));
        // A full lane means that this client's handlers are busy: it is read no further until one is done.
        let _ = lane.send(Happening::Event(Event { name: name.into(), args, ack })).await;
    }

    /// A message of a raw WebSocket. What cannot be understood is counted; the connection stays.
    async fn on_native(self: &Rc<Self>, session: &Rc<Session>, message: Message) -> Result<(), Fault> {
        self.sign_of_life(session);
        if let Message::Pong(beat) = message {
            if let Some(beat) = beat.filter(|beat| *beat <= session.beats.get()) {
                self.confirm_delivered(session, beat);
            }
            return Ok(());
        }
        let member = session.member("").ok_or(Fault::State)?;
        self.metrics.received(member.app);
        let field = session.front.native.as_ref().map_or(native::DEFAULT_TYPE_FIELD, |native| &native.type_field);
        let understood = match &message {
            Message::Text(text) => native::parse(text, field).ok().zip(serde_json::from_str::<&RawValue>(text).ok()),
            Message::Binary(_) | Message::Pong(_) => None,
        };
        match understood {
            Some((frame, data)) => {
                let said = Said { event: &frame.kind, data, args: &Args::none(), ack: None };
                self.obey(session, &member, said).await;
            }
            None => {
                self.metrics.unknown(member.app);
                session.chatter.hear(1)?;
            }
        }
        Ok(())
    }
}
