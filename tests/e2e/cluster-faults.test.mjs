// Nodes that are killed, stand still, and are replaced under load; a Redis that loses its connections, restarts, and stands
// still: with real processes and stock clients. Each fault several times.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { setTimeout as passed } from 'node:timers/promises';
import { balancer, lives } from './balancer.mjs';
import { cluster, figure, onEachBroker, until } from './company.mjs';
import { client, desk, doubled, nothingLost, publishing, users } from './faults.mjs';
import { next } from './harness.mjs';
import { standstill } from './waiting.mjs';

const ROUNDS = 3;
const shared = (at, { url }) => ['--store', url];
const range = (count) => Array.from({ length: count }, (_, at) => at);
const ready = async (node) => (await node.api('/readyz', { token: null })).status;

test('a node is killed while durable messages are published: its clients are elsewhere within 2 s, and miss nothing', async (t) => {
  const { nodes, start, know } = await cluster(t, 3, { config: desk(t), args: shared });
  const { url } = await balancer(t, nodes);
  const clients = await Promise.all(range(8).map((at) => client(t, url, `user-${at}`, { transports: at % 2 ? ['websocket'] : ['polling', 'websocket'], randomizationFactor: 0 })));
  const publisher = publishing(nodes, (n) => ({ to: `user:user-${n % clients.length}`, event: 'notice', data: n }));
  for (let round = 0; round < ROUNDS; round += 1) {
    const before = publisher.said.length;
    await until(() => publisher.said.length > before + 50, 'a stream');
    const dying = nodes[round];
    const killed = Date.now();
    dying.child.kill('SIGKILL');
    await dying.exited;
    const victims = () => clients.filter(({ away }) => away.at(-1)?.from >= killed);
    await until(() => victims().length > 0 && clients.every(({ socket }) => socket.connected), 'all are connected');
    const slowest = Math.max(...victims().map(({ away }) => away.at(-1).to - killed));
    t.diagnostic(`${victims().length} of ${clients.length} clients were elsewhere ${slowest} ms after the kill`);
    assert.ok(slowest <= 2000, `${slowest} ms`);
    nodes.push(await start(nodes.length));
    await know(nodes.filter(lives));
  }
  await publisher.stop();
  const again = await nothingLost(clients, publisher.said);
  t.diagnostic(`${publisher.said.length} durable messages, of which ${again} came again, under their ids`);
});

test('half of the nodes are replaced one by one under load, then the others: nothing durable is lost, nothing doubled', async (t) => {
  const { nodes, start, know } = await cluster(t, 4, { config: desk(t), args: shared });
  const { url } = await balancer(t, nodes);
  const clients = await Promise.all(range(9).map((at) => client(t, url, `user-${at}`, { transports: [['websocket'], ['polling', 'websocket'], ['polling']][at % 3] })));
  const durable = publishing(nodes, (n) => ({ to: `user:user-${n % clients.length}`, event: 'notice', data: n }));
  const live = publishing(nodes, (n) => ({ id: `live-${n}`, to: 'live', event: 'news', data: n }));
  for (let round = 0; round < 4; round += 1) {
    const before = durable.said.length;
    await until(() => durable.said.length > before + 50, 'a stream');
    nodes.push(await start(nodes.length));
    const leaving = nodes[round];
    leaving.leaves = true;
    assert.equal(await leaving.stop(), 0);
    await until(() => clients.every(({ socket }) => socket.connected), 'all are connected');
    await know(nodes.filter(lives));
  }
  await Promise.all([durable.stop(), live.stop()]);
  const again = await nothingLost(clients, durable.said);
  let missed = 0;
  for (const { sub, heard, away } of clients) {
    assert.deepEqual(doubled(heard.news), [], `${sub} hears each once`);
    // What was said a moment before the end of a session may not have reached its node yet.
    const was = ({ from, until: end }) => away.some((gone) => end > gone.from - 500 && from < gone.to + 100);
    const due = live.said.filter((said) => !was(said)).map(({ n }) => n);
    const not = () => { const got = new Set(heard.news); return due.filter((n) => !got.has(n)); };
    // The last of it may still be on its way.
    await until(() => not().length === 0, 'all', 10_000).catch(() => {});
    assert.deepEqual(not(), [], `${sub} misses only what was said while it was away: ${JSON.stringify(away)}`);
    missed += live.said.length - new Set(heard.news).size;
  }
  t.diagnostic(`${durable.said.length} durable messages, of which ${again} came again, under their ids; ${live.said.length} live messages; ${missed} of ${live.said.length * clients.length} live ones were missed by who was away`);
});

test('a node that stands still for 10 s is forgotten, keeps nobody waiting, and is one of them again', async (t) => {
  const { nodes: [a, b, c], know } = await cluster(t, 3, { config: desk(t), args: shared });
  const bob = await client(t, b.url, 'bob', { transports: ['websocket'] });
  const ann = await client(t, a.url, 'ann', { transports: ['websocket'] });
  let n = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    await until(async () => (await users(a, 'bob')).online, 'bob is online');
    const sid = JSON.parse((await (await fetch(`${b.url}/socket.io/?EIO=4&transport=polling`)).text()).slice(1)).sid;
    await standstill(b.child);
    const stopped = Date.now();
    const elapsed = () => Date.now() - stopped;
    // These wait while the others do their work.
    const forwarded = [a, c].map(async (node) => {
      const { status, text } = await node.api(`/socket.io/?EIO=4&transport=polling&sid=${sid}`, { token: null });
      return { status, text, ms: elapsed() };
    });
    const first = n;
    for (let more = 0; more < 20; more += 1, n += 1) {
      await a.publish('live', 'news', n);
      await c.publish('feed', 'tick', n);
      await a.publish('user:bob', 'notice', n);
    }
    await until(() => ann.heard.tick.length === n, 'the others go on');
    for (const answer of await Promise.all(forwarded)) {
      assert.deepEqual([answer.status, JSON.parse(answer.text).code], [400, 1], answer.text);
      assert.ok(answer.ms < 9000, `${answer.ms} ms`);
    }
    for (const node of [a, c]) await until(async () => !(await users(node, 'bob')).online, 'bob is offline');
    t.diagnostic(`forgotten after ${elapsed()} ms`);
    assert.ok(elapsed() < 10_000);
    await passed(10_000 - elapsed());
    b.child.kill('SIGCONT');
    const woken = Date.now();
    await know([a, b, c]);
    for (const node of [a, b, c]) await until(async () => (await users(node, 'bob')).online, 'bob is online again');
    for (const node of [a, b, c]) assert.equal((await users(node, 'ann')).online, true, 'nobody else was forgotten');
    await until(() => bob.socket.connected, 'he is connected');
    await a.publish('live', 'news', n);
    await b.publish('feed', 'tick', n);
    n += 1;
    for (const { heard } of [ann, bob]) await until(() => heard.news.includes(n - 1) && heard.tick.includes(n - 1), 'it is heard, and hears');
    await until(() => bob.heard.notice.length >= n - round - 1, 'what is durable');
    t.diagnostic(`one of them again after ${Date.now() - woken} ms; of ${n - first} live messages its client heard ${bob.heard.news.filter((one) => one >= first).length}`);
    for (const { heard } of [ann, bob]) for (const all of Object.values(heard)) assert.deepEqual(doubled(all), [], 'nothing twice');
  }
  assert.deepEqual(ann.away, [], 'who is elsewhere notices nothing');
  assert.equal(b.logs.filter((line) => line.includes('node_lost')).length, 0, 'who stood still forgets nobody');
});

const TROUBLES = {
  'kills its listeners': { hurt: (engine) => engine.ask('CLIENT', 'KILL', 'TYPE', 'pubsub'), heal: () => {} },
  'restarts': { hurt: (engine) => engine.stop(), heal: (engine) => engine.start() },
  'answers nobody for 8 s': { hurt: async (engine) => { await engine.ask('CLIENT', 'PAUSE', '8000'); await passed(8000); }, heal: () => {} },
  'stands still for 8 s': { hurt: async (engine) => { await engine.standstill(); await passed(8000); }, heal: (engine) => engine.goOn() },
};

for (const [what, { hurt, heal }] of Object.entries(TROUBLES)) {
  test(`a Redis that ${what}: heard again within 3 s, and nothing twice`, async (t) => {
    const { engine, nodes: [a, b], know } = await cluster(t, 2, { config: desk(t) });
    const [ann, bob] = [await client(t, a.url, 'ann', { transports: ['websocket'] }), await client(t, b.url, 'bob', { transports: ['websocket'] })];
    let n = 0;
    for (let round = 0; round < ROUNDS; round += 1) {
      const lost = await Promise.all([a, b].map((node) => figure(node, 'oyez_cluster_lost')));
      const hurting = hurt(engine);
      for (const [at, node] of [a, b].entries()) await until(async () => await figure(node, 'oyez_cluster_lost') > lost[at], 'the loss is noticed');
      const local = n += 1;
      await a.publish('live', 'news', local);
      await until(() => ann.heard.news.includes(local), 'local delivery goes on');
      await hurting;
      await heal(engine);
      const healed = Date.now();
      const hears = (node, to) => until(async () => {
        const said = n += 1;
        await node.publish('live', 'news', said);
        return to.heard.news.some((one) => one > local && one <= said);
      }, 'it is heard again');
      await Promise.all([hears(a, bob), hears(b, ann)]);
      await until(() => Promise.all([a, b].map(ready)).then((all) => all.every((status) => status === 200)), 'both are ready');
      const ms = Date.now() - healed;
      t.diagnostic(`heard again ${ms} ms after its return`);
      assert.ok(ms <= 3000, `${ms} ms`);
      await know([a, b]);
      for (const { heard } of [ann, bob]) assert.deepEqual(doubled(heard.news), []);
    }
    assert.deepEqual([...ann.away, ...bob.away], [], 'no client was cut off');
  });
}

onEachBroker('a broker that stands still holds up nobody: own clients hear all at once, others later, or of a gap', async (t, start) => {
  const { engine, nodes: [a, b], know } = await start(2, { config: desk(t) });
  const [ann, bob] = [await client(t, a.url, 'ann', { transports: ['websocket'] }), await client(t, b.url, 'bob', { transports: ['websocket'] })];
  const lost = () => Promise.all([a, b].map((node) => figure(node, 'oyez_cluster_lost')));
  let [n, missed] = [0, 0];
  // One after the other in each channel, so that their order is known.
  const publish = async (count) => {
    for (const end = n + count; n < end; n += 1) await Promise.all([a.publish('live', 'news', n), a.publish('feed', 'tick', n)]);
  };
  const hears = (least) => ['news', 'tick'].every((event) => bob.heard[event].at(-1) >= least);
  await until(async () => { await publish(1); return hears(0); }, 'the other node hears it');
  await until(() => hears(n - 1), 'and all that follows');
  missed = n - bob.heard.tick.length;
  for (const isNoticed of [false, true, false]) {
    const before = await lost();
    await engine.standstill();
    // Three times as many as may be on their way at once.
    await publish(100);
    await until(() => ann.heard.news.length + ann.heard.tick.length === 2 * n, 'they are heard');
    assert.deepEqual(await lost(), before, 'before anybody has noticed');
    if (isNoticed) {
      await until(async () => (await lost()).every((count, at) => count > before[at]), 'the loss is noticed');
      await publish(100);
      await until(() => ann.heard.news.length + ann.heard.tick.length === 2 * n, 'they are heard');
    }
    for (const event of ['news', 'tick']) assert.deepEqual(ann.heard[event], range(n), 'each once, in order');
    engine.goOn();
    const healed = Date.now();
    const since = n;
    await until(async () => { await publish(1); return hears(since); }, 'the other node hears it again');
    t.diagnostic(`heard again ${Date.now() - healed} ms after its return`);
    await until(() => hears(n - 1), 'and all that follows');
    await know([a, b]);
    for (const event of ['news', 'tick']) assert.deepEqual(bob.heard[event], range(n).filter((one) => bob.heard[event].includes(one)), 'each once, in order');
    if (n - bob.heard.tick.length > missed) assert.ok(bob.heard.gap.length > 0, `what it has missed is a gap: ${range(n).filter((one) => !bob.heard.tick.includes(one))}`);
    missed = n - bob.heard.tick.length;
    bob.heard.gap.length = 0;
    t.diagnostic(`of ${n} the other node has missed ${missed}`);
  }
  assert.deepEqual([...ann.away, ...bob.away], [], 'no client was cut off');
});
