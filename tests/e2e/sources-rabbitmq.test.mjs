// Messages from a real RabbitMQ, sent by a stock publisher: what clients hear of them, what comes again, what never
// does, and what is said when the broker is not as it should be.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ROOT, serve } from './harness.mjs';
import { CONFIG, ENV, device, directory } from './keeping.mjs';
import { rabbitmq } from './rabbitmq.mjs';
import { counted, figure, logged as loggedAfter, working } from './sources.mjs';
import { folder, serving } from './stage.mjs';
import { unique } from './steps.mjs';
import { eventually } from './waiting.mjs';

const EXCHANGE = 'cloudphone.events';

/** An app with a source of this name; `more` is added to it, `rules` stand below it. */
const config = (name, { more = '', rules = RULES, url = '{ env = "RABBITMQ_URL" }', exchange = EXCHANGE } = {}) => CONFIG({
  more: `
[app.desk.source.${name}]
kind = "rabbitmq"
url = ${url}
exchange = "${exchange}"
from = ["quota.#", "device.#"]
data = "first(body.payload, body)"
drop = ["_trace", "resetToken"]
${more}
${rules}`.replaceAll('SOURCE', name),
});

const RULES = `
[[app.desk.source.SOURCE.rule]]
match = "quota.{what}"
to = "user:{data.userId}"
event = "quota"
data = "{'type': address, 'data': data, 'sent': sent}"
[[app.desk.source.SOURCE.rule]]
match = "device.{what}"
to = "user:{data.userId}"
event = "device"
id = "body.eventId"
delivery = "durable"
`;

const logged = (server, ...parts) => loggedAfter(server, 0, ...parts);

describe('RabbitMQ', () => {
  const stage = { ends: [] };
  before(async () => {
    const suite = { after: (end) => stage.ends.push(end) };
    stage.broker = await rabbitmq(suite);
    await stage.broker.start();
    stage.publisher = await stage.broker.connect();
    await stage.publisher.channel.assertExchange(EXCHANGE, 'topic', { durable: true });
  });
  after(async () => { for (const end of stage.ends.reverse()) await end(); });

  /** A server whose source has a name, and so a queue, of its own. */
  const node = async (t, options = {}) => {
    const source = unique('events');
    const { env, args = ['--data-dir', directory(t)], ...more } = options;
    const server = await serving(t, config(source, more), { env: { ...ENV, RABBITMQ_URL: stage.broker.url, ...env }, args });
    return { source, server, queue: `oyez.desk.${source}` };
  };
  const publish = (...args) => stage.publisher.publish(EXCHANGE, ...args);
  /** The same, as an outbox does it, again and again: a broker that has just begun refuses or forgets what it is sent. */
  const insist = (...args) => eventually(async () => {
    const { connection, publish } = await stage.broker.connect();
    const sent = publish(...args).then(() => true, () => false);
    const confirmed = await Promise.race([sent, delay(2000).then(() => false)]);
    await connection.close();
    return confirmed;
  }, 'it is confirmed', 30_000);
  const waiting = async (queue) => (await stage.publisher.channel.checkQueue(queue)).messageCount;

  test('what a publisher sends, a user hears', async (t) => {
    const { server, source, queue } = await node(t);
    await working(server, source);
    const ann = await device(t, server, 'ann');
    const event = { userId: 'ann', quotaId: 'q1', usage: { devices: 5 }, timestamp: '2026-11-21T00:01:44.327Z' };
    await publish('quota.updated', { ...event, _trace: { traceparent: '00-1' } }, { timestamp: 1795219304327 });
    assert.deepEqual(await ann.heard.take('quota'), { type: 'quota.updated', data: event, sent: 1795219304327 });
    // An envelope, from a publisher that counts seconds.
    const payload = { userId: 'ann', resetToken: 'secret', n: 1.0 };
    await publish('quota.renewed', { eventId: 'e', eventType: 'quota.renewed', payload, _trace: {} }, { timestamp: 1795219304 });
    assert.deepEqual(await ann.heard.take('quota'), { type: 'quota.renewed', data: { userId: 'ann', n: 1 }, sent: 1795219304000 });
    await counted(server, 'received', source, 2);
    await counted(server, 'published', source, 2);
    assert.equal(await waiting(queue), 0);
  });

  test('what is repeated is heard once, and what names nobody is taken and counted', async (t) => {
    const { server, source } = await node(t);
    await working(server, source);
    const bob = await device(t, server, 'bob', { word: 'delivered' });
    for (const eventId of ['one', 'one', 'two', 'one']) await publish('device.created', { eventId, payload: { userId: 'bob', eventId } });
    await publish('quota.updated', { quotaId: 'q1' });
    await publish('quota.updated', { userId: null });
    await publish('device.connection.failed.again', '{"deviceId":"d1"}');
    await counted(server, 'received', source, 7);
    await bob.heard.take('device', (data) => data.eventId === 'two');
    assert.deepEqual(bob.heard.all('device').map((data) => data.eventId), ['one', 'two']);
    assert.deepEqual(
      [await figure(server, 'duplicates', source), await figure(server, 'unaddressed', source), await figure(server, 'dead_letters', source)],
      [2, 3, 0],
    );
  });

  test('poison goes to the dead letters with the reason, once, and holds up nobody', async (t) => {
    const { server, source, queue } = await node(t);
    await working(server, source);
    const cat = await device(t, server, 'cat');
    const poison = [['quota.updated', 'no JSON', 'not_json'], ['quota.updated', Buffer.from([0xff]), 'not_text'],
      ['quota.updated', '['.repeat(100) + ']'.repeat(100), 'too_deep'], ['device.error', { userId: ['a', 'b'] }, 'data']];
    for (const [key, body] of poison) await publish(key, body, { messageId: 'm-1', headers: { 'x-own': 1 } });
    await publish('quota.updated', { userId: 'cat' });
    await cat.heard.take('quota');
    await counted(server, 'dead_letters', source, poison.length);
    for (const [key, body, reason] of poison) {
      const letter = await eventually(() => stage.publisher.channel.get(`${queue}.dead`, { noAck: true }), 'a dead letter');
      const { headers, messageId } = letter.properties;
      assert.deepEqual([letter.fields.routingKey, messageId, headers['x-own']], [key, 'm-1', 1]);
      assert.deepEqual([headers['x-oyez-reason'], headers['x-oyez-exchange'], headers['x-oyez-attempts']], [reason, EXCHANGE, 1]);
      assert.ok(headers['x-oyez-detail'].length > 0);
      assert.deepEqual(letter.content, Buffer.isBuffer(body) ? body : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)));
    }
    assert.equal(await waiting(queue), 0);
    assert.equal(await stage.publisher.channel.get(`${queue}.dead`), false);
    const line = await logged(server, 'source_dead_letter', 'not_json');
    assert.ok(!line.includes('no JSON'), line);
  });

  test('what comes while nobody reads waits, and what is cut off comes again, once', async (t) => {
    const { server, source, queue } = await node(t);
    await working(server, source);
    const dan = await device(t, server, 'dan', { word: 'delivered' });
    const send = async (from, to) => {
      for (let n = from; n < to; n++) await publish('device.started', { eventId: `${queue}-${n}`, userId: 'dan', n });
    };
    await send(0, 100);
    await stage.broker.ctl('close_all_connections', '--vhost', '/', 'a test');
    stage.publisher = await stage.broker.connect();
    await send(100, 200);
    await dan.heard.take('device', (data) => data.n === 199, 30_000);
    assert.deepEqual(dan.heard.all('device').map((data) => data.n), Array.from({ length: 200 }, (_, n) => n));
    assert.ok(await figure(server, 'failures', source, { reason: 'lost' }) >= 1);
    await logged(server, 'source_failed', 'connected again by itself');
    await eventually(async () => await waiting(queue) === 0, 'all are acknowledged');
  });

  test('nothing durable is lost when the server is killed, and nothing doubled', async (t) => {
    const data = directory(t);
    const source = unique('events');
    const path = join(folder(t, { 'oyez.toml': config(source, { more: 'prefetch = 20' }) }), 'oyez.toml');
    const begin = () => serve(relative(ROOT, path), { env: { ...ENV, RABBITMQ_URL: stage.broker.url }, args: ['--data-dir', data] });
    const first = await begin();
    await working(first, source);
    const sending = (async () => {
      for (let n = 0; n < 600; n++) await publish('device.started', { eventId: `${source}-${n}`, userId: 'eve', n });
    })();
    await eventually(async () => await figure(first, 'published', source) > 100, 'some are published', 20_000);
    first.child.kill('SIGKILL');
    await first.exited;
    await sending;
    const second = await begin();
    t.after(() => second.stop());
    const eve = await device(t, second, 'eve', { word: 'delivered' });
    await eve.heard.take('device', (data) => data.n === 599, 30_000);
    await eventually(() => new Set(eve.heard.all('device').map((data) => data.n)).size === 600, 'all of them', 20_000);
    assert.equal(eve.heard.all('device').length, 600);
  });

  test('an end that is asked for leaves the rest at the broker', async (t) => {
    const { server, source, queue } = await node(t);
    await working(server, source);
    for (let n = 0; n < 50; n++) await publish('device.started', { eventId: `${source}-${n}`, userId: 'fay', n });
    await counted(server, 'received', source, 50);
    assert.equal(await server.stop(), 0);
    await logged(server, 'source_stopped');
    await publish('device.started', { eventId: `${source}-last`, userId: 'fay' });
    assert.equal(await waiting(queue), 1);
  });

  test('the rules change while it is read; where it is read, too', async (t) => {
    const source = unique('events');
    const path = join(folder(t, { 'oyez.toml': config(source) }), 'oyez.toml');
    const server = await serve(relative(ROOT, path), { env: { ...ENV, RABBITMQ_URL: stage.broker.url } });
    t.after(() => server.stop());
    await working(server, source);
    const gus = await device(t, server, 'gus');
    writeFileSync(path, config(source, { rules: RULES.replace('event = "quota"', 'event = "renamed"') }));
    server.child.kill('SIGHUP');
    await logged(server, 'config_loaded');
    await publish('quota.updated', { userId: 'gus' });
    await gus.heard.take('renamed');
    assert.equal(await figure(server, 'received', source), 1);
    writeFileSync(path, config(source, { more: `queue = "other.${source}"` }));
    server.child.kill('SIGHUP');
    await logged(server, 'source_connected', `other.${source}`);
    await publish('quota.updated', { userId: 'gus' });
    await gus.heard.take('quota');
  });

  test('a storm for one user is kept from them, and from nobody else', async (t) => {
    const { server, source } = await node(t, { more: 'events_per_second = 10' });
    await working(server, source);
    const [hal, ida] = [await device(t, server, 'hal'), await device(t, server, 'ida')];
    for (let n = 0; n < 100; n++) stage.publisher.channel.publish(EXCHANGE, 'quota.updated', Buffer.from('{"userId":"hal"}'));
    await publish('quota.updated', { userId: 'ida' });
    await ida.heard.take('quota');
    await counted(server, 'received', source, 101);
    const [limited, published] = [await figure(server, 'limited', source), await figure(server, 'published', source)];
    assert.ok(limited >= 50 && limited + published === 101, `${limited} limited, ${published} published`);
    await eventually(() => hal.heard.all('quota').length === published - 1, 'those that passed');
  });

  test('what its author thinks is urgent, overtakes', async (t) => {
    const { server, source } = await node(t);
    await working(server, source);
    for (const priority of [9, 10, 6, 5, undefined]) await publish('device.created', { userId: 'lou' }, { priority });
    await counted(server, 'published', source, 5);
    const { json } = await server.api('/api/v1/inbox?user=lou&app=desk');
    assert.deepEqual(json.messages.map(({ priority }) => priority).sort(), ['high', 'normal', 'normal', 'urgent', 'urgent']);
  });

  test('a message that makes several publications makes all of them or none', async (t) => {
    const rules = `${RULES}
[[app.desk.source.SOURCE.rule]]
match = "device.{what}"
to = "{data.second}"
event = "second"
delivery = "durable"
`;
    const { server, source } = await node(t, { rules });
    await working(server, source);
    const mia = await device(t, server, 'mia');
    // No channel has so long a name: one of the two can never be published.
    await publish('device.created', { eventId: 'x', userId: 'mia', second: 'user:' + 'n'.repeat(2000) }, { messageId: 'one' });
    await counted(server, 'dead_letters', source, 1);
    assert.equal(await figure(server, 'published', source), 0);
    // Twice, as a publisher does who has heard no confirmation; neither rule says an id of its own for `second`.
    for (let n = 0; n < 2; n++) await publish('device.created', { eventId: 'y', userId: 'mia', second: 'user:mia' }, { messageId: 'two' });
    await counted(server, 'duplicates', source, 2);
    assert.deepEqual([mia.heard.all('device').length, mia.heard.all('second').length], [1, 1]);
  });

  test('without its address it is off', async (t) => {
    const { server, source } = await node(t, { env: { RABBITMQ_URL: '' } });
    assert.equal(await figure(server, 'working', source), 0);
    await logged(server, 'source_off');
    assert.ok(!server.logs.some((line) => /source_(?!off)/.test(line)), server.logs.join('\n'));
  });

  describe('says what is wrong, and serves all the same', () => {
    /** What is wrong is logged with these words and counted, and a client hears the API. */
    const told = async (t, options, reason, ...words) => {
      const { server, source } = await node(t, options);
      const line = await logged(server, 'source_failed', reason, ...words);
      assert.ok(!line.includes('guest:guest') && !line.includes('hidden'), line);
      assert.ok(await figure(server, 'failures', source, { reason }) >= 1);
      const kim = await device(t, server, 'kim');
      await server.publish('user:kim', 'hello', 1, { app: 'desk' });
      await kim.heard.take('hello');
      return { server, source };
    };
    const at = (path) => ({ env: { RABBITMQ_URL: path } });
    /** Does what the log says about this: each of its commands, as a shell would. */
    const follow = async (server, reason) => {
      const line = await logged(server, 'source_failed', reason, 'rabbitmqctl');
      const commands = JSON.parse(line).help.matchAll(/rabbitmqctl ((?:'[^']*'|[^\s',;]+| )+)/g);
      for (const [, words] of commands) {
        await stage.broker.ctl(...[...words.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, word]) => quoted ?? word));
      }
    };

    test('wrong credentials', (t) => told(t, at(stage.broker.url.replace('guest:guest', 'guest:hidden')), 'credentials', 'correct the user'));
    test('a virtual host that is not there', (t) => told(t, at(`${stage.broker.url}/nowhere`), 'missing', 'add_vhost nowhere && rabbitmqctl set_permissions'));
    test('a slash behind the port', (t) => told(t, at(`${stage.broker.url}/`), 'missing', 'drop the slash, or write /%2F'));
    test('a queue that belongs to another connection', async (t) => {
      const queue = unique('held');
      const theirs = await stage.broker.connect();
      await theirs.channel.assertQueue(queue, { exclusive: true });
      const { server, source } = await told(t, { more: `queue = "${queue}"\nqueue_type = "classic"` }, 'conflict', 'it belongs to another connection');
      await theirs.connection.close();
      await working(server, source);
    });
    test('a virtual host with as many queues as it may have, until it may have more', async (t) => {
      const vhost = unique('full');
      await stage.broker.ctl('add_vhost', vhost);
      await stage.broker.ctl('set_permissions', '-p', vhost, 'guest', '.*', '.*', '.*');
      await (await stage.broker.connect(`/${vhost}`)).channel.assertExchange(EXCHANGE, 'topic', { durable: true });
      await stage.broker.ctl('set_vhost_limits', '-p', vhost, '{"max-queues": 1}');
      const { server, source } = await told(t, at(`${stage.broker.url}/${vhost}`), 'other', 'is reached', `set_vhost_limits -p ${vhost}`);
      assert.match(await stage.broker.ctl('list_vhost_limits', '-p', vhost), /max-queues/);
      await stage.broker.ctl('set_vhost_limits', '-p', vhost, '{"max-queues": 2}');
      await working(server, source);
    });
    test('a virtual host that lets nobody in, until it does', async (t) => {
      const [vhost, queue] = [unique('closed off'), unique('inside')];
      await stage.broker.ctl('add_vhost', vhost);
      await stage.broker.ctl('add_user', `${vhost}-user`, 'hidden');
      const url = `${stage.broker.url.replace('guest:guest', `${encodeURI(vhost)}-user:hidden`)}/${encodeURI(vhost)}`;
      const { server, source } = await told(t, { ...at(url), more: `queue = "${queue}"` }, 'forbidden', `set_permissions -p '${vhost}' '${vhost}-user' '`);
      await stage.broker.ctl('set_permissions', '-p', vhost, 'guest', '.*', '.*', '.*');
      await (await stage.broker.connect(`/${encodeURI(vhost)}`)).channel.assertExchange(EXCHANGE, 'topic', { durable: true });
      await follow(server, 'forbidden');
      await working(server, source);
    });
    test('an exchange that is not there, until it is', async (t) => {
      const exchange = unique('later');
      const { server, source } = await told(t, { exchange }, 'missing', `start who publishes to the exchange \`${exchange}\``);
      await stage.publisher.channel.assertExchange(exchange, 'topic', { durable: true });
      await working(server, source);
    });
    test('a user who may not', async (t) => {
      await stage.broker.ctl('add_user', 'weak', 'hidden');
      await stage.broker.ctl('set_permissions', '-p', '/', 'weak', '^$', '^$', '.*');
      await told(t, at(stage.broker.url.replace('guest:guest', 'weak:hidden')), 'forbidden', 'set_permissions -p / weak');
    });
    // The broker keeps its own kind of queue under the name; what the log says makes room for the other.
    for (const [kind, other] of [['classic', 'quorum'], ['quorum', 'classic']]) {
      for (const end of ['', '.dead']) {
        test(`a ${kind} queue where ${other} ones are wanted${end && ', for the dead letters'}`, async (t) => {
          const queue = unique('taken');
          const theirs = await stage.broker.connect();
          await theirs.channel.assertQueue(queue + end, { durable: true, arguments: { 'x-queue-type': kind } });
          const more = `queue = "${queue}"\nqueue_type = "${other}"`;
          const { server, source } = await told(t, { more }, 'conflict', `delete_queue -p / ${queue}${end}`);
          await follow(server, 'conflict');
          await working(server, source);
        });
      }
    }
    test('an exchange of the dead letters with other settings', async (t) => {
      const queue = unique('taken');
      const theirs = await stage.broker.connect();
      await theirs.channel.assertExchange(`${queue}.dead`, 'fanout', { durable: true });
      const { server, source } = await told(t, { more: `queue = "${queue}"` }, 'conflict', `delete exchange name=${queue}.dead`);
      await theirs.channel.deleteExchange(`${queue}.dead`); // rabbitmqadmin asks a plugin, which is not on here
      await working(server, source);
    });
    test('no URL', (t) => told(t, at('http://127.0.0.1:1'), 'other', 'correct `url`'));
  });

  // The last: they end the broker. A quorum queue of RabbitMQ 3.10 that is killed takes nothing for long, so that one ends
  // as an operator would end it.
  for (const [type, signal] of [['quorum', 'SIGTERM'], ['classic', 'SIGKILL']]) {
    test(`a broker that is not there yet, and one that ends by ${signal} and comes back, with a ${type} queue`, async (t) => {
      const exchange = unique('restarted');
      await stage.publisher.channel.assertExchange(exchange, 'topic', { durable: true });
      await stage.broker.kill('SIGTERM');
      const { server, source } = await node(t, { exchange, more: `queue_type = "${type}"` });
      await logged(server, 'source_failed', 'unreachable', 'is RabbitMQ running at');
      const lea = await device(t, server, 'lea', { word: 'delivered' });
      await server.publish('user:lea', 'hello', 1, { app: 'desk' });
      await lea.heard.take('hello');
      const begun = async () => {
        const before = server.logs.length;
        await stage.broker.start();
        await eventually(() => server.logs.slice(before).some((line) => line.includes('source_connected')), 'it is connected', 60_000);
        stage.publisher = await stage.broker.connect();
      };
      await begun();
      await insist(exchange, 'device.started', { eventId: `${source}-1`, userId: 'lea', n: 1 });
      await lea.heard.take('device', (data) => data.n === 1);
      await stage.broker.kill(signal);
      await logged(server, 'source_failed', 'lost');
      await begun();
      await insist(exchange, 'device.started', { eventId: `${source}-2`, userId: 'lea', n: 2 });
      await lea.heard.take('device', (data) => data.n === 2, 30_000);
      assert.deepEqual(lea.heard.all('device').map((data) => data.n), [1, 2]);
    });
  }
});
