// seeds/004: who may connect, by which path, and what is heard first.
import { after, afterEach, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { connected, fence, next, serve, token } from '../../../tests/e2e/harness.mjs';
import { ADMIN, CONFIG, Clients, ISSUED, adminHook, documentHook, mint, newUser, notificationService, productionHook, userContext } from './clients.mjs';

const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
let server;
let clients;

before(async () => { server = await serve(CONFIG); clients = new Clients(server); });
afterEach(() => clients.close());
after(async () => { await server?.stop(); });

describe('every client finds its server', () => {
  const ways = {
    'the admin site through /ws (engine path /ws/)': adminHook,
    'the admin site in production through /socket.io': productionHook,
    'the hook of the document, websocket only': documentHook,
    'the user site through /ws': userContext,
    'the development proxy that strips /ws (engine path /)': (auth) => ({ ...adminHook(auth), path: '/' }),
    'polling only, when websocket is blocked': (auth) => ({ ...adminHook(auth), transports: ['polling'] }),
    'polling only through /socket.io': (auth) => ({ ...productionHook(auth), transports: ['polling'] }),
    'polling only through the stripped path': (auth) => ({ ...adminHook(auth), path: '/', transports: ['polling'] }),
  };
  for (const [name, options] of Object.entries(ways)) {
    test(name, async () => {
      const user = newUser();
      const socket = await clients.welcomed(options(mint(user)));
      assert.equal(socket.welcome.message, '已连接到通知服务');
      assert.equal(socket.welcome.clientId, socket.id);
      assert.match(socket.welcome.timestamp, ISO);
      await server.publish(`user:${user}`, 'notification', { title: 'for you' });
      assert.deepEqual(await socket.inbox.take('notification'), { title: 'for you' });
    });
  }

  test('polling, then upgrade, through /ws', async () => {
    const user = newUser();
    const socket = clients.open({ ...adminHook(mint(user)), transports: ['polling', 'websocket'] });
    await next(socket.io, 'open');
    await next(socket.io.engine, 'upgrade');
    await connected(socket);
    await fence(server, socket, `user:${user}`);
    assert.equal(socket.io.engine.transport.name, 'websocket');
  });

  test('welcome is the first event', async () => {
    const socket = await clients.as(newUser(), ADMIN);
    assert.equal(socket.inbox.seen[0][0], 'welcome');
  });
});

describe('identity comes from the token only', () => {
  const refused = {
    'no token (the original served everybody)': () => ({ transports: ['websocket'] }),
    'the legacy client with ?userId= and no token': () => notificationService(newUser()),
    'an empty token': () => adminHook(''),
    'no JWT at all': () => adminHook('not-a-token'),
    'an expired token': () => adminHook(mint(newUser(), {}, { expiresIn: -1 })),
    'a token signed with another secret': () => adminHook(mint(newUser(), {}, { secret: 'somebody-elses-secret-0123456789-abcdefgh' })),
    'a token of another issuer': () => adminHook(mint(newUser(), {}, { issuer: 'elsewhere' })),
    'a token for another audience': () => adminHook(mint(newUser(), {}, { audience: 'other-users' })),
    'a token without issuer and audience': () => adminHook(token({ sub: newUser(), roles: [] })),
    'a token without a subject': () => adminHook(token({ username: 'nobody', roles: ['admin'] }, ISSUED)),
    'an unsigned token (alg none)': () => adminHook(mint(newUser(), {}, { secret: '', algorithm: 'none' })),
    'a token with an algorithm the app does not use': () => adminHook(mint(newUser(), {}, { algorithm: 'HS512' })),
  };
  for (const [name, options] of Object.entries(refused)) {
    test(`refused with connect_error: ${name}`, async () => {
      const socket = clients.open(options());
      const [error] = await next(socket, 'connect_error');
      assert.ok(error.message.length > 0);
      assert.equal(socket.connected, false);
      assert.equal(socket.active, false, 'the client does not try again by itself: no tight reconnect loop');
      assert.deepEqual(socket.inbox.seen, []);
    });
  }

  test('a user id in the query is not an identity', async () => {
    const [user, victim] = [newUser(), newUser()];
    const socket = await clients.welcomed({ ...adminHook(mint(user)), query: { userId: victim } });
    await server.publish(`user:${victim}`, 'notification', { secret: true });
    await fence(server, socket, `user:${user}`);
    assert.deepEqual(socket.inbox.all('notification'), []);
  });

  test('the app\'s own origins pass, a foreign page does not', async () => {
    const from = (origin) => ({ ...adminHook(mint(newUser())), reconnection: false, extraHeaders: { origin } });
    await clients.welcomed(from('http://127.0.0.1:30006'));
    await clients.welcomed(from('http://localhost:30006'));
    await next(clients.open(from('http://evil.example')), 'connect_error');
  });
});

describe('administrators are known by their token', () => {
  const cases = [
    [{ roles: ['admin'] }, true],
    [{ roles: ['super_admin'] }, true],
    [{ roles: ['user', 'superadmin'] }, true],
    [{ roles: [], isSuperAdmin: true }, true],
    [{ roles: ['user'] }, false],
    [{ roles: ['tenant_admin'] }, false],
    [{ roles: ['agent'], isSuperAdmin: false }, false],
    [{ roles: [], role: 'admin' }, false],
  ];
  for (const [claims, admin] of cases) {
    test(`${JSON.stringify(claims)} ${admin ? 'hears' : 'does not hear'} the room admin without asking`, async () => {
      const user = newUser();
      const socket = await clients.as(user, claims);
      await server.publish('admin', 'message', { type: 'quota.updated', data: { userId: user } });
      await fence(server, socket, `user:${user}`);
      assert.deepEqual(socket.inbox.all('message'), admin ? [{ type: 'quota.updated', data: { userId: user } }] : []);
    });
  }

  test('everybody hears the room system without asking', async () => {
    const [user, boss] = await Promise.all([clients.as(newUser()), clients.as(newUser(), ADMIN)]);
    await server.publish('system', 'notification', { type: 'system', title: '系统维护' });
    for (const socket of [user, boss]) {
      assert.deepEqual(await socket.inbox.take('notification', (body) => body.type === 'system'), { type: 'system', title: '系统维护' });
    }
  });
});
