// An app that remembers what is said, and saying something in it.
import { token } from './harness.mjs';

export const CONFIG = (recovery) => `
[key.backend]
secret = { env = "OYEZ_API_KEY" }
rights = ["publish", "read", "disconnect", "revoke"]
[app.feed]
origins = ["*"]
[app.feed.limits]
connects_per_second = "none"
connections_per_user = "none"
[app.feed.socketio]
[app.feed.websocket]
path = "/ws"
[app.feed.auth]
from = ["auth.token", "query.token"]
[app.feed.auth.jwt]
algorithms = ["HS256"]
secret = { env = "JWT_SECRET" }
[app.feed.identity]
user = "claims.sub"
attributes = { rooms = "claims.rooms" }
[[app.feed.channel]]
name = "news"
subscribe = true
publish = true
${recovery && 'history = 100_000'}
[[app.feed.channel]]
name = "few"
subscribe = true
${recovery && 'history = 2'}
[[app.feed.channel]]
name = "ticks"
subscribe = true
[[app.feed.channel]]
name = "room:{id}"
subscribe = "id in user.rooms"
${recovery && 'history = 100'}
[app.feed.connect]
join = ["news", "few", "ticks", "user:{user.id}"]
reply = { event = "welcome", data = "{'user': user.id}" }
[[app.feed.channel]]
name = "user:{id}"
subscribe = "id == user.id"
${recovery && 'history = 100'}
[[app.feed.on]]
event = "join"
join = "{each(data)}"
ack = "{'joined': joined}"
[[app.feed.on]]
event = "leave"
leave = "{each(data)}"
ack = "'ok'"
[[app.feed.on]]
event = "watch"
join = "room:{data.room}"
${recovery && 'since = "data.since"'}
reply = { event = "watching", data = "joined" }
ack = "joined"
[[app.feed.on]]
event = "say"
publish = { to = "news", event = "said", data = "data", skip_self = true }
ack = "'ok'"
${recovery}
`;

export const RECOVERY = '[app.feed.recovery]\nwindow = "30s"\n';
export const user = (sub, rooms = []) => token({ sub, rooms });

export const say = async (stage, to, from, count) => {
  for (let n = from; n < from + count; n += 1) await stage.server.publish(to, 'item', { n });
};
export const range = (from, count) => Array.from({ length: count }, (_, index) => from + index);
