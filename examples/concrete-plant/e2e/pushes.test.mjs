// seeds/002: every row of 服务端推送事件, who hears it and how often, and 在线统计.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fence, next, serve } from '../../../tests/e2e/harness.mjs';
import { DURABLE, ask, heard, heardExactly, said, unique, uniqueNumber, until } from '../../../tests/e2e/steps.mjs';
import { CONFIG, login, own } from './plant.mjs';

let server;
before(async () => { server = await serve(CONFIG); });
after(() => server.stop());

const alarm = (more) => ({
  id: uniqueNumber(), type: 'low_stock', level: 'high', title: '水泥库存不足', message: '3号仓低于安全库存', source: 'inventory',
  source_id: 3, status: 'pending', triggered_at: '2026-11-21T02:00:00.000Z', data: '{"quantity":3}', ...more,
});

// Payloads as the document's 使用场景 sends them.
const SITE_EVENTS = {
  'production:update': (site) => ({ type: 'batch_started', batch: { id: 12, site_id: site, volume: 8.50, status: 'running' } }),
  'task:update': (site) => ({ id: 4, site_id: site, status: 'in_transit', vehicle: { id: 2, lat: 31.2304, lng: 121.4737 } }),
  'order:update': (site) => ({ id: 9, site_id: site, order_no: 'SO-9', status: 'confirmed' }),
  'vehicle:update': (site) => ({ id: 2, site_id: site, plate_no: '沪A12345', status: 'loading' }),
  'inventory:update': () => ({ type: 'stock_in', material: { id: 5, name: '水泥' }, quantity: 120.5 }),
  'dashboard:update': () => ({ production: { today: 360 }, alarms: { pending: 2 }, vehicles: { online: 8 } }),
};

for (const [event, payload] of Object.entries(SITE_EVENTS)) {
  test(`${event} to site:{id}: its subscribers, once, as published; no other site`, async (t) => {
    const [here, there] = await Promise.all([login(t, server), login(t, server)]);
    for (const socket of [here, there]) await ask(socket, 'subscribed', 'subscribe:site', { siteId: socket.site });
    const data = payload(here.site);
    const received = next(here, event);
    await server.publish(`site:${here.site}`, event, data);
    assert.deepEqual(await received, [data]);
    await heardExactly(server, here, own(here), event, 1);
    await heardExactly(server, there, own(there), event, 0);
  });
}

test('a site one has not subscribed to is not heard, though one might', async (t) => {
  const socket = await login(t, server);
  const event = unique('production:update');
  await server.publish(`site:${socket.site}`, event, {});
  await heardExactly(server, socket, own(socket), event, 0);
});

for (const event of ['alarm:new', 'alarm:update']) {
  test(`${event} to ["site:…", "alarms"] arrives once at a client that is in both`, async (t) => {
    const socket = await login(t, server);
    await ask(socket, 'subscribed', 'subscribe:site', { siteId: socket.site });
    await ask(socket, 'subscribed', 'subscribe:alarms');
    const data = alarm({ siteId: socket.site });
    const received = next(socket, event);
    await server.publish([`site:${socket.site}`, 'alarms'], event, data);
    assert.deepEqual(said(await received), [data]);
    await heardExactly(server, socket, own(socket), event, 1, DURABLE);
  });

  for (const field of ['siteId', 'site_id']) {
    test(`${event} with ${field}: heard in alarms only by those who may hear that site`, async (t) => {
      const site = uniqueNumber();
      const [local, foreign, admin] = await Promise.all([login(t, server, { siteId: site }), login(t, server), login(t, server, { userType: 'admin' })]);
      for (const socket of [local, foreign, admin]) await ask(socket, 'subscribed', 'subscribe:alarms');
      const data = alarm({ [field]: site });
      await server.publish('alarms', event, data);
      for (const [socket, times] of [[local, 1], [admin, 1], [foreign, 0]]) {
        await fence(server, socket, own(socket));
        assert.equal(heard(socket, event).filter(({ id }) => id === data.id).length, times);
      }
    });
  }
}

test('alarm:new that names no site is heard by all subscribers of alarms, and only by them', async (t) => {
  const [a, b, quiet] = await Promise.all([login(t, server), login(t, server), login(t, server)]);
  for (const socket of [a, b]) await ask(socket, 'subscribed', 'subscribe:alarms');
  const data = alarm();
  const received = Promise.all([next(a, 'alarm:new'), next(b, 'alarm:new')]);
  await server.publish('alarms', 'alarm:new', data);
  assert.deepEqual(await received, [[data], [data]]);
  await heardExactly(server, quiet, own(quiet), 'alarm:new', 0);
});

test('notification:new to user:{id}: 用户私信通知 on every device of the numeric user, nobody else', async (t) => {
  const desk = await login(t, server);
  const [phone, other] = await Promise.all([login(t, server, { sub: desk.user, siteId: desk.site }), login(t, server)]);
  await ask(other, 'subscribed', 'subscribe:notifications');
  const received = Promise.all([next(desk, 'notification:new'), next(phone, 'notification:new')]);
  await server.publish(`user:${desk.user}`, 'notification:new', { id: 1, title: '任务', content: '请处理' });
  assert.deepEqual((await received).map(said), [[{ id: 1, title: '任务', content: '请处理' }], [{ id: 1, title: '任务', content: '请处理' }]]);
  await heardExactly(server, other, own(other), 'notification:new', 0, DURABLE);
});

test('notification:new to notifications: 全局广播通知 reaches its subscribers', async (t) => {
  const [socket, quiet] = await Promise.all([login(t, server), login(t, server)]);
  await ask(socket, 'subscribed', 'subscribe:notifications');
  const received = next(socket, 'notification:new');
  await server.publish('notifications', 'notification:new', { id: 2, title: '公告' });
  assert.deepEqual(await received, [{ id: 2, title: '公告' }]);
  await heardExactly(server, quiet, own(quiet), 'notification:new', 0);
});

test('system:message reaches the whole namespace without any subscription', async (t) => {
  const [a, b] = await Promise.all([login(t, server), login(t, server)]);
  const data = { message: '系统将于今晚22:00进行维护，预计持续1小时', level: 'warning', timestamp: '2026-11-21T02:00:00.000Z' };
  const received = Promise.all([next(a, 'system:message'), next(b, 'system:message')]);
  await server.publish('*', 'system:message', data);
  assert.deepEqual(await received, [[data], [data]]);
});

test('a burst of one event arrives complete and in order: throttling is the hook\'s own affair', async (t) => {
  const socket = await login(t, server);
  await ask(socket, 'subscribed', 'subscribe:site', { siteId: socket.site });
  for (let n = 0; n < 50; n += 1) await server.publish(`site:${socket.site}`, 'data', { n });
  await heardExactly(server, socket, own(socket), 'data', 50);
  assert.deepEqual(heard(socket, 'data').map(({ n }) => n), Array.from({ length: 50 }, (_, n) => n));
});

const get = async (path) => {
  const { status, json, text } = await server.api(path);
  assert.equal(status, 200, text);
  return json;
};

test('getOnlineUsersCount: connections of the server come and go', async (t) => {
  const socket = await login(t, server);
  const phone = await login(t, server, { sub: socket.user, siteId: socket.site });
  await until(async () => assert.ok((await get('/api/v1/online')).connections >= 2));
  await until(async () => assert.equal((await get(`/api/v1/users/${socket.user}/presence`)).connections, 2));
  phone.disconnect();
  await until(async () => assert.equal((await get(`/api/v1/users/${socket.user}/presence`)).connections, 1));
  socket.disconnect();
  await until(async () => assert.equal((await get(`/api/v1/users/${socket.user}/presence`)).online, false));
});

/** The user ids that are in a site's channel, in order. */
async function peopleOf(site) {
  const { users } = await get(`/api/v1/channels/${encodeURIComponent(`site:${site}`)}/presence`);
  return users.map(({ user }) => user).sort();
}

test('getSiteOnlineUsersCount: a second site does not take one out of the first', async (t) => {
  const admin = await login(t, server, { userType: 'admin' });
  const sites = [uniqueNumber(), uniqueNumber()];
  for (const siteId of sites) await ask(admin, 'subscribed', 'subscribe:site', { siteId });
  for (const site of sites) await until(async () => assert.deepEqual(await peopleOf(site), [`${admin.user}`]));
  await ask(admin, 'unsubscribed', 'unsubscribe:site', { siteId: sites[0] });
  await until(async () => assert.deepEqual(await peopleOf(sites[0]), []));
});

test('getSiteOnlineUsersCount: who is in site:{id}, people once, however many devices', async (t) => {
  const socket = await login(t, server);
  const [phone, other] = await Promise.all([login(t, server, { sub: socket.user, siteId: socket.site }), login(t, server, { siteId: socket.site })]);
  for (const each of [socket, phone, other]) await ask(each, 'subscribed', 'subscribe:site', { siteId: socket.site });
  const users = () => peopleOf(socket.site);
  await until(async () => assert.deepEqual(await users(), [`${socket.user}`, `${other.user}`].sort()));
  other.disconnect();
  await until(async () => assert.deepEqual(await users(), [`${socket.user}`]));
  phone.disconnect();
  await ask(socket, 'pong', 'ping');
  await until(async () => assert.deepEqual(await users(), [`${socket.user}`]));
});
