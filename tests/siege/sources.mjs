// Messages from a real RabbitMQ: how many a second of the server's processor takes, live and durable, each for one user; and
// how long one takes from its publisher to a client's callback.
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { PLAIN } from './lib/desk.mjs';
import { metric, quantile, report } from './lib/watch.mjs';
import { ROOT, connect, connected, serve, token } from '../e2e/harness.mjs';
import { rabbitmq } from '../e2e/rabbitmq.mjs';
import { eventually } from '../e2e/waiting.mjs';

const MESSAGES = Number(process.env.SOURCES_MESSAGES ?? 100_000);
const USERS = 500;
const ONLINE = 100;
const PER_CPU_SECOND = 20_000;
const RATE = 1000;
const SECONDS = Number(process.env.SOURCES_SECONDS ?? 20);
const P99_MS = 100;
const EXCHANGE = 'siege';
/** As a business event is: about 200 bytes. */
const TEXT = 'x'.repeat(100);

const { say, promise, end } = report();
const home = mkdtempSync(join(process.env.SIEGE_DIR ?? tmpdir(), 'oyez-sources-'));
process.on('exit', () => rmSync(home, { recursive: true, force: true }));

const config = (kind) => `${PLAIN.replace('name = "user:{id}"', '$&\ninbox = "{id}"')}
[app.desk.inbox]
most = 1_000_000
[app.desk.source.siege]
kind = "rabbitmq"
url = { env = "RABBITMQ_URL" }
exchange = "${EXCHANGE}"
from = ["${kind}.#"]
queue = "siege.${kind}"
prefetch = 1000
[[app.desk.source.siege.rule]]
match = "${kind}.{what}"
to = "user:{data.userId}"
event = "notification"
data = "{'type': address, 'data': data}"
id = "data.id"
delivery = "${kind}"
`;

/** Nanoseconds that all threads of a server have run. */
function cpu({ child: { pid } }) {
  const tasks = `/proc/${pid}/task`;
  return readdirSync(tasks).reduce((sum, task) => sum + Number(readFileSync(`${tasks}/${task}/schedstat`, 'latin1').split(' ')[0]), 0);
}

const ends = [];
const broker = await rabbitmq({ after: (end) => ends.push(end) });
await broker.start();
const publisher = await broker.connect();
await publisher.channel.assertExchange(EXCHANGE, 'topic', { durable: true });

function start(kind) {
  const path = join(home, `${kind}.toml`);
  writeFileSync(path, config(kind));
  return serve(relative(ROOT, path), { env: { OYEZ_LOG: 'warn', RABBITMQ_URL: broker.url }, args: ['--data-dir', join(home, kind)] });
}
const working = (server) => eventually(async () => await metric(server, 'oyez_source_working') === 1, 'it is connected', 60_000);
const body = (n, more) => JSON.stringify({ id: `m-${n}`, userId: `user-${n % USERS}`, title: TEXT, timestamp: Date.now(), ...more });

/** All messages wait when the server starts; what they cost it until the last is acknowledged. */
async function throughput(kind) {
  let server = await start(kind);
  await working(server);
  await server.stop();
  for (let n = 0; n < MESSAGES; n += 1) {
    const room = publisher.channel.publish(EXCHANGE, `${kind}.sent`, Buffer.from(body(n)), { deliveryMode: 2 });
    if (!room) await new Promise((resolve) => publisher.channel.once('drain', resolve));
  }
  await publisher.channel.waitForConfirms();
  const began = performance.now();
  server = await start(kind);
  const sockets = await Promise.all(Array.from({ length: ONLINE }, async (_, n) => {
    const socket = connect(server.url, { auth: { token: token({ sub: `user-${n}` }) }, transports: ['websocket'] });
    socket.onAny((_, ...args) => { if (typeof args.at(-1) === 'function') args.at(-1)('delivered'); });
    return connected(socket);
  }));
  const done = async () => await metric(server, 'oyez_source_published_total') === MESSAGES;
  while (!await done()) await delay(200);
  // With what starting it costs.
  const [used, took] = [cpu(server) / 1e9, (performance.now() - began) / 1000];
  const rate = MESSAGES / used;
  say(`${kind}: messages per CPU-second`, Math.round(rate));
  say(`${kind}: messages per second beside the broker`, Math.round(MESSAGES / took));
  promise(rate >= PER_CPU_SECOND, `${kind}: at least ${PER_CPU_SECOND} messages per CPU-second`);
  sockets.forEach((socket) => socket.disconnect());
  await server.stop();
}

/** So many a second, each to a client that is connected. */
async function latency(kind) {
  const server = await start(kind);
  await working(server);
  const took = [];
  const sockets = await Promise.all(Array.from({ length: ONLINE }, async (_, n) => {
    const socket = connect(server.url, { auth: { token: token({ sub: `user-${n}` }) }, transports: ['websocket'] });
    socket.on('notification', (...args) => {
      const { at } = args[0].data;
      if (at !== undefined) took.push(performance.now() - at);
      if (typeof args.at(-1) === 'function') args.at(-1)('delivered');
    });
    return connected(socket);
  }));
  await delay(1000);
  let sent = 0;
  const began = performance.now();
  while (sent < RATE * SECONDS) {
    const due = Math.min(RATE * SECONDS, Math.floor(((performance.now() - began) / 1000) * RATE));
    for (; sent < due; sent += 1) {
      const more = { id: `l-${sent}`, userId: `user-${sent % ONLINE}`, at: performance.now() };
      publisher.channel.publish(EXCHANGE, `${kind}.sent`, Buffer.from(body(sent, more)), { deliveryMode: 2 });
    }
    await delay(2);
  }
  await eventually(() => took.length >= sent, 'all are heard', 30_000);
  say(`${kind}: p50 at ${RATE}/s`, quantile(took, 0.5), 'ms');
  say(`${kind}: p99 at ${RATE}/s`, quantile(took, 0.99), 'ms');
  promise(quantile(took, 0.99) < P99_MS, `${kind}: a publisher's message is with the client within ${P99_MS} ms`);
  sockets.forEach((socket) => socket.disconnect());
  await server.stop();
}

for (const kind of ['live', 'durable']) {
  await throughput(kind);
  await latency(kind);
}
for (const stop of ends.reverse()) await stop();
end();
