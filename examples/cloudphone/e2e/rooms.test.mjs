// seeds/004: what a client may say (subscribe, unsubscribe, join_room, leave_room) and what it is answered.
import { after, afterEach, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { fence, serve } from '../../../tests/e2e/harness.mjs';
import { DURABLE } from '../../../tests/e2e/steps.mjs';
import { ADMIN, CONFIG, Clients, heardBy, newUser } from './clients.mjs';

let server;
let clients;

before(async () => { server = await serve(CONFIG); clients = new Clients(server); });
afterEach(() => clients.close());
after(async () => { await server?.stop(); });

/** The app's word for "no". */
const assertException = (answer) => {
  assert.equal(answer.status, 'error');
  assert.equal(typeof answer.message, 'string');
};

describe('what a client may say', () => {
  test('subscribe {userId} is answered with subscribed', async () => {
    const user = newUser();
    const socket = await clients.as(user);
    socket.emit('subscribe', { userId: user });
    assert.deepEqual(await socket.inbox.take('subscribed'), { userId: user, message: '订阅成功' });
  });

  test('a notification arrives once, though the user was subscribed already', async () => {
    const user = newUser();
    const socket = await clients.as(user);
    socket.emit('subscribe', { userId: user });
    socket.emit('subscribe', { userId: user });
    await socket.inbox.take('subscribed');
    await socket.inbox.take('subscribed');
    await server.publish(`user:${user}`, 'notification', { id: 1 });
    await fence(server, socket, `user:${user}`, DURABLE);
    assert.deepEqual(socket.inbox.all('notification'), [{ id: 1 }]);
  });

  test('unsubscribe {userId} is answered with unsubscribed, and stops what is not kept for the user', async () => {
    const user = newUser();
    const socket = await clients.as(user);
    socket.emit('unsubscribe', { userId: user });
    assert.deepEqual(await socket.inbox.take('unsubscribed'), { userId: user, message: '取消订阅成功' });
    await server.publish(`user:${user}`, 'notification', { id: 'unheard' }, { delivery: 'live' });
    await fence(server, socket, 'system');
    assert.deepEqual(socket.inbox.all('notification').filter((body) => body.id === 'unheard'), []);
    socket.emit('subscribe', { userId: user });
    await socket.inbox.take('subscribed');
    await server.publish(`user:${user}`, 'notification', { id: 'heard' });
    assert.deepEqual(await socket.inbox.take('notification', (body) => body.id === 'heard'), { id: 'heard' });
    socket.emit('unsubscribe', { userId: user });
    await socket.inbox.take('unsubscribed');
    await server.publish(`user:${user}`, 'notification', { id: 'kept' });
    await socket.inbox.take('notification', (body) => body.id === 'kept');
  });

  test('join_room and leave_room are answered with room_joined and room_left', async () => {
    const user = newUser();
    const socket = await clients.as(user, ADMIN);
    socket.emit('join_room', { room: 'admin' });
    assert.deepEqual(await socket.inbox.take('room_joined'), { room: 'admin', message: '加入房间成功' });
    socket.emit('leave_room', { room: 'admin' });
    assert.deepEqual(await socket.inbox.take('room_left'), { room: 'admin', message: '离开房间成功' });
    await server.publish('admin', 'message', { type: 'left' });
    await fence(server, socket, `user:${user}`);
    assert.deepEqual(socket.inbox.all('message').filter((body) => body.type === 'left'), []);
  });

  test('no handler ever answers an acknowledgement', async () => {
    const user = newUser();
    const socket = await clients.as(user, ADMIN);
    const answered = [];
    const ack = (...args) => answered.push(args);
    socket.emit('join_room', { room: 'admin' }, ack);
    socket.emit('subscribe', { userId: user }, ack);
    socket.emit('unknown', {}, ack);
    await socket.inbox.take('room_joined');
    await socket.inbox.take('subscribed');
    await fence(server, socket, `user:${user}`);
    assert.deepEqual(answered, []);
  });

  test('an unknown event is ignored', async () => {
    const user = newUser();
    const socket = await clients.as(user);
    socket.emit('permissions', { a: 1 });
    socket.emit('get_status', 'n1');
    socket.emit('subscribe', { userId: user });
    await socket.inbox.take('subscribed');
    assert.deepEqual(heardBy(socket).map(([name]) => name), ['welcome', 'subscribed']);
  });

  test('two thousand events in a burst are all answered', async () => {
    const user = newUser();
    const socket = await clients.as(user);
    const count = 1990;
    for (let index = 0; index < count; index += 1) socket.emit('subscribe', { userId: user });
    for (let index = 0; index < count; index += 1) await socket.inbox.take('subscribed', undefined, 20_000);
    assert.equal(socket.connected, true);
  });
});

test('an administrator may watch a user: subscribe {userId}', async () => {
  const user = newUser();
  const boss = await clients.as(newUser(), ADMIN);
  boss.emit('subscribe', { userId: user });
  assert.deepEqual(await boss.inbox.take('subscribed'), { userId: user, message: '订阅成功' });
  await server.publish(`user:${user}`, 'notification', { type: 'quota.updated', data: {} });
  await boss.inbox.take('notification');
});

describe('what is refused (the original let everybody in)', () => {
  test('another user\'s notifications', async () => {
    const [user, victim] = [newUser(), newUser()];
    const socket = await clients.as(user);
    socket.emit('subscribe', { userId: victim });
    assertException(await socket.inbox.take('exception'));
    await server.publish(`user:${victim}`, 'notification', { secret: true });
    await fence(server, socket, `user:${user}`, DURABLE);
    assert.deepEqual(socket.inbox.all('notification'), []);
    assert.deepEqual(socket.inbox.all('subscribed'), []);
  });

  test('the room admin for everybody else', async () => {
    const user = newUser();
    const socket = await clients.as(user);
    socket.emit('join_room', { room: 'admin' });
    assertException(await socket.inbox.take('exception'));
    await server.publish('admin', 'message', { secret: true });
    await fence(server, socket, `user:${user}`);
    assert.deepEqual(socket.inbox.all('message'), []);
    assert.deepEqual(socket.inbox.all('room_joined'), []);
  });

  const bad = {
    'join_room of a free room': ['join_room', { room: 'lobby' }],
    'join_room of a user\'s channel': ['join_room', { room: `user:${newUser()}` }],
    'join_room of everything': ['join_room', { room: '*' }],
    'join_room with an object for a name': ['join_room', { room: { admin: true } }],
    'join_room with an endless name': ['join_room', { room: 'x'.repeat(5000) }],
    'join_room with a line break in the name': ['join_room', { room: 'system\nadmin' }],
    'join_room without a body': ['join_room'],
    'subscribe without a body': ['subscribe'],
    'subscribe with null': ['subscribe', null],
    'subscribe with an empty id': ['subscribe', { userId: '' }],
    'subscribe with a list of ids': ['subscribe', { userId: ['a', 'b'] }],
  };
  for (const [name, emission] of Object.entries(bad)) {
    test(`${name} is answered with exception, and the connection stays usable`, async () => {
      const user = newUser();
      const socket = await clients.as(user);
      socket.emit(...emission);
      assertException(await socket.inbox.take('exception'));
      socket.emit('subscribe', { userId: user });
      assert.deepEqual(await socket.inbox.take('subscribed'), { userId: user, message: '订阅成功' });
      assert.deepEqual(heardBy(socket).map(([heard]) => heard), ['welcome', 'exception', 'subscribed']);
    });
  }

  test('a client cannot publish: an event of its own reaches nobody', async () => {
    const [user, other] = [newUser(), newUser()];
    const [socket, listener] = await Promise.all([clients.as(user, ADMIN), clients.as(other, ADMIN)]);
    for (const event of ['notification', 'message', 'quota.updated']) socket.emit(event, { spoofed: true });
    socket.emit('subscribe', { userId: user });
    await socket.inbox.take('subscribed');
    await fence(server, listener, 'admin');
    assert.deepEqual(listener.inbox.seen.filter(([, body]) => body?.spoofed), []);
  });
});
