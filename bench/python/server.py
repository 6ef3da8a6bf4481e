"""The ticket desk on python-socketio: uvicorn with uvloop, httptools and websockets, without compression."""

import json
import os
import sys
from datetime import datetime, timezone

import jwt
import socketio
import uvicorn

SECRET = os.environ["JWT_SECRET"]

sio = socketio.AsyncServer(async_mode="asgi", http_compression=False)


def now():
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def may_subscribe(claims, channel):
    kind, _, name = channel.partition(":")
    match kind:
        case "user":
            return name == claims["userId"]
        case "role":
            return name in claims.get("roles", ())
        case "department":
            return name in claims.get("departments", ())
        case _:
            return kind == "ticket"


@sio.event
async def connect(sid, environ, auth):
    try:
        claims = jwt.decode((auth or {}).get("token", ""), SECRET, algorithms=["HS256"])
    except jwt.InvalidTokenError:
        raise ConnectionRefusedError("Authentication error")
    await sio.save_session(sid, claims)
    await sio.enter_room(sid, "user:" + claims["userId"])
    await sio.emit("connected", {"message": "已连接到 YanYu Cloud³ 实时通知", "clientId": sid, "timestamp": now()}, to=sid)


@sio.event
async def subscribe(sid, data):
    claims = await sio.get_session(sid)
    joined = [channel for channel in data["channels"] if may_subscribe(claims, channel)]
    for channel in joined:
        await sio.enter_room(sid, channel)
    await sio.emit("subscribed", {"channels": joined, "timestamp": now()}, to=sid)


@sio.event
async def unsubscribe(sid, data):
    for channel in data["channels"]:
        await sio.leave_room(sid, channel)
    await sio.emit("unsubscribed", {"channels": data["channels"], "timestamp": now()}, to=sid)


@sio.event
async def heartbeat(sid, data):
    await sio.emit("heartbeat_ack", {"timestamp": now(), "clientId": sid}, to=sid)


async def publish(scope, receive, send):
    """Emits what a backend has posted."""
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if scope["method"] == "POST":
        publication = json.loads(body)
        event = publication["event"]
        envelope = {"type": event, "payload": publication["data"], "timestamp": now()}
        await sio.emit(event, envelope, room=publication["channel"])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


if __name__ == "__main__":
    host, _, port = (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:0").partition(":")
    uvicorn.run(
        socketio.ASGIApp(sio, publish),
        host=host,
        port=int(port),
        log_level="warning",
        loop="uvloop",
        http="httptools",
        ws_per_message_deflate=False,
        timeout_keep_alive=3600,  # a publisher may be silent while others are measured
        timeout_graceful_shutdown=1,
        backlog=4096,
    )
