// seeds/000: who may connect: Auth.js v5 session tokens from auth.token, the cookie (whole or in chunks) and a bearer header.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { connect, fence, next, serve, token } from '../../../tests/e2e/harness.mjs';
import { drop, heardExactly, open, refused, unique } from '../../../tests/e2e/steps.mjs';
import { COOKIE, ORIGIN, SECURE_COOKIE, claims, options, session } from './erp.mjs';

let server;
before(async () => { server = await serve('examples/erp/oyez.toml'); });
after(() => server.stop());

const websocket = (headers) => ({ transports: ['websocket'], extraHeaders: headers });
const isUser = (socket, user) => fence(server, socket, `user:${user}`);

test('auth.token carries the JWE', async (t) => {
  const who = claims();
  const socket = await open(t, server.url, options(await session(who)));
  await isUser(socket, who.id);
  await fence(server, socket, `tenant:${who.tenantId}`);
});

test('the user is `id`, also where `sub` says otherwise', async (t) => {
  const who = claims({ sub: unique('sub') });
  const socket = await open(t, server.url, options(await session(who)));
  await isUser(socket, who.id);
  const event = unique('e');
  await server.publish(`user:${who.sub}`, event, {});
  await heardExactly(server, socket, `user:${who.id}`, event, 0);
});

for (const name of [COOKIE, SECURE_COOKIE]) {
  test(`the cookie ${name}, from the app's own origin`, async (t) => {
    const who = claims();
    const cookie = `theme=dark; ${name}=${await session(who, { salt: name })}; lang=zh`;
    const socket = await open(t, server.url, websocket({ cookie, origin: ORIGIN }));
    await isUser(socket, who.id);
  });
}

test('a long session in cookie chunks .0 .1 …', async (t) => {
  const who = claims({ permissions: Array.from({ length: 120 }, (_, n) => `module${n}:create:resource${n}`) });
  const value = await session(who);
  const chunks = value.match(/.{1,3900}/g);
  assert.ok(chunks.length > 1, 'the session is long enough to be cut');
  // A browser sends cookies in the order they were set, which need not be the order of the chunks.
  const cookie = chunks.map((chunk, n) => `${COOKIE}.${n}=${chunk}`).reverse().join('; ');
  const socket = await open(t, server.url, websocket({ cookie, origin: ORIGIN }));
  await isUser(socket, who.id);
});

test('a bearer header, url-encoded as getToken() takes it', async (t) => {
  const who = claims();
  const authorization = `Bearer ${encodeURIComponent(await session(who))}`;
  const socket = await open(t, server.url, websocket({ authorization }));
  await isUser(socket, who.id);
});

test('a cookie without an Origin is no credential', async (t) => {
  await refused(t, server.url, websocket({ cookie: `${COOKIE}=${await session(claims())}` }));
});

test('a cookie from a foreign origin does not get in', async (t) => {
  const socket = connect(server.url, websocket({ cookie: `${COOKIE}=${await session(claims())}`, origin: 'https://evil.example' }));
  t.after(() => socket.disconnect());
  await next(socket, 'connect_error');
  assert.equal(socket.connected, false);
});

test('no token', async (t) => {
  const error = await refused(t, server.url, { transports: ['websocket'] });
  assert.ok(error.message.length > 0);
});

for (const [what, make] of [
  ['another secret', () => session(claims(), { secret: 'not-the-secret-0123456789-abcdefghijklmnopqrstuvwxyz' })],
  ['a cookie name that is not ours', () => session(claims(), { salt: 'other.session-token' })],
  ['an end in the past', () => session(claims(), { maxAge: -60 })],
  ['a plain JWT signed with the same secret', () => token(claims())],
  ['one changed byte', async () => { const jwe = await session(claims()); return jwe.slice(0, -2) + (jwe.endsWith('AA') ? 'BB' : 'AA'); }],
  ['an empty string', () => ''],
  ['a number', () => 7],
  ['an object', () => ({ token: 'x' })],
]) {
  test(`a token with ${what} is refused by CONNECT_ERROR`, async (t) => {
    const bad = await make();
    const error = await refused(t, server.url, options(bad));
    if (typeof bad === 'string' && bad) assert.ok(!JSON.stringify([error.message, error.data]).includes(bad), 'the token is not repeated');
  });
}

test('a session without a user id is refused', async (t) => {
  const who = claims();
  delete who.id;
  delete who.sub;
  await refused(t, server.url, options(await session(who)));
});

test('a session that ends while connected is warned, then closed', async (t) => {
  const who = claims();
  const socket = connect(server.url, options(await session(who, { maxAge: 2 })));
  t.after(() => socket.disconnect());
  const warned = next(socket, 'token:expiring');
  const ended = drop(socket, 8000);
  await warned;
  assert.ok(socket.connected, 'warned before the end');
  await ended;
});

test('revoking a user ends the live session within a second and refuses the next', async (t) => {
  const who = claims();
  const jwe = await session(who);
  const socket = await open(t, server.url, options(jwe));
  const ended = drop(socket, 1500);
  const { status, text } = await server.api('/api/v1/revoke', { body: { user: who.id } });
  assert.equal(status, 200, text);
  await ended;
  await refused(t, server.url, options(jwe));
});

test('a publisher without the key is refused', async () => {
  for (const key of [null, 'wrong-key']) {
    const { status } = await server.api('/api/v1/publish', { body: { to: '*', event: 'order:new', data: {} }, token: key });
    assert.equal(status, 401);
  }
});
