// Messages from a stream of a real JetStream, published by a stock client: what clients hear of them, what comes again,
// what another server gets, what never does, and what is said when NATS is not as it should be.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import net from 'node:net';
import { once } from 'node:events';
import { join, relative } from 'node:path';
import nats from 'nats';
import { ROOT, serve } from './harness.mjs';
import { CONFIG, ENV, device, directory } from './keeping.mjs';
import { nats as server } from './nats.mjs';
import { counted, figure, logged, working } from './sources.mjs';
import { folder, serving } from './stage.mjs';
import { unique } from './steps.mjs';
import { eventually } from './waiting.mjs';

/** An app that reads the stream of this name. */
const config = (name, { more = '', from = '">"' } = {}) => CONFIG({
  more: `
[app.desk.source.${name}]
kind = "nats-jetstream"
url = { env = "NATS_URL" }
stream = "${name}"
from = [${from}]
${/claim_after/.test(more) ? '' : 'claim_after = "1s"'}
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

const USERS = `authorization { users = [
  { user: all, password: hidden },
  { user: weak, password: hidden, permissions: { publish: ["$JS.API.STREAM.INFO.*", "_INBOX.>"] } } ] }
  no_auth_user: all`;

describe('JetStream', () => {
  const stage = { ends: [] };
  before(async () => {
    stage.broker = await server({ after: (end) => stage.ends.push(end) }, USERS);
    await stage.broker.start();
    stage.client = await nats.connect({ servers: `127.0.0.1:${stage.broker.port}`, reconnectTimeWait: 50, maxReconnectAttempts: -1 });
    stage.ends.push(() => stage.client.close());
    stage.streams = (await stage.client.jetstreamManager()).streams;
    stage.consumers = (await stage.client.jetstreamManager()).consumers;
    stage.js = stage.client.jetstream();
  });
  after(async () => { for (const end of stage.ends.reverse()) await end(); });

  /** The names of a source that no other has; its stream is made. */
  const names = async ({ stream = true } = {}) => {
    const source = unique('stream').replace(/\W/g, '');
    const of = { source, orders: `${source}.orders`, alarms: `${source}.alarms`, consumer: `oyez-desk-${source}` };
    if (stream) await make(of);
    return of;
  };
  const make = ({ source }) => stage.streams.add({ name: source, subjects: [`${source}.>`] });
  /** Publishes, and returns its number in the stream. */
  const add = async (subject, data, { by, id } = {}) => {
    const headers = nats.headers();
    if (by) headers.set('by', by);
    const text = typeof data === 'string' ? data : JSON.stringify(data);
    return (await stage.js.publish(subject, text, { headers, ...(id && { msgID: id }) })).seq;
  };
  const pending = async (of) => {
    const { num_pending, num_ack_pending } = await stage.consumers.info(of.source, of.consumer);
    return num_pending + num_ack_pending;
  };
  /** A server that reads that stream. */
  const node = (t, of, { data = directory(t), url = stage.broker.url, ...options } = {}) => serving(t, config(of.source, options), {
    env: { ...ENV, NATS_URL: url }, args: ['--data-dir', data],
  });
  /** The same, which may be killed. */
  const begin = async (t, of, data = directory(t)) => {
    const path = join(folder(t, { 'oyez.toml': config(of.source) }), 'oyez.toml');
    const oyez = await serve(relative(ROOT, path), { env: { ...ENV, NATS_URL: stage.broker.url }, args: ['--data-dir', data] });
    t.after(() => oyez.stop());
    return oyez;
  };
  /** The dead letters: [{headers, data, subject}]. */
  const dead = async (of) => {
    const { state } = await stage.streams.info(`${of.consumer}-dead`);
    const all = [];
    for (let seq = state.first_seq; seq <= state.last_seq; seq++) {
      const letter = await stage.streams.getMessage(`${of.consumer}-dead`, { seq });
      all.push({ get: (name) => letter.header.get(name), data: new TextDecoder().decode(letter.data), subject: letter.subject });
    }
    return all;
  };

  test('what is in a stream, and what is added to it, a user hears, once', async (t) => {
    const of = await names();
    await add(of.orders, { user: 'ann', n: 1 }, { by: 'shop "one"' });
    const oyez = await node(t, of);
    const ann = await device(t, oyez, 'ann');
    await working(oyez, of.source);
    await counted(oyez, 'received', of.source, 1);
    const earlier = Date.now();
    const second = await add(of.orders, { user: 'ann', n: 2 }, { by: 'shop' });
    const { sent, ...heard } = await ann.heard.take('order', ({ data }) => data.n === 2);
    assert.deepEqual(heard, { data: { user: 'ann', n: 2 }, id: `${of.source}/${second}-${sent}`, by: 'shop' });
    assert.ok(Math.abs(sent - earlier) < 60_000, `${sent}`);
    await add(of.orders, { user: 'ann', n: 3 }, { by: 'x', id: 'given' });
    assert.equal((await ann.heard.take('order', ({ data }) => data.n === 3)).id, 'given');
    await add(of.orders, { nobody: true });
    await add(`${of.source}.other`, {});
    await counted(oyez, 'unaddressed', of.source, 1);
    await counted(oyez, 'unmatched', of.source, 1);
    await eventually(async () => await pending(of) === 0, 'all are acknowledged');
    await counted(oyez, 'lag', of.source, 0);
    assert.equal((await stage.streams.info(of.source)).state.messages, 5);
    assert.equal(await oyez.stop(), 0);
    const again = await node(t, of);
    await working(again, of.source);
    await counted(again, 'lag', of.source, 0);
    assert.equal(await figure(again, 'received', of.source), 0);
  });

  test('a consumer may begin after what is there, and read some subjects only', async (t) => {
    const of = await names();
    await add(of.orders, { user: 'ann', n: 1 });
    const oyez = await node(t, of, { more: 'begin = "newest"', from: `"${of.orders}"` });
    await working(oyez, of.source);
    const ann = await device(t, oyez, 'ann');
    await add(of.alarms, { user: 'ann', n: 2 });
    await add(of.orders, { user: 'ann', n: 3 }, { by: 'x' });
    await ann.heard.take('order', ({ data }) => data.n === 3);
    assert.equal(await figure(oyez, 'received', of.source), 1);
  });

  test('several subjects are read where the server knows how, and else nothing', async (t) => {
    const of = await names();
    const oyez = await node(t, of, { from: `"${of.orders}", "${of.alarms}"` });
    const [major, minor] = stage.client.info.version.split('.').map(Number);
    if (major === 2 && minor < 10) return logged(oyez, 0, 'source_failed', 'conflict', 'need NATS 2.10');
    await working(oyez, of.source);
    for (const subject of [of.orders, of.alarms, `${of.source}.other`]) await add(subject, { user: 'ann' }, { by: 'x' });
    await counted(oyez, 'published', of.source, 2);
    await counted(oyez, 'lag', of.source, 0);
    return assert.equal(await figure(oyez, 'received', of.source), 2);
  });

  test('poison goes to the dead letters with all it had and the reason, once, and holds up nobody', async (t) => {
    const of = await names();
    const oyez = await node(t, of);
    await working(oyez, of.source);
    const cat = await device(t, oyez, 'cat');
    const poison = [['not JSON', 'not_json'], ['{"user":["a","b"]}', 'data'], ['['.repeat(100) + ']'.repeat(100), 'too_deep']];
    const numbers = [];
    for (const [data] of poison) numbers.push(await add(of.orders, data, { by: 'x' }));
    const large = await add(of.orders, `"${'x'.repeat((8 << 20) - 100)}`, { by: 'y' });
    await add(of.orders, { user: 'cat' }, { by: 'x' });
    await cat.heard.take('order');
    await counted(oyez, 'dead_letters', of.source, 4);
    await eventually(async () => await pending(of) === 0, 'all are acknowledged');
    const letters = (await dead(of)).sort((a, b) => a.get('x-oyez-sequence') - b.get('x-oyez-sequence'));
    assert.deepEqual(letters.map(({ get }) => get('x-oyez-reason')), [...poison.map(([, reason]) => reason), 'not_json']);
    assert.deepEqual(letters.map(({ get }) => Number(get('x-oyez-sequence'))), [...numbers, large]);
    const [first] = letters;
    assert.deepEqual(
      [first.data, first.get('by'), first.get('x-oyez-stream'), first.get('x-oyez-subject'), first.get('x-oyez-attempts'), first.subject],
      ['not JSON', 'x', of.source, of.orders, '1', `${of.consumer}.dead`],
    );
    assert.match(first.get('x-oyez-detail'), /not JSON/);
    // What is too large with its reason lies there without its body.
    assert.deepEqual([letters[3].data, letters[3].get('by'), letters[3].get('x-oyez-truncated')], ['', 'y', String((8 << 20) - 99)]);
  });

  test('a message that looks like a word of the server, and one with a strange subject, are messages', async (t) => {
    const of = await names();
    const raw = net.connect(stage.broker.port, '127.0.0.1');
    t.after(() => raw.destroy());
    const head = 'NATS/1.0 503 No Responders\r\nby: mallory\r\n\r\n';
    const body = '{"user":"mia"}';
    raw.write('CONNECT {"headers":true,"verbose":false}\r\n');
    raw.write(`HPUB ${of.orders} ${head.length} ${head.length + body.length}\r\n${head}${body}\r\n`);
    raw.write(`PUB ${of.source}.\x0c\xff ${body.length}\r\n${body}\r\nPING\r\n`, 'latin1');
    for (let heard = ''; !heard.includes('PONG'); heard += (await once(raw, 'data'))[0]);
    const oyez = await node(t, of);
    const mia = await device(t, oyez, 'mia');
    await counted(oyez, 'published', of.source, 1);
    await counted(oyez, 'unmatched', of.source, 1);
    await add(of.orders, { user: 'mia', n: 2 }, { by: 'x' });
    await mia.heard.take('order', ({ data }) => data.n === 2);
    await eventually(async () => await pending(of) === 0, 'all are acknowledged');
    assert.equal(await figure(oyez, 'failures', of.source, { reason: 'missing' }), 0);
  });

  test('a stream that takes the dead letters, too, is no loop', async (t) => {
    const of = await names({ stream: false });
    await stage.streams.add({ name: of.source, subjects: [`${of.source}.>`, `${of.consumer}.dead`] });
    const oyez = await node(t, of);
    await working(oyez, of.source);
    await add(of.orders, 'not JSON');
    await counted(oyez, 'dead_letters', of.source, 1);
    await eventually(async () => await pending(of) === 0, 'it is over');
    assert.equal((await stage.streams.info(of.source)).state.messages, 2);
    assert.equal(await figure(oyez, 'received', of.source), 1);
  });

  test('nothing durable is lost when the server is killed, and nothing doubled', async (t) => {
    const of = await names();
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
    await eventually(async () => await pending(of) === 0, 'what the dead one had is given out again', 30_000);
    assert.equal(eve.heard.all('alarm').length, 600);
  });

  test('what ends each server that has it is given up', async (t) => {
    const of = await names();
    await stage.consumers.add(of.source, { durable_name: of.consumer, ack_policy: 'explicit', ack_wait: 30e9, max_deliver: -1 });
    await add(of.orders, { user: 'dan', n: 1 }, { by: 'x' });
    const consumer = await stage.js.consumers.get(of.source, of.consumer);
    for (let count = 0; count < 20; count++) (await consumer.next({ expires: 5000 })).nak();
    await stage.client.flush();
    await add(of.orders, { user: 'dan', n: 2 }, { by: 'x' });
    const oyez = await node(t, of);
    const dan = await device(t, oyez, 'dan');
    await counted(oyez, 'received', of.source, 2);
    await eventually(async () => await pending(of) === 0, 'nothing is left');
    assert.deepEqual([await figure(oyez, 'dead_letters', of.source), await figure(oyez, 'published', of.source)], [1, 1]);
    const [letter] = await dead(of);
    assert.deepEqual([letter.get('x-oyez-reason'), letter.data], ['deliveries', '{"user":"dan","n":1}']);
    assert.ok(dan.heard.all('order').every(({ data }) => data.n === 2));
  });

  test('several servers share a stream, each message is for one, and who stops gives back what it has', async (t) => {
    const of = await names();
    const more = 'claim_after = "1h"\nevents_per_second = 1\nwhen_over = "defer"';
    const [one, two] = [await node(t, of, { more }), await node(t, of, { more })];
    await working(one, of.source);
    await working(two, of.source);
    const fay = await device(t, two, 'fay');
    for (let n = 0; n < 40; n++) await add(of.orders, { user: n < 20 ? `u${n}` : 'fay', n }, { by: 'x' });
    await eventually(async () => await figure(one, 'received', of.source) + await figure(two, 'received', of.source) === 40, 'all', 15_000);
    assert.ok(await figure(one, 'received', of.source) > 0 && await figure(two, 'received', of.source) > 0);
    const had = await figure(two, 'received', of.source);
    assert.equal(await one.stop(), 0);
    await eventually(async () => await figure(two, 'received', of.source) > had, 'what the other had', 15_000);
    await fay.heard.take('order', () => true, 20_000);
  });

  test('a consumer that is deleted, and a stream with it, are read again', async (t) => {
    const of = await names();
    const oyez = await node(t, of);
    await working(oyez, of.source);
    const gus = await device(t, oyez, 'gus', { word: 'delivered' });
    await add(of.alarms, { user: 'gus', n: 1 });
    await gus.heard.take('alarm', ({ n }) => n === 1);
    let before = oyez.logs.length;
    await stage.consumers.delete(of.source, of.consumer);
    await logged(oyez, before, 'source_failed', 'missing', 'it is made again');
    await logged(oyez, before, 'source_connected');
    await add(of.alarms, { user: 'gus', n: 2 });
    await gus.heard.take('alarm', ({ n }) => n === 2, 15_000);
    before = oyez.logs.length;
    await stage.streams.delete(of.source);
    await logged(oyez, before, 'source_failed', 'missing', `nats stream add ${of.source}`);
    await make(of);
    await add(of.alarms, { user: 'gus', n: 3 });
    await gus.heard.take('alarm', ({ n }) => n === 3, 30_000);
    assert.deepEqual(gus.heard.all('alarm').map(({ n }) => n), [1, 2, 3]);
  });

  test('another kind of consumer, a wrong subject, a wrong password, and a user who may not read, are told with the remedy', async (t) => {
    const pushes = await names();
    await stage.consumers.add(pushes.source, { durable_name: pushes.consumer, ack_policy: 'explicit', deliver_subject: 'somewhere' });
    await logged(await node(t, pushes), 0, 'source_failed', 'conflict', `nats consumer rm ${pushes.source} ${pushes.consumer}`);
    const none = await names();
    await stage.consumers.add(none.source, { durable_name: none.consumer, ack_policy: 'none' });
    await logged(await node(t, none), 0, 'source_failed', 'conflict', `nats consumer rm ${none.source} ${none.consumer}`);
    const of = await names();
    await logged(await node(t, of, { from: '"nothing.of.it"' }), 0, 'source_failed', 'conflict', 'name subjects of the stream');
    const as = (user) => stage.broker.url.replace('//', `//${user}@`);
    const line = await logged(await node(t, of, { url: as('all:hidden-not') }), 0, 'source_failed', 'credentials', 'correct the user, the password');
    assert.ok(!line.includes('hidden'), line);
    const weak = await node(t, of, { url: as('weak:hidden') });
    await logged(weak, 0, 'source_failed', 'forbidden', `$JS.API.CONSUMER.DURABLE.CREATE.${of.source}.${of.consumer}`, `$JS.ACK.${of.source}`);
    const kim = await device(t, weak, 'kim');
    await weak.publish('user:kim', 'hello', 1, { app: 'desk' });
    await kim.heard.take('hello');
  });

  // The last: they end NATS.
  test('a NATS that is not there yet, one that is killed and comes back, and one without JetStream', async (t) => {
    const of = await names();
    await stage.broker.stop();
    const oyez = await node(t, of);
    await logged(oyez, 0, 'source_failed', 'unreachable', 'is NATS running at');
    const lea = await device(t, oyez, 'lea', { word: 'delivered' });
    await stage.broker.start();
    await logged(oyez, 0, 'source_connected');
    const surely = (n) => eventually(() => add(of.alarms, { user: 'lea', n }).catch(() => false), 'it is added', 20_000);
    await surely(1);
    await lea.heard.take('alarm');
    const before = oyez.logs.length;
    await stage.broker.stop();
    await logged(oyez, before, 'source_failed', 'given out again');
    await stage.broker.start();
    await surely(2);
    await lea.heard.take('alarm', ({ n }) => n === 2, 30_000);
    assert.deepEqual([...new Set(lea.heard.all('alarm').map(({ n }) => n))], [1, 2]);

    const bare = await server(t, '', { jetstream: false });
    await bare.start();
    await logged(await node(t, of, { url: bare.url }), 0, 'source_failed', 'missing', 'start nats-server with JetStream');
  });
});
