// seeds/004: notifications for users and administrators who are away, and how many are unread.
import { after, afterEach, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { fence, serve } from '../../../tests/e2e/harness.mjs';
import { DURABLE } from '../../../tests/e2e/steps.mjs';
import { ADMIN, CONFIG, Clients, newUser } from './clients.mjs';

let server;
let clients;

before(async () => { server = await serve(CONFIG); clients = new Clients(server); });
afterEach(() => clients.close());
after(async () => { await server?.stop(); });

const entity = (userId, more = {}) => ({ id: randomUUID(), userId, type: 'billing', status: 'pending', title: '余额不足', message: '余额不足。', ...more });
/** `sendToUser` of a stored notification, under its own id. */
const send = (body) => server.publish(`user:${body.userId}`, 'notification', body, { id: body.id });

/** Opens the site as this user; all that waited has come. */
async function opened(user, claims) {
  const socket = await clients.as(user, claims);
  await fence(server, socket, `user:${user}`, DURABLE);
  return socket;
}
/** How many are unread, as the user site hears it. */
const unread = (socket, count) => socket.inbox.take('unread-count', (body) => body.count === count);

describe('a user who is away', () => {
  test('finds the notification when they come, once, and unread-count with it', async () => {
    const body = entity(newUser());
    await send(body);
    const socket = await clients.as(body.userId);
    await unread(socket, 1);
    await fence(server, socket, `user:${body.userId}`, DURABLE);
    assert.deepEqual(socket.inbox.all('notification'), [body]);
  });

  test('finds it once, though the outbox published it twice', async () => {
    const body = entity(newUser());
    assert.equal((await send(body)).duplicate, undefined);
    assert.equal((await send(body)).duplicate, true);
    assert.deepEqual((await opened(body.userId)).inbox.all('notification'), [body]);
  });

  test('does not find a measurement that was published live', async () => {
    const user = newUser();
    await server.publish(`user:${user}`, 'notification', { type: 'quota.updated', data: {} }, { delivery: 'live' });
    assert.deepEqual((await opened(user)).inbox.all('notification'), []);
  });

  test('does not find one that has expired (expiresAt)', async () => {
    const [gone, here] = [entity(newUser()), entity(newUser())];
    await server.publish(`user:${gone.userId}`, 'notification', gone, { id: gone.id, ttl_ms: 1 });
    await server.publish(`user:${here.userId}`, 'notification', here, { id: here.id, ttl_ms: 3_600_000 });
    assert.deepEqual((await opened(here.userId)).inbox.all('notification'), [here]);
    assert.deepEqual((await opened(gone.userId)).inbox.all('notification'), []);
  });
});

describe('reading', () => {
  test('mark_read(id) takes one away on all devices, mark_all_read the rest', async () => {
    const user = newUser();
    const bodies = [entity(user), entity(user), entity(user)];
    for (const body of bodies) await send(body);
    const [web, phone] = await Promise.all([clients.as(user), clients.as(user)]);
    await unread(phone, 3);
    web.emit('mark_read', bodies[1].id);
    assert.deepEqual(await phone.inbox.take('notification:state'), { ids: [bodies[1].id], state: 'read' });
    await unread(phone, 2);
    const later = await opened(user);
    assert.deepEqual(later.inbox.all('notification').map(({ id }) => id), [bodies[0].id, bodies[2].id]);
    web.emit('mark_all_read');
    await unread(phone, 0);
  });
});

describe('an administrator who is away', () => {
  const critical = () => ({ type: 'critical', title: '配额严重告警', message: randomUUID() });

  test('finds what went wrong, if they were there before, and not the measurements', async () => {
    const [boss, user] = [newUser(), newUser()];
    await opened(boss, ADMIN);
    await opened(user);
    clients.close();
    const body = critical();
    await server.publish('admin', 'notification', body);
    await server.publish('admin', 'message', { type: 'quota.updated', data: { mark: body.message } });
    const socket = await opened(boss, ADMIN);
    assert.equal(socket.inbox.all('notification').filter(({ message }) => message === body.message).length, 1);
    assert.deepEqual(socket.inbox.all('message'), []);
    assert.deepEqual((await opened(user)).inbox.all('notification'), [], 'a user finds nothing');
  });

  test('finds once what is for them as user and as administrator', async () => {
    const boss = newUser();
    await opened(boss, ADMIN);
    clients.close();
    const body = critical();
    await server.publish([`user:${boss}`, 'admin'], 'notification', body);
    assert.equal((await opened(boss, ADMIN)).inbox.all('notification').filter(({ message }) => message === body.message).length, 1);
  });

  test('finds nothing, if they are none any more', async () => {
    const boss = newUser();
    await opened(boss, ADMIN);
    clients.close();
    await server.publish('admin', 'notification', critical());
    assert.deepEqual((await opened(boss)).inbox.all('notification'), []);
  });
});
