// No sticky sessions: clients behind a balancer that sends each request, and each upgrade, to the next node.
import assert from 'node:assert/strict';
import { balancer } from './balancer.mjs';
import { connect, connected, next, token } from './harness.mjs';
import { onEachBroker, until } from './company.mjs';
import { freePort } from './redis.mjs';
import { Raw } from './wire.mjs';

const CONFIG = 'tests/corpus/app.toml';

async function talks(t, url, transports, count = 60) {
  const socket = connect(url, { transports, auth: { token: token({ sub: `${Math.random()}` }) } });
  t.after(() => socket.disconnect());
  await connected(socket);
  const joined = next(socket, 'joined');
  socket.emit('join', { room: 'lobby' });
  await joined;
  for (let n = 0; n < count; n += 1) {
    const heard = next(socket, 'alive');
    socket.emit('probe', { n });
    assert.deepEqual(await heard, [n]);
  }
  return socket;
}

for (const [name, transports] of [['polling only', ['polling']], ['polling, then upgrade', ['polling', 'websocket']], ['websocket', ['websocket']]]) {
  onEachBroker(`three nodes behind a balancer that knows nobody: ${name}`, async (t, cluster) => {
    const { nodes } = await cluster(3, { config: CONFIG });
    const { url, statuses } = await balancer(t, nodes);
    const sockets = await Promise.all(Array.from({ length: 8 }, () => talks(t, url, transports)));
    if (transports.length === 2) {
      for (const socket of sockets) await until(() => socket.io.engine.transport.name === 'websocket', 'it has upgraded');
    }
    const COUNT = 200;
    const heard = sockets.map((socket) => { const all = []; socket.on('news', (n) => all.push(n)); return all; });
    for (let n = 0; n < COUNT; n += 1) await nodes[n % 3].publish('room:lobby', 'news', n);
    // Each node says its own in order; among nodes there is none.
    const ordered = (all) => [0, 1, 2].every((node) => all.filter((n) => n % 3 === node).every((n, at, own) => at === 0 || own[at - 1] < n));
    for (const all of heard) {
      await until(() => all.length >= COUNT, `${all.length} of ${COUNT}`);
      assert.equal(new Set(all).size, COUNT);
      assert.ok(ordered(all), all.join());
    }
    const binary = Buffer.alloc(40_000, 7);
    for (const socket of sockets) {
      const back = next(socket, 'alive');
      socket.emit('probe', { n: 'large', more: 'x'.repeat(30_000) }, binary);
      assert.deepEqual(await back, ['large']);
    }
    assert.deepEqual(statuses.filter(([status]) => status !== 200), [], 'no session was unknown anywhere');
    assert.deepEqual(sockets.map((socket) => socket.connected), sockets.map(() => true));
  });
}

onEachBroker('a node that has just begun knows where the others are', async (t, cluster) => {
  const { nodes: [a], start } = await cluster(1, { config: CONFIG });
  const open = await (await fetch(`${a.url}/socket.io/?EIO=4&transport=polling`)).text();
  const session = `socket.io/?EIO=4&transport=polling&sid=${JSON.parse(open.slice(1)).sid}`;
  await fetch(`${a.url}/${session}`, { method: 'POST', body: `40${JSON.stringify({ token: token({ sub: 'ann' }) })}` });
  for (let n = 0; n < 6; n += 1) {
    const node = await start(n + 1);
    const answer = await fetch(`${node.url}/${session}`, { method: 'POST', body: '42["probe",{"n":1}]' });
    assert.deepEqual([answer.status, await answer.text()], [200, 'ok']);
    await node.stop();
  }
});

onEachBroker('who was there sees the client leave, whichever node its last request came to', async (t, cluster) => {
  const { nodes } = await cluster(3, { config: CONFIG });
  const { url } = await balancer(t, nodes);
  const sockets = await Promise.all(Array.from({ length: 3 }, () => talks(t, url, ['polling'], 1)));
  const count = async () => (await nodes[0].api('/api/v1/connections')).json.total;
  await until(async () => await count() === 3, 'all are there');
  sockets.forEach((socket) => socket.disconnect());
  await until(async () => await count() === 0, 'all have gone');
});

onEachBroker('a dead owner: a clean new session, at once', async (t, cluster) => {
  const { nodes } = await cluster(2, { config: CONFIG });
  const { url } = await balancer(t, nodes);
  const socket = connect(url, { transports: ['polling'], reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 100, auth: { token: token({ sub: 'orphan' }) } });
  t.after(() => socket.disconnect());
  await connected(socket);
  const lists = await Promise.all(nodes.map(async (node) => (await (await fetch(`${node.url}/metrics`)).text()).match(/^oyez_connections\S* (\d+)/m)?.[1]));
  const dying = nodes[lists.findIndex((count) => count === '1')];
  const gone = next(socket, 'disconnect', 10_000);
  dying.child.kill('SIGKILL');
  await gone;
  await until(() => socket.connected, 'it has a new session', 20_000);
  const heard = next(socket, 'alive');
  socket.emit('probe', { n: 1 });
  assert.deepEqual(await heard, [1]);
});

onEachBroker('where nodes listen for each other may be said, and each says where it is', async (t, cluster) => {
  const ports = [await freePort(), await freePort()];
  const { nodes } = await cluster(2, { config: CONFIG, args: (at) => ['--store', 'memory', '--node-listen', `0.0.0.0:${ports[at]}`] });
  const { url } = await balancer(t, nodes);
  await talks(t, url, ['polling']);
  const said = (node, event) => node.logs.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line)).find((line) => line.event === event);
  for (const [at, node] of nodes.entries()) {
    const own = await until(() => said(node, 'node'), 'its number');
    assert.equal(own.door, `127.0.0.1:${ports[at]}`);
    assert.equal((await until(() => said(nodes[1 - at], 'node_came'), 'the other')).node, own.node);
    assert.equal(said(node, 'broker').help, undefined, 'there is nothing to fix');
  }
});

onEachBroker('nobody comes in by the door for nodes without its secret', async (t, cluster) => {
  const { nodes: [a] } = await cluster(1, { config: CONFIG });
  const port = Number(a.logs.join('\n').match(/"door":"127\.0\.0\.1:(\d+)"/)?.[1] ?? a.logs.join('\n').match(/door=127\.0\.0\.1:(\d+)/)[1]);
  for (const hello of ['GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n', `${'x'.repeat(32)}PROXY TCP4 1.2.3.4 0.0.0.0 5 0\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n`]) {
    const raw = new Raw(port);
    await raw.write(hello);
    await raw.ended;
    assert.equal(raw.text, '');
    raw.destroy();
  }
  assert.equal((await a.api('/healthz')).status, 200);
});
