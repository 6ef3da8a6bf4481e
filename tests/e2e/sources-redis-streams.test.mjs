// Messages from the streams of a real Redis, added by a stock client: what clients hear of them, what comes again, what
// another server takes over, what never does, and what is said when Redis is not as it should be.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { join, relative } from 'node:path';
import { Redis } from 'ioredis';
import { ROOT, serve } from './harness.mjs';
import { CONFIG, ENV, device, directory } from './keeping.mjs';
import { redis } from './redis.mjs';
import { counted, figure, logged, working } from './sources.mjs';
import { folder, serving } from './stage.mjs';
import { unique } from './steps.mjs';
import { eventually } from './waiting.mjs';

const NOBODY = 'nobody-any-more';

/** An app that reads two streams of this name. */
const config = (name, more = '') => CONFIG({
  more: `
[app.desk.source.${name}]
kind = "redis-streams"
url = { env = "REDIS_URL" }
from = ["${name}.orders", "${name}.alarms"]
field = "data"
claim_after = "1s"
${more}
[[app.desk.source.${name}.rule]]
match = "${name}.orders"
to = "user:{data.user}"
event = "order"
data = "{'data': data, 'id': message_id, 'sent': sent, 'by': headers.by}"
[[app.desk.source.${name}.rule]]
match = "${name}.alarms"
to = "user:{data.user}"
event = "alarm"
delivery = "durable"
`,
});

describe('Redis streams', () => {
  const stage = { ends: [] };
  before(async () => {
    const suite = { after: (end) => stage.ends.push(end) };
    stage.broker = await redis(suite, '--appendonly', 'yes', '--appendfsync', 'always');
    await stage.broker.start();
    stage.client = new Redis(stage.broker.port);
    stage.client.on('error', () => {}); // the tests end its server
    stage.ends.push(() => stage.client.disconnect());
  });
  after(async () => { for (const end of stage.ends.reverse()) await end(); });

  const add = (stream, data, ...more) => stage.client.xadd(stream, '*', 'data', typeof data === 'string' ? data : JSON.stringify(data), ...more);
  const names = () => {
    const source = unique('stream').replace(/\W/g, '');
    return { source, orders: `${source}.orders`, alarms: `${source}.alarms`, group: `oyez.desk.${source}` };
  };
  /** A server that reads the streams of these names. */
  const node = (t, of, { more, data = directory(t), url = stage.broker.url } = {}) => serving(t, config(of.source, more), {
    env: { ...ENV, REDIS_URL: url }, args: ['--data-dir', data],
  });
  /** The same, which may be killed. */
  const begin = async (t, of, data = directory(t)) => {
    const path = join(folder(t, { 'oyez.toml': config(of.source) }), 'oyez.toml');
    const server = await serve(relative(ROOT, path), { env: { ...ENV, REDIS_URL: stage.broker.url }, args: ['--data-dir', data] });
    t.after(() => server.stop());
    return server;
  };
  const pending = async (stream, { group }) => (await stage.client.xpending(stream, group))[0];
  const consumers = async (stream, { group }) => (await stage.client.xinfo('CONSUMERS', stream, group)).length;

  test('what is in a stream, and what is added to it, a user hears, and nothing is trimmed', async (t) => {
    const of = names();
    const first = await add(of.orders, { user: 'ann', n: 1 }, 'by', 'shop "one"');
    const server = await node(t, of);
    const ann = await device(t, server, 'ann');
    await working(server, of.source);
    await counted(server, 'received', of.source, 1);
    const second = await add(of.orders, { user: 'ann', n: 2 }, 'by', 'shop');
    const sent = (id) => Number(id.split('-')[0]);
    const heard = await ann.heard.take('order', ({ data }) => data.n === 2);
    assert.deepEqual(heard, { data: { user: 'ann', n: 2 }, id: `${of.orders}/${second}`, sent: sent(second), by: 'shop' });
    await add(of.orders, { nobody: true });
    await counted(server, 'unaddressed', of.source, 1);
    await eventually(async () => await pending(of.orders, of) === 0, 'all are acknowledged');
    await counted(server, 'lag', of.source, 0);
    assert.equal(await stage.client.xlen(of.orders), 3);
    assert.equal(await server.stop(), 0);
    assert.deepEqual([await consumers(of.orders, of), await consumers(of.alarms, of)], [0, 0]);
    assert.ok(first < second);
  });

  test('a group may begin after what is there', async (t) => {
    const of = names();
    await add(of.orders, { user: 'ann', n: 1 });
    const server = await node(t, of, { more: 'begin = "newest"' });
    await working(server, of.source);
    const ann = await device(t, server, 'ann');
    await add(of.orders, { user: 'ann', n: 2 }, 'by', 'x');
    await ann.heard.take('order');
    assert.deepEqual(ann.heard.all('order').map(({ data }) => data.n), [2]);
    assert.equal(await figure(server, 'received', of.source), 1);
  });

  test('poison goes to the dead letters with all it had and the reason, once, and holds up nobody', async (t) => {
    const of = names();
    const server = await node(t, of);
    await working(server, of.source);
    const cat = await device(t, server, 'cat');
    const poison = [['not JSON', 'not_json'], ['{"user":["a","b"]}', 'data'], ['['.repeat(100) + ']'.repeat(100), 'too_deep']];
    const ids = [];
    for (const [data] of poison) ids.push(await add(of.orders, data, 'by', 'x'));
    ids.push(await stage.client.xadd(of.orders, '*', 'other', '1'));
    await add(of.orders, { user: 'cat' }, 'by', 'x');
    await cat.heard.take('order');
    await counted(server, 'dead_letters', of.source, 4);
    await eventually(async () => await pending(of.orders, of) === 0, 'all are acknowledged');
    const dead = (await stage.client.xrange(`${of.group}.dead`, '-', '+')).map(([, fields]) => Object.fromEntries(
      fields.flatMap((value, at) => (at % 2 ? [[fields[at - 1], value]] : [])),
    ));
    dead.sort((a, b) => (a['x-oyez-id'] < b['x-oyez-id'] ? -1 : 1));
    assert.deepEqual(dead.map((letter) => letter['x-oyez-reason']), [...poison.map(([, reason]) => reason), 'no_body']);
    assert.deepEqual(dead.map((letter) => letter['x-oyez-id']), ids);
    assert.deepEqual([dead[0].data, dead[0].by, dead[0]['x-oyez-stream'], dead[0]['x-oyez-attempts']], ['not JSON', 'x', of.orders, '1']);
    assert.match(dead[3]['x-oyez-detail'], /no field `data`/);
  });

  test('nothing durable is lost when the server is killed, and nothing doubled', async (t) => {
    const of = names();
    const data = directory(t);
    const first = await begin(t, of, data);
    await working(first, of.source);
    const adding = (async () => { for (let n = 0; n < 600; n++) await add(of.alarms, { user: 'eve', n }); })();
    await eventually(async () => await figure(first, 'published', of.source) > 100, 'some are published', 20_000);
    first.child.kill('SIGKILL');
    await first.exited;
    await adding;
    const second = await begin(t, of, data);
    const eve = await device(t, second, 'eve', { word: 'delivered' });
    await eventually(() => new Set(eve.heard.all('alarm').map(({ n }) => n)).size === 600, 'all of them', 30_000);
    await eventually(async () => await pending(of.alarms, of) === 0, 'what the dead one had is taken over', 30_000);
    assert.equal(eve.heard.all('alarm').length, 600);
  });

  test('what a dead consumer left is claimed, what ends each server that has it is given up, what was deleted is forgotten', async (t) => {
    const of = names();
    await stage.client.xgroup('CREATE', of.orders, of.group, '0', 'MKSTREAM');
    const ids = [];
    for (const n of [1, 2, 3]) ids.push(await add(of.orders, { user: 'dan', n }, 'by', 'x'));
    await stage.client.xreadgroup('GROUP', of.group, NOBODY, 'STREAMS', of.orders, '>');
    await stage.client.xclaim(of.orders, of.group, NOBODY, 0, ids[1], 'RETRYCOUNT', 25);
    await stage.client.xdel(of.orders, ids[2]);
    const server = await node(t, of);
    const dan = await device(t, server, 'dan');
    await counted(server, 'received', of.source, 2);
    await counted(server, 'dead_letters', of.source, 1);
    await counted(server, 'published', of.source, 1);
    await eventually(async () => await pending(of.orders, of) === 0, 'nothing is left');
    const [[, fields]] = await stage.client.xrange(`${of.group}.dead`, '-', '+');
    assert.equal(fields[fields.indexOf('x-oyez-reason') + 1], 'deliveries');
    assert.equal(fields[fields.indexOf('data') + 1], '{"user":"dan","n":2}');
    assert.ok(dan.heard.all('order').every(({ data }) => data.n === 1));
  });

  test('several servers share a stream, and each entry is for one of them', async (t) => {
    const of = names();
    const [one, two] = [await node(t, of), await node(t, of)];
    await working(one, of.source);
    await working(two, of.source);
    for (let n = 0; n < 200; n++) await add(of.orders, { user: 'fay', n }, 'by', 'x');
    await eventually(async () => await figure(one, 'received', of.source) + await figure(two, 'received', of.source) === 200, 'all', 15_000);
    assert.ok(await figure(one, 'received', of.source) > 0 && await figure(two, 'received', of.source) > 0);
    await eventually(async () => await pending(of.orders, of) === 0, 'all are acknowledged');
  });

  test('a connection that is cut, and a stream that was flushed away with its group, are read again', async (t) => {
    const of = names();
    const server = await node(t, of);
    await working(server, of.source);
    const gus = await device(t, server, 'gus', { word: 'delivered' });
    await add(of.alarms, { user: 'gus', n: 1 });
    await gus.heard.take('alarm', ({ n }) => n === 1);
    let before = server.logs.length;
    await stage.broker.ask('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await eventually(() => add(of.alarms, { user: 'gus', n: 2 }).catch(() => false), 'it is added', 10_000);
    await logged(server, before, 'source_failed', 'lost', 'is read again');
    await gus.heard.take('alarm', ({ n }) => n === 2, 15_000);
    before = server.logs.length;
    await stage.client.flushall();
    await add(of.alarms, { user: 'gus', n: 3 });
    await logged(server, before, 'source_failed', 'missing', 'it is made again');
    await gus.heard.take('alarm', ({ n }) => n === 3, 15_000);
    assert.deepEqual(gus.heard.all('alarm').map(({ n }) => n), [1, 2, 3]);
  });

  test('what is no stream, a wrong password, and a user who may not read, are told with the remedy', async (t) => {
    const of = names();
    await stage.client.set(of.orders, 'a text');
    const wrong = await node(t, of);
    await logged(wrong, 0, 'source_failed', 'conflict', 'not keys of other kinds');
    const strangers = await node(t, of, { url: stage.broker.url.replace('//', '//nobody:hidden@') });
    const line = await logged(strangers, 0, 'source_failed', 'credentials', 'correct the user or the password');
    assert.ok(!line.includes('hidden'), line);
    await stage.broker.ask('ACL', 'SETUSER', 'weak', 'on', '>hidden', '~other', '+@all');
    const weak = await node(t, of, { url: stage.broker.url.replace('//', '//weak:hidden@') });
    await logged(weak, 0, 'source_failed', 'forbidden', `~${of.orders}`);
    const kim = await device(t, weak, 'kim');
    await weak.publish('user:kim', 'hello', 1, { app: 'desk' });
    await kim.heard.take('hello');
  });

  // The last: it ends Redis.
  test('a Redis that is not there yet, and one that is killed and comes back', async (t) => {
    const of = names();
    await stage.broker.stop();
    const server = await node(t, of);
    await logged(server, 0, 'source_failed', 'unreachable', 'is Redis running at');
    const lea = await device(t, server, 'lea', { word: 'delivered' });
    await stage.broker.start();
    await logged(server, 0, 'source_connected');
    await eventually(() => add(of.alarms, { user: 'lea', n: 1 }).catch(() => false), 'it is added', 20_000);
    await lea.heard.take('alarm');
    const before = server.logs.length;
    await stage.broker.stop();
    await logged(server, before, 'source_failed');
    await stage.broker.start();
    await eventually(() => add(of.alarms, { user: 'lea', n: 2 }).catch(() => false), 'it is added', 20_000);
    await lea.heard.take('alarm', ({ n }) => n === 2, 30_000);
    assert.deepEqual([...new Set(lea.heard.all('alarm').map(({ n }) => n))], [1, 2]);
  });

  for (const [how, more, event, count] of [
    ['durable, as many at once as are taken', '', 'alarm', 3_000],
    ['live, and deferred', 'events_per_second = 400\nwhen_over = "defer"', 'order', 900],
  ]) {
    test(`keeps the order of a stream: ${how}`, async (t) => {
      const of = names();
      const server = await node(t, of, { more });
      const there = await device(t, server, 'ann', { word: 'read' });
      await working(server, of.source);
      const pipeline = stage.client.pipeline();
      const stream = { alarm: of.alarms, order: of.orders }[event];
      for (let n = 0; n < count; n += 1) pipeline.xadd(stream, '*', 'data', JSON.stringify({ user: 'ann', n }), 'by', 'shop');
      await pipeline.exec();
      const number = (said) => (event === 'order' ? said.data.n : said.n);
      const numbers = () => there.heard.all(event).map(number);
      await eventually(() => numbers().length === count, 'all of them', 30_000);
      assert.deepEqual(numbers(), Array.from({ length: count }, (_, n) => n));
    });
  }
});
