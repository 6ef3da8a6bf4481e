// Who is thrown out for its own fault again and again is let in slowly: its handshakes wait a second, by whichever way they
// come; few wait at once, and others are not delayed. What is held against an address is what clients did, not what befell
// them.
import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { WebSocket } from 'ws';
import { connect, connected, token } from './harness.mjs';
import { serving } from './stage.mjs';
import { eventually } from './waiting.mjs';

const HERE = '127.0.0.1';
const ELSEWHERE = '127.0.0.2';
const FORGIVEN = 3;
/** More than are forgotten while a test runs. */
const MANY = 30;
const WAITING = 16;
/** What a handshake waits, but for the rounding of clocks. */
const DELAY_MS = 990;
const WEBSOCKET = '/socket.io/?EIO=4&transport=websocket';
const POLLING = '/socket.io/?EIO=4&transport=polling';

const config = ({ server = '', socketio = '' } = {}) => `
[server]
offences = ${FORGIVEN}
${server}
[key.backend]
secret = { env = "OYEZ_API_KEY" }
[app.desk]
origins = "*"
[app.desk.socketio]
${socketio}
[app.desk.websocket]
[app.desk.auth]
from = ["auth.token", "query.token"]
[app.desk.auth.jwt]
algorithms = ["HS256"]
secret = { env = "JWT_SECRET" }
[app.desk.identity]
user = "claims.sub"
`;

/** A websocket from `from`, opened: how it ends, and how long it took to open. */
async function open(server, { path = WEBSOCKET, from = HERE, headers = {} } = {}) {
  const begun = performance.now();
  const socket = new WebSocket(server.ws + path, { localAddress: from, headers });
  const ended = new Promise((resolve) => { socket.on('close', (code, reason) => resolve(String(reason) || code)); });
  await new Promise((resolve, reject) => {
    socket.on('open', resolve);
    socket.on('error', reject);
    socket.on('unexpected-response', (_, { statusCode: status, headers: got }) => { socket.terminate(); reject(Object.assign(new Error(String(status)), { status, headers: got, took: performance.now() - begun })); });
  });
  return { socket, ended, took: performance.now() - begun };
}

/** Ends `times` sessions by a fault of the client, all of them begun before the first fault. */
async function offend(server, times, options) {
  const sessions = await Promise.all(Array.from({ length: times }, () => open(server, options)));
  sessions.forEach(({ socket }) => socket.send('nonsense'));
  for (const { ended } of sessions) assert.equal(await ended, 'parse_error');
}

/** How long a websocket takes to open. */
async function opens(server, options) {
  const { socket, took } = await open(server, options);
  // It says that it wants something: going without a word is an offence of its own.
  socket.send(`40${JSON.stringify({ token: token({ sub: 'u1' }) })}`);
  await new Promise((resolve) => { socket.on('message', (bytes) => { if (/^4[04]/.test(bytes)) resolve(); }); });
  socket.close();
  return took;
}

const delayed = (took) => assert.ok(took >= DELAY_MS, `it waited ${took} ms`);
const atOnce = (took) => assert.ok(took < DELAY_MS, `it waited ${took} ms`);

async function metric(server, name) {
  const { text } = await server.api('/metrics');
  return Number(text.match(new RegExp(`^${name.replace(/[{}]/g, '\\$&')} (\\d+)`, 'm'))?.[1] ?? 0);
}

describe('an address from which too many were thrown out', () => {
  test('waits a second with each handshake, whichever way it comes; nobody else does', async (t) => {
    const server = await serving(t, config());
    await offend(server, FORGIVEN);
    atOnce(await opens(server));
    await offend(server, MANY);
    const ways = {
      websocket: () => opens(server),
      'plain websocket': () => open(server, { path: `/ws?token=${token({ sub: 'u1' })}` }).then(({ socket, took }) => { socket.close(); return took; }),
      polling: async () => {
        const begun = performance.now();
        assert.equal((await fetch(server.url + POLLING)).status, 200);
        return performance.now() - begun;
      },
      'Engine.IO 3': () => open(server, { path: `/socket.io/?EIO=3&transport=websocket&token=${token({ sub: 'u1' })}` }).then(({ socket, took }) => { socket.close(); return took; }),
    };
    for (const [way, took] of await Promise.all(Object.entries(ways).map(async ([way, run]) => [way, await run()]))) {
      assert.ok(took >= DELAY_MS, `${way} waited ${took} ms`);
    }
    atOnce(await opens(server, { from: ELSEWHERE }));
    const begun = performance.now();
    await server.api('/api/v1/presence');
    atOnce(performance.now() - begun);
    assert.ok(await metric(server, 'oyez_handshakes_delayed_total') >= 4);
    assert.ok(server.logs.some((line) => line.includes('throttled') && line.includes(HERE)), server.logs.join('\n'));
  });

  test('has stock clients wait no longer than that', async (t) => {
    const server = await serving(t, config());
    await offend(server, MANY);
    for (const transports of [['websocket'], ['polling', 'websocket']]) {
      const client = connect(server.url, { transports, auth: { token: token({ sub: 'honest' }) } });
      t.after(() => client.disconnect());
      const begun = performance.now();
      await connected(client);
      delayed(performance.now() - begun);
      await eventually(() => client.io.engine.transport.name === 'websocket', 'the upgrade');
    }
  });

  test('is let in at once when it has behaved for a while', async (t) => {
    const server = await serving(t, config());
    await offend(server, FORGIVEN + 1);
    delayed(await opens(server));
    await eventually(async () => (await opens(server)) < DELAY_MS, 'forgiveness', 10_000);
  });

  test('may have only so many handshakes wait; more are refused, and the connection is closed', async (t) => {
    const server = await serving(t, config());
    await offend(server, MANY);
    const all = await Promise.allSettled(Array.from({ length: WAITING + 4 }, () => opens(server)));
    const refused = all.filter(({ status }) => status === 'rejected').map(({ reason }) => reason);
    assert.equal(refused.length, 4, refused.join());
    for (const { status, headers, took } of refused) {
      delayed(took);
      assert.equal(status, 429);
      assert.equal(headers.connection, 'close');
      assert.match(headers['retry-after'], /^[1-3]$/);
    }
    all.filter(({ status }) => status === 'fulfilled').forEach(({ value }) => delayed(value));
    assert.equal(await metric(server, 'oyez_connect_errors_total{code="too_many_connects"}'), 4);
    delayed(await opens(server));
  });

  test('gains nothing by clients that do not wait: they keep their places for the second', async (t) => {
    const server = await serving(t, config());
    await offend(server, MANY);
    const waited = () => metric(server, 'oyez_handshakes_delayed_total');
    // On a busy machine a round may take longer than a handshake waits; then it says nothing.
    await eventually(async () => {
      const [before, begun] = [await waited(), performance.now()];
      const hasty = Array.from({ length: WAITING }, () => new WebSocket(server.ws + WEBSOCKET).on('error', () => {}));
      await eventually(async () => (await waited()) >= before + WAITING, 'that they wait');
      await Promise.all(hasty.map((socket) => new Promise((resolve) => { socket.on('close', resolve); socket.terminate(); })));
      const late = performance.now() - begun > DELAY_MS / 2;
      return (await open(server).then(() => 101, ({ status }) => status)) === 429 && !late;
    }, 'a refusal', 20_000);
  });
});

test('the address is that which a trusted forwarder names', async (t) => {
  const server = await serving(t, config({ server: '[server.proxy]\ntrusted = ["127.0.0.1"]' }));
  const of = (address) => ({ headers: { 'X-Forwarded-For': address } });
  await offend(server, MANY, of('203.0.113.7'));
  delayed(await opens(server, of('203.0.113.7')));
  atOnce(await opens(server, of('203.0.113.8')));
  await offend(server, MANY, of('2001:db8::1'));
  delayed(await opens(server, of('2001:db8::2')));
  atOnce(await opens(server, of('2001:db8:0:1::1')));
});

describe('what is held against an address', () => {
  /** No session came of it. */
  const NONE = Symbol('none');
  const ended = async (server) => [...(await server.api('/metrics')).text.matchAll(/^oyez_disconnects_total\{.*\} (\d+)/gm)].reduce((sum, [, count]) => sum + Number(count), 0);
  /** Does something so often that it would be too much; then, whether a handshake has to wait. */
  const cases = {
    'a session that asked for nothing': [true, async (server) => { (await open(server)).socket.close(); }],
    'a session that joined nothing in time': [true, async (server) => { assert.equal(await (await open(server)).ended, 'connect_timeout'); }, 'connect_timeout = "50ms"'],
    'a polling session that asked for nothing': [true, async (server) => { await (await fetch(server.url + POLLING)).text(); }, 'connect_timeout = "50ms"'],
    'a message that is too big': [true, async (server) => {
      const { socket, ended } = await open(server);
      socket.send('x'.repeat(1001));
      assert.equal(await ended, 'message_too_big');
    }, 'max_payload = 1000'],
    'a token that is refused': [false, async (server) => {
      const client = connect(server.url, { transports: ['websocket'], auth: { token: 'bad' } });
      await assert.rejects(connected(client));
      client.disconnect();
    }],
    'a client that comes and goes': [false, (server) => opens(server)],
    'a session of which nobody knows': [false, async (server) => { assert.equal((await fetch(`${server.url}${POLLING}&sid=nobody`)).status, 400); return NONE; }],
  };
  for (const [what, [counts, happen, socketio]] of Object.entries(cases)) {
    test(`${what}: ${counts ? 'yes' : 'no'}`, async (t) => {
      const server = await serving(t, config({ socketio }));
      const times = FORGIVEN + 8;
      const begun = (await Promise.all(Array.from({ length: times }, () => happen(server)))).filter((session) => session !== NONE);
      await eventually(async () => (await ended(server)) === begun.length, 'the end of all sessions');
      (counts ? delayed : atOnce)(await opens(server));
    });
  }
});

test('who asks for nothing for five seconds is an offender before its session ends', async (t) => {
  const server = await serving(t, config());
  const silent = await Promise.all(Array.from({ length: FORGIVEN + 8 }, () => open(server)));
  atOnce(await opens(server));
  await eventually(async () => (await opens(server)) >= DELAY_MS, 'a handshake that waits', 15_000);
  silent.forEach(({ socket }) => { assert.equal(socket.readyState, WebSocket.OPEN); socket.terminate(); });
});

test('nothing is held against anybody where that is switched off', async (t) => {
  const server = await serving(t, config().replace(`offences = ${FORGIVEN}`, 'offences = "none"'));
  await offend(server, 30);
  atOnce(await opens(server));
});

test('a node that goes down waits for nobody', async (t) => {
  const server = await serving(t, config());
  await offend(server, MANY);
  const waiting = [...Array(4)].map(() => open(server).then(() => assert.fail('let in'), ({ status }) => status));
  await eventually(async () => (await metric(server, 'oyez_handshakes_delayed_total')) >= 4, 'that they wait', 900);
  server.child.kill('SIGTERM');
  assert.deepEqual(await Promise.all(waiting), [503, 503, 503, 503]);
  assert.equal(await server.exited, 0);
});
