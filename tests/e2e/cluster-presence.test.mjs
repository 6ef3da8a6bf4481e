// Who is there, on all nodes: counts, lists, limits, and who is told of whom.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { connect, connected, next, token } from './harness.mjs';
import { cluster, until } from './company.mjs';

const FILE = `
[server]
listen = ["127.0.0.1:3000"]
[key.backend]
secret = { env = "OYEZ_API_KEY" }
[app.desk]
origins = ["https://desk.example"]
[app.desk.socketio]
[app.desk.auth]
from = "auth.token"
[app.desk.auth.jwt]
algorithms = ["HS256"]
secret     = { env = "JWT_SECRET" }
[app.desk.identity]
user = "claims.sub"
name = "claims.name"
[[app.desk.channel]]
name      = "{any}"
subscribe = true
[app.desk.connect]
join = "lobby"
[app.desk.presence.online]
to    = "watchers"
event = "came"
data  = "{'user': user.id}"
[app.desk.presence.offline]
to    = "watchers"
event = "went"
data  = "{'user': user.id}"
[[app.desk.on]]
event = "join"
join  = "{data.channel}"
reply = { event = "joined", data = "joined" }
[app.desk.limits]
connections_per_user = 3
`;

async function desk(t, count) {
  const folder = mkdtempSync(join(tmpdir(), 'oyez-desk-'));
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'oyez.toml'), FILE);
  return cluster(t, count, { config: relative(new URL('../..', import.meta.url).pathname, join(folder, 'oyez.toml')) });
}

async function enter(t, node, claims, ...channels) {
  const socket = connect(node.url, { transports: ['websocket'], auth: { token: token(claims) } });
  socket.heard = [];
  socket.onAny((event, said) => socket.heard.push([event, said?.user]));
  t.after(() => socket.disconnect());
  await connected(socket);
  for (const channel of channels) {
    const joined = next(socket, 'joined');
    socket.emit('join', { channel });
    await joined;
  }
  return socket;
}

const ask = async (node, path) => (await node.api(`/api/v1${path}`)).json;

test('every node counts and lists who is on any of them', async (t) => {
  const { nodes: [a, b, c] } = await desk(t, 3);
  await enter(t, a, { sub: 'ann', name: 'Ann' }, 'room');
  await enter(t, b, { sub: 'ann', name: 'Ann' }, 'room');
  const bob = await enter(t, b, { sub: 'bob' }, 'room', 'hall');
  for (const node of [a, b, c]) {
    await until(async () => (await ask(node, '/channels/room')).count === 3, 'three in the room');
    await until(async () => (await ask(node, '/online')).connections === 3, 'three connections');
    assert.equal((await ask(node, '/online')).users, 2);
    const ann = await ask(node, '/users/ann/presence');
    assert.deepEqual([ann.online, ann.connections, ann.name], [true, 2, 'Ann']);
    assert.deepEqual((await ask(node, '/channels')).channels, [{ channel: 'hall', count: 1 }, { channel: 'lobby', count: 3 }, { channel: 'room', count: 3 }]);
    assert.deepEqual((await ask(node, '/channels/room/presence')).users.map(({ user, connections }) => [user, connections]), [['ann', 2], ['bob', 1]]);
  }
  bob.disconnect();
  for (const node of [a, b, c]) {
    await until(async () => !(await ask(node, '/users/bob/presence')).online, 'he has gone');
    await until(async () => (await ask(node, '/channels')).channels.length === 2, 'the hall is empty');
  }
});

test('a node that comes later knows who is there; one that is killed leaves no ghosts', async (t) => {
  const { nodes: [a, b], know, start } = await desk(t, 2);
  await enter(t, a, { sub: 'ann' }, 'room');
  await enter(t, b, { sub: 'bob' }, 'room');
  const c = await start(2);
  await know([a, b, c]);
  await until(async () => (await ask(c, '/channels/room')).count === 2, 'it knows both');
  const begun = Date.now();
  b.child.kill('SIGKILL');
  for (const node of [a, c]) await until(async () => (await ask(node, '/channels/room')).count === 1, 'his ghost is gone');
  t.diagnostic(`gone after ${Date.now() - begun} ms`);
  assert.equal((await ask(a, '/users/bob/presence')).online, false);
});

test('a user comes and goes once, whatever nodes their connections are on, and not for a quick return', async (t) => {
  const { nodes: [a, b] } = await desk(t, 2);
  const watcher = await enter(t, a, { sub: 'watcher' }, 'watchers');
  const told = () => watcher.heard.filter(([, user]) => user === 'ann').map(([event]) => event);
  const first = await enter(t, a, { sub: 'ann' });
  await until(() => told().length === 1, 'she came');
  await until(async () => (await ask(b, '/users/ann/presence')).online, 'the other node knows');
  const second = await enter(t, b, { sub: 'ann' });
  first.disconnect();
  await until(async () => (await ask(b, '/users/ann/presence')).connections === 1, 'one is left');
  second.disconnect();
  await until(async () => !(await ask(a, '/users/ann/presence')).online, 'none is left');
  const third = await enter(t, a, { sub: 'ann' });
  const bob = await enter(t, b, { sub: 'bob' });
  await until(() => watcher.heard.some(([event, user]) => event === 'came' && user === 'bob'), 'bob came');
  bob.disconnect();
  await until(() => watcher.heard.some(([event, user]) => event === 'went' && user === 'bob'), 'bob went');
  assert.deepEqual(told(), ['came'], 'a quick return is none');
  third.disconnect();
  await until(() => told().length === 2, 'she went');
  assert.deepEqual(told(), ['came', 'went']);
});

test('a user has so many connections, on whichever nodes', async (t) => {
  const { nodes: [a, b] } = await desk(t, 2);
  await enter(t, a, { sub: 'ann' });
  await enter(t, a, { sub: 'ann' });
  await enter(t, b, { sub: 'ann' });
  for (const node of [a, b]) {
    await until(async () => (await ask(node, '/users/ann/presence')).connections === 3, 'both nodes know');
    await assert.rejects(enter(t, node, { sub: 'ann' }), /./, 'a fourth is refused');
  }
  await enter(t, b, { sub: 'bob' });
});
