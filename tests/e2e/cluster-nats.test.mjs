// What nodes on a NATS do that those on a Redis cannot, or do otherwise: several servers, TLS, and how large a message may be.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { authority } from './authority.mjs';
import { connect, connected, next, token } from './harness.mjs';
import { begun, cluster, figure, until } from './company.mjs';
import { nats } from './nats.mjs';
import { freePort } from './redis.mjs';

const CONFIG = 'examples/ticketing/oyez.toml';

/** A client on a node, in a channel; `heard` is what it was told there. */
async function enter(t, node, user) {
  const socket = connect(node.url, { transports: ['websocket'], auth: { token: token({ userId: user }) } });
  socket.heard = [];
  socket.on('ticket_updated', ({ payload }) => socket.heard.push(payload));
  t.after(() => socket.disconnect());
  await connected(socket);
  const joined = next(socket, 'subscribed');
  socket.emit('subscribe', { channels: ['ticket:1'] });
  await joined;
  return socket;
}

const tell = (node, data) => node.publish('ticket:1', 'ticket_updated', data);

test('of a NATS of several servers any may end', async (t) => {
  const ports = [await freePort(), await freePort()];
  const pair = async (t) => {
    const route = (at) => `cluster { name: pair, listen: "127.0.0.1:${ports[at]}", routes: ["nats-route://127.0.0.1:${ports[1 - at]}"] }`;
    const servers = [await nats(t, route(0), { jetstream: false }), await nats(t, route(1), { jetstream: false })];
    const url = servers.map((server) => server.url).join(',');
    await Promise.all(servers.map((server) => server.start()));
    return { servers, url };
  };
  const { engine: { servers }, nodes } = await cluster(t, 3, { config: CONFIG, broker: pair });
  const there = await Promise.all(nodes.map((node, at) => enter(t, node, `user-${at}`)));
  let n = 0;
  for (const end of [undefined, ...servers]) {
    await end?.stop();
    for (const node of nodes) await until(async () => (await node.api('/readyz')).status === 200, 'it is green');
    for (const node of nodes) {
      n += 1;
      const heard = () => there.every((socket) => socket.heard.includes(n));
      // One server hears of what the other's listen to some moments after they do.
      await until(async () => { await tell(node, n); return until(heard, '', 500).catch(() => false); }, 'all have heard it');
    }
    await end?.start();
  }
});

test('by TLS, for a user, without saying who', async (t) => {
  const one = authority();
  t.after(one.end);
  one.issue('server');
  const encrypted = begun(async (t) => {
    const engine = await nats(t, `tls { cert_file: "${one.file('server.pem')}", key_file: "${one.file('server.key')}" }
      authorization { users = [{ user: oyez, password: "hidden/,@", permissions: { publish: "oyez.>", subscribe: "oyez.>" } }] }`);
    engine.url = engine.url.replace('nats://', 'tls://oyez:hidden%2F%2C%40@');
    return engine;
  });
  const { nodes: [a, b] } = await cluster(t, 2, { config: CONFIG, broker: encrypted, env: { SSL_CERT_FILE: one.file('ca.pem') } });
  const there = await enter(t, b, 'there');
  await tell(a, 1);
  await until(() => there.heard.length === 1, 'it is heard');
  assert.ok(!a.logs.join().includes('hidden'));
  assert.match(a.logs.join('\n'), /broker_connected/);
});

test('what is too large for the server is heard here only, and told; the rest is heard everywhere', async (t) => {
  const small = begun((t) => nats(t, 'max_payload: 64KB'));
  const { nodes: [a, b] } = await cluster(t, 2, { config: CONFIG, broker: small });
  const [here, there] = [await enter(t, a, 'here'), await enter(t, b, 'there')];
  await tell(a, 1);
  await tell(a, 'x'.repeat(70_000));
  await tell(a, 2);
  await until(() => here.heard.length === 3 && there.heard.length === 2, 'all that can be');
  assert.deepEqual(there.heard, [1, 2]);
  // What was said in one breath with it may be counted with it.
  assert.ok([1, 2, 3].includes(await figure(a, 'oyez_cluster_unsaid')));
  assert.equal(await figure(a, 'oyez_cluster_lost'), 0);
  assert.match(a.logs.join('\n'), /broker_refused.*set max_payload/);
});
