// Several apps on one listener: which one a client belongs to, and that nothing crosses from one to another.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { API_KEY, connect, connected, fence, next } from './harness.mjs';
import { heard, open, refused, unique, until } from './steps.mjs';
import { jwt, newKey, raw, run, folder, serving } from './stage.mjs';

const NAMES = ['red', 'blue', 'green', 'grey'];
const keys = Object.fromEntries(NAMES.map((name) => [name, newKey('HS256')]));
const token = (app, claims = {}) => jwt(keys[app], { sub: 'u1', ...claims });
const suite = { undo: [], after: (undo) => suite.undo.unshift(undo) };
let server;

const app = (name, transports, more = '') => `
[app.${name}]
origins = ["https://pages.example"]
${transports}
[app.${name}.auth]
from = ["auth.token", "query.token"]
[app.${name}.auth.jwt]
algorithms = ["HS256"]
secret = "${keys[name].secret}"
[app.${name}.auth.messages]
invalid = "no token of ${name}"
[app.${name}.identity]
user = "claims.sub"
[[app.${name}.channel]]
name = "room:{id}"
subscribe = true
publish = true
[app.${name}.connect]
join = "room:1"
reply = { event = "hello", data = "{'app': '${name}'}" }
[[app.${name}.on]]
event = "say"
publish = { to = "*", event = "said", data = "{'app': '${name}'}" }
${more}`;
const key = (name, rest) => `[key.${name}]\nsecret = "the-api-key-for-e2e-0123456789-of-${name}"\n${rest}\n`;

// red and blue share path and namespace; green has its own namespace there; grey speaks raw JSON on `/ws`, while
// red and its like are also at `/ws/`.
const SHARED = (name, namespace = '/') => app(name, `[app.${name}.socketio]\npath = ["/socket.io/", "/ws/"]\nnamespace = "${namespace}"`);
const config = (...apps) => `
[key.backend]
secret = { env = "OYEZ_API_KEY" }
${key('red', 'apps = ["red"]')}
${key('reader', 'apps = ["red", "blue"]\nrights = ["read"]')}
${apps.join('\n')}`;
const GREY = app('grey', '[app.grey.websocket]\npath = "/ws"');

before(async () => { server = await serving(suite, config(SHARED('red'), SHARED('blue'), SHARED('green', '/green'), GREY)); });
after(async () => { for (const undo of suite.undo) await undo(); });

/** Connects with a token of `name` and checks which app greets. */
async function enter(t, name, { path, namespace = '', ...options } = {}) {
  const socket = await open(t, server.url + namespace, { path, auth: { token: token(name) }, ...options }, 'hello');
  assert.deepEqual(heard(socket, 'hello'), [{ app: name }]);
  return socket;
}

describe('which app a client belongs to', () => {
  test('says the verifier that accepts its token, where path and namespace are the same', async (t) => {
    for (const path of ['/socket.io/', '/ws/']) {
      for (const name of ['red', 'blue']) await enter(t, name, { path });
    }
    const logged = server.logs.filter((line) => line.includes('connect_refused'));
    assert.deepEqual(logged, [], 'that red does not know a client of blue is no refusal');
    assert.match((await refused(t, server.url, { auth: { token: token('green') } })).message, /no token of (red|blue)/);
    await until(() => assert.equal(server.logs.filter((line) => line.includes('connect_refused')).length, 2));
  });

  test('says the namespace, also of one connection', async (t) => {
    const red = await enter(t, 'red');
    const green = red.io.socket('/green', { auth: { token: token('green') } });
    const hello = next(green, 'hello');
    await connected(green);
    assert.deepEqual(await hello, [{ app: 'green' }]);
    assert.equal((await refused(t, `${server.url}/green`, { auth: { token: token('red') } })).message, 'no token of green');
    assert.equal((await refused(t, `${server.url}/other`, { auth: { token: token('red') } })).message, 'Invalid namespace');
  });

  test('says the path: raw JSON on /ws beside Socket.IO on /ws/', async (t) => {
    const plain = async (path, name) => {
      const socket = await raw(t, `${server.ws}${path}token=${token(name)}`).opened;
      return (await socket.heard.take('hello')).data;
    };
    assert.deepEqual(await plain('/ws?', 'grey'), { app: 'grey' });
    assert.equal((await raw(t, `${server.ws}/ws?token=${token('red')}`).opened.catch((refusal) => refusal.json.message)), 'no token of grey');
    for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
      await enter(t, 'red', { path: '/ws/', transports });
      await enter(t, 'blue', { path: '/ws', addTrailingSlash: false, transports });
    }
    const gone = await server.api('/elsewhere/?EIO=4&transport=polling');
    assert.equal(gone.status, 404);
  });

  test('says the host: one path served differently under two names, and a third app under any other', async (t) => {
    const hosted = (name, host, more = '') => app(name, `${host}\n[app.${name}.socketio]\npath = "/socket.io/"\n${more}`);
    const file = config(
      hosted('grey', '', 'ping_interval = "20s"'),
      hosted('red', 'host = "red.example"'),
      hosted('blue', 'host = ["Blue.example", "b.example"]', 'ping_interval = "10s"'),
    );
    const other = await serving(t, file);
    const transports = ['websocket']; // only there the stock client lets a test choose the host
    const hosts = [['red', 'red.example'], ['blue', 'blue.example:8443'], ['blue', 'b.example'], ['grey', 'else.example']];
    for (const [name, host] of hosts) {
      const socket = await open(t, other.url, { auth: { token: token(name) }, extraHeaders: { host }, transports }, 'hello');
      assert.deepEqual(heard(socket, 'hello'), [{ app: name }], host);
    }
    await refused(t, other.url, { auth: { token: token('red') }, extraHeaders: { host: 'blue.example' }, transports });
    const [response] = await once(http.get(`${other.url}/socket.io/?EIO=4&transport=polling`, { headers: { host: 'B.EXAMPLE' } }), 'response');
    assert.match(Buffer.concat(await response.toArray()).toString(), /"pingInterval":10000/);
  });

  test('does not depend on the order of the file', async (t) => {
    const other = await serving(t, config(GREY, SHARED('green', '/green'), SHARED('blue'), SHARED('red')));
    const socket = await raw(t, `${other.ws}/ws?token=${token('grey')}`).opened;
    assert.deepEqual((await socket.heard.take('hello')).data, { app: 'grey' });
    for (const name of ['red', 'blue']) {
      const stock = await open(t, other.url, { path: '/ws/', auth: { token: token(name) } }, 'hello');
      assert.deepEqual(heard(stock, 'hello'), [{ app: name }]);
    }
  });

  test('is the one that accepts the token, also when that has no room', async (t) => {
    const twin = (name, limit) => SHARED(name).replaceAll(keys.blue.secret, keys.red.secret) + `[app.${name}.limits]\nconnections_per_user = ${limit}\n`;
    const other = await serving(t, config(twin('red', 1), twin('blue', 10)));
    await open(t, other.url, { auth: { token: token('red') } }, 'hello');
    assert.match((await refused(t, other.url, { auth: { token: token('red') } })).message, /Too many connections of this user/);
  });

  test('must be clear: apps that share a path must agree on how it is served', async (t) => {
    const text = config(SHARED('red'), SHARED('blue').replace('https://pages.example', 'https://other.example'));
    const file = `${folder(t, { 'oyez.toml': text })}/oyez.toml`;
    const { code, stderr } = await run(['check', file], { OYEZ_API_KEY: API_KEY });
    assert.equal(code, 1);
    assert.match(stderr, /oyez\.toml:\d+:1: the apps `red` \(line \d+\) and `blue` share the path \S+, but not `origins`/);
  });
});

describe('nothing crosses', () => {
  /** One client of each app, all the same user in a channel of the same name. */
  const everybody = async (t) => ({
    red: await enter(t, 'red'),
    blue: await enter(t, 'blue'),
    green: await enter(t, 'green', { namespace: '/green' }),
  });
  const heardBy = async (sockets, event) => {
    for (const [name, socket] of Object.entries(sockets)) await fence(server, socket, 'room:1', { app: name });
    return Object.keys(sockets).filter((name) => heard(sockets[name], event).length > 0);
  };

  test('publications to a channel, a user, everybody, or a session', async (t) => {
    const sockets = await everybody(t);
    for (const to of ['room:1', '*', ['room:1', '*'], sockets.blue.id]) {
      const event = unique('news');
      await server.publish(to, event, {}, { app: 'blue' });
      assert.deepEqual(await heardBy(sockets, event), ['blue'], JSON.stringify(to));
    }
    const event = unique('stray');
    await server.publish(sockets.red.id, event, {}, { app: 'blue' });
    assert.deepEqual(await heardBy(sockets, event), [], 'a session of another app is nobody here');
  });

  test('what clients say to everybody', async (t) => {
    const sockets = await everybody(t);
    const plain = await raw(t, `${server.ws}/ws?token=${token('grey')}`).opened;
    await plain.heard.take('hello');
    const said = next(sockets.red, 'said');
    sockets.red.emit('say');
    assert.deepEqual(await said, [{ app: 'red' }]);
    assert.deepEqual(await heardBy(sockets, 'said'), ['red']);
    await server.publish('*', 'last', {}, { app: 'grey' });
    await plain.heard.take('last');
    assert.deepEqual(plain.heard.all('said'), []);
  });

  test('counts, presence, connections, disconnecting, revoking', async (t) => {
    const sockets = await everybody(t);
    for (const name of NAMES) {
      const { json } = await server.api(`/api/v1/connections?app=${name}`);
      const mine = json.connections.map(({ id }) => id);
      for (const [other, socket] of Object.entries(sockets)) assert.equal(mine.includes(socket.id), other === name, `${other} in ${name}`);
    }
    const ended = next(sockets.blue, 'disconnect');
    assert.equal((await server.api('/api/v1/revoke', { body: { app: 'blue', user: 'u1' } })).status, 200);
    await ended;
    const { red, green } = sockets;
    const event = unique('still');
    await server.publish('*', event, {}, { app: 'red' });
    assert.deepEqual(await heardBy({ red, green }, event), ['red']);
    assert.match((await refused(t, server.url, { auth: { token: token('blue') } })).message, /no token of/);
  });
});

describe('an API key', () => {
  const call = (token, path, body, method) => server.api(path, { token, body, method });

  test('of one app needs not name it, and cannot touch another', async () => {
    const own = await call('the-api-key-for-e2e-0123456789-of-red', '/api/v1/publish', { to: 'room:1', event: 'e' });
    assert.equal(own.status, 200, own.text);
    const bodies = {
      '/api/v1/publish': { to: 'room:1', event: 'e' },
      '/api/v1/batch': { commands: [{ publish: { app: 'blue', to: 'room:1', event: 'e' } }] },
      '/api/v1/revoke': { user: 'u1' },
    };
    for (const [path, body] of Object.entries(bodies)) {
      const answer = await call('the-api-key-for-e2e-0123456789-of-red', path, path.endsWith('batch') ? body : { ...body, app: 'blue' });
      const text = answer.text;
      assert.ok(answer.status === 403 || text.includes('"forbidden"'), `${path}: ${answer.status} ${text}`);
      assert.match(text, /the key `red` is not for app `blue`/);
    }
    for (const path of ['connections', 'channels', 'channels/room:1', 'online']) {
      const answer = await call('the-api-key-for-e2e-0123456789-of-red', `/api/v1/${path}?app=blue`);
      assert.equal(answer.status, 403, `${path}: ${answer.text}`);
    }
    const unknown = await call('the-api-key-for-e2e-0123456789-of-red', '/api/v1/publish', { app: 'purple', to: 'x', event: 'e' });
    assert.equal(unknown.status, 403, 'which apps there are is not its business');
  });

  test('of several apps must say which; one that may read may do nothing else', async () => {
    assert.equal((await call('the-api-key-for-e2e-0123456789-of-reader', '/api/v1/connections?app=blue')).status, 200);
    assert.equal((await call('the-api-key-for-e2e-0123456789-of-reader', '/api/v1/connections?app=green')).status, 403);
    const vague = await call('the-api-key-for-e2e-0123456789-of-reader', '/api/v1/channels');
    assert.deepEqual([vague.status, vague.json.error.message], [400, 'which app? Name it in `app`: red, blue']);
    for (const [path, body] of [['publish', { app: 'red', to: 'x', event: 'e' }], ['revoke', { app: 'red', user: 'nobody' }]]) {
      const answer = await call('the-api-key-for-e2e-0123456789-of-reader', `/api/v1/${path}`, body);
      assert.equal(answer.status, 403);
      assert.match(answer.json.error.message, /the key `reader` may not .*: add ".*" to `rights` of \[key\.reader\]/);
    }
  });

  test('is needed, and neither a wrong one nor a user\'s token will do', async () => {
    for (const wrong of [undefined, 'the-api-key-for-e2e-0123456789-of-blue', `${API_KEY}x`, token('red')]) {
      const answer = await call(wrong ?? '', '/api/v1/publish', { app: 'red', to: 'x', event: 'e' });
      assert.equal(answer.status, 401, answer.text);
      assert.equal(answer.headers.get('www-authenticate'), 'Bearer');
    }
    assert.equal((await call(API_KEY, '/api/v1/publish', { app: 'green', to: 'x', event: 'e' })).status, 200);
  });
});
