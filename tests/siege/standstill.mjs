// The server is stopped (SIGSTOP) for 30 s, as when its machine is moved or swaps, with the heartbeat of Socket.IO. It
// must give up nobody. A stock client gives up by itself if it has heard nothing for 45 s; it then comes back by itself.
import { setTimeout as delay } from 'node:timers/promises';
import { connected, serve, token } from '../e2e/harness.mjs';
import { eventually } from '../e2e/waiting.mjs';
import { io } from 'socket.io-client';

const CLIENTS = 200;
const STOPPED_MS = 30_000;
const BACK_MS = 10_000;

const server = await serve('examples/concrete-plant/oyez.toml');
const left = {};
const sockets = Array.from({ length: CLIENTS }, (_, index) => {
  const transports = index % 4 ? ['websocket'] : ['polling'];
  const auth = { token: token({ sub: index, userType: 'user', siteId: 1 }) };
  const socket = io(`${server.url}/ws`, { forceNew: true, transports, auth, reconnectionDelay: 100, reconnectionDelayMax: 1000 });
  socket.on('disconnect', (reason) => { left[reason] = (left[reason] ?? 0) + 1; });
  return socket;
});
await Promise.all(sockets.map((socket) => connected(socket, 20_000)));
// Long enough that no two of them have their heartbeats together; they connected over some seconds.
server.child.kill('SIGSTOP');
await delay(STOPPED_MS);
server.child.kill('SIGCONT');
const begun = performance.now();
await eventually(() => sockets.every((socket) => socket.connected), 'all clients', BACK_MS);
const back = performance.now() - begun;
// Whoever is to be given up has been by then.
await delay(50_000 - STOPPED_MS);
await eventually(() => sockets.every((socket) => socket.connected), 'all clients', BACK_MS);
const given = server.logs.filter((line) => line.includes('disconnect') && line.includes('ping timeout')).length;
console.log(`clients: ${CLIENTS}, the server stopped for ${STOPPED_MS / 1000} s`);
console.log(`given up by the server: ${given} (promised: 0)`);
console.log(`gave up by themselves: ${left['ping timeout'] ?? 0}`);
console.log(`ends of connections, as clients saw them: ${JSON.stringify(left)}`);
console.log(`all connected after: ${(back / 1000).toFixed(2)} s`);
server.child.kill('SIGKILL');
process.exit(given === 0 && Object.keys(left).every((reason) => reason === 'ping timeout') ? 0 : 1);
