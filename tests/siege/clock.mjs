// The system's clock jumps by an hour, forth and back, under open sessions (libfaketime: Debian's package `faketime`).
// Nobody is disconnected; and whichever time is the right one, no token is accepted before or after its own.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import jwt from 'jsonwebtoken';
import { API_KEY, SECRET, attach, binary, connect, connected } from '../e2e/harness.mjs';

const CLIENTS = 50;
const CONFIG = `
[key.backend]
secret = { env = "OYEZ_API_KEY" }
[app.desk]
origins = "*"
[app.desk.socketio]
ping_interval = "1s"
ping_timeout = "1s"
[app.desk.heartbeat]
timeout = "30s"
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

const library = readdirSync('/usr/lib').map((folder) => `/usr/lib/${folder}/faketime/libfaketime.so.1`).find(existsSync);
if (!library) {
  console.error('there is no libfaketime: apt-get install faketime');
  process.exit(1);
}
const home = mkdtempSync(join(tmpdir(), 'oyez-clock-'));
const set = (shift) => writeFileSync(join(home, 'shift'), `${shift}\n`);
set('+0');
writeFileSync(join(home, 'oyez.toml'), CONFIG);
const server = await attach(spawn(binary(), ['serve', '--config', join(home, 'oyez.toml'), '--listen', '127.0.0.1:0'], {
  env: {
    ...process.env, JWT_SECRET: SECRET, OYEZ_API_KEY: API_KEY,
    LD_PRELOAD: library, FAKETIME_TIMESTAMP_FILE: join(home, 'shift'), FAKETIME_NO_CACHE: '1', FAKETIME_DONT_FAKE_MONOTONIC: '1', DONT_FAKE_MONOTONIC: '1',
  },
  stdio: ['ignore', 'pipe', 'pipe'],
}));

const MINUTE = 60;
const now = () => Math.floor(Date.now() / 1000);
const signed = (claims) => jwt.sign({ sub: 'u', ...claims }, SECRET, { noTimestamp: true });
/** Whether the server accepts a token; the client says what it is told. */
async function accepted(claims) {
  const socket = connect(server.url, { transports: ['websocket'], auth: { token: signed(claims) } });
  const outcome = await connected(socket).then(() => true, (error) => { if (error.message.includes('within')) throw error; return false; });
  socket.disconnect();
  return outcome;
}

let lost = 0;
const sockets = Array.from({ length: CLIENTS }, (_, index) => {
  const exp = now() + (index % 2 ? 30 : 180) * MINUTE;
  const socket = connect(server.url, { transports: index % 3 ? ['websocket'] : ['polling'], auth: { token: signed({ sub: `u${index}`, exp }) } });
  socket.on('disconnect', () => { lost += 1; });
  return socket;
});
await Promise.all(sockets.map((socket) => connected(socket)));

let wrong = 0;
let tried = 0;
async function expect(what, claims, outcome) {
  tried += 1;
  if (await accepted(claims) === outcome) return;
  wrong += 1;
  console.log(`${outcome ? 'refused' : 'accepted'}: ${what}`);
}
const early = () => ({ nbf: now() + 30 * MINUTE, exp: now() + 180 * MINUTE });
const late = () => ({ exp: now() - 10 * MINUTE });
for (const shift of ['+3600', '-3600', '+0']) {
  set(shift);
  await expect(`a token of half an hour from now, at ${shift}`, early(), false);
  await expect(`a token that has ended, at ${shift}`, late(), false);
  await expect(`a token for three hours, at ${shift}`, { exp: now() + 180 * MINUTE }, true);
  if (shift === '+3600') await expect('a token that has ended by the new time', { exp: now() + 30 * MINUTE }, false);
  await delay(5000); // two heartbeats and more
}
console.log(`clients: ${CLIENTS}; the clock jumped by +1 h, -2 h, +1 h`);
console.log(`disconnected: ${lost} (promised: 0)`);
console.log(`tokens judged: ${tried}, wrongly: ${wrong} (promised: 0)`);
console.log(`jumps that the log tells of: ${server.logs.filter((line) => line.includes('clock_jumped')).length}`);
server.child.kill('SIGKILL');
rmSync(home, { recursive: true });
process.exit(lost === 0 && wrong === 0 && server.logs.some((line) => line.includes('clock_jumped')) ? 0 : 1);
