// seeds/001: the channel system and its rights (频道系统, 频道权限): user, role, department and ticket channels.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fence, next, serve } from '../../../tests/e2e/harness.mjs';
import { ISO, ask, barrier, heard, heardExactly, unique } from '../../../tests/e2e/steps.mjs';
import { CONFIG, login, subscribe, unsubscribe } from './ticketing.mjs';

let server;
before(async () => { server = await serve(CONFIG); });
after(() => server.stop());

/** Publishes to `channel` and expects this socket to hear it. */
async function hears(socket, channel) {
  const event = unique('notification');
  const received = next(socket, event);
  await server.publish(channel, event, { id: event });
  assert.deepEqual((await received)[0].payload, { id: event });
}

/** Publishes to `channel` and proves that this socket does not hear it. */
async function isDeafTo(socket, channel) {
  const event = unique('notification');
  await server.publish(channel, event, {});
  await heardExactly(server, socket, `user:${socket.user}`, event, 0);
}

test('用户频道 user:{userId}: joined without asking, on every device', async (t) => {
  const desk = await login(t, server);
  const phone = await login(t, server, { userId: desk.user });
  await hears(desk, `user:${desk.user}`);
  await hears(phone, `user:${desk.user}`);
});

test('用户频道: somebody else\'s is denied', async (t) => {
  const [rogue, victim] = await Promise.all([login(t, server), login(t, server)]);
  const error = await ask(rogue, 'subscription_error', ...subscribe([`user:${victim.user}`]));
  assert.equal(error.channel, `user:${victim.user}`);
  assert.equal(typeof error.message, 'string');
  await isDeafTo(rogue, `user:${victim.user}`);
});

test('用户频道: one may subscribe to one\'s own once more and still hears once', async (t) => {
  const socket = await login(t, server);
  assert.deepEqual((await ask(socket, 'subscribed', ...subscribe([`user:${socket.user}`]))).channels, [`user:${socket.user}`]);
  const event = unique('notification');
  await server.publish(`user:${socket.user}`, event, {});
  await heardExactly(server, socket, `user:${socket.user}`, event, 1);
});

test('subscribe([role, department]) is answered by subscribed {channels, timestamp}', async (t) => {
  const [role, department] = [unique('role'), unique('dept')];
  const socket = await login(t, server, { roles: [role], departments: [department] });
  const channels = [`role:${role}`, `department:${department}`];
  const { timestamp, ...answer } = await ask(socket, 'subscribed', ...subscribe(channels));
  assert.deepEqual(answer, { channels });
  assert.match(timestamp, ISO);
  for (const channel of channels) await hears(socket, channel);
});

test('角色频道 role:{roleName} needs the role', async (t) => {
  const role = unique('role');
  const [holder, other] = await Promise.all([login(t, server, { roles: [role] }), login(t, server, { roles: [unique('role')] })]);
  await ask(holder, 'subscribed', ...subscribe([`role:${role}`]));
  assert.equal((await ask(other, 'subscription_error', ...subscribe([`role:${role}`]))).channel, `role:${role}`);
  await hears(holder, `role:${role}`);
  await isDeafTo(other, `role:${role}`);
});

test('部门频道 department:{deptName} needs the department', async (t) => {
  const department = unique('dept');
  // A role of the same name is no department.
  const [member, other] = await Promise.all([login(t, server, { departments: [department] }), login(t, server, { roles: [department] })]);
  await ask(member, 'subscribed', ...subscribe([`department:${department}`]));
  assert.equal((await ask(other, 'subscription_error', ...subscribe([`department:${department}`]))).channel, `department:${department}`);
  await hears(member, `department:${department}`);
  await isDeafTo(other, `department:${department}`);
});

test('工单频道 ticket:{ticketId}: any signed-in user', async (t) => {
  const socket = await login(t, server);
  const channel = `ticket:${unique('TKT')}`;
  assert.deepEqual((await ask(socket, 'subscribed', ...subscribe([channel]))).channels, [channel]);
  await hears(socket, channel);
});

test('管理员 may subscribe to every channel', async (t) => {
  const [admin, user] = await Promise.all([login(t, server, { roles: ['admin'] }), login(t, server)]);
  const channels = [`user:${user.user}`, `role:${unique('role')}`, `department:${unique('dept')}`, `ticket:${unique('T')}`];
  assert.deepEqual((await ask(admin, 'subscribed', ...subscribe(channels))).channels, channels);
  for (const channel of channels) await hears(admin, channel);
});

test('a list with a denied channel: the others are subscribed, the denied one is named', async (t) => {
  const role = unique('role');
  const socket = await login(t, server, { roles: [role] });
  const denied = next(socket, 'subscription_error');
  const { channels } = await ask(socket, 'subscribed', ...subscribe([`role:${role}`, 'role:admin']));
  assert.deepEqual(channels, [`role:${role}`]);
  assert.equal((await denied)[0].channel, 'role:admin');
  await hears(socket, `role:${role}`);
});

test('a client cannot give itself roles', async (t) => {
  const socket = await login(t, server);
  socket.emit('subscribe', { type: 'subscribe', channels: ['role:admin'], userId: 'root', roles: ['admin'], user: { roles: ['admin'] } });
  const [error] = await next(socket, 'subscription_error');
  assert.equal(error.channel, 'role:admin');
});

test('unsubscribe is answered by unsubscribed and ends the delivery', async (t) => {
  const channel = `ticket:${unique('TKT')}`;
  const socket = await login(t, server);
  await ask(socket, 'subscribed', ...subscribe([channel]));
  await hears(socket, channel);
  assert.deepEqual((await ask(socket, 'unsubscribed', ...unsubscribe([channel]))).channels, [channel]);
  await isDeafTo(socket, channel);
});

test('subscriptions outlive a lost connection', async (t) => {
  const channel = `ticket:${unique('TKT')}`;
  const socket = await login(t, server);
  await ask(socket, 'subscribed', ...subscribe([channel]));
  const back = next(socket, 'connect', 10_000);
  socket.io.engine.close();
  await back;
  await hears(socket, channel);
});

test('subscriptions end when the client says goodbye', async (t) => {
  const channel = `ticket:${unique('TKT')}`;
  const socket = await login(t, server);
  await ask(socket, 'subscribed', ...subscribe([channel]));
  socket.disconnect();
  const greeted = next(socket, 'connected');
  socket.connect();
  await greeted;
  await isDeafTo(socket, channel);
});

test('channels as a string (财务对账页面 does it) is taken as one channel', async (t) => {
  const channel = `ticket:${unique('TKT')}`;
  const socket = await login(t, server);
  assert.deepEqual((await ask(socket, 'subscribed', ...subscribe(channel))).channels, [channel]);
  await hears(socket, channel);
});

for (const name of ['ai:analysis:started', 'ai:analysis:completed', 'ai:analysis:failed']) {
  test(`subscribe("${name}") as that page sends it gets an answer, and the connection stays`, async (t) => {
    const socket = await login(t, server);
    const answer = Promise.race([next(socket, 'subscribed'), next(socket, 'subscription_error')]);
    socket.emit(...subscribe(name));
    const [{ channels, channel }] = await answer;
    assert.equal(channel ?? channels[0], name);
    await fence(server, socket, `user:${socket.user}`);
  });
}

for (const [what, channels] of [
  ['nothing', undefined], ['null', null], ['a number', 7], ['an object', { role: 'admin' }], ['an empty string', ''],
  ['a list in a list', [['role:admin']]], ['an object in a list', [{ channel: 'role:admin' }]],
  ['a wildcard', ['*']], ['a pattern', ['user:*']], ['a control character', ['ticket:1\n2']],
  ['a name of 1,000 characters', [`ticket:${'9'.repeat(1000)}`]],
  ['a name of no known kind', ['secret:plans']], ['an empty id', ['ticket:']], ['a list of 10,000', Array(10_000).fill('role:admin')],
]) {
  test(`subscribe with ${what} for channels is denied, and the connection stays`, async (t) => {
    const socket = await login(t, server, { roles: [] });
    socket.emit(...subscribe(channels));
    await barrier(socket);
    await fence(server, socket, `user:${socket.user}`);
    assert.deepEqual(heard(socket, 'subscribed').flatMap(({ channels: granted }) => granted), []);
    assert.ok(heard(socket, 'subscription_error').length > 0 || heard(socket, 'exception').length > 0, 'the client is told');
  });
}

test('the events of the committed, broken server (authenticate, message) are ignored without harm', async (t) => {
  const [socket, other] = await Promise.all([login(t, server), login(t, server)]);
  socket.emit('authenticate', socket.jwt);
  socket.emit('message', { type: 'notification', userId: other.user, content: 'x' });
  socket.emit('my_own_event', { any: 'thing' });
  socket.emit('notification', { type: 'notification', payload: { id: 'forged' } });
  await barrier(socket);
  await fence(server, socket, `user:${socket.user}`);
  assert.deepEqual(heard(socket, 'auth_success'), []);
  await heardExactly(server, other, `user:${other.user}`, 'notification', 0);
});
