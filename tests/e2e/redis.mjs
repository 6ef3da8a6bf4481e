// A real Redis on a port of its own, with a directory of its own: nothing of it is left.
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { eventually, standstill } from './waiting.mjs';

const exec = promisify(execFile);
const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

/** A port that nobody has, below those that the system gives to connections: one of them would take it meanwhile. */
export const freePort = () => new Promise((resolve) => {
  const server = createServer();
  const attempt = () => server.listen(10_000 + Math.floor(Math.random() * 20_000), '127.0.0.1');
  server.on('error', attempt).on('listening', () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
  attempt();
});

/** A Redis that is not started yet: {url, start, stop, ask}. `args` are more of its options. Gone after `t`. */
export const redis = (t, ...args) => server(t, (port, home) => ['--port', port, '--bind', '127.0.0.1', '--dir', home, '--save', '', ...args]);

/** A sentinel that is not started yet, who watches a Redis as `main` and needs nobody's consent. */
export const sentinel = (t, of) => server(t, (port, home) => {
  const file = join(home, 'sentinel.conf');
  writeFileSync(file, `port ${port}\nbind 127.0.0.1\ndir ${home}\nsentinel monitor main 127.0.0.1 ${of.port} 1\nsentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n`);
  return [file, '--sentinel'];
});

/** A cluster of three masters with a replica each, which runs: {url, servers, owner}. `owner(key)` is the master that has it. */
export async function redisCluster(t) {
  const servers = await Promise.all(Array.from({ length: 6 }, async () => redis(t, '--cluster-enabled', 'yes', '--cluster-node-timeout', '1000', '--cluster-port', await freePort(), '--repl-diskless-sync-delay', '0')));
  await Promise.all(servers.map((each) => each.start()));
  const hosts = servers.map(({ port }) => `127.0.0.1:${port}`);
  await exec('redis-cli', ['--cluster', 'create', ...hosts, '--cluster-replicas', '1', '--cluster-yes']);
  const all = async (holds) => { for (const each of servers) await eventually(async () => holds(each), 'the cluster is whole', 30_000); };
  await all(async (each) => (await each.ask('CLUSTER', 'INFO')).includes('cluster_state:ok'));
  await all(async (each) => (await each.ask('CLUSTER', 'NODES')).split('\n').filter((line) => /slave/.test(line)).length === 3);
  await all(async (each) => !/master_link_status:down/.test(await each.ask('INFO', 'replication')));
  return {
    url: `redis+cluster://${hosts.join(',')}`,
    servers,
    async owner(key) {
      const slot = Number(await servers[0].ask('CLUSTER', 'KEYSLOT', key));
      const slots = (await servers[0].ask('CLUSTER', 'NODES')).split('\n').filter((line) => /master/.test(line)).map((line) => line.split(' '));
      const [, at] = slots.find(([, , , , , , , , ...ranges]) => ranges.some((range) => { const [first, last = first] = range.split('-').map(Number); return first <= slot && slot <= last; }));
      return servers.find(({ port }) => at.startsWith(`127.0.0.1:${port}@`));
    },
  };
}

async function server(t, args) {
  const port = await freePort();
  const home = mkdtempSync(join(tmpdir(), 'oyez-redis-'));
  let child;
  let gone;
  const server = {
    port,
    url: `redis://127.0.0.1:${port}`,
    async start() {
      child = spawn(process.env.OYEZ_REDIS_SERVER ?? 'redis-server', args(port, home).map(String), { stdio: ['ignore', 'pipe', 'inherit'] });
      running.add(child);
      gone = new Promise((resolve) => child.once('exit', () => { running.delete(child); resolve(); }));
      await new Promise((resolve, reject) => {
        child.once('error', reject);
        gone.then(() => reject(new Error('redis-server ended')));
        createInterface({ input: child.stdout }).on('line', (line) => { if (/Ready to accept connections|Sentinel ID is/.test(line)) resolve(); });
      });
    },
    async stop() {
      child.kill('SIGKILL');
      await gone;
    },
    standstill: () => standstill(child),
    goOn() { child.kill('SIGCONT'); },
    /** `redis-cli ARGS`; gives what it prints. */
    async ask(...command) { return (await exec('redis-cli', ['-p', port, ...command])).stdout.trim(); },
  };
  t.after(async () => {
    if (running.has(child)) await server.stop();
    rmSync(home, { recursive: true, force: true });
  });
  return server;
}
