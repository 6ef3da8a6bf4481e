// seeds/003: the handshake, what is heard first, who is online, the heartbeat.
import { after, afterEach, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { serve, token } from '../../../tests/e2e/harness.mjs';
import { derived } from '../../../tests/e2e/waiting.mjs';
import { CONFIG, Pages, RFC3339_NANO, documented, enhanced, mint, nameOf, newUser, plain, refusal } from './clients.mjs';

let server;
let pages;

before(async () => { server = await serve(CONFIG); pages = new Pages(server); });
afterEach(() => pages.close());
after(async () => { await server?.stop(); });

/** The parts of the envelope that the server fills by itself. */
const assertStamped = (frame) => {
  assert.ok(Number.isInteger(frame.timestamp), 'seconds, whole');
  assert.ok(Math.abs(frame.timestamp - Date.now() / 1000) < 60, `${frame.timestamp} is now, in seconds`);
  assert.match(frame.created_at, RFC3339_NANO);
};

describe('the handshake', () => {
  test('?token= opens, and welcome is the first frame', async () => {
    const page = await pages.as(newUser());
    assert.equal(page.inbox.seen[0][0], 'welcome');
    const { content, data, ...envelope } = page.welcome;
    assert.deepEqual(content, { code: 0, message: '欢迎连接到 GinForge WebSocket 服务', level: 'info' });
    assert.ok(data.client_id.length > 0);
    assert.match(data.server_time, RFC3339_NANO);
    assert.equal(envelope.type, 'welcome');
    assertStamped(envelope);
  });

  test('Authorization: Bearer opens as well', async () => {
    const user = newUser();
    const page = await pages.raw('/ws', { headers: { authorization: `Bearer ${mint(user)}` } }).opened;
    assert.equal((await page.take('user_status')).content.user_id, user);
  });

  for (const algorithm of ['HS256', 'HS384', 'HS512']) {
    test(`a token signed with ${algorithm} opens`, async () => {
      const user = newUser();
      await pages.as(user, { jwt: mint(user, { algorithm }) });
    });
  }

  const refused = {
    'no token': [() => '', '未提供认证令牌'],
    'an empty token': [() => '?token=', '未提供认证令牌'],
    'no JWT at all': [() => '?token=nonsense', '无效的认证令牌'],
    'an expired token': [() => `?token=${mint('1', { expiresIn: -1 })}`, '无效的认证令牌'],
    'another secret': [() => `?token=${mint('1', { secret: 'somebody-elses-secret-0123456789-abcdefgh' })}`, '无效的认证令牌'],
    'an unsigned token (alg none)': [() => `?token=${mint('1', { secret: '', algorithm: 'none' })}`, '无效的认证令牌'],
    'a token without user_id': [() => `?token=${token({ username: 'nobody' })}`, '未授权'],
  };
  for (const [name, [query, message]] of Object.entries(refused)) {
    test(`401 before the upgrade: ${name}`, async () => {
      const answer = await refusal(server, `/ws${query()}`);
      assert.equal(answer.status, 401);
      assert.match(answer.type, /application\/json/);
      const body = JSON.parse(answer.text);
      assert.equal(body.code, 401);
      assert.equal(body.message, message, 'as the code has it');
      assert.ok(typeof body.error === 'string' && body.error.length > 0, 'as the document has it');
    });
  }

  test('the app\'s own origins pass, a foreign page does not', async () => {
    for (const origin of ['http://127.0.0.1:8087', 'http://localhost:8087']) await pages.as(newUser(), { headers: { origin } });
    const answer = await refusal(server, `/ws?token=${mint(newUser())}`, { headers: { origin: 'http://evil.example' } });
    assert.equal(answer.status, 403);
  });

  test('a plain GET of /ws is answered, not hung', async () => {
    const response = await fetch(`${server.url}/ws?token=${mint(newUser())}`);
    assert.ok([400, 426].includes(response.status), String(response.status));
  });
});

describe('who is online', () => {
  test('every connection is announced to everybody, the newcomer included', async () => {
    const [first, second] = [newUser(), newUser()];
    const watcher = await pages.as(first);
    const online = (frame) => frame.content.user_id === second;
    for (let device = 0; device < 2; device += 1) {
      await pages.as(second);
      const frame = await watcher.take('user_status', online);
      assert.deepEqual(frame.content, { user_id: second, user_name: nameOf(second), status: 'online' });
      assertStamped(frame);
    }
  });

  test('user_offline comes only when the last connection has gone', async () => {
    const [first, second] = [newUser(), newUser()];
    const watcher = await pages.as(first);
    const [phone, desk] = [await pages.as(second), await pages.as(second)];
    const gone = (frame) => frame.content.user_id === second;
    phone.socket.close();
    await phone.closed;
    await desk.settled();
    await pages.fence(watcher, `user:${first}`);
    assert.deepEqual(watcher.all('user_offline').filter(gone), []);
    desk.socket.close();
    const frame = await watcher.take('user_offline', gone, 10_000);
    assert.deepEqual(frame.content, { user_id: second, user_name: nameOf(second), status: 'offline' });
    assertStamped(frame);
  });
});

describe('heartbeat', () => {
  for (const [name, client] of Object.entries({ enhanced, plain, documented })) {
    test(`the ping of the ${name} client is answered with pong`, async () => {
      const page = await pages.as(newUser());
      page.send(client.ping());
      const pong = await page.take('pong');
      assert.equal(pong.content, null);
      assertStamped(pong);
    });
  }

  test('who answers WebSocket pings or says anything stays; the silent one is dropped', async () => {
    const quick = await serve(derived(CONFIG, [[/"54s"/, '"300ms"'], [/"60s"/, '"1500ms"']]));
    const group = new Pages(quick);
    let talk;
    try {
      const [talker, listener] = [newUser(), newUser()];
      const talking = await group.as(talker, { autoPong: false });
      talk = setInterval(() => talking.send(enhanced.ping()), 100);
      const listening = await group.as(listener);
      const silent = await group.as(newUser(), { autoPong: false });
      await silent.closed;
      await group.fence(talking, `user:${talker}`);
      await group.fence(listening, `user:${listener}`);
    } finally {
      clearInterval(talk);
      group.close();
      await quick.stop();
    }
  });
});
