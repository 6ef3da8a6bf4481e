// seeds/003: admin-api writes `token:blacklist:<token>` into Redis when somebody signs out. The original's WebSocket never
// looked there; here that ends the pages which came with the token, and lets nobody in with it.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { serve } from '../../../tests/e2e/harness.mjs';
import { redis } from '../../../tests/e2e/redis.mjs';
import { logged } from '../../../tests/e2e/sources.mjs';
import { eventually } from '../../../tests/e2e/waiting.mjs';
import { CONFIG, Pages, mint, newUser, refusal } from './clients.mjs';

const REVOKED = 4500;

/** A server whose Redis is up, and the Redis. */
async function start(t, ...args) {
  const broker = await redis(t, ...args);
  await broker.start();
  const server = await serve(CONFIG, { env: { REDIS_URL: broker.url } });
  t.after(() => server.stop());
  const pages = new Pages(server);
  t.after(() => pages.close());
  const working = 'oyez_source_working{app="ginforge",source="logout"} 1';
  await eventually(async () => (await server.api('/metrics')).text.includes(working), 'it is connected', 20_000);
  return { broker, server, pages, signOut: (jwt) => broker.ask('SET', `token:blacklist:${jwt}`, '1', 'EX', '86400') };
}

const assertRefused = async (server, jwt) => {
  const { status, text } = await refusal(server, `/ws?token=${jwt}`);
  assert.deepEqual([status, JSON.parse(text).message], [401, '无效的认证令牌']);
};

test('who signs out is out at once, on each page, and alone', async (t) => {
  const { broker, server, pages, signOut } = await start(t, '--notify-keyspace-events', 'Kg$');
  const [ann, bob] = [newUser(), newUser()];
  const jwt = mint(ann);
  const [page, second, other] = [await pages.as(ann, { jwt }), await pages.as(ann, { jwt }), await pages.as(bob)];
  await signOut(jwt);
  assert.deepEqual([await page.closed, await second.closed], [REVOKED, REVOKED]);
  await other.settled();
  await assertRefused(server, jwt);
  // A new token of the same user is another one.
  await pages.as(ann, { jwt: mint(ann, { expiresIn: '2h' }) });
  // Keys of others, and one of no token, say nothing.
  await broker.ask('SET', 'token:other', '1');
  await broker.ask('SET', 'token:blacklist:', '1');
  await other.settled();
  assert.ok(!server.logs.some((line) => line.includes('source_untold')));
});

test('where Redis does not tell, nobody comes in with such a token, and all are read on each connection', async (t) => {
  const { broker, server, pages, signOut } = await start(t);
  await logged(server, 0, 'source_untold', 'notify-keyspace-events');
  const [jwt, other] = [mint(newUser()), mint(newUser())];
  const page = pages.raw(`/ws?token=${jwt}`);
  await page.take('welcome');
  await signOut(other);
  await assertRefused(server, other);
  await signOut(jwt);
  await broker.ask('CLIENT', 'KILL', 'TYPE', 'pubsub');
  assert.equal(await page.closed, REVOKED);
  await assertRefused(server, jwt);
});

test('a key that is no text, and so no token, keeps no other from being read', async (t) => {
  const { broker, server, pages, signOut } = await start(t, '--notify-keyspace-events', 'Kg$');
  await broker.ask('EVAL', "redis.call('SET', 'token:blacklist:\\255\\254', '1')", '0');
  const [old, later] = [mint(newUser()), newUser()];
  const first = pages.raw(`/ws?token=${old}`);
  await first.take('welcome');
  // All keys are read anew; what is signed out meanwhile is found there, or told.
  await broker.ask('CLIENT', 'KILL', 'TYPE', 'pubsub');
  await signOut(old);
  assert.equal(await first.closed, REVOKED);
  const jwt = mint(later);
  const page = await pages.as(later, { jwt });
  await signOut(jwt);
  assert.equal(await page.closed, REVOKED);
  await assertRefused(server, jwt);
  assert.ok(!server.logs.some((line) => line.includes('UTF-8')));
});

test('what was written before the start counts, and without Redis everybody who has a good token comes in', async (t) => {
  const broker = await redis(t);
  await broker.start();
  const [jwt, bob] = [mint(newUser()), newUser()];
  // More than are read at once.
  const fill = "for n = 1, 2500 do redis.call('SET', 'token:blacklist:filler-' .. n, '1', 'EX', '600') end";
  await broker.ask('EVAL', fill, '0');
  await broker.ask('SET', `token:blacklist:${jwt}`, '1');
  const server = await serve(CONFIG, { env: { REDIS_URL: broker.url } });
  t.after(() => server.stop());
  const pages = new Pages(server);
  t.after(() => pages.close());
  const read = 'oyez_source_received_total{app="ginforge",source="logout"} 2501';
  await eventually(async () => (await server.api('/metrics')).text.includes(read), 'all are read', 20_000);
  await broker.stop();
  await logged(server, 0, 'source_failed', 'logout');
  await assertRefused(server, jwt);
  await pages.as(bob);
});
