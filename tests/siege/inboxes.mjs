// Large inboxes, and many: how soon the first page of one with 100,000 messages is there, how soon a server starts that
// keeps ten messages for each of a million users, and what happens when thousands connect at once who have missed messages.
import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Client, gather } from './lib/crowd.mjs';
import { honest } from './lib/honest.mjs';
import { fill, place } from './lib/keeping.mjs';
import { memory, quantile, report } from './lib/watch.mjs';
import { token } from '../e2e/harness.mjs';
import { eventually } from '../e2e/waiting.mjs';

const LARGE = 100_000;
const PAGE = 100;
const PAGE_MS = 20;
const MANY = Number(process.env.INBOXES_USERS ?? 1_000_000);
const START_S = 5;
const STORM = 2000;
const MISSED = 50;
const HONEST_P99_MS = 250;

const { say, promise, end } = report();
const signed = (name) => token({ sub: name });

/** Nanoseconds that all threads of a server have run. */
function cpu({ child: { pid } }) {
  const home = `/proc/${pid}/task`;
  return readdirSync(home).reduce((sum, task) => sum + Number(readFileSync(`${home}/${task}/schedstat`, 'latin1').split(' ')[0]), 0);
}

/** Bytes of all files below. */
const size = (dir) => readdirSync(dir, { recursive: true }).reduce((sum, file) => sum + statSync(join(dir, file)).blocks * 512, 0);

/** Milliseconds from CONNECT until a user has been sent a page. */
const firstPage = ({ port }, name) => new Promise((resolve, reject) => {
  let began;
  let heard = 0;
  const event = (client, what) => {
    heard += Number(what === 'alarm');
    if (heard === PAGE) { resolve(performance.now() - began); client.leave(); }
  };
  const asks = () => { began = performance.now(); };
  new Client({ port, token: signed(name), seen: { asks, event, refused: (_, packet) => reject(new Error(packet)) } }).connect();
});

/** Milliseconds until it is answered over HTTP. */
async function firstAnswer(server, name) {
  const began = performance.now();
  const { status, json, text } = await server.api(`/api/v1/inbox?user=${name}&order=oldest&limit=${PAGE}`);
  if (status !== 200 || json.messages.length !== PAGE) throw new Error(`${status} ${text.slice(0, 200)}`);
  return performance.now() - began;
}

/** How long something takes, first and then again. */
async function timed(what, once) {
  const took = [];
  for (let time = 0; time < 10; time += 1) took.push(await once());
  say(`${what}, first`, took[0], 'ms');
  say(`${what}, again`, quantile(took.slice(1), 0.5), 'ms');
  return took;
}

async function large() {
  const { dir, start } = place();
  await fill(dir, 1, LARGE);
  let server = await start();
  await server.api('/api/v1/online'); // the client warms up, the store does not
  const http = await timed(`first page of ${LARGE} over HTTP`, () => firstAnswer(server, 'user-0'));
  await server.stop();
  server = await start();
  await timed(`first page of ${LARGE} from CONNECT`, () => firstPage(server, 'user-0'));
  promise(Math.max(...http) <= PAGE_MS, `the first page of a large inbox takes at most ${PAGE_MS} ms`);
  await server.stop();
}

/** They connect, each hears what waits for them; what that costs the server and the others. */
async function crowd(server, name, expected) {
  let joined = 0;
  let heard = 0;
  let twice = 0;
  const before = cpu(server);
  const began = performance.now();
  const event = (client, what, data) => {
    if (what !== 'alarm') return;
    if (client.heard.has(data)) twice += 1;
    client.heard.add(data);
    heard += 1;
  };
  const seen = { back: () => { joined += 1; }, event, refused: (_, packet) => { throw new Error(packet); } };
  const made = (index) => Object.assign(new Client({ port: server.port, token: signed(`${name}-${index}`), seen }), { heard: new Set() });
  const tokens = await gather(STORM, made, STORM / 10);
  await eventually(() => joined === STORM && heard >= STORM * expected, `all ${STORM * expected} messages`, 120_000);
  const took = performance.now() - began;
  const used = cpu(server) - before;
  tokens.forEach((client) => client.leave());
  return { took, used, twice, short: tokens.filter((client) => client.heard.size !== expected).length };
}

async function storm() {
  const { dir, start } = place();
  await fill(dir, STORM, MISSED);
  const server = await start();
  const others = await honest(server.url);
  await crowd(server, 'warm', 0);
  await others.measured();
  const empty = await crowd(server, 'nobody', 0);
  const calm = await others.measured();
  const full = await crowd(server, 'user', MISSED);
  const during = await others.measured();
  say('clients that connect at once', STORM);
  say('messages missed by each', MISSED);
  say('all have theirs after', full.took / 1000, 's');
  say('the same without any', empty.took / 1000, 's');
  say('CPU per connect', empty.used / STORM / 1000, 'µs');
  say('CPU per message sent again', (full.used - empty.used) / (STORM * MISSED) / 1000, 'µs');
  say('honest p99 with connects only', quantile(calm.took, 0.99), 'ms');
  say('honest p99 during', quantile(during.took, 0.99), 'ms');
  say('honest max during', Math.max(...during.took), 'ms');
  promise(full.short === 0 && full.twice === 0, 'each gets theirs, once');
  promise(during.losses === 0 && quantile(during.took, 0.99) <= HONEST_P99_MS, `honest p99 ≤ ${HONEST_P99_MS} ms`);
  others.end();
  await server.stop();
}

async function many() {
  const { dir, start } = place();
  await fill(dir, MANY, 10);
  const began = performance.now();
  const server = await start();
  const seconds = (performance.now() - began) / 1000;
  say('users with 10 messages each', MANY);
  say('on the disk', size(dir) / 2 ** 20, 'MiB');
  say('listens after', seconds, 's');
  say('memory then', memory(server.child.pid) / 2 ** 20, 'MiB');
  promise(seconds <= START_S, `it starts within ${START_S} s`);
  const took = [];
  for (let index = 0; index < 1000; index += 1) {
    const asked = performance.now();
    const { json } = await server.api(`/api/v1/inbox?user=user-${index * (MANY / 1000)}&limit=${PAGE}`);
    took.push(performance.now() - asked);
    if (json.messages.length !== 10) throw new Error(`user ${index} has ${json.messages.length}`);
  }
  say('inboxes of 1000 of them over HTTP, p50', quantile(took, 0.5), 'ms');
  say('memory after them', memory(server.child.pid) / 2 ** 20, 'MiB');
  await server.stop();
}

const parts = { large, storm, many };
for (const part of process.env.INBOXES_PARTS?.split(',') ?? Object.keys(parts)) await parts[part]();
end();
