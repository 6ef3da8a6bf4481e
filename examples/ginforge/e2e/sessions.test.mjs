// seeds/003: the routes beside the socket, and how a session ends: kicked, logged out (blacklisted), expired.
import { after, afterEach, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { serve } from '../../../tests/e2e/harness.mjs';
import { eventually } from '../../../tests/e2e/waiting.mjs';
import { CONFIG, Pages, mint, newUser, refusal } from './clients.mjs';

let server;
let pages;

before(async () => { server = await serve(CONFIG); pages = new Pages(server); });
afterEach(() => pages.close());
after(async () => { await server?.stop(); });

const get = (path, token) => server.api(path, { token });
const expiryOf = (jwt) => JSON.parse(Buffer.from(jwt.split('.')[1], 'base64url')).exp * 1000;

describe('routes of the gateway', () => {
  test('GET /healthz', async () => {
    assert.equal((await get('/healthz', null)).status, 200);
  });

  test('GET /ws/stats counts connections, users and rooms', async () => {
    const user = newUser();
    const jwt = mint(user);
    await eventually(async () => (await get('/ws/stats', jwt)).json.data.total_clients === 0, 'nobody is left of the tests before', 10_000);
    const page = await pages.as(user);
    await pages.as(user);
    await pages.as(newUser());
    page.send({ type: 'join_room', room: 'chat:stats' });
    await page.settled();
    const { status, json } = await get('/ws/stats', jwt);
    assert.equal(status, 200);
    assert.equal(json.code, 0);
    assert.equal(json.message, 'success');
    assert.equal(json.data.total_clients, 3);
    assert.equal(json.data.online_users, 2);
    assert.ok(json.data.total_rooms >= 1);
    assert.ok('uptime' in json.data);
  });

  test('GET /ws/online-users lists each user once', async () => {
    const user = newUser();
    await pages.as(user);
    await pages.as(user);
    const { json } = await get('/ws/online-users', mint(user));
    assert.equal(json.code, 0);
    assert.equal(json.data.users.filter((entry) => entry === user).length, 1);
    assert.equal(json.data.total, json.data.users.length);
  });

  test('GET /ws/session/client/{id} answers its owner, as the enhanced client asks after welcome', async () => {
    const user = newUser();
    const page = await pages.as(user);
    const path = `/ws/session/client/${page.welcome.data.client_id}`;
    const { status, json } = await get(path, mint(user));
    assert.equal(status, 200);
    assert.equal(json.code, 0);
    assert.equal(typeof json.data, 'object');
  });

  test('GET /ws/session/client/{id} tells nobody else', async () => {
    const page = await pages.as(newUser());
    const path = `/ws/session/client/${page.welcome.data.client_id}`;
    for (const token of [null, 'nonsense', mint(newUser())]) {
      const { json } = await get(path, token);
      assert.notEqual(json?.code, 0);
      assert.equal(json?.data ?? null, null);
    }
  });

  test('a token is needed for all of them', async () => {
    for (const path of ['/ws/stats', '/ws/online-users', '/ws/session/client/x']) {
      for (const token of [null, 'nonsense', mint('1', { expiresIn: -1 })]) {
        const { json } = await get(path, token);
        assert.equal(json.code, 401, path);
      }
    }
  });

  test('presence of a user: online until the last connection is gone', async () => {
    const user = newUser();
    const presence = async () => (await server.api(`/api/v1/users/${user}/presence`)).json;
    assert.equal((await presence()).online, false);
    const [desk, phone] = [await pages.as(user), await pages.as(user)];
    assert.equal((await presence()).connections, 2);
    desk.socket.close();
    await eventually(async () => (await presence()).connections === 1, 'one connection');
    assert.equal((await presence()).online, true);
    phone.socket.close();
    await eventually(async () => !(await presence()).online, 'offline', 10_000);
  });
});

describe('how a session ends', () => {
  test('kicked: the connection closes, and the page may come back', async () => {
    const user = newUser();
    const page = await pages.as(user);
    assert.equal((await server.api('/api/v1/disconnect', { body: { user } })).status, 200);
    await page.closed;
    await pages.as(user);
  });

  test('logged out: the token\'s hash is revoked, its live pages close within a second, and it opens nothing', async () => {
    const [user, other] = [newUser(), newUser()];
    const jwt = mint(user);
    const newer = mint(user, { expiresIn: '2h' });
    const [page, kept, bystander] = [await pages.as(user, { jwt }), await pages.as(user, { jwt: newer }), await pages.as(other)];
    const token_id = `sha256:${createHash('sha256').update(jwt).digest('hex')}`;
    const start = Date.now();
    assert.equal((await server.api('/api/v1/revoke', { body: { token_id } })).status, 200);
    await page.closed;
    assert.ok(Date.now() - start < 1000, `${Date.now() - start} ms`);
    assert.equal((await refusal(server, `/ws?token=${jwt}`)).status, 401);
    await kept.settled();
    await bystander.settled();
  });

  test('revoked user: every page of theirs closes', async () => {
    const user = newUser();
    const [desk, phone] = [await pages.as(user), await pages.as(user)];
    assert.equal((await server.api('/api/v1/revoke', { body: { user } })).status, 200);
    await Promise.all([desk.closed, phone.closed]);
    assert.equal((await refusal(server, `/ws?token=${mint(user)}`)).status, 401);
  });

  test('expired: warned at once when less than a minute is left, closed within a second of the end', async () => {
    const user = newUser();
    const jwt = mint(user, { expiresIn: 2 });
    const page = await pages.as(user, { jwt });
    await page.take('token:expiring', undefined, 1000);
    await page.closed;
    const late = Date.now() - expiryOf(jwt);
    assert.ok(late > -100 && late < 1500, `closed ${late} ms after the end`);
  });

  test('refreshed: lives on after the first token\'s end', async () => {
    const user = newUser();
    const jwt = mint(user, { expiresIn: 2 });
    const [page, clock] = [await pages.as(user, { jwt }), await pages.as(user, { jwt })];
    page.send({ type: 'auth:refresh', token: mint(user) });
    await clock.closed;
    await page.settled();
    assert.equal(page.open, true);
  });

  test('the server stops: every page is told by a close frame', async () => {
    const brief = await serve(CONFIG);
    const group = new Pages(brief);
    const page = await group.as(newUser());
    await brief.stop();
    assert.notEqual(await page.closed, 1006, 'not a cut connection');
  });
});
