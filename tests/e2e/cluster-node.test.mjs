// Oyez nodes and Node's own socket.io server on one Redis are one server: with the real packages of both sides.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { createAdapter, createShardedAdapter } from '@socket.io/redis-adapter';
import { Emitter } from '@socket.io/redis-emitter';
import { createAdapter as createStreamsAdapter } from '@socket.io/redis-streams-adapter';
import { Redis } from 'ioredis';
import { Server } from 'socket.io';
import { connect, connected, next, serve, token } from './harness.mjs';
import { redis } from './redis.mjs';

const CONFIG = 'tests/corpus/app.toml';

const ADAPTERS = {
  classic: (clients) => createAdapter(...clients, { requestsTimeout: 5_000 }),
  sharded: (clients) => createShardedAdapter(...clients),
  streams: ([client]) => createStreamsAdapter(client),
};

/** Waits until `holds` gives something true. */
async function until(holds, what, ms = 15_000) {
  const end = Date.now() + ms;
  for (;;) {
    const found = await holds();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 20); });
  }
}

const figure = async (node, name) => Number((await (await fetch(`${node.url}/metrics`)).text()).match(new RegExp(`^${name}(?:_total)? (\\S+)$`, 'm'))?.[1]);

/** Node's server, in a Redis cluster; its clients join what they ask for. */
async function nodeServer(closing, engine, adapter) {
  // The connection on which a stream is read is the adapter's own: it ends with Redis, or it would go on calling.
  const options = adapter === 'streams' ? { retryStrategy: null } : {};
  const clients = [new Redis(engine.url, options), new Redis(engine.url, options)];
  const http = createServer();
  const io = new Server(http);
  io.adapter(ADAPTERS[adapter](clients));
  io.on('connection', (socket) => {
    socket.data.user = 'of node';
    socket.on('join', ({ room }) => { socket.join(`room:${room}`); socket.emit('joined', 'joined'); });
  });
  await new Promise((resolve) => { http.listen(0, '127.0.0.1', resolve); });
  closing.push(async () => { await io.close(); await Promise.all(clients.map((client) => client.quit())); });
  return { io, url: `http://127.0.0.1:${http.address().port}` };
}

/** Two Oyez nodes and one of Node, all of which know each other. */
async function cluster(t, adapter = 'classic') {
  // Before Redis goes, since they say goodbye to it.
  const closing = [];
  t.after(() => Promise.all(closing.map((close) => close())));
  const engine = await redis(t);
  await engine.start();
  const start = async () => {
    const node = await serve(CONFIG, { args: ['--broker', engine.url, '--store', 'memory', '--cluster', adapter] });
    t.after(() => node.child.exitCode ?? node.child.signalCode ?? node.stop());
    return node;
  };
  const [a, b, node] = await Promise.all([start(), start(), nodeServer(closing, engine, adapter)]);
  await until(async () => (await Promise.all([a, b].map((each) => figure(each, 'oyez_neighbours')))).every((count) => count === 1), 'Oyez knows of the other server');
  await until(async () => (await Promise.all([a, b].map((each) => figure(each, 'oyez_cluster_others')))).every((count) => count === 1), 'the nodes know each other');
  return { engine, a, b, node, io: node.io };
}

/** A client in these rooms, and all that it heard. */
async function enter(t, server, user, rooms = []) {
  const socket = connect(server.url, { transports: ['websocket'], auth: { token: token({ sub: user }) } });
  socket.heard = new Map();
  socket.onAny((event, ...args) => { const all = socket.heard.get(event); if (all) all.push(args); else socket.heard.set(event, [args]); });
  t.after(() => socket.disconnect());
  await connected(socket);
  for (const room of rooms) {
    const joined = next(socket, 'joined');
    socket.emit('join', { room });
    await joined;
  }
  return socket;
}

const told = (socket, event) => socket.heard.get(event) ?? [];
const hears = (socket, event, count = 1, ms) => until(() => told(socket, event).length >= count, `${count} × ${event}, but ${told(socket, event).length}`, ms);

/** All that was said before has arrived everywhere: each server says one thing more, and each client hears it. */
async function fence({ a, b, io }, sockets) {
  const name = `fence-${Math.random().toString(36).slice(2)}`;
  await a.publish('*', name, 1);
  await b.publish('*', name, 1);
  io.emit(name, 1);
  await Promise.all(sockets.map((socket) => hears(socket, name, 3)));
}

for (const adapter of Object.keys(ADAPTERS)) {
  test(`${adapter}: what is said on Node's server is heard on Oyez, as it was said`, async (t) => {
    const all = await cluster(t, adapter);
    const { a, b, node, io } = all;
    const one = await enter(t, a, 'one', ['1']);
    const two = await enter(t, b, 'two', ['2']);
    const own = await enter(t, node, 'own', ['1']);
    const sockets = [one, two, own];
    const counts = (event) => sockets.map((socket) => told(socket, event).length);
    io.emit('all', 'x', 1, { a: [true, null] });
    io.to('room:1').emit('one', 1);
    io.to(['room:1', 'room:2']).emit('both');
    io.to(['room:1', 'room:2']).except('room:2').emit('but');
    io.to(two.id).emit('you', 1);
    io.to([two.id, 'room:2']).emit('you once', 1);
    io.except(one.id).emit('others');
    io.local.emit('local');
    io.to('room:1').emit('binary', Buffer.from([1, 2, 255]), { deep: [Buffer.from('x')] });
    io.to('*').emit('hidden');
    io.to('*@one').emit('hidden');
    await fence(all, sockets);
    io.volatile.compress(false).emit('flags', 1); // nobody is busy now
    await fence(all, sockets);
    const expect = { all: [1, 1, 1], one: [1, 0, 1], both: [1, 1, 1], but: [1, 0, 1], you: [0, 1, 0], 'you once': [0, 1, 0], others: [0, 1, 1], flags: [1, 1, 1], local: [0, 0, 1], binary: [1, 0, 1], hidden: [0, 0, 0] };
    assert.deepEqual(Object.fromEntries(Object.keys(expect).map((event) => [event, counts(event)])), expect);
    assert.deepEqual(told(one, 'all'), [['x', 1, { a: [true, null] }]]);
    assert.deepEqual(told(one, 'binary'), [[Buffer.from([1, 2, 255]), { deep: [Buffer.from('x')] }]]);
  });
}

for (const adapter of Object.keys(ADAPTERS)) {
  test(`${adapter}: what is said on Oyez is heard on Node's server, once`, async (t) => {
    const all = await cluster(t, adapter);
    const { a, b, node, io } = all;
    const one = await enter(t, a, 'one', ['1']);
    const two = await enter(t, b, 'two', ['1', 'lobby']);
    const own = await enter(t, node, 'own', ['1', 'lobby']);
    const sockets = [one, two, own];
    const counts = (event) => sockets.map((socket) => told(socket, event).length);
    await a.publish('*', 'all', { a: 1 });
    await a.publish('room:1', 'one', 1);
    await a.publish(['room:1', 'room:lobby'], 'both', 1);
    await a.publish('room:1', 'but', 1, { except: 'room:lobby' });
    await a.publish('room:1', 'but one', 1, { except: one.id });
    await b.publish(own.id, 'you', 1);
    await a.publish('room:1', 'secret', 1, { audience: { roles: ['admin'] } });
    one.emit('say', { event: 'said', data: 1 });
    await fence(all, sockets);
    await a.publish('room:1', 'volatile', 1, { volatile: true }); // nobody is busy now
    await fence(all, sockets);
    const expect = { all: [1, 1, 1], one: [1, 1, 1], both: [1, 1, 1], but: [1, 0, 0], 'but one': [0, 1, 1], you: [0, 0, 1], volatile: [1, 1, 1], secret: [0, 0, 0] };
    assert.deepEqual(Object.fromEntries(Object.keys(expect).map((event) => [event, counts(event)])), expect);
    assert.deepEqual(told(own, 'all'), told(one, 'all'));
    assert.equal(io.of('/').sockets.size, 1);
  });
}

for (const adapter of Object.keys(ADAPTERS)) {
  test(`${adapter}: acknowledgements are counted alike from either side`, async (t) => {
    const { a, b, node, io } = await cluster(t, adapter);
    for (const [server, word] of [[a, 'a'], [b, 'b'], [b, 'b too'], [node, 'node']]) {
      const socket = await enter(t, server, word, ['1']);
      socket.on('ask', (_, answer) => answer(word, 'not told'));
    }
    const expect = ['a', 'b', 'b too', 'node'];
    for (let n = 0; n < 5; n += 1) {
      assert.deepEqual((await io.timeout(5_000).to('room:1').emitWithAck('ask', n)).sort(), expect);
      const { json } = await a.api('/api/v1/publish', { body: { to: 'room:1', event: 'ask', data: n, ack: { timeout_ms: 5_000 } } });
      assert.equal(json.reached, 4, JSON.stringify(json));
      assert.deepEqual(json.answers.map((answer) => [answer].flat()[0]).sort(), expect);
    }
    assert.deepEqual(await io.timeout(1_000).to('room:nobody').emitWithAck('ask', 1), []);
  });
}

for (const adapter of Object.keys(ADAPTERS)) {
  test(`${adapter}: sockets are described, moved and sent away by either side`, async (t) => {
    const { a, b, node, io } = await cluster(t, adapter);
    const one = await enter(t, a, 'one', ['1']);
    const two = await enter(t, b, 'two', ['1']);
    const own = await enter(t, node, 'own', ['1']);
    const ids = [one.id, two.id, own.id].sort();
    const found = await io.in('room:1').fetchSockets();
    assert.deepEqual(found.map(({ id }) => id).sort(), ids);
    const remote = found.find(({ id }) => id === one.id);
    assert.deepEqual([...remote.rooms].sort(), [one.id, 'room:1', 'user:one'].sort());
    assert.deepEqual([remote.data.user, remote.handshake.query.transport, remote.handshake.address], ['one', 'websocket', '127.0.0.1']);
    assert.deepEqual((await io.in(two.id).fetchSockets()).map(({ id }) => id), [two.id]);
    assert.deepEqual((await io.except(two.id).in('room:1').fetchSockets()).length, 2);
    if (adapter === 'classic') assert.ok((await io.of('/').adapter.allRooms()).has('user:two'));
    for (const each of [a, b]) {
      const { json } = await each.api('/api/v1/connections?channel=room:1');
      assert.deepEqual(json.connections.map(({ id }) => id).sort(), ids);
    }

    io.in('room:1').socketsJoin('room:9');
    // There a room's channel is heard a moment after somebody is in it.
    if (adapter === 'sharded') await until(async () => (await io.in('room:9').fetchSockets()).length === 3, 'they are in it');
    io.to('room:9').emit('nine', 1);
    for (const socket of [one, two]) await hears(socket, 'nine', 1); // Node's own server joins a moment after it has asked
    io.in(two.id).socketsLeave('room:9');
    io.to('room:9').emit('nine', 2);
    // What is asked here goes another way than what Node's server asks.
    await until(async () => (await io.in('room:9').fetchSockets()).length === 2, 'one has left');
    const moved = await a.api('/api/v1/subscribe', { body: { channel: 'room:9', channels: ['room:10'] } });
    assert.equal(moved.status, 200, moved.text);
    await a.publish('room:10', 'ten', 1);
    for (const socket of [one, own]) await hears(socket, 'ten', 1);
    const left = await b.api('/api/v1/unsubscribe', { body: { session: own.id, channels: ['room:10'] } });
    assert.equal(left.status, 200, left.text);
    await b.publish('room:10', 'ten', 2);
    await hears(one, 'ten', 2);
    assert.deepEqual([told(two, 'nine').length, told(two, 'ten').length, told(own, 'ten').length], [1, 0, 1]);

    const gone = [next(two, 'disconnect'), next(own, 'disconnect')];
    io.in(two.id).disconnectSockets(true);
    const sent = await a.api('/api/v1/disconnect', { body: { session: own.id } });
    assert.equal(sent.status, 200, sent.text);
    await Promise.all(gone);
  });
}

test('events between servers are answered, and an emitter is heard', async (t) => {
  const all = await cluster(t);
  const { a, b, node, io, engine } = all;
  const sockets = [await enter(t, a, 'one', ['1']), await enter(t, b, 'two'), await enter(t, node, 'own', ['1'])];
  assert.equal((await io.serverSideEmitWithAck('hello', 1)).length, 2);
  io.serverSideEmit('hello', 1);
  const client = new Redis(engine.url);
  t.after(() => client.disconnect());
  const emitter = new Emitter(client);
  emitter.emit('hello', { a: 1 });
  emitter.to('room:1').emit('bin', Buffer.from([255]));
  emitter.to(sockets[1].id).except('room:1').volatile.emit('you', 1);
  emitter.in('room:1').socketsJoin('room:9');
  emitter.to('room:9').emit('nine', 1);
  emitter.serverSideEmit('hello', 1);
  await Promise.all(sockets.map((socket) => hears(socket, 'hello')));
  await Promise.all([sockets[0], sockets[2]].map((socket) => hears(socket, 'nine')));
  assert.deepEqual(sockets.map((socket) => told(socket, 'bin')), [[[Buffer.from([255])]], [], [[Buffer.from([255])]]]);
  await hears(sockets[1], 'you');
  const gone = next(sockets[0], 'disconnect');
  emitter.in('room:9').disconnectSockets(true);
  await gone;
  assert.ok(sockets[1].connected);
});

/** Of each side. */
const COUNT = Number(process.env.CLUSTER_EMITS ?? 10_000);

for (const adapter of Object.keys(ADAPTERS)) {
  test(`${adapter}: ${COUNT} events each way: none lost, none doubled, in order`, { timeout: 120_000 * Math.ceil(COUNT / 20_000) }, async (t) => {
    const all = await cluster(t, adapter);
    const { a, b, node, io } = all;
    const sockets = [await enter(t, a, 'one', ['1']), await enter(t, b, 'two', ['1']), await enter(t, node, 'own', ['1'])];
    const expect = Array.from({ length: COUNT }, (_, n) => n);
    // A stream keeps 10,000 entries, of both sides together: a server that is further behind has lost some.
    const keepUp = async (n) => {
      for (const socket of sockets) for (const event of ['from oyez', 'from node']) await hears(socket, event, n - 3_000, 60_000);
    };
    const begun = Date.now();
    const out = (async () => {
      for (let n = 0; n < COUNT; n += 100) {
        const commands = Array.from({ length: 100 }, (_, at) => ({ publish: { to: 'room:1', event: 'from oyez', data: n + at } }));
        const answer = await a.api('/api/v1/batch', { body: { commands } });
        assert.equal(answer.status, 200, answer.text);
        await keepUp(n);
      }
    })();
    for (let n = 0; n < COUNT; n += 1) {
      io.to('room:1').emit('from node', n);
      if (n % 100 === 99) await keepUp(n);
    }
    await out;
    for (const socket of sockets) {
      for (const event of ['from oyez', 'from node']) await hears(socket, event, COUNT, 60_000);
    }
    t.diagnostic(`${COUNT} each way to 3 clients in ${Date.now() - begun} ms`);
    await fence(all, sockets);
    for (const socket of sockets) {
      for (const event of ['from oyez', 'from node']) assert.deepEqual(told(socket, event).map(([n]) => n?.payload ?? n?.data ?? n), expect, event);
    }
  });
}

const pack = (...bytes) => Buffer.from(bytes.flat());
const HOSTILE = [
  Buffer.from(''), Buffer.from('{'), Buffer.from('null'), Buffer.from('[]'), Buffer.from('{}'), Buffer.from('not json'), pack(0xc1), pack(0x93, 0xc0, 0xc0),
  pack(0xdd, 0xff, 0xff, 0xff, 0xff), pack(0xdf, 0xff, 0xff, 0xff, 0xff), pack(0xc6, 0xff, 0xff, 0xff, 0xff), pack(Array(100_000).fill(0x91)), Buffer.from('['.repeat(100_000)),
  Buffer.from(`{"a":${'{"a":'.repeat(50_000)}`), Buffer.from('{"type":99,"requestId":"x","uid":"x"}'), Buffer.from('{"type":5,"requestId":"x","uid":"x"}'), Buffer.from('{"type":-1}'),
  Buffer.from('{"type":7,"requestId":"x","uid":"x","packet":null,"opts":{}}'), Buffer.from('{"type":2,"opts":{"rooms":["*"],"except":[]},"rooms":["*","*@one","\\u0000"]}'),
  Buffer.from('{"type":4,"opts":{"rooms":["*"],"except":[]},"close":true}'), Buffer.from(`{"type":6,"uid":"x","data":["${'x'.repeat(1 << 20)}"]}`), Buffer.alloc(20 << 20, 0x20),
];

const STILL = { type: 3, data: { packet: { type: 2, data: ['still', 1] }, opts: { rooms: [], except: [], flags: {} } }, uid: 'x', nsp: '/' };

/** Where words are heard by each adapter: ways to say some, and a way to say what is understood. */
const PLACES = {
  classic: (client, id) => ({
    ways: ['socket.io#/#', 'socket.io#/#room:1#', `socket.io#/#${id}#`, 'socket.io-request#/#', 'socket.io-response#/#', 'socket.io#/#*#'].map((channel) => (words) => client.publish(channel, words)),
    still: () => new Emitter(client).emit('still', 1),
  }),
  sharded: (client) => ({
    ways: ['socket.io#/#', 'socket.io#/#room:1#'].map((channel) => (words) => client.spublish(channel, words)),
    still: () => client.spublish('socket.io#/#', JSON.stringify(STILL)),
  }),
  streams: (client) => ({
    ways: [
      (words) => client.publish('socket.io#/#', words),
      (words) => client.xadd('socket.io', '*', 'uid', 'x', 'nsp', '/', 'type', '3', 'data', words),
      (words) => client.xadd('socket.io', '*', 'nsp', '/', words, words),
      (words) => client.xadd('socket.io', '*', 'type', words, 'nsp', '/', 'data', '{}'),
    ],
    still: () => client.xadd('socket.io', '*', 'uid', 'x', 'nsp', '/', 'type', '3', 'data', JSON.stringify(STILL.data)),
  }),
};

for (const adapter of Object.keys(ADAPTERS)) {
  test(`${adapter}: hostile words wherever it listens harm nobody`, { timeout: 120_000 }, async (t) => {
    const engine = await redis(t);
    await engine.start();
    const a = await serve(CONFIG, { args: ['--broker', engine.url, '--store', 'memory', '--cluster', adapter] });
    t.after(() => a.child.exitCode ?? a.child.signalCode ?? a.stop());
    await until(async () => (await a.api('/readyz')).status === 200, 'it is ready');
    const one = await enter(t, a, 'one', ['1']);
    const client = new Redis(engine.url);
    t.after(() => client.disconnect());
    const { ways, still } = PLACES[adapter](client, one.id);
    for (const [n, way] of ways.entries()) {
      for (const words of HOSTILE) await way(words);
      await still();
      await hears(one, 'still', n + 1);
    }
    await a.publish('room:1', 'here', 1);
    await hears(one, 'here');
    assert.ok(await figure(a, 'oyez_neighbours_unread') >= 10);
    assert.equal(await figure(a, 'oyez_neighbours_lost'), 0);
    assert.ok(one.connected);
  });
}

test('servers of old are answered, and who is not there is not answered for', async (t) => {
  const { engine, a } = await cluster(t);
  const one = await enter(t, a, 'one', ['1']);
  const { id } = one;
  const [spy, client] = [new Redis(engine.url), new Redis(engine.url)];
  t.after(() => { spy.disconnect(); client.disconnect(); });
  const answers = [];
  spy.on('message', (_, words) => answers.push(JSON.parse(words)));
  await spy.subscribe('socket.io-response#/#');
  const ask = (request) => client.publish('socket.io-request#/#', JSON.stringify(request));
  await ask({ requestId: 'nobody', type: 2, sid: 'AAAAAAAAAAAAAAAAAAAA', room: 'room:7' });
  await ask({ requestId: 'join', type: 2, sid: id, room: 'room:7' });
  await until(() => answers.some(({ requestId }) => requestId === 'join'), 'it has joined');
  await ask({ requestId: 'ids', type: 0, rooms: ['room:7'] });
  await until(() => answers.filter(({ requestId }) => requestId === 'ids').length === 3, 'all servers answer');
  await ask({ requestId: 'leave', type: 3, sid: id, room: 'room:7' });
  await until(() => answers.some(({ requestId }) => requestId === 'leave'), 'it has left');
  const gone = next(one, 'disconnect');
  await ask({ requestId: 'end', type: 4, sid: id, close: true });
  await gone;
  await until(() => answers.some(({ requestId }) => requestId === 'end'), 'it is gone');
  assert.deepEqual(answers.filter(({ requestId }) => requestId === 'ids').flatMap(({ sockets }) => sockets), [id]);
  assert.deepEqual(answers.filter(({ requestId }) => requestId !== 'ids'), [{ requestId: 'join' }, { requestId: 'leave' }, { requestId: 'end' }]);
});

test('a server that never answers is not waited for, and counted', { timeout: 15_000 }, async (t) => {
  const { engine, a, node } = await cluster(t);
  const one = await enter(t, a, 'one', ['1']);
  const own = await enter(t, node, 'own', ['1']);
  for (const socket of [one, own]) socket.on('ask', (_, answer) => answer(socket.id));
  const silent = new Redis(engine.url);
  t.after(() => silent.disconnect());
  await silent.subscribe('socket.io-request#/#');
  const { json } = await a.api('/api/v1/connections?channel=room:1');
  assert.deepEqual(json.connections.map(({ id }) => id).sort(), [one.id, own.id].sort());
  const asked = await a.api('/api/v1/publish', { body: { to: 'room:1', event: 'ask', data: 1, ack: { timeout_ms: 20_000 } } });
  assert.deepEqual([asked.json.reached, asked.json.answers.flat().sort()], [2, [one.id, own.id].sort()]);
  assert.equal(await figure(a, 'oyez_neighbours_unanswered'), 2);
  assert.match(a.logs.join('\n'), new RegExp(`neighbours_silent.*"answered":1,"of":2,"among":"${node.io.of('/').adapter.uid}"`));
});

test('Oyez publishes nothing where nobody of another make listens', async (t) => {
  const engine = await redis(t);
  await engine.start();
  const [a, b] = await Promise.all([0, 1].map(() => serve(CONFIG, { args: ['--broker', engine.url, '--store', 'memory'] })));
  t.after(() => Promise.all([a, b].map((each) => each.stop())));
  await until(async () => (await figure(a, 'oyez_cluster_others')) === 1 && (await a.api('/readyz')).status === 200, 'they know each other');
  const heard = [];
  const spy = new Redis(engine.url);
  t.after(() => spy.disconnect());
  await spy.psubscribe('*');
  spy.on('pmessage', (_, channel) => heard.push(channel));
  const two = await enter(t, b, 'two', ['1']);
  for (let n = 0; n < 10; n += 1) await a.publish('room:1', 'one', n);
  await hears(two, 'one', 10);
  await until(() => heard.some((channel) => channel.startsWith('oyez#')), 'they speak among themselves');
  assert.deepEqual(heard.filter((channel) => channel.startsWith('socket.io')), []);
});

test('a Redis that restarts: heard again on either side', async (t) => {
  const all = await cluster(t);
  const { a, b, node, io, engine } = all;
  const sockets = [await enter(t, a, 'one', ['1']), await enter(t, b, 'two', ['1']), await enter(t, node, 'own', ['1'])];
  await engine.stop();
  await until(async () => (await a.api('/readyz')).status === 503, 'it is red');
  await engine.start();
  const begun = Date.now();
  for (const each of [a, b]) await until(async () => (await each.api('/readyz')).status === 200, 'it is green');
  t.diagnostic(`subscribed again ${Date.now() - begun} ms after the start of Redis`);
  await until(async () => (await figure(a, 'oyez_neighbours')) === 1 && (await figure(b, 'oyez_neighbours')) === 1, 'they know of each other again');
  io.to('room:1').emit('again', 1);
  await a.publish('room:1', 'again', 2);
  for (const socket of sockets) await hears(socket, 'again', 2);
  await engine.ask('CLIENT', 'KILL', 'TYPE', 'pubsub');
  await until(() => { io.to('room:1').emit('killed', 1); return sockets.every((socket) => told(socket, 'killed').length); }, 'they are subscribed again', 3_000);
});

for (const adapter of Object.keys(ADAPTERS)) {
  test(`${adapter}: a Redis that stands still does not hold up what is said on Oyez for its own clients`, async (t) => {
    const { a, node, engine } = await cluster(t, adapter);
    const [own, theirs] = [await enter(t, a, 'own', ['1']), await enter(t, node, 'theirs', ['1'])];
    const lost = await figure(a, 'oyez_neighbours_lost');
    await engine.standstill();
    // Several times as many as may be on their way at once.
    for (let n = 0; n < 300; n += 1) await a.publish('room:1', 'still', n);
    await hears(own, 'still', 300);
    assert.equal(await figure(a, 'oyez_neighbours_lost'), lost, 'before anybody has noticed');
    engine.goOn();
    await until(async () => { await a.publish('room:1', 'again', 0); return told(theirs, 'again').length; }, 'they hear again');
    const [here, there] = [own, theirs].map((socket) => told(socket, 'still').map(([n]) => n));
    assert.deepEqual(here, Array.from({ length: 300 }, (_, n) => n));
    assert.deepEqual(there, here.filter((n) => there.includes(n)), 'each once, in order');
  });
}
