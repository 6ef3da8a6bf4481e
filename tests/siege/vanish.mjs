// Clients vanish from the network: no FIN, no RST, no answer, not even of their kernel (a network namespace whose only
// link goes down; no rights are needed where the system lets anybody make namespaces). Heartbeats must find out, and
// their sessions and descriptors be gone a second later at most, while others notice nothing.
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { API_KEY, SECRET, attach, binary, connect, connected, token } from '../e2e/harness.mjs';
import { eventually } from '../e2e/waiting.mjs';

const SELF = fileURLToPath(import.meta.url);
const CLIENTS = 100;
const PING_MS = 3000;
const PONG_MS = 2000;
const [HERE, THERE] = ['10.99.0.1', '10.99.0.2'];
const CONFIG = `
[key.backend]
secret = { env = "OYEZ_API_KEY" }
[app.desk]
origins = "*"
[app.desk.socketio]
ping_interval = "${PING_MS}ms"
ping_timeout = "${PONG_MS}ms"
[app.desk.limits]
connections_per_user = "none"
connections_per_address = "none"
connects_per_second = "none"
[app.desk.auth.jwt]
algorithms = ["HS256"]
secret = { env = "JWT_SECRET" }
[app.desk.identity]
user = "claims.sub"
`;
const ip = (...args) => execFileSync('ip', args, { stdio: 'inherit' });
const [role, port] = process.argv.slice(2);

/** The clients' side: waits for its link, connects, and says so. */
async function there() {
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  console.log('here');
  await lines.next();
  ip('addr', 'add', `${THERE}/24`, 'dev', 'oyez1');
  ip('link', 'set', 'oyez1', 'up');
  const sockets = Array.from({ length: CLIENTS }, (_, index) => connect(`http://${HERE}:${port}`, {
    transports: index % 4 ? ['websocket'] : ['polling'], auth: { token: token({ sub: 'gone' }) },
  }));
  await Promise.all(sockets.map((socket) => connected(socket, 10_000)));
  console.log('connected');
  await lines.next();
}

async function here() {
  ip('link', 'set', 'lo', 'up');
  const home = mkdtempSync(join(tmpdir(), 'oyez-vanish-'));
  writeFileSync(join(home, 'oyez.toml'), CONFIG);
  const server = await attach(spawn(binary(), ['serve', '--config', join(home, 'oyez.toml'), '--listen', '0.0.0.0:0'], {
    env: { ...process.env, JWT_SECRET: SECRET, OYEZ_API_KEY: API_KEY }, stdio: ['ignore', 'pipe', 'pipe'],
  }));
  const local = `http://127.0.0.1:${server.port}`;
  const stays = await connected(connect(local, { transports: ['websocket'], auth: { token: token({ sub: 'stays' }) } }));
  let disturbed = 0;
  stays.on('disconnect', () => { disturbed += 1; });
  const descriptors = () => readdirSync(`/proc/${server.child.pid}/fd`).length;
  const ended = () => server.logs.filter((line) => line.includes('disconnect') && line.includes('ping timeout')).length;
  const before = descriptors();

  const clients = spawn('unshare', ['--net', process.execPath, SELF, 'there', server.port], { stdio: ['pipe', 'pipe', 'inherit'] });
  const says = createInterface({ input: clients.stdout })[Symbol.asyncIterator]();
  await says.next();
  ip('link', 'add', 'oyez0', 'type', 'veth', 'peer', 'name', 'oyez1', 'netns', String(clients.pid));
  ip('addr', 'add', `${HERE}/24`, 'dev', 'oyez0');
  ip('link', 'set', 'oyez0', 'up');
  clients.stdin.write('go\n');
  await says.next();
  const inside = descriptors();

  ip('link', 'set', 'oyez0', 'down');
  const begun = performance.now();
  const promised = PING_MS + PONG_MS + 1000;
  await eventually(() => ended() === CLIENTS, `the end of ${CLIENTS} sessions`, promised + 10_000);
  const sessions = performance.now() - begun;
  await eventually(() => descriptors() <= before, 'descriptors', 10_000);
  const freed = performance.now() - begun;
  clients.kill('SIGKILL');
  server.child.kill('SIGKILL');
  rmSync(home, { recursive: true });
  console.log(`vanished: ${CLIENTS} clients with ${inside - before} connections, heartbeat ${PING_MS} + ${PONG_MS} ms`);
  console.log(`sessions gone after: ${sessions.toFixed(0)} ms (promised: ${promised})`);
  console.log(`descriptors free after, those of polling too: ${freed.toFixed(0)} ms (promised: ${promised})`);
  console.log(`others disconnected: ${disturbed} (promised: 0)`);
  process.exit(freed <= promised && disturbed === 0 ? 0 : 1);
}

if (role === 'there') {
  await there();
} else if (role === 'here') {
  await here();
} else {
  const inside = spawn('unshare', ['--user', '--map-root-user', '--net', process.execPath, SELF, 'here'], { stdio: 'inherit' });
  inside.on('exit', (code) => process.exit(code ?? 1));
}
