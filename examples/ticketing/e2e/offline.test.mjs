// seeds/001: what waits for somebody who is away (消息持久化), what a broken connection misses, and what overtakes (优先级队列).
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fence, next, serve } from '../../../tests/e2e/harness.mjs';
import { folder } from '../../../tests/e2e/stage.mjs';
import { DURABLE, ask, derive, heard, heardExactly, unique } from '../../../tests/e2e/steps.mjs';
import { CONFIG, assertEnvelope, claims, login, subscribe } from './ticketing.mjs';

let server;
before(async () => { server = await serve(CONFIG); });
after(() => server.stop());

const notification = () => ({ id: unique('notif'), title: '新工单通知', message: '您有一个新的工单待处理', type: 'info', priority: 'high' });

/** Somebody who hears what becomes of messages; `receipts` is said with those, `delivered(id)` waits until one was. */
async function watch(t, desk = server) {
  const channel = `ticket:${unique('receipts')}`;
  const watcher = await login(t, desk);
  await ask(watcher, 'subscribed', ...subscribe([channel]));
  const delivered = async (id) => {
    const isThere = () => heard(watcher, 'receipt').some((receipt) => receipt.id === id && receipt.state === 'delivered');
    while (!isThere()) await next(watcher, 'receipt');
  };
  return { receipts: { channel }, delivered };
}

/** Opens the user's page once more; it has then heard all that waited. */
async function again(t, userId, desk = server) {
  const socket = await login(t, desk, { userId });
  await fence(desk, socket, `user:${userId}`, DURABLE);
  return socket;
}

test('离线消息: a notification to somebody who is away waits, and is shown when they come', async (t) => {
  const { userId } = claims();
  const payload = notification();
  await server.publish(`user:${userId}`, 'notification', payload, { id: payload.id });
  const socket = await again(t, userId);
  const [message, ...more] = heard(socket, 'notification');
  assertEnvelope(message, 'notification', payload);
  assert.deepEqual(more, []);
});

test('shown once: the hook that acknowledges nothing is believed when it answers the next heartbeat', async (t) => {
  const quick = await serve(await derive(t, CONFIG, (text) => text.replace('path = "/socket.io/"', 'path = "/socket.io/"\nping_interval = "200ms"')));
  t.after(() => quick.stop());
  const { userId } = claims();
  const { receipts, delivered } = await watch(t, quick);
  const { id } = await quick.publish(`user:${userId}`, 'notification', notification(), { receipts });
  const socket = await login(t, quick, { userId });
  await delivered(id);
  assert.equal(heard(socket, 'notification').length, 1);
  socket.disconnect();
  assert.deepEqual(heard(await again(t, userId, quick), 'notification'), []);
});

test('消息确认: a page that acknowledges is believed at once', async (t) => {
  const { userId } = claims();
  const { receipts, delivered } = await watch(t);
  const { id } = await server.publish(`user:${userId}`, 'notification', notification(), { receipts });
  const socket = await login(t, server, { userId });
  const [, acknowledge] = socket.heard.find(([name]) => name === 'notification')?.slice(1) ?? await next(socket, 'notification');
  acknowledge();
  await delivered(id);
  socket.disconnect();
  assert.deepEqual(heard(await again(t, userId), 'notification'), []);
});

test('who goes before the next heartbeat is shown it again, as it was', async (t) => {
  const { userId } = claims();
  await server.publish(`user:${userId}`, 'notification', notification());
  const socket = await again(t, userId);
  socket.disconnect();
  assert.deepEqual(heard(await again(t, userId), 'notification'), heard(socket, 'notification'));
});

test('消息去重: the same id published twice is stored and shown once', async (t) => {
  const socket = await login(t, server);
  const payload = notification();
  const channel = `user:${socket.user}`;
  assert.equal((await server.publish(channel, 'notification', payload, { id: payload.id })).duplicate, undefined);
  assert.equal((await server.publish(channel, 'notification', payload, { id: payload.id })).duplicate, true);
  await heardExactly(server, socket, channel, 'notification', 1, DURABLE);
});

test('reading on one device is heard on the other', async (t) => {
  const desk = await login(t, server);
  const phone = await login(t, server, { userId: desk.user });
  const payload = notification();
  const received = Promise.all([next(desk, 'notification'), next(phone, 'notification')]);
  await server.publish(`user:${desk.user}`, 'notification', payload, { id: payload.id });
  await received;
  const read = next(phone, 'notification:state');
  desk.emit('notification:ack', { id: payload.id, state: 'read' });
  assertEnvelope((await read)[0], 'notification:state', { ids: [payload.id], state: 'read' });
});

test('notifications of a role wait for nobody', async (t) => {
  const role = unique('role');
  const { level } = await server.publish(`role:${role}`, 'notification', notification());
  assert.equal(level, 'accepted');
  const socket = await login(t, server, { roles: [role] });
  await ask(socket, 'subscribed', ...subscribe([`role:${role}`]));
  await heardExactly(server, socket, `user:${socket.user}`, 'notification', 0, DURABLE);
});

test('断线重连: what was said meanwhile to everyone and in user, role, department and ticket channels comes, in order and once', async (t) => {
  const [role, department, ticket] = [unique('role'), unique('department'), unique('TKT')];
  const socket = await login(t, server, { roles: [role], departments: [department] });
  const channels = [`user:${socket.user}`, `role:${role}`, `department:${department}`, `ticket:${ticket}`];
  await ask(socket, 'subscribed', ...subscribe(channels));
  await fence(server, socket, channels[0]);
  const cut = next(socket, 'disconnect');
  socket.io.engine.close();
  await cut;
  const all = [...channels, '*'];
  for (let n = 0; n < 15; n += 1) await server.publish(all[n % 5], 'ticket_updated', { n });
  await next(socket, 'connect', 10_000);
  assert.equal(socket.recovered, true);
  await heardExactly(server, socket, channels[3], 'ticket_updated', 15);
  assert.deepEqual(heard(socket, 'ticket_updated').map(({ payload }) => payload.n), Array.from({ length: 15 }, (_, n) => n));
});

test('断线重连: a notification of that time comes once, with what asks for its acknowledgement', async (t) => {
  const socket = await login(t, server);
  const channel = `user:${socket.user}`;
  await fence(server, socket, channel);
  const cut = next(socket, 'disconnect');
  socket.io.engine.close();
  await cut;
  await server.publish(channel, 'notification', notification());
  await next(socket, 'connect', 10_000);
  assert.equal(socket.recovered, true);
  await heardExactly(server, socket, channel, 'notification', 1, DURABLE);
  assert.equal(typeof socket.heard.find(([name]) => name === 'notification').at(-1), 'function');
});

test('what is stored is there after a restart', async (t) => {
  const args = ['--data-dir', join(folder(t, {}), 'data')];
  const { userId } = claims();
  const earlier = await serve(CONFIG, { args });
  const { level } = await earlier.publish(`user:${userId}`, 'notification', notification());
  assert.equal(level, 'stored');
  await earlier.stop();
  const later = await serve(CONFIG, { args });
  t.after(() => later.stop());
  assert.equal(heard(await again(t, userId, later), 'notification').length, 1);
});
