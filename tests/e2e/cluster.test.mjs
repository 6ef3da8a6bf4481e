// Nodes that share a broker behave as one server: with Debian's redis-server and nats-server, and stock clients.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import net from 'node:net';
import { once } from 'node:events';
import { connect, connected, next, serve, token } from './harness.mjs';
import { begun, figure, onEachBroker, until } from './company.mjs';
import { redis } from './redis.mjs';

const CONFIG = 'examples/ticketing/oyez.toml';
const TICKETING = { config: CONFIG };

/** A client on a node, in these channels. */
async function enter(t, node, claims, channels = [], options = {}) {
  const socket = connect(node.url, { transports: ['websocket'], auth: { token: token(claims) }, ...options });
  socket.heard = [];
  socket.onAny((event, ...args) => socket.heard.push([event, ...args]));
  t.after(() => socket.disconnect());
  await connected(socket);
  if (channels.length) {
    const joined = next(socket, 'subscribed');
    socket.emit('subscribe', { channels });
    assert.deepEqual((await joined)[0].channels, channels);
  }
  return socket;
}

/** A port by which what is said to another one gets there so many milliseconds later. */
async function faraway(t, port, ms) {
  const server = net.createServer((near) => {
    const far = net.connect(port, '127.0.0.1');
    near.on('data', (bytes) => setTimeout(() => far.write(bytes), ms));
    far.pipe(near);
    for (const end of [near, far]) end.on('error', () => {}).on('close', () => { near.destroy(); far.destroy(); });
  });
  t.after(() => server.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server.address().port;
}

const told = (socket, event) => socket.heard.filter(([name]) => name === event).map(([, said]) => said.payload);
const hears = (socket, event, count, ms) => until(() => told(socket, event).length >= count, `${count} × ${event}, but ${told(socket, event).length}`, ms);

onEachBroker('what is published on one node is heard on all, once and in order', async (t, cluster) => {
  const { nodes: [a, b, c] } = await cluster(3, TICKETING);
  const there = await Promise.all([a, b, c].map((node, at) => enter(t, node, { userId: `user-${at}` }, ['ticket:1', 'ticket:2'])));
  const COUNT = 600;
  for (let n = 0; n < COUNT; n += 60) {
    const body = { commands: Array.from({ length: 60 }, (_, at) => ({ publish: { to: ['ticket:1', 'ticket:2'], event: 'ticket_updated', data: n + at } })) };
    const answer = await [a, b, c][(n / 60) % 3].api('/api/v1/batch', { body });
    assert.equal(answer.status, 200, answer.text);
    for (const socket of there) await hears(socket, 'ticket_updated', n + 60);
  }
  await a.publish('ticket:2', 'last', 1);
  for (const socket of there) {
    await hears(socket, 'last', 1);
    assert.deepEqual(told(socket, 'ticket_updated'), Array.from({ length: COUNT }, (_, n) => n));
  }
});

onEachBroker('who has just joined hears what another node says next', async (t, cluster) => {
  const { nodes: [a, b] } = await cluster(2, TICKETING);
  const socket = await enter(t, b, { userId: 'late' });
  for (let n = 0; n < 50; n += 1) {
    const joined = next(socket, 'subscribed');
    socket.emit('subscribe', { channels: [`ticket:${n}`] });
    await joined;
    await a.publish(`ticket:${n}`, 'ticket_updated', n);
  }
  await hears(socket, 'ticket_updated', 50);
  assert.deepEqual(told(socket, 'ticket_updated'), Array.from({ length: 50 }, (_, n) => n));
});

test('who is connected hears what another node says next, however far its node is from the broker', async (t) => {
  const engine = await begun(redis)(t);
  const args = (port) => ({ args: ['--broker', `redis://127.0.0.1:${port}`, '--store', 'memory'] });
  const a = await serve(CONFIG, args(engine.port));
  t.after(() => a.stop());
  const b = await serve(CONFIG, args(await faraway(t, engine.port, 200)));
  t.after(() => b.stop());
  for (const node of [a, b]) await until(async () => await figure(node, 'oyez_cluster_others') === 1, 'they know each other');
  for (const transport of ['websocket', 'polling']) {
    const userId = `user-${transport}`;
    const socket = await enter(t, b, { userId }, [], { transports: [transport] });
    await a.publish(`user:${userId}`, 'ticket_updated', 1);
    await hears(socket, 'ticket_updated', 1);
  }
});

onEachBroker('a session is reached by its id, left out by it, described, moved and sent away from any node', async (t, cluster) => {
  const { nodes: [a, b] } = await cluster(2, TICKETING);
  const one = await enter(t, a, { userId: 'one' }, ['ticket:1']);
  const two = await enter(t, b, { userId: 'two' }, ['ticket:1']);
  await a.publish(two.id, 'to_you', 1);
  await hears(two, 'to_you', 1);
  await a.publish('ticket:1', 'others', 1, { except: two.id });
  await a.publish('ticket:1', 'all', 1);
  await hears(two, 'all', 1);
  assert.deepEqual([told(one, 'others').length, told(two, 'others').length], [1, 0]);

  for (const node of [a, b]) {
    const { json } = await node.api('/api/v1/connections?channel=ticket:1');
    assert.deepEqual(json.connections.map(({ id }) => id).sort(), [one.id, two.id].sort());
  }
  const moved = await a.api('/api/v1/subscribe', { body: { user: 'two', channels: ['ticket:9'] } });
  assert.equal(moved.status, 200, moved.text);
  await a.publish('ticket:9', 'nine', 1);
  await hears(two, 'nine', 1);
  const left = await a.api('/api/v1/unsubscribe', { body: { session: two.id, channels: ['ticket:9'] } });
  assert.equal(left.status, 200, left.text);
  await b.publish('ticket:9', 'nine', 2);
  const gone = next(two, 'disconnect');
  const sent = await a.api('/api/v1/disconnect', { body: { user: 'two' } });
  assert.equal(sent.status, 200, sent.text);
  await gone;
  assert.deepEqual(told(two, 'nine'), [1]);
});

onEachBroker('acknowledgements come from the clients of all nodes, and who has none keeps nobody waiting', async (t, cluster) => {
  const { nodes: [a, b] } = await cluster(3, TICKETING);
  for (const [node, word] of [[a, 'here'], [b, 'there'], [b, 'there too']]) {
    const socket = await enter(t, node, { userId: word }, ['ticket:1']);
    socket.on('ask', (_, answer) => answer(word));
  }
  const late = AbortSignal.timeout(30_000);
  const asked = a.api('/api/v1/publish', { body: { to: 'ticket:1', event: 'ask', data: 1, ack: { timeout_ms: 60_000 } } });
  const { json } = await Promise.race([asked, new Promise((_, reject) => { late.onabort = () => reject(new Error('it waits for somebody')); })]);
  assert.equal(json.reached, 3, JSON.stringify(json));
  assert.deepEqual(json.answers.flat().sort(), ['here', 'there', 'there too']);
});

onEachBroker('only those hear it who may, wherever they are', async (t, cluster) => {
  const { nodes: [a, b] } = await cluster(2, TICKETING);
  const admin = await enter(t, b, { userId: 'ann', roles: ['admin'] }, ['ticket:1']);
  const other = await enter(t, b, { userId: 'bob', roles: ['agent'] }, ['ticket:1']);
  await a.publish('ticket:1', 'secret', 1, { audience: { roles: ['admin'] } });
  await a.publish('ticket:1', 'secret', 2, { audience: { expression: "'agent' in user.roles" } });
  await a.publish('ticket:1', 'open', 1);
  await hears(admin, 'open', 1);
  await hears(other, 'open', 1);
  assert.deepEqual([told(admin, 'secret'), told(other, 'secret')], [[1], [2]]);
});

onEachBroker('a broker that restarts: red, local delivery, then green and heard again', async (t, cluster) => {
  const { engine, nodes: [a, b] } = await cluster(2, TICKETING);
  const here = await enter(t, a, { userId: 'here' }, ['ticket:1']);
  const there = await enter(t, b, { userId: 'there' }, ['ticket:1']);
  await engine.stop();
  await until(async () => (await a.api('/readyz')).status === 503, 'it is red');
  const red = (await a.api('/readyz')).json;
  assert.deepEqual(red.reasons.map(({ reason }) => reason), ['broker']);
  await a.publish('ticket:1', 'local', 1);
  await hears(here, 'local', 1);
  await engine.start();
  const begun = Date.now();
  for (const node of [a, b]) await until(async () => (await node.api('/readyz')).status === 200, 'it is green');
  await a.publish('ticket:1', 'again', 1);
  await hears(there, 'again', 1);
  t.diagnostic(`heard again ${Date.now() - begun} ms after its start`);
  assert.deepEqual(told(there, 'local'), [], 'what was said meanwhile was not kept');
  assert.ok(await figure(a, 'oyez_cluster_unsaid') >= 1);
});

onEachBroker('a node that is killed is forgotten, one that goes at once', async (t, cluster) => {
  const { nodes, know, start } = await cluster(3, TICKETING);
  const [a, b, c] = nodes;
  await c.stop();
  await know([a, b]);
  b.child.kill('SIGKILL');
  await b.exited;
  await know([a]);
  const d = await start(3);
  await know([a, d]);
  const socket = await enter(t, d, { userId: 'new' }, ['ticket:1']);
  await a.publish('ticket:1', 'hello', 1);
  await hears(socket, 'hello', 1);
});

onEachBroker('a broker that cannot be had does not stop the start, and is named with what to do', async (t, _, engine) => {
  const node = await serve(CONFIG, { args: ['--broker', `${engine.toLowerCase()}://127.0.0.1:1`, '--store', 'memory'] });
  t.after(() => node.stop());
  const socket = await enter(t, node, { userId: 'alone' }, ['ticket:1']);
  await node.publish('ticket:1', 'alone', 1);
  await hears(socket, 'alone', 1);
  assert.equal((await node.api('/readyz')).status, 503);
  assert.match(node.logs.join('\n'), new RegExp(`broker_failed.*is ${engine} running at 127\\.0\\.0\\.1:1\\?`));
});

onEachBroker('what is revoked on one node is refused on all, also by one that comes later', async (t, cluster) => {
  const { nodes: [a, b], know, start } = await cluster(2, TICKETING);
  const socket = await enter(t, b, { userId: 'banned' }, ['ticket:1']);
  const gone = next(socket, 'disconnect');
  const revoked = await a.api('/api/v1/revoke', { body: { user: 'banned' } });
  assert.equal(revoked.status, 200, revoked.text);
  await gone;
  const c = await start(2);
  await know([a, b, c]);
  for (const node of [a, b, c]) {
    await until(() => enter(t, node, { userId: 'banned' }).then((again) => { again.disconnect(); return false; }, () => true), 'it is refused');
    await assert.rejects(enter(t, node, { userId: 'banned' }));
  }
  await enter(t, c, { userId: 'other' });
});
