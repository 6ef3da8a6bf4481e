// Messages that are pushed: signed by a stock library, or by a backend with an API key.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { Webhook } from 'standardwebhooks';
import { CONFIG, ENV, device, directory } from './keeping.mjs';
import { figure } from './sources.mjs';
import { serving } from './stage.mjs';
import { unique } from './steps.mjs';

const newSecret = () => `whsec_${randomBytes(24).toString('base64')}`;
const [SECRET, OLD] = [newSecret(), newSecret()];
const TOLERANCE_MS = 5 * 60_000;

const SOURCE = CONFIG({
  more: `
[app.desk.source.shop]
kind = "webhook"
secret = [{ env = "SHOP_SECRET" }, { env = "SHOP_SECRET_OLD" }]
data = "first(body.data, body)"
[[app.desk.source.shop.rule]]
match = ["shop", "order.{what}"]
to = "user:{data.user}"
event = "order"
data = "{'data': data, 'by': address, 'id': message_id, 'sent': sent, 'shop': first(headers['x-shop'], '')}"
[[app.desk.source.shop.rule]]
match = "alarm"
to = "user:{data.user}"
event = "alarm"
delivery = "durable"

[app.desk.source.watch]
kind = "webhook"
secret = { env = "NOT_SET" }
[[app.desk.source.watch.rule]]
match = "{any}"
to = "user:ann"
event = "{address}"

[app.desk.source.both]
kind = "webhook"
[[app.desk.source.both.rule]]
match = "both"
to = "user:ann"
event = "both"
[app.small.source.both]
kind = "webhook"
[[app.small.source.both.rule]]
match = "both"
to = "user:ann"
event = "both"

[key.narrow]
secret = { env = "NARROW_KEY" }
channels = ["user:{id}"]
[key.reader]
secret = { env = "READER_KEY" }
rights = ["read"]
`,
});
const KEYS = { NARROW_KEY: randomBytes(24).toString('hex'), READER_KEY: randomBytes(24).toString('hex') };
const start = (t) => serving(t, SOURCE, { env: { ...ENV, ...KEYS, SHOP_SECRET: SECRET, SHOP_SECRET_OLD: OLD }, args: ['--data-dir', directory(t)] });

/** Posts to a source, signed by the stock library; what is given replaces what it would say. */
async function push(server, path, body, { secret = SECRET, id = unique('msg'), at = new Date(), method = 'POST', headers = {}, sent } = {}) {
  const text = typeof body === 'string' ? body : JSON.stringify(body);
  const signature = secret ? new Webhook(secret).sign(id, at, text) : '';
  const response = await fetch(`${server.url}/api/v1/source/${path}`, {
    method, body: sent ?? text,
    headers: {
      'content-type': 'application/json', 'webhook-id': id, 'webhook-timestamp': String(Math.floor(at / 1000)),
      ...(secret ? { 'webhook-signature': signature } : {}), ...headers,
    },
  });
  return { status: response.status, json: await response.json() };
}

test('a source that waits for who posts is working, before anybody does', async (t) => {
  const server = await start(t);
  for (const source of ['shop', 'watch']) assert.equal(await figure(server, 'working', source), 1, source);
});

test('what is signed is heard, once, with any of the secrets', async (t) => {
  const server = await start(t);
  const ann = await device(t, server, 'ann', { word: 'delivered' });
  const at = new Date();
  const first = await push(server, 'shop', { data: { user: 'ann', n: 1 } }, { id: 'msg_1', at, headers: { 'x-shop': 'one', cookie: 'a=b' } });
  assert.deepEqual(first, { status: 200, json: { ok: true } });
  assert.deepEqual(await ann.heard.take('order'), {
    data: { user: 'ann', n: 1 }, by: 'shop', id: 'msg_1', sent: Math.floor(at / 1000) * 1000, shop: 'one',
  });
  // Its sender has heard no answer and signs again; somebody else sends what they have seen, as it was.
  for (const again of [new Date(Date.now() + 1000), at]) {
    const answer = await push(server, 'shop', { data: { user: 'ann', n: 1 } }, { id: 'msg_1', at: again, headers: { 'x-shop': 'one' } });
    assert.deepEqual(answer, { status: 200, json: { ok: true, duplicate: true } });
  }
  const old = await push(server, 'shop/order.paid', { user: 'ann', n: 2 }, { secret: OLD, headers: { 'x-shop': 'two' } });
  assert.equal(old.status, 200);
  const paid = await ann.heard.take('order');
  assert.deepEqual([paid.data.n, paid.by, paid.shop], [2, 'order.paid', 'two']);
  assert.equal((await push(server, 'shop/alarm', { user: 'ann', n: 3 }, { id: 'msg_3' })).status, 200);
  assert.equal((await ann.heard.take('alarm')).n, 3);
  assert.deepEqual([await figure(server, 'received', 'shop'), ann.heard.all('order').length], [3, 2]);
});

test('what nobody has signed, or not lately, or not like this, is refused, and heard by nobody', async (t) => {
  const server = await start(t);
  const ann = await device(t, server, 'ann');
  const body = { user: 'ann', n: 1 };
  const wrong = [
    { secret: newSecret() }, { secret: null }, { sent: '{"user":"ann","n":2}' },
    { at: new Date(Date.now() - TOLERANCE_MS - 5000) }, { at: new Date(Date.now() + TOLERANCE_MS + 5000) },
    { headers: { 'webhook-id': 'another' } }, { headers: { 'webhook-timestamp': String(Math.floor(Date.now() / 1000) + 30) } },
    { headers: { 'webhook-timestamp': 'now' } }, { headers: { 'webhook-signature': 'v1,AAAA' } }, { headers: { 'webhook-id': '' } },
  ];
  for (const how of wrong) {
    const { status, json } = await push(server, 'shop', body, how);
    assert.equal(status, 401, JSON.stringify([how, json]));
    assert.match(json.error.message, /webhook-|Authorization/);
  }
  const denied = server.logs.filter((line) => line.includes('api_denied')).map((line) => JSON.parse(line));
  assert.equal(denied.length, wrong.length);
  for (const line of denied) assert.ok(line.path === '/api/v1/source/shop' && !('key' in line), JSON.stringify(line));
  // Without a secret, nobody's signature is good, also not one by an empty secret.
  assert.equal((await push(server, 'watch', body)).status, 401);
  assert.equal((await push(server, 'nothing', body)).status, 404);
  assert.equal(await figure(server, 'received', 'shop'), 0);
  assert.deepEqual(ann.heard.all('order'), []);
});

test('what cannot be published is told its sender, who may send it again', async (t) => {
  const server = await start(t);
  const ann = await device(t, server, 'ann');
  const poison = await push(server, 'shop', 'no JSON', { id: 'msg_p' });
  assert.deepEqual([poison.status, poison.json.error.message.split(':')[0]], [400, 'not_json']);
  const mended = await push(server, 'shop', { user: 'ann' }, { id: 'msg_p' });
  assert.deepEqual(mended, { status: 200, json: { ok: true } });
  await ann.heard.take('order');
  assert.equal((await push(server, 'shop', 'x'.repeat(1024 * 1024 + 1))).status, 413);
  assert.equal(await figure(server, 'dead_letters', 'shop'), 1);
});

test('a backend shows its key: so a watch of Consul does, by PUT', async (t) => {
  const server = await start(t);
  const ann = await device(t, server, 'ann');
  const services = [{ Node: 'n1', CheckID: 'c', Status: 'critical', ServiceName: 'user-service' }];
  const put = (token) => server.api('/api/v1/source/watch/consul.services.updated', { method: 'PUT', body: services, token });
  assert.equal((await put(KEYS.READER_KEY)).status, 403);
  assert.equal((await put(KEYS.NARROW_KEY)).status, 403);
  assert.equal((await put('unknown')).status, 401);
  assert.equal((await server.api('/api/v1/source/watch?app=small', { body: services })).status, 404);
  const { status, json } = await put();
  assert.deepEqual([status, json], [200, { ok: true }]);
  assert.deepEqual(await ann.heard.take('consul.services.updated'), services);
  assert.equal((await server.api('/api/v1/source/watch?app=desk', { body: services })).status, 200);
  await ann.heard.take('watch');
  const several = await server.api('/api/v1/source/both', { body: services });
  assert.deepEqual([several.status, several.json.error.message], [400, 'several apps have a source of this name: say which with `?app=`']);
  assert.equal((await server.api('/api/v1/source/both?app=desk', { body: services })).status, 200);
  await ann.heard.take('both');
});
