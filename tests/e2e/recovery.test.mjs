// A client that is cut off and comes back gets exactly what it missed, in order, or hears of a gap: with the stock client,
// whose connection is cut under it, and with the bare protocol where the stock client cannot be brought to it.
import { after, before, describe, test } from 'node:test';
import assert from 'node:assert/strict';
import net from 'node:net';
import { WebSocket } from 'ws';
import { connect, connected, next } from './harness.mjs';
import { CONFIG, RECOVERY, range, say, user } from './remembering.mjs';
import { serving } from './stage.mjs';
import { Inbox, eventually } from './waiting.mjs';

/** A network between one client and the server, which can be cut and mended. */
async function network(stage) {
  const open = new Set();
  let whole = true;
  const between = net.createServer((near) => {
    if (!whole) return near.destroy();
    const far = net.connect(stage.server.port, '127.0.0.1');
    for (const [from, to] of [[near, far], [far, near]]) {
      open.add(from);
      from.on('error', () => {}).on('close', () => { open.delete(from); to.destroy(); });
      from.pipe(to);
    }
  });
  await new Promise((resolve) => between.listen(0, '127.0.0.1', resolve));
  stage.ends.push(() => between.close());
  return {
    url: `http://127.0.0.1:${between.address().port}`,
    cut() { whole = false; open.forEach((socket) => socket.destroy()); },
    mend() { whole = true; },
  };
}

/** A stock client that comes back by itself, with what it hears. */
async function client(stage, sub, options = {}) {
  const net = await network(stage);
  const socket = connect(net.url, { reconnection: true, reconnectionDelay: 10, reconnectionDelayMax: 20, auth: { token: user(sub, options.rooms) }, transports: options.transports ?? ['websocket'] });
  const heard = Inbox.of(socket);
  stage.sockets.push(socket);
  await connected(socket);
  await heard.take('welcome');
  return { socket, heard, net };
}

/** Whether a stock client goes on to a websocket from polling. */
const stockUpgrades = (socket) => socket.io.opts.transports.includes('websocket');

/** Cuts a stock client off, until `meanwhile` is done and it has come back. (In the middle of an upgrade it would notice by the heartbeat only.) */
async function away({ socket, net }, meanwhile) {
  const { engine } = socket.io;
  const upgrades = engine.transport.name === 'polling' && stockUpgrades(socket);
  if (upgrades) await new Promise((resolve) => { engine.once('upgrade', resolve); });
  const gone = next(socket, 'disconnect');
  net.cut();
  await gone;
  await meanwhile();
  const back = next(socket, 'connect');
  net.mend();
  await back;
}

/** The bare protocol on a WebSocket. */
async function bare(stage, auth) {
  const ws = new WebSocket(`${stage.server.ws}/socket.io/?EIO=4&transport=websocket`);
  stage.bare.push(ws);
  const heard = new Inbox();
  ws.on('message', (data) => { const text = String(data); if (text === '2') ws.send('3'); heard.put('packet', text); });
  ws.on('close', (code) => heard.put('close', code));
  await heard.take('packet', (text) => text.startsWith('0'));
  ws.send(`40${JSON.stringify(auth)}`);
  const hears = async (prefix) => (await heard.take('packet', (text) => text.startsWith(prefix))).slice(prefix.length);
  return { ws, heard, hears };
}

const numbers = ({ heard }, event = 'item') => heard.all(event).map(({ n }) => n);

describe('recovery', () => {
  const stage = { sockets: [], bare: [], ends: [] };
  before(async () => { stage.server = await serving({ after: (end) => stage.ends.push(end) }, CONFIG(RECOVERY)); });
  after(async () => {
    stage.sockets.forEach((socket) => socket.disconnect());
    stage.bare.forEach((ws) => ws.terminate());
    for (const end of stage.ends.reverse()) await end();
  });

  for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
    test(`gives a stock client what it missed, in order, as often as it is cut off: ${transports}`, async () => {
      const ann = await client(stage, `ann-${transports}`, { transports });
      const { id } = ann.socket;
      let at = 0;
      for (let round = 0; round < 3; round += 1) {
        await say(stage, 'news', at, 2);
        await away(ann, () => say(stage, 'news', at + 2, 5));
        assert.equal(ann.socket.recovered, true);
        assert.equal(ann.socket.id, id);
        await say(stage, 'news', at + 7, 2);
        at += 9;
      }
      await ann.heard.take('item', ({ n }) => n === at - 1);
      assert.deepEqual(numbers(ann), range(0, at));
      assert.equal(ann.heard.all('welcome').length, 1);
    });
  }

  test('joins what was missed seamlessly to what goes on meanwhile', async () => {
    const everybody = await Promise.all(range(0, 20).map((n) => client(stage, `racer${n}`, { transports: n % 4 ? ['websocket'] : ['polling'] })));
    let n = 0;
    let on = true;
    const talking = (async () => { while (on) await stage.server.publish('news', 'item', { n: n++ }); })();
    for (let round = 0; round < 5; round += 1) {
      await Promise.all(everybody.map((racer) => away(racer, async () => {})));
      for (const { socket } of everybody) assert.equal(socket.recovered, true);
    }
    on = false;
    await talking;
    await Promise.all(everybody.map(({ heard }) => heard.take('item', (item) => item.n === n - 1)));
    for (const racer of everybody) {
      const own = numbers(racer);
      assert.deepEqual(own, range(own[0], n - own[0]));
    }
  });

  test('several are named by their ids, beside channels, and each hears it once', async () => {
    const [one, two, other] = [await client(stage, 'named-1'), await client(stage, 'named-2'), await client(stage, 'named-3')];
    await stage.server.publish([one.socket.id, two.socket.id, one.socket.id, 'news'], 'named', { n: 1 });
    await stage.server.publish([two.socket.id, one.socket.id], 'named', { n: 2 });
    for (const { socket } of [one, two, other]) await stage.server.publish(socket.id, 'end', {});
    for (const { heard } of [one, two, other]) await heard.take('end');
    assert.deepEqual([one, two, other].map(({ heard }) => heard.all('named').map(({ n }) => n)), [[1, 2], [1, 2], [1]]);
  });

  test('needs no event before the cut', async () => {
    const { heard, ws, hears } = await bare(stage, { token: user('early') });
    const { sid, pid } = JSON.parse(await hears('40'));
    assert.match(pid, /^[\w-]{36}$/);
    assert.equal(pid.slice(0, 20), sid);
    ws.terminate();
    await heard.take('close');
    await stage.server.publish('user:early', 'item', { n: 1 });
    const again = await bare(stage, { token: user('early'), pid });
    assert.match(await again.hears('42'), /^\["item",\{"n":1\},"[0-9a-f]+\.[0-9a-f]+"\]$/);
    assert.deepEqual(JSON.parse(await again.hears('40')), { sid, pid });
  });

  test('brings what was missed behind the answer to CONNECT, each with its own position, and goes on from any of them', async () => {
    const first = await bare(stage, { token: user('anywhere') });
    const { pid } = JSON.parse(await first.hears('40'));
    first.ws.terminate();
    await first.heard.take('close');
    await say(stage, 'user:anywhere', 0, 4);
    let offset;
    for (const missing of [4, 3, 2, 1]) {
      const back = await bare(stage, { token: user('anywhere'), pid, offset });
      await back.heard.take('packet', (text) => text.startsWith('42["item",{"n":3}'));
      const [answer, ...packets] = back.heard.all('packet').filter((text) => text.startsWith('4'));
      assert.match(answer, /^40/);
      const items = packets.map((text) => JSON.parse(text.slice(2)));
      assert.deepEqual(items.map(([, { n }]) => n), range(4 - missing, missing));
      [, , offset] = items[0];
      back.ws.terminate();
      await back.heard.take('close');
    }
  });

  test('takes the session over from a connection that is still there', async () => {
    const old = await bare(stage, { token: user('twice') });
    const { sid, pid } = JSON.parse(await old.hears('40'));
    await stage.server.publish('user:twice', 'item', { n: 1 });
    const [, , offset] = JSON.parse(await old.hears('42["item"').then((rest) => `["item"${rest}`));
    const fresh = await bare(stage, { token: user('twice'), pid, offset });
    assert.deepEqual(JSON.parse(await fresh.hears('40')), { sid, pid });
    assert.equal(await old.heard.take('close'), 4006);
    await stage.server.publish(sid, 'item', { n: 2 });
    assert.match(await fresh.hears('42'), /^\["item",\{"n":2\}/);
    const { json } = await stage.server.api('/api/v1/connections?user=twice');
    assert.deepEqual(json.connections.map(({ id }) => id), [sid]);
  });

  test('is for the same user only, and for who has the secret', async () => {
    const old = await bare(stage, { token: user('owner') });
    const { sid, pid } = JSON.parse(await old.hears('40'));
    old.ws.terminate();
    await old.heard.take('close');
    await stage.server.publish('user:owner', 'item', { secret: true });
    const forged = sid + pid.slice(20).split('').reverse().join('');
    for (const auth of [{ token: user('thief'), pid }, { token: user('owner'), pid: forged }, { token: user('owner'), pid: 'x'.repeat(10_000) }, { token: user('thief'), pid, offset: '0.0' }]) {
      const other = await bare(stage, auth);
      assert.notEqual(JSON.parse(await other.hears('40')).sid, sid);
      assert.match(await other.hears('42'), /^\["gap",\{"channels":\[\],"all":true\}/);
      assert.ok(!other.heard.all('packet').some((text) => text.includes('secret')));
    }
    const own = await bare(stage, { token: user('owner'), pid });
    assert.equal(JSON.parse(await own.hears('40')).sid, sid);
  });

  test('is nothing with which somebody else could end a session', async () => {
    const owner = await bare(stage, { token: user('alive') });
    const { pid } = JSON.parse(await owner.hears('40'));
    const thief = await bare(stage, { token: user('thief'), pid });
    assert.match(await thief.hears('42'), /^\["gap"/);
    await stage.server.publish('user:alive', 'item', { n: 1 });
    assert.match(await owner.hears('42'), /^\["welcome"/);
    assert.match(await owner.hears('42'), /^\["item",\{"n":1\}/);
  });

  test('is kept for who is refused for a while', async (t) => {
    const limited = { bare: [], server: await serving(t, CONFIG(RECOVERY).replace('connections_per_user = "none"', 'connections_per_user = 1')) };
    t.after(() => limited.bare.forEach((ws) => ws.terminate()));
    const first = await bare(limited, { token: user('one') });
    const { sid, pid } = JSON.parse(await first.hears('40'));
    const leaves = async ({ ws }) => {
      ws.terminate();
      await eventually(async () => (await limited.server.api('/api/v1/connections?user=one')).json.total === 0, 'it has gone');
    };
    await leaves(first);
    const other = await bare(limited, { token: user('one') });
    await other.hears('40');
    await limited.server.publish('user:one', 'item', { n: 1 });
    const refused = await bare(limited, { token: user('one'), pid });
    assert.match(await refused.hears('44'), /Too many connections/);
    await leaves(other);
    const back = await bare(limited, { token: user('one'), pid });
    assert.match(await back.hears('42'), /^\["item",\{"n":1\}/);
    assert.equal(JSON.parse(await back.hears('40')).sid, sid);
  });

  test('tells of a gap, and in which channel, instead of leaving one', async () => {
    const ann = await client(stage, 'gap-ann');
    await stage.server.publish('few', 'item', { n: 0 });
    await ann.heard.take('item');
    await away(ann, () => say(stage, 'few', 1, 2));
    assert.equal(ann.socket.recovered, true);
    await ann.heard.take('item', ({ n }) => n === 2);
    await away(ann, () => say(stage, 'few', 3, 3));
    assert.equal(ann.socket.recovered, false);
    assert.deepEqual(await ann.heard.take('gap'), { channels: ['few'] });
    assert.deepEqual(numbers(ann), [0, 1, 2]);
  });

  test('does not know positions that nobody was given', async () => {
    for (const offset of ['', '0', 'ffffffff.1', 'x.y', '1.ffffffffffffffff', '9'.repeat(5000), '-1.0']) {
      const old = await bare(stage, { token: user('liar') });
      const { pid } = JSON.parse(await old.hears('40'));
      old.ws.terminate();
      await old.heard.take('close');
      const back = await bare(stage, { token: user('liar'), pid, offset });
      await back.hears('40');
      assert.match(await back.hears('42'), /^\["gap"/, offset);
    }
  });

  test('remembers only channels with a history, what was said since the join, and what the rights still allow', async () => {
    const cy = await client(stage, 'cy', { rooms: ['a', 'b'] });
    await stage.server.publish('room:a', 'item', { n: 0 });
    assert.deepEqual(await cy.socket.emitWithAck('join', ['room:a', 'room:b']), { joined: ['room:a', 'room:b'] });
    cy.socket.auth = { token: user('cy', ['a']) };
    await away(cy, async () => {
      await stage.server.publish('ticks', 'item', { n: 1 });
      await stage.server.publish('room:b', 'item', { n: 2 });
      await stage.server.publish('room:a', 'item', { n: 3 });
    });
    assert.equal(cy.socket.recovered, true);
    await stage.server.publish(['room:b', 'room:a'], 'item', { n: 4 });
    await cy.heard.take('item', ({ n }) => n === 4);
    assert.deepEqual(numbers(cy), [3, 4]);
    await stage.server.publish('room:b', 'item', { n: 5 });
    await stage.server.publish('room:a', 'item', { n: 6 });
    await cy.heard.take('item', ({ n }) => n === 6);
    assert.deepEqual(numbers(cy), [3, 4, 6]);
  });

  test('leaves out what a client said itself, and who left for good is not remembered', async () => {
    const dan = await client(stage, 'dan');
    const eve = await client(stage, 'eve');
    await away(eve, () => dan.socket.emitWithAck('say', { n: 1 }));
    assert.deepEqual(await eve.heard.take('said'), { n: 1 });
    await dan.socket.emitWithAck('say', { n: 2 });
    await away(dan, async () => { await stage.server.publish('news', 'item', { n: 3 }); });
    await dan.heard.take('item', ({ n }) => n === 3);
    assert.deepEqual(dan.heard.all('said'), []);
    const gone = await bare(stage, { token: user('gone') });
    const { pid } = JSON.parse(await gone.hears('40'));
    gone.ws.send('41');
    gone.ws.close();
    await gone.heard.take('close');
    const back = await bare(stage, { token: user('gone'), pid });
    await back.hears('40');
    assert.match(await back.hears('42'), /^\["gap"/);
  });

  const rooms = async (path, sub, channel) => {
    const { status, text } = await stage.server.api(`/api/v1/${path}`, { body: { user: sub, channels: [channel] } });
    assert.equal(status, 200, text);
  };
  const unlike = (n) => stage.server.publish('news', 'item', { n }, { except: ['room:vip'] });

  test('leaves out who was in a channel when something was said except there, and nobody else', async () => {
    const into = async (sub, options = { rooms: ['vip'] }) => {
      const one = await client(stage, sub, options);
      assert.deepEqual(await one.socket.emitWithAck('join', ['room:vip']), { joined: ['room:vip'] });
      return one;
    };
    const [put, taken, unruly, left] = [await client(stage, 'put'), await into('taken'), await into('unruly'), await into('left')];
    await unlike(1);
    assert.equal(await left.socket.emitWithAck('leave', ['room:vip']), 'ok');
    unruly.socket.auth = { token: user('unruly') };
    for (const round of [1, 2]) {
      await away(left, async () => {});
      await away(unruly, async () => {});
      assert.equal(left.socket.recovered && unruly.socket.recovered, true, `round ${round}`);
    }
    await away(put, () => away(taken, async () => {
      await unlike(2);
      await rooms('subscribe', 'put', 'room:vip');
      await rooms('unsubscribe', 'taken', 'room:vip');
      await unlike(3);
    }));
    await stage.server.publish('news', 'item', { n: 4 });
    for (const [one, heard] of [[put, [1, 2, 4]], [taken, [3, 4]], [unruly, [2, 3, 4]], [left, [2, 3, 4]]]) {
      await one.heard.take('item', ({ n }) => n === 4);
      assert.deepEqual(numbers(one), heard);
      assert.deepEqual(one.heard.all('gap'), []);
    }
  });

  test('has for who was taken out of a channel, and put into it again, what was said while it was in', async () => {
    const ida = await client(stage, 'ida', { rooms: ['a'] });
    assert.deepEqual(await ida.socket.emitWithAck('join', ['room:a']), { joined: ['room:a'] });
    await away(ida, async () => {
      await say(stage, 'room:a', 0, 1);
      await rooms('unsubscribe', 'ida', 'room:a');
      await say(stage, 'room:a', 1, 1);
      await rooms('subscribe', 'ida', 'room:a');
      await say(stage, 'room:a', 2, 1);
    });
    await say(stage, 'room:a', 3, 1);
    await ida.heard.take('item', ({ n }) => n === 3);
    assert.deepEqual([ida.socket.recovered, numbers(ida), ida.heard.all('gap')], [true, [0, 2, 3], []]);
  });

  test('begins anew with who has left more channels than are remembered', async () => {
    const joe = await client(stage, 'joe', { rooms: ['a'] });
    for (let n = 0; n <= 256; n += 1) {
      await joe.socket.emitWithAck('join', ['room:a']);
      await say(stage, 'news', n, 1);
      await joe.socket.emitWithAck('leave', ['room:a']);
    }
    await away(joe, async () => {});
    assert.equal(joe.socket.recovered, false);
    await joe.heard.take('gap');
  });

  test('puts no position where a callback is looked for', async () => {
    const fay = await client(stage, 'fay');
    const asked = new Promise((resolve) => { fay.socket.on('ask', (...args) => { resolve(args.length); args.at(-1)('yes'); }); });
    const { json } = await stage.server.api('/api/v1/publish', { body: { to: 'user:fay', event: 'ask', data: {}, ack: { timeout_ms: 5000 } } });
    assert.deepEqual(json.answers, ['yes']);
    assert.equal(await asked, 2);
  });
});

describe('a plain WebSocket', () => {
  const stage = { sockets: [], ends: [] };
  before(async () => { stage.server = await serving({ after: (end) => stage.ends.push(end) }, CONFIG(RECOVERY)); });
  after(async () => {
    stage.sockets.forEach((socket) => socket.terminate());
    for (const end of stage.ends.reverse()) await end();
  });

  /** Watches a room from a place on: what it hears, as objects. */
  async function watcher(room, since) {
    const socket = new WebSocket(`${stage.server.ws}/ws?token=${user('raw', [room])}`);
    stage.sockets.push(socket);
    const heard = new Inbox();
    socket.on('message', (data) => { const frame = JSON.parse(data); heard.put(frame.type, frame); });
    assert.equal((await heard.take('welcome')).offset, undefined, 'it would be ahead of what was missed');
    socket.send(JSON.stringify({ type: 'watch', room, since }));
    return { socket, heard };
  }
  const heardBy = ({ heard }) => heard.all('item').map(({ data }) => data.n);

  test('goes on from where it was, by the offset of the last frame that it heard', async () => {
    await say(stage, 'room:one', 0, 2);
    const first = await watcher('one');
    const joined = await first.heard.take('watching');
    assert.deepEqual(joined.data, ['room:one']);
    assert.match(joined.offset, /^[0-9a-f]+\.[0-9a-f]+$/);
    await say(stage, 'room:one', 2, 2);
    const { offset } = await first.heard.take('item', ({ data }) => data.n === 3);
    assert.deepEqual(heardBy(first), [2, 3]);
    first.socket.terminate();
    await say(stage, 'room:one', 4, 3);
    const second = await watcher('one', offset);
    await second.heard.take('watching');
    await say(stage, 'room:one', 7, 1);
    await second.heard.take('item', ({ data }) => data.n === 7);
    assert.deepEqual(heardBy(second), [4, 5, 6, 7]);
  });

  test('hears of a gap where it is already, from the rules or a backend: what it was not told is not known', async () => {
    await say(stage, 'room:there', 0, 1);
    const first = await watcher('there');
    const { offset } = await first.heard.take('watching');
    await say(stage, 'room:there', 1, 1);
    await first.heard.take('item', ({ data }) => data.n === 1);
    first.socket.send(JSON.stringify({ type: 'watch', room: 'there', since: offset }));
    const { data } = await first.heard.take('gap');
    assert.deepEqual(data, { channels: ['room:there'] });
  });

  test('meets what goes on without a seam', async () => {
    let on = true;
    let n = 0;
    await stage.server.publish('room:two', 'item', { n });
    const { json } = await stage.server.api('/api/v1/channels/room:two/history');
    const talking = (async () => { while (on) await stage.server.publish('room:two', 'item', { n: n += 1 }); })();
    const watchers = [];
    for (let count = 0; count < 20; count += 1) {
      watchers.push(await watcher('two', json.offset));
      await watchers.at(-1).heard.take('watching');
    }
    on = false;
    await talking;
    for (const one of watchers) {
      await one.heard.take('item', ({ data }) => data.n === n);
      assert.deepEqual(heardBy(one), range(1, n));
    }
  });

  test('hears of a gap, and joins', async () => {
    for (const since of ['1.1', 'nonsense', 7, { a: 1 }]) {
      const late = await watcher('three', since);
      assert.deepEqual((await late.heard.take('gap')).data, { channels: ['room:three'] });
      const { offset } = await late.heard.take('watching');
      const again = await watcher('three', offset);
      assert.equal((await again.heard.take('watching')).offset, offset, 'nothing was said');
      await stage.server.publish('room:three', 'item', { n: 1 });
      for (const one of [late, again]) {
        await one.heard.take('item');
        one.socket.terminate();
      }
      assert.deepEqual(again.heard.all('gap'), [], 'it knows where it is');
    }
  });
});

describe('what is said to everyone', () => {
  const stage = { sockets: [], bare: [], ends: [] };
  before(async () => { stage.server = await serving({ after: (end) => stage.ends.push(end) }, CONFIG(`${RECOVERY}everyone = 5\n`)); });
  after(async () => {
    stage.sockets.forEach((socket) => socket.disconnect());
    for (const end of stage.ends.reverse()) await end();
  });

  test('is missed by nobody, in order with the rest, and not heard from before', async () => {
    await say(stage, '*', 90, 1);
    const ann = await client(stage, 'ann');
    for (const round of [0, 1, 2]) {
      const from = round * 7;
      await away(ann, async () => { for (let n = from; n < from + 6; n += 1) await say(stage, n % 2 ? 'news' : ['*', 'news'], n, 1); });
      assert.equal(ann.socket.recovered, true);
      await say(stage, '*', from + 6, 1);
      await ann.heard.take('item', ({ n }) => n === from + 6);
    }
    assert.deepEqual(numbers(ann), range(0, 21));
    const bob = await client(stage, 'bob');
    await away(bob, async () => {});
    assert.equal(bob.socket.recovered, true);
    await say(stage, 'news', 21, 1);
    await bob.heard.take('item');
    assert.deepEqual(numbers(bob), [21]);
  });

  test('is a gap where more was said than is remembered', async () => {
    const ann = await client(stage, 'eve');
    await away(ann, () => say(stage, '*', 0, 6));
    assert.equal(ann.socket.recovered, false);
    assert.deepEqual(await ann.heard.take('gap'), { channels: [], all: true });
  });
});

describe('without recovery', () => {
  test('no byte is different', async (t) => {
    const stage = { sockets: [], bare: [], server: await serving(t, CONFIG('')) };
    const { ws, heard, hears } = await bare(stage, { token: user('plain'), pid: 'x', offset: 'y' });
    assert.deepEqual(Object.keys(JSON.parse(await hears('40'))), ['sid']);
    assert.equal(await hears('42["welcome"'), ',{"user":"plain"}]');
    await stage.server.publish('news', 'item', { n: 1 });
    assert.equal(await hears('42["item"'), ',{"n":1}]');
    ws.terminate();
    await heard.take('close');
  });
});
