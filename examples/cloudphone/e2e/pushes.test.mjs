// seeds/004: every push of notification-service reaches whom it is meant for, once, with the payload as published.
import { after, afterEach, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { fence, serve } from '../../../tests/e2e/harness.mjs';
import { DURABLE } from '../../../tests/e2e/steps.mjs';
import { ADMIN, CONFIG, Clients, adminHook, heardBy, mint, newUser, productionHook, userContext } from './clients.mjs';
import { rows } from './rows.mjs';

let server;
let clients;

before(async () => { server = await serve(CONFIG); clients = new Clients(server); });
afterEach(() => clients.close());
after(async () => { await server?.stop(); });

/** What a socket heard since its welcome. */
const heard = (socket) => heardBy(socket).filter(([name]) => name !== 'welcome');
/** Everything published so far has arrived at a socket of this user. */
const settled = (socket, user) => fence(server, socket, `user:${user}`, DURABLE);

describe('every row of the event table', () => {
  for (const { key } of rows('')) {
    test(key, async () => {
      const users = { owner: newUser(), admin: newUser(), other: newUser() };
      const row = rows(users.owner).find((candidate) => candidate.key === key);
      const { user = [], admin = [], all = [] } = row;
      const [web, phone, boss, other] = await Promise.all([
        clients.welcomed(adminHook(mint(users.owner))),
        clients.welcomed(userContext(mint(users.owner))),
        clients.as(users.admin, ADMIN),
        clients.as(users.other),
      ]);
      for (const [event, data] of user) await server.publish(`user:${users.owner}`, event, data);
      for (const [event, data] of admin) await server.publish('admin', event, data);
      for (const [event, data] of all) await server.publish('*', event, data);
      await Promise.all([
        settled(web, users.owner), settled(phone, users.owner), settled(boss, users.admin), settled(other, users.other),
      ]);
      assert.deepEqual(heard(web), [...user, ...all]);
      assert.deepEqual(heard(phone), [...user, ...all], 'every device of the user');
      assert.deepEqual(heard(boss), [...admin, ...all]);
      assert.deepEqual(heard(other), all, 'nobody else');
    });
  }
});

describe('the real hooks', () => {
  test('useRealtimeQuota reads data.data of a notification and of a message', async () => {
    const user = newUser();
    const socket = await clients.welcomed(productionHook(mint(user, ADMIN)));
    const read = [];
    const handler = (body) => read.push([body.type, body.data.userId, body.data.usagePercent]);
    socket.on('notification', handler);
    socket.on('message', handler);
    const data = { userId: user, quotaId: 'q1', usagePercent: 85, alertLevel: 'warning' };
    await server.publish(`user:${user}`, 'notification', { type: 'quota.alert', data });
    await server.publish('admin', 'message', { type: 'quota.updated', data });
    await settled(socket, user);
    assert.deepEqual(read, [['quota.alert', user, 85], ['quota.updated', user, 85]]);
  });

  test('one event carries both families: the stored notification and the typed one', async () => {
    const user = newUser();
    const socket = await clients.as(user);
    const both = [{ id: 'n1', type: 'device', title: '设备已启动', message: '…' }, { type: 'device.status.changed', data: { deviceId: 'd1' } }];
    for (const body of both) await server.publish(`user:${user}`, 'notification', body);
    await settled(socket, user);
    assert.deepEqual(heard(socket), both.map((body) => ['notification', body]));
  });
});

describe('how a publication is delivered', () => {
  test('once, to an administrator addressed twice (as user and as room)', async () => {
    const user = newUser();
    const socket = await clients.as(user, ADMIN);
    await server.publish([`user:${user}`, 'admin', 'system'], 'notification', { type: 'critical', title: '配额严重告警' });
    await settled(socket, user);
    assert.deepEqual(heard(socket), [['notification', { type: 'critical', title: '配额严重告警' }]]);
  });

  test('in the order in which it was published', async () => {
    const user = newUser();
    const socket = await clients.as(user);
    for (let index = 0; index < 200; index += 1) await server.publish(`user:${user}`, 'notification', { index });
    await settled(socket, user);
    assert.deepEqual(socket.inbox.all('notification').map(({ index }) => index), Array.from({ length: 200 }, (_, index) => index));
  });

  test('to a polling client just as well', async () => {
    const user = newUser();
    const socket = await clients.welcomed({ ...adminHook(mint(user)), transports: ['polling'] });
    await server.publish(`user:${user}`, 'notification', { type: 'quota.updated', data: { 名称: '配额 😀' } });
    assert.deepEqual(await socket.inbox.take('notification'), { type: 'quota.updated', data: { 名称: '配额 😀' } });
  });

  test('to nobody without complaint: the user is offline', async () => {
    const answer = await server.publish(`user:${newUser()}`, 'notification', { type: 'quota.updated', data: {} });
    assert.equal(answer.level, 'accepted');
    assert.ok(answer.id.length > 0);
  });

  test('only for who holds the key', async () => {
    const body = { to: 'admin', event: 'message', data: {} };
    for (const token of [null, 'wrong-key', mint(newUser(), ADMIN)]) {
      const answer = await server.api('/api/v1/publish', { body, token });
      assert.ok([401, 403].includes(answer.status), `${answer.status} ${answer.text}`);
    }
  });
});
