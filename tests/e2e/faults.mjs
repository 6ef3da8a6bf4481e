// What tests of faults share: an app with a live channel, one that remembers, and inboxes; clients that note what they hear
// and when they are away; publishers that go on until they are stopped.
import assert from 'node:assert/strict';
import { io } from 'socket.io-client';
import { relative, join } from 'node:path';
import { ROOT, connected, token } from './harness.mjs';
import { lives } from './balancer.mjs';
import { folder } from './stage.mjs';
import { until } from './company.mjs';

const FILE = `
[key.backend]
secret = { env = "OYEZ_API_KEY" }
[app.desk]
origins = ["*"]
[app.desk.limits]
connects_per_second = "none"
connections_per_user = "none"
[app.desk.socketio]
[app.desk.auth]
from = "auth.token"
[app.desk.auth.jwt]
algorithms = ["HS256"]
secret = { env = "JWT_SECRET" }
[app.desk.identity]
user = "claims.sub"
[app.desk.recovery]
window = "2m"
[app.desk.inbox]
[app.desk.connect]
join = ["live", "feed", "user:{user.id}"]
[[app.desk.channel]]
name = "live"
subscribe = true
[[app.desk.channel]]
name = "feed"
subscribe = true
history = 100_000
[[app.desk.channel]]
name = "user:{id}"
subscribe = "id == user.id"
inbox = "{id}"
[[app.desk.event]]
name = "notice"
delivery = "durable"
[[app.desk.push]]
event = "notice"
data = "{'id': id, 'n': data}"
[[app.desk.on]]
event = "probe"
reply = { event = "alive", data = "data" }
`;

/** The app's file, until `t` is over. */
export const desk = (t) => relative(ROOT, join(folder(t, { 'oyez.toml': FILE }), 'oyez.toml'));

/** A stock client that comes back by itself: {socket, heard: {news, tick, notice, gap}, away: [{from, to}], again}. As its
 * application would, it acknowledges what is durable and knows by the ids what it has had: that is in `again`. */
export async function client(t, url, sub, options = {}) {
  const socket = io(url, { forceNew: true, auth: { token: token({ sub }) }, ...options });
  t.after(() => socket.disconnect());
  const heard = { news: [], tick: [], notice: [], gap: [] };
  const away = [];
  const had = new Map();
  const again = [];
  socket.onAny((event, data, ack) => {
    if (event !== 'notice') heard[event]?.push(data);
    else if (had.has(data.id)) again.push({ ...data, first: had.get(data.id), then: Date.now() });
    else {
      had.set(data.id, Date.now());
      heard.notice.push(data.n);
    }
    if (typeof ack === 'function') ack('seen');
  });
  socket.on('disconnect', () => away.push({ from: Date.now() }));
  socket.on('connect', () => { if (away.length) away.at(-1).to ??= Date.now(); });
  await connected(socket);
  return { sub, socket, heard, away, again };
}

/** Numbers that come more than once. */
export const doubled = (numbers) => numbers.filter((n, at) => numbers.indexOf(n) !== at);

/** Publishes again and again, to whichever node lives, until it is stopped; what is not accepted is tried again under the
 * same id. `body(n)` says what. Gives {said: [{n, to, from, until}], stop}. */
export function publishing(nodes, body, { pause = 2 } = {}) {
  const said = [];
  let on = true;
  let turn = 0;
  const accepted = async (n) => {
    const there = nodes.filter(lives);
    const node = there[(turn += 1) % there.length];
    try {
      return (await node.api('/api/v1/publish', { body: { id: `message-${n}`, ...body(n) } })).status === 200;
    } catch {
      return false; // it was killed meanwhile
    }
  };
  const done = (async () => {
    for (let n = 0; on; n += 1) {
      const from = Date.now();
      while (!await accepted(n)) await new Promise((resolve) => { setTimeout(resolve, pause); });
      said.push({ n, ...body(n), from, until: Date.now() });
      await new Promise((resolve) => { setTimeout(resolve, pause); });
    }
  })();
  return { said, stop: async () => { on = false; await done; } };
}

/** Waits until these clients have all that was said to them durably, and shows that nothing came again but what a client had
 * a moment before it was cut off: its acknowledgement may have got lost. Gives how many came again. */
export async function nothingLost(clients, said) {
  for (const { sub, heard, away, again } of clients) {
    const due = said.filter(({ to }) => to === `user:${sub}`).map(({ data }) => data);
    const has = () => new Set(heard.notice);
    await until(() => due.every((n) => has().has(n)), `all of ${due.length} messages for ${sub}`, 20_000)
      .catch((error) => { throw new Error(`${error.message}; not ${due.filter((n) => !has().has(n))}`); });
    const lately = ({ first, then }) => away.some(({ from, to }) => first > from - 1000 && first <= to && then >= from);
    assert.deepEqual(again.filter((one) => !lately(one)), [], `${sub} hears each once: ${JSON.stringify(away)}`);
  }
  return clients.reduce((sum, { again }) => sum + again.length, 0);
}

/** A user, as a node knows them. */
export const users = async (node, sub) => (await node.api(`/api/v1/users/${sub}/presence`)).json;
