// Where the Redis that nodes share is found by sentinels, or is a cluster of several: found again when another takes its place.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { createAdapter } from '@socket.io/redis-adapter';
import { Cluster } from 'ioredis';
import { Server } from 'socket.io';
import { authority } from './authority.mjs';
import { connect, connected, serve, token } from './harness.mjs';
import { cluster, figure, until } from './company.mjs';
import { freePort, redis, redisCluster, sentinel } from './redis.mjs';

const CONFIG = 'examples/ticketing/oyez.toml';

/** A master, its replica and a sentinel. */
async function watched(t) {
  const master = await redis(t);
  await master.start();
  const replica = await redis(t, '--replicaof', '127.0.0.1', master.port, '--repl-diskless-sync-delay', '0');
  await replica.start();
  const watch = await sentinel(t, master);
  await watch.start();
  await until(async () => /flags\nslave/.test(await watch.ask('SENTINEL', 'REPLICAS', 'main')), 'the sentinel knows the replica', 30_000);
  await until(async () => /master_link_status:up/.test(await replica.ask('INFO', 'replication')), 'the replica has all');
  return { url: `redis+sentinel://127.0.0.1:${watch.port}/main`, owner: async () => master, replicas: [replica] };
}

async function enter(t, node, claims) {
  const socket = connect(node.url, { transports: ['websocket'], auth: { token: token(claims) } });
  socket.heard = [];
  socket.onAny((event, said, ack) => {
    if (event !== 'notification') return;
    socket.heard.push(said.payload);
    ack?.();
  });
  t.after(() => socket.disconnect());
  return connected(socket);
}

for (const [name, broker] of [['sentinels', watched], ['a cluster', redisCluster]]) {
  test(`${name}: another Redis takes the place of one that is killed; nodes listen there within 3 s, nothing stored is lost`, { timeout: 120_000 }, async (t) => {
    const { engine, nodes: [a, b] } = await cluster(t, 2, { config: CONFIG, broker, args: (_, { url }) => ['--store', url] });
    const socket = await enter(t, b, { userId: 'ann' });
    let said = 0;
    const say = async () => {
      for (const last = said + 20; said < last; said += 1) await a.publish('user:ann', 'notification', said);
      await until(() => socket.heard.length >= said, 'what was said');
    };
    await say();
    // Of a cluster, one after the other: two of three masters could not be replaced.
    for (const key of ['oyez#', '{oyez}:'].slice(0, engine.servers ? 2 : 1)) {
      const owner = await engine.owner(key);
      // A replica is behind by what nobody has waited for.
      await owner.ask('WAIT', 1, 5_000);
      await owner.stop();
      for (const node of [a, b]) await until(async () => (await node.api('/readyz')).status === 503, 'it is red', 20_000);
      await until(async () => (await a.api('/readyz')).status === 200, 'one is green', 60_000);
      const begun = Date.now();
      await until(async () => (await b.api('/readyz')).status === 200, 'the other is green', 3_000);
      t.diagnostic(`the other node came ${Date.now() - begun} ms after the first`);
      await until(async () => (await figure(a, 'oyez_cluster_others')) === 1, 'they know each other');
      await say();
      await owner.start();
      await until(async () => /role:slave[^]*master_link_status:up/.test(await owner.ask('INFO', 'replication')), 'it is a replica now', 30_000);
    }
    assert.deepEqual(socket.heard, Array.from({ length: said }, (_, n) => n));
  });
}

test('a cluster of Redis and a server of Node: one cluster of Socket.IO servers', { timeout: 120_000 }, async (t) => {
  // Before Redis goes, since it says goodbye to it.
  let close = () => {};
  const { engine, nodes: [a, b] } = await cluster(t, 2, { config: 'tests/corpus/app.toml', broker: (last) => { last.after(() => close()); return redisCluster(last); } });
  const hosts = engine.servers.map(({ port }) => ({ host: '127.0.0.1', port }));
  const clients = [new Cluster(hosts), new Cluster(hosts)];
  const http = createServer();
  const io = new Server(http, { adapter: createAdapter(...clients) });
  io.on('connection', (socket) => { socket.join('room:1'); socket.on('ask', (answer) => answer(1)); });
  await new Promise((resolve) => { http.listen(0, '127.0.0.1', resolve); });
  close = async () => { await io.close(); await clients[1].unsubscribe(); for (const client of clients) client.disconnect(); };
  for (const node of [a, b]) await until(async () => (await figure(node, 'oyez_neighbours')) === 1, 'it knows of the other server');
  const open = async (url) => {
    const socket = connect(url, { transports: ['websocket'], auth: { token: token({ sub: 'ann' }) } });
    socket.heard = [];
    socket.onAny((event, said) => { if (event === 'said') socket.heard.push(said?.payload ?? said); });
    socket.on('ask', (_, answer) => answer('yes'));
    t.after(() => socket.disconnect());
    return connected(socket);
  };
  const sockets = [await open(a.url), await open(b.url), await open(`http://127.0.0.1:${http.address().port}`)];
  for (const socket of sockets.slice(0, 2)) await new Promise((resolve) => { socket.once('joined', resolve); socket.emit('join', { room: '1' }); });
  io.to('room:1').emit('said', 'by node');
  await a.publish('room:1', 'said', 'by oyez');
  for (const socket of sockets) await until(() => socket.heard.length === 2, 'both');
  assert.deepEqual(sockets.map(({ heard }) => [...heard].sort()), sockets.map(() => ['by node', 'by oyez']));
  assert.equal((await io.timeout(5_000).to('room:1').emitWithAck('ask', 1)).length, 3);
  const { json } = await b.api('/api/v1/publish', { body: { to: 'room:1', event: 'ask', data: 1, ack: { timeout_ms: 5_000 } } });
  assert.equal(json.reached, 3, JSON.stringify(json));
});

test('one Redis of a cluster, or a sharded adapter there: refused with what to write', async (t) => {
  const engine = await redisCluster(t);
  const wrong = async (args, words) => assert.rejects(serve(CONFIG, { args }).then((node) => { t.after(() => node.stop()); }), words);
  await wrong(['--broker', engine.url, '--cluster', 'sharded', '--store', 'memory'], /--cluster classic or streams/);
  const owner = await engine.owner('oyez:format');
  const other = engine.servers.slice(0, 3).find((each) => each !== owner);
  await wrong(['--store', other.url, '--broker', engine.url], /redis\+cluster:\/\/HOST:PORT/);
});

/** A node that is never ready, with what its log says of it. */
async function red(t, args, words) {
  const node = await serve('tests/corpus/app.toml', { args: ['--store', 'memory', ...args] });
  t.after(() => node.stop());
  await until(() => node.logs.some((line) => words.test(line)), `a line with ${words}, but ${node.logs.join('\n')}`);
  assert.equal((await node.api('/readyz')).status, 503);
}

test('a user of the ACL has what the page says, and less is red, with what is missing', async (t) => {
  const engine = await redis(t);
  await engine.start();
  const user = async (name, ...rights) => {
    await engine.ask('ACL', 'SETUSER', name, 'on', '>pw', ...rights);
    return `redis://${name}:pw@127.0.0.1:${engine.port}`;
  };
  const own = ['&oyez#*', '+publish', '+subscribe', '+unsubscribe', '+ping'];
  const neighbours = ['&socket.io#/#*', '&socket.io#/other#*', '&socket.io*', '~socket.io', '+@pubsub', '+xadd', '+xread', '+xrange', '+xrevrange'];
  for (const [url, cluster] of [[await user('alone', ...own), 'none'], [await user('classic', ...own, ...neighbours), 'classic'], [await user('sharded', ...own, ...neighbours), 'sharded'], [await user('streams', ...own, ...neighbours), 'streams']]) {
    const node = await serve('tests/corpus/app.toml', { args: ['--store', 'memory', '--broker', url, '--cluster', cluster] });
    t.after(() => node.stop());
    await until(async () => (await node.api('/readyz')).status === 200, `${cluster} is ready, but ${node.logs.join('\n')}`);
  }
  for (const missing of ['+publish', '+subscribe', '&oyez#*']) {
    await red(t, ['--cluster', 'none', '--broker', await user(`no${missing.replace(/\W/g, '')}`, ...own.filter((right) => right !== missing))], /broker_failed.*ACL SETUSER … &oyez#\*/);
  }
});

test('nodes on a Redis with TLS: they believe whom they are told to, and nobody else', async (t) => {
  const issuer = authority();
  t.after(issuer.end);
  issuer.issue('redis');
  const port = await freePort();
  const engine = await redis(t, '--tls-port', port, '--tls-auth-clients', 'no', '--tls-cert-file', issuer.file('redis.pem'), '--tls-key-file', issuer.file('redis.key'), '--tls-ca-cert-file', issuer.file('ca.pem'));
  await engine.start();
  const args = ['--store', 'memory', '--broker', `rediss://localhost:${port}`];
  const start = async () => {
    const node = await serve('tests/corpus/app.toml', { args, env: { SSL_CERT_FILE: issuer.file('ca.pem') } });
    t.after(() => node.stop());
    return node;
  };
  const nodes = [await start(), await start()];
  for (const node of nodes) await until(async () => (await figure(node, 'oyez_cluster_others')) === 1 && (await node.api('/readyz')).status === 200, 'they know each other');
  await red(t, args.slice(2), /broker_failed.*certificate/);
});

test('a replica, or a sentinel that knows an old master, is not taken for the master', async (t) => {
  const master = await redis(t);
  await master.start();
  const replica = await redis(t, '--replicaof', '127.0.0.1', master.port);
  await replica.start();
  await red(t, ['--cluster', 'none', '--broker', replica.url], /broker_failed.*name its master/);
  const [stale, good] = [await sentinel(t, replica), await sentinel(t, master)];
  await Promise.all([stale.start(), good.start()]);
  const node = await serve('tests/corpus/app.toml', { args: ['--store', 'memory', '--cluster', 'none', '--broker', `redis+sentinel://127.0.0.1:${stale.port},127.0.0.1:${good.port}/main`] });
  t.after(() => node.stop());
  await until(async () => (await node.api('/readyz')).status === 200, `it is ready, but ${node.logs.join('\n')}`);
});

test('clusters with prefixes of their own hear nothing of each other; a database is no cluster of its own', async (t) => {
  const engine = await redis(t);
  await engine.start();
  const start = async (suffix) => {
    const node = await serve('tests/corpus/app.toml', { args: ['--store', 'memory', '--cluster', 'none', '--broker', engine.url + suffix] });
    t.after(() => node.stop());
    return node;
  };
  const [a, b, c] = [await start('?prefix=staging'), await start('?prefix=staging'), await start('')];
  for (const node of [a, b]) await until(async () => (await figure(node, 'oyez_cluster_others')) === 1, 'they know each other');
  assert.equal(await figure(c, 'oyez_cluster_others'), 0);
  for (const [suffix, words] of [['/5', /know no databases/], ['?prefx=staging', /there is no parameter `prefx`/], ['?prefix=a*b', /a prefix has letters/]]) {
    await assert.rejects(start(suffix), words);
  }
});
