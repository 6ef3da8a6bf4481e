// A server that keeps what is durable in a data directory, its publishers, and what it has for its users.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { Client, gather } from './crowd.mjs';
import { PLAIN } from './desk.mjs';
import { API_KEY, ROOT, serve, token } from '../../e2e/harness.mjs';
import { eventually } from '../../e2e/waiting.mjs';

/** The app, called as the benchmark of the store calls it. */
const KEEPING = PLAIN.replaceAll('app.desk', 'app.bench')
  .replace('secret = { env = "OYEZ_API_KEY" }', '$&\nrights = ["publish", "read"]')
  .replace('name = "user:{id}"', '$&\ninbox = "{id}"')
  .concat('[app.bench.inbox]\nmost = 1_000_000\n');

/** A place that goes with this process: a configuration, and beside it the data directory. */
export function place() {
  const folder = mkdtempSync(join(process.env.SIEGE_DIR ?? tmpdir(), 'oyez-kept-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  const config = join(folder, 'oyez.toml');
  writeFileSync(config, KEEPING);
  const dir = join(folder, 'data');
  const start = () => serve(relative(ROOT, config), { env: { OYEZ_LOG: 'warn' }, args: ['--data-dir', dir] });
  return { dir, start };
}

/** Puts `each` messages into the inboxes of `users`, `user-0` and so on, without a server. */
export async function fill(dir, users, each) {
  const bench = ['bench', '--quiet', '--package', 'oyez-backends', '--bench', 'store', '--', 'fill', dir, users, each];
  const child = spawn('cargo', bench.map(String), { cwd: ROOT, stdio: 'inherit' });
  const code = await new Promise((resolve) => child.on('close', resolve));
  if (code !== 0) throw new Error(`the inboxes cannot be filled: ${code}`);
}

/**
 * Publishes on so many connections at once, each of which waits for its answer. `next()` gives the next body, or nothing;
 * `answered(body, status, text)` hears what came of it. Returns when there are no more, or the server has gone.
 */
export function publish(port, connections, next, answered) {
  const one = () => new Promise((resolve) => {
    const socket = net.connect({ port, host: '127.0.0.1', noDelay: true });
    let rest = '';
    let body;
    const say = () => {
      body = next();
      if (body === undefined) return socket.end();
      const text = JSON.stringify(body);
      return socket.write(`POST /api/v1/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${API_KEY}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
    };
    socket.setEncoding('utf8').on('connect', say).on('error', () => {}).on('close', resolve);
    socket.on('data', (text) => {
      rest += text;
      const head = rest.indexOf('\r\n\r\n');
      const length = Number(rest.slice(0, Math.max(head, 0)).match(/content-length: (\d+)/i)?.[1]);
      if (head < 0 || rest.length < head + 4 + length) return;
      answered(body, Number(rest.slice(9, 12)), rest.slice(head + 4));
      rest = '';
      say();
    });
  });
  return Promise.all(Array.from({ length: connections }, one));
}

/** What each of these users is sent on connecting: lists of the events' data, in the order of the users. */
export async function inboxes(port, users) {
  const heard = users.map(() => []);
  let all = 0;
  const event = (client, name, data) => {
    if (name === 'unread-count') all += 1; // it comes when everything has been sent
    else if (name !== 'hello') heard[client.index].push(data);
  };
  const refused = (_, packet) => { throw new Error(packet); };
  const made = (index) => Object.assign(new Client({ port, token: token({ sub: users[index] }), seen: { event, refused } }), { index });
  const clients = await gather(users.length, made);
  await eventually(() => all >= users.length, 'all inboxes', 120_000);
  clients.forEach((client) => client.leave());
  return heard;
}
