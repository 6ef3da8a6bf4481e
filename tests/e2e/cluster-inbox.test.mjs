// What is durable, with a store and a broker that all nodes share: one inbox, whichever node one is on.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { join, relative } from 'node:path';
import { ROOT, connect, connected, token } from './harness.mjs';
import { begun, cluster, figure, until } from './company.mjs';
import { CONFIG as INBOXES, ENV } from './keeping.mjs';
import { redis } from './redis.mjs';
import { folder } from './stage.mjs';

const CONFIG = 'examples/ticketing/oyez.toml';

const nodes = async (t, count) => {
  const all = await cluster(t, count, { config: CONFIG, args: (at, { url }) => ['--store', url] });
  return all;
};

async function enter(t, node, claims) {
  const socket = connect(node.url, { transports: ['websocket'], auth: { token: token(claims) } });
  socket.heard = [];
  socket.acks = new Map();
  socket.onAny((event, said, ack) => {
    if (event !== 'notification') return;
    socket.heard.push(said.payload);
    if (ack) socket.acks.set(said.payload, ack);
  });
  t.after(() => socket.disconnect());
  await connected(socket);
  return socket;
}

test('a durable message reaches all devices at once, on whichever nodes, and whoever comes later anywhere', async (t) => {
  const { nodes: [a, b, c] } = await nodes(t, 3);
  const here = await enter(t, a, { userId: 'ann' });
  const there = await enter(t, b, { userId: 'ann' });
  const COUNT = 120;
  for (let n = 0; n < COUNT; n += 1) {
    const { level } = await [a, b, c][n % 3].publish('user:ann', 'notification', n);
    assert.equal(level, 'stored');
  }
  for (const socket of [here, there]) {
    await until(() => socket.heard.length >= COUNT, 'all of them');
    assert.deepEqual([...socket.heard].sort((x, y) => x - y), Array.from({ length: COUNT }, (_, n) => n), 'each once');
  }
  there.acks.get(0)();
  for (const ack of there.acks.values()) ack();
  const unread = async (node) => (await node.api('/api/v1/inbox?user=ann&state=pending')).json;
  await until(async () => (await unread(a)).messages?.length === 0, 'all are acknowledged');
  const later = await enter(t, c, { userId: 'ann' });
  await a.publish('user:ann', 'notification', 'new');
  await until(() => later.heard.includes('new'), 'the new one');
  assert.deepEqual(later.heard, ['new'], 'what was acknowledged on one node is not shown on another');
});

test('the same id on two nodes is one message', async (t) => {
  const { nodes: [a, b] } = await nodes(t, 2);
  const socket = await enter(t, b, { userId: 'bob' });
  const answers = await Promise.all([a, b, a, b].map((node) => node.publish('user:bob', 'notification', 'once', { id: 'order-1' })));
  assert.equal(answers.filter(({ duplicate }) => !duplicate).length, 1);
  await a.publish('user:bob', 'notification', 'end');
  await until(() => socket.heard.includes('end'), 'the end');
  assert.deepEqual(socket.heard, ['once', 'end']);
});

test('a node that is killed loses nothing that was stored', async (t) => {
  const { nodes: [a, b] } = await nodes(t, 2);
  for (let n = 0; n < 50; n += 1) await a.publish('user:eve', 'notification', n);
  a.child.kill('SIGKILL');
  const socket = await enter(t, b, { userId: 'eve' });
  await until(() => socket.heard.length === 50, 'all of them');
  assert.deepEqual(socket.heard, Array.from({ length: 50 }, (_, n) => n));
});

test('who is put on a roster hears the very next message, on whichever node they are', async (t) => {
  const path = join(folder(t, { 'oyez.toml': INBOXES() }), 'oyez.toml');
  const { nodes: all } = await cluster(t, 3, { config: relative(ROOT, path), args: (at, { url }) => ['--store', url], env: ENV });
  const ann = connect(all[2].url, { transports: ['websocket'], auth: { token: token({ sub: 'ann', teams: Array.from({ length: 40 }, (_, n) => `t${n}`) }) } });
  t.after(() => ann.disconnect());
  const heard = [];
  ann.on('notice', (said, ack) => { heard.push(said.n); ack(); });
  await connected(ann);
  await until(async () => (await all[0].api('/api/v1/users/ann/presence?app=desk')).json.online, 'she is known');
  for (let n = 0; n < 40; n += 1) {
    const put = await all[n % 2].api(`/api/v1/channels/team:t${n}/roster`, { method: 'PUT', body: { app: 'desk', users: ['ann'] } });
    assert.equal(put.status, 200, put.text);
    await all[(n + 1) % 3].publish(`team:t${n}`, 'notice', { n }, { app: 'desk' });
    await until(() => heard.length > n, `${n} at once`, 2000);
  }
  assert.deepEqual(heard, Array.from({ length: 40 }, (_, n) => n));
});

test('what devices missed while their node was cut off comes before what is said afterwards, to all of them', async (t) => {
  const store = await begun(redis)(t);
  const { engine, nodes: [a, b] } = await cluster(t, 2, { config: CONFIG, args: () => ['--store', store.url] });
  // More than look at the store at once.
  const users = Array.from({ length: 120 }, (_, n) => `u${n}`);
  const sockets = await Promise.all(users.map((userId) => enter(t, b, { userId })));
  let told = 0;
  const tell = async () => {
    await Promise.all(users.map((user) => a.publish(`user:${user}`, 'notification', told)));
    told += 1;
  };
  const lost = () => figure(b, 'oyez_cluster_lost');
  for (let time = 1; time <= 3; time += 1) {
    for (const kind of ['normal', 'pubsub']) await engine.ask('CLIENT', 'KILL', 'TYPE', kind);
    await until(async () => { await tell(); return await lost() >= time; }, 'b is cut off');
    await until(async () => { await tell(); return (await fetch(`${b.url}/readyz`)).status === 200; }, 'b is there again');
    for (let more = 0; more < 10; more += 1) await tell();
  }
  await until(() => sockets.every(({ heard }) => heard.length >= told), 'all of it');
  const expected = Array.from({ length: told }, (_, n) => n);
  for (const { heard } of sockets) assert.deepEqual(heard, expected);
});
