// What the server tells an app's backend by itself: who comes and goes, and what clients say; signed, and through all that
// may happen to either of them.
import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { Webhook } from 'standardwebhooks';
import { API_KEY, ROOT, SECRET as JWT_SECRET, connect, connected, next, serve, token } from './harness.mjs';
import { cluster, figure, until } from './company.mjs';
import { folder, raw, run, service, serving } from './stage.mjs';
import { eventually, standstill } from './waiting.mjs';

const SECRET = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const GRACE = 3_000;

const CONFIG = (url, webhook = '', more = '') => `
[key.backend]
secret = { env = "OYEZ_API_KEY" }
[app.desk]
origins = ["*"]
[app.desk.socketio]
[app.desk.websocket]
[app.desk.auth]
from = ["auth.token", "query.token"]
[app.desk.auth.jwt]
algorithms = ["HS256"]
secret = { env = "JWT_SECRET" }
[app.desk.identity]
user = "claims.sub"
roles = "claims.roles"
[app.desk.limits]
connects_per_second = "none"
[[app.desk.channel]]
name = "room:{id}"
subscribe = true
[[app.desk.channel]]
name = "secret:{id}"
subscribe = false
[[app.desk.channel]]
name = "user:{id}"
subscribe = "id == user.id"
[app.desk.connect]
join = "user:{user.id}"
[[app.desk.on]]
event = "join"
join = "{data}"
ack = "joined"
[app.desk.webhook]
url = "${url}/life"
secret = { env = "WEBHOOK_SECRET" }
private = true
timeout = "1s"
${webhook}
${more}`;

process.env.WEBHOOK_SECRET = SECRET; // for all servers

/** Nothing but users. */
const USERS = 'events = ["user.online", "user.offline"]';

async function enter(t, node, sub, more = {}) {
  const socket = connect(node.url, { transports: ['websocket'], auth: { token: token({ sub, ...more }) } });
  t.after(() => socket.disconnect());
  return connected(socket);
}

/** A backend that notes what it has taken; `state.status(event)` is how it answers. */
async function backend(t, status = () => 204) {
  const state = { status, taken: [] };
  const at = await service(t, async ({ headers, body }) => {
    const event = JSON.parse(body);
    const answer = await state.status(event);
    if (answer === 204) state.taken.push(event);
    new Webhook(SECRET).verify(body, headers);
    assert.equal(headers['webhook-id'], event.id);
    return { status: answer };
  });
  return Object.assign(state, at);
}

/** What was taken of one user or channel, each repeated word once: at least once is what is promised. */
const story = ({ taken }, name) => taken.filter((event) => (event.user ?? event.channel) === name).map(({ type }) => type.split('.')[1])
  .filter((word, at, all) => word !== all[at - 1]).join(' ');
const told = (state, name, words, ms = 15_000) => until(() => story(state, name) === words, `${name}: ${words}, not ${story(state, name)}`, ms)
  .catch((error) => { throw new Error(`${error.message}: ${JSON.stringify(state.taken)}`); });

describe('comings and goings', () => {
  test('are told once, signed, in order, and not for a quick return', async (t) => {
    const state = await backend(t);
    const server = await serving(t, CONFIG(state.url));
    const [first, second] = [await enter(t, server, 'ann'), await enter(t, server, 'ann')];
    assert.deepEqual(await first.emitWithAck('join', 'room:1'), ['room:1']);
    await told(state, 'room:1', 'occupied');
    await told(state, 'ann', 'online');
    first.disconnect();
    second.disconnect();
    const left = Date.now();
    const again = await enter(t, server, 'ann');
    const bob = await enter(t, server, 'bob');
    bob.disconnect();
    await told(state, 'bob', 'online offline');
    assert.ok(Date.now() - left >= GRACE);
    assert.equal(story(state, 'ann'), 'online', 'she was away for a moment only');
    await told(state, 'room:1', 'occupied vacated');
    again.disconnect();
    await told(state, 'ann', 'online offline');
    await told(state, 'user:ann', 'occupied vacated');
    const online = state.taken.find(({ user, type }) => user === 'ann' && type === 'user.online');
    assert.deepEqual(Object.keys(online).sort(), ['app', 'at', 'id', 'type', 'user']);
    assert.equal(online.app, 'desk');
    assert.ok(Math.abs(Date.now() - online.at) < 60_000);
    assert.deepEqual(state.taken.filter(({ type }) => !['user.online', 'user.offline', 'channel.occupied', 'channel.vacated'].includes(type)), []);
    assert.equal(new Set(state.taken.map(({ id }) => id)).size, state.taken.length, 'a backend that takes them hears each once');
    assert.equal(await figure(server, 'oyez_webhook_waiting'), 0);
    assert.equal(await figure(server, 'oyez_webhook_events'), state.taken.length);
    assert.ok(!server.logs.some((line) => line.includes('webhook_turn')), 'one alone always tells');
  });

  test('are told of what the file names', async (t) => {
    const state = await backend(t);
    const server = await serving(t, CONFIG(state.url, 'events = ["user.offline", "channel.occupied"]\nchannels = ["room:{id}"]'));
    const ann = await enter(t, server, 'ann');
    await ann.emitWithAck('join', 'room:1');
    ann.disconnect();
    await told(state, 'ann', 'offline');
    assert.deepEqual(state.taken.map(({ type, user, channel }) => `${type} ${user ?? channel}`), ['channel.occupied room:1', 'user.offline ann']);
  });

  test('wait for a backend that fails, under the same ids, and hold up nobody else', async (t) => {
    let fails = true;
    const ids = new Set();
    const state = await backend(t, ({ id, user }) => {
      if (user !== 'stuck' || !fails) return 204;
      ids.add(id);
      return 400;
    });
    const server = await serving(t, CONFIG(state.url, USERS));
    const stuck = await enter(t, server, 'stuck');
    await eventually(() => ids.size === 1);
    stuck.disconnect();
    const bob = await enter(t, server, 'bob');
    bob.disconnect();
    await told(state, 'bob', 'online offline');
    assert.equal(story(state, 'stuck'), '');
    assert.equal(ids.size, 1, 'the second waits for the first');
    fails = false;
    await told(state, 'stuck', 'online offline', 60_000);
    assert.ok(ids.has(state.taken.find(({ user }) => user === 'stuck').id));
    assert.ok((await figure(server, 'oyez_webhook_failures')) > 0);
  });

  test('leave a backend alone that is down, and are told when it is back', async (t) => {
    let down = true;
    const state = await backend(t, () => (down ? 503 : 204));
    const server = await serving(t, CONFIG(state.url, USERS));
    const users = Array.from({ length: 30 }, (_, n) => `u${n}`);
    const sockets = await Promise.all(users.map((user) => enter(t, server, user)));
    await until(async () => (await figure(server, 'oyez_backend_open\\{app="desk"\\}')) === 1, 'its breaker is open');
    assert.ok(state.calls.length < 30, `${state.calls.length} attempts`);
    assert.ok(server.logs.some((line) => line.includes('backend_broken')));
    sockets.forEach((socket) => socket.disconnect());
    down = false;
    for (const user of users) await told(state, user, 'online offline', 45_000);
    assert.ok(server.logs.some((line) => line.includes('backend_mended')));
    assert.ok(!server.logs.some((line) => line.includes(SECRET)));
  });

  test('follow no redirect, and wait for an answer for so long', async (t) => {
    const other = await backend(t);
    let attempts = 0;
    const state = await service(t, () => {
      attempts += 1;
      if (attempts === 1) return { status: 307, headers: { location: `${other.url}/elsewhere` } };
      return attempts === 2 ? { status: 0 } : { status: 200 };
    });
    const server = await serving(t, CONFIG(state.url, USERS));
    await enter(t, server, 'ann');
    await until(() => attempts === 3, 'three attempts');
    await until(async () => (await figure(server, 'oyez_webhook_events')) === 1, 'it was taken');
    assert.deepEqual([...new Set(state.calls.map(({ body }) => JSON.parse(body).user))], ['ann']);
    assert.ok(state.calls[2].at - state.calls[1].at >= 1_000);
    assert.equal(other.calls.length, 0);
  });
});

/** A node that can be started again with what it had. */
async function durable(t, url) {
  const data = mkdtempSync(join(tmpdir(), 'oyez-hooks-'));
  const config = relative(ROOT, join(folder(t, { 'oyez.toml': CONFIG(url, USERS) }), 'oyez.toml'));
  let server;
  t.after(async () => {
    if (server.child.signalCode === null && server.child.exitCode === null) await server.stop();
    rmSync(data, { recursive: true });
  });
  const start = async () => { server = await serve(config, { args: ['--data-dir', data] }); return server; };
  const kill = async () => { server.child.kill('SIGKILL'); await server.exited; };
  return { start, kill };
}

describe('a node that is killed', () => {
  test('tells when it is back who has gone meanwhile, and not who is there again', async (t) => {
    const state = await backend(t);
    const node = await durable(t, state.url);
    const before = await node.start();
    await enter(t, before, 'ann');
    await enter(t, before, 'bob');
    await told(state, 'ann', 'online');
    await told(state, 'bob', 'online');
    await node.kill();
    const after = await node.start();
    await enter(t, after, 'bob');
    await told(state, 'ann', 'online offline');
    assert.equal(story(state, 'bob'), 'online');
    await node.kill();
    await node.start();
    await told(state, 'bob', 'online offline');
    assert.equal(story(state, 'ann'), 'online offline');
  });

  test('goes on with what it had not told', async (t) => {
    let down = true;
    const state = await backend(t, () => (down ? 500 : 204));
    const node = await durable(t, state.url);
    const before = await node.start();
    await enter(t, before, 'ann');
    const bob = await enter(t, before, 'bob');
    bob.disconnect();
    await until(async () => (await figure(before, 'oyez_webhook_waiting')) === 3, 'three events wait');
    await node.kill();
    down = false;
    await node.start();
    await told(state, 'ann', 'online offline');
    await told(state, 'bob', 'online offline');
  });
});

test('whatever fails, in the end all of it is told, and of each user in order', async (t) => {
  let seed = 7;
  const chance = (percent) => { seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648; return seed / 2_147_483_648 < percent / 100; };
  let calm = false;
  const state = { taken: [] };
  const { url } = await service(t, ({ body }) => {
    if (!calm && chance(20)) return { status: 500 };
    if (!calm && chance(5)) return { status: 0 }; // no answer
    state.taken.push(JSON.parse(body));
    return { status: !calm && chance(10) ? 500 : 204 }; // taken, and the answer is wrong
  });
  const node = await durable(t, url);
  let server = await node.start();
  const users = Array.from({ length: 40 }, (_, n) => `user-${n}`);
  const stays = new Set();
  for (let life = 0; life < 3; life += 1) {
    const sockets = await Promise.all(users.filter(() => chance(70)).map(async (user) => [user, await enter(t, server, user)]));
    await until(() => state.taken.length > 0, 'something is told');
    stays.clear();
    for (const [user, socket] of sockets) {
      if (chance(50)) socket.disconnect();
      else stays.add(user);
    }
    if (life === 2) break;
    // A dozen or so go offline from here on, whatever has been told before.
    const enough = state.taken.length + 5;
    await until(() => state.taken.length >= enough, 'more is told');
    await node.kill();
    server = await node.start();
  }
  calm = true;
  const right = (user) => (story(state, user) === '' ? 'offline' : story(state, user).split(' ').at(-1)) === (stays.has(user) ? 'online' : 'offline');
  await until(async () => (await figure(server, 'oyez_webhook_waiting')) === 0 && users.every(right), 'all is told', 60_000)
    .catch((error) => { throw new Error(`${error.message}: ${users.filter((user) => !right(user)).map((user) => `${user} ${story(state, user)}`)}`); });
  for (const user of users) assert.match(story(state, user), /^((online offline )*(online|online offline))?$/, user);
  // By their ids, which say when they were, they happened in the order in which they were first told.
  for (const user of users) {
    const ids = [...new Set(state.taken.filter((event) => event.user === user).map(({ id }) => id))];
    assert.deepEqual(ids, [...ids].sort(), user);
  }
});

describe('nodes of a cluster', () => {
  const STORES = { 'a store each': () => ['--store', 'memory'], 'one store': (_, engine) => ['--store', engine.url] };
  for (const [words, args] of Object.entries(STORES)) {
    test(`with ${words}: one tells, once per user, also when it or another is killed`, async (t) => {
      const state = await backend(t);
      const config = relative(ROOT, join(folder(t, { 'oyez.toml': CONFIG(state.url, USERS) }), 'oyez.toml'));
          const { nodes } = await cluster(t, 3, { args, config });
      const tells = (node) => figure(node, 'oyez_webhook_telling');
      const who = async (these) => (await Promise.all(these.map(tells))).indexOf(1);
      await until(async () => (await Promise.all(nodes.map(tells))).filter((one) => one === 1).length === 1, 'one tells');
      const eldest = nodes[await who(nodes)];
      const [second, third] = nodes.filter((node) => node !== eldest);
      await enter(t, second, 'ann');
      const elsewhere = await enter(t, third, 'ann');
      await enter(t, second, 'bob');
      await enter(t, eldest, 'cid');
      for (const user of ['ann', 'bob', 'cid']) await told(state, user, 'online');
      second.child.kill('SIGKILL');
      await told(state, 'bob', 'online offline', 20_000);
      assert.equal(story(state, 'ann'), 'online', 'she is on another node');
      assert.equal(state.taken.length, 4, JSON.stringify(state.taken));
      // The one that tells: who was there, who comes while nobody has noticed, and who comes and goes.
      eldest.child.kill('SIGKILL');
      await enter(t, third, 'dan');
      const eve = await enter(t, third, 'eve');
      eve.disconnect();
      elsewhere.disconnect();
      await told(state, 'cid', 'online offline', 25_000);
      await told(state, 'dan', 'online', 25_000);
      await told(state, 'eve', 'online offline', 25_000);
      await told(state, 'ann', 'online offline', 25_000);
      assert.equal(await tells(third), 1);
    });
  }

  test('with one store: what the one that is killed had not told, another tells', async (t) => {
    let down = true;
    const state = await backend(t, () => (down ? 500 : 204));
    const config = relative(ROOT, join(folder(t, { 'oyez.toml': CONFIG(state.url, USERS) }), 'oyez.toml'));
      const { nodes } = await cluster(t, 2, { args: (_, engine) => ['--store', engine.url], config });
    const tells = (node) => figure(node, 'oyez_webhook_telling');
    await until(async () => (await Promise.all(nodes.map(tells))).includes(1), 'one tells');
    const eldest = nodes[(await Promise.all(nodes.map(tells))).indexOf(1)];
    const turns = (node) => node.logs.filter((line) => line.includes('"webhook_turn"')).map((line) => JSON.parse(line).tells);
    assert.deepEqual(nodes.map(turns), nodes.map((node) => (node === eldest ? [true] : [])));
    const ann = await enter(t, eldest, 'ann');
    ann.disconnect();
    await until(async () => (await figure(eldest, 'oyez_webhook_waiting')) === 2, 'two events wait');
    eldest.child.kill('SIGKILL');
    down = false;
    // Who takes its place does not know whether it has told of what happened a moment before.
    await until(() => /^online offline( online offline)?$/.test(story(state, 'ann')), 'she came and went', 30_000);
  });
});

test('who moves on to another node when theirs is asked to end was never away', async (t) => {
  const state = await backend(t);
  const config = relative(ROOT, join(folder(t, { 'oyez.toml': CONFIG(state.url, USERS) }), 'oyez.toml'));
  const { nodes } = await cluster(t, 2, { config });
  const tells = (node) => figure(node, 'oyez_webhook_telling');
  await until(async () => (await Promise.all(nodes.map(tells))).includes(1), 'one tells');
  const eldest = nodes[(await Promise.all(nodes.map(tells))).indexOf(1)];
  const other = nodes.find((node) => node !== eldest);
  const ann = await enter(t, eldest, 'ann');
  await told(state, 'ann', 'online');
  const left = new Promise((resolve) => ann.on('disconnect', resolve));
  eldest.child.kill('SIGTERM');
  await left;
  await enter(t, other, 'ann');
  await until(async () => (await tells(other)) === 1, 'the other tells');
  const bob = await enter(t, other, 'bob');
  bob.disconnect();
  await told(state, 'bob', 'online offline');
  assert.equal(story(state, 'ann'), 'online');
});

test('a node that was paused does not tell what another has told meanwhile', async (t) => {
  const state = await backend(t);
  const config = relative(ROOT, join(folder(t, { 'oyez.toml': CONFIG(state.url, 'channels = "room:{id}"') }), 'oyez.toml'));
  const { nodes } = await cluster(t, 2, { args: (_, engine) => ['--store', engine.url], config });
  const tells = (node) => figure(node, 'oyez_webhook_telling');
  await until(async () => (await Promise.all(nodes.map(tells))).includes(1), 'one tells');
  const eldest = nodes[(await Promise.all(nodes.map(tells))).indexOf(1)];
  const other = nodes.find((node) => node !== eldest);
  t.after(() => eldest.child.kill('SIGCONT'));
  const ann = await enter(t, eldest, 'ann');
  const bob = await enter(t, other, 'bob');
  for (const socket of [ann, bob]) await socket.emitWithAck('join', 'room:1');
  await told(state, 'bob', 'online');
  await told(state, 'room:1', 'occupied');
  await standstill(eldest.child);
  bob.disconnect();
  await told(state, 'bob', 'online offline', 25_000);
  await told(state, 'ann', 'online offline', 25_000);
  await told(state, 'room:1', 'occupied vacated', 25_000);
  eldest.child.kill('SIGCONT');
  await until(async () => (await tells(eldest)) === 1 && (await tells(other)) === 0, 'the eldest tells again', 25_000);
  const cid = await enter(t, other, 'cid');
  cid.disconnect();
  await told(state, 'cid', 'online offline');
  assert.equal(story(state, 'bob'), 'online offline');
  assert.match(story(state, 'ann'), /^online offline( online)?$/, 'her connection may have outlived the pause');
});

describe('client events', () => {
  const FORWARD = (url) => `
[[app.desk.on]]
event = "order"
join = "room:orders"
forward = { url = "${url}/orders", timeout = "400ms", secret = "${SECRET}", token = "bearer-word", private = true }
[[app.desk.on]]
event = "peek"
join = "secret:1"
forward = { url = "${url}/peek", private = true }
[[app.desk.on]]
event = "inside"
forward = { url = "${url.replace('127.0.0.1', '2130706433')}/inside" }
[[app.desk.on]]
event = "broken"
forward = { url = "${url}/broken", timeout = "400ms", private = true }`;

  async function desk(t) {
    const answers = new Map();
    const state = await service(t, (call) => (answers.get(JSON.parse(call.body).event) ?? (() => ({ status: 204 })))(call));
    const server = await serving(t, CONFIG(state.url, '', FORWARD(state.url)));
    const calls = () => state.calls.filter(({ url }) => url !== '/life');
    return { answers, server, calls };
  }

  test('that a rule forwards are answered by the backend', async (t) => {
    const { answers, server, calls } = await desk(t);
    const ann = await enter(t, server, 'ann', { roles: 'clerk' });
    answers.set('order', () => ({ body: { order: 7 } }));
    assert.deepEqual(await ann.emitWithAck('order', { item: 1 }, 'two', Buffer.from('three')), { order: 7 });
    const [{ url, headers, body }] = calls();
    assert.deepEqual([url, headers.authorization], ['/orders', 'Bearer bearer-word']);
    const { id, ...words } = new Webhook(SECRET).verify(body, headers);
    assert.equal(id, headers['webhook-id']);
    assert.deepEqual(words, {
      app: 'desk', event: 'order', data: { item: 1 }, args: [{ item: 1 }, 'two', 'dGhyZWU='], session: ann.id,
      user: { id: 'ann', name: null, roles: ['clerk'], attributes: {} },
    });
    assert.equal((await server.api('/api/v1/channels/room:orders')).json.count, 1, 'the rule did the rest, too');
    answers.set('order', () => ({ status: 204 }));
    assert.equal(await ann.emitWithAck('order'), null);
  });

  test('are answered on a plain WebSocket', async (t) => {
    const { answers, server, calls } = await desk(t);
    const socket = await raw(t, `${server.ws}/ws?token=${token({ sub: 'ann' })}`).opened;
    answers.set('order', () => ({ body: [1] }));
    socket.say({ type: 'order', id: 'q1', item: 1 });
    assert.deepEqual((await socket.heard.take('ack')).data, { event: 'order', id: 'q1', data: [1] });
    assert.deepEqual(JSON.parse(calls()[0].body).args, [{ type: 'order', id: 'q1', item: 1 }]);
    answers.set('order', () => ({ status: 204 }));
    socket.say({ type: 'order' }); // nobody asked, and there is nothing to say
    socket.say({ type: 'order', id: 2 });
    assert.deepEqual((await socket.heard.take('ack')).data, { event: 'order', id: 2, data: null });
    answers.set('order', () => ({ status: 500 }));
    socket.say({ type: 'order', id: 3 });
    assert.deepEqual((await socket.heard.take('error')).data, { code: 502, message: 'the backend refused', channel: null, error: 'backend_failed' });
    assert.equal(socket.heard.all('ack').length, 2);
  });

  test('that fail are refused with a code of the table', async (t) => {
    const { answers, server, calls } = await desk(t);
    const ann = await enter(t, server, 'ann');
    const refused = async (event, code, error) => {
      const answer = await ann.timeout(3_000).emitWithAck(event, 1);
      assert.deepEqual([answer.code, answer.error], [code, error], JSON.stringify(answer));
    };
    answers.set('order', () => ({ status: 409 }));
    await refused('order', 502, 'backend_failed');
    answers.set('order', () => ({ body: '<html>' }));
    await refused('order', 502, 'backend_failed');
    answers.set('order', () => ({ status: 302, headers: { location: '/elsewhere' } }));
    await refused('order', 502, 'backend_failed');
    answers.set('order', () => ({ status: 0 }));
    await refused('order', 504, 'timeout');
    const before = calls().length;
    await refused('inside', 502, 'backend_failed');
    await eventually(() => server.logs.some((line) => line.includes('backend_private') && line.includes('private = true')), 'the log says so');
    await refused('peek', 403, undefined);
    assert.equal(calls().length, before, 'an address inside is not asked, nor is what is denied forwarded');
    assert.ok(!calls().some(({ url }) => url === '/elsewhere'));
  });

  test('are refused at once while the backend is left alone', async (t) => {
    const { answers, server, calls } = await desk(t);
    const ann = await enter(t, server, 'ann');
    const say = () => ann.timeout(3_000).emitWithAck('broken', 1);
    answers.set('broken', () => ({ status: 500 }));
    for (let n = 0; n < 5; n += 1) assert.equal((await say()).error, 'backend_failed');
    assert.deepEqual(await say(), { code: 503, message: "The app's backend is not asked at the moment", channel: null, error: 'backend_unavailable' });
    assert.equal(calls().length, 5);
    answers.set('broken', () => ({ body: { ok: true } }));
    assert.equal((await ann.emitWithAck('order', 1)), null, 'another endpoint is another matter');
    const back = await eventually(async () => { const answer = await say(); return answer.ok && answer; });
    assert.deepEqual(back, { ok: true });
  });
});

test('a file whose backend is inside must say that this is meant', async (t) => {
  const path = join(folder(t, { 'oyez.toml': CONFIG('http://127.0.0.1:1').replace('private = true\n', '') }), 'oyez.toml');
  const { code, stderr } = await run(['check', path], { JWT_SECRET, OYEZ_API_KEY: API_KEY, WEBHOOK_SECRET: SECRET });
  assert.notEqual(code, 0);
  assert.match(stderr, /app\.desk\.webhook\.url is no public address/);
  assert.match(stderr, /private = true/);
});
