// A soak: clients come, talk, move and go, politely or not, for ten minutes (or as many seconds as the argument or
// SOAK_SECONDS says). Nothing may grow: not memory, not descriptors, not tasks.
import { setTimeout as delay } from 'node:timers/promises';
import { Client, gather } from './lib/crowd.mjs';
import { desk, user } from './lib/desk.mjs';
import { descriptors, memory, metric, report, slope } from './lib/watch.mjs';
import { token } from '../e2e/harness.mjs';

const SECONDS = Number(process.argv[2] ?? process.env.SOAK_SECONDS ?? 600);
const STEADY = 500;
const CHURN = 500;
const COMINGS_PER_SECOND = 50;
const PUBLISHES_PER_SECOND = 50;
const ROOMS = 100;
/** What comes before is warming up: caches and pools fill. */
const WARM = 0.25;
const SAMPLE_MS = Math.max(500, (SECONDS * 1000) / 200);
/** How much the line through the samples may rise in the measured time, of its mean. */
const RISE = { memory: 0.03, descriptors: 0.02, tasks: 0.02 };

const { say, promise, end } = report();
const server = await desk();
const { pid } = server.child;
let comings = 0;
let refusals = 0;
const seen = { refused: () => { refusals += 1; } };
const room = () => Math.floor(Math.random() * ROOMS);
const client = (index) => new Client({ port: server.port, token: user(index), polling: index % 5 === 0, seen });
const steady = await gather(STEADY, client);
const moving = await gather(CHURN, client);

const timers = [
  // One leaves, another comes: every third says goodbye, and one in ten has a token that is not accepted.
  setInterval(() => {
    const at = Math.floor(Math.random() * CHURN);
    moving[at].leave(comings % 3 === 0);
    moving[at] = client(comings);
    if (comings % 10 === 0) moving[at].token = token({ sub: 'nobody' }, { secret: 'not-the-secret-0123456789-abcdefghijklmnop' });
    moving[at].connect();
    comings += 1;
  }, 1000 / COMINGS_PER_SECOND),
  // Some are cut off and come back; all wander between rooms and talk there.
  setInterval(() => steady[Math.floor(Math.random() * STEADY)].cut(), 200),
  setInterval(() => {
    const one = steady[Math.floor(Math.random() * STEADY)];
    one.emit('join', room());
    one.emit('leave', room());
    one.emit('say', { room: room(), text: 'x'.repeat(Math.floor(Math.random() * 500)) });
  }, 20),
  setInterval(() => { server.publish(`room:${room()}`, 'news', { text: 'x'.repeat(Math.floor(Math.random() * 2000)) }); }, 1000 / PUBLISHES_PER_SECOND),
];

const samples = [];
const begun = performance.now();
for (let at = 0; at < SECONDS; at = (performance.now() - begun) / 1000) {
  if (at >= SECONDS * WARM) samples.push({ at, memory: memory(pid), descriptors: descriptors(pid), tasks: await metric(server, 'oyez_tasks') });
  await delay(SAMPLE_MS);
}
timers.forEach(clearInterval);
say('seconds', SECONDS);
say('comings and goings', comings);
say('tokens refused', refusals);
promise(refusals > 0 && comings > SECONDS * COMINGS_PER_SECOND * 0.5, 'there was churn');
const span = samples.at(-1).at - samples[0].at;
for (const [what, most] of Object.entries(RISE)) {
  const points = samples.map((sample) => [sample.at, sample[what]]);
  promise(points.every(([, value]) => value !== undefined), `${what} can be seen`);
  const mean = points.reduce((sum, [, value]) => sum + value, 0) / points.length;
  const rise = (slope(points) * span) / mean;
  say(`${what} mean`, what === 'memory' ? mean / 2 ** 20 : mean, what === 'memory' ? 'MiB' : '');
  say(`${what} slope`, (slope(points) * 60) / (what === 'memory' ? 1024 : 1), what === 'memory' ? 'KiB a minute' : 'a minute');
  say(`${what} rise while measured`, rise * 100, '%');
  promise(rise <= most, `${what} rises by no more than ${most * 100} %`);
}
[...steady, ...moving].forEach((one) => one.leave());
await server.stop();
end();
