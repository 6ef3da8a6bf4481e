// Messages from the channels of a real Redis, sent by a stock publisher: the connection's life, and what is wrong with it.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { Redis } from 'ioredis';
import { CONFIG, ENV, device } from './keeping.mjs';
import { redis } from './redis.mjs';
import { logged } from './sources.mjs';
import { serving } from './stage.mjs';
import { eventually } from './waiting.mjs';

// As YanYu's back office publishes: {event, data, userId, timestamp}.
const SOURCE = CONFIG({
  more: `
[app.desk.source.office]
kind = "redis"
url = { env = "REDIS_URL" }
from = ["notification", "ai:*"]
[[app.desk.source.office.rule]]
match = ["notification", "ai:analysis"]
to = "user:{data.userId}"
event = "{data.event}"
data = "data.data"
`,
});

const serveWith = (t, url) => serving(t, SOURCE, { env: { ...ENV, REDIS_URL: url } });
const body = (event, data) => JSON.stringify({ event, data, userId: 'ann', timestamp: Date.now() });

test('channels and patterns are heard, also after the connection was cut and the server restarted', async (t) => {
  const broker = await redis(t);
  const server = await serveWith(t, broker.url);
  const ann = await device(t, server, 'ann');
  await logged(server, 0, 'source_failed', 'unreachable', 'is Redis running at');
  await server.publish('user:ann', 'hello', 1, { app: 'desk' });
  await ann.heard.take('hello');
  await broker.start();
  await logged(server, 0, 'source_connected');
  const publisher = new Redis(broker.port);
  publisher.on('error', () => {}); // the test ends its server
  t.after(() => publisher.disconnect());
  await publisher.publish('notification', body('system:alert', { n: 1 }));
  assert.deepEqual(await ann.heard.take('system:alert'), { n: 1 });
  await publisher.publish('ai:analysis', body('ai:analysis:started', { recordCount: 2 }));
  assert.deepEqual(await ann.heard.take('ai:analysis:started'), { recordCount: 2 });
  await publisher.publish('ai:other', body('x', {}));

  let before = server.logs.length;
  await broker.ask('CLIENT', 'KILL', 'TYPE', 'pubsub');
  await logged(server, before, 'source_failed', 'lost', 'what was said meanwhile is lost');
  await logged(server, before, 'source_connected');
  await publisher.publish('notification', body('system:alert', { n: 2 }));
  assert.deepEqual(await ann.heard.take('system:alert'), { n: 2 });

  before = server.logs.length;
  await broker.stop();
  await logged(server, before, 'source_failed', 'unreachable');
  await broker.start();
  await logged(server, before, 'source_connected');
  await eventually(async () => await publisher.publish('notification', body('system:alert', { n: 3 })) === 1, 'somebody listens', 20_000);
  assert.deepEqual(await ann.heard.take('system:alert'), { n: 3 });
  const { text } = await server.api('/metrics');
  for (const line of ['oyez_source_unmatched_total{app="desk",source="office"} 1', 'oyez_source_working{app="desk",source="office"} 1']) {
    assert.ok(text.includes(line), `${line} is not in ${text}`);
  }
});

test('a wrong password, and a user who may not listen, are told with the remedy', async (t) => {
  const broker = await redis(t, '--requirepass', 'right-one');
  await broker.start();
  const wrong = await serveWith(t, broker.url.replace('//', '//:hidden@'));
  const line = await logged(wrong, 0, 'source_failed', 'credentials', 'correct the user or the password');
  assert.ok(!line.includes('hidden'), line);
  await broker.ask('-a', 'right-one', '--no-auth-warning', 'ACL', 'SETUSER', 'weak', 'on', '>hidden', 'resetchannels', '+@all');
  const weak = await serveWith(t, broker.url.replace('//', '//weak:hidden@'));
  await logged(weak, 0, 'source_failed', 'forbidden', 'ACL SETUSER');
});
