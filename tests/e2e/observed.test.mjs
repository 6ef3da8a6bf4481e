// What an operator sees: metrics, the log, and why the node is not ready. Clients that come and go, listen or do not,
// behave or do not, leave their mark in it, and no more than that.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import net from 'node:net';
import { join } from 'node:path';
import connectOld from 'socket.io-client-v2';
import { API_KEY, SECRET, connect, connected, fence, serve, token } from './harness.mjs';
import { folder, raw, run, serving } from './stage.mjs';
import { Inbox, eventually } from './waiting.mjs';

const CONFIG = `[server]
shards = 2
report = "1s"

[key.backend]
secret = { env = "OYEZ_API_KEY" }

[app.desk]
origins = ["https://desk.example.com"]

[app.desk.websocket]

[app.desk.socketio]

[app.desk.auth]
from = ["auth.token", "query.token"]

[app.desk.auth.jwt]
algorithms = ["HS256"]
secret = { env = "JWT_SECRET" }

[app.desk.identity]
user = "claims.sub"

[[app.desk.channel]]
name = "open:{name}"
subscribe = true

[[app.desk.channel]]
name = "closed:{name}"

[[app.desk.on]]
event = "join"
join = "{data.channel}"
reply = { event = "joined", data = "joined" }

[app.desk.limits]
events_per_second = 100000
events_burst = 100000
connections_per_user = 1000
connections_per_address = 10000
connects_per_second = 10000
`;

/** Every series of /metrics with its value: 'name{label="value"}' to number. */
async function metrics(server) {
  const { text } = await server.api('/metrics', { token: null });
  assert.ok(text.endsWith('# EOF\n'));
  const lines = text.split('\n').filter((line) => line && !line.startsWith('#'));
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]));
}

/** The sum of all series of one name that have these labels. */
function sum(series, name, ...labels) {
  const fits = ([key]) => (key === name || key.startsWith(`${name}{`)) && labels.every((label) => key.includes(label));
  return [...series].filter(fits).reduce((all, [, value]) => all + value, 0);
}

/** Waits until a sum is what it should be. */
function shows(server, expected, name, ...labels) {
  return eventually(async () => sum(await metrics(server), name, ...labels) === expected, `${name} ${labels} to be ${expected}`);
}

const lines = (server, event) => server.logs.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line)).filter((line) => line.event === event);
const member = (server, user, options = {}) => connected(connect(server.url, { transports: ['websocket'], auth: { token: token({ sub: user }) }, ...options }));

describe('metrics', () => {
  let server;
  const ends = [];
  before(async () => { server = await serving({ after: (end) => ends.push(end) }, CONFIG); });
  after(() => Promise.all(ends.map((end) => end())));

  test('follow connections as they come, go and come back', async () => {
    const one = await member(server, 'ann');
    const two = await member(server, 'bob', { transports: ['polling'], upgrade: false });
    await shows(server, 2, 'oyez_connections', 'app="desk"');
    await shows(server, 1, 'oyez_sessions', 'transport="websocket"');
    await shows(server, 1, 'oyez_sessions', 'transport="polling"');
    assert.ok(sum(await metrics(server), 'oyez_tasks') >= 2);
    const before = await metrics(server);
    one.disconnect();
    await shows(server, 1, 'oyez_connections', 'app="desk"');
    const again = await member(server, 'ann');
    const now = await metrics(server);
    assert.equal(sum(now, 'oyez_reconnects_total') - sum(before, 'oyez_reconnects_total'), 1);
    assert.equal(sum(now, 'websocket_connections_total') - sum(before, 'websocket_connections_total'), 1);
    again.disconnect();
    two.disconnect();
    await shows(server, 0, 'oyez_connections', 'app="desk"');
    await shows(server, 0, 'oyez_sessions');
    await shows(server, 3, 'oyez_disconnects_total', 'code="normal"');
  });

  test('count a publication once per shard that hears it, whoever and however many they are', async () => {
    const before = await metrics(server);
    const clients = await Promise.all(Array.from({ length: 8 }, (_, index) => member(server, `user${index}`)));
    const hear = clients.map((client) => Inbox.of(client));
    for (let count = 0; count < 5; count += 1) await server.publish('*', 'tick', { count });
    await Promise.all(hear.map((inbox) => inbox.take('tick', ({ count }) => count === 4)));
    const seen = await eventually(async () => {
      const now = await metrics(server);
      const grown = (name, ...labels) => sum(now, name, ...labels) - sum(before, name, ...labels);
      return grown('oyez_delivery_latency_seconds_count') === 10 && grown;
    }, 'five publications on two shards');
    assert.equal(seen('oyez_publications_total'), 5);
    assert.equal(seen('websocket_messages_sent_total'), 40);
    assert.ok(seen('oyez_delivery_latency_seconds_sum') > 0 && seen('oyez_delivery_latency_seconds_sum') < 10);
    assert.equal(seen('oyez_delivery_latency_seconds_bucket', 'le="+Inf"'), 10);
    clients.forEach((client) => client.disconnect());
    await shows(server, 0, 'oyez_connections');
  });

  test('show who does not read, what waits for them and what is given up; the latency waits for them, too', async (t) => {
    const before = await metrics(server);
    const slow = await raw(t, `${server.ws}/ws?token=${token({ sub: 'slow' })}`).opened;
    slow.pause();
    const text = 'x'.repeat(100_000);
    const grown = async (name, ...labels) => sum(await metrics(server), name, ...labels) - sum(before, name, ...labels);
    await eventually(async () => {
      await server.publish('*', 'much', { text });
      return await grown('oyez_messages_dropped_total', 'reason="slow_consumer"') > 0;
    }, 'something given up', 20_000);
    await shows(server, 1, 'oyez_slow_consumers');
    await eventually(async () => sum(await metrics(server), 'oyez_outbox_bytes') > 500_000, 'a shard that has looked');
    const published = await grown('oyez_publications_total');
    const waiting = published - await grown('oyez_delivery_latency_seconds_count');
    assert.ok(waiting >= 5 && waiting <= 11, `${waiting} of ${published} still wait: about a MiB of them`);
    slow.terminate();
    await shows(server, 0, 'oyez_slow_consumers');
    await shows(server, 0, 'oyez_outbox_bytes');
    assert.equal(await grown('oyez_delivery_latency_seconds_count'), published);
  });

  test('tell refusals apart: tokens by reason, connections and denials by code', async (t) => {
    const before = await metrics(server);
    const grown = (now, name, ...labels) => sum(now, name, ...labels) - sum(before, name, ...labels);
    await assert.rejects(member(server, 'x', { auth: { token: 'rubbish' } }));
    await assert.rejects(member(server, 'x', { auth: {} }));
    await assert.rejects(raw(t, `${server.ws}/ws`).opened);
    assert.equal((await server.api('/socket.io/?EIO=9&transport=polling', { token: null })).status, 400);
    assert.equal((await server.api('/socket.io/?EIO=4&transport=polling', { token: null, headers: { origin: 'https://evil.example' } })).status, 403);
    const ann = await member(server, 'ann');
    const heard = Inbox.of(ann);
    ann.emit('join', { channel: 'closed:x' });
    assert.equal((await heard.take('error')).code, 403);
    const now = await metrics(server);
    assert.equal(grown(now, 'oyez_connects_refused_total', 'reason="missing"'), 2);
    assert.equal(grown(now, 'oyez_connects_refused_total', 'reason="malformed"'), 1);
    assert.equal(grown(now, 'oyez_connect_errors_total', 'code="unauthorized"'), 3);
    assert.equal(grown(now, 'oyez_connect_errors_total', 'code="unsupported_version"'), 1);
    assert.equal(grown(now, 'oyez_connect_errors_total', 'code="engine_forbidden"'), 1);
    assert.equal(grown(now, 'oyez_denials_total', 'app="desk"', 'code="403"'), 1);
    ann.disconnect();
  });

  test('tell of the process', async (t) => {
    // A server of its own: connections of other tests that end meanwhile would count.
    const server = await serving(t, CONFIG);
    const now = await metrics(server);
    assert.ok(now.get('process_resident_memory_bytes') > 1_000_000);
    const open = now.get('process_open_fds');
    // More than are looked for: what the start has opened may be closed meanwhile.
    const sockets = await Promise.all(Array.from({ length: 80 }, () => new Promise((resolve, reject) => {
      const socket = net.connect(server.port, '127.0.0.1', () => resolve(socket)).on('error', reject);
    })));
    await eventually(async () => (await metrics(server)).get('process_open_fds') >= open + 50, '50 descriptors more');
    assert.ok(now.get('process_max_fds') > open);
    sockets.forEach((socket) => socket.destroy());
  });

  test('what clients make up adds no series', async (t) => {
    const make = async (name) => {
      const client = await member(server, `user ${name}`);
      const heard = Inbox.of(client);
      for (const channel of [`open:${name}`, `closed:${name}`]) client.emit('join', { channel });
      await Promise.all([heard.take('joined'), heard.take('error')]);
      client.emit(`event-${name}`, {});
      await fence(server, client, `open:${name}`);
      await assert.rejects(member(server, 'x', { auth: { token: name } }));
      await assert.rejects(connected(connect(`${server.url}/${name}`, { transports: ['websocket'], auth: { token: name } })));
      await assert.rejects(raw(t, `${server.ws}/ws?token=${name}`, { headers: { origin: `https://${name}.example` } }).opened);
      await server.api(`/api/v1/${name}`);
      client.disconnect();
    };
    await make('first');
    await shows(server, 0, 'oyez_sessions');
    const known = [...(await metrics(server)).keys()].sort();
    for (const name of ['second', 'third"}', '第四', 'x'.repeat(150)]) await make(encodeURIComponent(name));
    await shows(server, 0, 'oyez_sessions');
    assert.deepEqual([...(await metrics(server)).keys()].sort(), known);
  });
});

describe('the log', () => {
  test('gets a line of figures', async (t) => {
    const server = await serving(t, CONFIG);
    const ann = await member(server, 'ann');
    for (let count = 0; count < 20; count += 1) await server.publish('*', 'tick', {});
    const said = await eventually(() => lines(server, 'performance').find((line) => line.connections === 1 && line.publishes_per_second > 0), 'a line with publications');
    assert.ok(said.deliveries_per_second > 0 && said.p50_ms > 0 && said.p99_ms >= said.p50_ms, JSON.stringify(said));
    assert.ok(said.resident_bytes > 1_000_000 && said.open_files > 3 && said.dropped === 0, JSON.stringify(said));
    ann.disconnect();
  });

  test('a burst of refusals gives a bounded number of lines, and one that says how many were left out', async (t) => {
    const server = await serving(t, CONFIG.replace('report = "1s"', ''));
    const ann = await member(server, 'ann');
    const heard = Inbox.of(ann);
    const asked = 5_000;
    const start = Date.now();
    for (let count = 0; count < asked; count += 1) ann.emit('join', { channel: `closed:${count}` });
    await eventually(() => heard.all('error').length === asked, 'an answer to each', 20_000);
    const told = () => lines(server, 'denied').length + lines(server, 'lines_left_out').filter((line) => line.of === 'denied').reduce((all, line) => all + line.lines, 0);
    await eventually(() => told() === asked, 'all of them to be told or counted');
    const seconds = (Date.now() - start) / 1000;
    assert.ok(lines(server, 'denied').length <= 100 + 10 * (seconds + 1), `${lines(server, 'denied').length} lines in ${seconds} s`);
    assert.ok(lines(server, 'lines_left_out').length <= seconds + 1);
    // Another kind of event is not held up by it.
    assert.equal(lines(server, 'connect').length, 1);
    ann.disconnect();
  });

  test('has a client that chooses names write neither lines nor colours of its own, nor much', async (t) => {
    const server = await serving(t, CONFIG);
    const ann = await member(server, 'ann');
    const heard = Inbox.of(ann);
    const names = ['closed:\u202e"} {"event":"forged"}', 'closed:\r\n{"event":"forged"}', 'closed:\u001b[2J\u009b', `closed:${'y'.repeat(190)}`, 'z'.repeat(100_000)];
    for (const channel of names) ann.emit('join', { channel });
    await eventually(() => heard.all('error').length === names.length, 'a refusal of each');
    const denied = await eventually(() => lines(server, 'denied').length === names.length && lines(server, 'denied'), 'a line for each');
    assert.deepEqual(lines(server, 'forged'), []);
    assert.equal(denied[0].channel, 'closed:\\u{202e}"} {"event":"forged"}');
    assert.deepEqual(server.logs.filter((line) => /[\0-\x1f\x7f-\x9f\u202e]/.test(line)), []);
    assert.ok(Math.max(...server.logs.map((line) => line.length)) < 2500, 'lines are short');
    ann.disconnect();
  });

  test('names a session as its client does; never the connection, whose name is a secret', async (t) => {
    const server = await serving(t, CONFIG, { env: { OYEZ_LOG: 'oyez_server=debug' } });
    const ann = await member(server, 'ann', { transports: ['polling'], upgrade: false });
    const old = connectOld(server.url, { transports: ['polling'], upgrade: false, forceNew: true, query: { token: token({ sub: 'old' }) } });
    t.after(() => { old.disconnect(); ann.disconnect(); });
    await connected(old);
    const plain = await raw(t, `${server.ws}/ws?token=${token({ sub: 'plain' })}`).opened;
    const joined = Inbox.of(ann);
    for (const channel of ['open:a', 'closed:a']) ann.emit('join', { channel });
    await joined.take('error');
    const [id, secrets] = [ann.id, [ann.io.engine.id, old.id]];
    ann.disconnect();
    const said = (event, user) => eventually(() => lines(server, event).find((line) => line.user === user), `${event} of ${user}`);
    for (const event of ['connect', 'subscribe', 'denied', 'disconnect']) assert.equal((await said(event, 'ann')).session, id, event);
    const listed = (await server.api('/api/v1/connections')).json.connections.find(({ user }) => user === 'plain');
    assert.equal((await said('connect', 'plain')).session, listed.id);
    // Of clients of Engine.IO 3 they are the same.
    assert.match((await said('connect', 'old')).session, /^\d+\/\d+\/\d+$/);
    for (const secret of secrets) assert.ok(!server.logs.some((line) => line.includes(secret)), 'the name of a connection');
  });

  test('tells at debug who joins and leaves what', async (t) => {
    const quiet = await serving(t, CONFIG);
    const loud = await serving(t, CONFIG, { env: { OYEZ_LOG: 'oyez_server=debug' } });
    for (const server of [quiet, loud]) {
      const ann = await member(server, 'ann');
      const heard = Inbox.of(ann);
      ann.emit('join', { channel: 'open:a' });
      await heard.take('joined');
      ann.disconnect();
      await eventually(() => lines(server, 'disconnect').length === 1, 'the end in the log');
    }
    assert.deepEqual(lines(quiet, 'subscribe'), []);
    assert.deepEqual(lines(loud, 'subscribe').map(({ user, channel, level }) => [user, channel, level]), [['ann', 'open:a', 'DEBUG']]);
  });
});

describe('readiness', () => {
  test('is there, and when it goes its reason is told while life goes on', async (t) => {
    const server = await serve('examples/concrete-plant/oyez.toml');
    t.after(() => server.child.kill('SIGKILL'));
    await eventually(async () => (await server.api('/readyz', { token: null })).status === 200, 'a ready node');
    assert.deepEqual((await server.api('/healthz', { token: null })).json, { status: 'ok' });
    // A connection from before the end, on which answers come, and a session that is still to fetch its last words.
    const socket = net.connect(server.port, '127.0.0.1');
    t.after(() => socket.destroy());
    let text = '';
    socket.on('data', (bytes) => { text += bytes; }).on('error', () => {});
    const ask = () => { if (socket.writable) socket.write('GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n'); };
    ask();
    await eventually(() => text.includes('"ready"'), 'the first answer');
    assert.equal((await server.api('/socket.io/?EIO=4&transport=polling', { token: null })).status, 200);
    const ended = server.stop();
    await eventually(() => { ask(); return text.includes('shutting_down'); }, 'an answer with the reason');
    assert.match(text, /503 Service Unavailable[^]*"code":"unavailable"[^]*"reasons":\[\{"reason":"shutting_down"/);
    assert.equal(await ended, 0);
  });
});

test('a configuration that reports too often is refused', async (t) => {
  const files = folder(t, { 'oyez.toml': CONFIG.replace('report = "1s"', 'report = "10ms"') });
  const { code, stderr } = await run(['check', join(files, 'oyez.toml')], { JWT_SECRET: SECRET, OYEZ_API_KEY: API_KEY });
  assert.equal(code, 1);
  assert.match(stderr, /server\.report is shorter than a second\n {4}help: write a time such as "1m"\n1 mistake/);
});
