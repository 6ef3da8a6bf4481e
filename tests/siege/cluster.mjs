// Three nodes on one Redis beside three servers of Node's on the same: what a delivery costs them and how long it takes, with
// what publishes, all clients and Redis on the same cores; and what it costs a node to have others publish what nobody on it
// hears.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import { PLAIN } from './lib/desk.mjs';
import { report } from './lib/watch.mjs';
import { API_KEY, ROOT, SECRET, attach, serve } from '../e2e/harness.mjs';
import { figure, until } from '../e2e/company.mjs';
import { redis } from '../e2e/redis.mjs';

const CLIENTS = Number(process.env.CLUSTER_CLIENTS ?? 900);
const ROUNDS = Number(process.env.CLUSTER_ROUNDS ?? 5);
const PUBLISHES = 200;
/** How much of what Node's servers can take all are given when times are taken. At half of it most of a delivery's time is the
 * loopback's and the load generator's, the same for everybody: it is told, and nothing is promised of it. */
const PARTS = [0.5, 0.75];
const PROMISED = 0.75;
const SECONDS = 5;
const CHEAPER = 4;
const SOONER = 1 / 3;

const { say, promise, end } = report();
const ends = [];
const home = mkdtempSync(join(tmpdir(), 'oyez-cluster-'));
process.on('exit', () => rmSync(home, { recursive: true, force: true }));
const path = join(home, 'oyez.toml');
writeFileSync(path, PLAIN);

const engine = await redis({ after: (end) => ends.push(end) });
await engine.start();
const three = (start) => Promise.all([0, 1, 2].map(start));
const oyez = await three(() => serve(relative(ROOT, path), { env: { OYEZ_LOG: 'warn' }, args: ['--broker', engine.url, '--store', 'memory', '--cluster', 'none'] }));
await until(async () => (await Promise.all(oyez.map((node) => figure(node, 'oyez_cluster_others')))).every((others) => others === 2), 'they know each other');
const node = await three(() => attach(spawn('node', [join(import.meta.dirname, 'lib/node-desk.mjs'), engine.url], { stdio: ['ignore', 'pipe', 'pipe'] })));

/** A load on these nodes: `round()` gives what one came to. `hearing`: only they have clients; `measured`: only they are looked at. */
async function load(nodes, scenario, { publishes = PUBLISHES, rate = 1, connections = CLIENTS, each = false, hearing = nodes, measured = nodes } = {}) {
  const [first, ...others] = hearing;
  const words = ['bench', scenario, '--json', '--step', '--connections', connections, '--publishes', publishes, '--rate', rate, '--in-flight', 16];
  words.push('--url', `${first.ws}/socket.io/?EIO=4&transport=websocket`, ...others.flatMap(({ port }) => ['--node', `127.0.0.1:${port}`]));
  words.push('--jwt-secret', SECRET, '--hello', '42["join","all"]', '--hello', '421["echo","in"]', '--ready', '431[');
  if (each) words.push('--each');
  words.push('--channel', 'room:all', '--publish-url', `${first.url}/api/v1/publish`, '--publish-header', `Authorization: Bearer ${API_KEY}`, '--publish-header', 'Content-Type: application/json');
  words.push('--publish-body', '{"to":"{channel}","event":"tick","data":"{data}"}', ...measured.flatMap(({ child }) => ['--server-pid', child.pid]));
  const child = spawn(process.env.OYEZ_BIN, words.map(String), { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const line = async () => {
    const { value, done } = await lines.next();
    const said = done ? { error: 'it has ended' } : JSON.parse(value);
    if (said.error) throw new Error(said.error);
    return said;
  };
  await line();
  return {
    round: () => { child.stdin.write('\n'); return line(); },
    end: () => new Promise((resolve) => { child.once('exit', resolve); child.stdin.end(); }),
  };
}

const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];

/** Rounds of both in turns; what `figures` makes of each round, as medians. */
async function turns(scenario, figures, options = () => ({})) {
  const both = [[oyez, []], [node, []]];
  const loads = [];
  for (const [nodes] of both) loads.push(await load(nodes, scenario, options(nodes)));
  for (let n = -1; n < ROUNDS; n += 1) {
    for (const [index, [, rounds]] of both.entries()) {
      const round = await loads[index].round();
      if (n >= 0) rounds.push(figures(round)); // the first warms up
    }
  }
  for (const each of loads) await each.end();
  return both.map(([, rounds]) => Object.fromEntries(Object.keys(rounds[0]).map((key) => [key, median(rounds.map((round) => round[key]))])));
}

const at = (sorted, part) => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] / 1e6;
const latencies = (all) => { const sorted = all.sort((one, other) => one - other); return { p50: at(sorted, 0.5), p99: at(sorted, 0.99) }; };

/** Says how long something took in both clusters. */
function compare(what, times, promised) {
  for (const [index, who] of ['Oyez', 'Node'].entries()) {
    say(`${who}: p50 of ${what}`, times[index].p50, 'ms');
    say(`${who}: p99 of ${what}`, times[index].p99, 'ms');
  }
  const sooner = times[0].p99 / times[1].p99;
  say(`p99 of ${what} beside Node`, sooner, '×');
  if (promised) promise(sooner <= SOONER, `p99 of ${what} at most a third of Node's`);
}

say('clients', CLIENTS);
const cost = await turns('saturation', ({ deliveries, cpu_ns: cpu, wall_ns: wall, latency_ns: all }) => ({ perCpuSecond: deliveries / (cpu / 1e9), perSecond: deliveries / (wall / 1e9), ...latencies(all) }));
for (const [index, who] of ['Oyez', 'Node'].entries()) {
  say(`${who}: deliveries per CPU-second`, Math.round(cost[index].perCpuSecond));
  say(`${who}: deliveries per second, beside clients and Redis`, Math.round(cost[index].perSecond));
}
const cheaper = cost[0].perCpuSecond / cost[1].perCpuSecond;
say('deliveries per CPU-second beside Node', cheaper, '×');
promise(cheaper >= CHEAPER, `at least ${CHEAPER} × as many deliveries per CPU-second as Node`);
compare('a publication\'s last delivery in the same rounds, 16 publications under way', cost, true);

for (const part of PARTS) {
  const rate = Math.round((part * cost[1].perSecond) / CLIENTS);
  for (const [what, each] of [['a delivery', true], ['a publication\'s last delivery', false]]) {
    const times = await turns('latency', ({ latency_ns: all }) => latencies(all), () => ({ publishes: rate * SECONDS, rate, each }));
    compare(`${what} at ${rate} publications a second, ${part} of what Node can take`, times, part >= PROMISED);
  }
}

const idle = await turns('saturation', ({ publishes, cpu_ns: cpu }) => ({ each: cpu / publishes / 1000 / 2 }), (nodes) => ({ publishes: 5_000, connections: 1, hearing: nodes.slice(0, 1), measured: nodes.slice(1) }));
for (const [index, who] of ['Oyez', 'Node'].entries()) say(`${who}: CPU of a node per publication of another that nobody on it hears`, idle[index].each, 'µs');

for (const server of [...oyez, ...node]) await server.stop();
for (const stop of ends.reverse()) await stop();
end();
