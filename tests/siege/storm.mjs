// A reconnect storm: ten thousand clients are cut off at once and come back, as stock clients do. How long until all are
// back, and what do those notice who were never cut off? Then all leave for good: does the server give its memory back?
//
// Memory is what the system says is resident (VmRSS), binary and libraries included. It is compared with that of a server
// which a tenth of the crowd has used before, and which has given back what they left: the code that clients have run and
// the first page of each size of the allocator are in memory from then on, whether a thousand come or ten thousand. The
// start is printed, too.
import { setTimeout as delay } from 'node:timers/promises';
import { Client, gather } from './lib/crowd.mjs';
import { desk, user } from './lib/desk.mjs';
import { honest } from './lib/honest.mjs';
import { memory, metric, quantile, report } from './lib/watch.mjs';
import { eventually } from '../e2e/waiting.mjs';

const CLIENTS = Number(process.env.STORM_CLIENTS ?? 10_000);
const FEW = CLIENTS / 10;
const POLLING = 0.1;
const BACK_S = 10;
const HONEST_P99_MS = 250;
const MEMORY_RATIO = 1.1;
const MEMORY_S = 60;
/** The server waits for 15 s before it gives memory back, for clients that come again. */
const GIVEN_BACK_MS = 20_000;

/** Everybody has left for good: memory returns, and the honest do not notice. */
async function givesBack(pid, { start, empty, full }, measured, { say, promise }) {
  const left = performance.now();
  await delay(5000);
  await measured();
  while (memory(pid) > MEMORY_RATIO * empty && performance.now() - left < MEMORY_S * 1000) await delay(500);
  const seconds = (performance.now() - left) / 1000;
  await delay(2000);
  const now = memory(pid);
  const during = await measured();
  say('memory at the start', start / 2 ** 20, 'MiB');
  say('memory before', empty / 2 ** 20, 'MiB');
  say('memory with all', full / 2 ** 20, 'MiB');
  say('memory afterwards', now / 2 ** 20, 'MiB');
  say('memory ratio', now / empty);
  say('memory given back after', seconds, 's');
  say('honest max while it is given back', Math.max(...during.took), 'ms');
  promise(now <= MEMORY_RATIO * empty, `memory returns to ${MEMORY_RATIO} × within ${MEMORY_S} s`);
}

async function storm() {
  const { say, promise, end } = report();
  const server = await desk();
  const { pid } = server.child;
  const others = await honest(server.url);
  const { measured } = others;
  await delay(2000);
  const start = memory(pid);
  let joined = 0;
  let later = 0;
  const seen = { back: () => { joined += 1; }, cut: () => { joined -= 1; }, later: () => { later += 1; }, refused: (_, packet) => { throw new Error(packet); } };
  const crowd = async (count) => {
    const clients = await gather(count, (index) => new Client({ port: server.port, token: user(index), polling: index % 100 < POLLING * 100, seen }));
    await eventually(() => joined === count, `all ${count} clients`, 120_000);
    return clients;
  };
  const leave = async (clients) => {
    clients.forEach((client) => client.leave());
    await eventually(() => joined === 0, 'nobody');
  };
  await leave(await crowd(FEW));
  await delay(GIVEN_BACK_MS);
  const empty = memory(pid);
  const clients = await crowd(CLIENTS);
  await delay(1000);
  const calm = await measured().then(measured_ => delay(2000).then(measured));
  const full = memory(pid);
  later = 0;
  const cut = performance.now();
  clients.forEach((client) => client.cut());
  await eventually(() => joined < CLIENTS / 2, 'the cut');
  await eventually(() => joined === CLIENTS, 'all clients again', 120_000);
  const seconds = (performance.now() - cut) / 1000;
  const during = await measured();
  say('clients', CLIENTS);
  say('of them polling', POLLING * 100, '%');
  say('all back after', seconds, 's');
  say('handshakes put off (503)', later);
  say('honest p50 before', quantile(calm.took, 0.5), 'ms');
  say('honest p99 before', quantile(calm.took, 0.99), 'ms');
  say('honest p50 during', quantile(during.took, 0.5), 'ms');
  say('honest p99 during', quantile(during.took, 0.99), 'ms');
  say('honest max during', Math.max(...during.took), 'ms');
  say('honest connections lost', during.losses);
  promise(seconds <= BACK_S, `all are back within ${BACK_S} s`);
  promise(during.losses === 0, 'nobody else is cut off');
  promise(quantile(during.took, 0.99) <= HONEST_P99_MS, `honest p99 ≤ ${HONEST_P99_MS} ms`);
  await leave(clients);
  await givesBack(pid, { start, empty, full }, measured, { say, promise });
  await leave(await crowd(FEW));
  const after = await measured();
  say('honest p99 afterwards', quantile(after.took, 0.99), 'ms');
  promise(after.took.length > 0 && after.losses === 0, 'who stays and who comes is served as before');
  promise(await metric(server, 'oyez_handshakes_deferred_total') !== undefined, 'put-off handshakes are counted');
  others.end();
  await server.stop();
  end();
}

await storm();
