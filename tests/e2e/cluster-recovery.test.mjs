// A client that is cut off and comes back to another node gets what it missed, from all nodes, or hears of a gap; and so does
// one that is connected, when the nodes could not hear each other.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import net from 'node:net';
import { join, relative } from 'node:path';
import { WebSocket } from 'ws';
import { ROOT, connect, connected, next } from './harness.mjs';
import { cluster, until } from './company.mjs';
import { CONFIG, RECOVERY, range, user } from './remembering.mjs';
import { folder } from './stage.mjs';
import { Inbox, standstill } from './waiting.mjs';

const feed = (t, count, { recovery = RECOVERY, ...options } = {}) => {
  const config = relative(ROOT, join(folder(t, { 'oyez.toml': CONFIG(recovery) }), 'oyez.toml'));
  return cluster(t, count, { config, ...options });
};

/** A network between one client and the nodes, each connection to the next of them, which can be cut and mended. */
async function network(t, nodes) {
  const open = new Set();
  let whole = true;
  let turn = 0;
  const between = net.createServer((near) => {
    if (!whole) return near.destroy();
    const far = net.connect(nodes[turn++ % nodes.length].port, '127.0.0.1');
    for (const [from, to] of [[near, far], [far, near]]) {
      open.add(from);
      from.on('error', () => {}).on('close', () => { open.delete(from); to.destroy(); });
      from.pipe(to);
    }
  });
  await new Promise((resolve) => between.listen(0, '127.0.0.1', resolve));
  t.after(() => between.close());
  return {
    url: `http://127.0.0.1:${between.address().port}`,
    cut() { whole = false; open.forEach((socket) => socket.destroy()); },
    mend() { whole = true; },
  };
}

/** A stock client that comes back by itself, to the next node each time. */
async function client(t, nodes, sub, options = {}) {
  const between = await network(t, nodes);
  const socket = connect(between.url, { reconnection: true, reconnectionDelay: 5, reconnectionDelayMax: 10, auth: { token: user(sub, ['a']) }, transports: ['websocket'], ...options });
  t.after(() => socket.disconnect());
  const heard = Inbox.of(socket);
  await connected(socket);
  await heard.take('welcome');
  return { socket, heard, net: between };
}

/** Cuts it off until `meanwhile` is done and it has come back. */
async function away({ socket, net: between }, meanwhile = async () => {}) {
  const gone = next(socket, 'disconnect');
  between.cut();
  await gone;
  await meanwhile();
  const back = next(socket, 'connect', 10_000);
  between.mend();
  await back;
}

const heardFrom = ({ heard }, at) => heard.all('item').filter((item) => item.at === at).map(({ n }) => n);

for (const transports of [['websocket'], ['polling']]) {
  test(`a client that is cut off again and again while all nodes talk hears everything once and in order: ${transports}`, async (t) => {
    const { nodes } = await feed(t, 2);
    const ann = await client(t, nodes, 'ann', { transports });
    const { id } = ann.socket;
    const COUNT = 500;
    const talking = nodes.map(async (node, at) => { for (let n = 0; n < COUNT; n += 1) await node.publish('news', 'item', { at, n }); });
    for (let round = 0; round < 20; round += 1) {
      await away(ann);
      assert.equal(ann.socket.recovered, true, `round ${round}`);
      assert.equal(ann.socket.id, id);
    }
    await Promise.all(talking);
    for (const at of [0, 1]) await nodes[at].publish('news', 'item', { at, n: COUNT });
    for (const at of [0, 1]) {
      await ann.heard.take('item', (item) => item.at === at && item.n === COUNT);
      assert.deepEqual(heardFrom(ann, at), range(0, COUNT + 1));
    }
    assert.equal(ann.heard.all('welcome').length, 1);
    assert.deepEqual(ann.heard.all('gap'), []);
  });
}

test('what is said by any node while a client is away reaches it on any other, also what it alone listened to', async (t) => {
  const { nodes } = await feed(t, 3);
  const ann = await client(t, nodes, 'ann');
  assert.deepEqual(await ann.socket.emitWithAck('join', ['room:a']), { joined: ['room:a'] });
  const { id } = ann.socket;
  let n = 0;
  for (let round = 0; round < 6; round += 1) {
    await away(ann, async () => {
      for (const [at, node] of nodes.entries()) for (const to of ['room:a', 'user:ann', id]) await node.publish(to, 'item', { at, n: n++, to });
    });
    assert.equal(ann.socket.recovered, true);
    for (const [at, node] of nodes.entries()) for (const to of ['room:a', id]) await node.publish(to, 'item', { at, n: n++, to });
    await until(() => ann.heard.all('item').length >= n, `${n}, but ${ann.heard.all('item').length}`, 5000);
  }
  const all = ann.heard.all('item').map((item) => item.n);
  assert.deepEqual(all.toSorted((a, b) => a - b), range(0, n));
  assert.deepEqual(ann.heard.all('gap'), []);
  // It is known, found, asked and sent away by its id on every node.
  for (const node of nodes) {
    const { json } = await node.api('/api/v1/connections?user=ann');
    assert.deepEqual(json.connections.map(({ id }) => id), [id]);
  }
  ann.socket.on('ask', (...args) => args.at(-1)('yes'));
  for (const node of nodes) {
    const { json } = await node.api('/api/v1/publish', { body: { to: id, event: 'ask', data: {}, ack: { timeout_ms: 5000 } } });
    assert.deepEqual(json.answers.flat(), ['yes'], JSON.stringify(json));
  }
  const gone = next(ann.socket, 'disconnect');
  assert.equal((await nodes[0].api('/api/v1/disconnect', { body: { session: id } })).status, 200);
  await gone;
});

test('what is lost in a channel that the client may not hear any more is no gap for it', async (t) => {
  const { nodes } = await feed(t, 2);
  const ann = await client(t, nodes, 'ann');
  assert.deepEqual(await ann.socket.emitWithAck('join', ['room:a']), { joined: ['room:a'] });
  ann.socket.auth = { token: user('ann') };
  await away(ann, async () => {
    for (let n = 0; n <= 100; n += 1) await nodes[0].publish('room:a', 'item', { n: 'not for her' });
    await nodes[0].publish('news', 'item', { n: 1 });
  });
  await ann.heard.take('item', ({ n }) => n === 1);
  assert.deepEqual([ann.socket.recovered, ann.heard.all('item').length, ann.heard.all('gap')], [true, 1, []]);
});

test('what is said to everyone while a client is away reaches it on any node, once', async (t) => {
  const { nodes } = await feed(t, 3, { recovery: `${RECOVERY}everyone = 100\n` });
  const ann = await client(t, nodes, 'ann');
  let n = 0;
  for (let round = 0; round < 6; round += 1) {
    await away(ann, async () => { for (const node of nodes) for (const to of ['*', ['*', 'news'], 'news']) await node.publish(to, 'item', { n: n++ }); });
    assert.equal(ann.socket.recovered, true);
    for (const node of nodes) await node.publish('*', 'item', { n: n++ });
    await until(() => ann.heard.all('item').length >= n, `${n}, but ${ann.heard.all('item').length}`, 5000);
  }
  assert.deepEqual(ann.heard.all('item').map((item) => item.n).toSorted((a, b) => a - b), range(0, n));
  assert.deepEqual(ann.heard.all('gap'), []);
});

test('who was in a channel when something was said except there does not hear it on another node, and all others do', async (t) => {
  const { nodes } = await feed(t, 2);
  const [put, taken] = [await client(t, nodes, 'put'), await client(t, nodes, 'taken')];
  const rooms = async (path, sub) => {
    const { status, text } = await nodes[0].api(`/api/v1/${path}`, { body: { user: sub, channels: ['room:vip'] } });
    assert.equal(status, 200, text);
  };
  await rooms('subscribe', 'taken');
  const say = (n, more) => nodes[0].publish('news', 'item', { n }, more);
  // From each node to the other.
  for (const round of [0, 10]) {
    await away(put, () => away(taken, async () => {
      await say(round + 1, { except: ['room:vip'] });
      await rooms('subscribe', 'put');
      await rooms('unsubscribe', 'taken');
      await say(round + 2, { except: ['room:vip'] });
    }));
    await say(round + 3);
    for (const one of [put, taken]) await one.heard.take('item', ({ n }) => n === round + 3);
    await rooms('unsubscribe', 'put');
    await rooms('subscribe', 'taken');
  }
  for (const [one, heard] of [[put, [1, 3, 11, 13]], [taken, [2, 3, 12, 13]]]) {
    assert.deepEqual(one.heard.all('item').map(({ n }) => n), heard);
    assert.deepEqual(one.heard.all('gap'), []);
  }
});

/** A client of the bare protocol, which shows what it likes: {heard, hears, goes}. */
async function bare(t, node, auth) {
  const ws = new WebSocket(`${node.ws}/socket.io/?EIO=4&transport=websocket`);
  t.after(() => ws.terminate());
  const heard = new Inbox();
  ws.on('message', (data) => {
    const [, type, text] = /^([0-9]+)(.*)$/.exec(data);
    if (type === '2') ws.send('3');
    else heard.put(type, JSON.parse(text));
  });
  await heard.take('0');
  ws.send(`40${JSON.stringify(auth)}`);
  const item = async (n) => (await heard.take('42', ([event, said]) => event === 'item' && said.n === n));
  const items = () => heard.all('42').filter(([event]) => event !== 'welcome').map(([event, said]) => said.n ?? event);
  return { ws, heard, item, items, opened: heard.take('40') };
}

const TAKEN_OUT = {
  'is taken out': { then: ['out'], hears: [2, 9] },
  'loses the right': { then: ['token'], hears: [2, 9] },
  'is taken out and put in again': { then: ['out', 'in'], hears: [1, 2, 3, 9] },
  'was taken out before, and is put in again': { first: ['out'], then: ['in'], hears: [1, 2, 3, 9] },
  'was taken out before': { first: ['out'], then: [], hears: [2, 9] },
};

for (const [what, { first = [], then, hears }] of Object.entries(TAKEN_OUT)) {
  test(`a session is taken along twice; of a channel its client ${what}: as on one node`, async (t) => {
    const { nodes: [a, b, c] } = await feed(t, 3);
    for (const [last, who] of [[b, 'twice'], [c, 'thrice']]) {
      let rooms = ['a', 'b'];
      const steps = {
        out: () => a.api('/api/v1/unsubscribe', { body: { user: who, channels: ['room:a'] } }),
        in: async () => {
          await a.api('/api/v1/subscribe', { body: { user: who, channels: ['room:a'] } });
          await a.publish('room:a', 'item', { n: 3 });
        },
        token: () => { rooms = ['b']; },
      };
      const goes = async ({ ws }) => {
        ws.terminate();
        await until(async () => (await a.api(`/api/v1/connections?user=${who}`)).json.total === 0, 'it has gone');
      };
      const one = await bare(t, a, { token: user(who, rooms) });
      const { pid } = await one.opened;
      one.ws.send('421["join",["room:a","room:b"]]');
      await one.heard.take('431');
      await a.publish('news', 'item', { n: 0 });
      const [, , offset] = await one.item(0);
      await goes(one);
      await a.publish('room:a', 'item', { n: 1 });
      await a.publish('room:b', 'item', { n: 2 });
      for (const step of first) await steps[step]();
      // What it is sent there never reaches it.
      const two = await bare(t, b, { token: user(who, rooms), pid, offset });
      await two.item(2);
      await goes(two);
      for (const step of then) await steps[step]();
      const three = await bare(t, last, { token: user(who, rooms), pid, offset });
      assert.equal((await three.opened).pid, pid);
      await last.publish('news', 'item', { n: 9 });
      await three.item(9);
      assert.deepEqual(three.items(), hears, `${who} ${what}`);
    }
  });
}

/** A plain WebSocket that watches room a. */
async function watcher(t, node, since = null) {
  const socket = new WebSocket(`${node.ws}/ws?token=${user('raw', ['a'])}`);
  t.after(() => socket.terminate());
  const heard = new Inbox();
  socket.on('message', (data) => { const frame = JSON.parse(data); heard.put(frame.type, frame); });
  await heard.take('welcome');
  socket.send(JSON.stringify({ type: 'watch', room: 'a', since }));
  await heard.take('watching');
  return { socket, heard };
}

test('who is connected while the broker is away hears of a gap, once, and where something is remembered only', async (t) => {
  const { engine, nodes: [a, b] } = await feed(t, 2);
  const ann = await client(t, [a, b], 'ann');
  const bob = await client(t, [b], 'bob');
  const raw = await watcher(t, b);
  const plain = await watcher(t, a);
  plain.socket.terminate();
  for (let outage = 1; outage <= 2; outage += 1) {
    await engine.stop();
    for (const node of [a, b]) await until(async () => (await node.api('/readyz')).status === 503, 'it is red');
    await a.publish('news', 'item', { at: 'lost for b', outage });
    await ann.heard.take('item', (item) => item.outage === outage);
    await engine.start();
    for (const node of [a, b]) await until(async () => (await node.api('/readyz')).status === 200, 'it is green');
    await b.publish(['news', 'room:a', 'ticks'], 'item', { after: outage });
    for (const { heard } of [ann, bob]) await heard.take('item', (item) => item.after === outage);
    await raw.heard.take('item', ({ data }) => data.after === outage);
    for (const { heard } of [ann, bob]) {
      const names = heard.seen.filter(([name, said]) => name === 'gap' || said?.after).map(([name, said]) => (name === 'gap' ? said.channels : said.after));
      const [own] = names;
      assert.deepEqual(own.filter((name) => !name.startsWith('user:')), ['few', 'news']);
      assert.deepEqual(names, range(1, outage).flatMap((n) => [own, n]));
    }
    assert.deepEqual(raw.heard.all('gap').map(({ data }) => data.channels.includes('room:a')), range(0, outage).map(() => true));
  }
  // What it was told, it has heard: it comes back as ever.
  await away(ann, () => b.publish('news', 'item', { n: 7 }));
  assert.equal(ann.socket.recovered, true);
  await ann.heard.take('item', ({ n }) => n === 7);
  assert.equal(ann.heard.all('gap').length, 2);
});

test('an owner that has died is a gap, and so is one that does not answer', async (t) => {
  const { nodes } = await feed(t, 3);
  const [, b] = nodes;
  const bob = await client(t, [b, nodes[0]], 'bob');
  const { id } = bob.socket;
  await away(bob, async () => {
    await nodes[2].publish('news', 'item', { n: 1 });
    await standstill(b.child);
  });
  assert.equal(bob.socket.recovered, false);
  assert.notEqual(bob.socket.id, id);
  assert.deepEqual(await bob.heard.take('gap'), { channels: [], all: true });
  b.child.kill('SIGCONT');
  await nodes[2].publish('news', 'item', { n: 2 });
  await bob.heard.take('item', ({ n }) => n === 2);
  const eve = await client(t, [b, nodes[0]], 'eve');
  await away(eve, async () => { b.child.kill('SIGKILL'); await b.exited; });
  assert.equal(eve.socket.recovered, false);
  assert.deepEqual(await eve.heard.take('gap'), { channels: [], all: true });
});

test('a plain WebSocket goes on from the offset of another node, without a seam', async (t) => {
  const { nodes } = await feed(t, 2);
  const COUNT = 300;
  let offset = null;
  const all = [];
  const talking = nodes.map(async (node, at) => { for (let n = 0; n < COUNT; n += 1) await node.publish('room:a', 'item', { at, n }); });
  let over = false;
  Promise.all(talking).then(() => { over = true; });
  let here = await watcher(t, nodes[0]);
  for (let round = 1; !over; round += 1) {
    await here.heard.take('item');
    const frames = here.heard.seen.map(([, frame]) => frame);
    all.push(...frames.filter(({ type }) => type === 'item'));
    offset = frames.findLast((frame) => frame.offset).offset;
    here.socket.removeAllListeners('message');
    here.socket.terminate();
    here = await watcher(t, nodes[round % 2], offset);
  }
  for (const [at, node] of nodes.entries()) await node.publish('room:a', 'item', { at, n: COUNT });
  for (const at of [0, 1]) await here.heard.take('item', ({ data }) => data.at === at && data.n === COUNT);
  all.push(...here.heard.seen.map(([, frame]) => frame).filter(({ type }) => type === 'item'));
  assert.deepEqual(here.heard.all('gap'), []);
  for (const at of [0, 1]) {
    const own = all.filter(({ data }) => data.at === at).map(({ data }) => data.n);
    assert.deepEqual(own, range(own[0], COUNT + 1 - own[0]));
  }
  // An offset of no node that is there is a gap.
  const lost = await watcher(t, nodes[0], 'ffffffff.1');
  assert.deepEqual(lost.heard.all('gap').map(({ data }) => data), [{ channels: ['room:a'] }]);
});

test('clients of a node that is asked to end go on at another one', async (t) => {
  const { nodes: [a, b] } = await feed(t, 2);
  const all = await Promise.all(range(0, 5).map((n) => client(t, [b, a], `user-${n}`)));
  const back = all.map(({ socket }) => next(socket, 'connect', 10_000));
  const talking = (async () => { for (let n = 0; n < 100; n += 1) await a.publish('news', 'item', { at: 0, n }); })();
  await b.stop();
  await Promise.all(back);
  await talking;
  await a.publish('news', 'item', { at: 0, n: 100 });
  for (const one of all) {
    await one.heard.take('item', ({ n }) => n === 100);
    assert.equal(one.socket.recovered, true);
    assert.deepEqual(heardFrom(one, 0), range(0, 101));
  }
});

for (const ending of ['asked to end', 'killed']) {
  test(`a session outlives the node where it began, also on nodes that have never known that one: ${ending}`, async (t) => {
    const { nodes: [a, b], know, start } = await feed(t, 2);
    const path = [a];
    const ann = await client(t, path, 'ann');
    const { id } = ann.socket;
    let n = 0;
    const moves = async (...to) => {
      for (const node of to) {
        path[0] = node;
        await away(ann, () => node.publish('news', 'item', { n: n++ }));
        assert.deepEqual([ann.socket.recovered, ann.socket.id], [true, id], `before ${n}`);
        await node.publish(id, 'item', { n: n++ });
        await ann.heard.take('item', (item) => item.n === n - 1);
      }
    };
    path[0] = b;
    if (ending === 'killed') {
      await moves(b);
      a.child.kill('SIGKILL');
      await a.exited;
    } else {
      const back = next(ann.socket, 'connect', 10_000);
      await Promise.all([back, a.stop()]);
      assert.equal(ann.socket.recovered, true);
    }
    const c = await start(2);
    await know([b, c]);
    // What a node said last that was killed, nobody knows.
    const gaps = ending === 'killed' ? [await ann.heard.take('gap', () => true, 15_000)] : [];
    await moves(c, b, c);
    // And on one that has met none of those that knew it.
    await b.stop();
    const d = await start(3);
    await know([c, d]);
    await moves(d, c, d);
    assert.deepEqual(ann.heard.all('item').map((item) => item.n), range(0, n));
    assert.deepEqual(ann.heard.all('gap'), gaps);
  });
}
