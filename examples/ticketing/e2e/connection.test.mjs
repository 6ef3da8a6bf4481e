// seeds/001: connecting, tokens, heartbeat, expiry, refresh and revocation (实时连接管理, 心跳检测, 安全性).
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, test } from 'node:test';
import { connect, fence, next, serve, token } from '../../../tests/e2e/harness.mjs';
import { ISO, ask, barrier, derive, drop, heard, heardExactly, open, refused, unique, until } from '../../../tests/e2e/steps.mjs';
import { CONFIG, claims, heartbeat, login, options, subscribe } from './ticketing.mjs';

let server;
before(async () => { server = await serve(CONFIG); });
after(() => server.stop());

test('connected: greeting with YanYu Cloud³, the client id and a timestamp', async (t) => {
  const socket = await login(t, server);
  const [greeting] = heard(socket, 'connected');
  assert.match(greeting.message, /YanYu Cloud³/);
  assert.equal(greeting.clientId, socket.id);
  assert.match(greeting.timestamp, ISO);
  assert.equal(heard(socket, 'connected').length, 1);
});

test('websocket comes first, polling works where it has to', async (t) => {
  const first = await login(t, server);
  assert.equal(first.io.engine.transport.name, 'websocket');
  const fallback = await login(t, server, {}, { transports: ['polling'] });
  assert.equal(fallback.io.engine.transport.name, 'polling');
  await fence(server, fallback, `user:${fallback.user}`);
});

for (const [what, jwt] of [
  ['no token', () => undefined],
  ['an empty token', () => ''],
  ['a foreign secret', () => token(claims(), { secret: 'your-secret-key' })],
  ['an expired token', () => token(claims(), { expiresIn: -1 })],
  ['no user in the token', () => token({ username: 'nobody', roles: ['admin'] })],
  ['alg none', () => `${Buffer.from('{"alg":"none","typ":"JWT"}').toString('base64url')}.${Buffer.from(JSON.stringify(claims())).toString('base64url')}.`],
  ['another algorithm', () => token(claims(), { algorithm: 'HS512' })],
  ['words that are no token', () => 'Bearer of bad news'],
]) {
  test(`${what}: connect_error that speaks of Authentication`, async (t) => {
    const error = await refused(t, server.url, options(jwt()));
    assert.match(error.message, /Authentication/);
  });
}

test('heartbeat is answered by heartbeat_ack with a timestamp', async (t) => {
  const socket = await login(t, server);
  const answer = next(socket, 'heartbeat_ack');
  heartbeat(socket);
  assert.match((await answer)[0].timestamp, ISO);
});

test('60 s without a heartbeat end the connection; neither pongs nor other events count', async (t) => {
  const quick = await serve(await derive(t, CONFIG, shortHeartbeat));
  t.after(() => quick.stop());
  const [alive, silent] = await Promise.all([login(t, quick), login(t, quick, {}, { reconnection: false })]);
  // The beating client does what the hook does, only faster; the other one talks, but never beats.
  const beats = setInterval(() => heartbeat(alive), 200);
  const talk = setInterval(() => silent.emit(...subscribe([`ticket:${unique('T')}`])), 200);
  t.after(() => { clearInterval(beats); clearInterval(talk); });
  await drop(silent, 10_000);
  assert.ok(alive.connected);
  assert.ok(heard(silent, 'subscribed').length > 0, 'it was heard, and dropped all the same');
  // A second client that starts now and dies too shows that the beating one outlives two timeouts.
  const second = await login(t, quick, {}, { reconnection: false });
  await drop(second, 10_000);
  assert.ok(alive.connected);
});

test('after a lost connection the hook comes back by itself, as who it was', async (t) => {
  const socket = await login(t, server);
  const { id } = socket;
  const back = next(socket, 'connect', 10_000);
  socket.io.engine.close();
  await back;
  assert.equal(socket.recovered, true);
  assert.equal(socket.id, id);
  await heardExactly(server, socket, `user:${socket.user}`, 'connected', 1);
});

test('a client that the server disconnects is told so, and may connect again when it wants to', async (t) => {
  const socket = await login(t, server);
  const ended = drop(socket);
  const { status, text } = await server.api('/api/v1/disconnect', { body: { user: socket.user } });
  assert.equal(status, 200, text);
  assert.equal(await ended, 'io server disconnect');
  assert.equal(socket.active, false, 'socket.io-client does not come back by itself');
  const greeted = next(socket, 'connected');
  socket.connect();
  await greeted;
});

test('a REST login token (no username, no departments) connects', async (t) => {
  const userId = unique('user');
  const socket = await open(t, server.url, options(token({ userId, email: 'z@example.com', roles: ['support'] }, { expiresIn: '15m' })), 'connected');
  await fence(server, socket, `user:${userId}`);
  assert.deepEqual((await ask(socket, 'subscribed', ...subscribe(['role:support']))).channels, ['role:support']);
  assert.equal((await ask(socket, 'subscription_error', ...subscribe(['department:tech']))).channel, 'department:tech');
});

test('a token that ends while connected is announced, then the connection is closed', async (t) => {
  const socket = connect(server.url, { ...options(token(claims(), { expiresIn: 2 })), reconnection: false });
  t.after(() => socket.disconnect());
  const warned = next(socket, 'token:expiring');
  const ended = drop(socket, 8000);
  await warned;
  assert.ok(socket.connected);
  await ended;
});

test('auth:refresh with a new token outlives the old one and takes the new rights', async (t) => {
  const socket = await login(t, server, { roles: ['support'] }, { expiresIn: 3, reconnection: false });
  await ask(socket, 'subscribed', ...subscribe(['role:support']));
  const bystander = connect(server.url, { ...options(token(claims(), { expiresIn: 3 })), reconnection: false });
  t.after(() => bystander.disconnect());
  const old = drop(bystander, 8000);
  socket.emit('auth:refresh', { token: token(claims({ userId: socket.user, roles: ['audit'] })) });
  await barrier(socket);
  await until(async () => assert.deepEqual((await ask(socket, 'subscribed', ...subscribe(['role:audit']))).channels, ['role:audit']));
  const event = unique('lost');
  await server.publish('role:support', event, {});
  await fence(server, socket, 'role:audit');
  assert.deepEqual(heard(socket, event), [], 'the channel of the lost role was left');
  await old;
  assert.ok(socket.connected, 'the refreshed session lives on');
});

test('auth:refresh with a token of somebody else changes nothing', async (t) => {
  const socket = await login(t, server);
  const other = unique('user');
  socket.emit('auth:refresh', { token: token(claims({ userId: other, roles: ['admin'] })) });
  await barrier(socket);
  assert.equal((await ask(socket, 'subscription_error', ...subscribe(['role:admin']))).channel, 'role:admin');
  assert.equal((await ask(socket, 'subscription_error', ...subscribe([`user:${other}`]))).channel, `user:${other}`);
});

test('token blacklist: revoked by the hash of a token that has no id, live and for good', async (t) => {
  const userId = unique('user');
  const [stolen, fresh] = [token(claims({ userId, username: 'old' })), token(claims({ userId, username: 'new' }))];
  const victim = await open(t, server.url, { ...options(stolen), reconnection: false }, 'connected');
  const other = await open(t, server.url, options(fresh), 'connected');
  const ended = drop(victim, 1500);
  const { status, text } = await server.api('/api/v1/revoke', { body: { token_id: `sha256:${createHash('sha256').update(stolen).digest('hex')}` } });
  assert.equal(status, 200, text);
  await ended;
  await refused(t, server.url, options(stolen));
  await fence(server, other, `user:${userId}`);
});

test('only the file\'s own origins may connect from a browser', async () => {
  const handshake = (origin) => fetch(`${server.url}/socket.io/?EIO=4&transport=polling`, { headers: { origin } });
  for (const origin of ['http://127.0.0.1:3001', 'http://localhost:3001']) {
    const response = await handshake(origin);
    assert.equal(response.status, 200);
    assert.equal(response.headers.get('access-control-allow-origin'), origin);
  }
  const foreign = await handshake('https://evil.example');
  assert.equal(foreign.status, 403);
  assert.equal((await foreign.json()).code, 4);
});

/** The file's 60 s as one second. */
function shortHeartbeat(text) {
  return text.replace(/^(timeout\s*=\s*)"60s"/m, '$1"1s"');
}
