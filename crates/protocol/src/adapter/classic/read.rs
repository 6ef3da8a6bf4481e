//! Reading.

use bytes::Bytes;

use super::{Classic, Place, kind};
use crate::adapter::cluster;
use crate::adapter::cursor::{Cursor, open};
use crate::adapter::message::{Message, Response, Rooms, Target};
use crate::adapter::{Content, Error, Limits, Received};

impl Classic {
    /// Reads what was published on a channel; none when it is for another namespace.
    ///
    /// # Errors
    /// When it is not of this format, or beyond the limits.
    pub fn read(&self, place: Place<'_>, payload: &Bytes, limits: &Limits) -> Result<Option<Received>, Error> {
        open(payload, limits, |message| match place {
            Place::Broadcast { .. } => self.broadcast(message, limits),
            Place::Request => request(message, limits).map(Some),
            Place::Response { .. } => response(message, limits).map(Some),
        })
    }

    fn broadcast(&self, message: Cursor<'_>, limits: &Limits) -> Result<Option<Received>, Error> {
        let items = message.items("broadcast", 16)?;
        let [uid, packet, options, ..] = items[..] else {
            return Err(Error::Field("broadcast"));
        };
        let [kind, data, nsp] = packet.fields("packet", ["type", "data", "nsp"])?;
        match nsp {
            None if self.nsp == "/" => {}
            Some(nsp) if nsp.text().as_deref() == Some(&self.nsp) => {}
            _ => return Ok(None),
        }
        cluster::check_kind(kind)?;
        let event = data.ok_or(Error::Field("data"))?.client_event("data", limits)?;
        let to = cluster::target(options, limits)?;
        let content = Content::Message(Message::Broadcast { event, to, request: None });
        Ok(Some(Received { uid: uid.id(), content }))
    }
}

/// The fields of a request.
struct Request<'a> {
    id: Option<String>,
    options: Option<Cursor<'a>>,
    rooms: Option<Cursor<'a>>,
    sid: Option<Cursor<'a>>,
    room: Option<Cursor<'a>>,
    limits: &'a Limits,
}

fn request(message: Cursor<'_>, limits: &Limits) -> Result<Received, Error> {
    let names = ["uid", "requestId", "type", "opts", "rooms", "sid", "room", "close", "data", "packet"];
    let [uid, id, kind, options, rooms, sid, room, close, data, packet] = message.fields("request", names)?;
    let options = options.filter(|options| !options.is_null());
    let id = cluster::request_id(id)?;
    let fields = Request { id, options, rooms, sid, room, limits };
    let message = match kind.and_then(Cursor::count).ok_or(Error::Field("type"))? {
        kind::IDS => Message::Ids { rooms: Cursor::rooms("rooms", rooms, limits)?, request: fields.named()? },
        kind::ROOMS => Message::Rooms { request: fields.named()? },
        kind::JOIN => {
            let (to, rooms, request) = fields.change()?;
            Message::Join { to, rooms, request }
        }
        kind::LEAVE => {
            let (to, rooms, request) = fields.change()?;
            Message::Leave { to, rooms, request }
        }
        kind::DISCONNECT => {
            let (to, request) = fields.whom()?;
            Message::Disconnect { to, close: close.is_some_and(Cursor::truthy), request }
        }
        kind::FETCH => Message::Fetch { to: fields.target()?, request: fields.named()? },
        kind::SERVER_SIDE_EMIT => {
            let event = data.ok_or(Error::Field("data"))?.event("data", limits)?;
            Message::ServerSideEmit { event, request: fields.id }
        }
        kind::BROADCAST => {
            let [kind, data] = packet.ok_or(Error::Field("packet"))?.fields("packet", ["type", "data"])?;
            cluster::check_kind(kind)?;
            let event = data.ok_or(Error::Field("data"))?.client_event("data", limits)?;
            Message::Broadcast { event, to: fields.target()?, request: Some(fields.named()?) }
        }
        unknown => return Err(Error::UnknownType(unknown)),
    };
    Ok(Received { uid: uid.and_then(Cursor::id), content: Content::Message(message) })
}

impl Request<'_> {
    /// The id of a request that must have one.
    fn named(&self) -> Result<String, Error> {
        self.id.clone().ok_or(Error::Field("requestId"))
    }

    fn target(&self) -> Result<Target, Error> {
        cluster::target(self.options.ok_or(Error::Field("opts"))?, self.limits)
    }

    /// Whom it is about; where servers of old name one socket, the request that its owner answers.
    fn whom(&self) -> Result<(Target, Option<String>), Error> {
        if self.options.is_some() {
            return Ok((self.target()?, None));
        }
        let sid = self.sid.and_then(Cursor::text).ok_or(Error::Field("opts"))?;
        Ok((Target::rooms([sid]), self.id.clone()))
    }

    /// And which rooms.
    fn change(&self) -> Result<(Target, Rooms, Option<String>), Error> {
        let (to, request) = self.whom()?;
        let rooms = match (self.options, self.room) {
            (None, Some(room)) => Rooms::from_iter([room.text().ok_or(Error::Field("room"))?]),
            _ => Cursor::rooms("rooms", self.rooms, self.limits)?,
        };
        Ok((to, rooms, request))
    }
}

fn response(message: Cursor<'_>, limits: &Limits) -> Result<Received, Error> {
    let names = ["requestId", "type", "sockets", "rooms", "data", "clientCount", "packet"];
    let [id, kind, sockets, rooms, data, count, packet] = message.fields("response", names)?;
    let request = cluster::request_id(id)?.ok_or(Error::Field("requestId"))?;
    let response = match (kind.and_then(Cursor::count), sockets, rooms) {
        (Some(kind::CLIENT_COUNT), ..) => {
            Response::ClientCount { request, count: count.and_then(Cursor::count).ok_or(Error::Field("clientCount"))? }
        }
        (Some(kind::ACK), ..) => Response::Ack { request, answer: Cursor::value(packet, limits)? },
        (Some(kind::SERVER_SIDE_EMIT), ..) => {
            Response::ServerSideEmit { request, answer: Cursor::value(data, limits)? }
        }
        (Some(unknown), None, None) => return Err(Error::UnknownType(unknown)),
        (_, Some(sockets), _) => Response::Sockets { request, sockets: cluster::read_sockets(sockets, limits)? },
        (_, None, Some(rooms)) => Response::Rooms { request, rooms: Cursor::rooms("rooms", Some(rooms), limits)? },
        (None, None, None) => Response::Done { request },
    };
    Ok(Received { uid: None, content: Content::Response(response) })
}
