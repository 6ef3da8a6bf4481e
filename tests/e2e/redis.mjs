// A real Redis on a port of its own, with a directory of its own: nothing of it is left.
import { execFile, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const exec = promisify(execFile);
const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

export const freePort = () => new Promise((resolve) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address();
    server.close(() => resolve(port));
  });
});

/** A Redis that is not started yet: {url, start, stop, ask}. `args` are more of its options. Gone after `t`. */
export async function redis(t, ...args) {
  const port = await freePort();
  const home = mkdtempSync(join(tmpdir(), 'oyez-redis-'));
  let child;
  let gone;
  const server = {
    port,
    url: `redis://127.0.0.1:${port}`,
    async start() {
      child = spawn(process.env.OYEZ_REDIS_SERVER ?? 'redis-server', ['--port', port, '--bind', '127.0.0.1', '--dir', home, '--save', '', ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
      running.add(child);
      gone = new Promise((resolve) => child.once('exit', () => { running.delete(child); resolve(); }));
      await new Promise((resolve, reject) => {
        child.once('error', reject);
        gone.then(() => reject(new Error('redis-server ended')));
        createInterface({ input: child.stdout }).on('line', (line) => { if (/Ready to accept connections/.test(line)) resolve(); });
      });
    },
    async stop() {
      child.kill('SIGKILL');
      await gone;
    },
    /** `redis-cli ARGS`; gives what it prints. */
    async ask(...command) { return (await exec('redis-cli', ['-p', port, ...command])).stdout.trim(); },
  };
  t.after(async () => {
    if (running.has(child)) await server.stop();
    rmSync(home, { recursive: true, force: true });
  });
  return server;
}
