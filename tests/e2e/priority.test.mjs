// A client that does not read, and what it hears when it does: alarms before the ticks that waited longer, each lane in its
// order, nothing lost and nothing twice; and where each message is counted that it never hears.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { WebSocket } from 'ws';
import { CONFIG, RECOVERY, range, user } from './remembering.mjs';
import { serving } from './stage.mjs';
import { Inbox, eventually } from './waiting.mjs';

/** Soon more than the kernel's buffers hold. */
const FILLING = 'x'.repeat(100_000);
const VOLATILE = ['reason="volatile"'];

/** The sum of what `oyez_messages_dropped_total` counts under these labels. */
async function dropped(server, ...labels) {
  const { text } = await server.api('/metrics', { token: null });
  const lines = text.split('\n').filter((line) => line.startsWith('oyez_messages_dropped_total{') && labels.every((label) => line.includes(label)));
  return lines.reduce((all, line) => all + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

/** The bare protocol on a WebSocket that can stop reading. It hears events as [name, data, offset]. */
async function client(t, server, auth) {
  const ws = new WebSocket(`${server.ws}/socket.io/?EIO=4&transport=websocket`);
  t.after(() => ws.terminate());
  const heard = new Inbox();
  const self = { ws, heard, events: [], over: false, offset: undefined };
  ws.on('error', () => {}).on('close', () => heard.put('close')).on('message', (data) => {
    if (self.over) return;
    const text = String(data);
    heard.put('packet', text);
    const [, said] = text.match(/^42\d*(\[.*)$/s) ?? [];
    if (!said) return;
    const event = JSON.parse(said);
    self.events.push(event);
    if (typeof event.at(-1) === 'string') self.offset = event.at(-1);
    heard.put(...event);
  });
  await heard.take('packet', (text) => text.startsWith('0'));
  ws.send(`40${JSON.stringify(auth)}`);
  self.pid = JSON.parse((await heard.take('packet', (text) => text.startsWith('40'))).slice(2)).pid;
  self.numbers = (name) => self.events.filter(([event]) => event === name).map(([, { n }]) => n);
  return self;
}

/** The same, when it has stopped reading and the server cannot write to it any more. */
async function congested(t, server, name) {
  const slow = await client(t, server, { token: user(name) });
  await slow.heard.take('welcome');
  slow.ws.pause();
  const before = await dropped(server, ...VOLATILE);
  await eventually(async () => {
    await server.publish(`user:${name}`, 'filling', FILLING, { volatile: true });
    return await dropped(server, ...VOLATILE) > before;
  }, 'a full connection', 20_000);
  return slow;
}

/** Publishes numbered events. */
async function say(server, to, event, count, more = {}, data = {}) {
  const commands = range(0, count).map((n) => ({ publish: { to, event, data: { n, ...data }, ...more } }));
  const { json } = await server.api('/api/v1/batch', { body: { commands } });
  assert.ok(json.results.length === count && json.results.every(({ id }) => id), JSON.stringify(json).slice(0, 500));
}

/** Lets a slow client answer the next ping, and then go without having heard more. */
async function answeringOnly(t, server, slow) {
  // Whoever came later is pinged later.
  const clock = await client(t, server, { token: user('clock') });
  await clock.heard.take('packet', (text) => text === '2');
  slow.ws.on('message', (data) => {
    if (String(data) !== '2' || slow.over) return;
    slow.over = true;
    slow.ws.send('3');
    slow.ws.close();
  });
  slow.ws.resume();
  await slow.heard.take('close');
}

const LIMITS = (outbox) => `outbox = "${outbox}"`;
const config = (recovery, limits = '') => CONFIG(recovery).replace('[app.feed.limits]', `[app.feed.limits]\n${limits}`);

describe('a client that does not read', () => {
  let server;
  const ends = [];
  before(async () => { server = await serving({ after: (end) => ends.push(end) }, config('')); });
  after(async () => { for (const end of ends) await end(); });

  test('hears an alarm before a thousand ticks, and each lane in its order', async (t) => {
    const slow = await congested(t, server, 'lanes');
    const lost = await dropped(server, 'reason="slow_consumer"');
    await say(server, 'ticks', 'tick', 1_000, { priority: 'low' });
    await say(server, 'ticks', 'news', 80);
    await say(server, 'ticks', 'hint', 10, { priority: 'high' });
    await say(server, 'ticks', 'alarm', 3, { priority: 'urgent' });
    slow.ws.resume();
    await slow.heard.take('tick', ({ n }) => n === 999, 20_000);
    for (const [name, count] of [['tick', 1_000], ['news', 80], ['hint', 10], ['alarm', 3]]) {
      assert.deepEqual(slow.numbers(name), range(0, count), name);
    }
    const lanes = slow.events.map(([name]) => name).filter((name) => !['welcome', 'filling'].includes(name));
    assert.deepEqual(lanes.slice(0, 3), ['alarm', 'alarm', 'alarm']);
    const until = lanes.lastIndexOf('news');
    const ticks = lanes.slice(0, until).filter((name) => name === 'tick').length;
    assert.equal(ticks, Math.floor((3 + 10 + 80 - 1) / 7), 'after seven that overtake, one tick');
    assert.equal(await dropped(server, 'reason="slow_consumer"'), lost);
  });

  test('is not answered later than in order, and pinged before all', async (t) => {
    const slow = await congested(t, server, 'answers');
    await say(server, 'ticks', 'tick', 50, { priority: 'low' });
    slow.ws.send('42["say",1]');
    slow.ws.send('421["say",2]');
    slow.ws.ping('there?');
    slow.ws.on('pong', () => slow.heard.put('pong', slow.events.length));
    const said = await client(t, server, { token: user('other') });
    said.ws.send('421["join","ticks"]');
    await said.heard.take('packet', (text) => text.startsWith('431'));
    await say(server, 'user:answers', 'later', 1);
    slow.ws.resume();
    assert.equal(slow.numbers('tick').length, 0);
    await slow.heard.take('later');
    const before = await slow.heard.take('pong');
    assert.deepEqual(slow.events.slice(before).filter(([name]) => name === 'tick').length, 50, 'the pong came before all ticks');
    const packets = slow.heard.all('packet');
    const at = (start) => packets.findIndex((text) => text.startsWith(start));
    assert.ok(at('431') > packets.findLastIndex((text) => text.startsWith('42["tick"')), 'the answer came after what was said before it');
  });
});

test('what does not fit is taken from the lowest lane, and counted by channel, reason and lane', async (t) => {
  const server = await serving(t, config('', LIMITS('200KiB')));
  const slow = await congested(t, server, 'drops');
  const count = 500;
  const padding = 'x'.repeat(200);
  await say(server, 'ticks', 'tick', count, { priority: 'low' }, { padding });
  await say(server, 'user:drops', 'news', count, {}, { padding });
  await say(server, 'user:drops', 'alarm', count, { priority: 'urgent' });
  slow.ws.resume();
  const of = (channel, lane) => dropped(server, 'app="feed"', `channel="${channel}"`, 'reason="slow_consumer"', `lane="${lane}"`);
  await eventually(async () => slow.numbers('tick').length + await of('ticks', 'low') === count, 'every tick accounted for');
  assert.ok(await of('ticks', 'low') > 0);
  assert.ok(await of('user:{id}', 'normal') > 0);
  await eventually(async () => slow.numbers('news').length + await of('user:{id}', 'normal') === count, 'everything else, too');
  assert.deepEqual(slow.numbers('alarm'), range(0, count), 'urgent ones would be the last');
  assert.equal(await of('user:{id}', 'urgent'), 0);
  const numbers = slow.numbers('news');
  assert.deepEqual(numbers, range(count - numbers.length, numbers.length), 'the oldest went first');
  assert.equal(await dropped(server, 'channel="user:{id}"', 'lane="normal"', ...VOLATILE), await dropped(server, ...VOLATILE));
});

describe('a client that is cut off while it lags behind', () => {
  let server;
  const ends = [];
  before(async () => { server = await serving({ after: (end) => ends.push(end) }, config(RECOVERY).replace('[app.feed.socketio]', '[app.feed.socketio]\nping_interval = "3s"')); });
  after(async () => { for (const end of ends) await end(); });

  /** What it hears that is remembered, over all its connections: exactly this. */
  function hasAll(connections, count) {
    const items = connections.flatMap(({ events }) => events).filter(([name]) => name === 'item' || name === 'alarm').map(([, { n }]) => n);
    assert.deepEqual(items, range(0, count));
  }

  for (const cut of [0, 1, 2, 60, 92, 93, 110, 180]) {
    test(`after ${cut} events gets the rest of what is remembered, once and in order`, async (t) => {
      const name = `cut${cut}`;
      const slow = await congested(t, server, name);
      await say(server, 'ticks', 'tick', 100, { priority: 'low' });
      const remembered = range(0, 90).map((n) => ({ publish: { to: `user:${name}`, event: 'item', data: { n } } }));
      remembered.push({ publish: { to: `user:${name}`, event: 'alarm', data: { n: 90 }, priority: 'urgent' } });
      await server.api('/api/v1/batch', { body: { commands: remembered } });
      await say(server, 'ticks', 'alert', 2, { priority: 'urgent' });
      const old = slow.events.length;
      slow.ws.on('message', () => {
        const count = slow.events.filter(([event]) => event !== 'filling').length - old;
        if (count >= cut && !slow.over) {
          slow.over = true;
          slow.ws.terminate();
        }
      });
      slow.ws.resume();
      await slow.heard.take('close', undefined, 20_000);
      const { pid, offset } = slow;
      const back = await client(t, server, { token: user(name), pid, offset });
      assert.equal(back.pid, pid, 'it is the same session');
      await server.publish(`user:${name}`, 'item', { n: 91 });
      await back.heard.take('item', ({ n }) => n === 91);
      hasAll([slow, back], 92);
    });
  }

  test('has not heard what its answer to a ping overtook', async (t) => {
    const slow = await congested(t, server, 'pinged');
    await say(server, 'user:pinged', 'item', 100);
    await answeringOnly(t, server, slow);
    assert.deepEqual(slow.numbers('item'), [], 'the ping came first');
    const { pid, offset } = slow;
    const back = await client(t, server, { token: user('pinged'), pid, offset });
    assert.equal(back.pid, pid);
    await server.publish('user:pinged', 'item', { n: 100 });
    await back.heard.take('item', ({ n }) => n === 100);
    hasAll([slow, back], 101);
  });
});

test('an answer to a ping acknowledges nothing durable that it overtook', async (t) => {
  const durable = config('').replace('name = "user:{id}"', 'name = "user:{id}"\ninbox = "{id}"').replace('[app.feed.socketio]', '[app.feed.socketio]\nping_interval = "3s"');
  const server = await serving(t, `${durable}[[app.feed.event]]\nname = "item"\ndelivery = "durable"\n[app.feed.inbox]\nacknowledge = "heartbeat"\n`);
  const slow = await congested(t, server, 'keeper');
  await say(server, 'user:keeper', 'item', 5);
  await answeringOnly(t, server, slow);
  assert.deepEqual(slow.numbers('item'), [], 'the ping came first');
  const back = await client(t, server, { token: user('keeper') });
  await back.heard.take('item', ({ n }) => n === 4);
  assert.deepEqual(back.numbers('item'), range(0, 5));
});
