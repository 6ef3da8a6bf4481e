// Who is there, on all nodes: counts, lists, limits, and who is told of whom.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { connect, connected, next, token } from './harness.mjs';
import { cluster, until } from './company.mjs';
import { standstill } from './waiting.mjs';

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
`;

async function desk(t, count, limits = 'connections_per_user = 3') {
  const folder = mkdtempSync(join(tmpdir(), 'oyez-desk-'));
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'oyez.toml'), FILE + limits);
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

for (const how of ['killed', 'stopped']) {
  test(`users of a node that is ${how} have gone, once for all who watch, unless they have come to another one`, async (t) => {
    const { nodes: [a, b, c], know } = await desk(t, 3);
    const watchers = await Promise.all([a, c].map((node, at) => enter(t, node, { sub: `watcher-${at}` }, 'watchers')));
    const told = (watcher, who) => watcher.heard.filter(([, user]) => user === who).map(([event]) => event);
    await enter(t, b, { sub: 'bob' });
    await enter(t, b, { sub: 'eve' });
    await enter(t, b, { sub: 'ann' });
    await until(async () => (await ask(a, '/users/ann/presence')).online, 'she is known');
    await enter(t, a, { sub: 'ann' });
    for (const watcher of watchers) await until(() => ['bob', 'eve', 'ann'].every((who) => told(watcher, who).length), 'they came');
    await until(async () => (await ask(a, '/online')).connections === 6, 'all are known');
    if (how === 'killed') b.child.kill('SIGKILL');
    await (how === 'killed' ? b.exited : b.stop());
    await enter(t, c, { sub: 'eve' });
    await know([a, c]);
    for (const watcher of watchers) await until(() => told(watcher, 'bob').includes('went'), 'bob went');
    // Whoever else could tell it would have done so by now.
    await enter(t, a, { sub: 'last' });
    for (const watcher of watchers) await until(() => told(watcher, 'last').length, 'the last came');
    for (const watcher of watchers) {
      assert.deepEqual(told(watcher, 'bob'), ['came', 'went']);
      assert.deepEqual(['eve', 'ann'].map((who) => told(watcher, who)), [['came'], ['came']]);
    }
  });
}

test('users of a node that was only away come back with it', async (t) => {
  const { nodes: [a, b] } = await desk(t, 2);
  const watcher = await enter(t, a, { sub: 'watcher' }, 'watchers');
  const told = () => watcher.heard.filter(([, user]) => user === 'bob').map(([event]) => event);
  await enter(t, b, { sub: 'bob' });
  await until(() => told().length === 1, 'he came');
  await standstill(b.child);
  await until(() => told().length === 2, 'he went');
  b.child.kill('SIGCONT');
  await until(() => told().length === 3, 'he came again');
  assert.deepEqual(told(), ['came', 'went', 'came']);
});

test('the oldest connections of a user are closed, on whichever nodes they are', async (t) => {
  const { nodes } = await desk(t, 2, 'connections_per_user = 3\nwhen_user_full = "close_oldest"');
  const all = [];
  for (const at of [0, 1, 0, 1, 1, 0]) {
    all.push(await enter(t, nodes[at], { sub: 'ann' }));
    const kept = all.slice(-3);
    const begun = Date.now();
    await until(() => all.every((socket) => socket.connected === kept.includes(socket)), 'the oldest has gone', 2000);
    t.diagnostic(`closed after ${Date.now() - begun} ms`);
  }
  for (const node of nodes) await until(async () => (await ask(node, '/users/ann/presence')).connections === 3, 'three are left');
  // Two at once, on both nodes.
  const more = await Promise.all(nodes.map((node) => enter(t, node, { sub: 'ann' })));
  await until(() => all.concat(more).filter((socket) => socket.connected).length === 3, 'two more have gone', 2000);
  assert.deepEqual([all[5], ...more].map((socket) => socket.connected), [true, true, true]);
});
