// What a slow client does not hear is counted, to the last message: for every channel and lane, what arrived and what
// /metrics counts as dropped are together what was sent.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import { WebSocket } from 'ws';
import { token } from './harness.mjs';
import { range } from './remembering.mjs';
import { serving } from './stage.mjs';
import { unique } from './steps.mjs';
import { eventually } from './waiting.mjs';

const LANES = ['urgent', 'high', 'normal', 'low'];
const POLICIES = { drop: 'when_slow = "drop_oldest"', conflate: 'when_slow = "conflate"\nconflate_by = "data.key"' };
const CHANNELS = Object.keys(POLICIES).flatMap((policy) => LANES.map((lane) => [policy, lane]));
const COUNT = 300;
const KEYS = 7;
const PADDING = 'x'.repeat(300);
/** Soon more than the kernel's buffers hold. */
const FILLING = 'x'.repeat(100_000);

const CONFIG = `
[key.backend]
secret = { env = "OYEZ_API_KEY" }
[app.feed]
origins = ["*"]
[app.feed.limits]
outbox = "200KiB"
connects_per_second = "none"
[app.feed.socketio]
[app.feed.websocket]
[app.feed.auth]
from = ["auth.token", "query.token"]
[app.feed.auth.jwt]
algorithms = ["HS256"]
secret = { env = "JWT_SECRET" }
[app.feed.identity]
user = "claims.sub"
[[app.feed.channel]]
name = "filling:{id}"
subscribe = true
[app.feed.connect]
join = ["filling:{user.id}", ${CHANNELS.map(([policy, lane]) => `"${policy}-${lane}:{user.id}"`).join(', ')}]
reply = { event = "welcome", data = "{}" }
${CHANNELS.map(([policy, lane]) => `[[app.feed.channel]]\nname = "${policy}-${lane}:{id}"\nsubscribe = true\n${POLICIES[policy]}\n`).join('')}`;

/** Every series of `oyez_messages_dropped_total`, as [labels, value]. */
async function drops(server) {
  const { text } = await server.api('/metrics', { token: null });
  return [...text.matchAll(/^oyez_messages_dropped_total\{(.*)\} (\d+)$/gm)].map(([, labels, count]) => [labels, Number(count)]);
}

/** What was dropped since `before`, by "channel lane reason". */
async function since(server, before) {
  const known = new Map(before);
  const label = (labels, name) => labels.match(new RegExp(`${name}="([^"]*)"`))[1];
  const grown = (await drops(server)).map(([labels, count]) => [labels, count - (known.get(labels) ?? 0)]);
  return Object.fromEntries(grown.filter(([, count]) => count > 0).map(([labels, count]) => [['channel', 'lane', 'reason'].map((name) => label(labels, name)).join(' '), count]));
}

/** A client that takes in [event, data], and can be held: `held(true)` has it read nothing any more. */
const WAYS = {
  async websocket(t, server, auth, take) {
    const ws = new WebSocket(`${server.ws}/socket.io/?EIO=4&transport=websocket`);
    t.after(() => ws.terminate());
    await new Promise((resolve) => {
      ws.on('message', (bytes) => {
        const text = String(bytes);
        if (text.startsWith('0')) ws.send(`40${JSON.stringify({ token: auth })}`);
        if (text === '2') ws.send('3');
        if (text.startsWith('42')) take(...JSON.parse(text.slice(2)));
        if (text.includes('"welcome"')) resolve();
      });
    });
    return (held) => (held ? ws.pause() : ws.resume());
  },
  async 'plain WebSocket'(t, server, auth, take) {
    const ws = new WebSocket(`${server.ws}/ws?token=${auth}`);
    t.after(() => ws.terminate());
    await new Promise((resolve) => {
      ws.on('message', (bytes) => {
        const { type, data } = JSON.parse(bytes);
        take(type, data);
        if (type === 'welcome') resolve();
      });
    });
    return (held) => (held ? ws.pause() : ws.resume());
  },
  async polling(t, server, auth, take) {
    const base = `${server.url}/socket.io/?EIO=4&transport=polling`;
    const [open] = (await (await fetch(base)).text()).split('\x1e');
    const url = `${base}&sid=${JSON.parse(open.slice(1)).sid}`;
    const ends = new AbortController();
    t.after(() => ends.abort());
    await fetch(url, { method: 'POST', body: `40${JSON.stringify({ token: auth })}` });
    let holds = false;
    const poll = async () => {
      const text = await (await fetch(url, { signal: ends.signal })).text();
      for (const packet of text.split('\x1e').filter((one) => one.startsWith('42'))) take(...JSON.parse(packet.slice(2)));
    };
    await poll();
    const go = async () => { while (!holds && !ends.signal.aborted) await poll(); };
    return (held) => {
      holds = held;
      if (!held) go().catch(() => {});
    };
  },
};

describe('for a client that reads too slowly', () => {
  let server;
  const ends = [];
  before(async () => { server = await serving({ after: (end) => ends.push(end) }, CONFIG); });
  after(async () => { for (const end of ends) await end(); });

  const batch = async (commands) => {
    const { json } = await server.api('/api/v1/batch', { body: { commands: commands.map((publish) => ({ publish })) } });
    assert.ok(json.results.every(({ id }) => id), JSON.stringify(json).slice(0, 500));
  };

  /** A client of that kind that the server cannot write to; `heard` is what it has heard, `to(channel)` its own. */
  const stuck = async (t, way) => {
    const who = unique('slow');
    const heard = [];
    const hold = await WAYS[way](t, server, token({ sub: who }), (event, data) => heard.push([event, data]));
    hold(true);
    const total = async () => (await drops(server)).reduce((all, [, count]) => all + count, 0);
    const before = await total();
    await eventually(async () => {
      await server.publish(`filling:${who}`, 'filling', FILLING, { volatile: true });
      return await total() > before;
    }, 'a full connection', 20_000);
    const to = (name) => `${name}:${who}`;
    /** Everything that was said before has been heard, or never will be. */
    const drain = async () => {
      hold(false);
      for (let at = 0; ; at += 1) {
        await server.publish(to('filling'), 'mark', { at }, { priority: 'low' });
        const there = () => heard.some(([event, data]) => event === 'mark' && data.at === at);
        if (await eventually(there, 'the mark', 5000).catch(() => false)) return;
        assert.ok(at < 3, `no mark was heard of ${way}`);
      }
    };
    return { heard, to, drain };
  };

  for (const way of Object.keys(WAYS)) {
    test(`each message of each lane is heard or counted: ${way}`, async (t) => {
      const { heard, to, drain } = await stuck(t, way);
      const before = await drops(server);
      for (const at of range(0, COUNT / 50)) {
        await batch(range(at * 50, 50).flatMap((n) => CHANNELS.map(([policy, lane]) => (
          { to: to(`${policy}-${lane}`), event: `${policy}-${lane}`, priority: lane, data: { n, key: n % KEYS, padding: PADDING } }))));
      }
      await drain();
      const dropped = await since(server, before);
      const count = (policy, lane, reason) => dropped[`${policy}-${lane}:{id} ${lane} ${reason}`] ?? 0;
      let counted = 0;
      for (const [policy, lane] of CHANNELS) {
        const numbers = heard.filter(([event]) => event === `${policy}-${lane}`).map(([, { n }]) => n);
        assert.equal(new Set(numbers).size, numbers.length, 'nothing twice');
        const [slow, conflated] = ['slow_consumer', 'conflated'].map((reason) => count(policy, lane, reason));
        assert.equal(numbers.length + slow + conflated, COUNT, `${policy} ${lane}: ${numbers.length} heard, ${JSON.stringify(dropped)}`);
        if (policy === 'drop') {
          assert.equal(conflated, 0);
          assert.deepEqual(numbers, range(COUNT - numbers.length, numbers.length), 'the oldest went');
        } else if (slow === 0) {
          assert.deepEqual(numbers.slice().sort((a, b) => a - b).slice(-KEYS), range(COUNT - KEYS, KEYS), 'of each key the latest stays');
        }
        counted += slow + conflated;
      }
      assert.ok(counted > 0);
      assert.equal(Object.values(dropped).reduce((all, one) => all + one, 0), counted, `nothing else is counted: ${JSON.stringify(dropped)}`);
      t.diagnostic(JSON.stringify(dropped));
    });

    test(`volatile ones are counted as such, in their lanes: ${way}`, async (t) => {
      const { heard, to, drain } = await stuck(t, way);
      const before = await drops(server);
      await batch(range(0, 20).flatMap((n) => CHANNELS.map(([policy, lane]) => (
        { to: to(`${policy}-${lane}`), event: 'gone', priority: lane, volatile: true, data: { n, key: n } }))));
      await drain();
      assert.deepEqual(await since(server, before), Object.fromEntries(CHANNELS.map(([policy, lane]) => [`${policy}-${lane}:{id} ${lane} volatile`, 20])));
      assert.ok(heard.every(([event]) => event !== 'gone'));
    });
  }

  test('several of them are counted each, and who reads hears all', async (t) => {
    const slow = [await stuck(t, 'websocket'), await stuck(t, 'polling'), await stuck(t, 'plain WebSocket')];
    const before = await drops(server);
    const quick = [];
    const who = unique('quick');
    (await WAYS.websocket(t, server, token({ sub: who }), (event, data) => quick.push([event, data])))(false);
    const everybody = [...slow.map(({ to }) => to('drop-normal')), `drop-normal:${who}`];
    for (const at of range(0, COUNT / 50)) await batch(range(at * 50, 50).map((n) => ({ to: everybody, event: 'all', data: { n, padding: PADDING.repeat(8) } })));
    for (const { drain } of slow) await drain();
    const numbers = (heard) => heard.filter(([event]) => event === 'all').map(([, { n }]) => n);
    await eventually(() => numbers(quick).length === COUNT, 'all for the one that reads');
    const dropped = await since(server, before);
    const lacking = slow.reduce((all, { heard }) => all + COUNT - numbers(heard).length, 0);
    assert.ok(lacking > 0);
    assert.deepEqual(dropped, { 'drop-normal:{id} normal slow_consumer': lacking });
  });
});
