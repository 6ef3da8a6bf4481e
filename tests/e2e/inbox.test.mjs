// The durable inbox on the wire: what is published for a user who is away waits, reaches all their devices, and comes again
// on every connect until it is acknowledged. With stock clients and a real server.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WebSocket } from 'ws';
import { connect, connected, next } from './harness.mjs';
import { range, user } from './remembering.mjs';
import { serving } from './stage.mjs';

const CONFIG = (inbox = '', more = '') => `
[key.backend]
secret = { env = "OYEZ_API_KEY" }
rights = ["publish", "read"]
[app.desk]
origins = ["*"]
[app.desk.limits]
connects_per_second = "none"
connections_per_user = "none"
[app.desk.socketio]
eio3 = true
${more}
[app.desk.websocket]
path = "/ws"
ping_interval = "300ms"
pong_timeout = "10s"
[app.desk.auth]
from = ["auth.token", "query.token"]
[app.desk.auth.jwt]
algorithms = ["HS256"]
secret = { env = "JWT_SECRET" }
[app.desk.identity]
user = "claims.sub"
attributes = { rooms = "claims.rooms" }
[[app.desk.channel]]
name = "user:{id}"
inbox = "{id}"
subscribe = "id == user.id || user.id == 'boss'"
[[app.desk.channel]]
name = "site:{id}"
roster = "subscribe"
subscribe = "!('none' in user.rooms)"
[[app.desk.channel]]
name = "team"
subscribe = true
[[app.desk.channel]]
name = "all-sites"
roster = "subscribe"
subscribe = true
audience = "site:{data.site}"
[app.desk.connect]
join = ["user:{user.id}", "team"]
[[app.desk.event]]
name = "alarm:*"
delivery = "durable"
priority = "urgent"
[[app.desk.event]]
name = "notification"
to = "user:{id}"
delivery = "durable"
[[app.desk.event]]
name = "order"
delivery = "durable"
id = "data.orderId"
[[app.desk.on]]
event = "watch"
join = "{data}"
ack = "joined"
[[app.desk.on]]
event = "unwatch"
leave = "{data}"
ack = "left"
[[app.desk.on]]
event = "notification:read"
mark = { ids = "data.notificationId", state = "read" }
ack = "'noted'"
[app.desk.inbox]
${inbox}
`;

/** A place where the tests of one describe run: a server, and what has to end. */
function staged(inbox, more) {
  const stage = { ends: [], sockets: [] };
  before(async () => { stage.server = await serving({ after: (end) => stage.ends.push(end) }, CONFIG(inbox, more)); });
  after(async () => {
    stage.sockets.forEach((socket) => socket.disconnect());
    for (const end of stage.ends.reverse()) await end();
  });
  return stage;
}

let users = 0;
const somebody = () => `u${users += 1}`;

/**
 * A device of a user: `messages` is what it heard that asks for an acknowledgement, as [event, data], `live` the rest. `answer(data)` says how each is acknowledged, nothing
 * leaves it open. It is given when it has caught up: the number of unread messages is told last.
 */
async function device(stage, sub, { answer, ...options } = {}) {
  const socket = connect(stage.server.url, { auth: { token: user(sub, sub === 'stranger' ? ['none'] : []) }, transports: ['websocket'], ...options });
  stage.sockets.push(socket);
  const messages = [];
  const [told, live] = [[], []];
  socket.onAny((event, data, ack) => {
    if (event === 'unread-count' || event === 'notification:state') return told.push([event, data]);
    if (typeof ack !== 'function') return live.push([event, data]);
    messages.push([event, data]);
    const words = answer?.(data);
    if (words !== undefined) ack(...words);
  });
  const counted = next(socket, 'unread-count');
  await connected(socket);
  const [{ count }] = await counted;
  return { socket, messages, live, told, unread: count, n: () => messages.map(([, { n }]) => n) };
}

const durable = (stage, sub, n, more = {}) => stage.server.publish(`user:${sub}`, 'notification', { n }, more);

/** Waits until something holds that an event will bring about. */
async function until(emitter, event, holds) {
  while (!holds()) await next(emitter, event);
}

describe('an inbox', () => {
  const stage = staged();

  test('keeps what is said to somebody who is away, in order, until it is acknowledged', async () => {
    const ann = somebody();
    for (const n of range(0, 5)) assert.equal((await durable(stage, ann, n)).level, 'accepted', 'a store in memory promises no more');
    const first = await device(stage, ann);
    assert.deepEqual(first.n(), range(0, 5));
    assert.equal(first.unread, 5);
    first.socket.disconnect();
    const second = await device(stage, ann, { answer: ({ n }) => (n < 3 ? [] : undefined) });
    assert.deepEqual(second.n(), range(0, 5), 'nothing was acknowledged');
    second.socket.disconnect();
    const third = await device(stage, ann);
    assert.deepEqual(third.n(), [3, 4]);
  });

  test('reaches all devices at once, and those that connect meanwhile once', async () => {
    const ann = somebody();
    const one = await device(stage, ann);
    const publishing = (async () => { for (const n of range(0, 400)) await durable(stage, ann, n); })();
    const later = [];
    for (let count = 0; count < 12; count += 1) later.push(await device(stage, ann));
    await publishing;
    for (const { socket, messages, n } of [one, ...later]) {
      await until(socket, 'notification', () => messages.length >= 400);
      assert.deepEqual(n(), range(0, 400));
    }
  });

  test('hands over more than fits into one page, over a connection that is full', async () => {
    const ann = somebody();
    const filler = 'x'.repeat(4000);
    for (const n of range(0, 450)) await stage.server.publish(`user:${ann}`, 'notification', { n, filler });
    const { n } = await device(stage, ann, { transports: ['polling'] });
    assert.deepEqual(n(), range(0, 450));
  });

  test('takes an acknowledgement by callback with a state, by event, one, several, and up to one', async () => {
    const ann = somebody();
    const ids = [];
    for (const n of range(0, 8)) ids.push((await durable(stage, ann, n)).id);
    const one = await device(stage, ann, { answer: ({ n }) => (n === 0 ? ['read'] : undefined) });
    await until(one.socket, 'unread-count', () => one.told.some(([, { count }]) => count === 7));
    const say = (event, data) => one.socket.timeout(5000).emitWithAck(event, data);
    assert.deepEqual(await say('notification:ack', { id: ids[1] }), { ok: true, changed: [ids[1]], unknown: [] });
    assert.deepEqual((await say('notification:ack', { ids: [ids[2], 'none'], state: 'seen' })), { ok: false, changed: [ids[2]], unknown: ['none'] });
    assert.equal(await say('notification:read', { notificationId: ids[3] }), 'noted');
    assert.deepEqual((await say('notification:ack', { upTo: ids[5] })).changed, [ids[4], ids[5]]);
    const { n } = await device(stage, ann);
    assert.deepEqual(n(), [6, 7]);
    assert.equal((await say('notification:ack', { all: true, state: 'read' })).changed.length, 6);
    const refused = async (data) => { const said = next(one.socket, 'error'); one.socket.emit('notification:ack', data); return (await said)[0]; };
    assert.equal((await refused({ id: 5 })).code, 400);
    assert.match((await refused({ id: ids[6], ids: [ids[7]] })).message, /exactly one of data\.id, data\.ids/);
  });

  test('tells other devices what was read, and all how much is unread', async () => {
    const ann = somebody();
    const { id } = await durable(stage, ann, 0);
    const [one, two] = [await device(stage, ann), await device(stage, ann)];
    const heard = next(two.socket, 'notification:state');
    one.socket.emit('notification:read', { notificationId: id });
    assert.deepEqual(await heard, [{ ids: [id], state: 'read' }]);
    for (const { socket, told } of [one, two]) await until(socket, 'unread-count', () => told.some(([, { count }]) => count === 0));
    assert.ok(one.told.every(([event]) => event === 'unread-count'), 'who said it is not told');
  });

  test('has nobody else read, mark or hear what is somebody’s', async () => {
    const [ann, bob] = [somebody(), somebody()];
    const { id } = await durable(stage, ann, 0);
    const other = await device(stage, bob);
    assert.deepEqual(other.n(), []);
    const answer = await other.socket.timeout(5000).emitWithAck('notification:ack', { id });
    assert.deepEqual(answer, { ok: false, changed: [], unknown: [id] });
    assert.deepEqual((await device(stage, ann)).n(), [0]);
  });

  test('takes one id once, however often it is published', async () => {
    const ann = somebody();
    const here = await device(stage, ann);
    const id = `order-${ann}`;
    assert.equal((await durable(stage, ann, 1, { id })).duplicate, undefined);
    assert.equal((await durable(stage, ann, 1, { id })).duplicate, true);
    await durable(stage, ann, 2);
    await until(here.socket, 'notification', () => here.messages.length >= 2);
    assert.deepEqual(here.n(), [1, 2]);
    assert.deepEqual((await device(stage, ann)).n(), [1, 2]);
  });

  test('lets others in the channel hear it as ever, and events with another rule go by it', async () => {
    const ann = somebody();
    const boss = connect(stage.server.url, { auth: { token: user('boss') }, transports: ['websocket'] });
    stage.sockets.push(boss);
    await connected(boss);
    await boss.emitWithAck('watch', `user:${ann}`);
    const here = await device(stage, ann);
    const heard = new Promise((resolve) => { boss.once('notification', (...args) => resolve(args)); });
    await durable(stage, ann, 1);
    assert.deepEqual(await heard, [{ n: 1 }], 'without an acknowledgement');
    await until(here.socket, 'notification', () => here.messages.length > 0);
    const plain = new Promise((resolve) => { here.socket.once('notification', (...args) => resolve(args)); });
    here.socket.offAny();
    await durable(stage, ann, 2, { delivery: 'live' });
    assert.deepEqual(await plain, [{ n: 2 }]);
    const team = new Promise((resolve) => { here.socket.once('notification', (...args) => resolve(args)); });
    await stage.server.publish('team', 'notification', { n: 3 });
    assert.deepEqual(await team, [{ n: 3 }], 'the rule is for user:* only');
    assert.deepEqual((await device(stage, ann)).n(), [1]);
  });

  test('keeps for those who hear a channel now, where it has no roster', async () => {
    const [ann, bob] = [somebody(), somebody()];
    const here = await device(stage, ann);
    const alarm = next(here.socket, 'alarm:new');
    await stage.server.publish('team', 'alarm:new', { n: 7 });
    await alarm;
    const again = await device(stage, ann);
    assert.deepEqual(again.messages, [['alarm:new', { n: 7 }]]);
    assert.deepEqual((await device(stage, bob)).n(), [], 'was not there');
  });

  test('keeps for all on a roster, present or not', async () => {
    const [ann, bob] = [somebody(), somebody()];
    const site = `site:${ann}`;
    const one = await device(stage, ann);
    await one.socket.emitWithAck('watch', site);
    const two = await device(stage, bob);
    await two.socket.emitWithAck('watch', site);
    two.socket.disconnect();
    const heard = next(one.socket, 'alarm:new');
    await stage.server.publish(site, 'alarm:new', { n: 1 });
    assert.deepEqual((await heard)[0], { n: 1 });
    await until(one.socket, 'unread-count', () => one.told.some(([, { count }]) => count === 1));
    const back = await device(stage, bob, { answer: () => [] });
    assert.deepEqual(back.n(), [1]);
    await stage.server.publish(site, 'alarm:new', { n: 2 });
    await until(back.socket, 'alarm:new', () => back.messages.length >= 2);
    assert.deepEqual(back.n(), [1, 2], 'though it has not subscribed on this connection');
    await one.socket.emitWithAck('unwatch', site);
    await stage.server.publish(site, 'alarm:new', { n: 3 });
    await until(back.socket, 'alarm:new', () => back.messages.length >= 3);
    assert.deepEqual((await device(stage, ann)).n(), [], 'who has unsubscribed has nothing of it any more');
  });

  test('keeps each place’s own audience, also of one that is named later', async () => {
    const stranger = await device(stage, 'stranger');
    await stranger.socket.emitWithAck('watch', 'all-sites');
    const ann = somebody();
    const insider = await device(stage, ann);
    await insider.socket.emitWithAck('watch', 'all-sites');
    const heard = next(insider.socket, 'alarm:new');
    await stage.server.publish([`user:${ann}`, 'all-sites'], 'alarm:new', { n: 1, site: 5 });
    await heard;
    await stage.server.publish('user:stranger', 'alarm:own', { n: 2 });
    await until(stranger.socket, 'alarm:own', () => stranger.messages.length > 0);
    assert.deepEqual(stranger.n(), [2], 'may not hear site:5');
    assert.deepEqual((await device(stage, 'stranger')).n(), [2]);
    assert.deepEqual((await device(stage, ann)).n(), [1], 'once, though it lies in two places');
  });

  test('takes off a roster who unsubscribes on another device, and puts on it again who subscribes again', async () => {
    const ann = somebody();
    const site = `site:again-${ann}`;
    const [one, two] = [await device(stage, ann), await device(stage, ann)];
    await one.socket.emitWithAck('watch', site);
    await two.socket.emitWithAck('unwatch', site);
    const away = async (n) => {
      await stage.server.publish(site, 'alarm:new', { n });
      return (await device(stage, ann)).n();
    };
    assert.deepEqual(await away(1), []);
    await one.socket.emitWithAck('watch', site);
    assert.deepEqual(await away(2), [2]);
  });

  test('takes an id from the data where a rule says so', async () => {
    const ann = somebody();
    const publish = (n) => stage.server.publish(`user:${ann}`, 'order', { n, orderId: 7_000_000 + Number(ann.slice(1)) });
    assert.equal((await publish(1)).id, String(7_000_000 + Number(ann.slice(1))));
    assert.equal((await publish(2)).duplicate, true);
    assert.deepEqual((await device(stage, ann)).n(), [1]);
  });

  test('delivers later, and not at all when it is too late', async () => {
    const ann = somebody();
    const at = Date.now() + 700;
    await durable(stage, ann, 1, { deliver_at: at });
    await durable(stage, ann, 2, { deliver_at: new Date(at + 100).toISOString() });
    await durable(stage, ann, 3, { ttl_ms: 1 });
    const here = await device(stage, ann);
    assert.deepEqual(here.n().filter((n) => n < 3), []);
    await until(here.socket, 'notification', () => here.n().filter((n) => n < 3).length >= 2);
    assert.deepEqual(here.n().filter((n) => n < 3), [1, 2]);
    assert.ok(Date.now() >= at);
    assert.deepEqual((await device(stage, ann)).n(), [1, 2]);
  });

  test('tells how much is unread when something expires', async () => {
    const ann = somebody();
    const here = await device(stage, ann);
    await durable(stage, ann, 1, { ttl_ms: 300 });
    await until(here.socket, 'unread-count', () => here.told.some(([, { count }]) => count === 1));
    const gone = next(here.socket, 'unread-count', 15_000);
    assert.deepEqual(await gone, [{ count: 0 }]);
  });

  test('serves plain WebSockets and clients of version 2', async () => {
    const ann = somebody();
    const { id } = await durable(stage, ann, 1);
    const frames = [];
    const ws = new WebSocket(`${stage.server.ws}/ws?token=${user(ann)}`);
    stage.ends.push(() => ws.terminate());
    const unread = (count) => new Promise((resolve) => {
      ws.on('message', (text) => { const frame = JSON.parse(text); if (frame.type === 'unread-count' && frame.data.count === count) resolve(); });
    });
    ws.on('message', (text) => frames.push(JSON.parse(text)));
    await unread(1);
    assert.deepEqual(frames.find(({ type }) => type === 'notification'), { type: 'notification', data: { n: 1 } });
    const none = unread(0);
    ws.send(JSON.stringify({ type: 'notification:ack', id, state: 'read' }));
    await none;
    const old = new WebSocket(`${stage.server.ws}/socket.io/?EIO=3&transport=websocket&token=${user(ann)}`);
    stage.ends.push(() => old.terminate());
    const packets = [];
    const event = (start) => new Promise((resolve) => { old.on('message', (text) => { packets.push(String(text)); if (start.test(String(text))) resolve(String(text)); }); });
    await event(/unread-count/);
    const asked = event(/^42\d+\["notification"/);
    await durable(stage, ann, 2);
    const [, ack] = (await asked).match(/^42(\d+)/);
    old.send(`43${ack}["read"]`);
    await event(/"unread-count",{"count":0}/);
  });

  test('refuses what does not go together, with the remedy', async () => {
    const ann = somebody();
    const ask = async (body) => {
      const { status, json } = await stage.server.api('/api/v1/publish', { body: { to: `user:${ann}`, event: 'x', ...body } });
      return `${status} ${json.error.message}`;
    };
    assert.match(await ask({ deliver_at: 5 }), /400 .*"delivery": "durable"/);
    assert.match(await ask({ delivery: 'durable', volatile: true }), /400 .*contradict/);
    for (const what of [{ delivery: 'durable' }, { event: 'notification' }]) assert.match(await ask({ ...what, ack: { timeout_ms: 5 } }), /400 .*receipts/);
    assert.match(await ask({ delivery: 'durable', audience: { roles: ['a'] } }), /400 .*audience/);
    assert.match(await ask({ delivery: 'durable', except: ['user:7'] }), /400 .*`except` is for those who are connected/);
    assert.match(await ask({ delivery: 'recoverable' }), /409 .*history/);
    assert.match(await ask({ delivery: 'durable', receipts: 'webhook' }), /400 .*webhook/);
    assert.match(await ask({ delivery: 'durable', deliver_at: 'soon' }), /400 .*2026-01-31/);
    assert.match(await ask({ delivery: 'durable', ttl_ms: 0 }), /400 .*ttl_ms/);
    assert.match(await ask({ delivery: 'eternal' }), /400 /);
  });
});

describe('an inbox that counts heartbeats', () => {
  const stage = staged('acknowledge = "heartbeat"\nfirst_cancels = true', 'ping_interval = "500ms"\nping_timeout = "5s"');

  test('shows nothing twice to a client that never acknowledges', async () => {
    const ann = somebody();
    const devices = [await device(stage, ann), await device(stage, ann)];
    const cancelled = Promise.race(devices.map(({ socket }) => next(socket, 'notification:state')));
    const { id } = await durable(stage, ann, 1);
    assert.deepEqual(await cancelled, [{ ids: [id], state: 'delivered' }], 'the other one took it first');
    assert.deepEqual(devices.map(({ n }) => n()), [[1], [1]]);
    assert.deepEqual((await device(stage, ann)).n(), []);
  });

  test('has acknowledged nothing before the answer to the next heartbeat', async () => {
    const ann = somebody();
    await durable(stage, ann, 1);
    const ws = new WebSocket(`${stage.server.ws}/socket.io/?EIO=4&transport=websocket`);
    stage.ends.push(() => ws.terminate());
    const packet = (start) => new Promise((resolve) => { ws.on('message', (text) => { if (start.test(String(text))) resolve(String(text)); }); });
    await packet(/^0/);
    const heard = packet(/^42\d+\["notification"/);
    const pinged = packet(/^2$/);
    ws.send(`40${JSON.stringify({ token: user(ann) })}`);
    await heard;
    await pinged;
    const closed = next(ws, 'close');
    ws.terminate();
    await closed;
    assert.deepEqual((await device(stage, ann)).n(), [1], 'the ping was not answered');
  });

  test('counts the pong of a plain WebSocket', async () => {
    const ann = somebody();
    await durable(stage, ann, 1);
    const ws = new WebSocket(`${stage.server.ws}/ws?token=${user(ann)}`);
    stage.ends.push(() => ws.terminate());
    const frames = [];
    ws.on('message', (text) => frames.push(JSON.parse(text)));
    await until(ws, 'message', () => frames.some(({ type }) => type === 'notification'));
    await next(ws, 'ping');
    await next(ws, 'ping');
    assert.deepEqual((await device(stage, ann)).n(), []);
  });

  test('takes no pong of a plain WebSocket for the answer to a ping that it does not answer', async () => {
    const ann = somebody();
    await durable(stage, ann, 1);
    const ws = new WebSocket(`${stage.server.ws}/ws?token=${user(ann)}`, { autoPong: false });
    stage.ends.push(() => ws.terminate());
    const frames = [];
    ws.on('message', (text) => frames.push(JSON.parse(text)));
    const pings = [];
    ws.on('ping', (payload) => pings.push(payload));
    await until(ws, 'message', () => frames.some(({ type }) => type === 'notification'));
    pings.length = 0;
    await until(ws, 'ping', () => pings.length > 1);
    const answered = async (...payloads) => {
      payloads.forEach((payload) => ws.pong(payload));
      // Whatever is said afterwards is heard afterwards.
      const known = next(ws, 'message');
      ws.send(JSON.stringify({ type: 'notification:ack', id: 5 }));
      await known;
      return (await stage.server.api(`/api/v1/inbox?user=${ann}`)).json.messages.map(({ state }) => state);
    };
    assert.deepEqual(await answered('', 'alive', Buffer.alloc(4), Buffer.alloc(4, 255)), ['pending'], 'unasked');
    let states = await answered(pings[1]);
    while (states[0] === 'pending') states = await answered();
    assert.deepEqual(states, ['delivered']);
  });
});

test('who is cut off and recovers hears what is durable once, with the rest of what was missed', async (t) => {
  const config = CONFIG().replace('inbox = "{id}"', 'inbox = "{id}"\nhistory = 100');
  const stage = { server: await serving(t, `${config}[app.desk.recovery]\nwindow = "30s"\n`), sockets: [] };
  t.after(() => stage.sockets.forEach((socket) => socket.disconnect()));
  const ann = somebody();
  const { socket, messages, live } = await device(stage, ann);
  await durable(stage, ann, 0);
  await until(socket, 'notification', () => messages.length === 1);
  const gone = next(socket, 'disconnect');
  socket.io.engine.transport.ws.terminate();
  await gone;
  await durable(stage, ann, 1);
  await stage.server.publish(`user:${ann}`, 'note', { n: 5 });
  const counted = next(socket, 'unread-count');
  socket.connect();
  await counted;
  assert.equal(socket.recovered, true);
  assert.deepEqual(live.map(([event, { n }]) => [event, n]), [['note', 5]], 'the durable one is not among what is recovered');
  assert.deepEqual(messages.map(([, { n }]) => n), [0, 0, 1], 'what was not acknowledged comes again');
  const other = await device(stage, ann, { answer: () => [] });
  assert.deepEqual(other.n(), [0, 1]);
});

test('a data directory is what it was after the server was killed', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'oyez-inbox-'));
  t.after(() => rmSync(dir, { recursive: true }));
  const stage = { sockets: [] };
  t.after(() => stage.sockets.forEach((socket) => socket.disconnect()));
  const ann = somebody();
  stage.server = await serving(t, CONFIG('level = "synced"'), { args: ['--data-dir', join(dir, 'data')] });
  for (const n of range(0, 20)) assert.equal((await durable(stage, ann, n, { id: `m${n}` })).level, 'synced');
  assert.equal((await durable(stage, ann, 20, { level: 'stored', id: 'm20' })).level, 'stored');
  const { socket, n, told } = await device(stage, ann, { answer: ({ n }) => (n < 10 ? ['read'] : undefined) });
  assert.deepEqual(n(), range(0, 21));
  await until(socket, 'unread-count', () => told.some(([, { count }]) => count === 11));
  await socket.timeout(5000).emitWithAck('notification:ack', { id: 'm10' });
  stage.server.child.kill('SIGKILL');
  await stage.server.exited;
  stage.server = await serving(t, CONFIG(), { args: ['--data-dir', join(dir, 'data')] });
  assert.deepEqual((await device(stage, ann)).n(), range(11, 10));
  assert.equal((await durable(stage, ann, 3, { id: 'm3' })).duplicate, true, 'ids are known after a restart');
});

test('an app without an inbox says how to get one, and a store in memory says so', async (t) => {
  const server = await serving(t, CONFIG());
  assert.match(server.logs.join('\n'), /kept in memory.*--data-dir/);
  const other = await serving(t, CONFIG().replace(/\[\[app\.desk\.event\]\][\s\S]*?(?=\[\[app\.desk\.on\]\])/, '').replace(/^inbox = .*$|^roster = .*$|^mark = .*$|\[app\.desk\.inbox\]/gm, ''));
  const { status, json } = await other.api('/api/v1/publish', { body: { to: 'user:1', event: 'x', delivery: 'durable' } });
  assert.deepEqual([status, json.error.code], [409, 'conflict']);
  assert.match(json.error.message, /\[app\.desk\.inbox\]/);
});
