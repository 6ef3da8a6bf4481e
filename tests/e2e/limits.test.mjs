// Every limit is exceeded by one: who does it hears the limit's own error, the limit's counter counts it, and a second
// client beside it, in the same app, notices nothing.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import net from 'node:net';
import { WebSocket } from 'ws';
import { API_KEY, connect, connected, fence, next, token } from './harness.mjs';
import { serving } from './stage.mjs';
import { Inbox, eventually } from './waiting.mjs';

const HERE = '127.0.0.1';
const ELSEWHERE = '127.0.0.2';
/** Bytes of a message with which an outbox is soon full, and the kernel's buffers before it. */
const MUCH = 100 * 1024;

const app = (name, limits, socketio = '') => `
[app.${name}]
origins = ["*"]
[app.${name}.socketio]
namespace = "/${name}"
${socketio}
[app.${name}.auth.jwt]
algorithms = ["HS256"]
secret = { env = "JWT_SECRET" }
[app.${name}.identity]
user = "claims.sub"
[[app.${name}.channel]]
name = "all"
subscribe = true
[[app.${name}.channel]]
name = "map"
subscribe = true
when_slow = "conflate"
conflate_by = "data.id"
[[app.${name}.channel]]
name = "alarms"
subscribe = true
when_slow = "disconnect"
[[app.${name}.channel]]
name = "room:{id}"
subscribe = true
[app.${name}.connect]
join = "all"
[[app.${name}.on]]
event = "join"
join = "{data}"
ack = "{'joined': joined}"
[[app.${name}.on]]
event = "ask"
ack = "'answer'"
[app.${name}.limits]
${limits}
`;

/** A frame of Socket.IO on a WebSocket of its own, so that the close code and every byte are seen. */
async function wire(t, stage, { user = 'wire', from = HERE } = {}) {
  const socket = new WebSocket(`${stage.server.ws}${stage.path}?EIO=4&transport=websocket`, { localAddress: from });
  t.after(() => socket.terminate());
  const heard = new Inbox();
  socket.on('message', (bytes) => heard.put('packet', String(bytes)));
  const ended = new Promise((resolve) => socket.on('close', (code, reason) => resolve({ code, reason: String(reason) })));
  await next(socket, 'open');
  await heard.take('packet', (text) => text.startsWith('0'));
  const hear = (start) => heard.take('packet', (text) => text.startsWith(start));
  const enter = () => socket.send(`40/${stage.name},${JSON.stringify({ token: token({ sub: user }) })}`);
  /** Asks to come in: what is answered, `40…` or `44…`. */
  const entered = () => { enter(); return heard.take('packet', (text) => /^4[04]/.test(text)); };
  return { socket, heard, ended, hear, enter, entered, say: (text) => socket.send(text) };
}

/** A refusal to let in, as `44` says it. */
const refusal = (packet) => JSON.parse(packet.slice(packet.indexOf('{')));

const nested = (levels) => JSON.parse(`${'['.repeat(levels)}${']'.repeat(levels)}`);

/** Whoever is the third of three is refused: `make(number)` connects. */
const thirdIsRefused = (error, code) => async (t, stage) => {
  const client = (sub, from) => stage.client(t, { sub: String(sub), from });
  const [sub, from] = stage.same ?? [];
  await connected(client(sub ?? 1, from));
  await connected(client(sub ?? 2, from));
  const refused = await connected(client(sub ?? 3, from)).then(() => assert.fail('let in'), (reason) => reason);
  assert.deepEqual(refused.data, { code, error });
};

const CASES = [
  {
    limit: 'payload', error: 'message_too_big', socketio: 'path = "/payload/"\nmax_payload = 1024',
    exceed: async (t, stage) => {
      const client = await wire(t, stage);
      await client.entered();
      const frame = (bytes) => { const head = '42/payload,7["ask","'; return `${head}${'x'.repeat(bytes - head.length - 2)}"]`; };
      client.say(frame(1024));
      await client.hear('43/payload,7');
      client.say(frame(1025));
      assert.deepEqual(await client.ended, { code: 1009, reason: 'message_too_big' });
    },
  },
  {
    limit: 'payload', error: 'a POST', name: 'post', socketio: 'path = "/post/"\nmax_payload = 1024',
    exceed: async (t, stage) => {
      const open = await (await fetch(`${stage.server.url}/post/?EIO=4&transport=polling`)).text();
      const post = (body) => fetch(`${stage.server.url}/post/?EIO=4&transport=polling&sid=${JSON.parse(open.slice(1)).sid}`, { method: 'POST', body });
      assert.equal((await post('3'.padEnd(1024, ' '))).status, 200);
      assert.equal((await post('3'.padEnd(1025, ' '))).status, 413);
    },
  },
  {
    limit: 'attachments', error: 'too_many_attachments', socketio: 'path = "/attachments/"\nmax_attachments = 2',
    exceed: async (t, stage) => {
      const one = stage.client(t, {});
      await connected(one);
      assert.equal(await one.emitWithAck('ask', Buffer.from('1'), Buffer.from('2')), 'answer');
      const client = await wire(t, stage);
      await client.entered();
      client.say('453-/attachments,["ask",{"_placeholder":true,"num":0}]');
      assert.deepEqual(await client.ended, { code: 4505, reason: 'too_many_attachments' });
    },
  },
  {
    limit: 'flood', error: 'flood',
    exceed: async (t, stage) => {
      const client = await wire(t, stage);
      await client.entered();
      for (let said = 0; said < 400; said += 1) client.socket.ping();
      client.say('42/flood,7["ask"]');
      await client.hear('43/flood,7');
      for (let said = 0; said < 1000; said += 1) client.socket.ping();
      assert.deepEqual(await client.ended, { code: 4007, reason: 'flood' });
    },
  },
  {
    limit: 'flood', error: 'by a probe, and its session stays', name: 'probe',
    exceed: async (t, stage) => {
      const polling = `${stage.server.url}${stage.path}?EIO=4&transport=polling`;
      const { sid } = JSON.parse((await (await fetch(polling)).text()).slice(1));
      const probe = new WebSocket(`${stage.server.ws}${stage.path}?EIO=4&transport=websocket&sid=${sid}`);
      await next(probe, 'open');
      const ended = new Promise((resolve) => probe.on('error', () => {}).on('close', resolve));
      for (let said = 0; said < 1400; said += 1) probe.ping();
      await ended;
      const post = await fetch(`${polling}&sid=${sid}`, { method: 'POST', body: '3' });
      assert.equal(await post.text(), 'ok');
    },
  },
  {
    limit: 'json_depth', error: 'too_deep', limits: 'json_depth = 40',
    exceed: async (t, stage) => {
      const one = await connected(stage.client(t, {}));
      assert.equal(await one.emitWithAck('ask', nested(40)), 'answer');
      const heard = next(one, 'error');
      one.emit('ask', nested(41));
      assert.deepEqual(await heard, [{ code: 400, message: 'The JSON is nested too deeply', channel: null, error: 'too_deep' }]);
      assert.equal(await one.emitWithAck('ask', 1), 'answer', 'the connection stays');
    },
  },
  {
    limit: 'json_depth', error: 'too_deep by the API', name: 'api_depth', limits: 'json_depth = 40',
    exceed: async (t, stage) => {
      const publish = (levels) => stage.api('publish', { to: 'all', event: 'deep', data: nested(levels) });
      assert.equal((await publish(40)).status, 200);
      const refused = await publish(41);
      assert.deepEqual([refused.status, refused.json.error.code], [400, 'too_deep']);
    },
  },
  {
    limit: 'json_depth', error: 'too_deep for any app', name: 'deepest',
    exceed: async (t, stage) => {
      const client = await wire(t, stage);
      await client.entered();
      client.say(`42/deepest,["ask",${'['.repeat(127)}${']'.repeat(127)}]`);
      assert.deepEqual(await client.ended, { code: 4505, reason: 'too_deep' });
    },
  },
  {
    limit: 'app_connections', error: 'app_full', limits: 'connections = 3', exceed: thirdIsRefused('app_full', 503),
  },
  {
    limit: 'connections_per_address', error: 'address_full', limits: 'connections_per_address = 2',
    exceed: thirdIsRefused('address_full', 429),
  },
  {
    limit: 'connections_per_user', error: 'user_full', limits: 'connections_per_user = 2', same: ['one'],
    exceed: thirdIsRefused('user_full', 429),
  },
  {
    limit: 'connections_per_user', error: 'replaced', name: 'replaced', limits: 'connections_per_user = 2\nwhen_user_full = "close_oldest"',
    exceed: async (t, stage) => {
      const oldest = await wire(t, stage, { user: 'one' });
      assert.match(await oldest.entered(), /^40/);
      const middle = await connected(stage.client(t, { sub: 'one' }));
      const newest = await connected(stage.client(t, { sub: 'one' }));
      await oldest.hear('41/replaced');
      assert.deepEqual(await oldest.ended, { code: 4503, reason: 'replaced' });
      assert.deepEqual([await middle.emitWithAck('ask'), await newest.emitWithAck('ask')], ['answer', 'answer']);
      // A stock client is told so that it does not come back by itself: two would take turns for ever.
      const gone = next(middle, 'disconnect');
      await connected(stage.client(t, { sub: 'one' }));
      assert.equal((await gone)[0], 'io server disconnect');
    },
    hits: 2,
  },
  {
    limit: 'connects_per_second', error: 'too_many_connects', limits: 'connects_per_second = 1',
    exceed: async (t, stage) => {
      const clients = [await wire(t, stage), await wire(t, stage, { user: 'second' })];
      const [entered, refused] = (await Promise.all(clients.map((client) => client.entered()))).sort();
      assert.match(entered, /^40/);
      assert.deepEqual(refusal(refused), {
        message: 'Connections from this address come too fast', data: { code: 429, error: 'too_many_connects' },
      });
    },
  },
  {
    limit: 'connects_per_second', error: 'too_many_connects without a good token', name: 'guesses', limits: 'connects_per_second = 1',
    exceed: async (t, stage) => {
      const client = await wire(t, stage);
      client.say('40/guesses,{"token":"a guess"}');
      client.say('40/guesses,{"token":"another"}');
      assert.equal(refusal(await client.hear('44')).message, 'Authentication error: invalid token');
      assert.equal(refusal(await client.hear('44')).data.error, 'too_many_connects');
    },
  },
  {
    limit: 'channels_per_session', error: 'too_many_channels', limits: 'channels_per_session = 3',
    exceed: async (t, stage) => {
      // The third is `all`.
      const one = await connected(stage.client(t, {}));
      for (const room of ['room:1', 'room:2']) assert.deepEqual(await one.emitWithAck('join', room), { joined: [room] });
      const refused = await one.emitWithAck('join', 'room:3');
      assert.deepEqual(refused, { code: 429, message: 'The session is in too many channels', channel: 'room:3', error: 'too_many_channels' });
    },
  },
  {
    limit: 'channel_length', error: 'channel_too_long', limits: 'channel_length = 8',
    exceed: async (t, stage) => {
      const one = await connected(stage.client(t, {}));
      assert.deepEqual(await one.emitWithAck('join', 'room:123'), { joined: ['room:123'] });
      assert.equal((await one.emitWithAck('join', 'room:1234')).error, 'channel_too_long');
      const refused = await stage.api('publish', { to: 'room:1234', event: 'x' });
      assert.deepEqual([refused.status, refused.json.error.code], [400, 'channel_too_long']);
    },
    hits: 2,
  },
  {
    limit: 'channel_length', error: 'channel_too_long for any app', name: 'longest',
    exceed: async (t, stage) => {
      const one = await connected(stage.client(t, {}));
      const name = (length) => 'room:'.padEnd(length, 'x');
      assert.deepEqual(await one.emitWithAck('join', name(200)), { joined: [name(200)] });
      assert.equal((await one.emitWithAck('join', name(201))).error, 'channel_too_long');
    },
  },
  {
    limit: 'channel_characters', error: 'channel_characters', limits: 'channel_characters = "ascii"',
    exceed: async (t, stage) => {
      const one = await connected(stage.client(t, {}));
      assert.deepEqual(await one.emitWithAck('join', 'room:~'), { joined: ['room:~'] });
      assert.equal((await one.emitWithAck('join', 'room:é')).error, 'channel_characters');
    },
  },
  {
    limit: 'events_per_second', error: 'too_many_events', limits: 'events_per_second = 1\nevents_burst = 3',
    exceed: async (t, stage) => {
      const one = await connected(stage.client(t, {}));
      const refused = next(one, 'error');
      const asked = [1, 2, 3].map((data) => one.emitWithAck('ask', data));
      one.emit('ask', 4);
      assert.deepEqual(await Promise.all(asked), Array(3).fill('answer'));
      assert.deepEqual(await refused, [{ code: 429, message: 'Too many events', channel: null, error: 'too_many_events' }]);
    },
  },
  {
    // Those of all its clients together: what nobody else in the app may then say, everybody still hears.
    limit: 'app_events_per_second', error: 'app_too_busy', limits: 'app_events_per_second = 1', silent: true,
    exceed: async (t, stage) => {
      const clients = await Promise.all(['1', '2'].map((sub) => connected(stage.client(t, { sub }))));
      const answers = clients.map((client) => Promise.race([next(client, 'error'), client.emitWithAck('ask')]));
      const [answer, [refused]] = (await Promise.all(answers)).sort((one) => (one === 'answer' ? -1 : 1));
      assert.deepEqual([answer, refused.error], ['answer', 'app_too_busy']);
    },
  },
  {
    limit: 'publishes_per_second', error: 'rate_limited', limits: 'publishes_per_second = 1', quiet: true,
    exceed: async (t, stage) => {
      const publish = (to) => stage.api('publish', { to, event: 'news' });
      const heard = next(stage.honest, 'news');
      const answers = await Promise.all([publish('all'), publish('all')]);
      assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 429]);
      await heard;
    },
  },
];

const byApp = CASES.map((row) => ({ name: row.limit, limits: '', socketio: '', ...row }));
let server;
const suite = { undo: [], after: (undo) => suite.undo.unshift(undo) };

/** How often a limit was reached so far. */
async function hits(limit) {
  const { text } = await server.api('/metrics');
  return Number(text.match(new RegExp(`^oyez_limit_hits_total\\{limit="${limit}"\\} (\\d+)`, 'm'))[1]);
}

/** What a case works with: its app, and somebody in it who does nothing wrong. */
async function stageOf(t, { name, socketio, same }) {
  const path = socketio.match(/path = "([^"]*)"/)?.[1] ?? '/socket.io/';
  const stage = { server, name, path, same };
  stage.client = (t, { sub = 'one', from = HERE }) => {
    const client = connect(`${server.url}/${name}`, { path, transports: ['websocket'], auth: { token: token({ sub }) }, localAddress: from });
    t.after(() => client.disconnect());
    return client;
  };
  stage.api = (what, body) => server.api(`/api/v1/${what}`, { body: { app: name, ...body } });
  stage.honest = await connected(stage.client(t, { sub: 'honest', from: ELSEWHERE }));
  return stage;
}

before(async () => {
  const apps = byApp.map(({ name, limits, socketio }) => app(name, limits, socketio)).join('');
  const slow = app('slow', 'outbox = "1MiB"', 'path = "/slow/"');
  server = await serving(suite, `[key.test]\nsecret = "${API_KEY}"\n${apps}${slow}`);
});
after(async () => { for (const undo of suite.undo) await undo(); });

describe('one too many', () => {
  for (const row of byApp) {
    test(`${row.limit}: ${row.error}`, async (t) => {
      const stage = await stageOf(t, row);
      const before = await hits(row.limit);
      let disturbed = 0;
      stage.honest.on('error', () => { disturbed += 1; }).on('disconnect', () => { disturbed += 1; });
      await row.exceed(t, stage);
      assert.equal(await hits(row.limit) - before, row.hits ?? 1);
      if (!row.quiet) await fence(server, stage.honest, 'all', { app: row.name });
      if (!row.silent) assert.equal(await stage.honest.emitWithAck('ask'), 'answer');
      assert.ok(stage.honest.connected);
      assert.equal(disturbed, 0);
    });
  }
});

test('node_connections: node_full', async (t) => {
  const full = await serving(t, `[server]\nconnections = 2\n[key.test]\nsecret = "${API_KEY}"\n${app('node', '')}`);
  const client = () => {
    const socket = connect(`${full.url}/node`, { transports: ['websocket'], auth: { token: token({ sub: 'one' }) } });
    t.after(() => socket.disconnect());
    return socket;
  };
  const honest = await connected(client());
  const second = await connected(client());
  const polling = await fetch(`${full.url}/socket.io/?EIO=4&transport=polling`);
  assert.deepEqual([polling.status, polling.headers.get('retry-after')], [503, '5']);
  assert.deepEqual(await polling.json(), { code: 503, message: 'Too many connections to this server', error: 'node_full' });
  const refused = await connected(client()).then(() => assert.fail('let in'), (error) => error);
  assert.match(refused.description.message, /503/);
  const { text } = await full.api('/metrics');
  assert.match(text, /oyez_limit_hits_total\{limit="node_connections"\} 2/);
  await fence(full, honest, 'all');
  second.disconnect();
  await eventually(() => connected(client()).then(() => true, () => false), 'room for another');
});

/** A client that reads only when it is told to, and the texts that it has read. */
async function lazy(t, rooms) {
  const socket = net.connect(server.port, HERE);
  t.after(() => socket.destroy());
  const self = { socket, texts: [], codes: [], ended: false };
  let unread = Buffer.alloc(0);
  let upgraded = false;
  socket.on('error', () => {});
  socket.on('close', () => { self.ended = true; });
  socket.on('data', (bytes) => {
    unread = Buffer.concat([unread, bytes]);
    if (!upgraded) {
      const end = unread.indexOf('\r\n\r\n');
      if (end < 0) return;
      upgraded = true;
      unread = unread.subarray(end + 4);
    }
    for (let frame = unframed(unread); frame; frame = unframed(unread)) {
      unread = unread.subarray(frame.size);
      if (frame.opcode === 8) self.codes.push(frame.payload.readUInt16BE(0));
      else self.texts.push(String(frame.payload));
    }
  });
  const say = (text) => {
    const payload = Buffer.from(text);
    assert.ok(payload.length < 65536);
    const head = payload.length < 126 ? [0x80 | payload.length] : [0xfe, payload.length >> 8, payload.length & 255];
    socket.write(Buffer.concat([Buffer.from([0x81, ...head, 0, 0, 0, 0]), payload]));
  };
  self.heard = (start) => eventually(() => self.texts.find((text) => text.startsWith(start)), start);
  /** The events that were heard, by their first arguments. */
  self.events = () => self.texts.filter((text) => text.startsWith('42/slow,["tick"')).map((text) => JSON.parse(text.slice(8))[1]);
  socket.write('GET /slow/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
    + 'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n');
  await self.heard('0');
  say(`40/slow,${JSON.stringify({ token: token({ sub: 'lazy' }) })}`);
  await self.heard('40/slow');
  for (const room of rooms) say(`42/slow,9["join","${room}"]`);
  await self.heard('43/slow,9');
  socket.pause();
  return self;
}

/** The first frame of some bytes, if it is whole. */
function unframed(bytes) {
  if (bytes.length < 2) return undefined;
  const short = bytes[1] & 0x7f;
  const head = { 126: 4, 127: 10 }[short] ?? 2;
  if (bytes.length < head) return undefined;
  const length = { 126: () => bytes.readUInt16BE(2), 127: () => Number(bytes.readBigUInt64BE(2)) }[short]?.() ?? short;
  if (bytes.length < head + length) return undefined;
  return { opcode: bytes[0] & 15, payload: bytes.subarray(head, head + length), size: head + length };
}

describe('outbox: a client that does not read', () => {
  const FILLING = 'x'.repeat(MUCH);
  const MANY = 400;

  /** Publishes numbered messages until the slow client has cost `times` of them their place (or itself its own). */
  async function flooded(channel, times, honest) {
    const before = await hits('outbox');
    const heard = new Inbox();
    honest.on('tick', ({ number }) => heard.put(number));
    for (let number = 0; number < MANY; number += 1) {
      await server.publish(channel, 'tick', { number, id: number % 3, filling: FILLING }, { app: 'slow' });
      if (await hits('outbox') >= before + times) {
        await heard.take(number);
        assert.equal(heard.seen.length, number + 1, 'the honest one hears all');
        return { last: number, lost: async () => await hits('outbox') - before };
      }
    }
    return assert.fail(`${MANY} messages did not fill the outbox`);
  }

  async function honestIn(t, channel) {
    const honest = connect(`${server.url}/slow`, { path: '/slow/', transports: ['websocket'], auth: { token: token({ sub: 'honest' }) } });
    t.after(() => honest.disconnect());
    await connected(honest);
    await honest.emitWithAck('join', channel);
    return honest;
  }

  test('drop_oldest: it hears the newest, in order, and what it missed is gone', async (t) => {
    const [slow, honest] = [await lazy(t, ['room:1']), await honestIn(t, 'room:1')];
    const { last, lost } = await flooded('room:1', 5, honest);
    slow.socket.resume();
    await eventually(() => slow.events().some(({ number }) => number === last), 'the last one');
    const numbers = slow.events().map(({ number }) => number);
    assert.deepEqual(numbers, [...numbers].sort((a, b) => a - b));
    assert.equal(numbers.length, last + 1 - await lost());
  });

  test('conflate: it hears the latest of each key', async (t) => {
    const [slow, honest] = [await lazy(t, ['map']), await honestIn(t, 'map')];
    const { last } = await flooded('map', 5, honest);
    slow.socket.resume();
    await eventually(() => slow.events().some(({ number }) => number === last), 'the last one');
    for (const key of [0, 1, 2]) {
      const numbers = slow.events().filter(({ id }) => id === key).map(({ number }) => number);
      assert.deepEqual(numbers, [...numbers].sort((a, b) => a - b), 'of one key, in order');
      const latest = [last, last - 1, last - 2].find((number) => number % 3 === key);
      assert.equal(numbers.at(-1), latest);
    }
    // It has caught up: from now on it hears all again.
    for (let number = 1000; number < 1010; number += 1) await server.publish('map', 'tick', { number, id: 0 }, { app: 'slow' });
    await eventually(() => slow.events().filter(({ number }) => number >= 1000).length === 10, 'all ten');
  });

  test('disconnect: nothing is lost in silence, it is closed', async (t) => {
    const [slow, honest] = [await lazy(t, ['alarms']), await honestIn(t, 'alarms')];
    const { last } = await flooded('alarms', 1, honest);
    const connections = await server.api('/api/v1/connections?app=slow&user=lazy');
    assert.deepEqual(connections.json.connections, []);
    slow.socket.resume();
    await eventually(() => slow.ended, 'the end');
    const numbers = slow.events().map(({ number }) => number);
    assert.deepEqual(numbers, [...numbers.keys()], 'what it heard has no gap');
    assert.ok(numbers.length <= last);
    // The close frame comes last, if there was room for it in time.
    assert.ok(slow.codes.every((code) => code === 4000), `${slow.codes}`);
    await fence(server, honest, 'all', { app: 'slow' });
  });
});
