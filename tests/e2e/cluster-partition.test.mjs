// A network that is cut without a word: between a node and Redis, and between two nodes. With real network namespaces.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { setTimeout as passed } from 'node:timers/promises';
import { figure, until } from './company.mjs';
import { client, desk, doubled, nothingLost, users } from './faults.mjs';
import { ROOT, next } from './harness.mjs';
import { BACK, apart, isApart, machine, network } from './network.mjs';
import { redis } from './redis.mjs';
import { join } from 'node:path';

const ROUNDS = 3;
const ready = async (node) => (await node.api('/readyz', { token: null })).status;

if (isApart(fileURLToPath(import.meta.url))) {
  network();
  const machines = [machine(2), machine(3)];

  /** A node on each machine, with a broker that both reach. */
  const two = async (t) => {
    const last = [];
    const running = [];
    t.after(async () => {
      await Promise.all(running.map((node) => node.stop()));
      for (const end of last) await end();
    });
    const engine = await redis({ after: (end) => last.push(end) }, '--bind', '0.0.0.0', '--protected-mode', 'no');
    await engine.start();
    const config = join(ROOT, desk(t));
    for (const { serve } of machines) running.push(await serve(config, '--broker', `redis://${BACK}:${engine.port}`, '--store', 'memory'));
    const know = () => until(async () => (await Promise.all(running.map((node) => figure(node, 'oyez_cluster_others')))).every((others) => others === 1), 'they know each other');
    await know();
    return { nodes: running, know };
  };

  test('a node that loses Redis for 10 s without a word', async (t) => {
    const { nodes: [a, b], know } = await two(t);
    const ann = await client(t, a.url, 'ann', { transports: ['websocket'] });
    const bob = await client(t, b.url, 'bob', { transports: ['websocket'] });
    let n = 0;
    const hear = async (node, to, event = 'news') => {
      const said = n += 1;
      await node.publish(event === 'news' ? 'live' : 'feed', event, said);
      return () => to.heard[event].includes(said);
    };
    /** Its connection breaks; whether it comes back as who it was. */
    const comesBack = async ({ socket }) => {
      const back = next(socket, 'connect', 10_000);
      socket.io.engine.close();
      await back;
      return socket.recovered;
    };
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const [node, to] of [[a, bob], [b, ann], [a, ann], [b, bob]]) await until(await hear(node, to, 'tick'), 'all are heard');
      await until(async () => (await users(a, 'bob')).online && (await users(b, 'ann')).online, 'both are known');
      for (const one of [ann, bob]) assert.equal(await comesBack(one), true, 'nothing was missed');
      await until(async () => (await users(a, 'bob')).online && (await users(b, 'ann')).online, 'both are known again');
      const gaps = [ann, bob].map(({ heard }) => heard.gap.length);
      machines[1].cut();
      const cut = Date.now();
      // Each goes on with its own, who do not notice.
      for (const [node, to] of [[a, ann], [b, bob]]) {
        await until(await hear(node, to), 'live');
        await until(await hear(node, to, 'tick'), 'remembered');
      }
      await until(async () => await ready(b) === 503, 'it is red');
      const red = Date.now() - cut;
      assert.ok(red < 6000, `red after ${red} ms`);
      assert.equal(await ready(a), 200);
      await until(async () => !(await users(a, 'bob')).online, 'the ghost is gone');
      const gone = Date.now() - cut;
      assert.ok(gone <= 10_000, `gone after ${gone} ms`);
      // In each round at another moment of its attempts to connect again.
      await passed(10_000 + 700 * round - (Date.now() - cut));
      machines[1].mend();
      const mended = Date.now();
      await Promise.all([[a, bob], [b, ann]].map(async ([node, to]) => {
        const first = n;
        await until(async () => { await hear(node, to); return to.heard.news.some((one) => one > first); }, 'heard again');
      }));
      const again = Date.now() - mended;
      assert.ok(again <= 3000, `heard again after ${again} ms`);
      await know();
      await until(async () => await ready(b) === 200 && (await users(a, 'bob')).online && (await users(b, 'ann')).online, 'both are known again');
      t.diagnostic(`red after ${red} ms, its users gone after ${gone} ms, heard again ${again} ms after the end, all known after ${Date.now() - mended} ms`);
      // Both have missed something that the other side said: clients that come back hear of it.
      for (const [at, one] of [ann, bob].entries()) {
        // It may have heard of it before, and go on from there.
        const knew = one.heard.gap.length > gaps[at];
        assert.ok(!await comesBack(one) || knew, `${one.sub} goes on as if nothing had been missed`);
        await until(() => one.heard.gap.length > gaps[at], `${one.sub} hears of a gap`);
        assert.equal(one.away.length, 2 * (round + 1), 'it was cut off by the test alone');
      }
      for (const { heard } of [ann, bob]) assert.deepEqual([...doubled(heard.news), ...doubled(heard.tick)], [], 'nothing twice');
    }
  });

  test('a network that fails between nodes, while both reach Redis: a clean end in bounded time', async (t) => {
    const { nodes: [a, b] } = await two(t);
    for (let round = 0; round < ROUNDS; round += 1) {
      const { sid } = JSON.parse((await (await fetch(`${b.url}/socket.io/?EIO=4&transport=polling`)).text()).slice(1));
      const poll = async (body) => {
        const begun = Date.now();
        const response = await fetch(`${a.url}/socket.io/?EIO=4&transport=polling&sid=${sid}`, { method: body ? 'POST' : 'GET', body });
        return { status: response.status, text: await response.text(), ms: Date.now() - begun };
      };
      assert.equal((await poll('40{"token":"none"}')).status, 200);
      assert.equal((await poll()).status, 200);
      // One that waits for its answer, and those that come when there is no way any more.
      const waits = poll();
      assert.equal((await poll('3')).status, 200, 'later ones are answered');
      apart(machines, true);
      const answers = [await waits, await poll(), await poll('3')];
      apart(machines, false);
      t.diagnostic(`answered after ${answers.map(({ ms }) => ms)} ms`);
      for (const { status, text, ms } of answers) {
        assert.deepEqual([status, JSON.parse(text).code], [400, 1], text);
        assert.ok(ms < 15_000, `${ms} ms`);
      }
      assert.deepEqual([await figure(a, 'oyez_cluster_others'), await ready(a), await ready(b)], [1, 200, 200]);
    }
  });
}
