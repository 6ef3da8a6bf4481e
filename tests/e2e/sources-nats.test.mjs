// Messages from subjects of a real NATS, sent by a stock publisher: the connection's life, and what is wrong with it.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import nats from 'nats';
import { authority } from './authority.mjs';
import { CONFIG, ENV, device, directory } from './keeping.mjs';
import { nats as server } from './nats.mjs';
import { counted, figure, logged, working } from './sources.mjs';
import { serving } from './stage.mjs';
import { eventually } from './waiting.mjs';

const SOURCE = (more = '') => CONFIG({
  more: `
[app.desk.source.office]
kind = "nats"
url = { env = "NATS_URL" }
from = ["notice", "orders.*.placed", "deep.>"]
${more}
[[app.desk.source.office.rule]]
match = ["notice", "orders.{shop}.placed", "deep.{rest}"]
to = "user:{data.user}"
event = "{address}"
data = "{'n': data.n, 'id': message_id, 'by': has(headers.by) ? headers.by : null}"
`,
});

const node = (t, url, { more, files, args } = {}) => serving(t, SOURCE(more), { env: { ...ENV, NATS_URL: url }, files, args });

/** A stock client of this server. */
async function client(t, { port }, options = {}) {
  const connection = await nats.connect({ servers: `127.0.0.1:${port}`, reconnectTimeWait: 100, maxReconnectAttempts: -1, ...options });
  t.after(() => connection.close());
  /** Says something, and returns when the server has it. */
  connection.say = async (subject, data, more) => {
    connection.publish(subject, JSON.stringify(data), more);
    await connection.flush();
  };
  return connection;
}

test('subjects and patterns are heard, also after the connection was cut and the server restarted', async (t) => {
  const broker = await server(t);
  const oyez = await node(t, broker.url);
  const ann = await device(t, oyez, 'ann');
  await logged(oyez, 0, 'source_failed', 'unreachable', 'is NATS running at');
  await oyez.publish('user:ann', 'hello', 1, { app: 'desk' });
  await ann.heard.take('hello');
  await broker.start();
  await working(oyez, 'office');
  const publisher = await client(t, broker);
  const headers = nats.headers();
  headers.set('by', 'shop "1"');
  headers.set('Nats-Msg-Id', 'm-1');
  await publisher.say('notice', { user: 'ann', n: 1 }, { headers });
  assert.deepEqual(await ann.heard.take('notice'), { n: 1, id: 'm-1', by: 'shop "1"' });
  await publisher.say('orders.north.placed', { user: 'ann', n: 2 });
  assert.deepEqual(await ann.heard.take('orders.north.placed'), { n: 2, id: null, by: null });
  await publisher.say('orders.north.gone', { user: 'ann', n: 3 });
  await publisher.say('deep.a.b.c', { user: 'ann', n: 4 });
  assert.equal((await ann.heard.take('deep.a.b.c')).n, 4);
  await publisher.say('notice', { n: 5 });
  publisher.publish('notice', 'no JSON');
  await counted(oyez, 'unaddressed', 'office', 1);
  await counted(oyez, 'dead_letters', 'office', 1);
  assert.equal(await figure(oyez, 'received', 'office'), 5);

  const before = oyez.logs.length;
  await broker.stop();
  await logged(oyez, before, 'source_failed', 'lost', 'what was said meanwhile is lost');
  await broker.start();
  await logged(oyez, before, 'source_connected');
  // The publisher's connection, too, is made again some time.
  await eventually(() => publisher.say('notice', { user: 'ann', n: 6 }).then(() => true, () => false), 'it is said');
  assert.equal((await ann.heard.take('notice', ({ n }) => n === 6)).n, 6);
  assert.equal(await oyez.stop(), 0);
});

test('of the servers of a queue group one hears each message, without one all do', async (t) => {
  const broker = await server(t);
  await broker.start();
  const args = ['--data-dir', directory(t)];
  const nodes = [await node(t, broker.url, { args }), await node(t, broker.url)];
  for (const one of nodes) await working(one, 'office');
  const publisher = await client(t, broker);
  const received = () => Promise.all(nodes.map((one) => figure(one, 'received', 'office')));
  for (let n = 0; n < 200; n++) publisher.publish('notice', JSON.stringify({ user: 'bob', n }));
  await eventually(async () => (await received()).reduce((sum, one) => sum + one) === 200, 'all of them');
  assert.ok((await received()).every((count) => count > 20), `${await received()}`);
  // Who goes has stored what it was given.
  const before = await figure(nodes[1], 'received', 'office');
  const stored = async (one) => (await one.api('/api/v1/inbox/unread?user=cat&app=desk')).json.count;
  const saying = (async () => { for (let n = 0; n < 300; n++) await publisher.say('notice', { user: 'cat', n }); })();
  await eventually(async () => await stored(nodes[0]) > 20, 'some are stored');
  assert.equal(await nodes[0].stop(), 0);
  await saying;
  const again = await node(t, broker.url, { args });
  await counted(nodes[1], 'received', 'office', before + 300 - await stored(again));

  const alone = [await node(t, broker.url, { more: 'group = ""' }), await node(t, broker.url, { more: 'group = ""' })];
  for (const one of alone) await working(one, 'office');
  await publisher.say('notice', { user: 'bob', n: 1 });
  for (const one of alone) await counted(one, 'received', 'office', 1);
});

test('a wrong password, and a user who may not listen, are told with the remedy', async (t) => {
  const broker = await server(t, `authorization { users = [
    { user: good, password: hidden },
    { user: weak, password: hidden, permissions: { subscribe: ["other"] } } ] }`);
  await broker.start();
  const as = (user) => broker.url.replace('//', `//${user}@`);
  const wrong = await node(t, as('good:hidden-not'));
  const line = await logged(wrong, 0, 'source_failed', 'credentials', 'correct the user, the password or the token');
  assert.ok(!line.includes('hidden'), line);
  const weak = await node(t, as('weak:hidden'));
  await logged(weak, 0, 'source_failed', 'forbidden', 'let the user subscribe to', 'orders.*.placed');
  const good = await node(t, as('good:hidden'));
  await working(good, 'office');
});

test('tls:// believes whom the file names, and nobody else', async (t) => {
  const one = authority();
  t.after(one.end);
  one.issue('server');
  const broker = await server(t, `tls { cert_file: "${one.file('server.pem')}", key_file: "${one.file('server.key')}" }
    authorization { token: hidden }`);
  await broker.start();
  for (const url of [`tls://hidden@127.0.0.1:${broker.port}`, `nats://hidden@127.0.0.1:${broker.port}`]) {
    const stranger = await node(t, url);
    const line = await logged(stranger, 0, 'source_failed', 'credentials', 'name whom to believe in `ca`');
    assert.ok(!line.includes('hidden'), line);
    const oyez = await node(t, url, { more: 'group = ""\nca = { file = "ca.pem" }', files: { 'ca.pem': readFileSync(one.file('ca.pem'), 'utf8') } });
    await working(oyez, 'office');
    const ann = await device(t, oyez, 'ann');
    const publisher = await client(t, broker, { token: 'hidden', tls: { caFile: one.file('ca.pem') } });
    await publisher.say('notice', { user: 'ann', n: 1 });
    assert.equal((await ann.heard.take('notice')).n, 1);
  }
  const plain = await server(t);
  await plain.start();
  const insists = await node(t, plain.url.replace('nats:', 'tls:'));
  await logged(insists, 0, 'source_failed', 'speaks no TLS');
});
