// Who a client is: every algorithm, key sets that rotate, opaque tokens, and each place where a token may stand.
import { describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { connect, connected, next } from './harness.mjs';
import { open, refused, until } from './steps.mjs';
import { ORIGIN, jwt, newKey, now, raw, service, serving } from './stage.mjs';

/** An app whose greeting says who the client is; `auth` is the text of its [app.desk.auth] tables. */
const desk = (auth, app = '') => `
[key.backend]
secret = { env = "OYEZ_API_KEY" }
[app.desk]
origins = ["${ORIGIN}"]
${app}
${auth}
[app.desk.identity]
user = "claims.sub"
[app.desk.connect]
reply = { event = "hello", data = "{'user': user.id}" }
`;
const list = (items) => JSON.stringify(items);

/** Connects with `token` and checks that the server takes it for `user`. */
async function known(t, server, token, user, options = { auth: { token } }) {
  const socket = connect(server.url, options);
  t.after(() => socket.disconnect());
  const hello = next(socket, 'hello');
  hello.catch(() => {});
  await connected(socket);
  assert.deepEqual((await hello)[0], { user });
  return socket;
}
const unknown = async (t, server, token) => {
  assert.equal((await refused(t, server.url, { auth: { token } })).message, 'Authentication error: invalid token');
};

describe('JSON Web Tokens', () => {
  const ALGORITHMS = ['HS256', 'HS384', 'HS512', 'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'EdDSA'];
  const keys = Object.fromEntries(ALGORITHMS.map((algorithm) => [algorithm, newKey(algorithm)]));
  const all = Object.values(keys);
  const files = Object.fromEntries(all.filter((key) => key.pem).map((key) => [`${key.algorithm}.pem`, key.pem]));

  test('each algorithm with its key, all keys at once, and no key beyond its algorithm', async (t) => {
    const server = await serving(t, desk(`
      [app.desk.auth.jwt]
      algorithms = ${list(ALGORITHMS)}
      secret = ${list(all.filter((key) => key.secret).map((key) => key.secret))}
      public_key = [${Object.keys(files).map((name) => `{ file = "${name}" }`).join(', ')}]`), { files });
    await Promise.all(all.map((key) => known(t, server, jwt(key, { sub: key.algorithm }), key.algorithm)));
    await Promise.all(all.map((key) => unknown(t, server, jwt(newKey(key.algorithm), { sub: 'stranger' }))));

    const good = jwt(keys.HS256, { sub: 'u1' });
    const [head, , signature] = good.split('.');
    const forged = Buffer.from(JSON.stringify({ sub: 'admin', exp: now() + 60 })).toString('base64url');
    await unknown(t, server, `${head}.${forged}.${signature}`);
    for (const alg of ['none', 'None', 'NONE', '']) {
      const header = Buffer.from(JSON.stringify({ alg })).toString('base64url');
      await unknown(t, server, `${header}.${forged}.`);
    }
    // The public key is public: it must not do as a secret.
    for (const secret of [keys.RS256.pem, keys.RS256.pem.trim(), keys.ES256.pem]) {
      await unknown(t, server, jwt({ algorithm: 'HS256', secret }, { sub: 'admin' }));
    }
    await unknown(t, server, jwt(keys.HS256, { sub: 'u1' }, { crit: ['b64'], b64: false }));
    await unknown(t, server, 'x'.repeat(20_000));
  });

  test('an algorithm that is not listed is refused although its key would fit', async (t) => {
    const server = await serving(t, desk(`
      [app.desk.auth.jwt]
      algorithms = ["RS256"]
      public_key = { file = "RS256.pem" }`), { files });
    await known(t, server, jwt(keys.RS256, { sub: 'u1' }), 'u1');
    await unknown(t, server, jwt({ ...keys.RS256, algorithm: 'RS512' }, { sub: 'u1' }));
    await unknown(t, server, jwt({ ...keys.RS256, algorithm: 'PS256' }, { sub: 'u1' }));
  });

  test('issuer, audience, leeway, expiry and dates to come', async (t) => {
    const key = keys.HS256;
    const server = await serving(t, desk(`
      [app.desk.auth.jwt]
      algorithms = ["HS256"]
      secret = "${key.secret}"
      issuer = ["https://a.example", "https://b.example"]
      audience = "desk"
      leeway = "30s"
      require_expiry = true`));
    const good = { sub: 'u1', iss: 'https://b.example', aud: ['other', 'desk'] };
    await known(t, server, jwt(key, good), 'u1');
    await known(t, server, jwt(key, { ...good, sub: 77, aud: 'desk' }), '77');
    const late = await known(t, server, jwt(key, { ...good, exp: now() - 5 }), 'u1');
    assert.equal(late.connected, true, 'within the leeway');
    await known(t, server, jwt(key, { ...good, nbf: now() + 20 }), 'u1');
    const bad = [
      { iss: 'https://c.example' }, { iss: undefined }, { iss: ['https://a.example'] }, { aud: 'other' }, { aud: undefined },
      { exp: now() - 40 }, { exp: undefined }, { exp: 'tomorrow' }, { nbf: now() + 100 }, { iat: now() + 100 },
    ];
    await Promise.all(bad.map((claims) => unknown(t, server, jwt(key, { ...good, ...claims }))));
    const nameless = await refused(t, server.url, { auth: { token: jwt(key, { ...good, sub: undefined }) } });
    assert.equal(nameless.message, 'Authentication error: the token names no user');
    const none = await refused(t, server.url, {});
    assert.equal(none.message, 'Authentication error: no token');
  });
});

describe('key sets', () => {
  const remote = (url) => desk(`
    [app.desk.auth.jwt]
    algorithms = ["RS256", "ES256", "EdDSA"]
    jwks = "${url}/jwks.json"`);

  test('a set by URL is fetched once, however many keys are missing in it for the next 30 s', async (t) => {
    const [first, second] = [newKey('RS256', 'one'), newKey('ES256', 'two')];
    const published = [first];
    const issuer = await service(t, () => ({ body: { keys: published.map((key) => key.jwk) } }));
    const server = await serving(t, remote(issuer.url));
    assert.equal(issuer.calls.length, 0, 'nobody is asked before a token comes');
    await Promise.all(Array.from({ length: 10 }, (_, n) => known(t, server, jwt(first, { sub: `u${n}` }), `u${n}`)));
    assert.equal(issuer.calls.length, 1);
    published.push(second);
    await unknown(t, server, jwt(second, { sub: 'new' }));
    await known(t, server, jwt(first, { sub: 'old' }), 'old');
    await Promise.all(Array.from({ length: 20 }, (_, n) => unknown(t, server, jwt(newKey('EdDSA', `forged-${n}`), { sub: 'x' }))));
    await unknown(t, server, jwt({ ...newKey('RS256'), kid: 'one' }, { sub: 'x' }));
    await known(t, server, jwt(first, { sub: 'still' }), 'still');
    assert.equal(issuer.calls.length, 1, 'at most one request in 30 s, whatever tokens say');
  });

  test('while the issuer fails nobody comes in, and soon it is tried again', async (t) => {
    const key = newKey('EdDSA', 'one');
    let up = false;
    const issuer = await service(t, () => (up ? { body: { keys: [key.jwk] } } : { status: 500 }));
    const server = await serving(t, remote(issuer.url));
    await unknown(t, server, jwt(key, { sub: 'u1' }));
    up = true;
    await until(() => known(t, server, jwt(key, { sub: 'u1' }), 'u1'), 8000);
  });

  test('a set in a file, which may hold secrets too', async (t) => {
    const [rsa, secret] = [newKey('RS256', 'r'), newKey('HS256', 's')];
    const oct = { kty: 'oct', kid: 's', alg: 'HS256', k: Buffer.from(secret.secret).toString('base64url') };
    const server = await serving(t, desk(`
      [app.desk.auth.jwt]
      algorithms = ["RS256", "HS256"]
      jwks_keys = { file = "jwks.json" }`), { files: { 'jwks.json': list({ keys: [rsa.jwk, oct] }) } });
    await known(t, server, jwt(rsa, { sub: 'u1' }), 'u1');
    await known(t, server, jwt(secret, { sub: 'u2' }), 'u2');
    await unknown(t, server, jwt({ ...newKey('HS256'), kid: 's' }, { sub: 'u2' }));
    await unknown(t, server, jwt({ algorithm: 'HS256', kid: 'r', secret: rsa.pem }, { sub: 'u2' }));
  });
});

describe('opaque tokens', () => {
  const tokens = {
    good: () => ({ body: { active: true, sub: 'u1', exp: now() + 3600 } }),
    short: () => ({ body: { active: true, sub: 'u2', exp: now() + 2 } }),
    over: () => ({ body: { active: true, sub: 'u1', exp: now() - 1 } }),
    gone: () => ({ body: { active: false } }),
    odd: () => ({ body: '{"active": "true", "sub": "u1"}' }),
    broken: () => ({ status: 500 }),
    slow: () => ({ status: 0 }),
  };
  const start = async (t, more = '') => {
    const issuer = await service(t, ({ body }) => (tokens[new URLSearchParams(body).get('token')] ?? tokens.gone)());
    const server = await serving(t, desk(`
      [app.desk.auth.introspection]
      url = "${issuer.url}/introspect"
      secret = "for-the-issuer"
      timeout = "300ms"
      ${more}`));
    return { issuer, server };
  };

  test('are good when the issuer says so, which is remembered', async (t) => {
    const { issuer, server } = await start(t);
    await known(t, server, 'good', 'u1');
    await known(t, server, 'good', 'u1');
    assert.equal(issuer.calls.length, 1);
    assert.equal(issuer.calls[0].method, 'POST');
    assert.equal(issuer.calls[0].headers.authorization, 'Bearer for-the-issuer');
    assert.equal(issuer.calls[0].headers['content-type'], 'application/x-www-form-urlencoded');
    for (const token of ['gone', 'over', 'odd', 'broken', 'never seen', 'näher']) await unknown(t, server, token);
    await unknown(t, server, 'gone');
    assert.equal(issuer.calls.filter(({ body }) => body === 'token=gone').length, 1, 'a no is remembered too');
    const asked = Date.now();
    await unknown(t, server, 'slow');
    assert.ok(Date.now() - asked < 1500, 'given up after 300 ms');
    await known(t, server, 'good', 'u1');
  });

  test('end when the answer says that they do', async (t) => {
    const { server } = await start(t);
    const socket = connect(server.url, { auth: { token: 'short' } });
    t.after(() => socket.disconnect());
    const [warning, ended] = [next(socket, 'token:expiring'), next(socket, 'disconnect')];
    const [{ expiresAt }] = await warning;
    await ended;
    const late = Date.now() - expiresAt * 1000;
    assert.ok(late >= -50 && late <= 1000, `closed ${late} ms after the end`);
  });

  test('an issuer that is down lets nobody in; a JWT beside it needs no asking', async (t) => {
    const key = newKey('HS256');
    const server = await serving(t, desk(`
      [app.desk.auth.introspection]
      url = "http://127.0.0.1:9/introspect"
      timeout = "500ms"
      [app.desk.auth.jwt]
      algorithms = ["HS256"]
      secret = "${key.secret}"`));
    await unknown(t, server, 'good');
    await known(t, server, jwt(key, { sub: 'u1' }), 'u1');
  });
});

describe('places of a token', () => {
  const key = newKey('HS256');
  const token = jwt(key, { sub: 'u1' });
  const places = (from, app = '') => desk(`
    [app.desk.auth]
    from = ${list(from)}
    [app.desk.auth.jwt]
    algorithms = ["HS256"]
    secret = "${key.secret}"`, app);
  const WAYS = { websocket: ['websocket'], polling: ['polling'], 'polling, then websocket': ['polling', 'websocket'] };

  test('auth object, query and Authorization, over each transport; only where the app says', async (t) => {
    const server = await serving(t, places(['auth.jwt', 'query.access', 'bearer'], '[app.desk.socketio]\n[app.desk.websocket]'));
    for (const transports of Object.values(WAYS)) {
      await known(t, server, token, 'u1', { transports, auth: { jwt: token } });
      await known(t, server, token, 'u1', { transports, auth: { jwt: '' }, query: { access: token } });
      await known(t, server, token, 'u1', { transports, extraHeaders: { authorization: `bearer ${token}` } });
      const elsewhere = { auth: { token }, query: { token }, extraHeaders: { cookie: `sid=${token}`, origin: ORIGIN } };
      assert.match((await refused(t, server.url, { transports, ...elsewhere })).message, /no token/);
    }
    for (const how of [[`?access=${token}`, {}], ['', { headers: { authorization: `Bearer ${token}` } }]]) {
      const socket = await raw(t, `${server.ws}/ws${how[0]}`, how[1]).opened;
      assert.equal((await socket.heard.take('hello')).data.user, 'u1');
    }
    const error = await raw(t, `${server.ws}/ws?token=${token}`).opened.catch((refusal) => refusal);
    assert.equal(error.status, 401);
    assert.deepEqual(Object.keys(error.json), ['code', 'message', 'error']);
    const first = await refused(t, server.url, { auth: { jwt: 'rubbish' }, query: { access: token } });
    assert.match(first.message, /invalid token/, 'the first place that has a token decides');
  });

  test('a cookie counts only from an origin that the app lists, over each transport', async (t) => {
    const server = await serving(t, places(['cookie.sid'], '[app.desk.socketio]\n[app.desk.websocket]'));
    const half = Math.floor(token.length / 2);
    const chunks = `a=b; sid.1=${token.slice(half)}; sid.0=${token.slice(0, half)}`;
    for (const transports of Object.values(WAYS)) {
      const from = (origin, cookie = `theme=dark; sid=${token}`) => ({ transports, extraHeaders: { cookie, ...(origin && { origin }) } });
      await known(t, server, token, 'u1', from(ORIGIN));
      await known(t, server, token, 'u1', from(ORIGIN, chunks));
      assert.match((await refused(t, server.url, from())).message, /no token/, 'without Origin it could be any page');
      const stranger = connect(server.url, from('https://evil.example'));
      t.after(() => stranger.disconnect());
      assert.equal((await next(stranger, 'connect_error'))[0].type, 'TransportError');
    }
    const headers = { cookie: `sid=${token}`, origin: ORIGIN };
    const socket = await raw(t, `${server.ws}/ws`, { headers }).opened;
    assert.equal((await socket.heard.take('hello')).data.user, 'u1');
    const status = (more) => raw(t, `${server.ws}/ws`, { headers: { ...headers, ...more } }).opened.catch((refusal) => refusal.status);
    assert.equal(await status({ origin: 'https://evil.example' }), 403);
    assert.equal(await raw(t, `${server.ws}/ws`, { headers: { cookie: headers.cookie } }).opened.catch((refusal) => refusal.status), 401);
  });

  test('a subprotocol, for clients that can set nothing else', async (t) => {
    const server = await serving(t, places(['subprotocol'], '[app.desk.socketio]\n[app.desk.websocket]'));
    const socket = await raw(t, `${server.ws}/ws`, { protocols: ['bearer', token] }).opened;
    assert.equal(socket.protocol, 'bearer', 'a browser closes when none of its protocols is chosen');
    assert.equal((await socket.heard.take('hello')).data.user, 'u1');
    const stock = await known(t, server, token, 'u1', { transports: ['websocket'], protocols: ['bearer', token] });
    assert.equal(stock.io.engine.transport.ws.protocol, 'bearer');
    assert.match((await refused(t, server.url, { transports: ['websocket'] })).message, /no token/);
    const status = (protocols) => raw(t, `${server.ws}/ws`, { protocols }).opened.catch((refusal) => refusal.status);
    assert.equal(await status(['chat', token]), 401, 'only behind `bearer`');
    assert.equal(await status(['bearer', jwt(newKey('HS256'), { sub: 'u1' })]), 401);
  });

  test('neither logs nor refusals hold a token', async (t) => {
    const server = await serving(t, places(['auth.token', 'query.token']));
    await open(t, server.url, { auth: { token } }, 'hello');
    const bad = jwt(newKey('HS256'), { sub: 'u1' });
    const error = await refused(t, server.url, { query: { token: bad } });
    assert.ok(!JSON.stringify(error).includes(bad));
    await until(() => assert.ok(server.logs.some((line) => line.includes('connect_refused'))));
    for (const secret of [token, bad, key.secret]) assert.ok(!server.logs.join('\n').includes(secret));
  });
});
