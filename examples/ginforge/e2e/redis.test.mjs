// seeds/003: `pkg/notification/client.go` publishes to Redis as it always has (the payloads were captured from it), and the
// pages hear it; bare payloads, as the document writes them, too.
import { after, afterEach, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { Redis } from 'ioredis';
import { serve } from '../../../tests/e2e/harness.mjs';
import { redis } from '../../../tests/e2e/redis.mjs';
import { eventually } from '../../../tests/e2e/waiting.mjs';
import { CONFIG, Pages, enhanced, newUser } from './clients.mjs';

let server;
let pages;
let publisher;
const ends = [];

before(async () => {
  const broker = await redis({ after: (end) => ends.push(end) });
  await broker.start();
  publisher = new Redis(broker.port);
  server = await serve(CONFIG, { env: { REDIS_URL: broker.url } });
  pages = new Pages(server);
  await eventually(() => server.logs.filter((line) => line.includes('source_connected')).length === 2, 'they are connected', 20_000);
});
afterEach(() => pages.close());
after(async () => {
  await server?.stop();
  await publisher?.quit();
  for (const end of ends.reverse()) await end();
});

const wrapped = (type, content) => ({ message: { type, content, timestamp: 1795219080, created_at: '2026-11-20T23:58:00.142361006Z' } });
const bare = (type, content) => ({ type, content });
const publish = (channel, body) => publisher.publish(channel, JSON.stringify(body));

for (const [form, shape] of [['wrapped', wrapped], ['bare', bare]]) {
  test(`${form} payloads: to everybody, to a user, to a room, as a notification`, async () => {
    const [ann, room] = [newUser(), `chat:room-${form}`];
    const [page, other] = [await pages.as(ann), await pages.as(newUser())];
    other.send(enhanced.join(room));
    await other.settled();

    const update = { entity: 'user', action: 'create', id: ann, data: { username: 'new_user' } };
    await publish('websocket:broadcast', shape('data_update', update));
    for (const one of [page, other]) assert.deepEqual((await one.take('data_update', (frame) => frame.content.id === ann)).content, update);

    await publish(`websocket:user:${ann}`, shape('system', { code: 1001, message: 'm', level: 'warning' }));
    assert.equal((await page.take('system')).content.code, 1001);

    await publish(`websocket:room:${room}`, shape('room_message', { text: '有新用户加入' }));
    assert.equal((await other.take('room_message')).content.text, '有新用户加入');

    // The original gateway drops `category` and `data`; here they arrive.
    const order = { title: '订单发货通知', body: '订单 #456 已发货', icon: 'Truck', link: '/orders/456', category: 'order', data: { order_id: '456' } };
    await publish(`websocket:notification:${ann}`, shape('notification', order));
    const frame = await page.take('notification');
    assert.deepEqual(frame.content, order);
    assert.equal(frame.data.read, false);
    assert.deepEqual(other.all('notification'), []);
  });
}

test('a notification waits for a user who is away', async () => {
  const user = newUser();
  await publish(`websocket:notification:${user}`, wrapped('notification', { title: '订单', body: 'b' }));
  await eventually(async () => (await server.api(`/api/v1/inbox/unread?user=${user}`)).json?.count === 1, 'it is kept');
  assert.equal((await (await pages.as(user)).take('notification')).content.title, '订单');
});

test('what crashes the original is counted, and nobody is disturbed', async () => {
  const user = newUser();
  const page = await pages.as(user);
  for (const body of ['', 'null', '{"message":null}', 'no JSON', '{"event":"notification","data":{},"userId":"1","timestamp":1}']) {
    await publisher.publish('websocket:broadcast', body);
  }
  await publish(`websocket:user:${user}`, bare('system', { message: 'still here' }));
  assert.equal((await page.take('system')).content.message, 'still here');
  const { text } = await server.api('/metrics');
  assert.equal(Number(text.match(/^oyez_source_dead_letters_total\{app="ginforge",source="redis"\} (\S+)$/m)[1]), 5);
});
