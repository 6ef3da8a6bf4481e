// Somebody who may write on the broker's channels: nodes pass over what is no letter, count it, and serve on. And a node
// whose number somebody else has takes another one.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { cluster, figure, until } from './company.mjs';
import { client, desk } from './faults.mjs';
import { connect, connected, next, token } from './harness.mjs';
import { KINDS, eavesdrop, nodeOf, read, write } from './letters.mjs';

/** The same numbers each time. */
function* random(seed) {
  for (let state = seed; ;) {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9 | 0;
    yield (state ^ (state >>> 13)) >>> 0;
  }
}

/** Clients on both nodes, each of which can be reached from the other one. */
async function workers(t, [a, b]) {
  const clients = await Promise.all([[a, 'ann', ['websocket']], [b, 'bob', ['websocket']], [b, 'bea', ['polling']]].map(([node, sub, transports]) => client(t, node.url, sub, { transports })));
  let n = 0;
  return {
    clients,
    /** All are still there, and hear what is said on either node. */
    async work() {
      for (const node of [a, b]) {
        const said = n += 1;
        await node.publish('live', 'news', said);
        await until(() => clients.every(({ heard }) => heard.news.includes(said)), 'all hear it');
      }
      for (const { socket, away } of clients) {
        const alive = next(socket, 'alive');
        socket.emit('probe', n);
        assert.equal((await alive)[0], n);
        assert.deepEqual(away, []);
      }
    },
  };
}

/** Has the nodes say something of each kind. */
async function converse(t, engine, nodes, start) {
  const [a, b] = nodes;
  const ear = await eavesdrop(t, engine);
  const victim = connect(b.url, { transports: ['websocket'], auth: { token: token({ sub: 'victim' }) } });
  await connected(victim);
  victim.on('question', (_, answer) => answer('yes'));
  await a.publish('user:victim', 'question', 1, { ack: { timeout_ms: 5000 } });
  await a.publish(victim.id, 'news', 1);
  await a.publish('user:victim', 'notice', 1);
  for (const [path, more] of [['subscribe', { channels: ['feed'] }], ['unsubscribe', { channels: ['feed'] }], ['revoke', {}], ['disconnect', {}]]) {
    const { status, text } = await a.api(`/api/v1/${path}`, { body: { user: 'victim', ...more } });
    assert.equal(status, 200, text);
  }
  await a.api('/api/v1/connections');
  const c = await start(2);
  await c.stop();
  victim.disconnect();
  const kinds = () => new Set(ear.heard.map(({ bytes }) => read(bytes).kind));
  const common = ['beat', 'leave', 'hello', 'rows', 'revoked', 'relay', 'ask', 'answer', 'claim'];
  await until(() => common.every((kind) => kinds().has(kind)), `${common}, but ${[...kinds()]}`);
  return ear;
}

const rss = async (node) => Number((await (await fetch(`${node.url}/metrics`)).text()).match(/^process_resident_memory_bytes (\S+)$/m)[1]);

test('what is no letter, or half of one, or one with other bytes in it', async (t) => {
  const { engine, nodes, start, know } = await cluster(t, 2, { config: desk(t) });
  const { work } = await workers(t, nodes);
  await work();
  const { heard, say } = await converse(t, engine, nodes, start);
  await know(nodes);
  const letters = [...new Map(heard.map((one) => [`${read(one.bytes).kind} ${one.bytes.length}`, one])).values()];
  const topics = [...new Set(heard.map(({ topic }) => topic))];
  const unread = () => Promise.all(nodes.map((node) => figure(node, 'oyez_cluster_unread')));
  assert.deepEqual(await unread(), [0, 0], 'what nodes say is read');

  let sent = 0;
  for (const { topic, bytes } of letters) {
    // Whole letters of a kind are long; what is missing at their end is all the same.
    for (let length = 0; length < Math.min(bytes.length, 120); length += 1, sent += 1) say(topic, bytes.subarray(0, length));
  }
  await say('oyez#@all', Buffer.from('no letter'));
  await until(async () => (await unread()).every((count) => count > 0), 'both count what they cannot read');
  await work();

  const some = random(7);
  const draw = (below) => some.next().value % below;
  for (let round = 0; round < 5000; round += 1, sent += 1) {
    const noise = Buffer.from(Array.from({ length: draw(200) }, () => draw(256)));
    if (draw(2)) noise[0] = letters[0].bytes[0];
    say(topics[draw(topics.length)], noise);
  }
  for (const { topic, bytes } of letters) {
    for (let round = 0; round < 100; round += 1, sent += 1) {
      const other = Buffer.from(bytes);
      // Not in who says it: that is another test.
      other[14 + draw(Math.max(1, other.length - 14))] = draw(256);
      say(topic, other);
    }
  }
  const before = await unread();
  await say('oyez#@all', Buffer.from('no letter'));
  await until(async () => (await unread()).every((count, at) => count > before[at]), 'all of it has been heard');
  await work();

  const memory = await Promise.all(nodes.map(rss));
  const most = Buffer.from('ffffffffffffffffff01', 'hex');
  for (const kind of KINDS) {
    for (const rest of [most, Buffer.concat([most, Buffer.alloc(1000)]), Buffer.concat([Buffer.from([3]), most, most])]) {
      sent += 1;
      say('oyez#@all', write({ node: 7, life: 1n, kind, rest }));
    }
  }
  await say('oyez#@all', write({ node: 7, life: 1n, kind: 'rows', rest: Buffer.alloc(17 << 20) }));
  await say('oyez#@all', write({ node: 7, life: 1n, kind: 'leave' }));
  await know(nodes);
  await work();
  for (const [at, node] of nodes.entries()) {
    const more = (await rss(node) - memory[at]) / (1 << 20);
    assert.ok(more < 200, `${more} MiB more`);
    assert.equal(node.logs.filter((line) => /panicked/.test(line)).length, 0);
    assert.ok(node.logs.some((line) => line.includes('"unreadable"')), 'the log says so');
    assert.ok(node.logs.filter((line) => line.includes('"unreadable"')).length < 50, 'and not each time');
  }
  t.diagnostic(`${sent} letters; ${await unread()} could not be read`);
});

test('nodes that are none: what they say of themselves ends with them', async (t) => {
  const { engine, nodes, know } = await cluster(t, 2, { config: desk(t) });
  const { work } = await workers(t, nodes);
  const { say, heard } = await eavesdrop(t, engine);
  const row = Buffer.from([1, 0, 4, ...Buffer.from('desk'), 5, ...Buffer.from('ghost'), 0, 0, 1, 0, 0]);
  for (let node = 0; node < 1000; node += 1) {
    if (heard.some(({ bytes }) => read(bytes).node === node)) continue;
    say('oyez#@all', write({ node, life: 1n, kind: 'rows', rest: row }));
  }
  for (const node of nodes) await until(async () => await figure(node, 'oyez_cluster_others') > 900, 'they are believed');
  for (const node of nodes) assert.equal((await node.api('/api/v1/users/ghost/presence')).json.online, true);
  await work();
  await know(nodes);
  for (const node of nodes) assert.equal((await node.api('/api/v1/users/ghost/presence')).json.online, false);
  await work();
});

/** The last letter of a kind, of a node. */
const letterOf = (heard, kind, node) => heard.map(({ bytes }) => read(bytes)).findLast((letter) => letter.kind === kind && (node === undefined || letter.node === node));

test('a node that begins with the number of a living one takes another, before anybody is connected', async (t) => {
  const { engine, nodes: [a], know, start } = await cluster(t, 1, { config: desk(t) });
  const { heard, say } = await eavesdrop(t, engine);
  const taken = [];
  // Whoever asks hears that the number is taken, the first two times.
  const objecting = setInterval(() => {
    for (const { bytes } of heard) {
      const letter = read(bytes);
      if (letter.kind !== 'claim' || taken.includes(letter.node) || taken.length === 2) continue;
      taken.push(letter.node);
      say(`oyez#@${letter.node.toString(16).padStart(4, '0')}`, write({ node: letter.node, life: letter.life + 1n, kind: 'taken' }));
    }
  }, 5);
  t.after(() => clearInterval(objecting));
  const b = await start(1);
  clearInterval(objecting);
  const bob = await client(t, b.url, 'bob', { transports: ['websocket'] });
  assert.equal(taken.length, 2);
  assert.equal(b.logs.filter((line) => line.includes('node_renumbered')).length, 2);
  assert.ok(!taken.includes(nodeOf(bob.socket.id)));
  await know([a, b]);
  await a.publish(bob.socket.id, 'news', 1);
  await until(() => bob.heard.news.includes(1), 'it is reached by its new number');
  assert.deepEqual(taken.filter((node) => letterOf(heard, 'beat', node)), [], 'nobody was told of the others');
});

test('a node that finds an older one of its number takes another, and keeps its sessions', async (t) => {
  const { engine, nodes, know } = await cluster(t, 2, { config: desk(t) });
  const [a, b] = nodes;
  const { clients, work } = await workers(t, nodes);
  const { heard, say } = await eavesdrop(t, engine);
  const bea = clients[2];
  const beating = [];
  t.after(() => beating.forEach(clearInterval));
  const id = bea.socket.id;
  for (let round = 0; round < 3; round += 1) {
    const probe = connect(b.url, { transports: ['websocket'], auth: { token: token({ sub: 'probe' }) } });
    await connected(probe);
    const number = nodeOf(probe.id);
    probe.disconnect();
    await until(() => letterOf(heard, 'beat', number), 'its word');
    const { life, rest } = letterOf(heard, 'beat', number);
    await say('oyez#@all', write({ node: number, life: life + 1n, kind: 'beat', rest }));
    await work();
    assert.equal(b.logs.filter((line) => line.includes('node_renumbered')).length, round, 'of a younger one it thinks nothing');
    // The older one lives on.
    const beat = () => say('oyez#@all', write({ node: number, life: life - 1n, kind: 'beat', rest }));
    await beat();
    beating.push(setInterval(beat, 500));
    await until(() => b.logs.filter((line) => line.includes('node_renumbered')).length === round + 1, 'it takes another');
    await until(async () => {
      const late = connect(b.url, { transports: ['websocket'], auth: { token: token({ sub: 'probe' }) } });
      await connected(late);
      const { id: given } = late;
      late.disconnect();
      return nodeOf(given) !== number;
    }, 'who comes now has the new number');
    await work();
    assert.equal(bea.socket.id, id, 'who was there has not noticed');
    for (const node of [a, b]) {
      const before = bea.heard.news.length;
      await node.publish(id, 'news', -1 - round);
      await until(() => bea.heard.news.length > before, 'and is reached by their name');
    }
  }
  beating.forEach(clearInterval);
  await know(nodes);
  assert.equal((await a.api('/api/v1/users/bea/presence')).json.connections, 1);
});
