// seeds/001: what backends push (事件类型, 消息广播) and what the REST routes and metrics tell.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fence, next, serve } from '../../../tests/e2e/harness.mjs';
import { DURABLE, ISO, ask, heard, heardExactly, unique, until } from '../../../tests/e2e/steps.mjs';
import { CONFIG, POSITION, assertEnvelope, heartbeat, login, subscribe } from './ticketing.mjs';

let server;
before(async () => { server = await serve(CONFIG); });
after(() => server.stop());

const ticket = { id: 'ticket-123', ticketNumber: 'TKT-2024-001', title: '系统故障', priority: 'high', status: 'open', createdBy: 'user-1' };
const at = '2026-11-21T02:00:00.000Z';

// Payloads as types/websocket.ts of frontend and backend write them.
const EVENTS = {
  ticket_created: ticket,
  ticket_updated: { ticketId: 'ticket-123', ticketNumber: 'TKT-2024-001', action: 'status_changed', oldValue: 'open', newValue: 'closed', updatedBy: 'user-1', updatedByName: '张三', timestamp: at },
  ticket_assigned: { ticketId: 'ticket-123', action: 'assigned', ticketNumber: 'TKT-2024-001', title: '系统故障', status: 'open', priority: 'high', assignedTo: 'user-2', updatedBy: 'user-1', changes: { assignedTo: 'user-2' }, timestamp: at },
  ticket_message: { ticketId: 'ticket-123', ticketNumber: 'TKT-2024-001', action: 'message_added', newValue: '已处理', updatedBy: 'user-1', updatedByName: '张三', timestamp: at },
  notification: { id: 'notif-1', title: '新工单通知', message: '您有一个新的工单待处理', type: 'info', priority: 'high', actionUrl: '/tickets/123', metadata: { n: 1.50, big: 9007199254740991 } },
  reconciliation_update: { recordId: 'r-1', status: 'matched', amount: 100.25, currency: 'CNY', updatedBy: 'user-1', timestamp: at },
  system_alert: { id: 'al-1', severity: 'critical', title: '告警', message: 'CPU', affectedServices: ['api'], timestamp: at },
  user_activity: { userId: 'user-1', username: 'Zhang', action: 'login', resource: 'session', timestamp: at },
};

for (const [event, payload] of Object.entries(EVENTS)) {
  test(`${event} arrives as {type, payload, timestamp}, once`, async (t) => {
    const socket = await login(t, server);
    const channel = `ticket:${unique('TKT')}`;
    await ask(socket, 'subscribed', ...subscribe([channel]));
    const received = next(socket, event);
    await server.publish(channel, event, payload);
    const [message, position, ...more] = await received;
    assertEnvelope(message, event, payload);
    assert.match(position, POSITION, 'where it stands, for recovery');
    assert.deepEqual(more, []);
    await heardExactly(server, socket, channel, event, 1);
  });
}

test('sendNotificationToUser: every device of the one user, nobody else', async (t) => {
  const [desk, other] = await Promise.all([login(t, server), login(t, server)]);
  const phone = await login(t, server, { userId: desk.user });
  const received = Promise.all([next(desk, 'notification'), next(phone, 'notification')]);
  await server.publish(`user:${desk.user}`, 'notification', EVENTS.notification);
  for (const [message] of await received) assertEnvelope(message, 'notification', EVENTS.notification);
  await heardExactly(server, other, `user:${other.user}`, 'notification', 0, DURABLE);
});

test('broadcastToRole: who subscribed with the role, and only they', async (t) => {
  const role = unique('role');
  const [holder, other] = await Promise.all([login(t, server, { roles: [role] }), login(t, server)]);
  await ask(holder, 'subscribed', ...subscribe([`role:${role}`]));
  const received = next(holder, 'notification');
  await server.publish(`role:${role}`, 'notification', EVENTS.notification);
  assertEnvelope((await received)[0], 'notification', EVENTS.notification);
  await heardExactly(server, other, `user:${other.user}`, 'notification', 0);
});

test('broadcastTicketCreated: everybody who is connected', async (t) => {
  const [a, b] = await Promise.all([login(t, server), login(t, server)]);
  const received = Promise.all([next(a, 'ticket_created'), next(b, 'ticket_created')]);
  await server.publish('*', 'ticket_created', ticket);
  for (const [message] of await received) assertEnvelope(message, 'ticket_created', ticket);
});

test('one publication to several channels of a socket arrives once (消息去重)', async (t) => {
  const role = unique('role');
  const socket = await login(t, server, { roles: [role] });
  const channel = `ticket:${unique('TKT')}`;
  await ask(socket, 'subscribed', ...subscribe([`role:${role}`, channel]));
  const event = unique('notification');
  await server.publish([`role:${role}`, channel, `user:${socket.user}`], event, {});
  await heardExactly(server, socket, channel, event, 1);
});

test('messages of one channel keep their order', async (t) => {
  const socket = await login(t, server);
  const channel = `user:${socket.user}`;
  for (let n = 0; n < 50; n += 1) await server.publish(channel, 'ticket_message', { n });
  await heardExactly(server, socket, channel, 'ticket_message', 50);
  assert.deepEqual(heard(socket, 'ticket_message').map(({ payload }) => payload.n), Array.from({ length: 50 }, (_, n) => n));
});

test('polling hears the same envelope', async (t) => {
  const socket = await login(t, server, {}, { transports: ['polling'] });
  const received = next(socket, 'notification');
  await server.publish(`user:${socket.user}`, 'notification', EVENTS.notification);
  assertEnvelope((await received)[0], 'notification', EVENTS.notification);
});

const testNotification = (jwt, body) => server.api('/api/websocket/test-notification', { body, token: jwt });

test('POST /api/websocket/test-notification: to oneself, as the document\'s curl line does', async (t) => {
  const socket = await login(t, server);
  const received = next(socket, 'notification');
  const sent = { title: '测试通知', message: '这是一条测试消息', type: 'info', priority: 'medium' };
  const { status, json, text } = await testNotification(socket.jwt, { userId: socket.user, ...sent });
  assert.equal(status, 200, text);
  assert.deepEqual(json, { success: true, message: 'Notification sent' });
  const [message] = await received;
  const { id, ...payload } = message.payload;
  assert.match(id, /^test-\d+$/);
  assert.deepEqual(payload, sent);
  assertEnvelope(message, 'notification', message.payload);
});

test('POST /api/websocket/test-notification: userId alone is enough', async (t) => {
  const socket = await login(t, server);
  const received = next(socket, 'notification');
  const { status } = await testNotification(socket.jwt, { userId: socket.user });
  assert.equal(status, 200);
  const { id, title, message, type, priority } = (await received)[0].payload;
  for (const field of [id, title, message, type, priority]) assert.equal(typeof field, 'string');
});

test('POST /api/websocket/test-notification: administrators to anyone, others only to themselves', async (t) => {
  const [admin, user, other] = await Promise.all([login(t, server, { roles: ['admin'] }), login(t, server), login(t, server)]);
  const denied = await testNotification(user.jwt, { userId: other.user });
  assert.equal(denied.status, 403);
  await heardExactly(server, other, `user:${other.user}`, 'notification', 0, DURABLE);
  const received = next(other, 'notification');
  assert.equal((await testNotification(admin.jwt, { userId: other.user })).status, 200);
  await received;
});

test('the REST routes need a valid user token', async () => {
  for (const token of [null, 'not.a.token']) {
    assert.equal((await testNotification(token, { userId: 'user-1' })).status, 401);
    assert.equal((await server.api('/api/websocket/status', { token })).status, 401);
  }
});

test('POST /api/websocket/test-notification without userId is a clear 400', async (t) => {
  const socket = await login(t, server);
  const { status, text } = await testNotification(socket.jwt, { title: 'to whom?' });
  assert.equal(status, 400);
  assert.match(text, /userId/);
});

test('GET /api/websocket/status: 在线用户统计, devices counted and people named once', async (t) => {
  const desk = await login(t, server);
  const status = async () => (await server.api('/api/websocket/status', { token: desk.jwt })).json;
  const { timestamp } = await status();
  assert.match(timestamp, ISO);
  const phone = await login(t, server, { userId: desk.user });
  const other = await login(t, server);
  await until(async () => {
    const { online, users } = await status();
    assert.equal(users.filter((user) => user === desk.user).length, 1);
    assert.ok(users.includes(other.user));
    assert.ok(online >= users.length + 1, `${online} connections of ${users.length} users`);
  });
  other.disconnect();
  phone.disconnect();
  await until(async () => {
    const { users } = await status();
    assert.ok(users.includes(desk.user), 'one device is left');
    assert.ok(!users.includes(other.user));
  });
});

test('Prometheus: the four counters of the document are there and count', async (t) => {
  const names = ['websocket_connections_total', 'websocket_messages_sent_total', 'websocket_messages_received_total', 'websocket_subscriptions_total'];
  const read = async () => {
    const { text } = await server.api('/metrics', { token: null });
    return names.map((name) => [...text.matchAll(new RegExp(`^${name}(?:\\{[^}]*\\})? ([0-9.e+]+)`, 'gm'))].reduce((sum, [, value]) => sum + Number(value), 0));
  };
  const earlier = await read();
  const socket = await login(t, server);
  await ask(socket, 'subscribed', ...subscribe([`ticket:${unique('TKT')}`]));
  heartbeat(socket);
  await next(socket, 'heartbeat_ack');
  await fence(server, socket, `user:${socket.user}`);
  await until(async () => (await read()).forEach((value, n) => assert.ok(value > earlier[n], `${names[n]}: ${earlier[n]} then ${value}`)));
});
