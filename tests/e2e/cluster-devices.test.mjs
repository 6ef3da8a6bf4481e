// What a user's devices hear while nodes come and go and do not hear each other: what is stored, once, without a new connect; and
// how much is unread, on whichever node something changed.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { join, relative } from 'node:path';
import { ROOT, connect, connected, token } from './harness.mjs';
import { cluster, until } from './company.mjs';
import { CONFIG, ENV } from './keeping.mjs';
import { folder } from './stage.mjs';

const start = (t, count) => {
  const path = join(folder(t, { 'oyez.toml': CONFIG() }), 'oyez.toml');
  return cluster(t, count, { config: relative(ROOT, path), args: (at, { url }) => ['--store', url], env: ENV });
};

/** A device: what it heard, what it was told to be unread, and how often it connected. */
async function device(t, node, user, { acknowledges = false } = {}) {
  const socket = connect(node.url, { transports: ['websocket'], auth: { token: token({ sub: user, teams: ['red'] }) } });
  Object.assign(socket, { heard: [], unread: [], connects: 0 });
  socket.on('connect', () => { socket.connects += 1; });
  socket.on('notice', (said, ack) => { socket.heard.push(said); if (acknowledges) ack(); });
  socket.on('unread-count', ({ count }) => socket.unread.push(count));
  t.after(() => socket.disconnect());
  await connected(socket);
  await until(() => socket.unread.length > 0, 'it has been told how much is unread');
  return socket;
}

const say = (node, users, data, more) => node.publish([users].flat().map((user) => `user:${user}`), 'notice', data, { app: 'desk', ...more });
/** A request that succeeds. */
async function ask(node, path, options) {
  const { status, json, text } = await node.api(path, options);
  assert.equal(status, 200, text);
  return json;
}
const first = (count) => Array.from({ length: count }, (_, n) => n);
const sorted = (list) => [...list].sort((x, y) => x - y);

/** Each device heard each of these once, on the connection that it had; and nothing else but what the publisher was not
 * answered any more: `unanswered`, if it was stored. */
async function heard(devices, { stored, unanswered }) {
  for (const device of devices) {
    await until(() => stored.every((n) => device.heard.includes(n)), 'all that was stored');
    assert.deepEqual(sorted(device.heard.filter((n) => n !== unanswered)), sorted(stored), 'each once');
    assert.ok(device.heard.filter((n) => n === unanswered).length <= 1);
    assert.equal(device.connects, 1);
  }
}

/** Publishes for as long as a node takes it; what it has answered to be stored, and what it has not answered. */
async function publish(node, users, until) {
  const stored = [];
  for (let n = 0; !until(); n += 1) {
    try {
      const { level } = await say(node, users, n);
      if (level !== 'accepted') stored.push(n);
    } catch {
      return { stored, unanswered: n };
    }
  }
  return { stored };
}

test('what nodes did not hear of each other is found in the store at once, and nothing is told twice', async (t) => {
  const { engine, nodes: [a, b] } = await start(t, 2);
  const devices = [await device(t, a, 'ann'), await device(t, a, 'abe', { acknowledges: true }), await device(t, b, 'amy', { acknowledges: true })];
  let ended = false;
  const all = publish(b, ['ann', 'abe', 'amy'], () => ended);
  const some = () => {
    const before = devices[2].heard.length;
    return until(() => devices[2].heard.length > before + 50, 'it publishes');
  };
  for (let cut = 0; cut < 4; cut += 1) {
    await some();
    await engine.ask('CLIENT', 'KILL', 'TYPE', 'pubsub');
  }
  await some();
  ended = true;
  await heard(devices, await all);
});

test('what a node stored before it ended, or was killed, is heard by devices on the others', async (t) => {
  for (const signal of ['SIGTERM', 'SIGKILL']) {
    const { nodes: [a, b] } = await start(t, 2);
    const devices = [await device(t, a, 'bob')];
    const all = publish(b, 'bob', () => false);
    await until(() => devices[0].heard.length > 50, 'it publishes');
    b.child.kill(signal);
    await heard(devices, await all);
  }
});

test('what a node stores as soon as it listens is heard by devices on the others', async (t) => {
  const { nodes: [a], start: begin } = await start(t, 1);
  const devices = [await device(t, a, 'eve')];
  let count = 0;
  for (let turn = 0; turn < 3; turn += 1) {
    const b = await begin(1);
    for (const n of first(20)) await say(b, 'eve', count + n);
    count += 20;
    await heard(devices, { stored: first(count) });
  }
});

test('devices are told how much is unread, whichever node it changed on', async (t) => {
  const { nodes: [a, b] } = await start(t, 2);
  const devices = [await device(t, a, 'dan'), await device(t, a, 'dan')];
  const told = (count, what) => Promise.all(devices.map((device) => until(() => device.unread.at(-1) === count, what)));
  await told(0, 'nothing is unread');
  const ids = [];
  for (const n of first(3)) ids.push((await say(b, 'dan', n)).id);
  await told(3, 'published on the other node');
  await ask(b, '/api/v1/inbox/mark', { body: { app: 'desk', user: 'dan', ids: [ids[0]], state: 'read' } });
  await told(2, 'read on the other node');
  await ask(b, '/api/v1/inbox/delete', { body: { app: 'desk', user: 'dan', ids: [ids[1]] } });
  await told(1, 'deleted on the other node');
  await say(b, 'dan', 'soon over', { ttl_ms: 1000 });
  await told(2, 'one that expires');
  await told(1, 'it has expired');
  devices.push(await device(t, b, 'dan'));
  await Promise.all(first(40).map((n) => say([a, b][n % 2], 'dan', n)));
  await told(41, 'published on both at once');
  const roster = (method) => ask(b, '/api/v1/channels/team:red/roster', { method, body: { app: 'desk', users: ['dan'] } });
  await roster('PUT');
  await b.publish('team:red', 'notice', 'for the team', { app: 'desk' });
  await told(42, 'published to a roster');
  await roster('DELETE');
  await told(41, 'taken off it');
});
