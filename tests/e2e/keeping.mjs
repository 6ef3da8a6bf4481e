// An app that keeps durable messages in inboxes, one whose inboxes are small, and one that has none.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, connected, token } from './harness.mjs';
import { Inbox } from './waiting.mjs';

export const OTHER_SECRET = 'another-jwt-secret-0123456789-abcdefghijklmnopq';
export const ENV = { OTHER_SECRET, SMALL_SECRET: OTHER_SECRET.toUpperCase() };
export const SMALL = 3;

/** The configuration; `inbox` is added to [app.desk.inbox], `more` to the end. */
export const CONFIG = ({ inbox = '', more = '' } = {}) => `
[key.backend]
secret = { env = "OYEZ_API_KEY" }
[app.desk]
origins = ["*"]
[app.desk.limits]
connects_per_second = "none"
connections_per_user = "none"
[app.desk.socketio]
[app.desk.auth]
from = ["auth.token"]
[app.desk.auth.jwt]
algorithms = ["HS256"]
secret = { env = "JWT_SECRET" }
[app.desk.identity]
user = "claims.sub"
attributes = { teams = "claims.teams" }
[app.desk.inbox]
${inbox}
[app.desk.connect]
join = ["user:{user.id}"]
[[app.desk.channel]]
name = "user:{id}"
subscribe = "id == user.id"
inbox = "{id}"
[[app.desk.channel]]
name = "team:{team}"
subscribe = "team in user.teams"
roster = "api"
[[app.desk.channel]]
name = "receipts"
subscribe = true
[[app.desk.event]]
name = "notice"
delivery = "durable"
[[app.desk.on]]
event = "watch"
join = "receipts"
ack = "joined"

[app.small]
origins = ["*"]
[app.small.socketio]
namespace = "/small"
[app.small.auth.jwt]
algorithms = ["HS256"]
secret = { env = "SMALL_SECRET" }
[app.small.identity]
user = "claims.sub"
[app.small.inbox]
most = ${SMALL}
[[app.small.channel]]
name = "user:{id}"
inbox = "{id}"

[app.bare]
origins = ["*"]
[app.bare.socketio]
namespace = "/bare"
[app.bare.auth.jwt]
algorithms = ["HS256"]
secret = { env = "OTHER_SECRET" }
[app.bare.identity]
user = "claims.sub"
${more}
`;

export const user = (sub, teams = []) => token({ sub, teams });

/** A data directory that lasts until `t` is over. */
export function directory(t) {
  const path = mkdtempSync(join(tmpdir(), 'oyez-data-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A device of a user, connected; `heard` keeps all it hears. What comes is acknowledged with `word`, if there is one. */
export async function device(t, server, sub, { teams = [], shown = user(sub, teams), word } = {}) {
  const socket = connect(server.url, { auth: { token: shown } });
  socket.heard = Inbox.of(socket);
  socket.onAny((name, ...args) => {
    const ack = args.at(-1);
    if (word && typeof ack === 'function') ack(word);
  });
  t.after(() => socket.disconnect());
  await connected(socket);
  return socket;
}
