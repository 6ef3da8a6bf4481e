// How many handshakes may be under way: whoever comes beyond that is told to come later, over every transport, before
// anything is done for it; who has begun, and who is in, notices nothing.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { connect, connected, fence, next, token } from './harness.mjs';
import { eventually } from './waiting.mjs';
import { raw, service, serving } from './stage.mjs';

const suite = { undo: [], after: (undo) => suite.undo.unshift(undo) };
let issuer;
let server;

before(async () => {
  issuer = await service(suite, ({ body }) => ({ body: { active: true, sub: body } }));
  server = await serving(suite, `
[server]
shards = 1
handshakes = 1
[key.backend]
secret = { env = "OYEZ_API_KEY" }
[app.desk]
origins = "*"
[app.desk.socketio]
[app.desk.websocket]
[app.desk.auth]
from = ["auth.token", "query.token"]
[app.desk.auth.introspection]
url = "${issuer.url}/introspect"
cache = "0s"
[app.desk.identity]
user = "claims.sub"
[[app.desk.channel]]
name = "news"
subscribe = true
[app.desk.connect]
join = "news"
`);
});
after(async () => { for (const undo of suite.undo) await undo(); });

const POLLING = () => `${server.url}/socket.io/?EIO=4&transport=polling`;

/** Begins a handshake over polling, and says nothing more: the session's address. */
async function begin() {
  const begun = await eventually(() => fetch(POLLING()).then((answer) => (answer.status === 200 ? answer : undefined)), 'room for a handshake');
  return `${POLLING()}&sid=${JSON.parse((await begun.text()).slice(1)).sid}`;
}

test('the one that is too many gets 503 with Retry-After, and a stock client comes again by itself', async (t) => {
  const inside = connect(server.url, { transports: ['websocket'], auth: { token: 'inside' } });
  t.after(() => inside.disconnect());
  await connected(inside);
  const address = await begin();
  const questions = issuer.calls.length;
  const refused = await fetch(POLLING());
  assert.equal(refused.status, 503);
  assert.match(refused.headers.get('retry-after'), /^[1-3]$/);
  for (const path of ['/socket.io/?EIO=4&transport=websocket', '/ws?token=late']) {
    await assert.rejects(raw(t, server.ws + path).opened, { status: 503 });
  }
  assert.equal(issuer.calls.length, questions, 'nobody was asked about a token');
  await fence(server, inside, 'news');
  const late = ['websocket', 'polling'].map((transport) => {
    const socket = connect(server.url, { transports: [transport], auth: { token: transport }, reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 100 });
    t.after(() => socket.disconnect());
    return socket;
  });
  await Promise.all(late.map((socket) => next(socket, 'connect_error')));
  assert.equal((await fetch(address, { method: 'POST', body: `40${JSON.stringify({ token: token({ sub: 'u1' }) })}` })).status, 200);
  await Promise.all(late.map((socket) => next(socket, 'connect')));
  await fetch(address, { method: 'POST', body: '1' });
  const { text } = await server.api('/metrics');
  assert.ok(Number(text.match(/^oyez_handshakes_deferred_total (\d+)/m)[1]) >= 5);
});

test('who does not get on keeps the others out for two seconds only', async () => {
  await begin();
  await begin();
});
