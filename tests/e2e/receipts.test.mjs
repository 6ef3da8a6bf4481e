// Publishers who hear what became of a message: by webhook, and in a channel.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { Webhook } from 'standardwebhooks';
import { CONFIG, ENV, device, user } from './keeping.mjs';
import { service, serving } from './stage.mjs';
import { eventually } from './waiting.mjs';

const SECRET = 'receipts-secret-0123456789';
const WEBHOOK = (url, more = '') => ({ more: `[app.desk.inbox.webhook]\nurl = "${url}/receipts"\nsecret = { env = "RECEIPTS_KEY" }\nprivate = true\n${more}` });

const start = (t, config) => serving(t, CONFIG(config), { env: { ...ENV, RECEIPTS_KEY: SECRET } });
const notice = async (server, who, more) => {
  const answer = await server.publish(`user:${who}`, 'notice', 1, { app: 'desk', ...more });
  return answer.id;
};
const mark = (server, who, body) => server.api('/api/v1/inbox/mark', { token: user(who), body });
const seconds = ({ calls }) => calls.map(({ at }) => (at - calls[0].at) / 1000);

test('a webhook hears of each state, in order, signed', async (t) => {
  const backend = await service(t, () => ({ status: 204 }));
  const server = await start(t, WEBHOOK(backend.url));
  const phone = await device(t, server, 'ann', { word: 'delivered' });
  const id = await notice(server, 'ann', { receipts: 'webhook' });
  await phone.heard.take('notice');
  await eventually(() => backend.calls.length === 1);
  assert.deepEqual(await phone.emitWithAck('notification:ack', { id, state: 'read' }), { ok: true, changed: [id], unknown: [] });
  await eventually(() => backend.calls.length === 2);
  await mark(server, 'ann', { all: true, state: 'archived' });
  await eventually(() => backend.calls.length === 3);
  for (const [at, state] of ['delivered', 'read', 'archived'].entries()) {
    const { url, method, headers, body } = backend.calls[at];
    assert.deepEqual([url, method, headers['content-type']], ['/receipts', 'POST', 'application/json']);
    const { at: when, ...words } = new Webhook(SECRET, { format: 'raw' }).verify(body, headers);
    assert.deepEqual(words, { app: 'desk', id, user: 'ann', state });
    assert.ok(Math.abs(Date.now() - when) < 60_000);
  }
  // What nobody asked a receipt of is told to nobody, and what changes nothing either: the last word is of the last one.
  const quiet = await notice(server, 'ann');
  await mark(server, 'ann', { ids: [quiet, id], state: 'read' });
  const last = await notice(server, 'ann', { receipts: 'webhook' });
  await eventually(() => backend.calls.length > 3);
  assert.equal(JSON.parse(backend.calls[3].body).id, last);
});

test('a webhook that fails is tried again, and then no more', async (t) => {
  let fails = 2;
  const backend = await service(t, () => {
    fails -= 1;
    return { status: fails >= 0 ? 500 : 200 };
  });
  const server = await start(t, WEBHOOK(backend.url));
  const first = await notice(server, 'ann', { receipts: 'webhook' });
  await mark(server, 'ann', { ids: [first], state: 'read' });
  await eventually(() => backend.calls.length === 3, 'three attempts', 10_000);
  assert.deepEqual(backend.calls.map(({ body }) => JSON.parse(body).id), [first, first, first]);
  const [, second, third] = seconds(backend);
  assert.ok(second >= 0.5 && third - second >= 2, `attempts after ${second} and ${third} s`);
  // A channel hears its receipts meanwhile.
  fails = Infinity;
  const clerk = await device(t, server, 'clerk');
  await clerk.emitWithAck('watch', {});
  const [stuck, told] = [await notice(server, 'bob', { receipts: 'webhook' }), await notice(server, 'bob', { receipts: { channel: 'receipts' } })];
  await mark(server, 'bob', { ids: [stuck, told], state: 'read' });
  assert.equal((await clerk.heard.take('receipt', () => true, 2_000)).id, told);
  await eventually(() => backend.calls.length === 4);
  fails = 0;
  await eventually(() => backend.calls.length === 5);
  // Receipts wait meanwhile, and are told in their order.
  fails = 4;
  const [lost, next] = [await notice(server, 'ann', { receipts: 'webhook' }), await notice(server, 'ann', { receipts: 'webhook' })];
  await mark(server, 'ann', { ids: [lost, next], state: 'seen' });
  await eventually(() => backend.calls.length === 10, 'four attempts and the next receipt', 25_000);
  assert.deepEqual(backend.calls.slice(5).map(({ body }) => JSON.parse(body).id), [lost, lost, lost, lost, next]);
  assert.ok(server.logs.some((line) => line.includes('receipt_lost')), server.logs.join('\n'));
  assert.ok(!server.logs.some((line) => line.includes(SECRET)));
});

test('a webhook that nobody has is refused', async (t) => {
  const server = await start(t, {});
  const answer = await server.api('/api/v1/publish', { body: { app: 'desk', to: 'user:ann', event: 'notice', receipts: 'webhook' } });
  assert.deepEqual([answer.status, answer.json.error.code], [400, 'bad_request'], answer.text);
  assert.match(answer.json.error.message, /\[app\.desk\.inbox\.webhook\]/);
  for (const receipts of [{ channel: '*' }, { channel: '' }, { channel: 'a\nb' }, 'mail', { mail: 'a' }]) {
    const wrong = await server.api('/api/v1/publish', { body: { app: 'desk', to: 'user:ann', event: 'notice', receipts } });
    assert.equal(wrong.status, 400, `${JSON.stringify(receipts)}: ${wrong.text}`);
  }
});

test('a channel hears it', async (t) => {
  const server = await start(t, {});
  const clerk = await device(t, server, 'clerk');
  assert.deepEqual(await clerk.emitWithAck('watch', {}), ['receipts']);
  const phone = await device(t, server, 'ann', { word: 'seen' });
  const id = await notice(server, 'ann', { receipts: { channel: 'receipts' } });
  await phone.heard.take('notice');
  const { at, ...words } = await clerk.heard.take('receipt');
  assert.deepEqual(words, { app: 'desk', id, user: 'ann', state: 'seen' });
  assert.ok(Math.abs(Date.now() - at) < 60_000);
  await mark(server, 'ann', { up_to: id, state: 'read' });
  assert.equal((await clerk.heard.take('receipt')).state, 'read');
});
