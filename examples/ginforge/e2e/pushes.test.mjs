// seeds/003: what backends send, in the envelope that the pages read.
import { after, afterEach, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { serve } from '../../../tests/e2e/harness.mjs';
import { DURABLE } from '../../../tests/e2e/steps.mjs';
import { CONFIG, Pages, RFC3339_NANO, enhanced, mint, newUser } from './clients.mjs';

let server;
let pages;

before(async () => { server = await serve(CONFIG); pages = new Pages(server); });
afterEach(() => pages.close());
after(async () => { await server?.stop(); });

const assertEnvelope = (frame, type, content) => {
  assert.equal(frame.type, type);
  assert.deepEqual(frame.content, content);
  assert.ok(Number.isInteger(frame.timestamp) && Math.abs(frame.timestamp - Date.now() / 1000) < 60, 'seconds');
  assert.match(frame.created_at, RFC3339_NANO);
};

// The message types of the document and of pkg/websocket, with their contents.
const ROWS = {
  system: { message: '系统将于 30 分钟后维护', level: 'warning', code: 1001 },
  notification: { title: '用户登录提醒', body: 'admin 于 2025-10-15 14:30:00 登录了系统', icon: 'User', link: '/system/users' },
  data_update: { entity: 'user', action: 'create', id: '123', data: { username: 'new_user' } },
  user_message: { from: 'user_123', to: 'user_456', text: 'Hello!' },
  chat: { text: '您好', media_type: 'text' },
  broadcast: { message: '全员通知' },
  room_message: { text: '有新用户加入' },
  user_status: { user_id: '0', user_name: 'somebody', status: 'busy' },
  refresh: { entity: 'menu' },
};

for (const [type, content] of Object.entries(ROWS)) {
  test(`${type}: to a user, to a room, to everybody`, async () => {
    const [ann, bob, room] = [newUser(), newUser(), `chat:push-${type}`];
    const [desk, phone, other] = [await pages.as(ann), await pages.as(ann), await pages.as(bob)];
    other.send(enhanced.join(room));
    await other.settled();
    const mine = { ...content, to_test: ann };
    const theirs = { ...content, to_test: room };
    const all = { ...content, to_test: '*' };
    await server.publish(`user:${ann}`, type, mine);
    await server.publish(room, type, theirs);
    await server.publish('*', type, all);
    const fits = (expected) => (frame) => frame.content?.to_test === expected.to_test;
    for (const page of [desk, phone]) assertEnvelope(await page.take(type, fits(mine)), type, mine);
    assertEnvelope(await other.take(type, fits(theirs)), type, theirs);
    for (const page of [desk, phone, other]) assertEnvelope(await page.take(type, fits(all)), type, all);
    await pages.fence(desk, `user:${ann}`, DURABLE);
    await pages.fence(other, `user:${bob}`, DURABLE);
    const marks = (page) => page.all(type).map((frame) => frame.content?.to_test).filter(Boolean);
    assert.deepEqual(marks(desk), [ann, '*']);
    assert.deepEqual(marks(other), [room, '*']);
  });
}

test('a notification carries notification_id and read, and keeps category and data (the original dropped them)', async () => {
  const user = newUser();
  const page = await pages.as(user);
  const content = {
    title: '订单发货通知', body: '订单 #456 已发货', icon: 'Truck', link: '/orders/456',
    category: 'order', data: { order_id: '456', order_status: 'shipped' },
  };
  await server.publish(`user:${user}`, 'notification', content);
  const frame = await page.take('notification');
  assertEnvelope(frame, 'notification', content);
  assert.equal(frame.data.read, false);
  assert.ok(frame.data.notification_id.length > 0);
  await server.publish(`user:${user}`, 'notification', content);
  const second = await page.take('notification');
  assert.notEqual(second.data.notification_id, frame.data.notification_id);
});

test('both pages of a user see the same notification_id', async () => {
  const user = newUser();
  const [desk, phone] = [await pages.as(user), await pages.as(user)];
  await server.publish(`user:${user}`, 'notification', { title: 't', body: 'b' });
  const [one, two] = [await desk.take('notification'), await phone.take('notification')];
  assert.equal(one.data.notification_id, two.data.notification_id);
});

describe('how a publication is delivered', () => {
  test('once, to a user who is also in the room', async () => {
    const [user, room] = [newUser(), 'chat:both'];
    const page = await pages.as(user);
    page.send(enhanced.join(room));
    await page.settled();
    await server.publish([`user:${user}`, room], 'system', { message: 'once' });
    await pages.fence(page, `user:${user}`);
    assert.equal(page.all('system').length, 1);
  });

  test('in the order in which it was published', async () => {
    const user = newUser();
    const page = await pages.as(user);
    for (let index = 0; index < 200; index += 1) await server.publish(`user:${user}`, 'data_update', { id: index });
    await pages.fence(page, `user:${user}`);
    assert.deepEqual(page.all('data_update').map((frame) => frame.content.id), Array.from({ length: 200 }, (_, index) => index));
  });

  test('to a user only, never to another', async () => {
    const [ann, bob] = [newUser(), newUser()];
    const [, other] = [await pages.as(ann), await pages.as(bob)];
    await server.publish(`user:${ann}`, 'system', { message: 'secret' });
    await pages.fence(other, `user:${bob}`);
    assert.deepEqual(other.all('system'), []);
  });

  test('only for who holds the key', async () => {
    for (const token of [null, 'wrong-key', mint(newUser())]) {
      const answer = await server.api('/api/v1/publish', { body: { to: '*', event: 'system', data: {} }, token });
      assert.ok([401, 403].includes(answer.status), `${answer.status} ${answer.text}`);
    }
  });
});
