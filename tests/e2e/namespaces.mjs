// Servers in mount namespaces of their own: file systems of a test need no administrator.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { API_KEY, SECRET, attach, binary } from './harness.mjs';
import { ENV } from './keeping.mjs';
import { folder } from './stage.mjs';

export const VARIABLES = { ...ENV, JWT_SECRET: SECRET, OYEZ_API_KEY: API_KEY, PATH: process.env.PATH };

/** What has `oyez` serve `toml` on `dir`. */
export const starting = (t, dir, toml) => ['serve', '--config', join(folder(t, { 'oyez.toml': toml }), 'oyez.toml'), '--listen', '127.0.0.1:0', '--data-dir', dir];

/** `oyez ARGS` in a mount namespace of its own, after `script`. */
export function isolated(script, args) {
  const words = ['--user', '--mount', '--map-root-user', 'sh', '-c', `${script} && exec "$@"`, 'sh', binary(), ...args];
  return spawn('unshare', words, { env: VARIABLES, stdio: ['ignore', 'pipe', 'pipe'] });
}

/** A server there on `dir`, until `t` is over; `inside(script)` runs a script where it is. */
export async function apart(t, script, dir, toml) {
  const server = await attach(isolated(script, starting(t, dir, toml)));
  t.after(() => server.stop());
  const enter = ['-t', String(server.child.pid), '--user', '--mount', '--preserve-credentials', 'sh', '-c'];
  server.inside = (words) => execFileSync('nsenter', [...enter, words], { stdio: 'pipe' });
  return server;
}

/** Why a test that needs one cannot have it here. */
export const apartFails = () => {
  const { status, stderr } = spawnSync('unshare', ['--user', '--mount', '--map-root-user', 'true']);
  return status === 0 ? false : `no user namespaces here (unshare: ${stderr ?? 'not found'})`;
};
