// Durable messages in a real Redis that two nodes share: what one stores the other has, whatever ends in between.
import { join } from 'node:path';
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { authority } from './authority.mjs';
import { API_KEY, SECRET } from './harness.mjs';
import { CONFIG, ENV, device, user } from './keeping.mjs';
import { freePort, redis } from './redis.mjs';
import { folder, run, serving } from './stage.mjs';
import { eventually } from './waiting.mjs';

const SYNCS = ['--appendonly', 'yes', '--appendfsync', 'always'];
const VARIABLES = { ...ENV, JWT_SECRET: SECRET, OYEZ_API_KEY: API_KEY };

const node = (t, url, options = {}) => serving(t, CONFIG(options), { env: ENV, args: ['--store', url] });
const notice = (server, who, data, more = {}) => server.publish(`user:${who}`, 'notice', data, { app: 'desk', ...more });
const inbox = async (server, who, query = 'order=oldest&limit=1000') => (await server.api(`/api/v1/inbox?${query}`, { token: user(who) })).json.messages;
const ready = async (server) => (await server.api('/readyz', { token: null })).status;
const logged = (server, after, ...parts) => eventually(
  () => server.logs.slice(after).find((line) => parts.every((part) => line.includes(part))),
  `a line with ${parts.join(', ')}`, 20_000,
);
/** Publishes, whatever comes of it: the answer's status and words. */
const attempt = (server, body) => server.api('/api/v1/publish', { body: { event: 'notice', app: 'desk', ...body } }).catch((error) => ({ status: 0, text: String(error) }));

/** Whether it has WAITAOF. */
async function canWait(shared) {
  const [, version] = /redis_version:(\d+\.\d+)/.exec(await shared.ask('INFO', 'server'));
  return Number(version) >= 7.2;
}

async function two(t, ...options) {
  const shared = await redis(t, ...options);
  await shared.start();
  return { shared, a: await node(t, shared.url), b: await node(t, shared.url) };
}

test('two nodes have one inbox: stored by one, heard and acknowledged at the other, once', async (t) => {
  const { shared, a, b } = await two(t);
  assert.deepEqual(await notice(a, 'ann', { n: 1 }, { id: 'first' }), { id: 'first', level: 'stored' });
  assert.equal((await notice(b, 'ann', { n: 1 }, { id: 'first' })).duplicate, true);
  const atB = await device(t, b, 'ann', { word: 'seen' });
  assert.deepEqual(await atB.heard.take('notice'), { n: 1 });
  await eventually(async () => (await inbox(a, 'ann'))[0].state === 'seen', 'the acknowledgement at the other node');
  const atA = await device(t, a, 'ann');
  await notice(a, 'ann', { n: 2 });
  assert.deepEqual(await atA.heard.take('notice'), { n: 2 });
  assert.deepEqual(atA.heard.all('notice'), [{ n: 2 }], 'what was acknowledged does not come again');
  const both = await Promise.all(Array.from({ length: 50 }, (_, n) => [a, b].map((server) => notice(server, 'bob', { n }, { id: `both-${n}` }))).flat());
  assert.equal(both.filter((answer) => answer.duplicate).length, 50);
  assert.equal((await inbox(b, 'bob')).length, 50);
  const { stdout } = await run(['store', 'stats', '--store', shared.url, '--json']);
  assert.ok(JSON.parse(stdout).records >= 100, stdout);
  for (const [command, word] of [['verify', /redis-check-aof/], ['repair', /redis-check-aof --fix/], ['backup', /BGSAVE/], ['restore', /dump\.rdb/]]) {
    const { code, stderr } = await run(['store', command, '--store', shared.url, ...(/^[br]..[kt]/.test(command) ? ['x'] : [])]);
    assert.equal(code, 1);
    assert.match(stderr, word);
  }
});

test('rosters and what is scheduled are shared', async (t) => {
  const { a, b } = await two(t);
  const put = await a.api('/api/v1/channels/team:red/roster', { method: 'PUT', body: { app: 'desk', users: ['ann'] } });
  assert.equal(put.status, 200, put.text);
  await b.publish('team:red', 'notice', { n: 1 }, { app: 'desk' });
  const ann = await device(t, a, 'ann', { teams: ['red'], word: 'seen' });
  assert.deepEqual(await ann.heard.take('notice'), { n: 1 });
  await notice(a, 'ann', { n: 2 }, { deliver_at: new Date(Date.now() + 700).toISOString() });
  await notice(a, 'ann', { n: 3 });
  assert.deepEqual(await ann.heard.take('notice', ({ n }) => n === 3), { n: 3 });
  assert.deepEqual(await ann.heard.take('notice', ({ n }) => n === 2), { n: 2 });
});

test('what a node has scheduled that is gone is released by the other', async (t) => {
  const { a, b } = await two(t);
  const ann = await device(t, b, 'ann', { word: 'seen' });
  await notice(a, 'ann', { n: 1 }, { deliver_at: new Date(Date.now() + 1_000).toISOString() });
  a.child.kill('SIGKILL');
  assert.deepEqual(await ann.heard.take('notice', () => true, 15_000), { n: 1 });
});

test('who may not write, or not ask whether Redis syncs, is told the right that is missing', async (t) => {
  const shared = await redis(t, ...SYNCS);
  await shared.start();
  const rights = async (...given) => shared.ask('ACL', 'SETUSER', 'desk', 'reset', 'on', '>hidden', '~oyez:*', ...given);
  await rights('+@all', '-@dangerous', '+info', '+config|get');
  const server = await node(t, shared.url.replace('//', '//desk:hidden@'));
  await rights('+@read', '+@connection', '+@scripting', '+info', '+config|get');
  const { status, text } = await attempt(server, { to: 'user:ann', data: 1 });
  assert.equal(status, 503);
  assert.match(text, /ACL SETUSER NAME ~oyez:\* /);
  await rights('+@all', '-@dangerous', '+info', ...(await canWait(shared) ? ['-waitaof'] : []));
  await eventually(async () => (await attempt(server, { to: 'user:ann', data: 2, level: 'synced' })).json?.level === 'stored', 'it is stored', 15_000);
  await logged(server, 0, 'store_not_synced', 'ACL SETUSER NAME +config|get');
});

test('`synced` is said where Redis syncs, and only there', async (t) => {
  const shared = await redis(t, ...SYNCS);
  await shared.start();
  const server = await node(t, shared.url);
  assert.equal((await notice(server, 'ann', 1, { level: 'synced' })).level, 'synced');
  await shared.ask('CONFIG', 'SET', 'appendfsync', 'everysec');
  const waits = await canWait(shared);
  assert.equal((await notice(server, 'ann', 2, { level: 'synced' })).level, waits ? 'synced' : 'stored');
  await shared.ask('CONFIG', 'SET', 'appendonly', 'no');
  assert.equal((await notice(server, 'ann', 2, { level: 'synced' })).level, 'stored');
  await logged(server, 0, 'store_not_synced', waits ? 'appendonly is disabled' : 'appendfsync is everysec', 'CONFIG SET appendonly yes');
  await shared.ask('CONFIG', 'SET', 'appendonly', 'yes');
  await shared.ask('CONFIG', 'SET', 'appendfsync', 'always');
  assert.equal((await notice(server, 'ann', 3, { level: 'synced' })).level, 'synced');
});

test('kill -9 of Redis in the middle of publishing: what was answered `synced` is there, once', async (t) => {
  const { shared, a, b } = await two(t, ...SYNCS);
  const answered = [];
  const attempts = { count: 0 };
  let on = true;
  const publisher = async (server, name) => {
    for (let n = 0; on; n += 1) {
      const id = `${name}-${n}`;
      attempts.count += 1;
      const { status, json } = await attempt(server, { to: 'user:ann', data: id, id, level: 'synced' });
      if (status === 200) {
        assert.equal(json.level, 'synced');
        answered.push(id);
      }
    }
  };
  const publishers = Array.from({ length: 8 }, (_, n) => publisher([a, b][n % 2], `p${n}`));
  for (let round = 0; round < 3; round += 1) {
    const before = answered.length;
    await eventually(() => answered.length > before + 200, 'publications', 20_000);
    await shared.stop();
    await shared.start();
  }
  const before = answered.length;
  await eventually(() => answered.length > before + 200, 'publications', 20_000);
  on = false;
  await Promise.all(publishers);
  const ids = [];
  for (let cursor = ''; cursor !== undefined;) {
    const page = (await b.api(`/api/v1/inbox?order=oldest&limit=1000${cursor && `&cursor=${cursor}`}`, { token: user('ann') })).json;
    ids.push(...page.messages.map((message) => message.id));
    cursor = page.next;
  }
  const there = new Set(ids);
  assert.deepEqual(answered.filter((id) => !there.has(id)), [], 'nothing that was answered is lost');
  assert.equal(there.size, ids.length, 'nothing is there twice');
  assert.ok(answered.length > 800 && there.size <= attempts.count);
});

test('a connection that is cut, and a restart: red, and green again within three seconds', async (t) => {
  const { shared, a, b } = await two(t, ...SYNCS);
  const ann = await device(t, a, 'ann');
  await shared.ask('CLIENT', 'KILL', 'TYPE', 'normal');
  assert.equal((await notice(a, 'ann', 1)).level, 'stored');
  await ann.heard.take('notice');
  await shared.stop();
  await eventually(async () => await ready(a) === 503 && await ready(b) === 503, 'red');
  const refused = await attempt(a, { to: 'user:ann', data: 2, id: 'later' });
  assert.equal(refused.status, 503, refused.text);
  await a.publish('user:ann', 'live', { n: 1 }, { app: 'desk' });
  assert.deepEqual(await ann.heard.take('live'), { n: 1 }, 'live messages go on');
  await shared.start();
  const start = Date.now();
  await eventually(async () => await ready(a) === 200 && await ready(b) === 200, 'green', 3_000);
  assert.ok(Date.now() - start < 3_000);
  assert.equal((await notice(a, 'ann', 2, { id: 'later' })).level, 'stored');
  assert.deepEqual((await inbox(b, 'ann')).map(({ data }) => data), [1, 2]);
});

test('a Redis that does not answer: red, live messages go on, and what was asked meanwhile is stored once', async (t) => {
  const { shared, a, b } = await two(t);
  const ann = await device(t, a, 'ann');
  await shared.ask('CLIENT', 'PAUSE', '8000', 'ALL');
  const asked = attempt(a, { to: 'user:ann', data: 1, id: 'asked' });
  await a.publish('user:ann', 'live', { n: 1 }, { app: 'desk' });
  assert.deepEqual(await ann.heard.take('live'), { n: 1 });
  await eventually(async () => await ready(a) === 503 && await ready(b) === 503, 'red', 8_000);
  assert.equal((await asked).status, 503);
  await eventually(async () => await ready(a) === 200 && await ready(b) === 200, 'green', 8_000);
  await notice(a, 'ann', 1, { id: 'asked' });
  assert.deepEqual((await inbox(b, 'ann')).map(({ data }) => data), [1]);
});

test('a Redis that is not there yet is waited for', async (t) => {
  const shared = await redis(t);
  const server = await node(t, shared.url);
  await logged(server, 0, 'is it running there');
  assert.equal(await ready(server), 503);
  await shared.start();
  await eventually(async () => await ready(server) === 200, 'green', 3_000);
  await notice(server, 'ann', 1);
});

test('what a Redis refuses is told with the remedy', async (t) => {
  const shared = await redis(t, '--requirepass', 'right-one');
  await shared.start();
  const path = join(folder(t, { 'oyez.toml': CONFIG() }), 'oyez.toml');
  const starts = async (url, ...words) => {
    const { code, stderr } = await run(['serve', '--config', path, '--listen', '127.0.0.1:0', '--store', url], VARIABLES);
    assert.equal(code, 1, stderr);
    for (const word of words) assert.match(stderr, word);
    assert.ok(!/hidden/.test(stderr), stderr);
  };
  await starts(shared.url.replace('//', '//:hidden@'), /correct the user or the password/);
  await starts(shared.url, /correct the user or the password/);
  const ask = (...words) => shared.ask('-a', 'right-one', '--no-auth-warning', ...words);
  await ask('ACL', 'SETUSER', 'weak', 'on', '>hidden', '~*', '+@read');
  await starts(shared.url.replace('//', '//weak:hidden@'), /ACL SETUSER/);
  await ask('ACL', 'SETUSER', 'keeper', 'on', '>hidden', '~oyez:*', '+@all', '-@dangerous', '+info', '+config|get');
  const kept = await node(t, shared.url.replace('//', '//keeper:hidden@'));
  assert.equal((await notice(kept, 'ann', 1)).level, 'stored');
  const replica = await redis(t, '--replicaof', `127.0.0.1 ${shared.port}`, '--masterauth', 'right-one');
  await replica.start();
  await starts(replica.url, /is a replica of 127\.0\.0\.1:\d+; name its master/);
  await ask('SET', 'oyez:format', '99');
  await starts(shared.url.replace('//', '//:right-one@'), /newer version \(format 99/);
});

test('with TLS and a user of its own', async (t) => {
  const issuer = authority();
  t.after(issuer.end);
  issuer.issue('redis');
  const port = await freePort();
  const files = ['--tls-cert-file', issuer.file('redis.pem'), '--tls-key-file', issuer.file('redis.key'), '--tls-ca-cert-file', issuer.file('ca.pem')];
  const shared = await redis(t, '--tls-port', port, '--tls-auth-clients', 'no', ...files);
  await shared.start();
  await shared.ask('ACL', 'SETUSER', 'keeper', 'on', '>hidden', '~oyez:*', '+@all', '-@dangerous', '+info', '+config|get');
  const args = ['--store', `rediss://keeper:hidden@localhost:${port}`];
  const server = await serving(t, CONFIG(), { env: { ...ENV, SSL_CERT_FILE: issuer.file('ca.pem') }, args });
  await notice(server, 'ann', 1);
  assert.equal((await inbox(server, 'ann')).length, 1);
  const stranger = await serving(t, CONFIG(), { env: ENV, args });
  await logged(stranger, 0, 'store', 'certificate');
  assert.equal(await ready(stranger), 503);
});

test('a Redis without room refuses new messages, and lets those that are there be acknowledged', async (t) => {
  const shared = await redis(t, '--maxmemory-policy', 'noeviction');
  await shared.start();
  const server = await node(t, shared.url);
  const ann = await device(t, server, 'ann', { word: 'seen' });
  await notice(server, 'bob', 1, { id: 'one' });
  await shared.ask('CONFIG', 'SET', 'maxmemory', '1mb');
  const refused = await attempt(server, { to: 'user:ann', data: 2 });
  assert.equal(refused.status, 507, refused.text);
  assert.match(refused.text, /raise `maxmemory`/);
  assert.equal(await ready(server), 503);
  await server.publish('user:ann', 'live', 1, { app: 'desk' });
  await ann.heard.take('live');
  const marked = await server.api('/api/v1/inbox/mark', { token: user('bob'), body: { ids: ['one'], state: 'read' } });
  assert.equal(marked.status, 200, marked.text);
  await shared.ask('CONFIG', 'SET', 'maxmemory', '0');
  await notice(server, 'ann', 3);
  await eventually(async () => await ready(server) === 200, 'green', 10_000);
  await shared.ask('SCRIPT', 'FLUSH');
  await notice(server, 'ann', 4);
  await shared.ask('SCRIPT', 'FLUSH');
  assert.deepEqual((await inbox(server, 'ann')).map(({ data }) => data), [3, 4]);
});
