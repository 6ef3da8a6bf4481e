// seeds/002: namespace, transports, tokens, heartbeat and the cap per user (连接管理, 心跳检测, 安全考虑).
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { connect, fence, next, serve, token } from '../../../tests/e2e/harness.mjs';
import { ask, derive, drop, heard, open, refused, until } from '../../../tests/e2e/steps.mjs';
import { CONFIG, address, claims, documented, hook, login, own, sign } from './plant.mjs';

let server;
before(async () => { server = await serve(CONFIG); });
after(() => server.stop());

test('connected {message: 连接成功, clientId}, and nothing more in it', async (t) => {
  const socket = await login(t, server);
  assert.deepEqual(heard(socket, 'connected'), [{ message: '连接成功', clientId: socket.id }]);
});

test('the document\'s client starts with polling and upgrades to websocket', async (t) => {
  const socket = connect(address(server), documented(sign(claims({ sub: 77 }))));
  t.after(() => socket.disconnect());
  const transports = [];
  const upgraded = new Promise((resolve) => {
    socket.io.on('open', () => {
      transports.push(socket.io.engine.transport.name);
      socket.io.engine.once('upgrade', ({ name }) => resolve(transports.push(name)));
    });
  });
  await next(socket, 'connected');
  await upgraded;
  assert.deepEqual(transports, ['polling', 'websocket']);
  await ask(socket, 'pong', 'ping');
});

test('a client that cannot upgrade is served by polling', async (t) => {
  const socket = await login(t, server, {}, (jwt) => ({ ...documented(jwt), transports: ['polling'] }));
  await ask(socket, 'subscribed', 'subscribe:site', { siteId: socket.site });
  await fence(server, socket, `site:${socket.site}`);
});

test('the token may come in the query (handshake.query.token)', async (t) => {
  const who = claims();
  const socket = await open(t, address(server), { query: { token: sign(who) }, transports: ['websocket'] }, 'connected');
  await fence(server, socket, `user:${who.sub}`);
});

test('a numeric sub is the user, and not one with a similar number', async (t) => {
  const socket = await login(t, server, { sub: 7 });
  await fence(server, socket, 'user:7');
  await server.publish('user:77', 'notification:new', {});
  await server.publish('user:7.0', 'notification:new', {});
  await fence(server, socket, 'user:7');
  assert.deepEqual(heard(socket, 'notification:new'), []);
});

for (const path of ['/', '/nope', '/ws2']) {
  test(`the namespace ${path} is answered by Invalid namespace`, async (t) => {
    const error = await refused(t, server.url + path, hook(sign(claims())));
    assert.equal(error.message, 'Invalid namespace');
  });
}

for (const [what, jwt] of [
  ['no token', () => undefined],
  ['an empty token', () => ''],
  ['a foreign secret', () => token(claims(), { secret: 'concrete-plant-secret-key-change-in-production' })],
  ['an expired token', () => sign(claims(), { expiresIn: -1 })],
  ['no sub', () => token({ username: 'x', userType: 'admin', siteId: 1 })],
  ['any words (the original took them)', () => 'your-jwt-token'],
]) {
  test(`${what}: CONNECT_ERROR, never connected and then dropped`, async (t) => {
    for (const options of [documented, hook]) {
      const error = await refused(t, address(server), options(jwt()));
      assert.ok(error.message.length > 0);
    }
  });
}

test('the hook connects again on the same socket once it has a better token', async (t) => {
  let jwt = 'expired';
  const socket = connect(address(server), { ...hook('x'), auth: (answer) => answer({ token: jwt }) });
  t.after(() => socket.disconnect());
  await next(socket, 'connect_error');
  jwt = sign(claims());
  const greeted = next(socket, 'connected');
  socket.connect();
  await greeted;
});

test('Token过期自动断开: announced, then closed', async (t) => {
  const socket = connect(address(server), hook(sign(claims(), { expiresIn: 2 })));
  t.after(() => socket.disconnect());
  const warned = next(socket, 'token:expiring');
  const ended = drop(socket, 8000);
  await warned;
  assert.ok(socket.connected);
  await ended;
});

test('支持Token刷新: a refreshed session outlives its first token', async (t) => {
  const who = claims();
  const [kept, lost] = [connect(address(server), hook(sign(who, { expiresIn: 3 }))), connect(address(server), hook(sign(claims(), { expiresIn: 3 })))];
  t.after(() => { kept.disconnect(); lost.disconnect(); });
  const ended = drop(lost, 8000);
  await next(kept, 'token:expiring');
  kept.emit('auth:refresh', { token: sign(who) });
  await ended;
  await ask(kept, 'pong', 'ping');
});

test('60 s: any packet keeps a connection, silence ends it', async (t) => {
  const quick = await serve(await derive(t, CONFIG, shortHeartbeat));
  t.after(() => quick.stop());
  const [alive, silent] = await Promise.all([login(t, quick), login(t, quick)]);
  const pings = setInterval(() => alive.emit('ping'), 200);
  t.after(() => clearInterval(pings));
  // A client that is gone without a word: it reads, but nothing it says gets out any more, not even a pong.
  silent.io.engine.transport.ws.send = () => {};
  await drop(silent, 10_000);
  assert.ok(alive.connected);
});

test('限制单个用户的最大连接数: eight devices, not nine, and the eight stay', async (t) => {
  const who = claims();
  const devices = await Promise.all(Array.from({ length: 8 }, () => login(t, server, who)));
  await refused(t, address(server), hook(sign(who)));
  for (const device of devices) await ask(device, 'pong', 'ping');
  devices[0].disconnect();
  const ninth = await until(() => login(t, server, who));
  await fence(server, ninth, own(ninth));
});

test('only the file\'s own origins may connect from a browser', async () => {
  const handshake = (origin) => fetch(`${server.url}/socket.io/?EIO=4&transport=polling`, { headers: { origin } });
  for (const origin of ['http://127.0.0.1:3000', 'http://localhost:3000']) {
    const response = await handshake(origin);
    assert.equal(response.status, 200);
    assert.equal(response.headers.get('access-control-allow-origin'), origin);
  }
  assert.equal((await handshake('https://evil.example')).status, 403);
});

/** The file's 60 s as one second. */
function shortHeartbeat(text) {
  return text.replace(/^(timeout\s*=\s*)"60s"/m, '$1"1s"');
}
