// A real NATS on a port of its own, with a directory of its own: nothing of it is left.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './redis.mjs';
import { standstill } from './waiting.mjs';

const running = new Set();
process.on('exit', () => running.forEach((child) => child.kill('SIGKILL')));

/** A NATS that is not started yet: {port, url, start, stop}. `settings` are more of its configuration. Gone after `t`. */
export async function nats(t, settings = '', { jetstream = true } = {}) {
  const port = await freePort();
  const home = mkdtempSync(join(tmpdir(), 'oyez-nats-'));
  const file = join(home, 'nats.conf');
  let child;
  let gone;
  const server = {
    port,
    url: `nats://127.0.0.1:${port}`,
    async start() {
      child = spawn('nats-server', ['-c', file, '-a', '127.0.0.1', '-p', port], { stdio: ['ignore', 'ignore', 'pipe'] });
      running.add(child);
      gone = new Promise((resolve) => child.once('exit', () => { running.delete(child); resolve(); }));
      const log = [];
      await new Promise((resolve, reject) => {
        child.once('error', reject);
        gone.then(() => reject(new Error(`nats-server ended:\n${log.join('\n')}`)));
        createInterface({ input: child.stderr }).on('line', (line) => { log.push(line); if (/Server is ready/.test(line)) resolve(); });
      });
    },
    async stop() {
      child.kill('SIGKILL');
      await gone;
    },
    standstill: () => standstill(child),
    goOn() { child.kill('SIGCONT'); },
  };
  const keeps = jetstream ? `jetstream { store_dir: ${JSON.stringify(home)} }` : '';
  writeFileSync(file, `max_payload: 8MB\n${keeps}\n${settings}\n`);
  t.after(async () => {
    if (running.has(child)) await server.stop();
    rmSync(home, { recursive: true, force: true });
  });
  return server;
}
