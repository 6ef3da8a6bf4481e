// SIGTERM: what is told to whom, in which order, and what still arrives. Time is what some of these tests are about.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import http from 'node:http';
import net from 'node:net';
import { join } from 'node:path';
import { spawn } from 'node:child_process';
import { API_KEY, SECRET, attach, binary, connect, connected, fence, next, token } from './harness.mjs';
import { Inbox, eventually } from './waiting.mjs';
import { folder, raw, service, serving } from './stage.mjs';

const config = (shutdown, more = '') => `
[server]
shutdown = ${shutdown}
[key.backend]
secret = { env = "OYEZ_API_KEY" }
[app.desk]
origins = "*"
[app.desk.socketio]
[app.desk.websocket]
[app.desk.auth]
from = ["auth.token", "query.token"]
${more || `[app.desk.auth.jwt]
algorithms = ["HS256"]
secret = { env = "JWT_SECRET" }`}
[app.desk.limits]
connections_per_user = 1000000
connects_per_second = 1000000
connections_per_address = 1000000
[app.desk.identity]
user = "claims.sub"
[[app.desk.channel]]
name = "news"
subscribe = true
[app.desk.connect]
join = "news"
reply = { event = "hello" }
`;
const WAYS = { websocket: ['websocket'], polling: ['polling'] };
const auth = { token: token({ sub: 'u1' }) };

/** A stock client that is in its channel. */
async function enter(t, server, options = {}) {
  const socket = connect(server.url, { transports: ['websocket'], auth, ...options });
  t.after(() => socket.disconnect());
  socket.inbox = Inbox.of(socket);
  await socket.inbox.take('hello');
  return socket;
}

/** An HTTP request on a connection of its own: {status, headers, text}. */
function lone(url, { method = 'GET', body, headers = {} } = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request(url, { method, agent: false, headers: { connection: 'close', ...headers } }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part) => { text += part; });
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, text }));
    });
    request.on('error', reject);
    request.end(body);
  });
}

/** A polling client that opens a connection for each request: `get()` and `post(text)` give texts. */
async function poller(server) {
  const path = `${server.url}/socket.io/?EIO=4&transport=polling`;
  const { sid } = JSON.parse((await lone(path)).text.slice(1));
  const get = async () => (await lone(`${path}&sid=${sid}`)).text;
  const post = async (body) => (await lone(`${path}&sid=${sid}`, { method: 'POST', body })).text;
  await post(`40${JSON.stringify(auth)}`);
  let heard = '';
  while (!heard.includes('hello')) heard += await get();
  return { get, post };
}

for (const [way, transports] of Object.entries(WAYS)) {
  test(`stock clients hear that the transport closes, and come back by themselves: ${way}`, async (t) => {
    const path = join(folder(t, { 'oyez.toml': config('{ window = "100ms", deadline = "5s" }') }), 'oyez.toml');
    const start = (port) => attach(spawn(binary(), ['serve', '--config', path, '--listen', `127.0.0.1:${port}`], {
      env: { ...process.env, JWT_SECRET: SECRET, OYEZ_API_KEY: API_KEY }, stdio: ['ignore', 'pipe', 'pipe'],
    }));
    const first = await start(0);
    const socket = await enter(t, first, { transports, reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 100 });
    const left = next(socket, 'disconnect');
    assert.equal(await first.stop(), 0);
    assert.equal((await left)[0], 'transport close');
    const second = await start(first.port);
    t.after(() => second.stop());
    await socket.inbox.take('hello');
    await fence(second, socket, 'news');
  });
}

test('goodbyes are spread over the window', async (t) => {
  const server = await serving(t, config('{ window = "1s", deadline = "5s" }'));
  const sockets = await Promise.all(Array.from({ length: 200 }, () => enter(t, server)));
  const asked = performance.now();
  const ends = sockets.map((socket) => next(socket, 'disconnect').then(() => performance.now() - asked));
  assert.equal(await server.stop(), 0);
  const times = (await Promise.all(ends)).sort((a, b) => a - b);
  const within = (from, to) => times.filter((time) => time >= from && time < to).length;
  assert.ok(times[0] < 400, `the first after ${times[0]} ms`);
  assert.ok(times[199] > 700 && times[199] < 2500, `the last after ${times[199]} ms`);
  assert.ok(within(0, 500) > 30 && within(0, 500) < 170, `${within(0, 500)} of 200 in the first half second`);
});

test('what was accepted before reaches a polling client that opens a connection for each request', async (t) => {
  const server = await serving(t, config('{ window = "0s" }'));
  const client = await poller(server);
  const events = Array.from({ length: 40 }, (_, index) => `event-${index}`);
  for (const event of events) await server.publish('news', event, {});
  server.child.kill('SIGTERM');
  let heard = '';
  while (!heard.split('\x1e').includes('1')) heard += `\x1e${await client.get()}`;
  assert.deepEqual([...heard.matchAll(/event-\d+/g)].map(([event]) => event), events);
  assert.equal(await server.exited, 0);
});

test('readiness turns red first, and everything else goes on until the notice is over', async (t) => {
  const server = await serving(t, config('{ notice = "1s" }'));
  assert.equal((await lone(`${server.url}/readyz`)).status, 200);
  const old = await enter(t, server);
  server.child.kill('SIGTERM');
  await eventually(async () => (await lone(`${server.url}/readyz`)).status === 503, 'a red /readyz');
  assert.equal((await lone(`${server.url}/healthz`)).status, 200);
  const late = await enter(t, server);
  await fence(server, old, 'news');
  await fence(server, late, 'news');
  assert.equal(await server.exited, 0);
});

test('no session begins in the window, and who wants one is told to come later', async (t) => {
  const server = await serving(t, config('{ window = "1s" }'));
  const sockets = await Promise.all(Array.from({ length: 80 }, () => enter(t, server)));
  const last = Promise.all(sockets.map((socket) => next(socket, 'disconnect')));
  const first = Promise.race(sockets.map((socket) => next(socket, 'disconnect')));
  server.child.kill('SIGTERM');
  await first;
  const polling = await lone(`${server.url}/socket.io/?EIO=4&transport=polling`);
  assert.equal(polling.status, 503);
  assert.match(polling.headers['retry-after'], /^[1-3]$/);
  for (const path of [`/socket.io/?EIO=4&transport=websocket`, `/ws?token=${auth.token}`]) {
    await assert.rejects(raw(t, server.ws + path).opened, { status: 503 });
  }
  const published = await server.api('/api/v1/publish', { body: { to: 'news', event: 'still', data: {} } });
  assert.equal(published.status, 200);
  await last;
  assert.equal(await server.exited, 0);
});

test('a client whose token is still being looked into is told to come later, not cut off', async (t) => {
  let answer;
  const asked = new Promise((resolve) => { answer = resolve; });
  let release;
  const released = new Promise((resolve) => { release = resolve; });
  const issuer = await service(t, async () => { answer(); await released; return { body: { active: true, sub: 'u1' } }; });
  const server = await serving(t, config('{ window = "0s" }', `[app.desk.auth.introspection]\nurl = "${issuer.url}/introspect"\ntimeout = "5s"`));
  const socket = raw(t, `${server.ws}/ws?token=opaque`);
  await asked;
  const stock = connect(server.url, { transports: ['websocket'], auth: { token: 'other' } });
  t.after(() => stock.disconnect());
  await eventually(() => issuer.calls.length === 2, 'the second question');
  const gone = next(stock.io.engine, 'close');
  server.child.kill('SIGTERM');
  assert.equal((await gone)[0], 'transport close');
  release();
  await assert.rejects(socket.opened, { status: 503 });
  assert.equal(await server.exited, 0);
});

/** A websocket whose client reads only when it is told to. */
async function sluggish(t, server) {
  const socket = net.connect({ port: server.port, host: '127.0.0.1' });
  t.after(() => socket.destroy());
  const self = { socket, text: '' };
  socket.on('data', (bytes) => { self.text += bytes.toString('latin1'); });
  socket.on('error', () => {});
  self.ended = new Promise((resolve) => socket.on('end', resolve));
  socket.write(`GET /ws?token=${auth.token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`);
  await eventually(() => self.text.includes('hello'), 'the greeting');
  socket.pause();
  return self;
}

test('who reads slowly hears everything, and who reads nothing is not waited for', async (t) => {
  const server = await serving(t, config('{ window = "0s", deadline = "8s" }'));
  const [slow, never] = [await sluggish(t, server), await sluggish(t, server)];
  const filler = 'x'.repeat(100_000);
  // More than the kernel takes for either, less than an outbox.
  const count = 60;
  for (let index = 0; index < count; index += 1) await server.publish('news', `event-${index}`, { filler });
  const asked = performance.now();
  server.child.kill('SIGTERM');
  const reading = setInterval(() => { slow.socket.resume(); setImmediate(() => slow.socket.pause()); }, 5);
  t.after(() => clearInterval(reading));
  await slow.ended;
  const got = [...slow.text.matchAll(/event-(\d+)/g)].map(([, index]) => Number(index));
  assert.ok(got.includes(count - 1), `the last of ${got}`);
  assert.ok(slow.text.includes('\x88'), 'a close frame');
  assert.equal(await server.exited, 0);
  assert.ok(performance.now() - asked < 7_000, `${performance.now() - asked} ms`);
  assert.ok(!never.text.includes('event-59'));
});

test('the deadline holds, and a second signal does not even wait for that', async (t) => {
  const server = await serving(t, config('{ notice = "1m", window = "1m", deadline = "5m" }'));
  await enter(t, server);
  const asked = performance.now();
  server.child.kill('SIGTERM');
  await eventually(async () => (await lone(`${server.url}/readyz`)).status === 503, 'a red /readyz');
  server.child.kill('SIGTERM');
  await eventually(() => lone(`${server.url}/readyz`).then(() => false, () => true), 'a closed door', 3000).catch(() => server.child.kill('SIGTERM'));
  assert.equal(await server.exited, 0);
  assert.ok(performance.now() - asked < 6_000, `${performance.now() - asked} ms`);
});
