// seeds/004: several devices of one user, who is online, and how a session ends: kicked, revoked, expired, silent.
import { after, afterEach, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { fence, next, serve } from '../../../tests/e2e/harness.mjs';
import { derived, eventually } from '../../../tests/e2e/waiting.mjs';
import { ADMIN, CONFIG, Clients, adminHook, mint, newUser } from './clients.mjs';

let server;
let clients;

before(async () => { server = await serve(CONFIG); clients = new Clients(server); });
afterEach(() => clients.close());
after(async () => { await server?.stop(); });

const presence = async (user) => (await server.api(`/api/v1/users/${user}/presence`)).json;
const online = async () => (await server.api('/api/v1/online')).json;
const expiryOf = (jwt) => JSON.parse(Buffer.from(jwt.split('.')[1], 'base64url')).exp * 1000;

describe('several devices of one user', () => {
  test('eight connections, the most a user may have, all hear', async () => {
    const user = newUser();
    const sockets = await Promise.all(Array.from({ length: 8 }, () => clients.as(user)));
    await server.publish(`user:${user}`, 'notification', { id: 'n1' });
    for (const socket of sockets) assert.deepEqual(await socket.inbox.take('notification'), { id: 'n1' });
    assert.equal(new Set(sockets.map((socket) => socket.id)).size, 8);
  });

  test('presence of a user: online until the last connection is gone', async () => {
    const user = newUser();
    assert.equal((await presence(user)).online, false);
    const [first, second] = [await clients.as(user), await clients.as(user)];
    await eventually(async () => (await presence(user)).connections === 2, 'two connections');
    assert.equal((await presence(user)).online, true);
    first.disconnect();
    await eventually(async () => (await presence(user)).connections === 1, 'one connection');
    assert.equal((await presence(user)).online, true);
    second.disconnect();
    await eventually(async () => !(await presence(user)).online, 'offline', 10_000);
  });

  test('online counts: connections and users', async () => {
    await eventually(async () => (await online()).connections === 0, 'nobody is left of the tests before', 10_000);
    const user = newUser();
    await Promise.all([clients.as(user), clients.as(user), clients.as(newUser())]);
    await eventually(async () => (await online()).connections === 3, 'three connections');
    assert.equal((await online()).users, 2);
  });
});

describe('how a session ends', () => {
  test('kicked: the admin site connects again at once, and is served', async () => {
    const user = newUser();
    const socket = await clients.as(user);
    socket.on('disconnect', (reason) => { if (reason === 'io server disconnect') socket.connect(); }); // as useSocketIO.ts does
    const gone = next(socket, 'disconnect');
    assert.equal((await server.api('/api/v1/disconnect', { body: { user } })).status, 200);
    assert.equal((await gone)[0], 'io server disconnect');
    await socket.inbox.take('welcome');
    await fence(server, socket, `user:${user}`);
  });

  test('revoked: closed within a second, and refused when it comes back', async () => {
    const [user, other] = [newUser(), newUser()];
    const [socket, bystander] = await Promise.all([clients.as(user), clients.as(other)]);
    const options = adminHook(socket.auth.token);
    socket.io.reconnection(false);
    const gone = next(socket, 'disconnect', 1000);
    assert.equal((await server.api('/api/v1/revoke', { body: { user } })).status, 200);
    await gone;
    const again = clients.open(options);
    await next(again, 'connect_error');
    assert.equal(again.active, false);
    await fence(server, bystander, `user:${other}`);
  });

  test('expired: warned at once when less than a minute is left, closed within a second of the end', async () => {
    const user = newUser();
    const jwt = mint(user, {}, { expiresIn: 2 });
    const socket = await clients.welcomed({ ...adminHook(jwt), reconnection: false });
    await socket.inbox.take('token:expiring', undefined, 1000);
    await next(socket, 'disconnect', 5000);
    const late = Date.now() - expiryOf(jwt);
    assert.ok(late > -100 && late < 1500, `closed ${late} ms after the end`);
  });

  test('refreshed: lives on after the first token\'s end', async () => {
    const user = newUser();
    const brief = mint(user, {}, { expiresIn: 2 });
    const [socket, clock] = await Promise.all([1, 2].map(() => clients.welcomed({ ...adminHook(brief), reconnection: false })));
    socket.emit('auth:refresh', { token: mint(user) });
    await next(clock, 'disconnect', 5000);
    await fence(server, socket, `user:${user}`);
    assert.equal(socket.connected, true);
  });

  test('refreshed with fewer rights: the room admin is left at once', async () => {
    const user = newUser();
    const socket = await clients.as(user, ADMIN);
    await fence(server, socket, 'admin');
    socket.emit('auth:refresh', { token: mint(user, { roles: ['user'] }) });
    socket.emit('subscribe', { userId: user });
    await socket.inbox.take('subscribed');
    await server.publish('admin', 'message', { secret: true });
    await fence(server, socket, `user:${user}`);
    assert.deepEqual(socket.inbox.all('message'), []);
  });

  test('refreshed with another user\'s token: refused', async () => {
    const [user, victim] = [newUser(), newUser()];
    const socket = await clients.welcomed({ ...adminHook(mint(user)), reconnection: false });
    socket.emit('auth:refresh', { token: mint(victim) });
    socket.emit('subscribe', { userId: victim });
    await Promise.race([socket.inbox.take('exception'), next(socket, 'disconnect')]);
    const listener = await clients.as(victim);
    await server.publish(`user:${victim}`, 'notification', { secret: true });
    await listener.inbox.take('notification');
    if (socket.connected) await fence(server, socket, `user:${user}`);
    assert.deepEqual(socket.inbox.all('notification'), []);
  });
});

describe('heartbeat', () => {
  // The example with its minute made two seconds, and a ping every half.
  const hasty = () => derived(CONFIG, [
    [/^\[app\.cloudphone\.socketio\].*$/m, '$&\nping_interval = "500ms"\nping_timeout = "1500ms"'],
    [/^timeout = "60s"$/m, 'timeout = "2s"'],
  ]);

  test('a client that answers pings stays beyond the timeout, a silent one is dropped', async () => {
    const quick = await serve(hasty());
    const group = new Clients(quick);
    try {
      const user = newUser();
      const [socket, polling] = [await group.as(user), await group.welcomed({ ...adminHook(mint(user)), transports: ['polling'] })];
      const clock = await group.welcomed({ ...adminHook(mint(user, {}, { expiresIn: 4 })), reconnection: false });
      const silent = await group.as(user);
      silent.io.engine.transport.send = () => {}; // it hears the pings and never answers
      await next(silent, 'disconnect', 10_000);
      await next(clock, 'disconnect', 10_000); // more than two seconds have passed
      await fence(quick, socket, `user:${user}`);
      await fence(quick, polling, `user:${user}`);
    } finally {
      group.close();
      await quick.stop();
    }
  });
});
