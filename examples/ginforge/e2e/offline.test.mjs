// seeds/003: a notification (通知) for a page that is not open, and what plain frames say about it.
import { after, afterEach, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { serve } from '../../../tests/e2e/harness.mjs';
import { DURABLE } from '../../../tests/e2e/steps.mjs';
import { derived } from '../../../tests/e2e/waiting.mjs';
import { CONFIG, Pages, newUser } from './clients.mjs';

let server;
let pages;

before(async () => { server = await serve(CONFIG); pages = new Pages(server); });
afterEach(() => pages.close());
after(async () => { await server?.stop(); });

const CONTENT = { title: '订单发货通知', body: '订单 #456 已发货', icon: 'Truck', link: '/orders/456', category: 'order', data: { order_id: '456' } };

/** Opens the user's page, which has then heard all that waited. */
async function opened(user, all = pages) {
  const page = await all.as(user);
  await all.fence(page, `user:${user}`, DURABLE);
  return page;
}

test('a notification waits for its user, and its frame is the same whenever it comes', async () => {
  const user = newUser();
  await server.publish(`user:${user}`, 'notification', CONTENT, { id: `n-${user}` });
  const first = (await opened(user)).all('notification');
  assert.deepEqual(first.map(({ content, data }) => ({ content, data })), [{ content: CONTENT, data: { notification_id: `n-${user}`, read: false } }]);
  pages.close();
  assert.deepEqual((await opened(user)).all('notification'), first, 'the page closed before the next ping: shown again');
});

test('notification_ack is believed at once: unread_count falls, other pages hear it, and it is not shown again', async () => {
  const user = newUser();
  const id = `n-${user}`;
  await server.publish(`user:${user}`, 'notification', CONTENT, { id });
  const [desk, phone] = [await pages.as(user), await pages.as(user)];
  await phone.take('notification');
  await phone.take('unread_count', ({ content }) => content.count === 1);
  desk.send({ type: 'notification_ack', id, state: 'read' });
  assert.deepEqual((await phone.take('notification_state')).content, { ids: [id], state: 'read' });
  await phone.take('unread_count', ({ content }) => content.count === 0);
  assert.deepEqual((await opened(user)).all('notification'), []);
});

test('a page that acknowledges nothing is believed when its browser answers the next ping', async (t) => {
  const quick = await serve(derived(CONFIG, [[/ping_interval = "54s"/, 'ping_interval = "200ms"']]));
  t.after(() => quick.stop());
  const others = new Pages(quick);
  t.after(() => others.close());
  const [user, watcher] = [newUser(), await others.as(newUser())];
  watcher.send({ type: 'join_room', room: 'chat:receipts' });
  await watcher.settled();
  await quick.publish(`user:${user}`, 'notification', CONTENT, { receipts: { channel: 'chat:receipts' } });
  const page = await others.as(user);
  await page.take('notification');
  assert.equal((await watcher.take('receipt')).content.state, 'delivered');
  assert.deepEqual((await opened(user, others)).all('notification'), []);
});

test('chat and data_update wait for nobody', async () => {
  const user = newUser();
  await server.publish(`user:${user}`, 'data_update', { entity: 'user', action: 'create', id: '123' });
  assert.deepEqual((await opened(user)).all('data_update'), []);
});
