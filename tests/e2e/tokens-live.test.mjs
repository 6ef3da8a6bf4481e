// What becomes of a live session's token: it ends, it is replaced in band, it is revoked.
import { createHash } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { connect, connected, fence, next } from './harness.mjs';
import { ask, drop, heard, open, refused, unique, until } from './steps.mjs';
import { jwt, newKey, now, raw, service, serving } from './stage.mjs';

const key = newKey('HS256');
const WAYS = { websocket: ['websocket'], polling: ['polling'] };
const suite = { undo: [], after: (undo) => suite.undo.unshift(undo) };
let backend;
let server;
/** What the backend says, by channel: true, false, or a promise of it. */
const says = new Map();

const app = (name, namespace) => `
[app.${name}]
origins = "*"
[app.${name}.socketio]
namespace = "${namespace}"
[app.${name}.websocket]
[app.${name}.auth]
from = ["auth.token", "query.token"]
[app.${name}.auth.jwt]
algorithms = ["HS256"]
secret = "${key.secret}"
issuer = "${name}"
[app.${name}.identity]
user = "claims.sub"
attributes = { sites = "claims.sites" }
[[app.${name}.channel]]
name = "user:{id}"
subscribe = "id == user.id"
[[app.${name}.channel]]
name = "site:{id}"
subscribe = "id in user.sites"
[[app.${name}.channel]]
name = "asked:{id}"
subscribe = { ask = "${backend.url}/may", cache = "0s", timeout = "5s", private = true }
[app.${name}.connect]
join = ["user:{user.id}", "site:{each(user.sites)}"]
reply = { event = "hello" }
[[app.${name}.on]]
event = "subscribe"
join = "{data.channel}"
reply = { event = "subscribed", data = "{'channel': data.channel}" }
`;

before(async () => {
  backend = await service(suite, async ({ body }) => {
    const { channel } = JSON.parse(body);
    return { body: { allow: (await says.get(channel)) ?? false } };
  });
  const text = `[key.backend]\nsecret = { env = "OYEZ_API_KEY" }\n${app('live', '/')}${app('second', '/second')}`;
  server = await serving(suite, text);
});
after(async () => { for (const undo of suite.undo) await undo(); });

const token = (claims, iss = 'live') => jwt(key, { iss, ...claims });
const ends = (claims, seconds) => token({ ...claims, exp: now() + seconds });
const enter = (t, claims, options = {}) => open(t, server.url, { auth: { token: token(claims) }, ...options }, 'hello');
const publish = (to, event) => server.publish(to, event, {}, { app: 'live' });
const heardNothing = async (socket, channel, event) => {
  await fence(server, socket, channel, { app: 'live' });
  assert.deepEqual(heard(socket, event), []);
};
/** Waits for the end and checks that it came within a second after `exp`, and not before it. */
const inTime = async (ended, exp) => {
  await ended;
  const late = Date.now() - exp * 1000;
  assert.ok(late >= -50 && late <= 1000, `closed ${late} ms after exp`);
};

describe('the end of a token', () => {
  for (const [way, transports] of Object.entries(WAYS)) {
    test(`is announced at once when less than a minute is left, and closes the session: ${way}`, async (t) => {
      const exp = now() + 2;
      const socket = connect(server.url, { transports, auth: { token: token({ sub: unique('u'), exp }) } });
      t.after(() => socket.disconnect());
      const [warning, ended] = [next(socket, 'token:expiring', 1500), drop(socket)];
      await connected(socket);
      assert.deepEqual(await warning, [{ expiresAt: exp }]);
      await inTime(ended, exp);
      const error = await refused(t, server.url, { transports, auth: { token: token({ sub: 'u', exp }) } });
      assert.equal(error.message, 'Authentication error: invalid token');
      assert.deepEqual(error.data, { code: 401, error: 'token_expired' });
    });
  }

  test('is told to whoever shows it later, and of a token that is not genuine nothing is told', async (t) => {
    const exp = now() - 60;
    const told = async (shown) => {
      const { data } = await refused(t, server.url, { auth: { token: shown } });
      const { status, json } = await raw(t, `${server.ws}/ws?token=${shown}`).opened.catch((refusal) => refusal);
      assert.deepEqual([status, json.error], [401, data.error]);
      return data;
    };
    assert.deepEqual(await told(token({ sub: 'u', exp })), { code: 401, error: 'token_expired' });
    assert.deepEqual(await told(jwt(newKey('HS256'), { sub: 'u', iss: 'live', exp })), { code: 401, error: 'invalid_token' });
    assert.deepEqual(await told(''), { code: 401, error: 'unauthorized' });
  });

  test('closes a raw WebSocket with a code that says so', async (t) => {
    const exp = now() + 2;
    const socket = await raw(t, `${server.ws}/ws?token=${token({ sub: unique('u'), exp })}`).opened;
    assert.deepEqual((await socket.heard.take('token:expiring', undefined, 1500)).data, { expiresAt: exp });
    await inTime(socket.ended, exp);
    assert.equal((await socket.ended).code, 4003);
  });

  test('is announced 60 s before', async (t) => {
    const exp = now() + 62;
    const socket = await open(t, server.url, { auth: { token: token({ sub: unique('u'), exp }) } }, 'hello');
    await next(socket, 'token:expiring');
    const left = exp - Date.now() / 1000;
    assert.ok(left <= 60.05 && left > 59, `${left} s before`);
  });

  test('ends one namespace and leaves the others', async (t) => {
    const exp = now() + 2;
    const user = unique('u');
    const one = await open(t, server.url, { auth: { token: token({ sub: user, exp }) } }, 'hello');
    const other = one.io.socket('/second', { auth: { token: token({ sub: user }, 'second') } });
    await connected(other);
    const ended = drop(one);
    await inTime(ended, exp);
    assert.equal(await ended, 'io server disconnect');
    await fence(server, other, `user:${user}`, { app: 'second' });
  });
});

describe('auth:refresh', () => {
  test('gives the session a new end; who asks with an acknowledgement gets it there too', async (t) => {
    const user = unique('u');
    const exp = now() + 2;
    const socket = await open(t, server.url, { auth: { token: token({ sub: user, exp }) } }, 'hello');
    const clock = await open(t, server.url, { auth: { token: token({ sub: unique('u'), exp }) } }, 'hello');
    const said = next(socket, 'auth:refreshed');
    const later = now() + 3600;
    assert.deepEqual(await socket.emitWithAck('auth:refresh', { token: token({ sub: user, exp: later }) }), { expiresAt: later });
    assert.deepEqual(await said, [{ expiresAt: later }]);
    await drop(clock);
    await fence(server, socket, `user:${user}`, { app: 'live' });
    assert.equal(heard(socket, 'token:expiring').length, 1);
    const bare = next(socket, 'auth:refreshed');
    socket.emit('auth:refresh', token({ sub: user })); // the token itself, nobody waits for an answer
    await bare;
  });

  test('is refused for another user, a bad, an ended or a missing token; the session goes on as it was', async (t) => {
    const user = unique('u');
    const socket = await enter(t, { sub: user, sites: ['1'] });
    const bad = [
      [{ token: token({ sub: unique('u'), sites: ['9'] }) }, 401, 'a refresh must be of the same user'],
      [{ token: jwt(newKey('HS256'), { sub: user, iss: 'live' }) }, 401, 'Authentication error: invalid token', 'invalid_token'],
      [{ token: token({ sub: user }, 'second') }, 401, 'Authentication error: invalid token', 'invalid_token'],
      [{ token: ends({ sub: user }, -1) }, 401, 'Authentication error: invalid token', 'token_expired'],
      [{ token: '' }, 401, 'Authentication error: no token', 'unauthorized'],
      [{ tokn: 'x' }, 400, undefined],
      [undefined, 400, undefined],
    ];
    for (const [data, code, message, error] of bad) {
      const said = next(socket, 'error');
      const ack = await socket.timeout(3000).emitWithAck('auth:refresh', data);
      assert.equal(ack.code, code, JSON.stringify(ack));
      if (message) assert.deepEqual([ack.message, ack.error], [message, error]);
      assert.deepEqual((await said)[0], ack);
    }
    await fence(server, socket, 'site:1', { app: 'live' });
    await publish('site:9', 'not for you');
    await heardNothing(socket, `user:${user}`, 'not for you');
  });

  test('counts at once: lost channels are left, the token\'s own are joined', async (t) => {
    const [user, a, b, c] = ['u', 'a', 'b', 'c'].map(unique);
    const socket = await enter(t, { sub: user, sites: [a, b] });
    await socket.emitWithAck('auth:refresh', { token: token({ sub: user, sites: [b, c] }) });
    await publish(`site:${a}`, 'lost');
    await publish(`site:${c}`, 'gained');
    await heardNothing(socket, `site:${b}`, 'lost');
    assert.equal(heard(socket, 'gained').length, 1);
    const denied = next(socket, 'error');
    socket.emit('subscribe', { channel: `site:${a}` });
    assert.equal((await denied)[0].code, 403);
    await socket.emitWithAck('auth:refresh', { token: token({ sub: user, sites: [] }) });
    await publish([`site:${b}`, `site:${c}`], 'lost');
    await heardNothing(socket, `user:${user}`, 'lost');
  });

  test('asks the backend again, and does not wait for it with what the rules decide', async (t) => {
    const [user, site, kept, gone] = ['u', 's', 'k', 'g'].map(unique);
    says.set(`asked:${kept}`, true).set(`asked:${gone}`, true);
    const socket = await enter(t, { sub: user, sites: [site] });
    for (const channel of [`asked:${kept}`, `asked:${gone}`]) {
      const done = next(socket, 'subscribed');
      socket.emit('subscribe', { channel });
      await done;
    }
    let answer;
    says.set(`asked:${gone}`, new Promise((resolve) => { answer = resolve; }));
    const before = backend.calls.length;
    const refreshed = socket.emitWithAck('auth:refresh', { token: token({ sub: user, sites: [] }) });
    await until(() => assert.equal(backend.calls.length, before + 2)); // the backend thinks
    await publish(`site:${site}`, 'lost');
    await heardNothing(socket, `user:${user}`, 'lost');
    answer(false);
    await refreshed;
    await publish(`asked:${gone}`, 'lost');
    await heardNothing(socket, `asked:${kept}`, 'lost');
  });

  test('over raw JSON: the token in the frame or in its content', async (t) => {
    const [user, a, b] = ['u', 'a', 'b'].map(unique);
    const socket = await raw(t, `${server.ws}/ws?token=${token({ sub: user, sites: [a] })}`).opened;
    await socket.heard.take('hello');
    const exp = now() + 1000;
    socket.say({ type: 'auth:refresh', token: token({ sub: user, exp, sites: [b] }) });
    assert.deepEqual((await socket.heard.take('auth:refreshed')).data, { expiresAt: exp });
    await publish(`site:${a}`, 'lost');
    await publish(`site:${b}`, 'gained');
    await socket.heard.take('gained');
    assert.deepEqual(socket.heard.all('lost'), []);
    socket.say({ type: 'auth:refresh', content: { token: token({ sub: user, exp: exp + 1 }) } });
    assert.deepEqual((await socket.heard.take('auth:refreshed')).data, { expiresAt: exp + 1 });
    socket.say({ type: 'auth:refresh', token: token({ sub: unique('u') }) });
    assert.equal((await socket.heard.take('error')).data.code, 401);
    socket.say({ type: 'auth:refresh' });
    assert.equal((await socket.heard.take('error')).data.code, 400);
  });
});

describe('revocation', () => {
  const revoke = async (body) => {
    const answer = await server.api('/api/v1/revoke', { body: { app: 'live', ...body } });
    assert.equal(answer.status, 200, answer.text);
    return Date.now();
  };
  const hash = (text) => `sha256:${createHash('sha256').update(text).digest('hex')}`;
  // Each: the claims of the victim, what revokes them, and claims of the same user that stay good (or none do).
  const KINDS = {
    'by token id': [{ jti: 'j1' }, () => ({ token_id: 'j1' }), { jti: 'j2' }],
    'by the hash of a token without id': [{}, (_, text) => ({ token_id: hash(text) }), { n: 2 }],
    'by the hash, in capitals': [{}, (_, text) => ({ token_id: hash(text).toUpperCase().replace('SHA', 'sha') }), { n: 2 }],
    'by the token itself': [{ jti: 'j3' }, (_, text) => ({ token: text }), { jti: 'j4' }],
    'by user': [{}, (user) => ({ user }), undefined],
    'by user and date': [{ iat: now() - 100 }, (user) => ({ user, issued_before: now() - 50 }), { iat: now() - 10 }],
  };
  for (const [kind, [claims, what, good]] of Object.entries(KINDS)) {
    test(`${kind} ends live sessions within a second, and only those`, async (t) => {
      const user = unique('u');
      const text = token({ sub: user, ...claims });
      const victims = await Promise.all(Object.values(WAYS).map((transports) => open(t, server.url, { transports, auth: { token: text } }, 'hello')));
      const plain = await raw(t, `${server.ws}/ws?token=${text}`).opened;
      await plain.heard.take('hello');
      const stranger = unique('u');
      const others = [[stranger, await enter(t, { sub: stranger, ...claims, jti: unique('j'), iat: now() - 100 })]];
      if (good) others.push([user, await enter(t, { sub: user, ...good })]);
      const ended = Promise.all([...victims.map((socket) => drop(socket)), plain.ended]);
      const at = await revoke(what(user, text));
      await ended;
      assert.ok(Date.now() - at < 1000, `${Date.now() - at} ms`);
      assert.equal((await plain.ended).code, 4500);
      for (const [name, socket] of others) await fence(server, socket, `user:${name}`, { app: 'live' });
      assert.equal((await refused(t, server.url, { auth: { token: text } })).message, 'Authentication error: invalid token');
      const again = await raw(t, `${server.ws}/ws?token=${text}`).opened.catch((refusal) => refusal.status);
      assert.equal(again, 401);
      const survivor = others.at(-1)[1];
      if (good) assert.equal((await survivor.emitWithAck('auth:refresh', { token: text })).code, 401, 'no way back in band');
    });
  }

  test('follows the token that counts now, not the one that was refreshed away', async (t) => {
    const [user, first, second] = ['u', 'j', 'j'].map(unique);
    const socket = await enter(t, { sub: user, jti: first });
    await socket.emitWithAck('auth:refresh', { token: token({ sub: user, jti: second }) });
    await revoke({ token_id: first });
    await fence(server, socket, `user:${user}`, { app: 'live' });
    const ended = drop(socket);
    await revoke({ token_id: second });
    await ended;
  });

  test('stays within its app, and within its namespace of a connection', async (t) => {
    const user = unique('u');
    const one = await enter(t, { sub: user });
    const other = one.io.socket('/second', { auth: { token: token({ sub: user }, 'second') } });
    await connected(other);
    const ended = drop(one);
    await revoke({ user });
    assert.equal(await ended, 'io server disconnect');
    await fence(server, other, `user:${user}`, { app: 'second' });
  });

  test('while the backend is being asked: what it allows then joins nothing', async (t) => {
    const [user, channel] = [unique('u'), `asked:${unique('c')}`];
    let answer;
    says.set(channel, new Promise((resolve) => { answer = resolve; }));
    const one = await enter(t, { sub: user });
    const other = one.io.socket('/second', { auth: { token: token({ sub: user }, 'second') } });
    await connected(other);
    one.emit('subscribe', { channel });
    await until(() => assert.ok(backend.calls.some(({ body }) => body.includes(channel))));
    const ended = drop(one);
    await revoke({ user });
    await ended;
    answer(true);
    // The connection is read again only when the answer has been dealt with.
    await ask(other, 'subscribed', 'subscribe', { channel: `user:${user}` });
    const reached = await server.publish(channel, 'for nobody', {}, { app: 'live', ack: { timeout_ms: 500 } });
    assert.equal(reached.reached, 0);
  });

  test('of what cannot be is refused', async () => {
    for (const body of [{}, { user: '' }, { user: 'u', token_id: 'x' }, { token_id: 'x', until: now() - 1 }, { user: 7 }, { users: 'u' }]) {
      const answer = await server.api('/api/v1/revoke', { body: { app: 'live', ...body } });
      assert.equal(answer.status, 400, `${JSON.stringify(body)}: ${answer.text}`);
    }
  });

  // Last, as it ends everybody who came before.
  test('of everything that was issued before a moment', async (t) => {
    const [old, young] = [unique('u'), unique('u')];
    const gone = await enter(t, { sub: old, iat: now() - 1000 });
    const undated = await enter(t, { sub: unique('u'), iat: undefined });
    const stays = await enter(t, { sub: young, iat: now() - 10 });
    const ended = Promise.all([drop(gone), drop(undated)]);
    await revoke({ issued_before: now() - 500 });
    await ended;
    await fence(server, stays, `user:${young}`, { app: 'live' });
  });
});
