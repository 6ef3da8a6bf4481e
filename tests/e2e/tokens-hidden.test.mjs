// No token, key or secret is ever told: not in a log of any level, not in /metrics, not in an answer or a redirect,
// whichever way clients show them, and whether they are good or bad.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { API_KEY, connect, next } from './harness.mjs';
import { drop, open, refused } from './steps.mjs';
import { ORIGIN, jwt, newKey, raw, service, serving } from './stage.mjs';
import { eventually } from './waiting.mjs';

const key = newKey('HS256');
const stranger = newKey('HS256');
const ISSUER_SECRET = 'what-the-server-shows-to-the-issuer-0123456789';
const OPAQUE = 'opaque-token-that-only-the-issuer-knows-0123456789';
const WAYS = { websocket: ['websocket'], polling: ['polling'], 'polling, then websocket': ['polling', 'websocket'] };
const suite = { undo: [], after: (undo) => suite.undo.unshift(undo) };
/** Everything that must not be told. */
const secrets = new Set([API_KEY, key.secret, ISSUER_SECRET, OPAQUE]);
/** Everything that the server said over HTTP. */
const answers = [];
let server;

before(async () => {
  const issuer = await service(suite, ({ body }) => ({ body: new URLSearchParams(body).get('token') === OPAQUE ? { active: true, sub: 'u2' } : { active: false } }));
  server = await serving(suite, `
    [key.backend]
    secret = { env = "OYEZ_API_KEY" }
    [app.desk]
    origins = ["${ORIGIN}"]
    [app.desk.socketio]
    [app.desk.websocket]
    [app.desk.auth]
    from = ["auth.token", "query.token", "bearer", "subprotocol", "cookie.sid"]
    [app.desk.auth.jwt]
    algorithms = ["HS256"]
    secret = "${key.secret}"
    [app.desk.auth.introspection]
    url = "${issuer.url}/introspect"
    secret = "${ISSUER_SECRET}"
    [app.desk.identity]
    user = "claims.sub"
    [[app.desk.channel]]
    name = "user:{id}"
    subscribe = "id == user.id"
    [app.desk.connect]
    join = "user:{user.id}"
    reply = { event = "hello" }
    [[app.desk.on]]
    event = "subscribe"
    join = "{data.channel}"
  `, { env: { OYEZ_LOG: 'trace' } });
});
after(async () => { for (const undo of suite.undo) await undo(); });

let serial = 0;
/** A token that no other place shows, by `signer`. */
function fresh(signer = key) {
  serial += 1;
  const token = jwt(signer, { sub: `u${serial}`, jti: `id-${serial}` });
  for (const part of [token, ...token.split('.').slice(1)]) secrets.add(part);
  return token;
}

/** How a token is shown, as options of a stock client. */
const CARRIERS = {
  'the auth payload': (token) => ({ auth: { token } }),
  'the query': (token) => ({ query: { token } }),
  'a header': (token) => ({ extraHeaders: { authorization: `Bearer ${token}` } }),
  'a cookie': (token) => ({ extraHeaders: { cookie: `sid=${token}`, origin: ORIGIN } }),
  'a subprotocol': (token) => ({ protocols: ['bearer', token] }),
};

async function ask(path, options = {}) {
  const response = await fetch(server.url + path, { redirect: 'manual', ...options });
  answers.push(`${JSON.stringify([...response.headers])} ${await response.text()}`);
  return response;
}

async function signIns(t) {
  for (const [carrier, show] of Object.entries(CARRIERS)) {
    for (const transports of Object.values(WAYS).filter(([first]) => carrier !== 'a subprotocol' || first === 'websocket')) {
      const socket = await open(t, server.url, { transports, ...show(fresh()) }, 'hello');
      const refreshed = await socket.emitWithAck('auth:refresh', { token: fresh() });
      assert.equal(refreshed.code, 401, 'of another user');
      answers.push((await refused(t, server.url, { transports, ...show(fresh(stranger)) })).message);
    }
  }
  await open(t, server.url, { auth: { token: OPAQUE } }, 'hello');
  const unknown = `${OPAQUE}-revoked`;
  secrets.add(unknown);
  answers.push((await refused(t, server.url, { auth: { token: unknown } })).message);
}

async function plainWebSockets(t) {
  await raw(t, `${server.ws}/ws?token=${fresh()}`).opened;
  await raw(t, `${server.ws}/ws`, { headers: { authorization: `Bearer ${fresh()}` } }).opened;
  await raw(t, `${server.ws}/ws`, { protocols: ['bearer', fresh()] }).opened;
  answers.push(await raw(t, `${server.ws}/ws?token=${fresh(stranger)}`).opened.catch((refusal) => refusal.message));
  answers.push(await raw(t, `${server.ws}/ws?token=${fresh()}`, { origin: 'https://evil.example' }).opened.catch((refusal) => refusal.message));
}

/** Requests of the API, of users, and of those who are lost. */
async function requests() {
  const bearer = (secret) => ({ headers: { authorization: `Bearer ${secret}` } });
  for (const path of ['/ws/stats', '/ws/online-users', '/ws/session/client/x', '/socket.io/', '/socket.io', '/ws', '/', '/api/docs', '/nothing', '/api/v1/publish']) {
    await ask(`${path}?token=${fresh()}`);
    await ask(`${path}?token=${fresh(stranger)}`, bearer(fresh()));
  }
  await ask('/api/websocket/status', bearer(fresh()));
  await ask('/api/v1/channels', bearer(API_KEY));
  for (const wrong of [fresh(), `${API_KEY}x`]) assert.equal((await ask('/api/v1/channels', bearer(wrong))).status, 401);
  const broken = { ...bearer(API_KEY), method: 'POST', body: `{"token": "${fresh()}", "tokn": 1}` };
  assert.equal((await ask('/api/v1/revoke', broken)).status, 400);
}

async function revocation(t) {
  const token = fresh();
  const socket = await open(t, server.url, { auth: { token } }, 'hello');
  const ended = drop(socket);
  const body = JSON.stringify({ token });
  assert.equal((await ask('/api/v1/revoke', { method: 'POST', body, headers: { authorization: `Bearer ${API_KEY}` } })).status, 200);
  await ended;
  const again = connect(server.url, { auth: { token } });
  t.after(() => again.disconnect());
  answers.push((await next(again, 'connect_error'))[0].message);
}

test('whatever is shown in whatever way, nothing of it is told', async (t) => {
  await signIns(t);
  await plainWebSockets(t);
  await requests();
  await revocation(t);
  assert.equal((await ask('/metrics')).status, 200);
  const told = () => server.logs.join('\n');
  await eventually(() => told().includes('"reason":"revoked"'), 'the last refusal in the log');
  assert.match(told(), /"level":"(TRACE|DEBUG)"/, 'the log is of every level');
  assert.ok(secrets.size > 100 && answers.length > 30, `${secrets.size} secrets, ${answers.length} answers`);
  for (const secret of secrets) {
    assert.ok(!told().includes(secret), `a log line tells ${secret}: ${server.logs.find((line) => line.includes(secret))}`);
    assert.ok(!answers.some((text) => text.includes(secret)), `an answer tells ${secret}`);
  }
  for (const text of answers) assert.doesNotMatch(text, /\["location"/);
});
